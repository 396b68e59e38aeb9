//! The fence around Automerge: changes from outside are checked before they are parsed, applied on a
//! disposable fork under `catch_unwind`, and verified after (protocol §9, amendment 11).
//!
//! ```text
//! OpenedDelta ─ check ─▶ CheckedDelta (by document) ─ apply, one batch ─▶ Applied { applied, waiting, refused }
//!               │                                      │
//!               │ chunk type, sizes, counts, checksum, │ dependencies, actors, counters; fork; catch_unwind;
//!               │ actor, author, sequence              │ save and load again; bisect by envelope on failure
//! ```
//! Absent on purpose: `load_incremental` (it swallows errors), bundles and document chunks (they hang or panic).
//! What hides in panics' messages never matters: errors here carry no content.

mod apply;
#[cfg(feature = "io")]
mod guard;
mod limits;
mod prescan;
#[cfg(test)]
mod tests;
mod whole;

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::Change;
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, StreamId};
use lifeos_sync_protocol::limits::DELTA_RAW_BYTES_MAX;

use crate::delta::DocDelta;
use crate::document::GenesisId;
use crate::envelope::OpenedDelta;
use crate::modules::notes::whole::{ReadNote, WholeNote};
use crate::registry::{self, NOTE_GENESIS};

pub use apply::{Applied, AppliedChange, WaitingChange, apply};
#[cfg(feature = "io")]
pub use guard::{APPLY_TIMEOUT, Guarded, Job, Whole, apply_guarded, load_guarded, look_each_guarded};
pub use whole::{ScannedDocument, is_genesis_actor, scan_document};

/// One change that passed the pre-scan: chunk type, size, checksum, actor, sequence, no author field.
#[derive(Debug, Clone)]
pub struct CheckedChange {
    /// The envelope it came in: what is quarantined if applying it fails.
    pub envelope: EnvelopeId,
    /// Parsed.
    pub change: Change,
}

/// The checked changes of one document from one opened envelope.
#[derive(Debug, Clone)]
pub struct CheckedDelta {
    /// The document.
    pub doc: DocId,
    /// Where it starts from.
    pub genesis: GenesisId,
    /// The author's stream.
    pub stream: StreamId,
    /// In order.
    pub changes: Vec<CheckedChange>,
}

/// What makes a change unacceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FenceError {
    /// Not a change chunk, or a chunk type that is not allowed here.
    #[error("not an Automerge change")]
    ChunkType,
    /// Above a limit, before or after inflating.
    #[error("change is larger than the limits allow")]
    TooLarge,
    /// Automerge does not parse it.
    #[error("Automerge does not parse the change")]
    Parse,
    /// The actor is not the author's stream.
    #[error("the change claims another actor")]
    Actor,
    /// It names an author, which only the envelope may.
    #[error("the change carries an author field")]
    Author,
    /// It names an actor that is unknown here.
    #[error("the change names an unknown actor")]
    UnknownActor,
    /// A different change has this actor and sequence, or the sequences do not ascend.
    #[error("the change repeats a sequence")]
    DuplicateSeq,
    /// Its operation numbers leap ahead or run out.
    #[error("the change's operation numbers are out of bounds")]
    Counter,
    /// The genesis is not in the frozen table, or not this document's.
    #[error("unknown or wrong genesis")]
    Genesis,
    /// Automerge panicked.
    #[error("Automerge panicked on the change")]
    Panic,
    /// Automerge took too long.
    #[error("Automerge did not finish in time")]
    Timeout,
    /// Automerge returned an error or did not take the change in.
    #[error("Automerge refused the change")]
    Apply,
}

/// Checks everything about an opened envelope that can be checked without its documents. One bad change refuses
/// the envelope, for an honest device makes none.
///
/// # Errors
/// [`FenceError`].
pub fn check(opened: &OpenedDelta) -> Result<Vec<CheckedDelta>, FenceError> {
    let mut budget = Budget::default();
    opened.delta.docs.iter().map(|doc| check_with(opened.id, opened.stream, doc, &mut budget)).collect()
}

/// What was found of a document in an envelope.
#[derive(Debug, Clone)]

pub enum Checked {
    /// A whole note as this engine writes it: known to load, so it need not be applied to be believed.
    Whole(CheckedNote),
    /// Anything else.
    Changes(CheckedDelta),
}

