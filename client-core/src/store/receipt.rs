//! What devices say that they hold: other devices' words, from their envelopes and receipts, and this device's own
//! receipt.
//!
//! ```text
//! confirmed  (device, stream) → how far that device says it holds the stream, and since when that is further than here
//! receipt    device → its newest receipt; when last everything held here was confirmed by it
//! relay      what this device's newest receipt at that relay says: there is no reason for another one before it is
//!            less than what is here
//! ```
//!
//! A word is never taken back: a smaller one changes nothing. It goes with its device ([`promise::forget_gone`]); who
//! reads in between asks whether that is enrolled.

use lifeos_sync_protocol::ids::{RecordId, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;
use rusqlite::Connection;

use super::records::{SpaceRef, find_space};
use super::{Reads, RelayId, Store, StoreError, begin, checkpoint, promise, schema, witness};
use crate::crypto::Random;
use crate::envelope::SealedEnvelope;
use crate::keys::{DeviceKeys, Keyring, ReceiptKey};
use crate::receipt::{self, RECEIPT_APP_BYTES_MAX, RECEIPT_STREAMS_MAX, Receipt, RefusedReceipt};
use crate::witness::{RECORDS_TOLD_MAX, decode_app, encode_app};

/// Streams that are remembered of one device although nothing of them is here: it can invent them.
const UNKNOWN_OF_ONE_MAX: u64 = 1_024;

/// A receipt of this device, and what it says, to be kept once a relay has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnReceipt {
    /// Finished bytes.
    pub envelope: SealedEnvelope,
    /// For [`Store::receipt_taken`].
    pub said: Vec<u8>,
}

/// What came of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeardReceipt {
    /// Newer than what was known of this device.
    Taken(SignPk),
    /// This device's own.
    Own,
    /// Passed over.
    Refused(RefusedReceipt),
}

/// What another device has confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// The device.
    pub device: SignPk,
    /// When its newest receipt was made, by its own clock (ms UTC); `None`: only its envelopes tell.
    pub said_ms: Option<i64>,
    /// When it was last heard of (ms UTC).
    pub heard_ms: i64,
    /// When it had last confirmed everything that was here (ms UTC).
    pub complete_ms: Option<i64>,
    /// Envelopes of this home's device that it has not confirmed.
    pub unconfirmed_own: u64,
    /// Envelopes held here, of all devices but itself, that it has not confirmed.
    pub unconfirmed: u64,
    /// Envelopes that it holds and has set aside.
    pub set_aside: u32,
}

