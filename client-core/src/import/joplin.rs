//! Joplin's exports: a folder of items (RAW), or the same as a tar archive (JEX).
//!
//! ```text
//! <id>.md               an item: note, notebook, tag, which note has which tag, what a file is called
//! resources/<id>.<end>  the bytes of a file
//! ```
//! All items are read once for what they are called and where they stand; then one note after the other is read again and
//! comes with its files. An id is 32 hex characters: no other name in an archive means anything.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use jiff::Timestamp;

use super::html::{self, Links};
use super::markup::Tag;
use super::scan::{Candidate, Carried, FILE_BYTES_MAX, FileFailure, Item, ScanError, Trouble};
use super::scratch::Scratch;
use super::shape::{Front, Names};
use super::tar;
use crate::export::links::{encoded, folder_of, relative};
use crate::export::portable;
use crate::modules::attachment::SIZE_MAX;
use crate::registry::BODY_BYTES_MAX;

/// Notebooks within each other.
const DEPTH_MAX: usize = 32;
const ID_CHARS: usize = 32;

/// Where an item lies.
#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    /// In the archive: from where, how long.
    Part(u64, u64),
}

/// Name, place and bytes.
type Found = (String, Place, u64);

/// The notes of an export.
pub(crate) struct Joplin {
    path: PathBuf,
    root: PathBuf,
    scratch: Rc<Scratch>,
    known: Known,
    waiting: VecDeque<(String, Place)>,
    failed: VecDeque<Item>,
    total: u64,
}

/// What notes refer to, by id.
#[derive(Default)]
struct Known {
    folders: HashMap<String, (String, String)>,
    tags: HashMap<String, String>,
    tagged: HashMap<String, Vec<String>>,
    files: HashMap<String, (String, String)>,
    bytes: HashMap<String, (Place, u64)>,
    /// Paths of the notes.
    paths: HashMap<String, String>,
}

/// An item: its text, and what is said of it.
struct Entry {
    title: String,
    body: String,
    said: HashMap<String, String>,
}

impl Entry {
    /// Title, an empty line, text, an empty line, `name: value` lines.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end_matches('\n');
        let (above, lines) = text.rsplit_once("\n\n").unwrap_or(("", text));
        let said: HashMap<String, String> = lines
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned()))
            .collect();
        said.get("type_")?;
        let (title, body) = above.split_once("\n\n").unwrap_or((above, ""));
        Some(Self { title: title.trim().to_owned(), body: body.to_owned(), said })
    }

    fn get(&self, name: &str) -> &str {
        self.said.get(name).map_or("", String::as_str)
    }
}

fn id_of(name: &str) -> Option<&str> {
    let id = name.get(..ID_CHARS)?;
    id.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(id)
}

impl Joplin {
    pub(crate) fn open(path: &Path, scratch: Scratch) -> Result<Self, ScanError> {
        let real = fs::canonicalize(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ScanError::NotFound,
            _ => ScanError::Unreadable(error),
        })?;
        let is_folder = real.is_dir();
        let root = if is_folder { real.clone() } else { real.parent().unwrap_or(&real).to_path_buf() };
        let scratch = Rc::new(scratch);
        let (known, waiting, failed) = (Known::default(), VecDeque::new(), VecDeque::new());
        let mut joplin = Self { path: real, root, scratch, known, waiting, failed, total: 0 };
        let (places, whole) = joplin.list(is_folder).map_err(ScanError::Unreadable)?;
        if !whole {
            joplin.fail(&joplin.name(), FileFailure::Other("the archive ends in the middle; export it again"));
        }
        joplin.survey(places);
        joplin.total = joplin.waiting.len() as u64;
        Ok(joplin)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn fail(&mut self, path: &str, reason: FileFailure) {
        self.failed.push_back(Item::Failed { path: path.to_owned(), line: None, reason });
    }

