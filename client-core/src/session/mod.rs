//! One connection's state machine: [`Session::handle`] takes what happened, [`Session::poll`] gives what to
//! do (protocol §4.2). No clock, no I/O, no randomness: time, the nonce and signatures are inputs.
//!
//! ```text
//! HELLO → CHALLENGE (key pinned) → AUTH → WELCOME (signature checked) ─ known ─→ OPEN → STATE
//!                                                    └─ unknown: all records first ──┘
//! STATE → records equal, both ways → ┬ PULL pages until the end → LIVE (NOTIFY; a gap or `behind`: PULL)
//!                                    └ PUSH, ≤ 16 frames in flight, once the sealer has run
//! ```
//!
//! The next PULL leaves only after the page before it is on disk, so at most one page waits for the store.
//! A relay that lost its log (another log id, or a roll that differs) is pulled from position 1 and gets
//! this device's own envelopes again from sequence 1; it answers DUP for those it has. What it then still lacks of
//! any stream, whoever wrote it, it is given, too ([`heal`]). What is on disk is told to the other devices ([`receipt`]).

mod handshake;
mod heal;
mod objects;
mod pull;
mod push;
mod receipt;
#[cfg(test)]
mod receipt_tests;
mod records;
#[cfg(test)]
mod tests;
mod vector;
mod wakeup;
mod words;

use std::collections::VecDeque;

use lifeos_sync_protocol::frame::{Cursor, ErrorCode, Frame, FrameError, Have, Item, PeerLimits, PushStatus, Quota};
use lifeos_sync_protocol::ids::{EnvelopeId, RecordId, SignPk, Signature, SpaceId, StreamId};
use lifeos_sync_protocol::limits;
use lifeos_sync_protocol::log::Statement;

use crate::envelope::SealedEnvelope;
use crate::witness::Rolls;
pub use handshake::{Challenged, Handshake};
use heal::Heal;
use objects::Objects;
pub use pull::LogChange;
use pull::Pull;
use push::Push;
pub use push::PushPause;
use receipt::Receipts;
use records::RecordSync;
pub use vector::Bootstrap;
use vector::Vector;
use wakeup::Wakeup;
pub use wakeup::{WakeupStanding, WakeupWish};

/// Healing that a relay had no room or time for is begun again no sooner.
const HEAL_AGAIN_MS_MIN: u64 = 30_000;
/// Time for the whole handshake.
pub const HANDSHAKE_MS_MAX: u64 = 15_000;
/// Silence after which the peer is asked whether it is there.
pub const PING_AFTER_MS: u64 = 25_000;
/// Silence after which the connection counts as dead.
pub const SILENCE_MS_MAX: u64 = 60_000;
/// Time for the answer to one request, however lively the peer is otherwise.
pub const ANSWER_MS_MAX: u64 = 120_000;

/// What a session starts from.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// The space to sync.
    pub space: SpaceId,
    /// This device's key in the space.
    pub device: SignPk,
    /// The relay's key, if it was seen or given before; otherwise the first one seen is reported to be pinned.
    pub relay_key: Option<SignPk>,
    /// The address that was dialled. While no key is pinned, the relay must call itself by it.
    pub relay_address: String,
    /// 32 fresh random bytes.
    pub nonce: [u8; 32],
    /// Heads of the records held here.
    pub rec_heads: Vec<RecordId>,
    /// Place in the relay's log up to which everything is on disk.
    pub cursor: Option<Cursor>,
    /// Last sequence of the own stream that this relay has acknowledged.
    pub acked_seq: u32,
    /// Receive by streams what is not held here, and send of the own stream (its id, its last sequence) what the other side
    /// says that it lacks, rather than read a log from its start: for a log that is there for a while only.
    pub by_streams: Option<(StreamId, u32)>,
    /// Digest of all streams held here; if the relay's differs, it is asked whether it still has the own stream.
    pub have_digest: [u8; 32],
    /// Time between two receipts while the connection lasts ([`crate::receipt::every_ms`]).
    pub receipt_every_ms: u64,
    /// What to say of where this device is woken, if anything.
    pub wakeup: Option<WakeupWish>,
    /// Now, in milliseconds of any steady clock.
    pub now_ms: u64,
}

