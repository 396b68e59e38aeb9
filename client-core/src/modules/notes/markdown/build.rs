//! From slices of source to blocks, each accepted only when writing it again gives the slice back.

use super::inline::to_spans;
use super::scan::{self, Blocks, Line, callout_parts, footnote_label, indent_of, item_parts, todo_parts};
use super::write::{Context, GAP_LINES_MAX, INDENTED, Writer, hang_of};
use super::{Block, BlockKind, Body, TODO_DONE, TODO_OPEN, attr};

/// Blocks of one note; what follows is one verbatim block. Writing blocks into a document costs more than
/// proportionally many steps: 500, 1,000 and 2,000 took 1, 3 and 8 units of time.
pub(super) const BLOCKS_MAX: usize = 4_000;
/// Marks of one note; what follows stays text, which links, tags and search read just as well. Writing marks into a
/// document takes time that grows with their square: 250, 500 and 1,000 took 1, 5 and 20 units.
pub(super) const MARKS_MAX: usize = 500;

pub(super) fn build_body(text: &str) -> Body {
    let mark_bytes = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let lines = scan::lines_of(text, mark_bytes);
    let mut blocks = Blocks::new(&lines);
    let mut out = String::with_capacity(text.len());
    let content_end = lines.iter().rev().find(|line| !line.is_blank()).map_or(0, Line::end);
    let mut builder = Builder { text, content_end, done: 0, writer: Writer::new(&mut out), body: Vec::new(), marks: 0 };
    let mut at = 0;
    while let Some(blank) = lines[at..].iter().position(|line| !line.is_blank()) {
        at += blank;
        if builder.body.len() + 1 == BLOCKS_MAX {
            builder.add_raw(BlockKind::Paragraph, lines[at].start, content_end);
            break;
        }
        let (kind, end) = blocks.next(at);
        builder.add(&kind, &lines[at..end]);
        at = end;
    }
    builder.finish()
}

/// Blocks so far, and the text they give.
struct Builder<'a, 'o> {
    text: &'a str,
    /// Where the last line ends that is not blank.
    content_end: usize,
    /// Bytes of the text that the blocks give already.
    done: usize,
    writer: Writer<'o>,
    body: Vec<Block>,
    marks: usize,
}

