//! REC from a device: records are judged against those that are here, made durable, put in force, and told to
//! every other session of the space, in this order.

use std::sync::Arc;
use std::time::Duration;

use lifeos_sync_protocol::frame::{ErrorCode, Frame, RecordStatus};
use lifeos_sync_protocol::ids::{LogId, SignPk, StreamId};
use lifeos_sync_protocol::record::Record;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

use super::{Connection, Refusal};
use crate::limits::ms;
use crate::rate::Rate;
use crate::server::Relay;
use crate::space::{Accepted, Created, Decided, Judged, ReaderId, RecordSet, Space, View, judge, store_records};
use crate::store::{RecordTarget, Recorded, StoreError};

/// When a device that may not create a space now should try again.
const CREATION_RETRY_MS: u32 = 60_000;
/// How often records are judged anew because another relay stored some meanwhile.
const BEHIND_MAX: usize = 8;

impl Connection {
    pub(super) async fn records(&mut self, request: u32, session: u32, records: Vec<Vec<u8>>) -> Result<(), Refusal> {
        self.slow_down(records.len()).await;
        let results = if self.session(session)?.space.is_some() {
            // Not only after OPEN: who creates a space may bring more records than one frame holds.
            let space = self.space(session)?;
            let reader = self.session(session)?.reader;
            let guests = self.guests_join(session, &space, &records)?;
            self.add_records(session, space, reader, records, guests).await?
        } else {
            self.create_space(session, records).await?
        };
        let refused = results.iter().filter(|status| **status == RecordStatus::Refused).count();
        self.relay.metrics.records_refused_total.add(refused as u64);
        self.reply(request, &Frame::RecAck { session, results });
        self.records_refused += refused;
        if self.records_refused > self.relay.limits.records_refused_per_connection_max {
            return Err(Refusal::fatal(ErrorCode::Rate, "too many records that are never valid here"));
        }
        Ok(())
    }

    /// A guest hands in one Join by its own invitation at a time, and nothing else: no author of its records is known
    /// here whose budget they could use.
    fn guests_join(&mut self, session: u32, space: &Space, records: &[Vec<u8>]) -> Result<Option<GuestsJoin>, Refusal> {
        let guest = self.session(session)?.device;
        let view = space.view();
        if view.membership.may_read(&guest) {
            return Ok(None);
        }
        let [bytes] = records else { return Err(ONE_REQUEST) };
        let join = Record::parse(bytes.clone()).ok().filter(|join| view.is_guests_join(&guest, join));
        Ok(Some(GuestsJoin { guest, join: join.ok_or(ONE_REQUEST)? }))
    }

    /// Waits when records come faster than they may; refusing them would only have them sent again.
    async fn slow_down(&mut self, records: usize) {
        let limits = &self.relay.limits;
        let rate = Rate::new(limits.records_per_second_max, Duration::from_secs(1), limits.records_burst_max);
        let count = u32::try_from(records).unwrap_or(u32::MAX);
        let wait = self.records_bucket.take(rate, count, Instant::now());
        if !wait.is_zero() {
            self.relay.metrics.records_slowed_total.add(count.into());
            tokio::time::sleep(wait).await;
        }
    }

