//! Evernote's export: a stream of notes, each with its text and its files.
//!
//! ```text
//! <note>  title, dates, tags, attributes ─▶ front matter
//!         content (ENML)                 ─▶ Markdown
//!         resource: base64               ─▶ a file in the scratch folder, known to the text by its MD5
//! ```
//! One note is in memory, without its files. A note that cannot be read costs only itself.

use std::collections::HashMap;
use std::io::BufRead;
use std::rc::Rc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use md5::{Digest as _, Md5};

use super::base64::Base64;
use super::html::{self, Links};
use super::markup::{Dialect, Markup, MarkupError, Tag, Token};
use super::scan::{Candidate, Carried, FILE_BYTES_MAX, FileFailure, Item, Trouble};
use super::scratch::{Keeping, Kept, Scratch};
use super::shape::{Front, Names};
use crate::export::portable;
use crate::modules::attachment::SIZE_MAX;
use crate::registry::BODY_BYTES_MAX;

/// Files of one note; further ones are left out, and named.
const RESOURCES_MAX: usize = 1_000;
/// Longest value of anything but text and files.
const VALUE_BYTES_MAX: usize = 16 * 1024;
/// Tags, attributes and tasks of a note.
const VALUES_MAX: usize = 500;
/// Elements within each other.
const DEPTH_MAX: usize = 64;

/// The notes of one file.
pub(crate) struct Enex<R> {
    markup: Markup<R>,
    scratch: Rc<Scratch>,
    /// Path of the file below what is imported.
    file: String,
    /// The notebook: the file's name.
    notebook: String,
    names: Names,
    is_begun: bool,
    is_done: bool,
}

#[derive(Default)]
struct Note {
    line: u64,
    title: String,
    content: String,
    created: String,
    updated: String,
    tags: Vec<String>,
    attributes: Vec<(String, String)>,
    tasks: Vec<(String, bool)>,
    resources: Vec<Resource>,
    troubles: Vec<Trouble>,
    is_too_large: bool,
}

#[derive(Default)]
struct Resource {
    line: u64,
    md5: String,
    media: String,
    name: String,
    kept: Option<Kept>,
    is_bad: bool,
}

impl<R: BufRead> Enex<R> {
    pub(crate) fn new(text: R, file: &str, scratch: Rc<Scratch>) -> Self {
        let name = file.rsplit('/').next().unwrap_or(file);
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let markup = Markup::new(text, Dialect::Xml);
        let notebook = portable(stem);
        let names = Names::default();
        Self { markup, scratch, file: file.to_owned(), notebook, names, is_begun: false, is_done: false }
    }

    fn failed(&self, line: u64, reason: FileFailure) -> Item {
        Item::Failed { path: self.file.clone(), line: Some(line), reason }
    }

    /// Reads up to the end of a note.
    fn note(&mut self) -> Result<Note, MarkupError> {
        let mut note = Note { line: self.markup.line(), ..Note::default() };
        let mut path: Vec<String> = Vec::new();
        let (mut value, mut data): (String, Option<Data>) = (String::new(), None);
        loop {
            let line = self.markup.line();
            match self.markup.next()?.ok_or(MarkupError::Truncated)? {
                Token::Open(tag) if tag.is_empty => {}
                Token::Open(tag) => {
                    match (path.len(), tag.name.as_str()) {
                        (0, "resource") => note.resources.push(Resource { line, ..Resource::default() }),
                        (0, "task") => note.tasks.push(<(String, bool)>::default()),
                        (1, "data") if path == ["resource"] => data = Some(Data::begin(&self.scratch, &note)?),
                        _ => {}
                    }
                    value.clear();
                    if path.len() < DEPTH_MAX {
                        path.push(tag.name);
                    }
                }
                Token::Text(text) => match path.first().map(String::as_str) {
                    Some("content") if path.len() == 1 => {
                        note.is_too_large |= (note.content.len() + text.len()) as u64 > FILE_BYTES_MAX;
                        if !note.is_too_large {
                            note.content.push_str(&text);
                        }
                    }
                    _ => match &mut data {
                        Some(data) => data.take(&text)?,
                        None if value.len() + text.len() <= VALUE_BYTES_MAX => value.push_str(&text),
                        None => {}
                    },
                },
                Token::Close(name) if name == "note" && path.is_empty() => return Ok(note),
                Token::Close(name) => {
                    // What was not closed ends with what it stands in.
                    let Some(at) = path.iter().rposition(|open| *open == name) else { continue };
                    path.truncate(at + 1);
                    let taken = std::mem::take(&mut value);
                    let names: Vec<&str> = path.iter().map(String::as_str).collect();
                    note.take(&names, taken.trim(), &mut data)?;
                    path.truncate(at);
                }
            }
        }
    }

