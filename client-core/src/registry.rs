//! The field registry, first form: every kind of document with its genesis, fields, CRDT choice, validation,
//! projection tables and search weights, declared once (modules.md §10.1).

use crate::document::GenesisId;

/// A column of a projection table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: &'static str,
    /// SQL type: INTEGER, TEXT or BLOB.
    pub sql_type: &'static str,
    /// Whether the store makes an index on it.
    pub indexed: bool,
}

/// A projection table; the store adds `doc INTEGER, key TEXT` as primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Name.
    pub name: &'static str,
    /// Own columns.
    pub columns: &'static [Column],
}

/// A kind of document: the numbers in front are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// On the wire.
    pub genesis: GenesisId,
    /// `note`, `tree/notes`, …
    pub name: &'static str,
    /// Whether its text is searched.
    pub searched: bool,
}

/// Version of the projections; a home with another number rebuilds them at open.
pub const PROJECTION_VERSION: u32 = 1;
// owner: notes helper. Wanted: KINDS, TABLES, FIELDS and the test that writing an unregistered key fails.
