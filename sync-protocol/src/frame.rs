//! Frames: one websocket message each, `u8 type ‖ u8 flags ‖ u32 req_id ‖ body` (protocol §4.2).
//!
//! A frame is only bytes with a checked shape; whether it may be sent now is the session's business.

mod decode;
mod encode;
mod kind;
mod page;

pub use page::{PageBuilder, PageMark};

use crate::ids::{EnvelopeId, LogId, RdvId, RecordId, Roll, SignPk, Signature, SpaceId, StreamId};
use crate::wakeup::WakeupTarget;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PeerRole {
    /// A device that talks to a relay.
    Client = 0,
    /// A relay.
    Relay = 1,
    /// A device that talks to a device.
    Peer = 2,
}

/// A place in a relay's log: everything below `pos` is held, and `roll` is the hash at `pos`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Which log.
    pub log_id: LogId,
    /// Position of the next item; the first item of a log has position 1, so an empty log is at 1.
    pub pos: u64,
    /// Rolling hash after item `pos - 1`; zero for an empty log.
    pub roll: Roll,
}

/// Limits that the answering side enforces, so that the other side can keep to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLimits {
    /// Largest frame in bytes.
    pub frame_bytes_max: u32,
    /// Most unacknowledged PUSH frames.
    pub push_window: u16,
    /// Most envelopes in one frame.
    pub frame_envelopes_max: u16,
}

/// Bytes and quota of a space at a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Bytes stored.
    pub bytes_used: u64,
    /// Bytes allowed; 0 means no limit.
    pub bytes_max: u64,
}

/// One envelope at one position of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Position in the log.
    pub pos: u64,
    /// The envelope's bytes, unchanged.
    pub envelope: Vec<u8>,
}

/// What a relay did with one pushed envelope (protocol §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushStatus {
    /// Stored durably.
    Ok,
    /// Already stored, same id.
    Dup,
    /// The stream is not there yet.
    Gap {
        /// The sequence the relay expects next.
        expected: u32,
    },
    /// Another envelope has this sequence.
    Fork {
        /// The id the relay holds at this sequence.
        existing: EnvelopeId,
    },
    /// The layout is wrong.
    BadFormat,
    /// The signature does not verify.
    BadSignature,
    /// The device is not enrolled.
    NotMember,
    /// The device's role may not write.
    NotWriter,
    /// The device was removed.
    Removed,
    /// The epoch is not known here: send records first.
    UnknownEpoch,
    /// A removal record cites a cut behind what is stored.
    CutBehind,
    /// Stored durably, under an older epoch.
    OkStaleEpoch,
    /// Larger than a limit.
    TooLarge,
    /// The space's or member's quota is used up.
    Quota,
    /// Too fast; try again later.
    Rate,
}

impl PushStatus {
    /// Whether the envelope is now held by the relay.
    #[must_use]
    pub const fn is_stored(self) -> bool {
        matches!(self, Self::Ok | Self::Dup | Self::OkStaleEpoch)
    }
}

/// The answer for one pushed envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushResult {
    /// What happened.
    pub status: PushStatus,
    /// Position in the log, if stored.
    pub pos: Option<u64>,
}

/// What a relay did with one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordStatus {
    /// Stored durably.
    Ok,
    /// Already stored.
    Dup,
    /// A parent is missing; parked.
    Parked,
    /// Never valid here.
    Refused,
    /// A removal that cuts a stream before envelopes that the relay holds already. Not stored: sync, then sign
    /// another one with a higher cut beside it (the same parents), and send both.
    CutBehind,
}

/// Bit of CHALLENGE's features: the relay answers LOG_STATEMENT_WANT.
pub const FEATURE_LOG_STATEMENT: u64 = 1;
/// Bit of CHALLENGE's features: the relay keeps objects and answers OFFER.
pub const FEATURE_OBJECTS: u64 = 2;
/// Bit of CHALLENGE's features: the relay wakes devices that are not connected, and answers WAKEUP.
pub const FEATURE_WAKEUP: u64 = 4;
/// Bit of CHALLENGE's features: the relay answers WANT_REST.
pub const FEATURE_OBJECT_PARTS: u64 = 8;

/// What became of a device's wish to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum WakeupStatus {
    /// The relay keeps no address of this device.
    None = 0,
    /// It keeps this one.
    Kept = 1,
    /// Its rules do not allow this address. It keeps none.
    Refused = 2,
    /// The push service said that this address is gone: it is not used any more, until another token is chosen.
    Gone = 3,
}

