//! Every step of a recovery with every fault at it, in pairs; and relays that lie.

use std::collections::{BTreeMap, BTreeSet};

use lifeos_sync_protocol::record::{Body, Role};

use super::*;
use crate::crypto::SeededRandom;
use crate::keys::{PhraseLength, RecoveryPhrase};
use crate::records::{
    AddDevice, Cover, Draft, Founding, InviteTerms, add_device, cover_records, found_space, open_epochs,
};

const RANDOM: [u8; 32] = [6; 32];
const MEMBER: MemberId = MemberId([1; 16]);
const GUEST: MemberId = MemberId([2; 16]);
/// Far more than an undisturbed recovery takes.
const STEPS_MAX: usize = 80;

/// Whose space it is, and what they may do there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Person {
    /// The home space of its founder, found by the words alone.
    AtHome,
    /// A shared space of its founder, whose first paper key was thrown away.
    Founder,
    /// Somebody else's space.
    Guest(Role),
}

const PERSONS: [Person; 4] =
    [Person::AtHome, Person::Founder, Person::Guest(Role::Editor), Person::Guest(Role::Reader)];

impl Person {
    const fn member(self) -> MemberId {
        if matches!(self, Self::Guest(_)) { GUEST } else { MEMBER }
    }

    const fn may_write(self) -> bool {
        !matches!(self, Self::Guest(Role::Reader))
    }

    fn paper_key(self, phrase: &RecoveryPhrase) -> DeviceKeys {
        if self == Self::AtHome { phrase.derive_home() } else { phrase.derive_space(&RANDOM) }
    }
}

/// One link with approval and one without, made by a device that is going to be lost.
fn links_of(space: &SpaceId, records: &[Record], device: &DeviceKeys, random: &mut SeededRandom) -> Vec<Record> {
    let membership = Membership::evaluate(space, records).unwrap();
    let opened = unlock_epochs(&membership, records, OwnKeys::first(device));
    let mut draft = Draft::begin(&membership, records, &opened, device);
    for auto in [false, true] {
        let guest = DeviceRoot::generate(random).derive_space(&RANDOM);
        let keys = (guest.sign_pk(), guest.hpke_pk());
        let terms = InviteTerms { keys, role: Role::Editor, expires_ms: u64::MAX, uses_max: 5, auto };
        draft.invite(&terms, random).unwrap();
    }
    draft.finish()
}

/// What goes wrong at one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The device dies before the step has any effect.
    CrashBefore,
    /// The step has its effect, and the device dies before it knows.
    CrashAfter,
    /// The relay takes only the first record of a push, and says so.
    TakesOne,
    /// The same, and the device dies.
    TakesOneAndCrash,
    /// A push arrives twice.
    Twice,
    /// The answer to a push is one from before it.
    Stale,
}

const FAULTS: [Fault; 6] =
    [Fault::CrashBefore, Fault::CrashAfter, Fault::TakesOne, Fault::TakesOneAndCrash, Fault::Twice, Fault::Stale];

/// A space in which a person has two devices that are lost, at a relay that is not.
struct World {
    person: Person,
    space: SpaceId,
    phrase: RecoveryPhrase,
    relay: Vec<Record>,
    /// Somebody else of the space, who is there all the time.
    other: Option<DeviceKeys>,
    /// What is on the new device's disk.
    disk: Option<DeviceRoot>,
    finished: bool,
    random: SeededRandom,
    seen: BTreeSet<(RecoveryState, String)>,
}

