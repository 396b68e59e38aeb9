//! Taking one grant: what its member's devices do to each other, then what they do to others.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Hits, Order, Pass};
use crate::ids::{MemberId, SignPk};
use crate::membership::standing::{Claim, DeviceRef, Enrolled, claim_of, device_ref};
use crate::membership::{Rank, VoidReason};
use crate::record::{Body, DeviceEntry, DeviceKind, Record, Role};

/// A grant that was taken. It vouches for the devices that its author saw, and for those that they add.
#[derive(Debug)]
pub(in crate::membership) struct Node {
    pub(in crate::membership) grant: usize,
    pub(in crate::membership) member: MemberId,
    pub(in crate::membership) rank: Rank,
    /// Devices that are or were enrolled through it.
    pub(in crate::membership) devices: BTreeMap<SignPk, Enrolled>,
    /// Role records that apply.
    pub(in crate::membership) roles: Vec<usize>,
    /// Removals of the member that apply.
    pub(in crate::membership) removers: Vec<usize>,
    /// Removals of single devices that apply.
    pub(in crate::membership) device_removers: BTreeMap<SignPk, Vec<usize>>,
    /// Records by which the member left or stepped down by itself.
    pub(super) departures: Vec<usize>,
    /// Whether the member would be an Owner but for these.
    pub(super) would_own: bool,
}

/// What enrols a device through one grant.
#[derive(Debug, Clone, Copy)]
struct Root {
    kind: DeviceKind,
    hpke_pk: crate::ids::HpkePk,
    since: Order,
}

/// One grant while it is taken.
struct Taking {
    grant: usize,
    member: MemberId,
    rank: Rank,
    /// Devices that come with the grant.
    roots: BTreeMap<SignPk, Root>,
    /// Good records by the member that have seen the grant and are not decided.
    open: Vec<usize>,
    /// Removals of the member that the grant had not seen.
    member_hits: Hits,
    /// Removals among the member's own devices.
    device_hits: HashMap<SignPk, Hits>,
    departures: Vec<usize>,
    /// For each enrolled device the records that enrol it, the grant for those that come with it.
    support: BTreeMap<SignPk, Vec<usize>>,
}

impl<'a, R: Borrow<Record>> Pass<'a, R> {
    pub(super) fn take(&mut self, grant: usize) {
        let Some(mut taking) = self.begin(grant) else { return };
        taking.support = self.supports(&taking);
        let inner = self.settle_inner(&mut taking);
        self.keep_added(&taking);
        let mut node = Node {
            grant,
            member: taking.member,
            rank: taking.rank,
            devices: BTreeMap::new(),
            roles: Vec::new(),
            removers: taking.member_hits.records.clone(),
            device_removers: BTreeMap::new(),
            departures: std::mem::take(&mut taking.departures),
            would_own: false,
        };
        for index in std::mem::take(&mut taking.open) {
            let is_inner = inner.contains(&index) || self.adds_own(index, &taking.member).is_some();
            if !is_inner && self.is_supported(&taking, index) && self.is_spared(&taking, index) {
                self.decide(index, &mut node);
            }
        }
        self.close(&taking, node);
    }

    /// Nothing for a grant whose author had not seen a removal of the member by somebody more senior.
    fn begin(&mut self, grant: usize) -> Option<Taking> {
        let (Body::Genesis { member, .. }
        | Body::MemberAdd { member, .. }
        | Body::Join { member, .. }
        | Body::RoleSet { member, .. }) = self.body(grant)
        else {
            return None;
        };
        let person = self.people.get(member)?;
        let mut member_hits = Hits::default();
        for removal in person.hits.iter().copied().filter(|removal| !self.saw(grant, *removal)) {
            member_hits.add(self.ledger, removal);
        }
        if !member_hits.spares(grant) {
            self.void(grant, VoidReason::AuthorRemoved);
            return None;
        }
        let is_open = |index: &usize| self.saw(*index, grant) && !self.out.effective.contains(index);
        let open = person.records.iter().copied().filter(is_open).collect();
        let roots = self.roots(grant);
        Some(Taking {
            grant,
            member: *member,
            rank: self.rank(grant),
            roots,
            open,
            member_hits,
            device_hits: HashMap::new(),
            departures: Vec::new(),
            support: BTreeMap::new(),
        })
    }

