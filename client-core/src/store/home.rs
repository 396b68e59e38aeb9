//! The home folder: `lifeos.db`, `device.key`, `sync.lock`, and how a home comes into being in one step.
//!
//! The rename of `lifeos.db.new` to `lifeos.db` is the moment a home exists. Whatever lies there before it
//! (a half-made home after a crash) is cleared away by the next creation.

use std::path::Path;

use lifeos_sync_protocol::ids::{SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::record::Record;

use super::{Store, StoreError};
use crate::keys::DeviceRoot;

/// Name of the database inside a home.
pub const DATABASE_FILE: &str = "lifeos.db";
/// Name of the file with the device's root seed (mode 0600).
pub const DEVICE_KEY_FILE: &str = "device.key";
/// Name of the file whose lock says that a process is syncing.
pub const SYNC_LOCK_FILE: &str = "sync.lock";

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

/// Held while a process syncs; released when it is dropped or the process dies.
#[derive(Debug)]
pub struct SyncLock {
    _file: std::fs::File,
}

impl SyncLock {
    /// Takes the lock; `None` when another process holds it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn try_acquire(home: &Path) -> Result<Option<Self>, StoreError> {
        let file =
            std::fs::OpenOptions::new().create(true).write(true).truncate(false).open(home.join(SYNC_LOCK_FILE))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

/// Reads `device.key`.
///
/// # Errors
/// [`StoreError::DeviceKey`] when it is missing or damaged.
pub fn load_device_root(home: &Path) -> Result<DeviceRoot, StoreError> {
    let _ = home;
    todo!()
}

impl Store {
    /// Makes a home: folder, device key, database, home space. A half-made home is replaced.
    ///
    /// # Errors
    /// [`StoreError::HomeExists`], [`StoreError::KeyWithoutDatabase`], or the disk's.
    pub fn create(home: &Path, new: &NewHome<'_>) -> Result<Self, StoreError> {
        let _ = (home, new);
        todo!()
    }

    /// Opens a home, brings its format up to date and rebuilds projections of an older version.
    ///
    /// # Errors
    /// [`StoreError::NoHome`], [`StoreError::NewerVersion`], [`StoreError::Corrupt`], [`StoreError::Busy`].
    pub fn open(home: &Path) -> Result<Self, StoreError> {
        let _ = home;
        todo!()
    }
}
