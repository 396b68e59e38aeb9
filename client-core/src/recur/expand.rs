//! Expands a rule period by period: in civil time for days and longer, in elapsed time for less than a day.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::days::{days_between, later, week_begin};
use super::rule::{End, Frequency, Rule, Skip};

/// Periods without any occurrence in a row after which a rule is taken to have no further one. Some 270 years of days;
/// the rarest real rule, a leap day of a given weekday, needs 40 years.
const EMPTY_PERIODS_MAX: u32 = 100_000;
/// The last year that is expanded.
const YEAR_MAX: i16 = 9998;

/// Takes the places of `BYSETPOS` out of a period's occurrences, which ascend.
fn at_places<T: Copy>(found: Vec<T>, places: &[i16]) -> Vec<T> {
    if places.is_empty() {
        return found;
    }
    let of = found.len();
    let is_taken = |at: usize| {
        let from_begin = i16::try_from(at + 1).unwrap_or(i16::MAX);
        let from_end = i16::try_from(of - at).map_or(i16::MIN, |place| -place);
        places.contains(&from_begin) || places.contains(&from_end)
    };
    found.into_iter().enumerate().filter(|(at, _)| is_taken(*at)).map(|(_, one)| one).collect()
}

/// Times of day, ascending: what the rule says of hours, minutes and seconds, and the start's for what it does not.
fn times(rule: &Rule, start: DateTime) -> Vec<(i8, i8, i8)> {
    let or = |said: &[i16], unsaid: i8| -> Vec<i8> {
        if said.is_empty() { vec![unsaid] } else { said.iter().filter_map(|it| i8::try_from(*it).ok()).collect() }
    };
    let (hours, minutes) = (or(&rule.by_hour, start.hour()), or(&rule.by_minute, start.minute()));
    let seconds = or(&rule.by_second, start.second());
    let mut times = Vec::with_capacity(hours.len() * minutes.len() * seconds.len());
    for hour in &hours {
        for minute in &minutes {
            times.extend(seconds.iter().map(|second| (*hour, *minute, *second)));
        }
    }
    times
}

/// The wall times of a rule of days or longer periods, strictly ascending, from its start on.
pub(super) struct Walls<'r> {
    rule: &'r Rule,
    start: DateTime,
    skip: Skip,
    /// Where times that clocks skip are left out.
    zone: Option<&'r TimeZone>,
    times: Vec<(i8, i8, i8)>,
    /// The next period, counted from the start's, of those that count.
    period: i64,
    /// What the last period gave and is not given on yet, the next at the end.
    found: Vec<DateTime>,
    last: Option<DateTime>,
    left: Option<u32>,
    is_over: bool,
}

impl<'r> Walls<'r> {
    /// From the first on. `skip` is for days that a month or year does not have; times that the clocks of `zone` skip are
    /// left out and not counted.
    pub(super) fn new(rule: &'r Rule, start: DateTime, skip: Skip, zone: Option<&'r TimeZone>) -> Self {
        let left = if let End::Count(count) = rule.end { Some(count) } else { None };
        let times = times(rule, start);
        Self { rule, start, skip, zone, times, period: 0, found: Vec::new(), last: None, left, is_over: false }
    }

    /// From a wall time on, and maybe some before it. A rule that counts must begin at its start all the same.
    pub(super) fn near(mut self, wall: DateTime) -> Self {
        if self.left.is_none() && wall > self.start {
            let (from, to) = (self.start.date(), wall.date());
            let periods = match self.rule.frequency {
                Frequency::Yearly => i64::from(to.year()) - i64::from(from.year()),
                Frequency::Monthly => months(to) - months(from),
                Frequency::Weekly => days_between(week_begin(from, self.rule.week_start), to) / 7,
                _ => days_between(from, to),
            };
            // One period earlier: a day that is skipped forward belongs to the one before.
            self.period = (periods / i64::from(self.rule.interval) - 1).max(0);
        }
        self
    }

