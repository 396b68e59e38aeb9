//! Which key generations stand: Epoch and KeyGrant.

use std::collections::{BTreeMap, BTreeSet};

use super::enrol::{Candidates, DeviceRef, Enrolments, writes};
use super::{Epoch, VoidReason};
use crate::dag::{Dag, IndexSet};
use crate::ids::{EpochRef, RecordId};
use crate::record::{Body, Record, Seal, Wrap};

/// Judges epochs and grants over the enrolments of the whole set.
pub(super) struct Epochs<'a, 'r> {
    dag: &'a Dag<'r>,
    candidates: &'a Candidates,
    enrolments: &'a Enrolments,
    /// The smallest record of each epoch reference: a larger one with the same reference loses.
    owners: BTreeMap<EpochRef, RecordId>,
    /// Readers by the enrolling records in a past; few pasts differ in these.
    readers: BTreeMap<IndexSet, Vec<DeviceRef>>,
    /// Where each valid epoch stands in the graph.
    indices: BTreeMap<EpochRef, usize>,
    pub(super) valid: BTreeMap<EpochRef, Epoch>,
}

impl<'a, 'r> Epochs<'a, 'r> {
    pub(super) fn new(dag: &'a Dag<'r>, candidates: &'a Candidates, enrolments: &'a Enrolments) -> Self {
        let mut owners = BTreeMap::new();
        for (_, record) in dag.iter().filter(|(_, record)| matches!(record.body(), Body::Epoch { .. })) {
            let owner = owners.entry(epoch_ref(&record.id())).or_insert(record.id());
            *owner = record.id().min(*owner);
        }
        Self {
            dag,
            candidates,
            enrolments,
            owners,
            readers: BTreeMap::new(),
            indices: BTreeMap::new(),
            valid: BTreeMap::new(),
        }
    }

    /// Judges an Epoch; its parents have been judged before.
    pub(super) fn judge_epoch(&mut self, index: usize, record: &Record) -> Result<(), VoidReason> {
        let Body::Epoch { generation, parents, commit, wraps, seals } = record.body() else { return Ok(()) };
        self.check_author(index)?;
        let reference = epoch_ref(&record.id());
        if self.owners.get(&reference) != Some(&record.id()) {
            return Err(VoidReason::Conflict);
        }
        self.check_parents(index, *generation, parents, wraps)?;
        let recipients = recipients(seals).ok_or(VoidReason::Recipients)?;
        if recipients != self.readers_at(index) {
            return Err(VoidReason::Recipients);
        }
        let (record, commit) = (record.id(), *commit);
        let epoch = Epoch { record, generation: *generation, parents: parents.clone(), commit, recipients };
        self.indices.insert(reference, index);
        self.valid.insert(reference, epoch);
        Ok(())
    }

    /// Judges a KeyGrant: a known epoch, sealed to enrolled devices, each once.
    pub(super) fn judge_grant(&self, index: usize, record: &Record) -> Result<(), VoidReason> {
        let Body::KeyGrant { epoch, seals } = record.body() else { return Ok(()) };
        self.check_author(index)?;
        let past = self.dag.past(index);
        if !self.indices.get(epoch).is_some_and(|epoch| past.contains(*epoch)) {
            return Err(VoidReason::Conflict);
        }
        let recipients = recipients(seals).ok_or(VoidReason::Recipients)?;
        let all_enrolled = recipients.iter().all(|short| self.enrolments.device_by_ref_at(short, past).is_some());
        if all_enrolled { Ok(()) } else { Err(VoidReason::Recipients) }
    }

    fn check_author(&self, index: usize) -> Result<(), VoidReason> {
        let author = self.enrolments.author(self.dag, index)?;
        let role = self.enrolments.roles.get(&author.member).ok_or(VoidReason::NoAuthority)?;
        if writes(*role, author.kind) { Ok(()) } else { Err(VoidReason::NoAuthority) }
    }

    /// The parents are all heads of the epochs in the record's past, each is wrapped, and the generation is one
    /// more than the largest of theirs (1 for the first): whoever holds the newest secret can open everything.
    fn check_parents(
        &self,
        index: usize,
        generation: u32,
        parents: &[EpochRef],
        wraps: &[Wrap],
    ) -> Result<(), VoidReason> {
        let heads = self.heads_at(self.dag.past(index));
        let named: BTreeSet<EpochRef> = parents.iter().copied().collect();
        let wrapped: BTreeSet<EpochRef> = wraps.iter().map(|wrap| wrap.parent).collect();
        let is_set = named.len() == parents.len() && wrapped.len() == wraps.len();
        if !is_set || named != heads || wrapped != heads {
            return Err(VoidReason::Conflict);
        }
        let newest = heads.iter().filter_map(|head| self.valid.get(head)).map(|epoch| epoch.generation).max();
        if newest.unwrap_or(0).checked_add(1) == Some(generation) { Ok(()) } else { Err(VoidReason::Conflict) }
    }

    fn heads_at(&self, past: &IndexSet) -> BTreeSet<EpochRef> {
        let inside = |reference: &&EpochRef| self.indices.get(reference).is_some_and(|index| past.contains(*index));
        heads(self.valid.keys().filter(inside).filter_map(|reference| Some((reference, self.valid.get(reference)?))))
    }

    fn readers_at(&mut self, index: usize) -> Vec<DeviceRef> {
        let enrolling = self.candidates.within(self.dag.past(index));
        if let Some(readers) = self.readers.get(&enrolling) {
            return readers.clone();
        }
        let readers = Enrolments::evaluate(self.dag, self.candidates, &enrolling).reader_refs();
        self.readers.insert(enrolling, readers.clone());
        readers
    }
}

/// The epochs that none of the others names as a parent.
pub(super) fn heads<'e>(epochs: impl Iterator<Item = (&'e EpochRef, &'e Epoch)>) -> BTreeSet<EpochRef> {
    let (mut references, mut named) = (BTreeSet::new(), BTreeSet::new());
    for (reference, epoch) in epochs {
        references.insert(*reference);
        named.extend(epoch.parents.iter().copied());
    }
    references.difference(&named).copied().collect()
}

/// First 16 bytes of the record id.
pub(super) fn epoch_ref(record: &RecordId) -> EpochRef {
    let mut short = EpochRef::ZERO;
    short.0.copy_from_slice(&record.0[..EpochRef::BYTES]);
    short
}

/// The devices of the seals, ascending; nothing if one is named twice.
fn recipients(seals: &[Seal]) -> Option<Vec<DeviceRef>> {
    let mut short: Vec<DeviceRef> = seals.iter().map(|seal| seal.device_ref).collect();
    short.sort_unstable();
    short.is_sorted_by(|a, b| a < b).then_some(short)
}
