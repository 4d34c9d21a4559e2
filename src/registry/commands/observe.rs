//! Observations of traffic. Each becomes an event with its own sequence, which is a step of the revision.
//!
//! Invariant: no session is told of a backend or breaker after an apply has replaced it. Observations therefore come
//! first in their batch (`QueuedCommands::sort_key`), while traffic still acts on the catalog before the batch.

use std::fmt;
use std::sync::Arc;

use crate::domain::{Catalog, Event, SessionId, SessionKey};

use super::decision::{Decided, Decision, DecisionContext, Reply};

/// An observation of traffic that concerns a session.
#[derive(Clone, Debug)]
pub struct Observe {
    /// The session.
    pub key: SessionKey,
    /// The event.
    pub event: Event,
    /// The check that the observed backend or breaker still serves.
    pub sight: Sight,
}

/// A check that returns true while traffic still uses the same backend or breaker.
#[derive(Clone)]
pub struct Sight(pub Arc<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Sight {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Sight").finish_non_exhaustive()
    }
}

impl Observe {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(crate) fn decide(&self, catalog: &Catalog, _: DecisionContext<'_>) -> Decision {
        let nothing = Decided::new(Reply::Done, Vec::new());
        // An observation of a backend or breaker that no longer serves is dropped.
        let concerns = catalog.by_key(self.key).is_some() && (self.sight.0)();
        Ok(if concerns { nothing.with_event(self.key, self.event.clone()) } else { nothing })
    }
}
