//! Device keys, epoch secrets and the recovery phrase; every secret is zeroized on drop and has no `Debug`
//! that shows it (protocol amendment 1, §6.3, §7.3).

use std::collections::BTreeMap;

use lifeos_sync_protocol::ids::{EpochRef, HpkePk, MemberId, SignPk, Signature};
use lifeos_sync_protocol::record::{DeviceEntry, DeviceKind};

use crate::crypto::Random;

/// A device's one root seed, from which its keys in every space are derived.
pub struct DeviceRoot(/* 32 bytes, zeroized */ pub(crate) [u8; 32]);

/// A device's keys in one space.
pub struct DeviceKeys {/* ring Ed25519KeyPair + HPKE private key */}

/// The secret of one epoch.
#[derive(Clone)]
pub struct EpochSecret(pub(crate) [u8; 32]);

/// The epoch secrets this device holds in one space.
#[derive(Clone, Default)]
pub struct Keyring(pub(crate) BTreeMap<EpochRef, EpochSecret>);

/// 12 or 24 BIP-39 words, as an encoding of entropy only.
pub struct RecoveryPhrase(/* entropy, zeroized */);

impl DeviceRoot {
    /// A new root.
    pub fn generate(random: &mut dyn Random) -> Self {
        let _ = random;
        todo!()
    }
    /// HKDF(root, genesis_random ‖ purpose) for signing and HPKE.
    pub fn derive_space(&self, genesis_random: &[u8; 32]) -> DeviceKeys {
        let _ = genesis_random;
        todo!()
    }
}

impl DeviceKeys {
    /// Signing key, also the device's id in the space.
    pub fn sign_pk(&self) -> SignPk {
        todo!()
    }
    /// Key that epoch secrets are sealed to.
    pub fn hpke_pk(&self) -> HpkePk {
        todo!()
    }
    /// Ed25519 signature.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let _ = message;
        todo!()
    }
    /// Keys with the enrolment proof.
    pub fn entry(&self, genesis_random: &[u8; 32], member: &MemberId, kind: DeviceKind) -> DeviceEntry {
        let _ = (genesis_random, member, kind);
        todo!()
    }
}

impl Keyring {
    /// The secret of an epoch, if held.
    pub fn find(&self, epoch: &EpochRef) -> Option<&EpochSecret> {
        self.0.get(epoch)
    }
    /// Adds a secret.
    pub fn insert(&mut self, epoch: EpochRef, secret: EpochSecret) {
        self.0.insert(epoch, secret);
    }
}
