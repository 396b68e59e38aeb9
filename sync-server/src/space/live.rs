//! Live readers of a space: who gets NOTIFY, in which order, and what happens to one that is too slow.
//!
//! Everything here happens under one lock, which is what makes "the page ends here" and "NOTIFY continues
//! from here" one statement without a gap.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use lifeos_sync_protocol::frame::{Cursor, ErrorCode, Frame, Item};
use lifeos_sync_protocol::ids::{Roll, SignPk};
use lifeos_sync_protocol::limits::{FRAME_ENVELOPES_MAX, FRAME_RECORDS_MAX};
use lifeos_sync_protocol::record::Record;
use tokio::time::Instant;

use super::View;
use crate::clock::Clock;
use crate::connection::outgoing::Outgoing;
use crate::metrics::Metrics;

/// Bytes of envelopes after which a NOTIFY frame ends at the next verified end.
const NOTIFY_BYTES: usize = 64 * 1024;

/// Bytes of records after which a REC frame is complete.
const FRAME_RECORD_BYTES: usize = 256 * 1024;

/// One envelope that is durable and not yet known to live readers.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) item: Item,
    /// Rolling hash after it.
    pub(crate) roll: Roll,
    /// Last of a run: a frame may end here.
    pub(crate) end: bool,
}

/// Names a reader of a space.
pub(crate) type ReaderId = u64;

/// An authenticated session of the space.
struct Reader {
    outgoing: Arc<Outgoing>,
    session: u32,
    device: SignPk,
    /// Gets records.
    opened: bool,
    /// Gets NOTIFY; false before its first complete PULL, and after it fell behind.
    following: bool,
    /// Where the log ended when the first NOTIFY was queued after which nothing was heard of it; when that was.
    unheard: Option<(u64, Instant)>,
}

