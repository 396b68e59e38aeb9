//! Applying what a page brings: grouped by document, one fenced batch each, one document at a time so that memory
//! does not grow with the page.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use lifeos_sync_protocol::ids::{DocId, EnvelopeId, StreamId};
use rusqlite::Connection;

use super::{Origin, Receiver};
use crate::delta::DocDelta;
use crate::document::{Document, GenesisId, LocalChange};
use crate::fence::{self, APPLY_TIMEOUT, Applied, CheckedDelta, CheckedNote, FenceError, Guarded, Job, WaitingChange};
use crate::metrics::Work;
use crate::projection::{self, Row, SearchText};
use crate::store::documents::{Detached, Unbuilt};
use crate::store::{Reads, StoreError, Timed};

/// Bytes of changes opened before they are applied: a page may inflate to far more than it weighs, and a small change
/// takes five times its bytes once it is parsed.
const BATCH_BYTES_MAX: usize = 128 * 1024;
/// Operations opened before they are applied: run-length encoding makes a million of them out of a few bytes, and
/// each takes some hundred once it is applied.
const BATCH_OPS_MAX: usize = 1 << 20;
/// A batch of more documents is somebody's catching up: its documents are not kept loaded, for nobody looks at them,
/// and they are indexed at once, which is cheaper than loading them again later.
const KEPT_DOCUMENTS_MAX: usize = 8;

/// Why news of a document waits that is damaged here; [`super::retry`] tries it again.
pub(in crate::store) const DAMAGED: &str =
    "its document is damaged on this device: run `lifeos doctor`, and restore a backup or link this device again";

/// The two steps that a hostile change may make hang or panic.
#[derive(Clone, Copy)]
pub(in crate::store) struct Steps {
    /// Applies a job, or gives it up when it takes too long.
    pub(in crate::store) apply: fn(Job) -> Guarded,
    /// Reads rows and search text; may panic.
    pub(in crate::store) project: fn(&Document) -> (Vec<Row>, Option<SearchText>),
}

impl Default for Steps {
    fn default() -> Self {
        Self { apply: |job| fence::apply_guarded(job, APPLY_TIMEOUT), project: projection::project_with_search }
    }
}

/// Checked changes by document.
#[derive(Default)]
pub(super) struct Batch {
    docs: BTreeMap<DocId, Vec<CheckedDelta>>,
    bytes: usize,
    ops: usize,
}

impl Batch {
    pub(super) fn add(&mut self, delta: CheckedDelta) {
        self.bytes += bytes_of(&delta);
        self.ops += ops_of(&delta);
        self.docs.entry(delta.doc).or_default().push(delta);
    }

    pub(super) const fn is_full(&self) -> bool {
        self.bytes > BATCH_BYTES_MAX || self.ops > BATCH_OPS_MAX
    }
}

fn bytes_of(delta: &CheckedDelta) -> usize {
    delta.changes.iter().map(|checked| checked.change.raw_bytes().len()).sum()
}

fn ops_of(delta: &CheckedDelta) -> usize {
    delta.changes.iter().map(|checked| checked.change.len()).sum()
}

