//! Collects the state of all parts at the moment of a scrape.
//!
//! It reads what the parts count anyway, and keeps nothing but its time between two scrapes. Invariants: it waits for no worker and not for the
//! writer; no two instances of the snapshot have the same names.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use opentelemetry_proto::tonic::metrics::v1::Metric;

use super::request_logging::RequestOutlets;
use crate::connection_limits::{ListenerCounts, ListenerTotals, PortConnections};
use crate::domain::{Catalog, Session, Time};
use crate::memory_budget::MemoryBudget;
use crate::metrics::{
    self, AcceptedText, InstanceSample, ListenerSample, ProcessSample, RouteSample, ScrapeText, Snapshot, StoreSample,
    TextTooLong,
};
use crate::proxy::{Proxy, WorkerCounters};
use crate::registry::Registry;
use crate::store;
use crate::telemetry::Log;
use crate::traffic::{Endpoint, HealthState, ReasonCounts, RoutingTable};
use crate::{clock, lifecycle};

/// The number of reloads of the configuration.
#[derive(Debug, Default)]
pub(super) struct ReloadCounts {
    done: AtomicU64,
    refused: AtomicU64,
}

impl ReloadCounts {
    /// Counts a reload.
    pub(super) fn count(&self, is_done: bool) {
        let counter = if is_done { &self.done } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The parts of traffic and of the process that metrics are about.
pub(super) struct MeasuredParts {
    table: Arc<ArcSwap<RoutingTable>>,
    workers: Vec<Arc<WorkerCounters>>,
    log: Log,
    store_url: String,
    pub(super) outlets: RequestOutlets,
}

impl MeasuredParts {
    /// Returns the parts without a proxy.
    pub(super) fn new(
        log: &Log,
        store_url: &str,
        table: &Arc<ArcSwap<RoutingTable>>,
        outlets: &RequestOutlets,
    ) -> Self {
        Self {
            table: Arc::clone(table),
            workers: Vec::new(),
            log: log.clone(),
            store_url: store_url.to_owned(),
            outlets: outlets.clone(),
        }
    }

    /// Adds the workers of the proxy.
    pub(super) fn and(self, proxy: &Proxy) -> Self {
        Self { workers: proxy.counters().to_vec(), ..self }
    }
}

/// All that metrics are about.
pub(super) struct CollectedMetrics {
    pub(super) parts: MeasuredParts,
    pub(super) registry: Registry,
    pub(super) pipe: PortConnections,
    pub(super) api: PortConnections,
    pub(super) memory: MemoryBudget,
    pub(super) reloads: Arc<ReloadCounts>,
    /// The time of the last snapshot.
    pub(super) last: AtomicU64,
}

impl CollectedMetrics {
    /// Returns the text for a scrape. It looks at every route and takes a processor until it is done.
    ///
    /// # Errors
    /// If the text would be too long.
    pub(super) fn text(&self, accepted: AcceptedText) -> Result<ScrapeText, TextTooLong> {
        metrics::text(self.snapshot(), accepted)
    }

    /// Returns the metrics as a collector gets them.
    pub(super) fn otlp(&self) -> Vec<Metric> {
        lifecycle::run_blocking(|| metrics::otlp(self.snapshot(), clock::now()))
    }

    fn snapshot(&self) -> Snapshot {
        let last = Time(self.last.swap(clock::now().0, Ordering::Relaxed)).max(clock::started());
        let (instances, routes) = instances(&self.registry.catalog(), &self.parts.table.load_full(), last);
        let mut unrouted = ReasonCounts::default();
        self.parts.workers.iter().for_each(|worker| unrouted.add(&worker.reasons()));
        let store = store::sizes_of(&self.parts.store_url);
        let store = store.map(|(database, wal)| [("database", database), ("wal", wal)]).into_iter().flatten();
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            instances,
            routes,
            unrouted,
            listeners: self.listeners(),
            certificates: self.registry.certificates().items,
            registry: self.registry.totals(),
            store: store.map(|(file, bytes)| StoreSample { file, bytes }).collect(),
            memory_bytes: self.memory.bytes(),
            memory_bytes_max: self.memory.bytes_max(),
            log_lines_dropped: self.parts.log.dropped_lines(),
            access_lines_dropped: self.access_lines_dropped(),
            otlp_dropped: self.parts.outlets.signals.dropped(),
            reloads: self.reloads.done.load(Ordering::Relaxed),
            reloads_refused: self.reloads.refused.load(Ordering::Relaxed),
            process: ProcessSample::read(),
        }
    }

    /// Returns the number of lines of the access log that were lost; `None` without an access log.
    fn access_lines_dropped(&self) -> Option<u64> {
        let requests = &self.parts.outlets.requests;
        requests.access_log().map(|_| requests.lost_lines())
    }

    fn listeners(&self) -> Vec<ListenerSample> {
        let of_workers = |listener, of: fn(&WorkerCounters) -> &Arc<ListenerCounts>| {
            let mut totals = ListenerTotals::default();
            self.parts.workers.iter().for_each(|worker| totals.add(&of(worker).totals()));
            ListenerSample { listener, totals }
        };
        let of_port = |listener, port: &PortConnections| ListenerSample { listener, totals: port.counts().totals() };
        vec![
            of_port("pipe", &self.pipe),
            of_port("api", &self.api),
            of_workers("http", |worker| &worker.http),
            of_workers("https", |worker| &worker.https),
            of_workers("http3", |worker| &worker.http3),
        ]
    }
}

/// Returns the instances with their active routes. They were looked at before, `last` at this time.
fn instances(catalog: &Catalog, table: &RoutingTable, last: Time) -> (Vec<InstanceSample>, Vec<RouteSample>) {
    let (mut instances, mut routes) = (Vec::new(), Vec::with_capacity(table.len()));
    let mut indexes = HashMap::new();
    let is_replaced = |session: &&Arc<Session>| session.record.replaced.is_some();
    // The routes of a replaced session serve until its successor, which has the same names, applies its own.
    let current = catalog.sessions().filter(|session| !is_replaced(session));
    for session in current.chain(catalog.sessions().filter(is_replaced)) {
        let (service, instance) = (&session.record.service, &session.record.instance);
        let index = *indexes.entry((service, instance)).or_insert_with(|| {
            instances.push(instance_sample(session));
            instances.len() - 1
        });
        let Some(sample) = instances.get_mut(index).filter(|sample| sample.routes == 0) else { continue };
        for endpoint in table.endpoints_of(session.key) {
            sample.routes += 1;
            sample.in_maintenance += usize::from(endpoint.in_maintenance());
            routes.push(route_sample(index, endpoint, last));
        }
    }
    (instances, routes)
}

fn instance_sample(session: &Session) -> InstanceSample {
    let record = &session.record;
    InstanceSample {
        service: record.service.clone(),
        instance: record.instance.clone(),
        routes: 0,
        in_maintenance: 0,
        traffic_percent: record.drain.map_or(100, |drain| drain.traffic_percent(clock::now())),
    }
}

fn route_sample(instance: usize, endpoint: &Endpoint, last: Time) -> RouteSample {
    RouteSample {
        instance,
        id: endpoint.id(),
        healthy: match endpoint.live.health.state() {
            HealthState::Unchecked => None,
            HealthState::Healthy { .. } => Some(true),
            HealthState::Unhealthy => Some(false),
        },
        breaker: endpoint.breaker().map(|breaker| breaker.status().state),
        totals: endpoint.live.totals_since(last).map(Box::new),
    }
}
