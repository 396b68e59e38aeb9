//! Mailboxes at a relay: how two devices that know each other's mailbox exchange a few sealed messages
//! before either is enrolled (protocol §7.1).

use std::time::Duration;

use lifeos_sync_protocol::frame::Frame;
use lifeos_sync_protocol::ids::{RdvId, SignPk};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::EngineError;
use crate::crypto::{SystemRandom, random_bytes};
use crate::session::{Handshake, SessionError};
use crate::transport::{FrameReceiver, FrameSender, RelayUrl, WsReceiver, WsSender, connect};

/// Time for an answer that needs no other device.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for a message to get into its mailbox, broken connections included.
const PUT_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause before a broken connection is made anew.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// A waiting connection asks whether the relay is there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Silence after which the relay counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A connection that speaks mailboxes only; no space and no device key is proven on it.
#[derive(Debug)]
pub(crate) struct Mailboxes {
    url: RelayUrl,
    sender: WsSender,
    receiver: WsReceiver,
    relay_key: SignPk,
    last_request: u32,
}

impl Mailboxes {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// [`EngineError`], e.g. when the relay's key is not the one pinned in `url`.
    pub(crate) async fn open(url: &RelayUrl) -> Result<Self, EngineError> {
        let (mut sender, mut receiver) = connect(url).await?;
        let handshake = Handshake::new(random_bytes(&mut SystemRandom::new()));
        sender.send(handshake.hello().to_vec()).await?;
        let answer = timeout(ANSWER_TIMEOUT, receiver.recv()).await.map_err(|_| SessionError::Timeout)??;
        let challenged =
            handshake.challenge(&answer.ok_or(SessionError::Disconnected)?, url.key().as_ref(), url.address())?;
        Ok(Self { url: url.clone(), sender, receiver, relay_key: challenged.relay_key, last_request: 0 })
    }

    /// A fresh connection to the same relay.
    pub(crate) async fn reopen(&self) -> Result<Self, EngineError> {
        Self::open(&self.url).await
    }

    /// The key the relay presented. Not proven here: messages in mailboxes are sealed end to end, and the key
    /// is compared again when the space is opened.
    pub(crate) const fn relay_key(&self) -> SignPk {
        self.relay_key
    }

    /// Makes a mailbox.
    pub(crate) async fn create(&mut self, rdv: RdvId, ttl_s: u32) -> Result<(), EngineError> {
        self.ask(Frame::RdvCreate { rdv, ttl_s }, Instant::now() + ANSWER_TIMEOUT).await.map(drop)
    }

    /// Appends a message; gives its index. When the answer is lost, the same bytes are put again: a mailbox holds
    /// equal messages once.
    pub(crate) async fn put(&mut self, rdv: RdvId, message: Vec<u8>) -> Result<u32, EngineError> {
        let deadline = Instant::now() + PUT_TIMEOUT;
        loop {
            let put = Frame::RdvPut { rdv, message: message.clone() };
            match self.ask(put, deadline.min(Instant::now() + ANSWER_TIMEOUT)).await {
                Ok((index, _)) => return Ok(index),
                Err(error) if error.is_transient() && Instant::now() < deadline => self.reconnect().await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the connection anew after a pause, if that succeeds.
    async fn reconnect(&mut self) {
        sleep(RECONNECT_AFTER).await;
        if let Ok(fresh) = Self::open(&self.url).await {
            *self = fresh;
        }
    }

    /// Waits for message `index`. The relay answers with nothing after a while, and a phone's connection breaks:
    /// asking again changes nothing, so it is done until the deadline.
    pub(crate) async fn get(&mut self, rdv: RdvId, index: u32, deadline: Instant) -> Result<Vec<u8>, EngineError> {
        loop {
            match self.ask(Frame::RdvGet { rdv, index }, deadline).await {
                Ok((at, Some(message))) if at == index => return Ok(message),
                Ok((_, Some(_))) => {
                    return Err(SessionError::Misbehaved("a mailbox answer that fits no question").into());
                }
                Ok((_, None)) if Instant::now() < deadline => {}
                Ok((_, None)) => return Err(SessionError::Timeout.into()),
                Err(error) if error.is_transient() && Instant::now() < deadline => {
                    self.reconnect().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes a mailbox, as well as it can.
    pub(crate) async fn discard(mut self, rdv: RdvId) {
        let _ = self.ask(Frame::RdvDrop { rdv }, Instant::now() + ANSWER_TIMEOUT).await;
        self.sender.close().await;
    }

    async fn ask(&mut self, frame: Frame, deadline: Instant) -> Result<(u32, Option<Vec<u8>>), EngineError> {
        self.last_request = self.last_request.wrapping_add(1).max(1);
        let request = self.last_request;
        self.sender.send(frame.encode(request)).await?;
        let mut heard = Instant::now();
        loop {
            let wait = deadline.min(Instant::now() + PING_EVERY);
            match timeout_at(wait, self.receiver.recv()).await {
                Ok(bytes) => {
                    heard = Instant::now();
                    let bytes = bytes?.ok_or(SessionError::Disconnected)?;
                    if let Some(answer) = self.read(&bytes, request).await? {
                        return Ok(answer);
                    }
                }
                Err(_) if Instant::now() >= deadline || heard.elapsed() > SILENCE_MAX => {
                    return Err(SessionError::Timeout.into());
                }
                Err(_) => self.sender.send(Frame::Ping { payload: 0 }.encode(0)).await?,
            }
        }
    }

    /// Reads one frame; `Some` when it answers the request.
    async fn read(&mut self, bytes: &[u8], request: u32) -> Result<Option<(u32, Option<Vec<u8>>)>, EngineError> {
        let (answered, frame) = Frame::decode(bytes).map_err(SessionError::from)?;
        match frame {
            Frame::RdvItem { index, message, .. } if answered == request => return Ok(Some((index, message))),
            Frame::Ping { payload } => self.sender.send(Frame::Pong { payload }.encode(answered)).await?,
            Frame::Error { code, retry_after_ms, .. } => {
                return Err(SessionError::Refused { code, retry_after_ms }.into());
            }
            Frame::Pong { .. } | Frame::RdvItem { .. } => {}
            _ => return Err(SessionError::Misbehaved("a frame that is no mailbox answer").into()),
        }
        Ok(None)
    }
}
