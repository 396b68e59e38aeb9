//! What definitions of custom modules and their items are made of.

use crate::document::GenesisId;
use crate::registry::{Essential, Family, Field, FieldType, Genesis, Kind, Module, Place, Projection, Validation};

use super::DEFINITION_BYTES_MAX;

/// The definition of a custom module.
pub const DEFINITION_GENESIS: GenesisId = GenesisId(6);
/// An item of a custom module.
pub const ITEM_GENESIS: GenesisId = GenesisId(7);

/// Modules that people define.
pub static MODULE: Module = Module {
    name: "custom",
    label: "Custom modules",
    purpose: "Kinds that people and apps define in a file, and their items",
    kinds: &[&DEFINITION, &ITEM],
};

/// What the items of a module are made of.
pub static DEFINITION: Kind = Kind {
    name: "definition",
    label: "Definition",
    purpose: "What the items of a custom module are made of",
    first: &DEFINITION_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Always,
    fields: DEFINITION_FIELDS,
    families: &[],
    rules: &[],
    projection: Projection::Fields { table: "definition", extra: None },
};

/// An item.
pub static ITEM: Kind = Kind {
    name: "item",
    label: "Item",
    purpose: "An entity of a custom module",
    first: &ITEM_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(200),
    fields: ITEM_FIELDS,
    families: &[Family { name: "field", label: "Value", table: "item_field", rows_max: super::FIELDS_MAX }],
    rules: &[],
    projection: Projection::Fields { table: "item", extra: None },
};

#[rustfmt::skip]
const DEFINITION_FIELDS: &[Field] = &[
    Field::schema("definition.schema"),
    Field::version("definition.schema.version", "schema:v"),
    Field::version("definition.schema.min_reader", "schema:min"),
    Field::created("definition.created"),
    Field::deleted("definition.del"),
    Field::new("definition.name", "name", FieldType::Line).required().indexed().named("Name", "What people type"),
    Field::new("definition.source", "source", FieldType::Raw).valid(Validation::Bytes(DEFINITION_BYTES_MAX)).required()
        .named("Source", "The file it was defined by"),
];

#[rustfmt::skip]
const ITEM_FIELDS: &[Field] = &[
    Field::schema("item.schema"),
    Field::version("item.schema.version", "schema:v"),
    Field::version("item.schema.min_reader", "schema:min"),
    Field::created("item.created"),
    Field::deleted("item.del"),
    Field::new("item.module", "module", FieldType::Line).required().indexed()
        .named("Module", "Which module defines it"),
    Field::new("item.title", "title", FieldType::Line).indexed().searched(Place::Title)
        .named("Title", "What it is called"),
    Field::new("item.field.text", "field/<name>:text", FieldType::Raw).searched(Place::Body)
        .named("Text", "The value of a field that holds text"),
    Field::new("item.field.value", "field/<name>:value", FieldType::Json)
        .named("Value", "The value of any other field"),
    Field::row_deleted("item.field.del", "field/<name>:del"),
];

#[rustfmt::skip]
static DEFINITION_FIRST: Genesis = Genesis::new(
    DEFINITION_GENESIS,
    [46, 2, 91, 130, 101, 114, 198, 9, 6, 253, 103, 143, 176, 98, 166, 196, 133, 41, 12, 57, 209, 229, 111, 133, 25, 8, 210,
     82, 224, 159, 168, 22],
    b"\x85oJ\x83.\x02[\x82\x01@\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\x084\x01B\x02V\x03W\x0cp\x02\x7f\x06schema\x01\x7f\x01\x7f\xc6\x01definition/1\x7f\x00",
);

#[rustfmt::skip]
static ITEM_FIRST: Genesis = Genesis::new(
    ITEM_GENESIS,
    [171, 141, 67, 49, 190, 211, 122, 249, 60, 20, 147, 194, 29, 197, 200, 173, 15, 237, 68, 101, 86, 154, 135, 180, 50, 252,
     38, 9, 182, 34, 186, 231],
    b"\x85oJ\x83\xab\x8dC1\x019\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\x084\x01B\x02V\x02W\x06p\x02\x7f\x06schema\x01\x7f\x01\x7ffitem/1\x7f\x00",
);
