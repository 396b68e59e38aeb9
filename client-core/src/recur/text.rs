//! The text of a recurrence rule (RFC 5545 §3.3.10).

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;

use super::rule::{ByDay, COUNT_MAX, End, Frequency, INTERVAL_MAX, Rule, RuleError, Skip};

const FREQUENCIES: [(&str, Frequency); 6] = [
    ("MINUTELY", Frequency::Minutely),
    ("HOURLY", Frequency::Hourly),
    ("DAILY", Frequency::Daily),
    ("WEEKLY", Frequency::Weekly),
    ("MONTHLY", Frequency::Monthly),
    ("YEARLY", Frequency::Yearly),
];
const WEEKDAYS: [(&str, Weekday); 7] = [
    ("MO", Weekday::Monday),
    ("TU", Weekday::Tuesday),
    ("WE", Weekday::Wednesday),
    ("TH", Weekday::Thursday),
    ("FR", Weekday::Friday),
    ("SA", Weekday::Saturday),
    ("SU", Weekday::Sunday),
];
const SKIPS: [(&str, Skip); 3] = [("OMIT", Skip::Omit), ("BACKWARD", Skip::Backward), ("FORWARD", Skip::Forward)];
/// The parts, in the order in which they are written.
const PARTS: [&str; 16] = [
    "RSCALE",
    "FREQ",
    "INTERVAL",
    "SKIP",
    "COUNT",
    "UNTIL",
    "WKST",
    "BYMONTH",
    "BYWEEKNO",
    "BYYEARDAY",
    "BYMONTHDAY",
    "BYDAY",
    "BYHOUR",
    "BYMINUTE",
    "BYSECOND",
    "BYSETPOS",
];

pub(super) fn parse(text: &str) -> Result<Rule, RuleError> {
    let mut rule = Rule::every(Frequency::Daily);
    let mut seen: Vec<&'static str> = Vec::new();
    for part in text.trim_end_matches(';').split(';') {
        let Some((name, value)) = part.split_once('=') else { return Err(RuleError::Malformed(part.to_owned())) };
        let (name, value) = (name.trim().to_ascii_uppercase(), value.trim().to_ascii_uppercase());
        let Some(name) = PARTS.into_iter().find(|part| *part == name) else {
            return Err(RuleError::Unknown(name));
        };
        if seen.contains(&name) {
            return Err(RuleError::Twice(name));
        }
        seen.push(name);
        take(&mut rule, name, &value)?;
    }
    let has = |name: &str| seen.contains(&name);
    if !has("FREQ") {
        return Err(RuleError::NoFrequency);
    }
    if has("COUNT") && has("UNTIL") {
        return Err(RuleError::Together("COUNT", "UNTIL"));
    }
    if has("SKIP") && !has("RSCALE") {
        return Err(RuleError::Needs("SKIP", "RSCALE=GREGORIAN"));
    }
    rule.check()?;
    Ok(rule)
}

