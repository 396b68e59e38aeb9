//! Tasks on one device, and on two that meet later; what follows of the log for what is due and what rings.

use std::collections::BTreeSet;

use automerge::{AutoCommit, Change};
use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use lifeos_sync_protocol::ids::{DocId, StreamId};
use proptest::prelude::*;

use super::declared::{RINGS, TASK};
use super::edit::{self, Given, Said, Settle};
use super::facts::{Facts, Next, Place};
use super::project::{OfDocument, facts};
use crate::document::{Document, DocumentError};
use crate::modules::entity;
use crate::notify::{Acks, FireKey, Inputs, Policy, Who, plan};
use crate::projection::{Value, project};
use crate::quick::{self, Context, Reading, TimesOfDay};
use crate::recur::{Language, OccurrenceId};
use crate::registry::{door, table};

fn zones(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

fn at(text: &str) -> Zoned {
    text.parse().unwrap()
}

fn place(now: &Zoned) -> Place<'_> {
    Place { now: now.timestamp(), zone: now.time_zone(), zones: &zones }
}

fn device(number: u8) -> Document {
    Document::new(DocId([1; 16]), TASK.genesis(), StreamId([number; 16])).unwrap()
}

/// Edits as the store does, the look at what was written included.
fn change<T>(
    document: &mut Document,
    edit: impl FnOnce(&mut AutoCommit) -> Result<T, DocumentError>,
) -> Result<T, DocumentError> {
    let now = document.updated_ms() + 10;
    let (value, change) = document.edit(now, edit)?;
    change.iter().try_for_each(|change| door::admit(document, &change.bytes))?;
    Ok(value)
}

/// A task of a line, on the first device.
fn task(line: &str, now: &Zoned) -> Document {
    let context = Context { now: now.clone(), languages: vec![Language::English], times: TimesOfDay::default() };
    let Reading::Clear(parsed) = quick::read(line, &context).unwrap() else { panic!("{line} is asked back") };
    let mut document = device(1);
    let mut ids = 0;
    let mut id = || {
        ids += 1;
        format!("a{ids}")
    };
    change(&mut document, |doc| edit::create(doc, &parsed, &Given::default(), now.date(), 1, &mut id)).unwrap();
    document
}

fn send(from: &mut Document, to: &mut Document) {
    let mut fork = to.fork();
    let changes = from.changes_since(&[]).into_iter();
    fork.apply_changes(changes.map(|change| Change::from_bytes(change.bytes).unwrap()).collect::<Vec<_>>()).unwrap();
    to.replace(fork);
}

fn copy(of: &mut Document, number: u8) -> Document {
    let mut other = device(number);
    send(of, &mut other);
    other
}

fn meet(a: &mut Document, b: &mut Document) {
    send(a, b);
    send(b, a);
    assert_eq!(project(a), project(b));
}

fn known(document: &Document) -> Facts {
    Facts::read(&OfDocument(document.read()), &zones)
}

fn next(document: &Document, now: &Zoned) -> Option<Next> {
    known(document).next(&place(now))
}

fn due(document: &Document, now: &Zoned) -> String {
    next(document, now).map_or_else(|| "nothing".to_owned(), |next| next.due)
}

fn done(document: &mut Document, now: &Zoned) -> OccurrenceId {
    let settled = change(document, |doc| edit::settle(doc, Settle::Done, None, "d", &place(now))).unwrap();
    settled.unwrap()
}

fn column(document: &Document, name: &str) -> Value {
    let rows = project(document);
    let row = rows.iter().find(|row| row.table == "task").unwrap();
    row.values[table("task").unwrap().place(name).unwrap()].clone()
}

/// What rings in the three days after a time: entity's occurrence and the time on the clock.
fn rings(document: &Document, acks: &Acks, now: &Zoned) -> Vec<(String, String)> {
    let (policy, key) = (Policy::default(), FireKey::new(&[1; 32]));
    let items = known(document).items("task", &Who::All, &place(now));
    let inputs = Inputs { items: &items, acks, policy: &policy, zone: now.time_zone(), key: &key };
    let fires = plan(now.timestamp(), SignedDuration::from_hours(72), &inputs);
    fires.iter().map(|fire| (fire.occurrence.to_string(), fire.wall.to_string())).collect()
}

