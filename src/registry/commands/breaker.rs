//! The command that closes a route's circuit breaker.

use crate::domain::{Catalog, Error, Kind, RouteId, SessionId};

use crate::registry::audit::{AuditAction, AuditDetails};

use super::decision::{Decided, Decision, DecisionContext, Effect, Reply};
use super::session_edit::active_route;

/// Closes a route's circuit breaker.
#[derive(Clone, Debug)]
pub struct CircuitBreakerReset {
    /// The session.
    pub session: SessionId,
    /// The route.
    pub id: RouteId,
}

impl CircuitBreakerReset {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        Some(&self.session)
    }

    pub(crate) fn decide(&self, catalog: &Catalog, _: DecisionContext<'_>) -> Decision {
        let session = catalog.session(self.session.reveal())?;
        active_route(session, self.id)?;
        if session.active.breaker_of(self.id).is_none() {
            return Err(Error::new(Kind::Refused, format!("no circuit breaker on {}", self.id)));
        }
        let details = AuditDetails::of_route(self.id);
        let mut decided =
            Decided::new(Reply::Done, Vec::new()).with_audit(session.key, AuditAction::BreakerReset, details);
        decided.effects.push(Effect::ResetBreaker(session.key, self.id));
        Ok(decided)
    }
}
