//! What is put on the stage before the devices part: notes whose fate is known, and canaries.
//!
//! The vault's own notes are edited too; these few are there because a folder somebody brings may have no
//! todo, no notebook and a single note.

use lifeos_client_core::client::{Client, ClientError, NoteDraft, NoteFilter};
use serde_json::Value;

/// Notes of the vault that are edited on both sides.
const TEXT_NOTES_MAX: usize = 24;
/// Larger notes are left alone: editing them shows nothing more.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Notes asked for at once.
const PAGE_NOTES: u32 = 500;

/// Ids of what the demonstration works on.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    /// Marks of this run, so that what is found is what was written.
    pub mark: String,
    /// Note with a canary in every part.
    pub canary: String,
    /// Note with three todos.
    pub todos: String,
    /// Note that one side trashes while the other edits it.
    pub bin: String,
    /// Note whose title, tags and properties both sides change.
    pub fields: String,
    /// Two notebooks that are moved into each other.
    pub notebooks: [String; 2],
    /// Notes whose text both sides change: some of the vault's, and one that is always there.
    pub texts: Vec<String>,
}

/// Strings of this run that must never be readable at the relay; 24 bytes and more each.
#[must_use]
pub fn canary(mark: &str, place: &str) -> String {
    format!("canary{place}{mark}")
}

impl Scene {
    /// Writes the notes on the first device.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set(client: &Client, mark: &str) -> Result<Self, ClientError> {
        let texts = choose_texts(client)?;
        let notebooks = [
            client.notebook_create(&canary(mark, "notebook"), None)?,
            client.notebook_create("Demo notebook two", None)?,
        ];
        let add = |title: &str, markdown: &str| {
            let draft = NoteDraft { title: title.to_owned(), markdown: markdown.to_owned(), ..NoteDraft::default() };
            client.note_create(draft).map(|id| id.to_string())
        };
        let mut scene = Self {
            mark: mark.to_owned(),
            canary: add(&canary(mark, "title"), &format!("A note with {} in it.\n", canary(mark, "body")))?,
            todos: add("Demo: packing list", "- [ ] passport\n- [ ] charger\n- [ ] umbrella\n")?,
            bin: add("Demo: trashed here, edited there", "Nobody needs this any more.\n")?,
            fields: add("Demo: renamed on both sides", "Title, tags and properties are changed on both sides.\n")?,
            notebooks,
            texts,
        };
        scene.texts.push(scene.canary.clone());
        client.note_tag(&scene.canary, &canary(mark, "tag"), true)?;
        client.note_set_property(&scene.canary, "secret", Some(Value::from(canary(mark, "property"))))?;
        client.note_move(&scene.canary, Some(&scene.notebooks[0]))?;
        Ok(scene)
    }
}

/// Up to [`TEXT_NOTES_MAX`] notes, taken evenly over all.
fn choose_texts(client: &Client) -> Result<Vec<String>, ClientError> {
    let ids: Vec<String> = summaries(client)?.into_iter().map(|(id, _)| id).collect();
    let stride = ids.len().div_ceil(TEXT_NOTES_MAX).max(1);
    let mut chosen = Vec::new();
    for id in ids.into_iter().step_by(stride) {
        if client.note(&id)?.markdown.len() <= TEXT_BYTES_MAX {
            chosen.push(id);
        }
    }
    Ok(chosen)
}

/// Id and title of every living note.
///
/// # Errors
/// [`ClientError`].
pub fn summaries(client: &Client) -> Result<Vec<(String, String)>, ClientError> {
    let mut all = Vec::new();
    loop {
        let offset = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let page = client.notes(NoteFilter { limit: PAGE_NOTES, offset, ..NoteFilter::default() })?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page.into_iter().map(|note| (note.id, note.title)));
    }
}
