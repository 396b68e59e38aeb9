//! What an import or export of a folder of Markdown reports.

/// What happened to one file of an import.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ImportEntry {
    /// Path below the imported folder.
    pub path: String,
    /// `created`, `updated`, `duplicate`, `skipped` or `failed`.
    pub outcome: ImportOutcome,
    /// Why, for all but `created`.
    pub reason: String,
    /// The note, if there is one.
    pub note: Option<String>,
    /// Whether it is a symbolic link: what it leads to was not read here.
    pub link: bool,
    /// The line of the file, from 1, where that is told.
    pub line: Option<u64>,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportOutcome {
    /// A new note.
    Created,
    /// A note that came from this file before and has now the file's new text.
    Updated,
    /// The same bytes under the same file name are there already.
    Duplicate,
    /// Unchanged since the last import, or not a Markdown file.
    Skipped,
    /// Could not be read.
    Failed,
}

/// What an import did or (dry run) would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ImportReport {
    /// Nothing was written.
    pub dry_run: bool,
    /// What was read: `markdown`, `enex`, `joplin`, `opml`, `html`.
    pub format: String,
    /// Its number, by which it can be taken back; none if it changed nothing.
    pub batch: Option<u32>,
    /// Counts.
    pub created: u64,
    /// Counts.
    pub updated: u64,
    /// Counts.
    pub duplicate: u64,
    /// Counts.
    pub skipped: u64,
    /// Counts.
    pub failed: u64,
    /// Files that notes link to and that are attached to them now.
    pub attached: u64,
    /// Every file.
    pub entries: Vec<ImportEntry>,
    /// Links to files that could not be taken in.
    pub problems: Vec<TransferProblem>,
}

/// What to import, and how.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// What is read [default: what it looks like].
    pub format: Option<crate::import::Format>,
    /// Only say what would happen.
    pub dry_run: bool,
}

/// An import that was taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ImportUndone {
    /// Its number.
    pub batch: u32,
    /// Notes that are as they were before: in the trash, if the import made them.
    pub undone: u64,
    /// Notes that were changed since, and stay; the first 1,000 by their ids.
    pub kept: Vec<String>,
    /// Notebooks that were empty then, and are gone.
    pub notebooks: u64,
}

/// A file that a note refers to and that an import or export could not take.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TransferProblem {
    /// The note's file, below the folder.
    pub file: String,
    /// The line of the link, from 1, where there is one.
    pub line: Option<u64>,
    /// What the link says, or the attachment's name.
    pub target: Option<String>,
    /// `missing`, `refused` or `away`.
    pub fault: TransferFault,
    /// Why, and what to do.
    pub reason: String,
}

/// Why a file was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferFault {
    /// It is not there.
    Missing,
    /// It is there and cannot be taken: too large, not to be read, behind a symbolic link, one too many.
    Refused,
    /// Its parts are not on this device.
    Away,
}

/// What an export wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ExportReport {
    /// Notes written.
    pub notes: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// Files of attachments.
    pub attachments: u64,
    /// Their bytes.
    pub attachment_bytes: u64,
    /// Attachments that could not be written.
    pub problems: Vec<TransferProblem>,
}
