//! The body of a note in its document: a text with block markers and marks, read, replaced by difference, spliced.
//!
//! ```text
//! Body ⇄ Flat ⇄ text object        Flat: one unit per character or block marker, as the document counts
//!         └─ script (diff or undo) ─▶ apply: splice, split, then attributes, then marks
//! ```
//!
//! A block marker is a map in the text: `type` (absent: paragraph) and one key per attribute, so that two
//! devices that change different attributes both get their way. State is never text (modules.md §2.1).

mod apply;
mod cursor;
mod diff;
mod flat;

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ChangeHash, ObjId, ObjType, ROOT, ReadDoc, Value};

use super::markdown::{BlockKind, Body, TODO_DONE, TODO_OPEN, attr};
use crate::document::DocumentError;
use crate::registry::BODY_BYTES_MAX;

pub(crate) use apply::{all_marks, apply, grows};
pub(crate) use cursor::position;
pub use cursor::{find_point, point_at};
pub(crate) use diff::{Script, Step, compose_positions, push, script};
pub(crate) use flat::{BLOCK, Flat, Marker};

/// The text object, made by the genesis.
pub(crate) fn object(doc: &AutoCommit) -> Result<ObjId, DocumentError> {
    text_at(doc, "body")
}

/// The text object under a key, made by the genesis.
pub(crate) fn text_at(doc: &AutoCommit, key: &str) -> Result<ObjId, DocumentError> {
    match doc.get(ROOT, key)? {
        Some((Value::Object(ObjType::Text), id)) => Ok(id),
        _ => Err(DocumentError::InvalidEdit("the document has no body")),
    }
}

/// The body, now or as it was at `heads`.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] for a document that is no note.
pub fn read(doc: &AutoCommit, heads: Option<&[ChangeHash]>) -> Result<Body, DocumentError> {
    flat::read_body(doc, &object(doc)?, heads)
}

/// Makes the body what is given by writing only the difference, so that concurrent edits survive.
///
/// # Errors
/// [`DocumentError::InvalidValue`] for a body above the limit.
pub fn replace(doc: &mut AutoCommit, body: &Body) -> Result<(), DocumentError> {
    let target = Flat::from_body(body);
    check_size(target.text_bytes())?;
    let text = object(doc)?;
    if doc.length(&text) == 0 {
        return apply::fill(doc, &text, &target);
    }
    let now = Flat::read(doc, &text, None)?;
    let script = script(&now.units, &target.units);
    apply(doc, &text, &now, &target, &script)
}

/// Fills an empty body in one run, so that two devices that do it apart keep two whole texts.
///
/// # Errors
/// [`DocumentError::InvalidValue`] for a body above the limit.
pub(crate) fn begin(doc: &mut AutoCommit, body: &Body) -> Result<(), DocumentError> {
    let target = Flat::from_body(body);
    check_size(target.text_bytes())?;
    let text = object(doc)?;
    apply::fill_in_order(doc, &text, &target)
}

pub(super) fn check_size(bytes: usize) -> Result<(), DocumentError> {
    if bytes <= BODY_BYTES_MAX {
        return Ok(());
    }
    Err(DocumentError::InvalidValue { field: "note.body", rule: "is too large; split it into several notes" })
}

/// Replaces `delete` characters at `at` by `insert`; block markers count one each.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] for a place outside the text, [`DocumentError::InvalidValue`] when it grows
/// above the limit.
pub fn splice(doc: &mut AutoCommit, at: usize, delete: usize, insert: &str) -> Result<(), DocumentError> {
    let text = object(doc)?;
    let end = at.checked_add(delete).filter(|end| *end <= doc.length(&text));
    end.ok_or(DocumentError::InvalidEdit("the place is outside the text"))?;
    let count = isize::try_from(delete).map_err(|_| DocumentError::InvalidEdit("the place is outside the text"))?;
    // Counting bytes reads the whole text: only where four bytes a character could reach the limit.
    if !insert.is_empty() && doc.length(&text).saturating_mul(4).saturating_add(insert.len()) > BODY_BYTES_MAX {
        check_size(doc.text(&text)?.len().saturating_add(insert.len()))?;
    }
    Ok(doc.splice_text(&text, at, count, insert)?)
}

/// Ticks or unticks the `index`-th todo, 0-based.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] when there are fewer todos.
pub fn set_todo(doc: &mut AutoCommit, index: usize, done: bool) -> Result<(), DocumentError> {
    let text = object(doc)?;
    let flat = Flat::read(doc, &text, None)?;
    let todos = flat.markers().filter(|(_, block)| block.kind() == BlockKind::Todo);
    let (place, block) = todos.into_iter().nth(index).ok_or(DocumentError::InvalidEdit("there is no such todo"))?;
    let state = if done { TODO_DONE } else { TODO_OPEN };
    if block.attrs.get(attr::STATE).map_or(TODO_OPEN, String::as_str) == state {
        return Ok(());
    }
    apply::put_attr(doc, &text, place, attr::STATE, Some(state))
}
