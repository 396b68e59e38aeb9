//! Plain values that cross the boundary, mirrors of the façade's own.

use std::path::PathBuf;

use lifeos_client_core::client as core;
use lifeos_client_core::protocol::ids::DocId;

/// How a value of the core becomes one that every host language has.
trait Cross<T> {
    fn cross(self) -> T;
}

/// Values that cross as they are.
macro_rules! same {
    ($($type:ty),*) => { $(impl Cross<$type> for $type { fn cross(self) -> $type { self } })* };
}

same!(bool, u32, i64, f64, String, Vec<String>, Option<String>, Option<i64>);

impl Cross<i64> for u64 {
    fn cross(self) -> i64 {
        i64::try_from(self).unwrap_or(i64::MAX)
    }
}

impl Cross<Option<i64>> for Option<u64> {
    fn cross(self) -> Option<i64> {
        self.map(Cross::cross)
    }
}

impl Cross<i64> for u32 {
    fn cross(self) -> i64 {
        i64::from(self)
    }
}

impl Cross<String> for PathBuf {
    fn cross(self) -> String {
        self.to_string_lossy().into_owned()
    }
}

/// A record here for each of a struct there, field by field.
macro_rules! mirror {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, uniffi::Record)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl From<core::$name> for $name {
            fn from(value: core::$name) -> Self {
                Self { $($field: Cross::<$type>::cross(value.$field),)* }
            }
        }

        impl Cross<Vec<$name>> for Vec<core::$name> {
            fn cross(self) -> Vec<$name> {
                self.into_iter().map(Into::into).collect()
            }
        }

        impl Cross<Option<$name>> for Option<core::$name> {
            fn cross(self) -> Option<$name> {
                self.map(Into::into)
            }
        }
    )* };
}

