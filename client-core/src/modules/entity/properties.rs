//! Random values for every field of every kind: what may be written is, what may not is refused and, when it comes from
//! elsewhere, marked; and rows are the same however the document came about.

use automerge::transaction::Transactable;
use automerge::{ROOT, ScalarValue};
use lifeos_sync_protocol::ids::{DocId, StreamId};
use proptest::prelude::*;

use super::{apply, create, set_all};
use crate::document::Document;
use crate::modules::specimen::SPECIMEN;
use crate::projection::{Value, project};
use crate::registry::{Crdt, Field, FieldType, Validation, door};

/// Values that a field of this type may hold, by its validation.
fn valid(field: &Field) -> BoxedStrategy<ScalarValue> {
    let (min, max) = match field.validation {
        Validation::Range(min, max) => (min, max),
        _ => (-1_000_000, 1_000_000),
    };
    let max_chars = match field.validation {
        Validation::Bytes(max) => max.min(40) / 4,
        _ => 40,
    };
    let text = |pattern: &'static str| pattern.prop_map(ScalarValue::from).boxed();
    match field.field_type {
        FieldType::Line => text("[a-zA-Z0-9é漢]([a-z é]{0,20}[a-z])?"),
        FieldType::Raw | FieldType::Rank | FieldType::Json => {
            proptest::collection::vec(any::<char>(), 0..max_chars.max(1))
                .prop_map(|chars| chars.into_iter().collect::<String>().into())
                .boxed()
        }
        FieldType::Bool => any::<bool>().prop_map(ScalarValue::from).boxed(),
        FieldType::Int | FieldType::Measure | FieldType::Minor(_) => (min..=max).prop_map(ScalarValue::from).boxed(),
        FieldType::TimeMs => any::<i64>().prop_map(ScalarValue::Timestamp).boxed(),
        FieldType::Date => text("[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"),
        FieldType::Floating => text("[12][0-9]{3}-(0[1-9]|1[0-2])-1[0-9]T(0[0-9]|1[0-9]|2[0-3]):[0-5][0-9]"),
        FieldType::Zoned | FieldType::When => text(
            "[12][0-9]{3}-(0[1-9]|1[0-2])-1[0-9]T(0[0-9]|1[0-9]|2[0-3]):[0-5][0-9]\\[[A-Z][a-z]{1,8}/[A-Z][a-z]{1,8}\\]",
        ),
        FieldType::Currency => text("[A-Z]{3}"),
        FieldType::Quantity => text("-?[1-9][0-9]{0,20}(\\.[0-9]{0,17}[1-9])?"),
        FieldType::Rate => text("[0-9](\\.[0-9]{0,17}[1-9])?"),
        FieldType::Choice(values) => proptest::sample::select(values).prop_map(ScalarValue::from).boxed(),
        FieldType::Ref => text("lifeos:[a-z]{1,8}/[0-9a-f]{32}"),
        FieldType::DetId => text("[a-z2-7]{26}"),
        FieldType::Id => text("[0-9a-f]{32}"),
        FieldType::Hash => proptest::collection::vec(any::<u8>(), 32..=32).prop_map(ScalarValue::Bytes).boxed(),
        _ => Just(ScalarValue::Null).boxed(),
    }
}

/// Values of any type at all.
fn anything() -> BoxedStrategy<ScalarValue> {
    prop_oneof![
        any::<bool>().prop_map(ScalarValue::from),
        any::<i64>().prop_map(ScalarValue::from),
        any::<u64>().prop_map(ScalarValue::from),
        any::<f64>().prop_map(ScalarValue::from),
        any::<i64>().prop_map(ScalarValue::Timestamp),
        any::<String>().prop_map(ScalarValue::from),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(ScalarValue::Bytes),
    ]
    .boxed()
}

/// Registers of the document itself that are set like others and stand for themselves.
fn registers() -> Vec<&'static Field> {
    let plain = |field: &&Field| {
        field.crdt == Crdt::Register
            && !matches!(field.name(), "created" | "del" | "old" | "start" | "end" | "price_minor" | "price_ccy")
            && !field.key.starts_with("schema")
    };
    SPECIMEN.fields_of(None).filter(plain).collect()
}

