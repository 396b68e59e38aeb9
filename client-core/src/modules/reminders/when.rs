//! Days and times of tasks: the texts that documents hold, and what they mean.
//!
//! A day is never a midnight somewhere, and a time in a zone keeps the zone and not an offset: laws change.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::quick::When;
use crate::recur::Start;

/// Finds a zone by its name. Zones come from outside: what is pure knows no list of them.
pub type Zones<'z> = &'z dyn Fn(&str) -> Option<TimeZone>;

/// The text without the name of its zone, and that name.
fn parts(text: &str) -> (&str, Option<&str>) {
    match text.split_once('[') {
        Some((time, zone)) => (time, zone.strip_suffix(']')),
        None => (text, None),
    }
}

/// The name of the zone a text says.
#[must_use]
pub fn zone_of(text: &str) -> Option<&str> {
    parts(text).1
}

/// What the clock shows at the time a text says; of a day, its midnight.
#[must_use]
pub fn civil(text: &str) -> Option<DateTime> {
    let (time, _) = parts(text);
    match time.contains('T') {
        true => time.parse().ok(),
        false => time.parse::<Date>().ok().map(|date| date.at(0, 0, 0, 0)),
    }
}

/// Whether a text says a time, and not only a day.
#[must_use]
pub fn has_time(text: &str) -> bool {
    text.contains('T')
}

/// Whether two texts can be compared without knowing where somebody is: two days, or two times of one clock.
#[must_use]
pub fn is_comparable(one: &str, other: &str) -> bool {
    has_time(one) == has_time(other) && zone_of(one) == zone_of(other)
}

/// What a text means. A zone that is not known here is taken for wherever one is: the time on the clock stays, and a ring
/// at the wrong hour is better than none.
#[must_use]
pub fn start(text: &str, zones: Zones<'_>) -> Option<Start> {
    let wall = civil(text)?;
    Some(match (has_time(text), zone_of(text).and_then(zones)) {
        (false, _) => Start::Date(wall.date()),
        (true, None) => Start::Floating(wall),
        (true, Some(zone)) => Start::Zoned(wall, zone),
    })
}

/// The text of a day.
#[must_use]
pub fn day(date: Date) -> String {
    date.strftime("%Y-%m-%d").to_string()
}

/// The text of a time on the clock, of a zone if one is named.
#[must_use]
pub fn time(wall: DateTime, zone: Option<&str>) -> String {
    let form = if wall.second() == 0 { "%Y-%m-%dT%H:%M" } else { "%Y-%m-%dT%H:%M:%S" };
    let time = wall.strftime(form).to_string();
    zone.map_or_else(|| time.clone(), |zone| format!("{time}[{zone}]"))
}

/// The text of what a line said.
#[must_use]
pub fn of_quick(when: &When) -> String {
    match when {
        When::Date(date) => day(*date),
        When::Floating(wall) => time(*wall, None),
        When::Zoned(wall, zone) => time(*wall, Some(zone)),
    }
}

/// The same kind of text as another one, at another time: a day stays a day, a zone its zone.
#[must_use]
pub fn like(text: &str, wall: DateTime) -> String {
    if has_time(text) { time(wall, zone_of(text)) } else { day(wall.date()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_a_day_a_time_or_a_time_in_a_zone_and_is_written_back() {
        for text in ["2026-03-08", "2026-03-08T07:00", "2026-03-08T07:00:30", "2026-03-08T02:30[America/New_York]"] {
            assert_eq!(like(text, civil(text).unwrap()), text);
        }
        let zones = |name: &str| TimeZone::get(name).ok();
        assert!(matches!(start("2026-03-08", &zones), Some(Start::Date(_))));
        assert!(matches!(start("2026-03-08T07:00[Europe/Lisbon]", &zones), Some(Start::Zoned(..))));
        assert!(matches!(start("2026-03-08T07:00[Mars/Base]", &zones), Some(Start::Floating(_))));
        assert_eq!(start("soon", &zones), None);
        assert!(!is_comparable("2026-03-08", "2026-03-08T07:00"));
        assert!(!is_comparable("2026-03-08T07:00[Europe/Lisbon]", "2026-03-08T07:00"));
    }
}
