//! A space to link devices into, with real records, and the steps that every test of both ways of linking takes.

use lifeos_sync_protocol::ids::{MemberId, SignPk};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::Record;

use crate::crypto::SeededRandom;
use crate::keys::{DeviceKeys, DeviceRoot, PhraseLength, RecoveryPhrase};
use crate::link::{GrantedSpaceInput, LinkStep, NewEntry, OfferedSpace};
use crate::records::{AddDevice, Founding, add_device, found_space, open_epochs};

/// The relay's key.
pub(in crate::link) const RELAY: SignPk = SignPk([0x4e; 32]);

/// A space with its founding device's keys.
pub(in crate::link) struct Space {
    pub(in crate::link) offered: OfferedSpace,
    pub(in crate::link) records: Vec<Record>,
    keys: DeviceKeys,
}

impl Space {
    pub(in crate::link) fn found(seed: u8) -> Self {
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
    pub(in crate::link) fn enrol(&self, records: &[Record], new: &NewEntry) -> (Vec<Record>, GrantedSpaceInput) {
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

/// The message that a machine wants to send.
pub(in crate::link) fn message_of(step: LinkStep) -> Option<Vec<u8>> {
    match step {
        LinkStep::Send(message) => Some(message),
        _ => None,
    }
}