    fn finished(&mut self, mut note: Note) -> Item {
        let line = note.line;
        if note.is_too_large {
            return self.failed(line, FileFailure::FileTooLarge);
        }
        let mut files = Files::of(std::mem::take(&mut note.resources), &mut note.troubles);
        let page = html::markdown(note.content.as_bytes(), &mut files, BODY_BYTES_MAX);
        let Ok(page) = page else { return self.failed(line, FileFailure::TextTooLarge) };
        let mut body = page.markdown;
        for (title, done) in note.tasks.iter().filter(|(title, _)| !title.is_empty()) {
            let sign = if *done { "- [x] " } else { "- [ ] " };
            body.push_str(&format!("{sign}{}\n", title.replace('\n', " ")));
        }
        for (name, _) in files.named.iter().filter(|(name, _)| !files.shown.contains(name)) {
            body.push_str(&format!("\n[{}]({})\n", name.replace(['[', ']'], ""), super::inline::address(name)));
        }
        if page.is_cut || body.len() > BODY_BYTES_MAX {
            return self.failed(line, FileFailure::TextTooLarge);
        }
        let title = if note.title.trim().is_empty() { "Untitled" } else { note.title.trim() };
        let path = self.names.free(&self.notebook, title);
        let mut front = Front::default();
        front.text("title", title);
        front.text("created", &shown_time(&note.created));
        front.text("updated", &shown_time(&note.updated));
        front.list("tags", &note.tags);
        for (name, value) in &note.attributes {
            front.text(if name == "source-url" { "source" } else { name }, value);
        }
        let mut candidate = Candidate::new(&path, front.before(&body), None);
        candidate.created_ms = time_ms(&note.created);
        candidate.files = files.named.into_iter().map(|(name, kept)| Carried { name, kept: Rc::new(kept) }).collect();
        (candidate.tags, candidate.troubles) = (note.tags, note.troubles);
        candidate.origin = Some((self.file.clone(), line));
        Item::File(candidate)
    }
}

impl Note {
    fn take(&mut self, path: &[&str], value: &str, data: &mut Option<Data>) -> Result<(), MarkupError> {
        let room = |count: usize| count < VALUES_MAX;
        match path {
            ["title"] => value.clone_into(&mut self.title),
            ["created"] => value.clone_into(&mut self.created),
            ["updated"] => value.clone_into(&mut self.updated),
            ["tag"] if room(self.tags.len()) && !value.is_empty() => self.tags.push(value.to_owned()),
            ["note-attributes", name] if room(self.attributes.len()) && !value.is_empty() => {
                self.attributes.push(((*name).to_owned(), value.to_owned()));
            }
            ["task", rest @ ..] => {
                let Some((title, done)) = self.tasks.last_mut() else { return Ok(()) };
                match rest {
                    ["title"] => value.clone_into(title),
                    ["taskStatus"] => *done = value == "completed",
                    _ => {}
                }
            }
            ["resource", "data"] => {
                let (Some(data), Some(resource)) = (data.take(), self.resources.last_mut()) else { return Ok(()) };
                match data.finish()? {
                    Some((kept, md5)) => (resource.kept, resource.md5) = (Some(kept), md5),
                    None => resource.is_bad = true,
                }
            }
            ["resource", rest @ ..] if !rest.is_empty() => {
                let Some(resource) = self.resources.last_mut() else { return Ok(()) };
                match rest {
                    ["mime"] => value.clone_into(&mut resource.media),
                    ["resource-attributes", "file-name"] => value.clone_into(&mut resource.name),
                    _ => {}
                }
            }
            ["resource"] if self.resources.len() > RESOURCES_MAX => {
                let line = self.resources.pop().map_or(self.line, |resource| resource.line);
                self.troubles.push(Trouble { line, target: None, reason: TOO_MANY.to_owned() });
            }
            _ => {}
        }
        Ok(())
    }
}

