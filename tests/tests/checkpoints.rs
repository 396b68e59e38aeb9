//! Checkpoints from end to end, over a real relay whose clock the test moves: made, looked at, begun with, in effect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use lifeos_client_core::client::{BundleBase, Client, NoteFilter};
use lifeos_client_core::protocol::frame::Have;
use lifeos_client_core::protocol::record::Body;
use lifeos_client_core::store::Store;
use lifeos_sync_server::{Clock, Config, Handle, Server, SpaceStats, stats};
use lifeos_tests::middle::{Harm, Middle};
use lifeos_tests::world::{HANG, World, assert_equal, assert_settled, relay_in, sync, sync_each, titled, titles};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A relay that can be moved through time, and Ana's laptop and tablet, in step.
struct Scene {
    world: World,
    clock: Clock,
    data: PathBuf,
    laptop: Client,
    tablet: Client,
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

async fn relay_at(data: &std::path::Path, clock: &Clock) -> Handle {
    Server::start(Config { clock: clock.clone(), ..Config::local(data) }).await.unwrap()
}

async fn scene() -> Scene {
    let (dir, clock) = (TempDir::new().unwrap(), Clock::standing_at(now_ms()));
    let data = dir.path().join("relay");
    let world = World { relay: relay_at(&data, &clock).await, dir };
    let (laptop, [tablet]) = world.devices(["tablet"]).await;
    Scene { world, clock, data, laptop, tablet }
}

fn held(data: &std::path::Path) -> SpaceStats {
    stats(data).unwrap().largest.into_iter().next().unwrap()
}

async fn until_held(data: &std::path::Path, wanted: impl Fn(&SpaceStats) -> bool) {
    let waiting = async {
        while !wanted(&held(data)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANG, waiting).await.unwrap_or_else(|_| panic!("the relay holds {:?}", held(data)));
}

/// Notes with some edits each, sealed in several envelopes.
async fn write(client: &Client, name: &str, notes: usize, edits: usize) {
    let ids: Vec<_> = (0..notes).map(|at| titled(client, &format!("{name} {at:03}"))).collect();
    for round in 0..edits {
        for id in &ids {
            client.note_splice(id, 0, 0, &format!("line {round} of {name}\n")).unwrap();
        }
        sync(client).await;
    }
}

/// Makes a checkpoint on one device and has another one look at it.
async fn compact(maker: &Client, others: &[&Client]) {
    maker.compact(&mut |_| {}).await.unwrap();
    let made = maker.status().unwrap().checkpoint.expect("a checkpoint");
    assert_eq!(made.standing, "proposed");
    for other in others {
        sync(other).await;
    }
    sync(maker).await;
    assert_eq!(maker.status().unwrap().checkpoint.unwrap().standing, "endorsed");
}

/// The grace period passes for the relay and these devices.
async fn pass_grace(scene: &Scene, clients: &[&Client]) {
    let before = held(&scene.data).envelopes;
    scene.clock.advance(31 * DAY);
    until_held(&scene.data, |held| held.envelopes < before).await;
    for client in clients {
        client.forget_pruned_at(now_ms() as i64).unwrap();
        assert!(client.forget_pruned_at((now_ms() + 31 * DAY.as_millis() as u64) as i64).unwrap() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_device_begins_with_a_checkpoint_and_goes_on_with_what_came_after_it() {
    let scene = scene().await;
    let (laptop, tablet) = (&scene.laptop, &scene.tablet);
    write(laptop, "before", 30, 3).await;
    write(tablet, "also before", 10, 2).await;
    sync_each(&[laptop, tablet]).await;
    compact(laptop, &[tablet]).await;
    write(tablet, "after", 5, 2).await;

    let phone = scene.world.link(laptop, "phone").await;
    let report = sync(&phone).await;
    assert!(report.joined >= 40, "{report:?}");
    sync_each(&[&phone, laptop, tablet]).await;
    assert_settled(&[laptop, tablet, &phone]);
    let status = phone.status().unwrap();
    assert_eq!((status.documents_unverified, status.joining), (0, None), "all was looked at");
    assert!(status.alarms.is_empty(), "{:?}", status.alarms);
    let found = phone.search("line 1 of before", 10).unwrap();
    assert!(!found.is_empty(), "what came with the checkpoint is found");

    titled(&phone, "by the phone");
    let old = phone.notes(NoteFilter { limit: 1, ..NoteFilter::default() }).unwrap().remove(0).id.to_string();
    phone.note_splice(&old, 0, 0, "and edited there\n").unwrap();
    sync_each(&[&phone, laptop, tablet]).await;
    assert_settled(&[laptop, tablet, &phone]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_grace_period_the_edits_before_a_checkpoint_are_gone_and_everybody_goes_on() {
    let scene = scene().await;
    let (laptop, tablet) = (&scene.laptop, &scene.tablet);
    // One device that is away all the time, with edits of its own.
    let away = scene.world.link(laptop, "away").await;
    sync_each(&[laptop, &away]).await;
    titled(&away, "written away, before");
    write(laptop, "before", 20, 4).await;
    write(tablet, "also", 10, 2).await;
    sync_each(&[laptop, tablet]).await;
    compact(laptop, &[tablet]).await;
    pass_grace(&scene, &[laptop, tablet]).await;
    titled(laptop, "after");
    sync_each(&[laptop, tablet]).await;
    assert_equal(&[laptop, tablet]);

    // Test 55: a device that was away for longer than the grace period loses nothing.
    titled(&away, "written away, after");
    sync_each(&[&away, laptop, tablet]).await;
    assert_settled(&[laptop, tablet, &away]);
    assert!(titles(laptop).contains(&"written away, before".to_owned()));
    assert!(titles(&away).contains(&"after".to_owned()));
    assert!(away.status().unwrap().warnings.is_empty(), "{:?}", away.status().unwrap().warnings);

    // A new device finds no beginning of the log any more, and needs none.
    let phone = scene.world.link(laptop, "phone").await;
    sync_each(&[&phone, laptop]).await;
    assert_settled(&[laptop, &phone]);

    // A second cycle forgets the rest.
    let before = held(&scene.data).envelopes;
    compact(tablet, &[laptop]).await;
    scene.clock.advance(31 * DAY);
    until_held(&scene.data, |held| held.envelopes < before).await;
    sync_each(&[laptop, tablet, &away, &phone]).await;
    assert_settled(&[laptop, tablet, &away, &phone]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_a_pruned_space_is_enough_to_go_on_from_wherever_its_reader_is() {
    let scene = scene().await;
    let (laptop, tablet) = (&scene.laptop, &scene.tablet);
    let (away, fresh) = (scene.world.link(laptop, "away").await, scene.world.link(laptop, "fresh").await);
    sync_each(&[laptop, tablet, &away]).await;
    let file = |name: &str| scene.world.home(name);
    let export = |name: &str, base: BundleBase| laptop.export_bundle(&file(name), &base, &mut |_| {}).unwrap();
    let early = export("early", BundleBase::Nothing);
    assert_eq!(early.chunks, 0, "nothing is pruned");
    write(laptop, "before", 10, 3).await;
    sync_each(&[laptop, tablet]).await;
    compact(laptop, &[tablet]).await;
    pass_grace(&scene, &[laptop]).await;
    titled(laptop, "after");

    let whole = export("whole", BundleBase::Nothing);
    assert!(whole.chunks > 0, "{whole:?}");
    // What the earlier bundle holds ends before what is pruned: the checkpoint stands for what lies between.
    let since = export("since", BundleBase::Bundle(file("early")));
    assert_eq!(since.chunks, whole.chunks);
    assert_eq!(export("last", BundleBase::Bundle(file("whole"))).chunks, 0, "its reader has taken that in");
    for (client, name) in [(&fresh, "whole"), (&away, "since")] {
        let imported = client.import_bundle(&file(name), &mut |_| {}).unwrap();
        assert_eq!((imported.passed_over, imported.quarantined), (0, 0), "{imported:?}");
        assert_eq!(titles(client), titles(laptop), "{name}");
        let again = client.import_bundle(&file(name), &mut |_| {}).unwrap();
        assert_eq!((again.received, again.documents_changed, again.passed_over), (0, 0, 0));
    }
    sync_each(&[laptop, tablet, &away, &fresh]).await;
    assert_settled(&[laptop, tablet, &away, &fresh]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_burns_down_after_everybody_forgot_is_filled_again_from_the_checkpoint_on() {
    let scene = scene().await;
    write(&scene.laptop, "before", 10, 3).await;
    sync_each(&[&scene.laptop, &scene.tablet]).await;
    compact(&scene.laptop, &[&scene.tablet]).await;
    pass_grace(&scene, &[&scene.laptop, &scene.tablet]).await;
    write(&scene.tablet, "after", 3, 2).await;
    sync_each(&[&scene.laptop, &scene.tablet]).await;
    let Scene { world, laptop, tablet, .. } = scene;

    let world = world.with_empty_relay().await;
    laptop.set_relay(&world.relay.url()).unwrap();
    tablet.set_relay(&world.relay.url()).unwrap();
    sync_each(&[&laptop, &tablet]).await;
    let refilled = held(&world.dir.path().join("another relay"));
    assert!(refilled.objects > 0 && refilled.envelopes > 0, "{refilled:?}");
    let phone = world.link(&laptop, "phone").await;
    sync_each(&[&phone, &laptop, &tablet]).await;
    assert_settled(&[&laptop, &tablet, &phone]);
    // Nothing goes round and round.
    for client in [&laptop, &tablet, &phone] {
        let report = sync(client).await;
        assert_eq!((report.pushed, report.given, report.pulled), (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_a_device_has_its_checkpoint_given_back_before_it_counts() {
    let dir = TempDir::new().unwrap();
    let clock = Clock::standing_at(now_ms());
    let data = dir.path().join("relay");
    let world = World { relay: relay_at(&data, &clock).await, dir };
    let laptop = world.first();
    write(&laptop, "mine", 10, 3).await;
    laptop.compact(&mut |_| {}).await.unwrap();
    assert_eq!(laptop.status().unwrap().checkpoint.unwrap().standing, "endorsed");
    let before = held(&data);
    clock.advance(31 * DAY);
    until_held(&data, |held| held.envelopes < before.envelopes).await;
    let phone = world.link(&laptop, "phone").await;
    sync_each(&[&phone, &laptop]).await;
    assert_settled(&[&laptop, &phone]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_makes_no_checkpoint_and_two_at_once_do_no_harm() {
    let scene = scene().await;
    let (laptop, tablet) = (&scene.laptop, &scene.tablet);
    write(laptop, "before", 10, 2).await;
    sync_each(&[laptop, tablet]).await;
    compact(laptop, &[tablet]).await;
    let made = laptop.status().unwrap().checkpoint.unwrap().id;
    laptop.compact(&mut |_| {}).await.unwrap();
    assert_eq!(laptop.status().unwrap().checkpoint.unwrap().id, made);

    titled(laptop, "one more");
    sync_each(&[laptop, tablet]).await;
    // Both make one before either has seen the other's.
    let (one, other) =
        tokio::join!(async { laptop.compact(&mut |_| {}).await }, async { tablet.compact(&mut |_| {}).await });
    one.unwrap();
    other.unwrap();
    sync_each(&[laptop, tablet]).await;
    let before = held(&scene.data).envelopes;
    scene.clock.advance(31 * DAY);
    until_held(&scene.data, |held| held.envelopes < before).await;
    let phone = scene.world.link(laptop, "phone").await;
    sync_each(&[&phone, laptop, tablet]).await;
    assert_settled(&[laptop, tablet, &phone]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_was_removed_reads_nothing_of_a_later_checkpoint() {
    let scene = scene().await;
    let (laptop, tablet) = (&scene.laptop, &scene.tablet);
    write(laptop, "before", 5, 2).await;
    let gone = scene.world.link(laptop, "gone").await;
    sync_each(&[&gone, laptop, tablet]).await;
    laptop
        .device_remove(&gone.device().to_string(), lifeos_client_core::protocol::record::RemoveReason::Lost)
        .await
        .unwrap();
    sync_each(&[laptop, tablet]).await;
    compact(laptop, &[tablet]).await;
    assert!(gone.sync(&mut |_| {}).await.is_err());
    assert!(gone.status().unwrap().checkpoint.is_none());
    assert_settled(&[laptop, tablet]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_away_is_waited_for_but_not_for_ever() {
    let scene = scene().await;
    let (laptop, tablet) = (&scene.laptop, &scene.tablet);
    let folder = scene.world.dir.path().join("second");
    let second = relay_in(&folder).await;
    let url = second.url();
    laptop.add_relay(&url).unwrap();
    sync(laptop).await;
    second.shutdown().await;
    write(laptop, "before", 5, 2).await;
    sync_each(&[laptop, tablet]).await;
    compact(laptop, &[tablet]).await;
    let after = |days: u64| (now_ms() + days * DAY.as_millis() as u64) as i64;
    laptop.forget_pruned_at(after(0)).unwrap();
    assert_eq!(laptop.forget_pruned_at(after(31)).unwrap(), 0, "the second relay may come back for it");
    assert!(laptop.forget_pruned_at(after(91)).unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_relay_gets_the_checkpoint_too() {
    let scene = scene().await;
    let (laptop, tablet) = (&scene.laptop, &scene.tablet);
    write(laptop, "before", 10, 2).await;
    sync_each(&[laptop, tablet]).await;
    compact(laptop, &[tablet]).await;
    let folder = scene.world.dir.path().join("second");
    let second = relay_in(&folder).await;
    laptop.add_relay(&second.url()).unwrap();
    sync(laptop).await;
    let (one, other) = (held(&scene.data), held(&folder));
    assert_eq!((one.objects, one.envelopes), (other.objects, other.envelopes));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_holds_a_small_part_of_its_peak_once_a_checkpoint_of_many_edits_is_in_effect() {
    let scene = scene().await;
    let (laptop, tablet) = (&scene.laptop, &scene.tablet);
    let ids: Vec<_> = (0..4).map(|at| titled(laptop, &format!("edited {at}"))).collect();
    for round in 0..60 {
        // Each note on its own, as a person edits: an envelope a change.
        let id = &ids[round % ids.len()];
        laptop.note_splice(id, 0, 0, &format!("line {round}\n")).unwrap();
        sync(laptop).await;
    }
    sync_each(&[laptop, tablet]).await;
    compact(laptop, &[tablet]).await;
    let peak = held(&scene.data);
    pass_grace(&scene, &[laptop, tablet]).await;
    let after = held(&scene.data);
    println!("bytes a change: {} before, {} after", (peak.bytes - after.bytes) / 60, after.bytes / 60);
    assert!(after.bytes * 100 < peak.bytes * 15, "{after:?} of {peak:?}");
    let phone = scene.world.link(laptop, "phone").await;
    sync_each(&[&phone, laptop, tablet]).await;
    assert_settled(&[laptop, tablet, &phone]);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_log_is_pruned_is_believed_only_as_far_as_a_checkpoint_stands_for_it() {
    let scene = scene().await;
    let (laptop, tablet) = (&scene.laptop, &scene.tablet);
    let middle = Middle::start(scene.world.relay.addr()).await;
    tablet.set_relay(&format!("ws://{}#{}", middle.addr, scene.world.relay.relay_key())).unwrap();
    write(laptop, "before", 3, 1).await;
    write(tablet, "also", 3, 1).await;
    sync_each(&[laptop, tablet]).await;
    let space = tablet.space();
    let told = async |held: Option<Vec<Have>>| {
        tablet.dismiss_warnings().unwrap();
        middle.claim_pruned(held);
        // What it says may also end the session.
        let _ = tablet.sync(&mut |_| {}).await;
        tablet.status().unwrap().warnings.into_iter().map(|warning| warning.kind).collect::<Vec<_>>()
    };
    assert_eq!(told(None).await, ["log_rolled_back"], "nothing at all is pruned");
    middle.spoil(0, Harm::None);
    compact(laptop, &[tablet]).await;
    let records = Store::open(&scene.world.home("laptop")).unwrap().records(&space).unwrap();
    let cut = records.iter().find_map(|record| match record.body() {
        Body::Checkpoint { cut, .. } => Some(cut.clone()),
        _ => None,
    });
    let cut = cut.unwrap();
    write(tablet, "after", 1, 2).await;
    write(laptop, "after", 1, 2).await;
    sync_each(&[laptop, tablet]).await;
    let held = Store::open(&scene.world.home("laptop")).unwrap().have(&space).unwrap();
    let pruned = |own_is_short: bool, further: u32| {
        let mut held = held.clone();
        for have in &mut held {
            let floor = cut.iter().find(|floor| floor.stream == have.stream).unwrap();
            let is_own = floor.device == tablet.device();
            have.floor = floor.seq + if is_own { 0 } else { further };
            have.tip = if is_own && own_is_short { floor.seq } else { have.tip };
        }
        Some(held)
    };
    assert_eq!(told(pruned(false, 0)).await, Vec::<String>::new(), "as far as the checkpoint goes");
    assert_eq!(told(pruned(false, 1)).await, ["log_rolled_back"], "further than that");
    assert_eq!(told(pruned(true, 0)).await, ["log_rolled_back"], "and what it said it had of this device");
    middle.spoil(0, Harm::None);
    sync_each(&[tablet, laptop, tablet]).await;
    assert_settled(&[laptop, tablet]);
}
