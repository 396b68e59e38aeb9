//! Recurrence against the RFC's examples, awkward zones, properties, and an expander that shares nothing with this one.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};

use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;

fn rule(text: &str) -> Rule {
    Rule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn wall(text: &str) -> DateTime {
    super::text::wall(text).unwrap_or_else(|| panic!("{text}"))
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn floating(text: &str, start: &str) -> Series {
    Series::new(rule(text), Start::Floating(wall(start)), Gap::Shift).unwrap()
}

fn zoned(text: &str, start: &str, name: &str, gap: Gap) -> Series {
    Series::new(rule(text), Start::Zoned(wall(start), zone(name)), gap).unwrap()
}

/// Days on which a floating series has occurrences, up to so many.
fn days(text: &str, start: &str, most: usize) -> Vec<String> {
    let series = floating(text, start);
    series.occurrences().take(most).map(|one| one.wall.date().to_string()).collect()
}

/// Clock times and offsets of a series in a zone.
fn clocks(series: &Series, most: usize) -> Vec<String> {
    let Start::Zoned(_, zone) = series.start() else { panic!("a zone") };
    let shown = |one: Occurrence| one.instant.unwrap().to_zoned(zone.clone()).strftime("%m-%d %H:%M %z").to_string();
    series.occurrences().take(most).map(shown).collect()
}

#[test]
fn the_examples_of_the_rfc_give_the_days_that_it_names() {
    let start = "19970902T090000";
    for (text, start, expected) in [
        ("FREQ=DAILY;COUNT=3", start, "1997-09-02 1997-09-03 1997-09-04"),
        ("FREQ=DAILY;INTERVAL=10;COUNT=5", start, "1997-09-02 1997-09-12 1997-09-22 1997-10-02 1997-10-12"),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,TH;WKST=SU", start, "1997-09-02 1997-09-04 1997-09-16 1997-09-18"),
        (
            "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO",
            "19970805T090000",
            "1997-08-05 1997-08-10 1997-08-19 1997-08-24",
        ),
        (
            "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU",
            "19970805T090000",
            "1997-08-05 1997-08-17 1997-08-19 1997-08-31",
        ),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=1FR", "19970905T090000", "1997-09-05 1997-10-03 1997-11-07"),
        (
            "FREQ=MONTHLY;INTERVAL=2;COUNT=4;BYDAY=1SU,-1SU",
            "19970907T090000",
            "1997-09-07 1997-09-28 1997-11-02 1997-11-30",
        ),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=-2MO", "19970922T090000", "1997-09-22 1997-10-20 1997-11-17"),
        ("FREQ=MONTHLY;BYMONTHDAY=-3;COUNT=3", "19970928T090000", "1997-09-28 1997-10-29 1997-11-28"),
        ("FREQ=MONTHLY;COUNT=4;BYMONTHDAY=1,-1", "19970930T090000", "1997-09-30 1997-10-01 1997-10-31 1997-11-01"),
        ("FREQ=YEARLY;COUNT=4;BYMONTH=6,7", "19970610T090000", "1997-06-10 1997-07-10 1998-06-10 1998-07-10"),
        (
            "FREQ=YEARLY;INTERVAL=3;COUNT=4;BYYEARDAY=1,100,200",
            "19970101T090000",
            "1997-01-01 1997-04-10 1997-07-19 2000-01-01",
        ),
        ("FREQ=YEARLY;BYDAY=20MO;COUNT=3", "19970519T090000", "1997-05-19 1998-05-18 1999-05-17"),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO;COUNT=3", "19970512T090000", "1997-05-12 1998-05-11 1999-05-17"),
        ("FREQ=YEARLY;BYMONTH=3;BYDAY=TH;COUNT=4", "19970313T090000", "1997-03-13 1997-03-20 1997-03-27 1998-03-05"),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13;COUNT=3", start, "1998-02-13 1998-03-13 1998-11-13"),
        (
            "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13;COUNT=3",
            "19970913T090000",
            "1997-09-13 1997-10-11 1997-11-08",
        ),
        (
            "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8;COUNT=3",
            "19961105T090000",
            "1996-11-05 2000-11-07 2004-11-02",
        ),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "19970904T090000", "1997-09-04 1997-10-07 1997-11-06"),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2;COUNT=3",
            "19970929T090000",
            "1997-09-29 1997-10-30 1997-11-27",
        ),
        (
            "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5",
            "20070115T090000",
            "2007-01-15 2007-01-30 2007-02-15 2007-03-15 2007-03-30",
        ),
        ("FREQ=DAILY;UNTIL=19970904", start, "1997-09-02 1997-09-03 1997-09-04"),
    ] {
        assert_eq!(days(text, start, 100).join(" "), expected, "{text}");
    }
}

