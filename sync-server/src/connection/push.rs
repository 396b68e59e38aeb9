//! PUSH: what can be checked without the tip is checked here, at most one signature per run of a stream; the
//! writer thread decides the rest.
//!
//! ```text
//! frames that wait behind one another, as one
//!   → layout → kind → whose stream → role and cut → epoch known → runs (seq + 1, prev = id)
//!   → signature of each run's last envelope → writer: seq and prev continue the tip, quota → commit → PUSH_ACK
//! ```
//!
//! An envelope is authentic if its own signature verifies or that of a descendant in its hash chain does, so one
//! signature covers a run. A forged envelope in the middle breaks the chain there, and then has to carry a
//! signature of its own. Objects stand in no chain: each has its signature verified.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::ws::WebSocket;
use bytes::Bytes;
use futures_util::stream::SplitStream;
use lifeos_sync_protocol::envelope::{Envelope, EnvelopeError, Header, Kind, signing_message};
use lifeos_sync_protocol::frame::{ErrorCode, Frame, PushResult, PushStatus};
use lifeos_sync_protocol::handshake;
use lifeos_sync_protocol::ids::{EnvelopeId, EpochRef, SignPk, StreamId};
use lifeos_sync_protocol::limits::{FRAME_BYTES_MAX, FRAME_ENVELOPES_MAX, RECEIPT_CT_BYTES_MAX};
use lifeos_sync_protocol::membership::StreamPoint;
use lifeos_sync_protocol::record::Floor;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::outgoing::Outgoing;
use super::{Connection, Received, Refusal};
use crate::space::{Place, Space, View};
use crate::store::{Job, Object, PushJob, Receipt, Run, Sealed, StoreError};

/// Frames above this are hashed on a thread that may take its time.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Signatures that are checked where the frame arrived; each costs about 50 µs, a hand-over about a fifth of that.
const INLINE_SIGNATURES_MAX: usize = 4;
/// What an envelope costs in an ITEMS frame beside its bytes.
const ITEM_OVERHEAD_BYTES: usize = 16;

/// PUSH frames that are taken as one: those that waited behind the first. Streams go on from frame to frame, so one
/// signature covers what would else need one a frame.
pub(super) struct Pushed {
    session: u32,
    envelopes: Vec<Vec<u8>>,
    frame_bytes: usize,
    /// Requests with how many of the envelopes are theirs, in order; not empty.
    parts: Vec<(u32, usize)>,
}

impl Pushed {
    pub(super) fn new(request: u32, session: u32, envelopes: Vec<Vec<u8>>, frame_bytes: usize) -> Self {
        let parts = vec![(request, envelopes.len())];
        Self { session, envelopes, frame_bytes, parts }
    }

    /// A run is never longer than what one frame may hold.
    fn has_room(&self) -> bool {
        self.envelopes.len() < FRAME_ENVELOPES_MAX && self.frame_bytes < INLINE_BYTES_MAX
    }

    /// Takes a further frame in, if it is a small PUSH of the same session that fits; else nothing has happened.
    fn add(&mut self, bytes: &Bytes) -> bool {
        if self.frame_bytes + bytes.len() > INLINE_BYTES_MAX {
            return false;
        }
        let Ok((request, Frame::Push { session, envelopes })) = Frame::decode(bytes) else { return false };
        let fits = self.envelopes.len() + envelopes.len() <= FRAME_ENVELOPES_MAX;
        // Each frame may bring a receipt of its own.
        let deltas = |bytes: &Vec<u8>| Header::decode(bytes).is_ok_and(|header| header.kind == Kind::Delta);
        if session != self.session || !fits || !envelopes.iter().all(deltas) {
            return false;
        }
        self.parts.push((request, envelopes.len()));
        self.envelopes.extend(envelopes);
        self.frame_bytes += bytes.len();
        true
    }
}

/// Answers each of the requests that were taken as one.
fn answer(outgoing: &Outgoing, session: u32, parts: Vec<(u32, usize)>, results: Result<Vec<PushResult>, StoreError>) {
    match results {
        Ok(results) => {
            let mut results = results.into_iter();
            for (request, count) in parts {
                let results = results.by_ref().take(count).collect();
                outgoing.reply(Frame::PushAck { session, results }.encode(request).into());
            }
        }
        Err(error) => parts.iter().for_each(|(request, _)| outgoing.reply(Refusal::from(error).frame(*request))),
    }
}

