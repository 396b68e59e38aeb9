//! What imports did, as this device remembers it: for each a head, and beside it the changes it made, so that they can be
//! taken back as one.
//!
//! Values of `meta`: `import/<space>/<number>` is the head as JSON, `import/<space>/<number>/<n>` the changes of one commit,
//! written by that commit.

use automerge::ChangeHash;
use lifeos_sync_protocol::ids::{DocId, SpaceId};
use rusqlite::Connection;

use super::records::find_space;
use super::{Reads, StoreError, Tx, schema, undo};

/// Imports that are remembered; the oldest are forgotten, and their notes stay.
const IMPORTS_MAX: usize = 200;

/// An import.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImportBatch {
    /// Its number, from 1, in its space on this device.
    pub number: u32,
    /// The file or folder.
    pub source: String,
    /// What was read: `markdown`, `enex`, ….
    pub format: String,
    /// When it began (ms UTC).
    pub begun_ms: i64,
    /// When it was complete (ms UTC); none if it was cut off.
    pub ended_ms: Option<i64>,
    /// When it was taken back (ms UTC).
    pub undone_ms: Option<i64>,
    /// Notes made.
    pub created: u64,
    /// Notes that got new text.
    pub updated: u64,
    /// Documents that were looked at while taking it back.
    pub undone: u64,
}

fn head_key(space: i64, number: u32) -> String {
    format!("import/{space}/{number:08}")
}

impl Reads<'_> {
    /// The imports that are remembered, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn imports(&self, space: &SpaceId) -> Result<Vec<ImportBatch>, StoreError> {
        let space = find_space(self.conn, space)?.row;
        // Behind the number of a head nothing stands; `0` is what comes after `/`.
        let sql = "SELECT value FROM meta WHERE key > ?1 AND key < ?2 AND length(key) = length(?3) ORDER BY key";
        let (from, to) = (format!("import/{space}/"), format!("import/{space}0"));
        let heads = self.all(sql, (&from, &to, head_key(space, 0)), |row| row.get::<_, Vec<u8>>(0))?;
        Ok(heads.iter().filter_map(|head| serde_json::from_slice(head).ok()).collect())
    }

    /// A value that was remembered under a key of the `meta` table.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remembered(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        schema::meta(self.conn, key)
    }

    /// The changes of an import, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn import_changes(&self, space: &SpaceId, number: u32) -> Result<Vec<(DocId, ChangeHash)>, StoreError> {
        let head = head_key(find_space(self.conn, space)?.row, number);
        let sql = "SELECT value FROM meta WHERE key > ?1 AND key < ?2 ORDER BY key";
        let parts = self.all(sql, (format!("{head}/"), format!("{head}0")), |row| row.get::<_, Vec<u8>>(0))?;
        Ok(parts.iter().flat_map(|part| undo::decode(part)).collect())
    }
}

impl Tx<'_> {
    /// Remembers how far an import is, with this commit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_import(&mut self, batch: &ImportBatch) -> Result<(), StoreError> {
        let value = serde_json::to_vec(batch).map_err(|_| StoreError::WrongKind)?;
        self.put_meta(&head_key(self.space_row(), batch.number), &value)
    }

    /// Begins an import: the oldest beyond what is remembered is forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin_import(&mut self, space: &SpaceId, batch: &mut ImportBatch) -> Result<(), StoreError> {
        let known = self.reads().imports(space)?;
        batch.number = known.last().map_or(1, |last| last.number + 1);
        let too_many = (known.len() + 1).saturating_sub(IMPORTS_MAX);
        for old in known.iter().take(too_many) {
            let head = head_key(self.space_row(), old.number);
            let sql = "DELETE FROM meta WHERE key = ?1 OR (key > ?2 AND key < ?3)";
            self.reads().conn.prepare_cached(sql)?.execute((&head, format!("{head}/"), format!("{head}0")))?;
        }
        self.put_import(batch)
    }
}

/// Records the changes of one commit of an import, inside its transaction.
pub(super) fn record(
    conn: &Connection,
    space: i64,
    number: u32,
    changes: &[(DocId, ChangeHash)],
) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    let head = head_key(space, number);
    let sql = "SELECT count(*) FROM meta WHERE key > ?1 AND key < ?2";
    let count: i64 = conn.prepare_cached(sql)?.query_row((format!("{head}/"), format!("{head}0")), |row| row.get(0))?;
    schema::put_meta(conn, &format!("{head}/{count:010}"), &undo::encode(changes))
}
