//! Import of Markdown: what [`crate::import`] plans is written here, many files to a commit.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use lifeos_sync_protocol::ids::DocId;

use super::import_attached::FolderFiles;
use super::{Client, ClientError, ImportEntry, ImportOutcome, ImportReport, Progress, ProgressStep};
use crate::crypto::{SystemRandom, random_bytes, sha256_plain};
use crate::document::Document;
use crate::import::{Candidate, ExistingIndex, Item, Merged, Plan, Scan, SkipReason, copy_title, merge, plan, scan};
use crate::modules::notes::markdown::{self, Derived};
use crate::modules::notes::note::{self, Draft, Source};
use crate::modules::notes::whole::WholeNote;
use crate::modules::notes::{history, tree};
use crate::modules::register::line;
use crate::registry::{NOTE_GENESIS, NOTE_TREE_GENESIS};
use crate::store::{Step, Tx};

/// Files read before they are written.
const FILES_PER_BATCH: usize = 500;
/// Bytes of text read before they are written.
const BYTES_PER_BATCH: usize = 4 * 1024 * 1024;
/// A commit ends after this time, so that a person's own edit gets in between.
const COMMIT_TIME: Duration = Duration::from_millis(50);
/// How many changes back the text that note and file come from is looked for.
const BASE_CHANGES_MAX: usize = 64;

impl Client {
    /// Imports a folder (or file) of Markdown; running it again changes nothing. Interrupted, it goes on where it was.
    /// # Errors
    /// [`ClientError`]; a bad file is an entry of the report, never an error.
    pub fn import_markdown(
        &self,
        path: &Path,
        dry_run: bool,
        progress: Progress<'_>,
    ) -> Result<ImportReport, ClientError> {
        let mut files = scan(path).map_err(|error| ClientError::invalid(format!("the folder to import: {error}")))?;
        let mut import = Import::new(self, dry_run, &files)?;
        progress(import.step());
        loop {
            let batch = files.next_batch(FILES_PER_BATCH, BYTES_PER_BATCH);
            if batch.is_empty() {
                break;
            }
            import.take(batch, progress)?;
        }
        if !dry_run {
            crate::engine::rest(&self.shared)?;
        }
        Ok(import.finish())
    }

    fn source_index(&self) -> Result<ExistingIndex, ClientError> {
        let mut index = ExistingIndex::default();
        for row in self.shared.reader().reads().note_sources(&self.space())? {
            let hash = row.hash.and_then(|hash| hash.try_into().ok());
            if let (Some(path), Some(hash)) = (row.path, hash) {
                index.insert(row.doc, &path, hash, row.trashed);
            }
        }
        Ok(index)
    }

    fn markdown_hash(&self, doc: DocId) -> Option<[u8; 32]> {
        let text = self.shared.store().read(&self.space(), &doc, |document| note::markdown_of(document.read()));
        text.ok().flatten()?.ok().map(|text| sha256_plain(&[text.as_bytes()]))
    }
}

/// What is said of a file that is no note.
const ATTACHED: &str = "attached to the notes that link to it";

/// One run.
struct Import<'c> {
    client: &'c Client,
    dry_run: bool,
    index: ExistingIndex,
    /// Notebook ids by the folders' path.
    notebooks: HashMap<String, String>,
    report: ImportReport,
    /// What notes may link to.
    files: FolderFiles,
    /// Items that were counted before the first was read.
    total: u64,
}

/// What became of one file.
struct Outcome {
    outcome: ImportOutcome,
    reason: String,
    note: Option<DocId>,
    link: bool,
}

impl Outcome {
    fn new(outcome: ImportOutcome, reason: impl Into<String>, note: Option<DocId>) -> Self {
        Self { outcome, reason: reason.into(), note, link: false }
    }
}

impl<'c> Import<'c> {
    fn new(client: &'c Client, dry_run: bool, scan: &Scan) -> Result<Self, ClientError> {
        let (total, files) = (scan.total(), FolderFiles::new(scan.root()));
        let index = client.source_index()?;
        let report = ImportReport { dry_run, ..ImportReport::default() };
        Ok(Self { client, dry_run, index, notebooks: HashMap::new(), report, files, total })
    }

