//! Where a goal stands on a day: a pure function of the goal, of what is known of each day, and of the day.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Span, ToSpan as _};

use super::goal::{DAYS_MAX, day_number, days};
use super::{ADDED_SCALE, Aggregate, Goal, GoalType, KeyResult};
use crate::crypto::{SeededRandom, sha256_plain};
use crate::goals::{
    Amount, Band, Day, KeyResult as Scored, Kind, Mark, Sample, Target, Track, band, forecast, in_range, linear,
    numerical_scores, objective, pace, required_rate, score_when_asked, scores, streaks,
};

/// Days from which a forecast draws its line.
const FORECAST_DAYS: f64 = 28.0;
/// Days that a mean is of.
const MEAN_DAYS: usize = 7;

/// What a check-in says of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Kept.
    Yes,
    /// Not kept.
    Fail,
    /// Left out on purpose.
    Skip,
}

impl State {
    /// As it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Yes, Self::Fail, Self::Skip].into_iter().find(|state| state.name() == name)
    }
}

/// What is known of a day.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct DayOf {
    /// What was said.
    pub state: Option<State>,
    /// What was measured or done.
    pub amount: Option<f64>,
    /// What was noted.
    pub note: Option<String>,
}

/// What is known, by day.
pub type Days = BTreeMap<Date, DayOf>;

impl DayOf {
    /// What a check-in amounts to: what was measured, and what was added in millionths. Where values add up, both
    /// count; else
    /// what was measured goes first.
    #[must_use]
    pub fn amount(agg: Aggregate, measured: Option<f64>, added: i64) -> Option<f64> {
        let added = (added != 0).then(|| added as f64 / ADDED_SCALE as f64);
        match (agg, measured, added) {
            (Aggregate::Sum, Some(measured), Some(added)) => Some(measured + added),
            (_, measured, added) => measured.or(added),
        }
    }

    /// Whether it was done: said so, or measured more than nothing.
    fn is_done(&self) -> bool {
        match self.state {
            Some(state) => state == State::Yes,
            None => self.amount.is_some_and(|amount| amount > 0.0),
        }
    }

    /// How much: a yes without a number is one.
    fn how_much(&self) -> Option<f64> {
        match (self.state, self.amount) {
            (Some(State::Skip), None) => None,
            (Some(State::Yes), None) => Some(1.0),
            (Some(State::Fail), None) => Some(0.0),
            (_, amount) => amount,
        }
    }
}

/// Runs of a habit, in periods.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StreaksOf {
    /// The run that goes on.
    pub current: u32,
    /// The longest.
    pub longest: u32,
    /// The mean length.
    pub mean: f64,
    /// The share of periods that were kept.
    pub completion: Option<f64>,
}

/// When the target will be reached.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ForecastOf {
    /// By the slope as it is.
    #[serde(serialize_with = "as_text")]
    pub on: Date,
    /// In one of ten cases sooner.
    #[serde(serialize_with = "as_text_if_any")]
    pub p10: Option<Date>,
    /// In one of ten cases later; none: in more than one of ten never.
    #[serde(serialize_with = "as_text_if_any")]
    pub p90: Option<Date>,
    /// What comes on top a day.
    pub slope: f64,
}

fn as_text<S: serde::Serializer>(day: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(day)
}

fn as_text_if_any<S: serde::Serializer>(day: &Option<Date>, serializer: S) -> Result<S::Ok, S::Error> {
    match day {
        Some(day) => serializer.collect_str(day),
        None => serializer.serialize_none(),
    }
}

/// A key result and what it comes to.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ResultOf {
    /// Its entry.
    pub id: String,
    /// What is to come about.
    pub title: String,
    /// `committed`, `aspirational`, `learning` or `guardrail`.
    pub kind: &'static str,
    /// Where it is.
    pub value: Option<f64>,
    /// Where it is to come to.
    pub target: Option<f64>,
    /// From 0 to 1.
    pub score: Option<f64>,
    /// `red`, `yellow` or `green`.
    pub band: Option<&'static str>,
}

