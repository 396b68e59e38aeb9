//! Records: the clear, signed, hash-linked control log of a space (protocol §3).
//!
//! ```text
//!  off  len  field
//!    0    1  version = 1
//!    1    1  type
//!    2    1  suite = 1
//!    3    1  n_parents (1..=16; 0 only for Genesis)
//!    4   32  space_id (zero in Genesis)
//!   36   32  author device_pk
//!   68    8  depth = 1 + max(parents.depth); Genesis 0
//!   76  32n  parents, strictly ascending
//!    .    4  body_len
//!    .    b  body: canonical CBOR (definite, shortest integers, keys ascending, no floats)
//!    .   64  Ed25519 signature over ctx("rec-sig") ‖ record_id
//! ```

use crate::ids::{EnvelopeId, EpochRef, HpkePk, MemberId, RecordId, SignPk, Signature, SpaceId, StreamId};
use crate::limits::{CHECKPOINT_BODY_BYTES_MAX, RECORD_PARENTS_MAX};

/// Bytes before the parents.
pub const HEADER_BYTES: usize = 76;
/// Largest record of any type.
pub const RECORD_BYTES_MAX: usize =
    HEADER_BYTES + RECORD_PARENTS_MAX * RecordId::BYTES + 4 + CHECKPOINT_BODY_BYTES_MAX + 64;

/// What a member may do; smaller is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// Everything.
    Owner = 0,
    /// Members up to Editor, invites, epochs.
    Admin = 1,
    /// Writes content.
    Editor = 2,
    /// Reads.
    Reader = 3,
}

/// What a device is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DeviceKind {
    /// A person's device.
    Normal = 0,
    /// The paper key: adds and removes its member's devices, never writes content.
    Recovery = 1,
    /// Keeps every envelope.
    Archive = 2,
}

/// A device's public keys and their proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceEntry {
    /// Signing key; also the device's id.
    pub sign_pk: SignPk,
    /// Key that epoch secrets are sealed to.
    pub hpke_pk: HpkePk,
    /// What it is for.
    pub kind: DeviceKind,
    /// The new device's own signature over [`enrol_message`]: it holds the key and wants this.
    pub proof: Signature,
}

/// An epoch secret sealed to one device: HPKE enc ‖ ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// First 16 bytes of the receiving device's signing key.
    pub device_ref: [u8; 16],
    /// HPKE encapsulated key.
    pub enc: [u8; 32],
    /// 32-byte secret and tag.
    pub ct: [u8; 48],
}

/// A parent epoch's secret sealed under the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrap {
    /// The parent.
    pub parent: EpochRef,
    /// 32-byte secret and tag.
    pub ct: [u8; 48],
}

/// A place where a stream is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The stream.
    pub stream: StreamId,
    /// Last sequence that counts.
    pub seq: u32,
    /// Its id.
    pub id: EnvelopeId,
}

/// Why a device or member leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RemoveReason {
    /// Lost.
    Lost = 0,
    /// Left by itself.
    Left = 1,
    /// Replaced by another device.
    Replaced = 2,
    /// In wrong hands.
    Compromised = 3,
}

