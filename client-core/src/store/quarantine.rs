//! Envelopes that were set aside, with the reason; a bad envelope never blocks its neighbours.

use lifeos_sync_protocol::ids::{EnvelopeId, SignPk, SpaceId, StreamId};
use rusqlite::Connection;

use super::erase::{ERASED, NOT_ENTITLED};
use super::receive::Origin;
use super::{Reads, StoreError};
use crate::envelope::RefusedEnvelope;

/// Envelopes whose bytes are kept although they are no part of any stream; a hostile peer could make any number.
const FOREIGN_ROWS_MAX: i64 = 1_000;
/// Bytes of them.
const FOREIGN_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// An envelope in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedEnvelope {
    /// Which.
    pub envelope: EnvelopeId,
    /// Its stream (zero when the layout is wrong).
    pub stream: StreamId,
    /// Position it claims.
    pub seq: u32,
    /// Author device, when known.
    pub author: Option<SignPk>,
    /// In words.
    pub reason: String,
    /// Since when (ms UTC).
    pub since_ms: i64,
}

/// Sets an envelope aside, inside a transaction; `false` when it was there already. `bytes` only when the
/// envelope is not kept as a part of its stream. A reason for which the rest of an envelope counts gives way to any
/// other: something of that rest is lost here.
pub(super) fn insert(
    conn: &Connection,
    space: i64,
    entry: &QuarantinedEnvelope,
    bytes: Option<&[u8]>,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO quarantine(space, envelope, stream, seq, author, reason, since_ms, bytes)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT(space, envelope) DO UPDATE SET reason = excluded.reason
                   WHERE reason IN (?9, ?10) AND excluded.reason NOT IN (?9, ?10)";
    let bytes = match bytes {
        Some(bytes) if has_room(conn, space, bytes.len())? => Some(bytes),
        _ => None,
    };
    let author = entry.author.as_ref().map(SignPk::as_bytes);
    let inserted = conn.prepare_cached(sql)?.execute((
        space,
        entry.envelope.as_ref(),
        entry.stream.as_ref(),
        entry.seq,
        author,
        &entry.reason,
        entry.since_ms,
        bytes,
        ERASED,
        NOT_ENTITLED,
    ))?;
    Ok(inserted > 0)
}

/// The envelope came again, as a good part of its stream (the id does not cover the signature).
pub(super) fn release(conn: &Connection, space: i64, envelope: &EnvelopeId) -> Result<(), StoreError> {
    let sql = "DELETE FROM quarantine WHERE space = ?1 AND envelope = ?2";
    conn.prepare_cached(sql)?.execute((space, envelope.as_ref()))?;
    Ok(())
}

/// Says anew why an envelope is set aside.
pub(super) fn change_reason(
    conn: &Connection,
    space: i64,
    envelope: &EnvelopeId,
    reason: &str,
) -> Result<(), StoreError> {
    let sql = "UPDATE quarantine SET reason = ?3 WHERE space = ?1 AND envelope = ?2";
    conn.prepare_cached(sql)?.execute((space, envelope.as_ref(), reason))?;
    Ok(())
}

fn has_room(conn: &Connection, space: i64, bytes: usize) -> Result<bool, StoreError> {
    let sql = "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM quarantine WHERE space = ?1 AND bytes IS NOT NULL";
    let (rows, held): (i64, i64) =
        conn.prepare_cached(sql)?.query_row([space], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    Ok(rows < FOREIGN_ROWS_MAX && held.saturating_add(bytes) <= FOREIGN_BYTES_MAX)
}

/// Whether an envelope of the stream between the two positions was set aside.
pub(super) fn is_aside(
    conn: &Connection,
    space: i64,
    stream: &StreamId,
    after_seq: u32,
    before_seq: u32,
) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM quarantine WHERE space = ?1 AND stream = ?2 AND seq > ?3 AND seq < ?4";
    Ok(conn.prepare_cached(sql)?.exists((space, stream.as_ref(), after_seq, before_seq))?)
}

/// Streams of which something that is no part of them was set aside.
pub(super) fn streams(conn: &Connection, space: i64) -> Result<Vec<StreamId>, StoreError> {
    let sql = "SELECT DISTINCT stream FROM quarantine WHERE space = ?1 AND stream <> ?2 ORDER BY stream";
    Reads { conn }.all(sql, (space, StreamId::ZERO.as_ref()), |row| Ok(StreamId(row.get(0)?)))
}

