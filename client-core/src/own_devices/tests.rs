//! Claims and what follows from them, without a relay: who may tie what to whom.

use lifeos_sync_protocol::record::{Body, RemoveReason};
use proptest::prelude::*;

use super::*;
use crate::crypto::SeededRandom;
use crate::keys::{DeviceRoot, OwnKeys};
use crate::records::{AddDevice, Draft, Founding, add_device, found_space, unlock_epochs};

const AT_HOME: [u8; 32] = [0x11; 32];
const THERE: [u8; 32] = [0x22; 32];
const ANA: MemberId = MemberId([0xa1; 16]);
const ANA_THERE: MemberId = MemberId([0xa2; 16]);
const EVE: MemberId = MemberId([0xe1; 16]);

fn root(device: u8) -> DeviceRoot {
    DeviceRoot::from_bytes([device; 32])
}

fn home_keys(device: u8) -> DeviceKeys {
    root(device).derive_space(&AT_HOME)
}

fn keys_there(device: u8) -> DeviceKeys {
    root(device).derive_space(&THERE)
}

/// A space as its founding device, 1, writes it.
struct Space {
    records: Vec<Record>,
    membership: Membership,
    member: MemberId,
    keys: DeviceKeys,
    random: SeededRandom,
}

impl Space {
    fn found(genesis_random: [u8; 32], member: MemberId) -> Self {
        let mut random = SeededRandom::new(u64::from(genesis_random[0]));
        let keys = root(1).derive_space(&genesis_random);
        let recovery = root(99).derive_space(&genesis_random);
        let founding = Founding { genesis_random, member, keys: &keys, recovery: &recovery, relays: Vec::new() };
        let founded = found_space(&founding, &mut random).unwrap();
        let records = vec![founded.genesis, founded.epoch];
        let membership = Membership::evaluate(&founded.space, &records).unwrap();
        Self { records, membership, member, keys, random }
    }

    fn add(&mut self, entry: DeviceEntry) {
        let opened = unlock_epochs(&self.membership, &self.records, OwnKeys::first(&self.keys));
        let add = AddDevice {
            membership: &self.membership,
            records: &self.records,
            keyring: &opened.keyring,
            keys: &self.keys,
            member: self.member,
            entry,
            name: "device",
        };
        self.records.extend(add_device(&add, &mut self.random).unwrap());
        self.evaluate();
    }

    fn link(&mut self, device: u8) {
        let random = self.membership.genesis_random;
        let entry = root(device).derive_space(&random).entry(&random, &self.member, DeviceKind::Normal);
        self.add(entry);
    }

    fn remove(&mut self, device: SignPk) -> RecordId {
        let opened = unlock_epochs(&self.membership, &self.records, OwnKeys::first(&self.keys));
        let mut draft = Draft::begin(&self.membership, &self.records, &opened, &self.keys);
        let id = draft.remove_device(device, RemoveReason::Lost, Vec::new()).unwrap();
        self.records.extend(draft.finish());
        self.evaluate();
        id
    }

    fn evaluate(&mut self) {
        self.membership = Membership::evaluate(&self.membership.space, &self.records).unwrap();
        assert!(self.membership.void.is_empty());
    }
}

/// Ana's home with devices 1, 2 and 3, and another space of hers that only 1 is in.
fn ana() -> (Space, Space) {
    let (mut home, space) = (Space::found(AT_HOME, ANA), Space::found(THERE, ANA_THERE));
    home.link(2);
    home.link(3);
    (home, space)
}

fn place(space: &Space) -> Place {
    Place { space: space.membership.space, genesis_random: THERE, member: ANA_THERE }
}

fn claimed(space: &Space, device: u8) -> (SignPk, Vec<u8>) {
    (home_keys(device).sign_pk(), claim(&home_keys(device), &keys_there(device), &place(space)))
}

fn standing<'a>(home: &'a Space, space: &'a Space, claims: &'a [(SignPk, Vec<u8>)]) -> Standing<'a> {
    seen_as(ANA, ANA_THERE, home, space, claims)
}

fn seen_as<'a>(
    at_home: MemberId,
    there: MemberId,
    home: &'a Space,
    space: &'a Space,
    claims: &'a [(SignPk, Vec<u8>)],
) -> Standing<'a> {
    let seat = |space: &'a Space, member| Seat { membership: &space.membership, member };
    Standing::new(seat(home, at_home), seat(space, there), claims)
}

fn added(home: &Space, space: &Space, claims: &[(SignPk, Vec<u8>)]) -> Vec<SignPk> {
    standing(home, space, claims).devices_to_add().into_iter().map(|claim| claim.entry.sign_pk).collect()
}

