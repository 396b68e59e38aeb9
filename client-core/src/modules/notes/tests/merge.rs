//! The same note edited on two devices: both edits survive.

use proptest::prelude::*;
use serde_json::json;

use super::super::{body, front, restore, set_title, tags, trash};
use super::*;

#[test]
fn edits_of_different_words_both_survive() {
    let mut devices = Devices::with_note("one two three\n\nfour\n");
    devices.set(0, "one TWO three\n\nfour\n");
    devices.set(1, "one two three\n\nfour five\n");
    devices.meet();
    assert_eq!(devices.markdown(0), "one TWO three\n\nfour five\n");
}

#[test]
fn both_devices_tick_the_same_todo() {
    let mut devices = Devices::with_note("- [ ] milk\n- [ ] bread\n");
    devices.edit(0, |doc, _| body::set_todo(doc, 0, true));
    devices.set(1, "- [x] milk\n- [ ] bread\n- [ ] eggs\n");
    devices.meet();
    assert_eq!(devices.markdown(1), "- [x] milk\n- [ ] bread\n- [ ] eggs\n");
}

#[test]
fn bold_grows_over_what_is_typed_inside_elsewhere() {
    let mut devices = Devices::with_note("hello world\n");
    devices.set(0, "**hello world**\n");
    devices.edit(1, |doc, _| body::splice(doc, 6, 0, ", dear"));
    devices.meet();
    assert_eq!(devices.markdown(0), "**hello, dear world**\n");
}

#[test]
fn a_heading_made_here_and_text_typed_there_meet_in_one_block() {
    let mut devices = Devices::with_note("plan\n\nrest\n");
    devices.set(0, "# plan\n\nrest\n");
    devices.set(1, "plan B\n\nrest\n");
    devices.meet();
    assert_eq!(devices.markdown(0), "# plan B\n\nrest\n");
}

#[test]
fn a_rename_and_an_edit_both_survive() {
    let mut devices = Devices::with_note("a\n");
    devices.edit(0, |doc, _| set_title(doc, "Renamed"));
    devices.set(1, "a b\n");
    devices.meet();
    assert_eq!((devices.note("title"), devices.markdown(0)), (text("Renamed"), "a b\n".to_owned()));
}

#[test]
fn different_properties_merge_even_through_the_text() {
    let mut devices = Devices::with_note("---\na: 1\nb: 2\n---\nx\n");
    devices.set(0, "---\na: 10\nb: 2\n---\nx\n");
    devices.edit(1, |doc, _| front::set_property(doc, "b", Some(&json!(20))));
    devices.edit(1, |doc, _| front::set_property(doc, "c", Some(&json!("new"))));
    devices.meet();
    assert_eq!(devices.markdown(0), "---\na: 10\nb: 20\nc: new\n---\nx\n");
}

#[test]
fn two_devices_that_make_the_same_tag_make_one() {
    let mut devices = Devices::with_note("x");
    devices.edit(0, |doc, _| tags::tag(doc, "Work"));
    devices.edit(1, |doc, _| tags::tag(doc, "#work"));
    devices.meet();
    assert_eq!(devices.rows(0, "note_tag").len(), 1);
}

#[test]
fn adding_a_tag_wins_over_removing_it_at_the_same_time() {
    for adder in [0, 1] {
        let mut devices = Devices::with_note("x");
        devices.edit(0, |doc, _| tags::tag(doc, "t"));
        devices.edit(0, |doc, _| tags::untag(doc, "t"));
        devices.meet();
        devices.edit(adder, |doc, _| tags::tag(doc, "t"));
        devices.edit(1 - adder, |doc, _| {
            tags::tag(doc, "t")?;
            tags::untag(doc, "t")
        });
        devices.meet();
        assert_eq!(devices.rows(0, "note_tag").len(), 1, "added on {adder}");
    }
}

#[test]
fn an_edit_beside_the_trash_is_shown_and_restoring_brings_it_back() {
    let mut devices = Devices::with_note("a\n");
    devices.edit(0, trash);
    devices.set(1, "a b\n");
    devices.meet();
    assert_eq!(devices.note("edited_after_trash"), Value::Int(1));
    devices.edit(1, |doc, _| restore(doc));
    devices.meet();
    assert_eq!((devices.note("trashed_ms"), devices.note("edited_after_trash")), (Value::Null, Value::Int(0)));
    assert_eq!(devices.markdown(0), "a b\n");
}

