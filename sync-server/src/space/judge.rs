//! What becomes of the records of one frame.
//!
//! They are judged together: all that have a place are put into the set, and one evaluation says what has no
//! effect. Only those are then looked at alone, in their own causal past, which nothing that arrives later changes:
//! what can never count there is refused. A record that merely does not count now, or that this version does not
//! understand, is kept, because others may cite it. One whose parents are missing waits for them in memory if somebody
//! wrote it whom the space knows.

use std::collections::{HashMap, HashSet};

use lifeos_sync_protocol::frame::RecordStatus;
use lifeos_sync_protocol::ids::{RecordId, SignPk, StreamId};
use lifeos_sync_protocol::limits::SPACE_READERS_MAX;
use lifeos_sync_protocol::membership::{MembershipError, StreamLimit};
use lifeos_sync_protocol::record::{Body, Record, RemoveReason};

use super::membership::is_idle;
use super::{RecordSet, View};
use crate::limits::Limits;

/// Times that a frame's records are evaluated. Two are enough unless records were made to need more.
const PASSES_MAX: usize = 8;

/// What became of the records of one REC frame.
pub(crate) struct Judged {
    pub(crate) results: Vec<RecordStatus>,
    /// New ones, parents first; also parked ones whose parents have come.
    pub(crate) accepted: Vec<Record>,
    /// Those that may wait for their parents, parents first, and which of the frame each is.
    pub(crate) parked: Vec<(Option<usize>, Record)>,
    /// The set with the accepted ones.
    pub(crate) set: RecordSet,
    /// The membership it gives; nothing if nothing was accepted.
    pub(crate) view: Option<View>,
    /// What it cost.
    pub(crate) evaluations: u64,
}

/// Answers that stand before anything is judged.
pub(crate) type Decided = HashMap<RecordId, RecordStatus>;

/// A record that wants in, and which of the frame it is.
struct Candidate {
    index: Option<usize>,
    record: Record,
}

/// Judges the records of a frame, and those that waited for parents, against `set`; `present` is the membership that
/// it gives, nothing for a space that is not here yet. `now_ms` is this relay's clock.
///
/// # Errors
/// [`MembershipError`] when no membership comes out, e.g. without a Genesis.
pub(crate) fn judge(
    set: &RecordSet,
    frame: &[Vec<u8>],
    parked: &[Record],
    decided: Decided,
    present: Option<&View>,
    limits: &Limits,
    now_ms: u64,
) -> Result<Judged, MembershipError> {
    let mut results = vec![RecordStatus::Refused; frame.len()];
    let waited = parked.iter().map(|record| Candidate { index: None, record: record.clone() });
    let fresh = frame.iter().enumerate().filter_map(|(index, bytes)| {
        Some(Candidate { index: Some(index), record: Record::parse(bytes.clone()).ok()? })
    });
    let candidates: Vec<Candidate> = waited.chain(fresh).collect();
    let mut bench = Bench { set, limits, decided, alone: HashMap::new() };
    let mut evaluations = 0;
    for _ in 0..PASSES_MAX {
        let placed = bench.place(&candidates);
        let mut view = None;
        let mut set = placed.set;
        if !placed.new.is_empty() {
            let new = placed.new.iter().filter_map(|at| candidates.get(*at)).map(|candidate| &candidate.record);
            let evaluated = set.view()?;
            evaluations += 1;
            if !bench.admit(&mut set, &evaluated, new) {
                continue;
            }
            view = Some(evaluated);
        }
        for (candidate, status) in candidates.iter().zip(&placed.statuses) {
            if let Some(result) = candidate.index.and_then(|index| results.get_mut(index)) {
                *result = *status;
            }
        }
        let waiting = candidates.iter().zip(&placed.statuses).filter(|(candidate, status)| {
            **status == RecordStatus::Parked && !bench.decided.contains_key(&candidate.record.id())
        });
        let waiting = waiting.map(|(candidate, _)| candidate).collect();
        let (parked, strange) = worth_waiting(waiting, view.as_ref().or(present), now_ms);
        for index in strange {
            if let Some(result) = results.get_mut(index) {
                *result = RecordStatus::Refused;
            }
        }
        let accepted = placed.new.iter().filter_map(|at| Some(candidates.get(*at)?.record.clone())).collect();
        let evaluations = evaluations + bench.alone.len() as u64;
        return Ok(Judged { results, accepted, parked, set, view, evaluations });
    }
    Ok(Judged { results, accepted: Vec::new(), parked: Vec::new(), set: set.clone(), view: None, evaluations })
}

