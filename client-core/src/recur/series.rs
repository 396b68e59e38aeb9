//! A series: a rule with its start, its time zone and its exceptions, and what is due of it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::expand::{Instants, Walls};
use super::rule::{End, Rule, Skip};
use super::text;

/// Missed occurrences are counted up to here.
pub const MISSED_MAX: u32 = 999;

/// When a series begins, which is also what its times mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A day, wherever one is.
    Date(Date),
    /// A time on the clock, wherever one is.
    Floating(DateTime),
    /// A time on the clock of a zone.
    Zoned(DateTime, TimeZone),
}

/// What becomes of a time that clocks skip when they are put forward.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gap {
    /// It is later by as much as clocks are put forward: a reminder that rings is better than none.
    #[default]
    Shift,
    /// It is left out, as RFC 5545 §3.3.10 has it.
    Skip,
}

/// What an occurrence is called, on every device and whatever the zone's rules become: the time on the clock that the
/// rule gives (RECURRENCE-ID, RFC 5545 §3.8.4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OccurrenceId {
    /// A day.
    Date(Date),
    /// A time on the clock.
    Wall(DateTime),
    /// An instant: what rules of hours and minutes give in a zone, where one time on the clock may come twice.
    Instant(Timestamp),
}

/// One occurrence of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    /// What it is called.
    pub id: OccurrenceId,
    /// What the clock shows then: the series' own or, of a floating one or a day, the clock wherever one is.
    pub wall: DateTime,
    /// When that is, of a series in a zone.
    pub instant: Option<Timestamp>,
}

impl Occurrence {
    /// When it is for somebody in a zone. A day is when it begins there.
    #[must_use]
    pub fn instant_in(&self, zone: &TimeZone) -> Option<Timestamp> {
        self.instant.or_else(|| zone.to_timestamp(self.wall).ok())
    }
}

/// `20260301`, `20260301T090000`, `20260301T080000Z`.
impl fmt::Display for OccurrenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Date(date) => text::write_date(*date, f),
            Self::Wall(wall) => text::write_wall(*wall, f),
            Self::Instant(instant) => text::write_instant(*instant, f),
        }
    }
}

/// Not the id of an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of an occurrence: expected a day as 20260301 or a time as 20260301T090000")]
pub struct NotAnOccurrence;

impl FromStr for OccurrenceId {
    type Err = NotAnOccurrence;

    fn from_str(text: &str) -> Result<Self, NotAnOccurrence> {
        let id = match text.len() {
            8 => text::date(text).map(Self::Date),
            15 => text::wall(text).map(Self::Wall),
            16 => text::instant(text).map(Self::Instant),
            _ => None,
        };
        id.ok_or(NotAnOccurrence)
    }
}

/// Why a rule cannot recur from a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeriesError {
    /// A day has no hours.
    #[error("a day without a time cannot recur by hours, minutes or seconds: give the start a time")]
    NeedsTime,
    /// The start lies where nothing is expanded.
    #[error("the start must lie in the years 1 to 9997")]
    Start,
}

/// What is due of a series of which some occurrences passed while nobody looked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// The last of them; those before it are taken for missed.
    #[default]
    Latest,
    /// Every one, the first of them first.
    All,
    /// None: what comes next.
    None,
}

/// What is due next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The occurrence.
    pub occurrence: Occurrence,
    /// How many before it were missed since the last one that was settled, up to [`MISSED_MAX`].
    pub missed: u32,
}

/// A recurring thing's times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    rule: Rule,
    start: Start,
    gap: Gap,
    more: BTreeSet<OccurrenceId>,
    without: BTreeSet<OccurrenceId>,
}

impl Series {
    /// A series without exceptions.
    ///
    /// # Errors
    /// [`SeriesError`]: the rule and the start do not fit.
    pub fn new(rule: Rule, start: Start, gap: Gap) -> Result<Self, SeriesError> {
        if matches!(start, Start::Date(_)) && rule.needs_time() {
            return Err(SeriesError::NeedsTime);
        }
        let series = Self { rule, start, gap, more: BTreeSet::new(), without: BTreeSet::new() };
        let is_sound = (1..=9997).contains(&series.first_wall().year());
        is_sound.then_some(series).ok_or(SeriesError::Start)
    }

    /// The same series with more occurrences (RDATE) and without some (EXDATE). A day excludes all of its occurrences.
    #[must_use]
    pub fn with_exceptions(mut self, more: BTreeSet<OccurrenceId>, without: BTreeSet<OccurrenceId>) -> Self {
        (self.more, self.without) = (more, without);
        self
    }

