//! `lifeos goal …`: habits, targets, objectives and milestones; what was done, and where each of them stands.

use clap::{Args, Subcommand, ValueEnum};
use jiff::Zoned;
use jiff::civil::Date;
use lifeos_client_core::client::{Client, GoalQuery};
use lifeos_client_core::modules::goals::{CheckIn, State, decimal, millionths};
use serde_json::{Map, Value, json};

use super::goal_view::{draw, draw_list, draw_objectives};
use crate::context::Context;
use crate::failure::Failure;

/// Goals: what is wanted, what was done, and where it stands.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "ID is an id or its first characters (4 at least). Goals go to the trash with `lifeos entity trash`.\n\
                  Days are days on this machine's calendar; --on and --as-of name another one, like 2026-03-08."
)]
pub enum GoalCommand {
    /// Make one
    Add(Add),
    /// Change one
    Edit(Edit),
    /// Check in: done, so much, or not done
    Check(Check),
    /// Leave a day out on purpose; that breaks nothing
    Skip(Skip),
    /// Let it rest
    Pause(Pause),
    /// End its rest
    Resume(Resume),
    /// Say how it ended
    Close(Close),
    /// Make the same one for the time after it
    Next(Ref),
    /// Add a key result to an objective, or change one
    Result(KeyResult),
    /// Add a milestone, or change one
    Milestone(Milestone),
    /// Look back
    Review(Review),
    /// Say what belongs to it
    Link(Link),
    /// Show where one stands
    Show(Show),
    /// List those that go on
    List(List),
    /// Objectives with their key results and scores
    Okr(Okr),
}

/// How a goal is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Type {
    /// Something done again and again
    Habit,
    /// A value to come to
    Reach,
    /// A range to stay in
    Maintain,
    /// Something that comes about or does not
    Milestone,
    /// An objective with key results
    Okr,
    /// Milestones, one after another
    Project,
}

/// What a goal is like.
#[derive(Debug, Args)]
struct About {
    /// career, finance, property, health, personal, or x-… of your own
    #[arg(long, value_name = "AREA")]
    area: Option<String>,
    /// First day that counts
    #[arg(long, value_name = "DAY")]
    start: Option<Date>,
    /// Last day that counts
    #[arg(long, value_name = "DAY")]
    end: Option<Date>,
    /// The value it starts from
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
    baseline: Option<String>,
    /// The value to reach; of a habit what a period asks for
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
    target: Option<String>,
    /// The target of a habit is not to be passed
    #[arg(long)]
    at_most: bool,
    /// Smallest value to stay at
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
    lower: Option<String>,
    /// Largest value to stay at
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
    upper: Option<String>,
    /// What its values count
    #[arg(long, value_name = "UNIT")]
    unit: Option<String>,
    /// Where its values come from: `manual`, or fields of a kind like contact/meeting@on
    #[arg(long, value_name = "METRIC")]
    metric: Option<String>,
    /// How values come together: sum, last, max, min or mean
    #[arg(long, value_name = "HOW")]
    agg: Option<String>,
    /// How often a period asks for it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=1_000))]
    times: Option<i64>,
    /// Within which it is counted: day, week, month, quarter or year
    #[arg(long, value_name = "PERIOD")]
    period: Option<String>,
    /// A period of so many days from the start on, instead of one of the calendar
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=366))]
    days: Option<i64>,
    /// On which days it is asked for, like FREQ=WEEKLY;BYDAY=MO,TH
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// The goal it serves
    #[arg(long, value_name = "ID")]
    part_of: Option<String>,
    /// A group it belongs to, such as mornings; can be given more than once
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
    /// Key results count by their weights
    #[arg(long)]
    weighted: bool,
    /// What it is good for
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

/// Make one.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lifeos goal add Meditate\n  lifeos goal add Run --times 3 --period week --group mornings\n  \
                        lifeos goal add \"Drink water\" --target 8 --unit glasses\n  \
                        lifeos goal add \"Coffee\" --target 2 --at-most --unit cups\n  \
                        lifeos goal add \"Weigh 72\" --type reach --baseline 80 --target 72 --agg last --start 2026-01-01 --end 2026-06-30\n  \
                        lifeos goal add \"Meet friends\" --type reach --target 50 --metric contact/meeting@on --start 2026-01-01\n  \
                        lifeos goal add \"Be found\" --type okr --start 2026-01-01 --end 2026-03-31"
)]
pub struct Add {
    /// What it is called
    #[arg(value_name = "TITLE")]
    title: String,
    /// How it is measured
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value_t = Type::Habit)]
    of_type: Type,
    #[command(flatten)]
    about: Box<About>,
}

