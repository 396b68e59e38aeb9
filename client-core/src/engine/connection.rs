//! One connection from HELLO to its end: moves bytes between transport, session and store worker.

mod presence;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lifeos_sync_protocol::ids::{DocId, StreamId};
use lifeos_sync_protocol::log::have_digest;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::shared::random_u64;
use super::worker::{self, Begun, Done, Job};
use super::{EngineError, Pace, Shared, task, upkeep};
use crate::crypto::{SystemRandom, random_bytes};
use crate::event::{Event, ProgressStep, SyncState};
use crate::metrics::{Tick, Work};
use crate::receipt;
use crate::session::{Input, LogChange, Output, PushPause, PushStop, Session, SessionConfig, SessionError};
use crate::store::{RelayId, RelayState, micros_since};
use crate::transport::{FrameReceiver, FrameSender, TransportError};
use presence::Presence;

/// Frames received and not handled yet.
const FRAMES_READ_MAX: usize = 4;
/// Bytes of pages and records that may wait for the store before reading rests.
const STORE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes that may wait for the socket: the session's window and a little more. Reached only when a peer sends
/// requests and reads no answers.
const WRITE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often edits of another process are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the session is told the time.
const TICK: Duration = Duration::from_secs(1);
/// After news from another relay, so long is waited for more before it is given to this one.
const GIVE_AFTER: Duration = Duration::from_secs(2);
/// How often checkpoints are looked at while connected.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// How often they are in one round of sync: compared, endorsed, made.
const KEEP_ROUNDS_MAX: u8 = 4;
/// Nothing happened for so long: time for upkeep.
const UPKEEP_AFTER: Duration = Duration::from_secs(3);

/// When a connection ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// When everything is sent and received.
    Once,
    /// Likewise, with the relay that this device runs itself and where nobody else was yet: no record counts as taken.
    Fill,
    /// Never.
    Live,
    /// When both sides hold the same records; no envelope moves, so the sync lock is not needed.
    Records,
}

impl Mode {
    fn is_round(self) -> bool {
        matches!(self, Self::Once | Self::Fill)
    }
}

/// What a connection did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) pushed: u64,
    /// Documents that came with a checkpoint.
    pub(crate) joined: u64,
    /// Envelopes of other streams that the relay lacked.
    pub(crate) given: u64,
    pub(crate) pulled: u64,
    /// Chunks and blob parts that the relay lacked.
    pub(crate) objects: u64,
    pub(crate) bytes_pushed: u64,
    pub(crate) bytes_pulled: u64,
    pub(crate) changed: BTreeSet<DocId>,
    pub(crate) quarantined: u64,
    /// The end of the log was reached at least once.
    pub(crate) was_live: bool,
    /// Records that the relay refused were taken back, whatever another connection brought afterwards.
    pub(crate) records_refused: bool,
}

impl Tally {
    /// Adds what a connection to another relay did. What is sent to several is counted once.
    pub(crate) fn add(&mut self, other: Self) {
        self.pushed = self.pushed.max(other.pushed);
        self.given += other.given;
        self.objects += other.objects;
        self.joined = self.joined.max(other.joined);
        self.pulled += other.pulled;
        self.bytes_pushed += other.bytes_pushed;
        self.bytes_pulled += other.bytes_pulled;
        self.changed.extend(other.changed);
        self.quarantined += other.quarantined;
        self.was_live |= other.was_live;
        self.records_refused |= other.records_refused;
    }
}

/// Who wants to know.
pub(crate) type OnProgress<'a> = &'a mut (dyn FnMut(ProgressStep) + Send);

