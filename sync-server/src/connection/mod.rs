//! One websocket connection: a reading half that turns frames into work, a writing half that empties a bounded
//! queue. Neither waits for the other to finish something; the reading half only waits for *room* in the queue
//! before it takes the next request, and the writing half gives up on a peer that makes no room.
//!
//! ```text
//! HELLO → CHALLENGE → AUTH → WELCOME      handshake   (mailboxes and LIST need no AUTH)
//! OPEN, REC, PUSH, PULL, …                session, records, push
//! ```

mod handshake;
pub(crate) mod metered;
pub(crate) mod outgoing;
mod parked;
mod push;
mod records;
mod session;
#[cfg(test)]
mod tests;
mod wakeup;
mod want;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use lifeos_sync_protocol::frame::{ErrorCode, Frame, FrameError};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::clock::Clock;
use crate::limits::ms;
use crate::rate::Bucket;
use crate::server::{Peer, Phase, Relay, until_not_running, until_stopped};
use crate::store::StoreError;
use handshake::Handshake;
use outgoing::{Outgoing, close};
use push::Pushed;
use session::Session;

/// How long a removed device is given to take what was queued for it, and why its connection ends.
const REVOKED_PATIENCE: Duration = Duration::from_millis(500);
/// How often the wall clock is asked whether a guest's invitation is over.
const GUESTS_LOOK_MS: u64 = 60_000;
/// Head of a control message of a client: two bytes and the mask (RFC 6455 §5.2).
const CONTROL_HEAD_BYTES: usize = 6;
/// How long a closed connection waits for the peer to close its side.
const LINGER: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub(crate) async fn serve(socket: WebSocket, relay: Arc<Relay>, peer: Peer) {
    let (sink, mut stream) = socket.split();
    let outgoing = Outgoing::new(&relay.limits);
    let mut stopped = relay.phase.clone();
    let write_patience = ms(relay.limits.write_ms_max);
    let writing = outgoing::write(sink, Arc::clone(&outgoing), Arc::clone(&relay));
    let mut connection = Connection::new(relay, peer, Arc::clone(&outgoing));
    tokio::pin!(writing);
    tokio::select! {
        ended = &mut writing => tracing::debug!(?ended, "connection ended"),
        code = connection.read(&mut stream) => {
            outgoing.close(code);
            // What was acknowledged is worth a moment; a peer that does not take it is not worth more.
            let _ = timeout(write_patience, writing).await;
            // A socket that is closed with unread bytes in it is reset, and the last words may be lost with it.
            let _ = timeout(LINGER, async { while let Some(Ok(_)) = stream.next().await {} }).await;
        }
        () = outgoing.until_revoked() => {
            drop(timeout(REVOKED_PATIENCE, writing).await);
        }
        () = until_stopped(&mut stopped) => {}
    }
}

/// The reading half's state.
struct Connection {
    relay: Arc<Relay>,
    peer: Peer,
    outgoing: Arc<Outgoing>,
    handshake: Handshake,
    /// By session number.
    sessions: BTreeMap<u32, Session>,
    /// When the connection ends if it has not authenticated.
    deadline: Option<Instant>,
    started: Instant,
    /// KiB of PUSH frames that may still be in flight.
    window: Arc<Semaphore>,
    /// Records it may still bring now.
    records_bucket: Bucket,
    /// Records it brought that are never valid here.
    records_refused: usize,
    /// Mailbox messages that are waited for.
    waits: JoinSet<()>,
    /// What came behind a PUSH and is not part of it.
    ahead: Option<Received>,
}

/// A request that is not done.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    code: ErrorCode,
    /// Closes the connection.
    fatal: bool,
    retry_after_ms: u32,
    message: &'static str,
}

impl Refusal {
    const fn fatal(code: ErrorCode, message: &'static str) -> Self {
        Self { code, fatal: true, retry_after_ms: 0, message }
    }

    const fn mild(code: ErrorCode, message: &'static str) -> Self {
        Self { code, fatal: false, retry_after_ms: 0, message }
    }

    fn frame(self, request: u32) -> Bytes {
        let Self { code, fatal, retry_after_ms, message } = self;
        Frame::Error { code, fatal, retry_after_ms, message: message.to_owned() }.encode(request).into()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let message = match error {
            StoreError::Unavailable => "the relay cannot store now; what it holds can still be read",
            StoreError::Stopped => "the relay is stopping",
            StoreError::Corrupt => "the relay's copy of this space is damaged; its operator has to restore a backup",
            StoreError::Pruned => "the log begins later by now: compare streams with HAVE, and take the checkpoint",
            StoreError::Database => "a fault inside the relay",
        };
        let retry_after_ms = if error == StoreError::Pruned { 0 } else { 5_000 };
        Self { code: error.into(), fatal: false, retry_after_ms, message }
    }
}

