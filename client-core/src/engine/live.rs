//! One round of sync, and sync that never ends: lock, connect to every relay of the space, run, wait, again.
//!
//! Relays know nothing of each other. What one of them gave is given to the others by whoever hears it: in a round the
//! earlier ones are visited once more, and live connections look again at what their relay lacks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::sleep;

use super::connection::{OnProgress, run};
use super::shared::{random_u64, wall_ms};
use super::{Breaker, Circuit, EngineError, Mode, Shared, Tally, task, upkeep};
use crate::event::{Event, SyncState};
use crate::metrics::Tick;
use crate::store::{RelayId, RelayState, StoreError};
use crate::transport::{FrameReceiver, FrameSender, connect, dialled};

/// How often the lock is tried while another process syncs, and the list of relays is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Connections made anew in one round because of what was learned on the one before.
const FETCHES_MAX: usize = 3;

/// A relay with which a round failed.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Its address.
    pub(crate) relay: String,
    /// Why.
    pub(crate) error: EngineError,
}

/// Sends and receives everything once, with every relay of the space. Those that failed are told if another did not.
///
/// # Errors
/// [`EngineError`] of the first relay, when it went well with none; what was done until then stays done.
pub(crate) async fn sync_once(
    shared: &Arc<Shared>,
    progress: OnProgress<'_>,
    tally: &mut Tally,
) -> Result<Vec<Failed>, EngineError> {
    let _lock = shared.lock.acquire(shared.space)?;
    let (mut failed, mut done, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    for relay in relays(shared)? {
        let heads = shared.state().membership.heads.clone();
        let mut with_one = Tally::default();
        let result = round(shared, relay.id, Mode::Once, &mut with_one, &mut *progress).await;
        if with_one.pulled > 0 || shared.state().membership.heads != heads {
            behind.clone_from(&done);
        }
        tally.add(with_one);
        match result {
            Ok(()) => done.push(relay.id),
            Err(error) => failed.push(Failed { relay: relay.url, error }),
        }
    }
    for relay in behind {
        let mut with_one = Tally::default();
        // It went well a moment ago: what does not go now, the next round does.
        if let Err(error) = round(shared, relay, Mode::Once, &mut with_one, &mut *progress).await {
            tracing::info!(%error, "a relay was not given at once what another one had");
        }
        tally.add(with_one);
    }
    if done.is_empty() && !failed.is_empty() {
        let error = failed.swap_remove(0).error;
        return Err(note_refusal(shared, error)?);
    }
    Ok(failed)
}

/// One relay, with new connections where what was learned asks for them.
pub(super) async fn round(
    shared: &Arc<Shared>,
    relay: RelayId,
    mode: Mode,
    tally: &mut Tally,
    progress: OnProgress<'_>,
) -> Result<(), EngineError> {
    let (_stop_sender, stop) = watch::channel(false);
    shared.circuits.begin_at_once(relay);
    let mut result = attempt(shared, relay, mode, tally, &mut *progress, stop.clone()).await;
    for _ in 0..FETCHES_MAX {
        if !matches!(result, Err(EngineError::FetchAgain)) {
            break;
        }
        tally.was_live = false;
        result = attempt(shared, relay, mode, tally, &mut *progress, stop.clone()).await;
    }
    // Said by a connection before the last one, perhaps.
    if result.is_ok() && std::mem::take(&mut tally.records_refused) {
        result = Err(EngineError::RecordsRefused);
    }
    if let Err(error) = &result
        && !tally.was_live
    {
        note_failure(shared, relay, error);
    }
    result
}

/// Sends and receives everything once over a connection that somebody else made.
///
/// # Errors
/// [`EngineError`]; what was done until then stays done.
pub(crate) async fn sync_over<S: FrameSender, R: FrameReceiver>(
    shared: &Arc<Shared>,
    transport: (S, R),
    progress: OnProgress<'_>,
    tally: &mut Tally,
) -> Result<(), EngineError> {
    let _lock = shared.lock.acquire(shared.space)?;
    let (_stop_sender, stop) = watch::channel(false);
    let relay = relays(shared)?.swap_remove(0);
    let result = note_end(shared, run(shared, relay.id, transport, Mode::Once, tally, progress, stop).await);
    result.or_else(|error| Err(note_refusal(shared, error)?))
}

/// Makes the records equal with those of the first relay, which links and invitations name, and nothing else.
///
/// # Errors
/// [`EngineError`].
pub(crate) async fn exchange_records(shared: &Arc<Shared>) -> Result<(), EngineError> {
    let (_stop_sender, stop) = watch::channel(false);
    let relay = relays(shared)?.swap_remove(0);
    let result = attempt(shared, relay.id, Mode::Records, &mut Tally::default(), &mut |_| {}, stop).await;
    result.or_else(|error| Err(note_refusal(shared, error)?))
}

/// Syncs with every relay until `stop` says so (or its sender is gone).
pub(crate) async fn run_live(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let (mut lock, mut breaker) = (None, Breaker::default());
    let mut running = Running::default();
    shared.presence.set_leaving(false);
    while !is_stopped(&stop) {
        if lock.is_none() {
            lock =
                shared.lock.acquire(shared.space).map_err(|error| tell_waiting(&shared, "", &error, LOOK_EVERY)).ok();
        }
        if lock.is_some() {
            carry_out_erasures(&shared).await;
        }
        let found = if lock.is_some() { relays(&shared) } else { Ok(Vec::new()) };
        let wait = match found {
            Ok(relays) => {
                running.follow(&shared, &relays);
                breaker.worked();
                LOOK_EVERY
            }
            Err(error) => {
                running.follow(&shared, &[]);
                let wait = Duration::from_millis(breaker.failed(&error, shared.circuits.now_ms(), random_u64()));
                tell_waiting(&shared, "", &error, wait);
                wait
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            _ = stop.wait_for(|stop| *stop) => {}
            () = running.ended(), if !running.tasks.is_empty() => {}
        }
    }
    shared.presence.set_leaving(true);
    running.follow(&shared, &[]);
    while !running.tasks.is_empty() {
        running.ended().await;
    }
}

/// What is to be erased goes when its time has come, whether a relay can be reached or not.
async fn carry_out_erasures(shared: &Arc<Shared>) {
    let work = Arc::clone(shared);
    let done = match upkeep::has_erasures(shared) {
        Ok(true) => task::blocking(move || upkeep::erase(&work, wall_ms())).await.unwrap_or(Ok(())),
        found => found.map(drop),
    };
    if let Err(error) = done {
        tracing::warn!(%error, "an erasure that is due cannot be carried out now");
    }
}

/// Relays that are synced with, each by a task of its own.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    relays: HashMap<Id, (RelayId, watch::Sender<bool>)>,
}

impl Running {
    /// Begins with those that are new, and ends with those that are there no more.
    fn follow(&mut self, shared: &Arc<Shared>, relays: &[RelayState]) {
        for (relay, stop) in self.relays.values() {
            if !relays.iter().any(|known| known.id == *relay) {
                stop.send_replace(true);
            }
        }
        for relay in relays {
            if !self.relays.values().any(|(known, _)| *known == relay.id) {
                let (stop, stopped) = watch::channel(false);
                let live = keep_live(Arc::clone(shared), relay.id, relay.url.clone(), stopped);
                #[cfg(feature = "simulation")]
                let live = crate::simulation::in_node(crate::simulation::node(), live);
                let task = self.tasks.spawn(live);
                #[cfg(feature = "simulation")]
                super::task::simulated::remember(task.clone());
                self.relays.insert(task.id(), (relay.id, stop));
            }
        }
    }

    /// Waits until a task has ended; [`Self::follow`] begins another, if it should go on, after a fault a little later.
    async fn ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(Ok((task, ()))) => drop(self.relays.remove(&task)),
            Some(Err(error)) => {
                tracing::error!(%error, "the sync with a relay stopped by a fault");
                self.relays.remove(&error.id());
                sleep(LOOK_EVERY).await;
            }
            None => {}
        }
    }
}

