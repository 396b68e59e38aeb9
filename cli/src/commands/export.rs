//! `lifeos export`: all notes as Markdown files, in folders by notebook.

use std::path::PathBuf;

use clap::Args;

use super::import::draw_problems;
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{bytes, count};

/// Write all notes as Markdown files.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos export ~/notes-backup\n\n\
                        Attachments go where the notes' links say, else below attachments/; what is not on this device is\n\
                        named, and the exit code is 1. The files are readable text, not encrypted.")]
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
        if report.attachments > 0 {
            let files = count(report.attachments, "attachment");
            page.line(format_args!("Wrote {files} ({})", bytes(report.attachment_bytes)));
        }
        draw_problems(page, "Not exported", &report.problems);
    })?;
    if report.problems.is_empty() {
        return Ok(());
    }
    let files = count(report.problems.len() as u64, "attachment");
    Err(Failure::Unsound(format!("{files} could not be exported; everything else was")))
}
