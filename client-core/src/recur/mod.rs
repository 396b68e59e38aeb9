//! Recurrence: when a thing that repeats takes place, the same on every device (RFC 5545 §3.3.10, RFC 7529).
//!
//! A [`Rule`] is expanded in civil time and only then placed in a zone, so that "every day at 9" stays at 9 whatever
//! clocks do; rules of hours and minutes are expanded in elapsed time, so that a night in which clocks change has no
//! alarm too many or too few. What is due next is derived from which occurrences are settled, never stored: two devices
//! that settle the same one while apart cannot skip or double another.
//!
//! Where implementations differ, this one does as follows. The start is an occurrence only if the rule gives it.
//! `BYWEEKNO` without a day means the start's weekday. A week belongs to the year of its fourth day, and days of the
//! calendar year are asked which week they are in. `BYSETPOS` counts within the whole period, also before the start.

mod days;
mod expand;
mod explain;
mod rule;
mod series;
mod text;

#[cfg(test)]
mod tests;

pub use explain::{Coming, DateTimePair, Language, Remark};
pub use rule::{ByDay, COUNT_MAX, End, Frequency, INTERVAL_MAX, RULE_BYTES_MAX, Rule, RuleError, Skip};
pub use series::{
    CatchUp, Due, Gap, MISSED_MAX, NotAnOccurrence, Occurrence, OccurrenceId, Occurrences, Series, SeriesError, Start,
};
