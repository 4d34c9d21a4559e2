//! Commands for maintenance: they put routes behind a maintenance page, and back.
//!
//! A request is accepted immediately. Its outcome depends on a page or on backends that must answer, and a command of
//! the server itself brings it. A newer request for some of the same routes cancels an older one.

use crate::domain::{
    Catalog, Change, Error, Event, Kind, MaintenanceEntry, PageUrl, Pending, PendingKind, RouteId, Session, SessionId,
    SessionKey, Subject, Target, Ticket,
};

use crate::registry::audit::{AuditAction, AuditDetails};

use super::decision::{Decided, Decision, DecisionContext, Effect, Reply, Verification};
use super::session_edit::with_head;
use super::target_selector::{TargetSelector, resolve};

/// Accepts a request that waits, and cancels older requests for some of the same routes.
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
        decided.changes.push(Change::Complete(session.key, older.ticket));
        decided = failed(decided, session, older, CANCELLED);
    }
    decided.changes.push(Change::Await(session.key, pending));
    decided
}

const CANCELLED: &str = "cancelled by a newer maintenance request for the same routes";

/// Adds the events of a request that failed.
fn failed(decided: Decided, session: &Session, pending: &Pending, reason: &'static str) -> Decided {
    // Routes enter maintenance immediately; routes that fail to leave it are still in maintenance.
    let in_maintenance = |target: &Target| match target {
        Target::All => session.record.maintenance.all.is_some(),
        Target::Route(id) => session.record.maintenance.of(*id).is_some(),
    };
    let decided = pending.targets.iter().fold(decided, |decided, target| {
        let event = Event::MaintenanceFailed { target: *target, in_maintenance: in_maintenance(target), reason };
        decided.with_event(session.key, event)
    });
    let details = AuditDetails { reason: Some(reason.to_owned()), ..AuditDetails::of_targets(&pending.targets) };
    decided.with_audit(session.key, AuditAction::MaintenanceFailed, details)
}

/// Returns the reason for a request whose time was up.
pub(crate) fn timed_out(kind: PendingKind) -> &'static str {
    match kind {
        PendingKind::Enter => "timeout waiting for maintenance page to become reachable",
        PendingKind::Exit => "timeout waiting for backend to become reachable",
    }
}

fn changed(decided: Decided, key: SessionKey, targets: &[Target], in_maintenance: bool) -> Decided {
    let events = targets.iter().map(|target| Event::MaintenanceChanged { target: *target, in_maintenance });
    let decided = events.fold(decided, |decided, event| decided.with_event(key, event));
    let action = if in_maintenance { AuditAction::MaintenanceEntered } else { AuditAction::MaintenanceLeft };
    decided.with_audit(key, action, AuditDetails::of_targets(targets))
}

/// Puts routes into maintenance immediately; the outcome depends on the page.
#[derive(Clone, Debug)]
pub struct MaintEnter {
    /// The session.
    pub subject: Subject,
    /// The routes.
    pub places: Vec<TargetSelector>,
    /// The page that is shown during maintenance.
    pub page: Option<PageUrl>,
}

impl MaintEnter {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        room_to_wait(session, context)?;
        if let Some(page) = &self.page {
            context.forbidden.check_url("page_url", page.origin())?;
        }
        if let (Some(page), Some(_)) = (&self.page, self.subject.session())
            && let Some(token) = context.tokens.of(&session.record)?
        {
            token.check_page(page)?;
        }
        let targets = resolve(session, &self.places)?;
        let mut decided = accept(catalog, session, PendingKind::Enter, targets.clone(), self.page.clone());
        let is_operators = self.subject.session().is_none();
        decided.changes.push(with_head(session, |record| {
            for target in &targets {
                // A client's request does not turn an operator's order into a client's request.
                let by_operator = is_operators || record.maintenance.is_ordered(*target);
                let entry = MaintenanceEntry { page: self.page.clone(), entered: context.now, by_operator };
                record.maintenance.enter(*target, entry);
            }
        }));
        Ok(changed(decided, session.key, &targets, true))
    }
}

fn room_to_wait(session: &Session, context: DecisionContext<'_>) -> Result<(), Error> {
    let most = context.limits.pending_per_session_max;
    if session.pending.len() < most {
        return Ok(());
    }
    let message = format!("too many maintenance requests wait for their outcome (limit {most})");
    Err(Error::new(Kind::Limited, message))
}

/// Requests that routes leave maintenance once their backends answer.
#[derive(Clone, Debug)]
pub struct MaintExit {
    /// The session.
    pub subject: Subject,
    /// The routes.
    pub places: Vec<TargetSelector>,
}

impl MaintExit {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        room_to_wait(session, context)?;
        let targets = resolve(session, &self.places)?;
        let details = AuditDetails::of_targets(&targets);
        let decided = accept(catalog, session, PendingKind::Exit, targets, None);
        Ok(decided.with_audit(session.key, AuditAction::MaintenanceLeaving, details))
    }
}

/// Brings the outcome of a maintenance request.
#[derive(Clone, Debug)]
pub struct CompleteMaintenance {
    /// The session.
    pub key: SessionKey,
    /// The ticket of the request.
    pub ticket: Ticket,
    /// True if all awaited pages answered.
    pub reached: bool,
}

impl CompleteMaintenance {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(crate) fn decide(&self, catalog: &Catalog, _: DecisionContext<'_>) -> Decision {
        let session = catalog.by_key(self.key).ok_or(Error::invalid_session())?;
        let pending = session.pending.iter().find(|pending| pending.ticket == self.ticket).ok_or_else(cancelled)?;
        let completed = Change::Complete(session.key, self.ticket);
        if !self.reached {
            return Ok(failed(Decided::new(Reply::Done, vec![completed]), session, pending, timed_out(pending.kind)));
        }
        if pending.kind == PendingKind::Enter {
            let details = AuditDetails::of_targets(&pending.targets);
            let decided = Decided::new(Reply::Done, vec![completed]);
            return Ok(match pending.page {
                Some(_) => decided.with_audit(session.key, AuditAction::MaintenanceVerified, details),
                // The built-in page needs no answer.
                None => decided,
            });
        }
        let is_there = |target: &Target| target.route().is_none_or(|id| session.route(id).is_some());
        let left: Vec<Target> = pending.targets.iter().copied().filter(is_there).collect();
        let answered = answered(session, &left);
        let exit = with_head(session, |record| left.iter().for_each(|target| record.maintenance.exit(*target)));
        let mut decided = Decided::new(Reply::Done, vec![completed, exit]);
        decided.effects.push(Effect::Vouch(session.key, answered));
        Ok(changed(decided, session.key, &left, false))
    }
}

/// Returns the active routes that leave maintenance with `targets`. Their backends have answered.
fn answered(session: &Session, targets: &[Target]) -> Vec<RouteId> {
    let leaves = |id: &RouteId| session.record.maintenance.of(*id).is_some();
    if targets.contains(&Target::All) {
        return session.active.routes.keys().copied().filter(leaves).collect();
    }
    let named = targets.iter().copied().filter_map(Target::route);
    named.filter(|id| session.active.routes.contains_key(id)).filter(leaves).collect()
}

/// Returns the error for a request that was cancelled.
pub(crate) fn cancelled() -> Error {
    Error::new(Kind::Conflict, CANCELLED)
}
