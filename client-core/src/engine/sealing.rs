//! Sealing what waits, for a relay that is about to be sent to or a bundle that is about to be written.

use lifeos_sync_protocol::ids::EpochRef;
use lifeos_sync_protocol::membership::Membership;

use super::{EngineError, Shared, wall_ms};
use crate::crypto::SystemRandom;
use crate::keys::SealKey;
use crate::store::{Commit, ReceiveReport, SealBudget, StoreError};

/// Whether there is something to seal: looks without the write lock.
pub(super) fn is_waiting(shared: &Shared) -> Result<bool, StoreError> {
    let (reader, space) = (shared.reader(), &shared.space);
    let reads = reader.reads();
    let has_edits = reads.pending_count(space)? > 0 || reads.vouched_count(space)? > 0;
    Ok(has_edits || reads.has_erasures_to_tell(space, wall_ms())?)
}

/// Leaves a stream that another copy of this home writes, too, or that is full; what became of it, if so.
pub(super) fn leave_stream(shared: &Shared) -> Result<Option<ReceiveReport>, StoreError> {
    let (state, space) = (shared.state(), &shared.space);
    let mut store = shared.store();
    // Under one lock: another connection may be about to leave it, too.
    let agreed_seq = match store.own_stream_shared(space, &state.membership)? {
        None => store.own_stream_full(space)?,
        agreed => agreed,
    };
    let Some(agreed_seq) = agreed_seq else { return Ok(None) };
    let records = (&state.membership, &state.keyring);
    store.begin_new_stream(space, agreed_seq, records, wall_ms(), &mut SystemRandom::new()).map(Some)
}

/// Nothing is sealed under a key whose record nobody else holds: it may still be taken back.
pub(crate) fn check_taken(shared: &Shared, membership: &Membership, epoch: EpochRef) -> Result<(), EngineError> {
    let untaken = shared.store().untaken_records(&shared.space)?;
    let record = membership.epochs.get(&epoch).map(|epoch| epoch.record);
    if record.is_some_and(|record| untaken.contains(&record)) { Err(EngineError::KeyUntaken) } else { Ok(()) }
}

/// Seals in small commits, so that a person's edit gets in between; how many envelopes were made.
pub(super) fn seal_pending(shared: &Shared) -> Result<usize, EngineError> {
    if !is_waiting(shared)? {
        return Ok(0);
    }
    let state = shared.state();
    let key = state.seal_key(&shared.keys)?;
    check_taken(shared, &state.membership, key.epoch())?;
    let (space, keys, mut random) = (&shared.space, &shared.keys, SystemRandom::new());
    let mut envelopes = seal_edits(shared, &key)?;
    let me = (&state.membership, &shared.device);
    let erased = shared.store().erase_due(space, me, wall_ms(), &mut random)?;
    if !erased.is_empty() {
        shared.committed(Commit { docs: erased, bytes: 0 });
        envelopes += seal_edits(shared, &key)?;
    }
    envelopes += shared.store().seal_erasures(space, keys, &key, &mut random)?;
    Ok(envelopes)
}

fn seal_edits(shared: &Shared, key: &SealKey) -> Result<usize, EngineError> {
    let (space, keys, mut random) = (&shared.space, &shared.keys, SystemRandom::new());
    let mut envelopes = 0;
    loop {
        let report = shared.store().seal_pending(space, keys, key, SealBudget::default(), &mut random)?;
        envelopes += report.envelopes;
        if !report.more {
            return Ok(envelopes);
        }
    }
}
