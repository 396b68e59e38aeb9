//! Which epoch secrets a device can open, and what is wrong where it cannot (protocol §6.3).
//!
//! ```text
//! seals in Epoch records ┐
//! grants in DeviceAdd    ├─ open with the enrolled key or an older one ─ commitment? ─▶ held ─ wraps ─▶ parents held
//! grants in KeyGrant     ┘                └─ SealFails           └─ WrongSecret
//! ```

use std::collections::{BTreeMap, BTreeSet};

use lifeos_sync_protocol::ids::{EpochRef, RecordId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Record, Seal};

use super::seals::{EpochFacts, device_ref, open_seal, open_wrap};
use super::{epoch_ref, in_force};
use crate::keys::{DeviceKeys, Keyring, OwnKeys};

/// Why the secret of an epoch in force is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyTrouble {
    /// Nobody has sealed it to this device yet: another device will, when it sees that.
    #[error("nobody has given this device the key yet")]
    NotSealed,
    /// It was sealed to this device, but not to a key that this device holds.
    #[error("the key was sealed to this device in a way that it cannot open")]
    SealFails,
    /// What was sealed to this device is another secret than the one that was announced to everybody.
    #[error("the key that was sealed to this device is not the one announced to everybody")]
    WrongSecret,
}

impl KeyTrouble {
    /// Whether the author of the epoch did something wrong, so that it is no use to wait for more.
    #[must_use]
    pub const fn is_broken(self) -> bool {
        !matches!(self, Self::NotSealed)
    }
}

/// What a device can open of a space.
#[derive(Debug, Clone, Default)]
pub struct OpenedEpochs {
    /// The secrets.
    pub keyring: Keyring,
    /// Epochs in force whose secret is not held.
    pub troubles: BTreeMap<EpochRef, KeyTrouble>,
    /// Epochs whose secret is held, but that no later epoch held opens: who wrapped them did not have the secret, or
    /// lied. Whoever was not sealed one of these reads nothing of it until it is granted.
    pub cut_off: BTreeSet<EpochRef>,
}

/// Every epoch secret that a device which never refreshed its HPKE key can open.
#[must_use]
pub fn open_epochs(membership: &Membership, records: &[Record], keys: &DeviceKeys) -> Keyring {
    unlock_epochs(membership, records, OwnKeys::first(keys)).keyring
}

/// Every epoch secret that `keys` can open from the records in force: from seals in Epoch records, from grants in
/// DeviceAdd and KeyGrant records, and from there on through wraps to the parents.
#[must_use]
pub fn unlock_epochs(membership: &Membership, records: &[Record], keys: OwnKeys<'_>) -> OpenedEpochs {
    let mut opener = EpochOpener::new(membership, records, keys);
    for record in in_force(membership, records) {
        opener.open_record(record);
    }
    opener.follow_wraps();
    opener.finish()
}

pub(super) struct EpochOpener<'a> {
    membership: &'a Membership,
    keys: OwnKeys<'a>,
    epochs: BTreeMap<EpochRef, &'a Record>,
    pub(super) keyring: Keyring,
    /// What went wrong with a seal for this device.
    broken: BTreeMap<EpochRef, KeyTrouble>,
}

impl<'a> EpochOpener<'a> {
    pub(super) fn new(membership: &'a Membership, records: &'a [Record], keys: OwnKeys<'a>) -> Self {
        let by_id: BTreeMap<RecordId, &Record> = records.iter().map(|record| (record.id(), record)).collect();
        let epochs = membership.epochs.iter();
        let epochs = epochs.filter_map(|(id, epoch)| Some((*id, *by_id.get(&epoch.record)?))).collect();
        Self { membership, keys, epochs, keyring: Keyring::default(), broken: BTreeMap::new() }
    }

    fn open_record(&mut self, record: &Record) {
        match record.body() {
            Body::Epoch { seals, .. } => {
                let epoch = epoch_ref(&record.id());
                seals.iter().for_each(|seal| self.open(record, epoch, seal));
            }
            Body::KeyGrant { epoch, seals } => {
                seals.iter().for_each(|seal| self.open(record, *epoch, seal));
            }
            Body::DeviceAdd { device, grants, .. } if device.sign_pk == self.keys.sign_pk() => {
                grants.iter().for_each(|(epoch, seal)| self.open(record, *epoch, seal));
            }
            _ => {}
        }
    }

    pub(super) fn open(&mut self, holder: &Record, epoch: EpochRef, seal: &Seal) {
        if seal.device_ref != device_ref(&self.keys.sign_pk()) || self.keyring.find(&epoch).is_some() {
            return;
        }
        let Some(Body::Epoch { generation, parents, commit, .. }) = self.body(&epoch) else { return };
        let facts = EpochFacts { generation: *generation, parents, commit, author: &holder.author() };
        match open_seal(&self.membership.space, &facts, &self.keys, seal) {
            Ok(secret) => self.keyring.insert(epoch, secret),
            Err(trouble) => drop(self.broken.insert(epoch, trouble)),
        }
    }

    /// Newest first: a parent opened here is itself visited later.
    pub(super) fn follow_wraps(&mut self) {
        let mut epochs: Vec<_> = self.membership.epochs.iter().collect();
        epochs.sort_by_key(|(_, epoch)| std::cmp::Reverse(epoch.generation));
        for (id, _) in epochs {
            let (Some(secret), Some(Body::Epoch { wraps, .. })) = (self.keyring.find(id).cloned(), self.body(id))
            else {
                continue;
            };
            for wrap in wraps {
                let Some(Body::Epoch { commit, .. }) = self.body(&wrap.parent) else { continue };
                if self.keyring.find(&wrap.parent).is_some() {
                    continue;
                }
                if let Some(parent) = open_wrap(&self.membership.space, &secret, wrap, commit) {
                    self.keyring.insert(wrap.parent, parent);
                }
            }
        }
    }

    /// The epochs held that have a later one held, none of which opens them.
    fn cut_off(&self) -> BTreeSet<EpochRef> {
        let (mut wrapped, mut reached) = (BTreeSet::new(), BTreeSet::new());
        for child in self.epochs.keys() {
            let (Some(secret), Some(Body::Epoch { wraps, .. })) = (self.keyring.find(child), self.body(child)) else {
                continue;
            };
            for wrap in wraps.iter().filter(|wrap| self.keyring.find(&wrap.parent).is_some()) {
                let Some(Body::Epoch { commit, .. }) = self.body(&wrap.parent) else { continue };
                wrapped.insert(wrap.parent);
                if open_wrap(&self.membership.space, secret, wrap, commit).is_some() {
                    reached.insert(wrap.parent);
                }
            }
        }
        wrapped.difference(&reached).copied().collect()
    }

    fn finish(self) -> OpenedEpochs {
        let cut_off = self.cut_off();
        let Self { membership, keyring, broken, .. } = &self;
        let lacking = membership.epochs.keys().filter(|epoch| keyring.find(epoch).is_none());
        let trouble = |epoch: &EpochRef| broken.get(epoch).copied().unwrap_or(KeyTrouble::NotSealed);
        let troubles = lacking.map(|epoch| (*epoch, trouble(epoch))).collect();
        OpenedEpochs { keyring: self.keyring, troubles, cut_off }
    }

    fn body(&self, epoch: &EpochRef) -> Option<&'a Body> {
        self.epochs.get(epoch).map(|record| record.body())
    }
}