/// Of records whose parents are missing those that wait for them, parents first, and which of the frame the others are:
/// by devices of the space, or that one which waits enrols, and requests to join by an open invitation. Anybody can make
/// keys, and what they sign would wait for ever.
fn worth_waiting(
    mut waiting: Vec<&Candidate>,
    view: Option<&View>,
    now_ms: u64,
) -> (Vec<(Option<usize>, Record)>, Vec<usize>) {
    waiting.sort_by_key(|candidate| candidate.record.depth());
    let (mut parked, mut strange, mut enrolled) = (Vec::new(), Vec::new(), HashSet::new());
    for Candidate { index, record } in waiting {
        let is_known = view.is_some_and(|view| view.knows_author(record, now_ms));
        if is_known || enrolled.contains(&record.author()) {
            enrolled.extend(record.body().devices().map(|device| device.sign_pk));
            parked.push((*index, record.clone()));
        } else {
            strange.extend(*index);
        }
    }
    (parked, strange)
}

/// Judging one frame.
struct Bench<'a> {
    set: &'a RecordSet,
    limits: &'a Limits,
    decided: Decided,
    /// Records that were looked at alone: whether they can never count.
    alone: HashMap<RecordId, bool>,
}

/// The set with every candidate that has a place in it.
struct Placed {
    set: RecordSet,
    /// Those that are new, parents first.
    new: Vec<usize>,
    /// By candidate.
    statuses: Vec<RecordStatus>,
}

