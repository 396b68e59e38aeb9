//! The circuit of every relay that this process talks to, by the clock that began when the home was opened.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::EngineError;
use super::breaker::{Breaker, Trouble};
use super::shared::random_u64;
use crate::store::RelayId;

/// What stands between this device and a relay, in times of day (ms UTC), as it is told and written down.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct KnownTrouble {
    pub(crate) reason: String,
    pub(crate) kind: String,
    pub(crate) since_ms: i64,
    pub(crate) failures: u32,
    pub(crate) next_ms: i64,
    pub(crate) rests: bool,
    pub(crate) needs_person: bool,
}

/// Which relays work, in this process.
pub(crate) struct Circuits {
    opened: Instant,
    relays: Mutex<HashMap<RelayId, Breaker>>,
    /// Counts how often somebody asked to try again at once.
    asked: watch::Sender<u64>,
}

impl Circuits {
    pub(super) fn new() -> Self {
        Self { opened: Instant::now(), relays: Mutex::default(), asked: watch::Sender::new(0) }
    }

    fn relays(&self) -> MutexGuard<'_, HashMap<RelayId, Breaker>> {
        self.relays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the home was opened.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Begins a try, or says how long to wait.
    pub(super) fn begin(&self, relay: RelayId) -> Result<(), Duration> {
        self.relays().entry(relay).or_default().begin(self.now_ms()).map_err(Duration::from_millis)
    }

    /// A person asked for this one: it is tried whatever was before.
    pub(super) fn begin_at_once(&self, relay: RelayId) {
        let now_ms = self.now_ms();
        let mut relays = self.relays();
        let breaker = relays.entry(relay).or_default();
        breaker.allow(now_ms);
        // It was allowed a moment ago.
        let _ = breaker.begin(now_ms);
    }

    pub(super) fn worked(&self, relay: RelayId) {
        self.relays().remove(&relay);
    }

    /// How long to wait.
    pub(super) fn failed(&self, relay: RelayId, error: &EngineError) -> Duration {
        let wait_ms = self.relays().entry(relay).or_default().failed(error, self.now_ms(), random_u64());
        Duration::from_millis(wait_ms)
    }

    pub(crate) fn trouble(&self, relay: RelayId) -> Option<Trouble> {
        self.relays().get(&relay)?.trouble()
    }

    /// The network came back, or a person asks: nobody waits any longer.
    pub(crate) fn allow_all(&self) {
        let now_ms = self.now_ms();
        self.relays().values_mut().for_each(|breaker| breaker.allow(now_ms));
        self.asked.send_modify(|count| *count += 1);
    }

    /// Rings when somebody asks to try again at once.
    pub(super) fn bell(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }
}