    /// How far it is; files may have been added since they were counted.
    fn step(&self) -> ProgressStep {
        let done = self.report.entries.len() as u64;
        ProgressStep { phase: "import", done, total: self.total.max(done) }
    }

    fn take(&mut self, batch: Vec<Item>, progress: Progress<'_>) -> Result<(), ClientError> {
        let mut planned = VecDeque::new();
        for item in batch {
            match item {
                Item::File(file) => {
                    let client = self.client;
                    let plan = plan(&self.index, &file, |doc| client.markdown_hash(doc));
                    // A new note has its id from here on, so that a twin in the same batch is found.
                    let doc = match plan {
                        Plan::Create => {
                            let doc = DocId(random_bytes(&mut SystemRandom::new()));
                            self.index.insert(doc, &file.path, file.hash, false);
                            doc
                        }
                        Plan::Update { doc } | Plan::Merge { doc, .. } => {
                            self.index.insert(doc, &file.path, file.hash, false);
                            doc
                        }
                        Plan::Duplicate { doc } | Plan::Skip { doc, .. } => doc,
                    };
                    planned.push_back((file, plan, doc));
                }
                Item::Skipped { path, reason } => {
                    let outcome = Outcome::new(ImportOutcome::Skipped, reason.to_string(), None);
                    self.enter(path, Outcome { link: reason.is_link(), ..outcome });
                }
                Item::Failed { path, reason } => {
                    let outcome = Outcome::new(ImportOutcome::Failed, reason.to_string(), None);
                    self.enter(path, Outcome { link: reason.is_link(), ..outcome });
                }
            }
        }
        while !planned.is_empty() {
            self.commit_some(&mut planned, progress)?;
            progress(self.step());
        }
        progress(self.step());
        Ok(())
    }

    /// Writes files from the front of the queue, at least one, in one commit.
    fn commit_some(
        &mut self,
        planned: &mut VecDeque<(Candidate, Plan, DocId)>,
        progress: Progress<'_>,
    ) -> Result<(), ClientError> {
        let client = self.client;
        let writes = planned.iter().any(|(_, plan, _)| !matches!(plan, Plan::Duplicate { .. } | Plan::Skip { .. }));
        let mut outcomes = Vec::new();
        if self.dry_run || !writes {
            outcomes.extend(planned.drain(..).map(|(file, plan, doc)| {
                let note = (!matches!(plan, Plan::Create)).then_some(doc);
                (file, Outcome { note, ..foreseen(plan) })
            }));
        } else {
            let started = Instant::now();
            client.write(|tx| {
                tx.step(Step::None);
                while let Some((file, plan, doc)) = planned.pop_front() {
                    let outcome = self.write_file(tx, &file, plan, doc)?;
                    outcomes.push((file, outcome));
                    if started.elapsed() > COMMIT_TIME {
                        break;
                    }
                }
                Ok(())
            })?;
        }
        for (file, outcome) in outcomes {
            self.attach(&file, &outcome, progress)?;
            self.enter(file.path, outcome);
        }
        Ok(())
    }

    /// Attaches what the file links to, unless there is no note of it or that is in the trash. An unchanged file may link to
    /// others that did change.
    fn attach(&mut self, file: &Candidate, outcome: &Outcome, progress: Progress<'_>) -> Result<(), ClientError> {
        let is_taken = match outcome.outcome {
            ImportOutcome::Created | ImportOutcome::Updated => true,
            ImportOutcome::Skipped => outcome.reason == SkipReason::Unchanged.to_string(),
            ImportOutcome::Duplicate | ImportOutcome::Failed => false,
        };
        let note = outcome.note.filter(|_| !self.dry_run);
        if !is_taken || (note.is_none() && !self.dry_run) {
            return Ok(());
        }
        self.files.attach(self.client, (&file.path, &file.text, note.as_ref()), progress)
    }

