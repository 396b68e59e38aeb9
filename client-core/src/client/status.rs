//! Where things stand, and figures by which two homes can be compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lifeos_sync_protocol::ids::{EpochRef, SignPk, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::DeviceKind;

use super::attachments;
use super::compact;
use super::names::Names;
use super::wakeup;
use super::{
    Client, ClientError, DeviceReceipt, DeviceStatus, DocumentHeads, MissingEnvelopes, NewDeviceNotice,
    QuarantineEntry, RelayStatus, RelayTrouble, RelayWarning, Status,
};
use crate::engine::{KnownTrouble, SpaceState, wall_ms};
use crate::keys::{DeviceKeys, KeyFault};
use crate::records::{Beyond, beyond_number};
use crate::store::{
    Aside, Confirmation, NoticedDevice, Promise, PromisedRecord, QuarantinedEnvelope, Reads, RelayId, RelayState,
    WaitingChanges, Warning, WarningKind,
};
use crate::witness::state_code;

/// Quarantined envelopes that are listed.
const QUARANTINE_LISTED: u32 = 100;

/// How long a new device is told of.
const NEWS_MS: i64 = 24 * 60 * 60 * 1000;

impl Client {
    /// Where things stand.
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self) -> Result<Status, ClientError> {
        self.status_at(wall_ms())
    }

    /// Where things stand at a time (ms UTC), which decides what is still news.
    /// # Errors
    /// [`ClientError`].
    pub fn status_at(&self, now_ms: i64) -> Result<Status, ClientError> {
        let mut status = self.status_here(now_ms)?;
        status.alarms.extend(self.spaces_to_recover()?.iter().map(|space| left_text(space)));
        status.spaces_uncovered = self.spaces_uncovered()?;
        status.other_spaces = self.notices_elsewhere(now_ms)?;
        Ok(status)
    }

    /// Members and keys as the records on the disk say: another process, or a sync with a device nearby, may have stored some.
    pub(super) fn follow_records(&self) -> Result<(), ClientError> {
        self.shared.follow_records(&self.shared.store())?;
        Ok(())
    }

    /// The same without a look at the other spaces.
    pub(super) fn status_here(&self, now_ms: i64) -> Result<Status, ClientError> {
        self.follow_records()?;
        let space = self.space();
        let records = self.shared.store().records(&space)?;
        let (names, keys) = (self.names_by(&records)?, self.key_status()?);
        let state = self.shared.state();
        let new_devices = self.new_devices(now_ms, &names)?;
        let late = beyond_number(&state.membership, &records);
        let (phrase_unchecked, closed) = (self.is_phrase_unchecked()?, self.closing()?);
        let space_name = self.name()?;
        let (jobs, jobs_paused_ms) = (self.jobs()?, self.jobs_paused_ms()?);
        let reader = self.shared.reader();
        let reads = reader.reads();
        let relays = reads.relays(&space)?;
        let quarantine = reads.quarantine(&space, QUARANTINE_LISTED)?;
        Ok(Status {
            home: self.shared.home.clone(),
            space: space.to_string(),
            space_name,
            device: self.device().to_string(),
            device_name: names.device(&self.device()),
            documents: reads.document_count(&space)?,
            notes: reads.note_count(&space)?,
            changes_pending: reads.pending_count(&space)?,
            envelopes_unsent: reads.unsent_count(&space, &relays)?,
            quarantine: quarantine.into_iter().map(|entry| quarantine_entry(entry, &names)).collect(),
            relays: relays
                .into_iter()
                .map(|relay| self.relay_status(&reads, relay, now_ms))
                .collect::<Result<_, _>>()?,
            devices: self.device_statuses(&reads, &state.membership, &names)?,
            warnings: reads.warnings(&space)?.into_iter().map(relay_warning).collect(),
            missing: missing(reads.promises(&space)?, &state.membership, &names, now_ms),
            new_devices,
            state_code: state_code(&space, &state.membership.heads, &reads.tips(&space)?),
            keys,
            alarms: [
                alarms(&reads, &space, (&state, &self.shared.keys), &names, now_ms)?,
                late_texts(&late, &names),
                compact::alarms(&reads, &space, &state.membership, &names)?,
            ]
            .concat(),
            spaces_uncovered: Vec::new(),
            phrase_unchecked,
            closed,
            other_spaces: Vec::new(),
            checkpoint: compact::newest(&self.shared, &reads, &records, &names, now_ms)?,
            documents_unverified: reads.unverified_count(&space)?,
            documents_newer: reads.newer_kind_count(&space)?,
            joining: reads.bootstrap(&space)?.map(compact::joining),
            attachments: attachments::cache(&reads, &space, now_ms)?,
            proofs: reads.relay_proofs(&space)?.into_iter().map(relay_warning).collect(),
            jobs,
            jobs_paused_ms,
            documents_unprojected: reads.unprojected_count()?,
        })
    }

    /// Forgets the warnings about relays, and what is told as missing until it is promised anew; what proves that a relay
    /// lied stays in [`Status::proofs`].
    /// # Errors
    /// [`ClientError`].
    pub fn dismiss_warnings(&self) -> Result<usize, ClientError> {
        self.dismiss_warnings_at(wall_ms())
    }

    /// The same as if it were read at this time (ms UTC): what is not old enough to be told stays.
    /// # Errors
    /// [`ClientError`].
    pub fn dismiss_warnings_at(&self, now_ms: i64) -> Result<usize, ClientError> {
        let (mut store, space) = (self.shared.store(), self.space());
        let missing = store.dismiss_promises(&space, now_ms.saturating_sub(MISSING_AFTER_MS))?;
        Ok(missing + store.dismiss_warnings(&space)?)
    }

    /// Devices of this person that are news: the one way to see that somebody else was let in.
    fn new_devices(&self, now_ms: i64, names: &Names) -> Result<Vec<NewDeviceNotice>, ClientError> {
        let noticed = self.shared.store().noticed_devices(&self.space())?.unwrap_or_default();
        let state = self.shared.state();
        let fresh = noticed.into_iter().filter(|device| {
            now_ms.saturating_sub(device.noticed_ms) < NEWS_MS && state.membership.may_read(&device.device)
        });
        let notice = |device: NoticedDevice| NewDeviceNotice {
            device: device.device.to_string(),
            name: names.device(&device.device),
            by: names.device(&device.by),
            noticed_ms: device.noticed_ms,
        };
        Ok(fresh.map(notice).collect())
    }

    /// What stands between this device and a relay; if this process has not tried, what an earlier one met.
    pub(super) fn known_trouble(
        &self,
        reads: &Reads<'_>,
        relay: RelayId,
        now_ms: i64,
    ) -> Result<Option<KnownTrouble>, ClientError> {
        match self.shared.trouble(relay, now_ms) {
            Some(trouble) => Ok(Some(trouble)),
            None => Ok(reads.trouble(relay)?.and_then(|kept| serde_json::from_slice(&kept).ok())),
        }
    }

    fn relay_status(&self, reads: &Reads<'_>, relay: RelayState, now_ms: i64) -> Result<RelayStatus, ClientError> {
        Ok(RelayStatus {
            envelopes_unsent: reads.unsent_count(&self.space(), std::slice::from_ref(&relay))?,
            trouble: self.known_trouble(reads, relay.id, now_ms)?.map(relay_trouble),
            wakeup: wakeup::standing_of(reads, relay.id)?.map(|(standing, _)| standing),
            url: relay.url,
            key: relay.key.map(|key| key.to_string()),
            position: relay.cursor.map_or(0, |cursor| cursor.pos.saturating_sub(1)),
            synced_ms: relay.synced_ms,
        })
    }

    fn device_statuses(
        &self,
        reads: &Reads<'_>,
        membership: &Membership,
        names: &Names,
    ) -> Result<Vec<DeviceStatus>, ClientError> {
        let mut envelopes: BTreeMap<SignPk, u64> = BTreeMap::new();
        for stream in reads.streams(&self.space())? {
            *envelopes.entry(stream.device).or_default() += u64::from(stream.seq);
        }
        let confirmed: BTreeMap<SignPk, Confirmation> =
            reads.confirmations(&self.space())?.into_iter().map(|said| (said.device, said)).collect();
        let in_force = membership.devices.iter().filter(|(_, device)| device.removed_by.is_none());
        Ok(in_force
            .map(|(key, device)| DeviceStatus {
                device: key.to_string(),
                name: match device.kind {
                    DeviceKind::Recovery => "recovery phrase".to_owned(),
                    _ => names.device(key),
                },
                this: *key == self.device(),
                kind: kind_name(device.kind).to_owned(),
                envelopes: envelopes.get(key).copied().unwrap_or(0),
                receipt: confirmed.get(key).filter(|_| *key != self.device()).map(device_receipt),
            })
            .collect())
    }

    /// Heads of every document, sorted by document id: equal on converged devices.
    /// # Errors
    /// [`ClientError`].
    pub fn heads(&self) -> Result<Vec<DocumentHeads>, ClientError> {
        Ok(self.shared.reader().reads().heads(&self.space())?)
    }

    /// Who is in, as the records held here say.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn membership(&self) -> lifeos_sync_protocol::membership::Membership {
        self.shared.state().membership.clone()
    }

    /// SHA-256 over all projection rows in a fixed order, local row ids left out: equal on converged devices.
    /// # Errors
    /// [`ClientError`].
    pub fn projection_digest(&self) -> Result<[u8; 32], ClientError> {
        Ok(self.shared.store().projection_digest(&self.space())?)
    }
}