/// Change one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos goal edit 3f9a --times 4 --unset unit")]
pub struct Edit {
    /// Goal
    #[arg(value_name = "ID")]
    id: String,
    /// What it is called
    #[arg(long, value_name = "TITLE")]
    title: Option<String>,
    #[command(flatten)]
    about: Box<About>,
    /// Take a value away
    #[arg(long, value_name = "FIELD")]
    unset: Vec<String>,
}

/// Check in.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lifeos goal check 3f9a                 done today\n  lifeos goal check 3f9a 71.4            so much was measured\n  \
                        lifeos goal check 3f9a --add 2         so much more was done; what other devices add counts, too\n  \
                        lifeos goal check 3f9a --fail --on 2026-03-08 --note \"ill\"\n  \
                        lifeos goal check 3f9a 40 --result sign-ups"
)]
pub struct Check {
    /// Goal
    #[arg(value_name = "ID")]
    id: String,
    /// What was measured
    #[arg(value_name = "VALUE", value_parser = number, allow_negative_numbers = true)]
    #[arg(conflicts_with_all = ["add", "fail", "clear"])]
    value: Option<String>,
    /// So much comes on top
    #[arg(long, value_name = "N", value_parser = amount, allow_negative_numbers = true)]
    #[arg(conflicts_with_all = ["fail", "clear"])]
    add: Option<i64>,
    /// It was not done
    #[arg(long, conflicts_with = "clear")]
    fail: bool,
    /// Take back what is known of the day
    #[arg(long)]
    clear: bool,
    /// A key result: its id, or the beginning of its title
    #[arg(long, value_name = "RESULT")]
    result: Option<String>,
    /// Which day [default: today]
    #[arg(long, value_name = "DAY")]
    on: Option<Date>,
    /// What is to be said of it
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Leave a day out on purpose.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos goal skip 3f9a --on 2026-03-08 --note travelling")]
pub struct Skip {
    /// Goal
    #[arg(value_name = "ID")]
    id: String,
    /// Which day [default: today]
    #[arg(long, value_name = "DAY")]
    on: Option<Date>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Let it rest.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos goal pause 3f9a --from 2026-07-01 --until 2026-07-14")]
pub struct Pause {
    /// Goal
    #[arg(value_name = "ID")]
    id: String,
    /// First day of rest [default: today]
    #[arg(long, value_name = "DAY")]
    from: Option<Date>,
    /// Last day of rest [default: until it is resumed]
    #[arg(long, value_name = "DAY")]
    until: Option<Date>,
}

/// End its rest.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos goal resume 3f9a")]
pub struct Resume {
    /// Goal
    #[arg(value_name = "ID")]
    id: String,
    /// First day that counts again [default: today]
    #[arg(long, value_name = "DAY")]
    on: Option<Date>,
}

/// How a goal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ended {
    /// It was reached
    Achieved,
    /// It was not reached
    Missed,
    /// It was given up
    Dropped,
    /// It has not ended: it goes on
    Active,
}

/// Say how it ended.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos goal close 3f9a --as achieved")]
pub struct Close {
    /// Goal
    #[arg(value_name = "ID")]
    id: String,
    /// How it ended
    #[arg(long = "as", value_name = "HOW", value_enum)]
    ended: Ended,
}

/// A goal.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos goal next 3f9a")]
pub struct Ref {
    /// Goal
    #[arg(value_name = "ID")]
    id: String,
}

/// Add a key result, or change one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lifeos goal result 3f9a \"1,000 sign-ups\" --target 1000 --unit sign-ups\n  \
                        lifeos goal result 3f9a \"No outage\" --kind guardrail --target 1\n  \
                        lifeos goal result 3f9a --entry sign --weight 40")]
