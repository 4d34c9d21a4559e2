//! Converts configurations into messages.

use crate::grpc::proto;
use crate::registry::queries::configuration::{
    BreakerEntry, ConfigPart, ConfigView, DiffView, HeaderEntry, HealthEntry, LimitEntry, OptionEntry, RouteEntry,
};

use super::duration;
use super::views::names;

impl From<ConfigView> for proto::GetConfigResponse {
    fn from(view: ConfigView) -> Self {
        let ConfigView { revision, active, staged } = view;
        Self { revision, active: Some(active.into()), staged: staged.map(Into::into) }
    }
}

impl From<ConfigView> for proto::GetInstanceConfigResponse {
    fn from(view: ConfigView) -> Self {
        let ConfigView { revision, active, staged } = view;
        Self { revision, active: Some(active.into()), staged: staged.map(Into::into) }
    }
}

/// The changes that an apply would make, with the revision of the instance.
impl From<(DiffView, u64)> for proto::DiffInstanceConfigResponse {
    fn from((view, revision): (DiffView, u64)) -> Self {
        let proto::DiffConfigResponse { routes, headers, options, health, rate_limits, circuit_breakers, warnings } =
            view.into();
        Self { routes, headers, options, health, rate_limits, circuit_breakers, warnings, revision }
    }
}

impl From<ConfigPart> for proto::Config {
    fn from(part: ConfigPart) -> Self {
        Self {
            routes: all(part.routes),
            headers: all(part.headers),
            options: all(part.options),
            health_checks: all(part.health_checks),
            rate_limits: all(part.rate_limits),
            circuit_breakers: all(part.circuit_breakers),
        }
    }
}

fn all<From, To: std::convert::From<From>>(entries: Vec<From>) -> Vec<To> {
    entries.into_iter().map(To::from).collect()
}

impl From<RouteEntry> for proto::RouteEntry {
    fn from(entry: RouteEntry) -> Self {
        let RouteEntry { route_id, domains, path, backend, priority } = entry;
        Self {
            route_id: route_id.to_string(),
            domains: names(domains),
            path: path.to_string(),
            backend_url: backend.to_string(),
            priority,
        }
    }
}

impl From<HeaderEntry> for proto::HeaderEntry {
    fn from(entry: HeaderEntry) -> Self {
        let HeaderEntry { target, name, value } = entry;
        Self { target: target.to_string(), name: name.to_string(), value }
    }
}

impl From<OptionEntry> for proto::OptionEntry {
    fn from(entry: OptionEntry) -> Self {
        let OptionEntry { target, key, value } = entry;
        Self { target: target.to_string(), key: key.to_string(), value }
    }
}

impl From<HealthEntry> for proto::HealthCheckEntry {
    fn from(entry: HealthEntry) -> Self {
        let HealthEntry { route_id, path, interval, timeout } = entry;
        let (interval, timeout) = (Some(duration(interval)), Some(duration(timeout)));
        Self { route_id: route_id.to_string(), path: path.to_string(), interval, timeout }
    }
}

impl From<LimitEntry> for proto::RateLimitEntry {
    fn from(entry: LimitEntry) -> Self {
        let LimitEntry { target, requests, window } = entry;
        Self { target: target.to_string(), requests, window: Some(duration(window)) }
    }
}

impl From<BreakerEntry> for proto::CircuitBreakerEntry {
    fn from(entry: BreakerEntry) -> Self {
        let BreakerEntry { target, threshold, timeout, half_open_requests } = entry;
        Self { target: target.to_string(), threshold, timeout: Some(duration(timeout)), half_open_requests }
    }
}
