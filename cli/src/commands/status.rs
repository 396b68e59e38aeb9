//! `lifeos status`: what is not sent, how far each relay has been read, what was noticed and set aside.

use clap::Args;
use lifeos_client_core::client::{RelayStatus, Status};
use serde_json::json;

use super::device;
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, count, one_line, short, time};

/// Where things stand.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos status\n  lifeos status --verify            six digits to compare with another device\n  \
                        lifeos status --json | jq .changes_pending"
)]
pub struct StatusArgs {
    /// Only the six digits that two devices of a space share when they hold the same
    #[arg(long, conflicts_with = "dismiss")]
    verify: bool,
    /// Forget the warnings about relays
    #[arg(long)]
    dismiss: bool,
}

pub(super) fn run(args: &StatusArgs, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    if args.dismiss {
        client.dismiss_warnings()?;
    }
    let status = client.status()?;
    if args.verify {
        let code = json!({"space": status.space, "state_code": status.state_code});
        return context.out.result(&code, |page| verify(page, &status));
    }
    context.out.result(&status, |page| draw(page, &status))
}

fn verify(page: &mut Page, status: &Status) {
    page.line(format_args!("{} {}", &status.state_code[..3], &status.state_code[3..]));
    page.line("");
    page.line("Sync both devices, then read this to each other: equal digits mean equal members, keys and edits.");
    page.line("If they stay different after a sync, a relay may be keeping something from one of you.");
}

fn draw(page: &mut Page, status: &Status) {
    draw_warnings(page, status);
    for device in &status.new_devices {
        let (name, by) = (one_line(&device.name), one_line(&device.by));
        page.line(page.bold(&format!("New device: {name}, added by {by}, noticed {}", time(device.noticed_ms))));
        page.line(format_args!("If it is not yours, remove it: lifeos device remove {}", short(&device.device)));
        page.line("");
    }
    page.table(&[
        vec!["Home".into(), status.home.display().to_string()],
        vec!["Device".into(), format!("{} ({})", one_line(&status.device_name), short(&status.device))],
        vec!["Space".into(), short(&status.space)],
        vec!["Holds".into(), format!("{}, {}", count(status.notes, "note"), count(status.documents, "document"))],
        vec!["To send".into(), to_send(status)],
        vec!["Keys".into(), keys(status)],
    ]);
    let uncovered = status.spaces_uncovered.len() as u64;
    if uncovered > 0 {
        page.line("");
        let spaces = count(uncovered, "shared space");
        page.line(format_args!("Your recovery phrase does not bring back {spaces}: run `lifeos recovery cover`."));
    }
    section(page, "Look at this", &status.alarms.iter().map(|alarm| vec![one_line(alarm)]).collect::<Vec<_>>());
    section(page, "Relays", &status.relays.iter().map(relay_row).collect::<Vec<_>>());
    section(page, "Devices", &status.devices.iter().map(device::row).collect::<Vec<_>>());
    let aside: Vec<_> = status
        .quarantine
        .iter()
        .map(|entry| {
            let author = format!("from {}", one_line(&entry.device));
            vec![short(&entry.envelope), time(entry.since_ms), author, one_line(&entry.reason)]
        })
        .collect();
    section(page, "Set aside", &aside);
}

/// What needs a person's attention comes first.
fn draw_warnings(page: &mut Page, status: &Status) {
    for warning in &status.warnings {
        let relay = one_line(&warning.relay);
        page.line(page.bold(&format!("Warning: {relay}: {}", one_line(&warning.message))));
        page.line(format_args!("  noticed {}, {}", time(warning.since_ms), count(warning.times, "time")));
    }
    for missing in &status.missing {
        let edits = count(u64::from(missing.envelopes), "envelope");
        let (author, told_by) = (one_line(&missing.author), one_line(&missing.told_by));
        let since = time(missing.since_ms);
        page.line(page.bold(&format!("Missing: {edits} of {author}, which {told_by} has had since {since}")));
        if missing.alarm {
            page.line("  The relay may be withholding them: sync through another relay, or compare `status --verify`.");
        }
    }
}

fn section(page: &mut Page, title: &str, rows: &[Vec<String>]) {
    if !rows.is_empty() {
        page.line("");
        page.line(page.bold(title));
        page.table(rows);
    }
}

fn to_send(status: &Status) -> String {
    if status.changes_pending == 0 && status.envelopes_unsent == 0 {
        return "nothing".into();
    }
    format!("{}, {}", count(status.changes_pending, "change"), count(status.envelopes_unsent, "sealed envelope"))
}

fn keys(status: &Status) -> String {
    let keys = &status.keys;
    format!("generation {}, {}: {}", keys.generation, keys.role, one_line(&keys.text))
}

fn relay_row(relay: &RelayStatus) -> Vec<String> {
    let synced = relay.synced_ms.map_or_else(|| "never synced".to_owned(), |ms| format!("synced {}", time(ms)));
    let key = relay.key.as_deref().map_or_else(|| "key not known yet".to_owned(), |key| format!("key {}", short(key)));
    vec![one_line(&relay.url), key, format!("position {}", relay.position), synced]
}
