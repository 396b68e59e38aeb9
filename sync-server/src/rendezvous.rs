//! Rendezvous mailboxes: a few small messages, for a few minutes, between two devices that do not share a space
//! yet. In memory only; the messages are sealed or public keys, and the relay looks at neither.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lifeos_sync_protocol::ids::RdvId;
use lifeos_sync_protocol::limits::{RDV_MESSAGE_BYTES_MAX, RDV_MESSAGES_MAX, RDV_TTL_S_MAX};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::limits::Limits;
use crate::metrics::Metrics;

/// A request to a mailbox is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No such mailbox, or not any more.
    NoMailbox,
    /// It exists already, it is full, or a limit is reached.
    Limit,
    /// The message is larger than a mailbox takes.
    TooLarge,
}

/// All mailboxes.
pub(crate) struct Mailboxes {
    boxes: Mutex<HashMap<RdvId, Mailbox>>,
    count_max: usize,
    per_address_max: usize,
    metrics: Arc<Metrics>,
}

struct Mailbox {
    owner: IpAddr,
    expires: Instant,
    messages: Vec<Bytes>,
    /// Wakes those that wait for a message, and tells them when the mailbox is gone.
    changed: Arc<Notify>,
}

impl Mailboxes {
    pub(crate) fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            boxes: Mutex::default(),
            count_max: limits.mailboxes_max,
            per_address_max: limits.mailboxes_per_address_max,
            metrics,
        }
    }

    /// Makes a mailbox that lives `ttl_s` seconds, at most the protocol's limit.
    pub(crate) fn create(&self, id: RdvId, ttl_s: u32, owner: IpAddr) -> Result<(), Refused> {
        let now = Instant::now();
        self.with(|boxes| {
            boxes.retain(|_, mailbox| mailbox.is_open(now));
            let owned = boxes.values().filter(|mailbox| mailbox.owner == owner).count();
            if boxes.len() >= self.count_max || owned >= self.per_address_max || boxes.contains_key(&id) {
                return Err(Refused::Limit);
            }
            let expires = now + Duration::from_secs(ttl_s.clamp(1, RDV_TTL_S_MAX).into());
            boxes.insert(id, Mailbox { owner, expires, messages: Vec::new(), changed: Arc::default() });
            Ok(())
        })
    }

    /// Appends a message and answers its index. A message that is there already is not appended again: whoever puts
    /// it once more has lost the answer.
    pub(crate) fn put(&self, id: &RdvId, message: Vec<u8>) -> Result<u32, Refused> {
        if message.len() > RDV_MESSAGE_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        self.with(|boxes| {
            let mailbox = open(boxes, id)?;
            if let Some(index) = mailbox.messages.iter().position(|held| *held == message) {
                return Ok(u32::try_from(index).unwrap_or(u32::MAX));
            }
            if mailbox.messages.len() >= RDV_MESSAGES_MAX {
                return Err(Refused::Limit);
            }
            mailbox.messages.push(message.into());
            mailbox.changed.notify_waiters();
            Ok(u32::try_from(mailbox.messages.len() - 1).unwrap_or(u32::MAX))
        })
    }

    /// Waits for message `index` until it is there or the mailbox is gone.
    pub(crate) async fn get(&self, id: &RdvId, index: u32) -> Result<Bytes, Refused> {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        loop {
            let (changed, expires) =
                self.with(|boxes| open(boxes, id).map(|mailbox| (Arc::clone(&mailbox.changed), mailbox.expires)))?;
            let changed = changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a message cannot slip between.
            changed.as_mut().enable();
            let found = self.with(|boxes| open(boxes, id).map(|mailbox| mailbox.messages.get(index).cloned()))?;
            if let Some(message) = found {
                return Ok(message);
            }
            let _ = timeout_at(expires, changed).await;
        }
    }

    /// Removes a mailbox.
    pub(crate) fn remove(&self, id: &RdvId) -> Result<(), Refused> {
        self.with(|boxes| {
            let mailbox = boxes.remove(id).ok_or(Refused::NoMailbox)?;
            mailbox.changed.notify_waiters();
            Ok(())
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<RdvId, Mailbox>) -> T) -> T {
        let mut boxes = self.boxes.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut boxes);
        self.metrics.mailboxes_open.set(boxes.len() as u64);
        result
    }
}

