//! Work that is done while nothing else is: what runs, how far it is, and stopping it at any moment.
//!
//! Every job goes a turn at a time: a turn handles so many documents at most, is one commit or several, and leaves the
//! home whole. What is left to do stands in the database, so a job that is stopped, or whose process dies, goes on
//! where it was. Between two turns the lock is free, and an edit gets in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Shared;
use super::shared::{random_u64, wall_ms};
use crate::store::{Reads, StoreError};

/// What takes no longer is told to no other process; what does is told as often, and so often they are asked whether all of it
/// is to wait.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// What a process has not told again for so long is not so any more: it died.
const STALE_MS: i64 = 10_000;

/// What is done in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobKind {
    /// Documents are projected again after an update.
    Project,
    /// Documents that came with a checkpoint are looked at.
    Verify,
    /// Documents are put into the search index.
    Index,
    /// Changes become part of their documents' snapshots.
    Compact,
    /// A checkpoint is made.
    Checkpoint,
    /// Parts of attachments are sealed anew.
    Reseal,
    /// A checkpoint is compared with what is here.
    Compare,
    /// Envelopes that a checkpoint stands for are forgotten.
    Prune,
    /// The database is written anew without what was erased. One turn, which cannot be stopped.
    Scrub,
}

impl JobKind {
    /// Stable name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Verify => "verify",
            Self::Index => "index",
            Self::Compact => "compact",
            Self::Checkpoint => "checkpoint",
            Self::Reseal => "reseal",
            Self::Compare => "compare",
            Self::Prune => "prune",
            Self::Scrub => "scrub",
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobProgress {
    pub(crate) kind: JobKind,
    pub(crate) done: u64,
    pub(crate) total: u64,
}

/// Who works on a kind of job, and how far they are.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    runners: u32,
    done: u64,
    total: u64,
}

/// What runs in this process, in one space.
#[derive(Debug)]
pub(crate) struct Jobs {
    running: Mutex<BTreeMap<JobKind, State>>,
    /// Somebody asked all of them to stop.
    stopped: AtomicBool,
    /// A person asked, here or in another process, to have them wait until then (ms UTC).
    paused_ms: AtomicI64,
    /// Whose word it is, among all processes that have this home open.
    teller: String,
    /// Since when something runs or was told last, and whether it was told.
    told: Mutex<(Option<Instant>, bool)>,
}

/// What another process told.
pub(crate) struct ToldJobs {
    /// When (ms UTC).
    pub(crate) at_ms: i64,
    pub(crate) jobs: Vec<JobProgress>,
}

impl ToldJobs {
    /// What was told lately; none if that is not so any more or cannot be read, e.g. because a later version told it.
    pub(crate) fn decode(told: &[u8], now_ms: i64) -> Option<Self> {
        let (at_ms, jobs) = told.split_first_chunk::<8>()?;
        let at_ms = i64::from_be_bytes(*at_ms);
        let is_so = (0..STALE_MS).contains(&now_ms.saturating_sub(at_ms));
        is_so.then(|| serde_json::from_slice(jobs).ok().map(|jobs| Self { at_ms, jobs })).flatten()
    }
}

/// One job under way; it is over when this is dropped.
pub(crate) struct Job<'j> {
    jobs: &'j Jobs,
    kind: JobKind,
}

impl Jobs {
    pub(super) fn new() -> Self {
        Self {
            running: Mutex::default(),
            stopped: AtomicBool::new(false),
            paused_ms: AtomicI64::new(0),
            teller: format!("{:016x}", random_u64()),
            told: Mutex::default(),
        }
    }

    /// Whose word it is.
    pub(crate) fn teller(&self) -> &str {
        &self.teller
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<JobKind, State>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a job, or joins one of its kind; `None` when none is wanted now.
    pub(crate) fn begin(&self, kind: JobKind) -> Option<Job<'_>> {
        if self.is_stopped() {
            return None;
        }
        self.running().entry(kind).or_default().runners += 1;
        self.told.lock().unwrap_or_else(PoisonError::into_inner).0.get_or_insert_with(Instant::now);
        Some(Job { jobs: self, kind })
    }

    /// Asks all to stop before their next turn, and none to begin, until [`Jobs::resume`].
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Lets jobs begin again.
    pub(crate) fn resume(&self) {
        self.stopped.store(false, Ordering::Release);
    }

