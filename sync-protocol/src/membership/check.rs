//! One record against the standing at its own past. What is void here is void for ever, whatever else arrives;
//! what is good here can still lose to a removal by somebody more senior that stands beside it.

use std::collections::BTreeSet;

use super::VoidReason;
use super::standing::{DeviceRef, Enrolled, Seat, Standing, device_ref, writes};
use crate::ids::{EpochRef, HpkePk, MemberId, RecordId, SignPk};
use crate::record::{Body, DeviceEntry, DeviceKind, Floor, Role, Seal, Wrap, reaches};

/// What the rules ask about a record's past beyond authority.
pub(super) trait Past {
    /// Whether every key that the record enrols, and every fork that it shows, is proven.
    fn proofs_hold(&self) -> bool;
    /// Whether a joiner holds the secret of its invite.
    fn invite_proof_holds(&self, invite_pk: &SignPk) -> bool;
    /// Whether a good record names this key for this device.
    fn had_hpke(&self, device: &SignPk, key: &HpkePk) -> bool;
    /// The epochs that none other has as a parent, with their generations.
    fn epoch_heads(&self) -> Vec<(EpochRef, u32)>;
    /// Whether there is this epoch.
    fn knows_epoch(&self, epoch: &EpochRef) -> bool;
    /// Where a good checkpoint leaves the streams.
    fn checkpoint_cut(&self, checkpoint: &RecordId) -> Option<&[Floor]>;
}

/// What its own past says about a record, as far as the pass by seniority needs it.
#[derive(Debug, Clone, Default)]
pub(super) struct Fact {
    /// Whose device the author is; the joiner itself in a Join.
    pub(super) member: MemberIdOrNone,
    /// Whom it removes or whose role it sets; for a DeviceAdd whom it gives a device.
    pub(super) target: MemberIdOrNone,
    /// Whether that is an Owner, whom only an Owner reaches.
    pub(super) targets_owner: bool,
    /// In a promotion to a higher class: the devices that its author vouches for.
    pub(super) promoted: Option<Vec<(SignPk, Enrolled)>>,
}

pub(super) type MemberIdOrNone = Option<MemberId>;

/// The author of a record, as its past knows it.
struct Author {
    device: SignPk,
    enrolled: Enrolled,
    seat: Seat,
    is_founder: bool,
}

impl Author {
    /// A normal device, or the founder's paper key, acts with its member's full role.
    fn acts(&self) -> bool {
        match self.enrolled.kind {
            DeviceKind::Normal => true,
            DeviceKind::Recovery => self.is_founder,
            DeviceKind::Archive => false,
        }
    }

    fn need_role(&self, role: Role) -> Result<(), VoidReason> {
        allow(self.acts() && self.seat.role <= role)
    }

    /// To give a role away one must be an Owner, or an Admin who gives a lower one.
    fn need_grant(&self, role: Role) -> Result<(), VoidReason> {
        self.need_role(if role <= Role::Admin { Role::Owner } else { Role::Admin })
    }

    /// To reach another member one must be an Admin, an Owner to reach an Owner, and more senior in any case.
    fn need_reach(&self, role: Role, rank: super::Rank) -> Result<(), VoidReason> {
        self.need_role(if role == Role::Owner { Role::Owner } else { Role::Admin })?;
        need(rank > self.enrolled.rank, VoidReason::Seniority)
    }

    fn need_writer(&self) -> Result<(), VoidReason> {
        allow(writes(self.seat.role, self.enrolled.kind))
    }

    fn need_hand(&self) -> Result<(), VoidReason> {
        allow(self.enrolled.kind != DeviceKind::Recovery)
    }

    fn is(&self, member: &MemberId) -> bool {
        self.enrolled.member == *member
    }

    /// Whether this device speaks for all of its member: not one that was enrolled beside a promotion.
    fn need_own_rank(&self) -> Result<(), VoidReason> {
        if self.enrolled.rank == self.seat.rank { Ok(()) } else { Err(VoidReason::Seniority) }
    }
}