/// What one side holds of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Have {
    /// The stream.
    pub stream: StreamId,
    /// Everything up to and including this sequence is superseded by a checkpoint.
    pub floor: u32,
    /// Highest sequence held.
    pub tip: u32,
    /// First 8 bytes of the tip's id.
    pub tip_id: [u8; 8],
    /// Ranges `(start, length)` between floor and tip that are not held.
    pub holes: Vec<(u32, u32)>,
}

/// A wish for envelopes `from..=to` of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// The stream.
    pub stream: StreamId,
    /// First sequence.
    pub from: u32,
    /// Last sequence.
    pub to: u32,
}

/// Why a peer refuses to go on, or refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum ErrorCode {
    /// The frame could not be decoded.
    BadFrame = 1,
    /// The frame is not legal in this state.
    Unexpected = 2,
    /// No common protocol version.
    Version = 3,
    /// The signature of AUTH or LIST does not verify.
    AuthFailed = 4,
    /// The device is not enrolled in this space (or the space does not exist: the same answer).
    NotMember = 5,
    /// The device was removed.
    Removed = 6,
    /// The relay does not create spaces for this device.
    CreateRefused = 7,
    /// Larger than a limit.
    TooLarge = 8,
    /// Too fast, or too many connections.
    Rate = 9,
    /// No such mailbox.
    NoMailbox = 10,
    /// The mailbox is full or exists already.
    MailboxRefused = 11,
    /// The relay is stopping; reconnect later.
    GoingAway = 12,
    /// The relay cannot store now (disk full or failing); reads go on.
    Unavailable = 13,
    /// A fault inside the relay.
    Internal = 14,
}

impl ErrorCode {
    /// Every code of this version.
    pub const ALL: [Self; 14] = [
        Self::BadFrame,
        Self::Unexpected,
        Self::Version,
        Self::AuthFailed,
        Self::NotMember,
        Self::Removed,
        Self::CreateRefused,
        Self::TooLarge,
        Self::Rate,
        Self::NoMailbox,
        Self::MailboxRefused,
        Self::GoingAway,
        Self::Unavailable,
        Self::Internal,
    ];
}

