//! `lifeos task …`: the commands and where each goes; reading is in `task_view`.

use clap::{Args, Subcommand, ValueEnum};
use jiff::Zoned;
use lifeos_client_core::client::{Added, Changed, Client, TaskDraft, TaskQuery};
use lifeos_client_core::modules::reminders::edit::Settle;
use lifeos_client_core::modules::reminders::when::{civil, zone_of};
use lifeos_client_core::recur::{Language, OccurrenceId};
use serde_json::{Map, Value, json};

use super::task_view;
use crate::context::Context;
use crate::failure::Failure;
use crate::page::one_line;

/// Tasks: what is to be done, when, and what was.
#[derive(Debug, Subcommand)]
#[command(after_help = "ID is an id or its first characters (4 at least). A day or time is written as in a line \
                        (`tomorrow 9am`, `fri`) or as 2026-03-01, 2026-03-01T09:00, 2026-03-01T09:00[Europe/Lisbon].")]
pub enum TaskCommand {
    /// Make a task of one line
    Add(Add),
    /// What is overdue, due today, and in the next days
    Agenda(Agenda),
    /// The next days alone, by day
    Upcoming(Upcoming),
    /// List tasks
    List(List),
    /// Show a task with all that belongs to it
    Show(One),
    /// Say that a task, or one time of it, is done
    Done(Settled),
    /// Take that back
    Reopen(Settled),
    /// Leave out one time of a task that repeats; call off one that does not
    Skip(Settled),
    /// Move what is due to another time
    Move(Move),
    /// Have it ring again later
    Snooze(Snooze),
    /// Let a task that repeats go on as a new one from a time on
    Split(Split),
    /// Plan tasks for a day
    Plan(Plan),
    /// Change fields
    Edit(Edit),
    /// Put tasks into a list
    Into(Into),
    /// Make a task part of another one
    Nest(Nest),
    /// Have a task wait until another one is done
    Wait(Wait),
    /// The lists
    Lists(Lists),
    /// Put into the trash
    Trash(One),
    /// Take out of the trash
    Restore(One),
}

/// A language that a line may be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Lang {
    /// English.
    En,
    /// German.
    De,
    /// French.
    Fr,
}

/// Make a task of one line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lifeos task add pay rent every month on the 1st at 09:00 '#home' p1\n  \
                        lifeos task add 'change the filter every! 3 months ~House'\n\nA line with several meanings is asked back. \
                        #tag  ~list  p1…p4  by/deadline DAY  every …  every! … (from when it was done)  for 30 min  \
                        \"quoted words\" stay words.")]
pub struct Add {
    /// The line
    #[arg(value_name = "LINE", required = true)]
    line: Vec<String>,
    /// Notes
    #[arg(long, value_name = "TEXT", default_value = "")]
    notes: String,
    /// Its list, if the line names none; a new name makes one
    #[arg(long, value_name = "LIST")]
    list: Option<String>,
    /// The task it is part of
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Languages the line may be in [default: the system's, and English]
    #[arg(long, value_name = "LANG")]
    lang: Vec<Lang>,
    /// Show how the line reads, and make nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is overdue, due today, and in the next days.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos task agenda --days 14")]
pub struct Agenda {
    /// So many days after today
    #[arg(long, value_name = "N", default_value_t = 7)]
    days: u16,
}

/// The next days alone.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos task upcoming --days 30")]
pub struct Upcoming {
    /// So many days after today
    #[arg(long, value_name = "N", default_value_t = 14)]
    days: u16,
}

/// List tasks.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lifeos task list 'due before: +3d & #home & !assigned'\n  lifeos task list --in House --done"
)]
pub struct List {
    /// Only those that pass (#tag ~list p1 overdue recurring, due before: +3d, with & | ! and parentheses)
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// Only those of a list
    #[arg(long = "in", value_name = "LIST")]
    list: Option<String>,
    /// Those that are over, the last first
    #[arg(long)]
    done: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,
}

/// A task.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos task show 3f9a")]
pub struct One {
    /// Task
    #[arg(value_name = "ID")]
    id: String,
}

