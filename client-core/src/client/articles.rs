//! Articles: pages saved to be read, what is highlighted in them, and what they become as files.

use std::collections::BTreeMap;

use automerge::AutoCommit;
use lifeos_sync_protocol::ids::DocId;
use serde_json::{Map, Value as Json};

use super::{Client, ClientError, Entity};
use crate::crypto::{SystemRandom, random_bytes};
use crate::import::{Readable, readable};
use crate::modules::articles::address::canonical;
use crate::modules::articles::anchor::{Anchor, Words};
use crate::modules::articles::declared::ARTICLE;
use crate::modules::articles::{self, Saved, article_doc};
use crate::modules::entity;
use crate::modules::notes::markdown::{parse_body, plain_text};
use crate::store::{Step, Tx};
use crate::transport::fetch::{FetchError, Request, fetch};

/// A page that was saved.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SavedArticle {
    /// Its id.
    pub id: String,
    /// Its canonical address.
    pub url: String,
    /// Title.
    pub title: String,
    /// Words of its text.
    pub words: u64,
    /// It was not there before.
    pub is_new: bool,
}

/// An article.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Article {
    /// Its id.
    pub id: String,
    /// Its fields, without its text.
    pub values: Map<String, Json>,
    /// Its text as Markdown.
    pub body: String,
    /// Tags.
    pub tags: Vec<String>,
    /// How far the device that is furthest has read, per mille.
    pub progress: u64,
    /// What is highlighted, in the order of the text.
    pub highlights: Vec<Highlight>,
}

/// A passage that is highlighted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Highlight {
    /// Its id.
    pub id: String,
    /// The words, as they were.
    pub exact: String,
    /// The words that stand there now; none where the text has nothing like it any more.
    pub found: Option<String>,
    /// Where it begins, in characters of the words.
    pub start: Option<u64>,
    /// What was thought of it.
    pub note: String,
    /// Which pen.
    pub color: String,
}

impl From<FetchError> for ClientError {
    fn from(error: FetchError) -> Self {
        match error.is_transient() {
            true => Self::Network { message: error.to_string(), transient: true },
            false => Self::Invalid { message: error.to_string() },
        }
    }
}

impl Client {
    /// Saves a page that is given as it came from its address; one that is there gets its new text, and what was
    /// highlighted stays.
    /// # Errors
    /// [`ClientError`].
    pub fn article_save(&self, url: &str, page: &[u8]) -> Result<SavedArticle, ClientError> {
        let address = canonical(url).ok_or_else(|| ClientError::from(FetchError::BadAddress(url.to_owned())))?;
        self.article_put(readable(page, &address))
    }

    /// Gets a page and saves it.
    /// # Errors
    /// [`ClientError`].
    pub async fn article_fetch(&self, url: &str, may_go_inside: bool) -> Result<SavedArticle, ClientError> {
        let answer = fetch(&Request { url: url.to_owned(), may_go_inside, ..Request::default() }).await?;
        self.article_save(&answer.url, &answer.body)
    }

    fn article_put(&self, page: Readable) -> Result<SavedArticle, ClientError> {
        let saved = Saved {
            url: page.url,
            title: page.title,
            byline: page.byline,
            site: page.site,
            published: page.published,
            lang: page.lang,
            excerpt: page.excerpt,
            body: page.body,
            ..Saved::default()
        };
        let doc = article_doc(&self.space(), &saved.url);
        let is_new = self.write(|tx| {
            tx.step(Step::Edit);
            put_article(tx, &doc, &saved)
        })?;
        let words = saved.body.split_whitespace().count() as u64;
        Ok(SavedArticle { id: doc.to_string(), url: saved.url, title: saved.title, words, is_new })
    }

