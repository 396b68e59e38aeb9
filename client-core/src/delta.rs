//! What an envelope's plaintext says: changes of documents, with the author's frontier (protocol §2.3,
//! amendments 3 and 8). Encoding is CBOR with integer keys; decoding is bounded.

use lifeos_sync_protocol::ids::{DocId, StreamId};

use crate::document::GenesisId;

/// Changes of one document by one author, in the order they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocDelta {
    /// The document.
    pub doc: DocId,
    /// Raw Automerge change chunks, each complete with its header.
    pub changes: Vec<Vec<u8>>,
    /// The frozen first change the document starts from, which is never sent itself.
    pub genesis: GenesisId,
}

/// The plaintext of a Delta envelope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// Streams whose applied sequence advanced since the author's previous envelope.
    pub frontier: Vec<(StreamId, u32)>,
    /// Changes by document; a document appears once.
    pub docs: Vec<DocDelta>,
    /// `4: app` bytes, kept as they are.
    pub app: Vec<u8>,
    /// `3: adopted` and `5: erased` are laid out in PROTOCOL.md; version 1 keeps their raw CBOR when it
    /// meets them (issue B and C give them meaning).
    pub unknown: Vec<(u32, Vec<u8>)>,
}
