//! Membership: who may do what, whatever the order in which records arrive.

use std::collections::BTreeMap;

use lifeos_sync_protocol::dag::{heads, records_after};
use lifeos_sync_protocol::envelope::stream_id;
use lifeos_sync_protocol::ids::{EpochRef, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::membership::{Membership, MembershipError, VoidReason, epoch_ref_of};
use lifeos_sync_protocol::record::{Body, DeviceKind, Record, Role};
use proptest::prelude::*;

use super::kit::{self, Keys, MEMBER, RANDOM, epoch, founder, genesis, recovery, seal};

fn evaluate<'a>(records: impl IntoIterator<Item = &'a Record>) -> Membership {
    Membership::evaluate(&kit::space(), records).unwrap()
}

fn reason(records: &[&Record], record: &Record) -> Option<VoidReason> {
    let state = evaluate(records.iter().copied().chain([record]));
    state.void.get(&record.id()).copied()
}

#[test]
fn a_genesis_alone_enrols_its_founder_and_the_recovery_device() {
    let state = evaluate([&genesis()]);
    assert_eq!(state.genesis_random, RANDOM);
    assert_eq!(state.members[&MEMBER].role, Role::Owner);
    assert_eq!(state.heads, [genesis().id()]);
    assert_eq!((state.depth, state.current_epoch(), state.next_generation()), (0, None, 1));
    assert!(state.may_read(&founder().sign_pk) && state.may_write(&founder().sign_pk));
    assert!(state.may_read(&recovery().sign_pk), "the paper key reads");
    assert!(!state.may_write(&recovery().sign_pk), "the paper key never writes content");
    assert!(!state.may_read(&Keys::new(9).sign_pk));
    assert!(state.void.is_empty());
}

#[test]
fn without_the_spaces_own_genesis_there_is_no_state() {
    assert_eq!(Membership::evaluate(&kit::space(), []), Err(MembershipError::NoGenesis));
    assert_eq!(Membership::evaluate(&SpaceId([1; 32]), [&genesis()]), Err(MembershipError::NoGenesis));
    // The id of a record that is no Genesis is not a space.
    let add = founder().follow(&[&genesis()], &kit::device_add(&Keys::new(3)));
    assert_eq!(Membership::evaluate(&SpaceId(add.id().0), [&genesis(), &add]), Err(MembershipError::NoGenesis));
}

#[test]
fn a_members_normal_and_recovery_devices_add_devices_and_nobody_else_does() {
    let genesis = genesis();
    let (phone, tablet) = (Keys::new(3), Keys::new(4));
    let by_founder = founder().follow(&[&genesis], &kit::device_add(&phone));
    let by_recovery = recovery().follow(&[&by_founder], &kit::device_add(&tablet));
    let by_phone = phone.follow(&[&by_recovery], &kit::device_add_as(&Keys::new(5), DeviceKind::Archive));
    let records = [&genesis, &by_founder, &by_recovery, &by_phone];
    let state = evaluate(records);
    assert!(state.void.is_empty(), "{:?}", state.void);
    assert_eq!(state.readers().len(), 5);
    assert_eq!(state.members[&MEMBER].devices.len(), 5);
    assert_eq!(state.devices[&tablet.sign_pk].added_by, by_recovery.id());

    let by_stranger = Keys::new(8).follow(&[&by_phone], &kit::device_add(&Keys::new(8)));
    assert_eq!(reason(&records, &by_stranger), Some(VoidReason::NotEnrolled));
    let by_archive = Keys::new(5).follow(&[&by_phone], &kit::device_add(&Keys::new(8)));
    assert_eq!(reason(&records, &by_archive), Some(VoidReason::NoAuthority));
    // The tablet is enrolled in the set, but not in the past of what it signs here.
    let too_early = tablet.follow(&[&by_founder], &kit::device_add(&Keys::new(8)));
    assert_eq!(reason(&records, &too_early), Some(VoidReason::NotEnrolled));
    let stranger = Keys::new(8).entry(&RANDOM, &[1; 16].into(), DeviceKind::Normal);
    let other_member = Body::DeviceAdd { member: [1; 16].into(), device: stranger, enc_meta: vec![], grants: vec![] };
    assert_eq!(reason(&records, &founder().follow(&[&by_phone], &other_member)), Some(VoidReason::NoAuthority));
}

