//! The door for local edits: documents, rows, marks and the undo step in one durable commit.

use automerge::{AutoCommit, ChangeHash};
use lifeos_sync_protocol::ids::{DocId, SpaceId};
use rusqlite::Connection;

use super::documents::{Cache, Unbuilt, Workspace};
use super::erase::{self, Effect};
use super::{Reads, Step, Store, StoreError, Timed, begin, schema, undo};
use crate::delta::CHANGE_BYTES_MAX;
use crate::document::{Document, DocumentError, GenesisId};
use crate::metrics::Work;
use crate::modules::notes::whole::WholeNote;
use crate::projection;
use crate::registry::{NOTE_GENESIS, door};

/// What one commit changed; events are built from it, after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// Documents that changed, each once, in the order they were first touched.
    pub docs: Vec<DocId>,
    /// Bytes of the changes made.
    pub bytes: usize,
}

/// A write in progress: the database is locked for other writers, nothing is stored yet.
pub struct Tx<'s> {
    conn: &'s Connection,
    documents: Workspace<'s>,
    now_ms: i64,
    step: Step,
    changes: Vec<(DocId, ChangeHash)>,
    /// Documents that go with this commit: heads, and where something of them goes on.
    erased: Vec<(DocId, Vec<[u8; 32]>, Option<DocId>)>,
    bytes: usize,
    /// A change was made that must not be stored, and with it the whole write.
    refused: Option<Refused>,
}

/// Why a change that was made must not be stored.
enum Refused {
    /// No envelope can carry it.
    TooLarge,
    /// It writes what it must not.
    NotAdmitted(DocumentError),
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
        let _timed = Timed::begin(&self.metrics, Work::Commit);
        let transaction = begin(&self.conn)?;
        let mut tx = Tx::begin(&self.conn, Workspace::begin(&self.conn, &mut self.documents, space, now_ms)?, now_ms);
        let value = edit(&mut tx)?;
        let bytes = tx.bytes;
        let documents = tx.store()?;
        transaction.commit().map_err(StoreError::from)?;
        let docs = documents.changed();
        documents.finish();
        Ok((value, Commit { docs, bytes }))
    }

    /// As [`Store::write`], over two spaces of this home: both commits or none.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn write_two<T, E: From<StoreError>>(
        &mut self,
        spaces: (&SpaceId, &SpaceId),
        now_ms: i64,
        edit: impl FnOnce(&mut Tx<'_>, &mut Tx<'_>) -> Result<T, E>,
    ) -> Result<(T, Commit, Commit), E> {
        let transaction = begin(&self.conn)?;
        // The second space's documents are read afresh, and not kept: a kept one is noticed to be stale later.
        let mut apart = Cache::default();
        let mut left =
            Tx::begin(&self.conn, Workspace::begin(&self.conn, &mut self.documents, spaces.0, now_ms)?, now_ms);
        let mut right = Tx::begin(&self.conn, Workspace::begin(&self.conn, &mut apart, spaces.1, now_ms)?, now_ms);
        let value = edit(&mut left, &mut right)?;
        let (left_bytes, right_bytes) = (left.bytes, right.bytes);
        let (left, right) = (left.store()?, right.store()?);
        transaction.commit().map_err(StoreError::from)?;
        let left_commit = Commit { docs: left.changed(), bytes: left_bytes };
        let commits = (left_commit, Commit { docs: right.changed(), bytes: right_bytes });
        left.finish();
        right.finish();
        Ok((value, commits.0, commits.1))
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
        // One snapshot of the database for row, snapshot and tail: another process may be writing.
        let transaction = self.conn.unchecked_transaction()?;
        let mut documents = Workspace::begin_reading(&self.conn, &mut self.documents, space)?;
        let value = documents.find(doc)?.map(|work| read(&work.entry.document));
        transaction.commit()?;
        documents.finish();
        Ok(value)
    }
}

impl<'s> Tx<'s> {
    fn begin(conn: &'s Connection, documents: Workspace<'s>, now_ms: i64) -> Self {
        Self {
            conn,
            documents,
            now_ms,
            step: Step::default(),
            changes: Vec::new(),
            erased: Vec::new(),
            bytes: 0,
            refused: None,
        }
    }

