//! Notebooks: one document per space holds the tree as flat registers `<id>:name`, `:parent`, `:rank`, `:del`.
//!
//! Two devices may move notebooks into each other at the same time. Then both parents stand in the document and
//! form a cycle; every device resolves it alike (modules.md §1.4.1): the winning parent writes are applied in the
//! order of their operation ids to an empty forest, and one that would close a cycle is skipped, which puts its
//! notebook at the top, marked as recovered. All parents live in one document so that these ids are comparable.

use std::collections::BTreeMap;

use automerge::{AutoCommit, ChangeHash, ObjId, PatchAction, ROOT, ReadDoc, ScalarValue};

use crate::document::{Document, DocumentError};
use crate::modules::rank;
use crate::modules::register::{as_text, clear, cut, line, owned, put};
use crate::projection::{Row, Value};
use crate::registry::{LINE_CHARS_MAX, NOTE_TREE_GENESIS, NOTEBOOK};

/// A notebook as it stands after merging.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Name.
    pub name: String,
    /// Nearest living ancestor; `None` at the top.
    pub parent: Option<String>,
    /// Order among siblings; ties are broken by id.
    pub rank: String,
    /// When it was removed (ms UTC); its notes and notebooks stand at its `parent`.
    pub deleted_ms: Option<i64>,
    /// At the top because a concurrent move made a cycle.
    pub recovered: bool,
}

/// The tree after merging, by notebook id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// Every notebook, the removed ones included.
    pub nodes: BTreeMap<String, Node>,
}

/// The winning write of a parent register.
struct ParentWrite {
    node: String,
    parent: String,
    /// Counter and actor of the operation: the same on every device.
    order: (u64, Vec<u8>),
}

impl Tree {
    /// Reads and resolves the tree.
    #[must_use]
    pub fn read(doc: &AutoCommit) -> Self {
        let (mut tree, mut writes) = (Self::default(), Vec::new());
        for item in doc.map_range(ROOT, ..) {
            let Some((id, field)) = item.key.split_once(':').filter(|(id, _)| *id != "schema") else { continue };
            let node = tree.nodes.entry(id.to_owned()).or_default();
            let Some(value) = owned(&item.value) else { continue };
            match (field, as_text(&value)) {
                ("name", Some(name)) => node.name = cut(&line(name), LINE_CHARS_MAX).into_owned(),
                ("rank", Some(rank)) => node.rank = rank.to_owned(),
                ("del", _) => node.deleted_ms = value.as_i64(),
                ("parent", Some(parent)) => {
                    writes.push(ParentWrite {
                        node: id.to_owned(),
                        parent: parent.to_owned(),
                        order: order(&item.id()),
                    });
                }
                _ => {}
            }
        }
        tree.link(writes);
        tree.lift_from_deleted();
        tree
    }

    /// Applies the parent writes in their order, skipping what would close a cycle.
    fn link(&mut self, mut writes: Vec<ParentWrite>) {
        writes.sort_by(|a, b| a.order.cmp(&b.order));
        let mut tops = Tops::new(&self.nodes);
        for write in writes {
            let Some(linked) = tops.link(&write.node, &write.parent) else { continue };
            if let Some(node) = self.nodes.get_mut(&write.node) {
                node.recovered = !linked;
                node.parent = linked.then_some(write.parent);
            }
        }
    }

    /// Whether `id` is `ancestor` or stands below it.
    #[must_use]
    pub fn is_inside(&self, id: &str, ancestor: &str) -> bool {
        self.ancestry(id).any(|id| id == ancestor)
    }

    /// The node and everything above it; the tree holds no cycle.
    fn ancestry<'t>(&'t self, id: &'t str) -> impl Iterator<Item = &'t str> {
        std::iter::successors(Some(id), |id| self.nodes.get(*id)?.parent.as_deref())
    }

