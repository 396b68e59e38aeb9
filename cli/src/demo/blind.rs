//! Shows that the relay's files hold nothing readable, with a scanner that is first shown to see.

use std::fs;
use std::io;
use std::path::Path;

use super::journal::Journal;
use super::scan::{Encoding, NEEDLE_BYTES_MIN, Scan, Scanner};
use super::tree;
use crate::failure::Failure;
use crate::page::{bytes, count};

/// Titles that are looked for; beyond that every so-many-th is taken.
const TITLES_MAX: usize = 50_000;

/// What must not be readable at the relay.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// Strings made for this purpose: unlike anything else, each must be nowhere.
    pub canaries: Vec<String>,
    /// Titles of real notes; some are words that the relay's own schema uses, which prove nothing.
    pub titles: Vec<String>,
}

impl Secrets {
    /// All strings to look for: the canaries, then the titles that the relay's files did not hold already
    /// when no device had ever connected.
    fn needles(&self, untouched_relay: &Path) -> io::Result<Needles<'_>> {
        let mut titles: Vec<&str> =
            self.titles.iter().map(|title| title.trim()).filter(|title| title.len() >= NEEDLE_BYTES_MIN).collect();
        titles.sort_unstable();
        titles.dedup();
        let stride = titles.len().div_ceil(TITLES_MAX).max(1);
        let titles: Vec<&str> = titles.into_iter().step_by(stride).collect();
        let schema_words = Scanner::new(titles.iter().copied()).scan_dir(untouched_relay)?.needles();
        let words = schema_words.len();
        let kept = titles.iter().enumerate().filter(|(at, _)| !schema_words.contains(at)).map(|(_, title)| *title);
        let all: Vec<&str> = self.canaries.iter().map(String::as_str).chain(kept).collect();
        Ok(Needles { titles: all.len() - self.canaries.len(), all, schema_words: words })
    }
}

struct Needles<'a> {
    all: Vec<&'a str>,
    titles: usize,
    schema_words: usize,
}

/// Folders the check works on.
pub struct Places<'a> {
    /// The relay's files.
    pub relay: &'a Path,
    /// A copy of them from before any device connected.
    pub untouched: &'a Path,
    /// A folder for a copy that is thrown away.
    pub scratch: &'a Path,
}

/// Tries the scanner on planted leaks, then on the relay's files as they are.
///
/// # Errors
/// [`Failure::Io`] when a file cannot be read; a find is a check in the journal.
pub fn verify(journal: &mut Journal, places: &Places<'_>, secrets: &Secrets) -> Result<(), Failure> {
    let failed = |error| Failure::io("cannot look through the relay's files", error);
    let step = journal.begin("look through the relay's files");
    let needles = secrets.needles(places.untouched).map_err(failed)?;
    let scanner = Scanner::new(needles.all.iter().copied());
    let missed = planted_leaks_missed(&scanner, places, &secrets.canaries).map_err(failed)?;
    let scan = scanner.scan_dir(places.relay).map_err(failed)?;
    let empty = Scanner::new([]).scan_dir(places.untouched).map_err(failed)?;
    let looked = format!(
        "{} in {}; {}, {} ({} left out as words of the schema), {} encodings",
        bytes(scan.bytes),
        count(scan.files, "file"),
        count(secrets.canaries.len() as u64, "canary string"),
        count(needles.titles as u64, "title"),
        needles.schema_words,
        Encoding::ALL.len()
    );
    journal.end(&step, looked)?;
    journal.check("the scanner finds planted leaks", missed.is_empty(), planted_detail(&missed))?;
    journal.check(
        "the relay did store something",
        scan.bytes > empty.bytes,
        bytes(scan.bytes - empty.bytes.min(scan.bytes)),
    )?;
    journal.check(
        "the relay's files hold no plaintext",
        scan.leaks.is_empty(),
        leak_detail(&scan, &needles, places.relay),
    )
}

/// Looks again at the relay's files after it stopped and folded its write-ahead log into the database.
///
/// # Errors
/// As [`verify`].
pub fn verify_stopped(journal: &mut Journal, places: &Places<'_>, secrets: &Secrets) -> Result<(), Failure> {
    let failed = |error| Failure::io("cannot look through the relay's files", error);
    let needles = secrets.needles(places.untouched).map_err(failed)?;
    let scan = Scanner::new(needles.all.iter().copied()).scan_dir(places.relay).map_err(failed)?;
    journal.check("nor after it stopped", scan.leaks.is_empty(), leak_detail(&scan, &needles, places.relay))
}

