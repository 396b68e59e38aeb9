//! Full-text search: an FTS5 index that is brought up to date off the edit path, and documents that wait for it
//! answered directly, so that search is never stale.
//!
//! The waiting documents go into a temporary table with the same tokenizer, the same query runs on both, and
//! the index' own answer leaves them out. A few rows of filler keep the weights of the small table comparable:
//! bm25 of a word that every row of a table has is zero.

use std::fmt::Write as _;

use lifeos_sync_protocol::ids::{DocId, SpaceId, StreamId};
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::documents::{DocRow, Mark, unmark};
use super::query::Query;
use super::records::find_space;
use super::{Reader, Reads, Store, StoreError, begin};
use crate::modules::notes::tags::tag_id;
use crate::projection::{self, SearchText};

/// Above this many waiting documents they are indexed before the search.
const DIRTY_MAX: u64 = 500;
/// Documents indexed in one commit.
const INDEX_BATCH: usize = 200;

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

/// Puts a document's text into the index, or takes it out; inside a transaction.
pub(super) fn index(conn: &Connection, doc: i64, text: Option<&SearchText>) -> Result<(), StoreError> {
    match text {
        Some(text) => {
            let sql = "INSERT OR REPLACE INTO search(rowid, title, headings, tags, body) VALUES (?1, ?2, ?3, ?4, ?5)";
            conn.prepare_cached(sql)?.execute((doc, &text.title, &text.headings, &text.tags, &text.body))?;
        }
        None => drop(conn.prepare_cached("DELETE FROM search WHERE rowid = ?1")?.execute([doc])?),
    }
    unmark(conn, Mark::Search, doc)
}

/// Puts the text of a document into the index that was never in it.
pub(super) fn index_new(conn: &Connection, doc: i64, text: Option<&SearchText>) -> Result<(), StoreError> {
    let Some(text) = text else { return Ok(()) };
    let sql = "INSERT INTO search(rowid, title, headings, tags, body) VALUES (?1, ?2, ?3, ?4, ?5)";
    conn.prepare_cached(sql)?.execute((doc, &text.title, &text.headings, &text.tags, &text.body))?;
    Ok(())
}

/// Empties the index.
pub(super) fn clear(conn: &Connection) -> Result<(), StoreError> {
    conn.execute("DELETE FROM search", [])?;
    conn.execute("DELETE FROM mark WHERE kind = ?1", [Mark::Search as i64])?;
    Ok(())
}

/// Documents that wait for the index, but for those that came with a checkpoint: these are indexed when somebody looks
/// inside them.
fn waiting(conn: &Connection, limit: usize) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT m.doc FROM mark m JOIN document d ON d.id = m.doc
               WHERE m.kind = ?1 AND d.unverified = 0 ORDER BY m.doc LIMIT ?2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Reads { conn }.all(sql, (Mark::Search as i64, limit), |row| row.get(0))
}

/// What search sees of a stored document.
fn text_of(conn: &Connection, doc: i64) -> Result<Option<SearchText>, StoreError> {
    match DocRow::by_id(conn, doc)? {
        // The document is only read: which actor would write is of no interest.
        Some(row) => Ok(projection::search_text(&row.load(conn, StreamId::ZERO)?)),
        None => Ok(None),
    }
}

impl Store {
    /// Finds documents, best first.
    ///
    /// # Errors
    /// [`StoreError::Query`] for a query that cannot be read.
    pub fn search(&mut self, space: &SpaceId, query: &str, limit: u32) -> Result<Vec<Hit>, StoreError> {
        let query = Query::parse(query)?;
        if self.reads().search_dirty_count()? > DIRTY_MAX {
            while self.index_dirty(INDEX_BATCH)? > 0 {}
        }
        find(&self.conn, space, &query, limit)
    }

    /// Indexes up to `documents_max` documents that wait for it, in one commit; returns how many were indexed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn index_dirty(&mut self, documents_max: usize) -> Result<usize, StoreError> {
        if self.reads().search_dirty_count()? == 0 {
            return Ok(0);
        }
        let _timed = super::Timed::begin(&self.metrics, crate::metrics::Work::Index);
        let transaction = begin(&self.conn)?;
        let waiting = waiting(&transaction, documents_max)?;
        for doc in &waiting {
            index(&transaction, *doc, text_of(&transaction, *doc)?.as_ref())?;
        }
        transaction.commit()?;
        Ok(waiting.len())
    }
}

