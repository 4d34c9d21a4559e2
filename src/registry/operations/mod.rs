//! Commands and queries of a running session: breakers, drain, maintenance, statistics, backend tests.

mod maintenance;
mod places;

use std::sync::Arc;

use crate::domain::{
    BackendUrl, Catalog, Change, Drain, Error, Event, Head, Kind, Route, RouteId, Session, SessionId, Span, Subject,
    Target, Time,
};

use super::calls::{Answer, Context, Decided, Decision, Notice, Reply};
use super::ports::Traffic;
use super::routes::no_route;
use super::views::{BreakerView, DrainView, StatsView};

pub(super) use maintenance::{Awaited, maintenance_status, timed_out};
pub use maintenance::{MaintEnter, MaintExit, SettleMaintenance, Verification};
pub use places::Place;

/// A new head of a session.
pub(super) fn with_head(session: &Session, change: impl FnOnce(&mut Head)) -> Change {
    let mut head = Head::clone(&session.head);
    change(&mut head);
    Change::Head(session.key, Arc::new(head))
}

fn active_route(session: &Session, id: RouteId) -> Result<&Arc<Route>, Error> {
    session.active.routes.get(&id).ok_or_else(|| match session.route(id) {
        Some(_) => Error::new(Kind::Refused, format!("route {id} is staged, not active yet; CONFIG_APPLY first")),
        None => no_route(id),
    })
}

/// Closes a route's circuit breaker.
#[derive(Clone, Debug)]
pub struct CircuitBreakerReset {
    /// The session.
    pub session: SessionId,
    /// The route.
    pub id: RouteId,
}

impl CircuitBreakerReset {
    pub(super) fn session(&self) -> Option<&SessionId> {
        Some(&self.session)
    }

    pub(super) fn decide(&self, catalog: &Catalog, _: Context<'_>) -> Decision {
        let session = catalog.session(self.session.reveal())?;
        active_route(session, self.id)?;
        if session.active.breaker_of(self.id).is_none() {
            return Err(Error::new(Kind::Refused, format!("no circuit breaker on {}", self.id)));
        }
        let mut decided = Decided::new(Reply::Done, Vec::new());
        decided.notices.push(Notice::ResetBreaker(session.key, self.id));
        Ok(decided)
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
    pub(super) fn answer(&self, session: &Session, traffic: &dyn Traffic) -> Result<BreakerView, Error> {
        active_route(session, self.id)?;
        Ok(BreakerView {
            numbers: traffic.breaker(session.key, self.id),
            in_maintenance: session.head.maintenance.of(self.id).is_some(),
            draining: session.head.drain.is_some(),
        })
    }
}

/// Begins to drain a session, anew if it is draining.
#[derive(Clone, Debug)]
pub struct DrainStart {
    /// Whose.
    pub subject: Subject,
    /// The time that it takes.
    pub span: Span,
}

impl DrainStart {
    pub(super) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(super) fn decide(&self, catalog: &Catalog, context: Context<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        // A client that drains anew does not take an operator's order back.
        let by_operator = self.subject.session().is_none() || session.head.drain.is_some_and(|drain| drain.by_operator);
        let drain = Drain { started: context.now, span: self.span, by_operator };
        let change = with_head(session, |head| head.drain = Some(drain));
        let decided = Decided::new(Reply::DrainUntil(drain.ends()), vec![change]);
        Ok(decided.telling(session.key, Event::DrainStarted { until: drain.ends() }))
    }
}

fn no_drain() -> Error {
    Error::new(Kind::Refused, "no drain in progress")
}

/// Takes a drain back, running or complete.
#[derive(Clone, Debug)]
pub struct DrainCancel {
    /// Whose.
    pub subject: Subject,
}

impl DrainCancel {
    pub(super) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(super) fn decide(&self, catalog: &Catalog, _: Context<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        session.head.drain.ok_or_else(no_drain)?;
        let change = with_head(session, |head| head.drain = None);
        Ok(Decided::new(Reply::Done, vec![change]).telling(session.key, Event::DrainCancelled))
    }
}

/// Answers `DRAIN_STATUS`.
pub(super) fn drain_status(session: &Session, now: Time, traffic: &dyn Traffic) -> Result<DrainView, Error> {
    let drain = session.head.drain.ok_or_else(no_drain)?;
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

/// Asks for the statistics of one route or of all.
#[derive(Clone, Debug)]
pub struct StatsGet {
    /// The session.
    pub session: SessionId,
    /// Which routes.
    pub target: Target,
}

impl StatsGet {
    pub(super) fn answer(&self, session: &Session, traffic: &dyn Traffic) -> Result<Answer, Error> {
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
    /// The backend, or why what was given is none: that is found out of it then.
    pub backend: Result<BackendUrl, Error>,
}