    /// The devices that come with a grant. Of those that a promotion vouches for, the ones whose keys somebody more
    /// senior gave away are missing.
    fn roots(&mut self, grant: usize) -> BTreeMap<SignPk, Root> {
        if let Some(promoted) = self.fact(grant).and_then(|fact| fact.promoted.as_ref()) {
            let mut roots = BTreeMap::new();
            for (device, known) in promoted {
                let claim: Claim = (*device, known.member, known.hpke_pk, known.kind);
                if *self.claims.entry(device_ref(device)).or_insert(claim) == claim {
                    roots.insert(*device, Root { kind: known.kind, hpke_pk: known.hpke_pk, since: known.since });
                }
            }
            return roots;
        }
        let since = self.ledger.dag.order(grant);
        let root = |device: &DeviceEntry| Root { kind: device.kind, hpke_pk: device.hpke_pk, since };
        self.body(grant).devices().map(|device| (device.sign_pk, root(device))).collect()
    }

    /// The device that a record adds to its author's own member.
    fn adds_own(&self, index: usize, own: &MemberId) -> Option<&'a DeviceEntry> {
        match self.body(index) {
            Body::DeviceAdd { member, device, .. } if member == own => Some(device),
            _ => None,
        }
    }

    /// Whether the record's author is enrolled through this grant, as the record's past has it.
    fn is_supported(&self, taking: &Taking, index: usize) -> bool {
        let roots = taking.support.get(&self.author(index));
        roots.is_some_and(|roots| roots.iter().any(|root| *root == taking.grant || self.saw(index, *root)))
    }

    /// Whether every removal of its author had seen the record.
    fn is_spared(&self, taking: &Taking, index: usize) -> bool {
        let author = self.author(index);
        let spares = |hits: Option<&Hits>| hits.is_none_or(|hits| hits.spares(index));
        taking.member_hits.spares(index)
            && spares(self.device_hits.get(&author))
            && spares(taking.device_hits.get(&author))
    }

    /// Which devices are enrolled, with what the member's devices add among themselves, parents first.
    fn supports(&self, taking: &Taking) -> BTreeMap<SignPk, Vec<usize>> {
        let mut support: BTreeMap<SignPk, Vec<usize>> =
            taking.roots.keys().map(|device| (*device, vec![taking.grant])).collect();
        let given = self.people.get(&taking.member).map(|person| person.added.as_slice()).unwrap_or_default();
        for index in given.iter().copied().filter(|index| self.saw(*index, taking.grant)) {
            if let Some(device) = self.adds_own(index, &taking.member) {
                support.entry(device.sign_pk).or_default().push(index);
            }
        }
        let mut claims: HashMap<DeviceRef, Claim> = HashMap::new();
        for index in taking.open.iter().copied() {
            let Some(device) = self.adds_own(index, &taking.member) else { continue };
            let roots = support.get(&self.author(index));
            let is_supported =
                roots.is_some_and(|roots| roots.iter().any(|root| *root == taking.grant || self.saw(index, *root)));
            if !is_supported || !self.is_spared(taking, index) {
                continue;
            }
            let (short, claim) = claim_of(&taking.member, device);
            if self.claims.get(&short).or(claims.get(&short)).is_some_and(|known| *known != claim) {
                continue;
            }
            claims.insert(short, claim);
            support.entry(device.sign_pk).or_default().push(index);
        }
        support
    }

    /// Removals within the member, the elder device's first: recovery devices, then in order of enrolment. What is
    /// settled stays; all that were looked at are returned.
    fn settle_inner(&mut self, taking: &mut Taking) -> BTreeSet<usize> {
        let elder = |index: usize| {
            let author = self.author(index);
            let (kind, since) = self.seniority(taking, &author)?;
            Some((kind != DeviceKind::Recovery, since, author, self.ledger.dag.order(index), index))
        };
        let inner = taking.open.iter().copied().filter(|index| self.is_inner_removal(*index, &taking.member));
        let mut inner: Vec<_> = inner.filter_map(elder).collect();
        inner.sort_unstable();
        let inner: Vec<usize> = inner.into_iter().map(|(.., index)| index).collect();
        for index in &inner {
            self.settle_one(*index, taking);
        }
        inner.into_iter().collect()
    }

    fn is_inner_removal(&self, index: usize, member: &MemberId) -> bool {
        let removes = matches!(self.body(index), Body::DeviceRemove { .. } | Body::MemberRemove { .. });
        removes && self.fact(index).is_some_and(|fact| fact.target.as_ref() == Some(member))
    }

    /// A device's kind and since when it is enrolled.
    fn seniority(&self, taking: &Taking, device: &SignPk) -> Option<(DeviceKind, Order)> {
        let roots = taking.support.get(device)?;
        let come = taking.roots.get(device).map(|root| (root.kind, root.since));
        let added = roots.iter().filter(|root| **root != taking.grant).filter_map(|root| {
            let device = self.adds_own(*root, &taking.member)?;
            Some((device.kind, self.ledger.dag.order(*root)))
        });
        come.into_iter().chain(added).min_by_key(|(_, since)| *since)
    }

    fn settle_one(&mut self, index: usize, taking: &mut Taking) {
        if self.kept.contains(&index) {
            self.void(index, VoidReason::LastOwner);
            taking.departures.push(index);
            return;
        }
        if !self.is_supported(taking, index) || !self.is_spared(taking, index) {
            return;
        }
        let Body::DeviceRemove { device, .. } = self.body(index) else {
            taking.member_hits.add(self.ledger, index);
            taking.departures.push(index);
            taking.support = self.supports(taking);
            self.take_effect(index);
            return;
        };
        taking.device_hits.entry(*device).or_default().add(self.ledger, index);
        let voids_added = taking.open.iter().any(|add| {
            self.adds_own(*add, &taking.member).is_some() && self.author(*add) == *device && !self.saw(index, *add)
        });
        if voids_added {
            taking.support = self.supports(taking);
        }
        self.take_effect(index);
    }

    fn keep_added(&mut self, taking: &Taking) {
        let added = taking.support.values().flatten().copied().filter(|root| *root != taking.grant);
        for index in added.collect::<BTreeSet<usize>>() {
            if taking
                .open
                .binary_search_by_key(&self.ledger.dag.order(index), |open| self.ledger.dag.order(*open))
                .is_ok()
            {
                self.take_effect(index);
                self.claim(index);
            }
        }
    }

    /// A record that nothing hits, by a device of a taken grant.
    fn decide(&mut self, index: usize, node: &mut Node) {
        let body = self.body(index);
        let fact = self.fact(index);
        let target = fact.and_then(|fact| fact.target);
        let is_other = target.is_some_and(|target| target != node.member);
        let is_owner = is_other && fact.is_some_and(|fact| fact.targets_owner);
        let needed = if is_owner { Role::Owner } else { needed_role(body, is_other) };
        if self.is_demoted(index, node, needed) || self.role_at(index, node) > needed {
            return self.void(index, VoidReason::AuthorRemoved);
        }
        if let Some(target) = target.filter(|_| is_other)
            && self.is_all_taken(index, &target)
        {
            return self.void(index, VoidReason::Seniority);
        }
        if let Body::MemberAdd { member, .. } = body
            && self.is_above(member, index, node)
        {
            return self.void(index, VoidReason::Seniority);
        }
        let is_own_role = matches!(body, Body::RoleSet { .. }) && !is_other;
        if is_own_role {
            node.departures.push(index);
            if self.kept.contains(&index) {
                return self.void(index, VoidReason::LastOwner);
            }
        }
        if !self.claim(index) {
            return self.void(index, VoidReason::KeyReused);
        }
        self.take_effect(index);
        self.reach(index);
    }

    /// Whether somebody more senior took the needed role away beside the record. What the record had seen is in the
    /// role at its past, where a later record may have given it back.
    fn is_demoted(&self, index: usize, node: &Node, needed: Role) -> bool {
        let is_beside = |set: usize| set != index && !self.saw(set, index) && !self.saw(index, set);
        let takes_away = |set: &usize| is_beside(*set) && self.role(*set) > needed && !self.is_of(*set, &node.member);
        self.applied(node).iter().any(takes_away)
    }

    /// The member's role at a record's past, as far as it was decided by more senior ones. As in the end, role records
    /// count that apply to the most senior grant in force; a removal that had seen the record changes nothing of it.
    fn role_at(&self, index: usize, node: &Node) -> Role {
        let nodes = self.people.get(&node.member).map(|person| person.nodes.as_slice()).unwrap_or_default();
        let stood = |other: &&Node| {
            self.saw(index, other.grant) && !other.removers.iter().any(|removal| self.saw(index, *removal))
        };
        let known: Vec<&Node> = nodes.iter().map(|at| &self.out.nodes[*at]).filter(stood).collect();
        let senior = known.iter().filter(|other| other.rank < node.rank).min_by_key(|other| other.rank);
        let sets = senior.map_or_else(|| self.applied(node), |senior| senior.roles.clone());
        let sets = sets.into_iter().filter(|set| self.saw(index, *set));
        let grants = known.iter().map(|other| other.grant);
        self.role_of(grants.chain(sets).chain([node.grant]).collect())
    }

    /// Whether the target is more senior by now in all that the record knew of it.
    fn is_all_taken(&self, index: usize, target: &MemberId) -> bool {
        let grants = self.people.get(target).map(|person| person.grants.as_slice()).unwrap_or_default();
        grants.iter().all(|grant| self.taken.contains(grant) || !self.saw(index, *grant))
    }

    /// Whether a member has a grant in force beside a record that is more senior than the record's author: nobody
    /// admits such a member again, with less. A later grant has seen the record, and leaves it as it was.
    fn is_above(&self, member: &MemberId, index: usize, node: &Node) -> bool {
        let nodes = self.people.get(member).map(|person| person.nodes.as_slice()).unwrap_or_default();
        let beside = nodes.iter().map(|at| &self.out.nodes[*at]).filter(|other| !self.saw(other.grant, index));
        let mut in_force = beside.filter(|other| other.removers.is_empty());
        in_force.any(|other| other.rank < node.rank)
    }

    /// What a record with effect does to others.
    fn reach(&mut self, index: usize) {
        match self.body(index) {
            Body::MemberAdd { .. } => self.push(index),
            Body::DeviceAdd { member, .. } => self.people.entry(*member).or_default().added.push(index),
            Body::DeviceRemove { device, .. } => {
                self.device_hits.entry(*device).or_default().add(self.ledger, index);
            }
            Body::MemberRemove { member, .. } => self.people.entry(*member).or_default().hits.push(index),
            Body::RoleSet { member, .. } => {
                self.people.entry(*member).or_default().role_sets.push(index);
                if self.fact(index).is_some_and(|fact| fact.promoted.is_some()) {
                    self.push(index);
                }
            }
            Body::Invite { .. } => {
                self.out.uses.insert(index, 0);
                let joins = self.joins.get(&index).cloned().unwrap_or_default();
                joins.into_iter().for_each(|join| self.push(join));
            }
            Body::InviteRevoke { invite } => {
                if let Some(invite) = self.ledger.dag.index_of(invite) {
                    self.revokes.entry(invite).or_default().add(self.ledger, index);
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, taking: &Taking, mut node: Node) {
        for device in taking.support.keys() {
            let hits = [self.device_hits.get(device), taking.device_hits.get(device)];
            let removers: Vec<usize> = hits.into_iter().flatten().flat_map(|hits| hits.records.clone()).collect();
            if let Some(enrolled) = self.enrolled(taking, device, removers.is_empty()) {
                node.devices.insert(*device, enrolled);
                node.device_removers.insert(*device, removers);
            }
        }
        for (device, hits) in &taking.device_hits {
            let known = self.device_hits.entry(*device).or_default();
            hits.records.iter().for_each(|removal| known.add(self.ledger, *removal));
        }
        let left = taking.member_hits.records.iter().copied().filter(|removal| self.is_of(*removal, &node.member));
        let left: Vec<usize> = left.collect();
        node.roles = self.applied(&node);
        let at = self.out.nodes.len();
        let person = self.people.entry(node.member).or_default();
        person.hits.extend(left.iter().filter(|removal| !person.hits.contains(removal)).copied().collect::<Vec<_>>());
        person.nodes.push(at);
        self.out.nodes.push(node);
    }

    fn enrolled(&self, taking: &Taking, device: &SignPk, is_spared: bool) -> Option<Enrolled> {
        let (kind, since) = self.seniority(taking, device)?;
        let come = taking.roots.get(device).map(|root| root.hpke_pk);
        let added = || taking.support.get(device)?.iter().find_map(|root| self.adds_own(*root, &taking.member));
        let hpke_pk = come.or_else(|| added().map(|device| device.hpke_pk))?;
        let is_live = is_spared && taking.member_hits.records.is_empty();
        Some(Enrolled { member: taking.member, hpke_pk, kind, is_live, since, rank: taking.rank })
    }
}

/// The role that a record calls for, whatever its author's device.
const fn needed_role(body: &Body, is_other: bool) -> Role {
    match body {
        Body::MemberAdd { role, .. } => giver(*role),
        Body::RoleSet { role, .. } if is_other => giver(*role),
        Body::DeviceAdd { .. } | Body::DeviceRemove { .. } | Body::MemberRemove { .. } if is_other => Role::Admin,
        Body::Invite { .. } | Body::InviteRevoke { .. } => Role::Admin,
        Body::Policy { .. } | Body::Close { .. } => Role::Owner,
        Body::Checkpoint { .. } | Body::Object { .. } => Role::Editor,
        _ => Role::Reader,
    }
}

/// Who may give a role.
const fn giver(role: Role) -> Role {
    match role {
        Role::Owner | Role::Admin => Role::Owner,
        Role::Editor | Role::Reader => Role::Admin,
    }
}
