//! `lifeos bundle`: what a relay would carry, in a file for a USB stick or a shared folder.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifeos_client_core::client::{BundleBase, BundleExport, BundleImport};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, bytes, count, one_line};

/// Carry a space from device to device in a file, without a relay. Only its devices can read it.
#[derive(Debug, Subcommand)]
pub enum Bundle {
    /// Write what this device holds of a space
    Export(Export),
    /// Take in what a bundle holds
    Import(Import),
}

/// Write what this device holds of a space into a file.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos bundle export stick.bundle\n  \
                        lifeos bundle export monday.bundle --since sunday.bundle\n  \
                        lifeos bundle export for-phone.bundle --for phone\n  \
                        lifeos bundle export everything.bundle --attachments\n\n\
                        The file holds sealed edits and the records of members, devices and keys: no key, and nothing\n\
                        readable. Who finds it sees what a relay sees. A device that was put back from a backup needs one\n\
                        without --for.")]
pub struct Export {
    /// The file; an older one is replaced once the new one is whole
    file: PathBuf,
    /// Leave out what this earlier bundle holds, and those before it
    #[arg(long, value_name = "FILE", conflicts_with = "for_device")]
    since: Option<PathBuf>,
    /// Leave out what this device has confirmed: id, the beginning of one, or name
    #[arg(long = "for", value_name = "DEVICE")]
    for_device: Option<String>,
    /// With the attachments that are on this device
    #[arg(long)]
    attachments: bool,
}

/// Take in what a bundle holds.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos bundle import stick.bundle\n\n\
                        Finds the space by itself. Importing a bundle twice, or an older one later, does no harm. The next\n\
                        `lifeos sync` gives what came to the relay.")]
pub struct Import {
    /// What `lifeos bundle export` wrote
    file: PathBuf,
}

pub(super) fn run(command: Bundle, context: &Context) -> Result<(), Failure> {
    match command {
        Bundle::Export(args) => export(args, context),
        Bundle::Import(args) => import(&args, context),
    }
}

fn export(args: Export, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    let base = match (args.since, args.for_device) {
        (Some(earlier), _) => BundleBase::Bundle(earlier),
        (None, Some(device)) => BundleBase::Device(device),
        (None, None) => BundleBase::Nothing,
    };
    let mut bar = context.out.bar();
    let report = match args.attachments {
        true => client.export_bundle_with_attachments(&args.file, &base, &mut |step| bar.step(&step)),
        false => client.export_bundle(&args.file, &base, &mut |step| bar.step(&step)),
    };
    bar.finish();
    let report = report?;
    context.out.result(&with_file(&args.file, &json!(report)), |page| {
        page.line(format_args!("{} ({})", args.file.display(), bytes(report.bytes)));
        draw_export(page, &report);
    })
}

fn draw_export(page: &mut Page, report: &BundleExport) {
    page.line(format_args!("Holds     {}, {}", count(report.envelopes, "envelope"), count(report.records, "record")));
    if report.chunks > 0 {
        let chunks = count(report.chunks, "chunk");
        page.line(format_args!("Begins    with a checkpoint ({chunks}): the edits before it are forgotten here"));
    }
    if report.parts > 0 {
        page.line(format_args!("Attached  {}", count(report.parts, "part")));
    }
    if report.parts_away > 0 {
        page.line(format_args!(
            "Not in it: {} of attachments that are not on this device: `lifeos attachment pin` and `lifeos sync` fetch them",
            count(report.parts_away, "part")
        ));
    }
    if report.left_out > 0 {
        page.line(format_args!("Left out  {}", count(report.left_out, "envelope")));
    }
    if let Some(why) = &report.unsealed {
        page.line(format_args!(
            "Not in it: {} of this device: {}",
            count(report.changes_pending, "edit"),
            one_line(why)
        ));
    }
}

fn import(args: &Import, context: &Context) -> Result<(), Failure> {
    let client = context.open_home()?;
    let mut bar = context.out.bar();
    let report = client.import_bundle(&args.file, &mut |step| bar.step(&step));
    bar.finish();
    let report = report?;
    context.out.result(&with_file(&args.file, &json!(report)), |page| draw_import(page, &report))
}

fn draw_import(page: &mut Page, report: &BundleImport) {
    page.line(format_args!("Space     {}", one_line(&report.space_name)));
    page.line(format_args!("Received  {}, {}", count(report.received, "envelope"), count(report.records, "record")));
    page.line(format_args!("Changed   {}", count(report.documents_changed, "document")));
    if report.parts > 0 {
        page.line(format_args!("Attached  {}", count(report.parts, "part")));
    }
    if report.quarantined > 0 {
        let aside = count(report.quarantined, "envelope");
        page.line(format_args!("Set aside {aside} that could not be taken in; see `lifeos status`"));
    }
    if report.passed_over > 0 {
        page.line(format_args!(
            "Passed over {} that no device of the space made, or whose predecessors are not here: import the bundle \
             before this one first, or ask for a whole one",
            report.passed_over
        ));
    }
}

fn with_file(file: &std::path::Path, report: &Value) -> Value {
    let mut value = report.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("file".to_owned(), json!(file));
    }
    value
}
