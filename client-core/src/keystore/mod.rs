//! The device's root seed at rest: in a file only its owner can read, in the system's keystore, or wrapped under a
//! passphrase in either.
//!
//! ```text
//! device.key = "LSDEVKEY" ‖ u8 version ‖ body ‖ first 4 bytes of SHA-256(ctx("device-key") ‖ body)
//!   version 1: root seed 32
//!   version 2: u32 memory_kib ‖ u32 passes ‖ u32 lanes ‖ salt 16 ‖ ChaCha20-Poly1305(key of the passphrase,
//!              nonce 0, aad = all before it){root seed}                                            (48 bytes)
//!   version 3: entry 16: the keystore holds, under this name, bytes of version 1 or 2
//! ```
//! The check at the end finds a damaged file, nothing more. Deliberately absent: a way to keep the seed in a keystore
//! that has not shown, by a round trip through a second handle, that it keeps what it is given.

mod passphrase;
#[cfg(feature = "io")]
mod system;

use lifeos_sync_protocol::hash;
use zeroize::Zeroizing;

use crate::crypto::{Random, open_once, random_bytes, seal_once};
use crate::keys::DeviceRoot;

#[cfg(test)]
pub(crate) use passphrase::CHEAP;
pub use passphrase::{PASSPHRASE_CHARS_MIN, Passphrase, PassphraseCost, PassphraseError, SALT_BYTES};
#[cfg(feature = "io")]
pub(crate) use system::put_checked;
#[cfg(feature = "io")]
pub use system::{Keystore, KeystoreError, system_keystore};

const MAGIC: &[u8; 8] = b"LSDEVKEY";
const CHECK_BYTES: usize = 4;
const WRAPPED_BYTES: usize = 48;
const LOCK_BYTES: usize = PassphraseCost::BYTES + SALT_BYTES;
/// The longest form.
pub(crate) const KEY_FILE_BYTES_MAX: usize = MAGIC.len() + 1 + LOCK_BYTES + WRAPPED_BYTES + CHECK_BYTES;
const PURPOSE: &str = "device-key";

/// The device's key cannot be used. The messages tell a person what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Missing, cut, or altered.
    #[error("device.key is missing or damaged: restore a backup of this home, or link this device again")]
    Damaged,
    /// Written by a newer version.
    #[error("device.key was written by a newer version: update")]
    NewerVersion,
    /// Others on this machine can read it.
    #[error("device.key can be read by others on this machine (mode {mode:04o}): run `chmod 600 {path}` and try again")]
    TooOpen {
        /// Permission bits.
        mode: u32,
        /// Where it lies.
        path: String,
    },
    /// A passphrase protects it and none was given.
    #[error(
        "this home is locked by a passphrase: type it, or give it by LIFEOS_PASSPHRASE_FD or LIFEOS_PASSPHRASE in a script"
    )]
    Locked,
    /// Not the passphrase.
    #[error("that is not the passphrase of this home: nothing was opened; try again")]
    WrongPassphrase,
    /// The keystore does not hold it or cannot be reached.
    #[error(
        "the device's key lies in the system's keystore, which {0}: unlock the keystore and try again, restore a backup, or link this device again"
    )]
    Keystore(&'static str),
}

/// What `device.key` (or an entry of a keystore) says.
pub enum KeyFile {
    /// The seed, in the clear.
    Plain(DeviceRoot),
    /// The seed under a passphrase.
    Locked {
        /// What one guess costs.
        cost: PassphraseCost,
        /// Of the passphrase.
        salt: [u8; SALT_BYTES],
        /// The wrapped seed.
        wrapped: [u8; WRAPPED_BYTES],
    },
    /// The seed is in the system's keystore.
    Elsewhere {
        /// Name of the entry.
        entry: [u8; 16],
    },
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(secret)",
            Self::Locked { .. } => "Locked",
            Self::Elsewhere { .. } => "Elsewhere",
        })
    }
}