fn allow(may: bool) -> Result<(), VoidReason> {
    if may { Ok(()) } else { Err(VoidReason::NoAuthority) }
}

/// Judges a record that is no Genesis by what it names.
pub(super) fn check(standing: &Standing, past: &impl Past, author: &SignPk, body: &Body) -> Result<Fact, VoidReason> {
    if let Body::Join { invite, member, devices, .. } = body {
        return check_join(standing, past, author, invite, member, devices);
    }
    let author = find_author(standing, author)?;
    let mut fact = Fact { member: Some(author.enrolled.member), ..Fact::default() };
    match body {
        Body::MemberAdd { member, role, devices, .. } => {
            author.need_grant(*role)?;
            need(!standing.members.contains_key(member), VoidReason::Conflict)?;
            need(past.proofs_hold(), VoidReason::Proof)?;
            check_fresh(standing, member, devices)?;
        }
        Body::DeviceAdd { member, device, grants, .. } => {
            fact.target = Some(*member);
            check_device_add(standing, &author, member)?;
            need(past.proofs_hold(), VoidReason::Proof)?;
            check_grants(past, device, grants)?;
            check_fresh(standing, member, std::slice::from_ref(device))?;
        }
        Body::DeviceRemove { device, .. } => fact.target = Some(check_device_remove(standing, &author, device)?),
        Body::MemberRemove { member, .. } => {
            fact.target = Some(*member);
            check_member_remove(standing, &author, member)?;
        }
        Body::RoleSet { member, role, .. } => {
            fact.target = Some(*member);
            fact.promoted = check_role_set(standing, &author, member, *role)?;
        }
        _ => check_other(standing, past, &author, body)?,
    }
    let target = fact.target.and_then(|target| standing.members.get(&target));
    fact.targets_owner = target.is_some_and(|seat| seat.role == Role::Owner);
    Ok(fact)
}

fn find_author(standing: &Standing, device: &SignPk) -> Result<Author, VoidReason> {
    let enrolled = *standing.devices.get(device).ok_or(VoidReason::NotEnrolled)?;
    if !enrolled.is_live {
        return Err(VoidReason::AuthorRemoved);
    }
    let seat = *standing.members.get(&enrolled.member).ok_or(VoidReason::AuthorRemoved)?;
    Ok(Author { device: *device, enrolled, seat, is_founder: standing.founder == Some(enrolled.member) })
}

fn need(holds: bool, reason: VoidReason) -> Result<(), VoidReason> {
    if holds { Ok(()) } else { Err(reason) }
}

/// A member's own devices, archives excepted, and everybody who may remove its devices.
fn check_device_add(standing: &Standing, author: &Author, member: &MemberId) -> Result<(), VoidReason> {
    let seat = standing.members.get(member).ok_or(VoidReason::NoAuthority)?;
    if author.is(member) {
        return allow(author.enrolled.kind != DeviceKind::Archive);
    }
    author.need_reach(seat.role, seat.rank)
}

/// Whose device it is. A member's own devices leave it at least one: who wants to go leaves as a member.
fn check_device_remove(standing: &Standing, author: &Author, device: &SignPk) -> Result<MemberId, VoidReason> {
    let target = standing.in_force(device).ok_or(VoidReason::Conflict)?;
    let member = target.member;
    if !author.is(&member) {
        let role = standing.members.get(&member).map_or(Role::Reader, |seat| seat.role);
        author.need_reach(role, target.rank)?;
        return Ok(member);
    }
    allow(author.enrolled.kind != DeviceKind::Archive || author.device == *device)?;
    need(target.rank >= author.enrolled.rank, VoidReason::Seniority)?;
    need(standing.live_devices(&member).nth(1).is_some(), VoidReason::LastOwner)?;
    Ok(member)
}