/// Tasks, or one time of a task.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lifeos task done 3f9a 77c0\n  lifeos task done 3f9a --on 20260302")]
pub struct Settled {
    /// Tasks
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// The time that is meant, as `task show` and `task agenda --json` name it, or its day [default: what is due]
    #[arg(long, value_name = "OCCURRENCE")]
    on: Option<String>,
}

/// Move what is due to another time.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos task move 3f9a 'friday 15:00'\n\nOf a task that repeats only that time moves; \
                        `task edit` changes the series."
)]
pub struct Move {
    /// Task
    #[arg(value_name = "ID")]
    id: String,
    /// When it is due instead
    #[arg(value_name = "TIME", required = true)]
    to: Vec<String>,
    /// The time that is meant [default: what is due]
    #[arg(long, value_name = "OCCURRENCE")]
    on: Option<String>,
    /// Languages the time may be in [default: the system's, and English]
    #[arg(long, value_name = "LANG")]
    lang: Vec<Lang>,
}

/// Have it ring again later.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lifeos task snooze 3f9a 'in 2 hours'\n  lifeos task snooze 3f9a tomorrow 9am")]
pub struct Snooze {
    /// Task
    #[arg(value_name = "ID")]
    id: String,
    /// When it rings again
    #[arg(value_name = "TIME", required = true)]
    until: Vec<String>,
    /// Languages the time may be in [default: the system's, and English]
    #[arg(long, value_name = "LANG")]
    lang: Vec<Lang>,
}

/// Let a task that repeats go on as a new one.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos task split 3f9a --on 20260401\n\nThe old task ends before that time and keeps its log; \
                        changing the new one changes that time and all that follow."
)]
pub struct Split {
    /// Task
    #[arg(value_name = "ID")]
    id: String,
    /// The time from which on [default: what is due]
    #[arg(long, value_name = "OCCURRENCE")]
    on: Option<String>,
}

/// Plan tasks for a day.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lifeos task plan 3f9a 77c0\n  lifeos task plan 3f9a --on tomorrow\n  lifeos task plan 3f9a --none"
)]
pub struct Plan {
    /// Tasks, in the order in which they are to be done
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// The day
    #[arg(long, value_name = "DAY", default_value = "today")]
    on: String,
    /// Take them out of any plan
    #[arg(long, conflicts_with = "on")]
    none: bool,
}

/// Change fields.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos task edit 3f9a title='Pay the rent' rule=FREQ=MONTHLY due=2026-04-01 tag=home --unset estimate\n\n\
                        `lifeos entity fields task` shows the fields."
)]
pub struct Edit {
    /// Task
    #[arg(value_name = "ID")]
    id: String,
    /// Fields, and labels for sets
    #[arg(value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// Take a field's value away
    #[arg(long, value_name = "FIELD")]
    unset: Vec<String>,
    /// Take a tag away
    #[arg(long, value_name = "TAG")]
    untag: Vec<String>,
}

