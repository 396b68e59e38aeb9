//! What keys cost a large space: an epoch for 200 devices, and the rules over 10,000 signed records.

use lifeos_client_core::crypto::{SeededRandom, hpke_seal, random_bytes};
use lifeos_client_core::keys::{DeviceKeys, DeviceRoot, OwnKeys, PhraseLength, RecoveryPhrase};
use lifeos_client_core::protocol::hash::ctx;
use lifeos_client_core::protocol::ids::{HpkePk, MemberId, SpaceId};
use lifeos_client_core::protocol::membership::Membership;
use lifeos_client_core::protocol::record::{Body, DeviceKind, Record, Unsigned};
use lifeos_client_core::records::{AddDevice, Draft, Founding, add_device, found_space, unlock_epochs};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::measure;
use crate::report::Figure;

const DEVICES: usize = 200;
const RECORDS: usize = 10_000;
const ROTATION_MS_MAX: f64 = 200.0;
const EVALUATION_MS_MAX: f64 = 1_000.0;
/// What a seal binds besides its context: space, author, generation, parents, commitment, recipient.
const SEAL_AAD_BYTES: usize = 32 + 32 + 4 + 4 + 16 + 32 + 32;

/// A space of one person with many devices.
struct Large {
    space: SpaceId,
    records: Vec<Record>,
    devices: Vec<DeviceKeys>,
    random: SeededRandom,
}

impl Large {
    fn new() -> Self {
        let mut random = SeededRandom::new(11);
        let genesis_random = random_bytes::<32>(&mut random);
        let member = MemberId(random_bytes(&mut random));
        let devices: Vec<_> =
            (0..DEVICES).map(|_| DeviceRoot::generate(&mut random).derive_space(&genesis_random)).collect();
        let recovery = RecoveryPhrase::generate(PhraseLength::Words12, &mut random).derive_home();
        let keys = &devices[0];
        let founding = Founding { genesis_random, member, keys, recovery: &recovery, relays: Vec::new() };
        let founded = found_space(&founding, &mut random).expect("a space");
        let mut records = vec![founded.genesis, founded.epoch];
        for device in &devices[1..] {
            let membership = Membership::evaluate(&founded.space, &records).expect("members");
            let opened = unlock_epochs(&membership, &records, OwnKeys::first(keys));
            let entry = device.entry(&genesis_random, &member, DeviceKind::Normal);
            let (membership, keyring) = (&membership, &opened.keyring);
            let add = AddDevice { membership, records: &records, keyring, keys, member, entry, name: "device" };
            let added = add_device(&add, &mut random).expect("a device");
            records.extend(added);
        }
        Self { space: founded.space, records, devices, random }
    }

    fn membership(&self) -> Membership {
        Membership::evaluate(&self.space, &self.records).expect("members")
    }

    /// Every device makes new HPKE keys, one after the other, until there are so many records.
    fn fill(&mut self) {
        while self.records.len() < RECORDS {
            let device = &self.devices[self.records.len() % DEVICES];
            let mut hpke_pk = random_bytes::<32>(&mut self.random);
            hpke_pk[31] &= 0x3f;
            let body = Body::HpkeRefresh { hpke_pk: HpkePk(hpke_pk) };
            let last = &self.records[self.records.len() - 1];
            let unsigned =
                Unsigned::new(self.space, device.sign_pk(), last.depth() + 1, &[last.id()], &body).expect("a record");
            let signature = device.sign(&unsigned.message());
            self.records.push(unsigned.sign_with(&signature).expect("a record"));
        }
    }
}

/// A new epoch for 200 devices beside as many raw HPKE seals; 10,000 records read and evaluated beside as many raw
/// signature checks.
pub(super) fn keys(short: bool) -> Vec<Figure> {
    let mut space = Large::new();
    let rotations = rotate(&mut space, if short { 3 } else { 20 });
    space.fill();
    let evaluation = evaluate(&space, if short { 1 } else { 5 });
    vec![rotations, evaluation]
}

/// CPU milliseconds of this process, which does nothing beside the work.
fn cpu_ms<T>(work: impl FnOnce() -> T) -> f64 {
    let before = measure::cpu_ns(std::process::id());
    drop(work());
    // The counter of a running thread is brought up to date when it leaves its processor.
    std::thread::yield_now();
    measure::cpu_ns(std::process::id()).saturating_sub(before) as f64 / 1e6
}

fn rotate(space: &mut Large, n: usize) -> Figure {
    let (membership, keys) = (space.membership(), &space.devices[0]);
    let opened = unlock_epochs(&membership, &space.records, OwnKeys::first(keys));
    let readers = membership.readers();
    let (mut made, mut raw, mut wall, mut bytes) = (0.0, 0.0, Vec::new(), 0);
    for _ in 0..n {
        let random = &mut space.random;
        made += cpu_ms(|| {
            let (records, wall_us) = measure::time_us(|| {
                let mut draft = Draft::begin(&membership, &space.records, &opened, keys);
                draft.rotate(random).expect("an epoch");
                draft.finish()
            });
            wall.push(wall_us / 1e3);
            bytes = records[0].bytes().len();
        });
        raw += cpu_ms(|| {
            for (_, hpke_pk) in &readers {
                let aad = [1; SEAL_AAD_BYTES];
                hpke_seal(hpke_pk, None, &ctx("epoch-seal"), &aad, &[2; 32], random).expect("a seal");
            }
        });
    }
    let rotation_ms = made / n as f64;
    Figure {
        name: "keys",
        what: format!("an epoch for {DEVICES} devices and the recovery key, CPU"),
        n,
        value: ("rotation_cpu_ms", rotation_ms),
        yardstick: Some((format!("{} raw HPKE seals", readers.len()), raw / n as f64)),
        target: "< 200 ms",
        met: rotation_ms < ROTATION_MS_MAX,
        extra: vec![("wall_ms", measure::median(&mut wall)), ("record_bytes", bytes as f64)],
    }
}

fn evaluate(space: &Large, n: usize) -> Figure {
    let bytes: Vec<Vec<u8>> = space.records.iter().map(|record| record.bytes().to_vec()).collect();
    let pair = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).expect("a key");
    let message = [4; 44];
    let signature = pair.sign(&message);
    let (mut evaluated, mut read, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..n {
        // Read anew every time: what was proven once is remembered in a record.
        let (records, read_us) = measure::time_us(|| {
            let parse = |bytes: &Vec<u8>| Record::parse(bytes.clone()).expect("a record");
            bytes.iter().map(parse).collect::<Vec<_>>()
        });
        let (membership, us) = measure::time_us(|| Membership::evaluate(&space.space, &records).expect("members"));
        assert!(membership.void.is_empty() && membership.readers().len() > DEVICES, "records without effect");
        let ((), raw_us) = measure::time_us(|| {
            for _ in 0..RECORDS {
                let key = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref());
                key.verify(&message, signature.as_ref()).expect("a good signature");
            }
        });
        read.push(read_us / 1e3);
        evaluated.push(us / 1e3);
        raw.push(raw_us / 1e3);
    }
    let evaluation_ms = measure::median(&mut evaluated);
    Figure {
        name: "keys",
        what: format!("evaluation of {RECORDS} records of {DEVICES} devices, proofs of enrolment included"),
        n,
        value: ("evaluation_ms", evaluation_ms),
        yardstick: Some((format!("{RECORDS} raw Ed25519 checks"), measure::median(&mut raw))),
        target: "< 1,000 ms",
        met: evaluation_ms < EVALUATION_MS_MAX,
        extra: vec![("parse_and_signatures_ms", measure::median(&mut read))],
    }
}
