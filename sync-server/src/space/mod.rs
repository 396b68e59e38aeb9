//! Spaces in memory: membership, stream owners and live readers of every space that somebody is connected to.
//!
//! A space is loaded when the first session names it and dropped with the last; the database is the truth.

mod budget;
mod checkpoints;
mod hold;
mod judge;
mod live;
mod membership;
mod view;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use lifeos_sync_protocol::envelope::stream_id;
use lifeos_sync_protocol::frame::Cursor;
use lifeos_sync_protocol::ids::{LogId, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::limits::FRAME_STREAMS_MAX;
use lifeos_sync_protocol::record::{Body, Record};
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) use checkpoints::Settled;
pub(crate) use judge::{Decided, Judged, judge};
pub(crate) use live::{Live, Published, ReaderId, fit_frame};
pub(crate) use membership::RecordSet;
pub(crate) use view::{Place, View};

use crate::clock::Clock;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::store::{
    Change, Door, FollowJob, Job, LoadedSpace, RecordJob, RecordTarget, Recorded, Seen, Store, StoreError,
};

/// One space that somebody is connected to.
pub(crate) struct Space {
    /// Its number in the database.
    pub(crate) no: i64,
    /// Its id.
    pub(crate) id: SpaceId,
    /// This relay's log of it.
    pub(crate) log_id: LogId,
    /// Records; the lock is held from the evaluation of new ones until they are durable.
    pub(crate) records: Arc<tokio::sync::Mutex<RecordSet>>,
    view: RwLock<Arc<View>>,
    owners: RwLock<HashMap<StreamId, SignPk>>,
    live: Mutex<Live>,
    holds: Mutex<hold::Holds>,
    bytes: AtomicU64,
    /// How far it is known what other relays wrote.
    seen: Mutex<Seen>,
}

impl Space {
    /// Builds a space from what the database holds. Checks every record again: a database is bytes from outside.
    fn build(
        id: SpaceId,
        loaded: LoadedSpace,
        limits: &Limits,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let records = loaded.records.into_iter().map(Record::parse).collect::<Result<Vec<_>, _>>();
        let records = records.map_err(|error| damaged(loaded.no, &error))?;
        let (set, view) = RecordSet::load(id, records, limits.into()).map_err(|error| damaged(loaded.no, &error))?;
        let end = Cursor { log_id: loaded.log_id, pos: loaded.next_pos, roll: loaded.roll };
        Ok(Self {
            no: loaded.no,
            id,
            log_id: loaded.log_id,
            records: Arc::new(tokio::sync::Mutex::new(set)),
            view: RwLock::new(Arc::new(view)),
            owners: RwLock::new(loaded.streams.into_iter().collect()),
            live: Mutex::new(Live::new(end, metrics, clock)),
            holds: Mutex::default(),
            bytes: AtomicU64::new(loaded.bytes),
            seen: Mutex::new(loaded.seen),
        })
    }

    /// A space without records or readers, for tests of storage.
    #[cfg(test)]
    pub(crate) fn bare(no: i64) -> Arc<Self> {
        let id = SpaceId::ZERO;
        let membership = lifeos_sync_protocol::membership::Membership::empty(id, [0; 32]);
        let end = Cursor { log_id: LogId::ZERO, pos: 1, roll: lifeos_sync_protocol::ids::Roll::ZERO };
        Arc::new(Self {
            no,
            id,
            log_id: LogId::ZERO,
            records: Arc::new(tokio::sync::Mutex::new(RecordSet::new(id, budget::RecordBudget::default()))),
            view: RwLock::new(Arc::new(View::new(membership))),
            owners: RwLock::default(),
            live: Mutex::new(Live::new(end, Arc::default(), Clock::system())),
            holds: Mutex::default(),
            bytes: AtomicU64::new(0),
            seen: Mutex::default(),
        })
    }

