//! Lines to blocks: where each block of a text begins and ends, and what it is.
//!
//! Every line is looked at a bounded number of times: a search for an end that is not there (a formula, a comment) is
//! remembered, or takes the rest of the text.

use super::write::closing_fence;
use super::{BlockKind, step};

/// One line: its text without end, and where that stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) text: &'a str,
    pub(super) start: usize,
    pub(super) eol: &'a str,
}

impl Line<'_> {
    pub(super) const fn end(&self) -> usize {
        self.start + self.text.len()
    }

    pub(super) fn is_blank(&self) -> bool {
        step(1);
        self.text.trim_matches([' ', '\t']).is_empty()
    }
}

/// The lines of `text` from byte `from` on.
pub(super) fn lines_of(text: &str, from: usize) -> Vec<Line<'_>> {
    let mut start = from;
    let mut line = |whole| {
        let (text, eol) = split_eol(whole);
        let line = Line { text, start, eol };
        start += whole.len();
        line
    };
    text[from..].split_inclusive('\n').map(&mut line).collect()
}

fn split_eol(whole: &str) -> (&str, &str) {
    let text = whole.strip_suffix('\n').map_or(whole, |line| line.strip_suffix('\r').unwrap_or(line));
    whole.split_at(text.len())
}

/// White space at the start of a line.
pub(super) fn indent_of(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

fn is_code_indent(indent: &str) -> bool {
    indent.contains('\t') || indent.len() >= 4
}

/// Finds blocks one after the other.
pub(super) struct Blocks<'a, 'l> {
    lines: &'l [Line<'a>],
    /// A list is open: indented lines belong to its items.
    in_list: bool,
    /// No line from here on ends a formula.
    no_formula_end: bool,
}

