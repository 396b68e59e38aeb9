//! Notes: make, read, change, list, trash.

use automerge::AutoCommit;
use lifeos_sync_protocol::ids::DocId;

use super::{Client, ClientError, Link, Note, NoteDraft, NoteFilter, NoteSummary};
use crate::crypto::{SystemRandom, random_bytes};
use crate::modules::notes::whole::WholeNote;
use crate::modules::notes::{body, front, markdown, note, tags};
use crate::registry::NOTE_GENESIS;
use crate::store::{LinkRow, NoteRow, NotesFilter, Reads, Step, Tx};

/// Shortest prefix of an id that is taken for one.
const PREFIX_CHARS_MIN: usize = 4;
/// Lines of a list when none are asked for.
const LIST_LIMIT: u32 = 100;

impl Client {
    /// Makes a note.
    /// # Errors
    /// [`ClientError`].
    pub fn note_create(&self, draft: NoteDraft) -> Result<DocId, ClientError> {
        let doc = DocId(random_bytes(&mut SystemRandom::new()));
        let notebook = draft.notebook.as_deref().map(|id| self.notebook_id(id)).transpose()?;
        let draft = note::Draft {
            title: &draft.title,
            markdown: &draft.markdown,
            notebook: notebook.as_deref(),
            tags: &draft.tags,
            kind: draft.kind.as_deref(),
            source: None,
        };
        let parsed = markdown::parse(draft.markdown);
        self.write(|tx| {
            let note = WholeNote::new(&draft, &parsed, tx.now_ms())?;
            Ok(tx.create_note(&doc, &note, false)?)
        })?;
        Ok(doc)
    }

