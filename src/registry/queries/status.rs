//! Queries for the breakers, drain, maintenance and statistics of a session, and the test of a backend.

use crate::domain::{BackendUrl, Error, RouteId, Session, SessionId, Target, Time};

use crate::registry::commands::drain::no_drain;
use crate::registry::commands::session_edit::active_route;
use crate::registry::ports::Traffic;

use super::answer::Answer;
use super::views::{BreakerView, DrainView, MaintenanceView, StatsView};

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
    pub(crate) fn answer(&self, session: &Session, traffic: &dyn Traffic) -> Result<Answer, Error> {
        let of = |id| StatsView { route_id: id, numbers: traffic.numbers(session.key, id) };
        match self.target {
            Target::Route(id) => active_route(session, id).map(|_| Answer::RouteStats(Box::new(of(id)))),
            Target::All => Ok(Answer::Stats(session.active.routes.keys().copied().map(of).collect())),
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
