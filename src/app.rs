//! Connects the parts, and starts and stops them in the right order.
//!
//! Start: all ports are bound first, so that a taken port stops the start before anything is changed. Then the store
//! is opened and the routing table is built. Then traffic is let in, so that stored routes serve from the first
//! connection on. Stop: event streams and tunnels are asked to end, and what is in flight finishes, while all ports
//! still serve. Then the pipe executes what clients have sent and announces the stop, the other interfaces and the store
//! close, and the proxy's ports close last.

mod announcement;
mod certs_command;
mod checked_config;
mod collected_metrics;
mod collector;
mod event_forwarder;
mod handover;
mod live_parts;
mod observed_traffic;
mod obtaining;
mod ports;
mod publishing;
mod reload_command;
mod reloader;
mod renewal;
mod request_logging;
mod restore_command;
mod services;
mod services_file;
mod services_folder;
mod settings;
mod signals;
mod static_services;
mod table_publisher;
mod totalled_traffic;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::checks::Checker;
use crate::config::{self, Cli, ServerConfig};
use crate::domain::Span;
use crate::fetch::PageFetcher;
use crate::lifecycle::{self, Heartbeat, Lifecycle};
use crate::maintenance_pages::MaintenancePages;
use crate::memory_budget::MemoryBudget;
use crate::registry::commands::Announce;
use crate::registry::{self, CallOrigin, Registry};
use crate::reports::Reports;
use crate::sockets::InheritedSockets;
use crate::store::SuccessorClaim;
use crate::telemetry::Log;
use crate::traffic::RoutingTable;
use crate::{api_listener, clock, proxy, random, sockets};
use announcement::Announcement;
pub use certs_command::{DnsProofReport, report_dns_proof};
use checked_config::CheckedConfig;
use collected_metrics::MeasuredParts;
use event_forwarder::forward_events;
use handover::{await_store, await_successor, open_store};
use live_parts::{LiveParts, LivePorts, LiveProxy};
use observed_traffic::{ObservedTraffic, StartedParts};
use obtaining::Obtaining;
use ports::OpenPorts;
use publishing::PublishedPort;
pub use reload_command::reload;
use reloader::{ConfigSource, Reloader};
use request_logging::{RequestLogging, RequestOutlets};
pub use restore_command::restore;
use services::route_defaults;
use settings::{acceptor, backend_tls, load_certificates, proxy_settings, registry_limits, serve_proxy};
use signals::{FileSignals, Signals};
use static_services::StaticServices;
use table_publisher::TablePublisher;

/// The maximum time for running requests after long streams were asked to end, while the ports are open.
const OPEN_GRACE: Duration = Duration::from_secs(25);
/// The maximum time for the requests of the last moment, if those before took all of theirs.
const LAST_GRACE: Duration = Duration::from_secs(5);
/// The maximum time for a running request from there on, in all.
const GRACE: Duration = Duration::from_secs(30);
/// The maximum time for connections and the store after that.
const CLOSE: Duration = Duration::from_secs(10);

/// The time after which a maintenance page is fetched again.
const PAGE_FRESH_FOR: Span = Span::from_secs(10);

/// Runs the server until a signal stops it.
///
/// # Errors
/// If a part cannot start or fails. The error says what to change.
pub fn run(cli: Cli, config: ServerConfig, log: Log) -> anyhow::Result<()> {
    let source = ConfigSource::read(cli, log, config)?;
    let config = &source.config;
    clock::start().context(
        "the system clock says a time before 1970; set it (`date --set`, or a time service) and start again",
    )?;
    sockets::raise_descriptor_limit(
        config.plain.pipe.connections.all,
        config.plain.api.connections.all,
        config.plain.proxy.connections.all,
    );
    // Before any thread starts.
    let passed = InheritedSockets::take(&config::passed_socket_names())
        .context("the service manager passes a socket that cannot be used; all must be listening TCP sockets")?;
    // Few threads: SQLite has its own, and waking another thread costs a command more than that thread would do.
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().clamp(2, 4) - 1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the control threads")?;
    runtime.block_on(serve(source, passed))
}

