//! Wires the parts together, and starts and stops them in the right order.
//!
//! Start: every port is bound, so that a taken one stops the start before anything is touched; then the store is
//! opened and the routing table built; then traffic is let in, so that stored routes serve as soon as a
//! connection is accepted. Stop: the pipe executes what clients have sent and tells them, while requests in flight finish; then the other
//! doors close, then the store.

mod announcement;
mod observed;
mod settings;
mod signals;

use std::collections::HashSet;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::checks::Checker;
use crate::config::ServerConfig;
use crate::domain::{Catalog, Change, Span};
use crate::fetch::PageFetcher;
use crate::lifecycle::{self, Heartbeat, Lifecycle};
use crate::maintenance_pages::MaintenancePages;
use crate::memory_budget::MemoryBudget;
use crate::operator_auth::{AllowedHosts, OperatorAuth};
use crate::registry::commands::{Observe, Sight};
use crate::registry::{self, Command, Publish, Registry};
use crate::reports::{Report, Reports};
use crate::store::Sqlite;
use crate::traffic::{RouteDefaults, RoutingTable};
use crate::{api_listener, clock, grpc, pipe, proxy, random, rest, sockets};
use announcement::Announcement;
use observed::Observed;
use settings::{acceptor, pipe_settings, places, proxy_settings, registration_tokens, registry_limits};
use signals::Signals;

/// The time that requests in flight may take once the server is to stop.
const GRACE: Duration = Duration::from_secs(30);
/// The time that connections and the store may take after that.
const CLOSE: Duration = Duration::from_secs(10);

/// After so long a silent stream of events says that it is alive.
const EVENTS_SILENT_MAX: Duration = Duration::from_secs(15);
/// Lower ports are the system's (capabilities(7)).
const PRIVILEGED: u16 = 1024;
/// The time that a maintenance page is shown before it is fetched again.
const PAGE_FRESH_FOR: Span = Span::from_secs(10);

/// Runs the server until it is told to stop.
///
/// # Errors
/// If it cannot start: which part, and what to change.
pub fn run(config: ServerConfig) -> anyhow::Result<()> {
    clock::start().context(
        "the system clock says a time before 1970; set it (`date --set`, or a time service) and start again",
    )?;
    sockets::raise_descriptor_limit(
        config.pipe.connections.all,
        config.api.connections.all,
        config.proxy.connections.all,
    );
    // Few: SQLite has a thread of its own, and one more thread that is woken only to look costs a command more than it carries.
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().clamp(2, 4) - 1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the control threads")?;
    runtime.block_on(serve(config))
}

async fn serve(config: ServerConfig) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let server = tokio::select! {
        started = Server::start(config) => started?,
        signal = signals.stop() => {
            tracing::info!(signal, "stopped before everything had started");
            return Ok(());
        }
    };
    server.announce()?;
    let failed = tokio::select! {
        signal = signals.stop() => {
            tracing::info!(signal, "told to stop");
            false
        }
        () = server.failed() => true,
    };
    tokio::select! {
        stopped = server.stop() => stopped?,
        _ = signals.stop() => return Err(anyhow!("stopped at once by a second signal; requests in flight were cut off")),
    }
    if failed { Err(anyhow!("stopped because a part of the server failed; see the log")) } else { Ok(()) }
}

/// All that runs.
struct Server {
    store_url: String,
    pipe_address: SocketAddr,
    api_address: SocketAddr,
    secure: Secure,
    registry: Registry,
    proxy: proxy::Proxy,
    /// The pipe's listener and connections.
    pipe: Lifecycle,
    /// The API's, and what watches over backends.
    doors: Lifecycle,
    /// The writer, which must outlive the pipe and the doors.
    core: Lifecycle,
}

/// The doors that speak TLS, and what registering takes.
struct Secure {
    pipe: bool,
    api: bool,
    needs_token: bool,
}

