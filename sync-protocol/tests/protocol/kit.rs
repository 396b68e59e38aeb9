//! Devices with fixed keys, and one of everything: what tests and vectors are made from.
#![allow(dead_code, reason = "every user takes its part")]

use lifeos_sync_protocol::envelope::{self, Envelope, FLAG_PADME, Header, Kind, signing_message, stream_id};
use lifeos_sync_protocol::frame::{
    Cursor, ErrorCode, Frame, Have, Item, PeerLimits, PeerRole, PushResult, PushStatus, Quota, RecordStatus,
    WakeupStatus, Want,
};
use lifeos_sync_protocol::ids::{
    EnvelopeId, EpochRef, HpkePk, LogId, MemberId, RdvId, RecordId, Roll, SignPk, Signature, SpaceId, StreamId,
};
use lifeos_sync_protocol::membership::{Membership, epoch_ref_of};
use lifeos_sync_protocol::record::{
    Body, Cut, DeviceEntry, DeviceKind, Floor, Record, RecordError, RemoveReason, Role, Seal, Unsigned, Wrap,
    enrol_message, join_message, joining_member,
};
use lifeos_sync_protocol::wakeup::WakeupTarget;
use ring::signature::{Ed25519KeyPair, KeyPair};

/// A device whose keys follow from one byte.
pub(crate) struct Keys {
    pair: Ed25519KeyPair,
    pub(crate) sign_pk: SignPk,
    pub(crate) hpke_pk: HpkePk,
}

impl Keys {
    /// The signing seed is the byte 32 times; the HPKE key is that byte 32 times with the top bit cleared (any
    /// reduced number is a public key, and nothing here opens a seal).
    pub(crate) fn new(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let sign_pk = SignPk::from_slice(pair.public_key().as_ref()).unwrap();
        let mut hpke_pk = HpkePk([seed; 32]);
        hpke_pk.0[31] &= 0x3f;
        hpke_pk.0[0] |= 0x40;
        Self { pair, sign_pk, hpke_pk }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.pair.sign(message).as_ref().try_into().unwrap())
    }

    pub(crate) fn entry(&self, random: &[u8; 32], member: &MemberId, kind: DeviceKind) -> DeviceEntry {
        let proof = self.sign(&enrol_message(random, member, kind, &self.sign_pk, &self.hpke_pk));
        DeviceEntry { sign_pk: self.sign_pk, hpke_pk: self.hpke_pk, kind, proof }
    }

    pub(crate) fn record(&self, space: SpaceId, depth: u64, parents: &[RecordId], body: &Body) -> Record {
        self.try_record(space, depth, parents, body).unwrap()
    }

    pub(crate) fn try_record(
        &self,
        space: SpaceId,
        depth: u64,
        parents: &[RecordId],
        body: &Body,
    ) -> Result<Record, RecordError> {
        let unsigned = Unsigned::new(space, self.sign_pk, depth, parents, body)?;
        let signature = self.sign(&unsigned.message());
        unsigned.sign_with(&signature)
    }

    /// The record that follows all of these.
    pub(crate) fn follow(&self, records: &[&Record], body: &Body) -> Record {
        let parents: Vec<RecordId> = records.iter().map(|record| record.id()).collect();
        let depth = records.iter().map(|record| record.depth()).max().unwrap() + 1;
        self.record(records[0].space(), depth, &parents, body)
    }

    pub(crate) fn envelope(&self, space: &SpaceId, header: &Header, ciphertext: &[u8]) -> Envelope {
        let unsigned = envelope::assemble(header, ciphertext, &Signature([0; 64]));
        let id = Envelope::parse(unsigned).unwrap().id(space);
        let signature = self.sign(&signing_message(space, &id));
        Envelope::parse(envelope::assemble(header, ciphertext, &signature)).unwrap()
    }
}

