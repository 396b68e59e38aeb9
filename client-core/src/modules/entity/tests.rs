//! One entity on one device, and on two that meet later.

use automerge::transaction::Transactable;
use automerge::{AutoCommit, Change, ROOT, ScalarValue};
use lifeos_sync_protocol::ids::{DocId, StreamId};

use super::*;
use crate::document::{Document, DocumentError, LocalChange};
use crate::modules::notes::apply_undo;
use crate::modules::specimen::SPECIMEN;
use crate::projection::{Row, Value, project, search_text};
use crate::registry::{self, door};

type Edited = Result<Option<LocalChange>, DocumentError>;

fn device(number: u8) -> Document {
    Document::new(DocId([1; 16]), SPECIMEN.genesis(), StreamId([number; 16])).unwrap()
}

/// Edits as the store does, the look at what was written included.
fn edit(document: &mut Document, edit: impl FnOnce(&mut AutoCommit) -> Result<(), DocumentError>) -> Edited {
    let now = document.updated_ms() + 10;
    let change = document.edit(now, edit)?.1;
    change.iter().try_for_each(|change| door::admit(document, &change.bytes))?;
    Ok(change)
}

fn made(number: u8) -> Document {
    let mut document = device(number);
    edit(&mut document, |doc| create(doc, &SPECIMEN, &[("line", "First".into())], 5)).unwrap();
    document
}

/// The same document on another device.
fn copy(of: &mut Document, number: u8) -> Document {
    let mut other = device(number);
    send(of, &mut other);
    other
}

fn send(from: &mut Document, to: &mut Document) {
    let mut fork = to.fork();
    let changes = from.changes_since(&[]).into_iter();
    fork.apply_changes(changes.map(|change| Change::from_bytes(change.bytes).unwrap()).collect::<Vec<_>>()).unwrap();
    to.replace(fork);
}

fn meet(a: &mut Document, b: &mut Document) {
    send(a, b);
    send(b, a);
    assert_eq!(project(a), project(b));
}

fn rows(document: &Document, table: &str) -> Vec<Row> {
    project(document).into_iter().filter(|row| row.table == table).collect()
}

