//! Records equal on both sides, before anything else: they decide who may write and which keys exist.

use std::collections::{BTreeSet, VecDeque};

use lifeos_sync_protocol::frame::{Frame, RecordStatus};
use lifeos_sync_protocol::ids::RecordId;
use lifeos_sync_protocol::limits;

use super::{Output, Phase, Session, SessionError};

/// Bytes of records put into one REC frame; one larger record travels alone.
const REC_FRAME_BYTES: usize = 512 * 1024;

/// What the exchange waits for.
#[derive(Debug, Default, PartialEq, Eq)]
enum Step {
    /// Nothing.
    #[default]
    Quiet,
    /// REC frames that answer this request.
    Fetching(u32),
    /// The store, after the last REC.
    Storing,
    /// The store, for what the relay lacks.
    Loading,
    /// RECACK for this request.
    Pushing(u32),
    /// The store, for what the relay refused.
    TakingBack,
}

/// Records with their ids, parents first.
type Page = Vec<(RecordId, Vec<u8>)>;

/// State of the exchange.
#[derive(Debug, Default)]
pub(super) struct RecordSync {
    step: Step,
    relay_heads: Vec<RecordId>,
    queue: VecDeque<Page>,
    /// Those that RECACK answers, in order.
    sent: Vec<RecordId>,
    /// Of all that was sent on this connection, what the relay did not store.
    untaken: BTreeSet<RecordId>,
    /// Of these, what it refused and nobody here has heard of yet.
    refused: Vec<RecordId>,
    stores: u32,
    agreed: bool,
    /// Push what the relay lacks once more.
    again: bool,
    /// Fetch what is lacking here once more.
    fetch: bool,
    /// The relay did not store a removal, because it holds more of the removed device than that says.
    cut_behind: bool,
}

impl RecordSync {
    /// Both sides have held the same records once on this connection.
    pub(super) const fn is_agreed(&self) -> bool {
        self.agreed
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.step == Step::Quiet && self.stores == 0 && !self.again && !self.fetch
    }

    pub(super) const fn fetch_again(&mut self) {
        self.fetch = true;
    }

    /// Whether an answer of the relay is outstanding.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.step, Step::Fetching(_) | Step::Pushing(_))
    }
}

impl Session {
    /// The relay does not know the space: the first records go, Genesis first.
    pub(super) fn seed_records(&mut self) {
        self.records.step = Step::Loading;
        self.outputs.push_back(Output::LoadRecords { known: Vec::new() });
    }

    /// After STATE: fetch what the relay has more, then push what it has less.
    pub(super) fn begin_records(&mut self, relay_heads: Vec<RecordId>) {
        let equal = same_heads(&relay_heads, &self.rec_heads);
        self.records.relay_heads = relay_heads;
        if equal {
            self.records_are_equal();
            return;
        }
        self.fetch_records();
    }

    fn fetch_records(&mut self) {
        let want = Frame::RecWant { session: self.number, ids: Vec::new(), heads: self.rec_heads.clone() };
        self.records.step = Step::Fetching(self.ask(&want));
    }

    /// Pushes all records again: the relay says that it misses one.
    pub(super) fn push_all_records(&mut self) {
        self.records.relay_heads.clear();
        self.records.again = true;
    }

    pub(super) fn drive_records(&mut self) {
        if self.records.step != Step::Quiet {
            return;
        }
        if self.records.fetch {
            self.records.fetch = false;
            self.fetch_records();
        } else if self.records.again {
            self.records.again = false;
            self.load_missing();
        }
    }

    pub(super) fn handle_rec(&mut self, request: u32, records: Vec<Vec<u8>>, more: bool) -> Result<(), SessionError> {
        let answered = self.records.step == Step::Fetching(request);
        if !answered && request != 0 {
            return Err(SessionError::Misbehaved("records nobody asked for"));
        }
        if answered && !more {
            self.records.step = Step::Storing;
        }
        // An empty page has nothing to store, yet its answer moves the exchange on; so it takes the same way.
        self.records.stores += 1;
        if !records.is_empty() {
            self.receipts.note_news(records.len(), self.now_ms);
        }
        self.outputs.push_back(Output::StoreRecords(records));
        Ok(())
    }

    pub(super) fn handle_records_stored(&mut self, heads: Vec<RecordId>) {
        self.rec_heads = heads;
        self.records.stores = self.records.stores.saturating_sub(1);
        if self.records.stores == 0 && self.records.step == Step::Storing {
            self.load_missing();
        }
    }