#[test]
fn a_device_must_prove_that_it_wants_this_enrolment() {
    let genesis = genesis();
    let device = Keys::new(3);
    let attempt = |proof_of| {
        let body = Body::DeviceAdd { member: MEMBER, device: proof_of, enc_meta: vec![], grants: vec![] };
        reason(&[&genesis], &founder().follow(&[&genesis], &body))
    };
    let good = device.entry(&RANDOM, &MEMBER, DeviceKind::Normal);
    assert_eq!(attempt(good.clone()), None);
    assert_eq!(attempt(device.entry(&[0; 32], &MEMBER, DeviceKind::Normal)), Some(VoidReason::Proof), "another space");
    assert_eq!(attempt(device.entry(&RANDOM, &[1; 16].into(), DeviceKind::Normal)), Some(VoidReason::Proof));
    let mut other_kind = good.clone();
    other_kind.kind = DeviceKind::Archive;
    assert_eq!(attempt(other_kind), Some(VoidReason::Proof));
    let mut other_hpke = good;
    other_hpke.hpke_pk = Keys::new(4).hpke_pk;
    assert_eq!(attempt(other_hpke), Some(VoidReason::Proof));
}

#[test]
fn a_key_is_enrolled_once() {
    let genesis = genesis();
    let phone = Keys::new(3);
    let add = founder().follow(&[&genesis], &kit::device_add(&phone));
    let again = founder().follow(&[&add], &kit::device_add(&phone));
    assert_eq!(reason(&[&genesis, &add], &again), Some(VoidReason::KeyReused));
    let founder_again = founder().follow(&[&genesis], &kit::device_add(&founder()));
    assert_eq!(reason(&[&genesis], &founder_again), Some(VoidReason::KeyReused));
    // A fresh signing key over somebody's HPKE key opens nothing of theirs, and may not keep them out either.
    let mut copier = Keys::new(4);
    copier.hpke_pk = phone.hpke_pk;
    let copied = founder().follow(&[&add], &kit::device_add(&copier));
    assert_eq!(reason(&[&genesis, &add], &copied), None);
}

#[test]
fn two_devices_that_enrol_the_same_device_unaware_of_each_other_agree() {
    let genesis = genesis();
    let phone = Keys::new(3);
    let one = founder().follow(&[&genesis], &kit::device_add(&phone));
    let two = recovery().follow(&[&genesis], &kit::device_add(&phone));
    let after_one = phone.follow(&[&one], &kit::device_add(&Keys::new(4)));
    let after_two = phone.follow(&[&two], &kit::device_add(&Keys::new(5)));
    let state = evaluate([&genesis, &one, &two, &after_one, &after_two]);
    assert!(state.void.is_empty(), "{:?}", state.void);
    assert_eq!(state.readers().len(), 5);
    assert_eq!(state.devices[&phone.sign_pk].added_by, one.id().min(two.id()));
}

#[test]
fn structure_is_checked_before_authority() {
    let genesis = genesis();
    let body = kit::device_add(&Keys::new(3));
    let record = |space, depth, parents: &[RecordId]| founder().record(space, depth, parents, &body);
    let space = kit::space();
    assert_eq!(reason(&[&genesis], &record(space, 2, &[genesis.id()])), Some(VoidReason::Depth));
    assert_eq!(reason(&[&genesis], &record(space, u64::MAX, &[genesis.id()])), Some(VoidReason::Depth));
    assert_eq!(reason(&[&genesis], &record(space, 1, &[RecordId([1; 32])])), Some(VoidReason::MissingParent));
    assert_eq!(reason(&[&genesis], &record(SpaceId([1; 32]), 1, &[genesis.id()])), Some(VoidReason::Space));
    let orphan = record(space, 2, &[genesis.id()]);
    let child = founder().follow(&[&orphan], &Body::Close { successor: None });
    assert_eq!(reason(&[&genesis, &orphan], &child), Some(VoidReason::MissingParent));
    let other = Keys::new(6);
    let foreign = other.record(
        SpaceId::ZERO,
        0,
        &[],
        &Body::Genesis {
            random: [1; 32],
            member: MEMBER,
            device: other.entry(&[1; 32], &MEMBER, DeviceKind::Normal),
            recovery: recovery().entry(&[1; 32], &MEMBER, DeviceKind::Recovery),
            relays: vec![],
        },
    );
    assert_eq!(reason(&[&genesis], &foreign), Some(VoidReason::Space), "a second Genesis");
}

