//! The last look at a local change before it is stored: did it write what the registry declares, and may this version
//! edit the document at all?
//!
//! Operations check what they write ([`super::validate`]). This holds whoever forgot to: nothing undeclared is ever
//! stored, sealed and sent, where nobody could take it back.

use crate::document::chunk::{self, RootWrite};
use crate::document::{Document, DocumentError};
use crate::modules::entity;

/// Looks at a change that an edit of this device made.
///
/// # Errors
/// [`DocumentError::Undeclared`] for a key that is not declared or was deleted, or an object that only a genesis may
/// make; [`DocumentError::NeedsUpdate`] when the document is of a version that this one must not edit.
pub(crate) fn admit(document: &Document, change: &[u8]) -> Result<(), DocumentError> {
    let Some(kind) = super::kind(document.genesis()) else { return Ok(()) };
    entity::may_edit(document.read(), kind)?;
    let declared = |write: &RootWrite<'_>| write.is_value && kind.field(write.key).is_some();
    match chunk::root_writes(change).map(|writes| writes.iter().all(declared)) {
        Some(true) => Ok(()),
        _ => Err(DocumentError::Undeclared { kind: kind.name }),
    }
}
