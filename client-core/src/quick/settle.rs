//! Puts the pieces of a line together, or asks.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, ToSpan as _};

use super::day::Day;
use super::question::{Doubt, Question};
use super::repeat::{Every, code};
use super::scan::{Item, Role, What, day_before};
use super::time::Clock;
use super::words::{Daypart, Term};
use super::{Anchor, Kind, Parsed, Part, Reader, Reading, Reminder, Repeat, When};
use crate::recur::{Language, Rule, Series, Start};

/// What was found of one role.
#[derive(Debug, Default, Clone)]
struct Moment {
    day: Option<Date>,
    time: Option<Time>,
    /// The time is that of a part of the day, not one that was said.
    is_of_part: bool,
    zone: Option<String>,
    from_now: Option<u32>,
}

pub(super) fn settle(reader: &Reader<'_>, items: Vec<Item>) -> Reading {
    let items = with_meaning(items);
    match doubt(reader, &items) {
        Some(question) => Reading::Ambiguous(question),
        None => Reading::Clear(Box::new(parsed(reader, &items))),
    }
}

/// Without what only means something beside a recurrence; an "until" without one says when something is due.
fn with_meaning(items: Vec<Item>) -> Vec<Item> {
    let repeats = items.iter().any(|item| matches!(item.what, What::Repeat(_)));
    let of_role = |role: &mut Role| {
        if *role == Role::Until && !repeats {
            *role = Role::Due;
        }
    };
    let mut kept: Vec<Item> = Vec::with_capacity(items.len());
    for mut item in items {
        match &mut item.what {
            What::AfterDone | What::Times(_) | What::Lasting(_) if !repeats => continue,
            What::Day(role, _) | What::Clock(role, _) | What::Part(role, _) | What::Range(role, ..) => of_role(role),
            What::FromNow(role, _) | What::Zone(role, _) => of_role(role),
            _ => {}
        }
        kept.push(item);
    }
    kept
}

/// Whether two roles are of the same thing.
fn is_same(one: Role, other: Role) -> bool {
    let plain = |role| if role == Role::Before { Role::Due } else { role };
    plain(one) == plain(other)
}

fn has_day(what: &What, of: Role) -> bool {
    matches!(what, What::Day(role, _) | What::FromNow(role, _) if is_same(*role, of))
}

fn has_time(what: &What, of: Role) -> bool {
    matches!(what, What::Clock(role, _) | What::Range(role, ..) | What::FromNow(role, _) if is_same(*role, of))
}

/// The part of the day that something in the line says, of a role.
fn part_of(reader: &Reader<'_>, items: &[Item], of: Role) -> Option<Daypart> {
    items.iter().find_map(|item| match &item.what {
        What::Part(role, part) if is_same(*role, of) => Some(*part),
        What::Repeat(every) if is_same(of, Role::Due) => every.part,
        What::Day(role, _) if is_same(*role, of) => part_of_day(reader, item),
        _ => None,
    })
}

/// "tonight", "Montagabend".
fn part_of_day(reader: &Reader<'_>, item: &Item) -> Option<Daypart> {
    let is_tonight = reader.lexed.is(item.core, Term::Tonight).is_some();
    let evening = is_tonight.then_some(Daypart::Evening);
    evening.or_else(|| (item.core..item.to).find_map(|at| reader.part_in(at)))
}

/// The first thing that is not clear.
fn doubt(reader: &Reader<'_>, items: &[Item]) -> Option<Question> {
    items.iter().enumerate().find_map(|(at, item)| {
        let (before, item) = (&items[..at], item);
        match &item.what {
            What::Repeat(every) => doubt_of_repeat(reader, before, item, every),
            What::Day(role, day) => {
                let earlier = before.iter().find(|one| has_day(&one.what, *role));
                earlier
                    .map(|one| which_one(reader, one, item))
                    .or_else(|| doubt_of_day(reader, items, item, *role, day))
            }
            What::Clock(role, clock) => {
                let earlier = before.iter().find(|one| has_time(&one.what, *role));
                earlier.map(|one| which_one(reader, one, item)).or_else(|| {
                    let times = times(reader, items, *role, *clock);
                    let of_clock = |time: &Time| clear_clock(reader, *time);
                    (times.len() > 1).then(|| {
                        ask(reader, Doubt::WhichHalf, item.core, item.to, times.iter().map(of_clock).collect())
                    })
                })
            }
            What::Range(role, ..) | What::FromNow(role, _) => {
                let is_second =
                    |one: &&Item| has_time(&one.what, *role) || has_day(&item.what, *role) && has_day(&one.what, *role);
                before.iter().find(is_second).map(|one| which_one(reader, one, item))
            }
            _ => None,
        }
    })
}

