//! `lifeos sync`: one round with the relays, or (`--watch`) until it is stopped; `--peer` and `--listen` are in [`super::peer`].

use std::convert::Infallible;
use std::time::Duration;

use clap::Args;
use lifeos_client_core::client::{Client, ClientError, SpaceNotice, SyncHandle, SyncReport};
use lifeos_client_core::event::{Event, Origin, SyncState};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{peer, status};
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, bytes, count, one_line, short};

/// How often a watching sync looks for spaces and devices of this person.
const FOLLOW_EVERY: Duration = Duration::from_secs(30);
/// Events that wait to be shown; each space holds more back, and says so when some were dropped.
pub(super) const EVENTS_WAITING_MAX: usize = 64;

/// Send and receive.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos sync\n  lifeos sync --watch --json     one JSON object a line until Ctrl-C\n  \
                        lifeos sync --listen           on one device of a local network: prints an address\n  \
                        lifeos sync --peer ADDRESS     on the other: both have everything then\n\n\
                        Watching outlasts lost connections. It ends with exit code 1 where waiting cannot help: no relay\n\
                        is set, or what answers is not the relay whose key is remembered.\n\n\
                        Between two devices nothing else is needed: no relay, no names, no way out of the network. The address\n\
                        names the key that has to answer, and only devices of a space get anything of it, sealed as at a relay.\n\
                        Listening ends with Ctrl-C, after --for, or with --once when somebody was there."
)]
pub struct Sync {
    /// Go on until Ctrl-C: reconnect when the connection breaks, send edits as they are made
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    peer: peer::PeerArgs,
}

pub(super) fn run(args: &Sync, context: &Context) -> Result<(), Failure> {
    if args.peer.is_asked() {
        return peer::run(&args.peer, context);
    }
    let client = context.open()?;
    if args.watch {
        return context.block_on(watch(&client, context));
    }
    let mut bar = context.out.bar();
    let report = context.block_on(async { Ok(client.sync_all(&mut |step| bar.step(&step)).await?) });
    bar.finish();
    let notices = client.notices()?;
    let report = report.inspect_err(|_| say_notices(&notices, context))?;
    let done = Done { report: &report, notices: &notices };
    context.out.result(&done, |page| {
        draw(page, &report);
        draw_notices(page, &notices);
    })
}

/// What a round did, and which spaces have something to look at after it.
#[derive(Serialize)]
struct Done<'a> {
    #[serde(flatten)]
    report: &'a SyncReport,
    notices: &'a [SpaceNotice],
}

fn draw_notices(page: &mut Page, notices: &[SpaceNotice]) {
    if !notices.is_empty() {
        page.line("");
        page.line(page.bold("Look at this"));
        page.table(&notices.iter().map(status::notice_row).collect::<Vec<_>>());
    }
}

/// The same beside an error.
fn say_notices(notices: &[SpaceNotice], context: &Context) {
    if !context.out.is_json() {
        notices.iter().for_each(|notice| context.out.say(&status::notice_row(notice).join("  ")));
    }
}

pub(super) fn draw(page: &mut Page, report: &SyncReport) {
    page.line(format_args!("Sent      {} ({})", count(report.pushed, "envelope"), bytes(report.bytes_pushed)));
    page.line(format_args!("Received  {} ({})", count(report.pulled, "envelope"), bytes(report.bytes_pulled)));
    page.line(format_args!("Changed   {} in {} ms", count(report.documents_changed, "document"), report.duration_ms));
    if report.joined > 0 {
        page.line(format_args!("Took in {} with a checkpoint", count(report.joined, "document")));
    }
    if report.given > 0 {
        page.line(format_args!("Gave back {} that the relay had lost", count(report.given, "envelope")));
    }
    if report.quarantined > 0 {
        let aside = count(report.quarantined, "envelope");
        page.line(format_args!("Set aside {aside} that could not be trusted; see `lifeos status`"));
    }
    for failed in &report.failed {
        page.line(format_args!("Not with {}: {}", one_line(&failed.relay), one_line(&failed.message)));
    }
}

async fn watch(client: &Client, context: &Context) -> Result<(), Failure> {
    let (sender, mut events) = mpsc::channel(EVENTS_WAITING_MAX);
    let mut watched = Watched { clients: client.other_spaces()?, live: Vec::new(), sender };
    watched.clients.push(client.clone());
    watched.clients.iter().for_each(|client| listen(client, watched.sender.clone()));
    watched.live = watched.clients.iter().map(Client::sync_live).collect();
    // Only the home's own client rings the bell of the home's sync.
    let home = watched.clients.iter().find(|client| client.is_home().unwrap_or(false)).unwrap_or(client).clone();
    let outcome = tokio::select! {
        outcome = show_events(client, &mut events, context) => outcome,
        never = follow(&home, &mut watched) => match never {},
    };
    // What is under way is stored before the process ends, whatever ended the watching.
    for space in watched.live {
        space.stop().await;
    }
    outcome
}

/// The spaces that are watched.
struct Watched {
    clients: Vec<Client>,
    live: Vec<SyncHandle>,
    sender: mpsc::Sender<Heard>,
}

