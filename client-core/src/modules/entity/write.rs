//! Writing an entity: every write passes the field registry, and what must hold between fields is looked at when the
//! last one of an edit is written.

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ROOT, ReadDoc, ScalarValue};
use lifeos_sync_protocol::hash;

use super::read::{counter, entries, may_edit, text_object};
use crate::document::DocumentError;
use crate::modules::register::{clear, fold, is_set, line, put, scalar};
use crate::registry::{Crdt, Family, Field, FieldType, Kind, Rule, Validation, Values, is_row_id, lens};

/// Fields by name with their values; null takes a value away.
pub type Fields<'a> = &'a [(&'a str, ScalarValue)];

/// Fills a new document.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] for a field that is not declared, [`DocumentError::InvalidValue`].
pub fn create(doc: &mut AutoCommit, kind: &Kind, fields: Fields<'_>, now_ms: i64) -> Result<(), DocumentError> {
    put(doc, kind.genesis(), "created", ScalarValue::Timestamp(now_ms))?;
    set_all(doc, kind, fields)
}

/// Sets one field of the document itself; null takes its value away.
///
/// # Errors
/// As [`set_all`].
pub fn set(doc: &mut AutoCommit, kind: &Kind, name: &str, value: impl Into<ScalarValue>) -> Result<(), DocumentError> {
    set_all(doc, kind, &[(name, value.into())])
}

/// Sets fields of the document itself, together: what must hold between them is looked at when all are written.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] for a field that is not declared or not set this way, [`DocumentError::InvalidValue`]
/// for a value or a combination that breaks a rule, [`DocumentError::NeedsUpdate`].
pub fn set_all(doc: &mut AutoCommit, kind: &Kind, fields: Fields<'_>) -> Result<(), DocumentError> {
    may_edit(doc, kind)?;
    for (name, value) in fields {
        let field = kind.field_named(name).ok_or(UNKNOWN)?;
        let Some(lens) = &field.lens else {
            write(doc, kind, field, field.key, value)?;
            continue;
        };
        // Behind what was written before, also where it says the same: it is told by that which of two is newer.
        lens::tell_apart(doc, field.key, value)?;
        write(doc, kind, field, field.key, value)?;
        lens::show_earlier(doc, kind.genesis(), lens, value)?;
    }
    stamp(doc, kind)?;
    check_rules(doc, kind, None, "", fields)
}

const UNKNOWN: DocumentError = DocumentError::InvalidEdit("there is no such field");

/// Writes a register, for which there is no operation of its own.
fn write(
    doc: &mut AutoCommit,
    kind: &Kind,
    field: &Field,
    key: &str,
    value: &ScalarValue,
) -> Result<(), DocumentError> {
    let own = matches!(field.name(), "created" | "del" | "schema") || field.key.starts_with("schema:");
    if own || !matches!(field.crdt, Crdt::Register | Crdt::AddWins) {
        return Err(DocumentError::InvalidEdit("the field is not set like others"));
    }
    if field.deprecated.is_some_and(|version| version <= kind.version) && !value.is_null() {
        return Err(DocumentError::InvalidValue { field: field.id, rule: "is not written any more" });
    }
    match value {
        ScalarValue::Null if !field.nullable => {
            Err(DocumentError::InvalidValue { field: field.id, rule: "cannot be taken away" })
        }
        ScalarValue::Null => clear(doc, kind.genesis(), key),
        value => put(doc, kind.genesis(), key, value.clone()),
    }
}

/// Says which version wrote the document, and which one may edit it, where that is more than it says already.
fn stamp(doc: &mut AutoCommit, kind: &Kind) -> Result<(), DocumentError> {
    for (key, version) in [("schema:v", kind.version), ("schema:min", kind.min_reader)] {
        let said = scalar(doc, key).and_then(|value| value.as_i64()).unwrap_or(1);
        if said < i64::from(version) {
            put(doc, kind.genesis(), key, i64::from(version))?;
        }
    }
    Ok(())
}

/// What must hold between fields, of which some were just written.
fn check_rules(
    doc: &AutoCommit,
    kind: &Kind,
    family: Option<&str>,
    prefix: &str,
    written: Fields<'_>,
) -> Result<(), DocumentError> {
    let read = |key: &str| match kind.fields.iter().find(|field| field.lens.is_some() && field.key == key) {
        Some(field) => lens::seen(doc, field, key),
        None => scalar(doc, key),
    };
    let values = Values { prefix, read: &read };
    let touched = |rule: &&Rule| written.iter().any(|(name, _)| rule.fields.contains(name));
    let mut rules = kind.rules.iter().filter(|rule| rule.family == family).filter(touched);
    match rules.find(|rule| !(rule.holds)(&values)) {
        Some(broken) => Err(DocumentError::InvalidValue { field: broken.id, rule: broken.text }),
        None => check_money(doc, kind, family, prefix, written),
    }
}

/// An amount of money without its currency says nothing, and the other way round.
fn check_money(
    doc: &AutoCommit,
    kind: &Kind,
    family: Option<&str>,
    prefix: &str,
    written: Fields<'_>,
) -> Result<(), DocumentError> {
    for field in kind.fields_of(family) {
        let FieldType::Minor(currency) = field.field_type else { continue };
        let touched = written.iter().any(|(name, _)| *name == field.name() || *name == currency);
        let has = |name: &str| is_set(doc, &format!("{prefix}{name}"));
        if touched && has(field.name()) != has(currency) {
            return Err(DocumentError::InvalidValue { field: field.id, rule: "needs an amount and a currency" });
        }
    }
    Ok(())
}

fn family<'k>(kind: &'k Kind, name: &str) -> Result<&'k Family, DocumentError> {
    kind.family(name).ok_or(DocumentError::InvalidEdit("there is no such list"))
}

