//! The type bytes of frames and their names.

macro_rules! kinds {
    ($($name:ident = $byte:literal),* $(,)?) => {
        $(pub(super) const $name: u8 = $byte;)*

        /// The name of a type byte, for errors.
        pub(super) const fn name(tag: u8) -> Option<&'static str> {
            match tag {
                $($byte => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

kinds! {
    HELLO = 0x01, CHALLENGE = 0x02, AUTH = 0x03, WELCOME = 0x04, LIST = 0x05, SPACES = 0x06,
    OPEN = 0x10, STATE = 0x11, REC_WANT = 0x12, REC = 0x13, REC_ACK = 0x14,
    PUSH = 0x20, PUSH_ACK = 0x21, PULL = 0x22, ITEMS = 0x23, NOTIFY = 0x24,
    HAVE = 0x30, WANT = 0x31, OFFER = 0x32, LACK = 0x33, WANT_REST = 0x34, PART = 0x35, EPHEMERAL = 0x40,
    WAKEUP = 0x41, WAKEUP_ACK = 0x42,
    RDV_CREATE = 0x50, RDV_PUT = 0x51, RDV_GET = 0x52, RDV_DROP = 0x53, RDV_ITEM = 0x54,
    LOG_STATEMENT = 0x60, LOG_STATEMENT_WANT = 0x61, PONG = 0x7d, PING = 0x7e, ERROR = 0x7f,
}

impl super::Frame {
    /// The type byte on the wire.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Hello { .. } => HELLO,
            Self::Challenge { .. } => CHALLENGE,
            Self::Auth { .. } => AUTH,
            Self::Welcome { .. } => WELCOME,
            Self::List { .. } => LIST,
            Self::Spaces { .. } => SPACES,
            Self::Open { .. } => OPEN,
            Self::State { .. } => STATE,
            Self::RecWant { .. } => REC_WANT,
            Self::Rec { .. } => REC,
            Self::RecAck { .. } => REC_ACK,
            Self::Push { .. } => PUSH,
            Self::PushAck { .. } => PUSH_ACK,
            Self::Pull { .. } => PULL,
            Self::Items { .. } => ITEMS,
            Self::Notify { .. } => NOTIFY,
            Self::Have { .. } => HAVE,
            Self::Want { .. } => WANT,
            Self::Offer { .. } => OFFER,
            Self::Lack { .. } => LACK,
            Self::WantRest { .. } => WANT_REST,
            Self::Part { .. } => PART,
            Self::Ephemeral { .. } => EPHEMERAL,
            Self::Wakeup { .. } => WAKEUP,
            Self::WakeupAck { .. } => WAKEUP_ACK,
            Self::RdvCreate { .. } => RDV_CREATE,
            Self::RdvPut { .. } => RDV_PUT,
            Self::RdvGet { .. } => RDV_GET,
            Self::RdvDrop { .. } => RDV_DROP,
            Self::RdvItem { .. } => RDV_ITEM,
            Self::LogStatement { .. } => LOG_STATEMENT,
            Self::LogStatementWant { .. } => LOG_STATEMENT_WANT,
            Self::Pong { .. } => PONG,
            Self::Ping { .. } => PING,
            Self::Error { .. } => ERROR,
        }
    }

    /// The frame's name in capitals, for logs and errors.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match name(self.kind()) {
            Some(name) => name,
            None => "UNKNOWN",
        }
    }
}
