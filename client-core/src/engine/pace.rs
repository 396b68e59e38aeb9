//! When edits are sealed while somebody types: the first at once, then those of a second together.
//!
//! ```text
//! edit after 2 s without one ─▶ sealed now
//! else ─▶ sealed 1 s after the first that waits, or as soon as 64 KiB wait
//! ```
//!
//! An envelope costs some 320 bytes beyond what is in it and 256 at least, so one for each keystroke is what makes typing dear.
//! Pure: time (any steady clock, in milliseconds) is an argument.

/// Edits closer together than this are sealed together.
const COALESCE_MS: u64 = 1_000;
/// An edit after a rest this long is sealed at once.
const RESTED_MS: u64 = 2_000;
/// So much does not wait.
const WAITING_BYTES_MAX: u64 = 64 * 1024;

/// What waits to be sealed, and until when.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    edited_ms: Option<u64>,
    due_ms: Option<u64>,
    bytes: u64,
}

impl Pace {
    /// Changes of so many bytes were made.
    pub fn edited(&mut self, bytes: u64, now_ms: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        let rested = self.edited_ms.is_none_or(|edited_ms| now_ms.saturating_sub(edited_ms) >= RESTED_MS);
        let waits = !rested && self.bytes < WAITING_BYTES_MAX;
        let due_ms = if waits { now_ms.saturating_add(COALESCE_MS) } else { now_ms };
        self.due_ms = Some(self.due_ms.map_or(due_ms, |planned_ms| planned_ms.min(due_ms)));
        self.edited_ms = Some(now_ms);
    }

    /// When what waits is to be sealed; `None`: nothing waits.
    #[must_use]
    pub const fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// What waited is sealed.
    pub const fn sealed(&mut self) {
        (self.due_ms, self.bytes) = (None, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// When each of these edits (gap before it, bytes) is made and sealed, and how many seals there are.
    fn run(edits: &[(u64, u64)]) -> (Vec<(u64, u64)>, usize) {
        let (mut pace, mut now_ms, mut waiting, mut done, mut seals) = (Pace::default(), 0, Vec::new(), Vec::new(), 0);
        let mut seal = |pace: &mut Pace, until_ms: u64, waiting: &mut Vec<u64>| {
            while let Some(due_ms) = pace.due_ms().filter(|due_ms| *due_ms <= until_ms) {
                pace.sealed();
                seals += 1;
                done.extend(waiting.drain(..).map(|edited_ms| (edited_ms, due_ms)));
            }
        };
        for (gap_ms, bytes) in edits {
            seal(&mut pace, now_ms + gap_ms, &mut waiting);
            now_ms += gap_ms;
            waiting.push(now_ms);
            pace.edited(*bytes, now_ms);
            seal(&mut pace, now_ms, &mut waiting);
        }
        seal(&mut pace, u64::MAX, &mut waiting);
        (done, seals)
    }

    #[test]
    fn a_typed_paragraph_is_an_envelope_a_second_and_its_first_letter_goes_at_once() {
        let (sealed, seals) = run(&[(200, 120); 300]);
        assert_eq!(sealed[0], (200, 200));
        assert_eq!(sealed.len(), 300);
        assert!((48..=61).contains(&seals), "{seals} in a minute");
        let (_, seals) = run(&[(3_000, 120); 20]);
        assert_eq!(seals, 20, "who thinks between letters waits for none of them");
    }

    #[test]
    fn a_large_paste_does_not_wait_for_the_second() {
        let (sealed, _) = run(&[(0, 100), (100, 100), (100, WAITING_BYTES_MAX)]);
        assert_eq!(sealed, [(0, 0), (100, 200), (200, 200)]);
    }

    proptest! {
        #[test]
        fn every_edit_is_sealed_within_a_second_and_typing_makes_no_more_than_one_envelope_a_second(
            edits in proptest::collection::vec((0_u64..4_000, 1_u64..5_000), 1..200),
        ) {
            let (sealed, seals) = run(&edits);
            prop_assert_eq!(sealed.len(), edits.len());
            let (mut last_ms, mut now_ms) = (None, 0);
            for ((edited_ms, sealed_ms), (gap_ms, _)) in sealed.iter().zip(&edits) {
                now_ms += gap_ms;
                prop_assert!(*edited_ms == now_ms && sealed_ms >= edited_ms && sealed_ms - edited_ms <= COALESCE_MS);
                if last_ms.is_none_or(|last_ms| now_ms - last_ms >= RESTED_MS) {
                    prop_assert_eq!(sealed_ms, edited_ms);
                }
                last_ms = Some(now_ms);
            }
            let rests = 1 + edits.iter().skip(1).filter(|(gap_ms, _)| *gap_ms >= RESTED_MS).count();
            let bytes: u64 = edits.iter().map(|(_, bytes)| bytes).sum();
            let most = rests + usize::try_from(now_ms / COALESCE_MS + bytes / WAITING_BYTES_MAX).unwrap() + 1;
            prop_assert!(seals <= most, "{} of {}", seals, most);
        }
    }
}
