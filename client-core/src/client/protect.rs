//! How the device's key is kept: file or keystore, with or without a passphrase; and whether the database is encrypted.

use std::path::Path;

use super::{Client, ClientError, OpenOptions, Progress, ProgressStep};
use crate::crypto::SystemRandom;
use crate::keystore::{Passphrase, PassphraseCost, system_keystore};
use crate::store::{
    CAN_ENCRYPT, DatabaseForm, KeyPlace, KeyProtection, StoreError, convert_database, database_form,
    protect_device_root, protection,
};

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

    /// How the database of a home lies on the disk; opens nothing.
    /// # Errors
    /// [`ClientError::Home`] when there is none.
    pub fn database_form(home: &Path) -> Result<DatabaseForm, ClientError> {
        Ok(database_form(home)?)
    }

    /// Whether this program can encrypt a database, and open one that is.
    #[must_use]
    pub const fn can_encrypt_database() -> bool {
        CAN_ENCRYPT
    }

    /// Encrypts the database of a home under a key of the device's own, or decrypts it; false when it lies there like
    /// that already. Nobody may have the home open, this process included.
    ///
    /// It protects nothing while the device's key lies in the clear beside it ([`Client::key_protection`]).
    /// # Errors
    /// [`ClientError::Invalid`] where no cipher is built in; [`ClientError::Storage`] while somebody has it open;
    /// [`ClientError::Home`] for a home that does not open.
    pub fn convert_database(
        home: &Path,
        options: &OpenOptions,
        to: DatabaseForm,
        progress: Progress<'_>,
    ) -> Result<bool, ClientError> {
        if to == DatabaseForm::Encrypted && !CAN_ENCRYPT {
            return Err(StoreError::CannotEncrypt.into());
        }
        // A home that opens has the key it will be opened with afterwards.
        let client = Self::open_with(home, options)?;
        if to == DatabaseForm::Encrypted && !client.spaces_to_recover()?.is_empty() {
            return Err(ClientError::invalid(
                "shared spaces are still to be recovered here: run `lifeos recover` again, or give them up with `lifeos \
                 recovery forget SPACE`, and encrypt afterwards",
            ));
        }
        let key = client.shared.root.derive_database();
        drop(client);
        let phase = if to == DatabaseForm::Encrypted { "encrypt" } else { "decrypt" };
        let mut step = |done, total| progress(ProgressStep { phase, done, total });
        Ok(convert_database(home, &key, to, &mut step)?)
    }
}
