//! Projections: rows as a pure function of one document. The store compares them with the rows it has and
//! writes the difference; rebuilt from documents they are equal, row for row.

use crate::document::Document;
use crate::modules::{entity, notes};
use crate::registry::{self, Projection};

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

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

/// All rows of a document, sorted by (table, key). Pure: equal documents give equal rows.
#[must_use]
pub fn project(document: &Document) -> Vec<Row> {
    project_with_search(document).0
}

/// What search sees of a document; `None` for kinds that are not searched (and for trashed entities).
#[must_use]
pub fn search_text(document: &Document) -> Option<SearchText> {
    project_with_search(document).1
}

/// Rows and search text in one reading of the document.
#[must_use]
pub fn project_with_search(document: &Document) -> (Vec<Row>, Option<SearchText>) {
    project_again(document, &mut Memo::default())
}

/// Rows, and what search sees.
pub type Projected = (Vec<Row>, Option<SearchText>);

/// What was read of a document's nested objects, of use as long as changes write to its own map alone.
#[derive(Debug, Default)]
pub struct Memo(Option<notes::markdown::Derived>);

/// Rows and search text; what `memo` holds is not read again, and afterwards it holds what was read.
pub(crate) fn project_again(document: &Document, memo: &mut Memo) -> (Vec<Row>, Option<SearchText>) {
    let Some(kind) = registry::kind(document.genesis()) else { return (Vec::new(), None) };
    let (rows, search) = match kind.projection {
        Projection::Own { project, .. } => project(document, memo),
        Projection::Fields { table, extra } => entity::project(document, kind, table, extra.as_ref()),
    };
    (sorted(rows), search)
}

/// Rows and search text of a note, not sorted.
pub(crate) fn note(document: &Document, memo: &mut Memo) -> (Vec<Row>, Option<SearchText>) {
    let note = notes::project::Projected::new(document, memo.0.take());
    let projected = (note.rows(), note.search_text());
    memo.0 = Some(note.into_derived());
    projected
}

/// The same of a new note whose document was not built; `updated_ms` is the time of its change.
#[must_use]
pub fn project_whole_note(note: &notes::whole::WholeNote, updated_ms: i64) -> (Vec<Row>, Option<SearchText>) {
    let projected = notes::project::Projected::of_whole(note, updated_ms);
    (sorted(projected.rows()), projected.search_text())
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
    rows
}
