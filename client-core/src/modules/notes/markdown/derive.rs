//! What can be read off a note: title, headings, links, tags and plain text.
//!
//! All of it is read from the written form of each block, so that a link typed as text and a link made with a mark
//! count the same.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::inline::{Found, HTML, scan};
use super::write::inline_source;
use super::{Block, BlockKind, Body, FrontMatter, Parsed, mark};

/// Longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 512;
/// Most tags of one note; further ones are not read.
pub const TAGS_MAX: usize = 200;
/// Longest tag, in bytes; a longer one is text.
const TAG_BYTES_MAX: usize = 256;

/// A heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// 1 to 6.
    pub level: u8,
    /// Plain text.
    pub text: String,
}

/// How a note refers to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LinkKind {
    /// `[[target]]`.
    Wikilink,
    /// `![[target]]` or `![text](target)`.
    Embed,
    /// `[text](target)` or `<target>`.
    Link,
}

impl LinkKind {
    /// The name used in rows and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wikilink => "wikilink",
            Self::Embed => "embed",
            Self::Link => "link",
        }
    }
}

/// One reference out of a note.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkRef {
    /// How it is written.
    pub kind: LinkKind,
    /// Name of a note or file, or an address; without anchor. Empty: this note.
    pub target: String,
    /// What follows `#`: a heading, or `^` and a block id.
    pub anchor: Option<String>,
    /// The text shown instead of the target.
    pub alias: Option<String>,
}

/// The title: the property `title`, or the first heading of level 1, or `fallback`; when that is empty too, the first
/// heading or line. Trimmed, in NFC, at most [`TITLE_CHARS_MAX`] characters.
#[must_use]
pub fn title(parsed: &Parsed, fallback: &str) -> String {
    title_of(parsed.front_matter.as_ref(), &Derived::of(&parsed.body), fallback)
}

/// The same of a body that was read already.
pub(crate) fn title_of(matter: Option<&FrontMatter>, derived: &Derived, fallback: &str) -> String {
    let stated = matter.and_then(|matter| matter.property("title")).and_then(scalar_text);
    let line = || derived.plain.lines().map(clean_title).find(|line| !line.is_empty());
    let candidates: [&dyn Fn() -> Option<String>; 5] =
        [&|| stated.clone(), &|| derived.heading(1), &|| Some(fallback.to_owned()), &|| derived.heading(6), &line];
    let mut titles = candidates.iter().filter_map(|candidate| candidate()).map(|title| clean_title(&title));
    titles.find(|title| !title.is_empty()).unwrap_or_default()
}

fn clean_title(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").nfc().filter(|char| !char.is_control()).take(TITLE_CHARS_MAX).collect::<String>().trim().to_owned()
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Headings in order.
#[must_use]
pub fn headings(body: &Body) -> Vec<Heading> {
    Derived::of(body).headings
}

/// References in order, with repetitions; from marks and from text alike, not from code, math or HTML.
#[must_use]
pub fn links(body: &Body) -> Vec<LinkRef> {
    Derived::of(body).links
}

fn link(found: &Found, source: &str) -> Option<LinkRef> {
    let inner = &source[found.inner.clone()];
    let (kind, address, alias) = match found.name {
        mark::WIKILINK | mark::EMBED => {
            let kind = if found.name == mark::EMBED { LinkKind::Embed } else { LinkKind::Wikilink };
            let alias = (inner != found.value).then(|| inner.to_owned());
            // In a table the bar before the shown text is written `\|`.
            (kind, Cow::Borrowed(found.value.trim_end_matches('\\')), alias)
        }
        mark::LINK => (LinkKind::Link, destination(&found.value), Some(plain_inline(inner))),
        mark::IMAGE => (LinkKind::Embed, destination(&found.value), Some(plain_inline(inner))),
        mark::AUTOLINK => (LinkKind::Link, Cow::Borrowed(inner), None),
        _ => return None,
    };
    let (target, anchor) = match address.split_once('#') {
        Some((target, anchor)) if !has_scheme(&address) => (target, Some(anchor.trim().to_owned())),
        _ => (address.as_ref(), None),
    };
    Some(LinkRef { kind, target: target.trim().to_owned(), anchor, alias })
}

/// The address in a destination, without brackets and title; local ones without percent signs.
fn destination(value: &str) -> Cow<'_, str> {
    let value = value.trim_start();
    let address = match value.strip_prefix('<') {
        Some(inner) => inner.split('>').next().unwrap_or(inner),
        None => value.split([' ', '\n', '\t']).next().unwrap_or(value),
    };
    if has_scheme(address) { Cow::Borrowed(address) } else { percent_decoded(address) }
}

