//! Rows and search text of a note: pure functions of its document.

use std::collections::BTreeMap;
use std::ops::Bound;

use automerge::{ROOT, ReadDoc, ScalarValue, ValueRef};

use super::markdown::{self, Derived, FrontMatter, LinkKind, LinkRef};
use super::whole::WholeNote;
use super::{attachments, body, front, note, tags};
use crate::document::Document;
use crate::modules::attachment::ContentHash;
use crate::modules::register::{as_text, cut, fold, line, owned};
use crate::projection::{Row, SearchText, Value};
use crate::registry::{LINE_CHARS_MAX, NOTE, NOTE_ALIAS, NOTE_ATTACHMENT, NOTE_LINK, NOTE_PROP, NOTE_TAG};

/// Characters of the body shown in a list.
const EXCERPT_CHARS_MAX: usize = 200;

/// What a projection reads of a note besides its body.
pub(crate) struct Registers {
    /// By key; `None` for one that was taken away.
    values: BTreeMap<String, Option<ScalarValue>>,
    updated_ms: i64,
    edited_after_trash: bool,
}

impl Registers {
    fn of(document: &Document) -> Self {
        let doc = document.read();
        let read = doc.map_range(ROOT, ..).filter_map(|item| match &item.value {
            ValueRef::Object(_) => None,
            ValueRef::Scalar(_) => {
                let winner = owned(&item.value);
                let is_set = [tags::PREFIX, attachments::PREFIX].iter().any(|prefix| item.key.starts_with(prefix));
                let hidden = winner.is_none() && item.conflict && is_set;
                // An addition of a tag or attachment that is concurrent with a removal wins.
                let added = || tags::conflicting(doc, &item.key).map(ScalarValue::from);
                let value = if hidden { added() } else { winner };
                Some((item.key.into_owned(), value))
            }
        });
        Self {
            values: read.collect(),
            updated_ms: document.updated_ms(),
            edited_after_trash: note::is_edited_after_trash(document),
        }
    }

    fn of_whole(whole: &WholeNote, updated_ms: i64) -> Self {
        let values = whole.registers().iter().map(|(key, value)| (key.clone(), Some(value.clone())));
        // As a document has it: never before 1970.
        Self { values: values.collect(), updated_ms: updated_ms.max(0), edited_after_trash: false }
    }

    fn scalar(&self, key: &str) -> Option<&ScalarValue> {
        self.values.get(key)?.as_ref()
    }

    fn text(&self, key: &str) -> Option<&str> {
        as_text(self.scalar(key)?)
    }

    fn time(&self, key: &str) -> Option<i64> {
        match self.scalar(key)? {
            ScalarValue::Timestamp(ms) | ScalarValue::Int(ms) => Some(*ms),
            _ => None,
        }
    }

    fn flag(&self, key: &str) -> bool {
        matches!(self.scalar(key), Some(ScalarValue::Boolean(true)))
    }

    /// Registers whose key begins with `prefix`, the prefix taken off.
    fn with_prefix<'r>(&'r self, prefix: &'r str) -> impl Iterator<Item = (&'r str, Option<&'r ScalarValue>)> {
        let from = self.values.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.map_while(move |(key, value)| Some((key.strip_prefix(prefix)?, value.as_ref())))
    }

    fn properties(&self) -> impl Iterator<Item = (&str, Option<serde_json::Value>)> {
        let read = |value: &ScalarValue| serde_json::from_str(as_text(value)?).ok();
        self.with_prefix(front::PREFIX).map(move |(name, value)| (name, value.and_then(read)))
    }

    fn property(&self, name: &str) -> Option<serde_json::Value> {
        serde_json::from_str(self.text(&front::key(name))?).ok()
    }

    fn front_matter(&self) -> Option<FrontMatter> {
        front::with_registers(self.text("front"), self.properties().map(|(name, value)| (name.to_owned(), value)))
    }

    /// Earlier titles and the property `aliases`, by folded name.
    fn aliases(&self) -> BTreeMap<String, String> {
        let old = self.with_prefix("alias/").filter(|(_, value)| *value == Some(&ScalarValue::Boolean(true)));
        let old = old.map(|(alias, _)| alias.to_owned());
        let listed = ["aliases", "alias"].into_iter().filter_map(|name| self.property(name)).flat_map(strings);
        let named = old.chain(listed).map(|alias| (fold(&line(&alias)), line(&alias)));
        named.filter(|(key, _)| !key.is_empty()).collect()
    }

    /// Tags of the set, of the properties and of the text, id to label; the set's label comes first.
    fn tags(&self, matter: Option<&FrontMatter>, derived: &Derived) -> BTreeMap<String, String> {
        let set = self.with_prefix(tags::PREFIX);
        let mut all: BTreeMap<String, String> =
            set.filter_map(|(id, label)| Some((id.to_owned(), as_text(label?)?.to_owned()))).collect();
        for name in markdown::tags_of(matter, derived) {
            let label = tags::label(&name);
            if !label.is_empty() {
                all.entry(tags::tag_id(&name)).or_insert(label);
            }
        }
        all
    }

    /// The title that is shown: the register, or what the text offers.
    fn title(&self, matter: Option<&FrontMatter>, derived: &Derived) -> String {
        let stored = self.text("title").map(line).filter(|title| !title.is_empty());
        let title = stored.unwrap_or_else(|| markdown::title_of(matter, derived, &first_line(&derived.plain)));
        cut(&title, LINE_CHARS_MAX).into_owned()
    }
}

