//! The payloads of the protocol, with its keys.
//!
//! Every interface sends these and adds no keys of its own.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::domain::{BreakerState, RouteId, Span, Tally, Target, Time};

/// `SESSION_OK`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct SessionView {
    pub session_id: String,
    pub service_name: String,
    pub instance_name: String,
    pub maintenance_port: u16,
    #[serde(serialize_with = "moment")]
    pub connected_at: Time,
    pub uptime_seconds: u64,
    #[serde(serialize_with = "moment")]
    pub last_activity: Time,
    pub routes_active: usize,
    pub routes_staged: usize,
    #[serde(serialize_with = "moment_or_null")]
    pub last_apply: Option<Time>,
    pub revision: u64,
    pub metadata: Box<RawValue>,
}

/// One entry of `ROUTE_LIST_OK`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct RouteView {
    #[serde(serialize_with = "shown")]
    pub route_id: RouteId,
    #[serde(serialize_with = "shown")]
    pub id: RouteId,
    pub domains: Vec<String>,
    pub path: String,
    pub backend: String,
    pub priority: i32,
    pub status: RouteStatus,
}

/// The state of a route between staged and active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteStatus {
    /// The route is active, with no staged change.
    Active,
    /// The route becomes active with the next apply.
    Staged,
    /// The route is active until the next apply.
    PendingRemoval,
}

/// `DIFF_OK`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct DiffView {
    pub routes: RoutesDiff,
    pub headers: TallyView,
    pub options: TallyView,
    pub health: TallyView,
    pub ratelimit: TallyView,
    pub circuit: TallyView,
    pub warnings: Vec<String>,
}

/// The routes in a `DIFF_OK`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct RoutesDiff {
    #[serde(serialize_with = "all_shown")]
    pub added: Vec<RouteId>,
    #[serde(serialize_with = "all_shown")]
    pub removed: Vec<RouteId>,
    #[serde(serialize_with = "all_shown")]
    pub modified: Vec<RouteId>,
}

/// The other sections in a `DIFF_OK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct TallyView {
    pub added: usize,
    pub removed: usize,
    pub modified: usize,
}

impl From<Tally> for TallyView {
    fn from(tally: Tally) -> Self {
        Self { added: tally.added, removed: tally.removed, modified: tally.modified }
    }
}

/// `CIRCUIT_STATUS_OK`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct BreakerView {
    #[serde(flatten)]
    pub numbers: BreakerNumbers,
    pub in_maintenance: bool,
    pub draining: bool,
}

/// The state of a route's backend as traffic sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct BreakerNumbers {
    #[serde(serialize_with = "state")]
    pub state: BreakerState,
    pub failures: u64,
    pub successes: u64,
    #[serde(serialize_with = "moment_or_null")]
    pub last_failure: Option<Time>,
    #[serde(serialize_with = "moment_or_null")]
    pub next_attempt: Option<Time>,
    pub healthy: bool,
    pub last_check: Option<CheckView>,
    pub last_failed_check: Option<CheckView>,
    /// The preference of the member in its pool.
    #[serde(skip)]
    pub preference: Preference,
    /// True if the breaker lets no request through now.
    #[serde(skip)]
    pub refuses: bool,
}

/// The result of a health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckView {
    /// The time of the check.
    #[serde(serialize_with = "moment")]
    pub at: Time,
    /// The reason of a failure; `None` if the check succeeded.
    pub error: Option<String>,
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
        let (state, failures, successes) = (BreakerState::Closed, 0, 0);
        Self {
            state,
            failures,
            successes,
            last_failure: None,
            next_attempt: None,
            healthy: true,
            last_check: None,
            last_failed_check: None,
            preference: Preference::First,
            refuses: false,
        }
    }
}

/// `DRAIN_STATUS_OK`. The numbers are whole, because clients read them into integers and floats.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct DrainView {
    pub active: bool,
    #[serde(serialize_with = "moment")]
    pub started_at: Time,
    pub duration_seconds: u64,
    pub elapsed_seconds: u64,
    pub remaining_seconds: u64,
    pub traffic_percent: u64,
    pub in_flight: u64,
}

