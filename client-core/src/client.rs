//! The façade that apps use; composition root of store, transport and engine. Local operations are
//! synchronous and durable when they return; network operations are async (tokio).

use std::path::{Path, PathBuf};

use lifeos_sync_protocol::ids::{DocId, SignPk, SpaceId};

use crate::event::{Event, Origin};

/// Anything that can go wrong, by whose fault it is and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The home folder cannot be used as it is.
    #[error("{message}")]
    Home {
        /// What is wrong and what to do next, in words.
        message: String,
    },
    /// The caller asked for something invalid.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
    /// No such note, notebook, version …
    #[error("there is no {what}")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// The disk refused.
    #[error("{message}")]
    Storage {
        /// What happened and what to do next.
        message: String,
        /// Whether trying again later can help (disk full, busy).
        transient: bool,
    },
    /// The relay cannot be reached or refuses.
    #[error("{message}")]
    Network {
        /// What happened and what to do next.
        message: String,
        /// Whether trying again later can help.
        transient: bool,
    },
    /// Something that must not be trusted: wrong relay key, wrong code …
    #[error("{message}")]
    Security {
        /// What happened and what to do next.
        message: String,
    },
}

/// Coarse class of an error; retry reads only [`ClientError::is_transient`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The home folder.
    Home,
    /// The caller.
    Invalid,
    /// Nothing there.
    NotFound,
    /// The disk.
    Storage,
    /// The network or relay.
    Network,
    /// Trust.
    Security,
}

impl ClientError {
    /// Whose fault.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Home { .. } => ErrorKind::Home,
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Storage { .. } => ErrorKind::Storage,
            Self::Network { .. } => ErrorKind::Network,
            Self::Security { .. } => ErrorKind::Security,
        }
    }

    /// Whether the same call can succeed later without anybody doing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Storage { transient: true, .. } | Self::Network { transient: true, .. })
    }
}

/// How a home begins.
#[derive(Debug, Clone, Default)]
pub struct InitOptions {
    /// Name of this device, shown to the person's other devices.
    pub device_name: String,
    /// Name of the person.
    pub person_name: String,
    /// `ws://` or `wss://` address of a relay, optionally `#<relay key hex>` to pin it from the start.
    pub relay: Option<String>,
}

/// A note, whole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Note {
    /// Hex id.
    pub id: String,
    /// Title.
    pub title: String,
    /// Body as Markdown, front matter included.
    pub markdown: String,
    /// Notebook id, if any.
    pub notebook: Option<String>,
    /// Tags, sorted.
    pub tags: Vec<String>,
    /// Properties (front matter), sorted by name; values as JSON.
    pub properties: Vec<(String, serde_json::Value)>,
    /// Pinned to the top of lists.
    pub pinned: bool,
    /// When it was made (ms UTC).
    pub created_ms: i64,
    /// Time of the newest change (ms UTC, as claimed by its device).
    pub updated_ms: i64,
    /// When it was put into the trash.
    pub trashed_ms: Option<i64>,
    /// Edited elsewhere after it was put into the trash.
    pub edited_after_trash: bool,
}

/// A line in a list of notes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NoteSummary {
    /// Hex id.
    pub id: String,
    /// Title.
    pub title: String,
    /// First words of the body.
    pub excerpt: String,
    /// Notebook id, if any.
    pub notebook: Option<String>,
    /// Tags, sorted.
    pub tags: Vec<String>,
    /// Pinned.
    pub pinned: bool,
    /// Newest change (ms UTC).
    pub updated_ms: i64,
    /// In the trash since.
    pub trashed_ms: Option<i64>,
}

/// What to make a note from.
#[derive(Debug, Clone, Default)]
pub struct NoteDraft {
    /// Title; empty: taken from the first heading or line.
    pub title: String,
    /// Body as Markdown, with optional front matter.
    pub markdown: String,
    /// Notebook id.
    pub notebook: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
}

/// Which notes to list.
#[derive(Debug, Clone, Default)]
pub struct NoteFilter {
    /// In this notebook.
    pub notebook: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// The trash instead of the living.
    pub trashed: bool,
    /// At most (0: 100).
    pub limit: u32,
    /// Skip the first.
    pub offset: u32,
}

