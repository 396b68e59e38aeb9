//! The program as scripts and people use it: processes, exit codes, JSON on stdout, messages on stderr.
// The lint that forbids these in production code does not know helpers of tests for tests.
#![allow(clippy::unwrap_used, clippy::panic)]

mod articles;
mod attachments;
mod branches;
mod career;
mod contract;
mod custom;
mod database;
mod entities;
mod goals;
mod here;
mod imports;
mod inside;
mod jobs;
mod journal;
mod keys;
#[path = "../../tests/src/noise.rs"]
#[expect(unreachable_pub, reason = "the tests' own crate shows it to others")]
mod noise;
mod peer;
mod people;
mod spaces;
mod tasks;
mod wakeup;
mod watch;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use lifeos_sync_server::{Config, Handle, Server};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lifeos");

/// A folder with room for homes and files, removed at the end.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, home: &str, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env_remove("LIFEOS_HOME").env_remove("LIFEOS_LOG").env_remove("EDITOR").env_remove("VISUAL");
        command.arg("--home").arg(self.path(home)).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, home: &str, args: &[&str]) -> Output {
        self.command(home, args).output().unwrap()
    }

    /// Runs with `--json`, which must succeed and print one document.
    fn json(&self, home: &str, args: &[&str]) -> Value {
        let output = self.run(home, &[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        let printed = serde_json::from_slice(&output.stdout).unwrap();
        contract::hold(args, &printed);
        printed
    }

    fn init(&self, home: &str, relay: Option<&str>) -> Value {
        let relay = relay.map_or_else(Vec::new, |url| vec!["--relay", url]);
        self.json(home, &[&["init", "--name", home, "--person", "owner"], &relay[..]].concat())
    }

    fn add(&self, home: &str, title: &str, markdown: &str) -> String {
        let note = self.json(home, &["note", "add", title, "--text", markdown]);
        note["id"].as_str().unwrap().to_owned()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A command that must fail: its kind, message and exit code.
fn failure(output: &Output) -> (String, String, Option<i32>) {
    assert_eq!(text(&output.stdout), "", "a failure prints nothing on stdout");
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    let field = |name: &str| error["error"][name].as_str().unwrap().to_owned();
    assert!(error["error"]["transient"].is_boolean());
    (field("kind"), field("message"), output.status.code())
}

/// A relay in this process, on a runtime of its own.
struct Relay {
    runtime: tokio::runtime::Runtime,
    handle: Option<Handle>,
    _data: tempfile::TempDir,
}

impl Relay {
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let handle = runtime.block_on(Server::start(Config::local(data.path()))).unwrap();
        Self { runtime, handle: Some(handle), _data: data }
    }

    fn address(&self) -> String {
        format!("ws://{}", self.handle.as_ref().unwrap().addr())
    }

    fn url(&self) -> String {
        format!("{}#{}", self.address(), self.handle.as_ref().unwrap().relay_key())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.runtime.block_on(handle.shutdown());
        }
    }
}

/// `link new` under way in another process, read line by line.
struct LinkNew {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl LinkNew {
    fn start(desk: &Desk, home: &str, relay: &str) -> Self {
        let mut child =
            desk.command(home, &["link", "new", "--relay", relay, "--name", home, "--json"]).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next event, which must be `name`; its field `field`.
    fn expect(&mut self, name: &str, field: &str) -> String {
        let Some(line) = self.lines.next() else {
            let mut message = String::new();
            self.child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
            panic!("ended before {name}: {message}");
        };
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        contract::hold(&["link", "new"], &event);
        assert_eq!(event["event"], name);
        event[field].as_str().unwrap().to_owned()
    }

    fn stop(mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// Links `new` to `old`; the person mistypes `wrong` codes first.
fn link(desk: &Desk, old: &str, new: &str, relay: &str, wrong: usize) -> Output {
    let mut linking = LinkNew::start(desk, new, relay);
    let link = linking.expect("link", "link");
    let mut approve = desk.command(old, &["link", "approve", &link, "--json"]);
    let mut approve = approve.stdin(Stdio::piped()).spawn().unwrap();
    let code = linking.expect("code", "code");
    let mistyped = format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000);
    let mut stdin = approve.stdin.take().unwrap();
    for _ in 0..wrong {
        let _ = writeln!(stdin, "{mistyped}");
    }
    let _ = writeln!(stdin, "{} {}", &code[..3], &code[3..]);
    drop(stdin);
    let output = approve.wait_with_output().unwrap();
    if output.status.success() {
        contract::hold(&["link", "approve"], &serde_json::from_slice(&output.stdout).unwrap());
        linking.expect("linked", "device");
        assert!(linking.child.wait().unwrap().success());
    } else {
        linking.stop();
    }
    output
}

#[test]
fn without_a_home_every_command_says_how_to_begin() {
    let desk = Desk::new();
    for args in [&["status"][..], &["note", "list"], &["sync"], &["search", "x"], &["doctor"], &["undo"]] {
        let output = desk.run("none", &[args, &["--json"]].concat());
        let (kind, message, code) = failure(&output);
        assert_eq!((kind.as_str(), code), ("home", Some(1)), "{args:?}");
        assert!(message.contains("lifeos init") && message.contains("lifeos link new"), "{message}");
    }
    assert!(!desk.path("none").exists(), "looking does not make a home");
}

#[test]
fn a_home_is_made_once_and_its_phrase_shown_once() {
    let desk = Desk::new();
    let made = desk.init("laptop", None);
    assert!(matches!(made["recovery_phrase"].as_str().unwrap().split(' ').count(), 12 | 24));
    let (kind, _, code) = failure(&desk.run("laptop", &["init", "--json"]));
    assert_eq!((kind.as_str(), code), ("home", Some(1)));
    let status = desk.run("laptop", &["status"]);
    assert!(!text(&status.stdout).contains(made["recovery_phrase"].as_str().unwrap()));
}

#[test]
fn a_command_line_that_is_not_understood_exits_with_two() {
    let desk = Desk::new();
    assert_eq!(desk.run("x", &["frobnicate"]).status.code(), Some(2));
    assert_eq!(desk.run("x", &["note", "todo", "abcd", "0"]).status.code(), Some(2));
    desk.init("laptop", None);
    let id = desk.add("laptop", "One", "text");
    let (kind, message, code) = failure(&desk.run("laptop", &["note", "edit", &id, "--json"]));
    assert_eq!((kind.as_str(), code), ("usage", Some(2)));
    assert!(message.contains("--file"), "{message}");
    for line in [&["frobnicate", "--json"][..], &["note", "todo", "abcd", "0", "--json"], &["--json"]] {
        let (kind, message, code) = failure(&desk.run("x", line));
        assert_eq!((kind.as_str(), code), ("usage", Some(2)), "{line:?}: {message}");
    }
    assert_eq!(desk.run("x", &["note", "--help", "--json"]).status.code(), Some(0), "asking for help is not an error");
}

#[test]
fn a_note_lives_from_its_first_word_to_the_trash_and_back() {
    let desk = Desk::new();
    desk.init("laptop", None);
    let id = desk.add("laptop", "Groceries", "- [ ] milk\n- [ ] bread\n");
    let json = |args: &[&str]| desk.json("laptop", args);

    assert!(json(&["note", "todo", &id, "2"])["markdown"].as_str().unwrap().contains("- [x] bread"));
    assert_eq!(json(&["note", "tag", &id, "home"])["tags"][0], "home");
    assert_eq!(json(&["note", "prop", &id, "rating", "4"])["properties"][0][1], 4);
    assert_eq!(json(&["note", "rename", &id[..8], "Shopping"])["title"], "Shopping");
    assert_eq!(json(&["note", "pin", &id])["pinned"], true);
    assert!(json(&["note", "append", &id, "and rhubarb"])["markdown"].as_str().unwrap().contains("and rhubarb"));

    let notebook = json(&["notebook", "add", "Household"])["id"].as_str().unwrap().to_owned();
    assert_eq!(json(&["note", "move", &id, "Household"])["notebook"], notebook.as_str());
    assert_eq!(json(&["notebook", "list"])["notebooks"][0]["notes"], 1);
    assert_eq!(json(&["note", "list", "--notebook", "Household"])["notes"][0]["id"], id.as_str());

    assert_eq!(json(&["search", "rhubarb"])["hits"][0]["id"], id.as_str());
    assert_eq!(json(&["search", "xylophone"])["hits"].as_array().unwrap().len(), 0);

    assert!(json(&["note", "trash", &id])["trashed_ms"].is_i64());
    assert_eq!(json(&["note", "list"])["notes"].as_array().unwrap().len(), 0);
    assert_eq!(json(&["note", "list", "--trashed"])["notes"].as_array().unwrap().len(), 1);
    assert!(json(&["note", "restore", &id])["trashed_ms"].is_null());
    assert_eq!(json(&["doctor"])["ok"], true);
}

#[test]
fn a_note_is_erased_after_a_time_in_which_that_can_be_taken_back_or_at_once() {
    let desk = Desk::new();
    desk.init("laptop", Some("ws://127.0.0.1:9"));
    let id = desk.add("laptop", "Diary", "zanzibarquokka\n");
    let json = |args: &[&str]| desk.json("laptop", args);
    let planned = json(&["note", "erase", &id]);
    assert_eq!(planned["erasures"][0]["state"], "scheduled");
    assert!(planned["erasures"][0]["due_ms"].is_i64());
    assert_eq!(json(&["note", "erase", &id, "--undo"])["erasures"].as_array().unwrap().len(), 0);
    assert!(json(&["note", "show", &id])["trashed_ms"].is_null());
    let kept = json(&["note", "erase", &id, "--history-only", "--now"])["erasures"][0]["successor"].clone();
    assert_eq!(json(&["note", "show", kept.as_str().unwrap()])["markdown"], "zanzibarquokka\n");
    json(&["note", "erase", kept.as_str().unwrap(), "--now"]);
    let said = json(&["note", "erase", "--status"]);
    assert_eq!(said["erasures"].as_array().unwrap().len(), 2);
    assert_eq!(said["erasures"][0]["relays"][0]["state"], "not_told");
    let output = desk.run("laptop", &["note", "show", kept.as_str().unwrap(), "--json"]);
    assert_ne!(output.status.code(), Some(0));
    assert_eq!(json(&["doctor"])["ok"], true);
    let database = std::fs::read(desk.path("laptop").join("lifeos.db")).unwrap();
    assert!(!database.windows(14).any(|window| window == b"zanzibarquokka"));
    let page = text(&desk.run("laptop", &["note", "erase", "--status"]).stdout);
    assert!(page.contains("Bundles, exports and backups"), "{page}");
}

#[test]
fn an_edit_from_a_file_can_be_undone_and_an_old_version_brought_back() {
    let desk = Desk::new();
    desk.init("laptop", None);
    let id = desk.add("laptop", "Plan", "first\n");
    std::fs::write(desk.path("new.md"), "second\n").unwrap();
    let file = desk.path("new.md");
    let edited = desk.json("laptop", &["note", "edit", &id, "--file", file.to_str().unwrap()]);
    assert!(edited["markdown"].as_str().unwrap().contains("second"));
    let versions = desk.json("laptop", &["note", "history", &id]);
    assert!(!versions["versions"].as_array().unwrap().is_empty());
    assert_eq!(desk.json("laptop", &["undo"])["undone"], true);
    assert!(desk.json("laptop", &["note", "show", &id])["markdown"].as_str().unwrap().contains("first"));
    assert_eq!(desk.json("laptop", &["redo"])["redone"], true);
    assert!(desk.json("laptop", &["note", "show", &id])["markdown"].as_str().unwrap().contains("second"));
}

#[test]
fn what_points_where_and_how_notebooks_lie_is_told() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", None);
    let json = |args: &[&str]| desk.json("laptop", args);
    let (bread, soup) = (desk.add("laptop", "Bread", "flour"), desk.add("laptop", "Soup", "see [[Bread]] and [[Fog]]"));
    assert_eq!(json(&["note", "links", &soup])["links"].as_array().unwrap().len(), 2);
    assert_eq!(json(&["note", "backlinks", &bread])["links"].as_array().unwrap().len(), 1);
    json(&["note", "tag", &soup, "warm"]);
    assert_eq!(json(&["note", "untag", &soup, "warm"])["tags"].as_array().unwrap().len(), 0);
    let first = json(&["note", "history", &soup])["versions"].as_array().unwrap().last().unwrap()["version"].clone();
    json(&["note", "append", &soup, "and salt"]);
    let then = json(&["note", "show", &soup, "--version", first.as_str().unwrap()]);
    assert_eq!((then["id"].as_str(), then["version"].as_str()), (Some(soup.as_str()), first.as_str()));
    assert!(!then["markdown"].as_str().unwrap().contains("salt"));
    let restored = json(&["note", "restore-version", &soup, first.as_str().unwrap()]);
    assert!(!restored["markdown"].as_str().unwrap().contains("salt"));
    json(&["notebook", "add", "Home"]);
    json(&["notebook", "add", "Recipes"]);
    json(&["notebook", "rename", "Recipes", "Cooking"]);
    json(&["notebook", "add", "Soups", "--parent", "Cooking"]);
    json(&["notebook", "move", "Cooking", "--parent", "Home"]);
    assert!(json(&["notebook", "list"])["notebooks"].as_array().unwrap().iter().any(|one| one["parent"].is_string()));
    json(&["notebook", "remove", "Home"]);
    let left = json(&["notebook", "list"]);
    let names: Vec<_> = left["notebooks"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["Cooking", "Soups"]);
    json(&["relay", "set", &relay.url()]);
    assert_eq!(json(&["relay", "add", "ws://127.0.0.1:9"])["added"], true);
    let urls: Vec<_> =
        json(&["relay", "list"])["relays"].as_array().unwrap().iter().map(|one| one["url"].clone()).collect();
    assert_eq!(urls, [relay.address(), "ws://127.0.0.1:9".to_owned()]);
    json(&["relay", "remove", "ws://127.0.0.1:9", "--force"]);
    assert!(json(&["status"])["changes_pending"].as_u64().unwrap() > 0);
    let verified = json(&["status", "--verify"]);
    assert_eq!(verified["state_code"], json(&["status"])["state_code"]);
    assert_eq!((&verified["space_name"], verified.as_object().unwrap().len()), (&json!("home"), 3), "{verified}");
}

#[test]
fn a_folder_goes_in_and_comes_out() {
    let desk = Desk::new();
    desk.init("laptop", None);
    let vault = desk.path("vault");
    std::fs::create_dir_all(vault.join("Recipes")).unwrap();
    std::fs::write(vault.join("Recipes/Soup.md"), "---\nrating: 4\n---\n# Soup\n\nSee [[Bread]].\n").unwrap();
    std::fs::write(vault.join("Bread.md"), "# Bread\n\nflour\n").unwrap();
    let path = vault.to_str().unwrap();
    assert_eq!(desk.json("laptop", &["import", "markdown", path, "--dry-run"])["created"], 2);
    assert_eq!(desk.json("laptop", &["note", "list"])["notes"].as_array().unwrap().len(), 0);
    assert_eq!(desk.json("laptop", &["import", "markdown", path])["created"], 2);
    assert_eq!(desk.json("laptop", &["import", "markdown", path])["created"], 0);
    let out = desk.path("out");
    assert_eq!(desk.json("laptop", &["export", out.to_str().unwrap()])["notes"], 2);

    std::fs::write(vault.join("broken.md"), b"\xff\xfe\xfd").unwrap();
    let output = desk.run("laptop", &["import", "markdown", path, "--json"]);
    assert_eq!(output.status.code(), Some(1), "a file that did not come in is not a success");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["failed"], 1);
    assert!(text(&output.stderr).contains("\"kind\":\"check\""));
    // A link to nothing is told and no failure; a file that cannot be taken is.
    let vault = desk.path("pictures");
    std::fs::create_dir(&vault).unwrap();
    std::fs::write(vault.join("sea.png"), "a picture").unwrap();
    std::fs::write(vault.join("Sea.md"), "![[sea.png]]\n![](gone.png)\n").unwrap();
    desk.init("tablet", None);
    let report = desk.json("tablet", &["import", "markdown", vault.to_str().unwrap()]);
    assert_eq!((report["attached"].clone(), report["problems"][0]["line"].clone()), (json!(1), json!(2)));
    assert_eq!(report["problems"][0]["fault"], "missing");
    std::fs::write(vault.join("Sea.md"), "![[sea.png]]\n![](../out.png)\n").unwrap();
    let refused = desk.run("tablet", &["import", "markdown", vault.to_str().unwrap()]);
    let said = text(&refused.stdout) + &text(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("Sea.md:2 ../out.png: it leads out"), "{said}");
    let out = desk.path("pictures out");
    let exported = desk.json("tablet", &["export", out.to_str().unwrap()]);
    assert_eq!((exported["attachments"].clone(), exported["problems"].clone()), (json!(1), json!([])));
    assert_eq!(std::fs::read(out.join("sea.png")).unwrap(), b"a picture");
}

#[test]
fn two_devices_are_linked_across_processes_and_exchange_notes() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&relay.url()));
    let id = desk.add("laptop", "From the laptop", "hello");
    desk.json("laptop", &["sync"]);
    let approved = link(&desk, "laptop", "phone", &relay.url(), 1);
    assert_eq!(approved.status.code(), Some(0), "{}", text(&approved.stderr));
    desk.json("phone", &["sync"]);
    assert_eq!(desk.json("phone", &["note", "show", &id])["title"], "From the laptop");
    desk.add("phone", "From the phone", "hello back");
    assert!(desk.json("phone", &["sync"])["pushed"].as_u64().unwrap() >= 1);
    desk.json("laptop", &["sync"]);
    assert_eq!(desk.json("laptop", &["search", "back"])["hits"].as_array().unwrap().len(), 1);
    assert_eq!(
        desk.json("laptop", &["device", "list"])["devices"].as_array().unwrap().len(),
        3,
        "two and the paper key"
    );
    desk.json("phone", &["sync"]);
    desk.json("laptop", &["sync"]);
    for command in [["device", "list"].as_slice(), &["status"]] {
        let shown = text(&desk.run("laptop", command).stdout);
        assert!(shown.contains("has everything up to 2"), "{shown}");
    }
    let late = desk.add("laptop", "Not there yet", "soon");
    desk.json("laptop", &["sync"]);
    let shown = text(&desk.run("laptop", &["status"]).stdout);
    assert!(shown.contains("; has not confirmed 1 envelope of this device yet"), "{shown}");
    let has = |id: &str| {
        let note = desk.json("laptop", &["status", "--note", id]);
        (note["devices"][0]["reach"].clone(), note["relays"][0]["has"].clone())
    };
    assert_eq!(has(&id), (json!("has"), json!(true)), "of a note the phone has all, although not of the space");
    assert_eq!(has(&late), (json!("not_confirmed"), json!(true)));
    let shown = text(&desk.run("laptop", &["status", "--note", &late]).stdout);
    assert!(shown.contains("has not confirmed the newest edits yet: sync this device"), "{shown}");
    let later = desk.add("laptop", "Nowhere else", "mine");
    assert_eq!(has(&later), (json!("not_confirmed"), json!(false)));
    let receipt = desk.json("laptop", &["status"])["devices"]
        .as_array()
        .unwrap()
        .iter()
        .find(|device| device["name"] == "phone")
        .unwrap()["receipt"]
        .clone();
    assert_eq!((&receipt["complete"], &receipt["unconfirmed_own"]), (&Value::Bool(false), &Value::from(1)));
}

