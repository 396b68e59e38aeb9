//! Custom modules: kinds that a person or an app defines at run time in a file, and their items.
//!
//! ```text
//! {"module": "books", "label": "Books",                              definition: one document a name in a space, so that
//!  "fields": [{"name": "author", "type": "line", "required": true},  two devices that add it offline make one; synced
//!             {"name": "pages", "type": "int", "min": 1}]}           like everything else
//!
//! item: module, title, field/<name>:text or :value                 checked against the definition where it is written
//! ```
//! Both are kinds like others, so that rows, search, undo, trash and sync are those of every entity. Only what an item's
//! fields must be like is read at run time.

pub mod declared;

use std::collections::BTreeSet;

use automerge::{AutoCommit, ScalarValue};
use serde_json::{Map, Value};

use super::entity;
use super::register::is_set;
use crate::document::DocumentError;
use crate::registry::{Field, FieldType};
use declared::{DEFINITION, ITEM};

/// Largest definition in bytes.
pub const DEFINITION_BYTES_MAX: usize = 64 * 1024;
/// Most fields of a module.
pub const FIELDS_MAX: usize = 200;

/// What a module's items are made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Its name: what people type.
    pub name: String,
    /// What people call it.
    pub label: String,
    /// Its fields.
    pub fields: Vec<CustomField>,
}

/// A field of an item.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomField {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub holds: FieldType,
    /// The values of a choice; others are refused here, and kept when they come from elsewhere.
    pub choices: Vec<String>,
    /// Whether an item cannot be without it.
    pub required: bool,
    /// Smallest number.
    pub min: i64,
    /// Largest number.
    pub max: i64,
}

/// A definition that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the definition of the module cannot be used: {0}")]
pub struct BadDefinition(pub String);

fn bad(why: impl Into<String>) -> BadDefinition {
    BadDefinition(why.into())
}

/// Types by the names they have in files.
const TYPES: &[(&str, FieldType)] = &[
    ("line", FieldType::Line),
    ("text", FieldType::Raw),
    ("choice", FieldType::Line),
    ("bool", FieldType::Bool),
    ("int", FieldType::Int),
    ("date", FieldType::Date),
    ("wall_time", FieldType::Floating),
    ("zoned_time", FieldType::Zoned),
    ("date_or_time", FieldType::When),
    ("decimal", FieldType::Quantity),
    ("rate", FieldType::Rate),
    ("reference", FieldType::Ref),
];

/// `a` to `z`, digits and `_`, beginning with a letter, at most 40.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=40).contains(&text.len()) && text.bytes().all(plain) && text.as_bytes()[0].is_ascii_lowercase()
}

impl Definition {
    /// Reads a definition from the JSON of a file.
    ///
    /// # Errors
    /// [`BadDefinition`], which says what to change.
    pub fn read(text: &str) -> Result<Self, BadDefinition> {
        if text.len() > DEFINITION_BYTES_MAX {
            return Err(bad("it is larger than 64 KiB"));
        }
        let json: Value = serde_json::from_str(text).map_err(|error| bad(format!("it is no JSON ({error})")))?;
        let name = json["module"].as_str().filter(|name| is_name(name));
        let name = name.ok_or_else(|| bad("`module` must be a name of a to z, 0 to 9 and _"))?;
        if crate::registry::kind_named(name).is_some() {
            return Err(bad(format!("`{name}` is a kind that lifeos has itself: take another name")));
        }
        let fields = json["fields"].as_array().filter(|fields| (1..=FIELDS_MAX).contains(&fields.len()));
        let fields = fields.ok_or_else(|| bad("`fields` must be a list of 1 to 200 fields"))?;
        let fields = fields.iter().map(CustomField::read).collect::<Result<Vec<_>, _>>()?;
        let distinct: BTreeSet<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        if distinct.len() < fields.len() {
            return Err(bad("two fields have one name"));
        }
        Ok(Self { name: name.to_owned(), label: json["label"].as_str().unwrap_or(name).to_owned(), fields })
    }

