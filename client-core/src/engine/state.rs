//! What the records of a space say, kept ready: members, and the epoch secrets this device can open.

use std::collections::{HashMap, HashSet};

use lifeos_sync_protocol::ids::{EpochRef, RecordId, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::Record;

use crate::keys::{DeviceKeys, EpochSecret, Keyring};
use crate::records::open_epochs;
use crate::store::{Store, StoreError};

/// Members and keys of one space; made anew whenever a record arrives.
pub(crate) struct SpaceState {
    /// Who may read and write.
    pub(crate) membership: Membership,
    /// The epoch secrets held.
    pub(crate) keyring: Keyring,
    /// How many records this was made from.
    pub(super) record_count: usize,
}

impl SpaceState {
    /// Reads the records and opens every epoch that is sealed to this device.
    pub(crate) fn load(store: &Store, space: &SpaceId, keys: &DeviceKeys) -> Result<Self, StoreError> {
        let records = store.records(space)?;
        Self::of_records(space, &records, keys)
    }

    fn of_records(space: &SpaceId, records: &[Record], keys: &DeviceKeys) -> Result<Self, StoreError> {
        let membership =
            Membership::evaluate(space, records).map_err(|_| StoreError::Corrupt { what: "the records of a space" })?;
        let keyring = open_epochs(&membership, records, keys);
        Ok(Self { membership, keyring, record_count: records.len() })
    }

    /// The epoch to seal under, with its secret.
    pub(crate) fn current_epoch(&self) -> Option<(EpochRef, &EpochSecret)> {
        let epoch = self.membership.current_epoch()?;
        Some((epoch, self.keyring.find(&epoch)?))
    }
}

/// The records that are neither `known` nor ancestors of a known one, in the order given.
pub(crate) fn records_beyond<'a>(records: &'a [Record], known: &[RecordId]) -> Vec<&'a Record> {
    let by_id: HashMap<RecordId, &Record> = records.iter().map(|record| (record.id(), record)).collect();
    let mut covered = HashSet::new();
    let mut open: Vec<RecordId> = known.to_vec();
    while let Some(id) = open.pop() {
        if let Some(record) = by_id.get(&id)
            && covered.insert(id)
        {
            open.extend_from_slice(record.parents());
        }
    }
    records.iter().filter(|record| !covered.contains(&record.id())).collect()
}
