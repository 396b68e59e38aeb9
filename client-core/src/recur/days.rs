//! Which days a period of a rule has: the table of RFC 5545 §3.3.10, in civil time.

use jiff::SignedDuration;
use jiff::civil::{Date, Weekday};

use super::rule::{Frequency, Rule, Skip};

/// The day so many days later.
pub(super) fn later(date: Date, days: i64) -> Option<Date> {
    date.checked_add(SignedDuration::from_hours(days.checked_mul(24)?)).ok()
}

/// Days from one to the other.
pub(super) fn days_between(from: Date, to: Date) -> i64 {
    from.duration_until(to).as_hours() / 24
}

/// The first day of the week a day is in.
pub(super) fn week_begin(date: Date, week_start: Weekday) -> Date {
    later(date, -i64::from(week_start.until(date.weekday()))).unwrap_or(date)
}

/// The week of the year that a day is in. Its fourth day says of which year a week is (ISO 8601, for any week start).
fn week_number(date: Date, week_start: Weekday) -> (i16, i16) {
    let fourth = later(week_begin(date, week_start), 3).unwrap_or(date);
    (fourth.year(), (fourth.day_of_year() - 1) / 7 + 1)
}

/// Weeks of a year: the 28th of December is always in its last.
fn weeks_in(year: i16, week_start: Weekday) -> i16 {
    Date::new(year, 12, 28).map_or(52, |date| week_number(date, week_start).1)
}

/// Whether a place among so many is one of a list's, which may count from the end.
fn is_place(list: &[i16], place: i16, of: i16) -> bool {
    list.contains(&place) || list.contains(&(place - of - 1))
}

impl Rule {
    /// Whether a day is of the months, days and weekdays that the rule limits itself to, as far as these need no more
    /// than the day: what rules of days and less than days ask.
    pub(super) fn allows(&self, date: Date) -> bool {
        (self.by_month.is_empty() || self.by_month.contains(&i16::from(date.month())))
            && self.is_in_week(date)
            && (self.by_year_day.is_empty() || is_place(&self.by_year_day, date.day_of_year(), date.days_in_year()))
            && (self.by_month_day.is_empty()
                || is_place(&self.by_month_day, i16::from(date.day()), i16::from(date.days_in_month())))
            && self.is_weekday(date)
    }

    fn is_in_week(&self, date: Date) -> bool {
        if self.by_week.is_empty() {
            return true;
        }
        let (year, week) = week_number(date, self.week_start);
        is_place(&self.by_week, week, weeks_in(year, self.week_start))
    }

    /// Whether a day is one of `BYDAY`: numbered within its month where the rule goes by months, else within its year.
    fn is_weekday(&self, date: Date) -> bool {
        if self.by_day.is_empty() {
            return true;
        }
        let is_in_month = self.frequency == Frequency::Monthly || !self.by_month.is_empty();
        let (place, of) = if is_in_month {
            (i16::from(date.day()), i16::from(date.days_in_month()))
        } else {
            (date.day_of_year(), date.days_in_year())
        };
        let (from_begin, from_end) = ((place - 1) / 7 + 1, -((of - place) / 7 + 1));
        let weekday = date.weekday();
        self.by_day
            .iter()
            .any(|day| day.weekday == weekday && (day.nth == 0 || day.nth == from_begin || day.nth == from_end))
    }

    /// The days of the period that begins with `begin`, ascending; `start` gives what the rule leaves unsaid.
    pub(super) fn days(&self, begin: Date, start: Date, skip: Skip) -> Vec<Date> {
        let mut days = match self.frequency {
            Frequency::Yearly => self.days_of_year(begin, start, skip),
            Frequency::Monthly => self.days_of_month(begin, start, skip),
            Frequency::Weekly => {
                let weekday = start.weekday();
                (0..7)
                    .filter_map(|day| later(begin, day))
                    .filter(|date| self.by_month.is_empty() || self.by_month.contains(&i16::from(date.month())))
                    .filter(
                        |date| {
                            if self.by_day.is_empty() { date.weekday() == weekday } else { self.is_weekday(*date) }
                        },
                    )
                    .collect()
            }
            _ => Some(begin).filter(|date| self.allows(*date)).into_iter().collect(),
        };
        days.sort_unstable();
        days.dedup();
        days
    }

