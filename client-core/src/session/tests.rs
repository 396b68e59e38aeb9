//! The session against a model of a relay: the ordinary way, everything a peer can do wrong, and random
//! drops after which nothing may be lost or stored twice.

use std::collections::VecDeque;

use lifeos_sync_protocol::frame::{self, PushResult, PushStatus, RecordStatus};
use lifeos_sync_protocol::handshake::{auth_message, transcript_hash, welcome_message};
use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::{EnvelopeId, LogId, Roll};
use lifeos_sync_protocol::log::{have_digest, roll_next, statement_message};
use proptest::prelude::*;
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::*;

mod heal;
mod lies;
mod parts;
mod vector;
mod wakeup;
use parts::{OBJECT_BYTES, object_id};

const SPACE: SpaceId = SpaceId([9; 32]);

fn keys(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn public(keys: &Ed25519KeyPair) -> SignPk {
    SignPk::from_slice(keys.public_key().as_ref()).unwrap()
}

fn sign(keys: &Ed25519KeyPair, message: &[u8]) -> Signature {
    Signature(keys.sign(message).as_ref().try_into().unwrap())
}

/// Bytes that the model reads as "envelope `seq` of `device`".
fn envelope(device: u8, seq: u32) -> SealedEnvelope {
    let mut bytes = vec![device; 180];
    bytes[1..4].fill(0);
    bytes[20..24].copy_from_slice(&seq.to_be_bytes());
    let id = EnvelopeId(sha256("env-id", &[SPACE.as_ref(), &bytes[..bytes.len() - 64]]));
    SealedEnvelope { seq, id, bytes }
}

fn place(bytes: &[u8]) -> (u8, u32) {
    (bytes[0], u32::from_be_bytes(bytes[20..24].try_into().unwrap()))
}

fn record_id(bytes: &[u8]) -> RecordId {
    RecordId(sha256("rec-id", &[bytes]))
}

/// Records form one line, so the last one is the only head.
fn heads(records: &[Vec<u8>]) -> Vec<RecordId> {
    records.last().map(|record| record_id(record)).into_iter().collect()
}

fn missing(records: &[Vec<u8>], known: &[RecordId]) -> Vec<Vec<u8>> {
    let held = records.iter().position(|record| known.contains(&record_id(record))).map_or(0, |at| at + 1);
    records[held..].to_vec()
}

/// What is held of every stream, all without gaps; the model's stream ids are the devices' numbers.
fn have(held: impl Iterator<Item = (u8, u32)>) -> Vec<Have> {
    let mut tips = std::collections::BTreeMap::new();
    held.for_each(|(device, seq)| {
        _ = tips.entry(device).and_modify(|tip: &mut u32| *tip = seq.max(*tip)).or_insert(seq)
    });
    let have = |(device, tip): (u8, u32)| {
        let mut tip_id = [0; 8];
        tip_id.copy_from_slice(&envelope(device, tip).id.0[..8]);
        Have { stream: StreamId([device; 16]), floor: 0, tip, tip_id, holes: Vec::new() }
    };
    tips.into_iter().map(have).collect()
}

/// A relay with one space, as protocol §4.2 says.
pub(super) struct Relay {
    keys: Ed25519KeyPair,
    origin: &'static str,
    records: Vec<Vec<u8>>,
    log_id: LogId,
    log: Vec<Vec<u8>>,
    echo: bool,
    features: u64,
    wakes: frame::WakeupStatus,
    page_items: usize,
    /// Objects it keeps.
    objects: Vec<Vec<u8>>,
    /// Ranges that it was asked for, with the requests.
    ranges: Vec<(u32, frame::Want)>,
    /// Bytes of an object in one part; 0: it gives none.
    part_bytes: usize,
    /// From which bytes it was asked for rests.
    rests: Vec<usize>,
    /// Places below this one are gone.
    first: u64,
    pub(super) refuse_next: Option<PushStatus>,
    /// It says that it has everything that is sent, and nothing when asked.
    forgetful: bool,
    /// The record that it has no room for.
    full: Option<Vec<u8>>,
    /// What it signs instead of the truth.
    forged: Option<Cursor>,
    /// Receipts that it was given, whoever gave them.
    pub(super) receipts: Vec<Vec<u8>>,
    connections: Vec<Option<Connection>>,
}

#[derive(Default)]
struct Connection {
    hello: Vec<u8>,
    challenge: Vec<u8>,
    subscribed: bool,
    seeded: bool,
    opened: bool,
    out: VecDeque<Vec<u8>>,
}

impl Relay {
    fn new(connections: usize) -> Self {
        Self {
            keys: keys(200),
            origin: "ws://relay.example",
            records: Vec::new(),
            log_id: LogId([1; 16]),
            log: Vec::new(),
            echo: false,
            features: frame::FEATURE_LOG_STATEMENT | frame::FEATURE_OBJECTS,
            wakes: frame::WakeupStatus::Kept,
            page_items: 3,
            objects: Vec::new(),
            ranges: Vec::new(),
            part_bytes: 0,
            rests: Vec::new(),
            first: 1,
            refuse_next: None,
            forgetful: false,
            forged: None,
            full: None,
            receipts: Vec::new(),
            connections: (0..connections).map(|_| None).collect(),
        }
    }

    fn cursor(&self, pos: u64) -> Cursor {
        let mut roll = Roll::ZERO;
        for (at, bytes) in self.log.iter().enumerate().take(pos as usize - 1) {
            let id = EnvelopeId(sha256("env-id", &[SPACE.as_ref(), &bytes[..bytes.len() - 64]]));
            roll = roll_next(&roll, at as u64 + 1, &id);
        }
        Cursor { log_id: self.log_id, pos, roll }
    }

    fn have(&self) -> Vec<Have> {
        let mut held = if self.forgetful { Vec::new() } else { have(self.log.iter().map(|bytes| place(bytes))) };
        for bytes in &self.log[..self.first as usize - 1] {
            let (device, seq) = place(bytes);
            let of = held.iter_mut().find(|have| have.stream == StreamId([device; 16])).unwrap();
            of.floor = of.floor.max(seq);
        }
        held
    }

    fn end(&self) -> u64 {
        self.log.len() as u64 + 1
    }

    fn answer(&mut self, at: usize, bytes: &[u8]) {
        let (request, frame) = Frame::decode(bytes).unwrap();
        match frame {
            Frame::Hello { .. } => {
                let challenge = Frame::Challenge {
                    peer_pk: public(&self.keys),
                    nonce: [7; 32],
                    origin: self.origin.into(),
                    features: self.features | self.parts_feature(),
                    limits: PeerLimits {
                        frame_bytes_max: limits::FRAME_BYTES_MAX as u32,
                        push_window: 2,
                        frame_envelopes_max: 2,
                    },
                }
                .encode(request);
                let connection = self.connections[at].as_mut().unwrap();
                connection.hello = bytes.to_vec();
                connection.challenge.clone_from(&challenge);
                connection.out.push_back(challenge);
            }
            Frame::Auth { space, device, signature } => {
                let connection = self.connections[at].as_ref().unwrap();
                let transcript = transcript_hash(&connection.hello, &connection.challenge, &space, &device);
                lifeos_sync_protocol::handshake::verify(&device, &auth_message(&transcript), &signature).unwrap();
                let signature = sign(&self.keys, &welcome_message(&transcript));
                let known = !self.records.is_empty();
                self.send(at, request, &Frame::Welcome { session: 5, known, signature });
            }
            Frame::Open { cursor, .. } => {
                self.connections[at].as_mut().unwrap().opened = true;
                let is_there = |pos| (self.first..=self.end()).contains(&pos);
                let fits = |cursor: Cursor| is_there(cursor.pos) && self.cursor(cursor.pos) == cursor;
                let state = Frame::State {
                    session: 5,
                    rec_heads: heads(&self.records),
                    log: Some(self.cursor(self.end())),
                    cursor_ok: cursor.is_none_or(fits),
                    have_digest: have_digest(&self.have()),
                    quota: Quota::default(),
                    checkpoints: if self.first > 1 { vec![RecordId([3; 32])] } else { Vec::new() },
                };
                self.send(at, request, &state);
            }
            Frame::RecWant { heads, .. } => {
                let records = missing(&self.records, &heads);
                self.send(at, request, &Frame::Rec { session: 5, records, more: false });
            }
            Frame::Rec { records, .. } => {
                let connection = self.connections[at].as_mut().unwrap();
                assert!(connection.opened || !connection.seeded, "a second REC before OPEN");
                assert!(records.len() <= limits::FRAME_RECORDS_MAX);
                connection.seeded = true;
                let mut results = Vec::new();
                for record in records {
                    // Records form one line: what comes behind a refused one lacks its parent.
                    results.push(match self.full.as_deref() {
                        Some(full) if record == full => RecordStatus::Refused,
                        Some(_) if results.iter().any(|status| *status != RecordStatus::Ok) => RecordStatus::Parked,
                        _ => RecordStatus::Ok,
                    });
                    if results.last() == Some(&RecordStatus::Ok) && !self.records.contains(&record) {
                        self.records.push(record);
                    }
                }
                self.send(at, request, &Frame::RecAck { session: 5, results });
            }
            Frame::Pull { from, .. } => {
                assert!(from >= self.first, "the log does not go back to {from}");
                let items: Vec<_> = (from..self.end())
                    .take(self.page_items)
                    .map(|pos| Item { pos, envelope: self.log[pos as usize - 1].clone() })
                    .collect();
                let next = from + items.len() as u64;
                let more = next < self.end();
                let roll = self.cursor(next).roll;
                self.connections[at].as_mut().unwrap().subscribed |= !more;
                self.send(at, request, &Frame::Items { session: 5, items, next, roll, more });
            }
            Frame::Push { envelopes, .. } => {
                let results = envelopes.into_iter().map(|bytes| self.take(at, bytes)).collect();
                self.send(at, request, &Frame::PushAck { session: 5, results });
            }
            Frame::Want { ranges, objects, .. } => {
                self.ranges.extend(ranges.iter().map(|range| (request, *range)));
                let wanted = |bytes: &Vec<u8>| {
                    let (device, seq) = place(bytes);
                    ranges
                        .iter()
                        .any(|range| range.stream == StreamId([device; 16]) && (range.from..=range.to).contains(&seq))
                };
                let log = self.log.iter().skip(self.first as usize - 1).filter(|bytes| wanted(bytes));
                let kept = self.objects.iter().filter(|bytes| objects.contains(&object_id(bytes)));
                let items: Vec<_> = log.chain(kept).map(|bytes| Item { pos: 0, envelope: bytes.clone() }).collect();
                for item in items {
                    let items = vec![item];
                    self.send(at, request, &Frame::Items { session: 5, items, next: 0, roll: Roll::ZERO, more: true });
                }
                let items = Vec::new();
                self.send(at, request, &Frame::Items { session: 5, items, next: 0, roll: Roll::ZERO, more: false });
            }
            Frame::WantRest { object, from, .. } => self.give_rest(at, request, &object, from as usize),
            Frame::Offer { objects, .. } => {
                let held: Vec<_> = self.objects.iter().map(|bytes| object_id(bytes)).collect();
                let objects = objects.into_iter().filter(|id| !held.contains(id)).collect();
                self.send(at, request, &Frame::Lack { session: 5, objects });
            }
            Frame::Wakeup { .. } => self.send(at, request, &Frame::WakeupAck { session: 5, status: self.wakes }),
            Frame::Have { .. } => self.send(at, request, &Frame::Have { session: 5, streams: self.have() }),
            Frame::LogStatementWant { .. } => {
                let (log, rec_heads) = (self.forged.unwrap_or_else(|| self.cursor(self.end())), heads(&self.records));
                let message = statement_message(&SPACE, &log, &rec_heads, 9);
                let signature = sign(&self.keys, &message);
                self.send(at, request, &Frame::LogStatement { space: SPACE, log, rec_heads, time_ms: 9, signature });
            }
            Frame::Ping { payload } => self.send(at, request, &Frame::Pong { payload }),
            other => panic!("the relay got {other:?}"),
        }
    }

    fn take(&mut self, from: usize, bytes: Vec<u8>) -> PushResult {
        if let Some(status) = self.refuse_next.take() {
            return PushResult { status, pos: None };
        }
        if crate::receipt::looks_like_one(&bytes) {
            for at in (0..self.connections.len()).filter(|at| *at != from) {
                if self.connections[at].as_ref().is_some_and(|connection| connection.subscribed) {
                    self.send(at, 0, &Frame::Ephemeral { session: 5, envelope: bytes.clone() });
                }
            }
            self.receipts.push(bytes);
            return PushResult { status: PushStatus::Ok, pos: None };
        }
        if bytes.len() == OBJECT_BYTES {
            self.objects.push(bytes);
            return PushResult { status: PushStatus::Ok, pos: None };
        }
        let (device, seq) = place(&bytes);
        if self.forgetful {
            return PushResult { status: PushStatus::Dup, pos: None };
        }
        if let Some(at) = self.log.iter().position(|held| *held == bytes) {
            return PushResult { status: PushStatus::Dup, pos: Some(at as u64 + 1) };
        }
        let expected = self.log.iter().filter(|held| place(held).0 == device).count() as u32 + 1;
        if seq != expected {
            return PushResult { status: PushStatus::Gap { expected }, pos: None };
        }
        self.log.push(bytes.clone());
        let pos = self.log.len() as u64;
        let roll = self.cursor(self.end()).roll;
        for at in 0..self.connections.len() {
            if self.connections[at].as_ref().is_some_and(|connection| connection.subscribed)
                && (at != from || self.echo)
            {
                let items = vec![Item { pos, envelope: bytes.clone() }];
                self.send(at, 0, &Frame::Notify { session: 5, items, roll, behind: false });
            }
        }
        PushResult { status: PushStatus::Ok, pos: Some(pos) }
    }

    fn send(&mut self, at: usize, request: u32, frame: &Frame) {
        self.connections[at].as_mut().unwrap().out.push_back(frame.encode(request));
    }
}

/// A device: what is on its disk, and perhaps a session.
pub(super) struct Device {
    pub(super) number: u8,
    keys: Ed25519KeyPair,
    pub(super) records: Vec<Vec<u8>>,
    stream: Vec<SealedEnvelope>,
    received: Vec<(u8, u32)>,
    cursor: Option<Cursor>,
    acked: u32,
    pinned: Option<SignPk>,
    pub(super) session: Option<Session>,
    pub(super) idle: bool,
    /// What the store will say when it is asked for one.
    pub(super) receipt: Option<SealedEnvelope>,
    /// Objects kept here.
    objects: Vec<Vec<u8>>,
    /// First bytes of objects.
    partial: std::collections::BTreeMap<EnvelopeId, Vec<u8>>,
    /// A checkpoint's chunks, and of which streams it has how much.
    checkpoint: (Vec<EnvelopeId>, Vec<(u8, u32)>),
    pub(super) by_streams: bool,
    pub(super) seen: Vec<Output>,
}

impl Device {
    fn new(number: u8) -> Self {
        Self {
            number,
            keys: keys(number),
            records: Vec::new(),
            stream: Vec::new(),
            received: Vec::new(),
            cursor: None,
            acked: 0,
            pinned: None,
            session: None,
            idle: false,
            receipt: None,
            objects: Vec::new(),
            partial: Default::default(),
            checkpoint: (Vec::new(), Vec::new()),
            by_streams: false,
            seen: Vec::new(),
        }
    }

    fn have(&self) -> Vec<Have> {
        have(self.stream.iter().map(|own| (self.number, own.seq)).chain(self.received.iter().copied()))
    }

    pub(super) fn write(&mut self, count: u32) {
        for _ in 0..count {
            self.stream.push(envelope(self.number, self.stream.len() as u32 + 1));
        }
        self.tell(Input::OutboxChanged);
    }

    fn tell(&mut self, input: Input) {
        self.idle = false;
        if let Some(session) = &mut self.session {
            session.handle(input);
        }
    }

    pub(super) fn connect(&mut self, relay: &mut Relay) {
        relay.connections[usize::from(self.number)] = Some(Connection::default());
        self.idle = false;
        self.session = Some(Session::new(SessionConfig {
            space: SPACE,
            device: public(&self.keys),
            relay_key: self.pinned,
            relay_address: "ws://relay.example".into(),
            nonce: [self.number; 32],
            rec_heads: heads(&self.records),
            cursor: self.cursor,
            acked_seq: self.acked,
            have_digest: have_digest(&self.have()),
            by_streams: self.by_streams.then_some((StreamId([self.number; 16]), self.stream.len() as u32)),
            receipt_every_ms: 60_000,
            wakeup: None,
            now_ms: 0,
        }));
    }

    fn drop_connection(&mut self, relay: &mut Relay) {
        relay.connections[usize::from(self.number)] = None;
        self.session = None;
    }

    /// Does one output; false when there was none.
    pub(super) fn step(&mut self, relay: &mut Relay) -> bool {
        let Some(output) = self.session.as_mut().and_then(Session::poll) else { return false };
        self.seen.push(output.clone());
        let answer = match output {
            Output::Send(bytes) => {
                relay.answer(usize::from(self.number), &bytes);
                return true;
            }
            Output::Sign { message } => Input::Signed(sign(&self.keys, &message)),
            Output::PinRelay(key) => {
                self.pinned = Some(key);
                return true;
            }
            Output::StoreRecords(records) => {
                let fresh: Vec<_> = records.into_iter().filter(|record| !self.records.contains(record)).collect();
                self.records.extend(fresh);
                Input::RecordsStored { heads: heads(&self.records) }
            }
            Output::LoadRecords { known } => {
                let named = |record: Vec<u8>| (heads(std::slice::from_ref(&record))[0], record);
                Input::Records(missing(&self.records, &known).into_iter().map(named).collect())
            }
            Output::RecordsRefused(refused) => {
                let kept = self.records.iter().position(|record| refused.contains(&record_id(record)));
                self.records.truncate(kept.unwrap_or(self.records.len()));
                Input::RecordsTakenBack { heads: heads(&self.records), changed: kept.is_some() }
            }
            Output::RecordsEqual { .. } => Input::OutboxChanged,
            Output::LogChanged(_) => {
                (self.cursor, self.acked) = (None, 0);
                return true;
            }
            Output::StorePage { items, cursor, rolls } => {
                let end = cursor.map_or(0, |cursor| cursor.pos);
                let passed = ((end + 1).saturating_sub(rolls.rolls.len() as u64)..=end).collect::<Vec<_>>();
                let passed = if rolls.rolls.is_empty() { Vec::new() } else { passed };
                assert!(
                    passed.iter().all(|pos| rolls.at(*pos) == Some(relay.cursor(*pos).roll)),
                    "hashes of {passed:?}"
                );
                // The store takes what it holds for a duplicate; what is new must be new.
                for item in items {
                    let place = place(&item.envelope);
                    let own = place.0 == self.number;
                    if !own && !self.received.contains(&place) {
                        self.received.push(place);
                    }
                }
                self.cursor = cursor.or(self.cursor);
                Input::PageStored
            }
            Output::LoadOutbox { after_seq, envelopes_max, .. } => {
                let envelopes = self.stream.iter().skip(after_seq as usize).take(envelopes_max).cloned().collect();
                Input::Outbox { after_seq, envelopes }
            }
            Output::LoadHeld => Input::Held(self.have()),
            Output::LoadStream(StreamPart { stream, from, to, envelopes_max, .. }) => {
                let envelopes = (from..=to).map(|seq| envelope(stream.0[0], seq)).take(envelopes_max).collect();
                Input::Stream { stream, envelopes }
            }
            Output::Acked { through_seq } => {
                self.acked = through_seq;
                return true;
            }
            Output::Bootstrap { missing, .. } => {
                let (chunks, places) = self.checkpoint.clone();
                let is_here = |id: &EnvelopeId| self.objects.iter().any(|bytes| object_id(bytes) == *id);
                let lacking: Vec<_> = chunks.iter().filter(|id| !is_here(id)).copied().collect();
                Input::Bootstrap(match lacking.is_empty() {
                    _ if chunks.is_empty() || !missing.is_empty() => Bootstrap::None,
                    false => Bootstrap::Fetch(lacking),
                    true => {
                        self.received.extend(
                            places.into_iter().flat_map(|(device, end)| (1..=end).map(move |seq| (device, seq))),
                        );
                        Bootstrap::Taken
                    }
                })
            }
            Output::LoadPartial(id) => Input::Partial(id, self.partial.get(&id).cloned().unwrap_or_default()),
            Output::KeepPartial { id, from, bytes } => return self.keep_partial(id, from, &bytes),
            Output::StoreObject(_, bytes) => {
                self.objects.push(bytes);
                Input::ObjectStored
            }
            Output::LoadObjects => Input::ObjectsKept(self.objects.iter().map(|bytes| object_id(bytes)).collect()),
            Output::LoadObject(id) => {
                Input::Object { id, bytes: self.objects.iter().find(|bytes| object_id(bytes) == id).cloned() }
            }
            Output::LoadReceipt => Input::OwnReceipt(self.receipt.take()),
            Output::Idle => {
                self.idle = true;
                return true;
            }
            _ => return true,
        };
        self.tell(answer);
        true
    }

    pub(super) fn receive(&mut self, relay: &mut Relay) -> bool {
        let Some(connection) = relay.connections[usize::from(self.number)].as_mut() else { return false };
        let Some(bytes) = connection.out.pop_front() else { return false };
        self.tell(Input::Frame(bytes));
        true
    }

    pub(super) fn error(&self) -> Option<&SessionError> {
        self.seen.iter().find_map(|output| match output {
            Output::Close(error) => Some(error),
            _ => None,
        })
    }

    fn stopped(&self) -> Option<PushStop> {
        self.seen.iter().find_map(|output| match output {
            Output::PushStopped(reason) => Some(*reason),
            _ => None,
        })
    }
}

pub(super) fn settle(relay: &mut Relay, devices: &mut [Device]) {
    for _ in 0..10_000 {
        let mut moved = false;
        for device in devices.iter_mut() {
            while device.step(relay) {
                moved = true;
            }
            moved |= device.receive(relay);
        }
        if !moved {
            return;
        }
    }
    panic!("the session and the relay never come to rest");
}

pub(super) fn pair() -> (Relay, Vec<Device>) {
    let mut devices = vec![Device::new(0), Device::new(1)];
    devices.iter_mut().for_each(|device| device.records = vec![b"genesis".to_vec()]);
    (Relay::new(2), devices)
}

#[test]
fn a_new_space_is_seeded_and_two_devices_converge() {
    let (mut relay, mut devices) = pair();
    devices[0].records.push(b"epoch".to_vec());
    devices[0].write(7);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert!(devices[0].idle);
    assert_eq!(relay.records, devices[0].records);
    assert_eq!((relay.log.len(), devices[0].acked), (7, 7));

    devices[1].write(2);
    devices[1].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!(devices[1].records, devices[0].records);
    assert_eq!(devices[1].received, (1..=7).map(|seq| (0, seq)).collect::<Vec<_>>());
    assert_eq!(devices[0].received, vec![(1, 1), (1, 2)]);
    assert!(devices.iter().all(|device| device.idle && device.cursor == Some(relay.cursor(10))));
}

#[test]
fn a_new_space_with_more_records_than_a_frame_holds_is_opened_after_the_first() {
    let (mut relay, mut devices) = pair();
    devices[0].records.extend((0..600_u32).map(|number| number.to_be_bytes().to_vec()));
    devices[0].write(2);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!(devices[0].error(), None);
    assert_eq!(relay.records, devices[0].records);
    assert_eq!((relay.log.len(), devices[0].idle), (2, true));
}

#[test]
fn a_relay_put_back_behind_the_cursor_gets_the_last_edits_without_a_new_one() {
    let (mut relay, mut devices) = pair();
    devices[0].write(5);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    relay.log.truncate(2);
    // The cursor was not saved after the last edits, so it lies on the shorter log too.
    devices[0].cursor = Some(relay.cursor(3));
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!(relay.log.len(), 5);
    assert!(devices[0].idle && !devices[0].seen.iter().any(|output| matches!(output, Output::LogChanged(_))));
}

#[test]
fn what_a_relay_refuses_is_taken_back_once_and_what_comes_after_it_goes() {
    let (mut relay, mut devices) = pair();
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    let before = devices[0].records.clone();
    relay.full = Some(b"too much".to_vec());
    devices[0].records.extend([b"too much".to_vec(), b"upon it".to_vec()]);
    let written = heads(&devices[0].records);
    devices[0].tell(Input::RecordsChanged { heads: written });
    settle(&mut relay, &mut devices);
    assert_eq!((&devices[0].records, devices[0].idle), (&before, true));
    let refused = [b"too much".to_vec(), b"upon it".to_vec()].map(|record| record_id(&record)).to_vec();
    let told: Vec<_> = devices[0].seen.iter().filter(|output| matches!(output, Output::RecordsRefused(_))).collect();
    assert_eq!(told, [&Output::RecordsRefused(refused.clone())]);
    // What was not stored is never said to be.
    let equal = devices[0].seen.iter().rev().find_map(|output| match output {
        Output::RecordsEqual { heads, untaken } => Some((heads.clone(), untaken.clone())),
        _ => None,
    });
    let (equal, mut untaken) = equal.unwrap();
    untaken.sort_unstable();
    let mut expected = refused;
    expected.sort_unstable();
    assert_eq!((equal, untaken), (heads(&before), expected));
    devices[0].records.push(b"removal".to_vec());
    let written = heads(&devices[0].records);
    devices[0].tell(Input::RecordsChanged { heads: written });
    settle(&mut relay, &mut devices);
    assert_eq!(relay.records, devices[0].records);
    assert!(devices[0].idle && devices[0].error().is_none());
}

#[test]
fn records_made_while_live_reach_the_relay() {
    let (mut relay, mut devices) = pair();
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    devices[0].records.push(b"device add".to_vec());
    let heads = heads(&devices[0].records);
    devices[0].tell(Input::RecordsChanged { heads });
    settle(&mut relay, &mut devices);
    assert_eq!(relay.records, devices[0].records);
    assert!(devices[0].idle);
}

#[test]
fn the_first_relay_key_is_reported_and_another_one_is_refused() {
    let (mut relay, mut devices) = pair();
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!(devices[0].pinned, Some(public(&relay.keys)));
    relay.keys = keys(201);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert!(matches!(devices[0].error(), Some(SessionError::WrongRelayKey { .. })));
    assert!(devices[0].error().unwrap().is_trust());
}

#[test]
fn a_relay_of_another_address_is_refused_unless_its_key_is_pinned() {
    let (mut relay, mut devices) = pair();
    relay.origin = "ws://another.example";
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!(devices[0].error(), Some(&SessionError::WrongOrigin));
    assert!(devices[0].error().unwrap().is_trust());
    assert_eq!(devices[0].pinned, None);
    // The accepted twin: a key says who it is, whatever way leads there.
    devices[0].pinned = Some(public(&relay.keys));
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert!(devices[0].idle);
}

#[test]
fn a_relay_without_the_key_it_shows_is_refused_and_not_pinned() {
    let (mut relay, mut devices) = pair();
    devices[0].connect(&mut relay);
    for _ in 0..3 {
        while devices[0].step(&mut relay) {}
        relay.keys = keys(201);
        devices[0].receive(&mut relay);
    }
    while devices[0].step(&mut relay) {}
    assert_eq!(devices[0].error(), Some(&SessionError::RelaySignature));
    assert_eq!(devices[0].pinned, None);
}

#[test]
fn what_a_relay_shows_it_signs_once_a_connection_and_must_be_the_same() {
    let (mut relay, mut devices) = pair();
    devices[0].write(3);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    let said: Vec<_> = devices[0]
        .seen
        .iter()
        .filter_map(|seen| if let Output::Statement(said) = seen { Some(said) } else { None })
        .collect();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].verify(&public(&relay.keys)), Ok(()));
    // It signs another hash for the place that it has just shown.
    let mut forged = relay.cursor(relay.end());
    forged.roll.0[0] ^= 1;
    relay.forged = Some(forged);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert!(matches!(devices[0].error(), Some(SessionError::Misbehaved(_))));
}

