//! The fence against what a hostile member can send: each attack beside its accepted twin.

mod bombs;
mod mutations;

use std::sync::Once;

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, ObjType, ROOT, ReadDoc};
use lifeos_sync_protocol::ids::{MemberId, SignPk};

use super::*;
use crate::crypto::{Random, SeededRandom, sha256_plain};
use crate::delta::Delta;
use crate::document::Document;

const NOTE: GenesisId = GenesisId(1);
const DOC: DocId = DocId([7; 16]);
const ALICE: StreamId = StreamId([0xa1; 16]);
const BOB: StreamId = StreamId([0xb0; 16]);
const HERE: StreamId = StreamId([0xee; 16]);
/// The start of a bundle chunk found by mutation; parsing bundles can hang, so their type alone is refused.
const BUNDLE: &str = include_str!("../../../vectors/automerge_bundle.hex");

/// Panics inside Automerge are expected here by the thousand; all others still show.
fn quiet_automerge() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(|location| location.file().to_owned()).unwrap_or_default();
            if !place.contains("automerge") && !place.contains("hexane") && !place.contains("library/") {
                shown(info);
            }
        }));
    });
}

fn document(actor: StreamId) -> Document {
    Document::new(DOC, NOTE, actor).unwrap()
}

fn set(document: &mut Document, key: &str, value: &str) -> Vec<u8> {
    document.edit(1_000, |doc| doc.put(ROOT, key, value)).unwrap().1.unwrap().bytes
}

fn get(document: &Document, key: &str) -> Option<String> {
    document.read().get(ROOT, key).unwrap().and_then(|(value, _)| value.into_string().ok())
}

fn opened(number: u8, stream: StreamId, changes: &[&[u8]]) -> OpenedDelta {
    let changes = changes.iter().map(|change| change.to_vec()).collect();
    OpenedDelta {
        id: EnvelopeId([number; 32]),
        stream,
        seq: 1,
        author: SignPk([1; 32]),
        member: MemberId([1; 16]),
        delta: Delta { docs: vec![DocDelta { doc: DOC, changes, genesis: NOTE }], ..Delta::default() },
    }
}

fn checked(number: u8, stream: StreamId, changes: &[&[u8]]) -> CheckedDelta {
    check(&opened(number, stream, changes)).unwrap().remove(0)
}

/// A note in one change, as this engine writes it.
fn new_note(actor: StreamId) -> Vec<u8> {
    let draft = crate::modules::notes::Draft { title: "whole", markdown: "text\n", ..Default::default() };
    let parsed = crate::modules::notes::markdown::parse(draft.markdown);
    WholeNote::new(&draft, &parsed, 5).unwrap().encode(&actor, 5).unwrap().bytes
}

/// Why one change is refused by `check`.
fn refused(stream: StreamId, change: &[u8]) -> FenceError {
    check(&opened(1, stream, &[change])).unwrap_err()
}

fn envelope(number: u8) -> EnvelopeId {
    EnvelopeId([number; 32])
}

