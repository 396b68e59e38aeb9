//! File names from titles: deterministic, free of collisions, and usable on every common file system.
//!
//! Equal notes get equal names on every device: collisions are settled by document id, never by the order in which
//! notes happen to be listed. Names are compared without case, because some file systems do.

use std::collections::{HashMap, HashSet};

use lifeos_sync_protocol::ids::DocId;
use unicode_normalization::UnicodeNormalization;

use super::links::folded;
use crate::modules::notes::markdown;

/// Longest name of a file or folder, in bytes of UTF-8.
const NAME_BYTES_MAX: usize = 255;
/// Longest stem: leaves room for ` (1234567)` and the ending.
const STEM_BYTES_MAX: usize = 240;
/// Longest folder path; deeper notebooks are left out of it. With a name it stays below the 1,024 bytes of a path that
/// the strictest common system takes, with some room for the folder exported to.
const FOLDER_BYTES_MAX: usize = 600;
const UNTITLED: &str = "Untitled";
const ENDING: &str = ".md";

/// Names that Windows keeps for devices, whatever their ending.
const RESERVED: [&str; 30] = [
    "con",
    "prn",
    "aux",
    "nul",
    "conin$",
    "conout$",
    "com0",
    "com1",
    "com2",
    "com3",
    "com4",
    "com5",
    "com6",
    "com7",
    "com8",
    "com9",
    "com\u{b9}",
    "com\u{b2}",
    "com\u{b3}",
    "lpt0",
    "lpt1",
    "lpt2",
    "lpt3",
    "lpt4",
    "lpt5",
    "lpt6",
    "lpt7",
    "lpt8",
    "lpt9",
    "lpt\u{b9}",
];

/// What a note's file name depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportNote {
    /// The note.
    pub id: DocId,
    /// Its title.
    pub title: String,
    /// Names of its notebooks, outermost first.
    pub notebooks: Vec<String>,
    /// The path it was imported from.
    pub source_path: Option<String>,
    /// It has another title than its file gave it; see [`is_renamed`]. Without a source path it does not matter.
    pub renamed: bool,
}

impl Default for ExportNote {
    fn default() -> Self {
        Self { id: DocId([0; 16]), title: String::new(), notebooks: Vec::new(), source_path: None, renamed: false }
    }
}

/// Whether a note that was imported from `source_path` was given another title since: its title is neither the file
/// name nor what its text says.
#[must_use]
pub fn is_renamed(title: &str, source_path: &str, markdown: &str) -> bool {
    let name = source_path.rsplit('/').next().unwrap_or(source_path);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    title != stem && title != markdown::title(&markdown::parse(markdown), stem)
}

/// A path with `/` below the export folder for each note, in the order given. An imported note that was neither
/// renamed nor moved gets the path it came from; others get their notebooks and title, made portable; who comes
/// later by id gets ` (2)`, ` (3)` ….
#[must_use]
pub fn plan_paths(notes: &[ExportNote]) -> Vec<String> {
    let mut order: Vec<usize> = (0..notes.len()).collect();
    // Kept paths first: a new note must not take the name of an imported one.
    order.sort_by_key(|index| (kept_path(&notes[*index]).is_none(), notes[*index].id, *index));
    let wanted: Vec<(String, String)> = notes.iter().map(wanted_path).collect();
    let mut taken: HashSet<String> = wanted.iter().flat_map(|(folder, _)| folders_above(folder)).collect();
    let mut next_number: HashMap<String, u32> = HashMap::new();
    let mut paths = vec![String::new(); notes.len()];
    for index in order {
        let (folder, name) = &wanted[index];
        paths[index] = free_path(folder, name, &mut taken, &mut next_number);
    }
    paths
}

/// Folder (with `/` at its end, or empty) and file name.
fn wanted_path(note: &ExportNote) -> (String, String) {
    if let Some(path) = kept_path(note) {
        let split = path.rfind('/').map_or(0, |slash| slash + 1);
        return (path[..split].to_owned(), path[split..].to_owned());
    }
    let mut folder = String::new();
    for name in note.notebooks.iter().map(String::as_str).map(portable) {
        if folder.len() + name.len() >= FOLDER_BYTES_MAX {
            break;
        }
        folder.push_str(&name);
        folder.push('/');
    }
    (folder, portable(&note.title) + ENDING)
}

