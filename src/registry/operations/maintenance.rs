//! Maintenance: routes that show a page instead of being served, and the way in and out of it.
//!
//! A request is accepted at once; its outcome waits for a page or for backends to answer, and is settled by a command of
//! the server's own. A newer request for some of the same routes takes the place of an older one.

use std::collections::{BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::domain::{
    Catalog, Change, Error, Event, Kind, MaintenanceEntry, Options, PageUrl, Pending, PendingKind, Route, RouteId,
    Session, SessionId, SessionKey, StatusRanges, Subject, Target, Ticket,
};

use super::super::calls::{Context, Decided, Decision, Notice, Reply};
use super::super::ports::Trust;
use super::super::views::MaintenanceView;
use super::places::{Place, resolve};
use super::with_head;

/// A maintenance request that was accepted: what is still to be seen before its outcome is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    /// The session.
    pub key: SessionKey,
    /// The request.
    pub ticket: Ticket,
    /// Its direction.
    pub kind: PendingKind,
    /// The page that must answer; to leave maintenance, it is the backends that must.
    pub page: Option<PageUrl>,
}

/// A page that must answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::registry) struct Awaited {
    pub(in crate::registry) page: PageUrl,
    /// How it is asked for, and what becomes of its certificate.
    pub(in crate::registry) trust: Trust,
    /// The statuses that count as an answer, where they are set.
    expected: Option<StatusRanges>,
}

impl Awaited {
    /// True if this status counts as an answer.
    pub(in crate::registry) fn accepts(&self, status: u16) -> bool {
        self.expected.as_ref().map_or(status < 500, |expected| expected.contains(status))
    }
}

impl Verification {
    /// What is to be seen of a request that waits.
    pub(in crate::registry) fn of(key: SessionKey, pending: &Pending) -> Self {
        Self { key, ticket: pending.ticket, kind: pending.kind, page: pending.page.clone() }
    }

    /// Some of what must answer, of the routes behind `after`, and the route behind which there may be more: as the session stands now,
    /// for an apply may give a route another backend, or take it away.
    ///
    /// # Errors
    /// `NotFound` when the session has ended, `Conflict` when a newer request took this one's place.
    pub(in crate::registry) fn awaited(
        &self,
        catalog: &Catalog,
        defaults: &Options,
        after: RouteId,
    ) -> Result<(Vec<Awaited>, Option<RouteId>), Error> {
        let session = catalog.by_key(self.key).ok_or(Error::invalid_session())?;
        let pending = session.pending.iter().find(|pending| pending.ticket == self.ticket).ok_or_else(cancelled)?;
        Ok(match self.kind {
            // What is shown later is got in the same way.
            PendingKind::Enter => {
                let shown = |page: &PageUrl| Awaited { page: page.clone(), trust: Trust::Required, expected: None };
                (self.page.iter().map(shown).collect(), None)
            }
            PendingKind::Exit => backends(session, defaults, &pending.targets, after),
        })
    }
}

