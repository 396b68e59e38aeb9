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
use super::query::{Condition, Has, Query};
use super::records::find_space;
use super::spread::{join, spread};
use super::{Reader, Reads, Store, StoreError, begin};
use crate::document::GenesisId;
use crate::modules::notes::tags::{self, tag_id};
use crate::modules::register::fold;
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
    /// What kind of document it is.
    pub genesis: GenesisId,
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
            put(conn, sql, doc, text)?;
        }
        None => drop(conn.prepare_cached("DELETE FROM search WHERE rowid = ?1")?.execute([doc])?),
    }
    unmark(conn, Mark::Search, doc)
}

/// Puts the text of a document into the index that was never in it.
pub(super) fn index_new(conn: &Connection, doc: i64, text: Option<&SearchText>) -> Result<(), StoreError> {
    let Some(text) = text else { return Ok(()) };
    let sql = "INSERT INTO search(rowid, title, headings, tags, body) VALUES (?1, ?2, ?3, ?4, ?5)";
    put(conn, sql, doc, text)
}

fn put(conn: &Connection, sql: &str, doc: i64, text: &SearchText) -> Result<(), StoreError> {
    let columns = [&text.title, &text.headings, &text.tags, &text.body].map(|column| spread(column));
    let [title, headings, tags, body] = &columns;
    conn.prepare_cached(sql)?.execute((doc, title, headings, tags, body))?;
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
pub(super) fn text_of(conn: &Connection, doc: i64) -> Result<Option<SearchText>, StoreError> {
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
    /// [`StoreError`].
    pub fn search(&mut self, space: &SpaceId, query: &Query, limit: u32) -> Result<Vec<Hit>, StoreError> {
        if self.reads().search_dirty_count()? > DIRTY_MAX {
            while self.index_dirty(INDEX_BATCH)? > 0 {}
        }
        find(&self.conn, space, query, limit)
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
    /// [`StoreError`].
    pub fn search(&self, space: &SpaceId, query: &Query, limit: u32) -> Result<Vec<Hit>, StoreError> {
        find(&self.conn, space, query, limit)
    }
}

fn find(conn: &Connection, space: &SpaceId, query: &Query, limit: u32) -> Result<Vec<Hit>, StoreError> {
    // One snapshot of the database for marks, documents and index.
    let transaction = conn.unchecked_transaction()?;
    let space = find_space(conn, space)?.row;
    refresh_fresh(conn)?;
    let mut hits = if query.with.is_some() {
        let mut hits = select(conn, "search", space, query, limit)?;
        hits.extend(select(conn, "fresh", space, query, limit)?);
        hits
    } else {
        select_listed(conn, space, query, limit)?
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
pub(super) fn refresh_fresh(conn: &Connection) -> Result<(), StoreError> {
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
            put(conn, sql, *doc, &text)?;
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

/// A row of a table of the document's.
fn exists(table: &str, condition: &str) -> String {
    format!("EXISTS (SELECT 1 FROM {table} t WHERE t.doc = d.id{condition})")
}

/// What of the query is beside the words, as SQL over `document d` and `note n`; its values go behind those there are.
fn conditions(query: &Query, sql: &mut String, values: &mut Vec<SqlValue>) {
    for (without, condition) in &query.conditions {
        let mut place = |value: SqlValue| {
            values.push(value);
            format!("?{}", values.len())
        };
        let condition = match condition {
            Condition::Tag(tag) => {
                let (id, folded) = (place(SqlValue::Text(tag_id(tag))), fold(&tags::label(tag)));
                // Tags below it by their labels, of which SQLite folds the letters of ASCII.
                let below = place(SqlValue::Text(format!("{folded}/")));
                let typed = place(SqlValue::Text(format!("{}/", tags::label(tag))));
                let label = format!("instr(lower(t.label), {below}) = 1 OR instr(t.label, {typed}) = 1");
                exists("note_tag", &format!(" AND (t.key = {id} OR {label})"))
            }
            Condition::Type(genesis) => format!("d.genesis = {}", place(SqlValue::Integer(genesis.0.into()))),
            Condition::Before(time) => format!("n.updated_ms < {}", place(SqlValue::Integer(*time))),
            Condition::After(time) => format!("n.updated_ms >= {}", place(SqlValue::Integer(*time))),
            Condition::Has(Has::Attachment) => exists("note_attachment", ""),
            Condition::Has(Has::Link) => exists("note_link", ""),
            Condition::Has(Has::Tag) => exists("note_tag", ""),
            Condition::Has(Has::Property) => exists("note_prop", ""),
            Condition::Property(name, None) => {
                exists("note_prop", &format!(" AND t.name = {} COLLATE NOCASE", place(SqlValue::Text(name.clone()))))
            }
            Condition::Property(name, Some(value)) => {
                let (name, value) = (place(SqlValue::Text(name.clone())), place(SqlValue::Text(value.clone())));
                // A value is JSON: of a list one element is enough, and a number is compared as it is written.
                let equal = format!(
                    "EXISTS (SELECT 1 FROM json_each(t.value) j WHERE CAST(j.value AS TEXT) = {value} COLLATE NOCASE)"
                );
                exists("note_prop", &format!(" AND t.name = {name} COLLATE NOCASE AND json_valid(t.value) AND {equal}"))
            }
            Condition::Notebook(name) => {
                let name = place(SqlValue::Text(name.clone()));
                // A deleted notebook's notes are where its row says that it went.
                format!(
                    "n.notebook IN (WITH RECURSIVE inside(id) AS (
                         SELECT key FROM notebook WHERE name = {name} COLLATE NOCASE AND deleted_ms IS NULL
                         UNION SELECT b.key FROM notebook b JOIN inside i ON b.parent = i.id)
                     SELECT id FROM inside)"
                )
            }
            Condition::Pinned => "n.pinned = 1".to_owned(),
        };
        // What is not known of a document is not so.
        let _ = write!(sql, " AND {}ifnull({condition}, 0)", if *without { "NOT " } else { "" });
    }
}

pub(super) fn select(
    conn: &Connection,
    table: &str,
    space: i64,
    query: &Query,
    limit: u32,
) -> Result<Vec<Hit>, StoreError> {
    let mut expression = format!("({})", query.with.as_deref().unwrap_or_default());
    if let Some(without) = &query.without {
        let _ = write!(expression, " NOT ({without})");
    }
    let mut values = vec![SqlValue::Text(expression), SqlValue::Integer(space), SqlValue::Integer(limit.into())];
    // CROSS JOIN keeps the index outermost, so that its own order by rank is used and snippets are made only
    // for the rows that are given out.
    let mut sql = format!(
        "SELECT d.doc, coalesce(n.title, {table}.title), snippet({table}, -1, '[', ']', '…', 16), -{table}.rank, d.genesis
         FROM {table} CROSS JOIN document d ON d.id = {table}.rowid LEFT JOIN note n ON n.doc = d.id
         WHERE {table} MATCH ?1 AND d.space = ?2"
    );
    if table == "search" {
        let _ = write!(sql, " AND d.id NOT IN (SELECT doc FROM mark WHERE kind = {})", Mark::Search as i64);
    }
    conditions(query, &mut sql, &mut values);
    let _ = write!(sql, " ORDER BY {table}.rank LIMIT ?3");
    hits(conn, &sql, values)
}

/// Nothing is looked up in the index: the newest first.
fn select_listed(conn: &Connection, space: i64, query: &Query, limit: u32) -> Result<Vec<Hit>, StoreError> {
    let without = query.without.clone().unwrap_or_default();
    let mut values = vec![SqlValue::Text(without), SqlValue::Integer(space), SqlValue::Integer(limit.into())];
    let mut sql = String::from(
        "SELECT d.doc, n.title, n.excerpt, n.updated_ms / 1.0e15, d.genesis FROM note n JOIN document d ON d.id = n.doc
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
    conditions(query, &mut sql, &mut values);
    sql.push_str(" ORDER BY n.updated_ms DESC, d.doc LIMIT ?3");
    hits(conn, &sql, values)
}

fn hits(conn: &Connection, sql: &str, values: Vec<SqlValue>) -> Result<Vec<Hit>, StoreError> {
    let mut select = conn.prepare_cached(sql)?;
    let rows = select.query_map(params_from_iter(values), |row| {
        Ok(Hit {
            doc: DocId(row.get(0)?),
            genesis: GenesisId(row.get(4)?),
            // Of what is no note the index knows the title, the first line of what has its weight.
            title: row.get::<_, Option<String>>(1)?.map(first_line).unwrap_or_default(),
            snippet: join(row.get(2)?),
            score: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn first_line(title: String) -> String {
    join(title.split_once('\n').map_or(title.clone(), |(first, _)| first.to_owned()))
}
