//! Filters read, written back, refused, and asked of rows.

use jiff::civil::date;
use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Task {
    title: &'static str,
    tags: Vec<&'static str>,
    list: &'static str,
    priority: Option<u8>,
    due: Option<Date>,
    done: Option<Date>,
    assignee: Option<&'static str>,
    is_recurring: bool,
}

impl Row for Task {
    fn title(&self) -> &str {
        self.title
    }
    fn has_tag(&self, tag: &str) -> bool {
        self.tags.contains(&tag)
    }
    fn is_in(&self, list: &str) -> bool {
        self.list == list
    }
    fn priority(&self) -> Option<u8> {
        self.priority
    }
    fn day(&self, field: Field) -> Option<Date> {
        match field {
            Field::Due => self.due,
            Field::Done => self.done,
            _ => None,
        }
    }
    fn is_recurring(&self) -> bool {
        self.is_recurring
    }
    fn is_subtask(&self) -> bool {
        false
    }
    fn is_assigned(&self, to: Option<&str>) -> bool {
        self.assignee.is_some_and(|assignee| to.is_none_or(|to| to == assignee))
    }
}

fn today() -> Date {
    date(2026, 3, 5)
}

/// Numbers of the tasks that pass.
fn found(text: &str) -> Vec<usize> {
    let tasks = [
        Task { title: "Milk", tags: vec!["home", "errands"], due: Some(date(2026, 3, 6)), ..Task::default() },
        Task {
            title: "Report",
            list: "Work",
            priority: Some(1),
            due: Some(date(2026, 3, 8)),
            assignee: Some("ann"),
            ..Task::default()
        },
        Task { title: "Roof", tags: vec!["home"], due: Some(date(2026, 3, 4)), priority: Some(2), ..Task::default() },
        Task {
            title: "milk the goat",
            is_recurring: true,
            due: Some(date(2026, 3, 4)),
            done: Some(today()),
            ..Task::default()
        },
        Task { title: "Someday", list: "Big plans", ..Task::default() },
    ];
    let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    (0..tasks.len()).filter(|at| filter.passes(&tasks[*at], today())).collect()
}

#[test]
fn a_filter_finds_what_it_says() {
    for (text, expected) in [
        ("due before: +3d & #home & !assigned", &[0, 2][..]),
        ("due: today", &[]),
        ("due: tomorrow", &[0]),
        ("due on: 2026-03-08", &[1]),
        ("due after: +1d", &[1]),
        ("due before: today", &[2, 3]),
        ("overdue", &[2]),
        ("due", &[0, 1, 2, 3]),
        ("!due", &[4]),
        ("done", &[3]),
        ("!done & due before: +1w", &[0, 1, 2]),
        ("p1 | p2", &[1, 2]),
        ("#errands | ~Work & p1", &[0, 1]),
        ("(#errands | ~Work) & p1", &[1]),
        ("~\"Big plans\"", &[4]),
        ("assigned: ann", &[1]),
        ("assigned: bob", &[]),
        ("search: milk", &[0, 3]),
        ("search: \"the goat\"", &[3]),
        ("recurring & !subtask", &[3]),
        ("!!overdue", &[2]),
        ("DUE Before: +3D", &[0, 2, 3]),
        ("created after: -1y", &[]),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn a_text_that_is_no_filter_is_refused_with_what_is_wrong_and_where() {
    let deep = "!".repeat(DEPTH_MAX + 1) + "due";
    for (text, problem, at) in [
        ("", Problem::Term, 0),
        ("due &", Problem::Term, 5),
        ("due | | p1", Problem::Term, 6),
        ("dew", Problem::Unknown, 0),
        ("due & dew", Problem::Unknown, 6),
        ("p5", Problem::Unknown, 0),
        ("#", Problem::Name, 1),
        ("~\"\"", Problem::Name, 2),
        ("assigned:", Problem::Name, 9),
        ("due before: soon", Problem::Day, 12),
        ("due before: +3", Problem::Day, 13),
        ("due: 2026-02-30", Problem::Day, 5),
        ("due: +-3d", Problem::Day, 6),
        ("due before +3d", Problem::Colon, 11),
        ("search milk", Problem::Colon, 7),
        ("(due", Problem::Open, 0),
        ("#\"home", Problem::Open, 1),
        ("due p1", Problem::Rest, 4),
        ("due)", Problem::Rest, 3),
        (deep.as_str(), Problem::TooDeep, DEPTH_MAX + 1),
    ] {
        assert_eq!(Filter::parse(text), Err(FilterError { problem, at }), "{text}");
    }
    let long = "p1|".repeat(400);
    assert_eq!(Filter::parse(&long).unwrap_err().problem, Problem::TooLong);
    let error = Filter::parse("due before: soon").unwrap_err().to_string();
    assert!(error.contains("+3d") && error.ends_with("(at byte 12)"), "{error}");
}

fn filters() -> impl Strategy<Value = Filter> {
    let name = "[a-z]{1,8}|[a-z &|()!é]{0,6}[a-zé][a-z ]{0,3}";
    let field = prop_oneof![
        Just(Field::Due),
        Just(Field::Start),
        Just(Field::Deadline),
        Just(Field::Done),
        Just(Field::Created)
    ];
    let side = prop_oneof![Just(Side::Before), Just(Side::After), Just(Side::On)];
    let unit = prop_oneof![Just(Unit::Day), Just(Unit::Week), Just(Unit::Month), Just(Unit::Year)];
    let day = prop_oneof![
        (0_i32..20_000).prop_map(|days| Day::On(date(1990, 1, 1).checked_add(days.days()).unwrap())),
        (-9999_i32..=9999, unit).prop_map(|(number, unit)| Day::Later(number, unit)),
    ];
    let leaf = prop_oneof![
        name.prop_map(Filter::Tag),
        name.prop_map(Filter::List),
        (1_u8..=4).prop_map(Filter::Priority),
        prop_oneof![Just(Flag::Overdue), Just(Flag::Recurring), Just(Flag::Subtask)].prop_map(Filter::Is),
        field.clone().prop_map(Filter::Has),
        (field, side, day).prop_map(|(field, side, day)| Filter::When(field, side, day)),
        proptest::option::of(name).prop_map(Filter::Assigned),
        name.prop_map(Filter::Search),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Filter::All),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Filter::Any),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

proptest! {
    #[test]
    fn a_filter_is_the_same_after_it_was_written_and_read(filter in filters()) {
        let text = filter.to_string();
        prop_assume!(text.len() <= FILTER_BYTES_MAX);
        prop_assert_eq!(Filter::parse(&text), Ok(filter), "{}", text);
    }

    #[test]
    fn no_text_makes_reading_or_asking_a_filter_panic(text in "\\PC{0,60}|[a-z#~!&|():+\" 0-9-]{0,60}") {
        match Filter::parse(&text) {
            Ok(filter) => { let _ = filter.passes(&Task::default(), today()); }
            Err(error) => prop_assert!(text.get(..error.at).is_some(), "{} is no place of {}", error.at, text),
        }
    }
}
