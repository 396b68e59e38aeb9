//! Keeps this relay's spaces up with other relays at the same PostgreSQL server: tells them that something was stored here,
//! is told by them, and asks in any case.
//!
//! Being told saves time and nothing depends on it: what changed is asked of the database, by transaction and position.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, MissedTickBehavior};

use crate::server::{Relay, until_not_running};
use crate::store::postgres::{self, Server};

/// How often it is asked what changed, when nobody says so.
const ASK: Duration = Duration::from_millis(500);
/// Time between two questions, however often somebody says so.
const PAUSE: Duration = Duration::from_millis(5);
/// Time after which listening is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);

type Hears = Pin<Box<dyn Stream<Item = ()> + Send>>;

/// Follows until the relay stops.
pub(crate) async fn run(relay: Arc<Relay>, server: Server) {
    let mut phase = relay.phase.clone();
    tokio::select! {
        () = follow(&relay, &server) => {}
        () = until_not_running(&mut phase) => {}
    }
}

async fn follow(relay: &Relay, server: &Server) {
    let mut ticks = tokio::time::interval(ASK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut since, mut line, mut tried): (u64, Option<(_, Hears)>, Option<Instant>) = (0, None, None);
    let mut is_first = true;
    loop {
        if line.is_none() && tried.is_none_or(|tried| tried.elapsed() >= LISTEN_AGAIN) {
            tried = Some(Instant::now());
            match server.listen().await {
                Ok((client, hears)) => line = Some((client, Box::pin(hears))),
                Err(error) => tracing::warn!(%error, "cannot listen to other relays; they are asked instead"),
            }
        }
        let (mut wrote, mut is_lost) = (false, false);
        tokio::select! {
            _ = ticks.tick() => relay.spaces.follow_again(),
            () = relay.store.written().notified() => wrote = true,
            heard = hear(&mut line) => is_lost = heard.is_none(),
        }
        if wrote && let Some((client, _)) = &line {
            is_lost |= postgres::tell(client).await.is_err();
        }
        if is_lost {
            line = None;
        }
        // Spaces that are in memory know what was stored before this relay asked for the first time.
        match relay.store.readers().changes(if is_first { u64::MAX } else { since }).await {
            Ok((changes, next)) => {
                for change in &changes {
                    relay.spaces.follow(change).await;
                }
                (since, is_first) = (next, false);
            }
            Err(error) => tracing::debug!(%error, "cannot ask what other relays stored"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(line: &mut Option<(tokio_postgres::Client, Hears)>) -> Option<()> {
    match line {
        Some((_, hears)) => hears.next().await,
        None => std::future::pending().await,
    }
}