/// Writes fields of an entry of a family; an entry that is not there begins with it.
///
/// # Errors
/// As [`set_all`], and [`DocumentError::InvalidEdit`] for an id that cannot be used, for one entry too many, or for one
/// that is removed.
pub fn put_row(
    doc: &mut AutoCommit,
    kind: &Kind,
    family_name: &str,
    id: &str,
    fields: Fields<'_>,
) -> Result<(), DocumentError> {
    may_edit(doc, kind)?;
    let family = family(kind, family_name)?;
    make_room(doc, family, id)?;
    for (name, value) in fields {
        let field = row_field(kind, family, name)?;
        write(doc, kind, field, &field.key_of(id), value)?;
    }
    stamp(doc, kind)?;
    check_rules(doc, kind, Some(family.name), &format!("{}/{id}:", family.name), fields)
}

fn row_field(kind: &Kind, family: &Family, name: &str) -> Result<&'static Field, DocumentError> {
    kind.fields_of(Some(family.name)).find(|field| field.name() == name).ok_or(UNKNOWN)
}

/// The entry may be written: its id reads as one, it is not removed, and there is room for it.
fn make_room(doc: &AutoCommit, family: &Family, id: &str) -> Result<(), DocumentError> {
    if !is_row_id(id) {
        return Err(DocumentError::InvalidEdit("the entry's id cannot be used"));
    }
    if is_set(doc, &format!("{}/{id}:del", family.name)) {
        return Err(DocumentError::InvalidEdit("the entry is removed: restore it first"));
    }
    let present = entries(doc, family);
    if present.len() >= family.rows_max && !present.contains(id) {
        return Err(DocumentError::InvalidEdit("the list is full: begin another document"));
    }
    Ok(())
}

/// Removes an entry (tombstone).
///
/// # Errors
/// [`DocumentError::InvalidEdit`] when it is not there, or entries of this family are not removed.
pub fn remove_row(
    doc: &mut AutoCommit,
    kind: &Kind,
    family_name: &str,
    id: &str,
    now_ms: i64,
) -> Result<(), DocumentError> {
    let key = tombstone(doc, kind, family_name, id)?;
    if is_set(doc, &key) { Ok(()) } else { put(doc, kind.genesis(), &key, ScalarValue::Timestamp(now_ms)) }
}

/// Brings a removed entry back.
///
/// # Errors
/// As [`remove_row`].
pub fn restore_row(doc: &mut AutoCommit, kind: &Kind, family_name: &str, id: &str) -> Result<(), DocumentError> {
    let key = tombstone(doc, kind, family_name, id)?;
    clear(doc, kind.genesis(), &key)
}

fn tombstone(doc: &AutoCommit, kind: &Kind, family_name: &str, id: &str) -> Result<String, DocumentError> {
    may_edit(doc, kind)?;
    let family = family(kind, family_name)?;
    if !is_row_id(id) || !entries(doc, family).contains(id) {
        return Err(DocumentError::InvalidEdit("there is no such entry"));
    }
    Ok(row_field(kind, family, "del")?.key_of(id))
}

