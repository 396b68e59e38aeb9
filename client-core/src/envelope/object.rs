//! Envelopes outside streams: chunks, blob parts, presence and receipts, sealed and opened each in its own key context.
//!
//! They have no descendants, so each is verified by itself; their author is the device whose stream the header names,
//! which the caller knows from that stream, or which content shows with the stream's r32. What a body says is for the caller: here it is bytes.

use lifeos_sync_protocol::envelope::{Envelope, FLAG_PADME, Header, Kind, TAG_BYTES};
use lifeos_sync_protocol::hash::ctx;
use lifeos_sync_protocol::ids::{EnvelopeId, EpochRef, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::limits::{CHUNK_RAW_BYTES_MAX, DELTA_RAW_BYTES_MAX};
use lifeos_sync_protocol::membership::Membership;
use zeroize::Zeroizing;

use super::{RefusedEnvelope, SealedEnvelope, finish, open_body, plaintext, seal_body, writer_of};
use crate::crypto::{Random, random_bytes};
use crate::keys::{DeviceKeys, EpochSecret, Keyring};

/// Where an envelope outside streams stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectPlace {
    /// Anything but a Delta.
    pub kind: Kind,
    /// The author's stream in this space: it names the author.
    pub stream: StreamId,
    /// The sender's own count for a Receipt or Ephemeral; 0 for a Chunk or BlobPart.
    pub seq: u32,
    /// What the stream's id was made with, in a Chunk or BlobPart: so that everybody finds the author. Zero for the others.
    pub r32: [u8; 32],
    /// The epoch whose secret seals it.
    pub epoch: EpochRef,
}

/// An envelope outside streams whose author, role and signature have been checked.
#[derive(Debug, Clone)]
pub struct VerifiedObject {
    envelope: Envelope,
    id: EnvelopeId,
    author: SignPk,
}

/// What an envelope outside streams holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedObject {
    /// Content address.
    pub id: EnvelopeId,
    /// Where it stands.
    pub place: ObjectPlace,
    /// The device that signed it.
    pub author: SignPk,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
}

/// What a key is derived for: one context per kind, so that bytes sealed as one kind never open as another, even
/// if a header could be exchanged.
pub(super) fn key_context(kind: Kind) -> Vec<u8> {
    ctx(match kind {
        Kind::Delta => "env",
        Kind::Chunk => "chunk",
        Kind::BlobPart => "blob",
        Kind::Ephemeral => "eph",
        Kind::Receipt => "receipt",
    })
}

/// Largest inflated body.
pub(super) const fn raw_bytes_max(kind: Kind) -> usize {
    match kind {
        Kind::Chunk => CHUNK_RAW_BYTES_MAX,
        Kind::Delta | Kind::BlobPart | Kind::Ephemeral | Kind::Receipt => DELTA_RAW_BYTES_MAX,
    }
}

/// Seals a body outside streams.
///
/// # Errors
/// [`RefusedEnvelope::Layout`] for a Delta or a place that does not fit its kind; [`RefusedEnvelope::TooLarge`].
pub fn seal_object(
    space: &SpaceId,
    place: &ObjectPlace,
    keys: &DeviceKeys,
    secret: &EpochSecret,
    body: &[u8],
    random: &mut dyn Random,
) -> Result<SealedEnvelope, RefusedEnvelope> {
    if place.kind == Kind::Delta {
        return Err(RefusedEnvelope::Layout);
    }
    let header = Header {
        kind: place.kind,
        flags: FLAG_PADME,
        stream: place.stream,
        seq: place.seq,
        prev: place.r32,
        epoch: place.epoch,
        salt: random_bytes(random),
        ct_len: 0,
    };
    let (header, ciphertext) = seal_body(space, header, secret, body)?;
    finish(space, keys, &header, &ciphertext)
}

