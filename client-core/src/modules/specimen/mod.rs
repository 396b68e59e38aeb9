//! A kind with a field of every type and every way of merging: what holds for it holds for modules to come. In tests
//! alone.

pub(crate) mod versions;

use crate::document::GenesisId;
use crate::registry::{
    Column, Crdt, Essential, Extra, Family, Field, FieldType, Genesis, Kind, Module, Place, Projection, Rule,
    Validation,
};

pub(crate) static MODULE: Module = Module {
    name: "specimen",
    label: "Specimen",
    purpose: "One field of every type",
    kinds: &[&SPECIMEN, &versions::VERSIONS[4]],
};

/// One of them.
pub(crate) static SPECIMEN: Kind = Kind {
    name: "specimen",
    label: "Specimen",
    purpose: "One field of every type",
    first: &FIRST,
    version: 3,
    min_reader: 2,
    essential: Essential::Newest(0),
    fields: FIELDS,
    families: &[
        Family { name: "row", label: "Row", table: "specimen_row", rows_max: 5 },
        Family { name: "tag", label: "Tag", table: "specimen_tag", rows_max: 3 },
    ],
    rules: &[
        Rule {
            id: "specimen.window",
            text: "the end must not come before the start",
            family: None,
            fields: &["start", "end"],
            holds: |values| values.text("start").zip(values.text("end")).is_none_or(|(start, end)| start <= end),
        },
        Rule {
            id: "specimen.row.done",
            text: "what is done has a text",
            family: Some("row"),
            fields: &["done", "text"],
            holds: |values| values.get("done").is_none() || values.get("text").is_some(),
        },
    ],
    projection: Projection::Fields {
        table: "specimen",
        extra: Some(Extra {
            columns: &[Column::integer("words")],
            tables: &[],
            project: |document| {
                let text = SPECIMEN.field_named("prose").map(|field| super::entity::text_of(document.read(), field));
                let words = text.unwrap_or_default().split_whitespace().count();
                (vec![crate::projection::Value::Int(i64::try_from(words).unwrap_or(i64::MAX))], Vec::new())
            },
        }),
    },
};

#[rustfmt::skip]
const FIELDS: &[Field] = &[
    Field::schema("specimen.schema"),
    Field::version("specimen.schema.version", "schema:v"),
    Field::version("specimen.schema.min_reader", "schema:min"),
    Field::created("specimen.created"),
    Field::deleted("specimen.del"),
    Field::new("specimen.line", "line", FieldType::Line).searched(Place::Title).named("Line", "A line"),
    Field::new("specimen.raw", "raw", FieldType::Raw).valid(Validation::Bytes(40)).named("Raw", "A text as given"),
    Field::new("specimen.prose", "prose", FieldType::Text).valid(Validation::Bytes(200)).searched(Place::Body)
        .named("Prose", "A text that merges"),
    Field::new("specimen.flag", "flag", FieldType::Bool).named("Flag", "Yes or no"),
    Field::new("specimen.int", "int", FieldType::Int).range(-5, 100).named("Int", "A number"),
    Field::new("specimen.at", "at", FieldType::TimeMs).named("At", "An instant"),
    Field::new("specimen.start", "start", FieldType::Date).named("Start", "A day"),
    Field::new("specimen.end", "end", FieldType::Date).named("End", "A day"),
    Field::new("specimen.zoned", "zoned", FieldType::Zoned).named("Zoned", "A time in a zone"),
    Field::new("specimen.floating", "floating", FieldType::Floating).named("Floating", "A wall time"),
    Field::new("specimen.due", "due", FieldType::When).shows_conflicts().indexed().named("Due", "A day or a time"),
    Field::new("specimen.price_minor", "price_minor", FieldType::Minor("price_ccy")).shows_conflicts()
        .named("Price", "An amount"),
    Field::new("specimen.price_ccy", "price_ccy", FieldType::Currency).named("Currency", "Of the price"),
    Field::new("specimen.quantity", "quantity", FieldType::Quantity).unit("kW.h").named("Quantity", "A decimal"),
    Field::new("specimen.rate", "rate", FieldType::Rate).named("Rate", "A rate"),
    Field::new("specimen.weight", "weight", FieldType::Measure).range(0, 500_000).unit("g")
        .named("Weight", "A measure"),
    Field::new("specimen.status", "status", FieldType::Choice(&["open", "done"])).indexed()
        .named("Status", "A choice"),
    Field::new("specimen.other", "other", FieldType::Ref).named("Other", "A reference"),
    Field::new("specimen.source", "source", FieldType::DetId).named("Source", "A derived id"),
    Field::new("specimen.count", "count", FieldType::Counter).named("Count", "A counter"),
    Field::new("specimen.place", "place", FieldType::Id).named("Place", "An id"),
    Field::new("specimen.json", "json", FieldType::Json).named("JSON", "A value"),
    Field::new("specimen.rank", "rank", FieldType::Rank).named("Rank", "A rank"),
    Field::new("specimen.hash", "hash", FieldType::Hash).named("Hash", "A hash"),
    Field::new("specimen.colour", "colour", FieldType::Line).since(2).named("Colour", "Came with version 2"),
    Field::new("specimen.old", "old", FieldType::Line).deprecated(3).named("Old", "Went with version 3"),
    Field::new("specimen.row.text", "row/<id>:text", FieldType::Line).searched(Place::Body).named("Text", "A line"),
    Field::new("specimen.row.done", "row/<id>:done", FieldType::TimeMs).named("Done", "When"),
    Field::new("specimen.row.n", "row/<id>:n@<stream>", FieldType::Counter).named("N", "A counter of an entry"),
    Field::row_deleted("specimen.row.del", "row/<id>:del"),
    Field::new("specimen.tag", "tag/<tag>", FieldType::Line).merges(Crdt::AddWins).searched(Place::Tags)
        .named("Tag", "An element of a set"),
];

#[rustfmt::skip]
static FIRST: Genesis = Genesis::new(
    GenesisId(4_000_000_000),
    [115, 10, 163, 144, 164, 193, 61, 98, 243, 129, 68, 60, 117, 1, 89, 180, 158, 146, 185, 91, 11, 224, 228, 13, 3, 73,
     97, 100, 0, 234, 199, 177],
    b"\x85oJ\x83s\n\xa3\x90\x01O\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\x144\x01B\x04V\x05W\x0bp\x02}\x05prose\x05count\x06schema\x03\x7f\x04\x02\x01}\x00\x18\xa6\x01\x00specimen/1\x03\x00",
);
