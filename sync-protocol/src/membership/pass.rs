//! The pass by seniority: which good records keep their effect beside one another (docs/PROTOCOL.md, "Membership").
//!
//! ```text
//! grants, most senior first ──► take one ──► what its member's devices removed of their own ──► its other records
//!        ▲                       (hits by more senior ones are all known)                              │
//!        └──────────────────────── grants it gives, always less senior ◄───────────────────────────────┘
//! ```
//!
//! A grant is an admission or a promotion to a higher class. A removal reaches only grants that are taken later,
//! so nobody reaches a senior, nothing is decided twice, and the order of arrival cannot matter.

mod grant;

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

pub(super) use self::grant::Node;
use super::check::Fact;
use super::ledger::{Ledger, lasts};
use super::standing::{Claim, DeviceRef, Enrolled, Offer, Seat, Standing, claim_of};
use super::{Rank, VoidReason};
use crate::dag::IndexSet;
use crate::ids::{MemberId, RecordId, SignPk};
use crate::record::{Body, Record, Role};

/// What a pass decides.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Grants in force once, most senior first.
    pub(super) nodes: Vec<Node>,
    /// Records with effect, those that last excepted.
    pub(super) effective: HashSet<usize>,
    /// Why others have none, where it is not that their author was removed.
    pub(super) reasons: HashMap<usize, VoidReason>,
    /// Joins that count, by invite.
    pub(super) uses: BTreeMap<usize, u32>,
    pub(super) revoked: HashSet<usize>,
    pub(super) members: BTreeMap<MemberId, Seat>,
    /// What keys were claimed as, also by admissions that fell.
    pub(super) claims: HashMap<DeviceRef, Claim>,
}

/// What the pass knows of a member.
#[derive(Debug, Default)]
struct Person {
    /// Good records by its devices, in order.
    records: Vec<usize>,
    /// Good records that admit or promote it.
    grants: Vec<usize>,
    /// Good records that remove it.
    removes: Vec<usize>,
    /// Removals of it with effect so far.
    hits: Vec<usize>,
    /// Role records about it with effect so far.
    role_sets: Vec<usize>,
    /// Devices that others gave it.
    added: Vec<usize>,
    /// Its grants taken so far.
    nodes: Vec<usize>,
}

/// Removals of one thing. A record survives them if every one of them has seen it.
#[derive(Debug, Clone, Default)]
struct Hits {
    records: Vec<usize>,
    /// What all of them have seen, themselves included.
    seen: Option<IndexSet>,
}

impl Hits {
    fn add<R: Borrow<Record>>(&mut self, ledger: &Ledger<R>, removal: usize) {
        let mut seen = ledger.dag.past(removal).clone();
        seen.insert(removal);
        match &mut self.seen {
            Some(all) => all.intersect_with(&seen),
            None => self.seen = Some(seen),
        }
        self.records.push(removal);
    }

    fn spares(&self, record: usize) -> bool {
        self.seen.as_ref().is_none_or(|seen| seen.contains(record))
    }
}

struct Pass<'a, R> {
    ledger: &'a Ledger<R>,
    /// Departures that do not count, because they would leave the space without an Owner.
    kept: &'a HashSet<usize>,
    queue: BinaryHeap<Reverse<(Rank, usize)>>,
    taken: HashSet<usize>,
    people: HashMap<MemberId, Person>,
    /// Joins by invite.
    joins: HashMap<usize, Vec<usize>>,
    revokes: HashMap<usize, Hits>,
    device_hits: HashMap<SignPk, Hits>,
    claims: HashMap<DeviceRef, Claim>,
    out: Outcome,
}

