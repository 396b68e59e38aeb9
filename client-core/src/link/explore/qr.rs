//! Every state of linking with a link and a code typed back.

use std::rc::Rc;

use super::side::{check_refusal, link_undisturbed};
use super::space::{Leavings, Maker, Shown, Target, Trace, root_of};
use super::{Least, Model, STUCK, explore_all, find};
use crate::crypto::SeededRandom;
use crate::fault::Fault;
use crate::keys::DeviceRoot;
use crate::link::fixture::{RELAY, Space, message_of};
use crate::link::{
    CodeCheck, ExistingDevice, GrantedSpaceInput, LinkStep, LinkText, NewDevice, PublishStep, Publishing,
};
use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::RdvId;
use lifeos_sync_protocol::record::Record;

const ATTEMPTS: usize = 2;

/// What does not change.
struct Stage {
    person: Space,
    attacker: Space,
    /// The attacker has seen the new device's link, too.
    link_seen: bool,
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
    machine: NewDevice,
    taken: Vec<[u8; 32]>,
}

#[derive(Clone)]
struct Existing {
    attempt: usize,
    target: Target,
    machine: ExistingDevice,
    taken: Vec<[u8; 32]>,
    publishing: Publishing,
    /// The right code was typed, and the new device showed it at that moment.
    asked: bool,
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
    TypeWhatIsShown,
    TypeAGuess,
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
    /// An offer of the attacker's space, or of the person's, whose records it can read.
    OwnOffer {
        persons_space: bool,
    },
    /// The grant that follows its offer.
    OwnGrant {
        persons_space: bool,
    },
    /// Keys of the attacker's own device, in answer to an offer made to its link.
    OwnKeys,
}

fn start_new(stage: &Stage, attempt: usize) -> NewDevice {
    let seed = if stage.rendezvous_again { 0 } else { attempt as u64 };
    NewDevice::start(root_of(attempt), "wss://relay.example", RELAY, "Phone", &mut SeededRandom::new(100 + seed))
        .unwrap()
}

/// The attacker's own new device, whose link it shows to the person.
fn phishing() -> NewDevice {
    let root = DeviceRoot::from_bytes([0xaa; 32]);
    NewDevice::start(root, "wss://relay.example", RELAY, "Phone", &mut SeededRandom::new(900)).unwrap()
}

fn seeded_by(bytes: &[u8]) -> SeededRandom {
    let hash = sha256("explore", &[bytes]);
    SeededRandom::new(u64::from_be_bytes(hash[..8].try_into().unwrap()))
}

impl World {
    fn new(link_seen: bool, rendezvous_again: bool) -> Self {
        let mut stage = Stage {
            person: Space::found(1),
            attacker: Space::found(2),
            link_seen,
            rendezvous_again,
            mailboxes: Vec::new(),
            leavings: Leavings::default(),
        };
        stage.mailboxes = (0..=ATTEMPTS).map(|attempt| start_new(&stage, attempt).rdv()).collect();
        let trace = Trace::new(&stage.person);
        Self { stage: Rc::new(stage), new: None, existing: None, trace }
    }

    fn link(&self, target: Target) -> LinkText {
        match target {
            Target::New(attempt) => start_new(&self.stage, attempt).link().clone(),
            Target::Attacker => phishing().link().clone(),
        }
    }

    /// The attacker as existing device, against the new device's present link.
    fn impostor(&self, persons_space: bool) -> Option<ExistingDevice> {
        let new = self.new.as_ref().filter(|_| self.stage.link_seen)?;
        let space = if persons_space { &self.stage.person } else { &self.stage.attacker };
        let mut random = SeededRandom::new(800 + u64::from(persons_space));
        ExistingDevice::start(new.machine.link().clone(), RELAY, vec![space.offered], &mut random).ok()
    }

