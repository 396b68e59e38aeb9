//! When to try again: exponential with full jitter, so that a thousand devices do not come back at once.

use super::EngineError;

/// Smallest ceiling of the wait.
const BACKOFF_MS_MIN: u64 = 500;
/// Largest wait, also the fixed pace for what does not heal by itself (keys, membership).
const BACKOFF_MS_MAX: u64 = 60_000;

/// Counts failures in a row. Pure: the random number is an argument.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A connection went well.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after this failure (ms). `random` is uniform over all u64.
    pub fn next_ms(&mut self, error: &EngineError, random: u64) -> u64 {
        if !error.is_transient() {
            return BACKOFF_MS_MAX;
        }
        let ceiling = BACKOFF_MS_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MS_MAX);
        self.failures = self.failures.saturating_add(1);
        (random % (ceiling + 1)).max(error.retry_after_ms().min(BACKOFF_MS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionError;

    #[test]
    fn the_ceiling_doubles_up_to_a_minute_and_starts_again_after_success() {
        let lost = EngineError::Session(SessionError::Disconnected);
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9).map(|_| backoff.next_ms(&lost, 60_000 * 500 * 2 - 1)).collect();
        assert!(waits.iter().all(|wait| *wait <= BACKOFF_MS_MAX));
        let ceilings: Vec<_> = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000].into();
        let mut backoff = Backoff::default();
        for ceiling in ceilings {
            assert_eq!(backoff.next_ms(&lost, ceiling), ceiling);
        }
        backoff.reset();
        assert_eq!(backoff.next_ms(&lost, 501), 0);
    }

    #[test]
    fn trust_and_membership_are_not_retried_blindly() {
        let error = EngineError::Session(SessionError::RelaySignature);
        assert_eq!(Backoff::default().next_ms(&error, 3), BACKOFF_MS_MAX);
    }

    #[test]
    fn a_relay_that_names_a_time_is_left_alone_for_it() {
        let code = lifeos_sync_protocol::frame::ErrorCode::Rate;
        let error = EngineError::Session(SessionError::Refused { code, retry_after_ms: 7_000 });
        assert_eq!(Backoff::default().next_ms(&error, 0), 7_000);
    }
}
