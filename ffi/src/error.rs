//! The one error of the façade.

use lifeos_client_core::client::{ClientError, ErrorKind};

/// Why a call did not succeed. Every kind has the same three fields: `code` is stable and for programs,
/// `reason` is for people and says what to do next, `retryable` says whether the same call can succeed
/// later without anybody doing anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, uniffi::Error)]
#[non_exhaustive]
pub enum LifeOsError {
    /// The home folder cannot be used as it is.
    #[error("{reason}")]
    Home {
        /// `home`
        code: String,
        /// For people.
        reason: String,
        /// Whether trying again can help.
        retryable: bool,
    },
    /// The caller asked for something invalid.
    #[error("{reason}")]
    Invalid {
        /// `invalid`
        code: String,
        /// For people.
        reason: String,
        /// Whether trying again can help.
        retryable: bool,
    },
    /// No such note, notebook, version …
    #[error("{reason}")]
    NotFound {
        /// `not_found`
        code: String,
        /// For people.
        reason: String,
        /// Whether trying again can help.
        retryable: bool,
    },
    /// The disk refused.
    #[error("{reason}")]
    Storage {
        /// `storage`
        code: String,
        /// For people.
        reason: String,
        /// Whether trying again can help.
        retryable: bool,
    },
    /// The relay cannot be reached or refuses.
    #[error("{reason}")]
    Network {
        /// `network`
        code: String,
        /// For people.
        reason: String,
        /// Whether trying again can help.
        retryable: bool,
    },
    /// Something that must not be trusted: wrong relay key, wrong code …
    #[error("{reason}")]
    Security {
        /// `security`
        code: String,
        /// For people.
        reason: String,
        /// Whether trying again can help.
        retryable: bool,
    },
    /// The object was shut down or used up.
    #[error("{reason}")]
    Stopped {
        /// `stopped`
        code: String,
        /// For people.
        reason: String,
        /// Whether trying again can help.
        retryable: bool,
    },
    /// A bug in the library; the call had no effect, or its effect is stored whole.
    #[error("{reason}")]
    Internal {
        /// `internal`
        code: String,
        /// For people.
        reason: String,
        /// Whether trying again can help.
        retryable: bool,
    },
}

impl From<ClientError> for LifeOsError {
    fn from(error: ClientError) -> Self {
        let (reason, retryable) = (error.to_string(), error.is_transient());
        match error.kind() {
            ErrorKind::Home => Self::Home { code: "home".into(), reason, retryable },
            ErrorKind::Invalid => Self::Invalid { code: "invalid".into(), reason, retryable },
            ErrorKind::NotFound => Self::NotFound { code: "not_found".into(), reason, retryable },
            ErrorKind::Storage => Self::Storage { code: "storage".into(), reason, retryable },
            ErrorKind::Network => Self::Network { code: "network".into(), reason, retryable },
            ErrorKind::Security => Self::Security { code: "security".into(), reason, retryable },
            _ => Self::Internal { code: "internal".into(), reason, retryable },
        }
    }
}

impl LifeOsError {
    /// The object was shut down or used up.
    pub(crate) fn stopped() -> Self {
        Self::Stopped {
            code: "stopped".into(),
            reason: "this object was shut down: open the home again".into(),
            retryable: false,
        }
    }

    /// A call was invalid before it reached the core.
    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid { code: "invalid".into(), reason: reason.into(), retryable: false }
    }

    /// The system below gave out.
    pub(crate) fn internal(reason: impl Into<String>) -> Self {
        Self::Internal { code: "internal".into(), reason: reason.into(), retryable: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_reason_and_retry_survive_the_crossing() {
        let error = LifeOsError::from(ClientError::Network { message: "no relay there".into(), transient: true });
        let expected =
            LifeOsError::Network { code: "network".into(), reason: "no relay there".into(), retryable: true };
        assert_eq!(error, expected);
        assert_eq!(error.to_string(), "no relay there");
    }
}
