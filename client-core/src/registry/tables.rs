//! Projection tables: those that modules write by hand, and those that follow from fields.

use std::sync::OnceLock;

use super::{Crdt, Field, Kind, Projection, kinds};

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

impl Column {
    /// A column of whole numbers.
    #[must_use]
    pub const fn integer(name: &'static str) -> Self {
        Self { name, sql_type: "INTEGER", indexed: false }
    }

    /// A column of texts.
    #[must_use]
    pub const fn text(name: &'static str) -> Self {
        Self { name, sql_type: "TEXT", indexed: false }
    }

    /// A column of bytes.
    #[must_use]
    pub const fn blob(name: &'static str) -> Self {
        Self { name, sql_type: "BLOB", indexed: false }
    }

    /// The same with an index.
    #[must_use]
    pub const fn indexed(self) -> Self {
        Self { indexed: true, ..self }
    }
}

/// A projection table; the store adds `doc INTEGER, key TEXT` as primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Name.
    pub name: &'static str,
    /// Own columns.
    pub columns: &'static [Column],
}

impl Table {
    /// The place of a column.
    #[must_use]
    pub fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|other| other.name == column)
    }
}

/// What the main row of every kind begins with whose rows follow from its fields. `invalid` and `conflicts` count the
/// rows of [`ENTITY_MARK`]; `needs` is the version this program would have to know to edit it, null if it may.
pub const STANDARD: &[Column] = &[
    Column::integer("created_ms"),
    // The store keeps one index for the order of the list: trashed, updated.
    Column::integer("updated_ms"),
    Column::integer("trashed_ms"),
    Column::integer("edited_after_trash"),
    Column::integer("invalid"),
    Column::integer("conflicts"),
    Column::integer("needs"),
];

/// What merging left that breaks a rule, or that somebody should look at. `mark`: `invalid` (`detail`: the rule in
/// words) or `conflict` (`detail`: the other values as a JSON array); `at`: the key in the document; `rule`: the id of a
/// field or rule.
pub const ENTITY_MARK: Table = Table {
    name: "entity_mark",
    columns: &[Column::text("mark").indexed(), Column::text("at"), Column::text("rule"), Column::text("detail")],
};

/// First column of a family's table: since when the entry is removed.
pub(super) const ROW_DELETED: Column = Column::integer("deleted_ms");

/// Whether a field of a kind whose rows follow from its fields has a column.
pub(crate) fn has_column(field: &Field) -> bool {
    let is_standard = matches!(field.key, "created" | "del" | "schema" | "schema:v" | "schema:min");
    let is_tombstone = field.family().is_some() && field.name() == "del";
    !(is_standard || is_tombstone || matches!(field.crdt, Crdt::Constant | Crdt::Text))
}

fn column(field: &Field) -> Column {
    Column { name: field.name(), sql_type: field.field_type.sql_type(), indexed: field.indexed }
}

/// Tables of a kind, the main row's first.
fn of_kind(kind: &Kind) -> Vec<Table> {
    let Projection::Fields { table, extra } = kind.projection else {
        let Projection::Own { tables, .. } = kind.projection else { return Vec::new() };
        return tables.to_vec();
    };
    let columns = |family| kind.fields_of(family).filter(|field| has_column(field)).map(column);
    let mut main: Vec<Column> = STANDARD.iter().copied().chain(columns(None)).collect();
    main.extend(extra.map_or(&[] as &[Column], |extra| extra.columns));
    // Made once a process, for as long as it lives: rows name their tables for as long.
    let keep = |columns: Vec<Column>| -> &'static [Column] { Vec::leak(columns) };
    let mut tables = vec![Table { name: table, columns: keep(main) }];
    for family in kind.families {
        let own = [ROW_DELETED].into_iter().chain(columns(Some(family.name)));
        tables.push(Table { name: family.table, columns: keep(own.collect()) });
    }
    tables.extend_from_slice(extra.map_or(&[], |extra| extra.tables));
    tables
}

/// Tables with their kind's place in [`kinds`].
struct Tables {
    all: Vec<Table>,
    by_kind: Vec<Vec<&'static Table>>,
}

fn made() -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| {
        let own: Vec<&'static [Table]> = kinds().map(|kind| -> &'static [Table] { Vec::leak(of_kind(kind)) }).collect();
        let mut all: Vec<Table> = own.iter().flat_map(|tables| tables.iter().copied()).collect();
        all.push(ENTITY_MARK);
        let by_kind = kinds().zip(&own).map(|(kind, tables)| {
            let mut tables: Vec<&'static Table> = tables.iter().collect();
            if matches!(kind.projection, Projection::Fields { .. }) {
                tables.push(&ENTITY_MARK);
            }
            tables.sort_by_key(|table| table.name);
            tables
        });
        Tables { by_kind: by_kind.collect(), all }
    })
}

/// Every projection table.
#[must_use]
pub fn tables() -> &'static [Table] {
    &made().all
}

/// A projection table by its name.
#[must_use]
pub fn table(name: &str) -> Option<&'static Table> {
    tables().iter().find(|table| table.name == name)
}

/// The tables in which a document of a kind may have rows, by name.
#[must_use]
pub fn tables_of(genesis: crate::document::GenesisId) -> &'static [&'static Table] {
    let place = kinds().position(|kind| kind.genesis() == genesis);
    place.and_then(|place| made().by_kind.get(place)).map_or(&[], Vec::as_slice)
}

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

/// Whether a decimal is kept as text, and so is ordered as a number only by being read as one.
#[cfg(feature = "io")]
pub(crate) const fn is_decimal_text(field_type: super::FieldType) -> bool {
    matches!(field_type, super::FieldType::Quantity | super::FieldType::Rate)
}
