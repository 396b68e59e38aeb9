//! Search over everything, never stale.

use super::{Client, ClientError, SearchHit};
use crate::registry;
use crate::store::{Query, StoreError};

/// Hits when no number is asked for.
const HITS: u32 = 20;
/// From so many documents waiting for the index on, it is brought up to date first: answering them one by one
/// would take longer.
const DIRTY_DIRECT_MAX: u64 = 256;

impl Client {
    /// Full-text search: words, "phrases", prefix*, -without, title:word, and conditions: tag:name, in:notebook,
    /// type:note, before:2026-03, after:7d, has:attachment, prop:name=value, is:pinned.
    /// # Errors
    /// [`ClientError::Invalid`] for a query that cannot be read.
    pub fn search(&self, query: &str, limit: u32) -> Result<Vec<SearchHit>, ClientError> {
        let limit = if limit == 0 { HITS } else { limit };
        let dirty = self.shared.reader().reads().search_dirty_count()?;
        if dirty > DIRTY_DIRECT_MAX {
            crate::engine::index(&self.shared)?;
        }
        let query = Query::parse(query, &jiff::Zoned::now()).map_err(StoreError::from)?;
        let hits = self.shared.reader().search(&self.space(), &query, limit)?;
        Ok(hits
            .into_iter()
            .map(|hit| SearchHit {
                id: hit.doc.to_string(),
                kind: registry::kind(hit.genesis).map_or("", |kind| kind.name).to_owned(),
                title: hit.title,
                snippet: hit.snippet,
                score: hit.score,
            })
            .collect())
    }
}
