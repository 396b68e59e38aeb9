//! What every module must have declared, and what values must be like.

use std::collections::BTreeSet;

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, ObjType, ROOT};

use super::*;

/// How the frozen bytes are made: actor `lifeos-genesis/1`, time 0, texts and counters in the order of their fields,
/// then the schema.
fn build(kind: &Kind) -> automerge::Change {
    let mut doc = AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint);
    doc.set_actor(ActorId::from(GENESIS_ACTOR.as_slice()));
    for field in kind.fields_of(None) {
        match field.crdt {
            Crdt::Text => drop(doc.put_object(ROOT, field.key, ObjType::Text).unwrap()),
            Crdt::Counter => doc.put(ROOT, field.key, ScalarValue::counter(0)).unwrap(),
            _ => {}
        }
    }
    doc.put(ROOT, "schema", format!("{}/1", kind.name)).unwrap();
    let hash = doc.commit_with(CommitOptions::default().with_time(0)).unwrap();
    doc.get_change_by_hash(&hash).unwrap()
}

#[test]
fn frozen_geneses_are_what_automerge_makes_today() {
    let wrong: Vec<String> = kinds().filter_map(wrong_genesis).collect();
    assert!(wrong.is_empty(), "write these, once and for ever:\n{}", wrong.join("\n"));
}

/// What a module must say where its genesis is not what its fields ask for.
fn wrong_genesis(kind: &'static Kind) -> Option<String> {
    let (built, frozen) = (build(kind), kind.first);
    if frozen.bytes() == built.raw_bytes() && frozen.hash() == built.hash() {
        assert_eq!(frozen.document().unwrap().clone().get_heads(), vec![built.hash()]);
        return None;
    }
    let escaped: String =
        built.raw_bytes().iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
    Some(format!("{}: Genesis::new(GenesisId({}), {:?}, b\"{escaped}\")", kind.name, kind.genesis().0, built.hash().0))
}

fn all_distinct<T: Ord + std::fmt::Debug>(values: impl Iterator<Item = T>) {
    let mut seen = BTreeSet::new();
    for value in values {
        let text = format!("{value:?}");
        assert!(seen.insert(value), "{text} is declared twice");
    }
}

#[test]
fn names_numbers_ids_and_keys_are_declared_once() {
    all_distinct(MODULES.iter().map(|module| module.name));
    all_distinct(kinds().map(Kind::genesis));
    all_distinct(kinds().map(|kind| kind.name));
    all_distinct(kinds().flat_map(|kind| kind.fields).map(|field| field.id));
    all_distinct(kinds().flat_map(|kind| kind.rules).map(|rule| rule.id));
    all_distinct(kinds().flat_map(|kind| kind.fields.iter().map(move |field| (kind.name, field.key))));
    all_distinct(tables().iter().map(|table| table.name));
}

#[test]
fn every_field_says_what_it_is_for() {
    for field in kinds().flat_map(|kind| kind.fields) {
        assert!(!field.label.is_empty() && !field.purpose.is_empty(), "{}: say `.named(label, purpose)`", field.id);
        assert!(field.id.contains('.') && field.since >= 1, "{}", field.id);
    }
    for kind in kinds() {
        assert!(!kind.label.is_empty() && !kind.purpose.is_empty() && kind.min_reader <= kind.version, "{}", kind.name);
        let latest = kind.fields.iter().flat_map(|field| [Some(field.since), field.deprecated]).flatten().max();
        assert!(latest.is_none_or(|latest| latest <= kind.version), "{}: raise its version", kind.name);
    }
}

#[test]
fn a_kind_whose_rows_follow_from_its_fields_declares_what_they_need() {
    for kind in kinds().filter(|kind| matches!(kind.projection, Projection::Fields { .. })) {
        for key in ["schema", "schema:v", "schema:min", "created", "del"] {
            assert!(kind.fields.iter().any(|field| field.key == key), "{} has no field {key}", kind.name);
        }
        for field in kind.fields {
            if let Some(family) = field.family() {
                assert!(kind.family(family).is_some(), "{}: the family {family} is not declared", field.id);
            }
            assert!(matches(field), "{}: how it merges does not go with its type", field.id);
        }
        for rule in kind.rules {
            let known = |name: &&str| kind.fields_of(rule.family).any(|field| field.name() == *name);
            assert!(rule.fields.iter().all(known) && !rule.fields.is_empty(), "{} looks at no field", rule.id);
        }
        for family in kind.families {
            assert!(kind.fields_of(Some(family.name)).next().is_some(), "{} has no fields", family.table);
            assert!((1..=2_000).contains(&family.rows_max), "{}: begin a document a year", family.table);
        }
    }
}