/// One message on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the variant says what its fields are; their order and bytes are in docs/PROTOCOL.md")]
pub enum Frame {
    /// `01` First frame of the connecting side.
    Hello { proto_min: u16, proto_max: u16, role: PeerRole, nonce: [u8; 32], features: u64 },
    /// `02` Answer to HELLO; the connecting side checks `peer_pk` against the key it pinned.
    Challenge { peer_pk: SignPk, nonce: [u8; 32], origin: String, features: u64, limits: PeerLimits },
    /// `03` Proof that this device key is here, bound to the handshake; may be repeated per space.
    Auth { space: SpaceId, device: SignPk, signature: Signature },
    /// `04` Answer to AUTH; `session` names the space on this connection. `known` is false when the
    /// relay does not hold the space yet: only REC with its Genesis is then legal.
    Welcome { session: u32, known: bool, signature: Signature },
    /// `05` Which spaces does this device key belong to? Legal between CHALLENGE and AUTH.
    List { device: SignPk, signature: Signature },
    /// `06` Answer to LIST.
    Spaces { spaces: Vec<SpaceId> },
    /// `10` Begin to sync a space.
    Open { session: u32, rec_heads: Vec<RecordId>, cursor: Option<Cursor> },
    /// `11` Answer to OPEN. `cursor_ok` tells whether the opener's cursor lies on this log.
    State {
        session: u32,
        rec_heads: Vec<RecordId>,
        log: Option<Cursor>,
        cursor_ok: bool,
        have_digest: [u8; 32],
        quota: Quota,
        checkpoints: Vec<RecordId>,
    },
    /// `12` Wish for records: the named ones, and all that are not ancestors of (or equal to) `heads`
    /// when `ids` is empty.
    RecWant { session: u32, ids: Vec<RecordId>, heads: Vec<RecordId> },
    /// `13` Records, parents first. `more` tells that another REC of the same answer follows.
    /// Also pushed live (req_id 0) when a record arrives.
    Rec { session: u32, records: Vec<Vec<u8>>, more: bool },
    /// `14` Answer to a REC that a client pushed.
    RecAck { session: u32, results: Vec<RecordStatus> },
    /// `20` Envelopes to store, in stream order.
    Push { session: u32, envelopes: Vec<Vec<u8>> },
    /// `21` Answer to PUSH, one result per envelope, after they are durable.
    PushAck { session: u32, results: Vec<PushResult> },
    /// `22` Wish for the log from `from` on. A PULL that reaches the end subscribes to NOTIFY.
    Pull { session: u32, from: u64, bytes_max: u32, items_max: u32 },
    /// `23` A page of the log. `next` is the position after it and `roll` the hash there;
    /// `more` false: this was the end, and NOTIFY follows from `next` without a gap.
    Items { session: u32, items: Vec<Item>, next: u64, roll: Roll, more: bool },
    /// `24` New items, live. Empty `items` with `behind`: the reader was too slow; PULL again.
    Notify { session: u32, items: Vec<Item>, roll: Roll, behind: bool },
    /// `30` What I hold, by stream, sorted by stream id.
    Have { session: u32, streams: Vec<Have> },
    /// `31` What I want: ranges, and single objects (chunks, blob parts) by id.
    Want { session: u32, ranges: Vec<Want>, objects: Vec<EnvelopeId> },
    /// `32` Objects that I could send.
    Offer { session: u32, objects: Vec<EnvelopeId> },
    /// `33` Answer to OFFER: those of them that I lack.
    Lack { session: u32, objects: Vec<EnvelopeId> },
    /// `34` What I lack of an object of which I hold the first `from` bytes.
    WantRest { session: u32, object: EnvelopeId, from: u32 },
    /// `35` Answer to WANT_REST: bytes of the object from `from` on, of `total`; `more` false: the last. `total` 0: it is not here.
    Part { session: u32, total: u32, from: u32, more: bool, bytes: Vec<u8> },
    /// `40` A sealed message that is never stored.
    Ephemeral { session: u32, envelope: Vec<u8> },
    /// `41` Wake this device at this address when something new is in the space while it is not connected; nothing: do
    /// not any more.
    Wakeup { session: u32, target: Option<WakeupTarget> },
    /// `42` Answer to `41`, after it is durable.
    WakeupAck { session: u32, status: WakeupStatus },
    /// `50` Make a mailbox. Legal after CHALLENGE, as are 51–54.
    RdvCreate { rdv: RdvId, ttl_s: u32 },
    /// `51` Put a message into a mailbox (append; a message has an index from 0).
    RdvPut { rdv: RdvId, message: Vec<u8> },
    /// `52` Wait for message `index` of a mailbox.
    RdvGet { rdv: RdvId, index: u32 },
    /// `53` Remove a mailbox.
    RdvDrop { rdv: RdvId },
    /// `54` Answer to RDV_CREATE, RDV_PUT (index of the message) and RDV_DROP, and to RDV_GET (with the message).
    RdvItem { rdv: RdvId, index: u32, message: Option<Vec<u8>> },
    /// `61` Wish for a [`Frame::LogStatement`] about the session's space.
    LogStatementWant { session: u32 },
    /// `60` A relay's signed statement about its log, answer to `61`; see [`crate::log::Statement`].
    LogStatement { space: SpaceId, log: Cursor, rec_heads: Vec<RecordId>, time_ms: u64, signature: Signature },
    /// `7D` Answer to PING with the same payload.
    Pong { payload: u64 },
    /// `7E` Are you there?
    Ping { payload: u64 },
    /// `7F` A refusal; `fatal` closes the connection.
    Error { code: ErrorCode, fatal: bool, retry_after_ms: u32, message: String },
}

/// The bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Longer than [`crate::limits::FRAME_BYTES_MAX`].
    #[error("frame of {bytes} bytes is larger than the limit")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A type this version does not know.
    #[error("unknown frame type {0:#04x}")]
    UnknownType(u8),
    /// Truncated, over a limit, not canonical, or with bytes left over.
    #[error("malformed {frame} frame: {reason}")]
    Malformed {
        /// Name of the frame.
        frame: &'static str,
        /// What was wrong.
        reason: &'static str,
    },
}

impl Frame {
    /// The frame's bytes. `req_id` ties an answer to its question; 0 for frames that are no answer.
    ///
    /// Counts and sizes are the caller's business: a frame above the limits encodes, and [`Frame::decode`]
    /// refuses it.
    #[must_use]
    pub fn encode(&self, req_id: u32) -> Vec<u8> {
        encode::frame(self, req_id)
    }

    /// Reads a frame and its `req_id`; allocates no more than the input's size and the limits allow.
    ///
    /// # Errors
    /// [`FrameError`] for anything that is not exactly one frame.
    pub fn decode(bytes: &[u8]) -> Result<(u32, Self), FrameError> {
        decode::frame(bytes)
    }
}