/// A notebook in the tree.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Notebook {
    /// Hex id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Parent notebook id; `None` at the top.
    pub parent: Option<String>,
    /// Depth from the top, 0-based.
    pub depth: u32,
    /// Living notes directly inside.
    pub notes: u64,
    /// Put here because a concurrent move made a cycle.
    pub recovered: bool,
}

/// One version of a note.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// Name of the version: hash of its newest change, hex.
    pub version: String,
    /// When (ms UTC, as claimed by the device).
    pub time_ms: i64,
    /// Which device, by name if known.
    pub device: String,
    /// Which person, by name if known.
    pub person: String,
    /// What changed, in a few words (`title`, `body +120 −3`).
    pub summary: String,
}

/// A found note.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct SearchHit {
    /// Hex id.
    pub id: String,
    /// `note`.
    pub kind: String,
    /// Title.
    pub title: String,
    /// Part of the text around the match, matches between `[` and `]`.
    pub snippet: String,
    /// Larger is better.
    pub score: f64,
}

/// A link from one note to another.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Link {
    /// Note that links.
    pub from: String,
    /// Its title.
    pub from_title: String,
    /// Note that is linked, if it exists.
    pub to: Option<String>,
    /// What the link says.
    pub target: String,
    /// `wikilink`, `embed` or `link`.
    pub kind: String,
}

/// Progress of long work: how much of how much, and what.
pub type Progress<'a> = &'a mut (dyn FnMut(ProgressStep) + Send);

/// One step of long work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressStep {
    /// What is being done: `read`, `import`, `seal`, `push`, `pull`, `export`, `index`.
    pub phase: &'static str,
    /// Done so far.
    pub done: u64,
    /// Out of; 0 if unknown.
    pub total: u64,
}

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
    /// Every file.
    pub entries: Vec<ImportEntry>,
}

/// What an export wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ExportReport {
    /// Notes written.
    pub notes: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// What one round of sync did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct SyncReport {
    /// Envelopes the relay acknowledged.
    pub pushed: u64,
    /// Envelopes received.
    pub pulled: u64,
    /// Bytes of envelopes sent and received.
    pub bytes_pushed: u64,
    /// Bytes received.
    pub bytes_pulled: u64,
    /// Documents that changed here.
    pub documents_changed: u64,
    /// Envelopes set aside.
    pub quarantined: u64,
    /// Wall time.
    pub duration_ms: u64,
}

/// Where things stand, truthfully.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// Home folder.
    pub home: PathBuf,
    /// Home space, hex.
    pub space: String,
    /// This device's id, hex.
    pub device: String,
    /// Its name.
    pub device_name: String,
    /// Documents held.
    pub documents: u64,
    /// Living notes.
    pub notes: u64,
    /// Local changes that are not sealed yet.
    pub changes_pending: u64,
    /// Sealed envelopes the relay has not acknowledged yet.
    pub envelopes_unsent: u64,
    /// Envelopes in quarantine, with reasons.
    pub quarantine: Vec<QuarantineEntry>,
    /// Relays.
    pub relays: Vec<RelayStatus>,
    /// Devices of the space.
    pub devices: Vec<DeviceStatus>,
}

/// An envelope that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct QuarantineEntry {
    /// Hex.
    pub envelope: String,
    /// Hex.
    pub stream: String,
    /// Position.
    pub seq: u32,
    /// Author device, by name if known.
    pub device: String,
    /// In words.
    pub reason: String,
    /// Since when.
    pub since_ms: i64,
}

/// One relay as seen from here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RelayStatus {
    /// Address.
    pub url: String,
    /// Its pinned key, hex.
    pub key: Option<String>,
    /// Position reached in its log.
    pub position: u64,
    /// When the last sync ended well.
    pub synced_ms: Option<i64>,
}

/// One device of the space.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DeviceStatus {
    /// Hex.
    pub device: String,
    /// Name, if known.
    pub name: String,
    /// This one.
    pub this: bool,
    /// `normal`, `recovery` or `archive`.
    pub kind: String,
    /// Envelopes of it that are applied here.
    pub envelopes: u64,
}

