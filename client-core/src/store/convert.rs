//! A home's database encrypted, or decrypted, as a whole.
//!
//! ```text
//! alone: sync.lock, no write-ahead log, the file locked ► lifeos.db.new: every row ► read back from the disk, compared
//!   ► fsync ► rename over lifeos.db ► fsync of the folder ► the old file is let go of
//! ```
//! Before the rename the home is what it was, after it the home is the new file; what a crash leaves of the other is
//! cleared by the next who opens the home. Whoever waits for the old file is told that it is gone (`home::DatabaseFile`).
//! The old file's blocks are freed, not overwritten: what a disk keeps of them is out of reach from here.

use std::path::Path;

use rusqlite::OpenFlags;

use super::cipher::{CAN_ENCRYPT, DatabaseForm, is_unreadable};
use super::home::{DATABASE_FILE, DATABASE_NEW_FILE, clear_new_database};
use super::{StoreError, SyncLock};
use crate::keys::DatabaseKey;

/// How far a conversion is: bytes written, bytes there are.
pub(super) type Converted<'a> = &'a mut dyn FnMut(u64, u64);

/// How the database of a home lies on the disk. Needs no key; a damaged first page looks like an encrypted one.
///
/// # Errors
/// [`StoreError::NoHome`], or the disk's.
pub fn database_form(home: &Path) -> Result<DatabaseForm, StoreError> {
    let path = home.join(DATABASE_FILE);
    if !path.is_file() {
        return Err(StoreError::NoHome);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = rusqlite::Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(super::home::BUSY_TIMEOUT)?;
    Ok(if is_unreadable(&conn)? { DatabaseForm::Encrypted } else { DatabaseForm::Plain })
}

/// Encrypts or decrypts the database of a home that nobody has open; false when it lies there like that already.
/// Whatever fails, and wherever the process dies, the home opens afterwards as it was or as it was to be.
///
/// # Errors
/// [`StoreError::CannotEncrypt`] where no cipher is built in; [`StoreError::Busy`] while another process, or another
/// part of this one, has the home open; [`StoreError::WrongDatabaseKey`], [`StoreError::CopyDiffers`], or the disk's.
pub fn convert_database(
    home: &Path,
    key: &DatabaseKey,
    to: DatabaseForm,
    progress: Converted<'_>,
) -> Result<bool, StoreError> {
    if database_form(home)? == to {
        return Ok(false);
    }
    if !CAN_ENCRYPT {
        return Err(if to == DatabaseForm::Encrypted { StoreError::CannotEncrypt } else { StoreError::Encrypted });
    }
    built::convert(home, key, to, progress, &mut |_| Ok(())).map(|()| true)
}

/// Removes what a conversion left that did not end, unless one is under way. A plain copy of an encrypted home must not
/// stay; but it must not keep the home shut either.
pub(super) fn clear_left_over(home: &Path) {
    if !home.join(DATABASE_NEW_FILE).exists() || !home.join(DATABASE_FILE).exists() {
        return;
    }
    if let Ok(Some(_lock)) = SyncLock::try_acquire(home)
        && let Err(error) = clear_new_database(home)
    {
        tracing::warn!(%error, "a database that was never finished could not be removed: lifeos.db.new");
    }
}

#[cfg(not(feature = "sqlcipher"))]
mod built {
    use super::{Converted, DatabaseForm, DatabaseKey, Path, StoreError};

    /// There is nothing that could fail half way.
    pub(super) enum Point {}

    pub(super) const fn convert(
        _: &Path,
        _: &DatabaseKey,
        _: DatabaseForm,
        _: Converted<'_>,
        _: &mut dyn FnMut(Point) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        Err(StoreError::CannotEncrypt)
    }
}

#[cfg(feature = "sqlcipher")]
pub(super) mod built {
    use std::fs::{self, File};
    use std::thread;
    use std::time::Duration;

    use ring::digest;
    use rusqlite::types::ValueRef;
    use rusqlite::{Connection, OpenFlags};

    use super::{
        Converted, DATABASE_FILE, DATABASE_NEW_FILE, DatabaseForm, DatabaseKey, Path, StoreError, SyncLock,
        clear_new_database,
    };
    use crate::store::device_key::create_private;
    use crate::store::home::{open_file, sync_folder};
    use crate::store::{cipher, schema};

    /// How often the growing file is looked at.
    const LOOK_EVERY: Duration = Duration::from_millis(100);

    /// Places where a crash would find another state of the folder.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(in crate::store) enum Point {
        /// The old file is locked and whole in itself; nothing new is there.
        Alone,
        /// Everything is in the new file, which may not be on the disk.
        Copied,
        /// It was compared, and is on the disk.
        Verified,
        /// It has the name of the old one.
        Renamed,
    }

    type AtPoint<'a> = &'a mut dyn FnMut(Point) -> Result<(), StoreError>;

    pub(in crate::store) fn convert(
        home: &Path,
        key: &DatabaseKey,
        to: DatabaseForm,
        progress: Converted<'_>,
        at: AtPoint<'_>,
    ) -> Result<(), StoreError> {
        let _lock = SyncLock::try_acquire(home)?.ok_or(StoreError::Busy)?;
        clear_new_database(home)?;
        let old = alone(home, key)?;
        at(Point::Alone)?;
        let new_key = (to == DatabaseForm::Encrypted).then_some(key);
        let made = write_copy(home, old, new_key, progress, at);
        let old = made.inspect_err(|_| drop(clear_new_database(home)))?;
        // Where a file that is open cannot be exchanged, nobody can have opened it in between either.
        let old = if cfg!(unix) { Some(old) } else { None };
        fs::rename(home.join(DATABASE_NEW_FILE), home.join(DATABASE_FILE))?;
        at(Point::Renamed)?;
        sync_folder(home)?;
        drop(old);
        Ok(())
    }

    /// The only connection to a database that has no log beside it, and that stays the only one.
    fn alone(home: &Path, key: &DatabaseKey) -> Result<Connection, StoreError> {
        let conn = open_file(&home.join(DATABASE_FILE), OpenFlags::SQLITE_OPEN_READ_WRITE, Some(key))?;
        schema::refuse_foreign(&conn)?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        // Refused while anybody else has the database open.
        leave_log(&conn)?;
        conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        conn.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
        // Somebody may have come in between and begun a log again.
        let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        if mode == "delete" { Ok(conn) } else { Err(StoreError::Busy) }
    }

    fn leave_log(conn: &Connection) -> Result<(), StoreError> {
        let mode: String = conn.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))?;
        if mode == "delete" { Ok(()) } else { Err(StoreError::Busy) }
    }

    /// Writes the new file, compares it, and brings it to the disk.
    fn write_copy(
        home: &Path,
        old: Connection,
        key: Option<&DatabaseKey>,
        progress: Converted<'_>,
        at: AtPoint<'_>,
    ) -> Result<Connection, StoreError> {
        let path = home.join(DATABASE_NEW_FILE);
        create_private(&path)?.sync_all()?;
        cipher::attach(&old, &path, key)?;
        let total = fs::metadata(home.join(DATABASE_FILE))?.len();
        let old = export_watched(old, &path, total, progress)?;
        cipher::detach(&old)?;
        at(Point::Copied)?;
        compare(&old, &path, key)?;
        File::options().write(true).open(&path)?.sync_all()?;
        at(Point::Verified)?;
        Ok(old)
    }

    /// The copy is one statement of SQLite: it runs on a thread of its own, while the growing file is looked at here.
    fn export_watched(
        old: Connection,
        path: &Path,
        total: u64,
        progress: Converted<'_>,
    ) -> Result<Connection, StoreError> {
        let work = thread::spawn(move || cipher::export(&old).map(|()| old));
        while !work.is_finished() {
            progress(fs::metadata(path).map_or(0, |file| file.len()).min(total), total);
            thread::park_timeout(LOOK_EVERY);
        }
        let old = work.join().map_err(|_| StoreError::CopyDiffers)??;
        progress(total, total);
        Ok(old)
    }

    /// What lies on the disk opens as the home will be opened, is sound, and holds what the old file holds. Every page is
    /// read for that, and of an encrypted file none whose checksum does not fit can be.
    fn compare(old: &Connection, path: &Path, key: Option<&DatabaseKey>) -> Result<(), StoreError> {
        let new = open_file(path, OpenFlags::SQLITE_OPEN_READ_ONLY, key)?;
        schema::refuse_foreign(&new)?;
        let sound: String = new.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if sound == "ok" && contents(old)? == contents(&new)? { Ok(()) } else { Err(StoreError::CopyDiffers) }
    }

    /// The hashes of rows, added up.
    pub(in crate::store) type Sum = [u64; 4];

    /// Everything that the schema names, and of tables what they hold, in whatever order it lies there.
    pub(in crate::store) fn contents(conn: &Connection) -> Result<Vec<(String, String, Sum)>, StoreError> {
        let sql =
            "SELECT name, coalesce(sql, ''), type = 'table' AND rootpage > 0 FROM sqlite_schema ORDER BY type, name";
        let mut select = conn.prepare(sql)?;
        let found = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let found: Vec<(String, String, bool)> = found.collect::<Result<_, _>>()?;
        found
            .into_iter()
            .map(|(name, sql, is_table)| {
                let sum = if is_table { sum_of(conn, &name)? } else { Sum::default() };
                Ok((name, sql, sum))
            })
            .collect()
    }

    fn sum_of(conn: &Connection, table: &str) -> Result<Sum, StoreError> {
        let mut select = conn.prepare(&format!("SELECT * FROM \"{}\"", table.replace('"', "\"\"")))?;
        let columns = select.column_count();
        let (mut rows, mut sum) = (select.query([])?, Sum::default());
        while let Some(row) = rows.next()? {
            let mut hash = digest::Context::new(&digest::SHA256);
            for column in 0..columns {
                hash_value(&mut hash, row.get_ref(column)?);
            }
            for (sum, part) in sum.iter_mut().zip(hash.finish().as_ref().as_chunks().0) {
                *sum = sum.wrapping_add(u64::from_be_bytes(*part));
            }
        }
        Ok(sum)
    }

    fn hash_value(hash: &mut digest::Context, value: ValueRef<'_>) {
        let mut put = |tag: u8, bytes: &[u8]| {
            hash.update(&[tag]);
            hash.update(&(bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        match value {
            ValueRef::Null => put(0, &[]),
            ValueRef::Integer(number) => put(1, &number.to_be_bytes()),
            ValueRef::Real(number) => put(2, &number.to_bits().to_be_bytes()),
            ValueRef::Text(bytes) => put(3, bytes),
            ValueRef::Blob(bytes) => put(4, bytes),
        }
    }
}
