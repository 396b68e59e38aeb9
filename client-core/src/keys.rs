//! Device keys, epoch secrets and the recovery phrase; every secret is zeroized on drop and has no `Debug`
//! that shows it (protocol amendment 1, §6.3, §7.3).
//!
//! ```text
//! device root  ── HKDF(genesis_random ‖ purpose) ──▶ the device's signing and HPKE keys in that space
//! device root  ── HKDF("database") ────────────────▶ the key of the local database, if that is encrypted
//! phrase seed  ── HKDF("recover/…/home") ──────────▶ the paper key's signing and HPKE keys in the home space
//! epoch secret ── HKDF ─▶ one key per envelope, one per wrapped parent, the public commitment
//! ```

mod health;
mod own;
mod phrase;

use std::collections::BTreeMap;
use std::fmt;

use lifeos_sync_protocol::hash::ctx;
use lifeos_sync_protocol::ids::{EpochRef, HpkePk, MemberId, SignPk, Signature};
use lifeos_sync_protocol::record::{DeviceEntry, DeviceKind, enrol_message};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::crypto::{HpkeKey, Prk, Random, SigningKey, random_bytes};

pub use health::{KeyFault, ReceiptKey, SealKey, health, receipt_key};
pub use own::OwnKeys;
pub use phrase::{PhraseError, PhraseLength, RecoveryPhrase};

/// A device's one root seed, from which its keys in every space are derived.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DeviceRoot(pub(crate) [u8; 32]);

/// Key of the local database, if that is encrypted.
#[derive(Clone)]
pub struct DatabaseKey(Zeroizing<[u8; 32]>);

/// A device's keys in one space.
pub struct DeviceKeys {
    pub(crate) sign: SigningKey,
    pub(crate) hpke: HpkeKey,
    /// Seals what only this device may read on its own disk.
    #[cfg_attr(not(feature = "io"), expect(dead_code))]
    pub(crate) local: Prk,
}

/// The secret of one epoch, with the pseudorandom key derived from it so that each envelope costs one expansion.
#[derive(Clone)]
pub struct EpochSecret {
    secret: Zeroizing<[u8; 32]>,
    prk: Prk,
}

/// The epoch secrets this device holds in one space.
#[derive(Clone, Default)]
pub struct Keyring(pub(crate) BTreeMap<EpochRef, EpochSecret>);

macro_rules! no_debug {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(secret)"))
            }
        }
    )*};
}
no_debug!(DeviceRoot DatabaseKey DeviceKeys EpochSecret RecoveryPhrase);

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl DeviceRoot {
    /// A new root.
    pub fn generate(random: &mut dyn Random) -> Self {
        Self(random_bytes(random))
    }

    /// The root from the 32 bytes of `device.key`.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes to keep in `device.key`.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0)
    }

    /// The device's keys in the space whose Genesis holds `genesis_random`:
    /// `HKDF(salt = ctx("device"), root, genesis_random ‖ purpose)`, purpose `sign` or `hpke`.
    #[must_use]
    pub fn derive_space(&self, genesis_random: &[u8; 32]) -> DeviceKeys {
        let prk = Prk::extract(&ctx("device"), &self.0);
        DeviceKeys::from_seeds(&prk.expand(&[genesis_random, b"sign"]), &prk.expand(&[genesis_random, b"hpke"]))
    }

    /// The key of the local database: `HKDF(salt = ctx("device"), root, "database")`. What a space adds is longer.
    #[must_use]
    pub fn derive_database(&self) -> DatabaseKey {
        DatabaseKey(Prk::extract(&ctx("device"), &self.0).expand(&[b"database"]))
    }
}

impl DatabaseKey {
    /// The 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.0.clone()
    }
}

impl DeviceKeys {
    pub(crate) fn from_seeds(sign: &[u8; 32], hpke: &[u8; 32]) -> Self {
        let local = Prk::extract(&ctx("local"), sign);
        Self { sign: SigningKey::from_seed(sign), hpke: HpkeKey::derive(hpke), local }
    }

    /// Signing key, also the device's id in the space.
    #[must_use]
    pub const fn sign_pk(&self) -> SignPk {
        self.sign.public()
    }

    /// Key that epoch secrets are sealed to.
    #[must_use]
    pub const fn hpke_pk(&self) -> HpkePk {
        self.hpke.public()
    }

    /// Ed25519 signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.sign.sign(message)
    }

    /// The public keys with the enrolment proof: this device's own signature that it holds them and wants to
    /// belong to `member`.
    #[must_use]
    pub fn entry(&self, genesis_random: &[u8; 32], member: &MemberId, kind: DeviceKind) -> DeviceEntry {
        let (sign_pk, hpke_pk) = (self.sign_pk(), self.hpke_pk());
        let proof = self.sign(&enrol_message(genesis_random, member, kind, &sign_pk, &hpke_pk));
        DeviceEntry { sign_pk, hpke_pk, kind, proof }
    }
}

