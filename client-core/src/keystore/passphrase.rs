//! Passphrases: what a person makes up and remembers, stretched with Argon2id (RFC 9106) because it can be guessed.
//!
//! ```text
//! key = HKDF(salt = ctx("passphrase"), Argon2id(v0x13, m, t, p, salt 16){NFKC(passphrase)} 32 bytes, ctx(purpose))
//! ```
//! Every use has a fresh salt, so the key seals once. The cost is stored beside the salt: it can grow later, and a
//! weak machine can have written less.

use argon2::{Algorithm, Argon2, Params, Version};
use lifeos_sync_protocol::hash::ctx;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, hkdf_sha256};

/// Bytes of a salt.
pub const SALT_BYTES: usize = 16;
/// Shortest passphrase that can be set, in characters.
pub const PASSPHRASE_CHARS_MIN: usize = 8;
/// Longest passphrase that is read, in bytes.
const PASSPHRASE_BYTES_MAX: usize = 1024;
/// Most memory a file may ask for (1 GiB): a forged cost must not take the machine down.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// Most passes a file may ask for.
const PASSES_MAX: u32 = 32;
/// Most lanes a file may ask for.
const LANES_MAX: u32 = 16;

/// What a person typed to open a home or a backup.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(secret)")
    }
}

/// A passphrase that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// Too easily guessed.
    #[error("a passphrase has at least 8 characters; several words are easiest to remember")]
    TooShort,
    /// Longer than is read.
    #[error("a passphrase has at most 1024 bytes")]
    TooLong,
}

impl Passphrase {
    /// A passphrase to open something with; a line end after it does not count.
    ///
    /// # Errors
    /// [`PassphraseError::TooLong`].
    pub fn new(typed: &str) -> Result<Self, PassphraseError> {
        let typed = typed.trim_end_matches(['\r', '\n']);
        if typed.len() > PASSPHRASE_BYTES_MAX {
            return Err(PassphraseError::TooLong);
        }
        Ok(Self(Zeroizing::new(typed.nfkc().collect())))
    }

    /// A passphrase to protect something with.
    ///
    /// # Errors
    /// [`PassphraseError`].
    pub fn choose(typed: &str) -> Result<Self, PassphraseError> {
        let chosen = Self::new(typed)?;
        if chosen.0.chars().count() < PASSPHRASE_CHARS_MIN {
            return Err(PassphraseError::TooShort);
        }
        Ok(chosen)
    }

    /// The key for one purpose under one salt.
    ///
    /// # Errors
    /// [`CryptoError`] when the cost is none that Argon2id knows or more than this program spends.
    pub(crate) fn derive_key(
        &self,
        cost: PassphraseCost,
        salt: &[u8; SALT_BYTES],
        purpose: &str,
    ) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
        if cost.memory_kib > MEMORY_KIB_MAX || cost.passes > PASSES_MAX || cost.lanes > LANES_MAX {
            return Err(CryptoError);
        }
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(|_| CryptoError)?;
        let mut stretched = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(self.0.as_bytes(), salt, &mut *stretched)
            .map_err(|_| CryptoError)?;
        Ok(hkdf_sha256(&ctx("passphrase"), &*stretched, &[&ctx(purpose)]))
    }
}

/// What one guess costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassphraseCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for PassphraseCost {
    /// The second recommended choice of RFC 9106 §4 with one lane: 64 MiB, three passes.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

impl PassphraseCost {
    /// Bytes of [`Self::to_bytes`].
    pub(crate) const BYTES: usize = 12;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        for (chunk, value) in out.chunks_exact_mut(4).zip([self.memory_kib, self.passes, self.lanes]) {
            chunk.copy_from_slice(&value.to_be_bytes());
        }
        out
    }

    pub(crate) const fn from_bytes(b: &[u8; Self::BYTES]) -> Self {
        Self {
            memory_kib: u32::from_be_bytes([b[0], b[1], b[2], b[3]]),
            passes: u32::from_be_bytes([b[4], b[5], b[6], b[7]]),
            lanes: u32::from_be_bytes([b[8], b[9], b[10], b[11]]),
        }
    }
}

#[cfg(test)]
pub(crate) const CHEAP: PassphraseCost = PassphraseCost { memory_kib: 64, passes: 1, lanes: 1 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_that_would_take_the_machine_down_is_refused_before_it_is_spent() {
        let passphrase = Passphrase::new("correct horse").unwrap();
        for cost in [
            PassphraseCost { memory_kib: u32::MAX, ..CHEAP },
            PassphraseCost { passes: u32::MAX, ..CHEAP },
            PassphraseCost { lanes: 1000, ..CHEAP },
            PassphraseCost { memory_kib: 0, ..CHEAP },
        ] {
            assert!(passphrase.derive_key(cost, &[0; 16], "x").is_err(), "{cost:?}");
        }
        assert_eq!(PassphraseCost::from_bytes(&PassphraseCost::default().to_bytes()), PassphraseCost::default());
    }

    #[test]
    fn one_passphrase_typed_in_two_forms_of_unicode_is_one() {
        let key = |text: &str| *Passphrase::new(text).unwrap().derive_key(CHEAP, &[1; 16], "x").unwrap();
        assert_eq!(key("se\u{f1}or espa\u{f1}a"), key("sen\u{303}or espan\u{303}a\n"));
        assert_ne!(key("correct horse"), key("correct Horse"));
        let again = Passphrase::new("correct horse").unwrap();
        assert_ne!(key("correct horse"), *again.derive_key(CHEAP, &[2; 16], "x").unwrap());
        assert_ne!(key("correct horse"), *again.derive_key(CHEAP, &[1; 16], "y").unwrap());
        assert_eq!(Passphrase::choose("1234567").unwrap_err(), PassphraseError::TooShort);
        assert_eq!(format!("{again:?}"), "Passphrase(secret)");
    }
}
