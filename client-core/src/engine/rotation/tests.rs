//! Which keys are due to whom, over records that are made by hand.

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
    let clock = |epoch_since_ms, hpke_since_ms| KeyClock { epoch_since_ms, hpke_since_ms, ..KeyClock::default() };
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
    let made = perform(KeyTask::RefreshAndRotate, (&state, &world.devices[0], &world.records), 0, &mut world.random);
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

#[test]
fn a_home_put_back_from_before_its_newest_key_asks_for_another_but_only_so_often_a_day() {
    let mut world = world(2);
    let state = world.state(0);
    let task = (&state, &world.devices[0], &world.records[..]);
    let made = perform(KeyTask::RefreshAndRotate, task, 0, &mut world.random).unwrap();
    world.records.extend(made.records);
    // The home from before: the new key is nowhere.
    assert_eq!(world.due(0, &KeyClock::default(), 0), Some(KeyTask::RefreshAsked));
    assert_eq!(world.due(1, &KeyClock::default(), 0), None, "the others have what they need");
    let state = world.state(0);
    let task = (&state, &world.devices[0], &world.records[..]);
    let KeyRecords { records, hpke_material } = perform(KeyTask::RefreshAsked, task, 0, &mut world.random).unwrap();
    world.records.extend(records);
    let of_0 = |world: &World| {
        let refreshed = vec![HpkeKey::derive(&hpke_material.unwrap())];
        SpaceState::of(&world.space, &world.records, &world.devices[0], refreshed).unwrap()
    };
    let due_0 = |world: &World| due(&of_0(world), &world.devices[0], &world.records, &KeyClock::default(), 0);
    assert_eq!(due_0(&world), Some(KeyTask::RotateAsked), "the present epoch is sealed to the key that is gone");
    let state = of_0(&world);
    let task = (&state, &world.devices[0], &world.records[..]);
    world.records.extend(perform(KeyTask::RotateAsked, task, 0, &mut world.random).unwrap().records);
    assert!(of_0(&world).seal_key(&world.devices[0]).is_ok());
    assert_eq!(due_0(&world), None);

    // The same home twice, both in use: each takes the key from the other.
    let asked = |times: usize| KeyClock { asked_ms: vec![0; times], ..KeyClock::default() };
    assert_eq!(world.due(0, &asked(LOST_PER_DAY_MAX - 1), HOUR_MS), Some(KeyTask::RefreshAsked));
    assert_eq!(world.due(0, &asked(LOST_PER_DAY_MAX), DAY_MS - 1), None);
    assert_eq!(world.due(0, &asked(LOST_PER_DAY_MAX), DAY_MS), Some(KeyTask::RefreshAsked));
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
    let due_1 =
        |world: &World, state: &SpaceState| due(state, &world.devices[1], &world.records, &KeyClock::default(), 1_000);
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
fn an_epoch_beside_the_present_one_that_was_sealed_to_a_lost_key_is_granted_to_the_key_that_came_instead() {
    let mut world = world(3);
    let material = |tag: u8| [tag; 32];
    let of_2 = |world: &World, kept: &[u8]| {
        let kept = kept.iter().map(|tag| HpkeKey::derive(&material(*tag))).collect();
        SpaceState::of(&world.space, &world.records, &world.devices[2], kept).unwrap()
    };
    let refresh = |world: &World, kept: &[u8], tag: u8| {
        let state = of_2(world, kept);
        let mut draft = Draft::begin(&state.membership, &world.records, &state.opened(), &world.devices[2]);
        draft.refresh_hpke(HpkeKey::derive(&material(tag)).public()).unwrap();
        draft.finish()
    };
    let epoch_of = |world: &mut World, device: usize| {
        let state = world.state(device);
        let mut draft = Draft::begin(&state.membership, &world.records, &state.opened(), &world.devices[device]);
        let epoch = draft.rotate(&mut world.random).unwrap();
        (epoch, draft.finish())
    };
    let lost = refresh(&world, &[], 1);
    world.records.extend(lost);
    let before = world.records.len();
    // Two keys at once: one of their authors had heard of the key that came instead of the lost one, the other had not.
    let early = loop {
        world.records.truncate(before);
        let (early, early_records) = epoch_of(&mut world, 0);
        let instead = refresh(&world, &[1], 2);
        world.records.extend(instead);
        let (late, late_records) = epoch_of(&mut world, 1);
        world.records.extend(late_records.into_iter().chain(early_records));
        // Were it the other one, the device would make the next.
        if world.state(0).membership.current_epoch() == Some(late) {
            break early;
        }
    };
    let state = of_2(&world, &[2]);
    assert!(state.seal_key(&world.devices[2]).is_ok());
    assert_eq!(state.troubles.get(&early), Some(&KeyTrouble::SealFails));
    assert_eq!(
        due(&state, &world.devices[2], &world.records, &KeyClock::default(), 0),
        None,
        "it seals under the other"
    );
    let clock = KeyClock::default();
    assert_eq!(world.due(0, &clock, 0), Some(KeyTask::Grant));
    let state = world.state(0);
    let task = (&state, &world.devices[0], &world.records[..]);
    let made = perform(KeyTask::Grant, task, 0, &mut world.random).unwrap();
    assert_eq!(made.records.len(), 1);
    world.records.extend(made.records);
    let state = of_2(&world, &[2]);
    assert!(state.keyring.find(&early).is_some() && state.troubles.is_empty(), "{:?}", state.troubles);
    assert_eq!([0, 1].map(|device| world.due(device, &clock, 0)), [None, None], "once is enough");
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

/// Lets somebody in with one device, the last of the world's, and gives them the keys.
fn admit(world: &mut World, role: Role) -> (usize, MemberId) {
    let (keys, member) = (DeviceRoot::generate(&mut world.random).derive_space(&[5; 32]), MemberId([8; 16]));
    let devices = vec![keys.entry(&[5; 32], &member, DeviceKind::Normal)];
    world.write(|draft, random| {
        draft.add(&Body::MemberAdd { member, role, enc_meta: Vec::new(), devices })?;
        draft.grant_lacking(random)
    });
    world.devices.push(keys);
    (world.devices.len() - 1, member)
}

/// A record of some device, with noise where it seals something to another one.
fn write_spoilt(
    world: &mut World,
    (author, victim): (usize, usize),
    write: impl FnOnce(&mut Draft<'_>, &mut dyn Random) -> Result<(), RecordsError>,
) {
    let state = world.state(author);
    let mut draft = Draft::begin(&state.membership, &world.records, &state.opened(), &world.devices[author]);
    write(&mut draft, &mut world.random).unwrap();
    let mut body = draft.finish().remove(0).body().clone();
    let (Body::Epoch { seals, .. } | Body::KeyGrant { seals, .. }) = &mut body else { panic!("{body:?}") };
    let victim = world.devices[victim].sign_pk();
    let seal = seals.iter_mut().find(|seal| victim.0.starts_with(&seal.device_ref)).unwrap();
    seal.ct = [7; 48];
    let spoilt = next_record(&world.devices[author], &state.membership, &world.records, &body).unwrap();
    world.records.push(spoilt);
}

/// A device with its newer HPKE keys.
struct Holder {
    device: usize,
    materials: Vec<[u8; 32]>,
}

impl Holder {
    fn state(&self, world: &World) -> SpaceState {
        let kept = self.materials.iter().map(HpkeKey::derive).collect();
        SpaceState::of(&world.space, &world.records, &world.devices[self.device], kept).unwrap()
    }

    fn due(&self, world: &World, asked: usize) -> Option<KeyTask> {
        let clock = KeyClock { asked_ms: vec![1_000; asked], ..KeyClock::default() };
        due(&self.state(world), &world.devices[self.device], &world.records, &clock, 1_000)
    }

    fn refresh(&mut self, world: &mut World, task: KeyTask) {
        let (state, keys) = (self.state(world), &world.devices[self.device]);
        let made = perform(task, (&state, keys, &world.records), 1_000, &mut world.random).unwrap();
        assert_eq!(made.records.len(), 1);
        self.materials.extend(made.hpke_material);
        world.records.extend(made.records);
    }
}

/// Devices 0 and 1 may write; of the reader's device the present epoch, made by device 1, holds noise.
fn reader_with_a_broken_key() -> (World, Holder) {
    let mut world = world(2);
    let (device, _) = admit(&mut world, Role::Reader);
    write_spoilt(&mut world, (1, device), |draft, random| draft.rotate(random).map(drop));
    (world, Holder { device, materials: Vec::new() })
}

fn lacking(world: &World) -> Vec<SignPk> {
    let membership = world.state(0).membership;
    let lacking = devices_without(&membership, &world.records, &membership.current_epoch().unwrap());
    lacking.into_iter().map(|(device, _)| device).collect()
}

/// What a device does, which has to be one record.
fn perform_one(world: &mut World, device: usize, task: KeyTask) {
    let (state, keys) = (world.state(device), &world.devices[device]);
    let made = perform(task, (&state, keys, &world.records), 1_000, &mut world.random).unwrap().records;
    assert_eq!(made.len(), 1);
    world.records.extend(made);
}

#[test]
fn a_reader_who_cannot_open_the_key_asks_with_a_new_one_of_its_own_and_is_granted_it_once() {
    let (mut world, mut reader) = reader_with_a_broken_key();
    let epoch = world.state(0).membership.current_epoch().unwrap();
    assert_eq!(reader.state(&world).troubles.get(&epoch), Some(&KeyTrouble::SealFails));
    let clock = KeyClock::default();
    let writers = |world: &World| [0, 1].map(|device| world.due(device, &clock, 1_000));
    assert_eq!((lacking(&world), writers(&world)), (Vec::new(), [None, None]), "nobody else sees that it is broken");
    assert_eq!(reader.due(&world, ASKED_PER_HOUR_MAX), None, "only so often");
    assert_eq!(reader.due(&world, ASKED_PER_HOUR_MAX - 1), Some(KeyTask::RefreshAsked));

    reader.refresh(&mut world, KeyTask::RefreshAsked);
    assert_eq!(reader.due(&world, 0), None, "it waits for the answer");
    assert_eq!(lacking(&world), [world.devices[reader.device].sign_pk()]);
    assert_eq!(writers(&world), [Some(KeyTask::Grant); 2]);
    perform_one(&mut world, 0, KeyTask::Grant);
    assert!(reader.state(&world).keyring.find(&epoch).is_some());
    assert_eq!((lacking(&world), writers(&world), reader.due(&world, 0)), (Vec::new(), [None, None], None));
    // Every epoch opens with the newest key alone: the older ones go.
    assert!(newest_suffices(&reader.state(&world), &world.devices[reader.device], &world.records));
}

#[test]
fn a_grant_of_noise_to_a_reader_who_was_given_nothing_is_no_end_either() {
    let mut world = world(2);
    world.write(|draft, random| draft.rotate(random).map(drop));
    let keys = DeviceRoot::generate(&mut world.random).derive_space(&[5; 32]);
    let member = MemberId([8; 16]);
    let devices = vec![keys.entry(&[5; 32], &member, DeviceKind::Normal)];
    let body = Body::MemberAdd { member, role: Role::Reader, enc_meta: Vec::new(), devices };
    world.write(|draft, _| draft.add(&body));
    world.devices.push(keys);
    let mut reader = Holder { device: 2, materials: Vec::new() };
    assert_eq!(reader.due(&world, 0), None, "whoever may write sees that nothing was given");
    write_spoilt(&mut world, (1, 2), |draft, random| draft.grant_lacking(random));
    assert_eq!(world.due(0, &KeyClock::default(), 1_000), None);
    assert_eq!(reader.due(&world, 0), Some(KeyTask::RefreshAsked));
    reader.refresh(&mut world, KeyTask::RefreshAsked);
    perform_one(&mut world, 0, KeyTask::Grant);
    assert!(reader.state(&world).troubles.is_empty());
}

#[test]
fn who_is_given_noise_again_and_again_asks_so_often_and_then_waits_for_the_next_key() {
    let (mut world, mut reader) = reader_with_a_broken_key();
    let mut asked = 0;
    while reader.due(&world, 0) == Some(KeyTask::RefreshAsked) {
        reader.refresh(&mut world, KeyTask::RefreshAsked);
        write_spoilt(&mut world, (1, reader.device), |draft, random| draft.grant_lacking(random));
        asked += 1;
        assert!(asked < 100, "without end");
    }
    assert_eq!(asked, 8);
    assert_eq!((reader.due(&world, 0), world.due(0, &KeyClock::default(), 1_000)), (None, None));
    world.write(|draft, random| draft.rotate(random).map(drop));
    let state = reader.state(&world);
    assert!(state.troubles.is_empty(), "and with it the one before: {:?}", state.troubles);
    write_spoilt(&mut world, (1, reader.device), |draft, random| draft.rotate(random).map(drop));
    assert_eq!(reader.due(&world, 0), Some(KeyTask::RefreshAsked), "for each epoch anew");
}

#[test]
fn a_new_hpke_key_in_its_time_calls_for_one_grant_if_it_is_a_readers_and_for_none_if_it_is_a_writers() {
    let mut world = world(2);
    let (device, _) = admit(&mut world, Role::Reader);
    let mut holders = [1, device].map(|device| Holder { device, materials: Vec::new() });
    for holder in &mut holders {
        holder.refresh(&mut world, KeyTask::Refresh);
    }
    assert_eq!(lacking(&world), [world.devices[device].sign_pk()]);
    perform_one(&mut world, 0, KeyTask::Grant);
    assert_eq!(world.due(0, &KeyClock::default(), 1_000), None);
    assert_eq!(holders.each_ref().map(|holder| holder.due(&world, 0)), [None, None]);
    // An epoch whose author has seen the keys is for them.
    holders[1].refresh(&mut world, KeyTask::Refresh);
    world.write(|draft, random| draft.rotate(random).map(drop));
    assert_eq!(lacking(&world), []);
}

#[test]
fn whoever_may_write_makes_the_new_key_that_a_demotion_calls_for_once() {
    let mut world = world(2);
    let (device, member) = admit(&mut world, Role::Editor);
    let clock = KeyClock::default();
    let tasks = |world: &World| [0, 1, device].map(|device| world.due(device, &clock, 1_000));
    let asked = [Some(KeyTask::RotateAsked), Some(KeyTask::RotateAsked), None];
    assert_eq!(tasks(&world), [None; 3]);
    // Its author lost power before the new key; an epoch that stands beside the demotion is none after it.
    let before = world.state(1);
    let mut beside = Draft::begin(&before.membership, &world.records, &before.opened(), &world.devices[1]);
    beside.rotate(&mut world.random).unwrap();
    let beside = beside.finish();
    world.write(|draft, _| draft.set_role(member, Role::Reader, Vec::new()));
    assert_eq!(tasks(&world), asked);
    world.records.extend(beside);
    assert!(world.state(0).membership.current_epoch().is_some(), "who is demoted goes on reading");
    assert_eq!(tasks(&world), asked);
    let often = KeyClock { asked_ms: vec![1_000; ASKED_PER_HOUR_MAX], ..KeyClock::default() };
    assert_eq!(world.due(0, &often, 1_000), None, "only so often");
    perform_one(&mut world, 1, KeyTask::RotateAsked);
    assert_eq!(tasks(&world), [None; 3]);

    world.write(|draft, _| draft.set_role(member, Role::Admin, Vec::new()));
    assert_eq!(tasks(&world), [None; 3], "more is no reason");
    world.write(|draft, _| draft.set_role(member, Role::Editor, Vec::new()));
    assert_eq!(tasks(&world), [Some(KeyTask::RotateAsked); 3]);
    perform_one(&mut world, device, KeyTask::RotateAsked);
    assert_eq!(tasks(&world), [None; 3]);
    // Who makes itself a reader makes no epoch behind it.
    let state = world.state(device);
    let mut draft = Draft::begin(&state.membership, &world.records, &state.opened(), &world.devices[device]);
    draft.set_role(member, Role::Reader, Vec::new()).unwrap();
    assert!(matches!(draft.rotate(&mut world.random), Err(RecordsError::Void(_))));
    world.records.extend(draft.finish());
    assert_eq!(tasks(&world), asked);
    // Who has gone since is no reason any more; that they went is.
    world.write(|draft, random| {
        draft.remove_member(member, RemoveReason::Left, Vec::new())?;
        draft.rotate(random)
    });
    assert_eq!(tasks(&world), [None; 3]);
}

#[test]
fn what_an_editor_erases_calls_for_a_new_key_once_a_day_and_what_an_owner_erases_at_once() {
    let mut world = world(2);
    let (editor, _) = admit(&mut world, Role::Editor);
    let clock = |by: &[usize], epoch_since_ms| KeyClock {
        erased_by: by.iter().map(|by| world.devices[*by].sign_pk()).collect(),
        epoch_since_ms,
        hpke_since_ms: 10 * DAY_MS,
        ..KeyClock::default()
    };
    let now_ms = 10 * DAY_MS;
    assert_eq!(world.due(0, &clock(&[], now_ms - DAY_MS), now_ms), None);
    assert_eq!(world.due(0, &clock(&[editor], now_ms - DAY_MS + 1), now_ms), None, "the key is new");
    assert_eq!(world.due(0, &clock(&[editor], now_ms - DAY_MS), now_ms), Some(KeyTask::RotateAsked));
    for by in [&[1][..], &[editor, 1]] {
        assert_eq!(world.due(0, &clock(by, now_ms), now_ms), Some(KeyTask::RotateAsked), "{by:?}");
    }
}
