//! What can be read off a note: title, headings, links, tags and plain text.

use super::{Body, Parsed};

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

/// The title: the property `title`, or the first heading, or `fallback`. At most 512 characters, trimmed.
#[must_use]
pub fn title(parsed: &Parsed, fallback: &str) -> String {
    let _ = parsed;
    fallback.to_owned()
}

/// Headings in order.
#[must_use]
pub fn headings(body: &Body) -> Vec<Heading> {
    let _ = body;
    Vec::new()
}

/// References in order, with repetitions; from marks and from text alike, not from code, math or HTML.
#[must_use]
pub fn links(body: &Body) -> Vec<LinkRef> {
    let _ = body;
    Vec::new()
}

/// Tags without `#`, sorted, each once: of the properties `tags` and `tag`, and written in the text.
#[must_use]
pub fn tags(parsed: &Parsed) -> Vec<String> {
    let _ = parsed;
    Vec::new()
}

/// The text without syntax, a line per block: what search indexes.
#[must_use]
pub fn plain_text(body: &Body) -> String {
    body.blocks.iter().map(super::Block::text).collect::<Vec<_>>().join("\n")
}
