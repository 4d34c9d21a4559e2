//! The parts of the running server that a reload reaches.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;

use super::checked_config::CheckedConfig;
use super::collected_metrics::{CollectedMetrics, MeasuredParts, ReloadCounts};
use super::publishing::{self, PublishedPort};
use super::renewal::WatchedCertificate;
use super::services::{api_services, route_defaults};
use super::settings::{connections_of, pipe_settings, registry_limits, reloadable_settings, serve_proxy};
use crate::api_listener::ApiBounds;
use crate::certificates::Certificates;
use crate::config::ConnectionsConfig;
use crate::connect::{AddressResolver, BackendTls};
use crate::connection_limits::{ConnectionLimits, PortConnections};
use crate::lifecycle::Lifecycle;
use crate::memory_budget::MemoryBudget;
use crate::operator_auth::OperatorAuth;
use crate::proxy::ReloadableSettings;
use crate::registry::{Registry, RegistryRules};
use crate::request_log::RequestLog;
use crate::rest::MetricsSource;
use crate::tls::Acceptor;
use crate::traffic::RouteDefaults;
use crate::{api_listener, pipe, random, sockets};

/// The parts of the running server that a reload reaches.
pub(super) struct LiveParts {
    ports: LivePorts,
    pipe: Arc<ArcSwap<pipe::PipeSettings>>,
    api: Arc<ArcSwap<api_listener::ApiServices>>,
    api_connections: PortConnections,
    published: Arc<ArcSwap<api_listener::ApiServices>>,
    published_connections: PortConnections,
    operators: Arc<OperatorAuth>,
    requests: RequestLog,
    interfaces: Lifecycle,
    proxy: LiveProxy,
    memory: MemoryBudget,
    metrics: MetricsSource,
    reloads: Arc<ReloadCounts>,
}

/// The ports of the pipe and of the API.
pub(super) struct LivePorts {
    pub(super) api_address: SocketAddr,
    /// `None` if the port speaks no TLS; a reload does not change that.
    pub(super) pipe_tls: Option<Acceptor>,
    /// The same for the API port.
    pub(super) api_tls: Option<Acceptor>,
}

/// The settings of traffic.
pub(super) struct LiveProxy {
    pub(super) reloadable: Arc<ArcSwap<ReloadableSettings>>,
    pub(super) addresses: AddressResolver,
    pub(super) certificates: Certificates,
    pub(super) backend_tls: BackendTls,
    pub(super) defaults: Arc<ArcSwap<RouteDefaults>>,
}

impl LiveParts {
    /// Creates the parts of the interfaces. They serve once [`LiveParts::listen`] is called.
    pub(super) fn new(
        config: &CheckedConfig,
        registry: &Registry,
        ports: LivePorts,
        proxy: LiveProxy,
        memory: MemoryBudget,
        interfaces: &Lifecycle,
        measured: MeasuredParts,
    ) -> Self {
        let outlets = measured.outlets.clone();
        let requests = outlets.requests.clone();
        let operators = Arc::new(OperatorAuth::new(&config.operator_tokens));
        let pipe = pipe_settings(config, ports.api_address, memory.clone());
        let api_connections = connections_of(config, config.plain.api.connections);
        let reloads = Arc::new(ReloadCounts::default());
        let collected = Arc::new(CollectedMetrics {
            parts: measured,
            registry: registry.clone(),
            pipe: pipe.connections.clone(),
            api: api_connections.clone(),
            memory: memory.clone(),
            reloads: Arc::clone(&reloads),
            last: AtomicU64::default(),
        });
        let sent = Arc::clone(&collected);
        outlets.signals.observe(registry);
        outlets.signals.send_metrics(&outlets.exports, move || sent.otlp());
        let metrics = MetricsSource::new(move |accepted| collected.text(accepted));
        let has_tls = ports.api_tls.is_some();
        let services = api_services(registry, config, has_tls, &operators, (&requests, &metrics), interfaces);
        let published = publishing::published_services(&services, config, &operators);
        Self {
            ports,
            pipe: Arc::new(ArcSwap::from_pointee(pipe)),
            api: Arc::new(ArcSwap::from_pointee(services)),
            api_connections,
            published: Arc::new(ArcSwap::from_pointee(published)),
            published_connections: publishing::connections(config),
            operators,
            requests,
            interfaces: interfaces.clone(),
            proxy,
            memory,
            metrics,
            reloads,
        }
    }

