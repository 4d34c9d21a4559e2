//! The routes that operators ask for.

use crate::domain::{BreakerState, InstanceName, Route, ServiceName, Session};

use super::views::BreakerNumbers;

/// The instance whose routes are requested; `None` for all.
pub type InstanceFilter<'a> = Option<(&'a ServiceName, &'a InstanceName)>;

/// A choice of active routes. The default chooses all.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteFilter<'a> {
    /// Only those of this instance.
    pub instance: InstanceFilter<'a>,
    /// Only those of this service.
    pub service: Option<&'a ServiceName>,
    /// Only those that serve this host.
    pub domain: Option<&'a str>,
    /// Only those that contain this text: in a name, a domain, the path, the backend, or the id. In any case.
    pub text: Option<&'a str>,
    /// Only those with an unhealthy backend, or a breaker that is not closed.
    pub unhealthy: bool,
}

impl RouteFilter<'_> {
    /// Returns true if a route has the names that are wanted.
    pub(super) fn names(&self, session: &Session, route: &Route) -> bool {
        let is_of_service = self.service.is_none_or(|service| session.record.service == *service);
        let serves = |name: &str| route.domains.iter().any(|host| host.covers(&name.to_ascii_lowercase()));
        is_of_service && self.domain.is_none_or(serves) && self.text.is_none_or(|text| contains(session, route, text))
    }

    /// Returns true if a route has the state that is wanted, which costs more to find out.
    pub(super) fn wants(&self, circuit: impl FnOnce() -> BreakerNumbers) -> bool {
        if !self.unhealthy {
            return true;
        }
        let circuit = circuit();
        !circuit.healthy || circuit.state != BreakerState::Closed
    }
}

fn contains(session: &Session, route: &Route, text: &str) -> bool {
    let text = text.to_lowercase();
    let has = |part: &dyn std::fmt::Display| part.to_string().to_lowercase().contains(&text);
    let record = &session.record;
    has(&record.service)
        || has(&record.instance)
        || has(&route.id)
        || has(&route.path)
        || has(&route.backend)
        || route.domains.iter().any(|domain| has(domain))
}
