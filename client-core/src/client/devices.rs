//! Removing devices, taking in what a removed one wrote last, and making new keys.

use lifeos_sync_protocol::ids::{EnvelopeId, RecordId, SignPk};
use lifeos_sync_protocol::record::{DeviceKind, RemoveReason};

use super::names::PREFIX_MIN;
use super::{Client, ClientError, RemovalReport, RotationReport};
use crate::crypto::SystemRandom;
use crate::engine::{exchange_records, wall_ms};
use crate::records::{Draft, RecordsError};
use crate::store::Store;

/// Envelopes in quarantine among which one is looked for.
const QUARANTINE_LOOKED_AT: u32 = 10_000;

impl From<RecordsError> for ClientError {
    fn from(error: RecordsError) -> Self {
        Self::invalid(error.to_string())
    }
}

/// What writing records came to.
pub(super) struct Written {
    /// A new epoch was made with them.
    pub(super) new_key: bool,
    /// Why the relay does not have them yet.
    pub(super) untold: Option<String>,
}

impl Client {
    /// Removes a device, by name or the beginning of its id, and makes a new key in the same breath. What the device
    /// holds already it keeps; what is written from now on it cannot read.
    ///
    /// Syncs first if it can, so that what the device sent until now counts.
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Invalid`] when this device may not do that.
    pub async fn device_remove(&self, device: &str, reason: RemoveReason) -> Result<RemovalReport, ClientError> {
        self.catch_up().await?;
        let device = self.find_device(device)?;
        self.remove_found(device, reason).await
    }

    /// Removes a device, after everything was received.
    pub(super) async fn remove_found(
        &self,
        device: SignPk,
        reason: RemoveReason,
    ) -> Result<RemovalReport, ClientError> {
        let name = self.names()?.device(&device);
        let (space, is_other) = (self.space(), device != self.device());
        let remove = |draft: &mut Draft<'_>, store: &Store| {
            let member = draft.membership().devices.get(&device).map(|device| device.member);
            let left = match member.filter(|_| is_other) {
                Some(member) => draft.withdraw_links(&member, &[device]),
                None => Vec::new(),
            };
            draft.remove_device(device, reason, store.cuts(&space, &[device])?)?;
            Ok(left)
        };
        let (left, written) = self.write_records(is_other, remove).await?;
        Ok(RemovalReport::new(name, &[device], &left, written))
    }

    /// Makes a new key for everybody who may read: what is written from now on is sealed under it.
    /// # Errors
    /// [`ClientError::Invalid`] when this device may not do that.
    pub async fn rotate_keys(&self) -> Result<RotationReport, ClientError> {
        self.catch_up().await?;
        let rotate =
            |draft: &mut Draft<'_>, _: &Store| draft.rotate(&mut SystemRandom::new()).map(|_| ()).map_err(Into::into);
        let ((), written) = self.write_records(false, rotate).await?;
        let generation = self.key_status()?.generation;
        Ok(RotationReport { generation, told_relay: written.untold.is_none(), untold: written.untold })
    }

    /// Takes in what a removed device wrote up to this envelope and was set aside: everybody takes it in with this
    /// device's next sync. `envelope`: the beginning of its id. Returns how many documents changed.
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Invalid`] when it was set aside for another reason.
    pub fn device_adopt(&self, envelope: &str) -> Result<u64, ClientError> {
        let space = self.space();
        let (envelope, state) = (envelope.trim().to_lowercase(), self.shared.state());
        let aside = self.shared.reader().reads().quarantine(&space, QUARANTINE_LOOKED_AT)?;
        let is_meant = |id: &EnvelopeId| envelope.len() >= PREFIX_MIN && id.to_string().starts_with(&envelope);
        let found = aside.into_iter().find(|entry| is_meant(&entry.envelope));
        let found = found.ok_or_else(|| ClientError::not_found("envelope with this id among those set aside"))?;
        let records = (&state.membership, &state.keyring);
        let report = self.shared.store().adopt(&space, (&found.stream, found.seq), records, wall_ms())?;
        let changed = report.changed.len() as u64;
        let commit = crate::store::Commit { docs: report.changed };
        self.shared.committed(commit);
        self.shared.edited.notify_one();
        Ok(changed)
    }

    /// A device in force by the beginning of its id or, one of this person's, by a name that somebody vouched for.
    fn find_device(&self, text: &str) -> Result<SignPk, ClientError> {
        let state = self.shared.state();
        let in_force = state.membership.devices.iter().filter(|(_, device)| device.removed_by.is_none());
        let normal = in_force.filter(|(_, device)| device.kind != DeviceKind::Recovery);
        let own = self.own_member().ok();
        let (own, others): (Vec<_>, Vec<_>) = normal.partition(|(_, device)| Some(device.member) == own);
        let keys = |found: Vec<(&SignPk, _)>| found.into_iter().map(|(key, _)| *key).collect::<Vec<_>>();
        self.names()?.find_device(text, &keys(own), &keys(others))
    }

    /// Writes records with `write`, with a new epoch behind them if `rotate` says so, stores them in one commit, and
    /// tells the relay. Gives what `write` gave.
    ///
    /// Whoever decides something by the membership has to [`Client::catch_up`] first, and to decide it in `write`.
    pub(super) async fn write_records<T>(
        &self,
        rotate: bool,
        write: impl FnOnce(&mut Draft<'_>, &Store) -> Result<T, ClientError>,
    ) -> Result<(T, Written), ClientError> {
        let (value, new_key) = self.store_draft(rotate, write)?;
        let untold = match exchange_records(&self.shared).await {
            // A relay ends the session of a device that removed itself as soon as that is on its disk.
            Err(error) if error.is_stranger() && self.own_member().is_err() => None,
            told => told.err().map(|error| error.to_string()),
        };
        if untold.is_none() {
            // What waited for the new key; that it waits on, if this fails, the status tells.
            let _ = self.sync(&mut |_| {}).await;
        }
        Ok((value, Written { new_key, untold }))
    }

    /// Syncs if it can: offline, or while another process syncs, what is held here has to do.
    pub(super) async fn catch_up(&self) -> Result<(), ClientError> {
        match self.sync(&mut |_| {}).await {
            Err(error) if !error.is_transient() && !matches!(error, ClientError::Invalid { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes records on top of those held here, with a new epoch behind them if `rotate` says so, and stores them in
    /// one commit. Gives what `write` gave, and whether there is a new epoch.
    pub(super) fn store_draft<T>(
        &self,
        rotate: bool,
        write: impl FnOnce(&mut Draft<'_>, &Store) -> Result<T, ClientError>,
    ) -> Result<(T, bool), ClientError> {
        let (state, space) = (self.shared.state(), self.space());
        let mut store = self.shared.store();
        let records = store.records(&space)?;
        let mut draft = Draft::begin(&state.membership, &records, &state.opened(), &self.shared.keys);
        let value = write(&mut draft, &store)?;
        // A removal stands without a new key, too: nothing is sealed until somebody has made one.
        let new_key = rotate && draft.rotate(&mut SystemRandom::new()).is_ok();
        store.put_records(&space, &draft.finish())?;
        self.shared.refresh_state(&store)?;
        let state = self.shared.state();
        let report = store.retry_quarantined(&space, &state.membership, &state.keyring, wall_ms())?;
        drop(store);
        self.shared.committed(crate::store::Commit { docs: report.changed });
        Ok((value, new_key))
    }
}

impl RemovalReport {
    pub(super) fn new(name: String, devices: &[SignPk], links_open: &[RecordId], written: Written) -> Self {
        Self {
            name,
            devices: devices.iter().map(ToString::to_string).collect(),
            links_open: links_open.iter().map(ToString::to_string).collect(),
            new_key: written.new_key,
            told_relay: written.untold.is_none(),
            untold: written.untold,
        }
    }
}