/// Syncs over one connection. What was done until an error is in `tally`.
///
/// # Errors
/// [`EngineError`]; everything that was answered as stored is stored.
pub(crate) async fn run<S: FrameSender, R: FrameReceiver>(
    shared: &Arc<Shared>,
    relay: RelayId,
    (sender, receiver): (S, R),
    mode: Mode,
    tally: &mut Tally,
    progress: OnProgress<'_>,
    stop: watch::Receiver<bool>,
) -> Result<(), EngineError> {
    let (session, relay, begun, own) = begin(shared, relay)?;
    let waiting = Arc::new(AtomicUsize::new(0));
    let (to_writer, frames_out) = mpsc::unbounded_channel();
    let writer = task::spawn(write_frames(sender, frames_out, Arc::clone(&waiting)));
    let (to_loop, frames_in) = mpsc::channel(FRAMES_READ_MAX);
    let reader = task::spawn(read_frames(receiver, to_loop));
    let (jobs, jobs_in) = mpsc::unbounded_channel();
    let (done_out, done) = mpsc::unbounded_channel();
    let worker = worker::spawn(Arc::clone(shared), (relay.id, mode, begun), jobs_in, done_out);

    let mut connection = Connection {
        shared,
        session,
        relay: relay.url,
        relay_id: relay.id,
        handed_at: None,
        mode,
        tally,
        progress,
        started: Instant::now(),
        jobs,
        to_writer: Some(to_writer),
        waiting,
        store_bytes: 0,
        acked: relay.own_acked_seq,
        tip_seq: relay.own_acked_seq,
        pace: Pace::default(),
        bytes_edited: shared.bytes_edited.load(Ordering::Relaxed),
        looked_at: Instant::now(),
        busy_at: Instant::now(),
        rested: false,
        finished: false,
        unsent: None,
        news_seen: *shared.news.borrow(),
        news: shared.news.subscribe(),
        news_own: 0,
        give_at: None,
        // The relay of a device nearby is gone before a checkpoint takes effect.
        rounds: if relay.id.is_peer() { 0 } else { KEEP_ROUNDS_MAX },
        kept_at: None,
        usable: false,
        to_give: (0, 0),
        presence: Presence::new(shared, own),
    };
    let result = connection.run(frames_in, done, stop).await;
    drop(connection);
    reader.abort();
    // The writer ends when its queue is empty (a goodbye included), the worker when its jobs are done: what the
    // session was told is on disk before this returns.
    let _ = writer.await;
    let _ = worker.await;
    result
}

/// A session, its relay, what the worker begins with, and the own stream with what its id commits to.
type Beginning = (Session, RelayState, Begun, (StreamId, [u8; 32]));

fn begin(shared: &Shared, relay: RelayId) -> Result<Beginning, EngineError> {
    // Another process of this home may have written records.
    let is_news = shared.follow_records(&shared.store())?;
    let has_suspects = shared.store().has_suspects(&shared.space)?;
    if is_news || has_suspects {
        shared.retry_quarantined()?;
    }
    let (mut store, state) = (shared.store(), shared.state());
    // No relay that was ever synced with: nobody could tell this home that it was put back from a copy.
    let is_strange = |relay: &RelayState| relay.cursor.is_none() && relay.synced_ms.is_none();
    if !relay.is_peer() && store.relays(&shared.space)?.iter().all(is_strange) {
        store.doubt_own_stream(&shared.space)?;
    }
    let (relay, held, own) = (store.reads().relay(relay)?, store.have(&shared.space)?, store.own_tip(&shared.space)?);
    let (stream, wakeup) = (store.own_stream(&shared.space)?, store.reads().wakeup_wish(relay.id)?);
    drop(store);
    let devices = state.membership.devices.values().filter(|device| device.removed_by.is_none()).count();
    let session = Session::new(SessionConfig {
        space: shared.space,
        device: shared.device,
        relay_key: relay.key,
        relay_address: relay.url.clone(),
        nonce: random_bytes(&mut SystemRandom::new()),
        rec_heads: state.membership.heads.clone(),
        cursor: relay.cursor,
        acked_seq: relay.own_acked_seq,
        have_digest: have_digest(&held),
        by_streams: relay.id.is_peer().then_some((own.stream, own.seq)),
        receipt_every_ms: receipt::every_ms(devices, random_u64()),
        wakeup: wakeup.clone(),
        now_ms: 0,
    });
    Ok((session, relay, Begun { stream: own.stream, records_seen: state.records_changed, wakeup }, stream))
}

