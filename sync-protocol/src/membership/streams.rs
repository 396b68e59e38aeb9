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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(number: u8) -> StreamId {
        StreamId([number; 16])
    }

    fn cut(seq: u32) -> StreamLimit {
        StreamLimit::Cut(StreamPoint { seq, id: EnvelopeId([1; 32]) })
    }

    fn held(limit: StreamLimit, tip: u32, frontiers: &[(u32, u8, u32)]) -> HeldStream {
        let frontiers = frontiers.iter().map(|(seq, other, at)| (*seq, vec![(stream(*other), *at)])).collect();
        HeldStream { limit, tip, frontiers }
    }

    #[test]
    fn what_accepted_work_was_built_on_counts_beyond_a_cut() {
        let streams: BTreeMap<StreamId, HeldStream> = [
            (stream(1), held(StreamLimit::Open, 3, &[(2, 2, 5)])),
            (stream(2), held(cut(1), 9, &[(4, 3, 2), (6, 3, 4)])),
            (stream(3), held(cut(0), 9, &[])),
            (stream(4), held(StreamLimit::Never, 9, &[(1, 3, 9)])),
        ]
        .into();
        let accepted = accept(&streams);
        assert_eq!(accepted[&stream(1)], 3);
        assert_eq!(accepted[&stream(2)], 5, "an open stream was built on it");
        assert_eq!(accepted[&stream(3)], 2, "what was built on that, and no more");
        assert_eq!(accepted[&stream(4)], 0, "nobody vouches for who never wrote, nor does it vouch");
    }

    #[test]
    fn an_own_later_envelope_vouches_for_nothing_and_two_removed_devices_not_for_each_other() {
        let streams: BTreeMap<StreamId, HeldStream> = [
            (stream(1), held(cut(2), 9, &[(1, 1, 9), (3, 2, 9)])),
            (stream(2), held(cut(1), 9, &[(1, 2, 9), (2, 1, 9)])),
        ]
        .into();
        assert_eq!(accept(&streams), [(stream(1), 2), (stream(2), 1)].into());
    }

    /// The same by its definition: try every envelope again until nothing more is accepted.
    fn by_definition(streams: &BTreeMap<StreamId, HeldStream>) -> BTreeMap<StreamId, u32> {
        let mut accepted: BTreeMap<StreamId, u32> =
            streams.iter().map(|(s, held)| (*s, held.limit.seq().unwrap_or(u32::MAX).min(held.tip))).collect();
        loop {
            let mut next = accepted.clone();
            for (from, held) in streams {
                for (_, frontier) in held.frontiers.iter().filter(|(seq, _)| *seq <= accepted[from]) {
                    for (to, seq) in frontier.iter().filter(|(to, _)| to != from) {
                        let Some(other) = streams.get(to) else { continue };
                        if other.limit != StreamLimit::Never {
                            let last = next.get_mut(to).unwrap();
                            *last = (*last).max((*seq).min(other.tip));
                        }
                    }
                }
            }
            if next == accepted {
                return next;
            }
            accepted = next;
        }
    }

    fn any_stream() -> impl Strategy<Value = HeldStream> {
        let limit = prop_oneof![
            3 => Just(StreamLimit::Open),
            4 => (0..8_u32).prop_map(cut),
            1 => (0..8_u32).prop_map(|seq| StreamLimit::Forked(StreamPoint { seq, id: EnvelopeId([1; 32]) })),
            1 => Just(StreamLimit::Never),
        ];
        let frontiers =
            proptest::collection::btree_map(1..8_u32, proptest::collection::vec((0..5_u8, 0..9_u32), 0..3), 0..6);
        (limit, 0..8_u32, frontiers).prop_map(|(limit, tip, frontiers)| {
            let named =
                |frontier: Vec<(u8, u32)>| frontier.into_iter().map(|(other, seq)| (stream(other), seq)).collect();
            let frontiers = frontiers.into_iter().map(|(seq, frontier)| (seq, named(frontier))).collect();
            HeldStream { limit, tip, frontiers }
        })
    }

    proptest! {
        #[test]
        fn it_is_the_least_fixpoint(streams in proptest::collection::btree_map((0..5_u8).prop_map(stream), any_stream(), 0..5)) {
            prop_assert_eq!(accept(&streams), by_definition(&streams));
        }

        #[test]
        fn replicas_agree_once_they_hold_the_same_and_nothing_accepted_is_lost_before(
            streams in proptest::collection::btree_map((0..5_u8).prop_map(stream), any_stream(), 0..5),
            arrived in proptest::collection::vec(0..9_u32, 5),
        ) {
            // What has arrived so far: a part of every stream. Less is accepted then, never something else.
            let part: BTreeMap<StreamId, HeldStream> = streams.iter().zip(&arrived).map(|((s, held), tip)| {
                let tip = held.tip.min(*tip);
                let frontiers = held.frontiers.iter().filter(|(seq, _)| *seq <= tip).cloned().collect();
                (*s, HeldStream { tip, frontiers, ..held.clone() })
            }).collect();
            let (some, all) = (accept(&part), accept(&streams));
            prop_assert!(some.iter().all(|(s, seq)| *seq <= all[s]));
            for (s, held) in &streams {
                prop_assert!(all[s] <= held.tip && (all[s] >= held.limit.seq().unwrap_or(0).min(held.tip)));
            }
        }
    }
}