/// Syncs with one relay until `stop` says so, or it is not a relay of this space any more.
pub(super) async fn keep_live(shared: Arc<Shared>, relay: RelayId, url: String, mut stop: watch::Receiver<bool>) {
    let mut asked = shared.circuits.bell();
    while !is_stopped(&stop) {
        if let Err(wait) = shared.circuits.begin(relay) {
            tokio::select! {
                () = sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => return,
                // The sender lives as long as the home is open.
                _ = asked.changed() => {}
            }
            continue;
        }
        let mut tally = Tally::default();
        let ended = attempt(&shared, relay, Mode::Live, &mut tally, &mut |_| {}, stop.clone()).await;
        let error = ended.err().unwrap_or(EngineError::Stopped);
        if is_stopped(&stop) || matches!(error, EngineError::Store(StoreError::UnknownRelay)) {
            return;
        }
        shared.metrics.count(Tick::Retries, 1);
        let wait = note_failure(&shared, relay, &error);
        tell_waiting(&shared, &url, &error, wait);
        if !relay.is_peer()
            && let Err(error) = note_refusal(&shared, error)
        {
            tracing::warn!(%error, "that the relay lets nobody in is not kept");
        }
    }
}

/// Holds a failure against the relay's circuit; how long to wait.
fn note_failure(shared: &Shared, relay: RelayId, error: &EngineError) -> Duration {
    let wait = shared.circuits.failed(relay, error);
    if let Some(trouble) = shared.circuits.trouble(relay).filter(|trouble| trouble.circuit == Circuit::Open) {
        shared.metrics.count(Tick::CircuitsOpened, 1);
        shared.trace("circuit_open", trouble.kind, u64::from(trouble.failures));
    }
    // It is told all the same while this process runs.
    if let Err(error) = shared.keep_trouble(relay) {
        tracing::warn!(%error, "why a relay does not work is not kept");
    }
    wait
}

