//! What is done while nothing else is: documents that came with a checkpoint, the search index, grown tails, parts of
//! attachments that may go.

use std::sync::PoisonError;

use super::Shared;
use super::jobs::JobKind;
use super::shared::wall_ms;
use crate::store::{Place, Store, StoreError, Verified};

/// Documents handled per turn at the store's lock, so that an edit never waits for long.
const DOCUMENTS_PER_TURN: usize = 64;

/// Brings the index up to date, re-snapshots what has grown and empties the write-ahead log, a little at a
/// time; blocking. What is stopped goes on the next time.
pub(crate) fn rest(shared: &Shared) -> Result<(), StoreError> {
    let _turn = shared.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
    verify(shared)?;
    index(shared)?;
    run(shared, JobKind::Compact, |store| {
        let done = store.compact_tails(DOCUMENTS_PER_TURN)?;
        Ok((done as u64, store.reads().grown_count()?))
    })?;
    tidy_attachments(shared, wall_ms())?;
    shared.keep_measured()?;
    shared.store().checkpoint()
}

/// Drops parts of attachments that nothing has referred to for long, and those above the cache limit that a relay holds.
pub(crate) fn tidy_attachments(shared: &Shared, now_ms: i64) -> Result<u64, StoreError> {
    let mut store = shared.store();
    Ok(store.sweep_parts(&shared.space, now_ms)? + store.evict_parts()?)
}

/// Looks at documents that came with a checkpoint, without keeping the store from anybody meanwhile; blocking. What it
/// said wrongly of them is put right and told.
pub(crate) fn verify(shared: &Shared) -> Result<(), StoreError> {
    let Some(job) = shared.jobs.begin(JobKind::Verify) else { return Ok(()) };
    let mut from = Place::START;
    loop {
        let batch = shared.store().unverified(from, usize::MAX)?;
        let Some(end) = batch.end() else { return Ok(()) };
        let (count, looked_at) = (batch.count(), batch.look());
        let mut store = shared.store();
        store.keep_looked_at(looked_at, wall_ms(), &mut Verified::default())?;
        if !job.went(count, store.reads().unverified_count(&shared.space)?) {
            return Ok(());
        }
        from = end;
    }
}

/// Brings the search index up to date; blocking.
pub(crate) fn index(shared: &Shared) -> Result<(), StoreError> {
    run(shared, JobKind::Index, |store| {
        let done = store.index_dirty(DOCUMENTS_PER_TURN)?;
        Ok((done as u64, store.reads().search_dirty_count()?))
    })
}

/// Turns of a job until nothing goes any more, or somebody stops it. A turn says how many documents it did and how many are
/// left; between two turns the store is anybody's.
fn run(
    shared: &Shared,
    kind: JobKind,
    mut turn: impl FnMut(&mut Store) -> Result<(u64, u64), StoreError>,
) -> Result<(), StoreError> {
    let Some(job) = shared.jobs.begin(kind) else { return Ok(()) };
    loop {
        let (done, left) = turn(&mut shared.store())?;
        if !job.went(done, left) || done == 0 {
            return Ok(());
        }
        std::thread::yield_now();
    }
}