fn kept_path(note: &ExportNote) -> Option<&str> {
    let path = note.source_path.as_deref().filter(|path| !note.renamed && is_safe(path))?;
    let (folder, _) = path.rsplit_once('/').unwrap_or(("", path));
    let moved = !folder.split('/').filter(|name| !name.is_empty()).eq(note.notebooks.iter().map(String::as_str));
    (!moved).then_some(path)
}

/// A stored path comes from other devices: it must stay below the export folder.
pub(super) fn is_safe(path: &str) -> bool {
    let part = |part: &str| {
        !matches!(part, "" | "." | "..") && part.len() <= NAME_BYTES_MAX && !part.contains(['\0', '\\', ':'])
    };
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    folder.len() < FOLDER_BYTES_MAX && path.split('/').all(part)
}

pub(super) fn folders_above(folder: &str) -> Vec<String> {
    folder.match_indices('/').map(|(at, _)| folded(&folder[..at])).collect()
}

fn free_path(folder: &str, name: &str, taken: &mut HashSet<String>, next_number: &mut HashMap<String, u32>) -> String {
    let (stem, ending) = name.rfind('.').map_or((name, ""), |dot| name.split_at(dot));
    let key = folded(&format!("{folder}{name}"));
    if taken.insert(key.clone()) {
        return format!("{folder}{name}");
    }
    let stem = cut(stem, STEM_BYTES_MAX);
    // Numbers go on where the last collision of this name ended: many notes of one title stay cheap.
    let number = next_number.entry(key).or_insert(2);
    loop {
        let path = format!("{folder}{stem} ({number}){ending}");
        *number += 1;
        if taken.insert(folded(&path)) {
            return path;
        }
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// A title as a file or folder name: one part of a path, whatever it says.
pub(crate) fn portable(title: &str) -> String {
    let usable = |char: char| match char {
        '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*' => '-',
        char if char.is_control() => ' ',
        char => char,
    };
    let name: String = title.nfc().map(usable).collect();
    // Windows drops blanks and dots at the end; a dot at the start hides a file.
    let trimmed = cut(name.trim(), STEM_BYTES_MAX).trim_end_matches(|char: char| char == '.' || char.is_whitespace());
    let hidden = trimmed.starts_with('.');
    let first = trimmed.split('.').next().unwrap_or("").trim_end().to_lowercase();
    match trimmed {
        "" => UNTITLED.to_owned(),
        name if hidden || RESERVED.contains(&first.as_str()) || matches!(first.as_str(), "lpt\u{b2}" | "lpt\u{b3}") => {
            format!("_{name}")
        }
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn note(id: u8, title: &str, notebooks: &[&str]) -> ExportNote {
        let notebooks = notebooks.iter().map(|name| (*name).to_owned()).collect();
        ExportNote { id: DocId([id; 16]), title: title.to_owned(), notebooks, ..ExportNote::default() }
    }

    fn imported(id: u8, title: &str, notebooks: &[&str], path: &str, renamed: bool) -> ExportNote {
        ExportNote { source_path: Some(path.to_owned()), renamed, ..note(id, title, notebooks) }
    }

    #[test]
    fn titles_become_names_that_every_system_takes() {
        for (title, expected) in [
            ("Plain", "Plain"),
            ("a/b\\c:d*e?f\"g<h>i|j", "a-b-c-d-e-f-g-h-i-j"),
            ("  ends. . ", "ends"),
            ("...", "Untitled"),
            (".hidden", "_.hidden"),
            ("con", "_con"),
            ("Aux.txt", "_Aux.txt"),
            ("LPT\u{b2}", "_LPT\u{b2}"),
            ("console", "console"),
            ("tab\tnew\nline", "tab new line"),
            ("", "Untitled"),
            ("e\u{301}", "\u{e9}"),
            ("日本 🦀", "日本 🦀"),
        ] {
            assert_eq!(portable(title), expected);
        }
        assert_eq!(portable(&"🦀".repeat(100)).len(), 240);
    }

    #[test]
    fn the_path_of_an_untouched_import_is_kept() {
        let path = "Trips/2024: sea.md";
        assert!(!is_safe(path));
        let kept = imported(1, "Sea", &["Trips"], "Trips/sea?.markdown", false);
        let moved = imported(2, "Sea", &["Trips", "old"], "Trips/sea.md", false);
        let renamed = imported(3, "Ocean", &["Trips"], "Trips/sea.md", true);
        let paths = plan_paths(&[kept, moved, renamed]);
        assert_eq!(paths, ["Trips/sea?.markdown", "Trips/old/Sea.md", "Trips/Ocean.md"]);
    }

    #[test]
    fn a_note_is_renamed_when_neither_file_nor_text_gives_its_title() {
        assert!(!is_renamed("a", "x/a.md", "# Other\n"));
        assert!(!is_renamed("Other", "x/a.md", "# Other\n"));
        assert!(is_renamed("New", "x/a.md", "# Other\n"));
    }

    #[test]
    fn a_hostile_source_path_stays_below_the_folder() {
        for path in ["../a.md", "/a.md", "a/../../b.md", "a//b.md", "C:/a.md", "a\\b.md", "./a.md"] {
            assert_eq!(plan_paths(&[imported(1, "T", &[], path, false)]), ["T.md"], "{path}");
        }
    }

    #[test]
    fn an_imported_note_keeps_its_name_before_others() {
        let paths = plan_paths(&[note(1, "sea", &[]), imported(2, "Sea", &[], "SEA.md", false)]);
        assert_eq!(paths, ["sea (2).md", "SEA.md"]);
    }

    #[test]
    fn very_deep_notebooks_do_not_make_a_path_that_no_system_takes() {
        let deep = vec!["n".repeat(100); 100];
        let deep: Vec<&str> = deep.iter().map(String::as_str).collect();
        let long = format!("{}/a.md", deep.join("/"));
        for path in plan_paths(&[note(1, "a", &deep), imported(2, "a", &deep, &long, false)]) {
            assert!(path.len() < 900 && path.matches('/').count() == 5, "{path}");
        }
    }

    #[test]
    fn a_file_and_a_folder_never_share_a_name() {
        let paths = plan_paths(&[note(1, "a", &[]), note(2, "b", &["A.md"])]);
        assert_eq!(paths, ["a (2).md", "A.md/b.md"]);
    }

    #[test]
    fn many_notes_of_one_title_are_numbered_by_id() {
        let notes: Vec<_> = (0..200).map(|id| note(199 - id, "", &[])).collect();
        let paths = plan_paths(&notes);
        assert_eq!(paths[199], "Untitled.md");
        assert_eq!(paths[0], "Untitled (200).md");
    }

    proptest! {
        #[test]
        fn paths_are_portable_unique_and_independent_of_order(
            notes in prop::collection::vec(
                (any::<u8>(), prop_oneof!["[aA.b (2)]{0,6}", any::<String>()], prop::collection::vec("[aA.]{1,3}", 0..2), any::<bool>()),
                0..12,
            ),
            turn in 0usize..12,
        ) {
            let mut seen = HashSet::new();
            let mut notes: Vec<ExportNote> = notes.into_iter().filter(|(id, ..)| seen.insert(*id)).map(|(id, title, books, from)| {
                let books: Vec<&str> = books.iter().map(String::as_str).collect();
                let mut note = note(id, &title, &books);
                note.source_path = from.then(|| format!("{}{title}.md", books.iter().map(|b| format!("{b}/")).collect::<String>()));
                note
            }).collect();
            let paths = plan_paths(&notes);
            let mut keys = HashSet::new();
            for path in &paths {
                prop_assert!(keys.insert(folded(path)), "{:?}", paths);
                for part in path.split('/') {
                    prop_assert!(!part.is_empty() && part != "." && part != ".." && part.len() <= NAME_BYTES_MAX, "{:?}", part);
                }
            }
            let by_id: HashMap<DocId, String> = notes.iter().map(|note| note.id).zip(paths).collect();
            if !notes.is_empty() {
                let by = turn % notes.len();
                notes.rotate_left(by);
            }
            for (note, path) in notes.iter().zip(plan_paths(&notes)) {
                prop_assert_eq!(&by_id[&note.id], &path);
            }
        }
    }
}
