//! `lifeos remind …`: what rings on this device, and what people want of it.

use std::process::{Command, Stdio};
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Zoned;
use lifeos_client_core::client::{Client, Notifier, RingsNow, Showing, ShownRing};
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, one_line, short};

/// Longest pause between two looks, so that what was synced in the meantime is noticed.
const LOOK_S: u64 = 15;

/// What rings, and when.
#[derive(Debug, Subcommand)]
pub enum RemindCommand {
    /// Ring what is due, until stopped
    Run(Run),
    /// What rings in the next hours
    Plan(Plan),
    /// Say that a ring was seen: it falls silent on every device
    Seen(Seen),
    /// Quiet hours, when a day rings, how late something still does
    Settings(Settings),
}

/// Ring what is due, until stopped.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lifeos remind run\n  lifeos remind run --once --json\n  lifeos remind run --exec notify-send\n\n\
                        Run `lifeos sync --watch` beside it, so that what is seen elsewhere falls silent here. PROGRAM is \
                        called with --, a title and a text."
)]
pub struct Run {
    /// Ring what is due now, and end
    #[arg(long)]
    once: bool,
    /// Also run this program for each ring
    #[arg(long, value_name = "PROGRAM")]
    exec: Option<String>,
}

/// What rings in the next hours.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos remind plan --hours 72")]
pub struct Plan {
    /// So many hours, 336 at most
    #[arg(long, value_name = "N", default_value_t = 48)]
    hours: u32,
}

/// Say that a ring was seen.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos remind seen 3f9a")]
pub struct Seen {
    /// The task, or the name of the ring (`first` of `remind run --json`)
    #[arg(value_name = "ID")]
    id: String,
}

/// Quiet hours, when a day rings, how late something still does.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lifeos remind settings\n  lifeos remind settings --quiet-hours 22:00-07:00 --day-at 08:30\n  \
                        lifeos remind settings --quiet-hours 21:00-09:00 --days SA,SU --who active-first"
)]
pub struct Settings {
    /// Nothing rings in these hours that can wait; replaces those there are for the same days
    #[arg(long, value_name = "HH:MM-HH:MM")]
    quiet_hours: Option<String>,
    /// The days on which they begin [default: all]
    #[arg(long, value_name = "DAYS", requires = "quiet_hours")]
    days: Option<String>,
    /// Take all quiet hours away
    #[arg(long, conflicts_with = "quiet_hours")]
    no_quiet_hours: bool,
    /// When what is due on a day without a time rings
    #[arg(long, value_name = "HH:MM")]
    day_at: Option<String>,
    /// How late something rings that was missed, in hours
    #[arg(long, value_name = "HOURS")]
    grace: Option<i64>,
    /// Which devices ring
    #[arg(long, value_name = "all|active-first|primary")]
    who: Option<String>,
    /// The device that rings first, by its key; `lifeos device list` shows them
    #[arg(long, value_name = "KEY")]
    primary: Option<String>,
}

pub(super) fn run(command: RemindCommand, context: &Context) -> Result<(), Failure> {
    match command {
        RemindCommand::Run(args) => ring(&args, context),
        RemindCommand::Plan(args) => {
            let rings = context.open()?.ring_plan(args.hours, &Zoned::now())?;
            context.out.result(&json!({"rings": rings}), |page| table(&rings, page))
        }
        RemindCommand::Seen(args) => {
            let (client, now) = (context.open_to_edit()?, Zoned::now());
            if args.id.len() == 32 && client.task(&args.id, &now).is_err() {
                client.ring_seen(&args.id, &now)?;
                return context.out.result(&json!({"seen": args.id}), |page| page.line("Seen."));
            }
            let changed = client.task_seen(&args.id, &now)?;
            context.out.result(&json!({"seen": changed.id}), |page| page.line("Seen."))
        }
        RemindCommand::Settings(args) => settings(&args, context),
    }
}

fn table(rings: &[ShownRing], page: &mut Page) {
    if rings.is_empty() {
        page.line("Nothing rings.");
    }
    let row = |ring: &ShownRing| {
        let again = if ring.again > 0 { format!("again, {}", ring.again) } else { String::new() };
        vec![short(&ring.task), one_line(&ring.wall.replace('T', " ")), one_line(&ring.title), again]
    };
    page.table(&rings.iter().map(row).collect::<Vec<_>>());
}

/// A title and a text of a ring.
fn words(ring: &ShownRing) -> (String, String) {
    let clock = ring.wall.get(11..16).unwrap_or_default();
    let missed = if ring.missed > 0 { format!(", {} missed before", ring.missed) } else { String::new() };
    (one_line(&ring.title), format!("{clock}{missed}"))
}

/// Shows rings by the program that is named; the terminal shows them all the same.
struct Desk {
    exec: Option<String>,
}