    fn impostors_grant(&self, persons_space: bool) -> Option<(Vec<u8>, Vec<Record>)> {
        let space = if persons_space { &self.stage.person } else { &self.stage.attacker };
        self.trace.seen.iter().rev().find_map(|(_, message)| {
            let mut impostor = self.impostor(persons_space)?;
            impostor.sent(0).ok()?;
            impostor.handle(1, message).ok()?;
            let code = impostor.own_code()?;
            impostor.enter_code(&code).ok()?;
            let (records, granted) = space.enrol(&space.records, impostor.new_entries()?.first()?).ok()?;
            // Of the person's space it can only point at what is there already.
            let granted = if persons_space {
                let id = space.records[1].id();
                GrantedSpaceInput { device_add: id, head: id, ..granted }
            } else {
                granted
            };
            impostor.grant("Mallory", &[], &[granted]).ok()?;
            Some((
                message_of(impostor.poll())?,
                if persons_space { self.trace.relays_records().to_vec() } else { records },
            ))
        })
    }

    /// The attacker's device answers an offer that was made to its link.
    fn phishing_keys(&self) -> Option<Vec<u8>> {
        self.trace.seen.iter().rev().find_map(|(_, message)| {
            let mut device = phishing();
            device.handle(0, message, &mut seeded_by(message)).ok()?;
            message_of(device.poll())
        })
    }

    fn given(&self, given: &Given) -> Option<(Maker, Vec<u8>)> {
        match given {
            Given::Seen(at) => self.trace.seen.get(*at).cloned(),
            Given::Garbage => Some((Maker::Attacker, b"garbage".to_vec())),
            Given::OwnOffer { persons_space } => {
                Some((Maker::Attacker, message_of(self.impostor(*persons_space)?.poll())?))
            }
            Given::OwnGrant { persons_space } => Some((Maker::Attacker, self.impostors_grant(*persons_space)?.0)),
            Given::OwnKeys => Some((Maker::Attacker, self.phishing_keys()?)),
        }
    }

    fn all_given(&self) -> Vec<Given> {
        let mut all: Vec<Given> = (0..self.trace.seen.len()).map(Given::Seen).collect();
        all.push(Given::Garbage);
        all
    }

    fn give_new(&mut self, given: &Given) {
        let (Some((maker, message)), Some(new)) = (self.given(given), &mut self.new) else { return };
        let LinkStep::Wait(index) = new.machine.poll() else { return };
        match new.machine.handle(index, &message, &mut seeded_by(&message)) {
            Ok(()) => {
                new.taken.push(sha256("explore", &[&message]));
                let own = match maker {
                    Maker::Existing(_, target) => target == Target::New(new.attempt),
                    Maker::New(_) => false,
                    Maker::Attacker => true,
                };
                self.trace.crossed |= !own;
            }
            Err(error) => {
                self.trace.hear(error);
                self.new = None;
            }
        }
    }

    fn give_existing(&mut self, given: &Given) {
        let (Some((maker, message)), Some(existing)) = (self.given(given), &mut self.existing) else { return };
        let LinkStep::Wait(index) = existing.machine.poll() else { return };
        match existing.machine.handle(index, &message) {
            Ok(()) => {
                existing.taken.push(sha256("explore", &[&message]));
                let own = match maker {
                    Maker::New(attempt) => existing.target == Target::New(attempt),
                    Maker::Existing(..) => false,
                    Maker::Attacker => existing.target == Target::Attacker,
                };
                self.trace.crossed |= !own;
            }
            Err(error) => {
                self.trace.hear(error);
                self.existing = None;
            }
        }
    }

