//! What a set of records says about authority, and how the next record that has seen all of it changes that.

use std::collections::BTreeMap;

use super::Rank;
use crate::ids::{HpkePk, MemberId, RecordId, SignPk};
use crate::record::{Body, DeviceEntry, DeviceKind, Record, Role};

/// The short form of a signing key by which a seal names its device.
pub(super) type DeviceRef = [u8; 16];

/// What a key was enrolled as; a later record that says otherwise is void.
pub(super) type Claim = (SignPk, MemberId, HpkePk, DeviceKind);

/// A member in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) role: Role,
    pub(super) rank: Rank,
}

/// A device that is or was enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Enrolled {
    pub(super) member: MemberId,
    /// The key it was enrolled with.
    pub(super) hpke_pk: HpkePk,
    pub(super) kind: DeviceKind,
    pub(super) is_live: bool,
    /// Depth and id of the first record that enrols it: which of a member's devices is the elder.
    pub(super) since: (u64, RecordId),
    /// Its member's, unless it was enrolled beside a promotion that did not know of it.
    pub(super) rank: Rank,
}

/// An invite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) invite_pk: SignPk,
    pub(super) role: Role,
    pub(super) is_auto: bool,
    pub(super) uses: u32,
    pub(super) uses_max: u32,
    pub(super) is_revoked: bool,
}

/// Who has which authority.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) founder: Option<MemberId>,
    pub(super) members: BTreeMap<MemberId, Seat>,
    pub(super) devices: BTreeMap<SignPk, Enrolled>,
    pub(super) offers: BTreeMap<RecordId, Offer>,
    /// Keys that an admission claimed which fell: nobody has them, and they are not free for others.
    pub(super) claimed: BTreeMap<DeviceRef, Claim>,
}

impl Standing {
    pub(super) fn in_force(&self, device: &SignPk) -> Option<&Enrolled> {
        self.devices.get(device).filter(|enrolled| enrolled.is_live)
    }

    /// Whether this member is an Owner and nobody else is.
    pub(super) fn is_sole_owner(&self, member: &MemberId) -> bool {
        let mut owners = self.members.iter().filter(|(_, seat)| seat.role == Role::Owner);
        owners.next().is_some_and(|(id, _)| id == member) && owners.next().is_none()
    }

    pub(super) fn live_devices(&self, member: &MemberId) -> impl Iterator<Item = (&SignPk, &Enrolled)> {
        self.devices.iter().filter(move |(_, enrolled)| enrolled.is_live && enrolled.member == *member)
    }

    /// Whether the key, or one with the same short form, is or was enrolled.
    pub(super) fn knows(&self, device: &SignPk) -> bool {
        by_ref(&self.devices, &device_ref(device)).is_some()
    }

    /// Whether the device cannot be enrolled for this member: its key is or was enrolled, or was claimed for another.
    pub(super) fn is_taken(&self, member: &MemberId, device: &DeviceEntry) -> bool {
        let (short, claim) = claim_of(member, device);
        self.knows(&device.sign_pk) || self.claimed.get(&short).is_some_and(|known| *known != claim)
    }

    /// Short forms of all devices that may read, ascending.
    pub(super) fn reader_refs(&self) -> Vec<DeviceRef> {
        self.devices.iter().filter(|(_, enrolled)| enrolled.is_live).map(|(device, _)| device_ref(device)).collect()
    }

