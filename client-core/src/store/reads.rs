//! Reading the tables: typed queries, on the writer's connection or on a read-only one beside it.

use std::path::Path;
use std::sync::Arc;

use lifeos_sync_protocol::frame::Cursor;
use lifeos_sync_protocol::ids::{DocId, LogId, Roll, SignPk, SpaceId, StreamId};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Params};

use super::documents::{DocRow, Mark};
use super::records::find_space;
use super::{RelayId, RelayState, StoreError, home, rows, schema, timed};
use crate::keys::DatabaseKey;
use crate::metrics::Metrics;
use crate::projection::Row;

/// A document and the hashes of its newest changes.
pub type DocHeads = (DocId, Vec<[u8; 32]>);

/// A read-only connection: reads go on while the writer writes.
pub struct Reader {
    pub(super) conn: Connection,
}

/// The queries.
#[derive(Clone, Copy)]
pub struct Reads<'c> {
    pub(super) conn: &'c Connection,
}

/// A space of this home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceRow {
    /// The space.
    pub space: SpaceId,
    /// This device in it.
    pub device: SignPk,
    /// The stream this device writes.
    pub stream: StreamId,
    /// The home space.
    pub home: bool,
}

/// A stream of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRow {
    /// The stream.
    pub stream: StreamId,
    /// The device that writes it.
    pub device: SignPk,
    /// Envelopes held and taken in, from 1.
    pub seq: u32,
}

impl Reader {
    /// Opens the home's database for reading, beside a [`super::Store`] of this or another process.
    ///
    /// # Errors
    /// [`StoreError::NoHome`], [`StoreError::NewerVersion`], [`StoreError::Encrypted`].
    pub fn open(home: &Path) -> Result<Self, StoreError> {
        Self::open_with(home, None)
    }

    /// As [`Reader::open`], and with the key also one that is encrypted.
    ///
    /// # Errors
    /// As [`Reader::open`], and [`StoreError::WrongDatabaseKey`].
    pub fn open_with(home: &Path, key: Option<&DatabaseKey>) -> Result<Self, StoreError> {
        let (conn, _) = home::connect(home, OpenFlags::SQLITE_OPEN_READ_ONLY, key)?;
        schema::refuse_foreign(&conn)?;
        Ok(Self { conn })
    }

    /// Counts what its queries cost, too.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn measured(mut self, metrics: &Arc<Metrics>) -> Result<Self, StoreError> {
        timed::count_steps(&mut self.conn, metrics)?;
        Ok(self)
    }

    /// The queries.
    #[must_use]
    pub const fn reads(&self) -> Reads<'_> {
        Reads { conn: &self.conn }
    }
}

impl super::Store {
    /// The queries, on the writer's own connection.
    #[must_use]
    pub const fn reads(&self) -> Reads<'_> {
        Reads { conn: &self.conn }
    }
}

