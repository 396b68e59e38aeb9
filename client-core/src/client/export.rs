//! Export of the living notes as a folder of Markdown: equal homes give equal bytes.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use lifeos_sync_protocol::ids::DocId;

use super::{Client, ClientError, ExportReport, Progress, ProgressStep, TransferFault, TransferProblem};
use crate::export::attached::{FilePlan, NoteFiles};
use crate::export::links::{file_links, lines_of};
use crate::export::{ExportError, ExportNote, Exporter, is_renamed, plan_paths};
use crate::modules::attachment::ContentHash;
use crate::modules::notes::note;
use crate::modules::notes::tree::Tree;
use crate::store::NotesFilter;

/// Notes between two reports of progress.
const NOTES_PER_STEP: usize = 64;

impl Client {
    /// Exports every living note as Markdown below `dir`, by notebook, and what they attach where their links say; equal
    /// homes give equal bytes.
    /// # Errors
    /// [`ClientError`].
    pub fn export_markdown(&self, dir: &Path, progress: Progress<'_>) -> Result<ExportReport, ClientError> {
        let notes = self.notes_to_export()?;
        let paths = plan_paths(&notes);
        let plan = self.plan_attachments(&notes, &paths)?;
        let mut exporter = Exporter::new(dir).map_err(export_error)?;
        let mut report = ExportReport::default();
        let total = notes.len() as u64;
        for (note, path) in notes.iter().zip(&paths) {
            // A note that was deleted meanwhile on another device is no longer there to be written.
            let Some(markdown) = self.markdown(note.id)? else { continue };
            let markdown = match plan.notes.get(&note.id) {
                Some(placed) => plan.files.text(placed, &markdown),
                None => markdown,
            };
            exporter.write(path, markdown.as_bytes()).map_err(export_error)?;
            report.notes += 1;
            report.bytes += markdown.len() as u64;
            if report.notes.is_multiple_of(NOTES_PER_STEP as u64) {
                progress(ProgressStep { phase: "export", done: report.notes, total });
            }
        }
        self.write_attachments(&mut exporter, &plan, &mut report, progress)?;
        exporter.finish().map_err(export_error)?;
        progress(ProgressStep { phase: "export", done: report.notes, total });
        Ok(report)
    }

    /// Where the attachments of all notes go.
    fn plan_attachments(&self, notes: &[ExportNote], paths: &[String]) -> Result<Plan, ClientError> {
        let mut attached: HashMap<DocId, Vec<(ContentHash, String)>> = HashMap::new();
        for row in self.shared.reader().reads().note_attachments(&self.space(), None)? {
            attached.entry(row.note).or_default().push((row.hash, row.name));
        }
        let mut plan = Plan { files: FilePlan::new(paths), notes: HashMap::new(), first: BTreeMap::new() };
        for (note, path) in notes.iter().zip(paths) {
            let Some(attached) = attached.get(&note.id) else { continue };
            let Some(markdown) = self.markdown(note.id)? else { continue };
            let (links, lines) = (file_links(&markdown), lines_of(&markdown));
            plan.notes.insert(note.id, plan.files.place(path, &links, attached));
            for (content, name) in attached {
                let last = name.rsplit('/').next().unwrap_or(name);
                let target = links.iter().find(|link| link.target.ends_with(last));
                let line = target.and_then(|link| lines.get(&link.target).copied());
                plan.first.entry(*content).or_insert_with(|| (path.clone(), line, name.clone()));
            }
        }
        Ok(plan)
    }

    /// Writes the files, part by part. One that cannot be read here is named, and the others are written.
    fn write_attachments(
        &self,
        exporter: &mut Exporter,
        plan: &Plan,
        report: &mut ExportReport,
        progress: Progress<'_>,
    ) -> Result<(), ClientError> {
        let total = plan.files.files().len() as u64;
        for (path, content) in plan.files.files() {
            let found = self.shared.reader().reads().attachment(&self.space(), content)?;
            let size = found.and_then(|found| found.lists.first().map(|list| list.size)).unwrap_or_default();
            let written = exporter
                .stream::<ClientError>(path, (size, &content.0), |out| self.write_content(content, out, &mut |_| {}));
            let fault = match written {
                Ok(_) => {
                    report.attachments += 1;
                    report.attachment_bytes += size;
                    progress(ProgressStep { phase: "attachments", done: report.attachments, total });
                    continue;
                }
                Err(ClientError::Network { .. } | ClientError::NotFound { .. }) => {
                    (TransferFault::Away, AWAY.to_owned())
                }
                Err(ClientError::Security { message }) => (TransferFault::Refused, message),
                Err(error) => return Err(error),
            };
            let (file, line, name) = plan.first.get(content).cloned().unwrap_or_default();
            let (fault, reason) = fault;
            report.problems.push(TransferProblem { file, line, target: Some(name), fault, reason });
        }
        Ok(())
    }

    /// By id, so that names that clash are told apart alike everywhere.
    fn notes_to_export(&self) -> Result<Vec<ExportNote>, ClientError> {
        let tree = self.read_tree()?;
        let all = NotesFilter { limit: u32::MAX, ..NotesFilter::default() };
        let rows = self.shared.reader().reads().notes(&self.space(), &all)?;
        let sources = self.shared.reader().reads().note_sources(&self.space())?;
        let mut sources: HashMap<DocId, Option<String>> = sources.into_iter().map(|row| (row.doc, row.path)).collect();
        let mut notes = Vec::with_capacity(rows.len());
        for row in rows {
            let source_path = sources.remove(&row.doc).flatten();
            let renamed = match &source_path {
                Some(path) => self.markdown(row.doc)?.is_some_and(|text| is_renamed(&row.title, path, &text)),
                None => false,
            };
            let notebooks = folders(&tree, row.notebook.as_deref());
            notes.push(ExportNote { id: row.doc, title: row.title, notebooks, source_path, renamed });
        }
        notes.sort_unstable_by_key(|note| note.id);
        Ok(notes)
    }

    fn markdown(&self, doc: DocId) -> Result<Option<String>, ClientError> {
        let text = self.shared.store().read(&self.space(), &doc, |document| note::markdown_of(document.read()))?;
        Ok(text.transpose()?)
    }
}

/// Names of a notebook and those above it, outermost first. The tree has no cycles after merging.
fn folders(tree: &Tree, notebook: Option<&str>) -> Vec<String> {
    let above = |id: &str| tree.nodes.get(id).and_then(|node| node.parent.as_deref());
    let mut names: Vec<String> = std::iter::successors(notebook, |id| above(id))
        .filter_map(|id| tree.nodes.get(id).map(|node| node.name.clone()))
        .collect();
    names.reverse();
    names
}

/// Where attachments go, and of each content the note, line and name it is told by.
struct Plan {
    files: FilePlan,
    notes: HashMap<DocId, NoteFiles>,
    first: BTreeMap<ContentHash, (String, Option<u64>, String)>,
}

const AWAY: &str = "it is not on this device: get it with `lifeos attachment get`, and export again";

impl From<ExportError> for ClientError {
    fn from(error: ExportError) -> Self {
        export_error(error)
    }
}

fn export_error(error: ExportError) -> ClientError {
    ClientError::Storage { message: format!("the export: {error}"), transient: false }
}
