//! Records equal on both sides, before anything else: they decide who may write and which keys exist.

use std::collections::VecDeque;

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
}

/// State of the exchange.
#[derive(Debug, Default)]
pub(super) struct RecordSync {
    step: Step,
    relay_heads: Vec<RecordId>,
    queue: VecDeque<Vec<Vec<u8>>>,
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

    pub(super) fn handle_records_loaded(&mut self, records: Vec<Vec<u8>>) {
        if self.records.step != Step::Loading {
            return;
        }
        self.records.queue = pages(records);
        self.push_next_records();
    }

    fn push_next_records(&mut self) {
        match self.records.queue.pop_front() {
            Some(records) => {
                let more = !self.records.queue.is_empty() && !matches!(self.phase, Phase::Seeding);
                let frame = Frame::Rec { session: self.number, records, more };
                self.records.step = Step::Pushing(self.ask(&frame));
            }
            None => self.records_are_equal(),
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
        let is_refused = |status: &&RecordStatus| matches!(status, RecordStatus::Parked | RecordStatus::Refused);
        let count = if self.records.cut_behind { 0 } else { results.iter().filter(is_refused).count() };
        if count > 0 {
            self.outputs.push_back(Output::RecordsRefused { count });
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

    fn records_are_equal(&mut self) {
        self.records.step = Step::Quiet;
        self.records.relay_heads.clone_from(&self.rec_heads);
        if matches!(self.phase, Phase::Seeding) {
            self.open();
            return;
        }
        self.records.agreed = true;
        self.outputs.push_back(Output::RecordsEqual);
    }
}

fn same_heads(left: &[RecordId], right: &[RecordId]) -> bool {
    let sorted = |heads: &[RecordId]| heads.iter().copied().collect::<std::collections::BTreeSet<_>>();
    sorted(left) == sorted(right)
}

/// Cuts records into frames by count and bytes, order kept.
fn pages(records: Vec<Vec<u8>>) -> VecDeque<Vec<Vec<u8>>> {
    let mut pages: VecDeque<Vec<Vec<u8>>> = VecDeque::new();
    let mut bytes = 0;
    for record in records {
        let fits =
            |page: &Vec<Vec<u8>>| page.len() < limits::FRAME_RECORDS_MAX && bytes + record.len() <= REC_FRAME_BYTES;
        match pages.back_mut().filter(|page| fits(page)) {
            Some(page) => {
                bytes += record.len();
                page.push(record);
            }
            None => {
                bytes = record.len();
                pages.push_back(vec![record]);
            }
        }
    }
    pages
}
