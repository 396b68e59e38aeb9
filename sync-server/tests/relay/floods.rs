//! Messages in pieces, pings without end, sockets that say nothing: bounded memory, and nobody else waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use lifeos_sync_protocol::frame::{ErrorCode, Frame, PushStatus};
use lifeos_sync_protocol::limits::FRAME_BYTES_MAX;
use lifeos_sync_server::Limits;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as Piece;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::fixture::{Client, Space, patiently, relay, relay_with};

const PINGS: u32 = 10_000;

/// A piece of a message, the first or a later one.
fn piece(bytes: &[u8], first: bool, last: bool) -> Message {
    let data = if first { Data::Binary } else { Data::Continue };
    Message::Frame(Piece::message(bytes.to_vec(), OpCode::Data(data), last))
}

/// Sends pieces of one message that never ends; answers how many the relay's side took until it ended the connection.
async fn endless_message(client: &mut Client, bytes: &[u8], pieces_max: usize) -> usize {
    for sent in 0..pieces_max {
        let feeding = client.socket.feed(piece(bytes, sent == 0, false));
        if patiently("room to send", feeding).await.is_err() {
            return sent;
        }
    }
    pieces_max
}

#[tokio::test]
async fn a_message_in_pieces_is_taken_as_if_it_were_whole() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let envelopes = vec![space.stream(&space.founder, 1).seal_sized(20_000)];
    let push = Frame::Push { session, envelopes }.encode(77);
    let last = push.len().div_ceil(100) - 1;
    for (at, bytes) in push.chunks(100).enumerate() {
        client.socket.feed(piece(bytes, at == 0, at == last)).await.unwrap();
        // Control messages may come between the pieces (RFC 6455 §5.4), and empty pieces, too.
        if at % 10 == 0 && at < last {
            client.socket.feed(Message::Ping(vec![1; 100].into())).await.unwrap();
            client.socket.feed(piece(&[], false, false)).await.unwrap();
        }
    }
    client.socket.flush().await.unwrap();
    let Frame::PushAck { results, .. } = client.answer(77).await else { panic!("no acknowledgement") };
    assert_eq!((results[0].status, results[0].pos), (PushStatus::Ok, Some(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_pieces_that_never_ends_is_cut_off_at_the_limit() {
    const PIECE_BYTES: usize = 64 * 1024;
    // What sockets and buffers between the two may hold besides.
    const ON_THE_WAY_BYTES: usize = 24 * 1024 * 1024;
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut honest, session) = Client::found(&relay, &space).await;
    let (mut known, _) = Client::join(&relay, &space, &space.founder).await;
    let mut unknown = Client::connect(&relay).await;
    for client in [&mut known, &mut unknown] {
        let most = (FRAME_BYTES_MAX + ON_THE_WAY_BYTES) / PIECE_BYTES;
        assert!(endless_message(client, &[0x20; PIECE_BYTES], most).await < most, "it is taken in without end");
    }
    honest.open(session, None).await;
}

/// Pieces without content never reach the limit of a message; what they cost on the wire counts all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_empty_pieces_is_cut_off_too() {
    let limits = Limits { reading_bytes_per_address_max: 512 * 1024, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let space = Space::new(1);
    let (mut honest, session) = Client::found(&relay, &space).await;
    let (mut hostile, _) = Client::join(&relay, &space, &space.founder).await;
    const PIECES: usize = 4_000_000;
    assert!(endless_message(&mut hostile, &[], PIECES).await < PIECES, "it is taken in without end");
    drop(hostile);
    honest.open(session, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_pings_hold_up_nobody_else_and_use_up_no_budget() {
    // Far less than the pings are together: what they cost is given back.
    let limits = Limits { reading_bytes_per_address_max: 512 * 1024, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let space = Space::new(1);
    let (mut honest, session) = Client::found(&relay, &space).await;
    let (mut flooding, _) = Client::join(&relay, &space, &space.founder).await;
    let (mut asking, _) = Client::join(&relay, &space, &space.founder).await;
    let done = Arc::new(AtomicBool::new(false));
    let others_done = Arc::clone(&done);
    // Pings of the websocket, for as long as the honest one works; it reads none of the answers.
    let flood = tokio::spawn(async move {
        let mut sent = 0;
        while sent < PINGS || !others_done.load(Ordering::Relaxed) {
            flooding.socket.send(Message::Ping(vec![7; 125].into())).await.expect("the relay goes on reading");
            sent += 1;
        }
        (flooding, sent)
    });
    // Pings of the protocol: every one is answered, in order, although the first answer is read after the last.
    let asked = asking.send_together((0..PINGS).map(|payload| Frame::Ping { payload: payload.into() })).await;
    let mut stream = space.stream(&space.founder, 1);
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let started = Instant::now();
        assert_eq!(honest.push(session, stream.seal_many(1)).await[0].status, PushStatus::Ok);
        slowest = slowest.max(started.elapsed());
    }
    done.store(true, Ordering::Relaxed);
    let (mut flooding, sent) = patiently("the end of the flood", flood).await.unwrap();
    println!("{sent} pings beside 50 pushes; the slowest push took {slowest:?}");
    for (request, payload) in asked.into_iter().zip(0..) {
        assert_eq!(asking.next().await, Some((request, Frame::Pong { payload })));
    }
    // Whoever floods is not cut off either: nothing of it was kept.
    assert_eq!(flooding.ask(&Frame::Ping { payload: 4 }).await, Frame::Pong { payload: 4 });
    drop(flooding);
    let mut stranger = Client::connect(&relay).await;
    // Before anybody is known, as many bytes without a frame among them are too many.
    for _ in 0..PINGS {
        if stranger.socket.send(Message::Ping(vec![7; 125].into())).await.is_err() {
            break;
        }
    }
    let words = stranger.last_words().await;
    assert!(matches!(words, Some(ErrorCode::TooLarge) | None), "{words:?}");
}
