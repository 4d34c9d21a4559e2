//! The settings of routes that have several fields: health checks, rate limits and circuit breakers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{Breaker, HealthCheck as Check, HealthPath, RateLimit as Limit};

use super::numbers::{Count, Duration, Interval};

/// The health check of a route's backend: 2xx and 3xx are healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({ "path": "/health", "interval": "10s", "timeout": "2s" }))]
pub struct HealthCheck {
    /// The path and query of the check's request, sent exactly as written.
    pub path: HealthPath,
    /// The time from one check to the next.
    pub interval: Interval,
    /// The time that an answer may take.
    pub timeout: Duration,
}

impl From<HealthCheck> for Check {
    fn from(check: HealthCheck) -> Self {
        Self { path: check.path, interval: check.interval.0, timeout: check.timeout.0 }
    }
}

impl From<Check> for HealthCheck {
    fn from(check: Check) -> Self {
        Self { path: check.path, interval: Interval(check.interval), timeout: Duration(check.timeout) }
    }
}

/// A rate limit per client. For `ALL`, it counts the requests to all routes of the session together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

impl From<Limit> for RateLimit {
    fn from(limit: Limit) -> Self {
        Self { requests: Count(limit.requests), window: Duration(limit.window) }
    }
}

/// A circuit breaker: it stops requests to a failing backend, and tries the backend again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

impl From<Breaker> for CircuitBreaker {
    fn from(breaker: Breaker) -> Self {
        Self {
            threshold: Count(breaker.threshold),
            timeout: Duration(breaker.timeout),
            half_open_requests: Count(breaker.half_open_requests),
        }
    }
}
