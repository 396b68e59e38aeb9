//! Which keys are due, and who makes them: decided from the records, with time and randomness as arguments.
//!
//! ```text
//! CURRENT ── removal seen ───────────▶ NEED_ROTATION ── rank × 2 s + jitter ──▶ Epoch (all heads as parents) ─▶ CURRENT
//!    ├────── 30 days ────────────────▶ ROTATE_DUE: the first in rank at once, the others a day later
//!    ├────── the seal is broken ─────▶ as NEED_ROTATION, but only so often an hour
//!    ├────── it lies in a closed link ▶ as NEED_ROTATION, but only so often an hour
//!    ├────── a link without approval is used up or over ▶ InviteRevoke
//!    └────── a reader lacks the key ─▶ KeyGrant
//! ```
//! Two devices that rotate at once do no harm: the higher generation, then the lower record id is used by all.

use lifeos_sync_protocol::ids::{EpochRef, SignPk};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Record, Role};

use super::SpaceState;
use crate::crypto::{HpkeKey, Random, random_bytes};
use crate::keys::{DeviceKeys, OwnKeys};
use crate::records::{Draft, RecordsError, is_key_lacking, is_open, links_to_withdraw};
use crate::store::KeyClock;

/// How much later each next in rank acts.
const RANK_WAIT_MS: u64 = 2_000;
/// Spread of those with one rank, and of one who was slow.
const JITTER_MS_MAX: u64 = 1_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Days between rotations, unless the space's rules say otherwise.
const ROTATION_DAYS: i64 = 30;

/// How often in an hour a device makes an epoch because of what somebody else did, removals apart: who breaks every
/// epoch, or makes links only to close them, fills no space with the epochs of others.
const ASKED_PER_HOUR_MAX: usize = 6;
const HOUR_MS: i64 = 60 * 60 * 1_000;

/// Something to do about keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyTask {
    /// A new epoch: somebody was removed.
    Rotate,
    /// A new epoch: the present one does not open, or lies in a link that lets nobody in any more.
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
    let Some(rank) = rank_of(membership, &device) else { return refresh.then_some(KeyTask::Refresh) };
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
    if lies_in_closed_link(membership, &epoch, now_ms) && may_be_asked(&clock.asked_ms, now_ms) {
        return Some(KeyTask::RotateAsked);
    }
    if !links_to_withdraw(membership, &device, now_ms).is_empty() {
        return Some(KeyTask::Withdraw);
    }
    if is_key_lacking(membership, records, &state.cut_off, &device) {
        return Some(KeyTask::Grant);
    }
    let late_ms = if rank == 0 { 0 } else { DAY_MS };
    if now_ms.saturating_sub(clock.epoch_since_ms) >= rotation_ms.saturating_add(late_ms) {
        return Some(KeyTask::RefreshAndRotate);
    }
    refresh.then_some(KeyTask::Refresh)
}