pub(crate) const RANDOM: [u8; 32] = [0x5a; 32];
pub(crate) const MEMBER: MemberId = MemberId([0x4d; 16]);

pub(crate) fn founder() -> Keys {
    Keys::new(1)
}

pub(crate) fn recovery() -> Keys {
    Keys::new(2)
}

pub(crate) fn genesis_body() -> Body {
    Body::Genesis {
        random: RANDOM,
        member: MEMBER,
        device: founder().entry(&RANDOM, &MEMBER, DeviceKind::Normal),
        recovery: recovery().entry(&RANDOM, &MEMBER, DeviceKind::Recovery),
        relays: vec!["wss://relay.example".to_owned()],
    }
}

pub(crate) fn genesis() -> Record {
    founder().record(SpaceId::ZERO, 0, &[], &genesis_body())
}

pub(crate) fn space() -> SpaceId {
    genesis().space()
}

pub(crate) fn device_add(device: &Keys) -> Body {
    device_add_as(device, DeviceKind::Normal)
}

pub(crate) fn device_add_as(device: &Keys, kind: DeviceKind) -> Body {
    let device = device.entry(&RANDOM, &MEMBER, kind);
    Body::DeviceAdd { member: MEMBER, device, enc_meta: vec![0xe1; 20], grants: vec![] }
}

pub(crate) fn seal(device: &SignPk) -> Seal {
    Seal { device_ref: device.0[..16].try_into().unwrap(), enc: [0xec; 32], ct: [0xc7; 48] }
}

pub(crate) fn wrap(parent: EpochRef) -> Wrap {
    Wrap { parent, ct: [0x3a; 48] }
}

/// The Epoch that the state calls for.
pub(crate) fn epoch(state: &Membership) -> Body {
    let parents = state.epoch_heads();
    Body::Epoch {
        generation: state.next_generation(),
        commit: [0xc0; 32],
        wraps: parents.iter().copied().map(wrap).collect(),
        seals: state.readers().iter().map(|(device, _)| seal(device)).collect(),
        parents,
    }
}

pub(crate) fn first_epoch() -> Record {
    let genesis = genesis();
    let state = Membership::evaluate(&genesis.space(), [&genesis]).unwrap();
    founder().follow(&[&genesis], &epoch(&state))
}

fn floor() -> Floor {
    let (device, r32) = (founder().sign_pk, [0x32; 32]);
    let stream = stream_id(&space(), &device, &r32);
    Floor { stream, seq: 70_000, id: EnvelopeId([0xe0; 32]), device, r32 }
}

fn cut() -> Cut {
    Cut { stream: StreamId([0x51; 16]), seq: 70_000, id: EnvelopeId([0xe0; 32]) }
}

