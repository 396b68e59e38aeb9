//! Removing devices, taking in what a removed one wrote last, and making new keys.

use lifeos_sync_protocol::ids::{EnvelopeId, MemberId, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::membership::{Device, Membership};
use lifeos_sync_protocol::record::{Body, DeviceKind, Record, RemoveReason};

use super::follow::reason_of;
use super::names::PREFIX_MIN;
use super::{Client, ClientError, RemovalOutcome, RemovalReport, RotationReport, SpaceRemoval};
use crate::crypto::SystemRandom;
use crate::engine::{EngineError, exchange_records, wall_ms};
use crate::own_devices::Tie;
use crate::records::{Draft, RecordsError, is_before_demotion};
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
    /// What became of the key.
    pub(super) key: KeyMade,
    /// Why the relay does not have them yet.
    pub(super) untold: Option<String>,
}

/// What became of the key when records were written.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyMade {
    /// A new epoch was made with them.
    pub(super) is_new: bool,
    /// One that they call for is not made yet.
    pub(super) is_due: bool,
    /// There is none that anything may be sealed under.
    pub(super) is_lacking: bool,
}

impl KeyMade {
    fn of(is_new: bool, membership: &Membership, records: &[Record]) -> Self {
        let current = membership.current_epoch();
        let is_due = current.is_none_or(|epoch| is_before_demotion(membership, records, &epoch));
        Self { is_new, is_due, is_lacking: current.is_none() }
    }
}

