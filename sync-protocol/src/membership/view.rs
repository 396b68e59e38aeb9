//! From what a pass decided to the state that everybody asks.

use std::borrow::Borrow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::check::recipients;
use super::ledger::{Ledger, lasts};
use super::pass::{Node, Outcome};
use super::standing::Enrolled;
use super::{
    Checkpoint, Closed, Device, Epoch, Invite, Join, Member, Membership, Policy, StreamPoint, VoidReason, epoch_ref_of,
};
use crate::dag;
use crate::ids::{EpochRef, HpkePk, MemberId, RecordId, SignPk, StreamId};
use crate::record::{Body, Cut, DeviceKind, Record, Role, Seal};

pub(super) fn membership<R: Borrow<Record>>(ledger: &Ledger<R>, outcome: &Outcome) -> Membership {
    let view = View { ledger, outcome, effective: effective(ledger, outcome) };
    let mut state = Membership::empty(ledger.space, ledger.genesis_random);
    if let Body::Genesis { member, .. } = ledger.dag.record(0).body() {
        state.founder = *member;
    }
    state.devices = view.devices();
    state.members = view.members();
    (state.epochs, state.void) = view.epochs();
    state.void.extend(view.void());
    state.heads = dag::heads(ledger.records().iter().map(Borrow::borrow));
    state.depth = state.heads.iter().filter_map(|head| view.depth(head)).max().unwrap_or(0);
    state.hpke_keys = view.hpke_keys();
    for index in &view.effective {
        view.show(*index, &mut state);
    }
    for (checkpoint, said) in view.said() {
        view.weigh(checkpoint, said, &mut state);
    }
    state.policy = view.policy();
    state
}

/// In the order of (depth, id).
fn effective<R: Borrow<Record>>(ledger: &Ledger<R>, outcome: &Outcome) -> Vec<usize> {
    let mut effective: Vec<usize> = outcome.effective.iter().copied().collect();
    effective.sort_unstable_by_key(|index| ledger.dag.order(*index));
    effective
}

struct View<'a, R> {
    ledger: &'a Ledger<R>,
    outcome: &'a Outcome,
    effective: Vec<usize>,
}

