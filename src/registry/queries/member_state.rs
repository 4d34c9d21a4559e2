//! What traffic has seen of members, for a configuration that may not be active yet.
//!
//! What must hold: of what comes only with an apply nothing is told that was seen of what it replaces.

use crate::domain::{Catalog, Route, Session, Time};

use crate::registry::ports::Traffic;

use super::views::{BreakerNumbers, Preference};

/// What traffic has seen of the configuration that is active.
#[derive(Clone, Copy)]
pub(super) struct TrafficView<'a> {
    pub(super) active: &'a Catalog,
    pub(super) traffic: &'a dyn Traffic,
    pub(super) now: Time,
}

impl TrafficView<'_> {
    /// What is known of a route: nothing of a backend or a breaker that comes only with the next apply.
    pub(super) fn of(self, session: &Session, route: &Route) -> BreakerNumbers {
        let active = self.active.by_key(session.key).map(|session| &session.active);
        let serving =
            active.filter(|active| active.routes.get(&route.id).is_some_and(|old| old.backend == route.backend));
        let Some(serving) = serving else {
            return BreakerNumbers { preference: Preference::New, ..BreakerNumbers::default() };
        };
        let known = self.traffic.breaker(session.key, route.id);
        if serving.breaker_of(route.id) == session.active.breaker_of(route.id) {
            return known;
        }
        let BreakerNumbers { healthy, last_check, last_failed_check, preference, .. } = known;
        BreakerNumbers { healthy, last_check, last_failed_check, preference, ..BreakerNumbers::default() }
    }
}
