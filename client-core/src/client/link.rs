//! Linking a device.

use std::path::Path;

use super::{Client, ClientError};

/// A link being made on the new device: show `link()`, then show `code()` when it is there, then wait.
pub struct LinkNew {/* session with the relay */}

impl LinkNew {
    /// `LS1…`, to be shown as text and QR code.
    pub fn link(&self) -> &str {
        todo!()
    }
    /// Waits for the other device's offer; returns the six digits to show.
    /// # Errors
    /// [`ClientError`] on timeout (10 min), mismatch or a lost relay.
    pub async fn code(&mut self) -> Result<String, ClientError> {
        todo!()
    }
    /// Waits until the other device has enrolled this one; the home is then complete.
    /// # Errors
    /// [`ClientError`].
    pub async fn finish(self) -> Result<Client, ClientError> {
        todo!()
    }
}

/// A link being approved on an existing device: the person types the code that the new device shows.
pub struct LinkApprove {/* session with the relay */}

impl LinkApprove {
    /// What the new device calls itself.
    pub fn device_name(&self) -> &str {
        todo!()
    }
    /// Tries a code. `Ok(Some(tries_left))`: wrong. `Ok(None)`: right, the device is enrolled. After three
    /// wrong codes the link is dropped with [`ClientError::Security`].
    /// # Errors
    /// [`ClientError`].
    pub async fn enter_code(&mut self, code: &str) -> Result<Option<u32>, ClientError> {
        let _ = code;
        todo!()
    }
}

impl Client {
    /// On a new device: makes keys and a mailbox at the relay.
    /// # Errors
    /// [`ClientError`].
    pub async fn link_new(home: &Path, relay: &str, device_name: &str) -> Result<LinkNew, ClientError> {
        let _ = (home, relay, device_name);
        todo!()
    }
    /// On an existing device: answers a link.
    /// # Errors
    /// [`ClientError`].
    pub async fn link_approve(&self, link: &str) -> Result<LinkApprove, ClientError> {
        let _ = link;
        todo!()
    }
}
