//! Seal, verify and open: each step takes what the step before gives, so that none can be skipped
//! (`Envelope` → [`VerifiedEnvelope`] → [`OpenedDelta`]; protocol §2).

mod object;
pub(crate) mod plaintext;
#[cfg(test)]
mod tests;

pub use object::{
    ObjectPlace, OpenedObject, VerifiedObject, open_object, open_then_verify, seal_object, verify_kept_object,
    verify_object,
};

use lifeos_sync_protocol::envelope::{
    Envelope, FLAG_PADME, Header, Kind, assemble, associated_data, signing_message, stream_id,
};
use lifeos_sync_protocol::ids::{EnvelopeId, EpochRef, MemberId, SignPk, Signature, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;
use zeroize::Zeroizing;

use crate::crypto::{Random, open_once, random_bytes, seal_once};
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

impl StreamTip {
    /// A stream that begins: its id commits to the space, the device and 32 random bytes, which the first
    /// envelope carries. A restored backup begins a new stream, so that two copies never write one stream.
    #[must_use]
    pub fn start(space: &SpaceId, device: &SignPk, random: &mut dyn Random) -> Self {
        let id = random_bytes(random);
        Self { stream: stream_id(space, device, &id), device: *device, seq: 0, id }
    }
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Every position of the stream is used: start a new stream.
    #[error("the stream is full; start a new one")]
    StreamFull,
    /// The delta is larger than one envelope may be: split it.
    #[error("the delta does not fit one envelope")]
    TooLarge,
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

/// Seals a delta as the next envelope of a stream. Signs; never sends. The next tip is
/// `StreamTip { seq: sealed.seq, id: sealed.id.0, ..*tip }`; store both before the first byte is sent.
///
/// # Errors
/// [`RefusedEnvelope::Layout`] for a delta that a receiver would refuse, [`RefusedEnvelope::TooLarge`] for one to
/// be split, [`RefusedEnvelope::StreamFull`], [`RefusedEnvelope::UnknownAuthor`] when `keys` do not write this stream.
pub fn seal(
    space: &SpaceId,
    tip: &StreamTip,
    keys: &DeviceKeys,
    epoch: EpochRef,
    secret: &EpochSecret,
    delta: &Delta,
    random: &mut dyn Random,
) -> Result<SealedEnvelope, RefusedEnvelope> {
    if keys.sign_pk() != tip.device {
        return Err(RefusedEnvelope::UnknownAuthor);
    }
    let body = Zeroizing::new(delta.encode().map_err(|_| RefusedEnvelope::Layout)?);
    let header = Header {
        kind: Kind::Delta,
        flags: FLAG_PADME,
        stream: tip.stream,
        seq: tip.seq.checked_add(1).ok_or(RefusedEnvelope::StreamFull)?,
        prev: tip.id,
        epoch,
        salt: random_bytes(random),
        ct_len: 0,
    };
    let (header, ciphertext) = seal_body(space, header, secret, &body)?;
    finish(space, keys, &header, &ciphertext)
}

/// Packs and encrypts a body; the header comes back with the length of its ciphertext, which it authenticates.
fn seal_body(
    space: &SpaceId,
    header: Header,
    secret: &EpochSecret,
    body: &[u8],
) -> Result<(Header, Vec<u8>), RefusedEnvelope> {
    let (mut buffer, ct_len) = object::pack(header.kind, body)?;
    let header = Header { ct_len, ..header };
    seal_once(&envelope_key(secret, &header), &associated_data(space, &header), &mut buffer)
        .map_err(|_| RefusedEnvelope::TooLarge)?;
    Ok((header, buffer))
}

/// Signs the content address, which does not cover the signature: the id is known before it.
fn finish(
    space: &SpaceId,
    keys: &DeviceKeys,
    header: &Header,
    ciphertext: &[u8],
) -> Result<SealedEnvelope, RefusedEnvelope> {
    let unsigned = assemble(header, ciphertext, &Signature([0; 64]));
    let unsigned = Envelope::parse(unsigned).map_err(|_| RefusedEnvelope::Layout)?;
    let id = unsigned.id(space);
    let bytes = assemble(header, ciphertext, &keys.sign(&signing_message(space, &id)));
    Ok(SealedEnvelope { seq: header.seq, id, bytes })
}

/// The single-use key of one envelope. The salt keeps it fresh even when a rolled-back device repeats a
/// (stream, seq), so the accident is a fork that everybody sees and never a key used twice.
pub(crate) fn envelope_key(secret: &EpochSecret, header: &Header) -> Zeroizing<[u8; 32]> {
    let context = object::key_context(header.kind);
    secret.derive_key(&[&context, &header.stream.0, &header.seq.to_be_bytes(), &header.salt])
}

/// Checks that the author is or was enrolled and that the envelope continues `tip`. Whether it counts, by role and
/// removals, is not asked here: that depends on more than one envelope (§6.5). For seq 1 (no tip yet) finds the
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
    let header = *envelope.header();
    if header.kind != Kind::Delta || header.seq == 0 {
        return Err(RefusedEnvelope::Layout);
    }
    let id = envelope.id(space);
    let author = match tip {
        Some(tip) => check_continues(tip, &header, &id)?,
        None => find_author(space, membership, &header)?,
    };
    let member = membership.devices.get(&author).ok_or(RefusedEnvelope::UnknownAuthor)?.member;
    if signature == SignatureCheck::Now {
        envelope.verify_signature(space, &author).map_err(|_| RefusedEnvelope::Signature)?;
    }
    let tip = StreamTip { stream: header.stream, device: author, seq: header.seq, id: id.0 };
    Ok((VerifiedEnvelope { envelope, id, author, member }, tip))
}

fn check_continues(tip: &StreamTip, header: &Header, id: &EnvelopeId) -> Result<SignPk, RefusedEnvelope> {
    let next = tip.seq.checked_add(1);
    if header.stream == tip.stream && next == Some(header.seq) && header.prev == tip.id {
        return Ok(tip.device);
    }
    let same_place = header.stream == tip.stream && header.seq == tip.seq;
    let other_branch = header.stream == tip.stream && next == Some(header.seq);
    // A successor of another predecessor proves a second branch just as a second envelope at the tip does.
    if (same_place && id.0 != tip.id) || other_branch {
        Err(RefusedEnvelope::Fork)
    } else {
        Err(RefusedEnvelope::Chain)
    }
}

/// The enrolled device that writes the stream which `header` begins.
pub(crate) fn find_author(
    space: &SpaceId,
    membership: &Membership,
    header: &Header,
) -> Result<SignPk, RefusedEnvelope> {
    if header.seq != 1 {
        return Err(RefusedEnvelope::Chain);
    }
    writer_of(space, membership, &header.stream, &header.prev).ok_or(RefusedEnvelope::UnknownAuthor)
}

/// The enrolled device whose key and these random bytes give the stream's id.
pub(crate) fn writer_of(space: &SpaceId, membership: &Membership, stream: &StreamId, r32: &[u8; 32]) -> Option<SignPk> {
    membership.devices.keys().find(|device| stream_id(space, device, r32) == *stream).copied()
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
    let header = envelope.envelope.header();
    let secret = keyring.find(&header.epoch).ok_or(RefusedEnvelope::UnknownEpoch)?;
    let delta = open_delta(space, &envelope.envelope, secret).ok_or(RefusedEnvelope::DoesNotOpen)?;
    Ok(OpenedDelta {
        id: envelope.id,
        stream: header.stream,
        seq: header.seq,
        author: envelope.author,
        member: envelope.member,
        delta,
    })
}

/// `None` for every failure, so that an attacker learns nothing from the kind of error.
fn open_delta(space: &SpaceId, envelope: &Envelope, secret: &EpochSecret) -> Option<Delta> {
    Delta::decode(&open_body(space, envelope, secret)?).ok()
}

/// Decrypts, unpads and inflates, within the limits of the envelope's kind.
fn open_body(space: &SpaceId, envelope: &Envelope, secret: &EpochSecret) -> Option<Zeroizing<Vec<u8>>> {
    let header = envelope.header();
    if header.flags != FLAG_PADME {
        return None;
    }
    let mut buffer = Zeroizing::new(envelope.ciphertext().to_vec());
    open_once(&envelope_key(secret, header), &associated_data(space, header), &mut buffer).ok()?;
    plaintext::unpack(&buffer, object::raw_bytes_max(header.kind)).map(Zeroizing::new)
}

impl VerifiedEnvelope {
    /// Content address.
    #[must_use]
    pub const fn id(&self) -> EnvelopeId {
        self.id
    }

    /// The envelope, as it is stored.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The writing device.
    #[must_use]
    pub const fn author(&self) -> SignPk {
        self.author
    }
}
