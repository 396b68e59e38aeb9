//! Who is here, and what has not come yet, between devices that are processes of their own.

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use serde_json::{Value, json};

use super::{Desk, Relay, contract, failure, link, text};

fn pair(relay: &Relay) -> (Desk, String) {
    let desk = Desk::new();
    desk.init("laptop", Some(&relay.url()));
    let note = desk.add("laptop", "Plan", "one two three");
    desk.json("laptop", &["sync"]);
    assert!(link(&desk, "laptop", "phone", &relay.url(), 0).status.success());
    (desk, note)
}

/// Killed when the test ends, however it ends.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_is_here_is_shown_to_who_shows_themselves_and_to_nobody_else() {
    let relay = Relay::start();
    let (desk, _) = pair(&relay);
    assert_eq!(desk.json("laptop", &["who", "--for", "1"]), json!({"here": []}));
    assert!(text(&desk.run("laptop", &["who", "--for", "1"]).stdout).contains("Nobody else is here"));

    let mut watching = Watching(desk.command("phone", &["who", "--watch", "--json"]).spawn().unwrap());
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines().map(|line| {
        let told: Value = serde_json::from_str(&line.unwrap()).unwrap();
        contract::hold(&["who"], &told);
        told["here"].as_array().unwrap().iter().map(|one| one["device_name"].as_str().unwrap().to_owned()).collect()
    });
    let mut next = || -> Vec<String> { lines.next().expect("it goes on") };
    assert_eq!(next(), Vec::<String>::new());

    // Both see each other, and a goodbye is told at once.
    let here = desk.json("laptop", &["who", "--for", "5"])["here"].clone();
    assert_eq!((here[0]["device_name"].clone(), here[0]["idle"].clone()), (json!("phone"), json!(false)));
    assert_eq!(next(), ["laptop"]);
    assert_eq!(next(), Vec::<String>::new());
    let page = text(&desk.run("laptop", &["who", "--for", "5"]).stdout);
    assert!(page.contains("phone") && page.contains("here"), "{page}");

    // A home that syncs already, or reaches nobody, says so.
    let (kind, message, code) = failure(&desk.run("phone", &["who", "--json"]));
    assert_eq!((kind.as_str(), code), ("network", Some(1)), "{message}");
    assert!(message.contains("being synced already"), "{message}");
}

#[test]
fn a_note_that_has_not_come_yet_is_waited_for_and_what_keeps_it_is_told() {
    let relay = Relay::start();
    let (desk, note) = pair(&relay);
    let (kind, ..) = failure(&desk.run("phone", &["note", "show", &note, "--json"]));
    assert_eq!(kind, "not_found");
    let shown = desk.json("phone", &["note", "show", &note, "--wait"]);
    assert_eq!((shown["title"].clone(), shown["id"].clone()), (json!("Plan"), json!(note)));
    assert_eq!(desk.json("phone", &["note", "show", &note, "--wait", "5"]), shown, "it is here");

    let wait = |id: &str| failure(&desk.run("phone", &["note", "show", id, "--wait", "5", "--json"]));
    assert_eq!(wait("0f0f0f").0, "invalid");
    assert_eq!(wait(&"0f".repeat(16)).0, "not_found");
    drop(relay);
    let (kind, message, _) = wait(&"0f".repeat(16));
    assert_eq!(kind, "network", "{message}");
}
