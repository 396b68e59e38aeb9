//! The store worker: one blocking thread per connection that does the session's store jobs in order.

mod attachments;
pub(super) mod checkpoints;
mod resealing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lifeos_sync_protocol::frame::{Cursor, Have, Item};
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, RecordId, SignPk, StreamId};
use lifeos_sync_protocol::log::Statement;
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Record};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::connection::Mode;
use super::shared::random_u64;
use super::shared::wall_ms;
use super::state::records_beyond;
use super::{EngineError, Shared, SpaceState, rotation, sealing};
use crate::crypto::SystemRandom;
use crate::envelope::StreamTip;
use crate::keys::receipt_key;
use crate::metrics::Work;
use crate::records::{Draft, take_back};
use crate::session::{Input, LogChange, SessionError, StreamPart, WakeupStanding, WakeupWish};
use crate::store::{HeardReceipt, Page, ReceiveReport, RelayId, Store, StoreError, Timed, Unknown, WarningKind};
use crate::witness::Rolls;

/// Bytes of pages that may wait for records.
const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Longest wait for others to make keys.
const WAIT_MS_MAX: u64 = 10 * 60 * 1_000;

/// One thing to do at the store.
#[derive(Debug)]
pub(super) enum Job {
    PinRelay(SignPk),
    StoreRecords(Vec<Vec<u8>>),
    LoadRecords {
        known: Vec<RecordId>,
    },
    /// Records are equal: pages that waited for them are taken now; then pending changes are sealed, unless that
    /// waits for [`Job::CaughtUp`].
    RecordsEqual {
        /// The records held here when that was so.
        heads: Vec<RecordId>,
        /// What of them the relay was offered and did not store.
        untaken: Vec<RecordId>,
        may_seal: bool,
    },
    /// The relay did not take these.
    RecordsRefused(Vec<RecordId>),
    /// The end of the log was reached: from here on sealing is allowed.
    CaughtUp,
    /// Seal what is pending, if anything is.
    Seal,
    /// Look whether keys are due.
    Keys,
    /// A removal of this device cuts too early.
    CutBehind,
    StorePage {
        items: Vec<Item>,
        cursor: Option<Cursor>,
        rolls: Rolls,
    },
    /// What the relay signed about its log.
    Statement(Statement),
    /// The relay broke the protocol.
    Misbehaved,
    LoadOutbox {
        after_seq: u32,
        envelopes_max: usize,
        bytes_max: usize,
    },
    Acked {
        through_seq: u32,
    },
    LoadHeld,
    /// The relay holds so much of these streams.
    HoldsOf(Vec<(StreamId, u32)>),
    /// What the relay says that it holds.
    HeldThere(Vec<Have>),
    /// Say what to begin with, without a place in the log.
    Bootstrap {
        missing: Vec<EnvelopeId>,
        is_pruned: bool,
    },
    /// An object whose id was compared.
    StoreObject {
        id: EnvelopeId,
        bytes: Vec<u8>,
    },
    /// Give the first bytes of an object, as far as they are held.
    LoadPartial(EnvelopeId),
    /// Bytes of an object of which more is to come.
    KeepPartial {
        id: EnvelopeId,
        from: u32,
        bytes: Vec<u8>,
    },
    LoadObjects,
    LoadObject(EnvelopeId),
    /// The relay said which of the objects that it was offered it holds.
    ObjectsHeld {
        held: Vec<EnvelopeId>,
        lacking: Vec<EnvelopeId>,
    },
    /// The relay does not hold what was wanted.
    ObjectsMissing(Vec<EnvelopeId>),
    /// Compare, make and forget by checkpoints.
    Checkpoints,
    LoadStream(StreamPart),
    /// Say what is on the disk, if the relay has not been told.
    SealReceipt,
    /// The relay keeps it.
    ReceiptTaken,
    /// What another device says of itself.
    HearReceipt(Vec<u8>),
    LogChanged(LogChange),
    /// What the relay makes of where this device is woken.
    Wakeup(WakeupWish, WakeupStanding),
    Synced,
}

