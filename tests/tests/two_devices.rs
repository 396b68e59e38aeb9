//! Two devices of one person and a real relay: linked with the real protocol, edited apart, converged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;

use lifeos_client_core::client::{Client, ClientError};
use lifeos_client_core::event::{Event, Origin, SyncState};
use lifeos_sync_protocol::record::RemoveReason;
use lifeos_tests::world::{World, assert_settled, copy, note, sync, titles, try_sync, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How many envelopes the relay has refused.
async fn refused_envelopes(world: &World) -> u64 {
    let mut stream = TcpStream::connect(world.relay.addr()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let counter = text.lines().find_map(|line| line.strip_prefix("lifeos_relay_envelopes_refused_total "));
    counter.unwrap().parse().unwrap()
}

/// Every exported file with its bytes.
fn export(client: &Client, dir: &Path) -> BTreeMap<String, Vec<u8>> {
    client.export_markdown(dir, &mut |_| {}).unwrap();
    let mut files = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_made_apart_converge_to_equal_heads_rows_and_files() {
    let world = World::new().await;
    let laptop = world.first();
    let shared = note(&laptop, "Groceries", "# Groceries\n\n- [ ] milk\n- [ ] bread\n\nBoth write here.\n");
    let books = laptop.notebook_create("Books", None).unwrap();
    sync(&laptop).await;

    let phone = world.link(&laptop, "phone").await;
    sync(&phone).await;
    sync(&laptop).await; // the phone's own name
    assert_settled(&[&laptop, &phone]);
    assert_eq!(phone.note(&shared).unwrap().title, "Groceries");
    assert_eq!(phone.status().unwrap().devices.len(), 3, "two devices and the recovery phrase");

    // Apart.
    let on_laptop = note(&laptop, "Read", "A long book [[Groceries]]\n");
    laptop.note_move(&on_laptop, Some(&books)).unwrap();
    laptop
        .note_set_markdown(&shared, "# Groceries\n\n- [ ] milk\n- [ ] bread\n- [ ] salt\n\nBoth write here.\n")
        .unwrap();
    laptop.note_tag(&shared, "home", true).unwrap();
    note(&phone, "From the phone", "short\n");
    phone.note_set_todo(&shared, 0, true).unwrap();
    phone.note_set_title(&shared, "Shopping").unwrap();
    phone.notebook_rename(&books, "Library").unwrap();

    // Together.
    sync(&laptop).await;
    sync(&phone).await;
    sync(&laptop).await;
    assert_settled(&[&laptop, &phone]);
    let merged = phone.note(&shared).unwrap();
    assert_eq!((merged.title.as_str(), merged.tags.as_slice()), ("Shopping", ["home".to_owned()].as_slice()));
    assert!(merged.markdown.contains("- [x] milk") && merged.markdown.contains("- [ ] salt"), "{}", merged.markdown);
    assert_eq!(phone.notebooks().unwrap()[0].name, "Library");
    assert_eq!(phone.note_backlinks(&shared).unwrap().len(), 1);

    let left = export(&laptop, &world.home("left"));
    let right = export(&phone, &world.home("right"));
    assert_eq!(left.len(), 3);
    assert_eq!(left, right);
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_edited_apart_converge_to_the_fields_of_both() {
    let world = World::new().await;
    let laptop = world.first();
    let given = |value: serde_json::Value| value.as_object().unwrap().clone();
    let ana = serde_json::json!({"name": "Ana", "born": "1990-01-02", "tag": ["friend"], "note": "oboe"});
    let id = laptop.entity_create("contact", &given(ana)).unwrap().to_string();
    sync(&laptop).await;
    let phone = world.link(&laptop, "phone").await;
    sync(&phone).await;
    sync(&laptop).await;
    assert_eq!(phone.entity(&id).unwrap().values["name"], "Ana");

    let edit = |client: &Client, value| client.entity_edit(&id, &given(value)).unwrap();
    edit(&laptop, serde_json::json!({"role": "Editor", "met": "2026-03-08", "tag": ["press"], "note": "oboe, chess"}));
    edit(&phone, serde_json::json!({"organisation": "Press", "met": "2026-03-09", "note": "plays oboe"}));
    sync(&laptop).await;
    sync(&phone).await;
    sync(&laptop).await;
    assert_settled(&[&laptop, &phone]);
    let merged = laptop.entity(&id).unwrap();
    assert_eq!(merged, phone.entity(&id).unwrap());
    assert_eq!((&merged.values["role"], &merged.values["organisation"]), (&"Editor".into(), &"Press".into()));
    assert_eq!((&merged.values["note"], merged.lists["tag"].len()), (&"plays oboe, chess".into(), 2));
    // Both days were written at once: one stands, and both are shown.
    assert_eq!((merged.conflicts, merged.marks[0].rule.as_str()), (1, "contact.met"));
    assert!(merged.marks[0].detail.contains("2026-03-08") && merged.marks[0].detail.contains("2026-03-09"));
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sync_without_edits_moves_nothing() {
    let world = World::new().await;
    let laptop = world.first();
    (0..20).for_each(|number| drop(note(&laptop, &format!("n{number}"), "text\n")));
    let first = sync(&laptop).await;
    assert!(first.pushed > 0);
    let second = sync(&laptop).await;
    assert_eq!((second.pushed, second.pulled, second.bytes_pulled), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_device_hears_of_an_edit_elsewhere() {
    let world = World::new().await;
    let laptop = world.first();
    let id = note(&laptop, "Live", "one\n");
    sync(&laptop).await;
    let phone = world.link(&laptop, "phone").await;
    let (left, right) = (laptop.sync_live(), phone.sync_live());
    let mut events = phone.subscribe();
    until(&mut events, |event| matches!(event, Event::Sync { state: SyncState::Live, .. })).await;
    laptop.note_set_markdown(&id, "one\ntwo\n").unwrap();
    until(&mut events, |event| matches!(event, Event::DocumentsChanged { origin: Origin::Remote, .. })).await;
    while phone.note(&id).unwrap().markdown != "one\ntwo\n" {
        until(&mut events, |event| matches!(event, Event::DocumentsChanged { .. })).await;
    }
    let refused = try_sync(&phone).await.unwrap_err();
    assert!(matches!(refused, ClientError::Network { transient: true, .. }), "{refused}");
    left.stop().await;
    right.stop().await;
    sync(&phone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_relay_is_filled_again_by_its_devices() {
    let world = World::new().await;
    let laptop = world.first();
    (0..5).for_each(|number| drop(note(&laptop, &format!("n{number}"), "text\n")));
    sync(&laptop).await;
    let world = world.with_empty_relay().await;
    laptop.set_relay(&world.relay.url()).unwrap();
    // No relay can tell the end of its stream any more: it is left, and what is in it is given like that of others.
    let report = sync(&laptop).await;
    assert!(report.given > 0, "{report:?}");
    let status = laptop.status().unwrap();
    assert_eq!((status.envelopes_unsent, status.relays[0].envelopes_unsent), (0, 0), "and the relay has all of it");

    let phone = world.link(&laptop, "phone").await;
    sync(&phone).await;
    sync(&laptop).await; // the phone's own name
    assert_settled(&[&laptop, &phone]);
    assert_eq!(titles(&phone).len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_device_alone_fills_an_empty_relay_with_what_all_wrote() {
    let world = World::new().await;
    let (laptop, [phone, gone]) = world.devices(["phone", "gone"]).await;
    for (client, title) in [(&laptop, "from the laptop"), (&phone, "from the phone"), (&gone, "from one that is gone")]
    {
        note(client, title, "text\n");
        sync(client).await;
    }
    sync(&laptop).await;
    let removed = gone.status().unwrap().device;
    laptop.device_remove(&removed, RemoveReason::Lost).await.unwrap();
    sync(&laptop).await;
    sync(&phone).await;

    // Only the phone is left, and the relay has lost everything.
    let world = world.with_empty_relay().await;
    phone.set_relay(&world.relay.url()).unwrap();
    let report = sync(&phone).await;
    assert!(report.given >= 2, "{report:?}");
    assert_eq!(sync(&phone).await.given, 0, "and not again");

    let tablet = world.link(&phone, "tablet").await;
    sync(&tablet).await;
    sync(&phone).await;
    assert_settled(&[&phone, &tablet]);
    assert_eq!(titles(&tablet), ["from one that is gone", "from the laptop", "from the phone"]);
    // Who comes later has nothing to add.
    laptop.set_relay(&world.relay.url()).unwrap();
    let report = sync(&laptop).await;
    assert_eq!((report.given, report.quarantined), (0, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_relay_key_is_refused_with_what_to_do() {
    let world = World::new().await;
    let laptop = world.first();
    let address = world.relay.url();
    let address = address.split_once('#').unwrap().0;
    laptop.set_relay(&format!("{address}#{}", "ab".repeat(32))).unwrap();
    let refused = try_sync(&laptop).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Security { message } if message.contains("URL#KEY")), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_not_there_is_a_transient_error_that_says_so() {
    let world = World::new().await;
    let laptop = world.first();
    world.relay.shutdown().await;
    let refused = try_sync(&laptop).await.unwrap_err();
    assert!(matches!(refused, ClientError::Network { transient: true, .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_wrong_codes_end_a_link_and_enrol_nobody() {
    let world = World::new().await;
    let laptop = world.first();
    sync(&laptop).await;
    let home = world.home("phone");
    let mut new = Client::link_new(&home, &world.relay.url(), "phone").await.unwrap();
    let link = new.link().to_owned();
    let (approve, code) = tokio::join!(laptop.link_approve(&link), new.code());
    let (mut approve, code) = (approve.unwrap(), code.unwrap());
    let wrong = if code == "000000" { "000001" } else { "000000" };
    assert_eq!(approve.enter_code(wrong).await.unwrap(), Some(2));
    assert_eq!(approve.enter_code(wrong).await.unwrap(), Some(1));
    assert!(matches!(approve.enter_code(wrong).await, Err(ClientError::Security { .. })));
    assert_eq!(laptop.status().unwrap().devices.len(), 2);
    assert!(Client::open(&home).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_linked_by_another_process_of_the_home_is_believed_by_the_one_that_syncs() {
    let world = World::new().await;
    let syncing = world.first();
    let id = note(&syncing, "Shared", "one\n");
    let mut events = syncing.subscribe();
    let live = syncing.sync_live();
    until(&mut events, |event| matches!(event, Event::Sync { state: SyncState::Live, .. })).await;
    // What a second process sees: the same folder, another store.
    let other = Client::open(&world.home("laptop")).unwrap();
    let phone = world.link(&other, "phone").await;
    sync(&phone).await;
    phone.note_set_markdown(&id, "one\ntwo\n").unwrap();
    sync(&phone).await;
    while syncing.note(&id).unwrap().markdown != "one\ntwo\n" {
        until(&mut events, |event| matches!(event, Event::DocumentsChanged { .. })).await;
    }
    assert!(syncing.status().unwrap().quarantine.is_empty());
    live.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_put_back_from_a_backup_goes_on_and_loses_no_edit() {
    let world = World::new().await;
    let laptop = world.first();
    let id = note(&laptop, "Shared", "one\n");
    sync(&laptop).await;
    let phone = world.link(&laptop, "phone").await;
    sync(&phone).await;
    sync(&laptop).await;

    let (home, backup) = (world.home("laptop"), world.home("backup"));
    drop(laptop);
    copy(&home, &backup);
    let laptop = Client::open(&home).unwrap();
    laptop.note_set_markdown(&id, "one\nlater\n").unwrap();
    sync(&laptop).await;
    drop(laptop);
    std::fs::remove_dir_all(&home).unwrap();
    copy(&backup, &home);

    let restored = Client::open(&home).unwrap();
    restored.note_set_title(&id, "Edited after the restore").unwrap();
    let elsewhere = note(&phone, "From the phone", "new\n");
    sync(&phone).await;
    sync(&restored).await;
    sync(&phone).await;
    assert_eq!(restored.note(&elsewhere).unwrap().markdown, "new\n");
    let both = phone.note(&id).unwrap();
    assert_eq!((both.title.as_str(), both.markdown.as_str()), ("Edited after the restore", "one\nlater\n"));
    assert_settled(&[&restored, &phone]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_home_forks_nothing_and_goes_on_as_a_stream_of_its_own() {
    let world = World::new().await;
    let original = world.first();
    let id = note(&original, "Shared", "one\n");
    sync(&original).await;
    let phone = world.link(&original, "phone").await;
    sync(&phone).await;
    sync(&original).await;
    copy(&world.home("laptop"), &world.home("copy"));

    original.note_set_markdown(&id, "one\noriginal\n").unwrap();
    sync(&original).await;
    let copied = Client::open(&world.home("copy")).unwrap();
    let mine = note(&copied, "Written in the copy", "kept\n");
    let refused = refused_envelopes(&world).await;
    sync(&copied).await;
    assert_eq!(refused_envelopes(&world).await, refused, "it never offers what would fork its stream");
    assert_eq!(copied.note(&mine).unwrap().markdown, "kept\n");
    assert_eq!(copied.note(&id).unwrap().markdown, "one\noriginal\n");

    original.note_set_markdown(&id, "one\noriginal\nmore\n").unwrap();
    sync(&original).await;
    sync(&phone).await;
    sync(&copied).await;
    assert_settled(&[&original, &phone]);
    assert_settled(&[&copied, &phone]);
    assert_eq!(original.note(&mine).unwrap().markdown, "kept\n");
}