#[test]
fn a_line_becomes_a_task_with_all_that_it_says() {
    let now = at("2026-03-05T10:00[Europe/London]");
    let document = task("pay rent every month on the 1st at 09:00 #home p1 for 30 min remind me 10 min before", &now);
    let row = |name| column(&document, name);
    assert_eq!(row("title"), Value::Text("pay rent".into()));
    assert_eq!(row("due"), Value::Text("2026-04-01T09:00".into()));
    assert_eq!(row("rule"), Value::Text("FREQ=MONTHLY;BYMONTHDAY=1".into()));
    assert_eq!((row("priority"), row("estimate")), (Value::Int(1), Value::Int(30)));
    assert_eq!((row("first_day"), row("is_over")), (Value::Text("2026-04-01".into()), Value::Int(0)));
    let alarms = known(&document).alarms;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(
        rings(&document, &Acks::default(), &at("2026-03-31T10:00[Europe/London]")),
        [("20260401T090000".to_owned(), "2026-04-01T08:50:00".to_owned())]
    );
}

/// Acceptance scenario 1 of the domain study.
#[test]
fn two_phones_that_do_the_same_day_apart_do_it_once_and_the_next_one_stays_done() {
    let monday = at("2026-03-02T08:00[Europe/London]");
    let mut a = task("water the plants every day at 09:00", &monday);
    let mut b = copy(&mut a, 2);
    let evening = at("2026-03-02T20:00[Europe/London]");
    let tuesday = at("2026-03-03T20:00[Europe/London]");
    assert_eq!(done(&mut a, &evening), done(&mut b, &evening), "both mean the same occurrence");
    // B goes on. A is busy with other things: its clock of changes runs ahead, and must not win over what B did.
    for n in 0..20 {
        change(&mut a, |doc| entity::set(doc, &TASK, "percent", i64::from(n))).unwrap();
    }
    done(&mut b, &tuesday);
    meet(&mut a, &mut b);
    for document in [&a, &b] {
        let facts = known(document);
        let days = facts.log.iter().filter(|(_, logged)| logged.done_ms.is_some()).map(|(id, _)| id.to_string());
        let days: Vec<_> = days.collect();
        assert_eq!(days, ["20260302T090000", "20260303T090000"], "one entry each, none lost");
        assert_eq!(due(document, &tuesday), "2026-03-04T09:00", "the third day is next");
        assert_eq!(column(document, "first_day"), Value::Text("2026-03-04".into()));
        // What rings from the first morning on: nothing of what is done, each day that is left once.
        let rung = rings(document, &Acks::default(), &monday);
        assert_eq!(rung, [("20260304T090000".to_owned(), "2026-03-04T09:00:00".to_owned())]);
    }
    let names: BTreeSet<_> = [&a, &b].map(|document| rings(document, &Acks::default(), &tuesday)).into();
    assert_eq!(names.len(), 1, "both devices plan the same");
}

#[test]
fn taking_back_and_doing_again_end_where_they_began() {
    let now = at("2026-03-02T20:00[Europe/London]");
    let mut document = task("stretch every day at 09:00", &at("2026-03-02T08:00[Europe/London]"));
    let before = due(&document, &now);
    let id = done(&mut document, &now);
    assert_ne!(due(&document, &now), before);
    assert_eq!(change(&mut document, |doc| edit::unsettle(doc, None)).unwrap(), Some(id));
    assert_eq!(due(&document, &now), before);
    assert!(change(&mut document, |doc| edit::unsettle(doc, None)).is_err(), "nothing is left to take back");
    assert_eq!(done(&mut document, &now), id);

    let mut once = task("call Ana tomorrow", &now);
    assert_eq!(change(&mut once, |doc| edit::settle(doc, Settle::Done, None, "d", &place(&now))), Ok(None));
    assert_eq!((column(&once, "is_over"), due(&once, &now)), (Value::Int(1), "nothing".into()));
    change(&mut once, |doc| edit::unsettle(doc, None)).unwrap();
    assert_eq!((column(&once, "is_over"), due(&once, &now)), (Value::Int(0), "2026-03-03".into()));
}

