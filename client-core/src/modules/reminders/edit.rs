//! What people do with tasks: small functions on a document, to be run inside an edit.
//!
//! What is done of a task that repeats is an entry of its log, under the name of the occurrence: two devices that do the
//! same one write the same key. When it is due next is never written.

use automerge::{AutoCommit, ScalarValue};
use jiff::civil::Date;

use super::declared::{LIST, LOG_MAX, RINGS, TASK};
use super::facts::{Facts, Next, Place, Source as _};
use super::project::{OfDocument, facts};
use super::when;
use crate::document::DocumentError;
use crate::modules::entity;
use crate::modules::register::{is_set, scalar};
use crate::notify::FireId;
use crate::quick::{Anchor, Parsed, Reminder};
use crate::recur::OccurrenceId;
use crate::registry::Crdt;

const NOT_DUE: DocumentError = DocumentError::InvalidEdit("nothing of the task is due any more");
const NO_SUCH: DocumentError =
    DocumentError::InvalidEdit("the task does not take place then: see `lifeos task upcoming`");
const FULL: DocumentError =
    DocumentError::InvalidEdit("the log of the task is full: let it go on as a new task (task split)");

/// What a task is made of besides what its line says.
#[derive(Debug, Clone, Default)]
pub struct Given<'g> {
    /// Notes.
    pub notes: &'g str,
    /// Its list.
    pub list: Option<&'g str>,
    /// The task it is part of.
    pub parent: Option<&'g str>,
    /// Order among its siblings.
    pub rank: Option<String>,
}

/// Fills a new task from a line that has one meaning; `new_id` names its alarms.
///
/// # Errors
/// [`DocumentError::InvalidValue`] for what breaks a rule of tasks, as a title that is missing.
pub fn create(
    doc: &mut AutoCommit,
    line: &Parsed,
    given: &Given<'_>,
    today: Date,
    now_ms: i64,
    new_id: &mut dyn FnMut() -> String,
) -> Result<(), DocumentError> {
    let mut fields: Vec<(&str, ScalarValue)> =
        vec![("title", line.title.as_str().into()), ("status", "needs-action".into())];
    let due = line.due.as_ref().map(when::of_quick);
    fields.extend(line.start.as_ref().map(|start| ("start", when::of_quick(start).into())));
    fields.extend(line.deadline.map(|day| ("deadline", when::day(day).into())));
    fields.extend(line.minutes.map(|minutes| ("estimate", i64::from(minutes).into())));
    fields.extend(line.priority_of_icalendar().map(|priority| ("priority", i64::from(priority).into())));
    let due = match &line.repeat {
        Some(repeat) => {
            fields.push(("rule", repeat.rule.to_string().into()));
            if repeat.anchor == Anchor::Completion {
                fields.push(("anchor", "completion".into()));
            }
            due.or_else(|| line.start.is_none().then(|| when::day(today)))
        }
        None => due,
    };
    fields.extend(due.map(|due| ("due", due.into())));
    fields.extend(given.list.map(|list| ("list", list.into())));
    fields.extend(given.parent.map(|parent| ("parent", parent.into())));
    fields.extend(given.rank.as_deref().map(|rank| ("rank", rank.into())));
    entity::create(doc, &TASK, &fields, now_ms)?;
    if !given.notes.is_empty() {
        entity::set_text(doc, &TASK, "notes", given.notes)?;
    }
    line.tags.iter().try_for_each(|tag| entity::tag(doc, &TASK, "tag", tag))?;
    line.reminders.iter().try_for_each(|reminder| add_reminder(doc, reminder, &new_id()))
}

/// Adds an alarm.
///
/// # Errors
/// As [`entity::put_row`].
pub fn add_reminder(doc: &mut AutoCommit, reminder: &Reminder, id: &str) -> Result<(), DocumentError> {
    match reminder {
        Reminder::MinutesBefore(minutes) => {
            let of = if is_set(doc, "due") || !is_set(doc, "start") { "due" } else { "start" };
            let earlier: ScalarValue = (-i64::from(*minutes)).into();
            entity::put_row(doc, &TASK, "alarm", id, &[("kind", of.into()), ("minutes", earlier)])
        }
        Reminder::At(at) => {
            let at: ScalarValue = when::of_quick(at).into();
            entity::put_row(doc, &TASK, "alarm", id, &[("kind", "at".into()), ("at", at)])
        }
    }
}

