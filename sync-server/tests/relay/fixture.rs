//! A space with devices and envelopes, and a client that says exactly what a test wants said.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use lifeos_sync_protocol::envelope::{Envelope, Header, Kind, assemble, signing_message, stream_id};
use lifeos_sync_protocol::frame::{Cursor, Frame, Item, PeerRole, PushResult, RecordStatus, Want};
use lifeos_sync_protocol::handshake::{auth_message, list_message, transcript_hash, verify, welcome_message};
use lifeos_sync_protocol::ids::{EnvelopeId, EpochRef, HpkePk, MemberId, Roll, SignPk, Signature, SpaceId, StreamId};
use lifeos_sync_protocol::log::roll_next;
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{
    Body, DeviceEntry, DeviceKind, Record, Role, Seal, Unsigned, Wrap, enrol_message, join_message, joining_member,
};
use lifeos_sync_server::{Handle, Limits, Server};
use ring::signature::{Ed25519KeyPair, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::place::local;

/// Longer than anything here may take; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("nothing came: {what}"))
}

/// A relay in this process or in another.
pub trait Serves {
    fn addr(&self) -> SocketAddr;
    fn relay_key(&self) -> SignPk;
}

impl Serves for Handle {
    fn addr(&self) -> SocketAddr {
        Self::addr(self)
    }

    fn relay_key(&self) -> SignPk {
        Self::relay_key(self)
    }
}

pub async fn relay() -> (Handle, TempDir) {
    relay_with(Limits::default()).await
}

pub async fn relay_with(limits: Limits) -> (Handle, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = local(dir.path());
    config.limits = limits;
    (Server::start(config).await.unwrap(), dir)
}

pub struct Device {
    pair: Ed25519KeyPair,
    pub pk: SignPk,
    hpke: HpkePk,
}

impl Device {
    pub fn new(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let pk = SignPk::from_slice(pair.public_key().as_ref()).unwrap();
        let mut hpke = [seed; 32];
        hpke[31] = 1;
        Self { pair, pk, hpke: HpkePk(hpke) }
    }

    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.pair.sign(message).as_ref().try_into().unwrap())
    }

    fn entry(&self, genesis_random: &[u8; 32], member: &MemberId, kind: DeviceKind) -> DeviceEntry {
        let proof = self.sign(&enrol_message(genesis_random, member, kind, &self.pk, &self.hpke));
        DeviceEntry { sign_pk: self.pk, hpke_pk: self.hpke, kind, proof }
    }
}

/// What tells the seed of a recovery key from that of its founder.
const RECOVERY: u8 = 0x80;

/// A space with its records; the founder is device `seed`.
pub struct Space {
    pub id: SpaceId,
    pub founder: Device,
    pub records: Vec<Record>,
    pub epoch: EpochRef,
    /// All epochs, the first one first.
    pub epochs: Vec<EpochRef>,
    random: [u8; 32],
    member: MemberId,
}

impl Space {
    pub fn new(seed: u8) -> Self {
        let founder = Device::new(seed);
        let recovery = Device::new(seed ^ RECOVERY);
        let (random, member) = ([seed; 32], MemberId([seed; 16]));
        let body = Body::Genesis {
            random,
            member,
            device: founder.entry(&random, &member, DeviceKind::Normal),
            recovery: recovery.entry(&random, &member, DeviceKind::Recovery),
            relays: Vec::new(),
        };
        let unsigned = Unsigned::new(SpaceId::ZERO, founder.pk, 0, &[], &body).unwrap();
        let signature = founder.sign(&unsigned.message());
        let genesis = unsigned.sign_with(&signature).unwrap();
        let id = genesis.space();
        let mut space =
            Self { id, founder, records: vec![genesis], epoch: EpochRef::ZERO, epochs: Vec::new(), random, member };
        space.rotate();
        space
    }

    /// The founder's recovery key, as the Genesis enrols it.
    pub fn recovery(&self) -> Device {
        Device::new(self.random[0] ^ RECOVERY)
    }

