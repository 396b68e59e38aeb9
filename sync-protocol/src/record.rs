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

mod body;
mod cbor;
mod fork;

use std::sync::OnceLock;

pub use self::fork::Fork;
use crate::envelope::stream_id;
use crate::handshake::{self, KeyError, check_hpke_key, check_sign_key};
use crate::hash::{ctx, sha256};
use crate::ids::{EnvelopeId, EpochRef, HpkePk, MemberId, RecordId, SignPk, Signature, SpaceId, StreamId};
use crate::limits::{
    CHECKPOINT_BODY_BYTES_MAX, EPOCH_BODY_BYTES_MAX, RECORD_BODY_BYTES_MAX, RECORD_DEVICES_MAX, RECORD_META_BYTES_MAX,
    RECORD_PARENTS_MAX, RECORD_RELAYS_MAX,
};
use crate::wire::{Put, Reader, Reason};

/// The layout's version.
pub const VERSION: u8 = 1;
/// The suite of [`crate::envelope::SUITE`].
pub const SUITE: u8 = 1;
/// Bytes of the signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Bytes before the parents.
pub const HEADER_BYTES: usize = 76;
/// Largest record of any type.
pub const RECORD_BYTES_MAX: usize =
    HEADER_BYTES + RECORD_PARENTS_MAX * RecordId::BYTES + 4 + CHECKPOINT_BODY_BYTES_MAX + SIGNATURE_BYTES;

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

/// Where a checkpoint leaves a stream: everything up to here is in its chunks. It says whose the stream is, too,
/// because the envelope that shows it, the stream's first, may be pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// The stream.
    pub stream: StreamId,
    /// Last sequence in the chunks.
    pub seq: u32,
    /// Its id.
    pub id: EnvelopeId,
    /// Whose stream it is.
    pub device: SignPk,
    /// What the stream's id was made with ([`crate::envelope::stream_id`]).
    pub r32: [u8; 32],
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
        cut: Vec<Floor>,
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

impl From<Reason> for RecordError {
    fn from(reason: Reason) -> Self {
        if reason == "truncated" { Self::Length } else { Self::NotCanonical(reason) }
    }
}

impl From<KeyError> for RecordError {
    fn from(_: KeyError) -> Self {
        Self::Key
    }
}

impl DeviceEntry {
    /// Checks both keys: canonical, not of small order.
    ///
    /// # Errors
    /// [`KeyError::Weak`].
    pub fn check_keys(&self) -> Result<(), KeyError> {
        check_sign_key(&self.sign_pk)?;
        check_hpke_key(&self.hpke_pk)
    }

    /// Checks the device's own consent to be enrolled for `member` in the space of this Genesis.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn check_proof(&self, genesis_random: &[u8; 32], member: &MemberId) -> Result<(), KeyError> {
        let message = enrol_message(genesis_random, member, self.kind, &self.sign_pk, &self.hpke_pk);
        handshake::verify(&self.sign_pk, &message, &self.proof)
    }
}

impl Body {
    /// The devices that this record enrols.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceEntry> {
        let (pair, list): ([Option<&DeviceEntry>; 2], &[DeviceEntry]) = match self {
            Self::Genesis { device, recovery, .. } => ([Some(device), Some(recovery)], &[]),
            Self::DeviceAdd { device, .. } => ([Some(device), None], &[]),
            Self::MemberAdd { devices, .. } | Self::Join { devices, .. } => ([None, None], devices),
            _ => ([None, None], &[]),
        };
        pair.into_iter().flatten().chain(list)
    }

    fn check_proofs(&self, genesis_random: &[u8; 32]) -> Result<(), KeyError> {
        match self {
            Self::Genesis { member, .. }
            | Self::MemberAdd { member, .. }
            | Self::DeviceAdd { member, .. }
            | Self::Join { member, .. } => {
                self.devices().try_for_each(|device| device.check_proof(genesis_random, member))
            }
            _ => Ok(()),
        }
    }

    fn check_limits(&self) -> Result<(), RecordError> {
        match self {
            Self::Genesis { relays, .. } | Self::Policy { relays, .. } if relays.len() > RECORD_RELAYS_MAX => {
                Err(RecordError::Length)
            }
            Self::MemberAdd { devices, .. } | Self::Join { devices, .. }
                if !(1..=RECORD_DEVICES_MAX).contains(&devices.len()) =>
            {
                Err(RecordError::Length)
            }
            Self::MemberAdd { enc_meta, .. } | Self::DeviceAdd { enc_meta, .. } | Self::Join { enc_meta, .. }
                if enc_meta.len() > RECORD_META_BYTES_MAX =>
            {
                Err(RecordError::Length)
            }
            _ => Ok(()),
        }
    }

    fn check_keys(&self) -> Result<(), RecordError> {
        self.devices().try_for_each(DeviceEntry::check_keys)?;
        match self {
            Self::HpkeRefresh { hpke_pk } => check_hpke_key(hpke_pk)?,
            Self::Invite { invite_pk, .. } => check_sign_key(invite_pk)?,
            _ => {}
        }
        Ok(())
    }
}