    /// Its rule.
    #[must_use]
    pub const fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Its start.
    #[must_use]
    pub const fn start(&self) -> &Start {
        &self.start
    }

    fn first_wall(&self) -> DateTime {
        match &self.start {
            Start::Date(date) => date.at(0, 0, 0, 0),
            Start::Floating(wall) | Start::Zoned(wall, _) => *wall,
        }
    }

    /// The zone that its times are of; `None`: wherever one is.
    const fn zone(&self) -> Option<&TimeZone> {
        match &self.start {
            Start::Zoned(_, zone) => Some(zone),
            Start::Date(_) | Start::Floating(_) => None,
        }
    }

    /// The zone in which its times are reckoned. Where there is none, clocks go evenly.
    fn reckoned_in(&self) -> TimeZone {
        self.zone().cloned().unwrap_or(TimeZone::UTC)
    }

    /// The occurrence of an id, whether the series has it or not.
    #[must_use]
    pub fn occurrence(&self, id: OccurrenceId) -> Option<Occurrence> {
        let wall = match id {
            OccurrenceId::Date(date) => date.to_datetime(self.first_wall().time()),
            OccurrenceId::Wall(wall) => wall,
            OccurrenceId::Instant(instant) => self.reckoned_in().to_datetime(instant),
        };
        let instant = match (id, self.zone()) {
            (_, None) => None,
            (OccurrenceId::Instant(instant), _) => Some(instant),
            (_, Some(zone)) => Some(zone.to_timestamp(wall).ok()?),
        };
        Some(Occurrence { id, wall, instant })
    }