fn check_member_remove(standing: &Standing, author: &Author, member: &MemberId) -> Result<(), VoidReason> {
    let seat = standing.members.get(member).ok_or(VoidReason::Conflict)?;
    if author.is(member) {
        allow(author.acts())?;
        author.need_own_rank()?;
        return need(!standing.is_sole_owner(member), VoidReason::LastOwner);
    }
    author.need_reach(seat.role, seat.rank)
}

/// The devices vouched for, if this lifts the member into a higher class.
fn check_role_set(
    standing: &Standing,
    author: &Author,
    member: &MemberId,
    role: Role,
) -> Result<Option<Vec<(SignPk, Enrolled)>>, VoidReason> {
    let seat = standing.members.get(member).ok_or(VoidReason::Conflict)?;
    if author.is(member) {
        allow(author.acts() && role >= seat.role)?;
        author.need_own_rank()?;
        need(role == Role::Owner || !standing.is_sole_owner(member), VoidReason::LastOwner)?;
        return Ok(None);
    }
    author.need_grant(role)?;
    author.need_reach(seat.role, seat.rank)?;
    let is_promotion = super::Rank::granted(role, 0, RecordId::ZERO).class < seat.rank.class;
    let devices = || standing.live_devices(member).map(|(device, enrolled)| (*device, *enrolled)).collect();
    Ok(is_promotion.then(devices))
}

/// The types that move nobody.
fn check_other(standing: &Standing, past: &impl Past, author: &Author, body: &Body) -> Result<(), VoidReason> {
    match body {
        Body::Invite { role, uses_max, auto_seal, .. } => {
            author.need_role(Role::Admin)?;
            allow(*role >= Role::Editor)?;
            let knows_epoch = auto_seal.as_ref().is_none_or(|(epoch, _)| past.knows_epoch(epoch));
            need(*uses_max > 0 && knows_epoch, VoidReason::Conflict)
        }
        Body::InviteRevoke { invite } => {
            author.need_role(Role::Admin)?;
            need(standing.offers.contains_key(invite), VoidReason::Conflict)
        }
        Body::Policy { .. } | Body::Close { .. } => author.need_role(Role::Owner),
        Body::Epoch { generation, parents, wraps, seals, .. } => {
            author.need_writer()?;
            check_epoch_parents(past, *generation, parents, wraps)?;
            let recipients = recipients(seals).ok_or(VoidReason::Recipients)?;
            need(recipients == standing.reader_refs(), VoidReason::Recipients)
        }
        Body::KeyGrant { epoch, seals } => {
            author.need_writer()?;
            need(past.knows_epoch(epoch), VoidReason::Conflict)?;
            let recipients = recipients(seals).ok_or(VoidReason::Recipients)?;
            let readers = standing.reader_refs();
            need(recipients.iter().all(|short| readers.binary_search(short).is_ok()), VoidReason::Recipients)
        }
        Body::HpkeRefresh { hpke_pk } => {
            author.need_hand()?;
            need(!past.had_hpke(&author.device, hpke_pk), VoidReason::KeyReused)
        }
        Body::Checkpoint { previous, cut, .. } => {
            author.need_writer()?;
            // One that held less would take the place of one that held more.
            let is_continued = |previous| past.checkpoint_cut(previous).is_some_and(|before| reaches(cut, before));
            need(previous.iter().all(is_continued), VoidReason::Conflict)?;
            need(past.proofs_hold(), VoidReason::Proof)
        }
        Body::Endorse { checkpoint } => {
            author.need_hand()?;
            need(past.checkpoint_cut(checkpoint).is_some(), VoidReason::Conflict)
        }
        Body::Object { checkpoint, .. } => {
            author.need_writer()?;
            need(past.checkpoint_cut(checkpoint).is_some(), VoidReason::Conflict)
        }
        Body::ForkProof { .. } => {
            author.need_hand()?;
            need(past.proofs_hold(), VoidReason::Proof)
        }
        Body::Unknown { .. } => Err(VoidReason::UnknownType),
        // A second Genesis has no place in the graph; the rest is judged by the caller.
        _ => Err(VoidReason::Conflict),
    }
}