/// Genesis, a phone and the first epoch over both.
fn space_with_epoch() -> (Vec<Record>, Keys, EpochRef) {
    let phone = Keys::new(3);
    let add = founder().follow(&[&genesis()], &kit::device_add(&phone));
    let first = founder().follow(&[&add], &epoch(&evaluate([&genesis(), &add])));
    let reference = epoch_ref_of(&first.id());
    (vec![genesis(), add, first], phone, reference)
}

#[test]
fn an_epoch_is_sealed_to_exactly_the_readers_at_its_parents() {
    let (records, phone, reference) = space_with_epoch();
    let state = evaluate(&records);
    assert_eq!(state.current_epoch(), Some(reference));
    assert_eq!((state.epochs[&reference].generation, state.next_generation()), (1, 2));
    assert_eq!(state.epochs[&reference].recipients.len(), 3);
    let records: Vec<&Record> = records.iter().collect();
    let attempt = |change: &dyn Fn(&mut Body)| {
        let mut body = epoch(&state);
        change(&mut body);
        reason(&records, &phone.follow(&records[2..], &body))
    };
    assert_eq!(attempt(&|_| {}), None);
    let with_seals = |change: fn(&mut Vec<_>)| {
        move |body: &mut Body| {
            if let Body::Epoch { seals, .. } = body {
                change(seals)
            }
        }
    };
    let recipients = Some(VoidReason::Recipients);
    assert_eq!(attempt(&with_seals(|seals| seals.truncate(2))), recipients, "one reader left out");
    assert_eq!(attempt(&with_seals(|seals| seals.push(seal(&Keys::new(9).sign_pk)))), recipients, "one too many");
    assert_eq!(attempt(&with_seals(|seals| seals.push(seals[0].clone()))), recipients, "one twice");
    assert_eq!(attempt(&with_seals(|seals| seals.swap(0, 2))), None, "the order does not matter");
}

#[test]
fn an_epoch_wraps_every_head_and_counts_on() {
    let (records, _, _) = space_with_epoch();
    let state = evaluate(&records);
    let refs: Vec<&Record> = records.iter().collect();
    let attempt = |change: fn(&mut u32, &mut Vec<EpochRef>, &mut Vec<_>)| {
        let mut body = epoch(&state);
        if let Body::Epoch { generation, parents, wraps, .. } = &mut body {
            change(generation, parents, wraps);
        }
        reason(&refs, &founder().follow(&refs[2..], &body))
    };
    let conflict = Some(VoidReason::Conflict);
    assert_eq!(attempt(|_, _, _| {}), None);
    assert_eq!(attempt(|generation, _, _| *generation = 3), conflict);
    assert_eq!(attempt(|generation, _, _| *generation = u32::MAX), conflict);
    assert_eq!(attempt(|_, parents, _| parents.clear()), conflict, "the parent is left out");
    assert_eq!(attempt(|_, _, wraps| wraps.clear()), conflict, "the parent is not wrapped");
    assert_eq!(attempt(|_, parents, _| parents.push(parents[0])), conflict, "the parent is named twice");
    assert_eq!(attempt(|_, parents, _| parents[0] = EpochRef([1; 16])), conflict, "an unknown parent");
}

#[test]
fn the_paper_key_and_strangers_make_no_epoch() {
    let (records, _, _) = space_with_epoch();
    let body = epoch(&evaluate(&records));
    let refs: Vec<&Record> = records.iter().collect();
    assert_eq!(reason(&refs, &recovery().follow(&refs[2..], &body)), Some(VoidReason::NoAuthority));
    assert_eq!(reason(&refs, &Keys::new(9).follow(&refs[2..], &body)), Some(VoidReason::NotEnrolled));
}

