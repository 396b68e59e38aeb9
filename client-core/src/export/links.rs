//! Links to files in notes: where one may lead to in a folder of notes, where it stands in the text, and the text with
//! other targets. Import and export agree on all of it, so that what one writes the other finds.

use std::collections::{BTreeMap, HashMap, HashSet};

use unicode_normalization::UnicodeNormalization;

use crate::modules::notes::markdown::percent_decoded;

/// Longest ending that makes a target a file rather than a note with a dot in its name.
const ENDING_CHARS_MAX: usize = 8;
/// Longest target that is looked for in a line: what lies behind is not searched again and again.
const TARGET_BYTES_MAX: usize = 2048;
/// Different targets that are looked at in one note.
const TARGETS_MAX: usize = 4096;

/// A link of a note to a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileLink {
    /// What it says, without percent signs and anchor.
    pub(crate) target: String,
    /// Shown in the note, not only linked.
    pub(crate) is_embedded: bool,
}

/// A target as it is written by the two ways of linking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewTarget {
    /// In `[[…]]`.
    pub(crate) wiki: String,
    /// In `[](…)`, with percent signs where they are needed.
    pub(crate) inline: String,
}

/// What a note links to that may be a file, each target once, in order: not what has a scheme or a note's ending, nor what
/// stands in code. Links are found by their signs alone: an import reads every note for them.
pub(crate) fn file_links(markdown: &str) -> Vec<FileLink> {
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    for (line, _) in outside_code(markdown).filter(|(_, is_code)| !is_code) {
        for reference in references(line).into_iter().filter(|reference| may_be_file(&reference.target)) {
            if found.len() == TARGETS_MAX {
                return found;
            }
            if seen.insert(reference.target.clone()) {
                found.push(FileLink { target: reference.target, is_embedded: reference.is_embedded });
            }
        }
    }
    found
}

fn may_be_file(target: &str) -> bool {
    let name = target.rsplit('/').next().unwrap_or(target);
    !name.is_empty() && !is_note(name) && !target.contains([':', '\\', '\0'])
}

