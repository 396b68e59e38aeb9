//! A space's records at the relay, and the membership they give.
//!
//! A record is judged in its own causal past, which nothing that arrives later changes: what can never count there
//! is refused. A record that this version cannot judge is kept, because others may cite it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lifeos_sync_protocol::dag;
use lifeos_sync_protocol::ids::{EpochRef, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::limits::SPACE_RECORDS_MAX;
use lifeos_sync_protocol::membership::{Membership, MembershipError};
use lifeos_sync_protocol::record::Record;
use tokio::sync::oneshot;

use crate::limits::Limits;
use crate::store::{Job, RecordJob, RecordTarget, Store, StoreError};

/// Membership in force, with what every push asks for.
#[derive(Debug)]
pub(crate) struct View {
    /// The evaluated state.
    pub(crate) membership: Membership,
    /// The epoch that content should be sealed under.
    pub(crate) current_epoch: Option<EpochRef>,
}

impl View {
    fn new(membership: Membership) -> Self {
        let current_epoch = membership.current_epoch();
        Self { membership, current_epoch }
    }

    /// Devices that may connect.
    pub(crate) fn readers(&self) -> Vec<SignPk> {
        let membership = &self.membership;
        membership.devices.keys().filter(|device| membership.may_read(device)).copied().collect()
    }
}

/// What is decided about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Store it.
    Accept {
        /// It has no effect in this version.
        idle: bool,
    },
    /// It is stored.
    Known,
    /// A parent is missing.
    Orphan,
    /// Never.
    Refuse,
}

/// All records of a space, parents first.
#[derive(Debug, Clone)]
pub(crate) struct RecordSet {
    space: SpaceId,
    records: Vec<Arc<Record>>,
    index: HashMap<RecordId, usize>,
    bytes: u64,
    /// Records by author that only a later version gives an effect.
    idle: HashMap<SignPk, Idle>,
    budget: RecordBudget,
}

/// What the records of a space may take.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RecordBudget {
    bytes_max: u64,
    idle: Idle,
}

/// Records of one author without effect.
#[derive(Debug, Clone, Copy, Default)]
struct Idle {
    count: usize,
    bytes: u64,
}

impl From<&Limits> for RecordBudget {
    fn from(limits: &Limits) -> Self {
        let idle = Idle { count: limits.author_idle_records_max, bytes: limits.author_idle_record_bytes_max };
        Self { bytes_max: limits.space_record_bytes_max, idle }
    }
}

impl RecordSet {
    /// Nothing yet.
    pub(crate) fn new(space: SpaceId, budget: RecordBudget) -> Self {
        Self { space, records: Vec::new(), index: HashMap::new(), bytes: 0, idle: HashMap::new(), budget }
    }

    /// Stored `records`, in an order that has parents first, and the membership they give.
    pub(crate) fn load(
        space: SpaceId,
        records: Vec<Record>,
        budget: RecordBudget,
    ) -> Result<(Self, View), MembershipError> {
        let mut set = Self::new(space, budget);
        records.into_iter().for_each(|record| set.insert(record, false));
        let view = set.view()?;
        for record in &set.records {
            if view.membership.void.get(&record.id()).is_some_and(|reason| !reason.is_refusable()) {
                book_idle(&mut set.idle, record);
            }
        }
        Ok((set, view))
    }

    /// Adds an accepted record; `idle` as its verdict says.
    pub(crate) fn insert(&mut self, record: Record, idle: bool) {
        if idle {
            book_idle(&mut self.idle, &record);
        }
        self.bytes += record.bytes().len() as u64;
        self.index.insert(record.id(), self.records.len());
        self.records.push(Arc::new(record));
    }

    /// Records that no other one names as a parent, ascending.
    pub(crate) fn heads(&self) -> Vec<RecordId> {
        dag::heads(self.records.iter().map(Arc::as_ref))
    }

    /// The membership all records together give.
    pub(crate) fn view(&self) -> Result<View, MembershipError> {
        Membership::evaluate(&self.space, self.records.iter().map(Arc::as_ref)).map(View::new)
    }

    /// Decides about a record that may be new.
    pub(crate) fn judge(&self, record: &Record) -> Verdict {
        if self.index.contains_key(&record.id()) {
            return Verdict::Known;
        }
        let full =
            self.records.len() >= SPACE_RECORDS_MAX || self.bytes + record.bytes().len() as u64 > self.budget.bytes_max;
        if record.space() != self.space || full {
            return Verdict::Refuse;
        }
        let Some(past) = self.past(record) else { return Verdict::Orphan };
        let past = past.into_iter().map(|index| self.records[index].as_ref());
        let Ok(state) = Membership::evaluate(&self.space, past.chain([record])) else { return Verdict::Refuse };
        match state.void.get(&record.id()) {
            Some(reason) if reason.is_refusable() => {
                tracing::debug!(?reason, "a record is refused");
                Verdict::Refuse
            }
            Some(_) if self.is_idle_full(record) => Verdict::Refuse,
            reason => Verdict::Accept { idle: reason.is_some() },
        }
    }

    /// Whether the author has as many records without effect as it may.
    fn is_idle_full(&self, record: &Record) -> bool {
        let idle = self.idle.get(&record.author()).copied().unwrap_or_default();
        idle.count >= self.budget.idle.count || idle.bytes + record.bytes().len() as u64 > self.budget.idle.bytes
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

fn book_idle(idle: &mut HashMap<SignPk, Idle>, record: &Record) {
    let idle = idle.entry(record.author()).or_default();
    idle.count += 1;
    idle.bytes += record.bytes().len() as u64;
}

/// Makes records durable.
pub(crate) async fn store_records(
    store: &Store,
    target: RecordTarget,
    records: &[Record],
    readers: Vec<SignPk>,
) -> Result<(), StoreError> {
    let (done, stored) = oneshot::channel();
    let records = records.iter().map(|record| (record.id(), record.bytes().to_vec())).collect();
    // Who waits may be gone when the commit is done; the records are stored all the same.
    let reply = Box::new(move |result| {
        let _ = done.send(result);
    });
    store.submit(Job::Records(RecordJob { target, records, readers, reply }));
    stored.await.unwrap_or(Err(StoreError::Stopped)).map(|_| ())
}
