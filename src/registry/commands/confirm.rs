//! Commands about an apply that waits for its confirmation: it is confirmed, or the configuration before it is restored.
//!
//! Invariant: what is staged meanwhile stays staged.

use crate::domain::{
    ApplyReason, Catalog, Change, Config, Confirmation, ConfirmationId, Edit, Error, Event, Kind, RouteId, Sections,
    Session, SessionId, SessionKey,
};

use crate::registry::audit::{AuditAction, AuditDetails};
use crate::registry::revisions::{RevisionAction, RevisionNote};

use super::apply::{Activation, activate};
use super::conflicts::check;
use super::decision::{Decided, Decision, DecisionContext, Reply};

/// Confirms an apply, which then stays.
#[derive(Clone, Debug)]
pub struct ConfigConfirm {
    /// The id of the confirmation.
    pub id: ConfirmationId,
}

impl ConfigConfirm {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(crate) fn decide(&self, catalog: &Catalog, _: DecisionContext<'_>) -> Decision {
        let (session, confirmation) = waiting(catalog, &self.id)?;
        let number = confirmation.number;
        let decided = Decided::new(Reply::Done, vec![Change::Settle(session.key)]);
        let details = AuditDetails { number: Some(number), ..AuditDetails::default() };
        let decided = decided.with_event(session.key, Event::ConfigConfirmed { number });
        Ok(decided.with_audit(session.key, AuditAction::Confirmed, details))
    }
}

/// Restores the configuration before an apply that waits for its confirmation.
#[derive(Clone, Debug)]
pub struct ConfigCancel {
    /// The id of the confirmation.
    pub id: ConfirmationId,
}

impl ConfigCancel {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let (session, confirmation) = waiting(catalog, &self.id)?;
        let decided =
            take_back(catalog, session, confirmation, (RevisionAction::Cancelled, "cancelled by hand"), context);
        Ok(Decided { reply: Reply::Done, ..decided })
    }
}

/// Reports that a guard saw too many errors; the configuration before the apply is restored.
#[derive(Clone, Debug)]
pub struct GuardTripped {
    /// The session.
    pub key: SessionKey,
    /// The id of the confirmation.
    pub id: ConfirmationId,
    /// The reason, with the figures.
    pub reason: String,
}

impl GuardTripped {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let session = catalog.by_key(self.key);
        let waiting = session.and_then(|session| Some((session, session.confirmation.as_deref()?)));
        // It may have been settled since the guard looked.
        let Some((session, confirmation)) = waiting.filter(|(_, confirmation)| confirmation.id == self.id) else {
            return Ok(Decided::new(Reply::Done, Vec::new()));
        };
        let decided =
            take_back(catalog, session, confirmation, (RevisionAction::Guarded, self.reason.as_str()), context);
        Ok(Decided { reply: Reply::Done, ..decided })
    }
}

/// Returns the apply that waits under an id, with its session.
fn waiting<'a>(catalog: &'a Catalog, id: &ConfirmationId) -> Result<(&'a Session, &'a Confirmation), Error> {
    let session = catalog.confirming(id);
    session.and_then(|session| Some((&**session, session.confirmation.as_deref()?))).ok_or_else(|| {
        let message =
            "nothing waits for this confirmation: it was confirmed, cancelled or taken back, or its session ended";
        Error::new(Kind::NotFound, message)
    })
}

/// Decides to restore the configuration before an apply, as a new revision, with the reason in words.
///
/// A route whose place another service holds by now cannot come back: it stays as it is.
pub(crate) fn take_back(
    catalog: &Catalog,
    session: &Session,
    confirmation: &Confirmation,
    (action, words): (RevisionAction, &str),
    context: DecisionContext<'_>,
) -> Decided {
    let (target, left) = restorable(catalog, session, &confirmation.before);
    let edits: Vec<Edit> = session.active.difference(&target).edits().cloned().collect();
    let (edits, words) = match check(catalog, session, &edits) {
        Ok(()) if left.is_empty() => (edits, words.to_owned()),
        Ok(()) => (edits, format!("{words}; another service holds the place of {}", listed(&left))),
        Err(error) => (Vec::new(), format!("{words}; but the configuration before cannot come back: {error}")),
    };
    let (key, previous) = (session.key, confirmation.previous);
    let note = RevisionNote { action, reason: Some(ApplyReason::cut(&words)), reverted_to: Some(previous) };
    let staged: Vec<Edit> = session.difference().edits().cloned().collect();
    let changes_nothing = edits.is_empty();
    let mut decided = activate(catalog, session, Activation { sections: Sections::ALL, edits, note }, context);
    if let Some(before) = &session.staged
        && !changes_nothing
    {
        // The edits are staged again, on the configuration that is active now.
        decided.changes.push(Change::Unstage(key));
        let stage = |edit| Change::Stage { key, edit, at: before.touched };
        decided.changes.extend(staged.into_iter().map(stage));
    }
    decided.changes.push(Change::Settle(key));
    if changes_nothing {
        let (number, reverted_to) = (Some(confirmation.number), Some(previous));
        let details = AuditDetails { number, reverted_to, ..AuditDetails::of_reason(&words) };
        decided = decided.with_audit(key, AuditAction::Reverted, details);
    }
    decided.with_event(key, Event::ConfigReverted { number: confirmation.number, to: previous, reason: words.into() })
}

/// Returns `before` as far as it can come back, and the routes of it that cannot.
fn restorable(catalog: &Catalog, session: &Session, before: &Config) -> (Config, Vec<RouteId>) {
    let held = |id: &RouteId| {
        let route = before.routes.get(id).filter(|route| session.active.routes.get(id) != Some(*route));
        route.is_some_and(|route| {
            route.claims().any(|claim| {
                catalog.claimants(&claim).is_some_and(|claimants| claimants.service != session.record.service)
            })
        })
    };
    let left: Vec<RouteId> = before.routes.keys().filter(|id| held(id)).copied().collect();
    let mut target = before.clone();
    for id in &left {
        let present = session.active.routes.get(id).cloned();
        if present.is_none() {
            before.settings_of(*id).iter().for_each(|edit| target.edit(edit));
        }
        target.edit(&Edit::Route(*id, present));
    }
    (target, left)
}

fn listed(routes: &[RouteId]) -> String {
    let mut names: Vec<String> = routes.iter().take(5).map(ToString::to_string).collect();
    if routes.len() > names.len() {
        names.push(format!("{} more", routes.len() - names.len()));
    }
    names.join(", ")
}