impl Reader {
    /// Finds documents, best first, beside the writer. Slow while thousands of documents wait for the index
    /// (see `Reads::search_dirty_count`): call [`Store::index_dirty`] first then.
    ///
    /// # Errors
    /// [`StoreError::Query`] for a query that cannot be read.
    pub fn search(&self, space: &SpaceId, query: &str, limit: u32) -> Result<Vec<Hit>, StoreError> {
        find(&self.conn, space, &Query::parse(query)?, limit)
    }
}

fn find(conn: &Connection, space: &SpaceId, query: &Query, limit: u32) -> Result<Vec<Hit>, StoreError> {
    // One snapshot of the database for marks, documents and index.
    let transaction = conn.unchecked_transaction()?;
    let space = find_space(conn, space)?.row;
    let mut hits = if query.with.is_some() {
        refresh_fresh(conn)?;
        let mut hits = select(conn, "search", space, query, limit)?;
        hits.extend(select(conn, "fresh", space, query, limit)?);
        hits
    } else {
        refresh_fresh(conn)?;
        select_tagged(conn, space, query, limit)?
    };
    transaction.commit()?;
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.doc.cmp(&b.doc)));
    hits.truncate(limit as usize);
    Ok(hits)
}

/// Words of the filler rows, about as many as a short note has; no query reaches their negative row ids.
const FILLER_ROWS: i64 = 64;
const FILLER_WORDS: usize = 60;

/// Brings the temporary table up to the documents that wait for the index.
fn refresh_fresh(conn: &Connection) -> Result<(), StoreError> {
    let exists = "SELECT 1 FROM temp.sqlite_schema WHERE name = 'fresh'";
    let waiting = waiting_documents(conn)?;
    if conn.prepare_cached(exists)?.query_row([], |_| Ok(())).optional()?.is_none() {
        create_fresh(conn)?;
    }
    let known = known_fresh(conn)?;
    for (doc, _) in known.iter().filter(|known| !waiting.contains(known)) {
        conn.prepare_cached("DELETE FROM temp.fresh WHERE rowid = ?1")?.execute([doc])?;
        conn.prepare_cached("DELETE FROM temp.fresh_known WHERE doc = ?1")?.execute([doc])?;
    }
    for (doc, generation) in waiting.iter().filter(|waiting| !known.contains(waiting)) {
        if let Some(text) = text_of(conn, *doc)? {
            let sql = "INSERT INTO temp.fresh(rowid, title, headings, tags, body) VALUES (?1, ?2, ?3, ?4, ?5)";
            conn.prepare_cached(sql)?.execute((doc, text.title, text.headings, text.tags, text.body))?;
        }
        let sql = "INSERT INTO temp.fresh_known(doc, generation) VALUES (?1, ?2)";
        conn.prepare_cached(sql)?.execute((doc, generation))?;
    }
    Ok(())
}

fn create_fresh(conn: &Connection) -> Result<(), StoreError> {
    conn.execute_batch(
        "CREATE VIRTUAL TABLE temp.fresh USING fts5(
             title, headings, tags, body, tokenize = 'unicode61 remove_diacritics 2');
         INSERT INTO temp.fresh(fresh, rank) VALUES ('rank', 'bm25(8.0, 3.0, 5.0, 1.0)');
         CREATE TABLE temp.fresh_known(doc INTEGER PRIMARY KEY, generation INTEGER NOT NULL);",
    )?;
    let filler = "\u{e000} ".repeat(FILLER_WORDS);
    let mut insert = conn.prepare("INSERT INTO temp.fresh(rowid, body) VALUES (?1, ?2)")?;
    for row in 1..=FILLER_ROWS {
        insert.execute((-row, &filler))?;
    }
    Ok(())
}

fn waiting_documents(conn: &Connection) -> Result<std::collections::BTreeSet<(i64, i64)>, StoreError> {
    let sql =
        "SELECT d.id, d.generation FROM mark m JOIN document d ON d.id = m.doc WHERE m.kind = ?1 AND d.unverified = 0";
    pairs(conn, sql, Mark::Search as i64)
}