    /// A note. `id` is a full hex id or an unambiguous prefix of at least 4 characters.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn note(&self, id: &str) -> Result<Note, ClientError> {
        let doc = self.note_id(id)?;
        let mut store = self.shared.store();
        let read = store.read(&self.space(), &doc, |document| {
            let markdown = note::markdown_of(document.read());
            (markdown, front::properties(document.read()), note::is_edited_after_trash(document))
        })?;
        let row = store.reads().note(&self.space(), &doc)?;
        let (Some((markdown, properties, edited_after_trash)), Some(row)) = (read, row) else {
            return Err(ClientError::not_found(format!("note {id}")));
        };
        Ok(Note {
            id: doc.to_string(),
            title: row.title,
            markdown: markdown?,
            notebook: row.notebook,
            kind: row.kind,
            tags: row.tags,
            properties,
            pinned: row.pinned,
            created_ms: row.created_ms,
            updated_ms: row.updated_ms,
            trashed_ms: row.trashed_ms,
            edited_after_trash,
        })
    }

    /// Notes, newest first, pinned before the others.
    /// # Errors
    /// [`ClientError`].
    pub fn notes(&self, filter: NoteFilter) -> Result<Vec<NoteSummary>, ClientError> {
        let notebook = filter.notebook.as_deref().map(|id| self.notebook_id(id)).transpose()?;
        let filter = NotesFilter {
            notebook: notebook.as_deref(),
            tag: filter.tag.as_deref(),
            kind: filter.kind.as_deref(),
            trashed: filter.trashed,
            by_title: filter.by_title,
            limit: if filter.limit == 0 { LIST_LIMIT } else { filter.limit },
            offset: filter.offset,
        };
        let rows = self.shared.reader().reads().notes(&self.space(), &filter)?;
        Ok(rows.into_iter().map(summary).collect())
    }

    /// Replaces the body by diffing: concurrent edits elsewhere survive.
    /// # Errors
    /// [`ClientError`].
    pub fn note_set_markdown(&self, id: &str, markdown: &str) -> Result<(), ClientError> {
        self.edit_note(id, |doc| Ok(note::set_markdown(doc, markdown)?))
    }

    /// Sets the title; the old one stays an alias, so that `[[old title]]` still resolves.
    /// # Errors
    /// [`ClientError`].
    pub fn note_set_title(&self, id: &str, title: &str) -> Result<(), ClientError> {
        self.edit_note(id, |doc| Ok(note::set_title(doc, title)?))
    }

    /// Replaces `delete` characters (Unicode scalar values) of the body's text at `at` by `insert`; block
    /// markers count one each.
    /// # Errors
    /// [`ClientError`].
    pub fn note_splice(&self, id: &str, at: usize, delete: usize, insert: &str) -> Result<(), ClientError> {
        self.edit_note(id, |doc| Ok(body::splice(doc, at, delete, insert)?))
    }

    /// Ticks or unticks the `index`-th todo (0-based).
    /// # Errors
    /// [`ClientError`].
    pub fn note_set_todo(&self, id: &str, index: usize, done: bool) -> Result<(), ClientError> {
        self.edit_note(id, |doc| Ok(body::set_todo(doc, index, done)?))
    }

    /// Sets (or with `None` removes) a property.
    /// # Errors
    /// [`ClientError`].
    pub fn note_set_property(&self, id: &str, name: &str, value: Option<serde_json::Value>) -> Result<(), ClientError> {
        self.edit_note(id, |doc| Ok(front::set_property(doc, name, value.as_ref())?))
    }

    /// Adds or removes a tag.
    /// # Errors
    /// [`ClientError`].
    pub fn note_tag(&self, id: &str, tag: &str, present: bool) -> Result<(), ClientError> {
        self.edit_note(id, |doc| Ok(if present { tags::tag(doc, tag) } else { tags::untag(doc, tag) }?))
    }

    /// Pins or unpins.
    /// # Errors
    /// [`ClientError`].
    pub fn note_pin(&self, id: &str, pinned: bool) -> Result<(), ClientError> {
        self.edit_note(id, |doc| Ok(note::pin(doc, pinned)?))
    }

    /// Moves into a notebook, or out of all.
    /// # Errors
    /// [`ClientError`].
    pub fn note_move(&self, id: &str, notebook: Option<&str>) -> Result<(), ClientError> {
        let notebook = notebook.map(|id| self.notebook_id(id)).transpose()?;
        self.edit_note(id, |doc| Ok(note::move_to(doc, notebook.as_deref())?))
    }

    /// Puts into the trash, or (false) restores.
    /// # Errors
    /// [`ClientError`].
    pub fn note_trash(&self, id: &str, trashed: bool) -> Result<(), ClientError> {
        let now_ms = crate::engine::wall_ms();
        self.edit_note(id, |doc| Ok(if trashed { note::trash(doc, now_ms) } else { note::restore(doc) }?))
    }

    /// Links out of a note.
    /// # Errors
    /// [`ClientError`].
    pub fn note_links(&self, id: &str) -> Result<Vec<Link>, ClientError> {
        let doc = self.note_id(id)?;
        let rows = self.shared.reader().reads().links_from(&self.space(), &doc)?;
        Ok(rows.into_iter().map(link).collect())
    }

    /// Links to a note.
    /// # Errors
    /// [`ClientError`].
    pub fn note_backlinks(&self, id: &str) -> Result<Vec<Link>, ClientError> {
        let doc = self.note_id(id)?;
        let rows = self.shared.reader().reads().links_to(&self.space(), &doc)?;
        Ok(rows.into_iter().map(link).collect())
    }

    pub(super) fn edit_note<T>(
        &self,
        id: &str,
        edit: impl FnOnce(&mut AutoCommit) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        // A whole id needs no looking up: the write itself sees whether it is a note's.
        let doc = match id.trim().parse() {
            Ok(doc) => doc,
            Err(_) => self.note_id(id)?,
        };
        self.write(|tx| {
            tx.step(Step::Edit);
            edit_note_in(tx, &doc, edit)
        })
    }

    /// The note that a full id or a prefix names.
    pub(super) fn note_id(&self, id: &str) -> Result<DocId, ClientError> {
        let reader = self.shared.reader();
        let reads: Reads<'_> = reader.reads();
        let prefix = id.trim().to_ascii_lowercase();
        if prefix.len() < PREFIX_CHARS_MIN || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ClientError::invalid("a note's id is hexadecimal; give at least its first 4 characters"));
        }
        let mut found = Vec::new();
        // Two notes are enough to know that the prefix is ambiguous; the other singletons of a space are few.
        for doc in reads.documents_by_prefix(&self.space(), &prefix, 8)? {
            if reads.note(&self.space(), &doc)?.is_some() {
                found.push(doc);
            }
        }
        match found.as_slice() {
            [doc] => Ok(*doc),
            [] => Err(ClientError::not_found(format!("note {prefix}"))),
            _ => Err(ClientError::invalid("more than one note begins with this id; give more of its characters")),
        }
    }
}

/// Edits a note that exists, as one change of a write in progress.
pub(super) fn edit_note_in<T>(
    tx: &mut Tx<'_>,
    doc: &DocId,
    edit: impl FnOnce(&mut AutoCommit) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    if tx.kind_of(doc)? != Some(NOTE_GENESIS) {
        return Err(ClientError::not_found(format!("note {doc}")));
    }
    tx.edit(doc, NOTE_GENESIS, edit)
}

pub(super) fn summary(row: NoteRow) -> NoteSummary {
    NoteSummary {
        id: row.doc.to_string(),
        title: row.title,
        excerpt: row.excerpt,
        notebook: row.notebook,
        kind: row.kind,
        tags: row.tags,
        pinned: row.pinned,
        updated_ms: row.updated_ms,
        trashed_ms: row.trashed_ms,
    }
}

fn link(row: LinkRow) -> Link {
    Link {
        from: row.from.to_string(),
        from_title: row.from_title,
        to: row.to.map(|doc| doc.to_string()),
        target: row.target,
        kind: row.kind,
    }
}