    /// Edits a document as one change; a document that does not exist begins with its genesis. An edit that
    /// changes nothing stores nothing, and a document without any change does not exist afterwards.
    ///
    /// # Errors
    /// Whatever `edit` returns; [`StoreError::WrongKind`] when the document has another genesis;
    /// [`StoreError::EditTooLarge`] and [`StoreError::Document`] for a change that must not be stored, after which the
    /// whole write fails.
    pub fn edit<T, E: From<StoreError>>(
        &mut self,
        doc: &DocId,
        genesis: GenesisId,
        edit: impl FnOnce(&mut AutoCommit) -> Result<T, E>,
    ) -> Result<T, E> {
        let work = self.documents.find_or_new(doc, genesis)?;
        let (value, change) = work.entry.document.edit(self.now_ms, edit)?;
        if let Some(change) = change {
            if change.bytes.len() > CHANGE_BYTES_MAX {
                self.refused = Some(Refused::TooLarge);
                return Err(StoreError::EditTooLarge.into());
            }
            if let Err(error) = door::admit(&work.entry.document, &change.bytes) {
                self.refused = Some(Refused::NotAdmitted(error.clone()));
                return Err(StoreError::from(error).into());
            }
            self.changes.push((*doc, change.hash));
            self.bytes += change.bytes.len();
            work.add(change.bytes, true);
        }
        Ok(value)
    }

    /// Makes a new note without building its document, which happens when it is first opened. `index_at_once` is for
    /// a write that makes many: bringing the search index up to date now is cheaper than opening them for it.
    ///
    /// # Errors
    /// [`DocumentError`] when it cannot be written; [`StoreError::WrongKind`] when the document exists;
    /// [`StoreError::EditTooLarge`].
    pub fn create_note(&mut self, doc: &DocId, note: &WholeNote, index_at_once: bool) -> Result<(), StoreError> {
        let change = note.encode(&self.documents.space.stream, self.now_ms)?;
        if change.bytes.len() > CHANGE_BYTES_MAX {
            return Err(StoreError::EditTooLarge);
        }
        if !self.documents.is_new(doc)? {
            return Err(StoreError::WrongKind);
        }
        self.changes.push((*doc, change.hash));
        self.bytes += change.bytes.len();
        let projected = projection::project_whole_note(note, self.now_ms);
        let (doc, genesis) = (*doc, NOTE_GENESIS);
        self.documents.store_unbuilt(Unbuilt { doc, genesis, change, pending: true, projected, index_at_once })
    }

    /// What kind of document it is; `None` when there is no such document.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn kind_of(&mut self, doc: &DocId) -> Result<Option<GenesisId>, StoreError> {
        Ok(self.documents.find(doc)?.map(|work| work.entry.document.genesis()))
    }

    /// Runs `read` on a document as this write sees it; `None` when there is no such document.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read<T>(&mut self, doc: &DocId, read: impl FnOnce(&Document) -> T) -> Result<Option<T>, StoreError> {
        Ok(self.documents.find(doc)?.map(|work| read(&work.entry.document)))
    }

    /// The tables, without this write's own edits (their rows are written when the closure has returned).
    #[must_use]
    pub const fn reads(&self) -> Reads<'s> {
        Reads { conn: self.conn }
    }

    /// Time given to [`Store::write`] (ms UTC).
    #[must_use]
    pub const fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// What this write means for undo; [`Step::Edit`] if not called.
    pub const fn step(&mut self, step: Step) {
        self.step = step;
    }

    /// The space's row.
    pub(super) const fn space_row(&self) -> i64 {
        self.documents.space.row
    }

    /// Stores a value under a key of the `meta` table, with this commit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_meta(&mut self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        schema::put_meta(self.conn, key, value)
    }

    /// Forgets a document when everything else of this write is stored; the others are to be told.
    pub(super) fn erase(
        &mut self,
        doc: &DocId,
        heads: &[[u8; 32]],
        successor: Option<&DocId>,
    ) -> Result<(), StoreError> {
        self.erased.push((*doc, heads.to_vec(), successor.copied()));
        Ok(())
    }

    fn store(mut self) -> Result<Workspace<'s>, StoreError> {
        match self.refused.take() {
            None => {}
            Some(Refused::TooLarge) => return Err(StoreError::EditTooLarge),
            Some(Refused::NotAdmitted(error)) => return Err(error.into()),
        }
        self.documents.store()?;
        undo::record(self.conn, self.documents.space.row, self.step, &self.changes)?;
        for (doc, heads, successor) in &self.erased {
            let unsent = self.documents.erase(doc)?;
            let effect =
                Effect { doc, state: 1, position: 0, epoch: None, heads, successor: successor.as_ref(), unsent };
            erase::put(self.conn, self.documents.space.row, &effect, self.now_ms)?;
        }
        Ok(self.documents)
    }
}
