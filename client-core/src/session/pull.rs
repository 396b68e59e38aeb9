//! Receiving: pages until the end of the log, then NOTIFY without a gap (protocol §4.2, TAIL and LIVE).
//!
//! The place in the log is held twice: what has arrived, and what is on disk. Every step forward is checked
//! against the log's rolling hash, so a relay cannot drop, repeat or swap an item unnoticed. Positions of
//! this device's own envelopes are learned from PUSH_ACK, whether or not the relay echoes them.

use std::collections::BTreeMap;

use lifeos_sync_protocol::envelope::SIGNATURE_BYTES;
use lifeos_sync_protocol::frame::{Cursor, Frame, Item};
use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::{EnvelopeId, Roll, SpaceId};
use lifeos_sync_protocol::limits;
use lifeos_sync_protocol::log::roll_next;

use super::{Output, Session, SessionError};
use crate::witness::Rolls;

/// How a relay's log differs from the one that was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogChange {
    /// The same log, shorter than it was or with another past.
    RolledBack,
    /// Another log.
    Replaced,
    /// The same log, which no longer reaches back to where the cursor was.
    Pruned,
}

/// Bytes of envelopes asked for in one page. A page is taken in with all its documents in memory, at some 200 KB a
/// note: 1.2 MiB of new notes at once cost 200 MB, which is above what a phone allows.
const PAGE_BYTES_MAX: u32 = 128 * 1024;
/// Own positions remembered ahead of the cursor; more than that and the cursor is moved by pulling.
const OWN_POSITIONS_MAX: usize = 4096;

/// What receiving waits for.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// No place in the log is known: see [`super::vector`].
    Lost,
    /// A page is wanted.
    Wanting,
    /// ITEMS for this request.
    Requested(u32),
    /// The store, for the page.
    Storing {
        /// Whether another page follows.
        more: bool,
    },
    /// Nothing: NOTIFY comes by itself.
    Live,
}

/// State of receiving.
#[derive(Debug)]
pub(super) struct Pull {
    space: SpaceId,
    stored: Option<Cursor>,
    received: Cursor,
    step: Step,
    stores: u32,
    own: BTreeMap<u64, EnvelopeId>,
    /// Something was announced that could not be taken yet.
    again: bool,
    /// The cursor moved over own envelopes without a page that carries it to disk.
    unsaved: bool,
    total: u64,
    /// Hashes of the places passed since the last page went to the store.
    rolls: Rolls,
}

impl Pull {
    pub(super) fn new(space: SpaceId, stored: Option<Cursor>) -> Self {
        let received =
            stored.unwrap_or(Cursor { log_id: lifeos_sync_protocol::ids::LogId::ZERO, pos: 1, roll: Roll::ZERO });
        Self {
            space,
            stored,
            received,
            step: Step::Wanting,
            stores: 0,
            own: BTreeMap::new(),
            again: false,
            unsaved: false,
            total: 0,
            rolls: Rolls::default(),
        }
    }

    pub(super) const fn stored_cursor(&self) -> Option<Cursor> {
        self.stored
    }

    /// Takes the relay's log; says how it differs from the one the cursor lies on. Of one that is pruned a place may be
    /// gone without being another log.
    pub(super) fn begin(&mut self, log: Cursor, cursor_ok: bool, is_pruned: bool) -> Option<LogChange> {
        self.total = log.pos.saturating_sub(1);
        let fits = |cursor: &Cursor| cursor_ok && cursor.log_id == log.log_id && cursor.pos <= log.pos;
        if self.stored.as_ref().is_some_and(fits) {
            return None;
        }
        self.received = Cursor { log_id: log.log_id, pos: 1, roll: Roll::ZERO };
        self.rolls = Rolls::default();
        self.step = Step::Lost;
        let known = self.stored.take()?;
        Some(match known.log_id == log.log_id {
            true if is_pruned && known.pos <= log.pos => LogChange::Pruned,
            true => LogChange::RolledBack,
            false => LogChange::Replaced,
        })
    }