impl Builder<'_, '_> {
    fn add(&mut self, kind: &BlockKind, lines: &[Line<'_>]) {
        let end = lines[lines.len() - 1].end();
        let gap = self.done..lines[0].start;
        let inner = lines[..lines.len() - 1].iter().map(|line| line.eol);
        let ends = scan::lines_of(&self.text[gap.clone()], 0);
        let crlf = one_line_end(ends.iter().map(|line| line.eol).filter(|eol| !eol.is_empty()).chain(inner));
        let accepted = match (crlf, plain_block(kind, lines, &self.writer.context)) {
            (Ok(crlf), Some(plain)) => self.try_forms(plain, crlf, &self.text[gap.clone()], end),
            _ => false,
        };
        if !accepted {
            self.add_raw(raw_kind(kind), gap.end, end);
        }
        self.done = end;
    }

    fn add_raw(&mut self, kind: BlockKind, start: usize, end: usize) {
        let mut raw = Block::new(kind, &self.text[start..end]).with(attr::RAW, "1");
        self.state_gap(&mut raw, &self.text[self.done..start]);
        self.writer.block(&raw, true);
        self.body.push(raw);
        self.done = end;
    }

    /// The block with its marks, else without.
    fn try_forms(&mut self, mut plain: Block, crlf: Option<bool>, gap: &str, end: usize) -> bool {
        let before = self.writer.context.clone();
        if let Some(crlf) = crlf.filter(|crlf| *crlf != before.crlf) {
            plain.attrs.insert(attr::EOL.to_owned(), if crlf { "crlf" } else { "lf" }.to_owned());
            self.writer.context.crlf = crlf;
        }
        self.state_gap(&mut plain, gap);
        self.writer.context.crlf = before.crlf;
        let marked = with_marks(&plain).filter(|_| self.marks < MARKS_MAX);
        let wanted = &self.text[self.done..end];
        for block in marked.into_iter().chain([plain]) {
            let written = self.writer.out.len();
            self.writer.block(&block, end == self.content_end);
            if self.writer.out[written..] == *wanted {
                self.marks += block.spans.iter().map(|span| span.marks.len()).sum::<usize>();
                self.body.push(block);
                return true;
            }
            self.writer.out.truncate(written);
            self.writer.context = before.clone();
        }
        false
    }

    /// States what stands before a block, where it is not what the block would get anyway.
    fn state_gap(&self, block: &mut Block, gap: &str) {
        let context = &self.writer.context;
        let first = context.before.is_none();
        let eol = context.eol();
        let pure = gap.len().is_multiple_of(eol.len()) && gap == eol.repeat(gap.len() / eol.len());
        let count = (gap.len() / eol.len()).saturating_sub(usize::from(!first));
        if pure && count == context.default_gap(&block.kind) {
            return;
        }
        let stated = if pure && count <= GAP_LINES_MAX { count.to_string() } else { gap.to_owned() };
        block.attrs.insert(attr::GAP.to_owned(), stated);
    }

    fn finish(mut self) -> Body {
        let rest = &self.text[self.done..];
        match self.body.last_mut() {
            Some(last) if rest != self.writer.context.eol() => {
                last.attrs.insert(attr::END.to_owned(), rest.to_owned());
            }
            Some(_) => {}
            None if rest.is_empty() => {}
            None => {
                let blank = Block::new(BlockKind::Paragraph, rest).with(attr::RAW, "1").with(attr::END, "");
                self.body.push(blank);
            }
        }
        Body { blocks: self.body }
    }
}

/// Whether the line ends are all CR LF; `None` when there is none, an error when they differ.
fn one_line_end<'a>(mut ends: impl Iterator<Item = &'a str>) -> Result<Option<bool>, ()> {
    let Some(first) = ends.next() else { return Ok(None) };
    ends.all(|end| end == first).then_some(Some(first == "\r\n")).ok_or(())
}

/// Verbatim text of these kinds is not prose; everything else is kept as a paragraph.
fn raw_kind(kind: &BlockKind) -> BlockKind {
    match kind {
        BlockKind::Code | BlockKind::Math | BlockKind::Html | BlockKind::Table => kind.clone(),
        _ => BlockKind::Paragraph,
    }
}

fn with_marks(plain: &Block) -> Option<Block> {
    let text = plain.spans.first()?.text.as_str();
    let holds_fence = || text.split('\n').any(|line| line.trim_start().starts_with("```"));
    let marked = match plain.kind {
        BlockKind::Table => false,
        BlockKind::Quote | BlockKind::Callout => !holds_fence(),
        _ => plain.kind.is_prose(),
    };
    let (spans, nest) = to_spans(text).filter(|_| marked)?;
    let mut block = Block { spans, ..plain.clone() };
    if let Some(nest) = nest {
        block.attrs.insert(attr::NEST.to_owned(), nest);
    }
    Some(block)
}