/// What is due next of the task, as the document says in this moment.
#[must_use]
pub fn next(doc: &AutoCommit, place: &Place<'_>) -> Option<Next> {
    facts_at(doc, place).next(place)
}

/// What is known of the task's times.
#[must_use]
pub fn facts_at(doc: &AutoCommit, place: &Place<'_>) -> Facts {
    Facts::read(&OfDocument(doc), place.zones)
}

/// The occurrence that is meant: the one named, which must take place, or the one that is due.
fn meant(
    doc: &AutoCommit,
    named: Option<OccurrenceId>,
    place: &Place<'_>,
) -> Result<Option<OccurrenceId>, DocumentError> {
    let facts = facts_at(doc, place);
    if !facts.is_recurring() {
        return Ok(None);
    }
    let Some(named) = named else { return facts.next(place).ok_or(NOT_DUE).map(|next| next.occurrence) };
    let series = facts.series(place.zones).ok_or(NO_SUCH)?;
    let known = facts.log.contains_key(&named) || facts.next(place).is_some_and(|next| next.occurrence == Some(named));
    if known {
        return Ok(Some(named));
    }
    // A day stands for the time at which it takes place on it.
    let day = match named {
        OccurrenceId::Date(date) => date,
        OccurrenceId::Wall(wall) => wall.date(),
        OccurrenceId::Instant(instant) => place.zone.to_datetime(instant).date(),
    };
    let from = day.yesterday().ok().and_then(|day| place.zone.to_timestamp(day.at(0, 0, 0, 0)).ok()).ok_or(NO_SUCH)?;
    let near = series.since(from, place.zone).take_while(|one| one.wall.date() <= day.tomorrow().unwrap_or(day));
    let found = near
        .take(OCCURRENCES_A_DAY_MAX)
        .find(|one| one.id == named || matches!(named, OccurrenceId::Date(date) if one.wall.date() == date));
    found.map(|one| Some(one.id)).ok_or(NO_SUCH)
}

/// Occurrences of three days that are looked at: a rule of minutes has so many.
const OCCURRENCES_A_DAY_MAX: usize = 3 * 24 * 60;

/// What becomes of an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// It was done.
    Done,
    /// It is left out: neither done nor missed.
    Skip,
}

/// Says that a task, or an occurrence of it, was done or is skipped. Gives the occurrence.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] when nothing is due, there is no such occurrence, or its log is full.
pub fn settle(
    doc: &mut AutoCommit,
    settle: Settle,
    named: Option<OccurrenceId>,
    by: &str,
    place: &Place<'_>,
) -> Result<Option<OccurrenceId>, DocumentError> {
    let at = ScalarValue::Timestamp(place.now.as_millisecond());
    let Some(id) = meant(doc, named, place)? else {
        match settle {
            Settle::Done => {
                entity::set_all(doc, &TASK, &[("status", "completed".into()), ("completed", at)])?;
            }
            Settle::Skip => entity::set(doc, &TASK, "status", "cancelled")?,
        }
        return Ok(None);
    };
    make_room(doc, &id)?;
    let (set, unset) = match settle {
        Settle::Done => ("done", "skip"),
        Settle::Skip => ("skip", "done"),
    };
    let key = id.to_string();
    let is_said = |name: &str| scalar(doc, &format!("occ/{key}:{name}")).is_some();
    // Who says it again says nothing new: the first time stays.
    if is_said(set) && !is_said(unset) {
        return Ok(Some(id));
    }
    let fields = [(set, at), (unset, ScalarValue::Null), ("by", by.into())];
    entity::put_row(doc, &TASK, "occ", &key, &fields)?;
    Ok(Some(id))
}

fn make_room(doc: &AutoCommit, id: &OccurrenceId) -> Result<(), DocumentError> {
    let log = OfDocument(doc).entries("occ");
    let has_room = log.len() < LOG_MAX || log.iter().any(|(key, _)| *key == id.to_string());
    has_room.then_some(()).ok_or(FULL)
}

