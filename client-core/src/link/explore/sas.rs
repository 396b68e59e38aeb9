//! Every state of linking without a camera.

use std::rc::Rc;

use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::RdvId;
use lifeos_sync_protocol::record::Record;

use super::side::{check_refusal, link_undisturbed};
use super::space::{Leavings, Maker, Shown, Target, Trace, root_of};
use super::{Least, Model, STUCK, explore_all, find};
use crate::crypto::{AgreementKey, SeededRandom};
use crate::fault::Fault;
use crate::keys::DeviceRoot;
use crate::link::enrol::{answer, make_grant};
use crate::link::fixture::{RELAY, Space, message_of};
use crate::link::message::{Kind, Offer, frame};
use crate::link::sas::{Agreement, Half};
use crate::link::{
    Comparison, GrantedSpaceInput, LinkStep, PublishStep, Publishing, SasCode, SasExistingDevice, SasNewDevice,
};

const ATTEMPTS: usize = 2;

/// What does not change.
struct Stage {
    person: Space,
    attacker: Space,
    /// A second attempt draws the first one's mailbox and keys again.
    rendezvous_again: bool,
    /// Of every attempt, and of the one after them.
    mailboxes: Vec<RdvId>,
    leavings: Leavings,
}

#[derive(Clone)]
struct World {
    stage: Rc<Stage>,
    new: Option<New>,
    existing: Option<Existing>,
    trace: Trace,
}

#[derive(Clone)]
struct New {
    attempt: usize,
    machine: SasNewDevice,
    taken: Vec<[u8; 32]>,
    /// What its screen showed last.
    shown: Option<Comparison>,
    confirmed: bool,
}

#[derive(Clone)]
struct Existing {
    attempt: usize,
    target: Target,
    machine: SasExistingDevice,
    taken: Vec<[u8; 32]>,
    shown: Option<Comparison>,
    confirmed: bool,
    publishing: Publishing,
}

#[derive(Debug, Clone)]
enum Move {
    NewStarts,
    ExistingTakes(Target),
    NewSends {
        at_its_index: bool,
    },
    ExistingSends {
        at_its_index: bool,
    },
    ToNew(Given),
    ToExisting(Given),
    /// The person says on this device what they see on both.
    NewCompares,
    ExistingCompares,
    /// The person says that they differ although they do not.
    NewDenies,
    ExistingDenies,
    /// Records go to the relay and back; the answer may be lost.
    Exchange {
        heard: bool,
    },
    /// The enrolment goes to the existing device's disk.
    Enrol,
    Grant,
    Prove(Shown),
    NewStops,
    ExistingStops,
    /// The existing device runs again and syncs, as devices do.
    ExistingSyncs,
}

/// A message that the attacker has or makes.
#[derive(Debug, Clone, PartialEq)]
enum Given {
    Seen(usize),
    Garbage,
    /// The attacker's own half, committed to, shown to the one or the other side.
    OwnCommit,
    OwnShare,
    OwnReveal,
    /// What the attacker seals under what it agreed on with the new device.
    OwnOffer,
    OwnGrant,
    /// What it seals under what it agreed on with the existing device.
    OwnKeys,
}

fn start_new(stage: &Stage, attempt: usize) -> SasNewDevice {
    let seed = if stage.rendezvous_again { 0 } else { attempt as u64 };
    SasNewDevice::start(root_of(attempt), RELAY, "Phone", &mut SeededRandom::new(100 + seed)).unwrap()
}

fn attackers_root() -> DeviceRoot {
    DeviceRoot::from_bytes([0xaa; 32])
}

fn attackers_key() -> AgreementKey {
    AgreementKey::generate(&mut SeededRandom::new(900))
}

fn attackers_half() -> Half {
    Half { key: attackers_key().public(), nonce: [0xaa; 32] }
}

impl World {
    fn new(rendezvous_again: bool) -> Self {
        let mut stage = Stage {
            person: Space::found(1),
            attacker: Space::found(2),
            rendezvous_again,
            mailboxes: Vec::new(),
            leavings: Leavings::default(),
        };
        stage.mailboxes = (0..=ATTEMPTS).map(|attempt| start_new(&stage, attempt).rdv()).collect();
        let trace = Trace::new(&stage.person);
        Self { stage: Rc::new(stage), new: None, existing: None, trace }
    }

