//! Makes the whole configuration of an instance of what the catalog holds.

use crate::domain::{Config, Options, Route, RouteName, SessionRecord, Target};
use crate::json::numbers::{Port, Priority};
use crate::json::values::Domains;

use super::{HeaderTexts, InstanceConfig, OptionTexts, RouteConfig};

impl InstanceConfig {
    /// Returns the whole configuration of an instance, whoever holds it. Options without effect are left out.
    pub fn of(record: &SessionRecord, config: &Config) -> Self {
        Self {
            backend: None,
            domains: None,
            path: None,
            priority: None,
            routes: Some(config.routes.values().map(|route| RouteConfig::of(route, config)).collect()),
            headers: headers(config, Target::All),
            options: options(config, Target::All),
            health_check: None,
            rate_limit: config.limits.get(&Target::All).map(|limit| (*limit).into()),
            circuit_breaker: config.breakers.get(&Target::All).map(|breaker| (*breaker).into()),
            maintenance_port: Port(record.maintenance_port),
            metadata: record.metadata.clone(),
        }
    }
}

impl RouteConfig {
    fn of(route: &Route, config: &Config) -> Self {
        let target = Target::Route(route.id);
        Self {
            // An id is always a name.
            name: route.name.clone().or_else(|| RouteName::restore(&route.id.to_string()).ok()),
            backend: route.backend.clone(),
            domains: Domains(route.domains.clone()),
            path: route.path.clone(),
            priority: Priority(route.priority),
            headers: headers(config, target),
            options: options(config, target),
            health_check: config.health.get(&route.id).cloned().map(Into::into),
            rate_limit: config.limits.get(&target).map(|limit| (*limit).into()),
            circuit_breaker: config.breakers.get(&target).map(|breaker| (*breaker).into()),
        }
    }
}

fn headers(config: &Config, target: Target) -> HeaderTexts {
    HeaderTexts(config.headers_for(target).map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn options(config: &Config, target: Target) -> OptionTexts {
    let mut probe = Options::default();
    let acting = config.options_for(target).filter(|(key, value)| probe.set(key.as_str(), value) == Ok(true));
    OptionTexts(acting.map(|(key, value)| (key.clone(), value.clone())).collect())
}
