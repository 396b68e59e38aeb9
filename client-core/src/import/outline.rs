//! Outlines (OPML) and the bookmarks of browsers as notes with a nested list.

use std::io::BufRead;

use super::inline::{Run, Style, address, render};
use super::markup::{Dialect, Markup, MarkupError, Tag, Token};
use super::scan::{Candidate, FileFailure, Item};
use super::shape::{Front, Names};

/// A note ends at the next item of the top after so many bytes.
const NOTE_BYTES: usize = 512 * 1024;
/// Longest item with what is said of it; the rest is left out.
const ITEM_BYTES_MAX: usize = 64 * 1024;
/// Items within each other; deeper ones stand at this depth.
const DEPTH_MAX: usize = 32;

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutlineKind {
    Opml,
    Bookmarks,
}

/// The notes of one file.
pub(crate) struct Outline<R> {
    markup: Markup<R>,
    kind: OutlineKind,
    file: String,
    names: Names,
    title: String,
    out: String,
    depth: usize,
    is_begun: bool,
    is_done: bool,
    failure: Option<Item>,
    /// Bookmarks: what the text that comes belongs to.
    within: Within,
    text: String,
    link: Option<String>,
    tags: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    Title,
    Folder,
    Link,
    Said,
}

impl<R: BufRead> Outline<R> {
    pub(crate) fn new(text: R, kind: OutlineKind, file: &str) -> Self {
        let dialect = if kind == OutlineKind::Opml { Dialect::Xml } else { Dialect::Html };
        Self {
            markup: Markup::new(text, dialect),
            kind,
            file: file.to_owned(),
            names: Names::default(),
            title: String::new(),
            out: String::new(),
            depth: 0,
            is_begun: kind == OutlineKind::Bookmarks,
            is_done: false,
            failure: None,
            within: Within::Nothing,
            text: String::new(),
            link: None,
            tags: String::new(),
        }
    }

    fn item(&mut self, text: &str, link: Option<&str>, done: Option<bool>) {
        let cut = |text: &str| text.chars().take(ITEM_BYTES_MAX / 4).collect::<String>();
        let text = cut(text).split_whitespace().collect::<Vec<_>>().join(" ");
        let link = link.filter(|link| link.len() <= ITEM_BYTES_MAX).map(address).filter(|link| !link.is_empty());
        let shown = if text.is_empty() { link.clone().unwrap_or_default() } else { text };
        let words = render(&[Run { text: shown, style: Style::default(), link, raw: false }]);
        let sign = done.map_or("", |done| if done { "[x] " } else { "[ ] " });
        let indent = "  ".repeat(self.depth.min(DEPTH_MAX));
        self.out.push_str(&format!("{indent}- {sign}{words}\n"));
    }

