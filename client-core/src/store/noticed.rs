//! Which devices of this person were noticed when: records carry no time, so the time is this device's own.

use lifeos_sync_protocol::ids::{SignPk, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::DeviceKind;

use super::{Store, StoreError, begin, schema};

/// A device of this person that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoticedDevice {
    /// The device.
    pub device: SignPk,
    /// Who let it in.
    pub by: SignPk,
    /// When this device heard of it (ms UTC); 0 for those that were there before it.
    pub noticed_ms: i64,
}

const ENTRY_BYTES: usize = 32 + 32 + 8;

impl Store {
    /// Remembers devices of the own member that were not known before, and gives them. What is there when a space
    /// is looked at for the first time is not news.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn notice_devices(
        &self,
        space: &SpaceId,
        membership: &Membership,
        own: &SignPk,
        now_ms: i64,
    ) -> Result<Vec<NoticedDevice>, StoreError> {
        let known = self.noticed_devices(space)?;
        let fresh = fresh(membership, own, known.as_deref().unwrap_or_default());
        if fresh.is_empty() && known.is_some() {
            return Ok(Vec::new());
        }
        let records = self.records(space)?;
        let first_look = known.is_none();
        let noticed = fresh.into_iter().map(|(device, added_by)| NoticedDevice {
            device,
            by: records.iter().find(|record| record.id() == added_by).map_or(device, |record| record.author()),
            noticed_ms: if first_look { 0 } else { now_ms },
        });
        let noticed: Vec<NoticedDevice> = noticed.collect();
        let all: Vec<NoticedDevice> = known.into_iter().flatten().chain(noticed.iter().copied()).collect();
        let tx = begin(&self.conn)?;
        schema::put_meta(&tx, &meta_key(space), &encode(&all))?;
        tx.commit()?;
        Ok(if first_look { Vec::new() } else { noticed })
    }

    /// All devices of the own member that were noticed; nothing before the first look.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn noticed_devices(&self, space: &SpaceId) -> Result<Option<Vec<NoticedDevice>>, StoreError> {
        Ok(schema::meta(&self.conn, &meta_key(space))?.map(|bytes| decode(&bytes)))
    }
}

fn meta_key(space: &SpaceId) -> String {
    format!("devices_noticed/{space}")
}

fn fresh(
    membership: &Membership,
    own: &SignPk,
    known: &[NoticedDevice],
) -> Vec<(SignPk, lifeos_sync_protocol::ids::RecordId)> {
    let Some(member) = membership.devices.get(own).map(|device| device.member) else { return Vec::new() };
    let of_member = membership.devices.iter().filter(|(key, device)| device.member == member && *key != own);
    let devices = of_member.filter(|(_, device)| device.kind != DeviceKind::Recovery);
    let fresh = devices.filter(|(key, _)| !known.iter().any(|noticed| noticed.device == **key));
    fresh.map(|(key, device)| (*key, device.added_by)).collect()
}

fn encode(devices: &[NoticedDevice]) -> Vec<u8> {
    let mut out = Vec::with_capacity(devices.len() * ENTRY_BYTES);
    for device in devices {
        out.extend_from_slice(&device.device.0);
        out.extend_from_slice(&device.by.0);
        out.extend_from_slice(&device.noticed_ms.to_be_bytes());
    }
    out
}

fn decode(bytes: &[u8]) -> Vec<NoticedDevice> {
    let entries = bytes.chunks_exact(ENTRY_BYTES);
    let entry = |entry: &[u8]| {
        Some(NoticedDevice {
            device: SignPk::from_slice(&entry[..32])?,
            by: SignPk::from_slice(&entry[32..64])?,
            noticed_ms: i64::from_be_bytes(entry[64..].try_into().ok()?),
        })
    };
    entries.filter_map(entry).collect()
}
