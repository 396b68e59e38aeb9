//! What a person does to one note, on one device.

use proptest::prelude::*;
use serde_json::json;

use super::super::markdown::{self, Parsed};
use super::super::{Source, body, front, history, move_to, pin, set_title, tags, trash};
use super::*;
use crate::projection::search_text;
use crate::registry::BODY_BYTES_MAX;

const RICH: &str = "---\ntitle: Plan\ntags: [work, \"Home\"]\ncount: 3\n---\n# Plan\n\nSome **bold** and *soft* text with [[Other note|a link]] and `code`.\n\n- [ ] milk\n- [x] bread\n1. one\n2. two\n\n> [!note] Mind\n> the gap\n\n```rust\nfn main() {}\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n![[picture.png]] and [more](Some%20file.md#part) #inline\n";

#[test]
fn an_imported_note_goes_out_byte_for_byte() {
    for markdown in
        [RICH, "", "\n", "plain", "plain\n\n\n", "# A\r\n\r\nb\r\n", "\u{feff}x\n", "a\u{fffc}b **c**\u{fffc}\n"]
    {
        assert_eq!(Devices::with_note(markdown).markdown(1), markdown);
    }
}

#[test]
fn rows_hold_what_lists_and_links_need() {
    let mut devices = Devices::new(NOTE_GENESIS, 1);
    let notebook = "0123456789abcdef0123456789abcdef";
    let draft = Draft {
        title: "  My   Plan ",
        markdown: RICH,
        notebook: Some(notebook),
        tags: &["Work".to_owned(), "extra".to_owned()],
        kind: None,
        source: Some(Source { path: "a/Plan.md", hash: [3; 32] }),
    };
    devices.edit(0, |doc, now| create(doc, &draft, now));
    devices.edit(0, |doc, _| pin(doc, true));
    assert_eq!(devices.note("title"), text("My Plan"));
    assert_eq!(devices.note("title_key"), text("my plan"));
    assert_eq!(devices.note("notebook"), text(notebook));
    assert_eq!(devices.note("pinned"), Value::Int(1));
    assert_eq!(devices.note("created_ms"), Value::Int(2_000));
    assert_eq!(devices.note("updated_ms"), Value::Int(3_000));
    assert_eq!(devices.note("trashed_ms"), Value::Null);
    assert_eq!(devices.note("source_hash"), Value::Blob(vec![3; 32]));
    let props: Vec<_> = devices.rows(0, "note_prop").iter().map(|row| (row.key.clone(), cell(row, "value"))).collect();
    assert_eq!(
        props,
        [("count".into(), text("3")), ("tags".into(), text(r#"["work","Home"]"#)), ("title".into(), text("\"Plan\""))]
    );
    let mut labels: Vec<_> = devices.rows(0, "note_tag").iter().map(|row| cell(row, "label")).collect();
    labels.sort_by_key(|label| format!("{label:?}"));
    assert_eq!(labels, [text("Home"), text("Work"), text("extra"), text("inline")]);
    let links: Vec<_> = devices
        .rows(0, "note_link")
        .iter()
        .map(|row| (cell(row, "kind"), cell(row, "target_key"), cell(row, "anchor")))
        .collect();
    assert_eq!(
        links,
        [
            (text("wikilink"), text("other note"), Value::Null),
            (text("embed"), text("picture.png"), Value::Null),
            (text("link"), text("some file"), text("part")),
        ]
    );
    let search = search_text(&devices.documents[0]).unwrap();
    assert!(search.title.contains("My Plan") && search.headings.contains("Plan") && search.body.contains("milk"));
}

#[test]
fn the_old_title_stays_an_alias() {
    let mut devices = Devices::with_note("x");
    devices.edit(0, |doc, _| set_title(doc, "New"));
    assert!(devices.try_edit(0, |doc, _| set_title(doc, &"x".repeat(513))).is_err());
    devices.edit(0, |doc, _| set_title(doc, "New"));
    assert_eq!(devices.note("title"), text("New"));
    let aliases: Vec<_> =
        devices.rows(0, "note_alias").iter().map(|row| (cell(row, "alias"), cell(row, "alias_key"))).collect();
    assert_eq!(aliases, [(text("Title"), text("title"))]);
}

#[test]
fn a_note_without_title_shows_its_heading_or_first_line() {
    for (markdown, title) in [("# Head\n\ntext", "Head"), ("first line\nsecond", "first line"), ("", "")] {
        let mut devices = Devices::new(NOTE_GENESIS, 1);
        devices.edit(0, |doc, now| create(doc, &Draft { markdown, ..Draft::default() }, now));
        assert_eq!(devices.note("title"), text(title));
    }
}

#[test]
fn a_property_changes_one_line_of_the_front_matter() {
    let mut devices = Devices::with_note("---\n# kept comment\na: 1\nb: two\n---\nbody\n");
    devices.edit(0, |doc, _| front::set_property(doc, "b", Some(&json!("three"))));
    devices.edit(0, |doc, _| front::set_property(doc, "a", None));
    assert_eq!(devices.markdown(0), "---\n# kept comment\nb: three\n---\nbody\n");
    assert_eq!(front::properties(devices.documents[0].read()), [("b".to_owned(), json!("three"))]);
    devices.set(0, "body\n");
    assert_eq!(devices.markdown(0), "body\n");
    assert_eq!(front::properties(devices.documents[0].read()), []);
    devices.edit(0, |doc, _| front::set_property(doc, "fresh", Some(&json!([1, 2]))));
    let out = devices.markdown(0);
    assert_eq!(markdown::parse(&out).front_matter.unwrap().property("fresh"), Some(&json!([1, 2])), "{out}");
}

#[test]
fn a_todo_is_ticked_without_touching_its_text() {
    let mut devices = Devices::with_note("- [ ] milk\n- [x] bread\n");
    let before = devices.documents[0].heads();
    devices.edit(0, |doc, _| body::set_todo(doc, 0, true));
    devices.edit(0, |doc, _| body::set_todo(doc, 1, false));
    assert_eq!(devices.markdown(0), "- [x] milk\n- [ ] bread\n");
    let patches = devices.documents[0].inspect().diff(&before, &[]);
    assert!(!patches.is_empty());
    let again = devices.set(0, "- [x] milk\n- [ ] bread\n");
    assert_eq!(again, None, "the same text writes nothing");
    assert!(devices.try_edit(0, |doc, _| body::set_todo(doc, 2, true)).is_err());
}

#[test]
fn splicing_is_held_to_the_text_and_the_limit() {
    let mut devices = Devices::with_note("héllo");
    devices.edit(0, |doc, _| body::splice(doc, 2, 1, "E"));
    assert_eq!(devices.markdown(0), "hEllo");
    for (at, delete) in [(7, 0), (3, 4), (usize::MAX, 1), (0, usize::MAX)] {
        assert!(devices.try_edit(0, |doc, _| body::splice(doc, at, delete, "x")).is_err(), "{at} {delete}");
    }
    let big = "x".repeat(BODY_BYTES_MAX);
    assert!(devices.try_edit(0, |doc, _| body::splice(doc, 1, 0, &big)).is_err());
    assert_eq!(devices.markdown(0), "hEllo");
}

#[test]
fn removing_a_tag_takes_it_out_of_the_properties() {
    let mut devices = Devices::with_note("---\ntags: [Work, home]\n---\nx\n");
    devices.edit(0, |doc, _| tags::tag(doc, "#Extra"));
    devices.edit(0, |doc, _| tags::untag(doc, "work"));
    devices.edit(0, |doc, _| tags::untag(doc, "extra"));
    let labels: Vec<_> = devices.rows(0, "note_tag").iter().map(|row| cell(row, "label")).collect();
    assert_eq!(labels, [text("home")]);
    assert!(devices.try_edit(0, |doc, _| tags::tag(doc, " # ")).is_err());
}

#[test]
fn a_trashed_note_is_not_searched_and_keeps_its_notebook() {
    let mut devices = Devices::with_note("x");
    devices.edit(0, |doc, _| move_to(doc, Some("0123456789abcdef0123456789abcdef")));
    devices.edit(0, trash);
    assert_eq!(devices.note("trashed_ms"), Value::Int(4_000));
    assert_eq!(search_text(&devices.documents[0]), None);
    assert_eq!(devices.note("edited_after_trash"), Value::Int(0));
    devices.edit(0, |doc, _| super::super::restore(doc));
    assert_eq!(devices.note("trashed_ms"), Value::Null);
    assert!(search_text(&devices.documents[0]).is_some());
}

#[test]
fn versions_group_by_device_and_time_and_can_be_read_and_restored() {
    let mut devices = Devices::with_note("one\n");
    devices.set(0, "one two\n");
    devices.set(0, "one two three\n");
    devices.meet();
    devices.now_ms += 1_000_000;
    devices.edit(1, |doc, _| set_title(doc, "Other"));
    devices.set(1, "four\n");
    devices.meet();
    let versions = history::page(&devices.documents[0], 10, 0);
    assert_eq!(versions, history::page(&devices.documents[1], 10, 0));
    assert_eq!(
        versions.iter().map(|version| (version.actor, version.changes)).collect::<Vec<_>>(),
        [(StreamId([2; 16]), 2), (StreamId([1; 16]), 3)]
    );
    assert!(versions[0].summary.starts_with("title, body +"), "{}", versions[0].summary);
    assert!(versions[1].summary.starts_with("created, body +"), "{}", versions[1].summary);
    assert_eq!(history::page(&devices.documents[0], 1, 1), versions[1..]);
    assert_eq!(history::markdown_at(&devices.documents[0], &versions[1].hash).unwrap(), "one two three\n");
    assert_eq!(history::title_at(&devices.documents[0], &versions[1].hash).unwrap(), "Title");
    devices.edit(0, |doc, _| history::restore_version(doc, &versions[1].hash));
    assert_eq!((devices.markdown(0), devices.note("title")), ("one two three\n".to_owned(), text("Title")));
    devices.meet();
    let nowhere = automerge::ChangeHash([1; 32]);
    assert!(history::markdown_at(&devices.documents[0], &nowhere).is_err());
}

#[test]
fn a_note_costs_few_operations_beyond_its_characters() {
    let markdown = "# Head\n\nSome text, a few words long.\n\nAnd **one** more.\n";
    let mut devices = Devices::new(NOTE_GENESIS, 1);
    devices.edit(0, |doc, now| create(doc, &Draft { title: "T", markdown, ..Draft::default() }, now));
    let flat = body::Flat::from_body(&markdown::parse_body(markdown));
    let operations = devices.documents[0].read().stats_operations();
    // created + title, one attribute (the heading's type), begin and end of one mark, and the genesis' two.
    assert_eq!(operations, flat.units.len() as u64 + 2 + 1 + 2 + 2);
}

trait Operations {
    fn stats_operations(&self) -> u64;
}

impl Operations for AutoCommit {
    fn stats_operations(&self) -> u64 {
        automerge::ReadDoc::stats(self).num_ops
    }
}

fn markdown_text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-c]{1,3}",
        Just("**x y**".to_owned()),
        Just("`k`".to_owned()),
        Just("[[L]]".to_owned()),
        Just("*e*".to_owned()),
    ];
    let words = proptest::collection::vec(word, 1..5).prop_map(|words| words.join(" "));
    let line =
        (prop_oneof![Just(""), Just("# "), Just("- "), Just("- [ ] "), Just("- [x] "), Just("> "), Just("1. ")], words)
            .prop_map(|(start, words)| format!("{start}{words}"));
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn replacing_a_body_gives_exactly_that_body(first in markdown_text(), second in markdown_text()) {
        let mut devices = Devices::with_note(&first);
        prop_assert_eq!(devices.markdown(0), first);
        devices.set(0, &second);
        prop_assert_eq!(devices.markdown(0), second.clone());
        let read = body::read(devices.documents[0].read(), None).unwrap();
        prop_assert_eq!(Parsed { front_matter: None, body: read }, markdown::parse(&second));
    }
}