mirror! {
    /// A part of a note's text, in characters as splicing counts them.
    Selection {
        /// Where it began.
        anchor: u32,
        /// Where the caret is; equal to the anchor when nothing is selected.
        head: u32,
    }
    /// Another device that is here now.
    DevicePresence {
        /// Hex.
        device: String,
        /// Whose it is, hex.
        member: String,
        /// Nobody has done anything there for a while.
        idle: bool,
        /// The note that is open there, hex.
        note: Option<String>,
        /// What is selected in it, in the text as it is here.
        selection: Option<Selection>,
        /// How long ago it said so (ms).
        heard_ago_ms: i64,
    }
    /// A note, whole.
    Note {
        /// Hex id.
        id: String,
        /// Title.
        title: String,
        /// Body as Markdown, front matter included.
        markdown: String,
        /// Notebook id, if any.
        notebook: Option<String>,
        /// What sort of note: `note`, `journal`, `template`, `meeting`, or one of a newer version.
        kind: String,
        /// Tags, sorted.
        tags: Vec<String>,
        /// Properties, sorted by name.
        properties: Vec<Property>,
        /// Pinned to the top of lists.
        pinned: bool,
        /// When it was made (ms UTC).
        created_ms: i64,
        /// Newest change (ms UTC, as claimed by its device).
        updated_ms: i64,
        /// When it was put into the trash (ms UTC).
        trashed_ms: Option<i64>,
        /// Edited elsewhere after it was put into the trash.
        edited_after_trash: bool,
    }
    /// A line in a list of notes.
    NoteSummary {
        /// Hex id.
        id: String,
        /// Title.
        title: String,
        /// First words of the body.
        excerpt: String,
        /// Notebook id, if any.
        notebook: Option<String>,
        /// What sort of note: `note`, `journal`, `template`, `meeting`, or one of a newer version.
        kind: String,
        /// Tags, sorted.
        tags: Vec<String>,
        /// Pinned.
        pinned: bool,
        /// Newest change (ms UTC).
        updated_ms: i64,
        /// In the trash since (ms UTC).
        trashed_ms: Option<i64>,
    }
    /// A notebook in the tree.
    Notebook {
        /// Hex id.
        id: String,
        /// Name.
        name: String,
        /// Parent notebook id; none at the top.
        parent: Option<String>,
        /// Depth from the top, 0-based.
        depth: u32,
        /// Living notes directly inside.
        notes: i64,
        /// Put here because a concurrent move made a cycle.
        recovered: bool,
    }
    /// One version of a note.
    Version {
        /// Name of the version, hex.
        version: String,
        /// When (ms UTC, as claimed by the device).
        time_ms: i64,
        /// Which device, by name if known.
        device: String,
        /// Which person, by name if known.
        person: String,
        /// What changed, in a few words.
        summary: String,
    }
    /// A found note.
    SearchHit {
        /// Hex id.
        id: String,
        /// `note`.
        kind: String,
        /// Title.
        title: String,
        /// Text around the match, matches between `[` and `]`.
        snippet: String,
        /// Larger is better.
        score: f64,
    }
    /// A link from one note to another.
    Link {
        /// Note that links.
        from: String,
        /// Its title.
        from_title: String,
        /// Note that is linked, if it exists.
        to: Option<String>,
        /// What the link says.
        target: String,
        /// `wikilink`, `embed` or `link`.
        kind: String,
    }
    /// What happened to one file of an import.
    ImportEntry {
        /// Path below the imported folder.
        path: String,
        /// What happened.
        outcome: ImportOutcome,
        /// Why, for all but new notes.
        reason: String,
        /// The note, if there is one.
        note: Option<String>,
    }
    /// What an import did or (dry run) would do.
    ImportReport {
        /// Nothing was written.
        dry_run: bool,
        /// New notes.
        created: i64,
        /// Notes with a new text.
        updated: i64,
        /// Same file twice.
        duplicate: i64,
        /// Unchanged, or not Markdown.
        skipped: i64,
        /// Could not be read.
        failed: i64,
        /// Files that notes link to and that are attached to them now.
        attached: i64,
        /// Every file.
        entries: Vec<ImportEntry>,
        /// Links to files that could not be taken in.
        problems: Vec<TransferProblem>,
    }
    /// A file that a note refers to and that an import or export could not take.
    TransferProblem {
        /// The note's file, below the folder.
        file: String,
        /// The line of the link, from 1, where there is one.
        line: Option<i64>,
        /// What the link says, or the attachment's name.
        target: Option<String>,
        /// Why it was not taken.
        fault: TransferFault,
        /// Why, and what to do.
        reason: String,
    }
    /// What an export wrote.
    ExportReport {
        /// Notes written.
        notes: i64,
        /// Bytes of their texts.
        bytes: i64,
        /// Files of attachments.
        attachments: i64,
        /// Their bytes.
        attachment_bytes: i64,
        /// Attachments that could not be written.
        problems: Vec<TransferProblem>,
    }
    /// What one round of sync did.
    SyncReport {
        /// Envelopes the relay acknowledged.
        pushed: i64,
        /// Envelopes of other devices that the relay had lost and was given back.
        given: i64,
        /// Envelopes received.
        pulled: i64,
        /// Bytes sent.
        bytes_pushed: i64,
        /// Bytes received.
        bytes_pulled: i64,
        /// Documents that changed here.
        documents_changed: i64,
        /// Envelopes set aside.
        quarantined: i64,
        /// Wall time.
        duration_ms: i64,
        /// Relays with which it did not go well, while it did with another.
        failed: Vec<RelayFailure>,
    }
    /// A relay with which a sync did not go well.
    RelayFailure {
        /// Its address.
        relay: String,
        /// Why, and what to do next.
        message: String,
    }
    /// Where things stand.
    Status {
        /// Home folder.
        home: String,
        /// Home space, hex.
        space: String,
        /// This device's id, hex.
        device: String,
        /// Its name.
        device_name: String,
        /// Documents held.
        documents: i64,
        /// Living notes.
        notes: i64,
        /// Local changes that are not sealed yet.
        changes_pending: i64,
        /// Sealed envelopes the relay has not acknowledged yet.
        envelopes_unsent: i64,
        /// Envelopes set aside, with reasons.
        quarantine: Vec<QuarantineEntry>,
        /// Relays.
        relays: Vec<RelayStatus>,
        /// Devices of the space.
        devices: Vec<DeviceStatus>,
    }
    /// An envelope that was set aside.
    QuarantineEntry {
        /// Hex.
        envelope: String,
        /// Hex.
        stream: String,
        /// Position.
        seq: i64,
        /// Author device, by name if known.
        device: String,
        /// In words.
        reason: String,
        /// Since when (ms UTC).
        since_ms: i64,
    }
    /// One relay as seen from here.
    RelayStatus {
        /// Address.
        url: String,
        /// Its pinned key, hex.
        key: Option<String>,
        /// Position reached in its log.
        position: i64,
        /// When the last sync ended well (ms UTC).
        synced_ms: Option<i64>,
        /// Sealed envelopes of this device that it has not acknowledged yet.
        envelopes_unsent: i64,
    }
    /// One device of the space.
    DeviceStatus {
        /// Hex.
        device: String,
        /// Name, if known.
        name: String,
        /// This one.
        this: bool,
        /// `normal`, `recovery` or `archive`.
        kind: String,
        /// Envelopes of it that are applied here.
        envelopes: i64,
        /// What it said of what it holds; nothing yet, or it is this one.
        receipt: Option<DeviceReceipt>,
    }
    /// What another device said of what it holds.
    DeviceReceipt {
        /// Everything that was sent and is here has been confirmed.
        complete: bool,
        /// When it had last confirmed everything that was here (ms UTC).
        complete_ms: Option<i64>,
        /// Envelopes of this device that it has not confirmed.
        unconfirmed_own: i64,
        /// Envelopes held here that it has not confirmed, whoever wrote them.
        unconfirmed: i64,
        /// Envelopes that it set aside.
        set_aside: i64,
        /// When its newest receipt was made, by its own clock (ms UTC).
        said_ms: Option<i64>,
        /// When it was last heard of here (ms UTC).
        heard_ms: i64,
    }
    /// What the doctor found.
    DoctorReport {
        /// All checks held.
        ok: bool,
        /// One line a check.
        checks: Vec<DoctorCheck>,
    }
    /// One check.
    DoctorCheck {
        /// What was checked.
        name: String,
        /// Whether it held.
        ok: bool,
        /// In words.
        detail: String,
    }
}

