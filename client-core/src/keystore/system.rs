//! The system's keystore behind one small trait; without the feature `keystore` there is none, and asking says so.
//!
//! macOS Keychain, Windows Credential Manager, and on other Unix the Secret Service over D-Bus (a running keyring
//! daemon with an unlocked collection). The kernel's keyutils are left out on purpose: they forget at reboot.

use zeroize::Zeroizing;

/// The keystore did not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// This program was built without one, or the system offers none.
    #[error(
        "this system offers no keystore to this program: the device's key stays in a file that only you can read; a passphrase protects it further (`lifeos key passphrase set`)"
    )]
    Unavailable,
    /// It refused or is locked.
    #[error("the system's keystore refused: unlock it and try again, or keep the key in a file")]
    Refused,
    /// What was stored did not come back.
    #[error("the system's keystore does not keep what it is given: the device's key stays in a file")]
    DoesNotPersist,
}

/// A place for secrets that outlives the process.
pub trait Keystore: Send + Sync {
    /// Stores or replaces.
    ///
    /// # Errors
    /// [`KeystoreError`].
    fn put(&self, entry: &str, secret: &[u8]) -> Result<(), KeystoreError>;

    /// Reads through a fresh handle; nothing if there is no such entry.
    ///
    /// # Errors
    /// [`KeystoreError`].
    fn get(&self, entry: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError>;

    /// Removes; no error if there is none.
    ///
    /// # Errors
    /// [`KeystoreError`].
    fn remove(&self, entry: &str) -> Result<(), KeystoreError>;
}

/// Stores and reads back through a fresh handle; what does not come back was never kept.
pub(crate) fn put_checked(keystore: &dyn Keystore, entry: &str, secret: &[u8]) -> Result<(), KeystoreError> {
    keystore.put(entry, secret)?;
    match keystore.get(entry)? {
        Some(found) if found.as_slice() == secret => Ok(()),
        _ => Err(KeystoreError::DoesNotPersist),
    }
}

/// The keystore of this system.
#[must_use]
pub fn system_keystore() -> &'static dyn Keystore {
    #[cfg(feature = "keystore")]
    return &real::System;
    #[cfg(not(feature = "keystore"))]
    return &Absent;
}

#[cfg(not(feature = "keystore"))]
struct Absent;

#[cfg(not(feature = "keystore"))]
impl Keystore for Absent {
    fn put(&self, _: &str, _: &[u8]) -> Result<(), KeystoreError> {
        Err(KeystoreError::Unavailable)
    }

    fn get(&self, _: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        Err(KeystoreError::Unavailable)
    }

    fn remove(&self, _: &str) -> Result<(), KeystoreError> {
        Err(KeystoreError::Unavailable)
    }
}

#[cfg(feature = "keystore")]
mod real {
    use keyring::v1::{Entry, Error};
    use zeroize::Zeroizing;

    use super::{Keystore, KeystoreError};

    /// Under which the system lists our entries.
    const SERVICE: &str = "lifeos";

    pub(super) struct System;

    fn open(entry: &str) -> Result<Entry, KeystoreError> {
        Entry::new(SERVICE, entry).map_err(refused)
    }

    fn refused(error: Error) -> KeystoreError {
        match error {
            Error::NoDefaultStore | Error::Invalid(..) => KeystoreError::Unavailable,
            _ => KeystoreError::Refused,
        }
    }

    impl Keystore for System {
        fn put(&self, entry: &str, secret: &[u8]) -> Result<(), KeystoreError> {
            open(entry)?.set_secret(secret).map_err(refused)
        }

        fn get(&self, entry: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
            match open(entry)?.get_secret() {
                Ok(secret) => Ok(Some(Zeroizing::new(secret))),
                Err(Error::NoEntry) => Ok(None),
                Err(error) => Err(refused(error)),
            }
        }

        fn remove(&self, entry: &str) -> Result<(), KeystoreError> {
            match open(entry)?.delete_credential() {
                Ok(()) | Err(Error::NoEntry) => Ok(()),
                Err(error) => Err(refused(error)),
            }
        }
    }
}
