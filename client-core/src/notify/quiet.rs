//! Quiet hours: windows on the clock on the wall in which nothing rings that can wait.

use jiff::SignedDuration;
use jiff::civil::{DateTime, Time, Weekday};

/// A window of some weekdays. One that ends before it begins goes on into the next day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiet {
    /// The days on which it begins.
    pub days: Vec<Weekday>,
    /// Its first moment.
    pub from: Time,
    /// The first moment after it.
    pub to: Time,
}

impl Quiet {
    /// The end of the window that a time lies in.
    fn end(&self, wall: DateTime) -> Option<DateTime> {
        let (today, yesterday) = (wall.date(), wall.date().yesterday().ok());
        let goes_on = self.to <= self.from;
        let has = |date: jiff::civil::Date| self.days.contains(&date.weekday());
        if has(today) && wall.time() >= self.from {
            if goes_on {
                return Some(today.tomorrow().ok()?.to_datetime(self.to));
            }
            return (wall.time() < self.to).then(|| today.to_datetime(self.to));
        }
        let is_of_yesterday = goes_on && wall.time() < self.to && yesterday.is_some_and(has);
        is_of_yesterday.then(|| today.to_datetime(self.to))
    }
}

/// Longest that anything is put off: a person whose whole week is quiet still hears of it.
pub(super) const WAIT_HOURS_MAX: i64 = 48;

/// The first moment at a time or after it that lies in no window.
pub(super) fn after(windows: &[Quiet], wall: DateTime) -> DateTime {
    let latest = wall.checked_add(SignedDuration::from_hours(WAIT_HOURS_MAX)).unwrap_or(wall);
    let mut at = wall;
    while let Some(end) = windows.iter().filter_map(|window| window.end(at)).max() {
        if end >= latest {
            return latest;
        }
        at = end;
    }
    at
}