/// An event, and the space that it is of.
pub(super) struct Heard {
    pub(super) space: String,
    pub(super) name: String,
    pub(super) event: Event,
}

/// Hands on what happens in a space until nobody listens any more.
pub(super) fn listen(client: &Client, sender: mpsc::Sender<Heard>) {
    let mut events = client.subscribe();
    // Asked for once: a space is seldom renamed while somebody watches.
    let (space, name) = (client.space().to_string(), client.name().unwrap_or_default());
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if sender.send(Heard { space: space.clone(), name: name.clone(), event }).await.is_err() {
                return;
            }
        }
    });
}

/// Comes into the spaces that other devices of this person make meanwhile, and does there what they ask for.
async fn follow(home: &Client, watched: &mut Watched) -> Infallible {
    loop {
        tokio::time::sleep(FOLLOW_EVERY).await;
        match home.follow(&watched.clients).await {
            Ok(entered) => {
                entered.iter().for_each(|client| listen(client, watched.sender.clone()));
                watched.live.extend(entered.iter().map(Client::sync_live));
                watched.clients.extend(entered);
            }
            Err(error) => tracing::debug!(%error, "this person's spaces were not followed"),
        }
    }
}

/// Events of all spaces; only the chosen one ends the watching where waiting cannot help.
async fn show_events(chosen: &Client, events: &mut mpsc::Receiver<Heard>, context: &Context) -> Result<(), Failure> {
    let stopped = stop_signal();
    tokio::pin!(stopped);
    loop {
        let heard = tokio::select! {
            signal = &mut stopped => return signal,
            heard = events.recv() => heard,
        };
        let Some(Heard { space, name, event }) = heard else { return Ok(()) };
        match event {
            Event::Sync { state: SyncState::Blocked { reason, untrusted, .. }, .. }
                if space == chosen.space().to_string() =>
            {
                return Err(blocked(reason, untrusted));
            }
            event => show_event(&event, (&space, &name), context)?,
        }
    }
}

/// Waiting does not help: somebody has to act first.
pub(super) fn blocked(message: String, untrusted: bool) -> Failure {
    Failure::Client(if untrusted { ClientError::Security { message } } else { ClientError::Invalid { message } })
}

/// Ctrl-C, or what a service manager sends.
pub(super) async fn stop_signal() -> Result<(), Failure> {
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

pub(super) fn show_event(event: &Event, (space, name): (&str, &str), context: &Context) -> Result<(), Failure> {
    let mut json = event_json(event);
    if let Some(fields) = json.as_object_mut() {
        fields.insert("space".to_owned(), space.into());
        fields.insert("space_name".to_owned(), name.into());
    }
    let called = if name.is_empty() { short(space) } else { one_line(name) };
    context.out.result(&json, |page| page.line(format_args!("{called}: {}", event_text(event))))
}

/// Without the space, which every event has.
fn event_json(event: &Event) -> Value {
    match event {
        Event::DocumentsChanged { docs, origin, .. } => json!({
            "event": "documents_changed", "origin": origin_name(*origin),
            "docs": docs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
        Event::Sync { state, relay, .. } => json!({"event": "sync", "relay": relay, "state": state_json(state)}),
        Event::Quarantined { envelope, reason, .. } => {
            json!({"event": "quarantined", "envelope": envelope.to_string(), "reason": reason})
        }
        Event::DeviceAdded { device, by, .. } => {
            json!({"event": "device_added", "device": device.to_string(), "by": by.to_string()})
        }
        Event::MembershipChanged { .. } => json!({"event": "membership_changed"}),
        Event::PresenceChanged { .. } => json!({"event": "presence_changed"}),
        Event::Lagged => json!({"event": "lagged"}),
        _ => json!({"event": "other"}),
    }
}

fn state_json(state: &SyncState) -> Value {
    match state {
        SyncState::Waiting { retry_ms, reason } => json!({"name": "waiting", "retry_ms": retry_ms, "reason": reason}),
        // Of another space than the chosen one, whose blocking ends the watching.
        SyncState::Blocked { retry_ms, reason, .. } => {
            json!({"name": "blocked", "retry_ms": retry_ms, "reason": reason})
        }
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
        Event::Sync { state, relay, .. } if relay.is_empty() => state_text(state),
        Event::Sync { state, relay, .. } => format!("{}: {}", one_line(relay), state_text(state)),
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
        Event::PresenceChanged { .. } => "Who is here changed".into(),
        Event::Lagged => "Too slow to show everything; `lifeos status` tells where things stand".into(),
        _ => "Something else happened".into(),
    }
}

fn state_text(state: &SyncState) -> String {
    match state {
        SyncState::Waiting { retry_ms, reason } => {
            format!("Not connected ({}); trying again in {:.1} s", one_line(reason), *retry_ms as f64 / 1000.0)
        }
        SyncState::Blocked { reason, .. } => format!("Not connected: {}", one_line(reason)),
        SyncState::Connecting => "Connecting".into(),
        SyncState::CatchingUp { received, total } => format!("Catching up: {received} of {total}"),
        SyncState::Live => "Up to date, listening".into(),
        _ => "Another state".into(),
    }
}
