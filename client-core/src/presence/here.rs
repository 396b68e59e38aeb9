//! Who is here, as one device sees it: when it says something, and what it believes of what it hears.
//!
//! ```text
//! shown here ─▶ first, and after each change ≥ 250 ms apart, the latest only ─▶ message n, with what was heard of others
//!               every 10 s in company, every 30 s alone ─▶ the same again
//! message    ─▶ of a known session: only a higher count
//!            ─▶ names a message of mine that I sent ≤ 60 s ago: it was made after that ─▶ believed, shown for 30 s
//!            ─▶ names none: an old one, or of somebody who has not heard me yet ─▶ not shown; I say something
//! ```
//!
//! Nothing of a session is believed before its device has heard this one, so a relay that plays back what it kept shows
//! nobody who is not there; what it holds back counts for a minute at most. Who shows nothing says nothing, and so
//! sees nobody: presence is mutual. Time is any steady clock in milliseconds.

use std::collections::{BTreeMap, VecDeque};

use lifeos_sync_protocol::ids::SignPk;

use super::{HEARD_MAX, OpenedPresence, Presence, SessionId, Shown};

/// A message that names one of mine counts for so long after I sent that.
pub const ECHO_MS_MAX: u64 = 60_000;
/// Somebody of whom nothing is heard is shown for so long.
pub const SHOWN_MS: u64 = 30_000;
/// Time between two messages when something changed.
const CHANGE_MS_MIN: u64 = 250;
/// Time between two messages when somebody is to be answered.
const ANSWER_MS_MIN: u64 = 1_000;
/// Time between two messages when nothing changed.
const REPEAT_MS: u64 = 10_000;
/// The same while nobody else is there; what changes then waits for it.
const REPEAT_ALONE_MS: u64 = 30_000;
/// Messages that are opened in a second, and at once before that: what is more is dropped unread.
const OPENED_PER_S_MAX: u64 = 64;
const OPENED_AT_ONCE_MAX: u64 = 256;

/// A message to be sealed and sent to every relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The session's count.
    pub count: u32,
    /// The session.
    pub session: SessionId,
    /// What was heard of others.
    pub heard: Vec<(SessionId, u32)>,
    /// What is shown; `None`: gone.
    pub shown: Option<Shown>,
}

impl Outgoing {
    /// As the message of the device whose stream id commits to `r32`.
    #[must_use]
    pub fn into_presence(self, r32: [u8; 32]) -> Presence {
        Presence { r32, session: self.session, heard: self.heard, shown: self.shown }
    }
}

/// A session of another device.
#[derive(Debug, Clone, Copy)]
struct Heard {
    session: SessionId,
    /// The last message.
    count: u32,
    heard_ms: u64,
    /// The count of the own message that last named it; 0: none.
    named_by: u32,
}

impl Heard {
    const fn new(session: SessionId, count: u32, heard_ms: u64) -> Self {
        Self { session, count, heard_ms, named_by: 0 }
    }
}

/// Another device.
#[derive(Debug, Clone, Default)]
struct Other {
    /// The session that is believed, and the highest own count that it has named.
    believed: Option<(Heard, u32)>,
    /// What it shows, and when that was heard.
    shown: Option<(Shown, u64)>,
    /// Another session, of which nothing is believed yet.
    claimed: Option<Heard>,
}

/// Who is here.
#[derive(Debug, Clone)]
pub struct Presences {
    session: SessionId,
    /// Of the last message sent.
    count: u32,
    /// When the messages of the last minute were sent, oldest first.
    sent: VecDeque<(u32, u64)>,
    own: Option<Shown>,
    /// Something is to be said that was not: what is shown changed, or that it is shown no more.
    changed: bool,
    /// Somebody is to be answered.
    asked: bool,
    others: BTreeMap<SignPk, Other>,
    /// What may be opened still, in thousandths, and as of when.
    budget: (u64, u64),
}

impl Presences {
    /// Nothing shown, nobody known. `session` is random.
    #[must_use]
    pub fn new(session: SessionId) -> Self {
        Self {
            session,
            count: 0,
            sent: VecDeque::new(),
            own: None,
            changed: false,
            asked: false,
            others: BTreeMap::new(),
            budget: (OPENED_AT_ONCE_MAX * 1_000, 0),
        }
    }

