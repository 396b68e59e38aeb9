//! From blocks to Markdown text.
//!
//! A block is written from its kind, attributes and spans alone, plus three things carried along: the line end in
//! force, the kind of the block before, and the numbers of the lists it stands in. Blocks changed by people or merged
//! from two devices are written so that they stay themselves: a fence grows when its text holds a fence, marks do not
//! begin or end with white space, a heading stays on one line.

use std::collections::BTreeMap;
use std::ops::Range;

use super::inline::code_opening;
use super::{Block, BlockKind, Body, TODO_DONE, attr, mark};

/// Blank lines written for one block, whatever its attribute says.
pub(super) const GAP_LINES_MAX: usize = 1_000;

pub(super) const INDENTED: &str = "indented";

pub(super) fn write_body(body: &Body, out: &mut String) {
    let mut writer = Writer::new(out);
    let count = body.blocks.len();
    for (index, block) in body.blocks.iter().enumerate() {
        writer.block(block, index + 1 == count);
    }
    if let Some(last) = body.blocks.last() {
        writer.end(last);
    }
}

/// What the next block's rendering depends on.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) crlf: bool,
    /// Kind of the block before, and whether it was verbatim.
    pub(super) before: Option<(BlockKind, bool)>,
    /// Width of indentation and number of the last item of each open list, outermost first.
    numbers: Vec<(usize, u64)>,
}

impl Context {
    pub(super) const fn eol(&self) -> &'static str {
        if self.crlf { "\r\n" } else { "\n" }
    }

    /// Blank lines before a block that does not say how many.
    pub(super) fn default_gap(&self, kind: &BlockKind) -> usize {
        match &self.before {
            None => 0,
            Some((before, _)) => usize::from(!(before.is_item() && kind.is_item())),
        }
    }

    /// The number an ordered item has when it does not say.
    pub(super) fn expected_number(&self, indent: &str) -> u64 {
        let list = self.numbers.iter().find(|(width, _)| *width == indent.len());
        list.map_or(1, |(_, number)| number.saturating_add(1))
    }

    fn advance(&mut self, block: &Block, number: Option<u64>) {
        let indent = block.attr(attr::INDENT).unwrap_or("").len();
        if block.kind.is_item() {
            self.numbers.retain(|(width, _)| *width < indent || (*width == indent && number.is_some()));
        } else if indent == 0 {
            self.numbers.clear();
        }
        if let Some(number) = number {
            self.numbers.retain(|(width, _)| *width < indent);
            self.numbers.push((indent, number));
        }
        self.before = Some((block.kind.clone(), block.attr(attr::RAW).is_some()));
    }
}

pub(super) struct Writer<'a> {
    pub(super) out: &'a mut String,
    pub(super) context: Context,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut String) -> Self {
        Self { out, context: Context { crlf: false, before: None, numbers: Vec::new() } }
    }

    /// Writes what stands before a block, and the block without its last line end.
    pub(super) fn block(&mut self, block: &Block, last: bool) {
        match block.attr(attr::EOL) {
            Some("crlf") => self.context.crlf = true,
            Some("lf") => self.context.crlf = false,
            _ => {}
        }
        self.gap(block);
        let mut number = None;
        if block.attr(attr::RAW).is_some() {
            self.out.push_str(&block.text());
        } else {
            number = (block.kind == BlockKind::Ordered).then(|| self.number(block));
            let lines = block_text(block, number, last);
            self.lines(block, &lines);
        }
        self.context.advance(block, number);
    }

    /// Writes what follows the last block.
    pub(super) fn end(&mut self, last: &Block) {
        self.out.push_str(last.attr(attr::END).unwrap_or(self.context.eol()));
    }

    fn gap(&mut self, block: &Block) {
        let first = self.context.before.is_none();
        let stated = block.attr(attr::GAP);
        let count = stated.map_or_else(|| Some(self.context.default_gap(&block.kind)), |gap| gap.parse().ok());
        match (count, stated) {
            (None, Some(text)) if first || text.contains('\n') => self.out.push_str(text),
            (count, _) => {
                let prose = matches!(self.context.before, Some((BlockKind::Paragraph, false)));
                let least = usize::from(prose && block.kind == BlockKind::Paragraph && block.attr(attr::RAW).is_none());
                let count = count.unwrap_or_else(|| self.context.default_gap(&block.kind)).clamp(least, GAP_LINES_MAX);
                for _ in 0..count + usize::from(!first) {
                    self.out.push_str(self.context.eol());
                }
            }
        }
    }

    fn number(&self, block: &Block) -> u64 {
        let stated = block.attr(attr::NUMBER).and_then(|number| number.parse().ok());
        stated.unwrap_or_else(|| self.context.expected_number(block.attr(attr::INDENT).unwrap_or("")))
    }

    /// Puts the indentation before every line that is not empty, and the line ends in force between them.
    fn lines(&mut self, block: &Block, text: &str) {
        // Items and definitions have their own white space in every line but the first.
        let first_only = block.kind.is_item() || block.kind == BlockKind::Footnote;
        let indent = block.attr(attr::INDENT).unwrap_or("");
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                self.out.push_str(self.context.eol());
            }
            if !line.is_empty() && (index == 0 || !first_only) {
                self.out.push_str(indent);
            }
            self.out.push_str(line);
        }
    }
}