/// Whether a target looks like a file's and not like a note's, whose names have no ending.
pub(crate) fn has_ending(target: &str) -> bool {
    let name = target.rsplit('/').next().unwrap_or(target);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    (1..=ENDING_CHARS_MAX).contains(&ending.len()) && ending.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a name is that of a Markdown file.
pub(crate) fn is_note(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ending.eq_ignore_ascii_case("md") || ending.eq_ignore_ascii_case("markdown")
}

/// The folder of a path with `/`.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Paths that a target may mean for a note in `folder`, the first that is there counts: from the note's folder on, then
/// from the top. None where it leads out.
pub(crate) fn places(folder: &str, target: &str) -> Vec<String> {
    let folder = if target.starts_with('/') { "" } else { folder };
    let mut places: Vec<String> = [folder, ""].iter().filter_map(|from| joined(from, target)).collect();
    places.dedup();
    places
}

fn joined(folder: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Whether a target is a mere name: it means the file of that name, wherever that is.
pub(crate) fn is_bare(target: &str) -> bool {
    !target.contains('/')
}

/// What two paths are compared by: some file systems know no case, and some write letters in parts.
pub(crate) fn folded(path: &str) -> String {
    path.nfc().flat_map(char::to_lowercase).nfc().collect()
}

/// The way from a folder to a path, both below one.
pub(crate) fn relative(folder: &str, path: &str) -> String {
    let from: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let to: Vec<&str> = path.split('/').collect();
    let common = from.iter().zip(&to[..to.len() - 1]).take_while(|(one, other)| one == other).count();
    let up = std::iter::repeat_n("..", from.len() - common);
    up.chain(to[common..].iter().copied()).collect::<Vec<_>>().join("/")
}

/// A path as the address of a link.
pub(crate) fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for char in path.chars() {
        match char {
            ' ' => out.push_str("%20"),
            '%' => out.push_str("%25"),
            '(' => out.push_str("%28"),
            ')' => out.push_str("%29"),
            '<' => out.push_str("%3C"),
            '>' => out.push_str("%3E"),
            '#' => out.push_str("%23"),
            '?' => out.push_str("%3F"),
            char => out.push(char),
        }
    }
    out
}

/// The line, from 1, of the first link with each target.
pub(crate) fn lines_of(markdown: &str) -> HashMap<String, u64> {
    let mut lines = HashMap::new();
    for (number, line) in (1..).zip(markdown.lines()) {
        for reference in references(line) {
            lines.entry(reference.target).or_insert(number);
        }
    }
    lines
}

/// The text with links that lead elsewhere; what stands in a block of code stays.
pub(crate) fn rewritten(markdown: &str, targets: &BTreeMap<String, NewTarget>) -> String {
    if targets.is_empty() {
        return markdown.to_owned();
    }
    let mut out = String::with_capacity(markdown.len());
    for (line, is_code) in outside_code(markdown) {
        if is_code {
            out.push_str(line);
        } else {
            rewrite_line(line, targets, &mut out);
        }
    }
    out
}

/// The lines with their ends, and whether they belong to a block of code.
fn outside_code(markdown: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut fence = None;
    markdown.split_inclusive('\n').map(move |line| {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        let is_code = fence.is_some() || mark.is_some();
        match (fence, mark) {
            (None, Some(_)) => fence = mark,
            (Some(open), Some(mark)) if open == mark => fence = None,
            _ => {}
        }
        (line, is_code)
    })
}

fn rewrite_line(line: &str, targets: &BTreeMap<String, NewTarget>, out: &mut String) {
    let mut from = 0;
    for reference in references(line) {
        let Some(new) = targets.get(&reference.target) else { continue };
        out.push_str(&line[from..reference.range.start]);
        out.push_str(if reference.is_wiki { &new.wiki } else { &new.inline });
        from = reference.range.end;
    }
    out.push_str(&line[from..]);
}

/// Something in a line that looks like a link.
struct Reference {
    /// Of the target alone.
    range: std::ops::Range<usize>,
    target: String,
    is_wiki: bool,
    is_embedded: bool,
}

/// The links of a line, without those between an odd and an even backtick.
fn references(line: &str) -> Vec<Reference> {
    let (bytes, mut found, mut at) = (line.as_bytes(), Vec::new(), 0);
    // Whether it is inside of code, and where the last bracket was opened.
    let (mut is_code, mut opened) = (false, None);
    let is_shown = |at: usize| at > 0 && bytes[at - 1] == b'!';
    while at + 1 < bytes.len() {
        let next = at + 2;
        match (bytes[at], bytes[at + 1]) {
            (b'`', _) => is_code = !is_code,
            (b'[', b'[') if !is_code => {
                let rest = &line[next..next + line[next..].floor_char_boundary(TARGET_BYTES_MAX)];
                if let Some((inner, _)) = rest.split_once("]]") {
                    let raw = &inner[..inner.find(['|', '#']).unwrap_or(inner.len())];
                    // In a table the bar is written `\|`.
                    let raw = raw.trim_end_matches('\\');
                    let (range, target) = (next..next + raw.len(), raw.trim().to_owned());
                    found.push(Reference { range, target, is_wiki: true, is_embedded: is_shown(at) });
                    at = next + inner.len();
                    continue;
                }
            }
            (b'[', _) => opened = Some(at),
            (b']', b'(') if !is_code => {
                let rest = &line[next..next + line[next..].floor_char_boundary(TARGET_BYTES_MAX)];
                let raw = address(rest);
                let begin = next + rest.len() - rest.trim_start().len();
                let plain = raw.split_once('#').map_or(raw, |(plain, _)| plain);
                let range = begin..begin + if raw.starts_with('<') { raw.len() } else { plain.len() };
                let decoded = percent_decoded(plain.trim_start_matches('<').trim_end_matches('>'));
                let (target, is_embedded) = (decoded.trim().to_owned(), opened.is_some_and(is_shown));
                found.push(Reference { range, target, is_wiki: false, is_embedded });
                at = begin + raw.len();
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The address at the beginning of what stands between the brackets of a link, `<` and `>` included.
fn address(inner: &str) -> &str {
    let inner = inner.trim_start();
    if inner.starts_with('<') {
        return inner.find('>').map_or(inner, |end| &inner[..=end]);
    }
    let mut depth = 0_usize;
    for (at, char) in inner.char_indices() {
        match char {
            '(' => depth += 1,
            ')' if depth == 0 => return &inner[..at],
            ')' => depth -= 1,
            ' ' | '\t' | '\n' => return &inner[..at],
            _ => {}
        }
    }
    inner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_are_told_from_links_to_notes_and_addresses() {
        let text = "![[a.png]] ![x](b%20c.jpg \"t\") [[Note]] [[v1.2 plan]] [d](d.pdf#page=2) [[e.md]]\n\
                    <https://x.org/f.png> [g](https://x.org/g.png) [h](mailto:h@x.org) `![[i.png]]` ![[a.png|200]]\n";
        let found: Vec<String> = file_links(text).into_iter().map(|link| link.target).collect();
        assert_eq!(found, ["a.png", "b c.jpg", "Note", "v1.2 plan", "d.pdf"]);
        assert_eq!(found.iter().map(|target| has_ending(target)).collect::<Vec<_>>(), [true, true, false, false, true]);
        let bare = file_links("![](x.png)\n```\n![](y.png)\n```\n`![](z.png)` [](w.png)\n");
        assert_eq!(bare.into_iter().map(|link| link.target).collect::<Vec<_>>(), ["x.png", "w.png"]);
        assert!(file_links("[x](a.png) [[b.png]]").iter().all(|link| !link.is_embedded));
        assert!(file_links("![[a.png]] ![x](b.png) ![](c.png)").iter().all(|link| link.is_embedded));
        assert_eq!((lines_of(text)["d.pdf"], lines_of("\n\n[x](<b c.jpg>)")["b c.jpg"]), (1, 3));
    }

    #[test]
    fn a_target_leads_nowhere_outside_the_folder() {
        assert_eq!(places("a/b", "../c.png"), ["a/c.png"]);
        assert_eq!(places("a", "x.png"), ["a/x.png", "x.png"]);
        assert_eq!(places("a", "/x.png"), ["x.png"]);
        for out in ["../../x.png", "../../../etc/passwd.txt", "..", "/..", ""] {
            assert!(places("a", out).iter().all(|place| !place.contains("..")), "{out}");
        }
        assert!(places("", "../x.png").is_empty());
        assert!(file_links("![](C:/x.png) ![](a\\\\b.png) ![](file:///etc/x.png)").is_empty());
        assert_eq!(relative("a/b", "a/c/x.png"), "../c/x.png");
        assert_eq!(relative("", "x.png"), "x.png");
    }

    #[test]
    fn only_the_target_of_a_link_is_rewritten_and_code_stays() {
        let new = NewTarget { wiki: "attachments/n (2).png".into(), inline: encoded("../attachments/n (2).png") };
        let targets = BTreeMap::from([("n.png".to_owned(), new)]);
        let text = "![[n.png|200]] [[n.png#p]] ![n.png](n.png \"n.png\") [x](<n.png>) n.png\n```\n![[n.png]]\n```\n| ![[n.png\\|9]] |\n";
        let wanted = "![[attachments/n (2).png|200]] [[attachments/n (2).png#p]] \
                      ![n.png](../attachments/n%20%282%29.png \"n.png\") [x](../attachments/n%20%282%29.png) n.png\n\
                      ```\n![[n.png]]\n```\n| ![[attachments/n (2).png\\|9]] |\n";
        assert_eq!(rewritten(text, &targets), wanted);
        assert_eq!(file_links(wanted).len(), 2, "{:?}", file_links(wanted));
        for torn in ["]( [[ ]( [[n", "[[", "](", "](<", "[[\u{e9}", "![](\u{1f600}"] {
            assert_eq!(rewritten(torn, &targets), torn);
        }
        let many = "[".repeat(1 << 20) + &"![](`".repeat(1 << 17);
        assert_eq!(rewritten(&many, &targets), many);
        assert!(file_links(&"![](`".repeat(1 << 10)).len() < 4096);
    }
}
