//! Founding, enrolling, and which epoch secrets a device can open.

use lifeos_sync_protocol::ids::HpkePk;
use lifeos_sync_protocol::record::{RemoveReason, Role};

use super::ring::EpochOpener;
use super::seals::{device_ref, open_seal};
use super::*;
use crate::crypto::{HpkeKey, SeededRandom};
use crate::keys::{DeviceRoot, KeyFault, OwnKeys, PhraseLength, RecoveryPhrase, health};

const RANDOM: [u8; 32] = [9; 32];
const MEMBER: MemberId = MemberId([7; 16]);

struct Space {
    founded: Founded,
    keys: DeviceKeys,
    recovery: DeviceKeys,
    random: SeededRandom,
}

fn space() -> Space {
    let mut random = SeededRandom::new(11);
    let keys = DeviceRoot::generate(&mut random).derive_space(&RANDOM);
    let recovery = RecoveryPhrase::generate(PhraseLength::Words12, &mut random).derive_home();
    let founding = Founding {
        genesis_random: RANDOM,
        member: MEMBER,
        keys: &keys,
        recovery: &recovery,
        relays: vec!["wss://relay.example".into()],
    };
    let founded = found_space(&founding, &mut random).unwrap();
    Space { founded, keys, recovery, random }
}

impl Space {
    fn records(&self) -> Vec<Record> {
        vec![self.founded.genesis.clone(), self.founded.epoch.clone()]
    }

    fn membership(&self, records: &[Record]) -> Membership {
        Membership::evaluate(&self.founded.space, records).unwrap()
    }

    fn device(&mut self) -> DeviceKeys {
        DeviceRoot::generate(&mut self.random).derive_space(&RANDOM)
    }

    fn add(&mut self, records: &[Record], new: &DeviceKeys, name: &str) -> Result<Vec<Record>, RecordsError> {
        let membership = self.membership(records);
        let keyring = open_epochs(&membership, records, &self.keys);
        let entry = new.entry(&RANDOM, &MEMBER, DeviceKind::Normal);
        let add = AddDevice {
            membership: &membership,
            records,
            keyring: &keyring,
            keys: &self.keys,
            member: MEMBER,
            entry,
            name,
        };
        add_device(&add, &mut self.random)
    }

    /// A second epoch that wraps the first and is sealed to all readers.
    fn rotate(&mut self, records: &[Record], secret: &EpochSecret, sealed: &EpochSecret) -> Record {
        let membership = self.membership(records);
        let parent = (self.founded.epoch_ref, self.founded.secret.clone());
        let new = NewEpoch { generation: 2, parents: vec![parent], secret };
        let place = (membership.heads.as_slice(), membership.depth + 1);
        let readers = membership.readers();
        let record = epoch_record(&self.keys, &self.founded.space, place, &new, &readers, &mut self.random).unwrap();
        if sealed.commitment() == secret.commitment() {
            return record;
        }
        // The same record, but with another secret inside its seals: what a dishonest member could do.
        let Body::Epoch { generation, parents, commit, wraps, .. } = record.body().clone() else { unreachable!() };
        let author = self.keys.sign_pk();
        let facts = EpochFacts { generation, parents: &parents, commit: &commit, author: &author };
        let seal = |to| seal_epoch(&self.founded.space, &facts, to, sealed, &mut self.random).unwrap();
        let mut seals: Vec<Seal> = readers.iter().map(seal).collect();
        seals.sort_by_key(|seal| seal.device_ref);
        let body = Body::Epoch { generation, parents: parents.clone(), commit, wraps, seals };
        sign(&self.keys, self.founded.space, record.depth(), record.parents(), &body).unwrap()
    }
}

#[test]
fn founder_and_paper_key_open_the_first_epoch_and_nobody_else() {
    let mut space = space();
    let records = space.records();
    let membership = space.membership(&records);
    assert_eq!(membership.void, BTreeMap::new());
    assert_eq!(membership.current_epoch(), Some(space.founded.epoch_ref));
    for keys in [&space.keys, &space.recovery] {
        let keyring = open_epochs(&membership, &records, keys);
        let secret = keyring.find(&space.founded.epoch_ref).unwrap();
        assert_eq!(*secret.to_bytes(), *space.founded.secret.to_bytes());
    }
    let stranger = space.device();
    assert!(open_epochs(&membership, &records, &stranger).is_empty());
}

