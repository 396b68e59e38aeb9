//! The plan: what rings in a window of time, from what is known.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::fire::{Acks, FireId, FireKey};
use super::quiet::{self, Quiet};
use super::ringer::DeviceId;
use crate::recur::{OccurrenceId, Series, Start};

/// Longest that something can be put off by a person.
pub const SNOOZE_DAYS_MAX: i64 = 31;
/// Most occurrences that are looked at for one alarm; a rule of minutes has 70,560 in the 49 days that a plan of two weeks
/// can reach over.
const OCCURRENCES_MAX: usize = 80_000;
/// Most rings of one alarm in one plan.
const RINGS_MAX: usize = 25_000;
/// Most times that an alarm rings again.
const AGAIN_MAX: u16 = 99;
/// Longest that an alarm nags.
const NAG_HOURS_MAX: i64 = 7 * 24;
/// Furthest that an alarm is from what it belongs to.
const OFFSET_DAYS_MAX: i32 = 400;
/// The same in minutes.
const OFFSET_MINUTES_MAX: i32 = OFFSET_DAYS_MAX * 24 * 60;

/// Of what a relative alarm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// When it begins.
    Start,
    /// When it is due.
    Due,
    /// The day after which it is too late.
    Deadline,
}

/// When an alarm goes off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// So many days, on the clock on the wall, and so many minutes, as they pass, after something; before it if negative
    /// (RFC 5545 §3.8.6.3). Of each occurrence.
    Relative {
        /// Days.
        days: i32,
        /// Minutes.
        minutes: i32,
        /// After what.
        of: Anchor,
    },
    /// At a time, whatever becomes of the item's own.
    At(Start),
    /// So many minutes after each completion.
    AfterCompletion {
        /// Minutes.
        minutes: u32,
    },
}

/// Ringing again until somebody says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nag {
    /// Minutes from one ring to the next; at least 1.
    pub minutes: u32,
    /// How often after the first.
    pub most: u16,
}

/// An alarm of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Its key in the item's document.
    pub id: String,
    /// When it goes off.
    pub trigger: Trigger,
    /// Whether it rings again.
    pub nag: Option<Nag>,
}

/// Which of a person's devices ring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Who {
    /// Each.
    #[default]
    All,
    /// The one in use at once, the others a while later if nobody has said anything by then.
    ActiveFirst {
        /// How much later, in seconds.
        hold_s: u32,
    },
    /// One of them at once, the others a while later, likewise.
    Primary {
        /// That one.
        device: DeviceId,
        /// How much later, in seconds.
        hold_s: u32,
    },
}

/// Something with alarms, as the documents have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its document.
    pub entity: String,
    /// Grows when somebody moves it, so that what was acknowledged rings again.
    pub revision: u64,
    /// When it begins.
    pub start: Option<Start>,
    /// When it is due; of one that repeats, the first time, which is where its series begins or as much later each time.
    pub due: Option<Start>,
    /// The day after which it is too late.
    pub deadline: Option<Date>,
    /// When it is due again and again.
    pub series: Option<Series>,
    /// Occurrences that are done or skipped.
    pub settled: BTreeSet<OccurrenceId>,
    /// When it was done.
    pub completions: Vec<Timestamp>,
    /// It is done, cancelled or deleted, and nothing of it rings any more.
    pub is_over: bool,
    /// Its alarms.
    pub alarms: Vec<Alarm>,
    /// It rings in quiet hours.
    pub is_urgent: bool,
    /// It is never left out of what is rung late.
    pub is_medication: bool,
    /// Which devices ring.
    pub who: Who,
}

/// What a person wants of all notifications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// When a day without a time rings.
    pub day_at: Time,
    /// When nothing rings that can wait.
    pub quiet: Vec<Quiet>,
    /// How late something rings at all, in hours.
    pub grace_hours: u32,
    /// How much of what was missed rings each for itself; more of it is told in one.
    pub singles_max: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { day_at: Time::constant(9, 0, 0, 0), quiet: Vec::new(), grace_hours: 12, singles_max: 3 }
    }
}

