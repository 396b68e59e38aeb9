//! What is known of a task's times, and what follows: when it is due next, whether it is over, what rings.
//!
//! ```text
//! document, or its rows ──► Facts ──► next   which occurrence is due, where and when the person is
//!                                 └─► item   what the plan of notifications is made from
//! ```
//! Nothing of it is ever stored: of two devices that settled the same occurrence while apart, neither can take the other's
//! next one away.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::when::{self, Zones, civil, has_time};
use crate::notify::{Alarm, Anchor, Item, Nag, Trigger, Who};
use crate::projection::Value;
use crate::recur::{CatchUp, Gap, Occurrence, OccurrenceId, Rule, Series, Start};

/// The alarm of a task that has none of its own and is due.
pub const DUE_ALARM: &str = "due";

/// What is known of one occurrence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logged {
    /// When it was done (ms UTC).
    pub done_ms: Option<i64>,
    /// When it was skipped (ms UTC).
    pub skip_ms: Option<i64>,
    /// When it is due instead.
    pub moved: Option<String>,
}

impl Logged {
    /// Done or skipped.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.done_ms.is_some() || self.skip_ms.is_some()
    }
}

/// What is known of a task's times.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Completed, cancelled or in the trash.
    pub is_closed: bool,
    /// When it was completed, of one that does not repeat (ms UTC).
    pub completed_ms: Option<i64>,
    /// When it begins.
    pub start: Option<String>,
    /// When it is due; of what repeats, the first time.
    pub due: Option<String>,
    /// The day after which it is too late.
    pub deadline: Option<Date>,
    /// How it repeats.
    pub rule: Option<Rule>,
    /// Where the rule begins, if not when it is due.
    pub dtstart: Option<String>,
    /// It repeats from when it was done.
    pub from_completion: bool,
    /// What becomes of times that clocks skip.
    pub gap: Gap,
    /// What is due of times that passed.
    pub catch_up: CatchUp,
    /// Further times.
    pub more: BTreeSet<OccurrenceId>,
    /// Times that are left out.
    pub without: BTreeSet<OccurrenceId>,
    /// The log of occurrences.
    pub log: BTreeMap<OccurrenceId, Logged>,
    /// Its alarms.
    pub alarms: Vec<Alarm>,
    /// It rings when it is due although it has no alarm.
    pub rings_when_due: bool,
    /// How often it was moved.
    pub moves: u64,
    /// It rings in quiet hours.
    pub is_urgent: bool,
    /// It is never left out of what rings late.
    pub is_medication: bool,
}

/// What is due next of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// Which occurrence; `None`: it does not repeat.
    pub occurrence: Option<OccurrenceId>,
    /// When: a day, a time, or a time in a zone.
    pub due: String,
    /// When that is for the person; a day is when it begins there.
    pub at: Timestamp,
    /// The day it is for the person.
    pub day: Date,
    /// How many before it were missed.
    pub missed: u32,
}

/// The fields of an entry, by name.
pub type Entry = BTreeMap<String, Value>;

/// Where facts are read from: a document, or its rows.
pub trait Source {
    /// A field of the task.
    fn field(&self, name: &str) -> Value;
    /// The entries of a family that are not removed, by key.
    fn entries(&self, family: &str) -> Vec<(String, Entry)>;
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

const fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

fn of(entry: &Entry, name: &str) -> Value {
    entry.get(name).cloned().unwrap_or(Value::Null)
}

impl Facts {
    /// Reads what is known. A rule that cannot be read, which only a merge or another program can leave, does not repeat.
    #[must_use]
    pub fn read(source: &dyn Source, zones: Zones<'_>) -> Self {
        let said = |name: &str| text(source.field(name));
        let yes = |name: &str| int(&source.field(name)) == Some(1);
        let set = |family: &str| -> BTreeSet<OccurrenceId> {
            source.entries(family).iter().filter_map(|(key, _)| key.parse().ok()).collect()
        };
        let status = said("status").unwrap_or_default();
        let log = source.entries("occ").into_iter().filter_map(|(key, entry)| {
            let logged = Logged {
                done_ms: int(&of(&entry, "done")),
                skip_ms: int(&of(&entry, "skip")),
                moved: text(of(&entry, "moved")),
            };
            Some((key.parse().ok()?, logged))
        });
        let alarms = source.entries("alarm").into_iter().filter_map(|(id, entry)| alarm(id, &entry, zones)).collect();
        Self {
            is_closed: matches!(status.as_str(), "completed" | "cancelled") || int(&source.field("del")).is_some(),
            completed_ms: int(&source.field("completed")),
            start: said("start"),
            due: said("due"),
            deadline: said("deadline").and_then(|day| day.parse().ok()),
            rule: said("rule").and_then(|rule| Rule::parse(&rule).ok()),
            dtstart: said("dtstart"),
            from_completion: said("anchor").as_deref() == Some("completion"),
            gap: if said("dst").as_deref() == Some("skip") { Gap::Skip } else { Gap::Shift },
            catch_up: match said("catchup").as_deref() {
                Some("all") => CatchUp::All,
                Some("none") => CatchUp::None,
                _ => CatchUp::Latest,
            },
            more: set("rdate"),
            without: set("exdate"),
            log: log.collect(),
            alarms,
            rings_when_due: said("ring").as_deref() != Some("off"),
            moves: int(&source.field("moves")).and_then(|moves| u64::try_from(moves).ok()).unwrap_or(0),
            is_urgent: yes("urgent"),
            is_medication: yes("medication"),
        }
    }

