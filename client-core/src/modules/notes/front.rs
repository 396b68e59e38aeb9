//! Front matter and properties: the raw text is kept as it was imported, each property also is a register.
//!
//! Two devices that change different properties both get their way, because a property's register decides; the
//! raw text only says how everything else looks. A register that differs from the raw text is written into it on
//! the way out, so an unedited note goes out byte for byte as it came in.

use automerge::{AutoCommit, ROOT, ReadDoc};
use serde_json::Value;

use super::markdown::{FrontMatter, set_property as set_line};
use crate::document::DocumentError;
use crate::modules::register::{as_text, clear, owned, put, text};
use crate::registry::{NOTE_GENESIS, PROPERTY_BYTES_MAX, PROPERTY_NAME_CHARS_MAX};

pub(super) const PREFIX: &str = "prop/";

/// Sets a property, or takes it away.
///
/// # Errors
/// [`DocumentError::InvalidValue`] for a name or value out of bounds.
pub fn set_property(doc: &mut AutoCommit, name: &str, value: Option<&Value>) -> Result<(), DocumentError> {
    if !is_name(name) {
        return Err(DocumentError::InvalidValue { field: "note.prop", rule: "needs a name of 1 to 128 characters" });
    }
    let key = key(name);
    match value {
        Some(value) => put(doc, NOTE_GENESIS, &key, value.to_string()),
        // Null even where there is no register yet: the raw text may hold the property.
        None => put(doc, NOTE_GENESIS, &key, automerge::ScalarValue::Null),
    }
}

/// Key of a property's register.
pub(super) fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn is_name(name: &str) -> bool {
    let length = name.chars().take(PROPERTY_NAME_CHARS_MAX + 1).count();
    (1..=PROPERTY_NAME_CHARS_MAX).contains(&length) && !name.chars().any(char::is_control)
}

/// Makes the front matter what is given: the raw text, and a write for each property that differs from now.
///
/// # Errors
/// [`DocumentError::InvalidValue`] for front matter above the limit.
pub fn replace(doc: &mut AutoCommit, front: Option<&FrontMatter>) -> Result<(), DocumentError> {
    let now = effective(doc);
    if now.as_ref() == front && now.as_ref().map(FrontMatter::raw) == front.map(FrontMatter::raw) {
        return Ok(());
    }
    match front {
        Some(front) => put(doc, NOTE_GENESIS, "front", front.raw())?,
        None => clear(doc, NOTE_GENESIS, "front")?,
    }
    let wanted: Vec<(&str, &Value)> = front.map(storable).unwrap_or_default();
    for (name, value) in registers(doc) {
        if value.is_some() && !wanted.iter().any(|(other, _)| *other == name) {
            set_property(doc, &name, None)?;
        }
    }
    for (name, value) in wanted {
        if property(doc, name).as_ref() != Some(value) {
            set_property(doc, name, Some(value))?;
        }
    }
    Ok(())
}

/// Properties that get a register: the first of each name, within bounds. Others live in the raw text alone.
pub(super) fn storable(front: &FrontMatter) -> Vec<(&str, &Value)> {
    let mut out: Vec<(&str, &Value)> = Vec::new();
    for (name, value) in front.properties() {
        let fits = is_name(name) && value.to_string().len() <= PROPERTY_BYTES_MAX;
        if fits && !out.iter().any(|(other, _)| *other == name.as_str()) {
            out.push((name, value));
        }
    }
    out
}

/// One property's register.
#[must_use]
pub fn property(doc: &AutoCommit, name: &str) -> Option<Value> {
    let json = text(doc, &format!("{PREFIX}{name}"))?;
    serde_json::from_str(&json).ok()
}

/// All properties that have a value, by name.
#[must_use]
pub fn properties(doc: &AutoCommit) -> Vec<(String, Value)> {
    registers(doc).into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// All property registers by name; `None` for one that was taken away.
fn registers(doc: &AutoCommit) -> Vec<(String, Option<Value>)> {
    let range = doc.map_range(ROOT, PREFIX.to_owned()..).take_while(|item| item.key.starts_with(PREFIX));
    let read = range.map(|item| {
        let value = owned(&item.value).and_then(|value| serde_json::from_str(as_text(&value)?).ok());
        (item.key[PREFIX.len()..].to_owned(), value)
    });
    read.collect()
}

/// The front matter as it goes out: the raw text with every register that differs written into it.
#[must_use]
pub fn effective(doc: &AutoCommit) -> Option<FrontMatter> {
    with_registers(text(doc, "front").as_deref(), registers(doc))
}

/// The raw text with every register that differs written into it.
pub(super) fn with_registers(
    raw: Option<&str>,
    registers: impl IntoIterator<Item = (String, Option<Value>)>,
) -> Option<FrontMatter> {
    let raw = raw.and_then(FrontMatter::from_raw);
    let had_raw = raw.is_some();
    let mut front = raw.unwrap_or_default();
    let mut changed = false;
    for (name, value) in registers {
        if front.property(&name) != value.as_ref() {
            front = set_line(&front, &name, value);
            changed = true;
        }
    }
    (had_raw || (changed && !front.raw().is_empty())).then_some(front)
}
