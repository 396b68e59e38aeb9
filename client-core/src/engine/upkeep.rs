//! What is done while nothing else is: the search index, grown tails.

use super::Shared;
use crate::store::StoreError;

/// Documents handled per turn at the store's lock, so that an edit never waits for long.
const DOCUMENTS_PER_TURN: usize = 64;

/// Brings the index up to date, re-snapshots what has grown and empties the write-ahead log, a little at a
/// time; blocking.
pub(crate) fn rest(shared: &Shared) -> Result<(), StoreError> {
    index(shared)?;
    while shared.store().compact_tails(DOCUMENTS_PER_TURN)? > 0 {}
    shared.store().checkpoint()
}

/// Brings the search index up to date; blocking.
pub(crate) fn index(shared: &Shared) -> Result<(), StoreError> {
    while shared.store().index_dirty(DOCUMENTS_PER_TURN)? > 0 {}
    Ok(())
}
