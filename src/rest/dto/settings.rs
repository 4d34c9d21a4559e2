//! Requests about headers, options, health checks, rate limits and breakers.

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::domain::{Breaker, HealthCheck as Check, RateLimit as Limit};

use super::numbers::{Count, Duration, Interval};
use super::values::{CheckPath, HeaderName, HeaderText, OptionName, OptionText, Target};

/// The target of a setting, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct TargetPath {
    /// The routes that the setting is for.
    pub target: Target,
}

/// A header, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct HeaderPath {
    /// The routes that the setting is for.
    pub target: Target,
    /// The header.
    pub name: HeaderName,
}

/// An option, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OptionPath {
    /// The routes that the setting is for.
    pub target: Target,
    /// The option.
    pub key: OptionName,
}

/// A response header's value. It replaces the backend's value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub struct HeaderSetting {
    /// The value.
    pub value: HeaderText,
}

/// An option's value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub struct OptionSetting {
    /// The value.
    pub value: OptionText,
}

/// The health check of a route's backend: 2xx and 3xx are healthy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({ "path": "/health", "interval": "10s", "timeout": "2s" }))]
pub struct HealthCheck {
    /// The path and query of the check's request, sent exactly as written.
    pub path: CheckPath,
    /// The time from one check to the next.
    pub interval: Interval,
    /// The time that an answer may take.
    pub timeout: Duration,
}

impl From<HealthCheck> for Check {
    fn from(check: HealthCheck) -> Self {
        Self { path: check.path.0, interval: check.interval.0, timeout: check.timeout.0 }
    }
}

/// A rate limit per client. For `ALL`, it counts the requests to all routes of the session together.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({ "requests": 100, "window": "1m" }))]
pub struct RateLimit {
    /// The number of requests allowed per window.
    pub requests: Count,
    /// The length of the window.
    pub window: Duration,
}

impl From<RateLimit> for Limit {
    fn from(limit: RateLimit) -> Self {
        Self { requests: limit.requests.0, window: limit.window.0 }
    }
}

/// A circuit breaker: it stops requests to a failing backend, and tries the backend again later.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({ "threshold": 5, "timeout": "30s", "half_open_requests": 3 }))]
pub struct CircuitBreaker {
    /// The number of consecutive failures that open it.
    pub threshold: Count,
    /// The time that it stays open.
    pub timeout: Duration,
    /// The number of trial requests that must all succeed to close it.
    pub half_open_requests: Count,
}

impl From<CircuitBreaker> for Breaker {
    fn from(breaker: CircuitBreaker) -> Self {
        Self {
            threshold: breaker.threshold.0,
            timeout: breaker.timeout.0,
            half_open_requests: breaker.half_open_requests.0,
        }
    }
}