#[test]
fn a_space_travels_in_a_file() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&relay.url()));
    desk.json("laptop", &["sync"]);
    assert_eq!(link(&desk, "laptop", "phone", &relay.url(), 0).status.code(), Some(0));
    let (first, second) = (desk.path("first.bundle"), desk.path("second.bundle"));
    let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
    desk.add("laptop", "By stick", "hello");
    let exported = desk.json("laptop", &["bundle", "export", first]);
    assert!(exported["envelopes"].as_u64().unwrap() > 0 && exported["unsealed"].is_null());
    assert!(desk.json("phone", &["bundle", "import", first])["received"].as_u64().unwrap() > 0);
    assert_eq!(desk.json("phone", &["note", "list"])["notes"][0]["title"], "By stick");
    assert_eq!(desk.json("laptop", &["bundle", "export", second, "--since", first])["envelopes"], 0);
    assert!(desk.json("laptop", &["bundle", "export", second, "--for", "phone"])["left_out"].is_u64());
    assert_eq!(desk.json("phone", &["bundle", "import", second])["received"], 0);
    let id = desk.json("laptop", &["note", "list"])["notes"][0]["id"].as_str().unwrap().to_owned();
    desk.json("laptop", &["note", "attach", &id, first]);
    let carried = desk.json("laptop", &["bundle", "export", second, "--attachments"]);
    assert_eq!((carried["parts"].clone(), carried["parts_away"].clone()), (json!(1), json!(0)));
    assert_eq!(desk.json("phone", &["bundle", "import", second])["parts"], 1);
    desk.init("stranger", None);
    let refused = failure(&desk.run("stranger", &["bundle", "import", first, "--json"]));
    assert_eq!((refused.0.as_str(), refused.2), ("not_found", Some(1)));
    assert!(refused.1.contains("lifeos link new"), "{}", refused.1);
    std::fs::write(second, "no bundle").unwrap();
    assert_eq!(failure(&desk.run("phone", &["bundle", "import", second, "--json"])).0, "invalid");
    let both = ["bundle", "export", second, "--since", first, "--for", "phone", "--json"];
    assert_eq!(failure(&desk.run("laptop", &both)).2, Some(2));
}

