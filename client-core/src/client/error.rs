//! The one error of the façade: whose fault, and what to do next.

use crate::document::DocumentError;
use crate::engine::EngineError;
use crate::recovery::RecoveryError;
use crate::store::StoreError;
use crate::transport::RelayUrlError;

/// Anything that can go wrong, by whose fault it is and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The home folder cannot be used as it is.
    #[error("{message}")]
    Home {
        /// What is wrong and what to do next, in words.
        message: String,
    },
    /// The caller asked for something invalid.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
    /// No such note, notebook, version …
    #[error("there is no {what}")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// The disk refused.
    #[error("{message}")]
    Storage {
        /// What happened and what to do next.
        message: String,
        /// Whether trying again later can help (disk full, busy).
        transient: bool,
    },
    /// The relay cannot be reached or refuses.
    #[error("{message}")]
    Network {
        /// What happened and what to do next.
        message: String,
        /// Whether trying again later can help.
        transient: bool,
    },
    /// Something that must not be trusted: wrong relay key, wrong code …
    #[error("{message}")]
    Security {
        /// What happened and what to do next.
        message: String,
    },
}

/// Coarse class of an error; retry reads only [`ClientError::is_transient`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The home folder.
    Home,
    /// The caller.
    Invalid,
    /// Nothing there.
    NotFound,
    /// The disk.
    Storage,
    /// The network or relay.
    Network,
    /// Trust.
    Security,
}

impl ClientError {
    /// Whose fault.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Home { .. } => ErrorKind::Home,
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Storage { .. } => ErrorKind::Storage,
            Self::Network { .. } => ErrorKind::Network,
            Self::Security { .. } => ErrorKind::Security,
        }
    }

    /// Whether the same call can succeed later without anybody doing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Storage { transient: true, .. } | Self::Network { transient: true, .. })
    }
}

impl ClientError {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into() }
    }

    pub(super) fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }

    pub(super) fn home(message: impl Into<String>) -> Self {
        Self::Home { message: message.into() }
    }
}

impl From<StoreError> for ClientError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::NoHome
            | StoreError::HomeExists
            | StoreError::KeyWithoutDatabase
            | StoreError::DeviceKey
            | StoreError::Key(_)
            | StoreError::Keystore(_)
            | StoreError::Encrypted
            | StoreError::WrongDatabaseKey
            | StoreError::NewerVersion { .. } => Self::Home { message },
            StoreError::AttachmentUnknown | StoreError::AttachmentAway { .. } => {
                Self::Network { message, transient: true }
            }
            StoreError::Records(_)
            | StoreError::PeerMisbehaved { .. }
            | StoreError::AttachmentDamaged { .. }
            | StoreError::CopiedSpace => Self::Security { message },
            StoreError::CannotEncrypt
            | StoreError::UnknownSpace
            | StoreError::UnknownRelay
            | StoreError::WrongKind
            | StoreError::NoSuchColumn
            | StoreError::NothingToAdopt
            | StoreError::Query(_) => Self::Invalid { message },
            StoreError::Document(error)
                if !matches!(error, DocumentError::Corrupt | DocumentError::Undeclared { .. }) =>
            {
                Self::Invalid { message }
            }
            error => Self::Storage { message, transient: error.is_transient() },
        }
    }
}

impl From<DocumentError> for ClientError {
    fn from(error: DocumentError) -> Self {
        StoreError::from(error).into()
    }
}

impl From<EngineError> for ClientError {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            EngineError::Store(error) => error.into(),
            EngineError::Bundle(error) => error.into(),
            EngineError::NoRelay | EngineError::Address(_) => Self::Invalid { message },
            EngineError::Key(fault) if !fault.passes() => Self::Security { message },
            error if error.is_trust() => Self::Security { message },
            error => Self::Network { message, transient: error.is_transient() },
        }
    }
}

impl From<RecoveryError> for ClientError {
    fn from(error: RecoveryError) -> Self {
        let message = error.to_string();
        match error {
            RecoveryError::BadRecords => Self::Security { message },
            RecoveryError::NoEpoch => Self::Home { message },
            RecoveryError::Refused => Self::Network { message, transient: true },
            _ => Self::Invalid { message },
        }
    }
}

impl From<RelayUrlError> for ClientError {
    fn from(error: RelayUrlError) -> Self {
        Self::invalid(error.to_string())
    }
}
