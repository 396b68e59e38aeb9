//! Key health: asked before anything is sealed, so that a wrong key never reaches a relay (protocol §6.3).
//!
//! The answer is the only door to the secret that new content is sealed under: who holds it has passed the check.

use lifeos_sync_protocol::ids::{EpochRef, SignPk};
use lifeos_sync_protocol::membership::Membership;

use super::{EpochSecret, Keyring, OwnKeys};

/// Why this device must not write now, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// The key at hand is not the one this home was made with.
    #[error("the device's key belongs to another home: put the right one back, or link this device again")]
    WrongDevice,
    /// No record enrols this device.
    #[error("this device is not enrolled in the space: link it again")]
    NotEnrolled,
    /// The device was removed.
    #[error("this device was removed from the space: what it holds stays readable here; link it again to sync")]
    Removed,
    /// What is sealed to this device is sealed to another key.
    #[error(
        "the space seals to a newer key than this device has, as after putting back an older copy of its home: sync, and it gets a new one by itself; if this stays, link this device again"
    )]
    WrongHpkeKey,
    /// A reader, or a recovery key.
    #[error("this device may read but not write in this space: ask an owner for another role")]
    ReadOnly,
    /// A removal calls for a new epoch, which is not there yet.
    #[error("the space waits for new keys after a removal: sync again; edits are kept until then")]
    NeedRotation,
    /// The secret of the current epoch is not here.
    #[error("the key of the space is not on this device: sync again, or link this device again")]
    NoEpochSecret,
    /// The secret is not the one that its Epoch record commits to.
    #[error(
        "the key of the space on this device is not the one its members use: nothing is sealed with it; link this device again"
    )]
    WrongEpochSecret,
}

impl KeyFault {
    /// Whether records of other devices heal it, without anybody doing anything here.
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Self::NeedRotation | Self::NoEpochSecret)
    }
}

/// The epoch that envelopes are to be sealed under, with its secret. Only [`health`] makes one.
#[derive(Debug, Clone)]
pub struct SealKey {
    epoch: EpochRef,
    secret: EpochSecret,
}

impl SealKey {
    /// The epoch.
    #[must_use]
    pub const fn epoch(&self) -> EpochRef {
        self.epoch
    }

    /// Its secret.
    #[must_use]
    pub const fn secret(&self) -> &EpochSecret {
        &self.secret
    }
}

/// The epoch that a receipt or presence is to be sealed under, with its secret: nothing else goes under it, so that a
/// device that only reads never seals content. Only [`receipt_key`] makes one.
#[derive(Debug, Clone)]
pub struct ReceiptKey(SealKey);

impl ReceiptKey {
    /// The epoch.
    #[must_use]
    pub const fn epoch(&self) -> EpochRef {
        self.0.epoch
    }

    /// Its secret.
    #[must_use]
    pub const fn secret(&self) -> &EpochSecret {
        &self.0.secret
    }
}

/// Checks that the keys at hand are those the space knows `device` by and that it may write, and gives the epoch to
/// seal under. The secret is compared with its record's commitment each time: it may have come from a cache.
///
/// # Errors
/// [`KeyFault`]; nothing may be sealed then, edits stay pending.
pub fn health(
    device: &SignPk,
    keys: OwnKeys<'_>,
    membership: &Membership,
    keyring: &Keyring,
) -> Result<SealKey, KeyFault> {
    check_enrolled(device, keys, membership)?;
    if !membership.may_write(device) {
        return Err(KeyFault::ReadOnly);
    }
    current_secret(membership, keyring)
}

/// The same for a receipt or presence, which a reader's device gives, too.
///
/// # Errors
/// [`KeyFault`].
pub fn receipt_key(
    device: &SignPk,
    keys: OwnKeys<'_>,
    membership: &Membership,
    keyring: &Keyring,
) -> Result<ReceiptKey, KeyFault> {
    check_enrolled(device, keys, membership)?;
    if !membership.may_read(device) {
        return Err(KeyFault::NotEnrolled);
    }
    current_secret(membership, keyring).map(ReceiptKey)
}

fn check_enrolled(device: &SignPk, keys: OwnKeys<'_>, membership: &Membership) -> Result<(), KeyFault> {
    if keys.sign_pk() != *device {
        return Err(KeyFault::WrongDevice);
    }
    let enrolled = membership.devices.get(device).ok_or(KeyFault::NotEnrolled)?;
    if enrolled.removed_by.is_some() {
        return Err(KeyFault::Removed);
    }
    if !keys.holds(&enrolled.hpke_pk) {
        return Err(KeyFault::WrongHpkeKey);
    }
    Ok(())
}