#[test]
fn trashing_on_both_devices_is_no_edit_after_trash() {
    let mut devices = Devices::with_note("a\n");
    devices.edit(0, trash);
    devices.edit(1, trash);
    devices.meet();
    assert_eq!(devices.note("edited_after_trash"), Value::Int(0));
    devices.set(0, "b\n");
    devices.meet();
    assert_eq!(devices.note("edited_after_trash"), Value::Int(1));
}

#[derive(Debug, Clone)]
enum Op {
    Set(usize, String),
    Splice(usize, prop::sample::Index, usize, String),
    Todo(usize, usize, bool),
    Title(usize, String),
    Tag(usize, u8, bool),
    Property(usize, u8, Option<i64>),
    Trash(usize, bool),
    Send(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let device = 0..3_usize;
    prop_oneof![
        (device.clone(), "(- \\[ \\] |# |)[ab ]{0,6}(\n- \\[x\\] c|\n\n\\*\\*d\\*\\* e|)")
            .prop_map(|(d, text)| Op::Set(d, text)),
        (device.clone(), any::<prop::sample::Index>(), 0..3_usize, "[xy\n]{0,3}")
            .prop_map(|(d, at, del, text)| Op::Splice(d, at, del, text)),
        (device.clone(), 0..2_usize, any::<bool>()).prop_map(|(d, at, done)| Op::Todo(d, at, done)),
        (device.clone(), "[A-C]{1,2}").prop_map(|(d, title)| Op::Title(d, title)),
        (device.clone(), 0..3_u8, any::<bool>()).prop_map(|(d, tag, on)| Op::Tag(d, tag, on)),
        (device.clone(), 0..3_u8, any::<Option<i64>>()).prop_map(|(d, name, value)| Op::Property(d, name, value)),
        (device.clone(), any::<bool>()).prop_map(|(d, on)| Op::Trash(d, on)),
        (device.clone(), device).prop_map(|(from, to)| Op::Send(from, to)),
    ]
}

fn run(devices: &mut Devices, op: Op) {
    let length = |devices: &Devices, device: usize| {
        let doc = devices.documents[device].read();
        automerge::ReadDoc::length(doc, body::object(doc).unwrap())
    };
    match op {
        Op::Set(device, text) => drop(devices.set(device, &text)),
        Op::Splice(device, at, delete, text) => {
            let length = length(devices, device);
            let at = at.index(length + 1);
            devices.edit(device, |doc, _| body::splice(doc, at, delete.min(length - at), &text));
        }
        Op::Todo(device, at, done) => drop(devices.try_edit(device, |doc, _| body::set_todo(doc, at, done))),
        Op::Title(device, title) => drop(devices.edit(device, |doc, _| set_title(doc, &title))),
        Op::Tag(device, tag, true) => drop(devices.edit(device, |doc, _| tags::tag(doc, &format!("t{tag}")))),
        Op::Tag(device, tag, false) => drop(devices.edit(device, |doc, _| tags::untag(doc, &format!("T{tag}")))),
        Op::Property(device, name, value) => {
            let value = value.map(|value| json!(value));
            devices.edit(device, |doc, _| front::set_property(doc, &format!("p{name}"), value.as_ref()));
        }
        Op::Trash(device, true) => drop(devices.edit(device, trash)),
        Op::Trash(device, false) => drop(devices.edit(device, |doc, _| restore(doc))),
        Op::Send(from, to) if from != to => devices.send(from, to),
        Op::Send(..) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// `meet` compares heads and all rows of devices that got the changes in different orders.
    #[test]
    fn devices_that_met_show_equal_rows_and_text(ops in proptest::collection::vec(op(), 1..25)) {
        let mut devices = Devices::new(NOTE_GENESIS, 3);
        devices.edit(0, |doc, now| create(doc, &Draft { title: "T", markdown: "start\n\n- [ ] todo\n", ..Draft::default() }, now));
        devices.send(0, 1);
        devices.send(0, 2);
        ops.into_iter().for_each(|op| run(&mut devices, op));
        devices.meet();
        prop_assert_eq!(devices.markdown(0), devices.markdown(1));
        prop_assert_eq!(devices.markdown(0), devices.markdown(2));
        // A document that was stored and loaded shows the same again.
        let snapshot = devices.documents[0].snapshot();
        let loaded = Document::load(DocId([5; 16]), NOTE_GENESIS, StreamId([9; 16]), &snapshot, &[]).unwrap();
        prop_assert_eq!(project(&loaded), project(&devices.documents[0]));
    }
}

#[derive(Debug, Clone)]
enum Foreign {
    Put(usize, i64),
    Block(prop::sample::Index, usize, i64),
    Mark(prop::sample::Index, usize, i64),
    List(prop::sample::Index),
}

fn foreign() -> impl Strategy<Value = Foreign> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        (0..16_usize, 0..7_i64).prop_map(|(key, value)| Foreign::Put(key, value)),
        (place(), 0..6_usize, 0..7_i64).prop_map(|(at, name, value)| Foreign::Block(at, name, value)),
        (place(), 0..6_usize, 0..7_i64).prop_map(|(at, name, value)| Foreign::Mark(at, name, value)),
        place().prop_map(Foreign::List),
    ]
}

