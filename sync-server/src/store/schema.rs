//! Tables of the relay and their numbered migrations.
//!
//! The newest schema number is `PRAGMA user_version`. Migrations are only ever added; each runs in a
//! transaction of its own together with its number.

use rusqlite::Connection;

/// Migration `n` (from 1) brings schema `n - 1` to `n`.
const MIGRATIONS: &[&str] = &["
-- `no` is never used again (AUTOINCREMENT): it is the upper part of envelope.key.
CREATE TABLE space (
    no           INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB    NOT NULL UNIQUE,
    log_id       BLOB    NOT NULL,
    next_pos     INTEGER NOT NULL,
    roll         BLOB    NOT NULL,
    bytes        INTEGER NOT NULL,
    record_bytes INTEGER NOT NULL
) STRICT;

-- In the order of arrival, which puts parents first.
CREATE TABLE record (
    no    INTEGER PRIMARY KEY,
    space INTEGER NOT NULL REFERENCES space (no),
    id    BLOB    NOT NULL,
    bytes BLOB    NOT NULL,
    UNIQUE (space, id)
) STRICT;

CREATE TABLE stream (
    no      INTEGER PRIMARY KEY,
    space   INTEGER NOT NULL REFERENCES space (no),
    id      BLOB    NOT NULL,
    device  BLOB    NOT NULL,
    tip_seq INTEGER NOT NULL,
    tip_id  BLOB    NOT NULL,
    UNIQUE (space, id)
) STRICT;

-- key = space number << 40 | position: all logs in one b-tree, each a range of it.
-- flags: 1 = every stream's last envelope up to here is signature-checked; 2 = vouched for by its pusher.
CREATE TABLE envelope (
    key    INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES stream (no),
    seq    INTEGER NOT NULL,
    id     BLOB    NOT NULL,
    roll   BLOB    NOT NULL,
    flags  INTEGER NOT NULL,
    bytes  BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX envelope_by_seq ON envelope (stream, seq);

-- Which spaces a device may connect to, for LIST.
CREATE TABLE device_space (
    device BLOB    NOT NULL,
    space  INTEGER NOT NULL REFERENCES space (no),
    PRIMARY KEY (device, space)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_space_by_space ON device_space (space);
"];

/// The newest schema this version knows.
pub(crate) const SCHEMA: i64 = MIGRATIONS.len() as i64;

/// A schema cannot be brought up to date.
#[derive(Debug)]
pub(crate) enum MigrateError {
    /// A newer version wrote it.
    Newer { found: i64, known: i64 },
    /// SQLite failed.
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for MigrateError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// Durability and sizes of the connection that writes.
pub(crate) fn configure_writer(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // Acknowledged means on disk: NORMAL loses commits on power failure.
    db.pragma_update(None, "synchronous", "FULL")?;
    // On macOS a plain fsync does not reach the platter.
    db.pragma_update(None, "fullfsync", "ON")?;
    db.pragma_update(None, "checkpoint_fullfsync", "ON")?;
    db.pragma_update(None, "cache_size", -16_384)?;
    db.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    db.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Sizes of a connection that reads.
pub(crate) fn configure_reader(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    db.pragma_update(None, "query_only", "ON")?;
    db.pragma_update(None, "cache_size", -2_048)?;
    Ok(())
}

/// Brings the schema up to date.
pub(crate) fn migrate(db: &Connection) -> Result<(), MigrateError> {
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > SCHEMA {
        return Err(MigrateError::Newer { found, known: SCHEMA });
    }
    for (number, migration) in (1..).zip(MIGRATIONS).filter(|(number, _)| *number > found) {
        let transaction = db.unchecked_transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}
