//! Attachments beside exported notes: where each file goes, and which links have to say something else (pure).
//!
//! A file goes where it came from, or where the note's link says; else below `attachments/`. Two contents never share
//! a path, whatever the case of its letters; the second gets a number, and its links are rewritten. What no link of the
//! note means gets a line at its end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use super::links::{FileLink, NewTarget, encoded, folded, folder_of, is_bare, is_note, places, relative, rewritten};
use super::names::{folders_above, is_safe, portable};
use crate::modules::attachment::ContentHash;

/// Where files go that no link says a place of.
const FOLDER: &str = "attachments";

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Note,
    Folder,
    File(ContentHash),
}

/// Where one attachment of a note goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Use {
    content: ContentHash,
    path: String,
    /// The link that means it; `None`: none does.
    target: Option<String>,
}

/// Where the attachments of a note go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NoteFiles {
    folder: String,
    uses: Vec<Use>,
}

/// Where all attachments go.
#[derive(Debug, Default)]
pub(crate) struct FilePlan {
    taken: HashMap<String, Taken>,
    /// By folded path.
    files: BTreeMap<String, (String, ContentHash)>,
    /// By folded name: the paths of the files of that name, folded.
    by_name: HashMap<String, BTreeSet<String>>,
    /// By folded name: the number that was free last, so that many files of one name stay cheap.
    next_number: HashMap<String, u64>,
    /// Below `attachments/`, by content and folded name.
    below: HashMap<(ContentHash, String), String>,
}

impl FilePlan {
    /// Notes keep the paths that they have.
    pub(crate) fn new(notes: &[String]) -> Self {
        let mut plan = Self::default();
        for note in notes {
            plan.taken.insert(folded(note), Taken::Note);
            plan.taken.extend(folders_above(note).into_iter().map(|folder| (folder, Taken::Folder)));
        }
        plan
    }

    /// Every file, with what it holds.
    pub(crate) fn files(&self) -> impl ExactSizeIterator<Item = (&str, &ContentHash)> {
        self.files.values().map(|(path, content)| (path.as_str(), content))
    }

    /// Finds places for the attachments of a note, which are given with the name it has for each.
    pub(crate) fn place(&mut self, note: &str, links: &[FileLink], attached: &[(ContentHash, String)]) -> NoteFiles {
        let folder = folder_of(note).to_owned();
        let mut uses = Vec::new();
        let mut is_used = vec![false; attached.len()];
        for link in links {
            let Some(at) = meant(&link.target, attached) else { continue };
            let (content, name) = &attached[at];
            is_used[at] = true;
            let from = if is_bare(name) { None } else { Some(name.clone()) };
            let mut wanted = places(&folder, &link.target);
            wanted.splice(0..0, from);
            let path = self.take(*content, wanted, name);
            uses.push(Use { content: *content, path, target: Some(link.target.clone()) });
        }
        for ((content, name), _) in attached.iter().zip(is_used).filter(|(_, is_used)| !is_used) {
            let path = self.take(*content, Vec::new(), name);
            uses.push(Use { content: *content, path, target: None });
        }
        NoteFiles { folder, uses }
    }

    /// The text of a note as it is exported, when all places are known.
    pub(crate) fn text(&self, note: &NoteFiles, markdown: &str) -> String {
        let mut targets = BTreeMap::new();
        let mut added = Vec::new();
        for used in &note.uses {
            let wiki = match self.resolve(&note.folder, &used.path) == Some(used.content) {
                true => used.path.clone(),
                false => relative(&note.folder, &used.path),
            };
            match &used.target {
                Some(target) if self.resolve(&note.folder, target) == Some(used.content) => {}
                Some(target) => {
                    let inline = encoded(&relative(&note.folder, &used.path));
                    targets.insert(target.clone(), NewTarget { wiki, inline });
                }
                None => added.push(wiki),
            }
        }
        let mut text = rewritten(markdown, &targets);
        for path in added {
            let gap = if text.is_empty() || text.ends_with("\n\n") {
                ""
            } else if text.ends_with('\n') {
                "\n"
            } else {
                "\n\n"
            };
            let _ = writeln!(text, "{gap}![[{path}]]");
        }
        text
    }

    /// What a link would lead to in the exported folder.
    fn resolve(&self, folder: &str, target: &str) -> Option<ContentHash> {
        let at = |path: &str| match self.taken.get(&folded(path)) {
            Some(Taken::File(content)) => Some(*content),
            _ => None,
        };
        let place = places(folder, target).iter().find_map(|place| at(place));
        let anywhere = || self.by_name.get(&folded(target))?.first().and_then(|path| at(path));
        place.or_else(|| if is_bare(target) { anywhere() } else { None })
    }

