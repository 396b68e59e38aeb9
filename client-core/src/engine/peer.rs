//! Sync with a device nearby: the temporary relay that it listens with is one more relay, for as long as that lasts, and what
//! it says decides nothing for longer (see [`crate::store::RelayId::is_peer`]).

use std::sync::Arc;

use tokio::sync::watch;

use super::connection::{Mode, OnProgress};
use super::live::{keep_live, round};
use super::{EngineError, Shared, Tally};
use crate::store::RelayId;
use crate::transport::PeerAddress;

/// Sends and receives everything of a space once. What was done until an error is in `tally`, and the next time it goes on
/// from there: each side says what it holds. `mode` is [`Mode::Once`], or [`Mode::Fill`] with this device's own relay.
///
/// # Errors
/// [`EngineError`].
pub(crate) async fn sync_with_peer(
    shared: &Arc<Shared>,
    peer: &PeerAddress,
    mode: Mode,
    progress: OnProgress<'_>,
    tally: &mut Tally,
) -> Result<(), EngineError> {
    let _lock = shared.lock.acquire(shared.space)?;
    let relay = put(shared, peer)?;
    let result = round(shared, relay, mode, tally, progress).await;
    shared.store().remove_peers(&shared.space)?;
    result
}

/// Syncs until `stop` says so (or its sender is gone): for the device that listens, with the relay it runs itself.
///
/// # Errors
/// [`EngineError`] when it cannot begin.
pub(crate) async fn run_live_with_peer(
    shared: Arc<Shared>,
    peer: PeerAddress,
    stop: watch::Receiver<bool>,
) -> Result<(), EngineError> {
    let _lock = shared.lock.acquire(shared.space)?;
    let relay = put(&shared, &peer)?;
    keep_live(Arc::clone(&shared), relay, peer.stored(), stop).await;
    Ok(shared.store().remove_peers(&shared.space)?)
}

fn put(shared: &Shared, peer: &PeerAddress) -> Result<RelayId, EngineError> {
    let relay = shared.store().put_peer(&shared.space, &peer.stored(), &peer.key())?;
    // What went wrong with an earlier one of this number is nothing to this one.
    shared.circuits.worked(relay);
    Ok(relay)
}