    /// Membership in force.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a new membership in force, tells every session of its records, and ends the sessions of devices that
    /// may not read any more. Called by the writer thread when the records are durable, before it looks at the next
    /// push: nothing is stored under a membership that is over.
    pub(crate) fn put_in_force(&self, view: Arc<View>, records: &[Record], from: Option<ReaderId>) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&view);
        self.holds().keep(|device| view.membership.may_write(device));
        let mut live = self.live();
        live.publish_records(records, from);
        live.recheck(&view);
    }

    /// The streams that a membership would cut shorter, and where.
    pub(crate) fn lowered(&self, new: &View, accepted: &[Record]) -> Vec<(StreamId, u32)> {
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        judge::lowered(&self.view(), new, accepted, owners.iter())
    }

    /// The records that cut these streams too early.
    pub(crate) fn too_early(&self, streams: &[StreamId], view: &View, accepted: &[Record]) -> Decided {
        judge::too_early(streams, view, accepted, |stream| self.owner(stream))
    }

    /// Stores nothing for so long by the devices that write these streams, whoever brings it. Called before the removal
    /// that cuts them too early is answered, so that whoever signs it again finds them as they are now.
    pub(crate) fn hold(&self, streams: &[StreamId], time: Duration) {
        let devices: Vec<SignPk> = streams.iter().filter_map(|stream| self.owner(stream)).collect();
        self.holds().hold(devices, Instant::now() + time);
    }

    /// Whether what a device writes waits now.
    pub(crate) fn is_held(&self, device: &SignPk) -> bool {
        self.holds().is_held(device, Instant::now())
    }

    fn holds(&self) -> MutexGuard<'_, hold::Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who writes a stream, if it is known.
    pub(crate) fn owner(&self, stream: &StreamId) -> Option<SignPk> {
        self.owners.read().unwrap_or_else(PoisonError::into_inner).get(stream).copied()
    }

    /// Whether a HAVE has room for one more stream.
    pub(crate) fn takes_streams(&self) -> bool {
        self.owners.read().unwrap_or_else(PoisonError::into_inner).len() < FRAME_STREAMS_MAX
    }

    /// Finds whose stream begins with `r32`: the pusher's own, or that of another device of the space.
    pub(crate) fn find_owner(&self, stream: &StreamId, r32: &[u8; 32], pusher: &SignPk) -> Option<SignPk> {
        let owns = |device: &SignPk| stream_id(&self.id, device, r32) == *stream;
        if owns(pusher) {
            return Some(*pusher);
        }
        self.view().membership.devices.keys().find(|device| owns(device)).copied()
    }

    /// Who made an object: whose stream begins with `r32`. A stream that is known has one owner, others are looked for.
    pub(crate) fn maker_of(&self, stream: &StreamId, r32: &[u8; 32], pusher: &SignPk) -> Option<SignPk> {
        match self.owner(stream) {
            Some(owner) => (stream_id(&self.id, &owner, r32) == *stream).then_some(owner),
            None => self.find_owner(stream, r32, pusher),
        }
    }

    /// Remembers whose stream this is. The stream id commits to the device, so this needs no commit of its own:
    /// a binding can only be right.
    pub(crate) fn remember_owner(&self, stream: StreamId, device: SignPk) {
        self.owners.write().unwrap_or_else(PoisonError::into_inner).insert(stream, device);
    }

    /// Live readers and the published end of the log.
    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of envelopes and objects stored.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How far it is known what other relays wrote.
    pub(crate) fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is known so far now.
    pub(crate) fn saw(&self, seen: Seen) {
        let mut known = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Seen { record: known.record.max(seen.record), stream: known.stream.max(seen.stream) };
    }

    /// Puts records in force that another relay stored, up to this number. `set` is the one of this space.
    pub(crate) fn take_in(&self, set: &mut RecordSet, records: Vec<Vec<u8>>, last: i64) -> Result<(), StoreError> {
        let records = records.into_iter().map(Record::parse).collect::<Result<Vec<_>, _>>();
        let records = records.map_err(|error| damaged(self.no, &error))?;
        let (view, new) = set.take_in(records).map_err(|error| damaged(self.no, &error))?;
        if !new.is_empty() {
            self.put_in_force(Arc::new(view), &new, None);
        }
        self.saw(Seen { record: last, ..Seen::default() });
        Ok(())
    }

    /// Whether a change is not known here.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    fn lacks(&self, change: &Change) -> bool {
        let seen = self.seen();
        change.seen.record > seen.record || change.seen.stream > seen.stream || change.next_pos > self.live().end().pos
    }

    /// Bytes that all relays together have stored.
    pub(crate) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that are durable and told to nobody.
    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes no more that are gone.
    pub(crate) fn take_bytes(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Tells live readers about envelopes that are durable. Called by the writer thread alone, in log order.
    pub(crate) fn publish(&self, items: Vec<Published>) {
        let bytes: u64 = items.iter().map(|published| published.item.envelope.len() as u64).sum();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.live().publish(items);
    }
}

