//! Who is here, through a real relay: seen while it lasts, gone with a goodbye or a removal, and stored nowhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use lifeos_client_core::client::{Client, DevicePresence, PresenceDraft, Selection, SyncHandle};
use lifeos_client_core::event::{Event, SyncState};
use lifeos_client_core::protocol::record::RemoveReason;
use lifeos_tests::world::{HANG, World, note, sync, sync_each};
use tokio::time::timeout;

fn here(note: Option<&str>, selection: Option<(u32, u32)>) -> Option<PresenceDraft> {
    let selection = selection.map(|(anchor, head)| Selection { anchor, head });
    Some(PresenceDraft { idle: false, note: note.map(str::to_owned), selection })
}

/// Syncs live, once the end of the log has been reached.
async fn live(client: &Client) -> SyncHandle {
    let mut events = client.subscribe();
    let handle = client.sync_live();
    let is_live = async { while !matches!(events.next().await, Some(Event::Sync { state: SyncState::Live, .. })) {} };
    timeout(HANG, is_live).await.expect("never live");
    handle
}

/// Waits until what is seen is as it should be, looking again whenever an event says that it changed.
async fn seen(client: &Client, what: &str, wanted: impl Fn(&[DevicePresence]) -> bool) -> Vec<DevicePresence> {
    let mut events = client.subscribe();
    let look = async {
        loop {
            let seen = client.presence().unwrap();
            if wanted(&seen) {
                return seen;
            }
            events.next().await.expect("the home is open");
        }
    };
    timeout(HANG, look).await.unwrap_or_else(|_| panic!("{what}: never so; seen {:?}", client.presence()))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_see_where_the_other_is_and_that_it_went() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let plan = note(&laptop, "Plan", "one two three\n");
    sync_each(&[&laptop, &phone]).await;
    let live_laptop = live(&laptop).await;
    let live_phone = live(&phone).await;
    assert_eq!(laptop.presence().unwrap(), [], "nobody shows anything yet");
    laptop.set_presence(here(Some(&plan), Some((5, 8)))).unwrap();
    phone.set_presence(here(None, None)).unwrap();
    let on_phone = seen(&phone, "the laptop in the note", |seen| seen.iter().any(|one| one.selection.is_some())).await;
    assert_eq!(on_phone.len(), 1);
    assert_eq!((on_phone[0].device.as_str(), on_phone[0].idle), (laptop.device().to_string().as_str(), false));
    assert_eq!(on_phone[0].note.as_deref(), Some(plan.as_str()));
    assert_eq!(on_phone[0].selection, Some(Selection { anchor: 5, head: 8 }));
    let on_laptop = seen(&laptop, "the phone", |seen| !seen.is_empty()).await;
    assert_eq!((on_laptop[0].device.clone(), on_laptop[0].note.clone()), (phone.device().to_string(), None));

    // What the phone writes before it moves the laptop's selection with the text.
    phone.note_splice(&plan, 1, 0, "zero ").unwrap();
    assert_eq!(phone.presence().unwrap()[0].selection, Some(Selection { anchor: 10, head: 13 }));

    let idle = PresenceDraft { idle: true, ..PresenceDraft::default() };
    laptop.set_presence(Some(idle)).unwrap();
    seen(&phone, "the laptop idle", |seen| seen.iter().any(|one| one.idle && one.note.is_none())).await;
    live_laptop.stop().await;
    seen(&phone, "the laptop gone", <[_]>::is_empty).await;
    assert_eq!(laptop.presence().unwrap(), [], "who does not sync sees nobody");
    // What was shown is shown again.
    let live_laptop = live(&laptop).await;
    seen(&phone, "the laptop back", |seen| seen.iter().any(|one| one.idle)).await;
    laptop.set_presence(None).unwrap();
    seen(&phone, "the laptop hidden", <[_]>::is_empty).await;
    for handle in [live_laptop, live_phone] {
        handle.stop().await;
    }
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_is_seen_no_more_and_sees_nobody() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let live_laptop = live(&laptop).await;
    let live_phone = live(&phone).await;
    for client in [&laptop, &phone] {
        client.set_presence(here(None, None)).unwrap();
    }
    seen(&laptop, "the phone", |seen| seen.len() == 1).await;
    seen(&phone, "the laptop", |seen| seen.len() == 1).await;
    laptop.device_remove(&phone.device().to_string(), RemoveReason::Lost).await.unwrap();
    seen(&laptop, "the phone removed", <[_]>::is_empty).await;
    // Whatever it goes on showing.
    phone.set_presence(Some(PresenceDraft { idle: true, ..PresenceDraft::default() })).unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(laptop.presence().unwrap(), []);
    for handle in [live_laptop, live_phone] {
        handle.stop().await;
    }
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_is_refused_and_nothing_of_presence_is_stored() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let plan = note(&laptop, "Plan", "one\n");
    assert!(laptop.set_presence(here(Some(&plan), Some((0, 99)))).is_err());
    assert!(laptop.set_presence(here(None, Some((0, 0)))).is_err());
    assert!(laptop.set_presence(here(Some("00000000"), None)).is_err());
    sync_each(&[&laptop, &phone]).await;
    let live_laptop = live(&laptop).await;
    let live_phone = live(&phone).await;
    let before = (laptop.status().unwrap().state_code, phone.status().unwrap().state_code);
    for client in [&laptop, &phone] {
        client.set_presence(here(Some(&plan), Some((1, 2)))).unwrap();
    }
    seen(&laptop, "the phone", |seen| seen.len() == 1).await;
    for handle in [live_laptop, live_phone] {
        handle.stop().await;
    }
    sync(&laptop).await;
    assert_eq!((laptop.status().unwrap().state_code, phone.status().unwrap().state_code), before);
    assert_eq!(laptop.status().unwrap().changes_pending, 0);
    world.relay.shutdown().await;
}