/// Accepts a request that waits; an older one for some of the same routes is cancelled.
fn accept(
    catalog: &Catalog,
    session: &Session,
    kind: PendingKind,
    targets: Vec<Target>,
    page: Option<PageUrl>,
) -> Decided {
    let pending = Pending { ticket: catalog.next_ticket(), kind, targets: targets.into(), page };
    let verification = Verification::of(session.key, &pending);
    let mut decided = Decided::new(Reply::Maintenance(verification), Vec::new());
    for older in session.pending.iter().filter(|older| older.overlaps(&pending.targets)) {
        decided.changes.push(Change::Settle(session.key, older.ticket));
        decided = failed(decided, session, older, CANCELLED);
    }
    decided.changes.push(Change::Await(session.key, pending));
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
pub(in crate::registry) fn timed_out(kind: PendingKind) -> &'static str {
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
    pub(in crate::registry) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(in crate::registry) fn decide(&self, catalog: &Catalog, context: Context<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        room_to_wait(session, context)?;
        if let Some(page) = &self.page {
            context.forbidden.check_url("page_url", page.origin())?;
        }
        if let (Some(page), Some(_)) = (&self.page, self.subject.session())
            && let Some(grant) = context.grants.of(&session.head)?
        {
            grant.shows(page)?;
        }
        let targets = resolve(session, &self.places)?;
        let mut decided = accept(catalog, session, PendingKind::Enter, targets.clone(), self.page.clone());
        let is_operators = self.subject.session().is_none();
        decided.changes.push(with_head(session, |head| {
            for target in &targets {
                // A client that enters anew does not take an operator's order back.
                let by_operator = is_operators || head.maintenance.is_ordered(*target);
                let entry = MaintenanceEntry { page: self.page.clone(), entered: context.now, by_operator };
                head.maintenance.enter(*target, entry);
            }
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
    pub(in crate::registry) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(in crate::registry) fn decide(&self, catalog: &Catalog, context: Context<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        room_to_wait(session, context)?;
        let targets = resolve(session, &self.places)?;
        Ok(accept(catalog, session, PendingKind::Exit, targets, None))
    }
}

/// So many routes are looked at in one step: a session may have very many.
const ROUTES_AT_ONCE: usize = 256;

/// The backends of the next active routes in maintenance that are concerned, each once, and the last of the routes looked at unless it
/// was the last of all.
fn backends(
    session: &Session,
    defaults: &Options,
    targets: &[Target],
    after: RouteId,
) -> (Vec<Awaited>, Option<RouteId>) {
    let active = &session.active.routes;
    let routes: Vec<(RouteId, &Arc<Route>)> = if targets.contains(&Target::All) {
        let later = active.range((Bound::Excluded(after), Bound::Unbounded));
        later.take(ROUTES_AT_ONCE).map(|(id, route)| (*id, route)).collect()
    } else {
        let later: BTreeSet<RouteId> =
            targets.iter().copied().filter_map(Target::route).filter(|id| *id > after).collect();
        later.into_iter().filter_map(|id| Some((id, active.get(&id)?))).take(ROUTES_AT_ONCE).collect()
    };
    let more = routes.last().filter(|_| routes.len() == ROUTES_AT_ONCE).map(|(id, _)| *id);
    let waiting = routes.into_iter().filter(|(id, _)| session.head.maintenance.of(*id).is_some());
    let shared = session.active.options_over(defaults, Target::All);
    let mut seen = HashSet::new();
    let awaited = waiting
        .map(|(id, route)| {
            let options = session.active.options_over(&shared, Target::Route(id));
            let path = session.active.health.get(&id).map_or(&options.health_check_path, |check| &check.path);
            let (page, host) = (PageUrl::of_backend(&route.backend, path), options.check_host(&route.domains));
            let expected = options.health_check_status;
            let manner = (page.clone(), host, options.health_check_method, options.tls_verify, expected.clone());
            (Awaited { page, trust: Trust::AsRoute(session.key, id), expected }, manner)
        })
        // Routes that are to be asked alike and trust alike need to be asked once.
        .filter_map(|(awaited, manner)| seen.insert(manner).then_some(awaited))
        .collect();
    (awaited, more)
}

/// A maintenance request has its outcome.
#[derive(Clone, Debug)]
pub struct SettleMaintenance {
    /// The session.
    pub key: SessionKey,
    /// The request.
    pub ticket: Ticket,
    /// True if what it waited for answered.
    pub reached: bool,
}

impl SettleMaintenance {
    pub(in crate::registry) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(in crate::registry) fn decide(&self, catalog: &Catalog, _: Context<'_>) -> Decision {
        let session = catalog.by_key(self.key).ok_or(Error::invalid_session())?;
        let pending = session.pending.iter().find(|pending| pending.ticket == self.ticket).ok_or_else(cancelled)?;
        let settled = Change::Settle(session.key, self.ticket);
        if !self.reached {
            return Ok(failed(Decided::new(Reply::Done, vec![settled]), session, pending, timed_out(pending.kind)));
        }
        if pending.kind == PendingKind::Enter {
            return Ok(Decided::new(Reply::Done, vec![settled]));
        }
        let is_there = |target: &Target| target.route().is_none_or(|id| session.route(id).is_some());
        let left: Vec<Target> = pending.targets.iter().copied().filter(is_there).collect();
        let answered = answered(session, &left);
        let exit = with_head(session, |head| left.iter().for_each(|target| head.maintenance.exit(*target)));
        let mut decided = Decided::new(Reply::Done, vec![settled, exit]);
        decided.notices.push(Notice::Vouch(session.key, answered));
        Ok(changed(decided, session.key, &left, false))
    }
}

/// The active routes that leave maintenance with `targets`: their backends have answered.
fn answered(session: &Session, targets: &[Target]) -> Vec<RouteId> {
    let leaves = |id: &RouteId| session.head.maintenance.of(*id).is_some();
    if targets.contains(&Target::All) {
        return session.active.routes.keys().copied().filter(leaves).collect();
    }
    let named = targets.iter().copied().filter_map(Target::route);
    named.filter(|id| session.active.routes.contains_key(id)).filter(leaves).collect()
}

/// What the one who waits for a cancelled request hears.
fn cancelled() -> Error {
    Error::new(Kind::Conflict, CANCELLED)
}

/// Answers `MAINT_STATUS`.
pub(in crate::registry) fn maintenance_status(session: &Session) -> MaintenanceView {
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
