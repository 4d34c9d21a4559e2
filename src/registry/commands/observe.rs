//! What traffic saw, on its way to those whom it concerns: it takes its place among all that happens, as a step of the revision.
//!
//! What must hold: no session is told of a backend or breaker after the apply that replaced it. So what was seen comes first in its
//! batch (`QueuedCommands::place`), while traffic still has what the batches before have made of it.

use std::fmt;
use std::sync::Arc;

use crate::domain::{Catalog, Event, SessionId, SessionKey};

use super::decision::{Decided, Decision, DecisionContext, Reply};

/// Traffic saw something that the session is told of.
#[derive(Clone, Debug)]
pub struct Observe {
    /// The session.
    pub key: SessionKey,
    /// What it saw.
    pub event: Event,
    /// The backend or breaker that it saw.
    pub sight: Sight,
}

/// Says whether traffic still has the very backend or breaker that was seen.
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
        // What was seen of a backend or breaker that has gone meanwhile concerns nobody.
        let concerns = catalog.by_key(self.key).is_some() && (self.sight.0)();
        Ok(if concerns { nothing.telling(self.key, self.event.clone()) } else { nothing })
    }
}
