//! Device keys, epoch secrets and the recovery phrase; every secret is zeroized on drop and has no `Debug`
//! that shows it (protocol amendment 1, §6.3, §7.3).
//!
//! ```text
//! device root  ── HKDF(genesis_random ‖ purpose) ──▶ the device's signing and HPKE keys in that space
//! phrase seed  ── HKDF("recover/…/home") ──────────▶ the paper key's signing and HPKE keys in the home space
//! epoch secret ── HKDF ─▶ one key per envelope, one per wrapped parent, the public commitment
//! ```

mod health;
mod own;

use std::collections::BTreeMap;
use std::fmt;

use bip39::{Language, Mnemonic};
use lifeos_sync_protocol::hash::ctx;
use lifeos_sync_protocol::ids::{EpochRef, HpkePk, MemberId, SignPk, Signature};
use lifeos_sync_protocol::record::{DeviceEntry, DeviceKind, enrol_message};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::crypto::{HpkeKey, Prk, Random, SigningKey, hkdf_sha256, random_bytes};

pub use health::{KeyFault, SealKey, health};
pub use own::OwnKeys;

/// A device's one root seed, from which its keys in every space are derived.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DeviceRoot(pub(crate) [u8; 32]);

/// A device's keys in one space.
pub struct DeviceKeys {
    pub(crate) sign: SigningKey,
    pub(crate) hpke: HpkeKey,
    /// Seals what only this device may read on its own disk.
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

/// 12 or 24 BIP-39 words, as an encoding of entropy only: no password stretching, because nothing is guessable.
#[derive(Clone)]
pub struct RecoveryPhrase {
    entropy: Zeroizing<Vec<u8>>,
}

/// How long a recovery phrase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PhraseLength {
    /// 12 words, 128 bits.
    #[default]
    Words12,
    /// 24 words, 256 bits.
    Words24,
}

/// A recovery phrase that cannot be read. The messages tell a person what to check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PhraseError {
    /// Neither 12 nor 24 words.
    #[error("a recovery phrase has 12 or 24 words, this one has {words}: check that none is missing or split")]
    Length {
        /// Words found.
        words: usize,
    },
    /// A word that is not in the list.
    #[error("word {position} (\"{word}\") is not in the word list: check its spelling")]
    UnknownWord {
        /// Counted from 1.
        position: usize,
        /// What was typed; not a secret, because no phrase contains it.
        word: String,
    },
    /// All words exist, but together they are no phrase.
    #[error("the words do not belong together: check their order and look for a word that was exchanged")]
    Checksum,
}

macro_rules! no_debug {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(secret)"))
            }
        }
    )*};
}
no_debug!(DeviceRoot DeviceKeys EpochSecret RecoveryPhrase);

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
}

