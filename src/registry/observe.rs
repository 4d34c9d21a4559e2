//! What traffic saw, on its way to those whom it concerns: it takes its place among all that happens, as a step of the revision.

use crate::domain::{Catalog, Event, RouteId, SessionId, SessionKey};

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
}

impl Observe {
    pub(super) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(super) fn decide(&self, catalog: &Catalog, _: Context<'_>) -> Decision {
        let serving = catalog.by_key(self.key).filter(|session| session.active.routes.contains_key(&self.route));
        let nothing = Decided::new(Reply::Done, Vec::new());
        Ok(match serving {
            Some(session) => nothing.telling(session.key, self.event.clone()),
            // What was seen of a route that has gone meanwhile concerns nobody.
            None => nothing,
        })
    }
}
