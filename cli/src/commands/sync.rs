//! `lifeos sync`: one round, or (`--watch`) until it is stopped.

use std::convert::Infallible;
use std::time::Duration;

use clap::Args;
use lifeos_client_core::client::{Client, ClientError, Subscription, SyncHandle, SyncReport};
use lifeos_client_core::event::{Event, Origin, SyncState};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, bytes, count, one_line, short};

/// How often a watching sync looks for spaces and devices of this person.
const FOLLOW_EVERY: Duration = Duration::from_secs(30);

/// Send and receive.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos sync\n  lifeos sync --watch --json     one JSON object a line until Ctrl-C\n\n\
                        Watching outlasts lost connections. It ends with exit code 1 where waiting cannot help: no relay\n\
                        is set, or what answers is not the relay whose key is remembered."
)]
pub struct Sync {
    /// Go on until Ctrl-C: reconnect when the connection breaks, send edits as they are made
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(args: &Sync, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    if args.watch {
        return context.block_on(watch(&client, context));
    }
    let mut bar = context.out.bar();
    let report = context.block_on(async { Ok(client.sync_all(&mut |step| bar.step(&step)).await?) });
    bar.finish();
    let report = report?;
    context.out.result(&report, |page| draw(page, &report))
}

fn draw(page: &mut Page, report: &SyncReport) {
    page.line(format_args!("Sent      {} ({})", count(report.pushed, "envelope"), bytes(report.bytes_pushed)));
    page.line(format_args!("Received  {} ({})", count(report.pulled, "envelope"), bytes(report.bytes_pulled)));
    page.line(format_args!("Changed   {} in {} ms", count(report.documents_changed, "document"), report.duration_ms));
    if report.given > 0 {
        page.line(format_args!("Gave back {} that the relay had lost", count(report.given, "envelope")));
    }
    if report.quarantined > 0 {
        let aside = count(report.quarantined, "envelope");
        page.line(format_args!("Set aside {aside} that could not be trusted; see `lifeos status`"));
    }
}

async fn watch(client: &Client, context: &Context) -> Result<(), Failure> {
    let mut events = client.subscribe();
    // The other spaces of this home beside it; what they bring is shown by whoever looks at them.
    let mut clients = client.other_spaces()?;
    clients.push(client.clone());
    let mut live: Vec<_> = clients.iter().map(Client::sync_live).collect();
    // Only the home's own client rings the bell of the home's sync.
    let home = clients.iter().find(|client| client.is_home().unwrap_or(false)).unwrap_or(client).clone();
    let outcome = tokio::select! {
        outcome = show_events(&mut events, context) => outcome,
        never = follow(&home, &mut clients, &mut live) => match never {},
    };
    // What is under way is stored before the process ends, whatever ended the watching.
    for space in live {
        space.stop().await;
    }
    outcome
}

/// Comes into the spaces that other devices of this person make meanwhile, and does there what they ask for.
async fn follow(home: &Client, clients: &mut Vec<Client>, live: &mut Vec<SyncHandle>) -> Infallible {
    loop {
        tokio::time::sleep(FOLLOW_EVERY).await;
        match home.follow(clients).await {
            Ok(entered) => {
                live.extend(entered.iter().map(Client::sync_live));
                clients.extend(entered);
            }
            Err(error) => tracing::debug!(%error, "this person's spaces were not followed"),
        }
    }
}

async fn show_events(events: &mut Subscription, context: &Context) -> Result<(), Failure> {
    let stopped = stop_signal();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            signal = &mut stopped => return signal,
            event = events.next() => match event {
                Some(Event::Sync { state: SyncState::Blocked { reason, untrusted, .. }, .. }) => {
                    return Err(blocked(reason, untrusted));
                }
                Some(event) => show_event(&event, context)?,
                None => return Ok(()),
            },
        }
    }
}

/// Waiting does not help: somebody has to act first.
fn blocked(message: String, untrusted: bool) -> Failure {
    Failure::Client(if untrusted { ClientError::Security { message } } else { ClientError::Invalid { message } })
}

/// Ctrl-C, or what a service manager sends.
async fn stop_signal() -> Result<(), Failure> {
    let failed = |error| Failure::io("cannot wait for signals", error);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(failed),
            _ = terminated.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.map_err(failed)
}

fn show_event(event: &Event, context: &Context) -> Result<(), Failure> {
    context.out.result(&event_json(event), |page| page.line(event_text(event)))
}

fn event_json(event: &Event) -> Value {
    match event {
        Event::DocumentsChanged { space, docs, origin } => json!({
            "event": "documents_changed", "space": space.to_string(), "origin": origin_name(*origin),
            "docs": docs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
        Event::Sync { space, state } => {
            json!({"event": "sync", "space": space.to_string(), "state": state_json(state)})
        }
        Event::Quarantined { space, envelope, reason } => json!({
            "event": "quarantined", "space": space.to_string(), "envelope": envelope.to_string(), "reason": reason,
        }),
        Event::DeviceAdded { space, device, by } => json!({
            "event": "device_added", "space": space.to_string(), "device": device.to_string(), "by": by.to_string(),
        }),
        Event::MembershipChanged { space } => json!({"event": "membership_changed", "space": space.to_string()}),
        Event::Lagged => json!({"event": "lagged"}),
        _ => json!({"event": "other"}),
    }
}

fn state_json(state: &SyncState) -> Value {
    match state {
        SyncState::Waiting { retry_ms, reason } => json!({"name": "waiting", "retry_ms": retry_ms, "reason": reason}),
        SyncState::Connecting => json!({"name": "connecting"}),
        SyncState::CatchingUp { received, total } => {
            json!({"name": "catching_up", "received": received, "total": total})
        }
        SyncState::Live => json!({"name": "live"}),
        _ => json!({"name": "other"}),
    }
}

const fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Local => "local",
        Origin::Remote => "remote",
    }
}

fn event_text(event: &Event) -> String {
    match event {
        Event::DocumentsChanged { docs, origin, .. } => {
            let from = if *origin == Origin::Local { "here" } else { "elsewhere" };
            format!("{} changed {from}", count(docs.len() as u64, "document"))
        }
        Event::Sync { state, .. } => state_text(state),
        Event::Quarantined { envelope, reason, .. } => {
            format!("Set aside {}: {}", short(&envelope.to_string()), one_line(reason))
        }
        Event::DeviceAdded { device, by, .. } => format!(
            "A device of yours was added: {} by {}. If it is not yours: `lifeos device remove {}`",
            short(&device.to_string()),
            short(&by.to_string()),
            short(&device.to_string())
        ),
        Event::MembershipChanged { .. } => "Members or devices changed".into(),
        Event::Lagged => "Too slow to show everything; `lifeos status` tells where things stand".into(),
        _ => "Something else happened".into(),
    }
}

fn state_text(state: &SyncState) -> String {
    match state {
        SyncState::Waiting { retry_ms, reason } => {
            format!("Not connected ({}); trying again in {:.1} s", one_line(reason), *retry_ms as f64 / 1000.0)
        }
        SyncState::Connecting => "Connecting".into(),
        SyncState::CatchingUp { received, total } => format!("Catching up: {received} of {total}"),
        SyncState::Live => "Up to date, listening".into(),
        _ => "Another state".into(),
    }
}
