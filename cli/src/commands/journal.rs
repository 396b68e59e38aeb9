//! `lifeos journal`: a note a day, opened, written to, listed.

use clap::{Args, Subcommand};
use jiff::civil::Date;
use jiff::{ToSpan as _, Zoned};
use serde_json::json;

use super::note_edit::with_paragraph;
use super::note_view;
use crate::context::Context;
use crate::failure::Failure;
use crate::page::short;

/// A note a day.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  lifeos journal\n  lifeos journal yesterday\n  \
                        lifeos journal --add \"Seen the first snow.\"\n  lifeos journal list\n\n\
                        A day begins with the template called Journal, if there is one (`lifeos note kind ID template`). Two\n\
                        devices that begin a day while offline have one note of it."
)]
pub struct Journal {
    #[command(subcommand)]
    command: Option<JournalCommand>,
    /// Day: today, yesterday, tomorrow, a weekday (the last one), or YYYY-MM-DD
    #[arg(value_name = "DAY", default_value = "today", value_parser = Day::parse)]
    day: Day,
    /// A paragraph to add at its end, as Markdown
    #[arg(long = "add", value_name = "MARKDOWN", allow_hyphen_values = true)]
    text: Option<String>,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// The days there are, the latest first
    List(List),
}

/// The days there are.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos journal list --limit 7")]
struct List {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Skip the latest
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
}

/// A day as it is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Day {
    Ago(i64),
    Last(jiff::civil::Weekday),
    At(Date),
}

impl Day {
    fn parse(text: &str) -> Result<Self, String> {
        use jiff::civil::Weekday as W;
        let weekdays = [
            ("monday", W::Monday),
            ("tuesday", W::Tuesday),
            ("wednesday", W::Wednesday),
            ("thursday", W::Thursday),
            ("friday", W::Friday),
            ("saturday", W::Saturday),
            ("sunday", W::Sunday),
        ];
        let typed = text.trim().to_lowercase();
        let weekday = weekdays.into_iter().find(|(name, _)| *name == typed || name[..3] == typed);
        match (typed.as_str(), weekday) {
            ("today", _) => Ok(Self::Ago(0)),
            ("yesterday", _) => Ok(Self::Ago(1)),
            ("tomorrow", _) => Ok(Self::Ago(-1)),
            (_, Some((_, weekday))) => Ok(Self::Last(weekday)),
            _ => typed.parse().map(Self::At).map_err(|_| "use today, yesterday, a weekday or YYYY-MM-DD".to_owned()),
        }
    }

    fn date(self, today: Date) -> Result<Date, Failure> {
        let outside = |_| Failure::usage("there is no such day");
        match self {
            Self::Ago(days) => today.checked_sub(days.days()).map_err(outside),
            Self::Last(weekday) => today.nth_weekday(-1, weekday).map_err(outside),
            Self::At(date) => Ok(date),
        }
    }
}

pub(super) fn run(args: &Journal, context: &Context) -> Result<(), Failure> {
    if let Some(JournalCommand::List(list)) = &args.command {
        let days = context.open()?.journal_days(list.limit, list.offset)?;
        return context.out.result(&json!({"days": days}), |page| {
            page.table(&days.iter().map(note_view::row).collect::<Vec<_>>());
        });
    }
    let now = Zoned::now();
    let client = context.open_to_edit()?;
    let opened = client.journal(args.day.date(now.date())?, &now)?;
    if let Some(text) = &args.text {
        let before = client.note(&opened.id)?.markdown;
        client.note_set_markdown(&opened.id, &with_paragraph(&before, text))?;
    }
    let note = client.note(&opened.id)?;
    let value = json!({
        "day": opened.day, "begun": opened.begun, "restored": opened.restored,
        "copies_removed": opened.copies_removed, "note": note,
    });
    context.out.result(&value, |page| {
        if opened.restored {
            page.line(format_args!("Taken out of the trash: {}", short(&note.id)));
        }
        note_view::draw_note(page, &note);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_named_as_people_do() {
        let today: Date = "2026-11-24".parse().unwrap();
        let date = |text: &str| Day::parse(text).unwrap().date(today).unwrap_or_else(|_| panic!("{text}")).to_string();
        assert_eq!((date("today"), date("Yesterday")), ("2026-11-24".to_owned(), "2026-11-23".to_owned()));
        assert_eq!((date("tomorrow"), date("fri")), ("2026-11-25".to_owned(), "2026-11-20".to_owned()));
        assert_eq!((date("tuesday"), date("2024-02-29")), ("2026-11-17".to_owned(), "2024-02-29".to_owned()));
        assert!(Day::parse("someday").is_err() && Day::parse("2023-02-29").is_err());
    }
}