#[test]
fn a_device_that_claims_its_key_is_let_in_once() {
    let (home, mut space) = ana();
    let claims = [claimed(&space, 1), claimed(&space, 2), claimed(&space, 2)];
    assert_eq!(added(&home, &space, &claims), [keys_there(2).sign_pk()], "the first is there, the third not asked for");
    let found = standing(&home, &space, &claims).devices_to_add();
    space.add(found[0].entry.clone());
    assert_eq!(space.membership.role_of(&keys_there(2).sign_pk()), space.membership.role_of(&keys_there(1).sign_pk()));
    assert_eq!(added(&home, &space, &claims), []);
}

#[test]
fn nobody_claims_the_key_of_another_device() {
    let (home, mut space) = ana();
    let place = place(&space);
    let good = claimed(&space, 2).1;
    let check = |home: u8, bytes: &[u8]| {
        check_claim(&place.space, &THERE, &home_keys(home).sign_pk(), bytes).map(|claim| claim.entry.sign_pk)
    };
    assert_eq!(check(2, &good), Ok(keys_there(2).sign_pk()));
    // Device 3 says that 2's key is its own: it has everything but the signature of that key.
    let entry = keys_there(2).entry(&THERE, &ANA_THERE, DeviceKind::Normal);
    let mut stolen = good.clone();
    stolen[144..208]
        .copy_from_slice(&home_keys(3).sign(&home_message(&place.space, &entry.sign_pk, &entry.hpke_pk, &ANA_THERE)).0);
    assert_eq!(check(3, &stolen), Err(ClaimError::Space));
    // Device 3 says that its key is 2's: it has everything but the signature of 2 at home.
    let own = claim(&home_keys(3), &keys_there(3), &place);
    let mut given = own.clone();
    given[208..].copy_from_slice(&keys_there(3).sign(&space_message(&place.space, &home_keys(2).sign_pk())).0);
    assert_eq!(check(2, &given), Err(ClaimError::Home));
    // So that neither 3's removal removes 2 there, nor 2's removal 3.
    space.link(2);
    space.link(3);
    for (gone, lie) in [(3, (home_keys(3).sign_pk(), stolen)), (2, (home_keys(2).sign_pk(), given))] {
        let mut home = Space::found(AT_HOME, ANA);
        home.link(2);
        home.link(3);
        home.remove(home_keys(gone).sign_pk());
        assert_eq!(standing(&home, &space, &[lie]).devices_to_remove(), []);
    }
    assert_eq!(added(&home, &space, &[]), []);
}

#[test]
fn every_changed_byte_of_a_claim_spoils_it() {
    let (_, space) = ana();
    let (home, good) = claimed(&space, 2);
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        assert!(check_claim(&space.membership.space, &THERE, &home, &changed).is_err(), "byte {at}");
        let cut = check_claim(&space.membership.space, &THERE, &home, &good[..at]);
        assert_eq!(cut, Err(ClaimError::Length));
    }
    let longer = [&good[..], &[0]].concat();
    assert_eq!(check_claim(&space.membership.space, &THERE, &home, &longer), Err(ClaimError::Length));
    assert!(check_claim(&SpaceId([1; 32]), &THERE, &home, &good).is_err(), "another space");
    assert_eq!(check_claim(&space.membership.space, &AT_HOME, &home, &good), Err(ClaimError::Proof));
}

#[test]
fn only_the_persons_devices_in_force_at_home_are_let_in() {
    let (mut home, space) = ana();
    let removed = claimed(&space, 2);
    home.remove(home_keys(2).sign_pk());
    let stranger = claimed(&space, 8);
    let paper = (home_keys(99).sign_pk(), claim(&home_keys(99), &keys_there(9), &place(&space)));
    let as_eve = Place { member: EVE, ..place(&space) };
    let elsewhere = (home_keys(3).sign_pk(), claim(&home_keys(3), &keys_there(3), &as_eve));
    let garbage = (home_keys(3).sign_pk(), vec![7; CLAIM_BYTES]);
    let huge = (home_keys(3).sign_pk(), vec![7; 1 << 20]);
    assert_eq!(added(&home, &space, &[removed, stranger, paper, elsewhere, garbage, huge]), []);
    assert_eq!(added(&home, &space, &[claimed(&space, 3)]), [keys_there(3).sign_pk()]);
}

#[test]
fn a_key_that_is_another_members_in_the_space_is_not_let_in() {
    let (home, mut space) = ana();
    let claims = [claimed(&space, 2)];
    assert_eq!(added(&home, &space, &claims), [keys_there(2).sign_pk()]);
    let enrolled = Device::enrolled(EVE, keys_there(2).hpke_pk(), DeviceKind::Normal, space.records[0].id());
    space.membership.devices.insert(keys_there(2).sign_pk(), enrolled);
    assert_eq!(added(&home, &space, &claims), []);
}

