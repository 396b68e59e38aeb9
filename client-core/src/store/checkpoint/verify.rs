//! Looking inside documents that came with a checkpoint, in the background or when one is to be changed.
//!
//! Its maker says what a document's heads and rows are. Heads cannot lie: loading computes every hash anew. Rows can, and
//! a document may not load at all: both are found here, put right as far as can be, and remembered against the checkpoint.

use lifeos_sync_protocol::ids::{DocId, RecordId, SpaceId};
use rusqlite::Connection;

use super::super::documents::{DocRow, remove_row, verify_document};
use super::super::records::find_space;
use super::super::{Reads, Store, StoreError, begin};
use crate::document::{Document, DocumentError};
use crate::fence::{APPLY_TIMEOUT, FenceError, load_guarded};
use automerge::ChangeHash;

#[cfg(test)]
thread_local! {
    /// Documents loaded that nobody had looked inside.
    pub(in crate::store) static LOADED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Documents looked at in one commit.
const BATCH: usize = 16;
/// Why a document is not held.
const DOES_NOT_LOAD: &str = "it came with a checkpoint and cannot be read: it is damaged, or was made to look so";

/// What a checkpoint was found to say wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Fault {
    /// Other rows than the document has.
    Rows,
    /// A document that does not load.
    Damaged,
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Documents that were loaded.
    pub verified: u64,
    /// Those whose rows were not what the checkpoint said, and are now what they should be.
    pub repaired: Vec<(DocId, RecordId)>,
    /// Those that do not load, and are held no more ([`Reads::damaged_documents`]).
    pub damaged: Vec<(DocId, RecordId)>,
    /// Documents that wait to be looked at.
    pub left: u64,
}

/// A checkpoint that said something that is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blame {
    /// Which.
    pub checkpoint: RecordId,
    /// Documents whose rows were others than it said.
    pub repaired: u32,
    /// Documents that do not load.
    pub damaged: u32,
    /// Since when that is known (ms UTC).
    pub since_ms: i64,
}

/// A document that a checkpoint says exists and that is not held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedDocument {
    /// Which.
    pub doc: DocId,
    /// The checkpoint.
    pub checkpoint: RecordId,
    /// In words.
    pub reason: String,
    /// Since when (ms UTC).
    pub since_ms: i64,
}

impl Store {
    /// Looks inside up to `documents_max` documents that came with a checkpoint: loads each under the watchdog, projects
    /// it and indexes it. A few in one commit, so that an edit never waits for many.
    ///
    /// # Errors
    /// [`StoreError`]; what a checkpoint did wrong is never an error.
    pub fn verify_documents(&mut self, documents_max: usize, now_ms: i64) -> Result<Verified, StoreError> {
        let mut report = Verified::default();
        let mut left = documents_max;
        while left > 0 {
            let looked_at = self.verify_batch(left.min(BATCH), now_ms, &mut report)?;
            if looked_at == 0 {
                break;
            }
            left -= looked_at;
        }
        report.left = self.reads().count("SELECT count(*) FROM document WHERE unverified <> 0", [])?;
        Ok(report)
    }

    /// A document that could not be read came again, whole: this device vouches for the space as before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_damaged(&mut self, space: &SpaceId, doc: &DocId) -> Result<(), StoreError> {
        let row = find_space(&self.conn, space)?.row;
        let sql = "DELETE FROM damaged WHERE space = ?1 AND doc = ?2";
        self.conn.prepare_cached(sql)?.execute((row, doc.as_ref()))?;
        Ok(())
    }

    fn verify_batch(&mut self, at_most: usize, now_ms: i64, report: &mut Verified) -> Result<usize, StoreError> {
        let sql = "SELECT id FROM document WHERE unverified <> 0 ORDER BY unverified, id LIMIT ?1";
        let transaction = begin(&self.conn)?;
        let waiting: Vec<i64> =
            Reads { conn: &transaction }.all(sql, [i64::try_from(at_most).unwrap_or(i64::MAX)], |row| row.get(0))?;
        for id in &waiting {
            let Some(row) = DocRow::by_id(&transaction, *id)? else { continue };
            // One that was only read is loaded still, and not known to be sound.
            self.documents.forget(row.space, &row.doc);
            look_inside(&transaction, row, now_ms, report)?;
        }
        transaction.commit()?;
        Ok(waiting.len())
    }
}

