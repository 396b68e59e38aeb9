//! A snapshot of the database for a backup, and a home made from one.
//!
//! A restored home writes a new stream (amendment 5): the home it was copied from may be alive and go on writing the
//! old one, and two copies must never write one stream.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeos_sync_protocol::ids::{EnvelopeId, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::Cut;
use rusqlite::{Connection, OpenFlags};

use super::documents::Cache;
use super::home::make_home;
use super::records::{Kept, load};
use super::{Reads, Store, StoreError, cipher, schema};
#[cfg(feature = "sqlcipher")]
use crate::crypto::{SystemRandom, random_bytes};
use crate::keystore::KeyFile;

const SNAPSHOT_FILE: &str = "backup.tmp";
/// Files here lie in memory (Linux).
#[cfg(feature = "sqlcipher")]
const MEMORY_FOLDER: &str = "/dev/shm";

/// A copy of the database in one file, plain whatever the database is, that is gone when it is dropped.
#[derive(Debug)]
pub struct Snapshot {
    file: File,
    /// Its name, where it still has one.
    path: Option<PathBuf>,
}

impl Snapshot {
    /// The copy, to be read from its beginning.
    #[must_use]
    pub const fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// An empty, private file.
    fn begin(path: PathBuf) -> Result<Self, StoreError> {
        // Made first, empty and private: VACUUM INTO and ATTACH take an empty file as it is.
        drop(super::device_key::create_private(&path)?);
        let file = File::open(&path).inspect_err(|_| drop(fs::remove_file(&path)))?;
        Ok(Self { file, path: Some(path) })
    }

    /// Takes its name away, where the system lets a file be used without one.
    #[cfg(feature = "sqlcipher")]
    fn hide(&mut self) -> Result<(), StoreError> {
        if let Some(path) = self.path.take_if(|_| cfg!(unix)) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

impl Store {
    /// Writes a consistent copy of the database (mode 0600), whatever other connections do meanwhile: beside it, and of
    /// an encrypted one in memory where the system has files there and room for it; where not, into a file of the home
    /// that has lost its name before the first byte is written (not on Windows).
    ///
    /// # Errors
    /// [`StoreError`], e.g. [`StoreError::DiskFull`].
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let path = self.home.join(SNAPSHOT_FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        if cipher::is_encrypted(&self.conn)? {
            return self.snapshot_decrypted(path);
        }
        let snapshot = Snapshot::begin(path.clone())?;
        self.conn.execute("VACUUM INTO ?1", [path.to_str().ok_or(StoreError::ReadOnly)?])?;
        Ok(snapshot)
    }

    #[cfg(not(feature = "sqlcipher"))]
    fn snapshot_decrypted(&self, _: PathBuf) -> Result<Snapshot, StoreError> {
        Err(StoreError::Encrypted)
    }

    #[cfg(feature = "sqlcipher")]
    fn snapshot_decrypted(&self, on_disk: PathBuf) -> Result<Snapshot, StoreError> {
        let in_memory = Path::new(MEMORY_FOLDER)
            .join(format!("lifeos-{:032x}", u128::from_be_bytes(random_bytes(&mut SystemRandom::new()))));
        self.decrypted_at(in_memory).or_else(|_| self.decrypted_at(on_disk))
    }

    #[cfg(feature = "sqlcipher")]
    pub(super) fn decrypted_at(&self, path: PathBuf) -> Result<Snapshot, StoreError> {
        let mut snapshot = Snapshot::begin(path.clone())?;
        cipher::attach(&self.conn, &path, None)?;
        let exported = snapshot.hide().and_then(|()| cipher::export(&self.conn));
        cipher::detach(&self.conn)?;
        exported.map(|()| snapshot)
    }

    /// Makes a home from a database that `write` puts into an empty file: checked from the ground up, prepared by
    /// `prepare` (which begins new streams), and only then there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::NewerVersion`], [`StoreError::HomeExists`], or what `write` and `prepare`
    /// return; then nothing that opens is left behind.
    pub fn restore<E: From<StoreError>>(
        home: &Path,
        key: &KeyFile,
        write: impl FnOnce(&Path) -> Result<(), E>,
        prepare: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut failed = None;
        let made = make_home(home, key, |path| {
            let prepared = write(path).and_then(|()| Self::prepared(home, path, prepare));
            prepared.map_err(|error| {
                failed = Some(error);
                StoreError::Corrupt { what: "a backup" }
            })
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(made?),
        }
    }

    /// The database of a home that is not there yet.
    fn prepared<E: From<StoreError>>(
        home: &Path,
        path: &Path,
        prepare: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(StoreError::from)?;
        let (documents, records) = (Cache::default(), Kept::default());
        let mut store = Self { home: home.to_path_buf(), conn, documents, records, metrics: Arc::default() };
        harden(&store.conn)?;
        schema::migrate(&mut store.conn)?;
        store.follow_version()?;
        store.project_all(&mut |_, _| {})?;
        prepare(&mut store)?;
        store.conn.close().map_err(|(_, error)| StoreError::from(error))?;
        Ok(())
    }

    /// Stores a value of the `meta` table, durably.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_meta(&mut self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        schema::put_meta(&self.conn, key, value)
    }
}

impl Reads<'_> {
    /// The membership that the stored records give.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn membership(&self, space: &SpaceId) -> Result<Membership, StoreError> {
        let records = load(self.conn, self.space_row(space)?)?;
        Membership::evaluate(space, &records).map_err(|_| StoreError::Corrupt { what: "the records of a space" })
    }

    /// How far the streams of each device are held here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn device_cuts(&self, space: &SpaceId) -> Result<BTreeMap<SignPk, Vec<Cut>>, StoreError> {
        let sql = "SELECT device, stream, seq, tip FROM stream WHERE space = ?1 AND seq > 0 ORDER BY stream";
        let rows = self.all(sql, [self.space_row(space)?], |row| {
            let cut = Cut { stream: StreamId(row.get(1)?), seq: row.get(2)?, id: EnvelopeId(row.get(3)?) };
            Ok((SignPk(row.get(0)?), cut))
        })?;
        let mut cuts: BTreeMap<SignPk, Vec<Cut>> = BTreeMap::new();
        rows.into_iter().for_each(|(device, cut)| cuts.entry(device).or_default().push(cut));
        Ok(cuts)
    }
}

fn harden(conn: &Connection) -> Result<(), StoreError> {
    for (name, value) in [("trusted_schema", "OFF"), ("cell_size_check", "ON"), ("synchronous", "FULL")] {
        conn.pragma_update(None, name, value)?;
    }
    schema::refuse_foreign(conn)?;
    let sound: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if sound == "ok" { Ok(()) } else { Err(StoreError::Corrupt { what: "the database inside the backup" }) }
}
