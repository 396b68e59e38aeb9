//! When a target will be reached, and how sure that is.

use crate::crypto::Random;

/// Most samples that are looked at, the latest: pairs of them are compared.
pub const SAMPLES_MAX: usize = 60;
/// How often the residuals are drawn anew.
const DRAWS: usize = 400;

/// A value on a day; days are counted from anywhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The day.
    pub day: f64,
    /// The value.
    pub value: f64,
}

/// Days from now until a target is reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// By the slope as it is.
    pub days: f64,
    /// In one of ten cases sooner.
    pub p10: Option<f64>,
    /// In one of ten cases later; `None`: in more than one of ten it is never reached.
    pub p90: Option<f64>,
    /// The slope, a day.
    pub slope: f64,
}

fn median(numbers: &mut [f64]) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => None,
        length if length % 2 == 1 => Some(numbers[middle]),
        _ => Some(numbers[middle - 1] / 2.0 + numbers[middle] / 2.0),
    }
}

/// The median of the slopes between all pairs of samples (Theil 1950, Sen 1968): almost a third of the samples may be
/// anything without moving it far. `None` with fewer than two days.
#[must_use]
pub fn slope(samples: &[Sample]) -> Option<f64> {
    let mut slopes = Vec::with_capacity(samples.len() * samples.len() / 2);
    for (place, one) in samples.iter().enumerate() {
        let others = samples[..place].iter().filter(|other| other.day != one.day);
        slopes.extend(others.map(|other| (one.value - other.value) / (one.day - other.day)));
    }
    slopes.retain(|slope| slope.is_finite());
    median(&mut slopes)
}

/// `t = (target − value) / slope` from now on, over samples of the last `window` days; the interval by drawing the
/// residuals of the line anew (Efron 1979), with randomness that the caller gives, so that a seed gives the same figures.
/// Which way it is to go follows from the baseline. `None`: too little is known, or it goes the other way.
pub fn forecast(
    samples: &[Sample],
    now: f64,
    window: f64,
    (baseline, target): (f64, f64),
    random: &mut dyn Random,
) -> Option<Forecast> {
    let is_known = |sample: &&Sample| sample.day.is_finite() && sample.value.is_finite();
    let is_recent = |sample: &&Sample| sample.day <= now && now - sample.day <= window;
    let mut known: Vec<Sample> = samples.iter().filter(is_known).filter(is_recent).copied().collect();
    known.sort_by(|one, other| one.day.total_cmp(&other.day));
    known.drain(..known.len().saturating_sub(SAMPLES_MAX));
    let is_up = match baseline.partial_cmp(&target)? {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Greater => false,
        std::cmp::Ordering::Equal => return None,
    };
    let line = slope(&known)?;
    let last = known.last()?.value;
    let is_there = if is_up { last >= target } else { last <= target };
    if is_there {
        return Some(Forecast { days: 0.0, p10: Some(0.0), p90: Some(0.0), slope: line });
    }
    let middle = |line: f64, of: &[Sample]| {
        median(&mut of.iter().map(|sample| sample.value - line * sample.day).collect::<Vec<_>>())
    };
    let days_of = |line: f64, begin: f64| {
        let days = (target - (begin + line * now)) / line;
        let goes_there = if is_up { line > 0.0 } else { line < 0.0 };
        (goes_there && days.is_finite()).then(|| days.max(0.0))
    };
    let begin = middle(line, &known)?;
    let days = days_of(line, begin)?;
    let residuals: Vec<f64> = known.iter().map(|sample| sample.value - (begin + line * sample.day)).collect();
    let mut drawn: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let again: Vec<Sample> = known
                .iter()
                .map(|sample| {
                    let residual = residuals[below(random, residuals.len())];
                    Sample { day: sample.day, value: begin + line * sample.day + residual }
                })
                .collect();
            let found = slope(&again).and_then(|line| days_of(line, middle(line, &again)?));
            found.unwrap_or(f64::INFINITY)
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    let at = |share: f64| Some(drawn[(share * (DRAWS - 1) as f64).round() as usize]).filter(|days| days.is_finite());
    Some(Forecast { days, p10: at(0.1), p90: at(0.9), slope: line })
}

/// A number below another one; the tiny preference for small ones does not matter with so few.
fn below(random: &mut dyn Random, most: usize) -> usize {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    (u64::from_be_bytes(bytes) % most.max(1) as u64) as usize
}