#[test]
fn a_device_that_was_removed_from_a_space_is_not_let_in_again_under_any_key() {
    let (home, mut space) = ana();
    space.link(2);
    space.remove(keys_there(2).sign_pk());
    let first = claimed(&space, 2);
    assert_eq!(added(&home, &space, std::slice::from_ref(&first)), []);
    // A device that makes itself another key, and claims that.
    let second = (first.0, claim(&home_keys(2), &keys_there(42), &place(&space)));
    assert_eq!(
        added(&home, &space, std::slice::from_ref(&second)),
        [keys_there(42).sign_pk()],
        "nothing is known of it"
    );
    assert_eq!(added(&home, &space, &[second, first]), [], "it is known that it was there");
}

#[test]
fn who_was_removed_at_home_goes_wherever_a_claim_ties_a_key_to_it() {
    let (mut home, mut space) = ana();
    space.link(2);
    space.link(3);
    let claims = [claimed(&space, 1), claimed(&space, 2), claimed(&space, 3), (home_keys(2).sign_pk(), vec![0; 9])];
    assert_eq!(standing(&home, &space, &claims).devices_to_remove(), []);
    let removed_by = home.remove(home_keys(2).sign_pk());
    let gone = Gone { key: keys_there(2).sign_pk(), home: home_keys(2).sign_pk(), removed_by };
    assert_eq!(standing(&home, &space, &claims).devices_to_remove(), [gone]);
    let kept = standing(&home, &space, &claims).claims_to_keep();
    assert_eq!(kept.len(), 3, "the garbage is not");
    space.remove(gone.key);
    assert_eq!(standing(&home, &space, &claims).devices_to_remove(), []);
    assert_eq!(standing(&home, &space, &kept).ties().len(), 3, "who it was is known afterwards, too");
}

#[test]
fn of_two_claims_that_were_written_at_once_each_counts_for_what_it_ties() {
    let (mut home, mut space) = ana();
    space.link(2);
    let second = keys_there(42);
    space.add(second.entry(&THERE, &ANA_THERE, DeviceKind::Normal));
    let claims = [claimed(&space, 2), (home_keys(2).sign_pk(), claim(&home_keys(2), &second, &place(&space)))];
    home.remove(home_keys(2).sign_pk());
    let mut gone: Vec<_> =
        standing(&home, &space, &claims).devices_to_remove().into_iter().map(|gone| gone.key).collect();
    gone.sort_unstable();
    let mut wanted = [keys_there(2).sign_pk(), second.sign_pk()];
    wanted.sort_unstable();
    assert_eq!(gone, wanted);
}

#[test]
fn a_claim_removes_no_device_of_another_member() {
    let (mut home, mut space) = ana();
    space.link(2);
    let claims = [claimed(&space, 2)];
    home.remove(home_keys(2).sign_pk());
    let eyes = seen_as(ANA, EVE, &home, &space, &claims);
    assert_eq!(eyes.devices_to_remove(), [], "Eve's device removes its own alone");
    let not_home = seen_as(EVE, ANA_THERE, &home, &space, &claims);
    assert_eq!(not_home.devices_to_remove(), [], "another's device at home says nothing");
    assert_eq!(standing(&home, &space, &claims).devices_to_remove().len(), 1);
}

#[test]
fn nobody_is_let_into_a_closed_space() {
    let (home, mut space) = ana();
    let claims = [claimed(&space, 2)];
    let opened = unlock_epochs(&space.membership, &space.records, OwnKeys::first(&space.keys));
    let mut draft = Draft::begin(&space.membership, &space.records, &opened, &space.keys);
    draft.close(None).unwrap();
    space.records.extend(draft.finish());
    space.evaluate();
    assert!(matches!(space.records.last().unwrap().body(), Body::Close { .. }));
    assert_eq!(added(&home, &space, &claims), []);
}

proptest! {
    #[test]
    fn no_bytes_make_a_check_panic_or_pass(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let home = home_keys(2).sign_pk();
        prop_assert!(check_claim(&SpaceId([1; 32]), &THERE, &home, &bytes).is_err());
    }
}

#[test]
fn a_removal_that_an_elder_may_undo_is_left_to_its_author() {
    let (mut home, _) = ana();
    let [elder, younger, third] = [1, 2, 3].map(|device| home_keys(device).sign_pk());
    let carried = |home: &Space, gone: SignPk, removed_by, own: &SignPk| {
        may_carry(&home.membership, &home.records, &Gone { key: gone, home: gone, removed_by }, own)
    };
    let of_elder = home.remove(third);
    assert!(carried(&home, third, of_elder, &younger), "nobody can undo it any more");

    let (mut home, _) = ana();
    home.keys = home_keys(3);
    let of_younger = home.remove(younger);
    assert!(!carried(&home, younger, of_younger, &elder), "an elder's removal of its author may come yet");
    assert!(carried(&home, younger, of_younger, &third), "its author has decided");
    assert!(!carried(&home, younger, RecordId([9; 32]), &elder));

    let (mut home, _) = ana();
    home.keys = root(99).derive_space(&AT_HOME);
    let by_words = home.remove(elder);
    assert!(carried(&home, elder, by_words, &third));
}