    /// The report, in which files that were attached are no more said to be left out.
    fn finish(mut self) -> ImportReport {
        let is_attached = |entry: &&mut ImportEntry| {
            entry.outcome == ImportOutcome::Skipped && entry.note.is_none() && self.files.taken.contains(&entry.path)
        };
        for entry in self.report.entries.iter_mut().filter(is_attached) {
            ATTACHED.clone_into(&mut entry.reason);
        }
        self.report.attached = self.files.attached;
        self.report.problems = self.files.problems;
        self.report
    }

    fn write_file(
        &mut self,
        tx: &mut Tx<'_>,
        file: &Candidate,
        plan: Plan,
        doc: DocId,
    ) -> Result<Outcome, ClientError> {
        let written = match plan {
            Plan::Create => self.create(tx, file, doc),
            Plan::Update { .. } => update(tx, file, doc, &file.text).map(|()| foreseen(plan)),
            Plan::Merge { base_hash, .. } => self.merge(tx, file, doc, base_hash),
            Plan::Duplicate { .. } | Plan::Skip { .. } => Ok(foreseen(plan)),
        };
        match written {
            Ok(outcome) => Ok(Outcome { note: outcome.note.or(Some(doc)), ..outcome }),
            // What a note cannot hold is the file's fault; the others go on.
            Err(ClientError::Invalid { message }) => Ok(Outcome::new(ImportOutcome::Failed, message, None)),
            Err(error) => Err(error),
        }
    }

    fn create(&mut self, tx: &mut Tx<'_>, file: &Candidate, doc: DocId) -> Result<Outcome, ClientError> {
        let notebook = self.notebook(tx, &file.folders)?;
        let parsed = markdown::parse(&file.text);
        let derived = Derived::of(&parsed.body);
        let title = markdown::title_of(parsed.front_matter.as_ref(), &derived, file.stem());
        let source = Some(Source { path: &file.path, hash: file.hash });
        let draft = Draft { title: &title, markdown: &file.text, notebook: notebook.as_deref(), tags: &[], source };
        let note = WholeNote::new(&draft, &parsed, tx.now_ms())?.with_derived(derived);
        tx.create_note(&doc, &note, true)?;
        Ok(foreseen(Plan::Create))
    }

    /// Both sides changed: together if they fit, side by side if not.
    fn merge(
        &mut self,
        tx: &mut Tx<'_>,
        file: &Candidate,
        doc: DocId,
        base_hash: [u8; 32],
    ) -> Result<Outcome, ClientError> {
        let texts =
            tx.read(&doc, |document| (note::markdown_of(document.read()), history_text(document, &base_hash)))?;
        let Some((ours, base)) = texts else { return Err(ClientError::not_found("note")) };
        match merge(base.as_deref(), &ours?, &file.text) {
            Merged::Text(text) => {
                update(tx, file, doc, &text)?;
                Ok(Outcome::new(ImportOutcome::Updated, "merged with what was edited here", Some(doc)))
            }
            Merged::Conflict => {
                let copy = DocId(random_bytes(&mut SystemRandom::new()));
                let notebook = self.notebook(tx, &file.folders)?;
                let parsed = markdown::parse(&file.text);
                let title = copy_title(&markdown::title(&parsed, file.stem()));
                let draft =
                    Draft { title: &title, markdown: &file.text, notebook: notebook.as_deref(), ..Draft::default() };
                let note = WholeNote::new(&draft, &parsed, tx.now_ms())?;
                tx.create_note(&copy, &note, true)?;
                // The note remembers that it has met this file, so that the next import makes no third note.
                tx.edit(&doc, NOTE_GENESIS, |old| set_source(old, file))?;
                let reason = "file and note both changed the same lines: the file's text is a second note";
                Ok(Outcome::new(ImportOutcome::Created, reason, Some(copy)))
            }
        }
    }

