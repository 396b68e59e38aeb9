//! Why a command did not succeed, and the exit code that says so.

use std::io;

use lifeos_client_core::client::{ClientError, ErrorKind};

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The core refused or failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The arguments do not fit together; exit code 2.
    #[error("{0}")]
    Usage(String),
    /// A file, pipe or process of the command line itself.
    #[error("{what}: {source}{}", advice(.source))]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The relay inside the demonstration did not start.
    #[error("the relay did not start: {0}")]
    Relay(String),
    /// Something was checked and did not hold; the report is on stdout.
    #[error("{0}")]
    Unsound(String),
    /// Whoever read stdout went away (`lifeos note list | head -1`): nothing is wrong.
    #[error("the reader of the output went away")]
    ReaderGone,
}

impl Failure {
    /// A usage error.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// What was typed or given is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Client(ClientError::Invalid { message: message.into() })
    }

    /// A failure of the system below.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// Coarse class, stable for scripts.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Client(error) => kind_name(error.kind()),
            Self::Usage(_) => "usage",
            Self::Io { .. } | Self::ReaderGone => "io",
            Self::Relay(_) => "network",
            Self::Unsound(_) => "check",
        }
    }

    /// Whether the same command can succeed later without anybody doing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_transient())
    }

    /// 0 nothing wrong, 1 failed, 2 usage.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::ReaderGone => 0,
            Self::Usage(_) => 2,
            _ => 1,
        }
    }
}

/// What a person can do about an error of the system; nothing where it speaks for itself.
fn advice(source: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match source.kind() {
        _ if source.get_ref().is_some() => "",
        Kind::NotFound => "; check the path",
        Kind::PermissionDenied => "; check its permissions and try again",
        Kind::IsADirectory => "; name a file in it",
        Kind::StorageFull | Kind::QuotaExceeded => "; free some space and try again",
        Kind::ReadOnlyFilesystem => "; choose a place that can be written",
        _ => "; check the disk and try again",
    }
}

const fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Home => "home",
        ErrorKind::Invalid => "invalid",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Storage => "storage",
        ErrorKind::Network => "network",
        ErrorKind::Security => "security",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_error_exits_with_two_and_a_reader_that_went_away_with_zero() {
        assert_eq!(Failure::usage("x").exit_code(), 2);
        assert_eq!(Failure::ReaderGone.exit_code(), 0);
        assert_eq!(Failure::Unsound("x".into()).exit_code(), 1);
    }

    #[test]
    fn an_error_of_the_system_says_what_to_do() {
        let of = |code| Failure::io("cannot read a.md", io::Error::from_raw_os_error(code)).to_string();
        assert!(of(28).ends_with("free some space and try again"), "{}", of(28));
        assert!(of(13).ends_with("check its permissions and try again"), "{}", of(13));
        let own_words = Failure::io("vi", io::Error::other("ended with an error; the note is as it was"));
        assert_eq!(own_words.to_string(), "vi: ended with an error; the note is as it was");
    }

    #[test]
    fn only_what_the_core_calls_transient_is_transient() {
        let busy = ClientError::Storage { message: "busy".into(), transient: true };
        let full = ClientError::Storage { message: "full".into(), transient: false };
        assert!(Failure::from(busy).is_transient());
        assert!(!Failure::from(full).is_transient());
        assert!(!Failure::usage("x").is_transient());
    }
}
