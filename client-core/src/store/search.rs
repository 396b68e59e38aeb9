//! Full-text search: an FTS5 index that is brought up to date off the edit path, and documents that wait for it
//! answered directly, so that search is never stale.

use lifeos_sync_protocol::ids::{DocId, SpaceId};

use super::{Reader, Store, StoreError};

pub use super::query::QueryError;

/// A document that matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The document.
    pub doc: DocId,
    /// Its title.
    pub title: String,
    /// Part of the text around the match, matches between `[` and `]`.
    pub snippet: String,
    /// Larger is better.
    pub score: f64,
}

impl Store {
    /// Finds documents, best first.
    ///
    /// # Errors
    /// [`StoreError::Query`] for a query that cannot be read.
    pub fn search(&mut self, space: &SpaceId, query: &str, limit: u32) -> Result<Vec<Hit>, StoreError> {
        let _ = (space, query, limit);
        todo!()
    }

    /// Indexes up to `documents_max` documents that wait for it; returns how many were indexed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn index_dirty(&mut self, documents_max: usize) -> Result<usize, StoreError> {
        let _ = documents_max;
        todo!()
    }
}

impl Reader {
    /// Finds documents, best first, beside the writer. Slow while thousands of documents wait for the index
    /// (see `Reads::search_dirty_count`): call [`Store::index_dirty`] first then.
    ///
    /// # Errors
    /// [`StoreError::Query`] for a query that cannot be read.
    pub fn search(&self, space: &SpaceId, query: &str, limit: u32) -> Result<Vec<Hit>, StoreError> {
        let _ = (space, query, limit);
        todo!()
    }
}