impl Connection {
    fn new(relay: Arc<Relay>, peer: Peer, outgoing: Arc<Outgoing>) -> Self {
        let now = Instant::now();
        Self {
            deadline: Some(now + ms(relay.limits.handshake_ms_max)),
            window: Arc::new(Semaphore::new(relay.limits.push_bytes_in_flight_max / 1024)),
            relay,
            peer,
            outgoing,
            handshake: Handshake::default(),
            sessions: BTreeMap::new(),
            started: now,
            records_bucket: Bucket::full(now),
            records_refused: 0,
            waits: JoinSet::new(),
            ahead: None,
        }
    }

    /// Reads until the connection should be closed, and answers the close code.
    async fn read(&mut self, stream: &mut SplitStream<WebSocket>) -> u16 {
        let mut phase = self.relay.phase.clone();
        loop {
            let message = match self.ahead.take() {
                Some(message) => message,
                None => tokio::select! {
                    message = receive(stream, self.deadline) => message,
                    () = until_guests_go(self.guests_until_ms(), &self.relay.config.clock) => {
                        self.outgoing.reply(INVITATION_OVER.frame(0));
                        return close::POLICY;
                    }
                    () = until_not_running(&mut phase) => return self.go_away().await,
                },
            };
            let frame = match message {
                Received::Frame(bytes) => bytes,
                Received::Control { bytes } => {
                    self.outgoing.received();
                    self.peer.budget.give_back(bytes);
                    continue;
                }
                Received::Goodbye => {
                    // It was there until now: what it was sent before, it has.
                    self.outgoing.received();
                    return close::NORMAL;
                }
                Received::Closed => return close::NORMAL,
                Received::Bad(refusal) => {
                    self.relay.metrics.frames_bad_total.increment();
                    self.outgoing.reply(refusal.frame(0));
                    return close::PROTOCOL;
                }
                Received::Late => {
                    self.outgoing.reply(Refusal::fatal(ErrorCode::AuthFailed, "no AUTH in time").frame(0));
                    return close::POLICY;
                }
            };
            self.outgoing.received();
            self.relay.metrics.frames_received_total.increment();
            if let Some(code) = self.take(frame, stream, &mut phase).await {
                return code;
            }
        }
    }

    /// Takes one frame; answers a close code when it ends the connection.
    async fn take(
        &mut self,
        bytes: Bytes,
        stream: &mut SplitStream<WebSocket>,
        phase: &mut watch::Receiver<Phase>,
    ) -> Option<u16> {
        // Before it is decoded: a frame that waits is in memory once.
        tokio::select! {
            () = self.outgoing.room() => {}
            () = until_not_running(phase) => return Some(self.go_away().await),
        }
        let (request, frame) = match Frame::decode(&bytes) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.relay.metrics.frames_bad_total.increment();
                self.outgoing.reply(undecodable(&error).frame(0));
                return Some(close::PROTOCOL);
            }
        };
        let done = self.dispatch(request, frame, bytes, stream).await;
        self.peer.budget.release();
        match done {
            Ok(()) => {
                self.peer.budget.refill();
                None
            }
            Err(refusal) => {
                tracing::debug!(code = ?refusal.code, fatal = refusal.fatal, "refused");
                self.outgoing.reply(refusal.frame(request));
                refusal.fatal.then_some(close::POLICY)
            }
        }
    }

    async fn dispatch(
        &mut self,
        request: u32,
        frame: Frame,
        bytes: Bytes,
        stream: &mut SplitStream<WebSocket>,
    ) -> Result<(), Refusal> {
        match frame {
            // The only frame that comes often; the others are boxed so that an idle connection stays small.
            Frame::Push { session, envelopes } => {
                let pushed = Pushed::new(request, session, envelopes, bytes.len());
                drop(bytes);
                self.push(pushed, stream).await
            }
            Frame::Ping { payload } => {
                self.handshake.greeted()?;
                self.reply(request, &Frame::Pong { payload });
                Ok(())
            }
            Frame::Pong { .. } => Ok(()),
            Frame::Hello { .. } | Frame::Auth { .. } | Frame::List { .. } => {
                Box::pin(self.handshake(request, frame, bytes)).await
            }
            Frame::RdvCreate { .. } | Frame::RdvPut { .. } | Frame::RdvGet { .. } | Frame::RdvDrop { .. } => {
                self.rendezvous(request, frame)
            }
            _ => {
                drop(bytes);
                Box::pin(self.in_session(request, frame)).await
            }
        }
    }

    fn reply(&self, request: u32, frame: &Frame) {
        self.outgoing.reply(frame.encode(request).into());
    }

    /// The relay is stopping: acknowledge what is in flight, say so, and close.
    async fn go_away(&self) -> u16 {
        let all = u32::try_from(self.relay.limits.push_bytes_in_flight_max / 1024).unwrap_or(u32::MAX);
        let _ = timeout(ms(self.relay.limits.shutdown_ms_max / 2), self.window.acquire_many(all)).await;
        let mut refusal = Refusal::fatal(ErrorCode::GoingAway, "the relay is stopping; reconnect later");
        // Spread over some seconds, so that not everybody returns at once.
        refusal.retry_after_ms = 500 + self.handshake.jitter() * 15;
        self.outgoing.reply(refusal.frame(0));
        close::GOING_AWAY
    }
}

