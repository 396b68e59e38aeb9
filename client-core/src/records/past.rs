//! Which of some records each record has in its past: one bit for every pair, filled in one pass over all of them.

use std::collections::{BTreeSet, HashMap};

use lifeos_sync_protocol::ids::RecordId;
use lifeos_sync_protocol::record::Record;

/// Bits in a word of the table.
const WORD_BITS: usize = 64;

/// What every record of a space knows of the marked ones. A record that is not here knows nothing.
pub(super) struct Pasts {
    /// Bits by marked record.
    marks: HashMap<RecordId, usize>,
    /// Rows by record.
    rows: HashMap<RecordId, usize>,
    /// Words in a row.
    words: usize,
    table: Vec<u64>,
}

impl Pasts {
    /// Looks through all records, in any order, for these.
    pub(super) fn of(records: &[Record], marked: BTreeSet<RecordId>) -> Self {
        let words = marked.len().div_ceil(WORD_BITS);
        let marks = marked.into_iter().enumerate().map(|(bit, id)| (id, bit)).collect();
        let mut pasts = Self { marks, rows: HashMap::new(), words, table: Vec::new() };
        if words > 0 {
            let mut ordered: Vec<&Record> = records.iter().collect();
            // Parents first: whatever has a place in the graph is deeper than all of them.
            ordered.sort_by_key(|record| record.depth());
            pasts.table.reserve_exact(words * ordered.len());
            ordered.into_iter().for_each(|record| pasts.add(record));
        }
        pasts
    }

    fn add(&mut self, record: &Record) {
        let begin = self.table.len();
        self.table.resize(begin + self.words, 0);
        for row in record.parents().iter().filter_map(|parent| self.rows.get(parent)) {
            let (before, own) = self.table.split_at_mut(begin);
            let parent = before.iter().skip(row * self.words);
            own.iter_mut().zip(parent).for_each(|(own, parent)| *own |= parent);
        }
        if let Some(bit) = self.marks.get(&record.id())
            && let Some(word) = self.table.get_mut(begin + bit / WORD_BITS)
        {
            *word |= 1 << (bit % WORD_BITS);
        }
        self.rows.insert(record.id(), begin / self.words);
    }

    /// Whether a record is the marked one, or has it in its past.
    pub(super) fn knows(&self, record: &RecordId, marked: &RecordId) -> bool {
        let (Some(row), Some(bit)) = (self.rows.get(record), self.marks.get(marked)) else { return false };
        self.table.get(row * self.words + bit / WORD_BITS).is_some_and(|word| word >> (bit % WORD_BITS) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::SpaceId;
    use lifeos_sync_protocol::record::Body;

    use super::*;
    use crate::crypto::SeededRandom;
    use crate::keys::DeviceRoot;
    use crate::records::sign;

    /// 70 branches, each of two records, and one record that joins the first two of them.
    #[test]
    fn a_record_knows_itself_and_what_its_branches_hold_and_nothing_beside_them() {
        let keys = DeviceRoot::generate(&mut SeededRandom::new(3)).derive_space(&[5; 32]);
        let write = |depth, parents: &[RecordId], number: u8| {
            sign(&keys, SpaceId([1; 32]), depth, parents, &Body::Endorse { checkpoint: RecordId([number; 32]) })
                .unwrap()
        };
        let root = write(1, &[RecordId([9; 32])], 0);
        let first: Vec<_> = (1..=70).map(|number| write(2, &[root.id()], number)).collect();
        let second: Vec<_> = (71..=140).map(|number| write(3, &[first[number - 71].id()], number as u8)).collect();
        let mut heads = [second[0].id(), second[1].id()];
        heads.sort_unstable();
        let join = write(4, &heads, 200);
        // Children first: the order of arrival says nothing.
        let all: Vec<_> = [&join].into_iter().chain(&second).chain(&first).chain([&root]).cloned().collect();
        let marked = first.iter().chain([&root, &join]).map(Record::id).collect();
        let pasts = Pasts::of(&all, marked);
        for (at, branch) in first.iter().enumerate() {
            assert!(pasts.knows(&branch.id(), &branch.id()) && pasts.knows(&branch.id(), &root.id()));
            assert!(!pasts.knows(&root.id(), &branch.id()) && !pasts.knows(&branch.id(), &join.id()));
            for (other, tip) in second.iter().enumerate() {
                assert_eq!(pasts.knows(&tip.id(), &branch.id()), at == other, "{at} {other}");
            }
            assert_eq!(pasts.knows(&join.id(), &branch.id()), at < 2);
        }
        assert!(!pasts.knows(&join.id(), &second[0].id()), "it is not marked");
        assert!(!pasts.knows(&RecordId([9; 32]), &root.id()), "it is not here");
        assert!(!Pasts::of(&all, BTreeSet::new()).knows(&join.id(), &root.id()));
    }

    /// `cargo test -p lifeos-client-core --lib -- --ignored --nocapture prints_what_ten_thousand_records_know`
    #[test]
    #[ignore = "prints figures"]
    fn prints_what_ten_thousand_records_know_of_a_thousand_costs() {
        let keys = DeviceRoot::generate(&mut SeededRandom::new(3)).derive_space(&[5; 32]);
        let mut all: Vec<Record> = Vec::new();
        for number in 0..10_000_u32 {
            let parent = all.last().map_or(RecordId([9; 32]), Record::id);
            let body = Body::Endorse { checkpoint: RecordId([1; 32]) };
            all.push(sign(&keys, SpaceId([1; 32]), u64::from(number) + 1, &[parent], &body).unwrap());
        }
        let marked = all.iter().step_by(10).map(Record::id).collect();
        let started = std::time::Instant::now();
        let pasts = Pasts::of(&all, marked);
        println!("{:?}", started.elapsed());
        assert!(pasts.knows(&all[9_999].id(), &all[0].id()));
    }
}
