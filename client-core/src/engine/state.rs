//! What the records of a space say, kept ready: members, and the epoch secrets this device can open.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use lifeos_sync_protocol::ids::{EpochRef, RecordId, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::Record;

use crate::crypto::HpkeKey;
use crate::keys::{DeviceKeys, KeyFault, Keyring, OwnKeys, SealKey, health};
use crate::records::{KeyTrouble, OpenedEpochs, open_invite, unlock_epochs};
use crate::store::{Store, StoreError};

/// Members and keys of one space; made anew whenever a record arrives.
pub(crate) struct SpaceState {
    /// Who may read and write.
    pub(crate) membership: Membership,
    /// The epoch secrets held.
    pub(crate) keyring: Keyring,
    /// Epochs in force whose secret is not held.
    pub(crate) troubles: BTreeMap<EpochRef, KeyTrouble>,
    /// Epochs held that no later epoch opens.
    pub(super) cut_off: BTreeSet<EpochRef>,
    /// HPKE keys of later refreshes, newest last.
    pub(crate) refreshed: Vec<HpkeKey>,
    /// The store's count of changes to the records that this was made from.
    pub(crate) records_changed: u64,
}

impl SpaceState {
    /// Reads the records and opens every epoch that is sealed to this device.
    pub(crate) fn load(store: &Store, space: &SpaceId, keys: &DeviceKeys) -> Result<Self, StoreError> {
        // Asked first: what another process changes in between is seen the next time.
        let records_changed = store.records_changed(space)?;
        let records = store.records(space)?;
        let mut state = Self::of(space, &records, keys, store.hpke_keys(space, keys)?)?;
        state.records_changed = records_changed;
        // Who came in by a link that opens an epoch reads with it until a device of the space has given the key.
        if let Some(secret) = store.invite_secret(space)? {
            let mut needed = false;
            for (epoch, secret) in open_invite(&state.membership, &records, &secret.keys()).iter() {
                if state.troubles.remove(epoch).is_some() {
                    state.keyring.insert(*epoch, secret.clone());
                    needed = true;
                }
            }
            if !needed {
                store.keep_invite_secret(space, None)?;
            }
        }
        Ok(state)
    }

    /// The same from records and keys at hand.
    pub(super) fn of(
        space: &SpaceId,
        records: &[Record],
        keys: &DeviceKeys,
        refreshed: Vec<HpkeKey>,
    ) -> Result<Self, StoreError> {
        let membership =
            Membership::evaluate(space, records).map_err(|_| StoreError::Corrupt { what: "the records of a space" })?;
        let own = OwnKeys { refreshed: &refreshed, ..OwnKeys::first(keys) };
        let OpenedEpochs { keyring, troubles, cut_off } = unlock_epochs(&membership, records, own);
        Ok(Self { membership, keyring, troubles, cut_off, refreshed, records_changed: 0 })
    }

    /// All keys of this device.
    pub(crate) fn own_keys<'a>(&'a self, keys: &'a DeviceKeys) -> OwnKeys<'a> {
        OwnKeys { refreshed: &self.refreshed, ..OwnKeys::first(keys) }
    }

    /// What the records opened, for writing further ones.
    pub(crate) fn opened(&self) -> OpenedEpochs {
        OpenedEpochs { keyring: self.keyring.clone(), troubles: self.troubles.clone(), cut_off: self.cut_off.clone() }
    }

    /// The key to seal under, after every check.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub(crate) fn seal_key(&self, keys: &DeviceKeys) -> Result<SealKey, KeyFault> {
        health(&keys.sign_pk(), self.own_keys(keys), &self.membership, &self.keyring)
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
