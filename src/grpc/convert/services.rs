//! Converts whole configurations between messages and values, and the outcomes of puts into messages. Each is taken
//! apart without `..`, so that a forgotten field does not compile.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{
    BackendUrl, Error, HeaderKey, HealthPath, Host, Kind, OptionKey, Options, PathPrefix, RouteName, header_value,
};
use crate::grpc::proto;
use crate::json::numbers::{Count, Duration, Interval, Port, Priority};
use crate::json::settings::{CircuitBreaker, HealthCheck, RateLimit};
use crate::json::values::Domains;
use crate::registry::config_changes::ConfigChange;
use crate::registry::instance_config::{HeaderTexts, InstanceConfig, OptionTexts, RouteConfig};
use crate::registry::instance_outcomes::InstancePut;
use crate::registry::queries::services::ServiceView;

use super::views::names;
use super::{bounded, count, duration, metadata, port, span, structure};

/// Reads a whole configuration. A refusal names the path of the field.
pub(in crate::grpc) fn instance_config(message: proto::InstanceConfig) -> Result<InstanceConfig, Error> {
    let proto::InstanceConfig {
        routes,
        headers,
        options,
        health_check,
        rate_limit,
        circuit_breaker,
        maintenance_port,
        metadata: given,
    } = message;
    let entries = routes.into_iter().enumerate();
    let routes = entries.map(|(at, one)| route(one).map_err(|error| error.inside(&format!("routes[{at}]"))));
    Ok(InstanceConfig {
        backend: None,
        domains: None,
        path: None,
        priority: None,
        routes: Some(routes.collect::<Result<_, _>>()?),
        headers: header_texts(&headers)?,
        options: option_texts(&options)?,
        health_check: check(health_check)?,
        rate_limit: limit(rate_limit)?,
        circuit_breaker: breaker(circuit_breaker)?,
        maintenance_port: Port(port("maintenance_port", maintenance_port)?),
        metadata: metadata(given)?,
    })
}

fn route(message: proto::RouteConfig) -> Result<RouteConfig, Error> {
    let proto::RouteConfig {
        name,
        backend_url,
        domains,
        path,
        priority,
        headers,
        options,
        health_check,
        rate_limit,
        circuit_breaker,
    } = message;
    Ok(RouteConfig {
        name: name.map(|name| RouteName::parse(&name)).transpose()?,
        backend: BackendUrl::parse(&backend_url).map_err(|error| error.about("backend_url"))?,
        domains: Domains(Host::gather(domains.iter().map(String::as_str))?),
        path: if path.is_empty() { PathPrefix::root() } else { PathPrefix::parse(&path)? },
        priority: Priority(priority),
        headers: header_texts(&headers)?,
        options: option_texts(&options)?,
        health_check: check(health_check)?,
        rate_limit: limit(rate_limit)?,
        circuit_breaker: breaker(circuit_breaker)?,
    })
}

fn header_texts(given: &HashMap<String, String>) -> Result<HeaderTexts, Error> {
    let read = |name: &str, value: &str| Ok((HeaderKey::parse(name)?, header_value(value)?));
    let texts =
        given.iter().map(|(name, value)| read(name, value).map_err(|error: Error| entry("headers", name, &error)));
    texts.collect::<Result<_, _>>().map(HeaderTexts)
}

fn option_texts(given: &HashMap<String, String>) -> Result<OptionTexts, Error> {
    let read = |key: &str, value: &str| {
        if !Options::default().set(key, value)? {
            return Err(Error::invalid("key", Options::unknown(key)));
        }
        Ok((OptionKey::parse(key)?, Arc::from(value)))
    };
    let texts = given.iter().map(|(key, value)| read(key, value).map_err(|error| entry("options", key, &error)));
    texts.collect::<Result<_, _>>().map(OptionTexts)
}

/// Returns the refusal of an entry of a map. It names the entry.
fn entry(map: &str, key: &str, error: &Error) -> Error {
    let shown: String = key.chars().take(40).collect();
    Error::new(Kind::Invalid, error.message().to_owned()).inside(&format!("{map}.{shown}"))
}

fn check(message: Option<proto::HealthCheckSetting>) -> Result<Option<HealthCheck>, Error> {
    let Some(proto::HealthCheckSetting { path, interval, timeout }) = message else { return Ok(None) };
    let read = || {
        let check = crate::domain::HealthCheck {
            path: HealthPath::parse(&path)?,
            interval: span("interval", interval)?,
            timeout: span("timeout", timeout)?,
        };
        check.bounded().map(|()| check)
    };
    read().map(|check| Some(check.into())).map_err(|error: Error| error.inside("health_check"))
}

