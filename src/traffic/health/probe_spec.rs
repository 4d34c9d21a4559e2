//! One health check: the question that is asked of a backend, and the routes that the answer is for.

use std::sync::Arc;

use super::endpoint_health::CheckKind;
use crate::domain::{BackendUrl, CheckMethod, HealthPath, RouteId, SessionKey, Span, StatusRanges, acting_timeout};
use crate::traffic::endpoint::{Endpoint, LiveState};

/// What is asked, of whom, and how the answer is judged. Endpoints for which it is the same share one check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbeSpec {
    /// Who is asked.
    pub backend: BackendUrl,
    /// The path and query asked for, below the backend's base path.
    pub path: HealthPath,
    /// What counts as well.
    pub check: CheckKind,
    /// From one check to the next.
    pub interval: Span,
    /// The time that the answer may take: what is set, within [`acting_timeout`].
    pub timeout: Span,
    /// True if the backend's certificate counts, where it has one.
    pub tls_verify: bool,
    /// `GET` or `HEAD`.
    pub method: CheckMethod,
    /// What `Host` says; `None` for the backend's own name.
    pub host: Option<Arc<str>>,
    /// Which statuses are well, where that is set.
    pub expected: Option<StatusRanges>,
}

impl ProbeSpec {
    /// What an endpoint wants to know.
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

    /// True if an answer with this status is well.
    pub fn accepts(&self, status: u16) -> bool {
        self.check.accepts(status, self.expected.as_ref())
    }
}

/// Names a check, from its first time to its last. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(u64);

impl CheckId {
    pub(super) const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// Whom a check is for.
#[derive(Clone, Debug)]
pub struct CheckTarget {
    /// Whose the route is.
    pub session: SessionKey,
    /// The route.
    pub route: RouteId,
    /// What is made of it; the same over changes that leave the check as it is.
    pub live: Arc<LiveState>,
}
