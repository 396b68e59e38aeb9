//! A goal as plain values: what its entity says, and which days and periods it asks for.

use std::collections::BTreeMap;

use jiff::civil::{Date, Weekday};
use jiff::{Span, Unit};
use serde_json::{Map, Value as Json};

use crate::goals::{Frequency, Kind as ResultKind};
use crate::recur::{Gap, Rule, Series, Start};

/// Days that are looked at, at most: ten years.
pub(super) const DAYS_MAX: i64 = 3_660;

/// How a goal is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoalType {
    /// Something done again and again.
    Habit,
    /// A value to come to.
    Reach,
    /// A range to stay in.
    Maintain,
    /// Something that comes about or does not.
    Milestone,
    /// An objective with key results.
    Okr,
    /// Milestones, one after another.
    Project,
}

/// How values come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// They add up.
    Sum,
    /// The last one counts.
    Last,
    /// The largest one counts.
    Max,
    /// The smallest one counts.
    Min,
    /// The mean of the last seven days that have one.
    Mean,
}

impl Aggregate {
    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "sum" => Self::Sum,
            "last" => Self::Last,
            "max" => Self::Max,
            "min" => Self::Min,
            "mean" => Self::Mean,
            _ => return None,
        })
    }

    /// Values of one day, in their order, as one; `None` for none.
    #[must_use]
    pub fn of_day(self, values: &[f64]) -> Option<f64> {
        match self {
            Self::Sum => values.iter().copied().reduce(|one, other| one + other),
            Self::Last => values.last().copied(),
            Self::Max => values.iter().copied().reduce(f64::max),
            Self::Min => values.iter().copied().reduce(f64::min),
            Self::Mean if values.is_empty() => None,
            Self::Mean => Some(values.iter().sum::<f64>() / values.len() as f64),
        }
    }
}

/// When a goal rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Its entry.
    pub id: String,
    /// First day.
    pub from: Date,
    /// Last day; `None`: it goes on.
    pub until: Option<Date>,
}

/// A key result.
#[derive(Debug, Clone, PartialEq)]
pub struct Result {
    /// Its entry.
    pub id: String,
    /// What is to come about.
    pub title: String,
    /// What kind of promise it is.
    pub kind: ResultKind,
    /// Where its values come from.
    pub metric: Option<String>,
    /// How they come together.
    pub agg: Aggregate,
    /// What they count.
    pub unit: Option<String>,
    /// Where it starts.
    pub baseline: f64,
    /// Where it is to come to.
    pub target: Option<f64>,
    /// How much it counts.
    pub weight: f64,
}

/// Something to be reached on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Milestone {
    /// Its entry.
    pub id: String,
    /// What it is.
    pub title: String,
    /// By which day.
    pub due: Option<Date>,
    /// On which day it was reached.
    pub done: Option<Date>,
}

/// Within which a habit is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Period {
    Days(i64),
    Week,
    Month,
    Quarter,
    Year,
}

/// A goal.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    /// How it is measured.
    pub goal_type: GoalType,
    /// First day that counts.
    pub start: Option<Date>,
    /// Last day that counts.
    pub end: Option<Date>,
    /// Where its values come from; `None`: check-ins.
    pub metric: Option<String>,
    /// How they come together.
    pub agg: Aggregate,
    /// Where it starts.
    pub baseline: Option<f64>,
    /// Where it is to come to; of a habit what a period asks for.
    pub target: Option<f64>,
    /// Smallest value to stay at.
    pub lower: Option<f64>,
    /// Largest value to stay at.
    pub upper: Option<f64>,
    /// The target of a habit is not to be passed.
    pub at_most: bool,
    /// How often a period asks for it.
    pub times: u32,
    period: Period,
    rule: Option<Rule>,
    /// Key results count by their weights.
    pub weighted: bool,
    /// When it rests, in order.
    pub pauses: Vec<Pause>,
    /// Key results, in order.
    pub results: Vec<Result>,
    /// Milestones, in order.
    pub milestones: Vec<Milestone>,
}