/// What `write` writes by a device upon all records.
fn written(
    space: &SpaceId,
    records: &[Record],
    device: &DeviceKeys,
    write: impl FnOnce(&mut Draft<'_>),
) -> Vec<Record> {
    let membership = Membership::evaluate(space, records).unwrap();
    let opened = unlock_epochs(&membership, records, OwnKeys::first(device));
    let mut draft = Draft::begin(&membership, records, &opened, device);
    write(&mut draft);
    draft.finish()
}

impl World {
    fn new(person: Person) -> Self {
        let mut random = SeededRandom::new(41);
        let device = |random: &mut SeededRandom| DeviceRoot::generate(random).derive_space(&RANDOM);
        let founder = device(&mut random);
        let phrase = RecoveryPhrase::generate(PhraseLength::Words12, &mut random);
        let recovery = if person == Person::AtHome { phrase.derive_home() } else { device(&mut random) };
        let founding = Founding {
            genesis_random: RANDOM,
            member: MEMBER,
            keys: &founder,
            recovery: &recovery,
            relays: Vec::new(),
        };
        let founded = found_space(&founding, &mut random).unwrap();
        let (space, mut relay) = (founded.space, vec![founded.genesis, founded.epoch]);
        let (first, other) = match person {
            Person::Guest(role) => {
                let guest = device(&mut random);
                let devices = vec![guest.entry(&RANDOM, &GUEST, DeviceKind::Normal)];
                relay.extend(written(&space, &relay, &founder, |draft| {
                    draft.add(&Body::MemberAdd { member: GUEST, role, enc_meta: Vec::new(), devices }).unwrap();
                    draft.grant_lacking(&mut random).unwrap();
                }));
                (guest, Some(founder))
            }
            _ => (founder, None),
        };
        let membership = Membership::evaluate(&space, &relay).unwrap();
        let second = device(&mut random);
        let add = AddDevice {
            membership: &membership,
            records: &relay,
            keyring: &open_epochs(&membership, &relay, &first),
            keys: &first,
            member: person.member(),
            entry: second.entry(&RANDOM, &person.member(), DeviceKind::Normal),
            name: "phone",
        };
        relay.extend(add_device(&add, &mut random).unwrap());
        if person != Person::AtHome {
            let membership = Membership::evaluate(&space, &relay).unwrap();
            let (device, recovery) = (OwnKeys::first(&second), &person.paper_key(&phrase));
            let member = person.member();
            let cover = Cover { membership: &membership, records: &relay, device, member, recovery };
            let covered = cover_records(&cover, &mut random).unwrap();
            relay.extend(covered);
        }
        if person.member() == MEMBER {
            let links = links_of(&space, &relay, &second, &mut random);
            relay.extend(links);
        }
        Self { person, space, phrase, relay, other, disk: None, finished: false, random, seen: BTreeSet::new() }
    }

    fn boot(&mut self) -> Recovery {
        let at_home = self.person == Person::AtHome;
        match &self.disk {
            Some(root) if at_home => {
                Recovery::resume(root.clone(), "new", self.space, self.phrase.derive_home().sign_pk())
            }
            Some(root) => Recovery::of_space(root.clone(), "new", self.space, RANDOM, true),
            None if at_home => Recovery::start(DeviceRoot::generate(&mut self.random), "new"),
            None => Recovery::of_space(DeviceRoot::generate(&mut self.random), "new", self.space, RANDOM, false),
        }
    }

    /// The relay takes what has an effect in the records before it, as relays do.
    fn push(&mut self, records: &[Record]) -> bool {
        let mut all_taken = true;
        for record in records {
            if self.relay.iter().any(|held| held.id() == record.id()) {
                continue;
            }
            let mut with = self.relay.clone();
            with.push(record.clone());
            let after = Membership::evaluate(&self.space, &with).unwrap();
            if after.void.contains_key(&record.id()) {
                all_taken = false;
            } else {
                self.relay = with;
            }
        }
        all_taken
    }

    fn perform(
        &mut self,
        machine: &mut Recovery,
        step: RecoveryStep,
        fault: Option<Fault>,
    ) -> Result<bool, RecoveryError> {
        let crash_after = fault == Some(Fault::CrashAfter);
        match step {
            RecoveryStep::AskWords => machine.words(&self.phrase.clone())?,
            RecoveryStep::List(_) => machine.listed(&[self.space])?,
            RecoveryStep::Fetch(_) => machine.fetched(self.relay.clone())?,
            RecoveryStep::Check => machine.check()?,
            RecoveryStep::BeginHome => {
                assert!(machine.state() >= RecoveryState::EpochOpen, "a key is saved before the records are verified");
                self.disk = Some(machine.device()?.0.clone());
                if crash_after {
                    return Ok(false);
                }
                machine.home_begun()?;
            }
            RecoveryStep::FetchContent => machine.content_held(BTreeMap::new())?,
            RecoveryStep::Publish(records) => {
                let before = self.relay.clone();
                let partly = matches!(fault, Some(Fault::TakesOne | Fault::TakesOneAndCrash));
                let taken = self.push(if partly { &records[..1] } else { &records });
                if fault == Some(Fault::Twice) {
                    self.push(&records);
                }
                match fault {
                    Some(Fault::CrashAfter | Fault::TakesOneAndCrash) => return Ok(false),
                    Some(Fault::Stale) => machine.published(before)?,
                    _ if partly || !taken => machine.refused(self.relay.clone())?,
                    _ => machine.published(self.relay.clone())?,
                }
            }
            RecoveryStep::Finish(_) => {
                self.finished = true;
                if crash_after {
                    return Ok(false);
                }
                machine.finished()?;
            }
            RecoveryStep::Done => {}
        }
        Ok(!crash_after)
    }

    /// Runs to the end with these faults at these steps; gives the number of steps.
    fn run(&mut self, faults: &BTreeMap<usize, Fault>) -> usize {
        let mut machine = self.boot();
        for at in 0..STEPS_MAX {
            let state = machine.state();
            let step = machine.poll(&mut self.random).unwrap();
            self.seen.insert((state, name(&step).to_owned()));
            let fault = faults.get(&at).copied();
            if step == RecoveryStep::Done || self.finished {
                return at;
            }
            let alive = fault != Some(Fault::CrashBefore)
                && match self.perform(&mut machine, step, fault) {
                    Ok(alive) => alive,
                    // A person starts it again.
                    Err(RecoveryError::Refused) => false,
                    Err(error) => panic!("{error} in {state:?} with {faults:?}"),
                };
            if !alive {
                machine = self.boot();
            }
        }
        panic!("{faults:?} never ends");
    }

    /// Where the person may only read, somebody who writes sees that an epoch is due, and makes it.
    fn let_others_rotate(&mut self) {
        let due = Membership::evaluate(&self.space, &self.relay).unwrap().current_epoch().is_none();
        assert_eq!(due, !self.person.may_write(), "who may write leaves no epoch to others");
        if let Some(other) = self.other.take_if(|_| due) {
            let random = &mut self.random;
            self.relay.extend(written(&self.space, &self.relay, &other, |draft| {
                draft.rotate(random).unwrap();
            }));
            self.other = Some(other);
        }
    }

    /// Of the person's devices the new one and the recovery key read and no other; exactly one was enrolled; nothing
    /// is void.
    fn assert_recovered(&mut self, faults: &BTreeMap<usize, Fault>) {
        let epochs_made = |relay: &[Record]| relay.iter().filter(|record| is_epoch(record)).count();
        let epochs = epochs_made(&self.relay);
        self.let_others_rotate();
        let membership = Membership::evaluate(&self.space, &self.relay).unwrap();
        let faults = (self.person, faults);
        assert!(membership.void.is_empty(), "{faults:?}: {:?}", membership.void);
        let device = self.disk.as_ref().unwrap().derive_space(&RANDOM);
        let recovery = self.person.paper_key(&self.phrase);
        let other = self.other.as_ref().map(DeviceKeys::sign_pk);
        let mut expected: BTreeSet<SignPk> = [device.sign_pk(), recovery.sign_pk()].into();
        expected.extend(other);
        // The founder's paper key stays its founder's.
        let others = membership.devices.iter().filter(|(_, device)| device.member != self.person.member());
        expected.extend(others.filter(|(_, device)| device.kind == DeviceKind::Recovery).map(|(key, _)| *key));
        let readers: BTreeSet<SignPk> = membership.readers().into_iter().map(|(key, _)| key).collect();
        assert_eq!(readers, expected, "{faults:?}");
        let own = membership.devices.values().filter(|device| device.member == self.person.member()).count();
        let thrown = usize::from(self.person == Person::Founder);
        assert_eq!(own - thrown, 4, "{faults:?}: a device was enrolled by a crashed attempt");
        if self.person.member() == MEMBER {
            let open: Vec<_> = membership.invites.values().filter(|link| !link.is_revoked).collect();
            let is_shut = open.len() == 1 && open[0].auto_epoch.is_none();
            assert!(is_shut, "{faults:?}: a lost device's link lets somebody in");
        }
        let current = membership.current_epoch().unwrap();
        let opened = open_epochs(&membership, &self.relay, &device);
        assert_eq!(opened.len(), membership.epochs.len(), "{faults:?}: the new device reads everything");
        assert_eq!(membership.epochs[&current].recipients.len(), expected.len(), "{faults:?}: nobody else reads on");
        let begun = if self.person == Person::Founder { 2 } else { 1 };
        let made = epochs - begun;
        assert!(made <= usize::from(self.person.may_write()) + faults.1.len(), "{faults:?}: {made} epochs");
        assert!(self.person.may_write() || made == 0, "{faults:?}: a reader makes no epoch");
    }
}

fn is_epoch(record: &Record) -> bool {
    matches!(record.body(), Body::Epoch { .. })
}

fn name(step: &RecoveryStep) -> &'static str {
    match step {
        RecoveryStep::AskWords => "AskWords",
        RecoveryStep::List(_) => "List",
        RecoveryStep::Fetch(_) => "Fetch",
        RecoveryStep::Check => "Check",
        RecoveryStep::BeginHome => "BeginHome",
        RecoveryStep::FetchContent => "FetchContent",
        RecoveryStep::Publish(_) => "Publish",
        RecoveryStep::Finish(_) => "Finish",
        RecoveryStep::Done => "Done",
    }
}

