//! Files that imported notes link to: found below the imported folder, taken in as attachments.
//!
//! ```text
//! note that was imported, or is unchanged ─ links to files ─▶ the folder's index ─ hash ─▶ sealed once, one commit a note
//!                                                      └ not there, a symbolic link, too large ─▶ named in the report
//! ```
//! Only what the walk over the folder meets is opened: a link in a note chooses among these, and leads nowhere else.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use lifeos_sync_protocol::ids::DocId;
use walkdir::WalkDir;

use super::attachments::{Attached, hash_file};
use super::{Client, ClientError, Progress, TransferFault, TransferProblem};
use crate::export::links::{FileLink, file_links, folded, folder_of, has_ending, is_bare, is_note, lines_of, places};
use crate::import::{Candidate, Trouble};
use crate::modules::attachment::{ContentHash, media_of};
use crate::modules::notes::attachments;
use crate::store::Step;

/// Problems that are kept for the report; what comes behind them is counted.
const PROBLEMS_MAX: usize = 10_000;

/// A file below the folder.
struct Found {
    /// Path below the folder, with `/`.
    path: String,
    is_link: bool,
}

/// What an import knows of the files of its folder.
pub(super) struct FolderFiles {
    root: PathBuf,
    /// By folded path; read when the first note links to a file.
    index: Option<Index>,
    hashes: HashMap<String, Result<(ContentHash, u64), String>>,
    /// What was attached, by path.
    pub(super) taken: HashSet<String>,
    pub(super) problems: Vec<TransferProblem>,
    /// References that are new.
    pub(super) attached: u64,
    /// What the commits are part of.
    pub(super) step: Step,
}

#[derive(Default)]
struct Index {
    paths: HashMap<String, Found>,
    /// By folded name: the folded path that comes first.
    names: HashMap<String, String>,
}

impl Index {
    fn of(root: &Path) -> Self {
        let mut index = Self::default();
        let is_shown =
            |entry: &walkdir::DirEntry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
        let walk = WalkDir::new(root).min_depth(1).follow_links(false).sort_by_file_name();
        for entry in walk.into_iter().filter_entry(is_shown).filter_map(Result::ok) {
            let is_link = entry.file_type().is_symlink();
            let below = entry.path().strip_prefix(root).ok();
            let parts = below.and_then(|below| below.iter().map(|part| part.to_str()).collect::<Option<Vec<_>>>());
            let Some(path) = parts.map(|parts| parts.join("/")) else { continue };
            if (!is_link && !entry.file_type().is_file()) || is_note(&path) {
                continue;
            }
            let key = folded(&path);
            let name = key.rsplit('/').next().unwrap_or(&key).to_owned();
            let first = index.names.entry(name).or_insert_with(|| key.clone());
            if key < *first {
                first.clone_from(&key);
            }
            index.paths.entry(key).or_insert(Found { path, is_link });
        }
        index
    }

    fn resolve(&self, folder: &str, target: &str) -> Option<&Found> {
        let place = places(folder, target).iter().find_map(|place| self.paths.get(&folded(place)));
        let anywhere = || self.paths.get(self.names.get(&folded(target))?);
        place.or_else(|| if is_bare(target) { anywhere() } else { None })
    }

    /// The symbolic link on the way to a place: folders are not gone through, either.
    fn link_to(&self, folder: &str, target: &str) -> bool {
        places(folder, target).iter().any(|place| {
            let key = folded(place);
            let above = key.match_indices('/').map(|(at, _)| &key[..at]);
            above.chain([key.as_str()]).any(|path| self.paths.get(path).is_some_and(|found| found.is_link))
        })
    }
}

impl FolderFiles {
    pub(super) fn new(root: &Path) -> Self {
        let (hashes, taken) = (HashMap::new(), HashSet::new());
        let problems = Vec::new();
        Self { root: root.to_path_buf(), index: None, hashes, taken, problems, attached: 0, step: Step::None }
    }

    /// Attaches to a note what its file links to.
    pub(super) fn attach(
        &mut self,
        client: &Client,
        (path, text, note): (&str, &str, Option<&DocId>),
        progress: Progress<'_>,
    ) -> Result<(), ClientError> {
        let links = file_links(text);
        if links.is_empty() {
            return Ok(());
        }
        let (mut files, lines): (BTreeMap<String, &FileLink>, _) = (BTreeMap::new(), OnceCell::new());
        let text = (text, &lines);
        for link in &links {
            match self.look_up(path, link) {
                Ok(Some(found)) => drop(files.entry(found).or_insert(link)),
                Ok(None) => {}
                Err((fault, reason)) => self.blame(path, text, link, (fault, reason)),
            }
        }
        let Some(note) = note else {
            // A dry run: what would be taken in.
            self.attached += files.len() as u64;
            self.taken.extend(files.into_keys());
            return Ok(());
        };
        let present = client.attached_to(note)?;
        let (mut new, mut named): (Vec<Attached>, BTreeMap<ContentHash, String>) = (Vec::new(), BTreeMap::new());
        for (file, link) in files {
            let place = self.root.join(&file);
            let hashed = self
                .hashes
                .entry(file.clone())
                .or_insert_with(|| hash_file(&place, progress).map_err(|error| error.to_string()));
            let (content, size) = match hashed {
                Ok(hashed) => *hashed,
                Err(reason) => {
                    let reason = reason.clone();
                    self.blame(path, text, link, (TransferFault::Refused, reason));
                    continue;
                }
            };
            let name = if folder_of(&file) == folder_of(path) {
                file.rsplit('/').next().unwrap_or(&file).to_owned()
            } else {
                file.clone()
            };
            if named.contains_key(&content) || present.get(&content).is_some_and(|known| *known == name) {
                named.entry(content).or_insert(name);
                self.taken.insert(file);
                continue;
            }
            match client.take_in(&place, (&content, size), progress) {
                Ok(list) => {
                    self.taken.insert(file);
                    new.push(Attached { content, media: media_of(&name), name: name.clone(), list });
                    named.insert(content, name);
                }
                Err(ClientError::Invalid { message }) => {
                    self.blame(path, text, link, (TransferFault::Refused, message));
                }
                Err(error) => return Err(error),
            }
        }
        self.refer(client, (path, note), &present, (new, named))
    }

