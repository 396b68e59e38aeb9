//! How something repeats, in words.

use jiff::civil::{Date, Weekday};

use super::words::{Daypart, Term, Unit};
use super::{Anchor, Reader};
use crate::recur::{Frequency, Rule, Series, Start};

/// A recurrence that was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Every {
    /// Rules it may mean, as text; the doubtful case is more than one.
    pub(super) rules: Vec<String>,
    pub(super) anchor: Anchor,
    pub(super) part: Option<Daypart>,
    /// The words may also belong to the title.
    pub(super) is_maybe: bool,
}

impl Every {
    fn one(rule: String) -> Self {
        Self { rules: vec![rule], anchor: Anchor::Schedule, part: None, is_maybe: false }
    }
}

const WORKDAYS: &str = "MO,TU,WE,TH,FR";

pub(super) fn code(weekday: Weekday) -> &'static str {
    ["MO", "TU", "WE", "TH", "FR", "SA", "SU"][usize::from(weekday.to_monday_zero_offset().unsigned_abs()) % 7]
}

fn codes(days: &[Weekday]) -> String {
    days.iter().map(|day| code(*day)).collect::<Vec<_>>().join(",")
}

/// A rule of units: `every(2, Week)`.
fn every(number: u32, unit: Unit) -> String {
    let (frequency, number) = match unit {
        Unit::Minute => ("MINUTELY", number),
        Unit::Hour => ("HOURLY", number),
        Unit::Day => ("DAILY", number),
        Unit::Week => ("WEEKLY", number),
        Unit::Month => ("MONTHLY", number),
        Unit::Quarter => ("MONTHLY", number.saturating_mul(3)),
        Unit::Year => ("YEARLY", number),
    };
    if number == 1 { format!("FREQ={frequency}") } else { format!("FREQ={frequency};INTERVAL={number}") }
}

