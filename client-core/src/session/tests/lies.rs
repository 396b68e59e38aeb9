//! A relay that says of its log, of its streams or of itself what is not so.

use super::*;

/// Connects and goes on until nothing moves, with every frame of the relay as `spoil` leaves it.
fn connect_through(relay: &mut Relay, device: &mut Device, spoil: impl Fn(Frame) -> Frame) {
    device.seen.clear();
    device.connect(relay);
    loop {
        while device.step(relay) {}
        let Some(bytes) = relay.connections[usize::from(device.number)].as_mut().unwrap().out.pop_front() else {
            return;
        };
        let (request, frame) = Frame::decode(&bytes).unwrap();
        device.tell(Input::Frame(spoil(frame).encode(request)));
    }
}

/// A device with five envelopes of its own at the relay and its cursor behind them; it is not connected.
fn synced() -> (Relay, Vec<Device>) {
    let (mut relay, mut devices) = pair();
    devices[0].write(5);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!(devices[0].cursor, Some(relay.cursor(6)));
    devices[0].drop_connection(&mut relay);
    (relay, devices)
}

#[test]
fn a_log_that_was_put_back_and_has_grown_past_the_cursor_is_read_anew() {
    let (mut relay, mut devices) = synced();
    relay.log.truncate(2);
    devices[1].write(4);
    devices[1].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!(relay.end(), 7, "the cursor's place is on it, with another past");
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert!(devices[0].seen.contains(&Output::LogChanged(LogChange::RolledBack)));
    assert!(devices.iter().all(|device| device.error().is_none() && device.idle));
    assert_eq!(devices[0].received, (1..=4).map(|seq| (1, seq)).collect::<Vec<_>>());
    assert_eq!((relay.log.len(), devices[0].cursor), (9, Some(relay.cursor(10))));
}

#[test]
fn a_relay_that_calls_a_cursor_good_which_cannot_be_is_not_believed() {
    type Change = fn(&mut Relay);
    let all_is_well = |frame| match frame {
        Frame::State { session, rec_heads, log, have_digest, quota, checkpoints, .. } => {
            Frame::State { session, rec_heads, log, cursor_ok: true, have_digest, quota, checkpoints }
        }
        frame => frame,
    };
    let shorter: Change = |relay| relay.log.truncate(2);
    let another: Change = |relay| relay.log_id = LogId([2; 16]);
    for (change, expected) in [(shorter, LogChange::RolledBack), (another, LogChange::Replaced)] {
        let (mut relay, mut devices) = synced();
        change(&mut relay);
        connect_through(&mut relay, &mut devices[0], all_is_well);
        assert!(devices[0].seen.contains(&Output::LogChanged(expected)));
        assert_eq!((devices[0].idle, relay.log.len()), (true, 5));
    }
    // The accepted twin: the log is what it was.
    let (mut relay, mut devices) = synced();
    connect_through(&mut relay, &mut devices[0], all_is_well);
    assert!(devices[0].idle && !devices[0].seen.iter().any(|seen| matches!(seen, Output::LogChanged(_))));
}

/// What heals a relay goes by the streams that it names. Where it names more than its log holds, the own stream goes out
/// again for what is known of the log.
#[test]
fn a_relay_that_lost_envelopes_and_still_names_them_gets_the_own_ones_again() {
    let named = synced().0.have();
    // In its first word, while the cursor does not lie on the log.
    let (mut relay, mut devices) = synced();
    relay.log.truncate(2);
    connect_through(&mut relay, &mut devices[0], |frame| match frame {
        Frame::State { session, rec_heads, log, cursor_ok, quota, checkpoints, .. } => {
            Frame::State { session, rec_heads, log, cursor_ok, have_digest: have_digest(&named), quota, checkpoints }
        }
        frame => frame,
    });
    assert_eq!((relay.log.len(), devices[0].idle), (5, true));
    // Only when it is asked for them, while the cursor, which was not saved after the last edits, lies on the log.
    let (mut relay, mut devices) = synced();
    relay.log.truncate(2);
    devices[0].cursor = Some(relay.cursor(3));
    connect_through(&mut relay, &mut devices[0], |frame| match frame {
        Frame::Have { session, .. } => Frame::Have { session, streams: named.clone() },
        frame => frame,
    });
    assert_eq!((relay.log.len(), devices[0].idle), (5, true));
}

