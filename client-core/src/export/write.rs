//! Writes files so that a reader sees the old text or the new one, and leaves alone what is right already.
//!
//! The bytes go to a hidden file beside the target, which then takes its name. Everything is flushed to the disk once,
//! in [`Exporter::finish`]: flushing each file as it is written costs many times more, and an export that was cut off
//! is simply run again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::crypto::{PlainHasher, sha256_plain};

/// Bytes read at once of a file that may be there already.
const BUFFER_BYTES: usize = 64 * 1024;

/// An export cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The path is not one below the folder.
    #[error("a file name leads out of the export folder; rename the note")]
    Outside,
    /// The disk refused.
    #[error("cannot write the export: {0}; check that the folder is writable and the disk has room, then run it again")]
    Io(#[from] io::Error),
}

/// What writing a file did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was not there, or was different.
    New,
    /// It had these bytes already.
    Unchanged,
}

/// Writes below one folder.
#[derive(Debug)]
pub struct Exporter {
    root: PathBuf,
    written: Vec<PathBuf>,
}

impl Exporter {
    /// Begins an export; makes the folder if needed.
    ///
    /// # Errors
    /// [`ExportError::Io`].
    pub fn new(root: &Path) -> Result<Self, ExportError> {
        fs::create_dir_all(root)?;
        Ok(Self { root: root.to_path_buf(), written: Vec::new() })
    }

    /// Makes the file at `path` (with `/`, below the folder) hold `bytes`; a file that does already is not touched.
    ///
    /// # Errors
    /// [`ExportError`]; the file is then as it was.
    pub fn write(&mut self, path: &str, bytes: &[u8]) -> Result<Written, ExportError> {
        let (target, part) = self.places(path)?;
        if holds(&target, bytes) {
            return Ok(Written::Unchanged);
        }
        let outcome = write_new(&part, bytes).and_then(|()| fs::rename(&part, &target));
        if let Err(error) = outcome {
            let _ = fs::remove_file(&part);
            return Err(error.into());
        }
        self.written.push(target);
        Ok(Written::New)
    }

