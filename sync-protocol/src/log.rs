//! Hashes that compare what two sides hold: the rolling hash of one log, the digest over all streams, and what a
//! relay signs about them.

use crate::frame::{Cursor, Frame, Have};
use crate::handshake::{KeyError, verify};
use crate::hash::{ctx, sha256};
use crate::ids::{EnvelopeId, RecordId, Roll, SignPk, Signature, SpaceId};
use crate::wire::Put;

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

/// What a relay says about a log, so that it can be held to it. Two that [contradict](Self::contradicts) each other
/// are the proof, for anybody, that the relay shows different logs to different devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The space.
    pub space: SpaceId,
    /// The end of the log as told to whoever asked.
    pub log: Cursor,
    /// Heads of the records it holds, ascending.
    pub rec_heads: Vec<RecordId>,
    /// Its clock, in milliseconds UTC; advisory.
    pub time_ms: u64,
    /// Over [`statement_message`], by the relay's key.
    pub signature: Signature,
}

impl Statement {
    /// The statement in a LOG_STATEMENT frame.
    #[must_use]
    pub fn from_frame(frame: Frame) -> Option<Self> {
        match frame {
            Frame::LogStatement { space, log, rec_heads, time_ms, signature } => {
                Some(Self { space, log, rec_heads, time_ms, signature })
            }
            _ => None,
        }
    }

    /// Checks that this relay said it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(&self, relay: &SignPk) -> Result<(), KeyError> {
        let message = statement_message(&self.space, &self.log, &self.rec_heads, self.time_ms);
        verify(relay, &message, &self.signature)
    }

    /// Whether no honest log explains both: one place of one log, two hashes.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        self.space == other.space
            && self.log.log_id == other.log.log_id
            && self.log.pos == other.log.pos
            && self.log.roll != other.log.roll
    }
}

/// What a relay signs: ctx("log-statement") ‖ space ‖ cursor ‖ list of record id ‖ u64 time_ms.
#[must_use]
pub fn statement_message(space: &SpaceId, log: &Cursor, rec_heads: &[RecordId], time_ms: u64) -> Vec<u8> {
    let mut message = ctx("log-statement");
    message.put(&space.0);
    message.put(&log.log_id.0);
    message.put_u64(log.pos);
    message.put(&log.roll.0);
    message.put_list(rec_heads, |out, id| out.put(&id.0));
    message.put_u64(time_ms);
    message
}
