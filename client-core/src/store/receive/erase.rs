//! Erasures that others tell of: what is said of a document that was erased counts no more, and it goes here, too.

use lifeos_sync_protocol::ids::{EnvelopeId, EpochRef, SignPk};

use super::Receiver;
use crate::delta::{Delta, ErasedDoc};
use crate::registry::NOTE_GENESIS;
use crate::store::StoreError;
use crate::store::erase::{self, Effect, may_erase};

/// Why an envelope is set aside that erases what its author may not.
const NOT_ENTITLED: &str =
    "it erases a note that its author may not erase: an owner or admin may, or who alone wrote it";

impl Receiver<'_> {
    /// Leaves out what is said of documents that were erased; tells whether there was anything.
    pub(super) fn leave_out_erased(&self, delta: &mut Delta) -> bool {
        let before = delta.docs.len();
        delta.docs.retain(|doc| doc.genesis != NOTE_GENESIS || !self.erased.contains(&doc.doc));
        delta.docs.len() < before
    }

    /// Forgets what an envelope erases, as far as its author may; else the envelope is set aside.
    pub(super) fn take_erasures(
        &mut self,
        (id, epoch): (EnvelopeId, EpochRef),
        (author, position): (SignPk, i64),
        erased: &[ErasedDoc],
    ) -> Result<(), StoreError> {
        let (conn, space, row) = (self.context.conn, self.context.space, self.context.row);
        let mut is_refused = false;
        for ErasedDoc { doc, heads, successor } in erased {
            if !self.erased.contains(doc)
                && !may_erase(conn, (space, row), self.context.membership, &author, (doc, heads))?
            {
                is_refused = true;
                continue;
            }
            let unsent = self.documents.erase(doc)?;
            let (epoch, successor) = (Some(epoch), successor.as_ref());
            let effect = Effect { doc, state: 2, position, epoch, heads, successor, unsent };
            erase::put(conn, row, &effect, self.context.now_ms)?;
            self.erased.insert(*doc);
            self.report.changed.push(*doc);
        }
        if is_refused { self.quarantine_known(id, NOT_ENTITLED) } else { Ok(()) }
    }
}
