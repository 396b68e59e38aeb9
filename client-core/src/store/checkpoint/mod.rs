//! Checkpoints in the store: made of what is held, compared with what is held, taken in instead of history, and pruned by.
//!
//! ```text
//! checkpoint_due ─ draft (from one reading of the database) ─▶ object rows, live, packed ─▶ a Checkpoint record
//! begin_bootstrap ─ take_chunk … ─ finish_bootstrap ─▶ documents (unverified), rows ─ verify_documents ─▶ verified
//! compare_checkpoint ─▶ Holds | Behind | Lacks | Wrong          prune_below ─▶ stream.floor
//! ```
//! A document that came with a checkpoint is unverified until it was loaded under the watchdog and its rows were projected
//! anew; whatever loads it to change it does that first. Every step is one commit, or goes on where it ended.

mod bootstrap;
mod compare;
mod draft;
mod due;
pub(super) mod object;
pub(super) mod opaque;
mod partial;
mod prune;
mod verify;

use lifeos_sync_protocol::ids::{EnvelopeId, RecordId, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::record::{Body, Floor, Record};
use rusqlite::Connection;

use super::{Reads, StoreError};

pub(super) use bootstrap::put_refused;
pub use bootstrap::{Bootstrap, ChunkReport};
pub use compare::Comparison;
pub(super) use draft::is_unknown_to_removed;
pub use draft::{BuiltChunk, BuiltDraft, CheckpointDraft, Drafting, Progress};
pub use due::Due;
pub use object::KeptObject;
pub use prune::Pruned;
#[cfg(test)]
pub(super) use verify::LOADED;
pub use verify::{Blame, DamagedDocument, LookedAt, Place, Unverified, Verified};
pub(super) use verify::{Fault, blame, load_unverified};

/// Stands for the chunk of a document that came with one long ago.
const NO_CHUNK: EnvelopeId = EnvelopeId([0; 32]);

/// What the stream's id was made with; `None` for a stream whose beginning was never seen.
pub(super) fn r32(conn: &Connection, stream: i64) -> Result<Option<[u8; 32]>, StoreError> {
    Ok(Reads { conn }.one("SELECT r32 FROM stream WHERE id = ?1", [stream], |row| row.get(0))?.flatten())
}

/// A stream with what a checkpoint has to know of it.
#[derive(Debug, Clone, Copy)]
struct StreamState {
    row: i64,
    stream: StreamId,
    device: SignPk,
    seq: u32,
    tip: [u8; 32],
    limit: Option<u32>,
    floor: u32,
    floor_id: Option<[u8; 32]>,
    r32: Option<[u8; 32]>,
}

impl StreamState {
    /// The last envelope that counts here.
    fn end(&self) -> u32 {
        self.limit.map_or(self.seq, |limit| limit.min(self.seq)).max(self.floor)
    }
}

/// All streams of a space, by stream id.
fn streams(conn: &Connection, space: i64) -> Result<Vec<StreamState>, StoreError> {
    let sql = "SELECT id, stream, device, seq, tip, limit_seq, floor, floor_id, r32 FROM stream
               WHERE space = ?1 ORDER BY stream";
    Reads { conn }.all(sql, [space], |row| {
        Ok(StreamState {
            row: row.get(0)?,
            stream: StreamId(row.get(1)?),
            device: SignPk(row.get(2)?),
            seq: row.get(3)?,
            tip: row.get(4)?,
            limit: row.get(5)?,
            floor: row.get(6)?,
            floor_id: row.get(7)?,
            r32: row.get(8)?,
        })
    })
}

/// The id of the envelope at a place, if it is known.
fn id_at(conn: &Connection, known: &StreamState, seq: u32) -> Result<Option<EnvelopeId>, StoreError> {
    if seq == known.seq {
        return Ok(Some(EnvelopeId(known.tip)));
    }
    if seq == known.floor {
        return Ok(known.floor_id.map(EnvelopeId));
    }
    let sql = "SELECT envelope FROM envelope WHERE position = ?1";
    Reads { conn }.one(sql, [super::seal::position(known.row, seq)], |row| Ok(EnvelopeId(row.get(0)?)))
}

/// What a Checkpoint record says.
struct Said<'r> {
    cut: &'r [Floor],
    chunks: &'r [EnvelopeId],
    blobs: &'r [EnvelopeId],
    enc_manifest: &'r [u8],
}

/// Reads a Checkpoint record of this space.
fn said<'r>(space: &SpaceId, record: &'r Record) -> Result<Said<'r>, StoreError> {
    match record.body() {
        Body::Checkpoint { cut, chunks, blobs, enc_manifest, .. } if record.space() == *space => {
            Ok(Said { cut, chunks, blobs, enc_manifest })
        }
        _ => Err(StoreError::NoCheckpoint),
    }
}

/// The row of a checkpoint, made if it is new.
fn checkpoint_row(conn: &Connection, space: i64, record: &RecordId) -> Result<i64, StoreError> {
    let insert = "INSERT OR IGNORE INTO checkpoint(space, record) VALUES (?1, ?2)";
    conn.prepare_cached(insert)?.execute((space, record.as_ref()))?;
    let sql = "SELECT id FROM checkpoint WHERE space = ?1 AND record = ?2";
    let row = Reads { conn }.one(sql, (space, record.as_ref()), |row| row.get(0))?;
    row.ok_or(StoreError::Corrupt { what: "a checkpoint that was just stored" })
}

/// This device vouches for what lies up to the cut: the next checkpoint is measured from there.
fn note_cut(conn: &Connection, space: i64, cut: &[Floor], now_ms: i64) -> Result<(), StoreError> {
    let sql = "UPDATE stream SET cut_seq = max(cut_seq, ?3) WHERE space = ?1 AND stream = ?2";
    let mut update = conn.prepare_cached(sql)?;
    for floor in cut {
        update.execute((space, floor.stream.as_ref(), floor.seq))?;
    }
    conn.prepare_cached("UPDATE space SET cut_ms = ?2 WHERE id = ?1")?.execute((space, now_ms))?;
    Ok(())
}

/// Heads as they are stored.
fn head_bytes(heads: &[automerge::ChangeHash]) -> Vec<u8> {
    heads.iter().flat_map(|head| head.0).collect()
}
