//! A note written as one change without its document is the note that the document would have made.

use automerge::{Change, ReadDoc};
use lifeos_sync_protocol::ids::{DocId, StreamId};
use proptest::prelude::*;

use crate::crypto::sha256_plain;
use crate::document::Document;
use crate::modules::notes::markdown::{self, tests::markdownish};
use crate::modules::notes::whole::WholeNote;
use crate::modules::notes::{Draft, Source, body, create, markdown_of};
use crate::projection::{project_whole_note, project_with_search};
use crate::registry::NOTE_GENESIS;

const ACTOR: StreamId = StreamId([7; 16]);
const DOC: DocId = DocId([5; 16]);
const NOW_MS: i64 = 1_780_000_000_000;

fn whole(draft: &Draft<'_>) -> (WholeNote, Vec<u8>) {
    let note = WholeNote::new(draft, &markdown::parse(draft.markdown), NOW_MS).unwrap();
    let change = note.encode(&ACTOR, NOW_MS).unwrap();
    (note, change.bytes)
}

fn loaded(bytes: &[u8]) -> Document {
    Document::load(DOC, NOTE_GENESIS, ACTOR, &[], bytes).unwrap()
}

fn by_document(draft: &Draft<'_>) -> Document {
    let mut document = Document::new(DOC, NOTE_GENESIS, ACTOR).unwrap();
    document.edit(NOW_MS, |doc| create(doc, draft, NOW_MS)).unwrap();
    document
}

/// Everything that can be seen of a note, now and after the same edits.
fn assert_same(draft: &Draft<'_>, places: &[usize]) {
    let (note, bytes) = whole(draft);
    let change = Change::from_bytes(bytes.clone()).unwrap();
    assert_eq!(change.raw_bytes(), bytes, "Automerge reads the bytes as they are");
    let (mut direct, mut usual) = (loaded(&bytes), by_document(draft));
    assert_eq!(direct.heads(), [change.hash()]);
    assert_eq!(direct.updated_ms(), usual.updated_ms());
    assert_eq!(project_with_search(&direct), project_with_search(&usual));
    assert_eq!(project_with_search(&direct), project_whole_note(&note, NOW_MS));
    assert_eq!(markdown_of(direct.read()).unwrap(), markdown_of(usual.read()).unwrap());
    // Automerge keeps operations, not changes: what it builds out of them again must be the same bytes.
    assert_eq!(direct.changes_since(&[])[0].bytes, bytes);
    let snapshot = direct.snapshot();
    let again = Document::load(DOC, NOTE_GENESIS, ACTOR, &snapshot, &[]).unwrap();
    assert_eq!(again.heads(), direct.heads());

    let read = WholeNote::decode(&bytes).unwrap();
    assert_eq!((read.actor, read.time_ms, read.hash), (ACTOR, NOW_MS, change.hash()));
    assert_eq!(read.note, note);

    let text = body::object(direct.read()).unwrap();
    let flat = body::Flat::read(direct.read(), &text, None).unwrap();
    assert_eq!(body::read(direct.read(), None).unwrap(), flat.to_body(), "both ways of reading a body");
    for place in places {
        let at = place % (direct.read().length(&text) + 1);
        direct.edit(NOW_MS + 1, |doc| body::splice(doc, at, 0, "x")).unwrap();
        usual.edit(NOW_MS + 1, |doc| body::splice(doc, at, 0, "x")).unwrap();
        let bodies = [&direct, &usual].map(|document| body::read(document.read(), None).unwrap());
        assert_eq!(bodies[0], bodies[1], "typed at {at}");
    }
}

#[test]
fn a_note_with_everything_in_it_is_the_same_both_ways() {
    let text = "---\ntags: [a, b]\nrating: 3\ntags: twice\n---\n# Ünïcode 🎉\n\n- [ ] open\n- [x] **done**\n\n\
                **bold *both* [link](http://x.y/z)** `code`[[Wiki|shown]]==mark==~~gone~~\n\n> [!note] call\n> out\n\n\
                ```rust\nfn main() {}\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n";
    let (tags, hash) = (vec!["Tag".to_owned(), "tag".to_owned(), "other".to_owned()], sha256_plain(&[b"file"]));
    let draft = Draft {
        title: " A  title ",
        markdown: text,
        notebook: Some("00112233445566778899aabbccddeeff"),
        tags: &tags,
        kind: Some("template"),
        source: Some(Source { path: "folder/file.md", hash }),
    };
    assert_same(&draft, &(0..200).collect::<Vec<_>>());
    assert_same(&Draft::default(), &[0, 1]);
}