impl<'a, 'l> Blocks<'a, 'l> {
    pub(super) const fn new(lines: &'l [Line<'a>]) -> Self {
        Self { lines, in_list: false, no_formula_end: false }
    }

    /// The block that begins with line `at`, which is not blank: its kind, and the line after it.
    pub(super) fn next(&mut self, at: usize) -> (BlockKind, usize) {
        let start = self.kind_at(at);
        self.in_list |= start.as_ref().is_some_and(BlockKind::is_item);
        let (kind, end) = match start {
            Some(kind) => {
                let end = self.end_of(&kind, at);
                (kind, end)
            }
            None => self.paragraph(at),
        };
        if !kind.is_item() && indent_of(self.lines[at].text).is_empty() {
            self.in_list = false;
        }
        (kind, end)
    }

    fn end_of(&mut self, kind: &BlockKind, at: usize) -> usize {
        let line = self.lines[at].text;
        let rest = &line[indent_of(line).len()..];
        match kind {
            BlockKind::Code => match fence_of(rest) {
                Some((sign, len)) if self.in_list || !is_code_indent(indent_of(line)) => self.fence_end(at, sign, len),
                _ => self.indented_end(at),
            },
            BlockKind::Quote | BlockKind::Callout => self.quote_end(at),
            BlockKind::Html => self.html_end(at, rest),
            BlockKind::Math => self.formula_end(at, rest).unwrap_or(at + 1),
            BlockKind::Table => self.table_end(at),
            kind if kind.is_item() || *kind == BlockKind::Footnote => self.text_end(at + 1),
            _ => at + 1,
        }
    }

    /// The end of the lines that continue a text.
    fn text_end(&mut self, from: usize) -> usize {
        let mut at = from;
        while at < self.lines.len() && !self.lines[at].is_blank() && !self.interrupts(at) {
            at += 1;
        }
        at
    }

    fn paragraph(&mut self, at: usize) -> (BlockKind, usize) {
        let mut end = at + 1;
        while end < self.lines.len() && !self.lines[end].is_blank() {
            if let Some(level) = underline_level(self.lines[end].text) {
                return (BlockKind::Heading(level), end + 1);
            }
            if self.interrupts(end) {
                break;
            }
            end += 1;
        }
        (BlockKind::Paragraph, end)
    }

    /// Whether line `at` ends a text before it.
    fn interrupts(&mut self, at: usize) -> bool {
        let line = self.lines[at].text;
        let rest = &line[indent_of(line).len()..];
        match self.kind_at(at) {
            None => false,
            Some(BlockKind::Code) => self.in_list || !is_code_indent(indent_of(line)),
            Some(kind) if kind.is_item() && !self.in_list => {
                let (marker, text) = item_parts(rest).unwrap_or(("", ""));
                let counts = marker.len() > 1;
                !text.is_empty() && (!counts || marker.trim_end_matches(['.', ')']) == "1")
            }
            Some(BlockKind::Html) => html_end_sign(rest).is_some() || is_html_block_tag(rest),
            Some(_) => true,
        }
    }

    /// The kind of block that begins with line `at`; `None`: a paragraph.
    fn kind_at(&mut self, at: usize) -> Option<BlockKind> {
        let line = self.lines[at].text;
        step(line.len() + 1);
        let indent = indent_of(line);
        let rest = &line[indent.len()..];
        if is_code_indent(indent) && !self.in_list {
            return Some(BlockKind::Code);
        }
        let kind = match *rest.as_bytes().first()? {
            b'`' | b'~' => fence_of(rest).map(|_| BlockKind::Code),
            b'#' => heading_level(rest).map(BlockKind::Heading),
            b'>' => Some(quote_kind(rest)),
            b'<' => is_html_start(rest).then_some(BlockKind::Html),
            b'$' => self.formula_end(at, rest).map(|_| BlockKind::Math),
            b'[' => footnote_label(rest).map(|_| BlockKind::Footnote),
            _ if is_rule(rest) => Some(BlockKind::Rule),
            _ => item_kind(rest),
        };
        kind.or_else(|| self.is_table(at).then_some(BlockKind::Table))
    }

    fn indented_end(&self, at: usize) -> usize {
        let inside = |line: &&Line<'_>| !line.is_blank() && is_code_indent(indent_of(line.text));
        at + self.lines[at..].iter().take_while(inside).count()
    }

    fn fence_end(&self, at: usize, sign: char, len: usize) -> usize {
        let indent = indent_of(self.lines[at].text);
        let closes = |line: &Line<'_>| {
            step(1);
            let text = line.text.strip_prefix(indent).unwrap_or(line.text);
            closing_fence(text, sign).is_some_and(|found| found >= len)
        };
        match self.lines[at + 1..].iter().position(closes) {
            Some(inside) => at + 1 + inside + 1,
            None => self.last_not_blank(at),
        }
    }

    /// The line after the last one that is not blank: what is not closed ends there.
    fn last_not_blank(&self, at: usize) -> usize {
        let blank = self.lines[at..].iter().rev().take_while(|line| line.is_blank()).count();
        self.lines.len() - blank
    }

    fn quote_end(&self, at: usize) -> usize {
        let indent = indent_of(self.lines[at].text);
        let quoted = |line: &&Line<'_>| line.text.strip_prefix(indent).is_some_and(|rest| rest.starts_with('>'));
        at + self.lines[at..].iter().take_while(quoted).count()
    }

    fn html_end(&self, at: usize, rest: &str) -> usize {
        match html_end_sign(rest) {
            Some(sign) => {
                let closes = |line: &Line<'_>| line.text.to_ascii_lowercase().contains(sign);
                self.lines[at..]
                    .iter()
                    .position(closes)
                    .map_or_else(|| self.last_not_blank(at), |inside| at + inside + 1)
            }
            None => at + self.lines[at..].iter().take_while(|line| !line.is_blank()).count(),
        }
    }

    fn formula_end(&mut self, at: usize, rest: &str) -> Option<usize> {
        let inner = rest.strip_prefix("$$")?.trim_end_matches([' ', '\t']);
        if let Some(close) = inner.find("$$") {
            return (close > 0 && close + 2 == inner.len()).then_some(at + 1);
        }
        if self.no_formula_end {
            return None;
        }
        let closes = |line: &Line<'_>| {
            step(1);
            line.text.trim_end_matches([' ', '\t']).ends_with("$$")
        };
        let inside = self.lines[at + 1..].iter().position(closes);
        self.no_formula_end = inside.is_none();
        inside.map(|inside| at + 1 + inside + 1)
    }

    fn is_table(&self, at: usize) -> bool {
        let head = self.lines[at].text;
        let next = self.lines.get(at + 1).map_or("", |line| line.text);
        head.contains('|') && is_table_rule(next) && cells(head) == cells(next)
    }

    fn table_end(&self, at: usize) -> usize {
        let row = |line: &&Line<'_>| !line.is_blank() && line.text.contains('|');
        at + 2 + self.lines[at + 2..].iter().take_while(row).count()
    }
}

