//! Commands and queries of a running session: breakers, drain, maintenance, statistics, backend tests.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::{
    BackendUrl, Catalog, Change, Drain, Error, Event, Head, Kind, MaintenanceEntry, PageUrl, PathPrefix, Pending,
    PendingKind, Route, RouteId, Session, SessionId, SessionKey, Span, Subject, Target, Ticket, Time,
};

use super::calls::{Answer, Context, Decided, Decision, Notice, Reply};
use super::places::resolve;
use super::ports::Traffic;
use super::routes::no_route;
use super::views::{BreakerView, DrainView, MaintenanceView, StatsView};

pub use super::places::Place;

fn with_head(session: &Session, change: impl FnOnce(&mut Head)) -> Change {
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
        let breakers = &session.active.breakers;
        if !breakers.contains_key(&Target::Route(self.id)) && !breakers.contains_key(&Target::All) {
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
    /// How long it takes.
    pub span: Span,
}

impl DrainStart {
    pub(super) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(super) fn decide(&self, catalog: &Catalog, context: Context<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        let drain = Drain { started: context.now, span: self.span };
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

/// A maintenance request that was accepted: what is still to be seen before its outcome is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    /// The session.
    pub key: SessionKey,
    /// The request.
    pub ticket: Ticket,
    /// Its direction.
    pub kind: PendingKind,
    /// All of these must answer.
    pub pages: Vec<PageUrl>,
}

/// Accepts a request that waits; an older one for some of the same routes is cancelled.
fn accept(
    catalog: &Catalog,
    session: &Session,
    kind: PendingKind,
    targets: Vec<Target>,
    pages: Vec<PageUrl>,
) -> Decided {
    let ticket = catalog.next_ticket();
    let verification = Verification { key: session.key, ticket, kind, pages };
    let mut decided = Decided::new(Reply::Maintenance(verification), Vec::new());
    for older in session.pending.iter().filter(|pending| pending.overlaps(&targets)) {
        decided.changes.push(Change::Settle(session.key, older.ticket));
        decided = failed(decided, session, older, CANCELLED);
    }
    decided.changes.push(Change::Await(session.key, Pending { ticket, kind, targets: targets.into() }));
    decided
}

const CANCELLED: &str = "cancelled by a newer maintenance request for the same routes";

/// Tells that a request came to nothing.
fn failed(decided: Decided, session: &Session, pending: &Pending, reason: &'static str) -> Decided {
    // What was to enter has entered; what was to leave is still there.
    let in_maintenance = |target: &Target| match target {
        Target::All => session.head.maintenance.all.is_some(),
        Target::Route(id) => session.head.maintenance.of(*id).is_some(),
    };
    pending.targets.iter().fold(decided, |decided, target| {
        let event = Event::MaintenanceFailed { target: *target, in_maintenance: in_maintenance(target), reason };
        decided.telling(session.key, event)
    })
}

/// Why nothing came of a request that waited until time was up.
pub(super) fn timed_out(kind: PendingKind) -> &'static str {
    match kind {
        PendingKind::Enter => "timeout waiting for maintenance page to become reachable",
        PendingKind::Exit => "timeout waiting for backend to become reachable",
    }
}

fn changed(decided: Decided, key: SessionKey, targets: &[Target], in_maintenance: bool) -> Decided {
    let events = targets.iter().map(|target| Event::MaintenanceChanged { target: *target, in_maintenance });
    events.fold(decided, |decided, event| decided.telling(key, event))
}

/// Puts routes into maintenance at once; the outcome waits for the page.
#[derive(Clone, Debug)]
pub struct MaintEnter {
    /// Whose.
    pub subject: Subject,
    /// For which routes.
    pub places: Vec<Place>,
    /// The page shown meanwhile.
    pub page: Option<PageUrl>,
}

impl MaintEnter {
    pub(super) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(super) fn decide(&self, catalog: &Catalog, context: Context<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        room_to_wait(session, context)?;
        let targets = resolve(session, &self.places)?;
        let pages = self.page.clone().into_iter().collect();
        let mut decided = accept(catalog, session, PendingKind::Enter, targets.clone(), pages);
        let entry = MaintenanceEntry { page: self.page.clone(), entered: context.now };
        decided.changes.push(with_head(session, |head| {
            targets.iter().for_each(|target| head.maintenance.enter(*target, entry.clone()));
        }));
        Ok(changed(decided, session.key, &targets, true))
    }
}

fn room_to_wait(session: &Session, context: Context<'_>) -> Result<(), Error> {
    let most = context.limits.pending_per_session_max;
    if session.pending.len() < most {
        return Ok(());
    }
    let message = format!("too many maintenance requests wait for their outcome (limit {most})");
    Err(Error::new(Kind::Limited, message))
}

/// Asks to take routes out of maintenance, once their backends answer.
#[derive(Clone, Debug)]
pub struct MaintExit {
    /// Whose.
    pub subject: Subject,
    /// For which routes.
    pub places: Vec<Place>,
}

impl MaintExit {
    pub(super) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(super) fn decide(&self, catalog: &Catalog, context: Context<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        room_to_wait(session, context)?;
        let targets = resolve(session, &self.places)?;
        let pages = backends(session, &targets);
        Ok(accept(catalog, session, PendingKind::Exit, targets, pages))
    }
}

/// The backends of the active routes in maintenance that are concerned, each once.
fn backends(session: &Session, targets: &[Target]) -> Vec<PageUrl> {
    let concerned = |id: &RouteId| targets.contains(&Target::All) || targets.contains(&Target::Route(*id));
    let waiting = |id: &RouteId| concerned(id) && session.head.maintenance.of(*id).is_some();
    let routes = session.active.routes.iter().filter(|(id, _)| waiting(id));
    let mut seen = BTreeSet::new();
    routes
        .map(|(id, route)| {
            let path = session.active.health.get(id).map_or_else(PathPrefix::root, |check| check.path.clone());
            PageUrl::of_backend(&route.backend, &path)
        })
        .filter(|page| seen.insert(page.as_str().to_owned()))
        .collect()
}

/// A maintenance request has its outcome.
#[derive(Clone, Debug)]
pub struct SettleMaintenance {
    /// The session.
    pub key: SessionKey,
    /// The request.
    pub ticket: Ticket,
    /// Whether what it waited for answered.
    pub reached: bool,
}

impl SettleMaintenance {
    pub(super) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(super) fn decide(&self, catalog: &Catalog, _: Context<'_>) -> Decision {
        let session = catalog.by_key(self.key).ok_or(Error::invalid_session())?;
        let pending = session.pending.iter().find(|pending| pending.ticket == self.ticket).ok_or_else(cancelled)?;
        let settled = Change::Settle(session.key, self.ticket);
        if !self.reached {
            return Ok(failed(Decided::new(Reply::Done, vec![settled]), session, pending, timed_out(pending.kind)));
        }
        if pending.kind == PendingKind::Enter {
            return Ok(Decided::new(Reply::Done, vec![settled]));
        }
        let exit = with_head(session, |head| {
            pending.targets.iter().for_each(|target| head.maintenance.exit(*target));
        });
        let decided = Decided::new(Reply::Done, vec![settled, exit]);
        Ok(changed(decided, session.key, &pending.targets, false))
    }
}

/// What the one who waits for a cancelled request hears.
pub(super) fn cancelled() -> Error {
    Error::new(Kind::Conflict, CANCELLED)
}

/// Answers `MAINT_STATUS`.
pub(super) fn maintenance_status(session: &Session) -> MaintenanceView {
    let maintenance = &session.head.maintenance;
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
    /// The backend.
    pub backend: BackendUrl,
}
