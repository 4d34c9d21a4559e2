//! The state of the server at the moment of a scrape.

use crate::connection_limits::ListenerTotals;
use crate::domain::{BreakerState, InstanceName, RouteId, ServiceName, Time};
use crate::registry::{CertificateView, RegistryTotals};
use crate::traffic::{ReasonCounts, RequestTotals};

use super::process::ProcessSample;

/// The state of the server at the moment of a scrape.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct Snapshot {
    pub version: &'static str,
    pub instances: Vec<InstanceSample>,
    /// The active routes, those of one instance side by side.
    pub routes: Vec<RouteSample>,
    /// The refusals of requests for no known route.
    pub unrouted: ReasonCounts,
    pub listeners: Vec<ListenerSample>,
    pub certificates: Vec<CertificateView>,
    pub registry: RegistryTotals,
    pub store: Vec<StoreSample>,
    pub memory_bytes: usize,
    pub memory_bytes_max: usize,
    pub log_lines_dropped: u64,
    /// `None` without an access log.
    pub access_lines_dropped: Option<u64>,
    /// The losses of each signal for a collector that gets it.
    pub otlp_dropped: Vec<(&'static str, u64)>,
    pub reloads: u64,
    pub reloads_refused: u64,
    pub process: ProcessSample,
}

/// An instance.
#[derive(Clone, Debug)]
pub struct InstanceSample {
    /// Its service.
    pub service: ServiceName,
    /// Its name.
    pub instance: InstanceName,
    /// The number of its active routes.
    pub routes: usize,
    /// The number of those in maintenance.
    pub in_maintenance: usize,
    /// Its share of traffic in percent; 100 unless it drains.
    pub traffic_percent: u64,
}

/// An active route.
#[derive(Debug)]
pub struct RouteSample {
    /// The index of its instance in the snapshot.
    pub instance: usize,
    /// Its id.
    pub id: RouteId,
    /// The health of its backend; `None` before the first check.
    pub healthy: Option<bool>,
    /// The state of its circuit breaker, if it has one.
    pub breaker: Option<BreakerState>,
    /// The counts of its requests; `None` before the first one. Boxed because most routes may have none.
    pub totals: Option<Box<RequestTotals>>,
}

impl RouteSample {
    /// Returns the time from which its requests are counted, if it is known.
    pub(super) fn since(&self) -> Option<Time> {
        self.totals.as_ref()?.since
    }
}

/// The connections of a listener.
#[derive(Clone, Debug)]
pub struct ListenerSample {
    /// The name of the listener.
    pub listener: &'static str,
    /// Its counts.
    pub totals: ListenerTotals,
}

/// A file of the store.
#[derive(Clone, Copy, Debug)]
pub struct StoreSample {
    /// Its use.
    pub file: &'static str,
    /// Its size.
    pub bytes: u64,
}
