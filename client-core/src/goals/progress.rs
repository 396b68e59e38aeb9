//! Progress towards a target, objectives, and whether it goes fast enough.

fn finite(number: f64) -> Option<f64> {
    number.is_finite().then_some(number)
}

/// How much of the way from a baseline to a target is done, from 0 to 1; a target below the baseline is a falling one.
/// `p = clamp((value − baseline) / (target − baseline), 0, 1)`, the usual measure of key results (Doerr, "Measure What
/// Matters"). `None` where there is no way to go.
///
/// ```
/// use lifeos_client_core::goals::linear;
/// // From 90 kg down to 80: at 87 it is three tenths.
/// assert_eq!(linear(90.0, 80.0, 87.0), Some(0.3));
/// assert_eq!(linear(1.0, 1.0, 1.0), None);
/// ```
#[must_use]
pub fn linear(baseline: f64, target: f64, value: f64) -> Option<f64> {
    // Halves, so that the distance of two finite numbers is finite.
    let way = target / 2.0 - baseline / 2.0;
    let done = value / 2.0 - baseline / 2.0;
    (way != 0.0).then(|| finite(done / way))?.map(|progress| progress.clamp(0.0, 1.0))
}

/// The share of days on which a value was within bounds, of the days of which there is a value ("time in range", as in
/// the Advanced Technologies & Treatments for Diabetes consensus of 2019).
#[must_use]
pub fn in_range(days: &[Option<f64>], lower: f64, upper: f64) -> Option<f64> {
    let known: Vec<f64> = days.iter().copied().flatten().filter(|value| value.is_finite()).collect();
    let inside = known.iter().filter(|value| (lower..=upper).contains(*value)).count();
    (!known.is_empty() && lower <= upper).then(|| inside as f64 / known.len() as f64)
}

/// What kind of promise a key result is (Google re:Work, "Set goals with OKRs").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To be reached in full.
    Committed,
    /// A stretch: 0.6 to 0.7 is a good end.
    Aspirational,
    /// Something to find out.
    Learning,
    /// Something that must not get worse; it is never averaged away.
    Guardrail,
}

/// A key result with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyResult {
    /// 0 to 1; `None`: nothing was measured yet, which counts as 0.
    pub score: Option<f64>,
    /// 0 to 100.
    pub weight: f64,
    /// What kind of promise it is.
    pub kind: Kind,
}

/// How good a score is (re:Work): 0.0 to 0.3, 0.4 to 0.6, 0.7 to 1.0, in tenths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Band {
    /// No real progress.
    Red,
    /// Progress, and not there.
    Yellow,
    /// Delivered.
    Green,
}

/// The band of a score, which is rounded to tenths first.
#[must_use]
pub fn band(score: f64) -> Band {
    match (score.clamp(0.0, 1.0) * 10.0).round() {
        tenths if tenths >= 7.0 => Band::Green,
        tenths if tenths >= 4.0 => Band::Yellow,
        _ => Band::Red,
    }
}

/// What an objective comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// The mean of its key results, by weight if they are weighted; without guardrails.
    pub score: f64,
    /// Its band: red where a guardrail is broken, whatever the mean.
    pub band: Band,
    /// Places of committed key results that are not at 1.
    pub committed_open: Vec<usize>,
    /// Places of guardrails that are not at 1.
    pub broken: Vec<usize>,
}

/// The score of an objective (re:Work: "the average of the key results"). `None` without key results, or if all weigh
/// nothing.
#[must_use]
pub fn objective(results: &[KeyResult], is_weighted: bool) -> Option<Objective> {
    let score_of = |result: &KeyResult| result.score.and_then(finite).unwrap_or(0.0).clamp(0.0, 1.0);
    let weight_of = |result: &KeyResult| match is_weighted {
        true => finite(result.weight).unwrap_or(0.0).clamp(0.0, 100.0),
        false => 1.0,
    };
    let counted = || results.iter().filter(|result| result.kind != Kind::Guardrail);
    let whole: f64 = counted().map(weight_of).sum();
    let sum: f64 = counted().map(|result| weight_of(result) * score_of(result)).sum();
    if whole <= 0.0 {
        return None;
    }
    let open = |kind: Kind| -> Vec<usize> {
        let is_open = |(_, result): &(usize, &KeyResult)| result.kind == kind && score_of(result) < 1.0;
        results.iter().enumerate().filter(is_open).map(|(place, _)| place).collect()
    };
    let (score, broken) = ((sum / whole).clamp(0.0, 1.0), open(Kind::Guardrail));
    let band = if broken.is_empty() { band(score) } else { Band::Red };
    Some(Objective { score, band, committed_open: open(Kind::Committed), broken })
}

/// Whether something goes fast enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Track {
    /// At least nine tenths of what would be even.
    On,
    /// At least seven tenths.
    AtRisk,
    /// Less.
    Off,
}

/// Progress against the time that has passed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Progress divided by the share of time that has passed: 1 is even (earned value's schedule performance index,
    /// PMI PMBOK §7, with time as the plan).
    pub pace: f64,
    /// What that means.
    pub track: Track,
}

/// The pace of a progress from 0 to 1 when so much of a time has passed, both in the same unit. `None` before it begins.
#[must_use]
pub fn pace(progress: f64, passed: f64, whole: f64) -> Option<Pace> {
    let elapsed = finite(passed / whole).filter(|_| whole > 0.0 && passed > 0.0)?.min(1.0);
    let pace = finite(progress.clamp(0.0, 1.0) / elapsed)?;
    let track = match pace {
        pace if pace >= 0.9 => Track::On,
        pace if pace >= 0.7 => Track::AtRisk,
        _ => Track::Off,
    };
    Some(Pace { pace, track })
}

/// How much a day is needed from now on: what is left, divided by the time that is left. `None` where none is.
#[must_use]
pub fn required_rate(target: f64, value: f64, days_left: f64) -> Option<f64> {
    (days_left > 0.0).then(|| finite((target - value) / days_left))?
}