    /// What is said of the item before.
    fn said(&mut self, text: &str) {
        let indent = "  ".repeat(self.depth.min(DEPTH_MAX) + 1);
        let lines: String = text.chars().take(ITEM_BYTES_MAX / 4).collect();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words = render(&[Run { text: line.to_owned(), style: Style::default(), link: None, raw: false }]);
            self.out.push_str(&format!("\n{indent}{words}\n"));
        }
    }

    fn take(&mut self, token: Token) {
        match (self.kind, token) {
            (OutlineKind::Opml, Token::Open(tag)) => self.open_outline(&tag),
            (OutlineKind::Opml, Token::Close(name)) => match name.as_str() {
                "outline" => self.depth = self.depth.saturating_sub(1),
                "title" => self.within = Within::Nothing,
                "opml" => self.is_done = true,
                _ => {}
            },
            (OutlineKind::Bookmarks, Token::Open(tag)) => self.open_bookmark(&tag),
            (OutlineKind::Bookmarks, Token::Close(name)) => self.close_bookmark(&name),
            (_, Token::Text(text)) => {
                let into = if self.within == Within::Title { &mut self.title } else { &mut self.text };
                if self.within != Within::Nothing && into.len() + text.len() <= ITEM_BYTES_MAX {
                    into.push_str(&text);
                }
            }
        }
    }

    fn open_outline(&mut self, tag: &Tag) {
        match tag.name.as_str() {
            "opml" => self.is_begun = true,
            "title" if self.out.is_empty() => self.within = Within::Title,
            "outline" => {
                let get = |names: &[&str]| names.iter().find_map(|name| tag.get(name)).filter(|text| !text.is_empty());
                let done = match get(&["_status", "_complete", "complete", "checked"]) {
                    Some("checked" | "true") => Some(true),
                    Some("unchecked" | "false" | "indeterminate") => Some(false),
                    _ => None,
                };
                let (text, link) = (get(&["text", "title"]), get(&["htmlUrl", "url", "xmlUrl"]));
                self.item(text.unwrap_or_default(), link, done);
                if let Some(said) = get(&["_note", "description"]) {
                    self.said(said);
                }
                self.depth += usize::from(!tag.is_empty);
            }
            _ => {}
        }
    }

    fn open_bookmark(&mut self, tag: &Tag) {
        if matches!(tag.name.as_str(), "dt" | "dl" | "hr") {
            self.end_said();
        }
        match tag.name.as_str() {
            "title" => self.within = Within::Title,
            "dl" => self.depth += 1,
            "h3" => self.within = Within::Folder,
            "a" => {
                self.within = Within::Link;
                self.link = tag.get("href").map(str::to_owned);
                tag.get("tags").unwrap_or_default().clone_into(&mut self.tags);
            }
            "dd" => self.within = Within::Said,
            _ => {}
        }
    }

    fn close_bookmark(&mut self, name: &str) {
        match (name, self.within) {
            ("title", Within::Title) => self.within = Within::Nothing,
            ("h3", Within::Folder) | ("a", Within::Link) => {
                let (text, link) = (std::mem::take(&mut self.text), self.link.take());
                let depth = self.depth;
                self.depth = depth.saturating_sub(1);
                self.item(&text, link.as_deref(), None);
                let tags = std::mem::take(&mut self.tags);
                let tags: Vec<String> = tags.split(',').filter_map(tag_of).collect();
                if !tags.is_empty() {
                    self.out.pop();
                    self.out.push_str(&format!(" {}\n", tags.join(" ")));
                }
                (self.depth, self.within) = (depth, Within::Nothing);
            }
            ("dl", _) => {
                self.end_said();
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
    }

    fn end_said(&mut self) {
        let text = std::mem::take(&mut self.text);
        if self.within == Within::Said {
            let depth = self.depth;
            self.depth = depth.saturating_sub(1);
            self.said(&text);
            self.depth = depth;
        }
        self.within = Within::Nothing;
    }

    fn note(&mut self) -> Option<Item> {
        let out = std::mem::take(&mut self.out);
        if out.is_empty() {
            return None;
        }
        let (folder, name) = self.file.rsplit_once('/').unwrap_or(("", &self.file));
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let path = self.names.free(folder, stem);
        let mut front = Front::default();
        front.text("title", self.title.trim());
        Some(Item::File(Candidate::new(&path, front.before(&out), None)))
    }
}

/// A tag as it is written in a text.
fn tag_of(name: &str) -> Option<String> {
    let name: String = name.trim().chars().map(|char| if char.is_whitespace() { '-' } else { char }).collect();
    let is_tag = name.chars().any(|char| !char.is_ascii_digit())
        && name.chars().all(|char| char.is_alphanumeric() || "-_/".contains(char));
    is_tag.then(|| format!("#{name}"))
}

impl<R: BufRead> Iterator for Outline<R> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        while !self.is_done {
            let line = self.markup.line();
            match self.markup.next() {
                Ok(Some(token)) => {
                    let is_top = self.depth <= usize::from(self.kind == OutlineKind::Bookmarks);
                    if is_top && matches!(token, Token::Open(_)) && self.out.len() > NOTE_BYTES {
                        let note = self.note();
                        self.take(token);
                        return note;
                    }
                    self.take(token);
                }
                Ok(None) if self.kind == OutlineKind::Bookmarks => {
                    self.end_said();
                    self.is_done = true;
                }
                read => {
                    self.is_done = true;
                    let reason = match read {
                        _ if !self.is_begun => FileFailure::Other("no outline (OPML); name its format with --format"),
                        Err(error) => FileFailure::Markup(error.to_string()),
                        Ok(_) => FileFailure::Markup(MarkupError::Truncated.to_string()),
                    };
                    self.failure = Some(Item::Failed { path: self.file.clone(), line: Some(line), reason });
                }
            }
        }
        self.note().or_else(|| self.failure.take())
    }
}

/// A feed of an outline: address, title, page, folder.
pub type OutlineFeed = (String, String, String, String);

/// Feeds that are taken of one outline.
const FEEDS_MAX: usize = 10_000;

