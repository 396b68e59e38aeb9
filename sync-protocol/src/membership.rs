//! Membership: who may read and write, as a pure function of a set of records (protocol §6.2). The same
//! code runs in relay and device; the order in which records arrive never matters.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{EpochRef, HpkePk, MemberId, RecordId, SignPk, SpaceId};
use crate::record::{DeviceKind, Record, Role};

/// A member in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Role in force.
    pub role: Role,
    /// Its enrolled, non-removed devices.
    pub devices: BTreeSet<SignPk>,
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
    /// The record that removed it, if any.
    pub removed_by: Option<RecordId>,
    /// The record that enrolled it.
    pub added_by: RecordId,
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
}

/// The state of a space. Equal record sets give equal states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The space.
    pub space: SpaceId,
    /// The Genesis' 32 random bytes.
    pub genesis_random: [u8; 32],
    /// Members in force.
    pub members: BTreeMap<MemberId, Member>,
    /// All devices ever enrolled.
    pub devices: BTreeMap<SignPk, Device>,
    /// Valid epochs.
    pub epochs: BTreeMap<EpochRef, Epoch>,
    /// Records that nothing valid names as parent: what the next record cites.
    pub heads: Vec<RecordId>,
    /// Largest depth of a head.
    pub depth: u64,
    /// Records kept but without effect, with the reason.
    pub void: BTreeMap<RecordId, VoidReason>,
}

/// Why a record has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VoidReason {
    /// A parent is not in the set.
    MissingParent,
    /// Depth is not 1 + max(parents).
    Depth,
    /// Another space.
    Space,
    /// The author is not enrolled in the record's causal past.
    NotEnrolled,
    /// The author's role does not allow it.
    NoAuthority,
    /// The key was enrolled before.
    KeyReused,
    /// The recipients of an epoch are not exactly the readers.
    Recipients,
    /// The type is not known to this version.
    UnknownType,
    /// Contradicts an earlier record (second Genesis, unknown member, unknown epoch …).
    Conflict,
}

/// No state can be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The set holds no Genesis of this space.
    #[error("no genesis record for this space")]
    NoGenesis,
}

impl Membership {
    /// Evaluates a set of records of one space; order and repetition do not matter.
    ///
    /// # Errors
    /// [`MembershipError::NoGenesis`].
    pub fn evaluate<'a>(
        space: &SpaceId,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<Self, MembershipError> {
        let _ = (space, records.into_iter());
        todo!()
    }

    /// Whether this device may push content now.
    #[must_use]
    pub fn may_write(&self, device: &SignPk) -> bool {
        let _ = device;
        todo!()
    }

    /// Whether this device may read (connect, pull) now: enrolled and not removed.
    #[must_use]
    pub fn may_read(&self, device: &SignPk) -> bool {
        let _ = device;
        todo!()
    }

    /// Every device an epoch must be sealed to, recovery devices included, ascending.
    #[must_use]
    pub fn readers(&self) -> Vec<(SignPk, HpkePk)> {
        todo!()
    }

    /// The epoch to seal under: among heads of the epoch DAG, highest generation, then lowest record id.
    #[must_use]
    pub fn current_epoch(&self) -> Option<EpochRef> {
        todo!()
    }
}
