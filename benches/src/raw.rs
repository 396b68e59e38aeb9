//! Bare clients of the relay and of the yardstick: finished envelopes in, acknowledgements and deliveries out,
//! with nothing behind them that could slow the side under test down.

use std::path::Path;

use futures_util::{SinkExt as _, StreamExt as _};
use lifeos_client_core::crypto::{SeededRandom, random_bytes};
use lifeos_client_core::delta::Delta;
use lifeos_client_core::envelope::{self, StreamTip};
use lifeos_client_core::keys::{DeviceKeys, DeviceRoot, EpochSecret, OwnKeys, PhraseLength, RecoveryPhrase};
use lifeos_client_core::keystore::system_keystore;
use lifeos_client_core::records::{self, Founding};
use lifeos_client_core::store::{Store, unlock_device_root};
use lifeos_sync_protocol::envelope::stream_id;
use lifeos_sync_protocol::frame::{Frame, PeerRole};
use lifeos_sync_protocol::handshake::{PROTO_MAX, PROTO_MIN, auth_message, transcript_hash};
use lifeos_sync_protocol::ids::{EpochRef, MemberId, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::yard;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A space, its one device, and where its stream stands.
pub(crate) struct Author {
    keys: DeviceKeys,
    space: SpaceId,
    epoch: EpochRef,
    secret: EpochSecret,
    tip: StreamTip,
    random: SeededRandom,
    records: Vec<Vec<u8>>,
}

impl Author {
    /// Founds a space.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = SeededRandom::new(seed);
        let genesis_random = random_bytes::<32>(&mut random);
        let keys = DeviceRoot::generate(&mut random).derive_space(&genesis_random);
        let recovery = RecoveryPhrase::generate(PhraseLength::Words12, &mut random).derive_home();
        let member = MemberId(random_bytes(&mut random));
        let founding = Founding { genesis_random, member, keys: &keys, recovery: &recovery, relays: Vec::new() };
        let founded = records::found_space(&founding, &mut random).expect("a space");
        let (space, device, r32) = (founded.space, keys.sign_pk(), random_bytes::<32>(&mut random));
        let tip = StreamTip { stream: stream_id(&space, &device, &r32), device, seq: 0, id: r32 };
        let records = vec![founded.genesis.bytes().to_vec(), founded.epoch.bytes().to_vec()];
        Self { keys, space, epoch: founded.epoch_ref, secret: founded.secret, tip, random, records }
    }

    /// The device of a home whose program does not run: it goes on with the stream, and never tells the home.
    pub(crate) fn of(home: &Path) -> Self {
        let root = unlock_device_root(home, system_keystore(), None).expect("a key");
        let store = Store::open(home).expect("a home");
        let space =
            store.reads().spaces().expect("spaces").into_iter().find(|space| space.home).expect("a space").space;
        let keys = root.derive_space(&store.genesis_random(&space).expect("a space"));
        let held = store.records(&space).expect("records");
        let membership = Membership::evaluate(&space, &held).expect("a membership");
        let epoch = membership.current_epoch().expect("an epoch");
        let keyring = records::unlock_epochs(&membership, &held, OwnKeys::first(&keys)).keyring;
        let secret = keyring.find(&epoch).expect("its secret").clone();
        let tip = store.own_tip(&space).expect("a stream");
        let records = held.iter().map(|record| record.bytes().to_vec()).collect();
        Self { keys, space, epoch, secret, tip, random: SeededRandom::new(5), records }
    }

    /// Its space.
    pub(crate) fn space(&self) -> &SpaceId {
        &self.space
    }

    /// The device.
    pub(crate) fn device(&self) -> SignPk {
        self.tip.device
    }

    /// The stream it writes.
    pub(crate) fn stream(&self) -> StreamId {
        self.tip.stream
    }

    /// Seals `count` envelopes of 428 bytes, the smallest there are.
    pub(crate) fn seal(&mut self, count: usize) -> Vec<Vec<u8>> {
        let delta = |index: usize| Delta { app: (index as u64).to_be_bytes().repeat(16), ..Delta::default() };
        (0..count).map(|index| self.seal_delta(&delta(index))).collect()
    }

    /// The next envelope of the stream.
    pub(crate) fn seal_delta(&mut self, delta: &Delta) -> Vec<u8> {
        let Self { space, tip, keys, epoch, secret, random, .. } = self;
        let sealed = envelope::seal(space, tip, keys, *epoch, secret, delta, random).expect("sealed");
        (tip.seq, tip.id) = (sealed.seq, sealed.id.0);
        sealed.bytes
    }
}

/// A connection to either relay.
pub(crate) struct Peer {
    socket: Socket,
    session: Option<u32>,
    req_id: u32,
    position: u64,
}

/// What a peer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Pushes.
    Writer,
    /// Reads live.
    Reader,
    /// Reads from the start.
    CatchUp,
}

impl Peer {
    /// Connects to the yardstick.
    pub(crate) async fn yard(url: &str, role: Role) -> Self {
        let mut socket = connect(url).await;
        let byte = match role {
            Role::Writer => b'W',
            Role::Reader => b'R',
            Role::CatchUp => b'C',
        };
        socket.send(Message::Binary(vec![byte].into())).await.expect("sent");
        Self { socket, session: None, req_id: 0, position: 1 }
    }

