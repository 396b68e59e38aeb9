//! What happens to a town, drawn from the seed step by step, and the ledger of what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeos_client_core::client::{Client, ClientError, ErasePlan, NoteDraft, NoteFilter};
use lifeos_client_core::engine::spawn_in_node;
use lifeos_client_core::protocol::ids::SignPk;
use lifeos_client_core::protocol::record::RemoveReason;
use lifeos_client_core::simulation::as_node;
use ring::digest;
use tokio::time::{sleep, timeout};

use super::host::world;
use super::net::State;
use super::world::{DEVICES, RELAYS, Town};
use super::{Dice, Plan, Ran, check};
use crate::world::copy;

/// Longest time that an operation over the network is waited for.
pub(super) const OPERATION_MAX: Duration = Duration::from_secs(300);

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Edit,
    Link,
    CrashDevice,
    FuseDevice,
    CrashRelay,
    FuseRelay,
    WipeRelay,
    CopyRelay,
    RollBackRelay,
    ClockJump,
    TimePasses,
    Remove,
    Rotate,
    Checkpoint,
    CopyHome,
    RestoreHome,
    Bundle,
    Meet,
    Erase,
    Attach,
}

/// How often each comes. A seed leaves out some of them, so that the others meet more often.
const WEIGHTS: &[(Event, u64)] = &[
    (Event::Edit, 30),
    (Event::Link, 14),
    (Event::CrashDevice, 3),
    (Event::FuseDevice, 6),
    (Event::CrashRelay, 2),
    (Event::FuseRelay, 4),
    (Event::WipeRelay, 2),
    (Event::CopyRelay, 2),
    (Event::RollBackRelay, 2),
    (Event::ClockJump, 3),
    (Event::TimePasses, 4),
    (Event::Remove, 1),
    (Event::Rotate, 3),
    (Event::Checkpoint, 5),
    (Event::CopyHome, 3),
    (Event::RestoreHome, 3),
    (Event::Bundle, 2),
    (Event::Meet, 3),
    (Event::Erase, 2),
    (Event::Attach, 2),
];

/// What strikes in the midst of something that many take part in.
const STRIKES: [Event; 7] = [
    Event::Link,
    Event::CrashDevice,
    Event::FuseDevice,
    Event::CrashRelay,
    Event::FuseRelay,
    Event::WipeRelay,
    Event::RestoreHome,
];

/// Something that a device said is stored.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Stands in a note.
    pub(super) word: String,
    /// That note (hex).
    pub(super) note: String,
    /// Who wrote it.
    pub(super) author: usize,
    at_ms: u64,
    /// Its author was dying, or was put back and nobody else has it.
    pub(super) may_be_lost: bool,
    /// Its author was put back from before it: who had it then. Nobody else brings it back.
    pub(super) kept_by: Option<BTreeSet<usize>>,
    /// Devices that its author knew to be removed.
    pub(super) secret_from: BTreeSet<usize>,
}

/// A file that a device said is attached to a note.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) note: String,
    /// Of its content, hex.
    pub(super) hash: String,
    pub(super) content: Vec<u8>,
    pub(super) author: usize,
    at_ms: u64,
    pub(super) may_be_lost: bool,
}

/// A note that a device said is erased.
#[derive(Debug, Clone)]
pub(super) struct Erased {
    pub(super) note: String,
    pub(super) author: usize,
    at_ms: u64,
    /// Its history alone, and what it said goes on in another.
    pub(super) history_only: bool,
    pub(super) may_be_lost: bool,
}

