//! What an evaluation says: the parts of [`Membership`](super::Membership), without the rules that make them.

use std::collections::{BTreeMap, BTreeSet};

use super::StreamPoint;
use crate::ids::{EpochRef, HpkePk, MemberId, RecordId, SignPk, SpaceId, StreamId};
use crate::record::{DeviceKind, Floor, Role};

/// A member in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Role in force.
    pub role: Role,
    /// Its enrolled, non-removed devices.
    pub devices: BTreeSet<SignPk>,
    /// Seniority.
    pub rank: Rank,
}

/// Seniority: the smaller rank is the more senior. Nobody removes or demotes somebody more senior.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// 0 the founder, 1 Owner, 2 Admin, 3 everybody else.
    pub class: u8,
    /// Depth of the record that granted it.
    pub depth: u64,
    /// That record.
    pub record: RecordId,
}

impl Rank {
    /// The rank that a grant of `role` by a record gives.
    #[must_use]
    pub const fn granted(role: Role, depth: u64, record: RecordId) -> Self {
        let class = match role {
            Role::Owner => 1,
            Role::Admin => 2,
            Role::Editor | Role::Reader => 3,
        };
        Self { class, depth, record }
    }

    /// The founder's.
    #[must_use]
    pub const fn founder(genesis: RecordId) -> Self {
        Self { class: 0, depth: 0, record: genesis }
    }
}

/// A device that is or was enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Whose.
    pub member: MemberId,
    /// Current HPKE key.
    pub hpke_pk: HpkePk,
    /// What it is for.
    pub kind: DeviceKind,
    /// The record that removed it or its member, if any; the first in order of (depth, id).
    pub removed_by: Option<RecordId>,
    /// The record that enrolled it; the first in order of (depth, id) if several say the same.
    pub added_by: RecordId,
    /// Where its streams end: nothing while it may write; after a removal or a demotion the largest cut of each
    /// named stream. A stream that is not named ends before its first envelope.
    pub cuts: Option<BTreeMap<StreamId, StreamPoint>>,
    /// Whether it may write, or could before it was removed or demoted. What others never do counts for nothing.
    pub is_writer: bool,
    /// Its member's, unless it was enrolled beside a promotion that did not know of it.
    pub rank: Rank,
}

impl Device {
    /// Whether it is in force and in somebody's hand, not a paper key.
    #[must_use]
    pub const fn is_hand(&self) -> bool {
        self.removed_by.is_none() && !matches!(self.kind, DeviceKind::Recovery)
    }

    /// A device in force of a founder.
    #[must_use]
    pub const fn enrolled(member: MemberId, hpke_pk: HpkePk, kind: DeviceKind, added_by: RecordId) -> Self {
        let is_writer = !matches!(kind, DeviceKind::Recovery);
        let rank = Rank::founder(added_by);
        Self { member, hpke_pk, kind, removed_by: None, added_by, cuts: None, is_writer, rank }
    }
}

/// A key generation in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// The record that made it.
    pub record: RecordId,
    /// Generation number.
    pub generation: u32,
    /// Parent epochs.
    pub parents: Vec<EpochRef>,
    /// What every holder of the secret can compare it with.
    pub commit: [u8; 32],
    /// Short forms (first 16 bytes of the signing key) of the devices it was sealed to, ascending.
    pub recipients: Vec<[u8; 16]>,
    /// Short forms of the devices it was granted to afterwards.
    pub granted: BTreeSet<[u8; 16]>,
}

/// Which epoch to seal under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EpochChoice {
    /// This one.
    Current(EpochRef),
    /// None: no epoch yet, or every head is sealed to a device that is no longer a reader. Whoever may make one
    /// names all these heads as its parents; until then edits wait unsealed.
    NeedRotation {
        /// The heads of the epoch DAG, ascending.
        heads: Vec<EpochRef>,
    },
}

/// An invitation by link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// What the secret in the link signs for.
    pub invite_pk: SignPk,
    /// What who joins becomes.
    pub role: Role,
    /// When it ends, in milliseconds UTC. Evaluation has no clock: whoever admits looks at it.
    pub expires_ms: u64,
    /// How many may join.
    pub uses_max: u32,
    /// Joins that count.
    pub uses: u32,
    /// The epoch that the link itself opens: joining needs nobody's approval.
    pub auto_epoch: Option<EpochRef>,
    /// Whether it was withdrawn.
    pub is_revoked: bool,
    /// Who invites.
    pub author: SignPk,
}

impl Invite {
    /// Whether it lets one more person in, by the clock (ms UTC) of who looks: withdrawn, used up and over it does not.
    #[must_use]
    pub const fn is_open(&self, now_ms: u64) -> bool {
        !self.is_revoked && self.uses < self.uses_max && self.expires_ms > now_ms
    }
}

/// A joiner's request that counts against its invite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The invite.
    pub invite: RecordId,
    /// Who it would be.
    pub member: MemberId,
    /// Whether the member is in force already, by itself (an invite without approval) or admitted by a MemberAdd.
    pub is_admitted: bool,
}

/// Rules of the space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The record that set them.
    pub record: RecordId,
    /// Days between key rotations.
    pub rotation_days: u32,
    /// Days a relay waits before it prunes.
    pub grace_days: u32,
    /// Endorsements a checkpoint needs.
    pub endorse_k: u32,
    /// Where the space lives.
    pub relays: Vec<String>,
}

/// A checkpoint by a writer, and who said what about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The device that made it.
    pub maker: SignPk,
    /// Whose device that is.
    pub member: MemberId,
    /// Those it continues.
    pub previous: Vec<RecordId>,
    /// Where it leaves the streams.
    pub cut: Vec<Floor>,
    /// Devices in force that endorse it; whose word is enough, [`Membership::checkpoint_standing`](super::Membership::checkpoint_standing) says.
    pub endorsed_by: BTreeSet<SignPk>,
    /// Objections by devices in force.
    pub objections: BTreeSet<RecordId>,
}

/// How far a checkpoint has come by what is said of it. The rest is the keeper's to see: whether all of its chunks are
/// there, and how long it has stood so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointStanding {
    /// Somebody says that it is wrong.
    Blocked,
    /// Not enough others have looked at it.
    Proposed,
    /// Enough others say that it holds everything.
    Endorsed,
}

/// The space was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// The record that closed it; the first in order of (depth, id).
    pub record: RecordId,
    /// Where its members go on.
    pub successor: Option<SpaceId>,
}
