//! When a relay is tried: waits with full jitter, and a circuit that opens when trying does not help.
//!
//! ```text
//!            so many failures in a row, or one that needs a person
//!   Closed ───────────────────────────────────────────────────────▶ Open ──(its time is over, or a person asks)──▶ HalfOpen
//!     ▲                                                              ▲                                               │
//!     └──────────────────────── it worked ◀──────────────────────────┴──────────── it failed again, longer ◀─────────┘
//! ```
//!
//! Pure: time (ms since the home was opened) and randomness are arguments.

use super::EngineError;
use crate::session::SessionError;

/// Failures in a row after which a relay is left alone for a while.
pub const FAILURES_MAX: u32 = 6;
/// Smallest ceiling of the wait while the circuit is closed.
const WAIT_MS_MIN: u64 = 500;
/// Largest wait while the circuit is closed; the pace for what needs a person; the longest that a relay is obeyed that
/// asks to be left alone.
const WAIT_MS_MAX: u64 = 60_000;
/// Ceiling of the first wait while the circuit is open; half of it is waited at least.
const OPEN_MS_MIN: u64 = 30_000;
/// Ceiling of every later one.
const OPEN_MS_MAX: u64 = 120_000;
/// A probe that tells nothing for so long is forgotten.
const PROBE_MS: u64 = 60_000;

/// What a failure says about the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The network or the relay, and it may pass.
    Passing,
    /// Nothing changes until somebody does something: a wrong key, a refusal.
    Person,
    /// Not the relay's: this device's disk, another process, records that are fetched again.
    Here,
}

impl Blame {
    /// What this failure says.
    #[must_use]
    pub const fn of(error: &EngineError) -> Self {
        match error {
            EngineError::Session(SessionError::Refused { .. }) | EngineError::Transport(_) | EngineError::Stalled
                if error.is_transient() =>
            {
                Self::Passing
            }
            EngineError::Session(_) if error.is_transient() => Self::Passing,
            _ if error.is_transient() => Self::Here,
            _ => Self::Person,
        }
    }
}

/// Whether a relay is tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Circuit {
    /// It is.
    #[default]
    Closed,
    /// Not until its time has come.
    Open,
    /// One try is under way that decides.
    HalfOpen,
}

/// What stands between this device and a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Why, and what to do next, in words.
    pub reason: String,
    /// A fixed word for it.
    pub kind: &'static str,
    /// When the first of these failures was (ms since the home was opened).
    pub since_ms: u64,
    /// Failures in a row.
    pub failures: u32,
    /// When it is tried next (ms since the home was opened).
    pub next_ms: u64,
    /// Whether it is tried.
    pub circuit: Circuit,
    /// Whether it takes a person.
    pub needs_person: bool,
}

/// Counts what went wrong with one relay since it last worked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaker {
    circuit: Circuit,
    /// All failures, which set how long is waited.
    failures: u32,
    /// Those of the relay or the network in a row.
    passing: u32,
    /// How often the circuit opened.
    openings: u32,
    next_ms: u64,
    trouble: Option<(String, u64, Blame, &'static str)>,
}

impl Breaker {
    /// It worked: everything is as if nothing had been.
    pub fn worked(&mut self) {
        *self = Self::default();
    }

    /// Begins a try; while the circuit is not closed it is the only one.
    ///
    /// # Errors
    /// How long to wait (ms), when its time has not come.
    pub const fn begin(&mut self, now_ms: u64) -> Result<(), u64> {
        if now_ms < self.next_ms {
            return Err(self.next_ms - now_ms);
        }
        if !matches!(self.circuit, Circuit::Closed) {
            self.circuit = Circuit::HalfOpen;
            self.next_ms = now_ms.saturating_add(PROBE_MS);
        }
        Ok(())
    }

    /// A person asks, or the network came back: the next try may begin at once.
    pub const fn allow(&mut self, now_ms: u64) {
        if self.next_ms > now_ms {
            self.next_ms = now_ms;
        }
    }

