//! The own stream and what becomes of it when another copy of this home writes it too; and what this device may
//! say about the streams of others: that one forked, and that it takes in what was set aside.

use std::collections::BTreeMap;

use lifeos_sync_protocol::envelope::{Envelope, stream_id};
use lifeos_sync_protocol::ids::{DocId, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::membership::{Membership, StreamLimit};
use lifeos_sync_protocol::record::Body;
use rusqlite::Connection;

use super::accept::{Stored, hash_of, insert_mention, pending_changes, stored};
use super::retry::reopened;
use super::verify::Streams;
use super::{ReceiveReport, Receiver, Records, Steps, Unknown};
use crate::crypto::{Random, random_bytes};
use crate::document::make_again;
use crate::envelope::RefusedEnvelope;
use crate::keys::Keyring;
use crate::store::documents::{DocRow, Mark, marked};
use crate::store::outbox::note_left;
use crate::store::records::{SpaceRef, find_space};
use crate::store::{Reads, RelayId, Store, StoreError, schema, seal};

/// Pairs of envelopes looked at in one call.
const FORKS_AT_ONCE: u32 = 16;

/// Positions that a stream has left when it is given up for a new one: plenty for a day on which there is always
/// something waiting, and the change has to wait, too.
const POSITIONS_KEPT: u32 = 1 << 16;

impl Store {
    /// Tells how far every copy of this home agrees on the own stream, when another copy has gone on writing it:
    /// the home was copied, or put back from a backup.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn own_stream_shared(&self, space: &SpaceId, membership: &Membership) -> Result<Option<u32>, StoreError> {
        let own = find_space(&self.conn, space)?;
        let tip = seal::own_tip(&self.conn, own)?.seq;
        let floor: u32 = self
            .reads()
            .one("SELECT floor FROM stream WHERE id = ?1", [own.stream_row], |row| row.get(0))?
            .unwrap_or(0);
        let proven = membership.forks.get(&own.stream).filter(|point| point.seq > floor).map(|point| {
            let sql = "SELECT envelope FROM envelope WHERE position = ?1";
            let held = self.reads().one(sql, [seal::position(own.stream_row, point.seq)], |row| row.get(0));
            held.map(|held: Option<[u8; 32]>| if held == Some(point.id.0) { point.seq } else { point.seq - 1 })
        });
        let sql = "SELECT min(seq) FROM quarantine WHERE space = ?1 AND stream = ?2 AND reason = ?3";
        let fork = RefusedEnvelope::Fork.to_string();
        let seen: Option<u32> =
            self.conn.prepare_cached(sql)?.query_row((own.row, own.stream.as_ref(), fork), |row| row.get(0))?;
        let marked = schema::meta(&self.conn, &seal::forked_key(space))?.map(|_| tip);
        let seen = seen.map(|seq| seq.saturating_sub(1));
        Ok([proven.transpose()?, seen, marked].into_iter().flatten().min().map(|agreed| agreed.min(tip)))
    }

    /// The log that could tell how far the own stream goes is gone: should this home have been put back from a copy,
    /// others may hold more of the stream than it does. Nothing is sealed there any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn doubt_own_stream(&mut self, space: &SpaceId) -> Result<(), StoreError> {
        let own = find_space(&self.conn, space)?;
        // A stream that nothing was sealed in yet is this home's alone.
        if seal::own_tip(&self.conn, own)?.seq > 0 {
            schema::put_meta(&self.conn, &seal::forked_key(space), &[1])?;
        }
        Ok(())
    }

    /// Where the own stream ends, if it is nearly full and may be left as it is: nothing waits that names it, every relay
    /// has all of it, and no other copy writes it. What it holds is then made again nowhere.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn own_stream_full(&self, space: &SpaceId) -> Result<Option<u32>, StoreError> {
        let own = find_space(&self.conn, space)?;
        let tip = seal::own_tip(&self.conn, own)?.seq;
        if tip < u32::MAX - POSITIONS_KEPT || tip == u32::MAX {
            return Ok(None);
        }
        let waits = self.reads().pending_count(space)? > 0 || self.reads().vouched_count(space)? > 0;
        let is_sent = self.relays(space)?.iter().all(|relay| relay.own_acked_seq >= tip);
        Ok((!waits && is_sent).then_some(tip))
    }

    /// Goes on under a new stream: what this home wrote after `agreed_seq` and has not sealed is made again there,
    /// not a letter lost, and what the other copy wrote is taken in beside it (amendment 5).
    ///
    /// # Errors
    /// [`StoreError`]; then everything is as it was.
    pub fn begin_new_stream(
        &mut self,
        space: &SpaceId,
        agreed_seq: u32,
        (membership, keyring): (&Membership, &Keyring),
        now_ms: i64,
        random: &mut dyn Random,
    ) -> Result<ReceiveReport, StoreError> {
        let records = Records { membership, keyring };
        let r32 = random_bytes(random);
        let report = self.receiving(space, records, Unknown::Quarantine, now_ms, Steps::default(), |receiver, _| {
            receiver.begin_new_stream(agreed_seq, r32)
        })?;
        // Loaded documents would still write as the old stream.
        self.documents.clear();
        Ok(report)
    }

    /// Records to be that prove that a stream was written twice, where none does yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn fork_evidence(&self, space: &SpaceId, membership: &Membership) -> Result<Vec<Body>, StoreError> {
        let own = find_space(&self.conn, space)?;
        let sql = "SELECT q.stream, s.device, s.r32, e.bytes, q.bytes FROM quarantine q
                   JOIN stream s ON s.space = q.space AND s.stream = q.stream AND s.id <> ?4 AND s.r32 IS NOT NULL
                   JOIN envelope e ON e.position = (s.id << 32 | q.seq) AND e.envelope <> q.envelope
                   WHERE q.space = ?1 AND q.reason = ?2 AND q.bytes IS NOT NULL ORDER BY q.seq LIMIT ?3";
        let fork = RefusedEnvelope::Fork.to_string();
        let found = self.reads().all(sql, (own.row, fork, FORKS_AT_ONCE, own.stream_row), |row| {
            let bytes = |column| row.get::<_, Vec<u8>>(column);
            Ok((StreamId(row.get(0)?), SignPk(row.get(1)?), row.get::<_, [u8; 32]>(2)?, [bytes(3)?, bytes(4)?]))
        })?;
        let unproven = found.into_iter().filter(|(stream, ..)| !membership.forks.contains_key(stream));
        // What stands in the way of a proof (a signature that was spoiled on the way) is left where it is.
        let proof = |(_, device, r32, envelopes): (StreamId, SignPk, [u8; 32], [Vec<u8>; 2])| {
            let [held, other] = envelopes.map(|bytes| Envelope::parse(bytes).ok());
            let proof = Body::fork_proof(&device, &r32, &held?, &other?);
            proof.is_fork_proven(space).then_some(proof)
        };
        Ok(unproven.filter_map(proof).collect())
    }

    /// Takes in what a removed device wrote up to this envelope and was set aside: the next envelope of this
    /// device says that it builds upon it, and everybody takes it in.
    ///
    /// # Errors
    /// [`StoreError::NothingToAdopt`] when it was not set aside for that reason.
    pub fn adopt(
        &mut self,
        space: &SpaceId,
        (stream, seq): (&StreamId, u32),
        (membership, keyring): (&Membership, &Keyring),
        now_ms: i64,
    ) -> Result<ReceiveReport, StoreError> {
        let records = Records { membership, keyring };
        self.receiving(space, records, Unknown::Quarantine, now_ms, Steps::default(), |receiver, _| {
            let context = receiver.context;
            let known = stored(context.conn, context.row)?.into_iter().find(|known| known.stream == *stream);
            let adoptable = known.filter(|known| {
                let limit = context.limit(known);
                seq <= known.seq && !limit.takes(seq) && limit != StreamLimit::Never
            });
            if adoptable.is_none() || !membership.may_write(&receiver.own_device()?) {
                return Err(StoreError::NothingToAdopt);
            }
            insert_mention(context.conn, seal::position(receiver.documents.space.stream_row, 0), stream, seq)?;
            receiver.settle()?;
            receiver.report.changed.sort_unstable();
            receiver.report.changed.dedup();
            Ok(())
        })
    }
}