/// The lines of a block, before indentation and line ends.
fn block_text(block: &Block, number: Option<u64>, last: bool) -> String {
    let text = inline_source(block);
    match &block.kind {
        BlockKind::Heading(level) => heading(block, *level, &text),
        BlockKind::Bullet => item(block, block.attr(attr::MARKER).unwrap_or("-"), &text),
        BlockKind::Ordered => {
            let stated = block.attr(attr::NUMBER).filter(|stated| stated.parse() == Ok(number.unwrap_or(1)));
            let number = stated.map_or_else(|| number.unwrap_or(1).to_string(), str::to_owned);
            item(block, &format!("{number}{}", block.attr(attr::MARKER).unwrap_or(".")), &text)
        }
        BlockKind::Todo => todo(block, &text),
        BlockKind::Quote => quote(block, &text),
        BlockKind::Callout => callout(block, &text),
        BlockKind::Code => code(block, &text, last),
        BlockKind::Math => math(block, &text),
        BlockKind::Rule => block.attr(attr::RULE).unwrap_or("---").to_owned(),
        BlockKind::Footnote => {
            let opening = format!("[^{}]:{}", block.attr(attr::LABEL).unwrap_or(""), space(block, attr::SPACE, &text));
            opening + &hang(block, "    ", &text)
        }
        _ => text,
    }
}

/// The stated white space, or one space; never nothing before text.
fn space<'a>(block: &'a Block, name: &str, text: &str) -> &'a str {
    block.attr(name).filter(|space| text.is_empty() || !space.is_empty()).unwrap_or(" ")
}

/// Puts white space before every line but the first and the empty ones.
fn hang(block: &Block, usual: &str, text: &str) -> String {
    let hang = block.attr(attr::HANG).unwrap_or(usual);
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
            out.push_str(if line.is_empty() { "" } else { hang });
        }
        out.push_str(line);
    }
    out
}

fn heading(block: &Block, level: u8, text: &str) -> String {
    if let Some(underline) = block.attr(attr::UNDERLINE)
        && !text.is_empty()
    {
        return format!("{text}\n{underline}");
    }
    let signs = "#".repeat(usize::from(level.clamp(1, 6)));
    let close = block.attr(attr::CLOSE).unwrap_or("");
    format!("{signs}{}{}{close}", space(block, attr::SPACE, text), text.replace('\n', " "))
}

fn item(block: &Block, marker: &str, text: &str) -> String {
    let opening = format!("{marker}{}", space(block, attr::SPACE, text));
    let usual = hang_of(block, &opening);
    opening + &hang(block, &usual, text)
}

/// White space as wide as the indentation and the opening of an item.
pub(super) fn hang_of(block: &Block, opening: &str) -> String {
    format!("{}{}", block.attr(attr::INDENT).unwrap_or(""), " ".repeat(opening.len()))
}

fn todo(block: &Block, text: &str) -> String {
    let opening = format!("{}{}", block.attr(attr::MARKER).unwrap_or("-"), space(block, attr::SPACE, "x"));
    let usual = hang_of(block, &opening);
    let sign = todo_sign(block);
    format!("{opening}[{sign}]{}{}", space(block, attr::PAD, text), hang(block, &usual, text))
}

fn todo_sign(block: &Block) -> &str {
    let one = |text: &&str| text.chars().count() == 1 && !matches!(*text, "[" | "]" | "\n");
    match block.attr(attr::STATE) {
        Some(TODO_DONE) => block.attr(attr::BOX).filter(one).unwrap_or("x"),
        Some(other) => Some(other).filter(one).unwrap_or(" "),
        None => " ",
    }
}

