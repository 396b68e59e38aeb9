//! Where an import reads from: a folder of Markdown, or files of another format.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use unicode_normalization::UnicodeNormalization;
use walkdir::WalkDir;

use super::enex::Enex;
use super::html::{self, Links};
use super::joplin::Joplin;
use super::markup::{MarkupError, Tag};
use super::outline::{Outline, OutlineKind};
use super::scan::{Candidate, Carried, FileFailure, Item, Scan, ScanError, Trouble, scan};
use super::scratch::{Kept, Scratch};
use super::shape::{Front, Names};
use super::text;
use crate::registry::BODY_BYTES_MAX;

/// Pictures that one page carries in itself; further ones are left out, and named.
const PICTURES_MAX: usize = 1_000;

/// What an import reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Markdown, a folder or a file; Obsidian's vaults are such folders.
    Markdown,
    /// Evernote's export, `.enex`.
    Enex,
    /// Joplin's export, `.jex` or a folder of its items.
    Joplin,
    /// An outline, `.opml`.
    Opml,
    /// Pages, and bookmarks of browsers, `.html`.
    Html,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Markdown, Self::Enex, Self::Joplin, Self::Opml, Self::Html];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Markdown => "markdown",
            Self::Enex => "enex",
            Self::Joplin => "joplin",
            Self::Opml => "opml",
            Self::Html => "html",
        }
    }

    /// A format by its name, or by the program that writes it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "obsidian" => Some(Self::Markdown),
            "evernote" => Some(Self::Enex),
            "jex" => Some(Self::Joplin),
            "bookmarks" => Some(Self::Html),
            name => Self::ALL.into_iter().find(|format| format.name() == name),
        }
    }

    /// What a file or folder looks like; `None`: nobody can tell.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        if path.is_dir() {
            return Some(Self::of_folder(path));
        }
        Self::of_ending(path).or_else(|| Self::of_head(path))
    }

    fn of_ending(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "md" | "markdown" => Some(Self::Markdown),
            "enex" => Some(Self::Enex),
            "jex" => Some(Self::Joplin),
            "opml" => Some(Self::Opml),
            "html" | "htm" | "xhtml" => Some(Self::Html),
            _ => None,
        }
    }

    fn of_head(path: &Path) -> Option<Self> {
        let head = text::open(File::open(path).ok()?).ok()?.head.to_ascii_lowercase();
        let signs =
            [("<en-export", Self::Enex), ("<opml", Self::Opml), ("<html", Self::Html), ("<!doctype html", Self::Html)];
        signs.into_iter().find(|(sign, _)| head.contains(sign)).map(|(_, format)| format)
    }

    /// Of a folder with no Markdown at its top, what most of its files are.
    fn of_folder(path: &Path) -> Self {
        let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok).take(10_000);
        let mut counts = [0_usize; Self::ALL.len()];
        for entry in entries {
            let name = entry.file_name();
            if is_joplin(&name.to_string_lossy()) {
                return Self::Joplin;
            }
            let Some(format) = Self::of_ending(&entry.path()) else { continue };
            counts[Self::ALL.iter().position(|other| *other == format).unwrap_or_default()] += 1;
        }
        let most = counts.iter().enumerate().skip(1).max_by_key(|(at, count)| (**count, usize::MAX - at));
        match most {
            Some((at, count)) if counts[0] == 0 && *count > 0 => Self::ALL[at],
            _ => Self::Markdown,
        }
    }

    fn reads(self, path: &Path) -> bool {
        Self::of_ending(path) == Some(self)
    }
}

