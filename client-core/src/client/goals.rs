//! Goals: what a person checks in, and where each goal stands on a day, over check-ins or fields of any other kind.

use std::collections::BTreeMap;

use jiff::Span;
use jiff::civil::Date;
use lifeos_sync_protocol::ids::DocId;
use serde_json::{Map, Value as Json, json};

use super::{Client, ClientError, Compare, Entity, EntityQuery};
use crate::modules::goals::declared::{GOAL, GOAL_YEAR};
use crate::modules::goals::series::Metric;
use crate::modules::goals::{self, Aggregate, CheckIn, DayOf, Days, Goal, Standing, State};
use crate::store::{CheckInRow, Step};

/// Goals that are listed at most.
const GOALS_MAX: u32 = 1_000;

/// A goal and where it stands.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct GoalView {
    /// The goal.
    pub goal: Entity,
    /// How deep it stands below what it is part of.
    pub depth: u32,
    /// Where it stands.
    pub standing: Standing,
}

/// Which goals to list.
#[derive(Debug, Clone, Default)]
pub struct GoalQuery {
    /// Of this area.
    pub area: Option<String>,
    /// Of this type.
    pub goal_type: Option<String>,
    /// In this group.
    pub group: Option<String>,
    /// Also those that are over, and drafts.
    pub all: bool,
}

impl Client {
    /// Makes a goal.
    /// # Errors
    /// [`ClientError::Invalid`] saying what is missing.
    pub fn goal_create(&self, given: &Map<String, Json>) -> Result<DocId, ClientError> {
        check_whole(given)?;
        self.check_parent(None, given)?;
        self.entity_create(GOAL.name, given)
    }

    /// Changes a goal; what is not mentioned stays, null takes a value away.
    /// # Errors
    /// [`ClientError::Invalid`] for another type, or a goal that would be part of itself.
    pub fn goal_edit(&self, id: &str, given: &Map<String, Json>) -> Result<(), ClientError> {
        let before = self.goal_entity(id)?;
        if given.get("type").is_some_and(|of| Some(of) != before.values.get("type")) {
            return Err(ClientError::invalid(
                "what was checked in is of this type of goal: make another goal for another type",
            ));
        }
        self.check_parent(Some(&before.id), given)?;
        self.entity_edit(&before.id, given)
    }

    fn goal_entity(&self, id: &str) -> Result<Entity, ClientError> {
        let entity = self.entity(id)?;
        if entity.kind == GOAL.name { Ok(entity) } else { Err(ClientError::not_found(format!("goal {id}"))) }
    }

    /// A goal is no part of itself, on the way up from what it is to be part of.
    fn check_parent(&self, id: Option<&str>, given: &Map<String, Json>) -> Result<(), ClientError> {
        let mut next = given.get("parent").and_then(Json::as_str).map(str::to_owned);
        let mut steps = 0;
        while let Some(parent) = next {
            steps += 1;
            if id == Some(parent.as_str()) || steps > GOALS_MAX {
                return Err(ClientError::invalid("a goal cannot be part of itself"));
            }
            let above = self.goal_entity(&parent)?;
            next = above.values.get("parent").and_then(Json::as_str).map(str::to_owned);
        }
        Ok(())
    }

    /// Checks in a day of a goal, or of one of its key results (its entry, or the beginning of its title).
    /// # Errors
    /// [`ClientError`].
    pub fn goal_check(&self, id: &str, result: Option<&str>, on: Date, given: &CheckIn) -> Result<(), ClientError> {
        let goal = self.goal_entity(id)?;
        if goal.trashed_ms.is_some() {
            return Err(ClientError::invalid("the goal is in the trash: restore it first"));
        }
        let result = result.map(|wanted| self.goal_entry(&goal, "kr", wanted)).transpose()?;
        let doc = self.entity_id(&goal.id)?.0;
        let year = goals::year_doc(&self.space(), &doc, on.year());
        self.edit(&year, GOAL_YEAR.genesis(), Step::Edit, |inner| {
            Ok(goals::check(inner, &doc, on, result.as_deref(), given)?)
        })
    }