/// Something happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// One frame arrived.
    Frame(Vec<u8>),
    /// Answer to [`Output::Sign`].
    Signed(Signature),
    /// Answer to [`Output::StoreRecords`]: durable; the heads held now.
    RecordsStored {
        /// Heads after the commit.
        heads: Vec<RecordId>,
    },
    /// Answer to [`Output::LoadRecords`], parents first.
    Records(Vec<(RecordId, Vec<u8>)>),
    /// Answer to [`Output::RecordsRefused`]: durable.
    RecordsTakenBack {
        /// Heads after the commit.
        heads: Vec<RecordId>,
        /// Whether the records held here are others than before.
        changed: bool,
    },
    /// Records were written on this device (a device was linked): the relay must get them.
    RecordsChanged {
        /// Heads after the commit.
        heads: Vec<RecordId>,
    },
    /// The store meets an author or epoch that no record here explains: fetch records again. When that is done
    /// [`Output::RecordsEqual`] follows.
    RecordsWanted,
    /// Answer to [`Output::StorePage`]: durable, cursor included.
    PageStored,
    /// Answer to [`Output::LoadOutbox`]: the sealed envelopes after `after_seq`, in order; empty: no more.
    Outbox {
        /// As asked.
        after_seq: u32,
        /// Consecutive.
        envelopes: Vec<SealedEnvelope>,
    },
    /// Answer to [`Output::LoadHeld`]: everything held, by stream, ascending.
    Held(Vec<Have>),
    /// Answer to [`Output::LoadStream`]: consecutive; empty: there is no more to give of it.
    Stream {
        /// As asked.
        stream: StreamId,
        /// From the sequence asked for.
        envelopes: Vec<SealedEnvelope>,
    },
    /// Another way brought envelopes that this relay may lack: look again.
    HeldChanged,
    /// Answer to [`Output::Bootstrap`].
    Bootstrap(Bootstrap),
    /// Answer to [`Output::LoadPartial`]: the first bytes of an object that are held, if any.
    Partial(EnvelopeId, Vec<u8>),
    /// Fetch these objects; [`Output::ObjectsFetched`] follows.
    ObjectsWanted(Vec<EnvelopeId>),
    /// Of the objects that are wanted and not asked for yet, fetch these first.
    ObjectsFirst(Vec<EnvelopeId>),
    /// Answer to [`Output::StoreObject`]: durable, or of no use.
    ObjectStored,
    /// Answer to [`Output::LoadObjects`]: what is kept here.
    ObjectsKept(Vec<EnvelopeId>),
    /// Answer to [`Output::LoadObject`].
    Object {
        /// As asked.
        id: EnvelopeId,
        /// `None`: it is not kept any more.
        bytes: Option<Vec<u8>>,
    },
    /// More objects are kept here than were offered.
    ObjectsChanged,
    /// Answer to [`Output::LoadReceipt`]; `None`: there is nothing new to say.
    OwnReceipt(Option<SealedEnvelope>),
    /// The sealer has run: the outbox may hold something new. Nothing is pushed before the first of these.
    OutboxChanged,
    /// A sealed presence message: goes now or never.
    Presence(Vec<u8>),
    /// Where this device is woken has changed.
    Wakeup(WakeupWish),
    /// The time, at least every few seconds.
    Tick(u64),
    /// The transport ended.
    Disconnected,
}

