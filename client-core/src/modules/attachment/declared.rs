//! What the document of an attached content is made of.

use crate::document::GenesisId;
use crate::registry::{Column, Essential, Field, FieldType, Genesis, Kind, Projection, Sensitivity, Table, Validation};

/// What one content that notes attach consists of.
pub const ATTACHMENT_GENESIS: GenesisId = GenesisId(4);

/// One content.
pub(crate) static ATTACHMENT_KIND: Kind = Kind {
    name: "attachment",
    label: "Attachment",
    purpose: "Of which sealed parts one content consists that notes attach",
    first: &ATTACHMENT_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(0),
    fields: FIELDS,
    families: &[],
    rules: &[],
    projection: Projection::Own {
        tables: &[ATTACHMENT],
        searched: false,
        project: |document, _| (super::project(document), None),
    },
};

const FIELDS: &[Field] = &[
    Field::schema("attachment.schema"),
    Field::version("attachment.schema.version", "schema:v"),
    Field::version("attachment.schema.min_reader", "schema:min"),
    Field::new("attachment.hash", "hash", FieldType::Hash).required().named("Hash", "SHA-256 of the content"),
    Field::new("attachment.media", "media", FieldType::Raw)
        .valid(Validation::Bytes(255))
        .required()
        .named("Media type", "What sort of file it is"),
    Field::new("attachment.parts", "parts", FieldType::Parts)
        .required()
        .sensitive(Sensitivity::Technical)
        .hidden_from_ai()
        .named("Parts", "Size and sealed parts, in order"),
];

/// One row a way in which a content is cut and sealed, key its number, 00 what counts first; `parts` their ids in
/// order.
pub const ATTACHMENT: Table = Table {
    name: "attachment",
    columns: &[Column::blob("hash").indexed(), Column::text("media"), Column::integer("size"), Column::blob("parts")],
};

#[rustfmt::skip]
static ATTACHMENT_FIRST: Genesis = Genesis::new(
    ATTACHMENT_GENESIS,
    [
        0x37, 0xd2, 0x35, 0x30, 0x76, 0xb5, 0x27, 0x61, 0x40, 0x6e, 0x25, 0x75, 0x4f, 0x14, 0xb1, 0x27,
        0x72, 0xf6, 0xcb, 0xb6, 0x1d, 0x9f, 0x2e, 0xdd, 0xcb, 0xbf, 0x32, 0x53, 0x7a, 0xb2, 0x83, 0xa1,
    ],
    b"\x85oJ\x837\xd250\x01@\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\x084\x01B\x02V\x03W\x0cp\x02\x7f\x06schema\x01\x7f\x01\x7f\xc6\x01attachment/1\x7f\x00",
);
