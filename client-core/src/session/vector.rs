//! Receiving without a place in the relay's log (protocol §4.2, VECTOR): what a checkpoint holds first, then of each
//! stream what lies beyond what is held here; only then is the log followed from its end.
//!
//! ```text
//! no place in the log ─▶ is there a checkpoint to begin with? ─ chunks to fetch ─▶ WANT each ─▶ the store ─▶ asked again
//!    └─ taken, or none ─▶ what is held here ─▶ HAVE
//!         ├─ no stream has a floor, nothing was taken ─▶ PULL from the start (not from a device nearby)
//!         ├─ a floor is beyond what is held ─▶ asked once more ─▶ still so: what can be joined is, then the session ends
//!         └─ WANT ranges ─▶ pages without a place ─▶ the place that STATE named ─▶ PULL from there
//!              └─ something of them is not there ─▶ HAVE again: the floor has risen meanwhile, or the relay lies
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
    /// The relay says so.
    is_said_pruned: bool,
    ranges: VecDeque<Want>,
    /// Of each stream that is asked for, the next envelope to come, and the last one that the WANT under way asks for.
    coming: HashMap<StreamId, (u32, u32)>,
    /// Streams of which an envelope did not come, and which.
    gaps: HashMap<StreamId, u32>,
    stores: u32,
    /// A checkpoint was taken in.
    is_taken: bool,
    /// It was asked for another one because a floor was beyond what is held.
    is_asked_again: bool,
    /// There are edits that cannot be joined to what is held.
    is_short: bool,
}

impl Vector {
    pub(super) fn new(log: Cursor, is_pruned: bool) -> Self {
        Self {
            step: Step::Waiting,
            log,
            is_pruned,
            is_said_pruned: is_pruned,
            ranges: VecDeque::new(),
            coming: HashMap::new(),
            gaps: HashMap::new(),
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

    /// Whether an envelope is to be given to the store: not when the one before it did not come. A relay may have pruned
    /// since it told what it has; whether it has, it is asked before it is blamed.
    fn follows(&mut self, envelope: &[u8]) -> bool {
        let Some((stream, seq)) = place_of(envelope) else { return true };
        if self.gaps.contains_key(&stream) {
            return false;
        }
        let Some((next, _)) = self.coming.get_mut(&stream) else { return true };
        if seq > *next {
            self.gaps.insert(stream, *next);
            return false;
        }
        if seq == *next {
            *next = next.saturating_add(1);
        }
        true
    }

    /// The answer has ended: what was asked for and did not come is not there.
    fn miss_rest(&mut self) {
        for (stream, (next, to)) in &self.coming {
            if next <= to {
                self.gaps.entry(*stream).or_insert(*next);
            }
        }
    }
}

/// Where an envelope says that it stands in a stream; `None` for bytes that are none.
fn place_of(bytes: &[u8]) -> Option<(StreamId, u32)> {
    let seq = bytes.get(20..24)?.try_into().ok()?;
    Some((StreamId::from_slice(bytes.get(4..20)?)?, u32::from_be_bytes(seq)))
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

    pub(super) fn vector_have(&mut self, theirs: &[Have]) -> Result<(), SessionError> {
        let Some(vector) = &mut self.vector else { return Ok(()) };
        let Step::Asked(_, ours) = std::mem::replace(&mut vector.step, Step::Resting) else { return Ok(()) };
        let is_below =
            |(stream, seq): &(StreamId, u32)| theirs.iter().any(|have| have.stream == *stream && have.floor >= *seq);
        if !std::mem::take(&mut vector.gaps).iter().map(|(stream, seq)| (*stream, *seq)).all(|gap| is_below(&gap)) {
            return Err(SessionError::Misbehaved("an envelope without the one before it"));
        }
        if vector.is_said_pruned {
            self.outputs.push_back(Output::HeldThere(theirs.to_vec()));
        }
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
            vector.coming.clear();
            if let Some((stream, tip)) = self.by_streams {
                let held = theirs.iter().find(|have| have.stream == stream).map_or(0, |have| have.tip.min(tip));
                self.push.begin_after(held);
                self.outputs.push_back(Output::HeldBefore { through_seq: held });
            }
        }
        Ok(())
    }

    /// A few pieces of streams at once, and nothing more until they are on disk.
    fn fetch_ranges(&mut self) -> Result<(), SessionError> {
        let Some(vector) = &mut self.vector else { return Ok(()) };
        let mut ranges = Vec::with_capacity(RANGES_MAX);
        vector.ranges.retain(|range| !vector.gaps.contains_key(&range.stream));
        while ranges.len() < RANGES_MAX
            && let Some(range) = vector.ranges.front_mut()
        {
            let to = range.to.min(range.from.saturating_add(FRAME_ENVELOPES_MAX as u32 - 1));
            ranges.push(Want { to, ..*range });
            let next = vector.coming.get(&range.stream).map_or(range.from, |(next, _)| *next);
            vector.coming.insert(range.stream, (next, to));
            match to < range.to {
                true => range.from = to + 1,
                false => drop(vector.ranges.pop_front()),
            }
        }
        if ranges.is_empty() && vector.is_short {
            // Without a cursor: the next connection asks for a checkpoint again.
            return Err(SessionError::Unjoined);
        }
        if ranges.is_empty() && !vector.gaps.is_empty() {
            vector.step = Step::Loading;
            self.outputs.push_back(Output::LoadHeld);
            return Ok(());
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
        let items: Vec<Item> = items.into_iter().filter(|item| vector.follows(&item.envelope)).collect();
        if !more {
            vector.step = Step::Resting;
            vector.miss_rest();
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
