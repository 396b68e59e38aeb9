//! Inline syntax: finds emphasis, links, code and the like in a text, and turns them into marks.
//!
//! One pass from left to right with a stack of open brackets and a list of open delimiters, after CommonMark's
//! "algorithm for parsing nested emphasis and links". Every search ahead ends at the next sign that could begin
//! another one (or is looked up in an index), so that the time is linear for any input. What is found nests
//! properly; what is not found stays text.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::{Span, mark, step};

/// A destination or target longer than this stays text: values are copied to every span they cover.
const VALUE_BYTES_MAX: usize = 2_000;
/// Nested round brackets in a destination.
const PARENS_MAX: usize = 32;
/// Marks in one block; a block with more stays without marks, for each costs operations in the document.
const MARKS_MAX: usize = 250;

/// Raw HTML: found so that its text is not searched; becomes no mark.
pub(super) const HTML: &str = "html";

/// Something found: `outer` with its signs, `inner` without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: &'static str,
    pub(super) outer: Range<usize>,
    pub(super) inner: Range<usize>,
    pub(super) value: String,
}

/// Everything in `text`, outer before inner, in order.
pub(super) fn scan(text: &str) -> Vec<Found> {
    let mut scanner = Scanner::new(text);
    scanner.run();
    scanner.found
}

/// Spans and the order of marks that cover the same characters, if it is not the usual one; `None` when the text
/// cannot be said in marks.
pub(super) fn to_spans(text: &str) -> Option<(Vec<Span>, Option<String>)> {
    let found: Vec<Found> = scan(text).into_iter().filter(|found| found.name != HTML).collect();
    if found.is_empty() || found.len() > MARKS_MAX {
        return None;
    }
    let nest = nest_order(&found)?;
    let mut painter = Painter { text, spans: Vec::new(), active: Vec::new(), copied_bytes: 0, at: 0 };
    for found in &found {
        painter.close_until(found.outer.start)?;
        painter.open(found)?;
    }
    painter.close_until(usize::MAX)?;
    painter.paint(text.len())?;
    Some((painter.spans, nest))
}

/// Walks over the text and paints pieces with the marks that are open.
struct Painter<'a> {
    text: &'a str,
    spans: Vec<Span>,
    active: Vec<&'a Found>,
    copied_bytes: usize,
    at: usize,
}

impl<'a> Painter<'a> {
    fn open(&mut self, found: &'a Found) -> Option<()> {
        self.paint(found.outer.start)?;
        self.at = found.inner.start;
        if self.active.iter().any(|other| other.name == found.name) {
            return None;
        }
        self.active.push(found);
        Some(())
    }

    fn close_until(&mut self, position: usize) -> Option<()> {
        while let Some(last) = self.active.last().copied().filter(|last| last.outer.end <= position) {
            self.paint(last.inner.end)?;
            self.active.pop();
            self.at = last.outer.end;
        }
        Some(())
    }

    fn paint(&mut self, end: usize) -> Option<()> {
        if self.at >= end {
            return Some(());
        }
        let piece = &self.text[self.at..end];
        step(piece.len());
        self.at = end;
        // Values are copied to every piece: a long one over many pieces would multiply the text.
        self.copied_bytes += self.active.iter().map(|found| found.value.len()).sum::<usize>();
        if self.copied_bytes > 4 * self.text.len() + 4_096 {
            return None;
        }
        let marks: BTreeMap<String, String> =
            self.active.iter().map(|found| (found.name.to_owned(), found.value.clone())).collect();
        match self.spans.last_mut() {
            Some(last) if last.marks == marks => last.text.push_str(piece),
            _ => self.spans.push(Span { text: piece.to_owned(), marks }),
        }
        Some(())
    }
}

