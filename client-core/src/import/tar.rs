//! What a tar archive holds, by name: where each file begins and how long it is. Nothing is unpacked and no name is
//! followed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const BLOCK: u64 = 512;
/// Longest name that stands in a block of its own.
const NAME_BYTES_MAX: u64 = 4 * 1024;
/// Longest header of the POSIX form; a longer one is passed over.
const PAX_BYTES_MAX: u64 = 64 * 1024;
/// Most files of an archive.
const FILES_MAX: usize = 1_000_000;

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// The regular files of an archive, and whether it ends where it should.
pub(super) fn entries(path: &Path) -> io::Result<(Vec<Entry>, bool)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let (mut found, mut at, mut long_name) = (Vec::new(), 0, None);
    while at + BLOCK <= length && found.len() < FILES_MAX {
        let mut header = [0; BLOCK as usize];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut header)?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok((found, true));
        }
        let (Some(bytes), true) = (number(&header[124..136]), is_whole(&header)) else { return Ok((found, false)) };
        let offset = at + BLOCK;
        let Some(next) = bytes.checked_next_multiple_of(BLOCK).and_then(|room| offset.checked_add(room)) else {
            return Ok((found, false));
        };
        if offset + bytes > length {
            return Ok((found, false));
        }
        at = next;
        match header[156] {
            b'L' if bytes <= NAME_BYTES_MAX => long_name = Some(text(&read(&mut file, bytes)?)),
            b'x' if bytes <= PAX_BYTES_MAX => {
                long_name = pax_path(&read(&mut file, bytes)?).or(long_name);
            }
            b'0' | 0 | b'7' => {
                let prefix = if header[257..262] == *b"ustar" { text(&header[345..500]) } else { String::new() };
                let short = text(&header[..100]);
                let short = if prefix.is_empty() { short } else { format!("{prefix}/{short}") };
                found.push(Entry { name: long_name.take().unwrap_or(short), offset, bytes });
            }
            // Folders, links and devices: nothing of them is read.
            _ => long_name = None,
        }
    }
    // Some programs leave out the blocks at the end.
    Ok((found, at >= length))
}

fn read(file: &mut File, bytes: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    file.take(bytes).read_to_end(&mut out)?;
    Ok(out)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Octal digits, or with the first bit set the number itself.
fn number(field: &[u8]) -> Option<u64> {
    if field.first()? & 0x80 != 0 {
        let tail = &field[field.len() - 8..];
        let head = &field[1..field.len() - 8];
        return (field[0] == 0x80 && head.iter().all(|byte| *byte == 0))
            .then(|| u64::from_be_bytes(tail.try_into().unwrap_or_default()));
    }
    let digits = text(field);
    u64::from_str_radix(digits.trim_matches(' '), 8).ok()
}

/// Whether the header's sum is right.
fn is_whole(header: &[u8; BLOCK as usize]) -> bool {
    let sum = header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) });
    number(&header[148..156]) == Some(sum.sum())
}

/// `<length> path=<path>\n` among the records.
fn pax_path(records: &[u8]) -> Option<String> {
    let mut rest = records;
    while !rest.is_empty() {
        let digits = rest.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        let record = rest.get(digits + 1..length)?;
        if let Some(path) = record.strip_prefix(b"path=") {
            return Some(String::from_utf8_lossy(path).trim_end_matches('\n').to_owned());
        }
        rest = &rest[length..];
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An archive of these files.
    pub(in crate::import) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, bytes) in files {
            out.extend(header(name, b'0', bytes.len() as u64));
            out.extend(*bytes);
            out.resize(out.len().next_multiple_of(512), 0);
        }
        out.resize(out.len() + 1024, 0);
        out
    }

    fn header(name: &str, kind: u8, bytes: u64) -> [u8; 512] {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{bytes:011o}").as_bytes());
        header[156] = kind;
        header[257..262].copy_from_slice(b"ustar");
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        header
    }

    fn listed(bytes: &[u8]) -> (Vec<(String, u64)>, bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        std::fs::write(&path, bytes).unwrap();
        let (entries, whole) = entries(&path).unwrap();
        (entries.into_iter().map(|entry| (entry.name, entry.bytes)).collect(), whole)
    }

    #[test]
    fn files_are_listed_with_long_names_and_links_are_not() {
        let long = "resources/".to_owned() + &"n".repeat(150);
        let pax = format!("{} path={long}2\n", long.len() + 11);
        let mut bytes = header("link", b'2', 0).to_vec();
        bytes.extend(header("././@LongLink", b'L', long.len() as u64));
        bytes.extend(long.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend(header("short", b'0', 0));
        bytes.extend(header("pax", b'x', pax.len() as u64));
        bytes.extend(pax.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend(archive(&[("again", b"abc"), ("../../out", b"x")]));
        let expected = vec![(long.clone(), 0), (long + "2", 3), ("../../out".to_owned(), 1)];
        assert_eq!(listed(&bytes), (expected, true));
    }

    #[test]
    fn an_archive_that_is_cut_off_or_lies_about_sizes_ends_there() {
        let bytes = archive(&[("a", b"abc"), ("b", &[7; 600])]);
        assert_eq!(listed(&bytes[..1100]).0, [("a".to_owned(), 3)]);
        assert!(!listed(&bytes[..1600]).1 && listed(&bytes).1);
        for size in ["77777777777", "00000100000"] {
            let mut lying = header("a", b'0', 0);
            lying[124..135].copy_from_slice(size.as_bytes());
            lying[148..156].fill(b' ');
            let sum: u64 = lying.iter().map(|byte| u64::from(*byte)).sum();
            lying[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            assert_eq!(listed(&lying), (Vec::new(), false));
        }
        assert_eq!(listed(&[b'x'; 2048]), (Vec::new(), false), "no archive");
        assert_eq!(listed(&header("././@LongLink", b'L', (1 << 33) - 1)), (Vec::new(), false));
    }
}
