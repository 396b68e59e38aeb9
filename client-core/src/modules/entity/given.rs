//! An entity as JSON: what people and programs give, all at once, turned into writes.
//!
//! ```text
//! {"name": "Ana",  "note": "…",  "tag": ["friend"],  "reach": [{"kind": "email", …}, {"id": "…", "value": null}]}
//!   a field          a text        added to a set      an entry without an id begins, one with it is changed
//! ```

use automerge::{AutoCommit, ScalarValue};
use serde_json::{Map, Value};

use super::write::{put_row, set_all, set_text, tag};
use crate::document::DocumentError;
use crate::registry::{Crdt, Family, Field, Kind};

/// Writes what is given; `new_id` gives ids to entries that have none.
///
/// # Errors
/// As [`set_all`] and [`put_row`].
pub fn apply(
    doc: &mut AutoCommit,
    kind: &Kind,
    given: &Map<String, Value>,
    new_id: &mut dyn FnMut() -> String,
) -> Result<(), DocumentError> {
    let mut fields: Vec<(&str, ScalarValue)> = Vec::new();
    for (name, value) in given {
        match (kind.field_named(name), kind.family(name)) {
            (Some(field), _) if field.crdt == Crdt::Text => set_text(doc, kind, name, text_of(field, value)?)?,
            (Some(field), _) => fields.push((name.as_str(), field.read(value)?)),
            (None, Some(family)) => apply_list(doc, kind, family, value, new_id)?,
            (None, None) => return Err(DocumentError::InvalidEdit("there is no such field")),
        }
    }
    if fields.is_empty() { Ok(()) } else { set_all(doc, kind, &fields) }
}

fn text_of<'v>(field: &Field, value: &'v Value) -> Result<&'v str, DocumentError> {
    match value {
        Value::Null => Ok(""),
        Value::String(text) => Ok(text),
        _ => Err(DocumentError::InvalidValue { field: field.id, rule: "has the wrong type" }),
    }
}

const NO_LIST: DocumentError = DocumentError::InvalidEdit("a list is given as an array: labels of a set, or entries");

fn apply_list(
    doc: &mut AutoCommit,
    kind: &Kind,
    family: &Family,
    value: &Value,
    new_id: &mut dyn FnMut() -> String,
) -> Result<(), DocumentError> {
    for item in value.as_array().ok_or(NO_LIST)? {
        match item {
            Value::String(label) if kind.is_set(family) => tag(doc, kind, family.name, label)?,
            Value::Object(entry) if !kind.is_set(family) => apply_entry(doc, kind, family, entry, new_id)?,
            _ => return Err(NO_LIST),
        }
    }
    Ok(())
}

fn apply_entry(
    doc: &mut AutoCommit,
    kind: &Kind,
    family: &Family,
    entry: &Map<String, Value>,
    new_id: &mut dyn FnMut() -> String,
) -> Result<(), DocumentError> {
    let id = entry.get("id").and_then(Value::as_str).map_or_else(new_id, str::to_owned);
    let mut fields: Vec<(&str, ScalarValue)> = Vec::new();
    for (name, value) in entry.iter().filter(|(name, _)| *name != "id") {
        let field = kind.fields_of(Some(family.name)).find(|field| field.name() == name);
        let field = field.ok_or(DocumentError::InvalidEdit("there is no such field"))?;
        fields.push((field.name(), field.read(value)?));
    }
    if fields.is_empty() {
        return Err(DocumentError::InvalidEdit("an entry needs at least one field"));
    }
    put_row(doc, kind, family.name, &id, &fields)
}