impl Desk {
    /// Runs the program with `--`, so that no title is taken for an option.
    fn tell(&self, title: &str, text: &str) -> Result<(), String> {
        let Some(program) = &self.exec else { return Ok(()) };
        let status = Command::new(program).args(["--", title, text]).stdin(Stdio::null()).status();
        let ended = status.map_err(|error| format!("{program} cannot be run: {error}"))?;
        ended.success().then_some(()).ok_or_else(|| format!("{program} ended with an error"))
    }
}

impl Notifier for Desk {
    fn show(&mut self, ring: &ShownRing) -> Result<(), String> {
        let (title, text) = words(ring);
        self.tell(&title, &text)
    }

    fn digest(&mut self, rings: &[ShownRing]) -> Result<(), String> {
        let titles: Vec<String> = rings.iter().map(|ring| words(ring).0).collect();
        self.tell(&format!("{} missed", rings.len()), &titles.join("\n"))
    }

    /// What a program has shown it takes away itself; nothing names it.
    fn withdraw(&mut self, _: &str) {}
}

fn ring(args: &Run, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    let (mut desk, mut showing) = (Desk { exec: args.exec.clone() }, Showing::default());
    loop {
        let now = Zoned::now();
        let (rings, failed) = client.ring_turn(&mut desk, &mut showing, None, &now)?;
        failed.iter().for_each(|why| context.out.say(why));
        let has_some = !(rings.rings.is_empty() && rings.digest.is_empty() && rings.missed.is_empty());
        if args.once || has_some {
            context.out.result(&rings, |page| draw(&rings, page))?;
        }
        if args.once {
            return Ok(());
        }
        std::thread::sleep(pause(&client, &now)?);
    }
}

/// Until the next ring, or the next look at what came in.
fn pause(client: &Client, now: &Zoned) -> Result<Duration, Failure> {
    let next = client.ring_next(now)?;
    let until = next.map(|at| at.duration_since(now.timestamp()).as_millis());
    let until = until.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(u64::MAX);
    Ok(Duration::from_millis(until.clamp(200, LOOK_S * 1_000)))
}

fn draw(rings: &RingsNow, page: &mut Page) {
    for ring in &rings.rings {
        let (title, text) = words(ring);
        page.line(format_args!("{}  {text}  {title}", short(&ring.task)));
    }
    if !rings.digest.is_empty() {
        page.line(page.bold("Missed"));
        table(&rings.digest, page);
    }
    for ring in &rings.missed {
        page.line(format_args!("missed: {}  {}", one_line(&ring.wall.replace('T', " ")), one_line(&ring.title)));
    }
}

fn settings(args: &Settings, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    let mut given = Map::new();
    let texts = [("day_at", &args.day_at), ("who", &args.who), ("primary", &args.primary)];
    given.extend(texts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?)))));
    given.extend(args.grace.map(|hours| ("grace".to_owned(), json!(hours))));
    if let Some(quiet) = &args.quiet_hours {
        let (from, to) =
            quiet.split_once('-').ok_or_else(|| Failure::usage(format!("{quiet} is not like 22:00-07:00")))?;
        let days = args.days.clone().unwrap_or_else(|| "MO,TU,WE,TH,FR,SA,SU".into()).to_ascii_uppercase();
        // One entry for the same days: naming them again changes it.
        let id = days.replace(',', "").to_ascii_lowercase();
        given.insert("quiet".into(), json!([{"id": id, "days": days, "from": from, "to": to}]));
    }
    let before = client.reminder_settings(&Map::new())?;
    if args.no_quiet_hours {
        let ids = before.lists.get("quiet").into_iter().flatten().filter_map(|entry| entry["id"].as_str());
        ids.into_iter().try_for_each(|id| client.entity_remove_row(&before.id, "quiet", id, true))?;
    }
    if let Some(id) = given.get("quiet").and_then(|quiet| quiet[0]["id"].as_str()) {
        // What was taken away comes back by being named.
        let _ = client.entity_remove_row(&before.id, "quiet", id, false);
    }
    let settings = client.reminder_settings(&given)?;
    context.out.result(&settings, |page| {
        let shown = |value: &Value| one_line(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        page.table(&settings.values.iter().map(|(name, value)| vec![name.clone(), shown(value)]).collect::<Vec<_>>());
        for entry in settings.lists.get("quiet").into_iter().flatten() {
            page.line(format_args!("quiet {}-{} {}", shown(&entry["from"]), shown(&entry["to"]), shown(&entry["days"])));
        }
        if settings.values.is_empty() && settings.lists.get("quiet").is_none_or(Vec::is_empty) {
            page.line("As usual: a day rings at 09:00, nothing is quiet, what was missed rings for 12 hours, on every device.");
        }
    })
}
