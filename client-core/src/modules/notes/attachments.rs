//! Attachments of a note: a set of contents by hash, each under the name it has there; adding wins over a removal.

use std::collections::BTreeMap;

use automerge::{AutoCommit, ROOT, ReadDoc};

use super::tags::conflicting;
use crate::document::DocumentError;
use crate::modules::attachment::ContentHash;
use crate::modules::register::{as_text, clear, line, owned, put};
use crate::registry::NOTE_GENESIS;

pub(super) const PREFIX: &str = "attachment/";
/// Most attachments of a note.
pub const ATTACHMENTS_MAX: usize = 1000;

/// Attaches a content under a name; one that is attached gets the new name.
///
/// # Errors
/// [`DocumentError::InvalidValue`] for no name, or one attachment too many.
pub fn attach(doc: &mut AutoCommit, content: &ContentHash, name: &str) -> Result<(), DocumentError> {
    let present = attachments(doc);
    if present.len() >= ATTACHMENTS_MAX && !present.contains_key(content) {
        return Err(DocumentError::InvalidValue {
            field: "note.attachment",
            rule: "a note has at most 1,000 attachments",
        });
    }
    put(doc, NOTE_GENESIS, &format!("{PREFIX}{content}"), line(name))
}

/// Takes an attachment away.
///
/// # Errors
/// As [`attach`].
pub fn detach(doc: &mut AutoCommit, content: &ContentHash) -> Result<(), DocumentError> {
    clear(doc, NOTE_GENESIS, &format!("{PREFIX}{content}"))
}

/// The attachments, hash to name. An addition that is concurrent with a removal wins.
#[must_use]
pub fn attachments(doc: &AutoCommit) -> BTreeMap<ContentHash, String> {
    let range = doc.map_range(ROOT, PREFIX.to_owned()..).take_while(|item| item.key.starts_with(PREFIX));
    let present = range.filter_map(|item| {
        let winner = owned(&item.value).and_then(|value| as_text(&value).map(str::to_owned));
        let name = winner.or_else(|| item.conflict.then(|| conflicting(doc, &item.key)).flatten());
        Some((item.key[PREFIX.len()..].parse().ok()?, name?))
    });
    present.collect()
}
