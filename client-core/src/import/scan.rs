//! Walks over a folder and reads its Markdown files, one at a time.
//!
//! Nothing outside the folder is read and nothing is read twice: a symbolic link is reported, not followed, because
//! what it leads to inside the folder is met at its own place. Files that are no regular files are never opened.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use unicode_normalization::{UnicodeNormalization, is_nfc};
use walkdir::{DirEntry, WalkDir};

use super::scratch::Kept;
use crate::crypto::sha256_plain;
use crate::modules::notes::markdown::FrontMatter;
use crate::registry::{BODY_BYTES_MAX, FRONT_BYTES_MAX};

/// Largest file that is read.
pub const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// One thing found below the folder.
#[derive(Debug)]
pub enum Item {
    /// A Markdown file, read.
    File(Candidate),
    /// Not for import.
    Skipped {
        /// Path below the folder.
        path: String,
        /// Why.
        reason: FileSkip,
    },
    /// Could not be read; the others are not affected.
    Failed {
        /// Path below the folder.
        path: String,
        /// The line, from 1, of what is wrong, where it is not all of the file.
        line: Option<u64>,
        /// Why.
        reason: FileFailure,
    },
}

/// A file that a note brings along.
#[derive(Debug, Clone)]
pub struct Carried {
    /// What the note's text calls it.
    pub name: String,
    /// The file, for as long as somebody needs it.
    pub kept: Rc<Kept>,
}

impl PartialEq for Carried {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.kept.place() == other.kept.place()
    }
}

impl Eq for Carried {}

/// Something of a note that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The line of the file it stands in, from 1.
    pub line: u64,
    /// What it is called.
    pub target: Option<String>,
    /// Why, and what to do.
    pub reason: String,
}

/// A Markdown file, read; or a note of another program as such a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Path below the folder, with `/`, in NFC: what a file is known by.
    pub path: String,
    /// The folders of the path, outermost first: the notebooks.
    pub folders: Vec<String>,
    /// The last part of the path.
    pub name: String,
    /// Its whole text.
    pub text: String,
    /// SHA-256 of its bytes.
    pub hash: [u8; 32],
    /// When it was changed last (ms UTC), if the disk says.
    pub modified_ms: Option<i64>,
    /// When the note was made (ms UTC), if its program says.
    pub created_ms: Option<i64>,
    /// Its tags, also those that no text can hold.
    pub tags: Vec<String>,
    /// Files that it brings along.
    pub files: Vec<Carried>,
    /// What of it could not be taken.
    pub troubles: Vec<Trouble>,
    /// The file it comes from and the line there, if it is not a file itself.
    pub origin: Option<(String, u64)>,
}

impl Candidate {
    /// A file with this path (with `/`, in NFC) and text.
    #[must_use]
    pub fn new(path: &str, text: String, modified_ms: Option<i64>) -> Self {
        let mut folders: Vec<String> = path.split('/').map(str::to_owned).collect();
        let name = folders.pop().unwrap_or_default();
        let hash = sha256_plain(&[text.as_bytes()]);
        let (tags, files, troubles) = (Vec::new(), Vec::new(), Vec::new());
        let path = path.to_owned();
        Self { path, folders, name, text, hash, modified_ms, created_ms: None, tags, files, troubles, origin: None }
    }

    /// The file name without its ending: the title when the text has none.
    #[must_use]
    pub fn stem(&self) -> &str {
        self.name.rsplit_once('.').map_or(self.name.as_str(), |(stem, _)| stem)
    }
}