fn relay_trouble(trouble: KnownTrouble) -> RelayTrouble {
    let KnownTrouble { reason, since_ms, failures, next_ms, rests, needs_person, .. } = trouble;
    RelayTrouble { reason, since_ms, failures, next_ms, rests, needs_person }
}

fn left_text(space: &str) -> String {
    format!("the space {} did not come back with the others: `lifeos recover` goes on with it", &space[..8])
}

/// What does not heal by itself.
fn alarms(
    reads: &Reads<'_>,
    space: &SpaceId,
    (state, keys): (&SpaceState, &DeviceKeys),
    names: &Names,
    now_ms: i64,
) -> Result<Vec<String>, ClientError> {
    let mut alarms = withheld_records(reads.promised_records(space)?, names, now_ms);
    alarms.extend(reads.waiting_changes(space)?.iter().map(|waiting| waiting_text(waiting, names)));
    let unknown = reads.unknown_epoch_count(space)?;
    if unknown > 0 {
        alarms.push(format!(
            "{unknown} edits are sealed under a key that no record here tells of: the relay may be holding records \
             back; sync again, ask its operator, or use another relay"
        ));
    }
    let own = state.membership.devices.get(&keys.sign_pk()).filter(|own| own.removed_by.is_none());
    if own.is_some_and(|own| !state.own_keys(keys).holds(&own.hpke_pk)) {
        alarms.push(KeyFault::WrongHpkeKey.to_string());
    }
    for (epoch, trouble) in state.troubles.iter().filter(|(_, trouble)| trouble.is_broken()) {
        let generation = state.membership.epochs.get(epoch).map(|epoch| epoch.generation).unwrap_or_default();
        alarms.push(format!("key generation {generation}: {trouble}; {}", remedy(state, keys, epoch)));
    }
    for stream in state.membership.forks.keys() {
        let device = reads.streams(space)?.into_iter().find(|row| row.stream == *stream).map(|row| row.device);
        let name = device.map(|device| names.device(&device)).unwrap_or_default();
        alarms.push(format!("two copies of the home of {name} wrote at once: one of the two is kept; if nobody copied it, remove the device"));
    }
    Ok(alarms)
}