impl Server {
    async fn start(config: ServerConfig) -> anyhow::Result<Self> {
        let pipe_listener = listen("the pipe protocol", config.pipe.listen, "pipe.listen", "--pipe-listen").await?;
        let pipe_address = pipe_listener.local_addr()?;
        let api_listener = listen("gRPC and REST", config.api.listen, "api.listen", "--api-listen").await?;
        let api_address = api_listener.local_addr()?;
        let memory = MemoryBudget::new(config.memory.unwrap_or_else(crate::memory_budget::default_bytes));
        let proxy_settings =
            proxy::ProxySettings { own: vec![pipe_address, api_address], ..proxy_settings(&config, &memory)? };
        let pipe_tls = acceptor(config.pipe.tls.as_ref(), &[])?;
        let api_tls = acceptor(config.api.tls.as_ref(), &api_listener::PROTOCOLS)?;
        let (pipe, api, needs_token) = (pipe_tls.is_some(), api_tls.is_some(), !config.tokens.is_empty());
        let secure = Secure { pipe, api, needs_token };
        let bound = proxy::Proxy::bind(&proxy_settings)
            .map_err(|error| taken("HTTP", config.proxy.http, "proxy.http", "--proxy-http", &error))?;

        let table = Arc::new(ArcSwap::from_pointee(RoutingTable::default()));
        let defaults = RouteDefaults {
            options: config.default_options.clone(),
            headers: config.default_headers.clone(),
            seed: random::bits(),
        };
        let (changed, reports) = (Arc::new(Notify::new()), Reports::default());
        let publisher = TablePublisher {
            table: RoutingTable::default(),
            catalog: Arc::default(),
            published: Arc::clone(&table),
            changed: Arc::clone(&changed),
            reports: reports.clone(),
            defaults,
        };
        let prober = PageFetcher::new(&bound.addresses(), &proxy_settings.tls);
        let (maintenance_pages, refresher) = MaintenancePages::new(prober.clone(), PAGE_FRESH_FOR);
        let checks = Heartbeat::new("the checker", clock::now().0);
        let parts = Arc::new(OnceLock::new());
        let observed = Arc::new(Observed {
            table: Arc::clone(&table),
            prober,
            reports: reports.clone(),
            defaults: config.default_options.clone(),
            parts: Arc::clone(&parts),
        });
        let store = Sqlite::open(&config.store_url).await?;
        let (registry, writer) =
            registry::open(store, publisher, observed, registry_limits(&config), registration_tokens(&config.tokens))
                .await
                .with_context(|| format!("cannot read the store {}", config.store_url))?;

        let [core, doors, pipe] = [(); 3].map(|()| Lifecycle::new());
        core.spawn("writer", writer.run(core.stopping().clone()));
        registry.resume().into_iter().for_each(|request| doors.spawn_one("maintenance resumed", request));
        table.load().assume_healthy();
        let reporting = pass_on(reports.clone(), Arc::clone(&table), registry.clone(), doors.stopping().clone());
        doors.spawn("reports", reporting);
        let (addresses, tls, heartbeat) = (bound.addresses(), proxy_settings.tls.clone(), checks.clone());
        let checker =
            Checker { table: Arc::clone(&table), changed, addresses, tls, reports: reports.clone(), heartbeat };
        doors.spawn("checker", checker.run(doors.stopping().clone()));
        doors.spawn("maintenance pages", refresher.run(doors.stopping().clone()));
        let proxy = bound.start(table, reports, maintenance_pages).context("cannot start the proxy's threads")?;
        // Set here alone.
        let _ = parts.set(proxy.heartbeats().iter().cloned().chain([checks]).collect());
        let pipe_settings = pipe_settings(&config, api_address, memory.clone());
        let serving = pipe::serve(pipe_listener, pipe_tls, registry.clone(), pipe_settings, pipe.clone(), random::bits);
        pipe.spawn("pipe", serving);
        let bounds = api_listener::ApiBounds::new(places(&config, config.api.connections), memory);
        let typed = typed_doors(&registry, &config, &doors);
        doors.spawn("API", api_listener::serve(api_listener, api_tls, typed, bounds, doors.clone()));
        Ok(Self { store_url: config.store_url, pipe_address, api_address, secure, registry, proxy, pipe, doors, core })
    }

    /// Says where everything is, and what to type first.
    fn announce(&self) -> anyhow::Result<()> {
        let catalog = self.registry.catalog();
        let announcement = Announcement {
            pipe: self.pipe_address,
            api: self.api_address,
            proxy: self.proxy.address(),
            store: &self.store_url,
            sessions: catalog.sessions_len(),
            routes: catalog.routes_len(),
            pipe_has_tls: self.secure.pipe,
            api_has_tls: self.secure.api,
            needs_token: self.secure.needs_token,
        };
        let page = announcement.page();
        // On a thread of its own, and whatever comes of it: nobody may be reading, and the server runs all the same.
        let say = move || drop(writeln!(std::io::stdout(), "{page}"));
        lifecycle::spawn_thread("announcement".to_owned(), say).context("cannot start another thread")?;
        Ok(())
    }

    /// Returns when a part that the server cannot do without has failed.
    async fn failed(&self) {
        tokio::select! {
            () = self.pipe.stopping().cancelled() => {}
            () = self.doors.stopping().cancelled() => {}
            () = self.core.stopping().cancelled() => {}
            () = self.proxy.failed() => {}
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        tracing::info!("stopping: clients are told, requests in flight may finish");
        self.registry.announce_shutdown();
        let (pipe_closed, ()) = tokio::join!(self.pipe.end(CLOSE), self.proxy.stop(GRACE));
        if !pipe_closed || !self.doors.end(CLOSE).await {
            tracing::warn!("some connections of clients did not close in time");
        }
        if !self.core.end(CLOSE).await {
            return Err(anyhow!("the store did not close in time"));
        }
        tracing::info!("stopped");
        Ok(())
    }
}

async fn listen(what: &str, address: SocketAddr, key: &str, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| taken(what, address, key, flag, &error))
}