    /// The one entry of a list of a goal whose id or title begins like this.
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Invalid`] for more than one.
    pub fn goal_entry(&self, goal: &Entity, list: &str, wanted: &str) -> Result<String, ClientError> {
        let folded = wanted.trim().to_lowercase();
        let begins = |entry: &&Json| {
            let of = |name: &str| entry[name].as_str().unwrap_or_default().to_lowercase();
            !folded.is_empty() && (of("id").starts_with(&folded) || of("title").starts_with(&folded))
        };
        let found: Vec<&Json> = goal.lists.get(list).into_iter().flatten().filter(begins).collect();
        let one = match found.as_slice() {
            [one] => one,
            [] => return Err(ClientError::not_found(format!("entry of the goal that begins with {wanted}"))),
            several => {
                let exact = several
                    .iter()
                    .find(|entry| entry["title"].as_str().is_some_and(|title| title.to_lowercase() == folded));
                exact.ok_or_else(|| ClientError::invalid("more than one entry begins like this; give more of it"))?
            }
        };
        Ok(one["id"].as_str().unwrap_or_default().to_owned())
    }

    /// Lets a goal rest from a day on.
    /// # Errors
    /// [`ClientError`].
    pub fn goal_pause(&self, id: &str, from: Date, until: Option<Date>) -> Result<(), ClientError> {
        self.entity_edit_as(&GOAL, id, |doc, _| goals::pause(doc, from, until))
    }

    /// Ends the rest of a goal: it counts from this day on.
    /// # Errors
    /// [`ClientError::Invalid`] when it does not rest.
    pub fn goal_resume(&self, id: &str, on: Date) -> Result<(), ClientError> {
        let entity = self.goal_entity(id)?;
        let goal = Goal::read(&entity.values, &entity.lists);
        self.entity_edit_as(&GOAL, &entity.id, |doc, now_ms| goals::resume(doc, &goal.pauses, on, now_ms))
    }

    /// The same goal for the time after this one: as long, with its key results from where they stand, none of it done.
    /// # Errors
    /// [`ClientError::Invalid`] for a goal without start and end.
    pub fn goal_next(&self, id: &str, today: Date) -> Result<DocId, ClientError> {
        let view = self.goal(id, today)?;
        let goal = Goal::read(&view.goal.values, &view.goal.lists);
        let Some((start, end)) = goal.start.zip(goal.end) else {
            return Err(ClientError::invalid("only a goal with a start and an end has a next one: set them first"));
        };
        let outside = |_| ClientError::invalid("the next goal would lie outside the calendar");
        let next = end.tomorrow().map_err(outside)?;
        let last = next_end(start, end, next)
            .ok_or_else(|| ClientError::invalid("the next goal would lie outside the calendar"))?;
        let mut given = view.goal.values.clone();
        given.retain(|name, _| GOAL.field_named(name).is_some() && name != "status");
        given.insert("start".into(), json!(next.to_string()));
        given.insert("end".into(), json!(last.to_string()));
        for (list, entries) in &view.goal.lists {
            let copied: Vec<Json> = match list.as_str() {
                "tag" => entries.clone(),
                "kr" => entries.iter().map(without_id).collect(),
                _ => continue,
            };
            given.insert(list.clone(), Json::Array(copied));
        }
        self.entity_create(GOAL.name, &given)
    }

    /// A goal and where it stands on a day.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn goal(&self, id: &str, today: Date) -> Result<GoalView, ClientError> {
        let entity = self.goal_entity(id)?;
        self.goal_view(entity, 0, today)
    }

    /// Goals and where they stand on a day; what is part of a goal follows it.
    /// # Errors
    /// [`ClientError`].
    pub fn goals(&self, query: &GoalQuery, today: Date) -> Result<Vec<GoalView>, ClientError> {
        let equal = |name: &str, value: &Option<String>| {
            value.as_ref().map(|value| (name.to_owned(), Compare::Is, value.clone()))
        };
        let wheres = equal("area", &query.area).into_iter().chain(equal("type", &query.goal_type)).collect();
        let labels = query.group.iter().map(|group| ("tag".to_owned(), group.clone())).collect();
        let listed = EntityQuery { wheres, labels, limit: GOALS_MAX, ..EntityQuery::default() };
        let goes_on = |goal: &Entity| matches!(goal.values.get("status").and_then(Json::as_str), None | Some("active"));
        let mut found: BTreeMap<String, Entity> = BTreeMap::new();
        for entity in self.entities(GOAL.name, &listed)?.into_iter().filter(|goal| query.all || goes_on(goal)) {
            found.insert(entity.id.clone(), self.entity(&entity.id)?);
        }
        let text = |id: &str, name: &str| found.get(id)?.values.get(name)?.as_str();
        let parents = found.keys().map(|id| (id.as_str(), text(id, "parent"))).collect();
        let rank = |id: &str| {
            let rank = text(id, "rank").unwrap_or("~").to_owned();
            (rank, found.get(id).map(|goal| goal.created_ms))
        };
        let order = goals::forest(&parents, rank);
        order.into_iter().filter_map(|(id, depth)| Some(self.goal_view(found.get(id)?.clone(), depth, today))).collect()
    }

    fn goal_view(&self, entity: Entity, depth: u32, today: Date) -> Result<GoalView, ClientError> {
        let goal = Goal::read(&entity.values, &entity.lists);
        let doc = self.entity_id(&entity.id)?.0;
        let check_ins = self.shared.reader().reads().check_ins(&self.space(), &doc)?;
        let mut days = days_of(&check_ins, None, goal.agg);
        self.measure(goal.metric.as_deref(), goal.agg, &mut days)?;
        let mut of_results = BTreeMap::new();
        for result in &goal.results {
            let mut days = days_of(&check_ins, Some(&result.id), result.agg);
            self.measure(result.metric.as_deref(), result.agg, &mut days)?;
            of_results.insert(result.id.clone(), days);
        }
        let standing = goals::standing(&goal, &days, &of_results, today, doc.as_ref());
        Ok(GoalView { goal: entity, depth, standing })
    }

    /// Amounts from the fields of another kind; what was said of a day stays.
    fn measure(&self, metric: Option<&str>, agg: Aggregate, days: &mut Days) -> Result<(), ClientError> {
        let Some(Metric::Series(series)) = metric.and_then(Metric::parse) else { return Ok(()) };
        let mut by_day: BTreeMap<Date, Vec<f64>> = BTreeMap::new();
        for (day, value) in self.shared.reader().reads().series(&self.space(), &series)? {
            if let Ok(day) = day.parse() {
                by_day.entry(day).or_default().push(value);
            }
        }
        days.values_mut().for_each(|day| day.amount = None);
        for (day, values) in by_day {
            days.entry(day).or_default().amount = agg.of_day(&values);
        }
        Ok(())
    }
}

/// The last day of a goal that begins behind another one: months and years stay what they are.
fn next_end(start: Date, end: Date, next: Date) -> Option<Date> {
    let after = end.tomorrow().ok()?;
    let months =
        (i32::from(after.year()) - i32::from(start.year())) * 12 + i32::from(after.month()) - i32::from(start.month());
    let span = if after.day() == start.day() && months > 0 {
        Span::new().months(months)
    } else {
        start.until((jiff::Unit::Day, after)).ok()?
    };
    next.checked_add(span).ok()?.yesterday().ok()
}

fn without_id(entry: &Json) -> Json {
    let mut entry = entry.clone();
    if let Some(map) = entry.as_object_mut() {
        map.remove("id");
    }
    entry
}

/// What the type of a goal cannot be without.
fn check_whole(given: &Map<String, Json>) -> Result<(), ClientError> {
    let has = |name: &str| given.get(name).is_some_and(|value| !value.is_null());
    let missing = |what: &str| Err(ClientError::invalid(what));
    match given.get("type").and_then(Json::as_str) {
        _ if !has("title") => missing("a goal needs a title"),
        None => missing("a goal needs a type: habit, reach, maintain, milestone, okr or project"),
        Some("reach") if !has("target") => missing("a goal to reach needs a target"),
        Some("maintain") if !has("lower") && !has("upper") => missing("a range needs a lower or an upper bound"),
        Some("habit") if given.get("at_most") == Some(&Json::Bool(true)) && !has("target") => {
            missing("a habit of at most so much needs a target")
        }
        Some(_) => Ok(()),
    }
}

/// Check-ins by day, of the goal itself or of a key result.
fn days_of(rows: &[CheckInRow], result: Option<&str>, agg: Aggregate) -> Days {
    let mut days = Days::new();
    for row in rows {
        let (day, of) = row.key.split_once('.').map_or((row.key.as_str(), None), |(day, of)| (day, Some(of)));
        let Some(day) = day.parse().ok().filter(|_| of == result) else { continue };
        let measured = row.value.as_deref().and_then(|value| value.parse::<f64>().ok());
        let known = DayOf {
            state: row.state.as_deref().and_then(State::named),
            amount: DayOf::amount(agg, measured, row.added),
            note: row.note.clone(),
        };
        days.insert(day, known);
    }
    days
}
