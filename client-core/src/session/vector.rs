//! Receiving without a place in the relay's log (protocol §4.2, VECTOR): what a checkpoint holds first, then of each
//! stream what lies beyond what is held here; only then is the log followed from its end.
//!
//! ```text
//! no place in the log ─▶ is there a checkpoint to begin with? ─ chunks to fetch ─▶ WANT each ─▶ the store ─▶ asked again
//!    └─ taken, or none ─▶ what is held here ─▶ HAVE
//!         ├─ no stream has a floor, nothing was taken ─▶ PULL from the start (not from a device nearby)
//!         ├─ a floor is beyond what is held ─▶ asked once more ─▶ still so: what can be joined is, then the session ends
//!         └─ WANT ranges ─▶ pages without a place ─▶ the place that STATE named ─▶ PULL from there
//! ```
//!
//! STATE came before HAVE, so what HAVE does not show lies behind the place that STATE named, and nothing falls between.

use std::collections::{HashMap, VecDeque};

use lifeos_sync_protocol::frame::{Cursor, Frame, Have, Item, Want};
use lifeos_sync_protocol::ids::{EnvelopeId, StreamId};
use lifeos_sync_protocol::limits::FRAME_ENVELOPES_MAX;

use super::{Output, Session, SessionError};

/// Ranges in one WANT. With [`FRAME_ENVELOPES_MAX`] of each, this is what one answer takes in memory.
const RANGES_MAX: usize = 4;

/// Whether there is something to begin with besides the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bootstrap {
    /// Nothing, or nothing is needed.
    None,
    /// These chunks of a checkpoint, in this order; then ask again.
    Fetch(Vec<EnvelopeId>),
    /// A checkpoint was taken in: the streams stand where it says.
    Taken,
}

/// How far it has come.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Not begun.
    Waiting,
    /// The driver decides.
    Deciding,
    /// Chunks are fetched.
    Fetching,
    /// The store, for what is held here.
    Loading,
    /// HAVE with this request; what is held here.
    Asked(u32, HashMap<StreamId, u32>),
    /// Ranges are fetched.
    Resting,
    /// WANT with this request.
    Requested(u32),
}

/// State of receiving by streams.
#[derive(Debug)]
pub(super) struct Vector {
    step: Step,
    /// The end of the log, as STATE said.
    log: Cursor,
    /// The log does not go back to its start.
    is_pruned: bool,
    ranges: VecDeque<Want>,
    stores: u32,
    /// A checkpoint was taken in.
    is_taken: bool,
    /// It was asked for another one because a floor was beyond what is held.
    is_asked_again: bool,
    /// There are edits that cannot be joined to what is held.
    is_short: bool,
}

impl Vector {
    pub(super) const fn new(log: Cursor, is_pruned: bool) -> Self {
        Self {
            step: Step::Waiting,
            log,
            is_pruned,
            ranges: VecDeque::new(),
            stores: 0,
            is_taken: false,
            is_asked_again: false,
            is_short: false,
        }
    }

    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.step, Step::Asked(..) | Step::Requested(_))
    }

    pub(super) fn is_requested(&self, request: u32) -> bool {
        self.step == Step::Requested(request)
    }

    pub(super) const fn is_asked(&self, request: u32) -> bool {
        matches!(self.step, Step::Asked(asked, _) if asked == request)
    }

    pub(super) fn is_loading(&self) -> bool {
        self.step == Step::Loading
    }
}

/// Beyond what is held here, stream by stream. What begins behind the end of what is held cannot be joined to it: that
/// waits for a checkpoint.
fn beyond(ours: &HashMap<StreamId, u32>, theirs: &[Have]) -> VecDeque<Want> {
    let tip = |stream: &StreamId| ours.get(stream).copied().unwrap_or(0);
    let joined = theirs.iter().filter(|have| have.floor <= tip(&have.stream) && have.tip > tip(&have.stream));
    joined.map(|have| Want { stream: have.stream, from: tip(&have.stream).saturating_add(1), to: have.tip }).collect()
}

