//! Making documents anew from the envelopes that count and this device's unsent changes: the way back from an
//! envelope that was taken in and turns out not to count.
//!
//! An unsent change that was built upon what does not count is made again together with it.
//!
//! Where a checkpoint stands for envelopes that are gone, what they said is in the document alone: then everything in it
//! stays but what is taken back, and what was built upon that.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{ActorId, Change, ChangeHash};
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, StreamId};

use super::Receiver;
use super::accept::{hash_of, pending_changes, stored};
use super::packed::by_author;
use crate::delta::DocDelta;
use crate::document::{Document, GenesisId, make_again};
use crate::fence::{self, CheckedDelta, Guarded, Job};
use crate::store::documents::DocRow;
use crate::store::erase::{ERASED, NOT_ENTITLED};
use crate::store::{Reads, StoreError};

/// Documents made anew at once: each is held with its whole history.
const DOCUMENTS_AT_ONCE: usize = 64;

/// Unsent changes that take the place of those stored, by document.
pub(super) type Unsent = BTreeMap<DocId, Vec<Vec<u8>>>;

impl Receiver<'_> {
    /// Makes `docs` anew. A document that cannot be made anew with every unsent change stays as it is: what a
    /// person wrote here is never lost to this.
    pub(super) fn rebuild(&mut self, docs: &BTreeSet<DocId>, unsent: &Unsent) -> Result<(), StoreError> {
        let all: Vec<DocId> = docs.iter().copied().collect();
        for portion in all.chunks(DOCUMENTS_AT_ONCE) {
            self.rebuild_portion(&portion.iter().copied().collect(), unsent)?;
        }
        // The steps name changes that may be gone.
        self.context.conn.execute("DELETE FROM undo WHERE space = ?1", [self.context.row])?;
        Ok(())
    }

    fn rebuild_portion(&mut self, docs: &BTreeSet<DocId>, unsent: &Unsent) -> Result<(), StoreError> {
        let mut contents = self.contents(docs)?;
        for doc in docs {
            let deltas = contents.remove(doc).unwrap_or_default();
            let Some(row) = DocRow::find(self.context.conn, self.context.row, doc)? else {
                if !self.erased.contains(doc) {
                    self.apply_to(doc, deltas)?;
                }
                continue;
            };
            let pending = match unsent.get(doc) {
                Some(made) => made.clone(),
                None => pending_changes(self.context.conn, row.id)?,
            };
            self.rebuild_document(doc, row.genesis, deltas, pending)?;
        }
        self.documents.store()?;
        self.report.changed.extend(self.documents.changed());
        self.documents.put_down(false);
        Ok(())
    }

    /// What the envelopes that count say of these documents.
    fn contents(&self, docs: &BTreeSet<DocId>) -> Result<BTreeMap<DocId, Vec<CheckedDelta>>, StoreError> {
        let context = &self.context;
        // Of an envelope with a late edit of an erased document, or an erasure that does not count, the rest does.
        let sql = "SELECT envelope FROM quarantine WHERE space = ?1 AND bytes IS NULL AND reason NOT IN (?2, ?3)";
        let of = (context.row, ERASED, NOT_ENTITLED);
        let aside = Reads { conn: context.conn }.all(sql, of, |row| Ok(EnvelopeId(row.get(0)?)))?;
        let aside: HashSet<EnvelopeId> = aside.into_iter().collect();
        let mut found: BTreeMap<DocId, Vec<CheckedDelta>> = BTreeMap::new();
        for known in stored(context.conn, context.row)? {
            for seq in known.floor + 1..=known.end(known.limit) {
                let Some(mut opened) = context.open_at(&known, seq)? else { continue };
                opened.delta.docs.retain(|doc| docs.contains(&doc.doc));
                if aside.contains(&opened.id) || opened.delta.docs.is_empty() {
                    continue;
                }
                for delta in fence::check(&opened).into_iter().flatten() {
                    found.entry(delta.doc).or_default().push(delta);
                }
            }
        }
        Ok(found)
    }

    /// What the document holds itself, without what is taken back or made again; nothing while every envelope is here.
    fn kept(
        &mut self,
        doc: &DocId,
        genesis: GenesisId,
        unsent: &[ChangeHash],
    ) -> Result<Vec<CheckedDelta>, StoreError> {
        let streams = stored(self.context.conn, self.context.row)?;
        let Some(row) = DocRow::find(self.context.conn, self.context.row, doc)? else { return Ok(Vec::new()) };
        if streams.iter().all(|known| known.floor == 0) {
            return Ok(Vec::new());
        }
        let gone: HashSet<ChangeHash> = pending_changes(self.context.conn, row.id)?
            .iter()
            .filter_map(|bytes| hash_of(bytes))
            .chain(self.undone.iter().copied())
            .map(ChangeHash)
            .filter(|hash| !unsent.contains(hash))
            .collect();
        let portions = by_author(row.load(self.context.conn, StreamId::ZERO)?, |hash| !gone.contains(hash));
        let check = |(stream, changes)| {
            let delta = DocDelta { doc: *doc, changes, genesis };
            fence::check_document(EnvelopeId::ZERO, stream, &delta).ok()
        };
        Ok(portions.into_iter().filter_map(check).collect())
    }

    fn rebuild_document(
        &mut self,
        doc: &DocId,
        genesis: GenesisId,
        mut deltas: Vec<CheckedDelta>,
        pending: Vec<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let actor = self.documents.space.stream;
        let own = DocDelta { doc: *doc, changes: pending.clone(), genesis };
        let Ok(own) = fence::check_document(EnvelopeId::ZERO, actor, &own) else { return Ok(()) };
        let unsent: Vec<ChangeHash> = own.changes.iter().map(|checked| checked.change.hash()).collect();
        deltas.push(own);
        deltas.extend(self.kept(doc, genesis, &unsent)?);
        let job = Job { document: Document::new(*doc, genesis, actor)?, deltas };
        let Guarded::Done { mut document, applied } = (self.steps.apply)(job) else { return Ok(()) };
        if !unsent.iter().all(|hash| document.inspect().get_change_meta_by_hash(hash).is_some()) {
            let Some(made) = self.made_again_with_what_is_gone(doc, &pending)? else { return Ok(()) };
            let deltas = self.contents(&[*doc].into())?.remove(doc).unwrap_or_default();
            return self.rebuild_document(doc, genesis, deltas, made);
        }
        let project = self.steps.project;
        let Ok(projected) = catch_unwind(AssertUnwindSafe(|| project(&document))) else { return Ok(()) };
        self.forget_waiting(doc)?;
        self.put_waiting(doc, genesis, &applied.waiting)?;
        let (detached, _) = self.documents.take_out(doc, genesis)?;
        self.documents.put_rebuilt(detached, document, projected, pending);
        Ok(())
    }

    /// Unsent changes that were built upon something that is gone for everybody (the branch of a stream that does not
    /// count), made again together with that: what a person wrote here would wait for it at all others for ever.
    /// `None`: there is nothing of that kind, or its operations would take the numbers of others.
    fn made_again_with_what_is_gone(
        &self,
        doc: &DocId,
        pending: &[Vec<u8>],
    ) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        let actor = self.documents.space.stream;
        let Some(row) = DocRow::find(self.context.conn, self.context.row, doc)? else { return Ok(None) };
        let mut document = row.load(self.context.conn, actor)?;
        let unsent: Vec<Change> = pending.iter().filter_map(|bytes| Change::from_bytes(bytes.clone()).ok()).collect();
        let mut wanted: HashSet<ChangeHash> = HashSet::new();
        let mut open: Vec<ChangeHash> = unsent.iter().flat_map(|change| change.deps().to_vec()).collect();
        while let Some(hash) = open.pop() {
            if self.undone.contains(&hash.0) && wanted.insert(hash) {
                let change = document.inspect().get_change_by_hash(&hash);
                open.extend(change.iter().flat_map(|change| change.deps().to_vec()));
            }
        }
        let Some(first_seq) = unsent.first().map(Change::seq).filter(|_| !wanted.is_empty()) else { return Ok(None) };
        // Their operations keep their counters, so each must lie behind what this device has made there before.
        let own = ActorId::from(actor.as_bytes().as_slice());
        let (mut again, mut last_op) = (Vec::new(), 0);
        for change in document.inspect().get_changes(&[]) {
            let is_own = *change.actor_id() == own;
            if is_own && change.seq() < first_seq {
                last_op = last_op.max(change.max_op());
            } else if is_own || wanted.contains(&change.hash()) {
                again.push(change);
            }
        }
        for change in &again {
            if change.start_op().get() <= last_op {
                return Ok(None);
            }
            last_op = change.max_op();
        }
        let again: Vec<Vec<u8>> = again.iter().map(|change| change.raw_bytes().to_vec()).collect();
        let made = make_again(&again, actor, first_seq)?;
        Ok(Some(made.into_iter().map(|change| change.bytes).collect()))
    }
}