/// The block without marks and without what depends on its place; `None` when only verbatim text will do.
fn plain_block(kind: &BlockKind, lines: &[Line<'_>], context: &Context) -> Option<Block> {
    let first = lines[0].text;
    let own_hang = kind.is_item() || *kind == BlockKind::Footnote;
    let indent = if own_hang { indent_of(first) } else { common_indent(kind, lines)? };
    let mut texts = lines.iter().map(|line| line.text).collect::<Vec<_>>();
    let indented = if own_hang { 1 } else { texts.len() };
    for text in texts.iter_mut().take(indented) {
        *text = text.strip_prefix(indent).unwrap_or(text);
    }
    let mut block = Block { kind: kind.clone(), ..Block::default() };
    if !indent.is_empty() {
        block.attrs.insert(attr::INDENT.to_owned(), indent.to_owned());
    }
    match kind {
        BlockKind::Heading(_) => heading(&mut block, &texts),
        BlockKind::Bullet | BlockKind::Ordered | BlockKind::Todo => item(&mut block, &texts, context)?,
        BlockKind::Quote | BlockKind::Callout => quote(&mut block, &texts)?,
        BlockKind::Code => code(&mut block, &texts)?,
        BlockKind::Math => math(&mut block, &texts)?,
        BlockKind::Footnote => footnote(&mut block, &texts)?,
        BlockKind::Rule => state(&mut block, attr::RULE, texts[0], "---"),
        _ => set_text(&mut block, texts.join("\n")),
    }
    Some(block)
}

/// White space before every line; none when the lines of a text differ, `None` where it must not differ.
fn common_indent<'a>(kind: &BlockKind, lines: &[Line<'a>]) -> Option<&'a str> {
    let first = lines[0].text;
    let mut indent = indent_of(first);
    if *kind == BlockKind::Code
        && !first[indent.len()..].starts_with("```")
        && !first[indent.len()..].starts_with("~~~")
    {
        indent = if indent.starts_with('\t') { "\t" } else { &indent[..indent.len().min(4)] };
    }
    let common = lines.iter().all(|line| line.text.is_empty() || line.text.starts_with(indent));
    match kind {
        _ if common => Some(indent),
        BlockKind::Paragraph | BlockKind::Heading(_) => Some(""),
        _ => None,
    }
}

fn set_text(block: &mut Block, text: String) {
    block.spans = Block::new(BlockKind::Paragraph, text).spans;
}

fn state(block: &mut Block, name: &str, value: &str, usual: &str) {
    if value != usual {
        block.attrs.insert(name.to_owned(), value.to_owned());
    }
}

fn split_blank(text: &str) -> (&str, &str) {
    text.split_at(indent_of(text).len())
}

fn heading(block: &mut Block, texts: &[&str]) {
    if let Some((underline, text)) = texts.split_last().filter(|(_, text)| !text.is_empty()) {
        block.attrs.insert(attr::UNDERLINE.to_owned(), (*underline).to_owned());
        return set_text(block, text.join("\n"));
    }
    let (space, text) = split_blank(texts[0].trim_start_matches('#'));
    let bare = text.trim_end_matches([' ', '\t']);
    let open = bare.trim_end_matches('#');
    let closed = open.len() < bare.len() && (open.is_empty() || open.ends_with([' ', '\t']));
    let content = if closed { open.trim_end_matches([' ', '\t']) } else { text };
    state(block, attr::SPACE, space, " ");
    state(block, attr::CLOSE, &text[content.len()..], "");
    set_text(block, content.to_owned());
}

fn item(block: &mut Block, texts: &[&str], context: &Context) -> Option<()> {
    let (marker, text) = item_parts(texts[0])?;
    let space = &texts[0][marker.len()..texts[0].len() - text.len()];
    state(block, attr::SPACE, space, " ");
    let opening = format!("{marker}{space}");
    let mut first = text;
    match block.kind {
        BlockKind::Ordered => {
            let (digits, sign) = marker.split_at(marker.len() - 1);
            let indent = block.attr(attr::INDENT).unwrap_or("");
            let expected = context.expected_number(indent).to_string();
            state(block, attr::NUMBER, digits, &expected);
            state(block, attr::MARKER, sign, ".");
        }
        BlockKind::Todo => {
            let (sign, after) = todo_parts(text)?;
            let (pad, text) = split_blank(after);
            state(block, attr::MARKER, marker, "-");
            state(block, attr::PAD, pad, " ");
            let done = matches!(sign, "x" | "X");
            let name = if done { TODO_DONE } else { sign };
            block.attrs.insert(attr::STATE.to_owned(), if sign == " " { TODO_OPEN } else { name }.to_owned());
            state(block, attr::BOX, if done { sign } else { "x" }, "x");
            first = text;
        }
        _ => state(block, attr::MARKER, marker, "-"),
    }
    let usual = hang_of(block, &opening);
    hanging_text(block, first, &texts[1..], &usual);
    Some(())
}