#[test]
fn the_last_records_of_a_space_are_kept_for_what_keeps_it_safe() {
    let space = space();
    let membership = space.membership(&space.records());
    let (member, device, reason) = (MEMBER, space.keys.sign_pk(), RemoveReason::Lost);
    let entry = space.keys.entry(&RANDOM, &MEMBER, DeviceKind::Normal);
    let add = Body::DeviceAdd { member, device: entry, enc_meta: Vec::new(), grants: Vec::new() };
    let remove = Body::DeviceRemove { device, reason, cuts: Vec::new() };
    let role = |role| Body::RoleSet { member, role, cuts: Vec::new() };
    let room = |held, author: &DeviceKeys, body| has_room(&membership, held, &author.sign_pk(), body);
    let (kept, all) = (SPACE_RECORDS_MAX - SPACE_SAFETY_RECORDS, SPACE_RECORDS_MAX);
    let (admin, owner, editor) = (role(Role::Admin), role(Role::Owner), role(Role::Editor));
    for (author, body) in [(&space.keys, &add), (&space.keys, &admin), (&space.recovery, &owner)] {
        assert_eq!(room(kept - 1, author, body), Ok(()));
        assert_eq!(room(kept, author, body), Err(RecordsError::Full));
    }
    for (author, body) in [(&space.recovery, &add), (&space.keys, &remove), (&space.keys, &editor)] {
        assert_eq!(room(all - 1, author, body), Ok(()));
        assert_eq!(room(all, author, body), Err(RecordsError::Full));
    }
}

#[test]
fn an_added_device_is_enrolled_opens_every_epoch_and_shows_its_name() {
    let mut space = space();
    let mut records = space.records();
    let second = EpochSecret::generate(&mut space.random);
    records.push(space.rotate(&records, &second, &second));
    let new = space.device();
    let added = space.add(&records, &new, "Küche").unwrap();
    assert_eq!(added.len(), 1);
    records.extend(added);
    let membership = space.membership(&records);
    assert_eq!(membership.void, BTreeMap::new());
    assert!(membership.may_write(&new.sign_pk()));
    let keyring = open_epochs(&membership, &records, &new);
    assert_eq!(keyring.len(), 2);
    let Some(Body::DeviceAdd { enc_meta, .. }) = records.last().map(Record::body) else { panic!("a DeviceAdd") };
    let name = |keyring| open_name(&space.founded.space, Named::Device(&new.sign_pk()), enc_meta, keyring);
    assert_eq!(name(&keyring).as_deref(), Some("Küche"));
    assert_eq!(name(&Keyring::default()), None);
    assert!(!enc_meta.windows(4).any(|window| "Küche".as_bytes().starts_with(window)));
    let other = space.recovery.sign_pk();
    assert_eq!(open_name(&space.founded.space, Named::Device(&other), enc_meta, &keyring), None);
}

#[test]
fn the_newest_secret_opens_its_parents() {
    let mut space = space();
    let mut records = space.records();
    let second = EpochSecret::generate(&mut space.random);
    records.push(space.rotate(&records, &second, &second));
    let membership = space.membership(&records);
    assert_eq!(membership.void, BTreeMap::new());
    let mut opener = EpochOpener::new(&membership, &records, OwnKeys::first(&space.keys));
    opener.keyring.insert(epoch_ref(&records[2].id()), second);
    opener.follow_wraps();
    let first = opener.keyring.find(&space.founded.epoch_ref).unwrap();
    assert_eq!(*first.to_bytes(), *space.founded.secret.to_bytes());
}

#[test]
fn a_secret_that_does_not_match_its_commitment_is_not_taken() {
    let mut space = space();
    let mut records = space.records();
    let (announced, sealed) = (EpochSecret::generate(&mut space.random), EpochSecret::generate(&mut space.random));
    records.push(space.rotate(&records, &announced, &sealed));
    let membership = space.membership(&records);
    let opened = unlock_epochs(&membership, &records, OwnKeys::first(&space.keys));
    let broken = epoch_ref(&records[2].id());
    assert!(opened.keyring.find(&broken).is_none());
    assert_eq!(opened.troubles, BTreeMap::from([(broken, KeyTrouble::WrongSecret)]));
    assert!(opened.keyring.find(&space.founded.epoch_ref).is_some());
}

#[test]
fn a_seal_moved_to_another_epoch_or_author_does_not_open() {
    let space = space();
    let records = space.records();
    let Body::Epoch { commit, seals, .. } = records[1].body() else { panic!("an epoch") };
    let own = device_ref(&space.keys.sign_pk());
    let seal = seals.iter().find(|seal| seal.device_ref == own).unwrap();
    let (author, other) = (space.keys.sign_pk(), space.recovery.sign_pk());
    let id = space.founded.space;
    let open = |generation, author, space_id| {
        let facts = EpochFacts { generation, parents: &[], commit, author };
        open_seal(space_id, &facts, &OwnKeys::first(&space.keys), seal).is_ok()
    };
    assert!(open(1, &author, &id));
    assert!(!open(2, &author, &id));
    assert!(!open(1, &other, &id));
    assert!(!open(1, &author, &SpaceId([1; 32])));
}

