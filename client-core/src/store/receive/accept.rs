//! Which envelopes of a stream count (protocol §6.5): all of them, or, after a removal or demotion, those up to the
//! cut and those that other people's accepted work was built upon.
//!
//! The answer depends on the records and on the envelopes held, never on the order in which they came: it is
//! computed anew whenever one of the two may have changed it, and what changed sides is undone or taken in.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use lifeos_sync_protocol::envelope::Envelope;
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, MemberId, SignPk, StreamId};
use lifeos_sync_protocol::membership::{HeldStream, StreamLimit, StreamPoint, accept};
use rusqlite::Connection;

use super::apply::Batch;
use super::{Context, Origin, Receiver};
use crate::document::Document;
use crate::envelope::{self, OpenedDelta, RefusedEnvelope, StreamTip, VerifiedEnvelope};
use crate::store::documents::{DocRow, Mark};
use crate::store::{Reads, StoreError, quarantine, records, schema, seal};

/// Key of the mark that every opened envelope's mentions are in the table; homes of format 1 lack them.
const MENTIONS_COMPLETE: &str = "mentions";

/// A stream as it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) row: i64,
    pub(super) stream: StreamId,
    pub(super) device: SignPk,
    /// Last envelope held.
    pub(super) seq: u32,
    /// Last envelope that counts; `None`: all do.
    pub(super) limit: Option<u32>,
    /// Up to here a checkpoint stands for the envelopes: what they said counts whatever is decided about the stream.
    pub(super) floor: u32,
}

impl Stored {
    /// Last envelope held that counts, if `limit` is how far the stream counts.
    pub(super) fn end(&self, limit: Option<u32>) -> u32 {
        limit.map_or(self.seq, |limit| limit.min(self.seq)).max(self.floor.min(self.seq))
    }
}

/// All streams of a space.
pub(super) fn stored(conn: &Connection, space: i64) -> Result<Vec<Stored>, StoreError> {
    let sql = "SELECT id, stream, device, seq, limit_seq, floor FROM stream WHERE space = ?1 ORDER BY id";
    Reads { conn }.all(sql, [space], |row| {
        Ok(Stored {
            row: row.get(0)?,
            stream: StreamId(row.get(1)?),
            device: SignPk(row.get(2)?),
            seq: row.get(3)?,
            limit: row.get(4)?,
            floor: row.get(5)?,
        })
    })
}

/// An envelope says that its author had taken `stream` in as far as `seq`.
pub(in crate::store) fn insert_mention(
    conn: &Connection,
    position: i64,
    stream: &StreamId,
    seq: u32,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO mention(stream, position, seq) VALUES (?1, ?2, ?3)
               ON CONFLICT(stream, position) DO UPDATE SET seq = max(seq, excluded.seq)";
    conn.prepare_cached(sql)?.execute((stream.as_ref(), position, seq))?;
    Ok(())
}

/// Who says so (stream row and sequence), and how far.
fn mentions(conn: &Connection, stream: &StreamId) -> Result<Vec<(i64, u32, u32)>, StoreError> {
    let sql = "SELECT position, seq FROM mention WHERE stream = ?1 ORDER BY position";
    Reads { conn }.all(sql, [stream.as_ref()], |row| {
        let position: i64 = row.get(0)?;
        Ok((position >> 32, u32::try_from(position & i64::from(u32::MAX)).unwrap_or(0), row.get(1)?))
    })
}

/// What is undone or taken in when limits move.
#[derive(Default)]
struct Shift {
    rejected: Vec<(Stored, u32)>,
    admitted: Vec<(Stored, u32)>,
}

