//! Attachments from end to end, over real relays: they come over when they are asked for, once, and go when nothing refers
//! to them any more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lifeos_client_core::client::{Client, ErrorKind};
use lifeos_client_core::modules::attachment::{ContentHash, PART_BYTES, PartList, attachment_doc, set_parts};
use lifeos_client_core::modules::notes::attachments::attach;
use lifeos_client_core::protocol::ids::EnvelopeId;
use lifeos_client_core::registry::{ATTACHMENT_GENESIS, NOTE_GENESIS};
use lifeos_client_core::store::{Store, StoreError};
use lifeos_sync_server::{Clock, Config, Server, stats};
use lifeos_tests::world::{HANG, World, assert_equal, assert_settled, relay_in, sync, sync_each, titled, titles};
use tempfile::TempDir;

const DAY_MS: i64 = 24 * 3_600_000;
const MIB: usize = 1 << 20;

/// Bytes that nothing makes smaller.
fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    });
    next.flat_map(u64::to_be_bytes).take(length).collect()
}

fn file(world: &World, name: &str, content: &[u8]) -> PathBuf {
    let path = world.dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn add(client: &Client, note: &str, path: &Path) -> String {
    client.note_attach(note, path, None, &mut |_| {}).unwrap().hash
}

async fn fetch(client: &Client, hash: &str) {
    tokio::time::timeout(HANG, client.attachment_fetch(hash, &mut |_| {})).await.expect("fetching hangs").unwrap();
}

fn read(client: &Client, hash: &str) -> Vec<u8> {
    let mut out = Vec::new();
    client.attachment_write(hash, &mut out, &mut |_| {}).unwrap();
    out
}

fn parts_here(client: &Client) -> u64 {
    client.attachment_cache().unwrap().parts
}

fn objects(data: &Path) -> u64 {
    stats(data).unwrap().largest.into_iter().next().map_or(0, |space| space.objects)
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_twenty_mebibytes_comes_over_whole_and_only_when_it_is_asked_for() {
    let world = World::new().await;
    let (laptop, [tablet]) = world.devices(["tablet"]).await;
    let content = bytes(20 * MIB, 7);
    let note = titled(&laptop, "Trip");
    let attached = laptop.note_attach(&note, &file(&world, "film.mp4", &content), None, &mut |_| {}).unwrap();
    assert_eq!((attached.size, attached.parts, attached.parts_here), (Some(20 * MIB as u64), 21, 21));
    assert_eq!((attached.name.as_str(), attached.media.as_str()), ("film.mp4", "video/mp4"));
    assert_eq!(laptop.status().unwrap().attachments.unsent, 21);
    let sent = sync(&laptop).await;
    assert!(sent.bytes_pushed > 20 * MIB as u64 && sent.bytes_pushed < 22 * MIB as u64, "{sent:?}");
    assert_eq!(laptop.status().unwrap().attachments.unsent, 0);
    assert_eq!(objects(&world.dir.path().join("relay")), 21);

    let received = sync(&tablet).await;
    assert!(received.bytes_pulled < MIB as u64, "nothing of the file is fetched: {received:?}");
    let listed = tablet.attachments().unwrap().remove(0);
    assert_eq!((listed.parts_here, listed.parts, listed.size), (0, 21, Some(20 * MIB as u64)));
    let away = tablet.attachment_write(&attached.hash, &mut Vec::new(), &mut |_| {}).unwrap_err();
    assert!(away.kind() == ErrorKind::Network && away.to_string().contains("21 of 21 parts"), "{away}");
    fetch(&tablet, &attached.hash[..8]).await;
    assert!(read(&tablet, &attached.hash) == content);
    assert_eq!(tablet.attachment_cache().unwrap().wanted, 0);

    // The same file again, on either device and in another note, costs no part.
    let other = titled(&tablet, "Film");
    add(&tablet, &other, &file(&world, "again.mp4", &content));
    add(&laptop, &note, &file(&world, "once more.mp4", &content));
    sync_each(&[&tablet, &laptop]).await;
    assert_eq!((parts_here(&laptop), parts_here(&tablet)), (21, 21));
    assert_eq!(objects(&world.dir.path().join("relay")), 21);
    assert_settled(&[&laptop, &tablet]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_two_devices_add_at_once_is_one_attachment() {
    let world = World::new().await;
    let (laptop, [tablet, phone]) = world.devices(["tablet", "phone"]).await;
    let (content, note) = (bytes(2 * MIB, 3), titled(&laptop, "Both"));
    sync_each(&[&laptop, &tablet, &phone]).await;
    let path = file(&world, "both.bin", &content);
    let hash = add(&laptop, &note, &path);
    assert_eq!(add(&tablet, &note, &path), hash);
    assert_ne!(laptop.attachment_parts(&hash).unwrap(), tablet.attachment_parts(&hash).unwrap(), "each sealed its own");
    sync_each(&[&laptop, &tablet, &phone]).await;
    assert_equal(&[&laptop, &tablet, &phone]);
    assert_eq!(laptop.attachments().unwrap().len(), 1);
    let counted = laptop.attachment_parts(&hash).unwrap();
    assert!(tablet.attachment_parts(&hash).unwrap() == counted && phone.attachment_parts(&hash).unwrap() == counted);
    fetch(&phone, &hash).await;
    for client in [&laptop, &tablet, &phone] {
        assert!(read(client, &hash) == content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_evicted_is_fetched_again_and_what_no_relay_holds_stays() {
    let world = World::new().await;
    let (laptop, [tablet]) = world.devices(["tablet"]).await;
    let note = titled(&laptop, "Pictures");
    let (old, new) = (bytes(2 * MIB, 1), bytes(2 * MIB, 2));
    let old_hash = add(&laptop, &note, &file(&world, "old.png", &old));
    assert_eq!(laptop.set_attachment_limit(0).unwrap().parts, 3, "no relay holds it yet");
    sync(&laptop).await;
    assert_eq!(parts_here(&laptop), 0, "now one does");
    laptop.set_attachment_limit(4 * MIB as u64).unwrap();
    fetch(&laptop, &old_hash).await;
    assert!(read(&laptop, &old_hash) == old);
    let new_hash = add(&laptop, &note, &file(&world, "new.png", &new));
    sync(&laptop).await;
    let here: Vec<u64> = laptop.attachments().unwrap().iter().map(|found| found.parts_here).collect();
    assert!(here[0] == 3 && here[1] < 3, "what was used longest ago went first: {here:?}");
    laptop.attachment_pin(&old_hash, true).unwrap();
    sync(&laptop).await;
    assert!(read(&laptop, &old_hash) == old, "what is pinned is fetched and stays");
    sync(&tablet).await;
    fetch(&tablet, &new_hash).await;
    assert!(read(&tablet, &new_hash) == new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_attachment_goes_from_relay_and_devices_and_the_others_stay() {
    let (dir, clock) = (TempDir::new().unwrap(), Clock::standing_at(now_ms() as u64));
    let data = dir.path().join("relay");
    let relay = Server::start(Config { clock: clock.clone(), ..Config::local(&data) }).await.unwrap();
    let world = World { relay, dir };
    let (laptop, [tablet]) = world.devices(["tablet"]).await;
    let (kept, gone, note) = (bytes(2 * MIB, 1), bytes(3 * MIB, 2), titled(&laptop, "Papers"));
    let kept_hash = add(&laptop, &note, &file(&world, "kept.pdf", &kept));
    let gone_hash = add(&laptop, &note, &file(&world, "gone.pdf", &gone));
    sync_each(&[&laptop, &tablet]).await;
    fetch(&tablet, &gone_hash).await;
    assert_eq!(objects(&data), 7);
    tablet.note_detach(&note, "gone.pdf").unwrap();
    sync_each(&[&tablet, &laptop]).await;
    // Parts that came a week before a checkpoint and that it leaves out are garbage when it takes effect.
    clock.advance(Duration::from_secs(8 * 24 * 3600));
    tablet.compact(&mut |_| {}).await.unwrap();
    sync_each(&[&laptop, &tablet]).await;
    assert_eq!(tablet.status().unwrap().checkpoint.unwrap().standing, "endorsed");
    let chunks = objects(&data) - 7;
    clock.advance(Duration::from_secs(31 * 24 * 3600));
    let waiting = async {
        while objects(&data) > 3 + chunks {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANG, waiting).await.unwrap_or_else(|_| panic!("the relay holds {}", objects(&data)));
    assert_eq!(parts_here(&laptop), 7);
    laptop.tidy_attachments_at(now_ms() + 31 * DAY_MS).unwrap();
    assert_eq!(parts_here(&laptop), 3);
    // A device that comes later gets what is left, and nobody brings back what is gone.
    let phone = world.link(&laptop, "phone").await;
    sync_each(&[&phone, &laptop, &tablet]).await;
    fetch(&phone, &kept_hash).await;
    assert!(read(&phone, &kept_hash) == kept);
    assert_eq!(phone.attachments().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_lost_everything_gets_the_parts_again_from_whoever_holds_them() {
    let world = World::new().await;
    let (laptop, [tablet, phone]) = world.devices(["tablet", "phone"]).await;
    let (content, note) = (bytes(2 * MIB, 5), titled(&laptop, "Letter"));
    let hash = add(&laptop, &note, &file(&world, "letter.pdf", &content));
    sync_each(&[&laptop, &tablet]).await;
    fetch(&tablet, &hash).await;
    laptop.set_attachment_limit(0).unwrap();
    assert_eq!((parts_here(&laptop), parts_here(&tablet)), (0, 3));
    let World { relay, dir } = world;
    relay.shutdown().await;
    let data = dir.path().join("another relay");
    let relay = relay_in(&data).await;
    for client in [&laptop, &tablet, &phone] {
        client.set_relay(&relay.url()).unwrap();
    }
    sync_each(&[&laptop, &tablet, &phone]).await;
    assert_eq!(objects(&data), 3);
    fetch(&phone, &hash).await;
    assert!(read(&phone, &hash) == content);
}

/// Writes below the client, as a program may that does not keep to the rules.
fn below(home: &Path, write: impl FnOnce(&mut Store)) {
    write(&mut Store::open(home).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_reference_is_refused_in_words_and_holds_up_nothing() {
    let world = World::new().await;
    let (laptop, [tablet]) = world.devices(["tablet"]).await;
    let (content, note) = (bytes(2 * MIB, 9), titled(&laptop, "Mixed"));
    let good = add(&laptop, &note, &file(&world, "good.bin", &content));
    let parts = laptop.attachment_parts(&good).unwrap();
    let (space, id) = (laptop.space(), note.parse().unwrap());
    let false_ones = [
        ("the parts of another.bin", 2 * MIB as u64, parts.clone(), "a part of something else"),
        ("never sent.bin", PART_BYTES as u64 + 1, vec![EnvelopeId([1; 32]), EnvelopeId([2; 32])], "2 of 2 parts"),
    ];
    below(&world.home("laptop"), |store| {
        for (number, (name, size, parts, _)) in false_ones.iter().enumerate() {
            let hash = ContentHash([number as u8; 32]);
            let list = PartList { size: *size, parts: parts.clone() };
            let edit = |tx: &mut lifeos_client_core::store::Tx<'_>| {
                let doc = attachment_doc(&space, &hash);
                tx.edit::<(), StoreError>(&doc, ATTACHMENT_GENESIS, |doc| Ok(set_parts(doc, &hash, "a/b", &list)?))?;
                tx.edit::<(), StoreError>(&id, NOTE_GENESIS, |doc| Ok(attach(doc, &hash, name)?))
            };
            store.write(&space, 1, edit).unwrap();
        }
    });
    sync_each(&[&laptop, &tablet]).await;
    for (name, _, _, why) in &false_ones {
        let outcome = tablet.attachment_fetch(name, &mut |_| {}).await;
        let saved = outcome.and_then(|()| tablet.attachment_save(name, world.dir.path(), false, &mut |_| {}));
        let error = saved.unwrap_err();
        assert!(error.to_string().contains(why), "{name}: {error}");
        assert!(!world.dir.path().join(name).exists());
    }
    titled(&laptop, "Later");
    sync_each(&[&laptop, &tablet]).await;
    assert_eq!(titles(&tablet), ["Later", "Mixed"]);
    fetch(&tablet, "good.bin").await;
    assert!(read(&tablet, "good.bin") == content);
    // A name from elsewhere names no path.
    for (name, safe) in [("../../evil.bin", "_..-..-evil.bin"), ("/etc/passwd", "-etc-passwd")] {
        laptop.note_attach(&note, &world.dir.path().join("good.bin"), Some(name), &mut |_| {}).unwrap();
        let folder = tempfile::tempdir_in(world.dir.path()).unwrap();
        let saved = laptop.attachment_save(&good, folder.path(), false, &mut |_| {}).unwrap();
        assert_eq!(saved, folder.path().join(safe));
        let there: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(there, [saved]);
    }
}
