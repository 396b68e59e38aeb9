//! The watchdog: a document is applied to on a thread of its own, and given up when it takes too long.
//!
//! A thread cannot be killed, so a hung one is left behind with the one document it holds; its caller loads that
//! document again from the store. Starting a thread costs a third of what loading a small document does, so many of them
//! share one: it answers document by document, and the one that it does not answer for is the culprit.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use automerge::ChangeHash;
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, StreamId};

use super::{Applied, CheckedDelta, FenceError, apply, scan_document};
use crate::document::{Document, GenesisId};
use crate::registry;

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

/// Applies a job. Blocks for as long as it takes, at most `timeout`.
pub fn apply_guarded(job: Job, timeout: Duration) -> Guarded {
    run_guarded(job, timeout, |job| {
        let Job { mut document, deltas } = job;
        let applied = apply(&mut document, deltas);
        (document, applied)
    })
}

/// Loads a scanned document and checks that it is what was said of it: its heads, its genesis, its actors.
fn load(doc: DocId, genesis: GenesisId, bytes: &[u8], heads: &[ChangeHash]) -> Result<Document, FenceError> {
    registry::genesis(genesis).ok_or(FenceError::Genesis)?;
    let scanned = scan_document(bytes)?;
    if scanned.heads != heads {
        return Err(FenceError::Parse);
    }
    let load = || Document::load(doc, genesis, StreamId::ZERO, bytes, &[]);
    let loaded = catch_unwind(AssertUnwindSafe(load)).map_err(|_| FenceError::Panic)?;
    let mut document = loaded.map_err(|_| FenceError::Parse)?;
    let complete = document.inspect().get_missing_deps(&[]).is_empty();
    if complete && document.heads() == heads { Ok(document) } else { Err(FenceError::Parse) }
}

/// A whole document from outside, and what was said of it.
pub struct Whole {
    /// Which.
    pub doc: DocId,
    /// What it starts from.
    pub genesis: GenesisId,
    /// One document chunk.
    pub bytes: Vec<u8>,
    /// Hashes of its newest changes, ascending.
    pub heads: Vec<ChangeHash>,
}

/// Loads a whole document from outside, checked against what was said of it. Blocks for at most `timeout`.
///
/// # Errors
/// [`FenceError`].
pub fn load_guarded(whole: Whole, timeout: Duration) -> Result<Document, FenceError> {
    let mut loaded = Err(FenceError::Timeout);
    look_each_guarded(vec![whole], timeout, |document| document, |_, document| loaded = document);
    loaded
}

/// Loads whole documents from outside one after the other, as [`load_guarded`] does, looks at each, and gives what was
/// seen to `take` with the document's place. Each may take `timeout`; one that takes longer keeps nothing from the others.
pub fn look_each_guarded<T: Send + 'static>(
    wholes: Vec<Whole>,
    timeout: Duration,
    look: fn(Document) -> T,
    mut take: impl FnMut(usize, Result<T, FenceError>),
) {
    let work = move |Whole { doc, genesis, bytes, heads }| load(doc, genesis, &bytes, &heads).map(look);
    each_guarded(wholes, timeout, work, |at, seen| take(at, seen.unwrap_or(Err(FenceError::Timeout))));
}

type Work = fn(Job) -> (Document, Applied);

fn run_guarded(job: Job, timeout: Duration, work: Work) -> Guarded {
    let (doc, envelopes) = names(&job);
    let done = guarded(job, timeout, work);
    done.map_or(Guarded::Timeout { doc, envelopes }, |(document, applied)| Guarded::Done { document, applied })
}

/// Runs `work` on a thread of its own; `None` when it takes too long or panics.
fn guarded<J: Send + 'static, T: Send + 'static>(
    job: J,
    timeout: Duration,
    work: impl Fn(J) -> T + Clone + Send + 'static,
) -> Option<T> {
    let mut answer = None;
    each_guarded(vec![job], timeout, work, |_, done| answer = done);
    answer
}

/// Jobs that were not begun, with their places.
type Queue<J> = Arc<Mutex<VecDeque<(usize, J)>>>;

