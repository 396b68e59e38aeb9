//! Devices and people who go, keys that are made anew, and words: what scripts and people are told.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{Desk, Relay, contract, failure, link, text};

/// What people read: stdout of a command that succeeds without `--json`.
fn shown(desk: &Desk, home: &str, args: &[&str]) -> String {
    let output = desk.run(home, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn linked(desk: &Desk, relay: &Relay, new: &str) {
    let output = link(desk, "laptop", new, &relay.url(), 0);
    assert!(output.status.success(), "{}", text(&output.stderr));
    desk.json(new, &["sync"]);
    desk.json("laptop", &["sync"]);
}

/// What a removal does, and what no program can do.
fn is_honest_about_a_removal(page: &str, name: &str) {
    assert!(page.starts_with(&format!("{name} is removed.\n")), "{page}");
    assert!(page.contains("Not readable there any more: whatever is written from now on."), "{page}");
    assert!(
        page.contains("Still there: everything it had received until now. No program can take that back."),
        "{page}"
    );
}

#[test]
fn removing_a_device_says_what_it_keeps_and_what_it_wrote_last_can_be_taken_in() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&relay.url()));
    desk.json("laptop", &["sync"]);
    for name in ["phone", "tablet", "watch"] {
        linked(&desk, &relay, name);
    }
    let generation = || desk.json("laptop", &["epoch", "show"])["generation"].as_u64().unwrap();
    let before = generation();
    is_honest_about_a_removal(&shown(&desk, "laptop", &["device", "remove", "watch", "--reason", "replaced"]), "watch");
    assert_eq!(generation(), before + 1, "a removal makes a new key");
    let keeps = shown(&desk, "laptop", &["device", "remove", "--help"]);
    assert!(keeps.contains("What the device holds already, it keeps"), "{keeps}");

    // The phone writes while the laptop removes it without reaching the relay.
    desk.json("laptop", &["relay", "set", "ws://127.0.0.1:9"]);
    let removed = desk.json("laptop", &["device", "remove", "phone", "--reason", "compromised"]);
    assert_eq!(
        (&removed["name"], &removed["new_key"], &removed["told_relay"]),
        (&json!("phone"), &json!(true), &json!(false))
    );
    assert!(removed["untold"].is_string());
    desk.add("phone", "Too late", "written last");
    desk.json("phone", &["sync"]);
    desk.json("laptop", &["relay", "set", &relay.url()]);
    desk.json("laptop", &["sync"]);
    let (_, message, code) = failure(&desk.run("phone", &["sync", "--json"]));
    assert!(code == Some(1) && message.contains("removed"), "{message}");

    let aside = desk.json("laptop", &["status"])["quarantine"].clone();
    assert_eq!((aside.as_array().unwrap().len(), &aside[0]["device"]), (1, &json!("phone")), "{aside}");
    let envelope = aside[0]["envelope"].as_str().unwrap().to_owned();
    assert_eq!(desk.json("laptop", &["device", "adopt", &envelope[..8]])["documents_changed"], 1);
    desk.json("laptop", &["sync"]);
    desk.json("tablet", &["sync"]);
    assert_eq!(desk.json("tablet", &["note", "list"])["notes"][0]["title"], "Too late");
    let (kind, _, code) = failure(&desk.run("laptop", &["device", "adopt", &envelope[..8], "--json"]));
    assert_eq!((kind.as_str(), code), ("not_found", Some(1)), "taken in once");
}

#[test]
fn a_removal_that_the_relay_does_not_know_of_says_so() {
    let desk = Desk::new();
    desk.init("laptop", Some("ws://127.0.0.1:9"));
    let rotated = desk.json("laptop", &["epoch", "rotate"]);
    assert_eq!((&rotated["told_relay"], rotated["untold"].is_string()), (&json!(false), true));
    let page = shown(&desk, "laptop", &["epoch", "rotate"]);
    assert!(
        page.contains("is made.") && page.contains("does not know of it yet") && page.contains("lifeos sync"),
        "{page}"
    );
}

#[test]
fn the_key_is_shown_and_made_anew() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&relay.url()));
    desk.json("laptop", &["sync"]);
    let before = desk.json("laptop", &["epoch", "show"]);
    assert_eq!(
        (&before["may_write"], &before["role"], &before["held"]),
        (&json!(true), &json!("owner"), &before["known"])
    );
    let rotated = desk.json("laptop", &["epoch", "rotate"]);
    assert_eq!(rotated["generation"].as_u64(), before["generation"].as_u64().map(|generation| generation + 1));
    assert_eq!((&rotated["told_relay"], &rotated["untold"]), (&json!(true), &Value::Null));
    let page = shown(&desk, "laptop", &["epoch", "show"]);
    let (generation, held) = (rotated["generation"].to_string(), before["held"].as_u64().unwrap() + 1);
    for row in
        [format!("Generation  {generation}"), format!("Held        {held} of {held}"), "Role        owner".into()]
    {
        assert!(page.contains(&row), "no `{row}` in {page}");
    }
}

