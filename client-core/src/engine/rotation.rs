//! Which keys are due, and who makes them: decided from the records, with time and randomness as arguments.
//!
//! ```text
//! CURRENT ── removal seen ───────────▶ NEED_ROTATION ── rank × 2 s + jitter ──▶ Epoch (all heads as parents) ─▶ CURRENT
//!    ├────── 30 days ────────────────▶ ROTATE_DUE: the first in rank at once, the others a day later
//!    ├────── the seal is broken ─────▶ as NEED_ROTATION, but only so often an hour
//!    ├────── it lies in a closed link ▶ as NEED_ROTATION, but only so often an hour
//!    ├────── a demotion is newer ────▶ as NEED_ROTATION, but only so often an hour
//!    ├────── a note was erased ──────▶ as NEED_ROTATION, but only so often an hour; by an Editor: once a day
//!    ├────── a link without approval is used up or over ▶ InviteRevoke
//!    └────── a reader lacks the key ─▶ KeyGrant
//!
//! A device that may not write, and cannot open what it was given: HpkeRefresh ─▶ KeyGrant by whoever may write
//! A device whose home was put back from before its newest HPKE key: HpkeRefresh, and if need be as above
//! ```
//! Two devices that rotate at once do no harm: the higher generation, then the lower record id is used by all.

use lifeos_sync_protocol::ids::{EpochRef, SignPk};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Record, Role};

use super::SpaceState;
use crate::crypto::{HpkeKey, Random, random_bytes};
use crate::keys::{DeviceKeys, OwnKeys};
use crate::records::{
    Draft, RecordsError, has_asked_enough, is_before_demotion, is_given, is_key_lacking, is_open, links_to_withdraw,
};
use crate::store::KeyClock;

/// How much later each next in rank acts.
const RANK_WAIT_MS: u64 = 2_000;
/// Spread of those with one rank, and of one who was slow.
const JITTER_MS_MAX: u64 = 1_000;
pub(crate) const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Days between rotations, unless the space's rules say otherwise.
const ROTATION_DAYS: i64 = 30;

/// How often in an hour a device makes or asks for an epoch because of what somebody else did, removals apart: who
/// breaks every epoch, or makes links only to close them, fills no space with the epochs of others.
const ASKED_PER_HOUR_MAX: usize = 6;
const HOUR_MS: i64 = 60 * 60 * 1_000;
/// How often in a day a device asks because its HPKE key is not here: two copies of one home that are both in use would
/// take the key from each other for ever.
const LOST_PER_DAY_MAX: usize = 6;

/// Something to do about keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyTask {
    /// A new epoch: somebody was removed.
    Rotate,
    /// A new epoch: the present one does not open, or lies in a link that lets nobody in any more, or is older than a
    /// demotion, or a note was erased under it.
    RotateAsked,
    /// Links without approval that are used up or over: until somebody withdraws them, they let in whoever brings a
    /// Join that has seen nothing since. Part of every new epoch, too.
    Withdraw,
    /// The present epoch, and those that no later one opens, for readers that lack them.
    Grant,
    /// A new HPKE key of this device and a new epoch: the time has come.
    RefreshAndRotate,
    /// A new HPKE key of this device.
    Refresh,
    /// The same before its time: the present epoch does not open, and this device may not make another, so that whoever
    /// may write grants it to the new key; or the key that the others seal to is not here, because the home was put back
    /// from before it.
    RefreshAsked,
}

impl KeyTask {
    /// Whether others do the same at the same time, so that one after the other tries.
    pub(super) const fn is_for_all(self) -> bool {
        !matches!(self, Self::Refresh | Self::RefreshAsked)
    }

    /// Whether somebody else's doing calls for it, so that it is done only so often.
    pub(super) const fn is_asked(self) -> bool {
        matches!(self, Self::RotateAsked | Self::RefreshAsked)
    }
}

/// The place of a device among those that may rotate, most senior first; `None`: it may not.
pub(super) fn rank_of(membership: &Membership, device: &SignPk) -> Option<usize> {
    let mut able: Vec<_> = membership
        .devices
        .iter()
        .filter(|(device, _)| membership.may_write(device))
        .map(|(device, enrolled)| (membership.members.get(&enrolled.member).map(|member| member.rank), *device))
        .collect();
    able.sort_unstable();
    able.iter().position(|(_, able)| able == device)
}