#[test]
fn every_refusal_of_a_push_is_told_apart() {
    let fork = PushStatus::Fork { existing: EnvelopeId([0; 32]) };
    let cases = [
        (fork, PushStop::Fork),
        (PushStatus::Removed, PushStop::Removed),
        (PushStatus::NotWriter, PushStop::NotWriter),
        (PushStatus::NotMember, PushStop::NotWriter),
        (PushStatus::BadSignature, PushStop::Refused),
        (PushStatus::Gap { expected: 99 }, PushStop::Inconsistent),
        (PushStatus::Gap { expected: 0 }, PushStop::Inconsistent),
    ];
    for (status, stop) in cases {
        let (mut relay, mut devices) = pair();
        relay.refuse_next = Some(status);
        devices[0].write(1);
        devices[0].connect(&mut relay);
        settle(&mut relay, &mut devices);
        assert_eq!(devices[0].stopped(), Some(stop), "{status:?}");
        assert_eq!(devices[0].acked, 0);
    }
}

#[test]
fn an_unknown_epoch_sends_the_records_again_and_then_the_envelope() {
    let (mut relay, mut devices) = pair();
    relay.refuse_next = Some(PushStatus::UnknownEpoch);
    devices[0].write(3);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert_eq!((relay.log.len(), devices[0].stopped()), (3, None));
    assert!(devices[0].idle);
}