/// Joplin's items are called by their ids.
fn is_joplin(name: &str) -> bool {
    name.strip_suffix(".md").is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The notes to import, one after the other.
pub struct Source(Kind);

enum Kind {
    Folder(Box<Scan>),
    Files(Files),
    Joplin(Box<Joplin>),
}

impl Source {
    /// Opens what is to be imported.
    ///
    /// # Errors
    /// [`ScanError`] when nothing can be read there; what goes wrong later is an [`Item::Failed`].
    pub fn open(path: &Path, format: Format, scratch: Scratch) -> Result<Self, ScanError> {
        match format {
            Format::Markdown => scan(path).map(|scan| Self(Kind::Folder(Box::new(scan)))),
            Format::Joplin => Joplin::open(path, scratch).map(|joplin| Self(Kind::Joplin(Box::new(joplin)))),
            format => Files::open(path, format, scratch).map(|files| Self(Kind::Files(files))),
        }
    }

    /// The folder that paths are below.
    #[must_use]
    pub fn root(&self) -> &Path {
        match &self.0 {
            Kind::Folder(scan) => scan.root(),
            Kind::Files(files) => &files.root,
            Kind::Joplin(joplin) => joplin.root(),
        }
    }

    /// How many items there are, where names alone tell.
    #[must_use]
    pub fn total(&self) -> u64 {
        match &self.0 {
            Kind::Folder(scan) => scan.total(),
            Kind::Files(_) => 0,
            Kind::Joplin(joplin) => joplin.total(),
        }
    }

    /// Bytes that were read and are to be read, where that says more.
    #[must_use]
    pub fn bytes(&self) -> Option<(u64, u64)> {
        match &self.0 {
            Kind::Folder(_) | Kind::Joplin(_) => None,
            Kind::Files(files) => Some((files.done.get(), files.total)),
        }
    }

    /// The next notes to commit together: until `files_max` items or `bytes_max` bytes of text are reached, at least
    /// one. Empty at the end.
    pub fn next_batch(&mut self, files_max: usize, bytes_max: usize) -> Vec<Item> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < files_max.max(1) && (bytes < bytes_max || batch.is_empty()) {
            let Some(item) = self.next() else { break };
            if let Item::File(file) = &item {
                let carried: u64 = file.files.iter().map(|carried| carried.kept.bytes).sum();
                // Files lie on the disk; what of them waits there is bounded less tightly.
                bytes += file.text.len() + usize::try_from(carried / 16).unwrap_or(usize::MAX);
            }
            batch.push(item);
        }
        batch
    }
}

impl Iterator for Source {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        match &mut self.0 {
            Kind::Folder(scan) => scan.next(),
            Kind::Files(files) => files.next(),
            Kind::Joplin(joplin) => joplin.next(),
        }
    }
}

/// Files of one format, in the order of their paths.
struct Files {
    format: Format,
    root: PathBuf,
    waiting: VecDeque<(PathBuf, String)>,
    skipped: VecDeque<Item>,
    current: Option<Current>,
    scratch: Rc<Scratch>,
    done: Rc<Cell<u64>>,
    total: u64,
}

struct Current {
    items: Box<dyn Iterator<Item = Item>>,
    file: String,
    damaged: Rc<Cell<bool>>,
}

impl Files {
    fn open(path: &Path, format: Format, scratch: Scratch) -> Result<Self, ScanError> {
        let real = fs::canonicalize(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ScanError::NotFound,
            _ => ScanError::Unreadable(error),
        })?;
        let (mut waiting, mut skipped, mut total) = (VecDeque::new(), VecDeque::new(), 0);
        let is_file = real.is_file();
        if !is_file {
            fs::read_dir(&real).map_err(ScanError::Unreadable)?;
        }
        let root = if is_file { real.parent().unwrap_or(&real).to_path_buf() } else { real.clone() };
        let is_shown =
            |entry: &walkdir::DirEntry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
        let walk = WalkDir::new(&real).follow_links(false).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(is_shown).filter_map(Result::ok) {
            // Neither links nor pipes and devices are opened.
            if !entry.file_type().is_file() || !(is_file || format.reads(entry.path())) {
                continue;
            }
            let below = entry.path().strip_prefix(&root).ok().and_then(Path::to_str);
            let Some(below) = below.map(|below| below.nfc().collect::<String>()) else {
                let path = entry.path().to_string_lossy().into_owned();
                skipped.push_back(Item::Failed { path, line: None, reason: FileFailure::NameNotUtf8 });
                continue;
            };
            total += entry.metadata().map_or(0, |about| about.len());
            waiting.push_back((entry.into_path(), below.replace('\\', "/")));
        }
        let (scratch, done) = (Rc::new(scratch), Rc::new(Cell::new(0)));
        Ok(Self { format, root, waiting, skipped, current: None, scratch, done, total })
    }

    fn begin(&self, place: &Path, file: &str) -> Result<Current, FileFailure> {
        let opened = File::open(place).map_err(FileFailure::Unreadable)?;
        let input = Counted { input: opened, done: Rc::clone(&self.done) };
        let opened = text::open(input).map_err(FileFailure::Unreadable)?;
        if opened.head.starts_with("PK\u{3}\u{4}") {
            return Err(FileFailure::Other("an archive (zip); unpack it and import what is in it"));
        }
        let (text, damaged) = (opened.text, opened.damaged);
        let items: Box<dyn Iterator<Item = Item>> = match self.format {
            Format::Enex => Box::new(Enex::new(text, file, Rc::clone(&self.scratch))),
            Format::Opml => Box::new(Outline::new(text, OutlineKind::Opml, file)),
            _ if opened.head.to_ascii_lowercase().contains("netscape-bookmark-file") => {
                Box::new(Outline::new(text, OutlineKind::Bookmarks, file))
            }
            _ => Box::new(std::iter::once(page(text, file, &self.scratch))),
        };
        Ok(Current { items, file: file.to_owned(), damaged })
    }
}

