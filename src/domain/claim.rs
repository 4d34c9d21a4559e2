//! Claims: each combination of host, path and priority belongs to one service at most.

use std::sync::Arc;

use super::{Host, PathPrefix, RouteId, ServiceName, SessionKey};

/// A host and path at a priority. Only one service may have routes for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The host.
    pub host: Host,
    /// The path.
    pub path: PathPrefix,
    /// The priority.
    pub priority: i32,
}

/// The holders of a claim: routes of one service, usually one per instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimants {
    /// The service.
    pub service: ServiceName,
    /// The service's active routes that hold the claim.
    pub routes: Arc<[(SessionKey, RouteId)]>,
}
