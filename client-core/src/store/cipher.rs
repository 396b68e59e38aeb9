//! The database encrypted below SQLite, by SQLCipher: built in by the feature `sqlcipher` alone (docs/decisions/0008).
//!
//! SQLCipher 4 as it comes: pages of 4096 bytes, AES-256-CBC with an IV of its own for each write, HMAC-SHA-512 over
//! page and number, write-ahead log and journals likewise. The key is given raw: it has 256 bits, and stretching it
//! would only cost time at every opening. `cipher_memory_security` stays off: it wipes every page that SQLite gives
//! back, while the device's root lies in the same memory as long as the home is open.
//!
//! Whether a file is encrypted is asked of SQLite, which does not know its first 16 bytes then. Nobody opens it to look:
//! closing it again would drop the locks of every other connection of this process (POSIX).

use rusqlite::{Connection, ErrorCode};

use super::StoreError;
use crate::keys::DatabaseKey;

/// Whether this program opens and makes encrypted databases.
pub const CAN_ENCRYPT: bool = cfg!(feature = "sqlcipher");

/// How the database of a home lies on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseForm {
    /// As SQLite writes it.
    Plain,
    /// Encrypted, every page.
    Encrypted,
}

/// Whether SQLite finds no database of its own in the file: it is encrypted and has no key yet, or not the right one, or
/// its first page is damaged.
pub(super) fn is_unreadable(conn: &Connection) -> Result<bool, StoreError> {
    match conn.pragma_query_value(None, "schema_version", |row| row.get::<_, i64>(0)) {
        Ok(_) => Ok(false),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(feature = "sqlcipher"))]
mod built {
    use super::{Connection, DatabaseKey, StoreError};

    pub(in crate::store) const fn unlock(_: &Connection, _: Option<&DatabaseKey>) -> Result<(), StoreError> {
        Err(StoreError::Encrypted)
    }

    pub(in crate::store) const fn is_encrypted(_: &Connection) -> Result<bool, StoreError> {
        Ok(false)
    }
}

#[cfg(feature = "sqlcipher")]
mod built {
    use std::fmt::Write as _;
    use std::path::Path;

    use rusqlite::OptionalExtension as _;
    use zeroize::Zeroizing;

    use super::{Connection, DatabaseKey, StoreError, is_unreadable};

    /// What a copy is called while it is attached.
    pub(in crate::store) const COPY: &str = "copy";

    /// Gives the key to a connection that has read nothing yet.
    pub(in crate::store) fn unlock(conn: &Connection, key: Option<&DatabaseKey>) -> Result<(), StoreError> {
        let key = key.ok_or(StoreError::Encrypted)?;
        // What it says of a wrong key on stderr is told by the error below.
        conn.execute_batch("PRAGMA cipher_log_level = NONE")?;
        let pragma = Zeroizing::new(format!("PRAGMA key = \"{}\"", *raw(key)));
        // The error of SQLite holds the statement, and so the key: it goes no further.
        conn.execute_batch(&pragma).map_err(|_| StoreError::WrongDatabaseKey)?;
        conn.execute_batch("PRAGMA cipher_compatibility = 4; PRAGMA cipher_memory_security = OFF")?;
        if is_unreadable(conn)? { Err(StoreError::WrongDatabaseKey) } else { Ok(()) }
    }

    /// Whether a connection was given a key.
    pub(in crate::store) fn is_encrypted(conn: &Connection) -> Result<bool, StoreError> {
        let status = conn.query_row("PRAGMA cipher_status", [], |row| row.get::<_, String>(0)).optional()?;
        Ok(status.as_deref() == Some("1"))
    }

    /// Attaches an empty file as [`COPY`]: encrypted under the key, plain without one. It is no database before it is
    /// whole and on the disk, so it needs no journal.
    pub(in crate::store) fn attach(
        conn: &Connection,
        path: &Path,
        key: Option<&DatabaseKey>,
    ) -> Result<(), StoreError> {
        let path = path.to_str().ok_or(StoreError::ReadOnly)?;
        let key = key.map_or_else(Zeroizing::default, raw);
        conn.execute(&format!("ATTACH DATABASE ?1 AS {COPY} KEY ?2"), (path, key.as_str()))?;
        let settings = format!("PRAGMA {COPY}.journal_mode = OFF; PRAGMA {COPY}.synchronous = OFF");
        conn.execute_batch(&settings).inspect_err(|_| drop(detach(conn)))?;
        Ok(())
    }

    /// Lets go of [`COPY`].
    pub(in crate::store) fn detach(conn: &Connection) -> Result<(), StoreError> {
        Ok(conn.execute_batch(&format!("DETACH DATABASE {COPY}"))?)
    }

    /// Copies everything, as of one moment, into [`COPY`].
    pub(in crate::store) fn export(conn: &Connection) -> Result<(), StoreError> {
        let transaction = conn.unchecked_transaction()?;
        // The moment: the export alone would begin a new one with every table.
        let _: i64 = conn.query_row("SELECT count(*) FROM main.sqlite_schema", [], |row| row.get(0))?;
        conn.query_row("SELECT sqlcipher_export(?1)", [COPY], |_| Ok(()))?;
        for name in ["user_version", "application_id"] {
            let value: i64 = conn.pragma_query_value(Some("main"), name, |row| row.get(0))?;
            conn.pragma_update(Some(COPY), name, value)?;
        }
        Ok(transaction.commit()?)
    }

    /// The form in which SQLCipher takes 32 bytes for the key itself: `x'64 hex digits'`.
    fn raw(key: &DatabaseKey) -> Zeroizing<String> {
        // Room for all of it, so that no half of a key is left behind by growing.
        let mut out = Zeroizing::new(String::with_capacity(2 * 32 + 3));
        out.push_str("x'");
        for byte in key.to_bytes().iter() {
            let _ = write!(out, "{byte:02x}");
        }
        out.push('\'');
        out
    }
}

pub(super) use built::*;
