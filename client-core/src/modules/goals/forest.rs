//! Which goal is part of which.
//!
//! Each goal says what it is part of, so two devices can put two goals below each other while apart. The forest is
//! built
//! goal by goal in the order of their ids; what would close a circle stays at the top. The same goals give the same
//! forest on
//! every device (decision 0028).

use std::collections::BTreeMap;

/// Goals in the order they are shown, each with how deep it stands: what is part of a goal follows it. `parents`: of
/// each
/// goal what it says; one that is not among the goals counts as none. `rank` orders those of one parent, ties by id.
#[must_use]
pub fn forest<'g, R: Ord>(
    parents: &BTreeMap<&'g str, Option<&'g str>>,
    rank: impl Fn(&str) -> R,
) -> Vec<(&'g str, u32)> {
    let mut above: BTreeMap<&str, &str> = BTreeMap::new();
    for (goal, parent) in parents {
        let Some(parent) = parent.filter(|parent| parents.contains_key(parent)) else { continue };
        let mut ancestors = std::iter::successors(Some(parent), |at| above.get(at).copied());
        if ancestors.all(|ancestor| ancestor != *goal) {
            above.insert(goal, parent);
        }
    }
    let mut below: BTreeMap<Option<&str>, Vec<&'g str>> = BTreeMap::new();
    for goal in parents.keys() {
        below.entry(above.get(goal).copied()).or_default().push(goal);
    }
    below.values_mut().for_each(|goals| goals.sort_by_key(|goal| (rank(goal), *goal)));
    let mut found = Vec::with_capacity(parents.len());
    let mut todo: Vec<(&'g str, u32)> = below.get(&None).into_iter().flatten().rev().map(|goal| (*goal, 0)).collect();
    while let Some((goal, depth)) = todo.pop() {
        found.push((goal, depth));
        todo.extend(below.get(&Some(goal)).into_iter().flatten().rev().map(|goal| (*goal, depth + 1)));
    }
    found
}
