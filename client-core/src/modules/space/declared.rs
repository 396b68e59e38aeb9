//! What the settings of a space are made of.

use crate::document::GenesisId;
use crate::registry::{
    Column, Essential, Field, FieldType, Genesis, Kind, LINE_CHARS_MAX, Module, Projection, Sensitivity, Table,
    Validation,
};

/// Settings of a space: names of devices and members.
pub const SPACE_GENESIS: GenesisId = GenesisId(3);

/// What belongs to a space itself.
pub static MODULE: Module = Module {
    name: "space",
    label: "Space",
    purpose: "What a space, its devices and its members are called, and where a person's other spaces are",
    kinds: &[&SPACE_KIND],
};

static SPACE_KIND: Kind = Kind {
    name: "space",
    label: "Settings of a space",
    purpose: "Names of devices and members, and in a person's home the person's other spaces",
    first: &SPACE_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Always,
    fields: FIELDS,
    families: &[],
    rules: &[],
    projection: Projection::Own {
        tables: &[DEVICE_NAME, MEMBER_NAME],
        searched: false,
        project: |document, _| (super::project(document), None),
    },
};

const TITLE: Validation = Validation::Line { chars_max: LINE_CHARS_MAX, empty: true };

/// A line that may be empty and is never taken away.
const fn title(id: &'static str, key: &'static str) -> Field {
    Field::new(id, key, FieldType::Line).valid(TITLE).required()
}

const FIELDS: &[Field] = &[
    Field::schema("space.schema"),
    Field::version("space.schema.version", "schema:v"),
    Field::version("space.schema.min_reader", "schema:min"),
    title("space.device.name", "device/<key>:name").named("Device", "What a device is called"),
    title("space.name", "name").named("Name", "What the space is called"),
    title("space.other.genesis", "space/<key>:genesis")
        .sensitive(Sensitivity::Secret)
        .hidden_from_ai()
        .named("Other space", "What the keys of another space of this person are derived from"),
    title("space.other.relay", "space/<key>:relay").named("Relay", "Where another space of this person is"),
    title("space.other.paper", "space/<key>:paper")
        .sensitive(Sensitivity::Secret)
        .hidden_from_ai()
        .named("Paper key", "Which recovery words cover another space of this person"),
    Field::new("space.other.member", "space/<key>:member", FieldType::Id)
        .required()
        .named("Member", "Who this person is in another space"),
    Field::new("space.other.device", "claim/<key>", FieldType::Claim)
        .required()
        .sensitive(Sensitivity::Technical)
        .hidden_from_ai()
        .named("Claim", "Which key a device of this person has in another space"),
    title("space.member.name", "member/<id>:name").named("Member", "What a member is called"),
];

/// One row a device, key its public key in hex.
pub const DEVICE_NAME: Table = Table { name: "device_name", columns: &[Column::text("name")] };

/// One row a member, key the member's id in hex.
pub const MEMBER_NAME: Table = Table { name: "member_name", columns: &[Column::text("name")] };

#[rustfmt::skip]
static SPACE_FIRST: Genesis = Genesis::new(
    SPACE_GENESIS,
    [
        0x95, 0x8f, 0x6b, 0x50, 0x7e, 0xed, 0xd8, 0xff, 0xf8, 0x0f, 0x0e, 0x35, 0x4f, 0xfd, 0xd0, 0x57,
        0xd2, 0x59, 0x93, 0x0b, 0xdc, 0x3d, 0x97, 0x6c, 0xaf, 0x60, 0x54, 0xf1, 0xda, 0xb2, 0x4a, 0x82,
    ],
    b"\x85oJ\x83\x95\x8fkP\x01:\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\x084\x01B\x02V\x02W\x07p\x02\x7f\x06schema\x01\x7f\x01\x7fvspace/1\x7f\x00",
);
