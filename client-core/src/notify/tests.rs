//! Alarms, quiet hours, what was missed, and the simulation.

use std::collections::BTreeSet;

use jiff::civil::{DateTime, Time, Weekday, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::recur::{Gap, OccurrenceId, Rule, Series, Start};

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn wall(text: &str) -> DateTime {
    text.parse().unwrap()
}

/// An item due at a time on the clock, with an alarm so many minutes after it.
fn item(due: Start, minutes: i32) -> Item {
    Item {
        entity: "task".to_owned(),
        revision: 0,
        start: None,
        due: Some(due),
        deadline: None,
        series: None,
        settled: BTreeSet::new(),
        completions: Vec::new(),
        is_over: false,
        alarms: vec![Alarm {
            id: "a".to_owned(),
            trigger: Trigger::Relative { days: 0, minutes, of: Anchor::Due },
            nag: None,
        }],
        is_urgent: false,
        is_medication: false,
        who: Who::All,
    }
}

fn daily(start: Start) -> Item {
    let series = Series::new(Rule::parse("FREQ=DAILY").unwrap(), start.clone(), Gap::Shift).unwrap();
    Item { series: Some(series), ..item(start, 0) }
}

/// What all of the tests share but what they are about.
struct Case {
    items: Vec<Item>,
    acks: Acks,
    policy: Policy,
    zone: TimeZone,
    key: FireKey,
}

impl Case {
    fn new(zone_name: &str, items: Vec<Item>) -> Self {
        let (acks, policy) = (Acks::default(), Policy::default());
        Self { items, acks, policy, zone: zone(zone_name), key: FireKey::new(&[1; 32]) }
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs { items: &self.items, acks: &self.acks, policy: &self.policy, zone: &self.zone, key: &self.key }
    }

    fn at(&self, text: &str) -> Timestamp {
        self.zone.to_timestamp(wall(text)).unwrap()
    }

    fn plan(&self, from: &str, hours: i64) -> Vec<Fire> {
        plan(self.at(from), SignedDuration::from_hours(hours), &self.inputs())
    }

    /// What clocks show at each fire of a plan.
    fn clocks(&self, from: &str, hours: i64) -> Vec<String> {
        self.plan(from, hours).iter().map(|fire| fire.wall.strftime("%d %H:%M").to_string()).collect()
    }
}

fn device(pending_max: Option<usize>) -> Device {
    Device { id: DeviceId([1; 32]), is_permitted: true, pending_max }
}

fn floating(text: &str) -> Start {
    Start::Floating(wall(text))
}

#[test]
fn alarms_are_before_after_at_a_time_and_after_completion() {
    let due = floating("2026-03-05T12:00");
    let with = |trigger: Trigger| {
        let alarms = vec![Alarm { id: "a".to_owned(), trigger, nag: None }];
        let done = zone("Europe/Berlin").to_timestamp(wall("2026-03-05T08:00")).unwrap();
        let start = Some(Start::Date(date(2026, 3, 5)));
        let item =
            Item { alarms, start, deadline: Some(date(2026, 3, 6)), completions: vec![done], ..item(due.clone(), 0) };
        Case::new("Europe/Berlin", vec![item]).clocks("2026-03-01T00:00", 24 * 10)
    };
    let relative = |days, minutes, of| Trigger::Relative { days, minutes, of };
    assert_eq!(with(relative(0, -10, Anchor::Due)), ["05 11:50"]);
    assert_eq!(with(relative(-1, 0, Anchor::Due)), ["04 12:00"]);
    assert_eq!(with(relative(0, 30, Anchor::Due)), ["05 12:30"]);
    assert_eq!(with(relative(0, -60, Anchor::Start)), ["05 08:00"], "a day begins at nine");
    assert_eq!(with(relative(0, 0, Anchor::Deadline)), ["06 09:00"]);
    assert_eq!(with(Trigger::At(floating("2026-03-04T18:00"))), ["04 18:00"]);
    assert_eq!(with(Trigger::AfterCompletion { minutes: 90 }), ["05 09:30"]);
}

#[test]
fn a_relative_alarm_rings_for_every_occurrence_that_is_not_settled() {
    let mut task = daily(floating("2026-03-05T09:00"));
    task.alarms[0].trigger = Trigger::Relative { days: -1, minutes: -30, of: Anchor::Due };
    task.settled.insert(OccurrenceId::Wall(wall("2026-03-06T09:00")));
    let case = Case::new("Europe/Berlin", vec![task]);
    assert_eq!(case.clocks("2026-03-03T00:00", 96), ["04 08:30", "06 08:30"]);
}

#[test]
fn floating_follows_the_person_and_zoned_stays_where_it_is() {
    let mut here = item(Start::Zoned(wall("2026-03-05T09:00"), zone("Europe/Berlin")), 0);
    here.entity = "call".to_owned();
    let mut case = Case::new("Europe/Berlin", vec![item(floating("2026-03-05T09:00"), 0), here]);
    assert_eq!(case.clocks("2026-03-05T00:00", 24), ["05 09:00", "05 09:00"]);
    let names: Vec<_> = case.plan("2026-03-05T00:00", 24).iter().map(|fire| (fire.entity.clone(), fire.id)).collect();
    case.zone = zone("Asia/Tokyo");
    let there = case.plan("2026-03-05T00:00", 24);
    assert_eq!(there.iter().map(|fire| fire.wall.hour()).collect::<Vec<_>>(), [9, 17]);
    assert!(there.iter().all(|fire| names.contains(&(fire.entity.clone(), fire.id))), "names are of no zone");
}

#[test]
fn travel_makes_nothing_ring_again_that_was_acknowledged_or_rang_here() {
    let mut case =
        Case::new("Europe/Berlin", vec![item(floating("2026-03-05T09:00"), 0), item(Start::Date(date(2026, 3, 5)), 0)]);
    case.items[1].entity = "day".to_owned();
    let mut ringer = Ringer::new(device(None), case.at("2026-03-05T00:00"));
    let rung = ringer.wake(case.at("2026-03-05T09:00"), &case.inputs(), None);
    assert_eq!(rung.rings.len(), 2);
    let Ring::One { fire, .. } = &rung.rings[0] else { panic!("one") };
    let mut other = Ringer::new(Device { id: DeviceId([2; 32]), ..device(None) }, case.at("2026-03-05T00:00"));
    case.acks.ack(fire.first, case.at("2026-03-05T09:01"));
    // West, where it is not nine yet.
    case.zone = zone("America/New_York");
    assert_eq!(ringer.wake(case.at("2026-03-05T09:00"), &case.inputs(), None), Woken::default());
    assert_eq!(other.wake(case.at("2026-03-05T09:00"), &case.inputs(), None).rings.len(), 1, "only the other one");
}

#[test]
fn what_was_listed_as_missed_rings_where_it_is_still_to_come() {
    let mut case = Case::new("Australia/Lord_Howe", vec![item(floating("2026-03-05T09:00"), 0)]);
    let mut ringer = Ringer::new(device(None), case.at("2026-03-05T00:00"));
    let late = ringer.wake(case.at("2026-03-05T22:00"), &case.inputs(), None);
    assert_eq!((late.rings.len(), late.missed.len()), (0, 1));
    assert_eq!(ringer.wake(case.at("2026-03-05T22:30"), &case.inputs(), None), Woken::default());
    // West, and it is the same morning again.
    case.zone = zone("America/New_York");
    assert_eq!(ringer.wake(case.at("2026-03-05T09:00"), &case.inputs(), None).rings.len(), 1);
}

#[test]
fn a_time_that_clocks_skip_rings_later_and_one_that_comes_twice_rings_once() {
    let case = Case::new("America/New_York", vec![daily(floating("2026-03-07T02:30"))]);
    assert_eq!(case.clocks("2026-03-07T00:00", 60), ["07 02:30", "08 03:30", "09 02:30"]);
    let case = Case::new("America/New_York", vec![daily(floating("2026-10-31T01:30"))]);
    let fires = case.plan("2026-10-31T00:00", 60);
    assert_eq!(fires.len(), 3);
    assert_eq!(case.zone.to_offset(fires[1].at).seconds(), -4 * 3600, "the first of the two");
}

#[test]
fn a_snooze_rings_when_it_is_over_the_latest_counts_and_done_beats_it() {
    let mut case = Case::new("Europe/Berlin", vec![item(floating("2026-03-05T09:00"), 0)]);
    let first = case.plan("2026-03-05T00:00", 24)[0].first;
    let (early, late) = (case.at("2026-03-05T09:10"), case.at("2026-03-05T09:45"));
    let mut other = Acks::default();
    other.snooze(first, late);
    case.acks.snooze(first, early);
    let mut joined = other.clone();
    joined.merge(&case.acks);
    case.acks.merge(&other);
    assert_eq!(case.acks, joined);
    assert_eq!(case.clocks("2026-03-05T00:00", 24), ["05 09:45"]);
    case.items[0].settled.insert(OccurrenceId::Wall(wall("2026-03-05T09:00")));
    assert!(case.plan("2026-03-05T00:00", 24).is_empty());
    case.items[0].settled.clear();
    case.acks.ack(first, late);
    assert!(case.plan("2026-03-05T00:00", 24).is_empty());
    // Moved by somebody, it rings again whatever was said before.
    case.items[0].revision = 1;
    assert_eq!(case.clocks("2026-03-05T00:00", 24), ["05 09:00"]);
}

#[test]
fn a_nagging_alarm_rings_so_often_and_no_more_once_somebody_has_seen_it() {
    let mut case = Case::new("Europe/Berlin", vec![item(floating("2026-03-05T09:00"), 0)]);
    case.items[0].alarms[0].nag = Some(Nag { minutes: 10, most: 3 });
    assert_eq!(case.clocks("2026-03-05T00:00", 24), ["05 09:00", "05 09:10", "05 09:20", "05 09:30"]);
    assert_eq!(case.clocks("2026-03-05T09:15", 24), ["05 09:20", "05 09:30"]);
    let fires = case.plan("2026-03-05T00:00", 24);
    assert_eq!(fires.iter().map(|fire| fire.id).collect::<BTreeSet<_>>().len(), 4, "each has a name");
    case.acks.ack(fires[0].first, fires[1].at);
    assert!(case.plan("2026-03-05T09:15", 24).is_empty());
}

#[test]
fn quiet_hours_put_off_in_order_but_not_what_is_urgent_or_what_a_person_put_there() {
    let night = Quiet {
        days: vec![Weekday::Thursday, Weekday::Friday],
        from: Time::constant(22, 0, 0, 0),
        to: Time::constant(7, 30, 0, 0),
    };
    let named = |name: &str, at: &str| Item { entity: name.to_owned(), ..item(floating(at), 0) };
    let mut items =
        vec![named("late", "2026-03-06T03:00"), named("early", "2026-03-05T23:00"), named("day", "2026-03-05T21:59")];
    items.push(Item { is_urgent: true, ..named("urgent", "2026-03-06T02:00") });
    items.push(named("saturday night", "2026-03-07T23:00"));
    let mut case = Case::new("Europe/Berlin", items);
    case.policy.quiet = vec![night];
    let order: Vec<_> =
        case.plan("2026-03-05T12:00", 72).into_iter().map(|fire| (fire.entity, fire.wall.to_string())).collect();
    let expected = [
        ("day", "2026-03-05T21:59:00"),
        ("urgent", "2026-03-06T02:00:00"),
        ("early", "2026-03-06T07:30:00"),
        ("late", "2026-03-06T07:30:00"),
        ("saturday night", "2026-03-07T23:00:00"),
    ];
    assert_eq!(order, expected.map(|(name, at)| (name.to_owned(), at.to_owned())));
    let early = case.plan("2026-03-05T12:00", 72).into_iter().find(|fire| fire.entity == "early").unwrap();
    case.acks.snooze(early.first, case.at("2026-03-05T23:30"));
    let put_off = case.plan("2026-03-05T23:10", 24).into_iter().find(|fire| fire.entity == "early").unwrap();
    assert_eq!(put_off.wall, wall("2026-03-05T23:30"));
    // A whole quiet week does not swallow anything.
    let always =
        Quiet { days: Weekday::Monday.cycle_forward().take(7).collect(), from: Time::midnight(), to: Time::midnight() };
    case.policy.quiet = vec![always];
    assert!(case.plan("2026-03-05T12:00", 24 * 7).iter().any(|fire| fire.entity == "late"));
    // So many at once that no chance puts them in order.
    let days = Weekday::Monday.cycle_forward().take(7).collect();
    case.policy.quiet = vec![Quiet { days, from: Time::constant(22, 0, 0, 0), to: Time::constant(7, 0, 0, 0) }];
    case.items = (0..20).map(|n| named(&format!("{n}"), &format!("2026-03-05T23:{:02}", 59 - n))).collect();
    let fires = case.plan("2026-03-05T12:00", 24);
    assert!(fires.len() == 20 && fires.iter().all(|fire| fire.at == fires[0].at));
    assert!(fires.is_sorted_by_key(|fire| fire.planned));
}

#[test]
fn nothing_rings_again_and_again_at_the_end_of_quiet_hours() {
    let mut case = Case::new("Europe/Berlin", vec![item(floating("2026-03-05T23:00"), 0)]);
    case.items[0].alarms[0].nag = Some(Nag { minutes: 60, most: 9 });
    let days = Weekday::Monday.cycle_forward().take(7).collect();
    case.policy.quiet = vec![Quiet { days, from: Time::constant(22, 0, 0, 0), to: Time::constant(7, 0, 0, 0) }];
    assert_eq!(case.clocks("2026-03-05T12:00", 24), ["06 07:00", "06 08:00"]);
}

#[test]
fn others_wait_for_the_device_in_use_or_the_first_one_and_ring_if_nobody_says_anything() {
    let mut case = Case::new("Europe/Berlin", vec![item(floating("2026-03-05T09:00"), 0)]);
    let begin = case.at("2026-03-05T00:00");
    let rings = |case: &Case, id: u8, at: &str, used: Option<&str>| {
        let mut ringer = Ringer::new(Device { id: DeviceId([id; 32]), ..device(None) }, begin);
        ringer.wake(case.at(at), &case.inputs(), used.map(|used| case.at(used))).rings.len()
    };
    case.items[0].who = Who::ActiveFirst { hold_s: 60 };
    assert_eq!(rings(&case, 1, "2026-03-05T09:00", Some("2026-03-05T08:57")), 1);
    assert_eq!(rings(&case, 2, "2026-03-05T09:00", Some("2026-03-05T08:50")), 0);
    assert_eq!(rings(&case, 2, "2026-03-05T09:01", None), 1);
    case.items[0].who = Who::Primary { device: DeviceId([2; 32]), hold_s: 120 };
    assert_eq!(rings(&case, 2, "2026-03-05T09:00", None), 1);
    assert_eq!(rings(&case, 1, "2026-03-05T09:01", None), 0);
    assert_eq!(rings(&case, 1, "2026-03-05T09:02", None), 1);
    let first = case.plan("2026-03-05T00:00", 24)[0].first;
    case.acks.ack(first, case.at("2026-03-05T09:01"));
    assert_eq!(rings(&case, 1, "2026-03-05T09:02", None), 0);
}

#[test]
fn what_was_missed_rings_singly_or_in_one_is_listed_when_too_late_and_a_medication_never_drops() {
    let named = |name: &str, at: &str| Item { entity: name.to_owned(), ..item(floating(at), 0) };
    let mut case = Case::new("Europe/Berlin", vec![named("a", "2026-03-05T08:00"), named("b", "2026-03-05T09:00")]);
    case.items.push(named("old", "2026-03-04T18:00"));
    case.items.push(Item { is_medication: true, ..named("pill", "2026-03-04T08:00") });
    case.items.push(Item { entity: "again".to_owned(), ..daily(floating("2026-03-03T07:00")) });
    let begin = case.at("2026-03-01T00:00");
    let told = |case: &Case| {
        let mut ringer = Ringer::new(device(None), begin);
        let woken = ringer.wake(case.at("2026-03-05T12:00"), &case.inputs(), None);
        assert_eq!(ringer.wake(case.at("2026-03-05T12:05"), &case.inputs(), None), Woken::default(), "once");
        let shown: Vec<_> = woken
            .rings
            .iter()
            .map(|ring| match ring {
                Ring::One { fire, missed: 0 } => fire.entity.clone(),
                Ring::One { fire, missed } => format!("{} +{missed}", fire.entity),
                Ring::Digest(fires) => fires.iter().map(|fire| fire.entity.as_str()).collect::<Vec<_>>().join("&"),
            })
            .collect();
        let listed: Vec<_> = woken.missed.iter().map(|fire| fire.entity.clone()).collect();
        (shown.join(" "), listed.join(" "))
    };
    assert_eq!(told(&case), ("pill again a b".to_owned(), "again old".to_owned()));
    case.policy.grace_hours = 48;
    assert_eq!(told(&case).0, "pill old&again&a&b");
    assert_eq!(told(&case).1, "again", "of the third of March, more than two days ago");
    case.items.truncate(4);
    case.items.push(Item { entity: "again".to_owned(), ..daily(floating("2026-03-04T07:00")) });
    case.items.remove(0);
    assert_eq!(told(&case).0, "pill old again +1 b");
}

#[test]
fn a_device_that_may_not_ring_says_nothing_and_what_it_missed_when_it_may() {
    let case = Case::new("Europe/Berlin", vec![item(floating("2026-03-05T09:00"), 0)]);
    let mut ringer = Ringer::new(Device { is_permitted: false, ..device(None) }, case.at("2026-03-05T00:00"));
    assert_eq!(ringer.wake(case.at("2026-03-05T09:00"), &case.inputs(), None), Woken::default());
    assert_eq!(ringer.schedule(case.at("2026-03-05T08:00"), &case.inputs()), Schedule::default());
    ringer.permit(true);
    assert_eq!(ringer.wake(case.at("2026-03-05T09:30"), &case.inputs(), None).rings.len(), 1);
}

#[test]
fn a_system_that_takes_sixty_four_gets_the_soonest_and_asks_for_the_rest() {
    let items: Vec<_> = (0..100)
        .map(|minute| Item { entity: format!("{minute}"), ..item(floating("2026-03-05T09:00"), 100 - minute) })
        .collect();
    let case = Case::new("Europe/Berlin", items);
    let now = case.at("2026-03-05T08:00");
    let mut ringer = Ringer::new(device(Some(64)), now);
    let schedule = ringer.schedule(now, &case.inputs());
    assert_eq!(schedule.pending.len(), 60);
    assert_eq!(schedule.pending[0].1, case.at("2026-03-05T09:01"));
    assert_eq!(schedule.sentinel, Some(case.at("2026-03-05T10:01")), "when the sixty-first would ring");
    // The window rolls on with what rang.
    ringer.delivered(schedule.pending[..30].iter().map(|(id, _)| *id), case.at("2026-03-05T09:30"));
    let next = ringer.schedule(case.at("2026-03-05T09:30"), &case.inputs());
    assert_eq!((next.pending.len(), next.pending[0].1), (60, case.at("2026-03-05T09:31")));
    assert!(Ringer::new(device(None), now).schedule(now, &case.inputs()).pending.len() == 100);
}

#[test]
fn a_name_of_a_fire_is_of_all_of_its_parts_and_of_the_spaces_key() {
    let key = FireKey::new(&[1; 32]);
    let name = key.name(&[b"task", b"20260305", b"a"]);
    assert_eq!(name, FireKey::new(&[1; 32]).name(&[b"task", b"20260305", b"a"]));
    for parts in [&[&b"task2"[..], b"0260305", b"a"], &[b"task", b"20260305", b"b"], &[b"task", b"20260306", b"a"]] {
        assert_ne!(name, key.name(parts));
    }
    assert_ne!(name, FireKey::new(&[2; 32]).name(&[b"task", b"20260305", b"a"]));
    assert_eq!(name.to_string().len(), 32);
}

#[test]
fn a_rule_of_minutes_and_hostile_alarms_cost_a_bounded_plan() {
    let start = Start::Zoned(wall("2026-03-05T09:00"), zone("Europe/Berlin"));
    let series = Series::new(Rule::parse("FREQ=MINUTELY").unwrap(), start.clone(), Gap::Shift).unwrap();
    let mut task = Item { series: Some(series), ..item(start, i32::MIN) };
    let relative = |days, minutes| Trigger::Relative { days, minutes, of: Anchor::Due };
    let alarm = |id: &str, trigger, nag| Alarm { id: id.to_owned(), trigger, nag };
    task.alarms = vec![
        alarm("plain", relative(0, 0), None),
        alarm("far", relative(i32::MAX, i32::MAX), None),
        alarm("past", relative(i32::MIN, i32::MIN), Some(Nag { minutes: 0, most: u16::MAX })),
        alarm("nag", Trigger::At(Start::Floating(DateTime::MAX)), Some(Nag { minutes: u32::MAX, most: u16::MAX })),
        alarm("done", Trigger::AfterCompletion { minutes: u32::MAX }, None),
    ];
    task.completions = vec![Timestamp::MAX, Timestamp::MIN];
    let case = Case::new("Europe/Berlin", vec![task]);
    let fires = plan(case.at("2026-03-20T09:00"), SignedDuration::from_hours(24 * 14), &case.inputs());
    assert_eq!(fires.iter().filter(|fire| fire.alarm == "plain").count(), 14 * 24 * 60);
    for alarm in ["far", "past", "nag", "done"] {
        assert!(fires.iter().filter(|fire| fire.alarm == alarm).count() <= 25_200, "{alarm}");
    }
}

#[test]
fn two_phones_that_settle_a_daily_task_while_apart_ring_once_each_and_next_on_the_day_that_is_left() {
    // Acceptance scenario 1.
    let mut case = Case::new("Europe/Berlin", vec![daily(floating("2026-03-01T09:00"))]);
    let begin = case.at("2026-03-01T00:00");
    let mut phones = [1, 2].map(|id| Ringer::new(Device { id: DeviceId([id; 32]), ..device(Some(64)) }, begin));
    for phone in &mut phones {
        assert_eq!(phone.wake(case.at("2026-03-01T09:00"), &case.inputs(), None).rings.len(), 1);
        assert_eq!(phone.wake(case.at("2026-03-01T09:00"), &case.inputs(), None).rings.len(), 0);
    }
    // Both settle the first, one the second beforehand; then they meet.
    let done = ["2026-03-01T09:00", "2026-03-01T09:00", "2026-03-02T09:00"].map(|at| OccurrenceId::Wall(wall(at)));
    case.items[0].settled.extend(done);
    for phone in &mut phones {
        assert_eq!(phone.wake(case.at("2026-03-02T09:00"), &case.inputs(), None), Woken::default());
        assert_eq!(
            phone.schedule(case.at("2026-03-02T09:00"), &case.inputs()).pending[0].1,
            case.at("2026-03-03T09:00")
        );
    }
}

#[test]
fn whatever_happens_to_devices_each_rings_what_it_must_once_and_nothing_that_is_over() {
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(or);
    let (schedules, seed) = (number("LIFEOS_SCHEDULES", 1_000), number("LIFEOS_SEED", 1));
    let tally = super::simulator::simulate(seed, schedules);
    println!(
        "{schedules} schedules from seed {seed}: {} rings, {} of them owed, {} equal plans",
        tally.rings, tally.owed, tally.plans
    );
    if schedules >= 100 {
        assert!(tally.rings as u64 > schedules * 2, "hardly anything rang: {tally:?}");
        assert!(
            tally.owed as u64 > schedules && tally.plans as u64 > schedules,
            "hardly anything was checked: {tally:?}"
        );
    }
}

#[test]
fn what_a_ringer_remembers_reads_back_and_no_bytes_make_reading_it_panic() {
    let device = Device { id: DeviceId([1; 32]), is_permitted: true, pending_max: None };
    let start = Start::Zoned(wall("2026-03-02T09:00"), zone("Europe/Berlin"));
    let case = Case::new("Europe/Berlin", vec![daily(start)]);
    let inputs =
        Inputs { items: &case.items, acks: &case.acks, policy: &case.policy, zone: &case.zone, key: &case.key };
    let begun: Timestamp = "2026-03-01T00:00:00.123456Z".parse().unwrap();
    let mut ringer = Ringer::new(device, begun);
    ringer.wake("2026-03-04T08:00:30Z".parse().unwrap(), &inputs, None);
    let bytes = ringer.encode();
    assert!(bytes.len() > 17 + 24, "it remembers something");
    assert_eq!(Ringer::decode(device, &bytes).as_ref(), Some(&ringer));
    for cut in 0..bytes.len() {
        assert_eq!(Ringer::decode(device, &bytes[..cut]), None);
    }
    let mut many = vec![1];
    many.extend([0; 8]);
    many.extend([0xff; 4]);
    assert_eq!(Ringer::decode(device, &many), None, "a count is no reason to allocate");
}