#[test]
fn a_role_and_a_removal_of_somebody_are_told_honestly() {
    let (desk, relay) = (Desk::new(), Relay::start());
    let people = ["ana", "ben", "cleo"];
    people.iter().for_each(|home| drop(desk.init(home, Some(&relay.url()))));
    desk.json("ana", &["space", "new", "Family"]);
    desk.json("ana", &["space", "use", "Family"]);
    desk.json("ana", &["sync"]);
    for (home, name) in [("ben", "Ben"), ("cleo", "Cleo")] {
        let link = desk.json("ana", &["invite", "new"])["link"].as_str().unwrap().to_owned();
        desk.json(home, &["join", &link, "--name", name]);
        let request = desk.json("ana", &["invite", "list"])["requests"][0]["id"].as_str().unwrap().to_owned();
        desk.json("ana", &["invite", "approve", &request[..8]]);
        desk.json(home, &["sync"]);
        desk.json(home, &["space", "use", "Family"]);
    }
    desk.json("ana", &["sync"]);
    let role = desk.json("ana", &["member", "role", "Ben", "reader"]);
    assert_eq!(
        (&role["name"], &role["new_key"], role["devices"].as_array().unwrap().len()),
        (&json!("Ben"), &json!(true), 0)
    );
    desk.json("ben", &["sync"]);
    assert_eq!(desk.json("ben", &["epoch", "show"])["role"], "reader");
    let page = shown(&desk, "ana", &["member", "role", "Ben", "editor"]);
    assert!(page.starts_with("Ben has the new role.") && !page.contains("new key"), "{page}");
    // Who gives up a role makes no key behind it: whoever may write does, and nothing waits for that.
    desk.json("ben", &["sync"]);
    let members = desk.json("ben", &["member", "list"])["members"].clone();
    let own = members.as_array().unwrap().iter().find(|member| member["this"] == json!(true)).unwrap();
    let page = shown(&desk, "ben", &["member", "role", own["member"].as_str().unwrap(), "reader"]);
    assert!(page.contains("not made yet: the next sync of a device that may write makes it."), "{page}");
    assert!(!page.contains("is sent"), "{page}");
    let generation = || desk.json("ana", &["epoch", "show"])["generation"].as_u64().unwrap();
    let before = generation();
    desk.json("ana", &["sync"]);
    assert_eq!(generation(), before + 1);

    let removed = desk.json("ana", &["member", "remove", "Cleo"]);
    assert_eq!((&removed["name"], &removed["told_relay"]), (&json!("Cleo"), &json!(true)));
    assert_eq!(removed["devices"].as_array().unwrap().len(), 1);
    is_honest_about_a_removal(&shown(&desk, "ana", &["member", "remove", "Ben", "--reason", "left"]), "Ben");
    assert_eq!(desk.json("ana", &["member", "list"])["members"].as_array().unwrap().len(), 1);
    let (_, message, code) = failure(&desk.run("cleo", &["sync", "--json"]));
    assert!(code == Some(1) && message.contains("removed"), "{message}");
}