impl Bench<'_> {
    fn place(&self, candidates: &[Candidate]) -> Placed {
        let mut placed =
            Placed { set: self.set.clone(), new: Vec::new(), statuses: vec![RecordStatus::Parked; candidates.len()] };
        let mut waiting: Vec<usize> = (0..candidates.len()).collect();
        // Each round places every record whose parents the round before has placed.
        loop {
            let before = waiting.len();
            waiting.retain(|at| {
                let Some(candidate) = candidates.get(*at) else { return false };
                let Some(status) = self.place_one(&mut placed.set, &candidate.record) else { return true };
                if status == RecordStatus::Ok {
                    placed.new.push(*at);
                }
                if let Some(slot) = placed.statuses.get_mut(*at) {
                    *slot = status;
                }
                false
            });
            if waiting.len() == before || waiting.is_empty() {
                return placed;
            }
        }
    }

    /// Nothing while a parent is missing.
    fn place_one(&self, set: &mut RecordSet, record: &Record) -> Option<RecordStatus> {
        let id = record.id();
        if set.holds(&id) {
            return Some(RecordStatus::Dup);
        }
        if record.space() != *set.space() {
            return Some(RecordStatus::Refused);
        }
        if let Some(status) = self.decided.get(&id) {
            return Some(*status);
        }
        if !record.parents().iter().all(|parent| set.holds(parent)) {
            return None;
        }
        // The budget is looked at when the membership is known; this only bounds the evaluation.
        if set.len() >= lifeos_sync_protocol::limits::SPACE_RECORDS_MAX {
            return Some(RecordStatus::Refused);
        }
        set.insert(record.clone());
        Some(RecordStatus::Ok)
    }

    /// Books the new records; false when some of them were decided against, and the rest has to be placed again.
    fn admit<'r>(&mut self, set: &mut RecordSet, view: &View, new: impl Iterator<Item = &'r Record>) -> bool {
        let mut ledger = set.ledger().clone();
        let before = self.decided.len();
        let new: Vec<&Record> = new.collect();
        let crowd = self.crowd(view, &new);
        self.decided.extend(crowd.into_iter().map(|id| (id, RecordStatus::Refused)));
        for record in new {
            if self.decided.contains_key(&record.id()) {
                continue;
            }
            let status = match self.effect(set, view, record) {
                Ok(idle) if ledger.admit(record, view, idle, set.arrivals()) => continue,
                Ok(_) => RecordStatus::Refused,
                Err(status) => status,
            };
            self.decided.insert(record.id(), status);
        }
        set.set_ledger(ledger);
        self.decided.len() == before
    }

    /// The last admissions, if there would be more devices than an Epoch can name: then nobody could change the key any
    /// more, and whoever is removed would read on.
    fn crowd(&self, view: &View, new: &[&Record]) -> Vec<RecordId> {
        let readers_max = self.limits.space_readers_max.min(SPACE_READERS_MAX);
        let mut beyond = view.membership.readers().len().saturating_sub(readers_max);
        let mut crowd = Vec::new();
        for record in new.iter().rev().filter(|record| view.lets_in(record)) {
            if beyond == 0 {
                break;
            }
            beyond = beyond.saturating_sub(record.body().devices().count());
            crowd.push(record.id());
        }
        crowd
    }

    /// Whether a record is kept without having an effect, or why it is not kept.
    fn effect(&mut self, set: &RecordSet, view: &View, record: &Record) -> Result<bool, RecordStatus> {
        match view.membership.void.get(&record.id()) {
            None => return Ok(false),
            Some(reason) if is_idle(reason) => return Ok(true),
            Some(_) => {}
        }
        let never = match self.alone.get(&record.id()) {
            Some(never) => *never,
            // Each costs an evaluation: the rest is to be sent again.
            None if self.alone.len() >= self.limits.records_judged_alone_max => return Err(RecordStatus::Parked),
            None => *self.alone.entry(record.id()).or_insert(set.is_never_valid(record)),
        };
        if never { Err(RecordStatus::Refused) } else { Ok(true) }
    }
}

/// The streams that a new membership cuts shorter, with the last sequence that counts: their envelopes beyond it
/// must not be here already. A removal of something in wrong hands is not held up by what was written with it, nor is
/// one whose author is gone with it and signs no other.
pub(crate) fn lowered<'a>(
    old: &View,
    new: &View,
    accepted: &[Record],
    owners: impl Iterator<Item = (&'a StreamId, &'a SignPk)>,
) -> Vec<(StreamId, u32)> {
    owners
        .filter_map(|(stream, device)| {
            let StreamLimit::Cut(end) = new.membership.stream_limit(device, stream) else { return None };
            let before = old.membership.stream_limit(device, stream);
            let is_lower = before.takes(end.seq.saturating_add(1));
            let waits_for_nobody = accepted.iter().any(|record| removes(record, device, new) == Some(true));
            (is_lower && !waits_for_nobody).then_some((*stream, end.seq))
        })
        .collect()
}

/// Whether a record takes the right to write from a device, and if so whether at once: because it is in wrong hands, or
/// because nobody is there to look again. Who left by one relay and wrote by another would keep it from this one for ever.
fn removes(record: &Record, device: &SignPk, view: &View) -> Option<bool> {
    let author = view.membership.devices.get(&record.author());
    let is_alone = author.is_none_or(|author| author.removed_by.is_some());
    let member = view.membership.devices.get(device).map(|device| device.member);
    match record.body() {
        Body::DeviceRemove { device: gone, reason, .. } if gone == device => {
            Some(is_alone || *reason == RemoveReason::Compromised)
        }
        Body::MemberRemove { member: gone, reason, .. } if Some(*gone) == member => {
            Some(is_alone || *reason == RemoveReason::Compromised)
        }
        Body::RoleSet { member: other, .. } if Some(*other) == member => Some(is_alone),
        _ => None,
    }
}