impl Reads<'_> {
    /// Streams that the next envelope is to carry further, although there may be no edit to seal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn vouched_count(&self, space: &SpaceId) -> Result<u64, StoreError> {
        seal::vouched(self.conn, find_space(self.conn, space)?)
    }
}

impl Receiver<'_> {
    fn own_device(&self) -> Result<lifeos_sync_protocol::ids::SignPk, StoreError> {
        Ok(seal::own_tip(self.context.conn, self.documents.space)?.device)
    }

    fn begin_new_stream(&mut self, agreed_seq: u32, r32: [u8; 32]) -> Result<(), StoreError> {
        let (conn, old) = (self.context.conn, self.documents.space);
        let missing = StoreError::Corrupt { what: "the device's own stream" };
        let mut known = stored(conn, old.row)?.into_iter().find(|known| known.row == old.stream_row).ok_or(missing)?;
        let mut again = self.written_after(&known, agreed_seq)?;
        self.undone.extend(again.values().flatten().filter_map(|bytes| hash_of(bytes)));
        // What was erased there is told again under the new stream.
        let sql =
            "UPDATE erased SET state = 1, position = 0, epoch = NULL WHERE state = 2 AND position BETWEEN ?1 AND ?2";
        let after = seal::position(known.row, agreed_seq.max(known.floor).saturating_add(1));
        conn.prepare_cached(sql)?.execute((after, seal::position(known.row, u32::MAX)))?;
        self.leave_branch(&mut known, agreed_seq + 1)?;
        // They lie in its place no more, and are made again: nobody has to look at them. What lies before them and could
        // not be opened yet stays: a home that was put back from before its newest key gets that later.
        let [unopened, damaged] = reopened();
        let sql = "DELETE FROM quarantine WHERE space = ?1 AND stream = ?2 AND (bytes IS NULL OR reason <> ?3)
                   AND NOT (seq <= ?4 AND bytes IS NULL AND reason IN (?5, ?6))";
        let (fork, kept) = (RefusedEnvelope::Fork.to_string(), agreed_seq.max(known.floor));
        conn.execute(sql, (old.row, old.stream.as_ref(), fork, kept, unopened, damaged))?;
        for doc in pending_documents(conn, old.row)? {
            again.entry(doc.doc).or_default().extend(pending_changes(conn, doc.id)?);
        }
        self.documents.space = start_stream(conn, self.context.space, &known, old, r32)?;
        let stream = self.documents.space.stream;
        let made = again.into_iter().map(|(doc, changes)| {
            let made = make_again(&changes, stream, 1)?;
            Ok((doc, made.into_iter().map(|change| change.bytes).collect()))
        });
        let made: BTreeMap<DocId, Vec<Vec<u8>>> = made.collect::<Result<_, StoreError>>()?;
        self.rebuild(&made.keys().copied().collect(), &made)?;
        conn.execute("DELETE FROM meta WHERE key = ?1", [seal::forked_key(self.context.space)])?;
        // What a relay lacks of the stream that is left is still to be given to it.
        let sql = "SELECT id, own_acked_seq FROM relay WHERE space = ?1";
        let acked = Reads { conn }.all(sql, [old.row], |row| Ok((RelayId(row.get(0)?), row.get::<_, u32>(1)?)))?;
        acked.into_iter().try_for_each(|(relay, acked)| note_left(conn, relay, &old.stream, acked.min(agreed_seq)))?;
        conn.execute("UPDATE relay SET own_acked_seq = 0 WHERE space = ?1", [old.row])?;
        self.retry(Streams::new(self.documents.space))
    }

    /// Changes in own envelopes after a place, by document, in order.
    fn written_after(&self, own: &Stored, agreed_seq: u32) -> Result<BTreeMap<DocId, Vec<Vec<u8>>>, StoreError> {
        let mut found: BTreeMap<DocId, Vec<Vec<u8>>> = BTreeMap::new();
        for seq in agreed_seq.max(own.floor) + 1..=own.seq {
            for doc in self.context.open_at(own, seq)?.into_iter().flat_map(|opened| opened.delta.docs) {
                found.entry(doc.doc).or_default().extend(doc.changes);
            }
        }
        Ok(found)
    }
}

fn pending_documents(conn: &Connection, space: i64) -> Result<Vec<DocRow>, StoreError> {
    let rows = marked(conn, Mark::Pending, usize::MAX)?.into_iter().map(|doc| DocRow::by_id(conn, doc));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().flatten().filter(|row| row.space == space).collect())
}

/// Makes the stream that this home writes from now on.
fn start_stream(
    conn: &Connection,
    space: &SpaceId,
    own: &Stored,
    old: SpaceRef,
    r32: [u8; 32],
) -> Result<SpaceRef, StoreError> {
    let stream = stream_id(space, &own.device, &r32);
    let sql = "INSERT INTO stream(space, stream, device, seq, tip, r32) VALUES (?1, ?2, ?3, 0, ?4, ?4)";
    let stream_row = conn.prepare_cached(sql)?.insert((old.row, stream.as_ref(), own.device.as_ref(), r32))?;
    conn.execute("UPDATE space SET own_stream = ?2 WHERE id = ?1", (old.row, stream_row))?;
    Ok(SpaceRef { row: old.row, stream, stream_row })
}