/// Something to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send one frame.
    Send(Vec<u8>),
    /// Sign with the device's key and answer [`Input::Signed`].
    Sign {
        /// What to sign, context included.
        message: Vec<u8>,
    },
    /// The relay proved this key and none was pinned: pin it.
    PinRelay(SignPk),
    /// Store records durably, answer [`Input::RecordsStored`]. Invalid ones are the store's to refuse.
    StoreRecords(Vec<Vec<u8>>),
    /// Answer [`Input::Records`] with all records that are not `known` nor ancestors of them.
    LoadRecords {
        /// Heads the relay has.
        known: Vec<RecordId>,
    },
    /// Both sides hold the same records, but for what the relay did not store: pages that waited for them can be taken.
    /// Once [`Output::Live`] has come too, sealing is allowed; answer [`Input::OutboxChanged`] after it.
    RecordsEqual {
        /// Those held here.
        heads: Vec<RecordId>,
        /// What the relay was offered and did not store.
        untaken: Vec<RecordId>,
    },
    /// The relay's log is not the one the cursor lies on: forget cursor and acknowledgements of this relay.
    LogChanged(LogChange),
    /// Store a page and the cursor in one commit, answer [`Input::PageStored`].
    StorePage {
        /// In log order; may be empty when only the cursor moves.
        items: Vec<Item>,
        /// Place after the page; `None`: what came has no place in the log.
        cursor: Option<Cursor>,
        /// Hashes of the places passed on the way, own envelopes included.
        rolls: Rolls,
    },
    /// The relay signed what its log looks like; the signature was checked. Keep it.
    Statement(Statement),
    /// Answer [`Input::Outbox`].
    LoadOutbox {
        /// Sequence after which to begin.
        after_seq: u32,
        /// At most so many.
        envelopes_max: usize,
        /// At most so many bytes, but at least one envelope if there is any.
        bytes_max: usize,
    },
    /// The relay holds the own stream up to here, durably.
    Acked {
        /// Last sequence.
        through_seq: u32,
    },
    /// It held the own stream up to here before anything was sent.
    HeldBefore {
        /// Last sequence.
        through_seq: u32,
    },
    /// Answer [`Input::Held`].
    LoadHeld,
    /// Answer [`Input::Stream`].
    LoadStream(StreamPart),
    /// No place in the relay's log is known: say what to begin with, and answer [`Input::Bootstrap`]. Comes again when
    /// all chunks asked for have come.
    Bootstrap {
        /// Of those the relay does not hold these.
        missing: Vec<EnvelopeId>,
        /// Its log does not go back to its start.
        is_pruned: bool,
    },
    /// What a relay holds that says that it has pruned its log, where no place in that is known.
    HeldThere(Vec<Have>),
    /// Answer [`Input::Partial`].
    LoadPartial(EnvelopeId),
    /// Keep bytes of an object from `from` on: a later connection goes on behind them. Empty at 0: forget them.
    KeepPartial {
        /// Which.
        id: EnvelopeId,
        /// How many come before them.
        from: u32,
        /// They.
        bytes: Vec<u8>,
    },
    /// Store an object whose id was compared, answer [`Input::ObjectStored`].
    StoreObject(EnvelopeId, Vec<u8>),
    /// All of [`Input::ObjectsWanted`] has come.
    ObjectsFetched {
        /// But these, which the relay does not hold.
        missing: Vec<EnvelopeId>,
    },
    /// Answer [`Input::ObjectsKept`].
    LoadObjects,
    /// Answer [`Input::Object`].
    LoadObject(EnvelopeId),
    /// The relay lacked an object and has it now, durably.
    ObjectGiven,
    /// What the relay said of objects that were offered or sent.
    ObjectsHeld {
        /// It has these, durably.
        held: Vec<EnvelopeId>,
        /// It lacks these.
        lacking: Vec<EnvelopeId>,
    },
    /// The relay does not take objects now; the next connection offers them again.
    ObjectsRefused(PushStatus),
    /// Everything received is on disk: say so, if it was not said; answer [`Input::OwnReceipt`].
    LoadReceipt,
    /// The relay keeps the last own receipt, durably.
    ReceiptTaken,
    /// What another device says of itself, or this one said once. The relay's word for it is worth nothing.
    Receipt(Vec<u8>),
    /// What another device says of who is there. The relay's word for it is worth nothing.
    Presence(Vec<u8>),
    /// What the relay makes of where this device is woken.
    Wakeup(WakeupWish, WakeupStanding),
    /// The relay lacked so many envelopes, and has them now, durably.
    Given {
        /// How many.
        envelopes: u64,
    },
    /// The relay holds so much of these streams.
    HoldsOf(Vec<(StreamId, u32)>),
    /// Catching up: position reached, and the end of the log as last heard.
    CatchingUp {
        /// Items received of this log.
        received: u64,
        /// Items the log had when last heard of.
        total: u64,
    },
    /// The end of the log was reached; what is new comes by itself.
    Live,
    /// Everything received is on disk, everything in the outbox is acknowledged.
    Idle,
    /// Pushing rests and goes on by itself.
    PushPaused {
        /// Until then, in milliseconds from now.
        retry_ms: u64,
        /// Why.
        reason: PushPause,
    },
    /// Pushing has ended on this connection; receiving goes on.
    PushStopped(PushStop),
    /// The relay did not take these records, e.g. because the space is full: what was written here and nobody else
    /// knows of is to be taken back, because the relay cannot place what is written on top of it; then
    /// [`Input::RecordsTakenBack`].
    RecordsRefused(Vec<RecordId>),
    /// The relay holds more of a removed device than the removal says: once everything is received, another one
    /// with later cuts is to be written; then [`Input::RecordsChanged`].
    CutBehind,
    /// How full the space is at the relay.
    Quota(Quota),
    /// Close the connection; the session is over.
    Close(SessionError),
}

