//! What catching up costs depends on what is missing, and not on the history before it: counted in steps of the databases
//! of both sides, which are the same on every machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use lifeos_client_core::client::Client;
use lifeos_client_core::crypto::SystemRandom;
use lifeos_client_core::keys::{OwnKeys, health};
use lifeos_client_core::keystore::system_keystore;
use lifeos_client_core::protocol::membership::Membership;
use lifeos_client_core::records::unlock_epochs;
use lifeos_client_core::store::{SealBudget, Store, unlock_device_root};
use lifeos_tests::world::{World, sync};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Envelopes that a device lacks.
const MISSING: usize = 10;
/// Two histories. A checkpoint is due in both: up to then the size of every envelope since the last one is looked at.
const SHORT: usize = 2_100;
const LONG: usize = 3 * SHORT;
/// By how much more steps may differ, in percent: trees are deeper, pages fuller.
const MORE_PERCENT: u64 = 10;
/// They are counted by the hundred, each statement for itself.
const GRAIN: u64 = 500;

/// In how many parts a history comes: every sync leaves something behind, up to a limit.
const PARTS: usize = 7;

/// New notes of one size, an envelope each, at the relay.
async fn write(laptop: Client, home: &Path, from: usize, count: usize) -> Client {
    let folder = tempfile::tempdir().expect("a folder");
    for at in from..from + count {
        std::fs::write(folder.path().join(format!("{at:06}.md")), "Bread, plums and two lemons.\n").expect("a file");
    }
    let report = laptop.import_markdown(folder.path(), false, &mut |_| {}).expect("an import");
    assert_eq!(report.created, count as u64);
    let space = laptop.space();
    drop(laptop);
    let mut store = Store::open(home).expect("a home");
    let root = unlock_device_root(home, system_keystore(), None).expect("a key");
    let keys = root.derive_space(&store.genesis_random(&space).expect("a space"));
    let records = store.records(&space).expect("records");
    let membership = Membership::evaluate(&space, &records).expect("a membership");
    let keyring = unlock_epochs(&membership, &records, OwnKeys::first(&keys)).keyring;
    let key = health(&keys.sign_pk(), OwnKeys::first(&keys), &membership, &keyring).expect("a key");
    let (budget, mut random) = (SealBudget { change_bytes_max: 1 }, SystemRandom::new());
    while store.seal_pending(&space, &keys, &key, budget, &mut random).expect("sealed").more {}
    drop(store);
    let laptop = Client::open(home).expect("a home");
    // No checkpoint is made, whosever turn it is today.
    laptop.stop_jobs();
    sync(&laptop).await;
    laptop
}

async fn relay_steps(world: &World) -> u64 {
    let mut stream = TcpStream::connect(world.relay.addr()).await.expect("a connection");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n").await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    let line = text.lines().find_map(|line| line.strip_prefix("lifeos_relay_database_steps_total "));
    line.expect("the counter").parse().expect("a number")
}

fn steps(client: &Client) -> u64 {
    let counts = client.metrics().expect("metrics").counts;
    counts.into_iter().find(|count| count.name == "database_steps").expect("the counter").count
}

/// Steps of the device that catches up, and of the relay, after a history of so many envelopes.
async fn catch_up_after(history: usize) -> (u64, u64) {
    let world = World::new().await;
    let (mut laptop, [phone]) = world.devices(["phone"]).await;
    phone.stop_jobs();
    let home = world.home("laptop");
    for from in (0..history).step_by(history / PARTS) {
        laptop = write(laptop, &home, from, history / PARTS).await;
    }
    assert!(sync(&phone).await.pulled >= history as u64);
    sync(&phone).await;
    drop(write(laptop, &home, history, MISSING).await);
    let before = (steps(&phone), relay_steps(&world).await);
    assert_eq!(sync(&phone).await.pulled, MISSING as u64, "so many came, each by itself");
    let after = (steps(&phone), relay_steps(&world).await);
    world.relay.shutdown().await;
    (after.0 - before.0, after.1 - before.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_takes_as_many_steps_after_three_times_the_history() {
    let (short, long) = (catch_up_after(SHORT).await, catch_up_after(LONG).await);
    println!("device and relay: {short:?} steps after {SHORT} envelopes, {long:?} after {LONG}");
    assert!(short.0 > 1_000 && short.1 > 0, "they are counted: {short:?}");
    let limit = |steps: u64| steps + steps * MORE_PERCENT / 100 + GRAIN;
    assert!(long.0 <= limit(short.0), "the device: {} steps, {} after three times the history", short.0, long.0);
    assert!(long.1 <= limit(short.1), "the relay: {} steps, {} after three times the history", short.1, long.1);
}