#[test]
fn a_recovery_without_faults_goes_through_its_states_once() {
    for person in PERSONS {
        let mut world = World::new(person);
        let steps = world.run(&BTreeMap::new());
        world.assert_recovered(&BTreeMap::new());
        // Only the home has to be looked for.
        assert_eq!(steps, if person == Person::AtHome { 9 } else { 8 });
        assert_goes_through_all_states(&world);
    }
}

fn assert_goes_through_all_states(world: &World) {
    let states: Vec<RecoveryState> =
        world.seen.iter().map(|(state, _)| *state).collect::<BTreeSet<_>>().into_iter().collect();
    // One push enrols, removes and rotates, so the state between them is only seen when it was cut.
    let all = [
        RecoveryState::Words,
        RecoveryState::Derived,
        RecoveryState::Authed,
        RecoveryState::RecordsOk,
        RecoveryState::EpochOpen,
        RecoveryState::DataOk,
        RecoveryState::Rotated,
        RecoveryState::Done,
    ];
    assert_eq!(states, all);
}

#[test]
fn whatever_two_things_go_wrong_a_recovery_ends_with_one_new_device_and_a_new_epoch() {
    std::thread::scope(|scope| {
        for person in PERSONS {
            scope.spawn(move || assert_ends_well(person));
        }
    });
}

