//! The doctor: what can be checked about a home, and what can be made anew.

use lifeos_sync_protocol::ids::SpaceId;

use super::{Store, StoreError};

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOutcome {
    /// What was checked.
    pub name: &'static str,
    /// Whether it held.
    pub ok: bool,
    /// In words.
    pub detail: String,
}

impl Store {
    /// Checks pages, documents, projections (recomputed and compared), streams and pending changes.
    /// `progress(done, total)` is called after every document.
    ///
    /// # Errors
    /// [`StoreError`] only when the checks themselves cannot run.
    pub fn check(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<CheckOutcome>, StoreError> {
        let _ = progress;
        todo!()
    }

    /// Projects every document again and indexes it again, in one commit per few hundred documents.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rebuild_projections(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<u64, StoreError> {
        let _ = progress;
        todo!()
    }

    /// SHA-256 over all projection rows of a space, ordered by table, document id and key, local row ids left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn projection_digest(&self, space: &SpaceId) -> Result<[u8; 32], StoreError> {
        let _ = space;
        todo!()
    }
}
