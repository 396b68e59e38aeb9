//! Documents in memory: an LRU of loaded ones, checked by generation, and the snapshot policy.

use super::{Store, StoreError};

/// Loaded documents.
#[derive(Default)]
pub(super) struct Cache {}

impl Store {
    /// Re-snapshots documents whose tail of changes has grown too long, at most `documents_max`; returns how
    /// many. Off the edit path.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn compact_tails(&mut self, documents_max: usize) -> Result<usize, StoreError> {
        let _ = documents_max;
        todo!()
    }
}