/// Runs `work` for job after job on one thread, which is a job or two ahead of `take`; `None` for one that takes too long
/// or panics, after which another thread goes on with the rest.
fn each_guarded<J: Send + 'static, T: Send + 'static>(
    jobs: Vec<J>,
    timeout: Duration,
    work: impl Fn(J) -> T + Clone + Send + 'static,
    mut take: impl FnMut(usize, Option<T>),
) {
    #[cfg(feature = "simulation")]
    if crate::simulation::is_on() {
        let run = |job| catch_unwind(AssertUnwindSafe(|| work(job))).ok();
        return jobs.into_iter().enumerate().for_each(|(at, job)| take(at, run(job)));
    }
    let count = jobs.len();
    let mut queue: Queue<J> = Arc::new(Mutex::new(jobs.into_iter().enumerate().collect()));
    let mut at = 0;
    while at < count {
        let (sender, answers) = mpsc::sync_channel(1);
        let serve = {
            let (queue, work) = (Arc::clone(&queue), work.clone());
            move || {
                while let Some((at, job)) = next(&queue) {
                    // Nobody listens any more to a thread that was given up.
                    if sender.send((at, work(job))).is_err() {
                        return;
                    }
                }
            }
        };
        let Ok(thread) = std::thread::Builder::new().name("apply".into()).spawn(serve) else {
            // No thread can be had: go on without the watchdog rather than not at all.
            while let Some((at, job)) = next(&queue) {
                take(at, Some(work(job)));
            }
            return;
        };
        while at < count
            && let Ok((done, answer)) = answers.recv_timeout(timeout)
        {
            take(done, Some(answer));
            at = done + 1;
        }
        if at == count {
            // The next thread must not start before this one has ended: the allocator might give it an arena of its own,
            // and keep both.
            drop(thread.join());
            return;
        }
        // Nothing comes either from a thread that panics outside the fence. What it has not begun is taken from it.
        let rest = std::mem::take(&mut *queue.lock().unwrap_or_else(PoisonError::into_inner));
        let from = rest.iter().map(|(place, _)| *place).find(|place| *place > at).unwrap_or(count);
        (at..from).for_each(|given_up| take(given_up, None));
        at = from;
        queue = Arc::new(Mutex::new(rest.into_iter().filter(|(place, _)| *place >= from).collect()));
    }
}

fn next<J>(queue: &Queue<J>) -> Option<(usize, J)> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

fn names(job: &Job) -> (DocId, Vec<EnvelopeId>) {
    let changes = job.deltas.iter().flat_map(|delta| &delta.changes);
    let mut envelopes: Vec<EnvelopeId> = changes.map(|change| change.envelope).collect();
    envelopes.sort_unstable();
    envelopes.dedup();
    (job.document.id(), envelopes)
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
    fn a_document_that_hangs_or_panics_outside_the_fence_is_given_up() {
        let given_up = |doc: u8| match run_guarded(job(doc), Duration::from_millis(50), work) {
            Guarded::Done { document, .. } => (document.id().0[0], false),
            Guarded::Timeout { doc, .. } => (doc.0[0], true),
        };
        assert_eq!([1, 2, 3, 4].map(given_up), [(1, false), (2, true), (3, false), (4, true)]);
    }

    #[test]
    fn many_documents_share_a_thread_and_the_one_that_hangs_or_panics_is_found() {
        let jobs = |docs: &[u8]| docs.iter().map(|doc| job(*doc)).collect::<Vec<_>>();
        let threads = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
        let seen = Arc::clone(&threads);
        let noted = move |job: Job| {
            seen.lock().unwrap().insert(format!("{:?}", std::thread::current().id()));
            work(job).0.id().0[0]
        };
        let mut answers = Vec::new();
        let wanted = [1, 3, 2, 5, 4, 7, 2, 2, 9];
        each_guarded(jobs(&wanted), Duration::from_millis(50), noted.clone(), |at, doc| answers.push((at, doc)));
        let expected = wanted.iter().map(|doc| (![2, 4].contains(doc)).then_some(*doc)).enumerate();
        assert_eq!(answers, expected.collect::<Vec<_>>());
        threads.lock().unwrap().clear();
        each_guarded(jobs(&[1; 500]), Duration::from_secs(60), noted, |_, doc| assert_eq!(doc, Some(1)));
        assert_eq!(threads.lock().unwrap().len(), 1);
    }
}
