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
//!   24   32  prev (id of seq − 1; for seq 1 and for objects outside streams the stream's r32; else zero)
//!   56   16  epoch_ref
//!   72   16  salt
//!   88    4  ct_len
//!   92    n  ciphertext ‖ tag
//! 92+n   64  Ed25519 signature over ctx("env-sig") ‖ space_id ‖ env_id
//! ```

use crate::handshake;
use crate::hash::{ctx, sha256};
use crate::ids::{EnvelopeId, EpochRef, SignPk, Signature, SpaceId, StreamId};
use crate::limits::{CHUNK_CT_BYTES_MAX, DELTA_CT_BYTES_MAX};
use crate::wire::Reader;

/// The layout's version.
pub const VERSION: u8 = 1;
/// SHA-256, Ed25519, HKDF-SHA-256, ChaCha20-Poly1305, HPKE with X25519.
pub const SUITE: u8 = 1;
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
    /// Position in the stream, from 1; 0 for a Chunk or BlobPart; the sender's own count for a Receipt or
    /// Ephemeral.
    pub seq: u32,
    /// Id of the predecessor; for seq 1, and for a Chunk or BlobPart, the random r32 that the stream id commits to.
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

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Delta, Self::Chunk, Self::BlobPart, Self::Ephemeral, Self::Receipt]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }

    /// Largest ciphertext, tag included.
    #[must_use]
    pub const fn ct_bytes_max(self) -> usize {
        match self {
            Self::Chunk => CHUNK_CT_BYTES_MAX,
            Self::Delta | Self::BlobPart | Self::Ephemeral | Self::Receipt => DELTA_CT_BYTES_MAX,
        }
    }
}

impl Header {
    /// The 92 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&[VERSION, self.kind as u8, SUITE, self.flags]);
        bytes[4..20].copy_from_slice(&self.stream.0);
        bytes[20..24].copy_from_slice(&self.seq.to_be_bytes());
        bytes[24..56].copy_from_slice(&self.prev);
        bytes[56..72].copy_from_slice(&self.epoch.0);
        bytes[72..88].copy_from_slice(&self.salt);
        bytes[88..].copy_from_slice(&self.ct_len.to_be_bytes());
        bytes
    }

    /// Reads and checks the first 92 bytes.
    ///
    /// # Errors
    /// [`EnvelopeError`] when a field is unknown or outside its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut reader = Reader::new(bytes);
        let header = Self::read(&mut reader).map_err(|reason| match reason {
            ReadError::Wire => EnvelopeError::Length,
            ReadError::Envelope(error) => error,
        })?;
        header.check_size()?;
        header.check_position()?;
        Ok(header)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let unknown = |what| ReadError::Envelope(EnvelopeError::Unknown(what));
        if reader.u8()? != VERSION {
            return Err(unknown("version"));
        }
        let kind = Kind::from_byte(reader.u8()?).ok_or(unknown("kind"))?;
        if reader.u8()? != SUITE {
            return Err(unknown("suite"));
        }
        let flags = reader.u8()?;
        if flags & !FLAG_PADME != 0 {
            return Err(unknown("flag"));
        }
        Ok(Self {
            kind,
            flags,
            stream: StreamId(reader.array()?),
            seq: reader.u32()?,
            prev: reader.array()?,
            epoch: EpochRef(reader.array()?),
            salt: reader.array()?,
            ct_len: reader.u32()?,
        })
    }

    fn check_size(&self) -> Result<(), EnvelopeError> {
        let fits = (TAG_BYTES..=self.kind.ct_bytes_max()).contains(&(self.ct_len as usize));
        if fits { Ok(()) } else { Err(EnvelopeError::Size(self.ct_len)) }
    }

    /// Deltas stand in a chain; objects have no position, and show whose they are as the first of a stream does;
    /// receipts and presence only count.
    fn check_position(&self) -> Result<(), EnvelopeError> {
        let no_prev = self.prev == [0; 32];
        let fits = match self.kind {
            Kind::Delta => self.seq > 0,
            Kind::Chunk | Kind::BlobPart => self.seq == 0,
            Kind::Ephemeral | Kind::Receipt => no_prev,
        };
        if fits { Ok(()) } else { Err(EnvelopeError::Position) }
    }
}

enum ReadError {
    Wire,
    Envelope(EnvelopeError),
}

impl From<&'static str> for ReadError {
    fn from(_: &'static str) -> Self {
        Self::Wire
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

    /// The last 64 bytes.
    #[must_use]
    pub fn signature(&self) -> Signature {
        let mut signature = Signature([0; SIGNATURE_BYTES]);
        signature.0.copy_from_slice(&self.bytes[self.bytes.len() - SIGNATURE_BYTES..]);
        signature
    }

    /// The content address: SHA-256(ctx("env-id") ‖ space_id ‖ bytes without signature).
    #[must_use]
    pub fn id(&self, space: &SpaceId) -> EnvelopeId {
        EnvelopeId(sha256("env-id", &[&space.0, &self.bytes[..self.bytes.len() - SIGNATURE_BYTES]]))
    }

    /// Checks the signature of `author` over the id.
    ///
    /// # Errors
    /// [`EnvelopeError::Signature`].
    pub fn verify_signature(&self, space: &SpaceId, author: &SignPk) -> Result<EnvelopeId, EnvelopeError> {
        let id = self.id(space);
        handshake::verify(author, &signing_message(space, &id), &self.signature())
            .map_err(|_| EnvelopeError::Signature)?;
        Ok(id)
    }
}

/// What a device signs for an envelope: ctx("env-sig") ‖ space_id ‖ env_id.
#[must_use]
pub fn signing_message(space: &SpaceId, id: &EnvelopeId) -> Vec<u8> {
    let mut message = ctx("env-sig");
    message.extend_from_slice(&space.0);
    message.extend_from_slice(&id.0);
    message
}

/// What the AEAD binds: ctx("env-aad") ‖ space_id ‖ header.
#[must_use]
pub fn associated_data(space: &SpaceId, header: &Header) -> Vec<u8> {
    let mut data = ctx("env-aad");
    data.extend_from_slice(&space.0);
    data.extend_from_slice(&header.encode());
    data
}

/// SHA-256(ctx("stream") ‖ space_id ‖ device_pk ‖ r32)[..16] (protocol amendment 5).
#[must_use]
pub fn stream_id(space: &SpaceId, device: &SignPk, r32: &[u8; 32]) -> StreamId {
    let hash = sha256("stream", &[&space.0, &device.0, r32]);
    let mut stream = StreamId::ZERO;
    stream.0.copy_from_slice(&hash[..StreamId::BYTES]);
    stream
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
