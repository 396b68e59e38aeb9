//! Erasing a note from end to end: three devices, one of them away, over a real relay whose clock the test moves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lifeos_client_core::client::{Client, ErasePlan, ErasureHolder, ErasureStatus};
use lifeos_sync_server::{Clock, Config, Server, SpaceStats, stats};
use lifeos_tests::world::{HANG, World, assert_settled, note, sync, sync_each, titled, titles};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 3600);
const CANARY: &str = "zanzibarquokka";
const AT_ONCE: ErasePlan = ErasePlan { history_only: false, at_once: true };

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

struct Scene {
    world: World,
    clock: Clock,
    data: PathBuf,
}

async fn scene() -> Scene {
    let (dir, clock) = (TempDir::new().unwrap(), Clock::standing_at(now_ms()));
    let data = dir.path().join("relay");
    let relay = Server::start(Config { clock: clock.clone(), ..Config::local(&data) }).await.unwrap();
    Scene { world: World { relay, dir }, clock, data }
}

fn held(data: &Path) -> SpaceStats {
    stats(data).unwrap().largest.into_iter().next().unwrap()
}

async fn until_held(data: &Path, wanted: impl Fn(&SpaceStats) -> bool) {
    let waiting = async {
        while !wanted(&held(data)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANG, waiting).await.unwrap_or_else(|_| panic!("the relay holds {:?}", held(data)));
}

/// Files below a folder that hold these bytes, in any case of letters.
fn holding(folder: &Path, canary: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(holding(&entry, canary));
        } else if let Ok(bytes) = std::fs::read(&entry)
            && bytes.to_ascii_lowercase().windows(canary.len()).any(|window| window == canary.as_bytes())
        {
            found.push(entry);
        }
    }
    found
}

fn only(client: &Client) -> ErasureStatus {
    let [erasure] = client.erasures().unwrap().try_into().unwrap();
    erasure
}