/// A body of every type, by name.
pub(crate) fn bodies() -> Vec<(&'static str, Body)> {
    let other = Keys::new(3);
    let entry = other.entry(&RANDOM, &MEMBER, DeviceKind::Archive);
    let (invite, joiner) = (RecordId([9; 32]), founder());
    let joins_as = joining_member(&invite, &joiner.sign_pk);
    let joining = vec![joiner.entry(&RANDOM, &joins_as, DeviceKind::Normal)];
    let epoch = epoch_ref_of(&first_epoch().id());
    vec![
        ("genesis", genesis_body()),
        (
            "member_add",
            Body::MemberAdd {
                member: MemberId([7; 16]),
                role: Role::Editor,
                enc_meta: vec![1; 300],
                devices: vec![entry.clone()],
            },
        ),
        ("device_add", device_add(&other)),
        (
            "device_add_with_grant",
            Body::DeviceAdd {
                member: MEMBER,
                device: entry.clone(),
                enc_meta: vec![],
                grants: vec![(epoch, seal(&other.sign_pk))],
            },
        ),
        (
            "device_remove",
            Body::DeviceRemove { device: other.sign_pk, reason: RemoveReason::Lost, cuts: vec![cut(), cut()] },
        ),
        ("member_remove", Body::MemberRemove { member: MEMBER, reason: RemoveReason::Compromised, cuts: vec![cut()] }),
        ("role_set", Body::RoleSet { member: MEMBER, role: Role::Reader, cuts: vec![] }),
        (
            "epoch",
            Body::Epoch {
                generation: 2,
                parents: vec![epoch],
                commit: [0xc0; 32],
                wraps: vec![wrap(epoch)],
                seals: vec![seal(&founder().sign_pk), seal(&other.sign_pk)],
            },
        ),
        ("key_grant", Body::KeyGrant { epoch, seals: vec![seal(&other.sign_pk)] }),
        ("hpke_refresh", Body::HpkeRefresh { hpke_pk: other.hpke_pk }),
        (
            "invite",
            Body::Invite {
                invite_pk: other.sign_pk,
                role: Role::Admin,
                expires_ms: 1_800_000_000_000,
                uses_max: 1,
                auto_seal: Some((epoch, seal(&other.sign_pk))),
            },
        ),
        (
            "invite_manual",
            Body::Invite { invite_pk: other.sign_pk, role: Role::Owner, expires_ms: 0, uses_max: 24, auto_seal: None },
        ),
        ("invite_revoke", Body::InviteRevoke { invite: RecordId([9; 32]) }),
        (
            "join",
            Body::Join {
                invite: RecordId([9; 32]),
                member: MemberId([8; 16]),
                devices: vec![entry],
                invite_proof: Signature([4; 64]),
                enc_meta: vec![2; 30],
            },
        ),
        (
            // By the invitation of `invite`, whose secret signs for who joins.
            "join_proven",
            Body::Join {
                invite,
                member: joins_as,
                invite_proof: other.sign(&join_message(&space(), &invite, &joins_as, &joining)),
                devices: joining,
                enc_meta: vec![],
            },
        ),
        ("policy", Body::Policy { rotation_days: 30, grace_days: 256, endorse_k: 1, relays: vec![] }),
        (
            "checkpoint",
            Body::Checkpoint {
                previous: vec![RecordId([1; 32])],
                cut: vec![floor()],
                chunks: vec![EnvelopeId([2; 32]), EnvelopeId([3; 32])],
                blobs: vec![],
                enc_manifest: vec![5; 23],
            },
        ),
        ("endorse", Body::Endorse { checkpoint: RecordId([1; 32]) }),
        ("object", Body::Object { checkpoint: RecordId([1; 32]), reason: 2, stream: StreamId([3; 16]), seq: u32::MAX }),
        ("fork_proof", Body::ForkProof { first: vec![1; 188], second: vec![2; 188] }),
        ("close", Body::Close { successor: Some(SpaceId([6; 32])) }),
        ("close_for_good", Body::Close { successor: None }),
        ("unknown", Body::Unknown { kind: 0xee, body: vec![0xa0] }),
    ]
}

/// A signed record of every type, by name.
pub(crate) fn records() -> Vec<(&'static str, Record)> {
    let genesis = genesis();
    let record = |body: &Body| match body {
        Body::Genesis { .. } => genesis.clone(),
        _ => founder().follow(&[&genesis, &first_epoch()], body),
    };
    let mut records: Vec<_> = bodies().iter().map(|(name, body)| (*name, record(body))).collect();
    records.push(("first_epoch", first_epoch()));
    records
}

pub(crate) fn header(kind: Kind) -> Header {
    let r32 = [0x32; 32];
    let (seq, prev) = match kind {
        Kind::Delta => (1, r32),
        Kind::Chunk | Kind::BlobPart => (0, [0; 32]),
        Kind::Ephemeral | Kind::Receipt => (17, [0; 32]),
    };
    Header {
        kind,
        flags: FLAG_PADME,
        stream: stream_id(&space(), &founder().sign_pk, &r32),
        seq,
        prev,
        epoch: epoch_ref_of(&first_epoch().id()),
        salt: [0x5a; 16],
        ct_len: 272,
    }
}