fn assert_ends_well(person: Person) {
    let (mut seen, mut runs, mut deepest) = (BTreeSet::new(), 0, 0);
    let steps = 10;
    for first in 0..steps {
        for fault in FAULTS {
            let mut schedules = vec![BTreeMap::from([(first, fault)])];
            for second in first + 1..steps + 6 {
                // What differs by fault is the push; elsewhere a crash is a crash.
                let others = match person {
                    Person::AtHome if second != first + 1 => &FAULTS[1..4],
                    // The same machine: what follows at once is where another person's records could differ.
                    _ if second > first + 2 => &FAULTS[2..3],
                    _ => &FAULTS[..],
                };
                schedules.extend(others.iter().map(|other| BTreeMap::from([(first, fault), (second, *other)])));
            }
            for schedule in schedules {
                let mut world = World::new(person);
                deepest = deepest.max(world.run(&schedule));
                world.assert_recovered(&schedule);
                seen.append(&mut world.seen);
                runs += 1;
            }
        }
    }
    println!("{person:?}: {runs} runs, {} transitions, at most {deepest} steps", seen.len());
    let partial = seen.iter().any(|(state, step)| *state == RecoveryState::NewDeviceEnrolled && step == "Publish");
    // Only the home is looked for.
    let transitions = if person == Person::AtHome { 10 } else { 9 };
    assert!(seen.len() >= transitions && runs > 500, "{seen:?}");
    assert!(partial || seen.iter().any(|(state, _)| *state == RecoveryState::DataOk));
}