impl Receiver<'_> {
    pub(super) fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.many = batch.docs.len() > KEPT_DOCUMENTS_MAX;
        batch.docs.into_iter().try_for_each(|(doc, deltas)| self.apply_to(&doc, deltas))
    }

    /// Stores a whole new note as it is, without building its document; if anything is known of the document, its
    /// change is applied like any other.
    pub(super) fn take_whole(
        &mut self,
        envelope: EnvelopeId,
        note: CheckedNote,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let CheckedNote { doc, read, delta } = note;
        let unknown = !batch.docs.contains_key(&doc)
            && self.documents.is_new(&doc)?
            && waiting(self.context.conn, self.context.row, &doc)?.is_empty();
        if !unknown {
            return match fence::check_document(envelope, read.actor, &delta) {
                Ok(delta) => {
                    batch.add(delta);
                    Ok(())
                }
                Err(refused) => self.quarantine_known(envelope, &refused.to_string()),
            };
        }
        let project = || {
            let _timed = Timed::begin(self.context.metrics, Work::Project);
            projection::project_whole_note(&read.note, read.time_ms)
        };
        let Ok(projected) = catch_unwind(AssertUnwindSafe(project)) else {
            return self.quarantine_known(envelope, &FenceError::Panic.to_string());
        };
        let Some(bytes) = delta.changes.into_iter().next() else { return Ok(()) };
        let (genesis, change) = (delta.genesis, LocalChange { hash: read.hash, bytes });
        self.documents.store_unbuilt(Unbuilt {
            doc,
            genesis,
            change,
            pending: false,
            projected,
            index_at_once: true,
        })?;
        self.report.changed.push(doc);
        Ok(())
    }

    /// A note of 2 KB takes some 200 KB while it is copied, applied to, saved and loaded; then it is put down.
    pub(super) fn apply_to(&mut self, doc: &DocId, mut deltas: Vec<CheckedDelta>) -> Result<(), StoreError> {
        let Some(genesis) = deltas.first().map(|delta| delta.genesis) else { return Ok(()) };
        let Some((entry, document)) = self.take_out(doc, genesis, &deltas)? else { return Ok(()) };
        deltas.extend(self.take_waiting(doc)?);
        let job = Job { document, deltas: deltas.clone() };
        let failed = self.take_answer(entry, self.apply_timed(job))?.err();
        self.store_applied()?;
        match (failed, deltas.as_slice()) {
            (None, _) => Ok(()),
            (Some(error), [culprit]) => self.refuse(culprit, &error.to_string()),
            (Some(_), _) => self.apply_one_by_one(deltas),
        }
    }

    fn apply_timed(&self, job: Job) -> Guarded {
        let _timed = Timed::begin(self.context.metrics, Work::Apply);
        (self.steps.apply)(job)
    }

    /// Takes a document out; `None` when what is stored of it is damaged. Then its news is set aside until it is
    /// whole again, and everything else goes on.
    fn take_out(
        &mut self,
        doc: &DocId,
        genesis: GenesisId,
        deltas: &[CheckedDelta],
    ) -> Result<Option<(Detached, Document)>, StoreError> {
        match self.documents.take_out(doc, genesis) {
            Ok(taken) => Ok(Some(taken)),
            Err(error) if error.is_damaged_document() => {
                for delta in deltas {
                    self.refuse(delta, DAMAGED)?;
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn store_applied(&mut self) -> Result<(), StoreError> {
        self.documents.store_indexed(self.many)?;
        self.report.changed.extend(self.documents.changed());
        self.documents.put_down(!self.many);
        Ok(())
    }

    /// Takes an answer in, whole or not at all: then the document is as it was, and the changes are to be tried
    /// one by one. Tells whether any went in.
    fn take_answer(
        &mut self,
        entry: Detached,
        answer: Guarded,
    ) -> Result<Result<(bool, Vec<WaitingChange>), FenceError>, StoreError> {
        let Guarded::Done { document, applied } = answer else { return Ok(Err(FenceError::Timeout)) };
        let (project, metrics) = (self.steps.project, self.context.metrics);
        // What was applied is sound for Automerge; that it can also be read must not be learned by a crash.
        let project = || {
            let _timed = Timed::begin(metrics, Work::Project);
            project(&document)
        };
        let projected = match applied.changed().then(|| catch_unwind(AssertUnwindSafe(project))) {
            Some(Err(_)) => return Ok(Err(FenceError::Panic)),
            projected => projected.and_then(Result::ok),
        };
        let Applied { applied, waiting, refused } = applied;
        for (envelope, error) in &refused {
            self.quarantine_known(*envelope, &error.to_string())?;
        }
        self.put_waiting(&document.id(), document.genesis(), &waiting)?;
        let changed = projected.is_some();
        match projected {
            Some(projected) => {
                let changes = applied.into_iter().map(|change| change.bytes).collect();
                self.documents.put_changed(entry, document, projected, changes);
            }
            None => self.documents.put_back(entry, document),
        }
        Ok(Ok((changed, waiting)))
    }

    /// Applies what failed together envelope by envelope, as long as there is progress, so that only the culprit
    /// is set aside. A stream with a culprit is tried no further: its later changes depend on that one, and each
    /// try may cost the whole time limit.
    fn apply_one_by_one(&mut self, mut deltas: Vec<CheckedDelta>) -> Result<(), StoreError> {
        let mut culprits: BTreeMap<StreamId, FenceError> = BTreeMap::new();
        loop {
            let (mut progress, mut rest) = (false, Vec::new());
            for delta in deltas {
                if let Some(error) = culprits.get(&delta.stream) {
                    self.refuse(&delta, &error.to_string())?;
                    continue;
                }
                let Some((entry, document)) = self.take_out(&delta.doc, delta.genesis, &[])? else { return Ok(()) };
                let job = Job { document, deltas: vec![delta.clone()] };
                match self.take_answer(entry, self.apply_timed(job))? {
                    Ok((changed, waiting)) => {
                        progress |= changed;
                        if !waiting.is_empty() {
                            rest.push(delta);
                        }
                    }
                    Err(error) => {
                        self.refuse(&delta, &error.to_string())?;
                        culprits.insert(delta.stream, error);
                    }
                }
                self.store_applied()?;
            }
            if rest.is_empty() || !progress {
                return Ok(());
            }
            for delta in &rest {
                self.forget_waiting(&delta.doc)?;
            }
            deltas = rest;
        }
    }

    fn refuse(&mut self, delta: &CheckedDelta, reason: &str) -> Result<(), StoreError> {
        let Some(envelope) = delta.changes.first().map(|change| change.envelope) else { return Ok(()) };
        // One whose change had waited came with an earlier page.
        let earlier = Origin { stream: delta.stream, seq: 0, author: None };
        self.origins.entry(envelope).or_insert(earlier);
        self.quarantine_known(envelope, reason)
    }

    /// Changes of a document that waited for others: they are tried again with whatever has come.
    pub(super) fn take_waiting(&self, doc: &DocId) -> Result<Vec<CheckedDelta>, StoreError> {
        let (conn, space) = (self.context.conn, self.context.row);
        let found = waiting(conn, space, doc)?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        self.forget_waiting(doc)?;
        let check = |waiting: Waiting| {
            let delta = DocDelta { doc: *doc, changes: vec![waiting.bytes], genesis: waiting.genesis };
            fence::check_document(waiting.envelope, waiting.stream, &delta).ok()
        };
        Ok(found.into_iter().filter_map(check).collect())
    }

    pub(super) fn forget_waiting(&self, doc: &DocId) -> Result<(), StoreError> {
        let mut delete = self.context.conn.prepare_cached("DELETE FROM waiting WHERE space = ?1 AND doc = ?2")?;
        delete.execute((self.context.row, doc.as_ref()))?;
        Ok(())
    }

    pub(super) fn put_waiting(
        &self,
        doc: &DocId,
        genesis: GenesisId,
        changes: &[WaitingChange],
    ) -> Result<(), StoreError> {
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
