//! What notes and notebooks are made of: kinds, fields, tables.

use crate::document::GenesisId;
use crate::modules::attachment::declared::ATTACHMENT_KIND;
use crate::projection::{self, Memo};
use crate::registry::{
    Column, Crdt, Essential, Field, FieldType, Genesis, Kind, LINE_CHARS_MAX, Module, Place, Projection, Table,
    Validation,
};

/// Largest body, block markers not counted, in bytes of UTF-8.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Most tags of a note.
pub const TAGS_MAX: usize = 200;
/// Largest value of a property, as JSON.
pub const PROPERTY_BYTES_MAX: usize = 64 * 1024;
/// Largest front matter, as it was imported.
pub const FRONT_BYTES_MAX: usize = 256 * 1024;
/// Longest name of a property in characters.
pub const PROPERTY_NAME_CHARS_MAX: usize = 128;

/// A note.
pub const NOTE_GENESIS: GenesisId = GenesisId(1);
/// The tree of notebooks of a space.
pub const NOTE_TREE_GENESIS: GenesisId = GenesisId(2);

/// Notes, notebooks and what notes attach.
pub static MODULE: Module = Module {
    name: "notes",
    label: "Notes",
    purpose: "What people write down: rich text with properties, tags, links and attachments, in a tree of notebooks",
    kinds: &[&NOTE_KIND, &NOTE_TREE_KIND, &ATTACHMENT_KIND],
};

static NOTE_KIND: Kind = Kind {
    name: "note",
    label: "Note",
    purpose: "A note: title, body, properties, tags",
    first: &NOTE_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(200),
    fields: NOTE_FIELDS,
    families: &[],
    rules: &[],
    projection: Projection::Own {
        tables: &[NOTE, NOTE_TAG, NOTE_LINK, NOTE_PROP, NOTE_ALIAS, NOTE_ATTACHMENT],
        searched: true,
        project: projection::note,
    },
};

static NOTE_TREE_KIND: Kind = Kind {
    name: "tree/notes",
    label: "Tree of notebooks",
    purpose: "The notebooks of a space, in one document so that concurrent moves can be put in order",
    first: &NOTE_TREE_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Always,
    fields: NOTE_TREE_FIELDS,
    families: &[],
    rules: &[],
    projection: Projection::Own {
        tables: &[NOTEBOOK],
        searched: false,
        project: |document, _: &mut Memo| (super::tree::project(document), None),
    },
};

const TITLE: Validation = Validation::Line { chars_max: LINE_CHARS_MAX, empty: true };
const KINDS: Validation = Validation::OneOf(&["note", "journal", "template", "meeting"]);

const NOTE_FIELDS: &[Field] = &[
    Field::schema("note.schema"),
    Field::version("note.schema.version", "schema:v"),
    Field::version("note.schema.min_reader", "schema:min"),
    Field::new("note.body", "body", FieldType::RichText)
        .valid(Validation::Bytes(BODY_BYTES_MAX))
        .named("Body", "The text")
        .searched(Place::Body),
    Field::new("note.title", "title", FieldType::Line)
        .valid(TITLE)
        .required()
        .named("Title", "What the note is called; without one, its first heading or line")
        .searched(Place::Title),
    Field::new("note.kind", "kind", FieldType::Line).valid(KINDS).required().named("Kind", "What sort of note it is"),
    Field::new("note.pinned", "pinned", FieldType::Bool).required().named("Pinned", "Stands in front of the others"),
    Field::created("note.created"),
    Field::deleted("note.del"),
    Field::new("note.notebook", "notebook", FieldType::Id).named("Notebook", "Where the note stands"),
    Field::new("note.front", "front", FieldType::Raw)
        .valid(Validation::Bytes(FRONT_BYTES_MAX))
        .named("Front matter", "As it was imported"),
    Field::new("note.source.path", "source:path", FieldType::Raw)
        .valid(Validation::Bytes(4096))
        .named("Source", "Path of the file it was imported from"),
    Field::new("note.source.hash", "source:hash", FieldType::Hash)
        .named("Source hash", "Content of the file it was imported from"),
    Field::new("note.tag", "tag/<tag>", FieldType::Line)
        .merges(Crdt::AddWins)
        .named("Tag", "A tag as it is written")
        .searched(Place::Tags),
    Field::new("note.prop", "prop/<name>", FieldType::Json)
        .valid(Validation::Bytes(PROPERTY_BYTES_MAX))
        .named("Property", "A value of the front matter"),
    Field::new("note.alias", "alias/<title>", FieldType::Bool)
        .named("Earlier title", "Links to it still lead here")
        .searched(Place::Title),
    Field::new("note.begun", "begun/<stream>", FieldType::Line)
        .named("Begun with", "What of a template a device put into a day of the journal"),
    Field::new("note.attachment", "attachment/<hash>", FieldType::Line)
        .merges(Crdt::AddWins)
        .named("Attachment", "A file as the note calls it"),
];

