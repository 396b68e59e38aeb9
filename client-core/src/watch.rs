//! A list that is kept up to date: the first rows of a query's answer, and what to do to them when documents change.
//!
//! ```text
//! kept, in the order of the query ─┬─ shown: the first `limit`, which the reader has
//!                                  └─ spare: move up when rows above them go, so that the query is asked anew seldom
//! ```
//! What is kept is always exactly the beginning of the answer. A document that changed is put where it belongs now, or
//! taken out; one that belongs behind what is kept is left out, because nobody knows what else lies there.

use std::cmp::Ordering;
use std::collections::HashMap;

use lifeos_sync_protocol::ids::DocId;

/// Spare rows at least.
const SPARE_MIN: usize = 16;

/// A row in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Item<P, T> {
    /// The document's row id on this device.
    pub row_id: i64,
    /// The document.
    pub doc: DocId,
    /// What it is ordered by; no two rows of an answer have the same.
    pub place: P,
    /// What the reader sees.
    pub row: T,
}

/// What is to be done to a list; positions count from 0, in the list as the changes before have left it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum RowChange<T> {
    /// Take out the row at this position.
    Removed {
        /// Where it was.
        at: usize,
    },
    /// Put this row in.
    Added {
        /// Where it is then.
        at: usize,
        /// The row.
        row: T,
    },
    /// Take the row out and put it in again, as it is now.
    Moved {
        /// Where it was.
        from: usize,
        /// Where it is then, counted without it.
        to: usize,
        /// The row.
        row: T,
    },
    /// The row at this position is another one now.
    Changed {
        /// Where it is.
        at: usize,
        /// The row.
        row: T,
    },
}

/// What a reader is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListChange<T> {
    /// The whole list: the first that is told, and whenever that is less than what changed.
    Reset(Vec<T>),
    /// What to do to the list, in this order; never empty.
    Rows(Vec<RowChange<T>>),
}

impl<T> ListChange<T> {
    /// Does to a list what was told of it. False when the list is not the one that it was told of; it is then in no
    /// state that can be relied on.
    #[must_use]
    pub fn apply(self, list: &mut Vec<T>) -> bool {
        match self {
            Self::Reset(rows) => {
                *list = rows;
                true
            }
            Self::Rows(changes) => changes.into_iter().all(|change| change.apply(list)),
        }
    }
}

impl<T> RowChange<T> {
    fn apply(self, list: &mut Vec<T>) -> bool {
        match self {
            Self::Removed { at } if at < list.len() => drop(list.remove(at)),
            Self::Added { at, row } if at <= list.len() => list.insert(at, row),
            Self::Moved { from, to, row } if from < list.len() && to < list.len() => {
                list.remove(from);
                list.insert(to, row);
            }
            Self::Changed { at, row } => match list.get_mut(at) {
                Some(place) => *place = row,
                None => return false,
            },
            _ => return false,
        }
        true
    }
}

/// The beginning of a query's answer.
#[derive(Debug, Clone)]
pub struct Window<P, T> {
    limit: usize,
    kept: Vec<Item<P, T>>,
    /// There is nothing behind what is kept.
    is_whole: bool,
}

impl<P: Ord, T> Window<P, T> {
    /// An empty one, that is to be filled; it shows at most `limit` rows.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { limit, kept: Vec::new(), is_whole: false }
    }

    /// How many rows it is filled with.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.limit.saturating_add(SPARE_MIN.max(self.limit / 2))
    }

    /// Takes the first rows of the answer, [`Self::capacity`] at most.
    pub fn fill(&mut self, rows: Vec<Item<P, T>>) {
        self.is_whole = rows.len() < self.capacity();
        self.kept = rows;
    }

    /// Takes what a document is now: its row, or that it is no longer in the answer.
    pub fn put(&mut self, row_id: i64, found: Option<Item<P, T>>) {
        if let Some(at) = self.kept.iter().position(|item| item.row_id == row_id) {
            self.kept.remove(at);
        }
        let Some(found) = found else { return };
        let at = self.kept.partition_point(|item| item.place < found.place);
        if at == self.kept.len() && !self.is_whole {
            return;
        }
        self.kept.insert(at, found);
        if self.kept.len() > self.capacity() {
            self.kept.truncate(self.capacity());
            self.is_whole = false;
        }
    }

    /// Whether rows may be missing that would be shown: the query is to be asked anew.
    #[must_use]
    pub const fn is_short(&self) -> bool {
        self.kept.len() < self.limit && !self.is_whole
    }

    /// What the reader is to have.
    #[must_use]
    pub fn shown(&self) -> &[Item<P, T>] {
        self.kept.get(..self.limit).unwrap_or(&self.kept)
    }
}