    fn days_of_month(&self, begin: Date, start: Date, skip: Skip) -> Vec<Date> {
        if !self.by_month.is_empty() && !self.by_month.contains(&i16::from(begin.month())) {
            return Vec::new();
        }
        let days = if !self.by_month_day.is_empty() {
            self.by_month_day.iter().filter_map(|day| month_day(begin, *day, skip)).collect()
        } else if !self.by_day.is_empty() {
            month(begin)
        } else {
            month_day(begin, i16::from(start.day()), skip).into_iter().collect()
        };
        days.into_iter().filter(|date| self.is_weekday(*date)).collect()
    }

    fn days_of_year(&self, begin: Date, start: Date, skip: Skip) -> Vec<Date> {
        let says_day = !(self.by_year_day.is_empty() && self.by_month_day.is_empty() && self.by_day.is_empty());
        let all: [i16; 12] = std::array::from_fn(|month| month as i16 + 1);
        let months = |unsaid: &[i16]| -> Vec<Date> {
            let months = if self.by_month.is_empty() { unsaid } else { &self.by_month };
            let first =
                |month: &i16| i8::try_from(*month).ok().and_then(|month| Date::new(begin.year(), month, 1).ok());
            months.iter().filter_map(first).collect()
        };
        let days: Vec<Date> = if !self.by_month_day.is_empty() {
            let of = |month: Date| self.by_month_day.iter().filter_map(move |day| month_day(month, *day, skip));
            let days = months(&all).into_iter().flat_map(of);
            days.filter(|date| {
                self.by_year_day.is_empty() || is_place(&self.by_year_day, date.day_of_year(), date.days_in_year())
            })
            .collect()
        } else if !self.by_year_day.is_empty() {
            let days = self.by_year_day.iter().filter_map(|day| year_day(begin, *day, skip));
            let is_of_month =
                |date: &Date| self.by_month.is_empty() || self.by_month.contains(&i16::from(date.month()));
            days.filter(is_of_month).collect()
        } else if says_day || !self.by_week.is_empty() {
            months(&all).into_iter().flat_map(month).collect()
        } else {
            let unsaid = [i16::from(start.month())];
            months(&unsaid).into_iter().filter_map(|month| month_day(month, i16::from(start.day()), skip)).collect()
        };
        let weekday = start.weekday();
        days.into_iter()
            .filter(|date| self.is_in_week(*date) && self.is_weekday(*date))
            // A week without its day is the start's day of it: §3.3.10, "information missing".
            .filter(|date| says_day || self.by_week.is_empty() || date.weekday() == weekday)
            .collect()
    }
}

/// All days of the month that begins with a day.
fn month(first: Date) -> Vec<Date> {
    (0..i64::from(first.days_in_month())).filter_map(|day| later(first, day)).collect()
}

/// A day of a month, from its end if negative, or what takes the place of one that it does not have.
fn month_day(first: Date, day: i16, skip: Skip) -> Option<Date> {
    place(first, i64::from(first.days_in_month()), i64::from(day), skip)
}

/// A day of a year, likewise.
fn year_day(first: Date, day: i16, skip: Skip) -> Option<Date> {
    place(first, i64::from(first.days_in_year()), i64::from(day), skip)
}

/// The day at a place among the days of a month or year. One counted from the end that lies before the first is skipped
/// in the same directions: the day before the first, or the first.
fn place(first: Date, of: i64, place: i64, skip: Skip) -> Option<Date> {
    let at = if place > 0 { place - 1 } else { of + place };
    let nearest = match skip {
        _ if (0..of).contains(&at) => at,
        Skip::Omit => return None,
        Skip::Backward if at < 0 => -1,
        Skip::Backward => of - 1,
        Skip::Forward if at < 0 => 0,
        Skip::Forward => of,
    };
    later(first, nearest)
}