fn matches(field: &Field) -> bool {
    let is_text = matches!(field.field_type, FieldType::Text | FieldType::RichText);
    match field.crdt {
        Crdt::Text => is_text && field.family().is_none(),
        Crdt::Counter => field.field_type == FieldType::Counter && field.family().is_some() == field.key.contains("@<"),
        _ => !is_text && field.field_type != FieldType::Counter,
    }
}

#[test]
fn columns_have_plain_names_and_one_each() {
    for table in tables() {
        all_distinct(table.columns.iter().map(|column| column.name).chain(["doc", "key"]));
        for name in table.columns.iter().map(|column| column.name).chain([table.name]) {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(name.bytes().all(plain) && !name.is_empty(), "{}.{name}", table.name);
        }
    }
}

fn rule(key: &str, value: impl Into<ScalarValue>) -> Option<&'static str> {
    match validate(NOTE_GENESIS, key, &value.into()) {
        Ok(_) => None,
        Err(DocumentError::InvalidValue { rule, .. }) => Some(rule),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_key_that_is_not_declared_is_refused() {
    let refused = DocumentError::InvalidEdit("the field is not in the registry");
    for key in ["colour", "tag/", "prop/", "bodyx", ""] {
        assert_eq!(validate(NOTE_GENESIS, key, &ScalarValue::Null).err(), Some(refused.clone()), "{key}");
    }
    assert!(validate(NOTE_TREE_GENESIS, "title", &"a".into()).is_err());
    assert_eq!(field_of(NOTE_TREE_GENESIS, "abc:name").unwrap().matches("abc:name"), Some("abc"));
}

#[test]
fn a_key_of_two_parts_gives_the_first_and_needs_both() {
    let field = Field::new("x.n", "row/<id>:n@<stream>", FieldType::Counter);
    assert_eq!(field.matches("row/a:n@ff"), Some("a"));
    for key in ["row/a:n@", "row/:n@ff", "row/a:n", "row/a:m@ff", "rows/a:n@ff"] {
        assert_eq!(field.matches(key), None, "{key}");
    }
    assert_eq!((field.family(), field.name(), field.key_of("b")), (Some("row"), "n", "row/b:n@<stream>".to_owned()));
    let set = Field::new("x.tag", "tag/<tag>", FieldType::Line);
    assert_eq!((set.family(), set.name(), set.key_of("t")), (Some("tag"), "label", "tag/t".to_owned()));
}

#[test]
fn values_are_held_to_their_rules() {
    assert_eq!(rule("title", "A title"), None);
    assert_eq!(rule("title", ""), None);
    assert_eq!(rule("title", " A"), Some("must be trimmed and in NFC"));
    assert_eq!(rule("title", "e\u{301}"), Some("must be trimmed and in NFC"));
    assert_eq!(rule("title", "a\nb"), Some("must be one line"));
    assert_eq!(rule("title", "x".repeat(512)), None);
    assert_eq!(rule("title", "x".repeat(513)), Some("is too long"));
    assert_eq!(rule("title", ScalarValue::Null), Some("has the wrong type"));
    assert_eq!(rule("kind", "poem"), Some("is not one of the known values"));
    assert_eq!(rule("notebook", "0123456789abcdef0123456789abcdef"), None);
    assert_eq!(rule("notebook", ScalarValue::Null), None);
    assert_eq!(rule("notebook", "../etc"), Some("has the wrong type"));
    assert_eq!(rule("tag/x", ""), Some("must not be empty"));
    assert_eq!(rule("pinned", 1_i64), Some("has the wrong type"));
    assert_eq!(rule("schema", "note/2"), Some("never changes"));
    assert_eq!(rule("prop/x", "x".repeat(PROPERTY_BYTES_MAX + 1)), Some("is too large; shorten it"));
}

/// Values of each type that may be written, and others that may not.
const VALUES: &[(&str, &[&str], &[&str])] = &[
    (
        "start",
        &["2026-03-08", "0001-01-01", "9999-12-31", "2024-02-29"],
        &["2026-3-8", "2026-02-29", "0000-01-01", "20260308", "x", ""],
    ),
    (
        "floating",
        &["2026-03-08T07:00", "2026-03-08T07:00:30"],
        &["2026-03-08", "2026-03-08T07:00:00", "2026-03-08 07:00", "2026-03-08T24:00"],
    ),
    (
        "zoned",
        &["2026-03-08T02:30[America/New_York]", "2026-03-08T02:30[Etc/GMT+5]", "2026-03-08T02:30[Mars/Base]"],
        &[
            "2026-03-08T02:30",
            "2026-03-08T02:30-05:00[America/New_York]",
            "2026-03-08T02:30[]",
            "2026-03-08T02:30[a b]",
        ],
    ),
    ("due", &["2026-03-08", "2026-03-08T07:00", "2026-03-08T07:00[Europe/Lisbon]"], &["tomorrow", "07:00"]),
    ("price_ccy", &["EUR", "JPY"], &["eur", "EURO", "€"]),
    (
        "quantity",
        &["0", "1", "-1.5", "0.000000000000000001"],
        &["1.0", "01", "-0", ".5", "1.", "1e3", "+1", "0.0000000000000000001"],
    ),
    ("rate", &["0", "0.035", "10", "9.99"], &["-1", "10.1", "11", "0.10"]),
    ("status", &["open", "done", "x-waiting"], &["Open", "x-", "closed"]),
    ("other", &["lifeos:note/0123", "lifeos:tree/notes/x"], &["note/1", "lifeos:note", "lifeos:/1", "lifeos:a/b c"]),
    ("source", &["abcdefghijklmnopqrstuvwxy2"], &["abc", "ABCDEFGHIJKLMNOPQRSTUVWXY2", "abcdefghijklmnopqrstuvwxy1"]),
];

#[test]
fn each_type_takes_what_it_should_and_nothing_else() {
    use crate::modules::specimen::SPECIMEN;
    for (name, good, bad) in VALUES {
        let field = SPECIMEN.field_named(name).unwrap();
        for value in *good {
            assert_eq!(field.check(&(*value).into()), Ok(()), "{name} {value}");
        }
        for value in *bad {
            assert!(field.check(&(*value).into()).is_err(), "{name} {value}");
        }
        assert!(field.check(&1_i64.into()).is_err() && field.check(&true.into()).is_err(), "{name}");
    }
    let field = |name| SPECIMEN.field_named(name).unwrap();
    for (name, good, bad) in
        [("int", 100_i64, 101_i64), ("weight", 0, -1), ("price_minor", -9_000_000_000_000_000, i64::MIN)]
    {
        assert_eq!(field(name).check(&good.into()), Ok(()), "{name}");
        assert!(field(name).check(&bad.into()).is_err() && field(name).check(&"1".into()).is_err(), "{name}");
    }
}

#[test]
fn what_is_given_reads_as_what_is_stored_and_shows_as_it_was_given() {
    use crate::modules::specimen::SPECIMEN;
    use serde_json::{Value, json};
    for (name, given, shown) in [
        ("line", json!("  a  b "), json!("a b")),
        ("at", json!("2026-03-08T00:00:00Z"), json!(1_772_928_000_000_i64)),
        ("floating", json!("2026-03-08T07:00:00"), json!("2026-03-08T07:00")),
        ("zoned", json!("2026-03-08T07:00:00[Europe/Lisbon]"), json!("2026-03-08T07:00[Europe/Lisbon]")),
        ("quantity", json!(1.5), json!("1.5")),
        ("json", json!({"a": [1]}), json!({"a": [1]})),
        ("hash", json!("ab".repeat(32)), json!("ab".repeat(32))),
        ("flag", json!(true), json!(true)),
    ] {
        let field = SPECIMEN.field_named(name).unwrap();
        let read = field.read(&given).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(field.show(&read), shown, "{name}");
    }
    for (name, given) in [
        ("int", json!(1.5)),
        ("int", json!("x")),
        ("flag", json!(1)),
        ("line", json!([1])),
        ("start", Value::Bool(true)),
    ] {
        assert!(SPECIMEN.field_named(name).unwrap().read(&given).is_err(), "{name} {given}");
    }
    let typed = |name: &str, typed: &str| SPECIMEN.field_named(name).unwrap().read_typed(typed).ok();
    assert_eq!(typed("flag", "yes"), Some(true.into()));
    assert_eq!(typed("int", " 7 "), Some(7_i64.into()));
    assert_eq!(typed("int", "seven"), None);
    assert_eq!(typed("json", "[1"), Some("[1".into()));
}
