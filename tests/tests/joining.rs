//! Joining by a checkpoint over a slow line: killed again and again, in full size, and with one note that somebody waits for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lifeos_client_core::client::{Client, ErrorKind};
use lifeos_tests::middle::Middle;
use lifeos_tests::process::program;
use lifeos_tests::world::{HANG, NOWHERE, World, assert_equal, note, sync, sync_each};

/// A slice of a phone's background time, and what comes in it (issue: 25 s at 1 MB/s, at most 5 % of it twice).
const FULL_SLICE_BYTES: u64 = 25 * 1_000_000;
/// The same line for a shorter time: what a kill costs does not depend on how long the slice was.
const SLICE: Duration = Duration::from_millis(2_500);
const BYTES_A_SECOND: u64 = 1_000_000;

/// Words that no compression makes much smaller.
fn text(seed: u64, bytes: usize) -> String {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789\n ";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(LETTERS[(state >> 33) as usize % LETTERS.len()])
    };
    std::iter::repeat_with(&mut next).take(bytes).collect()
}

/// Ana's laptop with notes of some 32 kB, oldest first, in a checkpoint at the relay; and a slow line to it.
async fn scene(notes: u64) -> (World, Client, Vec<String>, Middle) {
    let world = World::new().await;
    let laptop = world.first();
    let ids = (0..notes).map(|at| note(&laptop, &format!("note {at}"), &text(at + 1, 32_000))).collect();
    sync(&laptop).await;
    laptop.compact(&mut |_| {}).await.unwrap();
    assert!(laptop.status().unwrap().checkpoint.is_some());
    let middle = Middle::start(world.relay.addr()).await;
    (world, laptop, ids, middle)
}

/// A device that has nothing yet but a place in the space, behind the slow line.
async fn newcomer(world: &World, laptop: &Client, middle: &Middle, name: &str) -> Client {
    let client = world.link(laptop, name).await;
    client.set_relay(&format!("ws://{}#{}", middle.addr, world.relay.relay_key())).unwrap();
    client
}

