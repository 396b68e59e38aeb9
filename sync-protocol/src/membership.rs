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
mod state;
mod streams;

use std::collections::{BTreeMap, BTreeSet};

use self::enrol::{Candidates, Enrolments, device_ref, is_enrolling, writes};
use self::epochs::{Epochs, epoch_ref};
pub use self::state::{Checkpoint, Closed, Device, Epoch, EpochChoice, Invite, Join, Member, Policy, Rank};
pub use self::streams::{HeldStream, StreamLimit, StreamPoint, accept};
use crate::dag::{self, Dag};
use crate::envelope::stream_id;
use crate::ids::{EpochRef, HpkePk, MemberId, RecordId, SignPk, SpaceId, StreamId};
use crate::limits::{RECORD_PARENTS_MAX, SPACE_RECORDS_MAX};
use crate::record::{Body, DeviceKind, Record, Role};

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
    /// Who founded the space.
    pub founder: MemberId,
    /// Invitations by their record, withdrawn ones included.
    pub invites: BTreeMap<RecordId, Invite>,
    /// Requests of joiners by their record.
    pub joins: BTreeMap<RecordId, Join>,
    /// Rules of the space, once some are set.
    pub policy: Option<Policy>,
    /// Checkpoints by their record.
    pub checkpoints: BTreeMap<RecordId, Checkpoint>,
    /// Streams with a proven fork, and the envelope of the branch that counts.
    pub forks: BTreeMap<StreamId, StreamPoint>,
    /// Set once the space is closed. Roles stay as they are, so that old work stays valid; nobody should begin
    /// new work.
    pub closed: Option<Closed>,
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
    /// It removes or demotes somebody more senior, or lifts somebody who is.
    Seniority,
    /// Its author was removed or demoted by somebody more senior who had not seen it.
    AuthorRemoved,
    /// It would leave the space without an Owner.
    LastOwner,
    /// The invite is withdrawn, used up or not for this.
    Invite,
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
    /// Nobody and nothing: what a test fills in by hand.
    #[must_use]
    pub const fn empty(space: SpaceId, genesis_random: [u8; 32]) -> Self {
        Self {
            space,
            genesis_random,
            members: BTreeMap::new(),
            devices: BTreeMap::new(),
            epochs: BTreeMap::new(),
            heads: Vec::new(),
            depth: 0,
            void: BTreeMap::new(),
            founder: MemberId::ZERO,
            invites: BTreeMap::new(),
            joins: BTreeMap::new(),
            policy: None,
            checkpoints: BTreeMap::new(),
            forks: BTreeMap::new(),
            closed: None,
        }
    }

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
            members: members(&enrolments, space),
            devices: devices(dag, &enrolments),
            epochs,
            heads: dag::heads(dag.iter().map(|(_, record)| record)),
            depth: dag.iter().map(|(_, record)| record.depth()).max().unwrap_or(0),
            void,
            founder: enrolments.roles.keys().next().copied().unwrap_or(MemberId::ZERO),
            ..Self::empty(*space, genesis_random)
        }
    }

    /// The role of the member that a device belongs to, while both are in force.
    #[must_use]
    pub fn role_of(&self, device: &SignPk) -> Option<Role> {
        self.members.get(&self.in_force(device)?.member).map(|member| member.role)
    }

    /// Whether a record with this body by this device, naming all heads as parents, would have effect: what a
    /// device asks before it signs. Proofs of enrolled keys are not checked.
    ///
    /// # Errors
    /// The reason why it would be void.
    pub fn may_author(&self, device: &SignPk, body: &Body) -> Result<(), VoidReason> {
        let own = self.in_force(device).ok_or(VoidReason::NotEnrolled)?;
        let may = match body {
            Body::DeviceAdd { member, .. } => *member == own.member && own.kind != DeviceKind::Archive,
            Body::Epoch { .. } | Body::KeyGrant { .. } => self.may_write(device),
            _ => return Err(VoidReason::NotYet),
        };
        if may { Ok(()) } else { Err(VoidReason::NoAuthority) }
    }

    /// How much of a device's stream counts by itself. A stream belongs to the device that its id commits to.
    #[must_use]
    pub fn stream_limit(&self, device: &SignPk, stream: &StreamId) -> StreamLimit {
        let Some(device) = self.devices.get(device).filter(|device| device.is_writer) else {
            return StreamLimit::Never;
        };
        let cut = device.cuts.as_ref().map(|cuts| cuts.get(stream).copied().unwrap_or(StreamPoint::START));
        match (self.forks.get(stream).copied(), cut) {
            (None, None) => StreamLimit::Open,
            (Some(fork), cut) if cut.is_none_or(|cut| fork.seq <= cut.seq) => StreamLimit::Forked(fork),
            (_, cut) => cut.map_or(StreamLimit::Never, StreamLimit::Cut),
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

    /// [`Self::current_epoch`], or what the epoch that is needed must name as parents.
    #[must_use]
    pub fn epoch_choice(&self) -> EpochChoice {
        match self.current_epoch() {
            Some(epoch) => EpochChoice::Current(epoch),
            None => EpochChoice::NeedRotation { heads: self.epoch_heads() },
        }
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

fn members(enrolments: &Enrolments, space: &SpaceId) -> BTreeMap<MemberId, Member> {
    let rank = Rank::founder(RecordId(space.0));
    let mut members: BTreeMap<MemberId, Member> = enrolments
        .roles
        .iter()
        .map(|(id, role)| (*id, Member { role: *role, devices: BTreeSet::new(), rank }))
        .collect();
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
        Some(Device::enrolled(member, hpke_pk, kind, added_by))
    };
    enrolments.devices.iter().filter_map(|(sign_pk, enrolment)| Some((*sign_pk, device(enrolment)?))).collect()
}
