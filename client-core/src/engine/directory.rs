//! Asking a relay which spaces a key belongs to: all that a bare machine with a recovery phrase knows is the relay's
//! address (LIST, legal before AUTH; protocol §8.1).

use std::time::Duration;

use lifeos_sync_protocol::frame::Frame;
use lifeos_sync_protocol::ids::{SignPk, SpaceId};
use tokio::time::timeout;

use super::EngineError;
use crate::crypto::{SystemRandom, random_bytes};
use crate::keys::DeviceKeys;
use crate::session::{Handshake, SessionError};
use crate::transport::{FrameReceiver, FrameSender, RelayUrl, connect};

/// Time for connecting, shaking hands and the answer.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of the one request.
const REQUEST: u32 = 1;

/// The spaces in which the key is enrolled and not removed, and the key the relay presented. That one is proven only
/// when a space is opened: pin it until then.
///
/// # Errors
/// [`EngineError`].
pub(crate) async fn list_spaces(url: &RelayUrl, keys: &DeviceKeys) -> Result<(SignPk, Vec<SpaceId>), EngineError> {
    timeout(LIST_TIMEOUT, ask(url, keys)).await.map_err(|_| SessionError::Timeout)?
}

async fn ask(url: &RelayUrl, keys: &DeviceKeys) -> Result<(SignPk, Vec<SpaceId>), EngineError> {
    let (mut sender, mut receiver) = connect(url).await?;
    let handshake = Handshake::new(random_bytes(&mut SystemRandom::new()));
    sender.send(handshake.hello().to_vec()).await?;
    let answer = receiver.recv().await?.ok_or(SessionError::Disconnected)?;
    let challenged = handshake.challenge(&answer, url.key().as_ref(), url.address())?;
    let signature = keys.sign(&challenged.list_message(&keys.sign_pk()));
    sender.send(Frame::List { device: keys.sign_pk(), signature }.encode(REQUEST)).await?;
    let spaces = loop {
        let bytes = receiver.recv().await?.ok_or(SessionError::Disconnected)?;
        match Frame::decode(&bytes).map_err(SessionError::from)? {
            (REQUEST, Frame::Spaces { spaces }) => break spaces,
            (_, Frame::Error { code, retry_after_ms, .. }) => {
                return Err(SessionError::Refused { code, retry_after_ms }.into());
            }
            (request, Frame::Ping { payload }) => sender.send(Frame::Pong { payload }.encode(request)).await?,
            _ => return Err(SessionError::Misbehaved("no answer to LIST").into()),
        }
    };
    sender.close().await;
    Ok((challenged.relay_key, spaces))
}
