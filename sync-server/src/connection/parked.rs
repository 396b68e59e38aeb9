//! Records whose parents are not here yet: a session keeps a few in memory, so that records which overtook one another
//! need not be sent again. Bounded by count for a session, and by bytes for a connection and for the relay as a whole.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lifeos_sync_protocol::frame::RecordStatus;
use lifeos_sync_protocol::record::Record;

use super::{Connection, Refusal};
use crate::server::Relay;

/// The waiting records of one session; they count among the relay's until they are taken, or the session ends.
pub(super) struct Parked {
    records: Vec<Record>,
    bytes: usize,
    relay: Arc<Relay>,
}

impl Parked {
    pub(super) const fn new(relay: Arc<Relay>) -> Self {
        Self { records: Vec::new(), bytes: 0, relay }
    }

    /// All of them.
    pub(super) fn take(&mut self) -> Vec<Record> {
        self.relay.parked_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
        std::mem::take(&mut self.records)
    }

    /// Keeps one more; false if there is no room. `bytes_max`: what the session may hold.
    fn keep(&mut self, record: Record, bytes_max: usize) -> bool {
        let (limits, size) = (&self.relay.limits, record.bytes().len());
        if self.records.len() >= limits.records_parked_max || self.bytes.saturating_add(size) > bytes_max {
            return false;
        }
        let grown = |all: usize| all.checked_add(size).filter(|all| *all <= limits.parked_bytes_max);
        if self.relay.parked_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_err() {
            return false;
        }
        self.bytes += size;
        self.records.push(record);
        true
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.take();
    }
}

impl Connection {
    /// Lets these records wait, in the place of those that waited. What there is no room for is refused: it has to be
    /// sent again, after its parents.
    pub(super) fn park(
        &mut self,
        number: u32,
        waiting: Vec<(Option<usize>, Record)>,
        results: &mut [RecordStatus],
    ) -> Result<(), Refusal> {
        let others = self.sessions.iter().filter(|(other, _)| **other != number);
        let elsewhere: usize = others.map(|(_, session)| session.parked.bytes).sum();
        let bytes_max = self.relay.limits.parked_bytes_per_connection_max.saturating_sub(elsewhere);
        let parked = &mut self.session(number)?.parked;
        drop(parked.take());
        for (index, record) in waiting {
            if !parked.keep(record, bytes_max)
                && let Some(result) = index.and_then(|index| results.get_mut(index))
            {
                *result = RecordStatus::Refused;
            }
        }
        Ok(())
    }
}