fn limit(message: Option<proto::RateLimitSetting>) -> Result<Option<RateLimit>, Error> {
    let Some(proto::RateLimitSetting { requests, window }) = message else { return Ok(None) };
    let read = || {
        let (requests, window) = (Count(bounded("requests", requests)?), Duration(span("window", window)?));
        Ok(RateLimit { requests, window })
    };
    read().map(Some).map_err(|error: Error| error.inside("rate_limit"))
}

fn breaker(message: Option<proto::CircuitBreakerSetting>) -> Result<Option<CircuitBreaker>, Error> {
    let Some(proto::CircuitBreakerSetting { threshold, timeout, half_open_requests }) = message else {
        return Ok(None);
    };
    let read = || {
        Ok(CircuitBreaker {
            threshold: Count(bounded("threshold", threshold)?),
            timeout: Duration(span("timeout", timeout)?),
            half_open_requests: Count(bounded("half_open_requests", half_open_requests)?),
        })
    };
    read().map(Some).map_err(|error: Error| error.inside("circuit_breaker"))
}

impl From<InstanceConfig> for proto::InstanceConfig {
    /// Converts a configuration of the registry, which has all its routes in the list.
    fn from(config: InstanceConfig) -> Self {
        let InstanceConfig {
            backend: _,
            domains: _,
            path: _,
            priority: _,
            routes,
            headers,
            options,
            health_check,
            rate_limit,
            circuit_breaker,
            maintenance_port,
            metadata,
        } = config;
        Self {
            routes: routes.into_iter().flatten().map(Into::into).collect(),
            headers: texts(headers.0),
            options: texts(options.0),
            health_check: health_check.map(Into::into),
            rate_limit: rate_limit.map(Into::into),
            circuit_breaker: circuit_breaker.map(Into::into),
            maintenance_port: maintenance_port.0.into(),
            metadata: Some(structure(metadata.as_str())),
        }
    }
}

impl From<RouteConfig> for proto::RouteConfig {
    fn from(route: RouteConfig) -> Self {
        let RouteConfig {
            name,
            backend,
            domains,
            path,
            priority,
            headers,
            options,
            health_check,
            rate_limit,
            circuit_breaker,
        } = route;
        Self {
            name: name.map(|name| name.to_string()),
            backend_url: backend.to_string(),
            domains: names(domains.0),
            path: path.to_string(),
            priority: priority.0,
            headers: texts(headers.0),
            options: texts(options.0),
            health_check: health_check.map(Into::into),
            rate_limit: rate_limit.map(Into::into),
            circuit_breaker: circuit_breaker.map(Into::into),
        }
    }
}

fn texts<K: ToString>(entries: impl IntoIterator<Item = (K, Arc<str>)>) -> HashMap<String, String> {
    entries.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

impl From<HealthCheck> for proto::HealthCheckSetting {
    fn from(check: HealthCheck) -> Self {
        let HealthCheck { path, interval: Interval(interval), timeout: Duration(timeout) } = check;
        Self { path: path.to_string(), interval: Some(duration(interval)), timeout: Some(duration(timeout)) }
    }
}

impl From<RateLimit> for proto::RateLimitSetting {
    fn from(limit: RateLimit) -> Self {
        let RateLimit { requests: Count(requests), window: Duration(window) } = limit;
        Self { requests, window: Some(duration(window)) }
    }
}

impl From<CircuitBreaker> for proto::CircuitBreakerSetting {
    fn from(breaker: CircuitBreaker) -> Self {
        let CircuitBreaker { threshold, timeout: Duration(timeout), half_open_requests } = breaker;
        Self { threshold: threshold.0, timeout: Some(duration(timeout)), half_open_requests: half_open_requests.0 }
    }
}

impl From<InstancePut> for proto::PutInstanceResponse {
    fn from(put: InstancePut) -> Self {
        let InstancePut { revision, created, dry_run, changes_total, changes } = put;
        let changes = changes.into_iter().map(Into::into).collect();
        Self { revision, created, dry_run, changes_total: count(changes_total), changes }
    }
}

impl From<ConfigChange> for proto::ConfigChange {
    fn from(change: ConfigChange) -> Self {
        let ConfigChange { change, section, target, name, before, after } = change;
        Self { change: change.word().to_owned(), section: section.to_owned(), target, name, before, after }
    }
}

impl From<ServiceView> for proto::Service {
    fn from(view: ServiceView) -> Self {
        let ServiceView {
            service_name,
            instances,
            instances_connected,
            instances_draining,
            instances_in_maintenance,
            routes_active,
            owners,
        } = view;
        Self {
            service_name: service_name.to_string(),
            instances: count(instances),
            routes_active: count(routes_active),
            owners: owners.into_iter().map(str::to_owned).collect(),
            instances_connected: count(instances_connected),
            instances_draining: count(instances_draining),
            instances_in_maintenance: count(instances_in_maintenance),
        }
    }
}