/// Records that were judged, and the membership that they give.
pub(crate) struct Accepted<'a> {
    pub(crate) records: &'a [Record],
    pub(crate) view: Arc<View>,
    /// Streams that they cut, and where.
    pub(crate) lowered: Vec<(StreamId, u32)>,
    /// What was known of the space when they were judged.
    pub(crate) seen: Seen,
    /// The relay's clock (ms UTC).
    pub(crate) now_ms: u64,
}

/// Makes records durable, unless a stream goes on beyond where they cut it; `in_force` is called as soon as they are.
pub(crate) async fn store_records(
    store: &Store,
    target: RecordTarget,
    accepted: Accepted<'_>,
    in_force: Box<dyn FnOnce() + Send>,
) -> Result<Recorded, StoreError> {
    let (done, stored) = oneshot::channel();
    let Accepted { records, view, lowered, seen, now_ms } = accepted;
    let is_checkpoint = |record: &&Record| matches!(record.body(), Body::Checkpoint { .. });
    let checkpoints = records.iter().filter(is_checkpoint).map(Record::id).collect();
    let records = records.iter().map(|record| (record.id(), record.bytes().to_vec())).collect();
    let (doors, view) = (view.doors(), Some(view));
    let reply = Box::new(move |result: Result<Recorded, StoreError>| {
        if let Ok(Recorded::Stored(_)) = result {
            in_force();
        }
        // Who waits may be gone when the commit is done; the records are stored all the same.
        let _ = done.send(result);
    });
    let job = RecordJob { target, records, doors, lowered, checkpoints, view, seen, now_ms, reply };
    store.submit(Job::Records(job));
    stored.await.unwrap_or(Err(StoreError::Stopped))
}

fn damaged(space_no: i64, error: &dyn std::error::Error) -> StoreError {
    tracing::error!(space_no, %error, "stored records of a space cannot be used");
    StoreError::Corrupt
}

/// All spaces in memory.
pub(crate) struct Spaces {
    store: Arc<Store>,
    limits: Limits,
    metrics: Arc<Metrics>,
    clock: Clock,
    slots: Mutex<HashMap<SpaceId, Arc<Slot>>>,
    /// Spaces that another relay wrote to, and that could not catch up yet, by number.
    lagging: Arc<Mutex<HashMap<i64, Weak<Space>>>>,
}

/// The place of one space; its lock makes loading and creating happen once.
#[derive(Default)]
struct Slot {
    space: tokio::sync::Mutex<Weak<Space>>,
}

/// What a device that names a space finds.
pub(crate) enum Found {
    /// The relay does not hold it.
    Absent,
    /// It is not in memory, and the device may not connect to it.
    Closed,
    /// It is not in memory, and the device was removed from it.
    Gone,
    /// It is in memory now; whether the device may connect its membership says.
    Here(Arc<Space>),
}

/// What became of an attempt to create a space.
pub(crate) enum Created {
    /// It is new.
    New(Arc<Space>),
    /// It was here already.
    Existing(Arc<Space>),
    /// The relay takes no more spaces.
    Full,
}

impl Spaces {
    pub(crate) fn new(store: Arc<Store>, limits: Limits, metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self { store, limits, metrics, clock, slots: Mutex::default(), lagging: Arc::default() }
    }

    /// The space for a device that wants to connect. It is loaded only for one that may: loading checks every
    /// record again, and a stranger must not be able to ask for that.
    pub(crate) async fn find(&self, id: SpaceId, device: &SignPk) -> Result<Found, StoreError> {
        let slot = self.slot(id);
        let mut space = slot.space.lock().await;
        let found = self.find_in(&mut space, id, device).await;
        drop(space);
        self.forget_if_empty(id, slot);
        found
    }

    async fn find_in(&self, space: &mut Weak<Space>, id: SpaceId, device: &SignPk) -> Result<Found, StoreError> {
        if space.strong_count() == 0 {
            match self.store.readers().door(id, *device).await? {
                None => return Ok(Found::Absent),
                Some(Door::Shut) => return Ok(Found::Closed),
                Some(Door::Gone) => return Ok(Found::Gone),
                Some(Door::Open) => {}
            }
        }
        Ok(self.load(space, id).await?.map_or(Found::Absent, Found::Here))
    }

    /// A space, for whoever looks after it, and calls [`Self::left`] when that is done.
    pub(crate) async fn hold(&self, id: SpaceId) -> Result<Option<Arc<Space>>, StoreError> {
        let slot = self.slot(id);
        let mut space = slot.space.lock().await;
        let found = self.load(&mut space, id).await;
        drop(space);
        self.forget_if_empty(id, slot);
        found
    }

