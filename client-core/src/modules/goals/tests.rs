//! Check-ins of one device and of several that meet, and where goals stand, with worked examples.

use std::collections::{BTreeMap, BTreeSet};

use automerge::{AutoCommit, Change};
use jiff::civil::{Date, date};
use lifeos_sync_protocol::ids::{DocId, StreamId};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::series::Metric;
use super::*;
use crate::document::Document;
use crate::modules::notes::apply_undo;
use crate::projection::{Row, Value, project};
use crate::registry::door;

const GOAL_ID: DocId = DocId([7; 16]);

fn year(number: u8) -> Document {
    Document::new(DocId([1; 16]), GOAL_YEAR.genesis(), StreamId([number; 16])).unwrap()
}

fn edit(
    document: &mut Document,
    edit: impl FnOnce(&mut AutoCommit) -> Result<(), DocumentError>,
) -> automerge::ChangeHash {
    let change = document.edit(document.updated_ms() + 10, edit).unwrap().1.unwrap();
    door::admit(document, &change.bytes).unwrap();
    change.hash
}

fn send(from: &mut Document, to: &mut Document) {
    let mut fork = to.fork();
    let changes = from.changes_since(&[]).into_iter().map(|change| Change::from_bytes(change.bytes).unwrap());
    fork.apply_changes(changes.collect::<Vec<_>>()).unwrap();
    to.replace(fork);
}

fn meet(a: &mut Document, b: &mut Document) {
    send(a, b);
    send(b, a);
    assert_eq!(project(a), project(b));
}

fn check_ins(document: &Document) -> Vec<Row> {
    project(document).into_iter().filter(|row| row.table == "goal_checkin").collect()
}

fn added(by: i64) -> CheckIn {
    CheckIn { added: Some(by * ADDED_SCALE), ..CheckIn::default() }
}

fn said(state: State) -> CheckIn {
    CheckIn { state: Some(state), ..CheckIn::default() }
}

const DAY: Date = date(2026, 3, 8);

#[test]
fn what_two_devices_add_on_one_day_counts_and_what_they_say_is_one_of_them_and_shown() {
    let (mut a, mut b) = (year(1), year(2));
    for (device, by) in [(&mut a, 2), (&mut b, 3)] {
        edit(device, |doc| check(doc, &GOAL_ID, DAY, None, &added(by)));
    }
    edit(&mut a, |doc| check(doc, &GOAL_ID, DAY, None, &said(State::Yes)));
    edit(&mut b, |doc| check(doc, &GOAL_ID, DAY, None, &said(State::Fail)));
    meet(&mut a, &mut b);
    let rows = check_ins(&a);
    assert_eq!((rows.len(), rows[0].key.as_str()), (1, "2026-03-08"));
    assert_eq!(rows[0].values[3], Value::Int(5 * ADDED_SCALE));
    let marks: Vec<Row> = project(&a).into_iter().filter(|row| row.table == "entity_mark").collect();
    assert_eq!(marks.len(), 1, "{marks:?}");
    assert_eq!((&marks[0].values[0], &marks[0].values[1]), (&"conflict".into(), &"checkin/2026-03-08:state".into()));
}

#[test]
fn taking_a_check_in_back_takes_back_what_this_device_did_and_nothing_else() {
    let (mut a, mut b) = (year(1), year(2));
    let first = edit(&mut a, |doc| check(doc, &GOAL_ID, DAY, None, &added(2)));
    edit(&mut b, |doc| check(doc, &GOAL_ID, DAY, None, &added(3)));
    edit(&mut b, |doc| check(doc, &GOAL_ID, DAY.tomorrow().unwrap(), None, &said(State::Yes)));
    meet(&mut a, &mut b);
    edit(&mut a, |doc| apply_undo(doc, GOAL_YEAR.genesis(), &first, 99));
    meet(&mut a, &mut b);
    let rows = check_ins(&b);
    assert_eq!(rows[0].values[3], Value::Int(3 * ADDED_SCALE));
    assert_eq!(rows[1].values[1], "yes".into());
    assert!(project(&a).iter().any(|row| row.table == "goal_year" && row.values.contains(&GOAL_ID.to_string().into())));
    // Two who take all of a day back take it back once.
    let clear = CheckIn { clear: true, ..CheckIn::default() };
    edit(&mut a, |doc| check(doc, &GOAL_ID, DAY, None, &clear));
    edit(&mut b, |doc| check(doc, &GOAL_ID, DAY, None, &clear));
    meet(&mut a, &mut b);
    assert_eq!(check_ins(&a)[0].values[3], Value::Int(0));
    edit(&mut b, |doc| check(doc, &GOAL_ID, DAY, None, &added(1)));
    meet(&mut a, &mut b);
    assert_eq!(check_ins(&a)[0].values[3], Value::Int(ADDED_SCALE));
}