fn ask(reader: &Reader<'_>, doubt: Doubt, from: usize, to: usize, instead: Vec<String>) -> Question {
    let lexed = reader.lexed;
    Question::new(doubt, lexed.text, lexed.tokens[from].from..lexed.tokens[to - 1].to, instead)
}

/// A time as figures that mean one thing only: where clocks have twelve hours, "10:30" does not.
fn clear_clock(reader: &Reader<'_>, time: Time) -> String {
    let is_12_hours = reader.context.languages.first() == Some(&Language::English);
    let half = if is_12_hours && matches!(time.hour(), 10 | 11) { " am" } else { "" };
    format!("{:02}:{:02}{half}", time.hour(), time.minute())
}

/// Text of some tokens in quotation marks, which is left alone.
fn quote(reader: &Reader<'_>, from: usize, to: usize) -> String {
    let lexed = reader.lexed;
    format!("\"{}\"", lexed.text[lexed.tokens[from].from..lexed.tokens[to - 1].to].replace('"', "'"))
}

/// Of two pieces that cannot both be meant, either is put into quotation marks.
fn which_one(reader: &Reader<'_>, one: &Item, other: &Item) -> Question {
    let lexed = reader.lexed;
    let between = &lexed.text[lexed.tokens[one.to - 1].to..lexed.tokens[other.from].from];
    let (first, second) = (one.from, other.from);
    let text = |item: &Item| lexed.text[lexed.tokens[item.from].from..lexed.tokens[item.to - 1].to].to_owned();
    let instead = vec![
        format!("{}{between}{}", text(one), quote(reader, second, other.to)),
        format!("{}{between}{}", quote(reader, first, one.to), text(other)),
    ];
    ask(reader, Doubt::WhichOne, one.from, other.to, instead)
}

fn doubt_of_repeat(reader: &Reader<'_>, before: &[Item], item: &Item, every: &Every) -> Option<Question> {
    if let Some(one) = before.iter().find(|one| matches!(one.what, What::Repeat(_))) {
        return Some(which_one(reader, one, item));
    }
    let done = if every.anchor == Anchor::Completion { "!" } else { "" };
    let mut instead: Vec<String> = every.rules.iter().map(|rule| format!("{rule}{done}")).collect();
    if every.is_maybe {
        instead.push(quote(reader, item.from, item.to));
        return Some(ask(reader, Doubt::OnceOrEvery, item.from, item.to, instead));
    }
    (instead.len() > 1).then(|| ask(reader, Doubt::HowOften, item.from, item.to, instead))
}

fn doubt_of_day(reader: &Reader<'_>, items: &[Item], item: &Item, role: Role, day: &Day) -> Option<Question> {
    let shown = |dates: &[Date]| dates.iter().map(Date::to_string).collect();
    match day {
        Day::On(date) if role == Role::Before => {
            let dates = [day_before(*date), *date];
            Some(ask(reader, Doubt::BeforeOrOn, item.from, item.to, shown(&dates)))
        }
        Day::On(_) => None,
        Day::Either(doubt, dates) => {
            let ahead = ahead(reader, items, role, dates);
            (ahead.len() > 1).then(|| ask(reader, *doubt, item.core, item.to, shown(&ahead)))
        }
        Day::Maybe(weekday, date) => {
            let instead = vec![date.to_string(), format!("FREQ=WEEKLY;BYDAY={}", code(*weekday))];
            Some(ask(reader, Doubt::OnceOrEvery, item.from, item.to, instead))
        }
    }
}