/// Why something is not for import.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileSkip {
    /// Its name begins with a dot (`.obsidian`, `.git`, `.trash`).
    #[error("hidden")]
    Hidden,
    /// Another ending than `.md` or `.markdown`.
    #[error("not a Markdown file")]
    NotMarkdown,
    /// A pipe, a socket, a device.
    #[error("not a regular file")]
    NotRegular,
    /// A link to something below the folder, which is met there.
    #[error("a link to {0} in the same folder, which is read there; nothing has to be done")]
    LinkInside(String),
    /// A link to something else.
    #[error("a link that leads out of the folder; import that place by itself")]
    LinkOutside,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileFailure {
    /// Above [`FILE_BYTES_MAX`].
    #[error("larger than {} MiB; split it, or leave it out", FILE_BYTES_MAX / (1024 * 1024))]
    FileTooLarge,
    /// The body would be above the limit of a note.
    #[error("its text is larger than {} MiB, the most a note can hold; split it into several files", BODY_BYTES_MAX / (1024 * 1024))]
    TextTooLarge,
    /// The front matter would be above the limit of a note.
    #[error("its front matter is larger than {} KiB; shorten it", FRONT_BYTES_MAX / 1024)]
    FrontMatterTooLarge,
    /// Not text, or in another encoding.
    #[error("not UTF-8 at byte {byte}; save it as UTF-8")]
    NotUtf8 {
        /// The first byte that does not fit.
        byte: usize,
    },
    /// The name cannot be written as text.
    #[error("its name is not UTF-8; rename it")]
    NameNotUtf8,
    /// Names that look the same and differ in their bytes.
    #[error("another file has the same name in a different Unicode form; rename one of them")]
    NameClash,
    /// A link to a folder around it.
    #[error("a link that leads back to a folder around it; remove the link")]
    LinkLoop,
    /// A link to nothing, or only to itself.
    #[error("a link that leads nowhere ({0}); remove it, or put back what it leads to")]
    LinkBroken(#[source] io::Error),
    /// The system did not let it be read.
    #[error("cannot be read ({0}); check its permissions and the disk, then import again")]
    Unreadable(#[source] io::Error),
    /// Some bytes are not of the encoding; the rest was taken.
    #[error("some bytes are not of its encoding and became \u{fffd}; save it as UTF-8 and import again")]
    Damaged,
    /// XML or HTML that cannot be read further.
    #[error("{0}")]
    Markup(String),
    /// Not what it was taken for.
    #[error("{0}")]
    Other(&'static str),
}

impl FileSkip {
    /// Whether a person may have expected something to be read here: links look like what they lead to.
    #[must_use]
    pub const fn is_link(&self) -> bool {
        matches!(self, Self::LinkInside(_) | Self::LinkOutside)
    }
}

impl FileFailure {
    /// Whether it is a link.
    #[must_use]
    pub const fn is_link(&self) -> bool {
        matches!(self, Self::LinkLoop | Self::LinkBroken(_))
    }
}

/// An import cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// Nothing is there.
    #[error("there is no such file or folder; check the path")]
    NotFound,
    /// It is there and cannot be opened.
    #[error("cannot be opened ({0}); check its permissions and the disk, then import again")]
    Unreadable(#[source] io::Error),
}

/// The files below a folder, in the order of their names; see [`scan`].
pub struct Scan {
    /// The folder, or the one file.
    start: PathBuf,
    root: PathBuf,
    walk: walkdir::IntoIter,
    /// Paths outside ASCII so far: two of them can become one in NFC.
    seen: HashSet<String>,
}

/// Starts to walk over `path`, a folder or one file.
///
/// # Errors
/// [`ScanError`] when nothing can be read there; what goes wrong later is an [`Item::Failed`].
pub fn scan(path: &Path) -> Result<Scan, ScanError> {
    let real = fs::canonicalize(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ScanError::NotFound,
        _ => ScanError::Unreadable(error),
    })?;
    let is_file = real.is_file();
    if !is_file {
        fs::read_dir(&real).map_err(ScanError::Unreadable)?;
    }
    let root = if is_file { real.parent().unwrap_or(&real).to_path_buf() } else { real.clone() };
    let walk = walk(&real).sort_by_file_name().into_iter();
    Ok(Scan { start: real, root, walk, seen: HashSet::new() })
}

fn walk(real: &Path) -> WalkDir {
    WalkDir::new(real).min_depth(usize::from(!real.is_file())).follow_links(false)
}

impl Iterator for Scan {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            let item = match self.walk.next()? {
                Ok(entry) => self.visit(&entry),
                Err(error) => Some(self.failed_entry(error)),
            };
            if item.is_some() {
                return item;
            }
        }
    }
}