/// Id of an element of a set: 32 hex characters from its label without case and width, so that two devices that add
/// the same one offline add one.
#[must_use]
pub fn element(family: &str, label: &str) -> String {
    let digest = hash::sha256(family, &[fold(&line(label)).as_bytes()]);
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds an element to a set, under its label.
///
/// # Errors
/// [`DocumentError::InvalidEdit`], [`DocumentError::InvalidValue`].
pub fn tag(doc: &mut AutoCommit, kind: &Kind, family_name: &str, label: &str) -> Result<(), DocumentError> {
    let id = element(family_name, label);
    put_row(doc, kind, family_name, &id, &[("label", line(label).into())])
}

/// Takes an element out of a set; an addition that is concurrent with it wins.
///
/// # Errors
/// As [`tag`].
pub fn untag(doc: &mut AutoCommit, kind: &Kind, family_name: &str, label: &str) -> Result<(), DocumentError> {
    may_edit(doc, kind)?;
    let field = row_field(kind, family(kind, family_name)?, "label")?;
    clear(doc, kind.genesis(), &field.key_of(&element(family_name, label)))
}

/// Adds to a counter of the document itself.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] for what is no counter.
pub fn add(doc: &mut AutoCommit, kind: &Kind, name: &str, by: i64) -> Result<(), DocumentError> {
    may_edit(doc, kind)?;
    let field = kind.field_named(name).filter(|field| field.crdt == Crdt::Counter).ok_or(NO_COUNTER)?;
    match scalar(doc, field.key) {
        Some(ScalarValue::Counter(_)) => Ok(doc.increment(ROOT, field.key, by)?),
        _ => Err(NO_COUNTER),
    }
}

const NO_COUNTER: DocumentError = DocumentError::InvalidEdit("there is no such counter");

/// Adds to a counter of an entry: in a register that this device's stream alone writes.
///
/// # Errors
/// As [`put_row`], and [`DocumentError::InvalidEdit`] for what is no counter.
pub fn add_to_row(
    doc: &mut AutoCommit,
    kind: &Kind,
    family_name: &str,
    id: &str,
    name: &str,
    by: i64,
) -> Result<i64, DocumentError> {
    may_edit(doc, kind)?;
    let family = family(kind, family_name)?;
    make_room(doc, family, id)?;
    let field = row_field(kind, family, name)?;
    if field.crdt != Crdt::Counter {
        return Err(NO_COUNTER);
    }
    let pattern = field.key_of(id);
    let stream = doc.get_actor().to_hex_string();
    let key = pattern.split_once('<').map_or_else(|| pattern.clone(), |(prefix, _)| format!("{prefix}{stream}"));
    let before = scalar(doc, &key).and_then(|value| value.as_i64()).unwrap_or(0);
    let after = before.checked_add(by).ok_or(DocumentError::InvalidEdit("the counter is full"))?;
    put(doc, kind.genesis(), &key, after)?;
    Ok(counter(doc, field, id))
}

/// Makes a text that merges by characters what is given, by writing only the difference.
///
/// # Errors
/// [`DocumentError::InvalidValue`] for a text above the limit, [`DocumentError::InvalidEdit`] for what is no text.
pub fn set_text(doc: &mut AutoCommit, kind: &Kind, name: &str, text: &str) -> Result<(), DocumentError> {
    let field = text_field(doc, kind, name)?;
    check_size(field, text.len())?;
    let object = text_object(doc, field)?;
    doc.update_text(&object, text)?;
    stamp(doc, kind)
}

/// Replaces `delete` characters of a text at `at` by `insert`.
///
/// # Errors
/// As [`set_text`], and [`DocumentError::InvalidEdit`] for a place outside the text.
pub fn splice_text(
    doc: &mut AutoCommit,
    kind: &Kind,
    name: &str,
    at: usize,
    delete: usize,
    insert: &str,
) -> Result<(), DocumentError> {
    const OUTSIDE: DocumentError = DocumentError::InvalidEdit("the place is outside the text");
    let field = text_field(doc, kind, name)?;
    let object = text_object(doc, field)?;
    at.checked_add(delete).filter(|end| *end <= doc.length(&object)).ok_or(OUTSIDE)?;
    if !insert.is_empty() {
        check_size(field, doc.text(&object)?.len().saturating_add(insert.len()))?;
    }
    doc.splice_text(&object, at, isize::try_from(delete).map_err(|_| OUTSIDE)?, insert)?;
    stamp(doc, kind)
}

fn text_field(doc: &AutoCommit, kind: &Kind, name: &str) -> Result<&'static Field, DocumentError> {
    may_edit(doc, kind)?;
    kind.field_named(name).filter(|field| field.crdt == Crdt::Text).ok_or(UNKNOWN)
}

fn check_size(field: &Field, bytes: usize) -> Result<(), DocumentError> {
    match field.validation {
        Validation::Bytes(max) if bytes > max => {
            Err(DocumentError::InvalidValue { field: field.id, rule: "is too large; shorten it" })
        }
        _ => Ok(()),
    }
}

/// Puts into the trash; an entity that is there stays as it is.
///
/// # Errors
/// [`DocumentError::NeedsUpdate`].
pub fn trash(doc: &mut AutoCommit, kind: &Kind, now_ms: i64) -> Result<(), DocumentError> {
    may_edit(doc, kind)?;
    if is_set(doc, "del") { Ok(()) } else { put(doc, kind.genesis(), "del", ScalarValue::Timestamp(now_ms)) }
}

/// Takes out of the trash.
///
/// # Errors
/// [`DocumentError::NeedsUpdate`].
pub fn restore(doc: &mut AutoCommit, kind: &Kind) -> Result<(), DocumentError> {
    may_edit(doc, kind)?;
    clear(doc, kind.genesis(), "del")
}
