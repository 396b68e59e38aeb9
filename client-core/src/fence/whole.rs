//! A whole document from outside: read just far enough to know that loading it is bounded, then loaded under the
//! watchdog.
//!
//! ```text
//! chunk    = 85 6f 4a 83 ‖ checksum(4) ‖ 0 ‖ LEB128 length ‖ body, and nothing behind it
//! body     = actors {length, bytes} ‖ heads(32) ‖ change columns {spec, length} ‖ op columns {spec, length}
//!            ‖ change data ‖ op data ‖ LEB128 place of each head
//! ```
//! No column may be compressed, so nothing inflates; what columns claim is summed as for a change. The document is loaded
//! with its history verified: every hash is computed anew, so equal heads are equal changes.

use automerge::ChangeHash;
use lifeos_sync_protocol::ids::StreamId;

use super::FenceError;
use super::limits::{CHANGE_ACTORS_MAX, CHANGE_DEPS_MAX, DOCUMENT_OPS_FREE};
use super::prescan::{COLUMNS_MAX, Cursor, MAGIC, column_items};
use crate::crypto;
use crate::registry;

const TYPE_DOCUMENT: u8 = 0;
const ACTOR_BYTES: usize = StreamId::BYTES;

/// What a document's bytes say of it before anything of them is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedDocument {
    /// Who wrote it: the only actors that its changes can have.
    pub actors: Vec<StreamId>,
    /// Its newest changes, ascending.
    pub heads: Vec<ChangeHash>,
}

/// Checks the frame, the checksum and the counts of one whole document chunk.
///
/// # Errors
/// [`FenceError`].
pub fn scan_document(bytes: &[u8]) -> Result<ScannedDocument, FenceError> {
    let body = body_of(bytes)?;
    let mut cursor = Cursor(body);
    let actors = (0..cursor.count(CHANGE_ACTORS_MAX)?)
        .map(|_| StreamId::from_slice(cursor.prefixed()?).ok_or(FenceError::Actor))
        .collect::<Result<Vec<_>, _>>()?;
    let heads = (0..cursor.count(CHANGE_DEPS_MAX)?)
        .map(|_| cursor.take(32).and_then(|head| head.try_into().map_err(|_| FenceError::Parse)).map(ChangeHash));
    let mut heads = heads.collect::<Result<Vec<_>, _>>()?;
    heads.sort_unstable();
    let columns = [columns(&mut cursor)?, columns(&mut cursor)?].concat();
    let most = DOCUMENT_OPS_FREE + 2 * bytes.len() as u64;
    for (spec, length) in columns {
        if column_items(spec, cursor.take(length)?, most)? > u64::from(u32::MAX) {
            return Err(FenceError::TooLarge);
        }
    }
    for _ in &heads {
        cursor.unsigned()?;
    }
    if cursor.0.is_empty() { Ok(ScannedDocument { actors, heads }) } else { Err(FenceError::Parse) }
}

/// The chunk is whole, of its type, and what its checksum says.
fn body_of(bytes: &[u8]) -> Result<&[u8], FenceError> {
    let mut cursor = Cursor(bytes);
    if cursor.take(4)? != MAGIC {
        return Err(FenceError::ChunkType);
    }
    let checksum = cursor.take(4)?;
    let hashed = cursor.0;
    if cursor.take(1)? != [TYPE_DOCUMENT] {
        return Err(FenceError::ChunkType);
    }
    let length = cursor.unsigned()?;
    let body = cursor.take(length)?;
    let whole = cursor.0.is_empty() && crypto::sha256_plain(&[hashed])[..4] == *checksum;
    if whole { Ok(body) } else { Err(FenceError::Parse) }
}

fn columns(cursor: &mut Cursor<'_>) -> Result<Vec<(u64, u64)>, FenceError> {
    (0..cursor.count(COLUMNS_MAX)?).map(|_| Ok((cursor.unsigned()?, cursor.unsigned()?))).collect()
}

/// Whether an actor is that of every genesis, which no device writes as.
#[must_use]
pub fn is_genesis_actor(actor: &StreamId) -> bool {
    actor.0[..ACTOR_BYTES] == registry::GENESIS_ACTOR[..]
}