/// A note read once, for rows and search alike.
pub(crate) struct Projected {
    registers: Registers,
    derived: Derived,
    aliases: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    title: String,
}

impl Projected {
    /// Of a document; `derived` is what its body gives, if that is known.
    pub(crate) fn new(document: &Document, derived: Option<Derived>) -> Self {
        let read = || Derived::of(&body::read(document.read(), None).unwrap_or_default());
        Self::of(Registers::of(document), derived.unwrap_or_else(read))
    }

    /// Of a new note whose document was not built.
    pub(crate) fn of_whole(whole: &WholeNote, updated_ms: i64) -> Self {
        Self::of(Registers::of_whole(whole, updated_ms), whole.derived())
    }

    fn of(registers: Registers, derived: Derived) -> Self {
        let matter = registers.front_matter();
        let title = registers.title(matter.as_ref(), &derived);
        let (aliases, tags) = (registers.aliases(), registers.tags(matter.as_ref(), &derived));
        Self { registers, derived, aliases, tags, title }
    }

    /// What the body gave.
    pub(crate) fn into_derived(self) -> Derived {
        self.derived
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
        rows.extend(self.attachment_rows());
        rows.extend(self.link_rows());
        rows
    }

    fn note_row(&self) -> Row {
        let registers = &self.registers;
        let updated = registers.updated_ms;
        let source_hash = match registers.scalar("source:hash") {
            Some(ScalarValue::Bytes(bytes)) => Value::Blob(bytes.clone()),
            _ => Value::Null,
        };
        let owned = |key: &str| registers.text(key).map(str::to_owned);
        let values = vec![
            self.title.as_str().into(),
            Value::Text(fold(&self.title)),
            Value::Text(excerpt(&self.derived.plain)),
            registers.text("kind").unwrap_or("note").into(),
            owned("notebook").into(),
            Value::Int(i64::from(registers.flag("pinned"))),
            Value::Int(registers.time("created").unwrap_or(updated)),
            Value::Int(updated),
            registers.time("del").map_or(Value::Null, Value::Int),
            Value::Int(i64::from(registers.edited_after_trash)),
            Value::Int(i64::try_from(self.derived.plain.split_whitespace().count()).unwrap_or(i64::MAX)),
            owned("source:path").into(),
            source_hash,
        ];
        row(NOTE.name, "", values)
    }

    fn prop_rows(&self) -> impl Iterator<Item = Row> {
        let properties = self.registers.properties().filter_map(|(name, value)| Some((name, value?)));
        properties.map(|(name, value)| row(NOTE_PROP.name, name, vec![name.into(), Value::Text(value.to_string())]))
    }

    fn attachment_rows(&self) -> impl Iterator<Item = Row> {
        self.registers.with_prefix(attachments::PREFIX).filter_map(|(key, name)| {
            let hash: ContentHash = key.parse().ok()?;
            let name = cut(&line(as_text(name?)?), LINE_CHARS_MAX).into_owned();
            Some(row(NOTE_ATTACHMENT.name, key, vec![Value::Text(name), Value::Blob(hash.0.to_vec())]))
        })
    }

    fn link_rows(&self) -> impl Iterator<Item = Row> {
        let links = self.derived.links.iter().filter(|link| is_between_notes(link));
        links.enumerate().map(|(place, link)| {
            let key = link_key(link);
            let (target, anchor) = (link.target.as_str().into(), link.anchor.clone().into());
            let values = vec![link.kind.as_str().into(), target, Value::Text(key), anchor];
            row(NOTE_LINK.name, &format!("{place:08}"), values)
        })
    }

    /// What search sees; nothing of a trashed note.
    pub(crate) fn search_text(&self) -> Option<SearchText> {
        if self.registers.time("del").is_some() {
            return None;
        }
        let mut titles = vec![self.title.as_str()];
        titles.extend(self.aliases.values().map(String::as_str));
        let headings: Vec<&str> = self.derived.headings.iter().map(|heading| heading.text.as_str()).collect();
        let tags: Vec<&str> = self.tags.values().map(String::as_str).collect();
        Some(SearchText {
            title: titles.join("\n"),
            headings: headings.join("\n"),
            tags: tags.join("\n"),
            body: self.derived.plain.clone(),
        })
    }
}

fn row(table: &'static str, key: &str, values: Vec<Value>) -> Row {
    Row { table, key: key.to_owned(), values }
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

fn strings(value: serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::String(text) => vec![text],
        serde_json::Value::Array(items) => items.into_iter().flat_map(strings).collect(),
        _ => Vec::new(),
    }
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
