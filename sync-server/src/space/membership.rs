//! A space's records at the relay, and what they may take of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lifeos_sync_protocol::dag;
use lifeos_sync_protocol::ids::{MemberId, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::limits::SPACE_RECORDS_MAX;
use lifeos_sync_protocol::membership::{Membership, MembershipError, VoidReason};
use lifeos_sync_protocol::record::{Body, Record};

use super::View;
use crate::limits::Limits;

/// All records of a space, parents first.
#[derive(Debug, Clone)]
pub(crate) struct RecordSet {
    space: SpaceId,
    records: Vec<Arc<Record>>,
    index: HashMap<RecordId, usize>,
    ledger: Ledger,
}

impl RecordSet {
    /// Nothing yet.
    pub(crate) fn new(space: SpaceId, budget: RecordBudget) -> Self {
        Self { space, records: Vec::new(), index: HashMap::new(), ledger: Ledger::new(budget) }
    }

    /// Stored `records`, in an order that has parents first, and the membership they give.
    pub(crate) fn load(
        space: SpaceId,
        records: Vec<Record>,
        budget: RecordBudget,
    ) -> Result<(Self, View), MembershipError> {
        let mut set = Self::new(space, budget);
        records.into_iter().for_each(|record| set.insert(record));
        let view = set.view()?;
        for record in &set.records {
            let idle = view.membership.void.get(&record.id()).is_some_and(is_idle);
            set.ledger.book(record, &view, idle);
        }
        Ok((set, view))
    }

    /// Appends a record whose parents are here; booking it is the caller's business.
    pub(super) fn insert(&mut self, record: Record) {
        self.index.insert(record.id(), self.records.len());
        self.records.push(Arc::new(record));
    }

    pub(super) const fn space(&self) -> &SpaceId {
        &self.space
    }

    pub(crate) fn holds(&self, id: &RecordId) -> bool {
        self.index.contains_key(id)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn set_ledger(&mut self, ledger: Ledger) {
        self.ledger = ledger;
    }

    /// Records that no other one names as a parent, ascending.
    pub(crate) fn heads(&self) -> Vec<RecordId> {
        dag::heads(self.records.iter().map(Arc::as_ref))
    }

    /// The membership all records together give.
    pub(crate) fn view(&self) -> Result<View, MembershipError> {
        Membership::evaluate(&self.space, self.records.iter().map(Arc::as_ref)).map(View::new)
    }

    /// Whether a record that is here can never count in its own past, whatever else there is: what every relay
    /// refuses alike. Costs an evaluation of that past.
    pub(super) fn is_never_valid(&self, record: &Record) -> bool {
        let Some(past) = self.past(record) else { return true };
        let past = past.into_iter().map(|index| self.records[index].as_ref());
        let Ok(state) = Membership::evaluate(&self.space, past.chain([record])) else { return true };
        let reason = state.void.get(&record.id());
        if let Some(reason) = reason {
            tracing::debug!(?reason, "a record has no effect in its own past");
        }
        reason.is_some_and(|reason| reason.is_refusable())
    }

    /// Indices of all ancestors, or nothing when one is missing.
    fn past(&self, record: &Record) -> Option<HashSet<usize>> {
        let mut past = HashSet::new();
        let mut open: Vec<RecordId> = record.parents().to_vec();
        while let Some(id) = open.pop() {
            let index = *self.index.get(&id)?;
            if past.insert(index) {
                open.extend_from_slice(self.records[index].parents());
            }
        }
        Some(past)
    }

    /// Records that are neither in `heads` nor ancestors of them, parents first.
    pub(crate) fn beyond(&self, heads: &[RecordId]) -> Vec<Arc<Record>> {
        let mut held = HashSet::new();
        let mut open: Vec<usize> = heads.iter().filter_map(|id| self.index.get(id).copied()).collect();
        while let Some(index) = open.pop() {
            if held.insert(index) {
                open.extend(self.records[index].parents().iter().filter_map(|id| self.index.get(id).copied()));
            }
        }
        let missing = self.records.iter().enumerate().filter(|(index, _)| !held.contains(index));
        missing.map(|(_, record)| Arc::clone(record)).collect()
    }

    /// The named records that are here, parents first.
    pub(crate) fn named(&self, ids: &[RecordId]) -> Vec<Arc<Record>> {
        let mut indices: Vec<usize> = ids.iter().filter_map(|id| self.index.get(id).copied()).collect();
        indices.sort_unstable();
        indices.dedup();
        indices.into_iter().map(|index| Arc::clone(&self.records[index])).collect()
    }
}

/// Whether a record without effect is kept for what may make it count: a later version, or records to come.
pub(super) fn is_idle(reason: &VoidReason) -> bool {
    !reason.is_refusable() || *reason == VoidReason::AuthorRemoved
}

/// What the records of a space may take.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RecordBudget {
    /// All of them.
    all: Used,
    /// All but those that Owners and Admins must always be able to write.
    unreserved: Used,
    /// Those of one author that have no effect.
    idle: Used,
    /// Those of one member who is neither Owner nor Admin.
    member: Used,
    /// Devices that such a member adds.
    device_adds: usize,
}

/// Records, counted.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    count: usize,
    bytes: u64,
}