/// The town, and what is known of it from outside.
pub(super) struct Chaos {
    pub(super) town: Town,
    pub(super) dice: Dice,
    pub(super) script: Vec<String>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) ledger: Vec<Entry>,
    pub(super) files: Vec<File>,
    pub(super) erased: Vec<Erased>,
    /// What was untrue on the way.
    pub(super) failures: Vec<String>,
    pub(super) was_restored: Vec<bool>,
    /// Relays that were wiped or rolled back.
    pub(super) was_tampered: Vec<bool>,
    pub(super) keys: Vec<SignPk>,
    /// Which devices sync by themselves.
    pub(super) lively: Vec<bool>,
    said: Arc<Mutex<Vec<String>>>,
    /// Who does something for which it paused.
    busy: Arc<Mutex<BTreeSet<usize>>>,
    /// When each home was copied (ms since the beginning).
    copied_ms: Vec<Option<u64>>,
    relay_copied: Vec<bool>,
    notes: u64,
    pub(super) bundles: u64,
}

pub(super) async fn run(plan: Plan, template: &Path, dir: &Path) -> Ran {
    let mut dice = Dice::new(plan.seed);
    let delay_ms = [1, 20, 200][usize::try_from(dice.below(3)).unwrap_or(0)];
    let town = Town::from_template(template, dir, plan.seed, delay_ms);
    let mut chaos = Chaos {
        town,
        script: Vec::new(),
        counts: BTreeMap::new(),
        ledger: Vec::new(),
        files: Vec::new(),
        erased: Vec::new(),
        failures: Vec::new(),
        was_restored: vec![false; DEVICES.len()],
        was_tampered: vec![false; RELAYS],
        keys: Vec::new(),
        lively: DEVICES.iter().map(|_| !dice.one_in(4)).collect(),
        said: Arc::default(),
        busy: Arc::default(),
        copied_ms: vec![None; DEVICES.len()],
        relay_copied: vec![false; RELAYS],
        notes: 0,
        bundles: 0,
        dice,
    };
    for index in 0..DEVICES.len() {
        chaos.start(index);
    }
    chaos.keys = chaos.town.devices.iter().filter_map(|device| device.client.as_ref().map(Client::device)).collect();
    let steps = chaos.cause(plan).await;
    let mut failures = std::mem::take(&mut chaos.failures);
    failures.extend(check::heal_and_check(&mut chaos).await);
    let mut hash = digest::Context::new(&digest::SHA256);
    chaos.script.iter().for_each(|line| hash.update(line.as_bytes()));
    let digest = hash.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    for index in 0..DEVICES.len() {
        chaos.town.crash(index).await;
    }
    for index in 0..RELAYS {
        chaos.town.crash_relay(index).await;
    }
    Ran { steps, script: chaos.script, counts: chaos.counts, failures, digest }
}

impl Chaos {
    pub(super) fn tell(&mut self, line: String) {
        let ms = world().elapsed_ms();
        self.script.push(format!("{:>9.3} {line}", Duration::from_millis(ms).as_secs_f64()));
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(super) fn client(&self, index: usize) -> Option<Client> {
        let device = &self.town.devices[index];
        device.client.clone().filter(|_| !world().device(device.node, |life| life.dead))
    }

    pub(super) fn start(&mut self, index: usize) {
        self.busy.lock().expect("whole").remove(&index);
        self.town.start(index, self.lively[index]);
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.dice.below(end as u64)).unwrap_or(0)
    }

    async fn cause(&mut self, plan: Plan) -> u32 {
        let weights: Vec<(Event, u64)> = WEIGHTS
            .iter()
            .map(|(event, weight)| {
                let is_out = *event != Event::Edit && self.dice.one_in(4);
                (*event, if is_out { 0 } else { *weight })
            })
            .collect();
        let all: u64 = weights.iter().map(|(_, weight)| weight).sum();
        let steps = u32::try_from(20 + self.dice.below(50)).unwrap_or(20).min(plan.steps_max);
        for _ in 0..steps {
            let gap_ms = match self.dice.below(6) {
                0 => self.dice.below(20),
                5 => self.dice.below(30_000),
                _ => self.dice.below(3_000),
            };
            sleep(Duration::from_millis(gap_ms)).await;
            self.town.tick_relays();
            self.hear();
            self.bury().await;
            let mut at = self.dice.below(all);
            let drawn = weights.iter().find(|(_, weight)| {
                let is_it = at < *weight;
                at = at.saturating_sub(*weight);
                is_it
            });
            if let Some((event, _)) = drawn {
                self.happen(*event).await;
            }
            if self.dice.one_in(3) {
                self.question();
            }
        }
        self.hear();
        steps
    }

