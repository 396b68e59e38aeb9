//! A person's devices and a person's spaces: in all of them or, once removed at home, in none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use lifeos_client_core::client::{Client, ClientError, InviteOptions, JoinOutcome, RemovalOutcome, RemovalReport};
use lifeos_client_core::document::singleton_doc_id;
use lifeos_client_core::event::{Event, SyncState};
use lifeos_client_core::keys::OwnKeys;
use lifeos_client_core::keystore::system_keystore;
use lifeos_client_core::modules::noted::{claims, note_member, noted_spaces, set_claim};
use lifeos_client_core::modules::space::note_space;
use lifeos_client_core::own_devices::CLAIM_BYTES;
use lifeos_client_core::protocol::ids::{MemberId, SignPk, SpaceId};
use lifeos_client_core::protocol::record::{RemoveReason, Role};
use lifeos_client_core::records::{Draft, unlock_epochs};
use lifeos_client_core::registry::SPACE_GENESIS;
use lifeos_client_core::store::{Store, StoreError, unlock_device_root};
use lifeos_tests::world::{HANG, World, relay_in, sync, titled, titles, try_sync, until};
use tokio::time::timeout;

async fn sync_all(client: &Client) {
    timeout(HANG, client.sync_all(&mut |_| {})).await.expect("sync hangs").expect("the sync fails");
}

/// As many rounds as it takes for every device to claim, to be let in and to come in.
async fn rounds(clients: &[&Client]) {
    for _ in 0..3 {
        for client in clients {
            sync_all(client).await;
        }
    }
}

/// Whether a device of that key is in force in a space.
async fn has(there: &Client, device: SignPk) -> bool {
    sync(there).await; // another client of the same home may have learned more
    there.status().unwrap().devices.iter().any(|held| held.device == device.to_string())
}

/// How many devices the person of this client has in a space.
async fn devices_in(there: &Client) -> u64 {
    sync(there).await;
    there.members().unwrap().into_iter().find(|member| member.this).unwrap().devices
}

fn outcomes(report: &RemovalReport) -> Vec<(&str, RemovalOutcome)> {
    let mut all: Vec<_> = report.spaces.iter().map(|space| (space.name.as_str(), space.outcome)).collect();
    all.sort_by_key(|(name, _)| *name);
    all
}

/// Ana's laptop, phone and tablet, all of them in her space "Family".
async fn ana_and_family(world: &World) -> (Client, [Client; 2], Client) {
    let (laptop, others) = world.devices(["phone", "tablet"]).await;
    let family = laptop.space_create("Family", None).unwrap();
    rounds(&[&laptop, &others[0], &others[1]]).await;
    (laptop, others, family)
}

/// Writes into the home's document as a program would that keeps to none of the rules.
fn write_home(
    world: &World,
    name: &str,
    home: &Client,
    write: impl FnOnce(&mut automerge::AutoCommit) -> Result<(), lifeos_client_core::document::DocumentError>,
) {
    let (space, doc) = (home.space(), singleton_doc_id(&home.space(), "space", ""));
    let mut store = Store::open(&world.home(name)).unwrap();
    store.write(&space, 1, |tx| tx.edit::<(), StoreError>(&doc, SPACE_GENESIS, |doc| Ok(write(doc)?))).unwrap();
}

