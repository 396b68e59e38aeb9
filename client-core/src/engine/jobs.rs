//! Work that is done while nothing else is: what runs, how far it is, and stopping it at any moment.
//!
//! Every job goes a turn at a time: a turn handles so many documents at most, is one commit or several, and leaves the
//! home whole. What is left to do stands in the database, so a job that is stopped, or whose process dies, goes on
//! where it was. Between two turns the lock is free, and an edit gets in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is done in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum JobKind {
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
}

impl JobKind {
    /// Stable name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Index => "index",
            Self::Compact => "compact",
            Self::Checkpoint => "checkpoint",
            Self::Reseal => "reseal",
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// What runs in this process.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    running: Mutex<BTreeMap<JobKind, State>>,
    /// Somebody asked all of them to stop.
    stopped: AtomicBool,
}

/// One job under way; it is over when this is dropped.
pub(crate) struct Job<'j> {
    jobs: &'j Jobs,
    kind: JobKind,
}

impl Jobs {
    fn running(&self) -> MutexGuard<'_, BTreeMap<JobKind, State>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a job, or joins one of its kind; `None` when none is wanted now.
    pub(crate) fn begin(&self, kind: JobKind) -> Option<Job<'_>> {
        if self.is_stopped() {
            return None;
        }
        self.running().entry(kind).or_default().runners += 1;
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

    /// Whether somebody asked them to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_tells_how_far_it_is_and_never_goes_backwards_and_is_over_with_who_did_it() {
        let jobs = Jobs::default();
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