#[test]
fn taken_back_on_one_device_and_untouched_on_the_other_is_taken_back_on_both() {
    let now = at("2026-03-02T20:00[Europe/London]");
    let mut a = task("stretch every day at 09:00", &at("2026-03-02T08:00[Europe/London]"));
    done(&mut a, &now);
    let mut b = copy(&mut a, 2);
    change(&mut a, |doc| edit::unsettle(doc, None)).unwrap();
    change(&mut b, |doc| entity::set(doc, &TASK, "priority", 1_i64)).unwrap();
    meet(&mut a, &mut b);
    assert_eq!((due(&a, &now), due(&b, &now)), ("2026-03-02T09:00".into(), "2026-03-02T09:00".into()));
}

#[test]
fn skipping_moves_on_without_counting_as_done_and_moving_changes_one_time_alone() {
    let now = at("2026-03-02T08:00[Europe/London]");
    let mut document = task("swim every day at 09:00", &now);
    let late = at("2026-03-02T20:00[Europe/London]");
    change(&mut document, |doc| edit::settle(doc, Settle::Skip, None, "d", &place(&late))).unwrap();
    assert_eq!((due(&document, &late), column(&document, "done_count")), ("2026-03-03T09:00".into(), Value::Int(0)));
    let moved = change(&mut document, |doc| edit::reschedule(doc, "2026-03-03T18:00", None, &place(&late))).unwrap();
    assert_eq!(moved.unwrap().to_string(), "20260303T090000");
    assert_eq!(due(&document, &late), "2026-03-03T18:00");
    let rung = rings(&document, &Acks::default(), &late);
    let clocks: Vec<_> = rung.iter().map(|(_, clock)| clock.as_str()).collect();
    assert_eq!(clocks, ["2026-03-03T18:00:00", "2026-03-04T09:00:00", "2026-03-05T09:00:00"]);
    let evening = at("2026-03-03T20:00[Europe/London]");
    assert_eq!(done(&mut document, &evening).to_string(), "20260303T090000", "it keeps its name");
    assert_eq!(due(&document, &evening), "2026-03-04T09:00");
}

#[test]
fn a_time_of_the_series_can_be_named_and_what_does_not_take_place_is_refused() {
    let now = at("2026-03-02T08:00[Europe/London]");
    let mut document = task("swim every Monday at 09:00", &now);
    let mut on = |id: &str| {
        let named = Some(id.parse().unwrap());
        change(&mut document, |doc| edit::settle(doc, Settle::Done, named, "d", &place(&now)))
    };
    assert_eq!(on("20260309").unwrap().unwrap().to_string(), "20260309T090000", "a day names the time on it");
    assert!(on("20260310").is_err() && on("20260309T100000").is_err() && on("20250303").is_err());
    assert_eq!(due(&document, &now), "2026-03-02T09:00");
}

#[test]
fn what_counts_from_completions_is_due_a_period_after_the_last_one() {
    let now = at("2026-03-02T08:00[Europe/London]");
    let mut a = task("change the filter every! 10 days", &now);
    assert_eq!(due(&a, &now), "2026-03-02");
    let mut b = copy(&mut a, 2);
    let id = done(&mut a, &at("2026-03-05T12:00[Europe/London]"));
    assert_eq!(done(&mut b, &at("2026-03-06T12:00[Europe/London]")), id, "both did the same one");
    meet(&mut a, &mut b);
    assert_eq!(due(&a, &now), due(&b, &now));
    let last = known(&a).log[&id].done_ms.unwrap();
    let last = Timestamp::from_millisecond(last).unwrap().to_zoned(now.time_zone().clone()).date();
    assert_eq!(due(&a, &now), (last + jiff::Span::new().days(10)).to_string());
    let rung = rings(&a, &Acks::default(), &at("2026-03-14T10:00[Europe/London]"));
    assert_eq!(rung.len(), 1, "{rung:?}");
}

