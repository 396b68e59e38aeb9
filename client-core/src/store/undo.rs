//! Undo steps: which changes one write made, in order, so that their inverse can be made later as new changes.

use automerge::ChangeHash;
use lifeos_sync_protocol::ids::DocId;

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
    /// Not a person's edit (import, repair): leaves the list alone.
    None,
}

/// The newest step that can be undone (or redone).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoStep {
    /// For [`Step::Undo`] and [`Step::Redo`].
    pub id: i64,
    /// The changes to invert, oldest first. A change's dependencies are the heads before it.
    pub changes: Vec<(DocId, ChangeHash)>,
}
