//! `lifeos article …`: pages kept to be read offline, and what is highlighted in them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifeos_client_core::client::{Article, Compare, Entity, EntityQuery, SavedArticle};
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, count, many_lines, one_line, short};

/// Largest page that is read from a file.
const PAGE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Pages kept to be read, and what is highlighted in them.
#[derive(Debug, Subcommand)]
pub enum ArticleCommand {
    /// Keep a page: fetched, or from a file
    Save(Save),
    /// The articles, newest first
    List(List),
    /// An article and its highlights
    Show(Show),
    /// Highlight a passage
    Highlight(Highlight),
    /// Take a highlight away
    Unhighlight(Unhighlight),
    /// Say how far you have read
    Read(Read),
    /// Put it away; it stays where it can be found
    Archive(Archive),
}

/// Keep a page.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos article save https://example.org/sea\n  \
                        lifeos article save https://example.org/sea --file sea.html\n\n\
                        What the page is there for is kept, as text with its links; saving it again gives it its new text, and\n\
                        highlights stay where their words are. Without --file the page is fetched from this device; addresses\n\
                        inside its network are refused unless you say --allow-private.")]
pub struct Save {
    /// Address
    #[arg(value_name = "URL")]
    url: String,
    /// The page, as a browser saved it, instead of fetching it
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Fetch also from inside this device's network
    #[arg(long, conflicts_with = "file")]
    allow_private: bool,
}

/// The articles.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos article list --state inbox")]
pub struct List {
    /// inbox, reading, done, archived [default: all but the archived]
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Skip the first
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
}

/// An article and its highlights.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos article show 3f9a\n  lifeos article show 3f9a --markdown > sea.md")]
pub struct Show {
    /// Article
    #[arg(value_name = "ID")]
    id: String,
    /// As a Markdown file, with its highlights behind it
    #[arg(long)]
    markdown: bool,
}

/// Highlight a passage.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos article highlight 3f9a \"the worst of times\" --note \"how true\"")]
pub struct Highlight {
    /// Article
    #[arg(value_name = "ID")]
    id: String,
    /// Words as they stand in its text
    #[arg(value_name = "WORDS")]
    words: String,
    /// Of several places the how many-th
    #[arg(long, value_name = "N", default_value_t = 1)]
    place: usize,
    /// What you think of it
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// yellow, green, blue, red, purple
    #[arg(long, value_name = "COLOUR", default_value = "yellow")]
    color: String,
}

/// Take a highlight away.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos article unhighlight 3f9a 5b0c…")]
pub struct Unhighlight {
    /// Article
    #[arg(value_name = "ID")]
    id: String,
    /// Highlight, by its whole id
    #[arg(value_name = "HIGHLIGHT")]
    highlight: String,
}

/// Say how far you have read.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos article read 3f9a 40\n\nAt 100 the article is done; of several devices the furthest counts."
)]
pub struct Read {
    /// Article
    #[arg(value_name = "ID")]
    id: String,
    /// Per cent
    #[arg(value_name = "PERCENT", value_parser = clap::value_parser!(u16).range(0..=100))]
    percent: u16,
}

/// Put it away.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos article archive 3f9a")]
pub struct Archive {
    /// Article
    #[arg(value_name = "ID")]
    id: String,
}

pub(super) fn run(command: ArticleCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ArticleCommand::Save(args) => save(&args, context),
        ArticleCommand::List(args) => list(&args, context),
        ArticleCommand::Show(args) => show(&args, context),
        ArticleCommand::Highlight(args) => {
            let client = context.open_to_edit()?;
            let passage = (args.words.as_str(), args.place);
            let highlight = client.article_highlight(&args.id, passage, &args.note, &args.color)?;
            let page = |page: &mut Page| page.line(format_args!("Highlighted, as {}", short(&highlight)));
            context.out.result(&json!({"highlight": highlight}), page)
        }
        ArticleCommand::Unhighlight(args) => {
            context.open_to_edit()?.article_unhighlight(&args.id, &args.highlight)?;
            context.out.result(&json!({"removed": args.highlight}), |page| page.line("Taken away"))
        }
        ArticleCommand::Read(args) => {
            let client = context.open_to_edit()?;
            client.article_read_to(&args.id, args.percent * 10)?;
            client.article_set_state(&args.id, if args.percent == 100 { "done" } else { "reading" })?;
            let article = client.article(&args.id)?;
            context.out.result(&json!({"id": article.id, "progress": article.progress}), |page| {
                page.line(format_args!("Read to {} %", article.progress / 10));
            })
        }
        ArticleCommand::Archive(args) => {
            let client = context.open_to_edit()?;
            client.article_set_state(&args.id, "archived")?;
            let article = client.article(&args.id)?;
            context.out.result(&json!({"id": article.id, "state": "archived"}), |page| page.line("Archived"))
        }
    }
}

