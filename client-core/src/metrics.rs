//! Counters and times of what the engine does, and its last steps: numbers under fixed names, and nothing else.
//!
//! What is measured cannot carry content: a name is one of an enum, all else is a number. What was written down once is
//! read back under the same rule.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Steps of the past that are kept.
pub const STEPS_MAX: usize = 256;
/// Buckets of times: bucket n holds what took less than 2^n µs, the last one everything above.
const BUCKETS: usize = 28;
/// Names that are read back; there are fewer.
const NAMES_MAX: usize = 64;
/// Letters of a name that is read back.
const NAME_CHARS_MAX: usize = 32;

/// Work whose time is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A local edit: from the first read to the durable commit.
    Commit,
    /// Pending changes become envelopes, in one commit.
    Seal,
    /// Envelopes are read for sending.
    Push,
    /// From handing envelopes out to their acknowledgement.
    Acknowledge,
    /// A page is taken in, whole.
    Pull,
    /// Chain and signatures of a page.
    Verify,
    /// One envelope is decrypted and read.
    Open,
    /// Changes are applied to one document.
    Apply,
    /// Rows and search text of one document.
    Project,
    /// Documents are indexed, in one commit.
    Index,
}

impl Work {
    const ALL: [Self; 10] = [
        Self::Commit,
        Self::Seal,
        Self::Push,
        Self::Acknowledge,
        Self::Pull,
        Self::Verify,
        Self::Open,
        Self::Apply,
        Self::Project,
        Self::Index,
    ];

    /// Stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Seal => "seal",
            Self::Push => "push",
            Self::Acknowledge => "acknowledge",
            Self::Pull => "pull",
            Self::Verify => "verify",
            Self::Open => "open",
            Self::Apply => "apply",
            Self::Project => "project",
            Self::Index => "index",
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// Bytes of frames received.
    BytesIn,
    /// Bytes of frames sent.
    BytesOut,
    /// Envelopes received that were new.
    EnvelopesIn,
    /// Own envelopes that a relay acknowledged.
    EnvelopesOut,
    /// Envelopes of others given to a relay that lacked them.
    EnvelopesGiven,
    /// Envelopes made.
    EnvelopesSealed,
    /// Envelopes set aside.
    Quarantined,
    /// Documents changed from elsewhere.
    DocumentsChanged,
    /// Connections begun.
    Connections,
    /// Connections that ended with an error.
    Failures,
    /// Failures after which it was tried again by itself.
    Retries,
    /// Times a circuit opened.
    CircuitsOpened,
    /// Steps of the database's statements: what a query costs, on any machine.
    DatabaseSteps,
}

impl Tick {
    const ALL: [Self; 13] = [
        Self::BytesIn,
        Self::BytesOut,
        Self::EnvelopesIn,
        Self::EnvelopesOut,
        Self::EnvelopesGiven,
        Self::EnvelopesSealed,
        Self::Quarantined,
        Self::DocumentsChanged,
        Self::Connections,
        Self::Failures,
        Self::Retries,
        Self::CircuitsOpened,
        Self::DatabaseSteps,
    ];

    /// Stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BytesIn => "bytes_in",
            Self::BytesOut => "bytes_out",
            Self::EnvelopesIn => "envelopes_in",
            Self::EnvelopesOut => "envelopes_out",
            Self::EnvelopesGiven => "envelopes_given",
            Self::EnvelopesSealed => "envelopes_sealed",
            Self::Quarantined => "quarantined",
            Self::DocumentsChanged => "documents_changed",
            Self::Connections => "connections",
            Self::Failures => "failures",
            Self::Retries => "retries",
            Self::CircuitsOpened => "circuits_opened",
            Self::DatabaseSteps => "database_steps",
        }
    }
}

/// One step of the past.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Trace {
    /// When (ms UTC).
    pub at_ms: i64,
    /// What: a fixed word.
    pub step: String,
    /// What came of it: a fixed word.
    pub outcome: String,
    /// How many.
    pub count: u64,
}

/// Times of one kind of work.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Times {
    /// How often.
    pub count: u64,
    /// Altogether (µs).
    pub total_us: u64,
    /// The longest (µs).
    pub max_us: u64,
    /// How often it took less than 2^n µs, and no less than half of that.
    pub buckets: Vec<u64>,
}

impl Times {
    /// A bound (µs) that this share of all stays below; 0 if there was none.
    #[must_use]
    pub fn below_us(&self, share: f64) -> u64 {
        let mut left = (self.count as f64 * share).ceil() as u64;
        for (n, count) in self.buckets.iter().enumerate() {
            if left <= *count {
                return if left == 0 { 0 } else { self.max_us.min(1 << n.min(BUCKETS)) };
            }
            left -= count;
        }
        self.max_us
    }

    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.total_us = self.total_us.saturating_add(other.total_us);
        self.max_us = self.max_us.max(other.max_us);
        self.buckets.resize(BUCKETS, 0);
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket = bucket.saturating_add(*more);
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Measured {
    /// By the name of what is counted.
    pub counts: BTreeMap<String, u64>,
    /// By the name of the work.
    pub times: BTreeMap<String, Times>,
    /// The last steps, oldest first.
    pub traces: Vec<Trace>,
}

/// A word that may stand where a fixed word stood: what is read back from a file is no other.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_CHARS_MAX
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

impl Measured {
    /// Adds what was measured later.
    pub fn add(&mut self, later: &Self) {
        for (name, count) in &later.counts {
            let sum = self.counts.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        for (name, times) in &later.times {
            self.times.entry(name.clone()).or_default().add(times);
        }
        self.traces.extend(later.traces.iter().cloned());
        let over = self.traces.len().saturating_sub(STEPS_MAX);
        self.traces.drain(..over);
    }

    /// Reads what was written down; what cannot have been written by this program is left out.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let mut read: Self = serde_json::from_slice(bytes).unwrap_or_default();
        read.counts.retain(|name, _| is_word(name));
        read.times.retain(|name, _| is_word(name));
        read.traces.retain(|trace| is_word(&trace.step) && is_word(&trace.outcome));
        while read.counts.len() > NAMES_MAX {
            read.counts.pop_last();
        }
        while read.times.len() > NAMES_MAX {
            read.times.pop_last();
        }
        read.times.values_mut().for_each(|times| times.buckets.truncate(BUCKETS));
        let over = read.traces.len().saturating_sub(STEPS_MAX);
        read.traces.drain(..over);
        read
    }

