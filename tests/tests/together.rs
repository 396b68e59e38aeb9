//! One home in two processes at once, and a round of sync over a connection that somebody else carries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;

use lifeos_client_core::transport::{FrameReceiver, FrameSender, RelayUrl, connect, memory_pair};
use lifeos_tests::process::worker;
use lifeos_tests::world::{World, assert_settled, note, sync};

/// Edits of each process; `cargo xtask deep together` makes 10,000.
const EDITS: u32 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_edit_one_note_at_once_and_lose_nothing() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let id = note(&laptop, "Ledger", "begin\n");
    let edits = std::env::var("LIFEOS_EDITS").map_or(EDITS, |edits| edits.parse().unwrap());
    let home = world.home("laptop").to_string_lossy().into_owned();
    let (count, home) = (edits.to_string(), home.as_str());
    let said = std::thread::scope(|scope| {
        let edit = |mark| worker(&["insert", home, &id, &count, mark], None);
        let running = ["a", "b"].map(|mark| scope.spawn(move || edit(mark)));
        running.map(|process| process.join().unwrap())
    });
    let mut acknowledged = BTreeMap::new();
    for line in said.iter().flat_map(|said| &said.lines).filter_map(|line| line.strip_prefix("ACK ")) {
        acknowledged.insert(line.to_owned(), 0);
    }
    assert!(said.iter().all(|said| said.ok) && acknowledged.len() as u32 == 2 * edits);
    let text = laptop.note(&id).unwrap().markdown;
    for word in text.split_whitespace() {
        acknowledged.entry(word.to_owned()).and_modify(|times| *times += 1);
    }
    assert!(acknowledged.values().all(|times| *times == 1), "every edit is there once");

    sync(&laptop).await;
    sync(&phone).await;
    sync(&laptop).await;
    assert_settled(&[&laptop, &phone]);
    assert_eq!(phone.note(&id).unwrap().markdown, text);
    assert!(laptop.doctor(false, &mut |_| {}).unwrap().ok);
}

async fn carry(mut from: impl FrameReceiver, mut to: impl FrameSender) {
    while let Ok(Some(frame)) = from.recv().await {
        if to.send(frame).await.is_err() {
            break;
        }
    }
    to.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_over_a_connection_in_memory_is_the_same_round() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let id = note(&laptop, "Carried", "by hand\n");
    let (near, (far_out, far_in)) = memory_pair();
    let url: RelayUrl = world.relay.url().parse().unwrap();
    let (relay_out, relay_in) = connect(&url).await.unwrap();
    let carriers = [tokio::spawn(carry(far_in, relay_out)), tokio::spawn(carry(relay_in, far_out))];
    let report = laptop.sync_over(near, &mut |_| {}).await.unwrap();
    assert_eq!(report.pushed, 1);
    for carrier in carriers {
        carrier.await.unwrap();
    }
    sync(&phone).await;
    assert_eq!(phone.note(&id).unwrap().markdown, laptop.note(&id).unwrap().markdown);
}
