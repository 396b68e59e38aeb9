//! What a ForkProof holds: two envelopes that one device signed for one place of its stream.
//!
//! ```text
//! first  = device sign_pk 32 ‖ r32 of the stream 32 ‖ envelope
//! second = envelope
//! ```
//!
//! Both are whole, because an envelope's id covers all of it. They have the same sequence and different ids, or the
//! second follows the first's sequence without naming it as predecessor: a fork inside a run of large envelopes is
//! shown by the first small ones behind it. `r32` shows that the stream is the device's, so nobody can close the
//! stream of somebody else with envelopes of his own.

use super::Body;
use crate::envelope::{Envelope, Kind, stream_id};
use crate::ids::{EnvelopeId, SignPk, SpaceId, StreamId};

/// A proven fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    /// The stream.
    pub stream: StreamId,
    /// Whose it is.
    pub device: SignPk,
    /// Where the branches part.
    pub seq: u32,
    /// The envelope there whose branch counts: the smaller id of the two.
    pub id: EnvelopeId,
}

impl Body {
    /// The record body that shows a fork. `r32` is the `prev` of the stream's first envelope.
    #[must_use]
    pub fn fork_proof(device: &SignPk, r32: &[u8; 32], first: &Envelope, second: &Envelope) -> Self {
        let owner = [device.as_ref(), r32, first.bytes()].concat();
        Self::ForkProof { first: owner, second: second.bytes().to_vec() }
    }

    /// The fork that a ForkProof shows in a space, its signatures unchecked; nothing if it shows none.
    #[must_use]
    pub fn fork(&self, space: &SpaceId) -> Option<Fork> {
        self.fork_envelopes(space).map(|(fork, ..)| fork)
    }

    /// Whether a ForkProof shows a fork and the device signed both sides.
    #[must_use]
    pub fn is_fork_proven(&self, space: &SpaceId) -> bool {
        let Some((fork, first, second)) = self.fork_envelopes(space) else { return false };
        [first, second].iter().all(|envelope| envelope.verify_signature(space, &fork.device).is_ok())
    }

    /// The same with the two envelopes that show it.
    #[must_use]
    pub fn fork_envelopes(&self, space: &SpaceId) -> Option<(Fork, Envelope, Envelope)> {
        let Self::ForkProof { first, second } = self else { return None };
        let (device, rest) = first.split_at_checked(SignPk::BYTES)?;
        let (r32, first) = rest.split_at_checked(32)?;
        let (device, r32) = (SignPk::from_slice(device)?, r32.try_into().ok()?);
        let (first, second) = (Envelope::parse(first.to_vec()).ok()?, Envelope::parse(second.clone()).ok()?);
        let (head, other) = (*first.header(), *second.header());
        let is_stream = head.kind == Kind::Delta && other.kind == Kind::Delta && head.stream == other.stream;
        if !is_stream || stream_id(space, &device, &r32) != head.stream {
            return None;
        }
        let id = first.id(space);
        let beside = if other.seq == head.seq {
            second.id(space)
        } else if head.seq.checked_add(1) == Some(other.seq) {
            EnvelopeId(other.prev)
        } else {
            return None;
        };
        let fork = Fork { stream: head.stream, device, seq: head.seq, id: id.min(beside) };
        (id != beside).then_some((fork, first, second))
    }
}
