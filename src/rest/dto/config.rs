//! Requests and responses about configurations.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::Sections;

use super::numbers::{Count, Priority};
use super::values::present;
use super::values::{Backend, Domains, HeaderText, Path, Route, Scope, Target};

/// The sections to apply.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({ "scopes": ["routes", "headers"] }))]
pub struct Apply {
    /// The sections; the other ones stay staged. All sections if left out.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, min_items = 1)]
    pub scopes: Option<Vec<Scope>>,
}

impl Apply {
    /// Returns the sections; `None` for an empty list.
    pub(in crate::rest) fn sections(&self) -> Option<Sections> {
        match self.scopes.as_deref() {
            None => Some(Sections::ALL),
            Some([]) => None,
            Some(scopes) => Some(scopes.iter().fold(Sections::default(), |all, scope| all | scope.0)),
        }
    }
}

/// A configuration that was applied.
#[derive(Debug, Serialize, ToSchema)]
pub struct Applied {
    /// The number of applies that changed something, this one included; also the `ETag`.
    #[schema(minimum = 0)]
    pub revision: u64,
}

/// The result of a validation with warnings.
#[derive(Debug, Serialize, ToSchema)]
pub struct Valid {
    /// The warnings: staged entries without effect, and routes of the replaced session that an apply would remove.
    pub warnings: Vec<String>,
}

/// The changes that the next apply would make.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct Diff {
    pub routes: RoutesDiff,
    pub headers: Tally,
    pub options: Tally,
    pub health: Tally,
    pub ratelimit: Tally,
    pub circuit: Tally,
    /// The warnings: staged entries without effect, such as unknown options, and routes of the replaced session that an
    /// apply would remove.
    pub warnings: Vec<String>,
}

/// The routes that would change.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct RoutesDiff {
    pub added: Vec<Route>,
    pub removed: Vec<Route>,
    pub modified: Vec<Route>,
}

/// The numbers of entries of another section that would change.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct Tally {
    #[schema(minimum = 0)]
    pub added: u64,
    #[schema(minimum = 0)]
    pub removed: u64,
    #[schema(minimum = 0)]
    pub modified: u64,
}

/// The configurations of a session.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SessionConfig {
    /// The number of applies that changed something.
    #[schema(minimum = 0)]
    pub revision: u64,
    /// The active configuration.
    pub active: ConfigurationPart,
    /// The configuration after the next apply; `null` if nothing is staged.
    #[schema(required)]
    pub staged: Option<ConfigurationPart>,
}

/// One configuration.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct ConfigurationPart {
    pub routes: Vec<ConfiguredRoute>,
    pub headers: Vec<ConfiguredHeader>,
    pub options: Vec<ConfiguredOption>,
    pub health_checks: Vec<ConfiguredCheck>,
    pub rate_limits: Vec<ConfiguredLimit>,
    pub circuit_breakers: Vec<ConfiguredBreaker>,
}

/// A route of a configuration.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct ConfiguredRoute {
    pub route_id: Route,
    pub domains: Domains,
    pub path: Path,
    pub backend: Backend,
    pub priority: Priority,
}

/// A response header of a configuration.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct ConfiguredHeader {
    pub target: Target,
    pub name: String,
    pub value: HeaderText,
}

/// An option of a configuration.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct ConfiguredOption {
    pub target: Target,
    /// The key; it may be unknown, because the line protocol accepts any.
    pub key: String,
    pub value: String,
}

/// A health check of a configuration.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct ConfiguredCheck {
    pub route_id: Route,
    pub path: Path,
    /// A duration in the spelling of Go, such as `1m30s`.
    pub interval: String,
    /// A duration in the spelling of Go, such as `1m30s`.
    pub timeout: String,
}

/// A rate limit of a configuration.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct ConfiguredLimit {
    pub target: Target,
    pub requests: Count,
    /// A duration in the spelling of Go, such as `1m30s`.
    pub window: String,
}

/// A circuit breaker of a configuration.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct ConfiguredBreaker {
    pub target: Target,
    pub threshold: Count,
    /// A duration in the spelling of Go, such as `1m30s`.
    pub timeout: String,
    pub half_open_requests: Count,
}
