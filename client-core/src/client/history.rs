//! Versions of a note, and taking back one's own edits.

use std::collections::BTreeMap;

use automerge::ChangeHash;
use lifeos_sync_protocol::ids::{SignPk, StreamId};

use super::{Client, ClientError, Version};
use crate::document::Document;
use crate::modules::notes::{history, undo};
use crate::registry::NOTE_GENESIS;
use crate::store::{Step, UndoStep};

/// Versions when no number is asked for.
const VERSIONS: u32 = 50;

impl Client {
    /// Versions, newest first; consecutive changes of one device within five minutes are one version.
    /// # Errors
    /// [`ClientError`].
    pub fn note_history(&self, id: &str, limit: u32, offset: u32) -> Result<Vec<Version>, ClientError> {
        let doc = self.note_id(id)?;
        let limit = if limit == 0 { VERSIONS } else { limit };
        let versions = self
            .shared
            .store()
            .read(&self.space(), &doc, |document| history::page(document, limit as usize, offset as usize))?
            .unwrap_or_default();
        let (devices, names) = (self.devices_by_stream()?, self.names()?);
        let state = self.shared.state();
        let described = versions.into_iter().map(|version| {
            let device = devices.get(&version.actor);
            let member = device.and_then(|device| state.membership.devices.get(device)).map(|device| device.member);
            Version {
                version: version.hash.to_string(),
                time_ms: version.time_ms,
                device: device.map(|device| names.device(device)).unwrap_or_default(),
                person: member.map(|member| names.member(&member)).unwrap_or_default(),
                summary: version.summary,
            }
        });
        Ok(described.collect())
    }

    fn devices_by_stream(&self) -> Result<BTreeMap<StreamId, SignPk>, ClientError> {
        let streams = self.shared.reader().reads().streams(&self.space())?;
        Ok(streams.into_iter().map(|row| (row.stream, row.device)).collect())
    }

    /// The note's Markdown as it was.
    /// # Errors
    /// [`ClientError`].
    pub fn note_at(&self, id: &str, version: &str) -> Result<String, ClientError> {
        let doc = self.note_id(id)?;
        let read = self.shared.store().read(&self.space(), &doc, |document| {
            history::markdown_at(document, &version_hash(document, version)?).map_err(ClientError::from)
        })?;
        read.unwrap_or_else(|| Err(ClientError::not_found("note")))
    }

    /// Makes the note what it was, as a new change.
    /// # Errors
    /// [`ClientError`].
    pub fn note_restore(&self, id: &str, version: &str) -> Result<(), ClientError> {
        let doc = self.note_id(id)?;
        self.write(|tx| {
            let hash = tx.read(&doc, |document| version_hash(document, version))?;
            let hash = hash.unwrap_or_else(|| Err(ClientError::not_found("note")))?;
            tx.edit(&doc, NOTE_GENESIS, |doc| Ok(history::restore_version(doc, &hash)?))
        })
    }

    /// Undoes this person's newest edit (on this device) that is not undone yet; false: nothing to undo.
    /// # Errors
    /// [`ClientError`].
    pub fn undo(&self) -> Result<bool, ClientError> {
        let top = self.shared.store().reads().undo_top(&self.space())?;
        self.take_back(top, Step::Undo)
    }

    /// Redoes what was undone last; false: nothing to redo.
    /// # Errors
    /// [`ClientError`].
    pub fn redo(&self) -> Result<bool, ClientError> {
        let top = self.shared.store().reads().redo_top(&self.space())?;
        self.take_back(top, Step::Redo)
    }

    /// Writes the inverse of a step, newest change first.
    fn take_back(&self, step: Option<UndoStep>, kind: impl FnOnce(i64) -> Step) -> Result<bool, ClientError> {
        let Some(step) = step else { return Ok(false) };
        self.write(|tx| {
            tx.step(kind(step.id));
            let now_ms = tx.now_ms();
            for (doc, change) in step.changes.iter().rev() {
                let genesis = tx.read(doc, Document::genesis)?.ok_or_else(|| ClientError::not_found("document"))?;
                tx.edit(doc, genesis, |inner| {
                    undo::apply_undo(inner, genesis, change, now_ms).map_err(ClientError::from)
                })?;
            }
            Ok(true)
        })
    }
}

/// The change that a full hash or a prefix of at least 6 characters names.
fn version_hash(document: &Document, version: &str) -> Result<ChangeHash, ClientError> {
    let prefix = version.trim().to_ascii_lowercase();
    if prefix.len() < 6 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ClientError::invalid("a version is named by at least the first 6 characters of its id"));
    }
    let mut doc = document.read().clone();
    let hashes = doc.get_changes_meta(&[]).into_iter().map(|change| change.hash);
    let found: Vec<ChangeHash> = hashes.filter(|hash| hash.to_string().starts_with(&prefix)).collect();
    match found.as_slice() {
        [hash] => Ok(*hash),
        [] => Err(ClientError::not_found("such version of the note")),
        _ => Err(ClientError::invalid("more than one version begins with this; give more of its characters")),
    }
}
