//! Fixed words for what went wrong, for traces and counts: they tell nothing of whom or where.

use lifeos_sync_protocol::frame::ErrorCode;

use super::{LogChange, SessionError};

impl LogChange {
    /// A fixed word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RolledBack => "rolled_back",
            Self::Replaced => "replaced",
            Self::Pruned => "pruned",
        }
    }
}

impl SessionError {
    /// A fixed word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::BadFrame(_) => "bad_frame",
            Self::Misbehaved(_) => "misbehaved",
            Self::WrongRelayKey { .. } => "wrong_relay_key",
            Self::WrongOrigin => "wrong_origin",
            Self::RelaySignature => "relay_signature",
            Self::Version => "version",
            Self::Refused { code: ErrorCode::NotMember, .. } => "refused_not_member",
            Self::Refused { code: ErrorCode::Removed, .. } => "refused_removed",
            Self::Refused { code: ErrorCode::Rate, .. } => "refused_rate",
            Self::Refused { code: ErrorCode::GoingAway, .. } => "refused_going_away",
            Self::Refused { code: ErrorCode::Unavailable, .. } => "refused_unavailable",
            Self::Refused { .. } => "refused",
            Self::Unjoined => "unjoined",
            Self::Timeout => "timeout",
            Self::Disconnected => "disconnected",
        }
    }
}