    pub(super) fn handle_records_changed(&mut self, heads: Vec<RecordId>) {
        self.rec_heads = heads;
        self.records.again = true;
        if std::mem::take(&mut self.records.cut_behind) {
            // The removal goes again, together with the one beside it that cuts later.
            self.records.relay_heads.clear();
        }
    }

    fn load_missing(&mut self) {
        self.records.step = Step::Loading;
        self.outputs.push_back(Output::LoadRecords { known: self.records.relay_heads.clone() });
    }

    pub(super) fn handle_records_loaded(&mut self, records: Page) {
        if self.records.step != Step::Loading {
            return;
        }
        self.records.queue = pages(records);
        self.push_next_records();
    }

    fn push_next_records(&mut self) {
        match self.records.queue.pop_front() {
            Some(page) => {
                let (sent, records) = page.into_iter().unzip();
                self.records.sent = sent;
                let more = !self.records.queue.is_empty() && !matches!(self.phase, Phase::Seeding);
                let frame = Frame::Rec { session: self.number, records, more };
                self.records.step = Step::Pushing(self.ask(&frame));
            }
            None if self.records.refused.is_empty() => self.records_are_equal(),
            None => {
                self.records.step = Step::TakingBack;
                self.outputs.push_back(Output::RecordsRefused(std::mem::take(&mut self.records.refused)));
            }
        }
    }

    pub(super) fn handle_records_taken_back(&mut self, heads: Vec<RecordId>, changed: bool) {
        self.rec_heads = heads;
        if self.records.step != Step::TakingBack {
            return;
        }
        if changed {
            // The heads that the relay was thought to have may be among what is gone.
            self.records.relay_heads.clear();
            self.load_missing();
        } else {
            self.records_are_equal();
        }
    }

    pub(super) fn handle_rec_ack(&mut self, request: u32, results: &[RecordStatus]) -> Result<(), SessionError> {
        if self.records.step != Step::Pushing(request) {
            return Err(SessionError::Misbehaved("an answer to records nobody sent"));
        }
        if results.contains(&RecordStatus::CutBehind) {
            self.records.cut_behind = true;
            self.outputs.push_back(Output::CutBehind);
        }
        for (record, status) in std::mem::take(&mut self.records.sent).into_iter().zip(results) {
            self.note_status(record, *status);
        }
        if matches!(self.phase, Phase::Seeding) {
            // One frame makes the space known; what is left follows as for any space, after OPEN.
            self.records.queue.clear();
            self.records.step = Step::Quiet;
            self.open();
            return Ok(());
        }
        self.push_next_records();
        Ok(())
    }

    fn note_status(&mut self, record: RecordId, status: RecordStatus) {
        if matches!(status, RecordStatus::Ok | RecordStatus::Dup) {
            self.records.untaken.remove(&record);
            return;
        }
        let is_new = self.records.untaken.insert(record);
        // What is parked behind a removal that cuts too early follows when that was written again.
        let is_refused =
            status == RecordStatus::Refused || (status == RecordStatus::Parked && !self.records.cut_behind);
        if is_new && is_refused {
            self.records.refused.push(record);
        }
    }

    fn records_are_equal(&mut self) {
        self.records.step = Step::Quiet;
        self.records.relay_heads.clone_from(&self.rec_heads);
        if matches!(self.phase, Phase::Seeding) {
            self.open();
            return;
        }
        self.records.agreed = true;
        let (heads, untaken) = (self.rec_heads.clone(), self.records.untaken.iter().copied().collect());
        self.outputs.push_back(Output::RecordsEqual { heads, untaken });
    }
}

fn same_heads(left: &[RecordId], right: &[RecordId]) -> bool {
    let sorted = |heads: &[RecordId]| heads.iter().copied().collect::<std::collections::BTreeSet<_>>();
    sorted(left) == sorted(right)
}

/// Cuts records into frames by count and bytes, order kept.
fn pages(records: Page) -> VecDeque<Page> {
    let mut pages: VecDeque<Page> = VecDeque::new();
    let mut bytes = 0;
    for record in records {
        let length = record.1.len();
        let fits = |page: &Page| page.len() < limits::FRAME_RECORDS_MAX && bytes + length <= REC_FRAME_BYTES;
        match pages.back_mut().filter(|page| fits(page)) {
            Some(page) => {
                bytes += length;
                page.push(record);
            }
            None => {
                bytes = length;
                pages.push_back(vec![record]);
            }
        }
    }
    pages
}