    /// Writes down what operations over the network came to.
    pub(super) fn hear(&mut self) {
        let said = std::mem::take(&mut *self.said.lock().expect("whole"));
        said.into_iter().for_each(|line| self.tell(line));
    }

    /// Whoever died at a commit is cleared away; the others start again sooner or later.
    async fn bury(&mut self) {
        for (index, name) in DEVICES.iter().enumerate() {
            let node = self.town.devices[index].node;
            if self.town.devices[index].client.is_some() && world().device(node, |life| life.dead) {
                self.tell(format!("{name} died at a commit"));
                self.count("device died at a commit");
                self.town.crash(index).await;
            } else if self.town.devices[index].client.is_none() && self.dice.one_in(3) {
                self.tell(format!("{name} starts"));
                self.start(index);
            } else if !self.busy.lock().expect("whole").contains(&index) {
                self.resume([index, index]);
            }
        }
        for index in 0..RELAYS {
            let (dir, runs) = {
                let relay = &self.town.relays.borrow()[index];
                (relay.dir.clone(), relay.handle.is_some())
            };
            if runs && world().relay(&dir, |life| life.dead) {
                self.tell(format!("relay {index} died at a commit"));
                self.count("relay died at a commit");
                self.town.crash_relay(index).await;
            } else if !runs && self.dice.one_in(3) {
                self.tell(format!("relay {index} starts"));
                self.town.start_relay(index);
            }
        }
    }

    async fn happen(&mut self, event: Event) {
        let (index, relay) = (self.below(DEVICES.len()), self.below(RELAYS));
        self.befall(event, index, relay).await;
        let takes_many = matches!(event, Event::Remove | Event::Rotate | Event::Checkpoint | Event::Erase);
        if takes_many && self.dice.one_in(2) {
            let (wait_ms, strike) = (self.dice.below(600), STRIKES[self.below(STRIKES.len())]);
            sleep(Duration::from_millis(wait_ms)).await;
            self.count("struck in the midst");
            self.befall(strike, index, relay).await;
        }
    }

    async fn befall(&mut self, event: Event, index: usize, relay: usize) {
        let node = self.town.devices[index].node;
        match event {
            Event::Edit => self.edit(index),
            Event::Link => {
                let state = [State::Up, State::Up, State::Down, State::Stalled][self.below(4)];
                self.tell(format!("link {}–relay {relay}: {state:?}", DEVICES[index]));
                self.count("link set");
                self.town.net.set((node, relay), state);
            }
            Event::CrashDevice => {
                self.tell(format!("{} crashes", DEVICES[index]));
                self.count("device crashed");
                self.town.crash(index).await;
            }
            Event::FuseDevice => {
                let fuse = u32::try_from(self.dice.below(24)).unwrap_or(0);
                self.tell(format!("{} will die at commit {fuse}/2", DEVICES[index]));
                world().device(node, |life| life.fuse = Some(fuse));
            }
            Event::CrashRelay => {
                self.tell(format!("relay {relay} crashes"));
                self.count("relay crashed");
                self.town.crash_relay(relay).await;
            }
            Event::FuseRelay => {
                let fuse = u32::try_from(self.dice.below(16)).unwrap_or(0);
                self.tell(format!("relay {relay} will die at commit {fuse}/2"));
                let dir = self.town.relays.borrow()[relay].dir.clone();
                world().relay(&dir, |life| life.fuse = Some(fuse));
            }
            Event::WipeRelay | Event::CopyRelay | Event::RollBackRelay => self.tamper_relay(event, relay).await,
            Event::ClockJump => {
                let span_ms = [60_000, 86_400_000, 10 * 365 * 86_400_000][self.below(3)];
                let off_ms = i64::try_from(self.dice.below(2 * span_ms)).unwrap_or(0);
                let off_ms = off_ms - i64::try_from(span_ms).unwrap_or(0);
                self.tell(format!("the clock of {} is off by {off_ms} ms", DEVICES[index]));
                self.count("clock jumped");
                world().set_off(node, off_ms);
            }
            Event::TimePasses => {
                let hours = 1 + self.dice.below(24 * 12);
                self.tell(format!("{hours} hours pass"));
                self.count("time passed");
                self.town.pass(Duration::from_secs(hours * 3600));
                self.town.tick_relays();
            }
            Event::Remove => self.remove(index),
            Event::Rotate => self.over_the_network(index, "makes a new key", |client| async move {
                client.rotate_keys().await.map(|report| format!("generation {}", report.generation))
            }),
            Event::Checkpoint => {
                self.pause([index, index]).await;
                self.busy.lock().expect("whole").insert(index);
                self.over_the_network(index, "makes a checkpoint", |client| async move {
                    client.compact(&mut |_| {}).await.map(|_| "synced".to_owned())
                });
            }
            Event::CopyHome => self.copy_home(index),
            Event::RestoreHome if self.copied_ms[index].is_none() => self.copy_home(index),
            Event::RestoreHome => self.restore_home(index).await,
            Event::Bundle => self.carry_bundle(index).await,
            Event::Meet => self.meet(index).await,
            Event::Erase => self.erase(index),
            Event::Attach => self.attach(index),
        }
    }

