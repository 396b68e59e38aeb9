//! Applying what a page brings: grouped by document, one fenced batch each, stored in portions so that memory
//! does not grow with the page.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use lifeos_sync_protocol::ids::{DocId, EnvelopeId, StreamId};
use rusqlite::Connection;

use super::Receiver;
use crate::delta::DocDelta;
use crate::document::{Document, GenesisId};
use crate::fence::{self, APPLY_TIMEOUT, Applied, CheckedDelta, FenceError, Guarded, Job, WaitingChange};
use crate::projection;
use crate::store::documents::Detached;
use crate::store::{Reads, StoreError};

/// Bytes of changes opened before they are applied: a page may inflate to far more than it weighs.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Documents loaded at once.
const PORTION_DOCUMENTS_MAX: usize = 128;
/// Bytes of changes applied at once.
const PORTION_BYTES_MAX: usize = 1024 * 1024;

/// Checked changes by document.
#[derive(Default)]
pub(super) struct Batch {
    docs: BTreeMap<DocId, Vec<CheckedDelta>>,
    bytes: usize,
}

impl Batch {
    pub(super) fn add(&mut self, deltas: Vec<CheckedDelta>) {
        for delta in deltas {
            self.bytes += bytes_of(&delta);
            self.docs.entry(delta.doc).or_default().push(delta);
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.bytes > BATCH_BYTES_MAX
    }
}

fn bytes_of(delta: &CheckedDelta) -> usize {
    delta.changes.iter().map(|checked| checked.change.raw_bytes().len()).sum()
}

impl Receiver<'_> {
    pub(super) fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        let (mut portion, mut bytes) = (Vec::new(), 0);
        for (doc, deltas) in batch.docs {
            bytes += deltas.iter().map(bytes_of).sum::<usize>();
            portion.push((doc, deltas));
            if portion.len() >= PORTION_DOCUMENTS_MAX || bytes >= PORTION_BYTES_MAX {
                self.apply_portion(std::mem::take(&mut portion))?;
                bytes = 0;
            }
        }
        self.apply_portion(portion)
    }

    fn apply_portion(&mut self, portion: Vec<(DocId, Vec<CheckedDelta>)>) -> Result<(), StoreError> {
        let (mut jobs, mut entries) = (Vec::new(), Vec::new());
        for (doc, mut deltas) in portion {
            let Some(genesis) = deltas.first().map(|delta| delta.genesis) else { continue };
            let (entry, document) = self.documents.take_out(&doc, genesis)?;
            deltas.extend(self.take_waiting(&doc)?);
            jobs.push(Job { document, deltas });
            entries.push(entry);
        }
        if jobs.is_empty() {
            return Ok(());
        }
        for (entry, answer) in entries.into_iter().zip(fence::apply_guarded(jobs, APPLY_TIMEOUT)) {
            match answer {
                Guarded::Done { document, applied } => self.take_in(entry, document, applied)?,
                Guarded::Timeout { envelopes, .. } => self.refuse_all(envelopes, FenceError::Timeout)?,
            }
        }
        self.documents.store()?;
        self.report.changed.extend(self.documents.changed());
        self.documents.put_down();
        Ok(())
    }

    fn take_in(&mut self, entry: Detached, document: Document, applied: Applied) -> Result<(), StoreError> {
        for (envelope, refused) in &applied.refused {
            self.quarantine_known(*envelope, &refused.to_string())?;
        }
        let doc = document.id();
        self.put_waiting(&doc, document.genesis(), &applied.waiting)?;
        if !applied.changed() {
            self.documents.put_back(entry, document);
            return Ok(());
        }
        // What was applied is sound for Automerge; that it can also be read must not be learned by a crash.
        match catch_unwind(AssertUnwindSafe(|| projection::project_with_search(&document))) {
            Ok(projected) => {
                let changes = applied.applied.into_iter().map(|change| change.bytes).collect();
                self.documents.put_changed(entry, document, projected, changes);
                Ok(())
            }
            Err(_) => {
                let envelopes: BTreeSet<EnvelopeId> = applied.applied.iter().map(|change| change.envelope).collect();
                self.refuse_all(envelopes, FenceError::Panic)
            }
        }
    }

    fn refuse_all(
        &mut self,
        envelopes: impl IntoIterator<Item = EnvelopeId>,
        error: FenceError,
    ) -> Result<(), StoreError> {
        envelopes.into_iter().try_for_each(|envelope| self.quarantine_known(envelope, &error.to_string()))
    }

    /// Changes of a document that waited for others: they are tried again with whatever has come.
    fn take_waiting(&self, doc: &DocId) -> Result<Vec<CheckedDelta>, StoreError> {
        let (conn, space) = (self.context.conn, self.context.row);
        let found = waiting(conn, space, doc)?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let mut delete = conn.prepare_cached("DELETE FROM waiting WHERE space = ?1 AND doc = ?2")?;
        delete.execute((space, doc.as_ref()))?;
        let check = |waiting: Waiting| {
            let delta = DocDelta { doc: *doc, changes: vec![waiting.bytes], genesis: waiting.genesis };
            fence::check_document(waiting.envelope, waiting.stream, &delta).ok()
        };
        Ok(found.into_iter().filter_map(check).collect())
    }

    fn put_waiting(&self, doc: &DocId, genesis: GenesisId, changes: &[WaitingChange]) -> Result<(), StoreError> {
        let sql = "INSERT OR IGNORE INTO waiting(space, doc, genesis, stream, envelope, hash, bytes)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let mut insert = self.context.conn.prepare_cached(sql)?;
        for change in changes {
            insert.execute((
                self.context.row,
                doc.as_ref(),
                genesis.0,
                change.stream.as_ref(),
                change.envelope.as_ref(),
                change.hash.0,
                &change.bytes,
            ))?;
        }
        Ok(())
    }
}

/// A change that waits.
struct Waiting {
    genesis: GenesisId,
    stream: StreamId,
    envelope: EnvelopeId,
    bytes: Vec<u8>,
}

fn waiting(conn: &Connection, space: i64, doc: &DocId) -> Result<Vec<Waiting>, StoreError> {
    let sql = "SELECT genesis, stream, envelope, bytes FROM waiting WHERE space = ?1 AND doc = ?2 ORDER BY id";
    Reads { conn }.all(sql, (space, doc.as_ref()), |row| {
        Ok(Waiting {
            genesis: GenesisId(row.get(0)?),
            stream: StreamId(row.get(1)?),
            envelope: EnvelopeId(row.get(2)?),
            bytes: row.get(3)?,
        })
    })
}