fn a_field() -> impl Strategy<Value = &'static Field> {
    proptest::sample::select(registers())
}

fn device(number: u8) -> Document {
    let mut document = Document::new(DocId([1; 16]), SPECIMEN.genesis(), StreamId([number; 16])).unwrap();
    document.edit(1, |doc| create(doc, &SPECIMEN, &[], 1)).unwrap();
    document
}

fn marked(document: &Document, rule: &str) -> bool {
    project(document).iter().any(|row| row.table == "entity_mark" && row.values[2] == Value::from(rule))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn what_a_field_may_hold_is_written_stored_and_not_marked(
        (field, value) in a_field().prop_flat_map(|field| (Just(field), valid(field)))
    ) {
        let mut document = device(1);
        let (_, change) = document.edit(2, |doc| set_all(doc, &SPECIMEN, &[(field.name(), value.clone())])).unwrap();
        if let Some(change) = change {
            prop_assert_eq!(door::admit(&document, &change.bytes), Ok(()));
        }
        prop_assert!(!marked(&document, field.id), "{} = {value:?}", field.id);
    }

    #[test]
    fn what_comes_from_elsewhere_is_marked_exactly_where_it_would_be_refused_here(
        field in a_field(), value in anything()
    ) {
        let refused = field.check(&value).is_err();
        let mut document = device(1);
        document.edit(2, |doc| doc.put(ROOT, field.key, value.clone())).unwrap();
        let is_kept_choice = matches!(field.field_type, FieldType::Choice(_)) && matches!(value, ScalarValue::Str(_));
        prop_assert_eq!(marked(&document, field.id), refused && !is_kept_choice, "{} = {:?}", field.id, value);
    }

    #[test]
    fn rows_are_the_same_after_saving_and_in_whatever_order_changes_come(
        writes in proptest::collection::vec((any::<bool>(), a_field(), anything()), 1..20)
    ) {
        let (mut a, mut b) = (device(1), device(2));
        for (at, (left, field, value)) in writes.into_iter().enumerate() {
            let document = if left { &mut a } else { &mut b };
            document.edit(at as i64 + 2, |doc| doc.put(ROOT, field.key, value)).unwrap();
        }
        let join = |first: &mut Document, second: &mut Document| {
            let mut fork = first.fork();
            fork.merge(&mut second.fork()).unwrap();
            first.replace(fork);
        };
        let mut left = a.clone();
        join(&mut left, &mut b.clone());
        join(&mut b, &mut a);
        prop_assert_eq!(project(&left), project(&b));
        let saved = left.snapshot();
        let loaded = Document::load(left.id(), left.genesis(), StreamId([9; 16]), &saved, &[]).unwrap();
        prop_assert_eq!(project(&loaded), project(&left));
    }

    #[test]
    fn no_json_makes_writing_panic_and_a_refusal_changes_nothing(
        name in proptest::sample::select(vec!["line", "int", "tag", "row", "due", "json", "prose", "count", "hash", "x"]),
        value in any::<Option<i64>>(), text in any::<String>(), shape in 0_u8..6
    ) {
        let number = value.map_or(serde_json::Value::Null, Into::into);
        let given = match shape {
            0 => number,
            1 => serde_json::json!(text),
            2 => serde_json::json!([text]),
            3 => serde_json::json!([{ "id": text, "text": "a" }]),
            4 => serde_json::json!([{ text: number }]),
            _ => serde_json::json!({ "a": [text, number] }),
        };
        let given = serde_json::Map::from_iter([(name.to_owned(), given)]);
        let mut document = device(1);
        let before = project(&document);
        if document.edit(2, |doc| apply(doc, &SPECIMEN, &given, &mut || "e".into())).is_err() {
            prop_assert_eq!(project(&document), before);
        } else {
            prop_assert!(!project(&document).iter().any(|row| row.table == "entity_mark"), "{given:?}");
        }
    }
}
