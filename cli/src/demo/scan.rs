//! Looks for readable text in a relay's files: many strings at once, in five encodings, in one pass and
//! in bounded memory.
//!
//! Every string becomes one pattern per encoding and alignment. The first eight bytes of every pattern go
//! into a small bit field and a table; a position of a file costs one lookup in the bit field, and only
//! what passes it is compared whole. So ten thousand titles cost about as much as one.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Serialize;

/// Shorter strings turn up by chance and are not looked for.
pub const NEEDLE_BYTES_MIN: usize = 8;
/// Of longer strings the beginning is looked for: whoever leaks a text leaks its beginning.
const NEEDLE_BYTES_MAX: usize = 32;
const WINDOW_BYTES: usize = 8;
const CHUNK_BYTES: usize = 256 << 10;
const FILTER_BITS_LOG2: u32 = 21;
/// Finds that are kept; more would say nothing new.
const LEAKS_MAX: usize = 100;

/// How a text could end up in a file without being encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// UTF-8 as it is.
    Raw,
    /// `6162`
    HexLower,
    /// `6A6B`
    HexUpper,
    /// Base64 (either alphabet), the text starting at a group of three bytes.
    Base64,
    /// Base64, the text starting one byte into a group.
    Base64Shift1,
    /// Base64, the text starting two bytes into a group.
    Base64Shift2,
    /// UTF-16, low byte first.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Raw,
        Self::HexLower,
        Self::HexUpper,
        Self::Base64,
        Self::Base64Shift1,
        Self::Base64Shift2,
        Self::Utf16Le,
        Self::Utf16Be,
    ];

    /// What `needle` looks like in this encoding, whatever stands before and after it.
    fn pattern(self, needle: &str) -> Vec<u8> {
        match self {
            Self::Raw => needle.as_bytes().to_vec(),
            Self::HexLower => hex(needle.as_bytes()),
            Self::HexUpper => hex(needle.as_bytes()).to_ascii_uppercase(),
            Self::Base64 => base64_inner(needle.as_bytes(), 0),
            Self::Base64Shift1 => base64_inner(needle.as_bytes(), 1),
            Self::Base64Shift2 => base64_inner(needle.as_bytes(), 2),
            Self::Utf16Le => needle.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Self::Utf16Be => needle.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }

    /// `text` the way a careless program would write it amid other data, made without [`Self::pattern`]:
    /// what the scanner is tried on.
    #[must_use]
    pub fn plant(self, text: &str) -> Vec<u8> {
        let amid = |skip: usize| [&b"ab"[..skip], text.as_bytes(), b"yz"].concat();
        match self {
            Self::Raw => amid(1),
            Self::HexLower => amid(2).iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect(),
            Self::HexUpper => amid(2).iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect(),
            Self::Base64 => STANDARD.encode(amid(0)).into_bytes(),
            Self::Base64Shift1 => STANDARD.encode(amid(1)).into_bytes(),
            Self::Base64Shift2 => STANDARD.encode(amid(2)).into_bytes(),
            Self::Utf16Le => format!("a{text}z").encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Self::Utf16Be => format!("a{text}z").encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

/// The characters of base64 that `needle` alone determines when `before` (0 to 2) bytes of its first group
/// belong to something else.
fn base64_inner(needle: &[u8], before: usize) -> Vec<u8> {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(needle);
    let mut text = STANDARD_NO_PAD.encode(&bytes).into_bytes();
    if !bytes.len().is_multiple_of(3) {
        text.pop();
    }
    text.split_off((before * 8).div_ceil(6))
}

/// A string that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// Which string, by its place in the list given to [`Scanner::new`].
    pub needle: usize,
    /// In which form.
    pub encoding: Encoding,
    /// In which file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
}

/// What a look through files found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The first finds.
    pub leaks: Vec<Leak>,
}

impl Scan {
    /// Places of the strings that were found.
    #[must_use]
    pub fn needles(&self) -> BTreeSet<usize> {
        self.leaks.iter().map(|leak| leak.needle).collect()
    }
}

struct Pattern {
    bytes: Box<[u8]>,
    needle: u32,
    encoding: Encoding,
}

/// Looks for a fixed list of strings.
pub struct Scanner {
    patterns: Vec<Pattern>,
    by_window: HashMap<u64, Vec<u32>>,
    filter: Vec<u64>,
    pattern_bytes_max: usize,
}

impl Scanner {
    /// A scanner for `needles`; those shorter than [`NEEDLE_BYTES_MIN`] are left out.
    pub fn new<'a>(needles: impl IntoIterator<Item = &'a str>) -> Self {
        let filter = vec![0; 1 << (FILTER_BITS_LOG2 - 6)];
        let mut scanner =
            Self { patterns: Vec::new(), by_window: HashMap::new(), filter, pattern_bytes_max: WINDOW_BYTES };
        for (at, needle) in needles.into_iter().enumerate() {
            if let Ok(at) = u32::try_from(at) {
                scanner.add(at, beginning(needle));
            }
        }
        scanner
    }

    fn add(&mut self, needle: u32, text: &str) {
        if text.len() < NEEDLE_BYTES_MIN {
            return;
        }
        for encoding in Encoding::ALL {
            let bytes = encoding.pattern(text);
            let url_safe: Vec<u8> = bytes.iter().map(|byte| url_alphabet(*byte)).collect();
            let is_base64 = matches!(encoding, Encoding::Base64 | Encoding::Base64Shift1 | Encoding::Base64Shift2);
            if is_base64 && url_safe != bytes {
                self.add_pattern(Pattern { bytes: url_safe.into(), needle, encoding });
            }
            self.add_pattern(Pattern { bytes: bytes.into(), needle, encoding });
        }
    }

    fn add_pattern(&mut self, pattern: Pattern) {
        // UTF-16 of eight bytes that are few characters is shorter than a window and cannot be told from chance.
        let Some(window) = window(&pattern.bytes) else { return };
        let Ok(index) = u32::try_from(self.patterns.len()) else { return };
        self.pattern_bytes_max = self.pattern_bytes_max.max(pattern.bytes.len());
        let bit = filter_bit(window);
        self.filter[bit / 64] |= 1 << (bit % 64);
        self.by_window.entry(window).or_default().push(index);
        self.patterns.push(pattern);
    }

    /// Looks through all files below `dir`; symbolic links are not followed.
    ///
    /// # Errors
    /// When a file cannot be read: a file not looked at must not count as clean.
    pub fn scan_dir(&self, dir: &Path) -> io::Result<Scan> {
        let mut scan = Scan::default();
        for file in files_below(dir)? {
            self.scan_file(&file, &mut scan)?;
        }
        Ok(scan)
    }

    fn scan_file(&self, path: &Path, scan: &mut Scan) -> io::Result<()> {
        scan.files += 1;
        let mut leaks = Vec::new();
        scan.bytes += self.scan_reader(File::open(path)?, &mut |needle, encoding, offset| {
            leaks.push(Leak { needle, encoding, file: path.to_owned(), offset });
            scan.leaks.len() + leaks.len() < LEAKS_MAX
        })?;
        scan.leaks.append(&mut leaks);
        Ok(())
    }

    /// Reads to the end and calls `found` with needle, encoding and offset until it says no; returns the bytes read.
    fn scan_reader(
        &self,
        mut reader: impl Read,
        found: &mut dyn FnMut(usize, Encoding, u64) -> bool,
    ) -> io::Result<u64> {
        let mut buffer = Vec::with_capacity(CHUNK_BYTES + self.pattern_bytes_max);
        let mut passed: u64 = 0;
        loop {
            let read = reader.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut buffer)?;
            // What could be cut in two by the end of the buffer is looked at again with the next chunk.
            let keep = if read == 0 { 0 } else { (self.pattern_bytes_max - 1).min(buffer.len()) };
            let until = buffer.len() - keep;
            if !self.scan_buffer(&buffer, until, passed, found) {
                return Ok(passed + buffer.len() as u64);
            }
            passed += until as u64;
            buffer.drain(..until);
            if read == 0 {
                return Ok(passed);
            }
        }
    }

    /// Patterns that begin before `until`; false once the caller has enough.
    fn scan_buffer(
        &self,
        buffer: &[u8],
        until: usize,
        passed: u64,
        found: &mut dyn FnMut(usize, Encoding, u64) -> bool,
    ) -> bool {
        for (at, bytes) in buffer.array_windows::<WINDOW_BYTES>().enumerate().take(until) {
            let window = u64::from_be_bytes(*bytes);
            let bit = filter_bit(window);
            if self.filter[bit / 64] & (1 << (bit % 64)) == 0 {
                continue;
            }
            for index in self.by_window.get(&window).into_iter().flatten() {
                let pattern = &self.patterns[*index as usize];
                let hit = buffer[at..].starts_with(&pattern.bytes);
                if hit && !found(pattern.needle as usize, pattern.encoding, passed + at as u64) {
                    return false;
                }
            }
        }
        true
    }
}