    /// A new epoch for everybody who may read.
    pub fn rotate(&mut self) {
        let record = self.append(&self.next_epoch());
        self.epoch = EpochRef(record.id().0[..16].try_into().unwrap());
        self.epochs.push(self.epoch);
    }

    /// What [`Self::rotate`] writes.
    pub fn next_epoch(&self) -> Body {
        let membership = Membership::evaluate(&self.id, &self.records).unwrap();
        let (generation, parents) = (membership.next_generation(), membership.epoch_heads());
        let wraps = parents.iter().map(|parent| Wrap { parent: *parent, ct: [4; 48] }).collect();
        let mut refs: Vec<[u8; 16]> =
            membership.readers().iter().map(|(device, _)| device.0[..16].try_into().unwrap()).collect();
        refs.sort_unstable();
        let seals = refs.into_iter().map(|device_ref| Seal { device_ref, enc: [1; 32], ct: [2; 48] }).collect();
        Body::Epoch { generation, parents, commit: [3; 32], wraps, seals }
    }

    /// A record of the founder on top of the last one.
    pub fn append(&mut self, body: &Body) -> Record {
        let last = self.records.last().unwrap();
        let unsigned = Unsigned::new(self.id, self.founder.pk, last.depth() + 1, &[last.id()], body).unwrap();
        let signature = self.founder.sign(&unsigned.message());
        let record = unsigned.sign_with(&signature).unwrap();
        self.records.push(record.clone());
        record
    }

    /// Enrols another device of the founder.
    pub fn enrol(&mut self, seed: u8) -> Device {
        self.enrol_as(seed, DeviceKind::Normal)
    }

    /// Enrols another device or recovery key of the founder.
    pub fn enrol_as(&mut self, seed: u8, kind: DeviceKind) -> Device {
        let device = Device::new(seed);
        let entry = device.entry(&self.random, &self.member, kind);
        let member = self.member;
        self.append(&Body::DeviceAdd { member, device: entry, enc_meta: Vec::new(), grants: Vec::new() });
        device
    }

    /// Admits another person with one device.
    pub fn admit(&mut self, seed: u8, member: MemberId, role: Role) -> Device {
        let device = Device::new(seed);
        let devices = vec![device.entry(&self.random, &member, DeviceKind::Normal)];
        self.append(&Body::MemberAdd { member, role, enc_meta: Vec::new(), devices });
        device
    }

    /// A record of another device on top of the first `parents` records; it is not kept here.
    pub fn sign_as(&self, device: &Device, parents: usize, body: &Body) -> Record {
        let last = &self.records[parents - 1];
        let unsigned = Unsigned::new(self.id, device.pk, last.depth() + 1, &[last.id()], body).unwrap();
        let signature = device.sign(&unsigned.message());
        unsigned.sign_with(&signature).unwrap()
    }

    /// A DeviceAdd by a member's device for that member, on top of the last record; it is not kept here.
    pub fn add_own(&self, author: &Device, member: MemberId, added: &Device) -> Record {
        let device = added.entry(&self.random, &member, DeviceKind::Normal);
        let body = Body::DeviceAdd { member, device, enc_meta: Vec::new(), grants: Vec::new() };
        self.sign_as(author, self.records.len(), &body)
    }

    /// A link without approval that opens the present epoch.
    pub fn link(&mut self, guest: &Device, uses_max: u32) -> Record {
        let device_ref = guest.pk.0[..16].try_into().unwrap();
        let auto_seal = Some((self.epoch, Seal { device_ref, enc: [1; 32], ct: [2; 48] }));
        let (invite_pk, expires_ms) = (guest.pk, u64::MAX);
        self.append(&Body::Invite { invite_pk, role: Role::Editor, expires_ms, uses_max, auto_seal })
    }

