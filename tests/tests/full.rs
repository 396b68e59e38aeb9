//! A space that has no more room at its relay: what is refused is taken back, and removals and content go on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use lifeos_client_core::client::{Client, ClientError, InviteOptions};
use lifeos_client_core::protocol::record::{RemoveReason, Role};
use lifeos_sync_server::{Config, Limits, Server};
use lifeos_tests::world::{NOWHERE, World, note, sync, sync_each, titles, try_sync};
use tempfile::TempDir;

/// A relay that takes so many records of an Owner, and what keeps a space safe.
async fn world(steward_records_max: usize) -> World {
    let dir = TempDir::new().unwrap();
    let mut config = Config::local(dir.path().join("relay"));
    config.limits = Limits { steward_records_max, ..Limits::default() };
    World { relay: Server::start(config).await.unwrap(), dir }
}

fn warnings(client: &Client) -> Vec<String> {
    client.status().unwrap().warnings.into_iter().map(|warning| warning.kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_relay_has_no_room_for_is_taken_back_and_a_removal_goes_on() {
    // Genesis, Epoch, DeviceAdd.
    let world = world(3).await;
    let (laptop, [tablet]) = world.devices(["tablet"]).await;
    // The relay keeps room for one key that no removal calls for.
    assert!(laptop.rotate_keys().await.unwrap().told_relay);
    let before = laptop.key_status().unwrap().generation;
    let rotated = laptop.rotate_keys().await.unwrap();
    assert!(!rotated.told_relay && rotated.untold.unwrap().contains("ask the relay's operator for room"));
    assert_eq!(laptop.key_status().unwrap().generation, before, "the refused key is gone");
    assert_eq!(warnings(&laptop), ["records_taken_back"]);
    // Content goes on under the key that everybody has.
    note(&laptop, "Groceries", "milk\n");
    sync_each(&[&laptop, &tablet]).await;
    assert_eq!(titles(&tablet), ["Groceries"]);

    let removed = laptop.device_remove("tablet", RemoveReason::Lost).await.unwrap();
    assert!(removed.told_relay && removed.new_key, "{removed:?}");
    assert!(try_sync(&tablet).await.is_err(), "the relay does not let it in");
    note(&laptop, "Secret", "after\n");
    sync(&laptop).await;
    assert_eq!(laptop.status().unwrap().changes_pending, 0, "sealed under the new key and sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_written_offline_on_top_of_what_is_refused_takes_effect_all_the_same() {
    let world = world(3).await;
    let (laptop, [tablet]) = world.devices(["tablet"]).await;
    assert!(laptop.rotate_keys().await.unwrap().told_relay);
    laptop.set_relay(NOWHERE).unwrap();
    assert!(!laptop.rotate_keys().await.unwrap().told_relay);
    assert!(!laptop.device_remove("tablet", RemoveReason::Lost).await.unwrap().told_relay);
    let is_in = |client: &Client| client.status().unwrap().devices.iter().any(|device| device.name == "tablet");
    assert!(!is_in(&laptop));

    laptop.set_relay(&world.relay.url()).unwrap();
    assert!(try_sync(&laptop).await.is_err(), "it says what was taken back");
    assert!(!is_in(&laptop), "the removal stands");
    assert_eq!(warnings(&laptop), ["records_taken_back"]);
    assert!(try_sync(&tablet).await.is_err(), "the relay knows of the removal");
    note(&laptop, "Secret", "after\n");
    sync(&laptop).await;
    assert_eq!(laptop.status().unwrap().changes_pending, 0, "there is a new key, and the relay holds it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_the_relay_has_no_room_for_says_so_and_leaves_nothing() {
    // Genesis, Epoch and one more.
    let world = world(3).await;
    let ana = world.person("Ana");
    sync(&ana).await;
    let family = ana.space_create("Family", None).unwrap();
    sync(&family).await;
    let terms = || InviteOptions { role: Role::Editor, lives_ms: 60 * 60 * 1000, uses_max: 1, auto: false };
    family.invite_create(terms()).await.unwrap();
    let refused = family.invite_create(terms()).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Network { message, .. } if message.contains("room")), "{refused}");
    assert_eq!(family.invites().unwrap().len(), 1);
    // Nothing is left that stands in the way.
    sync(&family).await;
}
