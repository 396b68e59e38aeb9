//! Nothing is written that the field registry does not declare.

use automerge::{ROOT, ReadDoc};
use serde_json::json;

use super::super::{
    Source, attachments, body, front, history, journal, move_to, pin, restore, set_title, tags, trash, tree,
};
use super::*;
use crate::modules::attachment::{self, ContentHash, PartList};
use crate::modules::{noted, space};
use crate::own_devices::CLAIM_BYTES;
use crate::registry::{ATTACHMENT_GENESIS, Field, NOTE_TREE_GENESIS, SPACE_GENESIS, field_of, kind};
use lifeos_sync_protocol::ids::{MemberId, SignPk, SpaceId};

/// Root keys of a document, each of which must be declared; returns the ids of the fields they belong to.
fn declared(document: &Document) -> Vec<&'static str> {
    let keys = document.read().keys(ROOT);
    let field =
        |key: String| field_of(document.genesis(), &key).unwrap_or_else(|| panic!("{key} is not in the registry")).id;
    keys.map(field).collect()
}

fn note_after_every_operation() -> Document {
    let mut devices = Devices::new(NOTE_GENESIS, 1);
    let notebook = "0".repeat(32);
    let draft = Draft {
        title: "T",
        markdown: "---\np: 1\n---\n- [ ] a **b**\n",
        notebook: Some(&notebook),
        tags: &["tag".to_owned()],
        kind: Some("template"),
        source: Some(Source { path: "x.md", hash: [0; 32] }),
    };
    devices.edit(0, |doc, now| create(doc, &draft, now));
    let first = devices.documents[0].heads()[0];
    devices.edit(0, |doc, _| set_title(doc, "U"));
    devices.edit(0, |doc, _| pin(doc, true));
    devices.edit(0, |doc, _| move_to(doc, None));
    devices.edit(0, |doc, _| tags::untag(doc, "tag"));
    devices.edit(0, |doc, _| front::set_property(doc, "q", Some(&json!(true))));
    devices.edit(0, |doc, _| body::set_todo(doc, 0, true));
    devices.edit(0, |doc, _| body::splice(doc, 1, 0, "x"));
    devices.edit(0, |doc, _| attachments::attach(doc, &ContentHash([7; 32]), "a.png"));
    devices.edit(0, |doc, _| attachments::detach(doc, &ContentHash([7; 32])));
    devices.edit(0, trash);
    devices.edit(0, |doc, _| restore(doc));
    devices.edit(0, |doc, _| history::restore_version(doc, &first));
    devices.documents.remove(0)
}

#[test]
fn every_operation_writes_declared_fields_only() {
    let mut seen = declared(&note_after_every_operation());
    let mut devices = Devices::new(NOTE_GENESIS, 1);
    let day = "2026-11-24".parse().unwrap();
    devices.edit(0, |doc, now| journal::begin(doc, day, Some("Text\n"), &[], now));
    seen.extend(declared(&devices.documents[0]));
    let mut devices = Devices::new(NOTE_TREE_GENESIS, 1);
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    devices.edit(0, |doc, _| tree::create(doc, &a, "A", None));
    devices.edit(0, |doc, _| tree::create(doc, &b, "B", Some(&a)));
    devices.edit(0, |doc, now| tree::delete(doc, &b, now));
    seen.extend(declared(&devices.documents[0]));
    let mut devices = Devices::new(SPACE_GENESIS, 1);
    devices.edit(0, |doc, _| space::set_device_name(doc, &SignPk([1; 32]), "d"));
    devices.edit(0, |doc, _| space::set_member_name(doc, &MemberId([1; 16]), "m"));
    devices.edit(0, |doc, _| space::set_space_name(doc, "s"));
    let other = SpaceId([1; 32]);
    devices.edit(0, |doc, _| space::note_space(doc, &other, &[2; 32], Some("wss://relay.example")));
    devices.edit(0, |doc, _| noted::note_member(doc, &other, &MemberId([3; 16])));
    devices.edit(0, |doc, _| noted::set_claim(doc, &other, &SignPk([4; 32]), &[5; CLAIM_BYTES]));
    let keys = noted::PaperKeys { space: SignPk([3; 32]), home: SignPk([4; 32]) };
    devices.edit(0, |doc, _| noted::note_paper_keys(doc, &SpaceId([1; 32]), &keys));
    seen.extend(declared(&devices.documents[0]));
    let mut devices = Devices::new(ATTACHMENT_GENESIS, 1);
    let list = PartList { size: 0, parts: Vec::new() };
    devices.edit(0, |doc, _| attachment::set_parts(doc, &ContentHash([7; 32]), "image/png", &list));
    seen.extend(declared(&devices.documents[0]));
    // Every declared field has an operation that writes it; versions are written from the second one on.
    let kinds =
        [NOTE_GENESIS, NOTE_TREE_GENESIS, SPACE_GENESIS, ATTACHMENT_GENESIS].map(|genesis| kind(genesis).unwrap());
    let waits = |field: &Field| field.key.starts_with("schema:");
    for field in kinds.iter().flat_map(|kind| kind.fields).filter(|field| !waits(field)) {
        assert!(seen.contains(&field.id), "nothing writes {}", field.id);
    }
}

#[test]
fn a_key_written_past_the_registry_is_found() {
    use automerge::transaction::Transactable;
    let mut devices = Devices::new(NOTE_GENESIS, 1);
    devices.edit(0, |doc, _| Ok(doc.put(ROOT, "colour", "red")?));
    let found = std::panic::catch_unwind(|| declared(&devices.documents[0]));
    assert!(found.is_err());
}