    /// Names and places of everything, and whether that is all of it.
    fn list(&self, is_folder: bool) -> io::Result<(Vec<Found>, bool)> {
        if !is_folder {
            let (entries, whole) = tar::entries(&self.path)?;
            let places =
                entries.into_iter().map(|entry| (entry.name, Place::Part(entry.offset, entry.bytes), entry.bytes));
            return Ok((places.collect(), whole));
        }
        let mut places = Vec::new();
        for (folder, prefix) in [(self.path.clone(), ""), (self.path.join("resources"), "resources/")] {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(_) if !prefix.is_empty() => continue,
                Err(error) => return Err(error),
            };
            for entry in entries.filter_map(Result::ok) {
                // Links and pipes are not opened.
                let Some(about) = entry.metadata().ok().filter(fs::Metadata::is_file) else { continue };
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                places.push((name, Place::File(entry.path()), about.len()));
            }
        }
        Ok((places, true))
    }

    /// Reads every item for what it is called.
    fn survey(&mut self, places: Vec<Found>) {
        let mut notes: BTreeMap<String, (String, String, Place)> = BTreeMap::new();
        for (name, place, bytes) in places {
            let name = name.strip_prefix("./").unwrap_or(&name);
            if let Some(id) = name.strip_prefix("resources/").and_then(id_of) {
                self.known.bytes.insert(id.to_owned(), (place, bytes));
                continue;
            }
            let Some(id) = id_of(name).filter(|id| name.len() == id.len() + 3 && name.ends_with(".md")) else {
                continue;
            };
            let entry = match self.read(&place, bytes) {
                Ok(text) => Entry::parse(&text),
                Err(reason) => {
                    self.fail(name, reason);
                    continue;
                }
            };
            let Some(entry) = entry else {
                self.fail(name, FileFailure::Other("not an item of Joplin; export it again as JEX or RAW"));
                continue;
            };
            let (id, title) = (id.to_owned(), entry.title.clone());
            if entry.get("encryption_applied") == "1" {
                self.fail(name, FileFailure::Other("encrypted; let Joplin decrypt it and export again"));
                continue;
            }
            match entry.get("type_") {
                "1" => drop(notes.insert(id, (entry.get("parent_id").to_owned(), title, place))),
                "2" => drop(self.known.folders.insert(id, (title, entry.get("parent_id").to_owned()))),
                "4" => {
                    let name = if title.is_empty() { entry.get("filename").to_owned() } else { title };
                    self.known.files.insert(id, (name, entry.get("file_extension").to_owned()));
                }
                "5" => drop(self.known.tags.insert(id, title)),
                "6" => {
                    let tags = self.known.tagged.entry(entry.get("note_id").to_owned()).or_default();
                    tags.push(entry.get("tag_id").to_owned());
                }
                _ => {}
            }
        }
        let mut names = Names::default();
        for (id, (parent, title, place)) in notes {
            let title = if title.is_empty() { "Untitled" } else { &title };
            let path = names.free(&self.folder(&parent), title);
            self.known.paths.insert(id.clone(), path);
            self.waiting.push_back((id, place));
        }
    }

    /// The folders of a notebook and those it stands in.
    fn folder(&self, id: &str) -> String {
        let (mut parts, mut next) = (Vec::new(), id);
        // Notebooks that stand in each other end at the depth that is kept.
        while let Some((title, parent)) = self.known.folders.get(next).filter(|_| parts.len() < DEPTH_MAX) {
            parts.push(portable(title));
            next = parent;
        }
        parts.reverse();
        parts.join("/")
    }

    fn read(&self, place: &Place, bytes: u64) -> Result<String, FileFailure> {
        if bytes > FILE_BYTES_MAX {
            return Err(FileFailure::FileTooLarge);
        }
        let mut out = Vec::new();
        let input = self.open_place(place).map_err(FileFailure::Unreadable)?;
        input.take(FILE_BYTES_MAX).read_to_end(&mut out).map_err(FileFailure::Unreadable)?;
        String::from_utf8(out).map_err(|error| FileFailure::NotUtf8 { byte: error.utf8_error().valid_up_to() })
    }

    fn open_place(&self, place: &Place) -> io::Result<Box<dyn Read>> {
        match place {
            Place::File(path) => Ok(Box::new(File::open(path)?)),
            Place::Part(offset, bytes) => {
                let mut file = File::open(&self.path)?;
                file.seek(SeekFrom::Start(*offset))?;
                Ok(Box::new(file.take(*bytes)))
            }
        }
    }

    fn note(&self, id: &str, place: &Place) -> Result<Candidate, FileFailure> {
        let bytes = match place {
            Place::File(path) => fs::metadata(path).map_err(FileFailure::Unreadable)?.len(),
            Place::Part(_, bytes) => *bytes,
        };
        let gone = FileFailure::Other("it changed while it was imported; import again");
        let entry = Entry::parse(&self.read(place, bytes)?).ok_or(gone)?;
        let path = self.known.paths.get(id).cloned().unwrap_or_default();
        let mut links = NoteLinks {
            joplin: self,
            path: &path,
            files: Vec::new(),
            names: Names::default(),
            by_id: HashMap::new(),
            troubles: Vec::new(),
        };
        let mut body = if entry.get("markup_language") == "2" {
            let page = html::markdown(entry.body.as_bytes(), &mut links, BODY_BYTES_MAX);
            page.map_err(|error| FileFailure::Markup(error.to_string()))?.markdown
        } else {
            links.rewritten(&entry.body)
        };
        if body.len() > BODY_BYTES_MAX {
            return Err(FileFailure::TextTooLarge);
        }
        if !body.is_empty() && !body.ends_with('\n') {
            body.push('\n');
        }
        let (files, troubles) = (links.files, links.troubles);
        let title = if entry.title.is_empty() { "Untitled" } else { &entry.title };
        let mut front = Front::default();
        front.text("title", title);
        let created =
            [entry.get("user_created_time"), entry.get("created_time")].into_iter().find(|time| !time.is_empty());
        front.text("created", created.unwrap_or_default());
        let updated =
            [entry.get("user_updated_time"), entry.get("updated_time")].into_iter().find(|time| !time.is_empty());
        front.text("updated", updated.unwrap_or_default());
        let tags = self.known.tagged.get(id).into_iter().flatten();
        let mut tags: Vec<String> = tags.filter_map(|tag| self.known.tags.get(tag).cloned()).collect();
        tags.sort();
        front.list("tags", &tags);
        front.text("source", entry.get("source_url"));
        front.text("author", entry.get("author"));
        for name in ["latitude", "longitude"] {
            let value = entry.get(name);
            front.text(name, if value.trim_matches(['0', '.']).is_empty() { "" } else { value });
        }
        if entry.get("is_todo") == "1" {
            front.text("todo", "true");
            for name in ["todo_due", "todo_completed"] {
                let ms = entry.get(name).parse::<i64>().ok().filter(|ms| *ms > 0);
                let time = ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
                front.text(name, &time.map(|time| time.to_string()).unwrap_or_default());
            }
        }
        let mut candidate = Candidate::new(&path, front.before(&body), None);
        candidate.created_ms = created.and_then(|time| time.parse::<Timestamp>().ok()).map(Timestamp::as_millisecond);
        (candidate.tags, candidate.files, candidate.troubles) = (tags, files, troubles);
        candidate.origin = Some((format!("{id}.md"), 1));
        Ok(candidate)
    }
}

