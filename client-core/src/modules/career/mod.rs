//! Career: skills, credentials that expire, positions and studies, learning, achievements, opportunities, and résumés
//! that
//! are views of all of this.
//!
//! | file | what |
//! |---|---|
//! | `declared` | what each of them is made of |
//! | `pipeline` | how far opportunities come, and how fast |
//! | `json_resume` | JSON Resume 1.0.0 in and out |

pub mod declared;
pub mod json_resume;
mod pipeline;
#[cfg(test)]
mod tests;

use automerge::AutoCommit;
use jiff::Span;
use jiff::civil::Date;

use super::entity;
use super::register::{scalar, text};
use crate::document::{Document, DocumentError};
use crate::projection::{Row, Value};
use crate::registry::Kind;
use declared::{CREDENTIAL, LEARNING, OPPORTUNITY, STAGES};
pub use pipeline::{Funnel, Step, funnel};

/// Days ahead of its end that a credential is to be renewed, where it does not say.
const RENEW_DAYS: i64 = 60;

/// A year, a month or a day: `2026`, `2026-03`, `2026-03-08` (JSON Resume's `iso8601`, with months and days that there
/// are).
#[must_use]
pub fn is_partial_date(text: &str) -> bool {
    let whole = match text.len() {
        4 => format!("{text}-01-01"),
        7 => format!("{text}-01"),
        _ => text.to_owned(),
    };
    let is_day =
        whole.parse::<Date>().is_ok_and(|day| day.to_string() == whole && (1_000..=2_999).contains(&day.year()));
    text.is_ascii() && matches!(text.len(), 4 | 7 | 10) && is_day
}

/// Writes down time that was spent learning.
///
/// # Errors
/// [`DocumentError::InvalidValue`], [`DocumentError::NeedsUpdate`].
pub fn log(doc: &mut AutoCommit, id: &str, on: Date, minutes: i64, note: Option<&str>) -> Result<(), DocumentError> {
    let mut fields = vec![("on", on.to_string().into()), ("minutes", minutes.into())];
    fields.extend(note.map(|note| ("note", note.into())));
    entity::put_row(doc, &LEARNING, "log", id, &fields)
}

/// Says that an opportunity came to a stage on a day. Two devices that say so make one entry.
///
/// # Errors
/// [`DocumentError::InvalidValue`], [`DocumentError::NeedsUpdate`].
pub fn come_to(doc: &mut AutoCommit, stage: &str, on: Date) -> Result<(), DocumentError> {
    let id = format!("{on}.{stage}");
    let there = OPPORTUNITY.family("history").is_some_and(|family| entity::entries(doc, family).contains(&id));
    if there {
        entity::restore_row(doc, &OPPORTUNITY, "history", &id)?;
    }
    entity::put_row(doc, &OPPORTUNITY, "history", &id, &[("stage", stage.into()), ("on", on.to_string().into())])
}

/// Where an opportunity stands: its last stage by day, of one day the furthest.
#[must_use]
pub fn last_stage<'s>(history: impl Iterator<Item = (&'s str, &'s str)>) -> Option<(&'s str, &'s str)> {
    let place = |stage: &str| STAGES.iter().position(|known| *known == stage);
    history.max_by(|(one, on), (other, at)| (on, place(one), one).cmp(&(at, place(other), other)))
}

/// The day from which on a credential is to be renewed.
#[must_use]
pub fn renew_on(expires: Date, ahead: Option<i64>) -> Date {
    expires.checked_sub(Span::new().days(ahead.unwrap_or(RENEW_DAYS).clamp(0, 3_650))).unwrap_or(expires)
}

fn int(doc: &AutoCommit, key: &str) -> Option<i64> {
    scalar(doc, key)?.as_i64()
}

/// Ids of the entries of a family that are not removed.
fn living(doc: &AutoCommit, kind: &Kind, name: &str) -> Vec<String> {
    let ids = kind.family(name).map(|family| entity::entries(doc, family)).unwrap_or_default();
    ids.into_iter().filter(|id| scalar(doc, &format!("{name}/{id}:del")).is_none()).collect()
}

fn sum(doc: &AutoCommit, kind: &Kind, family: &str, field: &str) -> Value {
    let numbers = living(doc, kind, family).into_iter().filter_map(|id| int(doc, &format!("{family}/{id}:{field}")));
    Value::Int(numbers.fold(0, i64::saturating_add))
}

/// When it is to be renewed, and how many units were earned.
fn derived_credential(document: &Document) -> (Vec<Value>, Vec<Row>) {
    let doc = document.read();
    let expires = text(doc, "expires").and_then(|day| day.parse().ok());
    let renew = expires.map(|expires| renew_on(expires, int(doc, "renew_days")).to_string());
    (vec![renew.into(), sum(doc, &CREDENTIAL, "unit", "n")], Vec::new())
}

/// How long was learnt, and when last.
fn derived_learning(document: &Document) -> (Vec<Value>, Vec<Row>) {
    let doc = document.read();
    let days = living(doc, &LEARNING, "log").into_iter().filter_map(|id| text(doc, &format!("log/{id}:on")));
    (vec![sum(doc, &LEARNING, "log", "minutes"), days.max().into()], Vec::new())
}

/// Where it stands, and since when.
fn derived_opportunity(document: &Document) -> (Vec<Value>, Vec<Row>) {
    let doc = document.read();
    let history: Vec<(String, String)> = living(doc, &OPPORTUNITY, "history")
        .into_iter()
        .filter_map(|id| Some((text(doc, &format!("history/{id}:stage"))?, text(doc, &format!("history/{id}:on"))?)))
        .collect();
    let last = last_stage(history.iter().map(|(stage, on)| (stage.as_str(), on.as_str())));
    let cell = |text: Option<&str>| Value::from(text.map(str::to_owned));
    (vec![cell(last.map(|(stage, _)| stage)), cell(last.map(|(_, on)| on))], Vec::new())
}
