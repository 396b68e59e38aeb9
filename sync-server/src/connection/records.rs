//! REC from a device: records are judged against those that are here, made durable, put in force, and told to
//! every other session of the space, in this order.

use std::sync::Arc;
use std::time::Duration;

use lifeos_sync_protocol::frame::{ErrorCode, Frame, RecordStatus};
use lifeos_sync_protocol::ids::LogId;
use lifeos_sync_protocol::record::Record;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

use super::{Connection, Refusal};
use crate::rate::Rate;
use crate::space::{Created, ReaderId, RecordSet, Space, Verdict, View, store_records};
use crate::store::{RecordTarget, StoreError};

/// When a device that may not create a space now should try again.
const CREATION_RETRY_MS: u32 = 60_000;

/// What became of the records of one REC frame.
struct Judged {
    results: Vec<RecordStatus>,
    /// New ones, parents first; also parked ones whose parents have come.
    accepted: Vec<Record>,
    parked: Vec<Record>,
    /// The set with the accepted ones.
    set: RecordSet,
    /// The membership it gives; nothing if nothing was accepted.
    view: Option<View>,
}

impl Connection {
    pub(super) async fn records(&mut self, request: u32, session: u32, records: Vec<Vec<u8>>) -> Result<(), Refusal> {
        self.slow_down(records.len()).await;
        let results = if self.session(session)?.space.is_some() {
            // Not only after OPEN: who creates a space may bring more records than one frame holds.
            let space = self.space(session)?;
            let reader = self.session(session)?.reader;
            self.add_records(session, space, reader, records).await?
        } else {
            self.create_space(session, records).await?
        };
        let refused = results.iter().filter(|status| **status == RecordStatus::Refused).count();
        self.relay.metrics.records_refused_total.add(refused as u64);
        self.reply(request, &Frame::RecAck { session, results });
        Ok(())
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
    ) -> Result<Vec<RecordStatus>, Refusal> {
        let parked_max = self.relay.limits.records_parked_max;
        let parked = std::mem::take(&mut self.session(session)?.parked);
        // Held until the records are durable: nobody judges against a set that may not come to be.
        let mut set = space.records.lock().await;
        let judged = judge_beside(set.clone(), records, parked, parked_max).await?;
        self.session(session)?.parked = judged.parked;
        if let Some(view) = judged.view {
            let target = RecordTarget::Existing(space.no);
            store_records(&self.relay.store, target, &judged.accepted, view.readers()).await?;
            *set = judged.set;
            space.set_view(view);
            let view = space.view();
            let mut live = space.live();
            live.publish_records(&judged.accepted, reader);
            live.recheck(&view);
        }
        Ok(judged.results)
    }

    /// The first records of a space: any device that they enrol may bring them. The founder's may be gone for good
    /// when a relay that lost everything is filled again.
    async fn create_space(&mut self, session: u32, records: Vec<Vec<u8>>) -> Result<Vec<RecordStatus>, Refusal> {
        let (id, device) = {
            let state = self.session(session)?;
            (state.space_id, state.device)
        };
        if !self.relay.config.creation.allows(&device) {
            return Err(Refusal::mild(ErrorCode::CreateRefused, "this relay does not create spaces for this device"));
        }
        let set = RecordSet::new(id, (&self.relay.limits).into());
        let judged = judge_beside(set, records.clone(), Vec::new(), 0).await?;
        let view = match judged.view {
            Some(view) if view.membership.may_read(&device) => view,
            _ => {
                return Err(Refusal::mild(
                    ErrorCode::CreateRefused,
                    "a space begins with its Genesis and the records that enrol this device",
                ));
            }
        };
        if !self.relay.creations.try_take(self.peer.address, Instant::now()) {
            let too_many = Refusal::mild(ErrorCode::Rate, "too many new spaces from this address; try again later");
            return Err(Refusal { retry_after_ms: CREATION_RETRY_MS, ..too_many });
        }
        let created = self.relay.spaces.create(id, new_log_id()?, &judged.accepted, view.readers()).await?;
        match created {
            Created::New(space) => {
                self.session(session)?.space = Some(space);
                Ok(judged.results)
            }
            // Another session was faster.
            Created::Existing(space) => {
                if !space.view().membership.may_read(&device) {
                    return Err(Refusal::fatal(ErrorCode::NotMember, "this device is not enrolled in such a space"));
                }
                self.session(session)?.space = Some(Arc::clone(&space));
                self.add_records(session, space, None, records).await
            }
            Created::Full => Err(Refusal::mild(ErrorCode::CreateRefused, "this relay takes no more spaces")),
        }
    }
}

fn new_log_id() -> Result<LogId, Refusal> {
    let mut id = [0; LogId::BYTES];
    SystemRandom::new().fill(&mut id).map_err(|_| Refusal::mild(ErrorCode::Internal, "a fault inside the relay"))?;
    Ok(LogId(id))
}

/// Judges on a thread that may take its time: every record is a signature and an evaluation.
async fn judge_beside(
    set: RecordSet,
    records: Vec<Vec<u8>>,
    parked: Vec<Record>,
    parked_max: usize,
) -> Result<Judged, StoreError> {
    let task = tokio::task::spawn_blocking(move || judge(set, records, parked, parked_max));
    task.await.unwrap_or(Err(StoreError::Stopped))
}

fn judge(
    mut set: RecordSet,
    records: Vec<Vec<u8>>,
    parked: Vec<Record>,
    parked_max: usize,
) -> Result<Judged, StoreError> {
    let mut results = vec![RecordStatus::Refused; records.len()];
    let mut accepted = Vec::new();
    let mut waiting: Vec<(Option<usize>, Record)> = parked.into_iter().map(|record| (None, record)).collect();
    for (index, bytes) in records.into_iter().enumerate() {
        if let Ok(record) = Record::parse(bytes) {
            waiting.push((Some(index), record));
        }
    }
    // Each round places every record whose parents the round before has placed.
    loop {
        let before = waiting.len();
        waiting.retain(|(index, record)| {
            let status = match set.judge(record) {
                Verdict::Orphan => return true,
                Verdict::Known => RecordStatus::Dup,
                Verdict::Refuse => RecordStatus::Refused,
                Verdict::Accept { idle } => {
                    set.insert(record.clone(), idle);
                    accepted.push(record.clone());
                    RecordStatus::Ok
                }
            };
            if let Some(result) = index.and_then(|index| results.get_mut(index)) {
                *result = status;
            }
            false
        });
        if waiting.len() == before || waiting.is_empty() {
            break;
        }
    }
    for (index, _) in &waiting {
        if let Some(result) = index.and_then(|index| results.get_mut(index)) {
            *result = RecordStatus::Parked;
        }
    }
    let parked = waiting.into_iter().map(|(_, record)| record).take(parked_max).collect();
    let view = if accepted.is_empty() { None } else { Some(set.view().map_err(|_| StoreError::Corrupt)?) };
    Ok(Judged { results, accepted, parked, set, view })
}
