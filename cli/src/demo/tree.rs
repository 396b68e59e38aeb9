//! Compares two folders byte by byte.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::scan::files_below;

/// Differences that are named; more would say nothing new.
const DIFFERENCES_MAX: usize = 10;

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Files that are in both and equal.
    pub equal: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// The first paths that are in one only, or differ.
    pub different: Vec<PathBuf>,
}

/// Compares all files below `left` and `right`, by path and contents.
///
/// # Errors
/// When something cannot be read.
pub fn compare(left: &Path, right: &Path) -> io::Result<Comparison> {
    let mut comparison = Comparison::default();
    for path in relative(left)?.union(&relative(right)?) {
        match (read(&left.join(path))?, read(&right.join(path))?) {
            (Some(one), Some(other)) if one == other => {
                comparison.equal += 1;
                comparison.bytes += one.len() as u64;
            }
            _ if comparison.different.len() < DIFFERENCES_MAX => comparison.different.push(path.clone()),
            _ => {}
        }
    }
    Ok(comparison)
}

fn relative(dir: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let files = files_below(dir)?;
    Ok(files.iter().filter_map(|file| file.strip_prefix(dir).ok()).map(Path::to_owned).collect())
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Copies all plain files below `from` to `to`.
///
/// # Errors
/// When the disk refuses.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for path in relative(from)? {
        let target = to.join(&path);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(from.join(&path), target)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_and_a_changed_byte_are_differences() {
        let dir = tempfile::tempdir().unwrap();
        let (left, right) = (dir.path().join("left"), dir.path().join("right"));
        fs::create_dir_all(left.join("sub")).unwrap();
        fs::write(left.join("sub/same"), "same").unwrap();
        fs::write(left.join("changed"), "one").unwrap();
        copy(&left, &right).unwrap();
        assert_eq!(compare(&left, &right).unwrap(), Comparison { equal: 2, bytes: 7, different: vec![] });
        fs::write(right.join("changed"), "two").unwrap();
        fs::write(right.join("extra"), "").unwrap();
        let comparison = compare(&left, &right).unwrap();
        assert_eq!(comparison.different, [PathBuf::from("changed"), PathBuf::from("extra")]);
        assert_eq!(comparison.equal, 1);
    }
}