#[test]
fn a_check_in_that_says_nothing_or_no_number_is_refused() {
    let mut a = year(1);
    let mut refused = |given: CheckIn| a.edit(1, |doc| check(doc, &GOAL_ID, DAY, None, &given)).unwrap_err();
    assert!(refused(CheckIn::default()).to_string().contains("says something"));
    assert!(refused(CheckIn { value: Some("much".into()), ..CheckIn::default() }).to_string().contains("decimal"));
}

#[test]
fn decimals_are_written_in_one_way_and_counted_exactly() {
    for (typed, stored) in
        [("71.50", "71.5"), ("-0.0", "0"), ("007", "7"), (".5", "0.5"), ("-3", "-3"), (" 2 ", "2"), ("10", "10")]
    {
        assert_eq!(decimal(typed).as_deref(), Some(stored), "{typed}");
    }
    for typed in ["", "-", ".", "1e3", "1,5", "one", "--1", "1.2.3"] {
        assert_eq!(decimal(typed), None, "{typed}");
    }
    assert_eq!([millionths("1.5"), millionths("-0.000001"), millionths("0")], [Some(1_500_000), Some(-1), Some(0)]);
    assert_eq!([millionths("0.0000001"), millionths("99999999999999999999")], [None, None]);
}

#[test]
fn a_metric_names_fields_that_are_declared_and_nothing_else() {
    for good in
        ["manual", "contact/meeting@on", "contact.every@met", "contact@born", &format!("contact:{GOAL_ID}/meeting@on")]
    {
        assert!(Metric::parse(good).is_some(), "{good}");
    }
    for bad in [
        "",
        "contact",
        "contact@",
        "contact@name",
        "contact/meeting.note@on",
        "note@created",
        "contact/x@on",
        "contact:ana/meeting@on",
        "contact/meeting@on; DROP TABLE contact",
        "nothing@on",
    ] {
        assert!(Metric::parse(bad).is_none(), "{bad}");
    }
}

fn goal(values: Json, lists: Json) -> Goal {
    let lists: Map<String, Json> = lists.as_object().cloned().unwrap_or_default();
    let lists: BTreeMap<String, Vec<Json>> =
        lists.into_iter().map(|(name, list)| (name, list.as_array().cloned().unwrap_or_default())).collect();
    Goal::read(values.as_object().unwrap(), &lists)
}

fn state(state: State) -> DayOf {
    DayOf { state: Some(state), ..DayOf::default() }
}

fn amount(amount: f64) -> DayOf {
    DayOf { amount: Some(amount), ..DayOf::default() }
}

/// Days from the first of March 2026, a Sunday: `+` kept, `x` not, `s` skipped, `.` unknown.
fn march(days: &str) -> Days {
    let of = |mark| match mark {
        '+' => Some(state(State::Yes)),
        'x' => Some(state(State::Fail)),
        's' => Some(state(State::Skip)),
        _ => None,
    };
    let all = (1..).map(|day| date(2026, 3, day)).zip(days.chars());
    all.filter_map(|(day, mark)| Some((day, of(mark)?))).collect()
}

fn stand(goal: &Goal, days: &Days, on: Date) -> Standing {
    standing(goal, days, &BTreeMap::new(), on, b"seed")
}

fn runs(goal: &Goal, days: &str) -> (u32, u32) {
    let on = date(2026, 3, i8::try_from(days.len()).unwrap());
    let streaks = stand(goal, &march(days), on).streaks.unwrap();
    (streaks.current, streaks.longest)
}

