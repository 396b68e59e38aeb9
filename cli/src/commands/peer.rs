//! `lifeos sync --listen` and `lifeos sync --peer`: two devices of one network, and no relay elsewhere.
//!
//! The one that listens runs a relay for as long as that lasts, fills it with what its home holds, and only then lets others
//! reach it, so that nobody meets half of it. The one that dials takes it for one more relay.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use clap::Args;
use lifeos_client_core::client::{Client, PeerReport, PeerStore, SyncHandle};
use lifeos_client_core::event::Event;
use lifeos_client_core::protocol::ids::SignPk;
use lifeos_client_core::transport::PeerAddress;
use lifeos_sync_server::{Config, Handle, Server, Visit};
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep_until};

use super::sync::{EVENTS_WAITING_MAX, Heard, draw, listen, show_event, stop_signal};
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, count, short};

/// A device has one connection after another, one for each space: only after so long it is gone.
const GONE_AFTER: Duration = Duration::from_secs(3);
/// Addresses that are asked for the way to them; nothing is sent there. The first is of documentation, the others of local
/// networks that lead nowhere else.
const WAYS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv4Addr::new(192, 168, 0, 1),
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(169, 254, 0, 1),
];

/// Sync with a device nearby.
#[derive(Debug, Args)]
pub(super) struct PeerArgs {
    /// With another device in the local network, at the address that it shows
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, conflicts_with = "watch")]
    peer: Option<Option<String>>,
    /// Let other devices in the local network sync with this one [default: this device's address there, a free port]
    #[arg(long, value_name = "IP[:PORT]", num_args = 0..=1, conflicts_with = "watch")]
    listen: Option<Option<String>>,
    /// With a device of one's spaces that listens with --announce: it is looked for in the local network
    #[cfg(feature = "discover")]
    #[arg(long, conflicts_with_all = ["watch", "listen"])]
    discover: bool,
    /// Tell the local network, so that devices of one's spaces need no address (--discover); others see names that nobody knows
    #[cfg(feature = "discover")]
    #[arg(long, requires = "listen")]
    announce: bool,
    /// Listen until a device was there and has gone
    #[arg(long, requires = "listen")]
    once: bool,
    /// Listen, or look for others, for so long at most [default: listening has no end, looking takes 20]
    #[arg(long = "for", value_name = "SECONDS")]
    for_s: Option<u32>,
}

impl PeerArgs {
    pub(super) const fn is_asked(&self) -> bool {
        self.peer.is_some() || self.listen.is_some() || self.discovers() || self.for_s.is_some()
    }

    #[cfg(feature = "discover")]
    const fn discovers(&self) -> bool {
        self.discover
    }

    #[cfg(not(feature = "discover"))]
    const fn discovers(&self) -> bool {
        false
    }
}

pub(super) fn run(args: &PeerArgs, context: &Context) -> Result<(), Failure> {
    match (&args.peer, &args.listen) {
        #[cfg(feature = "discover")]
        (peer, None) if args.discover && !matches!(peer, Some(Some(_))) => discover(args, context),
        (Some(Some(_)), Some(_)) => {
            Err(Failure::usage("a device dials (--peer ADDRESS) or listens (--listen), not both"))
        }
        (_, Some(at)) => {
            let at = listening_address(at.as_deref())?;
            let home = context.open_home()?;
            context.block_on(serve(&home, at, args, context))
        }
        (Some(Some(address)), None) if args.for_s.is_none() && !args.discovers() => dial(address, context),
        _ => Err(Failure::usage(
            "say with whom: --peer ADDRESS, as `lifeos sync --listen` prints it on the other device; or --discover; or --listen here",
        )),
    }
}

fn dial(address: &str, context: &Context) -> Result<(), Failure> {
    let address: PeerAddress = address.parse().map_err(lifeos_client_core::client::ClientError::from)?;
    let home = context.open_home()?;
    let mut bar = context.out.bar();
    let report = context.block_on(async { Ok(home.sync_with_peer(&address, &mut |step| bar.step(&step)).await?) });
    bar.finish();
    let report = report?;
    context.out.result(&report, |page| draw_report(page, &report))
}

/// How long devices are looked for.
#[cfg(feature = "discover")]
const LOOK_S: u32 = 20;

