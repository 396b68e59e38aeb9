//! A reader that stops reading costs a bounded amount, is told that it is behind, and recovers by pulling.

use lifeos_sync_protocol::frame::{Cursor, ErrorCode, Frame, PushStatus};
use lifeos_sync_protocol::ids::Roll;
use lifeos_sync_server::Limits;

use crate::fixture::{Client, Space, metric, relay_with};

/// Far more than what sockets and queue hold together.
const ENVELOPES: u64 = 1_200;
const ENVELOPE_BYTES: usize = 32 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_is_told_that_it_is_behind_and_catches_up_while_others_do_not_wait() {
    let limits = Limits { outgoing_bytes_max: 256 * 1024, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let mut space = Space::new(1);
    let other = space.enrol(2);
    let (mut writer, session) = Client::found(&relay, &space).await;
    let (mut stalled, stalling) = Client::join(&relay, &space, &other).await;
    let (mut healthy, reading) = Client::join(&relay, &space, &other).await;
    let start = Cursor { pos: 1, roll: Roll::ZERO, ..stalled.open(stalling, None).await.0 };
    let mut behind = start;
    let mut cursor = start;
    stalled.catch_up(&space, stalling, &mut behind).await;
    healthy.catch_up(&space, reading, &mut cursor).await;

    let mut stream = space.stream(&space.founder, 1);
    while cursor.pos <= ENVELOPES {
        let envelopes: Vec<_> = (0..4).map(|_| stream.seal_sized(ENVELOPE_BYTES)).collect();
        let results = writer.push(session, envelopes).await;
        assert!(results.iter().all(|result| result.status == PushStatus::Ok));
        // Nothing is held back for the healthy one: it hears of every push before the next.
        while cursor.pos < u64::from(stream.seq) + 1 {
            healthy.notified(&space, &mut cursor).await.expect("a healthy reader is not behind");
        }
    }
    assert_eq!(metric(&relay, "readers_behind_total").await, 1);

    // It reads what was on its way, learns that it is behind, and gets the rest as pages.
    while stalled.notified(&space, &mut behind).await.is_some() {}
    assert!(behind.pos < cursor.pos, "nothing was held back, so the test has shown nothing");
    stalled.catch_up(&space, stalling, &mut behind).await;
    assert_eq!(behind, cursor);
    writer.push(session, stream.seal_many(1)).await;
    assert_eq!(stalled.notified(&space, &mut behind).await.unwrap().len(), 1);
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_nothing_is_cut_off() {
    let limits = Limits { write_ms_max: 200, shutdown_ms_max: 1_000, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let space = Space::new(1);
    let (mut writer, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    for _ in 0..40 {
        writer.push(session, vec![stream.seal_sized(500_000)]).await;
    }
    let (mut deaf, reading) = Client::join(&relay, &space, &space.founder).await;
    // Asks for 20 MB and reads none of it.
    for pos in 1..=40 {
        deaf.send(&Frame::Pull { session: reading, from: pos, bytes_max: 1, items_max: 1 }).await;
    }
    crate::fixture::patiently("the cut", async {
        while metric(&relay, "writes_timed_out_total").await == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(writer.ask(&Frame::Ping { payload: 3 }).await, Frame::Pong { payload: 3 });
}

#[tokio::test]
async fn shutdown_acknowledges_what_is_stored_and_says_goodbye() {
    let (relay, _dir) = relay_with(Limits::default()).await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    client.push(session, space.stream(&space.founder, 1).seal_many(3)).await;
    let ((), words) = tokio::join!(relay.shutdown(), client.last_words());
    assert_eq!(words, Some(ErrorCode::GoingAway));
}
