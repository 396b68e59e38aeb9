//! How long the rules take for as many records as a large, old space has. Prints; asserts what must be there.

use std::time::Instant;

use super::{Ledger, Membership, MembershipError, epoch_ref_of};
use crate::ids::{EpochRef, HpkePk, MemberId, RecordId, SignPk, Signature, SpaceId};
use crate::limits::SPACE_RECORDS_MAX;
use crate::record::{Body, DeviceEntry, DeviceKind, Record, RemoveReason, Role, Seal, Wrap};

const RANDOM: [u8; 32] = [7; 32];
const RECORDS: u64 = 10_000;
const MEMBERS: u64 = 60;

fn bytes<const N: usize>(number: u64) -> [u8; N] {
    let mut bytes = [0; N];
    // Mixed, so that ids are in no order.
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes
}

fn entry(number: u64, kind: DeviceKind) -> DeviceEntry {
    let (sign_pk, hpke_pk) = (SignPk(bytes(number)), HpkePk(bytes(number)));
    DeviceEntry { sign_pk, hpke_pk, kind, proof: Signature([0; 64]) }
}

/// A space that lives for years: about 200 devices at any time, a rotation after every removal and now and then,
/// keys refreshed, checkpoints endorsed; one record in ten beside others.
struct Life {
    records: Vec<Record>,
    /// The newest record, and one beside it.
    tips: Vec<usize>,
    devices: Vec<(u64, MemberId)>,
    readers: Vec<u64>,
    epoch: Option<(EpochRef, u32)>,
    number: u64,
    checkpoint: Option<RecordId>,
}

impl Life {
    fn new() -> Self {
        let (device, recovery) = (entry(1, DeviceKind::Normal), entry(2, DeviceKind::Recovery));
        let member = MemberId(bytes(1));
        let body = Body::Genesis { random: RANDOM, member, device, recovery, relays: vec![] };
        let id = RecordId(bytes(1));
        let genesis = Record::stub(id, SpaceId(id.0), SignPk(bytes(1)), 0, vec![], body, RANDOM);
        Self {
            records: vec![genesis],
            tips: vec![0],
            devices: vec![],
            readers: vec![1, 2],
            epoch: None,
            number: 10,
            checkpoint: None,
        }
    }