/// An envelope of every kind, and the second of a stream.
pub(crate) fn envelopes() -> Vec<(&'static str, Envelope)> {
    let kinds = [
        ("delta_1", Kind::Delta),
        ("chunk", Kind::Chunk),
        ("blob_part", Kind::BlobPart),
        ("ephemeral", Kind::Ephemeral),
        ("receipt", Kind::Receipt),
    ];
    let envelope = |kind| founder().envelope(&space(), &header(kind), &[0xcc; 272]);
    let mut envelopes: Vec<_> = kinds.into_iter().map(|(name, kind)| (name, envelope(kind))).collect();
    let second = Header { seq: 2, prev: envelopes[0].1.id(&space()).0, salt: [0x5b; 16], ..header(Kind::Delta) };
    envelopes.push(("delta_2", founder().envelope(&space(), &second, &[0xcd; 272])));
    envelopes
}

pub(crate) fn hello() -> Frame {
    Frame::Hello { proto_min: 1, proto_max: 1, role: PeerRole::Client, nonce: [0x11; 32], features: 0 }
}

pub(crate) fn challenge() -> Frame {
    Frame::Challenge {
        peer_pk: Keys::new(9).sign_pk,
        nonce: [0x22; 32],
        origin: "relay.example".to_owned(),
        features: 1 << 63,
        limits: PeerLimits { frame_bytes_max: 4_456_448, push_window: 16, frame_envelopes_max: 64 },
    }
}

fn cursor() -> Cursor {
    Cursor { log_id: LogId([0x10; 16]), pos: 1 << 40, roll: Roll([0x20; 16]) }
}

fn push_results() -> Vec<PushResult> {
    use PushStatus::*;
    let existing = EnvelopeId([0xe0; 32]);
    [
        Ok,
        Dup,
        Gap { expected: 7 },
        Fork { existing },
        BadFormat,
        BadSignature,
        NotMember,
        NotWriter,
        Removed,
        UnknownEpoch,
        CutBehind,
        OkStaleEpoch,
        TooLarge,
        Quota,
        Rate,
    ]
    .into_iter()
    .map(|status| PushResult { status, pos: status.is_stored().then_some(300) })
    .collect()
}

fn wakeup() -> WakeupTarget {
    WakeupTarget::new("https://push.example/up?id=7", "0123456789abcdef0123456789ABCDEF").unwrap()
}