    /// Where its series begins.
    #[must_use]
    pub fn begins(&self) -> Option<&str> {
        [&self.dtstart, &self.due, &self.start].into_iter().find_map(Option::as_deref)
    }

    /// Whether it repeats.
    #[must_use]
    pub const fn is_recurring(&self) -> bool {
        self.rule.is_some()
    }

    /// Its times, of one that repeats.
    #[must_use]
    pub fn series(&self, zones: Zones<'_>) -> Option<Series> {
        let start = when::start(self.begins()?, zones)?;
        let series = Series::new(self.rule.clone()?, start, self.gap).ok()?;
        Some(series.with_exceptions(self.more.clone(), self.without.clone()))
    }

    /// Done, skipped or moved: what the series no longer gives.
    fn settled(&self) -> BTreeSet<OccurrenceId> {
        let gone = self.log.iter().filter(|(_, logged)| logged.is_settled() || logged.moved.is_some());
        gone.map(|(id, _)| *id).collect()
    }

    /// When occurrences were done, or left behind by skipping them.
    #[must_use]
    pub fn completions(&self) -> Vec<Timestamp> {
        let settled = self.log.values().filter_map(|logged| logged.done_ms.or(logged.skip_ms)).chain(self.completed_ms);
        settled.filter_map(|ms| Timestamp::from_millisecond(ms).ok()).collect()
    }

    /// How much later than its occurrence it is due, on the clock on the wall.
    fn due_after_begin(&self) -> SignedDuration {
        let both = self.begins().and_then(civil).zip(self.due.as_deref().and_then(civil));
        both.map_or(SignedDuration::ZERO, |(begin, due)| begin.duration_until(due))
    }

    /// The text of a time of this task: a day or a time, in its zone.
    fn due_text(&self, wall: DateTime) -> String {
        let like = self.due.as_deref().or_else(|| self.begins()).unwrap_or_default();
        when::like(like, wall.checked_add(self.due_after_begin()).unwrap_or(wall))
    }

    /// When it is due of an occurrence of its series that the clock shows so; `None` where the series says it itself.
    pub(super) fn due_of(&self, wall: DateTime) -> Option<String> {
        self.due.is_some().then(|| self.due_text(wall))
    }

    fn placed(&self, occurrence: Option<OccurrenceId>, due: String, missed: u32, place: &Place<'_>) -> Option<Next> {
        let wall = civil(&due)?;
        let zone = when::zone_of(&due).and_then(place.zones).unwrap_or_else(|| place.zone.clone());
        let at = zone.to_timestamp(wall).ok()?;
        let day = if has_time(&due) { place.zone.to_datetime(at).date() } else { wall.date() };
        Some(Next { occurrence, due, at, day, missed })
    }

    /// What is due next: of what repeats, from which occurrences are settled.
    #[must_use]
    pub fn next(&self, place: &Place<'_>) -> Option<Next> {
        if self.is_closed {
            return None;
        }
        if !self.is_recurring() {
            let due = self.due.clone().or_else(|| self.deadline.map(when::day))?;
            return self.placed(None, due, 0, place);
        }
        let series = self.series(place.zones)?;
        let moved = self.log.iter().filter(|(_, logged)| !logged.is_settled());
        let moved = moved.filter_map(|(id, logged)| self.placed(Some(*id), logged.moved.clone()?, 0, place));
        let mut found: Vec<Next> = moved.collect();
        if self.from_completion {
            let one = self.after_completion(&series, place.zone);
            let one = one.filter(|one| self.log.get(&one.id).is_none_or(|logged| logged.moved.is_none()));
            found.extend(one.and_then(|one| self.placed(Some(one.id), self.due_text(one.wall), 0, place)));
        } else if let Some(due) = series.due(&self.settled(), place.now, place.zone, self.catch_up) {
            let one = due.occurrence;
            let mut next = self.placed(Some(one.id), self.due_text(one.wall), due.missed, place);
            // Where one time on the clock comes twice, the instant says which.
            if let (Some(next), Some(instant)) = (&mut next, one.instant.filter(|_| self.due_after_begin().is_zero())) {
                next.at = instant;
            }
            found.extend(next);
        }
        found.into_iter().min_by_key(|next| (next.at, next.occurrence))
    }

