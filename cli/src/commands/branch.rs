//! `lifeos branch …`: notes and entities edited aside, looked at, and accepted in part or whole.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifeos_client_core::client::{Branch, BranchedDocument, BranchedNote, Client};
use lifeos_client_core::modules::branch::Difference;
use lifeos_client_core::store::BranchState;
use serde_json::{Value, json};

use super::{entity, note_edit};
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, count, many_lines, one_line, short, time};

/// Edit notes and entities aside, look at what that would do, and accept some or all of it.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "BRANCH is the id that `lifeos branch list` shows, its first characters, or the name of an open branch. A branch is\n\
                  on this device alone until it is accepted."
)]
pub enum BranchCommand {
    /// Begin a branch
    New(New),
    /// List branches, newest first
    List(List),
    /// Change a note or entity in a branch
    Edit(Edit),
    /// What a branch says otherwise, and what would follow from it
    Diff(One),
    /// Accept a branch, or some of its differences, as an edit of yours
    Accept(Accept),
    /// Give a branch up
    Discard(One),
}

/// Begin a branch.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos branch new \"New address\" 3f9a1b2c 1a2b3c4d --author assistant")]
pub struct New {
    /// What it is called
    #[arg(value_name = "NAME")]
    name: String,
    /// Notes and entities
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Who proposes it [default: you]
    #[arg(long, value_name = "WHO")]
    author: Option<String>,
}

/// List branches.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos branch list")]
pub struct List {
    /// Also those that were accepted or discarded
    #[arg(long)]
    all: bool,
}

/// Change a note or entity in a branch.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos branch edit \"New address\" 3f9a role=Editor born=\n  \
                        lifeos branch edit \"New address\" 1a2b --title Plan --file plan.md --tag home")]
pub struct Edit {
    /// Branch
    #[arg(value_name = "BRANCH")]
    branch: String,
    /// Note or entity
    #[arg(value_name = "ID")]
    id: String,
    /// Fields of an entity; nothing behind = takes a value away
    #[arg(value_name = "FIELD=VALUE", conflicts_with_all = ["title", "text", "file", "tags"])]
    fields: Vec<String>,
    /// Title of a note
    #[arg(long, value_name = "TITLE")]
    title: Option<String>,
    /// Text of a note as Markdown
    #[arg(long, value_name = "MARKDOWN", conflicts_with = "file", allow_hyphen_values = true)]
    text: Option<String>,
    /// Text of a note from a file; `-` is stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Tag of a note; may be given more than once
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

/// One branch.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos branch diff \"New address\"\n  lifeos branch discard 7c0d12ab")]
pub struct One {
    /// Branch
    #[arg(value_name = "BRANCH")]
    branch: String,
}

/// Accept a branch.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos branch accept \"New address\"\n  \
                        lifeos branch accept \"New address\" --only 3f9a1b2c/role")]
pub struct Accept {
    /// Branch
    #[arg(value_name = "BRANCH")]
    branch: String,
    /// Only this difference, as `branch diff` names it; may be given more than once
    #[arg(long, value_name = "ID/KEY")]
    only: Vec<String>,
}

pub(super) fn run(command: BranchCommand, context: &Context) -> Result<(), Failure> {
    match command {
        BranchCommand::New(args) => {
            let client = context.open_to_edit()?;
            let branch = client.branch_new(&args.name, args.author.as_deref(), &args.ids)?;
            context.out.result(&branch, |page| page.table(&[line(&branch)]))
        }
        BranchCommand::List(args) => list(&args, context),
        BranchCommand::Edit(args) => edit(&args, context),
        BranchCommand::Diff(args) => diff(&context.open()?, &args.branch, context),
        BranchCommand::Accept(args) => {
            let accepted = context.open_to_edit()?.branch_accept(&args.branch, &args.only)?;
            context.out.result(&accepted, |page| {
                let left = if accepted.left == 0 { String::new() } else { format!(", {} left", accepted.left) };
                page.line(format_args!("{} accepted{left}", count(accepted.accepted as u64, "difference")));
            })
        }
        BranchCommand::Discard(args) => {
            let client = context.open_to_edit()?;
            let branch = client.branch(&args.branch)?;
            client.branch_discard(&branch.id)?;
            let branch = client.branch(&branch.id)?;
            context.out.result(&branch, |page| page.table(&[line(&branch)]))
        }
    }
}

fn list(args: &List, context: &Context) -> Result<(), Failure> {
    let mut branches = context.open()?.branches()?;
    branches.retain(|branch| args.all || branch.state == BranchState::Open);
    context.out.result(&json!({"branches": branches}), |page| {
        page.table(&branches.iter().map(line).collect::<Vec<_>>());
    })
}

fn line(branch: &Branch) -> Vec<String> {
    let state = serde_json::to_value(branch.state).unwrap_or(Value::Null);
    let mut facts = vec![state.as_str().unwrap_or_default().to_owned()];
    facts.extend(branch.reviewer.as_deref().map(|who| format!("reviewed by {}", one_line(who))));
    let by = format!("by {}", one_line(&branch.author));
    vec![short(&branch.id), time(branch.since_ms), one_line(&branch.name), by, facts.join(", ")]
}

fn edit(args: &Edit, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    if args.fields.is_empty() {
        let markdown = note_edit::text_of(args.text.as_deref(), args.file.as_deref())?;
        let note = BranchedNote { title: args.title.clone(), markdown, tags: args.tags.clone() };
        if note.title.is_none() && note.markdown.is_none() && note.tags.is_empty() {
            return Err(Failure::usage("nothing to change: give FIELD=VALUE, --title, --text, --file or --tag"));
        }
        client.branch_edit_note(&args.branch, &args.id, &note)?;
    } else {
        let given = entity::given_for(&client, &args.id, &args.fields)?;
        client.branch_edit_entity(&args.branch, &args.id, &given)?;
    }
    diff(&client, &args.branch, context)
}

fn diff(client: &Client, branch: &str, context: &Context) -> Result<(), Failure> {
    let documents = client.branch_diff(branch)?;
    context.out.result(&json!({"documents": documents}), |page| {
        documents.iter().for_each(|document| draw(page, document));
    })
}

fn draw(page: &mut Page, document: &BranchedDocument) {
    page.line(format_args!("{} {}", document.kind, short(&document.id)));
    for difference in &document.differences {
        draw_difference(page, &short(&document.id), difference);
    }
    let effects: Vec<Vec<String>> = document
        .effects
        .iter()
        .flat_map(|effect| {
            let cells = effect.cells.iter();
            cells.map(|(name, [old, new])| vec![format!("  would change {}.{name}", effect.table), arrow(old, new)])
        })
        .collect();
    page.table(&effects);
    if let Some(why) = &document.refused {
        page.line(format_args!("  cannot be accepted as it is: {}", one_line(why)));
    }
}

fn draw_difference(page: &mut Page, id: &str, difference: &Difference) {
    let name = format!("{id}/{}", one_line(&difference.key));
    match &difference.diff {
        Some(diff) => {
            page.line(format_args!("  {name}"));
            page.raw(&many_lines(diff));
        }
        None => page.line(format_args!("  {name}  {}", arrow(&difference.before, &difference.after))),
    }
    if let Some(now) = difference.now.as_ref().filter(|_| difference.diff.is_none()) {
        page.line(format_args!("    meanwhile it has become {}", shown(now)));
    }
}

fn arrow(old: &Value, new: &Value) -> String {
    format!("{} → {}", shown(old), shown(new))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::String(text) => one_line(text),
        other => other.to_string(),
    }
}
