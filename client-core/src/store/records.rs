//! Spaces and their records: records are kept whole and in the order they arrived, parents first.

use lifeos_sync_protocol::ids::{RecordId, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::Record;
use rusqlite::{Connection, OptionalExtension};

use super::{NewSpace, Store, StoreError, begin};

/// A space as the store works with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpaceRef {
    /// Its row.
    pub(super) row: i64,
    /// The stream this device writes, also the actor of its changes.
    pub(super) stream: StreamId,
    /// That stream's row.
    pub(super) stream_row: i64,
}

/// Finds a space's row.
pub(super) fn find_space(conn: &Connection, space: &SpaceId) -> Result<SpaceRef, StoreError> {
    let sql = "SELECT space.id, stream.stream, stream.id FROM space JOIN stream ON stream.id = space.own_stream
               WHERE space.space = ?1";
    let mut select = conn.prepare_cached(sql)?;
    let found = select.query_row([space.as_ref()], |row| {
        Ok(SpaceRef { row: row.get(0)?, stream: StreamId(row.get(1)?), stream_row: row.get(2)? })
    });
    found.optional()?.ok_or(StoreError::UnknownSpace)
}

/// Adds a space with its own stream and first records.
pub(super) fn insert_space(conn: &Connection, new: &NewSpace, home: bool) -> Result<(), StoreError> {
    let mut insert =
        conn.prepare_cached("INSERT INTO space(space, device, own_stream, home) VALUES (?1, ?2, 0, ?3)")?;
    let space = insert.insert((new.space.as_ref(), new.device.as_ref(), home))?;
    let sql = "INSERT INTO stream(space, stream, device, seq, tip) VALUES (?1, ?2, ?3, 0, ?4)";
    let stream = conn.prepare_cached(sql)?.insert((space, new.stream.as_ref(), new.device.as_ref(), new.stream_r32))?;
    conn.execute("UPDATE space SET own_stream = ?2 WHERE id = ?1", (space, stream))?;
    insert_records(conn, space, &new.records)?;
    Ok(())
}

fn insert_records(conn: &Connection, space: i64, records: &[Record]) -> Result<usize, StoreError> {
    let sql = "INSERT OR IGNORE INTO record(space, record, bytes) VALUES (?1, ?2, ?3)";
    let mut insert = conn.prepare_cached(sql)?;
    let mut new = 0;
    for record in records {
        new += insert.execute((space, record.id().as_ref(), record.bytes()))?;
    }
    Ok(new)
}

impl Store {
    /// Adds a space with its first records.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_space(&mut self, new: &NewSpace) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        insert_space(&tx, new, false)?;
        Ok(tx.commit()?)
    }

    /// Stores records, durably; returns how many were new. Records of another space are left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_records(&mut self, space: &SpaceId, records: &[Record]) -> Result<usize, StoreError> {
        let tx = begin(&self.conn)?;
        let row = find_space(&tx, space)?.row;
        let own: Vec<Record> = records.iter().filter(|record| record.space() == *space).cloned().collect();
        let new = insert_records(&tx, row, &own)?;
        tx.commit()?;
        Ok(new)
    }

    /// All records of a space, in the order they arrived.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when one does not read any more.
    pub fn records(&self, space: &SpaceId) -> Result<Vec<Record>, StoreError> {
        let space = find_space(&self.conn, space)?.row;
        let mut select = self.conn.prepare_cached("SELECT bytes FROM record WHERE space = ?1 ORDER BY id")?;
        let rows = select.query_map([space], |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|bytes| Record::parse(bytes?).map_err(|_| StoreError::Corrupt { what: "a stored record" })).collect()
    }

    /// Whether a record is held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_record(&self, space: &SpaceId, record: &RecordId) -> Result<bool, StoreError> {
        let space = find_space(&self.conn, space)?.row;
        let mut select = self.conn.prepare_cached("SELECT 1 FROM record WHERE space = ?1 AND record = ?2")?;
        Ok(select.exists((space, record.as_ref()))?)
    }

    /// The membership that the stored records give.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn membership(&self, space: &SpaceId) -> Result<Membership, StoreError> {
        let records = self.records(space)?;
        Membership::evaluate(space, &records).map_err(|_| StoreError::Corrupt { what: "the records of a space" })
    }
}
