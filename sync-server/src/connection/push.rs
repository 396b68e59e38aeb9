//! PUSH: what can be checked without the tip is checked here, at most one signature per run of a stream; the
//! writer thread decides the rest.
//!
//! ```text
//! layout → kind → whose stream → may the author write → epoch known → runs (seq + 1, prev = id)
//!   → signature of each run's last envelope → writer: seq and prev continue the tip, quota → commit → PUSH_ACK
//! ```
//!
//! An envelope is authentic if its own signature verifies or that of a descendant in its hash chain does, so one
//! signature covers a run. A forged envelope in the middle breaks the chain there, and then has to carry a
//! signature of its own.

use std::collections::HashMap;
use std::sync::Arc;

use lifeos_sync_protocol::envelope::{Envelope, EnvelopeError, Kind};
use lifeos_sync_protocol::frame::{ErrorCode, Frame, PushResult, PushStatus};
use lifeos_sync_protocol::ids::{EpochRef, SignPk, StreamId};
use lifeos_sync_protocol::limits::FRAME_BYTES_MAX;
use tokio::sync::Semaphore;

use super::{Connection, Refusal};
use crate::space::{Space, View};
use crate::store::{Job, PushJob, Run, Sealed, StoreError};

/// Frames above this are hashed on a thread that may take its time.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Signatures that are checked where the frame arrived; each costs about 50 µs, a hand-over about a fifth of that.
const INLINE_SIGNATURES_MAX: usize = 4;
/// What an envelope costs in an ITEMS frame beside its bytes.
const ITEM_OVERHEAD_BYTES: usize = 16;

impl Connection {
    pub(super) async fn push(
        &mut self,
        request: u32,
        session: u32,
        envelopes: Vec<Vec<u8>>,
        frame_bytes: usize,
    ) -> Result<(), Refusal> {
        let (space, _) = self.opened(session)?;
        let pusher = self.session(session)?.device;
        let stopped = Refusal::from(StoreError::Stopped);
        // Counted before anything is done with the bytes: this is what bounds the memory of the whole path.
        let permits = (
            acquire(&self.window, frame_bytes, self.relay.limits.push_bytes_in_flight_max).await.ok_or(stopped)?,
            acquire(&self.relay.ingest, frame_bytes, self.relay.limits.ingest_bytes_in_flight_max)
                .await
                .ok_or(stopped)?,
        );
        self.peer.budget.release();
        let checked = check(Arc::clone(&space), pusher, envelopes, frame_bytes).await?;
        let outgoing = Arc::clone(&self.outgoing);
        let reply = Box::new(move |results: Result<Vec<PushResult>, StoreError>| {
            let frame = match results {
                Ok(results) => Frame::PushAck { session, results }.encode(request).into(),
                Err(error) => Refusal::from(error).frame(request),
            };
            outgoing.reply(frame);
            drop(permits);
        });
        let Checked { runs, results } = checked;
        // Also when nothing is left to store: acknowledgements keep the order of the frames.
        self.relay.store.submit(Job::Push(PushJob { space, runs, results, bytes: frame_bytes, reply }));
        Ok(())
    }
}

async fn acquire(
    semaphore: &Arc<Semaphore>,
    bytes: usize,
    bytes_max: usize,
) -> Option<tokio::sync::OwnedSemaphorePermit> {
    // One frame always fits, however small the limit is set.
    let kib = u32::try_from((bytes / 1024 + 1).min(bytes_max / 1024)).ok()?;
    Arc::clone(semaphore).acquire_many_owned(kib).await.ok()
}

/// What is left of a PUSH frame for the writer.
struct Checked {
    runs: Vec<Run>,
    results: Vec<PushResult>,
}

/// A run before its signature. All of it is sealed under one epoch: a reader that has to wait for the records of an
/// epoch must find a signature at the end of what it can take.
struct Draft {
    run: Run,
    last: Envelope,
}

async fn check(space: Arc<Space>, pusher: SignPk, envelopes: Vec<Vec<u8>>, bytes: usize) -> Result<Checked, Refusal> {
    let fault = Refusal::mild(ErrorCode::Internal, "a fault inside the relay");
    let (results, drafts) = if bytes <= INLINE_BYTES_MAX {
        sort(&space, &pusher, envelopes)
    } else {
        let space = Arc::clone(&space);
        tokio::task::spawn_blocking(move || sort(&space, &pusher, envelopes)).await.map_err(|_| fault)?
    };
    if drafts.len() <= INLINE_SIGNATURES_MAX {
        return Ok(verify(&space, results, drafts));
    }
    tokio::task::spawn_blocking(move || verify(&space, results, drafts)).await.map_err(|_| fault)
}

/// Sorts a frame's envelopes into runs, and refuses what is wrong by itself.
fn sort(space: &Space, pusher: &SignPk, envelopes: Vec<Vec<u8>>) -> (Vec<PushResult>, Vec<Draft>) {
    let view = space.view();
    let mut results = vec![refused(PushStatus::BadFormat); envelopes.len()];
    let size: usize = envelopes.iter().map(|envelope| envelope.len() + ITEM_OVERHEAD_BYTES).sum();
    if size + ITEM_OVERHEAD_BYTES * 4 > FRAME_BYTES_MAX {
        // It came in, but as one ITEMS frame it would not go out.
        results.fill(refused(PushStatus::TooLarge));
        return (results, Vec::new());
    }
    let mut sorter = Sorter { space, pusher, view: &view, drafts: Vec::new(), open: HashMap::new() };
    for (index, bytes) in envelopes.into_iter().enumerate() {
        if let Err(status) = sorter.take(index, bytes)
            && let Some(result) = results.get_mut(index)
        {
            result.status = status;
        }
    }
    (results, sorter.drafts)
}

