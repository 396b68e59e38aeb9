//! The relay's clock: the system's, or one that a test moves.
//!
//! It decides how long a checkpoint waits, when an object that nothing names goes and when an invitation is over; it
//! never orders anything. Rates and deadlines of connections run on the monotonic clock instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

/// What the relay takes for the time of day.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Virtual(Arc<Virtual>),
}

#[derive(Debug)]
struct Virtual {
    now_ms: AtomicU64,
    moved: Notify,
}

impl Clock {
    /// The system's.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// One that stands at `now_ms` (UTC) until it is moved. Clones move together.
    #[must_use]
    pub fn standing_at(now_ms: u64) -> Self {
        Self(Source::Virtual(Arc::new(Virtual { now_ms: AtomicU64::new(now_ms), moved: Notify::new() })))
    }

    /// Milliseconds UTC.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
            Source::Virtual(clock) => clock.now_ms.load(Ordering::Acquire),
        }
    }

    /// Moves a clock that stands, and wakes the relay; the system's goes by itself.
    pub fn advance(&self, by: Duration) {
        if let Source::Virtual(clock) = &self.0 {
            clock.now_ms.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::AcqRel);
            clock.moved.notify_waiters();
        }
    }

    /// Waits until somebody moves the clock; for ever with the system's.
    pub(crate) async fn until_moved(&self) {
        match &self.0 {
            Source::System => std::future::pending().await,
            Source::Virtual(clock) => clock.moved.notified().await,
        }
    }
}

impl PartialEq for Clock {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Source::System, Source::System) => true,
            (Source::Virtual(one), Source::Virtual(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Clock {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stands_moves_only_when_it_is_moved_and_its_clones_with_it() {
        let clock = Clock::standing_at(1_000);
        let other = clock.clone();
        assert_eq!((clock.now_ms(), other.now_ms()), (1_000, 1_000));
        other.advance(Duration::from_secs(2));
        assert_eq!((clock.now_ms(), other.now_ms()), (3_000, 3_000));
        assert!(clock == other && clock != Clock::standing_at(3_000) && clock != Clock::system());
        // 2020-01-01: the system's is later, and nobody moves it.
        Clock::system().advance(Duration::from_secs(u64::MAX / 2_000));
        assert!((1_577_836_800_000..10_000_000_000_000).contains(&Clock::system().now_ms()));
    }
}
