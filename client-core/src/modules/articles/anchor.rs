//! Where a highlight is: found by its words and the words around them, so that it survives a text that was extracted anew.
//!
//! After the W3C's TextQuoteSelector. Texts are compared by their words alone: space, and how letters are set, may differ
//! from one extraction to the next.

use std::ops::Range;

/// Characters in front of and behind a passage that are kept.
const CONTEXT_CHARS: usize = 32;
/// Places of one passage that are weighed against each other.
const PLACES_MAX: usize = 1_000;

/// A passage with what is needed to find it again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Anchor {
    /// Its words.
    pub exact: String,
    /// What stands in front of them.
    pub prefix: String,
    /// What stands behind them.
    pub suffix: String,
    /// Where they stood, in characters of the words.
    pub start: usize,
}

/// A text in which each stretch of space is one.
#[derive(Debug, Clone, Default)]
pub struct Words(Vec<char>);

impl Words {
    /// The words of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut words = Vec::with_capacity(text.len());
        for char in text.chars() {
            match char.is_whitespace() {
                false => words.push(char),
                true if words.last().is_some_and(|last| *last != ' ') => words.push(' '),
                true => {}
            }
        }
        if words.last() == Some(&' ') {
            words.pop();
        }
        Self(words)
    }

    fn text(&self, range: Range<usize>) -> String {
        self.0.get(range).unwrap_or_default().iter().collect()
    }

    /// Where a passage stands, every place.
    fn places<'w>(&'w self, passage: &'w [char]) -> impl Iterator<Item = usize> + 'w {
        let first = passage.first().copied();
        let ends = self.0.len().checked_sub(passage.len()).map_or(0, |last| last + 1);
        let starts = (0..ends).filter(move |at| self.0.get(*at).copied() == first && first.is_some());
        starts.filter(move |at| self.0[*at..].starts_with(passage)).take(PLACES_MAX)
    }

    /// An anchor for the `nth` place (from 0) of a passage; `None` if it is not there.
    #[must_use]
    pub fn anchor(&self, passage: &str, nth: usize) -> Option<Anchor> {
        let passage = Self::of(passage);
        let start = self.places(&passage.0).nth(nth)?;
        let end = start + passage.0.len();
        Some(Anchor {
            exact: passage.text(0..passage.0.len()),
            prefix: self.text(start.saturating_sub(CONTEXT_CHARS)..start),
            suffix: self.text(end..(end + CONTEXT_CHARS).min(self.0.len())),
            start,
        })
    }

    /// Where an anchor leads to now: its words, of several places the one with the most of what stood around them, and of
    /// equal ones the nearest. Where its words are changed, what stands between what stood around them.
    #[must_use]
    pub fn find(&self, anchor: &Anchor) -> Option<Range<usize>> {
        let exact = Self::of(&anchor.exact);
        let (prefix, suffix): (Vec<char>, Vec<char>) =
            (anchor.prefix.chars().collect(), anchor.suffix.chars().collect());
        let best = self.places(&exact.0).max_by_key(|at| {
            let before = self.0[..*at].iter().rev().zip(prefix.iter().rev()).take_while(|(one, other)| one == other);
            let after = self.0[at + exact.0.len()..].iter().zip(&suffix).take_while(|(one, other)| one == other);
            (before.count() + after.count(), std::cmp::Reverse(at.abs_diff(anchor.start)))
        });
        if let Some(at) = best {
            return Some(at..at + exact.0.len());
        }
        self.between(&Self::of(&anchor.prefix).0, &Self::of(&anchor.suffix).0, exact.0.len())
    }

    /// What stands between two contexts, if it is about as long as it was.
    fn between(&self, prefix: &[char], suffix: &[char], length: usize) -> Option<Range<usize>> {
        if prefix.len() < CONTEXT_CHARS / 4 || suffix.len() < CONTEXT_CHARS / 4 {
            return None;
        }
        let longest = length * 2 + CONTEXT_CHARS;
        let mut ends = self.places(suffix).collect::<Vec<_>>();
        ends.sort_unstable();
        self.places(prefix).find_map(|at| {
            let start = at + prefix.len();
            let end = *ends.iter().find(|end| **end > start)?;
            let is_space = |place: usize| self.0.get(place) == Some(&' ');
            let (start, end) = (start + usize::from(is_space(start)), end - usize::from(is_space(end - 1)));
            (start < end && end - start <= longest).then_some(start..end)
        })
    }

    /// The words of a place.
    #[must_use]
    pub fn at(&self, range: &Range<usize>) -> String {
        self.text(range.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.";

    #[test]
    fn a_passage_is_found_again_in_a_text_that_was_extracted_anew() {
        let words = Words::of(TEXT);
        let anchor = words.anchor("it was the   age", 1).unwrap();
        assert_eq!((anchor.exact.as_str(), anchor.suffix.as_str()), ("it was the age", " of foolishness."));
        // New words before it, other space, other line ends.
        let later = TEXT
            .replace(", it", ",\n\n   it")
            .replace("It was the best", "A new beginning, quite long: it was the age of the best");
        let words = Words::of(&later);
        let place = words.find(&anchor).unwrap();
        assert!(words.at(&(place.start..place.end + 16)).ends_with("of foolishness."), "the one that was meant");
        assert_eq!(words.at(&place), "it was the age");
    }

    #[test]
    fn words_that_were_changed_are_found_by_what_stands_around_them() {
        let anchor = Words::of(TEXT).anchor("the worst of times", 0).unwrap();
        let words = Words::of(&TEXT.replace("the worst of times", "the very worst of all times"));
        assert_eq!(words.at(&words.find(&anchor).unwrap()), "the very worst of all times");
        assert_eq!(Words::of("something else").find(&anchor), None);
        assert_eq!(Words::of(&TEXT.replace("the worst of times", &"x ".repeat(200))).find(&anchor), None);
    }

    #[test]
    fn a_passage_that_is_not_there_or_nothing_has_no_anchor() {
        let words = Words::of(TEXT);
        assert_eq!((words.anchor("times", 2), words.anchor("", 0), words.anchor(" ", 0)), (None, None, None));
        assert_eq!(Words::of("").find(&Anchor::default()), None);
        let many = Words::of(&"a ".repeat(100_000));
        assert!(many.anchor("a", 999).is_some() && many.anchor("a", 1_000).is_none());
    }

    #[test]
    fn every_passage_of_a_text_is_found_where_it_was() {
        let words = Words::of(TEXT);
        for start in 0..words.0.len() {
            for end in (start + 1..words.0.len()).step_by(7) {
                let passage = words.text(start..end);
                if passage.trim() != passage {
                    continue;
                }
                let nth = words.places(&Words::of(&passage).0).position(|at| at == start).unwrap();
                let anchor = words.anchor(&passage, nth).unwrap();
                let found = words.find(&anchor).unwrap();
                assert_eq!(words.at(&found), passage);
                // Of two places with the same words around them, the one where it was.
                assert_eq!(found.start, start, "{passage}");
            }
        }
    }
}
