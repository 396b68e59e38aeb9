//! A relay that was put back, emptied or lost its end gets again what the devices hold, once and not for ever.

use super::*;

#[test]
fn a_log_put_back_is_told_from_a_new_one() {
    let (mut relay, mut devices) = pair();
    devices[0].write(5);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!(devices[0].cursor.map(|cursor| cursor.pos), Some(6));
    relay.log.truncate(2);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert!(devices[0].seen.contains(&Output::LogChanged(LogChange::RolledBack)));
    assert_eq!((relay.log.len(), devices[0].idle), (5, true), "and it gets everything again");
}

#[test]
fn a_wiped_relay_gets_everything_again() {
    let (mut relay, mut devices) = pair();
    devices[0].write(5);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    let mut fresh = Relay::new(2);
    fresh.log_id = LogId([2; 16]);
    devices[0].connect(&mut fresh);
    settle(&mut fresh, &mut devices);
    assert_eq!((fresh.log.len(), fresh.records.len()), (5, 1));
    assert_eq!(sent_of(0, &devices[0]), 2 * 5, "each relay got each envelope once");
    assert!(devices[0].seen.contains(&Output::LogChanged(LogChange::Replaced)));
    assert!(devices[0].idle);
}

#[test]
fn what_a_relay_does_not_stand_by_having_taken_is_given_again() {
    let (mut relay, mut devices) = pair();
    devices[0].write(5);
    devices[0].acked = 5;
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!((relay.log.len(), devices[0].stopped(), devices[0].idle), (5, None, true));
}

#[test]
fn a_relay_that_lost_its_tail_gets_it_again() {
    let (mut relay, mut devices) = pair();
    devices[0].write(5);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    relay.log.truncate(2);
    devices[0].write(1);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!(relay.log.len(), 6);
    assert!(devices[0].idle);
}

/// A relay that is new to two devices which hold each other's envelopes, and more of their own.
fn replaced_relay() -> (Relay, Vec<Device>) {
    let (mut relay, mut devices) = pair();
    devices[0].write(7);
    devices[1].write(4);
    for _ in 0..2 {
        devices.iter_mut().for_each(|device| device.connect(&mut relay));
        settle(&mut relay, &mut devices);
    }
    for device in &mut devices {
        device.drop_connection(&mut relay);
        device.seen.clear();
    }
    let mut fresh = Relay::new(2);
    fresh.log_id = LogId([2; 16]);
    (fresh, devices)
}

fn given(device: &Device) -> u64 {
    let given = |seen: &Output| if let Output::Given { envelopes } = seen { *envelopes } else { 0 };
    device.seen.iter().map(given).sum()
}

#[test]
fn a_relay_that_lost_everything_gets_back_what_others_wrote_while_they_are_away() {
    let (mut relay, mut devices) = replaced_relay();
    devices[1].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!(relay.have(), devices[1].have());
    assert_eq!((relay.log.len(), given(&devices[1])), (11, 7));
    assert!(devices[1].idle && devices[1].cursor == Some(relay.cursor(12)));
    let held = |seen: &Output| if let Output::HoldsOf(held) = seen { held.clone() } else { Vec::new() };
    let of_other = devices[0].have().iter().find(|have| have.tip == 7).unwrap().stream;
    assert!(devices[1].seen.iter().flat_map(held).any(|(stream, through)| (stream, through) == (of_other, 7)));
    // The author comes back, and has nothing left to give.
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!((relay.log.len(), given(&devices[0])), (11, 0));
    assert!(devices[0].idle);
}

#[test]
fn two_devices_that_heal_a_relay_at_once_do_not_both_send_everything() {
    let (mut relay, mut devices) = replaced_relay();
    // A third author, who is away for good.
    devices.iter_mut().for_each(|device| device.received.extend((1..=200).map(|seq| (9, seq))));
    devices.iter_mut().for_each(|device| device.connect(&mut relay));
    settle(&mut relay, &mut devices);
    assert_eq!(relay.log.len(), 211);
    assert!(devices.iter().all(|device| device.idle));
    let sent = sent_of(9, &devices[0]) + sent_of(9, &devices[1]);
    assert!(sent < 300, "{sent} envelopes sent for 200");
}

/// How often an envelope of `author` was sent.
fn sent_of(author: u8, device: &Device) -> usize {
    let envelopes = |seen: &Output| match seen {
        Output::Send(bytes) => match Frame::decode(bytes) {
            Ok((_, Frame::Push { envelopes, .. })) => envelopes.iter().filter(|bytes| place(bytes).0 == author).count(),
            _ => 0,
        },
        _ => 0,
    };
    device.seen.iter().map(envelopes).sum()
}

#[test]
fn a_relay_that_forgets_what_it_takes_is_not_sent_everything_for_ever() {
    let (mut relay, mut devices) = replaced_relay();
    relay.forgetful = true;
    devices[1].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert!(devices[1].idle);
    let asked = devices[1].seen.iter().filter(|seen| **seen == Output::LoadHeld).count();
    assert!((2..=4).contains(&asked), "asked {asked} times");
}

#[test]
fn a_stream_that_the_relay_refuses_is_given_up_and_the_others_are_given() {
    let (mut relay, mut devices) = replaced_relay();
    devices[1].received.extend((8..=100).map(|seq| (0, seq)));
    devices[1].received.extend((1..=5).map(|seq| (9, seq)));
    devices[1].connect(&mut relay);
    // Everything of its own is there; the next stream is refused at its first envelope.
    while !devices[1].seen.contains(&Output::LoadHeld) {
        while devices[1].step(&mut relay) {}
        devices[1].receive(&mut relay);
    }
    relay.refuse_next = Some(PushStatus::Removed);
    settle(&mut relay, &mut devices);
    assert!(devices[1].idle, "and it does not try for ever");
    let held: Vec<(u8, u32)> = relay.have().iter().map(|have| (have.stream.0[0], have.tip)).collect();
    assert_eq!(held, [(1, 4), (9, 5)]);
    let sent = sent_of(0, &devices[1]);
    assert!(sent <= 2 * 4, "{sent} of 100 sent: what was on its way, and no more");
}

#[test]
fn a_list_of_streams_that_nobody_asked_for_ends_the_session() {
    let (mut relay, mut devices) = pair();
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    devices[0].tell(Input::Frame(Frame::Have { session: 5, streams: Vec::new() }.encode(0)));
    settle(&mut relay, &mut devices);
    assert!(matches!(devices[0].error(), Some(SessionError::Misbehaved(_))));
}

#[test]
fn a_relay_that_holds_the_beginning_as_part_of_a_checkpoint_is_given_the_stream_from_its_floor_on() {
    let (mut relay, mut devices) = pair();
    // A home that was put back offers what the relay has long forgotten.
    relay.refuse_next = Some(PushStatus::Gap { expected: 3 });
    devices[0].write(4);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    // This one has no floor after all, and says so when it is shown what would stand there.
    assert_eq!((relay.log.len(), devices[0].stopped()), (4, None));
    assert!(devices[0].idle);
}