    /// Whether a device has a session in a space.
    pub(crate) async fn is_here(&self, id: SpaceId, device: &SignPk) -> bool {
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let Some(slot) = slot else { return false };
        let space = slot.space.lock().await.upgrade();
        let is_here = space.is_some_and(|space| space.live().has(device));
        self.forget_if_empty(id, slot);
        is_here
    }

    /// Creates a space from its first records, unless it is here already.
    pub(crate) async fn create(
        &self,
        id: SpaceId,
        log_id: LogId,
        records: &[Record],
        view: Arc<View>,
    ) -> Result<Created, StoreError> {
        let slot = self.slot(id);
        let mut space = slot.space.lock().await;
        if let Some(existing) = self.load(&mut space, id).await? {
            return Ok(Created::Existing(existing));
        }
        let database = self.store.readers();
        if database.space_count().await? >= self.limits.spaces_max
            || database.is_full(self.limits.database_bytes_max).await?
        {
            return Ok(Created::Full);
        }
        let target = RecordTarget::New(id, log_id);
        let seen = Seen::default();
        let accepted = Accepted { records, view, lowered: Vec::new(), seen, now_ms: self.clock.now_ms() };
        let stored = store_records(&self.store, target, accepted, Box::new(|| ())).await;
        match (stored, self.load(&mut space, id).await?) {
            (Ok(_), Some(created)) => Ok(Created::New(created)),
            // Another relay was faster.
            (Err(_), Some(existing)) => Ok(Created::Existing(existing)),
            (Ok(_), None) => Err(StoreError::Database),
            (Err(error), None) => Err(error),
        }
    }

    async fn load(&self, space: &mut Weak<Space>, id: SpaceId) -> Result<Option<Arc<Space>>, StoreError> {
        if let Some(space) = space.upgrade() {
            return Ok(Some(space));
        }
        let Some(loaded) = self.store.readers().space(id).await? else { return Ok(None) };
        let limits = self.limits.clone();
        let (metrics, clock) = (Arc::clone(&self.metrics), self.clock.clone());
        // Checks a signature per record: too long for a thread that serves connections.
        let built = crate::blocking::run(move || Space::build(id, loaded, &limits, metrics, clock)).await;
        let built = Arc::new(built.unwrap_or(Err(StoreError::Stopped))?);
        *space = Arc::downgrade(&built);
        self.metrics.spaces_loaded_total.increment();
        if self.store.is_shared() {
            // What another relay stored while it was loaded was told to nobody here.
            self.catch_up(Arc::clone(&built));
        }
        Ok(Some(built))
    }

    /// Catches up with what another relay has written to a space, if that is in memory and does not know it.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) async fn follow(&self, change: &Change) {
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(&change.space).cloned();
        let Some(slot) = slot else { return };
        let space = slot.space.lock().await.upgrade();
        if let Some(space) = space.filter(|space| space.lacks(change)) {
            self.catch_up(space);
        }
        self.forget_if_empty(change.space, slot);
    }

    /// Tries again with the spaces that could not catch up, e.g. because the database could not be reached.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) fn follow_again(&self) {
        let lagging = std::mem::take(&mut *self.lagging.lock().unwrap_or_else(PoisonError::into_inner));
        for (_, space) in lagging {
            space.upgrade().into_iter().for_each(|space| self.catch_up(space));
        }
    }

    fn catch_up(&self, space: Arc<Space>) {
        let (lagging, kept) = (Arc::clone(&self.lagging), (space.no, Arc::downgrade(&space)));
        let reply = Box::new(move |is_done: bool| {
            if !is_done {
                lagging.lock().unwrap_or_else(PoisonError::into_inner).insert(kept.0, kept.1);
            }
        });
        self.store.submit(Job::Follow(FollowJob { space, reply }));
    }

    fn slot(&self, id: SpaceId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(id).or_default())
    }

    /// Gives back the places of spaces that nobody is connected to, so that made-up ids cost nothing.
    fn forget_if_empty(&self, id: SpaceId, slot: Arc<Slot>) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours and the map's: nobody else is about to use it.
        let unused = Arc::strong_count(&slot) == 2;
        if unused && slot.space.try_lock().is_ok_and(|space| space.strong_count() == 0) {
            slots.remove(&id);
        }
    }

    /// Called when a session of a space ends.
    pub(crate) fn left(&self, id: SpaceId) {
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some(slot) = slot {
            self.forget_if_empty(id, slot);
        }
    }
}
