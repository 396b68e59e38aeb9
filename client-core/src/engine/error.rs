//! Why syncing failed, and whether trying again can help.

use lifeos_sync_protocol::frame::ErrorCode;

use crate::bundle::BundleError;
use crate::keys::KeyFault;
use crate::session::{PushPause, PushStop, SessionError};
use crate::store::StoreError;
use crate::transport::{RelayUrlError, TransportError};

/// One round of sync, or one connection, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The relay's fault, or the network's.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The connection's fault.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The disk's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The relay does not take this device's edits; receiving went on.
    #[error("{0}; what others wrote was received")]
    PushStopped(PushStop),
    /// The relay does not take this device's edits now.
    #[error("{0}; nothing is lost, it will be sent later")]
    PushPaused(PushPause),
    /// The relay does not take the space's records.
    #[error(
        "the relay does not take these changes to members, devices or keys, e.g. because the space is full there; they were taken back, and removals go on: ask the relay's operator for room, then try again"
    )]
    RecordsRefused,
    /// The relay holds more of a removed device than the removal says, and waits for one that says so.
    #[error("the relay does not hold the removal yet: the device wrote meanwhile; sync again")]
    RemovalWaits,
    /// The relay does not hold the record of the key to seal under.
    #[error(
        "the relay does not take the newest key of this space, so nothing new is sent; it stays here: ask the relay's operator for room, then sync again"
    )]
    KeyUntaken,
    /// The keys at hand are not those to seal with; receiving went on.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// Records came that explain what could not be kept before: the log has to be read again from its start.
    #[error("edits that could not be read before are fetched again: sync once more")]
    FetchAgain,
    /// The bundle file's fault.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Another process syncs this home.
    #[error("this home is being synced already: wait until that is done, or stop the other `lifeos sync --watch`")]
    Locked,
    /// No relay is set.
    #[error("no relay is set: run `lifeos relay set URL`")]
    NoRelay,
    /// The stored address is none.
    #[error(transparent)]
    Address(#[from] RelayUrlError),
    /// The relay does not read what it asked to be sent.
    #[error("the relay does not read what is sent to it: sync again; if it stays so, tell its operator")]
    Stalled,
    /// A bug: storing panicked. What was committed stands.
    #[error("an internal fault stopped the sync; nothing that was saved is lost; run `lifeos doctor`")]
    Fault,
    /// Stopped from outside.
    #[error("the sync was stopped: start it again")]
    Stopped,
}

impl EngineError {
    /// Whether the same thing can work soon without anybody doing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Session(error) => error.is_transient(),
            Self::Transport(error) => error.is_transient(),
            Self::Store(error) => error.is_transient(),
            Self::Key(fault) => fault.passes(),
            Self::PushPaused(_) | Self::FetchAgain | Self::Locked | Self::Stalled | Self::Stopped => true,
            _ => false,
        }
    }

    /// A fixed word for it, which tells nothing of whom or where.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Session(error) => error.name(),
            Self::Transport(error) => error.name(),
            Self::Store(StoreError::PeerMisbehaved { .. }) => "peer_misbehaved",
            Self::Store(StoreError::DiskFull) => "disk_full",
            Self::Store(StoreError::Busy) => "database_busy",
            Self::Store(_) => "store",
            Self::PushStopped(_) => "push_stopped",
            Self::PushPaused(_) => "push_paused",
            Self::RecordsRefused => "records_refused",
            Self::RemovalWaits => "removal_waits",
            Self::KeyUntaken => "key_untaken",
            Self::Key(_) => "key",
            Self::FetchAgain => "fetch_again",
            Self::Bundle(_) => "bundle",
            Self::Locked => "locked",
            Self::NoRelay => "no_relay",
            Self::Address(_) => "address",
            Self::Stalled => "stalled",
            Self::Fault => "fault",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the relay must not be trusted.
    #[must_use]
    pub const fn is_trust(&self) -> bool {
        match self {
            Self::Session(error) => error.is_trust(),
            Self::Store(StoreError::PeerMisbehaved { .. }) => true,
            _ => false,
        }
    }

    /// Whether nothing gets better until somebody sets another relay: none is set, its address is none, or it must not
    /// be trusted.
    #[must_use]
    pub const fn needs_relay_set(&self) -> bool {
        matches!(self, Self::NoRelay | Self::Address(_)) || self.is_trust()
    }

    /// Whether the relay lets this key not, or no longer, into the space.
    #[must_use]
    pub const fn is_stranger(&self) -> bool {
        matches!(self, Self::Session(SessionError::Refused { code: ErrorCode::NotMember | ErrorCode::Removed, .. }))
    }

    /// How long the relay asked to be left alone (ms); 0: it did not say.
    #[must_use]
    pub const fn retry_after_ms(&self) -> u64 {
        match self {
            Self::Session(SessionError::Refused { retry_after_ms, .. }) => *retry_after_ms as u64,
            _ => 0,
        }
    }
}