/// A property of a note.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Property {
    /// Name.
    pub name: String,
    /// Value as JSON.
    pub json: String,
}

impl Cross<Vec<Property>> for Vec<(String, serde_json::Value)> {
    fn cross(self) -> Vec<Property> {
        self.into_iter().map(|(name, value)| Property { name, json: value.to_string() }).collect()
    }
}

/// What happened to a file of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum ImportOutcome {
    /// A new note.
    Created,
    /// A known note with the file's new text.
    Updated,
    /// The same file is there already.
    Duplicate,
    /// Unchanged, or not Markdown.
    Skipped,
    /// Could not be read.
    Failed,
}

/// Why a file was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum TransferFault {
    /// It is not there.
    Missing,
    /// It is there and cannot be taken.
    Refused,
    /// Its parts are not on this device.
    Away,
}

impl Cross<TransferFault> for core::TransferFault {
    fn cross(self) -> TransferFault {
        match self {
            Self::Missing => TransferFault::Missing,
            Self::Refused => TransferFault::Refused,
            Self::Away => TransferFault::Away,
        }
    }
}

impl Cross<ImportOutcome> for core::ImportOutcome {
    fn cross(self) -> ImportOutcome {
        match self {
            Self::Created => ImportOutcome::Created,
            Self::Updated => ImportOutcome::Updated,
            Self::Duplicate => ImportOutcome::Duplicate,
            Self::Skipped => ImportOutcome::Skipped,
            Self::Failed => ImportOutcome::Failed,
        }
    }
}

/// Heads of one document.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct DocumentHeads {
    /// Document, hex.
    pub document: String,
    /// Heads, hex.
    pub heads: Vec<String>,
}

impl From<(DocId, Vec<[u8; 32]>)> for DocumentHeads {
    fn from((document, heads): (DocId, Vec<[u8; 32]>)) -> Self {
        let hex = |head: &[u8; 32]| head.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { document: document.to_string(), heads: heads.iter().map(hex).collect() }
    }
}

/// What to make a note from.
#[derive(Debug, Clone, Default, PartialEq, Eq, uniffi::Record)]
pub struct NoteDraft {
    /// Title; empty: taken from the first heading or line.
    #[uniffi(default)]
    pub title: String,
    /// Body as Markdown, with optional front matter.
    #[uniffi(default)]
    pub markdown: String,
    /// Notebook id.
    #[uniffi(default)]
    pub notebook: Option<String>,
    /// Tags.
    #[uniffi(default)]
    pub tags: Vec<String>,
    /// What sort of note: `note` (or none), `journal`, `template`, `meeting`.
    #[uniffi(default)]
    pub kind: Option<String>,
}

impl From<NoteDraft> for core::NoteDraft {
    fn from(draft: NoteDraft) -> Self {
        let NoteDraft { title, markdown, notebook, tags, kind } = draft;
        Self { title, markdown, notebook, tags, kind }
    }
}

/// Which notes to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, uniffi::Record)]
pub struct NoteFilter {
    /// In this notebook.
    #[uniffi(default)]
    pub notebook: Option<String>,
    /// With this tag.
    #[uniffi(default)]
    pub tag: Option<String>,
    /// Of this sort: `note`, `journal`, `template`, `meeting`.
    #[uniffi(default)]
    pub kind: Option<String>,
    /// The trash instead of the living.
    #[uniffi(default)]
    pub trashed: bool,
    /// At most (0: 100).
    #[uniffi(default)]
    pub limit: u32,
    /// Skip the first.
    #[uniffi(default)]
    pub offset: u32,
}

impl From<NoteFilter> for core::NoteFilter {
    fn from(filter: NoteFilter) -> Self {
        let NoteFilter { notebook, tag, kind, trashed, limit, offset } = filter;
        Self { notebook, tag, kind, trashed, by_title: false, limit, offset }
    }
}
