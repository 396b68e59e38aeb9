//! A space's records at the relay, in the order in which they came.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lifeos_sync_protocol::dag;
use lifeos_sync_protocol::ids::{RecordId, SpaceId};
use lifeos_sync_protocol::membership::{Membership, MembershipError, VoidReason};
use lifeos_sync_protocol::record::Record;

use super::View;
use super::budget::{Arrivals, Ledger, RecordBudget};

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
        let arrivals = Arrivals { records: &set.records, index: &set.index };
        for record in &set.records {
            let idle = view.membership.void.get(&record.id()).is_some_and(is_idle);
            set.ledger.book(record, &view, idle, arrivals);
        }
        Ok((set, view))
    }

    /// Takes in records that another relay has judged and stored, parents first; the membership that all give.
    pub(super) fn take_in(&mut self, records: Vec<Record>) -> Result<(View, Vec<Record>), MembershipError> {
        let mut grown = self.clone();
        let new: Vec<Record> = records.into_iter().filter(|record| !grown.holds(&record.id())).collect();
        new.iter().cloned().for_each(|record| grown.insert(record));
        let view = grown.view()?;
        let arrivals = Arrivals { records: &grown.records, index: &grown.index };
        for record in &new {
            let idle = view.membership.void.get(&record.id()).is_some_and(is_idle);
            grown.ledger.book(record, &view, idle, arrivals);
        }
        *self = grown;
        Ok((view, new))
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

    pub(super) fn arrivals(&self) -> Arrivals<'_> {
        Arrivals { records: &self.records, index: &self.index }
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
        let membership = Membership::evaluate(&self.space, self.records.iter().map(Arc::as_ref))?;
        Ok(View::new(membership).with_checkpoints(&self.records))
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
