//! Times of day in a line.

use jiff::civil::Time;

use super::Reader;
use super::words::{Daypart, Term};
use crate::recur::Language;

/// A time that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    At(Time),
    /// A time of twenty-four hours as it is written; with a part of the day beside it, maybe of twelve ("7 Uhr abends").
    Of24(Time),
    /// An hour of twelve and a minute, in one half of the day or the other.
    Either(i8, i8),
    /// The beginning or the end of a day.
    Midnight,
}

impl Clock {
    /// The times it may be, the earlier first.
    pub(super) fn times(self) -> Vec<Time> {
        let times = match self {
            Self::At(time) | Self::Of24(time) => vec![Some(time)],
            Self::Either(hour, minute) => vec![time(hour % 12, minute), time(hour % 12 + 12, minute)],
            Self::Midnight => vec![Some(Time::midnight()), time(23, 59)],
        };
        times.into_iter().flatten().collect()
    }

    /// As [`Self::times`], by what the part of the day leaves of them.
    pub(super) fn in_part(self, part: Daypart) -> Vec<Time> {
        let fits = |time: &Time| match part {
            Daypart::Morning => time.hour() < 12,
            Daypart::Afternoon => time.hour() >= 12,
            Daypart::Evening => time.hour() >= 16,
            Daypart::Night => time.hour() >= 18 || time.hour() < 6,
        };
        let times = match self {
            Self::Of24(at) if (1..=11).contains(&at.hour()) => {
                [Some(at), time(at.hour() + 12, at.minute())].into_iter().flatten().collect()
            }
            _ => self.times(),
        };
        let fitting: Vec<Time> = times.iter().copied().filter(fits).collect();
        if fitting.is_empty() { self.times() } else { fitting }
    }
}

fn time(hour: i8, minute: i8) -> Option<Time> {
    Time::new(hour, minute, 0, 0).ok()
}

