//! The data plane: carries requests from clients to endpoints over HTTP/1.1, to them also over TLS.
//!
//! One current-thread runtime per worker, each with its own `SO_REUSEPORT` listener, upstream connections, resolver and
//! counters, so that a request never crosses threads. The routing table is the one thing shared, read through `arc-swap`.
//! What it is not: a decision. Which endpoint, which headers, whether again: `traffic` says so.
//! What must hold: every map, pool, body and wait here has a bound; a request that panics ends its own connection only.

mod client;
mod context;
mod listener;
mod request;
mod response;
mod settings;
mod upstream;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use listener::worker;
pub use settings::{Settings, Unmatched};

use crate::clock;
use crate::connect::AddressResolver;
use crate::connection_limits::ConnectionCounts;
use crate::lifecycle::{self, Heartbeat};
use crate::maintenance_pages::MaintenancePages;
use crate::reports::Reports;
use crate::traffic::{self, RoutingTable};

/// The time that the workers may take to begin.
const READY_MAX: Duration = Duration::from_secs(10);

/// Every worker's socket, bound and listening, with nobody accepting yet.
#[derive(Debug)]
pub struct Bound {
    settings: Arc<Settings>,
    listeners: Vec<TcpListener>,
    address: SocketAddr,
}

/// The workers, carrying requests.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    stop: CancellationToken,
    grace: Arc<ArcSwap<Duration>>,
    workers: Vec<(JoinHandle<()>, oneshot::Receiver<()>)>,
    /// Cancelled once a worker has ended, however it did.
    ended: CancellationToken,
    heartbeats: Vec<Heartbeat>,
}

impl Proxy {
    /// Binds one socket per worker. All of them before any worker starts: a taken port is a start-up error, and no worker
    /// misses its share of connections.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(settings: &Settings) -> io::Result<Bound> {
        let first = worker::listen(settings.http, true)?;
        let address = first.local_addr()?;
        let mut listeners = vec![first];
        for _ in 1..settings.workers_count() {
            listeners.push(worker::listen(address, false)?);
        }
        let mut settings = settings.clone();
        settings.own.push(address);
        Ok(Bound { settings: Arc::new(settings), listeners, address })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows that the workers still run.
    pub fn heartbeats(&self) -> &[Heartbeat] {
        &self.heartbeats
    }

    /// Waits until a worker has ended, which none does by itself.
    pub async fn failed(&self) {
        self.ended.cancelled().await;
        tracing::error!("a proxy worker ended; stopping");
    }

    /// Stops accepting, lets requests and tunnels under way finish for `grace` at most, then cuts what is left.
    pub async fn stop(self, grace: Duration) {
        self.grace.store(Arc::new(grace));
        self.stop.cancel();
        for (thread, ended) in self.workers {
            // Resolves when the worker's sender is dropped: the last thing its thread does.
            let _ = ended.await;
            let _ = thread.join();
        }
    }
}

impl Bound {
    /// The addresses of backends, as the workers know them: none of them is a listener of this server.
    pub fn addresses(&self) -> AddressResolver {
        self.settings.addresses()
    }

    /// Where clients will connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts the workers, and waits until all accept. They read `table` anew for each request, tell `reports` of breakers that flip, and show the
    /// maintenance pages of `maintenance_pages`.
    ///
    /// # Errors
    /// If a thread cannot be started, or a worker cannot accept.
    pub fn start(
        self,
        table: Arc<ArcSwap<RoutingTable>>,
        reports: Reports,
        maintenance_pages: MaintenancePages,
    ) -> io::Result<Proxy> {
        let stop = CancellationToken::new();
        let grace = Arc::new(ArcSwap::from_pointee(Duration::ZERO));
        let connections = Arc::new(ConnectionCounts::default());
        let count = self.listeners.len();
        let (mut workers, mut heartbeats) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let (ready, readies) = mpsc::channel();
        let ended_early = CancellationToken::new();
        let shared = std::iter::repeat_n((table, reports, maintenance_pages), count);
        for (index, (listener, (table, reports, maintenance_pages))) in
            self.listeners.into_iter().zip(shared).enumerate()
        {
            let (ending, ended) = oneshot::channel();
            let name = format!("proxy-{index}");
            let heartbeat = Heartbeat::new(name.as_str(), clock::now().0);
            heartbeats.push(heartbeat.clone());
            let start = worker::Start {
                heartbeat,
                ready: ready.clone(),
                id: traffic::WorkerId { index, count },
                listener,
                settings: Arc::clone(&self.settings),
                table,
                reports,
                maintenance_pages,
                connections: Arc::clone(&connections),
                stop: stop.clone(),
                grace: Arc::clone(&grace),
            };
            let guard = ended_early.clone().drop_guard();
            let thread = lifecycle::spawn_thread(name, move || {
                // Dropped by a panic too.
                let _guard = guard;
                worker::run(start);
                drop(ending);
            })?;
            workers.push((thread, ended));
        }
        drop(ready);
        for _ in 0..count {
            let late = |_| io::Error::other("a worker did not begin");
            readies.recv_timeout(READY_MAX).map_err(late).flatten()?;
        }
        Ok(Proxy { address: self.address, stop, grace, workers, ended: ended_early, heartbeats })
    }
}
