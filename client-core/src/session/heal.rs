//! Healing the relay: what this device holds of any stream and the relay does not is given to it, whoever wrote it
//! (protocol §4.2, VECTOR).
//!
//! ```text
//! everything received, own stream acknowledged, digests differ
//!   → what is held here → HAVE → the relay's HAVE → for each stream: what lies beyond the relay's tip → PUSH
//! ```
//!
//! It happens once a connection, and again when another relay brought something. A DUP says that another device heals
//! the relay, too: then it is asked again what it holds, so that two devices do not send everything twice. What it
//! refuses for good is left to the author: a stream is given up for this connection. What was sent once on a connection,
//! and not refused, is not sent again on it, whatever the relay says that it holds.

use std::collections::{HashMap, VecDeque};

use lifeos_sync_protocol::frame::{Frame, Have, PushResult, PushStatus};
use lifeos_sync_protocol::ids::{EnvelopeId, StreamId};
use lifeos_sync_protocol::limits;
use lifeos_sync_protocol::log::have_digest;

use super::push::FRAME_BYTES;
use super::{Output, Session, SessionError, StreamPart};
use crate::envelope::SealedEnvelope;

/// PUSH frames on their way. Fewer than of the own stream, whose edits wait for nobody.
const FLIGHTS_MAX: usize = 4;

/// How often the relay is asked what it holds: it must not be able to have everything sent for ever.
const ROUNDS_MAX: u8 = 4;

/// How far healing has come.
#[derive(Debug)]
enum Step {
    /// Not begun on this connection.
    Waiting,
    /// The store, for what is held here.
    Loading,
    /// HAVE with this request; what is held here.
    Asked(u32, Vec<Have>),
    /// Ranges are sent.
    Giving,
    /// Nothing more on this connection.
    Done,
}

/// Envelopes `from..=to` of a stream that the relay lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    stream: StreamId,
    from: u32,
    to: u32,
}

/// One PUSH frame that has not been answered.
#[derive(Debug)]
struct Flight {
    request: u32,
    stream: StreamId,
    envelopes: Vec<EnvelopeId>,
    /// The last of them.
    through: u32,
}

/// State of healing.
#[derive(Debug)]
pub(super) struct Heal {
    step: Step,
    /// What the relay said that it holds, when the connection began.
    digest: [u8; 32],
    /// The first is being loaded or sent.
    ranges: VecDeque<Range>,
    is_loading: bool,
    flight: VecDeque<Flight>,
    /// Somebody else heals the relay.
    is_overtaken: bool,
    rounds: u8,
    /// Of each stream, how far it was sent on this connection, or given up.
    sent: HashMap<StreamId, u32>,
    /// When the relay may have room or time again.
    again_ms: Option<u64>,
}

impl Heal {
    pub(super) fn new() -> Self {
        Self {
            step: Step::Waiting,
            digest: [0; 32],
            ranges: VecDeque::new(),
            is_loading: false,
            flight: VecDeque::new(),
            is_overtaken: false,
            rounds: 0,
            sent: HashMap::new(),
            again_ms: None,
        }
    }

    /// There may be more to give than the relay was asked about.
    pub(super) fn look_again(&mut self) {
        (self.digest, self.rounds) = ([0; 32], 0);
        match self.step {
            Step::Done => self.step = Step::Waiting,
            _ => self.is_overtaken = true,
        }
    }

    /// The relay holds this.
    pub(super) const fn note_digest(&mut self, digest: [u8; 32]) {
        self.digest = digest;
    }

    /// Whether nothing is left to give on this connection.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.step, Step::Done)
    }

    /// Whether an answer of the relay is outstanding.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.step, Step::Asked(..)) || !self.flight.is_empty()
    }

    pub(super) fn is_in_flight(&self, request: u32) -> bool {
        self.flight.iter().any(|flight| flight.request == request)
    }

    /// The relay may tell everybody, this device included, before it acknowledges.
    pub(super) fn is_envelope_in_flight(&self, id: &EnvelopeId) -> bool {
        self.flight.iter().any(|flight| flight.envelopes.contains(id))
    }

    /// The relay has no room or no time for more: the next connection goes on, or this one later.
    pub(super) fn give_up(&mut self, request: u32, again_ms: u64) {
        self.again_ms = Some(again_ms);
        for refused in self.flight.iter().filter(|flight| flight.request == request) {
            self.sent.remove(&refused.stream);
        }
        self.flight.retain(|flight| flight.request != request);
        self.ranges.clear();
        self.settle();
    }

    fn settle(&mut self) {
        if matches!(self.step, Step::Giving) && self.ranges.is_empty() && !self.is_loading && self.flight.is_empty() {
            let is_again = std::mem::take(&mut self.is_overtaken) && self.rounds < ROUNDS_MAX;
            self.step = if is_again { Step::Waiting } else { Step::Done };
        }
    }
}

/// Whether the relay will not take more of a stream, whatever it is asked on this connection.
const fn is_final(status: PushStatus) -> bool {
    matches!(
        status,
        PushStatus::Fork { .. }
            | PushStatus::NotMember
            | PushStatus::NotWriter
            | PushStatus::Removed
            | PushStatus::BadFormat
            | PushStatus::BadSignature
            | PushStatus::TooLarge
    )
}