fn read_home<T>(world: &World, name: &str, home: &Client, read: impl FnOnce(&automerge::AutoCommit) -> T) -> T {
    let doc = singleton_doc_id(&home.space(), "space", "");
    let mut store = Store::open(&world.home(name)).unwrap();
    store.read(&home.space(), &doc, |doc| read(doc.read())).unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_made_on_one_device_appears_on_the_others() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    let family = laptop.space_create("Family", None).unwrap();
    titled(&family, "Groceries");
    rounds(&[&laptop, &phone, &tablet]).await;
    for (name, device) in [("phone", &phone), ("tablet", &tablet)] {
        let there = device.in_space("Family").unwrap();
        assert_eq!(titles(&there), ["Groceries"]);
        titled(&there, name);
        sync(&there).await;
        sync(&family).await;
        let devices = family.status().unwrap().devices;
        let named = devices.iter().find(|held| held.device == there.device().to_string()).unwrap();
        assert_eq!(named.name, name, "who let it in says what it is called at home");
    }
    sync_all(&laptop).await;
    assert_eq!(titles(&family), ["Groceries", "phone", "tablet"]);
    assert_eq!(family.members().unwrap().len(), 1, "all are one person's");
    let before = family.epoch_generation();
    rounds(&[&laptop, &phone, &tablet]).await;
    assert_eq!((family.epoch_generation(), laptop.status().unwrap().changes_pending), (before, 0), "and then nothing");
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_joined_on_one_device_appears_on_the_others_also_for_who_only_reads() {
    let world = World::new().await;
    let ana = world.person("Ana");
    let family = ana.space_create("Family", None).unwrap();
    titled(&family, "Groceries");
    sync_all(&ana).await;
    let ben = world.person("Ben");
    sync(&ben).await;
    let phone = world.link(&ben, "phone").await;
    sync_all(&phone).await;
    let link =
        family.invite_create(InviteOptions { role: Role::Reader, lives_ms: 3_600_000, uses_max: 1, auto: false });
    let link = link.await.unwrap().to_string();
    assert!(matches!(ben.join(&link, "Ben").await.unwrap(), JoinOutcome::Waiting { .. }));
    let request = family.join_requests().await.unwrap()[0].id.clone();
    family.invite_approve(&request, None).await.unwrap();
    rounds(&[&ben, &phone]).await;
    let on_phone = phone.in_space(&family.space().to_string()).unwrap();
    assert_eq!(titles(&on_phone), ["Groceries"]);
    let own = on_phone.members().unwrap().into_iter().find(|member| member.this).unwrap();
    assert_eq!((own.role.as_str(), own.devices), ("reader", 2));
    sync_all(&ana).await;
    assert_eq!(ana.spaces().unwrap().len(), 2, "Ben's home stays his");
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_removed_at_home_is_removed_in_every_space_and_its_sessions_end() {
    let world = World::new().await;
    let (laptop, [phone, tablet], family) = ana_and_family(&world).await;
    let club = tablet.space_create("Club", None).unwrap();
    rounds(&[&laptop, &phone, &tablet]).await;
    let on_phone = ["Family", "Club"].map(|name| phone.in_space(name).unwrap());
    let mut live = Vec::new();
    for there in &on_phone {
        let mut events = there.subscribe();
        let handle = there.sync_live();
        until(&mut events, |event| matches!(event, Event::Sync { state: SyncState::Live, .. })).await;
        live.push((handle, events));
    }
    let report = laptop.device_remove("phone", RemoveReason::Compromised).await.unwrap();
    assert!(report.told_relay && report.new_key, "{report:?}");
    assert_eq!(outcomes(&report), [("Club", RemovalOutcome::Removed), ("Family", RemovalOutcome::Removed)]);
    for (handle, mut events) in live {
        let is_end = |event: &Event| matches!(event, Event::Sync { state: SyncState::Waiting { reason, .. }, .. } if reason.contains("removed"));
        until(&mut events, is_end).await;
        handle.stop().await;
    }
    for there in on_phone.iter().chain([&phone]) {
        assert!(try_sync(there).await.is_err());
    }
    rounds(&[&tablet, &laptop]).await;
    assert!(!has(&club, on_phone[1].device()).await && !has(&family, on_phone[0].device()).await);
    assert_eq!((devices_in(&family).await, devices_in(&tablet.in_space("Club").unwrap()).await), (2, 2));
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_from_a_shared_space_reaches_the_home_and_one_from_there_alone_does_not() {
    let world = World::new().await;
    let (laptop, [phone, tablet], family) = ana_and_family(&world).await;
    let [on_phone, on_tablet] = [&phone, &tablet].map(|device| device.in_space("Family").unwrap().device());
    let report = family.device_remove_here(&on_tablet.to_string(), RemoveReason::Left).await.unwrap();
    assert_eq!((report.devices, report.spaces), (vec![on_tablet.to_string()], vec![]));
    let refused = laptop.device_remove_here("tablet", RemoveReason::Left).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Invalid { message } if message.contains("--space")), "{refused}");
    let report = family.device_remove("phone", RemoveReason::Lost).await.unwrap();
    assert_eq!(report.devices, [on_phone.to_string()]);
    assert_eq!(outcomes(&report), [("home", RemovalOutcome::Removed)]);
    for _ in 0..3 {
        assert!(tablet.sync_all(&mut |_| {}).await.is_err(), "it is told that it was removed from there");
        sync_all(&laptop).await;
    }
    assert!(!has(&laptop, phone.device()).await && has(&laptop, tablet.device()).await);
    assert!(!has(&family, on_phone).await && !has(&family, on_tablet).await, "nobody lets it in again");
    world.relay.shutdown().await;
}

/// What a power cut right after the first of several records leaves behind: removed at home, and nowhere else.
fn remove_at_home_alone(world: &World, name: &str, home: &Client, device: SignPk) {
    let mut store = Store::open(&world.home(name)).unwrap();
    let (membership, records) = (store.membership(&home.space()).unwrap(), store.records(&home.space()).unwrap());
    let root = unlock_device_root(&world.home(name), system_keystore(), None).unwrap();
    let keys = root.derive_space(&membership.genesis_random);
    let opened = unlock_epochs(&membership, &records, OwnKeys::first(&keys));
    let mut draft = Draft::begin(&membership, &records, &opened, &keys);
    let cuts = store.cuts(&home.space(), &[device]).unwrap();
    draft.remove_device(device, RemoveReason::Lost, cuts).unwrap();
    store.put_records(&home.space(), &draft.finish()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_interrupted_between_two_spaces_is_completed_by_the_next_sync_of_any_device() {
    let world = World::new().await;
    let (laptop, [phone, tablet], family) = ana_and_family(&world).await;
    let on_phone = phone.in_space("Family").unwrap();
    remove_at_home_alone(&world, "laptop", &laptop, phone.device());
    drop(laptop);
    let laptop = Client::open(&world.home("laptop")).unwrap();
    sync(&laptop).await;
    sync(&on_phone).await; // it is still there
    sync_all(&tablet).await;
    assert!(try_sync(&on_phone).await.is_err());
    sync(&family).await;
    assert!(!has(&family, on_phone.device()).await);
    let generation = family.epoch_generation();
    rounds(&[&laptop, &tablet]).await;
    assert_eq!(family.epoch_generation(), generation, "it is done once");
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_whose_relay_is_down_waits_and_stops_no_other() {
    let world = World::new().await;
    let (laptop, [phone, tablet], family) = ana_and_family(&world).await;
    let folder = world.dir.path().join("second relay");
    let second = relay_in(&folder).await;
    let club = laptop.space_create("Club", None).unwrap();
    club.set_relay(&second.url()).unwrap();
    rounds(&[&laptop, &phone, &tablet]).await;
    let on_phone = ["Family", "Club"].map(|name| phone.in_space(name).unwrap());
    second.shutdown().await;
    let report = laptop.device_remove("phone", RemoveReason::Lost).await.unwrap();
    assert_eq!(outcomes(&report), [("Club", RemovalOutcome::Waiting), ("Family", RemovalOutcome::Removed)]);
    assert!(report.spaces.iter().any(|space| space.name == "Club" && space.reason.is_some()), "{report:?}");
    assert!(laptop.sync_all(&mut |_| {}).await.is_err(), "it is told that a relay is down");
    assert!(!has(&family, on_phone[0].device()).await);

    let second = relay_in(&folder).await;
    for there in [&club, &on_phone[1]] {
        there.set_relay(&second.url()).unwrap();
    }
    sync(&on_phone[1]).await; // that relay knows nothing yet
    sync_all(&laptop).await;
    assert!(try_sync(&on_phone[1]).await.is_err());
    second.shutdown().await;
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_is_never_followed_in() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    let club = laptop.space_create("Club", None).unwrap();
    sync_all(&laptop).await;
    for device in [&phone, &tablet] {
        sync_all(device).await;
    }
    let report = laptop.device_remove("phone", RemoveReason::Compromised).await.unwrap();
    assert_eq!(outcomes(&report), [("Club", RemovalOutcome::Absent)]);
    rounds(&[&laptop, &tablet]).await;
    assert!(phone.sync_all(&mut |_| {}).await.is_err());
    assert_eq!(devices_in(&club).await, 2, "the tablet came in, the phone did not");
    assert!(phone.in_space("Club").is_err());
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_takes_its_claim_back_is_removed_everywhere_all_the_same() {
    let world = World::new().await;
    let (laptop, [phone, tablet], family) = ana_and_family(&world).await;
    let on_phone = phone.in_space("Family").unwrap();
    let (space, device) = (family.space(), phone.device());
    write_home(&world, "phone", &phone, |doc| set_claim(doc, &space, &device, &[7; CLAIM_BYTES]));
    drop(phone);
    let phone = Client::open(&world.home("phone")).unwrap();
    sync(&phone).await;
    sync(&laptop).await;
    let stands = read_home(&world, "laptop", &laptop, |doc| claims(doc, &space));
    assert!(stands.contains(&(device, vec![7; CLAIM_BYTES])), "nothing else is known from the document");
    let report = laptop.device_remove(&device.to_string(), RemoveReason::Compromised).await.unwrap();
    assert_eq!(outcomes(&report), [("Family", RemovalOutcome::Removed)]);
    assert!(try_sync(&on_phone).await.is_err());
    sync_all(&laptop).await;
    let stands = read_home(&world, "laptop", &laptop, |doc| claims(doc, &space));
    assert!(!stands.contains(&(device, vec![7; CLAIM_BYTES])), "the good one is put back for devices to come");
    drop(tablet);
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_of_which_nothing_is_known_at_home_is_told_as_such() {
    let world = World::new().await;
    let laptop = world.first();
    let family = laptop.space_create("Family", None).unwrap();
    sync_all(&laptop).await;
    // It is linked into both, and what it would say of itself never arrives.
    let phone = world.link(&laptop, "phone").await;
    let on_phone = phone.in_space(&family.space().to_string()).unwrap().device();
    let report = laptop.device_remove("phone", RemoveReason::Lost).await.unwrap();
    assert_eq!(outcomes(&report), [("Family", RemovalOutcome::Unknown)]);
    let report = family.device_remove(&on_phone.to_string(), RemoveReason::Lost).await.unwrap();
    assert_eq!(outcomes(&report), [("home", RemovalOutcome::Unknown)]);
    assert!(!has(&family, on_phone).await);
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_signed_for_a_space_that_begins_like_another_and_a_false_member_is_put_right() {
    let world = World::new().await;
    let (laptop, [phone, tablet], family) = ana_and_family(&world).await;
    let random = |name: &str, client: &Client| {
        Store::open(&world.home(name)).unwrap().membership(&client.space()).unwrap().genesis_random
    };
    let (of_family, of_home) = (random("laptop", &family), random("laptop", &laptop));
    let eve = MemberId([0xee; 16]);
    // Two that copy spaces which the laptop has, two that copy each other, and one that is merely not there.
    let (copies, honest) = ([(1, of_family), (2, of_home), (3, [9; 32]), (4, [9; 32])], (5, [5; 32]));
    write_home(&world, "phone", &phone, |doc| {
        for (id, random) in copies.iter().chain([&honest]) {
            note_space(doc, &SpaceId([*id; 32]), random, Some("ws://127.0.0.1:9"))?;
            note_member(doc, &SpaceId([*id; 32]), &eve)?;
        }
        note_member(doc, &family.space(), &eve)
    });
    drop(phone);
    let phone = Client::open(&world.home("phone")).unwrap();
    sync(&phone).await;
    sync_all(&laptop).await;
    let claimed = |id: u8| {
        let claims = read_home(&world, "laptop", &laptop, |doc| claims(doc, &SpaceId([id; 32])));
        claims.iter().any(|(device, _)| *device == laptop.device())
    };
    assert!(copies.iter().all(|(id, _)| !claimed(*id)));
    assert!(claimed(honest.0), "so that it could be let in");
    let said = read_home(&world, "laptop", &laptop, |doc| noted_spaces(doc, &|_| true));
    let member = said[&family.space()].member.unwrap();
    assert_eq!(member.to_string(), family.members().unwrap()[0].member);
    drop(tablet);
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_enters_no_space_as_somebody_else_than_its_person() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let family = laptop.space_create("Family", None).unwrap();
    for client in [&laptop, &phone, &laptop] {
        sync_all(client).await;
    }
    assert_eq!(devices_in(&family).await, 2, "it was let in and does not know it");
    let space = family.space();
    write_home(&world, "phone", &phone, |doc| note_member(doc, &space, &MemberId([0xee; 16])));
    drop(phone);
    let phone = Client::open(&world.home("phone")).unwrap();
    sync_all(&phone).await;
    assert!(phone.in_space(&space.to_string()).is_err());
    // The accepted twin: once the home says again who this person is there.
    rounds(&[&laptop, &phone]).await;
    assert!(phone.in_space("Family").is_ok());
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_space_is_not_followed() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let club = laptop.space_create("Club", None).unwrap();
    sync_all(&laptop).await;
    sync_all(&phone).await;
    club.space_close(None).await.unwrap();
    rounds(&[&laptop, &phone]).await;
    assert!(phone.in_space("Club").is_err());
    assert_eq!(devices_in(&club).await, 1);
    world.relay.shutdown().await;
}
