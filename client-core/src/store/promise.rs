//! What this home was promised and has not got (protocol §8.4).
//!
//! An accepted envelope promises what its author holds besides: envelopes of other streams, in its frontier, and the
//! newest records, in its advice. A promise stands until what it names is here. A change that waits for another one
//! of which nobody has told is shown as well, because its author left it out of its frontier.

use lifeos_sync_protocol::ids::{RecordId, SignPk, SpaceId, StreamId};
use rusqlite::Connection;

use super::records::find_space;
use super::{Reads, StoreError, schema, witness};
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
    /// Promised envelopes that are not here, oldest promise first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn promises(&self, space: &SpaceId) -> Result<Vec<Promise>, StoreError> {
        let sql = "SELECT p.stream, s.device, p.told_by, p.seq, coalesce(s.seq, 0), p.since_ms FROM promise p
                   LEFT JOIN stream s ON s.space = p.space AND s.stream = p.stream
                   WHERE p.space = ?1 AND p.seq > coalesce(s.seq, 0) ORDER BY p.since_ms";
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

/// Takes in what an accepted envelope of another device says besides its changes: how far that device has got, which
/// records it holds, and what relays told it.
pub(super) fn hear(
    conn: &Connection,
    (space, row): (&SpaceId, i64),
    told_by: &SignPk,
    delta: &Delta,
    now_ms: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO promise(space, stream, seq, told_by, since_ms) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT(space, stream) DO UPDATE
               SET seq = excluded.seq, told_by = excluded.told_by, since_ms = excluded.since_ms
               WHERE excluded.seq > seq";
    let mut promise = conn.prepare_cached(sql)?;
    for (stream, seq) in &delta.frontier {
        promise.execute((row, stream.as_ref(), seq, told_by.as_ref(), now_ms))?;
    }
    let advice = decode_app(space, &delta.app);
    hear_records(conn, (space, row), told_by, &advice.records, now_ms)?;
    witness::hear(conn, row, told_by, &advice.statements, now_ms)
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
    let bytes: Vec<u8> = kept.iter().flat_map(PromisedRecord::encode).collect();
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