#[test]
fn what_passed_while_nobody_looked_is_due_as_the_task_asks() {
    let begun = at("2026-03-02T08:00[Europe/London]");
    let friday = at("2026-03-06T12:00[Europe/London]");
    for (policy, first, missed) in
        [("latest", "2026-03-06T09:00", 4), ("all", "2026-03-02T09:00", 0), ("none", "2026-03-07T09:00", 0)]
    {
        let mut document = task("feed the cat every day at 09:00", &begun);
        change(&mut document, |doc| entity::set(doc, &TASK, "catchup", policy)).unwrap();
        let next = next(&document, &friday).unwrap();
        assert_eq!((next.due.as_str(), next.missed), (first, missed), "{policy}");
        let Value::Text(day) = column(&document, "first_day") else { panic!("no first day") };
        assert!(day.as_str() <= &first[..10], "{policy}: found by lists");
    }
}

/// Acceptance scenario 2 of the domain study: what clocks do, under both policies, and what travel does.
#[test]
fn clocks_that_change_and_travel_do_to_a_task_what_its_kind_of_date_says() {
    let case = |line: &str, dst: &str, now: &str, zone: &str| -> Vec<String> {
        let mut document = task(line, &at(now));
        change(&mut document, |doc| entity::set(doc, &TASK, "dst", dst)).unwrap();
        let there = at(now).with_time_zone(TimeZone::get(zone).unwrap());
        rings(&document, &Acks::default(), &there).into_iter().map(|(_, clock)| clock).collect()
    };
    let new_york = "every day at 02:30 America/New_York x";
    let spring = "2026-03-07T12:00[America/New_York]";
    assert_eq!(
        case(new_york, "shift", spring, "America/New_York"),
        ["2026-03-08T03:30:00", "2026-03-09T02:30:00", "2026-03-10T02:30:00"],
        "what clocks skip rings later"
    );
    assert_eq!(
        case(new_york, "skip", spring, "America/New_York"),
        ["2026-03-09T02:30:00", "2026-03-10T02:30:00"],
        "or not at all, where the task asks for that"
    );
    assert_eq!(
        case(
            "every day at 01:30 America/New_York x",
            "shift",
            "2026-10-31T12:00[America/New_York]",
            "America/New_York"
        ),
        ["2026-11-01T01:30:00", "2026-11-02T01:30:00", "2026-11-03T01:30:00"],
        "what they show twice rings once"
    );
    // Lord Howe moves its clocks by half an hour.
    assert_eq!(
        case(
            "every day at 02:15 Australia/Lord_Howe x",
            "shift",
            "2026-10-03T12:00[Australia/Lord_Howe]",
            "Australia/Lord_Howe"
        ),
        ["2026-10-04T02:45:00", "2026-10-05T02:15:00", "2026-10-06T02:15:00"]
    );
    // Samoa left out 30 December 2011.
    assert_eq!(
        case("every day at 09:00 Pacific/Apia x", "skip", "2011-12-29T08:00[Pacific/Apia]", "Pacific/Apia"),
        ["2011-12-29T09:00:00", "2011-12-31T09:00:00", "2012-01-01T09:00:00"]
    );
    // From Berlin to Tokyo: a pill stays at eight on the clock, a call stays when it is.
    let berlin = "2026-05-04T06:00[Europe/Berlin]";
    assert_eq!(case("pill every day at 08:00", "shift", berlin, "Asia/Tokyo")[0], "2026-05-05T08:00:00");
    assert_eq!(case("call every day at 08:00 Europe/Berlin", "shift", berlin, "Asia/Tokyo")[0], "2026-05-04T15:00:00");
}