    fn type_code(&mut self, code: &str, shown: bool) {
        let Some(existing) = &mut self.existing else { return };
        let of_this = matches!((&self.new, existing.target), (Some(new), Target::New(at)) if new.attempt == at);
        match existing.machine.enter_code(code) {
            Ok(CodeCheck::Right) => {
                existing.asked = shown && of_this;
                self.trace.unasked |= !existing.asked;
            }
            Ok(CodeCheck::Wrong { .. }) => existing.taken.push([0; 32]),
            Err(_) => {}
        }
        if existing.machine.poll() == LinkStep::Over {
            self.existing = None;
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
        let attackers = self.impostors_grant(false).map(|(_, records)| records);
        let Some(new) = &self.new else { return };
        let Some(granted) = new.machine.granted().and_then(|granted| granted.spaces.first()).copied() else { return };
        let of_person = granted.space == self.stage.person.offered.space;
        let attackers = attackers.unwrap_or_else(|| self.stage.attacker.records.clone());
        let persons = self.trace.relays_records();
        let records = if of_person { shown.of(persons, &attackers) } else { shown.of(&attackers, persons) };
        match new.machine.prove(std::slice::from_ref(&records)) {
            Ok(_) => self.trace.keep(new.attempt, records, of_person),
            Err(error) => self.trace.hear(error),
        }
        self.new = None;
    }

    fn links_again(&self, records: &[Record]) -> Result<(), String> {
        let new = start_new(&self.stage, ATTEMPTS);
        let offered = vec![self.stage.person.offered];
        let existing = ExistingDevice::start(new.link().clone(), RELAY, offered, &mut SeededRandom::new(299)).unwrap();
        link_undisturbed((new, ATTEMPTS), existing, &self.stage.person, records)
    }
}

impl Model for World {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        match &self.new {
            None if self.trace.new_attempts < ATTEMPTS && self.trace.may_begin() => moves.push(Move::NewStarts),
            None => {}
            Some(new) => {
                moves.push(Move::NewStops);
                match new.machine.poll() {
                    LinkStep::Send(_) => {
                        moves.extend([true, false].map(|at_its_index| Move::NewSends { at_its_index }));
                    }
                    LinkStep::Wait(_) => {
                        moves.extend(self.all_given().into_iter().map(Move::ToNew));
                        for persons_space in [true, false] {
                            moves.push(Move::ToNew(Given::OwnOffer { persons_space }));
                            moves.push(Move::ToNew(Given::OwnGrant { persons_space }));
                        }
                    }
                    LinkStep::Done => {
                        moves.extend(Shown::all(self.trace.relays_records().len()).map(Move::Prove));
                    }
                    _ => {}
                }
            }
        }
        if self.existing.is_none() && !self.trace.is_exchanged() {
            moves.push(Move::ExistingSyncs);
        }
        match &self.existing {
            None if self.trace.existing_attempts < ATTEMPTS => {
                let links = (0..self.trace.new_attempts).map(Target::New).chain([Target::Attacker]);
                moves.extend(links.map(Move::ExistingTakes));
            }
            None => {}
            Some(existing) => {
                moves.push(Move::ExistingStops);
                match existing.machine.poll() {
                    LinkStep::Send(_) => {
                        moves.extend([true, false].map(|at_its_index| Move::ExistingSends { at_its_index }));
                    }
                    LinkStep::Wait(_) => {
                        moves.extend(self.all_given().into_iter().map(Move::ToExisting));
                        moves.push(Move::ToExisting(Given::OwnKeys));
                    }
                    LinkStep::AskCode => {
                        moves.push(Move::TypeAGuess);
                        if self.new.as_ref().is_some_and(|new| new.machine.code().is_some()) {
                            moves.push(Move::TypeWhatIsShown);
                        }
                    }
                    LinkStep::Publish => match existing.publishing.poll() {
                        PublishStep::Exchange(_) => moves.extend([true, false].map(|heard| Move::Exchange { heard })),
                        PublishStep::Enrol(_) => moves.push(Move::Enrol),
                        PublishStep::Grant => moves.push(Move::Grant),
                    },
                    _ => {}
                }
            }
        }
        moves
    }

    fn apply(&self, step: &Move) -> Self {
        let mut next = self.clone();
        match step {
            Move::NewStarts => {
                let attempt = next.trace.begin();
                next.new = Some(New { attempt, machine: start_new(&next.stage, attempt), taken: Vec::new() });
            }
            Move::ExistingTakes(target) => {
                let attempt = next.trace.existing_attempts;
                next.trace.existing_attempts += 1;
                let offered = vec![next.stage.person.offered];
                let mut random = SeededRandom::new(200 + attempt as u64);
                let machine = ExistingDevice::start(next.link(*target), RELAY, offered, &mut random).unwrap();
                let (taken, target) = (Vec::new(), *target);
                let publishing = Publishing::new(1);
                next.existing = Some(Existing { attempt, target, machine, taken, publishing, asked: false });
            }
            Move::NewSends { at_its_index } => {
                if let Some(new) = &mut next.new {
                    let message = message_of(new.machine.poll()).unwrap();
                    let maker = Maker::New(new.attempt);
                    if new.machine.sent(if *at_its_index { 1 } else { 2 }).is_err() {
                        next.new = None;
                    }
                    next.trace.see(maker, message);
                }
            }
            Move::ExistingSends { at_its_index } => {
                if let Some(existing) = &mut next.existing {
                    let message = message_of(existing.machine.poll()).unwrap();
                    let maker = Maker::Existing(existing.attempt, existing.target);
                    let index = if existing.taken.is_empty() { 0 } else { 2 };
                    if existing.machine.sent(if *at_its_index { index } else { index + 1 }).is_err() {
                        next.existing = None;
                    }
                    next.trace.see(maker, message);
                }
            }
            Move::ToNew(given) => next.give_new(given),
            Move::ToExisting(given) => next.give_existing(given),
            Move::TypeWhatIsShown => {
                let code = next.new.as_ref().and_then(|new| new.machine.code());
                next.type_code(code.as_deref().map_or("", String::as_str), true);
            }
            Move::TypeAGuess => next.type_code("000000", false),
            Move::Exchange { heard } => next.exchange(*heard),
            Move::Enrol => next.enrol(),
            Move::Grant => next.grant(),
            Move::Prove(shown) => next.prove(*shown),
            Move::NewStops => next.new = None,
            Move::ExistingStops => next.existing = None,
            Move::ExistingSyncs => next.trace.exchange(),
        }
        next
    }

