//! Bad input through the real program: each case gets a message that says what to do next, exit code 1, and leaves
//! data as it was. Every case has a twin that works, so that a program that refuses everything fails too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lifeos_tests::process::{Relay, free_port, program};

struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        home.ok(&["init", "--name", "laptop", "--person", "tester"]);
        home.ok(&["note", "add", "--title", "keep me", "--text", "safe and sound"]);
        home
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

    /// The command fails with code 1, without a panic, with a message that holds one of `words`.
    fn refused(&self, args: &[&str], words: &[&str]) -> String {
        said(&self.run(args), words)
    }

    fn unharmed(&self) {
        assert!(self.ok(&["note", "list"]).contains("keep me"));
        assert!(self.ok(&["search", "sound"]).contains("keep me"));
        assert!(self.run(&["doctor"]).status.success(), "the doctor finds the home ill");
    }
}

fn said(output: &Output, words: &[&str]) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "exit code, with: {text}");
    assert!(!text.contains("panicked"), "{text}");
    assert!(
        words.iter().any(|word| text.to_lowercase().contains(&word.to_lowercase())),
        "none of {words:?} in: {text}"
    );
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
    write(&vault.join("locked.md"), b"nobody reads this\n");
    std::fs::set_permissions(vault.join("locked.md"), std::fs::Permissions::from_mode(0o000)).unwrap();
    symlink(&vault, vault.join("loop")).unwrap();
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
    // Whoever is root reads everything.
    let unreadable = std::fs::read(Path::new(&vault).join("locked.md")).is_err();
    assert_eq!(outcome("locked.md"), if unreadable { "failed" } else { "created" });
    for entry in report["entries"].as_array().unwrap() {
        assert!(
            entry["outcome"] == "created" || !entry["reason"].as_str().unwrap().is_empty(),
            "{entry} gives no reason"
        );
    }
    assert_eq!(output.status.code(), Some(1), "some files failed, and the exit code must say so");
    assert!(home.ok(&["search", "readable"]).contains("Good"));
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
    home.refused(&["note", "list"], &["newer", "update"]);
    assert_eq!(version(None), before + 1000, "the refused home was touched");
    version(Some((before, 1)));
    home.unharmed();
}

#[test]
fn no_home_and_a_second_init_say_what_to_do() {
    let home = Home::new();
    let empty = home.path("elsewhere").to_string_lossy().into_owned();
    let output = Command::new(program("lifeos")).args(["--home", &empty, "note", "list"]).output().unwrap();
    said(&output, &["lifeos init"]);
    home.refused(&["init"], &["already"]);
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
    let mut told = std::io::BufRead::lines(std::io::BufReader::new(dying.stdout.take().unwrap()));
    assert!(told.any(|line| line.unwrap().contains("live")), "the watching process ended");
    // While it lives a second one is told so.
    home.refused(&["sync"], &["another", "already", "process"]);
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
    home.refused(&["sync"], &["key"]);
    home.ok(&["relay", "set", &format!("ws://127.0.0.1:{}", free_port())]);
    home.refused(&["sync"], &["reach", "connect", "running"]);
    home.ok(&["relay", "set", &relay.url]);
    home.ok(&["sync"]);
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
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(new.stdout.take().unwrap()));
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
    said(&approve.wait_with_output().unwrap(), &["code"]);
    let _ = new.kill();
    let _ = new.wait();
    let devices = home.ok(&["device", "list", "--json"]);
    assert!(!devices.contains("phone"), "a device was enrolled with a wrong code: {devices}");
    home.unharmed();
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    if !Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "strace is missing");
        return;
    }
    let home = Home::new();
    let mut full = 0;
    for when in [1, 2, 4, 8, 12] {
        let title = format!("written at {when}");
        let inner = home.command(&["note", "add", "--title", &title, "--text", "x"]);
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=pwrite64,write",
            "-e",
            &format!("inject=pwrite64:error=ENOSPC:when={when}+"),
        ]);
        let output = command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null()).output().unwrap();
        let acknowledged = output.status.success();
        if !acknowledged {
            full += 1;
            said(&output, &["disk", "space"]);
        }
        let listed = home.ok(&["note", "list"]).contains(&title);
        assert!(listed || !acknowledged, "{title} was acknowledged and is lost");
    }
    assert!(full > 0, "the disk was never full: the check checked nothing");
    home.unharmed();
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