const KIND_GENESIS: u8 = 0x01;
const KIND_EPOCH: u8 = 0x07;
const KIND_CHECKPOINT: u8 = 0x20;

/// Largest body of a record type, known or not.
const fn body_bytes_max(kind: u8) -> usize {
    match kind {
        KIND_EPOCH => EPOCH_BODY_BYTES_MAX,
        KIND_CHECKPOINT => CHECKPOINT_BODY_BYTES_MAX,
        _ => RECORD_BODY_BYTES_MAX,
    }
}

/// The fields of a record as they lie in its bytes.
struct Layout<'a> {
    kind: u8,
    space: SpaceId,
    author: SignPk,
    depth: u64,
    parents: Vec<RecordId>,
    body: &'a [u8],
    signature: Signature,
}

impl<'a> Layout<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(RecordError::Unknown("version"));
        }
        let kind = r.u8()?;
        if r.u8()? != SUITE {
            return Err(RecordError::Unknown("suite"));
        }
        let parent_count = usize::from(r.u8()?);
        if parent_count > RECORD_PARENTS_MAX {
            return Err(RecordError::Length);
        }
        let (space, author, depth) = (SpaceId(r.array()?), SignPk(r.array()?), r.u64()?);
        let parents = (0..parent_count).map(|_| r.array().map(RecordId)).collect::<Result<Vec<_>, Reason>>()?;
        let body = r.bytes(body_bytes_max(kind)).map_err(|_| RecordError::Length)?;
        let signature = Signature(r.array()?);
        r.finish().map_err(|_| RecordError::Length)?;
        Ok(Self { kind, space, author, depth, parents, body, signature })
    }

    /// Only a Genesis is without parents, space and depth, and it is without all three.
    fn check_position(&self) -> Result<(), RecordError> {
        let is_genesis = self.kind == KIND_GENESIS;
        if self.parents.is_empty() != is_genesis {
            return Err(RecordError::NotCanonical("parents do not fit the type"));
        }
        if !self.parents.is_sorted_by(|a, b| a < b) {
            return Err(RecordError::NotCanonical("parents are not ascending"));
        }
        if (self.space == SpaceId::ZERO) != is_genesis {
            return Err(RecordError::NotCanonical("the space does not fit the type"));
        }
        if (self.depth == 0) != is_genesis {
            return Err(RecordError::NotCanonical("the depth does not fit the type"));
        }
        Ok(())
    }
}

/// A Genesis carries everything its own proofs need: a normal device that signs it and a recovery device.
fn check_genesis(author: &SignPk, body: &Body) -> Result<(), RecordError> {
    let Body::Genesis { random, device, recovery, .. } = body else { return Ok(()) };
    let kinds_fit = device.kind == DeviceKind::Normal && recovery.kind == DeviceKind::Recovery;
    let keys_differ = device.sign_pk != recovery.sign_pk && device.hpke_pk != recovery.hpke_pk;
    if !kinds_fit || !keys_differ || device.sign_pk != *author {
        return Err(RecordError::Key);
    }
    Ok(body.check_proofs(random)?)
}

