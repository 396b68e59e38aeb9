//! What a home notices about its relays: withheld tails, two logs under one name, logs put back.

use lifeos_sync_protocol::ids::{RecordId, SignPk, Signature, StreamId};
use lifeos_sync_protocol::log::{Statement, statement_message};
use lifeos_sync_protocol::membership::StreamPoint;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::accept::without;
use super::*;
use crate::store::{WarningKind, records, witness};
use crate::witness::{encode_app, read_statement};

fn relay_key() -> (SignPk, Ed25519KeyPair) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[44; 32]).unwrap();
    (SignPk(pair.public_key().as_ref().try_into().unwrap()), pair)
}

/// A third device, linked by the first.
pub(super) fn third(first: &mut Device) -> Device {
    let root = DeviceRoot::generate(&mut SeededRandom::new(33));
    let (space, records) = (first.space, first.store.records(&first.space).unwrap());
    let membership = first.store.membership(&space).unwrap();
    let entry = root.derive_space(&RANDOM).entry(&RANDOM, &MEMBER, DeviceKind::Normal);
    let (keyring, keys) = (&first.keyring, &first.keys);
    let add =
        AddDevice { membership: &membership, records: &records, keyring, keys, member: MEMBER, entry, name: "tablet" };
    let added = add_device(&add, &mut first.random).unwrap();
    Device::new(&root, space, [records, added].concat(), 34)
}

/// What the relay signs about a place of the log.
pub(super) fn says(space: SpaceId, pos: u64, roll: u8) -> Statement {
    let log = Cursor { log_id: LOG, pos, roll: Roll([roll; 16]) };
    let heads = vec![RecordId([5; 32])];
    let signature = relay_key().1.sign(&statement_message(&space, &log, &heads, 3));
    let signature = Signature(signature.as_ref().try_into().unwrap());
    Statement { space, log, rec_heads: heads, time_ms: 3, signature }
}

/// A pair that knows the relay's key.
pub(super) fn pinned_pair() -> Pair {
    let mut pair = pair();
    for device in [&mut pair.a, &mut pair.b] {
        device.relay = device.store.put_relay(&device.space.clone(), "ws://127.0.0.1:1", Some(&relay_key().0)).unwrap();
    }
    pair
}

pub(super) fn kinds(device: &Device) -> Vec<WarningKind> {
    device.store.reads().warnings(&device.space).unwrap().into_iter().map(|warning| warning.kind).collect()
}

/// Writes a statement down and tells it to the others inside the next envelope.
fn envelopes_telling(device: &mut Device, statement: impl FnOnce(SpaceId) -> Statement) -> Vec<Vec<u8>> {
    let space = device.space;
    device.store.put_statement(&space, device.relay, &statement(space), 1).unwrap();
    device.title(1, &doc(1), "something to send");
    device.send()
}

#[test]
fn an_envelope_that_another_device_has_and_the_relay_keeps_back_is_missed_until_it_comes() {
    let Pair { mut a, mut b, .. } = pair();
    b.title(1, &doc(2), "seen by a alone");
    let withheld = b.send();
    a.receive(&withheld);
    // A third home that is given what a writes, and not what b wrote.
    a.title(2, &doc(1), "told to all");
    let told = a.send();
    let mut other = third(&mut a);
    other.receive(&told);
    let promises = other.store.reads().promises(&other.space).unwrap();
    assert_eq!(
        promises.iter().map(|promise| (promise.seq, promise.held, promise.told_by)).collect::<Vec<_>>(),
        vec![(1, 0, a.keys.sign_pk())]
    );
    assert!(a.store.reads().promises(&a.space).unwrap().is_empty());
    other.receive(&withheld);
    assert!(other.store.reads().promises(&other.space).unwrap().is_empty(), "it has come");
}

#[test]
fn a_record_that_another_device_has_and_the_relay_keeps_back_is_missed_until_it_comes() {
    let Pair { mut a, mut b, .. } = pair();
    a.title(1, &doc(1), "before");
    b.receive(&a.send());
    let missed = |device: &Device| device.store.reads().promised_records(&device.space).unwrap();
    assert_eq!(missed(&b), [], "both hold the same");
    // A device is added, which makes no new key, and the relay tells b nothing of it.
    let tablet = third(&mut a);
    let (space, records) = (a.space, tablet.store.records(&a.space).unwrap());
    a.store.put_records(&space, &records).unwrap();
    a.title(2, &doc(1), "between");
    b.receive(&a.send());
    assert_eq!(missed(&b), [], "no relay holds it yet: it may be taken back");
    let taken = Vec::from_iter(a.store.untaken_records(&space).unwrap());
    a.store.records_taken(&space, &taken).unwrap();
    a.title(2, &doc(1), "after");
    let after = a.send();
    b.receive(&after);
    let told: Vec<_> = missed(&b).iter().map(|promised| (promised.told_by, promised.since_ms)).collect();
    assert_eq!(told, [(a.keys.sign_pk(), 77)]);
    b.receive(&after);
    a.title(3, &doc(1), "told once");
    b.receive(&a.send());
    assert_eq!(missed(&b).len(), 1);
    b.store.put_records(&space, &records).unwrap();
    assert_eq!(missed(&b), [], "it has come");
}

