//! Parts of attachments at the store worker: offering what is new here, fetching what is wanted here.
//!
//! ```text
//! attached here, by this or another process ─▶ ObjectsChanged ─▶ OFFER ─▶ what the relay lacks, behind all envelopes
//! wanted here ─▶ ids not held ─▶ WANT, a few on their way ─▶ kept ─▶ what did not come is asked for again later
//! ```

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lifeos_sync_protocol::ids::EnvelopeId;

use super::{Done, EngineError, Worker};
use crate::session::Input;

/// Parts asked for at once: the next ones follow when these have come.
const ASK_MAX: usize = 4096;
/// What a relay did not hold is asked for again after so long: whoever attached it may be sending it.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// What one connection remembers of attachments.
#[derive(Default)]
pub(super) struct Attachments {
    /// What was kept here, and referred to, when the relay was last offered it.
    pub(super) offered: Option<[i64; 3]>,
    /// Asked for and not come.
    asked: BTreeSet<EnvelopeId>,
    /// Not held by this relay.
    missing: BTreeSet<EnvelopeId>,
    missed_at: Option<Instant>,
    /// How many came on this connection.
    came: u64,
    /// Not before then are parts sealed anew.
    pub(super) reseal_at: Option<tokio::time::Instant>,
}

impl Worker<'_> {
    /// Has the relay asked whether it lacks parts that were kept here since the last look.
    pub(super) fn look_for_parts(&mut self) -> Result<(), EngineError> {
        if !self.caught_up {
            return Ok(());
        }
        let mark = self.shared.store().parts_mark(&self.shared.space)?;
        if self.attachments.offered.is_some_and(|offered| offered != mark) {
            self.attachments.offered = None;
            self.answer(Input::ObjectsChanged);
        }
        Ok(())
    }

    /// Asks for parts that are wanted here; whether some are on their way.
    pub(super) fn fetch_parts(&mut self) -> Result<bool, EngineError> {
        if !self.caught_up {
            return Ok(false);
        }
        if !self.attachments.asked.is_empty() {
            return Ok(true);
        }
        if self.attachments.missed_at.is_some_and(|at| at.elapsed() >= ASK_AGAIN) {
            self.attachments.missing.clear();
            self.attachments.missed_at = None;
        }
        let wanted = self.shared.store().reads().wanted_parts(&self.shared.space, usize::MAX)?;
        let missing = &self.attachments.missing;
        let ids: Vec<_> = wanted.into_iter().filter(|id| !missing.contains(id)).take(ASK_MAX).collect();
        if ids.is_empty() {
            return Ok(false);
        }
        self.attachments.asked = ids.iter().copied().collect();
        self.answer(Input::ObjectsWanted(ids));
        Ok(true)
    }

    /// A part is kept.
    pub(super) fn part_came(&mut self, id: &EnvelopeId) -> Result<(), EngineError> {
        if self.attachments.asked.remove(id) {
            self.attachments.came += 1;
            let (parts, left) = (self.attachments.came, self.attachments.asked.len() as u64);
            self.tell(Done::Fetched { parts, total: parts + left });
            if left == 0 {
                self.shared.store().note_contents(&self.shared.space)?;
            }
        }
        Ok(())
    }

    /// The relay does not hold these.
    pub(super) fn parts_missing(&mut self, missing: &[EnvelopeId]) {
        for id in missing {
            if self.attachments.asked.remove(id) {
                self.attachments.missing.insert(*id);
                self.attachments.missed_at.get_or_insert_with(Instant::now);
            }
        }
    }
}