const INVITATION_OVER: Refusal =
    Refusal::fatal(ErrorCode::Removed, "the invitation is over: ask whoever sent it for another");

/// Ends when the wall clock reaches `until_ms` (UTC), which is looked at anew now and then because it may be set.
async fn until_guests_go(until_ms: Option<u64>, clock: &Clock) {
    let Some(until_ms) = until_ms else { return std::future::pending().await };
    loop {
        let left_ms = until_ms.saturating_sub(clock.now_ms());
        if left_ms == 0 {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(ms(left_ms.min(GUESTS_LOOK_MS))) => {}
            () = clock.until_moved() => {}
        }
    }
}

/// One websocket message, or its absence.
enum Received {
    Frame(Bytes),
    /// A ping or pong, with its size on the wire.
    Control {
        bytes: usize,
    },
    /// The peer says that it goes.
    Goodbye,
    Closed,
    Bad(Refusal),
    Late,
}

async fn receive(stream: &mut SplitStream<WebSocket>, deadline: Option<Instant>) -> Received {
    let message = match deadline {
        Some(deadline) => match timeout_at(deadline, stream.next()).await {
            Ok(message) => message,
            Err(_) => return Received::Late,
        },
        None => stream.next().await,
    };
    received(message)
}

/// What has arrived already, if anything has.
async fn receive_ready(stream: &mut SplitStream<WebSocket>) -> Option<Received> {
    match poll_fn(|context| Poll::Ready(stream.poll_next_unpin(context))).await {
        Poll::Ready(message) => Some(received(message)),
        Poll::Pending => None,
    }
}

fn received(message: Option<Result<Message, axum::Error>>) -> Received {
    match message {
        Some(Ok(Message::Binary(bytes))) => Received::Frame(bytes),
        Some(Ok(Message::Ping(payload) | Message::Pong(payload))) => {
            Received::Control { bytes: CONTROL_HEAD_BYTES + payload.len() }
        }
        Some(Ok(Message::Text(_))) => Received::Bad(Refusal::fatal(ErrorCode::BadFrame, "frames are binary messages")),
        Some(Ok(Message::Close(_))) => Received::Goodbye,
        None => Received::Closed,
        Some(Err(error)) => Received::Bad(unreadable(&error)),
    }
}

/// The websocket layer gave up on the peer. Its error type is not public here, only its text.
fn unreadable(error: &axum::Error) -> Refusal {
    let text = error.to_string();
    tracing::debug!(error = text, "connection cannot be read");
    if text.contains(metered::READING_FULL) {
        let busy = Refusal::fatal(ErrorCode::Unavailable, "the relay reads as much as it can now; reconnect later");
        Refusal { retry_after_ms: 5_000, ..busy }
    } else if text.contains("too long") || text.contains("too many bytes") {
        Refusal::fatal(ErrorCode::TooLarge, "message is larger than the limit")
    } else {
        Refusal::fatal(ErrorCode::BadFrame, "not a websocket message")
    }
}

fn undecodable(error: &FrameError) -> Refusal {
    tracing::debug!(%error, "frame cannot be decoded");
    match error {
        FrameError::TooLarge { .. } => Refusal::fatal(ErrorCode::TooLarge, "frame is larger than the limit"),
        FrameError::UnknownType(_) => Refusal::fatal(ErrorCode::BadFrame, "unknown frame type"),
        _ => Refusal::fatal(ErrorCode::BadFrame, "malformed frame"),
    }
}
