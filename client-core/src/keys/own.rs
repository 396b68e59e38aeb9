//! All keys of one device in one space.

use lifeos_sync_protocol::ids::{HpkePk, SignPk};

use super::DeviceKeys;
use crate::crypto::HpkeKey;

/// A device's keys in one space: those derived from its root, and HPKE keys made since, newest last.
#[derive(Clone, Copy)]
pub struct OwnKeys<'a> {
    /// Signing key and first HPKE key.
    pub device: &'a DeviceKeys,
    /// HPKE keys of later refreshes.
    pub refreshed: &'a [HpkeKey],
    /// The older ones are left out: what would be lost without them?
    pub newest_only: bool,
}

impl<'a> OwnKeys<'a> {
    /// The keys of a device that never made a new HPKE key.
    #[must_use]
    pub const fn first(device: &'a DeviceKeys) -> Self {
        Self { device, refreshed: &[], newest_only: false }
    }

    /// The device's id.
    #[must_use]
    pub const fn sign_pk(&self) -> SignPk {
        self.device.sign_pk()
    }

    /// Newest first: most seals are for that one.
    pub(crate) fn hpke_keys(&self) -> impl Iterator<Item = &'a HpkeKey> {
        let count = if self.newest_only { 1 } else { usize::MAX };
        self.refreshed.iter().rev().chain([&self.device.hpke]).take(count)
    }

    /// Whether the private half of this key is here.
    #[must_use]
    pub fn holds(&self, key: &HpkePk) -> bool {
        self.hpke_keys().any(|own| own.public() == *key)
    }
}
