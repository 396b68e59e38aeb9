//! Checkpoints as bytes: packs of whole documents with their rows, and the sealed manifest that says which pack is which.
//!
//! ```text
//! Checkpoint record: previous, cut, chunks, blobs, enc_manifest ── open ─▶ Manifest { one note a chunk }
//!                                   └ ids of Chunk envelopes ──── open ─▶ Pack { documents: heads, bytes, rows }
//! ```
//! A pack is believed in nothing: whoever takes it in looks at each document before it is changed, and compares what it
//! can with what it holds itself. Nothing here reads a document.

mod manifest;
mod pack;

use crate::cbor::CborError;

pub use manifest::{ChunkNote, ERASED_MAX, Manifest, open_manifest, seal_manifest};
pub use pack::{PACK_DOCUMENTS_MAX, PIECE_BYTES_MAX, PIECES_MAX, Pack, PackedDoc, Piece, decode_rows, encode_rows};

/// A stream of the cut is of a device that the space never had.
pub const REASON_STREAM_UNKNOWN: u8 = 1;
/// At the cut stands another envelope.
pub const REASON_OTHER_ENVELOPE: u8 = 3;
/// A change from before the cut is not in its document.
pub const REASON_CHANGE_MISSING: u8 = 4;
/// A document holds a change that its device never made.
pub const REASON_CHANGE_UNKNOWN: u8 = 5;
/// A chunk or a document in it does not open.
pub const REASON_DOES_NOT_OPEN: u8 = 6;
/// A document with changes from before the cut is in no chunk.
pub const REASON_DOCUMENT_MISSING: u8 = 7;
/// A part of an attachment that a living note refers to is not named.
pub const REASON_PART_MISSING: u8 = 8;

/// What was sealed is no pack or manifest, or is not sealed as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Not the CBOR that is asked for, or a field is missing.
    #[error("the checkpoint is not laid out as it should be")]
    Layout,
    /// Above a limit.
    #[error("the checkpoint holds more than the limits allow")]
    TooLarge,
    /// The epoch that seals it is not held.
    #[error("the checkpoint is sealed under a key that is not on this device")]
    UnknownEpoch,
    /// Ciphertext, padding or compression is wrong.
    #[error("the checkpoint does not open")]
    DoesNotOpen,
}

impl From<CborError> for CheckpointError {
    fn from(_: CborError) -> Self {
        Self::Layout
    }
}
