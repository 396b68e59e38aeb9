//! A space to link devices into, with real records, and the steps that every test of both ways of linking takes.

use lifeos_sync_protocol::ids::{HpkePk, MemberId, SignPk, Signature};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{DeviceKind, Record, RemoveReason, enrol_message};

use crate::crypto::SeededRandom;
use crate::keys::{DeviceKeys, DeviceRoot, OwnKeys, PhraseLength, RecoveryPhrase};
use crate::link::{GrantedSpaceInput, LinkStep, NewEntry, OfferedSpace};
use crate::records::{AddDevice, Draft, Founding, RecordsError, add_device, found_space, open_epochs, unlock_epochs};

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
    pub(in crate::link) fn enrol(
        &self,
        records: &[Record],
        new: &NewEntry,
    ) -> Result<(Vec<Record>, GrantedSpaceInput), RecordsError> {
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
        let added = add_device(&add, &mut SeededRandom::new(77))?;
        let id = added[0].id();
        let granted = GrantedSpaceInput { space: self.offered.space, device_add: id, head: added.last().unwrap().id() };
        Ok(([records, &added].concat(), granted))
    }

    /// The founding device takes this one out, and makes a key that it does not hold.
    pub(in crate::link) fn check_removal(&self, records: &[Record], device: SignPk) -> Result<(), String> {
        let said = |error: RecordsError| format!("an enrolled device cannot be removed: {error}");
        let membership = Membership::evaluate(&self.offered.space, records).unwrap();
        let opened = unlock_epochs(&membership, records, OwnKeys::first(&self.keys));
        let mut draft = Draft::begin(&membership, records, &opened, &self.keys);
        draft.remove_device(device, RemoveReason::Lost, Vec::new()).map_err(said)?;
        draft.rotate(&mut SeededRandom::new(78)).map_err(said)?;
        let records = [records, &draft.finish()].concat();
        let membership = Membership::evaluate(&self.offered.space, &records).unwrap();
        let opened = open_epochs(&membership, &records, &self.keys);
        let is_mine = membership.current_epoch().is_some_and(|epoch| opened.find(&epoch).is_some());
        let is_out = !membership.may_read(&device) && membership.may_write(&self.keys.sign_pk());
        if is_mine && is_out { Ok(()) } else { Err("a removal leaves the device in, or its own side out".into()) }
    }
}

/// The message that a machine wants to send.
pub(in crate::link) fn message_of(step: LinkStep) -> Option<Vec<u8>> {
    match step {
        LinkStep::Send(message) => Some(message),
        _ => None,
    }
}

/// What a new device answers with for one offered space.
pub(in crate::link) type Entry = (SignPk, HpkePk, Signature);

/// The right answer, and others of which none may be taken: none at all, one too many, a weak key, and keys that are
/// proven for another member or another kind.
pub(in crate::link) fn answers(offered: &OfferedSpace) -> (Vec<Entry>, Vec<Vec<Entry>>) {
    let (random, member) = (&offered.genesis_random, &offered.member);
    let keys = DeviceRoot::generate(&mut SeededRandom::new(6)).derive_space(random);
    let entry = |member: &MemberId, kind| {
        let entry = keys.entry(random, member, kind);
        (entry.sign_pk, entry.hpke_pk, entry.proof)
    };
    let good = entry(member, DeviceKind::Normal);
    let weak = HpkePk::ZERO;
    let proof = keys.sign(&enrol_message(random, member, DeviceKind::Normal, &keys.sign_pk(), &weak));
    let bad = vec![
        vec![],
        vec![good, good],
        vec![(keys.sign_pk(), weak, proof)],
        vec![entry(&MemberId([1; 16]), DeviceKind::Normal)],
        vec![entry(member, DeviceKind::Recovery)],
    ];
    (vec![good], bad)
}
