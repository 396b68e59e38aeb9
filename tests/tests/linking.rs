//! Linking a device through a real relay: without a camera, and everything that must not work.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use lifeos_client_core::client::{Client, ClientError};
use lifeos_client_core::link::LinkText;
use lifeos_sync_protocol::ids::RdvId;
use lifeos_tests::world::{HANG, World, note, sync};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_without_a_camera_show_the_same_pictures_and_are_linked() {
    let world = World::new().await;
    let laptop = world.first();
    note(&laptop, "Tea", "green\n");
    sync(&laptop).await;
    let mut new = Client::link_new_sas(&world.home("phone"), &world.relay.url(), "phone").await.unwrap();
    let code = new.code().to_lowercase();
    let (approve, shown) = tokio::join!(laptop.link_approve_sas(&code, None), new.compare());
    let (mut approve, shown) = (approve.unwrap(), shown.unwrap());
    assert_eq!(approve.comparison(), shown);
    let linking = async { tokio::join!(new.confirm(true), approve.confirm(true)) };
    let (phone, name) = timeout(HANG, linking).await.expect("linking hangs");
    assert_eq!(name.unwrap(), "phone");
    let phone = phone.unwrap();
    sync(&phone).await;
    assert_eq!(phone.search("green", 5).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_sees_different_pictures_links_nobody() {
    let world = World::new().await;
    let laptop = world.first();
    let mut new = Client::link_new_sas(&world.home("phone"), &world.relay.url(), "phone").await.unwrap();
    let code = new.code().to_owned();
    let (approve, shown) = tokio::join!(laptop.link_approve_sas(&code, None), new.compare());
    shown.unwrap();
    let mut approve = approve.unwrap();
    let refused = approve.confirm(false).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Security { message } if message.contains("different")), "{refused}");
    let refused = timeout(HANG, new.confirm(true)).await.expect("the new device hangs").unwrap_err();
    assert!(refused.to_string().contains("new"), "{refused}");
    assert_eq!(laptop.status().unwrap().devices.len(), 2);
    assert!(Client::open(&world.home("phone")).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_code_works_once_and_a_wrong_one_says_so() {
    let world = World::new().await;
    let laptop = world.first();
    let mut new = Client::link_new_sas(&world.home("phone"), &world.relay.url(), "phone").await.unwrap();
    let code = new.code().to_owned();
    let (approve, _) = tokio::join!(laptop.link_approve_sas(&code, None), new.compare());
    drop(approve.unwrap());
    // A second device that answers the same code finds its place in the mailbox taken.
    let refused = laptop.link_approve_sas(&code, None).await.err().expect("the code was used");
    assert!(matches!(refused, ClientError::Security { .. }), "{refused}");
    let refused = laptop.link_approve_sas("no code", None).await.err().expect("no code");
    assert!(matches!(&refused, ClientError::Invalid { message } if message.contains("ABCD-EF23")), "{refused}");
    let refused = laptop.link_approve_sas("AAAA-AAAA", None).await.err().expect("nobody shows it");
    assert!(refused.to_string().contains("link"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_used_or_has_expired_links_nobody_and_says_to_make_a_new_one() {
    let world = World::new().await;
    let laptop = world.first();
    let mut new = Client::link_new(&world.home("phone"), &world.relay.url(), "phone").await.unwrap();
    let used = new.link().to_owned();
    let (approve, code) = tokio::join!(laptop.link_approve(&used), new.code());
    let (mut approve, code) = (approve.unwrap(), code.unwrap());
    let linking = async { tokio::join!(new.finish(), approve.enter_code(&code)) };
    let (phone, tries) = timeout(HANG, linking).await.expect("linking hangs");
    assert_eq!((phone.is_ok(), tries.unwrap()), (true, None));
    // A mailbox whose time has passed is to a relay what one is that never was.
    let mut expired: LinkText = used.parse().unwrap();
    expired.rdv = RdvId([7; 16]);
    let before = laptop.status().unwrap().devices.len();
    for link in [used, expired.to_string()] {
        let refused = timeout(HANG, laptop.link_approve(&link)).await.expect("approving hangs").err();
        let refused = refused.expect("a link that nobody waits at");
        assert!(refused.to_string().contains("expired; make a new one"), "{refused}");
        assert_eq!(laptop.status().unwrap().devices.len(), before);
    }
}