/// A part of a stream, as much of it as goes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPart {
    /// Any stream of the space.
    pub stream: StreamId,
    /// First sequence.
    pub from: u32,
    /// Last sequence.
    pub to: u32,
    /// At most so many.
    pub envelopes_max: usize,
    /// At most so many bytes, but at least one envelope if there is any.
    pub bytes_max: usize,
}

/// The relay's statement about its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    No,
    /// With this request.
    Yes(u32),
    Done,
}

/// Why pushing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushStop {
    /// Another envelope has this place in the own stream: the home was copied or restored.
    #[error(
        "this device's stream continues differently at the relay: the home was copied or restored; link this device again"
    )]
    Fork,
    /// The device was removed.
    #[error("this device was removed from the space: link it again to go on syncing")]
    Removed,
    /// The device is not enrolled, or its role may not write.
    #[error("this device may not write in the space: ask an owner for another role, or link this device again")]
    NotWriter,
    /// The relay does not know the epoch although it has all records.
    #[error(
        "the relay does not accept the key generation of an edit: sync again; if it stays so, update this app or the relay"
    )]
    UnknownEpoch,
    /// The relay finds an envelope malformed, badly signed or too large.
    #[error("the relay refuses an edit of this device as malformed: update this app or the relay, then sync again")]
    Refused,
    /// The relay's answers contradict each other.
    #[error(
        "the relay's answers about this device's stream contradict each other: sync again; if it stays so, use another relay"
    )]
    Inconsistent,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Bytes that are no frame.
    #[error("the relay sent bytes that are no frame ({0}): check the address, or update this app or the relay")]
    BadFrame(#[from] FrameError),
    /// A frame that the protocol does not allow here.
    #[error("the relay broke the protocol ({0}): update this app or the relay; if both are new, use another relay")]
    Misbehaved(&'static str),
    /// The key is not the pinned one: another relay, or somebody in between.
    #[error(
        "the relay has another key than the one remembered; if its operator confirms the new key, set the relay again as URL#KEY"
    )]
    WrongRelayKey {
        /// Expected.
        pinned: SignPk,
        /// Presented.
        presented: SignPk,
    },
    /// It calls itself by another address than the one dialled, and no key is pinned.
    #[error(
        "the relay at this address says that it is another one; give its address together with its key, as the relay prints it (URL#KEY)"
    )]
    WrongOrigin,
    /// The relay does not hold the key it presents.
    #[error(
        "the relay's signature does not verify: do not trust it; ask its operator for its address with its key, and set it with `lifeos relay set URL#KEY`"
    )]
    RelaySignature,
    /// No common protocol version, or a peer of another kind.
    #[error("the relay speaks another version of the protocol: update this app or the relay")]
    Version,
    /// The relay refuses.
    #[error("the relay refuses: {}", words::refusal_text(*.code))]
    Refused {
        /// Its reason.
        code: ErrorCode,
        /// Not before, if it said so; 0: it did not.
        retry_after_ms: u32,
    },
    /// The log does not go back far enough, and nothing stands for what is gone.
    #[error(
        "the relay no longer holds the beginning of some edits, and no checkpoint that this device may trust stands for them yet: sync another of your devices, then this one again"
    )]
    Unjoined,
    /// No answer in time.
    #[error("the relay does not answer: check the network and that the relay is running, then sync again")]
    Timeout,
    /// The connection ended.
    #[error("the connection to the relay was lost: check the network and sync again; what was saved waits here")]
    Disconnected,
}