    fn code(&self, target: Target) -> SasCode {
        match target {
            Target::New(attempt) => start_new(&self.stage, attempt).code(),
            Target::Attacker => SasCode::of_bytes([9; 5]),
        }
    }

    /// What the attacker shares with the new device, if that took the attacker's half.
    fn agreed_with_new(&self) -> Option<Agreement> {
        let new = self.new.as_ref()?;
        let reveal = self.trace.seen.iter().find_map(|(maker, message)| {
            (*maker == Maker::New(new.attempt)).then(|| Half::read(Kind::SasReveal, message).ok()).flatten()
        })?;
        let secret = attackers_key().agree(&reveal.key).ok()?;
        let place = (&new.machine.rdv(), &RELAY);
        Some(Agreement::new(place, (&reveal.commitment(), &attackers_half(), &reveal), &secret))
    }

    /// What the attacker shares with the existing device, if that took the attacker's half.
    fn agreed_with_existing(&self) -> Option<Agreement> {
        let existing = self.existing.as_ref()?;
        let share = self.trace.seen.iter().find_map(|(maker, message)| {
            let own = *maker == Maker::Existing(existing.attempt, existing.target);
            own.then(|| Half::read(Kind::SasShare, message).ok()).flatten()
        })?;
        let secret = attackers_key().agree(&share.key).ok()?;
        let half = attackers_half();
        let place = (&existing.machine.rdv(), &RELAY);
        Some(Agreement::new(place, (&half.commitment(), &share, &half), &secret))
    }

    fn own_offer(&self) -> Option<(Agreement, Vec<u8>)> {
        let mut agreement = self.agreed_with_new()?;
        let spaces = vec![self.stage.attacker.offered];
        let offer = Offer { relay_pk: RELAY, one_time_pk: attackers_half().key, spaces };
        let message = agreement.seal(Kind::SasOffer, offer.encode().ok()?).ok()?;
        Some((agreement, message))
    }

    fn own_grant(&self) -> Option<Vec<u8>> {
        let (agreement, _) = self.own_offer()?;
        self.trace.seen.iter().find_map(|(_, message)| {
            let mut agreement = agreement.clone();
            agreement.open(Kind::SasKeys, message).ok()?;
            let offered = self.stage.attacker.offered;
            let id = self.stage.attacker.records[1].id();
            let granted = GrantedSpaceInput { space: offered.space, device_add: id, head: id };
            let grant = make_grant(&[offered], "Mallory", &[], &[granted]).ok()?.encode().ok()?;
            agreement.seal(Kind::SasGrant, grant).ok()
        })
    }

    fn own_keys(&self) -> Option<Vec<u8>> {
        let agreement = self.agreed_with_existing()?;
        self.trace.seen.iter().find_map(|(_, message)| {
            let mut agreement = agreement.clone();
            let offer = Offer::decode(&agreement.open(Kind::SasOffer, message).ok()?).ok()?;
            let keys = answer(&attackers_root(), "Phone", &offer.spaces).encode().ok()?;
            agreement.seal(Kind::SasKeys, keys).ok()
        })
    }

    fn given(&self, given: &Given) -> Option<(Maker, Vec<u8>)> {
        let half = attackers_half();
        let own = match given {
            Given::Seen(at) => return self.trace.seen.get(*at).cloned(),
            Given::Garbage => Some(b"garbage".to_vec()),
            Given::OwnCommit => frame(Kind::SasCommit, &[&half.commitment()]).ok(),
            Given::OwnShare => half.message(Kind::SasShare).ok(),
            Given::OwnReveal => half.message(Kind::SasReveal).ok(),
            Given::OwnOffer => self.own_offer().map(|(_, message)| message),
            Given::OwnGrant => self.own_grant(),
            Given::OwnKeys => self.own_keys(),
        };
        Some((Maker::Attacker, own?))
    }