async fn write_frames<S: FrameSender>(
    mut sender: S,
    mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
) {
    while let Some(frame) = frames.recv().await {
        let bytes = frame.len();
        if sender.send(frame).await.is_err() {
            break; // the reading half tells why
        }
        waiting.fetch_sub(bytes, Ordering::Relaxed);
    }
    sender.close().await;
}

async fn read_frames<R: FrameReceiver>(mut receiver: R, frames: mpsc::Sender<Result<Vec<u8>, TransportError>>) {
    loop {
        let next = receiver.recv().await.transpose();
        let Some(frame) = next else { return };
        let over = frame.is_err();
        if frames.send(frame).await.is_err() || over {
            return;
        }
    }
}

struct Connection<'a> {
    shared: &'a Arc<Shared>,
    session: Session,
    /// Address of the relay.
    relay: String,
    relay_id: RelayId,
    /// When envelopes were handed out that nobody acknowledged yet.
    handed_at: Option<std::time::Instant>,
    mode: Mode,
    tally: &'a mut Tally,
    progress: OnProgress<'a>,
    started: Instant,
    jobs: mpsc::UnboundedSender<Job>,
    to_writer: Option<mpsc::UnboundedSender<Vec<u8>>>,
    /// Bytes handed to the writer and not sent yet.
    waiting: Arc<AtomicUsize>,
    /// Bytes of pages and records handed to the worker and not stored yet.
    store_bytes: usize,
    acked: u32,
    tip_seq: u32,
    /// When what was edited is sealed.
    pace: Pace,
    /// Bytes of all changes that it knows of.
    bytes_edited: u64,
    looked_at: Instant,
    busy_at: Instant,
    rested: bool,
    finished: bool,
    /// Why not everything could be sent: told when everything was received.
    unsent: Option<EngineError>,
    /// Counts what came by all relays.
    news: watch::Receiver<u64>,
    /// How many when this was last looked at.
    news_seen: u64,
    /// What came by this one since.
    news_own: u64,
    /// When this relay is given what came by another.
    give_at: Option<Instant>,
    /// How often checkpoints may still be looked at in one round of sync.
    rounds: u8,
    /// When they were looked at last.
    kept_at: Option<Instant>,
    /// It was told that what comes first of a checkpoint is here.
    usable: bool,
    /// Objects that the relay lacked: those it has now, and all.
    to_give: (u64, u64),
    presence: Presence,
}

