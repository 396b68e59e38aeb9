//! Losing everything, and coming back: from words and a relay, from a backup with the relay gone, with words that
//! somebody else may know.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lifeos_client_core::client::{BackupKeys, Client, ClientError, PhraseStanding, RecoverReport, RestoreKey};
use lifeos_client_core::keys::{PhraseLength, RecoveryPhrase};
use lifeos_client_core::recovery::RecoveryState;
use lifeos_tests::process::{Relay, free_port, program};
use lifeos_tests::world::{HANG, World, relay_in, sync, titled, try_sync};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

async fn recover(world: &World, name: &str, phrase: &RecoveryPhrase) -> Result<(Client, RecoverReport), ClientError> {
    let (home, url) = (world.home(name), world.relay.url());
    let (mut tell, mut step) = (|_| {}, |_| {});
    let recovering = Client::recover(&home, &url, phrase, name, &mut tell, &mut step);
    timeout(HANG, recovering).await.expect("recovery hangs")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_devices_lost_words_and_a_relay_bring_everything_back_and_remove_the_lost() {
    let world = World::new().await;
    let (laptop, phrase) = world.first_with_phrase();
    let on_laptop = titled(&laptop, "Written on the laptop");
    sync(&laptop).await;
    let phone = world.link(&laptop, "phone").await;
    sync(&phone).await;
    let on_phone = titled(&phone, "Written on the phone");
    sync(&phone).await;
    sync(&laptop).await;
    let digest = phone.projection_digest().unwrap();

    let (found, report) = recover(&world, "found", &phrase).await.unwrap();
    assert_eq!((report.devices_removed, report.notes), (2, 2));
    assert_eq!(report.states.last(), Some(&RecoveryState::Done));
    assert_eq!(found.note(&on_laptop).unwrap().title, "Written on the laptop");
    assert_eq!(found.note(&on_phone).unwrap().title, "Written on the phone");
    sync(&found).await;
    assert_ne!(found.projection_digest().unwrap(), digest, "the new device's own name came");
    assert_eq!(found.status().unwrap().devices.len(), 2, "this device and the recovery phrase");
    assert!(found.doctor(false, &mut |_| {}).unwrap().ok);

    // The lost ones are out: what comes is refused, and what they write stays with them.
    let secret = titled(&found, "Not for the lost ones");
    sync(&found).await;
    titled(&phone, "Too late");
    assert!(try_sync(&phone).await.is_err());
    assert!(phone.note(&secret).is_err());
    sync(&found).await;
    assert_eq!(found.status().unwrap().notes, 3, "nothing of a lost device came in");

    // The same words go on working, and find what was written since.
    let (again, report) = recover(&world, "again", &phrase).await.unwrap();
    assert_eq!((report.devices_removed, report.notes), (1, 3));
    assert_eq!(again.note(&secret).unwrap().title, "Not for the lost ones");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_words_and_an_empty_relay_write_nothing_and_say_what_to_do() {
    let world = World::new().await;
    let (laptop, phrase) = world.first_with_phrase();
    sync(&laptop).await;
    let other = Client::new_recovery_phrase(PhraseLength::Words12);
    let error = recover(&world, "none", &other).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Invalid { message } if message.contains("no space at this relay knows")),
        "{error}"
    );
    assert!(!world.home("none").exists(), "nothing is written before the words are verified");

    let empty = relay_in(&world.home("empty")).await;
    let (home, url) = (world.home("none"), empty.url());
    let error = Client::recover(&home, &url, &phrase, "none", &mut |_| {}, &mut |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("lifeos restore"), "{error}");
    assert!(!home.exists());

    let (laptop_home, url) = (world.home("laptop"), world.relay.url());
    let error = Client::recover(&laptop_home, &url, &phrase, "x", &mut |_| {}, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, ClientError::Home { .. }), "a home is never recovered over: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_that_was_cut_off_goes_on_where_it_was() {
    let world = World::new().await;
    let (laptop, phrase) = world.first_with_phrase();
    for n in 0..20 {
        titled(&laptop, &format!("Note {n}"));
    }
    sync(&laptop).await;
    let home = world.home("found");
    let url = world.relay.url();
    for cut_at in [RecoveryState::EpochOpen, RecoveryState::DataOk, RecoveryState::Rotated] {
        let (reached, mut notice) = tokio::sync::mpsc::unbounded_channel();
        let (to, url, phrase) = (home.clone(), url.clone(), phrase.clone());
        let task = tokio::spawn(async move {
            let mut tell = |state| {
                if state == cut_at {
                    let _ = reached.send(());
                }
            };
            Client::recover(&to, &url, &phrase, "found", &mut tell, &mut |_| {}).await.is_ok()
        });
        notice.recv().await;
        task.abort();
        if task.await.is_ok_and(|done| done) {
            break; // it was faster than the cut
        }
        if home.join("lifeos.db").exists() {
            let message = Client::open(&home).map(drop).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.is_empty() || message.contains("recovery was begun here"), "{message}");
        }
    }
    let client = match Client::open(&home) {
        Ok(client) => client,
        Err(_) => recover(&world, "found", &phrase).await.unwrap().0,
    };
    assert_eq!(client.status().unwrap().notes, 20);
    let devices = client.status().unwrap().devices;
    assert_eq!(devices.len(), 2, "one new device, whatever was tried before: {devices:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_words_work_and_the_old_ones_are_refused() {
    let world = World::new().await;
    let (laptop, old) = world.first_with_phrase();
    let before = titled(&laptop, "Before");
    sync(&laptop).await;
    assert_eq!(laptop.phrase_standing(&old), PhraseStanding::Current);

    let new = Client::new_recovery_phrase(PhraseLength::Words24);
    laptop.replace_recovery_phrase(&new, true).await.unwrap();
    assert_eq!(laptop.phrase_standing(&old), PhraseStanding::Replaced);
    assert_eq!(laptop.phrase_standing(&new), PhraseStanding::Current);
    let after = titled(&laptop, "After");
    sync(&laptop).await;

    let error = recover(&world, "thief", &old).await.unwrap_err();
    assert!(matches!(error, ClientError::Invalid { .. }), "{error}");
    assert!(!world.home("thief").exists());
    let (found, _) = recover(&world, "found", &new).await.unwrap();
    assert!(found.note(&before).is_ok() && found.note(&after).is_ok());
    let twice = found.replace_recovery_phrase(&old, true).await.unwrap_err();
    assert!(twice.to_string().contains("enrolled before"), "old words never come back: {twice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_another_device_replaced_count_as_not_typed_back_here() {
    let world = World::new().await;
    let (laptop, old) = world.first_with_phrase();
    sync(&laptop).await;
    let phone = world.link(&laptop, "phone").await;
    let standing = |client: &Client| (client.is_phrase_checked().unwrap(), client.status().unwrap().phrase_unchecked);
    assert_eq!(standing(&laptop), (false, true), "they were made here and never typed");
    laptop.phrase_was_checked(&old).unwrap();
    assert_eq!(standing(&laptop), (true, false));
    assert_eq!(standing(&phone), (false, false), "it has never had to do with them");
    sync(&phone).await;
    let new = Client::new_recovery_phrase(PhraseLength::Words12);
    phone.replace_recovery_phrase(&new, true).await.unwrap();
    assert_eq!(standing(&phone), (true, false));
    sync(&laptop).await;
    assert_eq!(standing(&laptop), (false, true), "other words are in force");
    laptop.phrase_was_checked(&new).unwrap();
    assert_eq!(standing(&laptop), (true, false));
    let newest = Client::new_recovery_phrase(PhraseLength::Words12);
    laptop.replace_recovery_phrase(&newest, false).await.unwrap();
    assert_eq!(standing(&laptop), (false, true), "made by a script");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_alone_brings_everything_back_and_the_old_copy_and_the_new_one_both_go_on() {
    let world = World::new().await;
    let (laptop, phrase) = world.first_with_phrase();
    let kept = titled(&laptop, "Kept");
    sync(&laptop).await;
    let unsent = titled(&laptop, "Not sent when the backup was made");
    let file = world.home("all.lifeos");
    laptop.backup(&file, &BackupKeys::default(), &mut |_| {}).unwrap();

    let restored = world.home("restored");
    let (client, report) = Client::restore(&restored, &file, &RestoreKey::Phrase(&phrase), &mut |_| {}).unwrap();
    assert_eq!(report.notes, 2);
    assert_eq!(client.device(), laptop.device());
    assert_eq!(client.projection_digest().unwrap(), laptop.projection_digest().unwrap());
    drop(laptop);

    let later = titled(&client, "After the restore");
    client.note_set_title(&unsent, "Not sent, then renamed").unwrap();
    sync(&client).await;
    let (found, _) = recover(&world, "found", &phrase).await.unwrap();
    assert_eq!(found.note(&kept).unwrap().title, "Kept");
    assert_eq!(found.note(&unsent).unwrap().title, "Not sent, then renamed");
    assert_eq!(found.note(&later).unwrap().title, "After the restore");
    let status = found.status().unwrap();
    assert!(status.quarantine.is_empty(), "{:?}", status.quarantine);
}

/// A `lifeos` program in a folder of its own.
struct Machine {
    home: PathBuf,
}

impl Machine {
    fn run(&self, args: &[&str], stdin: &str) -> Output {
        let mut command = Command::new(program("lifeos"));
        command.env_remove("LIFEOS_HOME").arg("--home").arg(&self.home).args(args).arg("--json");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("lifeos starts");
        let _ = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
        child.wait_with_output().expect("lifeos ends")
    }

    fn json(&self, args: &[&str], stdin: &str) -> Value {
        let output = self.run(args, stdin);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one document")
    }

    fn wipe(&self) {
        std::fs::remove_dir_all(&self.home).unwrap();
    }
}

fn machine(dir: &Path, name: &str) -> Machine {
    Machine { home: dir.join(name) }
}

#[test]
fn the_full_loss_drill_from_words_and_relay_and_then_from_a_backup_with_the_relay_gone() {
    let dir = TempDir::new().unwrap();
    let mut relay = Relay::start(&dir.path().join("relay"), free_port(), None).expect("the relay starts");
    let laptop = machine(dir.path(), "laptop");
    let begun = laptop.json(&["init", "--name", "laptop", "--relay", &relay.url], "");
    let words = begun["recovery_phrase"].as_str().unwrap().to_owned();
    let note = laptop.json(&["note", "add", "Everything I have", "--text", "is here"], "")["id"].clone();
    laptop.json(&["sync"], "");
    laptop.wipe();

    let bare = machine(dir.path(), "bare");
    let found = bare.json(&["recover", "--relay", &relay.url, "--name", "bare"], &words);
    assert_eq!((&found["notes"], &found["devices_removed"]), (&1.into(), &1.into()));
    assert_eq!(found["synced"], true);
    assert_eq!(bare.json(&["note", "show", note.as_str().unwrap()], "")["title"], "Everything I have");

    let file = dir.path().join("all.lifeos");
    bare.json(&["backup", file.to_str().unwrap()], "");
    bare.wipe();
    relay.kill();
    std::fs::remove_dir_all(dir.path().join("relay")).unwrap();

    let next = machine(dir.path(), "next");
    let error = next.run(&["recover", "--relay", &relay.url], &words);
    assert!(!error.status.success());
    assert!(!next.home.join("lifeos.db").exists());
    assert_eq!(next.json(&["restore", file.to_str().unwrap()], &words)["notes"], 1);
    assert_eq!(next.json(&["note", "show", note.as_str().unwrap()], "")["markdown"], "is here");
    assert_eq!(next.json(&["doctor"], "")["ok"], true);
}
