//! The fence around Automerge: changes from outside are checked before they are parsed, applied on a
//! disposable fork under `catch_unwind`, and verified after (protocol §9, amendment 11).

use lifeos_sync_protocol::ids::{DocId, EnvelopeId, StreamId};

use crate::document::GenesisId;

/// One change that passed the pre-scan: chunk type, size, checksum, actor, sequence, no author field.
#[derive(Debug, Clone)]
pub struct CheckedChange {
    /// The envelope it came in: what is quarantined if applying it fails.
    pub envelope: EnvelopeId,
    /// Parsed.
    pub change: automerge::Change,
}

/// The checked changes of one document from one opened envelope.
#[derive(Debug, Clone)]
pub struct CheckedDelta {
    /// The document.
    pub doc: DocId,
    /// Where it starts from.
    pub genesis: GenesisId,
    /// The author's stream.
    pub stream: StreamId,
    /// In order.
    pub changes: Vec<CheckedChange>,
}

/// What makes a change unacceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FenceError {
    /// Not a change chunk, or a chunk type that is not allowed here.
    #[error("not an Automerge change")]
    ChunkType,
    /// Above a limit, before or after inflating.
    #[error("change is larger than the limits allow")]
    TooLarge,
    /// Automerge does not parse it.
    #[error("Automerge does not parse the change")]
    Parse,
    /// The actor is not the author's stream.
    #[error("the change claims another actor")]
    Actor,
    /// It names an actor that is unknown here.
    #[error("the change names an unknown actor")]
    UnknownActor,
    /// A different change has this actor and sequence.
    #[error("the change repeats a sequence")]
    DuplicateSeq,
    /// The genesis is not in the frozen table, or not this document's.
    #[error("unknown or wrong genesis")]
    Genesis,
    /// Automerge panicked.
    #[error("Automerge panicked on the change")]
    Panic,
    /// Automerge took too long.
    #[error("Automerge did not finish in time")]
    Timeout,
    /// Automerge returned an error or did not take the change in.
    #[error("Automerge refused the change")]
    Apply,
}
// owner: crypto helper. Wanted: `check(opened: &OpenedDelta) -> Result<Vec<CheckedDelta>, FenceError>` and
// `apply(document: &mut Document, deltas: Vec<CheckedDelta>) -> Applied { changed, waiting, refused: Vec<(EnvelopeId, FenceError)> }`
// (one batch on a fork; on failure bisect by envelope and apply the rest).