fn quote(block: &Block, text: &str) -> String {
    let prefix = block.attr(attr::PREFIX).unwrap_or("> ");
    let line = |line: &str| if line.is_empty() { prefix.trim_end().to_owned() } else { format!("{prefix}{line}") };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

fn callout(block: &Block, text: &str) -> String {
    let kind = block.attr(attr::CALLOUT).unwrap_or("note");
    let fold = block.attr(attr::FOLD).unwrap_or("");
    let space = if text.is_empty() || text.starts_with('\n') { "" } else { " " };
    quote(block, &format!("[!{kind}]{fold}{space}{text}"))
}

fn code(block: &Block, text: &str, last: bool) -> String {
    let opening = block.attr(attr::FENCE).unwrap_or("```");
    if opening == INDENTED {
        return text.to_owned();
    }
    let sign = if opening.starts_with('~') { '~' } else { '`' };
    let stated = opening.len() - opening.trim_start_matches(sign).len();
    let needed = text.split('\n').filter_map(|line| closing_fence(line, sign)).filter(|len| *len >= stated).max();
    let fence = sign.to_string().repeat(needed.map_or(stated.max(3), |longest| longest + 1));
    let after = opening.trim_start_matches(sign);
    let mut out = format!("{fence}{after}{}", block.attr(attr::LANG).unwrap_or(""));
    if !text.is_empty() {
        out.push('\n');
        out.push_str(text);
    }
    match block.attr(attr::CLOSE) {
        Some("") if last => {}
        Some(close) if closing_fence(close, sign).is_some_and(|len| len >= fence.len()) => {
            out.push('\n');
            out.push_str(close);
        }
        _ => {
            out.push('\n');
            out.push_str(&fence);
        }
    }
    out
}

/// How many signs a line that can close a fence has.
pub(super) fn closing_fence(line: &str, sign: char) -> Option<usize> {
    let rest = line.trim_start_matches(' ');
    let after = rest.trim_start_matches(sign);
    let len = rest.len() - after.len();
    let closes = line.len() - rest.len() < 4 && len >= 3 && after.trim_matches([' ', '\t']).is_empty();
    closes.then_some(len)
}

fn math(block: &Block, text: &str) -> String {
    match block.attr(attr::ONE_LINE) {
        Some(_) if !text.contains('\n') => format!("$${text}$$"),
        _ if text.is_empty() => "$$\n$$".to_owned(),
        _ => format!("$$\n{text}\n$$"),
    }
}

/// A mark over bytes of the text.
#[derive(Debug, Clone)]
struct Ranged<'a> {
    name: &'static str,
    value: &'a str,
    span: Range<usize>,
}

/// The text of a block with the syntax of its marks.
pub(super) fn inline_source(block: &Block) -> String {
    let text = block.text();
    if block.spans.iter().all(|span| span.marks.is_empty()) || !block.kind.is_prose() {
        return text;
    }
    let mut ranges = ranges_of(block);
    trim(&mut ranges, &text);
    keep_atoms_whole(&mut ranges);
    emit(&text, &ranges, &nest_of(block))
}

fn nest_of(block: &Block) -> Vec<&str> {
    let stated: Vec<&str> = block.attr(attr::NEST).map(|nest| nest.split(' ').take(16).collect()).unwrap_or_default();
    let rest = mark::ORDER.into_iter().filter(|name| !stated.contains(name)).collect::<Vec<_>>();
    stated.into_iter().chain(rest).collect()
}

fn ranges_of(block: &Block) -> Vec<Ranged<'_>> {
    let mut open: BTreeMap<&'static str, Ranged<'_>> = BTreeMap::new();
    let mut ranges = Vec::new();
    let mut at = 0;
    for span in &block.spans {
        let end = at + span.text.len();
        for name in mark::ORDER {
            match (open.remove(name), span.marks.get(name)) {
                (Some(mut range), Some(value)) if range.value == value => {
                    range.span.end = end;
                    open.insert(name, range);
                }
                (before, value) => {
                    ranges.extend(before);
                    if let Some(value) = value {
                        open.insert(name, Ranged { name, value, span: at..end });
                    }
                }
            }
        }
        at = end;
    }
    ranges.extend(open.into_values());
    ranges
}

fn is_atom(name: &str) -> bool {
    matches!(name, mark::CODE | mark::MATH | mark::WIKILINK | mark::EMBED | mark::AUTOLINK)
}

/// Signs next to white space would be read as text: such marks begin and end with something to see.
fn trim(ranges: &mut Vec<Ranged<'_>>, text: &str) {
    for range in ranges.iter_mut() {
        if matches!(range.name, mark::EMPHASIS | mark::STRONG | mark::STRIKE | mark::HIGHLIGHT | mark::MATH)
            && !(range.name == mark::MATH && range.value == "$$")
        {
            let piece = &text[range.span.clone()];
            let start = range.span.start + piece.len() - piece.trim_start().len();
            let end = range.span.end - (piece.len() - piece.trim_end().len());
            range.span = start..end.max(start);
        }
    }
    ranges.retain(|range| !range.span.is_empty());
}