    fn fresh(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn follow(&mut self, author: u64, parents: &[usize], body: Body) -> usize {
        let space = self.records[0].space();
        let depth = 1 + parents.iter().map(|at| self.records[*at].depth()).max().unwrap();
        let ids = parents.iter().map(|at| self.records[*at].id()).collect();
        let id = RecordId(bytes(self.fresh()));
        self.records.push(Record::stub(id, space, SignPk(bytes(author)), depth, ids, body, RANDOM));
        self.records.len() - 1
    }

    /// On top of everything.
    fn write(&mut self, author: u64, body: Body) {
        let parents = std::mem::take(&mut self.tips);
        let at = self.follow(author, &parents, body);
        self.tips = vec![at];
    }

    /// Two records beside each other.
    fn write_beside(&mut self, one: (u64, Body), two: (u64, Body)) {
        let parents = std::mem::take(&mut self.tips);
        let first = self.follow(one.0, &parents, one.1);
        let second = self.follow(two.0, &parents, two.1);
        self.tips = vec![first, second];
    }

    fn rotate(&mut self) {
        let (parents, generation) = self.epoch.map_or((vec![], 1), |(head, last)| (vec![head], last + 1));
        let wraps = parents.iter().map(|parent| Wrap { parent: *parent, ct: [0; 48] }).collect();
        let seal = |device: &u64| Seal { device_ref: bytes(*device), enc: [0; 32], ct: [0; 48] };
        let seals = self.readers.iter().map(seal).collect();
        self.write(1, Body::Epoch { generation, parents, commit: [0; 32], wraps, seals });
        self.epoch = Some((epoch_ref_of(&self.records[self.tips[0]].id()), generation));
    }

    fn add_device(&mut self, author: u64, member: MemberId) -> (u64, Body) {
        let number = self.fresh();
        self.devices.push((number, member));
        self.readers.push(number);
        let device = entry(number, DeviceKind::Normal);
        (author, Body::DeviceAdd { member, device, enc_meta: vec![], grants: vec![] })
    }

    fn people(&mut self) {
        for number in 0..MEMBERS {
            let (key, member) = (self.fresh(), MemberId(bytes(1000 + number)));
            let role = if number < 5 { Role::Admin } else { Role::Editor };
            let devices = vec![entry(key, DeviceKind::Normal)];
            self.readers.push(key);
            self.devices.push((key, member));
            self.write(1, Body::MemberAdd { member, role, enc_meta: vec![], devices });
            for _ in 0..2 {
                let (author, body) = self.add_device(key, member);
                self.write(author, body);
            }
        }
        self.rotate();
    }

    fn a_while(&mut self, turn: u64) {
        let pick = |life: &Self, salt: u64| life.devices[(turn * 7 + salt) as usize % life.devices.len()];
        match turn % 20 {
            0 => {
                // A device is replaced, at times beside somebody who does the same.
                let (old, member) = self.devices.remove((turn * 13) as usize % self.devices.len());
                self.readers.retain(|device| *device != old);
                let remove =
                    Body::DeviceRemove { device: SignPk(bytes(old)), reason: RemoveReason::Replaced, cuts: vec![] };
                let add = self.add_device(1, member);
                if turn.is_multiple_of(100) {
                    self.write_beside((1, remove), add)
                } else {
                    self.write(1, remove);
                    self.write(add.0, add.1);
                }
                self.rotate();
            }
            1 => {
                let body = Body::Checkpoint {
                    previous: vec![],
                    cut: vec![],
                    chunks: vec![],
                    blobs: vec![],
                    enc_manifest: vec![],
                };
                self.write(1, body);
                self.checkpoint = Some(self.records[self.tips[0]].id());
            }
            2..=5 => {
                let (device, _) = pick(self, 1);
                if let Some(checkpoint) = self.checkpoint {
                    self.write(device, Body::Endorse { checkpoint });
                }
            }
            6 | 7 => {
                let ((one, _), (two, _)) = (pick(self, 2), pick(self, 9));
                let fresh = [self.fresh(), self.fresh()].map(|n| Body::HpkeRefresh { hpke_pk: HpkePk(bytes(n)) });
                let [first, second] = fresh;
                self.write_beside((one, first), (two, second));
            }
            8 => self.write(1, Body::Policy { rotation_days: 30, grace_days: 7, endorse_k: 1, relays: vec![] }),
            9 => {
                let (device, _) = pick(self, 4);
                if let Some((epoch, _)) = self.epoch {
                    let seal = Seal { device_ref: bytes(device), enc: [0; 32], ct: [0; 48] };
                    self.write(1, Body::KeyGrant { epoch, seals: vec![seal] });
                }
            }
            _ => {
                let (device, _) = pick(self, 3);
                let hpke_pk = HpkePk(bytes(self.fresh()));
                self.write(device, Body::HpkeRefresh { hpke_pk });
            }
        }
    }
}

#[test]
fn ten_thousand_records_of_two_hundred_devices_are_evaluated() {
    let mut life = Life::new();
    life.people();
    let mut turn = 0;
    while (life.records.len() as u64) < RECORDS {
        life.a_while(turn);
        turn += 1;
    }
    let records = &life.records;
    let start = Instant::now();
    let state = Membership::evaluate(&records[0].space(), records).unwrap();
    let whole_ms = start.elapsed().as_millis();
    let start = Instant::now();
    let mut ledger = Ledger::new(&records[0]).unwrap();
    records[1..].iter().for_each(|record| assert_eq!(ledger.insert(record).unwrap(), Ok(())));
    let inserted_ms = start.elapsed().as_millis();
    let start = Instant::now();
    let last = ledger.membership();
    let state_ms = start.elapsed().as_millis();
    assert!(last == state && state.void.is_empty(), "void: {:?}", state.void.len());
    assert!(state.readers().len() >= 180, "{}", state.readers().len());
    println!(
        "{} records, {} readers, {} epochs: evaluate {whole_ms} ms; ledger {inserted_ms} ms for all, then state {state_ms} ms",
        records.len(),
        state.readers().len(),
        state.epochs.len(),
    );
}

#[test]
fn ten_thousand_removals_side_by_side_by_one_member_are_evaluated() {
    let mut life = Life::new();
    let devices: Vec<u64> = (0..200)
        .map(|_| {
            let (author, body) = life.add_device(1, MemberId(bytes(1)));
            life.write(author, body);
            life.number
        })
        .collect();
    let base = life.tips.clone();
    // Every device removes every other one, nobody having seen anything of it.
    'spam: for author in &devices {
        for device in &devices {
            let device = SignPk(bytes(*device));
            life.follow(*author, &base, Body::DeviceRemove { device, reason: RemoveReason::Lost, cuts: vec![] });
            if life.records.len() as u64 >= RECORDS {
                break 'spam;
            }
        }
    }
    let start = Instant::now();
    let state = Membership::evaluate(&life.records[0].space(), &life.records).unwrap();
    println!("{} records, all in conflict: evaluate {} ms", life.records.len(), start.elapsed().as_millis());
    assert!(state.readers().len() >= 2);
    assert!(!state.void.is_empty());
}