    fn begin(&self) -> Option<Date> {
        let by = self.period.checked_mul(i64::from(self.rule.interval))?;
        let from = self.start.date();
        let begin = match self.rule.frequency {
            Frequency::Yearly => Date::new(i16::try_from(i64::from(from.year()) + by).ok()?, 1, 1).ok(),
            Frequency::Monthly => {
                let month = months(from) + by;
                let year = i16::try_from(month.div_euclid(12)).ok()?;
                Date::new(year, i8::try_from(month.rem_euclid(12)).ok()? + 1, 1).ok()
            }
            Frequency::Weekly => later(week_begin(from, self.rule.week_start), by * 7),
            _ => later(from, by),
        };
        begin.filter(|date| date.year() <= YEAR_MAX)
    }

    /// Finds the next period that has something; none: the rule is over.
    fn fill(&mut self) -> Option<()> {
        for _ in 0..EMPTY_PERIODS_MAX {
            let begin = self.begin()?;
            self.period += 1;
            let days = self.rule.days(begin, self.start.date(), self.skip);
            let walls = days
                .iter()
                .flat_map(|day| self.times.iter().map(|(hour, minute, second)| day.at(*hour, *minute, *second, 0)));
            let mut found = at_places(walls.collect(), &self.rule.by_place);
            let is_there = |wall: DateTime| {
                self.zone.is_none_or(|zone| {
                    !matches!(zone.to_ambiguous_timestamp(wall).offset(), AmbiguousOffset::Gap { .. })
                })
            };
            found.retain(|wall| *wall >= self.start && self.last.is_none_or(|last| *wall > last) && is_there(*wall));
            if !found.is_empty() {
                found.reverse();
                self.found = found;
                return Some(());
            }
        }
        None
    }
}

fn months(date: Date) -> i64 {
    i64::from(date.year()) * 12 + i64::from(date.month()) - 1
}

impl Iterator for Walls<'_> {
    type Item = DateTime;

    fn next(&mut self) -> Option<DateTime> {
        if self.is_over || self.left == Some(0) {
            return None;
        }
        if self.found.is_empty() && self.fill().is_none() {
            self.is_over = true;
            return None;
        }
        let wall = self.found.pop()?;
        self.is_over = match self.rule.end {
            End::Date(date) => wall.date() > date,
            End::Wall(end) => wall > end,
            End::Never | End::Count(_) | End::Instant(_) => false,
        };
        if self.is_over {
            return None;
        }
        self.last = Some(wall);
        self.left = self.left.map(|left| left - 1);
        Some(wall)
    }
}

/// The instants of a rule of hours or minutes, strictly ascending: periods are as long as they say, also where clocks
/// are put forward or back, and what the rule limits itself to is asked of the wall time there.
pub(super) struct Instants<'r> {
    rule: &'r Rule,
    zone: TimeZone,
    start: Timestamp,
    /// Seconds from one period to the next.
    step: i64,
    /// Where periods are counted from: the start, or its hour or minute where the rule says what of it counts.
    origin: Timestamp,
    period: i64,
    found: Vec<Timestamp>,
    last: Option<Timestamp>,
    left: Option<u32>,
    is_over: bool,
}

impl<'r> Instants<'r> {
    pub(super) fn new(rule: &'r Rule, start: Timestamp, zone: TimeZone) -> Self {
        let left = if let End::Count(count) = rule.end { Some(count) } else { None };
        let wall = zone.to_datetime(start);
        let unit = if rule.frequency == Frequency::Hourly { 3600 } else { 60 };
        let into = if unit == 3600 && !rule.by_minute.is_empty() {
            i64::from(wall.minute()) * 60 + i64::from(wall.second())
        } else if rule.by_second.is_empty() {
            0
        } else {
            i64::from(wall.second())
        };
        let origin = start.checked_sub(SignedDuration::from_secs(into)).unwrap_or(start);
        let step = unit * i64::from(rule.interval);
        Self { rule, zone, start, step, origin, period: 0, found: Vec::new(), last: None, left, is_over: false }
    }

    /// From an instant on, and maybe some before it.
    pub(super) fn near(mut self, instant: Timestamp) -> Self {
        if self.left.is_none() {
            self.period = self.first_from(instant).saturating_sub(1).max(0);
        }
        self
    }