fn take(rule: &mut Rule, name: &'static str, value: &str) -> Result<(), RuleError> {
    let wrong = |expected| RuleError::Value { part: name, value: value.to_owned(), expected };
    match name {
        "FREQ" if value == "SECONDLY" => return Err(RuleError::Secondly),
        "FREQ" => {
            rule.frequency = named(&FREQUENCIES, value)
                .ok_or_else(|| wrong("DAILY, WEEKLY, MONTHLY, YEARLY, HOURLY or MINUTELY"))?;
        }
        "INTERVAL" => {
            rule.interval = number(value)
                .and_then(|number| u32::try_from(number).ok())
                .filter(|interval| (1..=INTERVAL_MAX).contains(interval))
                .ok_or_else(|| wrong("1 to 10000"))?;
        }
        "RSCALE" if value == "GREGORIAN" => {}
        "RSCALE" => return Err(wrong("GREGORIAN is the only calendar supported")),
        "SKIP" => rule.skip = Some(named(&SKIPS, value).ok_or_else(|| wrong("OMIT, BACKWARD or FORWARD"))?),
        "COUNT" => {
            let count = number(value).and_then(|number| u32::try_from(number).ok());
            let count = count.filter(|count| (1..=COUNT_MAX).contains(count));
            rule.end = End::Count(count.ok_or_else(|| wrong("1 to 100000; for more use UNTIL"))?);
        }
        "UNTIL" => rule.end = until(value).ok_or_else(|| wrong("a day as 20261231 or a time as 20261231T235959Z"))?,
        "WKST" => rule.week_start = named(&WEEKDAYS, value).ok_or_else(|| wrong("MO, TU, WE, TH, FR, SA or SU"))?,
        "BYMONTH" => rule.by_month = list(value, 1, 12, false).ok_or_else(|| wrong("1 to 12"))?,
        "BYWEEKNO" => rule.by_week = list(value, 1, 53, true).ok_or_else(|| wrong("1 to 53 or -1 to -53"))?,
        "BYYEARDAY" => rule.by_year_day = list(value, 1, 366, true).ok_or_else(|| wrong("1 to 366 or -1 to -366"))?,
        "BYMONTHDAY" => rule.by_month_day = list(value, 1, 31, true).ok_or_else(|| wrong("1 to 31 or -1 to -31"))?,
        "BYDAY" => rule.by_day = days(value).ok_or_else(|| wrong("weekdays as MO,TH or 1FR or -1SU"))?,
        "BYHOUR" => rule.by_hour = list(value, 0, 23, false).ok_or_else(|| wrong("0 to 23"))?,
        "BYMINUTE" => rule.by_minute = list(value, 0, 59, false).ok_or_else(|| wrong("0 to 59"))?,
        "BYSECOND" => {
            // RFC 5545 §3.3.10: who has no leap seconds reads the 60th as the 59th.
            let seconds = list(value, 0, 60, false).ok_or_else(|| wrong("0 to 60"))?;
            rule.by_second = ascending(seconds.into_iter().map(|second| second.min(59)).collect());
        }
        _ => rule.by_place = list(value, 1, 366, true).ok_or_else(|| wrong("1 to 366 or -1 to -366"))?,
    }
    Ok(())
}

fn named<T: Copy>(names: &[(&str, T)], value: &str) -> Option<T> {
    names.iter().find(|(name, _)| *name == value).map(|(_, it)| *it)
}

/// A whole number with an optional sign, and nothing else.
fn number(value: &str) -> Option<i64> {
    let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
    let is_number = !digits.is_empty() && digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| value.parse().ok()).flatten()
}

fn ascending(mut numbers: Vec<i16>) -> Vec<i16> {
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Numbers from `least` to `most`, and from the end if they may be negative; ascending, each once.
fn list(value: &str, least: i16, most: i16, is_signed: bool) -> Option<Vec<i16>> {
    let one = |text: &str| {
        let number = number(text).and_then(|number| i16::try_from(number).ok())?;
        let size = if is_signed { number.abs() } else { number };
        (least..=most).contains(&size).then_some(number)
    };
    value.split(',').map(one).collect::<Option<Vec<_>>>().map(ascending)
}

fn days(value: &str) -> Option<Vec<ByDay>> {
    let one = |text: &str| {
        let (nth, name) = text.split_at_checked(text.len().checked_sub(2)?)?;
        let weekday = named(&WEEKDAYS, name)?;
        if nth.is_empty() {
            return Some(ByDay { nth: 0, weekday });
        }
        let nth = number(nth).and_then(|number| i16::try_from(number).ok())?;
        (1..=53).contains(&nth.abs()).then_some(ByDay { nth, weekday })
    };
    let mut days = value.split(',').map(one).collect::<Option<Vec<_>>>()?;
    days.sort_unstable_by_key(|day| (day.nth, day.weekday.to_monday_zero_offset()));
    days.dedup();
    Some(days)
}

fn until(value: &str) -> Option<End> {
    match value.len() {
        8 => date(value).map(End::Date),
        15 => wall(value).map(End::Wall),
        16 => instant(value).map(End::Instant),
        _ => None,
    }
}

/// A day as `20261231`.
pub(super) fn date(text: &str) -> Option<Date> {
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Date::new(text[..4].parse().ok()?, text[4..6].parse().ok()?, text[6..].parse().ok()?).ok()
}

/// A wall time as `20261231T235959`.
pub(super) fn wall(text: &str) -> Option<DateTime> {
    let (day, time) = text.split_once('T')?;
    if time.len() != 6 || !time.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let second: i8 = time[4..].parse().ok()?;
    date(day)?
        .at(0, 0, 0, 0)
        .with()
        .hour(time[..2].parse().ok()?)
        .minute(time[2..4].parse().ok()?)
        .second(if second == 60 { 59 } else { second })
        .build()
        .ok()
}

/// An instant as `20261231T235959Z`.
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(wall(text.strip_suffix('Z')?)?).ok()
}