impl EpochSecret {
    /// A new secret.
    pub fn generate(random: &mut dyn Random) -> Self {
        Self::from_bytes(random_bytes(random))
    }

    /// A secret from the store or from a seal.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let secret = Zeroizing::new(bytes);
        let prk = Prk::extract(&ctx("epoch"), &*secret);
        Self { secret, prk }
    }

    /// The 32 bytes, for the store and for sealing to a device.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.secret.clone()
    }

    /// What the Epoch record publishes, so that a recipient knows it was given the same secret as all others.
    #[must_use]
    pub fn commitment(&self) -> [u8; 32] {
        *self.prk.expand(&[&ctx("commit")])
    }

    /// A 32-byte key for one purpose; `info` starts with a context.
    #[must_use]
    pub(crate) fn derive_key(&self, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        self.prk.expand(info)
    }
}

impl Keyring {
    /// The secret of an epoch, if held.
    #[must_use]
    pub fn find(&self, epoch: &EpochRef) -> Option<&EpochSecret> {
        self.0.get(epoch)
    }

    /// Adds a secret.
    pub fn insert(&mut self, epoch: EpochRef, secret: EpochSecret) {
        self.0.insert(epoch, secret);
    }

    /// All held secrets, by epoch.
    pub fn iter(&self) -> impl Iterator<Item = (&EpochRef, &EpochSecret)> {
        self.0.iter()
    }

    /// Number of epochs held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SeededRandom;

    #[test]
    fn keys_differ_by_space_purpose_and_root() {
        let mut random = SeededRandom::new(2);
        let (root, other) = (DeviceRoot::generate(&mut random), DeviceRoot::generate(&mut random));
        let keys = root.derive_space(&[1; 32]);
        assert_eq!(keys.sign_pk(), DeviceRoot::from_bytes(*root.to_bytes()).derive_space(&[1; 32]).sign_pk());
        assert_ne!(keys.sign_pk(), root.derive_space(&[2; 32]).sign_pk());
        assert_ne!(keys.hpke_pk(), root.derive_space(&[2; 32]).hpke_pk());
        assert_ne!(keys.sign_pk(), other.derive_space(&[1; 32]).sign_pk());
        let phrase = RecoveryPhrase::generate(PhraseLength::Words12, &mut random);
        assert_ne!(phrase.derive_home().sign_pk(), phrase.derive_space(&[1; 32]).sign_pk());
        assert_ne!(phrase.derive_space(&[1; 32]).hpke_pk(), phrase.derive_space(&[2; 32]).hpke_pk());
    }

    #[test]
    fn an_entry_proves_that_the_device_holds_its_key() {
        let keys = DeviceRoot::generate(&mut SeededRandom::new(3)).derive_space(&[1; 32]);
        let member = MemberId([4; 16]);
        let entry = keys.entry(&[1; 32], &member, DeviceKind::Normal);
        let check = |random: &[u8; 32], member: &MemberId, kind| {
            let message = enrol_message(random, member, kind, &entry.sign_pk, &entry.hpke_pk);
            lifeos_sync_protocol::handshake::verify(&entry.sign_pk, &message, &entry.proof).is_ok()
        };
        assert!(check(&[1; 32], &member, DeviceKind::Normal));
        assert!(!check(&[2; 32], &member, DeviceKind::Normal));
        assert!(!check(&[1; 32], &MemberId([5; 16]), DeviceKind::Normal));
        assert!(!check(&[1; 32], &member, DeviceKind::Recovery));
    }

    #[test]
    fn secrets_do_not_show_themselves() {
        let mut random = SeededRandom::new(4);
        let root = DeviceRoot::generate(&mut random);
        let phrase = RecoveryPhrase::generate(PhraseLength::Words12, &mut random);
        let shown =
            format!("{root:?} {:?} {:?} {phrase:?}", root.derive_space(&[0; 32]), EpochSecret::generate(&mut random));
        assert_eq!(shown, "DeviceRoot(secret) DeviceKeys(secret) EpochSecret(secret) RecoveryPhrase(secret)");
        assert_eq!(format!("{:?}", root.derive_database()), "DatabaseKey(secret)");
    }

    #[test]
    fn the_commitment_tells_secrets_apart_and_is_no_key() {
        let mut random = SeededRandom::new(5);
        let (a, b) = (EpochSecret::generate(&mut random), EpochSecret::generate(&mut random));
        assert_eq!(a.commitment(), EpochSecret::from_bytes(*a.to_bytes()).commitment());
        assert_ne!(a.commitment(), b.commitment());
        assert_ne!(a.commitment(), *a.derive_key(&[b"env"]));
    }
}
