//! The field registry: what every kind of document is made of, declared once by its module (modules.md §10.1).
//!
//! ```text
//! Module ─▶ Kind ─▶ Field, Family, Rule          modules/<name>/declared.rs: one place each
//!             ├─▶ validate, the door              what a local edit may write; merging never refuses
//!             ├─▶ tables, projection              rows, where they follow from the fields
//!             └─▶ JSON Schema, documents, help    what people and programs are told
//! ```
//! Writing goes through [`validate`]: a key that is not declared, or a value that breaks its rule, is refused; and what
//! a change really wrote is looked at once more where it is stored ([`door::admit`]). Merging never refuses: what
//! arrives is shown as it is, and marked where it breaks a rule.

use std::sync::OnceLock;

use automerge::{AutoCommit, ChangeHash, LoadOptions, ScalarValue, TextEncoding};

use crate::document::{Document, DocumentError, GenesisId};
use crate::modules::MODULES;
use crate::projection::{Memo, Projected, Row, Value};

mod check;
#[cfg(any(feature = "io", test))]
pub(crate) mod door;
mod field;
mod given;
pub mod lens;
mod tables;
#[cfg(test)]
mod tests;
mod told;

pub(crate) use check::{is_id, is_row_id};
pub use field::{
    Crdt, Field, FieldType, LINE_CHARS_MAX, Place, Retention, Sensitivity, TEXT_BYTES_MAX, Validation, line_of,
};
pub use lens::Lens;
pub(crate) use tables::has_column;
#[cfg(feature = "io")]
pub(crate) use tables::is_decimal_text;
pub use tables::{Column, ENTITY_MARK, SEARCH_WEIGHTS, STANDARD, SearchWeights, Table, table, tables, tables_of};

pub use crate::modules::attachment::declared::{ATTACHMENT, ATTACHMENT_GENESIS};
pub use crate::modules::notes::declared::{
    BODY_BYTES_MAX, FRONT_BYTES_MAX, NOTE, NOTE_ALIAS, NOTE_ATTACHMENT, NOTE_GENESIS, NOTE_LINK, NOTE_PROP, NOTE_TAG,
    NOTE_TREE_GENESIS, NOTEBOOK, PROPERTY_BYTES_MAX, PROPERTY_NAME_CHARS_MAX, TAGS_MAX,
};
pub use crate::modules::space::declared::{DEVICE_NAME, MEMBER_NAME, SPACE_GENESIS};

/// A part of people's lives: one folder below `modules`.
#[derive(Debug)]
pub struct Module {
    /// `notes`, `contacts`, …
    pub name: &'static str,
    /// What people call it.
    pub label: &'static str,
    /// What it is kept for, in one sentence.
    pub purpose: &'static str,
    /// Its kinds of document.
    pub kinds: &'static [&'static Kind],
}

/// A kind of document.
#[derive(Debug)]
pub struct Kind {
    /// `note`, `tree/notes`, …
    pub name: &'static str,
    /// What people call one of them.
    pub label: &'static str,
    /// What it is, in one sentence.
    pub purpose: &'static str,
    /// Its frozen first change, whose number is on the wire.
    pub first: &'static Genesis,
    /// Version of its fields as this program writes them; 1 is what every document begins with.
    pub version: u32,
    /// Oldest version that understands enough of what this one writes to edit it.
    pub min_reader: u32,
    /// Which of them a device needs before it is of use.
    pub essential: Essential,
    /// Its fields.
    pub fields: &'static [Field],
    /// Rows inside the document: `checklist/<id>:text` and its like.
    pub families: &'static [Family],
    /// What must hold between fields.
    pub rules: &'static [Rule],
    /// How its rows come about.
    pub projection: Projection,
}

/// Entries of one sort inside a document, as flat keys `name/<id>:field`. A family whose one field has no `:field` is a
/// set: `tag/<id>`.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// In front of the `/`.
    pub name: &'static str,
    /// What people call one entry.
    pub label: &'static str,
    /// Table of its rows.
    pub table: &'static str,
    /// Most entries of one document, the removed ones included.
    pub rows_max: usize,
}

/// What must hold between the fields of a document, or of an entry of a family.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Stable id.
    pub id: &'static str,
    /// What is asked, in words.
    pub text: &'static str,
    /// The family it is about; `None`: the document.
    pub family: Option<&'static str>,
    /// Names of the fields it looks at.
    pub fields: &'static [&'static str],
    /// Whether it holds.
    pub holds: fn(&Values<'_>) -> bool,
}

/// The values a rule looks at, by the name of the field.
#[derive(Clone, Copy)]
pub struct Values<'v> {
    /// Of the entry: `checklist/<id>:`; nothing for the document.
    pub(crate) prefix: &'v str,
    pub(crate) read: &'v dyn Fn(&str) -> Option<ScalarValue>,
}

impl Values<'_> {
    /// The value of a field; `None` for none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<ScalarValue> {
        (self.read)(&format!("{}{name}", self.prefix))
    }

    /// The text of a field.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name)?.into_string().ok()
    }

    /// The number of a field.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            ScalarValue::Int(value) | ScalarValue::Timestamp(value) => Some(value),
            ScalarValue::Uint(value) => i64::try_from(value).ok(),
            _ => None,
        }
    }
}

/// How the rows of a kind come about.
#[derive(Debug, Clone, Copy)]
pub enum Projection {
    /// From the fields: a row in this table (columns: [`STANDARD`], then the fields, then those of `extra`), and one for
    /// each entry of a family in the family's table.
    Fields {
        /// Table of the main row.
        table: &'static str,
        /// What does not follow from single fields.
        extra: Option<Extra>,
    },
    /// Written by hand.
    Own {
        /// Its tables.
        tables: &'static [Table],
        /// Whether its text is searched.
        searched: bool,
        /// Rows, in any order, and search text.
        project: fn(&Document, &mut Memo) -> Projected,
    },
}