impl<'a, R: Borrow<Record>> View<'a, R> {
    fn record(&self, index: usize) -> &'a Record {
        self.ledger.dag.record(index)
    }

    fn depth(&self, id: &RecordId) -> Option<u64> {
        Some(self.record(self.ledger.dag.index_of(id)?).depth())
    }

    fn member_of(&self, index: usize) -> Option<MemberId> {
        self.ledger.verdicts.get(index)?.as_ref().ok()?.member
    }

    fn void(&self) -> BTreeMap<RecordId, VoidReason> {
        let reason = |index: usize| match &self.ledger.verdicts[index] {
            Err(reason) => Some(*reason),
            Ok(_) if lasts(self.record(index).body()) || self.outcome.effective.contains(&index) => None,
            Ok(_) => Some(self.outcome.reasons.get(&index).copied().unwrap_or(VoidReason::AuthorRemoved)),
        };
        (0..self.ledger.dag.len()).filter_map(|index| Some((self.record(index).id(), reason(index)?))).collect()
    }

    /// Good epochs; of two with the same reference the smaller record.
    fn epochs(&self) -> (BTreeMap<EpochRef, Epoch>, BTreeMap<RecordId, VoidReason>) {
        let (mut epochs, mut void): (BTreeMap<EpochRef, Epoch>, _) = (BTreeMap::new(), BTreeMap::new());
        let mut indices = self.ledger.epochs.clone();
        indices.sort_unstable_by_key(|index| self.record(*index).id());
        for record in indices.into_iter().map(|index| self.record(index)) {
            let Body::Epoch { generation, parents, commit, seals, .. } = record.body() else { continue };
            let recipients = recipients(seals).unwrap_or_default();
            let (generation, parents, commit) = (*generation, parents.clone(), *commit);
            let granted = BTreeSet::new();
            let epoch = Epoch { record: record.id(), generation, parents, commit, recipients, granted };
            match epochs.entry(epoch_ref_of(&record.id())) {
                Entry::Vacant(place) => drop(place.insert(epoch)),
                Entry::Occupied(_) => drop(void.insert(record.id(), VoidReason::Conflict)),
            }
        }
        self.note_grants(&mut epochs);
        (epochs, void)
    }

    /// Whoever was granted an epoch holds it, whatever became of the record that gave it.
    fn note_grants(&self, epochs: &mut BTreeMap<EpochRef, Epoch>) {
        for index in (0..self.ledger.dag.len()).filter(|index| self.ledger.verdicts[*index].is_ok()) {
            let seals: Vec<(&EpochRef, &Seal)> = match self.record(index).body() {
                Body::KeyGrant { epoch, seals } => seals.iter().map(|seal| (epoch, seal)).collect(),
                Body::DeviceAdd { grants, .. } => grants.iter().map(|(epoch, seal)| (epoch, seal)).collect(),
                _ => continue,
            };
            for (epoch, seal) in seals {
                if let Some(epoch) = epochs.get_mut(epoch) {
                    epoch.granted.insert(seal.device_ref);
                }
            }
        }
    }

    fn hpke_keys(&self) -> BTreeSet<(HpkePk, SignPk)> {
        self.ledger.hpke.keys().copied().collect()
    }

    fn members(&self) -> BTreeMap<MemberId, Member> {
        let empty = |(id, seat): (&MemberId, &super::standing::Seat)| {
            (*id, Member { role: seat.role, devices: BTreeSet::new(), rank: seat.rank })
        };
        let mut members: BTreeMap<MemberId, Member> = self.outcome.members.iter().map(empty).collect();
        for (device, enrolled) in self.outcome.devices().iter().filter(|(_, enrolled)| enrolled.is_live) {
            if let Some(member) = members.get_mut(&enrolled.member) {
                member.devices.insert(*device);
            }
        }
        members
    }

    fn devices(&self) -> BTreeMap<SignPk, Device> {
        let mut nodes: BTreeMap<SignPk, Vec<&Node>> = BTreeMap::new();
        for node in &self.outcome.nodes {
            node.devices.keys().for_each(|device| nodes.entry(*device).or_default().push(node));
        }
        let refreshed = self.refreshed();
        let devices = self.outcome.devices();
        let device = |(key, enrolled): (&SignPk, &Enrolled)| {
            let nodes = nodes.get(key).map(Vec::as_slice).unwrap_or_default();
            let hpke_pk = refreshed.get(key).copied().unwrap_or(enrolled.hpke_pk);
            (*key, Device { hpke_pk, ..self.device(key, enrolled, nodes) })
        };
        devices.iter().map(device).collect()
    }

    /// The last HPKE key that each device named by itself.
    fn refreshed(&self) -> BTreeMap<SignPk, HpkePk> {
        let mut refreshed = BTreeMap::new();
        for record in self.effective.iter().map(|index| self.record(*index)) {
            if let Body::HpkeRefresh { hpke_pk } = record.body() {
                refreshed.insert(record.author(), *hpke_pk);
            }
        }
        refreshed
    }

    fn device(&self, key: &SignPk, enrolled: &Enrolled, nodes: &[&Node]) -> Device {
        let removers = |node: &&Node| {
            let single = node.device_removers.get(key).cloned().unwrap_or_default();
            node.removers.iter().copied().chain(single).collect::<Vec<_>>()
        };
        let removers: Vec<usize> =
            if enrolled.is_live { Vec::new() } else { nodes.iter().flat_map(removers).collect() };
        let removed_by = removers.iter().map(|removal| self.ledger.dag.order(*removal)).min().map(|(_, id)| id);
        let reads_only = self.outcome.members.get(&enrolled.member).is_some_and(|seat| seat.role == Role::Reader);
        let demotions = nodes.iter().flat_map(|node| &node.roles).copied();
        let demotions = demotions.filter(|set| self.gives(*set) == Some(Role::Reader));
        let cuts = match (enrolled.is_live, reads_only) {
            (false, _) => Some(self.cuts(removers)),
            (true, true) => Some(self.cuts(demotions.collect())),
            (true, false) => None,
        };
        let wrote = nodes.iter().flat_map(|node| node.roles.iter().chain([&node.grant]));
        let is_writer = enrolled.kind != DeviceKind::Recovery && wrote.copied().any(|index| self.gives_pen(index));
        Device {
            member: enrolled.member,
            hpke_pk: enrolled.hpke_pk,
            kind: enrolled.kind,
            removed_by,
            added_by: enrolled.since.1,
            cuts,
            is_writer,
            rank: enrolled.rank,
        }
    }

    /// The role that a record gives, if it gives one.
    fn gives(&self, index: usize) -> Option<Role> {
        match self.record(index).body() {
            Body::Genesis { .. } => Some(Role::Owner),
            Body::MemberAdd { role, .. } | Body::RoleSet { role, .. } | Body::Invite { role, .. } => Some(*role),
            Body::Join { invite, .. } => self.gives(self.ledger.dag.index_of(invite)?),
            _ => None,
        }
    }

    fn gives_pen(&self, index: usize) -> bool {
        self.gives(index).is_some_and(|role| role <= Role::Editor)
    }

    /// The largest cut of each stream that any of these records names.
    fn cuts(&self, records: Vec<usize>) -> BTreeMap<StreamId, StreamPoint> {
        let mut cuts: BTreeMap<StreamId, StreamPoint> = BTreeMap::new();
        for cut in records.into_iter().flat_map(|index| cuts_of(self.record(index).body())) {
            let known = cuts.entry(cut.stream).or_insert(StreamPoint::START);
            *known = (*known).max(StreamPoint { seq: cut.seq, id: cut.id });
        }
        cuts
    }

    /// Puts a record with effect where it shows.
    fn show(&self, index: usize, state: &mut Membership) {
        let record = self.record(index);
        match record.body() {
            Body::Invite { invite_pk, role, expires_ms, uses_max, auto_seal } => {
                let invite = Invite {
                    invite_pk: *invite_pk,
                    role: *role,
                    expires_ms: *expires_ms,
                    uses_max: *uses_max,
                    uses: self.outcome.uses.get(&index).copied().unwrap_or(0),
                    auto_epoch: auto_seal.as_ref().map(|(epoch, _)| *epoch),
                    is_revoked: self.outcome.revoked.contains(&index),
                    author: record.author(),
                };
                state.invites.insert(record.id(), invite);
            }
            Body::Join { invite, member, devices, .. } => {
                let is_own = |device: &SignPk| state.devices.get(device).is_some_and(|known| known.member == *member);
                let is_admitted = devices.iter().any(|d| state.may_read(&d.sign_pk) && is_own(&d.sign_pk));
                state.joins.insert(record.id(), Join { invite: *invite, member: *member, is_admitted });
            }
            Body::Checkpoint { previous, cut, .. } => {
                let Some(member) = self.member_of(index) else { return };
                let (maker, previous, cut) = (record.author(), previous.clone(), cut.clone());
                let (endorsed_by, objections) = (BTreeSet::new(), BTreeSet::new());
                let checkpoint = Checkpoint { maker, member, previous, cut, endorsed_by, objections };
                state.checkpoints.insert(record.id(), checkpoint);
            }
            Body::ForkProof { .. } => {
                let Some(fork) = record.body().fork(&self.ledger.space) else { return };
                let point = StreamPoint { seq: fork.seq, id: fork.id };
                let known = state.forks.entry(fork.stream).or_insert(point);
                *known = (*known).min(point);
            }
            Body::Close { successor } if state.closed.is_none() => {
                state.closed = Some(Closed { record: record.id(), successor: *successor });
            }
            _ => {}
        }
    }

    /// What is said about checkpoints.
    fn said(&self) -> impl Iterator<Item = (RecordId, usize)> {
        self.effective.iter().filter_map(|index| match self.record(*index).body() {
            Body::Endorse { checkpoint } | Body::Object { checkpoint, .. } => Some((*checkpoint, *index)),
            _ => None,
        })
    }

    /// What is said counts while the device that says it is in force.
    fn weigh(&self, checkpoint: RecordId, said: usize, state: &mut Membership) {
        let record = self.record(said);
        let is_in_force = state.may_read(&record.author());
        let Some(checkpoint) = state.checkpoints.get_mut(&checkpoint).filter(|_| is_in_force) else { return };
        match record.body() {
            Body::Endorse { .. } => drop(checkpoint.endorsed_by.insert(record.author())),
            Body::Object { .. } => drop(checkpoint.objections.insert(record.id())),
            _ => {}
        }
    }

    /// The rules that no other rules have seen; the first in order of (depth, id) of these.
    fn policy(&self) -> Option<Policy> {
        let is_policy = |index: &usize| matches!(self.record(*index).body(), Body::Policy { .. });
        let mut head: Vec<usize> = Vec::new();
        for index in self.effective.iter().rev().copied().filter(is_policy) {
            if !head.iter().any(|later| self.ledger.dag.saw(*later, index)) {
                head.push(index);
            }
        }
        let record = self.record(*head.last()?);
        let Body::Policy { rotation_days, grace_days, endorse_k, relays } = record.body() else { return None };
        let (rotation_days, grace_days, endorse_k) = (*rotation_days, *grace_days, *endorse_k);
        Some(Policy { record: record.id(), rotation_days, grace_days, endorse_k, relays: relays.clone() })
    }
}

fn cuts_of(body: &Body) -> &[Cut] {
    match body {
        Body::DeviceRemove { cuts, .. } | Body::MemberRemove { cuts, .. } | Body::RoleSet { cuts, .. } => cuts,
        _ => &[],
    }
}
