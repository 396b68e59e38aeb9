//! Entities of every kind whose rows follow from its fields: make, read, change, list, trash, by the names of their
//! fields. What a module has of its own is built on [`Client::entity_edit_as`].

use std::collections::BTreeMap;

use automerge::AutoCommit;
use lifeos_sync_protocol::ids::{DocId, SpaceId};
use serde_json::{Map, Value as Json};

use super::{Client, ClientError};
use crate::crypto::{SystemRandom, random_bytes};
use crate::document::{Document, DocumentError};
use crate::modules::entity::{self, element};
use crate::projection::Value;
use crate::registry::{self, Crdt, Field, Kind, STANDARD, Table};
use crate::store::{Compare, EntityFilter, EntityMark, EntityRow, Item, Reads, Step, Where};

/// Shortest prefix of an id that is taken for one.
const PREFIX_CHARS_MIN: usize = 4;
/// Lines of a list when none are asked for.
pub(super) const LIST_LIMIT: u32 = 100;

/// An entity.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Entity {
    /// Its id.
    pub id: String,
    /// Name of its kind.
    pub kind: String,
    /// What its fields hold, by name; fields without a value are left out. In lists without texts.
    pub values: Map<String, Json>,
    /// The entries of its families that are not removed, by name: labels of a set, or objects with their `id`. Empty in
    /// lists.
    pub lists: BTreeMap<String, Vec<Json>>,
    /// Made (ms UTC).
    pub created_ms: i64,
    /// Newest change (ms UTC).
    pub updated_ms: i64,
    /// In the trash since (ms UTC).
    pub trashed_ms: Option<i64>,
    /// Edited elsewhere after it was put into the trash.
    pub edited_after_trash: bool,
    /// Things that break a rule after merging, and values that were written at once: how many.
    pub invalid: u32,
    /// The same of values that were written at once where that is to be looked at.
    pub conflicts: u32,
    /// Which ones. Empty in lists.
    pub marks: Vec<EntityMark>,
    /// It was made by a newer version, and can only be read here.
    pub read_only: bool,
}

/// Which entities to list.
#[derive(Debug, Clone, Default)]
pub struct EntityQuery {
    /// Fields by name that must compare so with a value as it is typed; an empty one stands for none.
    pub wheres: Vec<(String, Compare, String)>,
    /// Labels that sets must hold: (set, label).
    pub labels: Vec<(String, String)>,
    /// The trash instead of the living.
    pub trashed: bool,
    /// The field to order by [default: newest change first].
    pub order: Option<String>,
    /// The largest first.
    pub descending: bool,
    /// At most [default: 100].
    pub limit: u32,
    /// Skip the first.
    pub offset: u32,
}

impl Client {
    /// Makes an entity of what is given (`modules::entity::apply`).
    /// # Errors
    /// [`ClientError`].
    pub fn entity_create(&self, kind: &str, given: &Map<String, Json>) -> Result<DocId, ClientError> {
        let kind = kind_named(kind)?;
        self.entity_create_as(kind, |doc, now_ms| {
            entity::create(doc, kind, &[], now_ms)?;
            entity::apply(doc, kind, given, &mut new_id)
        })
    }

    /// Makes an entity with an operation of its module, which begins with `entity::create`.
    /// # Errors
    /// [`ClientError`].
    pub fn entity_create_as(
        &self,
        kind: &'static Kind,
        create: impl FnOnce(&mut AutoCommit, i64) -> Result<(), DocumentError>,
    ) -> Result<DocId, ClientError> {
        let doc = DocId(random_bytes(&mut SystemRandom::new()));
        self.write(|tx| {
            tx.step(Step::Edit);
            let now_ms = tx.now_ms();
            tx.edit(&doc, kind.genesis(), |inner| create(inner, now_ms).map_err(ClientError::from))
        })?;
        Ok(doc)
    }

    /// Changes an entity to what is given; what is not mentioned stays, null takes a value away.
    /// # Errors
    /// [`ClientError`].
    pub fn entity_edit(&self, id: &str, given: &Map<String, Json>) -> Result<(), ClientError> {
        let (doc, kind) = self.entity_id(id)?;
        self.edit_entity(&doc, kind, |inner, _| entity::apply(inner, kind, given, &mut new_id))
    }

    /// Changes an entity of a kind with an operation of its module, as one change and one step to undo.
    /// # Errors
    /// [`ClientError`].
    pub fn entity_edit_as<T>(
        &self,
        kind: &'static Kind,
        id: &str,
        edit: impl FnOnce(&mut AutoCommit, i64) -> Result<T, DocumentError>,
    ) -> Result<T, ClientError> {
        let (doc, found) = self.entity_id(id)?;
        if found.genesis() != kind.genesis() {
            return Err(ClientError::not_found(format!("{} {id}", kind.name)));
        }
        self.edit_entity(&doc, kind, edit)
    }