/// The order in which marks nest here when it differs from [`mark::ORDER`] where it matters: outer and inner cover
/// the same characters. The outer `None`: two orders contradict each other.
#[allow(clippy::option_option)]
fn nest_order(found: &[Found]) -> Option<Option<String>> {
    let rank = |name: &str| mark::ORDER.iter().position(|other| *other == name).unwrap_or(mark::ORDER.len());
    let tight = |pair: &&[Found]| pair[1].outer == pair[0].inner;
    let pairs: Vec<(&str, &str)> = found.windows(2).filter(tight).map(|pair| (pair[0].name, pair[1].name)).collect();
    if pairs.iter().all(|(outer, inner)| rank(outer) < rank(inner)) {
        return Some(None);
    }
    let mut left: Vec<&str> = mark::ORDER.into_iter().filter(|name| found.iter().any(|f| f.name == *name)).collect();
    let mut order: Vec<&str> = Vec::new();
    while !left.is_empty() {
        let held = |name: &str| pairs.iter().any(|(outer, inner)| *inner == name && left.contains(outer));
        let next = left.iter().position(|name| !held(name))?;
        order.push(left.remove(next));
    }
    Some(Some(order.join(" ")))
}

/// A run of `*`, `_`, `~~` or `==` that is not matched yet; a list through `before` and `after`.
struct Delimiter {
    sign: u8,
    start: usize,
    len: usize,
    /// Length at first: the rule of three looks at it.
    run: usize,
    opens: bool,
    closes: bool,
    before: Option<usize>,
    after: Option<usize>,
}

