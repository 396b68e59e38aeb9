//! What is asked back of a line that can be understood in several ways.

use std::ops::Range;

use crate::recur::Language;

/// What is not clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// "03/04": of which number is the month.
    DayOrMonth,
    /// "next Friday": the coming one, or that of the next week.
    WhichWeek,
    /// "Friday" on a Friday: today, or in a week.
    TodayOrLater,
    /// "at 7": in the morning or in the evening; "midnight" of a day: its beginning or its end.
    WhichHalf,
    /// Two days or times for one thing.
    WhichOne,
    /// "Friday 5 May", which is no Friday.
    WeekdayOrDate,
    /// "weekly report", "le lundi": whether it repeats.
    OnceOrEvery,
    /// "every second Tuesday", "biweekly".
    HowOften,
    /// "before Friday": the day before, or Friday at the latest.
    BeforeOrOn,
}

impl Doubt {
    /// The question in a language.
    #[must_use]
    pub const fn question(self, language: Language) -> &'static str {
        let [english, german, french] = match self {
            Self::DayOrMonth => ["Which is the month?", "Welche Zahl ist der Monat?", "Quel nombre est le mois ?"],
            Self::WhichWeek => ["In which week?", "In welcher Woche?", "Quelle semaine ?"],
            Self::TodayOrLater => {
                ["Today or in a week?", "Heute oder in einer Woche?", "Aujourd'hui ou dans huit jours ?"]
            }
            Self::WhichHalf => ["At which time of the day?", "Zu welcher Tageszeit?", "À quel moment du jour ?"],
            Self::WhichOne => ["Which of the two is it?", "Welches von beiden gilt?", "Lequel des deux ?"],
            Self::WeekdayOrDate => {
                ["The weekday or the date?", "Der Wochentag oder das Datum?", "Le jour de la semaine ou la date ?"]
            }
            Self::OnceOrEvery => ["Does it repeat?", "Wiederholt es sich?", "Est-ce que cela se répète ?"],
            Self::HowOften => ["How often?", "Wie oft?", "À quelle fréquence ?"],
            Self::BeforeOrOn => ["Until when at the latest?", "Bis wann spätestens?", "Jusqu'à quand au plus tard ?"],
        };
        match language {
            Language::German => german,
            Language::French => french,
            _ => english,
        }
    }
}

/// One way to understand a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What the piece in doubt is then: a day, a time, a rule, or the words themselves in quotation marks.
    pub means: String,
    /// The whole line, written so that this is no longer in doubt.
    pub line: String,
}

/// What is asked of the person who wrote a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What is not clear.
    pub doubt: Doubt,
    /// The piece it is about, in bytes of the line.
    pub range: Range<usize>,
    /// What it may mean: at least two.
    pub choices: Vec<Choice>,
}

impl Question {
    /// A question whose choices put something else in the place of a piece.
    pub(super) fn new(doubt: Doubt, line: &str, range: Range<usize>, instead: Vec<String>) -> Self {
        let (before, after) = (&line[..range.start], &line[range.end..]);
        // What is put in must not grow together with its neighbours.
        let space = |at: Option<char>| if at.is_some_and(char::is_alphanumeric) { " " } else { "" };
        let (left, right) = (space(before.chars().next_back()), space(after.chars().next()));
        let choice = |means: String| Choice { line: format!("{before}{left}{means}{right}{after}"), means };
        Self { doubt, range, choices: instead.into_iter().map(choice).collect() }
    }
}
