//! Differences between two flat texts: words first, whole lines when that takes too long, never more than linear
//! memory and bounded time.

use std::collections::HashMap;

use super::BLOCK;

/// One step of a script that turns one text into another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many units stay.
    Keep(usize),
    /// So many units go.
    Delete(usize),
    /// So many units of the new text come in.
    Insert(usize),
}

/// Steps in order; a deletion stands before the insertion that replaces it.
pub(crate) type Script = Vec<Step>;

/// Most differing tokens that are searched for the shortest script; the search costs their square.
const DISTANCE_MAX: usize = 1_000;

/// A short script from `old` to `new`. All block markers count as equal: what they hold is compared later.
pub(crate) fn script(old: &[u32], new: &[u32]) -> Script {
    let mut out = Builder::default();
    let (head, tail) = common_ends(old, new);
    out.keep(head);
    let (old_middle, new_middle) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let found =
        match_tokens(old_middle, new_middle, word_end).or_else(|| match_tokens(old_middle, new_middle, line_end));
    out.matched(old_middle, new_middle, &found.unwrap_or_default());
    out.keep(tail);
    out.steps
}

/// Lengths of the common beginning and end, not overlapping.
fn common_ends(old: &[u32], new: &[u32]) -> (usize, usize) {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    (head, tail)
}

/// Equal stretches: start in the old text, start in the new text, length.
type Matches = Vec<(usize, usize, usize)>;

/// Adds a step, joined with the one before if it is of the same kind.
pub(crate) fn push(script: &mut Script, step: Step) {
    match (script.last_mut(), step) {
        (_, Step::Keep(0) | Step::Delete(0) | Step::Insert(0)) => {}
        (Some(Step::Keep(count)), Step::Keep(more))
        | (Some(Step::Delete(count)), Step::Delete(more))
        | (Some(Step::Insert(count)), Step::Insert(more)) => *count += more,
        _ => script.push(step),
    }
}

#[derive(Default)]
struct Builder {
    steps: Script,
}

impl Builder {
    fn push(&mut self, step: Step) {
        push(&mut self.steps, step);
    }

    fn keep(&mut self, count: usize) {
        self.push(Step::Keep(count));
    }

    fn matched(&mut self, old: &[u32], new: &[u32], matches: &Matches) {
        let (mut old_at, mut new_at) = (0, 0);
        for &(old_start, new_start, length) in matches {
            self.replaced(&old[old_at..old_start], &new[new_at..new_start]);
            self.keep(length);
            (old_at, new_at) = (old_start + length, new_start + length);
        }
        self.replaced(&old[old_at..], &new[new_at..]);
    }

    /// A stretch without equal tokens: only what differs inside its ends is written.
    fn replaced(&mut self, old: &[u32], new: &[u32]) {
        let (head, tail) = common_ends(old, new);
        self.keep(head);
        self.push(Step::Delete(old.len() - head - tail));
        self.push(Step::Insert(new.len() - head - tail));
        self.keep(tail);
    }
}

/// Where the token that begins at 0 ends: a word, or any other single unit.
fn word_end(units: &[u32]) -> usize {
    let in_word = |unit: &u32| char::from_u32(*unit).is_some_and(char::is_alphanumeric);
    units.iter().take_while(|unit| in_word(unit)).count().max(1)
}

/// Where the line that begins at 0 ends; a block marker is a line of its own.
fn line_end(units: &[u32]) -> usize {
    if units[0] == BLOCK {
        return 1;
    }
    let end = units.iter().position(|unit| *unit == BLOCK || *unit == u32::from('\n'));
    end.map_or(units.len(), |end| if units[end] == BLOCK { end } else { end + 1 })
}

fn match_tokens(old: &[u32], new: &[u32], end: fn(&[u32]) -> usize) -> Option<Matches> {
    let mut names = HashMap::new();
    let (old_tokens, old_starts) = tokens(old, end, &mut names);
    let (new_tokens, new_starts) = tokens(new, end, &mut names);
    let pairs = shortest(&old_tokens, &new_tokens)?;
    let stretch = |&(a, b): &(usize, usize)| (old_starts[a], new_starts[b], old_starts[a + 1] - old_starts[a]);
    Some(pairs.iter().map(stretch).collect())
}

/// Numbers for tokens (equal tokens, equal numbers) and where each starts, with the end as last.
fn tokens<'t>(
    units: &'t [u32],
    end: fn(&[u32]) -> usize,
    names: &mut HashMap<&'t [u32], u32>,
) -> (Vec<u32>, Vec<usize>) {
    let (mut numbers, mut starts, mut at) = (Vec::new(), Vec::new(), 0);
    while at < units.len() {
        let length = end(&units[at..]);
        let next = u32::try_from(names.len()).unwrap_or(u32::MAX);
        numbers.push(*names.entry(&units[at..at + length]).or_insert(next));
        starts.push(at);
        at += length;
    }
    starts.push(at);
    (numbers, starts)
}

