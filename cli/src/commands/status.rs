//! `lifeos status`: what is not sent, what every relay and device has, what was set aside.

use clap::Args;
use lifeos_client_core::client::{RelayStatus, Status};

use super::device;
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, count, one_line, short, time};

/// Where things stand.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos status\n  lifeos status --json | jq .changes_pending")]
pub struct StatusArgs {}

pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let status = context.open()?.status()?;
    context.out.result(&status, |page| draw(page, &status))
}

fn draw(page: &mut Page, status: &Status) {
    page.table(&[
        vec!["Home".into(), status.home.display().to_string()],
        vec!["Device".into(), format!("{} ({})", one_line(&status.device_name), short(&status.device))],
        vec!["Space".into(), short(&status.space)],
        vec!["Holds".into(), format!("{}, {}", count(status.notes, "note"), count(status.documents, "document"))],
        vec!["To send".into(), to_send(status)],
    ]);
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

fn relay_row(relay: &RelayStatus) -> Vec<String> {
    let synced = relay.synced_ms.map_or_else(|| "never synced".to_owned(), |ms| format!("synced {}", time(ms)));
    let key = relay.key.as_deref().map_or_else(|| "key not known yet".to_owned(), |key| format!("key {}", short(key)));
    vec![one_line(&relay.url), key, format!("position {}", relay.position), synced]
}