#[test]
fn an_epoch_stays_valid_when_a_device_is_added_beside_it() {
    let (mut records, _, reference) = space_with_epoch();
    let add = records[1].clone();
    let beside = recovery().follow(&[&add], &kit::device_add(&Keys::new(4)));
    records.push(beside);
    let state = evaluate(&records);
    assert!(state.void.is_empty(), "{:?}", state.void);
    assert_eq!(state.current_epoch(), Some(reference));
    assert_eq!(state.readers().len(), 4);
}

#[test]
fn concurrent_epochs_are_joined_by_the_next() {
    let (mut records, phone, first) = space_with_epoch();
    let state = evaluate(&records);
    let last = records[2].clone();
    let mut one = epoch(&state);
    if let Body::Epoch { commit, .. } = &mut one {
        *commit = [1; 32];
    }
    let (left, right) = (founder().follow(&[&last], &one), phone.follow(&[&last], &epoch(&state)));
    records.extend([left.clone(), right.clone()]);
    let state = evaluate(&records);
    assert_eq!(state.epoch_heads().len(), 2);
    assert_eq!(state.current_epoch(), Some(epoch_ref_of(&left.id().min(right.id()))), "the lowest record id");
    let joined = phone.follow(&[&left, &right], &epoch(&state));
    records.push(joined.clone());
    let state = evaluate(&records);
    assert!(state.void.is_empty(), "{:?}", state.void);
    assert_eq!(state.epoch_heads(), [epoch_ref_of(&joined.id())]);
    assert_eq!(state.epochs[&epoch_ref_of(&joined.id())].generation, 3);
    assert!(state.epochs.contains_key(&first));
}

#[test]
fn a_grant_is_for_enrolled_devices_and_a_known_epoch() {
    let (mut records, phone, reference) = space_with_epoch();
    let tablet = Keys::new(4);
    records.push(phone.follow(&[&records[2]], &kit::device_add(&tablet)));
    let refs: Vec<&Record> = records.iter().collect();
    let attempt = |author: &Keys, epoch, to: &[SignPk]| {
        let body = Body::KeyGrant { epoch, seals: to.iter().map(seal).collect() };
        reason(&refs, &author.follow(&refs[3..], &body))
    };
    assert_eq!(attempt(&phone, reference, &[tablet.sign_pk]), None);
    assert_eq!(attempt(&phone, reference, &[Keys::new(9).sign_pk]), Some(VoidReason::Recipients));
    assert_eq!(attempt(&phone, reference, &[tablet.sign_pk; 2]), Some(VoidReason::Recipients));
    assert_eq!(attempt(&phone, EpochRef([1; 16]), &[tablet.sign_pk]), Some(VoidReason::Conflict));
    assert_eq!(attempt(&recovery(), reference, &[tablet.sign_pk]), Some(VoidReason::NoAuthority));
}

#[test]
fn a_grant_inside_a_device_add_is_sealed_to_that_device() {
    let (records, phone, reference) = space_with_epoch();
    let tablet = Keys::new(4);
    let attempt = |to: &SignPk| {
        let device = tablet.entry(&RANDOM, &MEMBER, DeviceKind::Normal);
        let body = Body::DeviceAdd { member: MEMBER, device, enc_meta: vec![], grants: vec![(reference, seal(to))] };
        let refs: Vec<&Record> = records.iter().collect();
        reason(&refs, &phone.follow(&refs[2..], &body))
    };
    assert_eq!(attempt(&tablet.sign_pk), None);
    assert_eq!(attempt(&phone.sign_pk), Some(VoidReason::Recipients));
}

#[test]
fn a_device_is_found_by_its_stream_and_by_its_short_form() {
    let (records, phone, _) = space_with_epoch();
    let state = evaluate(&records);
    let stream = stream_id(&kit::space(), &phone.sign_pk, &[7; 32]);
    assert_eq!(state.device_of_stream(&stream, &[7; 32]), Some(phone.sign_pk));
    assert_eq!(state.device_of_stream(&stream, &[8; 32]), None);
    assert_eq!(state.device_by_ref(&seal(&phone.sign_pk).device_ref), Some(phone.sign_pk));
    assert_eq!(state.device_by_ref(&[0; 16]), None);
}