fn has_scheme(address: &str) -> bool {
    let scheme = address.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.len() > 1 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

pub(crate) fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%').then(|| after.get(..2)).flatten();
        let byte =
            code.and_then(|code| std::str::from_utf8(code).ok()).and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Tags without `#`, each once whatever its case, as first written, sorted: of the properties `tags` and `tag`, and
/// written in the text. At most [`TAGS_MAX`].
#[must_use]
pub fn tags(parsed: &Parsed) -> Vec<String> {
    tags_of(parsed.front_matter.as_ref(), &Derived::of(&parsed.body))
}

/// The same of a body that was read already.
pub(crate) fn tags_of(matter: Option<&FrontMatter>, derived: &Derived) -> Vec<String> {
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    let mut add = |tag: &str| {
        if tags.len() < TAGS_MAX && is_tag(tag) {
            tags.entry(tag.to_lowercase()).or_insert_with(|| tag.to_owned());
        }
    };
    matter.into_iter().for_each(|matter| stated_tags(matter, &mut add));
    derived.tags.iter().for_each(|tag| add(tag));
    tags.into_values().collect()
}

fn stated_tags(matter: &FrontMatter, add: &mut impl FnMut(&str)) {
    for (_, value) in matter.properties().iter().filter(|(name, _)| matches!(name.as_str(), "tags" | "tag")) {
        match value {
            Value::Array(items) => {
                items.iter().filter_map(scalar_text).for_each(|tag| add(tag.trim().trim_start_matches('#')));
            }
            value => {
                let text = scalar_text(value).unwrap_or_default();
                text.split([',', ' ', '\n']).for_each(|tag| add(tag.trim().trim_start_matches('#')));
            }
        }
    }
}

fn written_tags(text: &str, add: &mut impl FnMut(&str)) {
    let mut before = None;
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        let after = &rest[char.len_utf8()..];
        let starts = char == '#'
            && before.is_none_or(|before: char| before.is_whitespace() || "([{\"'*_=~,;:|>".contains(before));
        let length = if starts { after.find(|char| !is_tag_char(char)).unwrap_or(after.len()) } else { 0 };
        let tag = &after[..length];
        // `#12` is a number, not a tag.
        if length > 0 && tag.chars().any(|char| !char.is_ascii_digit()) {
            add(tag.trim_end_matches(['/', '-']));
        }
        rest = &after[length..];
        before = tag.chars().next_back().or(Some(char));
    }
}

fn is_tag(tag: &str) -> bool {
    !tag.is_empty() && tag.len() <= TAG_BYTES_MAX && tag.chars().all(|char| !char.is_whitespace() && !char.is_control())
}

/// Letters and digits of all scripts with their combining signs, emoji, and `_ - /`.
fn is_tag_char(char: char) -> bool {
    let punctuation = matches!(char, '\u{80}'..='\u{bf}' | '\u{2000}'..='\u{200c}' | '\u{200e}'..='\u{206f}' | '\u{3000}'..='\u{303f}' | '\u{ff00}'..='\u{ff0f}' | '\u{feff}');
    char.is_alphanumeric()
        || matches!(char, '_' | '-' | '/')
        || (!char.is_ascii() && !char.is_whitespace() && !punctuation)
}

/// The text without syntax, a line per block: what search indexes.
#[must_use]
pub fn plain_text(body: &Body) -> String {
    Derived::of(body).plain
}

/// Everything that is read off a body, each block written and scanned once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Derived {
    /// As [`plain_text`].
    pub(crate) plain: String,
    /// As [`headings`].
    pub(crate) headings: Vec<Heading>,
    /// As [`links`].
    pub(crate) links: Vec<LinkRef>,
    /// Tags written in the text, as written, with repetitions.
    pub(crate) tags: Vec<String>,
}