fn taken(what: &str, address: SocketAddr, key: &str, flag: &str, error: &std::io::Error) -> anyhow::Error {
    let cannot = format!("cannot listen on {address} for {what}: {error}");
    if error.kind() == ErrorKind::PermissionDenied && address.port() < PRIVILEGED {
        return anyhow!(
            "{cannot}; ports below {PRIVILEGED} need the capability CAP_NET_BIND_SERVICE: give it to the program with \
             `sudo setcap cap_net_bind_service=+ep PROGRAM`, or in a systemd unit with \
             AmbientCapabilities=CAP_NET_BIND_SERVICE, or choose a higher port with {key} or {flag}"
        );
    }
    anyhow!("{cannot}; choose another address with {key} or {flag}")
}

/// gRPC and REST, on one port.
fn typed_doors(registry: &Registry, config: &ServerConfig, lifecycle: &Lifecycle) -> api_listener::ApiServices {
    let operators = Arc::new(OperatorAuth::new(&config.api.operator_tokens));
    let protected = config.api.tls.is_some() || !config.tokens.is_empty();
    let hosts = AllowedHosts::new(protected, config.api.hosts.clone(), Arc::clone(&operators));
    let max_body = config.api.max_body;
    let grpc = grpc::GrpcSettings { max_body, nonce: random::bits, keep_alive: EVENTS_SILENT_MAX };
    let rest = rest::RestSettings {
        max_body,
        cors: config.api.cors.clone(),
        keep_alive: EVENTS_SILENT_MAX,
        ..rest::RestSettings::new(random::bits)
    };
    api_listener::ApiServices {
        is_grpc: grpc::is_call,
        grpc: grpc::routes(registry.clone(), Arc::clone(&operators), lifecycle.clone(), grpc),
        rest: rest::router(registry.clone(), operators, lifecycle.clone(), rest),
        hosts,
        refuse_grpc: grpc::refuse,
        refuse_rest: rest::refuse,
    }
}

/// Shows changes to traffic: the routing table takes them in and is swapped whole.
struct TablePublisher {
    table: RoutingTable,
    /// The table's.
    catalog: Arc<Catalog>,
    published: Arc<ArcSwap<RoutingTable>>,
    /// For the checker.
    changed: Arc<Notify>,
    reports: Reports,
    defaults: RouteDefaults,
}

impl Publish for TablePublisher {
    fn publish(&mut self, catalog: &Arc<Catalog>, changes: &[Change]) {
        let shown = std::mem::replace(&mut self.catalog, Arc::clone(catalog));
        if !changes.iter().any(Change::concerns_traffic) {
            // Staging is most of what a busy registry does; it wakes nobody.
            return;
        }
        let before = self.table.clone();
        let mut step = applies_twice(changes).then(|| Catalog::clone(&shown));
        for change in changes {
            if let Some(step) = &mut step {
                step.absorb(change);
            }
            self.table.absorb(step.as_ref().unwrap_or(catalog), change, &self.defaults);
        }
        debug_assert_eq!(self.table.disagreement(catalog, changes), None);
        self.published.store(Arc::new(self.table.clone()));
        self.reports.tell_ended(&before, &self.table);
        self.changed.notify_one();
    }
}

/// Says whether one session applies more than once. Then each apply is shown as it was: a backend or breaker that the last one brings
/// back is another one than before.
fn applies_twice(changes: &[Change]) -> bool {
    let mut applying = HashSet::new();
    changes.iter().any(|change| matches!(change, Change::Apply { key, .. } if !applying.insert(*key)))
}

/// Hands what traffic saw to the registry, which gives it its place among all that happens, until `stop`.
async fn pass_on(reports: Reports, table: Arc<ArcSwap<RoutingTable>>, registry: Registry, stop: CancellationToken) {
    let observe = |report: Report| {
        let (key, event, table) = (report.endpoint.session, report.event.clone(), Arc::clone(&table));
        Command::Observe(Observe { key, event, sight: Sight(Arc::new(move || report.is_current(&table.load()))) })
    };
    let passing = async {
        loop {
            let commands = reports.next().await.into_iter().map(observe).collect();
            for refused in registry.execute(commands).await.into_iter().filter_map(Result::err) {
                tracing::warn!(%refused, "an event of traffic could not be told");
            }
        }
    };
    tokio::select! {
        () = passing => {}
        () = stop.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_only_root_may_open_names_the_capability() {
        let said = |port: u16, kind: ErrorKind| {
            taken("HTTP", SocketAddr::from(([0, 0, 0, 0], port)), "proxy.http", "--proxy-http", &kind.into())
                .to_string()
        };
        assert!(said(80, ErrorKind::PermissionDenied).contains("CAP_NET_BIND_SERVICE"));
        assert!(!said(80, ErrorKind::AddrInUse).contains("CAP_NET_BIND_SERVICE"));
        assert!(said(8080, ErrorKind::AddrInUse).contains("choose another address with proxy.http or --proxy-http"));
    }
}