    /// A request to join by the holder of an invite key; not yet among the records.
    pub fn join(&self, invite: &Record, guest: &Device, joiner: &Device) -> Record {
        let member = joining_member(&invite.id(), &joiner.pk);
        let devices = vec![joiner.entry(&self.random, &member, DeviceKind::Normal)];
        let invite_proof = guest.sign(&join_message(&self.id, &invite.id(), &member, &devices));
        let body = Body::Join { invite: invite.id(), member, devices, invite_proof, enc_meta: Vec::new() };
        let last = self.records.last().unwrap();
        let unsigned = Unsigned::new(self.id, joiner.pk, last.depth() + 1, &[last.id()], &body).unwrap();
        let signature = joiner.sign(&unsigned.message());
        unsigned.sign_with(&signature).unwrap()
    }

    pub fn record_bytes(&self) -> Vec<Vec<u8>> {
        self.records.iter().map(|record| record.bytes().to_vec()).collect()
    }

    pub fn stream<'a>(&self, device: &'a Device, r32: u8) -> Stream<'a> {
        Stream {
            space: self.id,
            epoch: self.epoch,
            device,
            id: stream_id(&self.id, &device.pk, &[r32; 32]),
            seq: 0,
            prev: [r32; 32],
            r32: [r32; 32],
        }
    }
}

/// A device's stream, as the sealer would write it; the ciphertext is filler.
#[derive(Clone)]
pub struct Stream<'a> {
    pub space: SpaceId,
    pub epoch: EpochRef,
    pub device: &'a Device,
    pub id: StreamId,
    pub seq: u32,
    pub prev: [u8; 32],
    /// What the stream's id commits to.
    pub r32: [u8; 32],
}

impl Stream<'_> {
    /// The device's word about what it holds.
    pub fn receipt(&self, count: u32) -> Vec<u8> {
        self.receipt_of(count, 272)
    }

    /// The same with a ciphertext of so many bytes.
    pub fn receipt_of(&self, count: u32, ct_len: usize) -> Vec<u8> {
        self.outside(Kind::Receipt, count, ct_len)
    }

    /// What the device shows of itself, and nobody keeps.
    pub fn presence(&self, count: u32) -> Vec<u8> {
        self.outside(Kind::Ephemeral, count, 272)
    }

    /// A chunk or blob part of the device; another salt gives another one.
    pub fn object(&self, kind: Kind, salt: u8, ct_len: usize) -> Vec<u8> {
        let header = Header {
            kind,
            flags: 0,
            stream: self.id,
            seq: 0,
            prev: self.r32,
            epoch: self.epoch,
            salt: [salt; 16],
            ct_len: u32::try_from(ct_len).unwrap(),
        };
        self.sign(assemble(&header, &vec![salt; ct_len], &Signature([0; 64])))
    }

    /// What has no place in the chain.
    fn outside(&self, kind: Kind, count: u32, ct_len: usize) -> Vec<u8> {
        let header = Header {
            kind,
            flags: 0,
            stream: self.id,
            seq: count,
            prev: [0; 32],
            epoch: self.epoch,
            salt: [8; 16],
            ct_len: u32::try_from(ct_len).unwrap(),
        };
        self.sign(assemble(&header, &vec![6; ct_len], &Signature([0; 64])))
    }

    fn sign(&self, mut envelope: Vec<u8>) -> Vec<u8> {
        let signature = self.device.sign(&signing_message(&self.space, &id_of(&self.space, &envelope)));
        let at = envelope.len() - signature.0.len();
        envelope[at..].copy_from_slice(&signature.0);
        envelope
    }

    pub fn seal(&mut self) -> Vec<u8> {
        self.seal_sized(272)
    }

    pub fn seal_sized(&mut self, ct_len: usize) -> Vec<u8> {
        self.seq += 1;
        let header = Header {
            kind: Kind::Delta,
            flags: 0,
            stream: self.id,
            seq: self.seq,
            prev: self.prev,
            epoch: self.epoch,
            salt: [7; 16],
            ct_len: u32::try_from(ct_len).unwrap(),
        };
        let ciphertext = vec![u8::try_from(self.seq % 251).unwrap(); ct_len];
        let bytes = self.sign(assemble(&header, &ciphertext, &Signature([0; 64])));
        self.prev = id_of(&self.space, &bytes).0;
        bytes
    }

    pub fn seal_many(&mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| self.seal()).collect()
    }
}

