//! Tables of the relay and their numbered migrations.
//!
//! The newest schema number is `PRAGMA user_version`. Migrations are only ever added; each runs in a
//! transaction of its own together with its number.

use rusqlite::Connection;

/// Migration `n` (from 1) brings schema `n - 1` to `n`.
const MIGRATIONS: &[&str] = &[
    "
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
",
    "
-- What was appended together: where a stream's envelopes lie, without an index entry for each of them. Runs of
-- envelopes that came before this table are cut at verified ends and wherever another stream lies between.
CREATE TABLE run (
    stream INTEGER NOT NULL REFERENCES stream (no),
    seq    INTEGER NOT NULL,
    pos    INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (stream, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO run
    WITH marked AS (
        SELECT key, stream, seq,
               coalesce(lag(stream) OVER log <> stream OR lag(key) OVER log <> key - 1 OR lag(flags) OVER log & 1, 1)
                   AS begins
        FROM envelope WINDOW log AS (ORDER BY key)
    ), numbered AS (
        SELECT key, stream, seq, sum(begins) OVER (ORDER BY key) AS number FROM marked
    )
    SELECT stream, min(seq), min(key) & ((1 << 40) - 1), count(*) FROM numbered GROUP BY number;
DROP INDEX envelope_by_seq;
",
    "
-- What each stream takes of its member's share.
ALTER TABLE stream ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stream ADD COLUMN envelopes INTEGER NOT NULL DEFAULT 0;
UPDATE stream SET bytes = held.bytes, envelopes = held.envelopes
    FROM (SELECT stream AS no, sum(length(bytes)) AS bytes, count(*) AS envelopes FROM envelope GROUP BY stream) AS held
    WHERE held.no = stream.no;

-- The latest receipt of each device.
CREATE TABLE receipt (
    space  INTEGER NOT NULL REFERENCES space (no),
    device BLOB    NOT NULL,
    seq    INTEGER NOT NULL,
    bytes  BLOB    NOT NULL,
    PRIMARY KEY (space, device)
) STRICT, WITHOUT ROWID;
",
    "
-- Devices that were removed: they are told so, without the space being loaded for them.
ALTER TABLE device_space ADD COLUMN is_gone INTEGER NOT NULL DEFAULT 0;
",
    "
-- Keys of invitations: LIST does not name the space to them, because anybody may name any key in an invitation. Rows of
-- before are put right with the space's next record; who asks LIST passes over what is not theirs.
ALTER TABLE device_space ADD COLUMN is_invited INTEGER NOT NULL DEFAULT 0;
",
    "
-- What is in no stream: chunks of checkpoints and parts of attachments, by id. `device` brought it, and pays for it;
-- `since_ms` is when it was last brought, by this relay's clock.
CREATE TABLE object (
    no       INTEGER PRIMARY KEY,
    space    INTEGER NOT NULL REFERENCES space (no),
    id       BLOB    NOT NULL,
    kind     INTEGER NOT NULL,
    device   BLOB    NOT NULL,
    since_ms INTEGER NOT NULL,
    bytes    BLOB    NOT NULL,
    UNIQUE (space, id)
) STRICT;

-- What the objects that a device brought take of its member's share.
CREATE TABLE object_use (
    space   INTEGER NOT NULL REFERENCES space (no),
    device  BLOB    NOT NULL,
    bytes   INTEGER NOT NULL,
    objects INTEGER NOT NULL,
    PRIMARY KEY (space, device)
) STRICT, WITHOUT ROWID;

-- `bytes` counts envelopes and objects; `envelopes` those of the log that are here.
ALTER TABLE space ADD COLUMN envelopes INTEGER NOT NULL DEFAULT 0;
UPDATE space SET envelopes = next_pos - 1;
",
    "
-- What is at or below a stream's floor is in a checkpoint and not told any more; it is deleted bit by bit.
ALTER TABLE stream ADD COLUMN floor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stream ADD COLUMN floor_id BLOB;

-- From `first_pos` on, where the rolling hash is `first_roll`, a log has no holes; what is left before it is reached by
-- its stream. `look_ms` is when the space is to be looked after.
ALTER TABLE space ADD COLUMN first_pos INTEGER NOT NULL DEFAULT 1;
ALTER TABLE space ADD COLUMN first_roll BLOB NOT NULL DEFAULT x'00000000000000000000000000000000';
ALTER TABLE space ADD COLUMN look_ms INTEGER;
CREATE INDEX space_by_look ON space (look_ms) WHERE look_ms IS NOT NULL;
CREATE INDEX object_by_age ON object (space, kind, since_ms, id);

-- How far checkpoints have come, by this relay's clock: `since_ms` begins the grace of one that is complete, endorsed
-- and not objected to.
CREATE TABLE checkpoint (
    space         INTEGER NOT NULL REFERENCES space (no),
    id            BLOB    NOT NULL,
    came_ms       INTEGER NOT NULL,
    since_ms      INTEGER,
    effective_ms  INTEGER,
    is_superseded INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (space, id)
) STRICT, WITHOUT ROWID;
INSERT INTO checkpoint (space, id, came_ms) SELECT space, id, 0 FROM record WHERE substr(bytes, 2, 1) = x'20';
UPDATE space SET look_ms = 0 WHERE no IN (SELECT space FROM checkpoint);
",
    "
-- Where a device wishes to be woken. state: 0 rests, 1 is to be woken, 2 was woken and has not come since, 3 its push
-- service does not know it any more (url is empty). failures: wake-ups in a row that did not get through.
CREATE TABLE wakeup (
    space    INTEGER NOT NULL REFERENCES space (no),
    device   BLOB    NOT NULL,
    url      TEXT    NOT NULL,
    token    TEXT    NOT NULL,
    state    INTEGER NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (space, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX wakeup_due ON wakeup (space, device) WHERE state = 1;
",
];

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
    // Of a database that has no table yet: what is there already stays as it was made, and setting it writes, but a relay
    // on a full disk has to start.
    if db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? == 0 {
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    db.pragma_update(None, "journal_mode", "WAL")?;
    // Acknowledged means on disk: NORMAL loses commits on power failure.
    db.pragma_update(None, "synchronous", "FULL")?;
    // On macOS a plain fsync does not reach the platter.
    db.pragma_update(None, "fullfsync", "ON")?;
    db.pragma_update(None, "checkpoint_fullfsync", "ON")?;
    // Two look-ups for each envelope; the writer takes these numbers from the rows themselves.
    db.pragma_update(None, "foreign_keys", "OFF")?;
    db.pragma_update(None, "cache_size", -16_384)?;
    db.pragma_update(None, "wal_autocheckpoint", 1_000)?;
    db.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    db.set_prepared_statement_cache_capacity(64);
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
    migrate_to(db, SCHEMA)
}

fn migrate_to(db: &Connection, newest: i64) -> Result<(), MigrateError> {
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > SCHEMA {
        return Err(MigrateError::Newer { found, known: SCHEMA });
    }
    for (number, migration) in (1..).zip(MIGRATIONS).filter(|(number, _)| *number > found && *number <= newest) {
        let transaction = db.unchecked_transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_again_in_a_log_that_came_before_them() {
        let db = Connection::open_in_memory().unwrap();
        db.pragma_update(None, "foreign_keys", "OFF").unwrap();
        migrate_to(&db, 1).unwrap();
        let insert =
            "INSERT INTO envelope (key, stream, seq, id, roll, flags, bytes) VALUES (?1, ?2, ?3, x'', x'', ?4, x'')";
        // Two spaces: a run of three, another stream's of one, the first stream's of two; then one in the other space.
        for (space, pos, stream, seq, flags) in [
            (1, 1, 1, 1, 0),
            (1, 2, 1, 2, 0),
            (1, 3, 1, 3, 1),
            (1, 4, 2, 1, 3),
            (1, 5, 1, 4, 0),
            (1, 6, 1, 5, 1),
            (2, 1, 3, 1, 1),
        ] {
            db.execute(insert, (i64::from(space) << 40 | i64::from(pos), stream, seq, flags)).unwrap();
        }
        migrate(&db).unwrap();
        let mut query = db.prepare("SELECT stream, seq, pos, count FROM run").unwrap();
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
        let runs: Vec<(i64, i64, i64, i64)> = rows.map(Result::unwrap).collect();
        assert_eq!(runs, [(1, 1, 1, 3), (1, 4, 5, 2), (2, 1, 4, 1), (3, 1, 1, 1)]);
    }

    #[test]
    fn a_database_from_before_wake_ups_keeps_its_spaces_and_takes_targets() {
        let db = Connection::open_in_memory().unwrap();
        db.pragma_update(None, "foreign_keys", "OFF").unwrap();
        migrate_to(&db, 7).unwrap();
        let spaces = "INSERT INTO space (id, log_id, next_pos, roll, bytes, record_bytes, envelopes) VALUES
                      (x'01', x'', 8, x'', 70, 9, 7)";
        db.execute(spaces, []).unwrap();
        migrate(&db).unwrap();
        let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(number("SELECT next_pos * 1000 + bytes * 10 + envelopes FROM space WHERE no = 1"), 8_707);
        assert_eq!(number("SELECT count(*) FROM wakeup"), 0);
        let target = "INSERT INTO wakeup (space, device, url, token, state) VALUES (1, x'aa', 'https://x', 'y', 1)";
        assert_eq!(db.execute(target, []), Ok(1));
        assert!(db.execute(target, []).is_err(), "one a device and space");
        assert_eq!(number("SELECT failures FROM wakeup WHERE state = 1"), 0);
    }

    #[test]
    fn a_database_from_before_checkpoints_keeps_its_counts_and_finds_its_checkpoints() {
        let db = Connection::open_in_memory().unwrap();
        db.pragma_update(None, "foreign_keys", "OFF").unwrap();
        migrate_to(&db, 5).unwrap();
        let spaces = "INSERT INTO space (id, log_id, next_pos, roll, bytes, record_bytes) VALUES
                      (x'01', x'', 8, x'', 0, 0), (x'02', x'', 1, x'', 0, 0)";
        db.execute(spaces, []).unwrap();
        let records = "INSERT INTO record (space, id, bytes) VALUES (1, x'aa', x'012001'), (2, x'bb', x'010101')";
        db.execute(records, []).unwrap();
        migrate(&db).unwrap();
        let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(number("SELECT envelopes FROM space WHERE no = 1"), 7);
        assert_eq!(number("SELECT count(*) FROM checkpoint WHERE space = 1 AND id = x'aa' AND since_ms IS NULL"), 1);
        assert_eq!(number("SELECT count(*) FROM checkpoint"), 1);
        assert_eq!(number("SELECT count(*) FROM space WHERE look_ms = 0 AND no = 1"), 1, "it is looked at");
        assert_eq!(number("SELECT count(*) FROM space WHERE look_ms IS NULL AND no = 2"), 1);
        assert_eq!(number("SELECT count(*) FROM space WHERE first_pos = 1 AND first_roll = zeroblob(16)"), 2);
    }
}
