//! A folder beside the home's database for files that an import takes out of an archive, one note's at a time.
//!
//! What a process that was killed left there is removed by the next import: its lock is free.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::base64::Base64;

const PREFIX: &str = "importing-";
const LOCK: &str = "lock";

/// The folder; gone when it is dropped.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
    _lock: File,
}

/// A file taken out of an archive; gone when it is dropped.
#[derive(Debug)]
pub struct Kept {
    place: PathBuf,
    pub(crate) bytes: u64,
}

impl Kept {
    /// Where it lies.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.place);
    }
}

impl Scratch {
    /// Makes the folder in a home, and removes those that nobody uses any more.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn new(home: &Path) -> io::Result<Self> {
        for entry in fs::read_dir(home)?.filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                let free = File::open(entry.path().join(LOCK)).map_or(true, |lock| lock.try_lock().is_ok());
                if free {
                    let _ = fs::remove_dir_all(entry.path());
                }
            }
        }
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(home)?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Self { folder, _lock: lock })
    }

    /// Begins a file.
    pub(crate) fn begin(&self) -> io::Result<Keeping> {
        let file = tempfile::Builder::new().prefix("part-").tempfile_in(self.folder.path())?;
        let (file, path) = file.keep().map_err(|error| error.error)?;
        Ok(Keeping { file: io::BufWriter::new(file), kept: Kept { place: path, bytes: 0 } })
    }

    /// Keeps some bytes.
    #[cfg(test)]
    pub(crate) fn keep(&self, bytes: &[u8]) -> io::Result<Kept> {
        let mut keeping = self.begin()?;
        keeping.write(bytes)?;
        keeping.finish()
    }

    /// Keeps what comes out of a reader.
    pub(crate) fn copy(&self, mut input: impl io::Read) -> io::Result<Kept> {
        let mut keeping = self.begin()?;
        keeping.kept.bytes = io::copy(&mut input, &mut keeping.file)?;
        keeping.finish()
    }

    /// Keeps what a text in base64 stands for.
    pub(crate) fn keep_base64(&self, text: &str) -> io::Result<Option<Kept>> {
        let (mut keeping, mut base64) = (self.begin()?, Base64::default());
        for piece in text.as_bytes().chunks(1 << 16) {
            let Some(bytes) = base64.decode(piece) else { return Ok(None) };
            keeping.write(&bytes)?;
        }
        if !base64.is_whole() {
            return Ok(None);
        }
        keeping.finish().map(Some)
    }
}

/// A file that is being written.
pub(crate) struct Keeping {
    file: io::BufWriter<File>,
    kept: Kept,
}

impl Keeping {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.kept.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.kept.bytes
    }

    pub(crate) fn finish(mut self) -> io::Result<Kept> {
        self.file.flush()?;
        Ok(self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_with_their_owner_and_folders_that_were_left_with_the_next_import() {
        let home = tempfile::tempdir().unwrap();
        let left = home.path().join("importing-left");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("part-1"), "of a process that was killed").unwrap();
        let scratch = Scratch::new(home.path()).unwrap();
        assert!(!left.exists());
        let second = Scratch::new(home.path()).unwrap();
        let kept = scratch.keep(b"bytes").unwrap();
        assert_eq!(fs::read(kept.place()).unwrap(), b"bytes", "another import leaves those alone that are used");
        let place = kept.place().to_path_buf();
        drop(kept);
        assert!(!place.exists());
        assert!(scratch.keep_base64("YWJ\njZA").unwrap().is_none());
        let kept = scratch.keep_base64("YWJ\njZA==").unwrap().unwrap();
        assert_eq!((fs::read(kept.place()).unwrap(), kept.bytes), (b"abcd".to_vec(), 4));
        drop((kept, scratch, second));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