/// Counts a connection and what came of it.
fn note_end<T>(shared: &Shared, result: Result<T, EngineError>) -> Result<T, EngineError> {
    shared.metrics.count(Tick::Connections, 1);
    let outcome = match &result {
        Ok(_) | Err(EngineError::Stopped) => "done",
        Err(error) => {
            shared.metrics.count(Tick::Failures, 1);
            error.name()
        }
    };
    shared.trace("connection_end", outcome, 0);
    result
}

fn tell_waiting(shared: &Shared, relay: &str, error: &EngineError, wait: Duration) {
    let (retry_ms, reason) = (u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), error.to_string());
    let state = if error.needs_relay_set() {
        SyncState::Blocked { retry_ms, reason, untrusted: error.is_trust() }
    } else {
        SyncState::Waiting { retry_ms, reason }
    };
    shared.emit(Event::Sync { space: shared.space, relay: relay.to_owned(), state });
}

fn is_stopped(stop: &watch::Receiver<bool>) -> bool {
    *stop.borrow() || stop.has_changed().is_err()
}

async fn attempt(
    shared: &Arc<Shared>,
    relay: RelayId,
    mode: Mode,
    tally: &mut Tally,
    progress: OnProgress<'_>,
    stop: watch::Receiver<bool>,
) -> Result<(), EngineError> {
    note_end(shared, connect_and_run(shared, relay, mode, tally, progress, stop).await)
}

async fn connect_and_run(
    shared: &Arc<Shared>,
    relay: RelayId,
    mode: Mode,
    tally: &mut Tally,
    progress: OnProgress<'_>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), EngineError> {
    let relay = shared.store().reads().relay(relay)?;
    let url = dialled(&relay.url)?;
    let transport = tokio::select! {
        transport = connect(&url) => transport?,
        _ = stop.wait_for(|stop| *stop) => return Err(EngineError::Stopped),
    };
    run(shared, relay.id, transport, mode, tally, progress, stop).await
}

/// A removed device learns of it from the relay's refusal; the status then says so, also when nothing runs.
fn note_refusal(shared: &Shared, error: EngineError) -> Result<EngineError, StoreError> {
    if error.is_stranger() {
        let reason = format!("{error}; what is here stays readable");
        shared.store().note_refusal(&shared.space, Some(&reason))?;
    }
    Ok(error)
}

/// The relays of the space, in the order they were added; at least one.
fn relays(shared: &Shared) -> Result<Vec<RelayState>, EngineError> {
    let relays = shared.store().relays(&shared.space)?;
    if relays.is_empty() { Err(EngineError::NoRelay) } else { Ok(relays) }
}