/// Checks everything that a start would read of the configuration: its values and the files that they name.
///
/// # Errors
/// The error that would stop the start.
pub fn check(config: ServerConfig) -> anyhow::Result<()> {
    let config = CheckedConfig::new(config)?;
    load_certificates(&config)?;
    backend_tls(config.plain.ca.as_deref())?;
    request_logging::check(&config)?;
    static_services::check(&config.plain).map_err(|faults| anyhow!(faults))
}

async fn serve(source: ConfigSource, passed: InheritedSockets) -> anyhow::Result<()> {
    let (mut signals, of_files) = Signals::listen()?;
    let mut server = tokio::select! {
        started = Server::start(source, passed, of_files) => started?,
        signal = signals.stop() => {
            tracing::info!(signal, "stopped before everything had started");
            return Ok(());
        }
    };
    server.announce()?;
    // From here on the server that was here before may end.
    server.claim = None;
    let signal = tokio::select! {
        signal = signals.stop() => {
            tracing::info!(signal, "told to stop");
            Some(signal)
        }
        () = server.failed() => None,
    };
    let failed = signal.is_none();
    let stopping = async {
        // Waiting is in vain for a server with a failed part.
        let left = if failed { GRACE } else { server.drain().await };
        server.stop(left, signal.unwrap_or("a part failed")).await
    };
    tokio::select! {
        stopped = stopping => stopped?,
        _ = signals.stop() => return Err(anyhow!("stopped at once by a second signal; requests in flight were cut off")),
    }
    if failed { Err(anyhow!("stopped because a part of the server failed; see the log")) } else { Ok(()) }
}

/// Returns the parts that the views of traffic read.
fn started(proxy: &proxy::Proxy, checks: Heartbeat) -> StartedParts {
    let heartbeats = proxy.heartbeats().iter().cloned().chain([checks]).collect();
    StartedParts { heartbeats, workers: proxy.counters().to_vec() }
}

/// Records the start, takes up the work that the store kept, and brings the services of files up to date.
async fn resume(
    registry: &Registry,
    config: &CheckedConfig,
    published: Option<&PublishedPort>,
    interfaces: &Lifecycle,
) -> StaticServices {
    // Before anything else can be recorded, and before anybody can ask.
    record(registry, Announce::ServerStarted).await;
    interfaces.spawn("guards", registry.clone().watch_guards(interfaces.stopping().clone()));
    registry.resume().into_iter().for_each(|request| interfaces.spawn_one("maintenance resumed", request));
    let mut services = StaticServices::new(registry.clone(), published.map(|port| port.service.clone()));
    services.look(&config.plain, &CallOrigin::SERVER).await;
    services
}

/// Records a start or a stop in the audit.
async fn record(registry: &Registry, change: Announce) {
    if let Err(error) = registry.execute_one(CallOrigin::SERVER, change.into()).await {
        tracing::warn!(%error, "the audit has no record of a start or a stop");
    }
}

/// The running server.
struct Server {
    store_url: String,
    addresses: ServerAddresses,
    secure: Secure,
    registry: Registry,
    outlets: RequestOutlets,
    proxy: proxy::Proxy,
    /// The tasks of the pipe: its listener and connections.
    pipe: Lifecycle,
    /// The tasks of the API port and of health checks.
    interfaces: Lifecycle,
    /// The task of the writer, which must outlive the others.
    core: Lifecycle,
    /// The claim of this server while it takes over from another one.
    claim: Option<SuccessorClaim>,
}

/// The addresses of the interfaces.
struct ServerAddresses {
    pipe: SocketAddr,
    api: SocketAddr,
}

/// The protection of the interfaces, for the announcement.
struct Secure {
    pipe: bool,
    api: bool,
    needs_token: bool,
}

