//! Rows and search text of a note: pure functions of its document.

use std::collections::BTreeMap;

use automerge::{AutoCommit, ScalarValue};

use super::markdown::{self, LinkKind, LinkRef, Parsed};
use super::{body, front, note, tags};
use crate::document::Document;
use crate::modules::register::{cut, flag, fold, line, scalar, text, time, with_prefix};
use crate::projection::{Row, SearchText, Value};
use crate::registry::{LINE_CHARS_MAX, NOTE, NOTE_ALIAS, NOTE_LINK, NOTE_PROP, NOTE_TAG};

/// Characters of the body shown in a list.
const EXCERPT_CHARS_MAX: usize = 200;

/// A note read once, for rows and search alike.
pub(crate) struct Projected<'d> {
    document: &'d Document,
    parsed: Parsed,
    plain: String,
    aliases: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    title: String,
}

impl<'d> Projected<'d> {
    pub(crate) fn new(document: &'d Document) -> Self {
        let doc = document.read();
        let parsed = Parsed { front_matter: front::effective(doc), body: body::read(doc, None).unwrap_or_default() };
        let plain = markdown::plain_text(&parsed.body);
        let title = title(doc, &parsed, &plain);
        let (aliases, tags) = (aliases(doc), all_tags(doc, &parsed));
        Self { document, parsed, plain, aliases, tags, title }
    }

    /// Rows of all tables of a note, not sorted.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows = vec![self.note_row()];
        rows.extend(
            self.tags.iter().map(|(id, label)| row(NOTE_TAG.name, id, vec![id.as_str().into(), label.as_str().into()])),
        );
        rows.extend(
            self.aliases
                .iter()
                .map(|(key, alias)| row(NOTE_ALIAS.name, key, vec![alias.as_str().into(), key.as_str().into()])),
        );
        rows.extend(self.prop_rows());
        rows.extend(self.link_rows());
        rows
    }

    fn note_row(&self) -> Row {
        let doc = self.document.read();
        let updated = self.document.updated_ms();
        let trashed = time(doc, "del");
        let source_hash = match scalar(doc, "source:hash") {
            Some(ScalarValue::Bytes(bytes)) => Value::Blob(bytes),
            _ => Value::Null,
        };
        let values = vec![
            self.title.as_str().into(),
            Value::Text(fold(&self.title)),
            Value::Text(excerpt(&self.plain)),
            Value::Text(text(doc, "kind").unwrap_or_else(|| "note".to_owned())),
            text(doc, "notebook").into(),
            Value::Int(i64::from(flag(doc, "pinned"))),
            Value::Int(time(doc, "created").unwrap_or(updated)),
            Value::Int(updated),
            trashed.map_or(Value::Null, Value::Int),
            Value::Int(i64::from(note::is_edited_after_trash(self.document))),
            Value::Int(i64::try_from(self.plain.split_whitespace().count()).unwrap_or(i64::MAX)),
            text(doc, "source:path").into(),
            source_hash,
        ];
        row(NOTE.name, "", values)
    }

    fn prop_rows(&self) -> impl Iterator<Item = Row> {
        let properties = front::properties(self.document.read()).into_iter();
        properties
            .map(|(name, value)| row(NOTE_PROP.name, &name, vec![name.as_str().into(), Value::Text(value.to_string())]))
    }

    fn link_rows(&self) -> impl Iterator<Item = Row> {
        let links = markdown::links(&self.parsed.body).into_iter().filter(is_between_notes);
        links.enumerate().map(|(place, link)| {
            let key = link_key(&link);
            let values = vec![link.kind.as_str().into(), link.target.into(), Value::Text(key), link.anchor.into()];
            row(NOTE_LINK.name, &format!("{place:08}"), values)
        })
    }

    /// What search sees; nothing of a trashed note.
    pub(crate) fn search_text(&self) -> Option<SearchText> {
        if time(self.document.read(), "del").is_some() {
            return None;
        }
        let mut titles = vec![self.title.as_str()];
        titles.extend(self.aliases.values().map(String::as_str));
        let headings: Vec<String> =
            markdown::headings(&self.parsed.body).into_iter().map(|heading| heading.text).collect();
        let tags: Vec<&str> = self.tags.values().map(String::as_str).collect();
        Some(SearchText {
            title: titles.join("\n"),
            headings: headings.join("\n"),
            tags: tags.join("\n"),
            body: self.plain.clone(),
        })
    }
}

