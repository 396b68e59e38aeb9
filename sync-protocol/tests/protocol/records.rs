//! Records: one encoding each, and a valid signature does not excuse another one.

use std::sync::LazyLock;

use curve25519_dalek::constants::EIGHT_TORSION;
use lifeos_sync_protocol::hash::{ctx, sha256};
use lifeos_sync_protocol::ids::{HpkePk, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::limits::{
    RECORD_BODY_BYTES_MAX, RECORD_META_BYTES_MAX, RECORD_PARENTS_MAX, RECORD_RELAYS_MAX,
};
use lifeos_sync_protocol::record::{Body, DeviceEntry, DeviceKind, HEADER_BYTES, Record, RecordError, Unsigned};
use proptest::prelude::*;

use super::kit::{self, Keys, MEMBER, RANDOM};

/// Made once: each costs signatures.
static RECORDS: LazyLock<Vec<(&str, Record)>> = LazyLock::new(kit::records);

static SPACE: LazyLock<SpaceId> = LazyLock::new(kit::space);
static FOUNDER: LazyLock<Keys> = LazyLock::new(kit::founder);

/// A correctly signed record with any bytes as body.
fn signed_raw(kind: u8, parents: &[RecordId], depth: u64, body: &[u8]) -> Vec<u8> {
    let (space, founder) = (&*SPACE, &*FOUNDER);
    let mut bytes = vec![1, kind, 1, parents.len() as u8];
    bytes.extend_from_slice(&space.0);
    bytes.extend_from_slice(&founder.sign_pk.0);
    bytes.extend_from_slice(&depth.to_be_bytes());
    parents.iter().for_each(|parent| bytes.extend_from_slice(&parent.0));
    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
    bytes.extend_from_slice(body);
    let message = [ctx("rec-sig"), sha256("rec-id", &[&bytes]).to_vec()].concat();
    bytes.extend_from_slice(&founder.sign(&message).0);
    bytes
}

fn body_error(kind: u8, body: &[u8]) -> Option<RecordError> {
    Record::parse(signed_raw(kind, &[RecordId([1; 32])], 1, body)).err()
}

fn body_of(record: &Record) -> &[u8] {
    let start = HEADER_BYTES + 32 * record.parents().len() + 4;
    &record.bytes()[start..record.bytes().len() - 64]
}

const OBJECT: u8 = 0x22;
const CLOSE: u8 = 0x2f;
const ROLE_SET: u8 = 0x06;

#[test]
fn every_record_survives_a_round_trip() {
    let bodies = kit::bodies();
    for (name, record) in RECORDS.iter() {
        let parsed = Record::parse(record.bytes().to_vec()).unwrap();
        assert_eq!(parsed, *record, "{name}");
        if let Some((_, body)) = bodies.iter().find(|(body, _)| body == name) {
            assert_eq!(parsed.body(), body, "{name}");
            assert_eq!(parsed.bytes()[1], body.kind(), "{name}");
        }
        assert_eq!(parsed.space(), kit::space(), "{name}");
    }
}

#[test]
fn the_samples_cover_every_known_type() {
    let sampled: Vec<u8> = kit::bodies().iter().map(|(_, body)| body.kind()).collect();
    for kind in (1..=0xff_u8).filter(|kind| !sampled.contains(kind)) {
        let record = Record::parse(signed_raw(kind, &[RecordId([1; 32])], 1, b"any")).unwrap();
        assert!(matches!(record.body(), Body::Unknown { .. }), "type {kind:#04x} is known and has no sample");
    }
}

/// One value, read and written by the other library.
fn rewrite(from: &mut minicbor::Decoder<'_>, to: &mut minicbor::Encoder<Vec<u8>>) {
    use minicbor::data::Type;
    match from.datatype().unwrap() {
        Type::Map => {
            let pairs = from.map().unwrap().unwrap();
            to.map(pairs).unwrap();
            (0..pairs * 2).for_each(|_| rewrite(from, to));
        }
        Type::Array => {
            let items = from.array().unwrap().unwrap();
            to.array(items).unwrap();
            (0..items).for_each(|_| rewrite(from, to));
        }
        Type::Bytes => {
            to.bytes(from.bytes().unwrap()).unwrap();
        }
        Type::String => {
            to.str(from.str().unwrap()).unwrap();
        }
        Type::Null => {
            from.null().unwrap();
            to.null().unwrap();
        }
        _ => {
            to.u64(from.u64().unwrap()).unwrap();
        }
    }
}

#[test]
fn another_cbor_library_reads_every_body() {
    for (name, record) in RECORDS.iter() {
        let body = body_of(record);
        let (mut decoder, mut again) = (minicbor::Decoder::new(body), minicbor::Encoder::new(Vec::new()));
        rewrite(&mut decoder, &mut again);
        assert_eq!(decoder.position(), body.len(), "{name}");
        assert_eq!(again.into_writer(), body, "{name}: the other library writes it differently");
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    for (name, record) in RECORDS.iter() {
        for at in 0..record.bytes().len() {
            let mut bytes = record.bytes().to_vec();
            bytes[at] ^= 1 << (at % 8);
            assert!(Record::parse(bytes).is_err(), "{name} byte {at}");
        }
    }
}

#[test]
fn a_record_cut_or_extended_anywhere_is_refused() {
    for (name, record) in RECORDS.iter() {
        for length in 0..record.bytes().len() {
            assert!(Record::parse(record.bytes()[..length].to_vec()).is_err(), "{name} cut to {length}");
        }
        let mut bytes = record.bytes().to_vec();
        bytes.push(0);
        assert_eq!(Record::parse(bytes), Err(RecordError::Length), "{name} extended");
    }
}

#[test]
fn a_second_encoding_of_a_body_is_refused_although_it_is_signed() {
    // Close without successor is {1: null}; Object is {1: id, 2: reason, 3: stream, 4: seq}.
    assert_eq!(body_error(CLOSE, &[0xa1, 0x01, 0xf6]), None);
    let violations: [(&str, &[u8]); 15] = [
        ("empty", &[]),
        ("a surplus byte", &[0xa1, 0x01, 0xf6, 0x00]),
        ("a long map head", &[0xb8, 0x01, 0x01, 0xf6]),
        ("a long key", &[0xa1, 0x18, 0x01, 0xf6]),
        ("an indefinite map", &[0xbf, 0x01, 0xf6, 0xff]),
        ("a missing field", &[0xa0]),
        ("a surplus field", &[0xa2, 0x01, 0xf6, 0x02, 0xf6]),
        ("a map that says it has more", &[0xa2, 0x01, 0xf6]),
        ("a map that says it has less", &[0xa0, 0x01, 0xf6]),
        ("a repeated key", &[0xa2, 0x01, 0xf6, 0x01, 0xf6]),
        ("another key", &[0xa1, 0x02, 0xf6]),
        ("undefined for null", &[0xa1, 0x01, 0xf7]),
        ("a tagged null", &[0xa1, 0x01, 0xc0, 0xf6]),
        ("a float", &[0xa1, 0x01, 0xf9, 0, 0]),
        ("an array for the map", &[0x81, 0xf6]),
    ];
    for (what, body) in violations {
        assert!(body_error(CLOSE, body).is_some(), "{what}");
    }
    // RoleSet is {1: member, 2: role, 3: cuts}, a cut [stream, seq, id].
    let cut = |head| [&[head, 0x50][..], &[3; 16], &[0x05, 0x58, 0x20], &[7; 32]].concat();
    let role_set = |cut: &[u8]| [&[0xa3, 0x01, 0x50][..], &[4; 16], &[0x02, 0x02, 0x03, 0x81], cut].concat();
    assert_eq!(body_error(ROLE_SET, &role_set(&cut(0x83))), None);
    for head in [0x80, 0x82, 0x84] {
        assert!(body_error(ROLE_SET, &role_set(&cut(head))).is_some(), "a structure that says it has {head:#04x}");
    }
}

#[test]
fn integers_and_strings_have_their_shortest_form() {
    let object = |reason: &[u8], seq: &[u8], stream_head: &[u8]| {
        let id = [&[0x01, 0x58, 0x20][..], &[7; 32]].concat();
        let stream = [stream_head, &[3; 16]].concat();
        [&[0xa4][..], &id, &[0x02], reason, &[0x03], &stream, &[0x04], seq].concat()
    };
    assert_eq!(body_error(OBJECT, &object(&[0x02], &[0x05], &[0x50])), None);
    assert_eq!(body_error(OBJECT, &object(&[0x18, 0xff], &[0x19, 1, 0], &[0x50])), None);
    for (reason, seq, head) in [
        (&[0x18, 0x02][..], &[0x05][..], &[0x50][..]),
        (&[0x19, 0, 2], &[0x05], &[0x50]),
        (&[0x19, 1, 0], &[0x05], &[0x50]),
        (&[0x02], &[0x19, 0, 5], &[0x50]),
        (&[0x02], &[0x1a, 0, 0, 1, 0], &[0x50]),
        (&[0x02], &[0x1b, 0, 0, 0, 0, 0, 0, 0, 5], &[0x50]),
        (&[0x02], &[0x1b, 0, 0, 0, 1, 0, 0, 0, 0], &[0x50]),
        (&[0x02], &[0x20], &[0x50]),
        (&[0x02], &[0x05], &[0x58, 0x10]),
        (&[0x02], &[0x05], &[0x5f, 0x50]),
        (&[0x02], &[0x05], &[0x70]),
    ] {
        assert!(body_error(OBJECT, &object(reason, seq, head)).is_some(), "{reason:x?} {seq:x?} {head:x?}");
    }
}

#[test]
fn deep_nesting_and_huge_heads_cost_nothing() {
    let deep = [vec![0x81; 10_000], vec![0xf6]].concat();
    let huge_array = [0xa1, 0x01, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let huge_bytes = [0xa1, 0x01, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for kind in 1..=0x2f {
        for body in [&deep[..], &[&[0xa1, 0x01][..], &deep].concat(), &huge_array, &huge_bytes] {
            let is_known = !matches!(
                Record::parse(signed_raw(kind, &[RecordId([1; 32])], 1, b"any")).map(|record| record.body().clone()),
                Ok(Body::Unknown { .. })
            );
            assert_eq!(body_error(kind, body).is_some(), is_known, "type {kind:#04x}");
        }
    }
    // The same heads at every place of every record: lists stand behind other fields.
    for (_, record) in RECORDS.iter().filter(|(_, record)| record.body().kind() != 0x01) {
        for at in 1..body_of(record).len() {
            for head in [&huge_array[2..], &huge_bytes[2..]] {
                let body = [&body_of(record)[..at], head].concat();
                assert!(body_error(record.body().kind(), &body).is_some() || body.len() == body_of(record).len());
            }
        }
    }
}

#[test]
fn parents_are_ascending_and_each_once() {
    let (low, high) = (RecordId([1; 32]), RecordId([2; 32]));
    let body = [0xa1, 0x01, 0xf6];
    assert!(Record::parse(signed_raw(CLOSE, &[low, high], 1, &body)).is_ok());
    assert!(matches!(Record::parse(signed_raw(CLOSE, &[high, low], 1, &body)), Err(RecordError::NotCanonical(_))));
    assert!(matches!(Record::parse(signed_raw(CLOSE, &[low, low], 1, &body)), Err(RecordError::NotCanonical(_))));
    assert!(matches!(Record::parse(signed_raw(CLOSE, &[], 1, &body)), Err(RecordError::NotCanonical(_))));
    assert!(matches!(Record::parse(signed_raw(CLOSE, &[low], 0, &body)), Err(RecordError::NotCanonical(_))));
    let many: Vec<RecordId> = (0..=RECORD_PARENTS_MAX as u8).map(|byte| RecordId([byte; 32])).collect();
    assert!(Record::parse(signed_raw(CLOSE, &many[1..], 1, &body)).is_ok());
    assert_eq!(Record::parse(signed_raw(CLOSE, &many, 1, &body)), Err(RecordError::Length));
}

#[test]
fn parents_given_in_any_order_make_the_same_record() {
    let (a, b) = (RecordId([1; 32]), RecordId([2; 32]));
    let body = Body::Close { successor: None };
    let unsigned =
        |parents: &[RecordId]| Unsigned::new(kit::space(), kit::founder().sign_pk, 1, parents, &body).unwrap();
    assert_eq!(unsigned(&[b, a]).id(), unsigned(&[a, b, a]).id());
}

#[test]
fn a_body_or_list_above_its_limit_is_refused() {
    let unknown = |size| {
        let body = Body::Unknown { kind: 0xee, body: vec![0; size] };
        kit::founder().try_record(kit::space(), 1, &[RecordId([1; 32])], &body)
    };
    assert!(unknown(RECORD_BODY_BYTES_MAX).is_ok());
    assert_eq!(unknown(RECORD_BODY_BYTES_MAX + 1), Err(RecordError::Length));
    let too_long = signed_raw(0xee, &[RecordId([1; 32])], 1, &vec![0; RECORD_BODY_BYTES_MAX + 1]);
    assert_eq!(Record::parse(too_long), Err(RecordError::Length));
    let policy = |relays| {
        let relays = vec!["wss://relay.example".to_owned(); relays];
        let body = Body::Policy { rotation_days: 1, grace_days: 1, endorse_k: 1, relays };
        kit::founder().try_record(kit::space(), 1, &[RecordId([1; 32])], &body)
    };
    assert!(policy(RECORD_RELAYS_MAX).is_ok());
    assert_eq!(policy(RECORD_RELAYS_MAX + 1), Err(RecordError::Length));
}

#[test]
fn a_sealed_name_is_no_place_to_fill_a_space() {
    let sized = |size| {
        let mut bodies: Vec<Body> = kit::bodies().into_iter().map(|(_, body)| body).collect();
        bodies.retain(|body| body.devices().next().is_some() && body.kind() != 0x01);
        for body in &mut bodies {
            match body {
                Body::MemberAdd { enc_meta, .. } | Body::DeviceAdd { enc_meta, .. } | Body::Join { enc_meta, .. } => {
                    *enc_meta = vec![7; size];
                }
                _ => unreachable!(),
            }
        }
        bodies
    };
    let error = |body: &Body| kit::founder().try_record(kit::space(), 1, &[RecordId([1; 32])], body).err();
    let types: std::collections::BTreeSet<u8> = sized(0).iter().map(Body::kind).collect();
    assert_eq!(types.into_iter().collect::<Vec<_>>(), [0x02, 0x03, 0x0c]);
    assert!(sized(RECORD_META_BYTES_MAX).iter().all(|body| error(body).is_none()));
    assert!(sized(RECORD_META_BYTES_MAX + 1).iter().all(|body| error(body) == Some(RecordError::Length)));
}

#[test]
fn a_record_signed_by_somebody_else_is_refused() {
    let body = Body::Close { successor: None };
    let unsigned = Unsigned::new(kit::space(), kit::founder().sign_pk, 1, &[RecordId([1; 32])], &body).unwrap();
    let signature = kit::recovery().sign(&unsigned.message());
    assert_eq!(unsigned.sign_with(&signature), Err(RecordError::Signature));
}

/// Every record type that carries keys, with this entry in it.
fn bodies_with(entry: &DeviceEntry) -> Vec<Body> {
    let mut bodies: Vec<Body> = kit::bodies().into_iter().map(|(_, body)| body).collect();
    bodies.retain(|body| body.devices().next().is_some() && body.kind() != 0x01);
    for body in &mut bodies {
        match body {
            Body::DeviceAdd { device, .. } => *device = entry.clone(),
            Body::MemberAdd { devices, .. } | Body::Join { devices, .. } => *devices = vec![entry.clone()],
            _ => unreachable!(),
        }
    }
    bodies
}

fn enrolment_error(body: &Body) -> Option<RecordError> {
    kit::founder().try_record(kit::space(), 1, &[RecordId([1; 32])], body).err()
}

#[test]
fn weak_keys_are_refused_wherever_a_record_enrols_them() {
    let good = Keys::new(5).entry(&RANDOM, &MEMBER, DeviceKind::Normal);
    assert!(bodies_with(&good).iter().all(|body| enrolment_error(body).is_none()));
    for point in EIGHT_TORSION {
        let weak = SignPk(point.compress().to_bytes());
        let entry = DeviceEntry { sign_pk: weak, ..good.clone() };
        let mut bodies = bodies_with(&entry);
        bodies.push(Body::Invite {
            invite_pk: weak,
            role: lifeos_sync_protocol::record::Role::Reader,
            expires_ms: 0,
            uses_max: 1,
            auto_seal: None,
        });
        assert_eq!(bodies.len(), 6, "every type, and two samples of a DeviceAdd and of a Join");
        bodies.iter().for_each(|body| assert_eq!(enrolment_error(body), Some(RecordError::Key), "{weak}"));
    }
    let mut low_order: Vec<HpkePk> = vec![HpkePk([0; 32]), HpkePk([0xff; 32])];
    low_order.extend(EIGHT_TORSION.iter().map(|point| HpkePk(point.to_montgomery().0)));
    for weak in low_order {
        let mut bodies = bodies_with(&DeviceEntry { hpke_pk: weak, ..good.clone() });
        bodies.push(Body::HpkeRefresh { hpke_pk: weak });
        bodies.iter().for_each(|body| assert_eq!(enrolment_error(body), Some(RecordError::Key), "{weak}"));
    }
}

#[test]
fn a_genesis_proves_its_own_devices() {
    let founder = kit::founder();
    type Change<'a> = dyn Fn(&mut DeviceEntry, &mut DeviceEntry) + 'a;
    let attempt = |change: &Change| {
        let Body::Genesis { random, member, mut device, mut recovery, relays } = kit::genesis_body() else {
            unreachable!()
        };
        change(&mut device, &mut recovery);
        founder.try_record(SpaceId::ZERO, 0, &[], &Body::Genesis { random, member, device, recovery, relays })
    };
    assert!(attempt(&|_, _| {}).is_ok());
    let other = Keys::new(7);
    let as_kind = |keys: &Keys, kind| keys.entry(&RANDOM, &MEMBER, kind);
    let attempts: [&Change; 6] = [
        &|device, _| device.proof.0[0] ^= 1,
        &|_, recovery| recovery.proof.0[0] ^= 1,
        &|device, _| *device = as_kind(&other, DeviceKind::Normal),
        &|device, _| *device = as_kind(&founder, DeviceKind::Recovery),
        &|_, recovery| *recovery = as_kind(&other, DeviceKind::Normal),
        &|_, recovery| *recovery = as_kind(&founder, DeviceKind::Recovery),
    ];
    for (number, change) in attempts.iter().enumerate() {
        assert_eq!(attempt(change), Err(RecordError::Key), "attempt {number}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Record::parse(bytes).is_err());
    }

    #[test]
    fn a_signed_random_body_is_refused_or_is_the_one_encoding(
        kind in 1..=0x2f_u8,
        sample in 0..RECORDS.len(),
        at in any::<proptest::sample::Index>(),
        patch in proptest::collection::vec(any::<u8>(), 1..6),
    ) {
        let record = &RECORDS[sample].1;
        let mut body = body_of(record).to_vec();
        let start = at.index(body.len());
        for (byte, new) in body[start..].iter_mut().zip(patch) {
            *byte = new;
        }
        let kinds = [kind, record.body().kind()];
        for kind in kinds.into_iter().filter(|kind| *kind != 1) {
            if let Ok(parsed) = Record::parse(signed_raw(kind, &[RecordId([1; 32])], 1, &body)) {
                let again = Unsigned::new(parsed.space(), parsed.author(), 1, parsed.parents(), parsed.body()).unwrap();
                prop_assert_eq!(again.id(), parsed.id());
            }
        }
    }
}
