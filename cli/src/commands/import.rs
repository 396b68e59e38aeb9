//! `lifeos import`: notes from elsewhere, and taking an import back.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifeos_client_core::client::{
    ImportBatch, ImportEntry, ImportOptions, ImportOutcome, ImportReport, ImportUndone, TransferFault, TransferProblem,
};
use lifeos_client_core::import::Format;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, count, one_line, time};

/// Files of one sort that are named on the page; `--json` names all.
const NAMED_MAX: usize = 20;

/// Bring in notes from elsewhere.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(
    after_help = "Examples:\n  lifeos import ~/vault --preview          a folder of Markdown, or an Obsidian vault\n  \
                        lifeos import Notebook.enex              what Evernote exported\n  lifeos import joplin.jex\n  lifeos import outline.opml\n  \
                        lifeos import bookmarks.html\n  lifeos import undo 3                     take the third import back\n\n\
                        Running it again changes nothing; interrupted, it goes on where it was. Files that a note brings along\n\
                        become its attachments. What cannot be taken is named with file, line and reason, the rest is imported,\n\
                        and the exit code is 1."
)]
pub struct Import {
    /// An import that was made, or of one format
    #[command(subcommand)]
    command: Option<ImportCommand>,
    /// File or folder
    #[arg(value_name = "PATH", required = true)]
    path: Option<PathBuf>,
    /// What it is: markdown, obsidian, enex, joplin, opml, html [default: what it looks like]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    format: Option<Format>,
    /// Only say what would happen
    #[arg(long, visible_alias = "dry-run")]
    preview: bool,
}

/// What can be done with imports.
#[derive(Debug, Subcommand)]
pub(super) enum ImportCommand {
    /// A folder (or file) of Markdown
    Markdown(Markdown),
    /// The imports this device remembers, newest first
    List(List),
    /// Take an import back: what it made goes into the trash, what was changed since stays
    Undo(Undo),
}

/// The imports this device remembers.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos import list")]
pub(super) struct List {}

/// Take an import back.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos import undo 3\n\nThe same files can be imported again afterwards.")]
pub(super) struct Undo {
    /// Its number, as `lifeos import list` shows it
    #[arg(value_name = "NUMBER")]
    number: u32,
}

fn format(name: &str) -> Result<Format, String> {
    Format::named(name).ok_or_else(|| "one of markdown, obsidian, enex, joplin, opml, html".to_owned())
}

/// A folder of Markdown.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos import markdown ~/vault --dry-run\n  lifeos import markdown ~/vault\n\n\
                        Running it again changes nothing; interrupted, it goes on where it was.\n\
                        Files that notes link to (`![[img.png]]`, `![](img.png)`) become attachments of these notes.\n\
                        Symbolic links are not followed. One to a file or folder below PATH is skipped, for that is read at its\n\
                        own place; one that leads out of PATH is skipped too. Both are named with what to do next.\n\
                        Exit code 1 if something failed: a file that cannot be read, is too large or not UTF-8, a symbolic link\n\
                        that leads nowhere or back to a folder around it. Everything else is imported all the same.")]
pub(super) struct Markdown {
    /// Folder or file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: Import, context: &Context) -> Result<(), Failure> {
    match args.command {
        Some(ImportCommand::Markdown(args)) => {
            let options = ImportOptions { format: Some(Format::Markdown), dry_run: args.dry_run };
            import(&args.path, &options, context)
        }
        Some(ImportCommand::List(_)) => list(context),
        Some(ImportCommand::Undo(args)) => undo(args.number, context),
        None => {
            let path = args.path.ok_or_else(|| Failure::usage("name a file or folder"))?;
            import(&path, &ImportOptions { format: args.format, dry_run: args.preview }, context)
        }
    }
}

fn list(context: &Context) -> Result<(), Failure> {
    let batches = context.open()?.imports()?;
    context.out.result(&json!({"imports": batches}), |page| {
        page.table(&batches.iter().map(line_of).collect::<Vec<_>>());
    })
}

fn line_of(batch: &ImportBatch) -> Vec<String> {
    let state = match (batch.undone_ms, batch.ended_ms) {
        (Some(_), _) => "taken back",
        (None, None) => "cut off: import it again to go on",
        (None, Some(_)) => "",
    };
    let notes = format!("{} new, {} changed", batch.created, batch.updated);
    let (number, source) = (batch.number.to_string(), one_line(&batch.source));
    vec![number, time(batch.begun_ms), batch.format.clone(), notes, source, state.to_owned()]
}

fn undo(number: u32, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    let mut bar = context.out.bar();
    let report = client.import_undo(number, &mut |step| bar.step(&step));
    bar.finish();
    let report = report?;
    context.out.result(&report, |page| draw_undone(page, &report))
}

fn draw_undone(page: &mut Page, report: &ImportUndone) {
    page.line(format_args!("Took back {}", count(report.undone, "note")));
    if !report.kept.is_empty() {
        let kept = count(report.kept.len() as u64, "note");
        page.line(format_args!("{kept} stayed, for they were changed since: {}", report.kept.join(" ")));
    }
}

