//! Push, acknowledge, pull, follow.

use lifeos_sync_protocol::frame::{Cursor, Frame, PushResult, PushStatus};
use lifeos_sync_protocol::ids::{EpochRef, Roll};

use crate::fixture::{Client, Space, Stream, get, id_of, patiently, relay};

fn statuses(results: &[PushResult]) -> Vec<PushStatus> {
    results.iter().map(|result| result.status).collect()
}

#[tokio::test]
async fn a_push_is_acknowledged_with_its_position_and_told_to_those_who_follow() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let other = space.enrol(2);
    let (mut writer, session) = Client::found(&relay, &space).await;
    let (mut reader, reading) = Client::join(&relay, &space, &other).await;
    let (mut cursor, _) = reader.open(reading, None).await;
    assert_eq!((cursor.pos, cursor.roll), (1, Roll::ZERO));
    assert!(reader.catch_up(&space, reading, &mut cursor).await.is_empty());

    let mut stream = space.stream(&space.founder, 1);
    let sealed = stream.seal_many(3);
    let results = writer.push(session, sealed.clone()).await;
    assert_eq!(results, [1, 2, 3].map(|pos| PushResult { status: PushStatus::Ok, pos: Some(pos) }));

    let items = reader.notified(&space, &mut cursor).await.unwrap();
    assert_eq!(items.into_iter().map(|item| item.envelope).collect::<Vec<_>>(), sealed);
    let (end, cursor_ok) = reader.open(reading, Some(cursor)).await;
    assert!(cursor_ok);
    assert_eq!(end, cursor);
    relay.shutdown().await;
}

#[tokio::test]
async fn a_cursor_of_another_log_or_another_past_is_found_out() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    client.push(session, space.stream(&space.founder, 1).seal_many(5)).await;
    let (mut cursor, _) = client.open(session, None).await;
    cursor = Cursor { pos: 1, roll: Roll::ZERO, ..cursor };
    client.catch_up(&space, session, &mut cursor).await;

    assert!(client.open(session, Some(cursor)).await.1);
    assert!(!client.open(session, Some(Cursor { roll: Roll([9; 16]), ..cursor })).await.1);
    assert!(!client.open(session, Some(Cursor { pos: 3, ..cursor })).await.1);
    assert!(!client.open(session, Some(Cursor { pos: cursor.pos + 1, ..cursor })).await.1);
    let other_log = lifeos_sync_protocol::ids::LogId([0; 16]);
    assert!(!client.open(session, Some(Cursor { log_id: other_log, ..cursor })).await.1);
}

#[tokio::test]
async fn only_what_continues_a_stream_is_stored() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    let empty = stream.clone();
    let sealed = stream.seal_many(4);
    let ids: Vec<_> = sealed.iter().map(|envelope| id_of(&space.id, envelope)).collect();

    let gap = PushStatus::Gap { expected: 1 };
    assert_eq!(statuses(&client.push(session, sealed[1..].to_vec()).await), [gap; 3]);
    assert_eq!(statuses(&client.push(session, sealed[..2].to_vec()).await), [PushStatus::Ok; 2]);
    let gap = PushStatus::Gap { expected: 3 };
    assert_eq!(statuses(&client.push(session, sealed[3..].to_vec()).await), [gap]);
    // Its own author leaves a number out, the predecessor named as it should be.
    let leap = Stream { seq: 3, prev: ids[1].0, ..empty.clone() }.seal();
    assert_eq!(statuses(&client.push(session, vec![leap]).await), [gap]);
    let again = client.push(session, sealed[..3].to_vec()).await;
    assert_eq!(statuses(&again), [PushStatus::Dup, PushStatus::Dup, PushStatus::Ok]);
    assert_eq!(again.iter().map(|result| result.pos).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);

    // The next number upon another predecessor.
    let beside = Stream { seq: 3, prev: [9; 32], ..empty.clone() }.seal();
    assert_eq!(statuses(&client.push(session, vec![beside]).await), [PushStatus::Fork { existing: ids[2] }]);

    // Another second envelope after the same first one, and what is built on it.
    let mut fork = empty.clone();
    fork.seal();
    fork.seal_sized(300);
    let mut forked = empty;
    forked.seal();
    let forked = [forked.seal_sized(300), fork.seal(), fork.seal()];
    let fork = PushStatus::Fork { existing: ids[1] };
    assert_eq!(statuses(&client.push(session, forked.to_vec()).await), [fork; 3]);
    let (end, _) = client.open(session, None).await;
    assert_eq!(end.pos, 4);
}