impl Connection {
    /// Takes a PUSH, with those that have arrived behind it.
    pub(super) async fn push(
        &mut self,
        mut pushed: Pushed,
        stream: &mut SplitStream<WebSocket>,
    ) -> Result<(), Refusal> {
        let (space, _) = self.opened(pushed.session)?;
        self.member(pushed.session)?;
        let pusher = self.session(pushed.session)?.device;
        self.gather(&mut pushed, stream).await;
        let others: Vec<u32> = pushed.parts.iter().skip(1).map(|(request, _)| *request).collect();
        let done = self.push_all(space, pusher, pushed).await;
        if let Err(refusal) = &done {
            // The first request is answered by whoever asked for this one.
            others.into_iter().for_each(|request| self.outgoing.reply(refusal.frame(request)));
        }
        done
    }

    async fn gather(&mut self, pushed: &mut Pushed, stream: &mut SplitStream<WebSocket>) {
        while pushed.has_room() {
            let Some(message) = super::receive_ready(stream).await else { return };
            match message {
                Received::Frame(bytes) if pushed.add(&bytes) => {
                    self.outgoing.received();
                    self.relay.metrics.frames_received_total.increment();
                }
                other => {
                    self.ahead = Some(other);
                    return;
                }
            }
        }
    }

    async fn push_all(&mut self, space: Arc<Space>, pusher: SignPk, pushed: Pushed) -> Result<(), Refusal> {
        let Pushed { session, envelopes, frame_bytes, parts } = pushed;
        let kib = u32::try_from(frame_bytes / 1024).unwrap_or(u32::MAX);
        let wait = self.relay.pushes.take(pusher, kib, Instant::now());
        if !wait.is_zero() {
            self.relay.metrics.pushes_slowed_total.increment();
            tokio::time::sleep(wait).await;
        }
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
        let (outgoing, wakes) = (Arc::clone(&self.outgoing), self.relay.wakes.clone());
        let reply = Box::new(move |results: Result<Vec<PushResult>, StoreError>| {
            answer(&outgoing, session, parts, results);
            drop(permits);
            wakes.iter().for_each(|wakes| wakes.ring());
        });
        let Checked { view, runs, objects, mut receipt, mut results } = checked;
        let is_too_fast = |_: &mut Receipt| !self.relay.receipts.try_take(pusher, Instant::now());
        if let Some(receipt) = receipt.take_if(is_too_fast)
            && let Some(result) = results.get_mut(receipt.index)
        {
            *result = refused(PushStatus::Rate);
        }
        // Also when nothing is left to store: acknowledgements keep the order of the frames.
        let now_ms = self.relay.now_ms();
        let job = PushJob { space, view, pusher, runs, objects, now_ms, receipt, results, bytes: frame_bytes, reply };
        self.relay.store.submit(Job::Push(job));
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
    view: Arc<View>,
    runs: Vec<Run>,
    objects: Vec<Object>,
    receipt: Option<Receipt>,
    results: Vec<PushResult>,
}

/// A frame's envelopes before their signatures.
struct Sorted {
    view: Arc<View>,
    drafts: Vec<Draft>,
    objects: Vec<Unproven>,
    receipt: Option<(usize, Envelope)>,
    results: Vec<PushResult>,
}

/// An object before its signature.
struct Unproven {
    index: usize,
    author: SignPk,
    id: EnvelopeId,
    envelope: Envelope,
}

/// A run before its signature. All of it is sealed under one epoch: a reader that has to wait for the records of an
/// epoch must find a signature at the end of what it can take.
struct Draft {
    run: Run,
    last: Envelope,
}

async fn check(space: Arc<Space>, pusher: SignPk, envelopes: Vec<Vec<u8>>, bytes: usize) -> Result<Checked, Refusal> {
    let fault = Refusal::mild(ErrorCode::Internal, "a fault inside the relay");
    let sorted = if bytes <= INLINE_BYTES_MAX {
        sort(&space, &pusher, envelopes)
    } else {
        let space = Arc::clone(&space);
        crate::blocking::run(move || sort(&space, &pusher, envelopes)).await.map_err(|_| fault)?
    };
    if sorted.drafts.len() + sorted.objects.len() <= INLINE_SIGNATURES_MAX {
        return Ok(verify(&space, &pusher, sorted));
    }
    crate::blocking::run(move || verify(&space, &pusher, sorted)).await.map_err(|_| fault)
}

/// Sorts a frame's envelopes into runs, and refuses what is wrong by itself.
fn sort(space: &Space, pusher: &SignPk, envelopes: Vec<Vec<u8>>) -> Sorted {
    let view = space.view();
    let mut results = vec![refused(PushStatus::BadFormat); envelopes.len()];
    let size: usize = envelopes.iter().map(|envelope| envelope.len() + ITEM_OVERHEAD_BYTES).sum();
    if size + ITEM_OVERHEAD_BYTES * 4 > FRAME_BYTES_MAX {
        // It came in, but as one ITEMS frame it would not go out.
        results.fill(refused(PushStatus::TooLarge));
        return Sorted { view, drafts: Vec::new(), objects: Vec::new(), receipt: None, results };
    }
    let mut sorter = Sorter::new(space, pusher, &view);
    for (index, bytes) in envelopes.into_iter().enumerate() {
        if let Err(status) = sorter.take(index, bytes)
            && let Some(result) = results.get_mut(index)
        {
            result.status = status;
        }
    }
    let Sorter { drafts, objects, receipt, .. } = sorter;
    Sorted { view, drafts, objects, receipt, results }
}

struct Sorter<'a> {
    space: &'a Space,
    pusher: &'a SignPk,
    view: &'a View,
    drafts: Vec<Draft>,
    objects: Vec<Unproven>,
    receipt: Option<(usize, Envelope)>,
    /// The newest draft of each stream.
    open: HashMap<StreamId, usize>,
}

