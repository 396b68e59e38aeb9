//! A kind in five versions, as five programs would declare it: fields that came, one that changed its unit, one that
//! became a choice, and a version that earlier programs may only read. In tests alone.

use automerge::ScalarValue;

use crate::document::GenesisId;
use crate::registry::{Crdt, Essential, Family, Field, FieldType, Genesis, Kind, Lens, Place, Projection};

/// The kind, by version from 1; the last is what this program declares.
pub(crate) static VERSIONS: [Kind; 5] =
    [version(1, 1, 10), version(2, 1, 11), version(3, 1, 12), version(4, 1, 13), version(5, 2, 14)];

const fn version(version: u32, min_reader: u32, fields: usize) -> Kind {
    Kind {
        name: "evolving",
        label: "Evolving",
        purpose: "One kind in five versions",
        first: &FIRST,
        version,
        min_reader,
        essential: Essential::Newest(0),
        fields: FIELDS.split_at(fields).0,
        families: &[Family { name: "tag", label: "Tag", table: "evolving_tag", rows_max: 3 }],
        rules: &[],
        projection: Projection::Fields { table: "evolving", extra: None },
    }
}

fn whole(value: &ScalarValue) -> Option<i64> {
    value.as_i64()
}

/// Centimetres became millimetres.
const LENGTH: Lens = Lens {
    from: "length_cm",
    read: |cm| Some(ScalarValue::Int(whole(cm)?.saturating_mul(10))),
    write: |mm| ScalarValue::Int(whole(mm).unwrap_or(0) / 10),
};

/// Done or not became a choice.
const STATE: Lens = Lens {
    from: "done",
    read: |done| Some(if *done == ScalarValue::Boolean(true) { "done" } else { "open" }.into()),
    write: |state| ScalarValue::Boolean(matches!(state.as_str(), Some("done" | "dropped"))),
};

/// In the order in which they came.
#[rustfmt::skip]
const FIELDS: &[Field] = &[
    Field::schema("evolving.schema"),
    Field::version("evolving.schema.version", "schema:v"),
    Field::version("evolving.schema.min_reader", "schema:min"),
    Field::created("evolving.created"),
    Field::deleted("evolving.del"),
    Field::new("evolving.title", "title", FieldType::Line).searched(Place::Title).named("Title", "What it is called"),
    Field::new("evolving.length_cm", "length_cm", FieldType::Int).unit("cm").deprecated(3).named("Length", "How long it is"),
    Field::new("evolving.done", "done", FieldType::Bool).deprecated(4).named("Done", "Whether it is done"),
    Field::new("evolving.text", "text", FieldType::Text).named("Text", "A text that merges"),
    Field::new("evolving.tag", "tag/<tag>", FieldType::Line).merges(Crdt::AddWins).named("Tag", "An element of a set"),
    Field::new("evolving.colour", "colour", FieldType::Line).since(2).named("Colour", "Came with version 2"),
    Field::new("evolving.length_mm", "length_mm", FieldType::Int).unit("mm").since(3).lens(LENGTH)
        .named("Length in mm", "How long it is"),
    Field::new("evolving.state", "state", FieldType::Choice(&["open", "done", "dropped"])).since(4).lens(STATE)
        .named("State", "How far it is"),
    Field::new("evolving.owner", "owner", FieldType::Line).since(5).named("Owner", "Came with version 5"),
];

#[rustfmt::skip]
static FIRST: Genesis = Genesis::new(
    GenesisId(4_000_000_001),
    [27, 211, 153, 197, 197, 150, 62, 163, 10, 11, 141, 50, 95, 32, 145, 81, 149, 153, 188, 127, 206, 22, 204, 159,
     132, 197, 118, 222, 7, 240, 80, 159],
    b"\x85oJ\x83\x1b\xd3\x99\xc5\x01E\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\x0d4\x01B\x03V\x04W\x0ap\x02~\x04text\x06schema\x02~\x04\x01~\x00\xa6\x01evolving/1\x02\x00",
);