impl Used {
    fn with(self, record: &Record) -> Self {
        Self { count: self.count + 1, bytes: self.bytes + record.bytes().len() as u64 }
    }

    const fn is_within(&self, budget: &Self) -> bool {
        self.count <= budget.count && self.bytes <= budget.bytes
    }

    fn percent(self, percent: u8) -> Self {
        let share = usize::from(percent.min(100));
        Self { count: self.count / 100 * share, bytes: self.bytes / 100 * share as u64 }
    }
}

impl From<&Limits> for RecordBudget {
    fn from(limits: &Limits) -> Self {
        let all = Used { count: SPACE_RECORDS_MAX, bytes: limits.space_record_bytes_max };
        Self {
            all,
            unreserved: all.percent(100_u8.saturating_sub(limits.records_reserved_percent)),
            idle: Used { count: limits.author_idle_records_max, bytes: limits.author_idle_record_bytes_max },
            member: Used { count: limits.member_records_max, bytes: limits.member_record_bytes_max },
            device_adds: limits.member_device_adds_max,
        }
    }
}

/// Who has used how much of a [`RecordBudget`].
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    budget: RecordBudget,
    all: Used,
    idle: HashMap<SignPk, Used>,
    /// By who pays.
    payers: HashMap<Payer, Used>,
    /// DeviceAdds by the member that wrote them.
    device_adds: HashMap<MemberId, usize>,
}

impl Ledger {
    fn new(budget: RecordBudget) -> Self {
        Self { budget, all: Used::default(), idle: HashMap::new(), payers: HashMap::new(), device_adds: HashMap::new() }
    }

    /// Books a record if there is room for it.
    pub(super) fn admit(&mut self, record: &Record, view: &View, idle: bool) -> bool {
        let steward = view.is_steward(&record.author());
        let all = if steward && is_reserved(record.body()) { self.budget.all } else { self.budget.unreserved };
        let used = |used: Option<&Used>| used.copied().unwrap_or_default().with(record);
        let fits = used(Some(&self.all)).is_within(&all)
            && (!idle || used(self.idle.get(&record.author())).is_within(&self.budget.idle))
            && (steward || used(self.payers.get(&payer(record, view))).is_within(&self.budget.member))
            && (steward || self.may_add_device(record, view));
        if fits {
            self.book(record, view, idle);
        }
        fits
    }

    fn may_add_device(&self, record: &Record, view: &View) -> bool {
        let added = adder(record, view).and_then(|member| self.device_adds.get(&member));
        added.is_none_or(|added| *added < self.budget.device_adds)
    }

    fn book(&mut self, record: &Record, view: &View, idle: bool) {
        self.all = self.all.with(record);
        if let Some(member) = adder(record, view) {
            *self.device_adds.entry(member).or_default() += 1;
        }
        let payer = self.payers.entry(payer(record, view)).or_default();
        *payer = payer.with(record);
        if idle {
            let author = self.idle.entry(record.author()).or_default();
            *author = author.with(record);
        }
    }
}

/// Whose budget a record uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Payer {
    Member(MemberId),
    /// Requests to join by one invitation: whoever fills this one up closes no other. Also what those write whom it let
    /// in without anybody's approval: who has a link makes as many members as it lets in, and no more budgets.
    Invite(RecordId),
    /// All authors that are in no membership.
    Strangers,
}

fn payer(record: &Record, view: &View) -> Payer {
    if let Body::Join { invite, .. } = record.body() {
        return Payer::Invite(*invite);
    }
    let Some(author) = view.membership.devices.get(&record.author()) else { return Payer::Strangers };
    view.link_of(&author.member).map_or(Payer::Member(author.member), Payer::Invite)
}

/// The member that adds a device.
fn adder(record: &Record, view: &View) -> Option<MemberId> {
    let author = || view.membership.devices.get(&record.author()).map(|device| device.member);
    if let Body::DeviceAdd { .. } = record.body() { author() } else { None }
}

/// What Owners and Admins must be able to say however full the space is.
const fn is_reserved(body: &Body) -> bool {
    matches!(
        body,
        Body::DeviceRemove { .. }
            | Body::MemberRemove { .. }
            | Body::RoleSet { .. }
            | Body::Epoch { .. }
            | Body::KeyGrant { .. }
            | Body::InviteRevoke { .. }
            | Body::Close { .. }
    )
}
