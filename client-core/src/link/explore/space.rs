//! The spaces of an exploration: the person's and the attacker's, and what the relay says about them.

use lifeos_sync_protocol::ids::{MemberId, SignPk};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Record};

use crate::crypto::SeededRandom;
use crate::keys::{DeviceKeys, DeviceRoot, PhraseLength, RecoveryPhrase};
use crate::link::{GrantedSpaceInput, NewEntry, OfferedSpace};
use crate::records::{AddDevice, Founding, add_device, found_space, open_epochs};

pub(super) const RELAY: SignPk = SignPk([0x4e; 32]);

/// A space with its founding device's keys.
pub(super) struct Space {
    pub(super) offered: OfferedSpace,
    pub(super) records: Vec<Record>,
    keys: DeviceKeys,
}

impl Space {
    pub(super) fn found(seed: u8) -> Self {
        let genesis_random = [seed; 32];
        let member = MemberId([seed; 16]);
        let mut random = SeededRandom::new(u64::from(seed));
        let keys = DeviceRoot::generate(&mut random).derive_space(&genesis_random);
        let recovery = RecoveryPhrase::generate(PhraseLength::Words12, &mut random).derive_home();
        let founding = Founding { genesis_random, member, keys: &keys, recovery: &recovery, relays: vec![] };
        let founded = found_space(&founding, &mut random).unwrap();
        let offered = OfferedSpace { space: founded.space, member, genesis_random };
        Self { offered, records: vec![founded.genesis, founded.epoch], keys }
    }

    /// The records after this device was enrolled.
    pub(super) fn enrol(&self, records: &[Record], new: &NewEntry) -> (Vec<Record>, GrantedSpaceInput) {
        let membership = Membership::evaluate(&self.offered.space, records).unwrap();
        let add = AddDevice {
            membership: &membership,
            records,
            keyring: &open_epochs(&membership, records, &self.keys),
            keys: &self.keys,
            member: new.member,
            entry: new.entry.clone(),
            name: "Phone",
        };
        let added = add_device(&add, &mut SeededRandom::new(77)).unwrap();
        let id = added[0].id();
        let granted = GrantedSpaceInput { space: self.offered.space, device_add: id, head: added.last().unwrap().id() };
        ([records, &added].concat(), granted)
    }
}

/// The devices that DeviceAdd records enrol: read off the bytes, not off any machine.
pub(super) fn enrolled(records: &[Record]) -> Vec<SignPk> {
    let added = records.iter().filter_map(|record| match record.body() {
        Body::DeviceAdd { device, .. } => Some(device.sign_pk),
        _ => None,
    });
    added.collect()
}

/// Who made a message, and within which attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    /// The new device in this attempt.
    New(usize),
    /// The existing device in this attempt, for that link or code.
    Existing(usize, Target),
    /// The attacker.
    Attacker,
}

/// What the existing device was given to scan or type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The new device's, of this attempt.
    New(usize),
    /// The attacker's own.
    Attacker,
}

/// What the relay shows a new device that asks for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// Everything.
    All,
    /// Without the newest, which adds the device.
    Withheld,
    /// The attacker's space instead.
    Other,
}
