//! Undo steps: which changes one write made, in order, so that their inverse can be made later as new changes.
//!
//! The undone steps are always the newest ones: undo goes from the newest down, redo up again, and a new edit
//! forgets them.

use automerge::ChangeHash;
use lifeos_sync_protocol::ids::{DocId, SpaceId};
use rusqlite::{Connection, OptionalExtension};

use super::records::find_space;
use super::{Reads, StoreError, imports};

/// Steps that are kept.
const STEPS_MAX: i64 = 500;
/// Older ones are cleared away every so many steps, not with each: that would write one page more an edit.
const STEPS_CLEARED: i64 = 50;
/// A step with more changes cannot be undone as one.
const STEP_CHANGES_MAX: usize = 1_000;
const ENTRY_BYTES: usize = DocId::BYTES + 32;

/// What a write means for the undo list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Step {
    /// An edit that can be undone; forgets what could be redone.
    #[default]
    Edit,
    /// Undoes the step with this id: its inverse can be redone.
    Undo(i64),
    /// Redoes the step with this id: it can be undone again.
    Redo(i64),
    /// Not a person's edit (repair): leaves the list alone.
    None,
    /// Part of the import with this number, which is taken back as a whole.
    Import(u32),
}

/// The newest step that can be undone (or redone).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoStep {
    /// For [`Step::Undo`] and [`Step::Redo`].
    pub id: i64,
    /// The changes to invert, oldest first. A change's dependencies are the heads before it.
    pub changes: Vec<(DocId, ChangeHash)>,
}

/// Records what a write did, inside its transaction.
pub(super) fn record(
    conn: &Connection,
    space: i64,
    step: Step,
    changes: &[(DocId, ChangeHash)],
) -> Result<(), StoreError> {
    match step {
        Step::None => Ok(()),
        Step::Import(number) => imports::record(conn, space, number, changes),
        Step::Edit if changes.is_empty() || changes.len() > STEP_CHANGES_MAX => Ok(()),
        Step::Edit => insert(conn, space, changes),
        Step::Undo(id) => replace(conn, space, id, true, changes),
        Step::Redo(id) => replace(conn, space, id, false, changes),
    }
}

fn insert(conn: &Connection, space: i64, changes: &[(DocId, ChangeHash)]) -> Result<(), StoreError> {
    let newest = "SELECT undone FROM undo WHERE space = ?1 ORDER BY id DESC LIMIT 1";
    if conn.prepare_cached(newest)?.query_row([space], |row| row.get(0)).optional()? == Some(true) {
        conn.prepare_cached("DELETE FROM undo WHERE space = ?1 AND undone = 1")?.execute([space])?;
    }
    let mut insert = conn.prepare_cached("INSERT INTO undo(space, undone, changes) VALUES (?1, 0, ?2)")?;
    let id = insert.insert((space, encode(changes)))?;
    if id % STEPS_CLEARED == 0 {
        conn.prepare_cached("DELETE FROM undo WHERE id <= ?1")?.execute([id - STEPS_MAX])?;
    }
    Ok(())
}

fn replace(
    conn: &Connection,
    space: i64,
    id: i64,
    undone: bool,
    changes: &[(DocId, ChangeHash)],
) -> Result<(), StoreError> {
    let mut update = conn.prepare_cached("UPDATE undo SET undone = ?3, changes = ?4 WHERE space = ?1 AND id = ?2")?;
    update.execute((space, id, undone, encode(changes)))?;
    Ok(())
}

pub(super) fn encode(changes: &[(DocId, ChangeHash)]) -> Vec<u8> {
    changes.iter().flat_map(|(doc, hash)| doc.0.into_iter().chain(hash.0)).collect()
}

pub(super) fn decode(bytes: &[u8]) -> Vec<(DocId, ChangeHash)> {
    let entry = |entry: &[u8]| {
        let (doc, hash) = entry.split_at(DocId::BYTES);
        Some((DocId::from_slice(doc)?, ChangeHash(hash.try_into().ok()?)))
    };
    bytes.chunks_exact(ENTRY_BYTES).filter_map(entry).collect()
}

impl Reads<'_> {
    /// The newest step that can be undone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn undo_top(&self, space: &SpaceId) -> Result<Option<UndoStep>, StoreError> {
        self.step(space, "SELECT id, changes FROM undo WHERE space = ?1 AND undone = 0 ORDER BY id DESC LIMIT 1")
    }

    /// The newest step that can be redone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn redo_top(&self, space: &SpaceId) -> Result<Option<UndoStep>, StoreError> {
        self.step(space, "SELECT id, changes FROM undo WHERE space = ?1 AND undone = 1 ORDER BY id LIMIT 1")
    }

    fn step(&self, space: &SpaceId, sql: &str) -> Result<Option<UndoStep>, StoreError> {
        let space = find_space(self.conn, space)?.row;
        let mut select = self.conn.prepare_cached(sql)?;
        let step = select
            .query_row([space], |row| Ok(UndoStep { id: row.get(0)?, changes: decode(row.get_ref(1)?.as_blob()?) }));
        Ok(step.optional()?)
    }
}
