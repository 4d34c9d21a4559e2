//! The whole configuration of an instance as one value: what operators put, what a configuration file holds, and what
//! exports and imports carry.
//!
//! People write it by hand, in JSON or TOML. Each field is read by the parser of the domain that reads it in commands.
//! `InstanceConfig::resolve` makes the configuration that the catalog holds, and `InstanceConfig::of` makes it of
//! one. Invariants: what `of` returns resolves to the same configuration, options without effect left out; a refusal
//! names the path of the field, such as `routes[2].backend`.

mod assign;
mod present;
mod resolve;
mod texts;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::domain::{BackendUrl, Metadata, PathPrefix, RouteName};
use crate::json::numbers::{Port, Priority};
use crate::json::settings::{CircuitBreaker, HealthCheck, RateLimit};
use crate::json::values::{Domains, present, refusal};

pub(crate) use resolve::WantedInstance;
pub use texts::{HeaderTexts, OptionTexts};

/// The whole configuration of an instance.
///
/// An instance with one route has `backend` and `domains`, and `path` and `priority` if they are not `/` and 0. An
/// instance with more routes has `routes` in their place. Answers always have `routes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "the configuration of an instance")]
#[schema(example = json!({
    "backend": "http://127.0.0.1:3000",
    "domains": ["shop.example"],
    "options": { "timeout": "10s" },
}))]
pub struct InstanceConfig {
    /// The backend of the only route.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(nullable = false)]
    pub backend: Option<BackendUrl>,
    /// The domains of the only route.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(nullable = false)]
    pub domains: Option<Domains>,
    /// The path of the only route; `/` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(nullable = false)]
    pub path: Option<PathPrefix>,
    /// The priority of the only route; 0 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(nullable = false)]
    pub priority: Option<Priority>,
    /// The routes.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(nullable = false)]
    pub routes: Option<Vec<RouteConfig>>,
    /// The response headers of all routes.
    #[serde(default, skip_serializing_if = "HeaderTexts::is_empty")]
    pub headers: HeaderTexts,
    /// The options of all routes.
    #[serde(default, skip_serializing_if = "OptionTexts::is_empty")]
    pub options: OptionTexts,
    /// The health check of each route that has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(nullable = false)]
    pub health_check: Option<HealthCheck>,
    /// The rate limit for all routes together.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(nullable = false)]
    pub rate_limit: Option<RateLimit>,
    /// The circuit breaker of each route that has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(nullable = false)]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// A port that is stored and shown; the server never connects to it. 0 if left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub maintenance_port: Port,
    /// Any further data about the instance.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "metadata")]
    #[schema(value_type = serde_json::Map<String, serde_json::Value>)]
    pub metadata: Metadata,
}

/// A route of an instance with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a route")]
#[schema(example = json!({
    "name": "cart",
    "backend": "http://127.0.0.1:3001",
    "domains": ["shop.example"],
    "path": "/cart",
    "rate_limit": { "requests": 100, "window": "1m" },
}))]
pub struct RouteConfig {
    /// The name. The route of this name keeps its id, statistics and breaker whatever else changes. A route without a
    /// name is the one that has its domains and path; answers show its id in place of a name.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(nullable = false)]
    pub name: Option<RouteName>,
    /// The backend that requests go to.
    pub backend: BackendUrl,
    /// The host names of the requests that go to the backend.
    pub domains: Domains,
    /// The path of these requests, with all paths below it.
    #[serde(default = "PathPrefix::root", skip_serializing_if = "is_root")]
    pub path: PathPrefix,
    /// The priority. Within a host, the highest is matched first.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub priority: Priority,
    /// Its response headers.
    #[serde(default, skip_serializing_if = "HeaderTexts::is_empty")]
    pub headers: HeaderTexts,
    /// Its options.
    #[serde(default, skip_serializing_if = "OptionTexts::is_empty")]
    pub options: OptionTexts,
    /// Its health check.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(nullable = false)]
    pub health_check: Option<HealthCheck>,
    /// Its rate limit.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(nullable = false)]
    pub rate_limit: Option<RateLimit>,
    /// Its circuit breaker.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(nullable = false)]
    pub circuit_breaker: Option<CircuitBreaker>,
}

impl InstanceConfig {
    /// Returns an upper bound of the entries that it has.
    pub(crate) fn weight(&self) -> usize {
        let settings = |headers: &HeaderTexts, options: &OptionTexts| headers.0.len() + options.0.len() + 4;
        let routes = self.routes.iter().flatten().map(|route| settings(&route.headers, &route.options));
        settings(&self.headers, &self.options) + routes.sum::<usize>()
    }
}

fn is_root(path: &PathPrefix) -> bool {
    *path == PathPrefix::root()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual(priority: &Priority) -> bool {
    priority.0 == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(port: &Port) -> bool {
    port.0 == 0
}

fn is_empty(metadata: &Metadata) -> bool {
    *metadata == Metadata::default()
}

/// Reads metadata from any format, not only from JSON.
fn metadata<'de, D: Deserializer<'de>>(from: D) -> Result<Metadata, D::Error> {
    let object = serde_json::Map::deserialize(from)?;
    Metadata::parse(&serde_json::Value::Object(object).to_string()).map_err(|error| refusal(&error))
}

#[cfg(test)]
mod tests;