    fn fingerprint(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.trace.bytes(&mut out);
        out.push(0xff);
        if let Some(new) = &self.new {
            out.push(1);
            out.push(u8::from(matches!(new.machine.poll(), LinkStep::Send(_))));
            new.taken.iter().for_each(|taken| out.extend_from_slice(taken));
        }
        out.push(0xfe);
        if let Some(existing) = &self.existing {
            out.extend([1, u8::from(existing.asked), step_name(&existing.machine.poll())]);
            out.extend(format!("{:?}{:?}", existing.target, existing.publishing).bytes());
            existing.taken.iter().for_each(|taken| out.extend_from_slice(taken));
        }
        sha256("explore", &[&out]).to_vec()
    }

    fn check(&self) -> Result<(), String> {
        if self.trace.unasked {
            return Err("a device was let in without the code that the new device shows".into());
        }
        if self.trace.crossed {
            return Err("a message of one attempt was taken in another".into());
        }
        if !self.stage.link_seen && self.trace.fell_for_attacker() {
            return Err("the new device fell for a space that nobody offered".into());
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

fn step_name(step: &LinkStep) -> u8 {
    match step {
        LinkStep::Send(_) => 1,
        LinkStep::Wait(_) => 2,
        LinkStep::AskCode => 3,
        LinkStep::Compare => 4,
        LinkStep::Publish => 5,
        LinkStep::Done => 6,
        LinkStep::Over => 7,
    }
}

#[test]
fn no_order_of_drops_replays_and_crashes_makes_a_link_unsafe() {
    explore_all("link", World::new(false, false), Least { states: 1_659, transitions: 10_909, depth: 29 });
}

#[test]
fn not_even_somebody_who_saw_the_link_gets_a_key_into_the_space() {
    let least = Least { states: 6_552, transitions: 42_650, depth: 29 };
    explore_all("link, seen by the attacker", World::new(true, false), least);
}

fn found(fault: Fault, what: &str) {
    find(&format!("link: {fault:?}"), Some(fault), || World::new(false, false), what);
}

#[test]
fn a_skipped_code_check_is_found() {
    found(Fault::CodeUnchecked, "without the code");
}

#[test]
fn a_reused_rendezvous_is_found() {
    for what in ["taken in another", "mailbox taken"] {
        find("link: a reused rendezvous", None, || World::new(false, true), what);
    }
}

#[test]
fn a_key_kept_before_the_proof_is_found() {
    found(Fault::KeyBeforeProof, "before the records");
}

#[test]
fn a_home_that_is_half_written_is_found() {
    found(Fault::RootBeforeHome, &format!("{STUCK}: a key lies"));
}

#[test]
fn a_code_that_may_be_guessed_for_ever_is_found() {
    found(Fault::RefusalIgnored, &format!("{STUCK}: a device"));
}

#[test]
fn a_device_told_before_the_relay_knows_it_is_found() {
    found(Fault::GrantUnsent, "the relay has not got");
}

#[test]
fn a_device_that_its_own_side_does_not_know_is_found() {
    found(Fault::EnrolmentUnsaved, &format!("{STUCK}: the relay enrols"));
}
