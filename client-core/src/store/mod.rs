//! The store: one SQLite database per home, and one door for commits.
//!
//! ```text
//!              Store (one writer connection, &mut)                 Reader (own read-only connection)
//!  write ────► documents (LRU) ► edit ► rows ► ONE commit           notes, notebooks, links, counts,
//!  seal_pending, receive, put_records ────────────► commit          search …
//!  index_dirty, compact_tails, checkpoint: off the edit path
//! ```
//!
//! Synchronous and `Send`; the caller keeps it behind one mutex. Two processes may open one home: every
//! write begins with `BEGIN IMMEDIATE`, and a cached document is used only when its generation still stands.
//! Secrets are not in the database, but for the device's later HPKE keys, sealed under its root; the root lies in
//! `device.key`, epoch secrets are opened from the records at start. The whole file can be encrypted (`cipher`, `convert`). Deliberately absent: a way to change documents that bypasses [`Store::write`] and
//! [`Store::receive`].

mod aside;
mod attachment;
mod backup;
mod branches;
mod carry;
mod check;
mod checkpoint;
mod cipher;
mod commit;
mod compaction;
mod convert;
mod device_key;
mod diagnose;
mod documents;
mod entities;
mod erase;
mod error;
mod goals;
mod home;
mod hpke;
mod imports;
mod jobs;
mod joining;
mod mark;
mod notes;
mod noticed;
mod outbox;
mod peer;
mod promise;
mod proofs;
mod quarantine;
mod query;
mod reads;
mod receipt;
mod receive;
mod records;
mod recovering;
mod related;
mod reminders;
mod reseal;
mod rows;
mod schema;
mod seal;
mod search;
mod spread;
#[cfg(test)]
mod tests;
mod timed;
mod touched;
mod transaction;
mod undo;
mod upgrade;
mod wakeup;
mod watch;
mod witness;

pub use aside::Aside;
pub use attachment::{AttachmentRow, NoteAttachmentRow, PartsReport};
pub use backup::Snapshot;
pub use branches::{BranchRow, BranchState, BranchedDoc, Review};
pub use carry::CarriedStream;
pub use check::CheckOutcome;
pub use checkpoint::{
    Blame, Bootstrap, BuiltChunk, BuiltDraft, CheckpointDraft, ChunkReport, Comparison, DamagedDocument, Drafting, Due,
    KeptObject, LookedAt, Place, Progress, Pruned, Unverified, Verified,
};
pub use cipher::{CAN_ENCRYPT, DatabaseForm};
pub use commit::{Commit, Tx};
pub use convert::{convert_database, database_form};
pub use device_key::{DEVICE_KEY_FILE, KeyPlace, KeyProtection, protect_device_root, protection, unlock_device_root};
pub use diagnose::{KindSize, StreamShape, TableSize};
pub use entities::{Compare, EntityFilter, EntityMark, EntityRow, Where};
pub use erase::{Erasure, ErasureState};
pub use error::StoreError;
pub use goals::CheckInRow;
pub use home::{DATABASE_FILE, NewHome, NewSpace, SYNC_LOCK_FILE, SyncLock};
pub use hpke::KeyClock;
pub use imports::ImportBatch;
pub use joining::PendingJoin;
pub use notes::{LinkRow, NoteRow, NotebookRow, NotesFilter, PropRow, SourceRow, TagRow};
pub use noticed::NoticedDevice;
pub use outbox::{RelayId, RelayState};
pub use promise::{Promise, PromisedRecord, WaitingChanges};
pub use quarantine::QuarantinedEnvelope;
pub use query::{Query, QueryError};
pub use reads::{DocHeads, Reader, Reads, SpaceRow, StreamRow};
pub use receipt::{Confirmation, HeardReceipt, OwnReceipt};
pub use receive::{NeedRecords, Page, ReceiveReport, Unknown};
pub use records::RefusedRecords;
pub(crate) use records::{SPACE_RECORD_BYTES_MAX, admissible};
pub use related::{MentionRow, RelatedRow};
pub use reminders::{TaskFilter, TaskRelation, TaskRow};
pub use reseal::ExposedAttachment;
pub use schema::SCHEMA_VERSION;
pub use seal::{SealBudget, SealReport};
pub use search::Hit;
pub(crate) use timed::{Timed, micros_since};
pub use touched::{NoteReach, Reach, Touched};
pub use undo::{Step, UndoStep};
pub use watch::{Item, Key, LogPlace, Place as ListPlace, Term};
pub use witness::{Warning, WarningKind};

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use transaction::begin;

use crate::metrics::Metrics;

/// An open home: the only writer of its database in this process.
pub struct Store {
    home: PathBuf,
    conn: Connection,
    documents: documents::Cache,
    records: records::Kept,
    metrics: Arc<Metrics>,
}

impl Store {
    /// What this store measures.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }
}