/// What the doctor found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct DoctorReport {
    /// All checks held.
    pub ok: bool,
    /// One line a check: name, held, detail.
    pub checks: Vec<DoctorCheck>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DoctorCheck {
    /// What was checked.
    pub name: String,
    /// Whether it held.
    pub ok: bool,
    /// In words.
    pub detail: String,
}

/// A stream of events for one subscriber, bounded: a slow one gets [`Event::Lagged`].
pub struct Subscription {/* bounded channel */}

impl Subscription {
    /// Waits for the next event; `None` after the client is gone.
    pub async fn next(&mut self) -> Option<Event> {
        todo!()
    }
    /// The next event if one is there.
    pub fn try_next(&mut self) -> Option<Event> {
        todo!()
    }
}

/// A home that is open. Cheap to clone; all clones share one store.
#[derive(Clone)]
pub struct Client {/* Arc<Inner> */}

/// Local operations. Each returns after its commit is durable.
impl Client {
    /// Makes a new home: keys, home space, first epoch. Returns the recovery phrase, which is shown once.
    /// # Errors
    /// [`ClientError::Home`] when there is one already.
    pub fn create(home: &Path, options: InitOptions) -> Result<(Self, crate::keys::RecoveryPhrase), ClientError> {
        let _ = (home, options);
        todo!()
    }
    /// Opens a home.
    /// # Errors
    /// [`ClientError::Home`] when there is none, or it is from a newer version.
    pub fn open(home: &Path) -> Result<Self, ClientError> {
        let _ = home;
        todo!()
    }
    /// The home space.
    pub fn space(&self) -> SpaceId {
        todo!()
    }
    /// This device.
    pub fn device(&self) -> SignPk {
        todo!()
    }
    /// Events from now on.
    pub fn subscribe(&self) -> Subscription {
        todo!()
    }
    /// Adds or replaces the relay address (`#key` pins its key).
    /// # Errors
    /// [`ClientError`].
    pub fn set_relay(&self, url: &str) -> Result<(), ClientError> {
        let _ = url;
        todo!()
    }
    /// Where things stand.
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self) -> Result<Status, ClientError> {
        todo!()
    }
    /// Heads of every document, sorted by document id: equal on converged devices.
    /// # Errors
    /// [`ClientError`].
    pub fn heads(&self) -> Result<Vec<(DocId, Vec<[u8; 32]>)>, ClientError> {
        todo!()
    }
    /// SHA-256 over all projection rows in a fixed order, local row ids left out: equal on converged devices.
    /// # Errors
    /// [`ClientError`].
    pub fn projection_digest(&self) -> Result<[u8; 32], ClientError> {
        todo!()
    }
    /// Makes a note.
    /// # Errors
    /// [`ClientError`].
    pub fn note_create(&self, draft: NoteDraft) -> Result<DocId, ClientError> {
        let _ = draft;
        todo!()
    }
    /// A note. `id` is a full hex id or an unambiguous prefix of at least 4 characters.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn note(&self, id: &str) -> Result<Note, ClientError> {
        let _ = id;
        todo!()
    }
    /// Notes, newest first, pinned before the others.
    /// # Errors
    /// [`ClientError`].
    pub fn notes(&self, filter: NoteFilter) -> Result<Vec<NoteSummary>, ClientError> {
        let _ = filter;
        todo!()
    }
    /// Replaces the body by diffing: concurrent edits elsewhere survive.
    /// # Errors
    /// [`ClientError`].
    pub fn note_set_markdown(&self, id: &str, markdown: &str) -> Result<(), ClientError> {
        let _ = (id, markdown);
        todo!()
    }
    /// Sets the title; the old one stays an alias, so that `[[old title]]` still resolves.
    /// # Errors
    /// [`ClientError`].
    pub fn note_set_title(&self, id: &str, title: &str) -> Result<(), ClientError> {
        let _ = (id, title);
        todo!()
    }
    /// Replaces `delete` characters (Unicode scalar values) of the body's text at `at` by `insert`; block
    /// markers count one each.
    /// # Errors
    /// [`ClientError`].
    pub fn note_splice(&self, id: &str, at: usize, delete: usize, insert: &str) -> Result<(), ClientError> {
        let _ = (id, at, delete, insert);
        todo!()
    }
    /// Ticks or unticks the `index`-th todo (0-based).
    /// # Errors
    /// [`ClientError`].
    pub fn note_set_todo(&self, id: &str, index: usize, done: bool) -> Result<(), ClientError> {
        let _ = (id, index, done);
        todo!()
    }
    /// Sets (or with `None` removes) a property.
    /// # Errors
    /// [`ClientError`].
    pub fn note_set_property(&self, id: &str, name: &str, value: Option<serde_json::Value>) -> Result<(), ClientError> {
        let _ = (id, name, value);
        todo!()
    }
    /// Adds or removes a tag.
    /// # Errors
    /// [`ClientError`].
    pub fn note_tag(&self, id: &str, tag: &str, present: bool) -> Result<(), ClientError> {
        let _ = (id, tag, present);
        todo!()
    }
    /// Pins or unpins.
    /// # Errors
    /// [`ClientError`].
    pub fn note_pin(&self, id: &str, pinned: bool) -> Result<(), ClientError> {
        let _ = (id, pinned);
        todo!()
    }
    /// Moves into a notebook, or out of all.
    /// # Errors
    /// [`ClientError`].
    pub fn note_move(&self, id: &str, notebook: Option<&str>) -> Result<(), ClientError> {
        let _ = (id, notebook);
        todo!()
    }
    /// Puts into the trash, or (false) restores.
    /// # Errors
    /// [`ClientError`].
    pub fn note_trash(&self, id: &str, trashed: bool) -> Result<(), ClientError> {
        let _ = (id, trashed);
        todo!()
    }
    /// Versions, newest first; consecutive changes of one device within five minutes are one version.
    /// # Errors
    /// [`ClientError`].
    pub fn note_history(&self, id: &str, limit: u32, offset: u32) -> Result<Vec<Version>, ClientError> {
        let _ = (id, limit, offset);
        todo!()
    }
    /// The note's Markdown as it was.
    /// # Errors
    /// [`ClientError`].
    pub fn note_at(&self, id: &str, version: &str) -> Result<String, ClientError> {
        let _ = (id, version);
        todo!()
    }
    /// Makes the note what it was, as a new change.
    /// # Errors
    /// [`ClientError`].
    pub fn note_restore(&self, id: &str, version: &str) -> Result<(), ClientError> {
        let _ = (id, version);
        todo!()
    }
    /// Undoes this person's newest edit (on this device) that is not undone yet; false: nothing to undo.
    /// # Errors
    /// [`ClientError`].
    pub fn undo(&self) -> Result<bool, ClientError> {
        todo!()
    }
    /// Redoes what was undone last; false: nothing to redo.
    /// # Errors
    /// [`ClientError`].
    pub fn redo(&self) -> Result<bool, ClientError> {
        todo!()
    }
    /// Links out of a note.
    /// # Errors
    /// [`ClientError`].
    pub fn note_links(&self, id: &str) -> Result<Vec<Link>, ClientError> {
        let _ = id;
        todo!()
    }
    /// Links to a note.
    /// # Errors
    /// [`ClientError`].
    pub fn note_backlinks(&self, id: &str) -> Result<Vec<Link>, ClientError> {
        let _ = id;
        todo!()
    }
    /// Makes a notebook.
    /// # Errors
    /// [`ClientError`].
    pub fn notebook_create(&self, name: &str, parent: Option<&str>) -> Result<String, ClientError> {
        let _ = (name, parent);
        todo!()
    }
    /// Renames a notebook.
    /// # Errors
    /// [`ClientError`].
    pub fn notebook_rename(&self, id: &str, name: &str) -> Result<(), ClientError> {
        let _ = (id, name);
        todo!()
    }
    /// Moves a notebook (refuses a cycle that is visible here) behind `after` among its new siblings.
    /// # Errors
    /// [`ClientError`].
    pub fn notebook_move(&self, id: &str, parent: Option<&str>, after: Option<&str>) -> Result<(), ClientError> {
        let _ = (id, parent, after);
        todo!()
    }
    /// Removes a notebook (tombstone); its notes and notebooks move up.
    /// # Errors
    /// [`ClientError`].
    pub fn notebook_delete(&self, id: &str) -> Result<(), ClientError> {
        let _ = id;
        todo!()
    }
    /// The tree, depth first.
    /// # Errors
    /// [`ClientError`].
    pub fn notebooks(&self) -> Result<Vec<Notebook>, ClientError> {
        todo!()
    }
    /// Full-text search: words, "phrases", prefix*, -without, tag:name.
    /// # Errors
    /// [`ClientError::Invalid`] for a query that cannot be read.
    pub fn search(&self, query: &str, limit: u32) -> Result<Vec<SearchHit>, ClientError> {
        let _ = (query, limit);
        todo!()
    }
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
    /// Checks database, documents, projections (recomputed and compared), search index, keys, streams.
    /// # Errors
    /// [`ClientError`].
    pub fn doctor(&self, rebuild_projections: bool, progress: Progress<'_>) -> Result<DoctorReport, ClientError> {
        let _ = (rebuild_projections, progress);
        todo!()
    }
}