    async fn tamper_relay(&mut self, event: Event, index: usize) {
        let dir = self.town.relays.borrow()[index].dir.clone();
        let copy_dir = self.town.dir.join(format!("relay-{index}-copy"));
        match event {
            Event::CopyRelay | Event::RollBackRelay if event == Event::CopyRelay || !self.relay_copied[index] => {
                let _ = std::fs::remove_dir_all(&copy_dir);
                copy(&dir, &copy_dir);
                self.relay_copied[index] = true;
                self.tell(format!("relay {index} is copied"));
            }
            Event::RollBackRelay => {
                self.was_tampered[index] = true;
                self.town.crash_relay(index).await;
                Town::put_back(&copy_dir, &dir);
                self.tell(format!("relay {index} is rolled back"));
                self.count("relay rolled back");
            }
            Event::WipeRelay => {
                self.was_tampered[index] = true;
                self.town.crash_relay(index).await;
                self.town.wipe_relay(index);
                self.tell(format!("relay {index} is wiped"));
                self.count("relay wiped");
            }
            _ => {}
        }
    }

    /// Devices that the records of a client say are removed.
    pub(super) fn removed_for(&self, client: &Client) -> BTreeSet<usize> {
        let membership = client.membership();
        let is_removed = |key: &SignPk| membership.devices.get(key).is_some_and(|device| device.removed_by.is_some());
        (0..self.keys.len()).filter(|index| is_removed(&self.keys[*index])).collect()
    }

    fn edit(&mut self, index: usize) {
        let Some(client) = self.client(index) else { return };
        let node = self.town.devices[index].node;
        let secret_from = self.removed_for(&client);
        self.notes += 1;
        let word = format!("w{}", self.notes);
        let choice = self.dice.below(8);
        let which = self.dice.any();
        let mut note = String::new();
        let done = as_node(node, || -> Result<String, ClientError> {
            let known = Dice::new(which).pick(&Self::note_ids(&client)).cloned();
            note = known.clone().unwrap_or_default();
            match (choice, known) {
                (0..=3, Some(id)) => {
                    client.note_splice(&id, 0, 0, &format!("{word} "))?;
                    Ok(format!("adds {word} to {}", &id[..6]))
                }
                (4, Some(id)) => {
                    client.note_trash(&id, which.is_multiple_of(2))?;
                    client.note_splice(&id, 0, 0, &format!("{word} "))?;
                    Ok(format!("trashes {} and adds {word}", &id[..6]))
                }
                (5, Some(id)) => {
                    client.note_tag(&id, &word, true)?;
                    client.note_set_title(&id, &format!("title {word}"))?;
                    client.note_splice(&id, 0, 0, &format!("{word} "))?;
                    Ok(format!("tags, names {} and adds {word}", &id[..6]))
                }
                _ => {
                    let draft =
                        NoteDraft { title: word.clone(), markdown: format!("{word} \n"), ..NoteDraft::default() };
                    let id = client.note_create(draft)?.to_string();
                    note.clone_from(&id);
                    Ok(format!("makes {} with {word}", &id[..6]))
                }
            }
        });
        let may_be_lost = done.is_err() || world().device(node, |life| life.dead);
        let at_ms = world().elapsed_ms();
        let line = done.unwrap_or_else(|error| format!("cannot edit: {error}"));
        self.tell(format!("{} {line}{}", DEVICES[index], if may_be_lost { " (unsure)" } else { "" }));
        self.count(if may_be_lost { "edit unsure" } else { "edit acknowledged" });
        self.ledger.push(Entry { word, note, author: index, at_ms, may_be_lost, kept_by: None, secret_from });
    }