#[test]
fn what_is_skipped_or_rests_breaks_no_streak_what_failed_does_and_today_is_not_over() {
    let daily = goal(json!({"type": "habit", "start": "2026-03-01"}), json!({}));
    assert_eq!(runs(&daily, "+++"), (3, 3));
    assert_eq!(runs(&daily, "+++."), (3, 3), "today is not over");
    assert_eq!(runs(&daily, "+++x"), (0, 3), "but said not to be done");
    assert_eq!(runs(&daily, "++s+."), (3, 3));
    assert_eq!(runs(&daily, "++.+"), (1, 2), "nothing known of a day that is over");
    let resting = goal(
        json!({"type": "habit", "start": "2026-03-01"}),
        json!({"pause": [{"id": "a", "from": "2026-03-03", "until": "2026-03-05"}]}),
    );
    assert_eq!(runs(&resting, "++...+"), (3, 3));
    assert_eq!(runs(&resting, "++.+.+"), (4, 4), "what is done in a pause counts");
    assert!(stand(&resting, &march("++"), date(2026, 3, 4)).rests);
    assert_eq!(stand(&resting, &march("++...+"), date(2026, 3, 6)).last_days.trim_start_matches('.'), "++ppp+");
}

#[test]
fn a_habit_of_some_times_a_week_is_counted_in_weeks_of_the_calendar() {
    // Weeks begin on Mondays: 2 to 8 March, 9 to 15 March.
    let thrice = goal(json!({"type": "habit", "start": "2026-03-02", "times": 3, "period": "week"}), json!({}));
    assert_eq!(runs(&thrice, ".+++....+.+.+..++"), (2, 2), "this week goes on");
    assert_eq!(runs(&thrice, ".+++....+.+.....++"), (0, 1), "only twice in the week that is over");
    let days = goal(json!({"type": "habit", "start": "2026-03-01", "times": 2, "days": 3}), json!({}));
    assert_eq!(runs(&days, "++..++"), (2, 2));
    let monthly = goal(json!({"type": "habit", "start": "2026-01-01", "period": "month"}), json!({}));
    let of = stand(&monthly, &march("...+"), date(2026, 3, 20)).streaks.unwrap();
    assert_eq!((of.current, of.completion), (1, Some(1.0 / 3.0)));
}

#[test]
fn a_rule_says_which_days_are_asked_for_and_the_others_change_nothing() {
    let rule = goal(json!({"type": "habit", "start": "2026-03-01", "rule": "FREQ=WEEKLY;BYDAY=MO,TH"}), json!({}));
    // Mondays 2, 9; Thursdays 5, 12.
    assert_eq!(runs(&rule, ".+..+...+"), (3, 3));
    assert_eq!(runs(&rule, ".+..+...+."), (3, 3), "nothing is asked for today");
    assert_eq!(runs(&rule, ".+......+"), (1, 1));
    let standing = stand(&rule, &march(".+..+...+.."), date(2026, 3, 11));
    let last: String = standing.last_days.chars().rev().take(10).collect::<Vec<_>>().into_iter().rev().collect();
    assert_eq!(last, "+  +   +  ");
    let share = 3.0 / 11.0;
    let expected = (0..3).fold(0.0, |score, _| crate::goals::compute(share, score, 1.0));
    assert!((standing.score.unwrap() - expected).abs() < 1e-12);
}

#[test]
fn a_habit_that_is_counted_asks_for_so_much_or_for_at_most_so_much() {
    let water = goal(json!({"type": "habit", "start": "2026-03-01", "target": "8"}), json!({}));
    let of = |amounts: &[f64]| -> Days {
        (1..).map(|day| date(2026, 3, day)).zip(amounts).map(|(day, much)| (day, amount(*much))).collect()
    };
    let standing = stand(&water, &of(&[8.0, 9.5, 3.0, 8.0, 4.0]), date(2026, 3, 5));
    let streaks = standing.streaks.unwrap();
    assert_eq!((streaks.current, streaks.longest, standing.value), (1, 2, Some(4.0)));
    let coffee = goal(json!({"type": "habit", "start": "2026-03-01", "target": "2", "at_most": true}), json!({}));
    let standing = stand(&coffee, &of(&[1.0, 2.0, 3.0, 0.0, 1.0]), date(2026, 3, 5));
    assert_eq!(
        standing.streaks.as_ref().map(|of| (of.current, of.longest)),
        Some((1, 2)),
        "today can still be too much"
    );
    assert_eq!(stand(&coffee, &of(&[1.0, 3.0]), date(2026, 3, 2)).streaks.unwrap().current, 0);
    assert!(stand(&coffee, &of(&[1.0, 1.0]), date(2026, 3, 2)).score.unwrap() > 0.99);
}

