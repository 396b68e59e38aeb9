//! What one device rings, and what it asks its system to ring.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::fire::FireId;
use super::plan::{Fire, Inputs, Item, Who, fires, plan};

/// How late a ring still counts as on time, in seconds.
const ON_TIME_S: i64 = 60;
/// How long ago a device that is in use was used last, in seconds.
const IN_USE_S: i64 = 5 * 60;
/// Longest that a device waits for another one, in seconds.
const HOLD_S_MAX: u32 = 60 * 60;
/// For how long a medication that nobody heard of is rung late, in hours.
const MEDICATION_HOURS: i64 = 7 * 24;
/// How far a system is asked to ring ahead.
const HORIZON_HOURS: i64 = 14 * 24;

/// A device, as the membership names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub [u8; 32]);

/// What a device can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// The person has let it show notifications.
    pub is_permitted: bool,
    /// How many rings its system takes to be rung later; `None`: as many as there are. iOS takes 64.
    pub pending_max: Option<usize>,
}

/// What a device has done: all that it must remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ringer {
    device: Device,
    /// What was planned for before is not this device's to ring.
    begun: Timestamp,
    /// What it rang or told of in one, and when that was planned.
    handled: BTreeMap<FireId, Timestamp>,
    /// What it listed as missed. Where the person then travels to a place in which it is still to come, it rings.
    listed: BTreeMap<FireId, Timestamp>,
}

/// Something to show now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ring {
    /// One fire.
    One {
        /// The fire.
        fire: Fire,
        /// How many earlier ones of the same recurring item were missed, told with it.
        missed: u32,
    },
    /// More of what was missed than anybody wants to hear one by one.
    Digest(Vec<Fire>),
}

/// What was missed too long ago to ring.
pub type Missed = Vec<Fire>;

/// What to do on waking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Woken {
    /// To show now, in this order.
    pub rings: Vec<Ring>,
    /// For the list of what was missed, without a sound.
    pub missed: Missed,
}

/// What the system is asked to ring, in place of whatever it was asked before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Name and time, by time.
    pub pending: Vec<(FireId, Timestamp)>,
    /// When to ask the person to open the app, because the system takes no more.
    pub sentinel: Option<Timestamp>,
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// When a device rings a fire: at once, or as much later as it waits for another device.
fn ring_at(fire: &Fire, device: &DeviceId, used_at: Option<Timestamp>) -> Timestamp {
    let hold = match &fire.who {
        Who::All => 0,
        Who::ActiveFirst { hold_s } => {
            let is_in_use = used_at.is_some_and(|used| fire.at.as_second() - used.as_second() <= IN_USE_S);
            if is_in_use { 0 } else { *hold_s }
        }
        Who::Primary { device: primary, hold_s } => {
            if primary == device {
                0
            } else {
                *hold_s
            }
        }
    };
    fire.at.checked_add(seconds(i64::from(hold.min(HOLD_S_MAX)))).unwrap_or(fire.at)
}

impl Ringer {
    /// Of a device that rings what is planned from now on.
    #[must_use]
    pub const fn new(device: Device, now: Timestamp) -> Self {
        Self { device, begun: now, handled: BTreeMap::new(), listed: BTreeMap::new() }
    }

    /// The device.
    #[must_use]
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// The person lets it show notifications, or no longer.
    pub fn permit(&mut self, is_permitted: bool) {
        self.device.is_permitted = is_permitted;
    }

    /// The system rang these while nobody looked.
    pub fn delivered(&mut self, ids: impl IntoIterator<Item = FireId>, now: Timestamp) {
        self.handled.extend(ids.into_iter().map(|id| (id, now)));
    }

    /// Whether this device has rung it or told of it.
    #[must_use]
    pub fn is_handled(&self, id: &FireId) -> bool {
        self.handled.contains_key(id)
    }

    /// What to show now. To be called when something is due, when the program starts, and when something was synced;
    /// `used_at` is when the device was used last. What it gives has to be on disk, with this, before it is shown.
    pub fn wake(&mut self, now: Timestamp, inputs: &Inputs<'_>, used_at: Option<Timestamp>) -> Woken {
        if !self.device.is_permitted {
            return Woken::default();
        }
        let ago = |hours: i64| now.checked_sub(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MIN);
        let (grace, longest) = (i64::from(inputs.policy.grace_hours), i64::from(HOLD_S_MAX / 3600));
        let from = |item: &Item| {
            // Twice as far as it rings, so that what is too late is listed rather than lost.
            let hours = if item.is_medication { MEDICATION_HOURS } else { grace.saturating_mul(2).max(48) } + longest;
            ago(hours).max(self.begun)
        };
        let mut due = fires(inputs, from, now);
        due.retain(|fire| !self.is_handled(&fire.id) && ring_at(fire, &self.device.id, used_at) <= now);
        let found: Vec<_> = due.iter().map(|fire| (fire.id, fire.at)).collect();
        // What is older than anything that is looked at again is forgotten.
        let oldest = ago(MEDICATION_HOURS.max(grace.saturating_mul(2)) + 96);
        self.handled.retain(|_, at| *at >= oldest);
        self.listed.retain(|_, at| *at >= oldest);
        let is_late = |fire: &Fire| now.duration_since(ring_at(fire, &self.device.id, used_at)) > seconds(ON_TIME_S);
        let (late, on_time): (Vec<_>, Vec<_>) = due.into_iter().partition(is_late);
        let mut woken = caught_up(late, ago(grace), inputs.policy.singles_max);
        let too_late: BTreeSet<FireId> = woken.missed.iter().map(|fire| fire.id).collect();
        self.handled.extend(found.into_iter().filter(|(id, _)| !too_late.contains(id)));
        woken.missed.retain(|fire| self.listed.insert(fire.id, fire.at).is_none());
        woken.rings.extend(on_time.into_iter().map(|fire| Ring::One { fire, missed: 0 }));
        woken
    }