/// Whether fewer epochs than an hour may have were asked for in the last one; a time yet to come is a clock's mistake.
fn may_be_asked(asked_ms: &[i64], now_ms: i64) -> bool {
    let recent = |time: &&i64| (0..HOUR_MS).contains(&now_ms.saturating_sub(**time));
    asked_ms.iter().filter(recent).count() < ASKED_PER_HOUR_MAX
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
    if matches!(task, KeyTask::Refresh | KeyTask::RefreshAndRotate) {
        let material = random_bytes(random);
        draft.refresh_hpke(HpkeKey::derive(&material).public())?;
        hpke_material = Some(material);
    }
    match task {
        KeyTask::Rotate | KeyTask::RotateAsked | KeyTask::RefreshAndRotate => drop(draft.rotate(random)?),
        KeyTask::Grant => draft.grant_lacking(random)?,
        KeyTask::Refresh | KeyTask::Withdraw => {}
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
mod tests {
    use lifeos_sync_protocol::ids::{MemberId, RecordId};
    use lifeos_sync_protocol::record::{DeviceKind, RemoveReason, Unsigned, join_message, joining_member};

    use super::*;
    use crate::crypto::SeededRandom;
    use crate::keys::{DeviceRoot, PhraseLength, RecoveryPhrase};
    use crate::records::{
        AddDevice, Founding, InviteTerms, KeyTrouble, add_device, devices_without, found_space, next_record,
    };

    const MONTH_MS: i64 = ROTATION_DAYS * DAY_MS;
    const MEMBER: MemberId = MemberId([7; 16]);

    struct World {
        devices: Vec<DeviceKeys>,
        records: Vec<Record>,
        space: lifeos_sync_protocol::ids::SpaceId,
        random: SeededRandom,
    }

    fn world(devices: usize) -> World {
        let mut random = SeededRandom::new(71);
        let devices: Vec<_> = (0..devices).map(|_| DeviceRoot::generate(&mut random).derive_space(&[5; 32])).collect();
        let recovery = RecoveryPhrase::generate(PhraseLength::Words12, &mut random).derive_home();
        let (keys, relays) = (&devices[0], Vec::new());
        let founding = Founding { genesis_random: [5; 32], member: MEMBER, keys, recovery: &recovery, relays };
        let founded = found_space(&founding, &mut random).unwrap();
        let space = founded.space;
        let mut world = World { devices, records: vec![founded.genesis, founded.epoch], space, random };
        for index in 1..world.devices.len() {
            let state = world.state(0);
            let add = AddDevice {
                membership: &state.membership,
                records: &world.records,
                keyring: &state.keyring,
                keys: &world.devices[0],
                member: MEMBER,
                entry: world.devices[index].entry(&[5; 32], &MEMBER, DeviceKind::Normal),
                name: "device",
            };
            let added = add_device(&add, &mut world.random).unwrap();
            world.records.extend(added);
        }
        world
    }

    impl World {
        fn state(&self, index: usize) -> SpaceState {
            SpaceState::of(&self.space, &self.records, &self.devices[index], Vec::new()).unwrap()
        }

        /// A record of the first device.
        fn write<T>(&mut self, body: impl FnOnce(&mut Draft<'_>, &mut dyn Random) -> Result<T, RecordsError>) -> T {
            let state = self.state(0);
            let mut draft = Draft::begin(&state.membership, &self.records, &state.opened(), &self.devices[0]);
            let written = body(&mut draft, &mut self.random).unwrap();
            self.records.extend(draft.finish());
            written
        }

        fn due(&self, index: usize, clock: &KeyClock, now_ms: i64) -> Option<KeyTask> {
            due(&self.state(index), &self.devices[index], &self.records, clock, now_ms)
        }
    }

    #[test]
    fn the_first_in_rank_rotates_after_a_month_and_the_others_a_day_later() {
        let world = world(2);
        let first = usize::from(rank_of(&world.state(0).membership, &world.devices[0].sign_pk()) != Some(0));
        let clock = |epoch_since_ms, hpke_since_ms| KeyClock { epoch_since_ms, hpke_since_ms, asked_ms: Vec::new() };
        let fresh = clock(0, MONTH_MS);
        assert_eq!(world.due(first, &fresh, MONTH_MS - 1), None);
        assert_eq!(world.due(first, &fresh, MONTH_MS), Some(KeyTask::RefreshAndRotate));
        assert_eq!(world.due(1 - first, &fresh, MONTH_MS), None);
        assert_eq!(world.due(1 - first, &fresh, MONTH_MS + DAY_MS), Some(KeyTask::RefreshAndRotate));
        let old_key = clock(MONTH_MS, 0);
        assert_eq!(world.due(first, &old_key, MONTH_MS), Some(KeyTask::Refresh));
        let future = clock(i64::MAX, i64::MAX);
        assert_eq!(world.due(first, &future, 0), None, "a clock that was set back asks for nothing");
    }

    /// A link that opens the present epoch until `expires_ms`, or only asks to be let in.
    fn link(expires_ms: u64, auto: bool) -> InviteTerms {
        let guest = DeviceRoot::generate(&mut SeededRandom::new(expires_ms)).derive_space(&[6; 32]);
        InviteTerms { keys: (guest.sign_pk(), guest.hpke_pk()), role: Role::Editor, expires_ms, uses_max: 1, auto }
    }

    #[test]
    fn a_link_that_is_over_and_holds_the_key_calls_for_a_new_one_once() {
        let mut world = world(2);
        world.write(|draft, random| draft.invite(&link(500, false), random));
        let invite = world.write(|draft, random| draft.invite(&link(1_000, true), random));
        let clock = KeyClock::default();
        assert_eq!(world.due(0, &clock, 999), None, "it is open");
        let mut withdrawn = World { records: world.records.clone(), ..super::tests::world(2) };
        withdrawn.write(|draft, _| draft.withdraw(invite));
        assert_eq!(withdrawn.due(0, &clock, 999), Some(KeyTask::RotateAsked));
        assert_eq!(world.due(1, &clock, 1_000), Some(KeyTask::RotateAsked));
        let state = world.state(1);
        let made = perform(KeyTask::RotateAsked, (&state, &world.devices[1], &world.records), 1_000, &mut world.random);
        world.records.extend(made.unwrap().records);
        assert_eq!([0, 1].map(|device| world.due(device, &clock, 1_000)), [None, None], "the new key is in no link");
    }

    /// A Join that has seen the first `seen` records, by a link of [`link`].
    fn join(world: &World, seen: usize, invite: RecordId, expires_ms: u64, seed: u64) -> Record {
        let guest = DeviceRoot::generate(&mut SeededRandom::new(expires_ms)).derive_space(&[6; 32]);
        let joiner = DeviceRoot::generate(&mut SeededRandom::new(seed)).derive_space(&[5; 32]);
        let known = &world.records[..seen];
        let membership = Membership::evaluate(&world.space, known).unwrap();
        let member = joining_member(&invite, &joiner.sign_pk());
        let devices = vec![joiner.entry(&[5; 32], &member, DeviceKind::Normal)];
        let invite_proof = guest.sign(&join_message(&world.space, &invite, &member, &devices));
        let body = Body::Join { invite, member, devices, invite_proof, enc_meta: Vec::new() };
        next_record(&joiner, &membership, known, &body).unwrap()
    }

    fn has(world: &World, join: &Record) -> bool {
        let Body::Join { member, .. } = join.body() else { panic!("no join") };
        world.state(0).membership.members.contains_key(member)
    }

    #[test]
    fn a_link_that_is_over_is_withdrawn_so_that_nobody_comes_in_behind_it() {
        let mut world = world(1);
        let invite = world.write(|draft, random| draft.invite(&link(1_000, true), random));
        let seen = world.records.len();
        let late = join(&world, seen, invite, 1_000, 900);
        let open = World { records: world.records.iter().chain([&late]).cloned().collect(), ..super::tests::world(1) };
        assert!(has(&open, &late), "while nobody withdraws it");
        // The new key was made, by somebody who may not withdraw.
        world.write(|draft, random| draft.rotate(random).map(drop));
        assert_eq!(world.due(0, &KeyClock::default(), 999), None);
        assert_eq!(world.due(0, &KeyClock::default(), 1_000), Some(KeyTask::Withdraw));
        let state = world.state(0);
        let task = (&state, &world.devices[0], &world.records[..]);
        let made = perform(KeyTask::Withdraw, task, 1_000, &mut world.random).unwrap();
        world.records.extend(made.records);
        assert_eq!(world.due(0, &KeyClock::default(), 1_000), None);
        world.records.push(late.clone());
        assert!(!has(&world, &late));
    }

    #[test]
    fn who_comes_by_a_link_beyond_its_number_gets_no_key_and_goes_when_it_is_withdrawn() {
        let mut world = world(1);
        let invite = world.write(|draft, random| draft.invite(&link(1_000, true), random));
        let seen = world.records.len();
        let (first, second) = (join(&world, seen, invite, 1_000, 900), join(&world, seen, invite, 1_000, 901));
        world.records.extend([first.clone(), second.clone()]);
        assert!(has(&world, &first) && has(&world, &second), "by what each had seen");
        let state = world.state(0);
        let epoch = state.membership.current_epoch().unwrap();
        let lacking = |world: &World| -> Vec<SignPk> {
            let lacking = devices_without(&world.state(0).membership, &world.records, &epoch);
            lacking.into_iter().map(|(device, _)| device).collect()
        };
        assert_eq!(lacking(&world), [first.author()]);
        let Body::Join { member, .. } = second.body() else { panic!("no join") };
        let mut approved = World { records: world.records.clone(), ..super::tests::world(1) };
        approved.write(|draft, _| draft.set_role(*member, Role::Editor, Vec::new()));
        assert_eq!(lacking(&approved).len(), 2, "somebody has set their role");

        assert_eq!(world.due(0, &KeyClock::default(), 0), Some(KeyTask::RotateAsked));
        let task = (&state, &world.devices[0], &world.records[..]);
        let made = perform(KeyTask::RotateAsked, task, 0, &mut world.random).unwrap();
        world.records.extend(made.records);
        assert!(has(&world, &first) && !has(&world, &second));
        let membership = world.state(0).membership;
        let epoch = membership.epochs.get(&membership.current_epoch().unwrap()).unwrap();
        let gets = |join: &Record| epoch.recipients.iter().any(|short| join.author().0.starts_with(short));
        assert!(gets(&first) && !gets(&second));
    }

    #[test]
    fn what_others_ask_for_is_slowed_and_what_a_removal_calls_for_is_not() {
        let mut world = world(2);
        let invite = world.write(|draft, random| draft.invite(&link(1_000, true), random));
        world.write(|draft, _| draft.withdraw(invite));
        let asked = |times: usize| KeyClock { asked_ms: vec![2_000; times], ..KeyClock::default() };
        assert_eq!(world.due(0, &asked(ASKED_PER_HOUR_MAX - 1), 3_000), Some(KeyTask::RotateAsked));
        assert_eq!(world.due(0, &asked(ASKED_PER_HOUR_MAX), 3_000), None);
        assert_eq!(world.due(0, &asked(ASKED_PER_HOUR_MAX), 2_000 + HOUR_MS), Some(KeyTask::RotateAsked));
        assert_eq!(world.due(0, &asked(ASKED_PER_HOUR_MAX), 1_500), Some(KeyTask::RotateAsked), "a clock set back");
        let lost = world.devices[1].sign_pk();
        world.write(|draft, _| draft.remove_device(lost, RemoveReason::Lost, Vec::new()));
        assert_eq!(world.due(0, &asked(ASKED_PER_HOUR_MAX), 3_000), Some(KeyTask::Rotate));
    }

    #[test]
    fn rules_that_ask_for_a_new_key_every_zero_days_get_one_a_day() {
        let mut world = world(1);
        let state = world.state(0);
        let rules = Body::Policy { rotation_days: 0, grace_days: 90, endorse_k: 1, relays: Vec::new() };
        let rules = next_record(&world.devices[0], &state.membership, &world.records, &rules).unwrap();
        world.records.push(rules);
        assert_eq!(world.state(0).membership.policy.map(|policy| policy.rotation_days), Some(0));
        let clock = KeyClock::default();
        assert_eq!(world.due(0, &clock, DAY_MS - 1), None);
        assert_eq!(world.due(0, &clock, DAY_MS), Some(KeyTask::RefreshAndRotate));
    }

    #[test]
    fn a_refreshed_key_is_sealed_to_and_makes_the_older_one_useless() {
        let mut world = world(1);
        let state = world.state(0);
        let made =
            perform(KeyTask::RefreshAndRotate, (&state, &world.devices[0], &world.records), 0, &mut world.random);
        let KeyRecords { records, hpke_material } = made.unwrap();
        assert_eq!(records.len(), 2);
        world.records.extend(records);
        let keys = &world.devices[0];
        let without = SpaceState::of(&world.space, &world.records, keys, Vec::new()).unwrap();
        assert!(without.seal_key(keys).is_err(), "the old key opens nothing new");
        let refreshed = || vec![HpkeKey::derive(&hpke_material.unwrap())];
        let with = SpaceState::of(&world.space, &world.records, keys, refreshed()).unwrap();
        assert!(with.seal_key(keys).is_ok());
        assert!(newest_suffices(&with, keys, &world.records), "wraps open all history");
    }

    /// An epoch of device 0 for the keys that it knows of, signed on top of a record that it says to have seen.
    fn epoch_for_older_keys(world: &mut World, seen: &Record) -> Record {
        let state = world.state(0);
        let mut draft = Draft::begin(&state.membership, &world.records, &state.opened(), &world.devices[0]);
        draft.rotate(&mut world.random).unwrap();
        let body = draft.finish().remove(0).body().clone();
        let keys = &world.devices[0];
        let unsigned = Unsigned::new(world.space, keys.sign_pk(), seen.depth() + 1, &[seen.id()], &body).unwrap();
        let signature = keys.sign(&unsigned.message());
        unsigned.sign_with(&signature).unwrap()
    }

    #[test]
    fn an_epoch_for_an_older_hpke_key_of_a_device_is_noticed_by_that_device_and_it_makes_the_next() {
        let mut world = world(2);
        let of_device = |world: &World, materials: &[[u8; 32]]| {
            let kept = materials.iter().map(HpkeKey::derive).collect();
            SpaceState::of(&world.space, &world.records, &world.devices[1], kept).unwrap()
        };
        let perform_1 = |world: &mut World, state: &SpaceState, task| {
            perform(task, (state, &world.devices[1], &world.records), 1_000, &mut world.random).unwrap()
        };
        let due_1 = |world: &World, state: &SpaceState| {
            due(state, &world.devices[1], &world.records, &KeyClock::default(), 1_000)
        };
        let state = of_device(&world, &[]);
        let KeyRecords { records, hpke_material: older } = perform_1(&mut world, &state, KeyTask::Refresh);
        world.records.extend(records);
        let older = older.unwrap();
        let state = of_device(&world, &[older]);
        let KeyRecords { records, hpke_material: newest } = perform_1(&mut world, &state, KeyTask::Refresh);
        let newest = newest.unwrap();
        let for_older = epoch_for_older_keys(&mut world, &records[0]);
        world.records.extend(records);
        world.records.push(for_older.clone());

        let state = world.state(0);
        assert!(state.membership.void.is_empty(), "nobody but the recipient can see it: {:?}", state.membership.void);
        let epoch = state.membership.current_epoch().unwrap();
        assert_eq!(state.membership.epochs[&epoch].record, for_older.id());

        // As long as the device keeps the older key the epoch opens; once it is gone, the device notices.
        let keeps_both = of_device(&world, &[older, newest]);
        assert!(keeps_both.keyring.find(&epoch).is_some() && keeps_both.troubles.is_empty());
        assert_eq!(due_1(&world, &keeps_both), None);
        let state = of_device(&world, &[newest]);
        assert_eq!(state.troubles.get(&epoch), Some(&KeyTrouble::SealFails));
        assert!(state.seal_key(&world.devices[1]).is_err(), "it seals nothing under what it cannot open");
        assert_eq!(due_1(&world, &state), Some(KeyTask::RotateAsked));

        let made = perform_1(&mut world, &state, KeyTask::RotateAsked);
        world.records.extend(made.records);
        let healed = of_device(&world, &[newest]);
        let next = healed.membership.current_epoch().unwrap();
        assert_ne!(next, epoch);
        assert!(healed.seal_key(&world.devices[1]).is_ok(), "it opens what it made, with its newest key");
        assert!(world.state(0).keyring.find(&next).is_some(), "and so does everybody else");
        assert_eq!(due_1(&world, &healed), None);
    }

    #[test]
    fn an_epoch_that_no_later_one_opens_is_granted_to_all_who_may_lack_it() {
        let mut world = world(2);
        let clock = KeyClock::default();
        let broken = world.state(1).membership.current_epoch().unwrap();
        // Device 1 says that nothing was sealed to it, and wraps noise.
        let state = world.state(1);
        let mut opened = state.opened();
        opened.keyring = crate::keys::Keyring::default();
        opened.troubles.insert(broken, KeyTrouble::SealFails);
        let mut draft = Draft::begin(&state.membership, &world.records, &opened, &world.devices[1]);
        draft.rotate(&mut world.random).unwrap();
        world.records.extend(draft.finish());
        assert_eq!(world.state(0).cut_off, [broken].into());

        let grant = |world: &mut World, device: usize| {
            let state = world.state(device);
            let task = (&state, &world.devices[device], &world.records[..]);
            let made = perform(KeyTask::Grant, task, 0, &mut world.random).unwrap();
            world.records.extend(made.records);
        };
        assert_eq!(world.due(0, &clock, 0), Some(KeyTask::Grant));
        grant(&mut world, 0);
        assert_eq!(world.due(0, &clock, 0), None);
        assert_eq!(world.due(1, &clock, 0), Some(KeyTask::Grant), "the word of the epoch's author is not enough");
        grant(&mut world, 1);
        assert_eq!([0, 1].map(|device| world.due(device, &clock, 0)), [None, None], "that of one other is");

        // Somebody who comes later reads it, too, whoever lets them in.
        let invite = world.write(|draft, random| draft.invite(&link(1_000, false), random));
        let join = join(&world, world.records.len(), invite, 1_000, 900);
        let state = world.state(1);
        let mut opened = state.opened();
        assert!(opened.keyring.find(&broken).is_some());
        opened.cut_off.clear();
        let mut draft = Draft::begin(&state.membership, &world.records, &opened, &world.devices[1]);
        draft.admit(&join, Role::Editor, None, &mut world.random).unwrap();
        world.records.extend(draft.finish());
        let joiner = DeviceRoot::generate(&mut SeededRandom::new(900)).derive_space(&[5; 32]);
        let reads = |world: &World| {
            let state = SpaceState::of(&world.space, &world.records, &joiner, Vec::new()).unwrap();
            state.keyring.find(&broken).is_some()
        };
        assert!(!reads(&world));
        assert_eq!(world.due(0, &clock, 0), Some(KeyTask::Grant));
        grant(&mut world, 0);
        assert!(reads(&world));
        assert_eq!(world.due(0, &clock, 0), None);
    }

    #[test]
    fn the_wait_grows_with_the_rank_and_is_spread() {
        assert_eq!(rotation_wait_ms(0, 0), 0);
        assert!(rotation_wait_ms(0, u64::MAX) <= JITTER_MS_MAX);
        assert!((0..200).map(|rank| rotation_wait_ms(rank, 7)).is_sorted());
        assert_eq!(rotation_wait_ms(3, 1_000), 7_000);
        assert_eq!(rotation_wait_ms(usize::MAX, 5), u64::MAX);
    }
}
