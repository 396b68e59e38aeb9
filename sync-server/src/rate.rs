//! How often something may happen: a bucket that fills with time and is emptied by what is done.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Keys remembered before those are dropped that have been quiet long enough to have a full bucket.
const KEYS_MAX: usize = 16 * 1024;

/// How much fits into a bucket, and how fast it fills again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    burst: u32,
    /// Time in which one piece comes back.
    each: Duration,
}

impl Rate {
    /// `count` pieces come back in every `period`; at most `burst` are saved up.
    pub(crate) fn new(count: u32, period: Duration, burst: u32) -> Self {
        Self { burst: burst.max(1), each: period / count.max(1) }
    }
}

/// The bucket of one connection or address: the time at which it is full again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    pub(crate) const fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes `count` pieces, which may be more than are there; answers how long to wait until they would have been.
    pub(crate) fn take(&mut self, rate: Rate, count: u32, now: Instant) -> Duration {
        self.full_at = self.full_at.max(now) + rate.each.saturating_mul(count);
        let missing = self.full_at - now;
        missing.saturating_sub(rate.each.saturating_mul(rate.burst))
    }

    /// Takes one piece if it is there.
    fn try_take(&mut self, rate: Rate, now: Instant) -> bool {
        let mut taken = *self;
        let there = taken.take(rate, 1, now).is_zero();
        if there {
            *self = taken;
        }
        there
    }
}

/// One bucket for each address or device.
#[derive(Debug)]
pub(crate) struct KeyedRate<K> {
    rate: Rate,
    buckets: Mutex<HashMap<K, Bucket>>,
}

impl<K: Eq + Hash> KeyedRate<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// So many in a minute, all of which may come at once.
    pub(crate) fn per_minute(count: u32) -> Self {
        Self::new(Rate::new(count, Duration::from_secs(60), count))
    }

    /// So many in a second, and so many at once before that.
    pub(crate) fn per_second(count: u32, burst: u32) -> Self {
        Self::new(Rate::new(count, Duration::from_secs(1), burst))
    }

    /// Takes a piece from the key's bucket if one is there.
    pub(crate) fn try_take(&self, key: K, now: Instant) -> bool {
        let rate = self.rate;
        self.with(key, now, |bucket| bucket.try_take(rate, now))
    }

    /// Takes pieces that may not be there yet; answers how long to wait for them.
    pub(crate) fn take(&self, key: K, count: u32, now: Instant) -> Duration {
        let rate = self.rate;
        self.with(key, now, |bucket| bucket.take(rate, count, now))
    }

    fn with<T>(&self, key: K, now: Instant, act: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= KEYS_MAX {
            buckets.retain(|_, bucket| bucket.full_at > now);
        }
        act(buckets.entry(key).or_insert(Bucket::full(now)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_has_a_burst_and_then_what_comes_back() {
        let [one, other] = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
        let rate = KeyedRate::new(Rate::new(2, Duration::from_secs(60), 2));
        let start = Instant::now();
        assert!(rate.try_take(one, start) && rate.try_take(one, start));
        assert!(!rate.try_take(one, start) && !rate.try_take(one, start + Duration::from_secs(29)));
        assert!(rate.try_take(other, start));
        // What was refused cost nothing.
        assert!(rate.try_take(one, start + Duration::from_secs(30)));
        assert!(!rate.try_take(one, start + Duration::from_secs(30)));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_more_than_the_burst_waits_for_the_rest() {
        let (start, rate) = (Instant::now(), Rate::new(10, Duration::from_secs(1), 100));
        let mut bucket = Bucket::full(start);
        assert_eq!(bucket.take(rate, 100, start), Duration::ZERO);
        assert_eq!(bucket.take(rate, 20, start), Duration::from_secs(2));
        assert_eq!(bucket.take(rate, 0, start + Duration::from_secs(2)), Duration::ZERO);
        assert_eq!(bucket.take(rate, 5, start + Duration::from_secs(3)), Duration::ZERO);
    }
}
