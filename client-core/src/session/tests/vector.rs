//! A log that does not go back to its start, and what lies outside it.

use super::parts::object;
use super::*;

/// A relay of a pruned space: device 1 wrote ten, the first six are gone, and a chunk stands for them.
pub(super) fn pruned() -> (Relay, Vec<Device>) {
    let (mut relay, mut devices) = pair();
    devices[1].write(10);
    devices[1].connect(&mut relay);
    devices[1].tell(Input::OutboxChanged);
    settle(&mut relay, &mut devices);
    assert!(devices[1].idle);
    devices[1].drop_connection(&mut relay);
    (relay.first, relay.objects) = (7, vec![object(1), object(2)]);
    devices[0].checkpoint = (vec![object_id(&object(1)), object_id(&object(2))], vec![(1, 6)]);
    (relay, devices)
}

pub(super) fn received(device: &Device) -> Vec<u32> {
    let mut seqs: Vec<u32> = device.received.iter().filter(|(by, _)| *by == 1).map(|(_, seq)| *seq).collect();
    seqs.sort_unstable();
    seqs
}

fn count(device: &Device, is_it: impl Fn(&Output) -> bool) -> usize {
    device.seen.iter().filter(|seen| is_it(seen)).count()
}

#[test]
fn a_new_device_takes_a_checkpoint_and_then_what_lies_beyond_it() {
    let (mut relay, mut devices) = pruned();
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!(received(&devices[0]), (1..=10).collect::<Vec<_>>());
    assert!(devices[0].idle && devices[0].error().is_none());
    assert_eq!(devices[0].cursor, Some(relay.cursor(11)), "and follows the log from its end");
    assert_eq!(count(&devices[0], |seen| matches!(seen, Output::StoreObject(..))), 2);
    assert_eq!(count(&devices[0], |seen| matches!(seen, Output::LogChanged(_))), 0, "nobody lied");
    // What is new comes by itself, and what is kept here the relay has already.
    devices[1].connect(&mut relay);
    devices[1].write(1);
    settle(&mut relay, &mut devices);
    assert_eq!(received(&devices[0]), (1..=11).collect::<Vec<_>>());
    assert_eq!(relay.objects.len(), 2);
}