    fn give_new(&mut self, given: &Given) {
        let (Some((maker, message)), Some(new)) = (self.given(given), &mut self.new) else { return };
        let LinkStep::Wait(index) = new.machine.poll() else { return };
        if let Err(error) = new.machine.handle(index, &message) {
            self.trace.hear(error);
            self.new = None;
            return;
        }
        new.taken.push(sha256("explore", &[&message]));
        // Halves are open to everybody until they are compared; what comes after must be the counterpart's.
        let sealed = index > 2;
        let own = matches!(maker, Maker::Existing(_, target) if target == Target::New(new.attempt));
        self.trace.crossed |= sealed && !own;
    }

    fn give_existing(&mut self, given: &Given) {
        let (Some((maker, message)), Some(existing)) = (self.given(given), &mut self.existing) else { return };
        let LinkStep::Wait(index) = existing.machine.poll() else { return };
        if let Err(error) = existing.machine.handle(index, &message) {
            self.trace.hear(error);
            self.existing = None;
            return;
        }
        existing.taken.push(sha256("explore", &[&message]));
        let own = matches!(maker, Maker::New(attempt) if existing.target == Target::New(attempt));
        self.trace.crossed |= index > 2 && !own;
    }

    /// What the person sees: both screens, if both show something.
    fn both_show_the_same(&self) -> bool {
        let (Some(new), Some(existing)) = (&self.new, &self.existing) else { return false };
        new.shown.is_some() && new.shown == existing.shown
    }

    fn new_says(&mut self, they_match: bool) {
        let seen = self.both_show_the_same();
        let Some(new) = &mut self.new else { return };
        if let Err(error) = new.machine.confirm(they_match) {
            self.trace.hear(error);
            self.new = None;
            return;
        }
        new.confirmed = true;
        self.trace.unasked |= !seen || !they_match;
    }

    fn existing_says(&mut self, they_match: bool) {
        let seen = self.both_show_the_same();
        let Some(existing) = &mut self.existing else { return };
        if let Err(error) = existing.machine.confirm(they_match) {
            self.trace.hear(error);
            self.existing = None;
            return;
        }
        existing.confirmed = true;
        self.trace.unasked |= !seen || !they_match;
    }

    fn look(&mut self) {
        if let Some(new) = &mut self.new {
            new.shown = new.machine.comparison().or(new.shown);
        }
        if let Some(existing) = &mut self.existing {
            existing.shown = existing.machine.comparison().or(existing.shown);
        }
    }

    fn exchange(&mut self, heard: bool) {
        let Some(existing) = &mut self.existing else { return };
        self.trace.exchange();
        if heard {
            existing.publishing.exchanged();
        }
    }

    fn enrol(&mut self) {
        let Some(existing) = &mut self.existing else { return };
        let Some(entry) = existing.machine.new_entries().and_then(<[_]>::first).cloned() else { return };
        match self.trace.enrol(&self.stage.person, &entry) {
            Some(granted) => existing.publishing.enrolled(granted),
            None => self.existing = None,
        }
    }

    fn grant(&mut self) {
        let Some(existing) = &mut self.existing else { return };
        let granted: &[GrantedSpaceInput] = existing.publishing.granted();
        self.trace.tell(granted);
        existing.machine.grant("Ada", &[], granted).unwrap();
    }

    fn prove(&mut self, shown: Shown) {
        let Some(new) = &self.new else { return };
        let records = shown.of(self.trace.relays_records(), &self.stage.attacker.records);
        match new.machine.prove(std::slice::from_ref(&records)) {
            Ok(_) => self.trace.keep(new.attempt, records, true),
            Err(error) => self.trace.hear(error),
        }
        self.new = None;
    }

    fn links_again(&self, records: &[Record]) -> Result<(), String> {
        let new = start_new(&self.stage, ATTEMPTS);
        let offered = vec![self.stage.person.offered];
        let existing = SasExistingDevice::start(new.code(), RELAY, offered, &mut SeededRandom::new(299)).unwrap();
        link_undisturbed((new, ATTEMPTS), existing, &self.stage.person, records)
    }

