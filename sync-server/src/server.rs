//! Starts and stops a relay: data folder, listener, accept loop, graceful shutdown.
//!
//! The accept loop is its own, not `axum::serve`: that one has no time limit for request headers, and one
//! half-sent request would hold a connection for ever.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lifeos_sync_protocol::ids::SignPk;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, broadcast, watch};

use crate::config::{Config, Database, TokenHash};
use crate::connection::metered::{Metered, ReadBudget, SharedBytes};
use crate::http;
use crate::identity::Identity;
use crate::limits::{Limits, ms};
use crate::metrics::Metrics;
use crate::rate::{KeyedRate, Rate};
use crate::rendezvous::Mailboxes;
use crate::space::Spaces;
#[cfg(feature = "postgres")]
use crate::store::OpenError;
use crate::store::{Store, StoreError};
use crate::tend::{self, Wakeup};
use crate::wake::{self, Waker, Wakes, Webhook};

const HOUR: Duration = Duration::from_secs(60 * 60);
/// Visits that whoever runs the relay in its own process may be late to read of.
const VISITS_WAITING_MAX: usize = 256;

/// What all connections share.
pub(crate) struct Relay {
    pub(crate) limits: Limits,
    pub(crate) config: Config,
    pub(crate) origin: String,
    pub(crate) identity: Identity,
    pub(crate) store: Arc<Store>,
    pub(crate) spaces: Spaces,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) metrics: Arc<Metrics>,
    /// Creation of spaces, by address.
    pub(crate) creations: KeyedRate<IpAddr>,
    /// Websockets, by address.
    pub(crate) arrivals: KeyedRate<IpAddr>,
    /// AUTH and LIST frames that were refused, by address.
    pub(crate) auth_failures: KeyedRate<IpAddr>,
    /// LIST frames, by address.
    pub(crate) lists: KeyedRate<IpAddr>,
    /// Mailbox frames, by address.
    pub(crate) mailbox_frames: KeyedRate<IpAddr>,
    /// KiB pushed, by device.
    pub(crate) pushes: KeyedRate<SignPk>,
    /// KiB pulled, by device.
    pub(crate) pulls: KeyedRate<SignPk>,
    /// Receipts, by device.
    pub(crate) receipts: KeyedRate<SignPk>,
    /// Presence messages, by device.
    pub(crate) presence: KeyedRate<SignPk>,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Wakes whoever looks after spaces.
    pub(crate) wakeup: Wakeup,
    /// Held while spaces are looked after.
    pub(crate) looking: tokio::sync::Mutex<()>,
    /// Bytes of PUSH frames that are not yet durable, in KiB, over all connections.
    pub(crate) ingest: Arc<Semaphore>,
    /// Bytes of frames that are being read, over all connections.
    reading: Arc<SharedBytes>,
    /// Bytes of records whose parents are missing, over all connections.
    pub(crate) parked_bytes: AtomicUsize,
    pub(crate) connections: Arc<Connections>,
    pub(crate) visits: broadcast::Sender<Visit>,
    /// Nothing where devices are not woken.
    pub(crate) wakes: Option<Arc<Wakes>>,
}

/// A device's session in one space began or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    /// The device's key there.
    pub device: SignPk,
    /// It ended.
    pub is_over: bool,
}

/// What a running relay is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Serving.
    Running,
    /// Saying goodbye to everybody.
    Draining,
    /// Gone: connections drop at once.
    Stopped,
}

/// Waits until the relay does not simply run any more.
pub(crate) async fn until_not_running(phase: &mut watch::Receiver<Phase>) {
    // The borrow that `wait_for` answers must not live across an await. An error means the sender is gone.
    drop(phase.wait_for(|phase| *phase != Phase::Running).await);
}

/// Waits until the relay is gone.
pub(crate) async fn until_stopped(phase: &mut watch::Receiver<Phase>) {
    drop(phase.wait_for(|phase| *phase == Phase::Stopped).await);
}