    /// Attaches what a note brings along itself.
    pub(super) fn carry(
        &mut self,
        client: &Client,
        file: &Candidate,
        note: Option<&DocId>,
        progress: Progress<'_>,
    ) -> Result<(), ClientError> {
        let Some(note) = note else {
            self.attached += file.files.len() as u64;
            return Ok(());
        };
        let present = client.attached_to(note)?;
        let (mut new, mut named): (Vec<Attached>, BTreeMap<ContentHash, String>) = (Vec::new(), BTreeMap::new());
        for carried in &file.files {
            let place = carried.kept.place();
            let (content, size) = hash_file(place, progress)?;
            let name = carried.name.clone();
            if named.contains_key(&content) || present.get(&content).is_some_and(|known| *known == name) {
                named.entry(content).or_insert(name);
                continue;
            }
            match client.take_in(place, (&content, size), progress) {
                Ok(list) => {
                    new.push(Attached { content, media: media_of(&name), name: name.clone(), list });
                    named.insert(content, name);
                }
                Err(ClientError::Invalid { message }) => self.refuse(&file.path, message),
                Err(error) => return Err(error),
            }
        }
        self.refer(client, (&file.path, note), &present, (new, named))
    }

    fn refer(
        &mut self,
        client: &Client,
        (path, note): (&str, &DocId),
        present: &BTreeMap<ContentHash, String>,
        (new, named): (Vec<Attached>, BTreeMap<ContentHash, String>),
    ) -> Result<(), ClientError> {
        // A file that changed takes the place of what it was.
        let is_replaced = |(content, name): &(&ContentHash, &String)| {
            !named.contains_key(content) && named.values().any(|new| new == *name)
        };
        let gone: Vec<ContentHash> = present.iter().filter(is_replaced).map(|(content, _)| *content).collect();
        if new.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let count = new.len() as u64;
        match client.refer(note, &new, &gone, self.step) {
            Ok(()) => self.attached += count,
            Err(ClientError::Invalid { message }) => self.refuse(path, message),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The file that a link means; `None` where it means no file that anybody would miss.
    fn look_up(&mut self, path: &str, link: &FileLink) -> Result<Option<String>, (TransferFault, String)> {
        let index = self.index.get_or_insert_with(|| Index::of(&self.root));
        let folder = folder_of(path);
        match index.resolve(folder, &link.target) {
            Some(found) if !found.is_link => Ok(Some(found.path.clone())),
            Some(_) => Err((TransferFault::Refused, LINK.to_owned())),
            None if !has_ending(&link.target) => Ok(None),
            None if index.link_to(folder, &link.target) => Err((TransferFault::Refused, LINK.to_owned())),
            None if places(folder, &link.target).is_empty() => Err((TransferFault::Refused, OUTSIDE.to_owned())),
            None if link.is_embedded || media_of(&link.target) != "application/octet-stream" => {
                Err((TransferFault::Missing, MISSING.to_owned()))
            }
            None => Ok(None),
        }
    }

    fn blame(
        &mut self,
        path: &str,
        (text, lines): (&str, &OnceCell<HashMap<String, u64>>),
        link: &FileLink,
        (fault, reason): (TransferFault, String),
    ) {
        if self.problems.len() < PROBLEMS_MAX {
            let line = lines.get_or_init(|| lines_of(text)).get(&link.target).copied();
            let target = Some(link.target.clone());
            self.problems.push(TransferProblem { file: path.to_owned(), line, target, fault, reason });
        }
    }

    /// Enters what of a note could not be taken out of its file.
    pub(super) fn trouble(&mut self, file: &str, troubles: Vec<Trouble>) {
        let room = PROBLEMS_MAX.saturating_sub(self.problems.len());
        self.problems.extend(troubles.into_iter().take(room).map(|trouble| TransferProblem {
            file: file.to_owned(),
            line: Some(trouble.line),
            target: trouble.target,
            fault: TransferFault::Refused,
            reason: trouble.reason,
        }));
    }

    fn refuse(&mut self, path: &str, reason: String) {
        if self.problems.len() < PROBLEMS_MAX {
            let problem = TransferProblem {
                file: path.to_owned(),
                line: None,
                target: None,
                fault: TransferFault::Refused,
                reason,
            };
            self.problems.push(problem);
        }
    }
}

const LINK: &str = "a symbolic link, which is not followed; put the file itself there";
const OUTSIDE: &str = "it leads out of the imported folder; put the file below it";
const MISSING: &str = "there is no such file below the imported folder; the note keeps the link";

impl Client {
    /// What a note attaches, and under which name.
    fn attached_to(&self, note: &DocId) -> Result<BTreeMap<ContentHash, String>, ClientError> {
        let read =
            self.shared.store().read(&self.space(), note, |document| attachments::attachments(document.read()))?;
        Ok(read.unwrap_or_default())
    }
}