impl Store {
    /// Makes a receipt of what lies on the disk, unless the relay has one that says as much, or envelopes of this
    /// device have said it. The count is durable before anything leaves, so that none is used twice.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn seal_receipt(
        &mut self,
        space: &SpaceId,
        relay: RelayId,
        (keys, key): (&DeviceKeys, &ReceiptKey),
        now_ms: i64,
        random: &mut dyn Random,
    ) -> Result<Option<OwnReceipt>, StoreError> {
        let transaction = begin(&self.conn)?;
        let space_ref = find_space(&transaction, space)?;
        let known = known(&transaction, space_ref, &keys.sign_pk())?;
        let (newest_record, untold_record) = newest_records(&transaction, space_ref.row)?;
        let said = said_to(&transaction, relay)?;
        if !said.is_none_or(|said| said.is_overtaken(&known, untold_record)) {
            return Ok(None);
        }
        let count = own_count(&transaction, space)?.saturating_add(1);
        let body = Receipt {
            r32: own_r32(&transaction, space_ref)?,
            said_ms: now_ms,
            held: known.iter().map(|known| (known.stream, known.counts)).collect(),
            app: advice(&transaction, space_ref.row, relay)?,
            set_aside: set_aside(&transaction, space_ref.row)?,
        };
        let envelope = receipt::seal(space, (space_ref.stream, count), keys, key, &body, random)?;
        schema::put_meta(&transaction, &count_key(space), &count.to_be_bytes())?;
        transaction.commit()?;
        Ok(Some(OwnReceipt { envelope, said: Said { newest_record, held: body.held }.encode() }))
    }

    /// The relay keeps the receipt. Not durable at once: a lost answer costs one more receipt.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn receipt_taken(&mut self, relay: RelayId, said: &[u8]) -> Result<(), StoreError> {
        let sql = "UPDATE relay SET receipt = ?2 WHERE id = ?1";
        self.lazily(|conn| Ok(conn.prepare_cached(sql)?.execute((relay.0, said))?))?;
        Ok(())
    }

    /// Takes in a receipt that came from outside. Not durable at once: the relay tells it again.
    ///
    /// # Errors
    /// [`StoreError`]; what is wrong with the receipt is [`HeardReceipt::Refused`].
    pub fn hear_receipt(
        &mut self,
        space: &SpaceId,
        bytes: Vec<u8>,
        (membership, keyring): (&Membership, &Keyring),
        now_ms: i64,
    ) -> Result<HeardReceipt, StoreError> {
        let opened = match receipt::open(space, membership, keyring, bytes) {
            Ok(opened) => opened,
            Err(refused) => return Ok(HeardReceipt::Refused(refused)),
        };
        self.lazily(|conn| {
            let transaction = begin(conn)?;
            let space_ref = find_space(&transaction, space)?;
            let teller = opened.device;
            let is_own = teller == own_device(&transaction, space_ref)?;
            let known =
                if is_own { own_count(&transaction, space)? } else { count_of(&transaction, space_ref.row, &teller)? };
            if opened.count <= known && is_own {
                return Ok(HeardReceipt::Own);
            }
            if opened.count <= known {
                // Each relay is given a receipt of its own: what another one signed may be in an older one only.
                let advice = decode_app(space, &opened.receipt.app);
                witness::hear(&transaction, space_ref.row, &teller, &advice.statements, now_ms)?;
                transaction.commit()?;
                return Ok(HeardReceipt::Refused(RefusedReceipt::Older));
            }
            if is_own {
                // Of this home before it was put back from a copy: the relay takes only higher counts.
                schema::put_meta(&transaction, &count_key(space), &opened.count.to_be_bytes())?;
            } else {
                let said = opened.receipt;
                confirm(&transaction, space_ref.row, &teller, &said.held, now_ms)?;
                promise::hear_advice(&transaction, (space, space_ref.row), membership, &teller, &said.app, now_ms)?;
                note_heard(&transaction, space_ref.row, &teller, now_ms)?;
                let sql =
                    "UPDATE receipt SET count = ?3, said_ms = ?4, set_aside = ?5 WHERE space = ?1 AND device = ?2";
                let newest = (space_ref.row, teller.as_ref(), opened.count, said.said_ms, said.set_aside);
                transaction.prepare_cached(sql)?.execute(newest)?;
            }
            transaction.commit()?;
            Ok(if is_own { HeardReceipt::Own } else { HeardReceipt::Taken(teller) })
        })
    }

    /// The stream that this device writes, and what its id commits to: they say whose a message outside streams is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn own_stream(&self, space: &SpaceId) -> Result<(StreamId, [u8; 32]), StoreError> {
        let space_ref = find_space(&self.conn, space)?;
        Ok((space_ref.stream, own_r32(&self.conn, space_ref)?))
    }
}

impl Reads<'_> {
    /// What other devices have confirmed, whether they are enrolled still or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn confirmations(&self, space: &SpaceId) -> Result<Vec<Confirmation>, StoreError> {
        let space_ref = find_space(self.conn, space)?;
        let own = own_device(self.conn, space_ref)?;
        let sql = "SELECT r.device, r.said_ms, r.heard_ms, r.complete_ms, r.set_aside,
                       coalesce(sum(CASE WHEN s.device = ?2
                           THEN max(0, min(s.seq, ifnull(s.limit_seq, s.seq)) - ifnull(c.seq, 0)) END), 0),
                       coalesce(sum(max(0, min(s.seq, ifnull(s.limit_seq, s.seq)) - ifnull(c.seq, 0))), 0)
                   FROM receipt r
                   LEFT JOIN stream s ON s.space = r.space AND s.device <> r.device
                   LEFT JOIN confirmed c ON c.space = r.space AND c.device = r.device AND c.stream = s.stream
                   WHERE r.space = ?1 GROUP BY r.device ORDER BY r.device";
        self.all(sql, (space_ref.row, own.as_ref()), |row| {
            let (unconfirmed_own, unconfirmed): (i64, i64) = (row.get(5)?, row.get(6)?);
            Ok(Confirmation {
                device: SignPk(row.get(0)?),
                said_ms: row.get(1)?,
                heard_ms: row.get(2)?,
                complete_ms: row.get(3)?,
                set_aside: row.get(4)?,
                unconfirmed_own: u64::try_from(unconfirmed_own).unwrap_or(0),
                unconfirmed: u64::try_from(unconfirmed).unwrap_or(0),
            })
        })
    }
}

