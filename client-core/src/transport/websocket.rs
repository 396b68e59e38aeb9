//! The websocket to a relay: limits on every message, small buffers, a deadline on everything that waits.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use lifeos_sync_protocol::limits::FRAME_BYTES_MAX;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::{FrameReceiver, FrameSender, RelayUrl, TransportError};

/// Time for TCP, TLS and the upgrade together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the socket to take one frame. Long, because a frame of 4 MiB may cross a slow phone network;
/// whether the peer lives is the session's question, not this one's.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for a goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes read at once; the default of 128 KiB costs that much for every idle connection.
const READ_BUFFER_BYTES: usize = 16 * 1024;

#[cfg(not(feature = "simulation"))]
type Carrier = tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>;
#[cfg(feature = "simulation")]
type Carrier = tokio::io::DuplexStream;
type Socket = WebSocketStream<Carrier>;

/// Sending half.
#[derive(Debug)]
pub struct WsSender(SplitSink<Socket, Message>);

/// Receiving half.
#[derive(Debug)]
pub struct WsReceiver(SplitStream<Socket>);

/// Connects to a relay. `wss://` is checked against the common web roots.
///
/// # Errors
/// [`TransportError`].
pub async fn connect(url: &RelayUrl) -> Result<(WsSender, WsReceiver), TransportError> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(READ_BUFFER_BYTES)
        .max_write_buffer_size(2 * FRAME_BYTES_MAX)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    let connecting = open(url, config);
    let socket = timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| TransportError::Timeout)?.map_err(refused)?;
    let (sink, stream) = socket.split();
    Ok((WsSender(sink), WsReceiver(stream)))
}

#[cfg(not(feature = "simulation"))]
async fn open(url: &RelayUrl, config: WebSocketConfig) -> Result<Socket, WsError> {
    Ok(tokio_tungstenite::connect_async_with_config(url.endpoint(), Some(config), true).await?.0)
}

#[cfg(feature = "simulation")]
async fn open(url: &RelayUrl, config: WebSocketConfig) -> Result<Socket, WsError> {
    let carrier = super::simulated::dial(url.without_token())?;
    Ok(tokio_tungstenite::client_async_with_config(url.endpoint(), carrier, Some(config)).await?.0)
}

fn refused(error: WsError) -> TransportError {
    match error {
        WsError::Io(_) => TransportError::Unreachable(Box::new(error)),
        error => TransportError::NotARelay(Box::new(error)),
    }
}

fn lost(error: WsError) -> TransportError {
    match error {
        WsError::Capacity(_) | WsError::Utf8(_) => TransportError::BadMessage,
        error => TransportError::Lost(Some(Box::new(error))),
    }
}

impl FrameSender for WsSender {
    async fn send(&mut self, frame: Vec<u8>) -> Result<(), TransportError> {
        let sending = self.0.send(Message::Binary(frame.into()));
        timeout(SEND_TIMEOUT, sending).await.map_err(|_| TransportError::Timeout)?.map_err(lost)
    }

    async fn close(&mut self) {
        // A peer that does not take the goodbye is gone anyway.
        let _ = timeout(CLOSE_TIMEOUT, self.0.close()).await;
    }
}

impl FrameReceiver for WsReceiver {
    async fn recv(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        loop {
            return match self.0.next().await {
                None | Some(Ok(Message::Close(_)) | Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => {
                    Ok(None)
                }
                Some(Ok(Message::Binary(bytes))) => Ok(Some(bytes.into())),
                // Answered by the library while it reads.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(_)) => Err(TransportError::BadMessage),
                Some(Err(error)) => Err(lost(error)),
            };
        }
    }
}