impl Derived {
    /// Reads a body.
    pub(crate) fn of(body: &Body) -> Self {
        let mut derived = Self::default();
        body.blocks.iter().for_each(|block| derived.read(block));
        derived
    }

    fn read(&mut self, block: &Block) {
        if !block.kind.is_prose() {
            let text = block.text();
            return match block.kind {
                BlockKind::Rule => {}
                BlockKind::Html => self.push_plain(&without_tags(&text)),
                _ => self.push_plain(&text),
            };
        }
        let source = inline_source(block);
        let found = scan(&source);
        let pieces = pieces(&source, &found);
        self.links.extend(found.iter().filter_map(|found| link(found, &source)));
        if source.contains('#') {
            let mut add = |tag: &str| self.tags.push(tag.to_owned());
            pieces.iter().filter(|piece| !piece.literal).for_each(|piece| written_tags(piece.text, &mut add));
        }
        if block.kind == BlockKind::Table {
            return self.push_plain(&plain_table(&block.text()));
        }
        let start = self.plain.len();
        push_pieces(&pieces, &mut self.plain);
        if let BlockKind::Heading(level) = block.kind {
            self.headings.push(Heading { level, text: self.plain[start..].trim().to_owned() });
        }
        if self.plain.len() > start {
            self.plain.push('\n');
        }
    }

    fn push_plain(&mut self, text: &str) {
        if !text.is_empty() {
            self.plain.push_str(text);
            self.plain.push('\n');
        }
    }

    /// The first heading of this level or above, as [`title`] takes it.
    fn heading(&self, level: u8) -> Option<String> {
        self.headings.iter().find(|heading| heading.level <= level).map(|heading| heading.text.clone())
    }
}

fn plain_table(text: &str) -> String {
    let rule = |line: &&str| line.chars().any(|char| !matches!(char, '|' | '-' | ':' | ' ' | '\t'));
    let rows = text.lines().filter(rule).map(|row| plain_inline(row).replace('|', " "));
    rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}

fn without_tags(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut inside = false;
    for char in html.chars() {
        match char {
            '<' => inside = true,
            '>' if inside => {
                inside = false;
                out.push(' ');
            }
            char if !inside => out.push(char),
            _ => {}
        }
    }
    out
}

/// Text between signs; `literal` where signs mean nothing (code, formulas, targets).
struct Piece<'a> {
    text: &'a str,
    literal: bool,
}

fn pieces<'a>(source: &'a str, found: &[Found]) -> Vec<Piece<'a>> {
    let literal: HashSet<usize> = found
        .iter()
        .filter(|found| {
            !matches!(found.name, mark::EMPHASIS | mark::STRONG | mark::STRIKE | mark::HIGHLIGHT | mark::LINK)
        })
        .map(|found| found.inner.start)
        .collect();
    let signs = |found: &Found| match found.name {
        HTML => [found.outer.clone(), found.outer.end..found.outer.end],
        _ => [found.outer.start..found.inner.start, found.inner.end..found.outer.end],
    };
    let mut signs: Vec<_> = found.iter().flat_map(signs).collect();
    signs.sort_by_key(|range| range.start);
    let mut pieces = Vec::with_capacity(signs.len() + 1);
    let mut at = 0;
    for sign in signs.into_iter().chain(std::iter::once(source.len()..source.len())) {
        if sign.start > at {
            pieces.push(Piece { text: &source[at..sign.start], literal: literal.contains(&at) });
        }
        at = at.max(sign.end);
    }
    pieces
}

fn plain_inline(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    push_pieces(&pieces(source, &scan(source)), &mut out);
    out
}

fn push_pieces(pieces: &[Piece<'_>], out: &mut String) {
    for piece in pieces {
        if piece.literal || !piece.text.contains('\\') {
            out.push_str(piece.text);
        } else {
            push_unescaped(piece.text, out);
        }
    }
}

/// Takes off backslashes before signs.
fn push_unescaped(text: &str, out: &mut String) {
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let escaped = (char == '\\').then(|| chars.next_if(char::is_ascii_punctuation)).flatten();
        out.push(escaped.unwrap_or(char));
    }
}
