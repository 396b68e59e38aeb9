//! Every state of linking without a camera.

use std::rc::Rc;

use lifeos_sync_protocol::hash::sha256;

use super::space::{Maker, Shown, Target, Trace, root_of};
use super::{Model, explore, explore_all};
use crate::crypto::{AgreementKey, SeededRandom};
use crate::fault::{Fault, with_fault};
use crate::keys::DeviceRoot;
use crate::link::enrol::{answer, make_grant};
use crate::link::fixture::{RELAY, Space, message_of};
use crate::link::message::{Kind, Offer, frame};
use crate::link::sas::{Agreement, Half};
use crate::link::{Comparison, GrantedSpaceInput, LinkStep, SasCode, SasExistingDevice, SasNewDevice};

const ATTEMPTS: usize = 2;

/// What does not change.
struct Stage {
    person: Space,
    attacker: Space,
    /// A second attempt draws the first one's mailbox and keys again.
    rendezvous_again: bool,
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
    published: Option<GrantedSpaceInput>,
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
    Publish,
    Grant,
    Prove(Shown),
    NewStops,
    ExistingStops,
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
        let stage = Stage { person: Space::found(1), attacker: Space::found(2), rendezvous_again };
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
        if new.machine.handle(index, &message).is_err() {
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
        if existing.machine.handle(index, &message).is_err() {
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
        if new.machine.confirm(they_match).is_err() {
            self.new = None;
            return;
        }
        new.confirmed = true;
        self.trace.unasked |= !seen || !they_match;
    }

    fn existing_says(&mut self, they_match: bool) {
        let seen = self.both_show_the_same();
        let Some(existing) = &mut self.existing else { return };
        if existing.machine.confirm(they_match).is_err() {
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

    fn publish(&mut self) {
        let Some(existing) = &mut self.existing else { return };
        let Some(entry) = existing.machine.new_entries().and_then(<[_]>::first).cloned() else { return };
        let (records, granted) = self.stage.person.enrol(&self.trace.records, &entry);
        self.trace.records = records;
        existing.published = Some(granted);
    }

    fn prove(&mut self, shown: Shown) {
        let Some(new) = &self.new else { return };
        let records = match shown {
            Shown::All => self.trace.records.clone(),
            Shown::Withheld => self.stage.person.records.clone(),
            Shown::Other => self.stage.attacker.records.clone(),
        };
        if new.machine.prove(std::slice::from_ref(&records)).is_ok() {
            self.trace.kept.push((new.attempt, records, true));
            self.trace.ended_well = true;
        }
        self.new = None;
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
            LinkStep::Done => moves.extend([Shown::All, Shown::Withheld, Shown::Other].map(Move::Prove)),
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
            LinkStep::Publish if existing.published.is_none() => moves.push(Move::Publish),
            LinkStep::Publish => moves.push(Move::Grant),
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
            None if self.trace.new_attempts < ATTEMPTS && self.trace.kept.is_empty() => moves.push(Move::NewStarts),
            None => {}
            Some(new) => moves.extend(self.moves_of_new(new)),
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
                let attempt = next.trace.new_attempts;
                next.trace.new_attempts += 1;
                let machine = start_new(&next.stage, attempt);
                next.new = Some(New { attempt, machine, taken: Vec::new(), shown: None, confirmed: false });
            }
            Move::ExistingTakes(target) => {
                let (attempt, target) = (next.trace.existing_attempts, *target);
                next.trace.existing_attempts += 1;
                let offered = vec![next.stage.person.offered];
                let mut random = SeededRandom::new(200 + attempt as u64);
                let machine = SasExistingDevice::start(next.code(target), RELAY, offered, &mut random).unwrap();
                let (taken, shown, confirmed, published) = (Vec::new(), None, false, None);
                next.existing = Some(Existing { attempt, target, machine, taken, shown, confirmed, published });
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
            Move::Publish => next.publish(),
            Move::Grant => {
                if let Some(Existing { machine, published: Some(granted), .. }) = &mut next.existing {
                    machine.grant("Ada", &[], &[*granted]).unwrap();
                }
            }
            Move::Prove(shown) => next.prove(*shown),
            Move::NewStops => next.new = None,
            Move::ExistingStops => next.existing = None,
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
            out.extend([1, u8::from(existing.published.is_some()), u8::from(existing.confirmed)]);
            let poll = std::mem::discriminant(&existing.machine.poll());
            out.extend(format!("{:?}{poll:?}", existing.target).bytes());
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
        self.trace.check_keys(&self.stage.person, &self.stage.attacker)
    }

    fn abandon(&self) -> Self {
        let mut next = self.clone();
        (next.new, next.existing) = (None, None);
        next
    }

    fn is_clean_end(&self) -> bool {
        self.new.is_none() && self.existing.is_none() && self.check().is_ok()
    }

    fn is_success(&self) -> bool {
        self.trace.ended_well
    }
}

#[test]
fn no_order_of_drops_replays_and_crashes_makes_a_comparison_unsafe() {
    explore_all("link without a camera", World::new(false));
}

#[test]
fn a_comparison_that_nobody_makes_is_found() {
    let found = with_fault(Fault::CodeUnchecked, || explore(World::new(false))).unwrap_err();
    assert!(found.what.contains("did not see the same"), "{found:?}");
}

#[test]
fn a_reused_code_and_key_are_found() {
    let found = explore(World::new(true)).unwrap_err();
    assert!(found.what.contains("taken in another"), "{found:?}");
}

#[test]
fn a_key_kept_before_its_proof_is_found() {
    let found = with_fault(Fault::KeyBeforeProof, || explore(World::new(false))).unwrap_err();
    assert!(found.what.contains("before the records"), "{found:?}");
}