/// What an objective comes to.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ObjectiveOf {
    /// The mean of its key results without guardrails; none while there are no key results.
    pub score: Option<f64>,
    /// Red where a guardrail is broken, whatever the mean.
    pub band: Option<&'static str>,
    /// Committed key results that are not at 1.
    pub committed_open: Vec<String>,
    /// Guardrails that are not at 1.
    pub broken: Vec<String>,
    /// All of them.
    pub results: Vec<ResultOf>,
}

/// Where a goal stands.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Standing {
    /// Where it is; of a habit what was done in the period that goes on.
    pub value: Option<f64>,
    /// How far it is, from 0 to 1.
    pub progress: Option<f64>,
    /// Progress by time: 1 is even.
    pub pace: Option<f64>,
    /// `on`, `at_risk` or `off`.
    pub track: Option<&'static str>,
    /// What is needed a day to reach the target by the end.
    pub required_a_day: Option<f64>,
    /// Of a habit.
    pub streaks: Option<StreaksOf>,
    /// How strong a habit is, from 0 to 1.
    pub score: Option<f64>,
    /// When the target will be reached.
    pub forecast: Option<ForecastOf>,
    /// Of an objective.
    pub objective: Option<ObjectiveOf>,
    /// Milestones that are done.
    pub milestones_done: u32,
    /// Milestones.
    pub milestones: u32,
    /// The next milestone that is due.
    #[serde(serialize_with = "as_text_if_any")]
    pub next_milestone: Option<Date>,
    /// Whether it rests.
    pub rests: bool,
    /// The last days, the oldest first: `+` kept, `x` not kept, `s` left out, `p` rested, `.` nothing known, a space
    /// for days that
    /// it does not ask for.
    pub last_days: String,
    /// Amounts of the last days, the oldest first.
    pub last_amounts: Vec<Option<f64>>,
}

/// Days that [`Standing::last_days`] shows.
const SHOWN_DAYS: i64 = 28;

/// Where a goal stands on a day. `of_results`: what is known of each key result, by its entry. `seed` decides how the
/// forecast draws, so that all devices show the same: the goal's id.
#[must_use]
pub fn standing(goal: &Goal, known: &Days, of_results: &BTreeMap<String, Days>, today: Date, seed: &[u8]) -> Standing {
    let view = View::new(goal, known, today);
    let done = goal.milestones.iter().filter(|one| one.done.is_some_and(|done| done <= today));
    let open = goal.milestones.iter().filter(|one| one.done.is_none_or(|done| done > today));
    let mut found = Standing {
        milestones_done: u32::try_from(done.count()).unwrap_or(u32::MAX),
        milestones: u32::try_from(goal.milestones.len()).unwrap_or(u32::MAX),
        next_milestone: open.filter_map(|one| one.due).min(),
        rests: goal.rests_on(today),
        ..Standing::default()
    };
    view.last_days(&mut found);
    match goal.goal_type {
        GoalType::Habit => view.habit(&mut found),
        GoalType::Reach => view.reach(&mut found, seed),
        GoalType::Maintain => view.maintain(&mut found),
        GoalType::Milestone | GoalType::Project => view.milestones(&mut found),
        GoalType::Okr => {
            let of = objective_of(goal, of_results, today);
            found.progress = of.score;
            found.objective = Some(of);
        }
    }
    if let Some((progress, (passed, whole))) =
        found.progress.zip(view.time()).filter(|_| goal.goal_type != GoalType::Habit)
    {
        let of = pace(progress, passed, whole);
        found.pace = of.map(|of| of.pace);
        found.track = of.map(|of| track_name(of.track));
    }
    found
}

const fn track_name(track: Track) -> &'static str {
    match track {
        Track::On => "on",
        Track::AtRisk => "at_risk",
        Track::Off => "off",
    }
}

/// The name of a band.
const fn band_name(band: Band) -> &'static str {
    match band {
        Band::Red => "red",
        Band::Yellow => "yellow",
        Band::Green => "green",
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Committed => "committed",
        Kind::Aspirational => "aspirational",
        Kind::Learning => "learning",
        Kind::Guardrail => "guardrail",
    }
}

