//! Import, export and examination of a whole home.

use std::path::PathBuf;

use crate::engine::LifeOs;
use crate::error::LifeOsError;
use crate::records::{DoctorReport, ExportReport, ImportReport};

#[uniffi::export]
impl LifeOs {
    /// Imports a folder (or file) of Markdown; running it again changes nothing.
    ///
    /// # Errors
    /// [`LifeOsError`]; a bad file is an entry of the report, never an error.
    pub async fn import_markdown(&self, path: String, dry_run: bool) -> Result<ImportReport, LifeOsError> {
        let path = PathBuf::from(path);
        self.local(move |client| client.import_markdown(&path, dry_run, &mut |_| {}).map(Into::into)).await
    }

    /// Exports every living note as Markdown below `dir`, by notebook; equal homes give equal bytes.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn export_markdown(&self, dir: String) -> Result<ExportReport, LifeOsError> {
        let dir = PathBuf::from(dir);
        self.local(move |client| client.export_markdown(&dir, &mut |_| {}).map(Into::into)).await
    }

    /// Checks database, documents, projections, keys and streams; with `rebuild_projections` repairs lists
    /// and search from the documents.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn doctor(&self, rebuild_projections: bool) -> Result<DoctorReport, LifeOsError> {
        self.local(move |client| client.doctor(rebuild_projections, &mut |_| {}).map(Into::into)).await
    }
}