/// What came of a job.
#[derive(Debug)]
pub(super) enum Done {
    /// For the session.
    Answer(Input),
    /// So many bytes of pages or records no longer wait for the store.
    Freed { bytes: usize },
    /// A page was taken in.
    Page { received: u64, changed: Vec<DocId>, quarantined: usize },
    /// Envelopes were sealed; the own stream now ends here.
    Sealed { envelopes: usize, tip_seq: u32 },
    /// Nothing more can be sealed.
    NotSealed(EngineError),
    /// A chunk was taken in: documents so far, and all, and whether what comes first is here.
    Joined { docs: u64, total: u64, is_usable: bool },
    /// Wanted parts of attachments that came on this connection, and all.
    Fetched { parts: u64, total: u64 },
    /// Documents packed into a new checkpoint, and all.
    Packed { docs: u64, total: u64 },
    /// Checkpoints were looked at; whether something is under way because of it.
    Kept { is_moving: bool },
    /// Records that the relay refused were taken back.
    TakenBack,
    /// An object was handed out for sending.
    LoadedObject { bytes: u64 },
    /// Bytes were handed out for sending.
    Loaded { bytes: u64 },
    /// The connection cannot go on.
    Failed(EngineError),
}

/// Runs on a thread of its own until the jobs end.
pub(super) fn spawn(
    shared: Arc<Shared>,
    of: (RelayId, Mode, Begun),
    mut jobs: mpsc::UnboundedReceiver<Job>,
    done: mpsc::UnboundedSender<Done>,
) -> JoinHandle<()> {
    #[cfg(feature = "simulation")]
    if crate::simulation::is_on() {
        return super::task::spawn(async move {
            let mut worker = Worker::new(&shared, of, &done);
            while let Some(job) = jobs.recv().await {
                if !worker.goes_on(job) {
                    return;
                }
            }
        });
    }
    tokio::task::spawn_blocking(move || {
        let mut worker = Worker::new(&shared, of, &done);
        while let Some(job) = jobs.blocking_recv() {
            if !worker.goes_on(job) {
                return;
            }
        }
    })
}

struct Worker<'a> {
    shared: &'a Arc<Shared>,
    relay: RelayId,
    done: &'a mpsc::UnboundedSender<Done>,
    /// Pages that met an unknown author or epoch, and those behind them.
    held: VecDeque<(Vec<Item>, Option<Cursor>, Rolls)>,
    held_bytes: usize,
    /// The end of the log was reached on this connection.
    caught_up: bool,
    /// Lets those who are before it in rank make keys first.
    is_patient: bool,
    /// The relay is the one that this device listens with: what only that holds is gone with it.
    is_own_relay: bool,
    /// When it is this device's turn to make the keys that are due.
    rotate_at: Option<Instant>,
    /// The relay holds more of a removed device than the removal says.
    cut_behind: bool,
    /// What the receipt says that is on its way.
    said: Option<Vec<u8>>,
    /// What the session began with.
    begun: Begun,
    /// The tip of the own stream that the session was told of.
    told_seq: u32,
    /// The relay's log was read somewhere.
    had_cursor: bool,
    /// The relay says that the place where its log was read is pruned.
    is_place_pruned: bool,
    checkpoints: checkpoints::Checkpoints,
    attachments: attachments::Attachments,
}

/// What a session begins with, and other connections may change.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    /// The own stream.
    pub(super) stream: StreamId,
    /// The records, as the session last heard of them.
    pub(super) records_seen: u64,
    /// What is said of where this device is woken.
    pub(super) wakeup: Option<WakeupWish>,
}

