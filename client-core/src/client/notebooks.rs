//! The tree of notebooks.

use std::collections::BTreeMap;

use automerge::AutoCommit;
use lifeos_sync_protocol::ids::DocId;

use super::{Client, ClientError, Notebook};
use crate::crypto::{SystemRandom, random_bytes};
use crate::document::singleton_doc_id;
use crate::modules::notes::tree::{self, Tree};
use crate::registry::NOTE_TREE_GENESIS;
use crate::store::Step;

/// Shortest prefix of an id that is taken for one.
const PREFIX_CHARS_MIN: usize = 4;

impl Client {
    /// Makes a notebook; gives its id.
    /// # Errors
    /// [`ClientError`].
    pub fn notebook_create(&self, name: &str, parent: Option<&str>) -> Result<String, ClientError> {
        let parent = parent.map(|id| self.notebook_id(id)).transpose()?;
        let id = DocId(random_bytes(&mut SystemRandom::new())).to_string();
        self.edit_tree(|doc| Ok(tree::create(doc, &id, name, parent.as_deref())?))?;
        Ok(id)
    }

    /// Renames a notebook.
    /// # Errors
    /// [`ClientError`].
    pub fn notebook_rename(&self, id: &str, name: &str) -> Result<(), ClientError> {
        let id = self.notebook_id(id)?;
        self.edit_tree(|doc| Ok(tree::rename(doc, &id, name)?))
    }

    /// Moves a notebook (refuses a cycle that is visible here) behind `after` among its new siblings.
    /// # Errors
    /// [`ClientError`].
    pub fn notebook_move(&self, id: &str, parent: Option<&str>, after: Option<&str>) -> Result<(), ClientError> {
        let id = self.notebook_id(id)?;
        let parent = parent.map(|id| self.notebook_id(id)).transpose()?;
        let after = after.map(|id| self.notebook_id(id)).transpose()?;
        self.edit_tree(|doc| Ok(tree::move_to(doc, &id, parent.as_deref(), after.as_deref())?))
    }

    /// Removes a notebook (tombstone); its notes and notebooks move up.
    /// # Errors
    /// [`ClientError`].
    pub fn notebook_delete(&self, id: &str) -> Result<(), ClientError> {
        let id = self.notebook_id(id)?;
        let now_ms = crate::engine::wall_ms();
        self.edit_tree(|doc| Ok(tree::delete(doc, &id, now_ms)?))
    }

    /// The tree, depth first.
    /// # Errors
    /// [`ClientError`].
    pub fn notebooks(&self) -> Result<Vec<Notebook>, ClientError> {
        let rows = self.shared.reader().reads().notebooks(&self.space())?;
        let notes: BTreeMap<String, u64> = rows.into_iter().map(|row| (row.id, row.notes)).collect();
        let tree = self.read_tree()?;
        let mut out = Vec::new();
        // Children are pushed in reverse, so that the first of them is taken next. The tree has no cycles.
        let mut open: Vec<(Option<String>, String, u32)> = Vec::new();
        let push = |open: &mut Vec<_>, parent: Option<&str>, depth| {
            for (id, _) in tree.children(parent).into_iter().rev() {
                open.push((parent.map(str::to_owned), id.to_owned(), depth));
            }
        };
        push(&mut open, None, 0);
        while let Some((parent, id, depth)) = open.pop() {
            let Some(node) = tree.nodes.get(&id) else { continue };
            push(&mut open, Some(&id), depth + 1);
            let (name, recovered) = (node.name.clone(), node.recovered);
            let notes = notes.get(&id).copied().unwrap_or(0);
            out.push(Notebook { id, name, parent, depth, notes, recovered });
        }
        Ok(out)
    }

    pub(super) fn tree_doc(&self) -> DocId {
        singleton_doc_id(&self.space(), "tree/notes", "")
    }

    pub(super) fn read_tree(&self) -> Result<Tree, ClientError> {
        let tree = self.shared.store().read(&self.space(), &self.tree_doc(), |doc| Tree::read(doc.read()))?;
        Ok(tree.unwrap_or_default())
    }

    fn edit_tree<T>(&self, edit: impl FnOnce(&mut AutoCommit) -> Result<T, ClientError>) -> Result<T, ClientError> {
        self.edit(&self.tree_doc(), NOTE_TREE_GENESIS, Step::Edit, edit)
    }

    /// The living notebook that a full id or a prefix names.
    pub(super) fn notebook_id(&self, id: &str) -> Result<String, ClientError> {
        let prefix = id.trim().to_ascii_lowercase();
        if prefix.len() < PREFIX_CHARS_MIN {
            return Err(ClientError::invalid("give at least the first 4 characters of the notebook's id"));
        }
        let tree = self.read_tree()?;
        let living = tree.nodes.iter().filter(|(_, node)| node.deleted_ms.is_none());
        let found: Vec<_> = living.filter(|(id, _)| id.starts_with(&prefix)).map(|(id, _)| id).collect();
        match found.as_slice() {
            [id] => Ok((*id).clone()),
            [] => Err(ClientError::not_found(format!("notebook {prefix}"))),
            _ => Err(ClientError::invalid("more than one notebook begins with this id; give more of its characters")),
        }
    }
}
