//! `lifeos device`: which devices hold this space, removing one, and what a removed one wrote last.

use clap::{Args, Subcommand, ValueEnum};
use lifeos_client_core::client::{
    DeviceStatus, RelayWakeup, RemovalOutcome, RemovalReport, SpaceRemoval, WakeupReport,
};
use lifeos_client_core::protocol::record::RemoveReason;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, count, one_line, short, time};

/// The devices of this space.
#[derive(Debug, Subcommand)]
pub enum Device {
    /// List them
    List(List),
    /// Remove one: it cannot read what is written from now on, and nothing it writes is taken any more
    Remove(Remove),
    /// Take in what a removed device wrote last and was set aside
    Adopt(Adopt),
    /// Have relays wake this device by a push service while it is not connected
    Wakeup(Wakeup),
}

/// Be woken.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos device wakeup https://ntfy.example.org/upXyz?up=1\n  lifeos device wakeup --off\n\n\
                        When something is new and this device is not connected, each relay of each of your spaces posts a \
                        token to this address,\nonce until the device has come. It says nothing else. A relay learns who \
                        your push service is and which keys are this\ndevice's; the push service learns when something is \
                        new. Relays are told with the next `lifeos sync`."
)]
#[group(required = true, multiple = false)]
pub struct Wakeup {
    /// Address of a UnifiedPush endpoint or webhook, as the push service gives it; `https://`, or `http://` where a relay allows it
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// Not any more
    #[arg(long)]
    off: bool,
    /// Show the address, the token, and what each relay makes of it
    #[arg(long)]
    show: bool,
}

/// List devices.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos device list")]
pub struct List {}

/// Remove a device.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos device remove \"old phone\" --reason lost\n\n\
                        A device of yours goes from your home and from every space of yours, whichever you work in. \
                        What cannot be done\nnow (a relay that is down) is done by the next sync of any of your \
                        devices. Somebody else's device goes from this\nspace alone.\n\n\
                        What the device holds already, it keeps: no program can take that back. If it was stolen \
                        unlocked, change what it could read elsewhere, too (passwords, PINs).")]
pub struct Remove {
    /// Name of a device of yours, or the beginning of any device's id
    #[arg(value_name = "DEVICE")]
    device: String,
    /// Why
    #[arg(long, value_enum, default_value_t = Reason::Lost)]
    reason: Reason,
    /// Remove a device of yours from this shared space alone: it stays in your home and in your other spaces
    #[arg(long)]
    only_here: bool,
}

/// Take in what was set aside.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos status\n  lifeos device adopt 3fa9\n  lifeos sync\n\n\
                        `lifeos status` lists what was set aside. All that the device wrote up to this envelope is \
                        taken in, here at once and everywhere with your next sync: you vouch for it.")]
pub struct Adopt {
    /// The beginning of the envelope's id, as `lifeos status` shows it
    #[arg(value_name = "ENVELOPE")]
    envelope: String,
}

/// Why a device or member goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reason {
    /// Gone, nobody knows where
    Lost,
    /// Its person leaves
    Left,
    /// Another one takes its place
    Replaced,
    /// In wrong hands
    Compromised,
}

impl From<Reason> for RemoveReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Lost => Self::Lost,
            Reason::Left => Self::Left,
            Reason::Replaced => Self::Replaced,
            Reason::Compromised => Self::Compromised,
        }
    }
}

pub(super) fn run(command: &Device, context: &Context) -> Result<(), Failure> {
    match command {
        Device::List(_) => list(context),
        Device::Remove(args) => context.block_on(remove(args, context)),
        Device::Adopt(args) => adopt(args, context),
        Device::Wakeup(args) => wakeup(args, context),
    }
}

fn list(context: &Context) -> Result<(), Failure> {
    let devices = context.open()?.status()?.devices;
    context.out.result(&json!({"devices": devices}), |page| {
        page.table(&devices.iter().map(row).collect::<Vec<_>>());
    })
}

async fn remove(args: &Remove, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    let (device, reason) = (&args.device, args.reason.into());
    let report = if args.only_here {
        client.device_remove_here(device, reason).await?
    } else {
        client.device_remove(device, reason).await?
    };
    context.out.result(&report, |page| {
        draw_removal(page, &report);
        report.spaces.iter().for_each(|space| draw_space(page, space));
    })
}

/// What became of the device in another space; where it is not, nothing is to be said.
fn draw_space(page: &mut Page, removal: &SpaceRemoval) {
    let id = short(&removal.space);
    let name = if removal.name.is_empty() { id.clone() } else { one_line(&removal.name) };
    let reason = removal.reason.as_deref().unwrap_or("its relay does not know of it yet");
    match removal.outcome {
        RemovalOutcome::Removed => page.line(format_args!("Removed from {name}, too.")),
        RemovalOutcome::Waiting => page.line(format_args!(
            "Not removed from {name} yet ({}): the next sync of any of your devices does it.",
            one_line(reason)
        )),
        RemovalOutcome::Unknown => page.line(format_args!(
            "Not known whether it is in {name}: look with `lifeos device list --space {id}`, and remove it there with \
             `lifeos device remove ID --space {id}`."
        )),
        _ => {}
    }
}

