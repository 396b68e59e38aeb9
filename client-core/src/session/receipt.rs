//! Receipts: this device's own, once a round or after a quiet moment, and those that the relay tells of others.
//!
//! ```text
//! something came ─▶ everything received is on disk, own stream acknowledged
//!   ─ once: at the first such moment
//!   ─ later: quiet for a while and some time after the last one, or very much has come
//!   ─▶ a fresh statement, if the log went on ─▶ the store makes one or sees no reason to ─▶ PUSH ─▶ kept
//! ```
//!
//! Only items and records count as something: what other devices say of themselves is no reason to say anything, or two
//! devices would never be still.

use std::collections::VecDeque;

use lifeos_sync_protocol::frame::{Frame, PushResult, PushStatus};

use super::{Asked, Output, Phase, Session, SessionError};
use crate::envelope::SealedEnvelope;
use crate::presence;
use crate::receipt::{NEWS_MAX, QUIET_MS, looks_like_one};

/// Bytes of others' receipts that wait until the records are equal; the relay tells what is over again some day.
const HEARD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How far an own receipt has come.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// None is under way.
    Resting,
    /// The relay signs what its log looks like now.
    Stating,
    /// The store makes one.
    Loading,
    /// PUSH with this request.
    Sent(u32),
}

/// State of receipts.
#[derive(Debug)]
pub(super) struct Receipts {
    step: Step,
    /// Time between two.
    every_ms: u64,
    /// When the store was asked last; `None`: not on this connection.
    asked_ms: Option<u64>,
    /// Items and records that came since.
    news: usize,
    news_ms: u64,
    heard: VecDeque<Vec<u8>>,
    heard_bytes: usize,
}

impl Receipts {
    pub(super) const fn new(every_ms: u64) -> Self {
        Self {
            step: Step::Resting,
            every_ms,
            asked_ms: None,
            news: 0,
            news_ms: 0,
            heard: VecDeque::new(),
            heard_bytes: 0,
        }
    }

    /// Something came.
    pub(super) const fn note_news(&mut self, count: usize, now_ms: u64) {
        self.news = self.news.saturating_add(count);
        self.news_ms = now_ms;
    }

    /// Whether a round of sync needs nothing more of this.
    pub(super) fn is_quiet(&self) -> bool {
        self.step == Step::Resting && self.asked_ms.is_some()
    }

    /// Whether an answer of the relay is outstanding.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.step, Step::Sent(_))
    }

    pub(super) fn is_in_flight(&self, request: u32) -> bool {
        self.step == Step::Sent(request)
    }

    /// The relay does not take it now: there is still something to say.
    pub(super) const fn give_up(&mut self, now_ms: u64) {
        self.step = Step::Resting;
        self.note_news(1, now_ms);
    }

    fn is_due(&self, now_ms: u64) -> bool {
        let Some(asked_ms) = self.asked_ms else { return true };
        let rested = now_ms.saturating_sub(asked_ms) >= self.every_ms;
        let is_still = now_ms.saturating_sub(self.news_ms) >= QUIET_MS;
        is_still && (self.news >= NEWS_MAX || (self.news > 0 && rested))
    }
}

impl Session {
    pub(super) fn drive_receipts(&mut self) {
        for receipt in std::mem::take(&mut self.receipts.heard) {
            self.outputs.push_back(Output::Receipt(receipt));
        }
        self.receipts.heard_bytes = 0;
        let settled = self.records.is_quiet() && self.pull.is_quiet() && self.push.is_settled();
        if !settled || self.statement != Asked::Done {
            return;
        }
        match self.receipts.step {
            Step::Resting if !self.receipts.is_due(self.now_ms) => return,
            // The log went on: what the relay says of it now goes with the receipt.
            Step::Resting if self.receipts.asked_ms.is_some() && !self.pull.is_at(self.stated_pos) => {
                (self.receipts.step, self.statement) = (Step::Stating, Asked::No);
                return self.ask_for_statement();
            }
            Step::Resting | Step::Stating => {}
            Step::Loading | Step::Sent(_) => return,
        }
        (self.receipts.step, self.receipts.news) = (Step::Loading, 0);
        self.receipts.asked_ms = Some(self.now_ms);
        self.outputs.push_back(Output::LoadReceipt);
    }

    pub(super) fn handle_own_receipt(&mut self, receipt: Option<SealedEnvelope>) {
        if self.receipts.step != Step::Loading {
            return;
        }
        self.receipts.step = match receipt {
            Some(receipt) => {
                Step::Sent(self.ask(&Frame::Push { session: self.number, envelopes: vec![receipt.bytes] }))
            }
            None => Step::Resting,
        };
    }

    pub(super) fn handle_receipt_ack(&mut self, results: &[PushResult]) -> Result<(), SessionError> {
        let [result] = results else {
            return Err(SessionError::Misbehaved("an acknowledgement that fits nothing sent"));
        };
        self.receipts.step = Step::Resting;
        match result.status {
            PushStatus::Ok | PushStatus::OkStaleEpoch => self.outputs.push_back(Output::ReceiptTaken),
            PushStatus::Rate | PushStatus::UnknownEpoch => self.receipts.give_up(self.now_ms),
            // Another copy of this home counts, or the device may not be here: nothing that saying it again would heal.
            status => tracing::debug!(?status, "the relay does not keep the receipt"),
        }
        Ok(())
    }

    /// A receipt waits until the records are equal. Presence does not, and of what came before that nothing is said.
    pub(super) fn handle_ephemeral(&mut self, envelope: Vec<u8>) {
        if presence::looks_like_one(&envelope) {
            if matches!(self.phase, Phase::Open) {
                self.outputs.push_back(Output::Presence(envelope));
            }
            return;
        }
        let fits = self.receipts.heard_bytes.saturating_add(envelope.len()) <= HEARD_BYTES_MAX;
        if fits && looks_like_one(&envelope) {
            self.receipts.heard_bytes += envelope.len();
            self.receipts.heard.push_back(envelope);
        }
    }

    /// Nobody answers it, and while the connection is not open nobody is told.
    pub(super) fn send_presence(&mut self, envelope: Vec<u8>) {
        if matches!(self.phase, Phase::Open) {
            self.send(&Frame::Ephemeral { session: self.number, envelope }, 0);
        }
    }
}
