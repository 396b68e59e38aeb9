//! What a person does to a data folder from the command line, also while a relay serves it: backup and figures.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::Serialize;

use super::db::{Db, NONE};
use super::{DATABASE_FILE, StoreError, open_for_reading, schema};

/// Figures of a data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Version of the database's schema.
    pub schema: i64,
    /// Bytes of the database file, without its write-ahead log.
    pub database_bytes: u64,
    /// Spaces.
    pub spaces: u64,
    /// Records of all spaces.
    pub records: u64,
    /// Streams of all spaces.
    pub streams: u64,
    /// Envelopes of all spaces.
    pub envelopes: u64,
    /// Bytes of envelopes of all spaces.
    pub envelope_bytes: u64,
    /// Objects outside streams of all spaces: chunks of checkpoints, parts of attachments.
    pub objects: u64,
    /// Bytes of objects of all spaces.
    pub object_bytes: u64,
    /// The largest spaces, largest first, at most 20.
    pub largest: Vec<SpaceStats>,
}

/// Figures of one space. Its number is local to this relay; its id is not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpaceStats {
    /// Number of the space in this database.
    pub no: u64,
    /// Envelopes that are stored.
    pub envelopes: u64,
    /// Objects that are stored.
    pub objects: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Bytes of records.
    pub record_bytes: u64,
}

/// A command on a data folder failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is no relay database in the folder.
    #[error("{path} holds no relay database; name the folder that `lifeos-relay serve --data` uses", path = path.display())]
    NoDatabase {
        /// The folder.
        path: PathBuf,
    },
    /// The backup's file exists already.
    #[error("{path} exists already; choose another file, a backup never overwrites", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A newer version wrote the database.
    #[error("the database was written by a newer version (schema {found}, this one knows {known}); use that version")]
    Newer {
        /// Its schema.
        found: i64,
        /// The newest schema this version knows.
        known: i64,
    },
    /// A file cannot be used.
    #[error("cannot use {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database does not answer what was asked.
    #[error("the database could not be read; the reason is in the log")]
    Refused,
    /// PostgreSQL cannot be used.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] super::PostgresError),
    /// SQLite failed.
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
}

/// Writes a consistent copy of the database to `file`, which must not exist, checks it, and syncs it to disk. A
/// relay may go on serving meanwhile. The relay's key (`relay.key`) is not part of it: keep a copy of that too.
///
/// # Errors
/// [`AdminError`]; a backup that does not pass its check is removed.
pub fn backup(data_dir: &Path, file: &Path) -> Result<(), AdminError> {
    let db = open(data_dir)?;
    if file.exists() {
        return Err(AdminError::Exists { path: file.to_owned() });
    }
    // VACUUM INTO writes to another file, which `query_only` would refuse.
    db.pragma_update(None, "query_only", "OFF")?;
    let result = db
        .execute("VACUUM INTO ?1", [file.to_string_lossy()])
        .map_err(AdminError::from)
        .and_then(|_| let_shrink(file))
        .and_then(|()| check_backup(&db, file));
    if result.is_err() {
        // Half a backup is worse than none. If it cannot be removed either, the first error says more.
        let _ = std::fs::remove_file(file);
    }
    result
}

/// The copy can give free pages back, also if the original was made before the relay asked for that.
fn let_shrink(file: &Path) -> Result<(), AdminError> {
    let copy = Connection::open(file)?;
    let incremental = 2;
    if copy.query_row("PRAGMA auto_vacuum", [], |row| row.get::<_, i64>(0))? != incremental {
        copy.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        copy.execute_batch("VACUUM")?;
    }
    Ok(())
}

fn check_backup(source: &Connection, file: &Path) -> Result<(), AdminError> {
    let io = |error| AdminError::Io { path: file.to_owned(), source: error };
    std::fs::File::open(file).and_then(|file| file.sync_all()).map_err(io)?;
    let copy = open_for_reading(file)?;
    let verdict: String = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    let schema = |db: &Connection| db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    if verdict == "ok" && schema(&copy)? == schema(source)? {
        return Ok(());
    }
    Err(io(std::io::Error::new(std::io::ErrorKind::InvalidData, "the copy does not pass its check")))
}