/// Settles good records that hold the whole past of each of them. If the last Owners left without knowing of each
/// other, the most junior of those stays who is an Owner then: whoever was admitted with less at the same time, too,
/// may not be.
pub(super) fn settle<R: Borrow<Record>>(ledger: &Ledger<R>, mut records: Vec<usize>) -> Outcome {
    records.sort_unstable_by_key(|index| ledger.dag.order(*index));
    let outcome = Pass::run(ledger, &records, &HashSet::new());
    let has_owner = |outcome: &Outcome| outcome.members.values().any(|seat| seat.role == Role::Owner);
    if has_owner(&outcome) {
        return outcome;
    }
    let leavers = outcome.nodes.iter().filter(|node| node.would_own);
    let mut leavers: Vec<(Rank, MemberId)> = leavers.map(|node| (node.rank, node.member)).collect();
    leavers.sort_unstable_by_key(|(rank, _)| Reverse(*rank));
    let mut again =
        leavers.into_iter().map(|(_, stays)| Pass::run(ledger, &records, &departures(ledger, &records, stays)));
    again.find(has_owner).unwrap_or(outcome)
}

/// Good records by which a member leaves or steps down by itself.
fn departures<R: Borrow<Record>>(ledger: &Ledger<R>, records: &[usize], member: MemberId) -> HashSet<usize> {
    let departs = |index: &usize| {
        let is_kind = match ledger.dag.record(*index).body() {
            Body::MemberRemove { .. } => true,
            Body::RoleSet { role, .. } => *role != Role::Owner,
            _ => false,
        };
        let fact = ledger.verdicts[*index].as_ref().ok().filter(|_| is_kind);
        fact.is_some_and(|fact| fact.member == Some(member) && fact.target == Some(member))
    };
    records.iter().copied().filter(departs).collect()
}

impl<'a, R: Borrow<Record>> Pass<'a, R> {
    fn run(ledger: &'a Ledger<R>, records: &[usize], kept: &'a HashSet<usize>) -> Outcome {
        let mut pass = Self {
            ledger,
            kept,
            queue: BinaryHeap::new(),
            taken: HashSet::new(),
            people: HashMap::new(),
            joins: HashMap::new(),
            revokes: HashMap::new(),
            device_hits: HashMap::new(),
            claims: HashMap::new(),
            out: Outcome::default(),
        };
        records.iter().for_each(|index| pass.sort_in(*index));
        if let Some(genesis) = records.first() {
            pass.out.effective.insert(*genesis);
            pass.claim(*genesis);
            pass.push(*genesis);
        }
        while let Some(Reverse((_, grant))) = pass.queue.pop() {
            pass.taken.insert(grant);
            let is_join = matches!(pass.body(grant), Body::Join { .. });
            if !is_join || pass.take_join(grant) {
                pass.take(grant);
            }
        }
        pass.finish();
        pass.out.claims = pass.claims;
        pass.out
    }