#[test]
fn a_day_that_a_month_lacks_is_left_out_or_moved_as_the_rule_says() {
    let start = "20240131T080000";
    assert_eq!(days("FREQ=MONTHLY", start, 3), ["2024-01-31", "2024-03-31", "2024-05-31"]);
    let back = "RSCALE=GREGORIAN;FREQ=MONTHLY;SKIP=BACKWARD";
    assert_eq!(days(back, start, 4), ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]);
    let forth = "RSCALE=GREGORIAN;FREQ=MONTHLY;SKIP=FORWARD";
    assert_eq!(days(forth, start, 4), ["2024-01-31", "2024-03-01", "2024-03-31", "2024-05-01"]);
    let leap = "20240229T080000";
    assert_eq!(days("FREQ=YEARLY", leap, 2), ["2024-02-29", "2028-02-29"]);
    assert_eq!(days("RSCALE=GREGORIAN;FREQ=YEARLY;SKIP=BACKWARD", leap, 3), ["2024-02-29", "2025-02-28", "2026-02-28"]);
    assert_eq!(days("RSCALE=GREGORIAN;FREQ=YEARLY;SKIP=FORWARD", leap, 2), ["2024-02-29", "2025-03-01"]);
    let both = "RSCALE=GREGORIAN;FREQ=MONTHLY;SKIP=BACKWARD;BYMONTHDAY=29,30,31";
    assert_eq!(days(both, "20250227T080000", 3), ["2025-02-28", "2025-03-29", "2025-03-30"], "each day once");
}

#[test]
fn a_time_that_clocks_skip_is_later_or_left_out_and_one_that_comes_twice_is_taken_once() {
    let gap = zoned("FREQ=DAILY;COUNT=3", "20260307T023000", "America/New_York", Gap::Shift);
    assert_eq!(clocks(&gap, 9), ["03-07 02:30 -0500", "03-08 03:30 -0400", "03-09 02:30 -0400"]);
    let skipped = zoned("FREQ=DAILY;COUNT=3", "20260307T023000", "America/New_York", Gap::Skip);
    assert_eq!(clocks(&skipped, 9), ["03-07 02:30 -0500", "03-09 02:30 -0400", "03-10 02:30 -0400"], "not counted");
    let twice = zoned("FREQ=DAILY;COUNT=2", "20261031T013000", "America/New_York", Gap::Shift);
    assert_eq!(clocks(&twice, 9), ["10-31 01:30 -0400", "11-01 01:30 -0400"]);
    let starts_in_gap = zoned("FREQ=DAILY;COUNT=2", "20240331T013000", "Europe/London", Gap::Shift);
    assert_eq!(clocks(&starts_in_gap, 9), ["03-31 02:30 +0100", "04-01 01:30 +0100"]);
    let half = zoned("FREQ=DAILY;COUNT=2", "20241005T021500", "Australia/Lord_Howe", Gap::Shift);
    assert_eq!(clocks(&half, 9), ["10-05 02:15 +1030", "10-06 02:45 +1100"]);
    let no_day = zoned("FREQ=DAILY;COUNT=4", "20111229T090000", "Pacific/Apia", Gap::Shift);
    assert_eq!(clocks(&no_day, 9), ["12-29 09:00 -1000", "12-31 09:00 +1400", "01-01 09:00 +1400"], "rings once");
    let many = zoned("FREQ=DAILY;BYHOUR=2,3;BYMINUTE=0,30", "20260308T000000", "America/New_York", Gap::Shift);
    assert_eq!(clocks(&many, 3), ["03-08 03:00 -0400", "03-08 03:30 -0400", "03-09 02:00 -0400"]);
}

