//! `lifeos feed …`: feeds that bring articles.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifeos_client_core::client::{FeedFetched, FeedShown};
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{count, one_line, short, time};

/// Largest outline that is read.
const OUTLINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Feeds (RSS, Atom, JSON) whose entries become articles.
#[derive(Debug, Subcommand)]
pub enum FeedCommand {
    /// Subscribe to a feed
    Add(Add),
    /// The feeds, and when they were fetched
    List(List),
    /// Fetch what is new
    Fetch(Fetch),
    /// Unsubscribe; the articles stay
    Remove(Remove),
    /// Subscribe to all feeds of an outline (OPML)
    Import(Import),
    /// Write the feeds as an outline (OPML)
    Export(Export),
}

/// Subscribe to a feed.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos feed add https://example.org/feed.xml --folder News\n  lifeos feed add https://example.org --discover"
)]
pub struct Add {
    /// Address of the feed
    #[arg(value_name = "URL")]
    url: String,
    /// What to call it [default: what it calls itself when it is fetched]
    #[arg(long, value_name = "TITLE", default_value = "")]
    title: String,
    /// Folder
    #[arg(long, value_name = "NAME", default_value = "")]
    folder: String,
    /// Fetch the address now, and take the feed that the page names
    #[arg(long, conflicts_with_all = ["title", "folder"])]
    discover: bool,
    /// Fetch also from inside this device's network
    #[arg(long, requires = "discover")]
    allow_private: bool,
}

/// The feeds.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos feed list")]
pub struct List {}

/// Fetch what is new.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos feed fetch\n  lifeos feed fetch 3f9a\n\nExit code 1 if a feed could not be fetched; the others are."
)]
pub struct Fetch {
    /// Feeds [default: all]
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Fetch also from inside this device's network
    #[arg(long)]
    allow_private: bool,
}

/// Unsubscribe.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos feed remove 3f9a")]
pub struct Remove {
    /// Feed
    #[arg(value_name = "ID")]
    id: String,
}

/// Subscribe to all feeds of an outline.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos feed import subscriptions.opml")]
pub struct Import {
    /// File
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Write the feeds as an outline.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos feed export > subscriptions.opml")]
pub struct Export {}

pub(super) fn run(command: FeedCommand, context: &Context) -> Result<(), Failure> {
    match command {
        FeedCommand::Add(args) => {
            let client = context.open_to_edit()?;
            let id = match args.discover {
                true => context.block_on(async { Ok(client.feed_discover(&args.url, args.allow_private).await?) })?,
                false => client.feed_add(&args.url, &args.title, &args.folder)?.0,
            };
            let page = |page: &mut crate::page::Page| page.line(format_args!("Subscribed, as {}", short(&id)));
            context.out.result(&json!({"id": id}), page)
        }
        FeedCommand::List(_) => {
            let feeds = context.open()?.feeds()?;
            context.out.result(&json!({"feeds": feeds}), |page| {
                page.table(&feeds.iter().map(line).collect::<Vec<_>>());
            })
        }
        FeedCommand::Fetch(args) => fetch(&args, context),
        FeedCommand::Remove(args) => {
            context.open_to_edit()?.feed_remove(&args.id)?;
            context.out.result(&json!({"removed": args.id}), |page| page.line("Unsubscribed; its articles stay."))
        }
        FeedCommand::Import(args) => import(&args, context),
        FeedCommand::Export(_) => {
            let outline = context.open()?.feeds_export()?;
            context.out.result(&json!({"opml": outline}), |page| page.raw(&outline))
        }
    }
}

fn line(feed: &FeedShown) -> Vec<String> {
    let title = if feed.title.is_empty() { &feed.url } else { &feed.title };
    let fetched = feed.fetched_ms.map(time).unwrap_or_default();
    let problem = feed.problem.as_deref().map(one_line).unwrap_or_default();
    vec![short(&feed.id), one_line(&feed.folder), one_line(title), fetched, problem]
}

fn fetch(args: &Fetch, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    let mut bar = context.out.bar();
    let fetched = context
        .block_on(async { Ok(client.feeds_fetch(&args.ids, args.allow_private, &mut |step| bar.step(&step)).await?) });
    bar.finish();
    let fetched = fetched?;
    context.out.result(&json!({"feeds": fetched}), |page| {
        page.table(&fetched.iter().map(fetched_line).collect::<Vec<_>>());
    })?;
    let failed = fetched.iter().filter(|feed| feed.problem.is_some()).count() as u64;
    if failed == 0 { Ok(()) } else { Err(Failure::Unsound(format!("{} could not be fetched", count(failed, "feed")))) }
}

fn fetched_line(feed: &FeedFetched) -> Vec<String> {
    let what = match &feed.problem {
        Some(problem) => one_line(problem),
        None if feed.unchanged => "unchanged".to_owned(),
        None => format!("{} new of {}", feed.new, feed.entries),
    };
    vec![short(&feed.id), one_line(&feed.title), what]
}

fn import(args: &Import, context: &Context) -> Result<(), Failure> {
    let cannot = |error| Failure::io(format!("{} cannot be read", args.file.display()), error);
    let mut outline = Vec::new();
    let opened = std::fs::File::open(&args.file).map_err(cannot)?;
    let mut opened = std::io::Read::take(opened, OUTLINE_BYTES_MAX);
    std::io::Read::read_to_end(&mut opened, &mut outline).map_err(cannot)?;
    let (new, bad) = context.open_to_edit()?.feeds_import(&outline)?;
    context.out.result(&json!({"new": new, "refused": bad}), |page| {
        page.line(format_args!("Subscribed to {}", count(new, "feed")));
        if bad > 0 {
            page.line(format_args!("{} of no address of the web were left out", count(bad, "entry")));
        }
    })
}
