//! Membership: who may read and write, as a pure function of a set of records (protocol §6.2). The same
//! code runs in relay and device; the order in which records arrive never matters.
//!
//! ```text
//! record ─► place in the graph ─► verdict in its own past, for ever          ledger, dag, check, standing
//! all records ─► pass by seniority over the good ones ─► state               pass, view
//! ```
//!
//! Two steps, because two questions are different: whether a record was allowed by what its author could know, which
//! nothing that arrives later changes, and whether it holds against what others did at the same time.

mod check;
mod checkpoint;
mod ledger;
#[cfg(test)]
mod oracle;
mod pass;
#[cfg(test)]
mod scale;
mod standing;
mod state;
mod streams;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use self::check::Past;
pub use self::ledger::Ledger;
use self::standing::{Enrolled, Offer, Seat, Standing, device_ref, writes};
pub use self::state::{
    Checkpoint, CheckpointStanding, Closed, Device, Epoch, EpochChoice, Invite, Join, Member, Policy, Rank,
};
pub use self::streams::{HeldStream, StreamLimit, StreamPoint, accept};
use crate::dag;
use crate::envelope::stream_id;
use crate::ids::{EpochRef, HpkePk, MemberId, RecordId, SignPk, SpaceId, StreamId};
use crate::limits::{RECORD_PARENTS_MAX, SPACE_RECORDS_MAX};
use crate::record::{Body, DeviceKind, Floor, Record, Role};

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
    /// Every HPKE key that a good record ever named, and for which device: no device goes back to one that it had.
    pub hpke_keys: BTreeSet<(HpkePk, SignPk)>,
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
    /// The signing key was enrolled before, the record names one key twice, or the device had this HPKE key already.
    KeyReused,
    /// The recipients of an epoch are not exactly the readers, or a grant is not for an enrolled device.
    Recipients,
    /// The type is not known to this version.
    UnknownType,
    /// It removes or demotes somebody more senior, or lifts somebody who is.
    Seniority,
    /// Its author was removed or demoted: before, or by somebody more senior who had not seen it; or what it rests
    /// on fell so.
    AuthorRemoved,
    /// It would leave the space without an Owner, or a member without a device by its own hand.
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
        !matches!(self, Self::MissingParent | Self::UnknownType)
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
            hpke_keys: BTreeSet::new(),
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
        let genesis = by_id.remove(&RecordId(space.0)).ok_or(MembershipError::NoGenesis)?;
        let mut ledger = Ledger::new(genesis)?;
        let mut ordered: Vec<&Record> = by_id.values().copied().collect();
        ordered.sort_unstable_by_key(|record| record.order());
        by_id.insert(genesis.id(), genesis);
        let mut unsound = BTreeMap::new();
        for record in ordered {
            if let Err(reason) = ledger.insert(record)?
                && !ledger.contains(&record.id())
            {
                unsound.insert(record.id(), unplaced(record, &by_id, reason));
            }
        }
        let mut state = ledger.membership();
        state.void.extend(unsound);
        Ok(state)
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
        check::check(&self.standing(), &Now(self), device, body).map(|_| ())
    }

    /// Whether room is kept for a record with this body by this device however full the space is: it takes something
    /// from somebody, is an Epoch, which a removal calls for, or brings in the device that a recovery key begins with.
    /// No rule of the evaluation.
    #[must_use]
    pub fn is_for_safety(&self, author: &SignPk, body: &Body) -> bool {
        match body {
            Body::DeviceRemove { .. }
            | Body::MemberRemove { .. }
            | Body::InviteRevoke { .. }
            | Body::Close { .. }
            | Body::Epoch { .. } => true,
            Body::RoleSet { role, .. } => *role > Role::Admin,
            Body::DeviceAdd { .. } => self.is_recovery_key(author),
            _ => false,
        }
    }

    /// Whether a key is or was enrolled as a recovery key.
    #[must_use]
    pub fn is_recovery_key(&self, key: &SignPk) -> bool {
        self.devices.get(key).is_some_and(|device| device.kind == DeviceKind::Recovery)
    }

    fn standing(&self) -> Standing {
        let seat = |(id, member): (&MemberId, &Member)| (*id, Seat { role: member.role, rank: member.rank });
        let enrolled = |(key, device): (&SignPk, &Device)| {
            let (member, hpke_pk, kind, rank) = (device.member, device.hpke_pk, device.kind, device.rank);
            let (is_live, since) = (device.removed_by.is_none(), (0, device.added_by));
            (*key, Enrolled { member, hpke_pk, kind, is_live, since, rank })
        };
        let offer = |(id, invite): (&RecordId, &Invite)| {
            let (invite_pk, role, is_auto) = (invite.invite_pk, invite.role, invite.auto_epoch.is_some());
            let (uses, uses_max, is_revoked) = (invite.uses, invite.uses_max, invite.is_revoked);
            (*id, Offer { invite_pk, role, is_auto, uses, uses_max, is_revoked })
        };
        Standing {
            founder: Some(self.founder),
            members: self.members.iter().map(seat).collect(),
            devices: self.devices.iter().map(enrolled).collect(),
            offers: self.invites.iter().map(offer).collect(),
            // Not kept: who signs looks at what came of it.
            claimed: BTreeMap::new(),
        }
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
        let named: BTreeSet<&EpochRef> = self.epochs.values().flat_map(|epoch| &epoch.parents).collect();
        self.epochs.keys().filter(|epoch| !named.contains(epoch)).copied().collect()
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

    /// Whether nobody but readers was given an epoch, with it or afterwards.
    fn is_clean(&self, epoch: &Epoch) -> bool {
        let in_force: BTreeSet<[u8; 16]> = self.readers().iter().map(|(device, _)| device_ref(device)).collect();
        epoch.recipients.iter().chain(&epoch.granted).all(|holder| in_force.contains(holder))
    }
}

