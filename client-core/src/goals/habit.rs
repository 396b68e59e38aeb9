//! How strong a habit is: the score of Loop Habit Tracker, as it publishes it.
//!
//! `s = s' · m + c · (1 − m)` with `m = 0.5^(√f / 13)`, day by day: `s'` is yesterday's score, `c` from 0 to 1 how much of
//! what is asked for was done within the habit's interval, `f` how often a day it is asked for. A day that is skipped
//! leaves the score as it is. (Loop: `Score.compute` and `ScoreList.recompute`; written anew here from the formula.)

/// How often a habit is asked for: so many times in so many days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frequency {
    times: u32,
    days: u32,
}

impl Frequency {
    /// `times` in `days`, each at least 1, and not more than once a day.
    #[must_use]
    pub fn new(times: u32, days: u32) -> Option<Self> {
        let is_sound = times > 0 && times <= days && days <= 10_000;
        // Every day of some days is every day.
        is_sound.then_some(if times == days { Self { times: 1, days: 1 } } else { Self { times, days } })
    }

    /// Times a day.
    #[must_use]
    pub fn a_day(self) -> f64 {
        f64::from(self.times) / f64::from(self.days)
    }
}

/// What is known of a day of a habit that is done or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Done.
    Yes,
    /// Not done, or nothing is known.
    No,
    /// Left out on purpose.
    Skip,
}

/// What is known of a day of a habit that is counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// So much.
    Of(f64),
    /// Left out on purpose.
    Skip,
}

/// What a habit that is counted asks for within its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
}

/// One day of the formula.
#[must_use]
pub fn compute(frequency_a_day: f64, previous: f64, completed: f64) -> f64 {
    let multiplier = 0.5_f64.powf(frequency_a_day.sqrt() / 13.0);
    previous * multiplier + completed * (1.0 - multiplier)
}

/// The score after each day, from the first day on.
#[must_use]
pub fn scores(days: &[Mark], frequency: Frequency) -> Vec<f64> {
    let f = frequency.a_day();
    // Less than daily: twice the interval, so that an uneven week does no harm.
    let twice = if f < 1.0 { 2 } else { 1 };
    let (times, within) = (f64::from(frequency.times * twice), (frequency.days * twice) as usize);
    let (mut done, mut score) = (0_u32, 0.0);
    let mut found = Vec::with_capacity(days.len());
    for (day, mark) in days.iter().enumerate() {
        done += u32::from(*mark == Mark::Yes);
        if day >= within && days[day - within] == Mark::Yes {
            done -= 1;
        }
        if *mark != Mark::Skip {
            score = compute(f, score, (f64::from(done) / times).min(1.0));
        }
        found.push(score);
    }
    found
}

/// The score after the last of the days that a habit asks for by a rule, of which there are so many a day in the mean. Days
/// in between leave it as it is. `None` without any.
#[must_use]
pub fn score_when_asked(asked: &[Mark], a_day: f64) -> Option<f64> {
    let is_sound = !asked.is_empty() && a_day.is_finite() && a_day > 0.0;
    let of_day = |score, mark: &Mark| match mark {
        Mark::Yes => compute(a_day, score, 1.0),
        Mark::No => compute(a_day, score, 0.0),
        Mark::Skip => score,
    };
    is_sound.then(|| asked.iter().fold(0.0, of_day))
}

/// As [`scores`], of a habit that is counted. One that asks for at most so much begins at 1.
#[must_use]
pub fn numerical_scores(days: &[Amount], frequency: Frequency, target: Target) -> Vec<f64> {
    let within = frequency.days as usize;
    let amount = |day: usize| match days[day] {
        Amount::Of(amount) if amount.is_finite() => amount.max(0.0),
        _ => 0.0,
    };
    let mut score = if matches!(target, Target::AtMost(_)) { 1.0 } else { 0.0 };
    let mut found = Vec::with_capacity(days.len());
    for (day, of_day) in days.iter().enumerate() {
        // Summed anew each day: what floating-point numbers lose does not add up over years.
        let sum: f64 = (day.saturating_sub(within - 1)..=day).map(amount).sum();
        if *of_day != Amount::Skip {
            score = compute(frequency.a_day(), score, completed(sum, target));
        }
        found.push(score);
    }
    found
}

fn completed(sum: f64, target: Target) -> f64 {
    match target {
        // What is no number is never reached, and never too much.
        Target::AtLeast(target) if !target.is_finite() => 0.0,
        Target::AtMost(target) if !target.is_finite() => 1.0,
        Target::AtLeast(target) if target > 0.0 => (sum / target).min(1.0),
        Target::AtLeast(_) => 1.0,
        Target::AtMost(target) if target > 0.0 => (1.0 - (sum - target) / target).clamp(0.0, 1.0),
        Target::AtMost(_) if sum > 0.0 => 0.0,
        Target::AtMost(_) => 1.0,
    }
}
