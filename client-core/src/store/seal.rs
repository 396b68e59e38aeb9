//! Sealing: pending changes become finished envelopes, stored with the stream's tip before anything is sent.
//!
//! Changes are taken document by document, each document's in the order they were made. Nothing outside this
//! file makes envelopes, and a stored envelope is never made again: if the bytes were sent, they are these.

use lifeos_sync_protocol::ids::{DocId, SpaceId, StreamId};
use rusqlite::Connection;

use super::documents::{Mark, unmark};
use super::receive::insert_mention;
use super::records::{SpaceRef, find_space};
use super::{Reads, Store, StoreError, Timed, begin, promise, schema, witness};
use crate::crypto::Random;
use crate::delta::{self, DELTA_FRONTIER_MAX, Delta, DeltaError, DocDelta};
use crate::document::GenesisId;
use crate::envelope::{self, SealedEnvelope, StreamTip};
use crate::keys::{DeviceKeys, SealKey};
use crate::metrics::Work;
use crate::witness::encode_app;

/// Documents looked at in one call.
const DOCUMENTS_MAX: usize = 4_096;

/// How much one call seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealBudget {
    /// Bytes of changes after which no further change is taken; one commit holds a little more at most.
    pub change_bytes_max: usize,
}

impl Default for SealBudget {
    fn default() -> Self {
        Self { change_bytes_max: 1024 * 1024 }
    }
}

/// What one call sealed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SealReport {
    /// Envelopes made.
    pub envelopes: usize,
    /// Changes inside.
    pub changes: usize,
    /// Pending changes are left: call again.
    pub more: bool,
}

/// The pending changes of one document that are taken now.
struct Taken {
    row: i64,
    doc: DocId,
    genesis: GenesisId,
    changes: Vec<Vec<u8>>,
    last: i64,
    /// Nothing of this document stays pending.
    all: bool,
}

impl Store {
    /// Coalesces pending changes by document, seals them under the checked `key` and stores envelopes, tip and cleared
    /// marks in one durable commit. Call only when the records are equal with a peer (amendment 6).
    ///
    /// # Errors
    /// [`StoreError::StreamForked`] when another copy of this home has written the stream; with any error nothing
    /// was sealed.
    pub fn seal_pending(
        &mut self,
        space: &SpaceId,
        keys: &DeviceKeys,
        key: &SealKey,
        budget: SealBudget,
        random: &mut dyn Random,
    ) -> Result<SealReport, StoreError> {
        let _timed = Timed::begin(&self.metrics, Work::Seal);
        let transaction = begin(&self.conn)?;
        let space_ref = find_space(&transaction, space)?;
        if schema::meta(&transaction, &forked_key(space))?.is_some() {
            return Err(StoreError::StreamForked);
        }
        let (taken, more) = take(&transaction, space_ref.row, budget)?;
        let vouched = vouched(&transaction, space_ref)?;
        if taken.is_empty() && vouched == 0 {
            return Ok(SealReport::default());
        }
        clear(&transaction, &taken)?;
        let changes = taken.iter().map(|taken| taken.changes.len()).sum();
        let frontier = frontier(&transaction, space_ref)?;
        let mut deltas = coalesce(frontier.clone(), taken)?;
        if deltas.is_empty() {
            deltas.push(Delta { frontier, ..Delta::default() });
        }
        let records = promise::untold(&transaction, space_ref.row)?;
        if let Some(first) = deltas.first_mut() {
            first.app = encode_app(&witness::untold(&transaction, space_ref.row)?, &records);
        }
        let mut tip = own_tip(&transaction, space_ref)?;
        for delta in &deltas {
            let sealed = envelope::seal(space, &tip, keys, key.epoch(), key.secret(), delta, random)?;
            (tip.seq, tip.id) = (sealed.seq, sealed.id.0);
            insert_envelope(&transaction, space_ref.stream_row, &sealed)?;
            let position = position(space_ref.stream_row, sealed.seq);
            for (stream, seq) in &delta.frontier {
                insert_mention(&transaction, position, stream, *seq)?;
            }
        }
        forget_vouched(&transaction, space_ref)?;
        move_tip(&transaction, space_ref.stream_row, &tip)?;
        tell_frontier(&transaction, &deltas, space_ref.row)?;
        witness::told(&transaction, space_ref.row)?;
        if !records.is_empty() {
            promise::told(&transaction, space_ref.row)?;
        }
        transaction.commit()?;
        Ok(SealReport { envelopes: deltas.len(), changes, more })
    }
}

fn coalesce(frontier: Vec<(StreamId, u32)>, taken: Vec<Taken>) -> Result<Vec<Delta>, StoreError> {
    let docs =
        taken.into_iter().map(|taken| DocDelta { doc: taken.doc, changes: taken.changes, genesis: taken.genesis });
    delta::split(frontier, docs).map_err(|error| match error {
        DeltaError::ChangeTooLarge { .. } => StoreError::EditTooLarge,
        _ => StoreError::Corrupt { what: "the changes that wait for sealing" },
    })
}

/// Reads pending changes up to the budget; also tells whether any are left.
fn take(conn: &Connection, space: i64, budget: SealBudget) -> Result<(Vec<Taken>, bool), StoreError> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    for (row, doc, genesis) in pending_documents(conn, space)? {
        if bytes >= budget.change_bytes_max {
            return Ok((taken, true));
        }
        let found = take_document(conn, (row, doc, genesis), budget.change_bytes_max - bytes)?;
        bytes += found.changes.iter().map(Vec::len).sum::<usize>();
        taken.push(found);
    }
    let more = taken.len() == DOCUMENTS_MAX || taken.last().is_some_and(|last: &Taken| !last.all);
    Ok((taken, more))
}

