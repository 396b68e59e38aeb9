//! What is part of what, and what waits for what, as many devices wrote it: a forest whatever they did.
//!
//! Each task says itself what it is part of, so each has one parent at most, and what goes round in a circle goes round in
//! one circle alone. There the task with the smallest id stands at the top: the same on every device, whatever came first.

use std::collections::{BTreeMap, BTreeSet};

/// Deepest nesting that an edit may make.
pub const DEPTH_MAX: usize = 8;

/// A forest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forest {
    /// The parent of each that has one.
    pub parents: BTreeMap<String, String>,
    /// Those whose parent was left out because it is below them, or is not there.
    pub recovered: BTreeSet<String>,
}

/// The forest of what each task says (task, what it is part of). A parent that is not among the tasks counts as none.
#[must_use]
pub fn forest(said: &BTreeMap<String, Option<String>>) -> Forest {
    let mut forest = Forest::default();
    for (id, parent) in said {
        match parent {
            Some(parent) if said.contains_key(parent) => drop(forest.parents.insert(id.clone(), parent.clone())),
            Some(_) => drop(forest.recovered.insert(id.clone())),
            None => {}
        }
    }
    // Each is walked once: 0 not yet, otherwise in which walk.
    let mut walked: BTreeMap<&str, usize> = BTreeMap::new();
    let mut tops: Vec<String> = Vec::new();
    for (walk, start) in said.keys().enumerate() {
        let mut at = start.as_str();
        while let Some(parent) = forest.parents.get(at) {
            match walked.get(at) {
                None => drop(walked.insert(at, walk)),
                Some(known) if *known == walk => {
                    tops.push(smallest(&forest.parents, at));
                    break;
                }
                Some(_) => break,
            }
            at = parent;
        }
    }
    for top in tops {
        forest.parents.remove(&top);
        forest.recovered.insert(top);
    }
    forest
}

/// The smallest of a circle.
fn smallest(parents: &BTreeMap<String, String>, start: &str) -> String {
    let (mut least, mut at) = (start, start);
    while let Some(parent) = parents.get(at).filter(|parent| *parent != start) {
        least = least.min(parent);
        at = parent;
    }
    least.to_owned()
}

impl Forest {
    /// How many stand above a task.
    #[must_use]
    pub fn depth(&self, id: &str) -> usize {
        std::iter::successors(self.parents.get(id), |parent| self.parents.get(*parent)).count()
    }

    /// Whether a task is another one, or below it.
    #[must_use]
    pub fn is_within(&self, id: &str, other: &str) -> bool {
        id == other || std::iter::successors(self.parents.get(id), |at| self.parents.get(*at)).any(|at| at == other)
    }
}

/// Those that wait for each other in a circle, of what each waits for.
#[must_use]
pub fn circles(waits: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    // Whatever is left when those are taken away again and again that wait for nothing, or that nothing waits for.
    let mut left = waits.clone();
    loop {
        let waited: BTreeSet<String> = left.values().flatten().cloned().collect();
        let before = left.len();
        let known: BTreeSet<String> = left.keys().cloned().collect();
        left.retain(|id, of| waited.contains(id) && of.iter().any(|other| known.contains(other)));
        if left.len() == before {
            return left.into_keys().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(pairs: &[(&str, &str)]) -> BTreeMap<String, Option<String>> {
        let one =
            |(id, parent): &(&str, &str)| ((*id).to_owned(), Some((*parent).to_owned()).filter(|it| !it.is_empty()));
        pairs.iter().map(one).collect()
    }

    #[test]
    fn of_two_that_were_put_into_each_other_the_smaller_stands_at_the_top() {
        let forest = forest(&said(&[("a", "b"), ("b", "a"), ("c", "a"), ("d", "gone"), ("e", "")]));
        assert_eq!(forest.parents, BTreeMap::from([("b".into(), "a".into()), ("c".into(), "a".into())]));
        assert_eq!(forest.recovered, BTreeSet::from(["a".into(), "d".into()]));
        assert_eq!((forest.depth("c"), forest.is_within("b", "a"), forest.is_within("a", "b")), (1, true, false));
        let own = super::forest(&said(&[("a", "a")]));
        assert!(own.parents.is_empty() && own.recovered.contains("a"));
    }

    #[test]
    fn what_waits_for_itself_is_found_and_what_only_waits_for_such_is_not() {
        let waits = |pairs: &[(&str, &[&str])]| -> BTreeMap<String, BTreeSet<String>> {
            let one = |(id, of): &(&str, &[&str])| ((*id).to_owned(), of.iter().map(|it| (*it).to_owned()).collect());
            pairs.iter().map(one).collect()
        };
        let found = circles(&waits(&[("a", &["b"]), ("b", &["a"]), ("c", &["a"]), ("d", &["e"]), ("e", &[])]));
        assert_eq!(found, BTreeSet::from(["a".into(), "b".into()]));
    }

    proptest! {
        #[test]
        fn whatever_was_moved_where_no_task_is_lost_and_none_is_above_itself(
            moves in proptest::collection::vec((0_u8..30, 0_u8..30), 0..120),
        ) {
            let mut said: BTreeMap<String, Option<String>> = (0..30).map(|id| (format!("{id:02}"), None)).collect();
            for (id, parent) in moves {
                said.insert(format!("{id:02}"), Some(format!("{parent:02}")));
            }
            let forest = forest(&said);
            for id in said.keys() {
                prop_assert!(forest.depth(id) < 30);
                let kept = forest.parents.get(id) == said[id].as_ref() && !forest.recovered.contains(id);
                let recovered = !forest.parents.contains_key(id) && forest.recovered.contains(id);
                prop_assert!(kept || recovered, "{id}");
            }
            // Every circle loses one, and nothing else does.
            for top in &forest.recovered {
                let above = std::iter::successors(said[top].as_ref(), |at| said[*at].as_ref());
                prop_assert!(above.take(30).any(|at| at == top), "{top} was in no circle");
            }
        }
    }
}
