//! The home folder: `lifeos.db`, `device.key`, `sync.lock`, and how a home comes into being in one step.
//!
//! The rename of `lifeos.db.new` to `lifeos.db` is the moment a home exists. Whatever lies there before it
//! (a half-made home after a crash) is cleared away by the next creation.
//!

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lifeos_sync_protocol::ids::{SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::record::Record;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::device_key::{DEVICE_KEY_FILE, create_private, write_new};
use super::documents::Cache;
use super::records::Kept;
use super::{Store, StoreError, cipher, convert, schema, timed};
use crate::keys::{DatabaseKey, DeviceRoot};
use crate::keystore::KeyFile;

/// Name of the database inside a home.
pub const DATABASE_FILE: &str = "lifeos.db";
/// Name of the file whose lock says that a process is syncing.
pub const SYNC_LOCK_FILE: &str = "sync.lock";

/// A database that is not whole yet: of a home that is being made, or of one that is being encrypted or decrypted.
pub(super) const DATABASE_NEW_FILE: &str = "lifeos.db.new";
/// How long a statement waits for another process before [`StoreError::Busy`].
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The write-ahead log is cut back to this after a checkpoint.
const WAL_BYTES_KEPT: i64 = 16 * 1024 * 1024;
/// A commit checkpoints by itself when nobody did it for so many pages (4 MiB). More would seem to save work, but a
/// log that grows makes every commit dearer: waiting for the disk takes twice as long where blocks have to be allocated.
const WAL_PAGES_MAX: i64 = 1_000;

/// A space this device takes part in, with the stream it will write there.
#[derive(Debug, Clone)]
pub struct NewSpace {
    /// The space.
    pub space: SpaceId,
    /// This device in the space.
    pub device: SignPk,
    /// The new stream: `stream_id(space, device, r32)`; also the actor of every local change.
    pub stream: StreamId,
    /// What the stream id commits to.
    pub stream_r32: [u8; 32],
    /// Records known so far, parents first: at least the Genesis.
    pub records: Vec<Record>,
}

/// What a home begins with.
pub struct NewHome<'a> {
    /// The device's root seed; written to `device.key`.
    pub root: &'a DeviceRoot,
    /// The home space.
    pub space: NewSpace,
    /// First entries of the `meta` table (device name, person name …).
    pub meta: &'a [(&'a str, &'a [u8])],
}

/// Held while a process syncs (or makes a home); released when it is dropped or the process dies.
#[derive(Debug)]
pub struct SyncLock {
    _file: File,
}

impl SyncLock {
    /// Takes the lock; `None` when another process holds it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn try_acquire(home: &Path) -> Result<Option<Self>, StoreError> {
        let path = home.join(SYNC_LOCK_FILE);
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

fn create_folder(home: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(home)
}

/// Makes names in a folder durable. Platforms that cannot open a folder do not need it.
pub(super) fn sync_folder(home: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(home)?.sync_all() } else { Ok(()) }
}

/// Removes what a crashed creation left. Its key was never used: no database ever named it.
fn clear_half_made(home: &Path) -> Result<(), StoreError> {
    let half_made = home.join(DATABASE_NEW_FILE).exists();
    if home.join(DEVICE_KEY_FILE).exists() {
        if !half_made {
            return Err(StoreError::KeyWithoutDatabase);
        }
        fs::remove_file(home.join(DEVICE_KEY_FILE))?;
    }
    Ok(clear_new_database(home)?)
}

/// Removes [`DATABASE_NEW_FILE`] and what SQLite may have put beside it. The caller holds the lock.
pub(super) fn clear_new_database(home: &Path) -> io::Result<()> {
    for suffix in ["-journal", "-wal", "-shm", ""] {
        remove_if_there(&home.join(format!("{DATABASE_NEW_FILE}{suffix}")))?;
    }
    Ok(())
}