/// A device says that it holds streams so far; it is in the space.
pub(super) fn confirm(
    conn: &Connection,
    space: i64,
    teller: &SignPk,
    held: &[(StreamId, u32)],
    now_ms: i64,
) -> Result<(), StoreError> {
    // As long as a stream is further than here it is so since the first time it was said: one that grows while it is kept
    // back is missed as long as one that does not. What the person has read of, and grows, is missed anew.
    let sql = "INSERT INTO confirmed(space, device, stream, seq, since_ms) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT(space, device, stream) DO UPDATE SET seq = excluded.seq, since_ms =
                   CASE WHEN confirmed.seq > max(?6, confirmed.read_seq) THEN confirmed.since_ms ELSE excluded.since_ms END
               WHERE excluded.seq > confirmed.seq";
    let mut upsert = conn.prepare_cached(sql)?;
    let mut find = conn.prepare_cached("SELECT max(seq) FROM stream WHERE space = ?1 AND stream = ?2")?;
    let mut said = conn.prepare_cached("SELECT 1 FROM confirmed WHERE space = ?1 AND device = ?2 AND stream = ?3")?;
    let mut unknown = None;
    for (stream, seq) in held {
        let here: Option<u32> = find.query_row((space, stream.as_ref()), |row| row.get(0))?;
        if here.is_none() && !said.exists((space, teller.as_ref(), stream.as_ref()))? {
            let so_far = unknown.map_or_else(|| unknown_streams(conn, space, teller), Ok)?;
            let is_remembered = so_far < UNKNOWN_OF_ONE_MAX;
            unknown = Some(so_far + u64::from(is_remembered));
            if !is_remembered {
                continue;
            }
        }
        upsert.execute((space, teller.as_ref(), stream.as_ref(), seq, now_ms, here.unwrap_or(0)))?;
    }
    Ok(())
}

fn unknown_streams(conn: &Connection, space: i64, teller: &SignPk) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM confirmed c WHERE c.space = ?1 AND c.device = ?2 AND NOT EXISTS
               (SELECT 1 FROM stream s WHERE s.space = c.space AND s.stream = c.stream)";
    Reads { conn }.count(sql, (space, teller.as_ref()))
}

/// A device was heard of, and what it said is in the table: whether it has confirmed everything that is here.
pub(super) fn note_heard(conn: &Connection, space: i64, teller: &SignPk, now_ms: i64) -> Result<(), StoreError> {
    let sql = "SELECT NOT EXISTS (
                   SELECT 1 FROM stream s LEFT JOIN confirmed c
                   ON c.space = s.space AND c.device = ?2 AND c.stream = s.stream
                   WHERE s.space = ?1 AND s.device <> ?2 AND min(s.seq, ifnull(s.limit_seq, s.seq)) > ifnull(c.seq, 0))
               AND NOT EXISTS (
                   SELECT 1 FROM mark m JOIN document d ON d.id = m.doc WHERE m.kind = ?3 AND d.space = ?1)";
    let pending = super::documents::Mark::Pending as i64;
    let is_complete: bool = conn.prepare_cached(sql)?.query_row((space, teller.as_ref(), pending), |row| row.get(0))?;
    let complete_ms = is_complete.then_some(now_ms);
    let sql = "INSERT INTO receipt(space, device, count, said_ms, heard_ms, complete_ms, set_aside)
               VALUES (?1, ?2, 0, NULL, ?3, ?4, 0)
               ON CONFLICT(space, device) DO UPDATE
               SET heard_ms = excluded.heard_ms, complete_ms = ifnull(excluded.complete_ms, complete_ms)";
    conn.prepare_cached(sql)?.execute((space, teller.as_ref(), now_ms, complete_ms))?;
    Ok(())
}

/// A stream of another device as it lies here.
struct Known {
    stream: StreamId,
    /// Held so far, as far as it counts.
    counts: u32,
    /// Own envelopes have said so far.
    told: u32,
}

/// Streams that a receipt speaks of: if there are too many, those that began last.
fn known(conn: &Connection, space: SpaceRef, own: &SignPk) -> Result<Vec<Known>, StoreError> {
    let sql = "SELECT stream, min(seq, ifnull(limit_seq, seq)) AS counts, told_seq FROM stream
               WHERE space = ?1 AND device <> ?2 AND counts > 0 ORDER BY id DESC LIMIT ?3";
    let limit = i64::try_from(RECEIPT_STREAMS_MAX).unwrap_or(i64::MAX);
    Reads { conn }.all(sql, (space.row, own.as_ref(), limit), |row| {
        Ok(Known { stream: StreamId(row.get(0)?), counts: row.get(1)?, told: row.get(2)? })
    })
}