impl Receiver<'_> {
    /// Computes anew how far each stream counts, takes in what counts now and undoes what does not.
    pub(super) fn settle(&mut self) -> Result<(), StoreError> {
        self.unsettled = false;
        let mut streams = stored(self.context.conn, self.context.row)?;
        let mut undone = self.switch_branches(&mut streams)?;
        let limited =
            streams.iter().any(|known| known.limit.is_some() || self.context.limit(known) != StreamLimit::Open);
        if !limited || self.is_own_device_out(&streams) {
            return Ok(());
        }
        self.complete_mentions(&streams)?;
        loop {
            let limits = self.pinned_limits(&streams)?;
            let shift = move_limits(self.context.conn, &mut streams, &limits)?;
            if shift.rejected.is_empty() && shift.admitted.is_empty() {
                break;
            }
            for (known, seq) in shift.rejected {
                undone.extend(self.reject(&known, seq)?);
            }
            let mut batch = Batch::default();
            for (known, seq) in shift.admitted {
                self.admit(&known, seq, &mut batch)?;
            }
            self.apply(batch)?;
        }
        self.limits = limits_of(&streams);
        self.unsettled = false;
        if undone.is_empty() {
            return Ok(());
        }
        self.rebuild(&undone, &BTreeMap::new())?;
        self.erase_otherwise()
    }

    /// Where a fork was proven and this device holds the branch that does not count, steps back to before it. The
    /// own stream is left alone: its content is made again under a new one first.
    fn switch_branches(&mut self, streams: &mut [Stored]) -> Result<BTreeSet<DocId>, StoreError> {
        let (membership, mut undone) = (self.context.membership, BTreeSet::new());
        for (stream, point) in &membership.forks {
            let Some(known) = streams.iter_mut().find(|known| known.stream == *stream) else { continue };
            let is_own = known.row == self.documents.space.stream_row;
            let held = id_at(self.context.conn, known, point.seq)?;
            // A stream that this device has left lacks the branch that counts, should that have been its own.
            let is_lacking = held.is_none() && known.seq.checked_add(1) == Some(point.seq);
            if is_own || !(is_lacking || held.is_some_and(|held| held != point.id)) {
                continue;
            }
            if !is_lacking {
                undone.extend(self.leave_branch(known, point.seq)?);
            }
            self.fetch_branch(known, point)?;
        }
        Ok(undone)
    }

    /// Sets a stream's envelopes from `from` on aside, bytes and all; gives the documents they had changed.
    pub(super) fn leave_branch(&mut self, known: &mut Stored, from: u32) -> Result<Vec<DocId>, StoreError> {
        let (conn, row, mut docs) = (self.context.conn, self.context.row, Vec::new());
        // What a checkpoint stands for is not left any more.
        let from = from.max(known.floor.saturating_add(1));
        let mut prev = None;
        for seq in from..=known.seq {
            let Some(verified) = self.context.verified_at(known, seq)? else { continue };
            prev = prev.or(Some(verified.envelope().header().prev));
            docs.extend(self.reject(known, seq)?);
            let position = [seal::position(known.row, seq)];
            conn.prepare_cached("DELETE FROM envelope WHERE position = ?1")?.execute(position)?;
            quarantine::release(conn, row, &verified.id())?;
            let origin = Origin { stream: known.stream, seq, author: Some(known.device) };
            self.quarantine(verified.id(), origin, OTHER_BRANCH, Some(verified.envelope().bytes()))?;
        }
        // At once: mentions are found by what they name, and looking at all of them for each place would take for ever.
        let left = (seal::position(known.row, from), seal::position(known.row, known.seq));
        conn.prepare_cached("DELETE FROM mention WHERE position BETWEEN ?1 AND ?2")?.execute(left)?;
        if let Some(prev) = prev {
            known.seq = from.saturating_sub(1);
            let tip = StreamTip { stream: known.stream, device: known.device, seq: known.seq, id: prev };
            seal::move_tip(conn, known.row, &tip)?;
            conn.execute("UPDATE stream SET told_seq = min(told_seq, seq) WHERE id = ?1", [known.row])?;
        }
        Ok(docs)
    }

    /// The branch that counts may be held by nobody but the proof of the fork: it lies there whole.
    fn fetch_branch(&mut self, known: &Stored, point: &StreamPoint) -> Result<(), StoreError> {
        for record in records::load(self.context.conn, self.context.row)? {
            let Some((fork, first, second)) = record.body().fork_envelopes(self.context.space) else { continue };
            let counts = |envelope: &&Envelope| envelope.id(self.context.space) == point.id;
            if let Some(envelope) = [&first, &second].into_iter().find(counts).filter(|_| fork.stream == known.stream) {
                let origin = Origin { stream: known.stream, seq: point.seq, author: Some(known.device) };
                self.quarantine(point.id, origin, &RefusedEnvelope::Fork.to_string(), Some(envelope.bytes()))?;
            }
        }
        Ok(())
    }

    /// A device that was removed keeps what it has: it is asked for nothing and told nothing any more.
    fn is_own_device_out(&self, streams: &[Stored]) -> bool {
        let own = streams.iter().find(|known| known.row == self.documents.space.stream_row);
        let enrolled = own.and_then(|own| self.context.membership.devices.get(&own.device));
        enrolled.is_none_or(|device| device.removed_by.is_some())
    }

    /// The limits, and none of them takes away what an unsent edit of this device was built upon: that edit says
    /// so when it is sealed, and everybody keeps it.
    fn pinned_limits(&self, streams: &[Stored]) -> Result<BTreeMap<StreamId, u32>, StoreError> {
        let pending = self.pending_documents()?;
        loop {
            let limits = self.limits(streams)?;
            let mut pinned = false;
            for known in streams.iter().filter(|_| !pending.is_empty()) {
                let limit = limits.get(&known.stream).copied();
                for seq in (known.end(limit) + 1..=known.end(known.limit)).rev() {
                    if self.is_built_upon(known, seq, &pending)? {
                        let own = seal::position(self.documents.space.stream_row, 0);
                        insert_mention(self.context.conn, own, &known.stream, seq)?;
                        pinned = true;
                        break;
                    }
                }
            }
            if !pinned {
                return Ok(limits);
            }
        }
    }

    /// How far each limited stream counts: by the records, and by the envelopes held that count themselves.
    fn limits(&self, streams: &[Stored]) -> Result<BTreeMap<StreamId, u32>, StoreError> {
        let by_row: BTreeMap<i64, StreamId> = streams.iter().map(|known| (known.row, known.stream)).collect();
        let mut frontiers: BTreeMap<StreamId, BTreeMap<u32, Vec<(StreamId, u32)>>> = BTreeMap::new();
        let mut limited = BTreeMap::new();
        for known in streams {
            let Some(last) = self.context.limit(known).seq() else { continue };
            limited.insert(known.stream, last.max(known.floor));
            for (row, seq, mentioned) in mentions(self.context.conn, &known.stream)? {
                let Some(by) = by_row.get(&row) else { continue };
                frontiers.entry(*by).or_default().entry(seq).or_default().push((known.stream, mentioned));
            }
        }
        let held = streams.iter().map(|known| {
            let frontiers = frontiers.remove(&known.stream).unwrap_or_default().into_iter().collect();
            (known.stream, HeldStream { limit: self.context.limit(known), tip: known.seq, frontiers })
        });
        let accepted = accept(&held.collect());
        // What is still to come up to the records' own limit counts, too.
        let further =
            |(stream, last): (StreamId, u32)| (stream, accepted.get(&stream).map_or(last, |at| last.max(*at)));
        Ok(limited.into_iter().map(further).collect())
    }

    /// Envelopes opened by a version that kept no mentions are read once more.
    fn complete_mentions(&self, streams: &[Stored]) -> Result<(), StoreError> {
        if schema::meta(self.context.conn, MENTIONS_COMPLETE)?.is_some() {
            return Ok(());
        }
        for known in streams {
            for seq in known.floor + 1..=known.seq {
                if let Some(opened) = self.context.open_at(known, seq)? {
                    self.note_mentions(known.row, &opened)?;
                }
            }
        }
        schema::put_meta(self.context.conn, MENTIONS_COMPLETE, &[1])
    }

    /// Keeps what an envelope says of other streams.
    pub(super) fn note_mentions(&self, row: i64, opened: &OpenedDelta) -> Result<(), StoreError> {
        let position = seal::position(row, opened.seq);
        opened
            .delta
            .frontier
            .iter()
            .try_for_each(|(stream, seq)| insert_mention(self.context.conn, position, stream, *seq))
    }

    /// Sets aside an envelope that was taken in; gives the documents it had changed.
    fn reject(&mut self, known: &Stored, seq: u32) -> Result<Vec<DocId>, StoreError> {
        let Some(id) = id_at(self.context.conn, known, seq)? else { return Ok(Vec::new()) };
        let opened = self.context.open_at(known, seq)?;
        let changes = opened.iter().flat_map(|opened| &opened.delta.docs).flat_map(|doc| &doc.changes);
        self.undone.extend(changes.filter_map(|bytes| hash_of(bytes)));
        self.set_aside(id, known, seq)?;
        let sql = "DELETE FROM waiting WHERE space = ?1 AND envelope = ?2";
        self.context.conn.prepare_cached(sql)?.execute((self.context.row, id.as_ref()))?;
        let erased = opened.iter().flat_map(|opened| &opened.delta.erased).map(|erased| erased.doc);
        let mut docs = self.take_back_erasures(seal::position(known.row, seq), erased)?;
        docs.extend(opened.into_iter().flat_map(|opened| opened.delta.docs).map(|doc| doc.doc));
        Ok(docs)
    }

    /// Sets an envelope aside that is kept as a part of its stream and does not count.
    pub(super) fn set_aside(&mut self, id: EnvelopeId, known: &Stored, seq: u32) -> Result<(), StoreError> {
        quarantine::release(self.context.conn, self.context.row, &id)?;
        self.origins.insert(id, Origin { stream: known.stream, seq, author: Some(known.device) });
        let reason = self.context.why_not(known);
        self.quarantine_known(id, reason)
    }

    /// Takes in an envelope that was set aside.
    fn admit(&mut self, known: &Stored, seq: u32, batch: &mut Batch) -> Result<(), StoreError> {
        let (Some(id), Some(verified)) = (id_at(self.context.conn, known, seq)?, self.context.verified_at(known, seq)?)
        else {
            return Ok(());
        };
        quarantine::release(self.context.conn, self.context.row, &id)?;
        self.origins.insert(id, Origin { stream: known.stream, seq, author: Some(known.device) });
        self.open(verified, known.row, batch)
    }

    /// Documents with changes of this device that are not sealed.
    fn pending_documents(&self) -> Result<BTreeSet<DocId>, StoreError> {
        let sql = "SELECT d.doc FROM mark m JOIN document d ON d.id = m.doc WHERE m.kind = ?1 AND d.space = ?2";
        let rows = Reads { conn: self.context.conn }
            .all(sql, (Mark::Pending as i64, self.context.row), |row| Ok(DocId(row.get(0)?)))?;
        Ok(rows.into_iter().collect())
    }

    /// Whether an unsealed change of this device has a change of this envelope in its past.
    fn is_built_upon(&self, known: &Stored, seq: u32, pending: &BTreeSet<DocId>) -> Result<bool, StoreError> {
        let Some(opened) = self.context.open_at(known, seq)? else { return Ok(false) };
        for doc in opened.delta.docs.iter().filter(|doc| pending.contains(&doc.doc)) {
            let hashes: HashSet<[u8; 32]> = doc.changes.iter().filter_map(|bytes| hash_of(bytes)).collect();
            let Some(row) = DocRow::find(self.context.conn, self.context.row, &doc.doc)? else { continue };
            let document = row.load(self.context.conn, self.documents.space.stream)?;
            let unsealed = pending_changes(self.context.conn, row.id)?;
            if reaches(document, &unsealed, &hashes) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

pub(super) fn hash_of(bytes: &[u8]) -> Option<[u8; 32]> {
    automerge::Change::from_bytes(bytes.to_vec()).ok().map(|change| change.hash().0)
}

/// Whether one of the `unsealed` changes has one of `hashes` in its past.
fn reaches(mut document: Document, unsealed: &[Vec<u8>], hashes: &HashSet<[u8; 32]>) -> bool {
    let mut open: Vec<[u8; 32]> = unsealed.iter().filter_map(|bytes| hash_of(bytes)).collect();
    let mut seen: HashSet<[u8; 32]> = open.iter().copied().collect();
    while let Some(hash) = open.pop() {
        if hashes.contains(&hash) {
            return true;
        }
        let Some(change) = document.inspect().get_change_by_hash(&automerge::ChangeHash(hash)) else { continue };
        open.extend(change.deps().iter().map(|dep| dep.0).filter(|dep| seen.insert(*dep)));
    }
    false
}

/// Unsealed changes of a document, in order.
pub(super) fn pending_changes(conn: &Connection, doc: i64) -> Result<Vec<Vec<u8>>, StoreError> {
    let sql = "SELECT bytes FROM change WHERE doc = ?1 AND state > 0 ORDER BY n";
    Reads { conn }.all(sql, [doc], |row| row.get(0))
}

pub(super) fn id_at(conn: &Connection, known: &Stored, seq: u32) -> Result<Option<EnvelopeId>, StoreError> {
    let sql = "SELECT envelope FROM envelope WHERE position = ?1";
    Reads { conn }.one(sql, [seal::position(known.row, seq)], |row| Ok(EnvelopeId(row.get(0)?)))
}

/// Streams with a limit.
pub(super) fn limits_of(streams: &[Stored]) -> BTreeMap<StreamId, u32> {
    streams.iter().filter_map(|known| Some((known.stream, known.limit?))).collect()
}

/// Stores the new limits; tells what changes sides, each stream's in its order.
fn move_limits(
    conn: &Connection,
    streams: &mut [Stored],
    limits: &BTreeMap<StreamId, u32>,
) -> Result<Shift, StoreError> {
    let mut shift = Shift::default();
    for known in streams {
        let limit = limits.get(&known.stream).copied();
        if limit == known.limit {
            continue;
        }
        let (before, after) = (known.end(known.limit), known.end(limit));
        known.limit = limit;
        conn.prepare_cached("UPDATE stream SET limit_seq = ?2 WHERE id = ?1")?.execute((known.row, limit))?;
        shift.rejected.extend((after + 1..=before).map(|seq| (*known, seq)));
        shift.admitted.extend((before + 1..=after).map(|seq| (*known, seq)));
    }
    Ok(shift)
}

impl Context<'_> {
    /// How far a stream counts by the records alone.
    pub(super) fn limit(&self, known: &Stored) -> StreamLimit {
        self.membership.stream_limit(&known.device, &known.stream)
    }

    /// Whether this envelope lies on the branch of a forked stream that does not count.
    pub(super) fn is_other_branch(&self, stream: &StreamId, seq: u32, id: EnvelopeId) -> bool {
        self.membership.forks.get(stream).is_some_and(|point| point.seq == seq && point.id != id)
    }

    /// Why an envelope beyond the limit does not count, in words.
    fn why_not(&self, known: &Stored) -> &'static str {
        match self.membership.devices.get(&known.device) {
            _ if self.membership.forks.contains_key(&known.stream) => AFTER_FORK,
            Some(device) if device.cuts.is_some() => AFTER_REMOVAL,
            _ => NOT_A_WRITER,
        }
    }

    /// An envelope that is kept as a part of its stream; it was verified when it was taken in, and stays readable
    /// here when its device turns out never to have been enrolled.
    pub(super) fn verified_at(&self, known: &Stored, seq: u32) -> Result<Option<VerifiedEnvelope>, StoreError> {
        let sql = "SELECT envelope, bytes FROM envelope WHERE position = ?1";
        let place = [seal::position(known.row, seq)];
        let found = Reads { conn: self.conn }.one(sql, place, |row| Ok((EnvelopeId(row.get(0)?), row.get(1)?)))?;
        let Some((id, bytes)) = found else { return Ok(None) };
        let bytes: Vec<u8> = bytes;
        let Ok(envelope) = Envelope::parse(bytes) else { return Ok(None) };
        let member = self.membership.devices.get(&known.device).map_or(MemberId::ZERO, |device| device.member);
        Ok(Some(VerifiedEnvelope { envelope, id, author: known.device, member }))
    }

    /// The same, opened; `None` also when its key is not held.
    pub(super) fn open_at(&self, known: &Stored, seq: u32) -> Result<Option<OpenedDelta>, StoreError> {
        let verified = self.verified_at(known, seq)?;
        Ok(verified.and_then(|verified| envelope::open(self.space, &verified, self.keyring).ok()))
    }
}

/// Reason of an envelope of a stream that was written twice.
pub(in crate::store) const AFTER_FORK: &str =
    "its stream was written by two copies of one device: what came after that does not count";
/// Reason of an envelope on the branch that does not count.
pub(in crate::store) const OTHER_BRANCH: &str =
    "two copies of one device wrote this place of their stream: the other one counts";
/// Reason of an envelope that its removed device wrote too late.
pub(in crate::store) const AFTER_REMOVAL: &str = "it came after its device was removed, and nobody had built upon it: \
     somebody who may write here can take it in with `lifeos device adopt`";
/// Reason of an envelope whose author reads only.
pub(in crate::store) const NOT_A_WRITER: &str = "its author may read here but not write";
