//! Little bytes that claim to be many: inflating changes, one bomb inside another, and operations by the million.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use lifeos_sync_protocol::limits::INFLATE_RATIO_MAX;

use super::*;
use crate::crypto::random_bytes;
use crate::envelope::plaintext::{pack, unpack};

const MIB: usize = 1024 * 1024;

fn deflated_zeros(mebibytes: usize, level: Compression) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), level);
    let zeros = vec![0; MIB];
    (0..mebibytes).for_each(|_| encoder.write_all(&zeros).unwrap());
    encoder.finish().unwrap()
}

/// A chunk that says it is a deflated change.
fn deflated_chunk(data: &[u8]) -> Vec<u8> {
    let mut bomb = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 2];
    push_leb(&mut bomb, data.len() as u64);
    bomb.extend(data);
    bomb
}

#[test]
fn an_inflating_chunk_is_stopped_at_the_budget() {
    let small = deflated_zeros(64, Compression::best());
    assert!(small.len() < 66_000, "64 KiB that become 64 MiB");
    let large = deflated_zeros(1024, Compression::fast());
    let within_the_budget = deflated_zeros(4, Compression::best());
    assert!(within_the_budget.len() < 4 * MIB / INFLATE_RATIO_MAX, "but far above its own size");
    for data in [small, large, within_the_budget] {
        assert_eq!(refused(ALICE, &deflated_chunk(&data)), FenceError::TooLarge);
    }
}

/// A sound change that takes 2 MiB, most of it zeros but not enough for the ratio to refuse it.
fn large_change() -> Vec<u8> {
    let mut random = SeededRandom::new(3);
    let block = |random: &mut SeededRandom| [&random_bytes::<32>(random)[..], &[0; 2016]].concat();
    let value: Vec<u8> = (0..1024).flat_map(|_| block(&mut random)).collect();
    let mut raw = AutoCommit::new().with_actor(ActorId::from(ALICE.0.as_slice()));
    raw.put(ROOT, "blob", value).unwrap();
    raw.commit();
    let change = raw.get_last_local_change().unwrap();
    deflated(change.raw_bytes())
}

#[test]
fn a_bomb_inside_a_bomb_costs_no_more_than_one_envelope_may() {
    let change = large_change();
    assert!(change.len() < 64 * 1024, "64 KiB that become 2 MiB");
    let doc = |id: u8| DocDelta { doc: DocId([id; 16]), changes: vec![change.clone()], genesis: NOTE };
    let delta = |count: u8| Delta { docs: (1..=count).map(doc).collect(), ..Delta::default() };
    let through_an_envelope = |delta: &Delta| {
        let body = delta.encode().unwrap();
        let plaintext = pack(&body).unwrap();
        Delta::decode(&unpack(&plaintext, DELTA_RAW_BYTES_MAX).unwrap()).unwrap()
    };
    // Each change alone is fine, and so are three of them; five pass 8 MiB together.
    for (count, expected) in [(1, Ok(1)), (3, Ok(3)), (5, Err(FenceError::TooLarge))] {
        let opened = OpenedDelta { delta: through_an_envelope(&delta(count)), ..opened(1, ALICE, &[]) };
        assert_eq!(check(&opened).map(|checked| checked.len()), expected, "{count}");
    }
    // Deflated zeros deflate once more: the envelope inflates within its ratio, the chunk inside it does not.
    let nested = Delta {
        docs: vec![DocDelta {
            doc: DOC,
            changes: vec![deflated_chunk(&deflated_zeros(64, Compression::best()))],
            genesis: NOTE,
        }],
        ..Delta::default()
    };
    let body = nested.encode().unwrap();
    assert!(pack(&body).unwrap().len() < body.len() / 10);
    let opened = OpenedDelta { delta: through_an_envelope(&nested), ..opened(1, ALICE, &[]) };
    assert_eq!(check(&opened).map(|checked| checked.len()), Err(FenceError::TooLarge));
}

#[test]
fn more_operations_than_an_envelope_may_hold_are_refused_whatever_documents_they_are_in() {
    let mut raw = AutoCommit::new().with_actor(ActorId::from(ALICE.0.as_slice()));
    let text = raw.put_object(ROOT, "text", ObjType::Text).unwrap();
    raw.splice_text(&text, 0, 0, &"a".repeat(1_000_000)).unwrap();
    raw.commit();
    let change = raw.get_last_local_change().unwrap().raw_bytes().to_vec();
    let doc = |id: u8| DocDelta { doc: DocId([id; 16]), changes: vec![change.clone()], genesis: NOTE };
    let docs = |count: u8| Delta { docs: (1..=count).map(doc).collect(), ..Delta::default() };
    let check =
        |count| check(&OpenedDelta { delta: docs(count), ..opened(1, ALICE, &[]) }).map(|checked| checked.len());
    assert_eq!(check(2), Ok(2), "a million operations in a change are allowed");
    assert_eq!(check(5), Err(FenceError::TooLarge), "five million in an envelope are not");
}
