//! A recurrence rule: its parts, what of them may stand together, and its text (RFC 5545 §3.3.10, RFC 7529).

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Weekday};

use super::text;

/// Longest rule as text, in bytes: every part at its fullest is shorter.
pub const RULE_BYTES_MAX: usize = 8 * 1024;
/// Most occurrences that `COUNT` may ask for. Where a rule stands after so many can only be found by going there.
pub const COUNT_MAX: u32 = 100_000;
/// Largest `INTERVAL`.
pub const INTERVAL_MAX: u32 = 10_000;

/// How often a rule's periods come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Frequency {
    /// Minutes.
    Minutely,
    /// Hours.
    Hourly,
    /// Days.
    Daily,
    /// Weeks, which begin at the rule's week start.
    Weekly,
    /// Months.
    Monthly,
    /// Years.
    Yearly,
}

/// Where a rule ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nowhere.
    Never,
    /// After so many occurrences.
    Count(u32),
    /// With this day.
    Date(Date),
    /// With this wall time.
    Wall(DateTime),
    /// With this instant.
    Instant(Timestamp),
}

/// What becomes of a day that a month or year does not have (RFC 7529 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// It is left out.
    Omit,
    /// The last day before it takes its place.
    Backward,
    /// The first day after it does.
    Forward,
}

/// A weekday of `BYDAY`: every one, or the nth of the month or year, from its end if negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByDay {
    /// Which one; 0: every one.
    pub nth: i16,
    /// The day of the week.
    pub weekday: Weekday,
}

/// A recurrence rule that is sound in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(super) frequency: Frequency,
    pub(super) interval: u32,
    pub(super) end: End,
    pub(super) week_start: Weekday,
    /// `None`: not said, which is [`Skip::Omit`] unless a rule counts from completions.
    pub(super) skip: Option<Skip>,
    pub(super) by_month: Vec<i16>,
    pub(super) by_week: Vec<i16>,
    pub(super) by_year_day: Vec<i16>,
    pub(super) by_month_day: Vec<i16>,
    pub(super) by_day: Vec<ByDay>,
    pub(super) by_hour: Vec<i16>,
    pub(super) by_minute: Vec<i16>,
    pub(super) by_second: Vec<i16>,
    pub(super) by_place: Vec<i16>,
}

/// Why a text is no recurrence rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Longer than any rule.
    #[error("the rule is longer than {RULE_BYTES_MAX} bytes")]
    TooLong,
    /// No `NAME=VALUE`.
    #[error("\"{0}\" is not NAME=VALUE; a rule reads like FREQ=WEEKLY;BYDAY=MO,TH")]
    Malformed(String),
    /// Not of RFC 5545 or RFC 7529.
    #[error("rules have no part {0}")]
    Unknown(String),
    /// A part comes twice.
    #[error("{0} stands twice")]
    Twice(&'static str),
    /// Nothing says how often.
    #[error("FREQ is missing: add FREQ=DAILY, WEEKLY, MONTHLY, YEARLY, HOURLY or MINUTELY")]
    NoFrequency,
    /// Nothing recurs every second here.
    #[error("FREQ=SECONDLY is not supported; FREQ=MINUTELY is the shortest")]
    Secondly,
    /// A value that the part cannot have.
    #[error("{part} cannot be \"{value}\": {expected}")]
    Value {
        /// The part.
        part: &'static str,
        /// What it was.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// Two parts that exclude each other.
    #[error("{0} and {1} cannot stand together")]
    Together(&'static str, &'static str),
    /// A part that needs another one.
    #[error("{0} needs {1}")]
    Needs(&'static str, &'static str),
}

impl Rule {
    /// A rule of a frequency and nothing else.
    #[must_use]
    pub const fn every(frequency: Frequency) -> Self {
        Self {
            frequency,
            interval: 1,
            end: End::Never,
            week_start: Weekday::Monday,
            skip: None,
            by_month: Vec::new(),
            by_week: Vec::new(),
            by_year_day: Vec::new(),
            by_month_day: Vec::new(),
            by_day: Vec::new(),
            by_hour: Vec::new(),
            by_minute: Vec::new(),
            by_second: Vec::new(),
            by_place: Vec::new(),
        }
    }

    /// How often its periods come.
    #[must_use]
    pub const fn frequency(&self) -> Frequency {
        self.frequency
    }

    /// Every how manieth period counts.
    #[must_use]
    pub const fn interval(&self) -> u32 {
        self.interval
    }

    /// Where it ends.
    #[must_use]
    pub const fn end(&self) -> End {
        self.end
    }

    /// The same rule with another end, as when a series is split.
    #[must_use]
    pub fn until(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Whether its periods are shorter than a day.
    #[must_use]
    pub fn is_sub_daily(&self) -> bool {
        self.frequency < Frequency::Daily
    }

    /// Whether it says hours, minutes or seconds, which a day does not have.
    #[must_use]
    pub fn needs_time(&self) -> bool {
        self.is_sub_daily() || ![&self.by_hour, &self.by_minute, &self.by_second].iter().all(|part| part.is_empty())
    }

    /// Reads a rule, with or without `RRULE:` in front.
    ///
    /// # Errors
    /// [`RuleError`] says which part is wrong and what it may be.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        if text.len() > RULE_BYTES_MAX {
            return Err(RuleError::TooLong);
        }
        let text = text.trim();
        let text = match text.get(..6) {
            Some(name) if name.eq_ignore_ascii_case("RRULE:") => &text[6..],
            _ => text,
        };
        text::parse(text)
    }

    /// What RFC 5545 forbids of parts that are each sound.
    pub(super) fn check(&self) -> Result<(), RuleError> {
        use Frequency::{Daily, Monthly, Weekly, Yearly};
        if !self.by_week.is_empty() && self.frequency != Yearly {
            return Err(RuleError::Needs("BYWEEKNO", "FREQ=YEARLY"));
        }
        if !self.by_year_day.is_empty() && matches!(self.frequency, Daily | Weekly | Monthly) {
            return Err(RuleError::Needs("BYYEARDAY", "a FREQ of YEARLY, HOURLY or MINUTELY"));
        }
        if !self.by_month_day.is_empty() && self.frequency == Weekly {
            return Err(RuleError::Together("BYMONTHDAY", "FREQ=WEEKLY"));
        }
        if self.by_day.iter().any(|day| day.nth != 0) {
            if !matches!(self.frequency, Monthly | Yearly) {
                return Err(RuleError::Needs("BYDAY with a number", "FREQ=MONTHLY or YEARLY"));
            }
            if !self.by_week.is_empty() {
                return Err(RuleError::Together("BYDAY with a number", "BYWEEKNO"));
            }
        }
        let has_set = [
            &self.by_month,
            &self.by_week,
            &self.by_year_day,
            &self.by_month_day,
            &self.by_hour,
            &self.by_minute,
            &self.by_second,
        ];
        if !self.by_place.is_empty() && self.by_day.is_empty() && has_set.iter().all(|part| part.is_empty()) {
            return Err(RuleError::Needs("BYSETPOS", "another part that begins with BY"));
        }
        Ok(())
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        Self::parse(text)
    }
}

/// The rule in one form: parts in a fixed order, lists ascending, defaults left out.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(self, f)
    }
}
