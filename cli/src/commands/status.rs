//! `lifeos status`: what is not sent, how far each relay has been read, what was noticed and set aside.

use std::collections::BTreeSet;

use clap::Args;
use lifeos_client_core::client::{
    CheckpointStatus, MetricsReport, NoteReceipts, RelayStatus, RelayTrouble, SpaceNotice, Status,
};
use serde_json::json;

use super::{attachment, device, job};
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, count, one_line, short, time};

/// Steps of the past that are shown; `--json` has more.
const TRACES_SHOWN: usize = 20;

/// Where things stand.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos status\n  lifeos status --verify            six digits to compare with another device\n  \
                        lifeos status --note 1f3a         which devices have a note\n  \
                        lifeos status --json | jq .changes_pending"
)]
pub struct StatusArgs {
    /// Only the six digits that two devices of a space share when they hold the same
    #[arg(long, conflicts_with = "dismiss")]
    verify: bool,
    /// Forget the warnings about relays and about what has not come; what proves that one lied stays in --json, under `proofs`
    #[arg(long)]
    dismiss: bool,
    /// Which devices and relays have the newest edits of a note: its id or first characters
    #[arg(long, value_name = "ID", conflicts_with_all = ["verify", "dismiss", "metrics"])]
    note: Option<String>,
    /// What the engine counted and how long its work took, in this space
    #[arg(long, conflicts_with_all = ["verify", "dismiss"])]
    metrics: bool,
}

pub(super) fn run(args: &StatusArgs, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    if let Some(id) = &args.note {
        let receipts = client.note_receipts(id)?;
        return context.out.result(&receipts, |page| draw_note(page, &receipts));
    }
    if args.metrics {
        let metrics = client.metrics()?;
        return context.out.result(&metrics, |page| draw_metrics(page, &metrics));
    }
    if args.dismiss {
        client.dismiss_warnings()?;
    }
    let status = client.status()?;
    if args.verify {
        let code = json!({
            "space": status.space, "space_name": status.space_name, "state_code": status.state_code,
        });
        return context.out.result(&code, |page| verify(page, &status));
    }
    context.out.result(&status, |page| draw(page, &status))
}

fn verify(page: &mut Page, status: &Status) {
    page.line(format_args!("{} {}   {}", &status.state_code[..3], &status.state_code[3..], space(status)));
    page.line("");
    page.line("Sync both devices, then read this to each other, for the same space: equal digits mean equal members,");
    page.line("keys and edits.");
    page.line("If they stay different after a sync, a relay may be keeping something from one of you.");
}

fn draw_metrics(page: &mut Page, metrics: &MetricsReport) {
    if metrics.counts.is_empty() && metrics.times.is_empty() {
        page.line("Nothing was measured yet: it is written down after a sync.");
    }
    let counts: Vec<_> = metrics.counts.iter().map(|one| vec![one_line(&one.name), one.count.to_string()]).collect();
    section(page, "Counts", &counts);
    let times = metrics.times.iter().map(|one| {
        let (half, most, max) = (micros(one.half_us), micros(one.most_us), micros(one.max_us));
        let spread = format!("half below {half}, 99 of 100 below {most}, longest {max}");
        vec![one_line(&one.name), format!("{} times", one.count), format!("{} in all", micros(one.total_us)), spread]
    });
    section(page, "Times", &times.collect::<Vec<_>>());
    let last = metrics
        .traces
        .iter()
        .rev()
        .take(TRACES_SHOWN)
        .map(|step| vec![time(step.at_ms), one_line(&step.step), one_line(&step.outcome), step.count.to_string()]);
    section(page, "Last steps", &last.collect::<Vec<_>>());
}

fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// Who has a note.
fn draw_note(page: &mut Page, note: &NoteReceipts) {
    page.line(format_args!("{} ({})", page.bold(&one_line(&note.title)), short(&note.note)));
    if note.changes_pending > 0 {
        let changes = count(note.changes_pending, "change");
        page.line(format_args!("{changes} of this device are nowhere else yet: run `lifeos sync`."));
    }
    let device = |device: &lifeos_client_core::client::NoteDevice| {
        let heard = device.heard_ms.map_or_else(|| "never heard of".to_owned(), |ms| format!("heard of {}", time(ms)));
        let person = if device.person.is_empty() { String::new() } else { format!("of {}", one_line(&device.person)) };
        vec![short(&device.device), one_line(&device.name), person, one_line(&device.text), heard]
    };
    section(page, "Devices", &note.devices.iter().map(device).collect::<Vec<_>>());
    let relay = |relay: &lifeos_client_core::client::NoteRelay| {
        let has =
            if relay.has { "has all of this device's edits" } else { "lacks edits of this device: run `lifeos sync`" };
        vec![one_line(&relay.url), has.to_owned()]
    };
    section(page, "Relays", &note.relays.iter().map(relay).collect::<Vec<_>>());
    if note.devices.is_empty() && note.relays.is_empty() {
        page.line("It is on this device alone: no other device and no relay is known here.");
    }
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
        vec!["Space".into(), space(status)],
        vec!["Holds".into(), format!("{}, {}", count(status.notes, "note"), count(status.documents, "document"))],
        vec!["To send".into(), to_send(status)],
        vec!["Keys".into(), keys(status)],
    ]);
    if let Some(joining) = &status.joining {
        page.line("");
        let usable = if joining.is_usable { "it can be used meanwhile" } else { "lists come first" };
        page.line(format_args!(
            "Coming: {} of {} documents are here; {usable}.",
            joining.documents, joining.documents_all
        ));
    }
    if status.documents_unverified > 0 {
        page.line("");
        let documents = count(status.documents_unverified, "document");
        page.line(format_args!("{documents} came with a checkpoint and will be looked at before they are changed."));
    }
    if status.documents_unprojected > 0 {
        page.line("");
        let documents = count(status.documents_unprojected, "document");
        page.line(format_args!(
            "After an update, {documents} still stand in lists as before: this is being worked on."
        ));
    }
    if status.documents_newer > 0 {
        page.line("");
        let documents = count(status.documents_newer, "document");
        page.line(format_args!(
            "{documents} made by a newer version of this app: kept here and passed on. Update to see what is in them."
        ));
    }
    for job in &status.jobs {
        page.line("");
        page.line(job::line(job));
    }
    if let Some(until_ms) = status.jobs_paused_ms {
        page.line("");
        page.line(job::paused(until_ms));
    }
    if let Some(made) = &status.checkpoint {
        page.line("");
        page.line(checkpoint(made));
    }
    if let Some(closing) = &status.closed {
        page.line("");
        page.line(format_args!("This space is {}.", one_line(&closing.text())));
    }
    if status.phrase_unchecked {
        page.line("");
        page.line(
            "Your recovery phrase was not typed back yet: run `lifeos recovery check` with the words in your hand.",
        );
    }
    let uncovered = status.spaces_uncovered.len() as u64;
    if uncovered > 0 {
        page.line("");
        let spaces = count(uncovered, "shared space");
        page.line(format_args!("Your recovery phrase does not bring back {spaces}: run `lifeos recovery cover`."));
    }
    if let Some(waiting) = attachment::waiting(&status.attachments) {
        page.line("");
        page.line(format_args!("Attachments: {waiting}."));
    }
    section(page, "Other spaces to look at", &status.other_spaces.iter().map(notice_row).collect::<Vec<_>>());
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
    let next: BTreeSet<&str> = status.quarantine.iter().map(|entry| entry.next.as_str()).collect();
    for next in next {
        page.line(format_args!("  What to do: {}.", one_line(next)));
    }
    let proofs = status.proofs.len() as u64;
    if proofs > 0 {
        page.line("");
        let proofs = count(proofs, "earlier proof");
        page.line(format_args!("Kept: {proofs} that a relay lied; `lifeos status --json` holds what it signed."));
    }
}

/// Who made a checkpoint, and what becomes of it.
pub(super) fn checkpoint(made: &CheckpointStatus) -> String {
    let by = if made.made_by.is_empty() { "a device".to_owned() } else { one_line(&made.made_by) };
    let when = match made.effective_ms {
        Some(effective_ms) if made.standing == "endorsed" => format!(" (on {})", time(effective_ms)),
        _ => String::new(),
    };
    format!("Checkpoint {} by {by}: {}{when}.", short(&made.id), one_line(&made.text))
}

/// A space by name and beginning of its id.
fn space(status: &Status) -> String {
    format!("{} ({})", one_line(&status.space_name), short(&status.space)).trim_start().to_owned()
}

/// What another space has to look at, and how to look.
pub(super) fn notice_row(notice: &SpaceNotice) -> Vec<String> {
    let id = short(&notice.space);
    let how = format!("see `lifeos status --space {id}`");
    vec![id, one_line(&notice.name), one_line(&notice.what.join("; ")), how]
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

pub(super) fn relay_row(relay: &RelayStatus) -> Vec<String> {
    let synced = relay.synced_ms.map_or_else(|| "never synced".to_owned(), |ms| format!("synced {}", time(ms)));
    let key = relay.key.as_deref().map_or_else(|| "key not known yet".to_owned(), |key| format!("key {}", short(key)));
    let unsent = if relay.envelopes_unsent == 0 {
        "has everything of this device".to_owned()
    } else {
        format!("lacks {} of this device", count(relay.envelopes_unsent, "envelope"))
    };
    let trouble = relay.trouble.as_ref().map(trouble).unwrap_or_default();
    let wakeup = relay.wakeup.map(wakeup).unwrap_or_default().to_owned();
    vec![one_line(&relay.url), key, format!("position {}", relay.position), synced, unsent, trouble, wakeup]
}

/// What a relay makes of waking this device.
fn wakeup(standing: &str) -> &'static str {
    match standing {
        "kept" => "wakes this device",
        "unsupported" => "wakes no devices",
        "refused" => "does not ask this device's push service (see `lifeos device wakeup --show`)",
        "gone" => "was told by the push service that its address is gone: set another with `lifeos device wakeup URL`",
        "withdrawing" => "may still wake this device until the next sync",
        _ => "is told with the next sync how to wake this device",
    }
}

/// Why a relay is not connected, and when it is tried next.
fn trouble(trouble: &RelayTrouble) -> String {
    let next = match (trouble.needs_person, trouble.rests) {
        (true, _) => "waits for you".to_owned(),
        (false, true) => format!("left alone until {}", time(trouble.next_ms)),
        (false, false) => format!("tried again at {}", time(trouble.next_ms)),
    };
    format!(
        "{} since {}, {next}: {}",
        count(trouble.failures.into(), "failure"),
        time(trouble.since_ms),
        one_line(&trouble.reason)
    )
}