#[test]
fn three_wrong_codes_end_a_link() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&relay.url()));
    desk.json("laptop", &["sync"]);
    let refused = link(&desk, "laptop", "phone", &relay.url(), 3);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("\"kind\":\"security\""), "{}", text(&refused.stderr));
    assert_eq!(text(&refused.stdout), "");
}

#[test]
fn a_relay_with_another_key_is_refused_and_one_that_is_not_there_may_be_tried_again() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&format!("{}#{}", relay.address(), "11".repeat(32))));
    desk.add("laptop", "Safe", "kept");
    let (kind, _, code) = failure(&desk.run("laptop", &["sync", "--json"]));
    assert_eq!((kind.as_str(), code), ("security", Some(1)));
    desk.init("lonely", Some("ws://127.0.0.1:9"));
    let output = desk.run("lonely", &["sync", "--json"]);
    let (kind, _, code) = failure(&output);
    assert_eq!((kind.as_str(), code), ("network", Some(1)));
    assert!(text(&output.stderr).contains("\"transient\":true"));
    assert_eq!(desk.json("laptop", &["note", "list"])["notes"].as_array().unwrap().len(), 1);
}

#[test]
fn a_reader_that_goes_away_is_not_an_error() {
    let desk = Desk::new();
    desk.init("laptop", None);
    // More than a pipe (64 KiB) and less than an argument (128 KiB) holds: writing goes on after the reader is gone.
    let id = desk.add("laptop", "Long", &"a word of a long note ".repeat(5_000));
    let mut child = desk.command("laptop", &["note", "show", &id]).spawn().unwrap();
    let mut first = [0; 10];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[cfg(unix)]
#[test]
fn a_watching_sync_ends_cleanly_when_it_is_told_to() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&relay.url()));
    let mut child = desk.command("laptop", &["sync", "--watch", "--json"]).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let live = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let live = live
        .inspect(|event| contract::hold(&["sync", "--watch"], event))
        .filter(|event| event["event"] == "sync")
        .find(|event| event["state"]["name"] == "live");
    assert!(live.is_some(), "it never came up");
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_demonstration_holds_on_the_sample() {
    let desk = Desk::new();
    let report = desk.json("unused", &["demo", "--keep", desk.path("kept").to_str().unwrap()]);
    assert_eq!(report["ok"], true);
    assert!(report["checks"].as_array().unwrap().len() >= 20);
    assert!(Path::new(&desk.path("kept")).join("laptop-export").is_dir());
    assert!(!desk.path("unused").exists(), "the demonstration leaves the person's own home alone");
    let again = desk.run("unused", &["demo", "--keep", desk.path("kept").to_str().unwrap(), "--json"]);
    assert_eq!(failure(&again).2, Some(2), "a folder with something in it is not used");
}

