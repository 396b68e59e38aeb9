//! What this home was promised and has not got (protocol §8.4).
//!
//! An accepted envelope or receipt promises what its author holds besides: envelopes of other streams, in its frontier,
//! and the newest records, in its advice. A promise stands until what it names is here, its teller is in the space no
//! more, or the person has read of it. A change that waits for another one of which nobody has told is shown as well,
//! because its author left it out of its frontier.

use lifeos_sync_protocol::ids::{RecordId, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;
use rusqlite::Connection;

use super::records::find_space;
use super::{Reads, Store, StoreError, begin, receipt, schema, witness};
use crate::delta::Delta;
use crate::witness::{RECORDS_TOLD_MAX, decode_app};

/// Records promised by one device that are remembered, so that none can push out what others said.
const RECORDS_OF_ONE_MAX: usize = 8;
/// Bytes of a remembered record: id, who told of it, since when.
const RECORD_BYTES: usize = 32 + 32 + 8;

/// Envelopes that another device has and that have not come here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// The stream.
    pub stream: StreamId,
    /// Who writes it, if known.
    pub author: Option<SignPk>,
    /// Who told of it.
    pub told_by: SignPk,
    /// Up to which sequence it was told of.
    pub seq: u32,
    /// Up to which it is here.
    pub held: u32,
    /// Since when (ms UTC).
    pub since_ms: i64,
}

/// A record that another device has and that has not come here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromisedRecord {
    /// The record.
    pub record: RecordId,
    /// Who told of it.
    pub told_by: SignPk,
    /// Since when (ms UTC).
    pub since_ms: i64,
}

/// Changes from elsewhere that wait for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingChanges {
    /// Whose changes, if the stream is known.
    pub author: Option<SignPk>,
    /// How many.
    pub changes: u64,
    /// Of how many documents.
    pub documents: u64,
}

impl Reads<'_> {
    /// Promised envelopes that are not here, one for each stream and device that tells of it, oldest promise first. What the
    /// person has read of is left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn promises(&self, space: &SpaceId) -> Result<Vec<Promise>, StoreError> {
        let sql = "SELECT c.stream, s.device, c.device, c.seq, coalesce(s.seq, 0), c.since_ms FROM confirmed c
                   LEFT JOIN stream s ON s.space = c.space AND s.stream = c.stream
                   WHERE c.space = ?1 AND c.seq > max(c.read_seq, coalesce(s.seq, 0))
                   ORDER BY c.since_ms, c.stream, c.device";
        self.all(sql, [find_space(self.conn, space)?.row], |row| {
            Ok(Promise {
                stream: StreamId(row.get(0)?),
                author: row.get::<_, Option<[u8; 32]>>(1)?.map(SignPk),
                told_by: SignPk(row.get(2)?),
                seq: row.get(3)?,
                held: row.get(4)?,
                since_ms: row.get(5)?,
            })
        })
    }

    /// Promised records that are not here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn promised_records(&self, space: &SpaceId) -> Result<Vec<PromisedRecord>, StoreError> {
        missing_records(self.conn, space, find_space(self.conn, space)?.row)
    }

    /// Changes that wait for others, by author.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn waiting_changes(&self, space: &SpaceId) -> Result<Vec<WaitingChanges>, StoreError> {
        let sql = "SELECT s.device, count(*), count(DISTINCT w.doc) FROM waiting w
                   LEFT JOIN stream s ON s.space = w.space AND s.stream = w.stream
                   WHERE w.space = ?1 GROUP BY s.device ORDER BY s.device";
        self.all(sql, [find_space(self.conn, space)?.row], |row| {
            let (changes, documents): (u32, u32) = (row.get(1)?, row.get(2)?);
            Ok(WaitingChanges {
                author: row.get::<_, Option<[u8; 32]>>(0)?.map(SignPk),
                changes: changes.into(),
                documents: documents.into(),
            })
        })
    }
}

impl Store {
    /// The person has read what is missing: what was promised until then, and is not here, is told no more. Promised
    /// further, it is missing anew. Returns how much it was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn dismiss_promises(&mut self, space: &SpaceId, until_ms: i64) -> Result<usize, StoreError> {
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        let sql = "UPDATE confirmed SET read_seq = seq WHERE space = ?1 AND since_ms <= ?2 AND seq > max(read_seq,
                   coalesce((SELECT s.seq FROM stream s WHERE s.space = ?1 AND s.stream = confirmed.stream), 0))";
        let streams = transaction.prepare_cached(sql)?.execute((row, until_ms))?;
        let records = keep_records(&transaction, space, row, |promised| promised.since_ms > until_ms)?;
        transaction.commit()?;
        Ok(streams + records)
    }
}

/// Takes in what an accepted envelope of another device says besides its changes: how far that device has got, which
/// records it holds, and what relays told it. Who is in the space no more promises nothing.
pub(super) fn hear(
    conn: &Connection,
    (space, row): (&SpaceId, i64),
    membership: &Membership,
    told_by: &SignPk,
    delta: &Delta,
    now_ms: i64,
) -> Result<(), StoreError> {
    if membership.may_read(told_by) {
        receipt::confirm(conn, row, told_by, &delta.frontier, now_ms)?;
    }
    hear_advice(conn, (space, row), membership, told_by, &delta.app, now_ms)
}

