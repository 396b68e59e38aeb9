//! What a goal and a year of its check-ins are made of.

use crate::document::{Document, GenesisId};
use crate::modules::entity;
use crate::modules::register::{scalar, text};
use crate::projection::{Row, Value};
use crate::recur::Rule as Recurrence;
use crate::registry::{
    Column, Crdt, Essential, Extra, Family, Field, FieldType, Genesis, Kind, Module, Place, Projection, Rule,
    Validation, Values, line_of,
};

use super::series::Metric;

/// A goal.
pub const GOAL_GENESIS: GenesisId = GenesisId(20);
/// The check-ins of a goal in a year.
pub const GOAL_YEAR_GENESIS: GenesisId = GenesisId(21);
/// Most check-ins of a document: one for each day of a goal and of a few of its key results.
const CHECK_INS_MAX: usize = 2_000;

/// Goals over any metric.
pub static MODULE: Module = Module {
    name: "goals",
    label: "Goals",
    purpose: "Habits, targets, objectives with key results and milestones, and what was done towards them day by day",
    kinds: &[&GOAL, &GOAL_YEAR],
};

/// A goal.
pub static GOAL: Kind = Kind {
    name: "goal",
    label: "Goal",
    purpose: "A habit, a target, a range to stay in, an objective or a project",
    first: &GOAL_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(200),
    fields: GOAL_FIELDS,
    families: &[
        Family { name: "pause", label: "Pause", table: "goal_pause", rows_max: 500 },
        Family { name: "kr", label: "Key result", table: "goal_kr", rows_max: 50 },
        Family { name: "milestone", label: "Milestone", table: "goal_milestone", rows_max: 200 },
        Family { name: "review", label: "Review", table: "goal_review", rows_max: 1_000 },
        Family { name: "link", label: "Link", table: "goal_link", rows_max: 200 },
        Family { name: "tag", label: "Group", table: "goal_tag", rows_max: 50 },
    ],
    rules: GOAL_RULES,
    projection: Projection::Fields {
        table: "goal",
        extra: Some(Extra {
            columns: &[
                Column::integer("results"),
                Column::integer("milestones"),
                Column::integer("milestones_done"),
                Column::text("next_milestone"),
                Column::text("resting_since"),
            ],
            tables: &[],
            project: derived,
        }),
    },
};

/// The check-ins of a goal in a year: a document that every device names alike, so that those of two devices that were
/// apart are entries of one document.
pub static GOAL_YEAR: Kind = Kind {
    name: "goal_year",
    label: "Year of check-ins",
    purpose: "What was done towards a goal in a year",
    first: &GOAL_YEAR_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(200),
    fields: GOAL_YEAR_FIELDS,
    families: &[Family { name: "checkin", label: "Check-in", table: "goal_checkin", rows_max: CHECK_INS_MAX }],
    rules: &[],
    projection: Projection::Fields { table: "goal_year", extra: None },
};

fn in_order(values: &Values<'_>, first: &str, last: &str) -> bool {
    values.text(first).zip(values.text(last)).is_none_or(|(first, last)| first <= last)
}

fn differ(values: &Values<'_>, one: &str, other: &str) -> bool {
    values.text(one).zip(values.text(other)).is_none_or(|(one, other)| one != other)
}

fn is_rule(text: &str) -> bool {
    Recurrence::parse(text).is_ok_and(|rule| !rule.is_sub_daily())
}

const GOAL_RULES: &[Rule] = &[
    Rule {
        id: "goal.window",
        text: "a goal ends after it starts",
        family: None,
        fields: &["start", "end"],
        holds: |values| in_order(values, "start", "end"),
    },
    Rule {
        id: "goal.way",
        text: "the target is not where it starts from",
        family: None,
        fields: &["baseline", "target"],
        holds: |values| differ(values, "baseline", "target"),
    },
    Rule {
        id: "goal.range",
        text: "the lower bound is below the upper one",
        family: None,
        fields: &["lower", "upper"],
        holds: |values| {
            let bound = |name| values.text(name)?.parse::<f64>().ok();
            bound("lower").zip(bound("upper")).is_none_or(|(lower, upper)| lower < upper)
        },
    },
    Rule {
        id: "goal.pause.window",
        text: "a pause ends after it starts",
        family: Some("pause"),
        fields: &["from", "until"],
        holds: |values| in_order(values, "from", "until"),
    },
    Rule {
        id: "goal.kr.way",
        text: "the target is not where it starts from",
        family: Some("kr"),
        fields: &["baseline", "target"],
        holds: |values| differ(values, "baseline", "target"),
    },
];