fn state_of(holders: &[ErasureHolder], name: &str) -> String {
    holders.iter().find(|holder| holder.name == name).unwrap_or_else(|| panic!("no {name}")).state.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_note_is_gone_from_every_device_and_its_edits_from_the_relay_after_the_grace() {
    let scene = scene().await;
    let (laptop, [tablet, phone]) = scene.world.devices(["tablet", "phone"]).await;
    let id = note(&laptop, &format!("{CANARY} title"), &format!("{CANARY} text\n"));
    for n in 0..20 {
        laptop.note_splice(&id, 0, 0, &format!("{CANARY} {n}\n")).unwrap();
        titled(&laptop, &format!("other {n}"));
        sync(&laptop).await;
    }
    sync_each(&[&tablet, &phone, &laptop]).await;
    // A checkpoint from before holds it, too.
    laptop.compact(&mut |_| {}).await.unwrap();
    sync_each(&[&tablet, &laptop]).await;
    for home in ["laptop", "tablet", "phone"] {
        assert!(!holding(&scene.world.home(home), CANARY).is_empty(), "{home}: else nothing is ever found");
    }
    // The phone is away across all that follows, with an edit that it did not send.
    phone.note_splice(&id, 0, 0, &format!("{CANARY} late\n")).unwrap();
    let key = laptop.status().unwrap().keys;

    let planned = laptop.note_erase(&id, AT_ONCE).unwrap();
    assert_eq!(planned.state, "untold");
    assert!(laptop.note(&id).is_err() && laptop.search(CANARY, 9).unwrap().is_empty());
    assert!(holding(&scene.world.home("laptop"), CANARY).is_empty());
    sync(&laptop).await;
    sync(&laptop).await;
    assert_ne!(laptop.status().unwrap().keys, key, "what is sealed from now on is sealed under a new key");
    let told = only(&laptop);
    assert_eq!((told.state.as_str(), told.effective_ms), ("told", None), "nobody has looked at the checkpoint yet");
    assert_ne!(state_of(&told.devices, "tablet"), "confirmed");
    sync(&tablet).await;
    assert!(tablet.note(&id).is_err());
    sync_each(&[&tablet, &laptop]).await;
    assert!(holding(&scene.world.home("tablet"), CANARY).is_empty());
    let told = only(&laptop);
    assert!(told.effective_ms.is_some(), "{told:?}");
    assert_eq!(state_of(&told.devices, "laptop"), "erased");
    assert_eq!(state_of(&told.devices, "tablet"), "confirmed");
    assert_eq!(state_of(&told.devices, "phone"), "not_heard");
    assert_eq!(told.relays[0].state, "waiting");

    let before = held(&scene.data);
    scene.clock.advance(31 * DAY);
    until_held(&scene.data, |held| held.envelopes < before.envelopes && held.objects < before.objects).await;
    let later = (now_ms() + 31 * DAY.as_millis() as u64) as i64;
    for client in [&laptop, &tablet] {
        assert!(client.forget_pruned_at(later).unwrap() > 0);
    }
    let told = laptop.erasures_at(later).unwrap();
    assert_eq!(told[0].relays[0].state, "may_forget");

    // The phone comes back: what it has of the note goes, and the late edit does not bring it back.
    sync(&phone).await;
    sync_each(&[&phone, &laptop, &tablet]).await;
    assert!(phone.note(&id).is_err());
    assert_eq!(only(&phone).unsent_edits, 1);
    assert_eq!(state_of(&only(&laptop).devices, "phone"), "confirmed");
    let fresh = scene.world.link(&laptop, "fresh").await;
    sync_each(&[&fresh, &laptop, &tablet, &phone]).await;
    assert_settled(&[&laptop, &tablet, &phone, &fresh]);
    assert_eq!(titles(&fresh).len(), 20);
    for home in ["laptop", "tablet", "phone", "fresh", "relay"] {
        assert_eq!(holding(&scene.world.home(home), CANARY), Vec::<PathBuf>::new(), "{home}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_erasure_is_taken_back_or_given_up_when_the_note_leaves_the_trash() {
    let scene = scene().await;
    let (laptop, [tablet]) = scene.world.devices(["tablet"]).await;
    let (kept, restored, gone) = (titled(&laptop, "kept"), titled(&laptop, "restored"), titled(&laptop, "gone"));
    sync_each(&[&laptop, &tablet]).await;
    let planned = laptop.note_erase(&kept, ErasePlan::default()).unwrap();
    assert_eq!(planned.state, "scheduled");
    assert!(laptop.note(&kept).unwrap().trashed_ms.is_some());
    laptop.note_erase_undo(&kept).unwrap();
    assert!(laptop.note(&kept).unwrap().trashed_ms.is_none() && laptop.erasures().unwrap().is_empty());
    assert!(laptop.note_erase_undo(&kept).is_err());

    let long_ago = now_ms() as i64 - 8 * DAY.as_millis() as i64;
    for id in [&restored, &gone] {
        laptop.note_erase_at(id, ErasePlan::default(), long_ago).unwrap();
    }
    for day in 1..=7 {
        laptop.tend_erasures_at(long_ago + day * DAY.as_millis() as i64).unwrap();
    }
    // The other device hears of the trash, and takes one of them out before the laptop syncs again.
    laptop.note_trash(&restored, false).unwrap();
    sync_each(&[&laptop, &tablet]).await;
    let mut left = titles(&tablet);
    left.sort_unstable();
    assert_eq!(left, ["kept", "restored"]);
    assert!(tablet.note(&gone).is_err());
    assert_settled(&[&laptop, &tablet]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_leaps_ahead_carries_out_no_plan_and_one_that_goes_back_puts_none_off_for_ever() {
    let scene = scene().await;
    let (laptop, [_tablet]) = scene.world.devices(["tablet"]).await;
    let (day, now) = (DAY.as_millis() as i64, now_ms() as i64);
    let id = titled(&laptop, "gone in a week");
    // The clock stood a year back when it was planned, and then leapt to now: one day of the window is over.
    laptop.note_erase_at(&id, ErasePlan::default(), now - 365 * day).unwrap();
    sync(&laptop).await;
    let planned = only(&laptop);
    assert_eq!(planned.state, "scheduled");
    let due_ms = planned.due_ms.unwrap();
    assert!((now + 6 * day..now + 6 * day + day / 24).contains(&due_ms), "{planned:?}");
    // It stands a century ahead for a while.
    laptop.tend_erasures_at(now + 36_500 * day).unwrap();
    assert!(only(&laptop).due_ms.unwrap() > due_ms + 36_000 * day, "one more day is over, and five are left");
    sync(&laptop).await;
    let planned = only(&laptop);
    assert_eq!(planned.state, "scheduled");
    assert!((now + 5 * day..now + 5 * day + day / 24).contains(&planned.due_ms.unwrap()), "{planned:?}");
    assert!(laptop.note(&id).unwrap().trashed_ms.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_goes_from_the_files_also_where_no_relay_can_be_reached() {
    let scene = scene().await;
    let (laptop, [tablet]) = scene.world.devices(["tablet"]).await;
    let id = note(&laptop, "gone", &format!("{CANARY}\n"));
    sync_each(&[&laptop, &tablet]).await;
    let home = scene.world.home("laptop");
    // Somebody reads the old state while it is erased: the log cannot be emptied then.
    let reader = rusqlite::Connection::open(home.join("lifeos.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM document;").unwrap();
    let _: i64 = reader.query_row("SELECT count(*) FROM document", [], |row| row.get(0)).unwrap();
    laptop.note_erase(&id, AT_ONCE).unwrap();
    assert!(!holding(&home, CANARY).is_empty(), "else there is nothing left to do");
    drop(reader);
    scene.world.relay.shutdown().await;
    assert!(laptop.sync(&mut |_| {}).await.is_err(), "nobody is there");
    assert_eq!(holding(&home, CANARY), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_note_goes_and_its_text_goes_on_in_a_new_one() {
    let scene = scene().await;
    let (laptop, [tablet]) = scene.world.devices(["tablet"]).await;
    let id = note(&laptop, "Plan", &format!("{CANARY}\n"));
    laptop.note_tag(&id, "home", true).unwrap();
    sync(&laptop).await;
    laptop.note_set_markdown(&id, "what stays\n").unwrap();
    sync_each(&[&laptop, &tablet]).await;
    let plan = ErasePlan { history_only: true, at_once: true };
    let successor = laptop.note_erase(&id, plan).unwrap().successor.unwrap();
    sync_each(&[&laptop, &tablet]).await;
    for (client, home) in [(&laptop, "laptop"), (&tablet, "tablet")] {
        let note = client.note(&successor).unwrap();
        assert_eq!((note.title.as_str(), note.markdown.as_str()), ("Plan", "what stays\n"));
        assert_eq!(note.tags, ["home"]);
        assert_eq!(client.note_history(&successor, 9, 0).unwrap().len(), 1);
        assert!(client.note(&id).is_err());
        assert!(holding(&scene.world.home(home), CANARY).is_empty());
    }
    assert_settled(&[&laptop, &tablet]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_holds_less_than_15_percent_of_its_peak_once_nine_notes_of_ten_are_erased_and_the_grace_is_over() {
    let scene = scene().await;
    let (laptop, [tablet]) = scene.world.devices(["tablet"]).await;
    let mut draw = 1_u64;
    // Text that does not compress well: what is sealed is about as long as what was written.
    let mut text = || -> String {
        let mut letter = || {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + u8::try_from((draw >> 33) % 26).unwrap())
        };
        (0..6_000).map(|at| if at % 60 == 59 { '\n' } else { letter() }).collect()
    };
    let ids: Vec<String> = (0..20).map(|at| note(&laptop, &format!("note {at}"), &text())).collect();
    sync_each(&[&laptop, &tablet]).await;
    // A checkpoint from before holds all of them, too.
    laptop.compact(&mut |_| {}).await.unwrap();
    sync_each(&[&tablet, &laptop]).await;
    let peak = held(&scene.data);
    let (gone, kept) = ids.split_at(18);
    for id in gone {
        laptop.note_erase(id, AT_ONCE).unwrap();
    }
    for _ in 0..3 {
        sync_each(&[&laptop, &tablet]).await;
    }
    // First the checkpoint takes effect, then what nothing names any more goes.
    for _ in 0..2 {
        scene.clock.advance(31 * DAY);
        scene.world.relay.look_after_spaces().await;
    }
    let is_small = |now: &SpaceStats| now.bytes * 100 < peak.bytes * 15;
    until_held(&scene.data, is_small).await;
    println!("{} bytes at the relay of {} at its peak", held(&scene.data).bytes, peak.bytes);
    assert_settled(&[&laptop, &tablet]);
    assert_eq!(titles(&tablet).len(), kept.len());
    let fresh = scene.world.link(&laptop, "fresh").await;
    sync_each(&[&fresh, &laptop]).await;
    assert_eq!(titles(&fresh), titles(&laptop));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_begins_with_the_checkpoint_behind_an_erasure_vouches_for_it() {
    let scene = scene().await;
    let laptop = scene.world.first();
    let id = note(&laptop, "gone", &format!("{CANARY}\n"));
    for n in 0..5 {
        titled(&laptop, &format!("other {n}"));
        sync(&laptop).await;
    }
    laptop.note_erase(&id, AT_ONCE).unwrap();
    // The new key first, then the checkpoint; what follows in the next round would be its own word for it.
    while laptop.status().unwrap().checkpoint.is_none() {
        sync(&laptop).await;
    }
    let tablet = scene.world.link(&laptop, "tablet").await;
    for _ in 0..3 {
        sync_each(&[&tablet, &laptop]).await;
    }
    assert_eq!(titles(&tablet).len(), 5);
    let told = only(&laptop);
    assert!(told.effective_ms.is_some(), "{told:?}");
    assert_eq!(state_of(&told.devices, "tablet"), "confirmed");
}
