//! Fetching the records of a space for a device that has no home yet: it was just linked, and keeps nothing
//! before the records show that it was.

use std::time::Duration;

use lifeos_sync_protocol::ids::{RecordId, SpaceId};
use lifeos_sync_protocol::limits::FRAME_RECORDS_MAX;
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::Record;
use tokio::time::{Instant, timeout};

use super::{EngineError, blocking};
use crate::crypto::{SystemRandom, random_bytes};
use crate::keys::DeviceKeys;
use crate::session::{Input, Output, Session, SessionConfig, SessionError};
use crate::store::{SPACE_RECORD_BYTES_MAX, StoreError, admissible};
use crate::transport::{FrameReceiver, FrameSender, RelayUrl, connect};

/// Most records a new device takes before it has checked any.
const RECORDS_MAX: usize = 64 * FRAME_RECORDS_MAX;
/// Time for everything.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Fetches all records of a space, in the relay's order (parents first).
///
/// # Errors
/// [`EngineError`]; e.g. `NotMember` when the relay does not know this device yet.
pub(crate) async fn fetch_records(
    url: &RelayUrl,
    space: SpaceId,
    keys: &DeviceKeys,
) -> Result<Vec<Record>, EngineError> {
    exchange(url, space, keys, &[]).await.map(|published| published.records)
}

/// What a relay holds after records were offered to it.
#[derive(Debug)]
pub(crate) struct Published {
    /// All records of the space, parents first.
    pub(crate) records: Vec<Record>,
    /// Not all that was offered was taken.
    pub(crate) refused: bool,
}

/// Offers records to a relay for a device that has no home yet, and fetches all it holds afterwards.
///
/// # Errors
/// [`EngineError`]; the relay may have taken the records all the same: what it holds tells.
pub(crate) async fn publish_records(
    url: &RelayUrl,
    space: SpaceId,
    keys: &DeviceKeys,
    offered: &[Record],
) -> Result<Published, EngineError> {
    let first = exchange(url, space, keys, offered).await?;
    // Asked again, because only what the relay gives back is certainly there.
    let records = fetch_records(url, space, keys).await?;
    Ok(Published { records, refused: first.refused })
}

/// Hands one record to a relay as the holder of an invitation, who may not be able to come back.
///
/// # Errors
/// [`EngineError`]; [`EngineError::RecordsRefused`] when the relay does not take it.
pub(crate) async fn offer_record(
    url: &RelayUrl,
    space: SpaceId,
    keys: &DeviceKeys,
    record: &Record,
) -> Result<(), EngineError> {
    let offered = exchange(url, space, keys, std::slice::from_ref(record)).await?;
    if offered.refused { Err(EngineError::RecordsRefused) } else { Ok(()) }
}

async fn exchange(
    url: &RelayUrl,
    space: SpaceId,
    keys: &DeviceKeys,
    offered: &[Record],
) -> Result<Published, EngineError> {
    let transport = connect(url).await?;
    let config = SessionConfig {
        space,
        device: keys.sign_pk(),
        relay_key: url.key(),
        relay_address: url.address().to_owned(),
        nonce: random_bytes(&mut SystemRandom::new()),
        rec_heads: Vec::new(),
        cursor: None,
        acked_seq: 0,
        have_digest: [0; 32],
        by_streams: None,
        receipt_every_ms: u64::MAX,
        wakeup: None,
        now_ms: 0,
    };
    let fetching = drive(Session::new(config), transport, space, keys, offered);
    timeout(FETCH_TIMEOUT, fetching).await.map_err(|_| SessionError::Timeout)?
}

async fn drive<S: FrameSender, R: FrameReceiver>(
    mut session: Session,
    (mut sender, mut receiver): (S, R),
    space: SpaceId,
    keys: &DeviceKeys,
    offered: &[Record],
) -> Result<Published, EngineError> {
    let mut records: Vec<Record> = Vec::new();
    let mut refused = false;
    let started = Instant::now();
    loop {
        while let Some(output) = session.poll() {
            match output {
                Output::Send(frame) => sender.send(frame).await?,
                Output::Sign { message } => session.handle(Input::Signed(keys.sign(&message))),
                Output::StoreRecords(found) => {
                    let parsed = found.into_iter().filter_map(|bytes| Record::parse(bytes).ok());
                    records.extend(parsed.filter(|record| record.space() == space));
                    let bytes: usize = records.iter().map(|record| record.bytes().len()).sum();
                    if records.len() > RECORDS_MAX || bytes > SPACE_RECORD_BYTES_MAX {
                        return Err(SessionError::Misbehaved("more records than a space has").into());
                    }
                    session.handle(Input::RecordsStored { heads: heads(&space, &records) });
                }
                // A space that the relay does not know would be seeded here; this device has nothing to seed with.
                Output::LoadRecords { .. } => {
                    let offered = offered.iter().map(|record| (record.id(), record.bytes().to_vec()));
                    session.handle(Input::Records(offered.collect()));
                }
                Output::RecordsRefused(_) => {
                    refused = true;
                    session.handle(Input::RecordsTakenBack { heads: heads(&space, &records), changed: false });
                }
                Output::RecordsEqual { .. } => {
                    sender.close().await;
                    return Ok(Published { records: judged(space, records).await?, refused });
                }
                Output::Close(error) => return Err(error.into()),
                _ => {}
            }
        }
        let Some(bytes) = receiver.recv().await? else { return Err(SessionError::Disconnected.into()) };
        let now_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        session.handle(Input::Tick(now_ms));
        session.handle(Input::Frame(bytes));
    }
}

/// The records that may be kept; on a thread that may take its time: they are as many as the relay wants.
async fn judged(space: SpaceId, records: Vec<Record>) -> Result<Vec<Record>, EngineError> {
    let judge = move || admissible(&space, &[], &records).map(|kept| kept.into_iter().cloned().collect());
    match blocking(judge).await {
        Ok(kept) => Ok(kept.map_err(StoreError::from)?),
        Err(_) => Err(EngineError::Stopped),
    }
}

fn heads(space: &SpaceId, records: &[Record]) -> Vec<RecordId> {
    Membership::evaluate(space, records).map(|membership| membership.heads).unwrap_or_default()
}
