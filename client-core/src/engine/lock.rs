//! Who syncs: one process a home, and in it one connection a space.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use lifeos_sync_protocol::ids::SpaceId;

use super::EngineError;
use crate::store::SyncLock;

/// The lock of a home, shared by all its spaces in this process.
#[derive(Debug)]
pub(crate) struct HomeLock {
    home: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The file's lock, while any space syncs.
    file: Weak<SyncLock>,
    syncing: HashSet<SpaceId>,
}

/// Held while a space syncs.
#[derive(Debug)]
pub(crate) struct SpaceLock {
    home: Arc<HomeLock>,
    space: SpaceId,
    _file: Arc<SyncLock>,
}

impl HomeLock {
    pub(crate) fn new(home: PathBuf) -> Arc<Self> {
        Arc::new(Self { home, state: Mutex::default() })
    }

    /// Keeps other processes from syncing this home; the spaces of this process go on.
    ///
    /// # Errors
    /// [`EngineError::Locked`] when another process syncs.
    pub(crate) fn hold(&self) -> Result<Arc<SyncLock>, EngineError> {
        self.file_of(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where its files lie.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    fn file_of(&self, state: &mut State) -> Result<Arc<SyncLock>, EngineError> {
        let file = match state.file.upgrade() {
            Some(file) => file,
            None => Arc::new(SyncLock::try_acquire(&self.home)?.ok_or(EngineError::Locked)?),
        };
        state.file = Arc::downgrade(&file);
        Ok(file)
    }

    /// Takes the lock for one space.
    ///
    /// # Errors
    /// [`EngineError::Locked`] when this space syncs already, or another process syncs.
    pub(crate) fn acquire(self: &Arc<Self>, space: SpaceId) -> Result<SpaceLock, EngineError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.syncing.contains(&space) {
            return Err(EngineError::Locked);
        }
        let file = self.file_of(&mut state)?;
        state.syncing.insert(space);
        Ok(SpaceLock { home: Arc::clone(self), space, _file: file })
    }
}

impl Drop for SpaceLock {
    fn drop(&mut self) {
        self.home.state.lock().unwrap_or_else(PoisonError::into_inner).syncing.remove(&self.space);
    }
}
