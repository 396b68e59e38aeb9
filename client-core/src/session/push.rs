//! Sending the own stream: a window of PUSH frames, answers in order, every refusal mapped to what follows
//! from it. Acknowledged means that the relay has it on disk.

use std::collections::VecDeque;

use lifeos_sync_protocol::frame::{Frame, PushResult, PushStatus};
use lifeos_sync_protocol::ids::EnvelopeId;
use lifeos_sync_protocol::limits;

use super::{Output, PushStop, Session, SessionError};
use crate::envelope::SealedEnvelope;

/// Why pushing rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushPause {
    /// The quota is used up.
    #[error("the relay's quota for this space is used up: free space there or ask its operator for more")]
    Quota,
    /// Too fast.
    #[error("the relay asks to send more slowly: sync again in a minute")]
    Rate,
    /// The relay cannot store now.
    #[error("the relay's disk is full or failing: ask its operator to free space; your edits wait here")]
    Unavailable,
}

/// Bytes of envelopes in one PUSH; one larger envelope travels alone. The relay checks one signature for each
/// run of a frame and never cuts a page inside one, so this also bounds what other devices take in at once.
pub(super) const FRAME_BYTES: usize = 96 * 1024;
/// Bytes sent and not acknowledged; bounds what waits in the transport.
const FLIGHT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// First pause after a refusal that passes by itself; doubles up to [`PAUSE_MS_MAX`].
const PAUSE_MS_MIN: u64 = 1_000;
/// Longest pause.
const PAUSE_MS_MAX: u64 = 60_000;
/// How often all records are sent again because the relay does not know an epoch.
const EPOCH_TRIES_MAX: u8 = 2;

/// One PUSH frame that has not been answered.
#[derive(Debug)]
struct Flight {
    request: u32,
    turn: u32,
    bytes: usize,
    envelopes: Vec<(u32, EnvelopeId)>,
}

/// State of sending.
#[derive(Debug)]
pub(super) struct Push {
    open: bool,
    stop: Option<PushStop>,
    paused_until_ms: Option<u64>,
    pause_ms: u64,
    /// Last sequence the relay holds durably.
    acked: u32,
    /// Last sequence taken from the outbox.
    taken: u32,
    loading: Option<u32>,
    /// The outbox may hold more than was taken.
    more: bool,
    changed_while_loading: bool,
    queue: VecDeque<SealedEnvelope>,
    flight: VecDeque<Flight>,
    /// Grows with every rewind, so that answers to what was sent before it are told apart.
    turn: u32,
    last_gap: Option<u32>,
    epoch_tries: u8,
    /// The relay may have lost what it acknowledged.
    doubted: bool,
    /// What is loaded next must begin at a floor of the relay.
    at_floor: bool,
}

impl Push {
    pub(super) fn new(acked: u32) -> Self {
        Self {
            open: false,
            stop: None,
            paused_until_ms: None,
            pause_ms: 0,
            acked,
            taken: acked,
            loading: None,
            more: false,
            changed_while_loading: false,
            queue: VecDeque::new(),
            flight: VecDeque::new(),
            turn: 0,
            last_gap: None,
            epoch_tries: 0,
            doubted: false,
            at_floor: false,
        }
    }

    /// Whether the relay holds other things than this device, so that it may have been put back to an earlier state.
    pub(super) const fn doubt_acks(&mut self, doubted: bool) {
        self.doubted = doubted;
    }

    pub(super) fn reopen(&mut self) {
        // The last acknowledged envelope once more: DUP, or a GAP that tells from where the relay lacks the stream.
        if std::mem::take(&mut self.doubted) && self.taken == self.acked {
            self.taken = self.acked.saturating_sub(1);
        }
        self.open = true;
        self.more = true;
        self.changed_while_loading = self.loading.is_some();
    }

    /// The relay said that it holds so much of the own stream.
    pub(super) fn begin_after(&mut self, held: u32) {
        self.doubted = false;
        self.rewind(held);
    }

    /// The relay's log is another one: it has nothing of this device.
    pub(super) fn forget_acks(&mut self) {
        self.rewind(0);
    }

