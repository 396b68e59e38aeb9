//! What both explorations of linking have in common: who made which message, the disks and the relay, and what must
//! hold of them in every state.
//!
//! **A state can be left** if everybody may stop in it for good, crash or give up, and all of this holds:
//!
//! - every device that is still at it ends as soon as it is refused, and says what to do (`side::check_refusal`;
//!   where it waits for a message that never comes, the caller's deadline ends it, and the relay's its mailbox);
//! - the new device's disk holds nothing, or a whole home: records that enrol its key, and the newest epoch opens;
//! - whom the relay's records enrol, the existing device has on its own disk: its person sees every device, also one
//!   whose attempt fell after it was enrolled;
//! - and can take each of them out again, with a key for the rest that it does not hold;
//! - the next attempt finds its mailbox free and, undisturbed, gives a device that reads.

use std::cell::RefCell;
use std::collections::HashMap;

use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::{RdvId, RecordId, SignPk};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Record};

use super::ids;
use super::side::tells_what_to_do;
use crate::fault::{Fault, planted};
use crate::keys::DeviceRoot;
use crate::link::fixture::Space;
use crate::link::{GrantedSpaceInput, LinkError, NewEntry};
use crate::records::open_epochs;

/// What happened so far, beside the machines.
#[derive(Clone)]
pub(super) struct Trace {
    pub(super) new_attempts: usize,
    pub(super) existing_attempts: usize,
    /// Every message that was sent; the attacker has them all.
    pub(super) seen: Vec<(Maker, Vec<u8>)>,
    /// The person's space on the existing device's disk.
    own: Vec<Record>,
    /// The person's space at the relay.
    relay: Vec<Record>,
    /// The new device's disk.
    home: Option<Home>,
    /// A root on the new device's disk beside which there is no space.
    half: Option<usize>,
    /// A device went on although the person had not said so after seeing what they had to see.
    pub(super) unasked: bool,
    /// What only the counterpart of this attempt may say was taken from another attempt.
    pub(super) crossed: bool,
    /// The new device was told of an enrolment that the relay had not been given.
    told_early: bool,
    /// An error came up that does not tell anybody what to do.
    mute: Option<LinkError>,
}

/// A root on the new device's disk and what the relay had shown for it.
#[derive(Clone)]
struct Home {
    attempt: usize,
    records: Vec<Record>,
    /// The person's space, or the attacker's.
    of_person: bool,
}

/// What was found out of what lies on the disks and at the relay: states by the thousand leave the same few.
#[derive(Default)]
pub(super) struct Leavings(RefCell<HashMap<Vec<u8>, Result<(), String>>>);

impl Trace {
    pub(super) fn new(person: &Space) -> Self {
        Self {
            new_attempts: 0,
            existing_attempts: 0,
            seen: Vec::new(),
            own: person.records.clone(),
            relay: person.records.clone(),
            home: None,
            half: None,
            unasked: false,
            crossed: false,
            told_early: false,
            mute: None,
        }
    }

    pub(super) fn see(&mut self, maker: Maker, message: Vec<u8>) {
        if !self.seen.iter().any(|(_, known)| *known == message) {
            self.seen.push((maker, message));
            self.seen.sort_by(|(_, a), (_, b)| a.cmp(b));
        }
    }

    pub(super) fn relays_records(&self) -> &[Record] {
        &self.relay
    }

    /// The new device begins an attempt; gives which.
    pub(super) fn begin(&mut self) -> usize {
        self.new_attempts += 1;
        if planted(Fault::RootBeforeHome) {
            self.half = Some(self.new_attempts - 1);
        }
        self.new_attempts - 1
    }

    /// A new device begins where there is no home yet.
    pub(super) const fn may_begin(&self) -> bool {
        self.home.is_none() && self.half.is_none()
    }

    pub(super) fn hear(&mut self, error: LinkError) {
        if !tells_what_to_do(&error) {
            self.mute = Some(error);
        }
    }

    /// The existing device and the relay tell each other what they hold.
    pub(super) fn exchange(&mut self) {
        add_missing(&mut self.relay, &self.own);
        add_missing(&mut self.own, &self.relay);
    }

    pub(super) fn is_exchanged(&self) -> bool {
        self.own.len() == self.relay.len()
    }

    /// The existing device writes to its disk that this device is the person's.
    pub(super) fn enrol(&mut self, person: &Space, entry: &NewEntry) -> Option<GrantedSpaceInput> {
        let (records, granted) = person.enrol(&self.own, entry).ok()?;
        if planted(Fault::EnrolmentUnsaved) {
            add_missing(&mut self.relay, &records);
        } else {
            self.own = records;
        }
        Some(granted)
    }

    /// The new device is about to be told of this.
    pub(super) fn tell(&mut self, granted: &[GrantedSpaceInput]) {
        let is_there = |id: &RecordId| self.relay.iter().any(|record| record.id() == *id);
        self.told_early |= !granted.iter().all(|granted| is_there(&granted.device_add) && is_there(&granted.head));
    }

    /// The new device writes its home to disk.
    pub(super) fn keep(&mut self, attempt: usize, records: Vec<Record>, of_person: bool) {
        self.home = Some(Home { attempt, records, of_person });
        self.half = None;
    }

    pub(super) fn is_linked(&self) -> bool {
        self.home.as_ref().is_some_and(|home| home.of_person)
    }

    pub(super) fn fell_for_attacker(&self) -> bool {
        self.home.as_ref().is_some_and(|home| !home.of_person)
    }