/// Checks the signature of `author`, which is the device that writes the stream the header names, and that it may
/// say this: content needs the right to write, presence and receipts only membership.
///
/// # Errors
/// [`RefusedEnvelope`].
pub fn verify_object(
    space: &SpaceId,
    membership: &Membership,
    author: &SignPk,
    envelope: Envelope,
) -> Result<VerifiedObject, RefusedEnvelope> {
    let device = membership.devices.get(author).ok_or(RefusedEnvelope::UnknownAuthor)?;
    let may = match envelope.header().kind {
        Kind::Delta => return Err(RefusedEnvelope::Layout),
        Kind::Chunk | Kind::BlobPart => membership.may_write(author),
        Kind::Ephemeral | Kind::Receipt => device.removed_by.is_none(),
    };
    if !may {
        return Err(RefusedEnvelope::NotWriter);
    }
    envelope.verify_signature(space, author).map_err(|_| RefusedEnvelope::Signature)?;
    Ok(VerifiedObject { id: envelope.id(space), author: *author, envelope })
}

/// Checks a Chunk or BlobPart that somebody who may write stands for: that its author, found by the r32 it shows, is or was
/// enrolled, and the signature. Whether the author may still write is not asked: what was packed before a removal counts.
///
/// # Errors
/// [`RefusedEnvelope`].
pub fn verify_kept_object(
    space: &SpaceId,
    membership: &Membership,
    envelope: Envelope,
) -> Result<VerifiedObject, RefusedEnvelope> {
    let header = envelope.header();
    if !matches!(header.kind, Kind::Chunk | Kind::BlobPart) {
        return Err(RefusedEnvelope::Layout);
    }
    let author = writer_of(space, membership, &header.stream, &header.prev).ok_or(RefusedEnvelope::UnknownAuthor)?;
    envelope.verify_signature(space, &author).map_err(|_| RefusedEnvelope::Signature)?;
    Ok(VerifiedObject { id: envelope.id(space), author, envelope })
}

const fn place_of(header: &Header) -> ObjectPlace {
    let Header { kind, stream, seq, prev, epoch, .. } = *header;
    ObjectPlace { kind, stream, seq, r32: prev, epoch }
}

/// Opens a verified envelope outside streams: AEAD, padding, bounded inflate.
///
/// # Errors
/// [`RefusedEnvelope::UnknownEpoch`] or [`RefusedEnvelope::DoesNotOpen`].
pub fn open_object(
    space: &SpaceId,
    object: &VerifiedObject,
    keyring: &Keyring,
) -> Result<OpenedObject, RefusedEnvelope> {
    let header = object.envelope.header();
    let secret = keyring.find(&header.epoch).ok_or(RefusedEnvelope::UnknownEpoch)?;
    let body = open_body(space, &object.envelope, secret).ok_or(RefusedEnvelope::DoesNotOpen)?;
    let place = place_of(header);
    Ok(OpenedObject { id: object.id, place, author: object.author, body })
}

/// Opens an envelope outside streams whose author only its body tells: `author_of` reads it there, and only what that
/// device signed comes out. Opened first, because only who holds the epoch's key can make anybody read on.
///
/// # Errors
/// [`RefusedEnvelope`].
pub fn open_then_verify(
    space: &SpaceId,
    membership: &Membership,
    keyring: &Keyring,
    envelope: Envelope,
    author_of: impl FnOnce(&Header, &[u8]) -> Option<SignPk>,
) -> Result<OpenedObject, RefusedEnvelope> {
    let header = *envelope.header();
    let secret = keyring.find(&header.epoch).ok_or(RefusedEnvelope::UnknownEpoch)?;
    let body = open_body(space, &envelope, secret).ok_or(RefusedEnvelope::DoesNotOpen)?;
    let author = author_of(&header, &body).ok_or(RefusedEnvelope::UnknownAuthor)?;
    let verified = verify_object(space, membership, &author, envelope)?;
    let place = place_of(&header);
    Ok(OpenedObject { id: verified.id, place, author, body })
}

impl VerifiedObject {
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
}

/// Lays out a body and its tag's room within the limits of a kind.
pub(super) fn pack(kind: Kind, body: &[u8]) -> Result<(Vec<u8>, u32), RefusedEnvelope> {
    if body.len() > raw_bytes_max(kind) {
        return Err(RefusedEnvelope::TooLarge);
    }
    let buffer = plaintext::pack(body).ok_or(RefusedEnvelope::TooLarge)?;
    let ct_len = buffer.len() + TAG_BYTES;
    if ct_len > kind.ct_bytes_max() {
        return Err(RefusedEnvelope::TooLarge);
    }
    Ok((buffer, u32::try_from(ct_len).map_err(|_| RefusedEnvelope::TooLarge)?))
}
