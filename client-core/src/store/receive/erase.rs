//! Erasures that others tell of: what is said of a document that was erased counts no more, and it goes here, too.
//!
//! Whether an author may erase a document depends on the records and on what is held of it. So an erasure that seems to
//! be none of its author's to make is asked about again when one of the two has changed; nothing else waits for it.

use std::collections::{BTreeSet, HashSet};

use automerge::Change;
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, EpochRef, SignPk, StreamId};
use lifeos_sync_protocol::record::{Cut, Role};

use super::accept::{Stored, id_at, stored};
use super::{Origin, Receiver};
use crate::delta::{DocDelta, ErasedDoc};
use crate::envelope::OpenedDelta;
use crate::fence;
use crate::modules::notes::typed::typed;
use crate::registry::NOTE_GENESIS;
use crate::store::erase::{self, Author, Effect, NOT_ENTITLED, may_erase};
use crate::store::{Reads, StoreError, quarantine, seal};

/// Own envelopes that are read again for what somebody else's erasure had not seen.
const OWN_READ_MAX: u32 = 4_096;
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
    /// Leaves out what is said of documents that were erased; tells whether there was anything. Where only the history went,
    /// what was typed is kept for the person.
    pub(super) fn leave_out_erased(&self, opened: &mut OpenedDelta) -> Result<bool, StoreError> {
        let is_gone = |doc: &DocDelta| doc.genesis == NOTE_GENESIS && self.erased.contains(&doc.doc);
        let (late, counts) = std::mem::take(&mut opened.delta.docs).into_iter().partition::<Vec<_>, _>(is_gone);
        opened.delta.docs = counts;
        for doc in &late {
            let Some(position) = erase::history_erased_at(self.context.conn, self.context.row, &doc.doc)? else {
                continue;
            };
            if self.is_unseen(position, &opened.stream, opened.seq)?
                && let Ok(checked) = fence::check_document(opened.id, opened.stream, doc)
            {
                let text = typed(checked.changes.iter().map(|checked| &checked.change));
                erase::keep_typed(self.context.conn, self.context.row, &doc.doc, &text)?;
            }
        }
        Ok(!late.is_empty())
    }

    /// Whether who said something at a place had not taken an envelope in then: what it had, is a part of what it said.
    fn is_unseen(&self, position: i64, stream: &StreamId, seq: u32) -> Result<bool, StoreError> {
        let own = self.documents.space.stream_row;
        if position == 0 || position >> 32 == own {
            return Ok(true);
        }
        let known = stored(self.context.conn, self.context.row)?.into_iter().find(|known| known.stream == *stream);
        if known.is_some_and(|known| known.row == position >> 32) {
            return Ok(false);
        }
        Ok(seq > self.seen(position, stream)?)
    }

    /// How far who said something at a place had taken a stream in.
    fn seen(&self, position: i64, stream: &StreamId) -> Result<u32, StoreError> {
        let sql = "SELECT max(seq) FROM mention WHERE stream = ?1 AND position BETWEEN ?2 AND ?3";
        let range = (stream.as_ref(), seal::position(position >> 32, 0), position);
        Ok(Reads { conn: self.context.conn }
            .one(sql, range, |row| row.get::<_, Option<u32>>(0))?
            .flatten()
            .unwrap_or(0))
    }

    /// What this device wrote in a document that who says something at a place had not seen.
    fn typed_here(&self, position: i64, doc: &DocId) -> Result<String, StoreError> {
        let (conn, own) = (self.context.conn, self.documents.space);
        let Some(known) = stored(conn, self.context.row)?.into_iter().find(|known| known.row == own.stream_row) else {
            return Ok(String::new());
        };
        let mut bytes: Vec<Vec<u8>> = Vec::new();
        let first = self.seen(position, &known.stream)?.max(known.floor) + 1;
        for seq in first..=known.seq.min(first.saturating_add(OWN_READ_MAX)) {
            let opened = self.context.open_at(&known, seq)?;
            let docs = opened.into_iter().flat_map(|opened| opened.delta.docs).filter(|delta| delta.doc == *doc);
            bytes.extend(docs.flat_map(|delta| delta.changes));
        }
        let sql = "SELECT c.bytes FROM change c JOIN document d ON d.id = c.doc
                   WHERE d.space = ?1 AND d.doc = ?2 AND c.state > 0 ORDER BY c.n";
        bytes.extend(Reads { conn }.all(sql, (self.context.row, doc.as_ref()), |row| row.get::<_, Vec<u8>>(0))?);
        let changes: Vec<Change> = bytes.into_iter().filter_map(|bytes| Change::from_bytes(bytes).ok()).collect();
        Ok(typed(&changes))
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
        let author = Author { device: &said.author, stream: &said.stream, had: self.role_before(said)? };
        if !may_erase(conn, (space, row), self.context.membership, author, (doc, heads))? {
            return Ok(false);
        }
        let text = match successor {
            Some(_) => self.typed_here(said.position, doc)?,
            None => String::new(),
        };
        let unsent = self.documents.erase(doc)?;
        let (epoch, successor) = (Some(said.epoch), successor.as_ref());
        let effect = Effect { doc, state: 2, position: said.position, epoch, heads, successor, unsent };
        erase::put(conn, row, &effect, self.context.now_ms)?;
        erase::keep_typed(conn, row, doc, &text)?;
        self.erased.insert(*doc);
        self.report.changed.push(*doc);
        Ok(true)
    }

    /// The role that its author had when whoever took it away saw what is said.
    fn role_before(&mut self, said: Said) -> Result<Option<Role>, StoreError> {
        let membership = self.context.membership;
        if membership.role_of(&said.author).is_some_and(|role| role <= Role::Admin) {
            return Ok(None);
        }
        let records = match self.role_records.take() {
            Some(records) => records,
            None => erase::role_records(self.context.conn, self.context.row, membership)?,
        };
        let seq = u32::try_from(said.position & i64::from(u32::MAX)).unwrap_or(u32::MAX);
        let known = stored(self.context.conn, self.context.row)?.into_iter().find(|known| known.stream == said.stream);
        // A cut counts where the envelope is held that it names: nobody can name one that is yet to be written.
        let is_held = |cut: &Cut| {
            let held = known.as_ref().map(|known| id_at(self.context.conn, known, cut.seq));
            (cut.seq == seq && cut.id == said.id) || matches!(held, Some(Ok(Some(id))) if id == cut.id)
        };
        let saw = |cuts: &[Cut]| cuts.iter().any(|cut| cut.stream == said.stream && cut.seq >= seq && is_held(cut));
        let had = erase::role_before(membership, &records, &said.author, saw);
        self.role_records = Some(records);
        Ok(had)
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
        let position = seal::position(known.row, origin.seq);
        let said = Said { id, epoch, author: known.device, stream: known.stream, position };
        let is_changed = docs.is_none_or(|docs| erased.iter().any(|erased| docs.contains(&erased.doc)));
        if !is_changed && self.role_before(said)?.is_none() {
            return Ok(());
        }
        let mut is_refused = false;
        for erased in erased {
            is_refused |= !self.take_erasure(said, erased)?;
        }
        if is_refused { Ok(()) } else { quarantine::release(self.context.conn, self.context.row, &id) }
    }
}