/// Starts relays.
#[derive(Debug)]
pub struct Server;

/// A running relay. Dropping it stops it without goodbyes, as a crash would; what was acknowledged is on disk.
pub struct Handle {
    addr: SocketAddr,
    relay: Arc<Relay>,
    phase: watch::Sender<Phase>,
    accept: tokio::task::JoinHandle<()>,
}

/// A relay cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data folder or the key in it cannot be used.
    #[error("cannot use the data folder {path}: {source}", path = path.display())]
    DataDir {
        /// The folder.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}; is another program using the port?")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] crate::store::OpenError),
    /// This program knows no PostgreSQL.
    #[error("this relay was built without PostgreSQL; build it with --features postgres, or leave --database out")]
    NoPostgres,
    /// The runtime ended meanwhile.
    #[error("the relay was stopped before it had started")]
    Gone,
    /// Requests to push services cannot be encrypted.
    #[error("cannot prepare TLS for wake-ups: {source}; serve without them, or report it")]
    Tls {
        /// Why.
        source: rustls::Error,
    },
}

impl Server {
    /// Opens the data folder, listens, and serves until the handle is shut down or dropped.
    /// Must be called inside a tokio runtime with time and I/O enabled.
    ///
    /// # Errors
    /// [`StartError`]; its text tells a person what to do.
    pub async fn start(config: Config) -> Result<Handle, StartError> {
        let waker = webhook(&config)?;
        Self::start_with_waker(config, waker).await
    }

    /// The same with another way to reach devices than a POST.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_with_waker(config: Config, waker: Option<Arc<dyn Waker>>) -> Result<Handle, StartError> {
        let opened = if config.database.is_some() {
            let config = config.clone();
            // A server may let itself be waited for.
            tokio::task::spawn_blocking(move || open(&config)).await.unwrap_or(Err(StartError::Gone))?
        } else {
            // On this thread: a simulated relay has its chance and its faults here.
            open(&config)?
        };
        let listen = |source| StartError::Listen { addr: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;

        let handle = begin(config, addr, (opened, waker), |relay| accept_loop(listener, relay));
        tracing::info!(%addr, "relay is listening");
        Ok(handle)
    }

    /// A relay that listens nowhere: connections are given to it with [`Handle::accept`].
    ///
    /// # Errors
    /// [`StartError`].
    #[cfg(feature = "simulation")]
    pub fn start_simulated(config: Config) -> Result<Handle, StartError> {
        let (opened, addr) = (open(&config)?, config.listen);
        Ok(begin(config, addr, (opened, None), |_| std::future::pending()))
    }
}

/// What wakes devices by the rules of a configuration.
fn webhook(config: &Config) -> Result<Option<Arc<dyn Waker>>, StartError> {
    let Some(rules) = &config.wakeups else { return Ok(None) };
    let webhook = Webhook::new(rules.clone(), ms(config.limits.wakeup_ms_max));
    Ok(Some(Arc::new(webhook.map_err(|source| StartError::Tls { source })?)))
}

type Opened = (Identity, Store, Arc<Metrics>);

fn open(config: &Config) -> Result<Opened, StartError> {
    let data_dir = |source| StartError::DataDir { path: config.data_dir.clone(), source };
    std::fs::create_dir_all(&config.data_dir).map_err(data_dir)?;
    let metrics = Arc::new(Metrics::default());
    let Some(database) = &config.database else {
        let store = Store::open(&config.data_dir, &config.limits, Arc::clone(&metrics))?;
        let identity = Identity::load_or_generate(&config.data_dir).map_err(data_dir)?;
        return Ok((identity, store, metrics));
    };
    let identity = Identity::load_or_generate(&config.data_dir).map_err(data_dir)?;
    let store = connect(database, &config.limits, Arc::clone(&metrics), &identity)?;
    Ok((identity, store, metrics))
}