impl<'a> Sorter<'a> {
    fn new(space: &'a Space, pusher: &'a SignPk, view: &'a View) -> Self {
        let (drafts, objects, open) = (Vec::new(), Vec::new(), HashMap::new());
        Self { space, pusher, view, drafts, objects, receipt: None, open }
    }

    fn take(&mut self, index: usize, bytes: Vec<u8>) -> Result<(), PushStatus> {
        let envelope = Envelope::parse(bytes).map_err(|error| match error {
            EnvelopeError::Size(_) => PushStatus::TooLarge,
            _ => PushStatus::BadFormat,
        })?;
        let header = *envelope.header();
        match header.kind {
            Kind::Delta => {}
            Kind::Receipt => return self.take_receipt(index, envelope),
            Kind::Chunk | Kind::BlobPart => return self.take_object(index, envelope),
            Kind::Ephemeral => return Err(PushStatus::BadFormat),
        }
        let floor = self.floor_below(&header);
        let author = self.owner(&header, floor.as_ref())?;
        let id = envelope.id(&self.space.id);
        let place = Place { author, stream: header.stream, seq: header.seq, id };
        let vouched = self.view.may_store(&place, self.pusher)?;
        let stale = self.view.is_stale(&header.epoch)?;
        let sealed = Sealed { index, id, seq: header.seq, prev: header.prev, stale, bytes: Vec::new() };
        let begins = floor.map(|floor| StreamPoint { seq: floor.seq, id: floor.id });
        let run = Run { stream: header.stream, device: author, vouched, begins, envelopes: vec![] };
        self.place(run, sealed, envelope);
        Ok(())
    }

    /// Who brings an object pays for it, so who made it need not be able to write any more: what a removed device made
    /// stays part of checkpoints, and a relay that lost everything is filled again by others.
    fn take_object(&mut self, index: usize, envelope: Envelope) -> Result<(), PushStatus> {
        let header = envelope.header();
        if !self.view.membership.may_write(self.pusher) {
            return Err(PushStatus::NotWriter);
        }
        self.view.is_stale(&header.epoch)?;
        let author = self.space.maker_of(&header.stream, &header.prev, self.pusher);
        let author = author.filter(|author| self.view.membership.devices.contains_key(author));
        let author = author.ok_or(PushStatus::NotMember)?;
        let id = envelope.id(&self.space.id);
        self.objects.push(Unproven { index, author, id, envelope });
        Ok(())
    }

    /// A receipt says something about the device that brings it, readers too; one of a frame is the latest.
    fn take_receipt(&mut self, index: usize, envelope: Envelope) -> Result<(), PushStatus> {
        if envelope.header().ct_len as usize > RECEIPT_CT_BYTES_MAX {
            return Err(PushStatus::TooLarge);
        }
        self.view.is_stale(&envelope.header().epoch)?;
        if self.receipt.is_some() {
            return Err(PushStatus::Rate);
        }
        self.receipt = Some((index, envelope));
        Ok(())
    }

    /// The floor of a checkpoint that the first envelope of a run continues.
    fn floor_below(&self, header: &Header) -> Option<Floor> {
        let is_first = header.seq > 1 && !self.open.contains_key(&header.stream);
        let prev = EnvelopeId(header.prev);
        is_first.then(|| self.view.floor_below(&header.stream, header.seq, &prev)).flatten()
    }

