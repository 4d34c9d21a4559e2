//! The specification of a health check: its request, and the routes that the answer is for.

use std::sync::Arc;

use super::endpoint_health::CheckKind;
use crate::domain::{BackendUrl, CheckMethod, HealthPath, RouteId, SessionKey, Span, StatusRanges, acting_timeout};
use crate::traffic::endpoint::{Endpoint, LiveState};

/// The request of a check, its backend, and the rule for its answer. Endpoints with equal specs share one check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbeSpec {
    /// The backend to probe.
    pub backend: BackendUrl,
    /// The path and query to ask for, below the backend's base path.
    pub path: HealthPath,
    /// The rule for healthy answers.
    pub check: CheckKind,
    /// The time from one probe to the next.
    pub interval: Span,
    /// The longest time of a probe: the configured timeout, limited by [`acting_timeout`].
    pub timeout: Span,
    /// True if the backend's certificate is checked, where it has one.
    pub tls_verify: bool,
    /// `GET` or `HEAD`.
    pub method: CheckMethod,
    /// The value of `Host`; `None` for the backend's own name.
    pub host: Option<Arc<str>>,
    /// The statuses that are healthy, if they are configured.
    pub expected: Option<StatusRanges>,
}

impl ProbeSpec {
    /// Returns the spec of an endpoint's check.
    pub fn of(endpoint: &Endpoint) -> Self {
        let options = endpoint.options();
        let (path, interval, timeout) = match &endpoint.policy.health_check {
            Some(explicit) => (&explicit.path, explicit.interval, explicit.timeout),
            None => (&options.health_check_path, options.health_check_interval, options.health_check_timeout),
        };
        Self {
            backend: endpoint.backend().clone(),
            path: path.clone(),
            check: endpoint.check(),
            interval,
            timeout: acting_timeout(interval, timeout),
            tls_verify: options.tls_verify,
            method: options.health_check_method,
            host: endpoint.check_host(),
            expected: options.health_check_status.clone(),
        }
    }

    /// Returns true if an answer with this status is healthy.
    pub fn accepts(&self, status: u16) -> bool {
        self.check.accepts(status, self.expected.as_ref())
    }
}

/// The id of a check. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(u64);

impl CheckId {
    pub(super) const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// A route that a check is for.
#[derive(Clone, Debug)]
pub struct CheckTarget {
    /// The session that the route belongs to.
    pub session: SessionKey,
    /// The route.
    pub route: RouteId,
    /// The live state that the result is recorded in. It stays the same over changes that leave the check as it is.
    pub live: Arc<LiveState>,
}
