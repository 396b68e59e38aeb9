//! The filter language of lists: `due before: +3d & #home & !assigned`.
//!
//! ```text
//! filter = and { "|" and }        and = not { "&" not }        not = "!" not | "(" filter ")" | term
//! term   = "#" name | "~" name | p1 … p4 | flag | field [ ( "before" | "after" | "on" ) ":" day ]
//!        | "assigned" [ ":" name ] | "search" ":" name
//! field  = due | start | deadline | done | created          flag = overdue | recurring | subtask
//! day    = today | tomorrow | yesterday | 2026-05-01 | [+-] number ( d | w | m | y )
//! name   = letters, digits, - _ / | "text in quotation marks"
//! ```
//!
//! A field alone asks whether there is one. A filter is a value: it is written back in one form, and asked of anything that
//! is a [`Row`].

mod parse;

#[cfg(test)]
mod tests;

use std::fmt;

use jiff::civil::Date;
use jiff::{Span, ToSpan as _};

/// Longest filter, in bytes.
pub const FILTER_BYTES_MAX: usize = 1024;
/// Deepest nesting.
pub const DEPTH_MAX: usize = 32;

/// What has a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// When it is due.
    Due,
    /// When it begins.
    Start,
    /// The day after which it is too late.
    Deadline,
    /// When it was done.
    Done,
    /// When it was made.
    Created,
}

/// What is so or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// Due before today, and not done.
    Overdue,
    /// It repeats.
    Recurring,
    /// It is part of another one.
    Subtask,
}

/// On which side of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Earlier than it.
    Before,
    /// Later than it.
    After,
    /// That day.
    On,
}

/// What is counted from today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Days.
    Day,
    /// Weeks.
    Week,
    /// Months; a day that a month does not have is its last.
    Month,
    /// Years.
    Year,
}

/// A day, by itself or from today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Day {
    /// That one.
    On(Date),
    /// So much later than today.
    Later(i32, Unit),
}

impl Day {
    /// The day, if it is one that calendars have.
    #[must_use]
    pub fn date(self, today: Date) -> Option<Date> {
        let span = |number: i32, unit| -> Span {
            let number = i64::from(number);
            match unit {
                Unit::Day => number.days(),
                Unit::Week => number.weeks(),
                Unit::Month => number.months(),
                Unit::Year => number.years(),
            }
        };
        match self {
            Self::On(date) => Some(date),
            Self::Later(number, unit) => today.checked_add(span(number, unit)).ok(),
        }
    }
}

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All of these, at least two.
    All(Vec<Filter>),
    /// Any of these, at least two.
    Any(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// It has a tag.
    Tag(String),
    /// It is in a list.
    List(String),
    /// Its priority, 1 to 4.
    Priority(u8),
    /// It is so.
    Is(Flag),
    /// It has a day.
    Has(Field),
    /// It has one on that side of a day.
    When(Field, Side, Day),
    /// It is assigned, to anybody or to somebody.
    Assigned(Option<String>),
    /// Its title has a text.
    Search(String),
}

/// What is wrong with a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// It is longer than [`FILTER_BYTES_MAX`].
    TooLong,
    /// It is nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// Something should stand there.
    Term,
    /// Nothing in the language is called so.
    Unknown,
    /// A name should stand behind a mark or a colon.
    Name,
    /// A day should stand there.
    Day,
    /// A colon should stand there.
    Colon,
    /// A parenthesis or quotation mark is not closed.
    Open,
    /// It goes on without `&` or `|`.
    Rest,
}

/// Why a text is no filter, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterError {
    /// What is wrong.
    pub problem: Problem,
    /// Where, in bytes of the text.
    pub at: usize,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.problem {
            Problem::TooLong => "the filter is longer than 1024 bytes: make two lists of it",
            Problem::TooDeep => "the filter has more than 32 parentheses or ! in one another",
            Problem::Term => "something is missing: write #tag, ~list, p1, overdue, or due before: +3d",
            Problem::Unknown => {
                "nothing is called so: there are due, start, deadline, done, created, overdue, recurring, subtask, \
                 assigned, search, p1 to p4, #tag and ~list"
            }
            Problem::Name => "a name is missing: letters, digits, - _ /, or a text in \"quotation marks\"",
            Problem::Day => "a day is missing: write today, tomorrow, yesterday, 2026-05-01, +3d, -2w, +1m or +1y",
            Problem::Colon => "a : is missing, as in due before: +3d",
            Problem::Open => "what is opened here is not closed",
            Problem::Rest => "put & (and) or | (or) before what follows",
        };
        write!(f, "{what} (at byte {})", self.at)
    }
}

impl std::error::Error for FilterError {}

