//! Markdown to a note's body and back, without loss: for every UTF-8 text `x`, `render(&parse(x)) == x`, byte for byte.
//!
//! ```text
//! text ── lines ──> source slices ── build ──> Block { kind, attrs, spans } ── write ──> text
//!        (scan)     one per block              └── written again and compared with its slice:
//!                                                  different → no marks; still different → verbatim
//! ```
//!
//! The guarantee holds by construction: a block is accepted only after its own rendering, in its place, gave back
//! its slice of the source. Attributes record syntax only where it differs from the default, so a usual note is
//! few blocks, few attributes and few marks (each costs operations in the document).
//!
//! The text of a span is Markdown source *without* the syntax of its marks: what is not recognised as a mark stays
//! as it was written, escapes included. Nothing is escaped on the way out. Spans are in normal form: none is empty,
//! neighbours differ in their marks; that is what the document can hold, because a mark covers characters.
//!
//! Deliberately absent: reference links and HTML are kept as text; tables, code, math and HTML carry no marks.

mod build;
mod derive;
mod front_matter;
mod inline;
mod scan;
mod write;

#[cfg(test)]
pub(super) mod tests;

#[cfg(test)]
thread_local! {
    /// Work done by the scanners on this thread; what tests measure instead of time.
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts work in tests; nothing else.
#[inline]
fn step(count: usize) {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + count));
    #[cfg(not(test))]
    let _ = count;
}

use std::collections::BTreeMap;

pub(crate) use derive::{Derived, percent_decoded, tags_of, title_of};
pub use derive::{Heading, LinkKind, LinkRef, TAGS_MAX, TITLE_CHARS_MAX, headings, links, plain_text, tags, title};
pub use front_matter::{FrontMatter, set_property};

/// Names of block attributes. A missing attribute means the default in brackets.
pub mod attr {
    /// State of a todo: [`TODO_OPEN`](super::TODO_OPEN) [the default], [`TODO_DONE`](super::TODO_DONE), or the
    /// one character that stands in the box.
    pub const STATE: &str = "state";
    /// Info string of a code fence, usually the language [none].
    pub const LANG: &str = "lang";
    /// Type of a callout, as written.
    pub const CALLOUT: &str = "callout";
    /// Fold sign of a callout, `+` or `-` [none].
    pub const FOLD: &str = "fold";
    /// Label of a footnote definition.
    pub const LABEL: &str = "label";
    /// White space before every line of the block [none].
    pub const INDENT: &str = "indent";
    /// Number of an ordered item [one more than the item before, or 1].
    pub const NUMBER: &str = "number";
    /// Sign of a list item [`-` for bullets and todos, `.` after the number].
    pub const MARKER: &str = "marker";
    /// White space between sign and text [one space].
    pub const SPACE: &str = "space";
    /// Character in the box of a done todo [`x`].
    pub const BOX: &str = "box";
    /// White space between box and text [one space].
    pub const PAD: &str = "pad";
    /// White space before the second and later lines of an item [as wide as the sign].
    pub const HANG: &str = "hang";
    /// Sign before each line of a quote [`> `].
    pub const PREFIX: &str = "prefix";
    /// Closing hashes of a heading, or the closing line of a fence; empty for a fence that is not closed.
    pub const CLOSE: &str = "close";
    /// Underline of a heading written in two lines [none: hashes].
    pub const UNDERLINE: &str = "underline";
    /// Opening of a code fence [three backticks]; `indented` for code by indentation.
    pub const FENCE: &str = "fence";
    /// A formula on one line, `$$x$$`.
    pub const ONE_LINE: &str = "oneline";
    /// The line of a thematic break [`---`].
    pub const RULE: &str = "rule";
    /// Blank lines before the block: a number, or the exact text. [0 first and between list items, else 1]
    pub const GAP: &str = "gap";
    /// What follows the last line of the last block [one line end]; ignored elsewhere.
    pub const END: &str = "end";
    /// Line end from here on: `crlf` or `lf` [as the block before; `lf` at first].
    pub const EOL: &str = "eol";
    /// Order of marks that cover the same characters, outermost first, by names [the order of `mark::ORDER`].
    pub const NEST: &str = "nest";
    /// The text is the exact source of one or more blocks, line ends included.
    pub const RAW: &str = "raw";
}

