//! Seal, verify and open: each step takes what the step before gives, so that none can be skipped
//! (`Envelope` → [`VerifiedEnvelope`] → [`OpenedDelta`]; protocol §2).

use lifeos_sync_protocol::envelope::Envelope;
use lifeos_sync_protocol::ids::{EnvelopeId, EpochRef, MemberId, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;

use crate::crypto::Random;
use crate::delta::Delta;
use crate::keys::{DeviceKeys, EpochSecret, Keyring};

/// Where a stream stands: what the next envelope must continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamTip {
    /// The stream.
    pub stream: StreamId,
    /// The device that writes it.
    pub device: SignPk,
    /// Last sequence (0: nothing yet).
    pub seq: u32,
    /// Id of that envelope; for seq 0 the r32 that the stream id commits to.
    pub id: [u8; 32],
}

/// A finished envelope: bytes that never change again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedEnvelope {
    /// Position in the author's stream.
    pub seq: u32,
    /// Content address.
    pub id: EnvelopeId,
    /// All bytes.
    pub bytes: Vec<u8>,
}

/// An envelope whose place in its stream, author, role and signature have been checked.
#[derive(Debug, Clone)]
pub struct VerifiedEnvelope {
    pub(crate) envelope: Envelope,
    pub(crate) id: EnvelopeId,
    pub(crate) author: SignPk,
    pub(crate) member: MemberId,
}

/// The plaintext of a verified envelope, with who wrote it.
#[derive(Debug, Clone)]
pub struct OpenedDelta {
    /// Content address of the envelope.
    pub id: EnvelopeId,
    /// The stream: every change inside must have it as actor.
    pub stream: StreamId,
    /// Position in the stream.
    pub seq: u32,
    /// The writing device.
    pub author: SignPk,
    /// Its member.
    pub member: MemberId,
    /// What it says.
    pub delta: Delta,
}

/// Why an envelope is not accepted; it goes to quarantine, the cursor moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedEnvelope {
    /// Wrong layout.
    #[error("the envelope's layout is wrong")]
    Layout,
    /// The stream belongs to no enrolled device.
    #[error("no enrolled device writes this stream")]
    UnknownAuthor,
    /// The author may not write.
    #[error("the author may not write here")]
    NotWriter,
    /// Does not continue its stream.
    #[error("the envelope does not continue its stream")]
    Chain,
    /// Two envelopes for one position.
    #[error("the stream forks here")]
    Fork,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// The epoch's secret is not held.
    #[error("the epoch's key is not on this device")]
    UnknownEpoch,
    /// Ciphertext, padding, compression or CBOR is wrong (one error for all of them, so that it is no oracle).
    #[error("the envelope does not open")]
    DoesNotOpen,
}

/// Seals a delta as the next envelope of a stream. Signs; never sends.
///
/// # Errors
/// [`RefusedEnvelope::Layout`] when the delta is larger than a limit: split it.
pub fn seal(
    space: &SpaceId,
    tip: &StreamTip,
    keys: &DeviceKeys,
    epoch: EpochRef,
    secret: &EpochSecret,
    delta: &Delta,
    random: &mut dyn Random,
) -> Result<SealedEnvelope, RefusedEnvelope> {
    let _ = (space, tip, keys, epoch, secret, delta, random);
    todo!()
}

/// Checks that the author may write and that the envelope continues `tip`. For seq 1 (no tip yet) finds the
/// device whose key and the envelope's `prev` give the stream id. The signature is checked when `signature`
/// says so: in a bulk page only the last envelope of a run needs it, the chain covers the others.
///
/// # Errors
/// [`RefusedEnvelope`].
pub fn verify(
    space: &SpaceId,
    membership: &Membership,
    tip: Option<&StreamTip>,
    envelope: Envelope,
    signature: SignatureCheck,
) -> Result<(VerifiedEnvelope, StreamTip), RefusedEnvelope> {
    let _ = (space, membership, tip, envelope, signature);
    todo!()
}

/// Whether the signature is checked now or is covered by a verified descendant in the same page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureCheck {
    /// Check it.
    Now,
    /// A later envelope of the same chain has been checked.
    CoveredByDescendant,
}

/// Opens a verified envelope: AEAD, padding, bounded inflate, bounded CBOR.
///
/// # Errors
/// [`RefusedEnvelope::UnknownEpoch`] or [`RefusedEnvelope::DoesNotOpen`].
pub fn open(space: &SpaceId, envelope: &VerifiedEnvelope, keyring: &Keyring) -> Result<OpenedDelta, RefusedEnvelope> {
    let _ = (space, envelope, keyring);
    todo!()
}
