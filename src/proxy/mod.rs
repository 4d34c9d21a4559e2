//! The data plane: carries requests from clients to endpoints, on both sides over HTTP/1.1 or HTTP/2, with or without TLS, and from
//! clients over HTTP/3.
//!
//! Each worker is a single-threaded runtime with its own `SO_REUSEPORT` listener, upstream connections, resolver and
//! counters, so that a request never crosses threads. Workers share only the routing table, which they read through `arc-swap`.
//! The folders follow a request: `listener` accepts, `http3` and `http2` take streams apart, `request` decides and sends, `response` passes the answer on,
//! `context` holds the state of both, `upstream` and `client` are the two connections; each names only those after it.
//! It makes no decisions: `traffic` says which endpoint gets a request, with which fields, and if it is tried again.
//! Invariants: every map, pool, body and wait here has a bound; a request that panics ends its own connection only.

mod body_error;
mod client;
mod context;
mod http2;
#[cfg(feature = "http3")]
mod http3;
mod limits;
mod listener;
mod refusal;
mod request;
mod response;
mod settings;
mod ticks;
mod upstream;

use std::io;
#[cfg(feature = "http3")]
use std::net::UdpSocket;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use context::counters::WorkerCounters;
use listener::socket::WorkerSocket;
use listener::stop::StopPhase;
use listener::{socket, worker};
pub use settings::{ProxySettings, ReloadableSettings, UnmatchedPolicy};

use crate::clock;
use crate::connect::AddressResolver;
use crate::connection_limits::ConnectionCounts;
use crate::lifecycle::{self, Heartbeat};
use crate::maintenance_pages::MaintenancePages;
use crate::reports::Reports;
use crate::traffic::{RoutingTable, WorkerId};

/// The time that the workers may take to start.
const READY_MAX: Duration = Duration::from_secs(10);

/// The sockets of all workers, bound and listening. Nobody accepts yet.
#[derive(Debug)]
pub struct BoundProxy {
    settings: ProxySettings,
    reloadable: Arc<ArcSwap<ReloadableSettings>>,
    addresses: AddressResolver,
    listeners: Vec<WorkerSocket>,
    address: SocketAddr,
    // One for each worker, or none.
    secure_listeners: Vec<WorkerSocket>,
    secure_address: Option<SocketAddr>,
    // One for each worker, or none.
    #[cfg(feature = "http3")]
    udp_sockets: Vec<UdpSocket>,
}

/// The workers, which carry requests.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    secure_address: Option<SocketAddr>,
    reloadable: Arc<ArcSwap<ReloadableSettings>>,
    phases: watch::Sender<StopPhase>,
    workers: Vec<WorkerThread>,
    /// Cancelled once a worker has ended for any reason.
    ended: CancellationToken,
    heartbeats: Vec<Heartbeat>,
    counters: Vec<Arc<WorkerCounters>>,
}

/// A running worker.
#[derive(Debug)]
struct WorkerThread {
    thread: JoinHandle<()>,
    /// Resolved once the worker is drained, or has ended.
    drained: oneshot::Receiver<()>,
    /// Resolved once the worker has ended.
    ended: oneshot::Receiver<()>,
}

impl Proxy {
    /// Binds one socket per worker. All are bound before any worker starts: a taken port is then a start-up error, and no
    /// worker misses its share of connections.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(settings: &ProxySettings) -> io::Result<BoundProxy> {
        Self::bind_on(settings, None)
    }

    /// The same, but all workers accept from the `passed` socket if there is one.
    ///
    /// # Errors
    /// If the address cannot be bound, or the socket cannot be used.
    pub fn bind_on(settings: &ProxySettings, passed: Option<TcpListener>) -> io::Result<BoundProxy> {
        let mut settings = settings.clone();
        let (listeners, address) = bind_workers(settings.http, &settings, passed)?;
        settings.own.push(address);
        let reloadable = Arc::new(ArcSwap::from_pointee(settings.reloadable()));
        let addresses = settings.addresses();
        Ok(BoundProxy {
            settings,
            reloadable,
            addresses,
            listeners,
            address,
            secure_listeners: Vec::new(),
            secure_address: None,
            #[cfg(feature = "http3")]
            udp_sockets: Vec::new(),
        })
    }

    /// Returns the address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address that clients connect to for TLS, if there is one.
    pub fn secure_address(&self) -> Option<SocketAddr> {
        self.secure_address
    }

    /// Returns the time over which long streams are asked to end before a stop.
    pub fn drain_time(&self) -> Duration {
        self.reloadable.load().drain
    }

    /// Returns the heartbeats of the workers.
    pub fn heartbeats(&self) -> &[Heartbeat] {
        &self.heartbeats
    }

    /// Returns the counters of the workers.
    pub fn counters(&self) -> &[Arc<WorkerCounters>] {
        &self.counters
    }

    /// Waits until a worker has ended before its stop.
    pub async fn failed(&self) {
        self.ended.cancelled().await;
        tracing::error!("a proxy worker ended; stopping");
    }

    /// Prepares the stop while requests are still accepted and served: asks long streams to end, evenly over the time
    /// `streams`, and waits until none is left and what was in flight meanwhile has finished, for at most `in_flight`
    /// after that.
    pub async fn drain(&mut self, streams: Duration, in_flight: Duration) {
        self.phases.send_replace(StopPhase::Draining { streams, in_flight });
        for worker in &mut self.workers {
            // Nothing is sent; the sender is dropped.
            let _ = (&mut worker.drained).await;
        }
    }

    /// Stops accepting, ends tunnels, lets requests finish for at most `grace`, then cuts the rest.
    pub async fn stop(self, grace: Duration) {
        self.phases.send_replace(StopPhase::Closing(grace));
        for worker in self.workers {
            // The last act of a worker's thread drops the sender, which ends this wait.
            let _ = worker.ended.await;
            let _ = worker.thread.join();
        }
    }
}

