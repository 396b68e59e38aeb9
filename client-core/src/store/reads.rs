//! Reading the tables: typed queries, on the writer's connection or on a read-only one beside it.

use std::path::Path;

use lifeos_sync_protocol::ids::{DocId, SignPk, SpaceId, StreamId};
use rusqlite::Connection;

use super::{QuarantinedEnvelope, RelayState, StoreError, UndoStep};
use crate::projection::Row;

/// A read-only connection: reads go on while the writer writes.
pub struct Reader {
    conn: Connection,
}

/// The queries.
#[derive(Clone, Copy)]
pub struct Reads<'c> {
    conn: &'c Connection,
}

/// A space of this home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceRow {
    /// The space.
    pub space: SpaceId,
    /// This device in it.
    pub device: SignPk,
    /// The stream this device writes.
    pub stream: StreamId,
    /// The home space.
    pub home: bool,
}

/// A stream of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRow {
    /// The stream.
    pub stream: StreamId,
    /// The device that writes it.
    pub device: SignPk,
    /// Envelopes held and taken in, from 1.
    pub seq: u32,
}

/// Which notes to list.
#[derive(Debug, Clone, Default)]
pub struct NotesFilter<'a> {
    /// In this notebook.
    pub notebook: Option<&'a str>,
    /// With this tag.
    pub tag: Option<&'a str>,
    /// The trash instead of the living.
    pub trashed: bool,
    /// At most.
    pub limit: u32,
    /// Skip the first.
    pub offset: u32,
}

/// A note's main row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteRow {
    /// The document.
    pub doc: DocId,
    /// Title.
    pub title: String,
    /// First words.
    pub excerpt: String,
    /// Notebook id.
    pub notebook: Option<String>,
    /// Tags, sorted.
    pub tags: Vec<String>,
    /// Pinned.
    pub pinned: bool,
    /// Made (ms UTC).
    pub created_ms: i64,
    /// Newest change (ms UTC).
    pub updated_ms: i64,
    /// In the trash since (ms UTC).
    pub trashed_ms: Option<i64>,
}

/// A notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotebookRow {
    /// Its id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Parent, after the cycle rule.
    pub parent: Option<String>,
    /// Order among its siblings.
    pub rank: String,
    /// Moved to the top by the cycle rule.
    pub recovered: bool,
    /// Living notes directly inside.
    pub notes: u64,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRow {
    /// What it says.
    pub label: String,
    /// Living notes that have it.
    pub notes: u64,
}

/// A property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropRow {
    /// Name.
    pub name: String,
    /// Value, as JSON.
    pub json: String,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRow {
    /// The note that links.
    pub from: DocId,
    /// Its title.
    pub from_title: String,
    /// The note that is linked, if there is one.
    pub to: Option<DocId>,
    /// What the link says.
    pub target: String,
    /// `wikilink`, `embed` or `link`.
    pub kind: String,
}

impl Reader {
    /// Opens the home's database for reading. The home must be open in a [`super::Store`] or closed cleanly.
    ///
    /// # Errors
    /// [`StoreError::NoHome`], [`StoreError::NewerVersion`].
    pub fn open(home: &Path) -> Result<Self, StoreError> {
        let _ = home;
        todo!()
    }

    /// The queries.
    #[must_use]
    pub const fn reads(&self) -> Reads<'_> {
        Reads { conn: &self.conn }
    }
}

impl super::Store {
    /// The queries, on the writer's own connection.
    #[must_use]
    pub const fn reads(&self) -> Reads<'_> {
        Reads { conn: &self.conn }
    }
}

macro_rules! todo_reads {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        impl Reads<'_> {
            $($(#[$doc])*
            ///
            /// # Errors
            /// [`StoreError`].
            pub fn $name(&self $(, $arg: $type)*) -> Result<$out, StoreError> {
                let _ = (self.conn, $($arg),*);
                todo!()
            })*
        }
    };
}

todo_reads! {
    /// A value of the `meta` table.
    meta(key: &str) -> Option<Vec<u8>>;
    /// The spaces of this home, the home space first.
    spaces() -> Vec<SpaceRow>;
    /// Relays of a space.
    relays(space: &SpaceId) -> Vec<RelayState>;
    /// Streams of a space, sorted by stream id.
    streams(space: &SpaceId) -> Vec<StreamRow>;
    /// Documents held.
    document_count(space: &SpaceId) -> u64;
    /// Heads of every document, sorted by document id.
    heads(space: &SpaceId) -> Vec<(DocId, Vec<[u8; 32]>)>;
    /// Local changes that are not sealed yet.
    pending_count(space: &SpaceId) -> u64;
    /// Own envelopes after `acked_seq`.
    unsent_count(space: &SpaceId, acked_seq: u32) -> u64;
    /// Changes that wait for others they depend on.
    waiting_count(space: &SpaceId) -> u64;
    /// Envelopes in quarantine, oldest first, at most `limit`.
    quarantine(space: &SpaceId, limit: u32) -> Vec<QuarantinedEnvelope>;
    /// Documents that wait for the search index.
    search_dirty_count() -> u64;
    /// The newest step that can be undone.
    undo_top(space: &SpaceId) -> Option<UndoStep>;
    /// The newest step that can be redone.
    redo_top(space: &SpaceId) -> Option<UndoStep>;
    /// All projection rows of one document, sorted by (table, key).
    rows(space: &SpaceId, doc: &DocId) -> Vec<Row>;
    /// Documents whose id begins with these hex digits, at most `limit`.
    documents_by_prefix(space: &SpaceId, prefix: &str, limit: u32) -> Vec<DocId>;
    /// Notes: pinned before the others, newest first.
    notes(space: &SpaceId, filter: &NotesFilter<'_>) -> Vec<NoteRow>;
    /// Living notes.
    note_count(space: &SpaceId) -> u64;
    /// One note's main row.
    note(space: &SpaceId, doc: &DocId) -> Option<NoteRow>;
    /// The notebooks, in no particular order.
    notebooks(space: &SpaceId) -> Vec<NotebookRow>;
    /// The tags of living notes, sorted.
    tags(space: &SpaceId) -> Vec<TagRow>;
    /// Properties of a note, sorted by name.
    props(space: &SpaceId, doc: &DocId) -> Vec<PropRow>;
    /// Links out of a note, in order.
    links_from(space: &SpaceId, doc: &DocId) -> Vec<LinkRow>;
    /// Links to a note.
    links_to(space: &SpaceId, doc: &DocId) -> Vec<LinkRow>;
}