    /// Whether items written by an earlier definition are still understood: a field keeps its type.
    ///
    /// # Errors
    /// [`BadDefinition`] naming the field.
    pub fn follows(&self, earlier: &Self) -> Result<(), BadDefinition> {
        for old in &earlier.fields {
            if self.fields.iter().any(|new| new.name == old.name && new.holds != old.holds) {
                return Err(bad(format!("`{}` had another type before: give the new field another name", old.name)));
            }
        }
        Ok(())
    }

    /// A field by its name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&CustomField> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// What an item's values break, by field, in words; fields that are not defined here a newer definition has.
    #[must_use]
    pub fn broken(&self, values: &Map<String, Value>) -> Vec<(String, &'static str)> {
        let wrong = self.fields.iter().filter_map(|field| {
            let rule = match values.get(&field.name) {
                None => field.required.then_some("is missing"),
                Some(value) => field.check(value).err(),
            };
            Some((field.name.clone(), rule?))
        });
        wrong.collect()
    }
}

impl CustomField {
    fn read(json: &Value) -> Result<Self, BadDefinition> {
        let name = json["name"].as_str().filter(|name| is_name(name) && !matches!(*name, "title" | "module"));
        let name =
            name.ok_or_else(|| bad("each field needs a `name` of a to z, 0 to 9 and _, not `title` or `module`"))?;
        let typed = json["type"].as_str().unwrap_or_default();
        let known = TYPES.iter().find(|(other, _)| *other == typed).map(|(_, holds)| *holds);
        let holds = known.ok_or_else(|| {
            let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
            bad(format!("`{name}` has no known `type`: there are {}", names.join(", ")))
        })?;
        let values = json["values"].as_array().into_iter().flatten();
        let choices: Vec<String> = values.filter_map(|value| Some(value.as_str()?.to_owned())).collect();
        if (typed == "choice") == choices.is_empty() {
            return Err(bad(format!("`{name}`: `values` go with the type `choice`, and it needs at least one")));
        }
        let bound = |key: &str, default| json[key].as_i64().unwrap_or(default);
        Ok(Self {
            name: name.to_owned(),
            holds,
            choices,
            required: json["required"].as_bool().unwrap_or(false),
            min: bound("min", i64::MIN),
            max: bound("max", i64::MAX),
        })
    }

    /// The field of the registry that checks and shows its values.
    const fn as_field(&self) -> Field {
        Field::new("item.field.value", "value", self.holds)
    }

    /// A value as it is typed, as JSON of the field's type.
    #[must_use]
    pub fn typed(&self, typed: &str) -> Value {
        self.as_field().typed(typed)
    }

    /// Checks a value, and gives it as it is stored.
    ///
    /// # Errors
    /// The rule that it breaks, in words.
    pub fn check(&self, value: &Value) -> Result<Value, &'static str> {
        let field = self.as_field();
        let read = field.read(value).map_err(|error| match error {
            DocumentError::InvalidValue { rule, .. } => rule,
            _ => "has the wrong type",
        })?;
        let shown = field.show(&read);
        match &shown {
            Value::String(text) if !self.choices.is_empty() && !self.choices.contains(text) => {
                Err("is not one of the known values")
            }
            Value::Number(number) if number.as_i64().is_some_and(|number| !(self.min..=self.max).contains(&number)) => {
                Err("is out of range")
            }
            _ => Ok(shown),
        }
    }

    const fn is_text(&self) -> bool {
        matches!(self.holds, FieldType::Line | FieldType::Raw)
    }
}

/// Writes the definition into its document.
///
/// # Errors
/// [`DocumentError`].
pub fn define(doc: &mut AutoCommit, definition: &Definition, source: &str, now_ms: i64) -> Result<(), DocumentError> {
    if !is_set(doc, "created") {
        entity::create(doc, &DEFINITION, &[], now_ms)?;
    }
    entity::set_all(doc, &DEFINITION, &[("name", definition.name.as_str().into()), ("source", source.into())])?;
    entity::restore(doc, &DEFINITION)
}