fn known_fresh(conn: &Connection) -> Result<std::collections::BTreeSet<(i64, i64)>, StoreError> {
    pairs(conn, "SELECT doc, generation FROM temp.fresh_known WHERE doc >= ?1", 0)
}

fn pairs(conn: &Connection, sql: &str, param: i64) -> Result<std::collections::BTreeSet<(i64, i64)>, StoreError> {
    let mut select = conn.prepare_cached(sql)?;
    let rows = select.query_map([param], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Conditions on tags and the values they need, places numbered from `first`.
fn tag_conditions(query: &Query, mut first: usize, sql: &mut String, values: &mut Vec<SqlValue>) {
    let with = query.tags.iter().map(|tag| ("", tag));
    for (not, tag) in with.chain(query.tags_without.iter().map(|tag| ("NOT ", tag))) {
        let _ = write!(sql, " AND {not}EXISTS (SELECT 1 FROM note_tag t WHERE t.doc = d.id AND t.key = ?{first})");
        values.push(SqlValue::Text(tag_id(tag)));
        first += 1;
    }
}

fn select(conn: &Connection, table: &str, space: i64, query: &Query, limit: u32) -> Result<Vec<Hit>, StoreError> {
    let mut expression = format!("({})", query.with.as_deref().unwrap_or_default());
    if let Some(without) = &query.without {
        let _ = write!(expression, " NOT ({without})");
    }
    let mut values = vec![SqlValue::Text(expression), SqlValue::Integer(space), SqlValue::Integer(limit.into())];
    // CROSS JOIN keeps the index outermost, so that its own order by rank is used and snippets are made only
    // for the rows that are given out.
    let mut sql = format!(
        "SELECT d.doc, n.title, snippet({table}, -1, '[', ']', '…', 16), -{table}.rank
         FROM {table} CROSS JOIN document d ON d.id = {table}.rowid LEFT JOIN note n ON n.doc = d.id
         WHERE {table} MATCH ?1 AND d.space = ?2"
    );
    if table == "search" {
        let _ = write!(sql, " AND d.id NOT IN (SELECT doc FROM mark WHERE kind = {})", Mark::Search as i64);
    }
    tag_conditions(query, values.len() + 1, &mut sql, &mut values);
    let _ = write!(sql, " ORDER BY {table}.rank LIMIT ?3");
    hits(conn, &sql, values)
}

/// Only tags are asked for: the newest first.
fn select_tagged(conn: &Connection, space: i64, query: &Query, limit: u32) -> Result<Vec<Hit>, StoreError> {
    let without = query.without.clone().unwrap_or_default();
    let mut values = vec![SqlValue::Text(without), SqlValue::Integer(space), SqlValue::Integer(limit.into())];
    let mut sql = String::from(
        "SELECT d.doc, n.title, n.excerpt, n.updated_ms / 1.0e15 FROM note n JOIN document d ON d.id = n.doc
         WHERE n.trashed_ms IS NULL AND d.space = ?2",
    );
    if query.without.is_some() {
        let _ = write!(
            sql,
            " AND NOT (d.id IN (SELECT rowid FROM search WHERE search MATCH ?1
                                EXCEPT SELECT doc FROM mark WHERE kind = {})
                       OR d.id IN (SELECT rowid FROM temp.fresh WHERE fresh MATCH ?1))",
            Mark::Search as i64
        );
    } else {
        sql.push_str(" AND ?1 IS NOT NULL");
    }
    tag_conditions(query, values.len() + 1, &mut sql, &mut values);
    sql.push_str(" ORDER BY n.updated_ms DESC, d.doc LIMIT ?3");
    hits(conn, &sql, values)
}

fn hits(conn: &Connection, sql: &str, values: Vec<SqlValue>) -> Result<Vec<Hit>, StoreError> {
    let mut select = conn.prepare_cached(sql)?;
    let rows = select.query_map(params_from_iter(values), |row| {
        Ok(Hit {
            doc: DocId(row.get(0)?),
            title: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
            snippet: row.get(2)?,
            score: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