#[cfg(feature = "postgres")]
fn connect(
    database: &Database,
    limits: &Limits,
    metrics: Arc<Metrics>,
    identity: &Identity,
) -> Result<Store, StartError> {
    let server = crate::store::postgres::Server::new(database.url(), database.authority());
    Ok(Store::connect(server.map_err(OpenError::from)?, limits, metrics, &identity.public())?)
}

#[cfg(not(feature = "postgres"))]
fn connect(_: &Database, _: &Limits, _: Arc<Metrics>, _: &Identity) -> Result<Store, StartError> {
    Err(StartError::NoPostgres)
}

fn begin<F: Future<Output = ()> + Send + 'static>(
    config: Config,
    addr: SocketAddr,
    ((identity, store, metrics), waker): (Opened, Option<Arc<dyn Waker>>),
    accepting: impl FnOnce(Arc<Relay>) -> F,
) -> Handle {
    let (phase, phases) = watch::channel(Phase::Running);
    let wakes = waker.map(|waker| Wakes::new(waker, &config.limits));
    let relay = Arc::new(Relay::new(config, addr, identity, Arc::new(store), metrics, phases, wakes.clone()));
    let accept = tokio::spawn(accepting(Arc::clone(&relay)));
    tokio::spawn(tend::run(Arc::clone(&relay)));
    #[cfg(feature = "postgres")]
    if let Some(server) = relay.store.server().cloned() {
        tokio::spawn(crate::follow::run(Arc::clone(&relay), server));
    }
    if let Some(wakes) = wakes {
        tokio::spawn(wake::run(Arc::clone(&relay), wakes));
    }
    Handle { addr, relay, phase, accept }
}

impl Relay {
    /// The time of day (ms UTC).
    pub(crate) fn now_ms(&self) -> u64 {
        self.config.clock.now_ms()
    }

    fn new(
        config: Config,
        addr: SocketAddr,
        identity: Identity,
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        phase: watch::Receiver<Phase>,
        wakes: Option<Arc<Wakes>>,
    ) -> Self {
        let limits = config.limits.clone();
        let origin = match &config.origin {
            origin if !origin.is_empty() => origin.clone(),
            // Nobody dials "every address"; clients then need the key.
            _ if addr.ip().is_unspecified() => String::new(),
            _ => format!("ws://{addr}"),
        };
        Self {
            spaces: Spaces::new(Arc::clone(&store), limits.clone(), Arc::clone(&metrics), config.clock.clone()),
            mailboxes: Mailboxes::new(&limits, Arc::clone(&metrics)),
            parked_bytes: AtomicUsize::new(0),
            ingest: Arc::new(Semaphore::new(limits.ingest_bytes_in_flight_max / 1024)),
            creations: KeyedRate::new(Rate::new(
                limits.spaces_per_address_hour_max,
                HOUR,
                limits.spaces_per_address_hour_max,
            )),
            arrivals: KeyedRate::per_minute(limits.connections_per_address_minute_max),
            auth_failures: KeyedRate::per_minute(limits.auth_failures_per_address_minute_max),
            lists: KeyedRate::per_minute(limits.lists_per_address_minute_max),
            mailbox_frames: KeyedRate::per_minute(limits.mailbox_frames_per_address_minute_max),
            pushes: KeyedRate::per_second(limits.device_push_kib_per_second_max, limits.device_push_burst_kib_max),
            pulls: KeyedRate::per_second(limits.device_pull_kib_per_second_max, limits.device_pull_burst_kib_max),
            receipts: KeyedRate::per_minute(limits.device_receipts_per_minute_max),
            presence: KeyedRate::per_second(limits.device_presence_per_second_max, limits.device_presence_burst_max),
            reading: SharedBytes::new(limits.reading_bytes_max),
            connections: Arc::new(Connections::default()),
            visits: broadcast::Sender::new(VISITS_WAITING_MAX),
            wakes,
            wakeup: Wakeup::default(),
            looking: tokio::sync::Mutex::default(),
            limits,
            config,
            origin,
            identity,
            store,
            metrics,
            phase,
        }
    }
}