/// A new note in one change that is byte for byte what this engine writes.
#[derive(Debug, Clone)]
pub struct CheckedNote {
    /// The document.
    pub doc: DocId,
    /// The note.
    pub read: ReadNote,
    /// What carried it, to be applied like any other if the document turns out to exist.
    pub delta: DocDelta,
}

/// As [`check`], and tells whole notes apart. Reading those costs a fiftieth of what Automerge takes.
///
/// # Errors
/// [`FenceError`].
pub fn check_news(opened: &OpenedDelta) -> Result<Vec<Checked>, FenceError> {
    let mut budget = Budget::default();
    let check = |doc: &DocDelta| match whole_note(opened.stream, doc, &mut budget)? {
        Some(note) => Ok(Checked::Whole(note)),
        None => check_with(opened.id, opened.stream, doc, &mut budget).map(Checked::Changes),
    };
    opened.delta.docs.iter().map(check).collect()
}

fn whole_note(stream: StreamId, doc: &DocDelta, budget: &mut Budget) -> Result<Option<CheckedNote>, FenceError> {
    let (NOTE_GENESIS, [chunk]) = (doc.genesis, doc.changes.as_slice()) else { return Ok(None) };
    let scanned = prescan::scan(chunk, budget.bytes)?;
    let read = catch_unwind(AssertUnwindSafe(|| WholeNote::decode(chunk))).map_err(|_| FenceError::Panic)?;
    let Some(read) = read.filter(|read| read.actor == stream) else { return Ok(None) };
    budget.take(&scanned)?;
    Ok(Some(CheckedNote { doc: doc.doc, read, delta: doc.clone() }))
}

/// Checks the changes of one document again: those that waited in the store for their dependencies.
///
/// # Errors
/// [`FenceError`].
pub fn check_document(envelope: EnvelopeId, stream: StreamId, doc: &DocDelta) -> Result<CheckedDelta, FenceError> {
    check_with(envelope, stream, doc, &mut Budget::default())
}

/// What one envelope may still cost.
struct Budget {
    bytes: usize,
    ops: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: DELTA_RAW_BYTES_MAX, ops: limits::ENVELOPE_OPS_MAX }
    }
}

impl Budget {
    fn take(&mut self, scanned: &prescan::Scanned) -> Result<(), FenceError> {
        self.bytes -= scanned.bytes.len().min(self.bytes);
        self.ops = self.ops.checked_sub(scanned.ops).ok_or(FenceError::TooLarge)?;
        Ok(())
    }
}

fn check_with(
    envelope: EnvelopeId,
    stream: StreamId,
    doc: &DocDelta,
    budget: &mut Budget,
) -> Result<CheckedDelta, FenceError> {
    registry::genesis(doc.genesis).ok_or(FenceError::Genesis)?;
    let mut changes: Vec<CheckedChange> = Vec::with_capacity(doc.changes.len());
    for chunk in &doc.changes {
        let change = check_change(stream, chunk, budget)?;
        if changes.last().is_some_and(|last| last.change.seq() >= change.seq()) {
            return Err(FenceError::DuplicateSeq);
        }
        changes.push(CheckedChange { envelope, change });
    }
    Ok(CheckedDelta { doc: doc.doc, genesis: doc.genesis, stream, changes })
}

fn check_change(stream: StreamId, chunk: &[u8], budget: &mut Budget) -> Result<Change, FenceError> {
    let scanned = prescan::scan(chunk, budget.bytes)?;
    budget.take(&scanned)?;
    let change = parse(scanned.bytes)?;
    if change.actor_id().to_bytes() != stream.0 {
        return Err(FenceError::Actor);
    }
    if change.author().is_some() || !change.extra_bytes().is_empty() {
        return Err(FenceError::Author);
    }
    if change.seq() == 0 {
        return Err(FenceError::DuplicateSeq);
    }
    Ok(change)
}

/// Automerge computes the hash and leaves it to us to compare it with the checksum.
fn parse(bytes: Vec<u8>) -> Result<Change, FenceError> {
    let checksum: [u8; 4] = bytes.get(4..8).and_then(|slice| slice.try_into().ok()).ok_or(FenceError::Parse)?;
    let parsed = catch_unwind(AssertUnwindSafe(|| Change::from_bytes(bytes))).map_err(|_| FenceError::Panic)?;
    let change = parsed.map_err(|_| FenceError::Parse)?;
    if change.hash().0[..4] == checksum { Ok(change) } else { Err(FenceError::Parse) }
}