    /// All occurrences from the start on, by time.
    #[must_use]
    pub fn occurrences(&self) -> Occurrences<'_> {
        Occurrences::new(self, None)
    }

    /// The occurrences at an instant and after it, as somebody in a zone has them. What lies before costs nothing,
    /// unless the rule counts.
    pub fn since(&self, at: Timestamp, zone: &TimeZone) -> impl Iterator<Item = Occurrence> {
        let wall = self.zone().unwrap_or(zone).to_datetime(at);
        // Clocks are put forward by a day at most.
        let near = wall.checked_sub(SignedDuration::from_hours(48)).unwrap_or(wall);
        let zone = zone.clone();
        Occurrences::new(self, Some(near)).filter(move |one| one.instant_in(&zone).is_some_and(|instant| instant >= at))
    }

    /// The last occurrence at an instant or before it.
    #[must_use]
    pub fn last_until(&self, now: Timestamp, zone: &TimeZone) -> Option<Occurrence> {
        let is_past = |one: &Occurrence| one.instant_in(zone).is_some_and(|instant| instant <= now);
        if matches!(self.rule.end, End::Count(_)) {
            return self.occurrences().take_while(is_past).last();
        }
        let (mut hours, first) = (48_i64, self.first_wall());
        loop {
            let from = now.checked_sub(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MIN);
            let last = self.since(from, zone).take_while(is_past).last();
            if last.is_some() || self.reckoned_in().to_datetime(from) < first && self.more.is_empty() {
                return last;
            }
            if from == Timestamp::MIN {
                return None;
            }
            hours = hours.saturating_mul(4);
        }
    }

    /// What is due: the same on every device that knows of the same settled occurrences (done or skipped).
    #[must_use]
    pub fn due(
        &self,
        settled: &BTreeSet<OccurrenceId>,
        now: Timestamp,
        zone: &TimeZone,
        catch_up: CatchUp,
    ) -> Option<Due> {
        let is_open = |one: &Occurrence| !settled.contains(&one.id);
        let next = || {
            let mut coming = self.since(now, zone).filter(|one| one.instant_in(zone).is_some_and(|at| at > now));
            coming.find(is_open).map(|occurrence| Due { occurrence, missed: 0 })
        };
        match catch_up {
            CatchUp::None => next(),
            CatchUp::All => self.occurrences().find(is_open).map(|occurrence| Due { occurrence, missed: 0 }),
            CatchUp::Latest => match self.last_until(now, zone).filter(is_open) {
                Some(occurrence) => {
                    Some(Due { occurrence, missed: self.missed(settled, &occurrence, zone).unwrap_or(0) })
                }
                None => next(),
            },
        }
    }

    /// How many occurrences passed between the last one that was settled and another one.
    fn missed(&self, settled: &BTreeSet<OccurrenceId>, before: &Occurrence, zone: &TimeZone) -> Option<u32> {
        let end = before.instant_in(zone)?;
        let instants = settled.iter().filter_map(|id| self.occurrence(*id)?.instant_in(zone));
        let last = instants.filter(|instant| *instant < end).max().unwrap_or(Timestamp::MIN);
        let passed = self.since(last, zone).filter(|one| !settled.contains(&one.id));
        let passed = passed.take_while(|one| one.instant_in(zone).is_some_and(|instant| instant < end));
        u32::try_from(passed.take(MISSED_MAX as usize).count()).ok()
    }

    /// What is due next of a series that counts from completions ("every 3 days after it was done"): a period after the
    /// last of them, at the start's time of day. A day that a month does not have is the one before, unless the rule says.
    #[must_use]
    pub fn after_completion(&self, completed: &[Timestamp], zone: &TimeZone) -> Option<Occurrence> {
        let Some(last) = completed.iter().max() else { return self.occurrences().next() };
        let mut rule = self.rule.clone();
        if let End::Count(count) = rule.end {
            if completed.len() >= count as usize {
                return None;
            }
            rule.end = End::Never;
        }
        let wall = self.zone().unwrap_or(zone).to_datetime(*last).with().subsec_nanosecond(0).build().ok()?;
        rule.skip.get_or_insert(Skip::Backward);
        let is_sub_daily = rule.is_sub_daily();
        let time = if is_sub_daily { wall.time() } else { self.first_wall().time() };
        let at = wall.date().to_datetime(time);
        let start = match &self.start {
            Start::Date(_) => Start::Date(wall.date()),
            Start::Floating(_) => Start::Floating(at),
            Start::Zoned(_, zone) => Start::Zoned(at, zone.clone()),
        };
        let from = Self { rule, start, gap: self.gap, more: BTreeSet::new(), without: self.without.clone() };
        let mut found = Occurrences::new(&from, None);
        found.find(|one| if is_sub_daily { one.wall > at } else { one.wall.date() > wall.date() })
    }

    /// Ends the series before an occurrence and gives the rule of what goes on from there ("this and following").
    #[must_use]
    pub fn split(&self, at: &Occurrence) -> Option<(Self, Rule)> {
        let (mut before, mut after) = (self.clone(), self.rule.clone());
        if let End::Count(count) = self.rule.end {
            let plain = Self { more: BTreeSet::new(), without: BTreeSet::new(), ..self.clone() };
            let passed = plain.occurrences().take_while(|one| key(one) < key(at)).count();
            let passed = u32::try_from(passed).ok().filter(|passed| (1..count).contains(passed))?;
            (before.rule.end, after.end) = (End::Count(passed), End::Count(count - passed));
        } else {
            let second = SignedDuration::from_secs(1);
            before.rule.end = match (&self.start, at.instant) {
                (Start::Date(_), _) => End::Date(at.wall.date().yesterday().ok()?),
                (_, Some(instant)) => End::Instant(instant.checked_sub(second).ok()?),
                (_, None) => End::Wall(at.wall.checked_sub(second).ok()?),
            };
        }
        before.more.retain(|id| self.occurrence(*id).is_some_and(|one| key(&one) < key(at)));
        Some((before, after))
    }

    fn is_excluded(&self, one: &Occurrence) -> bool {
        self.without.contains(&one.id)
            || self.without.contains(&OccurrenceId::Date(one.wall.date()))
            || one.instant.is_some_and(|instant| self.without.contains(&OccurrenceId::Instant(instant)))
    }
}

/// By what occurrences of one series are ordered.
fn key(one: &Occurrence) -> Timestamp {
    one.instant_in(&TimeZone::UTC).unwrap_or(Timestamp::MAX)
}

enum Source<'s> {
    Walls(Walls<'s>),
    Instants(Instants<'s>),
}

/// The occurrences of a series, by time.
pub struct Occurrences<'s> {
    series: &'s Series,
    source: Source<'s>,
    /// What the rule gives next.
    ahead: Option<Occurrence>,
    /// What clocks skip, and when it is instead: later than some that follow it.
    held: std::collections::VecDeque<Occurrence>,
    /// Occurrences beside the rule's, the next at the end.
    more: Vec<Occurrence>,
    last: Option<Timestamp>,
    is_over: bool,
}

