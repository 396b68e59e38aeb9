//! The watchdog: documents are applied on a worker thread, and a document that takes too long is given up.
//!
//! A thread cannot be killed, so a hung worker is left behind with the one document it holds; its caller loads
//! that document again from the store. One worker serves a whole page, so the normal cost is one thread start.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifeos_sync_protocol::ids::{DocId, EnvelopeId};

use super::{Applied, CheckedDelta, apply};
use crate::document::Document;

/// How long one document may take. A batch of a page on the longest note takes well under a second.
pub const APPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// A document and the changes for it.
pub struct Job {
    /// The document as stored.
    pub document: Document,
    /// Checked changes for it.
    pub deltas: Vec<CheckedDelta>,
}

/// What became of a job.
#[expect(clippy::large_enum_variant, reason = "the large variant is the usual one and is moved once")]
pub enum Guarded {
    /// Applied, as far as it could be.
    Done {
        /// The document, changed or not.
        document: Document,
        /// What happened.
        applied: Applied,
    },
    /// Given up: load the document again, and quarantine these envelopes as
    /// [`super::FenceError::Timeout`] (or try them one by one, to find the culprit).
    Timeout {
        /// The document.
        doc: DocId,
        /// All envelopes of the job.
        envelopes: Vec<EnvelopeId>,
    },
}

/// Applies jobs one after the other; the answers have the order of the jobs. Blocks for as long as the jobs take,
/// at most `timeout` for each.
pub fn apply_guarded(jobs: Vec<Job>, timeout: Duration) -> Vec<Guarded> {
    run_guarded(jobs, timeout, |job| {
        let Job { mut document, deltas } = job;
        let applied = apply(&mut document, deltas);
        (document, applied)
    })
}

type Work = fn(Job) -> (Document, Applied);
type Answer = (Document, Applied);

/// Jobs that wait. A worker that was given up finds its token gone and takes no more.
struct Queue {
    jobs: VecDeque<Job>,
    worker: u32,
}

fn run_guarded(jobs: Vec<Job>, timeout: Duration, work: Work) -> Vec<Guarded> {
    let given_up: Vec<(DocId, Vec<EnvelopeId>)> = jobs.iter().map(names).collect();
    let queue = Arc::new(Mutex::new(Queue { jobs: jobs.into(), worker: 0 }));
    let mut answers = Vec::with_capacity(given_up.len());
    let mut worker = start_worker(&queue, work);
    while answers.len() < given_up.len() {
        match worker.recv_timeout(timeout) {
            Ok((document, applied)) => answers.push(Guarded::Done { document, applied }),
            // Disconnected: the worker ended without an answer, which only a bug outside the fence can cause.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let (doc, envelopes) = given_up[answers.len()].clone();
                answers.push(Guarded::Timeout { doc, envelopes });
                worker = start_worker(&queue, work);
            }
        }
    }
    answers
}

fn names(job: &Job) -> (DocId, Vec<EnvelopeId>) {
    let changes = job.deltas.iter().flat_map(|delta| &delta.changes);
    let mut envelopes: Vec<EnvelopeId> = changes.map(|change| change.envelope).collect();
    envelopes.sort_unstable();
    envelopes.dedup();
    (job.document.id(), envelopes)
}

fn start_worker(queue: &Arc<Mutex<Queue>>, work: Work) -> Receiver<Answer> {
    let (sender, receiver) = mpsc::channel();
    let token = {
        let mut queue = lock(queue);
        queue.worker += 1;
        queue.worker
    };
    let shared = Arc::clone(queue);
    let sender_here = sender.clone();
    let started = std::thread::Builder::new()
        .name("apply".into())
        .spawn(move || serve(&shared, token, work, &sender));
    if started.is_err() {
        // No thread can be had: go on without the watchdog rather than not at all.
        serve(queue, token, work, &sender_here);
    }
    receiver
}

fn serve(queue: &Mutex<Queue>, token: u32, work: Work, answers: &Sender<Answer>) {
    while let Some(job) = take(queue, token) {
        if answers.send(work(job)).is_err() {
            return;
        }
    }
}

fn take(queue: &Mutex<Queue>, token: u32) -> Option<Job> {
    let mut queue = lock(queue);
    if queue.worker == token { queue.jobs.pop_front() } else { None }
}

/// A panic while the queue was locked cannot have left it half changed.
fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
