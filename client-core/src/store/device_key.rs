//! Where the root seed lies in a home, and how it moves: the new place holds it, checked, before the old one lets go.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::StoreError;
use crate::crypto::{Random, random_bytes};
use crate::keys::DeviceRoot;
use crate::keystore::{
    KEY_FILE_BYTES_MAX, KeyFile, KeyFileError, Keystore, KeystoreError, Passphrase, PassphraseCost, put_checked,
};

/// Name of the file with the device's root seed, or with the name of its entry in the keystore (mode 0600).
pub const DEVICE_KEY_FILE: &str = "device.key";
const DEVICE_KEY_NEW_FILE: &str = "device.key.new";

/// Where the seed lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyPlace {
    /// In `device.key`.
    File,
    /// In the system's keystore.
    Keystore,
}

/// How the seed is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct KeyProtection {
    /// Where.
    pub place: KeyPlace,
    /// Whether a passphrase is asked for when the home is opened.
    pub passphrase: bool,
}

/// How the seed of a home is kept. Opens nothing.
///
/// # Errors
/// [`StoreError::DeviceKey`], [`StoreError::Key`].
pub fn protection(home: &Path, keystore: &dyn Keystore) -> Result<KeyProtection, StoreError> {
    let file = read(home)?;
    let place = if matches!(file, KeyFile::Elsewhere { .. }) { KeyPlace::Keystore } else { KeyPlace::File };
    let kept = resolve(file, keystore)?;
    Ok(KeyProtection { place, passphrase: matches!(kept, KeyFile::Locked { .. }) })
}

/// The root seed of a home.
///
/// # Errors
/// [`StoreError::DeviceKey`] when the file is missing or damaged; [`StoreError::Key`] when others can read it, a
/// passphrase is missing or wrong, or the keystore does not give it.
pub fn unlock_device_root(
    home: &Path,
    keystore: &dyn Keystore,
    passphrase: Option<&Passphrase>,
) -> Result<DeviceRoot, StoreError> {
    Ok(resolve(read(home)?, keystore)?.unlock(passphrase)?)
}

/// Keeps the seed at `place` from now on, under a passphrase if one is given. Whatever step fails or crashes, the
/// seed can be read at the old place or the new one.
///
/// # Errors
/// [`StoreError::Key`], [`StoreError::Keystore`], or the disk's.
pub fn protect_device_root(
    home: &Path,
    keystore: &dyn Keystore,
    root: &DeviceRoot,
    place: KeyPlace,
    passphrase: Option<(&Passphrase, PassphraseCost)>,
    random: &mut dyn Random,
) -> Result<(), StoreError> {
    let before = read(home)?;
    let kept = match passphrase {
        Some((passphrase, cost)) => KeyFile::lock(root, passphrase, cost, random)?,
        None => KeyFile::Plain(root.clone()),
    };
    let file = match place {
        KeyPlace::File => kept,
        KeyPlace::Keystore => {
            let entry = random_bytes(random);
            put_checked(keystore, &entry_name(&entry), &kept.encode())?;
            KeyFile::Elsewhere { entry }
        }
    };
    replace(home, &file)?;
    if let KeyFile::Elsewhere { entry } = before {
        // An entry left behind is of no use to anybody without its file; it is removed as well as it can be.
        let _ = keystore.remove(&entry_name(&entry));
    }
    Ok(())
}

/// Writes the key file of a home that is being made.
pub(super) fn write_new(home: &Path, file: &KeyFile) -> io::Result<()> {
    let mut out = create_private(&home.join(DEVICE_KEY_FILE))?;
    out.write_all(&file.encode())?;
    out.sync_all()
}

fn read(home: &Path) -> Result<KeyFile, StoreError> {
    let path = home.join(DEVICE_KEY_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::DeviceKey),
        Err(error) => return Err(error.into()),
    };
    check_private(&file, &path)?;
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX + 1));
    io::Read::read_to_end(&mut io::Read::take(file, KEY_FILE_BYTES_MAX as u64 + 1), &mut bytes)?;
    Ok(KeyFile::decode(&bytes)?)
}

/// A key that others on the machine can read is not used until that is put right.
#[cfg(unix)]
fn check_private(file: &File, path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(KeyFileError::TooOpen { mode, path: path.display().to_string() }.into())
}

/// Folders of a profile are private to their user there.
#[cfg(not(unix))]
fn check_private(_: &File, _: &Path) -> Result<(), StoreError> {
    Ok(())
}

fn resolve(file: KeyFile, keystore: &dyn Keystore) -> Result<KeyFile, StoreError> {
    let KeyFile::Elsewhere { entry } = file else { return Ok(file) };
    let found = keystore.get(&entry_name(&entry)).map_err(|error| match error {
        KeystoreError::Unavailable => KeyFileError::Keystore("this program cannot reach"),
        _ => KeyFileError::Keystore("refused to give it"),
    })?;
    let bytes = found.ok_or(KeyFileError::Keystore("does not hold it any more"))?;
    Ok(KeyFile::decode(&bytes)?)
}

