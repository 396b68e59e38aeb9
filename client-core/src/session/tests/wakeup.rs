//! Where a device is woken is said once a connection, and what a relay makes of it is believed as far as it was asked.

use lifeos_sync_protocol::frame::{FEATURE_WAKEUP, WakeupStatus};
use lifeos_sync_protocol::wakeup::WakeupTarget;

use super::*;
use crate::session::{WakeupStanding, WakeupWish};

fn wish() -> WakeupWish {
    WakeupWish::Wake(WakeupTarget::new("https://push.example/up", "0123456789abcdef").unwrap())
}

/// A relay that wakes devices, and one device that wishes this.
fn begin(wish: WakeupWish, wakes: WakeupStatus) -> (Relay, Vec<Device>) {
    let (mut relay, mut devices) = pair();
    (relay.features, relay.wakes) = (relay.features | FEATURE_WAKEUP, wakes);
    devices[0].connect(&mut relay);
    devices[0].session.as_mut().unwrap().handle(Input::Wakeup(wish));
    settle(&mut relay, &mut devices);
    (relay, devices)
}

fn said(device: &Device) -> Vec<(WakeupWish, WakeupStanding)> {
    let said = |output: &Output| match output {
        Output::Wakeup(wish, standing) => Some((wish.clone(), *standing)),
        _ => None,
    };
    device.seen.iter().filter_map(said).collect()
}

fn wakeups_sent(device: &Device) -> usize {
    let is_wakeup = |output: &&Output| matches!(output, Output::Send(bytes) if bytes[0] == 0x41);
    device.seen.iter().filter(is_wakeup).count()
}

#[test]
fn a_wish_is_said_once_a_connection_and_a_round_waits_for_the_answer() {
    for status in [WakeupStatus::Kept, WakeupStatus::Refused, WakeupStatus::Gone, WakeupStatus::None] {
        let (mut relay, mut devices) = begin(wish(), status);
        assert_eq!(said(&devices[0]), [(wish(), WakeupStanding::Said(status))]);
        assert!(devices[0].idle && wakeups_sent(&devices[0]) == 1);
        // Another one, while the connection lasts; and that it is over.
        relay.wakes = WakeupStatus::None;
        devices[0].session.as_mut().unwrap().handle(Input::Wakeup(WakeupWish::Withdraw));
        settle(&mut relay, &mut devices);
        assert_eq!(said(&devices[0])[1..], [(WakeupWish::Withdraw, WakeupStanding::Said(WakeupStatus::None))]);
    }
}

#[test]
fn a_relay_that_wakes_nobody_is_not_asked() {
    let (mut relay, mut devices) = pair();
    devices[0].connect(&mut relay);
    devices[0].session.as_mut().unwrap().handle(Input::Wakeup(wish()));
    settle(&mut relay, &mut devices);
    assert_eq!(said(&devices[0]), [(wish(), WakeupStanding::Unsupported)]);
    assert_eq!((wakeups_sent(&devices[0]), devices[0].idle), (0, true));
}

#[test]
fn an_answer_that_nobody_asked_for_or_that_contradicts_the_wish_ends_the_connection() {
    let misbehaved =
        |device: &Device| device.seen.iter().any(|output| matches!(output, Output::Close(SessionError::Misbehaved(_))));
    let (mut relay, mut devices) = begin(wish(), WakeupStatus::Kept);
    assert!(!misbehaved(&devices[0]));
    for request in [0, 77] {
        relay.send(0, request, &Frame::WakeupAck { session: 5, status: WakeupStatus::Kept });
    }
    settle(&mut relay, &mut devices);
    assert!(misbehaved(&devices[0]) && said(&devices[0]).len() == 1);

    let (_, devices) = begin(WakeupWish::Withdraw, WakeupStatus::Kept);
    assert!(misbehaved(&devices[0]) && said(&devices[0]).is_empty());
}

#[test]
fn a_relay_that_has_no_time_for_a_wish_is_told_with_the_next_connection_and_nothing_else_waits() {
    let (mut relay, mut devices) = pair();
    relay.features |= FEATURE_WAKEUP;
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    let session = devices[0].session.as_mut().unwrap();
    session.handle(Input::Wakeup(wish()));
    let Some(Output::Send(bytes)) = session.poll() else { panic!("nothing is said") };
    let (request, _) = Frame::decode(&bytes).unwrap();
    let busy = |request| {
        let (code, message) = (ErrorCode::Rate, String::new());
        Frame::Error { code, fatal: false, retry_after_ms: 5_000, message }.encode(request)
    };
    session.handle(Input::Frame(busy(request)));
    assert!(session.is_idle() && !session.is_closed());
    // One about nothing that was asked is none of these.
    session.handle(Input::Frame(busy(request)));
    assert!(session.is_closed());
}