/// Syncs, and gives how much of all documents had come when this one could be read.
async fn share_before(client: &Client, wanted: &str) -> f64 {
    let reading = async {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < HANG, "the note never comes");
            let joining = client.status().unwrap().joining;
            if client.note(wanted).is_ok() {
                return joining.map_or(1.0, |joining| joining.documents as f64 / joining.documents_all as f64);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (share, _) = tokio::join!(reading, sync(client));
    share
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_somebody_waits_for_comes_ahead_of_the_rest() {
    let (world, laptop, ids, middle) = scene(110).await;
    middle.slow_down(BYTES_A_SECOND);
    let patient = newcomer(&world, &laptop, &middle, "patient").await;
    let share = share_before(&patient, &ids[0]).await;
    assert!(share > 0.6, "the oldest note comes late: {share}");
    let waiting = newcomer(&world, &laptop, &middle, "waiting").await;
    waiting.fetch_first(ids[0].parse().unwrap()).unwrap();
    let share = share_before(&waiting, &ids[0]).await;
    assert!(share < 0.5, "it comes early for who waits for it: {share}");
    middle.slow_down(0);
    sync_each(&[&laptop, &waiting, &patient]).await;
    assert_equal(&[&laptop, &waiting, &patient]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_is_waited_for_whoever_syncs_and_what_keeps_it_is_told() {
    let (world, laptop, ids, middle) = scene(110).await;
    let client = newcomer(&world, &laptop, &middle, "phone").await;
    let fetch = async |client: &Client, id: &str, seconds: u64| {
        client.fetch_note(id, Duration::from_secs(seconds), &mut |_| {}).await
    };
    let held = |client: &Client| {
        let status = client.status().unwrap();
        status.joining.map_or(1.0, |joining| joining.documents as f64 / joining.documents_all as f64)
    };
    let refused = fetch(&client, &ids[0][..12], 9).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");

    // The relay is out of reach, or slow.
    client.set_relay(NOWHERE).unwrap();
    let refused = fetch(&client, &ids[0], 9).await.unwrap_err();
    assert_eq!((refused.kind(), refused.is_transient()), (ErrorKind::Network, true), "{refused}");
    middle.slow_down(1_000);
    client.set_relay(&format!("ws://{}#{}", middle.addr, world.relay.relay_key())).unwrap();
    let refused = fetch(&client, &ids[0], 1).await.unwrap_err();
    assert!(refused.is_transient() && refused.to_string().contains("did not come within 1 s"), "{refused}");

    middle.slow_down(BYTES_A_SECOND);
    fetch(&client, &ids[0], HANG.as_secs()).await.unwrap();
    assert!(client.note(&ids[0]).is_ok() && held(&client) < 0.6, "{}", held(&client));

    // Another process of this home syncs: it is asked.
    let other = Client::open(&world.home("phone")).unwrap();
    let live = client.sync_live();
    fetch(&other, &ids[1], HANG.as_secs()).await.unwrap();
    assert!(other.note(&ids[1]).is_ok() && held(&other) < 0.9, "{}", held(&other));
    live.stop().await;
    middle.slow_down(0);
    let none = fetch(&client, &"0f".repeat(16), HANG.as_secs()).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound, "{none}");
    sync_each(&[&laptop, &client]).await;
    assert_equal(&[&laptop, &client]);
}

/// Syncs in a process of its own for a slice of time; whether it came to its end.
fn slice(home: &Path, time: Duration) -> bool {
    slice_of(Command::new(program("lifeos-worker")), home, time)
}

fn slice_of(mut worker: Command, home: &Path, time: Duration) -> bool {
    let mut worker =
        worker.args(["sync".as_ref(), home.as_os_str()]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while begun.elapsed() < time {
        if let Some(status) = worker.try_wait().unwrap() {
            assert!(status.success(), "the sync fails: {status}");
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
    false
}

/// Syncs in a process of its own until so many bytes have come; whether it came to its end.
fn bytes_of_sync(home: &Path, middle: &Middle, bytes: u64) -> bool {
    let (before, begun) = (middle.bytes(), Instant::now());
    let mut worker = Command::new(program("lifeos-worker"))
        .args(["sync".as_ref(), home.as_os_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while middle.bytes() - before < bytes {
        assert!(begun.elapsed() < HANG, "nothing comes");
        if let Some(status) = worker.try_wait().unwrap() {
            assert!(status.success(), "the sync fails: {status}");
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_is_killed_after_any_number_of_bytes_goes_on_inside_the_chunk_that_it_was_at() {
    let (world, laptop, _, middle) = scene(70).await;
    let whole = newcomer(&world, &laptop, &middle, "in one go").await;
    let before = middle.bytes();
    sync(&whole).await;
    let whole_bytes = middle.bytes() - before;
    drop(newcomer(&world, &laptop, &middle, "in bytes").await);
    middle.slow_down(4 * BYTES_A_SECOND);
    let (home, before, mut kills, mut draw) = (world.home("in bytes"), middle.bytes(), 0_u64, 7_u64);
    loop {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // More than one part of an object, so that each try comes further; less than the whole.
        let bytes = 320_000 + (draw >> 33) % 200_000;
        if tokio::task::block_in_place(|| bytes_of_sync(&home, &middle, bytes)) {
            break;
        }
        kills += 1;
        assert!(kills < 60, "it does not come to its end");
    }
    let twice = (middle.bytes() - before).saturating_sub(whole_bytes);
    println!("{kills} kills: {twice} of {whole_bytes} bytes came twice");
    assert!(kills >= 4, "it was not cut");
    middle.slow_down(0);
    let client = Client::open(&home).unwrap();
    sync_each(&[&client, &laptop]).await;
    assert_equal(&[&laptop, &client]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_is_killed_after_every_slice_of_time_completes_and_fetches_little_twice() {
    let (world, laptop, _, middle) = scene(110).await;
    let whole = newcomer(&world, &laptop, &middle, "in one go").await;
    let before = middle.bytes();
    sync(&whole).await;
    let whole_bytes = middle.bytes() - before;
    assert!(whole_bytes > 2_600_000, "{whole_bytes} bytes are too few to be cut in slices");

    drop(newcomer(&world, &laptop, &middle, "in slices").await);
    middle.slow_down(BYTES_A_SECOND);
    let (home, before, mut kills, mut documents) = (world.home("in slices"), middle.bytes(), 0, 0);
    let (worker_home, mut time) = (home.clone(), SLICE);
    while !tokio::task::spawn_blocking({
        let home = worker_home.clone();
        move || slice(&home, time)
    })
    .await
    .unwrap()
    {
        kills += 1;
        let status = Client::open(&home).unwrap().status().unwrap();
        let held = status.joining.map_or(status.documents, |joining| joining.documents);
        assert!(held >= documents, "progress went from {documents} back to {held}");
        // On a machine so busy that nothing came, the next slice is longer: a slice of 25 s has room for many chunks.
        time = if held == documents { 2 * time } else { SLICE };
        documents = held;
        assert!(kills < 12, "it does not come to its end: {documents} documents after {kills} slices");
    }
    let twice = (middle.bytes() - before).saturating_sub(whole_bytes);
    let a_kill = twice / kills.max(1);
    println!("{kills} kills: {twice} of {whole_bytes} bytes came twice, {a_kill} a kill");
    assert!(kills >= 1, "it was not cut");
    assert!(a_kill <= FULL_SLICE_BYTES / 20, "a kill costs {a_kill} bytes, more than 5 % of a slice of 25 s");
    middle.slow_down(0);
    let client = Client::open(&home).unwrap();
    sync_each(&[&client, &laptop]).await;
    assert_equal(&[&laptop, &client]);
}

/// Notes of the full size, each with so much that no compression makes much smaller, in its properties, which lie in
/// rows and in the document.
const FULL_NOTES: u64 = 760;
const PROPERTY_BYTES: usize = 60_000;

/// The drill of a phone: one core, 1 MB/s, killed after every 25 s. Some minutes: `cargo xtask deep joining`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo xtask deep joining"]
async fn a_join_of_full_size_that_is_killed_every_25_seconds_completes_and_fetches_little_twice() {
    let world = World::new().await;
    let laptop = world.first();
    for at in 0..FULL_NOTES {
        let id = note(&laptop, &format!("note {at}"), "text\n");
        for name in ["one", "two"] {
            let value = text(2 * at + u64::from(name == "one") + 1, PROPERTY_BYTES);
            laptop.note_set_property(&id, name, Some(value.into())).unwrap();
        }
    }
    // Longer than others may take.
    laptop.sync(&mut |_| {}).await.unwrap();
    laptop.compact(&mut |_| {}).await.unwrap();
    assert!(laptop.status().unwrap().checkpoint.is_some());
    let middle = Middle::start(world.relay.addr()).await;
    drop(newcomer(&world, &laptop, &middle, "phone").await);
    middle.slow_down(BYTES_A_SECOND);

    let (home, before, begun) = (world.home("phone"), middle.bytes(), Instant::now());
    let (mut kills, mut documents, mut all, mut usable) = (0_u64, 0, (0, 0), None);
    loop {
        let worker_home = home.clone();
        let slice = tokio::task::spawn_blocking(move || {
            let mut worker = Command::new("taskset");
            worker.args(["-c", "0"]).arg(program("lifeos-worker"));
            slice_of(worker, &worker_home, Duration::from_secs(25))
        });
        while !slice.is_finished() {
            tokio::time::sleep(Duration::from_millis(500)).await;
            // As somebody sees it who looks at the phone meanwhile.
            let status = Client::open(&home).unwrap().status().unwrap();
            let held = status.joining.as_ref().map_or(status.documents, |joining| joining.documents);
            assert!(held >= documents, "progress went from {documents} back to {held}");
            documents = held;
            if let Some(joining) = status.joining {
                all = (joining.documents_all, joining.bytes_all);
                if joining.is_usable {
                    usable.get_or_insert_with(|| begun.elapsed());
                }
            }
        }
        if slice.await.unwrap() {
            break;
        }
        kills += 1;
        assert!(kills < 30, "it does not come to its end: {documents} documents after {kills} slices");
    }
    let (carried, took) = (middle.bytes() - before, begun.elapsed());
    // What is not of the checkpoint (records, frames, receipts) is counted as if it had come twice.
    let twice = carried.saturating_sub(all.1);
    println!(
        "{} documents, {:.1} MB over 1 MB/s on one core, killed {kills} times after 25 s each: usable after {:.1} s, whole \
         after {:.0} s, {:.2} % of the bytes came twice",
        all.0,
        all.1 as f64 / 1e6,
        usable.unwrap_or_default().as_secs_f64(),
        took.as_secs_f64(),
        twice as f64 * 100.0 / all.1 as f64
    );
    assert!(kills >= 5, "{kills} kills are too few: {} bytes", all.1);
    assert!(twice * 20 <= all.1, "{twice} of {} bytes came twice, more than 5 %", all.1);
    middle.slow_down(0);
    let phone = Client::open(&home).unwrap();
    sync_each(&[&phone, &laptop]).await;
    assert_equal(&[&laptop, &phone]);
    assert!(phone.doctor(false, &mut |_| {}).unwrap().ok);
}
