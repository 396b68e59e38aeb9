//! Lines of text against a table written by hand, and what holds of every line.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

/// Languages of a line of the table: `en,de`.
fn languages(text: &str) -> Vec<Language> {
    let one = |name| match name {
        "en" => Language::English,
        "de" => Language::German,
        "fr" => Language::French,
        _ => panic!("{name}"),
    };
    text.split(',').map(one).collect()
}

/// `en 2026-03-05T10:00[Europe/London]`
fn context(text: &str) -> Context {
    let (names, now) = text.split_once(' ').unwrap();
    let (wall, zone) = now.trim_end_matches(']').split_once('[').unwrap();
    let zone = TimeZone::get(zone).unwrap();
    let now = wall.parse::<DateTime>().unwrap().to_zoned(zone).unwrap();
    Context { now, languages: languages(names), times: TimesOfDay::default() }
}

fn english() -> Context {
    context("en 2026-03-05T10:00[Europe/London]")
}

fn clock(wall: &DateTime) -> String {
    wall.strftime("%Y-%m-%d %H:%M").to_string()
}

fn shown_when(when: &When) -> String {
    match when {
        When::Date(date) => date.to_string(),
        When::Floating(wall) => clock(wall),
        When::Zoned(wall, zone) => format!("{} {zone}", clock(wall)),
    }
}

fn shown(reading: &Reading) -> String {
    let parsed = match reading {
        Reading::Ambiguous(question) => {
            let choices: Vec<_> = question.choices.iter().map(|choice| choice.means.clone()).collect();
            return format!("? {:?} {}", question.doubt, choices.join(" / "));
        }
        Reading::Clear(parsed) => parsed,
    };
    let mut said = vec![parsed.title.clone()];
    said.extend(parsed.start.iter().map(|when| format!("start {}", shown_when(when))));
    said.extend(parsed.due.iter().map(|when| format!("due {}", shown_when(when))));
    said.extend(parsed.deadline.iter().map(|date| format!("deadline {date}")));
    said.extend(parsed.repeat.iter().map(|repeat| match repeat.anchor {
        Anchor::Schedule => repeat.rule.to_string(),
        Anchor::Completion => format!("{} from completion", repeat.rule),
    }));
    said.extend(parsed.minutes.iter().map(|minutes| format!("{minutes} min")));
    said.extend(parsed.priority.iter().map(|priority| format!("p{priority}")));
    said.extend(parsed.tags.iter().map(|tag| format!("#{tag}")));
    said.extend(parsed.list.iter().map(|list| format!("~{list}")));
    said.extend(parsed.reminders.iter().map(|reminder| match reminder {
        Reminder::MinutesBefore(minutes) => format!("ring -{minutes}"),
        Reminder::At(when) => format!("ring {}", shown_when(when)),
    }));
    said.join(" | ")
}

/// The rows of the table: where and when, the line, and what it says.
fn rows() -> Vec<(Context, String, &'static str, &'static str)> {
    let mut at = "";
    let mut rows = Vec::new();
    for line in include_str!("phrases.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match (line.strip_prefix("@ "), line.split_once(" => ")) {
            (Some(context), _) => at = context,
            (None, Some((phrase, expected))) => rows.push((context(at), at.to_owned(), phrase, expected)),
            (None, None) => panic!("{line}"),
        }
    }
    rows
}

#[test]
fn of_three_hundred_lines_in_three_languages_ninety_eight_in_a_hundred_are_read_as_they_are_meant() {
    let rows = rows();
    assert!(rows.len() >= 300, "{} rows", rows.len());
    for language in ["en", "de", "fr"] {
        let count = rows.iter().filter(|(_, at, ..)| at.starts_with(&format!("{language} "))).count();
        assert!(count >= 90, "{language}: {count}");
    }
    let mut wrong = Vec::new();
    for (context, _, phrase, expected) in &rows {
        let found = shown(&read(phrase, context).unwrap());
        if found != *expected {
            wrong.push(format!("{phrase}\n    expected {expected}\n    found    {found}"));
        }
    }
    let exact = rows.len() - wrong.len();
    println!("{exact} of {} lines exact\n{}", rows.len(), wrong.join("\n"));
    assert!(exact * 100 >= rows.len() * 98, "{exact} of {}:\n{}", rows.len(), wrong.join("\n"));
}