/// Takes in what a device tells of records and relays.
pub(super) fn hear_advice(
    conn: &Connection,
    (space, row): (&SpaceId, i64),
    membership: &Membership,
    told_by: &SignPk,
    app: &[u8],
    now_ms: i64,
) -> Result<(), StoreError> {
    let advice = decode_app(space, app);
    if membership.may_read(told_by) {
        hear_records(conn, (space, row), told_by, &advice.records, now_ms)?;
    }
    witness::hear(conn, row, told_by, &advice.statements, now_ms)
}

/// Forgets what devices promised that are in the space no more.
pub(super) fn forget_gone(
    conn: &Connection,
    (space, row): (&SpaceId, i64),
    membership: &Membership,
) -> Result<(), StoreError> {
    let sql = "SELECT device FROM confirmed WHERE space = ?1 UNION SELECT device FROM receipt WHERE space = ?1";
    let tellers = Reads { conn }.all(sql, [row], |row| Ok(SignPk(row.get(0)?)))?;
    for gone in tellers.iter().filter(|teller| !membership.may_read(teller)) {
        for sql in [
            "DELETE FROM confirmed WHERE space = ?1 AND device = ?2",
            "DELETE FROM receipt WHERE space = ?1 AND device = ?2",
        ] {
            conn.prepare_cached(sql)?.execute((row, gone.as_ref()))?;
        }
    }
    keep_records(conn, space, row, |promised| membership.may_read(&promised.told_by))?;
    Ok(())
}

/// Keeps those of the promised records that are meant; returns how many of the others had not come.
fn keep_records(
    conn: &Connection,
    space: &SpaceId,
    row: i64,
    is_kept: impl Fn(&PromisedRecord) -> bool,
) -> Result<usize, StoreError> {
    let missing = missing_records(conn, space, row)?;
    let kept: Vec<PromisedRecord> = missing.iter().copied().filter(is_kept).collect();
    if kept.len() < missing.len() {
        put_promised(conn, space, &kept)?;
    }
    Ok(missing.len() - kept.len())
}

fn hear_records(
    conn: &Connection,
    (space, row): (&SpaceId, i64),
    told_by: &SignPk,
    records: &[RecordId],
    now_ms: i64,
) -> Result<(), StoreError> {
    let mut missing = Vec::new();
    for record in records {
        if !is_here(conn, row, record)? {
            missing.push(*record);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let mut kept = missing_records(conn, space, row)?;
    for record in missing {
        let of_one = kept.iter().filter(|promised| promised.told_by == *told_by).count();
        if of_one < RECORDS_OF_ONE_MAX && !kept.iter().any(|promised| promised.record == record) {
            kept.push(PromisedRecord { record, told_by: *told_by, since_ms: now_ms });
        }
    }
    put_promised(conn, space, &kept)
}

fn put_promised(conn: &Connection, space: &SpaceId, promised: &[PromisedRecord]) -> Result<(), StoreError> {
    let bytes: Vec<u8> = promised.iter().flat_map(PromisedRecord::encode).collect();
    schema::put_meta(conn, &promised_key(space), &bytes)
}

impl PromisedRecord {
    fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..32].copy_from_slice(&self.record.0);
        bytes[32..64].copy_from_slice(&self.told_by.0);
        bytes[64..].copy_from_slice(&self.since_ms.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; RECORD_BYTES]) -> Self {
        let (mut record, mut told_by, mut since_ms) = (RecordId([0; 32]), SignPk([0; 32]), [0; 8]);
        record.0.copy_from_slice(&bytes[..32]);
        told_by.0.copy_from_slice(&bytes[32..64]);
        since_ms.copy_from_slice(&bytes[64..]);
        Self { record, told_by, since_ms: i64::from_be_bytes(since_ms) }
    }
}

/// Remembered records that have not come since.
fn missing_records(conn: &Connection, space: &SpaceId, row: i64) -> Result<Vec<PromisedRecord>, StoreError> {
    let bytes = schema::meta(conn, &promised_key(space))?.unwrap_or_default();
    let mut missing = Vec::new();
    for promised in bytes.as_chunks().0.iter().map(PromisedRecord::decode) {
        if !is_here(conn, row, &promised.record)? {
            missing.push(promised);
        }
    }
    Ok(missing)
}

fn is_here(conn: &Connection, space: i64, record: &RecordId) -> Result<bool, StoreError> {
    let mut select = conn.prepare_cached("SELECT 1 FROM record WHERE space = ?1 AND record = ?2")?;
    Ok(select.exists((space, record.as_ref()))?)
}

/// The newest records that the others have not been told of: those that a relay could give them.
pub(super) fn untold(conn: &Connection, row: i64) -> Result<Vec<RecordId>, StoreError> {
    let sql = "SELECT record FROM record WHERE space = ?1 AND state = 1 ORDER BY id DESC LIMIT ?2";
    let limit = i64::try_from(RECORDS_TOLD_MAX).unwrap_or(i64::MAX);
    Reads { conn }.all(sql, (row, limit), |row| Ok(RecordId(row.get(0)?)))
}

/// The newest records are on their way.
pub(super) fn told(conn: &Connection, row: i64) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE record SET state = 2 WHERE space = ?1 AND state = 1")?.execute([row])?;
    Ok(())
}

/// Key of the promised records, in the order they were heard of.
fn promised_key(space: &SpaceId) -> String {
    format!("records_promised/{space}")
}
