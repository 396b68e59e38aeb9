//! What devices tell each other of what they hold, through a real relay: who only reads says so, too, and nobody
//! says anything because somebody else did.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use lifeos_client_core::client::{Client, DeviceReceipt, InviteOptions, JoinOutcome};
use lifeos_client_core::protocol::record::{RemoveReason, Role};
use lifeos_tests::world::{HANG, World, copy, note, relay_in, sync, sync_each, titled, titles, try_sync};
use rusqlite::Connection;
use tokio::time::timeout;

/// What one device's status says that the others confirmed, by their names.
fn receipts(client: &Client) -> Vec<(String, Option<DeviceReceipt>)> {
    let devices = client.status().unwrap().devices;
    devices
        .into_iter()
        .filter(|device| !device.this && device.kind == "normal")
        .map(|device| (device.name, device.receipt))
        .collect()
}

fn only(client: &Client) -> Option<DeviceReceipt> {
    let found = receipts(client);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].1
}

/// The database of the relay whose data lies in this folder.
fn database_of(folder: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.find(|path| path.extension().is_some_and(|ending| ending == "db")).unwrap()
}

/// The counts of all receipts that a relay keeps.
fn counts(folder: &Path) -> Vec<u32> {
    let relay = Connection::open(database_of(folder)).unwrap();
    let mut select = relay.prepare("SELECT seq FROM receipt ORDER BY space, device").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_readers_receipt_reaches_the_writer_and_the_status_says_what_the_reader_has() {
    let world = World::new().await;
    let ana = world.person("Ana");
    let family = ana.space_create("Family", None).unwrap();
    sync(&ana).await;
    sync(&family).await;
    let ben = world.person("Ben");
    let options = InviteOptions { role: Role::Reader, lives_ms: 3_600_000, uses_max: 1, auto: false };
    let link = family.invite_create(options).await.unwrap().to_string();
    assert!(matches!(ben.join(&link, "Ben").await.unwrap(), JoinOutcome::Waiting { .. }));
    let request = family.join_requests().await.unwrap().remove(0);
    family.invite_approve(&request.id[..8], None).await.unwrap();
    assert_eq!(only(&family), None, "nothing is known before his device says something");
    ben.sync_all(&mut |_| {}).await.unwrap();
    let reader = ben.in_space(&family.space().to_string()).unwrap();
    let plan = note(&family, "Plan", "one\n");
    sync(&family).await;
    sync(&reader).await;
    sync(&family).await;
    let said = only(&family).expect("the reader said what it has");
    assert!(said.complete && said.complete_ms.is_some() && said.said_ms.is_some(), "{said:?}");
    assert_eq!((said.unconfirmed_own, said.unconfirmed), (0, 0));

    family.note_set_title(&plan, "Plan B").unwrap();
    sync(&family).await;
    let behind = only(&family).unwrap();
    assert_eq!((behind.complete, behind.unconfirmed_own, behind.complete_ms), (false, 1, said.complete_ms));
    sync(&reader).await;
    sync(&family).await;
    let again = only(&family).unwrap();
    assert!(again.complete && again.complete_ms > said.complete_ms, "{again:?}");
    // What the reader wrote by mistake stays there; the receipt went all the same.
    reader.note_set_title(&plan, "smuggled").unwrap();
    family.note_set_title(&plan, "Plan C").unwrap();
    sync(&family).await;
    let _ = try_sync(&reader).await;
    sync(&family).await;
    assert_eq!(only(&family).unwrap().unconfirmed_own, 0);
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_devices_give_no_receipts_whatever_they_hear() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    titled(&laptop, "one");
    sync_each(&[&laptop, &phone, &tablet]).await;
    let before = counts(&world.home("relay"));
    assert!(!before.is_empty());
    sync_each(&[&laptop, &phone, &tablet]).await;
    assert_eq!(counts(&world.home("relay")), before);
    for (name, receipt) in receipts(&laptop) {
        assert!(receipt.is_some_and(|said| said.complete), "{name}");
    }
    // Live, each hears the others' at once.
    let live = [laptop.sync_live(), phone.sync_live(), tablet.sync_live()];
    titled(&phone, "two");
    let has_two = async {
        while titles(&tablet).len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(HANG, has_two).await.expect("the note never comes");
    for handle in live {
        handle.stop().await;
    }
    sync_each(&[&laptop, &phone, &tablet]).await;
    let after = counts(&world.home("relay"));
    sync_each(&[&laptop, &phone, &tablet]).await;
    assert_eq!(counts(&world.home("relay")), after);
    assert!(after.iter().sum::<u32>() <= before.iter().sum::<u32>() + 6, "{before:?} {after:?}");
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_began_anew_is_told_again_and_a_removed_device_is_heard_no_more() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    titled(&laptop, "one");
    sync_each(&[&laptop, &phone]).await;
    assert!(only(&laptop).unwrap().complete);
    let world = world.with_empty_relay().await;
    for client in [&laptop, &phone] {
        client.set_relay(&world.relay.url()).unwrap();
    }
    sync_each(&[&laptop, &phone]).await;
    assert_eq!(counts(&world.home("another relay")).len(), 2, "one of each device");
    let id = laptop.status().unwrap().devices.into_iter().find(|device| device.name == "phone").unwrap().device;
    laptop.device_remove(&id, RemoveReason::Lost).await.unwrap();
    sync(&laptop).await;
    assert_eq!(receipts(&laptop), []);
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_shows_two_logs_is_found_out_by_the_receipt_of_a_device_that_wrote_nothing() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    titled(&laptop, "common past");
    sync_each(&[&laptop, &phone, &tablet]).await;
    let World { dir, relay } = world;
    relay.shutdown().await;
    // From here on the relay shows the laptop one log, and the others another.
    let (one, other) = (dir.path().join("relay"), dir.path().join("other face"));
    copy(&one, &other);
    let (relay, face) = (relay_in(&one).await, relay_in(&other).await);
    laptop.set_relay(&relay.url()).unwrap();
    phone.set_relay(&face.url()).unwrap();
    tablet.set_relay(&face.url()).unwrap();
    titled(&laptop, "shown to the laptop");
    titled(&tablet, "shown to the others");
    for client in [&laptop, &laptop, &tablet, &phone] {
        sync(client).await;
    }
    let kinds = || laptop.status().unwrap().warnings.into_iter().map(|warning| warning.kind).collect::<Vec<_>>();
    assert_eq!(kinds(), Vec::<String>::new());
    relay.shutdown().await;
    face.shutdown().await;
    // The phone's receipt is all that it passes on from there.
    let ours = Connection::open(database_of(&one)).unwrap();
    ours.execute("ATTACH ?1 AS face", [database_of(&other).to_str().unwrap()]).unwrap();
    let moved = "INSERT OR REPLACE INTO receipt SELECT * FROM face.receipt";
    assert!(ours.execute(moved, []).unwrap() >= 1);
    drop(ours);
    let relay = relay_in(&one).await;
    laptop.set_relay(&relay.url()).unwrap();
    sync(&laptop).await;
    assert_eq!(titles(&laptop), ["common past", "shown to the laptop"]);
    assert!(kinds().contains(&"equivocation_proven".to_owned()), "{:?}", kinds());
    assert!(laptop.status().unwrap().warnings.iter().all(|warning| !warning.evidence.is_empty()));
    // What it says it has is missed here, too.
    let later_ms = i64::MAX;
    let missing = laptop.status_at(later_ms).unwrap().missing;
    assert_eq!(missing.iter().map(|one| one.author.as_str()).collect::<Vec<_>>(), ["tablet"]);
    relay.shutdown().await;
}

/// What each other device is said to have of a note, by its name.
fn reach(client: &Client, note: &str) -> Vec<(String, String)> {
    let devices = client.note_receipts(note).unwrap().devices;
    let mut reach: Vec<_> = devices.into_iter().map(|device| (device.name, device.reach)).collect();
    reach.sort();
    reach
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_is_said_to_be_where_a_device_signed_that_it_has_it_and_nowhere_else() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    let is = |phone: &str, tablet: &str| {
        vec![("phone".to_owned(), phone.to_owned()), ("tablet".to_owned(), tablet.to_owned())]
    };
    let (plan, list) = (note(&laptop, "Plan", "one\n"), note(&laptop, "List", "milk\n"));
    assert_eq!(reach(&laptop, &plan), is("not_confirmed", "not_confirmed"));
    let relay_has = |note: &str| laptop.note_receipts(note).unwrap().relays[0].has;
    assert!(!relay_has(&plan), "it is not even sealed");
    sync(&laptop).await;
    assert_eq!((relay_has(&plan), reach(&laptop, &plan)), (true, is("not_confirmed", "not_confirmed")));
    sync(&phone).await;
    sync(&laptop).await;
    assert_eq!(reach(&laptop, &plan), is("has", "not_confirmed"));
    // The list changes: what the phone has of the plan it has all the same, though not all of the space.
    laptop.note_set_title(&list, "Groceries").unwrap();
    sync(&laptop).await;
    assert!(receipts(&laptop).iter().any(|(name, said)| name == "phone" && !said.unwrap().complete));
    assert_eq!(reach(&laptop, &plan), is("has", "not_confirmed"));
    assert_eq!(reach(&laptop, &list), is("not_confirmed", "not_confirmed"));
    // What another device wrote and this one has is asked of the third in the same way.
    phone.note_set_title(&plan, "Plan B").unwrap();
    sync_each(&[&phone, &laptop]).await;
    assert_eq!(reach(&laptop, &plan), is("has", "not_confirmed"), "its author has it");
    sync_each(&[&tablet, &laptop]).await;
    assert_eq!(reach(&laptop, &plan)[1].1, "has");
    sync_each(&[&phone, &tablet, &laptop]).await;
    assert_eq!((reach(&laptop, &plan), reach(&laptop, &list)), (is("has", "has"), is("has", "has")));
    // Every device says it of every other one, and opening the home anew changes nothing.
    assert!(reach(&tablet, &plan).iter().all(|(_, reach)| reach == "has"));
    drop(laptop);
    let laptop = Client::open(&world.home("laptop")).unwrap();
    assert_eq!(reach(&laptop, &plan), is("has", "has"));
    // One that is removed is asked no more.
    laptop.device_remove("tablet", RemoveReason::Lost).await.unwrap();
    assert_eq!(reach(&laptop, &plan), is("has", "")[..1]);
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_synced_under_a_new_key_is_not_said_to_be_everywhere() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    sync_each(&[&laptop, &phone, &tablet]).await;
    phone.rotate_keys().await.unwrap();
    let id = note(&phone, "Plan", "under the new key\n");
    sync(&phone).await;
    // This handle slept while another program synced the home.
    sync(&Client::open(&world.home("laptop")).unwrap()).await;
    let said = laptop.note_receipts(&id).unwrap().devices;
    let of_tablet = said.iter().find(|device| device.name == "tablet").unwrap();
    assert_eq!(of_tablet.reach, "not_confirmed", "it has not even synced");
    world.relay.shutdown().await;
}