#[test]
fn rules_between_the_three_kinds_of_date_are_kept() {
    let now = at("2026-03-02T08:00[Europe/London]");
    let mut document = task("taxes tomorrow", &now);
    let mut set = |name: &str, value: &str| change(&mut document, |doc| entity::set(doc, &TASK, name, value));
    assert!(set("deadline", "2026-03-02").is_err(), "too late before it is due");
    assert_eq!(set("deadline", "2026-03-10"), Ok(()));
    assert!(set("start", "2026-03-04").is_err(), "begins after it is due");
    assert_eq!(set("start", "2026-03-04T09:00"), Ok(()), "a time and a day are not compared");
    assert!(set("rule", "FREQ=HOURLY").is_err(), "a day has no hours");
    assert!(set("rule", "EVERY DAY").is_err());
    assert_eq!(set("rule", "FREQ=WEEKLY"), Ok(()));
    assert!(
        change(&mut document, |doc| entity::set_all(
            doc,
            &TASK,
            &[("due", automerge::ScalarValue::Null), ("start", automerge::ScalarValue::Null)]
        ))
        .is_err(),
        "what repeats needs a beginning"
    );
}

#[test]
fn what_is_said_of_rings_joins_to_the_same_on_every_device() {
    let mut a = Document::new(DocId([2; 16]), RINGS.genesis(), StreamId([1; 16])).unwrap();
    let mut b = Document::new(DocId([2; 16]), RINGS.genesis(), StreamId([2; 16])).unwrap();
    let fire = "0123456789abcdef0123456789abcdef".parse().unwrap();
    let say = |document: &mut Document, said| {
        change(document, |doc| edit::say(doc, "2026-03", &fire, said, "d", 5)).unwrap();
    };
    say(&mut a, Said::Until(50_000));
    say(&mut b, Said::Until(90_000));
    say(&mut b, Said::Seen);
    say(&mut b, Said::Seen);
    meet(&mut a, &mut b);
    let kept: Vec<_> = project(&a).into_iter().filter(|row| row.table == "ring_snooze").map(|row| row.key).collect();
    assert_eq!(kept, [format!("{fire}.50"), format!("{fire}.90")], "both stay, of which the later counts");
    assert_eq!(project(&a).iter().filter(|row| row.table == "ring_ack").count(), 1);
}

#[test]
fn a_full_log_says_so_and_loses_nothing() {
    let begun = at("2026-01-01T08:00[Europe/London]");
    let mut document = task("stretch every day at 09:00", &begun);
    let day = |n: i64| date(2026, 1, 1) + jiff::Span::new().days(n);
    change(&mut document, |doc| {
        (0..2_000).try_for_each(|n| {
            let key = OccurrenceId::Wall(day(n).at(9, 0, 0, 0)).to_string();
            entity::put_row(doc, &TASK, "occ", &key, &[("done", automerge::ScalarValue::Timestamp(n))])
        })
    })
    .unwrap();
    let now = day(2_000).at(12, 0, 0, 0).to_zoned(begun.time_zone().clone()).unwrap();
    assert_eq!(due(&document, &now), format!("{}T09:00", day(2_000)));
    let refused = change(&mut document, |doc| edit::settle(doc, Settle::Done, None, "d", &place(&now))).unwrap_err();
    assert!(refused.to_string().contains("full"), "{refused}");
    assert_eq!(known(&document).log.len(), 2_000);
}

#[test]
fn what_a_merge_or_another_program_left_never_makes_reading_a_task_panic() {
    use automerge::ROOT;
    use automerge::transaction::Transactable;
    let now = at("2026-03-02T08:00[Europe/London]");
    for (key, value) in [
        ("rule", "FREQ=DAILY;COUNT=99999999999"),
        ("rule", "x"),
        ("due", "tomorrow"),
        ("due", "9999-12-31T23:59:59[Pacific/Apia]"),
        ("due", "0001-01-01"),
        ("dtstart", "2026-13-40"),
        ("deadline", "never"),
        ("occ/20260302T090000:moved", "nonsense"),
        ("occ/x:done", "y"),
        ("alarm/a:kind", "at"),
        ("exdate/zzz", "zzz"),
    ] {
        let mut document = task("swim every day at 09:00", &now);
        document.edit(9, |doc| doc.put(ROOT, key, value).map_err(DocumentError::from)).unwrap();
        let (facts, place) = (known(&document), place(&now));
        let _ = (facts.next(&place), facts.items("t", &Who::All, &place).len(), project(&document).len());
        let _ = facts.coming(date(2026, 4, 1), 100, &place);
    }
    for rule in ["FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30"] {
        let mut document = task("swim every day at 09:00", &now);
        change(&mut document, |doc| entity::set(doc, &TASK, "rule", rule)).unwrap();
        let begun = std::time::Instant::now();
        assert_eq!(column(&document, "is_over"), Value::Int(1), "{rule}: it never takes place");
        assert!(begun.elapsed().as_secs() < 20, "{rule}: {:?}", begun.elapsed());
    }
}

