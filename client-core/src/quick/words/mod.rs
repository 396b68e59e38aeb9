//! What words mean, language by language: small letters without accents, a space between tokens.

mod english;
mod french;
mod german;

use jiff::civil::Weekday;

use crate::recur::{Frequency, Language};

/// A part of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Daypart {
    Morning,
    Afternoon,
    Evening,
    Night,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// What a word or phrase may mean; it can have several of these.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Term {
    Number(u32),
    Ordinal(i16),
    Weekday(Weekday),
    /// Short, and a word of its own if `true`: "sun", "mer", "So".
    Short(Weekday, bool),
    /// "mondays": every one.
    Weekdays(Weekday),
    Month(i8),
    Unit(Unit),
    /// Counts only right behind a number: "5h".
    UnitShort(Unit),
    /// A length of time in minutes.
    Minutes(u32),
    Part(Daypart),
    /// "abends": a part of the day without anything before it.
    PartAlone(Daypart),
    /// Leads to a part of the day: "in the".
    PartLead,
    Today,
    Tomorrow,
    DayAfter,
    Tonight,
    Workday,
    Weekend,
    Next,
    Coming,
    This,
    EndOf(Unit),
    Every,
    Other,
    /// "on two": the French every other, behind what it counts.
    OnTwo,
    Often(Frequency, u32),
    /// Twice each, or every other.
    Twice(Unit),
    At,
    On,
    /// As `On`, and surely of when something is due.
    Due,
    The,
    Until,
    Before,
    From,
    Start,
    Deadline,
    In,
    FromNow,
    For,
    Times,
    Per,
    To,
    And,
    Of,
    OfMonth,
    OfEveryMonth,
    Am,
    Pm,
    /// "o'clock": of twelve hours.
    Oclock,
    /// "Uhr", "h": of twenty-four.
    Hours,
    Noon,
    Midnight,
    /// Minutes past an hour that follows: "half past".
    Past(i8),
    /// Minutes past the hour before: "et demie".
    Plus(i8),
    Remind,
    /// Words around what is to be done: "remind me to".
    RemindTo,
    Advance,
    AfterDone,
    CalendarWeek,
}

/// Rows of a table.
pub(super) type Row = (&'static str, Term);

/// The words of a language.
pub(super) fn table(language: Language) -> &'static [Row] {
    match language {
        Language::German => german::TABLE,
        Language::French => french::TABLE,
        _ => english::TABLE,
    }
}

/// A German weekday and part of the day in one word: what of it is the part, for `Montagabend`.
const PARTS: [(&str, Daypart); 6] = [
    ("abend", Daypart::Evening),
    ("nachmittag", Daypart::Afternoon),
    ("vormittag", Daypart::Morning),
    ("morgen", Daypart::Morning),
    ("fruh", Daypart::Morning),
    ("nacht", Daypart::Night),
];

/// The weekday and the part of the day of a German word that is both.
pub(super) fn compound(word: &str) -> impl Iterator<Item = Term> {
    let found = compound_parts(word).map(|(weekday, _)| Term::Weekday(weekday));
    found.into_iter()
}

/// As [`compound`], with the part.
pub(super) fn compound_parts(word: &str) -> Option<(Weekday, Daypart)> {
    let weekday = |name: &str| {
        german::TABLE.iter().find_map(|(row, term)| match term {
            Term::Weekday(weekday) if *row == name => Some(*weekday),
            _ => None,
        })
    };
    PARTS.iter().find_map(|(ending, part)| Some((weekday(word.strip_suffix(ending)?)?, *part)))
}