fn window(pattern: &[u8]) -> Option<u64> {
    pattern.first_chunk::<WINDOW_BYTES>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Fibonacci hashing (Knuth, TAOCP 6.4): the golden ratio spreads windows that differ in few bits.
const fn filter_bit(window: u64) -> usize {
    (window.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - FILTER_BITS_LOG2)) as usize
}

const fn url_alphabet(byte: u8) -> u8 {
    match byte {
        b'+' => b'-',
        b'/' => b'_',
        other => other,
    }
}

/// At most [`NEEDLE_BYTES_MAX`] bytes, whole characters.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(NEEDLE_BYTES_MAX)]
}

/// All plain files below `dir`, sorted.
///
/// # Errors
/// When a folder cannot be read.
pub fn files_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDLES: [&str; 3] = ["a secret canary of some length", "Grüße an Zoë und Jürgen", "eightbyt"];

    fn found(scanner: &Scanner, haystack: &[u8]) -> Vec<(usize, Encoding, u64)> {
        let mut all = Vec::new();
        let read = scanner.scan_reader(haystack, &mut |needle, encoding, offset| {
            all.push((needle, encoding, offset));
            true
        });
        assert_eq!(read.unwrap(), haystack.len() as u64);
        all
    }

    #[test]
    fn a_planted_leak_is_found_in_every_encoding() {
        let scanner = Scanner::new(NEEDLES);
        for (at, needle) in NEEDLES.iter().enumerate() {
            for encoding in Encoding::ALL {
                let hits = found(&scanner, &[&[0xAA; 1000][..], &encoding.plant(needle), &[0x55; 999]].concat());
                assert!(hits.iter().any(|hit| hit.0 == at && hit.1 == encoding), "{needle} {encoding:?}: {hits:?}");
            }
        }
    }

    #[test]
    fn a_leak_that_is_cut_by_the_end_of_a_chunk_is_found_once_and_at_its_place() {
        let scanner = Scanner::new(NEEDLES);
        for shift in 0..40 {
            let mut haystack = vec![0; CHUNK_BYTES - shift];
            haystack.extend_from_slice(NEEDLES[0].as_bytes());
            haystack.resize(3 * CHUNK_BYTES, 0);
            assert_eq!(found(&scanner, &haystack), [(0, Encoding::Raw, (CHUNK_BYTES - shift) as u64)]);
        }
    }

    #[test]
    fn a_leak_at_the_very_end_of_a_file_is_found() {
        let scanner = Scanner::new(NEEDLES);
        assert_eq!(found(&scanner, b"xeightbyt"), [(2, Encoding::Raw, 1)]);
        assert_eq!(found(&scanner, b"eightbyt"), [(2, Encoding::Raw, 0)]);
        assert_eq!(found(&scanner, b"eightby"), []);
    }

    #[test]
    fn the_url_alphabet_of_base64_is_found_too() {
        let needle = "???>>>???>>>";
        let text = base64::engine::general_purpose::URL_SAFE.encode(needle);
        assert!(text.contains('_') || text.contains('-'));
        let hits = found(&Scanner::new([needle]), text.as_bytes());
        assert_eq!(hits, [(0, Encoding::Base64, 0)]);
    }

    #[test]
    fn short_strings_are_not_looked_for() {
        assert_eq!(found(&Scanner::new(["short"]), b"short short short"), []);
    }

    #[test]
    fn strings_that_begin_alike_are_told_apart() {
        let scanner = Scanner::new(["the same beginning, one", "the same beginning, two"]);
        assert_eq!(found(&scanner, b"... the same beginning, two ..."), [(1, Encoding::Raw, 4)]);
    }

    #[test]
    fn finds_are_bounded_and_folders_are_searched_to_the_bottom() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/deep"), NEEDLES[0].repeat(1000)).unwrap();
        fs::write(dir.path().join("clean"), "nothing").unwrap();
        let scan = Scanner::new(NEEDLES).scan_dir(dir.path()).unwrap();
        assert_eq!((scan.files, scan.leaks.len()), (2, LEAKS_MAX));
        assert_eq!(scan.needles(), BTreeSet::from([0]));
        assert!(scan.leaks.iter().all(|leak| leak.file.ends_with("a/b/deep")));
    }
}
