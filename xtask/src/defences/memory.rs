//! Which entries have fired, on which texts, so that a run that was cut short goes on, and the next one is short.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Defence, folder, short};
use crate::run::{Outcome, target};

/// How an entry was seen to fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    /// Other defences were away at the same time, each in another file and with tests in other modules.
    Together,
    /// Nothing else was away.
    Alone,
}

impl Seen {
    fn word(self) -> &'static str {
        match self {
            Self::Together => "together",
            Self::Alone => "alone",
        }
    }
}

/// What fired, by the text of the entry, of the file that it changes, and of its tests.
pub(super) struct Memory {
    path: PathBuf,
    seen: BTreeMap<String, Seen>,
    /// All sources of a package, by the package.
    sources: BTreeMap<&'static str, String>,
    root: PathBuf,
}

impl Memory {
    /// What is remembered, about the sources in a folder.
    pub(super) fn open(root: &Path) -> Self {
        let path = target().join("defences/fired");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut memory = Self { path, seen: BTreeMap::new(), sources: BTreeMap::new(), root: root.to_path_buf() };
        for line in text.lines() {
            match line.split_once(' ') {
                Some((key, "alone")) => memory.keep(key, Seen::Alone),
                Some((key, "together")) => memory.keep(key, Seen::Together),
                _ => {}
            }
        }
        memory
    }

    fn keep(&mut self, key: &str, seen: Seen) {
        let kept = self.seen.entry(key.to_owned()).or_insert(seen);
        *kept = seen.max(*kept);
    }

    /// How it has fired, if these very texts have been tried.
    pub(super) fn seen(&mut self, defence: &Defence) -> Option<Seen> {
        let key = self.key(defence);
        self.seen.get(&key).copied()
    }

    pub(super) fn add(&mut self, defence: &Defence, seen: Seen) -> Outcome {
        let key = self.key(defence);
        let line = format!("{key} {}\n", seen.word());
        self.keep(&key, seen);
        let append = || std::fs::File::options().create(true).append(true).open(&self.path)?.write_all(line.as_bytes());
        append().map_err(|error: std::io::Error| format!("{}: {error}", self.path.display()))
    }

    fn key(&mut self, defence: &Defence) -> String {
        let root = self.root.clone();
        let sources = self.sources.entry(defence.package).or_insert_with(|| {
            let mut text = String::new();
            gather(&root.join(folder(defence.package)), &mut text);
            text
        });
        let mut hash = DefaultHasher::new();
        defence.hash(&mut hash);
        std::fs::read_to_string(root.join(defence.file)).unwrap_or_default().hash(&mut hash);
        for test in defence.tests {
            functions(sources, short(test)).for_each(|text| text.hash(&mut hash));
        }
        format!("{:016x}", hash.finish())
    }
}

/// All Rust sources below a folder, in one text whose order does not change.
pub(super) fn gather(folder: &Path, text: &mut String) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && !path.ends_with("target") {
            gather(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &std::fs::read_to_string(path).unwrap_or_default();
        }
    }
}

/// The texts of the functions of a name, each to the brace that stands below its beginning.
fn functions<'t>(sources: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    let head = format!("fn {name}(");
    sources.match_indices(&head).map(|(at, _)| at).collect::<Vec<_>>().into_iter().map(|at| {
        let line = sources[..at].rfind('\n').map_or(0, |end| end + 1);
        let indent: String = sources[line..].chars().take_while(|c| *c == ' ').collect();
        let rest = &sources[at..];
        rest.find(&format!("\n{indent}}}\n")).map_or(rest, |end| &rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_ends_where_its_brace_does_whatever_comes_behind() {
        let sources =
            "mod tests {\n    fn a() {\n        b();\n    }\n    fn b() {}\n}\nfn a() {\n    c();\n}\n// after";
        let found: Vec<_> = functions(sources, "a").collect();
        assert_eq!(found, ["fn a() {\n        b();", "fn a() {\n    c();"]);
    }
}
