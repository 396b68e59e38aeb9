//! Crash points: a process dies by SIGKILL at a system call drawn at random; what it had acknowledged (a ledger
//! kept outside the system) must be there afterwards, once, and sync must go on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lifeos_client_core::client::{Client, InitOptions, NoteFilter};

use crate::process::{Relay, free_port, worker};

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The device that writes.
    Writer,
    /// The device that receives.
    Reader,
    /// The relay.
    Relay,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Tally {
    /// Processes that died by the injected signal.
    pub injected: u32,
    /// Runs in which the drawn call was never reached.
    pub missed: u32,
    /// Notes acknowledged by the writer.
    pub acknowledged: usize,
    /// Notes whose sync was acknowledged.
    pub synced: usize,
}

/// Notes by title with what the ledger says of them.
type Ledger = BTreeMap<String, Acknowledged>;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Acknowledged {
    edited: bool,
    synced: bool,
}

/// A small deterministic generator, so that a seed names a run.
pub struct Draw(u64);

impl Draw {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number in `1..=max`.
    pub fn up_to(&mut self, max: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(max.max(1))).unwrap_or(0) + 1
    }
}

/// Two linked devices and one relay's folder.
pub struct World {
    folder: tempfile::TempDir,
    port: u16,
    url: String,
}

impl World {
    /// Makes a relay, a device, and a second one linked with the real protocol.
    ///
    /// # Panics
    /// When anything of that fails: then there is nothing to test.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let relay = Relay::start(&folder.path().join("relay"), port, None).expect("the relay starts");
        let world = Self { url: relay.url.clone(), folder, port };
        let options =
            InitOptions { device_name: "writer".into(), person_name: "tester".into(), relay: Some(world.url.clone()) };
        let (writer, _phrase) = Client::create(&world.home("writer"), options).expect("a home");
        tokio::runtime::Runtime::new().expect("a runtime").block_on(link(&writer, &world.home("reader"), &world.url));
        world
    }

    fn home(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn relay(&self, kill_at: Option<u32>) -> Option<Relay> {
        Relay::start(&self.folder.path().join("relay"), self.port, kill_at)
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

async fn link(existing: &Client, new_home: &Path, url: &str) {
    existing.sync(&mut |_| {}).await.expect("the first sync");
    let mut new = Client::link_new(new_home, url, "reader").await.expect("a link");
    // Both ends must be at it: the offer is answered while the code is waited for.
    let link = new.link().to_owned();
    let (approve, code) = tokio::join!(existing.link_approve(&link), new.code());
    let (mut approve, code) = (approve.expect("the link is answered"), code.expect("a code"));
    assert_eq!(approve.enter_code(&code).await.expect("the code is taken"), None, "the right code was refused");
    let client = new.finish().await.expect("the device is enrolled");
    client.sync(&mut |_| {}).await.expect("the new device syncs");
}

/// Kills `victim` until `points` signals have been injected.
///
/// # Panics
/// When something acknowledged is lost or doubled, when sync does not resume, or when nothing could be injected.
#[must_use]
pub fn run(world: &World, victim: Victim, points: u32, seed: u64) -> Tally {
    let mut draw = Draw::new(seed);
    let mut tally = Tally::default();
    let mut ledger = Ledger::new();
    // Grows while the drawn call is reached and shrinks when it is not: the range finds its own size.
    let mut range = 60;
    for round in 0..points * 4 {
        if tally.injected == points {
            break;
        }
        let nth = draw.up_to(range);
        let prefix = format!("{victim:?}-{seed}-{round}");
        let hit = match victim {
            Victim::Writer => kill_writer(world, nth, &prefix, &mut ledger),
            Victim::Reader => kill_reader(world, nth, &prefix, &mut ledger),
            Victim::Relay => kill_relay(world, nth, &prefix, &mut ledger),
        };
        if hit {
            tally.injected += 1;
            range = (range + 8).min(2_000);
        } else {
            tally.missed += 1;
            range = (range * 3 / 4).max(10);
        }
    }
    settle(world, &ledger);
    tally.acknowledged = ledger.len();
    tally.synced = ledger.values().filter(|note| note.synced).count();
    assert!(tally.injected > 0, "no crash was injected: the check checked nothing (is strace allowed here?)");
    assert!(tally.acknowledged > 0, "nothing was acknowledged: the check checked nothing");
    tally
}

fn kill_writer(world: &World, nth: u32, prefix: &str, ledger: &mut Ledger) -> bool {
    let _relay = world.relay(None).expect("the relay starts");
    let home = world.home("writer");
    let said = worker(&["edit-sync", &home.to_string_lossy(), "3", prefix], Some(nth));
    note(&said.lines, ledger);
    expect_notes(&home, ledger, |_| true);
    let after = worker(&["sync", &home.to_string_lossy()], None);
    assert!(after.ok, "sync did not resume after call {nth} of {prefix}");
    said.killed
}

fn kill_reader(world: &World, nth: u32, prefix: &str, ledger: &mut Ledger) -> bool {
    let _relay = world.relay(None).expect("the relay starts");
    let said = worker(&["edit-sync", &world.home("writer").to_string_lossy(), "3", prefix], None);
    assert!(said.ok, "the writer works while nobody kills it");
    note(&said.lines, ledger);
    let home = world.home("reader");
    let killed = worker(&["sync", &home.to_string_lossy()], Some(nth)).killed;
    let after = worker(&["sync", &home.to_string_lossy()], None);
    assert!(after.ok, "sync did not resume after call {nth} of {prefix}");
    expect_notes(&home, ledger, |note| note.synced);
    killed
}

fn kill_relay(world: &World, nth: u32, prefix: &str, ledger: &mut Ledger) -> bool {
    let mut died = true;
    if let Some(mut relay) = world.relay(Some(nth)) {
        let said = worker(&["edit-sync", &world.home("writer").to_string_lossy(), "6", prefix], None);
        note(&said.lines, ledger);
        died = relay.died();
    }
    let _relay = world.relay(None).expect("the relay starts again on what the dead one left");
    // The reader comes first: what the relay acknowledged must come from the relay, not from the writer again.
    let home = world.home("reader");
    let after = worker(&["sync", &home.to_string_lossy()], None);
    assert!(after.ok, "sync did not resume after call {nth} of {prefix}");
    expect_notes(&home, ledger, |note| note.synced);
    died
}

fn note(lines: &[String], ledger: &mut Ledger) {
    for line in lines {
        let Some((word, title)) = line.split_once(' ') else { continue };
        let entry = ledger.entry(title.to_owned()).or_default();
        match word {
            "EDITED" => entry.edited = true,
            "SYNCED" => entry.synced = true,
            _ => {}
        }
    }
}

/// Every note of the ledger that `wanted` picks is in the home exactly once, with the text that was acknowledged.
fn expect_notes(home: &Path, ledger: &Ledger, wanted: impl Fn(&Acknowledged) -> bool) {
    let client = Client::open(home).expect("the home opens after the crash");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for offset in (0_u32..).step_by(500) {
        let page = client.notes(NoteFilter { limit: 500, offset, ..NoteFilter::default() }).expect("a list");
        let full = page.len() == 500;
        page.into_iter().for_each(|note| found.entry(note.title).or_default().push(note.id));
        if !full {
            break;
        }
    }
    for (title, ids) in &found {
        assert_eq!(ids.len(), 1, "{title} is there {} times", ids.len());
    }
    for (title, acknowledged) in ledger.iter().filter(|(_, acknowledged)| wanted(acknowledged)) {
        let id = found.get(title).unwrap_or_else(|| panic!("{title} was acknowledged and is lost"));
        let text = client.note(&id[0]).expect("a note").markdown;
        assert!(text.contains(&format!("first line of {title}")), "{title} lost its body");
        let second = format!("second line of {title}");
        assert!(!acknowledged.edited || text.contains(&second), "{title} lost an acknowledged edit");
        assert!(text.matches(&second).count() < 2, "{title} holds an edit twice");
    }
}

/// With nobody killed any more both devices end with the same documents and the same rows.
fn settle(world: &World, ledger: &Ledger) {
    let _relay = world.relay(None).expect("the relay starts");
    for name in ["writer", "reader", "writer"] {
        assert!(worker(&["sync", &world.home(name).to_string_lossy()], None).ok, "{name} syncs");
    }
    let open = |name: &str| Client::open(&world.home(name)).expect("the home opens");
    let (writer, reader) = (open("writer"), open("reader"));
    assert_eq!(writer.heads().expect("heads"), reader.heads().expect("heads"), "documents differ");
    assert_eq!(writer.projection_digest().expect("digest"), reader.projection_digest().expect("digest"), "rows differ");
    drop((writer, reader));
    expect_notes(&world.home("reader"), ledger, |_| true);
}
