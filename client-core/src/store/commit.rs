//! The door for local edits: documents, rows, marks and the undo step in one durable commit.

use automerge::AutoCommit;
use lifeos_sync_protocol::ids::{DocId, SpaceId};

use super::{Reads, Step, Store, StoreError};
use crate::document::{Document, GenesisId};

/// What one commit changed; events are built from it, after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// Documents that changed, each once, in the order they were first touched.
    pub docs: Vec<DocId>,
}

/// A write in progress: the database is locked for other writers, nothing is stored yet.
pub struct Tx<'s> {
    store: &'s mut Store,
}

impl Store {
    /// Runs `edit` and commits everything it did durably (synchronous=FULL), or nothing: on an error the
    /// database and the cached documents are as before.
    ///
    /// # Errors
    /// Whatever `edit` returns; [`StoreError::Busy`] after the timeout when another process writes;
    /// [`StoreError::DiskFull`].
    pub fn write<T, E: From<StoreError>>(
        &mut self,
        space: &SpaceId,
        now_ms: i64,
        edit: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<(T, Commit), E> {
        let _ = (space, now_ms, edit);
        todo!()
    }

    /// Runs `read` on a document; `None` when there is no such document.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read<T>(
        &mut self,
        space: &SpaceId,
        doc: &DocId,
        read: impl FnOnce(&Document) -> T,
    ) -> Result<Option<T>, StoreError> {
        let _ = (space, doc, read);
        todo!()
    }
}

impl Tx<'_> {
    /// Edits a document as one change; a document that does not exist begins with its genesis. An edit that
    /// changes nothing stores nothing (a new document is still stored).
    ///
    /// # Errors
    /// Whatever `edit` returns; [`StoreError::WrongKind`] when the document has another genesis.
    pub fn edit<T, E: From<StoreError>>(
        &mut self,
        doc: &DocId,
        genesis: GenesisId,
        edit: impl FnOnce(&mut AutoCommit) -> Result<T, E>,
    ) -> Result<T, E> {
        let _ = (doc, genesis, edit);
        todo!()
    }

    /// Runs `read` on a document as this write sees it; `None` when there is no such document.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read<T>(&mut self, doc: &DocId, read: impl FnOnce(&Document) -> T) -> Result<Option<T>, StoreError> {
        let _ = (doc, read);
        todo!()
    }

    /// The tables, without this write's own edits (their rows are written when the closure has returned).
    #[must_use]
    pub fn reads(&self) -> Reads<'_> {
        self.store.reads()
    }

    /// Time given to [`Store::write`] (ms UTC).
    #[must_use]
    pub const fn now_ms(&self) -> i64 {
        0
    }

    /// What this write means for undo; [`Step::Edit`] if not called.
    pub const fn step(&mut self, step: Step) {
        let _ = step;
    }

    /// Stores a value under a key of the `meta` table, with this commit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_meta(&mut self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let _ = (key, value);
        todo!()
    }
}