    pub(super) fn tick(&mut self, now_ms: u64) {
        if self.paused_until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
            self.paused_until_ms = None;
        }
    }

    /// Whether nothing more goes out now: all is acknowledged, or pushing has ended or rests.
    pub(super) fn is_settled(&self) -> bool {
        self.is_quiet() || (self.flight.is_empty() && self.paused_until_ms.is_some())
    }

    pub(super) fn is_quiet(&self) -> bool {
        let drained = self.queue.is_empty() && !self.more && self.loading.is_none() && self.paused_until_ms.is_none();
        self.flight.is_empty() && (self.stop.is_some() || (self.open && drained))
    }

    /// Nothing of this device's is taken any more on this connection.
    pub(super) const fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Whether an answer of the relay is outstanding.
    pub(super) fn is_waiting(&self) -> bool {
        !self.flight.is_empty()
    }

    pub(super) fn is_in_flight(&self, request: u32) -> bool {
        self.flight.iter().any(|flight| flight.request == request)
    }

    /// The relay may tell everybody, this device included, before it acknowledges.
    pub(super) fn is_envelope_in_flight(&self, id: &EnvelopeId) -> bool {
        self.flight.iter().any(|flight| flight.envelopes.iter().any(|(_, sent)| sent == id))
    }

    pub(super) fn refused_frame(&mut self, request: u32) {
        self.flight.retain(|flight| flight.request != request);
    }

    /// Begins again after `acked`; whatever is in flight counts only where the relay stored it.
    fn rewind(&mut self, acked: u32) {
        self.acked = acked;
        self.taken = acked;
        self.queue.clear();
        self.loading = None;
        self.at_floor = false;
        self.more = true;
        self.turn = self.turn.wrapping_add(1);
    }

    fn flight_bytes(&self) -> usize {
        self.flight.iter().map(|flight| flight.bytes).sum()
    }

    /// The next frame's envelopes, within the limits.
    fn next_frame(&mut self, envelopes_max: usize) -> Vec<SealedEnvelope> {
        let mut bytes = 0;
        let mut frame = Vec::new();
        while let Some(envelope) = self.queue.front() {
            bytes += envelope.bytes.len();
            if !frame.is_empty() && (frame.len() >= envelopes_max || bytes > FRAME_BYTES) {
                break;
            }
            frame.extend(self.queue.pop_front());
        }
        frame
    }
}

impl Session {
    pub(super) fn drive_push(&mut self) {
        let rests = self.push.stop.is_some() || self.push.paused_until_ms.is_some() || !self.records.is_quiet();
        // What is held of the own stream the other side is about to say.
        let is_told = self.by_streams.is_none() || self.vector.is_none();
        if !self.push.open || rests || !is_told {
            return;
        }
        while !self.push.queue.is_empty()
            && self.push.flight.len() < usize::from(self.peer.push_window)
            && self.push.flight_bytes() < FLIGHT_BYTES_MAX
        {
            self.push_frame();
        }
        if self.push.more && self.push.loading.is_none() && self.push.queue.is_empty() {
            self.push.loading = Some(self.push.taken);
            self.outputs.push_back(Output::LoadOutbox {
                after_seq: self.push.taken,
                envelopes_max: limits::FRAME_ENVELOPES_MAX,
                bytes_max: FRAME_BYTES,
            });
        }
    }

    fn push_frame(&mut self) {
        let sent = self.push.next_frame(usize::from(self.peer.frame_envelopes_max));
        let envelopes: Vec<_> = sent.iter().map(|envelope| (envelope.seq, envelope.id)).collect();
        let bytes = sent.iter().map(|envelope| envelope.bytes.len()).sum();
        let frame =
            Frame::Push { session: self.number, envelopes: sent.into_iter().map(|envelope| envelope.bytes).collect() };
        let request = self.ask(&frame);
        self.push.flight.push_back(Flight { request, turn: self.push.turn, bytes, envelopes });
    }

    pub(super) fn handle_outbox(&mut self, after_seq: u32, envelopes: Vec<SealedEnvelope>) {
        if self.push.loading != Some(after_seq) {
            return; // asked for before a rewind
        }
        self.push.loading = None;
        let at_floor = std::mem::take(&mut self.push.at_floor);
        if at_floor && envelopes.first().is_none_or(|first| first.seq != after_seq + 1) {
            // It is not held here: which branch the relay has, nobody can tell.
            return self.stop_push(PushStop::Inconsistent);
        }
        // What lies before the first is pruned here, as it is wherever it was held: a checkpoint stands for it.
        if let Some(first) = envelopes.first().filter(|first| after_seq == self.push.acked && first.seq > after_seq) {
            self.push.acked = first.seq - 1;
        }
        match envelopes.last() {
            Some(last) => self.push.taken = last.seq,
            None => self.push.more = self.push.changed_while_loading,
        }
        self.push.changed_while_loading = false;
        self.push.queue.extend(envelopes);
    }

