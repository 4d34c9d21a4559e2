//! A route: which requests go to which backend.

use super::{BackendUrl, Host, PathPrefix, RouteId};

/// Requests for any of `domains` below `path` go to `backend`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its id, unique in its session.
    pub id: RouteId,
    /// At least one, no repeats, in the order the client gave.
    pub domains: Vec<Host>,
    /// The prefix of the request's path.
    pub path: PathPrefix,
    /// Where its requests go.
    pub backend: BackendUrl,
    /// Within a host the highest goes first.
    pub priority: i32,
}

impl Route {
    /// What the route claims: one claim for each of its domains.
    pub fn claims(&self) -> impl Iterator<Item = super::Claim> {
        self.domains.iter().map(|host| super::Claim {
            host: host.clone(),
            path: self.path.clone(),
            priority: self.priority,
        })
    }
}
