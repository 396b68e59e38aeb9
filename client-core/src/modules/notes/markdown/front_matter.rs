//! The YAML block at the top of a note: kept as written, read as properties, edited line by line.
//!
//! Read is the subset people write by hand: scalars, quoted strings, lists in line or in lines, block texts. What
//! goes deeper (maps, lists in lists, anchors) is a property whose value is its source text. There is no recursion,
//! and sizes are bounded, so hostile text costs no more than reading it.

use std::ops::Range;

use serde_json::Value;

/// Properties read from one front matter; further ones are kept in its text only.
const PROPERTIES_MAX: usize = 1_000;
/// Items read of one list; a longer list is read as its source text.
const ITEMS_MAX: usize = 10_000;

/// Front matter: its exact text, and what was understood of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FrontMatter {
    raw: String,
    properties: Vec<(String, Value)>,
}

impl FrontMatter {
    /// Splits a text into its front matter, if it has one, and the rest.
    ///
    /// Front matter starts with a line `---` (a byte order mark before it belongs to it), ends with a line `---`
    /// or `...`, and every line between looks like YAML; else a note that starts with a thematic break has none.
    #[must_use]
    pub fn split(text: &str) -> (Option<Self>, &str) {
        match front_matter_bytes(text) {
            Some(end) => (Some(Self::read(&text[..end])), &text[end..]),
            None => (None, text),
        }
    }

    /// Front matter from stored raw text (as [`FrontMatter::raw`] gives it); text that is none gives `None`.
    #[must_use]
    pub fn from_raw(raw: &str) -> Option<Self> {
        match Self::split(raw) {
            (Some(front_matter), "") => Some(front_matter),
            _ => None,
        }
    }

    /// The exact text, from the first `---` to the line end after the last one.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Properties in order; of a name that appears twice, both.
    #[must_use]
    pub fn properties(&self) -> &[(String, Value)] {
        &self.properties
    }

    /// The first property of this name.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&Value> {
        self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn read(raw: &str) -> Self {
        let lines = lines_of(raw);
        let properties = entries_of(&lines)
            .into_iter()
            .take(PROPERTIES_MAX)
            .map(|entry| {
                let value = read_value(entry.value, &lines[entry.lines.start + 1..entry.lines.end]);
                (entry.key, value)
            })
            .collect();
        Self { raw: raw.to_owned(), properties }
    }
}

/// The front matter with one property set (`Some`) or removed (`None`); all other lines stay as they are.
///
/// A property that has the value already is not touched. Of a name that appears twice the first is set, all are
/// removed. Empty front matter (its default) gets its two lines `---`.
#[must_use]
pub fn set_property(front_matter: &FrontMatter, name: &str, value: Option<Value>) -> FrontMatter {
    if value.is_some() && front_matter.property(name) == value.as_ref() {
        return front_matter.clone();
    }
    let raw = if front_matter.raw.is_empty() { "---\n---\n" } else { front_matter.raw.as_str() };
    let lines = lines_of(raw);
    let eol = if lines[0].ends_with("\r\n") { "\r\n" } else { "\n" };
    let entries: Vec<Entry<'_>> = entries_of(&lines).into_iter().filter(|entry| entry.key == name).collect();
    let mut out = String::with_capacity(raw.len() + 64);
    match (value, entries.first()) {
        (Some(value), Some(entry)) => {
            let inline = entry.value.starts_with('[');
            out.extend(lines[..entry.lines.start].iter().copied());
            write_property(name, &value, inline, eol, &mut out);
            out.extend(lines[entry.lines.end..].iter().copied());
        }
        (Some(value), None) => {
            let close = lines.len() - 1;
            out.extend(lines[..close].iter().copied());
            write_property(name, &value, false, eol, &mut out);
            out.push_str(lines[close]);
        }
        (None, _) => {
            let gone = |line: &usize| entries.iter().any(|entry| entry.lines.contains(line));
            out.extend((0..lines.len()).filter(|line| !gone(line)).map(|line| lines[line]));
        }
    }
    FrontMatter::read(&out)
}