/// A frame of every type, by name; list-bearing ones also empty where that is a case of its own.
pub(crate) fn frames() -> Vec<(&'static str, Frame)> {
    let session = 3;
    let (space, device, rdv) = (space(), founder().sign_pk, RdvId([0x77; 16]));
    let signature = Signature([0x51; 64]);
    let ids = vec![RecordId([1; 32]), RecordId([2; 32])];
    let items = || vec![Item { pos: 41, envelope: vec![0xee; 300] }, Item { pos: 42, envelope: vec![0xef; 256] }];
    let roll = Roll([0x20; 16]);
    vec![
        ("hello", hello()),
        ("challenge", challenge()),
        ("auth", Frame::Auth { space, device, signature }),
        ("welcome", Frame::Welcome { session, known: false, signature }),
        ("list", Frame::List { device, signature }),
        ("spaces", Frame::Spaces { spaces: vec![space, SpaceId([4; 32])] }),
        ("open", Frame::Open { session, rec_heads: ids.clone(), cursor: Some(cursor()) }),
        ("open_fresh", Frame::Open { session, rec_heads: vec![], cursor: None }),
        (
            "state",
            Frame::State {
                session,
                rec_heads: ids.clone(),
                log: Some(cursor()),
                cursor_ok: true,
                have_digest: [0xdd; 32],
                quota: Quota { bytes_used: 5, bytes_max: 1 << 33 },
                checkpoints: vec![RecordId([3; 32])],
            },
        ),
        ("rec_want", Frame::RecWant { session, ids: ids.clone(), heads: vec![] }),
        ("rec", Frame::Rec { session, records: vec![vec![1; 200], vec![2; 9]], more: true }),
        (
            "rec_ack",
            Frame::RecAck {
                session,
                results: vec![RecordStatus::Ok, RecordStatus::Dup, RecordStatus::Parked, RecordStatus::Refused],
            },
        ),
        ("push", Frame::Push { session, envelopes: vec![vec![0xee; 300], vec![0xef; 172]] }),
        ("push_ack", Frame::PushAck { session, results: push_results() }),
        ("pull", Frame::Pull { session, from: 1, bytes_max: 1 << 20, items_max: 64 }),
        ("items", Frame::Items { session, items: items(), next: 43, roll, more: false }),
        ("notify", Frame::Notify { session, items: items(), roll, behind: false }),
        ("notify_behind", Frame::Notify { session, items: vec![], roll, behind: true }),
        (
            "have",
            Frame::Have {
                session,
                streams: vec![
                    Have {
                        stream: StreamId([1; 16]),
                        floor: 10,
                        tip: 90,
                        tip_id: [8; 8],
                        holes: vec![(11, 2), (20, 70)],
                    },
                    Have { stream: StreamId([2; 16]), floor: 0, tip: 1, tip_id: [9; 8], holes: vec![] },
                ],
            },
        ),
        ("offer", Frame::Offer { session, objects: vec![EnvelopeId([5; 32]), EnvelopeId([6; 32])] }),
        ("lack", Frame::Lack { session, objects: vec![EnvelopeId([6; 32])] }),
        ("want_rest", Frame::WantRest { session, object: EnvelopeId([5; 32]), from: 262_144 }),
        ("part", Frame::Part { session, total: 300_000, from: 262_144, more: false, bytes: vec![7; 9] }),
        (
            "want",
            Frame::Want {
                session,
                ranges: vec![Want { stream: StreamId([1; 16]), from: 1, to: u32::MAX }],
                objects: vec![EnvelopeId([5; 32])],
            },
        ),
        ("ephemeral", Frame::Ephemeral { session, envelope: vec![0xee; 188] }),
        ("wakeup", Frame::Wakeup { session, target: Some(wakeup()) }),
        ("wakeup_none", Frame::Wakeup { session, target: None }),
        ("wakeup_ack", Frame::WakeupAck { session, status: WakeupStatus::Kept }),
        ("wakeup_ack_gone", Frame::WakeupAck { session, status: WakeupStatus::Gone }),
        ("rdv_create", Frame::RdvCreate { rdv, ttl_s: 600 }),
        ("rdv_put", Frame::RdvPut { rdv, message: vec![6; 40] }),
        ("rdv_get", Frame::RdvGet { rdv, index: 2 }),
        ("rdv_drop", Frame::RdvDrop { rdv }),
        ("rdv_item", Frame::RdvItem { rdv, index: 2, message: Some(vec![6; 40]) }),
        ("rdv_item_done", Frame::RdvItem { rdv, index: 0, message: None }),
        (
            "log_statement",
            Frame::LogStatement { space, log: cursor(), rec_heads: ids, time_ms: 1_800_000_000_000, signature },
        ),
        ("log_statement_want", Frame::LogStatementWant { session }),
        ("rec_ack_cut_behind", Frame::RecAck { session, results: vec![RecordStatus::CutBehind] }),
        ("pong", Frame::Pong { payload: 9 }),
        ("ping", Frame::Ping { payload: u64::MAX }),
        (
            "error",
            Frame::Error {
                code: ErrorCode::GoingAway,
                fatal: true,
                retry_after_ms: 1500,
                message: "The relay is stopping; reconnect later.".to_owned(),
            },
        ),
    ]
}
