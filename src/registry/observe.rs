//! What traffic saw, on its way to those whom it concerns: it takes its place among all that happens, as a step of the revision.

use crate::domain::{BackendUrl, Breaker, Catalog, Event, RouteId, Session, SessionId, SessionKey, Target};

use super::calls::{Context, Decided, Decision, Reply};

/// Traffic saw something that the session is told of.
#[derive(Clone, Debug)]
pub struct Observe {
    /// The session.
    pub key: SessionKey,
    /// The route it is about.
    pub route: RouteId,
    /// What it saw.
    pub event: Event,
    /// The backend that it saw.
    pub backend: BackendUrl,
    /// The breaker of what it saw.
    pub breaker: Option<Breaker>,
}

impl Observe {
    pub(super) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(super) fn decide(&self, catalog: &Catalog, _: Context<'_>) -> Decision {
        let serving = catalog.by_key(self.key).filter(|session| self.is_of(session));
        let nothing = Decided::new(Reply::Done, Vec::new());
        Ok(match serving {
            Some(session) => nothing.telling(session.key, self.event.clone()),
            // What was seen of a backend or breaker that has gone meanwhile concerns nobody.
            None => nothing,
        })
    }

    /// Whether the session's route still has what was seen.
    fn is_of(&self, session: &Session) -> bool {
        let breakers = &session.active.breakers;
        let breaker = breakers.get(&Target::Route(self.route)).or_else(|| breakers.get(&Target::All));
        session.active.routes.get(&self.route).is_some_and(|route| route.backend == self.backend)
            && (breaker == self.breaker.as_ref() || !matches!(self.event, Event::CircuitStateChanged { .. }))
    }
}