    /// The first place that is wanted and free, or has this content already; else one below `attachments/`.
    fn take(&mut self, content: ContentHash, wanted: Vec<String>, name: &str) -> String {
        if let Some(path) = wanted.into_iter().find(|path| self.is_free(path, content)) {
            return self.put(path, content);
        }
        let name = portable(name.rsplit('/').next().unwrap_or(name));
        // A note's ending would make a note of it.
        let name = if is_note(&name) { name + ".txt" } else { name };
        let (stem, ending) = name.rfind('.').filter(|at| *at > 0).map_or((name.as_str(), ""), |dot| name.split_at(dot));
        let path_of = |number| match number {
            1 => format!("{FOLDER}/{name}"),
            number => format!("{FOLDER}/{stem} ({number}){ending}"),
        };
        let key = folded(&name);
        if let Some(path) = self.below.get(&(content, key.clone())) {
            return path.clone();
        }
        let mut number = self.next_number.get(&key).copied().unwrap_or(1);
        while !self.is_free(&path_of(number), content) {
            number += 1;
        }
        let path = path_of(number);
        self.next_number.insert(key.clone(), number);
        let path = self.put(path, content);
        self.below.insert((content, key), path.clone());
        path
    }

    fn is_free(&self, path: &str, content: ContentHash) -> bool {
        let is_plain = is_safe(path) && !is_note(path) && !path.split('/').any(|part| part.starts_with('.'));
        let is_above_free =
            || folders_above(path).iter().all(|folder| self.taken.get(folder).is_none_or(|at| *at == Taken::Folder));
        let at = |path: &str| self.taken.get(&folded(path)).is_none_or(|at| *at == Taken::File(content));
        is_plain && at(path) && is_above_free()
    }

    fn put(&mut self, path: String, content: ContentHash) -> String {
        let key = folded(&path);
        self.taken.extend(folders_above(&path).into_iter().map(|folder| (folder, Taken::Folder)));
        let name = key.rsplit('/').next().unwrap_or(&key).to_owned();
        self.by_name.entry(name).or_default().insert(key.clone());
        self.taken.insert(key.clone(), Taken::File(content));
        // There under another case it is one file.
        self.files.entry(key).or_insert((path, content)).0.clone()
    }
}