    /// Makes the file at `path` hold a content of this size and hash, which `fill` writes; a file that does already is not
    /// touched, and one that could not be written whole is as it was.
    ///
    /// # Errors
    /// [`ExportError`], or what `fill` says.
    pub fn stream<E: From<ExportError>>(
        &mut self,
        path: &str,
        (size, hash): (u64, &[u8; 32]),
        fill: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<Written, E> {
        let (target, part) = self.places(path)?;
        if has_hash(&target, size, hash) {
            return Ok(Written::Unchanged);
        }
        let written = create_new(&part).map_err(|error| E::from(error.into())).and_then(|mut out| fill(&mut out));
        let outcome = written.and_then(|()| fs::rename(&part, &target).map_err(|error| E::from(error.into())));
        if let Err(error) = outcome {
            let _ = fs::remove_file(&part);
            return Err(error);
        }
        self.written.push(target);
        Ok(Written::New)
    }

    /// Where a file goes, and where it is until it is whole; the folder is made.
    fn places(&self, path: &str) -> Result<(PathBuf, PathBuf), ExportError> {
        let outside = |part: &str| matches!(part, "" | "." | "..") || (cfg!(windows) && part.contains(['\\', ':']));
        if path.split('/').any(outside) {
            return Err(ExportError::Outside);
        }
        let target = self.root.join(path);
        let folder = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        let name = sha256_plain(&[path.as_bytes()]);
        let part = folder.join(format!(".lifeos-{:02x}{:02x}{:02x}{:02x}.part", name[0], name[1], name[2], name[3]));
        Ok((target, part))
    }

    /// Flushes what was written to the disk; gives the number of files.
    ///
    /// # Errors
    /// [`ExportError::Io`].
    pub fn finish(self) -> Result<u64, ExportError> {
        let mut folders: Vec<&Path> = Vec::with_capacity(self.written.len());
        for path in &self.written {
            OpenOptions::new().append(true).open(path)?.sync_all()?;
            folders.extend(path.parent());
        }
        folders.sort_unstable();
        folders.dedup();
        for folder in folders {
            sync_folder(folder)?;
        }
        Ok(self.written.len() as u64)
    }
}

fn holds(path: &Path, bytes: &[u8]) -> bool {
    let same_size = fs::symlink_metadata(path).is_ok_and(|about| about.is_file() && about.len() == bytes.len() as u64);
    same_size && fs::read(path).is_ok_and(|found| found == bytes)
}

fn has_hash(path: &Path, size: u64, hash: &[u8; 32]) -> bool {
    if !fs::symlink_metadata(path).is_ok_and(|about| about.is_file() && about.len() == size) {
        return false;
    }
    let (mut hasher, mut buffer) = (PlainHasher::new(), vec![0; BUFFER_BYTES]);
    let Ok(mut file) = File::open(path) else { return false };
    loop {
        match io::Read::read(&mut file, &mut buffer) {
            Ok(0) => return hasher.finish() == *hash,
            Ok(bytes) => hasher.update(buffer.get(..bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create_new(path)?.write_all(bytes)
}

fn create_new(path: &Path) -> io::Result<File> {
    // Left over from an export that was cut off.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(path: &Path) -> io::Result<()> {
    // Folders cannot be opened as files here; the file system keeps names in its own journal.
    let _ = (path, std::marker::PhantomData::<File>);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_second_export_writes_only_what_differs() {
        let root = tempfile::tempdir().unwrap();
        let mut first = Exporter::new(root.path()).unwrap();
        assert_eq!(first.write("a/b.md", b"one").unwrap(), Written::New);
        assert_eq!(first.write("c.md", b"two").unwrap(), Written::New);
        assert_eq!(first.finish().unwrap(), 2);
        let mut second = Exporter::new(root.path()).unwrap();
        assert_eq!(second.write("a/b.md", b"one").unwrap(), Written::Unchanged);
        assert_eq!(second.write("c.md", b"2!!").unwrap(), Written::New);
        assert_eq!(second.finish().unwrap(), 1);
        assert_eq!(fs::read(root.path().join("c.md")).unwrap(), b"2!!");
        assert_eq!(names(root.path()), ["a", "c.md"]);
    }

    #[test]
    fn nothing_is_written_outside_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let inside = root.path().join("x");
        let mut export = Exporter::new(&inside).unwrap();
        for path in ["../a.md", "/a.md", "", "a/./b.md", "a//b.md"] {
            assert!(matches!(export.write(path, b"x"), Err(ExportError::Outside)), "{path}");
        }
        assert_eq!(names(root.path()), ["x"]);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_leaves_no_remains() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a.md/full")).unwrap();
        let mut export = Exporter::new(root.path()).unwrap();
        assert!(matches!(export.write("a.md", b"x"), Err(ExportError::Io(_))));
        assert_eq!(names(root.path()), ["a.md"]);
    }

    #[test]
    fn remains_of_a_cut_off_export_do_not_stop_the_next() {
        let root = tempfile::tempdir().unwrap();
        Exporter::new(root.path()).unwrap().write("a.md", b"x").unwrap();
        let name = sha256_plain(&[b"a.md"]);
        let part = format!(".lifeos-{:02x}{:02x}{:02x}{:02x}.part", name[0], name[1], name[2], name[3]);
        fs::write(root.path().join(&part), "half").unwrap();
        Exporter::new(root.path()).unwrap().write("a.md", b"y").unwrap();
        assert_eq!(names(root.path()), ["a.md"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_a_file_is_replaced_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let victim = other.path().join("v.md");
        fs::write(&victim, "old").unwrap();
        std::os::unix::fs::symlink(&victim, root.path().join("a.md")).unwrap();
        Exporter::new(root.path()).unwrap().write("a.md", b"new").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"old");
        assert_eq!(fs::read(root.path().join("a.md")).unwrap(), b"new");
    }
}