impl<'a> Worker<'a> {
    fn new(
        shared: &'a Arc<Shared>,
        (relay, mode, begun): (RelayId, Mode, Begun),
        done: &'a mpsc::UnboundedSender<Done>,
    ) -> Self {
        Self {
            shared,
            relay,
            done,
            held: VecDeque::new(),
            held_bytes: 0,
            caught_up: false,
            is_patient: mode == Mode::Live,
            is_own_relay: mode == Mode::Fill || (mode == Mode::Live && relay.is_peer()),
            rotate_at: None,
            cut_behind: false,
            said: None,
            begun,
            told_seq: 0,
            had_cursor: false,
            is_place_pruned: false,
            checkpoints: checkpoints::Checkpoints::default(),
            attachments: attachments::Attachments::default(),
        }
    }

    /// Does a job; whether there is any sense in the next one.
    fn goes_on(&mut self, job: Job) -> bool {
        let done = self.perform(job);
        done.map_err(|error| self.tell(Done::Failed(error))).is_ok()
    }

    fn tell(&self, done: Done) {
        // Nobody listens any more once the connection has ended; the commit stands all the same.
        let _ = self.done.send(done);
    }

    fn answer(&self, input: Input) {
        self.tell(Done::Answer(input));
    }

    fn perform(&mut self, job: Job) -> Result<(), EngineError> {
        match job {
            Job::PinRelay(key) => self.pin_relay(&key)?,
            Job::StoreRecords(records) => self.store_records(records)?,
            Job::LoadRecords { known } => {
                let records = self.shared.store().records(&self.shared.space)?;
                let beyond = records_beyond(&records, &known);
                let beyond = beyond.into_iter().map(|record| (record.id(), record.bytes().to_vec()));
                self.answer(Input::Records(beyond.collect()));
            }
            Job::RecordsEqual { heads, untaken, may_seal } => {
                // It lets this device in, whatever it said before.
                if !self.relay.is_peer() {
                    self.shared.store().note_refusal(&self.shared.space, None)?;
                }
                if !self.is_own_relay {
                    self.note_taken(&heads, &untaken)?;
                }
                if may_seal {
                    self.records_equal()?;
                }
            }
            Job::RecordsRefused(refused) => self.take_back(&refused)?,
            Job::CaughtUp => self.catch_up()?,
            Job::Seal => {
                self.seal()?;
                self.look_for_parts()?;
                self.fetch_parts()?;
            }
            Job::CutBehind => self.cut_behind = true,
            Job::Keys => {
                self.follow_others()?;
                self.follow_wakeup()?;
                if self.caught_up {
                    self.keep_keys()?;
                }
            }
            Job::StorePage { items, cursor, rolls } => self.store_page(items, cursor, rolls)?,
            Job::LoadOutbox { after_seq, envelopes_max, bytes_max } => {
                self.own_tip()?;
                let _timed = Timed::begin(&self.shared.metrics, Work::Push);
                let store = self.shared.store();
                let envelopes = store.outbox(&self.shared.space, after_seq, bytes_max, envelopes_max)?;
                drop(store);
                let bytes = envelopes.iter().map(|envelope| envelope.bytes.len() as u64).sum();
                self.tell(Done::Loaded { bytes });
                self.answer(Input::Outbox { after_seq, envelopes });
            }
            Job::LoadHeld => {
                let held = self.shared.store().have(&self.shared.space)?;
                self.answer(Input::Held(held));
            }
            Job::HoldsOf(held) => self.shared.store().held_there(&self.shared.space, self.relay, &held)?,
            Job::HeldThere(held) => self.hold_to_checkpoints(&held)?,
            Job::LoadStream(StreamPart { stream, from, to, envelopes_max, bytes_max }) => {
                let (store, space) = (self.shared.store(), &self.shared.space);
                let to = to.min(store.reads().counts_through(space, &stream)?);
                let envelopes = store.envelopes(space, &stream, (from, to), bytes_max, envelopes_max)?;
                drop(store);
                let bytes = envelopes.iter().map(|envelope| envelope.bytes.len() as u64).sum();
                self.tell(Done::Loaded { bytes });
                self.answer(Input::Stream { stream, envelopes });
            }
            Job::Bootstrap { missing, is_pruned } => self.bootstrap(&missing, is_pruned)?,
            Job::StoreObject { id, bytes } => self.store_object(id, bytes)?,
            Job::LoadPartial(id) => {
                let bytes = self.shared.store().partial(&self.shared.space, &id)?;
                self.answer(Input::Partial(id, bytes));
            }
            Job::KeepPartial { id, from, bytes } => {
                self.shared.store().keep_partial(&self.shared.space, &id, from, &bytes)?;
            }
            Job::LoadObjects => self.objects_kept()?,
            Job::LoadObject(id) => {
                let bytes = self.shared.store().object(&self.shared.space, &id)?;
                self.tell(Done::LoadedObject { bytes: bytes.as_ref().map_or(0, Vec::len) as u64 });
                self.answer(Input::Object { id, bytes });
            }
            Job::ObjectsHeld { held, lacking } => {
                let mut store = self.shared.store();
                store.note_given(&self.shared.space, self.relay, (&held, &lacking))?;
            }
            Job::ObjectsMissing(missing) => self.objects_missing(missing),
            Job::Checkpoints => {
                let is_moving = self.keep_checkpoints()?;
                self.tell(Done::Kept { is_moving });
            }
            Job::SealReceipt => self.seal_receipt()?,
            Job::ReceiptTaken => {
                if let Some(said) = self.said.take() {
                    self.shared.store().receipt_taken(self.relay, &said)?;
                }
            }
            Job::HearReceipt(bytes) => self.hear_receipt(bytes)?,
            Job::Acked { through_seq } => {
                self.own_tip()?;
                self.shared.store().acked(self.relay, through_seq)?;
            }
            Job::LogChanged(change) => {
                self.had_cursor = false;
                self.is_place_pruned = change == LogChange::Pruned;
                if let Some(warning) = warning_of(change) {
                    let mut store = self.shared.store();
                    if !self.relay.is_peer() {
                        store.warn(self.relay, warning, wall_ms())?;
                        store.doubt_own_stream(&self.shared.space)?;
                    }
                    store.reset_relay(self.relay)?;
                }
            }
            // Nobody else sees the log of a device nearby, and it is gone when the sync ends.
            Job::Statement(_) | Job::Misbehaved if self.relay.is_peer() => {}
            Job::Statement(statement) => {
                self.shared.store().put_statement(&self.shared.space, self.relay, &statement, wall_ms())?;
            }
            Job::Misbehaved => self.shared.store().warn(self.relay, WarningKind::Misbehaved, wall_ms())?,
            Job::Wakeup(wish, standing) => {
                self.shared.store().note_wakeup(self.relay, &wish, standing)?;
            }
            Job::Synced => self.shared.store().synced(self.relay, wall_ms())?,
        }
        Ok(())
    }

