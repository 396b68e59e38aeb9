//! Imports that were made, and taking one back: notes that it made go into the trash, notes that it changed are as before,
//! and what somebody changed since stays.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use automerge::ChangeHash;
use lifeos_sync_protocol::ids::DocId;

use super::{Client, ClientError, ImportBatch, ImportUndone, Progress, ProgressStep};
use crate::document::Document;
use crate::modules::notes::{note, tree, undo};
use crate::modules::register::is_set;
use crate::registry::{ATTACHMENT_GENESIS, NOTE_GENESIS, NOTE_TREE_GENESIS};
use crate::store::{NotesFilter, Step, Tx};

/// A commit ends after this time, so that a person's own edit gets in between.
const COMMIT_TIME: Duration = Duration::from_millis(50);
/// Notes that are named in a report.
const NAMED_MAX: usize = 1_000;

impl Client {
    /// The imports that this device remembers, newest first.
    /// # Errors
    /// [`ClientError`].
    pub fn imports(&self) -> Result<Vec<ImportBatch>, ClientError> {
        let mut batches = self.shared.reader().reads().imports(&self.space())?;
        batches.reverse();
        Ok(batches)
    }

    /// Takes an import back. Interrupted, it goes on where it was; the same files can be imported again afterwards.
    /// # Errors
    /// [`ClientError::NotFound`]; [`ClientError::Invalid`] for one that was taken back already.
    pub fn import_undo(&self, number: u32, progress: Progress<'_>) -> Result<ImportUndone, ClientError> {
        let (changes, mut batch, taken_back) = {
            let reader = self.shared.reader();
            let (reads, space) = (reader.reads(), self.space());
            let known = reads.imports(&space)?;
            let mut taken_back = HashSet::new();
            for other in known.iter().filter(|other| other.undone_ms.is_some()) {
                taken_back.extend(reads.import_changes(&space, other.number)?.into_iter().map(|(_, change)| change));
            }
            let batch = known.into_iter().find(|batch| batch.number == number);
            let batch = batch.ok_or_else(|| ClientError::not_found(format!("import {number}")))?;
            (reads.import_changes(&space, number)?, batch, taken_back)
        };
        if batch.undone_ms.is_some() {
            return Err(ClientError::invalid("this import was taken back already"));
        }
        let tree_doc = self.tree_doc();
        let mut order = Vec::new();
        let mut by_doc: HashMap<DocId, Vec<ChangeHash>> = HashMap::new();
        for (doc, change) in changes {
            by_doc
                .entry(doc)
                .or_insert_with(|| {
                    order.push(doc);
                    Vec::new()
                })
                .push(change);
        }
        let notebooks = by_doc.remove(&tree_doc).unwrap_or_default();
        order.retain(|doc| *doc != tree_doc);
        let mut report = ImportUndone { batch: number, ..ImportUndone::default() };
        let total = order.len() as u64;
        let mut rest = order.iter().skip(usize::try_from(batch.undone).unwrap_or(usize::MAX)).peekable();
        while rest.peek().is_some() {
            let started = Instant::now();
            self.write(|tx| {
                // What takes an import back is part of it: whoever takes an earlier one back looks past both.
                tx.step(Step::Import(number));
                for doc in rest.by_ref() {
                    let changes = by_doc.get(doc).map(Vec::as_slice).unwrap_or_default();
                    take_back(tx, doc, (changes, &taken_back), &mut report)?;
                    batch.undone += 1;
                    if started.elapsed() > COMMIT_TIME {
                        break;
                    }
                }
                Ok::<_, ClientError>(tx.put_import(&batch)?)
            })?;
            progress(ProgressStep { phase: "undo", done: batch.undone, total });
        }
        for change in notebooks.iter().rev() {
            report.notebooks += self.remove_empty(&tree_doc, change)?;
        }
        batch.undone_ms = Some(crate::engine::wall_ms());
        self.write(|tx| {
            tx.step(Step::None);
            Ok(tx.put_import(&batch)?)
        })?;
        Ok(report)
    }

    /// Removes the notebooks that a change made and that hold nothing.
    fn remove_empty(&self, tree_doc: &DocId, change: &ChangeHash) -> Result<u64, ClientError> {
        let made = self.shared.store().read(&self.space(), tree_doc, |document| {
            let (mut doc, tree) = (document.read().clone(), tree::Tree::read(document.read()));
            let mut made = tree::made_by(&mut doc, change);
            made.retain(|id| tree.nodes.get(id).is_some_and(|node| node.deleted_ms.is_none()));
            made.retain(|id| tree.children(Some(id)).is_empty());
            made
        })?;
        let mut removed = 0;
        for id in made.unwrap_or_default() {
            let within = NotesFilter { notebook: Some(&id), limit: 1, ..NotesFilter::default() };
            if self.shared.reader().reads().notes(&self.space(), &within)?.is_empty() {
                let now_ms = crate::engine::wall_ms();
                self.edit(tree_doc, NOTE_TREE_GENESIS, Step::None, |doc| Ok(tree::delete(doc, &id, now_ms)?))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Takes the changes of one document back, newest first, if nobody changed it since.
fn take_back(
    tx: &mut Tx<'_>,
    doc: &DocId,
    (changes, taken_back): (&[ChangeHash], &HashSet<ChangeHash>),
    report: &mut ImportUndone,
) -> Result<(), ClientError> {
    let now_ms = tx.now_ms();
    // What was erased since is gone, and what a content is made of is nobody's edit.
    let changed = |document: &Document| match changes.last() {
        Some(last) if document.heads() == [*last] => false,
        Some(last) => {
            let mut doc = document.read().clone();
            let since = doc.get_changes_meta(&[*last]);
            since.iter().any(|change| !taken_back.contains(&change.hash))
        }
        None => true,
    };
    let Some((genesis, is_changed)) = tx.read(doc, |document| (document.genesis(), changed(document)))? else {
        return Ok(());
    };
    if genesis == ATTACHMENT_GENESIS {
        return Ok(());
    }
    if is_changed {
        if report.kept.len() < NAMED_MAX {
            report.kept.push(doc.to_string());
        }
        return Ok(());
    }
    for change in changes.iter().rev() {
        tx.edit(doc, genesis, |inner| undo::apply_undo(inner, genesis, change, now_ms).map_err(ClientError::from))?;
    }
    if genesis == NOTE_GENESIS {
        tx.edit(doc, genesis, |inner| {
            if is_set(inner, "del") { note::forget_source(inner).map_err(ClientError::from) } else { Ok(()) }
        })?;
    }
    report.undone += 1;
    Ok(())
}
