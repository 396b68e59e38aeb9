//! Records about to be written: each is tried on the membership it would make before anybody else sees it.

use std::collections::BTreeSet;

use lifeos_sync_protocol::ids::{EpochRef, HpkePk, MemberId, RecordId, SignPk};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Cut, Record, RemoveReason, Role};

use super::ring::{KeyTrouble, OpenedEpochs};
use super::{RecordsError, cite_heads, has_room, sign};
use crate::keys::{DeviceKeys, EpochSecret, Keyring};

/// Records that one device writes together, parents first; each is valid after those before it.
///
/// Nothing is stored or sent here: what [`Draft::finish`] gives is to be stored and pushed as one.
pub struct Draft<'a> {
    keys: &'a DeviceKeys,
    opened: OpenedEpochs,
    membership: Membership,
    records: Vec<Record>,
    /// How many of the records were there before.
    held: usize,
}

impl<'a> Draft<'a> {
    /// Begins on everything this device knows of the space.
    #[must_use]
    pub fn begin(membership: &Membership, records: &[Record], opened: &OpenedEpochs, keys: &'a DeviceKeys) -> Self {
        Self {
            keys,
            opened: opened.clone(),
            membership: membership.clone(),
            records: records.to_vec(),
            held: records.len(),
        }
    }

    /// What was written, parents first; maybe nothing.
    #[must_use]
    pub fn finish(mut self) -> Vec<Record> {
        self.records.split_off(self.held)
    }

    /// Removes one device. `cuts`: where its streams stood, as far as this device holds them.
    ///
    /// # Errors
    /// [`RecordsError::Void`] when this device may not do it, or it would have no effect.
    pub fn remove_device(
        &mut self,
        device: SignPk,
        reason: RemoveReason,
        cuts: Vec<Cut>,
    ) -> Result<RecordId, RecordsError> {
        self.add(&Body::DeviceRemove { device, reason, cuts })
    }

    /// Removes a member with all its devices.
    ///
    /// # Errors
    /// [`RecordsError::Void`] when this device may not do it, or it would have no effect.
    pub fn remove_member(
        &mut self,
        member: MemberId,
        reason: RemoveReason,
        cuts: Vec<Cut>,
    ) -> Result<RecordId, RecordsError> {
        self.add(&Body::MemberRemove { member, reason, cuts })
    }

    /// Gives a member another role. `cuts` when it may not write any more.
    ///
    /// # Errors
    /// [`RecordsError::Void`] when this device may not do it, or it would have no effect.
    pub fn set_role(&mut self, member: MemberId, role: Role, cuts: Vec<Cut>) -> Result<RecordId, RecordsError> {
        self.add(&Body::RoleSet { member, role, cuts })
    }

    /// Tells everybody this device's new HPKE key; epochs to come are sealed to it.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn refresh_hpke(&mut self, hpke_pk: HpkePk) -> Result<RecordId, RecordsError> {
        self.add(&Body::HpkeRefresh { hpke_pk })
    }

    /// Writes a removal or demotion once more if it cuts a stream earlier than `cuts` do. Anything else is left.
    ///
    /// The new one stands beside the old one, with its parents: on top of it, it would remove who is gone already, and
    /// a relay that refused the old one could not place it.
    ///
    /// # Errors
    /// [`RecordsError::Void`] when this device may not do it any more.
    pub fn cut_later(&mut self, record: &Record, cuts: Vec<Cut>) -> Result<(), RecordsError> {
        let body = record.body();
        let (Body::DeviceRemove { cuts: before, .. }
        | Body::MemberRemove { cuts: before, .. }
        | Body::RoleSet { cuts: before, .. }) = body
        else {
            return Ok(());
        };
        let is_later =
            |cut: &Cut| before.iter().find(|old| old.stream == cut.stream).is_none_or(|old| old.seq < cut.seq);
        if !cuts.iter().any(is_later) {
            return Ok(());
        }
        let again = match body.clone() {
            Body::DeviceRemove { device, reason, .. } => Body::DeviceRemove { device, reason, cuts },
            Body::MemberRemove { member, reason, .. } => Body::MemberRemove { member, reason, cuts },
            Body::RoleSet { member, role, .. } => Body::RoleSet { member, role, cuts },
            other => other,
        };
        self.add_at(record.parents(), record.depth(), &again).map(|_| ())
    }

    /// Signs a record on top of everything here, and takes it only if it counts.
    pub(crate) fn add(&mut self, body: &Body) -> Result<RecordId, RecordsError> {
        let (mut parents, depth) = cite_heads(&self.membership, &self.records);
        parents.sort_unstable();
        self.add_at(&parents, depth, body)
    }

    /// Signs a record upon these parents, and takes it only if it counts.
    pub(super) fn add_at(&mut self, parents: &[RecordId], depth: u64, body: &Body) -> Result<RecordId, RecordsError> {
        let record = sign(self.keys, self.membership.space, depth, parents, body)?;
        let id = record.id();
        if self.records.iter().any(|known| known.id() == id) {
            return Ok(id);
        }
        has_room(&self.membership, self.records.len(), &self.author(), body)?;
        self.records.push(record);
        match Membership::evaluate(&self.membership.space, &self.records) {
            Ok(after) if !after.void.contains_key(&id) => {
                self.membership = after;
                Ok(id)
            }
            Ok(after) => {
                self.records.pop();
                Err(after.void.get(&id).map_or(RecordsError::Full, |reason| RecordsError::Void(*reason)))
            }
            Err(_) => {
                self.records.pop();
                Err(RecordsError::Full)
            }
        }
    }

    pub(super) fn learn(&mut self, epoch: EpochRef, secret: EpochSecret) {
        self.opened.keyring.insert(epoch, secret);
    }

    /// The membership that all records here make, the new ones included.
    #[must_use]
    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(super) const fn author(&self) -> SignPk {
        self.keys.sign_pk()
    }

    pub(super) fn secret(&self, epoch: &EpochRef) -> Option<&EpochSecret> {
        self.opened.keyring.find(epoch)
    }

    pub(super) const fn keyring(&self) -> &Keyring {
        &self.opened.keyring
    }

    pub(super) const fn cut_off(&self) -> &BTreeSet<EpochRef> {
        &self.opened.cut_off
    }

    pub(super) fn trouble(&self, epoch: &EpochRef) -> Option<KeyTrouble> {
        self.opened.troubles.get(epoch).copied()
    }
}