pub fn id_of(space: &SpaceId, envelope: &[u8]) -> EnvelopeId {
    Envelope::parse(envelope.to_vec()).unwrap().id(space)
}

/// Checks that items follow each other without a gap from `cursor`, and that the rolling hash is theirs.
pub fn follow(space: &SpaceId, cursor: &mut Cursor, items: &[Item], roll: Roll) {
    for item in items {
        assert_eq!(item.pos, cursor.pos, "a gap or a repetition");
        cursor.roll = roll_next(&cursor.roll, item.pos, &id_of(space, &item.envelope));
        cursor.pos += 1;
    }
    assert_eq!(cursor.roll, roll, "the rolling hash is of other items");
}

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub relay_key: SignPk,
    hello: Vec<u8>,
    challenge: Vec<u8>,
    requests: u32,
    inbox: VecDeque<(u32, Frame)>,
}

impl Client {
    /// Connects without a word.
    pub async fn dial(relay: &impl Serves) -> Self {
        Self::dial_path(relay, "/sync").await
    }

    pub async fn dial_path(relay: &impl Serves, path: &str) -> Self {
        let url = format!("ws://{}{path}", relay.addr());
        let (socket, _) = patiently("connection", tokio_tungstenite::connect_async(url)).await.unwrap();
        let relay_key = relay.relay_key();
        Self { socket, relay_key, hello: vec![], challenge: vec![], requests: 0, inbox: VecDeque::new() }
    }

    /// Connects and exchanges HELLO and CHALLENGE.
    pub async fn connect(relay: &impl Serves) -> Self {
        Self::dial(relay).await.greet().await
    }

    /// Exchanges HELLO and CHALLENGE.
    pub async fn greet(self) -> Self {
        let mut client = self;
        client.requests += 1;
        let hello = Frame::Hello { proto_min: 1, proto_max: 1, role: PeerRole::Client, nonce: [5; 32], features: 0 };
        client.hello = hello.encode(1);
        client.send_bytes(client.hello.clone()).await;
        client.challenge = client.receive_bytes().await.expect("a challenge");
        let (request, challenge) = Frame::decode(&client.challenge).unwrap();
        assert_eq!(request, 1);
        assert!(matches!(challenge, Frame::Challenge { peer_pk, .. } if peer_pk == client.relay_key));
        client
    }

    /// Connects, proves the device and opens the space, which the relay holds already.
    pub async fn join(relay: &impl Serves, space: &Space, device: &Device) -> (Self, u32) {
        let mut client = Self::connect(relay).await;
        let session = client.auth(space, device).await;
        client.open(session, None).await;
        (client, session)
    }

    /// Connects as the founder and creates the space at the relay.
    pub async fn found(relay: &impl Serves, space: &Space) -> (Self, u32) {
        let mut client = Self::connect(relay).await;
        let session = client.auth(space, &space.founder).await;
        let records = space.record_bytes();
        let count = records.len();
        let answer = client.ask(&Frame::Rec { session, records, more: false }).await;
        assert_eq!(answer, Frame::RecAck { session, results: vec![RecordStatus::Ok; count] });
        client.open(session, None).await;
        (client, session)
    }

    pub fn auth_frame(&self, space: &Space, device: &Device) -> Frame {
        let transcript = transcript_hash(&self.hello, &self.challenge, &space.id, &device.pk);
        Frame::Auth { space: space.id, device: device.pk, signature: device.sign(&auth_message(&transcript)) }
    }