    /// The notes of a device outside the trash, sorted.
    pub(super) fn note_ids(client: &Client) -> Vec<String> {
        let all = client.notes(NoteFilter { limit: u32::MAX, ..NoteFilter::default() }).unwrap_or_default();
        let mut ids: Vec<String> = all.into_iter().map(|note| note.id).collect();
        ids.sort();
        ids
    }

    /// Whether anybody has tried to erase a note: what it said may be gone.
    pub(super) fn is_erased(&self, note: &str) -> bool {
        self.erased.iter().any(|erased| erased.note == note)
    }

    fn erase(&mut self, index: usize) {
        let (which, history_only) = (self.dice.any(), self.dice.one_in(4));
        let Some(client) = self.client(index) else { return };
        let node = self.town.devices[index].node;
        let Some(note) = Dice::new(which).pick(&Self::note_ids(&client)).cloned() else { return };
        let done = as_node(node, || client.note_erase(&note, ErasePlan { history_only, at_once: true }));
        let may_be_lost = done.is_err() || world().device(node, |life| life.dead);
        let said = done.map_or_else(|error| format!("not: {error}"), |status| status.state);
        self.tell(format!("{} erases {} (its history alone: {history_only}): {said}", DEVICES[index], &note[..6]));
        self.count(if may_be_lost { "erasure unsure" } else { "note erased" });
        let at_ms = world().elapsed_ms();
        self.erased.push(Erased { note, author: index, at_ms, history_only, may_be_lost });
    }

    fn attach(&mut self, index: usize) {
        let which = self.dice.any();
        let Some(client) = self.client(index) else { return };
        let node = self.town.devices[index].node;
        let Some(note) = Dice::new(which).pick(&Self::note_ids(&client)).cloned() else { return };
        let mut dice = Dice::new(which);
        let content: Vec<u8> = (0..1 + dice.below(3_000)).map(|_| dice.any().to_le_bytes()[0]).collect();
        let file = self.town.dir.join("attached.bin");
        std::fs::write(&file, &content).expect("a file");
        let done = as_node(node, || client.note_attach(&note, &file, None, &mut |_| {}));
        let may_be_lost = done.is_err() || world().device(node, |life| life.dead);
        let (said, hash) = match done {
            Ok(attached) => (format!("attaches {}", &attached.hash[..6]), attached.hash),
            Err(error) => (format!("cannot attach: {error}"), String::new()),
        };
        self.tell(format!("{} {said} to {}{}", DEVICES[index], &note[..6], if may_be_lost { " (unsure)" } else { "" }));
        self.count(if may_be_lost { "attachment unsure" } else { "file attached" });
        let at_ms = world().elapsed_ms();
        self.files.push(File { note, hash, content, author: index, at_ms, may_be_lost });
    }

