//! Tags: a set in which adding wins. A tag's id comes from its folded name, so two devices that make the same tag
//! offline make one.

use std::collections::BTreeMap;

use automerge::{AutoCommit, ROOT, ReadDoc, Value};
use lifeos_sync_protocol::hash;

use super::front;
use crate::document::DocumentError;
use crate::modules::register::{as_text, clear, fold, line, owned, put};
use crate::registry::{NOTE_GENESIS, TAGS_MAX};

pub(super) const PREFIX: &str = "tag/";

/// Id of a tag: 32 hex characters from its name without `#`, case and width.
#[must_use]
pub fn tag_id(name: &str) -> String {
    let digest = hash::sha256("tag", &[fold(&label(name)).as_bytes()]);
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How a tag is written: one line, without the sign.
#[must_use]
pub fn label(name: &str) -> String {
    line(name.trim().trim_start_matches('#'))
}

/// Adds a tag.
///
/// # Errors
/// [`DocumentError::InvalidValue`] for an empty name or one tag too many.
pub fn tag(doc: &mut AutoCommit, name: &str) -> Result<(), DocumentError> {
    let (id, present) = (tag_id(name), tags(doc));
    if present.contains_key(&id) {
        return Ok(());
    }
    if present.len() >= TAGS_MAX {
        return Err(too_many());
    }
    put(doc, NOTE_GENESIS, &format!("{PREFIX}{id}"), label(name))
}

/// Key of a tag's register.
pub(super) fn key(name: &str) -> String {
    format!("{PREFIX}{}", tag_id(name))
}

pub(super) const fn too_many() -> DocumentError {
    DocumentError::InvalidValue { field: "note.tag", rule: "a note has at most 200 tags" }
}

/// Takes a tag away, also out of the properties `tags` and `tag`. One that is written in the text stays.
///
/// # Errors
/// As [`front::set_property`].
pub fn untag(doc: &mut AutoCommit, name: &str) -> Result<(), DocumentError> {
    let id = tag_id(name);
    clear(doc, NOTE_GENESIS, &format!("{PREFIX}{id}"))?;
    for property in ["tags", "tag"] {
        let Some(value) = front::property(doc, property) else { continue };
        if let Some(rest) = without(&value, &id) {
            front::set_property(doc, property, rest.as_ref())?;
        }
    }
    Ok(())
}

/// A property without one tag; `None` when it does not name the tag.
fn without(value: &serde_json::Value, id: &str) -> Option<Option<serde_json::Value>> {
    let names = |value: &serde_json::Value| value.as_str().is_some_and(|name| tag_id(name) == id);
    match value {
        serde_json::Value::Array(items) if items.iter().any(names) => {
            Some(Some(items.iter().filter(|item| !names(item)).cloned().collect()))
        }
        value if names(value) => Some(None),
        _ => None,
    }
}

/// The tags of the set, id to label. An addition that is concurrent with a removal wins.
#[must_use]
pub fn tags(doc: &AutoCommit) -> BTreeMap<String, String> {
    let range = doc.map_range(ROOT, PREFIX.to_owned()..).take_while(|item| item.key.starts_with(PREFIX));
    let present = range.filter_map(|item| {
        let winner = owned(&item.value).and_then(|value| as_text(&value).map(str::to_owned));
        let label = winner.or_else(|| item.conflict.then(|| conflicting(doc, &item.key)).flatten());
        Some((item.key[PREFIX.len()..].to_owned(), label?))
    });
    present.collect()
}

/// The newest label among values that were written concurrently.
pub(super) fn conflicting(doc: &AutoCommit, key: &str) -> Option<String> {
    let values = doc.get_all(ROOT, key).ok()?;
    let labels = values.into_iter().filter_map(|(value, _)| match value {
        Value::Scalar(value) => as_text(&value).map(str::to_owned),
        Value::Object(_) => None,
    });
    labels.last()
}