impl Client {
    /// Removes a device, by name or the beginning of its id, and makes a new key in the same breath. What the device
    /// holds already it keeps; what is written from now on it cannot read.
    ///
    /// A device of this person goes from the home and from every space in which it is known to be theirs, whichever of
    /// these this client works in; what cannot be done now, the next sync of any of the person's devices does. Somebody
    /// else's device goes from this space. Syncs first if it can, so that what the device sent until now counts.
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Invalid`] when this device may not do that.
    pub async fn device_remove(&self, device: &str, reason: RemoveReason) -> Result<RemovalReport, ClientError> {
        self.catch_up().await?;
        let device = self.find_device(device)?;
        if self.is_home()? {
            let mut report = self.remove_found(device, reason).await?;
            report.spaces = self.remove_elsewhere(&device, None).await?;
            return Ok(report);
        }
        let home = self.home_client()?;
        let own = self.own_member()?;
        if self.shared.state().membership.devices.get(&device).is_none_or(|device| device.member != own) {
            return self.remove_found(device, reason).await;
        }
        home.catch_up().await?;
        let tie = self.ties(&home, own)?.into_iter().find(|tie| tie.key == device);
        let Some(at_home) = tie.map(|tie| tie.home) else {
            let mut report = self.remove_found(device, reason).await?;
            report.spaces = vec![home.space_removal(RemovalOutcome::Unknown, None)?];
            return Ok(report);
        };
        self.may_remove(device, reason)?;
        // The home first: what follows from it is done by whoever comes to it.
        let of_home = if home.shared.state().membership.may_read(&at_home) {
            home.space_removal_of(&home.remove_found(at_home, reason).await?)?
        } else {
            home.space_removal(RemovalOutcome::Absent, None)?
        };
        let mut report = self.remove_found(device, reason).await?;
        report.spaces = vec![of_home];
        report.spaces.extend(home.remove_elsewhere(&at_home, Some(self.space())).await?);
        Ok(report)
    }

    /// Removes a device from this space alone; it stays in the home and everywhere else.
    /// # Errors
    /// As [`Client::device_remove`]; [`ClientError::Invalid`] in the home, whose devices are the person's everywhere.
    pub async fn device_remove_here(&self, device: &str, reason: RemoveReason) -> Result<RemovalReport, ClientError> {
        if self.is_home()? {
            return Err(ClientError::invalid(
                "a device that goes from the home goes from every space of yours: name the space it is to leave with --space",
            ));
        }
        self.catch_up().await?;
        let device = self.find_device(device)?;
        self.remove_found(device, reason).await
    }

    /// In the home: removes a device that was removed here from every other space in which it is known to be the same.
    async fn remove_elsewhere(&self, gone: &SignPk, done: Option<SpaceId>) -> Result<Vec<SpaceRemoval>, ClientError> {
        let mut removals = Vec::new();
        let others = self.other_spaces()?;
        for other in others.iter().filter(|other| Some(other.space()) != done) {
            removals.push(match other.remove_gone(self, gone).await {
                Ok(removal) => removal,
                Err(error) => other.space_removal(RemovalOutcome::Waiting, Some(error.to_string()))?,
            });
        }
        let is_here = |space: &SpaceId| others.iter().any(|other| other.space() == *space);
        for space in self.spaces_claimed_by(gone)?.into_iter().filter(|space| !is_here(space)) {
            let reason = "this device is not in that space: another of yours does it".to_owned();
            let (space, outcome) = (space.to_string(), RemovalOutcome::Waiting);
            removals.push(SpaceRemoval { space, name: String::new(), outcome, reason: Some(reason) });
        }
        Ok(removals)
    }

    /// In another space: removes what is tied to a device that is gone from home.
    async fn remove_gone(&self, home: &Self, gone: &SignPk) -> Result<SpaceRemoval, ClientError> {
        self.catch_up().await?;
        let own = self.own_member()?;
        let ties = self.ties(home, own)?;
        let state = self.shared.state();
        let in_force = |key: &SignPk| {
            let device = state.membership.devices.get(key);
            device.is_some_and(|device| device.removed_by.is_none() && device.member == own)
        };
        let keys: Vec<SignPk> =
            ties.iter().filter(|tie| tie.home == *gone && in_force(&tie.key)).map(|tie| tie.key).collect();
        if keys.is_empty() {
            let is_untied = |(key, device): (&SignPk, &Device)| {
                let is_known = *key == self.device() || ties.iter().any(|tie| tie.key == *key);
                in_force(key) && device.kind != DeviceKind::Recovery && !is_known
            };
            let is_any_untied = state.membership.devices.iter().any(is_untied);
            // Under another member of the same person, which is not this one's to remove from.
            let is_elsewhere = |tie: &Tie| {
                let device = state.membership.devices.get(&tie.key);
                tie.home == *gone && device.is_some_and(|device| device.removed_by.is_none())
            };
            let outcome = if is_any_untied || ties.iter().any(is_elsewhere) {
                RemovalOutcome::Unknown
            } else {
                RemovalOutcome::Absent
            };
            return self.space_removal(outcome, None);
        }
        let removed_by = home.shared.state().membership.devices.get(gone).and_then(|device| device.removed_by);
        let at_home_records = home.records()?;
        let reason = removed_by.map_or(RemoveReason::Lost, |removed_by| reason_of(&at_home_records, &removed_by));
        let mut removal = self.space_removal(RemovalOutcome::Removed, None)?;
        for key in keys {
            let of_key = self.space_removal_of(&self.remove_found(key, reason).await?)?;
            if of_key.outcome != RemovalOutcome::Removed {
                removal = of_key;
            }
        }
        Ok(removal)
    }

    fn ties(&self, home: &Self, member: MemberId) -> Result<Vec<Tie>, ClientError> {
        let claims = home.claims_in(&self.space())?;
        self.standing(home, member, &claims, |standing| standing.ties())
    }

    /// Asks the rules before anything is written: what is written in the home is done everywhere.
    fn may_remove(&self, device: SignPk, reason: RemoveReason) -> Result<(), ClientError> {
        let body = Body::DeviceRemove { device, reason, cuts: Vec::new() };
        let state = self.shared.state();
        Ok(state.membership.may_author(&self.device(), &body).map_err(RecordsError::Void)?)
    }

    fn space_removal(&self, outcome: RemovalOutcome, reason: Option<String>) -> Result<SpaceRemoval, ClientError> {
        let name = self.own_name()?;
        let name = if name.is_empty() && self.is_home()? { "home".to_owned() } else { name };
        Ok(SpaceRemoval { space: self.space().to_string(), name, outcome, reason })
    }

    fn space_removal_of(&self, report: &RemovalReport) -> Result<SpaceRemoval, ClientError> {
        let outcome = if report.told_relay { RemovalOutcome::Removed } else { RemovalOutcome::Waiting };
        self.space_removal(outcome, report.untold.clone())
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
        let commit = crate::store::Commit { docs: report.changed, ..Default::default() };
        self.shared.committed(commit);
        self.shared.ring();
        Ok(changed)
    }

    /// A device in force by the beginning of its id or, one of this person's, by a name that somebody vouched for.
    pub(super) fn find_device(&self, text: &str) -> Result<SignPk, ClientError> {
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
        let (value, is_new) = self.store_draft(rotate, write)?;
        let untold = match self.tell_records().await {
            // A relay ends the session of a device that removed itself as soon as that is on its disk.
            Err(error) if error.is_stranger() && self.own_member().is_err() => None,
            told => told.err().map(|error| error.to_string()),
        };
        if untold.is_none() {
            // What waited for the new key; that it waits on, if this fails, the status tells.
            let _ = self.sync(&mut |_| {}).await;
        }
        let (state, records) = (self.shared.state(), self.shared.store().records(&self.space())?);
        Ok((value, Written { key: KeyMade::of(is_new, &state.membership, &records), untold }))
    }

    /// Hands what was written to the relay. A removal that cuts a stream which has grown meanwhile is written again with
    /// what a sync brings.
    pub(super) async fn tell_records(&self) -> Result<(), EngineError> {
        match exchange_records(&self.shared).await {
            Err(EngineError::RemovalWaits) => {
                // What came of it the next exchange tells.
                let _ = self.sync(&mut |_| {}).await;
                exchange_records(&self.shared).await
            }
            told => told,
        }
    }

    /// Syncs if it can: offline, or while another process syncs, what is held here has to do.
    pub(super) async fn catch_up(&self) -> Result<(), ClientError> {
        match self.sync(&mut |_| {}).await {
            Err(error) if !error.is_transient() && !matches!(error, ClientError::Invalid { .. }) => Err(error),
            // What was refused before is taken back, and everything was received all the same.
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
        // What was written stands without a new key, too. After a removal nothing is sealed until somebody has made one;
        // after a demotion whoever may write makes one.
        let is_new = rotate && draft.rotate(&mut SystemRandom::new()).is_ok();
        store.put_records(&space, &draft.finish())?;
        self.shared.refresh_state(&store)?;
        let state = self.shared.state();
        let report = store.retry_quarantined(&space, &state.membership, &state.keyring, wall_ms())?;
        drop(store);
        self.shared.committed(crate::store::Commit { docs: report.changed, ..Default::default() });
        Ok((value, is_new))
    }
}

impl RemovalReport {
    pub(super) fn new(name: String, devices: &[SignPk], links_open: &[RecordId], written: Written) -> Self {
        Self {
            name,
            devices: devices.iter().map(ToString::to_string).collect(),
            links_open: links_open.iter().map(ToString::to_string).collect(),
            new_key: written.key.is_new,
            key_due: written.key.is_due,
            sealing_waits: written.key.is_lacking,
            told_relay: written.untold.is_none(),
            untold: written.untold,
            spaces: Vec::new(),
        }
    }
}