/// All that a state knows as the past of the next record. Proofs are taken for granted: nothing is signed yet.
struct Now<'a>(&'a Membership);

impl Past for Now<'_> {
    fn proofs_hold(&self) -> bool {
        true
    }

    fn invite_proof_holds(&self, _: &SignPk) -> bool {
        true
    }

    fn had_hpke(&self, device: &SignPk, key: &HpkePk) -> bool {
        self.0.hpke_keys.contains(&(*key, *device))
    }

    fn epoch_heads(&self) -> Vec<(EpochRef, u32)> {
        let generation = |head: &EpochRef| self.0.epochs.get(head).map_or(0, |epoch| epoch.generation);
        self.0.epoch_heads().into_iter().map(|head| (head, generation(&head))).collect()
    }

    fn knows_epoch(&self, epoch: &EpochRef) -> bool {
        self.0.epochs.contains_key(epoch)
    }

    fn checkpoint_cut(&self, checkpoint: &RecordId) -> Option<&[Floor]> {
        self.0.checkpoints.get(checkpoint).map(|checkpoint| checkpoint.cut.as_slice())
    }
}

/// Why a record has no place in the graph: a depth that cannot be true is known as such even if a parent has none
/// either.
fn unplaced(record: &Record, by_id: &BTreeMap<RecordId, &Record>, reason: VoidReason) -> VoidReason {
    if reason != VoidReason::MissingParent {
        return reason;
    }
    let parents: Option<Vec<&Record>> = record.parents().iter().map(|id| by_id.get(id).copied()).collect();
    let is_false = parents.is_some_and(|parents| !dag::is_depth_true(record, parents.into_iter()));
    if is_false { VoidReason::Depth } else { reason }
}

/// The first 16 bytes of an Epoch's record id.
#[must_use]
pub fn epoch_ref_of(record: &RecordId) -> EpochRef {
    let mut short = EpochRef::ZERO;
    short.0.copy_from_slice(&record.0[..EpochRef::BYTES]);
    short
}