impl Iterator for Joplin {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if let Some(failed) = self.failed.pop_front() {
            return Some(failed);
        }
        let (id, place) = self.waiting.pop_front()?;
        Some(match self.note(&id, &place) {
            Ok(candidate) => Item::File(candidate),
            Err(reason) => Item::Failed { path: format!("{id}.md"), line: None, reason },
        })
    }
}

/// Links of a note: `:/<id>` means another note, or a file.
struct NoteLinks<'j> {
    joplin: &'j Joplin,
    path: &'j str,
    files: Vec<Carried>,
    names: Names,
    by_id: HashMap<String, Option<String>>,
    troubles: Vec<Trouble>,
}

impl NoteLinks<'_> {
    fn rewritten(&mut self, body: &str) -> String {
        let mut out = String::with_capacity(body.len());
        let mut rest = body;
        while let Some((before, behind)) = rest.split_once(":/") {
            out.push_str(before);
            // Only behind what begins an address.
            let begins = before.ends_with(['(', '"', '\'', '<']) || before.ends_with(": ");
            match id_of(behind).filter(|_| begins).and_then(|id| self.target(id)) {
                Some(target) => {
                    out.push_str(&encoded(&target));
                    rest = &behind[ID_CHARS..];
                }
                None => {
                    out.push_str(":/");
                    rest = behind;
                }
            }
        }
        out + rest
    }

    /// Where an id leads to from this note.
    fn target(&mut self, id: &str) -> Option<String> {
        if let Some(path) = self.joplin.known.paths.get(id) {
            return Some(relative(folder_of(self.path), path));
        }
        if let Some(known) = self.by_id.get(id) {
            return known.clone();
        }
        let name = self.file(id);
        self.by_id.insert(id.to_owned(), name.clone());
        name
    }

    fn file(&mut self, id: &str) -> Option<String> {
        let (title, ending) = self.joplin.known.files.get(id)?;
        let mut name = portable(if title.is_empty() { id } else { title });
        if !ending.is_empty() && !name.contains('.') {
            name = format!("{name}.{}", portable(ending));
        }
        let found = self.joplin.known.bytes.get(id).filter(|(_, bytes)| *bytes <= SIZE_MAX);
        let kept =
            found.map(|(place, _)| self.joplin.open_place(place).and_then(|input| self.joplin.scratch.copy(input)));
        match kept {
            Some(Ok(kept)) => {
                let name = self.names.free_file(&name);
                self.files.push(Carried { name: name.clone(), kept: Rc::new(kept) });
                Some(name)
            }
            _ => {
                let reason = "its bytes are not in the export, or too many; export it again".to_owned();
                self.troubles.push(Trouble { line: 1, target: Some(name), reason });
                None
            }
        }
    }
}