fn unhex(text: &str) -> Vec<u8> {
    let text = text.trim();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn push_leb(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A chunk with a right checksum around any body: what a dishonest member can make.
fn chunk(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut hashed = vec![kind];
    push_leb(&mut hashed, body.len() as u64);
    hashed.extend_from_slice(body);
    let hash = sha256_plain(&[&hashed]);
    [&[0x85, 0x6f, 0x4a, 0x83][..], &hash[..4], &hashed].concat()
}

fn body_of(change: &[u8]) -> Vec<u8> {
    let length = 9 + change[9..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    change[length..].to_vec()
}

fn deflated(change: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &body_of(change)).unwrap();
    let data = encoder.finish().unwrap();
    let mut out = change[..8].to_vec();
    out.push(2);
    push_leb(&mut out, data.len() as u64);
    out.extend(data);
    out
}

#[test]
fn honest_changes_of_two_devices_go_in_whatever_their_order() {
    let (mut alice, mut bob, mut here) = (document(ALICE), document(BOB), document(HERE));
    let first = set(&mut alice, "title", "from alice");
    let applied = apply(&mut bob, vec![checked(1, ALICE, &[&first])]);
    assert_eq!(applied.applied.len(), 1);
    let second = set(&mut bob, "title", "from bob");
    let third = set(&mut bob, "kind", "task");
    let applied = apply(&mut here, vec![checked(2, BOB, &[&second, &third]), checked(1, ALICE, &[&first])]);
    assert_eq!((applied.applied.len(), applied.waiting.len(), applied.refused.len()), (3, 0, 0));
    assert_eq!(applied.applied.iter().map(|change| change.bytes.clone()).collect::<Vec<_>>(), [first, second, third]);
    assert_eq!(get(&here, "title").as_deref(), Some("from bob"));
    assert_eq!(here.heads(), bob.heads());
    let again = apply(&mut here, vec![checked(2, BOB, &[]), checked(1, ALICE, &[&body_chunk(&mut alice)])]);
    assert!(!again.changed() && again.refused.is_empty(), "what is there is passed over");
}

fn body_chunk(document: &mut Document) -> Vec<u8> {
    document.changes_since(&[]).remove(0).bytes
}

#[test]
fn a_deflated_change_is_the_same_change() {
    let mut alice = document(ALICE);
    let long = "word ".repeat(400);
    let change = set(&mut alice, "title", &long);
    let mut here = document(HERE);
    let applied = apply(&mut here, vec![checked(1, ALICE, &[&deflated(&change)])]);
    assert_eq!(applied.applied[0].bytes, change);
    assert_eq!(get(&here, "title"), Some(long));
}

#[test]
fn a_change_without_its_dependency_waits_and_does_not_stop_others() {
    let (mut alice, mut bob, mut here) = (document(ALICE), document(BOB), document(HERE));
    let (first, second) = (set(&mut alice, "title", "one"), set(&mut alice, "title", "two"));
    let other = set(&mut bob, "kind", "task");
    let applied = apply(&mut here, vec![checked(1, ALICE, &[&second]), checked(2, BOB, &[&other])]);
    assert_eq!((applied.applied.len(), applied.waiting.len()), (1, 1));
    assert_eq!(get(&here, "kind").as_deref(), Some("task"));
    assert!(here.inspect().get_missing_deps(&[]).is_empty(), "nothing is queued inside the document");
    let waiting = &applied.waiting[0];
    let first = checked(3, ALICE, &[&first]);
    assert_eq!(waiting.missing, [first.changes[0].change.hash()]);

    let stored = DocDelta { doc: DOC, changes: vec![waiting.bytes.clone()], genesis: NOTE };
    let retried = check_document(waiting.envelope, waiting.stream, &stored).unwrap();
    let applied = apply(&mut here, vec![retried, first]);
    assert_eq!((applied.applied.len(), applied.waiting.len()), (2, 0));
    assert_eq!(get(&here, "title").as_deref(), Some("two"));
}

#[test]
fn a_change_with_the_actor_of_somebody_else_is_refused_and_the_victim_goes_on() {
    let (mut alice, mut here) = (document(ALICE), document(HERE));
    let mut forger = document(ALICE);
    let forged = set(&mut forger, "title", "forged");
    assert_eq!(refused(BOB, &forged), FenceError::Actor);
    let whole = new_note(ALICE);
    assert!(matches!(check_news(&opened(1, ALICE, &[&whole])).unwrap()[..], [Checked::Whole(_)]));
    assert_eq!(check_news(&opened(1, BOB, &[&whole])).unwrap_err(), FenceError::Actor, "nor a whole note");
    let real = set(&mut alice, "title", "real");
    let applied = apply(&mut here, vec![checked(1, ALICE, &[&real])]);
    assert_eq!(applied.applied.len(), 1);
    assert_eq!(get(&here, "title").as_deref(), Some("real"));
}

#[test]
fn a_second_change_with_one_sequence_is_refused_alone() {
    let (mut alice, mut twin, mut bob, mut here) = (document(ALICE), document(ALICE), document(BOB), document(HERE));
    let (real, other) = (set(&mut alice, "title", "real"), set(&mut twin, "title", "other"));
    let bobs = set(&mut bob, "kind", "task");
    assert_eq!(check(&opened(1, ALICE, &[&real, &other])).unwrap_err(), FenceError::DuplicateSeq);
    apply(&mut here, vec![checked(1, ALICE, &[&real])]);
    let applied = apply(&mut here, vec![checked(2, ALICE, &[&other]), checked(3, BOB, &[&bobs])]);
    assert_eq!(applied.refused, [(envelope(2), FenceError::DuplicateSeq)]);
    assert_eq!(applied.applied.len(), 1);
    assert_eq!(get(&here, "title").as_deref(), Some("real"));
}

#[test]
fn a_change_that_names_an_author_is_refused() {
    let mut body = body_of(&set(&mut document(ALICE), "title", "x"));
    body.extend_from_slice(&[1, 3, b'e', b'v', b'e']);
    let change = chunk(1, &body);
    let parsed = Change::from_bytes(change.clone()).unwrap();
    assert!(parsed.author().is_some() || !parsed.extra_bytes().is_empty());
    assert_eq!(refused(ALICE, &change), FenceError::Author);
}

#[test]
fn only_change_chunks_are_parsed() {
    let bundle = unhex(BUNDLE);
    assert_eq!(bundle[8], 3);
    assert_eq!(refused(ALICE, &bundle), FenceError::ChunkType);
    assert_eq!(refused(ALICE, &chunk(3, &bundle[11..])), FenceError::ChunkType, "with a right length and checksum");
    let whole_document = document(ALICE).snapshot();
    assert_eq!(whole_document[8], 0);
    assert_eq!(refused(ALICE, &whole_document), FenceError::ChunkType);
    assert_eq!(refused(ALICE, b"garbage"), FenceError::ChunkType);
    assert_eq!(refused(ALICE, b""), FenceError::Parse);
}

#[test]
fn a_chunk_must_be_whole_and_alone_and_have_its_checksum() {
    let change = set(&mut document(ALICE), "title", "x");
    for length in 0..change.len() {
        assert!(check(&opened(1, ALICE, &[&change[..length]])).is_err(), "cut at {length}");
    }
    for first in [&change, &deflated(&change)] {
        assert_eq!(refused(ALICE, &[&first[..], &change[..]].concat()), FenceError::Parse);
    }
    let mut wrong = change.clone();
    wrong[4] ^= 1;
    assert_eq!(refused(ALICE, &wrong), FenceError::Parse);
}

/// The fields of a change in front of its columns.
fn body_head(start_op: u64, actors: u64) -> Vec<u8> {
    let mut body = vec![0, 16];
    body.extend_from_slice(&ALICE.0);
    body.push(1);
    push_leb(&mut body, start_op);
    body.extend_from_slice(&[0, 0]);
    push_leb(&mut body, actors);
    body
}

fn with_column(mut body: Vec<u8>, spec: u8, data: &[u8]) -> Vec<u8> {
    body.push(1);
    body.push(spec);
    push_leb(&mut body, data.len() as u64);
    body.extend_from_slice(data);
    chunk(1, &body)
}

#[test]
fn claims_of_many_operations_or_actors_are_refused_before_they_are_walked() {
    // Action column (0x42): a run of 2^40 equal values in seven bytes; the same as nulls; a boolean column (0x34).
    let long_run = [0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0x01];
    let nulls = [0x00, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20];
    for (spec, data) in [(0x42, &long_run[..]), (0x42, &nulls), (0x34, &long_run[..6])] {
        assert_eq!(refused(ALICE, &with_column(body_head(1, 0), spec, data)), FenceError::TooLarge, "{spec:#x}");
    }
    // One operation with 2^40 predecessors (group column 0x70), and a compressed column.
    let group = [0x01, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20];
    assert_eq!(refused(ALICE, &with_column(body_head(1, 0), 0x70, &group)), FenceError::TooLarge);
    assert_eq!(refused(ALICE, &with_column(body_head(1, 0), 0x4a, &long_run)), FenceError::ChunkType);
    assert_eq!(refused(ALICE, &chunk(1, &body_head(1, 100_000))), FenceError::TooLarge);
    assert_eq!(refused(ALICE, &with_column(body_head(u64::from(u32::MAX), 0), 0x42, &[0x7f, 1])), FenceError::Counter);
}

#[test]
fn operation_numbers_cannot_leap_ahead() {
    let mut raw = AutoCommit::new().with_actor(ActorId::from(ALICE.0.as_slice()));
    raw.put(ROOT, "title", "x").unwrap();
    raw.commit();
    let change = raw.get_last_local_change().unwrap().raw_bytes().to_vec();
    let body = body_of(&change);
    // deps(1) ‖ actor(17) ‖ seq(1) ‖ start_op: 1 becomes 2^31.
    assert_eq!(body[19], 1);
    let leap = [&body[..19], &[0x80, 0x80, 0x80, 0x80, 0x08], &body[20..]].concat();
    let mut here = document(HERE);
    let applied = apply(&mut here, vec![checked(1, ALICE, &[&chunk(1, &leap)])]);
    assert_eq!(applied.refused, [(envelope(1), FenceError::Counter)]);
    set(&mut here, "title", "still works");
}

#[test]
fn a_change_that_names_an_unknown_actor_is_refused_and_the_rest_goes_in() {
    // A change that overwrites a value of an actor whose change it does not depend on: without the check
    // Automerge panics in `lookup_actor`.
    let (mut alice, mut bob) = (document(ALICE), document(BOB));
    let bobs = set(&mut bob, "title", "x");
    apply(&mut alice, vec![checked(1, BOB, &[&bobs])]);
    let over = set(&mut alice, "title", "y");
    let mut body = body_of(&over);
    let deps = usize::from(body[0]);
    let genesis = registry::genesis(NOTE).unwrap().hash();
    body.splice(1..1 + 32 * deps, genesis.0);
    body[0] = 1;
    let forged = chunk(1, &body);
    let mut carol = document(StreamId([0xcc; 16]));
    let carols = set(&mut carol, "kind", "task");
    let mut here = document(HERE);
    let applied = apply(&mut here, vec![checked(1, ALICE, &[&forged]), checked(2, StreamId([0xcc; 16]), &[&carols])]);
    assert_eq!(applied.refused, [(envelope(1), FenceError::UnknownActor)]);
    assert_eq!(applied.applied.len(), 1);
    assert_eq!(get(&here, "kind").as_deref(), Some("task"));
}

#[test]
fn an_envelope_for_another_kind_of_document_is_refused() {
    let change = set(&mut document(ALICE), "title", "x");
    let mut wrong = opened(1, ALICE, &[&change]);
    wrong.delta.docs[0].genesis = GenesisId(u32::MAX);
    assert_eq!(check(&wrong).unwrap_err(), FenceError::Genesis);
    wrong.delta.docs[0].genesis = GenesisId(2);
    let delta = check(&wrong).unwrap().remove(0);
    let applied = apply(&mut document(HERE), vec![delta]);
    assert_eq!(applied.refused, [(envelope(1), FenceError::Genesis)]);
}

#[test]
fn the_culprit_among_many_envelopes_is_found_and_what_hangs_on_it_waits() {
    let mut here = document(HERE);
    let streams: Vec<StreamId> = (1..=9).map(|n| StreamId([n; 16])).collect();
    let mut deltas = Vec::new();
    for (index, stream) in streams.iter().enumerate() {
        let mut device = document(*stream);
        let change = set(&mut device, "title", &index.to_string());
        deltas.push(checked(index as u8, *stream, &[&change]));
    }
    // Stream 5 writes a twin of its first change, and one more on top of the twin.
    let mut twin = document(streams[4]);
    let (wrong, on_top) = (set(&mut twin, "title", "twin"), set(&mut twin, "title", "on top"));
    deltas.push(checked(50, streams[4], &[&wrong]));
    deltas.push(checked(51, streams[4], &[&on_top]));
    let applied = apply(&mut here, deltas);
    assert_eq!((applied.applied.len(), applied.refused.len(), applied.waiting.len()), (9, 1, 1));
    assert_eq!(applied.refused[0].1, FenceError::DuplicateSeq);
    let reloaded = Document::load(DOC, NOTE, HERE, &here.snapshot(), &[]).unwrap();
    assert_eq!(reloaded.heads(), here.heads());
}