    /// Whether somebody asked them to stop, or to wait.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire) || wall_ms() < self.paused_ms.load(Ordering::Acquire)
    }

    /// Until when they wait (ms UTC).
    fn pause(&self, until_ms: Option<i64>) {
        self.paused_ms.store(until_ms.unwrap_or(0), Ordering::Release);
    }

    /// What is to be told to other processes now, if anything is.
    fn to_tell(&self) -> Option<Vec<JobProgress>> {
        let running = self.progress();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_empty() {
            let was_told = std::mem::take(&mut told.1);
            told.0 = None;
            return was_told.then_some(running);
        }
        if told.0.get_or_insert_with(Instant::now).elapsed() < TELL_EVERY {
            return None;
        }
        *told = (Some(Instant::now()), true);
        Some(running)
    }

    /// What runs, and how far it is.
    pub(crate) fn progress(&self) -> Vec<JobProgress> {
        let running = self.running();
        let job = |(kind, state): (&JobKind, &State)| JobProgress { kind: *kind, done: state.done, total: state.total };
        running.iter().map(job).collect()
    }
}

impl Job<'_> {
    /// A turn did so much, and so much is left: false if it is to stop. What is told never goes backwards: work that comes
    /// in meanwhile makes the whole larger.
    pub(crate) fn went(&self, more: u64, left: u64) -> bool {
        let mut running = self.jobs.running();
        let State { done, total, .. } = running.entry(self.kind).or_default();
        *done = done.saturating_add(more);
        *total = (*total).max(done.saturating_add(left));
        !self.jobs.is_stopped()
    }

    /// So many are done of so many, of a job that counts for itself.
    pub(crate) fn is_at(&self, at: u64, of: u64) -> bool {
        let mut running = self.jobs.running();
        let State { done, total, .. } = running.entry(self.kind).or_default();
        *done = (*done).max(at);
        *total = (*total).max(of).max(*done);
        !self.jobs.is_stopped()
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        let mut running = self.jobs.running();
        if let Some(state) = running.get_mut(&self.kind) {
            state.runners -= 1;
            if state.runners == 0 {
                running.remove(&self.kind);
            }
        }
    }
}

impl Shared {
    /// Begins a job, or joins one of its kind; `None` when none is wanted now.
    pub(super) fn begin_job(&self, kind: JobKind, reads: &Reads<'_>) -> Result<Option<Job<'_>>, StoreError> {
        self.jobs.pause(reads.jobs_paused_ms()?);
        Ok(self.jobs.begin(kind))
    }

    /// Between two turns, and at their end: tells other processes of this home how far it is, and hears whether it is to
    /// wait. The caller does not hold the store.
    pub(super) fn tell_jobs(&self) -> Result<(), StoreError> {
        let Some(running) = self.jobs.to_tell() else { return Ok(()) };
        let told = serde_json::to_vec(&running).unwrap_or_default();
        let mut store = self.store();
        self.jobs.pause(store.reads().jobs_paused_ms()?);
        let told = (!running.is_empty()).then_some(told.as_slice());
        store.tell_jobs(self.jobs.teller(), told, (wall_ms(), STALE_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_told_counts_for_a_while_and_what_cannot_be_read_for_nothing() {
        let jobs = [JobProgress { kind: JobKind::Scrub, done: 1, total: 2 }];
        let told = [&1_000_i64.to_be_bytes(), serde_json::to_vec(&jobs).unwrap().as_slice()].concat();
        for (now_ms, counts) in [(1_000, true), (10_999, true), (11_000, false), (999, false), (i64::MIN, false)] {
            let read = ToldJobs::decode(&told, now_ms);
            assert_eq!(read.map(|told| (told.at_ms, told.jobs)), counts.then(|| (1_000, jobs.to_vec())), "{now_ms}");
        }
        for bad in [&[][..], &told[..7], &told[..20], &[told.as_slice(), b"x"].concat()] {
            assert!(ToldJobs::decode(bad, 1_000).is_none());
        }
    }

    #[test]
    fn a_job_tells_how_far_it_is_and_never_goes_backwards_and_is_over_with_who_did_it() {
        let jobs = Jobs::new();
        let job = jobs.begin(JobKind::Index).unwrap();
        let second = jobs.begin(JobKind::Index).unwrap();
        drop(second);
        assert_eq!(jobs.progress().len(), 1, "the first goes on");
        assert!(jobs.begin(JobKind::Verify).is_some());
        let told = || jobs.progress().iter().map(|job| (job.done, job.total)).collect::<Vec<_>>();
        assert!(job.went(64, 100));
        assert_eq!(told(), [(64, 164)]);
        assert!(job.went(64, 90), "more came in meanwhile");
        assert_eq!(told(), [(128, 218)]);
        assert!(job.is_at(3, 10));
        assert_eq!(told(), [(128, 218)]);
        jobs.stop();
        assert!(!job.went(1, 0) && jobs.begin(JobKind::Compact).is_none());
        drop(job);
        assert_eq!(jobs.progress(), []);
        jobs.resume();
        assert!(jobs.begin(JobKind::Index).is_some());
    }
}
