//! Two people with a home each and a space that they share, through a real relay: invitations, roles, leaving,
//! closing, and notes that go from one space to another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use lifeos_client_core::client::{Client, ClientError, InitOptions, InviteOptions, JoinOutcome};
use lifeos_client_core::crypto::SystemRandom;
use lifeos_client_core::event::{Event, SyncState};
use lifeos_client_core::invite::{InviteLink, InviteSecret, Joining, join_record};
use lifeos_client_core::keys::{DeviceRoot, OwnKeys};
use lifeos_client_core::keystore::system_keystore;
use lifeos_client_core::protocol::envelope::stream_id;
use lifeos_client_core::protocol::ids::{MemberId, SpaceId};
use lifeos_client_core::protocol::membership::Membership;
use lifeos_client_core::protocol::record::{RemoveReason, Role};
use lifeos_client_core::records::{Draft, Founding, InviteTerms, found_space, unlock_epochs};
use lifeos_client_core::store::{NewHome, NewSpace, PendingJoin, Store, unlock_device_root};
use lifeos_tests::world::{HANG, NOWHERE, World, note, sync, titled, titles, try_sync, until};
use tokio::time::timeout;

const HOUR_MS: u64 = 60 * 60 * 1000;

/// Ana with a space "Family" that the relay knows.
async fn ana_and_family(world: &World) -> (Client, Client) {
    let ana = world.person("Ana");
    let family = ana.space_create("Family", None).unwrap();
    sync(&ana).await;
    sync(&family).await;
    (ana, family)
}

fn terms(role: Role, auto: bool) -> InviteOptions {
    InviteOptions { role, lives_ms: HOUR_MS, uses_max: 1, auto }
}