fn text<'m>(map: &'m Map<String, Json>, name: &str) -> Option<&'m str> {
    map.get(name).and_then(Json::as_str)
}

fn date(map: &Map<String, Json>, name: &str) -> Option<Date> {
    text(map, name)?.parse().ok()
}

fn number(map: &Map<String, Json>, name: &str) -> Option<f64> {
    let value = map.get(name)?;
    let parsed = value.as_str().map_or_else(|| value.as_f64(), |text| text.parse().ok())?;
    Some(parsed).filter(|number| number.is_finite())
}

fn entries<'l>(lists: &'l BTreeMap<String, Vec<Json>>, name: &str) -> Vec<(&'l str, &'l Map<String, Json>)> {
    let found = lists.get(name).into_iter().flatten().filter_map(Json::as_object);
    let mut found: Vec<_> = found.filter_map(|entry| Some((text(entry, "id")?, entry))).collect();
    // Without a rank last; ties by id.
    found.sort_by_key(|(id, entry)| (text(entry, "rank").is_none(), text(entry, "rank"), *id));
    found
}

impl Goal {
    /// Reads an entity's fields and entries, as the client gives them. What is not known here counts as not said.
    #[must_use]
    pub fn read(values: &Map<String, Json>, lists: &BTreeMap<String, Vec<Json>>) -> Self {
        let goal_type = match text(values, "type") {
            Some("reach") => GoalType::Reach,
            Some("maintain") => GoalType::Maintain,
            Some("milestone") => GoalType::Milestone,
            Some("okr") => GoalType::Okr,
            Some("project") => GoalType::Project,
            _ => GoalType::Habit,
        };
        let usual = if goal_type == GoalType::Maintain { Aggregate::Last } else { Aggregate::Sum };
        let length = number(values, "days").map(|days| days.clamp(1.0, 366.0) as i64);
        let period = match (length, text(values, "period")) {
            (Some(days), _) => Period::Days(days),
            (None, Some("week")) => Period::Week,
            (None, Some("month")) => Period::Month,
            (None, Some("quarter")) => Period::Quarter,
            (None, Some("year")) => Period::Year,
            _ => Period::Days(1),
        };
        let pauses = entries(lists, "pause").into_iter().filter_map(|(id, entry)| {
            Some(Pause { id: id.to_owned(), from: date(entry, "from")?, until: date(entry, "until") })
        });
        let milestones = entries(lists, "milestone").into_iter().map(|(id, entry)| Milestone {
            id: id.to_owned(),
            title: text(entry, "title").unwrap_or_default().to_owned(),
            due: date(entry, "due"),
            done: date(entry, "done"),
        });
        Self {
            goal_type,
            start: date(values, "start"),
            end: date(values, "end"),
            metric: text(values, "metric").map(str::to_owned),
            agg: text(values, "agg").and_then(Aggregate::named).unwrap_or(usual),
            baseline: number(values, "baseline"),
            target: number(values, "target"),
            lower: number(values, "lower"),
            upper: number(values, "upper"),
            at_most: values.get("at_most").and_then(Json::as_bool).unwrap_or(false),
            times: number(values, "times").map_or(1, |times| times.clamp(1.0, 1_000.0) as u32),
            period,
            rule: text(values, "rule").and_then(|text| Rule::parse(text).ok()).filter(|rule| !rule.is_sub_daily()),
            weighted: values.get("weighted").and_then(Json::as_bool).unwrap_or(false),
            pauses: pauses.collect(),
            results: entries(lists, "kr").into_iter().map(|(id, entry)| Result::read(id, entry)).collect(),
            milestones: milestones.collect(),
        }
    }

    /// Whether it rests on a day.
    #[must_use]
    pub fn rests_on(&self, day: Date) -> bool {
        self.pauses.iter().any(|pause| pause.from <= day && pause.until.is_none_or(|until| day <= until))
    }