    fn pin_relay(&self, key: &SignPk) -> Result<(), StoreError> {
        let mut store = self.shared.store();
        let url = store.reads().relay(self.relay)?.url;
        store.put_relay(&self.shared.space, &url, Some(key)).map(drop)
    }

    /// Records come from outside: what does not parse, or is another space's, is left out.
    fn store_records(&self, records: Vec<Vec<u8>>) -> Result<(), EngineError> {
        let bytes = records.iter().map(Vec::len).sum();
        let parsed: Vec<_> = records
            .into_iter()
            .filter_map(|bytes| Record::parse(bytes).ok())
            .filter(|record| record.space() == self.shared.space)
            .collect();
        if !parsed.is_empty() {
            self.shared.store().receive_records(&self.shared.space, &parsed)?;
        }
        self.follow_records()?;
        self.tell(Done::Freed { bytes });
        self.answer(Input::RecordsStored { heads: self.shared.state().membership.heads.clone() });
        Ok(())
    }

    /// What the relay holds now is not taken back any more.
    fn note_taken(&self, heads: &[RecordId], untaken: &[RecordId]) -> Result<(), EngineError> {
        let (mut store, space) = (self.shared.store(), &self.shared.space);
        let mut taken = store.untaken_records(space)?;
        if taken.is_empty() {
            return Ok(());
        }
        for record in records_beyond(&store.records(space)?, heads) {
            taken.remove(&record.id());
        }
        taken.retain(|record| !untaken.contains(record));
        Ok(store.records_taken(space, &Vec::from_iter(taken))?)
    }

