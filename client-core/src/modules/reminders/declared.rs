//! What tasks, their lists, what was said about rings, and the settings of reminders are made of.

use jiff::civil::DateTime;

use super::when::{civil, is_comparable};
use crate::document::GenesisId;
use crate::recur::{OccurrenceId, Rule as Recurrence};
use crate::registry::{
    Column, Crdt, Essential, Extra, Family, Field, FieldType, Genesis, Kind, Module, Place, Projection, Retention,
    Rule, Validation, Values, line_of,
};

/// A task.
pub const TASK_GENESIS: GenesisId = GenesisId(10);
/// A list of tasks.
pub const LIST_GENESIS: GenesisId = GenesisId(11);
/// What people said about rings, one document a month.
pub const RINGS_GENESIS: GenesisId = GenesisId(12);
/// What a person wants of reminders, one document a space.
pub const SETTINGS_GENESIS: GenesisId = GenesisId(13);

/// Tasks, their lists, and what rings.
pub static MODULE: Module = Module {
    name: "reminders",
    label: "Reminders",
    purpose: "Tasks with the days they begin, are due and are too late, how they repeat, what was done of them, and what rings",
    kinds: &[&TASK, &LIST, &RINGS, &SETTINGS],
};

/// Entries of the log of occurrences: five years of every day. What goes on is split off before (`edit::split`).
pub const LOG_MAX: usize = 2_000;

/// Something to do, once or again and again.
pub static TASK: Kind = Kind {
    name: "task",
    label: "Task",
    purpose: "Something to do, once or again and again",
    first: &TASK_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(500),
    fields: TASK_FIELDS,
    families: &[
        Family { name: "occ", label: "Occurrence", table: "task_occ", rows_max: LOG_MAX },
        Family { name: "alarm", label: "Alarm", table: "task_alarm", rows_max: 50 },
        Family { name: "check", label: "Step", table: "task_check", rows_max: 500 },
        Family { name: "rdate", label: "Also on", table: "task_rdate", rows_max: 1_000 },
        Family { name: "exdate", label: "Not on", table: "task_exdate", rows_max: 1_000 },
        Family { name: "tag", label: "Tag", table: "task_tag", rows_max: 200 },
        Family { name: "assignee", label: "Assignee", table: "task_assignee", rows_max: 100 },
        Family { name: "link", label: "Link", table: "task_link", rows_max: 200 },
        Family { name: "dep", label: "Waits for", table: "task_dep", rows_max: 200 },
        Family { name: "spent", label: "Time spent", table: "task_spent", rows_max: 2_000 },
        Family { name: "over", label: "Changed occurrence", table: "task_over", rows_max: 200 },
    ],
    rules: &[
        Rule {
            id: "task.start_before_due",
            text: "it must not be due before it begins",
            family: None,
            fields: &["start", "due"],
            holds: |values| {
                let both = values.text("start").zip(values.text("due"));
                both.is_none_or(|(start, due)| !is_comparable(&start, &due) || civil(&start) <= civil(&due))
            },
        },
        Rule {
            id: "task.due_before_deadline",
            text: "the deadline must not lie before the day it is due",
            family: None,
            fields: &["deadline", "due"],
            holds: |values| {
                let day = |name| Some(civil(&values.text(name)?)?.date());
                values.get("rule").is_some() || day("due").zip(day("deadline")).is_none_or(|(due, end)| due <= end)
            },
        },
        Rule {
            id: "task.rule_begins",
            text: "what repeats must be due, or begin, on a day",
            family: None,
            fields: &["rule", "due", "start", "dtstart"],
            holds: |values| values.get("rule").is_none() || begin(values).is_some(),
        },
        Rule {
            id: "task.rule_has_time",
            text: "what repeats by hours or minutes must be due at a time",
            family: None,
            fields: &["rule", "due", "start", "dtstart"],
            holds: |values| {
                let hours = values.text("rule").and_then(|rule| Recurrence::parse(&rule).ok());
                let hours = hours.is_some_and(|rule| rule.needs_time());
                !hours || begin(values).is_none_or(|begin| begin.contains('T'))
            },
        },
        Rule {
            id: "task.alarm.at",
            text: "an alarm at a time needs the time",
            family: Some("alarm"),
            fields: &["kind", "at"],
            holds: |values| values.text("kind").as_deref() != Some("at") || values.get("at").is_some(),
        },
    ],
    projection: Projection::Fields {
        table: "task",
        extra: Some(Extra {
            columns: &[
                Column::integer("is_over").indexed(),
                Column::text("first_day").indexed(),
                Column::integer("done_ms").indexed(),
                Column::integer("done_count"),
            ],
            tables: &[],
            project: super::project::columns,
        }),
    },
};