impl Connection<'_> {
    async fn run(
        &mut self,
        mut frames: mpsc::Receiver<Result<Vec<u8>, TransportError>>,
        mut done: mpsc::UnboundedReceiver<Done>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), EngineError> {
        let shared = Arc::clone(self.shared);
        let mut edited = shared.edited.subscribe();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.emit(SyncState::Connecting);
        loop {
            self.drain_outputs()?;
            if self.finished {
                return self.unsent.take().map_or(Ok(()), Err);
            }
            let never = self.started + Duration::from_secs(u64::from(u32::MAX));
            let (seal_at, presence_at) = (self.seal_at().unwrap_or(never), self.presence.due.unwrap_or(never));
            let is_live = self.mode == Mode::Live && self.tally.was_live;
            tokio::select! {
                // Answers first: they free what reading waits for.
                biased;
                // The worker ends before the jobs do only by a panic.
                done = done.recv() => self.handle_done(done.ok_or(EngineError::Fault)?)?,
                _ = stop.wait_for(|stop| *stop) => {
                    self.say_goodbye();
                    return Err(EngineError::Stopped);
                }
                () = tokio::time::sleep_until(seal_at), if self.pace.due_ms().is_some() => self.seal(),
                // The senders live as long as the home is open.
                _ = edited.changed(), if is_live => self.plan_seal(),
                _ = self.news.changed(), if self.mode == Mode::Live => self.hear_news(),
                () = tokio::time::sleep_until(presence_at), if is_live => self.keep_presence(),
                _ = self.presence.changes.changed(), if is_live => self.keep_presence(),
                sealed = self.presence.outgoing.recv(), if is_live => self.say_presence(sealed.ok()),
                frame = frames.recv(), if self.store_bytes < STORE_BYTES_MAX => self.handle_frame(frame)?,
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    fn handle_frame(&mut self, frame: Option<Result<Vec<u8>, TransportError>>) -> Result<(), EngineError> {
        self.busy_at = Instant::now();
        match frame {
            Some(Ok(bytes)) => {
                self.shared.metrics.count(Tick::BytesIn, bytes.len() as u64);
                self.session.handle(Input::Frame(bytes));
            }
            Some(Err(error)) => return Err(error.into()),
            None => self.session.handle(Input::Disconnected),
        }
        Ok(())
    }

    fn tick(&mut self) {
        self.session.handle(Input::Tick(self.elapsed_ms()));
        if self.mode == Mode::Live && self.tally.was_live {
            if self.give_at.is_some_and(|give_at| give_at <= Instant::now()) {
                self.give_at = None;
                self.session.handle(Input::HeldChanged);
            }
            if self.looked_at.elapsed() >= LOOK_EVERY {
                self.looked_at = Instant::now();
                self.send_job(Job::Seal);
                self.send_job(Job::Keys);
            }
            if self.session.is_idle() && self.kept_at.is_some_and(|kept_at| kept_at.elapsed() >= KEEP_EVERY) {
                self.keep_checkpoints();
            }
            if !self.rested && self.busy_at.elapsed() >= UPKEEP_AFTER {
                self.rested = true;
                let shared = Arc::clone(self.shared);
                task::spawn(task::blocking(move || upkeep::rest(&shared)));
            }
        }
    }

    /// What came by another relay, this one may lack.
    fn hear_news(&mut self) {
        let count = *self.news.borrow_and_update();
        if count > std::mem::replace(&mut self.news_seen, count).saturating_add(std::mem::take(&mut self.news_own)) {
            self.give_at.get_or_insert_with(|| Instant::now() + GIVE_AFTER);
        }
    }

    /// Something was edited here.
    fn plan_seal(&mut self) {
        self.touch();
        let bytes = self.shared.bytes_edited.load(Ordering::Relaxed);
        let new = bytes.saturating_sub(std::mem::replace(&mut self.bytes_edited, bytes));
        self.pace.edited(new, self.elapsed_ms());
    }

    fn seal_at(&self) -> Option<Instant> {
        self.pace.due_ms().map(|due_ms| self.started + Duration::from_millis(due_ms))
    }

    fn seal(&mut self) {
        self.pace.sealed();
        self.send_job(Job::Seal);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn touch(&mut self) {
        self.busy_at = Instant::now();
        self.rested = false;
    }

    fn send_job(&self, job: Job) {
        // A worker that is gone has said why; that answer is handled next.
        let _ = self.jobs.send(job);
    }

    fn handle_done(&mut self, done: Done) -> Result<(), EngineError> {
        match done {
            Done::Answer(input) => self.session.handle(input),
            Done::Freed { bytes } => self.store_bytes = self.store_bytes.saturating_sub(bytes),
            Done::Page { received, changed, quarantined } => {
                self.touch();
                if received > 0 {
                    self.news_own += received;
                    self.shared.news.send_modify(|count| *count += received);
                }
                self.tally.pulled += received;
                self.note_page(received, changed.len() as u64, quarantined as u64);
                self.tally.changed.extend(changed);
                self.tally.quarantined += quarantined as u64;
            }
            Done::Sealed { envelopes, tip_seq } => {
                self.tip_seq = tip_seq;
                if envelopes > 0 {
                    self.touch();
                    self.shared.metrics.count(Tick::EnvelopesSealed, envelopes as u64);
                    self.shared.trace("seal", "done", envelopes as u64);
                    self.step("seal", u64::from(tip_seq), u64::from(tip_seq));
                }
            }
            // It goes to the relay next; what is pending is sealed then.
            Done::NotSealed(EngineError::KeyUntaken) if self.unsent.is_none() && self.mode == Mode::Live => {}
            Done::NotSealed(error) => self.cannot_send(error),
            Done::Joined { docs, total, is_usable } => {
                self.touch();
                self.tally.joined = docs;
                self.step("join", docs, total);
                if is_usable && !std::mem::replace(&mut self.usable, true) {
                    self.step("usable", docs, total);
                }
            }
            Done::Fetched { parts, total } => {
                self.touch();
                self.step("fetch", parts, total);
            }
            Done::Packed { docs, total } => self.step("pack", docs, total),
            Done::Kept { is_moving } if self.mode.is_round() && !is_moving => self.finish(),
            Done::Kept { .. } => {}
            Done::TakenBack => {
                self.tally.records_refused = true;
                self.cannot_send(EngineError::RecordsRefused);
            }
            Done::LoadedObject { bytes } => self.tally.bytes_pushed += bytes,
            Done::Loaded { bytes } => {
                self.tally.bytes_pushed += bytes;
                if bytes > 0 {
                    self.handed_at.get_or_insert_with(std::time::Instant::now);
                }
            }
            Done::Failed(error) => return Err(error),
        }
        Ok(())
    }

    fn note_page(&self, received: u64, changed: u64, quarantined: u64) {
        let metrics = &self.shared.metrics;
        metrics.count(Tick::EnvelopesIn, received);
        metrics.count(Tick::DocumentsChanged, changed);
        metrics.count(Tick::Quarantined, quarantined);
        if quarantined > 0 {
            self.shared.trace("pull", "set_aside", quarantined);
        } else if received > 0 {
            self.shared.trace("pull", "done", received);
        }
    }

    fn drain_outputs(&mut self) -> Result<(), EngineError> {
        while let Some(output) = self.session.poll() {
            self.perform(output)?;
        }
        Ok(())
    }

    fn perform(&mut self, output: Output) -> Result<(), EngineError> {
        match output {
            Output::Send(frame) => self.send(frame)?,
            Output::Sign { message } => {
                let signature = self.shared.keys.sign(&message);
                self.session.handle(Input::Signed(signature));
            }
            Output::PinRelay(key) => self.send_job(Job::PinRelay(key)),
            Output::StoreRecords(records) => {
                self.store_bytes += records.iter().map(Vec::len).sum::<usize>();
                self.send_job(Job::StoreRecords(records));
            }
            Output::LoadRecords { known } => self.send_job(Job::LoadRecords { known }),
            Output::RecordsEqual { heads, untaken } => {
                let is_all_taken = untaken.is_empty();
                self.send_job(Job::RecordsEqual { heads, untaken, may_seal: self.mode != Mode::Records });
                if self.mode == Mode::Records {
                    self.shared.circuits.worked(self.relay_id);
                    self.shared.keep_trouble(self.relay_id)?;
                    if !is_all_taken {
                        self.cannot_send(EngineError::RemovalWaits);
                    }
                    self.finish();
                }
            }
            Output::LogChanged(change) => {
                self.shared.trace("log_changed", change.name(), 0);
                if change != LogChange::Pruned {
                    self.acked = 0;
                }
                self.send_job(Job::LogChanged(change));
            }
            Output::StorePage { items, cursor, rolls } => {
                let bytes: usize = items.iter().map(|item| item.envelope.len()).sum();
                self.store_bytes += bytes;
                self.tally.bytes_pulled += bytes as u64;
                self.send_job(Job::StorePage { items, cursor, rolls });
            }
            Output::LoadOutbox { after_seq, envelopes_max, bytes_max } => {
                self.send_job(Job::LoadOutbox { after_seq, envelopes_max, bytes_max });
            }
            Output::LoadHeld => self.send_job(Job::LoadHeld),
            Output::HeldThere(held) => self.send_job(Job::HeldThere(held)),
            Output::LoadStream(part) => self.send_job(Job::LoadStream(part)),
            Output::Bootstrap { missing, is_pruned } => self.send_job(Job::Bootstrap { missing, is_pruned }),
            Output::LoadPartial(id) => self.send_job(Job::LoadPartial(id)),
            Output::KeepPartial { id, from, bytes } => self.send_job(Job::KeepPartial { id, from, bytes }),
            Output::StoreObject(id, bytes) => {
                self.store_bytes += bytes.len();
                self.tally.bytes_pulled += bytes.len() as u64;
                self.send_job(Job::StoreObject { id, bytes });
            }
            Output::LoadObjects => self.send_job(Job::LoadObjects),
            Output::LoadObject(id) => self.send_job(Job::LoadObject(id)),
            Output::ObjectsFetched { missing } => self.send_job(Job::ObjectsMissing(missing)),
            Output::ObjectGiven => {
                self.busy_at = Instant::now();
                self.tally.objects += 1;
            }
            Output::ObjectsHeld { held, lacking } => {
                if !lacking.is_empty() {
                    self.to_give = (0, lacking.len() as u64);
                } else if self.to_give.1 > 0 {
                    self.to_give.0 += held.len() as u64;
                }
                let (given, all) = self.to_give;
                if all > 0 {
                    self.step("give", given, all);
                }
                self.send_job(Job::ObjectsHeld { held, lacking });
            }
            Output::ObjectsRefused(status) => {
                tracing::warn!(?status, "the relay takes no objects now; the next connection offers them again");
            }
            Output::LoadReceipt => self.send_job(Job::SealReceipt),
            Output::ReceiptTaken => self.send_job(Job::ReceiptTaken),
            Output::Receipt(bytes) => {
                self.store_bytes += bytes.len();
                self.send_job(Job::HearReceipt(bytes));
            }
            Output::Presence(bytes) => self.hear_presence(bytes),
            Output::Wakeup(wish, standing) => self.send_job(Job::Wakeup(wish, standing)),
            Output::Given { envelopes } => {
                self.busy_at = Instant::now();
                self.tally.given += envelopes;
                self.shared.metrics.count(Tick::EnvelopesGiven, envelopes);
                self.step("heal", self.tally.given, self.tally.given);
            }
            Output::HoldsOf(held) => self.send_job(Job::HoldsOf(held)),
            Output::Acked { through_seq } => self.acknowledged(through_seq),
            Output::HeldBefore { through_seq } => {
                self.acked = through_seq;
                self.send_job(Job::Acked { through_seq });
            }
            Output::CatchingUp { received, total } => {
                self.step("pull", received, total);
                self.emit(SyncState::CatchingUp { received, total });
            }
            Output::Live => {
                self.tally.was_live = true;
                self.shared.circuits.worked(self.relay_id);
                self.shared.keep_trouble(self.relay_id)?;
                self.shared.trace("connection", "live", 0);
                self.send_job(Job::CaughtUp);
                self.emit(SyncState::Live);
                self.arrive();
                self.finish_without_pushing();
            }
            Output::Idle => self.idle(),
            Output::PushPaused { reason, .. } => self.push_paused(reason),
            // Another copy of this home was faster: its envelope comes with the next page, and a new stream follows.
            Output::PushStopped(PushStop::Fork) if self.mode.is_round() => return Err(EngineError::FetchAgain),
            Output::PushStopped(reason) => self.cannot_send(EngineError::PushStopped(reason)),
            Output::RecordsRefused(refused) => {
                tracing::warn!(count = refused.len(), "the relay refused records");
                if self.mode == Mode::Records {
                    self.cannot_send(EngineError::RecordsRefused);
                }
                self.send_job(Job::RecordsRefused(refused));
            }
            // Of a removed device only the space's relays show how far it came: this may be that very device.
            Output::CutBehind if self.relay_id.is_peer() => self.cannot_send(EngineError::RemovalWaits),
            Output::CutBehind => self.send_job(Job::CutBehind),
            Output::Quota(quota) => tracing::debug!(used = quota.bytes_used, max = quota.bytes_max, "quota"),
            Output::Statement(statement) => self.send_job(Job::Statement(statement)),
            Output::Close(error) => {
                if matches!(error, SessionError::Misbehaved(_)) {
                    self.send_job(Job::Misbehaved);
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn send(&mut self, frame: Vec<u8>) -> Result<(), EngineError> {
        let bytes = frame.len();
        self.shared.metrics.count(Tick::BytesOut, bytes as u64);
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before + bytes > WRITE_BYTES_MAX {
            return Err(EngineError::Stalled);
        }
        if let Some(writer) = &self.to_writer {
            let _ = writer.send(frame);
        }
        Ok(())
    }

    fn acknowledged(&mut self, through_seq: u32) {
        let envelopes = u64::from(through_seq.saturating_sub(self.acked));
        if let Some(handed_at) = self.handed_at.take() {
            self.shared.metrics.time(Work::Acknowledge, micros_since(handed_at));
        }
        self.shared.metrics.count(Tick::EnvelopesOut, envelopes);
        self.shared.trace("push", "acknowledged", envelopes);
        self.tally.pushed += envelopes;
        self.acked = through_seq;
        self.step("push", u64::from(through_seq), u64::from(self.tip_seq));
        self.send_job(Job::Acked { through_seq });
    }

    fn idle(&mut self) {
        self.send_job(Job::Synced);
        if self.mode.is_round() && self.rounds == 0 {
            self.finish();
        } else if !self.relay_id.is_peer()
            && (self.mode.is_round() || self.kept_at.is_none_or(|kept_at| kept_at.elapsed() >= KEEP_EVERY))
        {
            self.keep_checkpoints();
        }
    }

    /// Comparing and making checkpoints waits until nothing else is to be done.
    fn keep_checkpoints(&mut self) {
        self.rounds = self.rounds.saturating_sub(1);
        self.kept_at = Some(Instant::now());
        self.send_job(Job::Checkpoints);
    }

    fn finish(&mut self) {
        self.finished = true;
        self.to_writer = None;
    }

    /// A rate limit passes in seconds, so a round of sync waits for it; a full quota does not.
    fn push_paused(&mut self, reason: PushPause) {
        tracing::info!(%reason, "pushing rests");
        if reason != PushPause::Rate && self.mode.is_round() {
            self.unsent = Some(EngineError::PushPaused(reason));
            self.finish_without_pushing();
        }
    }

    /// What cannot be sent does not keep from receiving: one round reports it at its end, a live one goes on.
    fn cannot_send(&mut self, error: EngineError) {
        tracing::warn!(%error, "nothing can be sent");
        self.shared.trace("send", error.name(), 0);
        self.unsent.get_or_insert(error);
    }

    /// While pushing rests the session is never idle; what is left is done once the end of the log is stored.
    fn finish_without_pushing(&mut self) {
        if self.tally.was_live && matches!(self.unsent, Some(EngineError::PushPaused(_))) {
            self.finish();
        }
    }

    fn step(&mut self, phase: &'static str, done: u64, total: u64) {
        (self.progress)(ProgressStep { phase, done, total: total.max(done) });
    }

    fn emit(&self, state: SyncState) {
        self.shared.emit(Event::Sync { space: self.shared.space, relay: self.relay.clone(), state });
    }
}
