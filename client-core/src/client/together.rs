//! Many edits of notes in one durable commit: all of them are there afterwards, or none.
//!
//! One commit waits for the disk once, so ten edits cost about what two cost one by one; together they are one step
//! of undo.

use automerge::AutoCommit;
use lifeos_sync_protocol::ids::DocId;

use super::notes::edit_note_in;
use super::{Client, ClientError};
use crate::modules::notes::{body, note, tags};
use crate::store::{Step, Tx};

/// Edits that become durable together; each is a change of its own.
pub struct NoteEdits<'a, 's> {
    tx: &'a mut Tx<'s>,
}

impl Client {
    /// Runs `edits` and commits everything it did durably, or nothing if it fails. Nothing else of this home can be
    /// written meanwhile: what takes long (parsing, asking) belongs before the call.
    /// # Errors
    /// Whatever `edits` returns; [`ClientError`].
    pub fn edit_together<T>(
        &self,
        edits: impl FnOnce(&mut NoteEdits<'_, '_>) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.write(|tx| {
            tx.step(Step::Edit);
            edits(&mut NoteEdits { tx })
        })
    }
}

impl NoteEdits<'_, '_> {
    /// As [`Client::note_splice`].
    /// # Errors
    /// [`ClientError`].
    pub fn splice(&mut self, note: &DocId, at: usize, delete: usize, insert: &str) -> Result<(), ClientError> {
        self.edit(note, |doc| Ok(body::splice(doc, at, delete, insert)?))
    }

    /// As [`Client::note_set_title`].
    /// # Errors
    /// [`ClientError`].
    pub fn set_title(&mut self, note: &DocId, title: &str) -> Result<(), ClientError> {
        self.edit(note, |doc| Ok(note::set_title(doc, title)?))
    }

    /// As [`Client::note_tag`].
    /// # Errors
    /// [`ClientError`].
    pub fn tag(&mut self, note: &DocId, tag: &str, present: bool) -> Result<(), ClientError> {
        self.edit(note, |doc| Ok(if present { tags::tag(doc, tag) } else { tags::untag(doc, tag) }?))
    }

    /// As [`Client::note_pin`].
    /// # Errors
    /// [`ClientError`].
    pub fn pin(&mut self, note: &DocId, pinned: bool) -> Result<(), ClientError> {
        self.edit(note, |doc| Ok(note::pin(doc, pinned)?))
    }

    /// As [`Client::note_trash`].
    /// # Errors
    /// [`ClientError`].
    pub fn trash(&mut self, note: &DocId, trashed: bool) -> Result<(), ClientError> {
        let now_ms = self.tx.now_ms();
        self.edit(note, |doc| Ok(if trashed { note::trash(doc, now_ms) } else { note::restore(doc) }?))
    }

    fn edit<T>(
        &mut self,
        note: &DocId,
        edit: impl FnOnce(&mut AutoCommit) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        edit_note_in(self.tx, note, edit)
    }
}
