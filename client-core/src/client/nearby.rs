//! Being found in the local network by devices of one's spaces, and by nobody else.

use std::net::{IpAddr, SocketAddr};

use super::{Client, ClientError};
use crate::crypto::SystemRandom;
use crate::engine::EngineError;
use crate::keys::receipt_key;
use crate::nearby::{Announced, announce, day_of, recognise};
use crate::transport::PeerAddress;

/// Epochs whose names are known: who listens may not have heard of the newest, or this device may not.
const EPOCHS_MAX: usize = 4;

impl Client {
    /// What tells the devices of this space that one of them listens at `peer`, at a time (ms UTC). Made under the key that
    /// the readers in force hold.
    /// # Errors
    /// [`ClientError::Security`] or [`ClientError::Network`] when this device has no sound key.
    pub fn announce_nearby(&self, peer: &PeerAddress, now_ms: i64) -> Result<Announced, ClientError> {
        let (state, keys) = (self.shared.state(), &self.shared.keys);
        let key = receipt_key(&self.device(), state.own_keys(keys), &state.membership, &state.keyring);
        let epoch = key.map_err(EngineError::from)?.epoch();
        let no_key =
            || ClientError::Security { message: "this device holds no key of the space: sync it first".into() };
        let secret = state.keyring.find(&epoch).ok_or_else(no_key)?;
        let whom = (peer.at().port(), &peer.key());
        announce(secret, &self.space(), day_of(now_ms), whom, &mut SystemRandom::new()).map_err(|_| no_key())
    }

    /// Where to dial, if what was heard from `ip` at a time (ms UTC) is a device of this space that listens.
    #[must_use]
    pub fn recognise_nearby(&self, ip: IpAddr, heard: &Announced, now_ms: i64) -> Option<PeerAddress> {
        let state = self.shared.state();
        let generation = |epoch| state.membership.epochs.get(epoch).map(|epoch| epoch.generation);
        let held = state.keyring.iter().filter_map(|(epoch, secret)| Some((generation(epoch)?, secret)));
        let mut held: Vec<_> = held.collect();
        held.sort_by_key(|(generation, _)| std::cmp::Reverse(*generation));
        let (port, key) = held
            .into_iter()
            .take(EPOCHS_MAX)
            .find_map(|(_, secret)| recognise(secret, &self.space(), day_of(now_ms), heard))?;
        Some(PeerAddress::new(SocketAddr::new(ip, port), key))
    }
}
