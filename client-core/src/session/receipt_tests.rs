//! When receipts go, and when they do not, in the time of the model.

use lifeos_sync_protocol::frame::PushStatus;

use super::tests::{Device, Relay, pair, settle};
use super::*;
use crate::receipt::{NEWS_MAX, QUIET_MS};

/// Something that has the looks of a receipt.
fn receipt(device: u8) -> SealedEnvelope {
    let mut bytes = vec![device; 200];
    bytes[1] = 0x41;
    SealedEnvelope { seq: 1, id: lifeos_sync_protocol::ids::EnvelopeId([device; 32]), bytes }
}

fn count(device: &Device, wanted: impl Fn(&Output) -> bool) -> usize {
    device.seen.iter().filter(|seen| wanted(seen)).count()
}

fn asked(device: &Device) -> usize {
    count(device, |seen| matches!(seen, Output::LoadReceipt))
}

/// Lets time pass, a little at a time.
fn pass(relay: &mut Relay, devices: &mut [Device], from_ms: u64, to_ms: u64) {
    for now_ms in (from_ms..=to_ms).step_by(500) {
        devices.iter_mut().for_each(|device| device.session.as_mut().unwrap().handle(Input::Tick(now_ms)));
        settle(relay, devices);
    }
}

/// Both live; each has been asked once.
fn live() -> (Relay, Vec<Device>) {
    let (mut relay, mut devices) = pair();
    for at in 0..2 {
        devices[at].connect(&mut relay);
        settle(&mut relay, &mut devices);
        assert_eq!((asked(&devices[at]), devices[at].idle), (1, true));
    }
    (relay, devices)
}

#[test]
fn a_round_of_sync_ends_with_one_receipt_after_everything_is_on_disk() {
    let (mut relay, mut devices) = pair();
    devices[0].write(7);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!(relay.receipts, Vec::<Vec<u8>>::new(), "the store had nothing to say");
    devices[1].receipt = Some(receipt(1));
    devices[1].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!(relay.receipts, [receipt(1).bytes]);
    let place = |wanted: fn(&Output) -> bool| devices[1].seen.iter().rposition(wanted).unwrap();
    let stored = place(|seen| matches!(seen, Output::StorePage { .. }));
    let asked = place(|seen| matches!(seen, Output::LoadReceipt));
    let taken = place(|seen| matches!(seen, Output::ReceiptTaken));
    let idle = place(|seen| matches!(seen, Output::Idle));
    assert!(stored < asked && asked < taken && taken < idle);
    let told: Vec<_> = devices[0].seen.iter().filter(|seen| matches!(seen, Output::Receipt(_))).collect();
    assert_eq!(told, [&Output::Receipt(receipt(1).bytes)]);
}

#[test]
fn a_page_that_is_not_on_disk_yet_holds_the_receipt_back() {
    let (mut relay, mut devices) = live();
    devices[0].write(1);
    while devices[0].step(&mut relay) || devices[0].receive(&mut relay) {}
    // The news is with the session; the store has not answered.
    while devices[1].receive(&mut relay) {}
    let session = devices[1].session.as_mut().unwrap();
    let mut outputs = Vec::new();
    for now_ms in (0..50_000).step_by(1_000) {
        session.handle(Input::Tick(now_ms));
        outputs.extend(std::iter::from_fn(|| session.poll()));
    }
    assert!(outputs.iter().any(|seen| matches!(seen, Output::StorePage { .. })));
    session.handle(Input::Frame(Frame::Pong { payload: 0 }.encode(0)));
    session.handle(Input::Tick(90_000));
    outputs.extend(std::iter::from_fn(|| session.poll()));
    assert!(!outputs.contains(&Output::LoadReceipt), "{outputs:?}");
    session.handle(Input::PageStored);
    let next: Vec<_> = std::iter::from_fn(|| session.poll()).collect();
    // It asks the relay what its log looks like now; the receipt follows.
    assert!(next.iter().any(|seen| matches!(seen, Output::Send(_))), "{next:?}");
}

