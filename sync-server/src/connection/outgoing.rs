//! What waits to be written to one connection: a queue bounded in bytes and frames, and the task half that
//! empties it.
//!
//! Three kinds of frames come in. *Offered* ones (NOTIFY) are refused when the queue is full, and the reader is
//! told to PULL. *Delivered* ones (records) may use as much again, and then the connection is closed. *Replies*
//! always fit: the reading half waits for room before it takes the next request, so they are bounded by what
//! the peer asked for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, stream::SplitSink};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::limits::{Limits, ms};
use crate::server::Relay;

/// Websocket close codes (RFC 6455 §7.4.1).
pub(crate) mod close {
    /// The relay is stopping.
    pub(crate) const GOING_AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub(crate) const PROTOCOL: u16 = 1002;
    /// A limit.
    pub(crate) const POLICY: u16 = 1008;
    /// Done.
    pub(crate) const NORMAL: u16 = 1000;
}

/// The queue of one connection.
pub(crate) struct Outgoing {
    queue: Mutex<Queue>,
    /// Wakes the writing half.
    filled: Notify,
    /// Wakes whoever waits for room.
    drained: Notify,
    /// Wakes the connection when its device may not read any more.
    revoked: Notify,
    bytes_max: usize,
    frames_max: usize,
    /// Microseconds since `started` at which something was last received.
    received_us: AtomicU64,
    started: Instant,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    /// Bytes of all frames that the socket has not taken yet, the ones being written included.
    bytes: usize,
    count: usize,
    close: Option<u16>,
    /// The writing half has ended.
    dead: bool,
}

impl Outgoing {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
            revoked: Notify::new(),
            bytes_max: limits.outgoing_bytes_max,
            frames_max: limits.outgoing_frames_max,
            received_us: AtomicU64::new(0),
            started: Instant::now(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, mut queue: std::sync::MutexGuard<'_, Queue>, frame: Bytes) {
        if queue.dead || queue.close.is_some() {
            return;
        }
        queue.bytes += frame.len();
        queue.count += 1;
        queue.frames.push_back(frame);
        let first = queue.frames.len() == 1;
        drop(queue);
        if first {
            self.filled.notify_one();
        }
    }

    /// Queues the answer to something the peer asked for.
    pub(crate) fn reply(&self, frame: Bytes) {
        self.push(self.lock(), frame);
    }

    /// Queues a frame nobody asked for, if there is room.
    pub(crate) fn offer(&self, frame: Bytes) -> bool {
        let queue = self.lock();
        if queue.bytes + frame.len() > self.bytes_max || queue.count >= self.frames_max {
            return false;
        }
        self.push(queue, frame);
        true
    }

    /// Queues a frame that must not be left out; a peer that leaves no room for it is cut off.
    pub(crate) fn deliver(&self, frame: Bytes) {
        let queue = self.lock();
        if queue.bytes + frame.len() > 2 * self.bytes_max || queue.count >= 2 * self.frames_max {
            drop(queue);
            self.close(close::POLICY);
            return;
        }
        self.push(queue, frame);
    }

    /// Waits until the peer has taken enough for another answer.
    pub(crate) async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            {
                let queue = self.lock();
                if queue.dead || (queue.bytes < self.bytes_max && queue.count < self.frames_max) {
                    return;
                }
            }
            drained.await;
        }
    }

    /// After what is queued comes a close frame, and nothing else.
    pub(crate) fn close(&self, code: u16) {
        self.lock().close.get_or_insert(code);
        self.filled.notify_one();
    }

    /// The device may not read any more: close, and do not wait for a peer that does not take what is queued.
    pub(crate) fn revoke(&self) {
        self.close(close::POLICY);
        self.revoked.notify_one();
    }

    /// Waits until the device may not read any more.
    pub(crate) async fn until_revoked(&self) {
        self.revoked.notified().await;
    }

    /// Something was received: the peer is alive.
    pub(crate) fn received(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.received_us.store(elapsed, Ordering::Relaxed);
    }

    /// When something was last received.
    pub(crate) fn heard_at(&self) -> Instant {
        self.started + Duration::from_micros(self.received_us.load(Ordering::Relaxed))
    }

    fn silent_for(&self) -> Duration {
        self.heard_at().elapsed()
    }

    fn taken(&self, bytes: usize) {
        let mut queue = self.lock();
        queue.bytes -= bytes;
        queue.count -= 1;
        drop(queue);
        self.drained.notify_waiters();
    }

    /// The writing half has ended: nothing more is taken in, and nobody waits for room.
    fn end(&self) {
        let mut queue = self.lock();
        queue.dead = true;
        queue.frames = VecDeque::new();
        drop(queue);
        self.drained.notify_waiters();
    }

    /// Frames that wait, or the wish to close once there are none.
    fn take(&self, into: &mut VecDeque<Bytes>) -> Option<u16> {
        let mut queue = self.lock();
        std::mem::swap(&mut queue.frames, into);
        if into.is_empty() { queue.close } else { None }
    }
}

/// Why the writing half ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Everything queued and a close frame have been written.
    Closed,
    /// The peer did not take what was written, or said nothing for too long.
    Stalled,
    /// The socket is gone.
    Lost,
}

/// The writing half of a connection: writes what is queued, pings, and gives up on a peer that stalls.
pub(crate) async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    outgoing: Arc<Outgoing>,
    relay: Arc<Relay>,
) -> Ended {
    let ended = write_until_end(&mut sink, &outgoing, &relay.limits).await;
    if ended == Ended::Stalled {
        relay.metrics.writes_timed_out_total.increment();
    }
    outgoing.end();
    ended
}

