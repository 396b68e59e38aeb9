//! Lenses: what one field means under another key, where adding a field is not enough (a unit that changes, a yes or no
//! that becomes a choice).
//!
//! ```text
//! earlier versions ── write and read ──▶  from   ◀── both written together ── this version
//!                                         key    ◀── and read: as it is, or through the lens where `from` is newer
//! ```
//! Which register is newer is told by the identity of their operations, which every device has alike; so devices of all
//! versions agree on what a document says, each in its own words.

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ObjId, ROOT, ReadDoc, ScalarValue};

use super::Field;
use crate::document::{DocumentError, GenesisId};
use crate::modules::register::{put, scalar};

/// How a field reads what earlier versions write under another key, and what they are given to read.
#[derive(Debug, Clone, Copy)]
pub struct Lens {
    /// The earlier field's key in the document; it is declared, and deprecated.
    pub from: &'static str,
    /// What an earlier value means now; `None` for what means nothing.
    pub read: fn(&ScalarValue) -> Option<ScalarValue>,
    /// What earlier versions are shown of a value; they are always shown something.
    pub write: fn(&ScalarValue) -> ScalarValue,
}

/// A register's winning value, null taken for none, and the operation that wrote it.
fn winner(doc: &AutoCommit, key: &str) -> Option<(Option<ScalarValue>, ObjId)> {
    let (value, op) = doc.get(ROOT, key).ok()??;
    Some((value.as_scalar().filter(|value| !value.is_null()).cloned(), op))
}

fn is_later(a: &ObjId, b: &ObjId) -> bool {
    match (a, b) {
        (ObjId::Id(a, by, _), ObjId::Id(b, other, _)) => (a, by.to_bytes()) > (b, other.to_bytes()),
        _ => false,
    }
}

/// The value of a field that may be seen through a lens; `None` for none.
#[must_use]
pub fn seen(doc: &AutoCommit, field: &Field, key: &str) -> Option<ScalarValue> {
    let Some(lens) = field.lens else { return scalar(doc, key) };
    match (winner(doc, key), winner(doc, lens.from)) {
        (None, None) => None,
        (Some((value, _)), None) => value,
        (None, Some((earlier, _))) => earlier.as_ref().and_then(lens.read),
        (Some((value, op)), Some((earlier, from))) => {
            // Written together they say the same; the earlier one says it less exactly.
            if doc.hash_for_opid(&op) == doc.hash_for_opid(&from) || !is_later(&from, &op) {
                return value;
            }
            match earlier {
                None => None,
                Some(earlier) => (lens.read)(&earlier).or(value),
            }
        }
    }
}

/// After the field was written: earlier versions are shown the same, by an operation behind it in the same change.
///
/// # Errors
/// [`DocumentError`].
pub fn show_earlier(
    doc: &mut AutoCommit,
    genesis: GenesisId,
    lens: &Lens,
    value: &ScalarValue,
) -> Result<(), DocumentError> {
    let earlier = if value.is_null() { ScalarValue::Null } else { (lens.write)(value) };
    tell_apart(doc, lens.from, &earlier)?;
    put(doc, genesis, lens.from, earlier)
}

/// Makes the next writing of a value an operation also where the register says so already.
///
/// # Errors
/// [`DocumentError::Refused`].
pub fn tell_apart(doc: &mut AutoCommit, key: &str, value: &ScalarValue) -> Result<(), DocumentError> {
    if !value.is_null() && scalar(doc, key).as_ref() == Some(value) {
        doc.put(ROOT, key, ScalarValue::Null)?;
    }
    Ok(())
}
