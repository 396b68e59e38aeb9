//! Reads a line from left to right into pieces.

use jiff::{Span, ToSpan as _};

use super::Reader;
use super::day::Day;
use super::repeat::Every;
use super::time::Clock;
use super::words::{Daypart, Term};

/// What a day or time is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Due,
    /// When it is due, with "before".
    Before,
    Start,
    Deadline,
    /// The end of a recurrence; without one, when it is due.
    Until,
    Reminder,
}

/// A piece that was understood.
#[derive(Debug, Clone)]
pub(super) enum What {
    Day(Role, Day),
    Clock(Role, Clock),
    Part(Role, Daypart),
    /// Two times.
    Range(Role, jiff::civil::Time, jiff::civil::Time),
    /// So many minutes from now.
    FromNow(Role, u32),
    Zone(Role, String),
    Repeat(Every),
    AfterDone,
    Times(u32),
    Lasting(Span),
    Priority(u8),
    Tag(String),
    List(String),
    Minutes(u32),
    Before(Vec<u32>),
    Filler,
}

/// A piece and its tokens: with the words that lead to it, and without.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) what: What,
    pub(super) from: usize,
    pub(super) core: usize,
    pub(super) to: usize,
}

impl What {
    /// Of what a day or time right behind this one is.
    const fn role(&self) -> Option<Role> {
        match self {
            Self::Day(role, _) | Self::Clock(role, _) | Self::Part(role, _) | Self::Range(role, ..) => Some(*role),
            Self::FromNow(role, _) | Self::Zone(role, _) => Some(*role),
            Self::Repeat(_) => Some(Role::Due),
            _ => None,
        }
    }
}