    fn body(&self, index: usize) -> &'a Body {
        self.ledger.dag.record(index).body()
    }

    fn author(&self, index: usize) -> SignPk {
        self.ledger.dag.record(index).author()
    }

    fn fact(&self, index: usize) -> Option<&'a Fact> {
        self.ledger.verdicts.get(index)?.as_ref().ok()
    }

    fn is_of(&self, index: usize, member: &MemberId) -> bool {
        self.fact(index).is_some_and(|fact| fact.member.as_ref() == Some(member))
    }

    fn saw(&self, later: usize, earlier: usize) -> bool {
        self.ledger.dag.saw(later, earlier)
    }

    fn sort_in(&mut self, index: usize) {
        let body = self.body(index);
        if lasts(body) {
            return;
        }
        let Some(fact) = self.fact(index) else { return };
        match body {
            Body::Genesis { member, .. } | Body::MemberAdd { member, .. } | Body::Join { member, .. } => {
                self.people.entry(*member).or_default().grants.push(index);
            }
            Body::RoleSet { member, .. } if fact.promoted.is_some() => {
                self.people.entry(*member).or_default().grants.push(index);
            }
            Body::MemberRemove { member, .. } => self.people.entry(*member).or_default().removes.push(index),
            _ => {}
        }
        match body {
            Body::Genesis { .. } => {}
            Body::Join { invite, .. } => {
                if let Some(invite) = self.ledger.dag.index_of(invite) {
                    self.joins.entry(invite).or_default().push(index);
                }
            }
            _ => {
                if let Some(member) = fact.member {
                    self.people.entry(member).or_default().records.push(index);
                }
            }
        }
    }

    fn void(&mut self, index: usize, reason: VoidReason) {
        self.out.effective.remove(&index);
        self.out.reasons.insert(index, reason);
    }

    fn take_effect(&mut self, index: usize) {
        self.out.effective.insert(index);
        self.out.reasons.remove(&index);
    }

    /// What a grant gives.
    fn role(&self, grant: usize) -> Role {
        match self.body(grant) {
            Body::MemberAdd { role, .. } | Body::RoleSet { role, .. } | Body::Invite { role, .. } => *role,
            Body::Join { invite, .. } => {
                self.ledger.dag.index_of(invite).map_or(Role::Reader, |invite| self.role(invite))
            }
            _ => Role::Owner,
        }
    }

    fn rank(&self, grant: usize) -> Rank {
        let (depth, id) = self.ledger.dag.order(grant);
        match self.body(grant) {
            Body::Genesis { .. } => Rank::founder(id),
            _ => Rank::granted(self.role(grant), depth, id),
        }
    }

    fn push(&mut self, grant: usize) {
        self.queue.push(Reverse((self.rank(grant), grant)));
    }

    /// Counts a join against its invite; whether it admits its member by itself. Whether the invite had uses left was
    /// looked at in the join's own past: what others ask for beside it puts nobody out.
    fn take_join(&mut self, join: usize) -> bool {
        let Body::Join { invite, .. } = self.body(join) else { return false };
        let Some(invite) = self.ledger.dag.index_of(invite) else { return false };
        let Body::Invite { auto_seal, .. } = self.body(invite) else { return false };
        if self.revokes.get(&invite).is_some_and(|revokes| !revokes.spares(join)) {
            self.void(join, VoidReason::Invite);
            return false;
        }
        if auto_seal.is_some() && !self.claim(join) {
            self.void(join, VoidReason::KeyReused);
            return false;
        }
        let uses = self.out.uses.entry(invite).or_default();
        *uses = uses.saturating_add(1);
        self.take_effect(join);
        auto_seal.is_some()
    }

    /// Claims the keys that a record enrols, all or none.
    fn claim(&mut self, index: usize) -> bool {
        let body = self.body(index);
        let (Body::Genesis { member, .. }
        | Body::MemberAdd { member, .. }
        | Body::DeviceAdd { member, .. }
        | Body::Join { member, .. }) = body
        else {
            return true;
        };
        let claims: Vec<(DeviceRef, Claim)> = body.devices().map(|device| claim_of(member, device)).collect();
        let is_free = |(short, claim): &(DeviceRef, Claim)| self.claims.get(short).is_none_or(|known| known == claim);
        let all_free = claims.iter().all(is_free);
        if all_free {
            self.claims.extend(claims);
        }
        all_free
    }

    /// The lowest privilege among role records that no other of them has seen.
    fn role_of(&self, records: BTreeSet<usize>) -> Role {
        let mut records: Vec<usize> = records.into_iter().collect();
        records.sort_unstable_by_key(|index| Reverse(self.ledger.dag.order(*index)));
        let mut heads: Vec<usize> = Vec::new();
        for index in records {
            if !heads.iter().any(|head| self.saw(*head, index)) {
                heads.push(index);
            }
        }
        heads.into_iter().map(|head| self.role(head)).max().unwrap_or(Role::Reader)
    }

    /// Role records about a node's member that its grant had not seen, and that speak of this stay: whoever left
    /// and came back does not bring an old role along.
    fn applied(&self, node: &Node) -> Vec<usize> {
        let Some(person) = self.people.get(&node.member) else { return Vec::new() };
        let left: Vec<usize> = person.removes.iter().copied().filter(|x| self.saw(node.grant, *x)).collect();
        let speaks = |set: &usize| !self.saw(node.grant, *set) && left.iter().all(|x| self.saw(*set, *x));
        person.role_sets.iter().copied().filter(speaks).collect()
    }

    fn finish(&mut self) {
        for person in self.people.values() {
            let mut live: Vec<&Node> = person.nodes.iter().map(|at| &self.out.nodes[*at]).collect();
            live.retain(|node| node.removers.is_empty());
            let Some(first) = live.iter().min_by_key(|node| node.rank) else { continue };
            let records = live.iter().map(|node| node.grant).chain(first.roles.iter().copied()).collect();
            self.out.members.insert(first.member, Seat { role: self.role_of(records), rank: first.rank });
        }
        if self.kept.is_empty() {
            let would_own: Vec<bool> = self.out.nodes.iter().map(|node| self.would_own(node)).collect();
            self.out.nodes.iter_mut().zip(would_own).for_each(|(node, would)| node.would_own = would);
        }
        let revoked = self.revokes.iter().filter(|(_, hits)| !hits.records.is_empty()).map(|(invite, _)| *invite);
        self.out.revoked = revoked.collect();
    }

    /// Whether the member would be an Owner still, had it not left or stepped down by itself.
    fn would_own(&self, node: &Node) -> bool {
        let stayed = |node: &&Node| node.removers.iter().all(|x| node.departures.contains(x));
        if node.departures.is_empty() || !stayed(&node) {
            return false;
        }
        let Some(person) = self.people.get(&node.member) else { return false };
        let nodes: Vec<&Node> = person.nodes.iter().map(|at| &self.out.nodes[*at]).filter(stayed).collect();
        if nodes.iter().map(|node| node.rank).min() != Some(node.rank) {
            return false;
        }
        let by_others = node.roles.iter().copied().filter(|set| !self.is_of(*set, &node.member));
        self.role_of(nodes.iter().map(|node| node.grant).chain(by_others).collect()) == Role::Owner
    }
}