fn save(args: &Save, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    let saved = match &args.file {
        Some(file) => {
            let cannot = |error| Failure::io(format!("{} cannot be read", file.display()), error);
            let mut page = Vec::new();
            let opened = std::fs::File::open(file).map_err(cannot)?;
            let mut opened = std::io::Read::take(opened, PAGE_BYTES_MAX + 1);
            std::io::Read::read_to_end(&mut opened, &mut page).map_err(cannot)?;
            if page.len() as u64 > PAGE_BYTES_MAX {
                return Err(Failure::invalid("the page is larger than 32 MiB; save it without what it embeds"));
            }
            client.article_save(&args.url, &page)?
        }
        None => context.block_on(async { Ok(client.article_fetch(&args.url, args.allow_private).await?) })?,
    };
    context.out.result(&saved, |page| draw_saved(page, &saved))
}

fn draw_saved(page: &mut Page, saved: &SavedArticle) {
    let what = if saved.is_new { "Saved" } else { "Saved again" };
    let title = if saved.title.is_empty() { &saved.url } else { &saved.title };
    page.line(format_args!("{what} {} ({}), {}", short(&saved.id), one_line(title), count(saved.words, "word")));
}

fn list(args: &List, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    let (compare, state) = args.state.as_deref().map_or((Compare::IsNot, "archived"), |state| (Compare::Is, state));
    let query = EntityQuery {
        wheres: vec![("state".into(), compare, state.into())],
        limit: args.limit,
        offset: args.offset,
        ..EntityQuery::default()
    };
    let mut found = client.entities("article", &query)?;
    for article in &mut found {
        // A list is read at a glance.
        article.values.remove("body");
    }
    context.out.result(&json!({"articles": found}), |page| {
        page.table(&found.iter().map(line).collect::<Vec<_>>());
    })
}

fn line(article: &Entity) -> Vec<String> {
    let text = |name: &str| article.values.get(name).and_then(|value| value.as_str()).unwrap_or_default();
    let words = article.values.get("words").and_then(serde_json::Value::as_u64).unwrap_or(0);
    let title = if text("title").is_empty() { text("url") } else { text("title") };
    // 238 words a minute: adults who read silently (Brysbaert 2019).
    let minutes = if words == 0 { String::new() } else { format!("{} min", words.div_ceil(238)) };
    vec![short(&article.id), text("state").to_owned(), one_line(title), one_line(text("site")), minutes]
}

fn show(args: &Show, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    if args.markdown {
        let markdown = client.article_markdown(&args.id)?;
        return context.out.result(&json!({"markdown": markdown}), |page| page.raw(&markdown));
    }
    let article = client.article(&args.id)?;
    context.out.result(&article, |page| draw(page, &article))
}

fn draw(page: &mut Page, article: &Article) {
    let text = |name: &str| article.values.get(name).and_then(|value| value.as_str()).unwrap_or_default();
    page.line(page.bold(&one_line(text("title"))));
    for name in ["url", "byline", "site", "published", "state"] {
        if !text(name).is_empty() {
            page.line(one_line(text(name)));
        }
    }
    page.line("");
    page.line(many_lines(&article.body));
    for highlight in &article.highlights {
        let lost = if highlight.found.is_none() { " (not in the text any more)" } else { "" };
        page.line(format_args!("{} \"{}\"{lost}", short(&highlight.id), one_line(&highlight.exact)));
        if !highlight.note.is_empty() {
            page.line(format_args!("  {}", one_line(&highlight.note)));
        }
    }
}