/// A graph of honest and dishonest records: each step, somebody writes something over a random view.
fn random_space(steps: &[(u8, u8, u8, u8)]) -> Vec<Record> {
    let mut records = vec![genesis()];
    for &(author, what, view, target) in steps {
        let author = Keys::new(1 + author % 6);
        // A causally closed view: the past of one or two records.
        let tips = [records[usize::from(view) % records.len()].id(), records[usize::from(target) % records.len()].id()];
        let tips = &tips[..1 + usize::from(what % 2)];
        let unseen: BTreeMap<RecordId, ()> = records_after(&records, tips).iter().map(|r| (r.id(), ())).collect();
        let seen: Vec<&Record> = records.iter().filter(|record| !unseen.contains_key(&record.id())).collect();
        let state = evaluate(seen.iter().copied());
        let parents: Vec<&Record> = seen.iter().copied().filter(|record| state.heads.contains(&record.id())).collect();
        let body = match what % 6 {
            0 | 1 => kit::device_add(&Keys::new(1 + target % 6)),
            2 | 3 => epoch(&state),
            4 => Body::KeyGrant {
                epoch: state.current_epoch().unwrap_or(EpochRef([1; 16])),
                seals: vec![seal(&Keys::new(1 + target % 6).sign_pk)],
            },
            _ => Body::Close { successor: None },
        };
        let record = author.follow(&parents, &body);
        if records.iter().all(|known| known.id() != record.id()) {
            records.push(record);
        }
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_order_of_arrival_never_matters(
        steps in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 1..24),
        order in proptest::collection::vec(any::<u64>(), 50),
    ) {
        let records = random_space(&steps);
        let expected = evaluate(&records);
        let mut shuffled: Vec<&Record> = records.iter().chain(&records).collect();
        let mut keys = order.iter().cycle();
        shuffled.sort_by_cached_key(|_| *keys.next().unwrap());
        prop_assert_eq!(evaluate(shuffled), expected);
    }

    #[test]
    fn what_later_records_say_changes_no_verdict(
        steps in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 1..24),
        cut in any::<proptest::sample::Index>(),
    ) {
        let records = random_space(&steps);
        let (part, whole) = (evaluate(&records[..1 + cut.index(records.len())]), evaluate(&records));
        for record in records.iter().take(1 + cut.index(records.len())) {
            prop_assert_eq!(part.void.get(&record.id()), whole.void.get(&record.id()));
        }
        // Only a device that is a reader is sealed to, and only an enrolled device is an author with effect.
        for epoch in whole.epochs.values() {
            prop_assert!(epoch.recipients.iter().all(|short| whole.device_by_ref(short).is_some()));
        }
    }

    #[test]
    fn a_peer_gets_exactly_what_it_lacks_parents_first(
        steps in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 1..16),
        held in proptest::collection::vec(any::<proptest::sample::Index>(), 0..3),
    ) {
        let records = random_space(&steps);
        let peer_tips: Vec<RecordId> = held.iter().map(|at| records[at.index(records.len())].id()).collect();
        let lacking: Vec<RecordId> = records_after(&records, &peer_tips).iter().map(|record| record.id()).collect();
        let mut peer: Vec<&Record> = records.iter().filter(|record| !lacking.contains(&record.id())).collect();
        prop_assert!(peer_tips.iter().all(|tip| !lacking.contains(tip)));
        for id in &lacking {
            let record = records.iter().find(|record| record.id() == *id).unwrap();
            prop_assert!(record.parents().iter().all(|parent| peer.iter().any(|held| held.id() == *parent)));
            peer.push(record);
        }
        prop_assert_eq!(peer.len(), records.len());
        prop_assert_eq!(heads(peer), heads(&records));
        prop_assert!(records_after(&records, &heads(&records)).is_empty());
    }
}