/// Takes back that a task or an occurrence was done or skipped; of what repeats without naming one, the last.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] when nothing was done of it.
pub fn unsettle(doc: &mut AutoCommit, named: Option<OccurrenceId>) -> Result<Option<OccurrenceId>, DocumentError> {
    const NOTHING: DocumentError = DocumentError::InvalidEdit("nothing of the task was done or skipped");
    let facts = facts(doc);
    if !facts.is_recurring() {
        if !facts.is_closed {
            return Err(NOTHING);
        }
        entity::set_all(doc, &TASK, &[("status", "needs-action".into()), ("completed", ScalarValue::Null)])?;
        return Ok(None);
    }
    let settled = facts.log.iter().filter(|(_, logged)| logged.is_settled());
    let last = || settled.clone().max_by_key(|(_, logged)| logged.done_ms.max(logged.skip_ms)).map(|(id, _)| *id);
    let id = match named {
        Some(named) => settled.clone().find(|(id, _)| **id == named).map(|(id, _)| *id),
        None => last(),
    };
    let id = id.ok_or(NOTHING)?;
    let fields = [("done", ScalarValue::Null), ("skip", ScalarValue::Null), ("by", ScalarValue::Null)];
    entity::put_row(doc, &TASK, "occ", &id.to_string(), &fields)?;
    Ok(Some(id))
}

/// Moves what is due to another time: of what repeats, that occurrence alone.
///
/// # Errors
/// As [`settle`], and [`DocumentError::InvalidValue`] for a time that breaks a rule.
pub fn reschedule(
    doc: &mut AutoCommit,
    to: &str,
    named: Option<OccurrenceId>,
    place: &Place<'_>,
) -> Result<Option<OccurrenceId>, DocumentError> {
    let id = meant(doc, named, place)?;
    match id {
        None => entity::set(doc, &TASK, "due", to)?,
        Some(id) => {
            make_room(doc, &id)?;
            entity::put_row(doc, &TASK, "occ", &id.to_string(), &[("moved", to.into())])?;
        }
    }
    // What was seen of the old time rings again at the new one.
    entity::add(doc, &TASK, "moves", 1)?;
    Ok(id)
}

/// Plans the task for a day, at a place among what is planned for it; `None` takes it out of any plan.
///
/// # Errors
/// [`DocumentError`].
pub fn plan_day(doc: &mut AutoCommit, day: Option<Date>, rank: Option<&str>) -> Result<(), DocumentError> {
    let day = day.map_or(ScalarValue::Null, |day| when::day(day).into());
    let rank = rank.map_or(ScalarValue::Null, Into::into);
    entity::set_all(doc, &TASK, &[("planned", day), ("planned_rank", rank)])
}

/// Makes a list, or gives the one that is there its name again.
///
/// # Errors
/// [`DocumentError`].
pub fn name_list(doc: &mut AutoCommit, name: &str, now_ms: i64) -> Result<(), DocumentError> {
    if !is_set(doc, "created") {
        return entity::create(doc, &LIST, &[("name", crate::modules::register::line(name).into())], now_ms);
    }
    entity::restore(doc, &LIST)
}

/// What somebody says of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Seen.
    Seen,
    /// To ring again at a time (ms UTC).
    Until(i64),
}

/// Writes down what somebody said of a ring, in the document of its month. What is put off is an entry for each time it was,
/// so that of two devices' the later one counts.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] when the month is full.
pub fn say(
    doc: &mut AutoCommit,
    month: &str,
    first: &FireId,
    said: Said,
    by: &str,
    now_ms: i64,
) -> Result<(), DocumentError> {
    if !is_set(doc, "created") {
        entity::create(doc, &RINGS, &[("month", month.into())], now_ms)?;
    }
    match said {
        Said::Seen if is_set(doc, &format!("ack/{first}:at")) => Ok(()),
        Said::Seen => {
            let at = ScalarValue::Timestamp(now_ms);
            entity::put_row(doc, &RINGS, "ack", &first.to_string(), &[("at", at), ("by", by.into())])
        }
        Said::Until(until) => {
            let key = format!("{first}.{}", until.div_euclid(1_000));
            entity::put_row(doc, &RINGS, "snooze", &key, &[("until", ScalarValue::Timestamp(until))])
        }
    }
}