    /// A try failed: how long to wait (ms). `random` is uniform over all u64.
    pub fn failed(&mut self, error: &EngineError, now_ms: u64, random: u64) -> u64 {
        let blame = Blame::of(error);
        let wait_ms = self.wait_ms(blame, random).max(error.retry_after_ms().min(WAIT_MS_MAX));
        self.next_ms = now_ms.saturating_add(wait_ms);
        let since_ms = self.trouble.as_ref().map_or(now_ms, |(_, since_ms, ..)| *since_ms);
        self.trouble = Some((error.to_string(), since_ms, blame, error.name()));
        wait_ms
    }

    fn wait_ms(&mut self, blame: Blame, random: u64) -> u64 {
        let before = self.failures;
        self.failures = self.failures.saturating_add(1);
        match blame {
            Blame::Person => {
                self.circuit = Circuit::Open;
                return WAIT_MS_MAX;
            }
            Blame::Passing => {
                self.passing = self.passing.saturating_add(1);
                if self.passing >= FAILURES_MAX || self.circuit != Circuit::Closed {
                    self.circuit = Circuit::Open;
                    let ceiling = doubled(OPEN_MS_MIN, self.openings, OPEN_MS_MAX);
                    self.openings = self.openings.saturating_add(1);
                    return ceiling / 2 + random % (ceiling / 2 + 1);
                }
            }
            // It answered, or was not asked.
            Blame::Here => self.passing = 0,
        }
        random % (doubled(WAIT_MS_MIN, before, WAIT_MS_MAX) + 1)
    }

    /// Why it is not connected, if it failed since it last worked.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        let (reason, since_ms, blame, kind) = self.trouble.clone()?;
        let needs_person = blame == Blame::Person;
        let (failures, next_ms, circuit) = (self.failures, self.next_ms, self.circuit);
        Some(Trouble { reason, kind, since_ms, failures, next_ms, circuit, needs_person })
    }
}

