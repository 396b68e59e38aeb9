//! Sync, once or for ever.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{oneshot, watch};

use super::{Client, ClientError, Progress, RelayFailure, SyncReport};
use crate::engine::{EngineError, Failed, Tally, blocking, rest, run_live, spawn, sync_once, sync_over};
use crate::transport::{FrameReceiver, FrameSender};

/// A sync that goes on in the background until it is stopped or dropped.
#[derive(Debug)]
pub struct SyncHandle {
    stop: watch::Sender<bool>,
    done: oneshot::Receiver<()>,
}

impl SyncHandle {
    /// Stops after what is under way is stored.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        // An error means that the task is gone already.
        let _ = self.done.await;
    }
}

impl From<Failed> for RelayFailure {
    fn from(Failed { relay, error }: Failed) -> Self {
        Self { relay, message: error.to_string() }
    }
}

impl Client {
    /// One round with every relay of the space: send everything, receive everything, then return. What went wrong with
    /// some of them is in the report.
    /// # Errors
    /// That of the first relay, when it went well with none:
    /// [`ClientError::Network`], [`ClientError::Security`].
    pub async fn sync(&self, progress: Progress<'_>) -> Result<SyncReport, ClientError> {
        let started = Instant::now();
        let mut tally = Tally::default();
        let result = sync_once(&self.shared, progress, &mut tally).await;
        self.report(started, result, tally).await
    }

    /// One round with this home's relay over a connection that is there already, whatever carries it
    /// ([`crate::transport::memory_pair`] in one process). Ends with the connection where more than one is needed.
    /// # Errors
    /// As [`Client::sync`].
    pub async fn sync_over<S: FrameSender, R: FrameReceiver>(
        &self,
        transport: (S, R),
        progress: Progress<'_>,
    ) -> Result<SyncReport, ClientError> {
        let started = Instant::now();
        let mut tally = Tally::default();
        let result = sync_over(&self.shared, transport, progress, &mut tally).await.map(|()| Vec::new());
        self.report(started, result, tally).await
    }

    pub(super) async fn report(
        &self,
        started: Instant,
        result: Result<Vec<Failed>, EngineError>,
        tally: Tally,
    ) -> Result<SyncReport, ClientError> {
        let shared = Arc::clone(&self.shared);
        let upkeep = blocking(move || rest(&shared)).await;
        let failed = result?;
        if let Ok(upkeep) = upkeep {
            upkeep?;
        }
        Ok(SyncReport {
            pushed: tally.pushed,
            given: tally.given,
            joined: tally.joined,
            pulled: tally.pulled,
            bytes_pushed: tally.bytes_pushed,
            bytes_pulled: tally.bytes_pulled,
            documents_changed: tally.changed.len() as u64,
            quarantined: tally.quarantined,
            failed: failed.into_iter().map(Into::into).collect(),
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The network came back, or a person asks: relays that are left alone for a while are tried at once.
    pub fn retry_now(&self) {
        self.shared.circuits.allow_all();
    }

    /// Syncs for ever: reconnects with backoff and jitter, sends local edits as they are made. Outside a tokio
    /// runtime it brings its own thread.
    #[must_use = "dropping the handle stops the sync"]
    pub fn sync_live(&self) -> SyncHandle {
        let shared = Arc::clone(&self.shared);
        SyncHandle::spawn(|stopped| run_live(shared, stopped))
    }
}

impl SyncHandle {
    /// Runs what is given a flag to stop by. Outside a tokio runtime it gets its own thread.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(watch::Receiver<bool>) -> F) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (tell_done, done) = oneshot::channel();
        let running = run(stopped);
        let live = async move {
            running.await;
            let _ = tell_done.send(());
        };
        match tokio::runtime::Handle::try_current() {
            Ok(_) => drop(spawn(live)),
            Err(_) => drop(std::thread::spawn(move || {
                match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime.block_on(live),
                    Err(error) => tracing::error!(%error, "no thread for syncing"),
                }
            })),
        }
        Self { stop, done }
    }
}