/// How long a device waits before it rotates, so that usually one does.
pub(super) fn rotation_wait_ms(rank: usize, random: u64) -> u64 {
    let rank = u64::try_from(rank).unwrap_or(u64::MAX);
    rank.saturating_mul(RANK_WAIT_MS).saturating_add(random % (JITTER_MS_MAX + 1))
}

/// What this device is to do about keys now, at `now_ms` UTC.
pub(super) fn due(
    state: &SpaceState,
    keys: &DeviceKeys,
    records: &[Record],
    clock: &KeyClock,
    now_ms: i64,
) -> Option<KeyTask> {
    let (membership, device) = (&state.membership, keys.sign_pk());
    let enrolled = membership.devices.get(&device).filter(|device| device.removed_by.is_none())?;
    // Every day at most, whatever the space's rules say: with none at all a key would be over as soon as it is made.
    let rotation_days = membership.policy.as_ref().map_or(ROTATION_DAYS, |policy| i64::from(policy.rotation_days));
    let rotation_ms = rotation_days.max(1) * DAY_MS;
    let refresh = now_ms.saturating_sub(clock.hpke_since_ms) >= (rotation_ms - DAY_MS).max(DAY_MS);
    if !state.own_keys(keys).holds(&enrolled.hpke_pk)
        && asked_within(&clock.asked_ms, now_ms, DAY_MS) < LOST_PER_DAY_MAX
        && may_be_asked(&clock.asked_ms, now_ms)
    {
        return Some(KeyTask::RefreshAsked);
    }
    let Some(rank) = rank_of(membership, &device) else {
        let asks = is_given_in_vain(state, &device, records) && may_be_asked(&clock.asked_ms, now_ms);
        return if asks { Some(KeyTask::RefreshAsked) } else { refresh.then_some(KeyTask::Refresh) };
    };
    let Some(epoch) = membership.current_epoch() else {
        return (!membership.epochs.is_empty()).then_some(KeyTask::Rotate);
    };
    let broken = state.troubles.get(&epoch).is_some_and(|trouble| trouble.is_broken());
    if broken {
        // With a wrong key of its own the device could not open the new epoch either, and would make them for ever.
        let may = state.own_keys(keys).holds(&enrolled.hpke_pk) && may_be_asked(&clock.asked_ms, now_ms);
        return may.then_some(KeyTask::RotateAsked);
    }
    state.keyring.find(&epoch)?;
    let is_over = is_behind_erasure(membership, clock, now_ms)
        || lies_in_closed_link(membership, &epoch, now_ms)
        || is_before_demotion(membership, records, &epoch);
    if is_over && may_be_asked(&clock.asked_ms, now_ms) {
        return Some(KeyTask::RotateAsked);
    }
    if !links_to_withdraw(membership, &device, now_ms).is_empty() {
        return Some(KeyTask::Withdraw);
    }
    if is_key_lacking(membership, records, (&state.cut_off, &state.keyring), &device) {
        return Some(KeyTask::Grant);
    }
    let late_ms = if rank == 0 { 0 } else { DAY_MS };
    if now_ms.saturating_sub(clock.epoch_since_ms) >= rotation_ms.saturating_add(late_ms) {
        return Some(KeyTask::RefreshAndRotate);
    }
    refresh.then_some(KeyTask::Refresh)
}

/// Whether a note was erased under the present key by somebody who may ask for another one. Owners and Admins may at once;
/// what others erase waits until the key has been known for a day, so that they have keys made once a day at most.
fn is_behind_erasure(membership: &Membership, clock: &KeyClock, now_ms: i64) -> bool {
    let is_senior = |device: &SignPk| membership.role_of(device).is_some_and(|role| role <= Role::Admin);
    let is_old = now_ms.saturating_sub(clock.epoch_since_ms) >= DAY_MS;
    clock.erased_by.iter().any(is_senior) || (is_old && !clock.erased_by.is_empty())
}

/// Whether fewer epochs than an hour may have were asked for in the last one.
fn may_be_asked(asked_ms: &[i64], now_ms: i64) -> bool {
    asked_within(asked_ms, now_ms, HOUR_MS) < ASKED_PER_HOUR_MAX
}