/// What a reader has.
#[derive(Debug, Clone)]
pub struct Told<T>(Vec<(DocId, T)>);

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone + PartialEq> Told<T> {
    /// The whole list, to begin with.
    pub fn reset<P>(&mut self, shown: &[Item<P, T>]) -> ListChange<T> {
        self.0 = shown.iter().map(|item| (item.doc, item.row.clone())).collect();
        ListChange::Reset(shown.iter().map(|item| item.row.clone()).collect())
    }

    /// What makes what the reader has what is shown; `None` when it is that already.
    pub fn follow<P>(&mut self, shown: &[Item<P, T>]) -> Option<ListChange<T>> {
        let now: HashMap<DocId, usize> = shown.iter().enumerate().map(|(at, item)| (item.doc, at)).collect();
        let gone: Vec<usize> = (0..self.0.len()).rev().filter(|at| !now.contains_key(&self.0[*at].0)).collect();
        let left: Vec<(&DocId, &T, usize)> =
            self.0.iter().filter_map(|(doc, row)| Some((doc, row, *now.get(doc)?))).collect();
        let is_same = |(_, row, place): &(&DocId, &T, usize)| shown.get(*place).is_some_and(|item| item.row == **row);
        let places: Vec<(usize, bool)> = left.iter().map(|one| (one.2, is_same(one))).collect();
        // By place in what is shown: nothing for a row that is as it was where it was.
        let mut had: Vec<Had> = vec![Had::Not; shown.len()];
        for ((place, is_same), stays) in places.iter().zip(staying(&places)) {
            if let Some(had) = had.get_mut(*place) {
                *had = match (stays, is_same) {
                    (true, true) => Had::Same,
                    (true, false) => Had::Other,
                    (false, _) => Had::Elsewhere,
                };
            }
        }
        let work = gone.len() + had.iter().filter(|had| **had != Had::Same).count();
        if work == 0 {
            return None;
        }
        if work > 1 && work >= shown.len() {
            return Some(self.reset(shown));
        }
        Some(ListChange::Rows(self.work(gone, &had, shown)))
    }

    fn work<P>(&mut self, gone: Vec<usize>, had: &[Had], shown: &[Item<P, T>]) -> Vec<RowChange<T>> {
        let mut changes = Vec::new();
        for at in gone {
            self.0.remove(at);
            changes.push(RowChange::Removed { at });
        }
        let mut before: Option<DocId> = None;
        for (item, had) in shown.iter().zip(had) {
            let previous = before.replace(item.doc);
            if *had == Had::Same {
                continue;
            }
            let from = self.place_of(&item.doc);
            let new = (item.doc, item.row.clone());
            if let (Had::Other, Some(at)) = (had, from) {
                self.0[at] = new;
                changes.push(RowChange::Changed { at, row: item.row.clone() });
                continue;
            }
            if let Some(from) = from {
                self.0.remove(from);
            }
            // What stands before it has its place already.
            let to = previous.and_then(|doc| self.place_of(&doc)).map_or(0, |at| at + 1);
            self.0.insert(to, new);
            changes.push(match from {
                Some(from) => RowChange::Moved { from, to, row: item.row.clone() },
                None => RowChange::Added { at: to, row: item.row.clone() },
            });
        }
        changes
    }

    fn place_of(&self, doc: &DocId) -> Option<usize> {
        self.0.iter().position(|(other, _)| other == doc)
    }
}

/// Whether the reader has a row already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Had {
    Not,
    Same,
    Other,
    Elsewhere,
}

/// Which rows need not be moved, of rows with the place that each gets and whether it is as it was. What is as it was
/// stays where it is, unless something moved it that the reader does not see.
fn staying(places: &[(usize, bool)]) -> Vec<bool> {
    let same: Vec<usize> = places.iter().filter(|(_, is_same)| *is_same).map(|(place, _)| *place).collect();
    if !same.is_sorted() {
        return longest_rising(&places.iter().map(|(place, _)| *place).collect::<Vec<_>>());
    }
    let (mut before, mut behind) = (None, same.into_iter().peekable());
    let stays = |(place, is_same): &(usize, bool)| {
        if *is_same {
            behind.next();
        }
        let fits = before.is_none_or(|before| before < *place) && behind.peek().is_none_or(|behind| *place < *behind);
        if fits {
            before = Some(*place);
        }
        fits
    };
    places.iter().map(stays).collect()
}

