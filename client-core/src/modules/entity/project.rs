//! Rows that follow from declared fields: the main row, one for each entry of a family, and one for each thing that
//! merging left which somebody should look at.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use automerge::{AutoCommit, ROOT, ReadDoc, ScalarValue, ValueRef};

use super::read::{is_edited_after_trash, needed_version, text_of};
use crate::document::Document;
use crate::modules::register::{as_text, cut, line, owned};
use crate::projection::{Row, SearchText, Value};
use crate::registry::{
    Crdt, ENTITY_MARK, Extra, Family, Field, FieldType, Kind, Place, Validation, Values, has_column, lens,
};

/// Values of one field that are shown as conflicts.
const CONFLICTS_MAX: usize = 16;
/// Rows of a document that say what is wrong with it.
const MARKS_MAX: usize = 1_000;

/// Rows, in any order, and search text.
pub(crate) fn project(
    document: &Document,
    kind: &'static Kind,
    table: &'static str,
    extra: Option<&Extra>,
) -> (Vec<Row>, Option<SearchText>) {
    let entity = Entity::of(document, kind);
    let mut rows = Vec::new();
    for family in kind.families {
        entity.family_rows(family, &mut rows);
    }
    let mut marks = entity.marks();
    marks.truncate(MARKS_MAX);
    let (columns, further) = extra.map_or((Vec::new(), Vec::new()), |extra| (extra.project)(document));
    rows.push(entity.main_row(table, &marks, columns));
    rows.extend(further);
    rows.extend(marks);
    (rows, entity.search_text())
}

/// What stands in a register.
struct Cell {
    /// `None`: it was taken away.
    value: Option<ScalarValue>,
    conflict: bool,
}

/// A document read once.
struct Entity<'d> {
    document: &'d Document,
    kind: &'static Kind,
    cells: BTreeMap<String, Cell>,
}

impl<'d> Entity<'d> {
    fn of(document: &'d Document, kind: &'static Kind) -> Self {
        let read = document.read().map_range(ROOT, ..).filter_map(|item| match &item.value {
            ValueRef::Object(_) => None,
            ValueRef::Scalar(_) => {
                let cell = Cell { value: owned(&item.value), conflict: item.conflict };
                Some((item.key.into_owned(), cell))
            }
        });
        let mut cells: BTreeMap<String, Cell> = read.collect();
        for field in kind.fields.iter().filter(|field| field.lens.is_some()) {
            let conflict = cells.get(field.key).is_some_and(|cell| cell.conflict);
            let value = lens::seen(document.read(), field, field.key);
            cells.insert(field.key.to_owned(), Cell { value, conflict });
        }
        Self { document, kind, cells }
    }

