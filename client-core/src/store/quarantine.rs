//! Envelopes that were set aside, with the reason; a bad envelope never blocks its neighbours.

use lifeos_sync_protocol::ids::{EnvelopeId, SignPk, SpaceId, StreamId};
use rusqlite::Connection;

use super::{Reads, StoreError};

/// Envelopes whose bytes are kept although they are no part of any stream; a hostile peer could make any number.
const FOREIGN_BYTES_ROWS_MAX: i64 = 1_000;

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
/// envelope is not kept as a part of its stream.
pub(super) fn insert(
    conn: &Connection,
    space: i64,
    entry: &QuarantinedEnvelope,
    bytes: Option<&[u8]>,
) -> Result<bool, StoreError> {
    let sql = "INSERT OR IGNORE INTO quarantine(space, envelope, stream, seq, author, reason, since_ms, bytes)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let bytes = match bytes {
        Some(bytes) if foreign_rows(conn, space)? < FOREIGN_BYTES_ROWS_MAX => Some(bytes),
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
    ))?;
    Ok(inserted > 0)
}

/// The envelope came again, as a good part of its stream (the id does not cover the signature).
pub(super) fn release(conn: &Connection, space: i64, envelope: &EnvelopeId) -> Result<(), StoreError> {
    let sql = "DELETE FROM quarantine WHERE space = ?1 AND envelope = ?2";
    conn.prepare_cached(sql)?.execute((space, envelope.as_ref()))?;
    Ok(())
}

fn foreign_rows(conn: &Connection, space: i64) -> Result<i64, StoreError> {
    let sql = "SELECT count(*) FROM quarantine WHERE space = ?1 AND bytes IS NOT NULL";
    Ok(conn.prepare_cached(sql)?.query_row([space], |row| row.get(0))?)
}

impl Reads<'_> {
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