#[test]
fn somebody_is_let_in_again_from_the_command_line() {
    let (desk, relay) = (Desk::new(), Relay::start());
    for name in ["ana", "ben", "ben-anew"] {
        desk.init(name, Some(&relay.url()));
    }
    desk.json("ana", &["space", "new", "Family"]);
    desk.json("ana", &["space", "use", "Family"]);
    desk.json("ana", &["sync"]);
    let ask = |home: &str| {
        let link = desk.json("ana", &["invite", "new"]);
        desk.json(home, &["join", link["link"].as_str().unwrap(), "--name", "Ben"]);
        desk.json("ana", &["invite", "list"])["requests"][0]["id"].as_str().unwrap().to_owned()
    };
    let request = ask("ben");
    desk.json("ana", &["invite", "approve", &request[..8], "--name", "Ben B."]);
    desk.json("ben", &["sync"]);
    let request = ask("ben-anew");
    let again = desk.json("ana", &["invite", "approve", &request[..8], "--replaces", "Ben B."]);
    assert_eq!((&again["approved"]["name"], &again["replaced"]["name"]), (&json!("Ben B."), &json!("Ben B.")));
    assert_eq!(again["replaced"]["new_key"], json!(true));
    let members = desk.json("ana", &["member", "list"]);
    let members = members["members"].as_array().unwrap();
    assert_eq!((members.len(), &members[1]["name_source"]), (2, &json!("approved")));
}