/// Documents of a space with pending changes, oldest document first.
fn pending_documents(conn: &Connection, space: i64) -> Result<Vec<(i64, DocId, GenesisId)>, StoreError> {
    let sql = "SELECT d.id, d.doc, d.genesis FROM mark m JOIN document d ON d.id = m.doc
               WHERE m.kind = ?1 AND d.space = ?2 ORDER BY m.doc LIMIT ?3";
    let limit = i64::try_from(DOCUMENTS_MAX).unwrap_or(i64::MAX);
    Reads { conn }.all(sql, (Mark::Pending as i64, space, limit), |row| {
        Ok((row.get(0)?, DocId(row.get(1)?), GenesisId(row.get(2)?)))
    })
}

/// The pending changes of one document, at least one.
fn take_document(
    conn: &Connection,
    (row, doc, genesis): (i64, DocId, GenesisId),
    bytes_max: usize,
) -> Result<Taken, StoreError> {
    let mut taken = Taken { row, doc, genesis, changes: Vec::new(), last: -1, all: true };
    let mut bytes = 0;
    let sql = "SELECT n, bytes FROM change WHERE doc = ?1 AND state > 0 ORDER BY n";
    let mut select = conn.prepare_cached(sql)?;
    let mut rows = select.query([row])?;
    while let Some(change) = rows.next()? {
        if bytes >= bytes_max && !taken.changes.is_empty() {
            taken.all = false;
            break;
        }
        taken.last = change.get(0)?;
        let change: Vec<u8> = change.get(1)?;
        bytes += change.len();
        taken.changes.push(change);
    }
    Ok(taken)
}

/// What is taken waits no longer: it stays in the tail, or goes if a snapshot holds it.
fn clear(conn: &Connection, taken: &[Taken]) -> Result<(), StoreError> {
    let mut sealed = conn.prepare_cached("UPDATE change SET state = 0 WHERE doc = ?1 AND n <= ?2 AND state = 1")?;
    let mut gone = conn.prepare_cached("DELETE FROM change WHERE doc = ?1 AND n <= ?2 AND state = 2")?;
    for taken in taken {
        sealed.execute((taken.row, taken.last))?;
        gone.execute((taken.row, taken.last))?;
        if taken.all {
            unmark(conn, Mark::Pending, taken.row)?;
        }
    }
    Ok(())
}

/// How many streams the next envelope is to carry further than their limit, whatever else it says.
pub(super) fn vouched(conn: &Connection, space: SpaceRef) -> Result<u64, StoreError> {
    let sql =
        "SELECT count(*) FROM stream s JOIN mention m ON m.stream = s.stream AND m.position = ?2 WHERE s.space = ?1";
    Reads { conn }.count(sql, (space.row, position(space.stream_row, 0)))
}

/// Stream by stream, as mentions are found: there is one for nearly every envelope.
fn forget_vouched(conn: &Connection, space: SpaceRef) -> Result<(), StoreError> {
    let sql = "DELETE FROM mention WHERE stream IN (SELECT stream FROM stream WHERE space = ?1) AND position = ?2";
    conn.prepare_cached(sql)?.execute((space.row, position(space.stream_row, 0)))?;
    Ok(())
}

/// Streams that were taken in further than the own envelopes have said so far.
fn frontier(conn: &Connection, space: SpaceRef) -> Result<Vec<(StreamId, u32)>, StoreError> {
    let sql = "SELECT stream, min(seq, ifnull(limit_seq, seq)) AS counts FROM stream
         WHERE space = ?1 AND counts > told_seq AND id <> ?2 ORDER BY stream LIMIT ?3";
    let limit = i64::try_from(DELTA_FRONTIER_MAX).unwrap_or(i64::MAX);
    Reads { conn }.all(sql, (space.row, space.stream_row, limit), |row| Ok((StreamId(row.get(0)?), row.get(1)?)))
}

fn tell_frontier(conn: &Connection, deltas: &[Delta], space: i64) -> Result<(), StoreError> {
    let mut update = conn.prepare_cached("UPDATE stream SET told_seq = ?3 WHERE space = ?1 AND stream = ?2")?;
    for (stream, seq) in deltas.iter().flat_map(|delta| &delta.frontier) {
        update.execute((space, stream.as_ref(), seq))?;
    }
    Ok(())
}

/// Key of the mark that this home must not write its stream any more.
pub(super) fn forked_key(space: &SpaceId) -> String {
    format!("forked:{space}")
}

/// Where the own stream stands.
pub(super) fn own_tip(conn: &Connection, space: SpaceRef) -> Result<StreamTip, StoreError> {
    let tip = super::receive::tip_by_row(conn, space.stream_row)?;
    tip.ok_or(StoreError::Corrupt { what: "the device's own stream" })
}

/// Where an envelope of a stream lies: one B-tree for all streams.
pub(super) fn position(stream: i64, seq: u32) -> i64 {
    (stream << 32) | i64::from(seq)
}

pub(super) fn insert_envelope(conn: &Connection, stream: i64, sealed: &SealedEnvelope) -> Result<(), StoreError> {
    let sql = "INSERT INTO envelope(position, envelope, bytes) VALUES (?1, ?2, ?3)";
    conn.prepare_cached(sql)?.execute((position(stream, sealed.seq), sealed.id.as_ref(), &sealed.bytes))?;
    Ok(())
}

pub(super) fn move_tip(conn: &Connection, stream: i64, tip: &StreamTip) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE stream SET seq = ?2, tip = ?3 WHERE id = ?1")?.execute((stream, tip.seq, tip.id))?;
    Ok(())
}