pub struct KeyResult {
    /// Goal
    #[arg(value_name = "ID")]
    id: String,
    /// What is to come about
    #[arg(value_name = "TITLE", required_unless_present = "entry")]
    title: Option<String>,
    /// The one to change: its id, or the beginning of its title
    #[arg(long, value_name = "ENTRY")]
    entry: Option<String>,
    /// committed, aspirational, learning or guardrail
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// The value it starts from
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
    baseline: Option<String>,
    /// The value to reach
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
    target: Option<String>,
    /// How much it counts, from 0 to 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..=100))]
    weight: Option<i64>,
    /// What its values count
    #[arg(long, value_name = "UNIT")]
    unit: Option<String>,
    /// Where its values come from
    #[arg(long, value_name = "METRIC")]
    metric: Option<String>,
    /// How values come together: sum, last, max, min or mean
    #[arg(long, value_name = "HOW")]
    agg: Option<String>,
    /// Remove it
    #[arg(long, requires = "entry")]
    remove: bool,
}

/// Add a milestone, or change one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lifeos goal milestone 3f9a \"First chapter\" --due 2026-04-01\n  \
                        lifeos goal milestone 3f9a --entry first --done")]
pub struct Milestone {
    /// Goal
    #[arg(value_name = "ID")]
    id: String,
    /// What is to be reached
    #[arg(value_name = "TITLE", required_unless_present = "entry")]
    title: Option<String>,
    /// The one to change: its id, or the beginning of its title
    #[arg(long, value_name = "ENTRY")]
    entry: Option<String>,
    /// By which day
    #[arg(long, value_name = "DAY")]
    due: Option<Date>,
    /// It was reached
    #[arg(long)]
    done: bool,
    /// On which day it was reached [default: today]
    #[arg(long, value_name = "DAY", requires = "done")]
    on: Option<Date>,
    /// It was not reached after all
    #[arg(long, conflicts_with = "done")]
    undone: bool,
    /// Remove it
    #[arg(long, requires = "entry")]
    remove: bool,
}

/// Look back.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos goal review 3f9a --mood 4 --worked \"Early mornings\" --next \"Two more chapters\""
)]
pub struct Review {
    /// Goal
    #[arg(value_name = "ID")]
    id: String,
    /// From 1, bad, to 5, good
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=5))]
    mood: Option<i64>,
    /// What to keep
    #[arg(long, value_name = "TEXT")]
    worked: Option<String>,
    /// What to do now
    #[arg(long, value_name = "TEXT")]
    next: Option<String>,
    /// Which day [default: today]; there is one review a day
    #[arg(long, value_name = "DAY")]
    on: Option<Date>,
}

/// Say what belongs to it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos goal link 3f9a lifeos:note/81c0…\n  lifeos goal link 3f9a lifeos:note/81c0… --remove"
)]
pub struct Link {
    /// Goal
    #[arg(value_name = "ID")]
    id: String,
    /// A note or another entity, as lifeos:<kind>/<id>
    #[arg(value_name = "REFERENCE")]
    to: String,
    /// It does not belong to it
    #[arg(long)]
    remove: bool,
}

/// Show where one stands.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos goal show 3f9a --as-of 2026-03-31")]
pub struct Show {
    /// Goal
    #[arg(value_name = "ID")]
    id: String,
    /// On which day [default: today]
    #[arg(long, value_name = "DAY")]
    as_of: Option<Date>,
}

/// List those that go on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos goal list --area health --group mornings")]
pub struct List {
    /// Of this area
    #[arg(long, value_name = "AREA")]
    area: Option<String>,
    /// Of this type
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    of_type: Option<Type>,
    /// In this group
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Also those that are over, and drafts
    #[arg(long)]
    all: bool,
    /// On which day [default: today]
    #[arg(long, value_name = "DAY")]
    as_of: Option<Date>,
}

/// Objectives.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos goal okr --as-of 2026-03-31\n\n\
                        A score is from 0 to 1: below 0.4 red, below 0.7 yellow, else green. A committed result is to be at 1,\n\
                        0.6 to 0.7 is a good end of an aspirational one, and no guardrail is averaged away.")]
pub struct Okr {
    /// Also those that are over, and drafts
    #[arg(long)]
    all: bool,
    /// On which day [default: today]
    #[arg(long, value_name = "DAY")]
    as_of: Option<Date>,
}

/// A decimal as it is stored.
fn number(typed: &str) -> Result<String, String> {
    decimal(typed).ok_or_else(|| "must be a number, like 71.5".to_owned())
}

