//! The state of members as traffic knows it, for a configuration that may not be active yet.
//!
//! Invariant: a backend or breaker that an apply adds never shows the state of the one that it replaces.

use crate::domain::{Catalog, Route, Session, Time};

use crate::registry::ports::Traffic;

use super::views::{BreakerNumbers, Preference};

/// The observations of traffic about the active configuration.
#[derive(Clone, Copy)]
pub(super) struct TrafficView<'a> {
    pub(super) active: &'a Catalog,
    pub(super) traffic: &'a dyn Traffic,
    pub(super) now: Time,
}

impl TrafficView<'_> {
    /// Returns the state of a route. A backend or breaker that the next apply adds has no state yet.
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
        let BreakerNumbers { healthy, last_check, last_failed_check, last_failed_request, preference, .. } = known;
        BreakerNumbers {
            healthy,
            last_check,
            last_failed_check,
            last_failed_request,
            preference,
            ..BreakerNumbers::default()
        }
    }
}