    fn edit_entity<T>(
        &self,
        doc: &DocId,
        kind: &'static Kind,
        edit: impl FnOnce(&mut AutoCommit, i64) -> Result<T, DocumentError>,
    ) -> Result<T, ClientError> {
        self.write(|tx| {
            tx.step(Step::Edit);
            let now_ms = tx.now_ms();
            tx.edit(doc, kind.genesis(), |inner| edit(inner, now_ms).map_err(ClientError::from))
        })
    }

    /// Takes labels out of a set.
    /// # Errors
    /// [`ClientError`].
    pub fn entity_untag(&self, id: &str, set: &str, label: &str) -> Result<(), ClientError> {
        let (doc, kind) = self.entity_id(id)?;
        self.edit_entity(&doc, kind, |inner, _| entity::untag(inner, kind, set, label))
    }

    /// Removes an entry of a family, or (false) brings it back.
    /// # Errors
    /// [`ClientError`].
    pub fn entity_remove_row(&self, id: &str, list: &str, entry: &str, removed: bool) -> Result<(), ClientError> {
        let (doc, kind) = self.entity_id(id)?;
        self.edit_entity(&doc, kind, |inner, now_ms| match removed {
            true => entity::remove_row(inner, kind, list, entry, now_ms),
            false => entity::restore_row(inner, kind, list, entry),
        })
    }

    /// Adds to a counter of the entity, or of one of its entries (list, entry).
    /// # Errors
    /// [`ClientError`].
    pub fn entity_add(&self, id: &str, row: Option<(&str, &str)>, name: &str, by: i64) -> Result<(), ClientError> {
        let (doc, kind) = self.entity_id(id)?;
        self.edit_entity(&doc, kind, |inner, _| match row {
            None => entity::add(inner, kind, name, by),
            Some((list, entry)) => entity::add_to_row(inner, kind, list, entry, name, by).map(drop),
        })
    }

    /// Puts into the trash, or (false) restores.
    /// # Errors
    /// [`ClientError`].
    pub fn entity_trash(&self, id: &str, trashed: bool) -> Result<(), ClientError> {
        let (doc, kind) = self.entity_id(id)?;
        self.edit_entity(&doc, kind, |inner, now_ms| match trashed {
            true => entity::trash(inner, kind, now_ms),
            false => entity::restore(inner, kind),
        })
    }

    /// An entity. `id` is a full hex id or an unambiguous prefix of at least 4 characters.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn entity(&self, id: &str) -> Result<Entity, ClientError> {
        let (doc, kind) = self.entity_id(id)?;
        let texts = self.shared.store().read(&self.space(), &doc, |document| texts_of(document, kind))?;
        let reader = self.shared.reader();
        let reads = reader.reads();
        let row =
            reads.entity(&self.space(), kind, &doc)?.ok_or_else(|| ClientError::not_found(format!("entity {id}")))?;
        let mut found = shown(kind, &row)?;
        found.values.extend(texts.unwrap_or_default());
        for family in kind.families {
            let table = registry::table(family.table).ok_or_else(not_declared)?;
            let entries = reads.entries(&self.space(), table, &doc)?;
            let entries = entries.into_iter().filter(|(_, cells)| cells.first() == Some(&Value::Null));
            let entries = entries.map(|(key, cells)| entry(kind, family, table, &key, &cells));
            found.lists.insert(family.name.to_owned(), entries.collect());
        }
        found.marks = reads.entity_marks(&self.space(), &doc)?;
        Ok(found)
    }

    /// Entities of a kind.
    /// # Errors
    /// [`ClientError`].
    pub fn entities(&self, kind: &str, query: &EntityQuery) -> Result<Vec<Entity>, ClientError> {
        let kind = kind_named(kind)?;
        let limit = if query.limit == 0 { LIST_LIMIT } else { query.limit };
        let found = items(self.shared.reader().reads(), &self.space(), kind, query, (limit, query.offset), None)?;
        Ok(found.into_iter().map(|item| item.row).collect())
    }

    /// The entity that a full id or a prefix names, and its kind.
    pub(super) fn entity_id(&self, id: &str) -> Result<(DocId, &'static Kind), ClientError> {
        let reader = self.shared.reader();
        let reads = reader.reads();
        let prefix = id.trim().to_ascii_lowercase();
        if prefix.len() < PREFIX_CHARS_MIN || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ClientError::invalid("an id is hexadecimal; give at least its first 4 characters"));
        }
        let mut found = Vec::new();
        for doc in reads.documents_by_prefix(&self.space(), &prefix, 8)? {
            let kind = reads.genesis_of(&self.space(), &doc)?.and_then(registry::kind);
            found.extend(kind.filter(|kind| kind.table().is_some()).map(|kind| (doc, kind)));
        }
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(ClientError::not_found(format!("entity {prefix}"))),
            _ => Err(ClientError::invalid("more than one entity begins with this id; give more of its characters")),
        }
    }
}