#[test]
fn hours_and_minutes_are_elapsed_time_where_clocks_change() {
    let spring = zoned("FREQ=HOURLY", "20240331T000000", "Europe/London", Gap::Shift);
    assert_eq!(clocks(&spring, 3), ["03-31 00:00 +0000", "03-31 02:00 +0100", "03-31 03:00 +0100"]);
    let autumn = zoned("FREQ=MINUTELY;INTERVAL=30", "20261101T010000", "America/New_York", Gap::Shift);
    let expected =
        ["11-01 01:00 -0400", "11-01 01:30 -0400", "11-01 01:00 -0500", "11-01 01:30 -0500", "11-01 02:00 -0500"];
    assert_eq!(clocks(&autumn, 5), expected);
    let ids: BTreeSet<_> = autumn.occurrences().take(5).map(|one| one.id).collect();
    assert_eq!(ids.len(), 5, "one time on the clock twice is two occurrences");
    let four = zoned("FREQ=HOURLY;INTERVAL=4", "20240330T220000", "Europe/London", Gap::Shift);
    assert_eq!(clocks(&four, 3), ["03-30 22:00 +0000", "03-31 03:00 +0100", "03-31 07:00 +0100"]);
    let office =
        zoned("FREQ=HOURLY;BYDAY=MO;BYHOUR=9,10;BYMINUTE=0,20", "20260105T093000", "Europe/Berlin", Gap::Shift);
    assert_eq!(clocks(&office, 3), ["01-05 10:00 +0100", "01-05 10:20 +0100", "01-12 09:00 +0100"]);
}

#[test]
fn a_rule_that_never_comes_ends() {
    for text in [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;BYMONTH=4;BYMONTHDAY=31",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MINUTELY;INTERVAL=1440;BYHOUR=3",
        "FREQ=YEARLY;BYWEEKNO=53;BYMONTH=6",
        "FREQ=MONTHLY;BYDAY=6MO",
        "FREQ=WEEKLY;BYDAY=MO;BYSETPOS=2",
    ] {
        assert_eq!(floating(text, "20240115T100000").occurrences().next(), None, "{text}");
    }
    assert_eq!(
        days("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=SA", "19970101T000000", 2),
        ["2020-02-29", "2048-02-29"]
    );
    assert_eq!(floating("FREQ=YEARLY", "99970101T000000").occurrences().count(), 2, "the end of time");
}

