//! Search over everything, never stale.

use super::{Client, ClientError, SearchHit};
use crate::registry;
use crate::store::{MentionRow, Query, StoreError};

/// Hits when no number is asked for.
const HITS: u32 = 20;
/// Related notes when no number is asked for.
const RELATED: u32 = 10;
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
        self.index_if_much_waits()?;
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

    /// Notes that have to do with a note, the closest first, with the reason.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn note_related(&self, id: &str, limit: u32) -> Result<Vec<RelatedNote>, ClientError> {
        let doc = self.note_id(id)?;
        self.index_if_much_waits()?;
        let found = self.shared.reader().related(&self.space(), &doc, if limit == 0 { RELATED } else { limit })?;
        let found = found.ok_or_else(|| ClientError::not_found(format!("note {id}")))?;
        Ok(found
            .into_iter()
            .map(|row| RelatedNote {
                id: row.doc.to_string(),
                title: row.title,
                score: row.score,
                words: row.words,
                tags: row.tags,
                linked: row.linked,
            })
            .collect())
    }

    /// Notes whose text names a note by its title, or an earlier one, and does not link to it.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn note_mentions(&self, id: &str, limit: u32) -> Result<Vec<Mention>, ClientError> {
        let doc = self.note_id(id)?;
        self.index_if_much_waits()?;
        let found = self.shared.reader().mentions(&self.space(), &doc, if limit == 0 { HITS } else { limit })?;
        let mention = |row: MentionRow| Mention { id: row.doc.to_string(), title: row.title, snippet: row.snippet };
        Ok(found.into_iter().map(mention).collect())
    }

    fn index_if_much_waits(&self) -> Result<(), ClientError> {
        if self.shared.reader().reads().search_dirty_count()? > DIRTY_DIRECT_MAX {
            crate::engine::index(&self.shared)?;
        }
        Ok(())
    }
}

/// A note that has to do with another.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RelatedNote {
    /// Hex id.
    pub id: String,
    /// Title.
    pub title: String,
    /// Larger is closer; only good for comparing within one list.
    pub score: f64,
    /// Rare words that both have.
    pub words: Vec<String>,
    /// Tags that both have.
    pub tags: Vec<String>,
    /// One links to the other.
    pub linked: bool,
}

/// A place where a note is named and not linked.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Mention {
    /// Hex id of the note that names it.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The words around, the name between `[` and `]`.
    pub snippet: String,
}