    /// Whether no place in the log is known.
    pub(super) fn is_lost(&self) -> bool {
        self.step == Step::Lost
    }

    /// The log is read whole.
    pub(super) const fn read_from_start(&mut self) {
        self.step = Step::Wanting;
    }

    /// Everything before this place is held, or will never come; it is on its way to disk as the cursor.
    pub(super) fn read_from(&mut self, place: Cursor) {
        (self.received, self.stores) = (place, self.stores + 1);
        self.own = self.own.split_off(&place.pos);
        self.step = Step::Storing { more: true };
    }

    /// Whether a statement about the log fits what was received: the same log, and at the place reached the same
    /// hash.
    pub(super) fn agrees_with(&self, log: &Cursor) -> bool {
        let reached = &self.received;
        log.log_id == reached.log_id && (log.pos != reached.pos || log.roll == reached.roll)
    }

    /// Whether this is the place reached.
    pub(super) const fn is_at(&self, pos: u64) -> bool {
        self.received.pos == pos
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.step == Step::Live && self.stores == 0 && !self.again
    }

    /// Whether an answer of the relay is outstanding.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.step, Step::Requested(_))
    }

    /// The relay has subscribed this connection: what follows the last page comes by itself.
    const fn is_subscribed(&self) -> bool {
        matches!(self.step, Step::Live | Step::Storing { more: false })
    }

    /// An own envelope lies at this position.
    pub(super) fn note_own(&mut self, pos: u64, id: EnvelopeId) {
        if pos >= self.received.pos && self.own.len() < OWN_POSITIONS_MAX {
            self.own.insert(pos, id);
        }
        if self.is_subscribed() {
            self.step_over_own();
        }
    }

    fn step_over_own(&mut self) {
        self.own = self.own.split_off(&self.received.pos);
        while let Some(id) = self.own.remove(&self.received.pos) {
            self.step_to(&id);
            self.unsaved = true;
        }
    }

    fn step_to(&mut self, id: &EnvelopeId) {
        self.received = after(&self.received, id);
        self.rolls.push(self.received.pos, self.received.roll);
    }

    /// Moves over items that must follow one another from the place received.
    fn step_over_page(&mut self, items: &[Item]) -> Result<(), SessionError> {
        for item in items {
            if item.pos != self.received.pos {
                return Err(SessionError::Misbehaved("a page with a gap"));
            }
            self.step_to(&id_of(&self.space, &item.envelope));
        }
        Ok(())
    }

    /// Takes the announced items that continue the place received; false when there is a gap before one.
    /// What `is_own` knows is not given to the store: it lies there already, and only the cursor moves.
    fn step_over_news(
        &mut self,
        items: Vec<Item>,
        is_own: impl Fn(&EnvelopeId) -> bool,
        fresh: &mut Vec<Item>,
    ) -> bool {
        for item in items {
            self.step_over_own();
            if item.pos < self.received.pos {
                continue;
            }
            if item.pos > self.received.pos {
                return false;
            }
            let id = id_of(&self.space, &item.envelope);
            self.step_to(&id);
            if is_own(&id) {
                self.unsaved = true;
            } else {
                fresh.push(item);
            }
        }
        true
    }
}

impl Session {
    pub(super) fn drive_pull(&mut self) {
        if self.pull.step == Step::Wanting {
            self.pull.again = false;
            let pull = Frame::Pull {
                session: self.number,
                from: self.pull.received.pos,
                bytes_max: PAGE_BYTES_MAX,
                items_max: limits::FRAME_ENVELOPES_MAX as u32,
            };
            self.pull.step = Step::Requested(self.ask(&pull));
        }
    }