/// Which attachment a target means: the one of that name, or whose name it ends with, or that ends with it, or that is
/// called alike in another folder.
fn meant(target: &str, attached: &[(ContentHash, String)]) -> Option<usize> {
    let target = target.trim_start_matches("./").trim_start_matches("../").trim_start_matches('/');
    let ends = |long: &str, short: &str| long.strip_suffix(short).is_some_and(|rest| rest.ends_with('/'));
    let last = |path: &str| path.rsplit('/').next().map(str::to_owned);
    let by = |is: &dyn Fn(&str) -> bool| attached.iter().position(|(_, name)| is(name));
    by(&|name| name == target)
        .or_else(|| by(&|name| ends(target, name)))
        .or_else(|| by(&|name| ends(name, target)))
        .or_else(|| by(&|name| last(name) == last(target)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::links::file_links;
    use super::*;

    fn content(seed: u8) -> ContentHash {
        ContentHash([seed; 32])
    }

    /// Path, text, and attachments with their names.
    type Note<'n> = (&'n str, &'n str, &'n [(u8, &'n str)]);

    /// Plans notes with their texts and attachments; gives the texts, and the files with their contents.
    fn planned(notes: &[Note<'_>]) -> (Vec<String>, Vec<(String, u8)>) {
        let paths: Vec<String> = notes.iter().map(|(path, ..)| (*path).to_owned()).collect();
        let mut plan = FilePlan::new(&paths);
        let placed: Vec<NoteFiles> = notes
            .iter()
            .map(|(path, text, attached)| {
                let attached: Vec<_> =
                    attached.iter().map(|(seed, name)| (content(*seed), (*name).to_owned())).collect();
                plan.place(path, &file_links(text), &attached)
            })
            .collect();
        let texts = notes.iter().zip(&placed).map(|((_, text, _), placed)| plan.text(placed, text)).collect();
        (texts, plan.files().map(|(path, content)| (path.to_owned(), content.0[0])).collect())
    }

    fn files(found: &[(String, u8)]) -> Vec<(&str, u8)> {
        found.iter().map(|(path, seed)| (path.as_str(), *seed)).collect()
    }

    #[test]
    fn a_file_goes_where_it_came_from_or_where_the_link_says_and_the_text_stays() {
        let text = "![[sea.png]] ![x](pics/b.png) [[plan.pdf]]\n";
        let (texts, found) = planned(&[("Trips/a.md", text, &[(1, "Files/sea.png"), (2, "b.png"), (3, "plan.pdf")])]);
        assert_eq!(texts, [text]);
        assert_eq!(files(&found), [("Files/sea.png", 1), ("Trips/pics/b.png", 2), ("Trips/plan.pdf", 3)]);
    }

    #[test]
    fn two_contents_of_one_name_get_two_files_and_the_links_say_so() {
        let (texts, found) = planned(&[
            ("a.md", "![[image.png]]\n", &[(1, "image.png")]),
            ("b.md", "![[IMAGE.png|9]] ![](IMAGE.png)\n", &[(2, "IMAGE.png")]),
            ("c.md", "![[image.png]]\n", &[(1, "image.png")]),
        ]);
        assert_eq!(texts[0], "![[image.png]]\n");
        assert_eq!(texts[1], "![[attachments/IMAGE.png|9]] ![](attachments/IMAGE.png)\n");
        assert_eq!(texts[2], "![[image.png]]\n");
        assert_eq!(files(&found), [("attachments/IMAGE.png", 2), ("image.png", 1)]);
    }

    #[test]
    fn what_no_link_means_gets_a_line_at_the_end() {
        let (texts, found) =
            planned(&[("x/a.md", "text", &[(1, "plan.pdf"), (2, "Plan.pdf")]), ("b.md", "", &[(1, "plan.pdf")])]);
        assert_eq!(texts[0], "text\n\n![[attachments/plan.pdf]]\n\n![[attachments/Plan (2).pdf]]\n");
        assert_eq!(texts[1], "![[attachments/plan.pdf]]\n");
        assert_eq!(files(&found), [("attachments/Plan (2).pdf", 2), ("attachments/plan.pdf", 1)]);
    }

    #[test]
    fn a_hostile_name_or_link_stays_below_the_folder_and_hides_nothing() {
        for (name, target) in [
            ("../../evil.sh", "../../evil.sh"),
            ("x.png", "../../../x.png"),
            (".git/hooks/post.sh", ".git/hooks/post.sh"),
            ("/etc/cron.txt", "/etc/cron.txt"),
            ("con.txt", "a/../../con.txt"),
            ("a.md", "a.md"),
        ] {
            let text = format!("![[{target}]]\n");
            let (texts, found) = planned(&[("n/a.md", &text, &[(1, name)])]);
            let (path, _) = &found[0];
            assert!(path.split('/').all(|part| !part.starts_with('.') && !part.is_empty()), "{name}: {path}");
            assert!(!is_note(path) && is_safe(path), "{name}: {path}");
            assert_eq!(found.len(), 1, "{texts:?}");
        }
    }

    proptest! {
        #[test]
        fn every_link_of_every_exported_note_leads_to_what_it_means(
            notes in prop::collection::vec(
                ("[abAB]{1}(/[ab]{1}){0,2}", prop::collection::vec((0_u8..6, "([aA]/){0,1}[xyX]\\.(png|pdf)"), 0..5),
                 prop::collection::vec("(\\.\\./|[abA]/){0,2}[xyX]\\.(png|pdf)", 0..5)),
                1..6,
            ),
        ) {
            let mut seen = BTreeSet::new();
            let notes: Vec<_> = notes.into_iter().filter(|(path, ..)| seen.insert(folded(path))).map(|(path, mut attached, links)| {
                let (mut contents, mut names) = (BTreeSet::new(), BTreeSet::new());
                attached.retain(|(seed, name)| contents.insert(*seed) && names.insert(name.clone()));
                let text: String = links.iter().map(|link| format!("![[{link}]] and [x]({link})\n")).collect();
                (format!("{path}.md"), text, attached)
            }).collect();
            let paths: Vec<String> = notes.iter().map(|(path, ..)| path.clone()).collect();
            let mut plan = FilePlan::new(&paths);
            let placed: Vec<_> = notes.iter().map(|(path, text, attached)| {
                let attached: Vec<_> = attached.iter().map(|(seed, name)| (content(*seed), name.clone())).collect();
                plan.place(path, &file_links(text), &attached)
            }).collect();
            let mut keys = BTreeSet::new();
            for (path, _) in plan.files() {
                prop_assert!(keys.insert(folded(path)) && is_safe(path), "{:?}", plan.files);
            }
            for (path, _) in plan.files() {
                prop_assert!(folders_above(path).iter().all(|folder| !keys.contains(folder)), "{:?}", plan.files);
            }
            for ((path, text, attached), placed) in notes.iter().zip(&placed) {
                let exported = plan.text(placed, text);
                let found: BTreeSet<_> =
                    file_links(&exported).iter().filter_map(|link| plan.resolve(folder_of(path), &link.target)).collect();
                for (seed, _) in attached {
                    prop_assert!(found.contains(&content(*seed)), "{exported} lacks {seed}: {:?}", plan.files);
                }
            }
        }
    }
}