/// What is added, in millionths.
fn amount(typed: &str) -> Result<i64, String> {
    millionths(typed).ok_or_else(|| "must be a number of at most six decimals, like 1.5".to_owned())
}

fn today() -> Date {
    Zoned::now().date()
}

/// The words of a value of an option, as they are stored.
fn word(of: &impl ValueEnum) -> Option<String> {
    of.to_possible_value().map(|value| value.get_name().to_owned())
}

pub(super) fn run(command: GoalCommand, context: &Context) -> Result<(), Failure> {
    match command {
        GoalCommand::Show(args) => return show(&context.open()?, &args.id, args.as_of, context),
        GoalCommand::List(args) => return list(args, context),
        GoalCommand::Okr(args) => return okr(&args, context),
        _ => {}
    }
    let client = context.open_to_edit()?;
    let id = match command {
        GoalCommand::Add(args) => add(args, &client)?,
        GoalCommand::Edit(args) => edit(args, &client)?,
        GoalCommand::Check(args) => check(args, &client)?,
        GoalCommand::Skip(args) => {
            let given = CheckIn { state: Some(State::Skip), note: args.note, ..CheckIn::default() };
            client.goal_check(&args.id, None, args.on.unwrap_or_else(today), &given)?;
            args.id
        }
        GoalCommand::Pause(args) => {
            client.goal_pause(&args.id, args.from.unwrap_or_else(today), args.until)?;
            args.id
        }
        GoalCommand::Resume(args) => {
            client.goal_resume(&args.id, args.on.unwrap_or_else(today))?;
            args.id
        }
        GoalCommand::Close(args) => {
            client.goal_edit(&args.id, &Map::from_iter([("status".to_owned(), json!(word(&args.ended)))]))?;
            args.id
        }
        GoalCommand::Next(args) => client.goal_next(&args.id, today())?.to_string(),
        GoalCommand::Result(args) => result(args, &client)?,
        GoalCommand::Milestone(args) => milestone(args, &client)?,
        GoalCommand::Review(args) => review(args, &client)?,
        GoalCommand::Link(args) => {
            match args.remove {
                true => client.entity_untag(&args.id, "link", &args.to)?,
                false => client.goal_edit(&args.id, &Map::from_iter([("link".to_owned(), json!([args.to]))]))?,
            }
            args.id
        }
        GoalCommand::Show(_) | GoalCommand::List(_) | GoalCommand::Okr(_) => return Ok(()),
    };
    show(&client, &id, None, context)
}

fn put(given: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        given.insert(name.to_owned(), value.into());
    }
}

/// What the options of a goal say.
fn about(args: Box<About>, client: &Client) -> Result<Map<String, Value>, Failure> {
    let mut given = Map::new();
    put(&mut given, "area", args.area);
    put(&mut given, "start", args.start.map(|day| day.to_string()));
    put(&mut given, "end", args.end.map(|day| day.to_string()));
    put(&mut given, "baseline", args.baseline);
    put(&mut given, "target", args.target);
    put(&mut given, "at_most", args.at_most.then_some(true));
    put(&mut given, "lower", args.lower);
    put(&mut given, "upper", args.upper);
    put(&mut given, "unit", args.unit);
    put(&mut given, "metric", args.metric);
    put(&mut given, "agg", args.agg);
    put(&mut given, "times", args.times);
    put(&mut given, "period", args.period);
    put(&mut given, "days", args.days);
    put(&mut given, "rule", args.rule);
    put(&mut given, "weighted", args.weighted.then_some(true));
    put(&mut given, "why", args.why);
    put(&mut given, "tag", (!args.group.is_empty()).then_some(args.group));
    if let Some(parent) = args.part_of {
        given.insert("parent".to_owned(), json!(client.entity(&parent)?.id));
    }
    Ok(given)
}

fn add(args: Add, client: &Client) -> Result<String, Failure> {
    let mut given = about(args.about, client)?;
    given.insert("title".to_owned(), json!(args.title));
    given.insert("type".to_owned(), json!(word(&args.of_type)));
    if !given.contains_key("start") {
        given.insert("start".to_owned(), json!(today().to_string()));
    }
    Ok(client.goal_create(&given)?.to_string())
}