/// A link being made on the new device: show `link()`, then show `code()` when it is there, then wait.
pub struct LinkNew {/* session with the relay */}

impl LinkNew {
    /// `LS1…`, to be shown as text and QR code.
    pub fn link(&self) -> &str {
        todo!()
    }
    /// Waits for the other device's offer; returns the six digits to show.
    /// # Errors
    /// [`ClientError`] on timeout (10 min), mismatch or a lost relay.
    pub async fn code(&mut self) -> Result<String, ClientError> {
        todo!()
    }
    /// Waits until the other device has enrolled this one; the home is then complete.
    /// # Errors
    /// [`ClientError`].
    pub async fn finish(self) -> Result<Client, ClientError> {
        todo!()
    }
}

/// A link being approved on an existing device: the person types the code that the new device shows.
pub struct LinkApprove {/* session with the relay */}

impl LinkApprove {
    /// What the new device calls itself.
    pub fn device_name(&self) -> &str {
        todo!()
    }
    /// Tries a code. `Ok(Some(tries_left))`: wrong. `Ok(None)`: right, the device is enrolled. After three
    /// wrong codes the link is dropped with [`ClientError::Security`].
    /// # Errors
    /// [`ClientError`].
    pub async fn enter_code(&mut self, code: &str) -> Result<Option<u32>, ClientError> {
        let _ = code;
        todo!()
    }
}

