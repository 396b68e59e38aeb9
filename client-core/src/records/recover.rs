//! What a recovery key writes after all devices are lost, and how one recovery key takes another's place.
//!
//! ```text
//! takeover  DeviceAdd(new device) ◄ DeviceRemove(lost) ◄ DeviceRemove(lost) … ◄ Epoch
//!           └───────────── signed by the recovery key ──────────────┘        └ signed by the new device
//! new words DeviceAdd(new recovery key) ◄ DeviceRemove(old recovery key) … ◄ Epoch, all signed by the device
//! ```
//! Each record names the one before it, so nobody who holds a part of them can tell them apart. What was written
//! before a crash is in the records, and only the rest is written then: the plan is a function of them.

use std::collections::BTreeMap;

use lifeos_sync_protocol::ids::{MemberId, RecordId, SignPk};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Cut, DeviceKind, Record, RemoveReason};

use super::{AddDevice, NewEpoch, RecordsError, add_device, epoch_record, open_epochs, sign};
use crate::crypto::Random;
use crate::keys::{DeviceKeys, EpochSecret, Keyring};

/// What the other devices of the person see as the name of a recovery key.
const RECOVERY_NAME: &str = "recovery phrase";

/// What is left to do until a recovered device stands alone beside its recovery key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryPlan {
    /// The new device is not enrolled yet.
    pub enrol: bool,
    /// Devices of the member that are still in force and lost, ascending.
    pub lost: Vec<SignPk>,
    /// The current epoch is sealed to a removed device, or there is none.
    pub rotate: bool,
}

/// Reads from the membership what a recovery has still to do.
#[must_use]
pub fn plan_recovery(membership: &Membership, member: &MemberId, new_device: &SignPk) -> RecoveryPlan {
    let lost = membership
        .devices
        .iter()
        .filter(|(key, device)| {
            *key != new_device
                && device.member == *member
                && device.kind != DeviceKind::Recovery
                && device.removed_by.is_none()
        })
        .map(|(key, _)| *key)
        .collect();
    let current = membership.current_epoch().and_then(|epoch| membership.epochs.get(&epoch));
    let own_ref = super::device_ref(new_device);
    // A grant opens the old epoch as well; only one that was sealed to the new device shows that it is the newest.
    let rotate = !current.is_some_and(|epoch| epoch.recipients.contains(&own_ref));
    RecoveryPlan { enrol: !membership.may_read(new_device), lost, rotate }
}

/// All that a takeover is made from.
pub struct Takeover<'a> {
    /// The space's state.
    pub membership: &'a Membership,
    /// All its records.
    pub records: &'a [Record],
    /// The recovery key.
    pub recovery: &'a DeviceKeys,
    /// The new device.
    pub device: &'a DeviceKeys,
    /// What it calls itself.
    pub name: &'a str,
    /// Whose devices they are.
    pub member: MemberId,
    /// How far each lost device's streams are held here: what comes after is not accepted any more.
    pub cuts: &'a BTreeMap<SignPk, Vec<Cut>>,
    /// Why the old devices go.
    pub reason: RemoveReason,
}

/// The records that are still missing until the takeover is complete, in order; none when it is.
///
/// # Errors
/// [`RecordsError`]; [`RecordsError::NoEpoch`] when the recovery key opens no epoch.
pub fn takeover_records(takeover: &Takeover<'_>, random: &mut dyn Random) -> Result<Vec<Record>, RecordsError> {
    let Takeover { membership, records, recovery, device, member, .. } = takeover;
    let plan = plan_recovery(membership, member, &device.sign_pk());
    let mut chain = Chain::new(membership, records);
    if plan.enrol {
        let keyring = open_epochs(membership, records, recovery);
        let add = AddDevice {
            membership,
            records,
            keyring: &keyring,
            keys: recovery,
            member: *member,
            entry: device.entry(&membership.genesis_random, member, DeviceKind::Normal),
            name: takeover.name,
        };
        // Only the DeviceAdd: a recovery key may write no KeyGrant, and the newest epochs wrap all older ones.
        chain.take(add_device(&add, random)?.into_iter().take(1));
    }
    for lost in &plan.lost {
        let cuts = takeover.cuts.get(lost).cloned().unwrap_or_default();
        chain.write(recovery, &Body::DeviceRemove { device: *lost, reason: takeover.reason, cuts })?;
    }
    if plan.enrol || plan.rotate || !plan.lost.is_empty() {
        chain.rotate(device, random)?;
    }
    Ok(chain.new)
}