    async fn add_records(
        &mut self,
        session: u32,
        space: Arc<Space>,
        reader: Option<ReaderId>,
        records: Vec<Vec<u8>>,
        guests: Option<GuestsJoin>,
    ) -> Result<Vec<RecordStatus>, Refusal> {
        let parked = self.session(session)?.parked.take();
        // Held until the records are durable: nobody judges against a set that may not come to be. The lock goes with
        // them to the writer: this connection may end before they are, e.g. because they end it.
        let mut set = Arc::clone(&space.records).lock_owned().await;
        let is_shared = self.relay.store.is_shared();
        if guests.is_some() && is_shared {
            // What it is made upon may have come to another relay, and nothing of it waits.
            self.take_in(&space, &mut set).await?;
        }
        if let Some(answer) =
            guests.as_ref().map(|guests| guests.check(&space, &set, self.relay.now_ms())).transpose()?.flatten()
        {
            return Ok(vec![answer]);
        }
        // What a guest brought before was counted then or not at all: nothing of it waits.
        let frame = Batch { records, parked: if guests.is_some() { Vec::new() } else { parked } };
        let mut decided = Decided::new();
        let (mut behind, mut has_asked) = (0, false);
        // At most twice: the second time without the removals that cut too early; and again when another relay was faster.
        loop {
            let (batch, decided_now, present) = (frame.clone(), decided.clone(), Some(space.view()));
            let seen = space.seen();
            let judged = judge_beside(set.clone(), batch, decided_now, present, &self.relay).await?;
            let Judged { mut results, accepted, parked, set: grown, view, evaluations } = judged;
            self.relay.metrics.record_evaluations_total.add(evaluations);
            if is_shared && !parked.is_empty() && !has_asked {
                // Their parents may have come to another relay.
                has_asked = true;
                self.take_in(&space, &mut set).await?;
                continue;
            }
            if let Some(guests) = guests.as_ref().filter(|guests| !guests.takes_effect(view.as_ref())) {
                tracing::debug!(join = %guests.join.id(), "a request to join that would have no effect");
                return Ok(vec![RecordStatus::Refused]);
            }
            self.park(session, parked, &mut results)?;
            let Some(view) = view else { return Ok(results) };
            let view = Arc::new(view);
            let lowered = space.lowered(&view, &accepted);
            let in_force = Box::new({
                let (space, view, accepted) = (Arc::clone(&space), Arc::clone(&view), accepted.clone());
                move || {
                    *set = grown;
                    space.put_in_force(view, &accepted, reader);
                }
            });
            let target = RecordTarget::Existing(Arc::clone(&space));
            let now_ms = self.relay.now_ms();
            let new = Accepted { records: &accepted, view: Arc::clone(&view), lowered, seen, now_ms };
            match store_records(&self.relay.store, target, new, in_force).await? {
                Recorded::Stored(_) => {
                    if view.checkpoints().next().is_some() {
                        self.relay.wakeup.wake();
                    }
                    return Ok(results);
                }
                Recorded::Behind => {
                    behind += 1;
                    if behind > BEHIND_MAX {
                        return Err(Refusal::mild(ErrorCode::Rate, "others change this space all the time; try again"));
                    }
                    set = Arc::clone(&space.records).lock_owned().await;
                    self.take_in(&space, &mut set).await?;
                }
                Recorded::CutBehind(streams) => {
                    let early = space.too_early(&streams, &view, &accepted);
                    if early.is_empty() || !decided.is_empty() {
                        return Err(Refusal::mild(ErrorCode::Internal, "a fault inside the relay"));
                    }
                    self.hold(&space, &streams);
                    decided = early;
                    set = Arc::clone(&space.records).lock_owned().await;
                }
            }
        }
    }

    /// Takes in records that another relay has stored meanwhile.
    async fn take_in(&self, space: &Space, set: &mut RecordSet) -> Result<(), Refusal> {
        let (records, last) = self.relay.store.readers().records_after(space.no, space.seen().record).await?;
        Ok(space.take_in(set, records, last)?)
    }

