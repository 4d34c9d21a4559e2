//! What the data plane is told at its start.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::connect::{AddressResolver, BackendTls, NameLookup};
use crate::connection_limits::ConnectionLimits;
use crate::domain::Forbidden;
use crate::memory_budget::MemoryBudget;

/// What is done with a request that no route is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unmatched {
    /// A 404 page.
    #[default]
    NotFound,
    /// The connection is closed without a word.
    Close,
}

/// See each field; [`Settings::new`] fills in what works for most.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen for HTTP.
    pub http: SocketAddr,
    /// How many workers; 0 for one per core.
    pub workers: usize,
    /// Peers whose word about the client counts.
    pub trusted_proxies: Vec<IpNet>,
    /// What is done with a request that no route is for.
    pub unmatched: Unmatched,
    /// Networks that no backend or page may resolve to.
    pub deny: Vec<IpNet>,
    /// The addresses of the server's other listeners, which nothing is connected to either.
    pub own: Vec<SocketAddr>,
    /// Who looks names up.
    pub names: NameLookup,
    /// How backends are spoken to over TLS, and whose certificates count.
    pub tls: BackendTls,
    /// Client connections and tunnels at once, over all workers; more are answered 503.
    pub connections_max: usize,
    /// Those of one client address, or IPv6 network of 64 bits; trusted proxies are not counted.
    pub address_connections_max: usize,
    /// What heads, bodies and answers under way draw on.
    pub memory: MemoryBudget,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// From a response's end to the next request's first byte.
    pub keep_alive: Duration,
    /// The time that a client may take nothing of its answer before its connection is cut.
    pub body_idle: Duration,
    /// Idle upstream connections per backend and worker.
    pub pool_max: usize,
}

impl Settings {
    /// Those that work for most.
    pub fn new(http: SocketAddr) -> Self {
        Self {
            http,
            workers: 0,
            trusted_proxies: Vec::new(),
            unmatched: Unmatched::NotFound,
            deny: Vec::new(),
            own: Vec::new(),
            names: NameLookup::system(),
            tls: BackendTls::new(),
            connections_max: 16_384,
            address_connections_max: 12_288,
            memory: MemoryBudget::default(),
            header_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            body_idle: Duration::from_mins(5),
            pool_max: 256,
        }
    }

    /// The addresses of backends, but those that are denied and those of the server itself.
    /// The numbers of connections that there may be.
    pub(crate) fn connection_limits(&self) -> ConnectionLimits {
        ConnectionLimits { all: self.connections_max, of_origin: self.address_connections_max }
    }

    pub(crate) fn addresses(&self) -> AddressResolver {
        AddressResolver::new(self.names.clone(), Forbidden::new(&self.deny, &self.own))
    }

    pub(crate) fn workers_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            workers => workers,
        }
    }
}