impl Secure {
    fn of(config: &CheckedConfig) -> Self {
        let needs_token = !config.tokens.is_empty();
        Self { pipe: config.plain.pipe.tls.is_some(), api: config.plain.api.tls.is_some(), needs_token }
    }
}

impl Server {
    async fn start(source: ConfigSource, passed: InheritedSockets, signals: FileSignals) -> anyhow::Result<Self> {
        // Files: a server that cannot use them is not to wait for its turn.
        let config = &source.config;
        let memory = MemoryBudget::new(config.plain.memory.unwrap_or_else(crate::memory_budget::default_bytes));
        let obtaining = Obtaining::default();
        let (loaded, certificates) = (load_certificates(config)?, obtaining.certificates.clone());
        serve_proxy(&certificates, &loaded, config);
        let settings = proxy_settings(config, &memory)?;
        let logging = RequestLogging::start(config, &source.log, settings.workers_count())?;
        let outlets = logging.outlets.clone();
        let (requests, spans) = (outlets.requests.clone(), outlets.signals.spans.clone());
        let (pipe_tls, api_tls) = (acceptor(&loaded, "pipe", &[]), acceptor(&loaded, "api", &api_listener::PROTOCOLS));
        // Ports: nothing is changed if one of them is unusable. Until the other server stops, it has them.
        let (awaited, claim) = await_store(&config.plain.store_url, config.store_wait.map(Span::std)).await?;
        let (shares_ports, tokens) = (claim.is_some(), obtaining.tokens.clone());
        let settings = proxy::ProxySettings { shares_ports, certificates, tokens, requests, spans, ..settings };
        let OpenPorts { pipe: pipe_listener, api: api_listener, published, proxy: bound, settings: proxy_settings } =
            OpenPorts::open(config, passed, settings).await?;
        let (pipe_address, api_address) = (pipe_listener.local_addr()?, api_listener.local_addr()?);

        // Traffic, and the registry over the store.
        let table = Arc::new(ArcSwap::from_pointee(RoutingTable::default()));
        let (changed, reports) = (Arc::new(Notify::new()), Reports::default());
        let defaults = Arc::new(ArcSwap::from_pointee(route_defaults(config, random::bits())));
        let publisher = TablePublisher::new(&table, &[&changed, &obtaining.changed], &reports, &defaults);
        let prober = PageFetcher::new(&bound.addresses(), &proxy_settings.tls);
        let (maintenance_pages, refresher) = MaintenancePages::new(prober.clone(), PAGE_FRESH_FOR);
        let checks = Heartbeat::new("the checker", clock::now().0);
        let parts = Arc::new(OnceLock::new());
        let traffic = Arc::new(ObservedTraffic {
            table: Arc::clone(&table),
            prober,
            reports: reports.clone(),
            defaults: config.default_options.clone(),
            parts: Arc::clone(&parts),
        });
        let store = open_store(awaited, &config.plain.store_url).await?;
        let tokens = config.tokens.clone().into();
        let opened = registry::open(store, publisher, traffic, registry_limits(config), tokens).await;
        let (registry, writer) = opened.with_context(|| format!("cannot read the store {}", config.plain.store_url))?;

        // Tasks: the writer, the checker, the proxy, then the interfaces.
        let [core, interfaces, pipe] = [(); 3].map(|()| Lifecycle::new());
        core.spawn("writer", writer.run(core.stopping().clone()));
        let services = resume(&registry, config, published.as_ref(), &interfaces).await;
        table.load().assume_healthy();
        let acme = obtaining.start(config, &table, &interfaces)?;
        let reporting =
            forward_events(reports.clone(), Arc::clone(&table), registry.clone(), interfaces.stopping().clone());
        interfaces.spawn("reports", reporting);
        let (addresses, tls, heartbeat) = (bound.addresses(), proxy_settings.tls.clone(), checks.clone());
        let checker =
            Checker { table: Arc::clone(&table), changed, addresses, tls, reports: reports.clone(), heartbeat };
        interfaces.spawn("checker", checker.run(interfaces.stopping().clone()));
        interfaces.spawn("maintenance pages", refresher.run(interfaces.stopping().clone()));
        let (addresses, reloadable, backend_tls) = (bound.addresses(), bound.reloadable(), proxy_settings.tls);
        let live_proxy =
            LiveProxy { reloadable, addresses, certificates: proxy_settings.certificates, backend_tls, defaults };
        let measured = MeasuredParts::new(&source.log, &config.plain.store_url, &table, &outlets);
        let proxy = bound.start(table, reports, maintenance_pages).context("cannot start the proxy's threads")?;
        let _ = parts.set(started(&proxy, checks));
        let ports = LivePorts { api_address, pipe_tls, api_tls };
        let parts = LiveParts::new(config, &registry, ports, live_proxy, memory, &interfaces, measured.and(&proxy));
        parts.listen((pipe_listener, api_listener, published), &registry, &pipe);
        let (store_url, secure) = (config.plain.store_url.clone(), Secure::of(config));
        let reloader = Reloader::new(source, registry.clone(), parts, acme, logging, (loaded, services));
        reloader.start(signals, &interfaces)?;
        let addresses = ServerAddresses { pipe: pipe_address, api: api_address };
        Ok(Self { store_url, addresses, secure, registry, outlets, proxy, pipe, interfaces, core, claim })
    }

