//! Hashes that compare what two sides hold: the rolling hash of one log, and the digest over all streams.

use crate::frame::Have;
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

/// One hash over everything held: SHA-256(ctx("have") ‖ for each stream, ascending: stream ‖ u32 floor ‖ u32 tip ‖
/// tip_id 8). Equal digests over streams without holes mean that nothing needs to be sent either way.
#[must_use]
pub fn have_digest(streams: &[Have]) -> [u8; 32] {
    let mut held = Vec::with_capacity(streams.len() * 32);
    for have in streams {
        held.extend_from_slice(&have.stream.0);
        held.extend_from_slice(&have.floor.to_be_bytes());
        held.extend_from_slice(&have.tip.to_be_bytes());
        held.extend_from_slice(&have.tip_id);
    }
    sha256("have", &[&held])
}