impl Reader<'_> {
    /// The pieces of the line, by where they stand.
    pub(super) fn scan(&self) -> Vec<Item> {
        let lexed = self.lexed;
        let mut items: Vec<Item> = Vec::new();
        let (mut at, mut role) = (0, None);
        while at < lexed.len() {
            if let Some(next) = self.quoted(at) {
                (at, role) = (next, None);
                continue;
            }
            let Some(item) = self.item(at, role) else {
                (at, role) = (at + 1, None);
                continue;
            };
            // A comma before a piece is part of nothing.
            let is_free = items.last().is_none_or(|last| last.to < at);
            if is_free && let Some(comma) = at.checked_sub(1).filter(|comma| lexed.mark(*comma, ",").is_some()) {
                items.push(Item { what: What::Filler, from: comma, core: comma, to: at });
            }
            at = item.to;
            // "before noon on Friday": only what stands right behind the word is meant by it.
            role = item.what.role().map(|role| if role == Role::Before { Role::Due } else { role });
            // "remind me tomorrow to call": the "to" is one of the words around what is to be done.
            let is_asked = items
                .first()
                .is_some_and(|first| lexed.is(first.from, Term::Remind) == Some(first.to) && first.from == 0);
            if let Some(to) = lexed.is(at, Term::To).filter(|_| is_asked && lexed.word(at) == Some("to")) {
                items.push(item);
                items.push(Item { what: What::Filler, from: at, core: at, to });
                at = to;
                continue;
            }
            let is_reminder = matches!(item.what, What::Filler) && lexed.is(item.from, Term::Remind) == Some(at);
            if is_reminder && item.from > 0 {
                role = Some(Role::Reminder);
            }
            items.push(item);
            if let Some(mark) = [",", ";", "."].iter().find_map(|mark| lexed.glued_mark(at, mark)) {
                items.push(Item { what: What::Filler, from: at, core: at, to: mark });
                at = mark;
            }
        }
        items
    }

    fn item(&self, at: usize, carried: Option<Role>) -> Option<Item> {
        let lexed = self.lexed;
        let plain = |what, to| Some(Item { what, from: at, core: at, to });
        if let Some((every, next)) = self.repeat(at) {
            return plain(What::Repeat(every), next);
        }
        if let Some((name, next)) = self.named(at, "#") {
            return plain(What::Tag(name), next);
        }
        if let Some((name, next)) = self.named(at, "~") {
            return plain(What::List(name), next);
        }
        if let Some((priority, next)) = self.priority(at) {
            return plain(What::Priority(priority), next);
        }
        if let Some(next) = lexed.is(at, Term::RemindTo).filter(|_| at == 0) {
            return plain(What::Filler, next);
        }
        if let Some(next) = lexed.is(at, Term::Remind) {
            return match self.before(next) {
                Some((minutes, next)) => plain(What::Before(minutes), next),
                None if self.lead(next, Some(Role::Reminder)).is_some() || at == 0 => plain(What::Filler, next),
                None => None,
            };
        }
        // "10 Minuten vorher erinnern"
        if let Some((minutes, next)) = self.before(at)
            && lexed.word(next) == Some("erinnern")
        {
            return plain(What::Before(minutes), next + 1);
        }
        if let Some(next) = lexed.is(at, Term::For) {
            if let Some((minutes, next)) = self.minutes(next) {
                return plain(What::Minutes(minutes), next);
            }
            if let Some((span, next)) = self.span(next) {
                return plain(What::Lasting(span), next);
            }
        }
        if let Some(next) = lexed.is(at, Term::AfterDone) {
            return plain(What::AfterDone, next);
        }
        if let Some((number, next)) = lexed.number(at)
            && let Some(next) = lexed.is(next, Term::Times)
            && !(lexed.is(next, Term::Per).is_some() || lexed.is(next, Term::Number(1)).is_some())
        {
            return plain(What::Times(number), next);
        }
        self.lead(at, carried)
    }

    /// A day or time with the words that lead to it.
    fn lead(&self, at: usize, carried: Option<Role>) -> Option<Item> {
        let lexed = self.lexed;
        if let Some(role) = carried
            && let Some(what) = self.moment(at, role, true)
        {
            return Some(Item { what: what.0, from: at, core: at, to: what.1 });
        }
        for (term, role) in [
            (Term::Due, Role::Due),
            (Term::Deadline, Role::Deadline),
            (Term::Start, Role::Start),
            (Term::Until, Role::Until),
            (Term::Before, Role::Before),
            (Term::On, carried.unwrap_or(Role::Due)),
            (Term::From, Role::Start),
        ] {
            let Some(first) = lexed.is(at, term) else { continue };
            let first = if term == Term::On { first } else { lexed.past(first, Term::On) };
            if let Some((what, to)) = self.moment(first, role, false) {
                let is_range = matches!(what, What::Range(..));
                // "from 3 to 5 pm" is a range, and "from Monday" a beginning; "from 5 pm" of something unknown is none.
                if term == Term::From && !is_range && !matches!(what, What::Day(..)) {
                    continue;
                }
                return Some(Item { what, from: at, core: first, to });
            }
        }
        let role = carried.unwrap_or(Role::Due);
        let (what, to) = self.moment(at, role, false)?;
        Some(Item { what, from: at, core: at, to })
    }

    /// A range, a time, a part of a day, a day or a zone.
    fn moment(&self, at: usize, role: Role, is_behind: bool) -> Option<(What, usize)> {
        let lexed = self.lexed;
        if is_behind && let Some((zone, next)) = self.zone(at) {
            return Some((What::Zone(role, zone), next));
        }
        if let Some((begin, end, next)) = self.clock_range(at) {
            let role = if matches!(role, Role::Until) { Role::Due } else { role };
            return Some((What::Range(role, begin, end), next));
        }
        // "Montagabend": the day, and its part as the piece behind it, is one word.
        if let Some((minutes, next)) = lexed.is(at, Term::In).and_then(|next| self.minutes(next)) {
            return Some((What::FromNow(role, minutes), next));
        }
        if let Some((part, next)) = self.part(at, is_behind) {
            return Some((What::Part(role, part), next));
        }
        if let Some((clock, next)) = self.clock(at).filter(|_| !self.is_dated(at)) {
            return Some((What::Clock(role, clock), next));
        }
        self.day(at).map(|(day, next)| (What::Day(role, day), next))
    }

    /// Whether figures are a date where they could be a time: `12.30.` is none, `4.3.2026` is.
    fn is_dated(&self, at: usize) -> bool {
        self.lexed.digits(at).is_some() && self.day(at).is_some_and(|(_, next)| next > at + 3)
    }
}

/// A day before another.
pub(super) fn day_before(date: jiff::civil::Date) -> jiff::civil::Date {
    date.checked_sub(1.days()).unwrap_or(date)
}
