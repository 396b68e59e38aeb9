//! What is done while nothing else is: erasures that are due, rows of an earlier version, documents that came with a
//! checkpoint, the search index, grown tails, parts of attachments that may go.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::Shared;
use super::jobs::{Job, JobKind};
use super::shared::wall_ms;
use crate::crypto::SystemRandom;
use crate::event::Event;
use crate::store::{Commit, Place, Store, StoreError, Verified};

/// Documents handled per turn at the store's lock, so that an edit never waits for long.
const DOCUMENTS_PER_TURN: usize = 64;
/// Time between two turns, in which an edit that waits gets the lock.
const BREATH: Duration = Duration::from_millis(1);
/// How long it is left at that when the database could not be written anew.
const SCRUB_AGAIN: Duration = Duration::from_secs(24 * 3_600);

/// Brings the index up to date, re-snapshots what has grown and empties the write-ahead log, a little at a
/// time; blocking. What is stopped goes on the next time.
pub(crate) fn rest(shared: &Shared) -> Result<(), StoreError> {
    erase(shared, wall_ms())?;
    let _turn = shared.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
    project_in_turns(shared, || true)?;
    verify(shared)?;
    index(shared)?;
    run(shared, JobKind::Compact, |store| {
        let done = store.compact_tails(DOCUMENTS_PER_TURN)?;
        Ok((done as u64, store.reads().grown_count()?))
    })?;
    tidy_attachments(shared, wall_ms())?;
    shared.keep_measured()?;
    shared.tell_jobs()?;
    shared.store().checkpoint()
}

/// Whether [`erase`] has something to do; looks without the write lock.
pub(crate) fn has_erasures(shared: &Shared) -> Result<bool, StoreError> {
    let now_ms = wall_ms();
    let has_plans = {
        let (reader, space) = (shared.reader(), &shared.space);
        let reads = reader.reads();
        let is_alone = reads.relays(space)?.is_empty();
        reads.is_clock_to_look_at(space, now_ms)? || (is_alone && reads.has_erasures_due(space, now_ms)?)
    };
    Ok(has_plans || (shared.may_scrub() && shared.store().is_to_scrub()?))
}

/// Looks at the clock for planned erasures, and writes the database anew without what was erased: neither needs a relay.
/// Where there is none, what is due is carried out, too; else what others say of the note is heard first. Blocking.
pub(crate) fn erase(shared: &Shared, now_ms: i64) -> Result<(), StoreError> {
    let (state, space) = (shared.state(), &shared.space);
    shared.store().look_at_clock(space, now_ms)?;
    if shared.store().relays(space)?.is_empty() {
        let me = (&state.membership, &shared.device);
        let docs = shared.store().erase_due(space, me, now_ms, &mut SystemRandom::new())?;
        if !docs.is_empty() {
            shared.committed(Commit { docs, bytes: 0 });
        }
    }
    scrub(shared);
    Ok(())
}

/// Writes the database anew if something was erased since the last time. A full disk or another program that writes is
/// no reason to stop anything: it is tried again later.
pub(super) fn scrub(shared: &Shared) {
    if !shared.may_scrub() {
        return;
    }
    let mut store = shared.store();
    let begun = shared.begin_job(JobKind::Scrub, &store.reads());
    let scrubbed = begun.and_then(|job| job.map(|_job| store.scrub()).transpose());
    drop(store);
    if let Err(error) = scrubbed {
        tracing::warn!(%error, "bytes of erased notes may still lie in the files of this home");
        shared.scrub_not_before(Instant::now() + SCRUB_AGAIN);
    }
}

/// Projects documents again whose rows are those of an earlier version, for as long as it is wanted; blocking.
pub(crate) fn project(shared: &Shared, is_wanted: impl Fn() -> bool) -> Result<(), StoreError> {
    let _turn = shared.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
    project_in_turns(shared, is_wanted)?;
    shared.tell_jobs()
}

fn project_in_turns(shared: &Shared, is_wanted: impl Fn() -> bool) -> Result<(), StoreError> {
    if shared.reader().reads().unprojected_count()? == 0 {
        return Ok(());
    }
    run(shared, JobKind::Project, |store| {
        let done = if is_wanted() { store.project_waiting(DOCUMENTS_PER_TURN)? } else { 0 };
        Ok((done as u64, store.reads().unprojected_count()?))
    })?;
    // So much may have changed that it is read anew rather than listed.
    shared.emit(Event::Lagged);
    Ok(())
}

/// Drops parts of attachments that nothing has referred to for long, and those above the cache limit that a relay holds.
pub(crate) fn tidy_attachments(shared: &Shared, now_ms: i64) -> Result<u64, StoreError> {
    let mut store = shared.store();
    store.sweep_partials(&shared.space)?;
    Ok(store.sweep_parts(&shared.space, now_ms)? + store.evict_parts()?)
}

/// Looks at documents that came with a checkpoint, without keeping the store from anybody meanwhile; blocking. What it
/// said wrongly of them is put right and told.
pub(crate) fn verify(shared: &Shared) -> Result<(), StoreError> {
    if shared.store().knows_other_kinds(&shared.space)? {
        let state = shared.state();
        let report = shared.store().take_known_kinds(&shared.space, (&state.membership, &state.keyring), wall_ms())?;
        shared.announce(&report);
    }
    let begun = shared.begin_job(JobKind::Verify, &shared.reader().reads())?;
    let Some(job) = begun else { return Ok(()) };
    let mut from = Place::START;
    loop {
        let batch = shared.store().unverified(from, usize::MAX)?;
        let Some(end) = batch.end() else { return Ok(()) };
        let (count, looked_at) = (batch.count(), batch.look());
        let mut store = shared.store();
        store.keep_looked_at(looked_at, wall_ms(), &mut Verified::default())?;
        let left = store.reads().unverified_count(&shared.space)?;
        drop(store);
        if !goes_on(shared, &job, count, left)? {
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
    let begun = shared.begin_job(kind, &shared.reader().reads())?;
    let Some(job) = begun else { return Ok(()) };
    loop {
        let (done, left) = turn(&mut shared.store())?;
        if done == 0 || !goes_on(shared, &job, done, left)? {
            return Ok(());
        }
        if left > 0 {
            std::thread::sleep(BREATH);
        }
    }
}

/// After a turn: whether there is to be another one.
fn goes_on(shared: &Shared, job: &Job<'_>, done: u64, left: u64) -> Result<bool, StoreError> {
    job.went(done, left);
    shared.tell_jobs()?;
    Ok(!shared.jobs.is_stopped())
}