impl Mailbox {
    fn is_open(&self, now: Instant) -> bool {
        now < self.expires
    }
}

fn open<'a>(boxes: &'a mut HashMap<RdvId, Mailbox>, id: &RdvId) -> Result<&'a mut Mailbox, Refused> {
    boxes.get_mut(id).filter(|mailbox| mailbox.is_open(Instant::now())).ok_or(Refused::NoMailbox)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const MAILBOX: RdvId = RdvId([7; 16]);

    fn mailboxes() -> Mailboxes {
        let limits = Limits { mailboxes_max: 3, mailboxes_per_address_max: 2, ..Limits::default() };
        Mailboxes::new(&limits, Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_wakes_who_waits_for_it() {
        let mailboxes = Arc::new(mailboxes());
        mailboxes.create(MAILBOX, 60, HERE).unwrap();
        let waiting = tokio::spawn({
            let mailboxes = Arc::clone(&mailboxes);
            async move { mailboxes.get(&MAILBOX, 1).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(mailboxes.put(&MAILBOX, vec![1]), Ok(0));
        assert_eq!(mailboxes.put(&MAILBOX, vec![2]), Ok(1));
        assert_eq!(waiting.await.unwrap(), Ok(Bytes::from_static(&[2])));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_put_again_is_not_a_second_one() {
        let mailboxes = mailboxes();
        mailboxes.create(MAILBOX, 60, HERE).unwrap();
        let message = |index: usize| vec![u8::try_from(index).unwrap(); 4];
        for index in 0..RDV_MESSAGES_MAX {
            let expected = Ok(u32::try_from(index).unwrap());
            assert_eq!(mailboxes.put(&MAILBOX, message(index)), expected);
            assert_eq!(mailboxes.put(&MAILBOX, message(index)), expected);
        }
        // Also when the mailbox is full.
        assert_eq!(mailboxes.put(&MAILBOX, message(2)), Ok(2));
        assert_eq!(mailboxes.put(&MAILBOX, message(RDV_MESSAGES_MAX)), Err(Refused::Limit));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_its_mailbox() {
        let mailboxes = mailboxes();
        mailboxes.create(MAILBOX, 60, HERE).unwrap();
        // The clock stands still but for this wait, which ends when the mailbox does.
        assert_eq!(mailboxes.get(&MAILBOX, 0).await, Err(Refused::NoMailbox));
        assert_eq!(mailboxes.put(&MAILBOX, vec![1]), Err(Refused::NoMailbox));
        mailboxes.create(MAILBOX, 60, HERE).unwrap();
        mailboxes.remove(&MAILBOX).unwrap();
        assert_eq!(mailboxes.get(&MAILBOX, 0).await, Err(Refused::NoMailbox));
    }

    #[tokio::test(start_paused = true)]
    async fn mailboxes_and_their_messages_are_bounded() {
        let mailboxes = mailboxes();
        mailboxes.create(MAILBOX, u32::MAX, HERE).unwrap();
        assert_eq!(mailboxes.create(MAILBOX, 60, HERE), Err(Refused::Limit));
        mailboxes.create(RdvId([1; 16]), 60, HERE).unwrap();
        assert_eq!(mailboxes.create(RdvId([2; 16]), 60, HERE), Err(Refused::Limit));
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        mailboxes.create(RdvId([2; 16]), 60, elsewhere).unwrap();
        assert_eq!(mailboxes.create(RdvId([3; 16]), 60, elsewhere), Err(Refused::Limit));

        assert_eq!(mailboxes.put(&MAILBOX, vec![0; RDV_MESSAGE_BYTES_MAX + 1]), Err(Refused::TooLarge));
        for index in 0..RDV_MESSAGES_MAX {
            let number = u8::try_from(index).unwrap();
            assert_eq!(mailboxes.put(&MAILBOX, vec![number; RDV_MESSAGE_BYTES_MAX]), Ok(u32::from(number)));
        }
        assert_eq!(mailboxes.put(&MAILBOX, vec![]), Err(Refused::Limit));
        tokio::time::advance(Duration::from_secs(u64::from(RDV_TTL_S_MAX) + 1)).await;
        assert_eq!(mailboxes.put(&MAILBOX, vec![]), Err(Refused::NoMailbox), "nobody makes one for longer");
        mailboxes.create(RdvId([3; 16]), 60, elsewhere).unwrap();
    }
}