/// Pairs of equal tokens of a shortest script (Myers 1986), or nothing when more than [`DISTANCE_MAX`] differ.
fn shortest(old: &[u32], new: &[u32]) -> Option<Vec<(usize, usize)>> {
    let trace = forward(old, new)?;
    Some(backward(&trace, old.len(), new.len()))
}

/// For each distance, the furthest place in `old` on each diagonal `-d, -d + 2, … d`.
fn forward(old: &[u32], new: &[u32]) -> Option<Vec<Vec<usize>>> {
    let mut trace: Vec<Vec<usize>> = Vec::new();
    for distance in 0..=DISTANCE_MAX.min(old.len() + new.len()) {
        let mut reach = Vec::with_capacity(distance + 1);
        for index in 0..=distance {
            let start = trace.last().map_or(0, |before| step_from(before, index, distance).0);
            // Diagonal k = 2·index − distance, and x − y = k.
            let (mut x, shift) = (start, 2 * index);
            let mut y = x + distance - shift.min(x + distance);
            while x < old.len() && y < new.len() && old[x] == new[y] {
                (x, y) = (x + 1, y + 1);
            }
            reach.push(x);
            if x >= old.len() && y >= new.len() {
                trace.push(reach);
                return Some(trace);
            }
        }
        trace.push(reach);
    }
    None
}

/// Where a path to diagonal `index` of `distance` comes from: the place in `old` after the step, and whether the
/// step went down (an insertion).
fn step_from(before: &[usize], index: usize, distance: usize) -> (usize, bool) {
    let left = index.checked_sub(1).map(|left| before[left]);
    let above = (index < distance).then(|| before[index]);
    match (left, above) {
        (Some(left), Some(above)) if left < above => (above, true),
        (Some(left), _) => (left + 1, false),
        (None, above) => (above.unwrap_or(0), true),
    }
}

fn backward(trace: &[Vec<usize>], old_len: usize, new_len: usize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let (mut x, mut y) = (old_len, new_len);
    for distance in (0..trace.len()).rev() {
        let index = (x + distance - y) / 2;
        let (start, down) = match distance.checked_sub(1) {
            Some(before) => step_from(&trace[before], index, distance),
            None => (0, false),
        };
        while x > start {
            (x, y) = (x - 1, y - 1);
            pairs.push((x, y));
        }
        if distance > 0 {
            if down { y -= 1 } else { x -= 1 }
        }
    }
    pairs.reverse();
    pairs
}

/// Where the places of a text are after a script ran over it: for every unit, its new place if it was kept.
pub(crate) fn compose_positions(script: &[Step]) -> Vec<Option<usize>> {
    let mut places = Vec::new();
    let mut at = 0;
    for step in script {
        match *step {
            Step::Keep(count) => {
                places.extend((at..at + count).map(Some));
                at += count;
            }
            Step::Delete(count) => places.extend(std::iter::repeat_n(None, count)),
            Step::Insert(count) => at += count,
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn units(text: &str) -> Vec<u32> {
        text.chars().map(|c| if c == '|' { BLOCK } else { u32::from(c) }).collect()
    }

    fn run(old: &[u32], new: &[u32], script: &[Step]) -> Vec<u32> {
        let (mut out, mut old_at) = (Vec::new(), 0);
        for step in script {
            match *step {
                Step::Keep(count) => {
                    out.extend_from_slice(&old[old_at..old_at + count]);
                    old_at += count;
                }
                Step::Delete(count) => old_at += count,
                Step::Insert(count) => out.extend_from_slice(&new[out.len()..out.len() + count]),
            }
        }
        assert_eq!(old_at, old.len());
        out
    }

    fn written(script: &[Step]) -> usize {
        script.iter().map(|step| if let Step::Delete(n) | Step::Insert(n) = step { *n } else { 0 }).sum()
    }

    #[test]
    fn only_the_changed_word_is_written() {
        let (old, new) = (units("|one two three|four five"), units("|one too three|four fives"));
        let script = script(&old, &new);
        assert_eq!(run(&old, &new, &script), new);
        assert_eq!(written(&script), 3);
    }

    #[test]
    fn a_moved_paragraph_keeps_the_others() {
        let (old, new) = (units("|alpha beta|gamma|delta"), units("|gamma|alpha beta|delta"));
        let script = script(&old, &new);
        assert_eq!(run(&old, &new, &script), new);
        assert!(written(&script) <= 12, "{script:?}");
    }

    #[test]
    fn a_text_that_differs_everywhere_is_replaced_in_bounded_time() {
        let old: Vec<u32> = (0..60_000).flat_map(|n: u32| [0x4e00 + n % 20_000, 32]).collect();
        let new: Vec<u32> = (0..60_000).flat_map(|n: u32| [0x4e00 + (n * 7 + 3) % 20_000, 10]).collect();
        let script = script(&old, &new);
        assert_eq!(run(&old, &new, &script), new);
    }

    proptest! {
        #[test]
        fn a_script_gives_the_new_text(old in "[ab |\n]{0,40}", new in "[ab |\n]{0,40}") {
            let (old, new) = (units(&old), units(&new));
            let script = script(&old, &new);
            prop_assert_eq!(run(&old, &new, &script), new);
        }
    }
}