/// The score of Loop Habit Tracker through the module: its own published figures for twenty days in a row.
#[test]
fn a_habit_kept_for_twenty_days_has_the_score_that_loop_publishes() {
    let daily = goal(json!({"type": "habit", "start": "2026-03-01"}), json!({}));
    let score = |days: &str| stand(&daily, &march(days), date(2026, 3, 20)).score.unwrap();
    assert!((score("++++++++++++++++++++") - 0.655747).abs() < 1e-6);
    // Days 5, 10 and 11 before the last were skipped.
    assert!((score("++++++++ss++++s+++++") - 0.596033).abs() < 1e-6);
    let same = goal(
        json!({"type": "habit", "start": "2026-03-01"}),
        json!({"pause": [{"id": "a", "from": "2026-03-09", "until": "2026-03-10"}, {"id": "b", "from": "2026-03-15", "until": "2026-03-15"}]}),
    );
    let rested = stand(&same, &march("++++++++..++++.+++++"), date(2026, 3, 20)).score.unwrap();
    assert!((rested - 0.596033).abs() < 1e-6, "days of rest are left out like skipped ones");
}

#[test]
fn a_target_is_reached_by_what_adds_up_or_by_the_last_value_in_time() {
    let books = goal(
        json!({"type": "reach", "target": "24", "start": "2026-01-01", "end": "2026-12-31", "baseline": "0"}),
        json!({}),
    );
    let known: Days =
        [(1, 2.0), (8, 1.0), (15, 3.0)].into_iter().map(|(day, much)| (date(2026, 3, day), amount(much))).collect();
    let standing = stand(&books, &known, date(2026, 3, 31));
    assert_eq!((standing.value, standing.progress), (Some(6.0), Some(0.25)));
    assert!((standing.pace.unwrap() - 0.25 / (90.0 / 365.0)).abs() < 1e-9);
    assert_eq!(standing.track, Some("on"));
    assert!((standing.required_a_day.unwrap() - 18.0 / 275.0).abs() < 1e-9);
    let weight = goal(
        json!({"type": "reach", "target": "72", "baseline": "80", "agg": "last", "start": "2026-03-01", "end": "2026-06-30"}),
        json!({}),
    );
    let falling: Days = (0..20).map(|day| (date(2026, 3, 1 + day), amount(80.0 - 0.2 * f64::from(day)))).collect();
    let standing = stand(&weight, &falling, date(2026, 3, 20));
    assert!((standing.progress.unwrap() - 3.8 / 8.0).abs() < 1e-9);
    let forecast = standing.forecast.clone().unwrap();
    assert_eq!(
        (forecast.on, forecast.p10, forecast.p90),
        (date(2026, 4, 10), Some(date(2026, 4, 10)), Some(date(2026, 4, 10)))
    );
    assert_eq!(stand(&weight, &falling, date(2026, 3, 20)), standing, "the same figures wherever it is asked");
}

#[test]
fn a_range_is_the_share_of_days_in_it_and_a_project_its_milestones() {
    let range = goal(json!({"type": "maintain", "lower": "70", "upper": "72", "start": "2026-03-01"}), json!({}));
    let known: Days =
        [70.0, 71.5, 75.0, 69.0].into_iter().zip(1..).map(|(much, day)| (date(2026, 3, day), amount(much))).collect();
    let standing = stand(&range, &known, date(2026, 3, 4));
    assert_eq!((standing.progress, standing.value), (Some(0.5), Some(69.0)));
    let book = goal(
        json!({"type": "project", "start": "2026-01-01", "end": "2026-12-31"}),
        json!({"milestone": [{"id": "a", "title": "Outline", "due": "2026-02-01", "done": "2026-02-03"},
                             {"id": "b", "title": "Draft", "due": "2026-06-01"}]}),
    );
    let standing = stand(&book, &Days::new(), date(2026, 3, 4));
    assert_eq!(
        (standing.progress, standing.milestones_done, standing.next_milestone),
        (Some(0.5), 1, Some(date(2026, 6, 1)))
    );
    assert_eq!(stand(&book, &Days::new(), date(2026, 2, 1)).progress, Some(0.0), "as it stood then");
}