#[test]
fn words_are_made_anew_and_bring_everything_back_on_a_bare_machine() {
    let (desk, relay) = (Desk::new(), Relay::start());
    let old = desk.init("laptop", Some(&relay.url()))["recovery_phrase"].as_str().unwrap().to_owned();
    desk.add("laptop", "Kept", "through everything");
    desk.json("laptop", &["sync"]);
    let made = desk.json("laptop", &["recovery", "new", "--words", "24"]);
    let words = made["recovery_phrase"].as_str().unwrap().to_owned();
    assert_eq!(
        (words.split(' ').count(), &made["checked"]),
        (24, &json!(false)),
        "nobody was asked: nothing is checked"
    );
    desk.json("laptop", &["sync"]);
    let recover = |home: &str, words: &str| {
        let mut command =
            desk.command(home, &["recover", "--relay", &relay.url(), "--name", "new", "--quiet", "--json"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{words}").unwrap();
        child.wait_with_output().unwrap()
    };
    assert_eq!(failure(&recover("by the old words", &old)).2, Some(1), "they were replaced");
    let output = recover("bare", &words);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = serde_json::from_slice(&output.stdout).unwrap();
    contract::hold(&["recover"], &report);
    assert_eq!((&report["notes"], &report["devices_removed"], &report["synced"]), (&json!(1), &json!(1), &json!(true)));
    assert_eq!(desk.json("bare", &["note", "list"])["notes"][0]["title"], "Kept");
    let page = shown(&desk, "bare", &["recovery", "new"]);
    assert!(
        page.contains("The old words open no relay") && page.contains("still open what was sealed before"),
        "{page}"
    );
}

/// What a command prints that reads the words from stdin.
fn with_words(desk: &Desk, home: &str, args: &[&str], words: &str) -> std::process::Output {
    let mut child = desk.command(home, args).stdin(Stdio::piped()).spawn().unwrap();
    // A command that reads no stdin may be gone already.
    let _ = writeln!(child.stdin.take().unwrap(), "{words}");
    child.wait_with_output().unwrap()
}

fn held(desk: &Desk, home: &str, args: &[&str], words: &str) -> Value {
    let output = with_words(desk, home, &[args, &["--quiet", "--json"]].concat(), words);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    let printed = serde_json::from_slice(&output.stdout).unwrap();
    contract::hold(args, &printed);
    printed
}

#[test]
fn the_words_bring_back_a_space_that_they_cover_and_say_what_to_do_about_one_that_they_do_not() {
    let (desk, relay) = (Desk::new(), Relay::start());
    let words = desk.init("ana", Some(&relay.url()))["recovery_phrase"].as_str().unwrap().to_owned();
    let page = shown(&desk, "ana", &["space", "new", "Family"]);
    assert!(page.contains("does not bring this space back yet: run `lifeos recovery cover`"), "{page}");
    let family = desk.json("ana", &["status"])["spaces_uncovered"][0].as_str().unwrap().to_owned();
    let page = shown(&desk, "ana", &["status"]);
    assert!(page.contains("does not bring back 1 shared space: run `lifeos recovery cover`"), "{page}");
    desk.json("ana", &["note", "add", "Groceries", "--text", "milk", "--space", "Family"]);
    desk.json("ana", &["sync"]);
    desk.json("ana", &["sync", "--space", "Family"]);
    let covered = held(&desk, "ana", &["recovery", "cover"], &words);
    assert_eq!(
        (&covered["spaces"][0]["space"], &covered["spaces"][0]["outcome"]),
        (&json!(family), &json!("covered_now"))
    );
    let page = text(&with_words(&desk, "ana", &["recovery", "cover"], &words).stdout);
    assert!(page.contains("was covered"), "{page}");
    assert_eq!(desk.json("ana", &["status"])["spaces_uncovered"], json!([]));
    let club = desk.json("ana", &["space", "new", "Club"])["space"].as_str().unwrap().to_owned();
    desk.json("ana", &["sync"]);
    desk.json("ana", &["sync", "--space", "Club"]);

    let args = ["recover", "--relay", &relay.url(), "--name", "new"];
    let report = held(&desk, "bare", &args, &words);
    let outcome = |space: &str| {
        let all = report["spaces"].as_array().unwrap();
        all.iter().find(|found| found["space"] == space).unwrap()["outcome"].clone()
    };
    assert_eq!((outcome(&family), outcome(&club)), (json!("recovered"), json!("needs_owner")), "{report}");
    assert_eq!(desk.json("bare", &["note", "list", "--space", "Family"])["notes"][0]["title"], "Groceries");
    let again = with_words(&desk, "bare", &args, &words);
    let page = text(&again.stdout);
    assert!(again.status.success() && page.contains(&format!("The space {} is not back:", &club[..8])), "{page}");
    assert!(page.contains("--replaces") && page.contains(&format!("lifeos recovery forget {}", &club[..8])), "{page}");
    let page = shown(&desk, "bare", &["status"]);
    assert!(page.contains("did not come back with the others"), "{page}");
    assert_eq!(desk.json("bare", &["recovery", "forget", &club[..8]])["forgotten"], club.as_str());
    let nothing_left = with_words(&desk, "bare", &[&args[..], &["--json"]].concat(), &words);
    assert_eq!(failure(&nothing_left).0, "home", "there is a home, and nothing is left");
}

#[test]
fn commands_under_their_other_names_do_the_same() {
    let (desk, relay) = (Desk::new(), Relay::start());
    people_of(&desk, &relay);
    let link = desk.json("ana", &["member", "invite", "--space", "Family", "--role", "reader"]);
    let asked = desk.json("ben", &["member", "join", link["link"].as_str().unwrap(), "--name", "Ben"]);
    assert_eq!(asked["state"], "waiting");
    let id = desk.add("ana", "Plum cake", "flour");
    assert_eq!(desk.json("ana", &["history", &id]), desk.json("ana", &["note", "history", &id]));
    assert_eq!(desk.json("ana", &["search", "plum", "--type", "note"])["hits"][0]["id"], id.as_str());
    let (kind, message, code) = failure(&desk.run("ana", &["search", "plum", "--type", "car", "--json"]));
    assert_eq!((kind.as_str(), code), ("invalid", Some(1)));
    assert!(message.contains("does not know `car`: use note"), "{message}");
}

fn people_of(desk: &Desk, relay: &Relay) {
    desk.init("ana", Some(&relay.url()));
    desk.init("ben", Some(&relay.url()));
    desk.json("ana", &["space", "create", "Family"]);
    desk.json("ana", &["sync"]);
}