/// Lines with their ends.
fn lines_of(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// A line without its end.
fn content(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

fn blank(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn front_matter_bytes(text: &str) -> Option<usize> {
    let mut lines = text.split_inclusive('\n');
    let first = lines.next()?;
    if content(first).strip_prefix('\u{feff}').unwrap_or(content(first)).trim_end_matches([' ', '\t']) != "---" {
        return None;
    }
    let mut end = first.len();
    for line in lines {
        end += line.len();
        match content(line).trim_end_matches([' ', '\t']) {
            "---" | "..." => return Some(end),
            line if looks_like_yaml(line) => {}
            _ => return None,
        }
    }
    None
}

fn looks_like_yaml(line: &str) -> bool {
    line.is_empty()
        || line.starts_with([' ', '\t', '#', ']', '}'])
        || line == "-"
        || line.starts_with("- ")
        || split_key(line).is_some()
}

/// One property: its key, what stands behind the colon, and the lines it takes (the key's line first).
struct Entry<'a> {
    key: String,
    value: &'a str,
    lines: Range<usize>,
}

fn entries_of<'a>(lines: &[&'a str]) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let last = lines.len().saturating_sub(1);
    let mut open = false;
    for (index, line) in lines.iter().enumerate().take(last).skip(1) {
        let line = content(line);
        if let Some((key, value)) = split_key(line) {
            entries.push(Entry { key, value, lines: index..index + 1 });
            open = true;
        } else if line.starts_with('#') {
            open = false;
        } else if open
            && !blank(line).is_empty()
            && let Some(entry) = entries.last_mut()
        {
            // Blank lines join only when more of the value follows.
            entry.lines.end = index + 1;
        }
    }
    entries
}

/// `key: value` at the start of a line.
fn split_key(line: &str) -> Option<(String, &str)> {
    if line.starts_with([' ', '\t', '#', '-', '[', ']', '{', '}', ',', '&', '*', '!', '|', '>', '%', '@', '`']) {
        return None;
    }
    let (key, rest) = match line.chars().next()? {
        quote @ ('"' | '\'') => {
            let end = quoted_end(line, quote)?;
            (unquote(&line[..end]), line[end..].trim_start_matches([' ', '\t']).strip_prefix(':')?)
        }
        _ => {
            let colon = line
                .match_indices(':')
                .map(|(at, _)| at)
                .find(|at| line[at + 1..].is_empty() || line[at + 1..].starts_with([' ', '\t']))?;
            (blank(&line[..colon]).to_owned(), &line[colon + 1..])
        }
    };
    let separated = rest.is_empty() || rest.starts_with([' ', '\t']);
    (separated && !key.is_empty()).then(|| (key, blank(rest)))
}

