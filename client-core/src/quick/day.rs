//! Days in a line: dates in figures and words, weekdays, and days counted from today.

use jiff::civil::{Date, Weekday};
use jiff::{Span, ToSpan as _};

use super::Reader;
use super::question::Doubt;
use super::words::{self, Term, Unit};
use crate::recur::Language;

/// A day that was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Day {
    On(Date),
    /// One of several.
    Either(Doubt, Vec<Date>),
    /// A weekday behind an article that can also mean every one ("le lundi").
    Maybe(Weekday, Date),
}

impl Day {
    fn either(doubt: Doubt, one: Date, other: Date) -> Self {
        if one == other { Self::On(one) } else { Self::Either(doubt, vec![one, other]) }
    }
}

fn after(date: Date, span: Span) -> Option<Date> {
    date.checked_add(span).ok().filter(|date| (1..=9997).contains(&date.year()))
}

impl Reader<'_> {
    /// A day, and the place behind it.
    pub(super) fn day(&self, at: usize) -> Option<(Day, usize)> {
        let on = |(date, next)| (Day::On(date), next);
        None.or_else(|| self.iso(at).map(on))
            .or_else(|| self.weekday_and_date(at))
            .or_else(|| self.dotted(at).map(on))
            .or_else(|| self.slashed(at))
            .or_else(|| self.month_day_of_year(at).map(on))
            .or_else(|| self.near_today(at).map(on))
            .or_else(|| self.nth_of_month(at).map(on))
            .or_else(|| self.weekend(at))
            .or_else(|| self.weekday_near(at))
            .or_else(|| self.next_unit(at).map(on))
            .or_else(|| self.day_of_month(at).map(on))
            .or_else(|| self.calendar_week(at).map(on))
    }

    /// `2026-03-04`.
    fn iso(&self, at: usize) -> Option<(Date, usize)> {
        let lexed = self.lexed;
        let (year, 4, next) = lexed.digits(at)? else { return None };
        let next = lexed.glued_mark(next, "-").filter(|next| lexed.is_glued(*next))?;
        let (month, 2, next) = lexed.digits(next)? else { return None };
        let next = lexed.glued_mark(next, "-").filter(|next| lexed.is_glued(*next))?;
        let (day, 2, next) = lexed.digits(next)? else { return None };
        Some((date(year, month, day)?, next))
    }

    /// `4.3.2026`, `4.3.`, and `4.3` behind "am": as German has it.
    fn dotted(&self, at: usize) -> Option<(Date, usize)> {
        let lexed = self.lexed;
        if !self.context.languages.contains(&Language::German) {
            return None;
        }
        let (day, _, next) = lexed.digits(at)?;
        let next = lexed.glued_mark(next, ".")?;
        let (month, _, next) = lexed.digits(next)?;
        let Some(dot) = lexed.glued_mark(next, ".") else {
            let is_led = at > 0 && lexed.is(at - 1, Term::On).is_some();
            let is_time = lexed.is(next, Term::Hours).is_some();
            return is_led
                .then_some(())
                .filter(|()| !is_time)
                .and_then(|()| Some((self.coming_date(month, day)?, next)));
        };
        match lexed.digits(dot) {
            Some((year, digits, next)) if digits == 4 || digits == 2 && lexed.is_glued(dot) => {
                Some((date(full_year(year, digits), month, day)?, next))
            }
            _ => Some((self.coming_date(month, day)?, dot)),
        }
    }

    /// `4/3` and `4/3/2026`, of which languages do not say the same.
    fn slashed(&self, at: usize) -> Option<(Day, usize)> {
        let lexed = self.lexed;
        let (first, length, next) = lexed.digits(at)?;
        let next = lexed.glued_mark(next, "/").filter(|next| lexed.is_glued(*next))?;
        let (second, second_length, mut next) = lexed.digits(next)?;
        let is_bound = lexed.glued_mark(next, "%").is_some() || lexed.is_word(next) && lexed.is_glued(next);
        if length > 2 || second_length > 2 || (first, second) == (24, 7) || is_bound {
            return None;
        }
        let mut year = None;
        if let Some(at) = lexed.glued_mark(next, "/").filter(|next| lexed.is_glued(*next))
            && let Some((number, digits @ (2 | 4), behind)) = lexed.digits(at)
        {
            (year, next) = (Some(full_year(number, digits)), behind);
        }
        let at = |month, day| match year {
            Some(year) => date(year, month, day),
            None => self.coming_date(month, day),
        };
        let has_english = self.context.languages.contains(&Language::English);
        let found = match (at(second, first), at(first, second)) {
            (Some(date), None) => Day::On(date),
            (Some(date), Some(other)) if has_english => Day::either(Doubt::DayOrMonth, date, other),
            (Some(date), Some(_)) => Day::On(date),
            (None, Some(date)) if has_english => Day::On(date),
            (None, _) => return None,
        };
        Some((found, next))
    }

    /// A day of the month as a number: `5`, `5th`, `5.`, `1er`.
    pub(super) fn day_number(&self, at: usize) -> Option<(i8, usize, bool)> {
        let lexed = self.lexed;
        if let Some((ordinal @ 1..=31, next)) =
            lexed.term(at, |term| if let Term::Ordinal(ordinal) = term { Some(ordinal) } else { None })
        {
            return Some((i8::try_from(ordinal).ok()?, next, true));
        }
        let (number, length, next) = lexed.digits(at)?;
        let number = i8::try_from(number).ok().filter(|number| length <= 2 && (1..=31).contains(number))?;
        let has = |language| self.context.languages.contains(&language);
        if lexed.is_glued(next) && lexed.is_word(next) {
            let ending = lexed.word(next)?;
            let is_english = has(Language::English) && matches!(ending, "st" | "nd" | "rd" | "th");
            let is_french = has(Language::French) && matches!(ending, "er" | "ere" | "e" | "eme");
            return (is_english || is_french).then_some((number, next + 1, true));
        }
        if has(Language::German)
            && let Some(dot) = lexed.glued_mark(next, ".")
            && !(lexed.is_glued(dot) && lexed.digits(dot).is_some())
        {
            return Some((number, dot, true));
        }
        Some((number, next, false))
    }

    /// A month and a day of it, in either order.
    pub(super) fn month_day(&self, at: usize) -> Option<(i8, i8, usize)> {
        let lexed = self.lexed;
        let month = |at| {
            let (month, next) =
                lexed.term(at, |term| if let Term::Month(month) = term { Some(month) } else { None })?;
            Some((month, lexed.glued_mark(next, ".").filter(|_| next < lexed.len()).unwrap_or(next)))
        };
        let at = lexed.past(at, Term::The);
        if let Some((day, next, _)) = self.day_number(at) {
            let next = lexed.past(next, Term::Of);
            if let Some((month, next)) = month(next) {
                return Some((month, day, next));
            }
        }
        let (month, next) = month(at)?;
        let (day, next, is_ordinal) = self.day_number(lexed.past(next, Term::The))?;
        // "May 5:30" and "May 5 pm" are times; "May 12 apples" is anybody's guess, and taken for a day.
        let is_time = !is_ordinal && (lexed.glued_mark(next, ":").is_some() || self.is_half(next));
        (!is_time).then_some((month, day, next))
    }

    fn is_half(&self, at: usize) -> bool {
        self.lexed.is(at, Term::Am).is_some() || self.lexed.is(at, Term::Pm).is_some()
    }

    fn month_day_of_year(&self, at: usize) -> Option<(Date, usize)> {
        let lexed = self.lexed;
        let (month, day, next) = self.month_day(at)?;
        let (month, day) = (u32::try_from(month).ok()?, u32::try_from(day).ok()?);
        let comma = lexed.mark(next, ",").unwrap_or(next);
        if let Some((year @ 1900..=2999, 4, behind)) = lexed.digits(comma)
            && lexed.glued_mark(behind, ":").is_none()
        {
            return Some((date(year, month, day)?, behind));
        }
        Some((self.coming_date(month, day)?, next))
    }

    /// A weekday and a date that must fit together.
    fn weekday_and_date(&self, at: usize) -> Option<(Day, usize)> {
        let lexed = self.lexed;
        let (weekday, next) = self.weekday(at, true)?;
        let mut next = lexed.mark(next, ",").unwrap_or(next);
        while let Some(behind) = lexed.is(next, Term::On).or_else(|| lexed.is(next, Term::The)) {
            next = behind;
        }
        let (found, next) = self.iso(next).or_else(|| self.dotted(next)).or_else(|| self.month_day_of_year(next))?;
        if found.weekday() == weekday {
            return Some((Day::On(found), next));
        }
        Some((Day::Either(Doubt::WeekdayOrDate, vec![self.coming(weekday), found]), next))
    }

    /// Today, tomorrow, "in 3 days", the end of the month.
    fn near_today(&self, at: usize) -> Option<(Date, usize)> {
        let lexed = self.lexed;
        let days = |days: i64, next| Some((after(self.today, days.days())?, next));
        if let Some(next) = lexed.is(at, Term::DayAfter) {
            return days(2, next);
        }
        if let Some(next) = lexed.is(at, Term::Tomorrow) {
            return days(1, next);
        }
        if let Some(next) = lexed.is(at, Term::Today).or_else(|| lexed.is(at, Term::Tonight)) {
            // "heute in einer Woche"
            return match self.in_amount(next) {
                Some((date, behind)) if lexed.is(at, Term::Today).is_some() => Some((date, behind)),
                _ => days(0, next),
            };
        }
        let end_of = |term| if let Term::EndOf(unit) = term { Some(unit) } else { None };
        if let Some((unit, next)) = lexed.term(at, end_of) {
            let end = if unit == Unit::Year { self.today.last_of_year() } else { self.today.last_of_month() };
            return Some((end, next));
        }
        self.in_amount(at).or_else(|| {
            let (span, next) = self.span(at)?;
            Some((after(self.today, span)?, lexed.is(next, Term::FromNow)?))
        })
    }

    fn in_amount(&self, at: usize) -> Option<(Date, usize)> {
        let (span, next) = self.span(self.lexed.is(at, Term::In)?)?;
        Some((after(self.today, span)?, next))
    }

    /// A number of days or longer units.
    pub(super) fn span(&self, at: usize) -> Option<(Span, usize)> {
        let (number, next) = self.lexed.number(at)?;
        let (unit, next) = self.unit(next)?;
        let number = i64::from(number.min(9999));
        let span = match unit {
            Unit::Day => number.days(),
            Unit::Week => number.weeks(),
            Unit::Month => number.months(),
            Unit::Quarter => (number * 3).months(),
            Unit::Year => number.years(),
            Unit::Minute | Unit::Hour => return None,
        };
        Some((span, next))
    }

    /// A unit; a short one only right behind its number.
    pub(super) fn unit(&self, at: usize) -> Option<(Unit, usize)> {
        let is_glued = self.lexed.is_glued(at);
        self.lexed.term(at, |term| match term {
            Term::Unit(unit) => Some(unit),
            Term::UnitShort(unit) if is_glued => Some(unit),
            _ => None,
        })
    }

    /// "the first Monday of the month", "the last day of the month": this month's, or the next one's if that is over.
    fn nth_of_month(&self, at: usize) -> Option<(Date, usize)> {
        let lexed = self.lexed;
        let (rule, next) = self.nth_in_month(lexed.past(lexed.past(at, Term::On), Term::The))?;
        let next = lexed.is(next, Term::OfMonth)?;
        Some((self.first_of(&format!("FREQ=MONTHLY{rule}"), self.today)?, next))
    }

    fn weekend(&self, at: usize) -> Option<(Day, usize)> {
        let lexed = self.lexed;
        let lead = lexed.is(at, Term::This).or_else(|| lexed.is(at, Term::Coming)).or_else(|| lexed.is(at, Term::On));
        let saturday = if self.today.weekday() == Weekday::Sunday {
            self.today.yesterday().ok()?
        } else {
            after(self.today, i64::from(self.today.weekday().until(Weekday::Saturday)).days())?
        };
        let later = after(saturday, 1.weeks())?;
        // The Saturday of the week after this one.
        let of_next_week = self.of_next_week(Weekday::Saturday)?;
        let next_one =
            || Day::either(Doubt::WhichWeek, if saturday > self.today { saturday } else { later }, of_next_week);
        if let Some(next) = lexed.is(at, Term::Next) {
            return Some((next_one(), lexed.is(next, Term::Weekend)?));
        }
        let next = lexed.is(lead.unwrap_or(at), Term::Weekend)?;
        if let Some(next) = lexed.is(next, Term::Next) {
            return Some((next_one(), next));
        }
        lead?;
        Some((Day::On(saturday.max(self.today)), next))
    }

    /// A weekday with what says which: "Friday", "this Friday", "next Friday", "Friday next week", "vendredi prochain".
    fn weekday_near(&self, at: usize) -> Option<(Day, usize)> {
        let lexed = self.lexed;
        if let Some(next) = lexed.is(at, Term::Coming) {
            let (weekday, next) = self.weekday(next, true)?;
            return Some((Day::On(self.coming(weekday)), next));
        }
        if let Some(next) = lexed.is(at, Term::This) {
            let (weekday, next) = self.weekday(next, true)?;
            let is_today = weekday == self.today.weekday();
            return Some((Day::On(if is_today { self.today } else { self.coming(weekday) }), next));
        }
        let next_one = |weekday| Some(Day::either(Doubt::WhichWeek, self.coming(weekday), self.of_next_week(weekday)?));
        if let Some(next) = lexed.is(at, Term::Next) {
            // "next week Friday"
            if let Some(next) = self.is_unit(next, Unit::Week) {
                let (weekday, next) = self.weekday(lexed.past(next, Term::On), true)?;
                return Some((Day::On(self.of_next_week(weekday)?), next));
            }
            let (weekday, next) = self.weekday(next, true)?;
            return Some((next_one(weekday)?, next));
        }
        // "the sun" is no Sunday.
        let is_led = at > 0 && lexed.is(at - 1, Term::On).is_some();
        let (weekday, next) = self.weekday(at, is_led)?;
        if let Some(behind) = self.week_after(next) {
            return Some((Day::On(self.of_next_week(weekday)?), behind));
        }
        if let Some(behind) = lexed.is(next, Term::Next) {
            return Some((next_one(weekday)?, behind));
        }
        // "Freitag in einer Woche"
        if let Some((span, behind)) = lexed.is(next, Term::In).and_then(|next| self.span(next))
            && let Some(date) = after(self.coming(weekday), span)
        {
            return Some((Day::On(date), behind));
        }
        let is_article = at > 0 && lexed.tokens[at - 1].folded == "le" && lexed.is(at - 1, Term::On).is_some();
        if is_article && !self.is_led_twice(at - 1) {
            return Some((Day::Maybe(weekday, self.coming(weekday)), next));
        }
        if weekday == self.today.weekday() {
            return Some((Day::either(Doubt::TodayOrLater, self.today, self.coming(weekday)), next));
        }
        Some((Day::On(self.coming(weekday)), next))
    }

    /// Whether the article at a place belongs to more words that lead to a day: "pour le", "d'ici le".
    fn is_led_twice(&self, at: usize) -> bool {
        let leads = |from: usize| {
            [Term::On, Term::Due, Term::Deadline, Term::Start]
                .iter()
                .any(|term| self.lexed.is(from, *term).is_some_and(|next| next >= at))
        };
        (1..=4).any(|back| at.checked_sub(back).is_some_and(leads))
    }

    /// "next week", also with what French puts around it.
    fn week_after(&self, at: usize) -> Option<usize> {
        let lexed = self.lexed;
        let at = lexed.past(lexed.past(at, Term::Of), Term::The);
        let before = lexed.is(at, Term::Next).and_then(|next| self.is_unit(next, Unit::Week));
        before.or_else(|| self.is_unit(at, Unit::Week).and_then(|next| lexed.is(next, Term::Next)))
    }

    fn is_unit(&self, at: usize, unit: Unit) -> Option<usize> {
        self.unit(at).filter(|(found, _)| *found == unit).map(|(_, next)| next)
    }

    /// "next week": its Monday; "next month", "next year": their first day.
    fn next_unit(&self, at: usize) -> Option<(Date, usize)> {
        let lexed = self.lexed;
        let from = lexed.past(at, Term::The);
        let before = lexed.is(from, Term::Next).and_then(|next| self.unit(next));
        let (unit, next) = before.or_else(|| {
            // "le mois prochain"
            let from = lexed.past(from, Term::On);
            let (unit, next) = self.unit(from)?;
            Some((unit, lexed.is(next, Term::Next)?))
        })?;
        let date = match unit {
            Unit::Week => self.of_next_week(Weekday::Monday)?,
            Unit::Month => after(self.today.first_of_month(), 1.months())?,
            Unit::Year => after(self.today.first_of_year(), 1.years())?,
            _ => return None,
        };
        Some((date, next))
    }

    /// "the 15th", "am 15.", "le 15": the next one.
    fn day_of_month(&self, at: usize) -> Option<(Date, usize)> {
        let lexed = self.lexed;
        let is_led = at > 0 && (lexed.is(at - 1, Term::On).is_some() || lexed.is(at - 1, Term::The).is_some());
        let from = lexed.past(at, Term::The);
        if !is_led && from == at {
            return None;
        }
        let (day, next, is_ordinal) = self.day_number(from)?;
        let is_end = next >= lexed.len() || !lexed.is_word(next) && lexed.digits(next).is_none();
        let is_time = lexed.glued_mark(next, ":").is_some() || lexed.glued_mark(next, "/").is_some();
        // "le 15" without more, and "the 15th": but not "the first step".
        let is_figure = lexed.digits(from).is_some();
        let is_french = self.context.languages.contains(&Language::French) && lexed.is(next, Term::At).is_some();
        if is_time || !is_figure || !(is_ordinal || is_end || is_french) {
            return None;
        }
        // "on the 2nd floor" is no day; where nothing or something known follows, it is one.
        let is_noun = lexed.is_word(next) && !lexed.has_terms(next);
        if is_noun {
            return None;
        }
        let found = self.first_of(&format!("FREQ=MONTHLY;BYMONTHDAY={day}"), self.today)?;
        Some((found, next))
    }

    /// "KW 12": the Monday of the calendar week, of this year or the next.
    fn calendar_week(&self, at: usize) -> Option<(Date, usize)> {
        let lexed = self.lexed;
        let (week, _, next) = lexed.digits(lexed.is(at, Term::CalendarWeek)?)?;
        let week = i8::try_from(week).ok()?;
        let monday = |year| jiff::civil::ISOWeekDate::new(year, week, Weekday::Monday).ok().map(|week| week.date());
        let now = self.today.iso_week_date();
        let year = if week < now.week() { now.year() + 1 } else { now.year() };
        Some((monday(year)?, next))
    }

    /// A weekday. Short names that are words of their own count where something around says so.
    pub(super) fn weekday(&self, at: usize, is_led: bool) -> Option<(Weekday, usize)> {
        let lexed = self.lexed;
        if let Some((weekday, next)) =
            lexed.term(at, |term| if let Term::Weekday(weekday) = term { Some(weekday) } else { None })
        {
            // "Monday's list"
            let is_owner = lexed.glued_mark(next, "'").or_else(|| lexed.glued_mark(next, "\u{2019}")).is_some();
            return (!is_owner).then_some((weekday, next));
        }
        let short = |term| if let Term::Short(weekday, is_word) = term { Some((weekday, is_word)) } else { None };
        let ((weekday, is_word), next) = lexed.term(at, short)?;
        let token = &lexed.tokens[at];
        let is_capital = token.text.starts_with(char::is_uppercase);
        if token.text.len() == 2 && !is_capital {
            return None;
        }
        let dot = lexed.glued_mark(next, ".");
        let behind = dot.unwrap_or(next);
        let is_before_time = lexed.digits(behind).is_some() || lexed.is(behind, Term::At).is_some();
        let is_abbreviated = dot.is_some_and(|dot| dot < lexed.len()) || lexed.mark(next, ",").is_some();
        let is_last = behind >= lexed.len();
        let is_meant = is_led || is_before_time || is_abbreviated || is_last && !is_word;
        // "So 9 Dinge": at the very beginning two letters are no day.
        let is_at_begin = at == 0 && token.text.len() == 2 && !is_led;
        (is_meant && !is_at_begin).then_some((weekday, behind))
    }

    /// The part of the day that a German word has beside its weekday.
    pub(super) fn part_in(&self, at: usize) -> Option<words::Daypart> {
        let is_german = self.context.languages.contains(&Language::German);
        words::compound_parts(self.lexed.word(at).filter(|_| is_german)?).map(|(_, part)| part)
    }

    /// The first such weekday after today.
    pub(super) fn coming(&self, weekday: Weekday) -> Date {
        let days = match self.today.weekday().until(weekday) {
            0 => 7,
            days => i64::from(days),
        };
        after(self.today, days.days()).unwrap_or(self.today)
    }

    fn of_next_week(&self, weekday: Weekday) -> Option<Date> {
        let into = i64::from(self.today.weekday().to_monday_zero_offset());
        after(self.today, (7 - into + i64::from(weekday.to_monday_zero_offset())).days())
    }

    /// The next day of a month and a number, from today on.
    fn coming_date(&self, month: u32, day: u32) -> Option<Date> {
        let year = u32::try_from(self.today.year()).ok()?;
        // Leap days are up to eight years apart.
        (year..=year + 8).filter_map(|year| date(year, month, day)).find(|date| *date >= self.today)
    }
}

fn date(year: u32, month: u32, day: u32) -> Option<Date> {
    let date = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    (1..=9997).contains(&date.year()).then_some(date)
}

fn full_year(year: u32, digits: usize) -> u32 {
    if digits == 2 { 2000 + year } else { year }
}
