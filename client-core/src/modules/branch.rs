//! A branch of a document: how it differs from where it began, and writing some of that onto the document as it is now.
//!
//! ```text
//! base ──▶ branch        differences, by the key in the document: a field, a field of an entry, a text
//!    └───▶ now           writing: registers as the branch says, texts as both merged, counters by what was added
//! ```
//! What is written is a change of its own: a branch has changes of an actor that writes no stream, which nobody takes in.

use std::collections::BTreeSet;

use automerge::{AutoCommit, ROOT, ReadDoc, ScalarValue};
use serde_json::Value as Json;

use super::entity;
use super::notes::{body, markdown, note};
use super::register::{clear, put, scalar};
use crate::document::DocumentError;
use crate::registry::{Crdt, Field, FieldType, Kind, NOTE_GENESIS};

/// One thing that a branch says otherwise.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Difference {
    /// The key in the document; names it when it is accepted.
    pub key: String,
    /// What the field is called.
    pub field: String,
    /// As it was where the branch began; null is nothing.
    pub before: Json,
    /// As the branch has it.
    pub after: Json,
    /// As it is now, where that is no longer what it was: both were changed.
    pub now: Option<Json>,
    /// What of a text differs, as a unified diff.
    pub diff: Option<String>,
}

/// The three states that a branch is about.
#[derive(Debug, Clone, Copy)]
pub struct Branched<'d> {
    /// What the document is.
    pub kind: &'static Kind,
    /// Where the branch began.
    pub base: &'d AutoCommit,
    /// The branch.
    pub branch: &'d AutoCommit,
    /// The document as it is now.
    pub now: &'d AutoCommit,
}

/// What a branch may say of a document: not which version wrote it, and not the names that a title leaves behind.
fn field_of(kind: &'static Kind, key: &str) -> Option<&'static Field> {
    let is_own = key.starts_with("schema") || (kind.genesis() == NOTE_GENESIS && key.starts_with("alias/"));
    kind.field(key).filter(|_| !is_own)
}

fn keys(doc: &AutoCommit) -> impl Iterator<Item = String> + '_ {
    doc.map_range(ROOT, String::new()..).map(|item| item.key.to_string())
}

/// A field's value as JSON; null is nothing.
fn shown(doc: &AutoCommit, field: &Field, key: &str) -> Result<Json, DocumentError> {
    Ok(match (field.crdt, field.field_type) {
        (Crdt::Text, FieldType::RichText) => {
            let body = body::read(doc, None)?;
            Json::String(markdown::render(&markdown::Parsed { front_matter: None, body }))
        }
        (Crdt::Text, _) => Json::String(entity::text_of(doc, field)),
        _ => match scalar(doc, key) {
            None => Json::Null,
            Some(ScalarValue::Counter(count)) => Json::from(i64::from(&count)),
            Some(value) => field.show(&value),
        },
    })
}

fn whole(doc: &AutoCommit, key: &str) -> i64 {
    match scalar(doc, key) {
        Some(ScalarValue::Counter(count)) => i64::from(&count),
        value => value.and_then(|value| value.as_i64()).unwrap_or(0),
    }
}