    /// Whether a habit is counted in amounts, not in yes and no.
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        self.target.is_some()
    }

    /// The period that a day lies in: its first and last day.
    pub(super) fn period_of(&self, day: Date, first: Date) -> Option<(Date, Date)> {
        let begin = match self.period {
            Period::Days(1) => day,
            Period::Days(length) => {
                let passed = day_number(day) - day_number(first);
                day.checked_sub(Span::new().days(passed.rem_euclid(length))).ok()?
            }
            Period::Week => day.checked_sub(Span::new().days(i64::from(day.weekday().since(Weekday::Monday)))).ok()?,
            Period::Month => day.first_of_month(),
            Period::Quarter => Date::new(day.year(), (day.month() - 1) / 3 * 3 + 1, 1).ok()?,
            Period::Year => day.first_of_year(),
        };
        let length = match self.period {
            Period::Days(length) => Span::new().days(length),
            Period::Week => Span::new().days(7),
            Period::Month => Span::new().months(1),
            Period::Quarter => Span::new().months(3),
            Period::Year => Span::new().years(1),
        };
        Some((begin, begin.checked_add(length).ok()?.yesterday().ok()?))
    }

    /// Days of a period, for the score: as Loop counts them, a month has 30.
    const fn period_days(&self) -> u32 {
        match self.period {
            Period::Days(length) => length as u32,
            Period::Week => 7,
            Period::Month => 30,
            Period::Quarter => 91,
            Period::Year => 365,
        }
    }

    /// How often it is asked for, of a habit that is done or not. More often than daily is counted in amounts.
    pub(super) fn frequency(&self) -> Option<Frequency> {
        Frequency::new(if self.is_counted() { 1 } else { self.times }, self.period_days())
    }

    /// Whether periods are longer than a day.
    pub(super) fn has_long_periods(&self) -> bool {
        self.period != Period::Days(1)
    }

    /// Which of the days from one to another its rule asks for; `None`: it has no rule.
    pub(super) fn days_asked(&self, from: Date, to: Date) -> Option<Vec<Date>> {
        let rule = self.rule.clone()?;
        let start = self.start.unwrap_or(from);
        let series = Series::new(rule, Start::Date(start), Gap::default()).ok()?;
        let zone = jiff::tz::TimeZone::UTC;
        let at = from.to_zoned(zone.clone()).ok()?.timestamp();
        let days = series.since(at, &zone).map(|one| one.wall.date()).take_while(|day| *day <= to);
        Some(days.take(usize::try_from(DAYS_MAX).unwrap_or(usize::MAX)).collect())
    }
}

/// The days of an interval in order, both ends included.
pub(super) fn days(from: Date, to: Date) -> impl Iterator<Item = Date> {
    from.series(Span::new().days(1)).take_while(move |day| *day <= to)
}

/// A day as a number, for lines through days.
pub(super) fn day_number(day: Date) -> i64 {
    let since = Date::constant(1970, 1, 1).until((Unit::Day, day));
    since.map_or(0, |span| i64::from(span.get_days()))
}

impl Result {
    fn read(id: &str, entry: &Map<String, Json>) -> Self {
        Self {
            id: id.to_owned(),
            title: text(entry, "title").unwrap_or_default().to_owned(),
            kind: match text(entry, "kind") {
                Some("aspirational") => ResultKind::Aspirational,
                Some("learning") => ResultKind::Learning,
                Some("guardrail") => ResultKind::Guardrail,
                _ => ResultKind::Committed,
            },
            metric: text(entry, "metric").map(str::to_owned),
            agg: text(entry, "agg").and_then(Aggregate::named).unwrap_or(Aggregate::Last),
            unit: text(entry, "unit").map(str::to_owned),
            baseline: number(entry, "baseline").unwrap_or(0.0),
            target: number(entry, "target"),
            weight: number(entry, "weight").unwrap_or(1.0),
        }
    }
}
