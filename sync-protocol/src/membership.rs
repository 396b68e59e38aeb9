//! Membership: who may read and write, as a pure function of a set of records (protocol §6.2). The same
//! code runs in relay and device; the order in which records arrive never matters.
//!
//! ```text
//! records ─► graph (parents present, depth true) ─► enrolments ─► epochs and grants ─► state
//!               dag                                   enrol          epochs
//! ```
//!
//! This version evaluates Genesis, DeviceAdd, Epoch and KeyGrant. Every other known type by an enrolled author
//! is kept and marked [`VoidReason::NotYet`]: it changes nothing, and a later version that evaluates it reads
//! the same bytes. There is one member, the founder, so nobody outranks anybody and one pass with parents first
//! is the whole rule; the pass by seniority that removals need replaces `Enrolments::evaluate`, the only place
//! where a record gains or loses effect because of another's.

mod enrol;
mod epochs;

use std::collections::{BTreeMap, BTreeSet};

use self::enrol::{Candidates, Enrolments, device_ref, is_enrolling, writes};
use self::epochs::{Epochs, epoch_ref};
use crate::dag::{self, Dag};
use crate::envelope::stream_id;
use crate::ids::{EpochRef, HpkePk, MemberId, RecordId, SignPk, SpaceId, StreamId};
use crate::limits::{RECORD_PARENTS_MAX, SPACE_RECORDS_MAX};
use crate::record::{Body, DeviceKind, Record, Role};

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
    /// The record that enrolled it; the first in order of (depth, id) if several say the same.
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
    /// What every holder of the secret can compare it with.
    pub commit: [u8; 32],
    /// Short forms (first 16 bytes of the signing key) of the devices it was sealed to, ascending.
    pub recipients: Vec<[u8; 16]>,
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
    /// Records with a complete past that no other such record names as a parent, ascending: what two sides
    /// compare. Void records are among them, so that equal sets have equal heads.
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
    /// A parent is not in the set, or has itself no place in the graph.
    MissingParent,
    /// Depth is not 1 + max(parents).
    Depth,
    /// Another space.
    Space,
    /// The author is not enrolled in the record's causal past.
    NotEnrolled,
    /// The author's role does not allow it.
    NoAuthority,
    /// The new device's own proof does not verify.
    Proof,
    /// The key was enrolled before.
    KeyReused,
    /// The recipients of an epoch are not exactly the readers, or a grant is not for an enrolled device.
    Recipients,
    /// The type is not known to this version.
    UnknownType,
    /// The type is known, but this version does not evaluate it.
    NotYet,
    /// Contradicts the records before it (unknown epoch, an epoch that leaves out a parent …).
    Conflict,
}

impl VoidReason {
    /// Whether a relay refuses a record that is void for this reason *in its own past*: evaluate exactly that
    /// past and the record, so that every relay gives the same answer whatever else it holds. A record with a
    /// missing parent may be parked; one that only a later version understands is kept.
    #[must_use]
    pub const fn is_refusable(self) -> bool {
        !matches!(self, Self::MissingParent | Self::UnknownType | Self::NotYet)
    }
}

/// No state can be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The set holds no Genesis of this space.
    #[error("no genesis record for this space")]
    NoGenesis,
    /// More than [`SPACE_RECORDS_MAX`].
    #[error("more records than one space may have")]
    TooManyRecords,
}

impl Membership {
    /// Evaluates a set of records of one space; order and repetition do not matter.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub fn evaluate<'a>(
        space: &SpaceId,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<Self, MembershipError> {
        let mut by_id = BTreeMap::new();
        for record in records {
            by_id.insert(record.id(), record);
            if by_id.len() > SPACE_RECORDS_MAX {
                return Err(MembershipError::TooManyRecords);
            }
        }
        let genesis = by_id.get(&RecordId(space.0)).ok_or(MembershipError::NoGenesis)?;
        let Body::Genesis { random, .. } = genesis.body() else { return Err(MembershipError::NoGenesis) };
        Ok(Self::judge(space, *random, &Dag::build(space, &by_id)))
    }

    fn judge(space: &SpaceId, genesis_random: [u8; 32], dag: &Dag<'_>) -> Self {
        let candidates = Candidates::collect(dag, &genesis_random);
        let enrolments = Enrolments::evaluate(dag, &candidates, candidates.all());
        let mut epochs = Epochs::new(dag, &candidates, &enrolments);
        let mut void = dag.unsound.clone();
        for (index, record) in dag.iter() {
            if let Err(reason) = judge_record(&enrolments, &mut epochs, dag, index) {
                void.insert(record.id(), reason);
            }
        }
        let epochs = epochs.valid;
        Self {
            space: *space,
            genesis_random,
            members: members(&enrolments),
            devices: devices(dag, &enrolments),
            epochs,
            heads: dag::heads(dag.iter().map(|(_, record)| record)),
            depth: dag.iter().map(|(_, record)| record.depth()).max().unwrap_or(0),
            void,
        }
    }

    /// Whether this device may push content now.
    #[must_use]
    pub fn may_write(&self, device: &SignPk) -> bool {
        self.in_force(device)
            .is_some_and(|device| self.members.get(&device.member).is_some_and(|own| writes(own.role, device.kind)))
    }

    /// Whether this device may read (connect, pull) now: enrolled and not removed.
    #[must_use]
    pub fn may_read(&self, device: &SignPk) -> bool {
        self.in_force(device).is_some()
    }

