//! Custom modules: defining them, and making, reading and changing their items.

use lifeos_sync_protocol::ids::DocId;
use serde_json::{Map, Value as Json};

use super::{Client, ClientError, Compare, Entity, EntityQuery};
use crate::document::singleton_doc_id;
use crate::modules::custom::declared::{DEFINITION, ITEM};
use crate::modules::custom::{self, BadDefinition, Definition};
use crate::modules::entity;
use crate::store::Step;

/// An item of a custom module.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// The module that defines it.
    pub module: String,
    /// What it is called.
    pub title: String,
    /// Its values by field.
    pub values: Map<String, Json>,
    /// Fields that break the definition after merging, each with the rule in words.
    pub invalid: Vec<(String, String)>,
    /// Newest change (ms UTC).
    pub updated_ms: i64,
    /// In the trash since (ms UTC).
    pub trashed_ms: Option<i64>,
}

impl From<BadDefinition> for ClientError {
    fn from(error: BadDefinition) -> Self {
        Self::invalid(error.to_string())
    }
}

impl Client {
    fn definition_doc(&self, name: &str) -> DocId {
        singleton_doc_id(&self.space(), DEFINITION.name, name)
    }

    /// Defines a module by the text of its file, or defines it anew; every device of the space gets it.
    /// # Errors
    /// [`ClientError::Invalid`] saying what to change.
    pub fn module_add(&self, source: &str) -> Result<Definition, ClientError> {
        let definition = Definition::read(source)?;
        if let Some(earlier) = self.module_source(&definition.name)? {
            definition.follows(&Definition::read(&earlier)?)?;
        }
        let doc = self.definition_doc(&definition.name);
        self.edit(&doc, DEFINITION.genesis(), Step::Edit, |inner| {
            Ok(custom::define(inner, &definition, source, crate::engine::wall_ms())?)
        })?;
        Ok(definition)
    }

    /// The modules that are defined in this space, by name; those whose definition does not read are left out.
    /// # Errors
    /// [`ClientError`].
    pub fn modules(&self) -> Result<Vec<Definition>, ClientError> {
        let query = EntityQuery { order: Some("name".into()), limit: 1_000, ..EntityQuery::default() };
        let found = self.entities(DEFINITION.name, &query)?;
        let source = |entity: &Entity| entity.values.get("source")?.as_str().map(str::to_owned);
        Ok(found.iter().filter_map(source).filter_map(|source| Definition::read(&source).ok()).collect())
    }

    /// The definition of a module.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn module(&self, name: &str) -> Result<Definition, ClientError> {
        let found = self.modules()?.into_iter().find(|module| module.name == name);
        found
            .ok_or_else(|| ClientError::not_found(format!("module {name}: `lifeos module list` shows those there are")))
    }

    fn module_source(&self, name: &str) -> Result<Option<String>, ClientError> {
        let row = self.shared.reader().reads().entity(&self.space(), &DEFINITION, &self.definition_doc(name))?;
        if row.is_none() {
            return Ok(None);
        }
        let entity = self.entity(&self.definition_doc(name).to_string())?;
        Ok(entity.values.get("source").and_then(Json::as_str).map(str::to_owned))
    }

    /// Puts the definition of a module into the trash; its items stay.
    /// # Errors
    /// [`ClientError`].
    pub fn module_remove(&self, name: &str) -> Result<(), ClientError> {
        self.module(name)?;
        self.entity_trash(&self.definition_doc(name).to_string(), true)
    }

    /// Makes an item of a module.
    /// # Errors
    /// [`ClientError::Invalid`] for what breaks the definition.
    pub fn item_create(&self, module: &str, given: &Map<String, Json>) -> Result<DocId, ClientError> {
        let definition = self.module(module)?;
        self.entity_create_as(&ITEM, |doc, now_ms| {
            entity::create(doc, &ITEM, &[], now_ms)?;
            custom::write(doc, &definition, given, true)
        })
    }

    /// Changes values of an item; null takes one away.
    /// # Errors
    /// As [`Client::item_create`].
    pub fn item_edit(&self, id: &str, given: &Map<String, Json>) -> Result<(), ClientError> {
        let definition = self.module(&self.item(id)?.module)?;
        self.entity_edit_as(&ITEM, id, |doc, _| custom::write(doc, &definition, given, false))
    }

    /// An item.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn item(&self, id: &str) -> Result<Item, ClientError> {
        let entity = self.entity(id)?;
        if entity.kind != ITEM.name {
            return Err(ClientError::not_found(format!("item {id}")));
        }
        let text = |name: &str| entity.values.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let entries = entity.lists.get("field").into_iter().flatten();
        let values: Map<String, Json> = entries
            .filter_map(|entry| {
                let value = entry.get("value").or_else(|| entry.get("text"))?;
                Some((entry["id"].as_str()?.to_owned(), value.clone()))
            })
            .collect();
        let broken = self.module(&text("module")).map(|definition| definition.broken(&values)).unwrap_or_default();
        Ok(Item {
            id: entity.id,
            module: text("module"),
            title: text("title"),
            invalid: broken.into_iter().map(|(name, rule)| (name, rule.to_owned())).collect(),
            values,
            updated_ms: entity.updated_ms,
            trashed_ms: entity.trashed_ms,
        })
    }

    /// The items of a module, newest change first.
    /// # Errors
    /// [`ClientError`].
    pub fn items(&self, module: &str, limit: u32, offset: u32) -> Result<Vec<Item>, ClientError> {
        let wheres = vec![("module".to_owned(), Compare::Is, module.to_owned())];
        let query = EntityQuery { wheres, limit, offset, ..EntityQuery::default() };
        let found = self.entities(ITEM.name, &query)?;
        found.iter().map(|entity| self.item(&entity.id)).collect()
    }
}