/// Entities of a kind in their places; or only the one with this row id, if it is one of them.
pub(super) fn items(
    reads: Reads<'_>,
    space: &SpaceId,
    kind: &'static Kind,
    query: &EntityQuery,
    (limit, offset): (u32, u32),
    only: Option<i64>,
) -> Result<Vec<Item<Entity>>, ClientError> {
    let mut wheres = Vec::new();
    for (name, compare, typed) in &query.wheres {
        wheres.push(Where::Column(name, *compare, typed_cell(kind, name, *compare, typed)?));
    }
    wheres.extend(query.labels.iter().map(|(set, label)| Where::Entry(set, element(set, label))));
    let order = query.order.as_deref().map(|order| (order, query.descending));
    let filter = EntityFilter { wheres, trashed: query.trashed, order, limit, offset };
    let found = reads.entity_items(space, kind, &filter, only)?;
    let show = |item: Item<EntityRow>| {
        Ok(Item { row_id: item.row_id, doc: item.doc, row: shown(kind, &item.row)?, place: item.place })
    };
    found.into_iter().map(show).collect()
}

/// A kind by its name whose rows follow from its fields.
pub(super) fn kind_named(name: &str) -> Result<&'static Kind, ClientError> {
    let kind = registry::kind_named(name).filter(|kind| kind.table().is_some());
    kind.ok_or_else(|| {
        ClientError::not_found(format!("kind of entity called {name}: `lifeos entity kinds` lists them"))
    })
}

fn not_declared() -> ClientError {
    DocumentError::InvalidEdit("the list is not declared").into()
}

pub(super) fn new_id() -> String {
    let bytes: [u8; 16] = random_bytes(&mut SystemRandom::new());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts_of(document: &Document, kind: &Kind) -> Map<String, Json> {
    let fields = kind.fields_of(None).filter(|field| field.crdt == Crdt::Text);
    let texts = fields.map(|field| (field.name().to_owned(), entity::text_of(document.read(), field)));
    texts.filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name, Json::String(text))).collect()
}

/// What is compared with: a field's value, or a whole number for the columns that every kind has.
fn typed_cell(kind: &Kind, name: &str, compare: Compare, typed: &str) -> Result<Value, ClientError> {
    if typed.is_empty() {
        return Ok(Value::Null);
    }
    let Some(field) = kind.field_named(name) else {
        let number = typed.parse().map(Value::Int);
        return number.map_err(|_| ClientError::invalid(format!("{name} is compared with a number")));
    };
    if compare == Compare::Holds {
        return Ok(Value::Text(typed.to_owned()));
    }
    Ok(match field.typed(typed) {
        Json::Bool(value) => Value::Int(i64::from(value)),
        Json::Number(number) => number.as_i64().map_or(Value::Null, Value::Int),
        Json::String(text) => Value::Text(text),
        other => Value::Text(other.to_string()),
    })
}

fn shown(kind: &'static Kind, row: &EntityRow) -> Result<Entity, ClientError> {
    let table: &Table = kind.table().ok_or_else(not_declared)?;
    let cell = |name: &str| table.place(name).and_then(|place| row.cells.get(place)).unwrap_or(&Value::Null);
    let int = |name: &str| match cell(name) {
        Value::Int(value) => Some(*value),
        _ => None,
    };
    let number = |name: &str| u32::try_from(int(name).unwrap_or(0)).unwrap_or(u32::MAX);
    let own = table.columns.iter().zip(&row.cells).skip(STANDARD.len());
    let values = own.filter(|(_, cell)| **cell != Value::Null).map(|(column, cell)| {
        let field = kind.field_named(column.name);
        (column.name.to_owned(), field.map_or_else(|| plain(cell), |field| field.show_cell(cell)))
    });
    Ok(Entity {
        id: row.doc.to_string(),
        kind: kind.name.to_owned(),
        values: values.collect(),
        lists: BTreeMap::new(),
        created_ms: int("created_ms").unwrap_or(0),
        updated_ms: int("updated_ms").unwrap_or(0),
        trashed_ms: int("trashed_ms"),
        edited_after_trash: int("edited_after_trash") == Some(1),
        invalid: number("invalid"),
        conflicts: number("conflicts"),
        marks: Vec::new(),
        read_only: int("needs").is_some(),
    })
}

/// A cell of a column that a module derives.
fn plain(cell: &Value) -> Json {
    match cell {
        Value::Int(value) => Json::from(*value),
        Value::Text(text) => Json::String(text.clone()),
        _ => Json::Null,
    }
}

/// An entry: its label where the family is a set, else an object.
fn entry(kind: &Kind, family: &registry::Family, table: &Table, key: &str, cells: &[Value]) -> Json {
    let fields = |name: &str| kind.fields_of(Some(family.name)).find(|field: &&Field| field.name() == name);
    let columns = table.columns.iter().zip(cells).skip(1).filter(|(_, cell)| **cell != Value::Null);
    let values: Map<String, Json> = columns
        .map(|(column, cell)| {
            (column.name.to_owned(), fields(column.name).map_or(Json::Null, |field| field.show_cell(cell)))
        })
        .collect();
    if kind.is_set(family) {
        return values.into_values().next().unwrap_or(Json::Null);
    }
    let id = std::iter::once(("id".to_owned(), Json::String(key.to_owned())));
    Json::Object(id.chain(values).collect())
}
