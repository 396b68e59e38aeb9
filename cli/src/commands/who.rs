//! `lifeos who`: which other devices are here now, which this one shows itself to.

use std::time::Duration;

use clap::Args;
use lifeos_client_core::client::{Client, ClientError, DevicePresence, PresenceDraft, Subscription};
use lifeos_client_core::event::{Event, SyncState};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::sync::{blocked, stop_signal};
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, one_line, short};

/// How long a relay is tried before it is said to be out of reach.
const CONNECT_MAX: Duration = Duration::from_secs(15);

/// Who else is here now.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos who\n  lifeos who --watch --json     one JSON object a line, whenever it changes, until Ctrl-C\n\n\
                        Only who shows themselves sees others: they see that this device is here. Nothing of it is stored. It\n\
                        syncs this space meanwhile, so no other sync of this home may run."
)]
pub struct Who {
    /// Listen for so long once the relay is reached
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Go on until Ctrl-C
    #[arg(long, conflicts_with = "seconds")]
    watch: bool,
}

pub(super) fn run(args: &Who, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    context.block_on(async {
        let events = client.subscribe();
        client.set_presence(Some(PresenceDraft::default()))?;
        let live = client.sync_live();
        let seen = listen(args, &client, events, context).await;
        // With a goodbye, whatever ended it.
        live.stop().await;
        match seen? {
            Some(here) => context.out.result(&json!({"here": here}), |page| draw(page, &client, &here)),
            None => Ok(()),
        }
    })
}

/// Who is here when the time is over; with `--watch` they are shown whenever that changes, until it is stopped.
async fn listen(
    args: &Who,
    client: &Client,
    mut events: Subscription,
    context: &Context,
) -> Result<Option<Vec<DevicePresence>>, Failure> {
    let stopped = stop_signal();
    tokio::pin!(stopped);
    let (mut until, mut is_live, mut trouble) = (Some(Instant::now() + CONNECT_MAX), false, String::new());
    let mut shown = None;
    loop {
        let event = tokio::select! {
            signal = &mut stopped => return signal.map(|()| None),
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                if is_live {
                    return Ok(Some(client.presence()?));
                }
                let message = format!("no relay was reached, so nobody is seen: {trouble}");
                return Err(Failure::Client(ClientError::Network { message, transient: true }));
            }
            event = events.next() => event,
        };
        match event {
            None => return Ok(None),
            Some(Event::Sync { state: SyncState::Blocked { reason, untrusted, .. }, .. }) => {
                return Err(blocked(reason, untrusted));
            }
            Some(Event::Sync { state: SyncState::Waiting { reason, .. }, .. }) => trouble = reason,
            Some(Event::Sync { state: SyncState::Live, .. }) if !is_live => {
                is_live = true;
                until = (!args.watch).then(|| Instant::now() + Duration::from_secs(args.seconds.into()));
            }
            _ => {}
        }
        if args.watch && is_live {
            let here = client.presence()?;
            // How long ago each spoke is no news.
            let now: Vec<_> = here.iter().map(|one| (one.device.clone(), one.idle, one.note.clone())).collect();
            if shown.as_ref() != Some(&now) {
                context.out.result(&json!({"here": here}), |page| draw(page, client, &here))?;
                shown = Some(now);
            }
        }
    }
}

fn draw(page: &mut Page, client: &Client, here: &[DevicePresence]) {
    if here.is_empty() {
        page.line("Nobody else is here now.");
    }
    page.table(&here.iter().map(|one| row(client, one)).collect::<Vec<_>>());
}

fn row(client: &Client, one: &DevicePresence) -> Vec<String> {
    let person = if one.person.is_empty() { String::new() } else { format!("of {}", one_line(&one.person)) };
    let does = if one.idle { "here, away from it" } else { "here" };
    let note = one.note.as_ref().map(|id| match client.note(id) {
        Ok(note) => format!("in {} ({})", one_line(&note.title), short(id)),
        Err(_) => format!("in a note that has not come here yet ({})", short(id)),
    });
    vec![short(&one.device), one_line(&one.device_name), person, does.to_owned(), note.unwrap_or_default()]
}