impl Reader<'_> {
    /// How something repeats, and the place behind it.
    pub(super) fn repeat(&self, at: usize) -> Option<(Every, usize)> {
        self.rule_text(at)
            .or_else(|| self.every_something(at))
            .or_else(|| self.often(at))
            .or_else(|| self.of_every_month(at))
            .or_else(|| self.on_weekdays(at))
            .or_else(|| self.one_in_two(at))
            .or_else(|| self.after_done(at))
            .filter(|(every, _)| every.rules.iter().all(|rule| Rule::parse(rule).is_ok()))
    }

    /// A rule as RFC 5545 writes it, which is how choices are told; `!` behind it counts from completion.
    fn rule_text(&self, at: usize) -> Option<(Every, usize)> {
        let lexed = self.lexed;
        lexed.word(at).filter(|word| *word == "freq")?;
        lexed.glued_mark(at + 1, "=")?;
        let is_of_rule = |next: &usize| {
            let token = &lexed.tokens[*next];
            token.is_glued
                && (token.text.chars().all(char::is_alphanumeric) || matches!(token.text, "=" | ";" | "," | "-"))
        };
        let next = (at + 1..lexed.len()).take_while(is_of_rule).last()? + 1;
        let rule = Rule::parse(&lexed.text[lexed.tokens[at].from..lexed.tokens[next - 1].to]).ok()?;
        let mut found = Every::one(rule.to_string());
        let behind = lexed.glued_mark(next, "!");
        if behind.is_some() {
            found.anchor = Anchor::Completion;
        }
        Some((found, behind.unwrap_or(next)))
    }

    fn every_something(&self, at: usize) -> Option<(Every, usize)> {
        let lexed = self.lexed;
        let next = lexed.is(at, Term::Every)?;
        let done = lexed.glued_mark(next, "!");
        let next = done.unwrap_or(next);
        let (mut found, next) = self
            .every_part(next)
            .or_else(|| self.every_other(next))
            .or_else(|| self.every_nth(next))
            .or_else(|| self.every_amount(next))
            .or_else(|| self.every_day(next))?;
        if done.is_some() {
            found.anchor = Anchor::Completion;
        }
        Some((found, next))
    }

    /// "every morning", "every workday".
    fn every_part(&self, at: usize) -> Option<(Every, usize)> {
        if let Some(next) = self.lexed.is(at, Term::Workday) {
            return Some((Every::one(format!("FREQ=WEEKLY;BYDAY={WORKDAYS}")), next));
        }
        let part = |term| if let Term::Part(part) = term { Some(part) } else { None };
        let (part, next) = self.lexed.term(at, part)?;
        Some((Every { part: Some(part), ..Every::one(every(1, Unit::Day)) }, next))
    }

    /// "every other week", "every other Tuesday".
    fn every_other(&self, at: usize) -> Option<(Every, usize)> {
        let next = self.lexed.is(at, Term::Other)?;
        if let Some((unit, next)) = self.unit(next) {
            return self.with_days(2, unit, next);
        }
        let (days, next) = self.weekdays(next)?;
        Some((Every::one(format!("FREQ=WEEKLY;INTERVAL=2;BYDAY={}", codes(&days))), next))
    }

    /// "every second day", "every last Friday", "every 15th", "every 2nd Tuesday".
    fn every_nth(&self, at: usize) -> Option<(Every, usize)> {
        let lexed = self.lexed;
        if let Some((month, day, next)) = self.month_day(at) {
            return Some((Every::one(format!("FREQ=YEARLY;BYMONTH={month};BYMONTHDAY={day}")), next));
        }
        let (nth, next) = self.ordinal(at)?;
        let is_of_month = |next| lexed.is(next, Term::OfMonth).or_else(|| lexed.is(next, Term::OfEveryMonth));
        if let Some((unit, next)) = self.unit(next)
            && !(unit == Unit::Day && (nth < 2 || is_of_month(next).is_some()))
        {
            return self.with_days(u32::try_from(nth).ok()?, unit, next);
        }
        if let Some((rule, behind)) = self.nth_in_month(at) {
            let of_month = is_of_month(behind);
            let monthly = format!("FREQ=MONTHLY{rule}");
            // "every second Tuesday" can be every other one.
            if let (2.., None, Some((weekday, _))) = (nth, of_month, self.weekday(next, true)) {
                let weekly = format!("FREQ=WEEKLY;INTERVAL={nth};BYDAY={}", code(weekday));
                return Some((Every { rules: vec![weekly, monthly], ..Every::one(String::new()) }, behind));
            }
            return Some((Every::one(monthly), of_month.unwrap_or(behind)));
        }
        let (days, next) = self.month_days(at)?;
        Some((Every::one(format!("FREQ=MONTHLY;BYMONTHDAY={days}")), is_of_month(next).unwrap_or(next)))
    }

    /// "every 3 days", "every week", each with its days.
    fn every_amount(&self, at: usize) -> Option<(Every, usize)> {
        let (number, next) = self.lexed.number(at).filter(|(_, next)| self.unit(*next).is_some()).unwrap_or((1, at));
        let (unit, next) = self.unit(next)?;
        (number > 0).then(|| self.with_days(number, unit, next))?
    }

    fn every_day(&self, at: usize) -> Option<(Every, usize)> {
        let lexed = self.lexed;
        if let Some(next) = lexed.is(at, Term::Weekend) {
            return Some((Every::one("FREQ=WEEKLY;BYDAY=SA".to_owned()), next));
        }
        let (days, next) = self.weekdays(at)?;
        Some((Every::one(format!("FREQ=WEEKLY;BYDAY={}", codes(&days))), next))
    }

    /// So many units, and on which of their days.
    fn with_days(&self, number: u32, unit: Unit, next: usize) -> Option<(Every, usize)> {
        let lexed = self.lexed;
        let plain = every(number, unit);
        let on = lexed.past(lexed.past(next, Term::On), Term::The);
        let is_led = on > next;
        let by = match unit {
            Unit::Week => self.weekdays(on).map(|(days, next)| (format!(";BYDAY={}", codes(&days)), next)),
            Unit::Month | Unit::Quarter if is_led => self.nth_in_month(on).or_else(|| {
                let (days, next) = self.month_days(on)?;
                let is_time = lexed.glued_mark(next, ":").is_some() || lexed.is(next, Term::Hours).is_some();
                (!is_time).then(|| (format!(";BYMONTHDAY={days}"), next))
            }),
            Unit::Year if is_led => {
                self.month_day(on).map(|(month, day, next)| (format!(";BYMONTH={month};BYMONTHDAY={day}"), next))
            }
            _ => None,
        };
        let (by, next) = by.unwrap_or((String::new(), next));
        Some((Every::one(plain + &by), next))
    }

    /// "daily", "biweekly". Before a noun it may only describe it.
    fn often(&self, at: usize) -> Option<(Every, usize)> {
        let lexed = self.lexed;
        let is_noun = |next: usize| lexed.is_word(next) && !lexed.has_terms(next);
        if let Some((unit, next)) = lexed.term(at, |term| if let Term::Twice(unit) = term { Some(unit) } else { None })
        {
            let twice = match unit {
                Unit::Week => "FREQ=WEEKLY;BYDAY=MO,TH",
                _ => "FREQ=MONTHLY;BYMONTHDAY=1,15",
            };
            let rules = vec![every(2, unit), twice.to_owned()];
            return Some((Every { rules, is_maybe: is_noun(next), ..Every::one(String::new()) }, next));
        }
        let often = |term| if let Term::Often(frequency, interval) = term { Some((frequency, interval)) } else { None };
        let ((frequency, number), next) = lexed.term(at, often)?;
        let unit = match frequency {
            Frequency::Minutely => Unit::Minute,
            Frequency::Hourly => Unit::Hour,
            Frequency::Daily => Unit::Day,
            Frequency::Weekly => Unit::Week,
            Frequency::Monthly => Unit::Month,
            Frequency::Yearly => Unit::Year,
        };
        // "rapport hebdomadaire": French puts the adjective behind its noun.
        let token = &lexed.tokens[at].folded;
        let is_adjective = ["quotidien", "hebdomadaire", "mensuel", "trimestriel", "annuel"].contains(&token.as_str())
            && at > 0
            && lexed.is_word(at - 1)
            && !lexed.has_terms(at - 1);
        let (mut found, behind) = self.with_days(number, unit, next)?;
        found.is_maybe = is_noun(next) || is_adjective;
        Some((found, behind))
    }

    /// "on the 15th of every month", "le dernier vendredi de chaque mois".
    fn of_every_month(&self, at: usize) -> Option<(Every, usize)> {
        let lexed = self.lexed;
        let from = lexed.past(lexed.past(at, Term::On), Term::The);
        let (by, next) = self.nth_in_month(from).or_else(|| {
            let (days, next) = self.month_days(from)?;
            Some((format!(";BYMONTHDAY={days}"), next))
        })?;
        Some((Every::one(format!("FREQ=MONTHLY{by}")), lexed.is(next, Term::OfEveryMonth)?))
    }

    /// "on Mondays and Thursdays", "montags", "les lundis".
    fn on_weekdays(&self, at: usize) -> Option<(Every, usize)> {
        let lexed = self.lexed;
        let from = lexed.past(lexed.past(at, Term::On), Term::The);
        lexed.term(from, |term| if let Term::Weekdays(day) = term { Some(day) } else { None })?;
        let (days, next) = self.weekdays(from)?;
        Some((Every::one(format!("FREQ=WEEKLY;BYDAY={}", codes(&days))), next))
    }

    /// "un mardi sur deux".
    fn one_in_two(&self, at: usize) -> Option<(Every, usize)> {
        let (1, next) = self.lexed.number(at)? else { return None };
        let (day, next) = self.weekday(next, true)?;
        let next = self.lexed.is(next, Term::OnTwo)?;
        Some((Every::one(format!("FREQ=WEEKLY;INTERVAL=2;BYDAY={}", code(day))), next))
    }

    /// "3 days after completion".
    fn after_done(&self, at: usize) -> Option<(Every, usize)> {
        let (number, next) = self.lexed.number(at)?;
        let (unit, next) = self.unit(next)?;
        let next = self.lexed.is(next, Term::AfterDone)?;
        (number > 0).then(|| (Every { anchor: Anchor::Completion, ..Every::one(every(number, unit)) }, next))
    }

    /// A place among the days of a month as parts of a rule: "last Friday", "first day", "last workday".
    pub(super) fn nth_in_month(&self, at: usize) -> Option<(String, usize)> {
        let (nth, next) = self.ordinal(at)?;
        if let Some(next) = self.lexed.is(next, Term::Workday) {
            return Some((format!(";BYDAY={WORKDAYS};BYSETPOS={nth}"), next));
        }
        if let Some((Unit::Day, next)) = self.unit(next) {
            return Some((format!(";BYMONTHDAY={nth}"), next));
        }
        let weekdays = |term| if let Term::Weekdays(day) = term { Some(day) } else { None };
        let (day, next) = self.weekday(next, true).or_else(|| self.lexed.term(next, weekdays))?;
        (-5..=5).contains(&nth).then(|| (format!(";BYDAY={nth}{}", code(day)), next))
    }

    /// A place from the begin or, below zero, from the end.
    fn ordinal(&self, at: usize) -> Option<(i16, usize)> {
        let ordinal = |term| if let Term::Ordinal(ordinal) = term { Some(ordinal) } else { None };
        self.lexed.term(at, ordinal).or_else(|| {
            let (number, next, is_ordinal) = self.day_number(at)?;
            is_ordinal.then_some((i16::from(number), next))
        })
    }

    /// "15th", "1st and 15th", "15" behind an article: days of a month, as a list.
    fn month_days(&self, at: usize) -> Option<(String, usize)> {
        let lexed = self.lexed;
        let one = |at: usize| {
            let at = lexed.past(at, Term::The);
            let (day, next, is_ordinal) = self.day_number(at)?;
            let is_led = at > 0 && (lexed.is(at - 1, Term::On).is_some() || lexed.is(at - 1, Term::The).is_some());
            let is_led = is_led || at > 1 && lexed.is(at - 2, Term::On) == Some(at);
            let is_time = [":", "/"].iter().any(|mark| lexed.glued_mark(next, mark).is_some());
            ((is_ordinal || is_led) && !is_time && lexed.digits(at).is_some()).then_some((day, next))
        };
        let (first, mut next) = one(at)?;
        let mut days = first.to_string();
        for _ in 0..31 {
            let behind = lexed.is(next, Term::And).or_else(|| lexed.mark(next, ","));
            let Some((day, behind)) = behind.and_then(&one) else { break };
            days = format!("{days},{day}");
            next = behind;
        }
        Some((days, next))
    }

    /// One weekday or several: "mon, wed and fri", "monday to friday".
    fn weekdays(&self, at: usize) -> Option<(Vec<Weekday>, usize)> {
        let lexed = self.lexed;
        let one = |at: usize| {
            let at = lexed.past(lexed.past(at, Term::On), Term::The);
            let many = |term| if let Term::Weekdays(day) = term { Some(day) } else { None };
            self.weekday(at, true).or_else(|| lexed.term(at, many))
        };
        let (first, mut next) = one(at)?;
        let range =
            ["-", "\u{2013}"].iter().find_map(|mark| lexed.mark(next, mark)).or_else(|| lexed.is(next, Term::To));
        if let Some((last, behind)) = range.and_then(one) {
            let days = (0..=first.until(last)).map(|days| first.wrapping_add(days)).collect();
            return Some((days, behind));
        }
        let mut days = vec![first];
        for _ in 0..7 {
            let comma = lexed.mark(next, ",").map(|next| lexed.past(next, Term::And));
            let join = comma.or_else(|| lexed.is(next, Term::And)).or_else(|| lexed.mark(next, "&"));
            let join = join.or_else(|| lexed.mark(next, "/"));
            let Some((day, behind)) = join.and_then(one) else { break };
            if !days.contains(&day) {
                days.push(day);
            }
            next = behind;
        }
        Some((days, next))
    }

    /// The first day of a rule from a day on.
    pub(super) fn first_of(&self, rule: &str, from: Date) -> Option<Date> {
        let series =
            Series::new(Rule::parse(rule).ok()?, Start::Floating(from.at(0, 0, 0, 0)), Default::default()).ok()?;
        series.occurrences().next().map(|one| one.wall.date())
    }
}
