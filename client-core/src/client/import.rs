//! Import: what [`crate::import`] reads and plans is written here, many notes to a commit, and remembered as one batch.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use lifeos_sync_protocol::ids::DocId;

use super::import_attached::FolderFiles;
use super::{Client, ClientError, ImportEntry, ImportOptions, ImportOutcome, ImportReport, Progress, ProgressStep};
use crate::crypto::{SystemRandom, random_bytes, sha256_plain};
use crate::document::Document;
use crate::import::{
    Candidate, ExistingIndex, Format, Item, Merged, Plan, Scratch, SkipReason, Source as Notes, copy_title, merge, plan,
};
use crate::modules::notes::markdown::{self, Derived};
use crate::modules::notes::note::{self, Draft, Source};
use crate::modules::notes::whole::WholeNote;
use crate::modules::notes::{history, tree};
use crate::modules::register::line;
use crate::registry::{NOTE_GENESIS, NOTE_TREE_GENESIS};
use crate::store::{ImportBatch, Step, Tx};

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
        self.import(path, &ImportOptions { format: Some(Format::Markdown), dry_run }, progress)
    }

    /// Imports a file or folder of any format; running it again changes nothing. Interrupted, it goes on where it was.
    /// # Errors
    /// [`ClientError`]; a bad note is an entry of the report, never an error.
    pub fn import(
        &self,
        path: &Path,
        options: &ImportOptions,
        progress: Progress<'_>,
    ) -> Result<ImportReport, ClientError> {
        let dry_run = options.dry_run;
        let format = options.format.or_else(|| Format::of(path)).ok_or_else(|| ClientError::invalid(UNKNOWN_FORMAT))?;
        let scratch = Scratch::new(&self.shared.home)
            .map_err(|error| ClientError::invalid(format!("the home has no room for an import: {error}")))?;
        let opened = Notes::open(path, format, scratch);
        let mut files = opened.map_err(|error| ClientError::invalid(format!("the folder to import: {error}")))?;
        let source = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let mut import = Import::new(self, (dry_run, format), &source.to_string_lossy(), &files)?;
        progress(import.step());
        loop {
            let batch = files.next_batch(FILES_PER_BATCH, BYTES_PER_BATCH);
            if batch.is_empty() {
                break;
            }
            import.bytes = files.bytes();
            import.take(batch, progress)?;
        }
        import.end()?;
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

const UNKNOWN_FORMAT: &str = "nobody can tell what kind of file this is: name it with --format";

/// What is said of a file that is no note.
const ATTACHED: &str = "attached to the notes that link to it";

/// One run.
struct Import<'c> {
    client: &'c Client,
    dry_run: bool,
    format: Format,
    /// What is remembered of it; its number is 0 until something is written.
    batch: ImportBatch,
    index: ExistingIndex,
    /// Notebook ids by the folders' path.
    notebooks: HashMap<String, String>,
    report: ImportReport,
    /// What notes may link to.
    files: FolderFiles,
    /// Items that were counted before the first was read.
    total: u64,
    /// Bytes read, of how many, where that says more.
    bytes: Option<(u64, u64)>,
}

/// What became of one file.
struct Outcome {
    outcome: ImportOutcome,
    reason: String,
    note: Option<DocId>,
    link: bool,
    line: Option<u64>,
}

impl Outcome {
    fn new(outcome: ImportOutcome, reason: impl Into<String>, note: Option<DocId>) -> Self {
        Self { outcome, reason: reason.into(), note, link: false, line: None }
    }
}