/// Takes back a home that never became whole: nobody has used its key, and its words are void.
fn take_back(home: &Path) -> Result<(), StoreError> {
    // A log left behind would be taken for that of the next database.
    for suffix in ["-wal", "-shm"] {
        remove_if_there(&home.join(format!("{DATABASE_FILE}{suffix}")))?;
    }
    // Under this name it counts as half made, whatever happens next.
    fs::rename(home.join(DATABASE_FILE), home.join(DATABASE_NEW_FILE))?;
    clear_half_made(home)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes a complete database under the new name, in rollback-journal mode: one file, nothing beside it.
fn write_new_database(path: &Path, new: &NewHome<'_>) -> Result<(), StoreError> {
    let mut conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    schema::migrate(&mut conn)?;
    let tx = conn.transaction()?;
    schema::recreate_projections(&tx)?;
    schema::stamp_projections(&tx)?;
    for (key, value) in new.meta {
        schema::put_meta(&tx, key, value)?;
    }
    super::records::insert_space(&tx, &new.space, true)?;
    tx.commit()?;
    conn.close().map_err(|(_, error)| error.into())
}

/// Makes a home around a database that `write` puts, whole and durable, into the empty file it is given. Until the
/// last step there is none: whatever fails leaves nothing that opens.
pub(super) fn make_home(
    home: &Path,
    key: &KeyFile,
    write: impl FnOnce(&Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    create_folder(home)?;
    let _lock = SyncLock::try_acquire(home)?.ok_or(StoreError::Busy)?;
    if home.join(DATABASE_FILE).exists() {
        return Err(StoreError::HomeExists);
    }
    clear_half_made(home)?;
    let path_new = home.join(DATABASE_NEW_FILE);
    // Empty at first: from here on a device.key without a database is known to be a crashed creation's.
    create_private(&path_new)?.sync_all()?;
    sync_folder(home)?;
    write(&path_new)?;
    write_new(home, key)?;
    fs::rename(&path_new, home.join(DATABASE_FILE))?;
    sync_folder(home)?;
    Ok(())
}

impl Store {
    /// Makes a home: folder, device key, database, home space. A half-made home is replaced.
    ///
    /// # Errors
    /// [`StoreError::HomeExists`], [`StoreError::KeyWithoutDatabase`], [`StoreError::Busy`] when another
    /// process is making it, or the disk's.
    pub fn create(home: &Path, new: &NewHome<'_>) -> Result<Self, StoreError> {
        make_home(home, &KeyFile::Plain(new.root.clone()), |path| write_new_database(path, new))?;
        let opened = Self::open(home);
        if opened.is_err() {
            take_back(home)?;
        }
        opened
    }

    /// Takes back a home that [`Store::create`] has just made and that could not be furnished; it must be closed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn take_back(home: &Path) -> Result<(), StoreError> {
        take_back(home)
    }

    /// Opens a home whose database is not encrypted and brings its format up to date. Rows of an earlier version are shown
    /// as they are until their documents were projected again ([`Store::project_waiting`]).
    ///
    /// # Errors
    /// [`StoreError::NoHome`], [`StoreError::NewerVersion`], [`StoreError::Corrupt`], [`StoreError::Busy`],
    /// [`StoreError::Encrypted`].
    pub fn open(home: &Path) -> Result<Self, StoreError> {
        Self::open_with(home, None)
    }

    /// As [`Store::open`], and with the key also one that is encrypted. A plain one opens all the same.
    ///
    /// # Errors
    /// As [`Store::open`], and [`StoreError::WrongDatabaseKey`].
    pub fn open_with(home: &Path, key: Option<&DatabaseKey>) -> Result<Self, StoreError> {
        convert::clear_left_over(home);
        let (mut conn, file) = connect(home, OpenFlags::SQLITE_OPEN_READ_WRITE, key)?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
        conn.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX)?;
        schema::refuse_foreign(&conn)?;
        #[cfg(feature = "simulation")]
        conn.commit_hook(Some(crate::simulation::refuses_commit))?;
        // From the first reading on, a connection to a write-ahead log keeps everybody from exchanging the file.
        file.is_still_there()?;
        schema::migrate(&mut conn)?;
        let metrics = Arc::default();
        timed::count_steps(&mut conn, &metrics)?;
        let (documents, records) = (Cache::default(), Kept::default());
        let mut store = Self { home: home.to_path_buf(), conn, documents, records, metrics };
        store.follow_version()?;
        Ok(store)
    }

    /// The home folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Moves what the write-ahead log holds into the database as far as readers allow; off the edit path.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        Ok(self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
    }
}

/// Opens the database with what both kinds of connection share. Whoever waited while another process exchanged the file
/// is sent to the new one.
pub(super) fn connect(
    home: &Path,
    mode: OpenFlags,
    key: Option<&DatabaseKey>,
) -> Result<(Connection, DatabaseFile), StoreError> {
    match connect_once(home, mode, key) {
        Err(StoreError::Replaced) => connect_once(home, mode, key),
        opened => opened,
    }
}

fn connect_once(
    home: &Path,
    mode: OpenFlags,
    key: Option<&DatabaseKey>,
) -> Result<(Connection, DatabaseFile), StoreError> {
    let file = DatabaseFile::find(home)?;
    let opened = open_file(&file.path, mode, key).and_then(|conn| configure(&conn).map(|()| conn));
    // Before anything else that went wrong: it went wrong with a file that is gone.
    file.is_still_there()?;
    Ok((opened?, file))
}

/// Opens the file, with the key if it is no plain database, and reads from it once.
pub(super) fn open_file(path: &Path, mode: OpenFlags, key: Option<&DatabaseKey>) -> Result<Connection, StoreError> {
    let open = || -> Result<Connection, StoreError> {
        let conn = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        Ok(conn)
    };
    let conn = open()?;
    if !cipher::is_unreadable(&conn)? {
        return Ok(conn);
    }
    drop(conn);
    let conn = open()?;
    cipher::unlock(&conn, key)?;
    Ok(conn)
}

fn configure(conn: &Connection) -> Result<(), StoreError> {
    conn.set_prepared_statement_cache_capacity(256);
    // Else every new value of a range or limit makes SQLite prepare the statement again, which costs more than running it.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    for (name, value) in [("foreign_keys", "ON"), ("trusted_schema", "OFF"), ("cell_size_check", "ON")] {
        conn.pragma_update(None, name, value)?;
    }
    conn.pragma_update(None, "cache_size", -8192)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}

/// The database's file, as it was found.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    id: (u64, u64),
}

impl DatabaseFile {
    fn find(home: &Path) -> Result<Self, StoreError> {
        let path = home.join(DATABASE_FILE);
        if !path.is_file() {
            return Err(StoreError::NoHome);
        }
        let id = file_id(&path)?;
        Ok(Self { path, id })
    }

    /// A connection can have been opened to a file that another one has taken the place of: whatever it wrote would be
    /// lost. Asked after a first reading, which waits until an exchange is over.
    fn is_still_there(&self) -> Result<(), StoreError> {
        if file_id(&self.path)? == self.id { Ok(()) } else { Err(StoreError::Replaced) }
    }
}

#[cfg(unix)]
fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let file = fs::metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// Files that are open cannot be exchanged there.
#[cfg(not(unix))]
fn file_id(_: &Path) -> io::Result<(u64, u64)> {
    Ok((0, 0))
}
