//! Requests and responses about breakers, drains, maintenance, statistics and backend tests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::numbers::Duration;
use super::values::present;
use super::values::{Backend, Page, Places, Route, Target};

/// The route of a breaker, in a path that takes any target for other calls.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct BreakerPath {
    /// The route.
    pub target: Route,
}

/// The settings of a drain.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({ "duration": "5m" }))]
pub struct StartDrain {
    /// The time in which the share of traffic falls linearly from 100 % to 0 %.
    pub duration: Duration,
}

/// A drain that runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Draining {
    /// The time from which the session gets no new requests.
    #[schema(format = DateTime)]
    pub completes_at: String,
}

/// The targets of maintenance, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct PlacesPath {
    /// `ALL`, route ids, paths (percent-encoded) or domains, separated by commas.
    pub target: Places,
}

/// The settings of maintenance.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({ "page_url": "http://pages.example/down.html" }))]
pub struct EnterMaintenance {
    /// The URL of the page to show during maintenance. A built-in page if left out.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub page_url: Option<Page>,
}

/// The parameters of a request for statistics.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[into_params(parameter_in = Query)]
pub struct StatsQuery {
    /// A route, or `ALL` for all active routes.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub target: Option<Target>,
}

/// A backend to test.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({ "backend_url": "http://10.0.0.7:3000" }))]
pub struct BackendTest {
    /// The backend.
    pub backend_url: Backend,
}

/// A route's circuit breaker.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct Breaker {
    pub state: BreakerState,
    #[schema(minimum = 0)]
    pub failures: u64,
    #[schema(minimum = 0)]
    pub successes: u64,
    #[schema(required, format = DateTime)]
    pub last_failure: Option<String>,
    /// The time at which an open breaker lets a trial request pass.
    #[schema(required, format = DateTime)]
    pub next_attempt: Option<String>,
    /// True if the last health checks succeeded.
    pub healthy: bool,
    /// The last health check; `null` before the first.
    #[schema(required)]
    pub last_check: Option<Check>,
    /// The last health check that failed.
    #[schema(required)]
    pub last_failed_check: Option<Check>,
    pub in_maintenance: bool,
    pub draining: bool,
}

/// The result of a health check.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = HealthCheckResult)]
pub struct Check {
    /// The time of the check.
    #[schema(format = DateTime)]
    pub at: String,
    /// The reason of a failure; `null` if the check succeeded.
    #[schema(required)]
    pub error: Option<String>,
}

/// The state of a circuit breaker.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// Requests are refused.
    Open,
    /// Some requests pass as a trial.
    HalfOpen,
}

/// A drain, running or complete.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct Drain {
    /// True for a running drain, and for a complete one until it is cancelled.
    pub active: bool,
    #[schema(format = DateTime)]
    pub started_at: String,
    #[schema(minimum = 0)]
    pub duration_seconds: u64,
    #[schema(minimum = 0)]
    pub elapsed_seconds: u64,
    #[schema(minimum = 0)]
    pub remaining_seconds: u64,
    #[schema(minimum = 0, maximum = 100)]
    pub traffic_percent: u64,
    /// The number of requests and tunnels in flight.
    #[schema(minimum = 0)]
    pub in_flight: u64,
}

/// The routes that are in maintenance.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct Maintenance {
    pub in_maintenance: Vec<Route>,
    /// The URL of the page that is shown; empty for the built-in page.
    pub maintenance_backend: String,
    #[schema(required, format = DateTime)]
    pub entered_at: Option<String>,
}

/// The statistics of a route since it got its present backend.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct Stats {
    pub route_id: Route,
    #[schema(minimum = 0)]
    pub requests: u64,
    #[schema(minimum = 0)]
    pub errors: u64,
    #[schema(minimum = 0)]
    pub avg_latency_ms: f64,
    #[schema(minimum = 0)]
    pub p50_latency_ms: f64,
    #[schema(minimum = 0)]
    pub p95_latency_ms: f64,
    #[schema(minimum = 0)]
    pub p99_latency_ms: f64,
    #[schema(minimum = 0)]
    pub bytes_sent: u64,
    #[schema(minimum = 0)]
    pub bytes_received: u64,
    /// The number of responses by status.
    #[schema(example = json!({ "200": 12400, "404": 3 }))]
    pub status_codes: BTreeMap<String, u64>,
    #[schema(minimum = 0)]
    pub in_flight: u64,
}

/// The result of a backend test. A backend that does not answer is not an error of the request.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct BackendFound {
    pub reachable: bool,
    /// Present only if the backend answered.
    #[schema(nullable = false, minimum = 0)]
    pub response_time_ms: Option<u64>,
    /// Present only if the backend answered.
    #[schema(nullable = false, minimum = 100, maximum = 999)]
    pub status_code: Option<u16>,
    /// Present only if the backend answered.
    #[schema(nullable = false)]
    pub tls_valid: Option<bool>,
    /// The reason of a failure; present only if the backend did not answer.
    #[schema(nullable = false)]
    pub error: Option<String>,
}