async fn write_until_end<S: Sink<Message> + Unpin>(sink: &mut S, outgoing: &Outgoing, limits: &Limits) -> Ended {
    let mut ping = interval_at(Instant::now() + ms(limits.ping_ms), ms(limits.ping_ms));
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = VecDeque::new();
    loop {
        if let Some(code) = outgoing.take(&mut batch) {
            let close = CloseFrame { code, reason: "".into() };
            return bounded(sink.send(Message::Close(Some(close))), limits).await.err().unwrap_or(Ended::Closed);
        }
        if batch.is_empty() {
            // An idle connection keeps no buffer.
            batch = VecDeque::new();
            tokio::select! {
                () = outgoing.filled.notified() => {}
                _ = ping.tick() => {
                    if outgoing.silent_for() > ms(limits.idle_ms_max) {
                        return Ended::Stalled;
                    }
                    if let Err(ended) = bounded(sink.send(Message::Ping(Bytes::new())), limits).await {
                        return ended;
                    }
                }
            }
            continue;
        }
        if let Err(ended) = write_batch(sink, &mut batch, outgoing, limits).await {
            return ended;
        }
    }
}

/// Feeds all frames and flushes once: one system call for many small frames.
async fn write_batch<S: Sink<Message> + Unpin>(
    sink: &mut S,
    batch: &mut VecDeque<Bytes>,
    outgoing: &Outgoing,
    limits: &Limits,
) -> Result<(), Ended> {
    while let Some(frame) = batch.pop_front() {
        let bytes = frame.len();
        bounded(sink.feed(Message::Binary(frame)), limits).await?;
        outgoing.taken(bytes);
    }
    bounded(sink.flush(), limits).await
}

async fn bounded<E>(write: impl Future<Output = Result<(), E>>, limits: &Limits) -> Result<(), Ended> {
    match timeout(ms(limits.write_ms_max), write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Ended::Lost),
        Err(_) => Err(Ended::Stalled),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::sink::drain;

    use super::*;

    fn small() -> Arc<Outgoing> {
        Outgoing::new(&Limits { outgoing_bytes_max: 10, outgoing_frames_max: 3, ..Limits::default() })
    }

    #[test]
    fn offers_are_bounded_in_bytes_and_frames_but_replies_are_not() {
        let outgoing = small();
        assert!(outgoing.offer(Bytes::from_static(b"123456")));
        assert!(!outgoing.offer(Bytes::from_static(b"12345")));
        assert!(outgoing.offer(Bytes::from_static(b"1")));
        assert!(outgoing.offer(Bytes::from_static(b"1")));
        assert!(!outgoing.offer(Bytes::new()));
        outgoing.reply(Bytes::from_static(b"an answer"));
        assert_eq!(outgoing.lock().count, 4);
    }

    #[test]
    fn a_peer_that_leaves_no_room_for_records_is_closed_and_takes_nothing_more() {
        let outgoing = small();
        outgoing.deliver(Bytes::from_static(b"123456789012345"));
        assert_eq!(outgoing.lock().close, None);
        outgoing.deliver(Bytes::from_static(b"123456"));
        assert_eq!(outgoing.lock().close, Some(close::POLICY));
        outgoing.reply(Bytes::from_static(b"late"));
        assert_eq!(outgoing.lock().count, 1);
    }

    #[test]
    fn a_peer_that_leaves_no_room_for_more_records_is_closed_however_small_they_are() {
        let outgoing = small();
        (0..6).for_each(|_| outgoing.deliver(Bytes::from_static(b"1")));
        assert_eq!(outgoing.lock().close, None);
        outgoing.deliver(Bytes::from_static(b"1"));
        assert_eq!(outgoing.lock().close, Some(close::POLICY));
        assert_eq!(outgoing.lock().count, 6);
    }

    #[tokio::test]
    async fn many_small_answers_leave_no_room_either() {
        let outgoing = small();
        (0..3).for_each(|_| outgoing.reply(Bytes::from_static(b"1")));
        assert!(outgoing.room().now_or_never().is_none());
        outgoing.taken(1);
        assert!(outgoing.room().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_for_too_long_is_given_up_and_one_that_answers_is_not() {
        let limits = Limits { ping_ms: 25_000, idle_ms_max: 60_000, ..Limits::default() };
        let silent = Outgoing::new(&limits);
        let started = Instant::now();
        let writing = timeout(Duration::from_secs(3_600), write_until_end(&mut drain(), &silent, &limits)).await;
        assert_eq!(writing, Ok(Ended::Stalled));
        assert!((60..90).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());

        let lively = Outgoing::new(&limits);
        let answering = async {
            for _ in 0..60 {
                tokio::time::sleep(Duration::from_secs(59)).await;
                lively.received();
            }
        };
        let mut sink = drain();
        tokio::select! {
            ended = write_until_end(&mut sink, &lively, &limits) => panic!("{ended:?}"),
            () = answering => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_does_not_finish_ends_the_connection() {
        let limits = Limits { write_ms_max: 100, ..Limits::default() };
        assert_eq!(bounded(std::future::pending::<Result<(), ()>>(), &limits).await, Err(Ended::Stalled));
    }

    #[tokio::test]
    async fn whoever_waits_for_room_wakes_when_the_connection_ends() {
        let outgoing = small();
        outgoing.reply(Bytes::from_static(b"12345678901"));
        let waiting = tokio::spawn({
            let outgoing = Arc::clone(&outgoing);
            async move { outgoing.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        outgoing.end();
        waiting.await.unwrap();
    }
}
