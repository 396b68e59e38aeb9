//! What goes without any of the relays: bundles from hand to hand, and devices that meet in one network.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lifeos_client_core::client::{BundleBase, Client, ClientError};
use lifeos_client_core::simulation::{as_node, in_node};
use lifeos_client_core::transport::PeerAddress;
use lifeos_sync_server::{Clock, Config, Server};
use tokio::time::timeout;

use super::chaos::{Chaos, OPERATION_MAX};
use super::host::world;
use super::world::DEVICES;

/// Devices listen at this port and the next ones.
pub(super) const PORT: u16 = 4_000;

impl Chaos {
    /// One device writes a bundle, another takes it in.
    pub(super) async fn carry_bundle(&mut self, index: usize) {
        let other = self.below(DEVICES.len());
        let (Some(from), Some(to)) = (self.client(index), self.client(other)) else { return };
        if index == other {
            return;
        }
        self.pause([index, other]).await;
        self.bundles += 1;
        let file = self.town.dir.join(format!("bundle-{}", self.bundles));
        let (node, other_node) = (self.town.devices[index].node, self.town.devices[other].node);
        let written = as_node(node, || from.export_bundle(&file, &BundleBase::Nothing, &mut |_| {}));
        let came = match written {
            Ok(written) => match as_node(other_node, || to.import_bundle(&file, &mut |_| {})) {
                Ok(came) => format!("{} envelopes, {} new", written.envelopes, came.received),
                Err(error) => format!("not taken in: {error}"),
            },
            Err(error) => format!("not written: {error}"),
        };
        self.tell(format!("a bundle from {} to {}: {came}", DEVICES[index], DEVICES[other]));
        self.count("bundle carried");
        self.resume([index, other]);
    }

    /// One device listens for a while, another dials it.
    pub(super) async fn meet(&mut self, index: usize) {
        let other = self.below(DEVICES.len());
        let (Some(host), Some(guest)) = (self.client(index), self.client(other)) else { return };
        if index == other {
            return;
        }
        self.pause([index, other]).await;
        let met = match timeout(OPERATION_MAX, self.sync_nearby((index, &host), (other, &guest))).await {
            Ok(Ok(received)) => format!("{received} envelopes came"),
            Ok(Err(error)) => format!("fails: {error}"),
            Err(_) => "is given up".to_owned(),
        };
        self.town.peers.borrow_mut().remove(&index);
        self.tell(format!("{} meets {}: {met}", DEVICES[other], DEVICES[index]));
        self.count("devices met");
        self.resume([index, other]);
    }

    /// One program at a time syncs a home: whoever syncs by itself stops for a while.
    pub(super) async fn pause(&mut self, devices: [usize; 2]) {
        for device in devices {
            let device = &mut self.town.devices[device];
            if let Some(live) = device.live.take() {
                let _ = timeout(OPERATION_MAX, in_node(device.node, live.stop())).await;
            }
        }
    }

    pub(super) fn resume(&mut self, devices: [usize; 2]) {
        for device in devices {
            let is_lively = self.lively[device] && self.client(device).is_some();
            let device = &mut self.town.devices[device];
            let client = device.client.as_ref().filter(|_| is_lively && device.live.is_none());
            device.live = client.map(|client| as_node(device.node, || client.sync_live()));
        }
    }

    async fn sync_nearby(
        &self,
        (index, host): (usize, &Client),
        (other, guest): (usize, &Client),
    ) -> Result<u64, ClientError> {
        let (node, other_node) = (self.town.devices[index].node, self.town.devices[other].node);
        let store = as_node(node, || host.peer_store())?;
        let mut own: BTreeSet<_> = as_node(node, || host.other_spaces())?.iter().map(Client::device).collect();
        own.insert(host.device());
        let port = PORT + u16::try_from(index).unwrap_or(0);
        let at = SocketAddr::from((IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)), port));
        let mut config = Config::beside_device(store.folder(), at, own);
        config.clock = Clock::standing_at(u64::try_from(world().true_ms()).unwrap_or(0));
        let relay = Server::start_simulated(config)
            .map_err(|error| ClientError::Network { message: error.to_string(), transient: true })?;
        let address = PeerAddress::new(at, relay.relay_key());
        self.town.peers.borrow_mut().insert(index, relay);
        in_node(node, host.fill_peer(&address, &mut |_| {})).await?;
        let there = in_node(other_node, guest.sync_with_peer(&address, &mut |_| {})).await?;
        let back = in_node(node, host.sync_with_peer(&address, &mut |_| {})).await?;
        Ok(there.sync.pulled + back.sync.pulled)
    }
}