fn begin(values: &Values<'_>) -> Option<String> {
    ["dtstart", "due", "start"].into_iter().find_map(|name| values.text(name))
}

/// A list of tasks, or a project.
pub static LIST: Kind = Kind {
    name: "list",
    label: "List",
    purpose: "A list of tasks, or a project",
    first: &LIST_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Always,
    fields: LIST_FIELDS,
    families: &[Family { name: "section", label: "Section", table: "todo_section", rows_max: 200 }],
    rules: &[],
    projection: Projection::Fields { table: "todo_list", extra: None },
};

/// What people said about rings, one document a month.
pub static RINGS: Kind = Kind {
    name: "rings",
    label: "Rings",
    purpose: "Which rings of a month somebody has seen, and until when some are put off",
    first: &RINGS_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(2),
    fields: RINGS_FIELDS,
    families: &[
        Family { name: "ack", label: "Seen", table: "ring_ack", rows_max: 2_000 },
        Family { name: "snooze", label: "Put off", table: "ring_snooze", rows_max: 2_000 },
    ],
    rules: &[],
    projection: Projection::Fields { table: "rings", extra: None },
};

/// What a person wants of reminders.
pub static SETTINGS: Kind = Kind {
    name: "reminder-settings",
    label: "Reminder settings",
    purpose: "When nothing rings that can wait, when a day rings, and which devices do",
    first: &SETTINGS_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Always,
    fields: SETTINGS_FIELDS,
    families: &[Family { name: "quiet", label: "Quiet hours", table: "quiet_hours", rows_max: 50 }],
    rules: &[],
    projection: Projection::Fields { table: "reminder_settings", extra: None },
};

/// Longest title of a task, in characters.
pub const TITLE_CHARS_MAX: usize = 1_000;
/// Longest that something is estimated or was worked on in a day, in minutes.
const MINUTES_MAX: i64 = 100_000;
/// Furthest that an alarm is from what it belongs to, in minutes.
const ALARM_MINUTES_MAX: i64 = 400 * 24 * 60;

const RULE: Validation = Validation::Text(
    |text| Recurrence::parse(text).is_ok(),
    "must be a recurrence rule, like FREQ=WEEKLY;BYDAY=MO,TH (RFC 5545)",
);
const OCCURRENCE: Validation = Validation::Text(
    |text| text.parse::<OccurrenceId>().is_ok(),
    "must be an occurrence, like 20260301 or 20260301T090000",
);
const CLOCK: Validation = Validation::Text(is_clock, "must be a time of the day, like 09:00");

fn is_clock(text: &str) -> bool {
    let at = format!("2000-01-01T{text}").parse::<DateTime>();
    at.is_ok_and(|at| at.strftime("%H:%M").to_string() == text)
}

/// Whether a text names days of the week as rules do, `MO,TU`; nothing for all of them.
fn is_days(text: &str) -> bool {
    text.split(',').all(|day| ["MO", "TU", "WE", "TH", "FR", "SA", "SU"].contains(&day))
}

