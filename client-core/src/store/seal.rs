//! Sealing: pending changes become finished envelopes, stored with the stream's tip before anything is sent.

use lifeos_sync_protocol::ids::{EpochRef, SpaceId};

use super::{Store, StoreError};
use crate::crypto::Random;
use crate::keys::{DeviceKeys, EpochSecret};

/// How much one call seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealBudget {
    /// Most bytes of changes taken in one commit.
    pub change_bytes_max: usize,
    /// Most envelopes in one commit.
    pub envelopes_max: usize,
}

impl Default for SealBudget {
    fn default() -> Self {
        Self { change_bytes_max: 4 * 1024 * 1024, envelopes_max: 64 }
    }
}

/// What one call sealed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SealReport {
    /// Envelopes made.
    pub envelopes: usize,
    /// Changes inside.
    pub changes: usize,
    /// Pending changes are left: call again.
    pub more: bool,
}

impl Store {
    /// Coalesces pending changes by document, seals them under `epoch` and stores envelopes, tip and cleared
    /// marks in one durable commit. Call only when the records are equal with a peer (amendment 6).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn seal_pending(
        &mut self,
        space: &SpaceId,
        keys: &DeviceKeys,
        epoch: EpochRef,
        secret: &EpochSecret,
        budget: SealBudget,
        random: &mut dyn Random,
    ) -> Result<SealReport, StoreError> {
        let _ = (space, keys, epoch, secret, budget, random);
        todo!()
    }
}
