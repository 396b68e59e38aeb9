//! Columns of a task that do not follow from single fields: whether it is over, when it can be due at the earliest, and
//! what was done of it.

use std::collections::BTreeMap;

use automerge::{AutoCommit, ScalarValue};

use super::declared::TASK;
use super::facts::{Entry, Facts, Source};
use super::when;
use crate::document::Document;
use crate::modules::register::{scalar, with_prefix};
use crate::projection::{Row, Value};

/// A document as a source of facts.
pub(super) struct OfDocument<'d>(pub(super) &'d AutoCommit);

fn cell(value: &ScalarValue) -> Value {
    match value {
        ScalarValue::Str(text) => Value::Text(text.to_string()),
        ScalarValue::Boolean(value) => Value::Int(i64::from(*value)),
        other => other.as_i64().map_or(Value::Null, Value::Int),
    }
}

impl Source for OfDocument<'_> {
    fn field(&self, name: &str) -> Value {
        let key = TASK.field_named(name).map_or(name, |field| field.key);
        match scalar(self.0, key) {
            Some(ScalarValue::Counter(count)) => Value::Int(i64::from(&count)),
            Some(value) => cell(&value),
            None => Value::Null,
        }
    }

    fn entries(&self, family: &str) -> Vec<(String, Entry)> {
        let prefix = format!("{family}/");
        let mut found: BTreeMap<String, Entry> = BTreeMap::new();
        for (rest, value) in with_prefix(self.0, &prefix) {
            let (id, name) = rest.split_once(':').unwrap_or((&rest, "label"));
            found.entry(id.to_owned()).or_default().insert(name.to_owned(), cell(&value));
        }
        found.into_iter().filter(|(_, entry)| !entry.contains_key("del")).collect()
    }
}

/// Facts of a document; zones are asked of nobody, so that every device gets the same.
pub(super) fn facts(doc: &AutoCommit) -> Facts {
    Facts::read(&OfDocument(doc), &|_| None)
}

/// Values of the columns, in the order in which they are declared.
pub(super) fn columns(document: &Document) -> (Vec<Value>, Vec<Row>) {
    let facts = facts(document.read());
    let done = facts.log.values().filter(|logged| logged.done_ms.is_some()).count();
    let values = vec![
        Value::Int(i64::from(facts.is_over())),
        Value::from(facts.first_day().map(when::day)),
        facts.done_ms().map_or(Value::Null, Value::Int),
        Value::Int(i64::try_from(done).unwrap_or(i64::MAX)),
    ];
    (values, Vec::new())
}