    /// Shows this from now on, or with `None` nothing any more.
    pub fn show(&mut self, shown: Option<Shown>) {
        self.changed |= self.own != shown && (shown.is_some() || self.own.is_some());
        self.own = shown;
    }

    /// Whether anything is shown: else nobody is seen either.
    #[must_use]
    pub const fn is_showing(&self) -> bool {
        self.own.is_some()
    }

    /// A connection has come up: who is behind it has not heard this device.
    pub const fn arrive(&mut self) {
        if self.own.is_some() {
            self.changed = true;
        }
    }

    /// Syncing ends: the others are told, and nobody is seen any more. What is shown is shown again on
    /// [`Self::arrive`]. The message for it, if one is due.
    pub fn leave(&mut self, now_ms: u64) -> Option<Outgoing> {
        self.others.values_mut().for_each(|other| other.shown = None);
        let was_said = self.own.is_some() && self.count > 0;
        was_said.then(|| self.message(None, now_ms)).flatten()
    }

    /// Whether one more message may be opened now.
    pub fn admit(&mut self, now_ms: u64) -> bool {
        let (left, as_of_ms) = self.budget;
        let earned = now_ms.saturating_sub(as_of_ms).saturating_mul(OPENED_PER_S_MAX);
        let left = left.saturating_add(earned).min(OPENED_AT_ONCE_MAX * 1_000);
        let admitted = left >= 1_000;
        self.budget = (if admitted { left - 1_000 } else { left }, now_ms);
        admitted
    }

    /// Takes in a message of another device; whether what is to be seen changed.
    pub fn hear(&mut self, opened: &OpenedPresence, now_ms: u64) -> bool {
        let OpenedPresence { device, count, presence } = opened;
        let named = presence.heard.iter().find(|(session, _)| *session == self.session).map(|(_, count)| *count);
        let sent_ms = |named: u32| self.sent.iter().find(|(count, _)| *count == named).map(|(_, at_ms)| *at_ms);
        // It was made after the own message that it names.
        let fresh =
            named.filter(|named| sent_ms(*named).is_some_and(|at_ms| now_ms.saturating_sub(at_ms) <= ECHO_MS_MAX));
        let other = self.others.entry(*device).or_default();
        if let Some((known, echoed)) = other.believed.as_mut().filter(|(known, _)| known.session == presence.session) {
            if *count <= known.count {
                return false;
            }
            (known.count, known.heard_ms) = (*count, now_ms);
            match fresh.filter(|named| *named >= *echoed) {
                Some(named) => *echoed = named,
                None => {
                    self.asked = true;
                    return false;
                }
            }
        } else {
            let claimed = other.claimed.filter(|claimed| claimed.session == presence.session);
            if claimed.is_some_and(|claimed| *count <= claimed.count) {
                return false;
            }
            let heard = Heard {
                named_by: claimed.map_or(0, |claimed| claimed.named_by),
                ..Heard::new(presence.session, *count, now_ms)
            };
            // An older session of the device has named an older message of mine at best.
            let newest = other.believed.map_or(0, |(_, echoed)| echoed);
            let Some(named) = fresh.filter(|named| *named > newest) else {
                other.claimed = Some(heard);
                self.asked = true;
                return false;
            };
            (other.believed, other.claimed) = (Some((heard, named)), None);
            self.asked |= heard.named_by == 0;
        }
        let before = other.shown.map(|(shown, _)| shown);
        other.shown = presence.shown.map(|shown| (shown, now_ms));
        before != presence.shown
    }

    /// The next message, if one is due.
    pub fn poll(&mut self, now_ms: u64) -> Option<Outgoing> {
        self.send_ms(now_ms).filter(|due_ms| *due_ms <= now_ms)?;
        self.message(self.own, now_ms)
    }