    /// Connects to the relay, proves the key, founds the space if it is not there, and for a reader subscribes.
    pub(crate) async fn relay(url: &str, author: &Author, role: Role) -> Self {
        let socket = connect(&format!("{}/sync", url.split('#').next().unwrap_or(url))).await;
        let mut peer = Self { socket, session: None, req_id: 1, position: 1 };
        let hello = Frame::Hello {
            proto_min: PROTO_MIN,
            proto_max: PROTO_MAX,
            role: PeerRole::Client,
            nonce: [role as u8; 32],
            features: 0,
        }
        .encode(1);
        peer.socket.send(Message::Binary(hello.clone().into())).await.expect("sent");
        let challenge = peer.bytes().await;
        let transcript = transcript_hash(&hello, &challenge, &author.space, &author.keys.sign_pk());
        let signature = author.keys.sign(&auth_message(&transcript));
        let Frame::Welcome { session, known, .. } =
            peer.ask(Frame::Auth { space: author.space, device: author.keys.sign_pk(), signature }).await
        else {
            panic!("the relay does not welcome the device")
        };
        peer.session = Some(session);
        if !known {
            let answer = peer.ask(Frame::Rec { session, records: author.records.clone(), more: false }).await;
            assert!(matches!(answer, Frame::RecAck { .. }), "the relay refuses the space: {answer:?}");
        }
        peer.ask(Frame::Open { session, rec_heads: Vec::new(), cursor: None }).await;
        if role == Role::Reader {
            while peer.page().await.is_some() {}
        }
        peer
    }

    async fn bytes(&mut self) -> Vec<u8> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => return bytes.to_vec(),
                Some(Ok(_)) => {}
                other => panic!("the connection ended: {other:?}"),
            }
        }
    }

    async fn frame(&mut self) -> Frame {
        let bytes = self.bytes().await;
        Frame::decode(&bytes).expect("a frame").1
    }

    /// Sends a frame and waits for its answer; frames that are no answer are passed over.
    async fn ask(&mut self, frame: Frame) -> Frame {
        self.req_id += 1;
        let wanted = self.req_id;
        self.socket.send(Message::Binary(frame.encode(wanted).into())).await.expect("sent");
        loop {
            let bytes = self.bytes().await;
            let (req_id, frame) = Frame::decode(&bytes).expect("a frame");
            if req_id == wanted {
                return frame;
            }
        }
    }

    /// Sends envelopes in one frame, without waiting.
    pub(crate) async fn push(&mut self, envelopes: &[Vec<u8>]) {
        let bytes = match self.session {
            Some(session) => {
                self.req_id += 1;
                Frame::Push { session, envelopes: envelopes.to_vec() }.encode(self.req_id)
            }
            None => yard::join(envelopes),
        };
        self.socket.send(Message::Binary(bytes.into())).await.expect("sent");
    }

    /// Ends the connection: the relay hears of it.
    pub(crate) async fn close(mut self) {
        let _ = self.socket.close(None).await;
    }

    /// Waits for the next acknowledgement; the number of envelopes it covers.
    pub(crate) async fn acked(&mut self) -> usize {
        if self.session.is_none() {
            let bytes = self.bytes().await;
            return u32::from_be_bytes(bytes.as_slice().try_into().expect("a count")) as usize;
        }
        loop {
            match self.frame().await {
                Frame::PushAck { results, .. } => {
                    assert!(results.iter().all(|result| result.status.is_stored()), "not stored: {results:?}");
                    return results.len();
                }
                Frame::Error { code, message, .. } => panic!("the relay refuses: {code:?} {message}"),
                _ => {}
            }
        }
    }

    /// Waits for the next live delivery; the number of envelopes in it.
    pub(crate) async fn delivered(&mut self) -> usize {
        if self.session.is_none() {
            self.bytes().await;
            return 1;
        }
        loop {
            match self.frame().await {
                Frame::Notify { items, behind, .. } => {
                    assert!(!behind, "the reader was told that it is behind");
                    return items.len();
                }
                Frame::Error { code, message, .. } => panic!("the relay refuses: {code:?} {message}"),
                _ => {}
            }
        }
    }

    /// The next page of the log; the number of envelopes in it, `None` at the end.
    pub(crate) async fn page(&mut self) -> Option<usize> {
        let Some(session) = self.session else {
            let bytes = self.bytes().await;
            let count = count(&bytes);
            return (count > 0).then_some(count);
        };
        let frame = Frame::Pull { session, from: self.position, bytes_max: 256 << 10, items_max: 1024 };
        let Frame::Items { items, next, more, .. } = self.ask(frame).await else { panic!("no page") };
        self.position = next;
        (more || !items.is_empty()).then_some(items.len())
    }
}

fn count(mut rest: &[u8]) -> usize {
    let mut count = 0;
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        rest = tail.get(u32::from_be_bytes(*head) as usize..).unwrap_or_default();
        count += 1;
    }
    count
}

async fn connect(url: &str) -> Socket {
    let config = yard::websocket();
    tokio_tungstenite::connect_async_with_config(url, Some(config), true).await.expect("a connection").0
}
