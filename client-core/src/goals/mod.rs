//! What goals come to: progress, pace, habits, streaks and forecasts, as functions of what was measured.
//!
//! Nothing of this is ever written into a document: it is derived from check-ins and metrics wherever it is shown, so that
//! devices with the same check-ins show the same. Each function names its source and has worked examples. Where
//! figures say nothing (no time, no distance, not a number) the answer is `None`, never a guess.

mod burn;
mod forecast;
mod habit;
mod progress;
mod streak;

#[cfg(test)]
mod tests;

pub use burn::{Step, burn_up, ideal};
pub use forecast::{Forecast, SAMPLES_MAX, Sample, forecast, slope};
pub use habit::{Amount, Frequency, Mark, Target, compute, numerical_scores, score_when_asked, scores};
pub use progress::{
    Band, KeyResult, Kind, Objective, Pace, Track, band, in_range, linear, objective, pace, required_rate,
};
pub use streak::{Day, Streaks, streaks};