/// What people do on two devices that are apart.
#[derive(Debug, Clone, Copy)]
enum Does {
    Done(bool, u8),
    Skip(bool, u8),
    Back(bool, u8),
    Move(bool, u8),
    Meet,
}

fn does() -> impl Strategy<Value = Does> {
    let any = (any::<bool>(), 0_u8..14);
    prop_oneof![
        3 => any.clone().prop_map(|(who, day)| Does::Done(who, day)),
        1 => any.clone().prop_map(|(who, day)| Does::Skip(who, day)),
        1 => any.clone().prop_map(|(who, day)| Does::Back(who, day)),
        1 => any.prop_map(|(who, day)| Does::Move(who, day)),
        1 => Just(Does::Meet),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn whatever_two_devices_do_apart_they_agree_and_nothing_done_is_lost(
        steps in proptest::collection::vec(does(), 1..25),
        rule in prop_oneof![Just("every day at 09:00"), Just("every! 2 days"), Just("every Monday"), Just("every 3 days")],
    ) {
        let begun = at("2026-03-02T08:00[Europe/London]");
        let mut a = task(&format!("swim {rule}"), &begun);
        let (mut b, mut taken_back) = (copy(&mut a, 2), BTreeSet::new());
        for step in steps {
            let (who, day) = match step {
                Does::Done(who, day) | Does::Skip(who, day) | Does::Back(who, day) | Does::Move(who, day) => (who, day),
                Does::Meet => {
                    meet(&mut a, &mut b);
                    continue;
                }
            };
            let document = if who { &mut a } else { &mut b };
            let now = (date(2026, 3, 2) + jiff::Span::new().days(i64::from(day))).at(20, 0, 0, 0);
            let now = now.to_zoned(begun.time_zone().clone()).unwrap();
            let place = place(&now);
            // What cannot be done then is refused, and changes nothing.
            let changed = match step {
                Does::Done(..) => change(document, |doc| edit::settle(doc, Settle::Done, None, "d", &place)),
                Does::Skip(..) => change(document, |doc| edit::settle(doc, Settle::Skip, None, "d", &place)),
                Does::Back(..) => change(document, |doc| edit::unsettle(doc, None)),
                _ => change(document, |doc| edit::reschedule(doc, "2026-03-09T18:00", None, &place)),
            };
            if matches!(step, Does::Back(..)) {
                taken_back.extend(changed.ok().flatten());
            }
        }
        let logs = |document: &Document| -> BTreeSet<OccurrenceId> { known(document).log.into_keys().collect() };
        let before: BTreeSet<_> = logs(&a).union(&logs(&b)).copied().collect();
        meet(&mut a, &mut b);
        // Who takes something back that the other does at once has it taken back, or not: on both.
        let after = logs(&a);
        let lost: Vec<_> = before.difference(&after).filter(|id| !taken_back.contains(id)).collect();
        prop_assert!(lost.is_empty() && after.is_subset(&before), "lost {:?}", lost);
        let now = at("2026-03-20T20:00[Europe/London]");
        prop_assert_eq!(next(&a, &now), next(&b, &now));
        if let Some(next) = next(&a, &now) {
            let id = next.occurrence.unwrap();
            let settled = known(&a).log.get(&id).is_some_and(super::facts::Logged::is_settled);
            prop_assert!(!settled, "what is due is not done: {:?}", next);
            // Lists find it: it is not due before the first day that its row says.
            prop_assert!(facts(a.read()).first_day().unwrap() <= next.day);
        }
    }
}
