//! What becomes of one file: pure rules over hashes, and the three-way merge.

use std::collections::HashMap;

use lifeos_sync_protocol::ids::DocId;

use super::scan::Candidate;

/// Texts with more lines are not merged line by line: the comparison is quadratic in the worst case.
const MERGE_LINES_MAX: usize = 10_000;

/// A note that came from a file before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The note.
    pub doc: DocId,
    /// SHA-256 of the file's bytes when it was last imported.
    pub source_hash: [u8; 32],
    /// The note is in the trash.
    pub trashed: bool,
}

/// The notes that came from files, by path and by file name with content. Some hundred bytes a note.
#[derive(Debug, Clone, Default)]
pub struct ExistingIndex {
    by_path: HashMap<String, Known>,
    by_name_and_hash: HashMap<(String, [u8; 32]), DocId>,
}

impl ExistingIndex {
    /// Adds or replaces what is known about `path`; to be called for each note with a source before the import, and
    /// for each file that became (or updated) a note during it.
    pub fn insert(&mut self, doc: DocId, path: &str, source_hash: [u8; 32], trashed: bool) {
        self.by_path.insert(path.to_owned(), Known { doc, source_hash, trashed });
        if !trashed {
            self.by_name_and_hash.entry((file_name(path).to_owned(), source_hash)).or_insert(doc);
        }
    }

    /// The note that came from this path.
    #[must_use]
    pub fn known(&self, path: &str) -> Option<Known> {
        self.by_path.get(path).copied()
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What to do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plan {
    /// Make a new note.
    Create,
    /// Give this note the file's text, and remember the new hash.
    Update {
        /// The note.
        doc: DocId,
    },
    /// Both the note and the file changed: [`merge`] their texts.
    Merge {
        /// The note.
        doc: DocId,
        /// Hash of the text both come from: the version of the note with this hash is the base.
        base_hash: [u8; 32],
    },
    /// Another file of this name with the same bytes is a note already.
    Duplicate {
        /// That note.
        doc: DocId,
    },
    /// Nothing to do.
    Skip {
        /// The note.
        doc: DocId,
        /// Why.
        reason: SkipReason,
    },
}

/// Why a file needs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// Same path, same bytes.
    #[error("unchanged since the last import")]
    Unchanged,
    /// The person threw the note away.
    #[error("its note is in the trash; restore it to import the file again")]
    InTrash,
}

/// Decides what becomes of a file. `current_hash` gives the SHA-256 of a note's Markdown now (`None`: not readable);
/// it is asked only when the answer matters, for it means writing out the note.
#[must_use]
pub fn plan(index: &ExistingIndex, file: &Candidate, current_hash: impl FnOnce(DocId) -> Option<[u8; 32]>) -> Plan {
    let Some(known) = index.known(&file.path) else {
        let same = index.by_name_and_hash.get(&(file.name.clone(), file.hash));
        return same.map_or(Plan::Create, |doc| Plan::Duplicate { doc: *doc });
    };
    let doc = known.doc;
    match known {
        known if known.source_hash == file.hash => Plan::Skip { doc, reason: SkipReason::Unchanged },
        known if known.trashed => Plan::Skip { doc, reason: SkipReason::InTrash },
        known => match current_hash(doc) {
            Some(now) if now == known.source_hash || now == file.hash => Plan::Update { doc },
            _ => Plan::Merge { doc, base_hash: known.source_hash },
        },
    }
}

/// Two texts that come from one, brought together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// Both changes fit.
    Text(String),
    /// They change the same lines (or there is no base): keep the note, and make the file a second note.
    Conflict,
}

/// Merges by lines. Without a base only equal texts merge.
#[must_use]
pub fn merge(base: Option<&str>, ours: &str, theirs: &str) -> Merged {
    if ours == theirs {
        return Merged::Text(ours.to_owned());
    }
    let Some(base) = base else { return Merged::Conflict };
    let lines = |text: &str| text.split('\n').take(MERGE_LINES_MAX + 1).count();
    match (base == ours, base == theirs) {
        (true, _) => Merged::Text(theirs.to_owned()),
        (_, true) => Merged::Text(ours.to_owned()),
        _ if [base, ours, theirs].into_iter().any(|text| lines(text) > MERGE_LINES_MAX) => Merged::Conflict,
        _ => diffy::merge(base, ours, theirs).map_or(Merged::Conflict, Merged::Text),
    }
}

/// Title of the second note that a conflict makes.
#[must_use]
pub fn copy_title(title: &str) -> String {
    format!("{title} (imported copy)")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOC: DocId = DocId([1; 16]);

    fn file(path: &str, text: &str) -> Candidate {
        Candidate::new(path, text.to_owned(), None)
    }

    fn index(path: &str, text: &str, trashed: bool) -> ExistingIndex {
        let mut index = ExistingIndex::default();
        index.insert(DOC, path, file(path, text).hash, trashed);
        index
    }

    fn hash(text: &str) -> [u8; 32] {
        file("x", text).hash
    }

    #[test]
    fn an_unknown_file_becomes_a_note() {
        assert_eq!(plan(&index("a.md", "a", false), &file("b.md", "a"), |_| None), Plan::Create);
        assert_eq!(plan(&index("a.md", "a", false), &file("x/a.md", "b"), |_| None), Plan::Create);
    }

    #[test]
    fn an_unchanged_file_is_skipped_without_looking_at_the_note() {
        let plan = plan(&index("a.md", "a", false), &file("a.md", "a"), |_| panic!("not needed"));
        assert_eq!(plan, Plan::Skip { doc: DOC, reason: SkipReason::Unchanged });
    }

    #[test]
    fn a_changed_file_updates_an_untouched_note() {
        let decide = |now: &str| plan(&index("a.md", "a", false), &file("a.md", "b"), |_| Some(hash(now)));
        assert_eq!(decide("a"), Plan::Update { doc: DOC });
        assert_eq!(decide("b"), Plan::Update { doc: DOC });
        assert_eq!(decide("c"), Plan::Merge { doc: DOC, base_hash: hash("a") });
    }

    #[test]
    fn the_same_file_in_another_folder_is_a_duplicate() {
        let decide = |trashed| plan(&index("x/a.md", "a", trashed), &file("y/a.md", "a"), |_| None);
        assert_eq!(decide(false), Plan::Duplicate { doc: DOC });
        assert_eq!(decide(true), Plan::Create);
    }

    #[test]
    fn a_note_in_the_trash_is_not_brought_back() {
        let plan = plan(&index("a.md", "a", true), &file("a.md", "b"), |_| None);
        assert_eq!(plan, Plan::Skip { doc: DOC, reason: SkipReason::InTrash });
    }

    #[test]
    fn changes_in_different_lines_merge() {
        let merged = merge(Some("a\nb\nc\nd\n"), "A\nb\nc\nd\n", "a\nb\nc\nD\n");
        assert_eq!(merged, Merged::Text("A\nb\nc\nD\n".to_owned()));
    }

    #[test]
    fn changes_in_the_same_line_conflict() {
        assert_eq!(merge(Some("a\n"), "b\n", "c\n"), Merged::Conflict);
        assert_eq!(merge(None, "b\n", "c\n"), Merged::Conflict);
        assert_eq!(merge(None, "b\n", "b\n"), Merged::Text("b\n".to_owned()));
    }

    #[test]
    fn texts_of_very_many_lines_are_not_compared() {
        let long = |end: &str| "x\n".repeat(MERGE_LINES_MAX) + end;
        assert_eq!(merge(Some(&long("")), &long("a\n"), &long("b\n")), Merged::Conflict);
    }
}