impl Handle {
    /// Address it listens on, with the real port.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The key clients pin.
    #[must_use]
    pub fn relay_key(&self) -> SignPk {
        self.relay.identity.public()
    }

    /// What a client is configured with: `ws://ADDRESS#KEY`, the key as 64 hex characters.
    #[must_use]
    pub fn url(&self) -> String {
        let origin = if self.relay.config.origin.is_empty() {
            format!("ws://{}", self.addr)
        } else {
            self.relay.config.origin.clone()
        };
        format!("{origin}#{}", self.relay_key())
    }

    /// Tells of sessions that begin and end from now on, for whoever runs the relay inside a program of its own.
    #[must_use]
    pub fn visits(&self) -> broadcast::Receiver<Visit> {
        self.relay.visits.subscribe()
    }

    /// Serves a connection from this address.
    #[cfg(feature = "simulation")]
    pub fn accept(&self, stream: tokio::io::DuplexStream, address: IpAddr) {
        if let Some(peer) = Peer::enter(&self.relay, address) {
            serve_one(stream, peer, &self.relay, &http::router(Arc::clone(&self.relay)));
        }
    }

    /// Looks after every space that is due by the clock, as the relay does by itself once a minute: checkpoints take
    /// effect, and what nothing needs any more is deleted. Answers when that is done.
    pub async fn look_after_spaces(&self) {
        tend::look_at_all(&self.relay).await;
    }

    /// What its connections share.
    #[cfg(test)]
    pub(crate) const fn relay(&self) -> &Arc<Relay> {
        &self.relay
    }

    /// Says goodbye to every connection, lets what was acknowledged drain, and stops. Takes at most
    /// [`Limits::shutdown_ms_max`] plus one commit.
    pub async fn shutdown(mut self) {
        self.phase.send_replace(Phase::Draining);
        let _ = (&mut self.accept).await;
        let drained = tokio::time::timeout(ms(self.relay.limits.shutdown_ms_max), self.relay.connections.none()).await;
        if drained.is_err() {
            tracing::warn!(open = self.relay.connections.count(), "connections were cut off at shutdown");
        }
        self.phase.send_replace(Phase::Stopped);
        let store = Arc::clone(&self.relay.store);
        // Joining the writer thread waits for one commit at most.
        let _ = tokio::task::spawn_blocking(move || store.stop()).await;
        tracing::info!("relay has stopped");
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Stopped);
        self.accept.abort();
        self.relay.store.stop();
    }
}

async fn accept_loop(listener: TcpListener, relay: Arc<Relay>) {
    let router = http::router(Arc::clone(&relay));
    let mut phase = relay.phase.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = until_not_running(&mut phase) => return,
        };
        match accepted {
            Ok((stream, peer)) => accept_one(stream, peer, &relay, &router),
            Err(error) => {
                // Out of file descriptors, or the peer is gone already: neither is a reason to stop, and
                // without a pause the first would spin.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn accept_one(stream: TcpStream, peer: SocketAddr, relay: &Arc<Relay>, router: &axum::Router) {
    let Some(peer) = Peer::enter(relay, peer.ip()) else {
        relay.metrics.connections_refused_total.increment();
        return;
    };
    if stream.set_nodelay(true).is_ok() {
        serve_one(stream, peer, relay, router);
    }
}

fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    relay: &Arc<Relay>,
    router: &axum::Router,
) {
    let io = TokioIo::new(Metered::new(stream, Arc::clone(&peer.budget)));
    let service = TowerToHyperService::new(router.clone());
    let header_read = ms(relay.limits.header_read_ms_max);
    let mut phase = relay.phase.clone();
    tokio::spawn(async move {
        let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer.clone());
            hyper::service::Service::call(&service, request)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_read)
            .max_buf_size(16 * 1024)
            .serve_connection(io, service)
            .with_upgrades();
        tokio::select! {
            result = connection => {
                if let Err(error) = result {
                    tracing::debug!(%error, "http connection ended");
                }
            }
            () = until_not_running(&mut phase) => {}
        }
    });
}

