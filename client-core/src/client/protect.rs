//! How the device's key is kept: file or keystore, with or without a passphrase.

use std::path::Path;

use super::{Client, ClientError};
use crate::crypto::SystemRandom;
use crate::keystore::{Passphrase, PassphraseCost, system_keystore};
use crate::store::{KeyPlace, KeyProtection, protect_device_root, protection};

impl Client {
    /// How the key of a home is kept; opens nothing.
    /// # Errors
    /// [`ClientError::Home`].
    pub fn key_protection(home: &Path) -> Result<KeyProtection, ClientError> {
        Ok(protection(home, system_keystore())?)
    }

    /// Keeps the key at `place`, under a passphrase if one is given. A keystore that does not keep what it is given is
    /// refused, and the key stays where it was.
    /// # Errors
    /// [`ClientError::Home`].
    pub fn protect_key(&self, place: KeyPlace, passphrase: Option<&Passphrase>) -> Result<(), ClientError> {
        let passphrase = passphrase.map(|passphrase| (passphrase, PassphraseCost::default()));
        let (shared, random) = (&self.shared, &mut SystemRandom::new());
        Ok(protect_device_root(&shared.home, system_keystore(), &shared.root, place, passphrase, random)?)
    }
}