impl Branched<'_> {
    /// What the branch says otherwise than the document did, but for what is so already.
    ///
    /// # Errors
    /// [`DocumentError::InvalidEdit`] for a document that is not of its kind.
    pub fn differences(&self) -> Result<Vec<Difference>, DocumentError> {
        let all: BTreeSet<String> = keys(self.base).chain(keys(self.branch)).collect();
        let mut found = Vec::new();
        for key in all {
            let Some(field) = field_of(self.kind, &key) else { continue };
            let [before, after, now] = [self.base, self.branch, self.now].map(|doc| shown(doc, field, &key));
            let (before, after, now) = (before?, after?, now?);
            if before == after || (now == after && field.crdt != Crdt::Counter) {
                continue;
            }
            let diff = match (&before, &after) {
                (Json::String(before), Json::String(after)) if field.crdt == Crdt::Text => {
                    Some(diffy::create_patch(before, after).to_string())
                }
                _ => None,
            };
            let now = Some(now).filter(|now| *now != before);
            found.push(Difference { key, field: field.label.to_owned(), before, after, now, diff });
        }
        Ok(found)
    }

    /// The document as it is now, with everything of the branch merged in.
    ///
    /// # Errors
    /// [`DocumentError::Refused`].
    fn merged(&self) -> Result<AutoCommit, DocumentError> {
        let mut merged = self.now.clone();
        merged.merge(&mut self.branch.clone())?;
        Ok(merged)
    }

    /// Writes what the branch says under these keys onto `doc`, which is as `now`. To be run inside an edit.
    ///
    /// # Errors
    /// [`DocumentError`] for a value that may not be written, or a document that this version may not edit.
    pub fn write(&self, doc: &mut AutoCommit, keys: &BTreeSet<String>) -> Result<(), DocumentError> {
        entity::may_edit(doc, self.kind)?;
        let merged = self.merged()?;
        for key in keys {
            let unknown = DocumentError::InvalidEdit("there is no such field");
            let field = field_of(self.kind, key).ok_or(unknown)?;
            self.write_one(doc, &merged, field, key)?;
        }
        Ok(())
    }

    fn write_one(
        &self,
        doc: &mut AutoCommit,
        merged: &AutoCommit,
        field: &'static Field,
        key: &str,
    ) -> Result<(), DocumentError> {
        let genesis = self.kind.genesis();
        match field.crdt {
            Crdt::Text if field.field_type == FieldType::RichText => body::replace(doc, &body::read(merged, None)?),
            Crdt::Text => entity::set_text(doc, self.kind, field.name(), &entity::text_of(merged, field)),
            Crdt::Counter => {
                let by = whole(self.branch, key).saturating_sub(whole(self.base, key));
                match (by, field.family()) {
                    (0, _) => Ok(()),
                    (by, None) => entity::add(doc, self.kind, field.name(), by),
                    // What was added in the branch is this device's from now on.
                    (by, Some(family)) => {
                        let id = key.get(family.len() + 1..).and_then(|rest| rest.split_once(':'));
                        let (id, _) = id.ok_or(DocumentError::InvalidEdit("there is no such counter"))?;
                        entity::add_to_row(doc, self.kind, family, id, field.name(), by).map(drop)
                    }
                }
            }
            _ if genesis == NOTE_GENESIS && key == "title" => {
                let title = scalar(self.branch, key).and_then(|title| title.into_string().ok());
                note::set_title(doc, &title.unwrap_or_default())
            }
            _ => match scalar(self.branch, key) {
                Some(value) => put(doc, genesis, key, value),
                None => clear(doc, genesis, key),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::{DocId, StreamId};
    use serde_json::json;

    use super::*;
    use crate::document::Document;
    use crate::modules::specimen::SPECIMEN;

    fn edit(document: &mut Document, change: impl FnOnce(&mut AutoCommit) -> Result<(), DocumentError>) {
        document.edit(1, change).unwrap();
    }

    /// A document, and a branch of it that another actor writes.
    fn begun() -> (Document, Document) {
        let mut now = Document::new(DocId([7; 16]), SPECIMEN.genesis(), StreamId([1; 16])).unwrap();
        edit(&mut now, |doc| entity::create(doc, &SPECIMEN, &[("line", "a".into()), ("int", 1.into())], 1));
        edit(&mut now, |doc| entity::set_text(doc, &SPECIMEN, "prose", "one two"));
        edit(&mut now, |doc| entity::put_row(doc, &SPECIMEN, "row", "aaaaaaaa", &[("text", "r".into())]));
        edit(&mut now, |doc| entity::add_to_row(doc, &SPECIMEN, "row", "aaaaaaaa", "n", 5).map(drop));
        let branch = Document::load(now.id(), now.genesis(), StreamId([2; 16]), &now.snapshot(), &[]).unwrap();
        (now, branch)
    }

    #[test]
    fn registers_texts_and_counters_of_a_branch_come_onto_a_document_that_went_on() {
        let (mut now, mut branch) = begun();
        let base = branch.read().clone();
        edit(&mut branch, |doc| entity::set_all(doc, &SPECIMEN, &[("line", "b".into()), ("int", ScalarValue::Null)]));
        edit(&mut branch, |doc| entity::set_text(doc, &SPECIMEN, "prose", "one two three"));
        edit(&mut branch, |doc| entity::add(doc, &SPECIMEN, "count", 2));
        edit(&mut branch, |doc| entity::add_to_row(doc, &SPECIMEN, "row", "aaaaaaaa", "n", 3).map(drop));
        edit(&mut branch, |doc| entity::tag(doc, &SPECIMEN, "tag", "Red"));
        edit(&mut now, |doc| entity::set_text(doc, &SPECIMEN, "prose", "zero one two"));
        edit(&mut now, |doc| entity::add(doc, &SPECIMEN, "count", 10));
        edit(&mut now, |doc| entity::add_to_row(doc, &SPECIMEN, "row", "aaaaaaaa", "n", 1).map(drop));
        let before = now.clone();
        let states = Branched { kind: &SPECIMEN, base: &base, branch: branch.read(), now: before.read() };
        let differences = states.differences().unwrap();
        let of = |field: &str| differences.iter().find(|one| one.field == field).unwrap();
        assert_eq!((&of("Line").before, &of("Line").after, &of("Line").now), (&json!("a"), &json!("b"), &None));
        assert_eq!((&of("Int").after, &of("Count").after), (&Json::Null, &json!(2)));
        assert_eq!(of("Prose").now, Some(json!("zero one two")));
        let keys: BTreeSet<String> = differences.into_iter().map(|one| one.key).collect();
        assert_eq!(keys.len(), 6, "{keys:?}");
        edit(&mut now, |doc| states.write(doc, &keys));
        let value = |name: &str| entity::value(now.read(), SPECIMEN.field_named(name).unwrap());
        assert_eq!((value("line"), value("int"), value("count")), (Some("b".into()), None, Some(12.into())));
        assert_eq!(entity::text_of(now.read(), SPECIMEN.field_named("prose").unwrap()), "zero one two three");
        let n = SPECIMEN.fields_of(Some("row")).find(|field| field.name() == "n").unwrap();
        assert_eq!(entity::counter(now.read(), n, "aaaaaaaa"), 9);
        // No other actor has written: everybody takes in what this device wrote.
        let actors =
            now.inspect().get_changes(&[]).iter().map(|change| change.actor_id().to_bytes().to_vec()).collect();
        let mut actors: Vec<Vec<u8>> = actors;
        actors.sort();
        actors.dedup();
        assert!(!actors.contains(&vec![2; 16]) && actors.contains(&vec![1; 16]), "{actors:?}");
    }

    #[test]
    fn only_what_is_chosen_is_written_and_what_is_no_field_is_refused() {
        let (mut now, mut branch) = begun();
        let base = branch.read().clone();
        edit(&mut branch, |doc| entity::set_all(doc, &SPECIMEN, &[("line", "b".into()), ("int", 9.into())]));
        let before = now.clone();
        let states = Branched { kind: &SPECIMEN, base: &base, branch: branch.read(), now: before.read() };
        edit(&mut now, |doc| states.write(doc, &BTreeSet::from(["int".to_owned()])));
        let value = |name: &str| entity::value(now.read(), SPECIMEN.field_named(name).unwrap());
        assert_eq!((value("line"), value("int")), (Some("a".into()), Some(9.into())));
        for unknown in ["shoe", "schema:v"] {
            let wrong = now.edit(2, |doc| states.write(doc, &BTreeSet::from([unknown.to_owned()])));
            assert!(matches!(wrong, Err(DocumentError::InvalidEdit(_))));
        }
    }
}
