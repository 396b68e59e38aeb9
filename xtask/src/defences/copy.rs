//! A copy of the sources that may be spoilt: the working tree as it is, below `target/`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::run::{command, root, target};

/// The copied sources.
pub(crate) struct Copy {
    folder: PathBuf,
}

fn said<T>(what: &Path, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{}: {error}", what.display()))
}

impl Copy {
    /// Makes or mends the copy in a folder below `target/`. Only files that differ are written: cargo goes by the times of
    /// files.
    pub(crate) fn refresh(folder: &str) -> Result<Self, String> {
        let folder = target().join(folder);
        let listed = command("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).output();
        let listed = said(Path::new("git"), listed)?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let wanted: BTreeSet<&str> = listed.split('\0').filter(|name| root().join(name).is_file()).collect();
        if wanted.is_empty() {
            return Err("git lists no file: this needs a checkout of the project".into());
        }
        for name in &wanted {
            let (from, to) = (root().join(name), folder.join(name));
            let bytes = said(&from, std::fs::read(&from))?;
            if std::fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            said(&to, to.parent().map_or(Ok(()), std::fs::create_dir_all))?;
            said(&to, std::fs::write(&to, bytes))?;
        }
        remove_others(&folder, &folder, &wanted)?;
        Ok(Self { folder })
    }

    /// The folder of the copy.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Changes one place; the file is as it was again when the result is dropped.
    pub(crate) fn change(&self, file: &str, find: &str, put: &str) -> Result<Changed, String> {
        let path = self.folder.join(file);
        let before = said(&path, std::fs::read_to_string(&path))?;
        let count = before.matches(find).count();
        if count != 1 {
            return Err(format!("{file} holds the text {count} times, not once"));
        }
        said(&path, std::fs::write(&path, before.replacen(find, put, 1)))?;
        Ok(Changed { path, before })
    }
}

/// What a crash or a test left behind.
fn remove_others(root: &Path, folder: &Path, wanted: &BTreeSet<&str>) -> Result<(), String> {
    for entry in said(folder, std::fs::read_dir(folder))? {
        let path = said(folder, entry)?.path();
        if path.is_dir() {
            remove_others(root, &path, wanted)?;
        } else if !path.strip_prefix(root).is_ok_and(|name| wanted.contains(&*name.to_string_lossy())) {
            said(&path, std::fs::remove_file(&path))?;
        }
    }
    Ok(())
}

/// A file that differs from the sources.
pub(crate) struct Changed {
    path: PathBuf,
    before: String,
}

impl Drop for Changed {
    fn drop(&mut self) {
        // Written anew and not put back with its old time: cargo would take the spoilt build for the newer one.
        if let Err(error) = std::fs::write(&self.path, &self.before) {
            eprintln!("{}: {error}; the next run mends it", self.path.display());
        }
    }
}
