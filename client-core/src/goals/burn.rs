//! Work that is done against work that is planned.

/// What changed on a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The day, counted from anywhere.
    pub day: i64,
    /// How much was finished, or by how much less is.
    pub done: f64,
    /// How much was added to what is to be done, or taken away.
    pub scope: f64,
}

/// What is done and what there is to do, in sum, at the end of each day on which something changed: two lines, so that
/// work which is added does not look like work which is not done (burn-up chart; Cockburn, "Crystal Clear").
#[must_use]
pub fn burn_up(steps: &[Step]) -> Vec<Step> {
    let mut sorted: Vec<Step> =
        steps.iter().filter(|step| step.done.is_finite() && step.scope.is_finite()).copied().collect();
    sorted.sort_by_key(|step| step.day);
    let mut sums: Vec<Step> = Vec::new();
    for step in sorted {
        let before = sums.last().copied().unwrap_or(Step { day: step.day, done: 0.0, scope: 0.0 });
        let sum = Step { day: step.day, done: before.done + step.done, scope: before.scope + step.scope };
        match sums.last_mut() {
            Some(last) if last.day == step.day => *last = sum,
            _ => sums.push(sum),
        }
    }
    sums
}

/// What would be left after some of the time if it went evenly: `R₀ · (1 − t / T)`, from `R₀` to 0 (burn-down chart's
/// ideal line; Schwaber, "Scrum").
#[must_use]
pub fn ideal(scope: f64, passed: f64, whole: f64) -> Option<f64> {
    let share = passed / whole;
    (whole > 0.0 && share.is_finite() && scope.is_finite()).then(|| scope * (1.0 - share.clamp(0.0, 1.0)))
}