/// A goal, what is known of it, and the days that count.
struct View<'v> {
    goal: &'v Goal,
    known: &'v Days,
    today: Date,
    /// First and last day that count until today; `None`: it has not begun.
    window: Option<(Date, Date)>,
}

impl<'v> View<'v> {
    fn new(goal: &'v Goal, known: &'v Days, today: Date) -> Self {
        let first = goal.start.or_else(|| known.keys().next().copied());
        let oldest = today.checked_sub(Span::new().days(DAYS_MAX)).unwrap_or(today);
        let last = goal.end.map_or(today, |end| end.min(today));
        let window = first.map(|first| (first.max(oldest), last)).filter(|(first, last)| first <= last);
        Self { goal, known, today, window }
    }

    /// Days that have passed, today included, and days in all.
    fn time(&self) -> Option<(f64, f64)> {
        let (start, end) = self.goal.start.zip(self.goal.end)?;
        let whole = day_number(end) - day_number(start) + 1;
        let passed = (day_number(self.today) - day_number(start) + 1).clamp(0, whole);
        Some((passed as f64, whole as f64))
    }

    /// Amounts of the days that count, in order.
    fn amounts(&self) -> Vec<(Date, f64)> {
        let Some((first, last)) = self.window else { return Vec::new() };
        let inside = self.known.range(first..=last);
        inside.filter_map(|(day, of)| Some((*day, of.how_much().filter(|amount| amount.is_finite())?))).collect()
    }

    fn at(&self, day: Date) -> Option<&DayOf> {
        self.known.get(&day)
    }

    fn last_days(&self, found: &mut Standing) {
        let Ok(first) = self.today.checked_sub(Span::new().days(SHOWN_DAYS - 1)) else { return };
        let asked = self.goal.days_asked(first, self.today);
        for day in days(first, self.today) {
            let of = self.at(day);
            let is_asked = asked.as_ref().is_none_or(|asked| asked.contains(&day));
            found.last_days.push(match of.and_then(|of| of.state) {
                Some(State::Skip) => 's',
                Some(State::Fail) => 'x',
                _ if of.is_some_and(DayOf::is_done) => '+',
                _ if self.goal.rests_on(day) => 'p',
                _ if !is_asked => ' ',
                _ => '.',
            });
            found.last_amounts.push(of.and_then(|of| of.amount));
        }
    }

    fn reach(&self, found: &mut Standing, seed: &[u8]) {
        let line = cumulated(self.goal.agg, self.goal.baseline.unwrap_or(0.0), &self.amounts());
        let first = line.first().map(|(_, value)| *value);
        let baseline = match self.goal.agg {
            Aggregate::Sum => Some(self.goal.baseline.unwrap_or(0.0)),
            _ => self.goal.baseline.or(first),
        };
        found.value = line.last().map(|(_, value)| *value).or(baseline);
        let (Some(baseline), Some(target), Some(value)) = (baseline, self.goal.target, found.value) else { return };
        found.progress = linear(baseline, target, value);
        let left = self.goal.end.map(|end| (day_number(end) - day_number(self.today)) as f64);
        found.required_a_day = left.and_then(|left| required_rate(target, value, left));
        let samples: Vec<Sample> =
            line.iter().map(|(day, value)| Sample { day: day_number(*day) as f64, value: *value }).collect();
        let mut random = SeededRandom::new(seed_of(seed));
        let now = day_number(self.today) as f64;
        let of = forecast(&samples, now, FORECAST_DAYS, (baseline, target), &mut random);
        found.forecast = of.and_then(|of| {
            // What is lost in floating-point numbers makes no day.
            let whole = |days: f64| (days - 1e-6).ceil().clamp(0.0, 1_000_000.0) as i64;
            let on = |days: f64| self.today.checked_add(whole(days).days()).ok();
            Some(ForecastOf { on: on(of.days)?, p10: of.p10.and_then(on), p90: of.p90.and_then(on), slope: of.slope })
        });
    }

    fn maintain(&self, found: &mut Standing) {
        let amounts = self.amounts();
        found.value = cumulated(self.goal.agg, 0.0, &amounts).last().map(|(_, value)| *value);
        let values: Vec<Option<f64>> =
            amounts.iter().filter(|(day, _)| !self.goal.rests_on(*day)).map(|(_, value)| Some(*value)).collect();
        let (lower, upper) = (self.goal.lower.unwrap_or(f64::MIN), self.goal.upper.unwrap_or(f64::MAX));
        found.progress = in_range(&values, lower, upper);
    }

