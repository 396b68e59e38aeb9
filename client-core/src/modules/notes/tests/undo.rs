//! Undo and redo, alone and after others have written.

use automerge::ChangeHash;
use proptest::prelude::*;
use serde_json::json;

use super::super::tree::{self, Tree};
use super::super::{apply_undo, body, front, set_title, tags, trash};
use super::*;
use crate::registry::NOTE_TREE_GENESIS;

impl Devices {
    fn undo(&mut self, device: usize, change: ChangeHash) -> Option<LocalChange> {
        let genesis = self.documents[device].genesis();
        self.edit(device, |doc, now| apply_undo(doc, genesis, &change, now))
    }
}

#[test]
fn undo_takes_back_an_edit_and_redo_brings_it_again() {
    let mut devices = Devices::with_note("# One\n\nsome **bold** text\n\n- [ ] todo\n");
    let before = devices.markdown(0);
    let after = "Two\n\nsome *soft* words\n\n- [x] todo\n- [ ] more\n";
    let change = devices.set(0, after).unwrap();
    let undone = devices.undo(0, change.hash).unwrap();
    assert_eq!(devices.markdown(0), before);
    let redone = devices.undo(0, undone.hash).unwrap();
    assert_eq!(devices.markdown(0), after);
    devices.undo(0, redone.hash);
    assert_eq!(devices.markdown(0), before);
}

#[test]
fn undo_keeps_what_another_device_wrote_inside_and_beside() {
    let mut devices = Devices::with_note("alpha beta gamma\n\nend\n");
    let change = devices.set(0, "alpha BETA gamma\n\nnew line\n\nend\n").unwrap();
    devices.set(1, "alpha beta gamma, delta\n\nthe end\n");
    devices.meet();
    devices.undo(0, change.hash);
    assert_eq!(devices.markdown(0), "alpha beta gamma, delta\n\nthe end\n");
}

#[test]
fn undo_of_bold_leaves_the_text_typed_inside_elsewhere() {
    let mut devices = Devices::with_note("hello world\n");
    let change = devices.set(0, "**hello world**\n").unwrap();
    devices.edit(1, |doc, _| body::splice(doc, 6, 0, ", dear"));
    devices.meet();
    devices.undo(0, change.hash);
    assert_eq!(devices.markdown(0), "hello, dear world\n");
}

#[test]
fn a_register_somebody_wrote_since_is_left_alone() {
    let mut devices = Devices::with_note("x\n");
    let mine = devices.edit(0, |doc, _| set_title(doc, "Mine")).unwrap();
    devices.meet();
    devices.edit(1, |doc, _| set_title(doc, "Theirs"));
    devices.meet();
    assert!(devices.undo(0, mine.hash).is_some(), "the alias goes");
    assert_eq!(devices.note("title"), text("Theirs"));
}

#[test]
fn registers_tags_properties_and_ticks_come_back() {
    let mut devices = Devices::with_note("---\np: 1\n---\n- [ ] a\n");
    let change = devices
        .edit(0, |doc, now| {
            set_title(doc, "Changed")?;
            tags::tag(doc, "t")?;
            front::set_property(doc, "p", Some(&json!(2)))?;
            body::set_todo(doc, 0, true)?;
            trash(doc, now)
        })
        .unwrap();
    assert_eq!(devices.markdown(0), "---\np: 2\n---\n- [x] a\n");
    devices.undo(0, change.hash);
    assert_eq!((devices.note("title"), devices.note("trashed_ms")), (text("Title"), Value::Null));
    assert_eq!(devices.rows(0, "note_tag"), []);
    assert_eq!(devices.rows(0, "note_alias"), []);
    assert_eq!(devices.markdown(0), "---\np: 1\n---\n- [ ] a\n");
}