    /// Takes back what the relay refused, so that what is written next does not wait there behind it.
    fn take_back(&self, refused: &[RecordId]) -> Result<(), EngineError> {
        if self.relay.is_peer() {
            // A relay of the space decides what has room, not a device nearby.
            let heads = self.shared.state().membership.heads.clone();
            self.answer(Input::RecordsTakenBack { heads, changed: false });
            return Ok(());
        }
        let (mut store, space, state) = (self.shared.store(), &self.shared.space, self.shared.state());
        let (records, untaken) = (store.records(space)?, store.untaken_records(space)?);
        let opened = state.opened();
        let back = take_back(space, &records, (&self.shared.keys, &opened), &untaken, refused).unwrap_or_default();
        let changed = !back.gone.is_empty();
        if changed {
            store.warn(self.relay, WarningKind::RecordsTakenBack, wall_ms())?;
            store.take_back_records(space, &back.gone, &back.instead)?;
            self.shared.refresh_state(&store)?;
            self.try_again(&mut store)?;
            self.tell(Done::TakenBack);
        }
        self.answer(Input::RecordsTakenBack { heads: self.shared.state().membership.heads.clone(), changed });
        Ok(())
    }

    /// Members and keys follow the stored records, whoever stored them; what waited for them is tried again.
    fn follow_records(&self) -> Result<(), EngineError> {
        let mut store = self.shared.store();
        if !self.shared.follow_records(&store)? {
            return Ok(());
        }
        self.try_again(&mut store)
    }

    /// What another process stored, or the connection to another relay: this relay may lack it.
    fn follow_others(&mut self) -> Result<(), EngineError> {
        self.follow_records()?;
        let state = self.shared.state();
        if std::mem::replace(&mut self.begun.records_seen, state.records_changed) != state.records_changed {
            self.answer(Input::RecordsChanged { heads: state.membership.heads.clone() });
        }
        // What was learned elsewhere may ask for this log to be read again.
        let has_cursor = self.shared.store().reads().relay(self.relay)?.cursor.is_some();
        if self.had_cursor && !has_cursor {
            return Err(EngineError::FetchAgain);
        }
        self.had_cursor = has_cursor;
        Ok(())
    }

    /// Where this device is woken was changed, by whichever process: the relay is told.
    fn follow_wakeup(&mut self) -> Result<(), EngineError> {
        let wish = self.shared.store().reads().wakeup_wish(self.relay)?;
        if wish != self.begun.wakeup {
            self.begun.wakeup.clone_from(&wish);
            wish.into_iter().for_each(|wish| self.answer(Input::Wakeup(wish)));
        }
        Ok(())
    }

    /// Where the own stream ends. Another connection may have begun a new one, of which this session knows nothing.
    fn own_tip(&self) -> Result<StreamTip, EngineError> {
        let tip = self.shared.store().own_tip(&self.shared.space)?;
        if tip.stream == self.begun.stream { Ok(tip) } else { Err(EngineError::FetchAgain) }
    }

    /// Tries again what was set aside, by the records as they are now.
    fn try_again(&self, store: &mut Store) -> Result<(), EngineError> {
        let (state, space) = (self.shared.state(), &self.shared.space);
        let had_cursor = store.reads().relay(self.relay)?.cursor.is_some();
        let report = store.retry_quarantined(space, &state.membership, &state.keyring, wall_ms())?;
        let has_cursor = store.reads().relay(self.relay)?.cursor.is_some();
        self.tell_page(report);
        // The next page of this connection would put the cursor back that was just taken away.
        if had_cursor && !has_cursor { Err(EngineError::FetchAgain) } else { Ok(()) }
    }