/// What the newest receipt at a relay says.
struct Said {
    /// Row of the newest record.
    newest_record: i64,
    held: Vec<(StreamId, u32)>,
}

impl Said {
    fn encode(&self) -> Vec<u8> {
        let held = self.held.iter().flat_map(|(stream, seq)| stream.0.into_iter().chain(seq.to_be_bytes()));
        self.newest_record.to_be_bytes().into_iter().chain(held).collect()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (newest, held) = bytes.split_first_chunk::<8>()?;
        let entry = |bytes: &[u8; 20]| {
            let (mut stream, mut seq) = ([0; 16], [0; 4]);
            stream.copy_from_slice(&bytes[..16]);
            seq.copy_from_slice(&bytes[16..]);
            (StreamId(stream), u32::from_be_bytes(seq))
        };
        let held = held.as_chunks().0.iter().map(entry).collect();
        Some(Self { newest_record: i64::from_be_bytes(*newest), held })
    }

    /// Whether more is here than this and the own envelopes say.
    fn is_overtaken(&self, known: &[Known], untold_record: i64) -> bool {
        let said = |stream: &StreamId| self.held.iter().find(|(said, _)| said == stream).map_or(0, |(_, seq)| *seq);
        untold_record > self.newest_record
            || known.iter().any(|known| known.counts > known.told.max(said(&known.stream)))
    }
}

fn said_to(conn: &Connection, relay: RelayId) -> Result<Option<Said>, StoreError> {
    let bytes: Option<Option<Vec<u8>>> =
        Reads { conn }.one("SELECT receipt FROM relay WHERE id = ?1", [relay.0], |row| row.get(0))?;
    Ok(bytes.flatten().and_then(|bytes| Said::decode(&bytes)))
}

/// The newest records that a relay could give the others, and what the relay signed last, if it is short.
fn advice(conn: &Connection, space: i64, relay: RelayId) -> Result<Vec<u8>, StoreError> {
    let sql = "SELECT record FROM record WHERE space = ?1 AND state > 0 ORDER BY id DESC LIMIT ?2";
    let limit = i64::try_from(RECORDS_TOLD_MAX).unwrap_or(i64::MAX);
    let records = Reads { conn }.all(sql, (space, limit), |row| Ok(RecordId(row.get(0)?)))?;
    let app = encode_app(&witness::newest(conn, space, relay)?, &records);
    Ok(if app.len() <= RECEIPT_APP_BYTES_MAX { app } else { encode_app(&[], &records) })
}

/// Rows of the newest record that a relay holds, and of the newest of those that no own envelope told of; 0: none.
fn newest_records(conn: &Connection, space: i64) -> Result<(i64, i64), StoreError> {
    let sql = "SELECT ifnull(max(id), 0), ifnull(max(CASE WHEN state = 1 THEN id END), 0) FROM record
               WHERE space = ?1 AND state > 0";
    Ok(Reads { conn }.one(sql, [space], |row| Ok((row.get(0)?, row.get(1)?)))?.unwrap_or_default())
}

fn set_aside(conn: &Connection, space: i64) -> Result<u32, StoreError> {
    let count = Reads { conn }.count("SELECT count(*) FROM quarantine WHERE space = ?1", [space])?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// What the own stream's id commits to.
fn own_r32(conn: &Connection, space: SpaceRef) -> Result<[u8; 32], StoreError> {
    checkpoint::r32(conn, space.stream_row)?.ok_or(StoreError::Corrupt { what: "the device's own stream" })
}

fn own_device(conn: &Connection, space: SpaceRef) -> Result<SignPk, StoreError> {
    let device = Reads { conn }.one("SELECT device FROM space WHERE id = ?1", [space.row], |row| row.get(0))?;
    device.map(SignPk).ok_or(StoreError::Corrupt { what: "the device of a space" })
}

fn count_of(conn: &Connection, space: i64, device: &SignPk) -> Result<u32, StoreError> {
    let sql = "SELECT count FROM receipt WHERE space = ?1 AND device = ?2";
    Ok(Reads { conn }.one(sql, (space, device.as_ref()), |row| row.get(0))?.unwrap_or(0))
}

fn own_count(conn: &Connection, space: &SpaceId) -> Result<u32, StoreError> {
    let bytes = schema::meta(conn, &count_key(space))?.and_then(|bytes| bytes.try_into().ok());
    Ok(bytes.map_or(0, u32::from_be_bytes))
}

/// Key of the count of the own receipts.
fn count_key(space: &SpaceId) -> String {
    format!("receipt_count/{space}")
}