impl<'c> Reads<'c> {
    /// One row, or none.
    pub(super) fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.conn.prepare_cached(sql)?.query_row(params, read).optional()?)
    }

    /// All rows.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut select = self.conn.prepare_cached(sql)?;
        let rows = select.query_map(params, read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(super) fn count(&self, sql: &str, params: impl Params) -> Result<u64, StoreError> {
        let count: i64 = self.conn.prepare_cached(sql)?.query_row(params, |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    pub(super) fn space_row(&self, space: &SpaceId) -> Result<i64, StoreError> {
        Ok(find_space(self.conn, space)?.row)
    }

    /// A value of the `meta` table.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        schema::meta(self.conn, key)
    }

    /// The spaces of this home, the home space first; not those whose recovery was begun and is not finished.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn spaces(&self) -> Result<Vec<SpaceRow>, StoreError> {
        let begun = self.spaces_to_recover()?;
        let rows = self.spaces_and_begun()?;
        Ok(rows.into_iter().filter(|row| row.home || !begun.contains(&row.space)).collect())
    }

    /// The same with those whose recovery was begun.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn spaces_and_begun(&self) -> Result<Vec<SpaceRow>, StoreError> {
        let sql = "SELECT space.space, space.device, stream.stream, space.home FROM space
                   JOIN stream ON stream.id = space.own_stream ORDER BY space.home DESC, space.id";
        self.all(sql, [], |row| {
            Ok(SpaceRow {
                space: SpaceId(row.get(0)?),
                device: SignPk(row.get(1)?),
                stream: StreamId(row.get(2)?),
                home: row.get(3)?,
            })
        })
    }

    /// Relays of a space, in the order they were added; no device nearby ([`RelayId::is_peer`]).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn relays(&self, space: &SpaceId) -> Result<Vec<RelayState>, StoreError> {
        let sql = "SELECT id, url, key, log_id, pos, roll, own_acked_seq, synced_ms FROM relay
                   WHERE space = ?1 AND id > 0 ORDER BY id";
        self.all(sql, [self.space_row(space)?], relay_state)
    }

    /// One relay.
    ///
    /// # Errors
    /// [`StoreError::UnknownRelay`].
    pub fn relay(&self, relay: RelayId) -> Result<RelayState, StoreError> {
        let sql = "SELECT id, url, key, log_id, pos, roll, own_acked_seq, synced_ms FROM relay WHERE id = ?1";
        self.one(sql, [relay.0], relay_state)?.ok_or(StoreError::UnknownRelay)
    }

    /// Streams of a space, sorted by stream id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn streams(&self, space: &SpaceId) -> Result<Vec<StreamRow>, StoreError> {
        let sql = "SELECT stream, device, seq FROM stream WHERE space = ?1 ORDER BY stream";
        self.all(sql, [self.space_row(space)?], |row| {
            Ok(StreamRow { stream: StreamId(row.get(0)?), device: SignPk(row.get(1)?), seq: row.get(2)? })
        })
    }

    /// Documents held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn document_count(&self, space: &SpaceId) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM document WHERE space = ?1", [self.space_row(space)?])
    }

    /// Heads of every document, sorted by document id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn heads(&self, space: &SpaceId) -> Result<Vec<DocHeads>, StoreError> {
        let sql = "SELECT doc, heads FROM document WHERE space = ?1 ORDER BY doc";
        self.all(sql, [self.space_row(space)?], |row| {
            let heads = row.get_ref(1)?.as_blob()?;
            Ok((DocId(row.get(0)?), heads.as_chunks::<32>().0.to_vec()))
        })
    }

    /// Local changes that are not sealed yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pending_count(&self, space: &SpaceId) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM mark JOIN document ON document.id = mark.doc AND document.space = ?1
                   JOIN change ON change.doc = mark.doc AND change.state > 0 WHERE mark.kind = ?2";
        self.count(sql, (self.space_row(space)?, Mark::Pending as i64))
    }

    /// Changes that wait for others they depend on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn waiting_count(&self, space: &SpaceId) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM waiting WHERE space = ?1", [self.space_row(space)?])
    }

    /// Documents that wait for the search index.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn search_dirty_count(&self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM mark m JOIN document d ON d.id = m.doc WHERE m.kind = ?1 AND d.unverified = 0";
        self.count(sql, [Mark::Search as i64])
    }

    /// Documents whose changes are to become part of their snapshots.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn grown_count(&self) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM mark WHERE kind = ?1", [Mark::Tail as i64])
    }

    /// All projection rows of one document, sorted by (table, key).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rows(&self, space: &SpaceId, doc: &DocId) -> Result<Vec<Row>, StoreError> {
        match DocRow::find(self.conn, self.space_row(space)?, doc)? {
            Some(row) => rows::load_all(self.conn, row.id),
            None => Ok(Vec::new()),
        }
    }

    /// Documents whose id begins with these hex digits, sorted, at most `limit`; none for what is not hex.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn documents_by_prefix(&self, space: &SpaceId, prefix: &str, limit: u32) -> Result<Vec<DocId>, StoreError> {
        let Some((low, high)) = prefix_range(prefix) else { return Ok(Vec::new()) };
        let sql = "SELECT doc FROM document WHERE space = ?1 AND doc BETWEEN ?2 AND ?3 ORDER BY doc LIMIT ?4";
        self.all(sql, (self.space_row(space)?, low, high, limit), |row| Ok(DocId(row.get(0)?)))
    }
}

/// The smallest and largest id that begin with these hex digits.
fn prefix_range(prefix: &str) -> Option<([u8; 16], [u8; 16])> {
    if prefix.len() > 32 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let fill = |digit: &str| {
        let digits = format!("{prefix}{}", digit.repeat(32 - prefix.len()));
        digits.parse::<DocId>().ok().map(|id| id.0)
    };
    Some((fill("0")?, fill("f")?))
}

fn relay_state(row: &rusqlite::Row<'_>) -> rusqlite::Result<RelayState> {
    let cursor = match (row.get::<_, Option<[u8; 16]>>(3)?, row.get::<_, Option<i64>>(4)?, row.get(5)?) {
        (Some(log), Some(pos), Some(roll)) => {
            Some(Cursor { log_id: LogId(log), pos: u64::try_from(pos).unwrap_or(0), roll: Roll(roll) })
        }
        _ => None,
    };
    Ok(RelayState {
        id: RelayId(row.get(0)?),
        url: row.get(1)?,
        key: row.get::<_, Option<[u8; 32]>>(2)?.map(SignPk),
        cursor,
        own_acked_seq: row.get(6)?,
        synced_ms: row.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_hex_digits_is_a_range_of_ids() {
        let (low, high) = prefix_range("a1b").unwrap();
        assert_eq!((low[0], low[1], low[2]), (0xa1, 0xb0, 0));
        assert_eq!((high[0], high[1], high[15]), (0xa1, 0xbf, 0xff));
        assert_eq!(prefix_range("xyz"), None);
        assert_eq!(prefix_range(&"0".repeat(33)), None);
    }
}