/// Of the days that may be meant, those on which the time that is said is not over.
fn ahead(reader: &Reader<'_>, items: &[Item], role: Role, dates: &[Date]) -> Vec<Date> {
    let now = reader.context.now.datetime();
    let last = items.iter().find_map(|item| match &item.what {
        What::Clock(of, clock) if is_same(*of, role) => times(reader, items, role, *clock).last().copied(),
        What::Range(of, begin, _) if is_same(*of, role) => Some(*begin),
        _ => None,
    });
    let Some(last) = last else { return dates.to_vec() };
    let ahead: Vec<Date> = dates.iter().copied().filter(|date| date.to_datetime(last) > now).collect();
    if ahead.is_empty() { dates.to_vec() } else { ahead }
}

/// The times that a clock may mean beside what else is said: the part of the day, and that today is not over.
fn times(reader: &Reader<'_>, items: &[Item], role: Role, clock: Clock) -> Vec<Time> {
    let times = match part_of(reader, items, role) {
        Some(part) => clock.in_part(part),
        None => clock.times(),
    };
    let now = reader.context.now.datetime();
    let is_today = items
        .iter()
        .any(|item| matches!(&item.what, What::Day(of, Day::On(date)) if is_same(*of, role) && *date == now.date()));
    let ahead: Vec<Time> = times.iter().copied().filter(|time| now.date().to_datetime(*time) > now).collect();
    if is_today && !ahead.is_empty() { ahead } else { times }
}

/// The moment of a role; everything in it is clear.
fn moment(reader: &Reader<'_>, items: &[Item], of: Role) -> Option<Moment> {
    let mut moment = Moment::default();
    let mut is_there = false;
    for item in items {
        match &item.what {
            What::Day(role, day) if is_same(*role, of) => {
                moment.day = match day {
                    Day::On(date) | Day::Maybe(_, date) => Some(*date),
                    Day::Either(_, dates) => ahead(reader, items, of, dates).first().copied(),
                };
            }
            What::Clock(role, clock) if is_same(*role, of) => {
                moment.time = times(reader, items, of, *clock).first().copied();
            }
            What::Range(role, begin, _) if is_same(*role, of) => moment.time = Some(*begin),
            What::FromNow(role, minutes) if is_same(*role, of) => moment.from_now = Some(*minutes),
            What::Zone(role, zone) if is_same(*role, of) => moment.zone = Some(zone.clone()),
            What::Part(role, _) if is_same(*role, of) => {}
            _ => continue,
        }
        is_there = true;
    }
    if moment.time.is_none() {
        let times = reader.context.times;
        let part = part_of(reader, items, of);
        moment.is_of_part = part.is_some();
        moment.time = part.map(|part| match part {
            Daypart::Morning => times.morning,
            Daypart::Afternoon => times.afternoon,
            Daypart::Evening => times.evening,
            Daypart::Night => times.night,
        });
    }
    (is_there || moment.time.is_some() && is_same(of, Role::Due)).then_some(moment)
}

/// The name of the zone somebody is in.
fn here(reader: &Reader<'_>) -> String {
    reader.context.now.time_zone().iana_name().unwrap_or("UTC").to_owned()
}

fn when(reader: &Reader<'_>, moment: Moment) -> Option<When> {
    let now = &reader.context.now;
    if let Some(minutes) = moment.from_now {
        let then = now.checked_add(i64::from(minutes).minutes()).ok()?.datetime();
        return Some(When::Zoned(whole_minute(then), here(reader)));
    }
    // "tonight", said late: still today.
    let is_late = |time: &Time| {
        moment.is_of_part && moment.day == Some(now.date()) && now.date().to_datetime(*time) <= now.datetime()
    };
    let Some(time) = moment.time.filter(|time| !is_late(time)) else { return moment.day.map(When::Date) };
    // A time that is over today is one of tomorrow.
    let day = moment.day.or_else(|| {
        let is_over = reader.today.to_datetime(time) <= now.datetime();
        if is_over { reader.today.tomorrow().ok() } else { Some(reader.today) }
    })?;
    let wall = day.to_datetime(time);
    Some(match moment.zone {
        Some(zone) => When::Zoned(wall, zone),
        None => When::Floating(wall),
    })
}

