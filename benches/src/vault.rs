//! Makes vaults of Markdown notes that look like a person's: words, headings, lists, links, front matter.

use std::fmt::Write as _;
use std::path::Path;

const WORDS: &[&str] = &[
    "garden", "letter", "window", "ticket", "morning", "invoice", "river", "meeting", "pencil", "budget", "holiday",
    "engine", "recipe", "doctor", "bridge", "market", "winter", "folder", "camera", "harbour", "teacher", "station",
    "kitchen", "journal", "project", "library", "mountain", "paper",
];

fn word(seed: &mut u64) -> &'static str {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    WORDS[(*seed >> 33) as usize % WORDS.len()]
}

fn sentence(seed: &mut u64, words: usize) -> String {
    (0..words).map(|_| word(seed)).collect::<Vec<_>>().join(" ")
}

/// The text of note `index`: about 1.5 KB.
pub(crate) fn note(index: usize) -> String {
    let mut seed = index as u64 + 1;
    let mut text = format!(
        "---\ntags: [{}, {}]\nrating: {}\n---\n# Note {index} {}\n\n",
        word(&mut seed),
        word(&mut seed),
        index % 5,
        word(&mut seed)
    );
    for section in 0..3 {
        let _ = write!(
            text,
            "## {} {section}\n\n{}. See [[Note {}]] and **{}**.\n\n",
            word(&mut seed),
            sentence(&mut seed, 45),
            index / 2,
            word(&mut seed)
        );
        let _ = write!(
            text,
            "- [ ] {}\n- [x] {}\n- {}\n\n",
            sentence(&mut seed, 5),
            sentence(&mut seed, 4),
            sentence(&mut seed, 6)
        );
    }
    text
}

/// A reminder-like note of some twenty characters.
pub(crate) fn short(index: usize) -> String {
    let mut seed = index as u64 + 1;
    format!("# {} {index}\n\n{}\n", word(&mut seed), word(&mut seed))
}

/// Writes `count` notes below `dir`, a hundred a folder.
pub(crate) fn write(dir: &Path, count: usize, note: fn(usize) -> String) {
    for index in 0..count {
        let folder = dir.join(format!("folder {:03}", index / 100));
        if index % 100 == 0 {
            std::fs::create_dir_all(&folder).expect("a folder");
        }
        std::fs::write(folder.join(format!("note {index}.md")), note(index)).expect("a file");
    }
}
