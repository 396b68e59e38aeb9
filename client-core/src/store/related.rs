//! Notes that have to do with a note: rare words that both have, tags that both have, links between them; and notes
//! that name it without a link.
//!
//! The note's words come out of the tokenizer of the index itself, so both see the same ones; how rare a word is says
//! the index' own vocabulary. The rarest are asked for at once, and the index ranks.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lifeos_sync_protocol::ids::{DocId, SpaceId};
use rusqlite::{Connection, OptionalExtension};

use super::documents::DocRow;
use super::query::{Query, phrase};
use super::records::find_space;
use super::search::{refresh_fresh, select, text_of};
use super::spread::spread;
use super::{Reader, Reads, StoreError};

/// Rare words of a note that are looked for in others.
const WORDS_MAX: usize = 24;
/// Words of a note that are weighed: of a longer one those that are used most.
const WEIGHED_MAX: usize = 2_000;
/// Notes that are weighed.
const CANDIDATES_MAX: u32 = 60;
/// What a tag that both have adds, before it is divided among all notes that have it; words give at most one.
const TAG_WEIGHT: f64 = 0.5;
/// What a link between them adds.
const LINK_WEIGHT: f64 = 0.4;
/// A shorter title would be found everywhere.
const TITLE_CHARS_MIN: usize = 3;

/// A note that has to do with another.
#[derive(Debug, Clone, PartialEq)]
pub struct RelatedRow {
    /// The note.
    pub doc: DocId,
    /// Its title.
    pub title: String,
    /// Larger is more.
    pub score: f64,
    /// Words that both have, the rarest first.
    pub words: Vec<String>,
    /// Tags that both have.
    pub tags: Vec<String>,
    /// One links to the other.
    pub linked: bool,
}

/// A place where a note is named and not linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MentionRow {
    /// The note that names it.
    pub doc: DocId,
    /// Its title.
    pub title: String,
    /// The words around, the name between `[` and `]`.
    pub snippet: String,
}

impl Reader {
    /// Notes that have to do with a note, the closest first; `None` where it is not here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn related(&self, space: &SpaceId, doc: &DocId, limit: u32) -> Result<Option<Vec<RelatedRow>>, StoreError> {
        // One snapshot of the database.
        let transaction = self.conn.unchecked_transaction()?;
        let found = related(&self.conn, space, doc, limit)?;
        transaction.commit()?;
        Ok(found)
    }

    /// Notes whose text names a note by its title, or an earlier one, and does not link to it; the best match first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn mentions(&self, space: &SpaceId, doc: &DocId, limit: u32) -> Result<Vec<MentionRow>, StoreError> {
        let transaction = self.conn.unchecked_transaction()?;
        let found = mentions(&self.conn, space, doc, limit)?;
        transaction.commit()?;
        Ok(found)
    }
}

fn related(conn: &Connection, space: &SpaceId, doc: &DocId, limit: u32) -> Result<Option<Vec<RelatedRow>>, StoreError> {
    let row = find_space(conn, space)?.row;
    let Some(own) = DocRow::find(conn, row, doc)?.map(|found| found.id) else { return Ok(None) };
    refresh_fresh(conn)?;
    let words = rare_words(conn, own)?;
    let mut found: BTreeMap<DocId, RelatedRow> = BTreeMap::new();
    if !words.is_empty() {
        let any: Vec<String> = words.iter().map(|word| phrase(word)).collect();
        let query = Query::matching(any.join(" OR "));
        let mut hits = select(conn, "search", row, &query, CANDIDATES_MAX)?;
        hits.extend(select(conn, "fresh", row, &query, CANDIDATES_MAX)?);
        // The note itself matches best, and says nothing: the others are measured by the best of them.
        let best = hits.iter().filter(|hit| hit.doc != *doc).map(|hit| hit.score).fold(f64::MIN_POSITIVE, f64::max);
        for hit in hits.into_iter().filter(|hit| hit.doc != *doc) {
            let related = entry(&mut found, hit.doc, hit.title);
            related.score += hit.score / best;
        }
    }
    let reads = Reads { conn };
    for (other, title, tag, notes) in shared_tags(conn, row, own)? {
        let related = entry(&mut found, other, title);
        related.score += TAG_WEIGHT / notes.max(1.0).ln_1p();
        related.tags.push(tag);
    }
    let links = [reads.links_from(space, doc)?, reads.links_to(space, doc)?].concat();
    for link in links {
        let other = if link.from == *doc { link.to } else { Some(link.from) };
        let Some(other) = other.filter(|other| other != doc) else { continue };
        let Some(note) = reads.note(space, &other)?.filter(|note| note.trashed_ms.is_none()) else { continue };
        let related = entry(&mut found, other, note.title);
        if !std::mem::replace(&mut related.linked, true) {
            related.score += LINK_WEIGHT;
        }
    }
    let mut found: Vec<RelatedRow> = found.into_values().collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.doc.cmp(&b.doc)));
    found.truncate(limit as usize);
    for related in &mut found {
        related.words = words_of_both(conn, row, &words, &related.doc)?;
    }
    Ok(Some(found))
}