#[test]
fn a_device_is_added_only_once_with_a_valid_proof_and_a_name() {
    let mut space = space();
    let mut records = space.records();
    let new = space.device();
    assert_eq!(space.add(&records, &new, "").unwrap_err(), RecordsError::Name);
    assert_eq!(space.add(&records, &new, &"n".repeat(128)).unwrap_err(), RecordsError::Name);
    records.extend(space.add(&records, &new, &"n".repeat(127)).unwrap());
    assert_eq!(space.add(&records, &new, "again").unwrap_err(), RecordsError::KeyInUse);

    let membership = space.membership(&records);
    let keyring = open_epochs(&membership, &records, &space.keys);
    let mut entry = space.device().entry(&RANDOM, &MEMBER, DeviceKind::Normal);
    let mut add = |entry: DeviceEntry, member, keyring: &Keyring| {
        let (membership, records, keys) = (&membership, records.as_slice(), &space.keys);
        let add = AddDevice { membership, records, keyring, keys, member, entry, name: "new" };
        add_device(&add, &mut space.random).map(|records| records.len())
    };
    assert_eq!(add(entry.clone(), MEMBER, &keyring), Ok(1));
    assert_eq!(add(entry.clone(), MEMBER, &Keyring::default()), Err(RecordsError::NoEpoch));
    assert_eq!(add(entry.clone(), MemberId([8; 16]), &keyring), Err(RecordsError::Entry));
    entry.hpke_pk = HpkePk::ZERO;
    assert_eq!(add(entry, MEMBER, &keyring), Err(RecordsError::Entry));
}

fn check(membership: &Membership, opened: &OpenedEpochs, keys: &DeviceKeys) -> Result<EpochRef, KeyFault> {
    health(&keys.sign_pk(), OwnKeys::first(keys), membership, &opened.keyring).map(|key| key.epoch())
}

#[test]
fn a_broken_epoch_is_never_sealed_under_and_the_next_one_heals_everybody() {
    let mut space = space();
    let mut records = space.records();
    let (announced, sealed) = (EpochSecret::generate(&mut space.random), EpochSecret::generate(&mut space.random));
    records.push(space.rotate(&records, &announced, &sealed));
    let membership = space.membership(&records);
    let opened = unlock_epochs(&membership, &records, OwnKeys::first(&space.keys));
    assert_eq!(opened.troubles.values().copied().collect::<Vec<_>>(), [KeyTrouble::WrongSecret]);
    assert_eq!(check(&membership, &opened, &space.keys), Err(KeyFault::NoEpochSecret));

    let mut draft = Draft::begin(&membership, &records, &opened, &space.keys);
    let healed = draft.rotate(&mut space.random).unwrap();
    records.extend(draft.finish());
    let membership = space.membership(&records);
    assert_eq!(membership.current_epoch(), Some(healed));
    for keys in [&space.keys, &space.recovery] {
        let opened = unlock_epochs(&membership, &records, OwnKeys::first(keys));
        assert!(opened.keyring.find(&healed).is_some());
        assert!(opened.keyring.find(&space.founded.epoch_ref).is_some(), "history stays readable");
    }
    let opened = unlock_epochs(&membership, &records, OwnKeys::first(&space.keys));
    assert_eq!(check(&membership, &opened, &space.keys), Ok(healed));
}

#[test]
fn a_device_added_while_somebody_rotated_gets_the_new_key_by_a_grant() {
    let mut space = space();
    let records = space.records();
    let new = space.device();
    let added = space.add(&records, &new, "phone").unwrap();
    let membership = space.membership(&records);
    let opened = unlock_epochs(&membership, &records, OwnKeys::first(&space.keys));
    let mut draft = Draft::begin(&membership, &records, &opened, &space.keys);
    let epoch = draft.rotate(&mut space.random).unwrap();
    let rotated = draft.finish();
    let mut all = [records, added, rotated].concat();

    let membership = space.membership(&all);
    assert_eq!(membership.void, BTreeMap::new());
    let lacking = devices_without(&membership, &all, &epoch);
    assert_eq!(lacking, [(new.sign_pk(), new.hpke_pk())]);
    let opened_new = unlock_epochs(&membership, &all, OwnKeys::first(&new));
    assert_eq!(opened_new.troubles, BTreeMap::from([(epoch, KeyTrouble::NotSealed)]));
    assert_eq!(check(&membership, &opened_new, &new), Err(KeyFault::NoEpochSecret));

    let opened = unlock_epochs(&membership, &all, OwnKeys::first(&space.keys));
    let mut draft = Draft::begin(&membership, &all, &opened, &space.keys);
    draft.grant_lacking(&mut space.random).unwrap();
    let granted = draft.finish();
    assert_eq!(granted.len(), 1);
    all.extend(granted);
    let membership = space.membership(&all);
    assert!(devices_without(&membership, &all, &epoch).is_empty());
    let opened_new = unlock_epochs(&membership, &all, OwnKeys::first(&new));
    assert_eq!(check(&membership, &opened_new, &new), Ok(epoch));
}