#[test]
fn what_is_no_rule_is_refused_with_what_to_write() {
    for (text, says) in [
        ("", "NAME=VALUE"),
        ("FREQ", "NAME=VALUE"),
        ("INTERVAL=2", "FREQ is missing"),
        ("FREQ=SECONDLY", "FREQ=MINUTELY is the shortest"),
        ("FREQ=FORTNIGHTLY", "DAILY, WEEKLY"),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ stands twice"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20260101", "COUNT and UNTIL"),
        ("FREQ=DAILY;COUNT=0", "1 to 100000"),
        ("FREQ=DAILY;COUNT=99999999999999999999", "1 to 100000"),
        ("FREQ=DAILY;INTERVAL=0", "1 to 10000"),
        ("FREQ=DAILY;UNTIL=20261301", "20261231"),
        ("FREQ=DAILY;UNTIL=20260230T000000Z", "20261231"),
        ("FREQ=DAILY;BYHOUR=24", "0 to 23"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "1 to 31"),
        ("FREQ=MONTHLY;BYDAY=MX", "MO,TH"),
        ("FREQ=MONTHLY;BYDAY=ÄMO", "MO,TH"),
        ("FREQ=WEEKLY;BYDAY=2MO", "FREQ=MONTHLY or YEARLY"),
        ("FREQ=WEEKLY;BYMONTHDAY=2", "BYMONTHDAY and FREQ=WEEKLY"),
        ("FREQ=MONTHLY;BYWEEKNO=2", "BYWEEKNO needs FREQ=YEARLY"),
        ("FREQ=DAILY;BYYEARDAY=2", "BYYEARDAY needs"),
        ("FREQ=DAILY;BYSETPOS=1", "BYSETPOS needs"),
        ("FREQ=MONTHLY;SKIP=FORWARD", "SKIP needs RSCALE=GREGORIAN"),
        ("RSCALE=HEBREW;FREQ=YEARLY", "GREGORIAN"),
        ("FREQ=DAILY;X-FOO=1", "no part X-FOO"),
    ] {
        let error = Rule::parse(text).expect_err(text).to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    assert_eq!(Rule::parse(&"A".repeat(RULE_BYTES_MAX + 1)), Err(RuleError::TooLong));
    let day = Start::Date(date(2026, 1, 1));
    assert_eq!(Series::new(rule("FREQ=HOURLY"), day.clone(), Gap::Shift), Err(SeriesError::NeedsTime));
    assert_eq!(Series::new(rule("FREQ=DAILY;BYHOUR=3"), day, Gap::Shift), Err(SeriesError::NeedsTime));
    assert_eq!(rule("rrule:freq=weekly;byday=th,mo;").to_string(), "FREQ=WEEKLY;BYDAY=MO,TH");
}

#[test]
fn exceptions_take_away_and_add_and_are_called_by_their_time_on_the_clock() {
    let id = |text: &str| text.parse::<OccurrenceId>().unwrap();
    let more = BTreeSet::from([id("20260302T180000"), id("20260305T090000"), id("20251231T090000")]);
    let without = BTreeSet::from([id("20260303T090000"), id("20260306")]);
    let series = floating("FREQ=DAILY;COUNT=7", "20260301T090000").with_exceptions(more, without);
    let found: Vec<_> = series.occurrences().map(|one| one.id.to_string()).collect();
    let expected = [
        "20251231T090000",
        "20260301T090000",
        "20260302T090000",
        "20260302T180000",
        "20260304T090000",
        "20260305T090000",
        "20260307T090000",
    ];
    assert_eq!(found, expected);
    assert!("20260230".parse::<OccurrenceId>().is_err() && "tomorrow".parse::<OccurrenceId>().is_err());
}

fn instant(text: &str) -> Timestamp {
    super::text::instant(text).unwrap()
}

#[test]
fn what_is_due_follows_from_what_is_settled_and_from_nothing_else() {
    let (series, here) = (floating("FREQ=DAILY", "20260301T090000"), TimeZone::UTC);
    let now = instant("20260305T120000Z");
    let id = |text: &str| text.parse::<OccurrenceId>().unwrap();
    let due = |settled: &[&str], catch_up| {
        let settled = settled.iter().map(|one| id(one)).collect();
        series.due(&settled, now, &here, catch_up).map(|due| (due.occurrence.id.to_string(), due.missed))
    };
    let at = |text: &str, missed| Some((text.to_owned(), missed));
    assert_eq!(due(&[], CatchUp::Latest), at("20260305T090000", 4));
    assert_eq!(due(&["20260303T090000"], CatchUp::Latest), at("20260305T090000", 1));
    assert_eq!(due(&["20260305T090000"], CatchUp::Latest), at("20260306T090000", 0));
    assert_eq!(due(&["20260305T090000", "20260306T090000"], CatchUp::Latest), at("20260307T090000", 0), "done ahead");
    assert_eq!(due(&["20260301T090000", "20260303T090000"], CatchUp::All), at("20260302T090000", 0));
    assert_eq!(due(&[], CatchUp::None), at("20260306T090000", 0));
    // One device settles the first, the other one the first and the second: together both are settled.
    let one = BTreeSet::from([id("20260301T090000")]);
    let two = BTreeSet::from([id("20260301T090000"), id("20260302T090000")]);
    let both: BTreeSet<_> = one.union(&two).copied().collect();
    let next = series.due(&both, now, &here, CatchUp::All).unwrap();
    assert_eq!(next.occurrence.id, id("20260303T090000"));
}

