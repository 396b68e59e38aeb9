//! Every state of recovering a space from words, with a relay that lies: a home, a shared space whose person reads, and
//! a home whose lost device is in the hands of a thief.

mod run;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::{MemberId, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::membership::{Device, Membership};
use lifeos_sync_protocol::record::{Body, DeviceKind, Record, Role};

use self::run::{Given, Run, tells_what_to_do};
use super::{Least, Model, STUCK, explore_all, find, ids};
use crate::crypto::SeededRandom;
use crate::fault::Fault;
use crate::keys::{DeviceKeys, DeviceRoot, OwnKeys, PhraseLength, RecoveryPhrase};
use crate::records::{
    AddDevice, Cover, Draft, Founding, add_device, cover_records, found_space, open_epochs, unlock_epochs,
};
use crate::recovery::{Recovery, RecoveryError, RecoveryStep};

const RANDOM: [u8; 32] = [6; 32];
const MEMBER: MemberId = MemberId([1; 16]);
const READER: MemberId = MemberId([2; 16]);
/// The device dies, or the person starts anew, so often.
const BOOTS: usize = 2;
/// More than the steps of any run that nobody disturbs.
const STEPS_MAX: usize = 40;

/// What is recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Home,
    /// The lost device adds one of its own, at any time. With one boot only.
    HomeStolen,
    Shared,
    /// Too many states to see them all, but in this one alone words can be enrolled that open no newest key.
    SharedWithKeyBeside,
}

/// What does not change.
struct Stage {
    /// A shared space in which the person may only read; else their home.
    is_shared: bool,
    space: SpaceId,
    phrase: RecoveryPhrase,
    lost: SignPk,
    /// The record by which the lost device lets another one in, and that one's key.
    thief: Option<(Record, SignPk)>,
    boots: usize,
    /// Another space, which the relay may show instead.
    other: (SpaceId, Vec<Record>),
    /// Whether an undisturbed run succeeds from what is on the disk and at the relay, as far as it was tried.
    ends: RefCell<HashMap<Vec<u8>, bool>>,
    /// Whether a run ends at all, with an honest relay from there.
    run_ends: RefCell<HashMap<Vec<u8>, bool>>,
    /// What is known of sets of records, by their ids: states by the thousand go by the same few.
    known: RefCell<HashMap<Vec<u8>, Rc<Known>>>,
    /// Every record that a relay ever took, in the order in which each was first seen in any world.
    places: RefCell<HashMap<RecordId, usize>>,
    /// What a run becomes by what it is given, for the same reason.
    runs: RefCell<HashMap<Vec<u8>, Result<Run, RecoveryError>>>,
}

/// What follows from a set of records.
struct Known {
    membership: Membership,
    /// Whether the words open the newest epoch, as found out without the machine.
    opens: bool,
}

#[derive(Clone)]
struct World {
    stage: Rc<Stage>,
    /// What the relay has taken, in the order of [`Stage::place`]; it may show any beginning of it.
    relay: Vec<Record>,
    machine: Option<Run>,
    boots: usize,
    /// Which boot's root is on the disk, and whether the home is an ordinary one.
    disk: Option<usize>,
    finished: bool,
    /// The records that the machine went by when it first wrote to the disk let the words open the newest epoch.
    begun_opens: bool,
    /// By those it went by when it finished, the new device stands alone with a key of its own.
    finished_alone: bool,
    /// A run ended with an error that tells nobody what to do.
    mute: Option<String>,
}

#[derive(Debug, Clone)]
enum Move {
    Boot,
    Words,
    /// The relay names the space, or another one, or none.
    List(bool),
    /// The relay shows what it has up to any record, or another space.
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
    /// The lost device pushes its record.
    ThiefAdds,
    /// As any move that writes, and the device dies before it knows.
    Dies(Writing),
}

#[derive(Debug, Clone, Copy)]
enum Shown {
    /// So many of its records, the oldest; [`ALL`] is everything.
    First(usize),
    /// All but this one of them.
    Without(usize),
    /// All of them, each twice and the newest first.
    Shuffled,
    Other,
}

const ALL: usize = usize::MAX;

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
    let (space, records) = founded(&founder, &phrase.derive_home(), random_bytes, &mut random);
    (space, founder.sign_pk(), records)
}

