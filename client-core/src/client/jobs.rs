//! Work in the background: how far it is, in this process and in others of this home, and having it wait.

use std::sync::Arc;
use std::time::Duration;

use super::{Client, ClientError};
use crate::engine::{JobKind, JobProgress, ToldJobs, project, wall_ms};

/// Longest that background work waits because a person asked: it is needed for syncing to stay cheap.
const PAUSE_MS_MAX: i64 = 7 * 24 * 60 * 60 * 1_000;

/// Work in the background. While it runs, what is told of it never goes backwards.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct JobStatus {
    /// Stable name: `project`, `verify`, `index`, `compact`, `checkpoint`, `reseal`, `compare`, `prune`, `scrub`.
    pub kind: String,
    /// In words.
    pub text: String,
    /// So much is done: of documents, of a checkpoint's chunks (`compare`) or of envelopes (`prune`).
    pub done: u64,
    /// So much in all, as far as is known.
    pub total: u64,
    /// Another process of this home does it.
    pub elsewhere: bool,
    /// When that was so (ms UTC): of another process at most a few seconds ago.
    pub told_ms: i64,
}

impl Client {
    /// What is done in the background now, by this process in this space and by other processes of this home. Of a process
    /// that died nothing is told after a few seconds.
    /// # Errors
    /// [`ClientError`].
    pub fn jobs(&self) -> Result<Vec<JobStatus>, ClientError> {
        let now_ms = wall_ms();
        let told = self.shared.reader().reads().told_jobs()?;
        let elsewhere = told.iter().filter(|(teller, _)| *teller != self.shared.jobs.teller());
        let elsewhere = elsewhere.filter_map(|(_, told)| ToldJobs::decode(told, now_ms));
        let here = self.shared.jobs.progress().into_iter().map(|job| status(job, now_ms, false));
        let there = elsewhere.flat_map(|told| told.jobs.into_iter().map(move |job| status(job, told.at_ms, true)));
        Ok(here.chain(there).collect())
    }

    /// Stops this process' background work before its next turn, and lets none begin until [`Client::resume_jobs`]: for a
    /// device that is about to sleep. The home is whole at every moment, and nothing done is done again.
    pub fn stop_jobs(&self) {
        self.shared.jobs.stop();
    }

    /// Lets background work of this process begin again: with the next rest, sync or import.
    pub fn resume_jobs(&self) {
        self.shared.jobs.resume();
    }

    /// Has background work wait in all processes of this home for a time, a week at most; what runs stops within a second.
    /// `None`: it waits no more. Sync itself goes on.
    /// # Errors
    /// [`ClientError`].
    pub fn pause_jobs(&self, wait: Option<Duration>) -> Result<(), ClientError> {
        let wait_ms = wait.map(|wait| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX).min(PAUSE_MS_MAX));
        Ok(self.shared.store().pause_jobs(wait_ms.map(|wait_ms| wall_ms().saturating_add(wait_ms)))?)
    }

    /// Until when background work waits because a person asked (ms UTC), if it does.
    /// # Errors
    /// [`ClientError`].
    pub fn jobs_paused_ms(&self) -> Result<Option<i64>, ClientError> {
        let (now_ms, kept) = (wall_ms(), self.shared.reader().reads().jobs_paused_ms()?);
        // A clock that was set back does not make it longer.
        Ok(kept.filter(|until_ms| (now_ms..=now_ms.saturating_add(PAUSE_MS_MAX)).contains(until_ms)))
    }

    /// After an update: projects documents again in a thread of its own for as long as somebody has the home open.
    pub(super) fn project_beside(&self) -> Result<(), ClientError> {
        if self.shared.reader().reads().unprojected_count()? == 0 {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let work = move || {
            if let Err(error) = project(&shared, || Arc::strong_count(&shared) > 1) {
                tracing::warn!(%error, "lists still show what an earlier version made of some documents");
            }
        };
        // Without a thread the next sync does it.
        if let Err(error) = std::thread::Builder::new().name("lifeos-project".to_owned()).spawn(work) {
            tracing::warn!(%error, "no thread for the work after an update");
        }
        Ok(())
    }
}

fn status(job: JobProgress, told_ms: i64, elsewhere: bool) -> JobStatus {
    let text = match job.kind {
        JobKind::Project => "bringing lists up to date after an update",
        JobKind::Verify => "looking at documents that came with a checkpoint",
        JobKind::Index => "bringing the search index up to date",
        JobKind::Compact => "making documents smaller on the disk",
        JobKind::Checkpoint => "making a checkpoint",
        JobKind::Reseal => "sealing attachments anew after a removal",
        JobKind::Compare => "comparing a checkpoint with what is here",
        JobKind::Prune => "forgetting edits that a checkpoint stands for",
        JobKind::Scrub => "writing the database anew without what was erased",
    };
    let (kind, text) = (job.kind.name().to_owned(), text.to_owned());
    JobStatus { kind, text, done: job.done, total: job.total, elsewhere, told_ms }
}