#[rustfmt::skip]
const TASK_FIELDS: &[Field] = &[
    Field::schema("task.schema"),
    Field::version("task.schema.version", "schema:v"),
    Field::version("task.schema.min_reader", "schema:min"),
    Field::created("task.created"),
    Field::deleted("task.del"),
    Field::new("task.title", "title", FieldType::Line).valid(line_of(TITLE_CHARS_MAX)).required().searched(Place::Title)
        .named("Title", "What is to be done").exported(&[("icalendar", "SUMMARY")]),
    Field::new("task.notes", "notes", FieldType::Text).searched(Place::Body)
        .named("Notes", "What else is to be known").exported(&[("icalendar", "DESCRIPTION")]),
    Field::new("task.status", "status", FieldType::Choice(&["needs-action", "in-process", "completed", "cancelled"]))
        .indexed().named("Status", "How far it is, of one that does not repeat").exported(&[("icalendar", "STATUS")]),
    Field::new("task.completed", "completed", FieldType::TimeMs)
        .named("Completed", "When it was done, of one that does not repeat").exported(&[("icalendar", "COMPLETED")]),
    Field::new("task.percent", "percent", FieldType::Int).range(0, 100).unit("%")
        .named("Progress", "How much of it is done").exported(&[("icalendar", "PERCENT-COMPLETE")]),
    Field::new("task.start", "start", FieldType::When).indexed()
        .named("Start", "When it begins: before, it is out of the way").exported(&[("icalendar", "DTSTART")]),
    Field::new("task.due", "due", FieldType::When).indexed().shows_conflicts()
        .named("Due", "When it should be done; of what repeats, the first time").exported(&[("icalendar", "DUE")]),
    Field::new("task.deadline", "deadline", FieldType::Date).indexed().shows_conflicts()
        .named("Deadline", "The day after which it is too late").exported(&[("icalendar", "X-LIFEOS-DEADLINE")]),
    Field::new("task.planned", "planned", FieldType::Date).indexed()
        .named("Planned", "The day on which one means to do it"),
    Field::new("task.planned_rank", "planned_rank", FieldType::Rank).named("Place in the day", "Order in the day's plan"),
    Field::new("task.estimate", "estimate", FieldType::Int).range(0, MINUTES_MAX).unit("min")
        .named("Estimate", "How long it takes").exported(&[("icalendar", "ESTIMATED-DURATION")]),
    Field::new("task.priority", "priority", FieldType::Int).range(1, 9).indexed()
        .named("Priority", "1 to 4 high, 5 medium, 6 to 9 low (RFC 5545)").exported(&[("icalendar", "PRIORITY")]),
    Field::new("task.rule", "rule", FieldType::Raw).valid(RULE).indexed()
        .named("Repeats", "How it repeats (RFC 5545, RFC 7529)").exported(&[("icalendar", "RRULE")]),
    Field::new("task.anchor", "anchor", FieldType::Choice(&["schedule", "completion"]))
        .named("Counts from", "Whether it repeats from when it was due or from when it was done"),
    Field::new("task.dtstart", "dtstart", FieldType::When)
        .named("Series begins", "Where the rule begins, if not when it is due first"),
    Field::new("task.dst", "dst", FieldType::Choice(&["shift", "skip"]))
        .named("Skipped time", "What becomes of a time that clocks skip: later by as much, or left out"),
    Field::new("task.catchup", "catchup", FieldType::Choice(&["latest", "all", "none"]))
        .named("Catching up", "What is due of the times that passed: the last, each, or none"),
    Field::new("task.list", "list", FieldType::Id).named("List", "The list it is in"),
    Field::new("task.section", "section", FieldType::Id).named("Section", "The section of the list"),
    Field::new("task.parent", "parent", FieldType::Id).indexed()
        .named("Part of", "The task it is part of").exported(&[("icalendar", "RELATED-TO;RELTYPE=PARENT")]),
    Field::new("task.rank", "rank", FieldType::Rank).named("Rank", "Order among its siblings"),
    Field::new("task.next", "next", FieldType::Id)
        .named("Goes on as", "The task in which the series goes on").exported(&[("icalendar", "RELATED-TO;RELTYPE=NEXT")]),
    Field::new("task.location", "location", FieldType::Line).searched(Place::Body)
        .named("Place", "Where").exported(&[("icalendar", "LOCATION")]),
    Field::new("task.url", "url", FieldType::Line).valid(line_of(2_000))
        .named("Address", "A page that belongs to it").exported(&[("icalendar", "URL")]),
    Field::new("task.energy", "energy", FieldType::Choice(&["low", "medium", "high"]))
        .named("Energy", "How much it takes"),
    Field::new("task.moves", "moves", FieldType::Counter)
        .named("Moves", "How often it was moved: what was seen of it before rings again"),
    Field::new("task.ring", "ring", FieldType::Choice(&["auto", "off"]))
        .named("Rings", "Whether it rings when it is due and has no alarms of its own"),
    Field::new("task.urgent", "urgent", FieldType::Bool).named("Urgent", "It rings in quiet hours"),
    Field::new("task.medication", "medication", FieldType::Bool)
        .named("Medication", "It is never left out of what rings late"),
    Field::new("task.uid", "uid", FieldType::Line).valid(line_of(1_000)).indexed()
        .named("UID", "What other programs call it").exported(&[("icalendar", "UID")]),
    Field::new("task.ical", "ical", FieldType::Raw).valid(Validation::Bytes(256 * 1024))
        .named("Other properties", "What other programs wrote that has no field here, as they wrote it"),
    Field::new("task.occ.done", "occ/<rid>:done", FieldType::TimeMs).named("Done", "When that occurrence was done"),
    Field::new("task.occ.skip", "occ/<rid>:skip", FieldType::TimeMs).named("Skipped", "When it was skipped"),
    Field::new("task.occ.by", "occ/<rid>:by", FieldType::Line).named("By", "The device on which"),
    Field::new("task.occ.note", "occ/<rid>:note", FieldType::Raw).named("Note", "What is to be said of that time"),
    Field::new("task.occ.moved", "occ/<rid>:moved", FieldType::When).named("Moved to", "When it is due instead"),
    Field::new("task.alarm.kind", "alarm/<id>:kind", FieldType::Choice(&["due", "start", "deadline", "at", "done"]))
        .named("Of", "What it counts from: when it is due, begins, is too late, a time, or each completion"),
    Field::new("task.alarm.days", "alarm/<id>:days", FieldType::Int).range(-400, 400).unit("d")
        .named("Days", "So many days later, or earlier if negative"),
    Field::new("task.alarm.minutes", "alarm/<id>:minutes", FieldType::Int).range(-ALARM_MINUTES_MAX, ALARM_MINUTES_MAX).unit("min")
        .named("Minutes", "So many minutes later, or earlier if negative"),
    Field::new("task.alarm.at", "alarm/<id>:at", FieldType::When).named("At", "The time"),
    Field::new("task.alarm.nag", "alarm/<id>:nag", FieldType::Int).range(1, 7 * 24 * 60).unit("min")
        .named("Again after", "It rings again after so many minutes, until somebody says something"),
    Field::new("task.alarm.most", "alarm/<id>:most", FieldType::Int).range(1, 99).named("At most", "So many times again"),
    Field::new("task.alarm.ical", "alarm/<id>:ical", FieldType::Raw)
        .named("Other properties", "What other programs wrote of the alarm, as they wrote it"),
    Field::row_deleted("task.alarm.del", "alarm/<id>:del"),
    Field::new("task.check.text", "check/<id>:text", FieldType::Line).searched(Place::Body).named("Text", "The step"),
    Field::new("task.check.done", "check/<id>:done", FieldType::TimeMs).named("Done", "When it was ticked"),
    Field::new("task.check.rank", "check/<id>:rank", FieldType::Rank).named("Rank", "Order among the others"),
    Field::row_deleted("task.check.del", "check/<id>:del"),
    Field::new("task.rdate", "rdate/<rid>", FieldType::Line).valid(OCCURRENCE).merges(Crdt::AddWins)
        .named("Also on", "A further time").exported(&[("icalendar", "RDATE")]),
    Field::new("task.exdate", "exdate/<rid>", FieldType::Line).valid(OCCURRENCE).merges(Crdt::AddWins)
        .named("Not on", "A time that is left out").exported(&[("icalendar", "EXDATE")]),
    Field::new("task.tag", "tag/<tag>", FieldType::Line).merges(Crdt::AddWins).searched(Place::Tags)
        .named("Tag", "A tag as it is written").exported(&[("icalendar", "CATEGORIES")]),
    Field::new("task.assignee", "assignee/<person>", FieldType::Line).merges(Crdt::AddWins)
        .named("Assignee", "Who is to do it").exported(&[("icalendar", "ATTENDEE")]),
    Field::new("task.link", "link/<link>", FieldType::Ref).merges(Crdt::AddWins)
        .named("Link", "Something that belongs to it"),
    Field::new("task.dep.kind", "dep/<task>:kind", FieldType::Choice(&["finish-start", "start-start"]))
        .named("How", "Whether the other must be done, or begun, before this one begins")
        .exported(&[("icalendar", "RELATED-TO;RELTYPE=DEPENDS-ON")]),
    Field::row_deleted("task.dep.del", "dep/<task>:del"),
    Field::new("task.spent.minutes", "spent/<day>:minutes@<stream>", FieldType::Counter).unit("min")
        .named("Minutes", "How long it was worked on that day, on all devices"),
    Field::new("task.over.ical", "over/<rid>:ical", FieldType::Raw)
        .named("As written", "An occurrence that another program changed, as it wrote it"),
];

