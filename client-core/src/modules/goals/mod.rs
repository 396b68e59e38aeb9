//! Goals: one kernel over any metric. What is checked in is written down day by day; everything else is derived where
//! it
//! is shown, with the day as an argument (decision 0028).
//!
//! ```text
//! goal ── a document: what is wanted, pauses, key results, milestones, reviews
//! goal_year ── a document a goal and year, under an id that every device derives: a check-in is the entry of its day
//!     state  the last one counts, others are shown     value  likewise     added  additions of all devices count
//! ```
//!
//! | file | what |
//! |---|---|
//! | `declared` | what a goal and its check-ins are made of |
//! | `series` | metrics: check-ins, or fields of any kind |
//! | `goal` | a goal as plain values, and which days and periods it asks for |
//! | `forest` | which goal is part of which |
//! | `standing` | progress, streaks, score, pace, forecast, objective on a day |

pub mod declared;
mod forest;
mod goal;
pub mod series;
mod standing;
#[cfg(test)]
mod tests;

use automerge::{AutoCommit, ScalarValue};
use jiff::civil::Date;
use lifeos_sync_protocol::ids::{DocId, SpaceId};

use super::entity::{self, Fields};
use super::register::{is_set, put, with_prefix};
use crate::document::{DocumentError, singleton_doc_id};
use declared::{GOAL, GOAL_YEAR};
pub use forest::forest;
pub use goal::{Aggregate, Goal, GoalType, Milestone, Pause, Result as KeyResult};
pub use standing::{DayOf, Days, ForecastOf, ObjectiveOf, ResultOf, Standing, State, StreaksOf, standing};

/// Steps of one that is added: what is added is kept in millionths, exactly.
pub const ADDED_SCALE: i64 = 1_000_000;

/// The document of the check-ins of a goal in a year.
#[must_use]
pub fn year_doc(space: &SpaceId, goal: &DocId, year: i16) -> DocId {
    singleton_doc_id(space, GOAL_YEAR.name, &format!("{goal}/{year}"))
}

/// The entry of a day, of the goal itself or of a key result.
#[must_use]
pub fn check_in_id(on: Date, result: Option<&str>) -> String {
    result.map_or_else(|| on.to_string(), |result| format!("{on}.{result}"))
}

/// What is checked in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckIn {
    /// Kept, not kept, left out.
    pub state: Option<State>,
    /// What was measured, as a decimal: it takes the place of what was measured before.
    pub value: Option<String>,
    /// What was done, in millionths: it comes on top of what was done before, and of what other devices add.
    pub added: Option<i64>,
    /// What is to be said of it; empty takes it away.
    pub note: Option<String>,
    /// Takes back what is known of the day first; what was added here is taken off.
    pub clear: bool,
}

/// Writes a check-in into the document of its year.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] for a check-in that says nothing, [`DocumentError::InvalidValue`],
/// [`DocumentError::NeedsUpdate`].
pub fn check(
    doc: &mut AutoCommit,
    goal: &DocId,
    on: Date,
    result: Option<&str>,
    given: &CheckIn,
) -> Result<(), DocumentError> {
    let id = check_in_id(on, result);
    if !is_set(doc, "goal") {
        let head: Fields<'_> = &[("goal", goal.to_string().into()), ("year", i64::from(on.year()).into())];
        entity::set_all(doc, &GOAL_YEAR, head)?;
    }
    let mut fields: Vec<(&str, ScalarValue)> = Vec::new();
    if given.clear {
        fields.extend(["state", "value", "note"].map(|name| (name, ScalarValue::Null)));
    }
    fields.extend(given.state.map(|state| ("state", state.name().into())));
    fields.extend(given.value.as_deref().map(|value| ("value", value.into())));
    fields.extend(given.note.as_deref().map(|note| ("note", note_value(note))));
    if fields.is_empty() && given.added.is_none() {
        return Err(DocumentError::InvalidEdit("a check-in says something: done, failed, skipped or how much"));
    }
    if !fields.is_empty() {
        entity::put_row(doc, &GOAL_YEAR, "checkin", &id, &fields)?;
    }
    if given.clear {
        take_off(doc, &id)?;
    }
    match given.added {
        Some(by) => entity::add_to_row(doc, &GOAL_YEAR, "checkin", &id, "added", by).map(drop),
        None => Ok(()),
    }
}

fn note_value(note: &str) -> ScalarValue {
    if note.is_empty() { ScalarValue::Null } else { note.into() }
}

/// Takes off what all devices added: zero into the register of each, so that two who take off at once take off once.
fn take_off(doc: &mut AutoCommit, id: &str) -> Result<(), DocumentError> {
    let prefix = format!("checkin/{id}:added@");
    let streams: Vec<String> = with_prefix(doc, &prefix).map(|(stream, _)| stream).collect();
    streams.iter().try_for_each(|stream| put(doc, GOAL_YEAR.genesis(), &format!("{prefix}{stream}"), 0_i64))
}

/// A decimal in its one shortest form; `None` for what is none.
#[must_use]
pub fn decimal(text: &str) -> Option<String> {
    let text = text.trim();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if digits.is_empty() || digits == "." || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let (whole, fraction) = (if whole.is_empty() { "0" } else { whole }, fraction.trim_end_matches('0'));
    let sign = if whole == "0" && fraction.is_empty() { "" } else { sign };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

/// A decimal of at most six places in millionths; `None` for what is none, or more than can be counted exactly.
#[must_use]
pub fn millionths(text: &str) -> Option<i64> {
    let text = decimal(text)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    if fraction.len() > 6 {
        return None;
    }
    format!("{whole}{fraction:0<6}").parse().ok()
}

/// Lets a goal rest from a day on, until another one or for now. Two devices that do so from one day on make one pause.
///
/// # Errors
/// [`DocumentError`].
pub fn pause(doc: &mut AutoCommit, from: Date, until: Option<Date>) -> Result<(), DocumentError> {
    let id = from.to_string();
    let removed = entity::entries(doc, family("pause")?).contains(&id);
    if removed {
        entity::restore_row(doc, &GOAL, "pause", &id)?;
    }
    let until = until.map_or(ScalarValue::Null, |until| until.to_string().into());
    entity::put_row(doc, &GOAL, "pause", &id, &[("from", id.as_str().into()), ("until", until)])
}

/// Ends every pause that goes on: the day before is its last one. A pause that would have none is removed.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] when the goal does not rest on that day.
pub fn resume(doc: &mut AutoCommit, pauses: &[Pause], on: Date, now_ms: i64) -> Result<(), DocumentError> {
    let mut resting =
        pauses.iter().filter(|pause| pause.from <= on && pause.until.is_none_or(|until| until >= on)).peekable();
    if resting.peek().is_none() {
        return Err(DocumentError::InvalidEdit("the goal does not rest on that day"));
    }
    for pause in resting {
        match on.yesterday() {
            Ok(last) if last >= pause.from => {
                entity::put_row(doc, &GOAL, "pause", &pause.id, &[("until", last.to_string().into())])?;
            }
            _ => entity::remove_row(doc, &GOAL, "pause", &pause.id, now_ms)?,
        }
    }
    Ok(())
}

fn family(name: &str) -> Result<&'static crate::registry::Family, DocumentError> {
    GOAL.family(name).ok_or(DocumentError::InvalidEdit("there is no such list"))
}
