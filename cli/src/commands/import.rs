//! `lifeos import`: notes from elsewhere.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifeos_client_core::client::{ImportEntry, ImportOutcome, ImportReport};

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, count, one_line};

/// Files with a problem that are named on the page; `--json` names all.
const PROBLEMS_SHOWN: usize = 20;

/// Bring in notes from elsewhere.
#[derive(Debug, Subcommand)]
pub enum Import {
    /// A folder (or file) of Markdown
    Markdown(Markdown),
}

/// A folder of Markdown.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos import markdown ~/vault --dry-run\n  lifeos import markdown ~/vault\n\n\
                        Running it again changes nothing; interrupted, it goes on where it was.")]
pub struct Markdown {
    /// Folder or file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(command: Import, context: &Context) -> Result<(), Failure> {
    let Import::Markdown(args) = command;
    let client = context.open()?;
    let mut bar = context.out.bar();
    let report = client.import_markdown(&args.path, args.dry_run, &mut |step| bar.step(&step));
    bar.finish();
    let report = report?;
    context.out.result(&report, |page| draw(page, &report))?;
    if report.failed == 0 {
        return Ok(());
    }
    let files = count(report.failed, "file");
    Err(Failure::Unsound(format!("{files} could not be imported; put right what is said above and run it again")))
}

/// Counts, then the files that did not come in.
pub(crate) fn draw(page: &mut Page, report: &ImportReport) {
    if report.dry_run {
        page.line("Nothing was written. What would happen:");
    }
    let counts = [
        ("created", report.created),
        ("updated", report.updated),
        ("duplicate", report.duplicate),
        ("skipped", report.skipped),
        ("failed", report.failed),
    ];
    let rows: Vec<_> = counts.iter().map(|(name, files)| vec![(*name).to_owned(), files.to_string()]).collect();
    page.table(&rows);
    draw_problems(page, report);
}

fn draw_problems(page: &mut Page, report: &ImportReport) {
    let failed: Vec<&ImportEntry> =
        report.entries.iter().filter(|entry| entry.outcome == ImportOutcome::Failed).collect();
    for entry in failed.iter().take(PROBLEMS_SHOWN) {
        page.line(format_args!("{}: {}", one_line(&entry.path), one_line(&entry.reason)));
    }
    if failed.len() > PROBLEMS_SHOWN {
        page.line(format_args!("… and {} more; --json names them all", failed.len() - PROBLEMS_SHOWN));
    }
}
