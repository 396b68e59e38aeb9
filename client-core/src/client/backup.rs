//! Backups: a whole home into one encrypted file, and out of one into a new home.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::DeviceKind;

use super::{Client, ClientError, Progress, ProgressStep};
use crate::backup::{BackupError, BackupReader, Content, Lock, Opener, write_backup};
use crate::crypto::SystemRandom;
use crate::engine::{SpaceState, wall_ms};
use crate::keys::{DeviceKeys, DeviceRoot, RecoveryPhrase};
use crate::keystore::{KeyFile, Passphrase, PassphraseCost};
use crate::store::{Reads, Store, StoreError};

/// What will open a backup.
#[derive(Debug, Clone, Default)]
pub struct BackupKeys {
    /// Also, or only, a passphrase.
    pub passphrase: Option<Passphrase>,
    /// Leave the recovery phrase out.
    pub no_phrase: bool,
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BackupReport {
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether the recovery phrase opens it.
    pub opens_with_phrase: bool,
    /// Whether a passphrase opens it.
    pub opens_with_passphrase: bool,
}

/// What opens a backup.
pub enum RestoreKey<'a> {
    /// The words that were in force when it was made.
    Phrase(&'a RecoveryPhrase),
    /// Its passphrase.
    Passphrase(&'a Passphrase),
}

/// What came out of a backup.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RestoreReport {
    /// The space.
    pub space: String,
    /// The device whose home it is.
    pub device: String,
    /// When the backup was made (ms UTC).
    pub made_ms: i64,
    /// Notes in it.
    pub notes: u64,
    /// Documents in it.
    pub documents: u64,
}

impl From<BackupError> for ClientError {
    fn from(error: BackupError) -> Self {
        let message = error.to_string();
        match error {
            BackupError::Altered | BackupError::Unsound(_) => Self::Security { message },
            BackupError::Io(_) => Self::Storage { message, transient: false },
            _ => Self::Invalid { message },
        }
    }
}

impl Client {
    /// Writes everything this home holds into one encrypted file; whatever was there before stays until the new file is
    /// whole. Other work goes on meanwhile.
    /// # Errors
    /// [`ClientError::Invalid`] when nothing would open it; [`ClientError::Storage`].
    pub fn backup(&self, file: &Path, keys: &BackupKeys, progress: Progress<'_>) -> Result<BackupReport, ClientError> {
        let locks = self.backup_locks(keys);
        let root = self.shared.root.clone();
        let content = Content { space: self.space(), device: self.device(), root, made_ms: wall_ms() };
        progress(ProgressStep { phase: "copy", done: 0, total: 0 });
        let mut snapshot = self.shared.store().snapshot()?;
        let database = snapshot.file();
        let total = database.metadata().map_err(BackupError::Io)?.len();
        let partial = partial_path(file);
        let mut step = |done| progress(ProgressStep { phase: "encrypt", done, total });
        let written = write_file(&partial, &locks, &content, database, &mut step).and_then(|bytes| {
            fs::rename(&partial, file).map_err(BackupError::Io)?;
            Ok(bytes)
        });
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        Ok(BackupReport {
            bytes: written?,
            opens_with_phrase: locks.iter().any(|lock| matches!(lock, Lock::Recovery(_))),
            opens_with_passphrase: keys.passphrase.is_some(),
        })
    }

    /// The recovery keys in force of this person, and the passphrase.
    fn backup_locks(&self, keys: &BackupKeys) -> Vec<Lock> {
        let state = self.shared.state();
        let own = state.membership.devices.get(&self.device()).map(|device| device.member);
        let recovery = state.membership.devices.values().filter(|device| {
            device.kind == DeviceKind::Recovery && device.removed_by.is_none() && Some(device.member) == own
        });
        let mut locks: Vec<Lock> = recovery.map(|device| Lock::Recovery(device.hpke_pk)).collect();
        if keys.no_phrase {
            locks.clear();
        }
        let passphrase = keys.passphrase.clone();
        locks.extend(passphrase.map(|passphrase| Lock::Passphrase(passphrase, PassphraseCost::default())));
        locks
    }

