//! `lifeos import`: notes from elsewhere.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifeos_client_core::client::{ImportEntry, ImportOutcome, ImportReport, TransferFault, TransferProblem};

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, count, one_line};

/// Files of one sort that are named on the page; `--json` names all.
const NAMED_MAX: usize = 20;

/// Bring in notes from elsewhere.
#[derive(Debug, Subcommand)]
pub enum Import {
    /// A folder (or file) of Markdown
    Markdown(Markdown),
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
    let client = if args.dry_run { context.open()? } else { context.open_to_edit()? };
    let mut bar = context.out.bar();
    let report = client.import_markdown(&args.path, args.dry_run, &mut |step| bar.step(&step));
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
        let (path, reason) = (one_line(&entry.path), one_line(&entry.reason));
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
        ImportEntry { path: path.into(), outcome, reason: reason.into(), note: None, link }
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