fn quote_kind(rest: &str) -> BlockKind {
    let inner = rest[1..].strip_prefix(' ').unwrap_or(&rest[1..]);
    if callout_parts(inner).is_some() { BlockKind::Callout } else { BlockKind::Quote }
}

fn heading_level(rest: &str) -> Option<u8> {
    let len = rest.bytes().take_while(|byte| *byte == b'#').count();
    let ends = rest[len..].is_empty() || rest[len..].starts_with([' ', '\t']);
    ((1..=6).contains(&len) && ends).then_some(u8::try_from(len).unwrap_or(1))
}

/// The level of a heading whose second line this is.
fn underline_level(line: &str) -> Option<u8> {
    let indent = indent_of(line);
    let rest = line[indent.len()..].trim_end_matches([' ', '\t']);
    match rest.as_bytes().first()? {
        _ if is_code_indent(indent) => None,
        b'=' if rest.bytes().all(|byte| byte == b'=') => Some(1),
        b'-' if rest.bytes().all(|byte| byte == b'-') => Some(2),
        _ => None,
    }
}

fn is_rule(rest: &str) -> bool {
    let Some(sign @ ('-' | '*' | '_')) = rest.chars().next() else { return false };
    let mut count = 0;
    rest.chars().all(|char| {
        count += usize::from(char == sign);
        char == sign || matches!(char, ' ' | '\t')
    }) && count >= 3
}

/// Sign and length of the fence that a line opens.
fn fence_of(rest: &str) -> Option<(char, usize)> {
    let sign = rest.chars().next()?;
    let info = rest.trim_start_matches(sign);
    let len = rest.len() - info.len();
    (len >= 3 && (sign == '~' || !info.contains('`'))).then_some((sign, len))
}

/// The sign of a list item, and what follows the white space after it.
pub(super) fn item_parts(rest: &str) -> Option<(&str, &str)> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let marker = match rest.as_bytes().get(digits)? {
        b'-' | b'*' | b'+' if digits == 0 => 1,
        b'.' | b')' if (1..=9).contains(&digits) => digits + 1,
        _ => return None,
    };
    let after = &rest[marker..];
    let text = after.trim_start_matches([' ', '\t']);
    (after.is_empty() || text.len() < after.len()).then_some((&rest[..marker], text))
}

fn item_kind(rest: &str) -> Option<BlockKind> {
    let (marker, text) = item_parts(rest)?;
    Some(match todo_parts(text) {
        Some(_) => BlockKind::Todo,
        None if marker.len() > 1 => BlockKind::Ordered,
        None => BlockKind::Bullet,
    })
}

/// The character in the box of a todo, and what follows the box.
pub(super) fn todo_parts(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('[')?;
    let sign = inner.chars().next().filter(|sign| !matches!(sign, '[' | ']'))?;
    let after = inner[sign.len_utf8()..].strip_prefix(']')?;
    (after.is_empty() || after.starts_with([' ', '\t'])).then_some((&inner[..sign.len_utf8()], after))
}