    /// The notebook of a folder, made with its parents where it is missing.
    fn notebook(&mut self, tx: &mut Tx<'_>, folders: &[String]) -> Result<Option<String>, ClientError> {
        let (mut parent, mut path) = (None, String::new());
        for name in folders.iter().map(|name| line(name)).filter(|name| !name.is_empty()) {
            path = format!("{path}/{name}");
            let id = match self.notebooks.get(&path) {
                Some(id) => id.clone(),
                None => self.find_or_make(tx, &name, parent.as_deref())?,
            };
            self.notebooks.insert(path.clone(), id.clone());
            parent = Some(id);
        }
        Ok(parent)
    }

    fn find_or_make(&self, tx: &mut Tx<'_>, name: &str, parent: Option<&str>) -> Result<String, ClientError> {
        let doc = self.client.tree_doc();
        let found = tx.read(&doc, |document| {
            let tree = tree::Tree::read(document.read());
            let found = tree.children(parent).into_iter().find(|(_, node)| node.name == name);
            found.map(|(id, _)| id.to_owned())
        })?;
        if let Some(id) = found.flatten() {
            return Ok(id);
        }
        let id = DocId(random_bytes(&mut SystemRandom::new())).to_string();
        tx.edit(&doc, NOTE_TREE_GENESIS, |doc| tree::create(doc, &id, name, parent).map_err(ClientError::from))?;
        Ok(id)
    }

    fn enter(&mut self, path: String, outcome: Outcome) {
        let count = match outcome.outcome {
            ImportOutcome::Created => &mut self.report.created,
            ImportOutcome::Updated => &mut self.report.updated,
            ImportOutcome::Duplicate => &mut self.report.duplicate,
            ImportOutcome::Skipped => &mut self.report.skipped,
            ImportOutcome::Failed => &mut self.report.failed,
        };
        *count += 1;
        let note = outcome.note.map(|doc| doc.to_string());
        let Outcome { outcome, reason, link, .. } = outcome;
        self.report.entries.push(ImportEntry { path, outcome, reason, note, link });
    }
}

/// The outcome a plan leads to if nothing goes wrong.
fn foreseen(plan: Plan) -> Outcome {
    match plan {
        Plan::Create => Outcome::new(ImportOutcome::Created, "", None),
        Plan::Update { doc } => Outcome::new(ImportOutcome::Updated, "the file changed", Some(doc)),
        Plan::Merge { doc, .. } => Outcome::new(ImportOutcome::Updated, "file and note changed", Some(doc)),
        Plan::Duplicate { doc } => {
            Outcome::new(ImportOutcome::Duplicate, "a file of this name with the same bytes is a note", Some(doc))
        }
        Plan::Skip { doc, reason } => Outcome::new(ImportOutcome::Skipped, reason.to_string(), Some(doc)),
    }
}

fn set_source(doc: &mut automerge::AutoCommit, file: &Candidate) -> Result<(), ClientError> {
    Ok(note::set_source(doc, &Source { path: &file.path, hash: file.hash })?)
}

/// Gives a note a new text; its title follows only if it was the old text's.
fn update(tx: &mut Tx<'_>, file: &Candidate, doc: DocId, text: &str) -> Result<(), ClientError> {
    tx.edit(&doc, NOTE_GENESIS, |doc| {
        let old = markdown::title(&markdown::parse(&note::markdown_of(doc)?), file.stem());
        let titled = crate::modules::register::text(doc, "title");
        if titled.is_some_and(|title| title == old) {
            note::set_title(doc, &markdown::title(&markdown::parse(text), file.stem()))?;
        }
        note::set_markdown(doc, text)?;
        set_source(doc, file)
    })
}

/// The note's text with this hash, from its newest changes.
fn history_text(document: &Document, hash: &[u8; 32]) -> Option<String> {
    let mut doc = document.read().clone();
    let mut changes: Vec<_> = doc.get_changes_meta(&[]).into_iter().map(|change| change.hash).collect();
    changes.reverse();
    let texts = changes.into_iter().take(BASE_CHANGES_MAX);
    texts
        .filter_map(|change| history::markdown_at(document, &change).ok())
        .find(|text| sha256_plain(&[text.as_bytes()]) == *hash)
}
