//! Sync with a device nearby, over the local network and without a relay elsewhere.
//!
//! ```text
//! listens: a relay beside the home, for a while ◀─ filled with what the home holds ─ live until it ends ─▶ removed
//! dials:   that relay, as one more of each space ─▶ HAVE, WANT, PUSH, OFFER as at any relay
//! ```
//! The relay itself is started by whoever calls: this crate does not know its code.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::spaces::add;
use super::{Client, ClientError, Progress, RelayFailure, SyncHandle, SyncReport};
use crate::engine::{EngineError, Mode, Tally, run_live_with_peer, sync_with_peer};
use crate::session::SessionError;
use crate::store::SyncLock;
use crate::transport::{PeerAddress, PeerAddressError, TransportError};

/// Name of the folder in a home where the temporary relay keeps its files.
const FOLDER: &str = "peer";

/// The folder of the temporary relay of a home, empty at first. While it is held no other process syncs the home; then it
/// is removed with all that is in it.
#[derive(Debug)]
pub struct PeerStore {
    folder: PathBuf,
    _lock: Arc<SyncLock>,
}

impl PeerStore {
    /// Where the relay may keep its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for PeerStore {
    fn drop(&mut self) {
        // What stays goes before the next time.
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, "the files of a temporary relay stay for now");
        }
    }
}

/// What a sync with a device nearby did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct PeerReport {
    /// Spaces that both are in, and that went well.
    pub spaces: u64,
    /// Spaces of this device that the other one does not have, or does not know this device in.
    pub not_shared: u64,
    /// All spaces together.
    #[serde(flatten)]
    pub sync: SyncReport,
}

impl From<PeerAddressError> for ClientError {
    fn from(error: PeerAddressError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl Client {
    /// Makes the empty folder for a temporary relay of this home.
    /// # Errors
    /// [`ClientError::Network`] while another process syncs this home; [`ClientError::Storage`].
    pub fn peer_store(&self) -> Result<PeerStore, ClientError> {
        let lock = self.shared.lock.hold()?;
        let folder = self.shared.lock.home().join(FOLDER);
        let failed = |error: std::io::Error| ClientError::Storage {
            message: format!("cannot use {}: {error}", folder.display()),
            transient: false,
        };
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder).map_err(failed)?;
        Ok(PeerStore { folder, _lock: lock })
    }

    /// One round with a device nearby in every space of this home that the other one is in, too: both have everything
    /// then, or it goes on from there the next time. No relay of a space is asked or thought to hold more for it.
    /// # Errors
    /// The first that any space met, if none went well; [`ClientError::Network`] if no space is shared.
    pub async fn sync_with_peer(&self, peer: &PeerAddress, progress: Progress<'_>) -> Result<PeerReport, ClientError> {
        self.meet(peer, Mode::Once, progress).await
    }

    /// Fills the temporary relay of this very home where nobody else was: as [`Self::sync_with_peer`], but a record that is
    /// nowhere else may still be taken back.
    /// # Errors
    /// As [`Self::sync_with_peer`].
    pub async fn fill_peer(&self, peer: &PeerAddress, progress: Progress<'_>) -> Result<PeerReport, ClientError> {
        self.meet(peer, Mode::Fill, progress).await
    }

    async fn meet(&self, peer: &PeerAddress, mode: Mode, progress: Progress<'_>) -> Result<PeerReport, ClientError> {
        let home = self.home_client()?;
        let (others, unopened) = home.open_others()?;
        let (mut total, mut first) = (PeerReport::default(), unopened);
        let at_home = home.round_with_peer(peer, mode, &mut *progress, &mut total, &mut first).await;
        // What the home says of this device's other spaces goes along.
        if at_home
            && home.claim_spaces(&others)?
            && home.round_with_peer(peer, mode, &mut *progress, &mut total, &mut first).await
        {
            total.spaces -= 1; // counted already
        }
        for other in &others {
            other.round_with_peer(peer, mode, &mut *progress, &mut total, &mut first).await;
        }
        match first {
            Some(error) if total.spaces == 0 => Err(error),
            None if total.spaces == 0 => Err(no_space(peer)),
            _ => Ok(total),
        }
    }

    /// One round in this space; whether it went well. What went wrong is in the report.
    async fn round_with_peer(
        &self,
        peer: &PeerAddress,
        mode: Mode,
        progress: Progress<'_>,
        total: &mut PeerReport,
        first: &mut Option<ClientError>,
    ) -> bool {
        let (started, mut tally) = (Instant::now(), Tally::default());
        let result = sync_with_peer(&self.shared, peer, mode, progress, &mut tally).await;
        if result.as_ref().is_err_and(EngineError::is_stranger) {
            total.not_shared += 1;
            return false;
        }
        let result = result.map(|()| Vec::new());
        let failed = match result {
            Ok(done) => self.report(started, Ok(done), tally).await.map(|report| add(&mut total.sync, &report)).err(),
            Err(error) => Some(why(peer, error)),
        };
        total.spaces += u64::from(failed.is_none());
        if let Some(error) = &failed {
            total.sync.failed.push(RelayFailure { relay: peer.stored(), message: error.to_string() });
        }
        let is_well = failed.is_none();
        *first = first.take().or(failed);
        is_well
    }

    /// Syncs this space with the temporary relay of this very home until the handle is stopped: what others bring there
    /// is taken in, what is edited here goes there.
    #[must_use = "dropping the handle stops the sync"]
    pub fn serve_peer(&self, peer: &PeerAddress) -> SyncHandle {
        let (shared, peer) = (Arc::clone(&self.shared), *peer);
        SyncHandle::spawn(move |stopped| async move {
            if let Err(error) = run_live_with_peer(shared, peer, stopped).await {
                tracing::warn!(%error, "what a device nearby brings is not taken in live");
            }
        })
    }
}

fn no_space(peer: &PeerAddress) -> ClientError {
    ClientError::Network {
        message: format!(
            "the device at {} lets this one into none of its spaces: if one of the two was linked, let in or removed lately, \
             let the one that knows it listen and the other dial",
            peer.at()
        ),
        transient: false,
    }
}

/// In words about a device and not a relay.
fn why(peer: &PeerAddress, error: EngineError) -> ClientError {
    let at = peer.at();
    match error {
        EngineError::Transport(TransportError::Unreachable(_) | TransportError::Timeout) => ClientError::Network {
            message: format!(
                "no device answers at {at}: check that `lifeos sync --listen` still runs there and prints this address, \
                 that both are in one network, and that a firewall lets the port in"
            ),
            transient: true,
        },
        EngineError::Transport(TransportError::Lost(_)) | EngineError::Session(SessionError::Disconnected) => {
            ClientError::Network {
                message: format!(
                    "the connection to the device at {at} was lost: what came until then is kept; run the same again, \
                     it goes on from there"
                ),
                transient: true,
            }
        }
        EngineError::RemovalWaits => ClientError::Network {
            message: format!(
                "the device at {at} holds more of a removed device than the removal says, so it does not take the removal in \
                 from here: let this device listen and that one dial, or sync both with a relay"
            ),
            transient: false,
        },
        EngineError::Session(SessionError::WrongRelayKey { .. }) => ClientError::Security {
            message: format!(
                "what answers at {at} is not the device whose address this is: it may have begun to listen anew; \
                 copy the address from there again"
            ),
        },
        error => error.into(),
    }
}