fn whole_minute(wall: DateTime) -> DateTime {
    wall.with().second(0).subsec_nanosecond(0).build().unwrap_or(wall)
}

fn date_of(when: &When) -> Date {
    match when {
        When::Date(date) => *date,
        When::Floating(wall) | When::Zoned(wall, _) => wall.date(),
    }
}

fn parsed(reader: &Reader<'_>, items: &[Item]) -> Parsed {
    let mut parsed = Parsed { title: title(reader, items), ..Parsed::default() };
    let of = |role| moment(reader, items, role);
    for item in items {
        match &item.what {
            What::Priority(priority) => parsed.priority = parsed.priority.or(Some(*priority)),
            What::Tag(tag) if !parsed.tags.contains(tag) => parsed.tags.push(tag.clone()),
            What::List(list) => parsed.list = parsed.list.take().or_else(|| Some(list.clone())),
            What::Minutes(minutes) => parsed.minutes = Some(*minutes),
            What::Range(_, begin, end) => {
                let minutes = (end.hour() - begin.hour()) as i32 * 60 + i32::from(end.minute() - begin.minute());
                parsed.minutes = u32::try_from(minutes).ok();
            }
            What::Before(minutes) => parsed.reminders.extend(minutes.iter().copied().map(Reminder::MinutesBefore)),
            _ => {}
        }
    }
    parsed.start = of(Role::Start).and_then(|moment| when(reader, moment));
    if let Some(deadline) = of(Role::Deadline).and_then(|moment| when(reader, moment)) {
        parsed.deadline = Some(date_of(&deadline));
        // A deadline is a day; a time said with it is when the task is due.
        parsed.due = (!matches!(deadline, When::Date(_))).then_some(deadline);
    }
    let due = of(Role::Due);
    let every = items.iter().find_map(|item| if let What::Repeat(every) = &item.what { Some(every) } else { None });
    if let Some(every) = every {
        if let Some((due, repeat)) = repeat(reader, items, every, due.unwrap_or_default(), parsed.start.as_ref()) {
            (parsed.due, parsed.repeat, parsed.start) = (Some(due), Some(repeat), None);
        }
    } else if let Some(due) = due.and_then(|moment| when(reader, moment)) {
        parsed.due = Some(due);
    }
    if let Some(at) = of(Role::Reminder).and_then(|moment| reminder(reader, moment, parsed.due.as_ref())) {
        parsed.reminders.push(Reminder::At(at));
    }
    parsed.parts = parts(reader, items);
    parsed
}

/// A time to ring at without a day is on the day something is due.
fn reminder(reader: &Reader<'_>, mut moment: Moment, due: Option<&When>) -> Option<When> {
    if moment.from_now.is_none() {
        moment.day = moment.day.or_else(|| due.map(date_of));
    }
    when(reader, moment)
}

/// When a repeating task is due first, and its rule.
fn repeat(
    reader: &Reader<'_>,
    items: &[Item],
    every: &Every,
    due: Moment,
    start: Option<&When>,
) -> Option<(When, Repeat)> {
    let text = every.rules.first()?;
    let is_done = items.iter().any(|item| matches!(item.what, What::AfterDone));
    let anchor = if is_done { Anchor::Completion } else { every.anchor };
    let now = reader.context.now.datetime();
    let time = due.time.or(match start {
        Some(When::Floating(wall) | When::Zoned(wall, _)) => Some(wall.time()),
        _ => None,
    });
    let rule = Rule::parse(text).ok()?;
    let base = due.day.or_else(|| start.map(date_of));
    let (first, due) = if rule.is_sub_daily() && (time.is_none() || due.from_now.is_some()) && base.is_none() {
        // Every so many hours: first when so many have passed. What is counted in hours is of a zone.
        let hours = if rule.frequency() == crate::recur::Frequency::Hourly { 60 } else { 1 };
        let minutes = i64::from(rule.interval()) * hours;
        let then = whole_minute(reader.context.now.checked_add(minutes.minutes()).ok()?.datetime());
        (then.date(), When::Zoned(then, here(reader)))
    } else {
        let times = first(text, base.unwrap_or(reader.today), time, now)?;
        let when = match (time, due.zone) {
            (None, _) => When::Date(times.date()),
            (Some(_), Some(zone)) => When::Zoned(times, zone),
            (Some(_), None) => When::Floating(times),
        };
        (times.date(), when)
    };
    let end = end(reader, items, first);
    let whole = if text.contains("COUNT=") || text.contains("UNTIL=") { text.clone() } else { format!("{text}{end}") };
    Some((due, Repeat { rule: Rule::parse(&whole).unwrap_or(rule), anchor }))
}