/// The published end of a log and its readers.
pub(crate) struct Live {
    end: Cursor,
    readers: BTreeMap<ReaderId, Reader>,
    next_reader: ReaderId,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl Live {
    pub(crate) fn new(end: Cursor, metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self { end, readers: BTreeMap::new(), next_reader: 0, metrics, clock }
    }

    /// Where the log ends for readers: everything before is durable and has been offered to live readers.
    pub(crate) const fn end(&self) -> Cursor {
        self.end
    }

    /// A session begins: from now on it ends when its device is removed.
    pub(crate) fn enter(&mut self, outgoing: Arc<Outgoing>, session: u32, device: SignPk) -> ReaderId {
        self.next_reader += 1;
        self.readers.insert(
            self.next_reader,
            Reader { outgoing, session, device, opened: false, following: false, unheard: None },
        );
        self.next_reader
    }

    /// A session has opened the space: from now on it gets records live.
    pub(crate) fn open(&mut self, reader: ReaderId) {
        if let Some(reader) = self.readers.get_mut(&reader) {
            reader.opened = true;
        }
    }

    /// A session ends. Answers how much of the log its device surely has heard of, if it followed: what was queued after
    /// its last sign of life may never have arrived.
    pub(crate) fn leave(&mut self, reader: ReaderId) -> Option<u64> {
        let reader = self.readers.remove(&reader)?;
        let is_unheard = |since: Instant| reader.outgoing.heard_at() < since;
        let sure = reader.unheard.filter(|(_, since)| is_unheard(*since)).map_or(self.end.pos, |(pos, _)| pos);
        reader.following.then_some(sure)
    }

    /// Whether a device has a session.
    pub(crate) fn has(&self, device: &SignPk) -> bool {
        self.readers.values().any(|reader| reader.device == *device)
    }

    /// The devices that get what is new.
    pub(crate) fn following(&self) -> BTreeSet<SignPk> {
        self.readers.values().filter(|reader| reader.following).map(|reader| reader.device).collect()
    }

    /// A page has been read up to `next`. If that is still the end, the reader follows from there; the caller
    /// must queue the page before it lets go of the lock. Answers whether it follows.
    pub(crate) fn follow(&mut self, reader: ReaderId, next: u64) -> bool {
        let at_end = next == self.end.pos;
        if let Some(reader) = self.readers.get_mut(&reader) {
            reader.following = at_end;
        }
        at_end
    }

    /// Moves the end and queues NOTIFY frames.
    pub(crate) fn publish(&mut self, items: Vec<Published>) {
        let Some(last) = items.last() else { return };
        self.end.pos = last.item.pos + 1;
        self.end.roll = last.roll;
        let (end, now) = (items.first().map_or(self.end.pos, |first| first.item.pos), Instant::now());
        for reader in self.readers.values_mut().filter(|reader| reader.following) {
            if reader.unheard.is_none_or(|(_, since)| reader.outgoing.heard_at() >= since) {
                reader.unheard = Some((end, now));
            }
        }
        if self.readers.values().any(|reader| reader.following) {
            split(items).into_iter().for_each(|frame| self.notify(frame));
        }
    }

    /// Moves the end without telling what lies before it: who follows is behind now.
    pub(crate) fn jump(&mut self, pos: u64, roll: Roll) {
        (self.end.pos, self.end.roll) = (pos, roll);
        for reader in self.readers.values_mut().filter(|reader| reader.following) {
            reader.following = false;
            self.metrics.readers_behind_total.increment();
            reader.outgoing.reply(
                Frame::Notify { session: reader.session, items: Vec::new(), roll, behind: true }.encode(0).into(),
            );
        }
    }

    fn notify(&mut self, (items, roll): (Vec<Item>, Roll)) {
        let mut frame = Encoded::new(items, roll);
        for reader in self.readers.values_mut().filter(|reader| reader.following) {
            if reader.outgoing.offer(frame.for_session(reader.session)) {
                self.metrics.notify_frames_total.increment();
            } else {
                reader.following = false;
                self.metrics.readers_behind_total.increment();
                let behind =
                    Frame::Notify { session: reader.session, items: Vec::new(), roll: self.end.roll, behind: true };
                reader.outgoing.reply(behind.encode(0).into());
            }
        }
    }

    /// Offers a presence message to everybody who follows but its sender.
    pub(crate) fn forward(&mut self, envelope: &[u8], from: ReaderId) {
        for (_, reader) in self.readers.iter().filter(|(id, reader)| reader.following && **id != from) {
            let frame = Frame::Ephemeral { session: reader.session, envelope: envelope.to_vec() };
            reader.outgoing.offer(frame.encode(0).into());
        }
    }

    /// Offers a receipt that is durable to everybody who follows; whoever misses it gets it with the next OPEN.
    pub(crate) fn publish_receipt(&self, envelope: &[u8], from: &SignPk) {
        for reader in self.readers.values().filter(|reader| reader.following && reader.device != *from) {
            let frame = Frame::Ephemeral { session: reader.session, envelope: envelope.to_vec() };
            reader.outgoing.offer(frame.encode(0).into());
        }
    }

    /// Closes the sessions of devices that may not read any more.
    pub(crate) fn recheck(&mut self, view: &View) {
        let now_ms = self.clock.now_ms();
        let gone = |device: &SignPk| !view.membership.may_read(device) && !view.may_stay(device, now_ms);
        for reader in self.readers.values().filter(|reader| gone(&reader.device)) {
            let removed = Frame::Error {
                code: ErrorCode::Removed,
                fatal: true,
                retry_after_ms: 0,
                message: "this device was removed from the space".to_owned(),
            };
            reader.outgoing.reply(removed.encode(0).into());
            reader.outgoing.revoke();
        }
    }

    /// Sends records to every session of the space but the one they came from. A session that cannot take them
    /// is closed: unlike envelopes, records are not asked for again.
    pub(crate) fn publish_records(&mut self, records: &[Record], from: Option<ReaderId>) {
        let records: Vec<&Record> = records.iter().collect();
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fit_frame(rest));
            rest = later;
            for (_, reader) in self.readers.iter().filter(|(id, reader)| reader.opened && Some(**id) != from) {
                let records = now.iter().map(|record| record.bytes().to_vec()).collect();
                let frame = Frame::Rec { session: reader.session, records, more: false };
                reader.outgoing.deliver(frame.encode(0).into());
            }
        }
    }
}

/// How many of these records go into one frame; at least one if there is one.
pub(crate) fn fit_frame<R: Borrow<Record>>(records: &[R]) -> usize {
    let mut bytes = 0;
    let fitting = records.iter().take(FRAME_RECORDS_MAX).take_while(|record| {
        let record: &Record = (*record).borrow();
        let fits = bytes == 0 || bytes + record.bytes().len() <= FRAME_RECORD_BYTES;
        bytes += record.bytes().len();
        fits
    });
    fitting.count()
}

/// One NOTIFY, encoded once per session number. Sessions are numbered from 1 on every connection, so nearly all
/// readers share one encoding.
struct Encoded {
    items: Vec<Item>,
    roll: Roll,
    frames: BTreeMap<u32, Bytes>,
}

impl Encoded {
    const fn new(items: Vec<Item>, roll: Roll) -> Self {
        Self { items, roll, frames: BTreeMap::new() }
    }

    fn for_session(&mut self, session: u32) -> Bytes {
        if let Some(frame) = self.frames.get(&session) {
            return frame.clone();
        }
        let frame = Frame::Notify { session, items: std::mem::take(&mut self.items), roll: self.roll, behind: false };
        let bytes = Bytes::from(frame.encode(0));
        if let Frame::Notify { items, .. } = frame {
            self.items = items;
        }
        self.frames.insert(session, bytes.clone());
        bytes
    }
}