/// The address that limits are counted for. One IPv6 customer has at least a whole /64, so that is one address.
pub(crate) fn counted_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// What a request handler knows about the connection it came over.
#[derive(Clone)]
pub(crate) struct Peer {
    /// As [`counted_address`] gives it.
    pub(crate) address: IpAddr,
    pub(crate) budget: Arc<ReadBudget>,
    /// Hash of the token in the address that was asked for.
    pub(crate) token: Option<TokenHash>,
    /// Held as long as the connection counts.
    _guard: Arc<ConnectionGuard>,
}

impl Peer {
    /// A connection from this address, counted; nothing if there are too many.
    pub(crate) fn enter(relay: &Relay, address: IpAddr) -> Option<Self> {
        let address = counted_address(address);
        let guard = Connections::enter(&relay.connections, address, &relay.limits, &relay.metrics)?;
        let shared = [Arc::clone(&guard.reading), Arc::clone(&relay.reading)];
        let budget = ReadBudget::new(relay.limits.unauthenticated_frame_bytes_max, shared);
        Some(Self { address, budget, token: None, _guard: Arc::new(guard) })
    }
}

/// Counts open connections, in all and by address.
#[derive(Default)]
pub(crate) struct Connections {
    by_address: Mutex<HashMap<IpAddr, Address>>,
    emptied: Notify,
}

/// What one address uses.
struct Address {
    connections: usize,
    reading: Arc<SharedBytes>,
}

impl Connections {
    fn enter(
        connections: &Arc<Self>,
        address: IpAddr,
        limits: &Limits,
        metrics: &Arc<Metrics>,
    ) -> Option<ConnectionGuard> {
        let mut by_address = connections.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if metrics.connections_open.value() >= limits.connections_max as u64 {
            return None;
        }
        let used = by_address.entry(address).or_insert_with(|| Address {
            connections: 0,
            reading: SharedBytes::new(limits.reading_bytes_per_address_max),
        });
        if used.connections >= limits.connections_per_address_max {
            return None;
        }
        used.connections += 1;
        let reading = Arc::clone(&used.reading);
        drop(by_address);
        metrics.connections_open.increment();
        metrics.connections_total.increment();
        Some(ConnectionGuard { connections: Arc::clone(connections), metrics: Arc::clone(metrics), address, reading })
    }

    fn leave(&self, address: IpAddr) {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = by_address.get_mut(&address) {
            used.connections -= 1;
            if used.connections == 0 {
                by_address.remove(&address);
            }
        }
        if by_address.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    fn count(&self) -> usize {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner).values().map(|used| used.connections).sum()
    }

    /// Waits until no connection is open.
    async fn none(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            // Registered before the look, so that the last one to leave cannot slip between.
            emptied.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// One counted connection.
pub(crate) struct ConnectionGuard {
    connections: Arc<Connections>,
    metrics: Arc<Metrics>,
    address: IpAddr,
    reading: Arc<SharedBytes>,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.metrics.connections_open.decrement();
        self.connections.leave(self.address);
    }
}

impl From<StoreError> for lifeos_sync_protocol::frame::ErrorCode {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable | StoreError::Stopped => Self::Unavailable,
            StoreError::Pruned => Self::Unexpected,
            StoreError::Corrupt | StoreError::Database => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_ipv6_network_are_counted_as_one() {
        let counted = |address: &str| counted_address(address.parse().unwrap());
        assert_eq!(counted("2001:db8:1:2::1"), counted("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(counted("2001:db8:1:2::1"), counted("2001:db8:1:3::1"));
        assert_ne!(counted("192.0.2.1"), counted("192.0.2.2"));
        // The same host, seen through a socket that takes both families.
        assert_eq!(counted("::ffff:192.0.2.1"), counted("192.0.2.1"));
    }
}