/// What heals an epoch that this device cannot open.
fn remedy(state: &SpaceState, keys: &DeviceKeys, epoch: &EpochRef) -> &'static str {
    let (membership, device) = (&state.membership, keys.sign_pk());
    let own = membership.devices.get(&device).map(|own| own.hpke_pk);
    if membership.current_epoch() != Some(*epoch) {
        "what was written under it cannot be read here until a device that has it gives it to this one at its next sync"
    } else if !membership.may_write(&device) {
        "this device asks for it when it syncs, and the next sync of a device that may write after that gives it"
    } else if own.is_some_and(|own| state.own_keys(keys).holds(&own)) {
        "this device makes a new one at its next sync"
    } else {
        "this device asks for a new one of its own at its next sync"
    }
}

/// Who waits for somebody's word.
fn late_texts(late: &[Beyond], names: &Names) -> Vec<String> {
    let text = |join: &Beyond| {
        format!(
            "{} came by a link when it had let in as many as it says: the present key is kept from them until an owner or \
             admin sets their role with `lifeos member role` or removes them with `lifeos member remove`",
            names.member(&join.member)
        )
    };
    late.iter().map(text).collect()
}

/// Records that others have told of, a minute ago at least.
fn withheld_records(promised: Vec<PromisedRecord>, names: &Names, now_ms: i64) -> Vec<String> {
    let mut by_teller: BTreeMap<SignPk, usize> = BTreeMap::new();
    for promised in promised.iter().filter(|promised| now_ms.saturating_sub(promised.since_ms) >= MISSING_AFTER_MS) {
        *by_teller.entry(promised.told_by).or_default() += 1;
    }
    let text = |(teller, records): (SignPk, usize)| {
        format!(
            "{} holds records about members, devices or keys that have not come here ({records}): somebody may have \
             been removed or let in without this device knowing. Sync again; if this stays, the relay is holding them \
             back: compare `lifeos status --verify`, and use another relay",
            names.device(&teller)
        )
    };
    by_teller.into_iter().map(text).collect()
}