struct Bracket {
    start: usize,
    image: bool,
    /// Last delimiter before it.
    delimiter: Option<usize>,
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    found: Vec<Found>,
    delimiters: Vec<Delimiter>,
    last: Option<usize>,
    brackets: Vec<Bracket>,
    /// Brackets below this place stand around a link already and cannot be links.
    inactive_below: usize,
    /// Starts of runs of backticks by length.
    backticks: Option<HashMap<usize, Vec<usize>>>,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            found: Vec::new(),
            delimiters: Vec::new(),
            last: None,
            brackets: Vec::new(),
            inactive_below: 0,
            backticks: None,
        }
    }

    fn run(&mut self) {
        while let Some(byte) = self.bytes.get(self.at).copied() {
            step(1);
            match byte {
                b'\\' => self.at += if self.byte(1).is_some_and(|next| next.is_ascii_punctuation()) { 2 } else { 1 },
                b'`' => self.code(),
                b'$' => self.math(),
                b'<' => self.angle(),
                b'!' if self.byte(1) == Some(b'[') => self.open_bracket(true),
                b'[' => self.open_bracket(false),
                b']' => self.close_bracket(),
                b'*' | b'_' | b'~' | b'=' => self.delimiter(byte),
                _ => self.at += 1,
            }
        }
        self.match_delimiters(None);
        self.found.sort_by_key(|found| (found.outer.start, std::cmp::Reverse(found.outer.end)));
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn run_len(&self, start: usize) -> usize {
        let sign = self.bytes[start];
        let len = self.bytes[start..].iter().take_while(|byte| **byte == sign).count();
        step(len);
        len
    }

    fn push(&mut self, name: &'static str, outer: Range<usize>, inner: Range<usize>, value: &str) {
        self.found.push(Found { name, outer, inner, value: value.to_owned() });
    }

    fn code(&mut self) {
        let (start, len) = (self.at, self.run_len(self.at));
        self.at += len;
        let runs = self.backticks.get_or_insert_with(|| backtick_runs(self.bytes));
        let places = runs.get(&len).map_or(&[][..], Vec::as_slice);
        let Some(&close) = places.get(places.partition_point(|place| *place < start + len)) else { return };
        let content = &self.text[start + len..close];
        let spaced = content.len() > 2
            && content.starts_with(' ')
            && content.ends_with(' ')
            && content.bytes().any(|byte| byte != b' ');
        let pad = usize::from(spaced);
        let inner = start + len + pad..close - pad;
        let opening = &self.text[start..inner.start];
        let value = if opening == code_opening(&self.text[inner.clone()]) { "" } else { opening };
        self.push(mark::CODE, start..close + len, inner, value);
        self.at = close + len;
    }

    fn math(&mut self) {
        let (start, len) = (self.at, self.run_len(self.at));
        self.at += len;
        let inner_start = start + len;
        let Some(close) = self.find_unescaped(inner_start, b'$') else { return };
        let content = &self.text[inner_start..close];
        let closes = self.run_len(close) == len;
        let loose =
            content.is_empty() || content.starts_with(char::is_whitespace) || content.ends_with(char::is_whitespace);
        let price = len == 1 && self.bytes.get(close + 1).is_some_and(u8::is_ascii_digit);
        if len > 2 || !closes || (len == 1 && loose) || content.is_empty() || price {
            return;
        }
        self.push(mark::MATH, start..close + len, inner_start..close, if len == 1 { "" } else { "$$" });
        self.at = close + len;
    }

    /// The next `sign` that has no backslash before it.
    fn find_unescaped(&self, from: usize, sign: u8) -> Option<usize> {
        let mut at = from;
        while let Some(byte) = self.bytes.get(at) {
            step(1);
            match byte {
                b'\\' => at += 2,
                byte if *byte == sign => return Some(at),
                _ => at += 1,
            }
        }
        None
    }

    fn angle(&mut self) {
        let start = self.at;
        self.at += 1;
        let Some(length) = self.bytes[self.at..].iter().position(|byte| matches!(byte, b'<' | b'>')) else {
            self.at = start + 1;
            return;
        };
        step(length);
        let close = self.at + length;
        if self.bytes[close] == b'<' {
            return;
        }
        let content = &self.text[self.at..close];
        let name = if is_address(content) {
            mark::AUTOLINK
        } else if content.starts_with(|char: char| char.is_ascii_alphabetic() || matches!(char, '/' | '!' | '?')) {
            HTML
        } else {
            return;
        };
        self.push(name, start..close + 1, self.at..close, "");
        self.at = close + 1;
    }

    fn open_bracket(&mut self, image: bool) {
        let start = self.at;
        let first = start + usize::from(image);
        if self.bytes.get(first + 1) == Some(&b'[') && self.wikilink(image, first + 2) {
            return;
        }
        self.brackets.push(Bracket { start, image, delimiter: self.last });
        self.at = first + 1;
    }

    fn wikilink(&mut self, embed: bool, from: usize) -> bool {
        let stop = |byte: &u8| matches!(byte, b'[' | b']' | b'\n');
        let Some(length) = self.bytes[from..].iter().position(stop) else { return false };
        step(length);
        let close = from + length;
        if length == 0 || !self.text[close..].starts_with("]]") || self.bytes.get(close + 2) == Some(&b'(') {
            return false;
        }
        let (value_end, text_start) = match self.text[from..close].find('|') {
            Some(bar) => (from + bar, from + bar + 1),
            None => (close, from),
        };
        if value_end == from || text_start == close || value_end - from > VALUE_BYTES_MAX {
            return false;
        }
        let value = &self.text[from..value_end];
        self.push(if embed { mark::EMBED } else { mark::WIKILINK }, self.at..close + 2, text_start..close, value);
        self.at = close + 2;
        true
    }

    fn close_bracket(&mut self) {
        let close = self.at;
        self.at += 1;
        let Some(bracket) = self.brackets.pop() else { return };
        let active = bracket.image || self.brackets.len() >= self.inactive_below;
        self.inactive_below = self.inactive_below.min(self.brackets.len());
        if !active || self.bytes.get(close + 1) != Some(&b'(') {
            return;
        }
        let Some(end) = self.destination_end(close + 2) else { return };
        let inner = bracket.start + 1 + usize::from(bracket.image)..close;
        let value = &self.text[close + 2..end];
        if inner.is_empty() || value.len() > VALUE_BYTES_MAX {
            return;
        }
        self.match_delimiters(bracket.delimiter);
        let name = if bracket.image { mark::IMAGE } else { mark::LINK };
        self.push(name, bracket.start..end + 1, inner, value);
        self.at = end + 1;
        if !bracket.image {
            self.inactive_below = self.brackets.len();
        }
    }

    /// Where the `)` stands that ends a destination with its optional title.
    fn destination_end(&self, from: usize) -> Option<usize> {
        let mut at = self.skip_blank(from);
        if self.bytes.get(at) == Some(&b'<') {
            let stop = |byte: &u8| matches!(byte, b'<' | b'>' | b'\n');
            at += 1;
            at += self.bytes[at..].iter().position(stop)?;
            at = (self.bytes[at] == b'>').then_some(at + 1)?;
        } else {
            at = self.bare_destination_end(at)?;
        }
        let title = self.skip_blank(at);
        if self.bytes.get(title) == Some(&b')') {
            return Some(title);
        }
        let quote = match self.bytes.get(title)? {
            quote @ (b'"' | b'\'') if title > at => *quote,
            _ => return None,
        };
        let end = self.skip_blank(self.find_unescaped(title + 1, quote)? + 1);
        (self.bytes.get(end) == Some(&b')')).then_some(end)
    }

    fn bare_destination_end(&self, from: usize) -> Option<usize> {
        let (mut at, mut depth) = (from, 0);
        while let Some(byte) = self.bytes.get(at) {
            step(1);
            match byte {
                b'\\' => at += 1,
                b' ' | b'\n' | b'\t' => return Some(at),
                b'(' if depth == PARENS_MAX => return None,
                b'(' => depth += 1,
                b')' if depth == 0 => return Some(at),
                b')' => depth -= 1,
                _ => {}
            }
            at += 1;
        }
        None
    }

    fn skip_blank(&self, from: usize) -> usize {
        let blank = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\t');
        from + self.bytes.get(from..).unwrap_or(&[]).iter().take_while(blank).count()
    }

    fn delimiter(&mut self, sign: u8) {
        let (start, len) = (self.at, self.run_len(self.at));
        self.at += len;
        if matches!(sign, b'~' | b'=') && len != 2 {
            return;
        }
        let before = self.text[..start].chars().next_back();
        let after = self.text[self.at..].chars().next();
        let (space_before, space_after) = (is_space(before), is_space(after));
        let (sign_before, sign_after) = (is_sign(before), is_sign(after));
        let left = !space_after && (!sign_after || space_before || sign_before);
        let right = !space_before && (!sign_before || space_after || sign_after);
        let word_sign = sign == b'_';
        let opens = left && (!word_sign || !right || sign_before);
        let closes = right && (!word_sign || !left || sign_after);
        if !opens && !closes {
            return;
        }
        let index = self.delimiters.len();
        self.delimiters.push(Delimiter { sign, start, len, run: len, opens, closes, before: self.last, after: None });
        if let Some(last) = self.last {
            self.delimiters[last].after = Some(index);
        }
        self.last = Some(index);
    }

    /// Matches the delimiters after `bottom` and takes them off the list.
    fn match_delimiters(&mut self, bottom: Option<usize>) {
        // Below these no opener was found for a closer of this sort; else the search would be quadratic.
        let mut floors: HashMap<(u8, bool, usize), usize> = HashMap::new();
        let mut current = self.first_after(bottom);
        while let Some(closer) = current {
            step(1);
            if !self.delimiters[closer].closes {
                current = self.delimiters[closer].after;
                continue;
            }
            let sort = {
                let closer = &self.delimiters[closer];
                (closer.sign, closer.opens, closer.run % 3)
            };
            let floor = floors.get(&sort).copied();
            match self.find_opener(closer, bottom, floor) {
                Some(opener) => current = self.join(opener, closer),
                None => {
                    let below = self.delimiters[closer].before.map_or(0, |before| before + 1);
                    floors.insert(sort, below);
                    current = self.delimiters[closer].after;
                    if !self.delimiters[closer].opens {
                        self.remove(closer);
                    }
                }
            }
        }
        self.last = bottom;
        if let Some(bottom) = bottom {
            self.delimiters[bottom].after = None;
        }
    }

    fn first_after(&self, bottom: Option<usize>) -> Option<usize> {
        match bottom {
            Some(bottom) => self.delimiters[bottom].after,
            None => {
                let mut first = self.last?;
                while let Some(before) = self.delimiters[first].before {
                    step(1);
                    first = before;
                }
                Some(first)
            }
        }
    }

    fn find_opener(&self, closer: usize, bottom: Option<usize>, floor: Option<usize>) -> Option<usize> {
        let close = &self.delimiters[closer];
        let mut current = close.before;
        while let Some(index) = current {
            step(1);
            if Some(index) == bottom || floor.is_some_and(|floor| index < floor) {
                return None;
            }
            let open = &self.delimiters[index];
            let both = open.closes || close.opens;
            let three = both
                && (open.run + close.run).is_multiple_of(3)
                && !(open.run.is_multiple_of(3) && close.run.is_multiple_of(3));
            if open.opens && open.sign == close.sign && !three {
                return Some(index);
            }
            current = open.before;
        }
        None
    }

    /// Joins a pair, takes what stood between off the list; gives the next closer to look at.
    fn join(&mut self, opener: usize, closer: usize) -> Option<usize> {
        self.delimiters[opener].after = Some(closer);
        self.delimiters[closer].before = Some(opener);
        let sign = self.delimiters[opener].sign;
        let used = if self.delimiters[opener].len >= 2 && self.delimiters[closer].len >= 2 { 2 } else { 1 };
        self.delimiters[opener].len -= used;
        let open = self.delimiters[opener].start + self.delimiters[opener].len;
        let close = self.delimiters[closer].start;
        self.delimiters[closer].start += used;
        self.delimiters[closer].len -= used;
        let (name, value) = match (sign, used) {
            (b'~', _) => (mark::STRIKE, ""),
            (b'=', _) => (mark::HIGHLIGHT, ""),
            (b'_', 1) => (mark::EMPHASIS, "_"),
            (b'_', _) => (mark::STRONG, "__"),
            (_, 1) => (mark::EMPHASIS, ""),
            _ => (mark::STRONG, ""),
        };
        self.push(name, open..close + used, open + used..close, value);
        if self.delimiters[opener].len == 0 {
            self.remove(opener);
        }
        if self.delimiters[closer].len > 0 {
            return Some(closer);
        }
        let next = self.delimiters[closer].after;
        self.remove(closer);
        next
    }

    fn remove(&mut self, index: usize) {
        let (before, after) = (self.delimiters[index].before, self.delimiters[index].after);
        if let Some(before) = before {
            self.delimiters[before].after = after;
        }
        match after {
            Some(after) => self.delimiters[after].before = before,
            None => self.last = before,
        }
    }
}

