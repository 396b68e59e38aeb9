//! What devices tell each other of what they hold, through a real relay: who only reads says so, too, and nobody
//! says anything because somebody else did.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lifeos_client_core::client::{Client, DeviceReceipt, InviteOptions, JoinOutcome};
use lifeos_client_core::protocol::record::{RemoveReason, Role};
use lifeos_tests::world::{World, note, sync, sync_each, titled};
use rusqlite::Connection;

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

/// The counts of all receipts that the relay keeps.
fn counts(world: &World) -> Vec<u32> {
    let files = std::fs::read_dir(world.home("relay")).unwrap().map(|file| file.unwrap().path());
    let database = files.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "db")).unwrap();
    let relay = Connection::open_with_flags(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
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
    let _ = lifeos_tests::world::try_sync(&reader).await;
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
    let before = counts(&world);
    assert!(!before.is_empty());
    sync_each(&[&laptop, &phone, &tablet]).await;
    assert_eq!(counts(&world), before);
    for (name, receipt) in receipts(&laptop) {
        assert!(receipt.is_some_and(|said| said.complete), "{name}");
    }
    // Live, each hears the others' at once.
    let live = [laptop.sync_live(), phone.sync_live(), tablet.sync_live()];
    titled(&phone, "two");
    let has_two = async {
        while lifeos_tests::world::titles(&tablet).len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(lifeos_tests::world::HANG, has_two).await.expect("the note never comes");
    for handle in live {
        handle.stop().await;
    }
    sync_each(&[&laptop, &phone, &tablet]).await;
    let after = counts(&world);
    sync_each(&[&laptop, &phone, &tablet]).await;
    assert_eq!(counts(&world), after);
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
    let relay = world.home("another relay");
    let database = std::fs::read_dir(relay).unwrap().map(|file| file.unwrap().path());
    let database = database.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "db")).unwrap();
    let kept = Connection::open_with_flags(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let rows: u32 = kept.query_row("SELECT count(*) FROM receipt", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 2, "one of each device");
    drop(kept);
    let id = laptop.status().unwrap().devices.into_iter().find(|device| device.name == "phone").unwrap().device;
    laptop.device_remove(&id, RemoveReason::Lost).await.unwrap();
    sync(&laptop).await;
    assert_eq!(receipts(&laptop), []);
    world.relay.shutdown().await;
}