const NOTE_TREE_FIELDS: &[Field] = &[
    Field::schema("notebook.schema"),
    Field::version("notebook.schema.version", "schema:v"),
    Field::version("notebook.schema.min_reader", "schema:min"),
    Field::new("notebook.name", "<id>:name", FieldType::Line).required().named("Name", "What the notebook is called"),
    Field::new("notebook.parent", "<id>:parent", FieldType::Id).named("Parent", "The notebook it stands in"),
    Field::new("notebook.rank", "<id>:rank", FieldType::Rank).required().named("Rank", "Order among its siblings"),
    Field::new("notebook.del", "<id>:del", FieldType::TimeMs).named("Removed", "Since when it is removed"),
];

/// One row a note, key empty. `title_key` is the folded title for links; `notebook` is the id the note holds,
/// which may be unknown or deleted: join it with `notebook` and take that row's `parent` when it is deleted.
pub const NOTE: Table = Table {
    name: "note",
    columns: &[
        Column::text("title"),
        Column::text("title_key").indexed(),
        Column::text("excerpt"),
        Column::text("kind"),
        Column::text("notebook").indexed(),
        Column::integer("pinned"),
        Column::integer("created_ms"),
        // The store keeps one index for the order of the list: trashed, pinned, updated.
        Column::integer("updated_ms"),
        Column::integer("trashed_ms"),
        Column::integer("edited_after_trash"),
        Column::integer("words"),
        Column::text("source_path").indexed(),
        Column::blob("source_hash").indexed(),
    ],
};

/// One row a tag of a note; key and `tag` are the tag's id, `label` is how it is written.
pub const NOTE_TAG: Table =
    Table { name: "note_tag", columns: &[Column::text("tag").indexed(), Column::text("label")] };

/// One row a link, key its place in the body (8 digits). `kind`: `wikilink`, `embed`, `link`; `target` as
/// written, `target_key` folded as `note.title_key`; `anchor` is what follows `#`, null if none.
pub const NOTE_LINK: Table = Table {
    name: "note_link",
    columns: &[
        Column::text("kind"),
        Column::text("target"),
        Column::text("target_key").indexed(),
        Column::text("anchor"),
    ],
};

/// One row a property; `value` is JSON.
pub const NOTE_PROP: Table =
    Table { name: "note_prop", columns: &[Column::text("name").indexed(), Column::text("value")] };

/// One row an earlier title.
pub const NOTE_ALIAS: Table =
    Table { name: "note_alias", columns: &[Column::text("alias"), Column::text("alias_key").indexed()] };

/// One row an attachment of a note, key its hash in hex; `name` as the note calls it.
pub const NOTE_ATTACHMENT: Table =
    Table { name: "note_attachment", columns: &[Column::text("name"), Column::blob("hash").indexed()] };

/// One row a notebook, key its id. `parent` is the nearest living ancestor after cycles were broken, null at
/// the top; a deleted notebook keeps its row, so that its notes find where they moved.
pub const NOTEBOOK: Table = Table {
    name: "notebook",
    columns: &[
        Column::text("name"),
        Column::text("parent").indexed(),
        Column::text("rank"),
        Column::integer("deleted_ms"),
        Column::integer("recovered"),
    ],
};

#[rustfmt::skip]
static NOTE_FIRST: Genesis = Genesis::new(
    NOTE_GENESIS,
    [
        0x6b, 0x54, 0x90, 0x37, 0xcb, 0xb7, 0x40, 0x19, 0xd8, 0x86, 0x11, 0xcd, 0x7b, 0x1c, 0x7a, 0x74,
        0x1b, 0xb6, 0x3d, 0x9c, 0x7c, 0xb7, 0x45, 0x17, 0xee, 0xd2, 0x3e, 0x5e, 0xc5, 0x7d, 0xca, 0x21,
    ],
    b"\x85oJ\x83kT\x907\x01@\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\x0d4\x01B\x03V\x03W\x06p\x02~\x04body\x06schema\x02~\x04\x01~\x00fno\
      te/1\x02\x00",
);

#[rustfmt::skip]
static NOTE_TREE_FIRST: Genesis = Genesis::new(
    NOTE_TREE_GENESIS,
    [
        0xc3, 0x3a, 0xc4, 0x84, 0x01, 0x82, 0xdc, 0xd0, 0xe1, 0x69, 0xf5, 0xbe, 0x76, 0x11, 0x7a, 0x7a,
        0xe4, 0xf0, 0x19, 0x4a, 0x74, 0xcc, 0x79, 0xca, 0x17, 0x67, 0xbd, 0x82, 0xc5, 0x1a, 0xf2, 0x26,
    ],
    b"\x85oJ\x83\xc3:\xc4\x84\x01@\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\x084\x01B\x02V\x03W\x0cp\x02\x7f\x06schema\x01\x7f\x01\x7f\xc6\x01tree/not\
      es/1\x7f\x00",
);