impl KeyFile {
    /// Wraps a seed under a passphrase, with a fresh salt.
    ///
    /// # Errors
    /// [`KeyFileError::Damaged`] when the cost is none that this program spends.
    pub fn lock(
        root: &DeviceRoot,
        passphrase: &Passphrase,
        cost: PassphraseCost,
        random: &mut dyn Random,
    ) -> Result<Self, KeyFileError> {
        let salt = random_bytes(random);
        let key = passphrase.derive_key(cost, &salt, PURPOSE).map_err(|_| KeyFileError::Damaged)?;
        let mut buffer = root.to_bytes().to_vec();
        seal_once(&key, &lock_context(cost, &salt), &mut buffer).map_err(|_| KeyFileError::Damaged)?;
        let wrapped = buffer.try_into().map_err(|_| KeyFileError::Damaged)?;
        Ok(Self::Locked { cost, salt, wrapped })
    }

    /// The seed.
    ///
    /// # Errors
    /// [`KeyFileError::Locked`], [`KeyFileError::WrongPassphrase`]; [`KeyFileError::Keystore`] for one that is not here.
    pub fn unlock(&self, passphrase: Option<&Passphrase>) -> Result<DeviceRoot, KeyFileError> {
        match self {
            Self::Plain(root) => Ok(root.clone()),
            Self::Elsewhere { .. } => Err(KeyFileError::Keystore("points to itself")),
            Self::Locked { cost, salt, wrapped } => {
                let passphrase = passphrase.ok_or(KeyFileError::Locked)?;
                let key = passphrase.derive_key(*cost, salt, PURPOSE).map_err(|_| KeyFileError::Damaged)?;
                let mut buffer = Zeroizing::new(wrapped.to_vec());
                open_once(&key, &lock_context(*cost, salt), &mut buffer).map_err(|_| KeyFileError::WrongPassphrase)?;
                let seed = buffer.as_slice().try_into().map_err(|_| KeyFileError::Damaged)?;
                Ok(DeviceRoot::from_bytes(seed))
            }
        }
    }

    /// The bytes to keep.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX));
        out.extend_from_slice(MAGIC);
        match self {
            Self::Plain(root) => {
                out.push(1);
                out.extend_from_slice(&*root.to_bytes());
            }
            Self::Locked { cost, salt, wrapped } => {
                out.push(2);
                out.extend_from_slice(&cost.to_bytes());
                out.extend_from_slice(salt);
                out.extend_from_slice(wrapped);
            }
            Self::Elsewhere { entry } => {
                out.push(3);
                out.extend_from_slice(entry);
            }
        }
        let check = check(&out[MAGIC.len() + 1..]);
        out.extend_from_slice(&check);
        out
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`KeyFileError::Damaged`], [`KeyFileError::NewerVersion`].
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyFileError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(KeyFileError::Damaged)?;
        let (version, rest) = rest.split_first().ok_or(KeyFileError::Damaged)?;
        if *version > 3 {
            return Err(KeyFileError::NewerVersion);
        }
        let (body, found) = rest.split_last_chunk::<CHECK_BYTES>().ok_or(KeyFileError::Damaged)?;
        if check(body) != *found {
            return Err(KeyFileError::Damaged);
        }
        Self::decode_body(*version, body).ok_or(KeyFileError::Damaged)
    }

    fn decode_body(version: u8, body: &[u8]) -> Option<Self> {
        match version {
            1 => Some(Self::Plain(DeviceRoot::from_bytes(body.try_into().ok()?))),
            2 => {
                let (cost, rest) = body.split_first_chunk::<{ PassphraseCost::BYTES }>()?;
                let (salt, wrapped) = rest.split_first_chunk::<SALT_BYTES>()?;
                let cost = PassphraseCost::from_bytes(cost);
                Some(Self::Locked { cost, salt: *salt, wrapped: wrapped.try_into().ok()? })
            }
            3 => Some(Self::Elsewhere { entry: body.try_into().ok()? }),
            _ => None,
        }
    }
}