/// Writes values of an item, all or none: null takes one away. `whole`: fields that are required must be there.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] for a field that is not defined, [`DocumentError::InvalidValue`].
pub fn write(
    doc: &mut AutoCommit,
    definition: &Definition,
    given: &Map<String, Value>,
    whole: bool,
) -> Result<(), DocumentError> {
    let wrong = |rule| DocumentError::InvalidValue { field: "item.field", rule };
    if let Some(title) = given.get("title") {
        let field = ITEM.field_named("title").ok_or(DocumentError::InvalidEdit("there is no such field"))?;
        entity::set(doc, &ITEM, "title", field.read(title)?)?;
    }
    entity::set(doc, &ITEM, "module", definition.name.as_str())?;
    for (name, value) in given.iter().filter(|(name, _)| *name != "title") {
        let field = definition.field(name).ok_or(DocumentError::InvalidEdit("there is no such field"))?;
        let (column, stored) = match value {
            Value::Null if field.required => return Err(wrong("cannot be taken away")),
            Value::Null => (if field.is_text() { "text" } else { "value" }, ScalarValue::Null),
            value => match field.check(value).map_err(wrong)? {
                Value::String(text) if field.is_text() => ("text", text.into()),
                other => ("value", other.to_string().into()),
            },
        };
        entity::put_row(doc, &ITEM, "field", name, &[(column, stored)])?;
    }
    let missing = |field: &&CustomField| field.required && !given.contains_key(&field.name);
    if whole && definition.fields.iter().any(|field| missing(&field)) {
        return Err(wrong("is missing: an item of this module cannot be without it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKS: &str = r#"{"module": "books", "label": "Books", "fields": [
        {"name": "author", "type": "line", "required": true}, {"name": "pages", "type": "int", "min": 1, "max": 9999},
        {"name": "status", "type": "choice", "values": ["open", "read"]}, {"name": "bought", "type": "date"}]}"#;

    #[test]
    fn a_definition_reads_and_a_bad_one_says_what_to_change() {
        let books = Definition::read(BOOKS).unwrap();
        assert_eq!((books.name.as_str(), books.fields.len()), ("books", 4));
        for (text, why) in [
            ("{", "no JSON"),
            (r#"{"module": "Books", "fields": []}"#, "`module`"),
            (r#"{"module": "note", "fields": [{"name": "a", "type": "int"}]}"#, "another name"),
            (r#"{"module": "b", "fields": []}"#, "1 to 200"),
            (r#"{"module": "b", "fields": [{"name": "a:b", "type": "int"}]}"#, "`name`"),
            (r#"{"module": "b", "fields": [{"name": "a", "type": "blob"}]}"#, "there are line"),
            (r#"{"module": "b", "fields": [{"name": "a", "type": "choice"}]}"#, "`values`"),
            (r#"{"module": "b", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]}"#, "one name"),
        ] {
            let error = Definition::read(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(Definition::read(&" ".repeat(DEFINITION_BYTES_MAX + 1)).is_err());
        let changed =
            Definition::read(&BOOKS.replace(r#""bought", "type": "date""#, r#""bought", "type": "int""#)).unwrap();
        assert!(changed.follows(&books).unwrap_err().to_string().contains("bought"));
        assert_eq!(books.follows(&books), Ok(()));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_reading_a_definition_panic(text in "\\PC{0,200}", at in 0_usize..250) {
            let _ = Definition::read(&text);
            let mut cut = BOOKS.to_owned();
            cut.truncate((0..=at).rev().find(|at| BOOKS.is_char_boundary(*at)).unwrap_or(0));
            let _ = Definition::read(&cut);
        }
    }
}
