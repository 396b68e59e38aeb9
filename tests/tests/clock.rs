//! Devices whose clock stands at 1970 or 2100, through the real program and a relay whose clock is right: nothing is
//! lost, keys are not made over and over, and whoever admits judges an invitation by their own clock.
//!
//! The clock is moved for single runs of the program by a shim in C before its libc.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use lifeos_tests::process::{Relay, free_port, program};
use serde_json::Value;

/// Seconds UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    Right,
    /// Begins at this moment whenever a program starts.
    At(i64),
}

/// A minute after the beginning of time as computers have it.
const IN_1970: Clock = Clock::At(60);
const IN_2100: Clock = Clock::At(4_102_444_800);

impl Clock {
    fn offset_s(self) -> i64 {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        match self {
            Self::Right => 0,
            Self::At(at_s) => at_s - i64::try_from(now_s).unwrap(),
        }
    }
}

/// The shim, compiled once.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/clock.c");
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clock.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&made).arg(source);
        assert!(compiler.status().expect("cc links Rust programs, too").success());
        made
    })
}

struct Desk {
    folder: tempfile::TempDir,
    relay: Relay,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let relay = Relay::start(&folder.path().join("relay"), free_port(), None).unwrap();
        Self { folder, relay }
    }

    fn command(&self, clock: Clock, home: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program("lifeos"));
        command.arg("--home").arg(self.folder.path().join(home)).args(args).env("NO_COLOR", "1");
        command.env("LD_PRELOAD", shim()).env("CLOCK_OFFSET_S", clock.offset_s().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, clock: Clock, home: &str, args: &[&str]) -> Output {
        let output = self.command(clock, home, args).output().expect("lifeos is built: cargo build -p lifeos-cli");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{args:?} {clock:?}: {errors}");
        output
    }

    fn ok(&self, clock: Clock, home: &str, args: &[&str]) -> String {
        let output = self.run(clock, home, args);
        assert!(output.status.success(), "{args:?} {clock:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn json(&self, clock: Clock, home: &str, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(clock, home, &[args, &["--json"]].concat())).unwrap()
    }

    /// The command fails with a message that holds `word`.
    fn refused(&self, clock: Clock, home: &str, args: &[&str], word: &str) {
        let output = self.run(clock, home, args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?} {clock:?}: {errors}");
        assert!(errors.contains(word), "no `{word}` in: {errors}");
    }

    fn init(&self, clock: Clock, home: &str) {
        self.ok(clock, home, &["init", "--name", home, "--person", home, "--relay", &self.relay.url]);
    }

    fn sync(&self, clock: Clock, home: &str) {
        self.ok(clock, home, &["sync"]);
    }

    fn generation(&self, home: &str) -> u64 {
        self.json(Clock::Right, home, &["epoch", "show"])["generation"].as_u64().unwrap()
    }

    fn titles(&self, home: &str) -> Vec<String> {
        let notes = self.json(Clock::Right, home, &["note", "list"]);
        let titles = notes["notes"].as_array().unwrap().iter().map(|note| note["title"].as_str().unwrap().to_owned());
        let mut titles: Vec<_> = titles.collect();
        titles.sort();
        titles
    }

    /// `new` becomes a device of `old`'s person; each has a clock of its own.
    fn link(&self, (old_clock, old): (Clock, &str), (new_clock, new): (Clock, &str)) {
        let args = ["link", "new", "--relay", &self.relay.url, "--name", new, "--json"];
        let mut linking = self.command(new_clock, new, &args).spawn().unwrap();
        let mut lines = BufReader::new(linking.stdout.take().unwrap()).lines();
        let mut said = |field: &str| {
            let line: Value = serde_json::from_str(&lines.next().expect(field).unwrap()).unwrap();
            line[field].as_str().unwrap_or_else(|| panic!("no {field} in {line}")).to_owned()
        };
        let link = said("link");
        let mut approve = self.command(old_clock, old, &["link", "approve", &link, "--json"]);
        let mut approve = approve.stdin(Stdio::piped()).spawn().unwrap();
        let code = said("code");
        writeln!(approve.stdin.take().unwrap(), "{code}").unwrap();
        let approved = approve.wait_with_output().unwrap();
        assert!(approved.status.success(), "{}", String::from_utf8_lossy(&approved.stderr));
        said("device");
        assert!(linking.wait().unwrap().success());
    }
}

#[test]
fn the_shim_moves_the_clock_of_the_program() {
    let desk = Desk::new();
    for (clock, year) in [(IN_1970, "1970-"), (Clock::Right, "20"), (IN_2100, "2100-")] {
        desk.init(clock, year);
        desk.ok(clock, year, &["note", "add", "--title", "dated"]);
        desk.sync(clock, year);
        let listed = desk.ok(clock, year, &["note", "list"]);
        assert!(listed.contains(&format!("  {year}")), "{clock:?}: {listed}");
        let status = desk.ok(clock, year, &["status"]);
        assert!(status.contains(&format!("synced {year}")), "{clock:?}: {status}");
    }
}

