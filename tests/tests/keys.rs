//! Keys and people, whole: several devices, a real relay, removals, rotations, copies, and what each can read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lifeos_client_core::client::{BundleBase, Client, ClientError, InviteOptions};
use lifeos_client_core::crypto::{HpkeKey, SystemRandom};
use lifeos_client_core::envelope;
use lifeos_client_core::keys::{DeviceKeys, OwnKeys, health};
use lifeos_client_core::keystore::system_keystore;
use lifeos_client_core::records::{Draft, next_record, unlock_epochs};
use lifeos_client_core::store::{Page, SealBudget, Store, Unknown, unlock_device_root};
use lifeos_client_core::witness::Rolls;
use lifeos_sync_protocol::envelope::Envelope;
use lifeos_sync_protocol::frame::Item;
use lifeos_sync_protocol::ids::{EpochRef, StreamId};
use lifeos_sync_protocol::record::{Body, RemoveReason, Role};
use lifeos_tests::world::{
    HANG, NOWHERE, World, assert_equal, assert_settled, copy, sync, sync_each, titled, titles, try_sync,
};
use tokio::time::timeout;

fn holds(client: &Client, title: &str) -> bool {
    titles(client).iter().any(|held| held == title)
}

fn keys_of(home: &Path, store: &Store, client: &Client) -> DeviceKeys {
    let random = store.membership(&client.space()).unwrap().genesis_random;
    unlock_device_root(home, system_keystore(), None).unwrap().derive_space(&random)
}

/// Every envelope that a device holds: stream, sequence, bytes.
fn envelopes(store: &Store, client: &Client) -> Vec<(StreamId, u32, Envelope)> {
    let space = client.space();
    let streams = store.reads().streams(&space).unwrap();
    let of_stream = |stream: StreamId| {
        let found = store.envelopes(&space, &stream, (1, u32::MAX), usize::MAX, usize::MAX).unwrap();
        found.into_iter().map(move |sealed| (stream, sealed.seq, Envelope::parse(sealed.bytes).unwrap()))
    };
    streams.into_iter().flat_map(|row| of_stream(row.stream)).collect()
}

fn places(envelopes: &[(StreamId, u32, Envelope)]) -> BTreeSet<(StreamId, u32)> {
    envelopes.iter().map(|(stream, seq, _)| (*stream, *seq)).collect()
}