/// The lost device, which founded the home, lets a thief's in, as it stood when it was lost.
fn stolen(space: SpaceId, records: &[Record]) -> (Record, SignPk) {
    let founder = DeviceRoot::generate(&mut SeededRandom::new(1)).derive_space(&RANDOM);
    let thief = DeviceRoot::from_bytes([0xaa; 32]).derive_space(&RANDOM);
    let membership = Membership::evaluate(&space, records).unwrap();
    let add = AddDevice {
        membership: &membership,
        records,
        keyring: &open_epochs(&membership, records, &founder),
        keys: &founder,
        member: MEMBER,
        entry: thief.entry(&RANDOM, &MEMBER, DeviceKind::Normal),
        name: "Laptop",
    };
    (add_device(&add, &mut SeededRandom::new(79)).unwrap().remove(0), thief.sign_pk())
}

fn founded(
    founder: &DeviceKeys,
    recovery: &DeviceKeys,
    genesis_random: [u8; 32],
    random: &mut SeededRandom,
) -> (SpaceId, Vec<Record>) {
    let founding = Founding { genesis_random, member: MEMBER, keys: founder, recovery, relays: Vec::new() };
    let founded = found_space(&founding, random).unwrap();
    (founded.space, vec![founded.genesis, founded.epoch])
}

/// Somebody else's space, which the words cover for a reader whose one device is lost. With `is_beside` the founder made
/// a key beside that, which the words were given only afterwards: a relay may hold that back.
fn shared_space(phrase: &RecoveryPhrase, is_beside: bool) -> (SpaceId, SignPk, Vec<Record>) {
    let mut random = SeededRandom::new(1);
    let mut device = || DeviceRoot::generate(&mut random).derive_space(&RANDOM);
    let (founder, thrown, lost) = (device(), device(), device());
    let (space, mut records) = founded(&founder, &thrown, RANDOM, &mut random);
    let membership = Membership::evaluate(&space, &records).unwrap();
    let opened = unlock_epochs(&membership, &records, OwnKeys::first(&founder));
    let mut draft = Draft::begin(&membership, &records, &opened, &founder);
    let devices = vec![lost.entry(&RANDOM, &READER, DeviceKind::Normal)];
    draft.add(&Body::MemberAdd { member: READER, role: Role::Reader, enc_meta: Vec::new(), devices }).unwrap();
    draft.grant_lacking(&mut random).unwrap();
    records.extend(draft.finish());
    let membership = Membership::evaluate(&space, &records).unwrap();
    let (device, recovery) = (OwnKeys::first(&lost), &phrase.derive_space(&RANDOM));
    let cover = Cover { membership: &membership, records: &records, device, member: READER, recovery };
    let covered = cover_records(&cover, &mut random).unwrap();
    if !is_beside {
        records.extend(covered);
        return (space, lost.sign_pk(), records);
    }
    let mut draft = Draft::begin(&membership, &records, &opened, &founder);
    draft.rotate(&mut random).unwrap();
    records.extend(covered.into_iter().chain(draft.finish()));
    let membership = Membership::evaluate(&space, &records).unwrap();
    let opened = unlock_epochs(&membership, &records, OwnKeys::first(&founder));
    let mut draft = Draft::begin(&membership, &records, &opened, &founder);
    draft.grant_lacking(&mut random).unwrap();
    records.extend(draft.finish());
    (space, lost.sign_pk(), records)
}

impl Stage {
    /// Where a relay has this record among others. Parents come first: nobody builds on what no relay took.
    fn place(&self, record: &Record) -> usize {
        let mut places = self.places.borrow_mut();
        let next = places.len();
        *places.entry(record.id()).or_insert(next)
    }

    fn paper_key(&self) -> DeviceKeys {
        if self.is_shared { self.phrase.derive_space(&RANDOM) } else { self.phrase.derive_home() }
    }

    fn member(&self) -> MemberId {
        if self.is_shared { READER } else { MEMBER }
    }

    fn machine(&self, boot: usize, resumed: Option<usize>) -> Recovery {
        let root = root_of(resumed.unwrap_or(boot));
        match resumed {
            _ if self.is_shared => Recovery::of_space(root, "new", self.space, RANDOM, resumed.is_some()),
            Some(_) => Recovery::resume(root, "new", self.space, self.paper_key().sign_pk()),
            None => Recovery::start(root, "new"),
        }
    }
}