    /// An article, with its highlights where they are now.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn article(&self, id: &str) -> Result<Article, ClientError> {
        let found = self.article_entity(id)?;
        let Entity { id, mut values, lists, .. } = found;
        let body = values.remove("body").and_then(|body| body.as_str().map(str::to_owned)).unwrap_or_default();
        let words = words_of(&body);
        let list = |name: &str| lists.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut highlights: Vec<Highlight> = list("highlight").iter().map(|row| shown(row, &words)).collect();
        highlights.sort_by_key(|highlight| (highlight.start.is_none(), highlight.start, highlight.id.clone()));
        let progress = list("reading").iter().filter_map(|row| row.get("progress")?.as_u64()).max();
        let tags = list("tag").iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect();
        Ok(Article { id, values, body, tags, progress: progress.unwrap_or(0), highlights })
    }

    fn article_entity(&self, id: &str) -> Result<Entity, ClientError> {
        let found = self.entity(id)?;
        if found.kind == ARTICLE.name { Ok(found) } else { Err(ClientError::not_found(format!("article {id}"))) }
    }

    /// Highlights a passage of an article's text: the `nth` place (from 1) at which its words stand. The id of the highlight.
    /// # Errors
    /// [`ClientError::Invalid`] for words that are not there.
    pub fn article_highlight(
        &self,
        id: &str,
        (passage, nth): (&str, usize),
        note: &str,
        color: &str,
    ) -> Result<String, ClientError> {
        let article = self.article(id)?;
        let words = words_of(&article.body);
        let anchor = words.anchor(passage, nth.saturating_sub(1)).ok_or_else(|| {
            ClientError::invalid("the article does not say this: give the words as they stand in its text")
        })?;
        let mark = new_id();
        self.entity_edit_as(&ARTICLE, &article.id, |doc, now_ms| {
            articles::highlight(doc, &mark, &anchor, (note, color), now_ms)
        })?;
        Ok(mark)
    }

    /// Takes a highlight away.
    /// # Errors
    /// [`ClientError`].
    pub fn article_unhighlight(&self, id: &str, highlight: &str) -> Result<(), ClientError> {
        let article = self.article_entity(id)?;
        self.entity_remove_row(&article.id, "highlight", highlight, true)
    }

    /// Says what was done with an article: `inbox`, `reading`, `done`, `archived`.
    /// # Errors
    /// [`ClientError`].
    pub fn article_set_state(&self, id: &str, state: &str) -> Result<(), ClientError> {
        self.edit_article(id, |doc| entity::set(doc, &ARTICLE, "state", state))
    }

    /// Says how far this device is, per mille.
    /// # Errors
    /// [`ClientError`].
    pub fn article_read_to(&self, id: &str, per_mille: u16) -> Result<(), ClientError> {
        self.edit_article(id, |doc| articles::read_to(doc, per_mille.into()))
    }

    fn edit_article(
        &self,
        id: &str,
        edit: impl FnOnce(&mut AutoCommit) -> Result<(), crate::document::DocumentError>,
    ) -> Result<(), ClientError> {
        self.entity_edit_as(&ARTICLE, id, |doc, _| edit(doc))
    }

    /// An article as a Markdown file: front matter, text, and the highlights with their notes behind it.
    /// # Errors
    /// [`ClientError`].
    pub fn article_markdown(&self, id: &str) -> Result<String, ClientError> {
        Ok(as_file(&self.article(id)?))
    }
}

/// Writes a page into its document; whether it is a new one.
pub(super) fn put_article(tx: &mut Tx<'_>, doc: &DocId, saved: &Saved) -> Result<bool, ClientError> {
    let is_new = tx.kind_of(doc)?.is_none();
    let now_ms = tx.now_ms();
    tx.edit(doc, ARTICLE.genesis(), |inner| articles::save(inner, saved, now_ms).map_err(ClientError::from))?;
    Ok(is_new)
}

fn words_of(markdown: &str) -> Words {
    Words::of(&plain_text(&parse_body(markdown)))
}

fn new_id() -> String {
    let bytes: [u8; 16] = random_bytes(&mut SystemRandom::new());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shown(row: &Json, words: &Words) -> Highlight {
    let text = |name: &str| row.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
    let start = row.get("start").and_then(Json::as_u64).and_then(|start| usize::try_from(start).ok());
    let anchor =
        Anchor { exact: text("exact"), prefix: text("prefix"), suffix: text("suffix"), start: start.unwrap_or(0) };
    let place = words.find(&anchor);
    Highlight {
        id: text("id"),
        found: place.as_ref().map(|place| words.at(place)),
        start: place.map(|place| place.start as u64),
        note: text("note"),
        color: text("color"),
        exact: anchor.exact,
    }
}

fn as_file(article: &Article) -> String {
    let mut front: BTreeMap<&str, String> = BTreeMap::new();
    for name in ["title", "url", "byline", "site", "published", "lang", "state", "rating", "excerpt"] {
        if let Some(value) = article.values.get(name) {
            front.insert(name, value.to_string());
        }
    }
    if !article.tags.is_empty() {
        front.insert("tags", Json::from(article.tags.clone()).to_string());
    }
    if article.progress > 0 {
        front.insert("progress", article.progress.to_string());
    }
    let mut out = String::from("---\n");
    for (name, value) in front {
        out.push_str(&format!("{name}: {value}\n"));
    }
    out.push_str("---\n\n");
    out.push_str(article.body.trim_end());
    out.push('\n');
    if !article.highlights.is_empty() {
        out.push_str("\n## Highlights\n");
    }
    for highlight in &article.highlights {
        let quoted: Vec<String> = highlight.exact.lines().map(|line| format!("> {line}\n")).collect();
        out.push_str(&format!("\n{}", quoted.concat()));
        if !highlight.note.is_empty() {
            out.push_str(&format!("\n{}\n", highlight.note.trim()));
        }
    }
    out
}
