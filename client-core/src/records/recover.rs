//! What a recovery key writes after all devices are lost.
//!
//! ```text
//! takeover  DeviceAdd(new device) ◄ DeviceRemove(lost) ◄ DeviceRemove(lost) … ◄ InviteRevoke(link) … ◄ Epoch
//!           └───────────── signed by the recovery key ──────────────┘        └─ signed by the new device ──┘
//! ```
//! Each record names the one before it, so nobody who holds a part of them can tell them apart. What was written
//! before a crash is in the records, and only the rest is written then: the plan is a function of them. A member who
//! may not write makes no Epoch: the removals call for one, and whoever writes next in the space makes it.

use std::collections::BTreeMap;

use lifeos_sync_protocol::ids::{EpochRef, MemberId, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Cut, DeviceKind, Record, RemoveReason, Role};

use super::seals::device_ref;
use super::{AddDevice, Draft, RecordsError, add_device, auto_links, open_epochs, unlock_epochs};
use crate::crypto::Random;
use crate::fault::{Fault, planted};
use crate::keys::{DeviceKeys, EpochSecret, Keyring, OwnKeys};

/// What is left to do until a recovered device stands alone beside its recovery key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryPlan {
    /// The new device is not enrolled yet.
    pub enrol: bool,
    /// Devices of the member that are still in force and lost, ascending.
    pub lost: Vec<SignPk>,
    /// Links without approval that a removed or lost device made, or by which the member came, ascending: whoever has
    /// one would come in again. None where the member may not withdraw them.
    pub links: Vec<RecordId>,
    /// The member may write, and the current epoch is not sealed to the new device, or there is none.
    pub rotate: bool,
}

/// Reads from the membership what a recovery has still to do.
#[must_use]
pub fn plan_recovery(membership: &Membership, member: &MemberId, new_device: &SignPk) -> RecoveryPlan {
    let lost: Vec<SignPk> = membership
        .devices
        .iter()
        .filter(|(key, device)| {
            *key != new_device
                && device.member == *member
                && device.kind != DeviceKind::Recovery
                && device.removed_by.is_none()
                && !(planted(Fault::StrangerLeft) && device.added_by != device.rank.record)
        })
        .map(|(key, _)| *key)
        .collect();
    let current = membership.current_epoch().and_then(|epoch| membership.epochs.get(&epoch));
    let own_ref = device_ref(new_device);
    // A grant opens the old epoch as well; only one that was sealed to the new device shows that it is the newest.
    let rotate = may_rotate(membership, member) && !current.is_some_and(|epoch| epoch.recipients.contains(&own_ref));
    RecoveryPlan {
        enrol: !membership.may_read(new_device),
        links: links_of_the_lost(membership, member, &lost),
        lost,
        rotate,
    }
}

/// Whether a normal device of the member may make an epoch.
pub(super) fn may_rotate(membership: &Membership, member: &MemberId) -> bool {
    membership.members.get(member).is_some_and(|member| member.role <= Role::Editor)
}

fn links_of_the_lost(membership: &Membership, member: &MemberId, lost: &[SignPk]) -> Vec<RecordId> {
    if membership.members.get(member).is_none_or(|member| member.role > Role::Admin) {
        return Vec::new();
    }
    let removed = membership.devices.iter().filter(|(_, device)| device.removed_by.is_some());
    let gone: Vec<SignPk> = removed.map(|(key, _)| *key).chain(lost.iter().copied()).collect();
    auto_links(membership, member, &gone)
}

/// All that a takeover is made from.
pub struct Takeover<'a> {
    /// The space's state.
    pub membership: &'a Membership,
    /// All its records.
    pub records: &'a [Record],
    /// The recovery key.
    pub recovery: &'a DeviceKeys,
    /// The new device.
    pub device: &'a DeviceKeys,
    /// What it calls itself.
    pub name: &'a str,
    /// Whose devices they are.
    pub member: MemberId,
    /// How far each lost device's streams are held here: what comes after is not accepted any more.
    pub cuts: &'a BTreeMap<SignPk, Vec<Cut>>,
    /// Why the old devices go.
    pub reason: RemoveReason,
}

/// The records that are still missing until the takeover is complete, in order; none when it is.
///
/// # Errors
/// [`RecordsError`]; [`RecordsError::NoEpoch`] when the recovery key opens no epoch.
pub fn takeover_records(takeover: &Takeover<'_>, random: &mut dyn Random) -> Result<Vec<Record>, RecordsError> {
    let Takeover { membership, recovery, device, member, .. } = takeover;
    let plan = plan_recovery(membership, member, &device.sign_pk());
    let mut all = takeover.records.to_vec();
    if plan.enrol {
        let keyring = open_epochs(membership, &all, recovery);
        let add = AddDevice {
            membership,
            records: &all,
            keyring: &keyring,
            keys: recovery,
            member: *member,
            entry: device.entry(&membership.genesis_random, member, DeviceKind::Normal),
            name: takeover.name,
        };
        all.extend(add_device(&add, random)?);
    }
    let removed = drafted(&membership.space, &all, OwnKeys::first(recovery), |draft| {
        plan.lost.iter().try_for_each(|lost| {
            let cuts = takeover.cuts.get(lost).cloned().unwrap_or_default();
            draft.remove_device(*lost, takeover.reason, cuts).map(drop)
        })
    })?;
    all.extend(removed);
    let is_due = plan.rotate || !plan.lost.is_empty() || !plan.links.is_empty();
    if is_due && may_rotate(membership, member) {
        let own = OwnKeys::first(device);
        let rotated = drafted(&membership.space, &all, own, |draft| {
            plan.links.iter().try_for_each(|link| draft.withdraw(*link).map(drop))?;
            draft.rotate(random).map(drop)
        })?;
        all.extend(rotated);
    }
    Ok(all.split_off(takeover.records.len()))
}

/// What `write` writes on top of all these records.
pub(super) fn drafted(
    space: &SpaceId,
    all: &[Record],
    keys: OwnKeys<'_>,
    write: impl FnOnce(&mut Draft<'_>) -> Result<(), RecordsError>,
) -> Result<Vec<Record>, RecordsError> {
    let membership = Membership::evaluate(space, all).map_err(|_| RecordsError::Full)?;
    let opened = unlock_epochs(&membership, all, keys);
    let mut draft = Draft::begin(&membership, all, &opened, keys.device);
    write(&mut draft)?;
    Ok(draft.finish())
}

/// The newest epoch held, clean or not: what a name can be sealed under even while a rotation is due.
pub(super) fn newest_held<'k>(membership: &Membership, keyring: &'k Keyring) -> Option<(EpochRef, &'k EpochSecret)> {
    let current = membership.current_epoch().into_iter();
    let mut heads: Vec<_> = membership.epochs.iter().collect();
    heads.sort_by_key(|(_, epoch)| (std::cmp::Reverse(epoch.generation), epoch.record));
    let candidates = current.chain(heads.into_iter().map(|(id, _)| *id));
    candidates.filter_map(|id| Some((id, keyring.find(&id)?))).next()
}