    fn milestones(&self, found: &mut Standing) {
        let is_kept =
            self.window.is_some_and(|(first, last)| self.known.range(first..=last).any(|(_, of)| of.is_done()));
        found.progress = Some(match found.milestones {
            0 => f64::from(u8::from(is_kept)),
            all => f64::from(found.milestones_done) / f64::from(all),
        });
    }

    fn habit(&self, found: &mut Standing) {
        let Some((first, last)) = self.window else { return };
        let periods = self.periods(first, last);
        let runs: Vec<Day> = periods.iter().map(|(_, of)| *of).collect();
        let of = streaks(&runs);
        found.streaks =
            Some(StreaksOf { current: of.current, longest: of.longest, mean: of.mean, completion: of.completion });
        found.score = self.score(first, last);
        found.progress = found.score;
        found.value = self.goal.period_of(self.today, first).map(|(begin, end)| {
            let inside = self.known.range(begin..=end);
            if self.goal.is_counted() {
                inside.filter_map(|(_, of)| of.how_much()).sum()
            } else {
                inside.filter(|(_, of)| of.is_done()).count() as f64
            }
        });
    }

    /// The periods that count, by their first day. The last one is the one that goes on, if there is one.
    fn periods(&self, first: Date, last: Date) -> Vec<(Date, Day)> {
        let mut found: Vec<(Date, Day)> = Vec::new();
        let mut add = |begin: Date, end: Date| {
            let goes_on = end >= self.today;
            found.push((begin, self.of_period(begin, end, goes_on)));
        };
        if let Some(asked) = self.goal.days_asked(first, last) {
            asked.into_iter().for_each(|day| add(day, day));
            return found;
        }
        let mut day = first;
        while day <= last {
            let Some((begin, end)) = self.goal.period_of(day, first) else { break };
            add(begin.max(first), end);
            let Ok(next) = end.tomorrow() else { break };
            day = next;
        }
        found
    }

    fn of_period(&self, begin: Date, end: Date, goes_on: bool) -> Day {
        let known: Vec<&DayOf> = self.known.range(begin..=end.min(self.today)).map(|(_, of)| of).collect();
        let kept = match self.goal.target {
            Some(target) => {
                let amounts: Vec<f64> = known.iter().filter_map(|of| of.how_much()).collect();
                let sum: f64 = amounts.iter().sum();
                match self.goal.at_most {
                    true if sum > target => return Day::Fail,
                    // While it goes on more can come.
                    true => !amounts.is_empty() && !goes_on,
                    false => sum >= target && !amounts.is_empty(),
                }
            }
            None => known.iter().filter(|of| of.is_done()).count() >= self.goal.times.max(1) as usize,
        };
        let rests = || days(begin, end).any(|day| self.goal.rests_on(day));
        let says = |state| known.iter().any(|of| of.state == Some(state));
        match () {
            () if kept => Day::Yes,
            () if says(State::Skip) => Day::Skip,
            () if rests() => Day::Paused,
            () if goes_on && (self.goal.has_long_periods() || !says(State::Fail)) => Day::Unknown,
            () => Day::Fail,
        }
    }