/// First line and the lines below it, without the white space they share.
fn hanging_text(block: &mut Block, first: &str, more: &[&str], usual: &str) {
    let shared = more.first().map_or(usual, |line| indent_of(line));
    let hang = if more.iter().all(|line| line.starts_with(usual)) {
        usual
    } else if more.iter().all(|line| line.starts_with(shared)) {
        shared
    } else {
        ""
    };
    state(block, attr::HANG, hang, usual);
    let mut text = first.to_owned();
    for line in more {
        text.push('\n');
        text.push_str(&line[hang.len()..]);
    }
    set_text(block, text);
}

fn quote(block: &mut Block, texts: &[&str]) -> Option<()> {
    let spaced = texts.iter().all(|text| *text == ">" || (text.starts_with("> ") && text.len() > 2));
    let prefix = if spaced { "> " } else { ">" };
    state(block, attr::PREFIX, prefix, "> ");
    let mut text = texts.iter().map(|text| text.strip_prefix(prefix).unwrap_or("")).collect::<Vec<_>>().join("\n");
    if block.kind == BlockKind::Callout {
        let (first, rest) = text.split_at(text.find('\n').unwrap_or(text.len()));
        let (kind, fold, title) = callout_parts(first)?;
        let joined = format!("{}{rest}", title.strip_prefix(' ').unwrap_or(title));
        block.attrs.insert(attr::CALLOUT.to_owned(), kind.to_owned());
        state(block, attr::FOLD, fold, "");
        text = joined;
    }
    set_text(block, text);
    Some(())
}

fn code(block: &mut Block, texts: &[&str]) -> Option<()> {
    let sign = if texts[0].starts_with('~') { '~' } else { '`' };
    let info = texts[0].trim_start_matches(sign);
    if texts[0].len() - info.len() < 3 {
        block.attrs.insert(attr::FENCE.to_owned(), INDENTED.to_owned());
        set_text(block, texts.join("\n"));
        return Some(());
    }
    let fence = &texts[0][..texts[0].len() - info.len()];
    let (space, lang) = split_blank(info);
    state(block, attr::FENCE, &format!("{fence}{space}"), "```");
    state(block, attr::LANG, lang, "");
    let closed = |last: &&&str| super::write::closing_fence(last, sign).is_some_and(|len| len >= fence.len());
    let content = match texts[1..].last().filter(closed) {
        Some(close) => {
            state(block, attr::CLOSE, close, fence);
            &texts[1..texts.len() - 1]
        }
        None => {
            block.attrs.insert(attr::CLOSE.to_owned(), String::new());
            &texts[1..]
        }
    };
    let text = content.join("\n");
    // One empty line and none at all would be the same text.
    let ambiguous = text.is_empty() && !content.is_empty();
    set_text(block, text);
    (!ambiguous).then_some(())
}

fn math(block: &mut Block, texts: &[&str]) -> Option<()> {
    if let [line] = texts {
        let inner = line.strip_prefix("$$")?.strip_suffix("$$")?;
        block.attrs.insert(attr::ONE_LINE.to_owned(), "1".to_owned());
        set_text(block, inner.to_owned());
        return Some(());
    }
    let [first, inner @ .., last] = texts else { return None };
    let text = inner.join("\n");
    let clear = *first == "$$" && *last == "$$" && (inner.is_empty() || !text.is_empty());
    set_text(block, text);
    clear.then_some(())
}

fn footnote(block: &mut Block, texts: &[&str]) -> Option<()> {
    let (label, after) = footnote_label(texts[0])?;
    let (space, first) = split_blank(after);
    block.attrs.insert(attr::LABEL.to_owned(), label.to_owned());
    state(block, attr::SPACE, space, " ");
    hanging_text(block, first, &texts[1..], "    ");
    Some(())
}