    pub(super) fn handle_items(
        &mut self,
        request: u32,
        items: Vec<Item>,
        next: u64,
        roll: Roll,
        more: bool,
    ) -> Result<(), SessionError> {
        if self.pull.step != Step::Requested(request) {
            return Err(SessionError::Misbehaved("a page nobody asked for"));
        }
        if items.is_empty() && more {
            return Err(SessionError::Misbehaved("an empty page before the end"));
        }
        self.pull.step_over_page(&items)?;
        if next != self.pull.received.pos || roll != self.pull.received.roll {
            return Err(SessionError::Misbehaved("a log that does not match its hash"));
        }
        self.pull.step = Step::Storing { more };
        if items.is_empty() {
            self.page_ends();
        } else {
            self.store_page(items);
        }
        Ok(())
    }

    pub(super) fn handle_notify(&mut self, items: Vec<Item>, roll: Roll, behind: bool) -> Result<(), SessionError> {
        let Some(last) = items.last().map(|item| item.pos) else {
            if behind {
                self.pull_again();
            }
            return Ok(());
        };
        self.pull.total = self.pull.total.max(last);
        if !self.pull.is_subscribed() {
            // A page is under way; it may have been cut before these items, so look again after it.
            self.pull.again = true;
            return Ok(());
        }
        let mut fresh = Vec::new();
        let is_own = |id: &EnvelopeId| self.push.is_envelope_in_flight(id) || self.heal.is_envelope_in_flight(id);
        let complete = self.pull.step_over_news(items, is_own, &mut fresh);
        if complete && self.pull.received.pos == last.saturating_add(1) && self.pull.received.roll != roll {
            return Err(SessionError::Misbehaved("a log that does not match its hash"));
        }
        self.pull.step_over_own();
        if !fresh.is_empty() {
            self.store_page(fresh);
        }
        if !complete || behind {
            self.pull_again();
        }
        Ok(())
    }

    fn pull_again(&mut self) {
        if self.pull.step == Step::Live {
            self.pull.step = Step::Wanting;
        } else {
            self.pull.again = true;
        }
    }

    pub(super) fn handle_page_stored(&mut self) {
        if self.vector_stored() {
            return;
        }
        self.pull.stores = self.pull.stores.saturating_sub(1);
        if self.pull.stores == 0 {
            self.page_ends();
        }
    }

    fn page_ends(&mut self) {
        let Step::Storing { more } = self.pull.step else { return };
        if more || self.pull.again {
            self.pull.step = Step::Wanting;
            let received = self.pull.received.pos.saturating_sub(1);
            self.outputs.push_back(Output::CatchingUp { received, total: self.pull.total.max(received) });
        } else {
            self.pull.step = Step::Live;
            self.pull.step_over_own();
            self.ask_for_statement();
            self.outputs.push_back(Output::Live);
        }
    }

    fn store_page(&mut self, items: Vec<Item>) {
        self.pull.stores += 1;
        self.pull.unsaved = false;
        let rolls = std::mem::take(&mut self.pull.rolls);
        if !items.is_empty() {
            self.receipts.note_news(items.len(), self.now_ms);
        }
        self.outputs.push_back(Output::StorePage { items, cursor: Some(self.pull.received), rolls });
    }

    /// Brings a cursor that moved over own envelopes to disk; false when there is none.
    pub(super) fn save_cursor(&mut self) -> bool {
        let unsaved = self.pull.unsaved;
        if unsaved {
            self.store_page(Vec::new());
        }
        unsaved
    }
}

/// The place after one more item.
fn after(cursor: &Cursor, id: &EnvelopeId) -> Cursor {
    Cursor { log_id: cursor.log_id, pos: cursor.pos.saturating_add(1), roll: roll_next(&cursor.roll, cursor.pos, id) }
}

/// The id of bytes that may not even be an envelope: what is malformed is quarantined by the store, and must
/// not stop the log here.
pub(super) fn id_of(space: &SpaceId, bytes: &[u8]) -> EnvelopeId {
    let signed = &bytes[..bytes.len().saturating_sub(SIGNATURE_BYTES)];
    EnvelopeId(sha256("env-id", &[space.as_ref(), signed]))
}