impl SessionError {
    /// Whether connecting again soon can help; trust and membership errors are not retried blindly.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Timeout | Self::Disconnected | Self::Unjoined => true,
            Self::Refused { code, .. } => {
                matches!(code, ErrorCode::Rate | ErrorCode::GoingAway | ErrorCode::Unavailable | ErrorCode::Internal)
            }
            _ => false,
        }
    }

    /// Whether the relay must not be trusted.
    #[must_use]
    pub const fn is_trust(&self) -> bool {
        matches!(self, Self::WrongRelayKey { .. } | Self::WrongOrigin | Self::RelaySignature)
    }
}

/// Where the connection stands; records, pull and push have their own states once it is open.
#[derive(Debug)]
enum Phase {
    /// HELLO sent.
    Greeting(Handshake),
    /// The device's signature was asked for.
    Signing(Challenged),
    /// AUTH sent.
    Proving(Challenged),
    /// The relay does not know the space: all records go first.
    Seeding,
    /// OPEN sent.
    Opening,
    /// Syncing.
    Open,
    /// Over.
    Closed,
}

/// The client's side of one connection for one space.
#[derive(Debug)]
pub struct Session {
    space: SpaceId,
    device: SignPk,
    relay_key: Option<SignPk>,
    relay_address: String,
    rec_heads: Vec<RecordId>,
    have_digest: [u8; 32],
    by_streams: Option<(StreamId, u32)>,
    phase: Phase,
    /// Name of the space on this connection.
    number: u32,
    peer: PeerLimits,
    last_request: u32,
    started_ms: u64,
    now_ms: u64,
    heard_ms: u64,
    asked_ms: Option<u64>,
    pinged: bool,
    idle: bool,
    records: RecordSync,
    pull: Pull,
    push: Push,
    heal: Heal,
    objects: Objects,
    /// While no place in the log is known.
    vector: Option<Vector>,
    receipts: Receipts,
    wakeup: Wakeup,
    statement: Asked,
    /// The place that the relay's newest statement is about.
    stated_pos: u64,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A session whose first output is HELLO.
    #[must_use]
    pub fn new(config: SessionConfig) -> Self {
        let handshake = Handshake::new(config.nonce);
        let hello = handshake.hello().to_vec();
        let mut session = Self {
            space: config.space,
            device: config.device,
            relay_key: config.relay_key,
            relay_address: config.relay_address,
            rec_heads: config.rec_heads,
            have_digest: config.have_digest,
            by_streams: config.by_streams,
            phase: Phase::Greeting(handshake),
            number: 0,
            peer: PeerLimits {
                frame_bytes_max: limits::FRAME_BYTES_MAX as u32,
                push_window: limits::PUSH_WINDOW_MAX as u16,
                frame_envelopes_max: limits::FRAME_ENVELOPES_MAX as u16,
            },
            last_request: 0,
            started_ms: config.now_ms,
            now_ms: config.now_ms,
            heard_ms: config.now_ms,
            asked_ms: None,
            pinged: false,
            idle: false,
            records: RecordSync::default(),
            pull: Pull::new(config.space, config.cursor),
            push: Push::new(config.acked_seq),
            heal: Heal::new(),
            objects: Objects::new(),
            vector: None,
            receipts: Receipts::new(config.receipt_every_ms),
            wakeup: Wakeup::new(config.wakeup),
            statement: Asked::No,
            stated_pos: 0,
            outputs: VecDeque::new(),
        };
        session.outputs.push_back(Output::Send(hello));
        session
    }

    /// Takes one input; whatever a peer sends ends at worst in [`Output::Close`].
    pub fn handle(&mut self, input: Input) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        if let Err(error) = self.advance(input) {
            self.phase = Phase::Closed;
            self.outputs.push_back(Output::Close(error));
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether nothing is left to do until something happens.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.idle
    }

