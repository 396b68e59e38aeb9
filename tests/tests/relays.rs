//! Several relays of one space at once: each gets everything, what one brings the others get, and one that is down, or
//! false, stops none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::cell::RefCell;
use std::time::Duration;

use lifeos_client_core::client::{Client, ClientError, RelayStatus, Status};
use lifeos_client_core::event::{Event, SyncState};
use lifeos_client_core::protocol::record::RemoveReason;
use lifeos_sync_server::{Config, Handle, Server};
use lifeos_tests::world::{
    HANG, NOWHERE, World, assert_equal, assert_settled, copy, copy_some, note, relay_in, sync, sync_each, titles,
    try_sync, until,
};
use tempfile::TempDir;

/// Three devices in step at a relay, and an empty one beside it.
struct Scene {
    dir: TempDir,
    laptop: Client,
    tablet: Client,
    phone: Client,
    one: Handle,
    other: Handle,
}

/// The laptop uses both relays, the phone the first and the tablet the other.
async fn scene() -> Scene {
    let world = World::new().await;
    let (laptop, [tablet, phone]) = world.devices(["tablet", "phone"]).await;
    let other = relay_in(&world.dir.path().join("other")).await;
    assert!(laptop.add_relay(&other.url()).unwrap());
    assert!(!laptop.add_relay(&other.url()).unwrap(), "it is used already");
    tablet.set_relay(&other.url()).unwrap();
    Scene { dir: world.dir, laptop, tablet, phone, one: world.relay, other }
}

fn relays(client: &Client) -> Vec<RelayStatus> {
    let Status { relays, .. } = client.status().unwrap();
    relays
}