impl<'c> Import<'c> {
    fn new(
        client: &'c Client,
        (dry_run, format): (bool, Format),
        source: &str,
        notes: &Notes,
    ) -> Result<Self, ClientError> {
        let (total, mut files) = (notes.total(), FolderFiles::new(notes.root()));
        let index = client.source_index()?;
        let name = format.name().to_owned();
        let known = client.shared.reader().reads().imports(&client.space())?;
        // What was cut off goes on under its number.
        let cut_off = |batch: &ImportBatch| {
            batch.source == source && batch.format == name && batch.ended_ms.is_none() && batch.undone == 0
        };
        let batch = known.into_iter().rev().find(cut_off);
        let batch = batch.filter(|_| !dry_run).unwrap_or_else(|| ImportBatch {
            source: source.to_owned(),
            format: name.clone(),
            begun_ms: crate::engine::wall_ms(),
            ..ImportBatch::default()
        });
        if batch.number > 0 {
            files.step = Step::Import(batch.number);
        }
        let report = ImportReport { dry_run, format: name, ..ImportReport::default() };
        let notebooks = HashMap::new();
        Ok(Self { client, dry_run, format, batch, index, notebooks, report, files, total, bytes: None })
    }

    /// Says that nothing of it is missing.
    fn end(&mut self) -> Result<(), ClientError> {
        if self.batch.number == 0 {
            return Ok(());
        }
        self.batch.ended_ms = Some(crate::engine::wall_ms());
        self.report.batch = Some(self.batch.number);
        let batch = &self.batch;
        self.client.write(|tx| {
            tx.step(Step::None);
            Ok(tx.put_import(batch)?)
        })
    }

    /// How far it is; files may have been added since they were counted.
    fn step(&self) -> ProgressStep {
        let done = self.report.entries.len() as u64;
        match self.bytes {
            Some((done, total)) => ProgressStep { phase: "import", done, total: total.max(done) },
            None => ProgressStep { phase: "import", done, total: self.total.max(done) },
        }
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
                Item::Failed { path, line, reason } => {
                    let outcome = Outcome::new(ImportOutcome::Failed, reason.to_string(), None);
                    self.enter(path, Outcome { link: reason.is_link(), line, ..outcome });
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
                if self.batch.number == 0 {
                    tx.begin_import(&client.space(), &mut self.batch)?;
                }
                self.files.step = Step::Import(self.batch.number);
                tx.step(self.files.step);
                while let Some((file, plan, doc)) = planned.pop_front() {
                    let outcome = self.write_file(tx, &file, plan, doc)?;
                    self.batch.created += u64::from(outcome.outcome == ImportOutcome::Created);
                    self.batch.updated += u64::from(outcome.outcome == ImportOutcome::Updated);
                    outcomes.push((file, outcome));
                    if started.elapsed() > COMMIT_TIME {
                        break;
                    }
                }
                Ok(tx.put_import(&self.batch)?)
            })?;
        }
        for (mut file, outcome) in outcomes {
            self.attach(&file, &outcome, progress)?;
            let (origin, line) = match file.origin.take() {
                Some((origin, line)) => (origin, Some(line)),
                None => (file.path.clone(), None),
            };
            self.files.trouble(&origin, file.troubles);
            let failed = outcome.outcome == ImportOutcome::Failed;
            self.enter(file.path, Outcome { line: line.filter(|_| failed), ..outcome });
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
        if !file.files.is_empty() {
            self.files.carry(self.client, file, note.as_ref(), progress)?;
        }
        match self.format {
            Format::Markdown | Format::Html => {
                self.files.attach(self.client, (&file.path, &file.text, note.as_ref()), progress)
            }
            // What another program exported brings its files along, and has no claim to those beside it.
            _ => Ok(()),
        }
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
        let draft = Draft {
            title: &title,
            markdown: &file.text,
            notebook: notebook.as_deref(),
            tags: &file.tags,
            kind: None,
            source,
        };
        let created_ms = file.created_ms.unwrap_or_else(|| tx.now_ms());
        let note = WholeNote::new(&draft, &parsed, created_ms)?.with_derived(derived);
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
        let Outcome { outcome, reason, link, line, .. } = outcome;
        self.report.entries.push(ImportEntry { path, outcome, reason, note, link, line });
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