#[test]
fn a_record_that_would_have_no_effect_is_not_written() {
    let mut space = space();
    let records = space.records();
    let membership = space.membership(&records);
    let stranger = space.device();
    let opened = unlock_epochs(&membership, &records, OwnKeys::first(&space.keys));
    let mut draft = Draft::begin(&membership, &records, &opened, &stranger);
    let refused = draft.refresh_hpke(stranger.hpke_pk()).unwrap_err();
    assert_eq!(refused, RecordsError::Void(VoidReason::NotEnrolled));
    assert!(draft.finish().is_empty());
}

/// `cargo test -p lifeos-client-core --lib -- --ignored --nocapture prints_what_a_rotation`
#[test]
#[ignore = "prints figures"]
fn prints_what_a_rotation_for_200_devices_costs() {
    let mut space = space();
    let mut records = space.records();
    for _ in 0..199 {
        let new = space.device();
        records.extend(space.add(&records, &new, "device").unwrap());
    }
    let membership = space.membership(&records);
    let opened = unlock_epochs(&membership, &records, OwnKeys::first(&space.keys));
    let mut draft = Draft::begin(&membership, &records, &opened, &space.keys);
    let started = std::time::Instant::now();
    draft.rotate(&mut space.random).unwrap();
    let took = started.elapsed();
    let made = draft.finish();
    println!("{} readers: {took:?}, {} bytes of record", membership.readers().len(), made[0].bytes().len());
}

/// What is taken back when `refused` was refused, with the untaken ones of the last `untaken` records.
fn back(space: &Space, records: &[Record], untaken: usize, refused: &[&Record]) -> TakenBack {
    let membership = space.membership(records);
    let opened = unlock_epochs(&membership, records, OwnKeys::first(&space.keys));
    let untaken = records[records.len() - untaken..].iter().map(Record::id).collect();
    let refused: Vec<RecordId> = refused.iter().map(|record| record.id()).collect();
    take_back(&space.founded.space, records, (&space.keys, &opened), &untaken, &refused).unwrap()
}

#[test]
fn a_removal_behind_a_refused_record_is_written_again_and_what_a_relay_holds_stays() {
    let mut space = space();
    let gone = space.device();
    let mut records = space.records();
    records.extend(space.add(&records.clone(), &gone, "tablet").unwrap());
    let write = |space: &Space, records: &mut Vec<Record>, body: &Body| {
        let membership = space.membership(records);
        records.push(next_record(&space.keys, &membership, records, body).unwrap());
    };
    let refresh = |byte: u8| Body::HpkeRefresh { hpke_pk: HpkeKey::derive(&[byte; 32]).public() };
    write(&space, &mut records, &refresh(1));
    write(
        &space,
        &mut records,
        &Body::DeviceRemove { device: gone.sign_pk(), reason: RemoveReason::Lost, cuts: vec![] },
    );
    write(&space, &mut records, &refresh(2));
    let [.., first, removal, last] = &records[..] else { unreachable!() };

    let taken_back = back(&space, &records, 3, &[first, removal, last]);
    assert_eq!(taken_back.gone, [first, removal, last].map(Record::id).into());
    let mut after: Vec<Record> = records[..records.len() - 3].to_vec();
    assert!(space.membership(&after).devices[&gone.sign_pk()].removed_by.is_none());
    assert_eq!(taken_back.instead.len(), 1);
    after.extend(taken_back.instead);
    assert!(space.membership(&after).devices[&gone.sign_pk()].removed_by.is_some(), "it was removed all along");

    // A relay that held a record, and one that is built upon, keep their own: what it says later changes nothing.
    assert!(back(&space, &records, 0, &[first, removal, last]).gone.is_empty());
    assert_eq!(back(&space, &records, 1, &[first, removal, last]).gone, [last.id()].into());
    // A removal that was refused itself stands, whatever that costs.
    assert!(back(&space, &records, 2, &[removal]).gone.is_empty());
}
