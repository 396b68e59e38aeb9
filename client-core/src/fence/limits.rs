//! What one change and one envelope may cost.

/// Most operations of one change, and most predecessors its operations name together.
pub(super) const CHANGE_OPS_MAX: u64 = 1 << 20;
/// Most operations of all changes of one envelope.
pub(super) const ENVELOPE_OPS_MAX: u64 = 1 << 22;
/// Most other actors that one change names.
pub(super) const CHANGE_ACTORS_MAX: usize = 4096;
/// Most dependencies of one change: heads of a document, of which there are as many as devices wrote at once.
pub(super) const CHANGE_DEPS_MAX: usize = 4096;
/// Longest commit message; this engine writes none.
pub(super) const CHANGE_MESSAGE_BYTES_MAX: usize = 1024;
/// How far a change's first operation may lie beyond the newest operation it depends on. Honest changes follow
/// it directly, save those made at old heads; a large leap would use up the 32-bit counter of everybody.
pub(super) const COUNTER_LEAP_MAX: u64 = 1 << 16;
/// Operations that a whole document may claim beyond two a byte: characters take a byte each, so honest ones stay far below.
pub(super) const DOCUMENT_OPS_FREE: u64 = 1 << 20;