fn entry(found: &mut BTreeMap<DocId, RelatedRow>, doc: DocId, title: String) -> &mut RelatedRow {
    found.entry(doc).or_insert_with(|| RelatedRow {
        doc,
        title,
        score: 0.0,
        words: Vec::new(),
        tags: Vec::new(),
        linked: false,
    })
}

/// The note's words that few others have, the weightiest first: how often it uses one, times how rare it is.
fn rare_words(conn: &Connection, own: i64) -> Result<Vec<String>, StoreError> {
    let Some(text) = text_of(conn, own)? else { return Ok(Vec::new()) };
    create_vocabularies(conn)?;
    let all = [text.title, text.headings, text.body].map(|part| spread(&part).into_owned()).join("\n");
    conn.execute("DELETE FROM temp.probe", [])?;
    conn.prepare_cached("INSERT INTO temp.probe(rowid, body) VALUES (1, ?1)")?.execute([all])?;
    let count = "SELECT (SELECT count(*) FROM search_docsize) + (SELECT count(*) FROM temp.fresh_known)";
    let documents: i64 = conn.query_row(count, [], |row| row.get(0))?;
    let reads = Reads { conn };
    let sql = "SELECT term, cnt FROM temp.probe_words WHERE length(term) > 1 ORDER BY cnt DESC, term LIMIT ?1";
    let used: Vec<(String, i64)> = reads.all(sql, [WEIGHED_MAX as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
    conn.execute("DELETE FROM temp.probe", [])?;
    let mut weighed = Vec::new();
    for (word, times) in used {
        let sql = "SELECT ifnull((SELECT doc FROM temp.search_words WHERE term = ?1), 0)
                        + ifnull((SELECT doc FROM temp.fresh_words WHERE term = ?1), 0)";
        let have: i64 = conn.prepare_cached(sql)?.query_row([&word], |row| row.get(0))?;
        // What half of all notes have says nothing.
        if have * 2 > documents.max(4) || word.chars().all(|c| c.is_ascii_digit()) {
            continue;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of documents and words")]
        let weight = (1.0 + (times as f64).ln()) * ((1 + documents) as f64 / (1 + have) as f64).ln();
        weighed.push((weight, word));
    }
    weighed.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    Ok(weighed.into_iter().take(WORDS_MAX).map(|(_, word)| word).collect())
}

fn create_vocabularies(conn: &Connection) -> Result<(), StoreError> {
    let exists = "SELECT 1 FROM temp.sqlite_schema WHERE name = 'probe'";
    if conn.prepare_cached(exists)?.query_row([], |_| Ok(())).optional()?.is_none() {
        conn.execute_batch(
            "CREATE VIRTUAL TABLE temp.probe USING fts5(body, tokenize = 'unicode61 remove_diacritics 2');
             CREATE VIRTUAL TABLE temp.probe_words USING fts5vocab('temp', 'probe', 'row');
             CREATE VIRTUAL TABLE temp.search_words USING fts5vocab('main', 'search', 'row');
             CREATE VIRTUAL TABLE temp.fresh_words USING fts5vocab('temp', 'fresh', 'row');",
        )?;
    }
    Ok(())
}

/// Which of the words another note has.
fn words_of_both(conn: &Connection, space: i64, words: &[String], doc: &DocId) -> Result<Vec<String>, StoreError> {
    let Some(other) = DocRow::find(conn, space, doc)?.map(|found| found.id) else { return Ok(Vec::new()) };
    let mut both = Vec::new();
    for word in words {
        let phrase = phrase(word);
        let has = |table: &str| -> Result<bool, StoreError> {
            let sql = format!("SELECT 1 FROM {table} WHERE {table} MATCH ?1 AND rowid = ?2");
            Ok(conn.prepare_cached(&sql)?.query_row((&phrase, other), |_| Ok(())).optional()?.is_some())
        };
        if has("search")? || has("fresh")? {
            both.push(word.clone());
        }
    }
    Ok(both)
}

/// Living notes that have a tag of the note's: which, its title, the tag, how many notes have it.
fn shared_tags(conn: &Connection, space: i64, own: i64) -> Result<Vec<(DocId, String, String, f64)>, StoreError> {
    // A tag that everything has says nothing, and would bring everything.
    let sql = "WITH own AS (SELECT t.tag, t.label,
                      (SELECT count(*) FROM note_tag c JOIN document e ON e.id = c.doc
                       WHERE c.tag = t.tag AND e.space = ?1) AS notes
                    FROM note_tag t WHERE t.doc = ?2)
               SELECT d.doc, n.title, own.label, own.notes FROM own
               JOIN note_tag o ON o.tag = own.tag JOIN note n ON n.doc = o.doc JOIN document d ON d.id = o.doc
               WHERE own.notes <= 200 AND o.doc <> ?2 AND d.space = ?1 AND n.trashed_ms IS NULL
               ORDER BY own.notes, own.label, d.doc";
    Reads { conn }.all(sql, (space, own), |row| {
        #[expect(clippy::cast_precision_loss, reason = "a count of notes")]
        let notes = row.get::<_, i64>(3)? as f64;
        Ok((DocId(row.get(0)?), row.get(1)?, row.get(2)?, notes))
    })
}

fn mentions(conn: &Connection, space: &SpaceId, doc: &DocId, limit: u32) -> Result<Vec<MentionRow>, StoreError> {
    let reads = Reads { conn };
    let row = find_space(conn, space)?.row;
    let Some(note) = reads.note(space, doc)? else { return Ok(Vec::new()) };
    let sql = "SELECT a.alias FROM note_alias a JOIN document d ON d.id = a.doc WHERE d.space = ?1 AND d.doc = ?2";
    let mut names: Vec<String> = reads.all(sql, (row, doc.as_ref()), |row| row.get(0))?;
    names.push(note.title);
    let mut asked = String::new();
    for name in names.iter().filter(|name| name.trim().chars().count() >= TITLE_CHARS_MIN) {
        let _ = write!(asked, "{}{}", if asked.is_empty() { "" } else { " OR " }, phrase(name));
    }
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    refresh_fresh(conn)?;
    // Titles and tags that say the same are no mention.
    let query = Query::matching(format!("{{headings body}} : ({asked})"));
    let linking: std::collections::BTreeSet<DocId> = reads.links_to(space, doc)?.iter().map(|link| link.from).collect();
    let most = limit.saturating_add(u32::try_from(linking.len()).unwrap_or(u32::MAX)).saturating_add(1);
    let mut hits = select(conn, "search", row, &query, most)?;
    hits.extend(select(conn, "fresh", row, &query, most)?);
    hits.retain(|hit| hit.doc != *doc && !linking.contains(&hit.doc));
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.doc.cmp(&b.doc)));
    hits.truncate(limit as usize);
    Ok(hits.into_iter().map(|hit| MentionRow { doc: hit.doc, title: hit.title, snippet: hit.snippet }).collect())
}