impl<'s> Occurrences<'s> {
    fn new(series: &'s Series, near: Option<DateTime>) -> Self {
        let rule = &series.rule;
        let source = if rule.is_sub_daily() {
            let zone = series.reckoned_in();
            let start = zone.to_timestamp(series.first_wall()).unwrap_or(Timestamp::MAX);
            let instants = Instants::new(rule, start, zone.clone());
            Source::Instants(match near.and_then(|near| zone.to_timestamp(near).ok()) {
                Some(near) => instants.near(near),
                None => instants,
            })
        } else {
            let zone = series.zone().filter(|_| series.gap == Gap::Skip);
            let walls = Walls::new(rule, series.first_wall(), rule.skip.unwrap_or(Skip::Omit), zone);
            Source::Walls(match near {
                Some(near) => walls.near(near),
                None => walls,
            })
        };
        let mut more: Vec<_> = series.more.iter().filter_map(|id| series.occurrence(*id)).collect();
        more.sort_unstable_by_key(|one| std::cmp::Reverse(key(one)));
        Self { series, source, ahead: None, held: Default::default(), more, last: None, is_over: false }
    }

    /// The next that the rule gives and clocks do not skip.
    fn pull(&mut self) -> Option<Occurrence> {
        if self.is_over {
            return None;
        }
        let found = self.pull_on();
        self.is_over = found.is_none();
        found
    }

    fn pull_on(&mut self) -> Option<Occurrence> {
        loop {
            let (one, is_gap) = self.of_source()?;
            match (self.is_before_end(&one), is_gap) {
                (true, true) => self.held.push_back(one),
                (true, false) => return Some(one),
                // What clocks skip is later than it says: others before the end may follow.
                (false, true) => {}
                (false, false) => return None,
            }
        }
    }

    /// The next of the rule, and whether clocks skip it.
    fn of_source(&mut self) -> Option<(Occurrence, bool)> {
        match &mut self.source {
            Source::Instants(instants) => {
                let instant = instants.next()?;
                let wall = self.series.reckoned_in().to_datetime(instant);
                let (id, instant) = match self.series.zone() {
                    Some(_) => (OccurrenceId::Instant(instant), Some(instant)),
                    None => (OccurrenceId::Wall(wall), None),
                };
                Some((Occurrence { id, wall, instant }, false))
            }
            Source::Walls(walls) => {
                let wall = walls.next()?;
                let id = match self.series.start {
                    Start::Date(_) => OccurrenceId::Date(wall.date()),
                    _ => OccurrenceId::Wall(wall),
                };
                let Some(zone) = self.series.zone() else {
                    return Some((Occurrence { id, wall, instant: None }, false));
                };
                let ambiguous = zone.to_ambiguous_timestamp(wall);
                let is_gap = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
                Some((Occurrence { id, wall, instant: Some(ambiguous.compatible().ok()?) }, is_gap))
            }
        }
    }

    /// Walls do not look at an end that is an instant.
    fn is_before_end(&self, one: &Occurrence) -> bool {
        if let End::Instant(end) = self.series.rule.end { key(one) <= end } else { true }
    }

    fn of_rule(&mut self) -> Option<Occurrence> {
        loop {
            if self.ahead.is_none() {
                self.ahead = self.pull();
            }
            match (self.held.front(), &self.ahead) {
                (None, _) => return self.ahead.take(),
                (Some(_), None) => return self.held.pop_front(),
                (Some(held), Some(ahead)) if key(held) < key(ahead) => return self.held.pop_front(),
                // The series has that instant anyway: nothing rings twice.
                (Some(held), Some(ahead)) if key(held) == key(ahead) => _ = self.held.pop_front(),
                _ => return self.ahead.take(),
            }
        }
    }
}

impl Iterator for Occurrences<'_> {
    type Item = Occurrence;

    fn next(&mut self) -> Option<Occurrence> {
        loop {
            let one = match (self.of_rule(), self.more.last().copied()) {
                (Some(one), Some(more)) if key(&more) < key(&one) => {
                    self.more.pop();
                    self.put_back(one);
                    more
                }
                (Some(one), _) => one,
                (None, Some(more)) => {
                    self.more.pop();
                    more
                }
                (None, None) => return None,
            };
            let key = key(&one);
            if self.last.is_none_or(|last| key > last) && !self.series.is_excluded(&one) {
                self.last = Some(key);
                return Some(one);
            }
        }
    }
}

impl Occurrences<'_> {
    /// What the rule gave comes again before what it gives next.
    fn put_back(&mut self, one: Occurrence) {
        if let Some(ahead) = self.ahead.take() {
            // `one` was held: it stays before what is ahead.
            self.ahead = Some(ahead);
            self.held.push_front(one);
        } else {
            self.ahead = Some(one);
        }
    }
}
