//! `lifeos export`: all notes as Markdown files, in folders by notebook.

use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{bytes, count};

/// Write all notes as Markdown files.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos export ~/notes-backup\n\nThe files are readable text, not encrypted.")]
pub struct Export {
    /// Folder to write into
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn run(args: &Export, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    let mut bar = context.out.bar();
    let report = client.export_markdown(&args.dir, &mut |step| bar.step(&step));
    bar.finish();
    let report = report?;
    context.out.result(&report, |page| {
        let dir = args.dir.display();
        page.line(format_args!("Wrote {} ({}) to {dir}", count(report.notes, "note"), bytes(report.bytes)));
    })
}