    /// Tells what came of envelopes that were taken in.
    fn tell_page(&self, report: ReceiveReport) {
        self.shared.announce(&report);
        self.tell(Done::Page {
            received: report.received,
            changed: report.changed,
            quarantined: report.quarantined.len(),
        });
    }

    fn records_equal(&mut self) -> Result<(), EngineError> {
        self.follow_records()?;
        for (items, cursor, rolls) in std::mem::take(&mut self.held) {
            self.take_page(items, cursor, rolls, Unknown::Quarantine)?;
        }
        self.held_bytes = 0;
        self.seal_when_keys_are_sound()
    }

    /// The records that make keys go to the relay first; what follows from that is [`Job::RecordsEqual`] again.
    fn seal_when_keys_are_sound(&mut self) -> Result<(), EngineError> {
        if !self.caught_up || self.keep_keys()? { Ok(()) } else { self.seal_all() }
    }

    /// Only now is it known how far the own stream goes: a home put back from a backup has written more than it
    /// remembers, and must learn of it before it seals anything at a place that is taken.
    fn catch_up(&mut self) -> Result<(), EngineError> {
        if std::mem::replace(&mut self.caught_up, true) {
            return Ok(());
        }
        self.seal_when_keys_are_sound()
    }

    fn store_page(&mut self, items: Vec<Item>, cursor: Option<Cursor>, rolls: Rolls) -> Result<(), EngineError> {
        let bytes = page_bytes(&items);
        if self.held.is_empty() {
            self.take_page(items, cursor, rolls, Unknown::Hold)?;
        } else {
            self.hold(items, cursor, rolls)?;
        }
        self.tell(Done::Freed { bytes });
        Ok(())
    }

    /// Keeps a page until the records are equal again. Reading goes on meanwhile, as the records must arrive.
    fn hold(&mut self, items: Vec<Item>, cursor: Option<Cursor>, rolls: Rolls) -> Result<(), EngineError> {
        self.held_bytes += page_bytes(&items);
        if self.held_bytes > HELD_BYTES_MAX {
            return Err(SessionError::Misbehaved("news without the records they need").into());
        }
        self.held.push_back((items, cursor, rolls));
        Ok(())
    }

    fn take_page(
        &mut self,
        items: Vec<Item>,
        cursor: Option<Cursor>,
        rolls: Rolls,
        unknown: Unknown,
    ) -> Result<(), EngineError> {
        let kept = if unknown == Unknown::Hold { (items.clone(), rolls.clone()) } else { Default::default() };
        let state = self.shared.state();
        let page = Page { relay: Some(self.relay), items, next: cursor, rolls };
        let report = self.shared.store().receive(
            &self.shared.space,
            page,
            &state.membership,
            &state.keyring,
            unknown,
            wall_ms(),
        )?;
        let held = report.held.is_some();
        self.tell_page(report);
        if held {
            self.hold(kept.0, cursor, kept.1)?;
            self.answer(Input::RecordsWanted);
        } else {
            self.answer(Input::PageStored);
        }
        Ok(())
    }

    /// Without a sound key nothing is said: what is sealed then, a removed device may read.
    fn seal_receipt(&mut self) -> Result<(), EngineError> {
        let (state, keys) = (self.shared.state(), &self.shared.keys);
        let key = receipt_key(&self.shared.device, state.own_keys(keys), &state.membership, &state.keyring);
        let key = key.map_err(EngineError::from);
        let made =
            match key.and_then(|key| sealing::check_taken(self.shared, &state.membership, key.epoch()).map(|()| key)) {
                Err(EngineError::Store(error)) => return Err(error.into()),
                Ok(key) => {
                    let (space, mut random) = (&self.shared.space, SystemRandom::new());
                    self.shared.store().seal_receipt(space, self.relay, (keys, &key), wall_ms(), &mut random)?
                }
                Err(error) => {
                    tracing::debug!(%error, "no receipt is given");
                    None
                }
            };
        let (envelope, said) = made.map(|made| (made.envelope, made.said)).unzip();
        self.said = said;
        self.answer(Input::OwnReceipt(envelope));
        Ok(())
    }

