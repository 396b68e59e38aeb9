//! Erasures that others tell of: what is said of a document that was erased counts no more, and it goes here, too.
//!
//! Whether an author may erase a document depends on the records and on what is held of it. So an erasure that seems to
//! be none of its author's to make is asked about again when one of the two has changed; nothing else waits for it.

use std::collections::{BTreeSet, HashSet};

use lifeos_sync_protocol::ids::{DocId, EnvelopeId, EpochRef, SignPk, StreamId};

use super::accept::{Stored, stored};
use super::{Origin, Receiver};
use crate::delta::{Delta, ErasedDoc};
use crate::registry::NOTE_GENESIS;
use crate::store::erase::{self, Effect, NOT_ENTITLED, may_erase};
use crate::store::{StoreError, quarantine, seal};

/// Erasures asked about again with one page.
const ASKED_AGAIN_MAX: u32 = 256;

/// Whose erasures they are, and where they were said.
#[derive(Clone, Copy)]
pub(super) struct Said {
    pub(super) id: EnvelopeId,
    pub(super) epoch: EpochRef,
    pub(super) author: SignPk,
    pub(super) stream: StreamId,
    pub(super) position: i64,
}

impl Receiver<'_> {
    /// Leaves out what is said of documents that were erased; tells whether there was anything.
    pub(super) fn leave_out_erased(&self, delta: &mut Delta) -> bool {
        let before = delta.docs.len();
        delta.docs.retain(|doc| doc.genesis != NOTE_GENESIS || !self.erased.contains(&doc.doc));
        delta.docs.len() < before
    }

    /// Forgets what an envelope erases, as far as its author may; else the envelope is listed as set aside.
    pub(super) fn take_erasures(&mut self, said: Said, erased: &[ErasedDoc]) -> Result<(), StoreError> {
        let mut is_refused = false;
        for erased in erased {
            is_refused |= !self.take_erasure(said, erased)?;
        }
        if is_refused { self.quarantine_known(said.id, NOT_ENTITLED) } else { Ok(()) }
    }

    /// False: its author may not, as far as can be told now. What is erased here already stays as it was said first.
    fn take_erasure(&mut self, said: Said, erased: &ErasedDoc) -> Result<bool, StoreError> {
        let (conn, space, row) = (self.context.conn, self.context.space, self.context.row);
        let ErasedDoc { doc, heads, successor } = erased;
        if self.erased.contains(doc) {
            return Ok(true);
        }
        let author = (&said.author, &said.stream);
        if !may_erase(conn, (space, row), self.context.membership, author, (doc, heads))? {
            return Ok(false);
        }
        let unsent = self.documents.erase(doc)?;
        let (epoch, successor) = (Some(said.epoch), successor.as_ref());
        let effect = Effect { doc, state: 2, position: said.position, epoch, heads, successor, unsent };
        erase::put(conn, row, &effect, self.context.now_ms)?;
        self.erased.insert(*doc);
        self.report.changed.push(*doc);
        Ok(true)
    }

    /// An envelope counts no more: what was erased because of it is to be made anew. Gives those documents.
    pub(super) fn take_back_erasures(
        &mut self,
        position: i64,
        docs: impl Iterator<Item = DocId>,
    ) -> Result<Vec<DocId>, StoreError> {
        let sql = "DELETE FROM erased WHERE space = ?1 AND doc = ?2 AND state = 2 AND position = ?3";
        let mut back = Vec::new();
        for doc in docs {
            if self.context.conn.prepare_cached(sql)?.execute((self.context.row, doc.as_ref(), position))? > 0 {
                self.erased.remove(&doc);
                back.push(doc);
            }
        }
        self.unerased.extend(&back);
        Ok(back)
    }

    /// Of documents whose erasure counts no more, others may have told, too; and what was left out counts again.
    pub(super) fn erase_otherwise(&mut self) -> Result<(), StoreError> {
        let docs = std::mem::take(&mut self.unerased);
        if docs.is_empty() {
            return Ok(());
        }
        let late: HashSet<EnvelopeId> = quarantine::late(self.context.conn, self.context.row)?.into_iter().collect();
        for known in stored(self.context.conn, self.context.row)? {
            for seq in known.floor + 1..=known.end(known.limit) {
                let Some(opened) = self.context.open_at(&known, seq)? else { continue };
                for erased in opened.delta.erased.iter().filter(|erased| docs.contains(&erased.doc)) {
                    let Some(verified) = self.context.verified_at(&known, seq)? else { continue };
                    let epoch = verified.envelope().header().epoch;
                    let position = seal::position(known.row, seq);
                    let said = Said { id: opened.id, epoch, author: known.device, stream: known.stream, position };
                    self.take_erasure(said, erased)?;
                }
                let is_late = opened.delta.docs.iter().any(|doc| self.erased.contains(&doc.doc));
                if !is_late && late.contains(&opened.id) {
                    quarantine::release(self.context.conn, self.context.row, &opened.id)?;
                }
            }
        }
        Ok(())
    }

    /// Asks again of erasures that were not their author's to make: of `docs` that changed, or of all.
    pub(super) fn ask_again(&mut self, docs: Option<&BTreeSet<DocId>>) -> Result<(), StoreError> {
        let limit = if docs.is_some() { ASKED_AGAIN_MAX } else { u32::MAX };
        let refused = quarantine::not_entitled(self.context.conn, self.context.row, limit)?;
        if refused.is_empty() {
            return Ok(());
        }
        let streams = stored(self.context.conn, self.context.row)?;
        for (id, origin) in refused {
            let Some(known) = streams.iter().find(|known| known.stream == origin.stream) else { continue };
            self.ask_again_of(known, id, origin, docs)?;
        }
        Ok(())
    }

    fn ask_again_of(
        &mut self,
        known: &Stored,
        id: EnvelopeId,
        origin: Origin,
        docs: Option<&BTreeSet<DocId>>,
    ) -> Result<(), StoreError> {
        let Some(verified) = self.context.verified_at(known, origin.seq)? else { return Ok(()) };
        let epoch = verified.envelope().header().epoch;
        let Some(opened) = self.context.open_at(known, origin.seq)? else { return Ok(()) };
        let erased = &opened.delta.erased;
        if docs.is_some_and(|docs| !erased.iter().any(|erased| docs.contains(&erased.doc))) {
            return Ok(());
        }
        let position = seal::position(known.row, origin.seq);
        let said = Said { id, epoch, author: known.device, stream: known.stream, position };
        let mut is_refused = false;
        for erased in erased {
            is_refused |= !self.take_erasure(said, erased)?;
        }
        if is_refused { Ok(()) } else { quarantine::release(self.context.conn, self.context.row, &id) }
    }
}
