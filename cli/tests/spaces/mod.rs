//! A space that is not in use: what happens there is told all the same.

use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Desk, Relay, contract, text};

/// Ana's space Family with Ben in it; both work in their homes.
fn family(desk: &Desk, relay: &Relay) {
    for name in ["ana", "ben"] {
        desk.init(name, Some(&relay.url()));
    }
    desk.json("ana", &["space", "new", "Family"]);
    desk.json("ana", &["sync"]);
    let link = desk.json("ana", &["invite", "new", "--space", "Family"]);
    desk.json("ben", &["join", link["link"].as_str().unwrap(), "--name", "Ben"]);
    let asked = desk.json("ana", &["invite", "list", "--space", "Family"])["requests"][0]["id"].clone();
    desk.json("ana", &["invite", "approve", &asked.as_str().unwrap()[..8], "--space", "Family"]);
    desk.json("ben", &["sync"]);
}

/// What people read, with the messages beside it.
fn shown(desk: &Desk, home: &str, args: &[&str]) -> String {
    let output = desk.run(home, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    text(&output.stderr) + &text(&output.stdout)
}

#[test]
fn a_closed_space_tells_everybody_where_it_goes_on_and_takes_what_is_still_written() {
    let (desk, relay) = (Desk::new(), Relay::start());
    family(&desk, &relay);
    assert_eq!(desk.json("ana", &["status"])["other_spaces"], json!([]), "all is well");
    let id = desk.json("ana", &["note", "add", "Shopping", "--text", "milk", "--space", "Family"])["id"].clone();
    let id = id.as_str().unwrap();
    let open = shown(&desk, "ana", &["note", "append", id, "bread", "--space", "Family"]);
    assert!(!open.contains("closed"), "{open}");
    let next = desk.json("ana", &["space", "new", "Next"])["space"].clone();
    desk.json("ana", &["sync"]);
    desk.json("ana", &["space", "close", "Family", "--successor", "Next"]);
    desk.json("ben", &["sync"]);

    let listed = desk.json("ben", &["space", "list"])["spaces"][1].clone();
    assert_eq!((&listed["closed"], &listed["successor"]), (&json!(true), &next));
    let row = shown(&desk, "ana", &["space", "list"]);
    assert!(row.contains(&format!("closed, goes on in Next {}", &next.as_str().unwrap()[..8])), "{row}");
    let here = desk.json("ana", &["status", "--space", "Family"]);
    assert_eq!((&here["closed"]["successor"], &here["closed"]["name"]), (&next, &json!("Next")));
    let elsewhere = desk.json("ben", &["status"])["other_spaces"][0].clone();
    assert_eq!((&elsewhere["name"], &elsewhere["closed"]), (&json!("Family"), &json!(true)), "{elsewhere}");
    let page = shown(&desk, "ben", &["status"]);
    assert!(page.contains("which you are not in: ask a member for an invitation"), "{page}");

    // The relay takes what is written there: a warning, and nothing is lost.
    let edit = shown(&desk, "ana", &["note", "append", id, "eggs", "--space", "Family"]);
    assert!(edit.contains("This space is closed; it goes on in Next") && edit.contains("Changed"), "{edit}");
    desk.json("ana", &["sync"]);
    desk.json("ben", &["sync"]);
    let note = desk.json("ben", &["note", "show", id, "--space", "Family"]);
    assert!(note["markdown"].as_str().unwrap().contains("eggs"));
    let moved = shown(&desk, "ana", &["note", "move", id, "--to", "Next", "--space", "Family"]);
    assert!(!moved.contains("This space is closed"), "to move a note out of it is what it is for: {moved}");
}

#[test]
fn a_removal_from_a_space_that_is_not_in_use_is_told_and_a_leaving_is_not() {
    let (desk, relay) = (Desk::new(), Relay::start());
    family(&desk, &relay);
    desk.json("ana", &["member", "remove", "Ben", "--space", "Family"]);
    let synced = desk.run("ben", &["sync"]);
    let said = text(&synced.stderr) + &text(&synced.stdout);
    assert!(said.contains("Family") && said.contains("no member any more"), "{said}");
    let status = desk.json("ben", &["status"]);
    let told = &status["other_spaces"][0];
    assert_eq!((&told["name"], &told["removed"]), (&json!("Family"), &json!(true)), "{status}");

    desk.init("cleo", Some(&relay.url()));
    let link = desk.json("ana", &["invite", "new", "--space", "Family"])["link"].as_str().unwrap().to_owned();
    desk.json("cleo", &["join", &link, "--name", "Cleo"]);
    let asked = desk.json("ana", &["invite", "list", "--space", "Family"])["requests"][0]["id"].clone();
    desk.json("ana", &["invite", "approve", &asked.as_str().unwrap()[..8], "--space", "Family"]);
    desk.json("cleo", &["sync"]);
    desk.json("cleo", &["space", "leave", "Family", "--yes"]);
    assert_eq!(desk.json("cleo", &["status"])["other_spaces"], json!([]), "she knows");
}

#[cfg(unix)]
#[test]
fn watching_shows_what_happens_in_every_space_by_its_name() {
    let (desk, relay) = (Desk::new(), Relay::start());
    family(&desk, &relay);
    let mut child = desk.command("ana", &["sync", "--watch", "--json"]).spawn().unwrap();
    // What never comes ends the watching, and with it the test.
    let (pid, (done, is_done)) = (child.id().to_string(), mpsc::channel::<()>());
    std::thread::spawn(move || {
        if is_done.recv_timeout(Duration::from_secs(120)) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").arg(pid).status();
        }
    });
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let mut until = |wanted: &dyn Fn(&Value) -> bool| {
        let found = events.by_ref().inspect(|event| contract::hold(&["sync", "--watch"], event)).find(wanted);
        found.expect("it ended before")
    };
    until(&|event| event["state"]["name"] == "live" && event["space_name"] == "Family");
    desk.json("ben", &["note", "add", "From Ben", "--text", "hello", "--space", "Family"]);
    desk.json("ben", &["sync"]);
    let changed = until(&|event| event["event"] == "documents_changed" && event["origin"] == "remote");
    assert_eq!(changed["space_name"], "Family", "{changed}");
    assert_ne!(changed["space"], desk.json("ana", &["status"])["space"]);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(done);
}

#[test]
fn a_checkpoint_is_made_when_asked_for_and_told_until_it_is_in_effect() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("ana", Some(&relay.url()));
    desk.json("ana", &["sync"]);
    desk.json("ana", &["note", "add", "Shopping", "--text", "milk"]);
    let made = desk.json("ana", &["space", "compact"]);
    assert_eq!((&made["made"], &made["checkpoint"]["standing"]), (&json!(true), &json!("endorsed")), "{made}");
    let again = shown(&desk, "ana", &["space", "compact"]);
    assert!(again.contains("Nothing has come since the last checkpoint"), "{again}");
    let page = shown(&desk, "ana", &["status"]);
    assert!(page.contains("forgotten after the grace period (on "), "{page}");
    assert_eq!(desk.json("ana", &["status"])["checkpoint"], made["checkpoint"]);

    // Alone, without a relay, there is nobody to hold it.
    desk.init("ben", None);
    let none = desk.run("ben", &["space", "compact"]);
    assert_ne!(none.status.code(), Some(0), "{}", text(&none.stdout));
    assert!(text(&none.stderr).contains("relay"), "{}", text(&none.stderr));
}
