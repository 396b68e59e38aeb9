//! Export of the living notes as a folder of Markdown: equal homes give equal bytes.

use std::collections::HashMap;
use std::path::Path;

use lifeos_sync_protocol::ids::DocId;

use super::{Client, ClientError, ExportReport, Progress, ProgressStep};
use crate::export::{ExportError, ExportNote, Exporter, is_renamed, plan_paths};
use crate::modules::notes::note;
use crate::modules::notes::tree::Tree;
use crate::store::NotesFilter;

/// Notes between two reports of progress.
const NOTES_PER_STEP: usize = 64;

impl Client {
    /// Exports every living note as Markdown below `dir`, by notebook; equal homes give equal bytes.
    /// # Errors
    /// [`ClientError`].
    pub fn export_markdown(&self, dir: &Path, progress: Progress<'_>) -> Result<ExportReport, ClientError> {
        let notes = self.notes_to_export()?;
        let paths = plan_paths(&notes);
        let mut exporter = Exporter::new(dir).map_err(export_error)?;
        let mut report = ExportReport::default();
        let total = notes.len() as u64;
        for (note, path) in notes.iter().zip(&paths) {
            // A note that was deleted meanwhile on another device is no longer there to be written.
            let Some(markdown) = self.markdown(note.id)? else { continue };
            exporter.write(path, markdown.as_bytes()).map_err(export_error)?;
            report.notes += 1;
            report.bytes += markdown.len() as u64;
            if report.notes.is_multiple_of(NOTES_PER_STEP as u64) {
                progress(ProgressStep { phase: "export", done: report.notes, total });
            }
        }
        exporter.finish().map_err(export_error)?;
        progress(ProgressStep { phase: "export", done: report.notes, total });
        Ok(report)
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

fn export_error(error: ExportError) -> ClientError {
    ClientError::Storage { message: format!("the export: {error}"), transient: false }
}
