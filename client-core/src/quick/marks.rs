//! Tags, lists, priorities, lengths of time and reminders.

use super::Reader;
use super::words::{Term, Unit};

impl Reader<'_> {
    /// The place behind a piece in quotation marks that begins here.
    pub(super) fn quoted(&self, at: usize) -> Option<usize> {
        let lexed = self.lexed;
        let close = [("\"", "\""), ("\u{201e}", "\u{201c}"), ("\u{201c}", "\u{201d}"), ("\u{ab}", "\u{bb}")]
            .into_iter()
            .find_map(|(open, close)| lexed.mark(at, open).map(|_| close))?;
        // One that is not closed is a mark like any other; how far is looked is bounded.
        (at + 1..lexed.len().min(at + 400)).find_map(|next| lexed.mark(next, close))
    }

    /// `#tag`, `~list`: a name behind its mark, which stands at the beginning of a word. A number alone is none.
    pub(super) fn named(&self, at: usize, mark: &str) -> Option<(String, usize)> {
        let lexed = self.lexed;
        if lexed.is_glued(at) {
            return None;
        }
        let first = lexed.mark(at, mark)?;
        if !lexed.is_glued(first) {
            return None;
        }
        if let Some(close) = self.quoted(first) {
            let (from, to) = (lexed.tokens[first].to, lexed.tokens[close - 1].from);
            let name = lexed.text[from..to].trim();
            return (!name.is_empty()).then(|| (name.to_owned(), close));
        }
        let is_of_name = |at: &usize| {
            let token = &lexed.tokens[*at];
            token.is_glued && (token.text.chars().all(char::is_alphanumeric) || matches!(token.text, "-" | "_" | "/"))
        };
        let mut next = (first..lexed.len()).take_while(is_of_name).last()? + 1;
        while next > first && !lexed.tokens[next - 1].text.chars().all(char::is_alphanumeric) {
            next -= 1;
        }
        let name = lexed.tokens[first].from..lexed.tokens.get(next.checked_sub(1)?)?.to;
        let name = lexed.text.get(name)?;
        name.contains(char::is_alphabetic).then(|| (name.to_owned(), next))
    }

    /// `!1`, `p1`, `!!!`.
    pub(super) fn priority(&self, at: usize) -> Option<(u8, usize)> {
        let lexed = self.lexed;
        if lexed.is_glued(at) {
            return None;
        }
        let digit = |at: usize| {
            let (number @ 1..=4, 1, next) = lexed.digits(at).filter(|_| lexed.is_glued(at))? else { return None };
            let is_end = !lexed.is_glued(next) || [",", ".", ";"].iter().any(|mark| lexed.mark(next, mark).is_some());
            is_end.then_some((u8::try_from(number).ok()?, next))
        };
        if lexed.word(at) == Some("p") {
            return digit(at + 1);
        }
        let next = lexed.mark(at, "!")?;
        if let Some(found) = digit(next) {
            return Some(found);
        }
        let count = (at..lexed.len().min(at + 4)).take_while(|at| lexed.mark(*at, "!").is_some()).count();
        let next = at + count;
        // Three of them are the highest; words behind them without a space are somebody's emphasis.
        let priority = [3, 2, 1].get(count - 1).copied()?;
        (!lexed.is_glued(next)).then_some((priority, next))
    }

    /// Minutes: "90 min", "1h30", "1.5 hours", "1 hour 15 minutes".
    pub(super) fn minutes(&self, at: usize) -> Option<(u32, usize)> {
        let lexed = self.lexed;
        if let Some(found) = lexed.term(at, |term| if let Term::Minutes(minutes) = term { Some(minutes) } else { None })
        {
            return Some(found);
        }
        let (number, next) = lexed.number(at)?;
        let tenths = [".", ","].iter().find_map(|mark| lexed.glued_mark(next, mark)).filter(|at| lexed.is_glued(*at));
        if let Some((tenth, 1, next)) = tenths.and_then(|at| lexed.digits(at)) {
            let (Unit::Hour, next) = self.unit(next)? else { return None };
            return Some((number.checked_mul(60)?.checked_add(tenth * 6)?, next));
        }
        match self.unit(next)? {
            (Unit::Minute, next) => Some((number, next)),
            (Unit::Hour, next) => {
                let hours = number.checked_mul(60)?;
                if let Some((rest, 2, behind)) = lexed.digits(next).filter(|_| lexed.is_glued(next)) {
                    return Some((hours.checked_add(rest)?, behind));
                }
                let and = lexed.past(next, Term::And);
                if let Some((rest, behind)) = lexed.number(and)
                    && let Some((Unit::Minute, behind)) = self.unit(behind)
                {
                    return Some((hours.checked_add(rest)?, behind));
                }
                Some((hours, next))
            }
            _ => None,
        }
    }

    /// As [`Self::minutes`], and days and weeks.
    fn long_minutes(&self, at: usize) -> Option<(u32, usize)> {
        self.minutes(at).or_else(|| {
            let (number, next) = self.lexed.number(at)?;
            let (unit, next) = self.unit(next)?;
            let minutes = match unit {
                Unit::Day => 24 * 60,
                Unit::Week => 7 * 24 * 60,
                _ => return None,
            };
            Some((number.checked_mul(minutes)?, next))
        })
    }

    /// "10 minutes before", "1 day and 1 hour before": minutes, and the place behind.
    pub(super) fn before(&self, at: usize) -> Option<(Vec<u32>, usize)> {
        let lexed = self.lexed;
        let (first, mut next) = self.long_minutes(at)?;
        let mut found = vec![first];
        for _ in 0..8 {
            let and = lexed.is(next, Term::And).or_else(|| lexed.mark(next, ","));
            let Some((minutes, behind)) = and.and_then(|at| self.long_minutes(at)) else { break };
            found.push(minutes);
            next = behind;
        }
        Some((found, lexed.is(next, Term::Advance)?))
    }
}
