//! The settings of the data plane.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

use crate::certificates::{Certificates, HttpChallenges};
use crate::connect::{AddressResolver, BackendTls, NameLookup};
use crate::connection_limits::ConnectionLimits;
use crate::domain::Forbidden;
use crate::memory_budget::MemoryBudget;
use crate::otlp::Spans;
use crate::request_log::RequestLog;

/// The treatment of a request that no route matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnmatchedPolicy {
    /// A 404 page.
    #[default]
    NotFound,
    /// The connection is closed without an answer.
    Close,
}

/// The settings of the data plane. [`ProxySettings::new`] returns good defaults.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// The address to listen on.
    pub http: SocketAddr,
    /// True if another server may have the ports for a while.
    pub shares_ports: bool,
    /// The certificates for clients that speak TLS.
    pub certificates: Certificates,
    /// The port of https in redirects; `None` for 443.
    pub https_port: Option<u16>,
    /// The field that announces HTTP/3 on responses over TLS (`Alt-Svc`); `None` if HTTP/3 is not spoken.
    pub alt_svc: Option<HeaderValue>,
    /// The number of workers; 0 for one per core.
    pub workers: usize,
    /// The peers that are trusted to name the client.
    pub trusted_proxies: Vec<IpNet>,
    /// The peers that send a PROXY header at the beginning of each connection.
    pub proxy_protocol: Vec<IpNet>,
    /// The treatment of a request that no route matches.
    pub unmatched: UnmatchedPolicy,
    /// True if clients learn why a backend failed their request.
    pub error_details: bool,
    /// The networks that no backend or page may resolve to.
    pub deny: Vec<IpNet>,
    /// The addresses of the server's listeners, to which no connection is made either.
    pub own: Vec<SocketAddr>,
    /// The lookup of names.
    pub names: NameLookup,
    /// TLS to backends, with the certificates that are trusted.
    pub tls: BackendTls,
    /// The tokens that the plain port answers before it routes a request.
    pub tokens: HttpChallenges,
    /// The most client connections and tunnels at once, over all workers; more are answered 503.
    pub connections_max: usize,
    /// The most connections of one client address or IPv6 /64 network. Trusted proxies are not counted.
    pub address_connections_max: usize,
    /// Those who want to know of the requests that end.
    pub requests: RequestLog,
    /// The spans of sampled requests, if a collector gets them.
    pub spans: Option<Arc<Spans>>,
    /// The memory budget of heads, bodies and responses under way.
    pub memory: MemoryBudget,
    /// The most time from the first byte of a head to its last.
    pub header_timeout: Duration,
    /// The most time from the end of a response to the first byte of the next request.
    pub keep_alive: Duration,
    /// The time after which a client that takes nothing of its response is cut.
    pub body_idle: Duration,
    /// The time after which a stream is reset whose client gives no window for it, or reads nothing of its connection.
    pub window_timeout: Duration,
    /// The most idle upstream connections per backend and worker.
    pub pool_max: usize,
    /// The time over which event streams and tunnels are asked to end before a stop.
    pub drain: Duration,
}

/// The settings that a reload replaces while the workers run.
#[derive(Clone, Debug)]
pub struct ReloadableSettings {
    /// As in [`ProxySettings`].
    pub trusted_proxies: Vec<IpNet>,
    /// As in [`ProxySettings`].
    pub proxy_protocol: Vec<IpNet>,
    /// As in [`ProxySettings`].
    pub unmatched: UnmatchedPolicy,
    /// As in [`ProxySettings`].
    pub error_details: bool,
    /// As in [`ProxySettings`].
    pub connections_max: usize,
    /// As in [`ProxySettings`].
    pub address_connections_max: usize,
    /// As in [`ProxySettings`].
    pub drain: Duration,
}

impl ReloadableSettings {
    /// Returns the limits on client connections.
    pub(crate) fn connection_limits(&self) -> ConnectionLimits {
        ConnectionLimits { all: self.connections_max, of_origin: self.address_connections_max }
    }

    /// Returns true if connections of a peer begin with a PROXY header.
    pub(crate) fn expects_proxy_header(&self, peer: IpAddr) -> bool {
        self.proxy_protocol.iter().any(|net| net.contains(&peer.to_canonical()))
    }
}

impl ProxySettings {
    /// Returns the defaults for an address.
    pub fn new(http: SocketAddr) -> Self {
        Self {
            http,
            shares_ports: false,
            certificates: Certificates::new(),
            https_port: None,
            alt_svc: None,
            workers: 0,
            trusted_proxies: Vec::new(),
            proxy_protocol: Vec::new(),
            unmatched: UnmatchedPolicy::NotFound,
            error_details: false,
            deny: Vec::new(),
            own: Vec::new(),
            names: NameLookup::system(),
            tls: BackendTls::new(),
            tokens: HttpChallenges::default(),
            connections_max: 16_384,
            address_connections_max: 12_288,
            requests: RequestLog::default(),
            spans: None,
            memory: MemoryBudget::default(),
            header_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            body_idle: Duration::from_mins(5),
            window_timeout: Duration::from_secs(30),
            pool_max: 256,
            drain: Duration::from_secs(10),
        }
    }

    /// The limits on the TLS handshakes of one worker. One client address gets a quarter.
    pub(crate) const HANDSHAKE_LIMITS: ConnectionLimits = ConnectionLimits { all: 1024, of_origin: 256 };

    /// Returns the part that a reload replaces.
    pub fn reloadable(&self) -> ReloadableSettings {
        ReloadableSettings {
            trusted_proxies: self.trusted_proxies.clone(),
            proxy_protocol: self.proxy_protocol.clone(),
            unmatched: self.unmatched,
            error_details: self.error_details,
            connections_max: self.connections_max,
            address_connections_max: self.address_connections_max,
            drain: self.drain,
        }
    }

    /// Returns the resolver of backend addresses, without those that are denied and those of this server.
    pub(crate) fn addresses(&self) -> AddressResolver {
        AddressResolver::new(self.names.clone(), Forbidden::new(&self.deny, &self.own))
    }

    /// Returns the number of workers.
    pub(crate) fn workers_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            workers => workers,
        }
    }
}
