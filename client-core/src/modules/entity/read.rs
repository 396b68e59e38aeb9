//! Reading an entity's document: values, texts, counters, entries of families, and who may edit it.

use std::collections::BTreeSet;

use automerge::{AutoCommit, ChangeHash, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value, legacy};

use crate::document::{Document, DocumentError};
use crate::modules::register::{owned, scalar, time};
use crate::registry::{Family, Field, Kind, lens};

/// The value of a field of the document itself: the winning one; of a counter its sum.
#[must_use]
pub fn value(doc: &AutoCommit, field: &Field) -> Option<ScalarValue> {
    match lens::seen(doc, field, field.key)? {
        ScalarValue::Counter(count) => Some(ScalarValue::Int(i64::from(&count))),
        value => Some(value),
    }
}

/// The sum of a counter of an entry: what every stream has added.
#[must_use]
pub fn counter(doc: &AutoCommit, field: &Field, id: &str) -> i64 {
    let key = field.key_of(id);
    let prefix = key.split_once('<').map_or(key.as_str(), |(prefix, _)| prefix).to_owned();
    let range = doc.map_range(ROOT, prefix.clone()..).take_while(|item| item.key.starts_with(&prefix));
    range.filter_map(|item| owned(&item.value)?.as_i64()).fold(0, i64::saturating_add)
}

/// The text of a field that merges by characters.
#[must_use]
pub fn text_of(doc: &AutoCommit, field: &Field) -> String {
    text_object(doc, field).ok().and_then(|text| doc.text(&text).ok()).unwrap_or_default()
}

/// The text object of a field, made by the genesis.
pub(super) fn text_object(doc: &AutoCommit, field: &Field) -> Result<ObjId, DocumentError> {
    match doc.get(ROOT, field.key)? {
        Some((Value::Object(ObjType::Text), id)) => Ok(id),
        _ => Err(DocumentError::InvalidEdit("the document has no such text")),
    }
}

/// Ids of all entries of a family, the removed ones included.
#[must_use]
pub fn entries(doc: &AutoCommit, family: &Family) -> BTreeSet<String> {
    let prefix = format!("{}/", family.name);
    let range = doc.map_range(ROOT, prefix.clone()..).take_while(|item| item.key.starts_with(&prefix));
    let ids = range.map(|item| {
        let rest = &item.key[prefix.len()..];
        rest.split_once(':').map_or(rest, |(id, _)| id).to_owned()
    });
    ids.collect()
}

/// The version of its schema that a program must know to edit the document, if this one does not.
#[must_use]
pub fn needed_version(doc: &AutoCommit, kind: &Kind) -> Option<u32> {
    let needed = u32::try_from(scalar(doc, "schema:min")?.as_i64()?).unwrap_or(u32::MAX);
    (needed > kind.version).then_some(needed)
}

/// Whether this program understands enough of the document to edit it.
///
/// # Errors
/// [`DocumentError::NeedsUpdate`].
pub fn may_edit(doc: &AutoCommit, kind: &Kind) -> Result<(), DocumentError> {
    match needed_version(doc, kind) {
        None => Ok(()),
        Some(version) => Err(DocumentError::NeedsUpdate { kind: kind.name, version }),
    }
}

/// Whether a trashed entity was edited by a change that does not come before its tombstone (on another device, or
/// here later). Changes that only write the tombstone do not count.
#[must_use]
pub fn is_edited_after_trash(document: &Document) -> bool {
    let doc = document.read();
    if time(doc, "del").is_none() {
        return false;
    }
    let tombstone = doc.get(ROOT, "del").ok().flatten().and_then(|(_, op)| doc.hash_for_opid(&op));
    tombstone.is_some_and(|tombstone| document.heads() != [tombstone] && edits_beside(document, tombstone))
}

fn edits_beside(document: &Document, tombstone: ChangeHash) -> bool {
    // Reading changes asks for `&mut`; trashed entities with more heads than their tombstone are few.
    let changes = document.read().clone().get_changes(&[tombstone]);
    let only_tombstone = |change: &automerge::Change| {
        let operations = change.decode().operations;
        operations.iter().all(|op| matches!(&op.key, legacy::Key::Map(key) if key == "del"))
    };
    !changes.iter().all(only_tombstone)
}