fn replace(home: &Path, file: &KeyFile) -> Result<(), StoreError> {
    let path_new = home.join(DEVICE_KEY_NEW_FILE);
    match fs::remove_file(&path_new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut out = create_private(&path_new)?;
    out.write_all(&file.encode())?;
    out.sync_all()?;
    fs::rename(&path_new, home.join(DEVICE_KEY_FILE))?;
    if cfg!(unix) {
        File::open(home)?.sync_all()?;
    }
    Ok(())
}

fn entry_name(entry: &[u8; 16]) -> String {
    entry.iter().fold("device-key-".to_owned(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

/// A new file that only its owner can read.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use tempfile::TempDir;
    use zeroize::Zeroizing;

    use super::*;
    use crate::crypto::SeededRandom;
    use crate::keystore::CHEAP;

    /// Keeps, or only seems to.
    #[derive(Default)]
    struct Kept {
        entries: Mutex<BTreeMap<String, Vec<u8>>>,
        forgets: bool,
    }

    impl Keystore for Kept {
        fn put(&self, entry: &str, secret: &[u8]) -> Result<(), KeystoreError> {
            if !self.forgets {
                self.entries.lock().unwrap().insert(entry.to_owned(), secret.to_vec());
            }
            Ok(())
        }

        fn get(&self, entry: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
            Ok(self.entries.lock().unwrap().get(entry).cloned().map(Zeroizing::new))
        }

        fn remove(&self, entry: &str) -> Result<(), KeystoreError> {
            self.entries.lock().unwrap().remove(entry);
            Ok(())
        }
    }

    fn home() -> (TempDir, DeviceRoot) {
        let (dir, root) = (TempDir::new().unwrap(), DeviceRoot::from_bytes([7; 32]));
        write_new(dir.path(), &KeyFile::Plain(root.clone())).unwrap();
        (dir, root)
    }

    fn on_disk(dir: &TempDir) -> Vec<u8> {
        fs::read(dir.path().join(DEVICE_KEY_FILE)).unwrap()
    }

    fn holds_seed(bytes: &[u8]) -> bool {
        bytes.windows(32).any(|window| window == [7; 32])
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_helps() {
        use std::os::unix::fs::PermissionsExt as _;
        let (dir, _) = home();
        let path = dir.path().join(DEVICE_KEY_FILE);
        let keystore = Kept::default();
        assert!(unlock_device_root(dir.path(), &keystore, None).is_ok());
        for mode in [0o640, 0o604, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = unlock_device_root(dir.path(), &keystore, None).unwrap_err();
            assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(unlock_device_root(dir.path(), &keystore, None).is_ok());
    }

    #[test]
    fn a_seed_moves_into_the_keystore_and_out_and_leaves_nothing_behind() {
        let (dir, root) = home();
        let (keystore, mut random) = (Kept::default(), SeededRandom::new(71));
        protect_device_root(dir.path(), &keystore, &root, KeyPlace::Keystore, None, &mut random).unwrap();
        assert!(!holds_seed(&on_disk(&dir)), "the file holds a name, not the seed");
        let kept = KeyProtection { place: KeyPlace::Keystore, passphrase: false };
        assert_eq!(protection(dir.path(), &keystore).unwrap(), kept);
        let opened = unlock_device_root(dir.path(), &keystore, None).unwrap();
        assert_eq!(*opened.to_bytes(), [7; 32]);

        protect_device_root(dir.path(), &keystore, &root, KeyPlace::File, None, &mut random).unwrap();
        assert!(holds_seed(&on_disk(&dir)));
        assert!(keystore.entries.lock().unwrap().is_empty());
        assert!(!dir.path().join(DEVICE_KEY_NEW_FILE).exists());
    }

    #[test]
    fn a_keystore_that_forgets_is_refused_and_the_file_stays_as_it_was() {
        let (dir, root) = home();
        let keystore = Kept { forgets: true, ..Kept::default() };
        let place = KeyPlace::Keystore;
        let refused = protect_device_root(dir.path(), &keystore, &root, place, None, &mut SeededRandom::new(72));
        assert!(matches!(refused, Err(StoreError::Keystore(KeystoreError::DoesNotPersist))), "{refused:?}");
        assert!(holds_seed(&on_disk(&dir)));
    }

    #[test]
    fn a_passphrase_is_asked_for_in_either_place() {
        let (dir, root) = home();
        let (keystore, mut random) = (Kept::default(), SeededRandom::new(73));
        let passphrase = Passphrase::choose("correct horse").unwrap();
        for place in [KeyPlace::File, KeyPlace::Keystore] {
            let with = Some((&passphrase, CHEAP));
            protect_device_root(dir.path(), &keystore, &root, place, with, &mut random).unwrap();
            assert!(!holds_seed(&on_disk(&dir)));
            assert!(!keystore.entries.lock().unwrap().values().any(|kept| holds_seed(kept)));
            assert!(protection(dir.path(), &keystore).unwrap().passphrase);
            let error = unlock_device_root(dir.path(), &keystore, None).unwrap_err();
            assert!(matches!(error, StoreError::Key(KeyFileError::Locked)));
            let opened = unlock_device_root(dir.path(), &keystore, Some(&passphrase)).unwrap();
            assert_eq!(*opened.to_bytes(), [7; 32]);
        }
        let gone = unlock_device_root(dir.path(), &Kept::default(), Some(&passphrase)).unwrap_err();
        assert!(matches!(gone, StoreError::Key(KeyFileError::Keystore(_))), "{gone}");
    }
}