#[rustfmt::skip]
const LIST_FIELDS: &[Field] = &[
    Field::schema("list.schema"),
    Field::version("list.schema.version", "schema:v"),
    Field::version("list.schema.min_reader", "schema:min"),
    Field::created("list.created"),
    Field::deleted("list.del"),
    Field::new("list.name", "name", FieldType::Line).required().indexed().searched(Place::Title)
        .named("Name", "What it is called").exported(&[("icalendar", "X-WR-CALNAME")]),
    Field::new("list.color", "color", FieldType::Line).named("Colour", "As #rrggbb or a name"),
    Field::new("list.icon", "icon", FieldType::Line).named("Icon", "A sign beside the name"),
    Field::new("list.rank", "rank", FieldType::Rank).named("Rank", "Order among lists"),
    Field::new("list.sort", "sort", FieldType::Choice(&["rank", "due", "priority", "title"]))
        .named("Order", "What its tasks are ordered by"),
    Field::new("list.rings", "rings", FieldType::Choice(&["all", "active-first"]))
        .named("Which devices ring", "All of them, or the one in use first"),
    Field::new("list.urgent", "urgent", FieldType::Bool).named("Urgent", "Its tasks ring in quiet hours"),
    Field::new("list.section.name", "section/<id>:name", FieldType::Line).named("Name", "What the section is called"),
    Field::new("list.section.rank", "section/<id>:rank", FieldType::Rank).named("Rank", "Order among sections"),
    Field::row_deleted("list.section.del", "section/<id>:del"),
];

