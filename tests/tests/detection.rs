//! What a device notices about a relay that loses, changes or keeps back what it was given, through the real programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use lifeos_tests::process::{Relay, free_port, program};
use lifeos_tests::world::{copy, copy_some};
use serde_json::Value;

struct Scene {
    folder: tempfile::TempDir,
    port: u16,
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(program("lifeos"));
        command.arg("--home").arg(self.path("home")).args(args).stdin(Stdio::null()).env("NO_COLOR", "1");
        command.output().expect("lifeos is built: cargo build -p lifeos-cli")
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
fn two_devices_that_hold_the_same_show_the_same_six_digits() {
    let scene = Scene::new();
    let relay = Relay::start(&scene.path("relay"), scene.port, None).unwrap();
    scene.ok(&["sync"]);
    let before = scene.status()["state_code"].as_str().unwrap().to_owned();
    assert_eq!((before.len(), scene.status()["state_code"].as_str().unwrap()), (6, before.as_str()));
    let shown = scene.ok(&["status", "--verify"]);
    assert!(shown.starts_with(&format!("{} {}", &before[..3], &before[3..])), "{shown}");
    scene.ok(&["note", "add", "--title", "third"]);
    scene.ok(&["sync"]);
    assert_ne!(scene.status()["state_code"].as_str().unwrap(), before);
    drop(relay);
}