    /// What stood inside a removed notebook moves up to its nearest living ancestor.
    fn lift_from_deleted(&mut self) {
        let ids: Vec<String> = self.nodes.keys().cloned().collect();
        let place = |id: &String| ids.binary_search(id).ok();
        let mut above: Vec<Option<usize>> =
            self.nodes.values().map(|node| node.parent.as_ref().and_then(place)).collect();
        let deleted: Vec<bool> = self.nodes.values().map(|node| node.deleted_ms.is_some()).collect();
        for start in 0..ids.len() {
            let mut path = vec![start];
            let mut next = above[start];
            while let Some(removed) = next.filter(|next| deleted[*next]) {
                path.push(removed);
                next = above[removed];
            }
            path.into_iter().for_each(|passed| above[passed] = next);
        }
        for (node, above) in self.nodes.values_mut().zip(above) {
            node.parent = above.map(|above| ids[above].clone());
        }
    }

    /// Living notebooks directly inside `parent`, in order.
    #[must_use]
    pub fn children(&self, parent: Option<&str>) -> Vec<(&str, &Node)> {
        let inside =
            self.nodes.iter().filter(|(_, node)| node.deleted_ms.is_none() && node.parent.as_deref() == parent);
        let mut children: Vec<(&str, &Node)> = inside.map(|(id, node)| (id.as_str(), node)).collect();
        children.sort_by(|a, b| (&a.1.rank, a.0).cmp(&(&b.1.rank, b.0)));
        children
    }

    fn living(&self, id: &str) -> Result<&Node, DocumentError> {
        let node = self.nodes.get(id).filter(|node| node.deleted_ms.is_none());
        node.ok_or(DocumentError::InvalidEdit("there is no such notebook"))
    }

    /// A rank behind `after` among the children of `parent`; `None`: before all of them.
    fn rank_after(&self, parent: Option<&str>, after: Option<&str>, moving: &str) -> Result<String, DocumentError> {
        let siblings: Vec<(&str, &Node)> = self.children(parent).into_iter().filter(|(id, _)| *id != moving).collect();
        let Some(after) = after else {
            return Ok(rank::between(None, siblings.first().map(|(_, node)| node.rank.as_str())));
        };
        let place = siblings.iter().position(|(id, _)| *id == after);
        let place = place.ok_or(DocumentError::InvalidEdit("the notebook to stand behind is not there"))?;
        let lower = siblings[place].1.rank.as_str();
        // A tie leaves no room between its members: stand behind all of them.
        let upper = siblings[place..].iter().map(|(_, node)| node.rank.as_str()).find(|rank| *rank > lower);
        Ok(rank::between(Some(lower), upper))
    }
}

/// The forest while it is linked: for each notebook one that stands above it, the topmost for itself. Paths are
/// halved as they are walked, so a long chain from outside costs no quadratic time.
struct Tops {
    places: BTreeMap<String, usize>,
    above: Vec<usize>,
}

impl Tops {
    fn new(nodes: &BTreeMap<String, Node>) -> Self {
        let places: BTreeMap<String, usize> = nodes.keys().cloned().zip(0..).collect();
        Self { above: (0..places.len()).collect(), places }
    }

    /// Puts a notebook that has no parent yet under one; false if that would close a cycle, nothing for unknown
    /// notebooks.
    fn link(&mut self, node: &str, parent: &str) -> Option<bool> {
        let (node, parent) = (*self.places.get(node)?, *self.places.get(parent)?);
        if self.top(parent) == node {
            return Some(false);
        }
        self.above[node] = parent;
        Some(true)
    }

    fn top(&mut self, mut at: usize) -> usize {
        while self.above[at] != at {
            self.above[at] = self.above[self.above[at]];
            at = self.above[at];
        }
        at
    }
}

fn order(op: &ObjId) -> (u64, Vec<u8>) {
    match op {
        ObjId::Root => (0, Vec::new()),
        ObjId::Id(counter, actor, _) => (*counter, actor.to_bytes().to_vec()),
    }
}

fn key(id: &str, field: &str) -> String {
    format!("{id}:{field}")
}