    fn doc(&self) -> &'d AutoCommit {
        self.document.read()
    }

    fn scalar(&self, key: &str) -> Option<&ScalarValue> {
        self.cells.get(key)?.value.as_ref()
    }

    fn time(&self, key: &str) -> Option<i64> {
        match self.scalar(key)? {
            ScalarValue::Timestamp(ms) | ScalarValue::Int(ms) => Some(*ms),
            _ => None,
        }
    }

    fn under(&self, prefix: &str) -> impl Iterator<Item = (&str, &Cell)> {
        let from = self.cells.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let prefix = prefix.to_owned();
        from.map_while(move |(key, cell)| key.starts_with(&prefix).then_some((key.as_str(), cell)))
    }

    fn main_row(&self, table: &'static str, marks: &[Row], extra: Vec<Value>) -> Row {
        let updated = self.document.updated_ms();
        let count = |what: &str| Value::Int(marks.iter().filter(|mark| mark.values[0] == what.into()).count() as i64);
        let needs = needed_version(self.doc(), self.kind).map_or(Value::Null, |version| Value::Int(version.into()));
        let mut values = vec![
            Value::Int(self.time("created").unwrap_or(updated)),
            Value::Int(updated),
            self.time("del").map_or(Value::Null, Value::Int),
            Value::Int(i64::from(is_edited_after_trash(self.document))),
            count("invalid"),
            count("conflict"),
            needs,
        ];
        let own = self.kind.fields_of(None).filter(|field| has_column(field));
        values.extend(own.map(|field| cell_of(field, self.scalar(field.key))));
        values.extend(extra);
        Row { table, key: String::new(), values }
    }

    fn family_rows(&self, family: &'static Family, rows: &mut Vec<Row>) {
        let fields: Vec<&Field> = self.kind.fields_of(Some(family.name)).filter(|field| has_column(field)).collect();
        for id in self.ids(family) {
            let values = fields.iter().map(|field| self.row_cell(field, &id));
            let deleted = self.time(&format!("{}/{id}:del", family.name)).map_or(Value::Null, Value::Int);
            let values: Vec<Value> = std::iter::once(deleted).chain(values).collect();
            // An element of a set that was taken out leaves nothing.
            let is_set = fields.iter().all(|field| field.crdt == Crdt::AddWins);
            if !(is_set && values.iter().all(|value| *value == Value::Null)) {
                rows.push(Row { table: family.table, key: id, values });
            }
        }
    }

    fn ids(&self, family: &Family) -> BTreeSet<String> {
        let prefix = format!("{}/", family.name);
        let ids = self.under(&prefix).map(|(key, _)| {
            let rest = &key[prefix.len()..];
            rest.split_once(':').map_or(rest, |(id, _)| id).to_owned()
        });
        ids.filter(|id| !id.is_empty()).collect()
    }

    fn row_cell(&self, field: &Field, id: &str) -> Value {
        let key = field.key_of(id);
        match field.crdt {
            Crdt::Counter => {
                let prefix = key.split_once('<').map_or(key.as_str(), |(prefix, _)| prefix);
                let parts = self.under(prefix).filter_map(|(_, cell)| cell.value.as_ref()?.as_i64());
                Value::Int(parts.fold(0, i64::saturating_add))
            }
            Crdt::AddWins => {
                let Some(cell) = self.cells.get(&key) else { return Value::Null };
                // An addition that is concurrent with a removal wins.
                let hidden = || cell.conflict.then(|| newest(self.doc(), &key)).flatten();
                cell_of(field, cell.value.clone().or_else(hidden).as_ref())
            }
            _ => cell_of(field, self.scalar(&key)),
        }
    }

    /// What breaks a rule after merging, and what was written at once where that matters.
    fn marks(&self) -> Vec<Row> {
        let mut marks = Vec::new();
        for (key, cell) in &self.cells {
            // What is not declared here a newer version wrote: it is kept, and nothing is known of it.
            let Some(field) = self.kind.field(key) else { continue };
            if let Some(rule) = cell.value.as_ref().and_then(|value| broken(field, value)) {
                marks.push(mark("invalid", key, field.id, rule.to_owned()));
            }
            if cell.conflict && field.conflicts {
                marks.push(mark("conflict", key, field.id, others(self.doc(), field, key)));
            }
        }
        self.broken_rules(&mut marks);
        marks
    }

    fn broken_rules(&self, marks: &mut Vec<Row>) {
        let read = |key: &str| self.scalar(key).cloned();
        for rule in self.kind.rules {
            let Some(family) = rule.family.and_then(|name| self.kind.family(name)) else {
                if !(rule.holds)(&Values { prefix: "", read: &read }) {
                    marks.push(mark("invalid", rule.fields.first().unwrap_or(&""), rule.id, rule.text.to_owned()));
                }
                continue;
            };
            for id in self.ids(family) {
                let prefix = format!("{}/{id}:", family.name);
                let removed = self.time(&format!("{prefix}del")).is_some();
                if !removed && !(rule.holds)(&Values { prefix: &prefix, read: &read }) {
                    let at = format!("{prefix}{}", rule.fields.first().unwrap_or(&""));
                    marks.push(mark("invalid", &at, rule.id, rule.text.to_owned()));
                }
            }
        }
    }

    /// What search sees; nothing of a trashed entity.
    fn search_text(&self) -> Option<SearchText> {
        if !self.kind.is_searched() || self.time("del").is_some() {
            return None;
        }
        let mut text = SearchText::default();
        for field in self.kind.fields {
            let Some(place) = field.search else { continue };
            let into = match place {
                Place::Title => &mut text.title,
                Place::Tags => &mut text.tags,
                Place::Headings => &mut text.headings,
                Place::Body => &mut text.body,
            };
            for found in self.texts(field) {
                if !into.is_empty() {
                    into.push('\n');
                }
                into.push_str(&found);
            }
        }
        Some(text)
    }

    fn texts(&self, field: &Field) -> Vec<String> {
        if field.crdt == Crdt::Text {
            return Some(text_of(self.doc(), field)).filter(|text| !text.is_empty()).into_iter().collect();
        }
        let Some(family) = field.family().and_then(|name| self.kind.family(name)) else {
            return self.scalar(field.key).and_then(as_text).map(str::to_owned).into_iter().collect();
        };
        let living = |id: &String| self.time(&format!("{}/{id}:del", family.name)).is_none();
        let found = self.ids(family).into_iter().filter(living).filter_map(|id| match self.row_cell(field, &id) {
            Value::Text(text) => Some(text),
            _ => None,
        });
        found.collect()
    }
}

/// The rule a merged value breaks. A choice that is not known here may be one of a newer version: it is kept and shown.
fn broken(field: &Field, value: &ScalarValue) -> Option<&'static str> {
    let is_choice = matches!(field.field_type, FieldType::Choice(_)) && field.has_type(value);
    let sum = matches!(value, ScalarValue::Counter(_)) && field.crdt == Crdt::Counter;
    if is_choice || sum || matches!(field.validation, Validation::Frozen) { None } else { field.broken_rule(value) }
}

fn mark(what: &'static str, at: &str, rule: &'static str, detail: String) -> Row {
    let values = vec![what.into(), at.into(), rule.into(), Value::Text(detail)];
    Row { table: ENTITY_MARK.name, key: format!("{what} {at} {rule}"), values }
}

/// A value as its column holds it; nothing for one of another type.
fn cell_of(field: &Field, value: Option<&ScalarValue>) -> Value {
    let Some(value) = value.filter(|value| field.has_type(value)) else { return Value::Null };
    match value {
        ScalarValue::Str(text) => match field.validation {
            Validation::Line { chars_max, .. } => Value::Text(cut(&line(text), chars_max).into_owned()),
            _ => Value::Text(text.to_string()),
        },
        ScalarValue::Bytes(bytes) => Value::Blob(bytes.clone()),
        ScalarValue::Boolean(value) => Value::Int(i64::from(*value)),
        value => value.as_i64().map_or(Value::Null, Value::Int),
    }
}

/// The newest value that is not null among those that were written at once.
fn newest(doc: &AutoCommit, key: &str) -> Option<ScalarValue> {
    let values = doc.get_all(ROOT, key).ok()?.into_iter().rev();
    values.filter_map(|(value, _)| value.into_scalar().ok()).find(|value| !value.is_null())
}

/// All values that were written at once, the winning one last, as a JSON array.
fn others(doc: &AutoCommit, field: &Field, key: &str) -> String {
    let values = doc.get_all(ROOT, key).unwrap_or_default().into_iter();
    let scalars = values.filter_map(|(value, _)| value.into_scalar().ok());
    let shown: Vec<serde_json::Value> = scalars.take(CONFLICTS_MAX).map(|value| field.show(&value)).collect();
    serde_json::Value::Array(shown).to_string()
}