/// Puts one canary in every encoding into its own copy of the relay's files; returns what was not found.
fn planted_leaks_missed(scanner: &Scanner, places: &Places<'_>, canaries: &[String]) -> io::Result<Vec<Encoding>> {
    let Some(canary) = canaries.first() else { return Ok(Encoding::ALL.to_vec()) };
    tree::copy(places.relay, places.scratch)?;
    let leak = places.scratch.join("planted");
    let mut missed = Vec::new();
    for encoding in Encoding::ALL {
        fs::write(&leak, encoding.plant(canary))?;
        let scan = scanner.scan_dir(places.scratch)?;
        let seen = scan.leaks.iter().any(|found| found.file == leak && found.needle == 0 && found.encoding == encoding);
        if !seen {
            missed.push(encoding);
        }
    }
    fs::remove_dir_all(places.scratch)?;
    Ok(missed)
}

fn planted_detail(missed: &[Encoding]) -> String {
    let all = Encoding::ALL.len();
    format!("{} of {all} encodings and alignments seen in a copy of the relay's files", all - missed.len())
}

/// Where something was found, never what: this line may end up in a log.
fn leak_detail(scan: &Scan, needles: &Needles<'_>, relay: &Path) -> String {
    let Some(leak) = scan.leaks.first() else { return "nothing readable found".to_owned() };
    let kind = if leak.needle < needles.all.len() - needles.titles { "a canary" } else { "a title" };
    let file = leak.file.strip_prefix(relay).unwrap_or(&leak.file).display();
    format!(
        "{}: the first is {kind} as {:?} in {file} at byte {}",
        count(scan.leaks.len() as u64, "find"),
        leak.encoding,
        leak.offset
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Stage {
        dir: tempfile::TempDir,
    }

    impl Stage {
        fn new(schema: &str, stored: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for (folder, text) in [("untouched", schema.to_owned()), ("relay", format!("{schema}{stored}"))] {
                fs::create_dir(dir.path().join(folder)).unwrap();
                fs::write(dir.path().join(folder).join("relay.db"), text).unwrap();
            }
            Self { dir }
        }

        fn checks(&self) -> Vec<(String, bool)> {
            let secrets = Secrets {
                canaries: vec!["canarybody0123456789abcdef".into()],
                titles: vec!["envelopes".into(), "Tax return".into(), "short".into()],
            };
            let below = |name| self.dir.path().join(name);
            let (relay, untouched, scratch) = (below("relay"), below("untouched"), below("scratch"));
            let places = Places { relay: &relay, untouched: &untouched, scratch: &scratch };
            let out =
                crate::output::Out::from_global(&crate::Global { json: true, quiet: true, home: None, space: None });
            let mut journal = Journal::new(out, String::new());
            verify(&mut journal, &places, &secrets).unwrap();
            assert!(!scratch.exists());
            journal.report.checks.into_iter().map(|check| (check.name, check.ok)).collect()
        }
    }

    fn failed(checks: &[(String, bool)]) -> Vec<&str> {
        checks.iter().filter(|(_, ok)| !ok).map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn a_relay_that_holds_only_noise_passes_and_words_of_its_schema_do_not_count() {
        let checks = Stage::new("CREATE TABLE envelopes", "\u{1}\u{2} noise").checks();
        assert_eq!(failed(&checks), Vec::<&str>::new());
        assert_eq!(checks.len(), 3);
    }

    #[test]
    fn a_title_or_a_canary_at_the_relay_is_told() {
        let title = Stage::new("CREATE TABLE envelopes", "... Tax return ...").checks();
        assert_eq!(failed(&title), ["the relay's files hold no plaintext"]);
        let canary = Stage::new("", &format!("{:?}", "canarybody0123456789abcdef")).checks();
        assert_eq!(failed(&canary), ["the relay's files hold no plaintext"]);
    }

    #[test]
    fn a_relay_that_stored_nothing_proves_nothing() {
        let checks = Stage::new("CREATE TABLE envelopes", "").checks();
        assert_eq!(failed(&checks), ["the relay did store something"]);
    }
}