/// Row numbers of a stream's envelopes whose bytes lie here, in the order of the stream.
pub(super) fn rows_with_bytes(conn: &Connection, space: i64, stream: &StreamId) -> Result<Vec<i64>, StoreError> {
    let sql =
        "SELECT id FROM quarantine WHERE space = ?1 AND stream = ?2 AND bytes IS NOT NULL ORDER BY seq, id LIMIT ?3";
    Reads { conn }.all(sql, (space, stream.as_ref(), FOREIGN_ROWS_MAX), |row| row.get(0))
}

/// An envelope whose bytes lie here.
pub(super) fn bytes(conn: &Connection, row: i64) -> Result<Option<(EnvelopeId, Vec<u8>)>, StoreError> {
    let sql = "SELECT envelope, bytes FROM quarantine WHERE id = ?1 AND bytes IS NOT NULL";
    Reads { conn }.one(sql, [row], |row| Ok((EnvelopeId(row.get(0)?), row.get(1)?)))
}

/// Whether the bytes of a position lie here.
pub(super) fn has_bytes(conn: &Connection, space: i64, stream: &StreamId, seq: u32) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM quarantine WHERE space = ?1 AND stream = ?2 AND seq = ?3 AND bytes IS NOT NULL";
    Ok(conn.prepare_cached(sql)?.exists((space, stream.as_ref(), seq))?)
}

/// Envelopes that are parts of their streams and were set aside for one of the reasons, in the order of streams.
pub(super) fn kept(
    conn: &Connection,
    space: i64,
    reasons: &[String; 2],
) -> Result<Vec<(EnvelopeId, Origin)>, StoreError> {
    let sql = "SELECT envelope, stream, seq, author FROM quarantine
               WHERE space = ?1 AND bytes IS NULL AND reason IN (?2, ?3) ORDER BY stream, seq";
    Reads { conn }.all(sql, (space, &reasons[0], &reasons[1]), |row| {
        let author = row.get::<_, Option<[u8; 32]>>(3)?.map(SignPk);
        Ok((EnvelopeId(row.get(0)?), Origin { stream: StreamId(row.get(1)?), seq: row.get(2)?, author }))
    })
}

/// Envelopes whose erasures were not their author's to make as far as was known, oldest first.
pub(super) fn not_entitled(conn: &Connection, space: i64, limit: u32) -> Result<Vec<(EnvelopeId, Origin)>, StoreError> {
    let sql = "SELECT envelope, stream, seq, author FROM quarantine
               WHERE space = ?1 AND bytes IS NULL AND reason = ?2 ORDER BY id LIMIT ?3";
    Reads { conn }.all(sql, (space, NOT_ENTITLED, limit), |row| {
        let author = row.get::<_, Option<[u8; 32]>>(3)?.map(SignPk);
        Ok((EnvelopeId(row.get(0)?), Origin { stream: StreamId(row.get(1)?), seq: row.get(2)?, author }))
    })
}

/// Envelopes with late edits of erased documents.
pub(super) fn late(conn: &Connection, space: i64) -> Result<Vec<EnvelopeId>, StoreError> {
    let sql = "SELECT envelope FROM quarantine WHERE space = ?1 AND bytes IS NULL AND reason = ?2";
    Reads { conn }.all(sql, (space, ERASED), |row| Ok(EnvelopeId(row.get(0)?)))
}

impl Reads<'_> {
    /// Envelopes that are parts of their streams and sealed under a key that is not held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unknown_epoch_count(&self, space: &SpaceId) -> Result<u64, StoreError> {
        let reason = RefusedEnvelope::UnknownEpoch.to_string();
        let sql = "SELECT count(*) FROM quarantine WHERE space = ?1 AND reason = ?2";
        self.count(sql, (self.space_row(space)?, reason))
    }

    /// Envelopes in quarantine, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn quarantine(&self, space: &SpaceId, limit: u32) -> Result<Vec<QuarantinedEnvelope>, StoreError> {
        let sql = "SELECT envelope, stream, seq, author, reason, since_ms FROM quarantine
                   WHERE space = ?1 ORDER BY id LIMIT ?2";
        self.all(sql, (self.space_row(space)?, limit), |row| {
            Ok(QuarantinedEnvelope {
                envelope: EnvelopeId(row.get(0)?),
                stream: StreamId(row.get(1)?),
                seq: row.get(2)?,
                author: row.get::<_, Option<[u8; 32]>>(3)?.map(SignPk),
                reason: row.get(4)?,
                since_ms: row.get(5)?,
            })
        })
    }
}
