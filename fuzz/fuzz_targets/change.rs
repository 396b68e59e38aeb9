//! The fence: a change of a dishonest member, with its length and checksum repaired so that it gets as deep as it can,
//! never panics out of the fence and leaves a document that saves and loads.
#![no_main]

use std::sync::Once;

use libfuzzer_sys::fuzz_target;
use lifeos_client_core::crypto::sha256_plain;
use lifeos_client_core::delta::{Delta, DocDelta};
use lifeos_client_core::document::{Document, GenesisId};
use lifeos_client_core::envelope::OpenedDelta;
use lifeos_client_core::fence::{apply, check};
use lifeos_client_core::protocol::ids::{DocId, EnvelopeId, MemberId, SignPk, StreamId};

const DOC: DocId = DocId([3; 16]);
const NOTE: GenesisId = GenesisId(1);
const STREAM: StreamId = StreamId([0xa1; 16]);

/// Panics inside the fence are caught there; the fuzzer's own hook would abort on them. What escapes still ends the run.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
}

/// A change chunk with this body.
fn chunk(body: &[u8]) -> Vec<u8> {
    let mut typed = vec![1];
    let mut length = body.len();
    while length >= 0x80 {
        typed.push(length as u8 | 0x80);
        length >>= 7;
    }
    typed.push(length as u8);
    typed.extend_from_slice(body);
    let hash = sha256_plain(&[&typed]);
    [&[0x85, 0x6f, 0x4a, 0x83][..], &hash[..4], &typed].concat()
}

fuzz_target!(|body: &[u8]| {
    quiet();
    let change = chunk(body);
    let delta = Delta { docs: vec![DocDelta { doc: DOC, changes: vec![change], genesis: NOTE }], ..Delta::default() };
    let opened = OpenedDelta {
        id: EnvelopeId([1; 32]),
        stream: STREAM,
        seq: 1,
        author: SignPk([4; 32]),
        member: MemberId([5; 16]),
        delta,
    };
    let Ok(checked) = check(&opened) else { return };
    let mut document = Document::new(DOC, NOTE, StreamId([0xb2; 16])).expect("a known genesis");
    let before = document.heads();
    if !apply(&mut document, checked).changed() {
        assert_eq!(document.heads(), before);
    }
    let snapshot = document.snapshot();
    Document::load(DOC, NOTE, StreamId([0xb2; 16]), &snapshot, &[]).expect("what was accepted loads");
});
