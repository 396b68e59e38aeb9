//! Attachments from end to end, over real relays: they come over when they are asked for, once, and go when nothing refers
//! to them any more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lifeos_client_core::bundle::{BundleReader, BundleWriter, Part};
use lifeos_client_core::client::{BackupKeys, BundleBase, BundleExport, Client, ErrorKind, RestoreKey};
use lifeos_client_core::keys::OwnKeys;
use lifeos_client_core::keystore::system_keystore;
use lifeos_client_core::modules::attachment::{ContentHash, PART_BYTES, PartList, attachment_doc, set_parts};
use lifeos_client_core::modules::notes::attachments::attach;
use lifeos_client_core::protocol::ids::EnvelopeId;
use lifeos_client_core::protocol::record::RemoveReason;
use lifeos_client_core::records::unlock_epochs;
use lifeos_client_core::registry::{ATTACHMENT_GENESIS, NOTE_GENESIS};
use lifeos_client_core::store::{Store, StoreError, unlock_device_root};
use lifeos_sync_server::{Clock, Config, Server, stats};
use lifeos_tests::noise::noise as bytes;
use lifeos_tests::world::{HANG, World, assert_equal, assert_settled, relay_in, sync, sync_each, titled, titles};
use tempfile::TempDir;

const DAY_MS: i64 = 24 * 3_600_000;
const MIB: usize = 1 << 20;

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