/// Ben asks and Ana approves; gives Ben's client in the shared space.
async fn let_in(ana: &Client, ben: &Client, options: InviteOptions) -> Client {
    let link = ana.invite_create(options).await.unwrap().to_string();
    let outcome = ben.join(&link, "Ben").await.unwrap();
    if let JoinOutcome::Waiting { fingerprint } = outcome {
        let requests = ana.join_requests().await.unwrap();
        assert_eq!((requests[0].name.as_str(), requests[0].fingerprint), ("Ben", fingerprint.unwrap()));
        ana.invite_approve(&requests[0].id[..8], None).await.unwrap();
        ben.sync_all(&mut |_| {}).await.unwrap();
    }
    let shared = ben.in_space(&ana.space().to_string()).unwrap();
    sync(&shared).await;
    shared
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_write_in_a_shared_space_and_keep_their_homes_to_themselves() {
    let world = World::new().await;
    let (ana, family) = ana_and_family(&world).await;
    note(&ana, "Ana's diary", "mine\n");
    let shared = note(&family, "Groceries", "milk\n");
    sync(&ana).await;
    sync(&family).await;

    let ben = world.person("Ben");
    note(&ben, "Ben's diary", "mine\n");
    let with_ben = let_in(&family, &ben, terms(Role::Editor, false)).await;
    assert_eq!(titles(&with_ben), ["Groceries"], "what was written before he came is his to read");
    with_ben.note_set_markdown(&shared, "milk\nbread\n").unwrap();
    note(&with_ben, "From Ben", "hello\n");
    sync(&with_ben).await;
    family.note_set_title(&shared, "Shopping").unwrap();
    sync(&family).await;
    sync(&with_ben).await;
    assert_eq!(titles(&family), ["From Ben", "Shopping"]);
    assert_eq!(family.heads().unwrap(), with_ben.heads().unwrap());
    assert_eq!(with_ben.note(&shared).unwrap().markdown, "milk\nbread\n");
    assert_eq!((titles(&ana), titles(&ben)), (vec!["Ana's diary".to_owned()], vec!["Ben's diary".to_owned()]));
    let spaces = ben.spaces().unwrap();
    assert_eq!(spaces.len(), 2);
    assert_eq!((spaces[1].name.as_str(), spaces[1].role.as_str(), spaces[1].members), ("Family", "editor", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reads_and_what_they_write_reaches_nobody() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let shared = note(&family, "Plan", "one\n");
    sync(&family).await;
    let ben = world.person("Ben");
    let with_ben = let_in(&family, &ben, terms(Role::Reader, false)).await;
    assert_eq!(with_ben.note(&shared).unwrap().markdown, "one\n");
    with_ben.note_set_markdown(&shared, "one\nsmuggled\n").unwrap();
    let refused = try_sync(&with_ben).await;
    assert!(refused.is_err(), "a reader's edit does not go");
    sync(&family).await;
    assert_eq!(family.note(&shared).unwrap().markdown, "one\n");
    family.note_set_title(&shared, "Plan B").unwrap();
    sync(&family).await;
    let _ = try_sync(&with_ben).await;
    assert_eq!(with_ben.note(&shared).unwrap().title, "Plan B", "reading goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_without_approval_lets_somebody_read_at_once() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    note(&family, "Welcome", "in\n");
    sync(&family).await;
    let ben = world.person("Ben");
    let link = family.invite_create(terms(Role::Editor, true)).await.unwrap().to_string();
    // Nobody of the family is there when Ben comes.
    let JoinOutcome::Joined { space } = ben.join(&link, "Ben").await.unwrap() else { panic!("has to wait") };
    let kept = || Store::open(&world.home("Ben")).unwrap().invite_secret(&space).unwrap().is_some();
    assert!(kept(), "he reads with the link's key");
    let with_ben = ben.in_space(&space.to_string()).unwrap();
    sync(&with_ben).await;
    assert_eq!(titles(&with_ben), ["Welcome"]);
    assert!(!kept(), "his device has sealed the key to itself");
    note(&with_ben, "Thanks", "ben\n");
    sync(&with_ben).await;
    sync(&family).await;
    assert_eq!(titles(&family), ["Thanks", "Welcome"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_was_withdrawn_or_used_up_or_is_over_lets_nobody_in() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let (ben, cleo) = (world.person("Ben"), world.person("Cleo"));

    let revoked = family.invite_create(terms(Role::Editor, false)).await.unwrap();
    family.invite_revoke(&revoked.invite.to_string()[..8]).await.unwrap();
    refused(&ben, &revoked.to_string()).await;

    let used = family.invite_create(terms(Role::Editor, true)).await.unwrap().to_string();
    assert!(matches!(ben.join(&used, "Ben").await, Ok(JoinOutcome::Joined { .. })));
    refused(&cleo, &used).await;

    let over = family.invite_create(InviteOptions { lives_ms: 0, ..terms(Role::Editor, true) }).await.unwrap();
    refused(&cleo, &over.to_string()).await;
    for bad in ["", "LI1", "LI1AAAA", "LS1AAAA"] {
        refused(&cleo, bad).await;
    }
    assert_eq!(family.join_requests().await.unwrap(), []);
    let states: Vec<String> = family.invites().unwrap().into_iter().map(|invite| invite.state).collect();
    assert!(states.contains(&"revoked".to_owned()) && states.contains(&"expired".to_owned()), "{states:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_while_its_invitation_holds_and_not_after() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let (ben, cleo) = (world.person("Ben"), world.person("Cleo"));
    let link = family.invite_create(InviteOptions { uses_max: 2, ..terms(Role::Editor, false) }).await.unwrap();
    ben.join(&link.to_string(), "Ben").await.unwrap();
    let request = family.join_requests().await.unwrap()[0].id.clone();
    let expires_ms = u64::try_from(family.invites().unwrap()[0].expires_ms).unwrap();
    let late = family.invite_approve_at(&request, None, expires_ms).await.unwrap_err();
    assert!(matches!(&late, ClientError::Invalid { message } if message.contains("expired")), "{late}");
    family.invite_approve_at(&request, None, expires_ms - 1).await.unwrap();

    cleo.join(&link.to_string(), "Cleo").await.unwrap();
    let request = family.join_requests().await.unwrap()[0].id.clone();
    family.invite_revoke(&link.invite.to_string()).await.unwrap();
    assert_eq!(family.join_requests().await.unwrap(), [], "a withdrawn invitation's request is none");
    assert!(matches!(family.invite_approve(&request, None).await, Err(ClientError::NotFound { .. })));
    cleo.sync_all(&mut |_| {}).await.unwrap();
    assert!(cleo.spaces().unwrap().iter().all(|space| space.home), "she is not in");
    ben.sync_all(&mut |_| {}).await.unwrap();
    let again = ben.join(&link.to_string(), "Ben").await.unwrap_err();
    assert!(matches!(&again, ClientError::Invalid { message } if message.contains("already")), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_opens_its_own_invitation_only() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let ben = world.person("Ben");
    let reader = family.invite_create(terms(Role::Reader, false)).await.unwrap();
    let editor = family.invite_create(terms(Role::Editor, false)).await.unwrap();
    let forged = InviteLink { invite: editor.invite, ..reader };
    refused(&ben, &forged.to_string()).await;
    assert_eq!(family.join_requests().await.unwrap(), []);
}

async fn refused(client: &Client, link: &str) {
    let error = timeout(HANG, client.join(link, "Somebody")).await.expect("joining hangs").unwrap_err();
    let says_what_to_do = |message: &str| message.contains("ask for a new one") || message.contains("copy it again");
    assert!(matches!(&error, ClientError::Invalid { message } if says_what_to_do(message)), "{error}");
    assert_eq!(client.spaces().unwrap().iter().filter(|space| !space.home).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_removed_by_a_name_that_somebody_gave_themselves() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let ben = world.person("Ben");
    let link = family.invite_create(terms(Role::Editor, false)).await.unwrap().to_string();
    ben.join(&link, "Ben").await.unwrap();
    let request = family.join_requests().await.unwrap()[0].id.clone();
    let hidden = family.invite_approve(&request, Some("Be\u{202e}n")).await.unwrap_err();
    assert!(matches!(&hidden, ClientError::Invalid { message } if message.contains("can be seen")), "{hidden}");
    family.invite_approve(&request, Some("Ben B.")).await.unwrap();
    ben.sync_all(&mut |_| {}).await.unwrap();
    let with_ben = ben.in_space("Family").unwrap();
    sync(&with_ben).await; // what he calls himself: "Ben"
    // Somebody who comes by a link of its own calls herself as he is called.
    let eve = world.person("Ben B.");
    let with_eve = let_in(&family, &eve, terms(Role::Editor, true)).await;
    sync(&family).await;
    sync(&with_ben).await;
    for client in [&family, &with_ben, &with_eve] {
        let members = client.members().unwrap();
        let mut names: Vec<_> =
            members.iter().map(|member| (member.name.as_str(), member.name_source.as_str())).collect();
        names.sort_unstable();
        assert_eq!(names, [("Ana", "own"), ("Ben B.", "approved"), ("Ben B.", "own")]);
    }
    let of = |source: &str| {
        let all = family.members().unwrap().into_iter();
        all.filter(|member| member.name == "Ben B.").find(|member| member.name_source == source).unwrap()
    };
    family.member_set_role("Ben B.", Role::Reader).await.unwrap();
    assert_eq!((of("approved").role.as_str(), of("own").role.as_str()), ("reader", "editor"));
    family.member_remove("Ben B.", RemoveReason::Left).await.unwrap();
    let left = of("own").member;
    let refused = family.member_remove("Ben B.", RemoveReason::Left).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Invalid { message } if message.contains(&left[..8])), "{refused}");
    family.member_remove(&left[..4], RemoveReason::Left).await.unwrap();
    assert_eq!(family.members().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_invited_above_editor_or_into_a_home() {
    let world = World::new().await;
    let (ana, family) = ana_and_family(&world).await;
    for role in [Role::Owner, Role::Admin] {
        let refused = family.invite_create(terms(role, false)).await.unwrap_err();
        assert!(matches!(&refused, ClientError::Invalid { message } if message.contains("as editor or reader")));
    }
    assert!(matches!(ana.invite_create(terms(Role::Reader, false)).await, Err(ClientError::Invalid { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawing_a_link_without_approval_makes_a_new_key() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let link = family.invite_create(terms(Role::Editor, true)).await.unwrap();
    let before = family.epoch_generation();
    family.invite_revoke(&link.invite.to_string()).await.unwrap();
    assert_eq!(family.epoch_generation(), before + 1);
    let approved = family.invite_create(terms(Role::Editor, false)).await.unwrap();
    family.invite_revoke(&approved.invite.to_string()).await.unwrap();
    assert_eq!(family.epoch_generation(), before + 1, "no key was in that link");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_without_approval_that_is_used_up_is_followed_by_a_new_key() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    note(&family, "Before", "old key\n");
    sync(&family).await;
    let before = family.epoch_generation();
    let ben = world.person("Ben");
    let with_ben = let_in(&family, &ben, terms(Role::Editor, true)).await;
    sync(&family).await;
    assert_eq!(family.epoch_generation(), before + 1, "whoever else has the link reads nothing new");
    note(&family, "After", "new key\n");
    for client in [&family, &with_ben, &family, &with_ben] {
        sync(client).await;
    }
    assert_eq!(titles(&with_ben), ["After", "Before"]);
    assert_eq!([&family, &with_ben].map(Client::epoch_generation), [before + 1; 2], "once is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_does_not_come_back_by_the_link_they_came_by() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let options = InviteOptions { uses_max: 5, ..terms(Role::Editor, true) };
    let link = family.invite_create(options).await.unwrap().to_string();
    let ben = world.person("Ben");
    assert!(!matches!(ben.join(&link, "Ben").await.unwrap(), JoinOutcome::Waiting { .. }));
    sync(&family).await;
    let member = family.members().unwrap().into_iter().find(|member| member.role == "editor").unwrap();
    family.member_remove(&member.member, RemoveReason::Left).await.unwrap();
    refused(&world.person("Ben again"), &link).await;
}

/// What an invitation is at.
fn state_of(client: &Client, link: &InviteLink) -> String {
    let id = link.invite.to_string();
    client.invites().unwrap().into_iter().find(|invite| invite.id == id).unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_counts_what_was_done_since_the_remover_synced_last() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let ben = world.person("Ben");
    let with_ben = let_in(&family, &ben, terms(Role::Editor, false)).await;
    family.member_set_role("Ben", Role::Admin).await.unwrap();
    sync(&with_ben).await;
    // From here on until the removal, nothing reaches Ana.
    let link = with_ben.invite_create(InviteOptions { uses_max: 5, ..terms(Role::Editor, true) }).await.unwrap();
    let phone = world.link(&ben, "phone").await;
    phone.sync_all(&mut |_| {}).await.unwrap();
    let on_phone = phone.in_space(&family.space().to_string()).unwrap();
    titled(&on_phone, "From the phone");
    sync(&on_phone).await;
    assert_eq!(family.invites().unwrap().len(), 1, "Ana has not heard of the link");

    let report = family.member_remove("Ben", RemoveReason::Left).await.unwrap();
    let gone = [with_ben.device(), on_phone.device()].map(|device| device.to_string());
    assert!(report.devices.len() == 2 && gone.iter().all(|device| report.devices.contains(device)), "{report:?}");
    assert_eq!(state_of(&family, &link), "revoked");
    refused(&world.person("Ben again"), &link.to_string()).await;
    assert_eq!(titles(&family), ["From the phone"], "what came before the removal is cut nowhere");
    assert!(family.status().unwrap().quarantine.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_in_again_gets_the_role_that_they_have_and_not_one_taken_since() {
    let world = World::new().await;
    let (ana, family) = ana_and_family(&world).await;
    let ben = world.person("Ben");
    let_in(&family, &ben, terms(Role::Editor, false)).await;
    family.member_set_role("Ben", Role::Admin).await.unwrap();
    let phone = world.link(&ana, "phone").await;
    phone.sync_all(&mut |_| {}).await.unwrap();
    let on_phone = phone.in_space(&family.space().to_string()).unwrap();
    let link = family.invite_create(terms(Role::Editor, false)).await.unwrap().to_string();
    world.person("Ben anew").join(&link, "Ben").await.unwrap();
    let request = family.join_requests().await.unwrap()[0].id.clone();
    family.member_set_role("Ben", Role::Reader).await.unwrap();
    // The phone has not heard of that.
    let (told, _) = on_phone.invite_readmit(&request, "Ben", None).await.unwrap();
    assert_eq!(told.role, "reader");
    let members = on_phone.members().unwrap();
    let roles: Vec<_> = members.iter().filter(|member| !member.this).map(|member| member.role.as_str()).collect();
    assert_eq!(roles, ["reader"], "as everybody sees it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_one_may_not_withdraw_does_not_keep_a_device_in() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let ben = world.person("Ben");
    let link = family.invite_create(terms(Role::Editor, true)).await.unwrap();
    ben.join(&link.to_string(), "Ben").await.unwrap();
    let with_ben = ben.in_space(&family.space().to_string()).unwrap();
    sync(&with_ben).await;
    let phone = world.link(&ben, "phone").await;
    phone.sync_all(&mut |_| {}).await.unwrap();
    let on_phone = phone.in_space(&family.space().to_string()).unwrap();
    sync(&on_phone).await;
    // An editor withdraws no link, and puts their own phone out all the same.
    let report = with_ben.device_remove("phone", RemoveReason::Lost).await.unwrap();
    assert_eq!((report.devices, report.new_key), (vec![on_phone.device().to_string()], true));
    assert_eq!(report.links_open, [link.invite.to_string()], "it is told");
    assert!(try_sync(&on_phone).await.is_err());
    assert_ne!(state_of(&with_ben, &link), "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_less_or_loses_a_device_does_not_come_in_by_the_links_they_know() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let [ben, eve] = ["Ben", "Eve"].map(|name| world.person(name));
    let [of_ben, of_eve] = {
        let mut links = Vec::new();
        for person in [&ben, &eve] {
            let link = family.invite_create(InviteOptions { uses_max: 2, ..terms(Role::Editor, true) }).await.unwrap();
            person.join(&link.to_string(), "somebody").await.unwrap();
            sync(&person.in_space(&family.space().to_string()).unwrap()).await;
            sync(&family).await;
            links.push(link);
        }
        <[InviteLink; 2]>::try_from(links).ok().unwrap()
    };
    let member_of = |device: Client| {
        let own = device.members().unwrap().into_iter().find(|member| member.this).unwrap();
        own.member
    };
    let with_ben = ben.in_space(&family.space().to_string()).unwrap();
    let bens = member_of(with_ben.clone());
    assert_eq!(state_of(&family, &of_ben), "open");
    // More is no reason to withdraw anything.
    family.member_set_role(&bens, Role::Admin).await.unwrap();
    assert_eq!(state_of(&family, &of_ben), "open");
    sync(&with_ben).await;
    let made = with_ben.invite_create(InviteOptions { uses_max: 5, ..terms(Role::Editor, true) }).await.unwrap();
    let before = family.epoch_generation();
    let demoted = family.member_set_role(&bens, Role::Editor).await.unwrap();
    assert_eq!([&of_ben, &made].map(|link| state_of(&family, link)), ["revoked", "revoked"]);
    assert!(demoted.new_key && family.epoch_generation() > before, "the link opened the present key");
    // With nothing to withdraw, too.
    family.member_set_role(&bens, Role::Admin).await.unwrap();
    let before = family.epoch_generation();
    assert!(family.member_set_role(&bens, Role::Editor).await.unwrap().new_key);
    assert_eq!(family.epoch_generation(), before + 1);
    refused(&world.person("Ben again"), &made.to_string()).await;

    assert_eq!(state_of(&family, &of_eve), "open");
    let eves = eve.in_space(&family.space().to_string()).unwrap().device().to_string();
    family.device_remove(&eves, RemoveReason::Compromised).await.unwrap();
    assert_eq!(state_of(&family, &of_eve), "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_removes_no_device_of_somebody_else() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let eve = world.person("Eve");
    let with_eve = let_in(&family, &eve, terms(Role::Editor, true)).await;
    let tablet = world.link(&eve, "tablet").await;
    tablet.sync_all(&mut |_| {}).await.unwrap();
    let eves = tablet.in_space(&family.space().to_string()).unwrap().device().to_string();
    sync(&with_eve).await;
    let refused = family.device_remove("tablet", RemoveReason::Lost).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Invalid { message } if message.contains(&eves[..8])), "{refused}");
    assert!(family.status().unwrap().devices.iter().any(|device| device.device == eves));
    family.device_remove(&eves[..8], RemoveReason::Lost).await.unwrap();
    assert!(family.status().unwrap().devices.iter().all(|device| device.device != eves));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_a_space_is_no_member_any_more() {
    let world = World::new().await;
    let (ana, family) = ana_and_family(&world).await;
    let ben = world.person("Ben");
    let with_ben = let_in(&family, &ben, terms(Role::Editor, false)).await;
    with_ben.space_leave().await.unwrap();
    sync(&family).await;
    let summary = ana.spaces().unwrap().into_iter().find(|space| space.name == "Family").unwrap();
    assert_eq!(summary.members, 1);
    assert!(try_sync(&with_ben).await.is_err(), "the relay does not let him in");
    ben.sync_all(&mut |_| {}).await.unwrap();
    let home = ana.space_leave().await.unwrap_err();
    assert!(matches!(&home, ClientError::Invalid { message } if message.contains("home space")), "{home}");
    assert!(family.space_leave().await.is_err(), "the last owner stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_is_told_that_it_is_for_good_and_their_request_is_open_no_more() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    for (name, auto) in [("Ben", false), ("Cleo", true)] {
        let person = world.person(name);
        let there = let_in(&family, &person, terms(Role::Editor, auto)).await;
        there.space_leave().await.unwrap();
        sync(&family).await; // makes the new key
        assert_eq!(family.join_requests().await.unwrap(), [], "{name}");
        let link = family.invite_create(terms(Role::Editor, auto)).await.unwrap().to_string();
        let again = person.join(&link, name).await.unwrap_err();
        assert!(matches!(&again, ClientError::Invalid { message } if message.contains("for good")), "{again}");
    }
}

/// What lies in somebody's home while their request to join waits.
fn waiting(world: &World, name: &str) -> Vec<(SpaceId, PendingJoin)> {
    Store::open(&world.home(name)).unwrap().pending_joins().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_seen_to_stops_no_other() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let ben = world.person("Ben");
    let link = family.invite_create(terms(Role::Editor, false)).await.unwrap();
    // One that nothing can be made of, and one whose relay is gone: both before the one that was answered.
    let gone = InviteLink { space: SpaceId([2; 32]), relay_url: NOWHERE.into(), ..link.clone() };
    let mut store = Store::open(&world.home("Ben")).unwrap();
    for (space, link) in [(SpaceId([1; 32]), "LI1".to_owned()), (gone.space, gone.to_string())] {
        store.put_pending_join(&space, Some(&PendingJoin { link, random: [7; 32], join: None })).unwrap();
    }
    ben.join(&link.to_string(), "Ben").await.unwrap();
    let request = family.join_requests().await.unwrap()[0].id.clone();
    family.invite_approve(&request, None).await.unwrap();
    let told = ben.sync_all(&mut |_| {}).await.unwrap_err();
    assert!(told.to_string().contains("not a complete invitation"), "{told}");
    assert_eq!(ben.in_space("Family").unwrap().members().unwrap().len(), 2);
    assert_eq!(waiting(&world, "Ben").len(), 2, "they go on waiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_join_goes_on_where_a_crash_cut_it_short() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let ben = world.person("Ben");
    let link = family.invite_create(terms(Role::Editor, false)).await.unwrap();
    // A crash after the request was written down and before it was handed in.
    let records = Store::open(&world.home("Ana")).unwrap().records(&link.space).unwrap();
    let membership = Membership::evaluate(&link.space, &records).unwrap();
    let root = unlock_device_root(&world.home("Ben"), system_keystore(), None).unwrap();
    let joining = Joining { link: &link, membership: &membership, records: &records, root: &root, name: "Ben" };
    let join = join_record(&joining, 0, &mut SystemRandom::new()).unwrap();
    let pending = PendingJoin { link: link.to_string(), random: membership.genesis_random, join: Some(join.clone()) };
    let mut store = Store::open(&world.home("Ben")).unwrap();
    store.put_pending_join(&link.space, Some(&pending)).unwrap();
    assert_eq!(family.join_requests().await.unwrap(), []);
    ben.sync_all(&mut |_| {}).await.unwrap();
    let requests = family.join_requests().await.unwrap();
    assert_eq!(requests.iter().map(|request| request.id.clone()).collect::<Vec<_>>(), [join.id().to_string()]);
    let again = ben.join(&link.to_string(), "Ben").await.unwrap();
    assert_eq!(again, JoinOutcome::Waiting { fingerprint: Some(requests[0].fingerprint) });

    family.invite_approve(&requests[0].id, None).await.unwrap();
    ben.sync_all(&mut |_| {}).await.unwrap();
    assert_eq!(waiting(&world, "Ben"), []);
    // A crash after the space was taken in and before anything else was.
    store.put_pending_join(&link.space, Some(&pending)).unwrap();
    for relay in store.relays(&link.space).unwrap() {
        store.remove_relay(relay.id).unwrap();
    }
    ben.sync_all(&mut |_| {}).await.unwrap();
    assert_eq!(waiting(&world, "Ben"), []);
    let with_ben = ben.in_space("Family").unwrap();
    note(&with_ben, "From Ben", "hello\n");
    sync(&with_ben).await;
    sync(&family).await;
    assert_eq!(titles(&family), ["From Ben"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_that_begins_like_ones_own_gets_no_signature() {
    let world = World::new().await;
    let ben = world.person("Ben");
    let random = Store::open(&world.home("Ben")).unwrap().genesis_random(&ben.space()).unwrap();
    // Mallory's space begins with the random bytes of Ben's home.
    let mut dice = SystemRandom::new();
    let root = DeviceRoot::generate(&mut dice);
    let (keys, paper) = (root.derive_space(&random), DeviceRoot::generate(&mut dice).derive_space(&random));
    let member = MemberId([7; 16]);
    let founding = Founding { genesis_random: random, member, keys: &keys, recovery: &paper, relays: Vec::new() };
    let founded = found_space(&founding, &mut dice).unwrap();
    let mut records = vec![founded.genesis, founded.epoch];
    let membership = Membership::evaluate(&founded.space, &records).unwrap();
    let opened = unlock_epochs(&membership, &records, OwnKeys::first(&keys));
    let mut draft = Draft::begin(&membership, &records, &opened, &keys);
    let secret = InviteSecret::generate(&mut dice);
    let offered = (secret.keys().sign_pk(), secret.keys().hpke_pk());
    let terms = InviteTerms { keys: offered, role: Role::Editor, expires_ms: u64::MAX, uses_max: 1, auto: false };
    let invite = draft.invite(&terms, &mut dice).unwrap();
    records.extend(draft.finish());
    let space = NewSpace {
        space: founded.space,
        device: keys.sign_pk(),
        stream: stream_id(&founded.space, &keys.sign_pk(), &[1; 32]),
        stream_r32: [1; 32],
        records,
    };
    Store::create(&world.home("Mallory"), &NewHome { root: &root, space, meta: &[] }).unwrap();
    let mallory = Client::open(&world.home("Mallory")).unwrap();
    mallory.set_relay(&world.relay.url()).unwrap();
    sync(&mallory).await;
    sync(&ben).await;
    let relay_pk = ben.status().unwrap().relays[0].key.as_ref().unwrap().parse().unwrap();
    let link = InviteLink { space: mallory.space(), invite, relay_pk, relay_url: world.relay.url(), secret };
    let refused = ben.join(&link.to_string(), "Ben").await.unwrap_err();
    assert!(
        matches!(&refused, ClientError::Security { message } if message.contains("made to look like")),
        "{refused}"
    );
    assert_eq!((mallory.join_requests().await.unwrap(), waiting(&world, "Ben")), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_lost_everything_is_let_in_again_in_place_of_who_they_were() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let shared = note(&family, "Plan", "one\n");
    sync(&family).await;
    let ben = world.person("Ben");
    let lost = let_in(&family, &ben, terms(Role::Editor, false)).await;
    family.member_set_role("Ben", Role::Admin).await.unwrap();
    sync(&lost).await;
    note(&lost, "From the old one", "two\n");
    sync(&lost).await;
    let eve = world.person("Eve");
    let with_eve = let_in(&family, &eve, terms(Role::Editor, true)).await;

    // A new computer, and nothing of the old one; the link says reader, and the name is another.
    let anew = world.person("Ben anew");
    let link = family.invite_create(terms(Role::Reader, false)).await.unwrap().to_string();
    anew.join(&link, "B.").await.unwrap();
    let request = family.join_requests().await.unwrap()[0].id.clone();
    let denied = with_eve.invite_readmit(&request, "Ben", None).await.unwrap_err();
    assert!(matches!(denied, ClientError::Invalid { .. }), "an editor replaces nobody: {denied}");
    let (generation, before) = (family.epoch_generation(), family.members().unwrap());
    let (told, report) = family.invite_readmit(&request, "Ben", None).await.unwrap();
    assert_eq!((told.name.as_str(), told.role.as_str()), ("Ben", "admin"));
    assert_eq!((report.name.as_str(), report.devices.len(), report.new_key, report.told_relay), ("Ben", 1, true, true));
    assert!(family.epoch_generation() > generation);

    anew.sync_all(&mut |_| {}).await.unwrap();
    let back = anew.in_space("Family").unwrap();
    sync(&back).await;
    let of_ben = |client: &Client| -> Vec<_> {
        client.members().unwrap().into_iter().filter(|member| member.name == "Ben").collect()
    };
    let now = of_ben(&back);
    assert_eq!((now.len(), now[0].role.as_str(), now[0].name_source.as_str()), (1, "admin", "approved"));
    assert!(now[0].this && before.iter().all(|member| member.member != now[0].member), "somebody new in their place");
    assert_eq!(titles(&back), ["From the old one", "Plan"]);
    back.note_set_markdown(&shared, "one\nand more\n").unwrap();
    sync(&back).await;
    sync(&family).await;
    assert_eq!(family.note(&shared).unwrap().markdown, "one\nand more\n");
    assert!(try_sync(&lost).await.is_err(), "who they were is no member any more");
    assert_eq!(lost.note(&shared).unwrap().markdown, "one\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_again_with_more_than_they_had() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    let (ben, dora) = (world.person("Ben"), world.person("Dora"));
    let with_ben = let_in(&family, &ben, terms(Role::Reader, false)).await;
    let anew = world.person("Ben anew");
    let link = family.invite_create(terms(Role::Editor, false)).await.unwrap().to_string();
    anew.join(&link, "Ben").await.unwrap();
    let request = family.join_requests().await.unwrap()[0].id.clone();
    let own = family.members().unwrap().into_iter().find(|member| member.this).unwrap().member;
    assert!(matches!(family.invite_readmit(&request, &own, None).await, Err(ClientError::Invalid { .. })));
    let (told, _) = family.invite_readmit(&request, "Ben", Some("Ben B.")).await.unwrap();
    assert_eq!((told.name.as_str(), told.role.as_str()), ("Ben B.", "reader"));
    let members = family.members().unwrap();
    let back = members.iter().find(|member| member.name == "Ben B.").unwrap();
    assert_eq!((members.len(), back.role.as_str()), (2, "reader"), "not the editor that the link says");
    drop(with_ben);

    // An admin may let an editor in, and cannot take the place of somebody more senior.
    let link = family.invite_create(terms(Role::Editor, false)).await.unwrap().to_string();
    dora.join(&link, "Dora").await.unwrap();
    let request = family.join_requests().await.unwrap()[0].id.clone();
    family.invite_approve(&request, None).await.unwrap();
    family.member_set_role("Dora", Role::Admin).await.unwrap();
    dora.sync_all(&mut |_| {}).await.unwrap();
    let with_dora = dora.in_space("Family").unwrap();
    sync(&with_dora).await;
    let link = with_dora.invite_create(terms(Role::Editor, false)).await.unwrap().to_string();
    world.person("Mallory").join(&link, "Ana").await.unwrap();
    let request = with_dora.join_requests().await.unwrap()[0].id.clone();
    let members = with_dora.members().unwrap();
    assert!(matches!(with_dora.invite_readmit(&request, &own, None).await, Err(ClientError::Invalid { .. })));
    assert_eq!(with_dora.members().unwrap(), members, "all or nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_space_says_so_to_its_members() {
    let world = World::new().await;
    let (ana, family) = ana_and_family(&world).await;
    let ben = world.person("Ben");
    let with_ben = let_in(&family, &ben, terms(Role::Editor, false)).await;
    assert!(with_ben.space_close(None).await.is_err(), "an editor does not close it");
    family.space_close(None).await.unwrap();
    let _ = try_sync(&with_ben).await;
    let closed = |client: &Client| client.spaces().unwrap().iter().any(|space| space.name == "Family" && space.closed);
    assert!(closed(&ana) && closed(&ben));
    assert!(family.invite_create(terms(Role::Editor, false)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_is_copied_and_moved_between_spaces_with_all_it_holds() {
    let world = World::new().await;
    let (ana, family) = ana_and_family(&world).await;
    let id = note(&ana, "Recipe", "# Recipe\n\n- [ ] flour\n");
    ana.note_tag(&id, "kitchen", true).unwrap();
    ana.note_set_property(&id, "serves", Some(serde_json::json!(4))).unwrap();
    let copy = ana.note_copy_to(&id, &family).unwrap().to_string();
    let copied = family.note(&copy).unwrap();
    assert_eq!((copied.title.as_str(), copied.tags.as_slice()), ("Recipe", ["kitchen".to_owned()].as_slice()));
    assert!(copied.markdown.contains("- [ ] flour"), "{}", copied.markdown);
    assert_eq!(copied.properties, ana.note(&id).unwrap().properties);
    assert_eq!(ana.note(&id).unwrap().trashed_ms, None);

    let moved = ana.note_move_to(&id, &family).unwrap().to_string();
    assert_eq!(family.note(&moved).unwrap().title, "Recipe");
    let left = ana.note(&id).unwrap();
    assert!(left.trashed_ms.is_some());
    let link = left.properties.iter().find(|(name, _)| name == "moved_to").map(|(_, value)| value.clone());
    assert_eq!(link, Some(serde_json::json!(format!("{}/{moved}", family.space()))));
    // The others in a shared space are told of no space that they may know nothing of.
    family.note_move_to(&moved, &ana).unwrap();
    let left = family.note(&moved).unwrap();
    assert!(left.trashed_ms.is_some());
    assert_eq!(left.properties, copied.properties);
    assert!(ana.note_move_to(&id, &ana).is_err());
    sync(&ana).await;
    sync(&family).await;
    assert_eq!((titles(&ana), titles(&family)), (vec!["Recipe".to_owned()], vec!["Recipe".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_copied_or_moved_past_a_right_or_into_a_closed_space() {
    let world = World::new().await;
    let (ana, family) = ana_and_family(&world).await;
    let shared = note(&family, "Plan", "one\n");
    sync(&family).await;
    let ben = world.person("Ben");
    let diary = note(&ben, "Diary", "mine\n");
    let with_ben = let_in(&family, &ben, terms(Role::Reader, false)).await;
    let refused = |result: Result<_, ClientError>| assert!(matches!(result, Err(ClientError::Invalid { .. })));
    refused(ben.note_copy_to(&diary, &with_ben));
    refused(ben.note_move_to(&diary, &with_ben));
    refused(with_ben.note_move_to(&shared, &ben));
    assert_eq!((titles(&with_ben), titles(&ben)), (vec!["Plan".to_owned()], vec!["Diary".to_owned()]));
    with_ben.note_copy_to(&shared, &ben).unwrap();
    assert_eq!(titles(&ben), ["Diary", "Plan"], "what one may read, one may keep");

    let own = note(&ana, "Letter", "dear\n");
    family.space_close(None).await.unwrap();
    refused(ana.note_copy_to(&own, &family));
    refused(ana.note_move_to(&own, &family));
    assert_eq!(ana.note(&own).unwrap().trashed_ms, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_paper_key_of_a_space_is_made_from_the_words_of_its_home_and_no_others() {
    let world = World::new().await;
    let options = InitOptions { device_name: "laptop".into(), person_name: "Ana".into(), relay: None };
    let (ana, words) = Client::create(&world.home("Ana"), options.clone()).unwrap();
    let (_, others) = Client::create(&world.home("Ben"), options).unwrap();
    assert!(matches!(ana.space_create("Family", Some(&others)), Err(ClientError::Security { .. })));
    assert_eq!(ana.spaces().unwrap().len(), 1, "nothing was made");
    let family = ana.space_create("Family", Some(&words)).unwrap();
    assert_eq!(family.members().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_device_of_a_person_is_told_of_a_new_one_for_a_day() {
    let world = World::new().await;
    let ana = world.person("Ana");
    sync(&ana).await; // her laptop's name
    let mut events = ana.subscribe();
    let tablet = world.link(&ana, "tablet").await;
    sync(&tablet).await;
    let told = std::iter::from_fn(|| events.try_next()).any(|event| matches!(event, Event::DeviceAdded { .. }));
    assert!(told);
    let phone = world.link(&ana, "phone").await;
    sync(&phone).await;
    // The tablet had no part in this, and is told all the same.
    sync(&tablet).await;
    for client in [&ana, &tablet] {
        let news = client.status().unwrap().new_devices;
        let phone = news.iter().find(|device| device.device == phone.device().to_string()).unwrap();
        assert_eq!((phone.name.as_str(), phone.by.as_str()), ("phone", "Ana's laptop"));
        let later = client.status_at(phone.noticed_ms + 24 * 60 * 60 * 1000 - 1).unwrap().new_devices;
        assert!(later.iter().any(|device| device.device == phone.device));
        let later = client.status_at(phone.noticed_ms + 24 * 60 * 60 * 1000).unwrap().new_devices;
        assert!(!later.iter().any(|device| device.device == phone.device));
    }
    assert!(phone.status().unwrap().new_devices.is_empty(), "the others are no news to the new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_device_is_in_all_spaces_of_its_person_at_once() {
    let world = World::new().await;
    let (ana, family) = ana_and_family(&world).await;
    note(&family, "Groceries", "milk\n");
    sync(&family).await;
    let phone = world.link(&ana, "phone").await;
    sync(&phone).await;
    phone.sync_all(&mut |_| {}).await.unwrap();
    let there = phone.in_space("Family").unwrap();
    assert_eq!(titles(&there), ["Groceries"]);
    note(&there, "From the phone", "bread\n");
    sync(&there).await;
    sync(&family).await;
    assert_eq!(titles(&family), ["From the phone", "Groceries"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_device_is_linked_into_the_spaces_that_have_not_removed_its_person() {
    let world = World::new().await;
    let (_ana, family) = ana_and_family(&world).await;
    for has_heard in [true, false] {
        let ben = world.person(if has_heard { "Ben" } else { "Boris" });
        sync(&ben).await;
        let club = ben.space_create("Club", None).unwrap();
        titled(&club, "Rules");
        sync(&club).await;
        let with_ben = let_in(&family, &ben, terms(Role::Editor, false)).await;
        let member = family.members().unwrap().into_iter().find(|member| member.role == "editor").unwrap();
        family.member_remove(&member.member, RemoveReason::Left).await.unwrap();
        if has_heard {
            assert!(try_sync(&with_ben).await.is_err());
        }
        let name = format!("{has_heard}");
        let phone = world.link(&ben, &name).await;
        phone.sync_all(&mut |_| {}).await.unwrap();
        assert_eq!(titles(&phone.in_space("Club").unwrap()), ["Rules"]);
        assert!(matches!(phone.in_space(&family.space().to_string()), Err(ClientError::NotFound { .. })));
        sync(&ben).await;
        assert!(ben.status().unwrap().devices.iter().any(|device| device.name == name), "the home has it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_spaces_of_a_home_sync_side_by_side_and_one_at_a_time_each() {
    let world = World::new().await;
    let (ana, family) = ana_and_family(&world).await;
    let (home, shared) = (ana.sync_live(), family.sync_live());
    let mut events = family.subscribe();
    until(&mut events, |event| matches!(event, Event::Sync { state: SyncState::Live, .. })).await;
    let refused = try_sync(&family).await.unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    home.stop().await;
    shared.stop().await;
    sync(&family).await;
}