#[tokio::test]
async fn a_stream_that_is_pushed_again_to_a_wiped_relay_gives_the_same_log_once() {
    let mut space = Space::new(1);
    let other = space.enrol(2);
    let (mut own, mut others) = (space.stream(&space.founder, 1), space.stream(&other, 2));
    let frames = [own.seal_many(64), others.seal_many(5), own.seal_many(7)];
    let mut ends = Vec::new();
    for _ in 0..2 {
        let (relay, _dir) = relay().await;
        let (mut client, session) = Client::found(&relay, &space).await;
        for status in [PushStatus::Ok, PushStatus::Dup] {
            for frame in &frames {
                let results = client.push(session, frame.clone()).await;
                assert!(results.iter().all(|result| result.status == status), "{results:?}");
            }
        }
        ends.push(client.open(session, None).await.0);
    }
    assert_eq!((ends[0].pos, ends[0].roll), (77, ends[1].roll));
    assert_ne!(ends[0].log_id, ends[1].log_id);
}

#[tokio::test]
async fn an_older_epoch_is_taken_and_said_to_be_old() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let early = space.stream(&space.founder, 1).seal();
    space.rotate();
    let records = vec![space.records.last().unwrap().bytes().to_vec()];
    client.ask(&Frame::Rec { session, records, more: false }).await;
    let prev = id_of(&space.id, &early).0;
    let mut stream = Stream { seq: 1, prev, ..space.stream(&space.founder, 1) };
    let results = client.push(session, vec![early, stream.seal()]).await;
    assert_eq!(statuses(&results), [PushStatus::OkStaleEpoch, PushStatus::Ok]);
}

#[tokio::test]
async fn an_envelope_under_an_unknown_epoch_waits_for_its_records() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    let first = stream.seal();
    stream.epoch = EpochRef([9; 16]);
    let second = stream.seal();
    let results = client.push(session, vec![first, second]).await;
    assert_eq!(statuses(&results), [PushStatus::Ok, PushStatus::UnknownEpoch]);
}

#[tokio::test]
async fn anothers_stream_may_be_brought_back_by_an_enrolled_device() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let other = space.enrol(2);
    let (mut client, session) = Client::found(&relay, &space).await;
    let mut own = space.stream(&space.founder, 1);
    let mut others = space.stream(&other, 2);
    let mixed = vec![own.seal(), others.seal(), own.seal(), others.seal()];
    let results = client.push(session, mixed).await;
    assert_eq!(statuses(&results), [PushStatus::Ok; 4]);
    let mut positions: Vec<_> = results.iter().map(|result| result.pos.unwrap()).collect();
    positions.sort_unstable();
    assert_eq!(positions, [1, 2, 3, 4]);

    let Frame::Have { streams, .. } = client.ask(&Frame::Have { session, streams: Vec::new() }).await else {
        panic!("not a HAVE")
    };
    assert_eq!(streams.iter().map(|have| have.tip).collect::<Vec<_>>(), [2, 2]);
    let want = lifeos_sync_protocol::frame::Want { stream: others.id, from: 2, to: u32::MAX };
    let request = client.send(&Frame::Want { session, ranges: vec![want], objects: Vec::new() }).await;
    let Frame::Items { items, more: true, .. } = client.answer(request).await else { panic!("not ITEMS") };
    assert_eq!(id_of(&space.id, &items[0].envelope).0, others.prev);
    assert!(matches!(client.answer(request).await, Frame::Items { items, more: false, .. } if items.is_empty()));
}

/// Two devices push windows of frames while a third catches up, follows, falls back to pulling now and then, and
/// a fourth only follows: everybody ends with one log, without a gap and without a repetition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catching_up_turns_into_following_without_a_gap_while_others_push() {
    const FRAMES: usize = 300;
    const PER_FRAME: usize = 7;
    const TOTAL: u64 = (2 * FRAMES * PER_FRAME) as u64;
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let second = space.enrol(2);
    let (founder, session) = Client::found(&relay, &space).await;
    let (other, other_session) = Client::join(&relay, &space, &second).await;
    let (mut follower, following) = Client::join(&relay, &space, &second).await;
    let (mut changing, changes) = Client::join(&relay, &space, &second).await;

    let push = |mut client: Client, session: u32, frames: Vec<Vec<Vec<u8>>>| async move {
        // A window of 16, read and written independently of each other's progress.
        let mut waiting = std::collections::VecDeque::new();
        for envelopes in frames {
            waiting.push_back(client.send(&Frame::Push { session, envelopes }).await);
            if waiting.len() == 16 {
                acknowledged(&mut client, waiting.pop_front().unwrap()).await;
            }
        }
        for request in waiting {
            acknowledged(&mut client, request).await;
        }
    };
    let frames = |device, r32| {
        let mut stream = space.stream(device, r32);
        (0..FRAMES).map(|_| stream.seal_many(PER_FRAME)).collect::<Vec<_>>()
    };
    let (first_frames, second_frames) = (frames(&space.founder, 1), frames(&second, 2));

    let start = Cursor { pos: 1, roll: Roll::ZERO, log_id: follower.open(following, None).await.0.log_id };
    let follow = async {
        let mut cursor = start;
        follower.catch_up(&space, following, &mut cursor).await;
        while cursor.pos <= TOTAL {
            if follower.notified(&space, &mut cursor).await.is_none() {
                follower.catch_up(&space, following, &mut cursor).await;
            }
        }
        cursor
    };
    let change = async {
        let mut cursor = start;
        while cursor.pos <= TOTAL {
            changing.catch_up(&space, changes, &mut cursor).await;
            for _ in 0..3 {
                if cursor.pos <= TOTAL && changing.notified(&space, &mut cursor).await.is_none() {
                    break;
                }
            }
        }
        cursor
    };
    let (followed, changed, (), ()) = patiently(
        "everybody at the end",
        futures_util::future::join4(
            follow,
            change,
            push(founder, session, first_frames),
            push(other, other_session, second_frames),
        ),
    )
    .await;
    assert_eq!(followed, changed);
    assert_eq!(followed.pos, TOTAL + 1);
    relay.shutdown().await;
}