/// One ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fire {
    /// Its name.
    pub id: FireId,
    /// The name of the first ring of this alarm and occurrence, which is what is acknowledged and put off.
    pub first: FireId,
    /// When it rings.
    pub at: Timestamp,
    /// When it would without quiet hours.
    pub planned: Timestamp,
    /// What the clock on the wall shows when it rings.
    pub wall: DateTime,
    /// The item.
    pub entity: String,
    /// The occurrence.
    pub occurrence: OccurrenceId,
    /// The alarm.
    pub alarm: String,
    /// 0, or the how manieth time that it rings again.
    pub again: u16,
    /// Of an item that repeats.
    pub is_recurring: bool,
    /// See [`Item::is_medication`].
    pub is_medication: bool,
    /// Which devices ring.
    pub who: Who,
}

/// What a plan is made from.
#[derive(Clone, Copy)]
pub struct Inputs<'i> {
    /// Everything with alarms.
    pub items: &'i [Item],
    /// What people said.
    pub acks: &'i Acks,
    /// What the person wants.
    pub policy: &'i Policy,
    /// Where the device is.
    pub zone: &'i TimeZone,
    /// What names are made with.
    pub key: &'i FireKey,
}

/// What rings after `now` and until `horizon` later, by time. The same on all devices with the same inputs.
#[must_use]
pub fn plan(now: Timestamp, horizon: SignedDuration, inputs: &Inputs<'_>) -> Vec<Fire> {
    let to = now.checked_add(horizon).unwrap_or(Timestamp::MAX);
    fires(inputs, |_| now, to)
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn earlier(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// What rings after a time, which may be another one for each item, and until another.
pub(super) fn fires(inputs: &Inputs<'_>, from: impl Fn(&Item) -> Timestamp, to: Timestamp) -> Vec<Fire> {
    let mut found = Vec::new();
    for item in inputs.items.iter().filter(|item| !item.is_over) {
        let from = from(item);
        for alarm in &item.alarms {
            // What rings in the window may have been planned before it: put off, nagging, or quiet.
            let nags = alarm.nag.map_or(SignedDuration::ZERO, |nag| nag_span(&nag));
            let put_off = if inputs.acks.has_snoozed() { hours(24 * SNOOZE_DAYS_MAX) } else { SignedDuration::ZERO };
            let first_from = earlier(earlier(earlier(from, hours(quiet::WAIT_HOURS_MAX)), nags), put_off);
            let before = found.len();
            for first in firsts(inputs, item, alarm, first_from, to) {
                if found.len() - before > RINGS_MAX {
                    break;
                }
                rings(inputs, item, alarm, &first, (from, to), &mut found);
            }
        }
    }
    // What waited for the end of quiet hours keeps its order.
    found.sort_by_key(|one| (one.at, one.planned, one.id));
    found.dedup_by_key(|fire| fire.id);
    found
}

fn nag_span(nag: &Nag) -> SignedDuration {
    let minutes = i64::from(nag.minutes.max(1)) * i64::from(nag.most.min(AGAIN_MAX));
    SignedDuration::from_mins(minutes).min(hours(NAG_HOURS_MAX))
}

/// When an alarm goes off for the first time, for one occurrence.
struct First {
    occurrence: OccurrenceId,
    at: Timestamp,
}

/// Where a time is on the clock, and in which zone.
fn placed(start: &Start, inputs: &Inputs<'_>) -> (DateTime, TimeZone) {
    match start {
        Start::Date(date) => (date.to_datetime(inputs.policy.day_at), inputs.zone.clone()),
        Start::Floating(wall) => (*wall, inputs.zone.clone()),
        Start::Zoned(wall, zone) => (*wall, zone.clone()),
    }
}

fn name_of(start: &Start) -> OccurrenceId {
    match start {
        Start::Date(date) => OccurrenceId::Date(*date),
        Start::Floating(wall) | Start::Zoned(wall, _) => OccurrenceId::Wall(*wall),
    }
}

/// Days on the clock on the wall, then minutes as they pass. A time that clocks skip is later by as much; of one that
/// they show twice, the first counts.
fn shifted(wall: DateTime, zone: &TimeZone, days: i32, minutes: i32) -> Option<Timestamp> {
    let days = days.clamp(-OFFSET_DAYS_MAX, OFFSET_DAYS_MAX);
    let minutes = minutes.clamp(-OFFSET_MINUTES_MAX, OFFSET_MINUTES_MAX);
    let wall = wall.checked_add(i64::from(days).days()).ok()?;
    let at = zone.to_ambiguous_timestamp(wall).compatible().ok()?;
    at.checked_add(SignedDuration::from_mins(i64::from(minutes))).ok()
}

fn firsts(inputs: &Inputs<'_>, item: &Item, alarm: &Alarm, from: Timestamp, to: Timestamp) -> Vec<First> {
    let is_within = |first: &First| first.at >= from && first.at <= to;
    match &alarm.trigger {
        Trigger::At(start) => {
            let (wall, zone) = placed(start, inputs);
            let at = shifted(wall, &zone, 0, 0);
            at.map(|at| First { occurrence: name_of(start), at }).into_iter().filter(is_within).collect()
        }
        Trigger::AfterCompletion { minutes } => {
            let after = |done: &Timestamp| {
                let at = later(*done, SignedDuration::from_mins(i64::from(*minutes)));
                First { occurrence: OccurrenceId::Instant(*done), at }
            };
            // Only the last: what follows from an earlier one is over.
            item.completions.iter().max().map(after).into_iter().filter(is_within).collect()
        }
        Trigger::Relative { days, minutes, of } => match &item.series {
            Some(series) => of_series(inputs, item, series, (*days, *minutes, *of), from, to),
            None => of_one(inputs, item, (*days, *minutes, *of)).into_iter().filter(is_within).collect(),
        },
    }
}

/// Of an item that does not repeat.
fn of_one(inputs: &Inputs<'_>, item: &Item, (days, minutes, of): (i32, i32, Anchor)) -> Option<First> {
    let deadline = item.deadline.map(Start::Date);
    let anchor = match of {
        Anchor::Start => item.start.as_ref(),
        Anchor::Due => item.due.as_ref(),
        Anchor::Deadline => deadline.as_ref(),
    }?;
    let occurrence = name_of(anchor);
    let (wall, zone) = placed(anchor, inputs);
    (!item.settled.contains(&occurrence)).then_some(())?;
    Some(First { occurrence, at: shifted(wall, &zone, days, minutes)? })
}

/// How much later than where its series begins something is due, begins or ends, on the clock on the wall.
fn apart(item: &Item, of: Anchor) -> Option<SignedDuration> {
    let wall = |start: &Start| match start {
        Start::Date(date) => date.at(0, 0, 0, 0),
        Start::Floating(wall) | Start::Zoned(wall, _) => *wall,
    };
    let due = item.series.as_ref().map(|series| wall(series.start()))?;
    match of {
        Anchor::Due => Some(item.due.as_ref().map_or(SignedDuration::ZERO, |first| due.duration_until(wall(first)))),
        Anchor::Start => Some(due.duration_until(wall(item.start.as_ref()?))),
        Anchor::Deadline => Some(due.date().at(0, 0, 0, 0).duration_until(item.deadline?.at(0, 0, 0, 0))),
    }
}

fn of_series(
    inputs: &Inputs<'_>,
    item: &Item,
    series: &Series,
    (days, minutes, of): (i32, i32, Anchor),
    from: Timestamp,
    to: Timestamp,
) -> Vec<First> {
    let Some(apart) = apart(item, of) else { return Vec::new() };
    let days = days.clamp(-OFFSET_DAYS_MAX, OFFSET_DAYS_MAX);
    let minutes = minutes.clamp(-OFFSET_MINUTES_MAX, OFFSET_MINUTES_MAX);
    // Where its occurrences lie whose alarms may lie in the window; a day on either side for clocks that change.
    let shift = hours(24 * i64::from(days)) + SignedDuration::from_mins(i64::from(minutes)) + apart;
    let (begin, end) = (earlier(earlier(from, shift), hours(50)), later(earlier(to, shift), hours(50)));
    let is_day = matches!(series.start(), Start::Date(_)) || of == Anchor::Deadline;
    let mut found = Vec::new();
    for one in series.since(begin, inputs.zone).take(OCCURRENCES_MAX) {
        if one.instant_in(inputs.zone).is_none_or(|instant| instant > end) {
            break;
        }
        if item.settled.contains(&one.id) {
            continue;
        }
        let zone = match series.start() {
            Start::Zoned(_, zone) if of != Anchor::Deadline => zone,
            _ => inputs.zone,
        };
        let at = match one.instant {
            // Where one time on the clock may come twice, the instant says which.
            Some(instant) if days == 0 && apart.is_zero() && !is_day => {
                instant.checked_add(SignedDuration::from_mins(i64::from(minutes))).ok()
            }
            _ => one.wall.checked_add(apart).ok().and_then(|wall| {
                let wall = if is_day { wall.date().to_datetime(inputs.policy.day_at) } else { wall };
                shifted(wall, zone, days, minutes)
            }),
        };
        found.extend(at.filter(|at| *at >= from && *at <= to).map(|at| First { occurrence: one.id, at }));
    }
    found
}

/// All rings of an alarm for one occurrence: once, again while it nags, later if it was put off.
fn rings(
    inputs: &Inputs<'_>,
    item: &Item,
    alarm: &Alarm,
    first: &First,
    (from, to): (Timestamp, Timestamp),
    found: &mut Vec<Fire>,
) {
    let (occurrence, revision) = (first.occurrence.to_string(), item.revision.to_be_bytes());
    let named = |more: &[&[u8]]| {
        let parts = [item.entity.as_bytes(), occurrence.as_bytes(), alarm.id.as_bytes(), &revision];
        inputs.key.name(&[&parts[..], more].concat())
    };
    let first_name = named(&[]);
    if inputs.acks.is_acked(&first_name) {
        return;
    }
    let until = inputs.acks.snoozed_until(&first_name);
    // Put off for longer than anybody can put it off is as if nothing had been said.
    let until = until.filter(|until| *until > first.at && *until <= later(first.at, hours(24 * SNOOZE_DAYS_MAX)));
    let begin = until.unwrap_or(first.at);
    let (step, most) = alarm.nag.map_or((1, 0), |nag| (i64::from(nag.minutes.max(1)), nag.most.min(AGAIN_MAX)));
    let mut last = None;
    for again in 0..=most {
        let after = SignedDuration::from_mins(step * i64::from(again));
        if after > hours(NAG_HOURS_MAX) {
            break;
        }
        let planned = later(begin, after);
        // Whoever puts something off into quiet hours means it.
        let waits = !(item.is_urgent || until.is_some() && again == 0);
        let at = if waits { after_quiet(inputs, planned) } else { planned };
        // What nagged through quiet hours rings once at their end.
        if last == Some(at) {
            continue;
        }
        last = Some(at);
        if at <= from || at > to {
            continue;
        }
        let count = again.to_be_bytes();
        let id = match until {
            None if again == 0 => first_name,
            None => named(&[b"again", &count]),
            Some(until) => named(&[b"snoozed", &until.as_second().to_be_bytes(), &count]),
        };
        found.push(Fire {
            id,
            first: first_name,
            at,
            planned,
            wall: inputs.zone.to_datetime(at),
            entity: item.entity.clone(),
            occurrence: first.occurrence,
            alarm: alarm.id.clone(),
            again,
            is_recurring: item.series.is_some(),
            is_medication: item.is_medication,
            who: item.who.clone(),
        });
    }
}

fn after_quiet(inputs: &Inputs<'_>, at: Timestamp) -> Timestamp {
    if inputs.policy.quiet.is_empty() {
        return at;
    }
    let wall = inputs.zone.to_datetime(at);
    let then = quiet::after(&inputs.policy.quiet, wall);
    if then == wall { at } else { inputs.zone.to_timestamp(then).map_or(at, |then| then.max(at)) }
}