#[test]
fn a_full_quota_pauses_pushing_and_time_resumes_it() {
    let (mut relay, mut devices) = pair();
    relay.refuse_next = Some(PushStatus::Quota);
    devices[0].write(3);
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    assert!(relay.log.is_empty() && !devices[0].idle);
    devices[0].tell(Input::Tick(30_000));
    settle(&mut relay, &mut devices);
    assert!(relay.log.is_empty());
    devices[0].tell(Input::Tick(59_000));
    devices[0].tell(Input::Tick(60_000));
    settle(&mut relay, &mut devices);
    assert_eq!(relay.log.len(), 3);
}

#[test]
fn silence_is_first_asked_about_and_then_ends_the_session() {
    let (mut relay, mut devices) = pair();
    devices[0].connect(&mut relay);
    settle(&mut relay, &mut devices);
    devices[0].tell(Input::Tick(26_000));
    settle(&mut relay, &mut devices);
    assert_eq!(devices[0].error(), None);
    devices[0].tell(Input::Tick(26_000 + SILENCE_MS_MAX + 1));
    settle(&mut relay, &mut devices);
    assert_eq!(devices[0].error(), Some(&SessionError::Timeout));
}

#[test]
fn a_relay_that_never_answers_is_given_up() {
    let (mut relay, mut devices) = pair();
    devices[0].connect(&mut relay);
    devices[0].tell(Input::Tick(HANDSHAKE_MS_MAX + 1));
    let session = devices[0].session.as_mut().unwrap();
    assert!(std::iter::from_fn(|| session.poll()).any(|output| output == Output::Close(SessionError::Timeout)));
    assert!(session.is_closed());
}

