//! A transaction that may write. Unlike rusqlite's own it keeps `BEGIN` and `COMMIT` prepared: every edit needs both.

use std::ops::Deref;

use rusqlite::Connection;

use super::StoreError;

/// A transaction; dropped without a commit it is rolled back.
pub(super) struct Transaction<'c> {
    conn: &'c Connection,
}

/// Begins a transaction that may write: waits for other writers, up to the busy timeout.
pub(super) fn begin(conn: &Connection) -> Result<Transaction<'_>, StoreError> {
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    Ok(Transaction { conn })
}

impl Transaction<'_> {
    /// Makes it durable.
    pub(super) fn commit(self) -> rusqlite::Result<()> {
        self.conn.prepare_cached("COMMIT")?.execute([]).map(drop)
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.conn
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // After a commit there is nothing to roll back. A rollback that fails leaves the connection inside a
        // transaction, and the next BEGIN says so.
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(conn: &Connection) -> i64 {
        conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn what_is_not_committed_is_taken_back() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t(a)").unwrap();
        for (commits, expected) in [(false, 0), (true, 1), (false, 1), (true, 2)] {
            let transaction = begin(&conn).unwrap();
            transaction.execute("INSERT INTO t VALUES (1)", []).unwrap();
            assert!(begin(&conn).is_err(), "one at a time");
            if commits {
                transaction.commit().unwrap();
            } else {
                drop(transaction);
            }
            assert_eq!(count(&conn), expected);
            assert!(conn.is_autocommit());
        }
    }
}