#[test]
fn a_device_whose_place_was_pruned_goes_on_by_streams_and_fetches_nothing_twice() {
    let (mut relay, mut devices) = pruned();
    // It had eight before: the checkpoint has nothing new for it.
    relay.first = 1;
    let whole = std::mem::take(&mut relay.log);
    relay.log = whole[..8].to_vec();
    devices[0].checkpoint = (Vec::new(), Vec::new());
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    devices[0].drop_connection(&mut relay);
    assert_eq!(received(&devices[0]).len(), 8);
    (relay.log, relay.first) = (whole, 10);
    relay.first = 10;
    devices[0].seen.clear();
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    // Nine is gone from the relay, and no checkpoint was taken: ten cannot be joined to what is here, and no place in the
    // log is remembered, so that the next connection asks again.
    assert_eq!(received(&devices[0]).len(), 8);
    assert_eq!(devices[0].error(), Some(&SessionError::Unjoined));
    assert_eq!(devices[0].cursor, None);
    assert!(devices[0].seen.contains(&Output::LogChanged(LogChange::Pruned)));
    devices[0].drop_connection(&mut relay);
    (relay.first, devices[0].cursor) = (9, Some(relay.cursor(5)));
    devices[0].seen.clear();
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!(received(&devices[0]), (1..=10).collect::<Vec<_>>());
    let stored = devices[0].seen.iter().filter_map(|seen| match seen {
        Output::StorePage { items, .. } => Some(items.iter().map(|item| place(&item.envelope).1).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(stored.flatten().collect::<Vec<_>>(), [9, 10]);
}

#[test]
fn chunks_that_the_relay_lost_are_told_and_the_log_is_read_instead() {
    let (mut relay, mut devices) = pruned();
    (relay.first, relay.objects) = (1, vec![object(1)]);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    let missing = vec![object_id(&object(2))];
    assert!(devices[0].seen.contains(&Output::Bootstrap { missing, is_pruned: false }));
    assert_eq!(received(&devices[0]), (1..=10).collect::<Vec<_>>(), "the log goes back to its start");
    assert!(devices[0].idle);
}

#[test]
fn what_is_kept_here_and_the_relay_lacks_is_given_once() {
    let (mut relay, mut devices) = pruned();
    devices[1].objects = vec![object(2), object(3), object(4)];
    devices[1].connect(&mut relay);
    devices[1].tell(Input::OutboxChanged);
    settle(&mut relay, &mut devices);
    assert_eq!(relay.objects, [1, 2, 3, 4].map(object));
    assert_eq!(count(&devices[1], |seen| *seen == Output::ObjectGiven), 2);
    devices[1].objects.push(object(5));
    devices[1].tell(Input::ObjectsChanged);
    settle(&mut relay, &mut devices);
    assert_eq!(relay.objects.len(), 5);
    assert!(devices[1].idle);
    relay.objects.clear();
    relay.refuse_next = Some(PushStatus::Quota);
    devices[1].tell(Input::ObjectsChanged);
    settle(&mut relay, &mut devices);
    assert!(devices[1].seen.contains(&Output::ObjectsRefused(PushStatus::Quota)));
    assert!(devices[1].idle && relay.objects.len() <= 1, "the rest waits for the next connection");
}

#[test]
fn another_object_than_the_one_asked_for_ends_the_session() {
    let (mut relay, mut devices) = pruned();
    devices[0].connect(&mut relay);
    let mut asked = None;
    for _ in 0..200 {
        while devices[0].step(&mut relay) {}
        let connection = relay.connections[0].as_mut().unwrap();
        if let Some(bytes) = connection.out.front_mut()
            && let (request, Frame::Items { session, mut items, next, roll, more }) = Frame::decode(bytes).unwrap()
            && let Some(item) = items.first_mut().filter(|item| item.envelope.len() == OBJECT_BYTES)
        {
            item.envelope[0] ^= 1;
            *bytes = Frame::Items { session, items, next, roll, more }.encode(request);
            asked = Some(request);
        }
        if !devices[0].receive(&mut relay) {
            break;
        }
    }
    assert!(asked.is_some());
    assert_eq!(devices[0].error(), Some(&SessionError::Misbehaved("an object nobody asked for")));
    assert!(devices[0].objects.is_empty());
}

#[test]
fn after_a_pruned_beginning_the_own_stream_is_given_to_an_empty_relay_from_where_it_goes_on() {
    let mut push = push::Push::new(0);
    push.reopen();
    let (mut relay, mut devices) = pair();
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    let session = devices[0].session.as_mut().unwrap();
    session.handle(Input::OutboxChanged);
    let asks = |session: &mut Session| {
        std::iter::from_fn(|| session.poll()).find_map(|seen| match seen {
            Output::LoadOutbox { after_seq, .. } => Some(after_seq),
            _ => None,
        })
    };
    assert_eq!(asks(session), Some(0));
    session.handle(Input::Outbox { after_seq: 0, envelopes: vec![envelope(0, 101), envelope(0, 102)] });
    let request = std::iter::from_fn(|| session.poll()).find_map(|seen| match seen {
        Output::Send(bytes) => match Frame::decode(&bytes).unwrap() {
            (request, Frame::Push { envelopes, .. }) => Some((request, envelopes.len())),
            _ => None,
        },
        _ => None,
    });
    let (request, count) = request.unwrap();
    let stored = PushResult { status: PushStatus::Ok, pos: None };
    let ack = Frame::PushAck { session: 5, results: vec![stored; count] };
    session.handle(Input::Frame(ack.encode(request)));
    assert!(std::iter::from_fn(|| session.poll()).any(|seen| seen == Output::Acked { through_seq: 102 }));
}

/// Envelopes of others that came in pages.
fn came(device: &Device) -> usize {
    let items = device.seen.iter().flat_map(|seen| match seen {
        Output::StorePage { items, .. } => items.as_slice(),
        _ => &[],
    });
    items.filter(|item| place(&item.envelope).0 != device.number).count()
}

#[test]
fn by_streams_only_what_is_lacking_goes_over_the_wire_in_either_direction() {
    let (mut relay, mut devices) = pair();
    for device in &mut devices[..2] {
        device.write(9);
        device.connect(&mut relay);
        device.tell(Input::OutboxChanged);
    }
    settle(&mut relay, &mut devices);
    assert_eq!((received(&devices[0]).len(), relay.log.len()), (9, 18));
    // No place in the log and no acknowledgement is known of a relay that is there for a while only.
    devices[0].drop_connection(&mut relay);
    devices[1].write(3);
    settle(&mut relay, &mut devices);
    (devices[0].cursor, devices[0].acked, devices[0].by_streams) = (None, 0, true);
    devices[0].stream.extend([envelope(0, 10), envelope(0, 11)]);
    devices[0].seen.clear();
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert!(devices[0].idle && devices[0].error().is_none(), "{:?}", devices[0].error());
    assert_eq!(received(&devices[0]), (1..=12).collect::<Vec<_>>());
    assert_eq!(came(&devices[0]), 3, "nothing that is here comes again");
    assert_eq!(count(&devices[0], |seen| *seen == Output::HeldBefore { through_seq: 9 }), 1);
    let first_sent = devices[0].seen.iter().find_map(|seen| match seen {
        Output::LoadOutbox { after_seq, .. } => Some(*after_seq),
        _ => None,
    });
    assert_eq!(first_sent, Some(9), "nothing that is there goes again");
    assert_eq!((relay.log.len(), devices[0].acked), (23, 11));
}

/// The device stands at the sixth and has asked for the rest; the relay's answer to HAVE has come.
fn between_have_and_want() -> (Relay, Vec<Device>) {
    let (mut relay, mut devices) = pruned();
    devices[0].connect(&mut relay);
    let asked = |relay: &Relay| !relay.ranges.is_empty();
    for _ in 0..500 {
        while devices[0].step(&mut relay) {
            if asked(&relay) {
                return (relay, devices);
            }
        }
        assert!(devices[0].receive(&mut relay), "nothing is asked for");
    }
    panic!("nothing is asked for");
}

#[test]
fn a_floor_that_rises_between_have_and_want_is_asked_about_and_nobody_is_blamed() {
    let (mut relay, mut devices) = between_have_and_want();
    // The answer is made anew, as if the relay had pruned just before: eight is the first that it still has.
    let connection = relay.connections[0].as_mut().unwrap();
    connection.out.clear();
    (relay.first, devices[0].checkpoint.1) = (9, vec![(1, 8)]);
    let (request, range) = relay.ranges.pop().unwrap();
    let want = Frame::Want { session: 5, ranges: vec![range], objects: Vec::new() };
    relay.answer(0, &want.encode(request));
    settle(&mut relay, &mut devices);
    assert!(devices[0].error().is_none(), "{:?}", devices[0].error());
    assert!(devices[0].idle);
    let mut all = received(&devices[0]);
    all.dedup();
    assert_eq!(all, (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_relay_that_leaves_one_out_of_a_range_and_says_that_it_has_it_is_blamed() {
    for leaves_out in 7..=10_u32 {
        let (mut relay, mut devices) = between_have_and_want();
        let connection = relay.connections[0].as_mut().unwrap();
        connection.out.retain(|bytes| match Frame::decode(bytes).unwrap().1 {
            Frame::Items { items, .. } => items.iter().all(|item| place(&item.envelope).1 != leaves_out),
            _ => true,
        });
        settle(&mut relay, &mut devices);
        let expected = SessionError::Misbehaved("an envelope without the one before it");
        assert_eq!(devices[0].error(), Some(&expected), "{leaves_out}");
        assert!(received(&devices[0]).iter().all(|seq| *seq < leaves_out));
        assert_eq!(devices[0].cursor, None);
    }
}