impl DeviceKeys {
    fn from_seeds(sign: &[u8; 32], hpke: &[u8; 32]) -> Self {
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

impl RecoveryPhrase {
    /// A new phrase.
    pub fn generate(length: PhraseLength, random: &mut dyn Random) -> Self {
        let mut entropy = Zeroizing::new(vec![0; length.entropy_bytes()]);
        random.fill(&mut entropy);
        Self { entropy }
    }

    /// Reads what a person typed: any case, any white space.
    ///
    /// # Errors
    /// [`PhraseError`], which names the offending word. The checksum misses one typing error in 16 (12 words) or
    /// 256 (24 words); such a phrase derives a key that no space knows, so nothing is written by mistake.
    pub fn parse(text: &str) -> Result<Self, PhraseError> {
        let text = Zeroizing::new(text.to_lowercase());
        let words: Vec<&str> = text.split_whitespace().collect();
        if !matches!(words.len(), 12 | 24) {
            return Err(PhraseError::Length { words: words.len() });
        }
        let joined = Zeroizing::new(words.join(" "));
        match Mnemonic::parse_in_normalized(Language::English, &joined) {
            Ok(mnemonic) => Ok(Self { entropy: Zeroizing::new(mnemonic.to_entropy()) }),
            Err(bip39::Error::UnknownWord(index)) => Err(PhraseError::UnknownWord {
                position: index + 1,
                word: words.get(index).map(|word| word.chars().take(32).collect()).unwrap_or_default(),
            }),
            Err(bip39::Error::BadWordCount(words)) => Err(PhraseError::Length { words }),
            Err(_) => Err(PhraseError::Checksum),
        }
    }

    /// The words, to be shown once.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        // Entropy of 16 or 32 bytes always has words.
        Mnemonic::from_entropy_in(Language::English, &self.entropy)
            .map(|mnemonic| mnemonic.words().collect())
            .unwrap_or_default()
    }

    /// The paper key's keys in the home space. They depend on the phrase alone, so that a bare machine with
    /// the words finds its home.
    #[must_use]
    pub fn derive_home(&self) -> DeviceKeys {
        self.derive(b"recover/sign/home", b"recover/hpke/home", &[])
    }

    /// The paper key's keys in another space, salted with that space's Genesis so that a relay cannot link spaces.
    #[must_use]
    pub fn derive_space(&self, genesis_random: &[u8; 32]) -> DeviceKeys {
        self.derive(b"recover/sign", b"recover/hpke", genesis_random)
    }

    fn derive(&self, sign: &[u8], hpke: &[u8], salt: &[u8]) -> DeviceKeys {
        let seed = |purpose: &[u8]| hkdf_sha256(&ctx("recover"), &self.entropy, &[purpose, salt]);
        DeviceKeys::from_seeds(&seed(sign), &seed(hpke))
    }
}

impl PhraseLength {
    const fn entropy_bytes(self) -> usize {
        match self {
            Self::Words12 => 16,
            Self::Words24 => 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SeededRandom;

    const VECTOR: &str =
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    #[test]
    fn a_phrase_reads_back_in_any_case_and_spacing() {
        for length in [PhraseLength::Words12, PhraseLength::Words24] {
            let phrase = RecoveryPhrase::generate(length, &mut SeededRandom::new(1));
            let typed = format!("  {}\n", phrase.words().join(" \t").to_uppercase());
            let read = RecoveryPhrase::parse(&typed).unwrap();
            assert_eq!(read.words(), phrase.words());
            assert_eq!(read.derive_home().sign_pk(), phrase.derive_home().sign_pk());
        }
        assert_eq!(RecoveryPhrase::parse(VECTOR).unwrap().words().join(" "), VECTOR);
    }

    #[test]
    fn a_mistyped_phrase_names_the_word() {
        let error =
            RecoveryPhrase::parse(&VECTOR.replacen("abandon", "abandonn", 3).replacen("abandonn", "abandon", 2));
        let error = error.unwrap_err();
        assert_eq!(error, PhraseError::UnknownWord { position: 3, word: "abandonn".into() });
        assert!(error.to_string().contains("word 3 (\"abandonn\")"));
        assert_eq!(RecoveryPhrase::parse("abandon about").unwrap_err(), PhraseError::Length { words: 2 });
        let exchanged = VECTOR.replacen("abandon", "zoo", 1);
        assert_eq!(RecoveryPhrase::parse(&exchanged).unwrap_err(), PhraseError::Checksum);
        let fifteen = "abandon ".repeat(15);
        assert_eq!(RecoveryPhrase::parse(&fifteen).unwrap_err(), PhraseError::Length { words: 15 });
    }

    #[test]
    fn keys_differ_by_space_purpose_and_root() {
        let mut random = SeededRandom::new(2);
        let (root, other) = (DeviceRoot::generate(&mut random), DeviceRoot::generate(&mut random));
        let keys = root.derive_space(&[1; 32]);
        assert_eq!(keys.sign_pk(), DeviceRoot::from_bytes(*root.to_bytes()).derive_space(&[1; 32]).sign_pk());
        assert_ne!(keys.sign_pk(), root.derive_space(&[2; 32]).sign_pk());
        assert_ne!(keys.hpke_pk(), root.derive_space(&[2; 32]).hpke_pk());
        assert_ne!(keys.sign_pk(), other.derive_space(&[1; 32]).sign_pk());
        let phrase = RecoveryPhrase::parse(VECTOR).unwrap();
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
