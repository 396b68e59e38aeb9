//! Bad input through the real program: each case gets a message that says what to do next, exit code 1, and leaves
//! data as it was. Every case has a twin that works, so that a program that refuses everything fails too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lifeos_sync_protocol::frame::{ErrorCode, Frame};
use lifeos_tests::process::{Relay, free_port, on_full_disk, program};
use tokio_tungstenite::tungstenite::{self, Message};

/// What to do about a full disk, as the core says it.
const FREE_SPACE: &[&str] = &[
    "free some space and try again",
    "check its free space and health, then try again",
    "disk has room, then run it again",
];
/// Somebody without rights of their own.
const NOBODY: u32 = 65534;

struct Home {
    folder: tempfile::TempDir,
    program: PathBuf,
    /// Whom to run the program as, if not as who runs the test.
    user: Option<u32>,
}

impl Home {
    fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), program: program("lifeos"), user: None }
    }

    fn new() -> Self {
        Self::empty().begun()
    }

    fn begun(self) -> Self {
        self.ok(&["init", "--name", "laptop", "--person", "tester"]);
        self.ok(&["note", "add", "--title", "keep me", "--text", "safe and sound"]);
        self
    }

    /// A home of somebody to whom permissions apply: root reads everything, so root runs the program as nobody.
    fn without_rights() -> Self {
        let mut home = Self::empty();
        if std::fs::metadata(home.folder.path()).unwrap().uid() == 0 {
            // Where the program lies nobody may be allowed to look.
            let copy = home.path("lifeos");
            std::fs::hard_link(&home.program, &copy)
                .or_else(|_| std::fs::copy(&home.program, &copy).map(drop))
                .unwrap();
            chown(home.folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            (home.program, home.user) = (copy, Some(NOBODY));
        }
        home.begun()
    }

    /// A second device, linked to this one as a person would; it holds what this one has synced.
    fn linked(&self, relay: &Relay) -> Self {
        self.ok(&["relay", "set", &relay.url]);
        let phone = Self::empty();
        let link = ["link", "new", "--relay", &relay.url, "--name", "phone", "--json"];
        let mut new = phone.command(&link).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(new.stdout.take().unwrap()).lines();
        let mut said = |name: &str| {
            let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            line[name].as_str().unwrap().to_owned()
        };
        let link = said("link");
        let mut approve = self.command(&["link", "approve", &link]).stdin(Stdio::piped()).spawn().unwrap();
        writeln!(approve.stdin.take().unwrap(), "{}", said("code")).unwrap();
        assert!(approve.wait().unwrap().success() && new.wait().unwrap().success());
        self.ok(&["sync"]);
        phone.ok(&["sync"]);
        phone.unharmed();
        phone
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--home").arg(self.path("home")).args(args).stdin(Stdio::null()).env("NO_COLOR", "1");
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
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

    /// The command fails with code 1, without a panic, with a message that gives one of these instructions.
    fn refused(&self, args: &[&str], instructions: &[&str]) -> String {
        said(&self.run(args), instructions)
    }

    /// Runs a command again and again on a disk that is full ever later; `then` looks at what is left each time, with
    /// whether the command said that it succeeded. The disk must have been full at least once, and not always.
    fn on_a_disk_that_fills(
        &self,
        calls: &str,
        when: &[&str],
        args: impl Fn(&str) -> Vec<String>,
        then: impl Fn(&str, bool),
    ) {
        let mut full = 0;
        for when in when {
            let args = args(when);
            let inner = self.command(&args.iter().map(String::as_str).collect::<Vec<_>>());
            let output = on_full_disk(calls, when, &inner).output().unwrap();
            if !output.status.success() {
                full += 1;
                said(&output, FREE_SPACE);
            }
            then(when, output.status.success());
        }
        assert!(full > 0, "the disk was never full: nothing was checked");
    }

    fn unharmed(&self) {
        assert!(self.ok(&["note", "list"]).contains("keep me"));
        assert!(self.ok(&["search", "sound"]).contains("keep me"));
        assert!(self.run(&["doctor"]).status.success(), "the doctor finds the home ill");
    }
}

fn said(output: &Output, instructions: &[&str]) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "exit code, with: {text}");
    assert!(!text.contains("panicked"), "{text}");
    assert!(instructions.iter().any(|instruction| text.contains(instruction)), "none of {instructions:?} in: {text}");
    text
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn an_import_names_every_file_it_cannot_read_and_takes_the_others() {
    let home = Home::new();
    let vault = home.path("vault");
    write(&vault.join("good.md"), b"# Good\n\nreadable words\n");
    write(&vault.join("latin1.md"), b"caf\xe9 au lait\n");
    let large = std::fs::File::create(vault.join("large.md")).unwrap();
    large.set_len(200 << 20).unwrap();
    let long = format!("{}.md", "n".repeat(252));
    write(&vault.join(&long), b"a name of 255 bytes\n");
    symlink(vault.join("nowhere.md"), vault.join("dangling.md")).unwrap();
    let vault = vault.to_string_lossy().into_owned();
    let output = home.run(&["import", "markdown", &vault, "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let outcome = |name: &str| {
        let entries = report["entries"].as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["path"].as_str().unwrap().ends_with(name));
        entry.map_or_else(|| "absent".to_owned(), |entry| entry["outcome"].as_str().unwrap().to_owned())
    };
    assert_eq!(outcome("good.md"), "created");
    assert_eq!(outcome(&long), "created");
    assert_eq!(outcome("latin1.md"), "failed");
    assert_eq!(outcome("large.md"), "failed");
    assert_eq!(outcome("dangling.md"), "failed");
    assert_eq!(output.status.code(), Some(1), "some files failed, and the exit code must say so");
    assert!(home.ok(&["search", "readable"]).contains("Good"));
    // For people each is named, with what to do about it.
    let page = said(&home.run(&["import", "markdown", &vault]), &["put right what is said of each and import again"]);
    for line in [
        "latin1.md: not UTF-8 at byte 3; save it as UTF-8",
        "large.md: larger than 8 MiB; split it, or leave it out",
        "dangling.md: a link that leads nowhere (No such file or directory (os error 2)); remove it, or put back what it",
    ] {
        assert!(page.contains(line), "`{line}` is not in {page}");
    }
    home.unharmed();
}