/// Cuts a commit's items into frames that end at verified ends.
fn split(items: Vec<Published>) -> Vec<(Vec<Item>, Roll)> {
    let mut frames = Vec::new();
    let mut frame: Vec<Item> = Vec::new();
    let mut bytes = 0;
    let mut ends = (0, Roll::ZERO);
    for published in items {
        if frame.len() >= FRAME_ENVELOPES_MAX && ends.0 > 0 {
            let rest = frame.split_off(ends.0);
            frames.push((std::mem::replace(&mut frame, rest), ends.1));
            bytes = frame.iter().map(|item| item.envelope.len()).sum();
            ends.0 = 0;
        }
        bytes += published.item.envelope.len();
        frame.push(published.item);
        if published.end {
            ends = (frame.len(), published.roll);
            if bytes >= NOTIFY_BYTES {
                frames.push((std::mem::take(&mut frame), ends.1));
                bytes = 0;
                ends.0 = 0;
            }
        }
    }
    if !frame.is_empty() {
        frames.push((frame, ends.1));
    }
    frames
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::LogId;
    use proptest::prelude::*;

    use super::*;
    use crate::limits::Limits;

    fn published(pos: u64) -> Vec<Published> {
        vec![Published { item: Item { pos, envelope: vec![1; 300] }, roll: Roll([1; 16]), end: true }]
    }

    #[test]
    fn who_has_not_reached_the_end_does_not_follow_yet() {
        let end = Cursor { log_id: LogId::ZERO, pos: 1, roll: Roll::ZERO };
        let metrics = Arc::new(Metrics::default());
        let mut live = Live::new(end, Arc::clone(&metrics), Clock::system());
        let outgoing = Outgoing::new(&Limits::default());
        let reader = live.enter(Arc::clone(&outgoing), 1, SignPk::ZERO);
        // The page it was answered ended at 1, and then the log grew: NOTIFY from 2 on would leave out 1.
        live.publish(published(1));
        assert!(!live.follow(reader, 1));
        live.publish(published(2));
        assert_eq!(metrics.notify_frames_total.value(), 0);
        assert!(live.follow(reader, 3));
        live.publish(published(3));
        assert_eq!(metrics.notify_frames_total.value(), 1);
        live.leave(reader);
        live.publish(published(4));
        assert_eq!(metrics.notify_frames_total.value(), 1);
    }

    #[test]
    fn a_reader_that_is_too_slow_is_told_once_and_follows_again_when_it_has_caught_up() {
        let end = Cursor { log_id: LogId::ZERO, pos: 1, roll: Roll::ZERO };
        let metrics = Arc::new(Metrics::default());
        let mut live = Live::new(end, Arc::clone(&metrics), Clock::system());
        let outgoing = Outgoing::new(&Limits { outgoing_bytes_max: 800, ..Limits::default() });
        let reader = live.enter(outgoing, 1, SignPk::ZERO);
        assert!(live.follow(reader, 1));
        (1..=10).for_each(|pos| live.publish(published(pos)));
        assert_eq!((metrics.notify_frames_total.value(), metrics.readers_behind_total.value()), (2, 1));
        assert!(live.follow(reader, 11));
    }

    proptest! {
        #[test]
        fn frames_keep_the_order_end_at_ends_and_never_hold_more_than_the_protocol_allows(
            runs in prop::collection::vec((1_usize..=FRAME_ENVELOPES_MAX, 1_usize..4_000), 1..40),
        ) {
            let mut items = Vec::new();
            let mut ends = std::collections::BTreeSet::new();
            for (length, size) in runs {
                for index in 0..length {
                    let pos = items.len() as u64 + 1;
                    let end = index + 1 == length;
                    if end {
                        ends.insert(pos);
                    }
                    let roll = Roll([u8::try_from(pos % 251).unwrap(); 16]);
                    items.push(Published { item: Item { pos, envelope: vec![0; size] }, roll, end });
                }
            }
            let count = items.len() as u64;
            let mut next = 1;
            for (frame, roll) in split(items) {
                prop_assert!(frame.len() <= FRAME_ENVELOPES_MAX);
                for item in &frame {
                    prop_assert_eq!(item.pos, next);
                    next += 1;
                }
                let last = frame.last().unwrap().pos;
                prop_assert!(ends.contains(&last));
                prop_assert_eq!(roll, Roll([u8::try_from(last % 251).unwrap(); 16]));
            }
            prop_assert_eq!(next, count + 1);
        }
    }
}
