//! Every state of recovering a space from words, with a relay that lies.

use std::collections::BTreeMap;
use std::rc::Rc;

use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::{MemberId, SignPk, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{DeviceKind, Record};

use super::{Model, explore_all};
use crate::crypto::SeededRandom;
use crate::keys::{DeviceRoot, PhraseLength, RecoveryPhrase};
use crate::records::{Founding, found_space};
use crate::recovery::{Recovery, RecoveryState, RecoveryStep};

const RANDOM: [u8; 32] = [6; 32];
const MEMBER: MemberId = MemberId([1; 16]);
/// The device dies, or the person starts anew, so often.
const BOOTS: usize = 3;

/// What does not change.
struct Stage {
    space: SpaceId,
    phrase: RecoveryPhrase,
    lost: SignPk,
    /// Another space, which the relay may show instead.
    other: (SpaceId, Vec<Record>),
}

#[derive(Clone)]
struct World {
    stage: Rc<Stage>,
    /// What the relay has taken, oldest first; it may show any beginning of it.
    relay: Vec<Record>,
    machine: Option<Run>,
    boots: usize,
    /// Which boot's root is on the disk, and whether the home is an ordinary one.
    disk: Option<usize>,
    finished: bool,
    /// The records that the machine went by when it finished.
    finished_on: Vec<Record>,
}

/// A machine as the sequence of what it was given: it is a function of that.
#[derive(Clone)]
struct Run {
    boot: usize,
    resumed: Option<usize>,
    given: Vec<Given>,
}

#[derive(Clone)]
enum Given {
    Words,
    Listed(SpaceId),
    Fetched(Vec<Record>),
    Checked,
    HomeBegun,
    ContentHeld,
    Published(Vec<Record>),
    Refused(Vec<Record>),
    Finished,
}

#[derive(Debug, Clone)]
enum Move {
    Boot,
    Words,
    /// The relay names the space, or another one, or none.
    List(bool),
    /// The relay shows all it has, the beginning of it, or another space.
    Fetch(Shown),
    Check,
    BeginHome,
    FetchContent,
    /// The relay takes this many of the records and shows that.
    Publish {
        takes: usize,
        shows: Shown,
    },
    Finish,
    /// As any move that writes, and the device dies before it knows.
    Dies(Writing),
}

#[derive(Debug, Clone, Copy)]
enum Shown {
    All,
    /// As it was in the beginning.
    Old,
    Other,
}

#[derive(Debug, Clone, Copy)]
enum Writing {
    Nothing,
    Home,
    Push(usize),
    Finish,
}

fn root_of(boot: usize) -> DeviceRoot {
    DeviceRoot::from_bytes([0x30 + u8::try_from(boot).unwrap(); 32])
}

fn space(seed: u64, random_bytes: [u8; 32], phrase: &RecoveryPhrase) -> (SpaceId, SignPk, Vec<Record>) {
    let mut random = SeededRandom::new(seed);
    let founder = DeviceRoot::generate(&mut random).derive_space(&random_bytes);
    let recovery = phrase.derive_home();
    let founding = Founding {
        genesis_random: random_bytes,
        member: MEMBER,
        keys: &founder,
        recovery: &recovery,
        relays: Vec::new(),
    };
    let founded = found_space(&founding, &mut random).unwrap();
    (founded.space, founder.sign_pk(), vec![founded.genesis, founded.epoch])
}

impl Run {
    fn build(&self, stage: &Stage) -> Option<Recovery> {
        let mut machine = match self.resumed {
            Some(root) => Recovery::resume(root_of(root), "new", stage.space, stage.phrase.derive_home().sign_pk()),
            None => Recovery::start(root_of(self.boot), "new"),
        };
        for given in &self.given {
            let taken = match given {
                Given::Words => machine.words(&stage.phrase),
                Given::Listed(space) => machine.listed(std::slice::from_ref(space)),
                Given::Fetched(records) => machine.fetched(records.clone()),
                Given::Checked => machine.check(),
                Given::HomeBegun => machine.home_begun(),
                Given::ContentHeld => machine.content_held(BTreeMap::new()),
                Given::Published(records) => machine.published(records.clone()),
                Given::Refused(records) => machine.refused(records.clone()),
                Given::Finished => machine.finished(),
            };
            taken.ok()?;
        }
        Some(machine)
    }

    /// Randomness that follows from the history.
    fn random(&self) -> SeededRandom {
        let hash = sha256("explore", &[&self.bytes()]);
        SeededRandom::new(u64::from_be_bytes(hash[..8].try_into().unwrap()))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![u8::try_from(self.boot).unwrap(), self.resumed.map_or(0xff, |at| u8::try_from(at).unwrap())];
        for given in &self.given {
            let (kind, records): (u8, &[Record]) = match given {
                Given::Words => (1, &[]),
                Given::Listed(_) => (2, &[]),
                Given::Fetched(records) => (3, records),
                Given::Checked => (4, &[]),
                Given::HomeBegun => (5, &[]),
                Given::ContentHeld => (6, &[]),
                Given::Published(records) => (7, records),
                Given::Refused(records) => (8, records),
                Given::Finished => (9, &[]),
            };
            out.push(kind);
            records.iter().for_each(|record| out.extend_from_slice(&record.id().0));
        }
        out
    }
}

impl World {
    fn new() -> Self {
        let phrase = RecoveryPhrase::generate(PhraseLength::Words12, &mut SeededRandom::new(41));
        let (id, lost, records) = space(1, RANDOM, &phrase);
        let stranger = RecoveryPhrase::generate(PhraseLength::Words12, &mut SeededRandom::new(42));
        let (other, _, others) = space(2, [9; 32], &stranger);
        let stage = Stage { space: id, phrase, lost, other: (other, others) };
        Self {
            stage: Rc::new(stage),
            relay: records,
            machine: None,
            boots: 0,
            disk: None,
            finished: false,
            finished_on: Vec::new(),
        }
    }

    fn shown(&self, shown: Shown) -> Vec<Record> {
        match shown {
            Shown::All => self.relay.clone(),
            Shown::Old => self.relay[..2].to_vec(),
            Shown::Other => self.stage.other.1.clone(),
        }
    }

    fn built(&self) -> Option<Recovery> {
        self.machine.as_ref()?.build(&self.stage)
    }

    /// The relay takes what counts in the records before it, as relays do; gives whether it took all.
    fn push(&mut self, records: &[Record]) -> bool {
        let mut all = true;
        for record in records {
            let with = [&self.relay[..], std::slice::from_ref(record)].concat();
            let after = Membership::evaluate(&self.stage.space, &with).unwrap();
            if self.relay.iter().any(|held| held.id() == record.id()) {
                continue;
            }
            if after.void.contains_key(&record.id()) {
                all = false;
            } else {
                self.relay = with;
            }
        }
        all
    }

    fn give(&mut self, given: Given) {
        if let Some(run) = &mut self.machine {
            run.given.push(given);
        }
        // An error ends the run: the person starts anew.
        if self.built().is_none() {
            self.machine = None;
        }
    }

    fn to_publish(&self) -> Vec<Record> {
        let Some(run) = &self.machine else { return Vec::new() };
        let step = self.built().and_then(|machine| machine.poll(&mut run.random()).ok());
        if let Some(RecoveryStep::Publish(records)) = step { records } else { Vec::new() }
    }

    fn begin_home(&mut self) {
        if let (Some(machine), Some(run)) = (self.built(), &self.machine)
            && machine.device().is_ok()
        {
            self.disk = Some(run.resumed.unwrap_or(run.boot));
        }
    }

    fn finish(&mut self) {
        self.finished_on = self.built().map(|machine| machine.records().to_vec()).unwrap_or_default();
        self.finished = true;
    }

    fn new_device(&self) -> Option<SignPk> {
        self.disk.map(|boot| root_of(boot).derive_space(&RANDOM).sign_pk())
    }
}

impl Model for World {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let Some(run) = &self.machine else {
            return if self.boots < BOOTS && !self.finished { vec![Move::Boot] } else { Vec::new() };
        };
        let Some(step) = self.built().and_then(|machine| machine.poll(&mut run.random()).ok()) else {
            return vec![Move::Dies(Writing::Nothing)];
        };
        let mut moves = vec![Move::Dies(Writing::Nothing)];
        match step {
            RecoveryStep::AskWords => moves.push(Move::Words),
            RecoveryStep::List(_) => moves.extend([true, false].map(Move::List)),
            RecoveryStep::Fetch(_) => moves.extend([Shown::All, Shown::Old, Shown::Other].map(Move::Fetch)),
            RecoveryStep::Check => moves.push(Move::Check),
            RecoveryStep::BeginHome => moves.extend([Move::BeginHome, Move::Dies(Writing::Home)]),
            RecoveryStep::FetchContent => moves.push(Move::FetchContent),
            RecoveryStep::Publish(records) => {
                for takes in 0..=records.len() {
                    moves.push(Move::Dies(Writing::Push(takes)));
                    moves.extend([Shown::All, Shown::Old, Shown::Other].map(|shows| Move::Publish { takes, shows }));
                }
            }
            RecoveryStep::Finish(_) => moves.extend([Move::Finish, Move::Dies(Writing::Finish)]),
            RecoveryStep::Done => {}
        }
        moves
    }

    fn apply(&self, step: &Move) -> Self {
        let mut next = self.clone();
        match step {
            Move::Boot => {
                next.machine = Some(Run { boot: next.boots, resumed: next.disk, given: Vec::new() });
                next.boots += 1;
            }
            Move::Words => next.give(Given::Words),
            Move::List(right) => {
                let space = if *right { next.stage.space } else { next.stage.other.0 };
                next.give(Given::Listed(space));
            }
            Move::Fetch(shown) => next.give(Given::Fetched(next.shown(*shown))),
            Move::Check => next.give(Given::Checked),
            Move::BeginHome => {
                next.begin_home();
                next.give(Given::HomeBegun);
            }
            Move::FetchContent => next.give(Given::ContentHeld),
            Move::Publish { takes, shows } => {
                let records = next.to_publish();
                let all = next.push(&records[..*takes]) && *takes == records.len();
                let shown = next.shown(*shows);
                next.give(if all { Given::Published(shown) } else { Given::Refused(shown) });
            }
            Move::Finish => {
                next.finish();
                next.give(Given::Finished);
            }
            Move::Dies(writing) => {
                match writing {
                    Writing::Nothing => {}
                    Writing::Home => next.begin_home(),
                    Writing::Push(takes) => {
                        let records = next.to_publish();
                        next.push(&records[..*takes]);
                    }
                    Writing::Finish => next.finish(),
                }
                next.machine = None;
            }
        }
        next
    }

    fn fingerprint(&self) -> Vec<u8> {
        let mut out = vec![u8::try_from(self.boots).unwrap(), u8::from(self.finished)];
        out.push(self.disk.map_or(0xff, |at| u8::try_from(at).unwrap()));
        self.relay.iter().for_each(|record| out.extend_from_slice(&record.id().0));
        out.push(0xfe);
        if let Some(run) = &self.machine {
            out.extend(run.bytes());
        }
        sha256("explore", &[&out]).to_vec()
    }

    fn check(&self) -> Result<(), String> {
        let membership = Membership::evaluate(&self.stage.space, &self.relay).unwrap();
        let own = self.new_device();
        let enrolled = membership.devices.iter().filter(|(_, device)| device.kind == DeviceKind::Normal);
        if enrolled.clone().any(|(key, _)| *key != self.stage.lost && Some(*key) != own) {
            return Err("a key is enrolled that is on no disk".into());
        }
        if let Some(machine) = self.built()
            && machine.device().is_ok()
            && machine.state() < RecoveryState::RecordsOk
        {
            return Err("a key is given out before the records were verified".into());
        }
        if self.finished {
            let shown = Membership::evaluate(&self.stage.space, &self.finished_on).unwrap();
            let in_force = own.is_some_and(|own| shown.may_write(&own)) && !shown.may_read(&self.stage.lost);
            if !in_force || shown.current_epoch().is_none() {
                return Err("the recovery ended before the lost device was out and a new key was made".into());
            }
        }
        Ok(())
    }

    fn abandon(&self) -> Self {
        let mut next = self.clone();
        next.machine = None;
        next
    }

    /// Whatever is half done is found and ended by the next run: undisturbed, it succeeds from here.
    fn is_clean_end(&self) -> bool {
        if self.finished {
            return true;
        }
        let mut world = self.clone();
        world.boots = BOOTS;
        world.machine = Some(Run { boot: BOOTS, resumed: world.disk, given: Vec::new() });
        for _ in 0..40 {
            let Some(machine) = world.built() else { return false };
            let Some(run) = world.machine.clone() else { return false };
            let step = match machine.poll(&mut run.random()) {
                Ok(RecoveryStep::AskWords) => Move::Words,
                Ok(RecoveryStep::List(_)) => Move::List(true),
                Ok(RecoveryStep::Fetch(_)) => Move::Fetch(Shown::All),
                Ok(RecoveryStep::Check) => Move::Check,
                Ok(RecoveryStep::BeginHome) => Move::BeginHome,
                Ok(RecoveryStep::FetchContent) => Move::FetchContent,
                Ok(RecoveryStep::Publish(records)) => Move::Publish { takes: records.len(), shows: Shown::All },
                Ok(RecoveryStep::Finish(_)) => Move::Finish,
                Ok(RecoveryStep::Done) => return true,
                Err(_) => return false,
            };
            world = world.apply(&step);
        }
        false
    }

    fn is_success(&self) -> bool {
        self.finished
    }
}

#[test]
fn no_lie_of_the_relay_and_no_crash_leaves_a_recovery_stuck_or_a_key_loose() {
    explore_all("recovery", World::new());
}
