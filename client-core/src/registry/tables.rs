//! Projection tables and search weights.

use super::{Column, Table};

const fn integer(name: &'static str) -> Column {
    Column { name, sql_type: "INTEGER", indexed: false }
}

const fn text(name: &'static str) -> Column {
    Column { name, sql_type: "TEXT", indexed: false }
}

const fn indexed(column: Column) -> Column {
    Column { name: column.name, sql_type: column.sql_type, indexed: true }
}

/// One row a note, key empty. `title_key` is the folded title for links; `notebook` is the id the note holds,
/// which may be unknown or deleted: join it with `notebook` and take that row's `parent` when it is deleted.
pub const NOTE: Table = Table {
    name: "note",
    columns: &[
        text("title"),
        indexed(text("title_key")),
        text("excerpt"),
        text("kind"),
        indexed(text("notebook")),
        integer("pinned"),
        integer("created_ms"),
        // The store keeps one index for the order of the list: trashed, pinned, updated.
        integer("updated_ms"),
        integer("trashed_ms"),
        integer("edited_after_trash"),
        integer("words"),
        indexed(text("source_path")),
        Column { name: "source_hash", sql_type: "BLOB", indexed: true },
    ],
};

/// One row a tag of a note; key and `tag` are the tag's id, `label` is how it is written.
pub const NOTE_TAG: Table = Table { name: "note_tag", columns: &[indexed(text("tag")), text("label")] };

/// One row a link, key its place in the body (8 digits). `kind`: `wikilink`, `embed`, `link`; `target` as
/// written, `target_key` folded as `note.title_key`; `anchor` is what follows `#`, null if none.
pub const NOTE_LINK: Table =
    Table { name: "note_link", columns: &[text("kind"), text("target"), indexed(text("target_key")), text("anchor")] };

/// One row a property; `value` is JSON.
pub const NOTE_PROP: Table = Table { name: "note_prop", columns: &[indexed(text("name")), text("value")] };

/// One row an earlier title.
pub const NOTE_ALIAS: Table = Table { name: "note_alias", columns: &[text("alias"), indexed(text("alias_key"))] };

/// One row an attachment of a note, key its hash in hex; `name` as the note calls it.
pub const NOTE_ATTACHMENT: Table = Table {
    name: "note_attachment",
    columns: &[text("name"), Column { name: "hash", sql_type: "BLOB", indexed: true }],
};

/// One row a way in which a content is cut and sealed, key its number, 00 what counts first; `parts` their ids in order.
pub const ATTACHMENT: Table = Table {
    name: "attachment",
    columns: &[
        Column { name: "hash", sql_type: "BLOB", indexed: true },
        text("media"),
        integer("size"),
        Column { name: "parts", sql_type: "BLOB", indexed: false },
    ],
};

/// One row a notebook, key its id. `parent` is the nearest living ancestor after cycles were broken, null at
/// the top; a deleted notebook keeps its row, so that its notes find where they moved.
pub const NOTEBOOK: Table = Table {
    name: "notebook",
    columns: &[text("name"), indexed(text("parent")), text("rank"), integer("deleted_ms"), integer("recovered")],
};

/// One row a device, key its public key in hex.
pub const DEVICE_NAME: Table = Table { name: "device_name", columns: &[text("name")] };

/// One row a member, key the member's id in hex.
pub const MEMBER_NAME: Table = Table { name: "member_name", columns: &[text("name")] };

/// Every projection table.
pub const TABLES: &[Table] = &[
    NOTE,
    NOTE_TAG,
    NOTE_LINK,
    NOTE_PROP,
    NOTE_ALIAS,
    NOTEBOOK,
    DEVICE_NAME,
    MEMBER_NAME,
    NOTE_ATTACHMENT,
    ATTACHMENT,
];

/// Weights of the columns of full-text search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchWeights {
    /// Title and earlier titles.
    pub title: f64,
    /// Headings.
    pub headings: f64,
    /// Tags.
    pub tags: f64,
    /// Everything else.
    pub body: f64,
}

/// How much a match counts by where it is.
pub const SEARCH_WEIGHTS: SearchWeights = SearchWeights { title: 8.0, headings: 3.0, tags: 5.0, body: 1.0 };