/// Put tasks into a list.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos task into House 3f9a 77c0")]
pub struct Into {
    /// List, by name or id; a new name makes one, \"\" takes them out of all
    #[arg(value_name = "LIST")]
    list: String,
    /// Tasks
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

/// Make a task part of another one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos task nest 3f9a --below 77c0")]
pub struct Nest {
    /// Task
    #[arg(value_name = "ID")]
    id: String,
    /// The task it becomes part of [default: none]
    #[arg(long, value_name = "ID")]
    below: Option<String>,
}

/// Have a task wait until another one is done.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos task wait 3f9a --for 77c0")]
pub struct Wait {
    /// Task
    #[arg(value_name = "ID")]
    id: String,
    /// The task that comes first
    #[arg(long = "for", value_name = "ID")]
    other: String,
    /// It waits no longer
    #[arg(long)]
    no_longer: bool,
}

/// The lists.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos task lists --new House")]
pub struct Lists {
    /// Make one
    #[arg(long, value_name = "NAME")]
    new: Option<String>,
}

pub(super) fn run(command: TaskCommand, context: &Context) -> Result<(), Failure> {
    let now = Zoned::now();
    match command {
        TaskCommand::Add(args) => add(&args, &now, context),
        TaskCommand::Agenda(args) => task_view::agenda(&context.open()?.agenda(args.days, &now)?, context),
        TaskCommand::Upcoming(args) => task_view::upcoming(&context.open()?.agenda(args.days, &now)?, context),
        TaskCommand::List(args) => {
            let query = TaskQuery { filter: args.filter, list: args.list, done: args.done, limit: args.limit };
            task_view::list(&context.open()?.tasks(&query, &now)?, &now, context)
        }
        TaskCommand::Show(args) => task_view::show(&context.open()?, &args.id, &now, context),
        TaskCommand::Done(args) => {
            each(&args, context, |client, id, on| client.task_settle(id, Settle::Done, on, &now))
        }
        TaskCommand::Skip(args) => {
            each(&args, context, |client, id, on| client.task_settle(id, Settle::Skip, on, &now))
        }
        TaskCommand::Reopen(args) => each(&args, context, |client, id, on| client.task_unsettle(id, on)),
        TaskCommand::Move(args) => {
            let client = context.open_to_edit()?;
            let on = occurrence(args.on.as_deref())?;
            let to = args.to.join(" ");
            let changed = client.task_reschedule(&args.id, &to, on, &languages(&args.lang), &now)?;
            task_view::changed(&client, &[changed], &now, context)
        }
        TaskCommand::Snooze(args) => {
            let client = context.open_to_edit()?;
            let until = client.time_text(&args.until.join(" "), &languages(&args.lang), &now)?;
            let wall = civil(&until).ok_or_else(|| Failure::usage(format!("{until} is no time")))?;
            // A day is when it begins to be one that people are up.
            let wall = if until.contains('T') { wall } else { wall.date().at(9, 0, 0, 0) };
            let zone = zone_of(&until).and_then(|name| jiff::tz::TimeZone::get(name).ok());
            let until = zone.unwrap_or_else(|| now.time_zone().clone()).to_timestamp(wall);
            let until = until.map_err(|_| Failure::usage("that time lies beyond all calendars"))?;
            let changed = client.task_snooze(&args.id, until, &now)?;
            task_view::changed(&client, &[changed], &now, context)
        }
        TaskCommand::Split(args) => {
            let client = context.open_to_edit()?;
            let changed = client.task_split(&args.id, occurrence(args.on.as_deref())?, &now)?;
            task_view::changed(&client, &[changed], &now, context)
        }
        TaskCommand::Plan(args) => plan(&args, &now, context),
        TaskCommand::Edit(args) => edit(&args, &now, context),
        TaskCommand::Into(args) => {
            let client = context.open_to_edit()?;
            let changed: Result<Vec<_>, _> = args.ids.iter().map(|id| client.task_to_list(id, &args.list)).collect();
            task_view::changed(&client, &changed?, &now, context)
        }
        TaskCommand::Nest(args) => {
            let client = context.open_to_edit()?;
            let changed = client.task_nest(&args.id, args.below.as_deref())?;
            task_view::changed(&client, &[changed], &now, context)
        }
        TaskCommand::Wait(args) => {
            let client = context.open_to_edit()?;
            let changed = client.task_wait(&args.id, &args.other, !args.no_longer)?;
            task_view::changed(&client, &[changed], &now, context)
        }
        TaskCommand::Lists(args) => {
            let client = if args.new.is_some() { context.open_to_edit()? } else { context.open()? };
            args.new.as_deref().map(|name| client.task_list_create(name)).transpose()?;
            task_view::lists(&client.task_lists()?, context)
        }
        TaskCommand::Trash(args) => trash(&args.id, true, &now, context),
        TaskCommand::Restore(args) => trash(&args.id, false, &now, context),
    }
}

/// The languages that are asked for, or the system's and English.
pub(super) fn languages(asked: &[Lang]) -> Vec<Language> {
    if !asked.is_empty() {
        let one = |lang: &Lang| match lang {
            Lang::En => Language::English,
            Lang::De => Language::German,
            Lang::Fr => Language::French,
        };
        return asked.iter().map(one).collect();
    }
    let named = ["LC_ALL", "LC_TIME", "LANG"].iter().filter_map(|name| std::env::var(name).ok());
    let system = named.into_iter().find(|value| !value.is_empty()).unwrap_or_default();
    match system.get(..2) {
        Some("de") => vec![Language::German, Language::English],
        Some("fr") => vec![Language::French, Language::English],
        _ => vec![Language::English],
    }
}

fn occurrence(named: Option<&str>) -> Result<Option<OccurrenceId>, Failure> {
    let read = |text: &str| {
        let compact: String = text.chars().filter(|sign| !matches!(sign, '-' | ':')).collect();
        let compact = if compact.len() == 13 && compact.contains('T') { format!("{compact}00") } else { compact };
        compact.parse().map_err(|error| Failure::usage(format!("--on {text}: {error}")))
    };
    named.map(read).transpose()
}

fn add(args: &Add, now: &Zoned, context: &Context) -> Result<(), Failure> {
    let (line, languages) = (args.line.join(" "), languages(&args.lang));
    if args.dry_run {
        return task_view::reading(&context.open()?.task_read(&line, &languages, now)?, context);
    }
    let client = context.open_to_edit()?;
    let draft =
        TaskDraft { notes: args.notes.clone(), list: args.list.clone(), parent: args.parent.clone(), languages };
    match client.task_add(&line, &draft, now)? {
        Added::Task(doc) => task_view::show(&client, &doc.to_string(), now, context),
        Added::Question(question) => {
            let choices: Vec<String> = question
                .choices
                .iter()
                .map(|choice| format!("  lifeos task add '{}'", one_line(&choice.line)))
                .collect();
            let piece = one_line(line.get(question.range.clone()).unwrap_or_default());
            let asked = question.doubt.question(draft.languages.first().copied().unwrap_or(Language::English));
            Err(Failure::invalid(format!("\"{piece}\": {asked}\n{}", choices.join("\n"))))
        }
    }
}

fn each(
    args: &Settled,
    context: &Context,
    change: impl Fn(&Client, &str, Option<OccurrenceId>) -> Result<Changed, lifeos_client_core::client::ClientError>,
) -> Result<(), Failure> {
    let on = occurrence(args.on.as_deref())?;
    let client = context.open_to_edit()?;
    let changed: Result<Vec<_>, _> = args.ids.iter().map(|id| change(&client, id, on)).collect();
    task_view::changed(&client, &changed?, &Zoned::now(), context)
}

fn plan(args: &Plan, now: &Zoned, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    let day = match args.none {
        true => None,
        false => {
            let text = client.time_text(&args.on, &languages(&[]), now)?;
            let day = text.get(..10).and_then(|day| day.parse().ok());
            Some(day.ok_or_else(|| Failure::usage(format!("{} is no day", args.on)))?)
        }
    };
    let changed: Result<Vec<_>, _> = args.ids.iter().map(|id| client.task_plan(id, day)).collect();
    task_view::changed(&client, &changed?, now, context)
}

fn edit(args: &Edit, now: &Zoned, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    let task = client.task(&args.id, now)?.task;
    let kind = lifeos_client_core::registry::kind_named("task").ok_or_else(|| Failure::usage("there are no tasks"))?;
    let mut given: Map<String, Value> = super::entity::given(kind, &args.fields)?;
    for name in &args.unset {
        given.insert(name.clone(), Value::Null);
    }
    for name in ["due", "start", "dtstart"] {
        if let Some(Value::String(text)) = given.get(name) {
            let text = client.time_text(text, &languages(&[]), now)?;
            given.insert(name.to_owned(), json!(text));
        }
    }
    if given.is_empty() && args.untag.is_empty() {
        return Err(Failure::usage("nothing to change: give FIELD=VALUE, --unset or --untag"));
    }
    if !given.is_empty() {
        client.entity_edit(&task.id, &given)?;
    }
    args.untag.iter().try_for_each(|tag| client.entity_untag(&task.id, "tag", tag))?;
    task_view::show(&client, &task.id, now, context)
}

fn trash(id: &str, trashed: bool, now: &Zoned, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    let task = client.task(id, now)?.task;
    client.entity_trash(&task.id, trashed)?;
    task_view::show(&client, &task.id, now, context)
}