fn look_inside(conn: &Connection, row: DocRow, now_ms: i64, report: &mut Verified) -> Result<(), StoreError> {
    let (id, space, doc, checkpoint) = (row.id, row.space, row.doc, row.unverified);
    let record = || record_of(conn, checkpoint);
    match verify_document(conn, row, now_ms) {
        Ok(were_right) => {
            report.verified += 1;
            if !were_right {
                report.repaired.push((doc, record()?));
            }
            Ok(())
        }
        Err(StoreError::DocumentNotRead) => {
            tracing::warn!("a document that came with a checkpoint could not be looked at now");
            Ok(())
        }
        Err(error) if error.is_damaged_document() => {
            remove_row(conn, id)?;
            blame(conn, checkpoint, Fault::Damaged, now_ms)?;
            put_damaged(conn, space, &doc, (checkpoint, DOES_NOT_LOAD), now_ms)?;
            report.damaged.push((doc, record()?));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Remembers a document that is not held.
pub(super) fn put_damaged(
    conn: &Connection,
    space: i64,
    doc: &DocId,
    (checkpoint, reason): (i64, &str),
    now_ms: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO damaged(space, doc, checkpoint, reason, since_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
    conn.prepare_cached(sql)?.execute((space, doc.as_ref(), checkpoint, reason, now_ms))?;
    Ok(())
}

/// Remembers that a checkpoint said something that is not so.
pub(in crate::store) fn blame(conn: &Connection, checkpoint: i64, fault: Fault, now_ms: i64) -> Result<(), StoreError> {
    let sql = match fault {
        Fault::Rows => {
            "UPDATE checkpoint SET repaired = repaired + 1, blamed_ms = coalesce(blamed_ms, ?2) WHERE id = ?1"
        }
        Fault::Damaged => {
            "UPDATE checkpoint SET damaged = damaged + 1, blamed_ms = coalesce(blamed_ms, ?2) WHERE id = ?1"
        }
    };
    conn.prepare_cached(sql)?.execute((checkpoint, now_ms))?;
    Ok(())
}

fn record_of(conn: &Connection, checkpoint: i64) -> Result<RecordId, StoreError> {
    let sql = "SELECT record FROM checkpoint WHERE id = ?1";
    let record = Reads { conn }.one(sql, [checkpoint], |row| Ok(RecordId(row.get(0)?)))?;
    record.ok_or(StoreError::Corrupt { what: "the checkpoint that a document came with" })
}

/// Loads a document that nobody has looked inside, under the watchdog; it is what was said of it.
pub(in crate::store) fn load_unverified(conn: &Connection, row: &DocRow) -> Result<Document, StoreError> {
    #[cfg(test)]
    LOADED.with(|loaded| loaded.set(loaded.get() + 1));
    let heads = Reads { conn }.one("SELECT heads FROM document WHERE id = ?1", [row.id], |row| row.get(0))?;
    let heads: Vec<u8> = heads.unwrap_or_default();
    let heads = heads.as_chunks::<32>().0.iter().copied().map(ChangeHash).collect();
    let loaded = load_guarded(row.doc, row.genesis, row.snapshot(conn)?, heads, APPLY_TIMEOUT);
    loaded.map_err(|error| match error {
        // The machine may have slept, and a later version may know more: neither is anybody's fault.
        FenceError::Timeout | FenceError::Panic | FenceError::Genesis => StoreError::DocumentNotRead,
        _ => DocumentError::Corrupt.into(),
    })
}

impl Reads<'_> {
    /// Documents that came with a checkpoint and were not looked at yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unverified_count(&self, space: &SpaceId) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM document WHERE unverified <> 0 AND space = ?1";
        self.count(sql, [self.space_row(space)?])
    }

    /// Checkpoints that were found to say something that is not so.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn checkpoint_blames(&self, space: &SpaceId) -> Result<Vec<Blame>, StoreError> {
        let sql = "SELECT record, repaired, damaged, blamed_ms FROM checkpoint
                   WHERE space = ?1 AND blamed_ms IS NOT NULL ORDER BY id";
        self.all(sql, [self.space_row(space)?], |row| {
            Ok(Blame {
                checkpoint: RecordId(row.get(0)?),
                repaired: row.get(1)?,
                damaged: row.get(2)?,
                since_ms: row.get(3)?,
            })
        })
    }

    /// Documents that a checkpoint says exist and that are not held: their envelopes, or another checkpoint, are wanted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn damaged_documents(&self, space: &SpaceId) -> Result<Vec<DamagedDocument>, StoreError> {
        let sql = "SELECT d.doc, c.record, d.reason, d.since_ms FROM damaged d
                   JOIN checkpoint c ON c.id = d.checkpoint WHERE d.space = ?1 ORDER BY d.doc";
        self.all(sql, [self.space_row(space)?], |row| {
            Ok(DamagedDocument {
                doc: DocId(row.get(0)?),
                checkpoint: RecordId(row.get(1)?),
                reason: row.get(2)?,
                since_ms: row.get(3)?,
            })
        })
    }
}