/// Text outside the parts, without spaces.
fn outside(line: &str, parsed: &Parsed) -> String {
    let mut left = line.to_owned();
    for part in parsed.parts.iter().rev() {
        left.replace_range(part.range.clone(), "");
    }
    left.split_whitespace().collect()
}

/// Title and parts are the whole line, and parts do not overlap.
fn is_whole(line: &str, parsed: &Parsed) {
    assert!(parsed.parts.is_sorted_by(|one, next| one.range.end <= next.range.start), "{line}: {:?}", parsed.parts);
    assert_eq!(outside(line, parsed), parsed.title.split_whitespace().collect::<String>(), "{line}");
}

/// Answers every question in every way.
fn answer(line: &str, context: &Context, depth: u32) {
    assert!(depth < 12, "{line} is asked about again and again: {:?}", read(line, context));
    match read(line, context).unwrap() {
        Reading::Clear(parsed) => is_whole(line, &parsed),
        Reading::Ambiguous(question) => {
            assert!(question.choices.len() > 1, "{line}: a question with one answer");
            assert!(line.get(question.range.clone()).is_some());
            for choice in question.choices.iter().take(2) {
                answer(&choice.line, context, depth + 1);
            }
        }
    }
}

#[test]
fn title_and_parts_are_the_whole_line_and_every_answer_makes_it_clearer() {
    for (context, _, phrase, _) in rows() {
        answer(phrase, &context, 0);
    }
}

#[test]
fn an_answer_means_what_it_says() {
    for (line, answers) in [
        ("pay taxes 03/04", ["pay taxes | due 2026-04-03", "pay taxes | due 2027-03-04"]),
        ("call Bob tomorrow at 7", ["call Bob | due 2026-03-06 07:00", "call Bob | due 2026-03-06 19:00"]),
        ("meet next Friday 9am", ["meet | due 2026-03-06 09:00", "meet | due 2026-03-13 09:00"]),
        ("weekly report", ["report | due 2026-03-05 | FREQ=WEEKLY", "\"weekly\" report"]),
        ("meet Friday or Saturday", ["meet or \"Saturday\" | due 2026-03-06", "meet \"Friday\" or | due 2026-03-07"]),
        (
            "recycling every 2nd Tuesday",
            [
                "recycling | due 2026-03-10 | FREQ=WEEKLY;INTERVAL=2;BYDAY=TU",
                "recycling | due 2026-03-10 | FREQ=MONTHLY;BYDAY=2TU",
            ],
        ),
    ] {
        let Reading::Ambiguous(question) = read(line, &english()).unwrap() else { panic!("{line}") };
        let found: Vec<_> =
            question.choices.iter().map(|choice| shown(&read(&choice.line, &english()).unwrap())).collect();
        assert_eq!(found, answers, "{line}");
        for language in [Language::English, Language::German, Language::French] {
            assert!(question.doubt.question(language).ends_with('?'));
        }
    }
}

#[test]
fn a_line_that_is_too_long_is_refused_and_the_longest_is_read_in_time_that_grows_with_it() {
    assert_eq!(read(&"a".repeat(LINE_BYTES_MAX + 1), &english()), Err(QuickError::TooLong));
    // What costs most of each: places where much is tried, and quotation marks that never close.
    for piece in ["every ", "\"", "on the 1 ", "1:", "#-", "mon,", "at 7 and ", "next ", "a/b", "remind me 1 min and "]
    {
        let all = Context { languages: languages("en,de,fr"), ..english() };
        let reads = |bytes: usize| {
            let line = piece.repeat(bytes / piece.len());
            let begin = std::time::Instant::now();
            read(&line, &all).unwrap();
            begin.elapsed()
        };
        let (short, long) = (reads(LINE_BYTES_MAX / 4), reads(LINE_BYTES_MAX));
        // Four times the text in at most sixteen times the time and a second at worst, on a machine that does much else.
        assert!(long < short * 16 + std::time::Duration::from_millis(1000), "{piece}: {short:?}, then {long:?}");
    }
}

