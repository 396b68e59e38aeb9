//! Runs of periods in which a habit was kept.

/// A period of a habit: a day, a week, a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Day {
    /// Kept.
    Yes,
    /// Said to be not kept.
    Fail,
    /// Left out on purpose: neither kept nor broken.
    Skip,
    /// The habit rested: likewise.
    Paused,
    /// Nothing is known. Of the last period, which is not over, that breaks nothing.
    Unknown,
}

/// Runs of a habit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Streaks {
    /// The run that is still going on.
    pub current: u32,
    /// The longest.
    pub longest: u32,
    /// The mean length.
    pub mean: f64,
    /// How many there were.
    pub count: u32,
    /// The share of periods that were kept, of those that count.
    pub completion: Option<f64>,
}

/// Runs of periods, of which the last is the one that is going on now. A run is as long as the periods in it that were
/// kept; what was skipped or paused in it does not break it and does not make it longer.
#[must_use]
pub fn streaks(periods: &[Day]) -> Streaks {
    let mut runs: Vec<u32> = Vec::new();
    let (mut run, mut kept, mut counted) = (0_u32, 0_u32, 0_u32);
    let last = periods.len().saturating_sub(1);
    for (place, period) in periods.iter().enumerate() {
        match period {
            Day::Yes => (run, kept, counted) = (run + 1, kept + 1, counted + 1),
            Day::Skip | Day::Paused => {}
            Day::Unknown if place == last => {}
            Day::Fail | Day::Unknown => {
                counted += 1;
                runs.extend((run > 0).then_some(run));
                run = 0;
            }
        }
    }
    let current = run;
    runs.extend((run > 0).then_some(run));
    let count = u32::try_from(runs.len()).unwrap_or(u32::MAX);
    let mean = if runs.is_empty() { 0.0 } else { f64::from(kept) / f64::from(count) };
    let completion = (counted > 0).then(|| f64::from(kept) / f64::from(counted));
    Streaks { current, longest: runs.iter().copied().max().unwrap_or(0), mean, count, completion }
}