/// What a person does with two devices, the clock of one of them wrong for a while.
fn a_wrong_clock_loses_nothing(wrong: Clock) {
    let desk = Desk::new();
    desk.init(Clock::Right, "laptop");
    let add = |clock: Clock, home: &str, title: &str| drop(desk.ok(clock, home, &["note", "add", "--title", title]));
    add(Clock::Right, "laptop", "a before");
    desk.sync(Clock::Right, "laptop");
    desk.link((Clock::Right, "laptop"), (wrong, "phone"));
    desk.link((wrong, "laptop"), (Clock::Right, "tablet"));
    let homes = ["laptop", "phone", "tablet"];

    // The clock is wrong: as many keys as may be due after years, no more, however often it syncs.
    let before = desk.generation("laptop");
    add(wrong, "laptop", "b wrong on the laptop");
    add(wrong, "phone", "c wrong on the phone");
    for _ in 0..2 {
        homes.iter().for_each(|home| desk.sync(wrong, home));
    }
    let settled = desk.generation("laptop");
    assert!(settled <= before + 3, "{before} keys became {settled}");
    for _ in 0..2 {
        homes.iter().for_each(|home| desk.sync(wrong, home));
    }
    assert_eq!(desk.generation("laptop"), settled, "a storm of keys");
    assert_eq!(desk.json(wrong, "laptop", &["epoch", "rotate"])["generation"], settled + 1);
    homes.iter().for_each(|home| desk.sync(wrong, home));
    assert_eq!(desk.titles("tablet"), ["a before", "b wrong on the laptop", "c wrong on the phone"]);

    // The clock is right again; an edit of today goes on where one of the wrong time was.
    add(Clock::Right, "phone", "d after");
    for _ in 0..2 {
        homes.iter().for_each(|home| desk.sync(Clock::Right, home));
    }
    let settled = desk.generation("laptop");
    for _ in 0..2 {
        homes.iter().for_each(|home| desk.sync(Clock::Right, home));
    }
    assert_eq!(desk.generation("laptop"), settled, "a storm of keys once the clock is right");
    let code = |home: &str| desk.json(Clock::Right, home, &["status"])["state_code"].clone();
    for home in homes {
        assert_eq!(desk.titles(home), ["a before", "b wrong on the laptop", "c wrong on the phone", "d after"]);
        let status = desk.json(Clock::Right, home, &["status"]);
        for empty in ["alarms", "warnings", "missing", "quarantine"] {
            assert_eq!(status[empty].as_array().map(Vec::len), Some(0), "{home}: {empty}: {status}");
        }
        assert_eq!((&status["changes_pending"], &status["envelopes_unsent"]), (&0.into(), &0.into()), "{home}");
        assert_eq!(code(home), code("laptop"), "{home} holds something else");
        desk.ok(Clock::Right, home, &["doctor"]);
    }
}

#[test]
fn with_a_clock_at_1970_nothing_is_lost_and_keys_are_made_once() {
    a_wrong_clock_loses_nothing(IN_1970);
}

#[test]
fn with_a_clock_at_2100_nothing_is_lost_and_keys_are_made_once() {
    a_wrong_clock_loses_nothing(IN_2100);
}

/// Ana with a shared space and a link into it that ends in two hours of `clock`.
fn invited(clock: Clock) -> (Desk, String) {
    let desk = Desk::new();
    desk.init(Clock::Right, "ana");
    desk.json(Clock::Right, "ana", &["space", "new", "Family"]);
    desk.json(Clock::Right, "ana", &["space", "use", "Family"]);
    desk.ok(Clock::Right, "ana", &["note", "add", "--title", "recipe"]);
    desk.sync(Clock::Right, "ana");
    let link = desk.json(clock, "ana", &["invite", "new", "--hours", "2"])["link"].as_str().unwrap().to_owned();
    (desk, link)
}

fn request(desk: &Desk) -> String {
    desk.json(Clock::Right, "ana", &["invite", "list"])["requests"][0]["id"].as_str().unwrap()[..8].to_owned()
}

#[test]
fn who_admits_judges_an_invitation_by_their_own_clock_however_wrong_it_is() {
    let (desk, link) = invited(Clock::Right);
    // The joiner's clock is wrong from the start: what they ask is signed all the same.
    desk.init(IN_1970, "ben");
    desk.refused(IN_2100, "ben", &["join", &link], "expired");
    assert_eq!(desk.json(IN_1970, "ben", &["join", &link])["state"], "waiting");
    let request = request(&desk);
    desk.refused(IN_2100, "ana", &["invite", "approve", &request], "expired");
    desk.ok(IN_1970, "ana", &["invite", "approve", &request]);
    desk.sync(IN_2100, "ben");
    desk.ok(Clock::Right, "ben", &["space", "use", "Family"]);
    desk.sync(Clock::Right, "ben");
    assert_eq!(desk.titles("ben"), ["recipe"]);
}

#[test]
fn an_invitation_made_at_1970_is_over_and_one_made_at_2100_ends_when_it_says() {
    let (desk, link) = invited(IN_1970);
    desk.init(Clock::Right, "ben");
    desk.refused(Clock::Right, "ben", &["join", &link], "expired");
    let listed = desk.ok(Clock::Right, "ana", &["invite", "list"]);
    assert!(listed.contains("expired") && listed.contains("ends 1970-01-01 02:0"), "{listed}");

    let (desk, link) = invited(IN_2100);
    desk.init(Clock::Right, "ben");
    let listed = desk.ok(Clock::Right, "ana", &["invite", "list"]);
    assert!(listed.contains("ends 2100-01-01 02:0"), "{listed}");
    assert_eq!(desk.json(Clock::Right, "ben", &["join", &link])["state"], "waiting");
    desk.ok(Clock::Right, "ana", &["invite", "approve", &request(&desk)]);
    desk.sync(Clock::Right, "ben");
    desk.ok(Clock::Right, "ben", &["space", "use", "Family"]);
    desk.sync(Clock::Right, "ben");
    assert_eq!(desk.titles("ben"), ["recipe"]);
}
