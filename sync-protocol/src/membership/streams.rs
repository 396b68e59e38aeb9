//! How much of a stream counts: limits that records set, and what accepted work builds upon.
//!
//! A removal cuts the streams of a device at the positions its author held. What the device wrote beyond them
//! still counts where an accepted envelope of another stream was built on it, because nobody can apply the one
//! without the other. That is a least fixpoint over limits and frontiers, so every replica that holds the same
//! records and envelopes accepts the same, in whatever order they came.

use std::collections::BTreeMap;

use crate::ids::{EnvelopeId, StreamId};

/// A position in a stream. Sequence 0 is before its first envelope; its id is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamPoint {
    /// The last sequence that counts.
    pub seq: u32,
    /// The envelope there.
    pub id: EnvelopeId,
}

impl StreamPoint {
    /// Before the first envelope.
    pub const START: Self = Self { seq: 0, id: EnvelopeId::ZERO };
}

/// How much of a stream counts by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamLimit {
    /// All of it: the device may write.
    Open,
    /// The device lost the right to write: up to here, and what accepted envelopes were built on.
    Cut(StreamPoint),
    /// Two envelopes were signed for one position: the branch through this envelope counts, up to it and what
    /// accepted envelopes were built on; the other branch never.
    Forked(StreamPoint),
    /// Nothing, ever: no enrolled device, or one that never could write.
    Never,
}

impl StreamLimit {
    /// The last sequence that counts by itself, or nothing when all do.
    #[must_use]
    pub const fn seq(&self) -> Option<u32> {
        match self {
            Self::Open => None,
            Self::Cut(point) | Self::Forked(point) => Some(point.seq),
            Self::Never => Some(0),
        }
    }

    /// Whether an envelope at `seq` counts by itself.
    #[must_use]
    pub const fn takes(&self, seq: u32) -> bool {
        match self.seq() {
            None => true,
            Some(last) => seq <= last,
        }
    }
}

/// One stream as a replica holds it: gap-free from 1 to its tip, on the branch that counts if it is forked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldStream {
    /// What the records say.
    pub limit: StreamLimit,
    /// The last sequence held, accepted or quarantined.
    pub tip: u32,
    /// By sequence, ascending: the positions of other streams that the envelope there was built on.
    pub frontiers: Vec<(u32, Vec<(StreamId, u32)>)>,
}

/// The last accepted sequence of every held stream: an envelope counts if its stream's limit takes it, or if an
/// accepted envelope of another stream was built on it or on a later one of its stream. Never above the tip.
///
/// The least such set; time is linear in the positions that the frontiers name.
#[must_use]
pub fn accept(streams: &BTreeMap<StreamId, HeldStream>) -> BTreeMap<StreamId, u32> {
    let own = |held: &HeldStream| held.limit.seq().unwrap_or(u32::MAX).min(held.tip);
    let mut accepted: BTreeMap<StreamId, u32> = streams.iter().map(|(stream, held)| (*stream, own(held))).collect();
    let mut read: BTreeMap<StreamId, usize> = BTreeMap::new();
    let mut open: Vec<StreamId> = streams.keys().copied().collect();
    while let Some(stream) = open.pop() {
        let (Some(held), Some(last)) = (streams.get(&stream), accepted.get(&stream).copied()) else { continue };
        let next = read.entry(stream).or_default();
        while let Some((_, frontier)) = held.frontiers.get(*next).filter(|(seq, _)| *seq <= last) {
            *next += 1;
            open.extend(
                frontier
                    .iter()
                    .filter(|(other, seq)| *other != stream && raise(streams, &mut accepted, other, *seq))
                    .map(|(other, _)| *other),
            );
        }
    }
    accepted
}

/// Accepts a stream up to `seq`, as far as it is held; whether that is more than before.
fn raise(
    streams: &BTreeMap<StreamId, HeldStream>,
    accepted: &mut BTreeMap<StreamId, u32>,
    stream: &StreamId,
    seq: u32,
) -> bool {
    let Some(held) = streams.get(stream).filter(|held| held.limit != StreamLimit::Never) else { return false };
    let Some(last) = accepted.get_mut(stream) else { return false };
    let (before, now) = (*last, seq.min(held.tip));
    *last = before.max(now);
    now > before
}
