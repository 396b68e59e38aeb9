//! Shared spaces and the words: which of them the words bring back, that they do, and what happens to the rest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::net::SocketAddr;
use std::path::Path;

use lifeos_client_core::client::{
    Client, ClientError, CoverOutcome, InitOptions, InviteOptions, JoinOutcome, RecoverReport, SpaceOutcome,
    SpaceRecovery,
};
use lifeos_client_core::document::singleton_doc_id;
use lifeos_client_core::keys::{DeviceKeys, PhraseLength, RecoveryPhrase};
use lifeos_client_core::modules::noted::claim_of;
use lifeos_client_core::protocol::membership::Membership;
use lifeos_client_core::protocol::record::{DeviceKind, Role};
use lifeos_client_core::recovery::RecoveryState;
use lifeos_client_core::store::Store;
use lifeos_sync_server::{Config, Handle, Server};
use lifeos_tests::process::free_port;
use lifeos_tests::world::{HANG, World, assert_equal, note, sync, sync_each, titled, titles, try_sync};
use tokio::time::timeout;

/// Ana with a home and a space of hers, Ben with one of his; each is in the other's.
struct Two {
    world: World,
    phrase: RecoveryPhrase,
    ana: Client,
    family: Client,
    ben: Client,
    /// Ana in Ben's space.
    club: Client,
    ben_family: Client,
    ben_club: Client,
}

/// Ben's home, and so his space, is at `bens_relay`; without one at the relay of everybody.
async fn two(role: Role, bens_relay: Option<&Handle>) -> Two {
    let world = World::new().await;
    let (ana, phrase) = world.first_with_phrase();
    let family = ana.space_create("Family", None).unwrap();
    let url = bens_relay.map_or_else(|| world.relay.url(), Handle::url);
    let options = InitOptions { device_name: "Ben's laptop".into(), person_name: "Ben".into(), relay: Some(url) };
    let (ben, _) = Client::create(&world.home("Ben"), options).unwrap();
    let ben_club = ben.space_create("Club", None).unwrap();
    for client in [&ana, &family, &ben, &ben_club] {
        sync(client).await;
    }
    let ben_family = let_in(&family, &ben, Role::Editor).await;
    let club = let_in(&ben_club, &ana, role).await;
    Two { world, phrase, ana, family, ben, club, ben_family, ben_club }
}

async fn let_in(host: &Client, guest: &Client, role: Role) -> Client {
    let terms = InviteOptions { role, lives_ms: 60 * 60 * 1000, uses_max: 1, auto: false };
    let link = host.invite_create(terms).await.unwrap().to_string();
    assert!(matches!(guest.join(&link, "Guest").await.unwrap(), JoinOutcome::Waiting { .. }));
    let request = host.join_requests().await.unwrap()[0].id.clone();
    host.invite_approve(&request, None).await.unwrap();
    guest.sync_all(&mut |_| {}).await.unwrap();
    let there = guest.in_space(&host.space().to_string()).unwrap();
    sync(&there).await;
    sync(host).await;
    there
}

async fn recover(world: &World, name: &str, phrase: &RecoveryPhrase) -> Result<(Client, RecoverReport), ClientError> {
    let (home, url) = (world.home(name), world.relay.url());
    let (mut tell, mut step) = (|_| {}, |_| {});
    let recovering = Client::recover(&home, &url, phrase, name, &mut tell, &mut step);
    timeout(HANG, recovering).await.expect("recovery hangs")
}

fn outcomes(spaces: &[SpaceRecovery]) -> Vec<SpaceOutcome> {
    spaces.iter().map(|space| space.outcome).collect()
}

fn of<'r>(report: &'r RecoverReport, space: &Client) -> &'r SpaceRecovery {
    let id = space.space().to_string();
    report.spaces.iter().find(|space| space.space == id).expect("the space is in the report")
}

/// The ids of all devices in force but the paper keys, as this client knows them.
fn devices(client: &Client) -> Vec<String> {
    let all = client.status().unwrap().devices;
    let mut normal: Vec<_> =
        all.into_iter().filter(|device| device.kind == "normal").map(|device| device.device).collect();
    normal.sort();
    normal
}

