//! The graph of a space's records: which have a complete past, what lies in whose past, what a peer lacks.
//!
//! Everything here goes by ids and parents; what a record *means* is [`crate::membership`]'s business.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{RecordId, SpaceId};
use crate::membership::VoidReason;
use crate::record::Record;

/// The records that no other record of the set names as a parent, ascending.
#[must_use]
pub fn heads<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<RecordId> {
    let (mut ids, mut named) = (BTreeSet::new(), BTreeSet::new());
    for record in records {
        ids.insert(record.id());
        named.extend(record.parents());
    }
    ids.difference(&named).copied().collect()
}

/// What a peer with these heads lacks: every record that is neither one of `heads` nor in the past of one,
/// parents first. Heads that are not in the set are skipped: the peer is ahead there.
///
/// Parents come first if depths are true, which they are for records that [`crate::membership::Membership`]
/// does not mark [`VoidReason::Depth`].
#[must_use]
pub fn records_after<'a>(records: impl IntoIterator<Item = &'a Record>, heads: &[RecordId]) -> Vec<&'a Record> {
    let mut lacking: BTreeMap<RecordId, &Record> = records.into_iter().map(|record| (record.id(), record)).collect();
    let mut held: Vec<RecordId> = heads.to_vec();
    while let Some(id) = held.pop() {
        if let Some(record) = lacking.remove(&id) {
            held.extend(record.parents());
        }
    }
    let mut lacking: Vec<&Record> = lacking.into_values().collect();
    lacking.sort_unstable_by_key(|record| order(record));
    lacking
}

/// The order in which records are judged: every parent before its children, equal everywhere.
fn order(record: &Record) -> (u64, RecordId) {
    (record.depth(), record.id())
}

/// A set of records by their number in a [`Dag`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IndexSet(Vec<u64>);

impl IndexSet {
    pub(crate) fn new(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    pub(crate) fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    pub(crate) fn contains(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }

    fn union_with(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(word, other)| word & other).collect())
    }
}

/// The records of one space that have their whole past here and a true depth, parents first.
pub(crate) struct Dag<'a> {
    records: Vec<&'a Record>,
    pasts: Vec<IndexSet>,
    /// Records outside the graph.
    pub(crate) unsound: BTreeMap<RecordId, VoidReason>,
}

impl<'a> Dag<'a> {
    pub(crate) fn build(space: &SpaceId, by_id: &BTreeMap<RecordId, &'a Record>) -> Self {
        let mut ordered: Vec<&Record> = by_id.values().copied().collect();
        ordered.sort_unstable_by_key(|record| order(record));
        let mut dag = Self { records: Vec::new(), pasts: Vec::new(), unsound: BTreeMap::new() };
        let mut index_of = BTreeMap::new();
        for record in ordered {
            match place(space, record, by_id, &index_of) {
                Ok(parents) => {
                    let mut past = IndexSet::new(by_id.len());
                    for parent in parents {
                        past.union_with(&dag.pasts[parent]);
                        past.insert(parent);
                    }
                    index_of.insert(record.id(), dag.records.len());
                    dag.records.push(record);
                    dag.pasts.push(past);
                }
                Err(reason) => {
                    dag.unsound.insert(record.id(), reason);
                }
            }
        }
        dag
    }

    pub(crate) fn record(&self, index: usize) -> &'a Record {
        self.records[index]
    }

    /// Everything before a record, without itself.
    pub(crate) fn past(&self, index: usize) -> &IndexSet {
        &self.pasts[index]
    }

    /// Numbers and records, parents first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &'a Record)> {
        self.records.iter().copied().enumerate()
    }

    /// An empty set of the right size.
    pub(crate) fn no_records(&self) -> IndexSet {
        self.pasts.first().map_or_else(|| IndexSet::new(0), |past| IndexSet::new(past.0.len() * 64))
    }
}

/// The numbers of a record's parents, or why it has no place in the graph.
fn place(
    space: &SpaceId,
    record: &Record,
    by_id: &BTreeMap<RecordId, &Record>,
    index_of: &BTreeMap<RecordId, usize>,
) -> Result<Vec<usize>, VoidReason> {
    if record.space() != *space {
        return Err(VoidReason::Space);
    }
    let known: Option<Vec<&Record>> = record.parents().iter().map(|id| by_id.get(id).copied()).collect();
    let known = known.ok_or(VoidReason::MissingParent)?;
    let depth = known.iter().map(|parent| parent.depth()).max().map_or(Some(0), |deepest| deepest.checked_add(1));
    if depth != Some(record.depth()) {
        return Err(VoidReason::Depth);
    }
    let placed: Option<Vec<usize>> = record.parents().iter().map(|id| index_of.get(id).copied()).collect();
    placed.ok_or(VoidReason::MissingParent)
}
