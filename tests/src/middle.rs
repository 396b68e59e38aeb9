//! A man in the middle: passes websocket frames between a client and a relay and spoils one of them, or keeps all new
//! records back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use lifeos_sync_protocol::frame::{Frame, Have};
use lifeos_sync_protocol::ids::RecordId;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// How a frame is spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Harm {
    /// Passed on as it is: the accepted twin of every other case.
    #[default]
    None,
    /// One bit of the last byte is flipped: in a page, that of the last envelope's signature (or of what follows it).
    FlipEnd {
        /// Counted from the end.
        back: usize,
    },
    /// One bit of byte `len * at / 1000` is flipped.
    Flip {
        /// Where, in thousandths of the length.
        at: usize,
    },
    /// Cut to half.
    Truncate,
    /// Nothing of it is left.
    Empty,
    /// Random bytes instead.
    Garbage,
    /// Sent twice.
    Replay,
    /// Not sent.
    Drop,
    /// Followed by five MiB of zeros in one frame.
    Oversize,
    /// Text instead of binary.
    Text,
}

/// Which frame is spoilt, how, and what has happened since it was said.
#[derive(Debug, Clone, Default)]
struct Plan {
    nth: usize,
    harm: Harm,
    passed: usize,
    harmed: usize,
    withholds_records: bool,
    claims: Option<Vec<Have>>,
    claims_pruned: bool,
}

/// A slow line to clients, and what has gone over it.
#[derive(Debug, Default)]
struct Line {
    bytes_a_second: AtomicU64,
    bytes: AtomicU64,
}

/// Bytes that go over a slow line at once.
const STEP_BYTES: u64 = 16 * 1024;

impl Line {
    /// Takes as long as these bytes take, and counts them; a connection that breaks meanwhile has had a part.
    async fn carry(&self, message: &Message) {
        let mut left = message.len() as u64;
        while left > 0 {
            let step = left.min(STEP_BYTES);
            let rate = self.bytes_a_second.load(Ordering::Relaxed);
            if rate > 0 {
                tokio::time::sleep(Duration::from_secs_f64(step as f64 / rate as f64)).await;
            }
            self.bytes.fetch_add(step, Ordering::Relaxed);
            left -= step;
        }
    }
}

impl Plan {
    /// Whether the next frame is the one.
    fn next_is_spoilt(&mut self) -> bool {
        let hit = self.harm != Harm::None && self.passed == self.nth;
        self.passed += 1;
        self.harmed += usize::from(hit);
        hit
    }
}

/// A proxy in front of a relay.
pub struct Middle {
    /// Where clients connect, always: what they remember of the relay outlives the harm.
    pub addr: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    line: Arc<Line>,
}

impl Middle {
    /// Passes everything on until it is told otherwise.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(relay: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let plan = Arc::new(Mutex::new(Plan::default()));
        let line = Arc::new(Line::default());
        let (shared, shared_line) = (Arc::clone(&plan), Arc::clone(&line));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(pass(socket, relay, Arc::clone(&shared), Arc::clone(&shared_line)));
            }
        });
        Self { addr, plan, line }
    }

    /// From now on the `nth` frame (0-based, over all connections) that the relay sends is spoilt, once.
    pub fn spoil(&self, nth: usize, harm: Harm) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Plan { nth, harm, ..Plan::default() };
    }

    /// From now on clients are told that the relay holds the records that they hold, and no others.
    pub fn withhold_records(&self, withholds_records: bool) {
        let plan = Plan { withholds_records, ..Plan::default() };
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    /// From now on clients that ask what the relay holds hear this.
    pub fn claim(&self, held: Vec<Have>) {
        let plan = Plan { claims: Some(held), ..Plan::default() };
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    /// From now on clients hear that the place where they read the log is pruned, and, if it is given, that this is held.
    pub fn claim_pruned(&self, held: Option<Vec<Have>>) {
        let plan = Plan { claims: held, claims_pruned: true, ..Plan::default() };
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    /// From now on each client gets so many bytes a second at most; 0: as many as come.
    pub fn slow_down(&self, bytes_a_second: u64) {
        self.line.bytes_a_second.store(bytes_a_second, Ordering::Relaxed);
    }

    /// Bytes that went to clients, those included that were on their way when a connection broke.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.line.bytes.load(Ordering::Relaxed)
    }

    /// Frames spoilt since [`Self::spoil`].
    #[must_use]
    pub fn harmed(&self) -> usize {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).harmed
    }
}