/// A record whose layout, canonical form, keys and signature have been checked; its authority has not, nor
/// have the enrolment proofs of any type but Genesis: they bind the Genesis' random bytes, so
/// [`crate::membership`] checks them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    id: RecordId,
    space: SpaceId,
    author: SignPk,
    depth: u64,
    parents: Vec<RecordId>,
    body: Body,
    bytes: Vec<u8>,
    proofs: ProofMemo,
    invite_proof: ProofMemo,
}

/// Whether the proofs in a record verify, once somebody has asked: membership is evaluated anew for every record
/// that arrives, and a signature costs more than all the rest. No part of what the record is.
#[derive(Debug, Clone, Default)]
struct ProofMemo(OnceLock<([u8; 32], bool)>);

impl ProofMemo {
    fn ask(&self, about: &[u8; 32], verify: impl Fn() -> bool) -> bool {
        let (known, verdict) = self.0.get_or_init(|| (*about, verify()));
        if known == about { *verdict } else { verify() }
    }
}

impl PartialEq for ProofMemo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ProofMemo {}

/// Whether a checkpoint's cut leaves no stream of another one's earlier than that does. Both ascend by stream.
#[must_use]
pub fn reaches(cut: &[Floor], other: &[Floor]) -> bool {
    other.iter().all(|before| {
        let at = cut.binary_search_by_key(&before.stream, |floor| floor.stream);
        at.is_ok_and(|at| cut[at].seq >= before.seq)
    })
}

/// Whether floors ascend by stream, each of a stream that its device has in the space.
fn are_floors_true(space: &SpaceId, floors: &[Floor]) -> bool {
    let ascend = floors.is_sorted_by(|one, next| one.stream < next.stream);
    let is_true = |floor: &Floor| floor.seq > 0 && stream_id(space, &floor.device, &floor.r32) == floor.stream;
    ascend && floors.iter().all(is_true)
}

impl Record {
    /// Checks layout, canonical form, keys and signature, and the proofs of a Genesis. Cheap checks come first.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, RecordError> {
        let layout = Layout::read(&bytes)?;
        layout.check_position()?;
        let body = body::decode(layout.kind, layout.body)?;
        body.check_limits()?;
        body.check_keys()?;
        let id = record_id(&bytes[..bytes.len() - SIGNATURE_BYTES]);
        handshake::verify(&layout.author, &signing_message(&id), &layout.signature)
            .map_err(|_| RecordError::Signature)?;
        check_genesis(&layout.author, &body)?;
        let space = if layout.kind == KIND_GENESIS { SpaceId(id.0) } else { layout.space };
        let Layout { author, depth, parents, .. } = layout;
        Ok(Self {
            id,
            space,
            author,
            depth,
            parents,
            body,
            bytes,
            proofs: ProofMemo::default(),
            invite_proof: ProofMemo::default(),
        })
    }

    /// Whether every device that this record enrols has proven that it wants to be enrolled in the space of
    /// `genesis_random`; whether the fork that it shows, if it is a ForkProof, was signed; and whether the streams of
    /// a Checkpoint are those of the devices that it names. Remembered for the first space asked about.
    #[must_use]
    pub fn proofs_hold(&self, genesis_random: &[u8; 32]) -> bool {
        self.proofs.ask(genesis_random, || match &self.body {
            Body::ForkProof { .. } => self.body.is_fork_proven(&self.space),
            Body::Checkpoint { cut, .. } => are_floors_true(&self.space, cut),
            body => body.check_proofs(genesis_random).is_ok(),
        })
    }

    /// Whether a Join was made by somebody who holds the secret of its invite, and for nobody but themselves
    /// ([`joining_member`]). Remembered for the first key asked about.
    #[must_use]
    pub fn invite_proof_holds(&self, invite_pk: &SignPk) -> bool {
        let Body::Join { invite, member, devices, invite_proof, .. } = &self.body else { return false };
        let message = join_message(&self.space, invite, member, devices);
        let is_own = || *member == joining_member(invite, &self.author);
        self.invite_proof.ask(&invite_pk.0, || is_own() && handshake::verify(invite_pk, &message, invite_proof).is_ok())
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

    /// The order in which records are judged: every parent before its children, equal everywhere.
    #[must_use]
    pub const fn order(&self) -> (u64, RecordId) {
        (self.depth, self.id)
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
        let mut parents = parents.to_vec();
        parents.sort_unstable();
        parents.dedup();
        let encoded = body::encode(body);
        let parent_count = u8::try_from(parents.len()).map_err(|_| RecordError::Length)?;
        if encoded.len() > body_bytes_max(body.kind()) {
            return Err(RecordError::Length);
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES + parents.len() * RecordId::BYTES + 4 + encoded.len() + 64);
        bytes.put(&[VERSION, body.kind(), SUITE, parent_count]);
        bytes.put(&space.0);
        bytes.put(&author.0);
        bytes.put_u64(depth);
        parents.iter().for_each(|parent| bytes.put(&parent.0));
        bytes.put_bytes(&encoded);
        let id = record_id(&bytes);
        Ok(Self { bytes, id })
    }

    /// The id it will have.
    #[must_use]
    pub const fn id(&self) -> RecordId {
        self.id
    }

    /// What the author signs: ctx("rec-sig") ‖ record_id.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        signing_message(&self.id)
    }

    /// Appends the signature and parses the result, so that only valid records come out.
    ///
    /// # Errors
    /// [`RecordError`], e.g. when the signature is not the author's.
    pub fn sign_with(mut self, signature: &Signature) -> Result<Record, RecordError> {
        self.bytes.put(&signature.0);
        Record::parse(self.bytes)
    }
}

