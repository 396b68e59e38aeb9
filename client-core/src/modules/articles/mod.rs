//! Articles: pages kept to be read offline, what was highlighted in them, and the feeds that bring more.
//!
//! | file | what |
//! |---|---|
//! | `declared` | what they are made of |
//! | `address` | one address for one page |
//! | `anchor` | where a highlight is, in a text that may have changed |
//!
//! An article is a document that follows from its address ([`article_doc`]): saved twice, or brought by a feed on two devices,
//! it is one. Its text is one register: the last extraction counts whole.

pub mod address;
pub mod anchor;
pub mod declared;

use automerge::{AutoCommit, ROOT, ReadDoc, ScalarValue};
use lifeos_sync_protocol::ids::{DocId, SpaceId};

use super::entity;
use crate::document::{DocumentError, singleton_doc_id};
use crate::modules::register::line;
use anchor::Anchor;
use declared::{ADDRESS_BYTES_MAX, ARTICLE, ARTICLE_BYTES_MAX, FEED};

/// Tags that a page comes with.
const TAGS_MAX: usize = 50;

/// What is known of a page; empty is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Its canonical address.
    pub url: String,
    /// Title.
    pub title: String,
    /// Who wrote it.
    pub byline: String,
    /// Where it was published.
    pub site: String,
    /// The day, `2026-03-08`.
    pub published: String,
    /// Language.
    pub lang: String,
    /// What it is about.
    pub excerpt: String,
    /// Text as Markdown.
    pub body: String,
    /// The feed it came by.
    pub feed: Option<DocId>,
    /// What the feed calls it.
    pub guid: String,
    /// What it is filed under there; only of a page that is new.
    pub tags: Vec<String>,
}

/// The document of a page.
#[must_use]
pub fn article_doc(space: &SpaceId, canonical: &str) -> DocId {
    singleton_doc_id(space, ARTICLE.name, address::key(canonical))
}

/// The document of a feed.
#[must_use]
pub fn feed_doc(space: &SpaceId, canonical: &str) -> DocId {
    singleton_doc_id(space, FEED.name, address::key(canonical))
}

/// As much of a text as a field takes, cut at a character.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Writes what is known of a page into its document, a new one or one that is there; what is not known stays.
///
/// # Errors
/// [`DocumentError::InvalidValue`].
pub fn save(doc: &mut AutoCommit, saved: &Saved, now_ms: i64) -> Result<(), DocumentError> {
    let is_new = doc.get(ROOT, "created")?.is_none();
    let title = line(&saved.title);
    let words = saved.body.split_whitespace().count();
    let mut fields: Vec<(&str, ScalarValue)> = vec![("url", saved.url.as_str().into())];
    let lines = [
        ("title", &title),
        ("byline", &line(&saved.byline)),
        ("site", &line(&saved.site)),
        ("lang", &line(&saved.lang)),
    ];
    let lines = lines.map(|(name, text)| (name, cut_line(text)));
    fields.extend(lines.iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (*name, text.as_str().into())));
    if saved.published.parse::<jiff::civil::Date>().is_ok() {
        fields.push(("published", saved.published.as_str().into()));
    }
    if !saved.excerpt.is_empty() {
        fields.push(("excerpt", cut(&saved.excerpt, 4 * 1024).into()));
    }
    if !saved.body.is_empty() {
        fields.push(("body", cut(&saved.body, ARTICLE_BYTES_MAX).into()));
        fields.push(("words", i64::try_from(words).unwrap_or(i64::MAX).into()));
    }
    if let Some(feed) = saved.feed {
        fields.push(("feed", feed.to_string().into()));
    }
    if !saved.guid.is_empty() {
        fields.push(("guid", cut(&saved.guid, ADDRESS_BYTES_MAX).into()));
    }
    if is_new {
        fields.push(("state", "inbox".into()));
        entity::create(doc, &ARTICLE, &fields, now_ms)?;
        let tags = saved.tags.iter().map(|tag| cut_line(&line(tag))).filter(|tag| !tag.is_empty());
        return tags.take(TAGS_MAX).try_for_each(|tag| entity::tag(doc, &ARTICLE, "tag", &tag));
    }
    fields.retain(|(name, value)| {
        let field = ARTICLE.field_named(name);
        field.and_then(|field| entity::value(doc, field)).as_ref() != Some(value)
    });
    entity::set_all(doc, &ARTICLE, &fields)
}

/// A line that a field takes.
fn cut_line(text: &str) -> String {
    let text: String = text.chars().take(crate::registry::LINE_CHARS_MAX).collect();
    text.trim_end().to_owned()
}

