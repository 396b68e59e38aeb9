//! Checkpoints as the membership in force has them.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use lifeos_sync_protocol::ids::{EnvelopeId, RecordId, StreamId};
use lifeos_sync_protocol::membership::CheckpointStanding;
use lifeos_sync_protocol::record::{Body, Floor, Record};

use super::View;

/// A floor that an earlier checkpoint had already: its stream has not moved since.
pub(crate) type Settled = (StreamId, u32, EnvelopeId);

impl View {
    /// The same with the records of the checkpoints that are good in it.
    pub(super) fn with_checkpoints(mut self, records: &[Arc<Record>]) -> Self {
        let good = records.iter().filter(|record| self.membership.checkpoints.contains_key(&record.id()));
        self.checkpoints = good.map(|record| (record.id(), Arc::clone(record))).collect();
        self
    }

    /// Good checkpoints.
    pub(crate) fn checkpoints(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.checkpoints.values()
    }

    /// A good checkpoint.
    pub(crate) fn checkpoint(&self, id: &RecordId) -> Option<&Arc<Record>> {
        self.checkpoints.get(id)
    }

    /// Whether a checkpoint is endorsed, and nobody objects.
    pub(crate) fn stands(&self, checkpoint: &RecordId) -> bool {
        self.membership.checkpoint_standing(checkpoint) == Some(CheckpointStanding::Endorsed)
    }

    /// The checkpoints that one continues, and those that these continue.
    pub(crate) fn before(&self, id: &RecordId) -> BTreeSet<RecordId> {
        let previous = |id: &RecordId| self.membership.checkpoints.get(id).map(|made| made.previous.as_slice());
        let mut before = BTreeSet::new();
        let mut open: Vec<RecordId> = previous(id).unwrap_or_default().to_vec();
        while let Some(id) = open.pop() {
            if before.insert(id) {
                open.extend(previous(&id).unwrap_or_default());
            }
        }
        before
    }

    /// The floors of the checkpoints that one continues, and of those that these continue.
    pub(crate) fn floors_before(&self, id: &RecordId) -> HashSet<Settled> {
        let before = self.before(id);
        let records = before.iter().filter_map(|id| self.checkpoint(id));
        let cuts = records.filter_map(|record| match record.body() {
            Body::Checkpoint { cut, .. } => Some(cut),
            _ => None,
        });
        cuts.flatten().map(|floor| (floor.stream, floor.seq, floor.id)).collect()
    }

    /// The floor that an envelope continues: a stream whose beginning nobody has any more is taken from there on. A
    /// checkpoint that somebody objects to says nothing: else its floors could keep out what it leaves out.
    pub(crate) fn floor_below(&self, stream: &StreamId, seq: u32, prev: &EnvelopeId) -> Option<Floor> {
        let standing = |id: &RecordId| self.membership.checkpoint_standing(id);
        self.checkpoints.iter().find_map(|(id, record)| {
            let Body::Checkpoint { cut, .. } = record.body() else { return None };
            // Floors of a good checkpoint ascend.
            let at = cut.binary_search_by(|floor| floor.stream.cmp(stream)).ok()?;
            let floor = cut.get(at).filter(|floor| floor.seq.checked_add(1) == Some(seq) && floor.id == *prev)?;
            (standing(id) != Some(CheckpointStanding::Blocked)).then_some(*floor)
        })
    }
}
