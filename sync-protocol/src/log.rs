//! The rolling hash of a relay's log: one look tells whether two sides saw the same log.

use crate::hash::sha256;
use crate::ids::{EnvelopeId, Roll};

/// SHA-256(ctx("log") ‖ previous ‖ u64 pos ‖ env_id)[..16]; the empty log's roll is zero.
#[must_use]
pub fn roll_next(previous: &Roll, pos: u64, id: &EnvelopeId) -> Roll {
    let hash = sha256("log", &[&previous.0, &pos.to_be_bytes(), &id.0]);
    let mut roll = Roll::ZERO;
    roll.0.copy_from_slice(&hash[..Roll::BYTES]);
    roll
}