/// A joiner is nobody yet: the invite is its authority, and one of its own normal devices signs.
fn check_join(
    standing: &Standing,
    past: &impl Past,
    author: &SignPk,
    invite: &RecordId,
    member: &MemberId,
    devices: &[DeviceEntry],
) -> Result<Fact, VoidReason> {
    let open = standing.offers.get(invite).filter(|offer| !offer.is_revoked && offer.uses < offer.uses_max);
    let offer = open.ok_or(VoidReason::Invite)?;
    allow(devices.iter().any(|device| device.sign_pk == *author && device.kind == DeviceKind::Normal))?;
    need(!standing.members.contains_key(member), VoidReason::Conflict)?;
    need(past.proofs_hold() && past.invite_proof_holds(&offer.invite_pk), VoidReason::Proof)?;
    check_fresh(standing, member, devices)?;
    Ok(Fact { member: Some(*member), ..Fact::default() })
}

/// A signing key is enrolled once: none of these was enrolled before, under whatever name, and no two keys of one record
/// are the same. HPKE keys are not compared between devices: a proof shows the signing key only, so that anybody could
/// name a joiner's key first, and whoever names another's key opens nothing with it (docs/decisions/0010).
fn check_fresh(standing: &Standing, member: &MemberId, devices: &[DeviceEntry]) -> Result<(), VoidReason> {
    let refs: BTreeSet<DeviceRef> = devices.iter().map(|device| device_ref(&device.sign_pk)).collect();
    let hpke: BTreeSet<HpkePk> = devices.iter().map(|device| device.hpke_pk).collect();
    let all_differ = refs.len() == devices.len() && hpke.len() == devices.len();
    need(all_differ && !devices.iter().any(|device| standing.is_taken(member, device)), VoidReason::KeyReused)
}

/// Grants inside a DeviceAdd are sealed to the device that it adds, and of epochs in its past: else who was removed
/// could name a later one, and have everybody make another.
fn check_grants(past: &impl Past, device: &DeviceEntry, grants: &[(EpochRef, Seal)]) -> Result<(), VoidReason> {
    let own = device_ref(&device.sign_pk);
    need(grants.iter().all(|(epoch, _)| past.knows_epoch(epoch)), VoidReason::Conflict)?;
    need(grants.iter().all(|(_, seal)| seal.device_ref == own), VoidReason::Recipients)
}

/// The parents are all heads of the epochs in the record's past, each is wrapped, and the generation is one more
/// than the largest of theirs (1 for the first): whoever holds the newest secret can open everything.
fn check_epoch_parents(
    past: &impl Past,
    generation: u32,
    parents: &[EpochRef],
    wraps: &[Wrap],
) -> Result<(), VoidReason> {
    let heads = past.epoch_heads();
    let known: BTreeSet<EpochRef> = heads.iter().map(|(head, _)| *head).collect();
    let named: BTreeSet<EpochRef> = parents.iter().copied().collect();
    let wrapped: BTreeSet<EpochRef> = wraps.iter().map(|wrap| wrap.parent).collect();
    let each_once = named.len() == parents.len() && wrapped.len() == wraps.len();
    need(each_once && named == known && wrapped == known, VoidReason::Conflict)?;
    let newest = heads.iter().map(|(_, generation)| *generation).max().unwrap_or(0);
    need(newest.checked_add(1) == Some(generation), VoidReason::Conflict)
}

/// The devices of the seals, ascending; nothing if one is named twice.
pub(super) fn recipients(seals: &[Seal]) -> Option<Vec<DeviceRef>> {
    let mut short: Vec<DeviceRef> = seals.iter().map(|seal| seal.device_ref).collect();
    short.sort_unstable();
    short.is_sorted_by(|a, b| a < b).then_some(short)
}