#[test]
fn years_of_a_rule_of_minutes_cost_nothing_to_ask_what_is_due() {
    let series = zoned("FREQ=MINUTELY;INTERVAL=5;BYHOUR=9,17", "19700101T000000", "Europe/Berlin", Gap::Shift);
    let now = instant("20260305T120000Z");
    let due = series.due(&BTreeSet::new(), now, &TimeZone::UTC, CatchUp::Latest).unwrap();
    assert_eq!((due.occurrence.id.to_string().as_str(), due.missed), ("20260305T085500Z", MISSED_MAX));
    let yearly = floating("FREQ=YEARLY;INTERVAL=7", "00010101T000000");
    assert_eq!(yearly.last_until(now, &TimeZone::UTC).unwrap().wall.year(), 2024);
}

#[test]
fn a_series_that_counts_from_completions_begins_anew_with_each() {
    let here = zone("Europe/Berlin");
    let after = |text: &str, done: &[&str]| {
        let series = floating(text, "20260101T080000");
        let done: Vec<_> = done.iter().map(|one| instant(one)).collect();
        series.after_completion(&done, &here).map(|one| one.id.to_string())
    };
    let is = |text: &str| Some(text.to_owned());
    assert_eq!(after("FREQ=DAILY;INTERVAL=3", &[]), is("20260101T080000"));
    assert_eq!(after("FREQ=DAILY;INTERVAL=3", &["20260110T200000Z"]), is("20260113T080000"));
    assert_eq!(after("FREQ=DAILY;INTERVAL=3", &["20260110T200000Z", "20260104T200000Z"]), is("20260113T080000"));
    assert_eq!(after("FREQ=DAILY;INTERVAL=3", &["20260110T233000Z"]), is("20260114T080000"), "the 11th here");
    assert_eq!(after("FREQ=MONTHLY", &["20260131T120000Z"]), is("20260228T080000"));
    assert_eq!(after("FREQ=WEEKLY;BYDAY=MO", &["20260107T120000Z"]), is("20260112T080000"));
    assert_eq!(after("FREQ=HOURLY;INTERVAL=6", &["20260107T120010Z"]), is("20260107T190010"));
    assert_eq!(after("FREQ=DAILY;COUNT=2", &["20260101T120000Z", "20260102T120000Z"]), None);
    assert_eq!(after("FREQ=DAILY;UNTIL=20260103", &["20260103T120000Z"]), None);
}

#[test]
fn a_series_is_split_without_losing_or_doubling_an_occurrence() {
    for text in ["FREQ=DAILY;COUNT=9", "FREQ=DAILY;UNTIL=20260109", "FREQ=HOURLY;INTERVAL=5;COUNT=12"] {
        for series in [floating(text, "20260101T080000"), zoned(text, "20260101T080000", "Asia/Tokyo", Gap::Shift)] {
            let all: Vec<_> = series.occurrences().collect();
            let (before, after) = series.split(&all[4]).unwrap();
            let start = match series.start() {
                Start::Zoned(_, zone) => Start::Zoned(all[4].wall, zone.clone()),
                _ => Start::Floating(all[4].wall),
            };
            let after = Series::new(after, start, Gap::Shift).unwrap();
            let joined: Vec<_> = before.occurrences().chain(after.occurrences()).collect();
            assert_eq!((joined, before.occurrences().count()), (all, 4), "{text}");
        }
    }
}