#[test]
fn a_draft_that_no_note_holds_is_refused_both_ways() {
    let tags = vec![" ".to_owned()];
    let long = "x".repeat(crate::registry::BODY_BYTES_MAX + 1);
    for draft in [Draft { tags: &tags, ..Draft::default() }, Draft { markdown: &long, ..Draft::default() }] {
        let mut document = Document::new(DOC, NOTE_GENESIS, ACTOR).unwrap();
        let usual = document.edit(NOW_MS, |doc| create(doc, &draft, NOW_MS)).unwrap_err();
        assert_eq!(WholeNote::new(&draft, &markdown::parse(draft.markdown), NOW_MS).unwrap_err(), usual);
    }
}

#[test]
fn a_change_that_a_document_made_is_left_to_automerge() {
    let mut usual = by_document(&Draft { markdown: "# a\n\nb **c**\n", ..Draft::default() });
    assert_eq!(WholeNote::decode(&usual.changes_since(&[])[0].bytes), None);
    let (_, bytes) = whole(&Draft { markdown: "a", ..Draft::default() });
    for length in 0..bytes.len() {
        assert_eq!(WholeNote::decode(&bytes[..length]), None);
    }
}

/// The bytes with some of the body changed and the checksum made right again.
fn mutated(bytes: &[u8], edits: &[(usize, u8)]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let body = 9 + bytes[9..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    for (place, value) in edits {
        let length = out.len() - body;
        out[body + place % length] ^= value;
    }
    let hash = sha256_plain(&[&out[8..]]);
    out[4..8].copy_from_slice(&hash[..4]);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_note_is_the_same_both_ways(text in markdownish(), places in prop::collection::vec(0_usize..400, 0..6)) {
        assert_same(&Draft { title: "t", markdown: &text, ..Draft::default() }, &places);
    }

    #[test]
    fn any_text_is_the_same_both_ways(text in any::<String>()) {
        assert_same(&Draft { markdown: &text, ..Draft::default() }, &[0, 3]);
    }

    /// Importing reads the parsed text once, and keeps for the rows what it read.
    #[test]
    fn what_is_read_off_a_text_is_what_its_note_gives(text in markdownish()) {
        let parsed = markdown::parse(&text);
        let note = WholeNote::new(&Draft { markdown: &text, ..Draft::default() }, &parsed, NOW_MS).unwrap();
        prop_assert_eq!(note.derived(), markdown::Derived::of(&parsed.body));
    }

    /// The heart of receiving without loading: what is believed by its bytes does load, and to what is believed.
    #[test]
    fn whatever_is_read_without_automerge_loads_to_the_same_note(
        text in markdownish(),
        edits in prop::collection::vec((any::<usize>(), 1_u8..), 0..3),
    ) {
        let (_, bytes) = whole(&Draft { title: "t", markdown: &text, ..Draft::default() });
        let bytes = mutated(&bytes, &edits);
        if let Some(read) = WholeNote::decode(&bytes) {
            let mut document = Document::load(DOC, NOTE_GENESIS, ACTOR, &[], &bytes).unwrap();
            prop_assert_eq!(document.heads(), vec![read.hash]);
            prop_assert_eq!(project_with_search(&document), project_whole_note(&read.note, read.time_ms));
            let snapshot = document.snapshot();
            prop_assert!(Document::load(DOC, NOTE_GENESIS, ACTOR, &snapshot, &[]).is_ok());
        }
    }
}

#[test]
fn many_mutations_are_read_and_most_are_not() {
    let text = "# Title\n\nsome **bold** text and [a link](http://x.y)\n\n- [ ] todo\n";
    let (_, bytes) = whole(&Draft { title: "title", markdown: text, ..Draft::default() });
    let (mut read, mut left) = (0, 0);
    for place in 0..bytes.len() {
        for value in [1, 4, 0x20, 0x80] {
            match WholeNote::decode(&mutated(&bytes, &[(place, value)])) {
                Some(note) => {
                    read += 1;
                    let document = loaded_by(&mutated(&bytes, &[(place, value)]), note.actor);
                    assert_eq!(project_with_search(&document), project_whole_note(&note.note, note.time_ms));
                }
                None => left += 1,
            }
        }
    }
    assert!(read > 50 && left > 200, "{read} read, {left} left");
}

fn loaded_by(bytes: &[u8], actor: StreamId) -> Document {
    Document::load(DOC, NOTE_GENESIS, actor, &[], bytes).unwrap()
}