    fn hear_receipt(&self, bytes: Vec<u8>) -> Result<(), EngineError> {
        let (state, freed) = (self.shared.state(), bytes.len());
        let records = (&state.membership, &state.keyring);
        let heard = self.shared.store().hear_receipt(&self.shared.space, bytes, records, wall_ms())?;
        if let HeardReceipt::Refused(refused) = heard {
            tracing::debug!(%refused, "a receipt is passed over");
        }
        self.tell(Done::Freed { bytes: freed });
        Ok(())
    }

    /// For the bell and for edits of another process: looks before it takes the write lock.
    fn seal(&mut self) -> Result<(), EngineError> {
        if !self.caught_up {
            return Ok(());
        }
        let tip_seq = self.own_tip()?.seq;
        if sealing::is_waiting(self.shared)? {
            return self.seal_all();
        }
        self.leave_stream()?;
        if tip_seq > self.told_seq {
            // Sealed for another relay; this one gets it, too.
            self.told_seq = tip_seq;
            self.tell(Done::Sealed { envelopes: 0, tip_seq });
            self.answer(Input::OutboxChanged);
        }
        Ok(())
    }

    /// Leaves a stream that another copy of this home writes, too, or that is full. The connection begins anew with the
    /// new one.
    fn leave_stream(&self) -> Result<(), EngineError> {
        let Some(report) = sealing::leave_stream(self.shared)? else { return Ok(()) };
        self.tell_page(report);
        Err(EngineError::FetchAgain)
    }

    /// Makes what keys are due and this device's to make, and tells the relay; whether there was anything.
    fn keep_keys(&mut self) -> Result<bool, EngineError> {
        let (space, keys) = (&self.shared.space, &self.shared.keys);
        let mut random = SystemRandom::new();
        let mut store = self.shared.store();
        // Under the lock: the connection to another relay may have made them.
        if self.shared.follow_records(&store)? {
            self.try_again(&mut store)?;
        }
        let state = self.shared.state();
        let records = store.records(space)?;
        if std::mem::take(&mut self.cut_behind) && self.cut_later(&mut store, &state, &records)? {
            return Ok(true);
        }
        let Some(own) = state.membership.devices.get(&keys.sign_pk()) else { return Ok(false) };
        let clock = store.key_clock(space, (state.membership.current_epoch(), own.hpke_pk), wall_ms())?;
        let Some(task) = rotation::due(&state, keys, &records, &clock, wall_ms()) else {
            self.rotate_at = None;
            if state.refreshed.len() > 1 && rotation::newest_suffices(&state, keys, &records) {
                store.forget_hpke_keys(space, keys, &own.hpke_pk, &mut random)?;
                self.shared.refresh_state(&store)?;
            }
            return self.prove_forks(&mut store, &state, &records);
        };
        if !self.is_due(task, &state.membership) {
            return Ok(false);
        }
        let made = match rotation::perform(task, (&state, keys, &records), wall_ms(), &mut random) {
            Ok(made) => made,
            Err(error) => {
                tracing::warn!(%error, "keys that are due cannot be made");
                return Ok(false);
            }
        };
        if task.is_asked() {
            store.note_asked(space, wall_ms())?;
        }
        match made.hpke_material {
            Some(material) => store.put_hpke_key(space, keys, &material, &made.records, &mut random)?,
            None => drop(store.put_records(space, &made.records)?),
        }
        self.tell_records(&mut store)?;
        Ok(true)
    }

    /// Whether those before this device in rank have had their time.
    fn is_due(&mut self, task: rotation::KeyTask, membership: &Membership) -> bool {
        if !self.is_patient || !task.is_for_all() {
            return true;
        }
        let rank = rotation::rank_of(membership, &self.shared.device).unwrap_or(usize::MAX);
        let wait = Duration::from_millis(rotation::rotation_wait_ms(rank, random_u64()).min(WAIT_MS_MAX));
        let due = *self.rotate_at.get_or_insert_with(|| Instant::now() + wait);
        let is_due = Instant::now() >= due;
        if is_due {
            self.rotate_at = None;
        }
        is_due
    }