fn row(table: &'static str, key: &str, values: Vec<Value>) -> Row {
    Row { table, key: key.to_owned(), values }
}

/// The title that is shown: the register, or what the text offers.
fn title(doc: &AutoCommit, parsed: &Parsed, plain: &str) -> String {
    let stored = text(doc, "title").map(|title| line(&title)).filter(|title| !title.is_empty());
    let title = stored.unwrap_or_else(|| markdown::title(parsed, &first_line(plain)));
    cut(&title, LINE_CHARS_MAX).into_owned()
}

fn first_line(plain: &str) -> String {
    let found = plain.lines().map(str::trim).find(|line| !line.is_empty());
    found.map(|found| line(&cut(found, 80))).unwrap_or_default()
}

/// The first words, white space collapsed.
fn excerpt(plain: &str) -> String {
    let mut out = String::new();
    let mut length = 0;
    for word in plain.split_whitespace() {
        if length > 0 {
            out.push(' ');
        }
        out.push_str(word);
        length += word.chars().count() + 1;
        if length > EXCERPT_CHARS_MAX {
            break;
        }
    }
    cut(&out, EXCERPT_CHARS_MAX).into_owned()
}

/// Earlier titles and the property `aliases`, by folded name.
fn aliases(doc: &AutoCommit) -> BTreeMap<String, String> {
    let old =
        with_prefix(doc, "alias/").filter(|(_, value)| *value == ScalarValue::Boolean(true)).map(|(alias, _)| alias);
    let listed = ["aliases", "alias"].into_iter().filter_map(|name| front::property(doc, name)).flat_map(strings);
    let named = old.chain(listed).map(|alias| (fold(&line(&alias)), line(&alias)));
    named.filter(|(key, _)| !key.is_empty()).collect()
}

fn strings(value: serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::String(text) => vec![text],
        serde_json::Value::Array(items) => items.into_iter().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

/// Tags of the set, of the properties and of the text, id to label; the set's label comes first.
fn all_tags(doc: &AutoCommit, parsed: &Parsed) -> BTreeMap<String, String> {
    let mut all = tags::tags(doc);
    for name in markdown::tags(parsed) {
        let label = tags::label(&name);
        if !label.is_empty() {
            all.entry(tags::tag_id(&name)).or_insert(label);
        }
    }
    all
}

/// Links to notes: all wikilinks and embeds, and Markdown links to `.md` files.
fn is_between_notes(link: &LinkRef) -> bool {
    let is_file = !link.target.contains("://") && has_md_extension(&link.target);
    !link.target.is_empty() && (matches!(link.kind, LinkKind::Wikilink) || is_file || is_embedded_note(link))
}

fn is_embedded_note(link: &LinkRef) -> bool {
    link.kind == LinkKind::Embed && !link.target.contains("://")
}

fn has_md_extension(target: &str) -> bool {
    let end = target.len().checked_sub(3).and_then(|start| target.get(start..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(".md"))
}

/// What a link's target has in common with `note.title_key`: the last part of the path, without `.md`, folded.
fn link_key(link: &LinkRef) -> String {
    let target = match link.kind {
        LinkKind::Wikilink => link.target.clone(),
        _ => percent_decoded(&link.target),
    };
    let name = target.rsplit('/').next().unwrap_or_default();
    let name = if has_md_extension(name) { &name[..name.len() - 3] } else { name };
    fold(&line(name))
}

/// `%20` to a space and so on; what is no escape, or would be no UTF-8, stays.
fn percent_decoded(text: &str) -> String {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}
