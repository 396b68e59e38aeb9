//! A home whose database is encrypted, beside one whose is not: they work alike and together.
#![cfg(feature = "sqlcipher")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use lifeos_client_core::client::{BackupKeys, Client, DatabaseForm, OpenOptions, RestoreKey};
use lifeos_tests::world::{World, assert_settled, note, sync, sync_each, titled, titles};

const SECRET: &str = "marmalade";

fn convert(home: &Path, to: DatabaseForm) {
    assert!(Client::convert_database(home, &OpenOptions::default(), to, &mut |_| {}).unwrap());
    assert_eq!(Client::database_form(home).unwrap(), to);
}

/// Whether any file of a folder tells the secret.
fn tells(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes.windows(SECRET.len()).any(|window| window.eq_ignore_ascii_case(SECRET.as_bytes()))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_home_and_a_plain_one_sync_into_the_same_notes() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let shared = note(&laptop, "Jam", &format!("a jar of {SECRET}\n"));
    drop(laptop);
    let home = world.home("laptop");
    assert!(tells(&home));
    convert(&home, DatabaseForm::Encrypted);

    let laptop = Client::open(&home).unwrap();
    titled(&laptop, "written when encrypted");
    titled(&phone, &format!("{SECRET} on the phone"));
    sync_each(&[&laptop, &phone]).await;
    assert_settled(&[&laptop, &phone]);
    phone.note_set_title(&shared, "Jams").unwrap();
    sync_each(&[&phone, &laptop]).await;
    assert_eq!(laptop.note(&shared).unwrap().title, "Jams");
    assert_eq!(laptop.search(SECRET, 10).unwrap().len(), 2);
    assert!(laptop.doctor(true, &mut |_| {}).unwrap().ok);

    let vault = world.home("vault");
    std::fs::create_dir_all(&vault).unwrap();
    std::fs::write(vault.join("file.md"), format!("# Imported\n\n{SECRET}\n")).unwrap();
    assert_eq!(laptop.import_markdown(&vault, false, &mut |_| {}).unwrap().created, 1);
    let other = laptop.space_create("Other", None).unwrap();
    titled(&other, "in another space");
    assert_eq!(titles(&laptop.in_space("Other").unwrap()), ["in another space"]);
    assert!(!tells(&home), "while it is open, with its log");
    assert!(tells(&world.home("phone")), "the scanner finds what is there");

    let before = laptop.projection_digest().unwrap();
    drop((laptop, other));
    convert(&home, DatabaseForm::Plain);
    let laptop = Client::open(&home).unwrap();
    assert_eq!(laptop.projection_digest().unwrap(), before);
    sync_each(&[&laptop, &phone]).await;
    assert_settled(&[&laptop, &phone]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_an_encrypted_home_is_restored_to_a_plain_one_and_tells_nothing_on_the_way() {
    let world = World::new().await;
    let (laptop, phrase) = world.first_with_phrase();
    note(&laptop, "Jam", &format!("a jar of {SECRET}\n"));
    sync(&laptop).await;
    drop(laptop);
    let home = world.home("laptop");
    convert(&home, DatabaseForm::Encrypted);
    let laptop = Client::open(&home).unwrap();
    let file = world.home("kept.lifeos");
    let mut looked = 0;
    let mut look = |_| {
        looked += 1;
        assert!(!tells(&home), "a plain copy lies in the home");
    };
    laptop.backup(&file, &BackupKeys::default(), &mut look).unwrap();
    assert!(looked >= 2);

    let restored = world.home("restored");
    let (restored_client, report) =
        Client::restore(&restored, &file, &RestoreKey::Phrase(&phrase), &mut |_| {}).unwrap();
    assert_eq!(report.notes, 1);
    assert_eq!(Client::database_form(&restored).unwrap(), DatabaseForm::Plain);
    assert_eq!(titles(&restored_client), titles(&laptop));
    assert_eq!(restored_client.projection_digest().unwrap(), laptop.projection_digest().unwrap());
}

#[test]
fn the_device_key_of_another_home_opens_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = || lifeos_client_core::client::InitOptions {
        device_name: "desk".into(),
        person_name: "Ana".into(),
        relay: None,
    };
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    for home in [&one, &other] {
        drop(Client::create(home, options()).unwrap());
    }
    convert(&one, DatabaseForm::Encrypted);
    let right = std::fs::read(one.join("device.key")).unwrap();
    std::fs::copy(other.join("device.key"), one.join("device.key")).unwrap();
    let error = Client::open(&one).unwrap_err().to_string();
    assert!(error.contains("another home") && error.contains("damaged"), "{error}");
    // Nor is a plain database encrypted under a key that is not its own.
    std::fs::write(other.join("device.key"), &right).unwrap();
    let refused = Client::convert_database(&other, &OpenOptions::default(), DatabaseForm::Encrypted, &mut |_| {});
    assert!(refused.unwrap_err().to_string().contains("another home"));
    assert_eq!(Client::database_form(&other).unwrap(), DatabaseForm::Plain);
    std::fs::write(one.join("device.key"), right).unwrap();
    Client::open(&one).unwrap();
    assert!(!Client::is_recovering(&one));
}
