//! The relay's own Ed25519 key: clients pin its public half, and it signs handshakes and nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use lifeos_sync_protocol::ids::{SignPk, Signature};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};

/// File in the data folder that holds the 32-byte seed.
const KEY_FILE: &str = "relay.key";

/// The signing key of this relay.
pub(crate) struct Identity {
    pair: Ed25519KeyPair,
    public: SignPk,
}

impl Identity {
    /// Reads the key of a data folder, or makes one on the first start.
    pub(crate) fn load_or_generate(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(KEY_FILE);
        let seed = match File::open(&path) {
            Ok(file) => read_seed(file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => generate_seed(&path, data_dir)?,
            Err(error) => return Err(error),
        };
        Self::from_seed(&seed)
    }

    fn from_seed(seed: &[u8; 32]) -> io::Result<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "relay.key does not hold a key"))?;
        let public = SignPk::from_slice(pair.public_key().as_ref())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "relay.key does not hold a key"))?;
        Ok(Self { pair, public })
    }

    /// The public half.
    pub(crate) const fn public(&self) -> SignPk {
        self.public
    }

    /// Signs a message of the handshake.
    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        Signature(signature)
    }
}

fn read_seed(mut file: File) -> io::Result<[u8; 32]> {
    let mut bytes = Vec::with_capacity(33);
    Read::by_ref(&mut file).take(33).read_to_end(&mut bytes)?;
    bytes.try_into().map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "relay.key is not 32 bytes long; restore it from a backup, or delete it and hand out the new key",
        )
    })
}

/// Written beside and renamed, so that a crash never leaves half a key.
fn generate_seed(path: &Path, data_dir: &Path) -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let temporary = path.with_extension("key.new");
    match std::fs::remove_file(&temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(&seed)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    File::open(data_dir)?.sync_all()?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_survives_a_restart_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_generate(dir.path()).unwrap();
        let second = Identity::load_or_generate(dir.path()).unwrap();
        assert_eq!(first.public(), second.public());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_key_is_an_error_and_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(KEY_FILE), [1; 31]).unwrap();
        assert!(Identity::load_or_generate(dir.path()).is_err());
        assert_eq!(std::fs::read(dir.path().join(KEY_FILE)).unwrap().len(), 31);
    }
}