    /// Prints all addresses and, while nothing is registered, the first steps.
    fn announce(&self) -> anyhow::Result<()> {
        let catalog = self.registry.catalog();
        let announcement = Announcement {
            pipe: self.addresses.pipe,
            api: self.addresses.api,
            proxy: self.proxy.address(),
            proxy_tls: self.proxy.secure_address(),
            store: &self.store_url,
            sessions: catalog.sessions_len(),
            routes: catalog.routes_len(),
            pipe_has_tls: self.secure.pipe,
            api_has_tls: self.secure.api,
            needs_token: self.secure.needs_token,
        };
        let page = announcement.page();
        // On its own thread, and without regard to errors: standard output may block or be closed, and the server
        // runs nevertheless.
        let say = move || drop(writeln!(std::io::stdout(), "{page}"));
        lifecycle::spawn_thread("announcement".to_owned(), say).context("cannot start another thread")?;
        Ok(())
    }

    /// Returns when a part has failed that the server cannot do without.
    async fn failed(&self) {
        tokio::select! {
            () = self.pipe.stopping().cancelled() => {}
            () = self.interfaces.stopping().cancelled() => {}
            () = self.core.stopping().cancelled() => {}
            () = self.proxy.failed() => {}
        }
    }

    /// Ends what would outlast the stop while everything is still served. Returns the time that is left for requests.
    async fn drain(&mut self) -> Duration {
        tracing::info!("stopping: event streams and WebSockets are asked to end, requests in flight may finish");
        let (began, streams) = (clock::instant(), self.proxy.drain_time());
        tokio::join!(self.registry.drain_streams(streams), self.proxy.drain(streams, OPEN_GRACE));
        let drained = clock::instant().saturating_duration_since(began);
        (streams + GRACE).saturating_sub(drained).clamp(LAST_GRACE, GRACE)
    }

    /// Stops the server; requests may take the time `left`. The ports of the proxy close last, so that hardly any time passes
    /// between that and the end of the process.
    async fn stop(self, left: Duration, reason: &'static str) -> anyhow::Result<()> {
        tracing::info!("the ports close");
        self.registry.announce_shutdown();
        let pipe_closed = self.pipe.end(CLOSE).await;
        if !self.interfaces.end(CLOSE).await || !pipe_closed {
            tracing::warn!("some connections of clients did not close in time");
        }
        record(&self.registry, Announce::ServerStopped { reason }).await;
        let stored = self.core.end(CLOSE).await;
        await_successor(&self.store_url).await;
        self.proxy.stop(left).await;
        self.outlets.finish().await;
        if !stored {
            return Err(anyhow!("the store did not close in time"));
        }
        tracing::info!("stopped");
        Ok(())
    }
}