/// Names of marks. The value is empty unless said otherwise.
pub mod mark {
    /// `~~x~~`.
    pub const STRIKE: &str = "strike";
    /// `==x==`.
    pub const HIGHLIGHT: &str = "highlight";
    /// `*x*`; value `_` for `_x_`.
    pub const EMPHASIS: &str = "emphasis";
    /// `**x**`; value `__` for `__x__`.
    pub const STRONG: &str = "strong";
    /// `[x](value)`; the value is the destination, with its title if it has one.
    pub const LINK: &str = "link";
    /// `![x](value)`.
    pub const IMAGE: &str = "image";
    /// `[[value]]` when the text equals the value, else `[[value|text]]`.
    pub const WIKILINK: &str = "wikilink";
    /// `![[value]]`, or with the text behind `|` when it differs.
    pub const EMBED: &str = "embed";
    /// `<x>`, an address.
    pub const AUTOLINK: &str = "autolink";
    /// `` `x` ``; the value is the opening with its space when it is not the shortest that works.
    pub const CODE: &str = "code";
    /// `$x$`.
    pub const MATH: &str = "math";

    /// All of them, outermost first when they cover the same characters.
    pub const ORDER: [&str; 11] =
        [STRIKE, HIGHLIGHT, EMPHASIS, STRONG, LINK, IMAGE, WIKILINK, EMBED, AUTOLINK, CODE, MATH];
}

/// `state` of a todo that is not done.
pub const TODO_OPEN: &str = "open";
/// `state` of a todo that is done.
pub const TODO_DONE: &str = "done";

/// A note's text taken apart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parsed {
    /// The YAML block at the top, if there is one.
    pub front_matter: Option<FrontMatter>,
    /// Everything after it.
    pub body: Body,
}

/// The body of a note: blocks in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// The blocks.
    pub blocks: Vec<Block>,
}

/// One block: what stands between two block markers of the document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Block {
    /// What it is.
    pub kind: BlockKind,
    /// Its attributes; see [`attr`]. Unknown ones are kept and ignored.
    pub attrs: BTreeMap<String, String>,
    /// Its text, in normal form.
    pub spans: Vec<Span>,
}

/// Characters that carry the same marks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Span {
    /// Never empty in normal form. Lines are separated by `\n`, whatever the file used.
    pub text: String,
    /// Mark name to value; see [`mark`]. Unknown ones are kept and not rendered.
    pub marks: BTreeMap<String, String>,
}

/// The kinds of block.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum BlockKind {
    /// Lines of text.
    #[default]
    Paragraph,
    /// A heading of level 1 to 6.
    Heading(u8),
    /// An item of a list without numbers.
    Bullet,
    /// An item of a numbered list.
    Ordered,
    /// An item with a box; its state is an attribute, never text.
    Todo,
    /// A run of quoted lines; the text is without the signs.
    Quote,
    /// A quote with a type; the first line of the text is its title.
    Callout,
    /// A code fence, or code by indentation.
    Code,
    /// A whole table, as written.
    Table,
    /// A formula between `$$`.
    Math,
    /// HTML as written.
    Html,
    /// A thematic break; no text.
    Rule,
    /// The definition of a footnote.
    Footnote,
    /// A kind this version does not know; kept, and rendered as its text.
    Other(String),
}