fn membership(home: &Path, space: &Client) -> Membership {
    Store::open(home).unwrap().membership(&space.space()).unwrap()
}

/// Whether the home of this device, in the folder "found", has its claim for a space.
fn claims_for(world: &World, found: &Client, space: &Client) -> bool {
    let (home, space, device) = (found.space(), space.space(), found.device());
    let mut store = Store::open(&world.home("found")).unwrap();
    let doc = singleton_doc_id(&home, "space", "");
    store.read(&home, &doc, |doc| claim_of(doc.read(), &space, &device).is_some()).unwrap().unwrap()
}

/// A relay that comes back on the port where it was.
async fn relay_on(folder: &Path, listen: SocketAddr) -> Handle {
    Server::start(Config { listen, ..Config::local(folder) }).await.expect("the relay starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_devices_lost_the_words_bring_back_the_home_and_every_shared_space() {
    let Two { world, phrase, ana, family, ben, club, ben_family, ben_club } = two(Role::Editor, None).await;
    assert_eq!(ana.status().unwrap().spaces_uncovered.len(), 2, "nothing covers them yet");
    let covers = ana.cover_spaces(&phrase).await.unwrap();
    assert!(covers.len() == 2 && covers.iter().all(|cover| cover.outcome == CoverOutcome::CoveredNow), "{covers:?}");
    let covers = ana.cover_spaces(&phrase).await.unwrap();
    assert!(covers.iter().all(|cover| cover.outcome == CoverOutcome::WasCovered), "{covers:?}");
    assert!(ana.status().unwrap().spaces_uncovered.is_empty());
    sync(&ana).await;

    let phone = world.link(&ana, "phone").await;
    phone.sync_all(&mut |_| {}).await.unwrap();
    assert!(phone.status().unwrap().spaces_uncovered.is_empty(), "every own device can tell");
    let (phone_family, phone_club) = (phone.in_space("Family").unwrap(), phone.in_space("Club").unwrap());
    let laptops = [&ana, &family, &club];
    for (client, title) in laptops.into_iter().zip(["Diary", "Groceries", "Rules"]) {
        titled(client, title);
        sync(client).await;
    }
    for (client, title) in [(&phone, "From the phone"), (&phone_family, "Photos"), (&phone_club, "Minutes")] {
        titled(client, title);
        sync(client).await;
    }
    let lost = [devices(&ana), devices(&phone_family), devices(&phone_club)];

    // A bare machine: words and a relay's address.
    let (found, report) = recover(&world, "found", &phrase).await.unwrap();
    assert_eq!((report.devices_removed, report.notes), (2, 2));
    assert_eq!(outcomes(&report.spaces), [SpaceOutcome::Recovered; 2], "{:?}", report.spaces);
    for (space, name) in [(&family, "Family"), (&club, "Club")] {
        let space = of(&report, space);
        assert_eq!((space.name.as_str(), space.devices_removed, space.notes), (name, 2, 2));
        assert_eq!(space.members_other.len(), 1);
    }
    let (found_family, found_club) = (found.in_space("Family").unwrap(), found.in_space("Club").unwrap());
    assert_eq!(titles(&found), ["Diary", "From the phone"]);
    assert_eq!(titles(&found_family), ["Groceries", "Photos"]);
    assert_eq!(titles(&found_club), ["Minutes", "Rules"]);
    found.sync_all(&mut |_| {}).await.unwrap();
    assert!(found.status().unwrap().spaces_uncovered.is_empty(), "the same words go on covering them");

    // Their sessions are refused everywhere, and Ben sees it.
    for client in [&ana, &family, &club, &phone, &phone_family, &phone_club] {
        titled(client, "Too late");
        assert!(try_sync(client).await.is_err());
    }
    sync_each(&[&ben_family, &ben_club, &found_family, &found_club]).await;
    for (client, lost) in [(&ben_family, &lost[1]), (&ben_club, &lost[2])] {
        let left = devices(client);
        let gone = lost.iter().filter(|device| !left.contains(device)).count();
        assert_eq!((gone, left.len()), (2, 2), "Ana's two are gone, Ben's and her new one are there");
        assert!(!titles(client).contains(&"Too late".to_owned()));
    }

    // Both go on, and converge.
    titled(&ben_family, "Welcome back");
    titled(&found_family, "Thank you");
    titled(&found_club, "Agenda");
    titled(&ben_club, "Cake");
    sync_each(&[&ben_family, &found_family, &ben_club, &found_club]).await;
    assert_equal(&[&ben_family, &found_family]);
    assert_equal(&[&ben_club, &found_club]);
    assert_eq!(titles(&found_family), ["Groceries", "Photos", "Thank you", "Welcome back"]);
    assert_eq!(titles(&ben_club), ["Agenda", "Cake", "Minutes", "Rules"]);
    for client in [&found, &found_family, &found_club, &ben] {
        assert!(client.doctor(false, &mut |_| {}).unwrap().ok);
        assert!(client.status().unwrap().quarantine.is_empty());
    }
    let again = recover(&world, "found", &phrase).await.unwrap_err();
    assert!(matches!(again, ClientError::Home { .. }), "nothing is left: {again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_may_only_read_comes_back_and_leaves_the_new_key_to_those_who_write() {
    let Two { world, phrase, ana, club, ben_club, .. } = two(Role::Reader, None).await;
    titled(&ben_club, "Rules");
    sync(&ben_club).await;
    ana.cover_spaces(&phrase).await.unwrap();
    sync(&ana).await;
    sync(&club).await;
    let before = ben_club.epoch_generation();
    let (found, report) = recover(&world, "found", &phrase).await.unwrap();
    assert_eq!(of(&report, &club).outcome, SpaceOutcome::Recovered, "{:?}", report.spaces);
    let found_club = found.in_space("Club").unwrap();
    assert_eq!((titles(&found_club), found_club.epoch_generation()), (vec!["Rules".to_owned()], before));
    assert!(try_sync(&club).await.is_err(), "the lost device is out");

    titled(&ben_club, "New rules");
    sync_each(&[&ben_club, &found_club]).await;
    assert!(ben_club.epoch_generation() > before, "whoever writes has made a key for those who are left");
    assert_eq!(titles(&found_club), ["New rules", "Rules"]);
    assert_eq!(found_club.key_status().unwrap().role, "reader");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_that_the_words_do_not_cover_needs_an_owner_and_can_be_given_up() {
    let Two { world, phrase, ana, family, ben_club, club, .. } = two(Role::Editor, None).await;
    titled(&club, "Rules");
    sync(&club).await;
    sync(&ana).await;
    let was = club.members().unwrap().into_iter().find(|member| member.this).unwrap().member;
    for _ in 0..2 {
        // The same is said as often as it is tried.
        let (_, report) = recover(&world, "found", &phrase).await.unwrap();
        assert_eq!(outcomes(&report.spaces), [SpaceOutcome::NeedsOwner; 2]);
        assert!(report.spaces.iter().all(|space| space.text.contains("--replaces")), "{:?}", report.spaces);
    }
    let found = Client::open(&world.home("found")).unwrap();
    assert_eq!(found.spaces().unwrap().len(), 1);
    assert_eq!(found.spaces_to_recover().unwrap().len(), 2);
    assert_eq!(found.status().unwrap().alarms.len(), 2);
    found.sync_all(&mut |_| {}).await.unwrap();
    let others = Client::new_recovery_phrase(PhraseLength::Words12);
    assert!(matches!(recover(&world, "found", &others).await, Err(ClientError::Invalid { .. })));

    found.forget_space_to_recover(&family.space().to_string()[..8]).unwrap();
    // Ben's space, and Ben lets her in again in place of who she was.
    let terms = InviteOptions { role: Role::Editor, lives_ms: 60 * 60 * 1000, uses_max: 1, auto: false };
    let link = ben_club.invite_create(terms).await.unwrap().to_string();
    found.join(&link, "Ana").await.unwrap();
    let request = ben_club.join_requests().await.unwrap()[0].id.clone();
    ben_club.invite_readmit(&request, &was, None).await.unwrap();
    found.sync_all(&mut |_| {}).await.unwrap();
    let back = found.in_space("Club").unwrap();
    sync(&back).await;
    assert_eq!(titles(&back), ["Rules"]);
    assert!(found.spaces_to_recover().unwrap().is_empty(), "nothing waits for the words any more");
    assert!(matches!(recover(&world, "found", &phrase).await, Err(ClientError::Home { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_whose_relay_is_down_comes_back_with_the_next_run_and_new_words_say_that_they_do_not_cover_it() {
    let dir = tempfile::TempDir::new().unwrap();
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let relay = relay_on(dir.path(), listen).await;
    let Two { world, phrase, ana, family, club, .. } = two(Role::Editor, Some(&relay)).await;
    titled(&club, "Rules");
    sync(&club).await;
    ana.cover_spaces(&phrase).await.unwrap();
    sync(&ana).await;
    relay.shutdown().await;

    let (found, report) = recover(&world, "found", &phrase).await.unwrap();
    assert_eq!(of(&report, &family).outcome, SpaceOutcome::Recovered);
    let down = of(&report, &club);
    assert!(down.outcome == SpaceOutcome::RelayDown && down.text.contains("lifeos recover"), "{down:?}");
    sync(&found).await;
    titled(&found, "The home goes on meanwhile");
    found.sync_all(&mut |_| {}).await.unwrap();
    // Who lets devices in there knows the lost ones alone: this one asks for nothing before it is recovered there.
    assert!(claims_for(&world, &found, &family) && !claims_for(&world, &found, &club));

    // New words meanwhile: the space that is still to come keeps the old ones, and it is told.
    let new = Client::new_recovery_phrase(PhraseLength::Words12);
    let covers = found.replace_recovery_phrase(&new, true).await.unwrap();
    let cover = |space: &Client| {
        let id = space.space().to_string();
        covers.iter().find(|cover| cover.space == id).unwrap().outcome
    };
    assert_eq!((cover(&family), cover(&club)), (CoverOutcome::CoveredNow, CoverOutcome::NotCovered));
    drop(found);

    let relay = relay_on(dir.path(), listen).await;
    let (found, report) = recover(&world, "found", &phrase).await.unwrap();
    assert!(report.states.is_empty(), "the home was back");
    assert_eq!(outcomes(&report.spaces), [SpaceOutcome::Recovered], "{:?}", report.spaces);
    let back = found.in_space("Club").unwrap();
    assert_eq!(titles(&back), ["Rules"]);
    sync(&back).await;
    assert_eq!(back.status().unwrap().spaces_uncovered, [club.space().to_string()], "the old words' key is there");
    let covers = found.cover_spaces(&new).await.unwrap();
    assert_eq!(covers.iter().filter(|cover| cover.outcome == CoverOutcome::CoveredNow).count(), 1);
    assert!(found.status().unwrap().spaces_uncovered.is_empty());

    relay.shutdown().await;
    let newer = Client::new_recovery_phrase(PhraseLength::Words12);
    let covers = found.replace_recovery_phrase(&newer, true).await.unwrap();
    let left: Vec<_> = covers.iter().filter(|cover| cover.outcome == CoverOutcome::NotCovered).collect();
    assert!(left.len() == 1 && left[0].text.contains("does not answer"), "{covers:?}");
    assert_eq!(found.status().unwrap().spaces_uncovered, [club.space().to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_of_a_shared_space_that_was_cut_off_goes_on_and_opens_to_nobody_before() {
    let Two { world, phrase, ana, family, club, ben_family, ben_club, .. } = two(Role::Editor, None).await;
    for client in [&family, &club] {
        for number in 0..5 {
            titled(client, &format!("Note {number}"));
        }
        sync(client).await;
    }
    ana.cover_spaces(&phrase).await.unwrap();
    sync(&ana).await;
    let home = world.home("found");
    // The home's states come first, then those of one space after the other.
    for (cut_at, time) in [
        (RecoveryState::EpochOpen, 2),
        (RecoveryState::DataOk, 1),
        (RecoveryState::Rotated, 1),
        (RecoveryState::DataOk, 2),
    ] {
        let (reached, mut notice) = tokio::sync::mpsc::unbounded_channel();
        let (to, url, words) = (home.clone(), world.relay.url(), phrase.clone());
        let task = tokio::spawn(async move {
            let mut times = 0;
            let mut tell = |state| {
                times += usize::from(state == cut_at);
                if state == cut_at && times == time {
                    let _ = reached.send(());
                }
            };
            Client::recover(&to, &url, &words, "found", &mut tell, &mut |_| {}).await.is_ok()
        });
        notice.recv().await;
        task.abort();
        if task.await.is_ok_and(|done| done) {
            break; // it was faster than the cut
        }
        let Ok(client) = Client::open(&home) else { continue };
        for left in client.spaces_to_recover().unwrap() {
            assert!(matches!(client.in_space(&left), Err(ClientError::NotFound { .. })), "half a space does not open");
        }
        client.sync_all(&mut |_| {}).await.unwrap();
        assert!(client.doctor(false, &mut |_| {}).unwrap().ok);
    }
    if Client::open(&home).map_or(true, |client| !client.spaces_to_recover().unwrap().is_empty()) {
        recover(&world, "found", &phrase).await.unwrap();
    }
    let found = Client::open(&home).unwrap();
    found.sync_all(&mut |_| {}).await.unwrap();
    sync_each(&[&ben_family, &ben_club]).await;
    for (name, bens) in [("Family", &ben_family), ("Club", &ben_club)] {
        let back = found.in_space(name).unwrap();
        sync(&back).await;
        assert_eq!(titles(&back).len(), 5);
        assert_eq!(devices(bens).len(), 2, "one new device, whatever was tried before");
    }
}

/// Whether a paper key still opens anything that is sealed in a space from now on.
fn stands(membership: &Membership, paper: &DeviceKeys) -> bool {
    let short = &paper.sign_pk().0[..16];
    let current = membership.current_epoch().expect("a key");
    let sealed = membership.epochs[&current].recipients.iter().any(|recipient| recipient[..] == *short);
    membership.may_read(&paper.sign_pk()) || sealed
}

#[tokio::test(flavor = "multi_thread")]
async fn old_words_open_nothing_in_a_shared_space_after_new_ones() {
    let Two { world, phrase: old, ana, family, club, ben_family, ben_club, .. } = two(Role::Editor, None).await;
    ana.cover_spaces(&old).await.unwrap();
    let new = Client::new_recovery_phrase(PhraseLength::Words24);
    let covers = ana.replace_recovery_phrase(&new, true).await.unwrap();
    assert!(covers.iter().all(|cover| cover.outcome == CoverOutcome::CoveredNow), "{covers:?}");
    sync(&ana).await;
    for (space, bens) in [(&family, &ben_family), (&club, &ben_club)] {
        note(space, "After", "the new words\n");
        sync(space).await;
        sync(bens).await;
        // As Ben, whom only the relay told.
        let membership = membership(&world.home("Ben"), bens);
        let random = membership.genesis_random;
        assert!(!stands(&membership, &old.derive_space(&random)) && stands(&membership, &new.derive_space(&random)));
        let papers = membership.devices.values().filter(|device| device.kind == DeviceKind::Recovery);
        assert_eq!(papers.count(), 3, "the founder's that was thrown away, the old words' and the new words'");
    }
    // Old words that somebody types once more take nobody's place.
    let error = ana.cover_spaces(&old).await.unwrap_err();
    assert!(matches!(error, ClientError::Security { .. }), "{error}");
    assert!(recover(&world, "thief", &old).await.is_err());
    let (found, report) = recover(&world, "found", &new).await.unwrap();
    assert_eq!(outcomes(&report.spaces), [SpaceOutcome::Recovered; 2], "{:?}", report.spaces);
    assert_eq!(titles(&found.in_space("Club").unwrap()), ["After"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_take_no_device_for_lost_in_a_home_that_was_never_recovered() {
    let Two { world, phrase, ana, .. } = two(Role::Editor, None).await;
    let phone = world.link(&ana, "phone").await;
    let later = ana.space_create("Later", Some(&phrase)).unwrap();
    sync(&later).await;
    assert_eq!(ana.status().unwrap().spaces_uncovered.len(), 2, "but not the space that was made with the words");
    sync(&ana).await;
    sync(&phone).await;
    let refused = recover(&world, "phone", &phrase).await;
    assert!(matches!(refused, Err(ClientError::Home { .. })));
    sync(&later).await;
    assert_eq!(devices(&later).len(), 1, "the laptop goes on");
}