/// A small generator of numbers, the same for a seed everywhere (SplitMix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (it ^ (it >> 31)) % end
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn list(&mut self, least: i64, most: i64, is_signed: bool) -> String {
        let range = u64::try_from(most - least + 1).unwrap();
        let mut one = || {
            let number = least + i64::try_from(self.below(range)).unwrap();
            if is_signed && self.one_in(3) { -number.max(1) } else { number }
        };
        let numbers: Vec<String> = (0..3).map(|_| one().to_string()).collect();
        numbers[..1 + usize::try_from(self.below(3)).unwrap()].join(",")
    }

    /// All with a number or none: dateutil reads a mixture as both at once.
    fn weekdays(&mut self, may_be_numbered: bool) -> String {
        let names = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];
        let is_numbered = may_be_numbered && self.one_in(2);
        let mut one = || {
            let name = names[usize::try_from(self.below(7)).unwrap()];
            let nth = i64::try_from(self.below(4)).unwrap() + 1;
            match (is_numbered, self.below(2)) {
                (true, 0) => format!("{nth}{name}"),
                (true, _) => format!("-{nth}{name}"),
                _ => name.to_owned(),
            }
        };
        let days: Vec<String> = (0..3).map(|_| one()).collect();
        days[..1 + usize::try_from(self.below(3)).unwrap()].join(",")
    }

    /// A rule that keeps to what all implementations agree on, and its start.
    fn rule(&mut self) -> (String, String) {
        let names = ["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY"];
        let frequency = names[usize::try_from(self.below(6)).unwrap()];
        let mut parts = vec![format!("FREQ={frequency}")];
        let is_sub_daily = matches!(frequency, "HOURLY" | "MINUTELY");
        if self.one_in(2) {
            parts.push(format!("INTERVAL={}", 1 + self.below(if is_sub_daily { 50 } else { 4 })));
        }
        if self.one_in(3) {
            parts.push(format!("BYMONTH={}", self.list(1, 12, false)));
        }
        let has_week = frequency == "YEARLY" && self.one_in(6);
        if has_week {
            // Of weeks counted from the end, dateutil forgets the first where it begins in the year before.
            parts.push(format!("BYWEEKNO={}", self.list(1, 51, true)));
        }
        if frequency == "YEARLY" && !has_week && self.one_in(6) {
            parts.push(format!("BYYEARDAY={}", self.list(1, 366, true)));
        }
        if frequency != "WEEKLY" && !has_week && self.one_in(3) {
            parts.push(format!("BYMONTHDAY={}", self.list(1, 31, true)));
        }
        if has_week || self.one_in(3) {
            let is_numbered = matches!(frequency, "YEARLY" | "MONTHLY") && !has_week;
            parts.push(format!("BYDAY={}", self.weekdays(is_numbered)));
        }
        if self.one_in(4) {
            parts.push(format!("BYHOUR={}", self.list(0, 23, false)));
        }
        if self.one_in(4) {
            parts.push(format!("BYMINUTE={}", self.list(0, 59, false)));
        }
        // Of weeks, dateutil counts places in the first from the start's day on.
        if !is_sub_daily && frequency != "WEEKLY" && self.one_in(4) && parts.iter().any(|part| part.starts_with("BY")) {
            parts.push(format!("BYSETPOS={}", self.list(1, 4, true)));
        }
        if matches!(frequency, "WEEKLY" | "YEARLY") && self.one_in(3) {
            parts.push("WKST=SU".to_owned());
        }
        let start = format!(
            "{}{:02}{:02}T{:02}{:02}00",
            1996 + self.below(28),
            1 + self.below(12),
            1 + self.below(28),
            self.below(24),
            self.below(60)
        );
        (parts.join(";"), start)
    }
}