fn current_secret(membership: &Membership, keyring: &Keyring) -> Result<SealKey, KeyFault> {
    let current = membership.current_epoch().ok_or(KeyFault::NeedRotation)?;
    let (epoch, secret) = membership.epochs.get(&current).zip(keyring.find(&current)).ok_or(KeyFault::NoEpochSecret)?;
    if secret.commitment() != epoch.commit {
        return Err(KeyFault::WrongEpochSecret);
    }
    Ok(SealKey { epoch: current, secret: secret.clone() })
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::{HpkePk, MemberId};
    use lifeos_sync_protocol::record::Record;

    use super::*;
    use crate::crypto::SeededRandom;
    use crate::keys::{DeviceKeys, DeviceRoot, PhraseLength, RecoveryPhrase};
    use crate::records::{Founding, found_space, open_epochs};

    struct World {
        keys: DeviceKeys,
        recovery: DeviceKeys,
        membership: Membership,
        records: Vec<Record>,
    }

    fn world() -> World {
        let mut random = SeededRandom::new(51);
        let keys = DeviceRoot::generate(&mut random).derive_space(&[5; 32]);
        let recovery = RecoveryPhrase::generate(PhraseLength::Words12, &mut random).derive_home();
        let founding = Founding {
            genesis_random: [5; 32],
            member: MemberId([1; 16]),
            keys: &keys,
            recovery: &recovery,
            relays: Vec::new(),
        };
        let founded = found_space(&founding, &mut random).unwrap();
        let records = vec![founded.genesis, founded.epoch];
        let membership = Membership::evaluate(&founded.space, &records).unwrap();
        World { keys, recovery, membership, records }
    }

    impl World {
        fn keyring(&self) -> Keyring {
            open_epochs(&self.membership, &self.records, &self.keys)
        }

        fn fault(&self, keys: &DeviceKeys, keyring: &Keyring) -> Option<KeyFault> {
            health(&self.keys.sign_pk(), OwnKeys::first(keys), &self.membership, keyring).err()
        }
    }

    #[test]
    fn a_sound_device_gets_the_epoch_to_seal_under() {
        let world = world();
        let keyring = world.keyring();
        let own = OwnKeys::first(&world.keys);
        let key = health(&world.keys.sign_pk(), own, &world.membership, &keyring).unwrap();
        assert_eq!(Some(key.epoch()), world.membership.current_epoch());
        assert_eq!(key.secret().commitment(), world.membership.epochs[&key.epoch()].commit);
    }

    #[test]
    fn a_key_of_another_home_seals_nothing() {
        let world = world();
        let other = DeviceRoot::generate(&mut SeededRandom::new(52)).derive_space(&[5; 32]);
        assert_eq!(world.fault(&other, &world.keyring()), Some(KeyFault::WrongDevice));
        let stranger =
            health(&other.sign_pk(), OwnKeys::first(&other), &world.membership, &world.keyring()).unwrap_err();
        assert_eq!(stranger, KeyFault::NotEnrolled);
    }

    #[test]
    fn an_epoch_secret_that_differs_from_its_commitment_seals_nothing() {
        let world = world();
        let epoch = world.membership.current_epoch().unwrap();
        let mut keyring = Keyring::default();
        assert_eq!(world.fault(&world.keys, &keyring), Some(KeyFault::NoEpochSecret));
        keyring.insert(epoch, EpochSecret::from_bytes([9; 32]));
        assert_eq!(world.fault(&world.keys, &keyring), Some(KeyFault::WrongEpochSecret));
    }

    #[test]
    fn a_device_that_is_removed_or_sealed_to_under_another_key_seals_nothing() {
        let mut world = world();
        let (pk, keyring) = (world.keys.sign_pk(), world.keyring());
        world.membership.devices.get_mut(&pk).unwrap().hpke_pk = HpkePk([3; 32]);
        assert_eq!(world.fault(&world.keys, &keyring), Some(KeyFault::WrongHpkeKey));
        world.membership.devices.get_mut(&pk).unwrap().removed_by = Some(world.records[1].id());
        assert_eq!(world.fault(&world.keys, &keyring), Some(KeyFault::Removed));
    }

    #[test]
    fn the_recovery_key_never_seals_content() {
        let world = world();
        let keyring = open_epochs(&world.membership, &world.records, &world.recovery);
        assert_eq!(keyring.len(), 1, "it reads");
        let fault = health(&world.recovery.sign_pk(), OwnKeys::first(&world.recovery), &world.membership, &keyring)
            .unwrap_err();
        assert_eq!(fault, KeyFault::ReadOnly);
    }
}