impl Outcome {
    /// The standing that these records give.
    pub(super) fn standing<R: Borrow<Record>>(&self, ledger: &Ledger<R>) -> Standing {
        let mut standing = Standing { members: self.members.clone(), ..Standing::default() };
        if let Body::Genesis { member, .. } = ledger.dag.record(0).body() {
            standing.founder = Some(*member);
        }
        standing.devices = self.devices();
        let fell = self.claims.iter().filter(|(_, (device, ..))| !standing.devices.contains_key(device));
        standing.claimed = fell.map(|(short, claim)| (*short, *claim)).collect();
        for (invite, uses) in &self.uses {
            let record = ledger.dag.record(*invite);
            if let Body::Invite { invite_pk, role, uses_max, auto_seal, .. } = record.body() {
                let (invite_pk, role, uses, uses_max) = (*invite_pk, *role, *uses, *uses_max);
                let (is_auto, is_revoked) = (auto_seal.is_some(), self.revoked.contains(invite));
                let offer = Offer { invite_pk, role, is_auto, uses, uses_max, is_revoked };
                standing.offers.insert(record.id(), offer);
            }
        }
        standing
    }

    /// All devices that were ever enrolled. One in force anywhere is in force; its rank is the best it has there.
    pub(super) fn devices(&self) -> BTreeMap<SignPk, Enrolled> {
        let mut devices: BTreeMap<SignPk, Enrolled> = BTreeMap::new();
        for (device, enrolled) in self.nodes.iter().flat_map(|node| &node.devices) {
            let known = devices.entry(*device).or_insert(*enrolled);
            known.since = known.since.min(enrolled.since);
            if enrolled.is_live && known.is_live {
                known.rank = known.rank.min(enrolled.rank);
            } else if enrolled.is_live {
                (known.is_live, known.rank) = (true, enrolled.rank);
            }
        }
        devices
    }
}

/// The record's id, for orders that must be equal everywhere.
pub(super) type Order = (u64, RecordId);