/// Highlights a passage.
///
/// # Errors
/// [`DocumentError::InvalidValue`], [`DocumentError::InvalidEdit`].
pub fn highlight(
    doc: &mut AutoCommit,
    id: &str,
    anchor: &Anchor,
    (note, color): (&str, &str),
    now_ms: i64,
) -> Result<(), DocumentError> {
    let mut fields: Vec<(&str, ScalarValue)> = vec![
        ("exact", anchor.exact.as_str().into()),
        ("prefix", anchor.prefix.as_str().into()),
        ("suffix", anchor.suffix.as_str().into()),
        ("start", i64::try_from(anchor.start).unwrap_or(i64::MAX).into()),
        ("color", color.into()),
        ("made", ScalarValue::Timestamp(now_ms)),
    ];
    if !note.is_empty() {
        fields.push(("note", note.into()));
    }
    entity::put_row(doc, &ARTICLE, "highlight", id, &fields)
}

/// Says how far this device is, per mille; what other devices said stays, and the furthest counts.
///
/// # Errors
/// [`DocumentError::InvalidValue`].
pub fn read_to(doc: &mut AutoCommit, per_mille: i64) -> Result<(), DocumentError> {
    let stream = doc.get_actor().to_hex_string();
    entity::put_row(doc, &ARTICLE, "reading", &stream, &[("progress", per_mille.into())])
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::StreamId;

    use super::*;
    use crate::document::Document;

    fn saved(body: &str) -> Saved {
        Saved { url: "https://x.org/a".into(), title: " A\npage ".into(), body: body.into(), ..Saved::default() }
    }

    fn document(stream: u8) -> Document {
        Document::new(article_doc(&SpaceId([1; 32]), "https://x.org/a"), ARTICLE.genesis(), StreamId([stream; 16]))
            .unwrap()
    }

    #[test]
    fn a_page_that_two_devices_save_is_one_and_stands_there_once() {
        let (mut one, mut other) = (document(1), document(2));
        assert_eq!(one.id(), article_doc(&SpaceId([1; 32]), "http://x.org/a"));
        one.edit(1, |doc| save(doc, &saved("same words"), 1)).unwrap();
        other.edit(2, |doc| save(doc, &saved("same words"), 2)).unwrap();
        let (mut left, mut right) = (one.read().clone(), other.read().clone());
        left.merge(&mut right).unwrap();
        let body = entity::value(&left, ARTICLE.field_named("body").unwrap());
        assert_eq!(body, Some("same words".into()));
        assert_eq!(entity::value(&left, ARTICLE.field_named("words").unwrap()), Some(2_i64.into()));
    }

    #[test]
    fn saving_again_keeps_what_people_did_and_writes_nothing_that_is_the_same() {
        let mut document = document(1);
        document.edit(1, |doc| save(doc, &saved("words"), 1)).unwrap();
        document.edit(2, |doc| entity::set(doc, &ARTICLE, "state", "done")).unwrap();
        let (_, change) = document.edit(3, |doc| save(doc, &saved("words"), 3)).unwrap();
        assert!(change.is_none());
        document.edit(4, |doc| save(doc, &Saved { title: String::new(), ..saved("new words") }, 4)).unwrap();
        let value = |name: &str| entity::value(document.read(), ARTICLE.field_named(name).unwrap());
        assert_eq!(
            (value("state"), value("title"), value("body")),
            (Some("done".into()), Some("A page".into()), Some("new words".into()))
        );
    }

    #[test]
    fn a_page_of_any_size_is_kept_as_far_as_it_fits() {
        let mut document = document(1);
        let long = Saved {
            title: "é".repeat(9_000),
            excerpt: "é".repeat(9_000),
            byline: "x\u{0}y".into(),
            published: "never".into(),
            ..saved(&"é".repeat(1 << 20))
        };
        document.edit(1, |doc| save(doc, &long, 1)).unwrap();
        let body = entity::value(document.read(), ARTICLE.field_named("body").unwrap()).unwrap();
        assert_eq!(body.into_string().unwrap().len(), ARTICLE_BYTES_MAX);
    }

    #[test]
    fn the_furthest_device_counts() {
        let mut document = document(1);
        document.edit(1, |doc| save(doc, &saved("words"), 1)).unwrap();
        document.edit(2, |doc| read_to(doc, 300)).unwrap();
        document.edit(3, |doc| read_to(doc, 200)).unwrap();
        let entries = entity::entries(document.read(), ARTICLE.family("reading").unwrap());
        assert_eq!(entries.len(), 1);
        assert!(document.edit(4, |doc| read_to(doc, 1_001)).is_err());
    }
}