const PROMISES: &[&str] = &["committed", "aspirational", "learning", "guardrail"];
const PERIODS: &[&str] = &["day", "week", "month", "quarter", "year"];
const AGGREGATES: &[&str] = &["sum", "last", "max", "min", "mean"];
const RULE_TEXT: Validation = Validation::Text(is_rule, "must be a rule of days, like FREQ=WEEKLY;BYDAY=MO,TH");
const METRIC_TEXT: Validation = Validation::Text(
    |text| Metric::parse(text).is_some(),
    "must be `manual` or fields of a kind, like contact/meeting@on or learning/log.minutes@on",
);

#[rustfmt::skip]
const GOAL_FIELDS: &[Field] = &[
    Field::schema("goal.schema"),
    Field::version("goal.schema.version", "schema:v"),
    Field::version("goal.schema.min_reader", "schema:min"),
    Field::created("goal.created"),
    Field::deleted("goal.del"),
    Field::new("goal.title", "title", FieldType::Line).required().indexed().searched(Place::Title)
        .named("Title", "What it is called"),
    Field::new("goal.type", "type", FieldType::Choice(&["habit", "reach", "maintain", "milestone", "okr", "project"]))
        .required().indexed().named("Type", "How it is measured; stays as it is, another type is another goal"),
    Field::new("goal.area", "area", FieldType::Choice(&["career", "finance", "property", "health", "personal"]))
        .indexed().named("Area", "Which part of life it belongs to"),
    Field::new("goal.status", "status", FieldType::Choice(&["draft", "active", "achieved", "missed", "dropped"]))
        .indexed().named("Status", "Where it stands; none is active"),
    Field::new("goal.start", "start", FieldType::Date).named("Start", "First day that counts"),
    Field::new("goal.end", "end", FieldType::Date).indexed().named("End", "Last day that counts"),
    Field::new("goal.metric", "metric", FieldType::Line).valid(METRIC_TEXT)
        .named("Metric", "Where its values come from: check-ins, or fields of another kind"),
    Field::new("goal.unit", "unit", FieldType::Line).valid(line_of(32)).named("Unit", "What its values count"),
    Field::new("goal.agg", "agg", FieldType::Choice(AGGREGATES))
        .named("Aggregate", "How values of one day, and of days, come together"),
    Field::new("goal.baseline", "baseline", FieldType::Quantity).named("Baseline", "The value it starts from"),
    Field::new("goal.target", "target", FieldType::Quantity).shows_conflicts()
        .named("Target", "The value to reach; of a habit what a period asks for"),
    Field::new("goal.lower", "lower", FieldType::Quantity).named("Lower bound", "Smallest value to stay at"),
    Field::new("goal.upper", "upper", FieldType::Quantity).named("Upper bound", "Largest value to stay at"),
    Field::new("goal.at_most", "at_most", FieldType::Bool)
        .named("At most", "The target of a habit is not to be passed"),
    Field::new("goal.times", "times", FieldType::Int).range(1, 1_000)
        .named("Times", "How often a period asks for it [1]"),
    Field::new("goal.period", "period", FieldType::Choice(PERIODS)).named("Period", "Within which it is counted [day]"),
    Field::new("goal.days", "days", FieldType::Int).range(1, 366).unit("d")
        .named("Days", "Length of a period in days, counted from the start, instead of one of the calendar"),
    Field::new("goal.rule", "rule", FieldType::Raw).valid(RULE_TEXT)
        .named("Rule", "On which days it is asked for (RFC 5545)"),
    Field::new("goal.parent", "parent", FieldType::Id).named("Part of", "The goal it serves"),
    Field::new("goal.rank", "rank", FieldType::Rank).named("Rank", "Order among the others"),
    Field::new("goal.weighted", "weighted", FieldType::Bool).named("Weighted", "Key results count by their weights"),
    Field::new("goal.why", "why", FieldType::Text).searched(Place::Body).named("Why", "What it is good for"),
    Field::new("goal.note", "note", FieldType::Text).searched(Place::Body)
        .named("Note", "What else is to be remembered"),
    Field::new("goal.pause.from", "pause/<id>:from", FieldType::Date).named("From", "First day of rest"),
    Field::new("goal.pause.until", "pause/<id>:until", FieldType::Date)
        .named("Until", "Last day of rest; none: it goes on"),
    Field::row_deleted("goal.pause.del", "pause/<id>:del"),
    Field::new("goal.kr.title", "kr/<id>:title", FieldType::Line).searched(Place::Headings)
        .named("Title", "What is to come about"),
    Field::new("goal.kr.kind", "kr/<id>:kind", FieldType::Choice(PROMISES))
        .named("Kind", "What kind of promise it is"),
    Field::new("goal.kr.metric", "kr/<id>:metric", FieldType::Line).valid(METRIC_TEXT)
        .named("Metric", "Where its values come from"),
    Field::new("goal.kr.agg", "kr/<id>:agg", FieldType::Choice(AGGREGATES))
        .named("Aggregate", "How values come together [last]"),
    Field::new("goal.kr.unit", "kr/<id>:unit", FieldType::Line).valid(line_of(32))
        .named("Unit", "What its values count"),
    Field::new("goal.kr.baseline", "kr/<id>:baseline", FieldType::Quantity)
        .named("Baseline", "The value it starts from [0]"),
    Field::new("goal.kr.target", "kr/<id>:target", FieldType::Quantity).shows_conflicts()
        .named("Target", "The value to reach"),
    Field::new("goal.kr.weight", "kr/<id>:weight", FieldType::Int).range(0, 100)
        .named("Weight", "How much it counts [1]"),
    Field::new("goal.kr.rank", "kr/<id>:rank", FieldType::Rank).named("Rank", "Order among the others"),
    Field::row_deleted("goal.kr.del", "kr/<id>:del"),
    Field::new("goal.milestone.title", "milestone/<id>:title", FieldType::Line).searched(Place::Headings)
        .named("Title", "What is to be reached"),
    Field::new("goal.milestone.due", "milestone/<id>:due", FieldType::Date).shows_conflicts()
        .named("Due", "By which day"),
    Field::new("goal.milestone.done", "milestone/<id>:done", FieldType::Date)
        .named("Done", "On which day it was reached"),
    Field::new("goal.milestone.rank", "milestone/<id>:rank", FieldType::Rank).named("Rank", "Order among the others"),
    Field::row_deleted("goal.milestone.del", "milestone/<id>:del"),
    Field::new("goal.review.on", "review/<id>:on", FieldType::Date).named("On", "The day"),
    Field::new("goal.review.mood", "review/<id>:mood", FieldType::Int).range(1, 5)
        .named("Mood", "From 1, bad, to 5, good"),
    Field::new("goal.review.worked", "review/<id>:worked", FieldType::Raw).searched(Place::Body)
        .named("What worked", "What to keep"),
    Field::new("goal.review.next", "review/<id>:next", FieldType::Raw).searched(Place::Body)
        .named("Next", "What to do now"),
    Field::row_deleted("goal.review.del", "review/<id>:del"),
    Field::new("goal.link", "link/<link>", FieldType::Ref).merges(Crdt::AddWins)
        .named("Link", "A note, task or other entity that belongs to it"),
    Field::new("goal.tag", "tag/<tag>", FieldType::Line).merges(Crdt::AddWins).searched(Place::Tags)
        .named("Group", "A group it belongs to, such as mornings"),
];

