//! Notes. Every edit is durable when its function returns.

use crate::engine::LifeOs;
use crate::error::LifeOsError;
use crate::records::{Link, Note, NoteDraft, NoteFilter, NoteSummary, Version};

#[uniffi::export]
impl LifeOs {
    /// Makes a note; returns its id.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn note_create(&self, draft: NoteDraft) -> Result<String, LifeOsError> {
        self.local(move |client| client.note_create(draft.into()).map(|id| id.to_string())).await
    }

    /// A note, by id or a prefix of it that is at least 4 characters long.
    ///
    /// # Errors
    /// [`LifeOsError::NotFound`].
    pub async fn note(&self, id: String) -> Result<Note, LifeOsError> {
        self.local(move |client| client.note(&id).map(Into::into)).await
    }

    /// Notes, newest first, pinned before the others.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn notes(&self, filter: NoteFilter) -> Result<Vec<NoteSummary>, LifeOsError> {
        self.local(move |client| Ok(client.notes(filter.into())?.into_iter().map(Into::into).collect())).await
    }

    /// Replaces the body by comparing: edits made elsewhere meanwhile survive.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn note_set_markdown(&self, id: String, markdown: String) -> Result<(), LifeOsError> {
        self.local(move |client| client.note_set_markdown(&id, &markdown)).await
    }

    /// Sets the title; links to the old one still find the note.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn note_set_title(&self, id: String, title: String) -> Result<(), LifeOsError> {
        self.local(move |client| client.note_set_title(&id, &title)).await
    }

    /// Replaces `delete` characters (Unicode scalar values; a block marker counts as one) at `at` by `insert`.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn note_splice(&self, id: String, at: u32, delete: u32, insert: String) -> Result<(), LifeOsError> {
        self.local(move |client| client.note_splice(&id, at as usize, delete as usize, &insert)).await
    }

    /// Ticks or unticks the `index`-th todo, counted from 0.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn note_set_todo(&self, id: String, index: u32, done: bool) -> Result<(), LifeOsError> {
        self.local(move |client| client.note_set_todo(&id, index as usize, done)).await
    }

    /// Sets a property to a JSON value, or removes it.
    ///
    /// # Errors
    /// [`LifeOsError::Invalid`] when `json` is not JSON.
    pub async fn note_set_property(&self, id: String, name: String, json: Option<String>) -> Result<(), LifeOsError> {
        let parsed = json.as_deref().map(serde_json::from_str).transpose();
        let value = parsed.map_err(|_| LifeOsError::invalid("the value of a property must be JSON"))?;
        self.local(move |client| client.note_set_property(&id, &name, value)).await
    }

    /// Adds or removes a tag.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn note_tag(&self, id: String, tag: String, present: bool) -> Result<(), LifeOsError> {
        self.local(move |client| client.note_tag(&id, &tag, present)).await
    }

    /// Pins or unpins.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn note_pin(&self, id: String, pinned: bool) -> Result<(), LifeOsError> {
        self.local(move |client| client.note_pin(&id, pinned)).await
    }

    /// Moves into a notebook, or out of all.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn note_move(&self, id: String, notebook: Option<String>) -> Result<(), LifeOsError> {
        self.local(move |client| client.note_move(&id, notebook.as_deref())).await
    }

    /// Puts into the trash, or takes out of it.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn note_trash(&self, id: String, trashed: bool) -> Result<(), LifeOsError> {
        self.local(move |client| client.note_trash(&id, trashed)).await
    }

    /// Versions, newest first.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn note_history(&self, id: String, limit: u32, offset: u32) -> Result<Vec<Version>, LifeOsError> {
        self.local(move |client| Ok(client.note_history(&id, limit, offset)?.into_iter().map(Into::into).collect()))
            .await
    }

    /// The note's Markdown as it was.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn note_at(&self, id: String, version: String) -> Result<String, LifeOsError> {
        self.local(move |client| client.note_at(&id, &version)).await
    }

    /// Makes the note what it was, as a new change.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn note_restore(&self, id: String, version: String) -> Result<(), LifeOsError> {
        self.local(move |client| client.note_restore(&id, &version)).await
    }

    /// Links out of a note.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn note_links(&self, id: String) -> Result<Vec<Link>, LifeOsError> {
        self.local(move |client| Ok(client.note_links(&id)?.into_iter().map(Into::into).collect())).await
    }

    /// Links to a note.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn note_backlinks(&self, id: String) -> Result<Vec<Link>, LifeOsError> {
        self.local(move |client| Ok(client.note_backlinks(&id)?.into_iter().map(Into::into).collect())).await
    }
}
