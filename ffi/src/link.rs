//! Adding a device: the new one's side and the old one's.

use std::path::PathBuf;
use std::sync::Arc;

use lifeos_client_core::client as core;
use lifeos_client_core::client::Client;
use tokio::sync::Mutex;

use crate::engine::LifeOs;
use crate::error::LifeOsError;
use crate::runtime::Engine;

/// On a new device: makes keys and a mailbox at the relay. Show `link()`, then `code()`, then wait for `finish()`.
///
/// # Errors
/// [`LifeOsError::Home`] when there is a home already, [`LifeOsError::Network`].
#[uniffi::export]
pub async fn link_new(home: String, relay: String, device_name: String) -> Result<Arc<LinkNew>, LifeOsError> {
    let engine = Arc::new(Engine::start()?);
    let work = async move { Client::link_new(&PathBuf::from(home), &relay, &device_name).await };
    let linking = engine.run(work).await?;
    let link = linking.link().to_owned();
    Ok(Arc::new(LinkNew { engine, link, linking: Arc::new(Mutex::new(Some(linking))) }))
}

/// A link being made on the new device.
#[derive(uniffi::Object)]
pub struct LinkNew {
    engine: Arc<Engine>,
    link: String,
    linking: Arc<Mutex<Option<core::LinkNew>>>,
}

#[uniffi::export]
impl LinkNew {
    /// `LS1…`, to be shown as text and QR code.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub fn link(&self) -> Result<String, LifeOsError> {
        Ok(self.link.clone())
    }

    /// Waits for the other device; returns the six digits to show.
    ///
    /// # Errors
    /// [`LifeOsError`] on timeout (10 min), mismatch or a lost relay.
    pub async fn code(&self) -> Result<String, LifeOsError> {
        let linking = Arc::clone(&self.linking);
        let work = async move {
            match linking.lock().await.as_mut() {
                Some(linking) => linking.code().await.map(Some),
                None => Ok(None),
            }
        };
        self.engine.run(work).await?.ok_or_else(LifeOsError::stopped)
    }

    /// Waits until the other device has let this one in; the home is then complete and open.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn finish(&self) -> Result<Arc<LifeOs>, LifeOsError> {
        let linking = self.linking.lock().await.take().ok_or_else(LifeOsError::stopped)?;
        let client = self.engine.run(linking.finish()).await?;
        Ok(LifeOs::new(Arc::clone(&self.engine), client))
    }
}

/// What came of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct CodeOutcome {
    /// It was right: the new device is let in.
    pub approved: bool,
    /// If it was wrong: how many more may be tried.
    pub tries_left: u32,
}

/// A link being approved on a device that is in already.
#[derive(uniffi::Object)]
pub struct LinkApprove {
    engine: Arc<Engine>,
    device_name: String,
    approving: Arc<Mutex<core::LinkApprove>>,
}

impl LinkApprove {
    pub(crate) fn new(engine: Arc<Engine>, approving: core::LinkApprove) -> Arc<Self> {
        let device_name = approving.device_name().to_owned();
        Arc::new(Self { engine, device_name, approving: Arc::new(Mutex::new(approving)) })
    }
}

#[uniffi::export]
impl LinkApprove {
    /// What the new device calls itself.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub fn device_name(&self) -> Result<String, LifeOsError> {
        Ok(self.device_name.clone())
    }

    /// Tries the code that the new device shows.
    ///
    /// # Errors
    /// [`LifeOsError::Security`] after three wrong codes.
    pub async fn enter_code(&self, code: String) -> Result<CodeOutcome, LifeOsError> {
        let approving = Arc::clone(&self.approving);
        let left = self.engine.run(async move { approving.lock().await.enter_code(&code).await }).await?;
        Ok(CodeOutcome { approved: left.is_none(), tries_left: left.unwrap_or(0) })
    }
}
