//! The watchdog: documents are applied on a worker thread, and a document that takes too long is given up.
//!
//! A thread cannot be killed, so a hung worker is left behind with the one document it holds; its caller loads
//! that document again from the store. One worker serves a whole page, so the normal cost is one thread start.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
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

/// Jobs that wait. A worker that was given up finds another one's number here and takes no more.
struct Queue {
    jobs: VecDeque<Job>,
    taken: usize,
    worker: u32,
}

fn run_guarded(jobs: Vec<Job>, timeout: Duration, work: Work) -> Vec<Guarded> {
    let names: Vec<_> = jobs.iter().map(names).collect();
    let mut answers: BTreeMap<usize, Guarded> = BTreeMap::new();
    let queue = Arc::new(Mutex::new(Queue { jobs: jobs.into(), taken: 0, worker: 0 }));
    let mut worker = start_worker(&queue, work);
    while answers.len() < names.len() {
        if let Ok((index, answer)) = worker.answers.recv_timeout(timeout) {
            answers.insert(index, answer);
            continue;
        }
        // The old worker takes nothing more from here on; what it answered meanwhile still counts.
        let taken = retire(&queue);
        answers.extend(worker.answers.try_iter());
        for (index, (doc, envelopes)) in names.iter().enumerate().take(taken) {
            answers.entry(index).or_insert_with(|| Guarded::Timeout { doc: *doc, envelopes: envelopes.clone() });
        }
        worker = start_worker(&queue, work);
    }
    // It has nothing left to do. The next one must not start before it has ended: the allocator would give it an arena
    // of its own, and keep both.
    worker.thread.map(JoinHandle::join);
    answers.into_values().collect()
}

/// The thread that applies, and what it answers.
struct Worker {
    answers: Receiver<(usize, Guarded)>,
    thread: Option<JoinHandle<()>>,
}

fn names(job: &Job) -> (DocId, Vec<EnvelopeId>) {
    let changes = job.deltas.iter().flat_map(|delta| &delta.changes);
    let mut envelopes: Vec<EnvelopeId> = changes.map(|change| change.envelope).collect();
    envelopes.sort_unstable();
    envelopes.dedup();
    (job.document.id(), envelopes)
}

fn start_worker(queue: &Arc<Mutex<Queue>>, work: Work) -> Worker {
    let (sender, answers) = mpsc::channel();
    let number = lock(queue).worker;
    let (shared, here) = (Arc::clone(queue), sender.clone());
    let thread = std::thread::Builder::new().name("apply".into());
    let thread = thread.spawn(move || serve(&shared, number, work, &sender)).ok();
    if thread.is_none() {
        // No thread can be had: go on without the watchdog rather than not at all.
        serve(queue, number, work, &here);
    }
    Worker { answers, thread }
}

fn serve(queue: &Mutex<Queue>, number: u32, work: Work, answers: &Sender<(usize, Guarded)>) {
    while let Some((index, job)) = take(queue, number) {
        let (document, applied) = work(job);
        if answers.send((index, Guarded::Done { document, applied })).is_err() {
            return;
        }
    }
}

fn take(queue: &Mutex<Queue>, number: u32) -> Option<(usize, Job)> {
    let mut queue = lock(queue);
    if queue.worker != number {
        return None;
    }
    let job = queue.jobs.pop_front()?;
    queue.taken += 1;
    Some((queue.taken - 1, job))
}

/// Gives the present worker up; returns how many jobs were taken until now.
fn retire(queue: &Mutex<Queue>) -> usize {
    let mut queue = lock(queue);
    queue.worker += 1;
    queue.taken
}

/// A panic while the queue was locked cannot have left it half changed.
fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::StreamId;

    use super::*;
    use crate::document::GenesisId;

    fn job(doc: u8) -> Job {
        let document = Document::new(DocId([doc; 16]), GenesisId(1), StreamId([1; 16])).unwrap();
        Job { document, deltas: vec![] }
    }

    /// Hangs on document 2, panics on document 4.
    fn work(job: Job) -> (Document, Applied) {
        match job.document.id().0[0] {
            2 => loop {
                std::thread::park();
            },
            4 => panic!("outside the fence"),
            _ => (job.document, Applied::default()),
        }
    }

    #[test]
    fn a_document_that_hangs_is_given_up_and_all_others_are_answered_in_order() {
        let answers = run_guarded((1..=5).map(job).collect(), Duration::from_millis(50), work);
        let answers: Vec<_> = answers
            .iter()
            .map(|answer| match answer {
                Guarded::Done { document, .. } => (document.id().0[0], true),
                Guarded::Timeout { doc, .. } => (doc.0[0], false),
            })
            .collect();
        assert_eq!(answers, [(1, true), (2, false), (3, true), (4, false), (5, true)]);
    }

    #[test]
    fn nothing_to_do_is_done_at_once() {
        assert!(apply_guarded(vec![], APPLY_TIMEOUT).is_empty());
    }
}