/// `MAINT_STATUS_OK`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct MaintenanceView {
    #[serde(serialize_with = "all_shown")]
    pub in_maintenance: Vec<RouteId>,
    pub maintenance_backend: String,
    #[serde(serialize_with = "moment_or_null")]
    pub entered_at: Option<Time>,
}

/// `STATS_OK`, for one route.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct StatsView {
    #[serde(serialize_with = "shown")]
    pub route_id: RouteId,
    #[serde(flatten)]
    pub numbers: RouteNumbers,
}

/// The statistics of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct RouteNumbers {
    pub requests: u64,
    pub errors: u64,
    pub avg_latency_ms: f64,
    pub p50_latency_ms: f64,
    pub p95_latency_ms: f64,
    pub p99_latency_ms: f64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub status_codes: BTreeMap<u16, u64>,
    pub in_flight: u64,
}

/// `BACKEND_OK` or `BACKEND_FAIL`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub enum BackendView {
    /// The backend answered.
    Reachable { reachable: bool, response_time_ms: u64, status_code: u16, tls_valid: bool },
    /// The backend did not answer, for the given reason.
    Unreachable { reachable: bool, error: String },
}

/// A session's configurations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigView {
    /// The session's revision: the number of applies that led to the active configuration.
    pub revision: u64,
    /// The active configuration.
    pub active: ConfigPart,
    /// The configuration after the next apply; `None` if nothing is staged.
    pub staged: Option<ConfigPart>,
}

/// One configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct ConfigPart {
    pub routes: Vec<RouteEntry>,
    pub headers: Vec<HeaderEntry>,
    pub options: Vec<OptionEntry>,
    pub health_checks: Vec<HealthEntry>,
    pub rate_limits: Vec<LimitEntry>,
    pub circuit_breakers: Vec<BreakerEntry>,
}

/// A route of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct RouteEntry {
    #[serde(serialize_with = "shown")]
    pub route_id: RouteId,
    pub domains: Vec<String>,
    pub path: String,
    pub backend: String,
    pub priority: i32,
}

/// A response header of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct HeaderEntry {
    #[serde(serialize_with = "shown")]
    pub target: Target,
    pub name: String,
    pub value: String,
}

/// An option of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct OptionEntry {
    #[serde(serialize_with = "shown")]
    pub target: Target,
    pub key: String,
    pub value: String,
}

/// A health check of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct HealthEntry {
    #[serde(serialize_with = "shown")]
    pub route_id: RouteId,
    pub path: String,
    #[serde(serialize_with = "shown")]
    pub interval: Span,
    #[serde(serialize_with = "shown")]
    pub timeout: Span,
}

/// A rate limit of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct LimitEntry {
    #[serde(serialize_with = "shown")]
    pub target: Target,
    pub requests: u32,
    #[serde(serialize_with = "shown")]
    pub window: Span,
}

/// A circuit breaker of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct BreakerEntry {
    #[serde(serialize_with = "shown")]
    pub target: Target,
    pub threshold: u32,
    #[serde(serialize_with = "shown")]
    pub timeout: Span,
    pub half_open_requests: u32,
}

pub(super) fn shown<T: Display, S: Serializer>(value: &T, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(value)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
pub(super) fn state<S: Serializer>(state: &BreakerState, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(state.name())
}

fn all_shown<S: Serializer>(ids: &[RouteId], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(ids.iter().map(ToString::to_string))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
pub(super) fn moment<S: Serializer>(at: &Time, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(at)
}

#[expect(clippy::ref_option, reason = "serde hands fields over by reference")]
pub(in crate::registry) fn moment_or_null<S: Serializer>(at: &Option<Time>, out: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => out.collect_str(at),
        None => out.serialize_none(),
    }
}