const TOO_MANY: &str = "one file too many: a note takes 1,000; attach it to another note";
const BAD: &str = "a file that is not whole or too large; export the note again";

/// A file that is read.
struct Data {
    keeping: Option<Keeping>,
    base64: Base64,
    md5: Md5,
}

impl Data {
    fn begin(scratch: &Scratch, note: &Note) -> Result<Self, MarkupError> {
        let keeping = (note.resources.len() <= RESOURCES_MAX).then(|| scratch.begin()).transpose()?;
        Ok(Self { keeping, base64: Base64::default(), md5: Md5::new() })
    }

    fn take(&mut self, text: &str) -> Result<(), MarkupError> {
        let Some(keeping) = &mut self.keeping else { return Ok(()) };
        match self.base64.decode(text.as_bytes()).filter(|_| keeping.bytes() <= SIZE_MAX) {
            Some(bytes) => {
                self.md5.update(&bytes);
                Ok(keeping.write(&bytes)?)
            }
            None => {
                self.keeping = None;
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<Option<(Kept, String)>, MarkupError> {
        let Some(keeping) = self.keeping.filter(|_| self.base64.is_whole()) else { return Ok(None) };
        let md5 = self.md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Some((keeping.finish()?, md5)))
    }
}

/// The files of a note, by the MD5 that its text names them by.
struct Files {
    named: Vec<(String, Kept)>,
    by_md5: HashMap<String, (String, bool)>,
    shown: Vec<String>,
}

impl Files {
    fn of(resources: Vec<Resource>, troubles: &mut Vec<Trouble>) -> Self {
        let mut files = Self { named: Vec::new(), by_md5: HashMap::new(), shown: Vec::new() };
        let mut names = Names::default();
        for resource in resources {
            let Some(kept) = resource.kept.filter(|kept| !resource.is_bad && kept.bytes > 0) else {
                let target = Some(resource.name).filter(|name| !name.is_empty());
                troubles.push(Trouble { line: resource.line, target, reason: BAD.to_owned() });
                continue;
            };
            if files.by_md5.contains_key(&resource.md5) {
                continue;
            }
            let name = match resource.name.as_str() {
                "" => format!("{}.{}", &resource.md5[..8], ending(&resource.media)),
                name => portable(name),
            };
            let name = names.free_file(&name);
            let is_picture = resource.media.starts_with("image/");
            files.by_md5.insert(resource.md5, (name.clone(), is_picture));
            files.named.push((name, kept));
        }
        files
    }
}

/// The usual ending of a media type.
fn ending(media: &str) -> &str {
    match media {
        "image/jpeg" => "jpg",
        "image/svg+xml" => "svg",
        "audio/mpeg" => "mp3",
        "text/plain" => "txt",
        "application/octet-stream" => "bin",
        media => {
            let (_, name) = media.rsplit_once('/').unwrap_or(("", media));
            let is_plain = (1..=8).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if is_plain { name } else { "bin" }
        }
    }
}

impl Links for Files {
    fn shown(&mut self, tag: &Tag) -> Option<(String, String, bool)> {
        if tag.name != "en-media" {
            let address = tag.get("src").filter(|src| !src.is_empty() && !src.starts_with("data:"))?;
            return Some((address.to_owned(), tag.get("alt").unwrap_or_default().to_owned(), true));
        }
        let (name, is_picture) = self.by_md5.get(&tag.get("hash")?.to_ascii_lowercase())?;
        self.shown.push(name.clone());
        let about = if *is_picture { tag.get("alt").unwrap_or_default() } else { name.as_str() };
        Some((name.clone(), about.to_owned(), *is_picture))
    }
}

/// `20200131T235959Z`.
fn time_ms(text: &str) -> Option<i64> {
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", text.trim().trim_end_matches('Z')).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// As people write it, or as it is.
fn shown_time(text: &str) -> String {
    let time = time_ms(text).and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| text.to_owned(), |time| time.to_string())
}

impl<R: BufRead> Iterator for Enex<R> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        while !self.is_done {
            let line = self.markup.line();
            let read = self.markup.next().and_then(|token| match token {
                Some(Token::Open(tag)) if tag.name == "note" && !tag.is_empty => self.note().map(Some),
                Some(Token::Open(tag)) if tag.name == "en-export" => {
                    self.is_begun = true;
                    Ok(None)
                }
                Some(Token::Close(name)) if name == "en-export" => {
                    self.is_done = true;
                    Ok(None)
                }
                Some(_) => Ok(None),
                None => Err(MarkupError::Truncated),
            });
            match read {
                Ok(Some(note)) => return Some(self.finished(note)),
                Ok(None) => {}
                Err(error) => {
                    self.is_done = true;
                    let reason = match error {
                        MarkupError::Truncated if !self.is_begun => {
                            FileFailure::Other("no Evernote export; name its format with --format")
                        }
                        error => FileFailure::Markup(error.to_string()),
                    };
                    return Some(self.failed(line, reason));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str) -> (Vec<Item>, (Rc<Scratch>, tempfile::TempDir)) {
        let home = tempfile::tempdir().unwrap();
        let scratch = Rc::new(Scratch::new(home.path()).unwrap());
        (Enex::new(text.as_bytes(), "in/Trips.enex", Rc::clone(&scratch)).collect(), (scratch, home))
    }

    fn said(items: &[Item]) -> Vec<String> {
        let said = |item: &Item| match item {
            Item::File(file) => file.path.clone(),
            Item::Failed { path, line, reason } => format!("{path}:{}: {reason}", line.unwrap_or_default()),
            Item::Skipped { path, .. } => path.clone(),
        };
        items.iter().map(said).collect()
    }

    fn export(notes: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE en-export SYSTEM \"http://xml.evernote.com/pub/evernote-export4.dtd\">\n\
             <en-export export-date=\"20240101T000000Z\" application=\"Evernote\" version=\"10\">{notes}</en-export>"
        )
    }

    fn note(title: &str, body: &str, rest: &str) -> String {
        format!(
            "<note><title>{title}</title><created>20200131T235959Z</created>{rest}<content><![CDATA[<?xml version=\"1.0\"?>\
             <!DOCTYPE en-note SYSTEM \"http://xml.evernote.com/pub/enml2.dtd\"><en-note>{body}</en-note>]]></content></note>"
        )
    }

    #[test]
    fn a_note_comes_over_with_its_dates_tags_attributes_tasks_and_files() {
        // The MD5 of "hello".
        let resource = "<resource><data encoding=\"base64\">aGVs\nbG8=</data><mime>image/png</mime><resource-attributes>\
                        <file-name>a/b.png</file-name></resource-attributes></resource>\
                        <resource><data>d29ybGQ=</data><mime>application/pdf</mime></resource>";
        let rest = "<updated>20210101T000000Z</updated><tag>a b</tag><tag>c</tag><note-attributes><source-url>https://x.org/?a=1&amp;b</source-url>\
                    <latitude>52.5</latitude></note-attributes><task><title>Call</title><taskStatus>completed</taskStatus></task>";
        let body = "<div>Look <en-media type=\"image/png\" hash=\"5d41402abc4b2a76b9719d911017c592\"/></div><div>&uuml;ber</div>";
        let text = export(&note("Sea &amp; sand", body, &(rest.to_owned() + resource)));
        let (items, _home) = read(&text);
        let [Item::File(file)] = items.as_slice() else { panic!("{:?}", said(&items)) };
        assert_eq!((file.path.as_str(), file.created_ms), ("Trips/Sea & sand.md", Some(1_580_515_199_000)));
        let expected = "---\ntitle: \"Sea & sand\"\ncreated: 2020-01-31T23:59:59Z\nupdated: 2021-01-01T00:00:00Z\n\
                        tags: [a b, c]\nsource: \"https://x.org/?a=1&b\"\nlatitude: \"52.5\"\n---\n\n\
                        Look ![](a-b.png)\n\nüber\n- [x] Call\n\n[7d793037.pdf](7d793037.pdf)\n";
        assert_eq!(file.text, expected);
        let files: Vec<_> =
            file.files.iter().map(|file| (file.name.as_str(), fs::read(file.kept.place()).unwrap())).collect();
        assert_eq!(files, [("a-b.png", b"hello".to_vec()), ("7d793037.pdf", b"world".to_vec())]);
    }

    #[test]
    fn names_that_would_lead_elsewhere_stay_below_the_notebook() {
        let resource = "<resource><data>aGVsbG8=</data><mime>x/../../y</mime><resource-attributes><file-name>../../etc/passwd</file-name>\
                        </resource-attributes></resource>";
        let (items, _home) = read(&export(&note("../../../etc/cron", "<img src=\"../../id\"/>", resource)));
        let [Item::File(file)] = items.as_slice() else { panic!("{:?}", said(&items)) };
        assert!(file.path.split('/').count() == 2 && !file.path.split('/').any(|part| part == ".."), "{}", file.path);
        assert!(!file.files[0].name.contains('/'), "{}", file.files[0].name);
    }

    #[test]
    fn a_file_that_is_cut_off_keeps_its_notes_and_says_where_it_ends() {
        let text = export(&(note("One", "<div>1</div>", "") + "\n" + &note("Two", "<div>2</div>", "")));
        for end in [text.len() - 1, text.len() - 60, text.find("Two").unwrap()] {
            let found = said(&read(&text[..end]).0);
            assert_eq!(found[0], "Trips/One.md");
            assert!(found.last().unwrap().starts_with("in/Trips.enex:"), "{found:?}");
            assert!(found.last().unwrap().contains("the file ends in the middle"), "{found:?}");
        }
        assert_eq!(said(&read("<html>").0), ["in/Trips.enex:1: no Evernote export; name its format with --format"]);
    }

    #[test]
    fn a_bad_file_of_a_note_is_named_with_its_line_and_the_note_comes_over() {
        let bad = "\n<resource><data>aGV!</data><mime>image/png</mime><resource-attributes><file-name>x.png</file-name></resource-attributes></resource>";
        let (items, (scratch, home)) = read(&export(&note("One", "<div>1</div>", bad)));
        let [Item::File(file)] = items.as_slice() else { panic!("{:?}", said(&items)) };
        let [trouble] = file.troubles.as_slice() else { panic!("{:?}", file.troubles) };
        assert_eq!((trouble.line, trouble.target.as_deref()), (4, Some("x.png")));
        drop((items, scratch));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing is left of it");
    }

    #[test]
    fn days_of_year_0_and_9999_and_no_days_at_all_are_kept_as_they_are() {
        assert_eq!(shown_time("00000101T000000Z"), "0000-01-01T00:00:00Z");
        assert_eq!(shown_time("99991230T220000Z"), "9999-12-30T22:00:00Z");
        // Beyond what is a moment in every zone.
        for odd in ["99991231T235959Z", "20201340T000000Z", "yesterday", "", "99999999999999T"] {
            assert_eq!((time_ms(odd), shown_time(odd)), (None, odd.to_owned()));
        }
    }

    #[test]
    fn a_note_that_is_too_large_costs_only_itself() {
        let large = format!("<div>{}</div>", "word ".repeat(2 << 20));
        let found = said(&read(&export(&(note("One", &large, "") + &note("Two", "2", "")))).0);
        assert_eq!(found, ["in/Trips.enex:3: larger than 8 MiB; split it, or leave it out", "Trips/Two.md"]);
        let middle = format!("<div>{}</div>", "word ".repeat(250_000));
        let found = said(&read(&export(&(note("One", &middle, "") + &note("Two", "2", "")))).0);
        assert!(found[0].contains("its text is larger than 1 MiB") && found[1] == "Trips/Two.md", "{found:?}");
    }

    #[test]
    fn nesting_and_entities_without_end_cost_little() {
        let deep = "<a>".repeat(200_000);
        let lol = "<!DOCTYPE en-export [<!ENTITY a \"&b;&b;\"><!ENTITY b \"&a;\">]>";
        let (items, _home) = read(&format!("{lol}<en-export><note><title>&a;</title>{deep}</note></en-export>"));
        assert_eq!(said(&items).len(), 1);
    }
}
