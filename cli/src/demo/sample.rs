//! The sample vault, carried inside the program.

use std::fs;
use std::io;
use std::path::Path;

/// Path below the vault, and contents.
pub static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/sample.rs"));

/// Writes the sample vault below `dir`.
///
/// # Errors
/// When the disk refuses.
pub fn write_to(dir: &Path) -> io::Result<()> {
    for (path, contents) in FILES {
        let path = dir.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, contents)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_written_whole() {
        let dir = tempfile::tempdir().unwrap();
        write_to(dir.path()).unwrap();
        assert!(FILES.iter().filter(|(path, _)| path.ends_with(".md")).count() >= 5);
        for (path, contents) in FILES {
            assert_eq!(&fs::read(dir.path().join(path)).unwrap(), contents);
        }
    }
}