    pub fn list_frame(&self, device: &Device) -> Frame {
        let transcript = transcript_hash(&self.hello, &self.challenge, &SpaceId::ZERO, &device.pk);
        Frame::List { device: device.pk, signature: device.sign(&list_message(&transcript)) }
    }

    pub async fn auth(&mut self, space: &Space, device: &Device) -> u32 {
        let auth = self.auth_frame(space, device);
        let Frame::Welcome { session, signature, .. } = self.ask(&auth).await else { panic!("not welcome") };
        let transcript = transcript_hash(&self.hello, &self.challenge, &space.id, &device.pk);
        verify(&self.relay_key, &welcome_message(&transcript), &signature).unwrap();
        session
    }

    /// Answers the log's end and whether the cursor lies on it.
    pub async fn open(&mut self, session: u32, cursor: Option<Cursor>) -> (Cursor, bool) {
        let answer = self.ask(&Frame::Open { session, rec_heads: Vec::new(), cursor }).await;
        let Frame::State { log: Some(log), cursor_ok, .. } = answer else { panic!("not a state: {answer:?}") };
        (log, cursor_ok)
    }

    pub async fn push(&mut self, session: u32, envelopes: Vec<Vec<u8>>) -> Vec<PushResult> {
        let answer = self.ask(&Frame::Push { session, envelopes }).await;
        let Frame::PushAck { results, .. } = answer else { panic!("not an acknowledgement: {answer:?}") };
        results
    }

    /// The named objects that the relay has, by page.
    pub async fn want_objects(&mut self, session: u32, objects: Vec<EnvelopeId>) -> Vec<Vec<Item>> {
        self.want(session, Vec::new(), objects).await
    }

    /// What the relay has of ranges and objects, by page; none of it moves a cursor.
    pub async fn want(&mut self, session: u32, ranges: Vec<Want>, objects: Vec<EnvelopeId>) -> Vec<Vec<Item>> {
        let request = self.send(&Frame::Want { session, ranges, objects }).await;
        let mut pages = Vec::new();
        loop {
            match self.answer(request).await {
                Frame::Items { items, next: 0, roll: Roll::ZERO, more: true, .. } => pages.push(items),
                Frame::Items { items, next: 0, roll: Roll::ZERO, more: false, .. } => {
                    assert!(items.is_empty());
                    return pages;
                }
                other => panic!("not a page: {other:?}"),
            }
        }
    }

    /// Brings one record; answers what became of it.
    pub async fn bring(&mut self, session: u32, record: &Record) -> RecordStatus {
        match self.ask(&Frame::Rec { session, records: vec![record.bytes().to_vec()], more: false }).await {
            Frame::RecAck { results, .. } => results[0],
            refused => panic!("{refused:?}"),
        }
    }

    /// Brings a record by `device` on top of all others, which stays among them if it is taken.
    pub async fn write(&mut self, session: u32, space: &mut Space, device: &Device, body: &Body) -> RecordStatus {
        let record = space.sign_as(device, space.records.len(), body);
        let status = self.bring(session, &record).await;
        if status == RecordStatus::Ok {
            space.records.push(record);
        }
        status
    }

    /// One page; answers its items and whether it was the last. What was told live before the page came is
    /// forgotten: either the page holds it, or it is not the last.
    pub async fn pull(&mut self, space: &Space, session: u32, cursor: &mut Cursor) -> (Vec<Item>, bool) {
        let pull = Frame::Pull { session, from: cursor.pos, bytes_max: u32::MAX, items_max: 64 };
        let answer = self.ask(&pull).await;
        let Frame::Items { items, next, roll, more, .. } = answer else { panic!("not a page: {answer:?}") };
        self.inbox.retain(|(_, frame)| !matches!(frame, Frame::Notify { .. }));
        follow(&space.id, cursor, &items, roll);
        assert_eq!(next, cursor.pos);
        (items, !more)
    }