#[test]
fn two_people_share_a_space_from_the_command_line() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("ana", Some(&relay.url()));
    desk.init("ben", Some(&relay.url()));
    desk.json("ana", &["space", "new", "Family"]);
    desk.json("ana", &["sync"]);
    let id = desk.add("ana", "Recipe", "flour\n");
    let copy = desk.json("ana", &["note", "copy", &id, "--to", "Family"]);
    assert_eq!(copy["title"], "Recipe");
    desk.json("ana", &["sync"]);
    let link = desk.json("ana", &["invite", "new", "--space", "Family"]);
    let asked = desk.json("ben", &["join", link["link"].as_str().unwrap(), "--name", "Ben"]);
    assert_eq!(asked["state"], "waiting");
    let listed = desk.json("ana", &["invite", "list", "--space", "Family"]);
    assert_eq!(
        (&listed["requests"][0]["name"], &listed["requests"][0]["fingerprint"]),
        (&json!("Ben"), &asked["fingerprint"])
    );
    let request = listed["requests"][0]["id"].as_str().unwrap();
    desk.json("ana", &["invite", "approve", &request[..8], "--space", "Family"]);
    desk.json("ben", &["sync"]);
    let spaces = desk.json("ben", &["space", "list"]);
    assert_eq!((&spaces["spaces"][1]["name"], &spaces["spaces"][1]["role"]), (&json!("Family"), &json!("editor")));
    desk.json("ben", &["space", "use", "Family"]);
    let notes = desk.json("ben", &["note", "list"]);
    assert_eq!(notes["notes"][0]["title"], "Recipe");
    let second = desk.json("ana", &["invite", "new", "--auto", "--role", "reader", "--space", "Family"]);
    desk.json("ana", &["invite", "revoke", second["invite"].as_str().unwrap(), "--space", "Family"]);
    let refused = desk.run("ben", &["join", second["link"].as_str().unwrap(), "--json"]);
    assert_eq!(failure(&refused).0, "invalid");
    let unasked = desk.run("ben", &["space", "leave", "Family", "--json"]);
    assert!(!unasked.status.success() && String::from_utf8_lossy(&unasked.stderr).contains("for good"), "{unasked:?}");
    assert_eq!(desk.json("ben", &["space", "list"])["spaces"][1]["role"], "editor");
    desk.json("ben", &["space", "leave", "Family", "--yes"]);
    let again = desk.json("ana", &["invite", "new", "--space", "Family"]);
    let refused = desk.run("ben", &["join", again["link"].as_str().unwrap(), "--json"]);
    assert!(failure(&refused).1.contains("for good"));
    desk.json("ana", &["space", "close", "Family"]);
    let spaces = desk.json("ana", &["space", "list"]);
    assert_eq!((&spaces["spaces"][1]["closed"], &spaces["spaces"][1]["members"]), (&json!(true), &json!(1)));
}