    /// The score on the last day, by Loop's formula. Days of rest leave it as it is, like those that are skipped.
    fn score(&self, first: Date, last: Date) -> Option<f64> {
        let mark = |day: Date| match self.at(day) {
            Some(of) if of.state == Some(State::Skip) => Mark::Skip,
            Some(of) if of.is_done() => Mark::Yes,
            _ if self.goal.rests_on(day) => Mark::Skip,
            _ => Mark::No,
        };
        if let Some(asked) = self.goal.days_asked(first, last) {
            let kept = |day: &Date| match (self.goal.target, self.at(*day)) {
                (Some(_), _) if self.of_period(*day, *day, false) == Day::Yes => Mark::Yes,
                (Some(_), Some(of)) if of.state == Some(State::Skip) => Mark::Skip,
                (Some(_), _) if self.goal.rests_on(*day) => Mark::Skip,
                (Some(_), _) => Mark::No,
                (None, _) => mark(*day),
            };
            let marks: Vec<Mark> = asked.iter().map(kept).collect();
            let whole = day_number(last) - day_number(first) + 1;
            return score_when_asked(&marks, marks.len() as f64 / whole as f64);
        }
        let frequency = self.goal.frequency();
        let counted = self.goal.target.or_else(|| frequency.is_none().then(|| f64::from(self.goal.times)));
        let Some(target) = counted else {
            let marks: Vec<Mark> = days(first, last).map(mark).collect();
            return scores(&marks, frequency?).last().copied();
        };
        let amounts: Vec<Amount> = days(first, last)
            .map(|day| match (self.at(day).and_then(DayOf::how_much), mark(day)) {
                (Some(amount), _) => Amount::Of(amount),
                (None, Mark::Skip) => Amount::Skip,
                (None, _) => Amount::Of(0.0),
            })
            .collect();
        let target = if self.goal.at_most { Target::AtMost(target) } else { Target::AtLeast(target) };
        let frequency = frequency.or_else(|| crate::goals::Frequency::new(1, 1))?;
        numerical_scores(&amounts, frequency, target).last().copied()
    }
}

/// Values day by day as they come together.
fn cumulated(agg: Aggregate, baseline: f64, amounts: &[(Date, f64)]) -> Vec<(Date, f64)> {
    let mut line: Vec<(Date, f64)> = Vec::with_capacity(amounts.len());
    for (place, (day, amount)) in amounts.iter().enumerate() {
        let before = line.last().map(|(_, value)| *value);
        let value = match agg {
            Aggregate::Sum => before.unwrap_or(baseline) + amount,
            Aggregate::Last => *amount,
            Aggregate::Max => before.map_or(*amount, |before| before.max(*amount)),
            Aggregate::Min => before.map_or(*amount, |before| before.min(*amount)),
            Aggregate::Mean => {
                let of = &amounts[place.saturating_sub(MEAN_DAYS - 1)..=place];
                of.iter().map(|(_, amount)| amount).sum::<f64>() / of.len() as f64
            }
        };
        line.push((*day, value));
    }
    line
}

fn result_of(result: &KeyResult, known: Option<&Days>, today: Date) -> ResultOf {
    let amounts: Vec<(Date, f64)> = known
        .into_iter()
        .flat_map(|known| known.range(..=today))
        .filter_map(|(day, of)| Some((*day, of.how_much().filter(|amount| amount.is_finite())?)))
        .collect();
    let value = cumulated(result.agg, result.baseline, &amounts).last().map(|(_, value)| *value);
    let score = value.zip(result.target).and_then(|(value, target)| linear(result.baseline, target, value));
    ResultOf {
        id: result.id.clone(),
        title: result.title.clone(),
        kind: kind_name(result.kind),
        value,
        target: result.target,
        score,
        band: score.map(|score| band_name(band(score))),
    }
}

fn objective_of(goal: &Goal, of_results: &BTreeMap<String, Days>, today: Date) -> ObjectiveOf {
    let results: Vec<ResultOf> =
        goal.results.iter().map(|result| result_of(result, of_results.get(&result.id), today)).collect();
    let scored: Vec<Scored> = goal
        .results
        .iter()
        .zip(&results)
        .map(|(result, of)| Scored { score: of.score, weight: result.weight, kind: result.kind })
        .collect();
    let of = objective(&scored, goal.weighted);
    let titles = |places: &[usize]| places.iter().map(|place| results[*place].title.clone()).collect();
    ObjectiveOf {
        score: of.as_ref().map(|of| of.score),
        band: of.as_ref().map(|of| band_name(of.band)),
        committed_open: of.as_ref().map(|of| titles(&of.committed_open)).unwrap_or_default(),
        broken: of.as_ref().map(|of| titles(&of.broken)).unwrap_or_default(),
        results,
    }
}

fn seed_of(seed: &[u8]) -> u64 {
    let digest = sha256_plain(&[seed]);
    digest[..8].iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}
