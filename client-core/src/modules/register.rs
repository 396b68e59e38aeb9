//! Reading and writing the flat registers of a document; every write passes the field registry.

use std::borrow::Cow;

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ROOT, ReadDoc, ScalarValue, ValueRef};
use unicode_normalization::UnicodeNormalization;

use crate::document::{DocumentError, GenesisId};
use crate::registry;

/// Writes a register after the field registry agreed. Writing the value that is there makes no change.
///
/// # Errors
/// [`DocumentError::InvalidEdit`], [`DocumentError::InvalidValue`].
pub fn put(
    doc: &mut AutoCommit,
    genesis: GenesisId,
    key: &str,
    value: impl Into<ScalarValue>,
) -> Result<(), DocumentError> {
    let value = value.into();
    registry::validate(genesis, key, &value)?;
    if scalar(doc, key).is_some_and(|stands| stands == value) && doc.get_all(ROOT, key)?.len() > 1 {
        // Of several values that were written at once this one won. Automerge would delete the others, and no change may
        // delete: null takes their place, then the value.
        doc.put(ROOT, key, ScalarValue::Null)?;
    }
    Ok(doc.put(ROOT, key, value)?)
}

/// Writes null into a register that has a value.
///
/// # Errors
/// As [`put`].
pub fn clear(doc: &mut AutoCommit, genesis: GenesisId, key: &str) -> Result<(), DocumentError> {
    if is_set(doc, key) { put(doc, genesis, key, ScalarValue::Null) } else { Ok(()) }
}

/// The winning value of a register; `None` if it was never written, is null or holds an object.
#[must_use]
pub fn scalar(doc: &AutoCommit, key: &str) -> Option<ScalarValue> {
    let (value, _) = doc.get(ROOT, key).ok()??;
    value.as_scalar().filter(|value| !value.is_null()).cloned()
}

/// Whether a register has a value.
#[must_use]
pub fn is_set(doc: &AutoCommit, key: &str) -> bool {
    scalar(doc, key).is_some()
}

/// A text register.
#[must_use]
pub fn text(doc: &AutoCommit, key: &str) -> Option<String> {
    scalar(doc, key).and_then(|value| value.into_string().ok())
}

/// A time register (ms UTC); a plain integer counts too.
#[must_use]
pub fn time(doc: &AutoCommit, key: &str) -> Option<i64> {
    match scalar(doc, key)? {
        ScalarValue::Timestamp(ms) | ScalarValue::Int(ms) => Some(ms),
        _ => None,
    }
}

/// A yes-or-no register; absent is no.
#[must_use]
pub fn flag(doc: &AutoCommit, key: &str) -> bool {
    matches!(scalar(doc, key), Some(ScalarValue::Boolean(true)))
}

/// The registers whose key begins with `prefix`, by key, with the prefix taken off and nulls left out.
pub fn with_prefix<'d>(doc: &'d AutoCommit, prefix: &'d str) -> impl Iterator<Item = (String, ScalarValue)> + 'd {
    let range = doc.map_range(ROOT, prefix.to_owned()..);
    let inside = range.take_while(move |item| item.key.starts_with(prefix));
    inside.filter_map(move |item| Some((item.key[prefix.len()..].to_owned(), owned(&item.value)?)))
}

/// A scalar that is not null.
pub(crate) fn owned(value: &ValueRef<'_>) -> Option<ScalarValue> {
    match value {
        ValueRef::Scalar(value) => Some(ScalarValue::from(value.clone())).filter(|value| !value.is_null()),
        ValueRef::Object(_) => None,
    }
}

/// The text of a value, if it is text.
pub(crate) fn as_text(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Str(text) => Some(text),
        _ => None,
    }
}

/// One line as it is stored: NFC, white space and line breaks to single spaces, trimmed.
#[must_use]
pub fn line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c == '\0').filter(|word| !word.is_empty()).collect();
    words.join(" ").nfc().collect()
}

/// What two spellings of a name have in common: NFKC without case. `Straße`, `STRASSE` and `ｓｔｒａｓｓｅ` fold alike.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // Upper before lower: that takes ß to ss, and both sigmas to one.
    let upper = text.nfkc().flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).nfkc().collect()
}

/// Cuts to `max` characters.
#[must_use]
pub fn cut(text: &str, chars_max: usize) -> Cow<'_, str> {
    text.char_indices()
        .nth(chars_max)
        .map_or(Cow::Borrowed(text), |(end, _)| Cow::Owned(text[..end].trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_fold_alike() {
        for spelling in ["Straße", "STRASSE", "strasse", "ｓｔｒａｓｓｅ"] {
            assert_eq!(fold(spelling), "strasse");
        }
        assert_eq!(fold("Ὀδυσσεύς"), fold("ὈΔΥΣΣΕΎΣ"));
        assert_eq!(fold("e\u{301}"), fold("É"));
        assert_ne!(fold("a b"), fold("ab"));
    }

    #[test]
    fn a_line_is_trimmed_nfc_and_one_line() {
        assert_eq!(line("  a\n\tb  e\u{301} "), "a b é");
        assert_eq!(line(" \n"), "");
    }

    #[test]
    fn cutting_keeps_whole_characters() {
        assert_eq!(cut("ééé", 2), "éé");
        assert_eq!(cut("ab c", 3), "ab");
        assert_eq!(cut("ab", 2), "ab");
    }
}