fn check(body: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = hash::sha256("device-key", &[body]);
    [digest[0], digest[1], digest[2], digest[3]]
}

/// What the wrapped seed is bound to: everything before it.
fn lock_context(cost: PassphraseCost, salt: &[u8; SALT_BYTES]) -> Vec<u8> {
    [&MAGIC[..], &[2], &cost.to_bytes(), salt].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SeededRandom;

    fn root() -> DeviceRoot {
        DeviceRoot::from_bytes([6; 32])
    }

    #[test]
    fn a_key_file_reads_back_and_any_changed_byte_is_noticed() {
        let passphrase = Passphrase::choose("correct horse battery").unwrap();
        let mut random = SeededRandom::new(61);
        let locked = KeyFile::lock(&root(), &passphrase, CHEAP, &mut random).unwrap();
        for file in [KeyFile::Plain(root()), locked, KeyFile::Elsewhere { entry: [4; 16] }] {
            let bytes = file.encode();
            assert!(bytes.len() <= KEY_FILE_BYTES_MAX);
            assert_eq!(*KeyFile::decode(&bytes).unwrap().encode(), *bytes);
            for at in 0..bytes.len() {
                let mut altered = bytes.to_vec();
                altered[at] ^= 1;
                assert!(KeyFile::decode(&altered).is_err(), "byte {at} of {file:?}");
                assert!(KeyFile::decode(&bytes[..at]).is_err(), "cut at {at} of {file:?}");
            }
        }
        let mut newer = KeyFile::Plain(root()).encode();
        newer[8] = 4;
        assert_eq!(KeyFile::decode(&newer).unwrap_err(), KeyFileError::NewerVersion);
    }

    #[test]
    fn a_wrapped_seed_opens_with_its_passphrase_alone() {
        let passphrase = Passphrase::choose("correct horse battery").unwrap();
        let mut random = SeededRandom::new(62);
        let locked = KeyFile::lock(&root(), &passphrase, CHEAP, &mut random).unwrap();
        assert!(!locked.encode().windows(32).any(|window| window == [6; 32]), "the seed is not in the file");
        assert_eq!(*locked.unlock(Some(&passphrase)).unwrap().to_bytes(), [6; 32]);
        assert_eq!(locked.unlock(None).unwrap_err(), KeyFileError::Locked);
        let wrong = Passphrase::new("correct horse batterx").unwrap();
        assert_eq!(locked.unlock(Some(&wrong)).unwrap_err(), KeyFileError::WrongPassphrase);
        let KeyFile::Locked { cost, salt, wrapped } = locked else { panic!("locked") };
        let other = KeyFile::Locked { cost: PassphraseCost { passes: 2, ..cost }, salt, wrapped };
        assert_eq!(other.unlock(Some(&passphrase)).unwrap_err(), KeyFileError::WrongPassphrase, "the cost is bound");
    }

    #[test]
    fn the_first_form_of_the_file_stays_as_it_was() {
        let bytes = KeyFile::Plain(root()).encode();
        assert_eq!(&bytes[..9], b"LSDEVKEY\x01");
        assert_eq!(bytes.len(), 45);
    }

    #[test]
    fn the_golden_files_of_every_version_are_read_and_written() {
        let text = include_str!("../../vectors/device_key.txt");
        let golden = |name: &str| -> Vec<u8> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim_start();
            (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect()
        };
        let passphrase = Passphrase::new("correct horse battery").unwrap();
        for (name, passphrase) in [("locked", Some(&passphrase)), ("plain", None)] {
            let file = KeyFile::decode(&golden(name)).unwrap();
            assert_eq!(*file.unlock(passphrase).unwrap().to_bytes(), [6; 32]);
            assert_eq!(*file.encode(), golden(name), "{name}");
        }
        let elsewhere = KeyFile::decode(&golden("elsewhere")).unwrap();
        assert!(matches!(elsewhere, KeyFile::Elsewhere { entry } if entry == [4; 16]));
        assert_eq!(*elsewhere.encode(), golden("elsewhere"));
    }
}