    /// Counts a reload of the configuration.
    pub(super) fn count_reload(&self, is_done: bool) {
        self.reloads.count(is_done);
    }

    /// Puts other trusted authorities of backends in force.
    pub(super) fn trust(&self, backend_tls: BackendTls) {
        self.proxy.backend_tls.replace(backend_tls);
    }

    /// Starts the tasks of the pipe, of the API port and of the one to which the proxy forwards, if there is one.
    pub(super) fn listen(
        &self,
        (pipe, api, published): (TcpListener, TcpListener, Option<PublishedPort>),
        registry: &Registry,
        pipe_tasks: &Lifecycle,
    ) {
        let (tls, settings) = (self.ports.pipe_tls.clone(), Arc::clone(&self.pipe));
        let serving = pipe::serve(pipe, tls, registry.clone(), settings, pipe_tasks.clone(), random::bits);
        pipe_tasks.spawn("pipe", serving);
        let bounds = |connections: &PortConnections| ApiBounds::new(connections.clone(), self.memory.clone());
        let (tls, tasks) = (self.ports.api_tls.clone(), self.interfaces.clone());
        let (services, bounds_of_api) = (Arc::clone(&self.api), bounds(&self.api_connections));
        self.interfaces.spawn("API", api_listener::serve(api, tls, services, bounds_of_api, tasks.clone()));
        if let Some(PublishedPort { listener, .. }) = published {
            let (services, bounds) = (Arc::clone(&self.published), bounds(&self.published_connections));
            self.interfaces.spawn("published API", api_listener::serve(listener, None, services, bounds, tasks));
        }
    }

    /// Serves these certificates from the next handshake on.
    pub(super) fn serve(&self, certificates: &[WatchedCertificate], config: &CheckedConfig) {
        serve_proxy(&self.proxy.certificates, certificates, config);
        for certificate in certificates {
            let port = match certificate.files.section {
                "pipe" => &self.ports.pipe_tls,
                "api" => &self.ports.api_tls,
                _ => continue,
            };
            if let Some(port) = port {
                port.set_certificate(&certificate.current);
            }
        }
    }

    /// Puts the values of a configuration in force, except those that need a restart. Returns once decisions follow them;
    /// the workers of the proxy take over their own settings with the next tick.
    pub(super) async fn set(&self, config: &CheckedConfig, registry: &Registry) {
        sockets::raise_descriptor_limit(
            config.plain.pipe.connections.all,
            config.plain.api.connections.all,
            config.plain.proxy.connections.all,
        );
        self.memory.resize(config.plain.memory.unwrap_or_else(crate::memory_budget::default_bytes));
        self.operators.set_tokens(&config.operator_tokens);
        let forbidden = self.proxy.addresses.forbidden().denying(&config.plain.deny);
        self.proxy.addresses.set_forbidden(forbidden.clone());
        self.proxy.reloadable.store(Arc::new(reloadable_settings(config)));
        self.set_ports(config, registry);
        let before = self.proxy.defaults.load_full();
        let defaults = route_defaults(config, before.seed);
        let republish = defaults.options != before.options || defaults.headers != before.headers;
        self.proxy.defaults.store(Arc::new(defaults));
        let rules = RegistryRules {
            limits: registry_limits(config),
            tokens: config.tokens.clone().into(),
            forbidden,
            defaults: config.default_options.clone(),
        };
        registry.set_rules(rules, republish).await;
    }

    fn set_ports(&self, config: &CheckedConfig, registry: &Registry) {
        let limits = |counts: ConnectionsConfig| ConnectionLimits { all: counts.all, of_origin: counts.of_address };
        let trusted = || config.plain.proxy.trusted_proxies.clone();
        let open = self.pipe.load().connections.clone();
        open.set_rules(limits(config.plain.pipe.connections), trusted());
        let settings = pipe_settings(config, self.ports.api_address, self.memory.clone());
        self.pipe.store(Arc::new(pipe::PipeSettings { connections: open, ..settings }));
        self.api_connections.set_rules(limits(config.plain.api.connections), trusted());
        let has_tls = self.ports.api_tls.is_some();
        let shared = (&self.requests, &self.metrics);
        let services = api_services(registry, config, has_tls, &self.operators, shared, &self.interfaces);
        publishing::set_limits(&self.published_connections, config);
        self.published.store(Arc::new(publishing::published_services(&services, config, &self.operators)));
        self.api.store(Arc::new(services));
    }
}
