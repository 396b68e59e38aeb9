//! A rule in words, and the next times of a series with what clocks do to them.

use std::fmt::Write as _;

use jiff::civil::Weekday;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::rule::{End, Rule, Skip};
use super::series::{Occurrence, Series};

/// A language that rules are told in and lines of text are read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Language {
    /// English.
    English,
    /// German.
    German,
    /// French.
    French,
}

/// What clocks do at an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// They skip the time that the rule says; it is later by as much.
    Later(DateTimePair),
    /// They show that time twice; the first is taken.
    Twice,
    /// Since the occurrence before, they were put forward (above 0) or back, by so many minutes.
    Changed(i32),
}

/// A time that a rule says, and when it is instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTimePair {
    /// What the rule says.
    pub said: jiff::civil::DateTime,
    /// What clocks show then.
    pub shown: jiff::civil::DateTime,
}

/// An occurrence with what is worth knowing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coming {
    /// The occurrence.
    pub occurrence: Occurrence,
    /// What clocks do, of a series in a zone.
    pub remark: Option<Remark>,
}

impl Series {
    /// The next occurrences from an instant on, with what clocks do between them.
    #[must_use]
    pub fn coming(&self, now: Timestamp, zone: &TimeZone, most: usize) -> Vec<Coming> {
        let super::series::Start::Zoned(_, own) = self.start() else {
            return self.since(now, zone).take(most).map(|occurrence| Coming { occurrence, remark: None }).collect();
        };
        let mut before = None;
        let mut coming = Vec::new();
        for occurrence in self.since(now, zone).take(most) {
            let offset = occurrence.instant.map(|instant| own.to_offset(instant).seconds());
            let ambiguous = own.to_ambiguous_timestamp(occurrence.wall).offset();
            let remark = match (ambiguous, occurrence.instant) {
                (AmbiguousOffset::Gap { .. }, Some(instant)) => {
                    Some(Remark::Later(DateTimePair { said: occurrence.wall, shown: own.to_datetime(instant) }))
                }
                (AmbiguousOffset::Fold { .. }, _) => Some(Remark::Twice),
                _ => match (before, offset) {
                    (Some(before), Some(offset)) if before != offset => Some(Remark::Changed((offset - before) / 60)),
                    _ => None,
                },
            };
            before = offset;
            coming.push(Coming { occurrence, remark });
        }
        coming
    }
}

/// Words of a language.
struct Words {
    /// "every", one and many, by frequency: minute to year.
    every: [(&'static str, &'static str); 6],
    weekdays: [&'static str; 7],
    months: [&'static str; 12],
    and: &'static str,
    on: &'static str,
    on_day: &'static str,
    day_from_end: &'static str,
    last_day: &'static str,
    in_month: &'static str,
    workdays: &'static str,
    at: &'static str,
    weeks: &'static str,
    year_days: &'static str,
    places: &'static str,
    until: &'static str,
    times: &'static str,
    backward: &'static str,
    forward: &'static str,
}

const ENGLISH: Words = Words {
    every: [
        ("every minute", "every {} minutes"),
        ("every hour", "every {} hours"),
        ("every day", "every {} days"),
        ("every week", "every {} weeks"),
        ("every month", "every {} months"),
        ("every year", "every {} years"),
    ],
    weekdays: ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
    months: ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    and: " and ",
    on: " on ",
    on_day: " on day ",
    day_from_end: "{} from the end",
    last_day: "the last",
    in_month: " in ",
    workdays: "workdays",
    at: " at ",
    weeks: " in week ",
    year_days: " on day of the year ",
    places: ", of these number ",
    until: " until ",
    times: ", {} times",
    backward: ", or the last day before",
    forward: ", or the first day after",
};

const GERMAN: Words = Words {
    every: [
        ("jede Minute", "alle {} Minuten"),
        ("jede Stunde", "alle {} Stunden"),
        ("jeden Tag", "alle {} Tage"),
        ("jede Woche", "alle {} Wochen"),
        ("jeden Monat", "alle {} Monate"),
        ("jedes Jahr", "alle {} Jahre"),
    ],
    weekdays: ["Mo", "Di", "Mi", "Do", "Fr", "Sa", "So"],
    months: ["Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez."],
    and: " und ",
    on: " am ",
    on_day: " am Tag ",
    day_from_end: "{} vom Ende",
    last_day: "dem letzten",
    in_month: " im ",
    workdays: "Werktagen",
    at: " um ",
    weeks: " in Woche ",
    year_days: " am Tag des Jahres ",
    places: ", davon Nummer ",
    until: " bis ",
    times: ", {} Mal",
    backward: ", sonst am letzten Tag davor",
    forward: ", sonst am ersten Tag danach",
};

const FRENCH: Words = Words {
    every: [
        ("chaque minute", "toutes les {} minutes"),
        ("chaque heure", "toutes les {} heures"),
        ("chaque jour", "tous les {} jours"),
        ("chaque semaine", "toutes les {} semaines"),
        ("chaque mois", "tous les {} mois"),
        ("chaque année", "tous les {} ans"),
    ],
    weekdays: ["lun.", "mar.", "mer.", "jeu.", "ven.", "sam.", "dim."],
    months: ["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."],
    and: " et ",
    on: " : ",
    on_day: " le jour ",
    day_from_end: "{} avant la fin",
    last_day: "le dernier",
    in_month: " en ",
    workdays: "jours ouvrés",
    at: " à ",
    weeks: " en semaine ",
    year_days: " le jour de l'année ",
    places: ", dont le numéro ",
    until: " jusqu'au ",
    times: ", {} fois",
    backward: ", sinon le dernier jour avant",
    forward: ", sinon le premier jour après",
};

/// "a, b and c".
fn listed(items: &[String], and: &str) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{}{and}{last}", first.join(", ")),
    }
}