proptest! {
    #[test]
    fn a_rule_is_the_same_after_it_was_written_and_read(seed in any::<u64>()) {
        let (text, _) = Draw(seed).rule();
        let first = rule(&text);
        prop_assert_eq!(&rule(&first.to_string()), &first);
    }

    #[test]
    fn no_text_makes_reading_or_expanding_a_rule_panic(text in "[A-Z0-9=;,:+-]{0,60}|FREQ=[A-Z]{5,8};.{0,40}") {
        if let Ok(rule) = Rule::parse(&text)
            && let Ok(series) = Series::new(rule, Start::Floating(wall("20240229T235900")), Gap::Shift)
        {
            let _ = series.occurrences().take(20).count();
        }
    }

    #[test]
    fn occurrences_asked_for_from_a_time_on_are_the_same_as_from_the_start(seed in any::<u64>(), days in 0_i64..4000) {
        let mut draw = Draw(seed);
        let (text, start) = draw.rule();
        let names = ["UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"];
        let name = names[usize::try_from(draw.below(5)).unwrap()];
        let series = zoned(&text, &start, name, Gap::Shift);
        let days = if series.rule().is_sub_daily() { days / 40 } else { days };
        let first = zone(name).to_timestamp(wall(&start)).unwrap();
        let from = first + SignedDuration::from_hours(24 * days);
        let slow: Vec<_> = series.occurrences().take_while(|one| one.instant.unwrap() < from + SignedDuration::from_hours(24 * 400))
            .filter(|one| one.instant.unwrap() >= from).take(5).collect();
        let fast: Vec<_> = series.since(from, &TimeZone::UTC).take(slow.len()).collect();
        prop_assert_eq!(&fast, &slow, "{} from {}", text, start);
        if let Some(one) = slow.first() {
            prop_assert_eq!(series.last_until(one.instant.unwrap(), &TimeZone::UTC), Some(*one), "{} from {}", text, start);
        }
        prop_assert!(slow.is_sorted_by(|one, next| one.instant < next.instant));
    }
}

/// Compares with python-dateutil and zoneinfo. `LIFEOS_PYTHON` names an interpreter that has python-dateutil and tzdata;
/// `LIFEOS_RULES` how many rules are drawn; `LIFEOS_SEED` from which seed on.
#[test]
#[ignore = "needs python-dateutil: cargo xtask deep recurrence"]
fn rules_agree_with_an_expander_that_shares_nothing_with_this_one() {
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(or);
    let (rules, seed) = (number("LIFEOS_RULES", 2_000), number("LIFEOS_SEED", 1));
    let python = std::env::var("LIFEOS_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/recur/oracle/expand.py");
    let mut child = std::process::Command::new(python)
        .arg(script)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the oracle starts");
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap()).lines();
    let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    assert!(names.len() > 300, "all zones");
    let mut occurrences = 0;
    for seed in seed..seed + rules {
        let mut draw = Draw(seed);
        let (text, start) = draw.rule();
        let name = &names[usize::try_from(seed).unwrap() % names.len()];
        let ask = serde_json::json!({"rule": text, "start": start, "zone": name, "count": 20});
        writeln!(to, "{ask}").unwrap();
        let answer = from.next().expect("an answer").unwrap();
        let expected: Vec<(String, i64)> = serde_json::from_str(&answer).unwrap();
        let series = zoned(&text, &start, name, Gap::Shift);
        let found: Vec<(String, i64)> = series
            .occurrences()
            .take(if series.rule().is_sub_daily() { expected.len() } else { expected.len().max(1) })
            .map(|one| (OccurrenceId::Wall(one.wall).to_string(), one.instant.unwrap().as_second()))
            .collect();
        // The rules of zones are made anew every year, and those of long ago are told in several ways: both sides know
        // the same of the years between.
        let is_settled = |(_, at): &(String, i64)| *at < 1_735_689_600;
        let found: Vec<_> = found.into_iter().filter(is_settled).collect();
        let expected: Vec<_> = expected.into_iter().filter(is_settled).collect();
        assert_eq!(found, expected, "seed {seed}: {text} from {start} in {name}");
        occurrences += expected.len();
    }
    drop(to);
    assert!(child.wait().unwrap().success());
    println!("{rules} rules in {} zones, {occurrences} occurrences", names.len());
    assert!(occurrences as u64 > rules * 5);
}
