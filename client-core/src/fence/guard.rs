//! The watchdog: a document is applied to on a thread of its own, and given up when it takes too long.
//!
//! A thread cannot be killed, so a hung one is left behind with the one document it holds; its caller loads that
//! document again from the store. The normal cost is one thread start, a hundredth of what a document takes.

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

/// Loads a whole document from outside, checked against what was said of it. Blocks for at most `timeout`.
///
/// # Errors
/// [`FenceError`].
pub fn load_guarded(
    doc: DocId,
    genesis: GenesisId,
    bytes: Vec<u8>,
    heads: Vec<ChangeHash>,
    timeout: Duration,
) -> Result<Document, FenceError> {
    let loaded = guarded((bytes, heads), timeout, move |(bytes, heads)| load(doc, genesis, &bytes, &heads));
    loaded.unwrap_or(Err(FenceError::Timeout))
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
    work: impl FnOnce(J) -> T + Clone + Send + 'static,
) -> Option<T> {
    let (sender, answer) = mpsc::sync_channel(1);
    let waiting = Arc::new(Mutex::new(Some(job)));
    let serve = {
        let (waiting, work) = (Arc::clone(&waiting), work.clone());
        move || {
            if let Some(job) = take(&waiting) {
                // Nobody listens any more to a thread that was given up.
                let _ = sender.send(work(job));
            }
        }
    };
    #[cfg(feature = "simulation")]
    if crate::simulation::is_on() {
        return catch_unwind(AssertUnwindSafe(|| take(&waiting).map(work))).ok().flatten();
    }
    match std::thread::Builder::new().name("apply".into()).spawn(serve) {
        // Nothing comes either from a thread that panics outside the fence. The next one must not start before this
        // one has ended: the allocator might give it an arena of its own, and keep both.
        Ok(thread) => answer.recv_timeout(timeout).ok().inspect(|_| drop(thread.join())),
        // No thread can be had: go on without the watchdog rather than not at all.
        Err(_) => take(&waiting).map(work),
    }
}

fn take<J>(waiting: &Mutex<Option<J>>) -> Option<J> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
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
}
