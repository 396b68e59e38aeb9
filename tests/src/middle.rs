//! A man in the middle: passes websocket frames between a client and a relay and spoils one of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// How a frame is spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Passed on as it is: the accepted twin of every other case.
    None,
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

/// A proxy in front of a relay.
pub struct Middle {
    /// Where clients connect.
    pub addr: SocketAddr,
    /// Frames that went from the relay to clients so far.
    pub passed: Arc<AtomicUsize>,
    /// Frames that were spoilt.
    pub harmed: Arc<AtomicUsize>,
}

impl Middle {
    /// Spoils the `nth` frame (0-based, over all connections) that the relay sends.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(relay: SocketAddr, nth: usize, harm: Harm) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (passed, harmed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counters = (Arc::clone(&passed), Arc::clone(&harmed));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(pass(socket, relay, nth, harm, counters.clone()));
            }
        });
        Self { addr, passed, harmed }
    }
}

async fn pass(
    socket: TcpStream,
    relay: SocketAddr,
    nth: usize,
    harm: Harm,
    counters: (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    let Ok(client) = tokio_tungstenite::accept_async(socket).await else { return };
    let Ok((server, _)) = tokio_tungstenite::connect_async(format!("ws://{relay}/sync")).await else { return };
    let ((mut to_client, mut from_client), (mut to_server, mut from_server)) = (client.split(), server.split());
    let up = async {
        while let Some(Ok(message)) = from_client.next().await {
            if to_server.send(message).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        while let Some(Ok(message)) = from_server.next().await {
            let spoilt = match message {
                Message::Binary(bytes) if counters.0.fetch_add(1, Ordering::SeqCst) == nth && harm != Harm::None => {
                    counters.1.fetch_add(1, Ordering::SeqCst);
                    spoil(&bytes, harm)
                }
                other => vec![other],
            };
            for message in spoilt {
                if to_client.send(message).await.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! { () = up => {}, () = down => {} }
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
        Harm::Truncate => vec![binary(bytes[..bytes.len() / 2].to_vec())],
        Harm::Empty => vec![binary(Vec::new())],
        Harm::Garbage => vec![binary((0..bytes.len()).map(|index| (index * 197 % 251) as u8).collect())],
        Harm::Replay => vec![binary(bytes.to_vec()), binary(bytes.to_vec())],
        Harm::Drop => Vec::new(),
        Harm::Oversize => vec![binary(bytes.to_vec()), binary(vec![0; 5 << 20])],
        Harm::Text => vec![Message::Text("hello".into())],
    }
}