    /// To be written down.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.times.is_empty() && self.traces.is_empty()
    }
}

#[derive(Debug)]
struct Histogram {
    total_us: AtomicU64,
    max_us: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self { total_us: zero(), max_us: zero(), buckets: std::array::from_fn(|_| zero()) }
    }
}

/// Measures, from any thread; costs a few atomic additions.
#[derive(Debug, Default)]
pub struct Metrics {
    counts: [AtomicU64; Tick::ALL.len()],
    times: [Histogram; Work::ALL.len()],
    traces: Mutex<VecDeque<Trace>>,
}

impl Metrics {
    /// So much more.
    pub fn count(&self, tick: Tick, more: u64) {
        self.counts[tick as usize].fetch_add(more, Ordering::Relaxed);
    }

    /// It took so long.
    pub fn time(&self, work: Work, micros: u64) {
        let histogram = &self.times[work as usize];
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        histogram.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        histogram.total_us.fetch_add(micros, Ordering::Relaxed);
        histogram.max_us.fetch_max(micros, Ordering::Relaxed);
    }

    /// A step of the past, told to whoever listens to traces, too.
    pub fn trace(&self, at_ms: i64, step: &'static str, outcome: &'static str, count: u64) {
        tracing::debug!(step, outcome, count);
        let mut traces = self.traces();
        if traces.len() == STEPS_MAX {
            traces.pop_front();
        }
        traces.push_back(Trace { at_ms, step: step.to_owned(), outcome: outcome.to_owned(), count });
    }

    fn traces(&self) -> MutexGuard<'_, VecDeque<Trace>> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was measured since the last [`Metrics::take`].
    #[must_use]
    pub fn measured(&self) -> Measured {
        self.read(|number| number.load(Ordering::Relaxed), self.traces().iter().cloned().collect())
    }

    /// The same, and begins anew.
    #[must_use]
    pub fn take(&self) -> Measured {
        let traces = self.traces().drain(..).collect();
        self.read(|number| number.swap(0, Ordering::Relaxed), traces)
    }

    fn read(&self, read: impl Fn(&AtomicU64) -> u64, traces: Vec<Trace>) -> Measured {
        let mut measured = Measured { traces, ..Measured::default() };
        for (tick, number) in Tick::ALL.into_iter().zip(&self.counts) {
            let count = read(number);
            if count > 0 {
                measured.counts.insert(tick.name().to_owned(), count);
            }
        }
        for (work, histogram) in Work::ALL.into_iter().zip(&self.times) {
            let buckets: Vec<u64> = histogram.buckets.iter().map(&read).collect();
            let (total_us, max_us) = (read(&histogram.total_us), read(&histogram.max_us));
            let count = buckets.iter().sum();
            if count > 0 {
                measured.times.insert(work.name().to_owned(), Times { count, total_us, max_us, buckets });
            }
        }
        measured
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_measured_adds_up_however_often_it_is_written_down() {
        let (metrics, whole) = (Metrics::default(), Metrics::default());
        let mut written = Measured::default();
        for n in 0..1_000_u64 {
            for one in [&metrics, &whole] {
                one.count(Tick::BytesIn, n);
                one.time(Work::ALL[n as usize % Work::ALL.len()], n * n);
                one.trace(n as i64, "pull", "done", n);
            }
            if n % 77 == 0 {
                written.add(&metrics.take());
                written = Measured::decode(&written.encode());
            }
        }
        written.add(&metrics.take());
        let expected = whole.measured();
        assert_eq!((&written.counts, &written.times), (&expected.counts, &expected.times));
        assert_eq!(written.traces, expected.traces);
        assert_eq!(written.traces.len(), STEPS_MAX, "older steps go");
        assert!(metrics.measured().is_empty());
    }

    #[test]
    fn a_share_of_times_stays_below_its_bound() {
        let metrics = Metrics::default();
        for micros in [0, 1, 3, 100, 5_000, u64::MAX] {
            metrics.time(Work::Seal, micros);
        }
        let times = metrics.measured().times["seal"].clone();
        assert_eq!((times.count, times.max_us), (6, u64::MAX));
        assert_eq!((times.below_us(0.0), times.below_us(0.5), times.below_us(0.83)), (0, 4, 8_192));
        assert_eq!(Times::default().below_us(0.5), 0);
    }

    #[test]
    fn nothing_but_fixed_words_is_read_back() {
        let word = |step: &str| Trace { at_ms: 0, step: step.into(), outcome: "done".into(), count: 1 };
        let traces = ["pull", "Dear Diary", "", "a".repeat(33).as_str(), "pull_0af3"].map(word).to_vec();
        let written = Measured { traces, counts: BTreeMap::from([("My title".into(), 3)]), ..Measured::default() };
        let read = Measured::decode(&written.encode());
        assert_eq!((read.traces, read.counts.len()), (vec![word("pull")], 0));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Measured::decode(&bytes);
        }
    }
}
