//! Projections: rows as a pure function of one document. The store compares them with the rows it has and
//! writes the difference; rebuilt from documents they are equal, row for row.

use crate::document::Document;

/// A cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// INTEGER; also booleans (0/1) and times (ms UTC).
    Int(i64),
    /// TEXT.
    Text(String),
    /// BLOB.
    Blob(Vec<u8>),
}

/// One row. Every projection table has the primary key (doc, key) in front of its own columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Table name, from the registry.
    pub table: &'static str,
    /// Key inside the document; empty for the one main row.
    pub key: String,
    /// The table's own columns, in registry order.
    pub values: Vec<Value>,
}

/// What full-text search indexes of one document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchText {
    /// Weight 8.
    pub title: String,
    /// Weight 3.
    pub headings: String,
    /// Weight 5.
    pub tags: String,
    /// Weight 1.
    pub body: String,
}

/// All rows of a document, sorted by (table, key). Pure: equal documents give equal rows.
#[must_use]
pub fn project(document: &Document) -> Vec<Row> {
    let _ = document;
    todo!()
}

/// What search sees of a document; `None` for kinds that are not searched (and for trashed entities).
#[must_use]
pub fn search_text(document: &Document) -> Option<SearchText> {
    let _ = document;
    todo!()
}
