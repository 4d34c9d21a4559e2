//! A route: sends requests for some hosts and paths to one backend.

use super::{BackendUrl, Claim, Host, PathPrefix, RouteId, RouteName};

/// A route sends requests for `domains` below `path` to `backend`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The id, unique in its session.
    pub id: RouteId,
    /// The name that its owner gave it; clients give none.
    pub name: Option<RouteName>,
    /// The hosts: at least one, no repeats, in the caller's order.
    pub domains: Vec<Host>,
    /// The prefix of the request's path.
    pub path: PathPrefix,
    /// The backend.
    pub backend: BackendUrl,
    /// The priority. Within a host the highest one goes first.
    pub priority: i32,
}

impl Route {
    /// Returns the claims of the route, one for each of its domains.
    pub fn claims(&self) -> impl Iterator<Item = Claim> {
        self.domains.iter().map(|host| Claim { host: host.clone(), path: self.path.clone(), priority: self.priority })
    }
}