/// Which of some different numbers belong to a longest rising subsequence (patience sorting): the rows that need not be
/// moved when the fewest are.
fn longest_rising(numbers: &[usize]) -> Vec<bool> {
    // The last number's position of the best subsequence of each length, and what stands before each number in its own.
    let (mut ends, mut before): (Vec<usize>, Vec<Option<usize>>) = (Vec::new(), Vec::with_capacity(numbers.len()));
    for (at, number) in numbers.iter().enumerate() {
        let length =
            ends.partition_point(|end| numbers.get(*end).is_some_and(|other| other.cmp(number) == Ordering::Less));
        before.push(length.checked_sub(1).and_then(|shorter| ends.get(shorter).copied()));
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut belongs = vec![false; numbers.len()];
    let mut next = ends.last().copied();
    while let Some(at) = next {
        if let Some(found) = belongs.get_mut(at) {
            *found = true;
        }
        next = before.get(at).copied().flatten();
    }
    belongs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(n: u8, place: u32, row: u8) -> Item<(u32, u8), u8> {
        Item { row_id: n.into(), doc: DocId([n; 16]), place: (place, n), row }
    }

    #[test]
    fn one_row_that_goes_far_down_is_one_move() {
        let before: Vec<_> = (0..50).map(|n| item(n, n.into(), n)).collect();
        let mut told = Told::default();
        let mut list = Vec::new();
        assert!(told.reset(&before).apply(&mut list));
        let mut after = before;
        let moved = after.remove(3);
        after.insert(40, moved);
        let change = told.follow(&after).unwrap();
        assert_eq!(change, ListChange::Rows(vec![RowChange::Moved { from: 3, to: 40, row: 3 }]));
        assert!(change.apply(&mut list));
        assert_eq!(list, after.iter().map(|item| item.row).collect::<Vec<_>>());
        assert_eq!(told.follow(&after), None);
        // Of two that change places it is the one that changed.
        let mut told = Told::default();
        told.reset(&[item(1, 1, 1), item(2, 2, 2)]);
        let change = told.follow(&[item(2, 0, 7), item(1, 1, 1)]);
        assert_eq!(change, Some(ListChange::Rows(vec![RowChange::Moved { from: 1, to: 0, row: 7 }])));
        // Rows that are the same in another order are moved, too, as few as can be.
        let change = told.follow(&[item(1, 0, 1), item(2, 1, 7)]);
        assert!(matches!(change, Some(ListChange::Rows(rows)) if matches!(rows[..], [RowChange::Moved { .. }])));
    }

    #[test]
    fn a_change_of_another_list_is_noticed() {
        for change in
            [RowChange::Removed { at: 1 }, RowChange::Added { at: 2, row: 0 }, RowChange::Changed { at: 1, row: 0 }]
        {
            assert!(!ListChange::Rows(vec![change]).apply(&mut vec![7]));
        }
        assert!(!ListChange::Rows(vec![RowChange::Moved { from: 0, to: 1, row: 0 }]).apply(&mut vec![7]));
    }

    proptest! {
        /// Documents that come, change, move and go, told of in whatever portions: the window shows what sorting everything
        /// anew shows, and a list that does what is told is the same.
        #[test]
        fn a_window_shows_the_beginning_of_the_answer_and_what_is_told_of_it_leads_there(
            limit in 1..12_usize,
            steps in prop::collection::vec(prop::collection::vec((0..40_u8, prop::option::of(0..30_u32), any::<u8>()), 1..9), 1..40),
        ) {
            let mut all: std::collections::BTreeMap<u8, Item<(u32, u8), u8>> =
                (0..30).map(|n| (n, item(n, u32::from(n) * 7 % 30, n))).collect();
            let answer = |all: &std::collections::BTreeMap<u8, Item<(u32, u8), u8>>| {
                let mut items: Vec<_> = all.values().cloned().collect();
                items.sort_by_key(|item| item.place);
                items
            };
            let mut window = Window::new(limit);
            let fill = |window: &mut Window<_, _>, all: &_| {
                let rows = answer(all).into_iter().take(window.capacity()).collect();
                window.fill(rows);
            };
            fill(&mut window, &all);
            let (mut told, mut list, mut filled) = (Told::default(), Vec::new(), 0);
            prop_assert!(told.reset(window.shown()).apply(&mut list));
            for step in &steps {
                for (n, place, row) in step {
                    match place {
                        Some(place) => drop(all.insert(*n, item(*n, *place, *row))),
                        None => drop(all.remove(n)),
                    }
                }
                for (n, ..) in step {
                    window.put((*n).into(), all.get(n).cloned());
                }
                if window.is_short() {
                    filled += 1;
                    fill(&mut window, &all);
                }
                if let Some(change) = told.follow(window.shown()) {
                    prop_assert!(change.apply(&mut list));
                }
                let expected: Vec<u8> = answer(&all).iter().take(limit).map(|item| item.row).collect();
                prop_assert_eq!(&list, &expected);
            }
            prop_assert!(filled <= steps.iter().map(Vec::len).sum::<usize>() / SPARE_MIN + 1, "asked anew {filled} times");
        }
    }
}
