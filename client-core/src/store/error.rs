//! What can go wrong at the disk, whose fault it is and whether trying again helps.

use std::io;

use crate::document::DocumentError;
use crate::keystore::{KeyFileError, KeystoreError};

/// The store cannot do what was asked. After any error the database is as it was before the call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The folder holds no home.
    #[error("there is no home here: run `lifeos init` to begin, or `lifeos link new` on a further device")]
    NoHome,
    /// The folder holds a home already.
    #[error("there is a home here already: open it, or choose another folder")]
    HomeExists,
    /// A space begins with the random bytes of another one that is here.
    #[error(
        "this space was made to look like another one of yours, and is not taken: tell who invited you, and do not use \
         their invitations"
    )]
    CopiedSpace,
    /// A device key lies in the folder, but no database.
    #[error(
        "the folder holds a device.key but no lifeos.db: put the database back from a backup, or move the key away"
    )]
    KeyWithoutDatabase,
    /// `device.key` is missing or not what it should be.
    #[error("device.key is missing or damaged: put it back from a backup, or link this device again")]
    DeviceKey,
    /// `device.key` is there and cannot be used.
    #[error(transparent)]
    Key(KeyFileError),
    /// The system's keystore did not do what was asked.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The database is encrypted and no key was given, or this program has no cipher for it.
    #[error(
        "lifeos.db is encrypted, or its first page is damaged: nothing was changed; open it with a program that was built with \
         the feature `sqlcipher`, and if that cannot read it either, restore a backup or link this device again"
    )]
    Encrypted,
    /// The database does not open with the key of this home.
    #[error(
        "lifeos.db does not open with this home's key: either device.key is another home's, or the first page of the \
         database is damaged; nothing was changed: put the right device.key or lifeos.db back from a copy, restore a \
         backup, or link this device again"
    )]
    WrongDatabaseKey,
    /// This program has no cipher for the database.
    #[error(
        "this program cannot encrypt the database: build it with the feature `sqlcipher` (docs/decisions/0008), or use the \
         disk encryption of the system"
    )]
    CannotEncrypt,
    /// Another process exchanged the file for an encrypted or a plain one.
    #[error("the database was encrypted or decrypted by another process just now: try again")]
    Replaced,
    /// The copy does not hold what the database holds; it was thrown away.
    #[error("the new copy of the database is not like the old one: nothing was changed; run `lifeos doctor`")]
    CopyDiffers,
    /// The home was written by a newer version.
    #[error("this home was written by a newer version (its format is {found}, this one knows {known}): update lifeos")]
    NewerVersion {
        /// Format of the home.
        found: u32,
        /// Newest format known here.
        known: u32,
    },
    /// Bytes on the disk are not what was written there.
    #[error(
        "the database is damaged ({what}): keep the folder as it is, run `lifeos doctor`, and restore a backup or link this device again"
    )]
    Corrupt {
        /// Which part.
        what: &'static str,
    },
    /// The snapshot of a document is gone.
    #[error(
        "the snapshot of a document is missing: run `lifeos doctor`, and restore a backup or link this device again"
    )]
    DocumentWithoutSnapshot,
    /// No room on the disk; nothing was stored, nothing was lost.
    #[error("the disk is full: nothing was saved; free some space and try again")]
    DiskFull,
    /// Another process holds the database.
    #[error("another process is using this home: try again when it is done")]
    Busy,
    /// The home cannot be written.
    #[error("the home cannot be opened for writing: check the permissions of its folder and files")]
    ReadOnly,
    /// No such space in this home.
    #[error("this home does not hold the space: `lifeos space list` shows those it does")]
    UnknownSpace,
    /// No such relay in this home.
    #[error("this home does not know the relay: set it with `lifeos relay set URL`")]
    UnknownRelay,
    /// The document exists and is of another kind.
    #[error("the document is of another kind: check the id")]
    WrongKind,
    /// No such field, list or column to filter or order by.
    #[error("there is no such field to filter or order by: `lifeos entity fields KIND` shows them")]
    NoSuchColumn,
    /// One edit made a change that no envelope can carry.
    #[error("the edit is too large to be synced as one: split it")]
    EditTooLarge,
    /// Another copy of this home has gone on writing its stream.
    #[error(
        "another copy of this home has synced already: sync again, and its newest edits here are sent as those of a device of their own"
    )]
    StreamForked,
    /// What is to be taken in was not set aside because of a removal, or this device may not write.
    #[error("there is nothing of a removed device to take in here, or this device may not write")]
    NothingToAdopt,
    /// A document that came with a checkpoint took too long to read, or only a later version can.
    #[error(
        "a document that came with a checkpoint cannot be read now: try again, and if it stays so, update this app"
    )]
    DocumentNotRead,
    /// What an attachment consists of is not known here.
    #[error(
        "what this attachment consists of has not come yet, or does not read: sync, and if it stays so, attach the file again"
    )]
    AttachmentUnknown,
    /// Not all parts of an attachment are held.
    #[error(
        "{missing} of {all} parts of this attachment are not on this device: get them with `lifeos attachment get` while a \
         relay can be reached"
    )]
    AttachmentAway {
        /// How many.
        missing: u64,
        /// Of how many.
        all: u64,
    },
    /// What is held of an attachment is not what its hash says.
    #[error(
        "the attachment cannot be put together ({what}): nothing of it was written; attach the file again where it is still held"
    )]
    AttachmentDamaged {
        /// What is wrong.
        what: &'static str,
    },
    /// A document, or the list of chunks, is too large for any checkpoint.
    #[error(
        "a document here is too large to be packed: nothing is lost, but the space cannot be made smaller; split its longest notes"
    )]
    DocumentTooLarge,
    /// The record is no checkpoint of this space, or its maker may not make one.
    #[error("there is no such checkpoint in this space: sync again")]
    NoCheckpoint,
    /// A checkpoint, or a chunk of one, is not what its maker should have made; nothing of it was taken.
    #[error("a checkpoint of this space cannot be read ({0}): another one, or the whole history, is used instead")]
    Checkpoint(crate::checkpoint::CheckpointError),
    /// The edit does not fit the document, or a stored document does not load.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The search query cannot be read.
    #[error(transparent)]
    Query(#[from] super::QueryError),
    /// A peer sent what no honest one holds; nothing of the page was taken, and its cursor stays.
    #[error("the relay sent {what}: nothing of it was taken; try again later, or use another relay")]
    PeerMisbehaved {
        /// What it was.
        what: &'static str,
    },
    /// An envelope could not be sealed.
    #[error("sealing failed ({0}): run `lifeos doctor`; your edits are kept")]
    Seal(#[from] crate::envelope::RefusedEnvelope),
    /// The operating system refused.
    #[error("the home folder cannot be read or written ({0}): check its permissions and the disk, then try again")]
    Io(#[source] io::Error),
    /// Records that no space may hold; none was stored.
    #[error(transparent)]
    Records(#[from] super::RefusedRecords),
    /// A read or write failed below SQLite.
    #[error(
        "the disk refused to read or write: check its free space and health, then try again; what was acknowledged is kept"
    )]
    Disk(#[source] rusqlite::Error),
    /// SQLite refused for another reason.
    #[error("the database refused the operation: run `lifeos doctor`; nothing that was acknowledged is lost")]
    Sql(#[source] rusqlite::Error),
}

impl StoreError {
    /// Whether the same call can succeed later without anybody changing the home.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::DiskFull | Self::Busy | Self::Replaced | Self::Disk(_))
    }

    /// Whether what is stored of one document is wrong, while the database around it may be sound.
    pub(super) const fn is_damaged_document(&self) -> bool {
        matches!(self, Self::DocumentWithoutSnapshot | Self::Document(DocumentError::Corrupt))
    }

    /// Whether stored bytes are wrong: retrying never helps.
    #[must_use]
    pub const fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::DocumentWithoutSnapshot | Self::Document(DocumentError::Corrupt))
    }
}

impl From<KeyFileError> for StoreError {
    fn from(error: KeyFileError) -> Self {
        if error == KeyFileError::Damaged { Self::DeviceKey } else { Self::Key(error) }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        match error.sqlite_error_code() {
            Some(Code::DiskFull) => Self::DiskFull,
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Busy,
            Some(Code::SystemIoFailure) => Self::Disk(error),
            Some(Code::DatabaseCorrupt) => Self::Corrupt { what: "a database page" },
            Some(Code::NotADatabase) => Self::Corrupt { what: "the database header" },
            Some(Code::ReadOnly | Code::CannotOpen | Code::PermissionDenied) => Self::ReadOnly,
            _ => Self::Sql(error),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly,
            _ => Self::Io(error),
        }
    }
}
