//! One round of sync, and sync that never ends: lock, connect, run, wait, again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::connection::{OnProgress, run};
use super::lock::SpaceLock;
use super::{Backoff, EngineError, Mode, Shared, Tally};
use crate::crypto::{SystemRandom, random_bytes};
use crate::event::{Event, SyncState};
use crate::store::{RelayState, StoreError};
use crate::transport::{FrameReceiver, FrameSender, RelayUrl, connect};

/// How often the lock is tried while another process syncs.
const LOCK_EVERY: Duration = Duration::from_secs(5);

/// Connections made anew in one round because of what was learned on the one before.
const FETCHES_MAX: usize = 3;

/// Sends and receives everything once.
///
/// # Errors
/// [`EngineError`]; what was done until then stays done.
pub(crate) async fn sync_once(
    shared: &Arc<Shared>,
    progress: OnProgress<'_>,
    tally: &mut Tally,
) -> Result<(), EngineError> {
    let _lock = shared.lock.acquire(shared.space)?;
    let (stop_sender, stop) = watch::channel(false);
    let mut result = attempt(shared, Mode::Once, tally, &mut *progress, stop.clone()).await;
    for _ in 0..FETCHES_MAX {
        if !matches!(result, Err(EngineError::FetchAgain)) {
            break;
        }
        tally.was_live = false;
        result = attempt(shared, Mode::Once, tally, &mut *progress, stop.clone()).await;
    }
    drop(stop_sender);
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
    let (stop_sender, stop) = watch::channel(false);
    let result = run(shared, &first_relay(shared)?, transport, Mode::Once, tally, progress, stop).await;
    drop(stop_sender);
    note_refusal(shared, &result)?;
    result
}

/// Makes the records equal with the relay's, and nothing else.
///
/// # Errors
/// [`EngineError`].
pub(crate) async fn exchange_records(shared: &Arc<Shared>) -> Result<(), EngineError> {
    let (stop_sender, stop) = watch::channel(false);
    let result = attempt(shared, Mode::Records, &mut Tally::default(), &mut |_| {}, stop).await;
    drop(stop_sender);
    result
}

/// Syncs until `stop` says so (or its sender is gone).
pub(crate) async fn run_live(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut backoff = Backoff::default();
    let mut lock = None;
    while !is_stopped(&stop) {
        let error = match hold_lock(&shared, &mut lock) {
            Ok(()) => {
                let mut tally = Tally::default();
                let ended = attempt(&shared, Mode::Live, &mut tally, &mut |_| {}, stop.clone()).await;
                if tally.was_live {
                    backoff.reset();
                }
                ended.err().unwrap_or(EngineError::Stopped)
            }
            Err(error) => error,
        };
        if is_stopped(&stop) {
            return;
        }
        let wait_ms = match error {
            EngineError::Locked => u64::try_from(LOCK_EVERY.as_millis()).unwrap_or(u64::MAX),
            ref error => backoff.next_ms(error, u64::from_be_bytes(random_bytes(&mut SystemRandom::new()))),
        };
        let (retry_ms, reason) = (wait_ms, error.to_string());
        let state = if error.needs_relay_set() {
            SyncState::Blocked { retry_ms, reason, untrusted: error.is_trust() }
        } else {
            SyncState::Waiting { retry_ms, reason }
        };
        shared.emit(Event::Sync { space: shared.space, state });
        tokio::select! {
            () = sleep(Duration::from_millis(wait_ms)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn is_stopped(stop: &watch::Receiver<bool>) -> bool {
    *stop.borrow() || stop.has_changed().is_err()
}

/// Takes the lock if it is not held yet; it stays held between connections.
fn hold_lock(shared: &Shared, lock: &mut Option<SpaceLock>) -> Result<(), EngineError> {
    if lock.is_none() {
        *lock = Some(shared.lock.acquire(shared.space)?);
    }
    Ok(())
}

async fn attempt(
    shared: &Arc<Shared>,
    mode: Mode,
    tally: &mut Tally,
    progress: OnProgress<'_>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), EngineError> {
    let relay = first_relay(shared)?;
    let url: RelayUrl = relay.url.parse()?;
    let transport = tokio::select! {
        transport = connect(&url) => transport?,
        _ = stop.wait_for(|stop| *stop) => return Err(EngineError::Stopped),
    };
    let result = run(shared, &relay, transport, mode, tally, progress, stop).await;
    note_refusal(shared, &result)?;
    result
}

/// A removed device learns of it from the relay's refusal; the status then says so, also when nothing runs.
fn note_refusal(shared: &Shared, result: &Result<(), EngineError>) -> Result<(), StoreError> {
    match result {
        Err(error) if error.is_stranger() => {
            shared.store().note_refusal(&shared.space, Some(&format!("{error}; what is here stays readable")))
        }
        Ok(()) => shared.store().note_refusal(&shared.space, None),
        Err(_) => Ok(()),
    }
}

/// The relay to sync with. State is kept for each relay, so that more can follow.
fn first_relay(shared: &Shared) -> Result<RelayState, EngineError> {
    let relays: Result<_, StoreError> = shared.store().relays(&shared.space);
    relays?.into_iter().next().ok_or(EngineError::NoRelay)
}
