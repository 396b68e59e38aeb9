//! `lifeos search`: full text over everything on this device.

use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{one_line, short};

/// Find notes, contacts and whatever else is searched.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos search 'rhubarb \"sour cream\" -cake tag:recipes pla*'\n\n\
                        Words must all occur; \"phrases\" as they stand; prefix*; -without; title:word.\n\
                        Conditions, each also with a dash before it:\n  \
                        tag:food (and what is below it)   in:Recipes (a notebook and those inside)   type:note\n  \
                        before:2026-03, after:7d (last change: a date, today, yesterday, or 7d, 2w, 3m, 1y ago)\n  \
                        has:attachment, has:link, has:tag, has:property   prop:state, prop:state=done   is:pinned\n\
                        A query that begins with a dash goes after `--`.")]
pub struct Search {
    /// What to look for
    #[arg(value_name = "QUERY", required = true)]
    query: Vec<String>,
    /// Only entities of this type: note, contact, …
    #[arg(long = "type", value_name = "TYPE")]
    entity_type: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

pub(super) fn run(args: &Search, context: &Context) -> Result<(), Failure> {
    let query = args.query.join(" ");
    let asked = match &args.entity_type {
        Some(wanted) => format!("type:\"{}\" {query}", wanted.replace('"', "")),
        None => query.clone(),
    };
    let hits = context.open()?.search(&asked, args.limit)?;
    context.out.result(&json!({"query": query, "hits": hits}), |page| {
        let rows: Vec<_> = hits
            .iter()
            .map(|hit| vec![short(&hit.id), hit.kind.clone(), one_line(&hit.title), page.dim(&one_line(&hit.snippet))])
            .collect();
        page.table(&rows);
    })
}
