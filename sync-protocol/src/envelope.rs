//! Envelopes: 92-byte header, ciphertext with tag, signature (protocol §2.2). Layout and signature
//! only; nothing here can open one.
//!
//! ```text
//!  off  len  field
//!    0    1  version = 1
//!    1    1  kind
//!    2    1  suite = 1
//!    3    1  flags (bit 0: padded with PADMÉ)
//!    4   16  stream_id
//!   20    4  seq, big-endian, from 1
//!   24   32  prev (id of seq − 1; for seq 1 the stream's r32; zero for objects outside streams)
//!   56   16  epoch_ref
//!   72   16  salt
//!   88    4  ct_len
//!   92    n  ciphertext ‖ tag
//! 92+n   64  Ed25519 signature over ctx("env-sig") ‖ space_id ‖ env_id
//! ```

use crate::ids::{EnvelopeId, EpochRef, SignPk, Signature, SpaceId, StreamId};

/// Bytes before the ciphertext.
pub const HEADER_BYTES: usize = 92;
/// Bytes of the AEAD tag.
pub const TAG_BYTES: usize = 16;
/// Bytes of the signature.
pub const SIGNATURE_BYTES: usize = 64;
/// What an envelope adds to its padded plaintext.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES + SIGNATURE_BYTES;
/// Flag bit 0: the plaintext is padded.
pub const FLAG_PADME: u8 = 1;

/// What an envelope carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Document changes, in a stream.
    Delta = 0x01,
    /// A pack of snapshots of a checkpoint; not in a stream.
    Chunk = 0x02,
    /// A part of an attachment; not in a stream.
    BlobPart = 0x03,
    /// Presence; never stored.
    Ephemeral = 0x40,
    /// "This device has everything up to here"; only the latest per device is kept.
    Receipt = 0x41,
}

/// The 92 bytes in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the ciphertext holds.
    pub kind: Kind,
    /// Flag bits.
    pub flags: u8,
    /// The author's stream.
    pub stream: StreamId,
    /// Position in the stream, from 1; 0 outside streams.
    pub seq: u32,
    /// Id of the predecessor; for seq 1 the random r32 that the stream id commits to.
    pub prev: [u8; 32],
    /// Key generation.
    pub epoch: EpochRef,
    /// Random, so that a repeated (stream, seq) never repeats a key.
    pub salt: [u8; 16],
    /// Bytes of ciphertext and tag.
    pub ct_len: u32,
}

/// Why bytes are not an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Shorter or longer than its header says.
    #[error("envelope length does not match its header")]
    Length,
    /// A version, kind, suite or flag this version does not know.
    #[error("unknown envelope {0}")]
    Unknown(&'static str),
    /// A ciphertext above the kind's limit, or too short to hold a tag.
    #[error("envelope ciphertext size {0} is outside the limits")]
    Size(u32),
    /// seq and prev do not fit the kind.
    #[error("envelope position does not fit its kind")]
    Position,
    /// The signature does not verify.
    #[error("envelope signature does not verify")]
    Signature,
}

impl Header {
    /// The 92 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        todo!()
    }

    /// Reads and checks the first 92 bytes.
    ///
    /// # Errors
    /// [`EnvelopeError`] when a field is unknown or outside its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let _ = bytes;
        todo!()
    }
}

/// Bytes whose layout has been checked; neither author nor content has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    header: Header,
    bytes: Vec<u8>,
}

impl Envelope {
    /// Checks the layout.
    ///
    /// # Errors
    /// [`EnvelopeError`]; never panics, allocates nothing.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, EnvelopeError> {
        let header = Header::decode(&bytes)?;
        if bytes.len() != HEADER_BYTES + header.ct_len as usize + SIGNATURE_BYTES {
            return Err(EnvelopeError::Length);
        }
        Ok(Self { header, bytes })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// All bytes, as sent and stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives the bytes back.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Ciphertext and tag.
    #[must_use]
    pub fn ciphertext(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..self.bytes.len() - SIGNATURE_BYTES]
    }

    /// The content address: SHA-256(ctx("env-id") ‖ space_id ‖ bytes without signature).
    #[must_use]
    pub fn id(&self, space: &SpaceId) -> EnvelopeId {
        let _ = space;
        todo!()
    }

    /// Checks the signature of `author` over the id.
    ///
    /// # Errors
    /// [`EnvelopeError::Signature`].
    pub fn verify_signature(&self, space: &SpaceId, author: &SignPk) -> Result<EnvelopeId, EnvelopeError> {
        let _ = (space, author);
        todo!()
    }
}

/// What a device signs for an envelope: ctx("env-sig") ‖ space_id ‖ env_id.
#[must_use]
pub fn signing_message(space: &SpaceId, id: &EnvelopeId) -> Vec<u8> {
    let _ = (space, id);
    todo!()
}

/// What the AEAD binds: ctx("env-aad") ‖ space_id ‖ header.
#[must_use]
pub fn associated_data(space: &SpaceId, header: &Header) -> Vec<u8> {
    let _ = (space, header);
    todo!()
}

/// SHA-256(ctx("stream") ‖ space_id ‖ device_pk ‖ r32)[..16] (protocol amendment 5).
#[must_use]
pub fn stream_id(space: &SpaceId, device: &SignPk, r32: &[u8; 32]) -> StreamId {
    let _ = (space, device, r32);
    todo!()
}

/// The signature appended to the unsigned bytes; used by the sealer.
#[must_use]
pub fn assemble(header: &Header, ciphertext: &[u8], signature: &Signature) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + ciphertext.len() + SIGNATURE_BYTES);
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(ciphertext);
    bytes.extend_from_slice(&signature.0);
    bytes
}
