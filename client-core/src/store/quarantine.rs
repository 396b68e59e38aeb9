//! Envelopes that were set aside, with the reason; a bad envelope never blocks its neighbours.

use lifeos_sync_protocol::ids::{EnvelopeId, SignPk, StreamId};

/// An envelope in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedEnvelope {
    /// Which.
    pub envelope: EnvelopeId,
    /// Its stream (zero when the layout is wrong).
    pub stream: StreamId,
    /// Position it claims.
    pub seq: u32,
    /// Author device, when known.
    pub author: Option<SignPk>,
    /// In words.
    pub reason: String,
    /// Since when (ms UTC).
    pub since_ms: i64,
}
