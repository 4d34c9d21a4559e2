//! Queries for the breakers, drain, maintenance and statistics of a session, and the test of a backend.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{BackendUrl, Error, RouteId, Session, SessionId, Target, Time};

use crate::registry::commands::drain::no_drain;
use crate::registry::commands::session_edit::active_route;
use crate::registry::ports::Traffic;

use super::views::{BreakerNumbers, RouteNumbers};

/// A route's circuit breaker.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Breaker)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct BreakerView {
    #[serde(flatten)]
    #[schema(inline)]
    pub numbers: BreakerNumbers,
    pub in_maintenance: bool,
    pub draining: bool,
}

/// A drain, running or complete.
// The numbers are whole, because clients read them into integers and floats.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Drain)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct DrainView {
    /// True for a running drain, and for a complete one until it is cancelled.
    pub active: bool,
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Time,
    pub duration_seconds: u64,
    pub elapsed_seconds: u64,
    pub remaining_seconds: u64,
    #[schema(maximum = 100)]
    pub traffic_percent: u64,
    /// The number of requests and tunnels in flight.
    pub in_flight: u64,
}

/// The routes that are in maintenance.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Maintenance)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct MaintenanceView {
    pub in_maintenance: Vec<RouteId>,
    /// The URL of the page that is shown; empty for the built-in page.
    pub maintenance_backend: String,
    #[schema(value_type = Option<String>, required, format = DateTime)]
    pub entered_at: Option<Time>,
}

/// The statistics of a route since it got its present backend.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Stats)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct StatsView {
    pub route_id: RouteId,
    #[serde(flatten)]
    #[schema(inline)]
    pub numbers: RouteNumbers,
}

/// The result of a backend test. A backend that does not answer is not an error of the request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = BackendFound)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct BackendView {
    pub reachable: bool,
    /// Present only if the backend answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub response_time_ms: Option<u64>,
    /// Present only if the backend answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 100, maximum = 999)]
    pub status_code: Option<u16>,
    /// Present only if the backend answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tls_valid: Option<bool>,
    /// The reason of a failure; present only if the backend did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<String>,
}

impl BackendView {
    /// Returns the result for a backend that did not answer.
    pub(crate) fn unreachable(error: String) -> Self {
        Self { error: Some(error), ..Self::default() }
    }
}

/// Asks for the state of a route's circuit breaker.
#[derive(Clone, Debug)]
pub struct CircuitBreakerStatus {
    /// The session.
    pub session: SessionId,
    /// The route.
    pub id: RouteId,
}

impl CircuitBreakerStatus {
    pub(crate) fn answer(&self, session: &Session, traffic: &dyn Traffic) -> Result<BreakerView, Error> {
        active_route(session, self.id)?;
        Ok(BreakerView {
            numbers: traffic.breaker(session.key, self.id),
            in_maintenance: session.record.maintenance.of(self.id).is_some(),
            draining: session.record.drain.is_some(),
        })
    }
}

/// Answers `DRAIN_STATUS`.
pub(crate) fn drain_status(session: &Session, now: Time, traffic: &dyn Traffic) -> Result<DrainView, Error> {
    let drain = session.record.drain.ok_or_else(no_drain)?;
    Ok(DrainView {
        active: true,
        started_at: drain.started,
        duration_seconds: drain.span.millis().div_ceil(1000),
        elapsed_seconds: now.since(drain.started).min(drain.span).millis() / 1000,
        remaining_seconds: drain.remaining(now).millis().div_ceil(1000),
        traffic_percent: drain.traffic_percent(now),
        in_flight: traffic.in_flight(session.key),
    })
}

/// Answers `MAINT_STATUS`.
pub(crate) fn maintenance_status(session: &Session) -> MaintenanceView {
    let maintenance = &session.record.maintenance;
    let first = maintenance.first();
    MaintenanceView {
        in_maintenance: session.active.routes.keys().copied().filter(|id| maintenance.of(*id).is_some()).collect(),
        maintenance_backend: first
            .and_then(|entry| entry.page.as_ref())
            .map_or_else(String::new, |page| page.as_str().to_owned()),
        entered_at: first.map(|entry| entry.entered),
    }
}

/// Asks for the statistics of one route or of all.
#[derive(Clone, Debug)]
pub struct StatsGet {
    /// The session.
    pub session: SessionId,
    /// The routes.
    pub target: Target,
}

impl StatsGet {
    pub(crate) fn views(&self, session: &Session, traffic: &dyn Traffic) -> Result<Vec<StatsView>, Error> {
        let of = |id| StatsView { route_id: id, numbers: traffic.numbers(session.key, id) };
        match self.target {
            Target::Route(id) => active_route(session, id).map(|_| vec![of(id)]),
            Target::All => Ok(session.active.routes.keys().copied().map(of).collect()),
        }
    }
}

/// Asks whether a backend answers.
#[derive(Clone, Debug)]
pub struct BackendTest {
    /// The session.
    pub session: SessionId,
    /// The backend, or the error for a text that is not a backend. The error is returned after the session was found.
    pub backend: Result<BackendUrl, Error>,
}