    fn owner(&self, header: &Header, floor: Option<&Floor>) -> Result<SignPk, PushStatus> {
        let Header { stream, seq, prev, .. } = header;
        if let Some(draft) = self.open.get(stream).and_then(|index| self.drafts.get(*index)) {
            return Ok(draft.run.device);
        }
        if let Some(device) = self.space.owner(stream) {
            return Ok(device);
        }
        if *seq != 1 && floor.is_none() {
            // Whose it is only its first envelope can say, or a checkpoint.
            return Err(PushStatus::Gap { expected: 1 });
        }
        if !self.space.takes_streams() {
            return Err(PushStatus::Quota);
        }
        if let Some(floor) = floor {
            return Ok(floor.device);
        }
        self.space.find_owner(stream, prev, self.pusher).ok_or(PushStatus::NotMember)
    }

    /// Continues the stream's newest run, or begins one.
    fn place(&mut self, mut run: Run, sealed: Sealed, envelope: Envelope) {
        let newest = self.open.get(&run.stream).and_then(|index| self.drafts.get_mut(*index));
        if let Some(draft) = newest
            && draft.run.vouched == run.vouched
            && draft.continues(&sealed.prev, sealed.seq, &envelope.header().epoch)
        {
            draft.push(sealed, envelope);
            return;
        }
        self.open.insert(run.stream, self.drafts.len());
        run.envelopes.push(sealed);
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

/// Checks one signature per run, the last. If that fails, the run ends at the last envelope whose own signature
/// verifies: what comes after it has nobody to vouch for it.
fn verify(space: &Space, pusher: &SignPk, sorted: Sorted) -> Checked {
    let Sorted { view, drafts, objects, receipt, mut results } = sorted;
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
            if first.seq == 1 || run.begins.is_some() {
                space.remember_owner(run.stream, run.device);
            }
            runs.push(run);
        }
    }
    let receipt = receipt.and_then(|(index, envelope)| {
        if envelope.verify_signature(&space.id, pusher).is_ok() {
            return Some(Receipt { index, seq: envelope.header().seq, bytes: envelope.into_bytes() });
        }
        if let Some(result) = results.get_mut(index) {
            *result = refused(PushStatus::BadSignature);
        }
        None
    });
    let objects = objects.into_iter().filter_map(|object| prove(space, object, &mut results)).collect();
    Checked { view, runs, objects, receipt, results }
}

/// The object if its author signed it. Its id, which is the hash of it all, is not computed again.
fn prove(space: &Space, object: Unproven, results: &mut [PushResult]) -> Option<Object> {
    let Unproven { index, author, id, envelope } = object;
    let kind = envelope.header().kind;
    if handshake::verify(&author, &signing_message(&space.id, &id), &envelope.signature()).is_ok() {
        return Some(Object { index, id, kind, bytes: envelope.into_bytes() });
    }
    if let Some(result) = results.get_mut(index) {
        *result = refused(PushStatus::BadSignature);
    }
    None
}

const fn refused(status: PushStatus) -> PushResult {
    PushResult { status, pos: None }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::super::tests::{DEVICE, in_session, relay};
    use super::*;
    use crate::Limits;

    #[tokio::test]
    async fn a_push_waits_while_too_many_bytes_of_its_connection_or_of_all_are_not_durable() {
        let (push_bytes_in_flight_max, ingest_bytes_in_flight_max) = (8 * 1024, 16 * 1024);
        let limits = Limits { push_bytes_in_flight_max, ingest_bytes_in_flight_max, ..Limits::default() };
        let (handle, _dir) = relay(limits).await;
        let (mut connection, space) = in_session(handle.relay());
        // The larger one first: what the first push still holds of both leaves room in it for the second.
        let windows = [Arc::clone(&handle.relay().ingest), Arc::clone(&connection.window)];
        assert_eq!(windows.each_ref().map(|window| window.available_permits()), [16, 8]);
        for (window, kib) in windows.into_iter().zip([16, 8]) {
            let all = window.acquire_many_owned(kib).await.unwrap();
            let pushed = || Pushed::new(1, 1, Vec::new(), 4 * 1024);
            let pushing = connection.push_all(Arc::clone(&space), DEVICE, pushed());
            assert!(pushing.now_or_never().is_none(), "it does not wait for {kib} KiB");
            drop(all);
            connection.push_all(Arc::clone(&space), DEVICE, pushed()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_frame_that_is_larger_than_the_window_takes_all_of_it() {
        let window = Arc::new(Semaphore::new(8));
        let taken = acquire(&window, 1024 * 1024, 8 * 1024).await.unwrap();
        assert_eq!(window.available_permits(), 0);
        assert!(acquire(&window, 1, 8 * 1024).now_or_never().is_none());
        drop(taken);
        drop(acquire(&window, 1, 8 * 1024).await.unwrap());
    }
}