/// Byte after the closing quote of a quoted string at the start of `text`.
fn quoted_end(text: &str, quote: char) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match (bytes[at], quote) {
            (b'\\', '"') => at += 2,
            (b'\'', '\'') if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            (byte, _) if char::from(byte) == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// The text of a quoted string; one with an escape that JSON does not know is kept as written.
fn unquote(quoted: &str) -> String {
    let inner = &quoted[1..quoted.len() - 1];
    if quoted.starts_with('\'') {
        return inner.replace("''", "'");
    }
    serde_json::from_str(quoted).unwrap_or_else(|_| inner.to_owned())
}

fn read_value(first: &str, more: &[&str]) -> Value {
    let more: Vec<&str> = more.iter().map(|line| content(line)).collect();
    let first_plain = without_comment(first);
    if first_plain.starts_with(['|', '>']) && !more.is_empty() {
        return Value::String(block_text(first_plain, &more));
    }
    if first_plain.is_empty() && !more.is_empty() {
        return read_items(&more).unwrap_or_else(|| Value::String(more.join("\n")));
    }
    if more.is_empty() {
        return read_flow(first_plain);
    }
    let mut joined = first_plain.to_owned();
    for line in more.iter().map(|line| without_comment(blank(line))).filter(|line| !line.is_empty()) {
        joined.push(' ');
        joined.push_str(line);
    }
    read_flow(&joined)
}

/// The lines of a `- ` list whose items are scalars; `None` for anything else.
fn read_items(lines: &[&str]) -> Option<Value> {
    let mut items = Vec::new();
    let mut indent = None;
    for line in lines.iter().filter(|line| !blank(line).is_empty() && !blank(line).starts_with('#')) {
        let trimmed = line.trim_start_matches([' ', '\t']);
        let depth = line.len() - trimmed.len();
        let item = trimmed.strip_prefix("- ").or((trimmed == "-").then_some(""))?;
        if *indent.get_or_insert(depth) != depth || items.len() == ITEMS_MAX {
            return None;
        }
        let item = without_comment(blank(item));
        items.push(if item.starts_with(['[', '{']) { Value::String(item.to_owned()) } else { read_scalar(item) });
    }
    (!items.is_empty()).then_some(Value::Array(items))
}

/// `|` keeps lines, `>` folds them; indentation of the first line is taken off.
fn block_text(header: &str, lines: &[&str]) -> String {
    let indent = lines.iter().find(|line| !blank(line).is_empty()).map_or(0, |line| {
        let trimmed = line.trim_start_matches([' ', '\t']);
        line.len() - trimmed.len()
    });
    let cut = |line: &&str| line.get(indent..).unwrap_or("").to_owned();
    let separator = if header.starts_with('|') { "\n" } else { " " };
    let mut text = lines.iter().map(cut).collect::<Vec<_>>().join(separator);
    if !header.contains('-') {
        text.push('\n');
    }
    text
}

fn without_comment(text: &str) -> &str {
    if let Some(quote @ ('"' | '\'')) = text.chars().next() {
        return quoted_end(text, quote).map_or(text, |end| match blank(&text[end..]) {
            rest if rest.is_empty() || rest.starts_with('#') => &text[..end],
            _ => text,
        });
    }
    if text.starts_with('#') {
        return "";
    }
    let comment = text.match_indices('#').map(|(at, _)| at).find(|at| text[..*at].ends_with([' ', '\t']));
    comment.map_or(text, |at| text[..at].trim_end_matches([' ', '\t']))
}

/// A list in brackets, or a scalar.
fn read_flow(text: &str) -> Value {
    let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return read_scalar(text) };
    let Some(items) = split_flow(inner) else { return Value::String(text.to_owned()) };
    let nested = |item: &str| item.starts_with(['[', '{']);
    Value::Array(
        items
            .into_iter()
            .map(|item| if nested(item) { Value::String(item.to_owned()) } else { read_scalar(item) })
            .collect(),
    )
}

/// Splits at commas outside quotes and brackets; `None` when brackets or quotes do not match or items are too many.
fn split_flow(inner: &str) -> Option<Vec<&str>> {
    let bytes = inner.as_bytes();
    let (mut items, mut start, mut at, mut depth, mut fresh) = (Vec::new(), 0, 0, 0_usize, true);
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') if fresh => at += quoted_end(&inner[at..], char::from(quote))? - 1,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                items.push(blank(&inner[start..at]));
                start = at + 1;
            }
            _ => {}
        }
        // A quote opens a string only where an item starts.
        fresh = matches!(bytes[at], b',' | b'[' | b'{' | b':') || (fresh && matches!(bytes[at], b' ' | b'\t'));
        at += 1;
    }
    if !blank(&inner[start..]).is_empty() {
        items.push(blank(&inner[start..]));
    }
    (depth == 0 && items.len() <= ITEMS_MAX).then_some(items)
}

fn read_scalar(text: &str) -> Value {
    if let Some(quote @ ('"' | '\'')) = text.chars().next() {
        let whole = quoted_end(text, quote) == Some(text.len());
        return Value::String(if whole { unquote(text) } else { text.to_owned() });
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => read_number(text).unwrap_or_else(|| Value::String(text.to_owned())),
    }
}

