//! What every part of an open home shares: the store behind its lock, keys, events, and the bell that rings
//! after a local edit.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use lifeos_sync_protocol::ids::{DocId, SignPk, SpaceId};
use tokio::sync::{broadcast, watch};

use super::breaker::Circuit;
use super::circuits::KnownTrouble;
use super::presence::LivePresence;
use super::{Circuits, HomeLock, Jobs, SpaceState};
use crate::crypto::{SystemRandom, random_bytes};
use crate::event::{Event, Origin};
use crate::keys::{DeviceKeys, DeviceRoot};
use crate::metrics::Metrics;
use crate::store::{Commit, Reader, ReceiveReport, RelayId, Store, StoreError};

/// Events a subscriber may lag behind before it is told to read everything again.
const EVENTS_MAX: usize = 1024;

/// Documents that come ahead of the rest while a checkpoint is taken in; who asks for more waits for those asked for last.
const AWAITED_MAX: usize = 64;

/// An open home.
pub(crate) struct Shared {
    pub(crate) home: PathBuf,
    pub(crate) space: SpaceId,
    pub(crate) device: SignPk,
    /// What `keys` were derived from; a recovery in progress proves another key.
    pub(crate) root: DeviceRoot,
    pub(crate) keys: DeviceKeys,
    /// Who syncs; the spaces of a home share it.
    pub(crate) lock: Arc<HomeLock>,
    /// Counts local commits: there may be something to seal.
    pub(crate) edited: watch::Sender<u64>,
    /// Bytes of the changes in them.
    pub(crate) bytes_edited: AtomicU64,
    /// Counts envelopes received: what came by one relay, others may lack.
    pub(crate) news: watch::Sender<u64>,
    /// Who is here now.
    pub(crate) presence: LivePresence,
    store: Mutex<Store>,
    reader: Mutex<Reader>,
    state: RwLock<Arc<SpaceState>>,
    events: broadcast::Sender<Event>,
    /// Somebody asked for a checkpoint.
    compaction: AtomicBool,
    /// Which relays work.
    pub(crate) circuits: Circuits,
    /// Held by who does what is done at rest: nothing of it is done twice at once.
    pub(super) upkeep: Mutex<()>,
    /// Not before then is it tried again to write the database anew.
    scrub_at: Mutex<Option<Instant>>,
    /// What is done in the background.
    pub(crate) jobs: Jobs,
    /// What this home's work costs.
    pub(crate) metrics: Arc<Metrics>,
}

impl Shared {
    pub(crate) fn new(
        home: PathBuf,
        store: Store,
        reader: Reader,
        (root, keys): (DeviceRoot, DeviceKeys),
        (space, device): (SpaceId, SignPk),
        lock: Option<Arc<HomeLock>>,
    ) -> Result<Self, StoreError> {
        let state = SpaceState::load(&store, &space, &keys)?;
        store.notice_devices(&space, &state.membership, &device, wall_ms())?;
        Ok(Self {
            lock: lock.unwrap_or_else(|| HomeLock::new(home.clone())),
            home,
            space,
            device,
            root,
            keys,
            edited: watch::Sender::new(0),
            bytes_edited: AtomicU64::new(0),
            news: watch::Sender::new(0),
            presence: LivePresence::new(),
            reader: Mutex::new(reader.measured(&store.metrics())?),
            state: RwLock::new(Arc::new(state)),
            events: broadcast::channel(EVENTS_MAX).0,
            compaction: AtomicBool::new(false),
            circuits: Circuits::new(),
            jobs: Jobs::new(),
            upkeep: Mutex::new(()),
            scrub_at: Mutex::default(),
            metrics: store.metrics(),
            store: Mutex::new(store),
        })
    }

    /// The store. A panic while it was held cannot have left a half-done commit behind: SQLite rolls back.
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that reads beside the writer.
    pub(crate) fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more connection that reads, for long work beside the writer and the other reader.
    pub(crate) fn open_reader(&self) -> Result<Reader, StoreError> {
        Reader::open_with(&self.home, Some(&self.root.derive_database()))?.measured(&self.metrics)
    }