/// Type, fold sign and title of a callout, from its first line.
pub(super) fn callout_parts(inner: &str) -> Option<(&str, &str, &str)> {
    let (kind, after) = inner.strip_prefix("[!")?.split_once(']')?;
    let title = after.strip_prefix(['+', '-']).unwrap_or(after);
    let fold = &after[..after.len() - title.len()];
    let named = !kind.is_empty() && kind.len() <= 64 && !kind.contains(['[', '\n']);
    (named && (title.is_empty() || title.starts_with(' '))).then_some((kind, fold, title))
}

/// The label of a footnote definition, and what follows the colon.
pub(super) fn footnote_label(rest: &str) -> Option<(&str, &str)> {
    let (label, after) = rest.strip_prefix("[^")?.split_once("]:")?;
    let named = !label.is_empty() && label.len() <= 256 && !label.contains([' ', '[', ']', '\t']);
    named.then_some((label, after))
}

fn is_table_rule(line: &str) -> bool {
    let line = line.trim_matches([' ', '\t']);
    let cell = |cell: &str| {
        let cell = cell.trim_matches([' ', '\t']);
        let dashes = cell.strip_prefix(':').unwrap_or(cell);
        let dashes = dashes.strip_suffix(':').unwrap_or(dashes);
        !dashes.is_empty() && dashes.bytes().all(|byte| byte == b'-')
    };
    line.contains('|') && outer_pipes_off(line).split('|').all(cell)
}

fn outer_pipes_off(line: &str) -> &str {
    let line = line.trim_matches([' ', '\t']);
    let line = line.strip_prefix('|').unwrap_or(line);
    line.strip_suffix('|').unwrap_or(line)
}

fn cells(line: &str) -> usize {
    let line = outer_pipes_off(line);
    line.matches('|').count() - line.matches("\\|").count()
}

/// Elements that make a block of HTML wherever they stand (CommonMark, HTML blocks, condition 6).
const HTML_BLOCK_TAGS: [&str; 62] = [
    "address",
    "article",
    "aside",
    "base",
    "basefont",
    "blockquote",
    "body",
    "caption",
    "center",
    "col",
    "colgroup",
    "dd",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "frame",
    "frameset",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hr",
    "html",
    "iframe",
    "legend",
    "li",
    "link",
    "main",
    "menu",
    "menuitem",
    "nav",
    "noframes",
    "ol",
    "optgroup",
    "option",
    "p",
    "param",
    "search",
    "section",
    "summary",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "title",
    "tr",
    "track",
    "ul",
];

fn tag_name(rest: &str) -> &str {
    let name = rest.trim_start_matches('<');
    let name = name.strip_prefix('/').unwrap_or(name);
    &name[..name.bytes().take_while(u8::is_ascii_alphanumeric).count()]
}

fn is_html_block_tag(rest: &str) -> bool {
    let name = tag_name(rest);
    let after = rest.split_once(name).map_or("", |(_, after)| after);
    !name.is_empty()
        && (after.is_empty() || after.starts_with([' ', '\t', '>', '/']))
        && HTML_BLOCK_TAGS.contains(&name.to_ascii_lowercase().as_str())
}

/// What ends a block of HTML that does not end at a blank line; in lower case.
fn html_end_sign(rest: &str) -> Option<&'static str> {
    if rest.starts_with("<!--") {
        return Some("-->");
    }
    let open = rest.len() > 1 && !rest.starts_with("</");
    match tag_name(rest).to_ascii_lowercase().as_str() {
        "script" if open => Some("</script>"),
        "pre" if open => Some("</pre>"),
        "style" if open => Some("</style>"),
        "textarea" if open => Some("</textarea>"),
        _ => None,
    }
}

fn is_html_start(rest: &str) -> bool {
    if html_end_sign(rest).is_some() || is_html_block_tag(rest) {
        return true;
    }
    // Any other tag, when it stands alone on its line.
    let alone = rest.trim_end_matches([' ', '\t']);
    let whole = alone.len() > 2 && alone.ends_with('>') && alone.find('>') == Some(alone.len() - 1);
    let name = tag_name(rest);
    whole && !name.is_empty() && !rest.contains("://") && !rest.contains('@')
}