#[rustfmt::skip]
const GOAL_YEAR_FIELDS: &[Field] = &[
    Field::schema("goal_year.schema"),
    Field::version("goal_year.schema.version", "schema:v"),
    Field::version("goal_year.schema.min_reader", "schema:min"),
    Field::created("goal_year.created"),
    Field::deleted("goal_year.del"),
    // Both follow from the document's id; taking a check-in back leaves them.
    Field::new("goal_year.goal", "goal", FieldType::Id).required().indexed().named("Goal", "Whose check-ins"),
    Field::new("goal_year.year", "year", FieldType::Int).range(1, 9_999).required().named("Year", "Of which year"),
    // An entry is a day, `2026-03-08`, or a day of a key result, `2026-03-08.<id>`. It has no tombstone: what one
    // device takes
    // back is what it wrote, and what another one wrote on the same day stays.
    Field::new("goal_year.checkin.state", "checkin/<id>:state", FieldType::Choice(&["yes", "fail", "skip"]))
        .shows_conflicts().named("State", "Kept, not kept, or left out on purpose"),
    Field::new("goal_year.checkin.value", "checkin/<id>:value", FieldType::Quantity).shows_conflicts()
        .named("Value", "What was measured"),
    Field::new("goal_year.checkin.added", "checkin/<id>:added@<stream>", FieldType::Counter)
        .named("Added", "What was done, in millionths; all additions count"),
    Field::new("goal_year.checkin.note", "checkin/<id>:note", FieldType::Raw).named("Note", "What is to be said of it"),
];