#[test]
fn of_two_epochs_with_one_short_name_the_larger_record_is_void() {
    let life = Life::new();
    let seals: Vec<Seal> =
        life.readers.iter().map(|d| Seal { device_ref: bytes(*d), enc: [0; 32], ct: [0; 48] }).collect();
    let epoch = |commit| Body::Epoch { generation: 1, parents: vec![], commit, wraps: vec![], seals: seals.clone() };
    let genesis = life.records[0].clone();
    let beside = |last: u8| {
        let mut id = [9; 32];
        id[31] = last;
        let (id, parents) = (RecordId(id), vec![genesis.id()]);
        Record::stub(id, genesis.space(), genesis.author(), 1, parents, epoch([last; 32]), RANDOM)
    };
    let (small, large) = (beside(1), beside(2));
    let state = Membership::evaluate(&genesis.space(), [&large, &genesis, &small]).unwrap();
    assert_eq!(state.epochs[&epoch_ref_of(&small.id())].record, small.id());
    assert_eq!(state.void[&large.id()], super::VoidReason::Conflict);
    // One that has seen the other is void at once, although there is nothing else that is wrong with it.
    let mut id = [9; 32];
    id[31] = 0;
    let (parents, ct) = (vec![epoch_ref_of(&small.id())], [0; 48]);
    let wraps = vec![Wrap { parent: parents[0], ct }];
    let body = Body::Epoch { generation: 2, parents, commit: [0; 32], wraps, seals: seals.clone() };
    let later = Record::stub(RecordId(id), genesis.space(), genesis.author(), 2, vec![small.id()], body, RANDOM);
    let state = Membership::evaluate(&genesis.space(), [&genesis, &small, &later]).unwrap();
    assert_eq!(state.epochs[&epoch_ref_of(&small.id())].record, small.id());
    assert_eq!(state.void[&later.id()], super::VoidReason::Conflict);
}

/// Records of a later version upon that parent: they are kept, and say nothing.
fn of_later(genesis: &Record, parent: RecordId, count: usize) -> Vec<Record> {
    let body = || Body::Unknown { kind: 0x70, body: Vec::new() };
    let later = |number| {
        let id = RecordId(bytes(100 + number as u64));
        Record::stub(id, genesis.space(), genesis.author(), 1, vec![parent], body(), RANDOM)
    };
    (0..count).map(later).collect()
}

#[test]
fn more_records_than_one_space_may_have_give_no_membership() {
    let genesis = Life::new().records.remove(0);
    let records = of_later(&genesis, genesis.id(), SPACE_RECORDS_MAX);
    let (last, most) = records.split_last().unwrap();
    let mut ledger = Ledger::new(&genesis).unwrap();
    most.iter().for_each(|record| assert_eq!(ledger.insert(record), Ok(Err(super::VoidReason::UnknownType))));
    assert_eq!(ledger.insert(last), Err(MembershipError::TooManyRecords));
    assert_eq!(ledger.insert(&most[0]), Ok(Err(super::VoidReason::UnknownType)), "it is here already");
    // Nor may those be more that have no place among the others: they are held all the same.
    let orphans = of_later(&genesis, RecordId([7; 32]), SPACE_RECORDS_MAX);
    let evaluate = |count| Membership::evaluate(&genesis.space(), orphans[..count].iter().chain([&genesis]));
    assert_eq!(evaluate(SPACE_RECORDS_MAX).err(), Some(MembershipError::TooManyRecords));
    assert_eq!(evaluate(SPACE_RECORDS_MAX - 1).unwrap().void.len(), SPACE_RECORDS_MAX - 1);
}