    /// Pages until the end of the log; from then on NOTIFY follows.
    pub async fn catch_up(&mut self, space: &Space, session: u32, cursor: &mut Cursor) -> Vec<Item> {
        let mut all = Vec::new();
        loop {
            let (items, last) = self.pull(space, session, cursor).await;
            all.extend(items);
            if last {
                return all;
            }
        }
    }

    /// The next NOTIFY: its items, or nothing when the relay says that this reader is behind.
    pub async fn notified(&mut self, space: &Space, cursor: &mut Cursor) -> Option<Vec<Item>> {
        loop {
            let (request, frame) = self.next().await.expect("a connection");
            if let Frame::Notify { items, roll, behind, .. } = frame {
                assert_eq!(request, 0);
                if behind {
                    return None;
                }
                follow(&space.id, cursor, &items, roll);
                return Some(items);
            }
        }
    }

    pub async fn send(&mut self, frame: &Frame) -> u32 {
        self.requests += 1;
        let request = self.requests;
        self.send_bytes(frame.encode(request)).await;
        request
    }

    /// Sends frames so that all of them are there when the first is looked at.
    pub async fn send_together(&mut self, frames: impl IntoIterator<Item = Frame>) -> Vec<u32> {
        let mut requests = Vec::new();
        for frame in frames {
            self.requests += 1;
            requests.push(self.requests);
            let message = Message::Binary(frame.encode(self.requests).into());
            patiently("room to send", self.socket.feed(message)).await.unwrap();
        }
        patiently("room to send", self.socket.flush()).await.unwrap();
        requests
    }

    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        patiently("room to send", self.socket.send(Message::Binary(bytes.into()))).await.unwrap();
    }

    /// Sends and waits for the answer; what comes before it is kept for [`Self::next`].
    pub async fn ask(&mut self, frame: &Frame) -> Frame {
        let request = self.send(frame).await;
        self.answer(request).await
    }

    pub async fn answer(&mut self, request: u32) -> Frame {
        if let Some(at) = self.inbox.iter().position(|(answered, _)| *answered == request) {
            return self.inbox.remove(at).unwrap().1;
        }
        loop {
            let bytes = self.receive_bytes().await.expect("an answer");
            let (answered, frame) = Frame::decode(&bytes).unwrap();
            if answered == request {
                return frame;
            }
            self.inbox.push_back((answered, frame));
        }
    }

    /// The next frame, or nothing when the connection has ended.
    pub async fn next(&mut self) -> Option<(u32, Frame)> {
        if let Some(frame) = self.inbox.pop_front() {
            return Some(frame);
        }
        self.receive_bytes().await.map(|bytes| Frame::decode(&bytes).unwrap())
    }

    async fn receive_bytes(&mut self) -> Option<Vec<u8>> {
        loop {
            match patiently("a message", self.socket.next()).await {
                Some(Ok(Message::Binary(bytes))) => return Some(bytes.to_vec()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(other)) => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Reads until the connection ends; answers the last error frame.
    pub async fn last_words(&mut self) -> Option<lifeos_sync_protocol::frame::ErrorCode> {
        // Bounded as a whole: pings alone would keep a connection that nobody ends.
        patiently("the end of the connection", async {
            let mut last = None;
            while let Some((_, frame)) = self.next().await {
                if let Frame::Error { code, fatal, .. } = frame {
                    last = fatal.then_some(code);
                }
            }
            last
        })
        .await
    }
}

/// One of the relay's counters, as it shows them to the world.
pub async fn metric(relay: &impl Serves, name: &str) -> u64 {
    let body = get(relay, "/metrics").await;
    let prefix = format!("lifeos_relay_{name} ");
    let line = body.lines().find(|line| line.starts_with(&prefix)).unwrap_or_else(|| panic!("no {name}"));
    line[prefix.len()..].parse().unwrap()
}

pub async fn get(relay: &impl Serves, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = TcpStream::connect(relay.addr()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    patiently("a response", stream.read_to_string(&mut text)).await.unwrap();
    text
}
