//! Where things stand, and figures by which two homes can be compared.

use std::collections::BTreeMap;

use lifeos_sync_protocol::ids::SignPk;
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, DeviceKind};

use super::home::space_doc;
use super::{Client, ClientError, DeviceStatus, DocumentHeads, QuarantineEntry, RelayStatus, Status};
use crate::projection::Value;
use crate::records::open_device_name;
use crate::registry::{DEVICE_NAME, MEMBER_NAME};
use crate::store::{QuarantinedEnvelope, Reads, RelayState};

/// Quarantined envelopes that are listed.
const QUARANTINE_LISTED: u32 = 100;

/// What devices and members are called.
#[derive(Debug, Default)]
pub(super) struct Names {
    devices: BTreeMap<SignPk, String>,
    members: BTreeMap<String, String>,
}

impl Names {
    /// A device's name; without one, the beginning of its key.
    pub(super) fn device(&self, device: &SignPk) -> String {
        self.devices.get(device).cloned().unwrap_or_else(|| device.to_string()[..8].to_owned())
    }

    /// A member's name; without one, nothing.
    pub(super) fn member(&self, member: &str) -> String {
        self.members.get(member).cloned().unwrap_or_default()
    }
}

impl Client {
    /// Where things stand.
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self) -> Result<Status, ClientError> {
        let names = self.names()?;
        let state = self.shared.state();
        let space = self.space();
        let reader = self.shared.reader();
        let reads = reader.reads();
        let relays = reads.relays(&space)?;
        let acked = relays.iter().map(|relay| relay.own_acked_seq).max().unwrap_or(0);
        let quarantine = reads.quarantine(&space, QUARANTINE_LISTED)?;
        Ok(Status {
            home: self.shared.home.clone(),
            space: space.to_string(),
            device: self.device().to_string(),
            device_name: names.device(&self.device()),
            documents: reads.document_count(&space)?,
            notes: reads.note_count(&space)?,
            changes_pending: reads.pending_count(&space)?,
            envelopes_unsent: reads.unsent_count(&space, acked)?,
            quarantine: quarantine.into_iter().map(|entry| quarantine_entry(entry, &names)).collect(),
            relays: relays.into_iter().map(relay_status).collect(),
            devices: self.device_statuses(&reads, &state.membership, &names)?,
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
            })
            .collect())
    }

    /// Names from the space's document; for a device that has written none, from the record that added it.
    pub(super) fn names(&self) -> Result<Names, ClientError> {
        let mut names = Names::default();
        let state = self.shared.state();
        for record in self.shared.store().records(&self.space())? {
            if let Body::DeviceAdd { device, enc_meta, .. } = record.body()
                && let Some(name) = open_device_name(&self.space(), &device.sign_pk, enc_meta, &state.keyring)
            {
                names.devices.insert(device.sign_pk, name);
            }
        }
        for row in self.shared.reader().reads().rows(&self.space(), &space_doc(&self.space()))? {
            let Some(Value::Text(name)) = row.values.into_iter().next() else { continue };
            if row.table == MEMBER_NAME.name {
                names.members.insert(row.key, name);
            } else if row.table == DEVICE_NAME.name
                && let Ok(device) = row.key.parse()
            {
                names.devices.insert(device, name);
            }
        }
        Ok(names)
    }

    /// Heads of every document, sorted by document id: equal on converged devices.
    /// # Errors
    /// [`ClientError`].
    pub fn heads(&self) -> Result<Vec<DocumentHeads>, ClientError> {
        Ok(self.shared.reader().reads().heads(&self.space())?)
    }

    /// SHA-256 over all projection rows in a fixed order, local row ids left out: equal on converged devices.
    /// # Errors
    /// [`ClientError`].
    pub fn projection_digest(&self) -> Result<[u8; 32], ClientError> {
        Ok(self.shared.store().projection_digest(&self.space())?)
    }
}

fn quarantine_entry(entry: QuarantinedEnvelope, names: &Names) -> QuarantineEntry {
    QuarantineEntry {
        envelope: entry.envelope.to_string(),
        stream: entry.stream.to_string(),
        seq: entry.seq,
        device: entry.author.map(|author| names.device(&author)).unwrap_or_default(),
        reason: entry.reason,
        since_ms: entry.since_ms,
    }
}

fn relay_status(relay: RelayState) -> RelayStatus {
    RelayStatus {
        url: relay.url,
        key: relay.key.map(|key| key.to_string()),
        position: relay.cursor.map_or(0, |cursor| cursor.pos.saturating_sub(1)),
        synced_ms: relay.synced_ms,
    }
}

const fn kind_name(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Normal => "normal",
        DeviceKind::Recovery => "recovery",
        DeviceKind::Archive => "archive",
    }
}
