//! Lists that are watched by one program while others of the same home write.

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use serde_json::{Value, json};

use super::{Desk, contract, failure, text};

/// Killed when the test ends, however it ends.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Begins to watch; gives what each line says.
fn watch(desk: &Desk, args: &'static [&str]) -> (Watching, impl Iterator<Item = Value>) {
    let mut watching = Watching(desk.command("a", &[args, &["--json"]].concat()).spawn().unwrap());
    let lines = BufReader::new(watching.0.stdout.take().unwrap()).lines().map(move |line| {
        let told = serde_json::from_str(&line.unwrap()).unwrap();
        contract::hold(args, &told);
        told
    });
    (watching, lines)
}

#[test]
fn a_watched_list_is_shown_once_and_then_tells_what_other_programs_change() {
    let desk = Desk::new();
    desk.init("a", None);
    let first = desk.add("a", "First", "one");
    let (_watching, mut notes) = watch(&desk, &["note", "list", "--watch"]);
    let told = notes.next().unwrap();
    assert_eq!((&told["reset"][0]["id"], told["reset"].as_array().unwrap().len()), (&json!(first), 1));
    let second = desk.add("a", "Second", "two");
    let told = notes.next().unwrap()["rows"].clone();
    assert_eq!((&told[0]["op"], &told[0]["at"], &told[0]["row"]["id"]), (&json!("added"), &json!(0), &json!(second)));
    desk.json("a", &["note", "rename", &first, "Anew"]);
    let told = notes.next().unwrap()["rows"].clone();
    assert_eq!((&told[0]["op"], &told[0]["from"], &told[0]["to"]), (&json!("moved"), &json!(1), &json!(0)));
    assert_eq!(told[0]["row"]["title"], "Anew");
    desk.json("a", &["note", "trash", &second]);
    assert_eq!(notes.next().unwrap(), json!({"rows": [{"op": "removed", "at": 1}]}));
    desk.json("a", &["note", "tag", &first, "home"]);
    assert_eq!(notes.next().unwrap()["rows"][0]["op"], "changed");

    let (_watching, mut contacts) = watch(&desk, &["entity", "list", "contact", "--order", "name", "--watch"]);
    assert_eq!(contacts.next().unwrap(), json!({"reset": []}));
    for (name, at) in [("Ben", 0), ("Ana", 0), ("Cleo", 2)] {
        desk.json("a", &["entity", "add", "contact", &format!("name={name}")]);
        let told = contacts.next().unwrap()["rows"].clone();
        assert_eq!((&told[0]["at"], &told[0]["row"]["values"]["name"]), (&json!(at), &json!(name)));
    }

    // For people: the list, then a line for each row that changed, with what it said.
    let mut watching = Watching(desk.command("a", &["note", "list", "--watch"]).spawn().unwrap());
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().ends_with("Anew  #home"));
    desk.json("a", &["note", "trash", &first]);
    let line = lines.next().unwrap();
    assert!(line.starts_with("- ") && line.contains("Anew"), "{line}");

    let refused = desk.run("a", &["note", "list", "--watch", "--offset", "2", "--json"]);
    assert_eq!(failure(&refused).0, "usage", "{}", text(&refused.stderr));
}