/// Moves the ends of other marks out of code, formulas and wikilinks, where signs would be text.
fn keep_atoms_whole(ranges: &mut [Ranged<'_>]) {
    let mut atoms: Vec<Range<usize>> =
        ranges.iter().filter(|range| is_atom(range.name)).map(|range| range.span.clone()).collect();
    atoms.sort_by_key(|atom| atom.start);
    let around = |at: usize| {
        let next = atoms.partition_point(|atom| atom.start < at);
        next.checked_sub(1).map(|index| atoms[index].clone()).filter(|atom| atom.end > at)
    };
    for range in ranges.iter_mut().filter(|range| !is_atom(range.name)) {
        let start = around(range.span.start).map_or(range.span.start, |atom| atom.start);
        let end = around(range.span.end).map_or(range.span.end, |atom| atom.end);
        range.span = start..end;
    }
}

/// Opens longer marks first; where marks cross, closes the inner ones and opens them again.
fn emit(text: &str, ranges: &[Ranged<'_>], nest: &[&str]) -> String {
    let rank = |range: &Ranged<'_>| nest.iter().position(|name| *name == range.name).unwrap_or(nest.len());
    let mut starts: Vec<&Ranged<'_>> = ranges.iter().collect();
    starts.sort_by_key(|range| range.span.start);
    let mut places: Vec<usize> = ranges.iter().flat_map(|range| [range.span.start, range.span.end]).collect();
    places.sort_unstable();
    places.dedup();
    let mut out = String::with_capacity(text.len() + ranges.len() * 8);
    let mut open: Vec<&Ranged<'_>> = Vec::new();
    let mut starts = starts.into_iter().peekable();
    let mut at = 0;
    for place in places {
        out.push_str(&text[at..place]);
        at = place;
        let mut opening: Vec<&Ranged<'_>> = Vec::new();
        while open.iter().any(|range| range.span.end == place) {
            let Some(range) = open.pop() else { break };
            close_mark(range, text, &mut out);
            if range.span.end > place {
                opening.push(range);
            }
        }
        while let Some(range) = starts.next_if(|range| range.span.start == place) {
            opening.push(range);
        }
        opening.sort_by_key(|range| (is_atom(range.name), std::cmp::Reverse(range.span.end), rank(range)));
        for range in opening {
            open_mark(range, text, &mut out);
            open.push(range);
        }
    }
    out.push_str(&text[at..]);
    out
}

fn open_mark(range: &Ranged<'_>, text: &str, out: &mut String) {
    let piece = &text[range.span.clone()];
    match range.name {
        mark::LINK => out.push('['),
        mark::IMAGE => out.push_str("!["),
        mark::WIKILINK | mark::EMBED => {
            out.push_str(if range.name == mark::EMBED { "![[" } else { "[[" });
            if piece != range.value {
                out.push_str(range.value);
                out.push('|');
            }
        }
        mark::AUTOLINK => out.push('<'),
        mark::CODE => out.push_str(&code_fence(range.value, piece)),
        _ => out.push_str(sign(range)),
    }
}

fn close_mark(range: &Ranged<'_>, text: &str, out: &mut String) {
    let piece = &text[range.span.clone()];
    match range.name {
        mark::LINK | mark::IMAGE => {
            out.push_str("](");
            out.push_str(range.value);
            out.push(')');
        }
        mark::WIKILINK | mark::EMBED => out.push_str("]]"),
        mark::AUTOLINK => out.push('>'),
        mark::CODE => out.extend(code_fence(range.value, piece).chars().rev()),
        _ => out.push_str(sign(range)),
    }
}

fn sign(range: &Ranged<'_>) -> &'static str {
    match (range.name, range.value) {
        (mark::STRIKE, _) => "~~",
        (mark::HIGHLIGHT, _) => "==",
        (mark::EMPHASIS, "_") => "_",
        (mark::EMPHASIS, _) => "*",
        (mark::STRONG, "__") => "__",
        (mark::STRONG, _) => "**",
        (mark::MATH, "$$") => "$$",
        _ => "$",
    }
}

/// The stated opening of code when it still fits its text, else the shortest that does.
fn code_fence(stated: &str, code: &str) -> String {
    let shortest = code_opening(code);
    let fence = stated.trim_end_matches(' ');
    let well_formed = !fence.is_empty() && fence.bytes().all(|byte| byte == b'`') && stated.len() <= fence.len() + 1;
    let fits = well_formed
        && (stated.len() > fence.len() || !shortest.ends_with(' '))
        && !code.split(|char| char != '`').any(|run| run == fence);
    if fits { stated.to_owned() } else { shortest }
}