/// What a record says. All types of protocol §3; those that a version does not evaluate are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the variant says what its fields are; their order and bytes are in docs/PROTOCOL.md")]
pub enum Body {
    /// `01` Begins a space. `recovery` is the founder's paper key.
    Genesis { random: [u8; 32], member: MemberId, device: DeviceEntry, recovery: DeviceEntry, relays: Vec<String> },
    /// `02` Admits a member with its first devices.
    MemberAdd { member: MemberId, role: Role, enc_meta: Vec<u8>, devices: Vec<DeviceEntry> },
    /// `03` Adds a device to a member. `enc_meta`: its name, sealed under the epoch key.
    DeviceAdd { member: MemberId, device: DeviceEntry, enc_meta: Vec<u8>, grants: Vec<(EpochRef, Seal)> },
    /// `04` Removes a device.
    DeviceRemove { device: SignPk, reason: RemoveReason, cuts: Vec<Cut> },
    /// `05` Removes a member.
    MemberRemove { member: MemberId, reason: RemoveReason, cuts: Vec<Cut> },
    /// `06` Changes a role.
    RoleSet { member: MemberId, role: Role, cuts: Vec<Cut> },
    /// `07` A new key generation, sealed to every reader.
    Epoch { generation: u32, parents: Vec<EpochRef>, commit: [u8; 32], wraps: Vec<Wrap>, seals: Vec<Seal> },
    /// `08` An existing epoch sealed to later devices.
    KeyGrant { epoch: EpochRef, seals: Vec<Seal> },
    /// `09` The author device's new HPKE key.
    HpkeRefresh { hpke_pk: HpkePk },
    /// `0A` An invitation by link.
    Invite { invite_pk: SignPk, role: Role, expires_ms: u64, uses_max: u32, auto_seal: Option<(EpochRef, Seal)> },
    /// `0B` Withdraws an invitation.
    InviteRevoke { invite: RecordId },
    /// `0C` A joiner's own keys, proven by the invite key.
    Join { invite: RecordId, member: MemberId, devices: Vec<DeviceEntry>, invite_proof: Signature, enc_meta: Vec<u8> },
    /// `0D` Rules of the space.
    Policy { rotation_days: u32, grace_days: u32, endorse_k: u32, relays: Vec<String> },
    /// `20` "Everything up to this cut is in these chunks."
    Checkpoint {
        previous: Vec<RecordId>,
        cut: Vec<Cut>,
        chunks: Vec<EnvelopeId>,
        blobs: Vec<EnvelopeId>,
        enc_manifest: Vec<u8>,
    },
    /// `21` "I checked it."
    Endorse { checkpoint: RecordId },
    /// `22` "It omits something."
    Object { checkpoint: RecordId, reason: u8, stream: StreamId, seq: u32 },
    /// `23` Two signed envelopes (header, hash input and signature) for one position.
    ForkProof { first: Vec<u8>, second: Vec<u8> },
    /// `2F` The space is closed.
    Close { successor: Option<SpaceId> },
    /// A type this version does not know: kept in the DAG, never acted on.
    Unknown { kind: u8, body: Vec<u8> },
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Truncated, over a limit or with bytes left over.
    #[error("record length does not match its layout")]
    Length,
    /// Unknown version or suite.
    #[error("unknown record {0}")]
    Unknown(&'static str),
    /// Not the one canonical encoding.
    #[error("record is not canonical: {0}")]
    NotCanonical(&'static str),
    /// A weak key or a proof that does not verify.
    #[error("record carries a bad key or proof")]
    Key,
    /// The signature does not verify.
    #[error("record signature does not verify")]
    Signature,
}

/// A record whose layout, canonical form and signature have been checked; its authority has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    id: RecordId,
    space: SpaceId,
    author: SignPk,
    depth: u64,
    parents: Vec<RecordId>,
    body: Body,
    bytes: Vec<u8>,
}

impl Record {
    /// Checks layout, canonical form, keys, proofs and signature.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, RecordError> {
        let _ = bytes;
        todo!()
    }

    /// Content address: SHA-256(ctx("rec-id") ‖ bytes without signature).
    #[must_use]
    pub const fn id(&self) -> RecordId {
        self.id
    }

    /// The space; for Genesis its own id.
    #[must_use]
    pub const fn space(&self) -> SpaceId {
        self.space
    }

    /// Who signed.
    #[must_use]
    pub const fn author(&self) -> SignPk {
        self.author
    }

    /// 0 for Genesis, else 1 + the largest parent depth (claimed; `eval` checks it).
    #[must_use]
    pub const fn depth(&self) -> u64 {
        self.depth
    }

    /// Ascending.
    #[must_use]
    pub fn parents(&self) -> &[RecordId] {
        &self.parents
    }

    /// What it says.
    #[must_use]
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// All bytes, as sent and stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A record before its signature: `message()` is what the author signs, `sign_with` finishes it.
#[derive(Debug, Clone)]
pub struct Unsigned {
    bytes: Vec<u8>,
    id: RecordId,
}

impl Unsigned {
    /// Lays a record out. `space` is [`SpaceId::ZERO`] for Genesis; parents are sorted here.
    ///
    /// # Errors
    /// [`RecordError`] when a limit is broken.
    pub fn new(
        space: SpaceId,
        author: SignPk,
        depth: u64,
        parents: &[RecordId],
        body: &Body,
    ) -> Result<Self, RecordError> {
        let _ = (space, author, depth, parents, body);
        todo!()
    }

    /// The id it will have.
    #[must_use]
    pub const fn id(&self) -> RecordId {
        self.id
    }

    /// What the author signs: ctx("rec-sig") ‖ record_id.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let _ = &self.bytes;
        todo!()
    }

    /// Appends the signature and parses the result, so that only valid records come out.
    ///
    /// # Errors
    /// [`RecordError`], e.g. when the signature is not the author's.
    pub fn sign_with(self, signature: &Signature) -> Result<Record, RecordError> {
        let _ = signature;
        todo!()
    }
}

/// What a new device signs to be enrolled: ctx("enrol") ‖ genesis_random ‖ member ‖ kind ‖ sign_pk ‖ hpke_pk.
/// (The Genesis' random stands for the space: the founder's own proofs lie inside the record that defines the space's id.)
#[must_use]
pub fn enrol_message(
    genesis_random: &[u8; 32],
    member: &MemberId,
    kind: DeviceKind,
    sign: &SignPk,
    hpke: &HpkePk,
) -> Vec<u8> {
    let _ = (genesis_random, member, kind, sign, hpke);
    todo!()
}
