//! What is done while nothing else is: documents that came with a checkpoint, the search index, grown tails.

use super::Shared;
use super::shared::wall_ms;
use crate::store::StoreError;

/// Documents handled per turn at the store's lock, so that an edit never waits for long.
const DOCUMENTS_PER_TURN: usize = 64;

/// Brings the index up to date, re-snapshots what has grown and empties the write-ahead log, a little at a
/// time; blocking.
pub(crate) fn rest(shared: &Shared) -> Result<(), StoreError> {
    verify(shared)?;
    index(shared)?;
    while shared.store().compact_tails(DOCUMENTS_PER_TURN)? > 0 {}
    shared.store().checkpoint()
}

/// Looks at documents that came with a checkpoint; blocking. What it said wrongly of them is put right and told.
pub(crate) fn verify(shared: &Shared) -> Result<(), StoreError> {
    loop {
        let report = shared.store().verify_documents(DOCUMENTS_PER_TURN, wall_ms())?;
        if report.verified == 0 || report.left == 0 {
            return Ok(());
        }
    }
}

/// Brings the search index up to date; blocking.
pub(crate) fn index(shared: &Shared) -> Result<(), StoreError> {
    while shared.store().index_dirty(DOCUMENTS_PER_TURN)? > 0 {}
    Ok(())
}