impl Rule {
    /// The rule in a sentence: "every 2 weeks on Mon and Wed".
    #[must_use]
    pub fn explain(&self, language: Language) -> String {
        let words = match language {
            Language::English => &ENGLISH,
            Language::German => &GERMAN,
            Language::French => &FRENCH,
        };
        let (one, many) = words.every[self.frequency as usize];
        let mut said = if self.interval == 1 { one.to_owned() } else { many.replace("{}", &self.interval.to_string()) };
        let numbers = |list: &[i16]| listed(&list.iter().map(ToString::to_string).collect::<Vec<_>>(), words.and);
        if !self.by_day.is_empty() {
            said += words.on;
            said += &self.explain_days(language, words);
        }
        if !self.by_month_day.is_empty() {
            let day = |day: &i16| match day {
                -1 => words.last_day.to_owned(),
                ..0 => words.day_from_end.replace("{}", &day.unsigned_abs().to_string()),
                _ => day.to_string(),
            };
            said += words.on_day;
            said += &listed(&self.by_month_day.iter().map(day).collect::<Vec<_>>(), words.and);
        }
        if !self.by_month.is_empty() {
            let month = |month: &i16| {
                let place = usize::try_from(*month - 1).unwrap_or(0);
                words.months.get(place).copied().unwrap_or_default().to_owned()
            };
            said += words.in_month;
            said += &listed(&self.by_month.iter().map(month).collect::<Vec<_>>(), words.and);
        }
        for (list, word) in
            [(&self.by_week, words.weeks), (&self.by_year_day, words.year_days), (&self.by_place, words.places)]
        {
            // The nth workday was told with its days.
            if !(list.is_empty() || word == words.places && self.is_nth_workday()) {
                said += word;
                said += &numbers(list);
            }
        }
        self.explain_times(words, &mut said);
        match self.skip {
            Some(Skip::Backward) => said += words.backward,
            Some(Skip::Forward) => said += words.forward,
            Some(Skip::Omit) | None => {}
        }
        let _ = match self.end {
            End::Never => Ok(()),
            End::Count(count) => write!(said, "{}", words.times.replace("{}", &count.to_string())),
            End::Date(date) => write!(said, "{}{date}", words.until),
            End::Wall(wall) => write!(said, "{}{} {:02}:{:02}", words.until, wall.date(), wall.hour(), wall.minute()),
            End::Instant(instant) => {
                let wall = TimeZone::UTC.to_datetime(instant + SignedDuration::ZERO);
                write!(said, "{}{} {:02}:{:02} UTC", words.until, wall.date(), wall.hour(), wall.minute())
            }
        };
        said
    }

    fn is_nth_workday(&self) -> bool {
        self.is_workdays() && self.by_place.len() == 1
    }

    fn is_workdays(&self) -> bool {
        let is_workday = |(place, day): (usize, &super::rule::ByDay)| {
            day.nth == 0 && usize::from(day.weekday.to_monday_zero_offset().unsigned_abs()) == place
        };
        self.by_day.len() == 5 && self.by_day.iter().enumerate().all(is_workday)
    }

    fn explain_days(&self, language: Language, words: &Words) -> String {
        if self.is_workdays() {
            return match self.by_place.as_slice() {
                [place] => format!("{} {}", nth(*place, language), words.workdays),
                _ => words.workdays.to_owned(),
            };
        }
        let name = |weekday: Weekday| words.weekdays[usize::from(weekday.to_monday_zero_offset().unsigned_abs()) % 7];
        let one = |day: &super::rule::ByDay| match day.nth {
            0 => name(day.weekday).to_owned(),
            place => format!("{} {}", nth(place, language), name(day.weekday)),
        };
        listed(&self.by_day.iter().map(one).collect::<Vec<_>>(), words.and)
    }

    fn explain_times(&self, words: &Words, said: &mut String) {
        let or_none = |list: &[i16]| -> Vec<Option<i16>> {
            if list.is_empty() { vec![None] } else { list.iter().copied().map(Some).collect() }
        };
        if self.by_hour.is_empty() && self.by_minute.is_empty() {
            return;
        }
        let mut times = Vec::new();
        for hour in or_none(&self.by_hour) {
            for minute in or_none(&self.by_minute) {
                let hour = hour.map_or_else(|| "*".to_owned(), |hour| format!("{hour:02}"));
                times.push(format!("{hour}:{:02}", minute.unwrap_or(0)));
            }
        }
        // A rule may name every minute of the day.
        let more = times.len().saturating_sub(12);
        times.truncate(12);
        *said += words.at;
        *said += &listed(&times, words.and);
        if more > 0 {
            let _ = write!(said, " (+{more})");
        }
    }
}

/// A place from the begin or, below zero, from the end.
fn nth(place: i16, language: Language) -> String {
    let (from_end, number) = (place < 0, place.unsigned_abs());
    match (language, from_end, number) {
        (Language::English, true, 1) => "the last".to_owned(),
        (Language::German, true, 1) => "letzten".to_owned(),
        (Language::French, true, 1) => "le dernier".to_owned(),
        (Language::English, _, _) => {
            let ending = match number % 10 {
                1 if number % 100 != 11 => "st",
                2 if number % 100 != 12 => "nd",
                3 if number % 100 != 13 => "rd",
                _ => "th",
            };
            format!("the {number}{ending}{}", if from_end { " last" } else { "" })
        }
        (Language::German, _, _) => format!("{number}.{}", if from_end { " letzten" } else { "" }),
        (Language::French, false, 1) => "le 1er".to_owned(),
        (Language::French, _, _) => format!("le {number}e{}", if from_end { " avant la fin" } else { "" }),
    }
}
