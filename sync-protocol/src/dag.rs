//! The graph of a space's records: which have a complete past, what lies in whose past, what a peer lacks.
//!
//! Everything here goes by ids and parents; what a record *means* is [`crate::membership`]'s business.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    lacking.sort_unstable_by_key(|record| record.order());
    lacking
}

/// A set of records by their number in a [`Dag`]. Equal sets have equal words: the last one is never zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct IndexSet(Vec<u64>);

impl IndexSet {
    pub(crate) fn insert(&mut self, index: usize) {
        if self.0.len() <= index / 64 {
            self.0.resize(index / 64 + 1, 0);
        }
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    pub(crate) fn contains(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    pub(crate) fn union_with(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    pub(crate) fn intersect_with(&mut self, other: &Self) {
        self.0.truncate(other.0.len());
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
        self.trim();
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let mut both = Self(self.0.iter().zip(&other.0).map(|(word, other)| word & other).collect());
        both.trim();
        both
    }

    /// What is here and not there.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        let mut rest = Self(self.0.iter().zip(others).map(|(word, other)| word & !other).collect());
        rest.trim();
        rest
    }

    pub(crate) fn is_subset(&self, other: &Self) -> bool {
        self.0.len() <= other.0.len() && self.0.iter().zip(&other.0).all(|(word, other)| word & !other == 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, word)| Ones(*word).map(move |bit| at * 64 + bit))
    }

    fn trim(&mut self) {
        let used = self.0.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        self.0.truncate(used);
    }
}

/// The numbers of a word's set bits.
struct Ones(u64);

impl Iterator for Ones {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit)
    }
}

/// Records of one space that have their whole past here and a true depth, in an order that has parents first.
#[derive(Debug, Clone)]
pub(crate) struct Dag<R> {
    records: Vec<R>,
    pasts: Vec<IndexSet>,
    index_of: HashMap<RecordId, usize>,
}

impl<R: Borrow<Record>> Dag<R> {
    pub(crate) fn new() -> Self {
        Self { records: Vec::new(), pasts: Vec::new(), index_of: HashMap::new() }
    }

    /// The past that a record would have, or why it has no place here.
    pub(crate) fn place(&self, space: &SpaceId, record: &Record) -> Result<IndexSet, VoidReason> {
        // Of a second Genesis, too: a Genesis is of the space that has its own id.
        if record.space() != *space {
            return Err(VoidReason::Space);
        }
        let parents: Option<Vec<usize>> = record.parents().iter().map(|id| self.index_of(id)).collect();
        let parents = parents.ok_or(VoidReason::MissingParent)?;
        if !is_depth_true(record, parents.iter().map(|parent| self.record(*parent))) {
            return Err(VoidReason::Depth);
        }
        let mut past = IndexSet::default();
        for parent in parents {
            past.union_with(&self.pasts[parent]);
            past.insert(parent);
        }
        Ok(past)
    }

    /// Adds a record with the past that [`Self::place`] found; its number.
    pub(crate) fn push(&mut self, record: R, past: IndexSet) -> usize {
        let index = self.records.len();
        self.index_of.insert(record.borrow().id(), index);
        self.records.push(record);
        self.pasts.push(past);
        index
    }

    pub(crate) fn record(&self, index: usize) -> &Record {
        self.records[index].borrow()
    }

    pub(crate) fn records(&self) -> &[R] {
        &self.records
    }

    /// Everything before a record, without itself.
    pub(crate) fn past(&self, index: usize) -> &IndexSet {
        &self.pasts[index]
    }

    pub(crate) fn index_of(&self, id: &RecordId) -> Option<usize> {
        self.index_of.get(id).copied()
    }

    /// Whether one record lies in the other's past.
    pub(crate) fn saw(&self, later: usize, earlier: usize) -> bool {
        self.pasts[later].contains(earlier)
    }

    /// The order of (depth, id).
    pub(crate) fn order(&self, index: usize) -> (u64, RecordId) {
        self.record(index).order()
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }
}

/// Whether the claimed depth is one more than the largest of the parents; 0 without parents.
pub(crate) fn is_depth_true<'r>(record: &Record, parents: impl Iterator<Item = &'r Record>) -> bool {
    let deepest = parents.map(Record::depth).max();
    deepest.map_or(Some(0), |deepest| deepest.checked_add(1)) == Some(record.depth())
}
