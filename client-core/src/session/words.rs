//! Words for what went wrong: fixed ones for traces and counts, which tell nothing of whom or where, and those for a person.

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

/// A refusal in words; the relay's own text is not shown, because it comes from outside.
pub(super) const fn refusal_text(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::BadFrame | ErrorCode::Unexpected => "it did not understand this app; update one of the two",
        ErrorCode::Version => "it speaks another version of the protocol; update this app or the relay",
        ErrorCode::AuthFailed => {
            "it does not accept this device's signature; run `lifeos doctor`, or link this device again"
        }
        ErrorCode::NotMember => "this device is not enrolled in the space; link it again from one that is",
        ErrorCode::Removed => "this device was removed from the space; link it again to go on syncing",
        ErrorCode::CreateRefused => "it does not take new spaces; ask its operator",
        ErrorCode::TooLarge => {
            "something was too large for it; split large notes, or ask its operator for larger limits"
        }
        ErrorCode::Rate => "too many requests; it will be tried again later",
        ErrorCode::NoMailbox => "the link has expired; make a new one",
        ErrorCode::MailboxRefused => "it has no room for another link now; try again in some minutes",
        ErrorCode::GoingAway => "it is stopping; it will be tried again later",
        ErrorCode::Unavailable => {
            "it cannot store or read now; try again later, and if it stays so ask its operator to free disk space"
        }
        _ => "it has an internal fault; try again later, and if it stays so tell its operator",
    }
}
