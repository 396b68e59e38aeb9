//! Ranks: texts that order siblings, with room between any two (fractional indexing).
//!
//! A rank is a fraction in base 36 without its leading `0.` and without trailing zeros, so that comparing the
//! texts compares the fractions. Ranks from other devices are only compared; bounds that are no ranks, or in the
//! wrong order, are treated as absent. Two devices that insert at one place make equal ranks: the tie is broken
//! by id.

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

fn digit(byte: u8) -> Option<usize> {
    DIGITS.iter().position(|digit| *digit == byte)
}

/// The digits of a rank; `None` for what is no rank.
fn digits(rank: &str) -> Option<Vec<usize>> {
    let digits: Option<Vec<usize>> = rank.bytes().map(digit).collect();
    digits.filter(|digits| digits.last().is_some_and(|last| *last != 0))
}

/// A rank between two others; `None` stands for the beginning and the end.
#[must_use]
pub fn between(lower: Option<&str>, upper: Option<&str>) -> String {
    let low = lower.and_then(digits).unwrap_or_default();
    let high = upper.and_then(digits).filter(|high| *high > low);
    let middle = middle(&low, high.as_deref());
    middle.into_iter().map(|digit| char::from(DIGITS[digit])).collect()
}

/// A fraction between two, as short as it can be found by walking down their digits.
fn middle(low: &[usize], high: Option<&[usize]>) -> Vec<usize> {
    let mut out = Vec::new();
    let mut high = high;
    for place in 0.. {
        let from = low.get(place).copied().unwrap_or(0);
        // Below an equal prefix the upper bound stays in force; once a smaller digit is taken, it is open.
        let to = high.map_or(DIGITS.len(), |high| high.get(place).copied().unwrap_or(0));
        if to > from + 1 {
            // At the open end step by one, so that appending many siblings grows ranks slowly.
            out.push(if high.is_none() && from > 0 { from + 1 } else { usize::midpoint(from, to) });
            break;
        }
        out.push(from);
        if to > from {
            high = None;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn there_is_room_at_both_ends_and_between_neighbours() {
        let mut first = between(None, None);
        let mut last = first.clone();
        for _ in 0..500 {
            let before = between(None, Some(&first));
            let after = between(Some(&last), None);
            assert!(before < first && after > last, "{before} {first} {last} {after}");
            (first, last) = (before, after);
        }
        assert!(last.len() < 40, "{last}");
    }

    #[test]
    fn bounds_that_are_no_ranks_do_no_harm() {
        for (lower, upper) in [("zz", "a"), ("a", "a"), ("", ""), ("Ä", "\0"), ("a0", "a"), ("000", "0")] {
            assert!(digits(&between(Some(lower), Some(upper))).is_some());
        }
    }

    proptest! {
        #[test]
        fn a_rank_lies_between_its_neighbours(places in proptest::collection::vec(any::<prop::sample::Index>(), 1..200)) {
            let mut ranks: Vec<String> = Vec::new();
            for place in places {
                let at = place.index(ranks.len() + 1);
                let lower = at.checked_sub(1).map(|before| ranks[before].clone());
                let rank = between(lower.as_deref(), ranks.get(at).map(String::as_str));
                ranks.insert(at, rank);
            }
            prop_assert!(ranks.windows(2).all(|pair| pair[0] < pair[1]), "{ranks:?}");
        }
    }
}
