//! Looking inside documents that came with a checkpoint, in the background or when one is to be changed.
//!
//! Its maker says what a document's heads and rows are. Heads cannot lie: loading computes every hash anew. Rows can, and
//! a document may not load at all: both are found here, put right as far as can be, and remembered against the checkpoint.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lifeos_sync_protocol::ids::{DocId, RecordId, SpaceId};
use rusqlite::Connection;

use super::super::documents::{DocRow, Mark, Projected, is_marked, remove_row, search_hash, unmark};
use super::super::records::find_space;
use super::super::{Reads, Store, StoreError, begin, rows, search};
use crate::document::{Document, DocumentError, GenesisId};
use crate::fence::{APPLY_TIMEOUT, FenceError, Whole, load_guarded, look_each_guarded};
use crate::projection;
use automerge::ChangeHash;

#[cfg(test)]
thread_local! {
    /// Documents loaded that nobody had looked inside.
    pub(in crate::store) static LOADED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Documents whose rows are compared in one commit: some 20 ms in which nobody edits.
const BATCH: usize = 128;
/// Bytes of documents after which a batch ends.
const BATCH_BYTES: usize = 1024 * 1024;
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

/// Where looking at documents has come: the checkpoint and the document, in the order in which they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(i64, i64);

impl Place {
    /// Before all of them.
    pub const START: Self = Self(0, 0);
}

/// Documents that are to be looked at, as they lie in the store.
pub struct Unverified(Vec<(Claim, Whole)>);

/// Documents that were looked at.
pub struct LookedAt(Vec<(Claim, Look)>);

/// What is said of a document.
struct Claim {
    id: i64,
    space: i64,
    doc: DocId,
    checkpoint: i64,
    generation: i64,
    search_hash: Option<i64>,
}

/// What was seen of it.
enum Look {
    Sound(Projected),
    Damaged,
    /// Not now: the machine may have slept, and a later version may know more. Neither is anybody's fault.
    NotRead,
}

impl Unverified {
    /// Whether there is nothing left to look at.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where to go on after these.
    #[must_use]
    pub fn end(&self) -> Option<Place> {
        self.0.last().map(|(claim, _)| Place(claim.checkpoint, claim.id))
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// Loads and projects each of them under the watchdog. Needs no store, so that nobody waits for it.
    #[must_use]
    pub fn look(self) -> LookedAt {
        let (claims, wholes): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        let mut looks = Vec::with_capacity(claims.len());
        #[cfg(test)]
        LOADED.with(|loaded| loaded.set(loaded.get() + wholes.len() as u64));
        let look = |document: Document| {
            catch_unwind(AssertUnwindSafe(|| projection::project_with_search(&document)))
                .map_or(Look::Damaged, Look::Sound)
        };
        look_each_guarded(wholes, APPLY_TIMEOUT, look, |_, seen| {
            looks.push(match seen {
                Ok(look) => look,
                Err(error) if is_nobodys_fault(error) => Look::NotRead,
                Err(_) => Look::Damaged,
            });
        });
        LookedAt(claims.into_iter().zip(looks).collect())
    }
}

const fn is_nobodys_fault(error: FenceError) -> bool {
    matches!(error, FenceError::Timeout | FenceError::Panic | FenceError::Genesis)
}

impl Store {
    /// Looks inside up to `documents_max` documents that came with a checkpoint: loads each under the watchdog, projects
    /// it and indexes it. [`Self::unverified`], [`Unverified::look`] and [`Self::keep_looked_at`] do the same while others
    /// edit.
    ///
    /// # Errors
    /// [`StoreError`]; what a checkpoint did wrong is never an error.
    pub fn verify_documents(&mut self, documents_max: usize, now_ms: i64) -> Result<Verified, StoreError> {
        let (mut report, mut from, mut left) = (Verified::default(), Place::START, documents_max);
        loop {
            let batch = self.unverified(from, left)?;
            let Some(end) = batch.end() else { break };
            (from, left) = (end, left - batch.0.len());
            self.keep_looked_at(batch.look(), now_ms, &mut report)?;
        }
        report.left = self.reads().count("SELECT count(*) FROM document WHERE unverified <> 0", [])?;
        Ok(report)
    }

    /// Some documents that came with a checkpoint and nobody has looked inside, at most `documents_max` of those after
    /// `from`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unverified(&self, from: Place, documents_max: usize) -> Result<Unverified, StoreError> {
        let sql = "SELECT d.id, d.space, d.doc, d.unverified, d.generation, d.search_hash, d.genesis, d.heads, s.bytes
                   FROM document d LEFT JOIN snapshot s ON s.doc = d.id
                   WHERE d.unverified <> 0 AND d.unverified >= ?1 AND (d.unverified > ?1 OR d.id > ?2)
                   ORDER BY d.unverified, d.id LIMIT ?3";
        let mut select = self.conn.prepare_cached(sql)?;
        let at_most = i64::try_from(documents_max.min(BATCH)).unwrap_or(i64::MAX);
        let mut found = select.query((from.0, from.1, at_most))?;
        let (mut batch, mut bytes_read) = (Vec::new(), 0);
        while bytes_read < BATCH_BYTES
            && let Some(row) = found.next()?
        {
            let (doc, heads): (_, Vec<u8>) = (DocId(row.get(2)?), row.get(7)?);
            // One without its bytes does not load, and is found to be damaged.
            let bytes: Vec<u8> = row.get::<_, Option<_>>(8)?.unwrap_or_default();
            bytes_read += bytes.len();
            let claim = Claim {
                id: row.get(0)?,
                space: row.get(1)?,
                doc,
                checkpoint: row.get(3)?,
                generation: row.get(4)?,
                search_hash: row.get(5)?,
            };
            batch.push((claim, Whole { doc, genesis: GenesisId(row.get(6)?), bytes, heads: hashes(&heads) }));
        }
        Ok(Unverified(batch))
    }

    /// Makes the rows of documents that were looked at what they should be, in one commit. Those that somebody else looked
    /// at or changed meanwhile are passed over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_looked_at(
        &mut self,
        LookedAt(looked_at): LookedAt,
        now_ms: i64,
        report: &mut Verified,
    ) -> Result<(), StoreError> {
        let transaction = begin(&self.conn)?;
        for (claim, look) in looked_at {
            // A number may be another document's by now.
            let sql = "SELECT generation FROM document WHERE id = ?1 AND doc = ?2 AND unverified <> 0";
            let at = (claim.id, claim.doc.as_ref());
            let stored = Reads { conn: &transaction }.one(sql, at, |row| row.get::<_, i64>(0))?;
            if stored == Some(claim.generation) {
                // One that was only read is loaded still, and not known to be sound.
                self.documents.forget(claim.space, &claim.doc);
                keep(&transaction, &claim, look, now_ms, report)?;
            }
        }
        Ok(transaction.commit()?)
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
}

fn keep(conn: &Connection, claim: &Claim, look: Look, now_ms: i64, report: &mut Verified) -> Result<(), StoreError> {
    match look {
        Look::Sound(projected) => {
            report.verified += 1;
            if !keep_sound(conn, claim, projected)? {
                blame(conn, claim.checkpoint, Fault::Rows, now_ms)?;
                report.repaired.push((claim.doc, record_of(conn, claim.checkpoint)?));
            }
        }
        Look::Damaged => {
            remove_row(conn, claim.id)?;
            blame(conn, claim.checkpoint, Fault::Damaged, now_ms)?;
            put_damaged(conn, claim.space, &claim.doc, (claim.checkpoint, DOES_NOT_LOAD), now_ms)?;
            report.damaged.push((claim.doc, record_of(conn, claim.checkpoint)?));
        }
        Look::NotRead => tracing::warn!("a document that came with a checkpoint could not be looked at now"),
    }
    Ok(())
}

/// Writes the rows that differ, and the entry in the index; whether the rows were what they should be.
fn keep_sound(conn: &Connection, claim: &Claim, (new, text): Projected) -> Result<bool, StoreError> {
    let old = rows::load_all(conn, claim.id)?;
    // Rows of other projections were not taken over: there is nothing to compare.
    let were_right = old.is_empty() || old == new || is_marked(conn, Mark::Project, claim.id)?;
    unmark(conn, Mark::Project, claim.id)?;
    rows::write_difference(conn, claim.id, &old, &new)?;
    let hash = text.as_ref().map(search_hash);
    match claim.search_hash {
        // It was never in the index.
        None => search::index_new(conn, claim.id, text.as_ref())?,
        Some(_) if hash != claim.search_hash => search::index(conn, claim.id, text.as_ref())?,
        Some(_) => {}
    }
    unmark(conn, Mark::Search, claim.id)?;
    let sql = "UPDATE document SET generation = generation + 1, search_hash = ?2, unverified = 0 WHERE id = ?1";
    conn.prepare_cached(sql)?.execute((claim.id, hash))?;
    Ok(were_right)
}

fn hashes(heads: &[u8]) -> Vec<ChangeHash> {
    heads.as_chunks::<32>().0.iter().copied().map(ChangeHash).collect()
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
    let (doc, genesis, bytes, heads) = (row.doc, row.genesis, row.snapshot(conn)?, hashes(&heads));
    load_guarded(Whole { doc, genesis, bytes, heads }, APPLY_TIMEOUT).map_err(|error| match error {
        error if is_nobodys_fault(error) => StoreError::DocumentNotRead,
        _ => DocumentError::Corrupt.into(),
    })
}

impl Reads<'_> {
    /// Documents that came with a checkpoint and were not looked at yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unverified_count(&self, space: &SpaceId) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM document WHERE unverified <> 0 AND +space = ?1";
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
