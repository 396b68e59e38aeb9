//! Carriers of frames: a websocket to a relay, and an in-memory pair for tests.
//!
//! A connection is two halves that never wait for each other: one that sends and one that receives. Whole
//! frames in, whole frames out; what they mean is the session's business.

pub mod fetch;
mod memory;
mod peer;
#[cfg(feature = "simulation")]
mod simulated;
mod url;
mod websocket;

use std::future::Future;

pub use memory::{MemoryReceiver, MemorySender, memory_pair};
pub(crate) use peer::dialled;
pub use peer::{PeerAddress, PeerAddressError};
#[cfg(feature = "simulation")]
pub use simulated::{Dial, set_dial};
pub use url::{RelayUrl, RelayUrlError};
pub use websocket::{WsReceiver, WsSender, connect};

/// Why a carrier failed. All but [`TransportError::TooLarge`] can pass by themselves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// Nobody answers at the address.
    #[error("the relay cannot be reached: check the address and the network")]
    Unreachable(#[source] Box<tokio_tungstenite::tungstenite::Error>),
    /// What answers is no relay, or TLS failed.
    #[error("what answers at the address is no relay: check the address")]
    NotARelay(#[source] Box<tokio_tungstenite::tungstenite::Error>),
    /// No answer in time.
    #[error("the relay does not answer: check the address and the network")]
    Timeout,
    /// The connection broke.
    #[error("the connection to the relay was lost: check the network and try again; what was saved waits here")]
    Lost(#[source] Option<Box<tokio_tungstenite::tungstenite::Error>>),
    /// The peer sent a message above the limit, or one that is not binary.
    #[error("the relay sent a message that no relay sends: check the address, or update this app or the relay")]
    BadMessage,
}

impl TransportError {
    /// A fixed word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::NotARelay(_) => "not_a_relay",
            Self::Timeout => "no_answer",
            Self::Lost(_) => "lost",
            Self::BadMessage => "bad_message",
        }
    }

    /// Whether trying again later can help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Timeout | Self::Lost(_))
    }
}

/// The sending half.
pub trait FrameSender: Send + 'static {
    /// Sends one frame; returns when the carrier has taken it.
    fn send(&mut self, frame: Vec<u8>) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Says goodbye; errors no longer matter.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

/// The receiving half.
pub trait FrameReceiver: Send + 'static {
    /// The next frame; `None` after a proper end.
    ///
    /// # Errors
    /// [`TransportError`]; the connection is then over.
    fn recv(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, TransportError>> + Send;
}
