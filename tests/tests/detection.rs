//! What a device notices about a relay that loses, changes or keeps back what it was given, through the real programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use lifeos_tests::process::{Relay, free_port, program};
use lifeos_tests::world::{copy, copy_some};
use serde_json::Value;

struct Scene {
    folder: tempfile::TempDir,
    port: u16,
}

/// A line of what a command streams.
fn said(lines: &mut impl Iterator<Item = std::io::Result<String>>, name: &str) -> String {
    let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    line[name].as_str().unwrap().to_owned()
}

impl Scene {
    /// A home with a note that a relay holds, and a copy of the relay's folder from before the note.
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap(), port: free_port() };
        let relay = Relay::start(&scene.path("relay"), scene.port, None).unwrap();
        scene.ok(&["init", "--name", "laptop", "--person", "tester", "--relay", &relay.url]);
        scene.ok(&["note", "add", "--title", "first"]);
        scene.ok(&["sync"]);
        drop(relay);
        copy(&scene.path("relay"), &scene.path("earlier"));
        let relay = Relay::start(&scene.path("relay"), scene.port, None).unwrap();
        scene.ok(&["note", "add", "--title", "second"]);
        scene.ok(&["sync"]);
        drop(relay);
        scene
    }

    /// A second device of the same person, in a scene without a relay of its own.
    fn linked(&self, relay: &str) -> Self {
        let phone = Self { folder: tempfile::tempdir().unwrap(), port: self.port };
        let mut new = phone.command(&["link", "new", "--relay", relay, "--name", "phone", "--json"]);
        let mut new = new.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(new.stdout.take().unwrap()).lines();
        let link = said(&mut lines, "link");
        let mut approve = self.command(&["link", "approve", &link]).stdin(Stdio::piped()).spawn().unwrap();
        writeln!(approve.stdin.take().unwrap(), "{}", said(&mut lines, "code")).unwrap();
        assert!(approve.wait().unwrap().success() && new.wait().unwrap().success());
        phone
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("lifeos"));
        command.arg("--home").arg(self.path("home")).args(args).stdin(Stdio::null()).env("NO_COLOR", "1");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("lifeos is built: cargo build -p lifeos-cli")
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--json"])).unwrap()
    }

    fn warnings(&self) -> Vec<String> {
        let status = self.status();
        status["warnings"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn a_relay_put_back_from_a_backup_is_told_of_and_gets_what_it_lost_again() {
    let scene = Scene::new();
    assert_eq!(scene.warnings(), Vec::<String>::new());
    let relay = Relay::start(&scene.path("earlier"), scene.port, None).unwrap();
    scene.ok(&["sync"]);
    assert_eq!(scene.warnings(), ["log_rolled_back"]);
    let text = scene.ok(&["status"]);
    assert!(text.contains("Warning") && text.contains("backup"), "{text}");
    scene.ok(&["status", "--dismiss"]);
    scene.ok(&["sync"]);
    assert_eq!(scene.warnings(), Vec::<String>::new(), "told once, healed once");
    assert_eq!(scene.status()["envelopes_unsent"], 0);
    drop(relay);
}

#[test]
fn a_relay_that_begins_anew_under_the_same_key_is_told_of() {
    let scene = Scene::new();
    let fresh = scene.path("fresh");
    copy_some(&scene.path("relay"), &fresh, |name| !name.contains(".db"));
    let relay = Relay::start(&fresh, scene.port, None).unwrap();
    scene.ok(&["sync"]);
    assert_eq!(scene.warnings(), ["log_replaced"]);
    drop(relay);
}

#[test]
fn a_warning_in_a_space_that_is_not_in_use_is_told_in_status_and_after_a_sync() {
    let scene = Scene::new();
    let relay = Relay::start(&scene.path("relay"), scene.port, None).unwrap();
    scene.ok(&["space", "new", "Family"]);
    scene.ok(&["note", "add", "--title", "first", "--space", "Family"]);
    scene.ok(&["sync"]);
    drop(relay);
    copy(&scene.path("relay"), &scene.path("before"));
    let relay = Relay::start(&scene.path("relay"), scene.port, None).unwrap();
    scene.ok(&["note", "add", "--title", "second", "--space", "Family"]);
    let quiet = scene.ok(&["sync"]);
    assert!(!quiet.contains("Family") && scene.status()["other_spaces"] == serde_json::json!([]), "{quiet}");
    drop(relay);
    let relay = Relay::start(&scene.path("before"), scene.port, None).unwrap();
    let said = scene.ok(&["sync"]);
    assert!(said.contains("Family") && said.contains("its relay did what it should not"), "{said}");
    assert_eq!(scene.warnings(), Vec::<String>::new(), "the home's log lost nothing");
    let told = scene.status()["other_spaces"].clone();
    assert_eq!((&told[0]["name"], &told[0]["warnings"]), (&"Family".into(), &1.into()), "{told}");
    let page = scene.ok(&["status"]);
    assert!(page.contains("Other spaces to look at") && page.contains("lifeos status --space"), "{page}");
    scene.ok(&["status", "--dismiss", "--space", "Family"]);
    assert_eq!(scene.status()["other_spaces"], serde_json::json!([]));
    drop(relay);
}

#[test]
fn two_devices_that_hold_the_same_show_the_same_six_digits() {
    let scene = Scene::new();
    let relay = Relay::start(&scene.path("relay"), scene.port, None).unwrap();
    let phone = scene.linked(&relay.url);
    let settle = || (0..2).for_each(|_| [&scene, &phone].iter().for_each(|home| drop(home.ok(&["sync"]))));
    let codes = || [&scene, &phone].map(|home| home.status()["state_code"].as_str().unwrap().to_owned());
    let equal = |when: &str| {
        let [laptop, phone] = codes();
        assert_eq!(laptop, phone, "{when}");
        laptop
    };
    let different = |when: &str| {
        let [laptop, phone] = codes();
        assert_ne!(laptop, phone, "{when}");
    };
    settle();
    let before = equal("in sync");
    let shown = phone.ok(&["status", "--verify"]);
    let space = phone.status()["space"].as_str().unwrap().to_owned();
    assert!(shown.starts_with(&format!("{} {}   home ({})", &before[..3], &before[3..], &space[..8])), "{shown}");

    // An edit that the phone has not, and then a record.
    scene.ok(&["note", "add", "--title", "third"]);
    scene.ok(&["sync"]);
    different("the phone does not know the edit");
    settle();
    let edited = equal("in sync again");
    assert_ne!(edited, before);
    scene.ok(&["epoch", "rotate"]);
    different("the phone does not know the new key");
    settle();
    assert_ne!(equal("in sync at last"), edited);
    drop(relay);
}