/// An entry to be made: its family, its key, its fields by name.
type NewEntry = (&'static str, String, Vec<(String, ScalarValue)>);

/// How a task that repeats is ended, and goes on as a new one.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The occurrence with which the new one begins.
    pub at: OccurrenceId,
    /// The rule of the old one from now on.
    pub before: String,
    /// What the new one is made of: fields by name,
    fields: Vec<(&'static str, ScalarValue)>,
    /// entries (family, key, fields),
    entries: Vec<NewEntry>,
    /// and its notes.
    notes: String,
}

/// Families that go with a task that goes on; its log, and what other programs changed of single times, stay.
const KEPT: [&str; 6] = ["alarm", "check", "tag", "assignee", "link", "dep"];

/// Draws how a task goes on as a new one from an occurrence on, or from the one that is due.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] for one that does not repeat, or has nothing before or after that.
pub fn split(doc: &AutoCommit, named: Option<OccurrenceId>, place: &Place<'_>) -> Result<Split, DocumentError> {
    let (facts, id) = (facts_at(doc, place), meant(doc, named, place)?.ok_or(NOT_DUE)?);
    let series = facts.series(place.zones).ok_or(NOT_DUE)?;
    let one = series.occurrences().find(|one| one.id == id).ok_or(NO_SUCH)?;
    let is_first = series.occurrences().next().is_some_and(|first| first.id == id);
    let (before, after) = series.split(&one).filter(|_| !is_first).ok_or(NOT_DUE)?;
    let mut fields = Vec::new();
    for field in TASK.fields_of(None).filter(|field| field.crdt == Crdt::Register) {
        let own =
            matches!(field.name(), "created" | "del" | "uid" | "next" | "completed") || field.key.starts_with("schema");
        if let Some(value) = scalar(doc, field.key).filter(|_| !own) {
            fields.push((field.name(), value));
        }
    }
    let moved = |name: &'static str, text: Option<&str>| {
        let at = text.map(|text| when::like(text, one.wall));
        at.map(|at| (name, ScalarValue::from(at)))
    };
    fields.retain(|(name, _)| !matches!(*name, "rule" | "dtstart" | "due" | "start"));
    fields.push(("rule", after.to_string().into()));
    match &facts.dtstart {
        // What is due a while after its rule's time stays so.
        Some(begin) => {
            fields.extend(moved("dtstart", Some(begin)));
            fields.extend(facts.due_of(one.wall).map(|due| ("due", ScalarValue::from(due))));
        }
        None if facts.due.is_some() => fields.extend(moved("due", facts.due.as_deref())),
        None => fields.extend(moved("start", facts.start.as_deref())),
    }
    let mut entries = Vec::new();
    for name in KEPT {
        let Some(family) = TASK.family(name) else { continue };
        for key in entity::entries(doc, family) {
            let of = TASK.fields_of(Some(family.name)).filter(|field| field.name() != "del");
            let values: Vec<(String, ScalarValue)> =
                of.filter_map(|field| Some((field.name().to_owned(), scalar(doc, &field.key_of(&key))?))).collect();
            if !values.is_empty() && !is_set(doc, &format!("{name}/{key}:del")) {
                entries.push((name, key, values));
            }
        }
    }
    let notes = TASK.field_named("notes").map(|field| entity::text_of(doc, field)).unwrap_or_default();
    Ok(Split { at: id, before: before.rule().to_string(), fields, entries, notes })
}

/// Fills the task in which another one goes on. One that another device has begun stays as it is.
///
/// # Errors
/// [`DocumentError`].
pub fn begin_again(doc: &mut AutoCommit, split: &Split, now_ms: i64) -> Result<(), DocumentError> {
    if is_set(doc, "created") {
        return Ok(());
    }
    entity::create(doc, &TASK, &split.fields, now_ms)?;
    if !split.notes.is_empty() {
        entity::set_text(doc, &TASK, "notes", &split.notes)?;
    }
    for (family, key, values) in &split.entries {
        let values: Vec<(&str, ScalarValue)> =
            values.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        entity::put_row(doc, &TASK, family, key, &values)?;
    }
    Ok(())
}