fn record_id(unsigned: &[u8]) -> RecordId {
    RecordId(sha256("rec-id", &[unsigned]))
}

fn signing_message(id: &RecordId) -> Vec<u8> {
    let mut message = ctx("rec-sig");
    message.put(&id.0);
    message
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
    let mut message = ctx("enrol");
    message.put(genesis_random);
    message.put(&member.0);
    message.put_u8(kind as u8);
    message.put(&sign.0);
    message.put(&hpke.0);
    message
}

/// What the secret in an invitation's link signs for who joins:
/// ctx("join") ‖ space ‖ invite ‖ member ‖ u32 number of devices ‖ for each: sign_pk ‖ hpke_pk ‖ kind.
/// So nobody on the way can put other keys into a Join, or use its proof for another invitation.
#[must_use]
pub fn join_message(space: &SpaceId, invite: &RecordId, member: &MemberId, devices: &[DeviceEntry]) -> Vec<u8> {
    let mut message = ctx("join");
    message.put(&space.0);
    message.put(&invite.0);
    message.put(&member.0);
    message.put_u32(u32::try_from(devices.len()).unwrap_or(u32::MAX));
    for device in devices {
        message.put(&device.sign_pk.0);
        message.put(&device.hpke_pk.0);
        message.put_u8(device.kind as u8);
    }
    message
}

/// Who joins by an invitation: SHA-256(ctx("join-member") ‖ invite ‖ author's sign_pk)[..16]. Nobody can join as
/// somebody who is, or will be, a member.
#[must_use]
pub fn joining_member(invite: &RecordId, author: &SignPk) -> MemberId {
    let mut member = MemberId([0; 16]);
    member.0.copy_from_slice(&sha256("join-member", &[&invite.0, &author.0])[..16]);
    member
}

#[cfg(test)]
impl Record {
    /// A record with a chosen id and no signature, what others signed in it taken for granted: what a model speaks of.
    pub(crate) fn stub(
        id: RecordId,
        space: SpaceId,
        author: SignPk,
        depth: u64,
        mut parents: Vec<RecordId>,
        body: Body,
        genesis_random: [u8; 32],
    ) -> Self {
        parents.sort_unstable();
        let (proofs, invite_proof) = (ProofMemo::default(), ProofMemo::default());
        proofs.ask(&genesis_random, || !matches!(body, Body::ForkProof { .. }) || body.fork(&space).is_some());
        if let Body::Join { .. } = body {
            invite_proof.ask(&[0; 32], || true);
        }
        Self { id, space, author, depth, parents, body, bytes: Vec::new(), proofs, invite_proof }
    }
}