/// What a removal does and does not do, honestly.
pub(super) fn draw_removal(page: &mut Page, report: &RemovalReport) {
    page.line(format_args!("{} is removed.", page.bold(&one_line(&report.name))));
    page.line("Not readable there any more: whatever is written from now on.");
    page.line("Still there: everything it had received until now. No program can take that back.");
    draw_key(page, report);
}

/// What is left to do for the key and for the links, and whether the relay knows.
pub(super) fn draw_key(page: &mut Page, report: &RemovalReport) {
    for link in &report.links_open {
        page.line(format_args!(
            "A link that you may not withdraw may let it in again: ask an owner or admin for `lifeos invite revoke {}`.",
            short(link)
        ));
    }
    if report.key_due {
        page.line("The new key is not made yet: the next sync of a device that may write makes it.");
    }
    if report.sealing_waits {
        page.line("Until then nothing that is written is sent.");
    }
    if let Some(reason) = &report.untold {
        page.line(format_args!("The relay does not know of it yet ({}): run `lifeos sync`.", one_line(reason)));
    }
}

fn adopt(args: &Adopt, context: &Context) -> Result<(), Failure> {
    let changed = context.open()?.device_adopt(&args.envelope)?;
    context.out.result(&json!({"documents_changed": changed}), |page| {
        page.line(format_args!("Taken in: {} changed.", count(changed, "document")));
        page.line("Run `lifeos sync`, and everybody takes it in.");
    })
}

fn wakeup(args: &Wakeup, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    let report = if args.show { client.wakeup()? } else { client.set_wakeup(args.url.as_deref())? };
    context.out.result(&report, |page| draw_wakeup(page, &report))
}

fn draw_wakeup(page: &mut Page, report: &WakeupReport) {
    match (&report.url, &report.token) {
        (Some(url), Some(token)) => {
            page.line(format_args!("Woken at {}", one_line(url)));
            page.line(format_args!("by the token {}, and nothing else.", one_line(token)));
            if report.relays.is_empty() {
                page.line("No relay is set that could do it: run `lifeos relay set URL`.");
            }
        }
        _ => page.line("This device is not woken."),
    }
    let row = |relay: &RelayWakeup| {
        let advice = relay.advice.as_deref().map(one_line).unwrap_or_default();
        vec![short(&relay.space), one_line(&relay.relay), relay.standing.to_owned(), advice]
    };
    page.table(&report.relays.iter().map(row).collect::<Vec<_>>());
}

pub(super) fn row(device: &DeviceStatus) -> Vec<String> {
    let has = if device.this { "this device".to_owned() } else { has(device) };
    let held = format!("{} here", count(device.envelopes, "envelope"));
    vec![short(&device.device), one_line(&device.name), device.kind.clone(), held, has]
}

fn of_others(envelopes: u64) -> String {
    format!("{} of others", count(envelopes, "envelope"))
}

/// What another device has of what is here, by its own word.
fn has(device: &DeviceStatus) -> String {
    let Some(said) = &device.receipt else {
        // Words hold nothing; a device says something once it has synced with this version.
        return if device.kind == "recovery" { String::new() } else { "not known what it has".into() };
    };
    let up_to = said.complete_ms.map(|ms| format!("has everything up to {}", time(ms)));
    let lacks = match (said.unconfirmed_own, said.unconfirmed) {
        (0, 0) => up_to.is_none().then(|| "has all that was sent".to_owned()),
        (0, others) => Some(format!("has all of this device, and has not confirmed {}", of_others(others))),
        (own, _) => Some(format!("has not confirmed {} of this device yet", count(own, "envelope"))),
    };
    let aside = (said.set_aside > 0).then(|| format!("{} set aside there", said.set_aside));
    up_to.into_iter().chain(lacks).chain(aside).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use lifeos_client_core::client::DeviceReceipt;

    use super::*;

    #[test]
    fn what_a_device_has_is_said_in_words_and_never_more_than_it_confirmed() {
        let nothing = DeviceReceipt {
            complete: true,
            complete_ms: None,
            unconfirmed_own: 0,
            unconfirmed: 0,
            set_aside: 0,
            said_ms: None,
            heard_ms: 0,
        };
        let words = |receipt| {
            let (device, name, kind) = (String::new(), String::new(), "normal".to_owned());
            has(&DeviceStatus { device, name, this: false, kind, envelopes: 0, receipt })
        };
        let up_to = "has everything up to 1970-01-01 00:00:01Z";
        let at = DeviceReceipt { complete_ms: Some(1_000), ..nothing };
        let behind = DeviceReceipt { complete: false, unconfirmed_own: 2, unconfirmed: 3, ..at };
        for (receipt, expected) in [
            (None, "not known what it has".to_owned()),
            (Some(nothing), "has all that was sent".to_owned()),
            (Some(at), up_to.to_owned()),
            (Some(behind), format!("{up_to}; has not confirmed 2 envelopes of this device yet")),
            (
                Some(DeviceReceipt { unconfirmed_own: 0, set_aside: 1, ..behind }),
                format!(
                    "{up_to}; has all of this device, and has not confirmed 3 envelopes of others; 1 set aside there"
                ),
            ),
            (
                Some(DeviceReceipt { complete_ms: None, unconfirmed_own: 1, ..behind }),
                "has not confirmed 1 envelope of this device yet".to_owned(),
            ),
        ] {
            assert_eq!(words(receipt), expected);
        }
    }
}