/// What a module adds to the rows that follow from its fields: a pure function of the document, like them.
#[derive(Debug, Clone, Copy)]
pub struct Extra {
    /// Further columns of the main row.
    pub columns: &'static [Column],
    /// Further tables.
    pub tables: &'static [Table],
    /// Values of `columns`, in their order, and rows of `tables`.
    pub project: fn(&Document) -> (Vec<Value>, Vec<Row>),
}

/// Documents of a kind that a joining device fetches first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Essential {
    /// All.
    Always,
    /// So many: pinned ones, then those that changed last.
    Newest(usize),
}

/// Version of the projections; a home with another number projects its documents again once it is open.
pub const PROJECTION_VERSION: u32 = 3;

impl Kind {
    /// Its number on the wire.
    #[must_use]
    pub const fn genesis(&self) -> GenesisId {
        self.first.id
    }

    /// The declared field a key belongs to.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&'static Field> {
        // Of a declared family the id reads as one: `tag/a:del` is no element of the set `tag/<tag>`.
        let fits = |field: &Field, variable: &str| {
            is_row_id(variable) || field.family().and_then(|name| self.family(name)).is_none()
        };
        self.fields.iter().find(|field| field.matches(key).is_some_and(|variable| fits(field, variable)))
    }

    /// A field of the document itself, by the name people type.
    #[must_use]
    pub fn field_named(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.family().is_none() && field.name() == name)
    }

    /// A family by its name.
    #[must_use]
    pub fn family(&self, name: &str) -> Option<&'static Family> {
        self.families.iter().find(|family| family.name == name)
    }

    /// Fields of the document itself, or of the entries of a family.
    pub fn fields_of(&self, family: Option<&str>) -> impl Iterator<Item = &'static Field> {
        self.fields.iter().filter(move |field| field.family() == family)
    }

    /// Whether a family is a set of labels: one field, which merges as such.
    #[must_use]
    pub fn is_set(&self, family: &Family) -> bool {
        self.fields_of(Some(family.name)).all(|field| field.crdt == Crdt::AddWins)
    }

    /// Whether its text is searched.
    #[must_use]
    pub fn is_searched(&self) -> bool {
        match self.projection {
            Projection::Own { searched, .. } => searched,
            Projection::Fields { .. } => self.fields.iter().any(|field| field.search.is_some()),
        }
    }

    /// The table of its main row, where its rows follow from its fields.
    #[must_use]
    pub fn table(&self) -> Option<&'static Table> {
        match self.projection {
            Projection::Fields { table, .. } => tables::table(table),
            Projection::Own { .. } => None,
        }
    }
}

/// Every kind of document.
pub fn kinds() -> impl Iterator<Item = &'static Kind> {
    MODULES.iter().flat_map(|module| module.kinds.iter().copied())
}

#[cfg(test)]
thread_local! {
    /// A kind that is not known to what this thread does, as to an older version.
    pub(crate) static HIDDEN: std::cell::Cell<Option<GenesisId>> = const { std::cell::Cell::new(None) };
}

/// The kind of document a genesis starts.
#[must_use]
pub fn kind(genesis: GenesisId) -> Option<&'static Kind> {
    #[cfg(test)]
    if HIDDEN.get() == Some(genesis) {
        return None;
    }
    kinds().find(|kind| kind.genesis() == genesis)
}

/// A kind of document by its name.
#[must_use]
pub fn kind_named(name: &str) -> Option<&'static Kind> {
    kinds().find(|kind| kind.name == name)
}

/// The declared field a key of a kind of document belongs to.
#[must_use]
pub fn field_of(genesis: GenesisId, key: &str) -> Option<&'static Field> {
    kind(genesis)?.field(key)
}

/// Checks what a local edit wants to write.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] for a key that is not declared, [`DocumentError::InvalidValue`].
pub fn validate(genesis: GenesisId, key: &str, value: &ScalarValue) -> Result<&'static Field, DocumentError> {
    let field = field_of(genesis, key).ok_or(DocumentError::InvalidEdit("the field is not in the registry"))?;
    field.check(value).map(|()| field)
}

/// Actor of every genesis.
pub(crate) const GENESIS_ACTOR: &[u8; 16] = b"lifeos-genesis/1";

/// The first change of a kind of document: frozen bytes, the same on every device, never sent.
#[derive(Debug)]
pub struct Genesis {
    /// On the wire.
    pub id: GenesisId,
    hash: [u8; 32],
    bytes: &'static [u8],
    document: OnceLock<Option<AutoCommit>>,
}

impl Genesis {
    /// Frozen bytes; the test of the registry says what they are for a new kind.
    pub(crate) const fn new(id: GenesisId, hash: [u8; 32], bytes: &'static [u8]) -> Self {
        Self { id, hash, bytes, document: OnceLock::new() }
    }

    /// Automerge's hash of the change.
    #[must_use]
    pub const fn hash(&self) -> ChangeHash {
        ChangeHash(self.hash)
    }

    /// The change chunk.
    #[must_use]
    pub const fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// A document that holds just this change, to be cloned; parsed once.
    pub(crate) fn document(&self) -> Option<&AutoCommit> {
        let load = || {
            let options = LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint);
            AutoCommit::load_with_options(self.bytes, options).ok()
        };
        self.document.get_or_init(load).as_ref()
    }
}

/// The frozen first change of a kind of document.
#[must_use]
pub fn genesis(id: GenesisId) -> Option<&'static Genesis> {
    kind(id).map(|kind| kind.first)
}