impl Iterator for Files {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(item) = current.items.next() {
                    return Some(item);
                }
                let (file, damaged) = (std::mem::take(&mut current.file), current.damaged.get());
                self.current = None;
                if damaged {
                    return Some(Item::Failed { path: file, line: None, reason: FileFailure::Damaged });
                }
            }
            let Some((place, file)) = self.waiting.pop_front() else { return self.skipped.pop_front() };
            match self.begin(&place, &file) {
                Ok(current) => self.current = Some(current),
                Err(reason) => return Some(Item::Failed { path: file, line: None, reason }),
            }
        }
    }
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    done: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(out)?;
        self.done.set(self.done.get() + read as u64);
        Ok(read)
    }
}

/// A page as a note beside it.
fn page(text: impl BufRead, file: &str, scratch: &Scratch) -> Item {
    let mut links = PageLinks { scratch, named: Vec::new(), names: Names::default(), troubles: Vec::new() };
    let failed = |reason| Item::Failed { path: file.to_owned(), line: None, reason };
    let page = match html::markdown(text, &mut links, BODY_BYTES_MAX) {
        Ok(page) if page.is_cut => return failed(FileFailure::TextTooLarge),
        Ok(page) => page,
        Err(MarkupError::Io(error)) => return failed(FileFailure::Unreadable(error)),
        Err(error) => return failed(FileFailure::Markup(error.to_string())),
    };
    let (stem, _) = file.rsplit_once('.').unwrap_or((file, ""));
    let mut front = Front::default();
    front.text("title", &page.title);
    let mut candidate = Candidate::new(&format!("{stem}.md"), front.before(&page.markdown), None);
    candidate.files = links.named.into_iter().map(|(name, kept)| Carried { name, kept: Rc::new(kept) }).collect();
    candidate.troubles = links.troubles;
    candidate.origin = Some((file.to_owned(), 1));
    Item::File(candidate)
}

/// Links of a page: other pages are notes, pictures that it carries in itself are files.
struct PageLinks<'s> {
    scratch: &'s Scratch,
    named: Vec<(String, Kept)>,
    names: Names,
    troubles: Vec<Trouble>,
}

impl Links for PageLinks<'_> {
    fn link(&mut self, tag: &Tag) -> Option<String> {
        let href = tag.get("href").filter(|href| !href.trim_start().starts_with("javascript:"))?;
        let (path, anchor) = href.split_once('#').map_or((href, None), |(path, anchor)| (path, Some(anchor)));
        let stem = [".html", ".htm", ".xhtml"].iter().find_map(|ending| path.strip_suffix(ending));
        match stem.filter(|_| !path.contains("://")) {
            Some(stem) => Some(anchor.map_or(format!("{stem}.md"), |anchor| format!("{stem}.md#{anchor}"))),
            None => Some(href.to_owned()),
        }
    }

    fn shown(&mut self, tag: &Tag) -> Option<(String, String, bool)> {
        let about = tag.get("alt").unwrap_or_default().to_owned();
        let source = tag.get("src").filter(|src| !src.is_empty())?;
        let Some((media, data)) = source.strip_prefix("data:").and_then(|data| data.split_once(";base64,")) else {
            return (!source.starts_with("data:")).then(|| (source.to_owned(), about, true));
        };
        let kept = if self.named.len() < PICTURES_MAX { self.scratch.keep_base64(data).ok().flatten() } else { None };
        let Some(kept) = kept else {
            let reason = "a picture that is not whole, or one too many; save the page again".to_owned();
            self.troubles.push(Trouble { line: 1, target: Some(about).filter(|about| !about.is_empty()), reason });
            return None;
        };
        let ending = match media {
            "image/jpeg" => "jpg",
            "image/svg+xml" => "svg",
            "image/gif" => "gif",
            "image/webp" => "webp",
            _ => "png",
        };
        let name = self.names.free_file(&format!("picture.{ending}"));
        self.named.push((name.clone(), kept));
        Some((name, about, true))
    }
}