/// Syncs with the first device of one's spaces that is heard of and with which it goes well.
#[cfg(feature = "discover")]
fn discover(args: &PeerArgs, context: &Context) -> Result<(), Failure> {
    let home = context.open_home()?;
    let mut clients = home.other_spaces()?;
    clients.push(home.clone());
    let wait = Duration::from_secs(args.for_s.unwrap_or(LOOK_S).into());
    let found = context.block_on(async {
        let mut finder = super::discover::Finder::start()?;
        let over_at = Instant::now() + wait;
        let mut failed = None;
        let outcome = loop {
            let next = tokio::time::timeout_at(over_at, finder.next(&clients)).await;
            let Ok(Some(address)) = next else { break None };
            context.out.say(&format!("Found a device at {}", address.at()));
            let mut bar = context.out.bar();
            let report = home.sync_with_peer(&address, &mut |step| bar.step(&step)).await;
            bar.finish();
            match report {
                Ok(report) => break Some(report),
                // Anybody may repeat what a device announced, and answer for it with another key.
                Err(error) => failed = Some(error),
            }
        };
        finder.end();
        let nobody = || {
            Failure::Client(lifeos_client_core::client::ClientError::Network {
                message: "no device of your spaces was heard of in the local network: run `lifeos sync --listen --announce` on one, \
                          or dial the address that it shows (--peer ADDRESS)"
                    .to_owned(),
                transient: true,
            })
        };
        outcome.ok_or_else(|| failed.map_or_else(nobody, Failure::Client))
    });
    let report = found?;
    context.out.result(&report, |page| draw_report(page, &report))
}

fn draw_report(page: &mut Page, report: &PeerReport) {
    draw(page, &report.sync);
    page.line(format_args!("With      {}", count(report.spaces, "shared space")));
}

/// Where to listen, port 0 for a free one.
fn listening_address(given: Option<&str>) -> Result<SocketAddr, Failure> {
    let at = match given {
        None => SocketAddr::from((own_address()?, 0)),
        Some(text) => {
            text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::from((ip, 0)))).map_err(
                |_| Failure::usage("--listen takes an address of this device, e.g. 192.168.1.20 or 192.168.1.20:4700"),
            )?
        }
    };
    if at.ip().is_unspecified() {
        return Err(Failure::usage("--listen needs one address of this device that others can dial, not all of them"));
    }
    Ok(at)
}

/// The address by which this device goes into its network.
fn own_address() -> Result<IpAddr, Failure> {
    let by = |way: Ipv4Addr| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((way, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
    };
    WAYS.into_iter().find_map(by).ok_or_else(|| {
        Failure::usage("this device seems to be in no network: connect it, or say which of its addresses, --listen IP")
    })
}

/// What has happened while listening, for programs.
fn line(event: &str, fields: Value) -> Value {
    let mut value = fields;
    if let Some(object) = value.as_object_mut() {
        object.insert("event".to_owned(), event.into());
    }
    value
}

async fn start(store: &PeerStore, at: SocketAddr, own: &BTreeSet<SignPk>) -> Result<(Handle, PeerAddress), Failure> {
    let relay = Server::start(Config::beside_device(store.folder(), at, own.clone())).await;
    let relay = relay.map_err(|error| Failure::Relay(error.to_string()))?;
    let address = PeerAddress::new(relay.addr(), relay.relay_key());
    Ok((relay, address))
}

async fn serve(home: &Client, at: SocketAddr, args: &PeerArgs, context: &Context) -> Result<(), Failure> {
    let store = home.peer_store()?;
    let mut clients = home.other_spaces()?;
    clients.push(home.clone());
    let own: BTreeSet<SignPk> = clients.iter().map(Client::device).collect();
    // Where nobody else reaches it yet.
    let (relay, address) = start(&store, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &own).await?;
    let mut bar = context.out.bar();
    let filled = home.fill_peer(&address, &mut |step| bar.step(&step)).await;
    bar.finish();
    relay.shutdown().await;
    let filled = filled?;

    let (relay, address) = start(&store, at, &own).await?;
    let visits = relay.visits();
    let live: Vec<SyncHandle> = clients.iter().map(|client| client.serve_peer(&address)).collect();
    let listening = line("listening", json!({"address": address.to_string(), "spaces": filled.spaces}));
    context.out.result(&listening, |page| {
        page.line(address);
        page.line(format_args!("Shows {}. On the other device, in the same network:", count(filled.spaces, "space")));
        page.line(format_args!("  lifeos sync --peer {address}"));
    })?;
    #[cfg(feature = "discover")]
    let outcome = match Shown::begin(args, &clients, address) {
        Ok(mut shown) => {
            let outcome = tokio::select! {
                outcome = until_over(&clients, visits, &own, args, context) => outcome,
                never = shown.keep_fresh(&clients) => match never {},
            };
            shown.end().await;
            outcome
        }
        Err(error) => Err(error),
    };
    #[cfg(not(feature = "discover"))]
    let outcome = until_over(&clients, visits, &own, args, context).await;
    for space in live {
        space.stop().await;
    }
    // What came last may not have been taken in.
    let mut bar = context.out.bar();
    let last = match outcome {
        Ok(0) => home.fill_peer(&address, &mut |step| bar.step(&step)).await,
        _ => home.sync_with_peer(&address, &mut |step| bar.step(&step)).await,
    };
    bar.finish();
    relay.shutdown().await;
    let (devices, last) = (outcome?, last?);
    let over = line("over", json!({"devices": devices, "failed": last.sync.failed}));
    context.out.result(&over, |page| page.line(format_args!("{} synced with this one", count(devices, "device"))))
}

/// How often it is looked whether another day has begun.
#[cfg(feature = "discover")]
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What the local network is told, if it is to be told.
#[cfg(feature = "discover")]
struct Shown {
    announcer: Option<super::discover::Announcer>,
    address: PeerAddress,
}

#[cfg(feature = "discover")]
impl Shown {
    fn begin(args: &PeerArgs, clients: &[Client], address: PeerAddress) -> Result<Self, Failure> {
        let begin = || super::discover::Announcer::start(clients, &address);
        Ok(Self { announcer: args.announce.then(begin).transpose()?, address })
    }

    async fn keep_fresh(&mut self, clients: &[Client]) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(announcer) = &mut self.announcer
                && let Err(error) = announcer.renew(clients, &self.address)
            {
                tracing::warn!(%error, "the local network is not told the names of a new day");
            }
        }
    }

    async fn end(self) {
        if let Some(announcer) = self.announcer {
            announcer.end().await;
        }
    }
}