/// What of a goal follows from its document alone: how many results and milestones, which comes next, whether it rests.
fn derived(document: &Document) -> (Vec<Value>, Vec<Row>) {
    let doc = document.read();
    let living = |name: &str| -> Vec<String> {
        let ids = GOAL.family(name).map(|family| entity::entries(doc, family)).unwrap_or_default();
        ids.into_iter().filter(|id| scalar(doc, &format!("{name}/{id}:del")).is_none()).collect()
    };
    let milestones = living("milestone");
    let is_done = |id: &&String| scalar(doc, &format!("milestone/{id}:done")).is_some();
    let done = milestones.iter().filter(is_done).count();
    let next =
        milestones.iter().filter(|id| !is_done(id)).filter_map(|id| text(doc, &format!("milestone/{id}:due"))).min();
    let open = |id: &&String| scalar(doc, &format!("pause/{id}:until")).is_none();
    let pauses = living("pause");
    let resting = pauses.iter().filter(open).filter_map(|id| text(doc, &format!("pause/{id}:from"))).min();
    let count = |number: usize| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let cells = vec![count(living("kr").len()), count(milestones.len()), count(done), next.into(), resting.into()];
    (cells, Vec::new())
}

#[rustfmt::skip]
static GOAL_FIRST: Genesis = Genesis::new(
    GOAL_GENESIS,
    [167, 15, 1, 80, 210, 83, 157, 13, 225, 46, 145, 36, 13, 112, 26, 110, 231, 142, 30, 30, 245, 95, 145, 186,
     103, 205, 220, 126, 123, 172, 228, 217],
    b"\x85oJ\x83\xa7\x0f\x01P\x01F\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\x15\x114\x01B\x04V\x04W\
      \x06p\x02}\x03why\x04note\x06schema\x03\x02\x04\x7f\x01\x02\x00\x7ffgoal/1\x03\x00",
);

#[rustfmt::skip]
static GOAL_YEAR_FIRST: Genesis = Genesis::new(
    GOAL_YEAR_GENESIS,
    [60, 241, 121, 223, 81, 207, 90, 189, 21, 172, 87, 198, 253, 15, 221, 4, 19, 5, 38, 114, 243, 232, 4, 104,
     223, 18, 108, 51, 46, 60, 58, 105],
    b"\x85oJ\x83<\xf1y\xdf\x01?\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\x15\x084\x01B\x02V\x03W\
      \x0bp\x02\x7f\x06schema\x01\x7f\x01\x7f\xb6\x01goal_year/1\x7f\x00",
);