#[test]
fn a_link_that_goes_in_a_circle_is_a_failure_and_one_that_leads_out_is_skipped_and_both_are_named() {
    let home = Home::new();
    let (vault, outside) = (home.path("vault"), home.path("outside"));
    write(&vault.join("deep/good.md"), b"# Good\n\nreadable words\n");
    write(&outside.join("secret.md"), b"never taken\n");
    symlink(&outside, vault.join("out")).unwrap();
    symlink(vault.join("deep"), vault.join("twice")).unwrap();
    let path = vault.to_string_lossy().into_owned();
    let skipped = [
        "out: a link that leads out of the folder; import that place by itself",
        "twice: a link to deep in the same folder, which is read there; nothing has to be done",
    ];
    for args in [&["import", "markdown", &path, "--dry-run"][..], &["import", "markdown", &path]] {
        let page = home.ok(args);
        for line in skipped {
            assert!(page.contains(line), "`{line}` is not in {page}");
        }
        assert_eq!(page.contains("Would be created\ndeep/good.md\n"), args.contains(&"--dry-run"), "{page}");
    }
    assert!(!home.ok(&["search", "never"]).contains("secret"));

    symlink(&vault, vault.join("deep/loop")).unwrap();
    symlink("round.md", vault.join("round.md")).unwrap();
    write(&vault.join("later.md"), b"# Later\n\nstill taken\n");
    let page = said(&home.run(&["import", "markdown", &path]), &["put right what is said of each and import again"]);
    for line in [
        "deep/loop: a link that leads back to a folder around it; remove the link",
        "round.md: a link that leads nowhere (Too many levels of symbolic links (os error 40)); remove it",
        skipped[0],
    ] {
        assert!(page.contains(line), "`{line}` is not in {page}");
    }
    assert!(home.ok(&["search", "still"]).contains("Later"), "the others came in all the same");
    assert!(home.ok(&["import", "markdown", "--help"]).contains("Exit code 1 if something failed"));
    home.unharmed();
}

