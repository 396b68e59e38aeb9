//! Every step of a recovery with every fault at it, in pairs; and relays that lie.

use std::collections::{BTreeMap, BTreeSet};

use lifeos_sync_protocol::record::{Body, Role};

use super::*;
use crate::crypto::SeededRandom;
use crate::keys::{PhraseLength, RecoveryPhrase};
use crate::records::{AddDevice, Draft, Founding, InviteTerms, add_device, found_space, open_epochs};

const RANDOM: [u8; 32] = [6; 32];
const MEMBER: MemberId = MemberId([1; 16]);
/// Far more than an undisturbed recovery takes.
const STEPS_MAX: usize = 80;

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

/// A space with two devices that are lost, at a relay that is not.
struct World {
    space: SpaceId,
    phrase: RecoveryPhrase,
    relay: Vec<Record>,
    /// What is on the new device's disk.
    disk: Option<DeviceRoot>,
    finished: bool,
    random: SeededRandom,
    seen: BTreeSet<(RecoveryState, String)>,
}

impl World {
    fn new() -> Self {
        let mut random = SeededRandom::new(41);
        let founder = DeviceRoot::generate(&mut random).derive_space(&RANDOM);
        let phrase = RecoveryPhrase::generate(PhraseLength::Words12, &mut random);
        let recovery = phrase.derive_home();
        let founding = Founding {
            genesis_random: RANDOM,
            member: MEMBER,
            keys: &founder,
            recovery: &recovery,
            relays: Vec::new(),
        };
        let founded = found_space(&founding, &mut random).unwrap();
        let mut relay = vec![founded.genesis, founded.epoch];
        let membership = Membership::evaluate(&founded.space, &relay).unwrap();
        let second = DeviceRoot::generate(&mut random).derive_space(&RANDOM);
        let add = AddDevice {
            membership: &membership,
            records: &relay,
            keyring: &open_epochs(&membership, &relay, &founder),
            keys: &founder,
            member: MEMBER,
            entry: second.entry(&RANDOM, &MEMBER, DeviceKind::Normal),
            name: "phone",
        };
        let added = add_device(&add, &mut random).unwrap();
        relay.extend(added);
        let space = founded.space;
        let links = links_of(&space, &relay, &second, &mut random);
        relay.extend(links);
        Self { space, phrase, relay, disk: None, finished: false, random, seen: BTreeSet::new() }
    }

    fn boot(&mut self) -> Recovery {
        match &self.disk {
            Some(root) => Recovery::resume(root.clone(), "new", self.space, self.phrase.derive_home().sign_pk()),
            None => Recovery::start(DeviceRoot::generate(&mut self.random), "new"),
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

    /// The new device and the recovery key read and nobody else; exactly one device was enrolled; nothing is void.
    fn assert_recovered(&self, faults: &BTreeMap<usize, Fault>) {
        let membership = Membership::evaluate(&self.space, &self.relay).unwrap();
        assert!(membership.void.is_empty(), "{faults:?}: {:?}", membership.void);
        let device = self.disk.as_ref().unwrap().derive_space(&RANDOM);
        let recovery = self.phrase.derive_home();
        let expected: BTreeSet<SignPk> = [device.sign_pk(), recovery.sign_pk()].into();
        let readers: BTreeSet<SignPk> = membership.readers().into_iter().map(|(key, _)| key).collect();
        assert_eq!(readers, expected, "{faults:?}");
        assert_eq!(membership.devices.len(), 4, "{faults:?}: a device was enrolled by a crashed attempt");
        let open: Vec<_> = membership.invites.values().filter(|link| !link.is_revoked).collect();
        assert!(open.len() == 1 && open[0].auto_epoch.is_none(), "{faults:?}: a lost device's link lets somebody in");
        let current = membership.current_epoch().unwrap();
        let opened = open_epochs(&membership, &self.relay, &device);
        assert_eq!(opened.len(), membership.epochs.len(), "{faults:?}: the new device reads everything");
        assert_eq!(membership.epochs[&current].recipients.len(), 2, "{faults:?}: nobody else reads what comes");
        let epochs = self.relay.iter().filter(|record| matches!(record.body(), Body::Epoch { .. })).count();
        assert!(epochs <= 2 + faults.len(), "{faults:?}: {epochs} epochs");
    }
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
    let mut world = World::new();
    let steps = world.run(&BTreeMap::new());
    world.assert_recovered(&BTreeMap::new());
    assert_eq!(steps, 9);
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
    let (mut seen, mut runs, mut deepest) = (BTreeSet::new(), 0, 0);
    let steps = 10;
    for first in 0..steps {
        for fault in FAULTS {
            let mut schedules = vec![BTreeMap::from([(first, fault)])];
            for second in first + 1..steps + 6 {
                // What differs by fault is the push; elsewhere a crash is a crash.
                let others = if second == first + 1 { &FAULTS[..] } else { &FAULTS[1..4] };
                schedules.extend(others.iter().map(|other| BTreeMap::from([(first, fault), (second, *other)])));
            }
            for schedule in schedules {
                let mut world = World::new();
                deepest = deepest.max(world.run(&schedule));
                world.assert_recovered(&schedule);
                seen.append(&mut world.seen);
                runs += 1;
            }
        }
    }
    println!("{runs} runs, {} transitions, at most {deepest} steps", seen.len());
    let partial = seen.iter().any(|(state, step)| *state == RecoveryState::NewDeviceEnrolled && step == "Publish");
    assert!(seen.len() >= 10 && runs > 1_000, "{seen:?}");
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
    let mut world = World::new();
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
    let mut world = World::new();
    let root = DeviceRoot::generate(&mut world.random);
    let mut machine = Recovery::resume(root, "new", world.space, SignPk([5; 32]));
    assert_eq!(machine.words(&world.phrase), Err(RecoveryError::OtherPhrase));
    let mut machine = world.boot();
    assert_eq!(machine.home_begun(), Err(RecoveryError::OutOfStep));
    machine.words(&world.phrase).unwrap();
    assert_eq!(machine.listed(&[]), Err(RecoveryError::UnknownPhrase));
    assert_eq!(machine.check(), Err(RecoveryError::OutOfStep));
}