impl BlockKind {
    /// The name stored in the document.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Paragraph => "paragraph",
            Self::Heading(level) => HEADING_NAMES[usize::from((*level).clamp(1, 6)) - 1],
            Self::Bullet => "bullet",
            Self::Ordered => "ordered",
            Self::Todo => "todo",
            Self::Quote => "quote",
            Self::Callout => "callout",
            Self::Code => "code",
            Self::Table => "table",
            Self::Math => "math",
            Self::Html => "html",
            Self::Rule => "rule",
            Self::Footnote => "footnote",
            Self::Other(name) => name,
        }
    }

    /// The kind with this stored name; unknown names are kept in [`BlockKind::Other`].
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "paragraph" => Self::Paragraph,
            "h1" => Self::Heading(1),
            "h2" => Self::Heading(2),
            "h3" => Self::Heading(3),
            "h4" => Self::Heading(4),
            "h5" => Self::Heading(5),
            "h6" => Self::Heading(6),
            "bullet" => Self::Bullet,
            "ordered" => Self::Ordered,
            "todo" => Self::Todo,
            "quote" => Self::Quote,
            "callout" => Self::Callout,
            "code" => Self::Code,
            "table" => Self::Table,
            "math" => Self::Math,
            "html" => Self::Html,
            "rule" => Self::Rule,
            "footnote" => Self::Footnote,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Whether blocks of this kind are list items.
    #[must_use]
    pub const fn is_item(&self) -> bool {
        matches!(self, Self::Bullet | Self::Ordered | Self::Todo)
    }

    /// Whether the text of such a block is prose with marks, links and tags.
    #[must_use]
    pub const fn is_prose(&self) -> bool {
        !matches!(self, Self::Code | Self::Math | Self::Html | Self::Rule)
    }
}

const HEADING_NAMES: [&str; 6] = ["h1", "h2", "h3", "h4", "h5", "h6"];

impl std::str::FromStr for BlockKind {
    type Err = std::convert::Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self::from_name(name))
    }
}

impl Block {
    /// A block of plain text.
    #[must_use]
    pub fn new(kind: BlockKind, text: impl Into<String>) -> Self {
        let text = text.into();
        let spans = if text.is_empty() { Vec::new() } else { vec![Span { text, marks: BTreeMap::new() }] };
        Self { kind, attrs: BTreeMap::new(), spans }
    }

    /// The same block with one more attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attrs.insert(name.to_owned(), value.into());
        self
    }

    /// An attribute.
    #[must_use]
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attrs.get(name).map(String::as_str)
    }

    /// The text of all spans.
    #[must_use]
    pub fn text(&self) -> String {
        self.spans.iter().map(|span| span.text.as_str()).collect()
    }

    /// Whether a todo is done; `None` for other blocks.
    #[must_use]
    pub fn is_done(&self) -> Option<bool> {
        (self.kind == BlockKind::Todo).then(|| self.attr(attr::STATE) == Some(TODO_DONE))
    }

    /// Brings spans that come from elsewhere (a document, an editor) into normal form.
    pub fn normalize(&mut self) {
        let mut spans: Vec<Span> = Vec::with_capacity(self.spans.len());
        for span in self.spans.drain(..).filter(|span| !span.text.is_empty()) {
            match spans.last_mut() {
                Some(last) if last.marks == span.marks => last.text.push_str(&span.text),
                _ => spans.push(span),
            }
        }
        self.spans = spans;
    }
}

/// Takes a text apart. Never fails: what is not understood is kept verbatim. Time and memory are linear in the text.
#[must_use]
pub fn parse(text: &str) -> Parsed {
    let (front_matter, body) = FrontMatter::split(text);
    Parsed { front_matter, body: parse_body(body) }
}

/// As [`parse`], for a text without front matter.
#[must_use]
pub fn parse_body(text: &str) -> Body {
    build::build_body(text)
}

/// The Markdown text. Of a parsed text it is the text itself, byte for byte.
#[must_use]
pub fn render(parsed: &Parsed) -> String {
    let mut out = String::new();
    if let Some(front_matter) = &parsed.front_matter {
        out.push_str(front_matter.raw());
    }
    write::write_body(&parsed.body, &mut out);
    out
}

/// As [`render`], for a body alone.
#[must_use]
pub fn render_body(body: &Body) -> String {
    let mut out = String::new();
    write::write_body(body, &mut out);
    out
}