    /// Every device an epoch must be sealed to, recovery devices included, ascending.
    #[must_use]
    pub fn readers(&self) -> Vec<(SignPk, HpkePk)> {
        let in_force = self.devices.iter().filter(|(_, device)| device.removed_by.is_none());
        in_force.map(|(sign_pk, device)| (*sign_pk, device.hpke_pk)).collect()
    }

    /// The epoch to seal under: among clean heads of the epoch DAG (those sealed to no removed device), highest
    /// generation, then lowest record id. Nothing before the first epoch, or when a removal calls for a new one.
    #[must_use]
    pub fn current_epoch(&self) -> Option<EpochRef> {
        let clean = self.epoch_heads().into_iter().filter_map(|head| Some((head, self.epochs.get(&head)?)));
        clean
            .filter(|(_, epoch)| self.is_clean(epoch))
            .max_by_key(|(_, epoch)| (epoch.generation, std::cmp::Reverse(epoch.record)))
            .map(|(head, _)| head)
    }

    /// The heads of the epoch DAG, ascending: the parents of the next epoch, each of which it must wrap.
    #[must_use]
    pub fn epoch_heads(&self) -> Vec<EpochRef> {
        epochs::heads(self.epochs.iter()).into_iter().collect()
    }

    /// The generation of the next epoch: one more than the largest among the heads, 1 for the first.
    #[must_use]
    pub fn next_generation(&self) -> u32 {
        self.epochs.values().map(|epoch| epoch.generation).max().unwrap_or(0).saturating_add(1)
    }

    /// What the next record names as parents: all heads, or the deepest if there are too many; ascending.
    #[must_use]
    pub fn next_parents<'a>(&self, records: impl IntoIterator<Item = &'a Record>) -> Vec<RecordId> {
        if self.heads.len() <= RECORD_PARENTS_MAX {
            return self.heads.clone();
        }
        let heads: BTreeSet<RecordId> = self.heads.iter().copied().collect();
        let mut deepest: Vec<_> = records.into_iter().filter(|record| heads.contains(&record.id())).collect();
        deepest.sort_unstable_by_key(|record| (std::cmp::Reverse(record.depth()), record.id()));
        let mut parents: Vec<_> = deepest.iter().take(RECORD_PARENTS_MAX).map(|record| record.id()).collect();
        parents.sort_unstable();
        parents
    }

    /// The depth of a record that names [`Self::next_parents`].
    #[must_use]
    pub const fn next_depth(&self) -> u64 {
        self.depth.saturating_add(1)
    }

    /// The enrolled device, removed or not, whose stream this is: `r32` is the `prev` of the stream's first
    /// envelope. One hash per device; remember the answer.
    #[must_use]
    pub fn device_of_stream(&self, stream: &StreamId, r32: &[u8; 32]) -> Option<SignPk> {
        self.devices.keys().find(|device| stream_id(&self.space, device, r32) == *stream).copied()
    }

    /// The enrolled device, removed or not, that a seal names.
    #[must_use]
    pub fn device_by_ref(&self, short: &[u8; 16]) -> Option<SignPk> {
        let mut from = SignPk::ZERO;
        from.0[..16].copy_from_slice(short);
        self.devices.range(from..).next().map(|(device, _)| *device).filter(|device| device_ref(device) == *short)
    }

    fn in_force(&self, device: &SignPk) -> Option<&Device> {
        self.devices.get(device).filter(|device| device.removed_by.is_none())
    }

    fn is_clean(&self, epoch: &Epoch) -> bool {
        let in_force: BTreeSet<[u8; 16]> = self.readers().iter().map(|(device, _)| device_ref(device)).collect();
        epoch.recipients.iter().all(|recipient| in_force.contains(recipient))
    }
}

/// The first 16 bytes of an Epoch's record id.
#[must_use]
pub fn epoch_ref_of(record: &RecordId) -> EpochRef {
    epoch_ref(record)
}

/// Whether a record of the graph has effect. Every author is enrolled in the record's own past, whatever the type.
fn judge_record(
    enrolments: &Enrolments,
    epochs: &mut Epochs<'_, '_>,
    dag: &Dag<'_>,
    index: usize,
) -> Result<(), VoidReason> {
    let record = dag.record(index);
    if is_enrolling(record) {
        return enrolments.void.get(&index).map_or(Ok(()), |reason| Err(*reason));
    }
    enrolments.author(dag, index)?;
    match record.body() {
        Body::Epoch { .. } => epochs.judge_epoch(index, record),
        Body::KeyGrant { .. } => epochs.judge_grant(index, record),
        Body::Unknown { .. } => Err(VoidReason::UnknownType),
        _ => Err(VoidReason::NotYet),
    }
}

fn members(enrolments: &Enrolments) -> BTreeMap<MemberId, Member> {
    let mut members: BTreeMap<MemberId, Member> =
        enrolments.roles.iter().map(|(id, role)| (*id, Member { role: *role, devices: BTreeSet::new() })).collect();
    for (sign_pk, device) in &enrolments.devices {
        if let Some(member) = members.get_mut(&device.member) {
            member.devices.insert(*sign_pk);
        }
    }
    members
}

fn devices(dag: &Dag<'_>, enrolments: &Enrolments) -> BTreeMap<SignPk, Device> {
    let device = |enrolment: &enrol::Enrolment| {
        let first = enrolment.added_by.iter().min()?;
        let added_by = dag.record(*first).id();
        let (member, hpke_pk, kind) = (enrolment.member, enrolment.hpke_pk, enrolment.kind);
        Some(Device { member, hpke_pk, kind, removed_by: None, added_by })
    };
    enrolments.devices.iter().filter_map(|(sign_pk, enrolment)| Some((*sign_pk, device(enrolment)?))).collect()
}
