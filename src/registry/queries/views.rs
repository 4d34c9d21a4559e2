//! Parts that several payloads share: what traffic observes of a route, and the notice of lost events.
//!
//! A payload is one type, with the keys of the protocol: the pipe and REST send it as it is, `OpenAPI` describes it, and
//! gRPC converts it. It stands beside the code that makes it. Invariant: no interface adds keys of its own.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{BreakerState, Time};

/// The state of a route's backend as traffic sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct BreakerNumbers {
    pub state: BreakerState,
    pub failures: u64,
    pub successes: u64,
    #[schema(value_type = Option<String>, required, format = DateTime)]
    pub last_failure: Option<Time>,
    /// The time at which an open breaker lets a trial request pass.
    #[schema(value_type = Option<String>, required, format = DateTime)]
    pub next_attempt: Option<Time>,
    /// True if the last health checks succeeded.
    pub healthy: bool,
    /// The last health check; `null` before the first.
    #[schema(required)]
    pub last_check: Option<CheckView>,
    /// The last health check that failed.
    #[schema(required)]
    pub last_failed_check: Option<CheckView>,
    /// The last request that the backend failed. The protocol does not have it.
    #[serde(skip)]
    pub last_failed_request: Option<FailureView>,
    /// The preference of the member in its pool.
    #[serde(skip)]
    pub preference: Preference,
    /// True if the breaker lets no request through now.
    #[serde(skip)]
    pub refuses: bool,
}

/// The result of a health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HealthCheckResult)]
pub struct CheckView {
    /// The time of the check.
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
    /// The reason of a failure; `null` if the check succeeded.
    #[schema(required)]
    pub error: Option<String>,
}

/// The outcome of a health check, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HealthCheckOutcome)]
pub struct CheckOutcomeView {
    /// The time of the check.
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
    /// True if the check succeeded.
    pub ok: bool,
    /// The reason of a failure; `null` if the check succeeded.
    #[schema(required)]
    pub reason: Option<String>,
}

impl From<CheckView> for CheckOutcomeView {
    fn from(CheckView { at, error }: CheckView) -> Self {
        Self { at, ok: error.is_none(), reason: error }
    }
}

/// A request that a backend failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = FailedRequest)]
pub struct FailureView {
    /// The time of the failure.
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
    /// The reason, in words.
    pub reason: String,
}

/// The preference of a member: only members of the highest preference in a pool get requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preference {
    /// A member whose health check failed, or to which no connection was made.
    Last,
    /// A member whose first health check has not ended.
    New,
    /// A healthy member.
    #[default]
    First,
}

/// The numbers of a backend without observations: its breaker is closed, and it counts as healthy.
impl Default for BreakerNumbers {
    fn default() -> Self {
        Self {
            state: BreakerState::Closed,
            failures: 0,
            successes: 0,
            last_failure: None,
            next_attempt: None,
            healthy: true,
            last_check: None,
            last_failed_check: None,
            last_failed_request: None,
            preference: Preference::First,
            refuses: false,
        }
    }
}

/// The statistics of a route since it got its present backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct RouteNumbers {
    pub requests: u64,
    pub errors: u64,
    #[schema(minimum = 0)]
    pub avg_latency_ms: f64,
    #[schema(minimum = 0)]
    pub p50_latency_ms: f64,
    #[schema(minimum = 0)]
    pub p95_latency_ms: f64,
    #[schema(minimum = 0)]
    pub p99_latency_ms: f64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// The number of responses by status.
    #[schema(value_type = BTreeMap<String, u64>, example = json!({ "200": 12400, "404": 3 }))]
    pub status_codes: BTreeMap<u16, u64>,
    pub in_flight: u64,
}

/// The payload of the notice that events were lost.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LaggedView {
    /// The number of events.
    pub missed: u64,
}