/// The first time of a rule from a day on, and after now. Its interval counts from there.
fn first(text: &str, from: Date, time: Option<Time>, now: DateTime) -> Option<DateTime> {
    let is_of_phase = |part: &&str| !["INTERVAL=", "COUNT=", "UNTIL="].iter().any(|name| part.starts_with(name));
    let plain: Vec<&str> = text.split(';').filter(is_of_phase).collect();
    let start = Start::Floating(from.to_datetime(time.unwrap_or_default()));
    let series = Series::new(Rule::parse(&plain.join(";")).ok()?, start, Default::default()).ok()?;
    // A start that is over was meant as it was said.
    let after = |one: &DateTime| time.is_none() || *one > now || from != now.date();
    series.occurrences().map(|one| one.wall).take(1000).find(after)
}

/// Where a recurrence ends, as the end of a rule's text.
fn end(reader: &Reader<'_>, items: &[Item], first: Date) -> String {
    let until = |date: Date| format!(";UNTIL={:04}{:02}{:02}", date.year(), date.month(), date.day());
    if let Some(day) = moment(reader, items, Role::Until).and_then(|moment| moment.day) {
        return until(day);
    }
    let lasts = |span: Span| first.checked_add(span).ok().map(day_before);
    items
        .iter()
        .find_map(|item| match &item.what {
            What::Times(count) => Some(format!(";COUNT={count}")),
            What::Lasting(span) => lasts(*span).map(until),
            _ => None,
        })
        .unwrap_or_default()
}

fn kind(what: &What) -> Kind {
    match what {
        What::Day(role, _)
        | What::Clock(role, _)
        | What::Part(role, _)
        | What::Range(role, ..)
        | What::FromNow(role, _)
        | What::Zone(role, _) => match role {
            Role::Due | Role::Before => Kind::Due,
            Role::Start => Kind::Start,
            Role::Deadline => Kind::Deadline,
            Role::Until => Kind::Repeat,
            Role::Reminder => Kind::Reminder,
        },
        What::Repeat(_) | What::AfterDone | What::Times(_) | What::Lasting(_) => Kind::Repeat,
        What::Priority(_) => Kind::Priority,
        What::Tag(_) => Kind::Tag,
        What::List(_) => Kind::List,
        What::Minutes(_) => Kind::Duration,
        What::Before(_) => Kind::Reminder,
        What::Filler => Kind::Filler,
    }
}

fn parts(reader: &Reader<'_>, items: &[Item]) -> Vec<Part> {
    let tokens = &reader.lexed.tokens;
    let part = |item: &Item| Part { kind: kind(&item.what), range: tokens[item.from].from..tokens[item.to - 1].to };
    items.iter().map(part).collect()
}

/// What no piece has taken, with single spaces.
fn title(reader: &Reader<'_>, items: &[Item]) -> String {
    let lexed = reader.lexed;
    let mut left = String::new();
    let mut from = 0;
    for part in parts(reader, items) {
        left.push_str(lexed.text.get(from..part.range.start).unwrap_or_default());
        left.push(' ');
        from = part.range.end;
    }
    left.push_str(lexed.text.get(from..).unwrap_or_default());
    left.split_whitespace().collect::<Vec<_>>().join(" ")
}
