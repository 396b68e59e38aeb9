//! What the writer thread is asked to make durable.

use std::sync::Arc;

use lifeos_sync_protocol::frame::PushResult;
use lifeos_sync_protocol::ids::{EnvelopeId, LogId, RecordId, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::membership::StreamPoint;

use super::object::Object;
use super::prune::TendJob;
use super::wakeup::{WakeupJob, WakeupWork};
use super::{Seen, StoreError};
use crate::space::{Space, View};

/// Something to make durable.
pub(crate) enum Job {
    /// Envelopes.
    Push(PushJob),
    /// Records.
    Records(RecordJob),
    /// A step in looking after a space.
    Tend(TendJob),
    /// Something about where a device wishes to be woken.
    Wakeup(WakeupJob),
    /// Another relay has written to a space that somebody is connected to here.
    Follow(FollowJob),
}

/// A space to catch up with.
pub(crate) struct FollowJob {
    /// Which.
    pub(crate) space: Arc<Space>,
    /// Called once: whether it is done.
    pub(crate) reply: Box<dyn FnOnce(bool) + Send>,
}

/// Answer to a push, called after the commit with one result per envelope of the frame.
pub(crate) type PushReply = Box<dyn FnOnce(Result<Vec<PushResult>, StoreError>) + Send>;
/// Answer to records, called after the commit and before the next push is looked at.
pub(crate) type RecordReply = Box<dyn FnOnce(Result<Recorded, StoreError>) + Send>;

/// The envelopes of one PUSH frame whose authorship has been checked.
pub(crate) struct PushJob {
    /// Where to.
    pub(crate) space: Arc<Space>,
    /// The membership it was checked under; when another one is in force by now, it is checked again.
    pub(crate) view: Arc<View>,
    /// Who brings it.
    pub(crate) pusher: SignPk,
    /// What may be stored, in the frame's order.
    pub(crate) runs: Vec<Run>,
    /// Objects outside streams, each one's signature verified.
    pub(crate) objects: Vec<Object>,
    /// The relay's clock (ms UTC).
    pub(crate) now_ms: u64,
    /// The pusher's own newest receipt.
    pub(crate) receipt: Option<Receipt>,
    /// One result per envelope of the frame; those that are in no run are refused already.
    pub(crate) results: Vec<PushResult>,
    /// Bytes of all envelopes.
    pub(crate) bytes: usize,
    /// Called once.
    pub(crate) reply: PushReply,
}

/// A device's word about what it holds, signature verified.
pub(crate) struct Receipt {
    /// Which result of the job is its own.
    pub(crate) index: usize,
    /// The device's count.
    pub(crate) seq: u32,
    /// As pushed.
    pub(crate) bytes: Vec<u8>,
}

/// Envelopes of one stream, each the predecessor of the next, the last one's signature verified.
pub(crate) struct Run {
    /// The stream.
    pub(crate) stream: StreamId,
    /// Its device.
    pub(crate) device: SignPk,
    /// Stored on the word of the pusher: the author may not write any more.
    pub(crate) vouched: bool,
    /// The floor of a checkpoint that the first envelope continues, if it does: what a stream may begin with that is
    /// not here.
    pub(crate) begins: Option<StreamPoint>,
    /// Not empty.
    pub(crate) envelopes: Vec<Sealed>,
}

/// One envelope of a run.
pub(crate) struct Sealed {
    /// Which result of the job is its own.
    pub(crate) index: usize,
    /// Its content address.
    pub(crate) id: EnvelopeId,
    /// Position in its stream.
    pub(crate) seq: u32,
    /// Its predecessor.
    pub(crate) prev: [u8; 32],
    /// Sealed under an older epoch.
    pub(crate) stale: bool,
    /// As pushed.
    pub(crate) bytes: Vec<u8>,
}

/// What a key finds at a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// It may connect.
    Open,
    /// It was enrolled once.
    Gone,
    /// The space does not know it.
    Shut,
}

/// The keys that a space knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doors {
    /// Of devices that may connect.
    pub(crate) open: Vec<SignPk>,
    /// Of devices that were removed.
    pub(crate) gone: Vec<SignPk>,
    /// Of invitations, whose holders may connect and never proved to the space that they have the key. One that is a
    /// device's as well counts as that.
    pub(crate) invited: Vec<SignPk>,
}

/// Records to append to a space, authority checked.
pub(crate) struct RecordJob {
    /// Where to.
    pub(crate) target: RecordTarget,
    /// Ids and bytes, parents first.
    pub(crate) records: Vec<(RecordId, Vec<u8>)>,
    /// Who finds the space open or shut after these records.
    pub(crate) doors: Doors,
    /// Streams that these records cut, and the last sequence that counts: nothing is stored if one goes on beyond.
    pub(crate) lowered: Vec<(StreamId, u32)>,
    /// Those that are checkpoints.
    pub(crate) checkpoints: Vec<RecordId>,
    /// The membership after these records.
    pub(crate) view: Option<Arc<View>>,
    /// What was known of the space when they were judged: nothing is stored if another relay has stored since.
    pub(crate) seen: Seen,
    /// The relay's clock (ms UTC).
    pub(crate) now_ms: u64,
    /// Called once.
    pub(crate) reply: RecordReply,
}

/// What became of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// They are durable, in the space with this number.
    Stored(i64),
    /// These streams go on beyond where the records cut them.
    CutBehind(Vec<StreamId>),
    /// Another relay has stored what they were judged without.
    Behind,
}

/// The space that records go to.
pub(crate) enum RecordTarget {
    /// One that is stored.
    Existing(Arc<Space>),
    /// A new one; the first record is its Genesis.
    New(SpaceId, LogId),
}

impl Job {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Push(job) => job.bytes,
            Self::Records(job) => job.records.iter().map(|(_, bytes)| bytes.len()).sum(),
            Self::Tend(_) | Self::Wakeup(_) | Self::Follow(_) => 0,
        }
    }

    pub(super) fn refuse(self, error: StoreError) {
        match self {
            Self::Push(job) => (job.reply)(Err(error)),
            Self::Records(job) => (job.reply)(Err(error)),
            Self::Tend(job) => (job.reply)(Err(error)),
            Self::Wakeup(job) => (job.reply)(Err(error)),
            Self::Follow(job) => (job.reply)(false),
        }
    }

    /// The number of the space that it is about, unless that is made with it.
    pub(super) fn space_no(&self) -> Option<i64> {
        match self {
            Self::Wakeup(job) => Some(job.space_no),
            other => other.space().map(|space| space.no),
        }
    }

    /// The space that it is about, where the job knows more than its number.
    pub(super) const fn space(&self) -> Option<&Arc<Space>> {
        match self {
            Self::Push(PushJob { space, .. })
            | Self::Records(RecordJob { target: RecordTarget::Existing(space), .. })
            | Self::Tend(TendJob { space, .. })
            | Self::Wakeup(WakeupJob { work: WakeupWork::Keep { space, .. }, .. })
            | Self::Follow(FollowJob { space, .. }) => Some(space),
            Self::Records(_) | Self::Wakeup(_) => None,
        }
    }
}
