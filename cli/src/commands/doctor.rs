//! `lifeos doctor`: checks a home from the ground up.

use clap::Args;
use lifeos_client_core::client::DoctorReport;

use crate::context::Context;
use crate::failure::Failure;
use crate::page::one_line;

/// Check the home.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos doctor\n  lifeos doctor --rebuild-projections\n\n\
                        Exit code 1 when a check does not hold.")]
pub struct Doctor {
    /// Make all lists and the search index again from the documents
    #[arg(long)]
    rebuild_projections: bool,
}

pub(super) fn run(args: &Doctor, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    let mut bar = context.out.bar();
    let report = client.doctor(args.rebuild_projections, &mut |step| bar.step(&step));
    bar.finish();
    let report = report?;
    context.out.result(&report, |page| {
        let rows: Vec<_> = report
            .checks
            .iter()
            .map(|check| vec![page.verdict(check.ok), one_line(&check.name), one_line(&check.detail)])
            .collect();
        page.table(&rows);
    })?;
    if report.ok {
        return Ok(());
    }
    Err(Failure::Unsound(complaint(&report)))
}

/// Each check that failed, with its own repair.
fn complaint(report: &DoctorReport) -> String {
    let failed = report.checks.iter().filter(|check| !check.ok);
    let lines: Vec<_> = failed.map(|check| format!("\n  {}: {}", check.name, one_line(&check.detail))).collect();
    format!("not everything is as it should be:{}", lines.concat())
}