impl Session {
    pub(super) fn drive_vector(&mut self) -> Result<(), SessionError> {
        let Some(vector) = &mut self.vector else { return Ok(()) };
        match vector.step {
            Step::Waiting => {
                vector.step = Step::Deciding;
                let is_pruned = vector.is_pruned;
                self.outputs.push_back(Output::Bootstrap { missing: Vec::new(), is_pruned });
            }
            Step::Resting if vector.stores == 0 => return self.fetch_ranges(),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn handle_bootstrap(&mut self, bootstrap: Bootstrap) {
        let Some(vector) = self.vector.as_mut().filter(|vector| vector.step == Step::Deciding) else { return };
        match bootstrap {
            Bootstrap::Fetch(chunks) => {
                vector.step = Step::Fetching;
                self.objects.want(chunks);
            }
            Bootstrap::None | Bootstrap::Taken => {
                vector.is_taken |= bootstrap == Bootstrap::Taken;
                vector.step = Step::Loading;
                self.outputs.push_back(Output::LoadHeld);
            }
        }
    }

    /// All that was wanted of objects is here, but for what the relay does not hold.
    pub(super) fn bootstrap_goes_on(&mut self, missing: &[EnvelopeId]) -> bool {
        let Some(vector) = self.vector.as_mut().filter(|vector| vector.step == Step::Fetching) else { return false };
        vector.step = Step::Deciding;
        let is_pruned = vector.is_pruned;
        self.outputs.push_back(Output::Bootstrap { missing: missing.to_vec(), is_pruned });
        true
    }

    pub(super) fn vector_held(&mut self, held: &[Have]) {
        let ours = held.iter().map(|have| (have.stream, have.tip)).collect();
        let request = self.ask(&Frame::Have { session: self.number, streams: Vec::new() });
        if let Some(vector) = &mut self.vector {
            vector.step = Step::Asked(request, ours);
        }
    }

    pub(super) fn vector_have(&mut self, theirs: &[Have]) {
        let Some(vector) = &mut self.vector else { return };
        let Step::Asked(_, ours) = std::mem::replace(&mut vector.step, Step::Resting) else { return };
        let tip = |stream: &StreamId| ours.get(stream).copied().unwrap_or(0);
        vector.is_short = theirs.iter().any(|have| have.floor > tip(&have.stream));
        if vector.is_short && !std::mem::replace(&mut vector.is_asked_again, true) {
            (vector.step, vector.is_pruned) = (Step::Deciding, true);
            self.outputs.push_back(Output::Bootstrap { missing: Vec::new(), is_pruned: true });
        } else if self.by_streams.is_none()
            && !vector.is_pruned
            && !vector.is_taken
            && theirs.iter().all(|have| have.floor == 0)
        {
            self.vector = None;
            self.pull.read_from_start();
        } else {
            vector.ranges = beyond(&ours, theirs);
            if let Some((stream, tip)) = self.by_streams {
                let held = theirs.iter().find(|have| have.stream == stream).map_or(0, |have| have.tip.min(tip));
                self.push.begin_after(held);
                self.outputs.push_back(Output::HeldBefore { through_seq: held });
            }
        }
    }

    /// A few pieces of streams at once, and nothing more until they are on disk.
    fn fetch_ranges(&mut self) -> Result<(), SessionError> {
        let Some(vector) = &mut self.vector else { return Ok(()) };
        let mut ranges = Vec::with_capacity(RANGES_MAX);
        while ranges.len() < RANGES_MAX
            && let Some(range) = vector.ranges.front_mut()
        {
            let to = range.to.min(range.from.saturating_add(FRAME_ENVELOPES_MAX as u32 - 1));
            ranges.push(Want { to, ..*range });
            match to < range.to {
                true => range.from = to + 1,
                false => drop(vector.ranges.pop_front()),
            }
        }
        if ranges.is_empty() && vector.is_short {
            // Without a cursor: the next connection asks for a checkpoint again.
            return Err(SessionError::Unjoined);
        }
        if ranges.is_empty() {
            let log = vector.log;
            self.vector = None;
            self.pull.read_from(log);
            self.outputs.push_back(Output::StorePage {
                items: Vec::new(),
                cursor: Some(log),
                rolls: crate::witness::Rolls::default(),
            });
            return Ok(());
        }
        let request = self.ask(&Frame::Want { session: self.number, ranges, objects: Vec::new() });
        if let Some(vector) = &mut self.vector {
            vector.step = Step::Requested(request);
        }
        Ok(())
    }

    pub(super) fn handle_range(&mut self, items: Vec<Item>, more: bool) -> Result<(), SessionError> {
        let Some(vector) = &mut self.vector else {
            return Err(SessionError::Misbehaved("a page nobody asked for"));
        };
        if !more {
            vector.step = Step::Resting;
        }
        if !items.is_empty() {
            vector.stores += 1;
            self.receipts.note_news(items.len(), self.now_ms);
            let rolls = crate::witness::Rolls::default();
            self.outputs.push_back(Output::StorePage { items, cursor: None, rolls });
        }
        Ok(())
    }

    /// A page without a place is on disk; false when none is under way.
    pub(super) const fn vector_stored(&mut self) -> bool {
        let Some(vector) = &mut self.vector else { return false };
        vector.stores = vector.stores.saturating_sub(1);
        true
    }
}