fn edit(args: Edit, client: &Client) -> Result<String, Failure> {
    let mut given = about(args.about, client)?;
    put(&mut given, "title", args.title);
    for name in args.unset {
        given.insert(name, Value::Null);
    }
    if given.is_empty() {
        return Err(Failure::usage("nothing to change: give an option, or --unset"));
    }
    client.goal_edit(&args.id, &given)?;
    Ok(args.id)
}

fn check(args: Check, client: &Client) -> Result<String, Failure> {
    let says = args.value.is_some() || args.add.is_some() || args.clear;
    let state = match args.fail {
        true => Some(State::Fail),
        // A note alone says nothing new of the day.
        false => (!says && args.result.is_none()).then_some(State::Yes),
    };
    let given = CheckIn { state, value: args.value, added: args.add, note: args.note, clear: args.clear };
    client.goal_check(&args.id, args.result.as_deref(), args.on.unwrap_or_else(today), &given)?;
    Ok(args.id)
}

/// Writes an entry of a list of a goal, a new one or the one that is named, or removes it.
fn put_entry(
    client: &Client,
    id: &str,
    list: &str,
    wanted: Option<&str>,
    mut entry: Map<String, Value>,
    remove: bool,
) -> Result<(), Failure> {
    if let Some(wanted) = wanted {
        let found = client.goal_entry(&client.entity(id)?, list, wanted)?;
        if remove {
            return Ok(client.entity_remove_row(id, list, &found, true)?);
        }
        entry.insert("id".to_owned(), json!(found));
    }
    Ok(client.goal_edit(id, &Map::from_iter([(list.to_owned(), json!([entry]))]))?)
}

fn result(args: KeyResult, client: &Client) -> Result<String, Failure> {
    let mut entry = Map::new();
    put(&mut entry, "title", args.title);
    put(&mut entry, "kind", args.kind);
    put(&mut entry, "baseline", args.baseline);
    put(&mut entry, "target", args.target);
    put(&mut entry, "weight", args.weight);
    put(&mut entry, "unit", args.unit);
    put(&mut entry, "metric", args.metric);
    put(&mut entry, "agg", args.agg);
    put_entry(client, &args.id, "kr", args.entry.as_deref(), entry, args.remove)?;
    Ok(args.id)
}

fn milestone(args: Milestone, client: &Client) -> Result<String, Failure> {
    let mut entry = Map::new();
    put(&mut entry, "title", args.title);
    put(&mut entry, "due", args.due.map(|day| day.to_string()));
    put(&mut entry, "done", args.done.then(|| args.on.unwrap_or_else(today).to_string()));
    if args.undone {
        entry.insert("done".to_owned(), Value::Null);
    }
    put_entry(client, &args.id, "milestone", args.entry.as_deref(), entry, args.remove)?;
    Ok(args.id)
}

fn review(args: Review, client: &Client) -> Result<String, Failure> {
    let on = args.on.unwrap_or_else(today).to_string();
    let mut entry = Map::from_iter([("id".to_owned(), json!(on)), ("on".to_owned(), json!(on))]);
    put(&mut entry, "mood", args.mood);
    put(&mut entry, "worked", args.worked);
    put(&mut entry, "next", args.next);
    if entry.len() == 2 {
        return Err(Failure::usage("a review says something: give --mood, --worked or --next"));
    }
    client.goal_edit(&args.id, &Map::from_iter([("review".to_owned(), json!([entry]))]))?;
    Ok(args.id)
}

fn show(client: &Client, id: &str, as_of: Option<Date>, context: &Context) -> Result<(), Failure> {
    let view = client.goal(id, as_of.unwrap_or_else(today))?;
    context.out.result(&view, |page| draw(&view, page))
}

fn list(args: List, context: &Context) -> Result<(), Failure> {
    let query = GoalQuery {
        area: args.area,
        goal_type: args.of_type.as_ref().and_then(word),
        group: args.group,
        all: args.all,
    };
    let goals = context.open()?.goals(&query, args.as_of.unwrap_or_else(today))?;
    context.out.result(&json!({"goals": goals}), |page| draw_list(&goals, page))
}

fn okr(args: &Okr, context: &Context) -> Result<(), Failure> {
    let query = GoalQuery { goal_type: Some("okr".into()), all: args.all, ..GoalQuery::default() };
    let objectives = context.open()?.goals(&query, args.as_of.unwrap_or_else(today))?;
    context.out.result(&json!({"objectives": objectives}), |page| draw_objectives(&objectives, page))
}