#[test]
fn a_device_that_promises_records_without_end_is_remembered_for_a_few() {
    let Pair { mut a, mut b, .. } = pair();
    let mut tip = a.store.own_tip(&a.space).unwrap();
    for round in 0..5_u8 {
        let records: Vec<_> = (0..4).map(|n| RecordId([0x80 + round * 4 + n; 32])).collect();
        let delta = Delta { app: encode_app(&[], &records), ..Delta::default() };
        b.receive(&[saying(&mut a, &mut tip, &delta)]);
    }
    assert_eq!(b.store.reads().promised_records(&b.space).unwrap().len(), 8);
}

/// Takes envelopes in at some time.
fn receive_at(device: &mut Device, envelopes: &[Vec<u8>], now_ms: i64) {
    let (page, membership) = (device.page(envelopes, 1), device.store.membership(&device.space).unwrap());
    device.store.receive(&device.space, page, &membership, &device.keyring, Unknown::Quarantine, now_ms).unwrap();
}

/// Streams that are missed, how far they were told of, by whom and since when.
fn missed(device: &Device) -> Vec<(StreamId, u32, SignPk, i64)> {
    let promises = device.store.reads().promises(&device.space).unwrap();
    promises.iter().map(|promise| (promise.stream, promise.seq, promise.told_by, promise.since_ms)).collect()
}

/// What a device says besides its changes, in an envelope at the tip of its stream.
fn saying(device: &mut Device, tip: &mut StreamTip, delta: &Delta) -> Vec<u8> {
    let (key, space) = (device.key(), device.space);
    let sealed =
        crate::envelope::seal(&space, tip, &device.keys, key.epoch(), key.secret(), delta, &mut device.random).unwrap();
    (tip.seq, tip.id) = (sealed.seq, sealed.id.0);
    sealed.bytes
}

#[test]
fn a_stream_that_grows_while_it_is_kept_back_is_missed_since_it_was_first_told_of() {
    let Pair { mut a, mut b, .. } = pair();
    let (mut other, stream) = (third(&mut a), b.store.own_tip(&b.space).unwrap().stream);
    let mut withheld = Vec::new();
    let teller = a.keys.sign_pk();
    for (round, now_ms) in [(1, 1_000), (2, 24_000), (3, 25_000)] {
        b.title(round, &doc(2), &format!("kept back {round}"));
        let written = b.send();
        a.receive(&written);
        withheld.extend(written);
        a.title(round, &doc(1), &format!("shown {round}"));
        receive_at(&mut other, &a.send(), now_ms);
        assert_eq!(missed(&other), [(stream, u32::try_from(round).unwrap(), teller, 1_000)]);
    }
    // A part of it is not all of it; and what was kept once begins anew.
    receive_at(&mut other, &withheld[..2], 26_000);
    assert_eq!(missed(&other), [(stream, 3, teller, 1_000)]);
    receive_at(&mut other, &withheld[2..], 27_000);
    assert_eq!(missed(&other), []);
    b.title(4, &doc(2), "kept back again");
    a.receive(&b.send());
    a.title(4, &doc(1), "shown again");
    receive_at(&mut other, &a.send(), 28_000);
    assert_eq!(missed(&other), [(stream, 4, teller, 28_000)]);
}