impl Scan {
    /// The folder that paths are below.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How many items there are in all: names are looked at, and no file is opened.
    #[must_use]
    pub fn total(&self) -> u64 {
        let mut walk = walk(&self.start).into_iter();
        let mut total = 0;
        while let Some(entry) = walk.next() {
            let folder = entry.ok().filter(|entry| entry.file_type().is_dir());
            let closed = folder.as_ref().map(|entry| is_hidden(entry) || entry.file_name().to_str().is_none());
            if closed == Some(true) {
                walk.skip_current_dir();
            }
            total += u64::from(closed != Some(false));
        }
        total
    }

    /// The next files to commit together: until `files_max` items or `bytes_max` bytes of text are reached, at least
    /// one. Empty at the end.
    pub fn next_batch(&mut self, files_max: usize, bytes_max: usize) -> Vec<Item> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < files_max.max(1) && (bytes < bytes_max || batch.is_empty()) {
            let Some(item) = self.next() else { break };
            bytes += if let Item::File(file) = &item { file.text.len() } else { 0 };
            batch.push(item);
        }
        batch
    }

    /// Folders give nothing themselves.
    fn visit(&mut self, entry: &DirEntry) -> Option<Item> {
        let Some(path) = self.relative(entry.path()) else {
            if entry.file_type().is_dir() {
                self.walk.skip_current_dir();
            }
            let path = self.lossy(entry.path());
            return Some(Item::Failed { path, line: None, reason: FileFailure::NameNotUtf8 });
        };
        let kind = entry.file_type();
        let hidden = is_hidden(entry);
        if kind.is_dir() && !hidden {
            return None;
        }
        let skip = match kind {
            _ if hidden => {
                if kind.is_dir() {
                    self.walk.skip_current_dir();
                }
                FileSkip::Hidden
            }
            kind if kind.is_symlink() => return Some(self.link(entry.path(), path)),
            _ if !is_markdown(entry.path()) => FileSkip::NotMarkdown,
            kind if !kind.is_file() => FileSkip::NotRegular,
            _ => return Some(self.file(entry.path(), path)),
        };
        Some(Item::Skipped { path, reason: skip })
    }

    fn file(&mut self, place: &Path, path: String) -> Item {
        if !path.is_ascii() && !self.seen.insert(path.clone()) {
            return Item::Failed { path, line: None, reason: FileFailure::NameClash };
        }
        match read_text(place) {
            Ok((text, modified_ms)) => Item::File(Candidate::new(&path, text, modified_ms)),
            Err(reason) => Item::Failed { path, line: None, reason },
        }
    }

    fn link(&self, place: &Path, path: String) -> Item {
        let target = match fs::canonicalize(place) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Item::Failed { path, line: None, reason: FileFailure::Unreadable(error) };
            }
            Err(error) => return Item::Failed { path, line: None, reason: FileFailure::LinkBroken(error) },
        };
        let reason = match target.strip_prefix(&self.root) {
            _ if place.starts_with(&target) => return Item::Failed { path, line: None, reason: FileFailure::LinkLoop },
            Ok(inside) => FileSkip::LinkInside(inside.to_string_lossy().into_owned()),
            Err(_) => FileSkip::LinkOutside,
        };
        Item::Skipped { path, reason }
    }

    fn failed_entry(&self, error: walkdir::Error) -> Item {
        let path = error.path().map(|path| self.lossy(path)).unwrap_or_default();
        let reason = error.into_io_error().unwrap_or_else(|| io::Error::other("the folder cannot be listed"));
        Item::Failed { path, line: None, reason: FileFailure::Unreadable(reason) }
    }

    /// The path below the root, with `/`, in NFC; `None` when it is not text.
    fn relative(&self, place: &Path) -> Option<String> {
        let below = place.strip_prefix(&self.root).unwrap_or(place);
        let part = |part: Component<'_>| part.as_os_str().to_str().map(|part| part.nfc().collect::<String>());
        let plain = below.to_str().filter(|text| !cfg!(windows) && is_nfc(text)).map(str::to_owned);
        plain.or_else(|| below.components().map(part).collect::<Option<Vec<_>>>().map(|parts| parts.join("/")))
    }

    fn lossy(&self, place: &Path) -> String {
        place.strip_prefix(&self.root).unwrap_or(place).to_string_lossy().into_owned()
    }
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn is_markdown(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("");
    ending.eq_ignore_ascii_case("md") || ending.eq_ignore_ascii_case("markdown")
}