#[test]
fn undoing_a_new_note_trashes_it_and_redo_brings_it_back() {
    let mut devices = Devices::new(NOTE_GENESIS, 1);
    let change =
        devices.edit(0, |doc, now| create(doc, &Draft { title: "T", markdown: "x", ..Draft::default() }, now)).unwrap();
    let undone = devices.undo(0, change.hash).unwrap();
    assert_ne!(devices.note("trashed_ms"), Value::Null);
    assert_eq!(devices.markdown(0), "x");
    devices.undo(0, undone.hash);
    assert_eq!(devices.note("trashed_ms"), Value::Null);
}

#[test]
fn undoing_a_new_notebook_removes_it_and_a_move_goes_back() {
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    let mut devices = Devices::new(NOTE_TREE_GENESIS, 1);
    devices.edit(0, |doc, _| tree::create(doc, &a, "A", None));
    let made = devices.edit(0, |doc, _| tree::create(doc, &b, "B", None)).unwrap();
    let moved = devices.edit(0, |doc, _| tree::move_to(doc, &b, Some(&a), None)).unwrap();
    devices.undo(0, moved.hash);
    assert_eq!(Tree::read(devices.documents[0].read()).nodes[&b].parent, None);
    devices.undo(0, made.hash);
    assert!(Tree::read(devices.documents[0].read()).nodes[&b].deleted_ms.is_some());
}

#[test]
fn a_change_that_is_not_there_cannot_be_undone() {
    let mut devices = Devices::with_note("x");
    let refused = devices.try_edit(0, |doc, now| apply_undo(doc, NOTE_GENESIS, &ChangeHash([9; 32]), now));
    assert_eq!(refused, Err(DocumentError::InvalidEdit("there is no such change")));
}

fn prose() -> impl Strategy<Value = String> {
    let line = "(# |- \\[ \\] |- \\[x\\] |)[abc]{1,3}( \\*\\*[de]{1,2}\\*\\*)?( [fg]{1,3})?";
    proptest::collection::vec(line, 0..5).prop_map(|lines| lines.join("\n\n") + "\n")
}

proptest! {
    #[test]
    fn undo_at_once_gives_the_note_of_before(first in prose(), second in prose()) {
        let mut devices = Devices::with_note(&first);
        if let Some(change) = devices.set(0, &second) {
            let undone = devices.undo(0, change.hash).unwrap();
            prop_assert_eq!(devices.markdown(0), first);
            devices.undo(0, undone.hash);
            prop_assert_eq!(devices.markdown(0), second);
        }
    }

    /// The remote device inserts capital letters and deletes nothing: every one of them is still there after the
    /// undo, in their order, and everything else is what it was before the edit.
    #[test]
    fn undo_after_a_concurrent_edit_keeps_that_edit(
        first in prose(),
        second in prose(),
        typed in proptest::collection::vec((any::<prop::sample::Index>(), "[A-Z]{1,3}"), 1..4),
    ) {
        let mut devices = Devices::with_note(&first);
        let change = devices.set(0, &second);
        for (place, text) in typed {
            let length = { let doc = devices.documents[1].read(); automerge::ReadDoc::length(doc, body::object(doc).unwrap()) };
            let at = if length == 0 { 0 } else { 1 + place.index(length) };
            devices.edit(1, |doc, _| body::splice(doc, at, 0, &text));
        }
        let remote = flat_text(&devices, 1);
        devices.meet();
        if let Some(change) = change {
            devices.undo(0, change.hash);
        }
        let capitals = |text: &str| text.chars().filter(char::is_ascii_uppercase).collect::<String>();
        let now = flat_text(&devices, 0);
        prop_assert_eq!(capitals(&now), capitals(&remote));
        let rest = |text: &str| text.chars().filter(|c| !c.is_ascii_uppercase()).collect::<String>();
        prop_assert_eq!(rest(&now), rest(&remote));
    }
}

fn flat_text(devices: &Devices, device: usize) -> String {
    let body = body::read(devices.documents[device].read(), None).unwrap();
    body.blocks.iter().map(|block| format!("|{}", block.text())).collect()
}