/// Figures of a data folder; a relay may go on serving meanwhile.
///
/// # Errors
/// [`AdminError`].
pub fn stats(data_dir: &Path) -> Result<Stats, AdminError> {
    let db = open(data_dir)?;
    let path = data_dir.join(DATABASE_FILE);
    let database_bytes = std::fs::metadata(&path).map_err(|source| AdminError::Io { path, source })?.len();
    let schema = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    figures(&Db::Sqlite(db), schema, database_bytes).map_err(|_| AdminError::Refused)
}

/// Figures of a PostgreSQL server; relays may go on serving meanwhile. To be called on a thread that may
/// wait.
///
/// # Errors
/// [`AdminError`].
#[cfg(feature = "postgres")]
pub fn server_stats(database: &crate::Database) -> Result<Stats, AdminError> {
    let server = super::postgres::Server::new(database.url(), database.authority())?;
    let db = Db::Postgres(server.connect()?);
    let stats = || {
        let schema = super::postgres::schema(&db)?;
        let bytes = db.one("SELECT pg_database_size(current_database())", NONE, |row| row.unsigned(0))?;
        figures(&db, schema, bytes)
    };
    stats().map_err(|_| AdminError::Refused)
}

fn figures(db: &Db, schema: i64, database_bytes: u64) -> Result<Stats, StoreError> {
    let number = |sql: &'static str| db.one(sql, NONE, |row| row.unsigned(0));
    let object_bytes = number("SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM object_use")?;
    let sql = "SELECT no, envelopes, bytes, record_bytes,
                      (SELECT CAST(coalesce(sum(objects), 0) AS BIGINT) FROM object_use WHERE space = no)
               FROM space ORDER BY bytes DESC LIMIT 20";
    let largest = db.all(sql, NONE, |row| {
        Ok(SpaceStats {
            no: row.unsigned(0)?,
            envelopes: row.unsigned(1)?,
            objects: row.unsigned(4)?,
            bytes: row.unsigned(2)?,
            record_bytes: row.unsigned(3)?,
        })
    })?;
    let bytes = number("SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM space")?;
    Ok(Stats {
        schema,
        database_bytes,
        spaces: number("SELECT count(*) FROM space")?,
        records: number("SELECT count(*) FROM record")?,
        streams: number("SELECT count(*) FROM stream")?,
        envelopes: number("SELECT CAST(coalesce(sum(envelopes), 0) AS BIGINT) FROM space")?,
        envelope_bytes: bytes.saturating_sub(object_bytes),
        objects: number("SELECT CAST(coalesce(sum(objects), 0) AS BIGINT) FROM object_use")?,
        object_bytes,
        largest,
    })
}

fn open(data_dir: &Path) -> Result<Connection, AdminError> {
    let path = data_dir.join(DATABASE_FILE);
    if !path.is_file() {
        return Err(AdminError::NoDatabase { path: data_dir.to_owned() });
    }
    let db = open_for_reading(&path)?;
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > schema::SCHEMA {
        return Err(AdminError::Newer { found, known: schema::SCHEMA });
    }
    Ok(db)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::store::Store;

    #[test]
    fn a_backup_of_a_running_relay_opens_and_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let _running = Store::open(dir.path(), &Limits::default(), Default::default()).unwrap();
        let file = dir.path().join("backup.db");
        backup(dir.path(), &file).unwrap();
        assert!(matches!(backup(dir.path(), &file), Err(AdminError::Exists { .. })));

        let restored = tempfile::tempdir().unwrap();
        std::fs::copy(&file, restored.path().join(DATABASE_FILE)).unwrap();
        assert_eq!(stats(restored.path()).unwrap().spaces, 0);
        Store::open(restored.path(), &Limits::default(), Default::default()).unwrap();
    }

    #[test]
    fn the_copy_of_a_database_that_cannot_shrink_can() {
        let dir = tempfile::tempdir().unwrap();
        let vacuum = |path: &Path| {
            let db = Connection::open(path).unwrap();
            db.query_row("PRAGMA auto_vacuum", [], |row| row.get::<_, i64>(0)).unwrap()
        };
        let original = dir.path().join(DATABASE_FILE);
        Connection::open(&original).unwrap().execute_batch("CREATE TABLE before (it INTEGER)").unwrap();
        drop(Store::open(dir.path(), &Limits::default(), Default::default()).unwrap());
        let file = dir.path().join("backup.db");
        backup(dir.path(), &file).unwrap();
        assert_eq!((vacuum(&original), vacuum(&file)), (0, 2));
    }

    #[test]
    fn a_folder_without_a_database_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(stats(dir.path()), Err(AdminError::NoDatabase { .. })));
    }
}
