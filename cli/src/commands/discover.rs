//! Finding devices in the local network by multicast DNS, only when asked to (`--announce`, `--discover`): a thin driver of
//! [`lifeos_client_core::nearby`], which makes and knows the names.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lifeos_client_core::client::Client;
use lifeos_client_core::nearby::{Announced, SAID_BYTES, day_of};
use lifeos_client_core::transport::PeerAddress;
use mdns_sd::{IfKind, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::time::timeout;

use crate::failure::Failure;

/// What is looked for. That somebody uses this program is all that it tells.
const SERVICE: &str = "_lifeos._tcp.local.";
/// Where a name's record says what was sealed.
const SAID: &str = "s";
/// Devices of a space that are looked at: somebody could announce without end.
const FOUND_MAX: usize = 32;
/// Goodbyes take no longer.
const GOODBYE: Duration = Duration::from_secs(2);

pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn failed(error: mdns_sd::Error) -> Failure {
    Failure::io("cannot use multicast DNS", std::io::Error::other(error))
}

/// Tells the local network, under names that only members know, that this device listens.
pub(super) struct Announcer {
    daemon: ServiceDaemon,
    day: u32,
    shown: Vec<String>,
}

impl Announcer {
    /// Begins in the network of the address that is listened on, and in no other.
    pub(super) fn start(clients: &[Client], peer: &PeerAddress) -> Result<Self, Failure> {
        let daemon = ServiceDaemon::new().map_err(failed)?;
        daemon.disable_interface(IfKind::All).map_err(failed)?;
        daemon.enable_interface(IfKind::Addr(peer.at().ip())).map_err(failed)?;
        let mut announcer = Self { daemon, day: 0, shown: Vec::new() };
        announcer.renew(clients, peer)?;
        Ok(announcer)
    }

    /// New names on a new day.
    pub(super) fn renew(&mut self, clients: &[Client], peer: &PeerAddress) -> Result<(), Failure> {
        let now_ms = now_ms();
        if std::mem::replace(&mut self.day, day_of(now_ms)) == day_of(now_ms) {
            return Ok(());
        }
        for name in self.shown.drain(..) {
            // Its time to live ends what a lost goodbye does not.
            let _ = self.daemon.unregister(&name);
        }
        for client in clients {
            // Of a space whose key is not sound, nobody is told.
            let Ok(Announced { name, said }) = client.announce_nearby(peer, now_ms) else { continue };
            let (host, said) = (format!("{name}.local."), URL_SAFE_NO_PAD.encode(said));
            let at = peer.at();
            let info =
                ServiceInfo::new(SERVICE, &name, &host, at.ip(), at.port(), &[(SAID, said)][..]).map_err(failed)?;
            self.shown.push(info.get_fullname().to_owned());
            self.daemon.register(info).map_err(failed)?;
        }
        Ok(())
    }

    /// Says goodbye.
    pub(super) async fn end(self) {
        let goodbyes: Vec<_> = self.shown.iter().filter_map(|name| self.daemon.unregister(name).ok()).collect();
        let said = async {
            for goodbye in goodbyes {
                let _ = goodbye.recv_async().await;
            }
            if let Ok(over) = self.daemon.shutdown() {
                let _ = over.recv_async().await;
            }
        };
        let _ = timeout(GOODBYE, said).await;
    }
}

/// Devices of one's spaces that listen, as they are heard of.
pub(super) struct Finder {
    daemon: ServiceDaemon,
    heard: Receiver<ServiceEvent>,
    found: HashSet<PeerAddress>,
}

impl Finder {
    pub(super) fn start() -> Result<Self, Failure> {
        let daemon = ServiceDaemon::new().map_err(failed)?;
        let heard = daemon.browse(SERVICE).map_err(failed)?;
        Ok(Self { daemon, heard, found: HashSet::new() })
    }

    /// The next one; nothing when no more is to be heard.
    pub(super) async fn next(&mut self, clients: &[Client]) -> Option<PeerAddress> {
        while self.found.len() < FOUND_MAX {
            let ServiceEvent::ServiceResolved(service) = self.heard.recv_async().await.ok()? else { continue };
            let fresh = known(&service, clients).into_iter().find(|peer| !self.found.contains(peer));
            if let Some(peer) = fresh {
                self.found.insert(peer);
                return Some(peer);
            }
        }
        None
    }

    pub(super) fn end(self) {
        let _ = self.daemon.shutdown();
    }
}

/// Where to dial, if a member announced it: one for each address that it came with.
fn known(service: &ResolvedService, clients: &[Client]) -> Vec<PeerAddress> {
    let Some(name) = service.fullname.strip_suffix(SERVICE).and_then(|name| name.strip_suffix('.')) else {
        return Vec::new();
    };
    let said = service.txt_properties.get_property_val_str(SAID).unwrap_or_default();
    let said = URL_SAFE_NO_PAD.decode(said).unwrap_or_default();
    if said.len() != SAID_BYTES {
        return Vec::new();
    }
    let (heard, now_ms) = (Announced { name: name.to_owned(), said }, now_ms());
    let addresses = service.addresses.iter().map(|ip| ip.to_ip_addr());
    addresses.filter_map(|ip| clients.iter().find_map(|client| client.recognise_nearby(ip, &heard, now_ms))).collect()
}