#[test]
fn what_is_told_live_must_match_the_log_too() {
    type Spoil = fn(&mut Vec<Item>, &mut Roll);
    let honest: Spoil = |_, _| {};
    let spoils: [Spoil; 2] = [|items, _| items[0].envelope[20] ^= 1, |_, roll| roll.0[0] ^= 1];
    for spoil in [honest].into_iter().chain(spoils) {
        let (mut relay, mut devices) = pair();
        devices.iter_mut().for_each(|device| device.connect(&mut relay));
        settle(&mut relay, &mut devices);
        devices[1].write(1);
        settle(&mut relay, &mut devices[1..]);
        let told = relay.connections[0].as_mut().unwrap().out.pop_front().unwrap();
        let (0, Frame::Notify { session, mut items, mut roll, behind }) = Frame::decode(&told).unwrap() else {
            panic!("nothing was told")
        };
        spoil(&mut items, &mut roll);
        let is_honest = roll == relay.cursor(2).roll && items[0].envelope == relay.log[0];
        devices[0].tell(Input::Frame(Frame::Notify { session, items, roll, behind }.encode(0)));
        settle(&mut relay, &mut devices);
        assert_eq!(devices[0].error().is_none(), is_honest);
        assert!(is_honest || matches!(devices[0].error(), Some(SessionError::Misbehaved(_))));
        assert_eq!(devices[0].received.len(), usize::from(is_honest));
    }
}

#[test]
fn a_statement_that_another_signed_or_that_is_about_another_space_is_not_kept() {
    for (signer, space, is_good) in [(200, SPACE, true), (201, SPACE, false), (200, SpaceId([8; 32]), false)] {
        let (mut relay, mut devices) = synced();
        connect_through(&mut relay, &mut devices[0], |frame| match frame {
            Frame::LogStatement { log, rec_heads, time_ms, .. } => {
                let signature = sign(&keys(signer), &statement_message(&space, &log, &rec_heads, time_ms));
                Frame::LogStatement { space, log, rec_heads, time_ms, signature }
            }
            frame => frame,
        });
        let kept = devices[0].seen.iter().filter(|seen| matches!(seen, Output::Statement(_))).count();
        assert_eq!((kept, devices[0].idle), (usize::from(is_good), is_good));
        assert_eq!(devices[0].error(), (!is_good).then_some(&SessionError::RelaySignature));
    }
}

#[test]
fn a_page_that_does_not_match_the_log_is_refused() {
    type Spoil = fn(&mut Vec<Item>, &mut u64, &mut Roll);
    let spoils: [Spoil; 4] = [
        |items, _, _| items[0].envelope[20] ^= 1,
        |items, _, _| drop(items.remove(0)),
        |_, next, _| *next += 1,
        |_, _, roll| roll.0[0] ^= 1,
    ];
    for spoil in spoils {
        let (mut relay, mut devices) = pair();
        relay.records = vec![b"genesis".to_vec()];
        relay.log = (1..=2).map(|seq| envelope(1, seq).bytes).collect();
        devices[0].connect(&mut relay);
        while devices[0].error().is_none() {
            while devices[0].step(&mut relay) {}
            let out = &mut relay.connections[0].as_mut().unwrap().out;
            let Some(bytes) = out.pop_front() else { break };
            let bytes = match Frame::decode(&bytes).unwrap() {
                (request, Frame::Items { session, mut items, mut next, mut roll, more }) => {
                    spoil(&mut items, &mut next, &mut roll);
                    Frame::Items { session, items, next, roll, more }.encode(request)
                }
                _ => bytes,
            };
            devices[0].tell(Input::Frame(bytes));
        }
        assert!(matches!(devices[0].error(), Some(SessionError::Misbehaved(_))));
        assert!(devices[0].received.is_empty());
    }
}