/// What a filter is asked of.
pub trait Row {
    /// Its title.
    fn title(&self) -> &str;
    /// Whether it has a tag; how letters are compared is the row's to say.
    fn has_tag(&self, tag: &str) -> bool;
    /// Whether it is in a list.
    fn is_in(&self, list: &str) -> bool;
    /// 1 to 4.
    fn priority(&self) -> Option<u8>;
    /// One of its days.
    fn day(&self, field: Field) -> Option<Date>;
    /// Whether it repeats.
    fn is_recurring(&self) -> bool;
    /// Whether it is part of another one.
    fn is_subtask(&self) -> bool;
    /// Whether it is assigned, to anybody or to somebody.
    fn is_assigned(&self, to: Option<&str>) -> bool;
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`FilterError`] says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text)
    }

    /// Whether a row passes, on a day.
    #[must_use]
    pub fn passes(&self, row: &impl Row, today: Date) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|filter| filter.passes(row, today)),
            Self::Any(filters) => filters.iter().any(|filter| filter.passes(row, today)),
            Self::Not(filter) => !filter.passes(row, today),
            Self::Tag(tag) => row.has_tag(tag),
            Self::List(list) => row.is_in(list),
            Self::Priority(priority) => row.priority() == Some(*priority),
            Self::Is(Flag::Overdue) => {
                row.day(Field::Done).is_none() && row.day(Field::Due).is_some_and(|due| due < today)
            }
            Self::Is(Flag::Recurring) => row.is_recurring(),
            Self::Is(Flag::Subtask) => row.is_subtask(),
            Self::Has(field) => row.day(*field).is_some(),
            // What has no such day is on no side of another one.
            Self::When(field, side, day) => match (row.day(*field), day.date(today)) {
                (Some(own), Some(day)) => match side {
                    Side::Before => own < day,
                    Side::After => own > day,
                    Side::On => own == day,
                },
                _ => false,
            },
            Self::Assigned(to) => row.is_assigned(to.as_deref()),
            Self::Search(text) => row.title().to_lowercase().contains(&text.to_lowercase()),
        }
    }
}

/// The filter in one form, which reads back as the same.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, filters: &[Self], by: &str| {
            for (place, filter) in filters.iter().enumerate() {
                if place > 0 {
                    f.write_str(by)?;
                }
                match filter {
                    Self::All(_) | Self::Any(_) => write!(f, "({filter})")?,
                    _ => write!(f, "{filter}")?,
                }
            }
            Ok(())
        };
        match self {
            Self::All(filters) => joined(f, filters, " & "),
            Self::Any(filters) => joined(f, filters, " | "),
            Self::Not(filter) => match filter.as_ref() {
                Self::All(_) | Self::Any(_) => write!(f, "!({filter})"),
                _ => write!(f, "!{filter}"),
            },
            Self::Tag(name) => write!(f, "#{}", Quoted(name)),
            Self::List(name) => write!(f, "~{}", Quoted(name)),
            Self::Priority(priority) => write!(f, "p{priority}"),
            Self::Is(Flag::Overdue) => f.write_str("overdue"),
            Self::Is(Flag::Recurring) => f.write_str("recurring"),
            Self::Is(Flag::Subtask) => f.write_str("subtask"),
            Self::Has(field) => f.write_str(name_of(*field)),
            Self::When(field, side, day) => {
                let side = match side {
                    Side::Before => " before",
                    Side::After => " after",
                    Side::On => "",
                };
                write!(f, "{}{side}: {day}", name_of(*field))
            }
            Self::Assigned(None) => f.write_str("assigned"),
            Self::Assigned(Some(name)) => write!(f, "assigned: {}", Quoted(name)),
            Self::Search(text) => write!(f, "search: {}", Quoted(text)),
        }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = |unit| match unit {
            Unit::Day => 'd',
            Unit::Week => 'w',
            Unit::Month => 'm',
            Unit::Year => 'y',
        };
        match self {
            Self::On(date) => write!(f, "{date}"),
            Self::Later(0, Unit::Day) => f.write_str("today"),
            Self::Later(1, Unit::Day) => f.write_str("tomorrow"),
            Self::Later(-1, Unit::Day) => f.write_str("yesterday"),
            Self::Later(number, of) => write!(f, "{number:+}{}", unit(*of)),
        }
    }
}

fn name_of(field: Field) -> &'static str {
    match field {
        Field::Due => "due",
        Field::Start => "start",
        Field::Deadline => "deadline",
        Field::Done => "done",
        Field::Created => "created",
    }
}

/// A name, in quotation marks where it needs them.
struct Quoted<'n>(&'n str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = !self.0.is_empty() && self.0.chars().all(parse::is_of_name);
        if is_plain { f.write_str(self.0) } else { write!(f, "\"{}\"", self.0) }
    }
}
