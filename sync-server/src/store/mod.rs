//! The relay's storage: one SQLite database in WAL mode, one writer thread, a few readers.
//!
//! Only the writer thread decides what a pushed envelope becomes, so pushes to one stream cannot race. It
//! commits everything that waits in one transaction (group commit), and only then are acknowledgements and
//! notifications sent.

mod admin;
mod log;
mod object;
mod prune;
mod reader;
mod schema;
mod wakeup;
mod writer;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use admin::{AdminError, SpaceStats, Stats, backup, stats};
pub(crate) use object::Object;
pub(crate) use prune::{Gone, Progress, TendJob, Tended, Work};
pub(crate) use reader::{LoadedSpace, Page, PageBounds, Readers};
pub(crate) use wakeup::{DueWakeup, WakeupJob, WakeupWork, Waking};
pub(crate) use writer::{Door, Doors, Job, PushJob, Receipt, RecordJob, RecordTarget, Recorded, Run, Sealed, Writer};

use crate::limits::Limits;
use crate::metrics::Metrics;

/// File in the data folder that holds everything but the relay's key.
const DATABASE_FILE: &str = "relay.db";
/// File whose lock says that a relay uses the data folder.
const LOCK_FILE: &str = "relay.lock";
/// Most spaces a position key has room for: 23 bits above 40 bits of position, and the sign.
pub(crate) const SPACE_NO_MAX: i64 = (1 << 23) - 1;
/// Bits of a log position inside [`position_key`].
const POSITION_BITS: u32 = 40;

/// The database cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process serves the same folder.
    #[error("another relay is using {path}; stop it first, or choose another --data folder", path = path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be used.
    #[error("cannot use {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database was written by a newer version.
    #[error("{path} was written by a newer version (schema {found}, this one knows {known}); use that version", path = path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema this version knows.
        known: i64,
    },
    /// SQLite refuses the database.
    #[error("cannot open the database {path}: {source}; free some space if its disk is full; if it is damaged, restore a backup", path = path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

/// Storage did not do what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// Disk full or failing; a later attempt may succeed.
    #[error("storage cannot write now")]
    Unavailable,
    /// The relay is stopping.
    #[error("storage has stopped")]
    Stopped,
    /// The log begins later by now: what was asked for is in a checkpoint.
    #[error("pruned")]
    Pruned,
    /// A log does not end where its space says.
    #[error("stored log is damaged")]
    Corrupt,
    /// SQLite refused something; the cause is in the log of the process.
    #[error("database error")]
    Database,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        tracing::error!(?code, %error, "database error");
        match code {
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::DatabaseBusy
                | ErrorCode::OutOfMemory,
            ) => Self::Unavailable,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt,
            _ => Self::Database,
        }
    }
}

/// The database of a running relay.
pub(crate) struct Store {
    writer: Writer,
    readers: Arc<Readers>,
}

impl Store {
    /// Opens or makes the database of a data folder, brings its schema up to date and starts the writer thread.
    pub(crate) fn open(data_dir: &Path, limits: &Limits, metrics: Arc<Metrics>) -> Result<Self, OpenError> {
        let lock = lock(data_dir)?;
        let path = data_dir.join(DATABASE_FILE);
        let mut db = open_for_writing(&path)?;
        count_steps(&mut db, &metrics).map_err(|source| OpenError::Database { path: path.clone(), source })?;
        let readers = Arc::new(Readers::new(path, limits.readers, Arc::clone(&metrics)));
        let writer = Writer::start(db, lock, limits, metrics);
        Ok(Self { writer, readers })
    }

    /// Hands a job to the writer thread.
    pub(crate) fn submit(&self, job: Job) {
        self.writer.submit(job);
    }

    /// Hands a step in looking after a space to the writer thread.
    pub(crate) fn tend(&self, job: TendJob) {
        self.submit(Job::Tend(job));
    }

    /// Whether the writer thread is there.
    pub(crate) fn is_writing(&self) -> bool {
        self.writer.is_running()
    }

    /// Reads.
    pub(crate) fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    /// Stops the writer thread after the commit it is in; jobs that still wait are answered with an error.
    pub(crate) fn stop(&self) {
        self.writer.stop();
    }
}

fn lock(data_dir: &Path) -> Result<File, OpenError> {
    let path = data_dir.join(LOCK_FILE);
    let io = |source| OpenError::Io { path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: data_dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

fn open_for_writing(path: &Path) -> Result<Connection, OpenError> {
    let database = |source| OpenError::Database { path: path.to_owned(), source };
    let db = Connection::open(path).map_err(database)?;
    #[cfg(feature = "simulation")]
    let db = ask_before_commits(db, path).map_err(database)?;
    schema::configure_writer(&db).map_err(database)?;
    schema::migrate(&db).map_err(|error| match error {
        schema::MigrateError::Newer { found, known } => OpenError::Newer { path: path.to_owned(), found, known },
        schema::MigrateError::Database(source) => database(source),
    })?;
    Ok(db)
}

#[cfg(feature = "simulation")]
fn ask_before_commits(mut db: Connection, path: &Path) -> rusqlite::Result<Connection> {
    let folder = path.parent().unwrap_or(path).to_owned();
    db.commit_hook(Some(move || crate::simulation::refuses_commit(&folder)))?;
    Ok(db)
}

fn open_for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    schema::configure_reader(&db)?;
    Ok(db)
}

/// Steps after which they are counted: counting costs nothing that could be measured.
const STEPS: u16 = 100;

/// Counts what the statements of a connection cost, in steps of SQLite's virtual machine.
fn count_steps(db: &mut Connection, metrics: &Arc<Metrics>) -> rusqlite::Result<()> {
    let metrics = Arc::clone(metrics);
    let count = move || {
        metrics.database_steps_total.add(STEPS.into());
        false
    };
    db.progress_handler(STEPS.into(), Some(count))
}

/// Key of an envelope: space number above, position below, so that one integer key orders all logs.
fn position_key(space_no: i64, pos: u64) -> i64 {
    (space_no << POSITION_BITS) | i64::try_from(pos).unwrap_or(i64::MAX) & ((1 << POSITION_BITS) - 1)
}

/// The position inside a [`position_key`].
fn position_of(key: i64) -> u64 {
    (key & ((1 << POSITION_BITS) - 1)).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_space_are_ordered_by_position_and_never_touch_the_next_space() {
        assert!(position_key(1, 1) < position_key(1, 2));
        assert!(position_key(1, (1 << POSITION_BITS) - 1) < position_key(2, 1));
        assert!(position_key(SPACE_NO_MAX, (1 << POSITION_BITS) - 1) > 0);
        assert_eq!(position_of(position_key(SPACE_NO_MAX, 77)), 77);
    }

    #[test]
    fn two_relays_cannot_use_one_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = Store::open(dir.path(), &Limits::default(), Arc::default()).unwrap();
        let second = Store::open(dir.path(), &Limits::default(), Arc::default());
        assert!(matches!(second, Err(OpenError::InUse { .. })));
        first.stop();
        drop(first);
        Store::open(dir.path(), &Limits::default(), Arc::default()).unwrap();
    }

    #[test]
    fn a_database_of_a_newer_version_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DATABASE_FILE);
        open_for_writing(&path).unwrap().pragma_update(None, "user_version", 1_000).unwrap();
        let refused = Store::open(dir.path(), &Limits::default(), Arc::default());
        assert!(matches!(refused, Err(OpenError::Newer { found: 1_000, .. })));
    }
}