    pub(super) fn handle_push_ack(&mut self, request: u32, results: &[PushResult]) -> Result<(), SessionError> {
        let flight = match self.push.flight.pop_front() {
            Some(flight) if flight.request == request && flight.envelopes.len() == results.len() => flight,
            _ => return Err(SessionError::Misbehaved("an acknowledgement that fits nothing sent")),
        };
        let before = self.push.acked;
        let mut refusal = None;
        for (result, (seq, id)) in results.iter().zip(&flight.envelopes) {
            if !result.status.is_stored() {
                refusal = Some((*seq, result.status));
                break;
            }
            if *seq == self.push.acked.saturating_add(1) {
                self.push.acked = *seq;
            }
            if let Some(pos) = result.pos {
                self.pull.note_own(pos, *id);
            }
        }
        if self.push.acked != before {
            self.push.last_gap = None;
            self.push.epoch_tries = 0;
            self.push.pause_ms = 0;
            self.outputs.push_back(Output::Acked { through_seq: self.push.acked });
        }
        match refusal {
            Some((seq, status)) if flight.turn == self.push.turn => self.handle_refusal(seq, status),
            _ => {}
        }
        Ok(())
    }

    fn handle_refusal(&mut self, seq: u32, status: PushStatus) {
        match status {
            PushStatus::Gap { expected } => self.handle_gap(seq, expected),
            PushStatus::UnknownEpoch if self.push.epoch_tries < EPOCH_TRIES_MAX => {
                self.push.epoch_tries += 1;
                self.push_all_records();
                self.push.rewind(self.push.acked);
            }
            PushStatus::UnknownEpoch => self.stop_push(PushStop::UnknownEpoch),
            PushStatus::Quota => self.pause_push(PushPause::Quota, PAUSE_MS_MAX),
            PushStatus::Rate => self.pause_push(PushPause::Rate, 0),
            PushStatus::Fork { .. } => self.stop_push(PushStop::Fork),
            PushStatus::Removed => self.stop_push(PushStop::Removed),
            PushStatus::NotMember | PushStatus::NotWriter => self.stop_push(PushStop::NotWriter),
            _ => self.stop_push(PushStop::Refused),
        }
    }

    /// The relay wants an earlier sequence first; asking twice for the same one leads nowhere.
    fn handle_gap(&mut self, seq: u32, expected: u32) {
        if self.push.last_gap.replace(expected) == Some(expected) {
            return self.stop_push(PushStop::Inconsistent);
        }
        let Some(acked) = expected.checked_sub(1).filter(|acked| *acked < seq) else {
            return self.go_on_at_floor(expected);
        };
        self.push.rewind(acked);
        self.outputs.push_back(Output::Acked { through_seq: acked });
    }

    /// The relay holds the stream up to a later place as part of a checkpoint, and cannot compare what lies before it:
    /// a home that was put back had more acknowledged than it remembers. What stands at that place it can compare.
    fn go_on_at_floor(&mut self, expected: u32) {
        let Some(before) = expected.checked_sub(2) else { return self.stop_push(PushStop::Inconsistent) };
        self.push.rewind(before);
        self.push.at_floor = true;
    }

    pub(super) fn pause_push(&mut self, reason: PushPause, retry_after_ms: u64) {
        let doubled_ms = (self.push.pause_ms * 2).clamp(PAUSE_MS_MIN, PAUSE_MS_MAX);
        self.push.pause_ms = doubled_ms.max(retry_after_ms.min(PAUSE_MS_MAX));
        self.push.paused_until_ms = Some(self.now_ms + self.push.pause_ms);
        self.push.rewind(self.push.acked);
        self.outputs.push_back(Output::PushPaused { retry_ms: self.push.pause_ms, reason });
    }

    fn stop_push(&mut self, reason: PushStop) {
        self.push.stop = Some(reason);
        self.push.rewind(self.push.acked);
        self.outputs.push_back(Output::PushStopped(reason));
    }
}