    /// What to ask the system to ring from now on. A device that is not used waits where others ring first.
    #[must_use]
    pub fn schedule(&self, now: Timestamp, inputs: &Inputs<'_>) -> Schedule {
        if !self.device.is_permitted {
            return Schedule::default();
        }
        let hold = i64::from(HOLD_S_MAX);
        let horizon = SignedDuration::from_hours(HORIZON_HOURS);
        let from = now.checked_sub(seconds(hold)).unwrap_or(now).max(self.begun);
        let span = horizon.checked_add(now.duration_since(from)).unwrap_or(horizon);
        let ahead = plan(from, span, inputs);
        let ahead = ahead.iter().filter(|fire| !self.is_handled(&fire.id));
        let mut pending: Vec<(FireId, Timestamp)> =
            ahead.map(|fire| (fire.id, ring_at(fire, &self.device.id, None))).filter(|(_, at)| *at > now).collect();
        pending.sort_by_key(|(id, at)| (*at, *id));
        let mut sentinel = None;
        if let Some(most) = self.device.pending_max {
            // Four places stay free for what the program itself shows, one of them for the sentinel.
            let most = most.saturating_sub(4);
            sentinel = pending.get(most).map(|(_, at)| *at);
            pending.truncate(most);
            if sentinel.is_none() && !pending.is_empty() {
                sentinel = now.checked_add(horizon).ok();
            }
        }
        Schedule { pending, sentinel }
    }

    /// When this device has something to ring next, if nothing is said and it is not used until then.
    #[must_use]
    pub fn next(&self, now: Timestamp, inputs: &Inputs<'_>) -> Option<Timestamp> {
        self.schedule(now, inputs).pending.first().map(|(_, at)| *at)
    }
}

/// First byte of what a [`Ringer`] remembers.
const VERSION: u8 = 1;

impl Ringer {
    /// What it remembers, to be kept on disk: `1 ‖ begun ‖ handled ‖ listed`, where the first is i64 µs, and each of the
    /// others u32 how many ‖ 16 bytes the name ‖ i64 µs when it was planned. Numbers are big-endian.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.begun.as_microsecond().to_be_bytes());
        for known in [&self.handled, &self.listed] {
            bytes.extend(u32::try_from(known.len()).unwrap_or(u32::MAX).to_be_bytes());
            for (id, at) in known {
                bytes.extend(id.as_bytes());
                bytes.extend(at.as_microsecond().to_be_bytes());
            }
        }
        bytes
    }

    /// Reads what a device remembers; `None` for what is no such thing.
    #[must_use]
    pub fn decode(device: Device, bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (begun, mut rest) = rest.split_first_chunk::<8>().filter(|_| *version == VERSION)?;
        let instant = |bytes: &[u8; 8]| Timestamp::from_microsecond(i64::from_be_bytes(*bytes)).ok();
        let mut ringer = Self::new(device, instant(begun)?);
        for known in [&mut ringer.handled, &mut ringer.listed] {
            let (count, mut after) = rest.split_first_chunk::<4>()?;
            for _ in 0..u32::from_be_bytes(*count) {
                let (id, behind) = after.split_first_chunk::<16>()?;
                let (at, behind) = behind.split_first_chunk::<8>()?;
                known.insert(FireId::from_bytes(*id), instant(at)?);
                after = behind;
            }
            rest = after;
        }
        rest.is_empty().then_some(ringer)
    }
}

/// What to do about fires that are late: of a nagging alarm the last ring, of a recurring item the last occurrence with
/// how many there were; too late is listed; many are told in one, but no medication.
fn caught_up(late: Vec<Fire>, oldest: Timestamp, singles_max: usize) -> Woken {
    let mut woken = Woken::default();
    // By item, alarm and, of what is each its own, its name: the last one, and which there were.
    type Of = (String, String, Option<FireId>);
    let mut latest: BTreeMap<Of, (Fire, BTreeSet<FireId>)> = BTreeMap::new();
    for fire in late {
        if !fire.is_medication && fire.at < oldest {
            woken.missed.push(fire);
            continue;
        }
        // Doses are each their own.
        let own = (!fire.is_recurring || fire.is_medication).then_some(fire.first);
        let entry = latest
            .entry((fire.entity.clone(), fire.alarm.clone(), own))
            .or_insert_with(|| (fire.clone(), BTreeSet::new()));
        entry.1.insert(fire.first);
        if (fire.at, fire.planned) >= (entry.0.at, entry.0.planned) {
            entry.0 = fire;
        }
    }
    let mut kept: Vec<(Fire, u32)> = latest
        .into_values()
        .map(|(fire, firsts)| (fire, u32::try_from(firsts.len().saturating_sub(1)).unwrap_or(u32::MAX)))
        .collect();
    kept.sort_by_key(|(fire, _)| (fire.at, fire.planned, fire.id));
    let (medications, others): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(fire, _)| fire.is_medication);
    let one = |(fire, missed)| Ring::One { fire, missed };
    woken.rings.extend(medications.into_iter().map(one));
    if others.len() <= singles_max {
        woken.rings.extend(others.into_iter().map(one));
    } else {
        woken.rings.push(Ring::Digest(others.into_iter().map(|(fire, _)| fire).collect()));
    }
    woken
}