fn any_scalar(seed: i64) -> automerge::ScalarValue {
    use automerge::ScalarValue;
    match seed {
        0 => ScalarValue::Null,
        1 => ScalarValue::Int(i64::MIN),
        2 => ScalarValue::Bytes(vec![0xff; 3]),
        3 => ScalarValue::Str("\u{0}\n  \u{fffc}[[x]] é ".repeat(100).into()),
        4 => ScalarValue::Timestamp(i64::MAX),
        5 => ScalarValue::Boolean(true),
        _ => ScalarValue::Str("---\na: [\n---\n".into()),
    }
}

fn write_foreign(doc: &mut AutoCommit, foreign: &Foreign) -> Result<(), DocumentError> {
    use automerge::marks::{ExpandMark, Mark};
    use automerge::transaction::Transactable;
    use automerge::{ObjType, ROOT, ReadDoc};
    const KEYS: [&str; 16] = [
        "title",
        "kind",
        "pinned",
        "del",
        "created",
        "notebook",
        "front",
        "source:path",
        "source:hash",
        "tag/x",
        "tag/",
        "prop/a",
        "prop/tags",
        "alias/x",
        "unknown",
        "schema",
    ];
    const NAMES: [&str; 6] = ["type", "state", "gap", "strong", "wikilink", "nest"];
    let text = body::object(doc)?;
    let length = doc.length(&text);
    match foreign {
        Foreign::Put(key, value) => doc.put(ROOT, KEYS[*key], any_scalar(*value))?,
        Foreign::Block(at, name, value) => {
            let block = doc.split_block(&text, at.index(length + 1))?;
            doc.put(&block, NAMES[*name], any_scalar(*value))?;
            doc.put_object(&block, "nested", ObjType::List)?;
        }
        Foreign::Mark(at, name, value) if length > 0 => {
            let start = at.index(length);
            doc.mark(&text, Mark::new(NAMES[*name].to_owned(), any_scalar(*value), start, length), ExpandMark::Both)?;
        }
        Foreign::Mark(..) => {}
        Foreign::List(at) => drop(doc.insert_object(&text, at.index(length + 1), ObjType::List)?),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_another_device_writes_is_shown_and_can_be_edited_over(writes in proptest::collection::vec(foreign(), 1..12)) {
        let mut devices = Devices::with_note("# Head\n\n- [ ] todo **bold**\n");
        for write in &writes {
            devices.edit(1, |doc, _| write_foreign(doc, write));
        }
        devices.meet();
        devices.set(0, "plain\n\n- [x] other\n");
        prop_assert!(devices.markdown(0).contains("plain"));
        devices.meet();
        prop_assert!(!super::super::history::page(&devices.documents[0], 10, 0).is_empty());
    }
}

#[test]
fn attachments_that_two_devices_add_at_once_both_stay_and_adding_wins_over_removing() {
    use super::super::attachments::{attach, attachments, detach};
    use crate::modules::attachment::ContentHash;
    let (one, other) = (ContentHash([1; 32]), ContentHash([2; 32]));
    let mut devices = Devices::with_note("text\n");
    devices.edit(0, |doc, _| attach(doc, &one, "one.png"));
    devices.edit(1, |doc, _| attach(doc, &other, "other.png"));
    devices.meet();
    assert_eq!(attachments(devices.documents[0].read()).into_keys().collect::<Vec<_>>(), [one, other]);
    devices.edit(0, |doc, _| detach(doc, &one));
    devices.edit(1, |doc, _| attach(doc, &one, "renamed.png"));
    devices.meet();
    for device in &devices.documents {
        assert_eq!(attachments(device.read())[&one], "renamed.png");
    }
    assert_eq!(devices.rows(0, "note_attachment").len(), 2);
    devices.edit(0, |doc, _| detach(doc, &one));
    devices.meet();
    assert_eq!(attachments(devices.documents[1].read()).into_keys().collect::<Vec<_>>(), [other]);
    assert_eq!(devices.rows(0, "note_attachment").len(), 1);
}
