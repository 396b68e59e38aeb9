//! A document: one Automerge document with its frozen genesis, edited and applied only through here.

use automerge::{AutoCommit, ChangeHash};
use lifeos_sync_protocol::ids::{DocId, StreamId};

/// Which frozen first change a document starts from; also tells what kind of document it is.
/// Numbers are on the wire and are never reused (`registry::GENESES`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenesisId(pub u32);

/// One Automerge document.
pub struct Document {
    pub(crate) id: DocId,
    pub(crate) genesis: GenesisId,
    pub(crate) doc: AutoCommit,
}

/// A change made here: what the store marks as pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalChange {
    /// Automerge's hash.
    pub hash: ChangeHash,
    /// The raw, uncompressed change chunk.
    pub bytes: Vec<u8>,
}

/// A document cannot be built or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The genesis number is not in the table.
    #[error("unknown kind of document ({0})")]
    UnknownGenesis(u32),
    /// The stored bytes do not load.
    #[error("the stored document does not load")]
    Corrupt,
    /// The operation does not fit the document.
    #[error("invalid edit: {0}")]
    InvalidEdit(&'static str),
}

impl Document {
    /// A new document that holds only its genesis; later changes carry `actor`.
    ///
    /// # Errors
    /// [`DocumentError::UnknownGenesis`].
    pub fn new(id: DocId, genesis: GenesisId, actor: StreamId) -> Result<Self, DocumentError> {
        let _ = (id, genesis, actor);
        todo!()
    }

    /// Loads bytes that this device stored itself: a snapshot (empty: none yet) and the change chunks since.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn load(
        id: DocId,
        genesis: GenesisId,
        actor: StreamId,
        snapshot: &[u8],
        tail: &[u8],
    ) -> Result<Self, DocumentError> {
        let _ = (id, genesis, actor, snapshot, tail);
        todo!()
    }

    /// Runs one edit as one change with the time `now_ms`; an edit that changes nothing gives no change,
    /// and one that fails leaves the document as it was.
    ///
    /// # Errors
    /// Whatever the edit returns.
    pub fn edit<T, E>(
        &mut self,
        now_ms: i64,
        edit: impl FnOnce(&mut AutoCommit) -> Result<T, E>,
    ) -> Result<(T, Option<LocalChange>), E> {
        let _ = (now_ms, edit);
        todo!()
    }

    /// The whole document, uncompressed, for local storage.
    pub fn snapshot(&mut self) -> Vec<u8> {
        todo!()
    }

    /// Hashes of the newest changes, ascending.
    pub fn heads(&mut self) -> Vec<ChangeHash> {
        todo!()
    }

    /// The document's id.
    #[must_use]
    pub const fn id(&self) -> DocId {
        self.id
    }

    /// What it starts from.
    #[must_use]
    pub const fn genesis(&self) -> GenesisId {
        self.genesis
    }

    /// Reading access.
    #[must_use]
    pub const fn read(&self) -> &AutoCommit {
        &self.doc
    }
}