    /// What this adds to a world's fingerprint: nothing is merged that differs in more than the order of records.
    pub(super) fn bytes(&self, out: &mut Vec<u8>) {
        out.extend([u8::try_from(self.new_attempts).unwrap(), u8::try_from(self.existing_attempts).unwrap()]);
        out.extend([self.unasked, self.crossed, self.told_early, self.mute.is_some()].map(u8::from));
        self.seen.iter().for_each(|(_, message)| out.extend_from_slice(&sha256("explore", &[message])));
        self.disks(out);
    }

    /// What is there when everybody has stopped. Records go by their ids, which say who is enrolled, under which keys,
    /// with which grants and on top of what.
    fn disks(&self, out: &mut Vec<u8>) {
        out.push(0xfd);
        ids(&self.own, out);
        out.push(0xfc);
        ids(&self.relay, out);
        out.push(self.half.map_or(0xff, |attempt| u8::try_from(attempt).unwrap()));
        if let Some(home) = &self.home {
            out.extend([u8::try_from(home.attempt).unwrap(), u8::from(home.of_person)]);
            ids(&home.records, out);
        }
    }

    /// No key is enrolled that is not the new device's, and none is kept before records have shown its enrolment.
    pub(super) fn check(&self, person: &Space, attacker: &Space) -> Result<(), String> {
        let own: Vec<_> = (0..self.new_attempts).map(|attempt| key_of(attempt, person)).collect();
        if enrolled(&self.relay).chain(enrolled(&self.own)).any(|device| !own.contains(&device)) {
            return Err("a key that is not the new device's is enrolled".into());
        }
        if let Some(home) = &self.home {
            let space = if home.of_person { person } else { attacker };
            if !enrolled(&home.records).any(|device| device == key_of(home.attempt, space)) {
                return Err("a key was kept before the records showed its enrolment".into());
            }
        }
        if self.told_early {
            return Err("the new device was told of an enrolment that the relay has not got".into());
        }
        self.mute.map_or(Ok(()), |error| Err(format!("nobody can tell what to do after: {error}")))
    }

    /// Everybody stops here for good. `next` are the mailboxes of the attempts so far and then of the next one, which
    /// `again` makes with these records at the relay.
    pub(super) fn check_leaving(
        &self,
        leavings: &Leavings,
        (person, attacker): (&Space, &Space),
        mailboxes: &[RdvId],
        again: impl FnOnce(&[Record]) -> Result<(), String>,
    ) -> Result<(), String> {
        if self.half.is_some() {
            return Err("a key lies on the new device's disk without a space: no home, and none can begin".into());
        }
        if enrolled(&self.relay).any(|device| !enrolled(&self.own).any(|known| known == device)) {
            return Err("the relay enrols a device that the existing one does not know of".into());
        }
        let next = mailboxes.last();
        if mailboxes[..self.new_attempts].iter().any(|used| Some(used) == next) {
            return Err("the next attempt finds its mailbox taken".into());
        }
        let mut key = Vec::new();
        self.disks(&mut key);
        if let Some(known) = leavings.0.borrow().get(&key) {
            return known.clone();
        }
        let found = self.check_disks(person, attacker).and_then(|()| {
            let mut after = self.clone();
            after.exchange();
            again(&after.relay)
        });
        leavings.0.borrow_mut().insert(key, found.clone());
        found
    }

    fn check_disks(&self, person: &Space, attacker: &Space) -> Result<(), String> {
        if let Some(home) = &self.home {
            let space = if home.of_person { person } else { attacker };
            if !opens(space, &root_of(home.attempt), &home.records) {
                return Err("the new device's home does not open the newest epoch".into());
            }
        }
        enrolled(&self.own).try_for_each(|device| person.check_removal(&self.own, device))
    }
}

fn add_missing(to: &mut Vec<Record>, from: &[Record]) {
    for record in from {
        if !to.iter().any(|held| held.id() == record.id()) {
            to.push(record.clone());
        }
    }
}

/// Whether these records and the root alone open the newest epoch.
pub(super) fn opens(space: &Space, root: &DeviceRoot, records: &[Record]) -> bool {
    let keys = root.derive_space(&space.offered.genesis_random);
    Membership::evaluate(&space.offered.space, records).is_ok_and(|membership| {
        let keyring = open_epochs(&membership, records, &keys);
        membership.current_epoch().is_some_and(|epoch| keyring.find(&epoch).is_some())
    })
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
fn enrolled(records: &[Record]) -> impl Iterator<Item = SignPk> + '_ {
    records.iter().filter_map(|record| match record.body() {
        Body::DeviceAdd { device, .. } => Some(device.sign_pk),
        _ => None,
    })
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
    /// The oldest so many; the newest may add the device.
    First(usize),
    /// Everything, each record twice and the newest first.
    Shuffled,
    /// The attacker's space instead of the person's, or the other way round.
    Other,
}

impl Shown {
    /// Everything that can be shown of so many records.
    pub(super) fn all(count: usize) -> impl Iterator<Item = Self> {
        (2..=count).map(Self::First).chain([Self::Shuffled, Self::Other])
    }

    pub(super) fn of(self, right: &[Record], other: &[Record]) -> Vec<Record> {
        match self {
            Self::First(count) => right[..count.min(right.len())].to_vec(),
            Self::Shuffled => right.iter().rev().flat_map(|record| [record.clone(), record.clone()]).collect(),
            Self::Other => other.to_vec(),
        }
    }
}
