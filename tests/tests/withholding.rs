//! A relay that keeps something back from one device: what the others say of it shows it, after a minute, and is an
//! alarm after a day.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{SystemTime, UNIX_EPOCH};

use lifeos_client_core::store::Store;
use lifeos_tests::middle::Middle;
use lifeos_tests::world::{World, relay_in, sync, sync_each, titled, titles};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_a_relay_keeps_back_is_told_after_a_minute_and_an_alarm_after_a_day() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    titled(&phone, "kept back");
    sync_each(&[&phone, &laptop]).await;
    // A relay that shows the tablet all that the laptop wrote, and nothing of the phone.
    let keeper = relay_in(&world.home("keeper")).await;
    // It says that it lacks nothing, or the laptop would give it what the phone wrote.
    let middle = Middle::start(keeper.addr()).await;
    middle.claim(Store::open(&world.home("laptop")).unwrap().have(&laptop.space()).unwrap());
    laptop.set_relay(&format!("ws://{}#{}", middle.addr, keeper.relay_key())).unwrap();
    titled(&laptop, "shown");
    sync(&laptop).await;
    tablet.set_relay(&keeper.url()).unwrap();
    let begun_ms = now_ms();
    sync(&tablet).await;
    assert_eq!(titles(&tablet), ["shown"]);

    let missing = |at_ms: i64| tablet.status_at(at_ms).unwrap().missing;
    let told = missing(now_ms() + DAY_MS);
    let [one] = told.as_slice() else { panic!("one thing is missing: {told:?}") };
    assert_eq!((one.author.as_str(), one.told_by.as_str(), one.envelopes), ("phone", "laptop", 1));
    let since_ms = one.since_ms;
    assert!((begun_ms..=now_ms()).contains(&since_ms), "counted from when it was heard of");
    assert_eq!(missing(since_ms + MINUTE_MS - 1_000), [], "another device may be faster than the relay");
    let alarm = |at_ms: i64| missing(at_ms).iter().map(|missing| missing.alarm).collect::<Vec<_>>();
    assert_eq!(alarm(since_ms + MINUTE_MS), [false]);
    assert_eq!(alarm(since_ms + DAY_MS - 1), [false]);
    assert_eq!(alarm(since_ms + DAY_MS), [true]);
    assert_eq!(tablet.dismiss_warnings_at(since_ms + MINUTE_MS - 1).unwrap(), 0, "the person was told of nothing yet");
    assert_eq!(alarm(since_ms + DAY_MS), [true]);

    // Through an honest relay it comes, and nothing is missing any more.
    tablet.set_relay(&world.relay.url()).unwrap();
    sync(&tablet).await;
    assert_eq!(titles(&tablet), ["kept back", "shown"]);
    assert_eq!(missing(now_ms() + DAY_MS), []);
    keeper.shutdown().await;
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_a_relay_keeps_back_is_told_after_a_minute() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let middle = Middle::start(world.relay.addr()).await;
    phone.set_relay(&format!("ws://{}#{}", middle.addr, world.relay.relay_key())).unwrap();
    sync(&phone).await;
    middle.withhold_records(true);
    // A device is let in, which makes no new key, and the phone is not told of it.
    let tablet = world.link(&laptop, "tablet").await;
    titled(&laptop, "written by who knows");
    sync(&laptop).await;
    let begun_ms = now_ms();
    sync(&phone).await;
    assert_eq!(titles(&phone), ["written by who knows"]);
    let devices = |client: &lifeos_client_core::client::Client| client.status().unwrap().devices.len();
    assert_eq!((devices(&phone), devices(&laptop)), (3, 4), "the record was kept back");

    let alarms = |at_ms: i64| phone.status_at(at_ms).unwrap().alarms;
    assert_eq!(alarms(begun_ms + MINUTE_MS - 1_000), Vec::<String>::new());
    let told = alarms(now_ms() + MINUTE_MS);
    assert!(told.len() == 1 && told[0].starts_with("laptop holds records"), "{told:?}");
    assert_eq!(phone.dismiss_warnings_at(now_ms() + MINUTE_MS).unwrap(), 1);
    assert_eq!(alarms(now_ms() + DAY_MS), Vec::<String>::new(), "the person has read it");

    middle.withhold_records(false);
    sync(&phone).await;
    assert_eq!((devices(&phone), alarms(now_ms() + DAY_MS)), (4, Vec::new()));
    drop(tablet);
    world.relay.shutdown().await;
}