    /// The first period that begins at an instant or later.
    fn first_from(&self, instant: Timestamp) -> i64 {
        let past = instant.as_second() - self.origin.as_second();
        (past + self.step - 1).div_euclid(self.step).max(0)
    }

    fn begin(&self) -> Option<Timestamp> {
        let past = SignedDuration::from_secs(self.period.checked_mul(self.step)?);
        self.origin.checked_add(past).ok().filter(|begin| begin.as_second() < YEAR_9998_S)
    }

    /// Goes to the first period at midnight or later of the next day that the rule allows.
    fn next_day(&mut self, date: Date) -> Option<()> {
        let mut day = date;
        for _ in 0..EMPTY_PERIODS_MAX {
            day = later(day, 1).filter(|day| day.year() <= YEAR_MAX)?;
            if self.rule.allows(day) {
                let midnight = self.zone.to_timestamp(day.at(0, 0, 0, 0)).ok()?;
                self.period = self.first_from(midnight).max(self.period);
                return Some(());
            }
        }
        None
    }

    fn fill(&mut self) -> Option<()> {
        for _ in 0..EMPTY_PERIODS_MAX {
            let begin = self.begin()?;
            let wall = self.zone.to_datetime(begin);
            self.period += 1;
            if !self.rule.allows(wall.date()) {
                self.next_day(wall.date())?;
                continue;
            }
            let allows = |list: &[i16], it: i8| list.is_empty() || list.contains(&i16::from(it));
            if !allows(&self.rule.by_hour, wall.hour()) {
                // The next hour, as the clock on the wall has it: an hour is 3,600 s there, too, but where it jumps.
                let rest = 3600 - i64::from(wall.minute()) * 60 - i64::from(wall.second());
                let jump = begin.checked_add(SignedDuration::from_secs(rest)).ok()?;
                self.period = self.first_from(jump).max(self.period);
                continue;
            }
            if self.rule.frequency == Frequency::Minutely && !allows(&self.rule.by_minute, wall.minute()) {
                continue;
            }
            let mut found = at_places(self.of_period(begin, wall), &self.rule.by_place);
            found.retain(|instant| *instant >= self.start && self.last.is_none_or(|last| *instant > last));
            if !found.is_empty() {
                found.reverse();
                self.found = found;
                return Some(());
            }
        }
        None
    }

    /// The instants of a period: its own, or those of the minutes and seconds that the rule names in it.
    fn of_period(&self, begin: Timestamp, wall: DateTime) -> Vec<Timestamp> {
        let is_hour = self.rule.frequency == Frequency::Hourly;
        let minutes: Vec<i64> = match self.rule.by_minute.as_slice() {
            said if is_hour && !said.is_empty() => {
                said.iter().map(|minute| (i64::from(*minute) - i64::from(wall.minute())) * 60).collect()
            }
            _ => vec![0],
        };
        let start_second = i64::from(self.zone.to_datetime(self.start).second());
        let seconds: Vec<i64> = match self.rule.by_second.as_slice() {
            [] if is_hour && !self.rule.by_minute.is_empty() => vec![start_second - i64::from(wall.second())],
            [] => vec![0],
            said => said.iter().map(|second| i64::from(*second) - i64::from(wall.second())).collect(),
        };
        let at = |by: i64| begin.checked_add(SignedDuration::from_secs(by)).ok();
        minutes.iter().flat_map(|minute| seconds.iter().filter_map(move |second| at(minute + second))).collect()
    }
}

/// The first second of the year 9998, UTC.
const YEAR_9998_S: i64 = 253_339_228_800;

impl Iterator for Instants<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        if self.is_over || self.left == Some(0) {
            return None;
        }
        if self.found.is_empty() && self.fill().is_none() {
            self.is_over = true;
            return None;
        }
        let instant = self.found.pop()?;
        let wall = || self.zone.to_datetime(instant);
        self.is_over = match self.rule.end {
            End::Date(date) => wall().date() > date,
            End::Wall(end) => wall() > end,
            End::Instant(end) => instant > end,
            End::Never | End::Count(_) => false,
        };
        if self.is_over {
            return None;
        }
        self.last = Some(instant);
        self.left = self.left.map(|left| left - 1);
        Some(instant)
    }
}
