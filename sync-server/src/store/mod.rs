//! The relay's storage: one SQLite database in WAL mode with one writer thread, or a PostgreSQL server with some, and a
//! few readers.
//!
//! Only the writer thread of a space decides what a pushed envelope becomes, so pushes to one stream cannot race. It
//! commits everything that waits in one transaction (group commit), and only then are acknowledgements and
//! notifications sent. Between relays that share a server the rows of the spaces do the same.

mod admin;
mod db;
mod follow;
mod job;
mod log;
mod object;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod prune;
mod reader;
mod schema;
mod wakeup;
mod writer;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::Notify;

#[cfg(feature = "postgres")]
pub use admin::server_stats;
pub use admin::{AdminError, SpaceStats, Stats, backup, stats};
pub(crate) use follow::Change;
pub(crate) use job::{Door, Doors, FollowJob, Job, PushJob, Receipt, RecordJob, RecordTarget, Recorded, Run, Sealed};
pub(crate) use object::Object;
#[cfg(feature = "postgres")]
pub use postgres::PostgresError;
pub(crate) use prune::{Gone, Progress, TendJob, Tended, Work};
pub(crate) use reader::{LoadedSpace, Page, PageBounds, Readers};
pub(crate) use wakeup::{DueWakeup, WakeupJob, WakeupWork, Waking};
pub(crate) use writer::Writer;

use db::Db;

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
    /// PostgreSQL cannot be used.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] postgres::PostgresError),
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

/// How far the records and streams of a space are known: the numbers of the newest. Of no use where nobody else writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) record: i64,
    pub(crate) stream: i64,
}

/// What connections are made to.
pub(crate) enum Engine {
    /// The file of a folder.
    Folder(PathBuf),
    /// A server.
    #[cfg(feature = "postgres")]
    Server(postgres::Server),
}

impl Engine {
    fn reader(&self, metrics: &Arc<Metrics>) -> Result<Db, StoreError> {
        match self {
            Self::Folder(path) => {
                let mut db = open_for_reading(path)?;
                count_steps(&mut db, metrics)?;
                Ok(Db::Sqlite(db))
            }
            #[cfg(feature = "postgres")]
            Self::Server(server) => server.connect().map(Db::Postgres).map_err(|error| {
                tracing::error!(%error, "cannot read from PostgreSQL");
                StoreError::Unavailable
            }),
        }
    }
}

/// The database of a running relay.
pub(crate) struct Store {
    /// A space is written by one of them, always the same.
    writers: Vec<Writer>,
    readers: Arc<Readers>,
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    written: Arc<Notify>,
    #[cfg(feature = "postgres")]
    server: Option<postgres::Server>,
}

impl Store {
    /// Opens or makes the database of a data folder, brings its schema up to date and starts the writer thread.
    pub(crate) fn open(data_dir: &Path, limits: &Limits, metrics: Arc<Metrics>) -> Result<Self, OpenError> {
        let lock = lock(data_dir)?;
        let path = data_dir.join(DATABASE_FILE);
        let mut db = open_for_writing(&path)?;
        count_steps(&mut db, &metrics).map_err(|source| OpenError::Database { path: path.clone(), source })?;
        let readers = Arc::new(Readers::new(Engine::Folder(path), limits.readers, Arc::clone(&metrics)));
        let written = Arc::new(Notify::new());
        let writer = Writer::start(Db::Sqlite(db), Some(lock), limits, metrics, Arc::clone(&written));
        Ok(Self {
            writers: vec![writer],
            readers,
            written,
            #[cfg(feature = "postgres")]
            server: None,
        })
    }

    /// Connects to a server, brings its schema up to date and starts the writer threads. Waits for the server: to be
    /// called where that may be.
    #[cfg(feature = "postgres")]
    pub(crate) fn connect(
        server: postgres::Server,
        limits: &Limits,
        metrics: Arc<Metrics>,
        relay: &lifeos_sync_protocol::ids::SignPk,
    ) -> Result<Self, OpenError> {
        postgres::prepare(server.connect()?, relay)?;
        let readers = Arc::new(Readers::new(Engine::Server(server.clone()), limits.readers, Arc::clone(&metrics)));
        let written = Arc::new(Notify::new());
        let start = |_| {
            let db = Db::Postgres(server.session());
            Writer::start(db, None, limits, Arc::clone(&metrics), Arc::clone(&written))
        };
        let writers = (0..limits.server_writers.max(1)).map(start).collect();
        Ok(Self { writers, readers, written, server: Some(server) })
    }

    /// The server that other relays use too.
    #[cfg(feature = "postgres")]
    pub(crate) const fn server(&self) -> Option<&postgres::Server> {
        self.server.as_ref()
    }

    /// Whether other relays write here too.
    pub(crate) const fn is_shared(&self) -> bool {
        #[cfg(feature = "postgres")]
        return self.server.is_some();
        #[cfg(not(feature = "postgres"))]
        false
    }

    /// Told of commits that other relays do not know of.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) const fn written(&self) -> &Arc<Notify> {
        &self.written
    }

    /// Hands a job to the writer thread of its space.
    pub(crate) fn submit(&self, job: Job) {
        let count = self.writers.len() as u64;
        let index = job.space_no().unwrap_or(0).unsigned_abs().checked_rem(count).unwrap_or(0);
        match usize::try_from(index).ok().and_then(|index| self.writers.get(index)) {
            Some(writer) => writer.submit(job),
            None => job.refuse(StoreError::Stopped),
        }
    }

    /// Hands a step in looking after a space to the writer thread.
    pub(crate) fn tend(&self, job: TendJob) {
        self.submit(Job::Tend(job));
    }

    /// Whether the writer thread is there.
    pub(crate) fn is_writing(&self) -> bool {
        self.writers.iter().all(Writer::is_running)
    }

    /// Reads.
    pub(crate) fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    /// Stops the writer thread after the commit it is in; jobs that still wait are answered with an error.
    pub(crate) fn stop(&self) {
        self.writers.iter().for_each(Writer::stop);
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