/// A sync that goes on in the background until it is stopped or dropped.
pub struct SyncHandle {/* task + stop signal */}

impl SyncHandle {
    /// Stops after what is under way is stored.
    pub async fn stop(self) {
        todo!()
    }
}

/// Network operations.
impl Client {
    /// One round: send everything, receive everything, then return.
    /// # Errors
    /// [`ClientError::Network`], [`ClientError::Security`].
    pub async fn sync(&self, progress: Progress<'_>) -> Result<SyncReport, ClientError> {
        let _ = progress;
        todo!()
    }
    /// Syncs for ever: reconnects with backoff and jitter, sends local edits as they are made.
    pub fn sync_live(&self) -> SyncHandle {
        todo!()
    }
    /// On a new device: makes keys and a mailbox at the relay.
    /// # Errors
    /// [`ClientError`].
    pub async fn link_new(home: &Path, relay: &str, device_name: &str) -> Result<LinkNew, ClientError> {
        let _ = (home, relay, device_name);
        todo!()
    }
    /// On an existing device: answers a link.
    /// # Errors
    /// [`ClientError`].
    pub async fn link_approve(&self, link: &str) -> Result<LinkApprove, ClientError> {
        let _ = link;
        todo!()
    }
}

/// Used by the store when it reports what changed.
pub(crate) type Changed = (SpaceId, Vec<DocId>, Origin);
