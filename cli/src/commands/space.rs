//! `lifeos space`: a home space and any number of shared ones.

use clap::{Args, Subcommand};
use lifeos_client_core::client::SpaceSummary;
use serde_json::json;

use crate::ask;
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{count, one_line, short};

/// Spaces.
#[derive(Debug, Subcommand)]
pub enum Space {
    /// Make a space to share with others
    #[command(visible_alias = "create")]
    New(New),
    /// List your spaces
    List(List),
    /// Work in this space from now on
    Use(Use),
    /// Leave a shared space, with all your devices
    Leave(Leave),
    /// Close a shared space for everybody
    Close(Close),
    /// Make one picture of the space that stands for all edits so far
    Compact(Compact),
}

/// Make a space.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos space new Family\n\n\
                        Your recovery phrase brings this space back when you have run `lifeos recovery cover` once: only\n\
                        the words in your hand can do that.")]
pub struct New {
    /// What it is called
    #[arg(value_name = "NAME")]
    name: String,
}

/// List spaces.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos space list")]
pub struct List {}

/// Choose a space.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos space use Family\n  lifeos space use home\n\n\
                        `--space SPACE` before or after any command chooses one for that command alone.")]
pub struct Use {
    /// Space: id, the beginning of one, or name
    #[arg(value_name = "SPACE")]
    wanted: String,
}

/// Leave a space.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos space leave Family\n\n\
                        What you wrote stays with the others, and what you have read stays on this device. It is for \
                        good:\nnone of your devices can be let in again.")]
pub struct Leave {
    /// Space: id, the beginning of one, or name
    #[arg(value_name = "SPACE")]
    wanted: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Close a space.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos space close Family\n  lifeos space close Family --successor 1a2b3c4d\n\n\
                        Everybody keeps what they have; nobody should write there any more. It cannot be undone.")]
pub struct Close {
    /// Space: id, the beginning of one, or name
    #[arg(value_name = "SPACE")]
    wanted: String,
    /// Where its members go on: a space of yours
    #[arg(long, value_name = "SPACE")]
    successor: Option<String>,
}

/// Make a checkpoint.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos space compact\n\n\
                        Your devices do this by themselves when it is worth it. A new device begins with the picture \
                        instead of every edit.\nThe edits before it are forgotten, here and at the relay, once another \
                        device has found everything in it and\nthe grace period is over (30 days, or what the space's \
                        rules say) without anybody objecting.")]
pub struct Compact {}

pub(super) fn run(command: Space, context: &Context) -> Result<(), Failure> {
    match command {
        Space::New(args) => new(&args, context),
        Space::List(_) => list(context),
        Space::Use(args) => choose(&args.wanted, context),
        Space::Leave(args) => context.block_on(leave(&args, context)),
        Space::Close(args) => context.block_on(close(&args, context)),
        Space::Compact(_) => context.block_on(compact(context)),
    }
}

fn new(args: &New, context: &Context) -> Result<(), Failure> {
    let client = context.open_home()?;
    let space = client.space_create(&args.name, None)?.space().to_string();
    context.out.result(&json!({"space": space, "name": args.name}), |page| {
        page.line(format_args!("{} is there: {}", one_line(&args.name), short(&space)));
        page.line(format_args!("Work in it with `lifeos space use {}`, or `--space` with any command.", short(&space)));
        page.line(NOT_COVERED);
    })
}

/// After a space was made or joined.
pub(super) const NOT_COVERED: &str =
    "Your recovery phrase does not bring this space back yet: run `lifeos recovery cover` with the words in your hand.";

fn list(context: &Context) -> Result<(), Failure> {
    let spaces = context.open_home()?.spaces()?;
    context.out.result(&json!({"spaces": spaces}), |page| {
        page.table(&spaces.iter().map(|space| row(space, &spaces)).collect::<Vec<_>>());
    })
}

fn row(space: &SpaceSummary, all: &[SpaceSummary]) -> Vec<String> {
    let mut marks = Vec::new();
    marks.extend(space.in_use.then(|| "in use".to_owned()));
    marks.extend(space.closed.then(|| closed(space, all)));
    let members = count(space.members, "member");
    vec![short(&space.id), one_line(&space.name), space.role.clone(), members, marks.join(", ")]
}

/// Closed, and where it goes on.
fn closed(space: &SpaceSummary, all: &[SpaceSummary]) -> String {
    let Some(successor) = &space.successor else { return "closed".to_owned() };
    let known = all.iter().find(|other| other.id == *successor).map(|other| one_line(&other.name));
    format!("closed, goes on in {} {}", known.unwrap_or_default(), short(successor)).replace("  ", " ")
}

fn choose(wanted: &str, context: &Context) -> Result<(), Failure> {
    let space = context.open_home()?.use_space(wanted)?.to_string();
    context.out.result(&json!({"space": space}), |page| {
        page.line(format_args!("Commands work in {} now.", short(&space)));
    })
}

async fn compact(context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    let before = client.status()?.checkpoint;
    let mut bar = context.out.bar();
    let synced = client.compact(&mut |step| bar.step(&step)).await;
    bar.finish();
    synced?;
    let checkpoint = client.status()?.checkpoint;
    let is_made = checkpoint.as_ref().map(|now| &now.id) != before.as_ref().map(|then| &then.id);
    context.out.result(&json!({"made": is_made, "checkpoint": checkpoint}), |page| {
        page.line(match (is_made, &checkpoint) {
            (true, _) => "A checkpoint was made: it stands for all edits so far.",
            (false, Some(_)) => "Nothing has come since the last checkpoint, so none was made.",
            (false, None) => "Nothing was made: there is nothing to stand for, or you may only read here.",
        });
        if let Some(checkpoint) = &checkpoint {
            page.line(super::status::checkpoint(checkpoint));
        }
    })
}

async fn leave(args: &Leave, context: &Context) -> Result<(), Failure> {
    let client = context.open_home()?.in_space(&args.wanted)?;
    let warning = format!(
        "Leaving the space {} is for good: none of your devices can be let in again, only a new one.",
        short(&client.space().to_string())
    );
    if !args.yes && !ask::agrees(context, &warning)? {
        return Err(Failure::invalid("you are still a member: nothing was done"));
    }
    client.space_leave().await?;
    let space = client.space().to_string();
    context.out.result(&json!({"left": space}), |page| {
        page.line(
            "You are no longer a member. The others make a new key; what they write from then on, you cannot read.",
        );
    })
}

async fn close(args: &Close, context: &Context) -> Result<(), Failure> {
    let home = context.open_home()?;
    let successor = match &args.successor {
        Some(wanted) => Some(home.in_space(wanted)?.space()),
        None => None,
    };
    let client = home.in_space(&args.wanted)?;
    client.space_close(successor).await?;
    let space = client.space().to_string();
    context.out.result(&json!({"closed": space}), |page| {
        page.line("The space is closed. Everybody keeps what they have.");
    })
}