impl Links for NoteLinks<'_> {
    fn link(&mut self, tag: &Tag) -> Option<String> {
        let href = tag.get("href")?;
        let target = href.strip_prefix(":/").and_then(id_of).and_then(|id| self.target(id));
        Some(target.unwrap_or_else(|| href.to_owned()))
    }

    fn shown(&mut self, tag: &Tag) -> Option<(String, String, bool)> {
        let src = tag.get("src").filter(|src| !src.is_empty() && !src.starts_with("data:"))?;
        let target = src.strip_prefix(":/").and_then(id_of).and_then(|id| self.target(id));
        Some((target.unwrap_or_else(|| src.to_owned()), tag.get("alt").unwrap_or_default().to_owned(), true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::tar::tests::archive;

    const NOTE: &str = "11111111111111111111111111111111";
    const OTHER: &str = "22222222222222222222222222222222";
    const FOLDER: &str = "33333333333333333333333333333333";
    const INNER: &str = "44444444444444444444444444444444";
    const FILE: &str = "55555555555555555555555555555555";
    const TAG: &str = "66666666666666666666666666666666";
    const TAGGED: &str = "77777777777777777777777777777777";

    fn items() -> Vec<(String, Vec<u8>)> {
        let md = |id: &str, text: String| (format!("{id}.md"), text.into_bytes());
        vec![
            md(
                NOTE,
                format!(
                    "Sea\n\nSee [it](:/{OTHER}) and ![pot](:/{FILE}).\n\nTime 10:/x\n\nid: {NOTE}\nparent_id: {INNER}\n\
                created_time: 2020-01-31T23:59:59.000Z\nsource_url: https://x.org\nis_todo: 1\ntodo_due: 1580515199000\nlatitude: 0.0\ntype_: 1"
                ),
            ),
            md(
                OTHER,
                format!(
                    "Land\n\n<p>a <b>page</b> <a href=\":/{NOTE}\">back</a></p>\n\nid: {OTHER}\nparent_id: {FOLDER}\nmarkup_language: 2\ntype_: 1"
                ),
            ),
            md(FOLDER, format!("Trips / far\n\nid: {FOLDER}\nparent_id: \ntype_: 2")),
            md(INNER, format!("In\n\nid: {INNER}\nparent_id: {FOLDER}\ntype_: 2")),
            md(FILE, format!("a pot.png\n\nid: {FILE}\nfile_extension: png\ntype_: 4")),
            md(TAG, format!("blue sky\n\nid: {TAG}\ntype_: 5")),
            md(TAGGED, format!("id: {TAGGED}\nnote_id: {NOTE}\ntag_id: {TAG}\ntype_: 6")),
            (format!("resources/{FILE}.png"), b"a picture".to_vec()),
            ("../../etc/passwd".to_owned(), b"never".to_vec()),
        ]
    }

    fn read(path: &Path) -> Vec<Item> {
        let home = tempfile::tempdir().unwrap();
        Joplin::open(path, Scratch::new(home.path()).unwrap()).unwrap().collect()
    }

    fn check(found: &[Item]) {
        let [Item::File(sea), Item::File(land)] = found else { panic!("{found:?}") };
        assert_eq!((sea.path.as_str(), land.path.as_str()), ("Trips - far/In/Sea.md", "Trips - far/Land.md"));
        assert_eq!(
            (sea.created_ms, sea.files[0].name.as_str(), sea.files[0].kept.bytes),
            (Some(1_580_515_199_000), "a pot.png", 9)
        );
        let text = "---\ntitle: Sea\ncreated: 2020-01-31T23:59:59.000Z\ntags: [blue sky]\nsource: \"https://x.org\"\ntodo: \"true\"\n\
                    todo_due: 2020-01-31T23:59:59Z\n---\n\nSee [it](../Land.md) and ![pot](a%20pot.png).\n\nTime 10:/x\n";
        assert_eq!(sea.text, text);
        assert!(land.text.ends_with("---\n\na **page** [back](In/Sea.md)\n"), "{}", land.text);
    }

    #[test]
    fn a_folder_and_an_archive_of_joplin_give_the_same_notes() {
        let dir = tempfile::tempdir().unwrap();
        let items = items();
        fs::create_dir(dir.path().join("raw")).unwrap();
        fs::create_dir(dir.path().join("raw/resources")).unwrap();
        for (name, bytes) in items.iter().filter(|(name, _)| !name.starts_with("..")) {
            fs::write(dir.path().join("raw").join(name), bytes).unwrap();
        }
        let files: Vec<(&str, &[u8])> = items.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        fs::write(dir.path().join("a.jex"), archive(&files)).unwrap();
        check(&read(&dir.path().join("raw")));
        check(&read(&dir.path().join("a.jex")));
    }

    #[test]
    fn what_is_missing_encrypted_or_cut_off_is_named_and_the_rest_comes_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut items = items();
        items.retain(|(name, _)| !name.starts_with("resources"));
        items.push((format!("{}.md", "8".repeat(32)), b"x\n\nid: 8\nencryption_applied: 1\ntype_: 1".to_vec()));
        items.push((format!("{}.md", "9".repeat(32)), b"no item".to_vec()));
        items.push((format!("{}.md", "a".repeat(32)), b"\xff\n\ntype_: 1".to_vec()));
        let files: Vec<(&str, &[u8])> = items.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        let bytes = archive(&files);
        fs::write(dir.path().join("a.jex"), &bytes[..bytes.len() - 1530]).unwrap();
        let found = read(&dir.path().join("a.jex"));
        let said: Vec<String> = found
            .iter()
            .map(|item| match item {
                Item::File(file) => format!("{} {}", file.path, file.troubles.len()),
                Item::Failed { path, reason, .. } => format!("{}: {reason}", &path[..5]),
                Item::Skipped { .. } => String::new(),
            })
            .collect();
        let expected = [
            "a.jex: the archive ends in the middle; export it again",
            "88888: encrypted; let Joplin decrypt it and export again",
            "99999: not an item of Joplin; export it again as JEX or RAW",
            "Trips - far/In/Sea.md 1",
            "Trips - far/Land.md 0",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn notebooks_that_stand_in_each_other_end() {
        let dir = tempfile::tempdir().unwrap();
        let items = [
            (format!("{NOTE}.md"), format!("Sea\n\nid: {NOTE}\nparent_id: {INNER}\ntype_: 1")),
            (format!("{FOLDER}.md"), format!("A\n\nparent_id: {INNER}\ntype_: 2")),
            (format!("{INNER}.md"), format!("B\n\nparent_id: {FOLDER}\ntype_: 2")),
        ];
        let files: Vec<(&str, &[u8])> = items.iter().map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
        fs::write(dir.path().join("a.jex"), archive(&files)).unwrap();
        let [Item::File(sea)] = &read(&dir.path().join("a.jex"))[..] else { panic!("one note") };
        assert_eq!(sea.folders.len(), DEPTH_MAX);
    }
}