    /// Makes a home out of a backup: checked as a whole, with a new stream, and only then there. It is the home of the
    /// same device; if that one still lives elsewhere, both go on as two writers of one device.
    /// # Errors
    /// [`ClientError::Invalid`] for a wrong key or a file that is no backup; [`ClientError::Security`] for an altered
    /// one; [`ClientError::Home`] when there is a home here already. Nothing half restored is left.
    pub fn restore(
        home: &Path,
        file: &Path,
        key: &RestoreKey<'_>,
        progress: Progress<'_>,
    ) -> Result<(Self, RestoreReport), ClientError> {
        if home.join(crate::store::DATABASE_FILE).exists() {
            return Err(StoreError::HomeExists.into());
        }
        let input = File::open(file).map_err(BackupError::Io)?;
        let total = input.metadata().map_err(BackupError::Io)?.len();
        let recovery = match key {
            RestoreKey::Phrase(phrase) => Some(phrase.derive_home()),
            RestoreKey::Passphrase(_) => None,
        };
        let opener = match (key, &recovery) {
            (RestoreKey::Passphrase(passphrase), _) => Opener::Passphrase(passphrase),
            (_, Some(keys)) => Opener::Recovery(keys),
            (_, None) => return Err(BackupError::NoLock.into()),
        };
        let (mut backup, content) = BackupReader::open(BufReader::new(input), &opener)?;
        let mut step = |done| progress(ProgressStep { phase: "restore", done, total });
        let write = |path: &Path| -> Result<(), ClientError> {
            let mut out = fs::OpenOptions::new().write(true).truncate(true).open(path).map_err(BackupError::Io)?;
            backup.copy_to(&mut out, &mut step)?;
            Ok(out.sync_all().map_err(BackupError::Io)?)
        };
        let prepare = |store: &mut Store| {
            check_home(&store.reads(), &content, recovery.as_ref())?;
            begin_new_streams(store, &content.root)
        };
        Store::restore(home, &KeyFile::Plain(content.root.clone()), write, prepare)?;
        let client = Self::open(home)?;
        let report = client.restore_report(content.made_ms)?;
        Ok((client, report))
    }

    fn restore_report(&self, made_ms: i64) -> Result<RestoreReport, ClientError> {
        let reader = self.shared.reader();
        Ok(RestoreReport {
            space: self.space().to_string(),
            device: self.device().to_string(),
            made_ms,
            notes: reader.reads().note_count(&self.space())?,
            documents: reader.reads().document_count(&self.space())?,
        })
    }
}

pub(super) fn partial_path(file: &Path) -> std::path::PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    file.with_file_name(name)
}

fn write_file(
    path: &Path,
    locks: &[Lock],
    content: &Content,
    database: &mut File,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, BackupError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut out = BufWriter::new(options.open(path).map_err(BackupError::Io)?);
    write_backup(&mut out, locks, content, database, &mut SystemRandom::new(), progress)?;
    out.flush().map_err(BackupError::Io)?;
    let file = out.into_inner().map_err(|error| BackupError::Io(error.into_error()))?;
    file.sync_all().map_err(BackupError::Io)?;
    Ok(file.metadata().map_err(BackupError::Io)?.len())
}

/// The database is that of the space and device the backup names, the root is that device's, and the words that opened
/// it are a recovery key of this very space: so nobody can slip a home of their own under a person's words.
fn check_home(reads: &Reads<'_>, content: &Content, recovery: Option<&DeviceKeys>) -> Result<(), ClientError> {
    let space = reads.spaces()?.into_iter().find(|space| space.home);
    let space = space.ok_or(BackupError::Unsound("no home space"))?;
    if (space.space, space.device) != (content.space, content.device) {
        return Err(BackupError::Unsound("another home's database").into());
    }
    let membership = reads.membership(&space.space).map_err(|_| BackupError::Unsound("its records"))?;
    if !is_device_of(&membership, &content.root, content) {
        return Err(BackupError::Unsound("the device's key is not enrolled in its space").into());
    }
    let known = |keys: &DeviceKeys| membership.devices.get(&keys.sign_pk()).map(|device| device.kind);
    match recovery.map(known) {
        None | Some(Some(DeviceKind::Recovery)) => Ok(()),
        Some(_) => Err(BackupError::Unsound("these words are no recovery phrase of its space").into()),
    }
}

/// The copy of this home that the backup was made of may be alive: this one writes other streams. What no relay had of the
/// old ones is made again there, because nobody else may ever send it.
fn begin_new_streams(store: &mut Store, root: &DeviceRoot) -> Result<(), ClientError> {
    for space in store.reads().spaces_and_begun()? {
        let keys = root.derive_space(&store.genesis_random(&space.space)?);
        let state = SpaceState::load(store, &space.space, &keys)?;
        let acked = store.relays(&space.space)?.iter().map(|relay| relay.own_acked_seq).max().unwrap_or(0);
        let records = (&state.membership, &state.keyring);
        store.begin_new_stream(&space.space, acked, records, wall_ms(), &mut SystemRandom::new())?;
    }
    Ok(())
}

fn is_device_of(membership: &Membership, root: &DeviceRoot, content: &Content) -> bool {
    let keys = root.derive_space(&membership.genesis_random);
    keys.sign_pk() == content.device && membership.devices.contains_key(&content.device)
}
