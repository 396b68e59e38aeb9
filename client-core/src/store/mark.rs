//! Notes that work on a document is put off: indexing, sealing, a snapshot, rows of a new version.

use rusqlite::{Connection, OptionalExtension};

use super::StoreError;

/// Work put off (`mark.kind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The search index does not show the document as it is.
    Search = 1,
    /// The document has changes that are not sealed.
    Pending = 2,
    /// The document's tail is too long.
    Tail = 3,
    /// The document's rows may be those of an earlier version.
    Project = 4,
}

/// Leaves a note that work is to be done; reads only when it is there already.
pub(super) fn mark(conn: &Connection, mark: Mark, doc: i64) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT OR IGNORE INTO mark(kind, doc) VALUES (?1, ?2)")?.execute((mark as i64, doc))?;
    Ok(())
}

/// The work is done.
pub(super) fn unmark(conn: &Connection, mark: Mark, doc: i64) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM mark WHERE kind = ?1 AND doc = ?2")?.execute((mark as i64, doc))?;
    Ok(())
}

/// Leaves the note on every document.
pub(super) fn mark_all(conn: &Connection, mark: Mark) -> Result<(), StoreError> {
    conn.execute("INSERT OR IGNORE INTO mark(kind, doc) SELECT ?1, id FROM document", [mark as i64])?;
    Ok(())
}

/// Whether a document has the note.
pub(super) fn is_marked(conn: &Connection, mark: Mark, doc: i64) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM mark WHERE kind = ?1 AND doc = ?2";
    Ok(conn.prepare_cached(sql)?.query_row((mark as i64, doc), |_| Ok(())).optional()?.is_some())
}

/// Documents with a mark, oldest document first.
pub(super) fn marked(conn: &Connection, mark: Mark, limit: usize) -> Result<Vec<i64>, StoreError> {
    let mut select = conn.prepare_cached("SELECT doc FROM mark WHERE kind = ?1 ORDER BY doc LIMIT ?2")?;
    let rows = select.query_map((mark as i64, i64::try_from(limit).unwrap_or(i64::MAX)), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