#[test]
fn a_relay_of_another_version_is_told_apart_and_not_retried_blindly() {
    let refusal = |code| {
        let (mut relay, mut devices) = pair();
        devices[0].connect(&mut relay);
        let hello = devices[0].session.as_mut().and_then(Session::poll);
        let Some(Output::Send(hello)) = hello else { panic!("{hello:?}") };
        let (request, _) = Frame::decode(&hello).unwrap();
        let refused = Frame::Error { code, fatal: true, retry_after_ms: 0, message: "the relay's own words".into() };
        devices[0].tell(Input::Frame(refused.encode(request)));
        settle(&mut relay, &mut devices);
        assert!(devices[0].session.as_ref().unwrap().is_closed() && devices[0].pinned.is_none());
        devices[0].error().cloned().unwrap()
    };
    let version = refusal(ErrorCode::Version);
    assert_eq!(version, SessionError::Refused { code: ErrorCode::Version, retry_after_ms: 0 });
    assert!(!version.is_transient() && !version.is_trust());
    let text = version.to_string();
    assert!(text.contains("update this app or the relay") && !text.contains("own words"), "{text}");
    // The accepted twin: a relay that is stopping is tried again.
    assert!(refusal(ErrorCode::GoingAway).is_transient());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn garbage_ends_in_a_typed_error(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..6)) {
        let (mut relay, mut devices) = pair();
        devices[0].connect(&mut relay);
        settle(&mut relay, &mut devices);
        for frame in frames {
            devices[0].tell(Input::Frame(frame));
        }
        while devices[0].session.as_mut().unwrap().poll().is_some() {}
    }

    #[test]
    fn random_drops_and_wipes_lose_and_repeat_nothing(
        steps in prop::collection::vec((0_u8..8, 0_usize..2, 0_u32..5), 1..80),
        echo: bool,
    ) {
        let (mut relay, mut devices) = pair();
        relay.echo = echo;
        for (step, at, amount) in steps {
            match step {
                0 => devices[at].drop_connection(&mut relay),
                1 | 2 => devices[at].connect(&mut relay),
                3 => devices[at].write(amount),
                4 if amount == 0 => {
                    (0..2).for_each(|at| devices[at].drop_connection(&mut relay));
                    relay.log.clear();
                    relay.records.clear();
                    relay.log_id.0[0] += 1;
                }
                5 => _ = devices[at].receive(&mut relay),
                _ => _ = (0..=amount).take_while(|_| devices[at].step(&mut relay)).count(),
            }
        }
        devices.iter_mut().for_each(|device| device.connect(&mut relay));
        settle(&mut relay, &mut devices);
        devices.iter_mut().for_each(|device| device.tell(Input::OutboxChanged));
        settle(&mut relay, &mut devices);
        for (at, device) in devices.iter().enumerate() {
            prop_assert_eq!(device.error(), None);
            prop_assert!(device.idle);
            let other: Vec<_> = devices[1 - at].stream.iter().map(|sealed| (1 - at as u8, sealed.seq)).collect();
            prop_assert_eq!(&device.received, &other);
            prop_assert_eq!(device.cursor.map_or(1, |cursor| cursor.pos), relay.end());
        }
        prop_assert_eq!(relay.log.len(), devices[0].stream.len() + devices[1].stream.len());
    }
}