    fn moves_of_new(&self, new: &New) -> Vec<Move> {
        let mut moves = vec![Move::NewStops];
        match new.machine.poll() {
            LinkStep::Send(_) => moves.extend([true, false].map(|at_its_index| Move::NewSends { at_its_index })),
            LinkStep::Wait(_) => {
                moves.extend((0..self.trace.seen.len()).map(|at| Move::ToNew(Given::Seen(at))));
                let own = [Given::Garbage, Given::OwnShare, Given::OwnOffer, Given::OwnGrant];
                moves.extend(own.map(Move::ToNew));
            }
            LinkStep::Compare => moves.extend([Move::NewCompares, Move::NewDenies]),
            LinkStep::Done => moves.extend(Shown::all(self.trace.relays_records().len()).map(Move::Prove)),
            _ => {}
        }
        moves
    }

    fn moves_of_existing(&self, existing: &Existing) -> Vec<Move> {
        let mut moves = vec![Move::ExistingStops];
        match existing.machine.poll() {
            LinkStep::Send(_) => {
                moves.extend([true, false].map(|at_its_index| Move::ExistingSends { at_its_index }));
            }
            LinkStep::Wait(_) => {
                moves.extend((0..self.trace.seen.len()).map(|at| Move::ToExisting(Given::Seen(at))));
                let own = [Given::Garbage, Given::OwnCommit, Given::OwnReveal, Given::OwnKeys];
                moves.extend(own.map(Move::ToExisting));
            }
            LinkStep::Compare => moves.extend([Move::ExistingCompares, Move::ExistingDenies]),
            LinkStep::Publish => match existing.publishing.poll() {
                PublishStep::Exchange(_) => moves.extend([true, false].map(|heard| Move::Exchange { heard })),
                PublishStep::Enrol(_) => moves.push(Move::Enrol),
                PublishStep::Grant => moves.push(Move::Grant),
            },
            _ => {}
        }
        moves
    }
}

