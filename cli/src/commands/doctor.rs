//! `lifeos doctor`: checks a home from the ground up, and writes a report without content.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use lifeos_client_core::client::{Client, DoctorReport};
use lifeos_client_core::crypto::SystemRandom;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::page::one_line;

/// Check the home.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos doctor\n  lifeos doctor --rebuild-projections\n  lifeos doctor --bundle report.json   a report for whoever looks for a fault, without content\n\n\
                        Exit code 1 when a check does not hold."
)]
pub struct Doctor {
    /// Make all lists and the search index again from the documents
    #[arg(long)]
    rebuild_projections: bool,
    /// Write a diagnostic report to a new file: counts, sizes, times; no text, name, address, key or full id
    #[arg(long, value_name = "FILE", conflicts_with = "rebuild_projections")]
    bundle: Option<PathBuf>,
}

pub(super) fn run(args: &Doctor, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    if let Some(path) = &args.bundle {
        return bundle(path, &client, context);
    }
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

/// Writes the report, whatever the checks say: it is made because something is wrong.
fn bundle(path: &Path, client: &Client, context: &Context) -> Result<(), Failure> {
    let mut bar = context.out.bar();
    let report = client.diagnostics(&mut SystemRandom::new(), &mut |step| bar.step(&step));
    bar.finish();
    let report = report?;
    let cannot = || format!("cannot write {}: choose another name or folder", path.display());
    let mut text = serde_json::to_vec_pretty(&report).map_err(|error| Failure::io(cannot(), error.into()))?;
    text.push(b'\n');
    // An older report, or anything else that lies there, stays.
    let file = File::options().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
    written.map_err(|error| Failure::io(cannot(), error))?;
    let sound = report["sound"] == json!(true);
    let told = json!({"file": path, "bytes": text.len(), "sound": sound});
    context.out.result(&told, |page| {
        page.line(format_args!(
            "{} holds counts, sizes, times and fixed words, and nothing that you wrote:",
            path.display()
        ));
        page.line("no text, name, address, key or full id. It is plain text: read it before you pass it on.");
        if !sound {
            page.line("Not every check held: `lifeos doctor` says which, and what to do.");
        }
    })
}

/// Each check that failed, with its own repair.
fn complaint(report: &DoctorReport) -> String {
    let failed = report.checks.iter().filter(|check| !check.ok);
    let lines: Vec<_> = failed.map(|check| format!("\n  {}: {}", check.name, one_line(&check.detail))).collect();
    format!("not everything is as it should be:{}", lines.concat())
}