#[test]
fn a_device_that_promises_streams_without_end_is_remembered_for_a_number_until_it_is_removed() {
    let Pair { mut a, mut b, .. } = pair();
    let mut other = third(&mut a);
    a.title(1, &doc(1), "known");
    b.title(1, &doc(2), "known, too");
    other.receive(&[a.send(), b.send()].concat());
    let [known, others] = [&a, &b].map(|device| device.store.own_tip(&device.space).unwrap());
    let invented = |round: u32, n: u32, seq: u32| {
        let mut stream = [0xEE; 16];
        stream[..4].copy_from_slice(&round.to_be_bytes());
        stream[4..8].copy_from_slice(&n.to_be_bytes());
        (StreamId(stream), seq)
    };
    let mut tip = known;
    for round in 0..3 {
        let frontier = (0..600).map(|n| invented(round, n, 5)).collect();
        let lies = saying(&mut a, &mut tip, &Delta { frontier, ..Delta::default() });
        other.receive(&[lies]);
    }
    assert_eq!(missed(&other).len(), 1_024);
    // What is remembered is told further all the same.
    let (stream, seq) = invented(0, 7, u32::MAX);
    let frontier = vec![(stream, seq)];
    other.receive(&[saying(&mut a, &mut tip, &Delta { frontier, ..Delta::default() })]);
    assert!(missed(&other).contains(&(stream, seq, a.keys.sign_pk(), 77)));
    // Of what is here, and of what others say, as much as before.
    let (records, frontier) = (vec![RecordId([0x99; 32])], vec![(others.stream, 50)]);
    let told = Delta { frontier, app: encode_app(&[], &records), ..Delta::default() };
    other.receive(&[saying(&mut a, &mut tip, &told)]);
    assert!(missed(&other).contains(&(others.stream, 50, a.keys.sign_pk(), 77)));
    let mut honest = others;
    let frontier = vec![(StreamId([0xBB; 16]), 2)];
    other.receive(&[saying(&mut b, &mut honest, &Delta { frontier, ..Delta::default() })]);
    assert_eq!(missed(&other).len(), 1_026);
    assert_eq!(other.store.reads().promised_records(&other.space).unwrap().len(), 1);

    // Its word counts no more than it does: what it said goes with it, and what it said in time and comes later, too.
    let late = saying(&mut a, &mut tip, &told);
    let point = StreamPoint { seq: tip.seq, id: EnvelopeId(tip.id) };
    let after = without(&other.store.membership(&other.space).unwrap(), a.keys.sign_pk(), (tip.stream, point));
    other.store.retry_quarantined(&other.space, &after, &other.keyring, 78).unwrap();
    let by_b = [(StreamId([0xBB; 16]), 2, b.keys.sign_pk(), 77)];
    assert_eq!(missed(&other), by_b);
    let page = other.page(&[late], 1);
    let report = other.store.receive(&other.space, page, &after, &other.keyring, Unknown::Quarantine, 79).unwrap();
    assert_eq!((report.received, report.quarantined), (1, vec![]), "it counts");
    assert_eq!(missed(&other), by_b);
    assert_eq!(other.store.reads().promised_records(&other.space).unwrap(), []);
}

#[test]
fn what_is_missing_is_forgotten_when_the_person_has_read_it_and_missed_again_when_it_is_told_anew() {
    let Pair { mut a, mut b, .. } = pair();
    let mut tip = a.store.own_tip(&a.space).unwrap();
    let promised = |b: &Device| b.store.reads().promised_records(&b.space).unwrap();
    let teller = a.keys.sign_pk();
    let [first, second] = [[1; 16], [2; 16]].map(StreamId);
    for (n, stream, now_ms) in [(1, first, 1_000), (2, second, 2_000)] {
        let told =
            Delta { frontier: vec![(stream, 5)], app: encode_app(&[], &[RecordId([n; 32])]), ..Delta::default() };
        receive_at(&mut b, &[saying(&mut a, &mut tip, &told)], now_ms);
    }
    let space = b.space;
    assert_eq!(b.store.dismiss_promises(&space, 999).unwrap(), 0);
    assert_eq!((missed(&b).len(), promised(&b).len()), (2, 2));
    assert_eq!(b.store.dismiss_promises(&space, 1_000).unwrap(), 2);
    assert_eq!(missed(&b), [(second, 5, teller, 2_000)], "what the person has not read yet stays");
    assert_eq!(promised(&b).iter().map(|promised| promised.record).collect::<Vec<_>>(), [RecordId([2; 32])]);
    let told = Delta { frontier: vec![(first, 6)], ..Delta::default() };
    receive_at(&mut b, &[saying(&mut a, &mut tip, &told)], 3_000);
    assert_eq!(missed(&b), [(second, 5, teller, 2_000), (first, 6, teller, 3_000)]);
}