impl World {
    fn new(whose: Whose) -> Self {
        let is_shared = matches!(whose, Whose::Shared | Whose::SharedWithKeyBeside);
        let phrase = RecoveryPhrase::generate(PhraseLength::Words12, &mut SeededRandom::new(41));
        let (id, lost, records) = match whose {
            Whose::Home | Whose::HomeStolen => space(1, RANDOM, &phrase),
            Whose::Shared => shared_space(&phrase, false),
            Whose::SharedWithKeyBeside => shared_space(&phrase, true),
        };
        let stranger = RecoveryPhrase::generate(PhraseLength::Words12, &mut SeededRandom::new(42));
        let (other, _, others) = space(2, [9; 32], &stranger);
        let stage = Stage {
            is_shared,
            space: id,
            phrase,
            lost,
            thief: (whose == Whose::HomeStolen).then(|| stolen(id, &records)),
            boots: if whose == Whose::HomeStolen { 1 } else { BOOTS },
            other: (other, others),
            ends: RefCell::default(),
            run_ends: RefCell::default(),
            known: RefCell::default(),
            places: RefCell::default(),
            runs: RefCell::default(),
        };
        records.iter().for_each(|record| _ = stage.place(record));
        Self {
            stage: Rc::new(stage),
            relay: records,
            machine: None,
            boots: 0,
            disk: None,
            finished: false,
            begun_opens: false,
            finished_alone: false,
            mute: None,
        }
    }

    fn shown(&self, shown: Shown) -> Vec<Record> {
        match shown {
            Shown::First(count) => self.relay[..count.min(self.relay.len())].to_vec(),
            Shown::Without(at) => {
                let left = self.relay.iter().enumerate().filter(|(place, _)| *place != at);
                left.map(|(_, record)| record.clone()).collect()
            }
            Shown::Shuffled => self.relay.iter().rev().flat_map(|record| [record.clone(), record.clone()]).collect(),
            Shown::Other => self.stage.other.1.clone(),
        }
    }

    /// What the relay can show once it has taken so many records more. Where there is a thief it may hold back its
    /// record alone: any beginning is for the worlds without one.
    fn shown_after(&self, taken: usize) -> impl Iterator<Item = Shown> + use<> {
        let (thief, count) = (self.stage.thief.as_ref(), self.relay.len() + taken);
        let thiefs = thief.and_then(|(record, _)| self.place(record));
        let beginnings = (if thief.is_some() { count } else { 1 }..=count).map(Shown::First);
        beginnings.chain(thiefs.map(Shown::Without)).chain([Shown::Other])
    }

    fn place(&self, record: &Record) -> Option<usize> {
        self.relay.iter().position(|held| held.id() == record.id())
    }

    fn built(&self) -> Option<&Recovery> {
        self.machine.as_ref().map(|run| &*run.machine)
    }

    /// The relay takes what counts in the records before it, as relays do; gives whether it took all.
    fn push(&mut self, records: &[Record]) -> bool {
        let mut all = true;
        for record in records {
            let with = [&self.relay[..], std::slice::from_ref(record)].concat();
            if self.relay.iter().any(|held| held.id() == record.id()) {
                continue;
            }
            if self.known(&with).membership.void.contains_key(&record.id()) {
                all = false;
            } else {
                self.relay = with;
                self.relay.sort_by_key(|record| self.stage.place(record));
            }
        }
        all
    }

    /// An error ends the run: the person starts anew.
    fn give(&mut self, given: Given) {
        let Some(run) = self.machine.take() else { return };
        let key = [run.bytes(), given.bytes()].concat();
        let known = self.stage.runs.borrow().get(&key).cloned();
        let next = known.unwrap_or_else(|| {
            let next = run.after(given, &self.stage);
            self.stage.runs.borrow_mut().insert(key, next.clone());
            next
        });
        self.machine = match next {
            Ok(run) => Some(run),
            Err(error) => {
                self.mute = self.mute.take().or_else(|| (!tells_what_to_do(&error)).then(|| error.to_string()));
                None
            }
        };
    }

    /// The lost device is out, with what it let in, and a new key was made.
    fn stands_alone(&self, shown: &Membership) -> bool {
        let may = |own: SignPk| shown.may_read(&own) && shown.may_write(&own) != self.stage.is_shared;
        let thief = self.stage.thief.as_ref().is_some_and(|(_, thief)| shown.may_read(thief));
        // Who only reads leaves the key to others: a removal keeps everybody from sealing under the old one.
        let renewed = shown.current_epoch().is_none() == self.stage.is_shared;
        self.new_device().is_some_and(may) && !shown.may_read(&self.stage.lost) && !thief && renewed
    }