/// Changes that wait, in words.
pub(super) fn waiting_text(waiting: &WaitingChanges, names: &Names) -> String {
    let author = waiting.author.map_or_else(|| "an unknown device".to_owned(), |author| names.device(&author));
    format!(
        "edits of {author} wait for others that they build upon and that have not come ({} in {} documents): sync \
         again; if this stays, edit those notes anew on that device, or remove the device if it is not yours",
        waiting.changes, waiting.documents
    )
}

fn quarantine_entry(entry: QuarantinedEnvelope, names: &Names) -> QuarantineEntry {
    QuarantineEntry {
        envelope: entry.envelope.to_string(),
        stream: entry.stream.to_string(),
        seq: entry.seq,
        device: entry.author.map(|author| names.device(&author)).unwrap_or_default(),
        kind: Aside::of(&entry.reason).name().to_owned(),
        next: Aside::of(&entry.reason).next_step().to_owned(),
        reason: entry.reason,
        since_ms: entry.since_ms,
    }
}

/// Another device may be faster than the relay, for a while.
const MISSING_AFTER_MS: i64 = 60_000;
/// Nothing honest takes this long.
const MISSING_ALARM_MS: i64 = 24 * 60 * 60 * 1000;

/// The word of a device that was removed counts no more. Of several about one stream the furthest is told, and since
/// when any of them has been ahead.
fn missing(promises: Vec<Promise>, membership: &Membership, names: &Names, now_ms: i64) -> Vec<MissingEnvelopes> {
    let age_ms = |promise: &Promise| now_ms.saturating_sub(promise.since_ms);
    let mut furthest: Vec<Promise> = Vec::new();
    for promise in promises.into_iter().filter(|promise| membership.may_read(&promise.told_by)) {
        match furthest.iter_mut().find(|known| known.stream == promise.stream) {
            Some(known) if known.seq >= promise.seq => {}
            Some(known) => *known = Promise { since_ms: known.since_ms, ..promise },
            None => furthest.push(promise),
        }
    }
    furthest
        .into_iter()
        .filter(|promise| age_ms(promise) >= MISSING_AFTER_MS)
        .map(|promise| MissingEnvelopes {
            author: promise.author.map_or_else(|| "an unknown device".to_owned(), |author| names.device(&author)),
            told_by: names.device(&promise.told_by),
            envelopes: promise.seq.saturating_sub(promise.held),
            since_ms: promise.since_ms,
            alarm: age_ms(&promise) >= MISSING_ALARM_MS,
        })
        .collect()
}

const fn device_receipt(said: &Confirmation) -> DeviceReceipt {
    DeviceReceipt {
        complete: said.unconfirmed == 0,
        complete_ms: said.complete_ms,
        unconfirmed_own: said.unconfirmed_own,
        unconfirmed: said.unconfirmed,
        set_aside: said.set_aside,
        said_ms: said.said_ms,
        heard_ms: said.heard_ms,
    }
}

fn relay_warning(warning: Warning) -> RelayWarning {
    RelayWarning {
        kind: warning.kind.name().to_owned(),
        message: warning_text(warning.kind).to_owned(),
        relay: warning.relay,
        since_ms: warning.since_ms,
        times: warning.times,
        evidence: warning.evidence.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
    }
}

const fn warning_text(kind: WarningKind) -> &'static str {
    match kind {
        WarningKind::LogRolledBack => {
            "the relay's log has lost what it had, or was changed: it was put back from a backup, or it lies. This \
             device has given it its own edits again; sync your other devices too, and compare `lifeos status --verify`"
        }
        WarningKind::LogReplaced => {
            "the relay has begun a new log: it was wiped or set up again. This device has given it its own edits \
             again; sync your other devices too"
        }
        WarningKind::EquivocationProven => {
            "the relay shows different devices different logs; what it signed proves it: `lifeos status --json` holds \
             the proof, also after `lifeos status --dismiss`. Use another relay"
        }
        WarningKind::Equivocation => {
            "the relay told another device of another log than it shows here. Compare `lifeos status --verify` \
             between your devices, and use another relay if the codes stay different after a sync"
        }
        WarningKind::Misbehaved => "the relay broke the protocol; if it happens again, use another relay",
        WarningKind::RecordsTakenBack => {
            "the relay did not take changes to members, devices or keys that were made on this device, e.g. because the \
             space is full there, and they were taken back; removals were not. Ask the relay's operator for room, then \
             make them again"
        }
    }
}

const fn kind_name(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Normal => "normal",
        DeviceKind::Recovery => "recovery",
        DeviceKind::Archive => "archive",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_warning_about_a_relay_says_what_to_do_next() {
        let steps = ["sync your other devices", "another relay", "Ask the relay's operator"];
        for kind in WarningKind::ALL {
            let text = warning_text(kind);
            assert!(steps.iter().any(|step| text.contains(step)), "{}: {text}", kind.name());
        }
    }
}
