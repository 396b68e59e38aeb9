//! Quick add: what one line of text says of a task, in the languages a person writes.
//!
//! `pay rent every month on the 1st at 9:00 #home !1` has a title, a rule, a time, a tag and a priority. A line is
//! cut into tokens (`lex`), read from left to right by a grammar written by hand (`day`, `time`, `repeat`, `marks`;
//! what words mean is in `words`), and what was found is put together (`settle`). What is not understood stays in the
//! title. What can be understood in two ways is asked back: each choice is the whole line written so that it has one
//! meaning, and is read like any other ([decision 0029](../../../docs/decisions/0029-quick-add-asks-back.md)).

mod day;
mod lex;
mod marks;
mod question;
mod repeat;
mod scan;
mod settle;
mod time;
mod words;

#[cfg(test)]
mod tests;

use std::ops::Range;

use jiff::Zoned;
use jiff::civil::{Date, DateTime, Time};

pub use question::{Choice, Doubt, Question};

use crate::recur::{Language, Rule};

/// Longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 4 * 1024;

/// When and for whom a line is read.
#[derive(Debug, Clone)]
pub struct Context {
    /// Now, where the person is.
    pub now: Zoned,
    /// The languages they write; the first decides whether a clock has 12 or 24 hours.
    pub languages: Vec<Language>,
    /// What parts of a day mean to them.
    pub times: TimesOfDay,
}

/// When parts of the day are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimesOfDay {
    /// "in the morning".
    pub morning: Time,
    /// "in the afternoon".
    pub afternoon: Time,
    /// "in the evening", "tonight".
    pub evening: Time,
    /// "at night".
    pub night: Time,
}

impl Default for TimesOfDay {
    fn default() -> Self {
        let at = |hour| Time::constant(hour, 0, 0, 0);
        Self { morning: at(9), afternoon: at(15), evening: at(19), night: at(22) }
    }
}

/// A day or a time of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// A day, wherever one is.
    Date(Date),
    /// A time on the clock, wherever one is.
    Floating(DateTime),
    /// A time on the clock of a zone, under its IANA name as it was written.
    Zoned(DateTime, String),
}

/// From where a repeating task counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// From when it was due: "every 3 days".
    Schedule,
    /// From when it was done: "every! 3 days".
    Completion,
}

/// How a task repeats. It begins with what is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    /// The rule.
    pub rule: Rule,
    /// From where it counts.
    pub anchor: Anchor,
}

/// When to ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reminder {
    /// So many minutes before the task is due.
    MinutesBefore(u32),
    /// At a time.
    At(When),
}

/// What a piece of a line was understood as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// When it is due.
    Due,
    /// When it begins.
    Start,
    /// The day after which it is too late.
    Deadline,
    /// How it repeats, and until when.
    Repeat,
    /// How important it is.
    Priority,
    /// A tag.
    Tag,
    /// Its list.
    List,
    /// How long it takes.
    Duration,
    /// When to ring.
    Reminder,
    /// Words and commas around the others.
    Filler,
}

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it was understood as.
    pub kind: Kind,
    /// Where it stands, in bytes.
    pub range: Range<usize>,
}

/// What a line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// What was not understood as anything else, with single spaces; may be empty.
    pub title: String,
    /// When it begins.
    pub start: Option<When>,
    /// When it is due.
    pub due: Option<When>,
    /// The day after which it is too late.
    pub deadline: Option<Date>,
    /// How it repeats.
    pub repeat: Option<Repeat>,
    /// 1, the highest, to 4.
    pub priority: Option<u8>,
    /// Tags, as written, without `#`; each once.
    pub tags: Vec<String>,
    /// The list, as written, without `~`.
    pub list: Option<String>,
    /// How long it takes, in minutes.
    pub minutes: Option<u32>,
    /// When to ring.
    pub reminders: Vec<Reminder>,
    /// Where each piece stood, in the order of the line.
    pub parts: Vec<Part>,
}

impl Parsed {
    /// The priority as iCalendar counts it (RFC 5545 §3.8.1.9): 1 to 4 is high, 5 medium, 6 to 9 low.
    #[must_use]
    pub fn priority_of_icalendar(&self) -> Option<u8> {
        self.priority.map(|priority| match priority {
            1 => 1,
            2 => 3,
            3 => 5,
            _ => 9,
        })
    }
}

/// A line that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// It has one meaning.
    Clear(Box<Parsed>),
    /// It has several.
    Ambiguous(Question),
}

/// Why a line is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuickError {
    /// Longer than any title and all that can stand beside it.
    #[error("the line is longer than {LINE_BYTES_MAX} bytes: put the rest into the notes of the task")]
    TooLong,
}

/// Reads a line. Takes time in proportion to its length.
///
/// # Errors
/// [`QuickError::TooLong`].
pub fn read(line: &str, context: &Context) -> Result<Reading, QuickError> {
    if line.len() > LINE_BYTES_MAX {
        return Err(QuickError::TooLong);
    }
    let lexed = lex::Lexed::new(line, &context.languages);
    let reader = Reader { lexed: &lexed, context, today: context.now.date() };
    Ok(settle::settle(&reader, reader.scan()))
}

/// The grammar over the tokens of a line.
struct Reader<'r> {
    lexed: &'r lex::Lexed<'r>,
    context: &'r Context,
    today: Date,
}