fn read_text(path: &Path) -> Result<(String, Option<i64>), FileFailure> {
    let file = File::open(path).map_err(FileFailure::Unreadable)?;
    let about = file.metadata().map_err(FileFailure::Unreadable)?;
    if about.len() > FILE_BYTES_MAX {
        return Err(FileFailure::FileTooLarge);
    }
    let mut bytes = Vec::new();
    // One byte more than allowed: the file may have grown since.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(FileFailure::Unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(FileFailure::FileTooLarge);
    }
    let text =
        String::from_utf8(bytes).map_err(|error| FileFailure::NotUtf8 { byte: error.utf8_error().valid_up_to() })?;
    check_size(&text)?;
    let modified = about.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    Ok((text, modified.and_then(|since| i64::try_from(since.as_millis()).ok())))
}

fn check_size(text: &str) -> Result<(), FileFailure> {
    if text.len() <= FRONT_BYTES_MAX.min(BODY_BYTES_MAX) {
        return Ok(());
    }
    let (front_matter, body) = FrontMatter::split(text);
    if body.len() > BODY_BYTES_MAX {
        return Err(FileFailure::TextTooLarge);
    }
    let front_bytes = front_matter.map_or(0, |front_matter| front_matter.raw().len());
    if front_bytes > FRONT_BYTES_MAX { Err(FileFailure::FrontMatterTooLarge) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn with(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
            let place = self.0.path().join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, bytes).unwrap();
            self
        }

        /// `path: what`, one a found thing.
        fn found(&self) -> Vec<String> {
            scan(self.0.path()).unwrap().map(said).collect()
        }
    }

    fn said(item: Item) -> String {
        match item {
            Item::File(file) => format!("{}: {} bytes", file.path, file.text.len()),
            Item::Skipped { path, reason } => format!("{path}: skipped, {reason}"),
            Item::Failed { path, reason, .. } => format!("{path}: failed, {reason}"),
        }
    }

    #[test]
    fn files_are_found_in_order_with_their_folders() {
        let folder =
            Folder::new().with("b.md", "b").with("a/x/c.MD", "cc").with("a/d.markdown", "").with("a/e.txt", "");
        assert_eq!(
            folder.found(),
            ["a/d.markdown: 0 bytes", "a/e.txt: skipped, not a Markdown file", "a/x/c.MD: 2 bytes", "b.md: 1 bytes"]
        );
        let file = Candidate::new("a/x/c.d.md", "t".to_owned(), None);
        assert_eq!((file.folders.join(","), file.stem()), ("a,x".to_owned(), "c.d"));
        assert_eq!(file.hash, sha256_plain(&[b"t"]));
    }

    #[test]
    fn hidden_folders_are_one_line_of_the_report() {
        let folder = Folder::new().with(".obsidian/a.md", "a").with(".hidden.md", "").with(".git/x/y.md", "");
        let hidden = [".git: skipped, hidden", ".hidden.md: skipped, hidden", ".obsidian: skipped, hidden"];
        assert_eq!(folder.found(), hidden);
    }

    #[test]
    fn what_cannot_be_text_fails_alone() {
        let folder = Folder::new()
            .with("a.md", b"ab\xffc")
            .with("b.md", vec![b'x'; BODY_BYTES_MAX + 1])
            .with("c.md", vec![b'x'; BODY_BYTES_MAX])
            .with("d.md", vec![b'x'; usize::try_from(FILE_BYTES_MAX).unwrap() + 1]);
        let front = format!("---\n{}---\n", "a: b\n".repeat(FRONT_BYTES_MAX / 5 + 1));
        let found = folder.with("e.md", front).found();
        let expected =
            ["not UTF-8 at byte 2", "text is larger than 1 MiB", "1048576 bytes", "larger than 8 MiB", "front matter"];
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_reported_and_never_followed() {
        use std::os::unix::fs::symlink;
        let outside = Folder::new().with("secret.md", "s");
        let folder = Folder::new().with("a/real.md", "r");
        let root = folder.0.path();
        symlink(root, root.join("a/loop")).unwrap();
        symlink(root.join("a/real.md"), root.join("twice.md")).unwrap();
        symlink(outside.0.path().join("secret.md"), root.join("out.md")).unwrap();
        symlink("round.md", root.join("round.md")).unwrap();
        let found = folder.found();
        assert_eq!(found[0], "a/loop: failed, a link that leads back to a folder around it; remove the link");
        assert_eq!(found[1], "a/real.md: 1 bytes");
        assert!(found[2].starts_with("out.md: skipped, a link that leads out"), "{found:?}");
        assert!(found[3].starts_with("round.md: failed, a link that leads nowhere"), "{found:?}");
        assert!(found[4].starts_with("twice.md: skipped, a link to a/real.md in the same folder"), "{found:?}");
        assert_eq!(found.len(), 5);
    }

    #[cfg(unix)]
    #[test]
    fn names_of_any_form_are_taken_or_refused_by_name() {
        use std::os::unix::ffi::OsStrExt;
        let long = format!("{}.md", "n".repeat(252));
        let folder = Folder::new().with(&long, "").with("e\u{301}.md", "1").with("\u{e9}.md", "2");
        let bad = std::ffi::OsStr::from_bytes(b"\xff.md");
        fs::write(folder.0.path().join(bad), "").unwrap();
        let found = folder.found();
        assert_eq!(found[0], "\u{e9}.md: 1 bytes");
        assert_eq!(found[1], format!("{long}: 0 bytes"));
        assert!(found[2].starts_with("\u{e9}.md: failed, another file"), "{found:?}");
        assert!(found[3].contains("name is not UTF-8"), "{found:?}");
    }

    #[test]
    fn the_total_is_the_number_of_items_however_they_end() {
        let folder = Folder::new().with("a/b.md", "b").with(".git/x.md", "").with("c.txt", "").with("a/.h.md", "");
        assert_eq!(scan(folder.0.path()).unwrap().total(), 4);
        assert_eq!(folder.found().len(), 4);
        assert_eq!(scan(&folder.0.path().join("a/b.md")).unwrap().total(), 1);
    }

    #[test]
    fn one_file_can_be_imported_by_itself() {
        let folder = Folder::new().with("x/a.md", "a").with("x/b.md", "b");
        let found: Vec<_> = scan(&folder.0.path().join("x/b.md")).unwrap().map(said).collect();
        assert_eq!(found, ["b.md: 1 bytes"]);
        assert!(matches!(scan(&folder.0.path().join("nothing")), Err(ScanError::NotFound)));
    }

    #[test]
    fn batches_are_bounded_in_files_and_bytes() {
        let mut folder = Folder::new();
        for index in 0..10 {
            folder = folder.with(&format!("{index}.md"), vec![b'x'; 100]);
        }
        let sizes = |files, bytes| {
            let mut scan = scan(folder.0.path()).unwrap();
            std::iter::from_fn(|| Some(scan.next_batch(files, bytes).len()).filter(|len| *len > 0)).collect::<Vec<_>>()
        };
        assert_eq!(sizes(4, 10_000), [4, 4, 2]);
        assert_eq!(sizes(100, 250), [3, 3, 3, 1]);
        assert_eq!(sizes(0, 0), [1; 10]);
    }
}