async fn pass(socket: TcpStream, relay: SocketAddr, plan: Arc<Mutex<Plan>>, line: Arc<Line>) {
    let Ok(client) = tokio_tungstenite::accept_async(socket).await else { return };
    let Ok((server, _)) = tokio_tungstenite::connect_async(format!("ws://{relay}/sync")).await else { return };
    let ((mut to_client, mut from_client), (mut to_server, mut from_server)) = (client.split(), server.split());
    let client_heads = Mutex::new(Vec::new());
    let up = async {
        while let Some(Ok(message)) = from_client.next().await {
            if let Message::Binary(bytes) = &message
                && let Ok((_, Frame::Open { rec_heads, .. })) = Frame::decode(bytes)
            {
                *client_heads.lock().unwrap_or_else(PoisonError::into_inner) = rec_heads;
            }
            if to_server.send(message).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        while let Some(Ok(message)) = from_server.next().await {
            let messages = match message {
                Message::Binary(bytes) => {
                    let mut plan = plan.lock().unwrap_or_else(PoisonError::into_inner);
                    let harm = if plan.next_is_spoilt() { plan.harm } else { Harm::None };
                    if plan.withholds_records {
                        let heads = client_heads.lock().unwrap_or_else(PoisonError::into_inner);
                        without_records(&bytes, &heads).into_iter().collect()
                    } else if let (Some(streams), Ok((req_id, Frame::Have { session, .. }))) =
                        (plan.claims.clone(), Frame::decode(&bytes))
                    {
                        vec![Message::Binary(Frame::Have { session, streams }.encode(req_id).into())]
                    } else if plan.claims_pruned {
                        vec![as_pruned(&bytes)]
                    } else {
                        spoil(&bytes, harm)
                    }
                }
                other => vec![other],
            };
            for message in messages {
                line.carry(&message).await;
                if to_client.send(message).await.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! { () = up => {}, () = down => {} }
}

/// The frame of a relay that holds these records and no others.
fn without_records(bytes: &[u8], heads: &[RecordId]) -> Option<Message> {
    match Frame::decode(bytes) {
        Ok((req_id, Frame::State { session, log, cursor_ok, have_digest, quota, checkpoints, .. })) => {
            let rec_heads = heads.to_vec();
            let state = Frame::State { session, rec_heads, log, cursor_ok, have_digest, quota, checkpoints };
            Some(Message::Binary(state.encode(req_id).into()))
        }
        Ok((_, Frame::Rec { .. })) => None,
        _ => Some(Message::Binary(bytes.to_vec().into())),
    }
}

/// The frame of a relay that no longer has the place asked about, because of a checkpoint.
fn as_pruned(bytes: &[u8]) -> Message {
    let bytes = match Frame::decode(bytes) {
        Ok((req_id, Frame::State { session, rec_heads, log, have_digest, quota, .. })) => {
            let (cursor_ok, checkpoints) = (false, vec![RecordId([7; 32])]);
            let state = Frame::State { session, rec_heads, log, cursor_ok, have_digest, quota, checkpoints };
            state.encode(req_id)
        }
        _ => bytes.to_vec(),
    };
    Message::Binary(bytes.into())
}

fn spoil(bytes: &[u8], harm: Harm) -> Vec<Message> {
    let binary = |bytes: Vec<u8>| Message::Binary(bytes.into());
    match harm {
        Harm::None => vec![binary(bytes.to_vec())],
        Harm::Flip { at } => {
            let mut bytes = bytes.to_vec();
            let place = (bytes.len() * at / 1000).min(bytes.len().saturating_sub(1));
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << (at % 8);
            }
            vec![binary(bytes)]
        }
        Harm::FlipEnd { back } => {
            let mut bytes = bytes.to_vec();
            let place = bytes.len().saturating_sub(1 + back);
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 4;
            }
            vec![binary(bytes)]
        }
        Harm::Truncate => vec![binary(bytes[..bytes.len() / 2].to_vec())],
        Harm::Empty => vec![binary(Vec::new())],
        Harm::Garbage => vec![binary((0..bytes.len()).map(|index| (index * 197 % 251) as u8).collect())],
        Harm::Replay => vec![binary(bytes.to_vec()), binary(bytes.to_vec())],
        Harm::Drop => Vec::new(),
        Harm::Oversize => vec![binary(bytes.to_vec()), binary(vec![0; 5 << 20])],
        Harm::Text => vec![Message::Text("hello".into())],
    }
}