fn up_to_records(world: &mut World, records: Vec<Record>) -> (Recovery, Result<(), RecoveryError>) {
    let mut machine = world.boot();
    machine.words(&world.phrase).unwrap();
    machine.listed(&[world.space]).unwrap();
    machine.fetched(records).unwrap();
    let checked = machine.check().and_then(|()| machine.check());
    (machine, checked)
}

#[test]
fn records_that_are_not_the_spaces_whole_chain_write_nothing() {
    let mut world = World::new(Person::AtHome);
    let relay = world.relay.clone();
    let mut other = SeededRandom::new(77);
    let stranger = DeviceRoot::generate(&mut other).derive_space(&RANDOM);
    let founding = Founding {
        genesis_random: [9; 32],
        member: MEMBER,
        keys: &stranger,
        recovery: &RecoveryPhrase::generate(PhraseLength::Words12, &mut other).derive_home(),
        relays: Vec::new(),
    };
    let foreign = found_space(&founding, &mut other).unwrap();
    let foreign_space = foreign.space;
    let foreign = vec![foreign.genesis, foreign.epoch];

    for (records, expected) in [
        (Vec::new(), RecoveryError::BadRecords),
        (relay[1..].to_vec(), RecoveryError::BadRecords),
        (foreign.clone(), RecoveryError::BadRecords),
        (relay[..1].to_vec(), RecoveryError::NoEpoch),
    ] {
        let (machine, checked) = up_to_records(&mut world, records);
        assert_eq!(checked, Err(expected));
        assert!(machine.state() < RecoveryState::EpochOpen);
        assert!(!matches!(machine.poll(&mut SeededRandom::new(1)), Ok(RecoveryStep::BeginHome)));
    }
    // A relay that names another space gives its true records: the words are not enrolled there.
    world.space = foreign_space;
    let (_, checked) = up_to_records(&mut world, foreign);
    assert_eq!(checked, Err(RecoveryError::NotRecovery));
}

#[test]
fn words_that_were_replaced_or_belong_to_another_recovery_are_refused() {
    let mut world = World::new(Person::AtHome);
    let root = DeviceRoot::generate(&mut world.random);
    let mut machine = Recovery::resume(root, "new", world.space, SignPk([5; 32]));
    assert_eq!(machine.words(&world.phrase), Err(RecoveryError::OtherPhrase));
    let mut machine = world.boot();
    assert_eq!(machine.home_begun(), Err(RecoveryError::OutOfStep));
    machine.words(&world.phrase).unwrap();
    assert_eq!(machine.listed(&[]), Err(RecoveryError::UnknownPhrase));
    assert_eq!(machine.check(), Err(RecoveryError::OutOfStep));
}