/// Binds one socket for each worker to one address, or shares the passed one among them. Returns the address with them.
fn bind_workers(
    address: SocketAddr,
    settings: &ProxySettings,
    passed: Option<TcpListener>,
) -> io::Result<(Vec<WorkerSocket>, SocketAddr)> {
    match passed {
        None => socket::listen_each(address, settings.workers_count(), settings.shares_ports),
        Some(passed) => socket::share(&passed, settings.workers_count()),
    }
}

impl BoundProxy {
    /// Binds one socket per worker for clients that speak TLS, and returns their address.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind_secure(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.bind_secure_on(address, None)
    }

    /// The same, but all workers accept from the `passed` socket if there is one.
    ///
    /// # Errors
    /// If the address cannot be bound, or the socket cannot be used.
    pub fn bind_secure_on(&mut self, address: SocketAddr, passed: Option<TcpListener>) -> io::Result<SocketAddr> {
        let (listeners, address) = bind_workers(address, &self.settings, passed)?;
        self.settings.own.push(address);
        self.addresses = self.settings.addresses();
        self.secure_listeners = listeners;
        self.secure_address = Some(address);
        Ok(address)
    }

    /// Binds one UDP socket per worker for HTTP/3, on the address for TLS, which must be bound. Responses over TLS announce it.
    ///
    /// # Errors
    /// If the address cannot be bound.
    #[cfg(feature = "http3")]
    pub fn bind_http3(&mut self) -> io::Result<()> {
        let address = self.secure_address.ok_or_else(|| io::Error::other("HTTP/3 needs an address for TLS"))?;
        for index in 0..self.settings.workers_count() {
            self.udp_sockets.push(socket::listen_udp(address, index == 0 && !self.settings.shares_ports)?);
        }
        let port = self.settings.https_port.unwrap_or(address.port());
        self.settings.alt_svc = http::HeaderValue::try_from(format!("h3=\":{port}\"; ma=86400")).ok();
        Ok(())
    }

    /// Returns the resolver of backend addresses that the workers use. It gives out no listener of this server.
    pub fn addresses(&self) -> AddressResolver {
        self.addresses.clone()
    }

    /// Returns the settings that a reload replaces. The workers notice new ones within a tick.
    pub fn reloadable(&self) -> Arc<ArcSwap<ReloadableSettings>> {
        Arc::clone(&self.reloadable)
    }

    /// Returns the address that clients will connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts the workers, and waits until all of them accept. They read `table` for each request, report breakers that change
    /// state to `reports`, and show `maintenance_pages`.
    ///
    /// # Errors
    /// If a thread cannot be started, or a worker cannot accept.
    pub fn start(
        self,
        table: Arc<ArcSwap<RoutingTable>>,
        reports: Reports,
        maintenance_pages: MaintenancePages,
    ) -> io::Result<Proxy> {
        let phases = watch::Sender::new(StopPhase::Serving);
        let connections = Arc::new(ConnectionCounts::default());
        let count = self.listeners.len();
        let settings = Arc::new(self.settings);
        let mut secure_listeners = self.secure_listeners.into_iter();
        #[cfg(feature = "http3")]
        let mut http3_starts = http3::starts(self.udp_sockets, &settings.certificates, &table)?.into_iter();
        let (mut workers, mut heartbeats) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let counters: Vec<_> =
            (0..count).map(|index| Arc::new(WorkerCounters::new(WorkerId { index, count }))).collect();
        let (ready, readies) = mpsc::channel();
        let ended_early = CancellationToken::new();
        let shared = std::iter::repeat_n((table, reports, maintenance_pages), count).zip(&counters);
        for (index, (listener, ((table, reports, maintenance_pages), counters))) in
            self.listeners.into_iter().zip(shared).enumerate()
        {
            let (ending, ended) = oneshot::channel();
            let (draining, drained) = oneshot::channel();
            let name = format!("proxy-{index}");
            let heartbeat = Heartbeat::new(name.as_str(), clock::now().0);
            heartbeats.push(heartbeat.clone());
            let start = worker::WorkerStart {
                heartbeat,
                counters: Arc::clone(counters),
                ready: ready.clone(),
                id: WorkerId { index, count },
                listener,
                secure_listener: secure_listeners.next(),
                #[cfg(feature = "http3")]
                http3: http3_starts.next(),
                settings: Arc::clone(&settings),
                reloadable: Arc::clone(&self.reloadable),
                addresses: self.addresses.clone(),
                table,
                reports,
                maintenance_pages,
                connections: Arc::clone(&connections),
                phases: phases.subscribe(),
                draining,
            };
            let guard = ended_early.clone().drop_guard();
            let thread = lifecycle::spawn_thread(name, move || {
                // A panic drops it too.
                let _guard = guard;
                worker::run(start);
                drop(ending);
            })?;
            workers.push(WorkerThread { thread, drained, ended });
        }
        drop(ready);
        for _ in 0..count {
            let late = |_| io::Error::other("a worker did not begin");
            readies.recv_timeout(READY_MAX).map_err(late).flatten()?;
        }
        let (address, secure_address) = (self.address, self.secure_address);
        let reloadable = self.reloadable;
        Ok(Proxy { address, secure_address, reloadable, phases, workers, ended: ended_early, heartbeats, counters })
    }
}