/// The feeds that an outline lists, with the path of the items they stand in as their folder. One that is cut off gives those
/// before that.
///
/// # Errors
/// When it is no outline.
pub fn opml_feeds(bytes: &[u8]) -> Result<Vec<OutlineFeed>, FileFailure> {
    let opened = super::text::open(bytes).map_err(FileFailure::Unreadable)?;
    let mut markup = Markup::new(opened.text, Dialect::Xml);
    let (mut found, mut folders, mut is_outline) = (Vec::new(), Vec::new(), false);
    while let Ok(Some(token)) = markup.next() {
        match token {
            Token::Open(tag) if tag.name == "opml" => is_outline = true,
            Token::Open(tag) if tag.name == "outline" && is_outline => {
                let get = |name: &str| tag.get(name).unwrap_or_default().to_owned();
                let title = if get("text").is_empty() { get("title") } else { get("text") };
                if let Some(url) = tag.get("xmlUrl").filter(|url| !url.is_empty()).filter(|_| found.len() < FEEDS_MAX) {
                    let named = folders.iter().filter(|folder: &&String| !folder.is_empty()).take(DEPTH_MAX);
                    let folder = named.map(String::as_str).collect::<Vec<_>>().join("/");
                    found.push((url.to_owned(), title.clone(), get("htmlUrl"), folder.chars().take(500).collect()));
                }
                // Deeper ones stand in the last folder that is kept.
                if !tag.is_empty {
                    folders.push(if folders.len() < DEPTH_MAX {
                        title.chars().take(200).collect()
                    } else {
                        String::new()
                    });
                }
            }
            Token::Close(name) if name == "outline" => drop(folders.pop()),
            _ => {}
        }
    }
    if is_outline {
        Ok(found)
    } else {
        Err(FileFailure::Other("no outline (OPML); give a file that a feed reader exported"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, kind: OutlineKind) -> Vec<String> {
        let said = |item| match item {
            Item::File(file) => format!("{}: {}", file.path, file.text),
            Item::Failed { path, line, reason } => format!("{path}:{}: {reason}", line.unwrap_or_default()),
            Item::Skipped { path, .. } => path,
        };
        Outline::new(text.as_bytes(), kind, "in/list.x").map(said).collect()
    }

    #[test]
    fn an_outline_becomes_a_nested_list() {
        let text = "<?xml version='1.0'?><opml version='2.0'><head><title>My &amp; list</title></head><body>\
                    <outline text='One' _note='said&#10;twice'><outline text='in *it*' _status='checked'/></outline>\
                    <outline text='Feed' xmlUrl='https://x.org/f (1)'/></body></opml>";
        let note = "in/list.md: ---\ntitle: \"My & list\"\n---\n\n- One\n\n  said\n\n  twice\n  - [x] in \\*it\\*\n\
                    - [Feed](https://x.org/f%20%281%29)\n";
        assert_eq!(read(text, OutlineKind::Opml), [note]);
    }

    #[test]
    fn bookmarks_keep_their_folders_and_tags() {
        let text = "<!DOCTYPE NETSCAPE-Bookmark-file-1><TITLE>Bookmarks</TITLE><H1>Menu</H1><DL><p>\
                    <DT><H3 ADD_DATE=1>Tools</H3><DL><p><DT><A HREF=\"https://a.org\" TAGS=\"rust,a b\">A</A><DD>good one\
                    <DT><A HREF=\"https://b.org\">https://b.org</A></DL><p><DT><A HREF=\"javascript:x\">C</A></DL>";
        let note = "in/list.md: ---\ntitle: Bookmarks\n---\n\n- Tools\n  - [A](https://a.org) #rust #a-b\n\n    good one\n  \
                    - <https://b.org>\n- [C](javascript:x)\n";
        assert_eq!(read(text, OutlineKind::Bookmarks), [note]);
    }

    #[test]
    fn a_long_outline_is_several_notes_and_a_cut_one_keeps_what_came_and_says_so() {
        let item = format!("<outline text='{}'/>", "word ".repeat(100));
        let text = format!("<opml><body>{}", item.repeat(2_500));
        let read = read(&text, OutlineKind::Opml);
        assert_eq!(read.len(), 4, "three notes and what is wrong");
        assert!(read[..3].iter().all(|note| note.len() < 600 << 10) && read[1].starts_with("in/list (2).md"));
        assert!(read[3].starts_with("in/list.x:1: the file ends in the middle"), "{}", read[3]);
        assert_eq!(
            self::read("<html>", OutlineKind::Opml),
            ["in/list.x:1: no outline (OPML); name its format with --format"]
        );
    }

    #[test]
    fn items_within_items_without_end_cost_little() {
        let text = format!("<opml><body>{}", "<outline text='x'>".repeat(50_000));
        let read = read(&text, OutlineKind::Opml);
        assert!(read.iter().all(|note| note.len() < 6 << 20), "{}", read.len());
    }
}
