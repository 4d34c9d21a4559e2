//! Makes the configuration that the catalog holds of the whole configuration that a caller wrote.

use std::borrow::Cow;
use std::sync::Arc;

use crate::domain::{Config, Error, Metadata, PathPrefix, Route, RouteId, Target};
use crate::json::settings::{CircuitBreaker, RateLimit};

use super::assign::{AssignedIds, assign, own_name};
use super::{HeaderTexts, InstanceConfig, OptionTexts, RouteConfig};

/// The configuration that an instance is to have.
#[derive(Clone, Debug)]
pub(crate) struct WantedInstance {
    /// The active configuration.
    pub(crate) config: Config,
    /// The routes in the order of the caller.
    pub(crate) ids: Vec<RouteId>,
    /// The number of the next route.
    pub(crate) next_route: u32,
    /// The maintenance port.
    pub(crate) maintenance_port: u16,
    /// The metadata.
    pub(crate) metadata: Metadata,
}

impl InstanceConfig {
    /// Returns the configuration for an instance that has the configuration `active` now, and whose next route has the
    /// number `next_route`.
    ///
    /// # Errors
    /// `Invalid` if a field is missing or contradicts another one.
    pub(crate) fn resolve(&self, active: &Config, next_route: u32) -> Result<WantedInstance, Error> {
        let routes = self.all_routes()?;
        let AssignedIds { ids, next } = assign(&routes, active, next_route)?;
        let mut config = Config::default();
        settings(&mut config, Target::All, (&self.headers, &self.options), self.rate_limit, self.circuit_breaker);
        for (route, id) in routes.iter().zip(&ids) {
            let target = Target::Route(*id);
            config.routes.insert(*id, Arc::new(route.with_id(*id)));
            settings(&mut config, target, (&route.headers, &route.options), route.rate_limit, route.circuit_breaker);
            if let Some(check) = route.health_check.as_ref().or(self.health_check.as_ref()) {
                config.health.insert(*id, check.clone().into());
            }
        }
        let (maintenance_port, metadata) = (self.maintenance_port.0, self.metadata.clone());
        Ok(WantedInstance { config, ids, next_route: next, maintenance_port, metadata })
    }

    /// Returns the routes: those of the list, or the only one.
    fn all_routes(&self) -> Result<Cow<'_, [RouteConfig]>, Error> {
        let Self { backend, domains, path, priority, routes, .. } = self;
        let Some(routes) = routes else { return self.only_route().map(|route| Cow::Owned(vec![route])) };
        let beside = [
            ("backend", backend.is_some()),
            ("domains", domains.is_some()),
            ("path", path.is_some()),
            ("priority", priority.is_some()),
        ];
        match beside.into_iter().find(|(_, stands)| *stands) {
            None => Ok(Cow::Borrowed(routes)),
            Some((field, _)) => Err(Error::invalid(field, "stands beside routes; write it in an entry of routes")),
        }
    }

    fn only_route(&self) -> Result<RouteConfig, Error> {
        let missing = |field| Error::invalid(field, "is missing; an instance has backend and domains, or routes");
        Ok(RouteConfig {
            name: None,
            backend: self.backend.clone().ok_or_else(|| missing("backend"))?,
            domains: self.domains.clone().ok_or_else(|| missing("domains"))?,
            path: self.path.clone().unwrap_or_else(PathPrefix::root),
            priority: self.priority.unwrap_or_default(),
            headers: HeaderTexts::default(),
            options: OptionTexts::default(),
            health_check: None,
            rate_limit: None,
            circuit_breaker: None,
        })
    }
}

impl RouteConfig {
    fn with_id(&self, id: RouteId) -> Route {
        Route {
            id,
            name: self.name.as_ref().and_then(own_name).cloned(),
            domains: self.domains.0.clone(),
            path: self.path.clone(),
            backend: self.backend.clone(),
            priority: self.priority.0,
        }
    }
}

/// Adds the settings of a target.
fn settings(
    config: &mut Config,
    target: Target,
    (headers, options): (&HeaderTexts, &OptionTexts),
    limit: Option<RateLimit>,
    breaker: Option<CircuitBreaker>,
) {
    for (name, value) in &headers.0 {
        config.headers.insert((target, name.clone()), Arc::clone(value));
    }
    for (key, value) in &options.0 {
        config.options.insert((target, key.clone()), Arc::clone(value));
    }
    if let Some(limit) = limit {
        config.limits.insert(target, limit.into());
    }
    if let Some(breaker) = breaker {
        config.breakers.insert(target, breaker.into());
    }
}
