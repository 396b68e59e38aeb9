//! Words, passphrases and backups as scripts use them.

use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::{Desk, contract, text};

/// Runs a command with these variables and this text on stdin.
pub(super) fn run(desk: &Desk, home: &str, args: &[&str], variables: &[(&str, &str)], stdin: &str) -> Output {
    let mut command = desk.command(home, args);
    for name in ["LIFEOS_PASSPHRASE", "LIFEOS_PASSPHRASE_FD", "LIFEOS_NEW_PASSPHRASE", "LIFEOS_NEW_PASSPHRASE_FD"] {
        command.env_remove(name);
    }
    let mut child = command.envs(variables.iter().copied()).stdin(Stdio::piped()).spawn().unwrap();
    // A command that reads no stdin may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

pub(super) fn json(desk: &Desk, home: &str, args: &[&str], variables: &[(&str, &str)], stdin: &str) -> Value {
    let output = run(desk, home, &[args, &["--json"]].concat(), variables, stdin);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    let printed = serde_json::from_slice(&output.stdout).unwrap();
    contract::hold(args, &printed);
    printed
}

pub(super) fn refused(desk: &Desk, home: &str, args: &[&str], variables: &[(&str, &str)], stdin: &str) -> String {
    let output = run(desk, home, args, variables, stdin);
    assert_ne!(output.status.code(), Some(0), "{args:?} should fail");
    text(&output.stderr)
}

#[test]
fn words_are_checked_and_the_wrong_one_is_named() {
    let desk = Desk::new();
    let words = desk.init("a", None)["recovery_phrase"].as_str().unwrap().to_owned();
    let checked = json(&desk, "a", &["recovery", "check"], &[], &format!("{}\n", words.to_uppercase()));
    assert_eq!(checked["standing"], "current");
    assert_eq!(json(&desk, "a", &["key", "show"], &[], "")["phrase_checked"], true);

    let second = words.split(' ').nth(1).unwrap();
    let misspelt = words.replacen(&format!(" {second} "), &format!(" {second}x "), 1);
    let error = refused(&desk, "a", &["recovery", "check"], &[], &misspelt);
    assert!(error.contains(&format!("word 2 (\"{second}x\") is not in the word list")), "{error}");
    let (first, rest) = words.split_once(' ').unwrap();
    let order = refused(&desk, "a", &["recovery", "check"], &[], &format!("{rest} {first}"));
    assert!(order.contains("checksum") || order.contains("not of this space"), "{order}");
    let other = desk.init("b", None)["recovery_phrase"].as_str().unwrap().to_owned();
    let error = refused(&desk, "a", &["recovery", "check"], &[], &other);
    assert!(error.contains("not of this space"), "{error}");
    let long = desk.json("c", &["init", "--words", "24"]);
    assert_eq!(long["recovery_phrase"].as_str().unwrap().split(' ').count(), 24);
}

#[test]
fn words_that_were_not_typed_back_are_brought_up_until_they_are() {
    let desk = Desk::new();
    let words = desk.init("a", None)["recovery_phrase"].as_str().unwrap().to_owned();
    let standing = |home: &str| {
        let unchecked = desk.json(home, &["status"])["phrase_unchecked"].clone();
        (unchecked, desk.json(home, &["key", "show"])["phrase_checked"].clone())
    };
    let (brought_up, settled) = ((Value::Bool(true), Value::Bool(false)), (Value::Bool(false), Value::Bool(true)));
    let page = || text(&run(&desk, "a", &["status"], &[], "").stdout);
    assert_eq!(standing("a"), brought_up, "nobody was asked");
    assert!(page().contains("not typed back yet: run `lifeos recovery check`"), "{}", page());
    json(&desk, "a", &["recovery", "check"], &[], &words);
    assert_eq!(standing("a"), settled);
    assert!(!page().contains("recovery check"), "{}", page());

    let new = desk.json("a", &["recovery", "new"]);
    assert_eq!(new["checked"], false);
    assert_eq!(standing("a"), brought_up, "the old words were typed back, not these");
    refused(&desk, "a", &["recovery", "check"], &[], &words);
    assert_eq!(standing("a"), brought_up, "the old words are no proof of the new ones");
    json(&desk, "a", &["recovery", "check"], &[], new["recovery_phrase"].as_str().unwrap());
    assert_eq!(standing("a"), settled);
}

#[test]
fn a_passphrase_is_asked_for_by_every_command_until_it_is_removed() {
    let desk = Desk::new();
    desk.init("a", None);
    let id = desk.add("a", "Kept", "under a passphrase");
    let short = refused(&desk, "a", &["key", "passphrase", "set"], &[("LIFEOS_NEW_PASSPHRASE", "short")], "");
    assert!(short.contains("at least 8 characters"), "{short}");
    let new = [("LIFEOS_NEW_PASSPHRASE", "correct horse battery")];
    let kept = json(&desk, "a", &["key", "passphrase", "set"], &new, "");
    assert_eq!((&kept["place"], &kept["passphrase"]), (&"file".into(), &true.into()));

    let locked = refused(&desk, "a", &["note", "show", &id], &[], "");
    assert!(locked.contains("LIFEOS_PASSPHRASE_FD"), "{locked}");
    let wrong = refused(&desk, "a", &["note", "show", &id], &[("LIFEOS_PASSPHRASE", "correct horse batter")], "");
    assert!(wrong.contains("not the passphrase"), "{wrong}");
    let right = [("LIFEOS_PASSPHRASE", "correct horse battery")];
    assert_eq!(json(&desk, "a", &["note", "show", &id], &right, "")["title"], "Kept");
    #[cfg(unix)]
    {
        let by_descriptor = [("LIFEOS_PASSPHRASE_FD", "0")];
        let shown = json(&desk, "a", &["note", "show", &id], &by_descriptor, "correct horse battery\n");
        assert_eq!(shown["title"], "Kept");
    }
    json(&desk, "a", &["key", "passphrase", "remove"], &right, "");
    assert_eq!(desk.json("a", &["note", "show", &id])["title"], "Kept");
}

#[test]
#[cfg(unix)]
fn a_key_that_others_can_read_opens_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let desk = Desk::new();
    desk.init("a", None);
    let key = desk.path("a").join("device.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = refused(&desk, "a", &["status"], &[], "");
    assert!(error.contains(&format!("chmod 600 {}", key.display())), "{error}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    desk.json("a", &["status"]);
    let moved = json(&desk, "a", &["key", "move", "file"], &[], "");
    assert_eq!(moved["place"], "file");
}

#[test]
fn a_backup_comes_back_whole_or_not_at_all() {
    let desk = Desk::new();
    let words = desk.init("a", None)["recovery_phrase"].as_str().unwrap().to_owned();
    let ids: Vec<String> = (0..40).map(|n| desk.add("a", &format!("Note {n}"), &"long text ".repeat(400))).collect();
    let file = desk.path("all.lifeos");
    let name = file.to_str().unwrap();
    let passphrase = [("LIFEOS_NEW_PASSPHRASE", "correct horse battery")];
    let made = json(&desk, "a", &["backup", name, "--passphrase"], &passphrase, "");
    assert_eq!((&made["opens_with_phrase"], &made["opens_with_passphrase"]), (&true.into(), &true.into()));
    let bytes = std::fs::read(&file).unwrap();
    assert!(!bytes.windows(20).any(|window| window == b"long text long text "));

    let restored = json(&desk, "words", &["restore", name], &[], &words);
    assert_eq!((&restored["notes"], &restored["key_place"]), (&40.into(), &"file".into()));
    let said = text(&run(&desk, "said", &["restore", name], &[], &words).stdout);
    assert!(said.contains("Key      in device.key, readable by you alone"), "it lies in the clear: {said}");
    for id in &ids {
        assert_eq!(
            desk.json("words", &["note", "show", id])["markdown"],
            desk.json("a", &["note", "show", id])["markdown"]
        );
    }
    desk.add("words", "After", "a new stream");
    let opener = [("LIFEOS_PASSPHRASE", "correct horse battery")];
    assert_eq!(json(&desk, "passphrase", &["restore", name, "--passphrase"], &opener, "")["notes"], 40);
    assert!(desk.json("words", &["doctor"])["ok"].as_bool().unwrap());

    let exists = refused(&desk, "a", &["restore", name], &[], &words);
    assert!(exists.contains("there is a home here already"), "{exists}");
    let other = desk.init("b", None)["recovery_phrase"].as_str().unwrap().to_owned();
    let wrong = refused(&desk, "none", &["restore", name], &[], &other);
    assert!(wrong.contains("do not open this backup"), "{wrong}");
    let (mut altered, cut) = (bytes.clone(), &bytes[..bytes.len() / 2]);
    altered[bytes.len() / 2] ^= 1;
    for (broken, says) in [(&altered[..], "altered"), (cut, "cut short"), (b"something else entirely", "no backup")] {
        std::fs::write(&file, broken).unwrap();
        let error = refused(&desk, "none", &["restore", name], &[], &words);
        assert!(error.contains(says) || (says == "cut short" && error.contains("altered")), "{error}");
        let home = desk.path("none");
        assert!(!home.join("lifeos.db").exists() && !home.join("device.key").exists(), "half a home");
    }
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(json(&desk, "none", &["restore", name], &[], &words)["notes"], 40, "a failed try is no obstacle");
}