fn backtick_runs(bytes: &[u8]) -> HashMap<usize, Vec<usize>> {
    let mut runs: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut at = 0;
    while at < bytes.len() {
        let len = bytes[at..].iter().take_while(|byte| **byte == b'`').count();
        if len > 0 {
            runs.entry(len).or_default().push(at);
        }
        at += len.max(1);
    }
    runs
}

/// The shortest opening that holds this code, with a space where the code begins or ends with a backtick.
pub(super) fn code_opening(code: &str) -> String {
    let runs = backtick_runs(code.as_bytes());
    let fence = "`".repeat((1..).find(|len| !runs.contains_key(len)).unwrap_or(1));
    let spaced =
        code.len() > 2 && code.starts_with(' ') && code.ends_with(' ') && code.bytes().any(|byte| byte != b' ');
    if spaced || code.starts_with('`') || code.ends_with('`') { fence + " " } else { fence }
}

fn is_space(char: Option<char>) -> bool {
    char.is_none_or(char::is_whitespace)
}

fn is_sign(char: Option<char>) -> bool {
    char.is_some_and(|char| !char.is_alphanumeric() && !char.is_whitespace())
}

/// `scheme:rest` or a mail address, without white space.
fn is_address(text: &str) -> bool {
    if text.contains(|char: char| char.is_whitespace() || char.is_control()) || text.contains('`') {
        return false;
    }
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let scheme_ok = (2..=32).contains(&scheme.len())
        && scheme.starts_with(|char: char| char.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'.' | b'-'));
    let mail = text.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && host.contains('.') && !text.contains(['/', '"', '=']) && !host.contains('@')
    });
    scheme_ok || mail
}