async fn acknowledged(client: &mut Client, request: u32) {
    let answer = client.answer(request).await;
    let Frame::PushAck { results, .. } = answer else { panic!("not an acknowledgement: {answer:?}") };
    assert!(results.iter().all(|result| result.status == PushStatus::Ok), "{results:?}");
}

#[tokio::test]
async fn a_page_that_starts_anywhere_ends_where_a_push_ended() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    for count in [10, 64, 3] {
        client.push(session, stream.seal_many(count)).await;
    }
    for (from, items_max, expected) in [(1, 64, 11), (1, 1, 11), (5, 2, 11), (11, 64, 75), (12, 1, 75), (75, 9, 78)] {
        let pull = Frame::Pull { session, from, bytes_max: 1, items_max };
        let Frame::Items { next, items, more, .. } = client.ask(&pull).await else { panic!("not a page") };
        assert_eq!(next, expected, "from {from}");
        assert_eq!(items.len() as u64, expected - from);
        assert_eq!(more, expected != 78);
    }
}

#[tokio::test]
async fn health_and_metrics_answer_without_naming_anybody() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    client.push(session, space.stream(&space.founder, 1).seal_many(2)).await;
    assert!(get(&relay, "/healthz").await.ends_with("ok\n"));
    assert!(get(&relay, "/readyz").await.ends_with("ready\n"));
    let metrics = get(&relay, "/metrics").await;
    assert!(metrics.contains("lifeos_relay_envelopes_stored_total 2\n"), "{metrics}");
    assert!(metrics.contains("lifeos_relay_sessions_open 1\n"), "{metrics}");
    assert!(!metrics.contains(&space.id.to_string()[..8]));
    assert!(!metrics.contains(&space.founder.pk.to_string()[..8]));
}

/// The signature of the second frame speaks for the first, and every request has its own answer.
#[tokio::test]
async fn frames_that_wait_behind_one_another_need_one_signature_and_are_answered_each() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    let mut frames: Vec<_> = [3, 2, 4, 1].map(|count| stream.seal_many(count)).into();
    // Nobody vouches for what comes after the last good signature.
    for (frame, at) in [(0, 2), (3, 0)] {
        *frames[frame][at].last_mut().unwrap() ^= 1;
    }
    let pushes = frames.into_iter().map(|envelopes| Frame::Push { session, envelopes });
    let requests = client.send_together(pushes).await;
    let mut answers = Vec::new();
    for request in requests {
        let Frame::PushAck { results, .. } = client.answer(request).await else { panic!("not an acknowledgement") };
        answers.push(results.into_iter().map(|result| (result.status, result.pos)).collect::<Vec<_>>());
    }
    let stored = |positions: std::ops::RangeInclusive<u64>| -> Vec<_> {
        positions.map(|pos| (PushStatus::Ok, Some(pos))).collect()
    };
    assert_eq!(answers, [stored(1..=3), stored(4..=5), stored(6..=9), vec![(PushStatus::BadSignature, None)]]);
    let pull = Frame::Pull { session, from: 1, bytes_max: 1, items_max: 1 };
    let Frame::Items { next, .. } = client.ask(&pull).await else { panic!("not a page") };
    assert_eq!(next, 10, "one run");
}

#[tokio::test]
async fn what_comes_behind_a_push_and_is_none_is_not_lost() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    let frames = [
        Frame::Push { session, envelopes: stream.seal_many(2) },
        Frame::Ping { payload: 5 },
        Frame::Push { session, envelopes: stream.seal_many(1) },
    ];
    let requests = client.send_together(frames).await;
    let [first, ping, second] = requests[..] else { panic!("three requests") };
    assert!(matches!(client.answer(first).await, Frame::PushAck { results, .. } if results.len() == 2));
    assert!(matches!(client.answer(ping).await, Frame::Pong { payload } if payload == 5));
    let Frame::PushAck { results, .. } = client.answer(second).await else { panic!("not an acknowledgement") };
    assert_eq!(results.iter().map(|result| result.pos).collect::<Vec<_>>(), [Some(3)]);
}