/// What a device could open if the relay gave it everything that `holder` holds, records and all.
fn readable(world: &World, reader: &Client, reader_home: &str, holder_home: &str) -> BTreeSet<(StreamId, u32)> {
    let space = reader.space();
    let store = Store::open(&world.home(holder_home)).unwrap();
    let keys = keys_of(&world.home(reader_home), &store, reader);
    let (records, membership) = (store.records(&space).unwrap(), store.membership(&space).unwrap());
    let opened = unlock_epochs(&membership, &records, OwnKeys::first(&keys));
    let opens = |(_, _, sealed): &(StreamId, u32, Envelope)| {
        let header = *sealed.header();
        let device = store.reads().streams(&space).unwrap().into_iter().find(|row| row.stream == header.stream);
        let tip = envelope::StreamTip {
            stream: header.stream,
            device: device.unwrap().device,
            seq: header.seq - 1,
            id: header.prev,
        };
        let check = envelope::SignatureCheck::Now;
        let (verified, _) = envelope::verify(&space, &membership, Some(&tip), sealed.clone(), check).unwrap();
        envelope::open(&space, &verified, &opened.keyring).is_ok()
    };
    let all: Vec<_> = envelopes(&store, reader).into_iter().filter(opens).collect();
    places(&all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_can_open_exactly_what_was_sealed_before_it_was_removed() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    titled(&laptop, "before");
    titled(&phone, "from the phone");
    sync_each(&[&laptop, &phone, &tablet]).await;
    let before = places(&envelopes(&Store::open(&world.home("laptop")).unwrap(), &laptop));
    assert!(before.len() >= 5);

    let report = laptop.device_remove("phone", RemoveReason::Lost).await.unwrap();
    assert!(report.new_key && report.told_relay, "{report:?}");
    titled(&laptop, "after");
    titled(&tablet, "after, from the tablet");
    sync_each(&[&laptop, &tablet]).await;
    assert_equal(&[&laptop, &tablet]);
    let all = places(&envelopes(&Store::open(&world.home("laptop")).unwrap(), &laptop));
    assert!(all.len() > before.len() + 1);

    // Even if the relay gives it everything: the same envelopes as before, not one more, not one less.
    assert_eq!(readable(&world, &phone, "phone", "laptop"), before);
    assert_eq!(readable(&world, &tablet, "tablet", "laptop"), all);
    assert_eq!(readable(&world, &laptop, "laptop", "tablet"), all);
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_is_refused_says_so_and_keeps_its_notes() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    titled(&laptop, "shared");
    sync_each(&[&laptop, &phone, &tablet]).await;
    laptop.device_remove("phone", RemoveReason::Lost).await.unwrap();
    titled(&phone, "written too late");
    let refused = try_sync(&phone).await.unwrap_err();
    assert!(matches!(refused, ClientError::Network { transient: false, .. }), "{refused}");
    let status = phone.status().unwrap();
    assert!(status.keys.text.contains("removed"), "{}", status.keys.text);
    assert_eq!(status.changes_pending, 1, "nothing is sealed, nothing is lost");
    let out = world.home("out");
    assert_eq!(phone.export_markdown(&out, &mut |_| {}).unwrap().notes, 2);
    sync_each(&[&laptop, &tablet]).await;
    assert_eq!(titles(&tablet), ["shared"]);
    let devices = laptop.status().unwrap().devices;
    assert!(devices.iter().all(|device| device.name != "phone"), "{devices:?}");
    assert!(laptop.device_remove("phone", RemoveReason::Lost).await.is_err(), "it is gone");
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_sealed_before_a_rotation_and_delivered_after_it_is_taken_everywhere() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    titled(&tablet, "sealed early");
    let old_epoch = seal_without_sending(&world, &tablet, "tablet");
    let generation = laptop.rotate_keys().await.unwrap().generation;
    assert!(generation > 1);
    sync_each(&[&laptop, &phone, &tablet]).await;
    assert_equal(&[&laptop, &phone, &tablet]);
    assert!(holds(&phone, "sealed early"));
    assert_eq!(phone.key_status().unwrap().generation, generation);
    let store = Store::open(&world.home("phone")).unwrap();
    let early = envelopes(&store, &phone).into_iter().filter(|(_, _, sealed)| sealed.header().epoch == old_epoch);
    assert!(early.count() > 0, "it stays under the key it was sealed with");
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_also_opens_what_was_sealed_before_its_removal_and_delivered_after_it_and_no_more() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    titled(&laptop, "before");
    sync_each(&[&laptop, &phone, &tablet]).await;
    let before = places(&envelopes(&Store::open(&world.home("laptop")).unwrap(), &laptop));

    titled(&tablet, "sealed early");
    let old_epoch = seal_without_sending(&world, &tablet, "tablet");
    let early = Store::open(&world.home("tablet")).unwrap().own_tip(&tablet.space()).unwrap();
    let early = (early.stream, early.seq);
    assert!(!before.contains(&early));
    let report = laptop.device_remove("phone", RemoveReason::Lost).await.unwrap();
    assert!(report.new_key && report.told_relay, "{report:?}");
    titled(&laptop, "after");
    sync_each(&[&laptop, &tablet]).await;
    titled(&tablet, "after, from the tablet");
    sync_each(&[&tablet, &laptop]).await;
    assert_equal(&[&laptop, &tablet]);
    assert!(holds(&laptop, "sealed early"), "delivered after the rotation, it is taken");
    assert_ne!(current_epoch(&world, &laptop), Some(old_epoch));

    let all = places(&envelopes(&Store::open(&world.home("laptop")).unwrap(), &laptop));
    assert!(all.len() >= before.len() + 3);
    let expected: BTreeSet<_> = before.into_iter().chain([early]).collect();
    assert_eq!(readable(&world, &phone, "phone", "laptop"), expected);
    assert_eq!(readable(&world, &tablet, "tablet", "laptop"), all);
    world.relay.shutdown().await;
}

/// What a crash between sealing and sending leaves behind.
fn seal_without_sending(world: &World, client: &Client, home: &str) -> EpochRef {
    let space = client.space();
    let mut store = Store::open(&world.home(home)).unwrap();
    let keys = keys_of(&world.home(home), &store, client);
    let (records, membership) = (store.records(&space).unwrap(), store.membership(&space).unwrap());
    let opened = unlock_epochs(&membership, &records, OwnKeys::first(&keys));
    let key = health(&keys.sign_pk(), OwnKeys::first(&keys), &membership, &opened.keyring).unwrap();
    let sealed = store.seal_pending(&space, &keys, &key, SealBudget::default(), &mut SystemRandom::new()).unwrap();
    assert_eq!(sealed.envelopes, 1);
    key.epoch()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_whose_author_hides_what_it_builds_upon_is_told_as_waiting() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let plan = titled(&phone, "Plan");
    sync_each(&[&phone, &laptop]).await;
    phone.note_set_title(&plan, "Hidden").unwrap();
    phone.note_set_title(&plan, "Shown").unwrap();
    let space = phone.space();
    let before = Store::open(&world.home("phone")).unwrap().own_tip(&space).unwrap();
    seal_without_sending(&world, &phone, "phone");

    // The same envelope as the phone would send it if it kept the first of the two edits to itself.
    let store = Store::open(&world.home("phone")).unwrap();
    let keys = keys_of(&world.home("phone"), &store, &phone);
    let (records, membership) = (store.records(&space).unwrap(), store.membership(&space).unwrap());
    let keyring = unlock_epochs(&membership, &records, OwnKeys::first(&keys)).keyring;
    let mut sealed = envelopes(&store, &phone).into_iter();
    let sealed = sealed.find(|(stream, seq, _)| (*stream, *seq) == (before.stream, before.seq + 1)).unwrap().2;
    let (verified, _) =
        envelope::verify(&space, &membership, Some(&before), sealed, envelope::SignatureCheck::Now).unwrap();
    let mut delta = envelope::open(&space, &verified, &keyring).unwrap().delta;
    delta.frontier.clear();
    delta.docs[0].changes.remove(0);
    let key = health(&keys.sign_pk(), OwnKeys::first(&keys), &membership, &keyring).unwrap();
    let mut random = SystemRandom::new();
    let forged = envelope::seal(&space, &before, &keys, key.epoch(), key.secret(), &delta, &mut random).unwrap().bytes;

    assert_eq!(laptop.status().unwrap().alarms, Vec::<String>::new());
    let page =
        Page { relay: None, items: vec![Item { pos: 1, envelope: forged }], next: None, rolls: Rolls::default() };
    let mut given = Store::open(&world.home("laptop")).unwrap();
    given.receive(&space, page, &membership, &keyring, Unknown::Quarantine, 1).unwrap();
    let status = laptop.status().unwrap();
    assert!(status.quarantine.is_empty() && status.missing.is_empty(), "{status:?}");
    assert_eq!(laptop.note(&plan).unwrap().title, "Plan");
    let doctor = laptop.doctor(false, &mut |_| {}).unwrap().checks;
    let doctor = doctor.into_iter().find(|check| check.name == "waiting edits").unwrap().detail;
    for told in status.alarms.iter().chain([&doctor]) {
        assert!(told.contains("edits of phone wait"), "{told}");
    }
    assert_eq!(status.alarms.len(), 1);
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_that_rotate_at_once_end_with_one_key_and_lose_nothing() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    for client in [&laptop, &phone] {
        client.set_relay(NOWHERE).unwrap();
        titled(client, "while apart");
        let report = client.rotate_keys().await.unwrap();
        assert!(!report.told_relay);
    }
    for client in [&laptop, &phone] {
        client.set_relay(&world.relay.url()).unwrap();
    }
    sync_each(&[&laptop, &phone, &tablet]).await;
    assert_equal(&[&laptop, &phone, &tablet]);
    let epochs: BTreeSet<_> = [&laptop, &phone, &tablet].iter().map(|client| current_epoch(&world, client)).collect();
    assert_eq!(epochs.len(), 1);
    titled(&tablet, "together again");
    sync_each(&[&tablet, &laptop, &phone]).await;
    assert_equal(&[&laptop, &phone, &tablet]);
    world.relay.shutdown().await;
}

fn current_epoch(world: &World, client: &Client) -> Option<EpochRef> {
    let name = client.status().unwrap().device_name;
    Store::open(&world.home(&name)).unwrap().membership(&client.space()).unwrap().current_epoch()
}

#[tokio::test(flavor = "multi_thread")]
async fn removals_made_at_once_need_a_third_key_and_nothing_is_sealed_before_it() {
    let world = World::new().await;
    let (laptop, [phone, tablet, watch]) = world.devices(["phone", "tablet", "watch"]).await;
    let before = places(&envelopes(&Store::open(&world.home("laptop")).unwrap(), &laptop));
    // Each epoch is sealed to the device that the other one removes.
    for (client, gone) in [(&laptop, "phone"), (&tablet, "watch")] {
        client.set_relay(NOWHERE).unwrap();
        client.device_remove(gone, RemoveReason::Lost).await.unwrap();
    }
    titled(&tablet, "written before the tablet knew of the other removal");
    for client in [&laptop, &tablet] {
        client.set_relay(&world.relay.url()).unwrap();
    }
    sync_each(&[&laptop, &tablet]).await;
    titled(&laptop, "after both");
    sync_each(&[&laptop, &tablet]).await;
    assert_equal(&[&laptop, &tablet]);
    let store = Store::open(&world.home("laptop")).unwrap();
    let membership = store.membership(&laptop.space()).unwrap();
    let current = membership.current_epoch().expect("a merged epoch");
    assert_eq!(membership.epoch_heads(), [current], "all heads are its parents");
    let merged = &membership.epochs[&current];
    assert_eq!((merged.parents.len(), merged.recipients.len()), (2, 3), "laptop, tablet and the recovery phrase");
    let after: Vec<_> = envelopes(&store, &laptop).into_iter().collect();
    let after: Vec<_> = after.into_iter().filter(|(stream, seq, _)| !before.contains(&(*stream, *seq))).collect();
    assert!(after.len() >= 2);
    for (_, _, sealed) in after {
        assert_eq!(sealed.header().epoch, current, "nothing is sealed under a key that a removed device holds");
    }
    for gone in [&phone, &watch] {
        assert!(try_sync(gone).await.is_err());
    }
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_removed_device_sent_too_late_is_set_aside_until_somebody_takes_it_in() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    // The laptop removes the phone while it is offline, and the phone goes on writing to the relay.
    laptop.set_relay(NOWHERE).unwrap();
    laptop.device_remove("phone", RemoveReason::Compromised).await.unwrap();
    titled(&phone, "not in time");
    sync(&phone).await;
    laptop.set_relay(&world.relay.url()).unwrap();
    sync(&laptop).await;
    sync_each(&[&tablet, &laptop]).await;
    assert_equal(&[&laptop, &tablet]);
    assert!(titles(&tablet).is_empty(), "{:?}", titles(&tablet));
    let aside = tablet.status().unwrap().quarantine;
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert!(aside[0].reason.contains("removed"), "{}", aside[0].reason);

    assert_eq!(tablet.device_adopt(&aside[0].envelope).unwrap(), 1);
    sync_each(&[&tablet, &laptop]).await;
    assert_eq!(titles(&laptop), ["not in time"]);
    assert_equal(&[&laptop, &tablet]);
    assert!(laptop.status().unwrap().quarantine.is_empty());
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_cuts_too_early_is_signed_again_with_what_the_relay_holds() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    laptop.set_relay(NOWHERE).unwrap();
    laptop.device_remove("phone", RemoveReason::Replaced).await.unwrap();
    titled(&phone, "the last one before it went");
    sync(&phone).await;
    laptop.set_relay(&world.relay.url()).unwrap();
    sync_each(&[&laptop, &tablet]).await;
    assert_equal(&[&laptop, &tablet]);
    assert!(holds(&tablet, "the last one before it went"));
    assert!(try_sync(&phone).await.is_err());
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_its_author_forgot_and_that_cuts_too_early_is_signed_by_another_owner() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    let (home, before) = (world.home("laptop"), world.home("before"));
    drop(laptop);
    copy(&home, &before);
    let laptop = Client::open(&home).unwrap();
    laptop.set_relay(NOWHERE).unwrap();
    laptop.device_remove("phone", RemoveReason::Replaced).await.unwrap();
    titled(&phone, "the last one before it went");
    sync(&phone).await;
    // The removal is on the tablet alone when the home of who wrote it is put back from before it.
    let file = world.dir.path().join("removal.bundle");
    laptop.export_bundle(&file, &BundleBase::Nothing, &mut |_| {}).unwrap();
    tablet.import_bundle(&file, &mut |_| {}).unwrap();
    drop(laptop);
    std::fs::remove_dir_all(&home).unwrap();
    copy(&before, &home);
    let laptop = Client::open(&home).unwrap();
    sync_each(&[&tablet, &laptop, &tablet]).await;
    assert_equal(&[&laptop, &tablet]);
    assert_settled(&[&laptop, &tablet]);
    assert!(holds(&laptop, "the last one before it went") && holds(&tablet, "the last one before it went"));
    assert!(try_sync(&phone).await.is_err(), "it is out");
    let removals = Store::open(&home).unwrap().records(&laptop.space()).unwrap();
    let removals = removals.iter().filter(|record| matches!(record.body(), Body::DeviceRemove { .. })).count();
    assert_eq!(removals, 2, "the one that was forgotten and the one that cuts later");
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_home_goes_on_as_a_stream_of_its_own_and_no_edit_is_lost() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let shared = titled(&laptop, "shared");
    sync_each(&[&laptop, &phone]).await;
    drop(laptop);
    copy(&world.home("laptop"), &world.home("copy"));
    let (laptop, copy) = (Client::open(&world.home("laptop")).unwrap(), Client::open(&world.home("copy")).unwrap());
    titled(&laptop, "in the laptop");
    laptop.note_set_markdown(&shared, "shared\nlaptop\n").unwrap();
    sync(&laptop).await;
    titled(&copy, "in the copy");
    copy.note_set_markdown(&shared, "shared\n\ncopy\n").unwrap();
    sync_each(&[&copy, &phone, &laptop]).await;
    assert_settled(&[&laptop, &copy, &phone]);
    assert_eq!(titles(&phone), ["in the copy", "in the laptop", "shared"]);
    let text = phone.note(&shared).unwrap().markdown;
    assert!(text.contains("laptop") && text.contains("copy"), "{text}");
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_device_makes_the_key_that_a_removal_calls_for() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    // A removal without a new key, as when its author lost power between the two: the phone removes itself.
    let live = tablet.sync_live();
    let mut events = tablet.subscribe();
    let report = phone.device_remove("phone", RemoveReason::Left).await.unwrap();
    assert!(report.told_relay && !report.new_key, "{report:?}");
    let rotated = async {
        while tablet.key_status().unwrap().generation < 2 {
            let _ = timeout(Duration::from_secs(1), events.next()).await;
        }
    };
    timeout(HANG, rotated).await.expect("the live device makes a new key");
    titled(&laptop, "under the new key");
    live.stop().await;
    sync_each(&[&laptop, &tablet]).await;
    assert_equal(&[&laptop, &tablet]);
    assert!(holds(&tablet, "under the new key"));
    world.relay.shutdown().await;
}

/// A new epoch by this device's member, with noise where it should be sealed to another device.
fn rotate_with_noise_for(world: &World, client: &Client, home: &str, victim: &Client) {
    let (space, mut store) = (client.space(), Store::open(&world.home(home)).unwrap());
    let keys = keys_of(&world.home(home), &store, client);
    let (records, membership) = (store.records(&space).unwrap(), store.membership(&space).unwrap());
    let opened = unlock_epochs(&membership, &records, OwnKeys::first(&keys));
    let mut draft = Draft::begin(&membership, &records, &opened, &keys);
    draft.rotate(&mut SystemRandom::new()).unwrap();
    let mut body = draft.finish().remove(0).body().clone();
    let Body::Epoch { seals, .. } = &mut body else { panic!("{body:?}") };
    seals.iter_mut().find(|seal| victim.device().0.starts_with(&seal.device_ref)).unwrap().ct = [7; 48];
    let spoilt = next_record(&keys, &membership, &records, &body).unwrap();
    store.put_records(&space, &[spoilt]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_was_sealed_noise_asks_and_is_given_the_key_by_a_device_that_may_write() {
    let world = World::new().await;
    let ana = world.person("Ana");
    let family = ana.space_create("Family", None).unwrap();
    sync_each(&[&ana, &family]).await;
    let ben = world.person("Ben");
    let terms = InviteOptions { role: Role::Reader, lives_ms: 3_600_000, uses_max: 1, auto: false };
    let link = family.invite_create(terms).await.unwrap().to_string();
    ben.join(&link, "Ben").await.unwrap();
    let request = family.join_requests().await.unwrap().remove(0).id;
    family.invite_approve(&request[..8], None).await.unwrap();
    ben.sync_all(&mut |_| {}).await.unwrap();
    let with_ben = ben.in_space(&family.space().to_string()).unwrap();
    sync_each(&[&family, &with_ben]).await;

    rotate_with_noise_for(&world, &family, "Ana", &with_ben);
    let space = family.space();
    drop((ana, family));
    let family = Client::open(&world.home("Ana")).unwrap().in_space(&space.to_string()).unwrap();
    titled(&family, "for Ben, too");
    sync(&family).await;
    sync(&with_ben).await;
    assert!(!holds(&with_ben, "for Ben, too"), "or the noise is none");
    let alarms = with_ben.status().unwrap().alarms;
    assert!(alarms.iter().any(|alarm| alarm.contains("this device asks for it when it syncs")), "{alarms:?}");

    sync_each(&[&family, &with_ben]).await;
    assert!(holds(&with_ben, "for Ben, too"));
    assert_eq!(with_ben.status().unwrap().alarms, Vec::<String>::new());
    sync_each(&[&family, &with_ben]).await;
    let records = Store::open(&world.home("Ana")).unwrap().records(&space).unwrap();
    let count = |is_meant: fn(&Body) -> bool| records.iter().filter(|record| is_meant(record.body())).count();
    assert_eq!(count(|body| matches!(body, Body::HpkeRefresh { .. })), 1, "it asks once");
    let grants = records.iter().rev().take_while(|record| !matches!(record.body(), Body::HpkeRefresh { .. }));
    assert_eq!(grants.count(), 1, "and is answered once");
    world.relay.shutdown().await;
}

/// A new HPKE key of a device, as it makes one every month.
fn refresh_hpke(world: &World, client: &Client, home: &str) {
    let (space, mut store) = (client.space(), Store::open(&world.home(home)).unwrap());
    let keys = keys_of(&world.home(home), &store, client);
    let (records, membership) = (store.records(&space).unwrap(), store.membership(&space).unwrap());
    let opened = unlock_epochs(&membership, &records, OwnKeys::first(&keys));
    let mut draft = Draft::begin(&membership, &records, &opened, &keys);
    let (material, mut random) = ([5; 32], SystemRandom::new());
    draft.refresh_hpke(HpkeKey::derive(&material).public()).unwrap();
    store.put_hpke_key(&space, &keys, &material, &draft.finish(), &mut random).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_put_back_from_before_its_newest_key_says_so_and_gets_another_by_itself() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    titled(&laptop, "shared");
    sync_each(&[&laptop, &phone]).await;
    let (space, home, before) = (laptop.space(), world.home("laptop"), world.home("before"));
    drop(laptop);
    copy(&home, &before);
    let laptop = Client::open(&home).unwrap();
    refresh_hpke(&world, &laptop, "laptop");
    sync_each(&[&laptop, &phone]).await;
    phone.rotate_keys().await.unwrap();
    titled(&phone, "under the new key");
    sync_each(&[&phone, &laptop]).await;
    assert!(holds(&laptop, "under the new key"), "the refreshed key opens it");

    drop(laptop);
    std::fs::remove_dir_all(&home).unwrap();
    copy(&before, &home);
    let records = Store::open(&world.home("phone")).unwrap().records(&space).unwrap();
    Store::open(&home).unwrap().receive_records(&space, &records).unwrap();
    let laptop = Client::open(&home).unwrap();
    let alarms = laptop.status().unwrap().alarms;
    assert!(alarms.iter().any(|alarm| alarm.contains("it gets a new one by itself")), "{alarms:?}");

    // It has nothing to send, and reads all the same in the end.
    sync_each(&[&laptop, &phone]).await;
    assert!(holds(&laptop, "under the new key"));
    assert_settled(&[&laptop, &phone]);
    for client in [&laptop, &phone] {
        assert_eq!(client.status().unwrap().alarms, Vec::<String>::new());
    }
    let records = Store::open(&home).unwrap().records(&space).unwrap();
    let refreshed = records.iter().filter(|record| matches!(record.body(), Body::HpkeRefresh { .. })).count();
    assert_eq!(refreshed, 2, "the one that was lost and the one instead");
    world.relay.shutdown().await;
}
