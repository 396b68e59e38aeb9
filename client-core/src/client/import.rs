//! Markdown in and out.

use std::path::Path;

use super::{Client, ClientError, ExportReport, ImportReport, Progress};

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
        let _ = (path, dry_run, progress);
        todo!()
    }
    /// Exports every living note as Markdown below `dir`, by notebook; equal homes give equal bytes.
    /// # Errors
    /// [`ClientError`].
    pub fn export_markdown(&self, dir: &Path, progress: Progress<'_>) -> Result<ExportReport, ClientError> {
        let _ = (dir, progress);
        todo!()
    }
}