fn doubled(least: u64, times: u32, most: u64) -> u64 {
    least.saturating_mul(1 << times.min(16)).min(most)
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::frame::ErrorCode;
    use proptest::prelude::*;

    use super::*;

    const LOST: EngineError = EngineError::Session(SessionError::Disconnected);
    const WRONG_KEY: EngineError = EngineError::Session(SessionError::RelaySignature);

    fn refused(code: ErrorCode, retry_after_ms: u32) -> EngineError {
        EngineError::Session(SessionError::Refused { code, retry_after_ms })
    }

    #[test]
    fn the_wait_doubles_is_drawn_from_all_of_it_and_begins_anew_when_it_worked() {
        let mut breaker = Breaker::default();
        for ceiling in [500, 1_000, 2_000, 4_000, 8_000] {
            let (mut most, mut none) = (breaker.clone(), breaker.clone());
            assert_eq!((most.failed(&LOST, 0, ceiling), none.failed(&LOST, 0, ceiling + 1)), (ceiling, 0));
            assert_eq!(breaker.failed(&LOST, 0, 7), 7);
        }
        breaker.worked();
        assert_eq!((breaker.failed(&LOST, 0, 501), breaker.trouble().unwrap().failures), (0, 1));
    }

    #[test]
    fn it_opens_after_so_many_failures_waits_longer_each_time_and_closes_with_one_that_works() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            breaker.failed(&LOST, 0, 0);
            assert_eq!(breaker.trouble().unwrap().circuit, Circuit::Closed);
        }
        for (ceiling, now_ms) in [(30_000, 1_000_000), (60_000, 2_000_000), (120_000, 3_000_000), (120_000, 4_000_000)]
        {
            breaker.begin(now_ms).unwrap();
            assert_eq!(breaker.clone().failed(&LOST, now_ms, 0), ceiling / 2, "an open circuit rests");
            assert_eq!(breaker.failed(&LOST, now_ms, ceiling / 2), ceiling);
            assert_eq!(breaker.trouble().unwrap().circuit, Circuit::Open);
            assert_eq!(breaker.begin(now_ms + 1), Err(ceiling - 1));
        }
        breaker.begin(5_000_000).unwrap();
        assert_eq!(breaker.trouble().unwrap().circuit, Circuit::HalfOpen);
        assert_eq!(breaker.begin(5_000_001), Err(PROBE_MS - 1), "one probe at a time");
        breaker.worked();
        assert_eq!((breaker.trouble(), breaker.begin(5_000_001)), (None, Ok(())));
    }

    #[test]
    fn what_needs_a_person_opens_at_once_and_a_person_who_asks_is_not_kept_waiting() {
        for error in [WRONG_KEY, refused(ErrorCode::NotMember, 0), refused(ErrorCode::Removed, 0), EngineError::NoRelay]
        {
            let mut breaker = Breaker::default();
            assert_eq!(breaker.failed(&error, 5, 3), WAIT_MS_MAX);
            let trouble = breaker.trouble().unwrap();
            assert!(trouble.needs_person && trouble.circuit == Circuit::Open && trouble.since_ms == 5, "{trouble:?}");
            assert!(breaker.begin(6).is_err());
            breaker.allow(6);
            assert_eq!(breaker.begin(6), Ok(()));
        }
    }

    #[test]
    fn a_relay_that_names_a_time_is_left_alone_for_it_and_for_no_longer_than_a_minute() {
        assert_eq!(Breaker::default().failed(&refused(ErrorCode::Rate, 7_000), 0, 0), 7_000);
        assert_eq!(Breaker::default().failed(&refused(ErrorCode::Rate, u32::MAX), 0, 0), WAIT_MS_MAX);
    }

    #[test]
    fn what_happens_here_is_not_held_against_the_relay() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            assert!(breaker.failed(&EngineError::Locked, 0, u64::MAX) <= WAIT_MS_MAX);
            assert_eq!(breaker.trouble().unwrap().circuit, Circuit::Closed);
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_it_is_tried_again_in_time_and_an_open_circuit_lets_nothing_through_before(
            steps in proptest::collection::vec((0_u8..6, any::<u64>(), 0_u64..200_000), 1..200)
        ) {
            let (mut breaker, mut now_ms, mut in_a_row) = (Breaker::default(), 0, 0);
            for (step, random, passed_ms) in steps {
                now_ms += passed_ms;
                let before = breaker.clone();
                match step {
                    0..=2 => {
                        let wait_ms = breaker.failed(&LOST, now_ms, random);
                        in_a_row += 1;
                        prop_assert!(wait_ms <= OPEN_MS_MAX);
                        prop_assert!(in_a_row < FAILURES_MAX || breaker.circuit == Circuit::Open);
                        prop_assert_eq!(breaker.begin(now_ms), if wait_ms == 0 { Ok(()) } else { Err(wait_ms) });
                        if wait_ms > 0 {
                            prop_assert!(breaker.clone().begin(now_ms + wait_ms - 1).is_err());
                        }
                        prop_assert!(breaker.clone().begin(now_ms + wait_ms).is_ok());
                    }
                    3 => {
                        prop_assert_eq!(breaker.failed(&WRONG_KEY, now_ms, random), WAIT_MS_MAX);
                        prop_assert_eq!(breaker.circuit, Circuit::Open);
                    }
                    4 => {
                        breaker.worked();
                        in_a_row = 0;
                        prop_assert_eq!(&breaker, &Breaker::default());
                    }
                    _ => match breaker.begin(now_ms) {
                        Ok(()) => {
                            prop_assert!(now_ms >= before.next_ms);
                            prop_assert!(before.circuit == Circuit::Closed || breaker.begin(now_ms).is_err());
                        }
                        Err(wait_ms) => prop_assert!(wait_ms <= OPEN_MS_MAX && breaker == before),
                    },
                }
            }
        }
    }
}