#[test]
fn a_device_is_linked_by_comparing_pictures() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&relay.url()));
    let mut new =
        desk.command("phone", &["link", "new", "--sas", "--relay", &relay.url(), "--name", "phone", "--json"]);
    let mut new = new.stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(new.stdout.take().unwrap()).lines();
    let mut event = |command: &[&str], name: &str| {
        let event: Value = serde_json::from_str(&lines.next().expect(name).unwrap()).unwrap();
        contract::hold(command, &event);
        assert_eq!(event["event"], name);
        event
    };
    let code = event(&["link", "new"], "sas_code")["code"].as_str().unwrap().to_owned();
    let mut approve = desk.command("laptop", &["link", "approve", &code, "--json"]);
    let mut approve = approve.stdin(Stdio::piped()).spawn().unwrap();
    let shown = event(&["link", "new"], "compare");
    writeln!(new.stdin.take().unwrap(), "yes").unwrap();
    writeln!(approve.stdin.take().unwrap(), "yes").unwrap();
    let output = approve.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let events: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    events.iter().for_each(|event| contract::hold(&["link", "approve"], event));
    assert_eq!((&events[0]["pictures"], &events[0]["numbers"]), (&shown["pictures"], &shown["numbers"]));
    event(&["link", "new"], "linked");
    assert!(new.wait().unwrap().success());
    let status = desk.json("laptop", &["status"]);
    assert_eq!(status["new_devices"][0]["name"], "phone");
}
