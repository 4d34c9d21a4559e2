//! Commands that begin and cancel a session's drain.

use crate::domain::{Catalog, Drain, Error, Event, Kind, SessionId, Span, Subject};

use crate::registry::audit::{AuditAction, AuditDetails};

use super::decision::{Decided, Decision, DecisionContext, Reply};
use super::session_edit::with_head;

/// Begins to drain a session. A drain that runs already begins again.
#[derive(Clone, Debug)]
pub struct DrainStart {
    /// The session.
    pub subject: Subject,
    /// The length of the drain.
    pub span: Span,
}

impl DrainStart {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        // A client's command does not turn an operator's drain into a client's drain.
        let by_operator =
            self.subject.session().is_none() || session.record.drain.is_some_and(|drain| drain.by_operator);
        let drain = Drain { started: context.now, span: self.span, by_operator };
        let change = with_head(session, |record| record.drain = Some(drain));
        let decided = Decided::new(Reply::DrainUntil(drain.ends()), vec![change]);
        let decided = decided.with_event(session.key, Event::DrainStarted { until: drain.ends() });
        let details = AuditDetails::default().until(drain.ends());
        Ok(decided.with_audit(session.key, AuditAction::DrainStarted, details))
    }
}

/// Cancels a drain, running or complete.
#[derive(Clone, Debug)]
pub struct DrainCancel {
    /// The session.
    pub subject: Subject,
}

impl DrainCancel {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(crate) fn decide(&self, catalog: &Catalog, _: DecisionContext<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        session.record.drain.ok_or_else(no_drain)?;
        let change = with_head(session, |record| record.drain = None);
        let decided = Decided::new(Reply::Done, vec![change]).with_event(session.key, Event::DrainCancelled);
        Ok(decided.with_audit(session.key, AuditAction::DrainCancelled, AuditDetails::default()))
    }
}

pub(crate) fn no_drain() -> Error {
    Error::new(Kind::Refused, "no drain in progress")
}