/// For how long what was said about a ring is of use, in days.
const SAID_DAYS: u32 = 60;

#[rustfmt::skip]
const RINGS_FIELDS: &[Field] = &[
    Field::schema("rings.schema"),
    Field::version("rings.schema.version", "schema:v"),
    Field::version("rings.schema.min_reader", "schema:min"),
    Field::created("rings.created"),
    Field::deleted("rings.del"),
    Field::new("rings.month", "month", FieldType::Line).required().indexed().named("Month", "Which one, like 2026-03"),
    Field::new("rings.ack", "ack/<fire>:at", FieldType::TimeMs).kept(Retention::Days(SAID_DAYS))
        .named("Seen", "When somebody has seen the ring"),
    Field::new("rings.ack.by", "ack/<fire>:by", FieldType::Line).kept(Retention::Days(SAID_DAYS))
        .named("By", "The device on which"),
    Field::new("rings.snooze", "snooze/<fire>:until", FieldType::TimeMs).kept(Retention::Days(SAID_DAYS))
        .named("Until", "When it is to ring again; of several the latest"),
];

#[rustfmt::skip]
const SETTINGS_FIELDS: &[Field] = &[
    Field::schema("reminder_settings.schema"),
    Field::version("reminder_settings.schema.version", "schema:v"),
    Field::version("reminder_settings.schema.min_reader", "schema:min"),
    Field::created("reminder_settings.created"),
    Field::deleted("reminder_settings.del"),
    Field::new("reminder_settings.day_at", "day_at", FieldType::Raw).valid(CLOCK)
        .named("A day rings at", "When what is due on a day without a time rings"),
    Field::new("reminder_settings.grace", "grace", FieldType::Int).range(1, 7 * 24).unit("h")
        .named("Rings late", "How late something rings that was missed"),
    Field::new("reminder_settings.who", "who", FieldType::Choice(&["all", "active-first", "primary"]))
        .named("Which devices ring", "All, the one in use first, or one of them first"),
    Field::new("reminder_settings.primary", "primary", FieldType::Raw).valid(Validation::Text(is_key, "must be a device's key"))
        .named("First device", "The one that rings first, where one does"),
    Field::new("reminder_settings.hold", "hold", FieldType::Int).range(10, 3_600).unit("s")
        .named("Others wait", "How much later the others ring if nobody says anything"),
    Field::new("reminder_settings.quiet.days", "quiet/<id>:days", FieldType::Raw).valid(Validation::Text(is_days, "must be days, like MO,TU"))
        .named("Days", "The days on which it begins"),
    Field::new("reminder_settings.quiet.from", "quiet/<id>:from", FieldType::Raw).valid(CLOCK)
        .named("From", "Its first moment"),
    Field::new("reminder_settings.quiet.to", "quiet/<id>:to", FieldType::Raw).valid(CLOCK)
        .named("To", "The first moment after it"),
    Field::row_deleted("reminder_settings.quiet.del", "quiet/<id>:del"),
];