#[test]
fn two_statements_about_one_place_prove_that_a_relay_shows_two_logs() {
    let Pair { mut a, mut b, .. } = pinned_pair();
    let told = envelopes_telling(&mut a, |space| says(space, 7, 1));
    b.store.put_statement(&b.space.clone(), b.relay, &says(b.space, 7, 2), 1).unwrap();
    assert_eq!(kinds(&b), vec![]);
    b.receive(&told);
    assert_eq!(kinds(&b), vec![WarningKind::EquivocationProven]);
    let evidence = b.store.reads().warnings(&b.space).unwrap().remove(0).evidence;
    let (first, second) = evidence.split_at(evidence.len() / 2);
    let (first, second) = (read_statement(first).unwrap(), read_statement(second).unwrap());
    assert!(
        first.contradicts(&second) && first.verify(&relay_key().0).is_ok() && second.verify(&relay_key().0).is_ok()
    );
    // Read and dismissed: the proof stays within reach.
    assert_eq!(b.store.reads().relay_proofs(&b.space).unwrap(), vec![]);
    assert_eq!(b.store.dismiss_warnings(&b.space.clone()).unwrap(), 1);
    assert_eq!(kinds(&b), vec![]);
    let proofs = || b.store.reads().relay_proofs(&b.space).unwrap();
    assert_eq!(proofs().iter().map(|proof| &proof.evidence).collect::<Vec<_>>(), [&evidence]);
    assert_eq!((proofs()[0].kind, proofs()[0].since_ms), (WarningKind::EquivocationProven, 77));
    // A relay that is not used any more leaves it, too.
    let Pair { mut a, mut b, .. } = pinned_pair();
    let told = envelopes_telling(&mut a, |space| says(space, 7, 1));
    b.store.put_statement(&b.space.clone(), b.relay, &says(b.space, 7, 2), 1).unwrap();
    b.receive(&told);
    b.store.warn(b.relay, WarningKind::Misbehaved, 2).unwrap();
    b.store.remove_relay(b.relay).unwrap();
    assert_eq!(b.store.reads().relay_proofs(&b.space).unwrap().len(), 1);
    let left: u32 = b.store.conn.query_row("SELECT count(*) FROM warning", (), |row| row.get(0)).unwrap();
    assert_eq!(left, 0, "no later relay inherits a warning");
    // The accepted twin: the same words twice say nothing.
    let Pair { mut a, mut b, .. } = pinned_pair();
    let told = envelopes_telling(&mut a, |space| says(space, 7, 1));
    b.store.put_statement(&b.space.clone(), b.relay, &says(b.space, 7, 1), 1).unwrap();
    b.receive(&told);
    assert_eq!(kinds(&b), vec![]);
}

#[test]
fn a_statement_that_differs_from_the_log_received_here_is_an_alarm() {
    for (seen, expected) in [(1, vec![]), (2, vec![WarningKind::Equivocation])] {
        let Pair { mut a, mut b, .. } = pinned_pair();
        let told = envelopes_telling(&mut a, |space| says(space, 7, 1));
        // b passed places 5 to 8 by itself.
        let mut page = b.page(&[], 8);
        for pos in 5..=8 {
            page.rolls.push(pos, Roll([seen; 16]));
        }
        let membership = b.store.membership(&b.space).unwrap();
        b.store.receive(&b.space.clone(), page, &membership, &b.keyring, Unknown::Quarantine, 1).unwrap();
        b.receive(&told);
        assert_eq!(kinds(&b), expected);
    }
}

#[test]
fn what_was_told_once_is_not_told_again_and_a_forged_statement_says_nothing() {
    let Pair { mut a, .. } = pinned_pair();
    let space = a.space;
    a.store.put_statement(&space, a.relay, &says(space, 7, 1), 1).unwrap();
    let row = records::find_space(&a.store.conn, &space).unwrap().row;
    assert_eq!(witness::untold(&a.store.conn, row).unwrap().len(), 1);
    a.title(1, &doc(1), "something to send");
    a.seal();
    assert_eq!(witness::untold(&a.store.conn, row).unwrap(), vec![]);

    let Pair { mut a, mut b, .. } = pinned_pair();
    let told = envelopes_telling(&mut a, |space| Statement { time_ms: 4, ..says(space, 7, 1) });
    b.store.put_statement(&b.space.clone(), b.relay, &says(b.space, 7, 2), 1).unwrap();
    b.receive(&told);
    assert_eq!(kinds(&b), vec![]);
}

#[test]
fn a_warning_counts_up_until_it_is_dismissed() {
    let Pair { mut a, .. } = pinned_pair();
    a.store.warn(a.relay, WarningKind::LogRolledBack, 5).unwrap();
    a.store.warn(a.relay, WarningKind::LogRolledBack, 6).unwrap();
    let warnings = a.store.reads().warnings(&a.space).unwrap();
    assert_eq!(
        warnings.iter().map(|warning| (warning.kind, warning.since_ms, warning.times)).collect::<Vec<_>>(),
        vec![(WarningKind::LogRolledBack, 5, 2)]
    );
    assert_eq!(a.store.dismiss_warnings(&a.space.clone()).unwrap(), 1);
    assert_eq!(kinds(&a), vec![]);
}