#[test]
fn what_a_home_says_of_a_space_counts_only_where_the_records_say_the_same() {
    let world = World::new(Person::Founder);
    let checked = |space: SpaceId, random: [u8; 32], records: &[Record]| {
        let mut machine = Recovery::of_space(DeviceRoot::from_bytes([3; 32]), "new", space, random, false);
        machine.words(&world.phrase).unwrap();
        machine.fetched(records.to_vec()).unwrap();
        let checked = machine.check().and_then(|()| machine.check());
        assert_eq!(checked.is_ok(), machine.state() == RecoveryState::EpochOpen);
        checked
    };
    assert_eq!(checked(world.space, RANDOM, &world.relay), Ok(()));
    // The bytes of another space: its paper key is not to be shown or used here.
    assert_eq!(checked(world.space, [7; 32], &world.relay), Err(RecoveryError::BadRecords));
    assert_eq!(checked(SpaceId([8; 32]), RANDOM, &world.relay), Err(RecoveryError::BadRecords));
    let not_covered = World::new(Person::AtHome);
    assert_eq!(checked(not_covered.space, RANDOM, &not_covered.relay), Err(RecoveryError::NotRecovery));
    let mut replaced = world.relay.clone();
    let phone = replaced.iter().map(Record::author).next_back().unwrap();
    let mut random = SeededRandom::new(41);
    let keys = DeviceRoot::generate(&mut random).derive_space(&RANDOM);
    assert_ne!(phone, keys.sign_pk());
    let membership = Membership::evaluate(&world.space, &replaced).unwrap();
    let newer = RecoveryPhrase::generate(PhraseLength::Words24, &mut random).derive_space(&RANDOM);
    let (device, recovery) = (OwnKeys::first(&keys), &newer);
    let cover = Cover { membership: &membership, records: &replaced, device, member: MEMBER, recovery };
    let made = cover_records(&cover, &mut random).unwrap();
    replaced.extend(made);
    assert_eq!(checked(world.space, RANDOM, &replaced), Err(RecoveryError::Replaced));
}

/// A relay, or a stranger by an invitation that names the key, has other spaces listed beside the person's.
#[test]
fn listed_spaces_of_others_are_passed_over_and_the_most_telling_reason_is_told() {
    let mut world = World::new(Person::AtHome);
    let other = found_space(
        &Founding {
            genesis_random: [7; 32],
            member: MEMBER,
            keys: &DeviceRoot::generate(&mut world.random).derive_space(&[7; 32]),
            recovery: &DeviceRoot::generate(&mut world.random).derive_space(&[7; 32]),
            relays: Vec::new(),
        },
        &mut world.random,
    )
    .unwrap();
    let others = vec![other.genesis, other.epoch];
    let (absent, broken) = (SpaceId([1; 32]), SpaceId([2; 32]));
    for listed in [vec![absent, broken, other.space, world.space], vec![absent, broken, other.space]] {
        let mut machine = world.boot();
        machine.words(&world.phrase.clone()).unwrap();
        machine.listed(&listed).unwrap();
        let mut tried = Vec::new();
        let ended = loop {
            let stepped = match machine.poll(&mut world.random).unwrap() {
                RecoveryStep::Fetch(space) => {
                    tried.push(space);
                    match space {
                        space if space == absent => machine.turned_away(RecoveryError::UnknownPhrase),
                        space if space == world.space => machine.fetched(world.relay.clone()),
                        // What the relay gives as the broken one is another's.
                        _ => machine.fetched(others.clone()),
                    }
                }
                RecoveryStep::Check => machine.check(),
                step => break Ok(step),
            };
            if let Err(why) = stepped {
                break Err(why);
            }
        };
        assert_eq!(tried, listed);
        let is_there = listed.contains(&world.space);
        assert_eq!(ended, if is_there { Ok(RecoveryStep::BeginHome) } else { Err(RecoveryError::BadRecords) });
        assert_eq!(machine.space(), listed.last().copied());
    }
}