#[test]
fn live_news_is_told_after_a_quiet_moment_and_not_more_often_than_once_a_minute() {
    let (mut relay, mut devices) = live();
    pass(&mut relay, &mut devices, 0, 20_000);
    devices[1].receipt = Some(receipt(1));
    devices[0].write(1);
    settle(&mut relay, &mut devices);
    pass(&mut relay, &mut devices, 20_000, 59_500);
    assert_eq!(asked(&devices[1]), 1, "a minute has not passed since the connection began");
    pass(&mut relay, &mut devices, 60_000, 60_500);
    assert_eq!((asked(&devices[1]), relay.receipts.len()), (2, 1));
    // With a statement about the log as it is now.
    assert_eq!(count(&devices[1], |seen| matches!(seen, Output::Statement(_))), 2);
    pass(&mut relay, &mut devices, 61_000, 180_000);
    assert_eq!(asked(&devices[1]), 2, "nothing came since");
    // An edit every second: the moment is never quiet.
    for second in 180..250 {
        devices[0].write(1);
        pass(&mut relay, &mut devices, second * 1_000, second * 1_000 + 500);
    }
    assert_eq!(asked(&devices[1]), 2);
    pass(&mut relay, &mut devices, 250_000, 250_000 + QUIET_MS);
    assert_eq!(asked(&devices[1]), 3);
}

#[test]
fn very_much_at_once_does_not_wait_for_the_minute() {
    let (mut relay, mut devices) = live();
    devices[0].write(u32::try_from(NEWS_MAX).unwrap());
    settle(&mut relay, &mut devices);
    pass(&mut relay, &mut devices, 0, QUIET_MS + 500);
    assert_eq!(asked(&devices[1]), 2);
}

#[test]
fn two_idle_live_devices_are_silent_whatever_receipts_they_hear() {
    let (mut relay, mut devices) = live();
    devices[1].receipt = Some(receipt(1));
    devices[0].write(1);
    settle(&mut relay, &mut devices);
    pass(&mut relay, &mut devices, 0, 120_000);
    let after = (relay.receipts.len(), asked(&devices[0]), asked(&devices[1]));
    assert_eq!(after, (1, 1, 2));
    assert_eq!(count(&devices[0], |seen| matches!(seen, Output::Receipt(_))), 1);
    for device in &mut devices {
        device.receipt = Some(receipt(device.number));
    }
    pass(&mut relay, &mut devices, 120_500, 1_200_000);
    assert_eq!((relay.receipts.len(), asked(&devices[0]), asked(&devices[1])), after);
}

#[test]
fn a_receipt_that_the_relay_does_not_take_now_is_tried_again_and_stops_nothing() {
    let (mut relay, mut devices) = pair();
    devices[1].receipt = Some(receipt(1));
    relay.refuse_next = Some(PushStatus::Rate);
    devices[1].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert!(devices[1].idle && devices[1].error().is_none());
    assert_eq!(count(&devices[1], |seen| matches!(seen, Output::ReceiptTaken)), 0);
    devices.remove(0);
    devices[0].receipt = Some(receipt(1));
    pass(&mut relay, &mut devices, 0, 61_000);
    assert_eq!((relay.receipts.len(), count(&devices[0], |seen| matches!(seen, Output::ReceiptTaken))), (1, 1));
}

#[test]
fn a_flood_of_receipts_and_presence_is_passed_over_beyond_a_few_megabytes() {
    let (mut relay, mut devices) = pair();
    devices[1].connect(&mut relay);
    // Up to OPEN and STATE: the records are not equal yet.
    devices[1].records.push(b"another".to_vec());
    while !devices[1].seen.iter().any(|seen| matches!(seen, Output::LoadRecords { .. })) {
        assert!(devices[1].step(&mut relay) || devices[1].receive(&mut relay));
    }
    let session = devices[1].session.as_mut().unwrap();
    let mut large = receipt(0).bytes;
    large.resize(16 * 1024, 0);
    let mut presence = large.clone();
    presence[1] = 0x40;
    for envelope in [vec![], presence, vec![0x41; 20 * 1024]].into_iter().chain(vec![large; 1_000]) {
        session.handle(Input::Frame(Frame::Ephemeral { session: 5, envelope }.encode(0)));
    }
    settle(&mut relay, &mut devices);
    let heard: Vec<_> = devices[1].seen.iter().filter(|seen| matches!(seen, Output::Receipt(_))).collect();
    assert_eq!(heard.len(), 4 * 1024 / 16);
    assert!(devices[1].idle);
}