/// Numbers as JSON writes them; anything else, dates included, is text.
fn read_number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = digits.bytes().take_while(u8::is_ascii_digit).count();
    if whole == 0 || (whole > 1 && digits.starts_with('0')) {
        return None;
    }
    if whole == digits.len() {
        let small = text.parse::<i64>().ok().map(Value::from);
        return small.or_else(|| text.parse::<u64>().ok().map(Value::from));
    }
    let rest = &digits[whole..];
    let fraction = rest.strip_prefix('.').map_or(Some(0), |rest| {
        let count = rest.bytes().take_while(u8::is_ascii_digit).count();
        (count > 0).then_some(count + 1)
    })?;
    let exponent = rest[fraction..].strip_prefix(['e', 'E']);
    let exponent_ok = exponent.map_or(rest.len() == fraction, |exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && exponent.bytes().all(|byte| byte.is_ascii_digit())
    });
    exponent_ok.then(|| text.parse::<f64>().ok()).flatten().and_then(serde_json::Number::from_f64).map(Value::Number)
}

fn write_property(name: &str, value: &Value, inline: bool, eol: &str, out: &mut String) {
    let key_is_plain = split_key(&format!("{name}:")).is_some_and(|(key, rest)| key == name && rest.is_empty());
    let plain =
        key_is_plain && !name.contains(['#', ':', '\n', '\r', '"', '\'']) && !name.chars().any(char::is_control);
    if plain {
        out.push_str(name)
    } else {
        out.push_str(&Value::from(name).to_string())
    }
    out.push(':');
    match value {
        Value::Array(items) if !inline && !items.is_empty() => {
            for item in items {
                out.push_str(eol);
                out.push_str("  - ");
                out.push_str(&scalar_text(item, false));
            }
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| scalar_text(item, true)).collect();
            out.push_str(&format!(" [{}]", items.join(", ")));
        }
        Value::Null => {}
        value => {
            out.push(' ');
            out.push_str(&scalar_text(value, false));
        }
    }
    out.push_str(eol);
}

/// A value on one line. Lists and maps inside are written as JSON, which is YAML too.
fn scalar_text(value: &Value, in_flow: bool) -> String {
    match value {
        Value::String(text) if is_plain(text, in_flow) => text.clone(),
        Value::Null => "null".to_owned(),
        value => value.to_string(),
    }
}