#[test]
fn a_rule_is_told_in_words_of_three_languages() {
    use Language::{English, French, German};
    for (rule, language, expected) in [
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE", English, "every 2 weeks on Mon and Wed"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE", German, "alle 2 Wochen am Mo und Mi"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE", French, "toutes les 2 semaines : lun. et mer."),
        ("FREQ=DAILY;COUNT=10", English, "every day, 10 times"),
        ("FREQ=MONTHLY;BYDAY=-1FR", English, "every month on the last Fri"),
        ("FREQ=MONTHLY;BYDAY=2TU;UNTIL=20261231", English, "every month on the 2nd Tue until 2026-12-31"),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", English, "every month on the last workdays"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,-1", English, "every month on day the last and 1"),
        ("FREQ=YEARLY;BYMONTH=5;BYMONTHDAY=12", German, "jedes Jahr am Tag 12 im Mai"),
        ("FREQ=DAILY;BYHOUR=9,17;BYMINUTE=30", English, "every day at 09:30 and 17:30"),
        (
            "RSCALE=GREGORIAN;FREQ=MONTHLY;SKIP=BACKWARD;BYMONTHDAY=31",
            French,
            "chaque mois le jour 31, sinon le dernier jour avant",
        ),
    ] {
        assert_eq!(Rule::parse(rule).unwrap().explain(language), expected, "{rule}");
    }
}

#[test]
fn the_next_times_say_what_clocks_do_to_them() {
    use crate::recur::{Gap, Remark};
    let zone = TimeZone::get("America/New_York").unwrap();
    let start = Start::Zoned("2026-03-06T02:30".parse().unwrap(), zone.clone());
    let series = Series::new(Rule::parse("FREQ=DAILY").unwrap(), start, Gap::Shift).unwrap();
    let now = "2026-03-06T00:00".parse::<DateTime>().unwrap().to_zoned(zone.clone()).unwrap().timestamp();
    let remarks: Vec<_> = series.coming(now, &zone, 5).into_iter().map(|coming| coming.remark).collect();
    let Some(Remark::Later(pair)) = remarks[2] else { panic!("{remarks:?}") };
    assert_eq!((clock(&pair.said), clock(&pair.shown)), ("2026-03-08 02:30".into(), "2026-03-08 03:30".into()));
    assert_eq!((remarks[0], remarks[1], remarks[4]), (None, None, None));
    let start = Start::Zoned("2026-10-31T01:30".parse().unwrap(), zone.clone());
    let series = Series::new(Rule::parse("FREQ=DAILY").unwrap(), start, Gap::Shift).unwrap();
    let now = "2026-10-31T00:00".parse::<DateTime>().unwrap().to_zoned(zone.clone()).unwrap().timestamp();
    let remarks: Vec<_> = series.coming(now, &zone, 3).into_iter().map(|coming| coming.remark).collect();
    assert_eq!(remarks, [None, Some(Remark::Twice), Some(Remark::Changed(-60))]);
}

use crate::recur::{Language, Series, Start};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_line_makes_reading_it_panic_and_what_is_not_understood_stays_in_the_title(line in "\\PC{0,80}") {
        answer(&line, &context("en,de,fr 2026-03-05T10:00[Europe/London]"), 0);
    }

    #[test]
    fn no_words_that_mean_something_in_any_order_make_reading_panic(
        words in proptest::collection::vec(0_usize..4000, 0..14), day in 0_i64..1500, language in 0_usize..4
    ) {
        let language = ["en", "de", "fr", "en,de,fr"][language];
        let mut context = context(&format!("{language} 2026-03-05T10:00[Europe/London]"));
        context.now = context.now.checked_add(jiff::SignedDuration::from_hours(7 * day)).unwrap();
        let mut known: Vec<&str> = languages(language).iter().flat_map(|one| words::table(*one)).map(|row| row.0).collect();
        known.extend(["1", "2nd", "31.", "7:30", "12", "30", "2026-02-29", "3/4", "4.3.", "99999", "!", "#a", "~b", ",", "-", "/", "\"", "x"]);
        known.extend(["FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "mum", "UTC", "9999-12-31", "15h", "0001-01-01"]);
        let line: Vec<&str> = words.iter().map(|word| known[word % known.len()]).collect();
        answer(&line.join(" "), &context, 0);
    }
}