impl Reader<'_> {
    /// A time with or without "at".
    pub(super) fn clock(&self, at: usize) -> Option<(Clock, usize)> {
        let lexed = self.lexed;
        if let Some(found) = self.named_clock(at) {
            return Some(found);
        }
        let Some(behind) = lexed.is(at, Term::At) else { return self.clock_figures(at) };
        self.named_clock(behind).or_else(|| self.clock_figures(behind)).or_else(|| {
            let (hour, next) = lexed.number(behind).filter(|_| !lexed.is_word(behind) || behind > at)?;
            let is_other = ["/", "%", ".", ","].iter().any(|mark| {
                lexed.glued_mark(next, mark).is_some_and(|next| lexed.is_glued(next) && lexed.digits(next).is_some())
            });
            // "à 7 personnes", "um 3 Punkte": a number of something.
            let is_24_hours = self.context.languages.first() != Some(&Language::English);
            let is_count = is_24_hours && lexed.is_word(next) && !lexed.has_terms(next);
            if is_other || is_count || self.unit(next).is_some() {
                return None;
            }
            Some((self.bare(hour)?, next))
        })
    }

    /// An hour of which nothing says whether it is of twelve or of twenty-four.
    fn bare(&self, hour: u32) -> Option<Clock> {
        let hour = i8::try_from(hour).ok()?;
        match hour {
            1..=12 => Some(Clock::Either(hour, 0)),
            0 | 13..=23 => time(hour, 0).map(Clock::At),
            _ => None,
        }
    }

    /// Noon, midnight, "half past 5".
    fn named_clock(&self, at: usize) -> Option<(Clock, usize)> {
        let lexed = self.lexed;
        if let Some(next) = lexed.is(at, Term::Noon) {
            let (plus, next) = self.plus(next).unwrap_or((0, next));
            return Some((Clock::At(shifted(12, plus)?), next));
        }
        if let Some(next) = lexed.is(at, Term::Midnight) {
            return Some((Clock::Midnight, next));
        }
        let (past, next) = lexed.term(at, |term| if let Term::Past(past) = term { Some(past) } else { None })?;
        let (hour, next) = lexed.number(next)?;
        let hour = i8::try_from(hour).ok().filter(|hour| (1..=12).contains(hour))?;
        let time = shifted(hour, past)?;
        if let Some((is_afternoon, next)) = self.half(next) {
            return Some((Clock::At(shifted(hour % 12 + if is_afternoon { 12 } else { 0 }, past)?), next));
        }
        let hour = if time.hour() == 0 { 12 } else { time.hour() };
        Some((Clock::Either(hour, time.minute()), lexed.past(next, Term::Hours)))
    }

    fn plus(&self, at: usize) -> Option<(i8, usize)> {
        self.lexed.term(at, |term| if let Term::Plus(plus) = term { Some(plus) } else { None })
    }

    /// Before noon or after it.
    fn half(&self, at: usize) -> Option<(bool, usize)> {
        self.lexed.term(at, |term| match term {
            Term::Am => Some(false),
            Term::Pm => Some(true),
            _ => None,
        })
    }

    /// Figures that can be nothing but a time.
    fn clock_figures(&self, at: usize) -> Option<(Clock, usize)> {
        let lexed = self.lexed;
        let (hour, length, next) = lexed.digits(at).filter(|(_, length, _)| *length <= 2)?;
        let hour = i8::try_from(hour).ok().filter(|hour| *hour <= 24)?;
        let minute_behind = |next: usize| {
            let (minute, 2, next) = lexed.digits(next).filter(|_| lexed.is_glued(next))? else { return None };
            Some((i8::try_from(minute).ok().filter(|minute| *minute < 60)?, next))
        };
        let of_halves = |minute: i8, next: usize| {
            let (is_afternoon, next) = self.half(next)?;
            let hour = Some(hour).filter(|hour| (1..=12).contains(hour))? % 12;
            Some((Clock::At(time(if is_afternoon { hour + 12 } else { hour }, minute)?), next))
        };
        if let Some((minute, mut behind)) = lexed.glued_mark(next, ":").and_then(minute_behind) {
            if let Some((_, after)) = lexed.glued_mark(behind, ":").and_then(minute_behind) {
                behind = after;
            }
            if let Some(found) = of_halves(minute, behind) {
                return Some(found);
            }
            let is_24_hours = self.context.languages.first() != Some(&Language::English);
            let of_24 = lexed.is(behind, Term::Hours);
            if of_24.is_some() || is_24_hours || length == 2 && hour < 10 || !(1..=11).contains(&hour) {
                return Some((Clock::Of24(time(hour, minute)?), of_24.unwrap_or(behind)));
            }
            return Some((Clock::Either(hour, minute), behind));
        }
        if let Some((minute, behind)) = lexed.glued_mark(next, ".").and_then(minute_behind) {
            if let Some(found) = of_halves(minute, behind) {
                return Some(found);
            }
            return Some((Clock::Of24(time(hour, minute)?), lexed.is(behind, Term::Hours)?));
        }
        if let Some(behind) = lexed.is(next, Term::Hours) {
            if let Some((minute, behind)) = minute_behind(behind) {
                return Some((Clock::Of24(time(hour, minute)?), behind));
            }
            // "9 Uhr 30", "9 heures 30"
            if let Some((minute, 2, after)) = lexed.digits(behind).filter(|_| !lexed.is_glued(next))
                && let Some(time) = i8::try_from(minute).ok().and_then(|minute| time(hour, minute))
            {
                return Some((Clock::Of24(time), after));
            }
            let (plus, behind) = self.plus(behind).unwrap_or((0, behind));
            return Some((Clock::Of24(shifted(hour, plus)?), behind));
        }
        if let Some(behind) = lexed.is(next, Term::Oclock) {
            return Some((self.bare(u32::try_from(hour).ok()?)?, behind));
        }
        of_halves(0, next)
    }

    /// Two times with a dash or a word between them; at least the second says which it is.
    pub(super) fn clock_range(&self, at: usize) -> Option<(Time, Time, usize)> {
        let lexed = self.lexed;
        let from = lexed.past(at, Term::From);
        let bare = |at: usize| {
            let (hour, length, next) = lexed.digits(at)?;
            Some((self.bare(hour).filter(|_| length <= 2)?, next))
        };
        let first = lexed.past(from, Term::At);
        let (begin, next) = self.clock(first).or_else(|| bare(first))?;
        let dash = ["-", "\u{2013}"].iter().find_map(|mark| lexed.mark(next, mark));
        let word = || lexed.is(next, Term::To).or_else(|| lexed.is(next, Term::Until));
        let (end, next) = self.clock_figures(dash.or_else(word)?).or_else(|| self.named_clock(dash.or_else(word)?))?;
        let end = match (end, begin) {
            (Clock::At(end) | Clock::Of24(end), _) => end,
            // "9:30-11:00" in a language of twelve hours: where the first is clear, the second follows it.
            (Clock::Either(..), Clock::At(begin) | Clock::Of24(begin)) => {
                end.times().into_iter().find(|end| *end > begin)?
            }
            _ => return None,
        };
        let begin = begin.times().into_iter().rfind(|begin| *begin < end)?;
        Some((begin, end, next))
    }

    /// A part of the day. Behind a day or a time it needs nothing to lead to it.
    pub(super) fn part(&self, at: usize, is_behind: bool) -> Option<(Daypart, usize)> {
        let lexed = self.lexed;
        let alone = |term| if let Term::PartAlone(part) = term { Some(part) } else { None };
        let part = |term| if let Term::Part(part) = term { Some(part) } else { None };
        if is_behind && let Some(found) = lexed.term(at, alone).or_else(|| lexed.term(at, part)) {
            return Some(found);
        }
        let lead = lexed.is(at, Term::PartLead).or_else(|| lexed.is(at, Term::This))?;
        lexed.term(lead, part)
    }

    /// A zone behind a time: `UTC`, or the IANA name of one.
    pub(super) fn zone(&self, at: usize) -> Option<(String, usize)> {
        const AREAS: [&str; 10] = [
            "africa",
            "america",
            "antarctica",
            "arctic",
            "asia",
            "atlantic",
            "australia",
            "europe",
            "indian",
            "pacific",
        ];
        let lexed = self.lexed;
        let word = lexed.word(at)?;
        if matches!(word, "utc" | "gmt") {
            return Some(("UTC".to_owned(), at + 1));
        }
        if !AREAS.contains(&word) {
            return None;
        }
        let joins = |at: usize| ["/", "_", "-"].iter().find_map(|mark| lexed.glued_mark(at, mark));
        let mut next = lexed.glued_mark(at + 1, "/").filter(|next| lexed.is_word(*next) && lexed.is_glued(*next))? + 1;
        while let Some(word) = joins(next).filter(|next| lexed.is_word(*next) && lexed.is_glued(*next)) {
            next = word + 1;
        }
        let range = lexed.tokens[at].from..lexed.tokens[next - 1].to;
        Some((lexed.text.get(range)?.to_owned(), next))
    }
}

/// An hour and some minutes past it, or before.
fn shifted(hour: i8, minutes: i8) -> Option<Time> {
    let minutes = (i16::from(hour) * 60 + i16::from(minutes)).rem_euclid(24 * 60);
    time(i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?)
}
