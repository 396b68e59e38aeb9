//! How far opportunities come, and how fast.

use jiff::civil::Date;

use super::declared::STAGES;

/// Stages that lie on the way to a position; the others end it.
const WAY: usize = 6;

/// A stage on the way.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Step {
    /// The stage.
    pub stage: &'static str,
    /// How many came to it or further.
    pub reached: u32,
    /// How many stand there now.
    pub here: u32,
    /// The share of those that came to it which went further.
    pub conversion: Option<f64>,
    /// Days that half of those who left it took at most.
    pub days_median: Option<f64>,
}

/// All of them together.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Funnel {
    /// Opportunities.
    pub all: u32,
    /// Stages on the way, in order.
    pub steps: Vec<Step>,
    /// How many were turned down.
    pub rejected: u32,
    /// How many one gave up.
    pub withdrawn: u32,
    /// The share of those applied for that came to an offer.
    pub offer_rate: Option<f64>,
}

fn share(of: u32, all: u32) -> Option<f64> {
    (all > 0).then(|| f64::from(of) / f64::from(all))
}

fn median(mut numbers: Vec<i64>) -> Option<f64> {
    numbers.sort_unstable();
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => None,
        length if length % 2 == 1 => Some(numbers[middle] as f64),
        _ => Some((numbers[middle - 1] + numbers[middle]) as f64 / 2.0),
    }
}

/// What the histories of opportunities come to: of each, stages with the day they were reached. Who comes to a stage
/// has
/// come past those before it, said or not. Conversion is `nᵢ₊₁ / nᵢ`; time in a stage is from its day to the next
/// later one.
#[must_use]
pub fn funnel(histories: &[Vec<(String, Date)>]) -> Funnel {
    let place = |stage: &str| STAGES.iter().position(|known| *known == stage);
    let (mut reached, mut here, mut days) = ([0_u32; WAY], [0_u32; WAY], vec![Vec::new(); WAY]);
    let (mut rejected, mut withdrawn) = (0, 0);
    for history in histories {
        let mut known: Vec<(Date, usize)> =
            history.iter().filter_map(|(stage, on)| Some((*on, place(stage)?))).collect();
        known.sort_unstable();
        let furthest = known.iter().map(|(_, place)| *place).filter(|place| *place < WAY).max();
        reached.iter_mut().take(furthest.map_or(0, |furthest| furthest + 1)).for_each(|count| *count += 1);
        match known.last().map(|(_, place)| *place) {
            Some(last) if last < WAY => here[last] += 1,
            Some(last) if STAGES.get(last) == Some(&"rejected") => rejected += 1,
            Some(_) => withdrawn += 1,
            None => {}
        }
        for pair in known.windows(2) {
            let [(from, place), (to, next)] = pair else { continue };
            if *place < WAY && place != next {
                days[*place].push(from.until((jiff::Unit::Day, *to)).map_or(0, |span| i64::from(span.get_days())));
            }
        }
    }
    let steps = (0..WAY).map(|at| Step {
        stage: STAGES[at],
        reached: reached[at],
        here: here[at],
        conversion: reached.get(at + 1).and_then(|next| share(*next, reached[at])),
        days_median: median(std::mem::take(&mut days[at])),
    });
    Funnel {
        all: u32::try_from(histories.len()).unwrap_or(u32::MAX),
        steps: steps.collect(),
        rejected,
        withdrawn,
        offer_rate: share(reached[4], reached[1]),
    }
}
