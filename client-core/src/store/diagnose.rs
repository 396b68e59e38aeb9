//! What a home looks like from outside its content: sizes, lengths and counts, for a bug report.

use lifeos_sync_protocol::ids::{DocId, SignPk, SpaceId, StreamId};

use super::records::find_space;
use super::{Aside, Reads, StoreError};

/// A table of the database.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TableSize {
    /// Its name, which is part of the program.
    pub name: String,
    /// Rows; `None` for a virtual table.
    pub rows: Option<u64>,
    /// Bytes of its pages and those of its indices, if this SQLite can tell.
    pub bytes: Option<u64>,
}

/// Documents of one kind.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KindSize {
    /// Number of the genesis.
    pub genesis: u32,
    /// How many.
    pub documents: u64,
    /// Bytes of snapshots and of changes since.
    pub bytes: u64,
    /// Bytes of the largest.
    pub bytes_max: u64,
    /// Changes since their snapshots.
    pub tail_changes: u64,
}

/// A stream as far as it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamShape {
    /// Which.
    pub stream: StreamId,
    /// Who writes it.
    pub device: SignPk,
    /// Its last envelope here.
    pub seq: u32,
    /// The last that counts, if not all do.
    pub limit: Option<u32>,
    /// Envelopes up to this one are not kept.
    pub floor: u32,
    /// What own envelopes have said of it.
    pub told: u32,
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

impl Reads<'_> {
    /// Every table with its size.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn table_sizes(&self) -> Result<Vec<TableSize>, StoreError> {
        let sql = "SELECT name, sql LIKE 'CREATE VIRTUAL%' FROM sqlite_master WHERE type = 'table' ORDER BY name";
        let names: Vec<(String, bool)> = self.all(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let sizes = "SELECT coalesce(sum(s.pgsize), 0) FROM dbstat s JOIN sqlite_master m ON m.name = s.name
                     WHERE m.tbl_name = ?1 AND s.aggregate = TRUE";
        let mut tables = Vec::new();
        for (name, is_virtual) in names.into_iter().filter(|(name, _)| is_plain(name)) {
            let rows = if is_virtual { None } else { Some(self.count(&format!("SELECT count(*) FROM {name}"), [])?) };
            // A SQLite without this table is no reason to have no report.
            let bytes = if is_virtual { None } else { self.count(sizes, [&name]).ok() };
            tables.push(TableSize { name, rows, bytes });
        }
        Ok(tables)
    }

    /// Bytes of the database file, and of those that are free in it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn file_bytes(&self) -> Result<(u64, u64), StoreError> {
        let pragma = |sql: &str| self.count(sql, []);
        let page = pragma("PRAGMA page_size")?;
        Ok((pragma("PRAGMA page_count")?.saturating_mul(page), pragma("PRAGMA freelist_count")?.saturating_mul(page)))
    }

    /// Documents of a space by kind.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn kind_sizes(&self, space: &SpaceId) -> Result<Vec<KindSize>, StoreError> {
        let sql = "SELECT genesis, count(*), sum(snapshot_bytes + tail_bytes), max(snapshot_bytes + tail_bytes),
                       sum(tail_changes)
                   FROM document WHERE space = ?1 GROUP BY genesis ORDER BY genesis";
        let number =
            |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(|number| u64::try_from(number).unwrap_or(0));
        self.all(sql, [find_space(self.conn, space)?.row], |row| {
            Ok(KindSize {
                genesis: row.get(0)?,
                documents: number(row, 1)?,
                bytes: number(row, 2)?,
                bytes_max: number(row, 3)?,
                tail_changes: number(row, 4)?,
            })
        })
    }

    /// Streams of a space, in the order in which they came.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stream_shapes(&self, space: &SpaceId) -> Result<Vec<StreamShape>, StoreError> {
        let sql = "SELECT stream, device, seq, limit_seq, floor, told_seq FROM stream WHERE space = ?1 ORDER BY id";
        self.all(sql, [find_space(self.conn, space)?.row], |row| {
            Ok(StreamShape {
                stream: StreamId(row.get(0)?),
                device: SignPk(row.get(1)?),
                seq: row.get(2)?,
                limit: row.get(3)?,
                floor: row.get(4)?,
                told: row.get(5)?,
            })
        })
    }

    /// How many envelopes of a space are set aside, by the kind of the reason and the device that wrote them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn asides(&self, space: &SpaceId) -> Result<Vec<(Aside, Option<SignPk>, u64)>, StoreError> {
        let sql = "SELECT reason, author, count(*) FROM quarantine WHERE space = ?1 GROUP BY reason, author
                   ORDER BY count(*) DESC LIMIT 100";
        self.all(sql, [find_space(self.conn, space)?.row], |row| {
            let reason: String = row.get(0)?;
            let author = row.get::<_, Option<[u8; 32]>>(1)?.map(SignPk);
            Ok((Aside::of(&reason), author, u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0)))
        })
    }

    /// The largest documents of a space.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn largest_documents(&self, space: &SpaceId) -> Result<Vec<(DocId, u64)>, StoreError> {
        let sql = "SELECT doc, snapshot_bytes + tail_bytes AS bytes FROM document WHERE space = ?1
                   ORDER BY bytes DESC, id LIMIT 8";
        self.all(sql, [find_space(self.conn, space)?.row], |row| {
            Ok((DocId(row.get(0)?), u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0)))
        })
    }
}