fn is_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[rustfmt::skip]
static TASK_FIRST: Genesis = Genesis::new(
    TASK_GENESIS,
    [48, 59, 214, 197, 210, 184, 44, 77, 179, 243, 238, 167, 97, 103, 189, 37, 24, 90, 75, 172, 69, 135, 55,
     181, 42, 106, 134, 56, 38, 131, 246, 3],
    b"\x85oJ\x830;\xd6\xc5\x01J\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\x144\x01B\x04V\x04W\x07p\x02}\x05notes\x05moves\x06schema\x03\x7f\x04\x02\x01}\x00\x18f\x00task/1\x03\x00",
);
#[rustfmt::skip]
static LIST_FIRST: Genesis = Genesis::new(
    LIST_GENESIS,
    [166, 234, 166, 127, 86, 140, 211, 129, 111, 135, 220, 184, 184, 217, 82, 178, 44, 19, 222, 95, 190, 26,
     246, 103, 176, 25, 246, 48, 113, 19, 221, 71],
    b"\x85oJ\x83\xa6\xea\xa6\x7f\x019\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\x084\x01B\x02V\x02W\x06p\x02\x7f\x06schema\x01\x7f\x01\x7fflist/1\x7f\x00",
);
#[rustfmt::skip]
static RINGS_FIRST: Genesis = Genesis::new(
    RINGS_GENESIS,
    [125, 120, 246, 168, 176, 13, 46, 57, 144, 23, 37, 211, 68, 81, 216, 99, 214, 119, 62, 223, 20, 40, 52,
     156, 170, 106, 232, 115, 8, 137, 233, 43],
    b"\x85oJ\x83}x\xf6\xa8\x01:\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\x084\x01B\x02V\x02W\x07p\x02\x7f\x06schema\x01\x7f\x01\x7fvrings/1\x7f\x00",
);
#[rustfmt::skip]
static SETTINGS_FIRST: Genesis = Genesis::new(
    SETTINGS_GENESIS,
    [159, 129, 36, 144, 174, 212, 241, 58, 86, 89, 77, 22, 203, 49, 116, 44, 198, 4, 162, 145, 195, 14, 75,
     181, 174, 19, 116, 112, 172, 131, 44, 205],
    b"\x85oJ\x83\x9f\x81$\x90\x01G\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\x084\x01B\x02V\x03W\x13p\x02\x7f\x06schema\x01\x7f\x01\x7f\xb6\x02reminder-settings/1\x7f\x00",
);