/// How often something was asked for in the last `span_ms`; a time yet to come is a clock's mistake.
fn asked_within(asked_ms: &[i64], now_ms: i64, span_ms: i64) -> usize {
    let recent = |time: &&i64| (0..span_ms).contains(&now_ms.saturating_sub(**time));
    asked_ms.iter().filter(recent).count()
}

/// Whether a device that makes no epochs was given the present one and cannot open it, and no answer to its newest HPKE
/// key is still to come.
fn is_given_in_vain(state: &SpaceState, device: &SignPk, records: &[Record]) -> bool {
    let Some(epoch) = state.membership.current_epoch() else { return false };
    state.troubles.get(&epoch).is_some_and(|trouble| trouble.is_broken())
        && is_given(&state.membership, records, &epoch, device)
        && !has_asked_enough(&state.membership, records, &epoch, device)
}

/// Whether whoever has a link that lets nobody in any more could read what is sealed now.
fn lies_in_closed_link(membership: &Membership, epoch: &EpochRef, now_ms: i64) -> bool {
    membership.invites.values().any(|invite| invite.auto_epoch.as_ref() == Some(epoch) && !is_open(invite, now_ms))
}

/// The devices that a removal names, removed or not before.
pub(super) fn removed_by(membership: &Membership, body: &Body) -> Vec<SignPk> {
    let of_member = |member| {
        let own = membership.devices.iter().filter(move |(_, device)| device.member == member);
        own.map(|(key, _)| *key).collect()
    };
    match body {
        Body::DeviceRemove { device, .. } => vec![*device],
        Body::MemberRemove { member, .. } | Body::RoleSet { member, role: Role::Reader, .. } => of_member(*member),
        _ => Vec::new(),
    }
}

/// Records that do a task, and the material of a new HPKE key if there is one.
pub(super) struct KeyRecords {
    pub(super) records: Vec<Record>,
    pub(super) hpke_material: Option<[u8; 32]>,
}

/// Writes the records of a task.
///
/// # Errors
/// [`RecordsError`].
pub(super) fn perform(
    task: KeyTask,
    (state, keys, records): (&SpaceState, &DeviceKeys, &[Record]),
    now_ms: i64,
    random: &mut dyn Random,
) -> Result<KeyRecords, RecordsError> {
    let mut draft = Draft::begin(&state.membership, records, &state.opened(), keys);
    let mut hpke_material = None;
    // Before the new key, which goes to all who are in.
    for link in links_to_withdraw(&state.membership, &keys.sign_pk(), now_ms) {
        let withdrawn = draft.withdraw(link);
        // A new key waits for no link.
        if task == KeyTask::Withdraw {
            withdrawn?;
        }
    }
    if matches!(task, KeyTask::Refresh | KeyTask::RefreshAsked | KeyTask::RefreshAndRotate) {
        let material = random_bytes(random);
        draft.refresh_hpke(HpkeKey::derive(&material).public())?;
        hpke_material = Some(material);
    }
    match task {
        KeyTask::Rotate | KeyTask::RotateAsked | KeyTask::RefreshAndRotate => drop(draft.rotate(random)?),
        KeyTask::Grant => draft.grant_lacking(random)?,
        KeyTask::Refresh | KeyTask::RefreshAsked | KeyTask::Withdraw => {}
    }
    Ok(KeyRecords { records: draft.finish(), hpke_material })
}

/// The device's newest HPKE key, if it alone opens every epoch that all its keys together open: then the older ones
/// are of no use any more, but to a thief.
pub(super) fn newest_suffices(state: &SpaceState, keys: &DeviceKeys, records: &[Record]) -> bool {
    let own = state.own_keys(keys);
    let enrolled = state.membership.devices.get(&keys.sign_pk()).map(|device| device.hpke_pk);
    let newest = state.refreshed.last().map(HpkeKey::public);
    if newest.is_none() || enrolled != newest {
        return false;
    }
    let newest_only = OwnKeys { newest_only: true, ..own };
    let opened = crate::records::unlock_epochs(&state.membership, records, newest_only);
    opened.keyring.len() == state.keyring.len()
}

#[cfg(test)]
mod tests;
