//! What both explorations of linking have in common: who made which message, what the relay shows, and what must hold
//! of keys in every state.

use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::SignPk;
use lifeos_sync_protocol::record::{Body, Record};

use crate::keys::DeviceRoot;
use crate::link::fixture::Space;

/// What happened so far, beside the machines.
#[derive(Clone)]
pub(super) struct Trace {
    pub(super) new_attempts: usize,
    pub(super) existing_attempts: usize,
    /// Every message that was sent; the attacker has them all.
    pub(super) seen: Vec<(Maker, Vec<u8>)>,
    /// The person's space at the relay.
    pub(super) records: Vec<Record>,
    /// Kept roots by attempt, with what the relay had shown, and whether that was the person's space.
    pub(super) kept: Vec<(usize, Vec<Record>, bool)>,
    /// A device went on although the person had not said so after seeing what they had to see.
    pub(super) unasked: bool,
    /// What only the counterpart of this attempt may say was taken from another attempt.
    pub(super) crossed: bool,
    pub(super) ended_well: bool,
}

impl Trace {
    pub(super) fn new(person: &Space) -> Self {
        Self {
            new_attempts: 0,
            existing_attempts: 0,
            seen: Vec::new(),
            records: person.records.clone(),
            kept: Vec::new(),
            unasked: false,
            crossed: false,
            ended_well: false,
        }
    }

    pub(super) fn see(&mut self, maker: Maker, message: Vec<u8>) {
        if !self.seen.iter().any(|(_, known)| *known == message) {
            self.seen.push((maker, message));
            self.seen.sort_by(|(_, a), (_, b)| a.cmp(b));
        }
    }

    /// What the attempts and their messages add to a world's fingerprint.
    pub(super) fn bytes(&self, out: &mut Vec<u8>) {
        out.extend([u8::try_from(self.new_attempts).unwrap(), u8::try_from(self.existing_attempts).unwrap()]);
        out.extend([u8::from(self.unasked), u8::from(self.crossed), u8::from(self.ended_well)]);
        self.seen.iter().for_each(|(_, message)| out.extend_from_slice(&sha256("explore", &[message])));
        self.records.iter().for_each(|record| out.extend_from_slice(&record.id().0));
        let kept: Vec<_> = self.kept.iter().map(|(attempt, shown, _)| (attempt, shown.len())).collect();
        out.extend(format!("{kept:?}").bytes());
    }

    /// No key is enrolled that is not the new device's, and none is kept before records have shown its enrolment.
    pub(super) fn check_keys(&self, person: &Space, attacker: &Space) -> Result<(), String> {
        let own: Vec<_> = (0..self.new_attempts).map(|attempt| key_of(attempt, person)).collect();
        if enrolled(&self.records).iter().any(|device| !own.contains(device)) {
            return Err("a key that is not the new device's is enrolled".into());
        }
        for (attempt, shown, of_person) in &self.kept {
            let space = if *of_person { person } else { attacker };
            if !enrolled(shown).contains(&key_of(*attempt, space)) {
                return Err("a key was kept before the records showed its enrolment".into());
            }
        }
        Ok(())
    }
}

/// The new device's root. It differs in every attempt: nothing was kept of the one before.
pub(super) fn root_of(attempt: usize) -> DeviceRoot {
    DeviceRoot::from_bytes([0x60 + u8::try_from(attempt).unwrap(); 32])
}

/// Its key in a space, from its root alone.
fn key_of(attempt: usize, space: &Space) -> SignPk {
    root_of(attempt).derive_space(&space.offered.genesis_random).sign_pk()
}

/// The devices that DeviceAdd records enrol: read off the bytes, not off any machine.
fn enrolled(records: &[Record]) -> Vec<SignPk> {
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