impl Model for World {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        match &self.new {
            None if self.trace.new_attempts < ATTEMPTS && self.trace.may_begin() => moves.push(Move::NewStarts),
            None => {}
            Some(new) => moves.extend(self.moves_of_new(new)),
        }
        if self.existing.is_none() && !self.trace.is_exchanged() {
            moves.push(Move::ExistingSyncs);
        }
        match &self.existing {
            None if self.trace.existing_attempts < ATTEMPTS => {
                let codes = (0..self.trace.new_attempts).map(Target::New).chain([Target::Attacker]);
                moves.extend(codes.map(Move::ExistingTakes));
            }
            None => {}
            Some(existing) => moves.extend(self.moves_of_existing(existing)),
        }
        moves
    }

    fn apply(&self, step: &Move) -> Self {
        let mut next = self.clone();
        match step {
            Move::NewStarts => {
                let attempt = next.trace.begin();
                let machine = start_new(&next.stage, attempt);
                next.new = Some(New { attempt, machine, taken: Vec::new(), shown: None, confirmed: false });
            }
            Move::ExistingTakes(target) => {
                let (attempt, target) = (next.trace.existing_attempts, *target);
                next.trace.existing_attempts += 1;
                let offered = vec![next.stage.person.offered];
                let mut random = SeededRandom::new(200 + attempt as u64);
                let machine = SasExistingDevice::start(next.code(target), RELAY, offered, &mut random).unwrap();
                let (taken, shown, confirmed, publishing) = (Vec::new(), None, false, Publishing::new(1));
                next.existing = Some(Existing { attempt, target, machine, taken, shown, confirmed, publishing });
            }
            Move::NewSends { at_its_index } => {
                if let Some(new) = &mut next.new {
                    let message = message_of(new.machine.poll()).unwrap();
                    let maker = Maker::New(new.attempt);
                    let index = [0, 2, 4][new.taken.len()];
                    if new.machine.sent(if *at_its_index { index } else { index + 1 }).is_err() {
                        next.new = None;
                    }
                    next.trace.see(maker, message);
                }
            }
            Move::ExistingSends { at_its_index } => {
                if let Some(existing) = &mut next.existing {
                    let message = message_of(existing.machine.poll()).unwrap();
                    let maker = Maker::Existing(existing.attempt, existing.target);
                    let index = [1, 1, 3, 5][existing.taken.len()];
                    if existing.machine.sent(if *at_its_index { index } else { index + 1 }).is_err() {
                        next.existing = None;
                    }
                    next.trace.see(maker, message);
                }
            }
            Move::ToNew(given) => next.give_new(given),
            Move::ToExisting(given) => next.give_existing(given),
            Move::NewCompares => next.new_says(next.both_show_the_same()),
            Move::ExistingCompares => next.existing_says(next.both_show_the_same()),
            Move::NewDenies => next.new_says(false),
            Move::ExistingDenies => next.existing_says(false),
            Move::Exchange { heard } => next.exchange(*heard),
            Move::Enrol => next.enrol(),
            Move::Grant => next.grant(),
            Move::Prove(shown) => next.prove(*shown),
            Move::NewStops => next.new = None,
            Move::ExistingStops => next.existing = None,
            Move::ExistingSyncs => next.trace.exchange(),
        }
        next.look();
        next
    }

    fn fingerprint(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.trace.bytes(&mut out);
        out.push(0xff);
        if let Some(new) = &self.new {
            out.extend([1, u8::from(matches!(new.machine.poll(), LinkStep::Send(_))), u8::from(new.confirmed)]);
            out.push(u8::from(new.shown.is_some()));
            new.taken.iter().for_each(|taken| out.extend_from_slice(taken));
        }
        out.push(0xfe);
        if let Some(existing) = &self.existing {
            out.extend([1, u8::from(existing.shown.is_some()), u8::from(existing.confirmed)]);
            let poll = std::mem::discriminant(&existing.machine.poll());
            out.extend(format!("{:?}{poll:?}{:?}", existing.target, existing.publishing).bytes());
            existing.taken.iter().for_each(|taken| out.extend_from_slice(taken));
        }
        sha256("explore", &[&out]).to_vec()
    }

    fn check(&self) -> Result<(), String> {
        if self.trace.unasked {
            return Err("a device went on although the person did not see the same on both".into());
        }
        if self.trace.crossed {
            return Err("a sealed message of one attempt was taken in another".into());
        }
        self.trace.check(&self.stage.person, &self.stage.attacker)
    }

    fn can_be_left(&self) -> Result<(), String> {
        self.new.as_ref().map_or(Ok(()), |new| check_refusal(&new.machine))?;
        self.existing.as_ref().map_or(Ok(()), |existing| check_refusal(&existing.machine))?;
        let Stage { person, attacker, mailboxes, leavings, .. } = &*self.stage;
        self.trace.check_leaving(leavings, (person, attacker), mailboxes, |records| self.links_again(records))
    }

    fn is_success(&self) -> bool {
        self.trace.is_linked()
    }
}

#[test]
fn no_order_of_drops_replays_and_crashes_makes_a_comparison_unsafe() {
    explore_all("link without a camera", World::new(false), Least { states: 6_423, transitions: 57_411, depth: 40 });
}

fn found(fault: Fault, what: &str) {
    find(&format!("link without a camera: {fault:?}"), Some(fault), || World::new(false), what);
}

#[test]
fn a_comparison_that_nobody_makes_is_found() {
    found(Fault::CodeUnchecked, "did not see the same");
}

#[test]
fn a_reused_code_and_key_are_found() {
    for what in ["taken in another", "mailbox taken"] {
        find("link without a camera: a reused rendezvous", None, || World::new(true), what);
    }
}

#[test]
fn a_key_kept_before_its_proof_is_found() {
    found(Fault::KeyBeforeProof, "before the records");
}

#[test]
fn a_home_half_written_is_found() {
    found(Fault::RootBeforeHome, &format!("{STUCK}: a key lies"));
}

#[test]
fn a_no_that_does_not_end_it_is_found() {
    found(Fault::RefusalIgnored, &format!("{STUCK}: a device"));
}

#[test]
fn a_device_told_too_early_is_found() {
    found(Fault::GrantUnsent, "the relay has not got");
}

#[test]
fn a_device_unknown_to_its_own_side_is_found() {
    found(Fault::EnrolmentUnsaved, &format!("{STUCK}: the relay enrols"));
}