/// Makes a notebook behind its siblings. `id`: 32 random hex characters.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] for an unknown parent or a taken id, [`DocumentError::InvalidValue`].
pub fn create(doc: &mut AutoCommit, id: &str, name: &str, parent: Option<&str>) -> Result<(), DocumentError> {
    let tree = Tree::read(doc);
    if tree.nodes.contains_key(id) || !crate::registry::is_id(id) {
        return Err(DocumentError::InvalidEdit("the notebook's id cannot be used"));
    }
    if let Some(parent) = parent {
        tree.living(parent)?;
    }
    let last = tree.children(parent).last().map(|(_, node)| node.rank.clone());
    put(doc, NOTE_TREE_GENESIS, &key(id, "name"), line(name))?;
    put(doc, NOTE_TREE_GENESIS, &key(id, "rank"), rank::between(last.as_deref(), None))?;
    match parent {
        Some(parent) => put(doc, NOTE_TREE_GENESIS, &key(id, "parent"), parent),
        None => Ok(()),
    }
}

/// Renames a notebook.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] when it is not there, [`DocumentError::InvalidValue`].
pub fn rename(doc: &mut AutoCommit, id: &str, name: &str) -> Result<(), DocumentError> {
    Tree::read(doc).living(id)?;
    put(doc, NOTE_TREE_GENESIS, &key(id, "name"), line(name))
}

/// Moves a notebook below `parent` (`None`: the top), behind `after` (`None`: before all its new siblings).
///
/// # Errors
/// [`DocumentError::InvalidEdit`] when one of them is not there, or the notebook would stand inside itself.
pub fn move_to(doc: &mut AutoCommit, id: &str, parent: Option<&str>, after: Option<&str>) -> Result<(), DocumentError> {
    let tree = Tree::read(doc);
    tree.living(id)?;
    if let Some(parent) = parent {
        tree.living(parent)?;
        if tree.is_inside(parent, id) {
            return Err(DocumentError::InvalidEdit("a notebook cannot stand inside itself"));
        }
    }
    let rank = tree.rank_after(parent, after, id)?;
    match parent {
        Some(parent) => put(doc, NOTE_TREE_GENESIS, &key(id, "parent"), parent)?,
        None => clear(doc, NOTE_TREE_GENESIS, &key(id, "parent"))?,
    }
    put(doc, NOTE_TREE_GENESIS, &key(id, "rank"), rank)
}

/// The notebooks that a change made.
pub fn made_by(doc: &mut AutoCommit, change: &ChangeHash) -> Vec<String> {
    let Some(before) = doc.get_change_meta_by_hash(change).map(|meta| meta.deps) else { return Vec::new() };
    let patches = doc.diff(&before, &[*change]);
    let names = patches.iter().filter_map(|patch| match &patch.action {
        PatchAction::PutMap { key, .. } => key.strip_suffix(":name"),
        _ => None,
    });
    let is_new = |id: &&str| matches!(doc.get_at(ROOT, key(id, "name"), &before), Ok(None));
    names.filter(is_new).map(str::to_owned).collect()
}

/// Removes a notebook (tombstone); what stands inside moves up.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] when it is not there.
pub fn delete(doc: &mut AutoCommit, id: &str, now_ms: i64) -> Result<(), DocumentError> {
    Tree::read(doc).living(id)?;
    put(doc, NOTE_TREE_GENESIS, &key(id, "del"), ScalarValue::Timestamp(now_ms))
}

/// Brings a removed notebook back.
///
/// # Errors
/// [`DocumentError::Refused`].
pub fn restore(doc: &mut AutoCommit, id: &str) -> Result<(), DocumentError> {
    clear(doc, NOTE_TREE_GENESIS, &key(id, "del"))
}

/// Rows of `notebook`.
#[must_use]
pub fn project(document: &Document) -> Vec<Row> {
    let rows = Tree::read(document.read()).nodes.into_iter().map(|(id, node)| Row {
        table: NOTEBOOK.name,
        key: id,
        values: vec![
            Value::Text(node.name),
            node.parent.into(),
            Value::Text(node.rank),
            node.deleted_ms.map_or(Value::Null, Value::Int),
            Value::Int(i64::from(node.recovered)),
        ],
    });
    rows.collect()
}