    /// Whether the session has ended.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    fn advance(&mut self, input: Input) -> Result<(), SessionError> {
        match input {
            Input::Frame(bytes) => self.handle_frame(&bytes)?,
            Input::Signed(signature) => self.handle_signed(signature),
            Input::RecordsStored { heads } => self.handle_records_stored(heads),
            Input::Records(records) => self.handle_records_loaded(records),
            Input::RecordsTakenBack { heads, changed } => self.handle_records_taken_back(heads, changed),
            Input::RecordsChanged { heads } => self.handle_records_changed(heads),
            Input::RecordsWanted => self.records.fetch_again(),
            Input::PageStored => self.handle_page_stored(),
            Input::Outbox { after_seq, envelopes } => self.handle_outbox(after_seq, envelopes),
            Input::Held(held) => self.handle_held(held),
            Input::Stream { stream, envelopes } => self.handle_stream(stream, envelopes),
            Input::HeldChanged => self.heal.look_again(),
            Input::Bootstrap(bootstrap) => self.handle_bootstrap(bootstrap),
            Input::ObjectsWanted(ids) => {
                // Whoever asked waits for the end of it, also where nothing can be fetched.
                self.idle = false;
                self.objects.want(ids);
            }
            Input::Partial(id, bytes) => self.handle_partial(id, bytes),
            Input::ObjectsFirst(ids) => self.objects.put_first(&ids),
            Input::ObjectStored => self.handle_object_stored(),
            Input::ObjectsKept(ids) => self.handle_objects_kept(&ids),
            Input::Object { id, bytes } => self.handle_object(id, bytes),
            Input::ObjectsChanged => self.objects.look_again(),
            Input::OwnReceipt(receipt) => self.handle_own_receipt(receipt),
            Input::OutboxChanged => self.push.reopen(),
            Input::Presence(envelope) => self.send_presence(envelope),
            Input::Wakeup(wish) => self.wakeup.wish(wish),
            Input::Tick(now_ms) => self.handle_tick(now_ms)?,
            Input::Disconnected => return Err(SessionError::Disconnected),
        }
        if matches!(self.phase, Phase::Open) {
            self.drive()?;
        }
        Ok(())
    }

    /// Starts whatever the open session can start now, and tells when nothing is left to do.
    fn drive(&mut self) -> Result<(), SessionError> {
        self.drive_records();
        self.drive_wakeup();
        if self.records.is_agreed() {
            self.drive_vector()?;
            self.drive_pull();
            self.drive_push();
            self.drive_heal();
            self.drive_objects();
            self.drive_receipts();
        }
        let quiet = self.records.is_agreed()
            && self.records.is_quiet()
            && self.pull.is_quiet()
            && self.push.is_quiet()
            && self.heal.is_done()
            && self.objects.is_quiet()
            && self.receipts.is_quiet()
            && self.wakeup.is_quiet()
            && self.statement == Asked::Done;
        if quiet && !self.idle && !self.save_cursor() {
            self.idle = true;
            self.outputs.push_back(Output::Idle);
        } else if !quiet {
            self.idle = false;
        }
        if self.nothing_awaited() {
            self.asked_ms = None;
        }
        Ok(())
    }

    fn handle_frame(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        self.heard_ms = self.now_ms;
        self.pinged = false;
        let (request, frame) = Frame::decode(bytes)?;
        match frame {
            Frame::Ping { payload } => self.send(&Frame::Pong { payload }, request),
            Frame::Pong { .. } => {}
            Frame::Error { code, fatal, retry_after_ms, .. } => {
                return self.handle_error(request, code, fatal, retry_after_ms);
            }
            frame => return self.handle_in_phase(request, frame, bytes),
        }
        Ok(())
    }

    fn handle_in_phase(&mut self, request: u32, frame: Frame, bytes: &[u8]) -> Result<(), SessionError> {
        match (std::mem::replace(&mut self.phase, Phase::Closed), frame) {
            (Phase::Greeting(handshake), frame) => self.handle_challenge(handshake, &frame, bytes),
            (Phase::Proving(challenged), Frame::Welcome { session, known, signature }) => {
                self.handle_welcome(&challenged, session, known, &signature)
            }
            (Phase::Opening, Frame::State { session, rec_heads, log, cursor_ok, have_digest, quota, checkpoints }) => {
                self.expect_session(session)?;
                self.push.doubt_acks(have_digest != self.have_digest);
                self.heal.note_digest(have_digest);
                self.handle_state(rec_heads, log, (cursor_ok, !checkpoints.is_empty()), quota)
            }
            (phase @ (Phase::Seeding | Phase::Open | Phase::Opening), frame) => {
                self.phase = phase;
                self.handle_open(request, frame)
            }
            _ => Err(SessionError::Misbehaved("a frame before its time")),
        }
    }

    fn handle_open(&mut self, request: u32, frame: Frame) -> Result<(), SessionError> {
        match frame {
            Frame::Rec { session, records, more } => {
                self.expect_session(session)?;
                self.handle_rec(request, records, more)
            }
            Frame::RecAck { session, results } => {
                self.expect_session(session)?;
                self.handle_rec_ack(request, &results)
            }
            Frame::Items { session, items, next, roll, more } => {
                self.expect_session(session)?;
                if self.objects.is_fetching(request) {
                    return self.handle_fetched(request, items, more);
                }
                if self.vector.as_ref().is_some_and(|vector| vector.is_requested(request)) {
                    return self.handle_range(items, more);
                }
                self.handle_items(request, items, next, roll, more)
            }
            Frame::Notify { session, items, roll, behind } => {
                self.expect_session(session)?;
                self.handle_notify(items, roll, behind)
            }
            Frame::PushAck { session, results } => {
                self.expect_session(session)?;
                if self.heal.is_in_flight(request) {
                    return self.handle_heal_ack(request, &results);
                }
                if self.objects.is_in_flight(request) {
                    return self.handle_object_ack(request, &results);
                }
                if self.receipts.is_in_flight(request) {
                    return self.handle_receipt_ack(&results);
                }
                self.handle_push_ack(request, &results)
            }
            Frame::Have { session, streams } => {
                self.expect_session(session)?;
                if self.vector.as_ref().is_some_and(|vector| vector.is_asked(request)) {
                    return self.vector_have(&streams);
                }
                self.handle_have(request, &streams)
            }
            Frame::Part { session, total, from, more, bytes } => {
                self.expect_session(session)?;
                self.handle_part(request, (total, from, more), bytes)
            }
            Frame::Lack { session, objects } => {
                self.expect_session(session)?;
                self.handle_lack(request, objects)
            }
            Frame::Ephemeral { session, envelope } => {
                self.expect_session(session).map(|()| self.handle_ephemeral(envelope))
            }
            Frame::WakeupAck { session, status } => {
                self.expect_session(session).and_then(|()| self.handle_wakeup_ack(request, status))
            }
            statement @ Frame::LogStatement { .. } => self.handle_statement(request, statement),
            _ => Err(SessionError::Misbehaved("a frame before its time")),
        }
    }

    fn handle_state(
        &mut self,
        rec_heads: Vec<RecordId>,
        log: Option<Cursor>,
        (cursor_ok, is_pruned): (bool, bool),
        quota: Quota,
    ) -> Result<(), SessionError> {
        let log = log.ok_or(SessionError::Misbehaved("a relay without a log"))?;
        let change = self.pull.begin(log, cursor_ok, is_pruned);
        self.vector = self.pull.is_lost().then(|| Vector::new(log, is_pruned));
        if let Some(change) = change {
            if change != LogChange::Pruned {
                self.push.forget_acks();
            }
            self.outputs.push_back(Output::LogChanged(change));
        }
        self.outputs.push_back(Output::Quota(quota));
        self.phase = Phase::Open;
        self.begin_records(rec_heads);
        Ok(())
    }

    /// At the end of the log, and again with later receipts: what the relay shows here, it signs.
    fn ask_for_statement(&mut self) {
        if self.statement == Asked::No {
            self.statement = Asked::Yes(self.ask(&Frame::LogStatementWant { session: self.number }));
        }
    }

    fn handle_statement(&mut self, request: u32, frame: Frame) -> Result<(), SessionError> {
        if self.statement != Asked::Yes(request) {
            return Err(SessionError::Misbehaved("a statement nobody asked for"));
        }
        let said = Statement::from_frame(frame).ok_or(SessionError::Misbehaved("another frame than was asked for"))?;
        let key = self.relay_key.ok_or(SessionError::RelaySignature)?;
        if said.space != self.space || said.verify(&key).is_err() {
            return Err(SessionError::RelaySignature);
        }
        if !self.pull.agrees_with(&said.log) {
            return Err(SessionError::Misbehaved("a statement about another log than it shows"));
        }
        self.statement = Asked::Done;
        self.stated_pos = said.log.pos;
        self.outputs.push_back(Output::Statement(said));
        Ok(())
    }

    fn handle_error(
        &mut self,
        request: u32,
        code: ErrorCode,
        fatal: bool,
        retry_after_ms: u32,
    ) -> Result<(), SessionError> {
        let pause = match code {
            ErrorCode::Rate => Some(PushPause::Rate),
            ErrorCode::Unavailable => Some(PushPause::Unavailable),
            _ => None,
        };
        if let (false, Some(reason), true) = (fatal, pause, self.push.is_in_flight(request)) {
            self.push.refused_frame(request);
            self.pause_push(reason, u64::from(retry_after_ms));
            return Ok(());
        }
        if let (false, Some(_), true) = (fatal, pause, self.heal.is_in_flight(request)) {
            self.heal.give_up(request, self.now_ms.saturating_add(u64::from(retry_after_ms).max(HEAL_AGAIN_MS_MIN)));
            return Ok(());
        }
        if let (false, Some(_), true) = (fatal, pause, self.objects.is_in_flight(request)) {
            self.objects.give_up(request);
            return Ok(());
        }
        if let (false, Some(_), true) = (fatal, pause, self.receipts.is_in_flight(request)) {
            self.receipts.give_up(self.now_ms);
            return Ok(());
        }
        if let (false, Some(_), true) = (fatal, pause, self.wakeup.give_up(request)) {
            return Ok(());
        }
        Err(SessionError::Refused { code, retry_after_ms })
    }

    fn handle_tick(&mut self, now_ms: u64) -> Result<(), SessionError> {
        self.now_ms = self.now_ms.max(now_ms);
        let opening = !matches!(self.phase, Phase::Open | Phase::Seeding);
        let silence_ms = self.now_ms.saturating_sub(self.heard_ms);
        let late = self.asked_ms.is_some_and(|asked_ms| self.now_ms.saturating_sub(asked_ms) > ANSWER_MS_MAX);
        if late
            || silence_ms > SILENCE_MS_MAX
            || (opening && self.now_ms.saturating_sub(self.started_ms) > HANDSHAKE_MS_MAX)
        {
            return Err(SessionError::Timeout);
        }
        if silence_ms > PING_AFTER_MS && !self.pinged && !opening {
            self.pinged = true;
            self.send(&Frame::Ping { payload: self.now_ms }, 0);
        }
        self.push.tick(self.now_ms);
        Ok(())
    }

    /// Whether no answer of the peer is outstanding.
    fn nothing_awaited(&self) -> bool {
        !self.records.is_waiting()
            && !self.pull.is_waiting()
            && !self.push.is_waiting()
            && !self.heal.is_waiting()
            && !self.objects.is_waiting()
            && !self.vector.as_ref().is_some_and(Vector::is_waiting)
            && !self.receipts.is_waiting()
            && !self.wakeup.is_waiting()
            && !matches!(self.statement, Asked::Yes(_))
    }

    fn expect_session(&self, number: u32) -> Result<(), SessionError> {
        if number == self.number { Ok(()) } else { Err(SessionError::Misbehaved("a frame for another space")) }
    }

    fn send(&mut self, frame: &Frame, request: u32) {
        self.outputs.push_back(Output::Send(frame.encode(request)));
    }

    /// Sends a frame that will be answered; gives the number the answer will carry.
    fn ask(&mut self, frame: &Frame) -> u32 {
        self.last_request = self.last_request.wrapping_add(1).max(1);
        self.asked_ms = Some(self.now_ms);
        self.send(frame, self.last_request);
        self.last_request
    }
}