/// Whether a text reads back as itself without quotes, here and in other readers of YAML.
fn is_plain(text: &str, in_flow: bool) -> bool {
    const WORDS: [&str; 8] = ["yes", "no", "on", "off", "y", "n", "true", "false"];
    let signs =
        ['-', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`', '=', '.'];
    let quiet = !text.starts_with(signs)
        && !text.ends_with(':')
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.contains("\t#")
        && !text.contains(":\t")
        && !text.chars().any(|char| char.is_control() || matches!(char, '\u{2028}' | '\u{2029}' | '\u{feff}'))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    let flow_ok = !in_flow || !text.contains([',', '[', ']', '{', '}']);
    quiet && flow_ok && blank(text) == text && read_scalar(text) == Value::String(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const SAMPLE: &str = "---\ntitle: \"Sea: a note\"\ncount: 12\nratio: -1.5e2\ndone: true\nday: 2026-03-08\n\
        tags: [a, 'b c', \"d,e\"]\naliases:\n  - Meer\n  - 'It''s'\n- odd\n# a comment\nempty:\n\
        place:\n  lat: 1\n  lon: 2\ntext: |\n  one\n  two\nlong: first\n  second # not this\n---\n";

    fn read(text: &str) -> FrontMatter {
        FrontMatter::from_raw(text).expect("front matter")
    }

    #[test]
    fn every_form_of_value_is_read() {
        let matter = read(&SAMPLE.replace("- odd\n", ""));
        let expected = json!({
            "title": "Sea: a note", "count": 12, "ratio": -150.0, "done": true, "day": "2026-03-08",
            "tags": ["a", "b c", "d,e"], "aliases": ["Meer", "It's"], "empty": null,
            "place": "  lat: 1\n  lon: 2", "text": "one\ntwo\n", "long": "first second"
        });
        let found: serde_json::Map<String, Value> = matter.properties().iter().cloned().collect();
        assert_eq!(Value::Object(found), expected);
    }

    #[test]
    fn a_list_whose_items_stand_at_the_margin_is_read() {
        assert_eq!(read("---\ntags:\n- a\n- 2\n---\n").property("tags"), Some(&json!(["a", 2])));
    }

    #[test]
    fn a_thematic_break_at_the_top_is_not_front_matter() {
        for text in ["---\nJust prose here.\n---\n", "---\n", "---\na: 1\n", "--- x\na: 1\n---\n", ""] {
            assert_eq!(FrontMatter::split(text), (None, text));
        }
    }

    #[test]
    fn front_matter_ends_where_its_last_line_ends() {
        for (text, rest) in [
            ("---\r\na: 1\r\n---\r\nbody", "body"),
            ("---\na: 1\n...\n\nbody", "\nbody"),
            ("\u{feff}---\n---", ""),
            ("--- \na: 1\n--- \nb", "b"),
        ] {
            let (matter, left) = FrontMatter::split(text);
            assert_eq!(left, rest);
            assert_eq!(format!("{}{left}", matter.unwrap().raw()), text);
        }
    }

    #[test]
    fn setting_a_property_changes_only_its_lines() {
        let matter = read(SAMPLE);
        let set = set_property(&matter, "count", Some(json!(13)));
        assert_eq!(set.raw(), SAMPLE.replace("count: 12", "count: 13"));
        let set = set_property(&matter, "tags", Some(json!(["x", "y, z"])));
        assert_eq!(set.raw(), SAMPLE.replace("[a, 'b c', \"d,e\"]", "[x, \"y, z\"]"));
        let set = set_property(&matter, "place", None);
        assert_eq!(set.raw(), SAMPLE.replace("place:\n  lat: 1\n  lon: 2\n", ""));
        let set = set_property(&matter, "new", Some(json!(["one"])));
        assert_eq!(set.raw(), SAMPLE.replace("# not this\n---\n", "# not this\nnew:\n  - one\n---\n"));
        assert_eq!(set_property(&matter, "title", Some(json!("Sea: a note"))), matter);
    }

    #[test]
    fn line_ends_of_the_file_are_used() {
        let set = set_property(&read("---\r\na: 1\r\n---\r\n"), "b", Some(json!(["c"])));
        assert_eq!(set.raw(), "---\r\na: 1\r\nb:\r\n  - c\r\n---\r\n");
    }

    #[test]
    fn front_matter_can_be_made_from_nothing() {
        assert_eq!(set_property(&FrontMatter::default(), "a", Some(json!(true))).raw(), "---\na: true\n---\n");
    }

    #[test]
    fn deep_nesting_is_only_read_not_followed() {
        let raw = format!("---\na: {}\n---\n", "[".repeat(200_000));
        assert!(matches!(read(&raw).property("a"), Some(Value::String(_))));
    }

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[-#:,'\" a-z0-9\\[\\]{}|>&*!]{0,8}".prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn what_is_set_is_read_back(
            name in prop_oneof!["[a-zA-Z][a-zA-Z0-9 _-]{0,10}[a-z]", "[-#:'\"a-z \\[]{1,5}", any::<String>()],
            value in prop_oneof![scalar(), prop::collection::vec(scalar(), 0..4).prop_map(Value::Array)],
        ) {
            prop_assume!(!name.is_empty());
            let matter = read("---\nfirst: 1\n# note\nlast: [a]\n---\n");
            let set = set_property(&matter, &name, Some(value.clone()));
            prop_assert_eq!(set.property(&name), Some(&value), "{}", set.raw());
            prop_assert_eq!(FrontMatter::from_raw(set.raw()), Some(set.clone()));
            if !["first", "last"].contains(&name.as_str()) {
                let removed = set_property(&set, &name, None);
                prop_assert_eq!(removed.raw(), matter.raw());
            }
        }

        #[test]
        fn any_text_splits_without_loss(text in any::<String>(), body in any::<String>()) {
            for text in [text.clone(), format!("---\n{text}\n---\n{body}"), format!("---\na: {text}\n---\n{body}")] {
                let (matter, rest) = FrontMatter::split(&text);
                let raw = matter.as_ref().map_or("", FrontMatter::raw);
                prop_assert_eq!(format!("{raw}{rest}"), text.clone());
            }
        }
    }
}