/// The records that cut these streams too early.
pub(crate) fn too_early(
    streams: &[StreamId],
    view: &View,
    accepted: &[Record],
    owner: impl Fn(&StreamId) -> Option<SignPk>,
) -> Decided {
    let owners: Vec<SignPk> = streams.iter().filter_map(owner).collect();
    let early =
        accepted.iter().filter(|record| owners.iter().any(|device| removes(record, device, view) == Some(false)));
    early.map(|record| (record.id(), RecordStatus::CutBehind)).collect()
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::{HpkePk, MemberId, Signature, SpaceId};
    use lifeos_sync_protocol::limits::SPACE_RECORDS_MAX;
    use lifeos_sync_protocol::record::{DeviceEntry, DeviceKind, Unsigned, enrol_message};
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    const RANDOM: [u8; 32] = [5; 32];
    const MEMBER: MemberId = MemberId([5; 16]);

    struct Keys {
        pair: Ed25519KeyPair,
        pk: SignPk,
    }

    impl Keys {
        fn new(seed: u8) -> Self {
            let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
            let pk = SignPk::from_slice(pair.public_key().as_ref()).unwrap();
            Self { pair, pk }
        }

        fn sign(&self, message: &[u8]) -> Signature {
            Signature(self.pair.sign(message).as_ref().try_into().unwrap())
        }

        fn entry(&self, hpke_pk: HpkePk, kind: DeviceKind) -> DeviceEntry {
            let proof = self.sign(&enrol_message(&RANDOM, &MEMBER, kind, &self.pk, &hpke_pk));
            DeviceEntry { sign_pk: self.pk, hpke_pk, kind, proof }
        }

        fn record(&self, space: SpaceId, depth: u64, parents: &[RecordId], body: &Body) -> Record {
            let unsigned = Unsigned::new(space, self.pk, depth, parents, body).unwrap();
            let signature = self.sign(&unsigned.message());
            unsigned.sign_with(&signature).unwrap()
        }
    }

    fn genesis(founder: &Keys) -> Record {
        let body = Body::Genesis {
            random: RANDOM,
            member: MEMBER,
            device: founder.entry(HpkePk([1; 32]), DeviceKind::Normal),
            recovery: Keys::new(2).entry(HpkePk([2; 32]), DeviceKind::Recovery),
            relays: Vec::new(),
        };
        founder.record(SpaceId::ZERO, 0, &[], &body)
    }

    /// What becomes of a record that comes alone, and how many evaluations that takes.
    fn judged(set: &RecordSet, record: &Record) -> (Vec<RecordStatus>, u64) {
        let frame = [record.bytes().to_vec()];
        let judged = judge(set, &frame, &[], Decided::new(), None, &Limits::default(), 0).unwrap();
        (judged.results, judged.evaluations)
    }

    #[test]
    fn a_full_set_takes_no_record_and_one_of_another_space_is_refused_before_anything_is_evaluated() {
        let founder = Keys::new(1);
        let genesis = genesis(&founder);
        let body = Body::Unknown { kind: 0x70, body: vec![1] };
        let next = founder.record(genesis.space(), 1, &[genesis.id()], &body);
        let elsewhere = founder.record(SpaceId([9; 32]), 1, &[genesis.id()], &body);
        let mut set = RecordSet::new(genesis.space(), (&Limits::default()).into());
        (1..SPACE_RECORDS_MAX).for_each(|_| set.insert(genesis.clone()));
        assert_eq!(judged(&set, &elsewhere), (vec![RecordStatus::Refused], 0));
        assert_eq!(judged(&set, &next), (vec![RecordStatus::Ok], 1));
        set.insert(genesis);
        assert_eq!(judged(&set, &next), (vec![RecordStatus::Refused], 0));
    }
}