    /// Forgets those of whom nothing was heard, or who may not be here any more; whether what is to be seen changed.
    pub fn expire(&mut self, now_ms: u64, may_be_here: impl Fn(&SignPk) -> bool) -> bool {
        let mut changed = false;
        self.others.retain(|device, other| {
            let is_over = |since_ms: u64, lasts_ms: u64| now_ms.saturating_sub(since_ms) > lasts_ms;
            let may = may_be_here(device);
            if other.shown.is_some_and(|(_, heard_ms)| !may || is_over(heard_ms, SHOWN_MS)) {
                (other.shown, changed) = (None, true);
            }
            // For as long as an old message of a session could be believed, its last count is remembered.
            other.believed = other.believed.filter(|(known, _)| !is_over(known.heard_ms, 2 * ECHO_MS_MAX));
            other.claimed = other.claimed.filter(|claimed| !is_over(claimed.heard_ms, ECHO_MS_MAX));
            may && (other.believed.is_some() || other.claimed.is_some())
        });
        changed
    }

    /// When [`Self::poll`] or [`Self::expire`] has something to do next, if nothing happens before.
    #[must_use]
    pub fn next_ms(&self, now_ms: u64) -> Option<u64> {
        let shown = self.others.values().filter_map(|other| other.shown);
        let ends = shown.map(|(_, heard_ms)| heard_ms.saturating_add(SHOWN_MS + 1)).min();
        [self.send_ms(now_ms), ends].into_iter().flatten().min()
    }

    /// The others that are here, ascending, with what they show and how long ago that was heard.
    pub fn here(&self, now_ms: u64) -> impl Iterator<Item = (SignPk, Shown, u64)> {
        let shown = self.others.iter().filter_map(|(device, other)| Some((*device, other.shown?)));
        let ago = move |(device, (shown, heard_ms)): (_, (_, u64))| (device, shown, now_ms.saturating_sub(heard_ms));
        shown.map(ago).filter(|(_, _, ago_ms)| *ago_ms <= SHOWN_MS)
    }

    /// When the next message is due.
    fn send_ms(&self, now_ms: u64) -> Option<u64> {
        if self.own.is_none() && !(self.changed && self.count > 0) {
            return None;
        }
        let Some((_, last_ms)) = self.sent.back() else { return Some(now_ms) };
        let alone = self.others.is_empty();
        let after = |gap_ms: u64| last_ms.saturating_add(gap_ms);
        let repeat = after(if alone { REPEAT_ALONE_MS } else { REPEAT_MS });
        let change = (self.changed && (!alone || self.own.is_none())).then(|| after(CHANGE_MS_MIN));
        let answer = (self.asked && self.own.is_some()).then(|| after(ANSWER_MS_MIN));
        [Some(repeat), change, answer].into_iter().flatten().min()
    }

    /// Makes a message; none once all counts are used, which takes longer than any home is open.
    fn message(&mut self, shown: Option<Shown>, now_ms: u64) -> Option<Outgoing> {
        self.count = self.count.checked_add(1)?;
        self.sent.retain(|(_, at_ms)| now_ms.saturating_sub(*at_ms) <= ECHO_MS_MAX);
        self.sent.push_back((self.count, now_ms));
        (self.changed, self.asked) = (false, false);
        let heard = self.name_heard(now_ms);
        Some(Outgoing { count: self.count, session: self.session, heard, shown })
    }

    /// Names what was heard of others in the last minute: those first that have waited longest for it.
    fn name_heard(&mut self, now_ms: u64) -> Vec<(SessionId, u32)> {
        let sessions = self.others.values_mut().flat_map(|other| {
            let believed = other.believed.as_mut().map(|(known, _)| known);
            believed.into_iter().chain(other.claimed.as_mut())
        });
        let mut heard: Vec<&mut Heard> =
            sessions.filter(|heard| now_ms.saturating_sub(heard.heard_ms) <= ECHO_MS_MAX).collect();
        heard.sort_by_key(|heard| heard.named_by);
        heard.truncate(HEARD_MAX);
        heard.iter_mut().for_each(|heard| heard.named_by = self.count);
        let mut named: Vec<_> = heard.iter().map(|heard| (heard.session, heard.count)).collect();
        named.sort_unstable();
        named.dedup_by_key(|(session, _)| *session);
        named
    }
}