/// What `ours` holds beyond `theirs` and what was sent, stream by stream. Where the other side holds as much or more
/// there is nothing to give, also when its envelopes are others: that is a fork, which records settle.
fn lacking(ours: &[Have], theirs: &[Have], sent: &HashMap<StreamId, u32>) -> VecDeque<Range> {
    let tips: HashMap<StreamId, u32> = theirs.iter().map(|have| (have.stream, have.tip.max(have.floor))).collect();
    let beyond = ours.iter().filter_map(|have| {
        let reached = |tips: &HashMap<StreamId, u32>| tips.get(&have.stream).copied().unwrap_or(0);
        let from = reached(&tips).max(reached(sent)).max(have.floor).saturating_add(1);
        (from <= have.tip).then_some(Range { stream: have.stream, from, to: have.tip })
    });
    beyond.collect()
}

impl Session {
    pub(super) fn drive_heal(&mut self) {
        if self.heal.is_done() && self.heal.again_ms.is_some_and(|again_ms| again_ms <= self.now_ms) {
            self.heal.again_ms = None;
            self.heal.look_again();
        }
        let others_rest = self.records.is_quiet() && self.pull.is_quiet() && self.push.is_quiet();
        if matches!(self.heal.step, Step::Waiting) && others_rest {
            self.begin_heal();
        }
        let Some(range) = self.heal.ranges.front().filter(|_| !self.heal.is_loading) else { return };
        // An envelope before the record of its key would be refused.
        if self.records.is_quiet() && self.heal.flight.len() < FLIGHTS_MAX {
            let Range { stream, from, to } = *range;
            self.heal.is_loading = true;
            let envelopes_max = usize::from(self.peer.frame_envelopes_max).min(limits::FRAME_ENVELOPES_MAX);
            let part = StreamPart { stream, from, to, envelopes_max, bytes_max: FRAME_BYTES };
            self.outputs.push_back(Output::LoadStream(part));
        }
    }

    fn begin_heal(&mut self) {
        // Where the own stream is not taken, others of this device's are not either.
        if self.push.is_stopped() {
            self.heal.step = Step::Done;
            return;
        }
        self.heal.step = Step::Loading;
        self.heal.rounds += 1;
        self.outputs.push_back(Output::LoadHeld);
    }

    pub(super) fn handle_held(&mut self, held: Vec<Have>) {
        if self.vector.as_ref().is_some_and(super::Vector::is_loading) {
            return self.vector_held(&held);
        }
        if !matches!(self.heal.step, Step::Loading) {
            return;
        }
        self.heal.step = if have_digest(&held) == self.heal.digest {
            let all = held.iter().map(|have| (have.stream, have.tip)).collect();
            self.outputs.push_back(Output::HoldsOf(all));
            Step::Done
        } else {
            // The relay wants nothing by itself, so it need not be told what is here.
            Step::Asked(self.ask(&Frame::Have { session: self.number, streams: Vec::new() }), held)
        };
    }

    pub(super) fn handle_have(&mut self, request: u32, theirs: &[Have]) -> Result<(), SessionError> {
        match std::mem::replace(&mut self.heal.step, Step::Giving) {
            Step::Asked(asked, held) if asked == request => {
                self.heal.ranges = lacking(&held, theirs, &self.heal.sent);
                let there = theirs.iter().map(|have| (have.stream, have.tip.max(have.floor))).collect();
                self.outputs.push_back(Output::HoldsOf(there));
                self.heal.settle();
                Ok(())
            }
            _ => Err(SessionError::Misbehaved("a list of streams nobody asked for")),
        }
    }

    pub(super) fn handle_stream(&mut self, stream: StreamId, envelopes: Vec<SealedEnvelope>) {
        self.heal.is_loading = false;
        let wanted = self.heal.ranges.front_mut().filter(|range| range.stream == stream);
        if let Some(range) = wanted {
            let last = envelopes.last().map(|envelope| envelope.seq);
            match last {
                Some(last) if last < range.to => range.from = last.saturating_add(1),
                _ => drop(self.heal.ranges.pop_front()),
            }
            if let Some(last) = last {
                self.heal.sent.insert(stream, last);
                let ids = envelopes.iter().map(|envelope| envelope.id).collect();
                let bytes = envelopes.into_iter().map(|envelope| envelope.bytes).collect();
                let request = self.ask(&Frame::Push { session: self.number, envelopes: bytes });
                self.heal.flight.push_back(Flight { request, stream, envelopes: ids, through: last });
            }
        }
        self.heal.settle();
    }

    pub(super) fn handle_heal_ack(&mut self, request: u32, results: &[PushResult]) -> Result<(), SessionError> {
        let flight = match self.heal.flight.pop_front() {
            Some(flight) if flight.request == request && flight.envelopes.len() == results.len() => flight,
            _ => return Err(SessionError::Misbehaved("an acknowledgement that fits nothing sent")),
        };
        let mut given = 0;
        for (result, id) in results.iter().zip(&flight.envelopes) {
            if let Some(pos) = result.pos {
                self.pull.note_own(pos, *id);
            }
            given += u64::from(result.status.is_stored() && result.status != PushStatus::Dup);
        }
        if results.iter().any(|result| result.status == PushStatus::Dup) {
            self.heal.is_overtaken = true;
            self.heal.ranges.clear();
        }
        if results.iter().all(|result| result.status.is_stored()) {
            self.outputs.push_back(Output::HoldsOf(vec![(flight.stream, flight.through)]));
        } else {
            self.heal.ranges.retain(|range| range.stream != flight.stream);
            self.heal.sent.remove(&flight.stream);
        }
        if results.iter().any(|result| is_final(result.status)) {
            self.heal.sent.insert(flight.stream, u32::MAX);
        }
        if given > 0 {
            self.outputs.push_back(Output::Given { envelopes: given });
        }
        self.heal.settle();
        Ok(())
    }
}