    /// Takes in a record that is good in its own past, which is exactly what this standing was made from: nothing
    /// stands beside it, so it takes effect as it is.
    pub(super) fn apply(&mut self, record: &Record) {
        let since = record.order();
        match record.body() {
            Body::Genesis { member, device, recovery, .. } => {
                self.founder = Some(*member);
                self.admit(member, Role::Owner, Rank::founder(record.id()), since, [device, recovery]);
            }
            Body::MemberAdd { member, role, devices, .. } => {
                self.admit(member, *role, Rank::granted(*role, since.0, since.1), since, devices);
            }
            Body::Join { invite, member, devices, .. } => self.apply_join(invite, member, devices, since),
            Body::DeviceAdd { member, device, .. } => {
                let author = self.devices.get(&record.author()).filter(|author| author.member == *member);
                let seat = self.members.get(member).map(|seat| seat.rank);
                if let Some(rank) = author.map(|author| author.rank).or(seat) {
                    self.enrol(member, device, rank, since);
                }
            }
            Body::DeviceRemove { device, .. } => {
                if let Some(device) = self.devices.get_mut(device) {
                    device.is_live = false;
                }
            }
            Body::MemberRemove { member, .. } => {
                self.members.remove(member);
                self.devices.values_mut().filter(|device| device.member == *member).for_each(|d| d.is_live = false);
            }
            Body::RoleSet { member, role, .. } => self.apply_role(member, *role, since),
            Body::Invite { invite_pk, role, uses_max, auto_seal, .. } => {
                let (invite_pk, role, uses_max, is_auto) = (*invite_pk, *role, *uses_max, auto_seal.is_some());
                let offer = Offer { invite_pk, role, is_auto, uses: 0, uses_max, is_revoked: false };
                self.offers.insert(record.id(), offer);
            }
            Body::InviteRevoke { invite } => {
                if let Some(offer) = self.offers.get_mut(invite) {
                    offer.is_revoked = true;
                }
            }
            _ => {}
        }
    }

    fn apply_join(&mut self, invite: &RecordId, member: &MemberId, devices: &[DeviceEntry], since: (u64, RecordId)) {
        let Some(offer) = self.offers.get_mut(invite) else { return };
        offer.uses = offer.uses.saturating_add(1);
        let (role, is_auto) = (offer.role, offer.is_auto);
        if is_auto {
            self.admit(member, role, Rank::granted(role, since.0, since.1), since, devices);
        }
    }

    fn apply_role(&mut self, member: &MemberId, role: Role, since: (u64, RecordId)) {
        let Some(seat) = self.members.get_mut(member) else { return };
        seat.role = role;
        let granted = Rank::granted(role, since.0, since.1);
        if granted.class >= seat.rank.class {
            return;
        }
        seat.rank = granted;
        let own = self.devices.values_mut().filter(|device| device.is_live && device.member == *member);
        own.for_each(|device| device.rank = granted);
    }

    fn admit<'d>(
        &mut self,
        member: &MemberId,
        role: Role,
        rank: Rank,
        since: (u64, RecordId),
        devices: impl IntoIterator<Item = &'d DeviceEntry>,
    ) {
        self.members.insert(*member, Seat { role, rank });
        devices.into_iter().for_each(|device| self.enrol(member, device, rank, since));
    }

    fn enrol(&mut self, member: &MemberId, device: &DeviceEntry, rank: Rank, since: (u64, RecordId)) {
        let (hpke_pk, kind) = (device.hpke_pk, device.kind);
        let enrolled = Enrolled { member: *member, hpke_pk, kind, is_live: true, since, rank };
        self.devices.insert(device.sign_pk, enrolled);
        // What was claimed before, by an admission that fell, says nothing any more.
        self.claimed.remove(&device_ref(&device.sign_pk));
    }
}

/// What a record says of a device.
pub(super) fn claim_of(member: &MemberId, device: &DeviceEntry) -> (DeviceRef, Claim) {
    (device_ref(&device.sign_pk), (device.sign_pk, *member, device.hpke_pk, device.kind))
}

/// First 16 bytes of the signing key.
pub(super) fn device_ref(device: &SignPk) -> DeviceRef {
    let mut short = [0; 16];
    short.copy_from_slice(&device.0[..16]);
    short
}

/// The device with this short form.
pub(super) fn by_ref<V>(devices: &BTreeMap<SignPk, V>, short: &DeviceRef) -> Option<SignPk> {
    let mut from = SignPk::ZERO;
    from.0[..16].copy_from_slice(short);
    devices.range(from..).next().map(|(device, _)| *device).filter(|device| device_ref(device) == *short)
}

/// Whether a role and a kind of device together may write content, epochs and grants.
pub(super) fn writes(role: Role, kind: DeviceKind) -> bool {
    role <= Role::Editor && kind != DeviceKind::Recovery
}
