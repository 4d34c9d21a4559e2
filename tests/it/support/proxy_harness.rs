//! A proxy with a routing table of its own. Tests add sessions and routes directly, without the interfaces.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use signalbox::certificates::Certificates;
use signalbox::connect::AddressResolver;
use signalbox::domain::{
    BackendUrl, Catalog, Change, Edit, HeaderKey, Host, InstanceName, OptionKey, PathPrefix, Route, RouteId, Sections,
    ServiceName, SessionKey, SessionRecord, Span, Target, Time,
};
use signalbox::fetch::PageFetcher;
use signalbox::maintenance_pages::MaintenancePages;
use signalbox::proxy::{Proxy, ProxySettings};
use signalbox::reports::Reports;
use signalbox::traffic::{RouteDefaults, RoutingTable};

use super::PATIENCE;
use super::wire::{Message, Wire};

/// A running proxy, and the catalog from which its routing table is built.
pub struct ProxyHarness {
    catalog: Catalog,
    defaults: RouteDefaults,
    table: Arc<ArcSwap<RoutingTable>>,
    proxy: Option<Proxy>,
    certificates: Certificates,
}

impl ProxyHarness {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// Starts the proxy with changed settings. There is one worker unless a test asks for more, so that results do not depend on the worker.
    pub fn with(change: impl FnOnce(&mut ProxySettings)) -> Self {
        let mut settings = ProxySettings::new("127.0.0.1:0".parse().unwrap());
        settings.workers = 1;
        change(&mut settings);
        let table = Arc::new(ArcSwap::default());
        // Maintenance pages are not fetched in these tests.
        let (maintenance_pages, _) =
            MaintenancePages::new(PageFetcher::new(&AddressResolver::default(), &settings.tls), Span::from_secs(10));
        let certificates = settings.certificates.clone();
        let mut bound = Proxy::bind(&settings).unwrap();
        if !settings.certificates.current().configured().is_empty() {
            bound.bind_secure("127.0.0.1:0".parse().unwrap()).unwrap();
            #[cfg(feature = "http3")]
            bound.bind_http3().unwrap();
        }
        let proxy = bound.start(Arc::clone(&table), Reports::default(), maintenance_pages).unwrap();
        Self {
            catalog: Catalog::default(),
            defaults: RouteDefaults::default(),
            table,
            proxy: Some(proxy),
            certificates,
        }
    }

    /// Starts a proxy with one route for every host and path, and with session options.
    pub fn serving(backend: &str, options: &[(&str, &str)]) -> Self {
        let mut harness = Self::new();
        harness.serve("shop", "shop-1", backend, options);
        harness
    }

    /// Adds an instance with the same route as [`Town::serving`].
    pub fn serve(&mut self, service: &str, instance: &str, backend: &str, options: &[(&str, &str)]) -> SessionKey {
        let key = self.session(service, instance);
        let options = options.iter().map(|(name, value)| option(Target::All, name, value));
        self.apply(key, options.collect());
        self.route(key, 1, "*", "/", backend);
        key
    }

    pub fn session(&mut self, service: &str, instance: &str) -> SessionKey {
        let key = self.catalog.next_key();
        let (service, instance) = (ServiceName::parse(service).unwrap(), InstanceName::parse(instance).unwrap());
        let head = SessionRecord::opened(service, instance, u128::from(key.0), Time(0));
        self.change(&Change::Record(key, Arc::new(head)));
        key
    }

    pub fn route(&mut self, key: SessionKey, id: u32, domains: &str, path: &str, backend: &str) {
        self.apply(key, vec![route(id, domains, path, backend)]);
    }

    pub fn apply(&mut self, key: SessionKey, edits: Vec<Edit>) {
        self.change(&Change::Apply { key, sections: Sections::ALL, edits: edits.into() });
    }

    pub fn change(&mut self, change: &Change) {
        self.catalog.absorb(change);
        let mut table = RoutingTable::clone(&self.table.load());
        table.absorb(&self.catalog, change, &self.defaults);
        // There is no health checker in these tests.
        table.assume_healthy();
        self.table.store(Arc::new(table));
    }

    pub fn head(&self, key: SessionKey) -> Arc<SessionRecord> {
        Arc::clone(&self.catalog.by_key(key).unwrap().record)
    }

    pub fn table(&self) -> Arc<RoutingTable> {
        self.table.load_full()
    }

    /// The certificates for clients that speak TLS.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    pub fn address(&self) -> SocketAddr {
        self.proxy.as_ref().unwrap().address()
    }

    /// The address for TLS, which there is if the settings have certificates.
    pub fn secure_address(&self) -> SocketAddr {
        self.proxy.as_ref().unwrap().secure_address().unwrap()
    }

    pub fn connect(&self) -> Wire {
        Wire::connect(self.address())
    }

    /// Sends one request on a new connection and reads the response.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Message {
        let mut wire = self.connect();
        wire.send(request);
        wire.message().expect("no answer")
    }

    pub fn get(&self, host: &str, target: &str) -> Message {
        self.ask(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n"))
    }

    pub fn stop(&mut self, grace: Duration) {
        if let Some(proxy) = self.proxy.take() {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(proxy.stop(grace));
        }
    }
}

impl Drop for ProxyHarness {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

pub fn route(id: u32, domains: &str, path: &str, backend: &str) -> Edit {
    let route = Route {
        id: RouteId(id),
        name: None,
        domains: Host::parse_list(domains).unwrap(),
        path: PathPrefix::parse(path).unwrap(),
        backend: BackendUrl::parse(backend).unwrap(),
        priority: 0,
    };
    Edit::Route(RouteId(id), Some(Arc::new(route)))
}

pub fn option(target: Target, key: &str, value: &str) -> Edit {
    Edit::Option(target, OptionKey::parse(key).unwrap(), Some(value.into()))
}

pub fn header(target: Target, name: &str, value: &str) -> Edit {
    Edit::Header(target, HeaderKey::parse(name).unwrap(), Some(value.into()))
}

/// Waits until a condition holds.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