/// Puts a new recovery key in the place of all recovery keys of `member`: afterwards the old words open nothing new.
///
/// # Errors
/// [`RecordsError`]; [`RecordsError::KeyInUse`] when these words were used before.
pub fn replace_recovery_key(
    membership: &Membership,
    records: &[Record],
    device: &DeviceKeys,
    member: MemberId,
    recovery: &DeviceKeys,
    random: &mut dyn Random,
) -> Result<Vec<Record>, RecordsError> {
    let keyring = open_epochs(membership, records, device);
    let old = membership.devices.iter().filter(|(_, entry)| {
        entry.member == member && entry.kind == DeviceKind::Recovery && entry.removed_by.is_none()
    });
    let old: Vec<SignPk> = old.map(|(key, _)| *key).collect();
    let add = AddDevice {
        membership,
        records,
        keyring: &keyring,
        keys: device,
        member,
        entry: recovery.entry(&membership.genesis_random, &member, DeviceKind::Recovery),
        name: RECOVERY_NAME,
    };
    let mut chain = Chain::new(membership, records);
    chain.take(add_device(&add, random)?.into_iter());
    for old in old {
        let body = Body::DeviceRemove { device: old, reason: RemoveReason::Replaced, cuts: Vec::new() };
        chain.write(device, &body)?;
    }
    chain.rotate(device, random)?;
    Ok(chain.new)
}

/// New records, each naming the one before; the first names the heads.
struct Chain<'a> {
    membership: &'a Membership,
    held: &'a [Record],
    new: Vec<Record>,
}

impl<'a> Chain<'a> {
    const fn new(membership: &'a Membership, held: &'a [Record]) -> Self {
        Self { membership, held, new: Vec::new() }
    }

    fn take(&mut self, records: impl Iterator<Item = Record>) {
        self.new.extend(records);
    }

    fn next(&self) -> (Vec<RecordId>, u64) {
        match self.new.last() {
            Some(last) => (vec![last.id()], last.depth() + 1),
            None => (self.membership.next_parents(self.held), self.membership.next_depth()),
        }
    }

    fn write(&mut self, keys: &DeviceKeys, body: &Body) -> Result<(), RecordsError> {
        let (parents, depth) = self.next();
        self.new.push(sign(keys, self.membership.space, depth, &parents, body)?);
        Ok(())
    }

    /// The epoch after everything so far: sealed to exactly those who read then, wrapping all epochs before it.
    fn rotate(&mut self, keys: &DeviceKeys, random: &mut dyn Random) -> Result<(), RecordsError> {
        let all: Vec<Record> = self.held.iter().chain(&self.new).cloned().collect();
        let after = Membership::evaluate(&self.membership.space, &all).map_err(|_| RecordsError::NoEpoch)?;
        let keyring = open_epochs(&after, &all, keys);
        let secret = EpochSecret::generate(random);
        let parents: Vec<_> = after
            .epoch_heads()
            .into_iter()
            .map(|head| keyring.find(&head).map(|secret| (head, secret)))
            .collect::<Option<_>>()
            .ok_or(RecordsError::NoEpoch)?;
        let new = NewEpoch { generation: after.next_generation(), parents, secret: &secret };
        let (parents, depth) = self.next();
        let record = epoch_record(keys, &after.space, (&parents, depth), &new, &after.readers(), random)?;
        self.new.push(record);
        Ok(())
    }
}

/// The newest epoch held, clean or not: what a name can be sealed under even while a rotation is due.
pub(super) fn newest_held<'k>(
    membership: &Membership,
    keyring: &'k Keyring,
) -> Option<(lifeos_sync_protocol::ids::EpochRef, &'k EpochSecret)> {
    let current = membership.current_epoch().into_iter();
    let mut heads: Vec<_> = membership.epochs.iter().collect();
    heads.sort_by_key(|(_, epoch)| (std::cmp::Reverse(epoch.generation), epoch.record));
    let candidates = current.chain(heads.into_iter().map(|(id, _)| *id));
    candidates.filter_map(|id| Some((id, keyring.find(&id)?))).next()
}