#[tokio::test(flavor = "multi_thread")]
async fn each_relay_gets_everything_and_one_alone_is_enough() {
    let Scene { dir: _dir, laptop, tablet, phone, one, other } = scene().await;
    note(&laptop, "at both", "text\n");
    let report = sync(&laptop).await;
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert!(report.given > 0, "what the other devices wrote before goes to the new relay, too");
    assert!(relays(&laptop).iter().all(|relay| relay.envelopes_unsent == 0 && relay.synced_ms.is_some()));

    // The first relay burns down.
    one.shutdown().await;
    for client in [&tablet, &laptop] {
        sync(client).await;
    }
    assert_eq!(titles(&tablet), ["at both"]);
    phone.set_relay(&other.url()).unwrap();
    note(&phone, "by the phone", "text\n");
    for client in [&phone, &laptop, &tablet, &phone] {
        sync(client).await;
    }
    assert_equal(&[&laptop, &tablet, &phone]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_relay_brings_the_others_get_in_the_same_round() {
    let Scene { dir: _dir, laptop, tablet, phone, one: _one, other: _other } = scene().await;
    sync(&laptop).await;
    sync(&tablet).await;
    note(&tablet, "by the tablet", "text\n");
    sync(&tablet).await;
    // The laptop hears of it at its second relay, and has been at the first by then.
    sync(&laptop).await;
    sync(&phone).await;
    assert_eq!(titles(&phone), ["by the tablet"]);
    assert_equal(&[&laptop, &tablet, &phone]);
    // Records travel the same way.
    let removed = tablet.device_remove(&phone.device().to_string(), RemoveReason::Lost).await.unwrap();
    assert!(removed.told_relay, "the one that the tablet uses");
    sync(&laptop).await;
    let refused = try_sync(&phone).await.unwrap_err();
    assert!(refused.to_string().contains("removed"), "{refused}");
    for _ in 0..2 {
        sync(&laptop).await;
        sync(&tablet).await;
    }
    assert_settled(&[&laptop, &tablet]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_down_or_false_is_told_and_stops_no_other() {
    let Scene { dir: _dir, laptop, tablet, phone: _phone, one, other } = scene().await;
    laptop.remove_relay(&one.url(), true).unwrap();
    laptop.add_relay(NOWHERE).unwrap();
    laptop.add_relay(&one.url().replace(&one.relay_key().to_string(), &"11".repeat(32))).unwrap();
    note(&laptop, "at one", "text\n");
    let report = sync(&laptop).await;
    let failed: Vec<_> = report.failed.iter().map(|failed| failed.relay.as_str()).collect();
    let address = |url: String| url.split('#').next().unwrap().to_owned();
    assert_eq!(failed, [NOWHERE.to_owned(), address(one.url())]);
    assert!(report.failed[1].message.contains("key"), "{}", report.failed[1].message);
    sync(&tablet).await;
    assert_eq!(titles(&tablet), ["at one"]);
    let lacking: Vec<_> = relays(&laptop).iter().map(|relay| relay.envelopes_unsent > 0).collect();
    assert_eq!(lacking, [false, true, true]);
    assert_eq!(laptop.status().unwrap().envelopes_unsent, 0, "one relay holds it");
    // With none of them, it is an error.
    other.shutdown().await;
    assert!(matches!(try_sync(&laptop).await, Err(ClientError::Network { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_put_away_only_if_another_holds_what_was_sent_to_it() {
    let Scene { dir: _dir, laptop, one, other, tablet: _tablet, phone: _phone } = scene().await;
    let refused = laptop.remove_relay(&one.url(), false).unwrap_err();
    assert!(refused.to_string().contains("sync first"), "{refused}");
    sync(&laptop).await;
    laptop.remove_relay(&one.url(), false).unwrap();
    assert!(matches!(laptop.remove_relay(&one.url(), false), Err(ClientError::NotFound { .. })));
    assert!(laptop.remove_relay(&other.url(), false).is_err(), "the last one");
    laptop.remove_relay(&other.url(), true).unwrap();
    assert_eq!(relays(&laptop), []);
}

/// Waits until the client shows what is wanted; not everything that brings it about is an event.
async fn shows(client: &Client, wanted: impl Fn(&Client) -> bool) {
    let waiting = async {
        while !wanted(client) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANG, waiting).await.expect("it is never shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn live_connections_serve_every_relay_and_hand_on_what_comes_by_one_to_the_other() {
    let Scene { dir: _dir, laptop, tablet, phone, one, other } = scene().await;
    sync(&laptop).await;
    let mut events = laptop.subscribe();
    let live: Vec<_> = [&laptop, &tablet, &phone].into_iter().map(Client::sync_live).collect();
    let address = |url: String| url.split('#').next().unwrap().to_owned();
    let is_live =
        |event: &Event, url: &str| matches!(event, Event::Sync { relay, state: SyncState::Live, .. } if relay == url);
    let both = RefCell::new(vec![address(one.url()), address(other.url())]);
    until(&mut events, |event| {
        both.borrow_mut().retain(|url| !is_live(event, url));
        both.borrow().is_empty()
    })
    .await;
    note(&tablet, "by the tablet", "text\n");
    shows(&phone, |phone| titles(phone) == ["by the tablet"]).await;
    note(&phone, "by the phone", "text\n");
    shows(&tablet, |tablet| titles(tablet).len() == 2).await;
    note(&laptop, "by the laptop", "text\n");
    for client in [&tablet, &phone] {
        shows(client, |client| titles(client).len() == 3).await;
    }
    shows(&laptop, |laptop| relays(laptop).iter().all(|relay| relay.envelopes_unsent == 0)).await;

    // One is left and a third taken up, and given everything, while it goes on.
    let dir = TempDir::new().unwrap();
    let third = relay_in(dir.path()).await;
    laptop.remove_relay(&other.url(), true).unwrap();
    laptop.add_relay(&third.url()).unwrap();
    let url = address(third.url());
    until(&mut events, |event| is_live(event, &url)).await;
    tablet.set_relay(&third.url()).unwrap();
    note(&phone, "to the third", "text\n");
    shows(&tablet, |tablet| titles(tablet).len() == 4).await;
    for live in live {
        live.stop().await;
    }
}

/// A thief's copy of a home writes on; the laptop leaves the stream, at both of its relays.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_left_is_left_at_every_relay() {
    let Scene { dir, laptop, tablet, phone, one: _one, other: _other } = scene().await;
    sync(&laptop).await;
    copy(&dir.path().join("laptop"), &dir.path().join("copy"));
    let copied = Client::open(&dir.path().join("copy")).unwrap();
    note(&copied, "by the copy", "text\n");
    sync(&copied).await;
    note(&laptop, "by the laptop", "text\n");
    for _ in 0..2 {
        sync(&laptop).await;
    }
    for client in [&phone, &tablet] {
        sync(client).await;
        assert_eq!(titles(client), ["by the copy", "by the laptop"]);
    }
    assert!(relays(&laptop).iter().all(|relay| relay.envelopes_unsent == 0));
    assert_equal(&[&laptop, &phone, &tablet]);
}

/// The relay that could tell a home how far its stream went begins anew, at its address or at another.
#[tokio::test(flavor = "multi_thread")]
async fn a_home_put_back_when_every_relay_has_forgotten_writes_no_place_of_its_stream_twice() {
    for moves in [false, true] {
        let world = World::new().await;
        let (laptop, [phone]) = world.devices(["phone"]).await;
        note(&laptop, "before the copy", "text\n");
        sync_each(&[&laptop, &phone]).await;
        copy(&world.home("laptop"), &world.home("copy"));
        note(&laptop, "after the copy", "text\n");
        sync_each(&[&laptop, &phone]).await;
        drop(laptop);

        let laptop = Client::open(&world.home("copy")).unwrap();
        let listen = world.relay.url()["ws://".len()..].split('#').next().unwrap().parse().unwrap();
        world.relay.shutdown().await;
        let folder = world.dir.path().join("relay");
        let relay = if moves {
            relay_in(&world.dir.path().join("another relay")).await
        } else {
            let kept = world.dir.path().join("kept");
            copy_some(&folder, &kept, |name| !name.contains(".db"));
            Server::start(Config { listen, ..Config::local(&kept) }).await.unwrap()
        };
        if moves {
            laptop.set_relay(&relay.url()).unwrap();
            phone.set_relay(&relay.url()).unwrap();
        }
        note(&laptop, "by the home that was put back", "text\n");
        for _ in 0..2 {
            sync_each(&[&laptop, &phone]).await;
        }
        for client in [&laptop, &phone] {
            assert_eq!(titles(client), ["after the copy", "before the copy", "by the home that was put back"]);
            let status = client.status().unwrap();
            assert!(
                status.quarantine.is_empty() && status.alarms.is_empty(),
                "{:?} {:?}",
                status.quarantine,
                status.alarms
            );
        }
        assert_equal(&[&laptop, &phone]);
        relay.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_does_not_work_is_told_with_why_and_when_and_forgotten_once_it_works() {
    let world = World::new().await;
    let laptop = world.first();
    let listen = world.relay.addr();
    let trouble = || relays(&laptop)[0].trouble.clone();
    sync(&laptop).await;
    assert_eq!(trouble(), None);
    world.relay.shutdown().await;
    for failures in 1..=6 {
        assert!(try_sync(&laptop).await.is_err());
        let trouble = trouble().expect("it failed");
        assert_eq!((trouble.failures, trouble.needs_person, trouble.rests), (failures, false, failures == 6));
        assert!(trouble.next_ms >= trouble.since_ms && !trouble.reason.is_empty(), "{trouble:?}");
    }
    // Live, it is left alone although it is there again; a person who asks is not kept waiting.
    let mut events = laptop.subscribe();
    let live = laptop.sync_live();
    let again = Server::start(Config { listen, ..Config::local(world.dir.path().join("relay")) }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(trouble().is_some_and(|trouble| trouble.rests), "an open circuit rests");
    laptop.retry_now();
    until(&mut events, |event| matches!(event, Event::Sync { state: SyncState::Live, .. })).await;
    assert_eq!(trouble(), None);
    live.stop().await;
    // Another relay at the same address: nobody tries that again and again.
    again.shutdown().await;
    let other = Config { listen, ..Config::local(world.dir.path().join("another")) };
    let _other = Server::start(other).await.unwrap();
    assert!(matches!(try_sync(&laptop).await, Err(ClientError::Security { .. })));
    let trouble = trouble().expect("it failed");
    assert_eq!((trouble.failures, trouble.needs_person, trouble.rests), (1, true, true));
}
