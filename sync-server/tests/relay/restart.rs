//! What was acknowledged is there after the relay was gone, however it went.

use std::collections::VecDeque;

use lifeos_sync_protocol::frame::{Cursor, Frame, PushStatus};
use lifeos_sync_protocol::ids::{LogId, Roll};
use lifeos_sync_server::{Handle, Server};

use crate::fixture::{Client, Space};
use crate::place::{local, stats};

/// Pushes windows of frames until the relay is gone; answers what was acknowledged, by position.
async fn push_until_gone(mut client: Client, session: u32, frames: Vec<Vec<Vec<u8>>>) -> Vec<(u64, Vec<u8>)> {
    let mut acked = Vec::new();
    let mut waiting: VecDeque<(u32, Vec<Vec<u8>>)> = VecDeque::new();
    let mut frames = frames.into_iter();
    loop {
        while waiting.len() < 8 {
            let Some(envelopes) = frames.next() else { break };
            let request = waiting.back().map_or(1_000, |(request, _)| request + 1);
            let frame = Frame::Push { session, envelopes: envelopes.clone() }.encode(request);
            use futures_util::SinkExt;
            let message = tokio_tungstenite::tungstenite::Message::Binary(frame.into());
            if client.socket.send(message).await.is_err() {
                break;
            }
            waiting.push_back((request, envelopes));
        }
        match client.next().await {
            Some((request, Frame::PushAck { results, .. })) => {
                let (asked, envelopes) = waiting.pop_front().unwrap();
                assert_eq!(request, asked, "acknowledgements keep the order of the frames");
                for (result, envelope) in results.into_iter().zip(envelopes) {
                    assert_eq!(result.status, PushStatus::Ok);
                    acked.push((result.pos.unwrap(), envelope));
                }
            }
            Some(_) => {}
            None => return acked,
        }
    }
}

async fn whole_log(relay: &Handle, space: &Space) -> (LogId, Vec<Vec<u8>>) {
    let (mut client, session) = Client::join(relay, space, &space.founder).await;
    let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..client.open(session, None).await.0 };
    let items = client.catch_up(space, session, &mut cursor).await;
    (cursor.log_id, items.into_iter().map(|item| item.envelope).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_killed_again_and_again_keeps_everything_it_acknowledged() {
    const ROUNDS: usize = 5;
    let dir = tempfile::tempdir().unwrap();
    let space = Space::new(1);
    let mut relay = Server::start(local(dir.path())).await.unwrap();
    let (client, session) = Client::found(&relay, &space).await;
    drop((client, session));
    let (log_id, _) = whole_log(&relay, &space).await;
    let mut acked_total = 0;
    for round in 0..ROUNDS {
        let (client, session) = Client::join(&relay, &space, &space.founder).await;
        let mut stream = space.stream(&space.founder, u8::try_from(round).unwrap());
        let frames = (0..2_000).map(|_| stream.seal_many(2)).collect();
        let pushing = tokio::spawn(push_until_gone(client, session, frames));
        // Some acknowledgements are out, and some frames are on their way.
        let enough = 20 * (round as u64 + 1);
        let stored = crate::fixture::metric(&relay, "envelopes_stored_total").await;
        while crate::fixture::metric(&relay, "envelopes_stored_total").await < stored + enough {}
        drop(relay);
        let acked = pushing.await.unwrap();
        assert!(!acked.is_empty(), "nothing was acknowledged, so the test has shown nothing");
        assert!(acked.len() < 4_000, "everything was acknowledged before the end, so nothing was interrupted");
        acked_total += acked.len();

        relay = Server::start(local(dir.path())).await.unwrap();
        let (log, envelopes) = whole_log(&relay, &space).await;
        assert_eq!(log, log_id);
        for (pos, envelope) in acked {
            assert_eq!(envelopes[usize::try_from(pos).unwrap() - 1], envelope, "position {pos}");
        }
    }
    let (log, envelopes) = whole_log(&relay, &space).await;
    assert_eq!(log, log_id);
    assert!(envelopes.len() >= acked_total);
    relay.shutdown().await;
    assert_eq!(stats(dir.path()).await.envelopes, envelopes.len() as u64);
}

on_a_folder_only! {
    #[tokio::test]
    async fn a_backup_taken_while_serving_restores_to_a_relay_that_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::new(1);
        let relay = Server::start(local(dir.path())).await.unwrap();
        let key = relay.relay_key();
        let (mut client, session) = Client::found(&relay, &space).await;
        let mut stream = space.stream(&space.founder, 1);
        client.push(session, stream.seal_many(10)).await;
        let restored = tempfile::tempdir().unwrap();
        lifeos_sync_server::backup(dir.path(), &restored.path().join("relay.db")).unwrap();
        std::fs::copy(dir.path().join("relay.key"), restored.path().join("relay.key")).unwrap();
        let lost = stream.seal_many(5);
        client.push(session, lost.clone()).await;
        relay.shutdown().await;

        let relay = Server::start(local(restored.path())).await.unwrap();
        assert_eq!(relay.relay_key(), key);
        assert_eq!(whole_log(&relay, &space).await.1.len(), 10);
        // What the backup did not have comes back from the device.
        let (mut client, session) = Client::join(&relay, &space, &space.founder).await;
        let results = client.push(session, lost).await;
        assert!(results.iter().all(|result| result.status == PushStatus::Ok), "{results:?}");
    }
}