fn cell(document: &Document, column: &str) -> Value {
    let table = registry::table("specimen").unwrap();
    rows(document, "specimen")[0].values[table.place(column).unwrap()].clone()
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// Rule or field and detail of every mark.
fn marks(document: &Document) -> Vec<(String, String)> {
    let of = |value: &Value| if let Value::Text(text) = value { text.clone() } else { panic!("{value:?}") };
    rows(document, "entity_mark").iter().map(|row| (of(&row.values[2]), of(&row.values[3]))).collect()
}

fn refused(result: Edited) -> &'static str {
    match result {
        Err(DocumentError::InvalidEdit(rule) | DocumentError::InvalidValue { rule, .. }) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_set_is_what_the_rows_say() {
    let mut document = made(1);
    edit(&mut document, |doc| {
        let fields: [(&str, ScalarValue); 5] = [
            ("due", "2026-03-08T07:00[Europe/Lisbon]".into()),
            ("flag", true.into()),
            ("int", 7_i64.into()),
            ("price_minor", 1999_i64.into()),
            ("price_ccy", "EUR".into()),
        ];
        set_all(doc, &SPECIMEN, &fields)?;
        set_text(doc, &SPECIMEN, "prose", "two words")
    })
    .unwrap();
    assert_eq!(cell(&document, "line"), text("First"));
    assert_eq!(cell(&document, "due"), text("2026-03-08T07:00[Europe/Lisbon]"));
    assert_eq!(cell(&document, "flag"), Value::Int(1));
    assert_eq!(cell(&document, "int"), Value::Int(7));
    assert_eq!((cell(&document, "price_minor"), cell(&document, "price_ccy")), (Value::Int(1999), text("EUR")));
    assert_eq!((cell(&document, "count"), cell(&document, "words")), (Value::Int(0), Value::Int(2)));
    assert_eq!((cell(&document, "created_ms"), cell(&document, "trashed_ms")), (Value::Int(5), Value::Null));
    edit(&mut document, |doc| set(doc, &SPECIMEN, "int", ScalarValue::Null)).unwrap();
    assert_eq!(cell(&document, "int"), Value::Null);
    let found = search_text(&document).unwrap();
    assert_eq!((found.title.as_str(), found.body.as_str()), ("First", "two words"));
    assert_eq!(marks(&document), []);
}

#[test]
fn an_edit_that_breaks_a_rule_is_refused_and_changes_nothing() {
    let mut document = made(1);
    let before = project(&document);
    let mut refuse =
        |fields: &[(&str, ScalarValue)]| refused(edit(&mut document, |doc| set_all(doc, &SPECIMEN, fields)));
    assert_eq!(refuse(&[("colours", 1_i64.into())]), "there is no such field");
    assert_eq!(refuse(&[("int", 101_i64.into())]), "is out of range");
    assert_eq!(refuse(&[("line", "fine".into()), ("flag", "yes".into())]), "has the wrong type");
    let window = [("start", "2026-03-08".into()), ("end", "2026-03-07".into())];
    assert_eq!(refuse(&window), "the end must not come before the start");
    assert_eq!(refuse(&[("price_minor", 5_i64.into())]), "needs an amount and a currency");
    assert_eq!(refuse(&[("price_ccy", "EUR".into())]), "needs an amount and a currency");
    assert_eq!(refuse(&[("old", "x".into())]), "is not written any more");
    assert_eq!(refuse(&[("created", 1_i64.into())]), "the field is not set like others");
    assert_eq!(refuse(&[("count", 1_i64.into())]), "the field is not set like others");
    assert_eq!(refuse(&[("prose", "x".into())]), "the field is not set like others");
    assert_eq!(
        refused(edit(&mut document, |doc| set_text(doc, &SPECIMEN, "prose", &"x".repeat(201)))),
        "is too large; shorten it"
    );
    assert_eq!(project(&document), before);
}

#[test]
fn entries_are_written_removed_and_restored_and_there_is_a_limit() {
    let mut document = made(1);
    for id in ["a", "b", "c", "d", "e"] {
        edit(&mut document, |doc| put_row(doc, &SPECIMEN, "row", id, &[("text", id.into())])).unwrap();
    }
    let put = |document: &mut Document, family: &str, id: &str, name: &str| {
        refused(edit(document, |doc| put_row(doc, &SPECIMEN, family, id, &[(name, "x".into())])))
    };
    assert_eq!(put(&mut document, "row", "f", "text"), "the list is full: begin another document");
    assert_eq!(put(&mut document, "row", "a/b", "text"), "the entry's id cannot be used");
    assert_eq!(put(&mut document, "rows", "a", "text"), "there is no such list");
    assert_eq!(put(&mut document, "row", "a", "title"), "there is no such field");
    edit(&mut document, |doc| remove_row(doc, &SPECIMEN, "row", "a", 77)).unwrap();
    assert_eq!(put(&mut document, "row", "a", "text"), "the entry is removed: restore it first");
    assert_eq!(rows(&document, "specimen_row")[0].values, [Value::Int(77), text("a"), Value::Null, Value::Int(0)]);
    assert!(!search_text(&document).unwrap().body.contains('a'));
    edit(&mut document, |doc| restore_row(doc, &SPECIMEN, "row", "a")).unwrap();
    assert_eq!(rows(&document, "specimen_row")[0].values[0], Value::Null);
    let done = |doc: &mut AutoCommit| {
        put_row(doc, &SPECIMEN, "row", "a", &[("text", ScalarValue::Null), ("done", ScalarValue::Timestamp(1))])
    };
    assert_eq!(refused(edit(&mut document, done)), "what is done has a text");
}

#[test]
fn entries_that_two_devices_make_under_one_id_are_one_with_the_fields_of_both() {
    let mut a = made(1);
    let mut b = copy(&mut a, 2);
    edit(&mut a, |doc| put_row(doc, &SPECIMEN, "row", "2026-03-08", &[("text", "milk".into())])).unwrap();
    edit(&mut b, |doc| {
        put_row(doc, &SPECIMEN, "row", "2026-03-08", &[("text", "milk".into()), ("done", ScalarValue::Timestamp(9))])
    })
    .unwrap();
    meet(&mut a, &mut b);
    let rows = rows(&a, "specimen_row");
    assert_eq!((rows.len(), &rows[0].values[1..3]), (1, &[text("milk"), Value::Int(9)][..]));
}

#[test]
fn additions_to_counters_all_count_on_two_devices() {
    let mut a = made(1);
    let mut b = copy(&mut a, 2);
    let add_both = |document: &mut Document, by| {
        edit(document, |doc| {
            add(doc, &SPECIMEN, "count", by)?;
            add_to_row(doc, &SPECIMEN, "row", "r", "n", by).map(drop)
        })
        .unwrap();
    };
    add_both(&mut a, 3);
    add_both(&mut b, 4);
    add_both(&mut a, -1);
    meet(&mut a, &mut b);
    assert_eq!(cell(&a, "count"), Value::Int(6));
    assert_eq!(rows(&a, "specimen_row")[0].values[3], Value::Int(6));
    let field = SPECIMEN.fields_of(Some("row")).find(|field| field.name() == "n").unwrap();
    assert_eq!(counter(b.read(), field, "r"), 6);
    assert_eq!(refused(edit(&mut a, |doc| add(doc, &SPECIMEN, "int", 1))), "there is no such counter");
}

#[test]
fn an_element_that_is_added_and_taken_out_at_once_is_in_the_set() {
    let mut a = made(1);
    edit(&mut a, |doc| tag(doc, &SPECIMEN, "tag", "Home")).unwrap();
    let mut b = copy(&mut a, 2);
    edit(&mut a, |doc| untag(doc, &SPECIMEN, "tag", "HOME")).unwrap();
    edit(&mut b, |doc| tag(doc, &SPECIMEN, "tag", " hOme ")).unwrap();
    meet(&mut a, &mut b);
    let tags = rows(&a, "specimen_tag");
    assert_eq!((tags.len(), &tags[0].values), (1, &vec![Value::Null, text("hOme")]));
    edit(&mut a, |doc| untag(doc, &SPECIMEN, "tag", "home")).unwrap();
    assert_eq!(rows(&a, "specimen_tag"), []);
}

#[test]
fn both_edits_of_a_text_survive() {
    let mut a = made(1);
    edit(&mut a, |doc| set_text(doc, &SPECIMEN, "prose", "bread and milk")).unwrap();
    let mut b = copy(&mut a, 2);
    edit(&mut a, |doc| splice_text(doc, &SPECIMEN, "prose", 0, 5, "rolls")).unwrap();
    edit(&mut b, |doc| set_text(doc, &SPECIMEN, "prose", "bread and milk and tea")).unwrap();
    meet(&mut a, &mut b);
    let field = SPECIMEN.field_named("prose").unwrap();
    assert_eq!(text_of(a.read(), field), "rolls and milk and tea");
}

#[test]
fn merging_never_refuses_and_what_breaks_a_rule_is_marked() {
    let mut a = made(1);
    edit(&mut a, |doc| set_all(doc, &SPECIMEN, &[("start", "2026-03-05".into()), ("end", "2026-03-09".into())]))
        .unwrap();
    let mut b = copy(&mut a, 2);
    // Each is fine where it is written; together the end comes before the start.
    edit(&mut a, |doc| set(doc, &SPECIMEN, "start", "2026-03-08")).unwrap();
    edit(&mut b, |doc| set(doc, &SPECIMEN, "end", "2026-03-06")).unwrap();
    meet(&mut a, &mut b);
    assert_eq!(marks(&a), [("specimen.window".to_owned(), "the end must not come before the start".to_owned())]);
    assert_eq!((cell(&a, "invalid"), cell(&a, "end")), (Value::Int(1), text("2026-03-06")));
    // What another program wrote past every rule is shown as it is, or not at all where its type is another.
    b.edit(50, |doc| doc.put(ROOT, "int", 101_i64).and_then(|()| doc.put(ROOT, "flag", "maybe"))).unwrap();
    b.edit(60, |doc| doc.put(ROOT, "row/r:done", 4_i64)).unwrap();
    meet(&mut a, &mut b);
    let found: Vec<String> = marks(&a).into_iter().map(|(rule, _)| rule).collect();
    for rule in ["specimen.int", "specimen.flag", "specimen.window", "specimen.row.done"] {
        assert!(found.iter().any(|found| found == rule), "{rule} in {found:?}");
    }
    assert_eq!((cell(&a, "int"), cell(&a, "flag")), (Value::Int(101), Value::Null));
    // Putting it right takes the mark away.
    edit(&mut a, |doc| set(doc, &SPECIMEN, "end", "2026-03-10")).unwrap();
    assert!(!marks(&a).iter().any(|(rule, _)| rule == "specimen.window"));
}

#[test]
fn values_written_at_once_are_shown_where_a_field_asks_for_it() {
    let mut a = made(1);
    let mut b = copy(&mut a, 2);
    for (document, due, colour) in [(&mut a, "2026-03-08", "red"), (&mut b, "2026-03-09", "blue")] {
        edit(document, |doc| set_all(doc, &SPECIMEN, &[("due", due.into()), ("colour", colour.into())])).unwrap();
    }
    meet(&mut a, &mut b);
    let [(field, values)] = &marks(&a)[..] else { panic!("{:?}", marks(&a)) };
    assert_eq!(field, "specimen.due");
    let mut values: Vec<String> = serde_json::from_str(values).unwrap();
    assert_eq!(values.last().map(|value| text(value)), Some(cell(&a, "due")), "the winner comes last");
    values.sort();
    assert_eq!(
        (values, cell(&a, "conflicts")),
        (vec!["2026-03-08".to_owned(), "2026-03-09".to_owned()], Value::Int(1))
    );
    edit(&mut b, |doc| set(doc, &SPECIMEN, "due", "2026-03-10")).unwrap();
    meet(&mut a, &mut b);
    assert_eq!((marks(&a), cell(&a, "conflicts")), (vec![], Value::Int(0)));
}

#[test]
fn a_choice_and_a_key_of_a_newer_version_are_kept() {
    let mut a = made(1);
    let mut b = copy(&mut a, 2);
    b.edit(50, |doc| doc.put(ROOT, "status", "postponed").and_then(|()| doc.put(ROOT, "mood", "fine"))).unwrap();
    meet(&mut a, &mut b);
    edit(&mut a, |doc| set(doc, &SPECIMEN, "line", "Second")).unwrap();
    assert_eq!((cell(&a, "status"), marks(&a)), (text("postponed"), vec![]));
    assert_eq!(automerge::ReadDoc::get(a.read(), ROOT, "mood").unwrap().unwrap().0.into_string().unwrap(), "fine");
}

#[test]
fn a_change_that_writes_what_is_not_declared_is_not_admitted() {
    let undeclared = Err(DocumentError::Undeclared { kind: "specimen" });
    let mut document = made(1);
    for key in ["colours", "tag/a:del", "row/a", "row/a:title", "row/:text", "row/a:n", "tag/", "Line", ""] {
        let written = edit(&mut document, |doc| Ok(doc.put(ROOT, key, "x")?));
        assert_eq!(written, undeclared, "{key}");
    }
    assert_eq!(edit(&mut document, |doc| Ok(doc.delete(ROOT, "line")?)), undeclared, "a key is never deleted");
    assert_eq!(
        edit(&mut document, |doc| Ok(doc.put_object(ROOT, "line", automerge::ObjType::Map).map(drop)?)),
        undeclared
    );
    assert!(edit(&mut document, |doc| Ok(doc.put(ROOT, "row/a:n@ff", 1_i64)?)).is_ok());
    assert!(edit(&mut document, |doc| set_text(doc, &SPECIMEN, "prose", "x")).is_ok());
}

#[test]
fn an_entity_of_a_newer_version_can_be_read_and_not_edited() {
    let mut document = made(1);
    document.edit(50, |doc| doc.put(ROOT, "schema:min", 4_i64)).unwrap();
    assert_eq!((cell(&document, "needs"), cell(&document, "line")), (Value::Int(4), text("First")));
    let needs = Err(DocumentError::NeedsUpdate { kind: "specimen", version: 4 });
    assert_eq!(edit(&mut document, |doc| set(doc, &SPECIMEN, "line", "x")), needs);
    assert_eq!(edit(&mut document, |doc| put_row(doc, &SPECIMEN, "row", "a", &[("text", "x".into())])), needs);
    assert_eq!(edit(&mut document, |doc| add(doc, &SPECIMEN, "count", 1)), needs);
    assert_eq!(edit(&mut document, |doc| set_text(doc, &SPECIMEN, "prose", "x")), needs);
    assert_eq!(edit(&mut document, |doc| trash(doc, &SPECIMEN, 9)), needs);
    // Also where an operation forgot to ask.
    assert_eq!(edit(&mut document, |doc| Ok(doc.put(ROOT, "line", "x")?)), needs);
}

#[test]
fn undo_takes_back_fields_entries_counters_and_texts_and_redo_brings_them_again() {
    let mut document = made(1);
    edit(&mut document, |doc| set_text(doc, &SPECIMEN, "prose", "one")).unwrap();
    let before = (rows(&document, "specimen_row"), search_text(&document));
    let change = edit(&mut document, |doc| {
        set(doc, &SPECIMEN, "line", "Second")?;
        put_row(doc, &SPECIMEN, "row", "a", &[("text", "milk".into())])?;
        tag(doc, &SPECIMEN, "tag", "Home")?;
        add(doc, &SPECIMEN, "count", 5)?;
        set_text(doc, &SPECIMEN, "prose", "one two")
    });
    let change = change.unwrap().unwrap();
    let undo = |document: &mut Document, change: &LocalChange| {
        edit(document, |doc| apply_undo(doc, SPECIMEN.genesis(), &change.hash, 99)).unwrap().unwrap()
    };
    let undone = undo(&mut document, &change);
    assert_eq!((cell(&document, "line"), cell(&document, "count")), (text("First"), Value::Int(0)));
    assert_eq!(rows(&document, "specimen_row")[0].values[0], Value::Int(99), "a new entry gets a tombstone");
    assert_eq!((search_text(&document), rows(&document, "specimen_tag")), (before.1, vec![]));
    undo(&mut document, &undone);
    assert_eq!((cell(&document, "line"), cell(&document, "count")), (text("Second"), Value::Int(5)));
    assert_eq!(rows(&document, "specimen_row")[0].values[..2], [Value::Null, text("milk")]);
    assert!(search_text(&document).unwrap().body.contains("one two"));
}

#[test]
fn undoing_the_making_puts_into_the_trash() {
    let mut document = device(1);
    let change = edit(&mut document, |doc| create(doc, &SPECIMEN, &[("line", "First".into())], 5)).unwrap().unwrap();
    edit(&mut document, |doc| apply_undo(doc, SPECIMEN.genesis(), &change.hash, 99)).unwrap();
    assert_eq!((cell(&document, "trashed_ms"), search_text(&document)), (Value::Int(99), None));
}

#[test]
fn an_entity_edited_elsewhere_after_it_was_trashed_says_so() {
    let mut a = made(1);
    let mut b = copy(&mut a, 2);
    edit(&mut a, |doc| trash(doc, &SPECIMEN, 9)).unwrap();
    edit(&mut b, |doc| set(doc, &SPECIMEN, "line", "Second")).unwrap();
    meet(&mut a, &mut b);
    assert_eq!((cell(&a, "edited_after_trash"), cell(&a, "line")), (Value::Int(1), text("Second")));
    edit(&mut a, |doc| restore(doc, &SPECIMEN)).unwrap();
    assert_eq!(cell(&a, "trashed_ms"), Value::Null);
}

#[test]
fn the_value_that_won_over_another_can_be_written_once_more_and_settles_it() {
    let mut a = made(1);
    let mut b = copy(&mut a, 2);
    edit(&mut a, |doc| set(doc, &SPECIMEN, "due", "2026-03-08")).unwrap();
    edit(&mut b, |doc| set(doc, &SPECIMEN, "due", "2026-03-09")).unwrap();
    meet(&mut a, &mut b);
    let Value::Text(won) = cell(&a, "due") else { panic!("{:?}", cell(&a, "due")) };
    assert_eq!(rows(&a, "entity_mark").len(), 1);
    edit(&mut a, |doc| set(doc, &SPECIMEN, "due", won.as_str())).unwrap();
    meet(&mut a, &mut b);
    assert_eq!((cell(&b, "due"), rows(&b, "entity_mark").len()), (Value::Text(won), 0));
}

#[test]
fn what_is_given_as_json_is_written_all_at_once() {
    let mut document = made(1);
    let given = serde_json::json!({
        "line": " Second ", "prose": "text", "flag": true, "due": "2026-03-08T07:00:00",
        "tag": ["a", "b"], "row": [{"text": "milk"}, {"id": "x", "text": "tea", "done": 4}],
    });
    let mut ids = ["new".to_owned()].into_iter();
    edit(&mut document, |doc| apply(doc, &SPECIMEN, given.as_object().unwrap(), &mut || ids.next().unwrap())).unwrap();
    assert_eq!((cell(&document, "line"), cell(&document, "due")), (text("Second"), text("2026-03-08T07:00")));
    assert_eq!(rows(&document, "specimen_tag").len(), 2);
    let keys: Vec<String> = rows(&document, "specimen_row").into_iter().map(|row| row.key).collect();
    assert_eq!(keys, ["new", "x"]);
    for given in [
        serde_json::json!({"tag": "a"}),
        serde_json::json!({"tag": [{"label": "a"}]}),
        serde_json::json!({"row": ["milk"]}),
        serde_json::json!({"row": [{"id": "y"}]}),
        serde_json::json!({"rows": []}),
        serde_json::json!({"prose": 1}),
    ] {
        let result = edit(&mut document, |doc| apply(doc, &SPECIMEN, given.as_object().unwrap(), &mut String::new));
        assert!(result.is_err(), "{given}");
    }
}