    /// What follows the last completion. What was done ahead of its time is left behind.
    fn after_completion(&self, series: &Series, zone: &TimeZone) -> Option<Occurrence> {
        let mut one = series.after_completion(&self.completions(), zone)?;
        for _ in 0..self.log.len() {
            if !self.log.get(&one.id).is_some_and(Logged::is_settled) {
                break;
            }
            one = series.after_completion(&[one.instant_in(zone)?], zone)?;
        }
        Some(one)
    }

    /// What is due next, and what after it until a day; at most so many.
    #[must_use]
    pub fn coming(&self, until: Date, most: usize, place: &Place<'_>) -> Vec<Next> {
        let Some(next) = self.next(place) else { return Vec::new() };
        let series = if self.from_completion { None } else { self.series(place.zones) };
        let settled = self.settled();
        let from = next.at.max(place.now);
        let mut found = vec![next];
        let moved = self.log.iter().filter(|(_, logged)| !logged.is_settled());
        found.extend(moved.filter_map(|(id, logged)| self.placed(Some(*id), logged.moved.clone()?, 0, place)));
        for one in series.iter().flat_map(|series| series.since(from, place.zone)) {
            let next = self.placed(Some(one.id), self.due_text(one.wall), 0, place);
            match next.filter(|next| next.day <= until) {
                Some(next) if !settled.contains(&one.id) => found.push(next),
                Some(_) => {}
                None => break,
            }
            if found.len() > most {
                break;
            }
        }
        found.sort_by_key(|next| (next.at, next.occurrence));
        found.dedup_by_key(|next| next.occurrence);
        found.truncate(most);
        found
    }

    /// The first day on which it can be due, wherever somebody is and whatever the time: what lists are found by.
    #[must_use]
    pub fn first_day(&self) -> Option<Date> {
        let own = || self.due.as_deref().and_then(civil).map(|wall| wall.date()).or(self.deadline);
        if !self.is_recurring() {
            return own();
        }
        // Zones and their laws differ from device to device: what is derived from the document alone goes by the clock.
        let begin = civil(self.begins()?)?;
        let start = if has_time(self.begins()?) { Start::Floating(begin) } else { Start::Date(begin.date()) };
        let series = self.rule.clone().and_then(|rule| Series::new(rule, start, Gap::Shift).ok());
        // What a merge left that cannot repeat stays where it begins.
        let Some(series) = series else { return Some(begin.date()) };
        let series = series.with_exceptions(self.more.clone(), self.without.clone());
        let last =
            self.log.iter().filter(|(_, logged)| logged.is_settled()).map(|(id, _)| *id).max_by_key(|id| wall(*id));
        let moved = self.log.values().filter(|logged| !logged.is_settled());
        let moved = moved.filter_map(|logged| Some(civil(logged.moved.as_deref()?)?.date())).min();
        let next = match last {
            _ if self.from_completion => {
                // It is due some time after the last completion; on which day that was depends on where somebody is.
                let last = self.completions().into_iter().max().map(|last| TimeZone::UTC.to_datetime(last).date());
                let early = last.map_or(Some(begin.date()), |day| day.yesterday().ok());
                early.filter(|_| self.after_completion(&series, &TimeZone::UTC).is_some())
            }
            None => series.occurrences().next().map(|one| one.wall.date()),
            Some(_) if self.catch_up == CatchUp::All => {
                let settled = self.settled();
                series.occurrences().find(|one| !settled.contains(&one.id)).map(|one| one.wall.date())
            }
            Some(last) => {
                let utc = TimeZone::UTC;
                let from = utc.to_timestamp(wall(last)).ok()?;
                let mut after = series.since(from, &utc).filter(|one| one.wall > wall(last));
                let settled = self.settled();
                // One before the last that is settled may be due still, where that was done ahead of its time: as early as the
                // first that is open.
                let open = series.occurrences().take(settled.len() + 1).find(|one| !settled.contains(&one.id));
                let open = open.map(|one| one.wall.date());
                // What hours and minutes give in a zone is called by its instant: a day more on either side.
                let is_instant = matches!(last, OccurrenceId::Instant(_));
                after
                    .next()
                    .map(|one| open.map_or(one.wall.date(), |open| open.min(one.wall.date())))
                    .map(|day| if is_instant { day.yesterday().unwrap_or(day) } else { day })
            }
        };
        let later = self.due_after_begin();
        let next = next.map(|day| day.at(0, 0, 0, 0).checked_add(later).map_or(day, |wall| wall.date()));
        next.into_iter().chain(moved).min()
    }

