//! What the demonstration did, how long it took and what held, shown line by line as it happens.

use std::time::Instant;

use lifeos_client_core::client::{ImportEntry, ImportOutcome, ImportReport};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Out;
use crate::page::{count, one_line};
use crate::progress::Bar;

/// Characters of the widest step or check name.
const NAME_WIDTH: usize = 36;
/// Files with a problem that are named.
const FAILED_MAX: usize = 10;

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Short name, stable.
    pub name: String,
    /// With counts.
    pub detail: String,
    /// Wall time.
    pub duration_ms: u64,
}

/// Something that must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// In words.
    pub name: String,
    /// Whether it held.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
}

/// The import, without the thousands of lines that went well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// New notes.
    pub created: u64,
    /// Same file twice.
    pub duplicate: u64,
    /// Not Markdown.
    pub skipped: u64,
    /// Could not be read.
    pub failed: u64,
    /// The first of these, with reasons.
    pub failed_entries: Vec<ImportEntry>,
}

impl From<ImportReport> for Imported {
    fn from(report: ImportReport) -> Self {
        let failed = report.entries.into_iter().filter(|entry| entry.outcome == ImportOutcome::Failed);
        Self {
            created: report.created,
            duplicate: report.duplicate,
            skipped: report.skipped,
            failed: report.failed,
            failed_entries: failed.take(FAILED_MAX).collect(),
        }
    }
}

/// Everything the demonstration found out; the one JSON document of `lifeos demo --json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every check held.
    pub ok: bool,
    /// Where the notes came from: a path, or `sample`.
    pub vault: String,
    /// Folder that was left behind for exploring.
    pub kept: Option<String>,
    /// What came in.
    pub import: Imported,
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// What was checked, in order.
    pub checks: Vec<Check>,
    /// Wall time of all.
    pub duration_ms: u64,
}

/// Collects steps and checks, and shows each at once.
pub struct Journal {
    out: Out,
    started: Instant,
    /// What was collected.
    pub report: Report,
}

/// A step under way.
pub struct Running {
    name: &'static str,
    since: Instant,
}

impl Journal {
    /// An empty journal.
    #[must_use]
    pub fn new(out: Out, vault: String) -> Self {
        Self { out, started: now(), report: Report { vault, ..Report::default() } }
    }

    /// A progress bar for a long step, taken away before the step's line is shown.
    #[must_use]
    pub fn bar(&self) -> Bar {
        self.out.bar()
    }

    /// A step begins.
    #[must_use]
    pub fn begin(&self, name: &'static str) -> Running {
        Running { name, since: now() }
    }

    /// A step is done.
    ///
    /// # Errors
    /// When nobody reads stdout any more.
    pub fn end(&mut self, step: &Running, detail: String) -> Result<(), Failure> {
        let duration_ms = elapsed_ms(step.since);
        self.out.people(|page| {
            page.line(format_args!("{duration_ms:>8} ms  {:<NAME_WIDTH$}  {}", step.name, one_line(&detail)));
        })?;
        self.report.steps.push(Step { name: step.name.to_owned(), detail, duration_ms });
        Ok(())
    }

    /// Something was checked.
    ///
    /// # Errors
    /// When nobody reads stdout any more.
    pub fn check(&mut self, name: &str, ok: bool, detail: String) -> Result<(), Failure> {
        self.out.people(|page| {
            let mark = if ok { "   " } else { "!! " };
            let verdict = page.verdict(ok);
            let pad = " ".repeat(8_usize.saturating_sub(if ok { 2 } else { 6 }));
            page.line(format_args!("{pad}{verdict} {mark} {name:<NAME_WIDTH$}  {}", one_line(&detail)));
        })?;
        self.report.checks.push(Check { name: name.to_owned(), ok, detail });
        Ok(())
    }

    /// The end: the summary, or with `--json` everything.
    ///
    /// # Errors
    /// [`Failure::Unsound`] when a check did not hold.
    pub fn finish(mut self) -> Result<Report, Failure> {
        self.report.duration_ms = elapsed_ms(self.started);
        let failed = self.report.checks.iter().filter(|check| !check.ok).count() as u64;
        self.report.ok = failed == 0 && !self.report.checks.is_empty();
        let report = self.report;
        self.out.result(&report, |page| {
            page.line("");
            let seconds = report.duration_ms as f64 / 1000.0;
            let checks = count(report.checks.len() as u64, "check");
            if report.ok {
                page.line(page.bold(&format!("all {checks} held, in {seconds:.1} s")));
            } else {
                page.line(page.bold(&format!("{failed} of {checks} did NOT hold")));
            }
        })?;
        if report.ok {
            return Ok(report);
        }
        let names: Vec<_> = report.checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
        Err(Failure::Unsound(format!("did not hold: {}", names.join("; "))))
    }
}

/// The demonstration measures itself; nothing it decides depends on the clock.
fn now() -> Instant {
    Instant::now()
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Global;

    fn journal() -> Journal {
        let quiet = Global { quiet: true, json: true, home: None, space: None };
        Journal::new(Out::from_global(&quiet), "sample".into())
    }

    #[test]
    fn one_check_that_does_not_hold_fails_the_whole() {
        let mut journal = journal();
        journal.check("this holds", true, String::new()).unwrap();
        journal.check("that does not", false, String::new()).unwrap();
        let failure = journal.finish().unwrap_err();
        assert_eq!(failure.to_string(), "did not hold: that does not");
        assert_eq!(failure.exit_code(), 1);
    }

    #[test]
    fn a_journal_without_checks_has_shown_nothing() {
        assert!(journal().finish().is_err());
    }
}