    fn to_publish(&self) -> Vec<Record> {
        match self.machine.as_ref().and_then(|run| run.step.clone()) {
            Some(RecoveryStep::Publish(records)) => records,
            _ => Vec::new(),
        }
    }

    fn begin_home(&mut self) {
        if let Some(run) = &self.machine
            && run.machine.device().is_ok()
        {
            let (opens, root) = (self.known(run.machine.records()).opens, run.resumed.unwrap_or(run.boot));
            (self.begun_opens, self.disk) = (opens, Some(root));
        }
    }

    fn finish(&mut self) {
        let shown = self.built().map(|machine| self.known(machine.records()));
        self.finished_alone = shown.is_some_and(|shown| self.stands_alone(&shown.membership));
        self.finished = true;
    }

    /// Whether whoever begins anew here ends with a recovered device, if nobody disturbs it.
    fn ends_undisturbed(&self) -> bool {
        let mut key = vec![self.disk.map_or(0xff, |at| u8::try_from(at).unwrap())];
        ids(&self.relay, &mut key);
        if let Some(known) = self.stage.ends.borrow().get(&key) {
            return *known;
        }
        let mut next = self.clone();
        next.machine = Some(Run::start(BOOTS, self.disk, &self.stage));
        for _ in 0..STEPS_MAX {
            let Some(step) = next.honest_step() else { break };
            next = next.apply(&step);
        }
        self.stage.ends.borrow_mut().insert(key, next.finished);
        next.finished
    }

    /// Whether the run under way ends, well or with an error, if nobody disturbs it from here.
    fn run_ends(&self) -> bool {
        let (mut next, mut way) = (self.clone(), Vec::new());
        let ends = loop {
            let Some(step) = next.honest_step() else { break true };
            let key = next.fingerprint();
            if let Some(known) = self.stage.run_ends.borrow().get(&key) {
                break *known;
            }
            if way.len() > STEPS_MAX {
                break false;
            }
            way.push(key);
            next = next.apply(&step);
        };
        self.stage.run_ends.borrow_mut().extend(way.into_iter().map(|key| (key, ends)));
        ends
    }

    fn honest_step(&self) -> Option<Move> {
        Some(match self.machine.as_ref()?.step.clone()? {
            RecoveryStep::AskWords => Move::Words,
            RecoveryStep::List(_) => Move::List(true),
            RecoveryStep::Fetch(_) => Move::Fetch(Shown::First(ALL)),
            RecoveryStep::Check => Move::Check,
            RecoveryStep::BeginHome => Move::BeginHome,
            RecoveryStep::FetchContent => Move::FetchContent,
            RecoveryStep::Publish(records) => Move::Publish { takes: records.len(), shows: Shown::First(ALL) },
            RecoveryStep::Finish(_) => Move::Finish,
            RecoveryStep::Done => return None,
        })
    }

    fn known(&self, records: &[Record]) -> Rc<Known> {
        let mut key = Vec::new();
        ids(records, &mut key);
        if let Some(known) = self.stage.known.borrow().get(&key) {
            return Rc::clone(known);
        }
        let membership = Membership::evaluate(&self.stage.space, records).unwrap();
        let keyring = open_epochs(&membership, records, &self.stage.paper_key());
        let opens = membership.current_epoch().is_some_and(|epoch| keyring.find(&epoch).is_some());
        let known = Rc::new(Known { membership, opens });
        self.stage.known.borrow_mut().insert(key, Rc::clone(&known));
        known
    }

    fn new_device(&self) -> Option<SignPk> {
        self.disk.map(|boot| root_of(boot).derive_space(&RANDOM).sign_pk())
    }
}