#[test]
fn what_may_not_be_read_is_named_with_what_to_do() {
    let home = Home::without_rights();
    let vault = home.path("vault");
    write(&vault.join("good.md"), b"# Good\n\nreadable words\n");
    write(&vault.join("locked.md"), b"nobody reads this\n");
    write(&vault.join("closed/inside.md"), b"nor this\n");
    std::fs::set_permissions(vault.join("locked.md"), Permissions::from_mode(0o000)).unwrap();
    std::fs::set_permissions(vault.join("closed"), Permissions::from_mode(0o000)).unwrap();
    let (path, locked) = (vault.to_string_lossy().into_owned(), vault.join("locked.md").to_string_lossy().into_owned());
    let page = said(&home.run(&["import", "markdown", &path]), &["put right what is said of each and import again"]);
    for name in ["locked.md", "closed"] {
        let line = format!("{name}: cannot be read (Permission denied (os error 13)); check its permissions");
        assert!(page.contains(&line), "`{line}` is not in {page}");
    }
    assert!(home.ok(&["search", "readable"]).contains("Good"), "the others came in all the same");
    let told = home.refused(&["note", "add", "x", "--file", &locked], &["check its permissions and try again"]);
    assert!(told.contains(&locked), "{told}");
    home.refused(&["import", "markdown", &locked], &["check its permissions"]);
    home.unharmed();
    // Else the folder could not be removed by who owns it.
    std::fs::set_permissions(vault.join("closed"), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_file_that_no_note_can_hold_is_refused_by_name_and_the_note_stays_as_it_was() {
    let home = Home::new();
    let file = |name: &str| home.path(name).to_string_lossy().into_owned();
    write(&home.path("latin1.md"), b"caf\xe9 au lait\n");
    std::fs::File::create(home.path("large.md")).unwrap().set_len(100 << 20).unwrap();
    write(&home.path("long.md"), &vec![b'x'; (1 << 20) + 1]);
    write(&home.path("good.md"), b"whole and readable\n");
    let added = home.ok(&["note", "add", "mine", "--file", &file("good.md"), "--json"]);
    let id = serde_json::from_str::<serde_json::Value>(&added).unwrap()["id"].as_str().unwrap().to_owned();
    for (name, instruction) in [
        ("latin1.md", "is not UTF-8 at byte 3; save it as UTF-8 and try again"),
        ("large.md", "is larger than the 1 MiB that a note can hold; split it into several notes"),
        ("long.md", "is too large; split it into several notes"),
        ("nowhere.md", "check the path"),
        (".", "name a file in it"),
    ] {
        let path = file(name);
        for args in [&["note", "add", "yours", "--file", &path][..], &["note", "edit", &id, "--file", &path]] {
            let told = home.refused(args, &[instruction]);
            assert!(name == "long.md" || told.contains(&path), "{told} names no file");
        }
    }
    assert!(home.ok(&["note", "show", &id]).contains("whole and readable"));
    assert!(!home.ok(&["note", "list"]).contains("yours"));
    home.unharmed();
}

#[test]
fn a_home_of_a_newer_version_is_left_alone() {
    let home = Home::new();
    let path = home.path("home").join("lifeos.db");
    // A format says of itself from which version on it can be read; this one asks for more than there is.
    let version = |set: Option<(i64, u32)>| {
        let db = rusqlite::Connection::open(&path).unwrap();
        if let Some((version, reader)) = set {
            db.pragma_update(None, "user_version", version).unwrap();
            let changed =
                db.execute("UPDATE meta SET value = ?1 WHERE key = 'min_reader'", [reader.to_be_bytes()]).unwrap();
            assert_eq!(changed, 1);
        }
        db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap()
    };
    let before = version(None);
    version(Some((before + 1000, 1001)));
    home.refused(&["note", "list"], &["update lifeos"]);
    assert_eq!(version(None), before + 1000, "the refused home was touched");
    version(Some((before, 1)));
    home.unharmed();
}

#[test]
fn no_home_and_a_second_init_say_what_to_do() {
    let home = Home::new();
    let empty = home.path("elsewhere").to_string_lossy().into_owned();
    let output = Command::new(program("lifeos")).args(["--home", &empty, "note", "list"]).output().unwrap();
    said(&output, &["run `lifeos init` to begin"]);
    home.refused(&["init"], &["open it, or choose another folder"]);
    home.unharmed();
}

#[test]
fn a_lock_of_a_dead_process_does_not_stop_sync() {
    let home = Home::new();
    let relay = Relay::start(&home.path("relay"), free_port(), None).unwrap();
    home.ok(&["relay", "set", &relay.url]);
    // A syncing process dies without cleaning up; its lock file stays, its lock does not.
    let mut dying =
        home.command(&["sync", "--watch", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lock = home.path("home").join("sync.lock");
    // It holds the lock once it tells of a connection; the file alone is there a moment earlier.
    let mut told = BufReader::new(dying.stdout.take().unwrap()).lines();
    assert!(told.any(|line| line.unwrap().contains("live")), "the watching process ended");
    // While it lives a second one is told so.
    home.refused(&["sync"], &["wait until that is done, or stop the other `lifeos sync --watch`"]);
    dying.kill().unwrap();
    dying.wait().unwrap();
    assert!(lock.exists());
    home.ok(&["sync"]);
    home.unharmed();
}

#[test]
fn a_wrong_relay_key_and_a_missing_relay_are_told_apart() {
    let home = Home::new();
    let relay = Relay::start(&home.path("relay"), free_port(), None).unwrap();
    let (address, key) = relay.url.split_once('#').expect("the relay prints its key");
    let wrong: String = key.chars().rev().collect();
    home.ok(&["relay", "set", &format!("{address}#{wrong}")]);
    home.refused(&["sync"], &["if its operator confirms the new key, set the relay again as URL#KEY"]);
    home.ok(&["relay", "set", &format!("ws://127.0.0.1:{}", free_port())]);
    home.refused(&["sync"], &["check the address and the network"]);
    home.ok(&["relay", "set", &relay.url]);
    home.ok(&["sync"]);
    home.unharmed();
}

/// Something that answers every HELLO with ERROR VERSION, at this address.
fn relay_of_another_version() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("ws://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut socket = tungstenite::accept(stream.unwrap()).unwrap();
            let Ok(Message::Binary(hello)) = socket.read() else { continue };
            let (request, _) = Frame::decode(&hello).unwrap();
            let (code, message) = (ErrorCode::Version, "only version 9".to_owned());
            let refused = Frame::Error { code, fatal: true, retry_after_ms: 0, message }.encode(request);
            let _ = socket.send(Message::Binary(refused.into()));
            // Until the other side has read it and goes.
            while socket.read().is_ok() {}
        }
    });
    address
}

#[test]
fn a_relay_of_another_version_says_what_to_update_and_nothing_is_lost() {
    let home = Home::new();
    home.ok(&["relay", "set", &relay_of_another_version()]);
    home.refused(&["sync"], &["update this app or the relay"]);
    home.unharmed();
    let relay = Relay::start(&home.path("relay"), free_port(), None).unwrap();
    home.ok(&["relay", "set", &relay.url]);
    home.ok(&["sync"]);
    home.unharmed();
}

#[test]
fn watching_ends_where_waiting_cannot_help() {
    let home = Home::new();
    let watch = |instruction: &str| {
        let inner = home.command(&["sync", "--watch"]);
        // One that goes on for ever is ended with another code.
        let output =
            Command::new("timeout").arg("60").arg(inner.get_program()).args(inner.get_args()).output().unwrap();
        said(&output, &[instruction]);
    };
    watch("run `lifeos relay set URL`");
    let relay = Relay::start(&home.path("relay"), free_port(), None).unwrap();
    let (address, key) = relay.url.split_once('#').expect("the relay prints its key");
    let wrong: String = key.chars().rev().collect();
    home.ok(&["relay", "set", &format!("{address}#{wrong}")]);
    watch("if its operator confirms the new key, set the relay again as URL#KEY");
    home.unharmed();
}

#[test]
fn three_wrong_codes_end_a_link_and_nothing_is_enrolled() {
    let home = Home::new();
    let relay = Relay::start(&home.path("relay"), free_port(), None).unwrap();
    home.ok(&["relay", "set", &relay.url]);
    home.ok(&["sync"]);
    let new_home = home.path("new").to_string_lossy().into_owned();
    let mut new = Command::new(program("lifeos"))
        .args(["--home", &new_home, "--json", "link", "new", "--relay", &relay.url, "--name", "phone"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(new.stdout.take().unwrap()).lines();
    let first: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let link = first["link"].as_str().unwrap().to_owned();
    let mut approve = home
        .command(&["link", "approve", &link])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let second: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let code: u32 = second["code"].as_str().unwrap().parse().unwrap();
    let wrong = format!("{:06}\n", (code + 1) % 1_000_000);
    approve.stdin.take().unwrap().write_all(wrong.repeat(3).as_bytes()).unwrap();
    said(&approve.wait_with_output().unwrap(), &["make a new link on the new device"]);
    let _ = new.kill();
    let _ = new.wait();
    let devices = home.ok(&["device", "list", "--json"]);
    assert!(!devices.contains("phone"), "a device was enrolled with a wrong code: {devices}");
    home.unharmed();
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let home = Home::new();
    let title = |when: &str| format!("written at {when}");
    home.on_a_disk_that_fills(
        "pwrite64",
        &["1+", "2+", "4+", "8+", "12+"],
        |when| words(&["note", "add", "--title", &title(when), "--text", "x"]),
        |when, acknowledged| {
            let listed = home.ok(&["note", "list"]).contains(&title(when));
            assert!(listed || !acknowledged, "{when} was acknowledged and is lost");
        },
    );
    home.unharmed();
}

#[test]
fn an_import_onto_a_full_disk_goes_on_when_there_is_room() {
    let home = Home::new();
    let vault = |when: &str| home.path(&format!("vault{when}")).to_string_lossy().into_owned();
    let whens = ["1+", "6+", "40+"];
    for when in whens {
        for at in 0..20 {
            write(Path::new(&vault(when)).join(format!("{at}.md")).as_path(), format!("# {at} of {when}\n").as_bytes());
        }
    }
    home.on_a_disk_that_fills(
        "pwrite64",
        &whens,
        |when| words(&["import", "markdown", &vault(when)]),
        |when, _| {
            home.unharmed();
            home.ok(&["import", "markdown", &vault(when)]);
            let list = home.ok(&["note", "list", "--limit", "1000"]);
            for at in 0..20 {
                let title = format!(" {at} of {when}");
                assert_eq!(list.matches(&title).count(), 1, "{title} in {list}");
            }
        },
    );
    home.unharmed();
}

#[test]
fn an_export_onto_a_full_disk_leaves_no_half_written_file_and_can_be_done_again() {
    let home = Home::new();
    home.ok(&["note", "add", "--title", "and me", "--text", "also"]);
    let dir = |when: &str| home.path(&format!("out{when}")).to_string_lossy().into_owned();
    let files = |when: &str| std::fs::read_dir(dir(when)).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
    home.on_a_disk_that_fills(
        "write",
        &["1", "2"],
        |when| words(&["export", &dir(when)]),
        |when, _| {
            assert!(files(when).iter().all(|file| std::fs::metadata(file).unwrap().len() > 0), "{:?}", files(when));
            home.ok(&["export", &dir(when)]);
            assert_eq!(files(when).len(), 2, "{:?}", files(when));
        },
    );
    home.unharmed();
}

/// A home that came into being without its words having been shown would be a trap.
#[test]
fn beginning_on_a_full_disk_leaves_nothing_and_can_be_done_again() {
    let args = ["init", "--name", "laptop", "--person", "tester"];
    let fails = |calls: &str, when: &str| {
        let home = Home::empty();
        let output = on_full_disk(calls, when, &home.command(&args)).output().unwrap();
        let failed = !output.status.success();
        if failed {
            said(&output, FREE_SPACE);
            assert!(home.ok(&args).contains("Recovery phrase"), "failed at {when}");
        }
        home.ok(&["note", "add", "--title", "keep me", "--text", "safe and sound"]);
        home.unharmed();
        failed
    };
    assert!(fails("write", "1") && fails("pwrite64", "1+"));
    // Ever later until it is done before the disk is full, so that every stage of the making is met.
    let done = (1..100).map(|step| step * 8).find(|when| !fails("pwrite64", &format!("{when}+")));
    assert!(done.is_some_and(|when| when > 64), "{done:?}");
}

#[test]
fn receiving_onto_a_full_disk_keeps_what_was_there_and_goes_on_when_there_is_room() {
    let laptop = Home::new();
    let relay = Relay::start(&laptop.path("relay"), free_port(), None).unwrap();
    let phone = laptop.linked(&relay);
    let title = |when: &str| format!("received at {when}");
    phone.on_a_disk_that_fills(
        "pwrite64",
        &["1+", "3+", "8+"],
        |when| {
            laptop.ok(&["note", "add", "--title", &title(when), "--text", "x"]);
            laptop.ok(&["sync"]);
            words(&["sync"])
        },
        |when, acknowledged| {
            phone.unharmed();
            let there = phone.ok(&["note", "list"]).contains(&title(when));
            assert!(there || !acknowledged, "the sync said that all is received");
            phone.ok(&["sync"]);
            assert!(phone.ok(&["note", "list"]).contains(&title(when)), "{} is not received", title(when));
        },
    );
    phone.unharmed();
}

#[test]
fn a_relay_with_a_full_disk_is_told_of_and_what_was_not_taken_waits() {
    let laptop = Home::new();
    let (data, port) = (laptop.path("relay"), free_port());
    let relay = Relay::start(&data, port, None).unwrap();
    let phone = laptop.linked(&relay);
    drop(relay);
    let folder = data.to_string_lossy().into_owned();
    let mut serve = Command::new(program("lifeos-relay"));
    serve.args(["serve", "--data", &folder, "--listen", "127.0.0.1:0"]);
    said(&on_full_disk("pwrite64", "1+", &serve).output().unwrap(), &["free some space if its disk is full"]);
    let mut full = 0;
    // The first eight writes make room for the index of its log before it listens; each thread counts its own.
    for nth in [9, 14, 24] {
        let relay = Relay::start_on_full_disk(&data, port, nth);
        let title = |at: u32| format!("sent at {nth} {at}");
        for at in 0..4 {
            laptop.ok(&["note", "add", "--title", &title(at), "--text", "x"]);
            let output = laptop.run(&["sync"]);
            if !output.status.success() {
                full += 1;
                said(&output, &["ask its operator to free"]);
            }
        }
        laptop.unharmed();
        drop(relay);
        // With space again everything arrives, once.
        let relay = Relay::start(&data, port, None).unwrap();
        laptop.ok(&["sync"]);
        phone.ok(&["sync"]);
        let list = phone.ok(&["note", "list"]);
        for at in 0..4 {
            assert_eq!(list.matches(&title(at)).count(), 1, "{} in {list}", title(at));
        }
        drop(relay);
    }
    assert!(full > 0, "the relay's disk was never full: nothing was checked");
    phone.unharmed();
}

#[test]
fn usage_errors_exit_with_two_and_help_gives_an_example() {
    let home = Home::new();
    assert_eq!(home.run(&["note", "no-such-verb"]).status.code(), Some(2));
    for command in [
        &["--help"][..],
        &["note", "--help"],
        &["sync", "--help"],
        &["link", "--help"],
        &["import", "--help"],
        &["search", "--help"],
    ] {
        let help = home.ok(command);
        assert!(help.contains("lifeos"), "{command:?} shows no example");
    }
}