    /// Begins an operation that a device does over the network; what comes of it is told when it ends.
    fn over_the_network<F>(&mut self, index: usize, what: &'static str, act: impl FnOnce(Client) -> F)
    where
        F: Future<Output = Result<String, ClientError>> + Send + 'static,
    {
        let Some(client) = self.client(index) else { return };
        self.tell(format!("{} {what} …", DEVICES[index]));
        self.count(what);
        let (said, busy, doing) = (Arc::clone(&self.said), Arc::clone(&self.busy), act(client));
        let task = async move {
            let ended = match timeout(OPERATION_MAX, doing).await {
                Ok(Ok(done)) => done,
                Ok(Err(error)) => format!("fails: {error}"),
                Err(_) => "is given up".to_owned(),
            };
            busy.lock().expect("whole").remove(&index);
            said.lock().expect("whole").push(format!("… {} {what}: {ended}", DEVICES[index]));
        };
        drop(as_node(self.town.devices[index].node, || spawn_in_node(task)));
    }

    fn remove(&mut self, index: usize) {
        let other = self.below(DEVICES.len());
        let of_all = self.dice.one_in(3);
        let key = self.keys[other];
        if of_all {
            self.over_the_network(index, "removes a member", move |client| async move {
                let member = client.membership().devices.get(&key).map(|device| device.member.to_string());
                let report = client.member_remove(&member.unwrap_or_default(), RemoveReason::Lost).await?;
                Ok(format!("{other}: {} devices", report.devices.len()))
            });
        } else {
            self.over_the_network(index, "removes a device", move |client| async move {
                let report = client.device_remove_here(&key.to_string(), RemoveReason::Compromised).await?;
                Ok(format!("{other}: told {}", report.told_relay))
            });
        }
    }

    fn copy_home(&mut self, index: usize) {
        let copy_dir = self.town.dir.join(format!("{}-copy", DEVICES[index]));
        let _ = std::fs::remove_dir_all(&copy_dir);
        copy(&self.town.devices[index].home, &copy_dir);
        self.copied_ms[index] = Some(world().elapsed_ms());
        self.tell(format!("{} is copied", DEVICES[index]));
    }

    /// All words in the notes of a device, the trash included.
    pub(super) fn words(client: &Client) -> BTreeSet<String> {
        let mut words = BTreeSet::new();
        for trashed in [false, true] {
            let filter = NoteFilter { limit: u32::MAX, trashed, ..NoteFilter::default() };
            for note in client.notes(filter).unwrap_or_default() {
                let text = client.note(&note.id).map(|note| note.markdown).unwrap_or_default();
                words.extend(text.split_whitespace().map(str::to_owned));
            }
        }
        words
    }

    async fn restore_home(&mut self, index: usize) {
        let Some(copied_ms) = self.copied_ms[index] else { return };
        self.town.crash(index).await;
        let copy_dir = self.town.dir.join(format!("{}-copy", DEVICES[index]));
        Town::put_back(&copy_dir, &self.town.devices[index].home);
        self.tell(format!("{} is put back from its copy", DEVICES[index]));
        self.count("home restored");
        self.was_restored[index] = true;
        // What it wrote since then is only as safe as the others make it.
        let others: Vec<(usize, BTreeSet<String>)> =
            (0..DEVICES.len()).filter_map(|other| Some((other, Self::words(&self.client(other)?)))).collect();
        for entry in &mut self.ledger {
            let keepers = others.iter().filter(|(_, words)| words.contains(&entry.word)).map(|(other, _)| *other);
            let keepers: BTreeSet<usize> = keepers.collect();
            let is_gone_here = entry.author == index && entry.at_ms >= copied_ms;
            entry.may_be_lost |= keepers.is_empty() && (entry.author != index || is_gone_here);
            if is_gone_here {
                entry.kept_by = Some(keepers);
            }
        }
        for file in self.files.iter_mut().filter(|file| file.author == index) {
            file.may_be_lost |= file.at_ms >= copied_ms;
        }
        for erased in self.erased.iter_mut().filter(|erased| erased.author == index) {
            erased.may_be_lost |= erased.at_ms >= copied_ms;
        }
    }
}