    /// Whether nothing of it is to be done any more, as far as the document alone says.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_closed || self.is_recurring() && self.begins().is_some() && self.first_day().is_none()
    }

    /// When it was done last (ms UTC).
    #[must_use]
    pub fn done_ms(&self) -> Option<i64> {
        let own = self.completed_ms.filter(|_| !self.is_recurring());
        self.log.values().filter_map(|logged| logged.done_ms).chain(own).max()
    }

    /// What the plan of notifications is made from: the task, and one more for each occurrence that was moved.
    #[must_use]
    pub fn items(&self, entity: &str, who: &Who, place: &Place<'_>) -> Vec<Item> {
        let start = |text: &Option<String>| text.as_deref().and_then(|text| when::start(text, place.zones));
        let mut alarms = self.alarms.clone();
        if alarms.is_empty() && self.rings_when_due && (self.due.is_some() || self.is_recurring()) {
            let trigger = Trigger::Relative { days: 0, minutes: 0, of: Anchor::Due };
            alarms.push(Alarm { id: DUE_ALARM.to_owned(), trigger, nag: None });
        }
        let series = if self.from_completion { None } else { self.series(place.zones) };
        // What counts from completions has one time, the next.
        let due = if self.is_recurring() && series.is_none() {
            self.next(place).map(|next| next.due)
        } else {
            self.due.clone()
        };
        let item = Item {
            entity: entity.to_owned(),
            revision: self.moves,
            start: start(&self.start),
            due: start(&due),
            deadline: self.deadline,
            series,
            settled: self.settled(),
            completions: self.completions(),
            is_over: self.is_over(),
            alarms,
            is_urgent: self.is_urgent,
            is_medication: self.is_medication,
            who: who.clone(),
        };
        let moved = self.log.values().filter(|logged| !logged.is_settled() && !self.from_completion);
        let moved = moved.filter_map(|logged| {
            let due = Some(when::start(logged.moved.as_deref()?, place.zones)?);
            Some(Item { due, start: None, series: None, settled: BTreeSet::new(), ..item.clone() })
        });
        let moved: Vec<Item> = moved.collect();
        std::iter::once(item).chain(moved).collect()
    }
}

/// Where and when somebody asks.
#[derive(Clone, Copy)]
pub struct Place<'p> {
    /// Now.
    pub now: Timestamp,
    /// Where the person is.
    pub zone: &'p TimeZone,
    /// Other zones.
    pub zones: Zones<'p>,
}

impl Place<'_> {
    /// The day it is there.
    #[must_use]
    pub fn today(&self) -> Date {
        self.zone.to_datetime(self.now).date()
    }
}

/// What the clock shows at an occurrence, as its name says.
fn wall(id: OccurrenceId) -> DateTime {
    match id {
        OccurrenceId::Date(date) => date.at(0, 0, 0, 0),
        OccurrenceId::Wall(wall) => wall,
        OccurrenceId::Instant(instant) => TimeZone::UTC.to_datetime(instant),
    }
}

fn alarm(id: String, entry: &Entry, zones: Zones<'_>) -> Option<Alarm> {
    let number = |name: &str| int(&of(entry, name)).and_then(|number| i32::try_from(number).ok()).unwrap_or(0);
    let (days, minutes) = (number("days"), number("minutes"));
    let relative = |of| Trigger::Relative { days, minutes, of };
    let trigger = match text(of(entry, "kind"))?.as_str() {
        "due" => relative(Anchor::Due),
        "start" => relative(Anchor::Start),
        "deadline" => relative(Anchor::Deadline),
        "at" => Trigger::At(when::start(&text(of(entry, "at"))?, zones)?),
        "done" => Trigger::AfterCompletion { minutes: u32::try_from(minutes).ok()? },
        _ => return None,
    };
    let nag = u32::try_from(number("nag")).ok().filter(|minutes| *minutes > 0);
    let most = u16::try_from(number("most")).ok().filter(|most| *most > 0).unwrap_or(3);
    Some(Alarm { id, trigger, nag: nag.map(|minutes| Nag { minutes, most }) })
}
