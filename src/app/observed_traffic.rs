//! Traffic as the registry sees it: its numbers, its state, and the requests that the registry makes to it.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::clock;
use crate::domain::{Event, Forbidden, Options, PageUrl, RouteId, SessionKey, Span, Time};
use crate::fetch::{CertificatePolicy, PageFetcher, PageRequest};
use crate::lifecycle::Heartbeat;
use crate::proxy::WorkerCounters;
use crate::registry::queries::traffic_totals::TrafficTotals;
use crate::registry::queries::views::{BreakerNumbers, CheckView, FailureView, Preference, RouteNumbers};
use crate::registry::{BoxFuture, PageResponse, PageTrust, Traffic};
use crate::reports::{Report, Reports};
use crate::traffic::{Endpoint, HealthState, RoutingTable};

use super::totalled_traffic::totals_of;

/// Implements the registry's view of traffic.
pub(super) struct ObservedTraffic {
    pub(super) table: Arc<ArcSwap<RoutingTable>>,
    pub(super) prober: PageFetcher,
    pub(super) reports: Reports,
    /// The options in the configuration file.
    pub(super) defaults: Options,
    /// Set once all parts have started.
    pub(super) parts: Arc<OnceLock<StartedParts>>,
}

/// The parts that carry traffic and check backends.
pub(super) struct StartedParts {
    /// Their signs of life.
    pub(super) heartbeats: Vec<Heartbeat>,
    /// The counters of the proxy's workers.
    pub(super) workers: Vec<Arc<WorkerCounters>>,
}

impl Traffic for ObservedTraffic {
    fn silent_parts(&self) -> Vec<String> {
        let now = clock::now().0;
        let parts = self.parts.get().map(|parts| parts.heartbeats.as_slice()).unwrap_or_default();
        parts.iter().filter_map(|part| part.silent(now)).map(str::to_owned).collect()
    }

    fn numbers(&self, session: SessionKey, route: RouteId) -> RouteNumbers {
        let numbers = self.table.load().stats(session, route);
        RouteNumbers {
            requests: numbers.requests,
            errors: numbers.errors,
            avg_latency_ms: numbers.avg_latency_ms,
            p50_latency_ms: numbers.p50_latency_ms,
            p95_latency_ms: numbers.p95_latency_ms,
            p99_latency_ms: numbers.p99_latency_ms,
            bytes_sent: numbers.bytes_sent,
            bytes_received: numbers.bytes_received,
            status_codes: numbers.status_codes,
            in_flight: numbers.in_flight,
        }
    }

    fn totals(&self) -> TrafficTotals {
        let workers = self.parts.get().map(|parts| parts.workers.as_slice()).unwrap_or_default();
        totals_of(&self.table.load(), workers)
    }

    fn breaker(&self, session: SessionKey, route: RouteId) -> BreakerNumbers {
        let table = self.table.load();
        let Some(endpoint) = table.endpoint(session, route) else { return BreakerNumbers::default() };
        let now = clock::now();
        let known = BreakerNumbers {
            refuses: endpoint.breaker().is_some_and(|breaker| !breaker.would_allow(now)),
            ..seen(endpoint, now)
        };
        let Some(status) = endpoint.breaker().map(|breaker| breaker.status()) else { return known };
        BreakerNumbers {
            state: status.state,
            failures: status.failures.into(),
            successes: status.successes.into(),
            last_failure: status.last_failure,
            next_attempt: status.next_attempt,
            ..known
        }
    }

    fn reset_breaker(&self, session: SessionKey, route: RouteId) {
        if let Some(endpoint) = self.table.load().endpoint(session, route) {
            self.close_breaker(endpoint);
        }
    }

    fn default_options(&self) -> Options {
        self.defaults.clone()
    }

    fn vouch(&self, session: SessionKey, routes: &[RouteId]) {
        let (table, now) = (self.table.load(), clock::now());
        for route in routes.iter().copied() {
            let Some(endpoint) = table.endpoint(session, route) else { continue };
            endpoint.live.connect_backoff.record_success();
            self.close_breaker(endpoint);
            if let Some(turn) = endpoint.live.health.mark_healthy(now) {
                let (healthy, reason) = (turn.healthy, turn.reason.to_string());
                self.report(endpoint, Event::BackendHealthChanged { route, healthy, reason });
            }
        }
    }

    fn forbidden(&self) -> Forbidden {
        Forbidden::clone(&self.prober.forbidden())
    }

    fn in_flight(&self, session: SessionKey) -> u64 {
        self.table.load().in_flight(session)
    }

    fn get<'a>(
        &'a self,
        session: SessionKey,
        page: &'a PageUrl,
        timeout: Span,
        trust: PageTrust,
    ) -> BoxFuture<'a, Result<PageResponse, String>> {
        let (wanted, trust) = self.wanted(page, trust);
        Box::pin(async move {
            let fetched = self.prober.get(session, wanted, timeout, trust).await?;
            Ok(PageResponse { status: fetched.status, took: fetched.took, tls_valid: fetched.tls_valid })
        })
    }
}

/// Returns the results of checks and connections of an endpoint.
fn seen(endpoint: &Endpoint, now: Time) -> BreakerNumbers {
    let (health, reach) = (&endpoint.live.health, &endpoint.live.connect_backoff);
    let (checked, last_failed) = (health.last_checks(), endpoint.live.failures.last());
    let reason = checked.reason.as_deref().unwrap_or_default();
    let preference = match health.state() {
        HealthState::Unhealthy => Preference::Last,
        _ if reach.is_backing_off(now) => Preference::Last,
        HealthState::Unchecked => Preference::New,
        HealthState::Healthy { .. } => Preference::First,
    };
    BreakerNumbers {
        healthy: health.is_healthy(),
        preference,
        last_check: checked.last_check.map(|at| CheckView { at, error: checked.failing.then(|| reason.to_owned()) }),
        last_failed_check: checked.last_failure.map(|at| CheckView { at, error: Some(reason.to_owned()) }),
        last_failed_request: last_failed.map(|(at, reason)| FailureView { at, reason: reason.to_string() }),
        ..BreakerNumbers::default()
    }
}

impl ObservedTraffic {
    fn report(&self, endpoint: &Arc<Endpoint>, event: Event) {
        self.reports.push(Report::seen(endpoint, event));
    }

    fn close_breaker(&self, endpoint: &Arc<Endpoint>) {
        if let Some(flip) = endpoint.breaker().and_then(|breaker| breaker.reset()) {
            self.report(endpoint, Event::CircuitStateChanged { route: endpoint.id(), state: flip.state() });
        }
    }

    fn wanted<'a>(&self, page: &'a PageUrl, trust: PageTrust) -> (PageRequest<'a>, CertificatePolicy) {
        let mut wanted = PageRequest::from(page);
        let (session, route) = match trust {
            PageTrust::Required => return (wanted, CertificatePolicy::Required),
            PageTrust::Reported => return (wanted, CertificatePolicy::Reported),
            PageTrust::AsRoute(session, route) => (session, route),
        };
        let table = self.table.load();
        let Some(endpoint) = table.endpoint(session, route) else { return (wanted, CertificatePolicy::Required) };
        let options = endpoint.options();
        (wanted.host, wanted.method) = (endpoint.check_host(), options.health_check_method);
        (wanted, if options.tls_verify { CertificatePolicy::Required } else { CertificatePolicy::Ignored })
    }
}