    /// Writes removals again where more is held of the removed device than they say: this device's, and those of others
    /// that count. Their author may not know of them any more (its home was put back from before them), and the relay
    /// would wait for it for ever.
    fn cut_later(&self, store: &mut Store, state: &SpaceState, records: &[Record]) -> Result<bool, EngineError> {
        let mut draft = Draft::begin(&state.membership, records, &state.opened(), &self.shared.keys);
        let is_removal = |body: &Body| matches!(body, Body::DeviceRemove { .. } | Body::MemberRemove { .. });
        let is_to_write = |record: &&Record| {
            let counts = is_removal(record.body()) && !state.membership.void.contains_key(&record.id());
            counts || record.author() == self.shared.device
        };
        for record in records.iter().filter(is_to_write) {
            let devices = rotation::removed_by(&state.membership, record.body());
            let cuts = if devices.is_empty() { Vec::new() } else { store.cuts(&self.shared.space, &devices)? };
            if let Err(error) = draft.cut_later(record, cuts) {
                tracing::warn!(%error, "a removal cannot be written again");
            }
        }
        self.publish(store, draft)
    }

    /// Publishes what proves that somebody's stream was written twice.
    fn prove_forks(&self, store: &mut Store, state: &SpaceState, records: &[Record]) -> Result<bool, EngineError> {
        let evidence = store.fork_evidence(&self.shared.space, &state.membership)?;
        if evidence.is_empty() {
            return Ok(false);
        }
        let mut draft = Draft::begin(&state.membership, records, &state.opened(), &self.shared.keys);
        for proof in evidence {
            if let Err(error) = draft.add(&proof) {
                tracing::warn!(%error, "a fork cannot be proven to the others");
            }
        }
        self.publish(store, draft)
    }

    /// Stores what was written and tells the relay; whether there was anything.
    fn publish(&self, store: &mut Store, draft: Draft<'_>) -> Result<bool, EngineError> {
        let made = draft.finish();
        if made.is_empty() {
            return Ok(false);
        }
        store.put_records(&self.shared.space, &made)?;
        self.tell_records(store)?;
        Ok(true)
    }

    /// Records were written here: members, keys and what counts follow, and the relay gets them.
    fn tell_records(&self, store: &mut Store) -> Result<(), EngineError> {
        self.shared.refresh_state(store)?;
        self.try_again(store)?;
        self.answer(Input::RecordsChanged { heads: self.shared.state().membership.heads.clone() });
        Ok(())
    }

    /// What cannot be sealed stays pending; receiving goes on, and what is sealed already is sent.
    fn seal_all(&mut self) -> Result<(), EngineError> {
        self.leave_stream()?;
        match sealing::seal_pending(self.shared) {
            Ok(envelopes) => {
                let tip_seq = self.shared.store().own_tip(&self.shared.space)?.seq;
                self.told_seq = tip_seq;
                self.tell(Done::Sealed { envelopes, tip_seq });
            }
            Err(
                error @ (EngineError::Key(_) | EngineError::KeyUntaken | EngineError::Store(StoreError::StreamForked)),
            ) => {
                self.tell(Done::NotSealed(error));
            }
            Err(error) => return Err(error),
        }
        self.answer(Input::OutboxChanged);
        Ok(())
    }
}

/// A pruned log is no reason to warn.
const fn warning_of(change: LogChange) -> Option<WarningKind> {
    match change {
        LogChange::RolledBack => Some(WarningKind::LogRolledBack),
        LogChange::Replaced => Some(WarningKind::LogReplaced),
        LogChange::Pruned => None,
    }
}

fn page_bytes(items: &[Item]) -> usize {
    items.iter().map(|item| item.envelope.len()).sum()
}