pub(super) fn write_date(date: Date, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{:04}{:02}{:02}", date.year(), date.month(), date.day())
}

pub(super) fn write_wall(wall: DateTime, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write_date(wall.date(), f)?;
    write!(f, "T{:02}{:02}{:02}", wall.hour(), wall.minute(), wall.second())
}

pub(super) fn write_instant(instant: Timestamp, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write_wall(TimeZone::UTC.to_datetime(instant), f)?;
    f.write_str("Z")
}

pub(super) fn write(rule: &Rule, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if rule.skip.is_some() {
        f.write_str("RSCALE=GREGORIAN;")?;
    }
    write!(f, "FREQ={}", name_of(&FREQUENCIES, rule.frequency))?;
    if rule.interval != 1 {
        write!(f, ";INTERVAL={}", rule.interval)?;
    }
    if let Some(skip) = rule.skip {
        write!(f, ";SKIP={}", name_of(&SKIPS, skip))?;
    }
    match rule.end {
        End::Never => {}
        End::Count(count) => write!(f, ";COUNT={count}")?,
        End::Date(date) => f.write_str(";UNTIL=").and_then(|()| write_date(date, f))?,
        End::Wall(wall) => f.write_str(";UNTIL=").and_then(|()| write_wall(wall, f))?,
        End::Instant(instant) => f.write_str(";UNTIL=").and_then(|()| write_instant(instant, f))?,
    }
    if rule.week_start != Weekday::Monday {
        write!(f, ";WKST={}", name_of(&WEEKDAYS, rule.week_start))?;
    }
    for (name, numbers) in [
        ("BYMONTH", &rule.by_month),
        ("BYWEEKNO", &rule.by_week),
        ("BYYEARDAY", &rule.by_year_day),
        ("BYMONTHDAY", &rule.by_month_day),
    ] {
        write_list(name, numbers, f)?;
    }
    for (place, day) in rule.by_day.iter().enumerate() {
        f.write_str(if place == 0 { ";BYDAY=" } else { "," })?;
        if day.nth != 0 {
            write!(f, "{}", day.nth)?;
        }
        f.write_str(name_of(&WEEKDAYS, day.weekday))?;
    }
    for (name, numbers) in [
        ("BYHOUR", &rule.by_hour),
        ("BYMINUTE", &rule.by_minute),
        ("BYSECOND", &rule.by_second),
        ("BYSETPOS", &rule.by_place),
    ] {
        write_list(name, numbers, f)?;
    }
    Ok(())
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], it: T) -> &'static str {
    names.iter().find(|(_, one)| *one == it).map_or("", |(name, _)| name)
}

fn write_list(name: &str, numbers: &[i16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (place, number) in numbers.iter().enumerate() {
        if place == 0 {
            write!(f, ";{name}={number}")?;
        } else {
            write!(f, ",{number}")?;
        }
    }
    Ok(())
}
