//! When a relay is asked for a space that this device is not let into yet: at once for a while, then ever more seldom.
//!
//! ```text
//! kept as: for each space, ascending: space 32 ‖ i64 asked_ms ‖ u32 times ‖ what was known 16
//! ```

use std::collections::BTreeMap;

use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::SpaceId;

/// So often it is asked with every sync.
const TIMES_AT_ONCE: u32 = 6;
/// The first pause after that; each is twice the one before.
const PAUSE_MS_MIN: i64 = 60 * 1000;
/// The longest.
const PAUSE_MS_MAX: i64 = 60 * 60 * 1000;
const ENTRY_BYTES: usize = 32 + 8 + 4 + 16;

/// What is known about asking for spaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asking(BTreeMap<SpaceId, Asked>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    at_ms: i64,
    times: u32,
    known: [u8; 16],
}

impl Asking {
    /// Reads what was kept; what does not read is as if nothing was ever asked.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        Self(entries.iter().filter_map(decode_entry).collect())
    }

    /// What to keep: `spaces` alone, the others are forgotten.
    #[must_use]
    pub fn encode(&self, spaces: &[SpaceId]) -> Vec<u8> {
        let kept = self.0.iter().filter(|(space, _)| spaces.contains(space));
        kept.flat_map(|(space, asked)| {
            [&space.0[..], &asked.at_ms.to_be_bytes(), &asked.times.to_be_bytes(), &asked.known].concat()
        })
        .collect()
    }

    /// Which of `spaces` to ask for now, those first that were not asked for the longest, at most `most`. `facts`: what
    /// the person's home says of the space; when it says something else, it is asked at once.
    #[must_use]
    pub fn due<'f>(&self, spaces: &[(SpaceId, &'f [u8])], now_ms: i64, most: usize) -> Vec<(SpaceId, &'f [u8])> {
        let mut due: Vec<_> =
            spaces.iter().filter(|(space, facts)| self.is_due(space, facts, now_ms)).copied().collect();
        due.sort_by_key(|(space, _)| self.0.get(space).map_or(i64::MIN, |asked| asked.at_ms));
        due.truncate(most);
        due
    }

    /// It was asked for once more.
    pub fn note(&mut self, space: &SpaceId, facts: &[u8], now_ms: i64) {
        let known = known(facts);
        let before = self.0.get(space).filter(|asked| asked.known == known).map_or(0, |asked| asked.times);
        self.0.insert(*space, Asked { at_ms: now_ms, times: before.saturating_add(1), known });
    }

    fn is_due(&self, space: &SpaceId, facts: &[u8], now_ms: i64) -> bool {
        let Some(asked) = self.0.get(space).filter(|asked| asked.known == known(facts)) else { return true };
        let Some(again) = asked.times.checked_sub(TIMES_AT_ONCE) else { return true };
        let pause_ms = PAUSE_MS_MIN.saturating_mul(1_i64 << again.min(16)).min(PAUSE_MS_MAX);
        // A clock that was set back must not keep a space out.
        asked.at_ms > now_ms || now_ms - asked.at_ms >= pause_ms
    }
}

fn decode_entry(entry: &[u8; ENTRY_BYTES]) -> Option<(SpaceId, Asked)> {
    let (space, rest) = entry.split_first_chunk()?;
    let (at_ms, rest) = rest.split_first_chunk()?;
    let (times, rest) = rest.split_first_chunk()?;
    let known = rest.try_into().ok()?;
    let asked = Asked { at_ms: i64::from_be_bytes(*at_ms), times: u32::from_be_bytes(*times), known };
    Some((SpaceId(*space), asked))
}

fn known(facts: &[u8]) -> [u8; 16] {
    let mut known = [0; 16];
    known.copy_from_slice(&sha256("own-space", &[facts])[..16]);
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: SpaceId = SpaceId([1; 32]);

    fn is_due(asking: &Asking, facts: &[u8], now_ms: i64) -> bool {
        !asking.due(&[(SPACE, facts)], now_ms, 1).is_empty()
    }

    #[test]
    fn a_space_that_lets_nobody_in_is_asked_for_ever_more_seldom_and_never_not_at_all() {
        let (mut asking, mut now_ms) = (Asking::default(), 0);
        let mut pauses = Vec::new();
        for _ in 0..20 {
            let start_ms = now_ms;
            while !is_due(&asking, b"facts", now_ms) {
                now_ms += 1000;
            }
            pauses.push((now_ms - start_ms) / 1000);
            asking.note(&SPACE, b"facts", now_ms);
        }
        assert_eq!(pauses[..10], [0, 0, 0, 0, 0, 0, 60, 120, 240, 480]);
        assert_eq!(pauses[14..], [3600; 6]);
        assert!(is_due(&asking, b"other facts", now_ms), "something was written about it");
        assert!(is_due(&asking, b"facts", now_ms - 1), "the clock was set back");
    }

    #[test]
    fn what_was_asked_is_kept_for_the_spaces_that_are_still_there() {
        let (mut asking, other) = (Asking::default(), SpaceId([2; 32]));
        for _ in 0..9 {
            asking.note(&SPACE, b"facts", 5);
            asking.note(&other, b"facts", 6);
        }
        let kept = Asking::decode(&asking.encode(&[SPACE]));
        assert!(!is_due(&kept, b"facts", 6) && !kept.due(&[(other, b"facts")], 6, 9).is_empty());
        assert_eq!(Asking::decode(&asking.encode(&[SPACE, other])), asking);
        assert_eq!(Asking::decode(b"garbage"), Asking::default());
    }

    #[test]
    fn of_many_spaces_each_has_its_turn() {
        let spaces: Vec<SpaceId> = (0..10).map(|at| SpaceId([at; 32])).collect();
        let all: Vec<(SpaceId, &[u8])> = spaces.iter().map(|space| (*space, &b""[..])).collect();
        let mut asking = Asking::default();
        for round in 0..5 {
            for (space, facts) in asking.due(&all, round, 2) {
                asking.note(&space, facts, round);
            }
        }
        assert_eq!(asking.encode(&spaces).len(), 10 * ENTRY_BYTES);
    }
}