struct Sorter<'a> {
    space: &'a Space,
    pusher: &'a SignPk,
    view: &'a View,
    drafts: Vec<Draft>,
    /// The newest draft of each stream.
    open: HashMap<StreamId, usize>,
}

impl Sorter<'_> {
    fn take(&mut self, index: usize, bytes: Vec<u8>) -> Result<(), PushStatus> {
        let envelope = Envelope::parse(bytes).map_err(|error| match error {
            EnvelopeError::Size(_) => PushStatus::TooLarge,
            _ => PushStatus::BadFormat,
        })?;
        let header = *envelope.header();
        if header.kind != Kind::Delta {
            return Err(PushStatus::BadFormat);
        }
        let device = self.owner(&header.stream, header.seq, &header.prev)?;
        let vouched = may_store(self.view, &device, self.pusher)?;
        if !self.view.membership.epochs.contains_key(&header.epoch) {
            return Err(PushStatus::UnknownEpoch);
        }
        let sealed = Sealed {
            index,
            id: envelope.id(&self.space.id),
            seq: header.seq,
            prev: header.prev,
            stale: self.view.current_epoch.is_some_and(|current| current != header.epoch),
            bytes: Vec::new(),
        };
        self.place(header.stream, device, vouched, sealed, envelope);
        Ok(())
    }

    fn owner(&self, stream: &StreamId, seq: u32, prev: &[u8; 32]) -> Result<SignPk, PushStatus> {
        if let Some(draft) = self.open.get(stream).and_then(|index| self.drafts.get(*index)) {
            return Ok(draft.run.device);
        }
        if let Some(device) = self.space.owner(stream) {
            return Ok(device);
        }
        if seq != 1 {
            // Whose it is only its first envelope can say.
            return Err(PushStatus::Gap { expected: 1 });
        }
        if !self.space.takes_streams() {
            return Err(PushStatus::Quota);
        }
        self.space.find_owner(stream, prev, self.pusher).ok_or(PushStatus::NotMember)
    }

    /// Continues the stream's newest run, or begins one.
    fn place(&mut self, stream: StreamId, device: SignPk, vouched: bool, sealed: Sealed, envelope: Envelope) {
        let newest = self.open.get(&stream).and_then(|index| self.drafts.get_mut(*index));
        if let Some(draft) = newest
            && draft.continues(&sealed.prev, sealed.seq, &envelope.header().epoch)
        {
            draft.push(sealed, envelope);
            return;
        }
        self.open.insert(stream, self.drafts.len());
        let run = Run { stream, device, vouched, envelopes: vec![sealed] };
        self.drafts.push(Draft { run, last: envelope });
    }
}

impl Draft {
    fn continues(&self, prev: &[u8; 32], seq: u32, epoch: &EpochRef) -> bool {
        let follows = |last: &Sealed| last.seq.checked_add(1) == Some(seq) && last.id.0 == *prev;
        self.run.envelopes.last().is_some_and(follows) && self.last.header().epoch == *epoch
    }

    /// The bytes of an envelope move into the run when the next one takes its place.
    fn push(&mut self, sealed: Sealed, envelope: Envelope) {
        let before = std::mem::replace(&mut self.last, envelope);
        if let Some(last) = self.run.envelopes.last_mut() {
            last.bytes = before.into_bytes();
        }
        self.run.envelopes.push(sealed);
    }

    /// Takes the last envelope out of the run; answers which of the frame it was.
    fn refuse_last(&mut self) -> Option<usize> {
        let refused = self.run.envelopes.pop()?;
        let before = self.run.envelopes.last_mut().map(|before| std::mem::take(&mut before.bytes));
        match before.map(Envelope::parse) {
            Some(Ok(before)) => self.last = before,
            // It was parsed once, so this does not happen; a run without a last envelope would be wrong.
            Some(Err(_)) => self.run.envelopes.clear(),
            None => {}
        }
        Some(refused.index)
    }

    fn finish(mut self) -> Run {
        if let Some(last) = self.run.envelopes.last_mut() {
            last.bytes = self.last.into_bytes();
        }
        self.run
    }
}

/// Whether envelopes of `author` are taken from `pusher`, and if so whether only on the pusher's word: what a
/// device wrote before it lost the right is kept when somebody else who may write brings it.
fn may_store(view: &View, author: &SignPk, pusher: &SignPk) -> Result<bool, PushStatus> {
    if view.membership.may_write(author) {
        return Ok(false);
    }
    let Some(device) = view.membership.devices.get(author) else { return Err(PushStatus::NotMember) };
    if device.removed_by.is_none() {
        return Err(PushStatus::NotWriter);
    }
    if author != pusher && view.membership.may_write(pusher) { Ok(true) } else { Err(PushStatus::Removed) }
}

/// Checks one signature per run, the last. If that fails, the run ends at the last envelope whose own signature
/// verifies: what comes after it has nobody to vouch for it.
fn verify(space: &Space, mut results: Vec<PushResult>, drafts: Vec<Draft>) -> Checked {
    let mut runs = Vec::with_capacity(drafts.len());
    for mut draft in drafts {
        while draft.last.verify_signature(&space.id, &draft.run.device).is_err() {
            if let Some(index) = draft.refuse_last()
                && let Some(result) = results.get_mut(index)
            {
                *result = refused(PushStatus::BadSignature);
            }
            if draft.run.envelopes.is_empty() {
                break;
            }
        }
        let run = draft.finish();
        if let Some(first) = run.envelopes.first() {
            if first.seq == 1 {
                space.remember_owner(run.stream, run.device);
            }
            runs.push(run);
        }
    }
    Checked { runs, results }
}

const fn refused(status: PushStatus) -> PushResult {
    PushResult { status, pos: None }
}