fn carry(client: &Client, file: &Path, base: &BundleBase) -> BundleExport {
    client.export_bundle_with_attachments(file, base, &mut |_| {}).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_carries_the_attachments_that_are_here_and_none_twice() {
    let world = World::new().await;
    let (laptop, [tablet, phone]) = world.devices(["tablet", "phone"]).await;
    let (content, note) = (bytes(3 * MIB, 11), titled(&laptop, "Carried"));
    let hash = add(&laptop, &note, &file(&world, "carried.bin", &content));
    let bundle = world.home("bundle");
    assert_eq!(laptop.export_bundle(&bundle, &BundleBase::Nothing, &mut |_| {}).unwrap().parts, 0, "only when asked");
    let exported = carry(&laptop, &bundle, &BundleBase::Nothing);
    assert_eq!((exported.parts, exported.parts_away), (4, 0));
    assert!(exported.bytes > 3 * MIB as u64 && exported.bytes < 4 * MIB as u64, "{exported:?}");

    // Cut short it gives what is there, and the whole one only the rest.
    let whole = std::fs::read(&bundle).unwrap();
    let cut = file(&world, "cut", &whole[..whole.len() * 2 / 3]);
    let error = tablet.import_bundle(&cut, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("cut short"), "{error}");
    let before = parts_here(&tablet);
    assert!((1..4).contains(&before), "{before}");
    let imported = tablet.import_bundle(&bundle, &mut |_| {}).unwrap();
    assert_eq!((imported.parts, imported.passed_over), (4 - before, 0));
    assert!(read(&tablet, &hash) == content);
    assert_eq!(tablet.import_bundle(&bundle, &mut |_| {}).unwrap().parts, 0);

    // What an earlier bundle holds is left out, and what is not here is told.
    let later = bytes(MIB, 12);
    add(&laptop, &note, &file(&world, "later.bin", &later));
    assert_eq!(carry(&laptop, &world.home("second"), &BundleBase::Bundle(bundle)).parts, 2);
    assert_eq!(tablet.import_bundle(&world.home("second"), &mut |_| {}).unwrap().parts, 2);
    // The laptop stays away: the relay gets the parts from the tablet.
    sync(&tablet).await;
    assert_eq!(objects(&world.dir.path().join("relay")), 6);
    sync(&phone).await;
    let exported = carry(&phone, &world.home("third"), &BundleBase::Nothing);
    assert_eq!((exported.parts, exported.parts_away), (0, 6), "nothing is fetched for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_in_a_bundle_that_nothing_refers_to_or_that_were_altered_fill_nobodys_home() {
    let world = World::new().await;
    let (laptop, [tablet]) = world.devices(["tablet"]).await;
    let (content, note) = (bytes(2 * MIB, 13), titled(&laptop, "Hostile"));
    let hash = add(&laptop, &note, &file(&world, "hostile.bin", &content));
    let bundle = world.home("bundle");
    carry(&laptop, &bundle, &BundleBase::Nothing);
    let mut reader = BundleReader::open(std::fs::File::open(&bundle).unwrap()).unwrap();
    let (mut records, mut edits, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(part) = reader.next_part().unwrap() {
        match part {
            Part::Records(some) => records.extend(some),
            Part::Envelopes(some) => some.into_iter().for_each(|bytes| match bytes[1] {
                3 => parts.push(bytes),
                _ => edits.push(bytes),
            }),
        }
    }
    assert_eq!(parts.len(), 3);
    let write = |edits: &[Vec<u8>], parts: &[Vec<u8>]| {
        let out = std::fs::File::create(world.home("changed")).unwrap();
        let reader = BundleReader::open(std::fs::File::open(&bundle).unwrap()).unwrap();
        let mut writer = BundleWriter::begin(out, &reader.space(), reader.streams().to_vec()).unwrap();
        writer.records(records.clone()).unwrap();
        edits.iter().chain(parts).for_each(|envelope| writer.envelopes(vec![envelope.clone()]).unwrap());
        writer.finish().unwrap();
        tablet.import_bundle(&world.home("changed"), &mut |_| {}).unwrap()
    };
    let unknown = write(&[], &parts);
    assert_eq!((unknown.parts, unknown.passed_over, parts_here(&tablet)), (0, 3, 0), "no note here attaches it");
    let altered = (0..100).map(|number| {
        let mut part = parts[0].clone();
        let at = part.len() - 1 - number * 7;
        part[at] ^= 1;
        part
    });
    let altered: Vec<_> = altered.collect();
    let found = write(&edits, &altered);
    assert_eq!((found.parts, found.passed_over, parts_here(&tablet)), (0, 100, 0));
    let many: Vec<_> = std::iter::repeat_n(parts[0].clone(), 50).chain(parts.iter().cloned()).collect();
    let found = write(&edits, &many);
    assert_eq!((found.parts, found.passed_over, parts_here(&tablet)), (3, 0, 3));
    assert!(read(&tablet, &hash) == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_holds_the_attachments_that_were_on_the_device() {
    let world = World::new().await;
    let (laptop, phrase) = world.first_with_phrase();
    let (content, note) = (bytes(3 * MIB, 17), titled(&laptop, "Kept"));
    let hash = add(&laptop, &note, &file(&world, "kept.bin", &content));
    let backup = world.home("all.lifeos");
    laptop.backup(&backup, &BackupKeys::default(), &mut |_| {}).unwrap();
    drop(laptop);
    std::fs::remove_dir_all(world.home("laptop")).unwrap();
    let restored = Client::restore(&world.home("new"), &backup, &RestoreKey::Phrase(&phrase), &mut |_| {}).unwrap().0;
    assert!(read(&restored, &hash) == content, "without a relay");
    // It stands for them, too: the relay never had them.
    sync(&restored).await;
    assert_eq!(objects(&world.dir.path().join("relay")), 4);
    let tablet = world.link(&restored, "tablet").await;
    sync_each(&[&tablet, &restored]).await;
    fetch(&tablet, &hash).await;
    assert!(read(&tablet, &hash) == content);
}

/// How many of these parts, which the laptop holds, the device of another home can open with all records there are.
fn opened(world: &World, laptop: &Client, home: &str, parts: &[EnvelopeId]) -> usize {
    let (space, store) = (laptop.space(), Store::open(&world.home("laptop")).unwrap());
    let (records, membership) = (store.records(&space).unwrap(), store.membership(&space).unwrap());
    let root = unlock_device_root(&world.home(home), system_keystore(), None).unwrap();
    let keys = root.derive_space(&membership.genesis_random);
    let keyring = unlock_epochs(&membership, &records, OwnKeys::first(&keys)).keyring;
    let opens = |part: &&EnvelopeId| store.reads().part_body(&space, part, (&membership, &keyring)).is_ok();
    parts.iter().filter(opens).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_removal_attachments_are_sealed_anew_and_the_old_parts_go() {
    let (dir, clock) = (TempDir::new().unwrap(), Clock::standing_at(now_ms() as u64));
    let data = dir.path().join("relay");
    let relay = Server::start(Config { clock: clock.clone(), ..Config::local(&data) }).await.unwrap();
    let world = World { relay, dir };
    let (laptop, [tablet, phone]) = world.devices(["tablet", "phone"]).await;
    let (content, away, note) = (bytes(3 * MIB, 21), bytes(MIB, 22), titled(&laptop, "Papers"));
    let path = file(&world, "papers.pdf", &content);
    let hash = add(&laptop, &note, &path);
    let elsewhere = add(&phone, &titled(&phone, "Not here"), &file(&world, "away.bin", &away));
    sync_each(&[&laptop, &tablet, &phone]).await;
    fetch(&tablet, &hash).await;
    fetch(&tablet, &elsewhere).await;
    let (old, not_here) = (laptop.attachment_parts(&hash).unwrap(), laptop.attachment_parts(&elsewhere).unwrap());
    assert_eq!((old.len(), not_here.len(), objects(&data)), (4, 2, 6));
    assert_eq!(opened(&world, &laptop, "phone", &old), 4);

    clock.advance(Duration::from_secs(8 * 24 * 3600));
    laptop.device_remove("phone", RemoveReason::Lost).await.unwrap();
    drop(phone);
    laptop.compact(&mut |_| {}).await.unwrap();
    let new = laptop.attachment_parts(&hash).unwrap();
    assert!(new.len() == 4 && new.iter().all(|part| !old.contains(part)), "all of it");
    assert_eq!(laptop.attachment_parts(&elsewhere).unwrap(), not_here, "what is not here is for those who hold it");
    assert_eq!((opened(&world, &laptop, "laptop", &new), opened(&world, &laptop, "phone", &new)), (4, 0));
    assert!(read(&laptop, &hash) == content);

    // The tablet has what it fetched before, without fetching it again, and seals what the laptop does not hold.
    let pulled = sync(&tablet).await.bytes_pulled;
    assert!(pulled < MIB as u64, "{pulled}");
    assert_eq!(tablet.attachment_parts(&hash).unwrap(), new);
    assert!(read(&tablet, &hash) == content);
    tablet.compact(&mut |_| {}).await.unwrap();
    let there = tablet.attachment_parts(&elsewhere).unwrap();
    assert!(there.iter().all(|part| !not_here.contains(part)));
    sync_each(&[&laptop, &tablet]).await;
    // What is there is not sealed again: not by attaching it once more, nor by another checkpoint.
    let held = objects(&data);
    add(&tablet, &note, &path);
    add(&laptop, &titled(&laptop, "Once more"), &path);
    sync_each(&[&laptop, &tablet]).await;
    assert_eq!((laptop.attachment_parts(&hash).unwrap(), objects(&data)), (new.clone(), held));
    laptop.compact(&mut |_| {}).await.unwrap();
    sync_each(&[&tablet, &laptop]).await;
    assert_eq!(laptop.attachment_parts(&hash).unwrap(), new);

    // After the grace period the relay holds none of the old parts, and after a month neither does the device.
    clock.advance(Duration::from_secs(31 * 24 * 3600));
    let is_gone = |part: &EnvelopeId| {
        let db = rusqlite::Connection::open(data.join("relay.db")).unwrap();
        !db.prepare("SELECT 1 FROM object WHERE id = ?1").unwrap().exists([part.as_ref()]).unwrap()
    };
    let waiting = async {
        while !old.iter().chain(&not_here).all(is_gone) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANG, waiting).await.expect("the old parts go");
    assert!(!new.iter().chain(&there).any(is_gone));
    for client in [&laptop, &tablet] {
        client.tidy_attachments_at(now_ms()).unwrap();
        client.tidy_attachments_at(now_ms() + 31 * DAY_MS).unwrap();
    }
    assert_eq!(parts_here(&laptop), 4);
    let desk = world.link(&laptop, "desk").await;
    sync_each(&[&desk, &laptop, &tablet]).await;
    for hash in [&hash, &elsewhere] {
        fetch(&desk, hash).await;
    }
    assert!(read(&desk, &hash) == content && read(&desk, &elsewhere) == away);
}