#[test]
fn an_objective_is_the_mean_of_its_key_results_and_names_what_is_open_or_broken() {
    let okr = goal(
        json!({"type": "okr", "start": "2026-01-01", "end": "2026-03-31"}),
        json!({"kr": [{"id": "a", "title": "Sign-ups", "target": "1000", "rank": "1"},
                      {"id": "b", "title": "Talks", "target": "10", "kind": "aspirational", "rank": "2", "agg": "sum"},
                      {"id": "c", "title": "Uptime", "target": "99", "kind": "guardrail", "rank": "3"}]}),
    );
    let days =
        |all: &[(i8, f64)]| -> Days { all.iter().map(|(day, much)| (date(2026, 2, *day), amount(*much))).collect() };
    let of = BTreeMap::from([
        ("a".to_owned(), days(&[(1, 200.0), (20, 800.0)])),
        ("b".to_owned(), days(&[(3, 2.0), (9, 5.0)])),
        ("c".to_owned(), days(&[(20, 98.0)])),
    ]);
    let found = standing(&okr, &Days::new(), &of, date(2026, 3, 31), b"seed");
    let objective = found.objective.unwrap();
    assert_eq!(objective.results.iter().map(|result| result.score.unwrap()).collect::<Vec<_>>()[..2], [0.8, 0.7]);
    assert_eq!((found.progress, objective.band), (Some(0.75), Some("red")), "a guardrail is never averaged away");
    assert_eq!((objective.committed_open, objective.broken), (vec!["Sign-ups".to_owned()], vec!["Uptime".to_owned()]));
    let then = standing(&okr, &Days::new(), &of, date(2026, 2, 5), b"seed").objective.unwrap();
    assert_eq!((then.results[0].value, then.results[1].value), (Some(200.0), Some(2.0)), "as it stood then");
}

#[test]
fn a_goal_rests_from_a_day_until_it_is_resumed_on_whatever_devices() {
    let make = |number| Document::new(DocId([2; 16]), GOAL.genesis(), StreamId([number; 16])).unwrap();
    let mut a = make(1);
    edit(&mut a, |doc| entity::create(doc, &GOAL, &[("title", "Run".into()), ("type", "habit".into())], 1));
    let mut b = make(2);
    send(&mut a, &mut b);
    edit(&mut a, |doc| pause(doc, DAY, None));
    edit(&mut b, |doc| pause(doc, DAY, Some(date(2026, 3, 20))));
    meet(&mut a, &mut b);
    let rows: Vec<Row> = project(&a).into_iter().filter(|row| row.table == "goal_pause").collect();
    assert_eq!((rows.len(), rows[0].key.as_str()), (1, "2026-03-08"), "one pause");
    let pauses = [Pause { id: "2026-03-08".into(), from: DAY, until: None }];
    edit(&mut a, |doc| resume(doc, &pauses, date(2026, 3, 12), 5));
    let row = project(&a).into_iter().find(|row| row.table == "goal_pause").unwrap();
    assert_eq!(row.values, [Value::Null, "2026-03-08".into(), "2026-03-11".into()]);
    assert!(a.edit(9, |doc| resume(doc, &pauses, date(2026, 3, 7), 5)).is_err());
    edit(&mut a, |doc| resume(doc, &pauses, DAY, 5));
    assert!(matches!(project(&a).into_iter().find(|row| row.table == "goal_pause").unwrap().values[0], Value::Int(5)));
    edit(&mut a, |doc| pause(doc, DAY, None));
    assert_eq!(project(&a).into_iter().find(|row| row.table == "goal_pause").unwrap().values[0], Value::Null);
}