impl Model for World {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        moves.extend(self.stage.thief.iter().map(|_| Move::ThiefAdds));
        let Some(run) = &self.machine else {
            moves.extend((self.boots < self.stage.boots && !self.finished).then_some(Move::Boot));
            return moves;
        };
        moves.push(Move::Dies(Writing::Nothing));
        let Some(step) = run.step.clone() else { return moves };
        match step {
            RecoveryStep::AskWords => moves.push(Move::Words),
            RecoveryStep::List(_) => moves.extend([true, false].map(Move::List)),
            RecoveryStep::Fetch(_) => moves.extend(self.shown_after(0).chain([Shown::Shuffled]).map(Move::Fetch)),
            RecoveryStep::Check => moves.push(Move::Check),
            RecoveryStep::BeginHome => moves.extend([Move::BeginHome, Move::Dies(Writing::Home)]),
            RecoveryStep::FetchContent => moves.push(Move::FetchContent),
            RecoveryStep::Publish(records) => {
                for takes in 0..=records.len() {
                    moves.push(Move::Dies(Writing::Push(takes)));
                    moves.extend(self.shown_after(takes).map(|shows| Move::Publish { takes, shows }));
                }
                moves.push(Move::Publish { takes: records.len(), shows: Shown::Shuffled });
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
                next.machine = Some(Run::start(next.boots, next.disk, &next.stage));
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
            Move::ThiefAdds => {
                let added = next.stage.thief.iter().map(|(record, _)| record.clone()).collect::<Vec<_>>();
                next.push(&added);
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
        ids(&self.relay, &mut out);
        out.push(0xfe);
        out.extend([self.begun_opens, self.finished_alone, self.mute.is_some()].map(u8::from));
        if let Some(run) = &self.machine {
            out.extend(run.bytes());
        }
        sha256("explore", &[&out]).to_vec()
    }

    fn check(&self) -> Result<(), String> {
        let relay = self.known(&self.relay);
        let own = self.new_device();
        let is_own = |device: &Device| device.kind == DeviceKind::Normal && device.member == self.stage.member();
        let enrolled = relay.membership.devices.iter().filter(|(_, device)| is_own(device));
        let thief = self.stage.thief.as_ref().map(|(_, key)| *key);
        if enrolled.clone().any(|(key, _)| *key != self.stage.lost && Some(*key) != own && Some(*key) != thief) {
            return Err("a key is enrolled that is on no disk".into());
        }
        if self.disk.is_some() && !self.begun_opens {
            return Err("a key was saved before the words had opened the newest epoch".into());
        }
        if self.finished && thief.is_some_and(|thief| relay.membership.may_read(&thief)) {
            return Err("what the lost device let in is there after the recovery".into());
        }
        if self.finished && !self.finished_alone {
            return Err("the recovery ended before the lost device was out and a new key was made".into());
        }
        self.mute.as_ref().map_or(Ok(()), |error| Err(format!("nobody can tell what to do after: {error}")))
    }

    /// Whatever is half done is found and ended by the next run, and the run under way ends.
    fn can_be_left(&self) -> Result<(), String> {
        if !self.run_ends() {
            return Err("the run goes on for ever".into());
        }
        if self.finished || self.ends_undisturbed() {
            return Ok(());
        }
        Err("the next run does not recover".into())
    }

    fn is_success(&self) -> bool {
        self.finished
    }
}

fn found(whose: &[Whose], fault: Fault, what: &str) {
    for whose in whose {
        find(&format!("recovery, {whose:?}: {fault:?}"), Some(fault), || World::new(*whose), what);
    }
}

#[test]
fn an_epoch_that_nobody_tried_to_open_is_found() {
    found(&[Whose::Home, Whose::SharedWithKeyBeside], Fault::EpochUnopened, "opened the newest epoch");
}

#[test]
fn a_key_published_before_it_is_saved_is_found() {
    found(&[Whose::Home, Whose::Shared], Fault::KeyUnsaved, "on no disk");
}

#[test]
fn a_relay_believed_without_reading_back_is_found() {
    found(&[Whose::Home, Whose::Shared], Fault::SentBelieved, "before the lost device was out");
}

#[test]
fn a_recovery_that_is_not_gone_on_with_is_found() {
    found(&[Whose::Home, Whose::Shared], Fault::ResumeRefused, STUCK);
}

#[test]
fn a_device_that_the_lost_one_let_in_is_found() {
    found(&[Whose::HomeStolen], Fault::StrangerLeft, "let in");
}

#[test]
fn no_lie_of_the_relay_and_no_crash_leaves_a_recovery_stuck_or_a_key_loose() {
    explore_all(
        "recovery of a home",
        World::new(Whose::Home),
        Least { states: 89_643, transitions: 811_239, depth: 34 },
    );
}

#[test]
fn no_lie_of_the_relay_leaves_the_recovery_of_a_shared_space_stuck() {
    let least = Least { states: 593, transitions: 4_842, depth: 23 };
    explore_all("recovery of a shared space by a reader", World::new(Whose::Shared), least);
}

#[test]
fn a_thief_with_the_lost_device_is_out_whenever_it_lets_another_in() {
    let least = Least { states: 1_492, transitions: 6_425, depth: 20 };
    explore_all("recovery of a home while a thief adds a device", World::new(Whose::HomeStolen), least);
}