    /// Whether it is time to write the database anew, if that is to be done.
    pub(super) fn may_scrub(&self) -> bool {
        self.scrub_at.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|at| Instant::now() >= at)
    }

    /// Writing the database anew failed: it is tried again then.
    pub(super) fn scrub_not_before(&self, at: Instant) {
        *self.scrub_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// The next connection that is at rest makes a checkpoint, due or not.
    pub(crate) fn ask_for_compaction(&self) {
        self.compaction.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked since the last time.
    pub(super) fn take_compaction(&self) -> bool {
        self.compaction.swap(false, Ordering::Relaxed)
    }

    /// While a checkpoint is taken in, by whatever process of this home, the chunk with this document comes before the others.
    pub(crate) fn await_document(&self, doc: DocId) -> Result<(), StoreError> {
        let mut store = self.store();
        let mut awaited = self.awaited(&store)?;
        if !awaited.contains(&doc) {
            awaited.push(doc);
            let asked_before = awaited.len().saturating_sub(AWAITED_MAX);
            store.put_awaited(&self.space, &awaited[asked_before..])?;
        }
        Ok(())
    }

    /// Documents that somebody waits for and that are not held.
    pub(super) fn awaited(&self, store: &Store) -> Result<Vec<DocId>, StoreError> {
        let mut awaited = Vec::new();
        for doc in store.reads().awaited(&self.space)? {
            if !store.reads().has_document(&self.space, &doc)? {
                awaited.push(doc);
            }
        }
        Ok(awaited)
    }

    /// Members and keys as of now.
    pub(crate) fn state(&self) -> Arc<SpaceState> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads members and keys again if the database holds other records than they were made from: another process
    /// of this home may have stored some. True when it did.
    pub(crate) fn follow_records(&self, store: &Store) -> Result<bool, StoreError> {
        let changed = store.records_changed(&self.space)? != self.state().records_changed;
        if changed {
            self.refresh_state(store)?;
        }
        Ok(changed)
    }

    /// Records were stored: members and keys are read again.
    pub(crate) fn refresh_state(&self, store: &Store) -> Result<(), StoreError> {
        let state = Arc::new(SpaceState::load(store, &self.space, &self.keys)?);
        let before =
            std::mem::replace(&mut *self.state.write().unwrap_or_else(PoisonError::into_inner), Arc::clone(&state));
        if before.membership != state.membership {
            for device in store.notice_devices(&self.space, &state.membership, &self.device, wall_ms())? {
                self.emit(Event::DeviceAdded { space: self.space, device: device.device, by: device.by });
            }
            self.emit(Event::MembershipChanged { space: self.space });
        }
        Ok(())
    }

    /// Tries again what waits in quarantine: its reason may have passed while nobody looked.
    pub(crate) fn retry_quarantined(&self) -> Result<(), StoreError> {
        let state = self.state();
        let report = self.store().retry_quarantined(&self.space, &state.membership, &state.keyring, wall_ms())?;
        if !report.changed.is_empty() {
            self.emit(Event::DocumentsChanged { space: self.space, docs: report.changed, origin: Origin::Remote });
        }
        Ok(())
    }

    /// Writes down what was measured since the last time.
    pub(crate) fn keep_measured(&self) -> Result<(), StoreError> {
        let later = self.metrics.take();
        if later.is_empty() { Ok(()) } else { self.store().put_measured(&self.space, &later) }
    }

    /// Writes down what stands between this device and a relay, for the status in another process.
    pub(super) fn keep_trouble(&self, relay: RelayId) -> Result<(), StoreError> {
        let told = self.trouble(relay, wall_ms());
        let bytes = told.map(|told| serde_json::to_vec(&told).unwrap_or_default());
        self.store().note_trouble(relay, bytes.as_deref())
    }

    /// The same in times of day (ms UTC), as this process knows it.
    pub(crate) fn trouble(&self, relay: RelayId, now_ms: i64) -> Option<KnownTrouble> {
        let (trouble, clock_ms) = (self.circuits.trouble(relay)?, self.circuits.now_ms());
        let at =
            |ms: u64| now_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)).saturating_sub_unsigned(clock_ms);
        Some(KnownTrouble {
            since_ms: at(trouble.since_ms),
            next_ms: at(trouble.next_ms.max(clock_ms)),
            failures: trouble.failures,
            rests: trouble.circuit != Circuit::Closed,
            needs_person: trouble.needs_person,
            kind: trouble.kind.to_owned(),
            reason: trouble.reason,
        })
    }

    /// Remembers a step of the past, which carries fixed words and a number.
    pub(super) fn trace(&self, step: &'static str, outcome: &'static str, count: u64) {
        self.metrics.trace(wall_ms(), step, outcome, count);
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Tells the subscribers; without one, nobody.
    pub(crate) fn emit(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Tells what came of envelopes of others that were taken in.
    pub(super) fn announce(&self, report: &ReceiveReport) {
        for (envelope, reason) in &report.quarantined {
            self.emit(Event::Quarantined { space: self.space, envelope: *envelope, reason: reason.clone() });
        }
        if !report.changed.is_empty() {
            let docs = report.changed.clone();
            self.emit(Event::DocumentsChanged { space: self.space, docs, origin: Origin::Remote });
        }
    }

    /// After a local commit: an event, and the bell for the sealer.
    pub(crate) fn committed(&self, commit: Commit) {
        if !commit.docs.is_empty() {
            self.bytes_edited.fetch_add(commit.bytes as u64, Ordering::Relaxed);
            self.emit(Event::DocumentsChanged { space: self.space, docs: commit.docs, origin: Origin::Local });
            self.ring();
        }
    }

    /// Every connection looks whether there is something to send.
    pub(crate) fn ring(&self) {
        self.edited.send_modify(|count| *count += 1);
    }
}

/// A random number, to spread what many devices would do at once.
pub(super) fn random_u64() -> u64 {
    u64::from_be_bytes(random_bytes(&mut SystemRandom::new()))
}

/// Wall time (ms UTC), as written into changes; never used to order anything.
pub(crate) fn wall_ms() -> i64 {
    #[cfg(feature = "simulation")]
    if let Some(now_ms) = crate::simulation::now_ms() {
        return now_ms;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