fn a_check_in() -> impl Strategy<Value = (u8, i64, u8, i64)> {
    // Which device, which day of a week, what, how much.
    (0_u8..3, 0_i64..7, 0_u8..5, -3_i64..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn check_ins_of_three_devices_come_to_the_same_in_whatever_order_they_meet_and_every_addition_counts(
        made in proptest::collection::vec(a_check_in(), 1..30), meetings in proptest::collection::vec((0_u8..3, 0_u8..3), 0..8)
    ) {
        let mut devices = [year(1), year(2), year(3)];
        let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
        let mut meetings = meetings.into_iter();
        for (who, day, what, much) in made {
            let on = DAY.checked_add(jiff::Span::new().days(day)).unwrap();
            let given = match what {
                0 => said(State::Yes),
                1 => said(State::Fail),
                2 => said(State::Skip),
                3 => CheckIn { value: Some(much.to_string()), ..CheckIn::default() },
                _ => { *sums.entry(day).or_default() += much; added(much) }
            };
            let device = &mut devices[usize::from(who)];
            // Saying the same twice changes nothing, which is no change.
            let now = device.updated_ms() + 10;
            device.edit(now, |doc| check(doc, &GOAL_ID, on, None, &given)).unwrap();
            if let Some((from, to)) = meetings.next().filter(|(from, to)| from != to) {
                let mut source = devices[usize::from(from)].fork();
                let changes: Vec<Change> = source.get_changes(&[]);
                let mut fork = devices[usize::from(to)].fork();
                fork.apply_changes(changes).unwrap();
                devices[usize::from(to)].replace(fork);
            }
        }
        for (one, other) in [(0, 1), (1, 2), (2, 0), (0, 1), (1, 2)] {
            let changes: Vec<Change> = devices[one].fork().get_changes(&[]);
            let mut fork = devices[other].fork();
            fork.apply_changes(changes).unwrap();
            devices[other].replace(fork);
        }
        let rows = check_ins(&devices[0]);
        prop_assert_eq!(&rows, &check_ins(&devices[1]));
        prop_assert_eq!(&rows, &check_ins(&devices[2]));
        for (day, sum) in sums {
            let key = DAY.checked_add(jiff::Span::new().days(day)).unwrap().to_string();
            let row = rows.iter().find(|row| row.key == key);
            let found = row.map_or(Value::Int(0), |row| row.values[3].clone());
            prop_assert_eq!(found, Value::Int(sum * ADDED_SCALE));
        }
    }

    #[test]
    fn whatever_goals_say_they_are_part_of_they_form_a_forest_with_each_of_them_once(
        parents in proptest::collection::vec(proptest::option::of(0_usize..12), 1..12)
    ) {
        let names: Vec<String> = (0..12).map(|at| format!("g{at:02}")).collect();
        let said: BTreeMap<&str, Option<&str>> = parents.iter().enumerate()
            .map(|(at, parent)| (names[at].as_str(), parent.map(|parent| names[parent].as_str()))).collect();
        let found = forest(&said, |_| 0);
        let shown: BTreeSet<&str> = found.iter().map(|(goal, _)| *goal).collect();
        prop_assert_eq!((found.len(), shown.len()), (said.len(), said.len()));
        for pair in found.windows(2) {
            prop_assert!(pair[1].1 <= pair[0].1 + 1);
        }
        // Who stands below another goal stands below the one it names.
        for (at, (goal, depth)) in found.iter().enumerate().filter(|(_, (_, depth))| *depth > 0) {
            let above = found[..at].iter().rev().find(|(_, other)| other < depth).unwrap().0;
            prop_assert_eq!(said[goal], Some(above));
        }
    }

    #[test]
    fn whatever_a_goal_and_its_days_say_where_it_stands_is_within_its_bounds(
        kind in proptest::sample::select(vec!["habit", "reach", "maintain", "milestone", "okr", "project", "x-other"]),
        period in proptest::sample::select(vec!["day", "week", "month", "quarter", "year"]), times in 1_i64..40,
        target in proptest::option::of(-10_i64..20), at_most in any::<bool>(), days in proptest::option::of(1_i64..40),
        marks in proptest::collection::vec((0_i64..400, 0_u8..4, proptest::num::f64::ANY), 0..60), today in 0_i64..500,
        agg in proptest::sample::select(vec!["sum", "last", "max", "min", "mean"])
    ) {
        let mut values = json!({"type": kind, "period": period, "times": times, "at_most": at_most, "agg": agg,
            "start": "2025-03-08", "end": "2026-02-01", "lower": "-1", "upper": "5"});
        if let Some(target) = target { values["target"] = json!(target.to_string()); }
        if let Some(days) = days { values["days"] = json!(days); }
        let goal = goal(values, json!({"pause": [{"id": "a", "from": "2025-06-01", "until": "2025-07-01"}, {"id": "b", "from": "2026-01-20"}]}));
        let begin = date(2025, 3, 8);
        let on = |day: i64| begin.checked_add(jiff::Span::new().days(day)).unwrap();
        let known: Days = marks.into_iter().map(|(day, what, much)| (on(day), match what {
            0 => state(State::Yes), 1 => state(State::Fail), 2 => state(State::Skip), _ => amount(much),
        })).collect();
        let found = stand(&goal, &known, on(today));
        let is_share = |share: Option<f64>| share.is_none_or(|share| (0.0..=1.0).contains(&share));
        prop_assert!(is_share(found.progress) && is_share(found.score), "{:?}", found);
        prop_assert!(found.pace.is_none_or(|pace| pace.is_finite() && pace >= 0.0));
        if let Some(streaks) = &found.streaks {
            prop_assert!(streaks.current <= streaks.longest && is_share(streaks.completion));
        }
        prop_assert_eq!((found.last_days.chars().count(), found.last_amounts.len()), (28, 28));
        prop_assert_eq!(stand(&goal, &known, on(today)).streaks, found.streaks);
    }
}