/// Shows what happens until it is time to end; how many devices were there.
async fn until_over(
    clients: &[Client],
    mut visits: broadcast::Receiver<Visit>,
    own: &BTreeSet<SignPk>,
    args: &PeerArgs,
    context: &Context,
) -> Result<u64, Failure> {
    let (sender, mut events) = mpsc::channel(EVENTS_WAITING_MAX);
    clients.iter().for_each(|client| listen(client, sender.clone()));
    let over_at = args.for_s.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let (mut here, mut were_here, mut gone_at) = (0_u64, HashSet::new(), None);
    let stopped = stop_signal();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            signal = &mut stopped => return signal.map(|()| were_here.len() as u64),
            () = at(over_at), if over_at.is_some() => return Ok(were_here.len() as u64),
            () = at(gone_at), if gone_at.is_some() && args.once => return Ok(were_here.len() as u64),
            visit = visits.recv() => match visit {
                Ok(visit) if own.contains(&visit.device) => {}
                Ok(Visit { is_over: true, .. }) => {
                    here = here.saturating_sub(1);
                    gone_at = (here == 0).then(|| Instant::now() + GONE_AFTER);
                }
                Ok(Visit { device, .. }) => {
                    (here, gone_at) = (here + 1, None);
                    if were_here.insert(device) {
                        let device = device.to_string();
                        context.out.result(&line("device", json!({"device": device})), |page| {
                            page.line(format_args!("A device is here: {}", short(&device)));
                        })?;
                    }
                }
                // More came and went than could be counted.
                Err(broadcast::error::RecvError::Lagged(_)) => (here, gone_at) = (0, Some(Instant::now() + GONE_AFTER)),
                Err(broadcast::error::RecvError::Closed) => return Ok(were_here.len() as u64),
            },
            heard = events.recv() => {
                // Of the connections to the relay in this very process nobody wants to know.
                if let Some(Heard { space, name, event }) = heard
                    && !matches!(event, Event::Sync { .. })
                {
                    show_event(&event, (&space, &name), context)?;
                }
            }
        }
    }
}

async fn at(when: Option<Instant>) {
    if let Some(when) = when {
        sleep_until(when).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_listen_is_one_address_that_others_can_dial() {
        let at = |text: &str| listening_address(Some(text)).map(|at| at.to_string());
        assert_eq!(at("192.168.1.20").unwrap(), "192.168.1.20:0");
        assert_eq!(at("192.168.1.20:4700").unwrap(), "192.168.1.20:4700");
        assert_eq!(at("[fd00::7]:4700").unwrap(), "[fd00::7]:4700");
        for bad in ["0.0.0.0", "[::]:4700", "laptop.local", ":4700", ""] {
            assert!(matches!(at(bad), Err(Failure::Usage(_))), "{bad}");
        }
    }
}