fn import(path: &std::path::Path, options: &ImportOptions, context: &Context) -> Result<(), Failure> {
    let client = if options.dry_run { context.open()? } else { context.open_to_edit()? };
    let mut bar = context.out.bar();
    let report = client.import(path, options, &mut |step| bar.step(&step));
    bar.finish();
    let report = report?;
    context.out.result(&report, |page| draw(page, &report))?;
    let refused = report.problems.iter().filter(|problem| problem.fault != TransferFault::Missing).count() as u64;
    if report.failed + refused == 0 {
        return Ok(());
    }
    let files = count(report.failed + refused, "file");
    Err(Failure::Unsound(format!("{files} could not be imported; put right what is said of each and import again")))
}

/// Counts, then what did not come in and why; of a dry run also what would.
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
        ("attached", report.attached),
    ];
    let rows: Vec<_> = counts.iter().map(|(name, files)| vec![(*name).to_owned(), files.to_string()]).collect();
    page.table(&rows);
    let of = |outcome| move |entry: &&ImportEntry| entry.outcome == outcome;
    if let Some(batch) = report.batch {
        page.line(format_args!("Taken back as a whole with: lifeos import undo {batch}"));
    }
    if report.dry_run {
        draw_named(page, "Would be created", report.entries.iter().filter(of(ImportOutcome::Created)));
        draw_named(page, "Would be updated", report.entries.iter().filter(of(ImportOutcome::Updated)));
    }
    let links = report.entries.iter().filter(of(ImportOutcome::Skipped)).filter(|entry| entry.link);
    draw_named(page, "Skipped links", links);
    draw_named(page, "Failed", report.entries.iter().filter(of(ImportOutcome::Failed)));
    draw_problems(page, "Not attached", &report.problems);
}

/// A heading and the first of these problems, each with note, line and reason; nothing if there are none.
pub(super) fn draw_problems(page: &mut Page, heading: &str, problems: &[TransferProblem]) {
    if problems.is_empty() {
        return;
    }
    page.line("");
    page.line(page.bold(heading));
    for problem in problems.iter().take(NAMED_MAX) {
        let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
        let target = problem.target.as_deref().map(|target| format!(" {}", one_line(target))).unwrap_or_default();
        page.line(format_args!("{}{line}{target}: {}", one_line(&problem.file), one_line(&problem.reason)));
    }
    if problems.len() > NAMED_MAX {
        page.line(format_args!("… and {} more; --json names them all", problems.len() - NAMED_MAX));
    }
}

/// A heading and the first of these files, each with its reason; nothing if there are none.
fn draw_named<'r>(page: &mut Page, heading: &str, entries: impl Iterator<Item = &'r ImportEntry>) {
    let entries: Vec<_> = entries.collect();
    if entries.is_empty() {
        return;
    }
    page.line("");
    page.line(page.bold(heading));
    for entry in entries.iter().take(NAMED_MAX) {
        let line = entry.line.map(|line| format!(":{line}")).unwrap_or_default();
        let (path, reason) = (one_line(&entry.path) + &line, one_line(&entry.reason));
        page.line(if reason.is_empty() { path } else { format!("{path}: {reason}") });
    }
    if entries.len() > NAMED_MAX {
        page.line(format_args!("… and {} more; --json names them all", entries.len() - NAMED_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, outcome: ImportOutcome, link: bool) -> ImportEntry {
        let reason = if outcome == ImportOutcome::Created { "" } else { "why; what to do" };
        ImportEntry { path: path.into(), outcome, reason: reason.into(), note: None, link, line: None }
    }

    fn drawn(report: &ImportReport) -> String {
        let mut page = Page::new(false);
        draw(&mut page, report);
        page.into_text()
    }

    #[test]
    fn links_and_failures_are_named_and_other_skipped_files_only_counted() {
        let entries = vec![
            entry("new.md", ImportOutcome::Created, false),
            entry("photo.jpg", ImportOutcome::Skipped, false),
            entry("elsewhere", ImportOutcome::Skipped, true),
            entry("loop", ImportOutcome::Failed, true),
        ];
        let page = drawn(&ImportReport { entries, ..ImportReport::default() });
        assert!(page.contains("\nSkipped links\nelsewhere: why; what to do\n"), "{page}");
        assert!(page.contains("\nFailed\nloop: why; what to do\n"), "{page}");
        assert!(!page.contains("photo.jpg") && !page.contains("new.md"), "{page}");
    }

    #[test]
    fn what_could_not_be_attached_is_named_with_note_line_and_reason() {
        let problem = |line, fault| TransferProblem {
            file: "a.md".into(),
            line,
            target: Some("x.png".into()),
            fault,
            reason: "why; what to do".into(),
        };
        let problems = vec![problem(Some(3), TransferFault::Missing), problem(None, TransferFault::Refused)];
        let page = drawn(&ImportReport { problems, ..ImportReport::default() });
        assert!(page.contains("\nNot attached\na.md:3 x.png: why; what to do\na.md x.png: why"), "{page}");
    }

    #[test]
    fn a_dry_run_names_what_it_would_write_up_to_a_limit() {
        let files = (0..25).map(|at| entry(&format!("{at}.md"), ImportOutcome::Created, false));
        let report = ImportReport { dry_run: true, entries: files.collect(), ..ImportReport::default() };
        let page = drawn(&report);
        assert!(page.contains("Would be created\n0.md\n1.md\n") && page.contains("\n19.md\n"), "{page}");
        assert!(!page.contains("20.md") && page.contains("… and 5 more; --json names them all"), "{page}");
    }
}