    /// Lets the devices wait that write these streams. The space stays in memory meanwhile, whoever leaves it.
    fn hold(&self, space: &Arc<Space>, streams: &[StreamId]) {
        let (time, id) = (ms(self.relay.limits.removal_hold_ms), space.id);
        space.hold(streams, time);
        let (kept, relay) = (Arc::clone(space), Arc::downgrade(&self.relay));
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            drop(kept);
            if let Some(relay) = relay.upgrade() {
                relay.spaces.left(id);
            }
        });
    }

    /// The first records of a space: any device that they enrol may bring them. The founder's may be gone for good
    /// when a relay that lost everything is filled again.
    async fn create_space(&mut self, session: u32, records: Vec<Vec<u8>>) -> Result<Vec<RecordStatus>, Refusal> {
        let (id, device) = {
            let state = self.session(session)?;
            (state.space_id, state.device)
        };
        if !self.relay.config.creation.allows(&device, self.peer.token.as_ref()) {
            return Err(Refusal::mild(ErrorCode::CreateRefused, "this relay does not create spaces for this device"));
        }
        let set = RecordSet::new(id, (&self.relay.limits).into());
        let batch = Batch { records: records.clone(), parked: Vec::new() };
        let begins = Refusal::mild(
            ErrorCode::CreateRefused,
            "a space begins with its Genesis and the records that enrol this device",
        );
        let judged = judge_beside(set, batch, Decided::new(), None, &self.relay).await;
        let judged = judged.map_err(|_| begins)?;
        let view = judged.view.filter(|view| view.membership.may_read(&device)).ok_or(begins)?;
        if !self.relay.creations.try_take(self.peer.address, Instant::now()) {
            let too_many = Refusal::mild(ErrorCode::Rate, "too many new spaces from this address; try again later");
            return Err(Refusal { retry_after_ms: CREATION_RETRY_MS, ..too_many });
        }
        let created = self.relay.spaces.create(id, new_log_id()?, &judged.accepted, Arc::new(view)).await?;
        match created {
            Created::New(space) => {
                self.attach(session, space)?;
                Ok(judged.results)
            }
            // Another session was faster.
            Created::Existing(space) => {
                if !space.view().membership.may_read(&device) {
                    return Err(Refusal::fatal(ErrorCode::NotMember, "this device is not enrolled in such a space"));
                }
                self.attach(session, Arc::clone(&space))?;
                self.add_records(session, space, None, records, None).await
            }
            Created::Full => Err(Refusal::mild(ErrorCode::CreateRefused, "this relay takes no more spaces")),
        }
    }
}

const ONE_REQUEST: Refusal =
    Refusal::mild(ErrorCode::NotMember, "an invitation lets its holder hand in one request to join");
const NO_ROOM: Refusal = Refusal::mild(ErrorCode::NotMember, "this invitation is withdrawn, used up or over");

/// A request to join that a guest brings. Members may bring any: a relay that lost everything is filled by them.
struct GuestsJoin {
    guest: SignPk,
    join: Record,
}

impl GuestsJoin {
    /// Whether it may be looked at, or the answer if that is known; under the lock of the records: of two that come at
    /// once, one is the last. A request upon what is not here is refused: it would come in later, uncounted.
    fn check(&self, space: &Space, set: &RecordSet, now_ms: u64) -> Result<Option<RecordStatus>, Refusal> {
        // What is here already is answered once more to who did not hear the answer.
        if set.holds(&self.join.id()) {
            return Ok(Some(RecordStatus::Dup));
        }
        if !space.view().takes_join(&self.guest, &self.join, now_ms) {
            return Err(NO_ROOM);
        }
        let is_placed = self.join.parents().iter().all(|parent| set.holds(parent));
        Ok((!is_placed).then_some(RecordStatus::Refused))
    }

    /// Whether the membership that was judged counts it: what does not would take room that nothing gives back.
    fn takes_effect(&self, view: Option<&View>) -> bool {
        view.is_none_or(|view| view.membership.joins.contains_key(&self.join.id()))
    }
}

fn new_log_id() -> Result<LogId, Refusal> {
    let mut id = [0; LogId::BYTES];
    SystemRandom::new().fill(&mut id).map_err(|_| Refusal::mild(ErrorCode::Internal, "a fault inside the relay"))?;
    Ok(LogId(id))
}

/// What is to be judged.
#[derive(Clone)]
struct Batch {
    records: Vec<Vec<u8>>,
    parked: Vec<Record>,
}

/// Judges on a thread that may take its time: every record is a signature, and together they are an evaluation.
async fn judge_beside(
    set: RecordSet,
    batch: Batch,
    decided: Decided,
    present: Option<Arc<View>>,
    relay: &Relay,
) -> Result<Judged, StoreError> {
    let (limits, now_ms) = (relay.limits.clone(), relay.now_ms());
    let judging = crate::blocking::run(move || {
        judge(&set, &batch.records, &batch.parked, decided, present.as_deref(), &limits, now_ms)
    });
    judging.await.map_err(|_| StoreError::Stopped)?.map_err(|_| StoreError::Corrupt)
}
