//! The invariants of the routing table, checked in debug and test builds after each change.
//!
//! It repairs nothing and release builds never call it. A table of up to [`COMPLETE_MAX`] routes is checked completely; of a
//! larger one only the routes that changed and their pools, so that the cost stays that of the change. The owner of the
//! table checks a larger one as a whole now and then.
//!
//! Invariants:
//! - each endpoint stands under its own key, and its pool at each of its hosts has it as a member;
//! - each member of a pool is an endpoint of the table, with the pool's host, path and priority;
//! - no host is left without a path, and the indexes of a host agree with its pools;
//! - the endpoints of a session share its admin state;
//! - the table has exactly the routes that are active in the catalog.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::host_paths::HostPaths;
use super::table::{RoutingTable, same_place};
use crate::domain::{Catalog, Change, Host, RouteId, Session, SessionKey, Target};
use crate::traffic::balancing::Pool;
use crate::traffic::endpoint::Endpoint;

/// The most routes of a table that is checked completely, and the most changed routes that are checked of a larger one.
const COMPLETE_MAX: usize = 1_000;

impl RoutingTable {
    /// Returns the first fault of the table, or of what changed since `before` where the table is large.
    pub(super) fn fault_since(&self, before: &RoutingTable) -> Option<String> {
        if self.len() <= COMPLETE_MAX {
            return self.fault();
        }
        before.endpoints.diff(&self.endpoints).take(COMPLETE_MAX).find_map(|change| match change {
            DiffItem::Add(key, new) => self.endpoint_fault(*key, new).or_else(|| self.pools_fault(new)),
            DiffItem::Update { old: (_, old), new: (key, new) } => {
                let moved = if same_place(old, new) { None } else { self.leftover(old) };
                moved.or_else(|| self.endpoint_fault(*key, new)).or_else(|| self.pools_fault(new))
            }
            DiffItem::Remove(_, old) => self.leftover(old),
        })
    }

    /// Returns the first difference between the table and a catalog that has absorbed the same `changes`.
    pub fn disagreement(&self, catalog: &Catalog, changes: &[Change]) -> Option<String> {
        let counts = (self.len(), catalog.routes_len());
        let differ = || (counts.0 != counts.1).then(|| format!("{} routes, but {} in the catalog", counts.0, counts.1));
        changes.iter().find_map(|change| self.difference(catalog, change)).or_else(differ)
    }

    /// Returns the first fault of the whole table, or the first difference between it and the whole catalog.
    pub fn whole_disagreement(&self, catalog: &Catalog) -> Option<String> {
        let of_session =
            |session: &Session| self.routes_of(session).into_iter().find_map(|id| self.route_difference(session, id));
        self.fault().or_else(|| catalog.sessions().find_map(|session| of_session(session)))
    }

    /// Returns the first difference between the table and the active routes of the catalog, as far as `change` concerns them.
    pub(super) fn difference(&self, catalog: &Catalog, change: &Change) -> Option<String> {
        let (key, edits) = match change {
            Change::Apply { key, edits, .. } => (*key, &edits[..]),
            Change::End(key) => (*key, &[][..]),
            _ => return None,
        };
        let Some(session) = catalog.by_key(key) else {
            let left = self.endpoints_of(key).next();
            return left.map(|left| format!("session {} has ended, but {} is still there", key.0, left.id()));
        };
        let edited = edits.iter().filter_map(|edit| match edit.target() {
            Target::Route(id) => Some(id),
            Target::All => None,
        });
        let is_small = session.active.routes.len() <= COMPLETE_MAX;
        let whole = if is_small { self.routes_of(session) } else { BTreeSet::new() };
        edited.take(COMPLETE_MAX).chain(whole).find_map(|id| self.route_difference(session, id))
    }

    fn routes_of(&self, session: &Session) -> BTreeSet<RouteId> {
        let compiled = self.endpoints_of(session.key).map(|endpoint| endpoint.id());
        compiled.chain(session.active.routes.keys().copied()).collect()
    }

    fn route_difference(&self, session: &Session, id: RouteId) -> Option<String> {
        let (active, compiled) = (session.active.routes.get(&id), self.endpoint(session.key, id));
        let agree = match (active, compiled) {
            (Some(active), Some(compiled)) => Arc::ptr_eq(active, &compiled.route),
            (None, None) => true,
            _ => false,
        };
        (!agree).then(|| format!("{id} of session {} differs from the catalog", session.key.0))
    }

    /// Returns the first fault of the whole table.
    pub(super) fn fault(&self) -> Option<String> {
        let endpoints = self.endpoints.iter().find_map(|(key, endpoint)| self.endpoint_fault(*key, endpoint));
        endpoints
            .or_else(|| {
                self.exact.iter().find_map(|(name, paths)| self.host_fault(&Host::Exact(Arc::clone(name)), paths))
            })
            .or_else(|| {
                self.wildcard.iter().find_map(|(base, paths)| self.host_fault(&Host::Below(Arc::clone(base)), paths))
            })
            .or_else(|| self.paths_fault(&Host::Any, &self.any))
    }

    fn endpoint_fault(&self, key: (SessionKey, RouteId), endpoint: &Arc<Endpoint>) -> Option<String> {
        let name = || format!("{} of session {}", endpoint.id(), endpoint.session.0);
        if key != (endpoint.session, endpoint.id()) {
            return Some(format!("{} stands under another key", name()));
        }
        let shared = self.shared.get(&endpoint.session);
        if !shared.is_some_and(|shared| Arc::ptr_eq(&shared.admin, &endpoint.policy.admin)) {
            return Some(format!("{} does not share the admin state of its session", name()));
        }
        let is_member = |host: &&Host| {
            let members = self.pool_at(host, endpoint).map_or(&[][..], Pool::members);
            let at = members.binary_search_by_key(&key, |member| (member.session, member.id()));
            at.is_ok_and(|at| members.get(at).is_some_and(|member| Arc::ptr_eq(member, endpoint)))
        };
        let host = endpoint.route.domains.iter().find(|host| !is_member(host))?;
        Some(format!("{} is no member of its pool at {host}", name()))
    }

    /// Returns the first fault of the pools that an endpoint belongs to.
    fn pools_fault(&self, endpoint: &Endpoint) -> Option<String> {
        let mut hosts = endpoint.route.domains.iter();
        hosts.find_map(|host| self.pool_at(host, endpoint).and_then(|pool| pool_fault(pool, host)))
    }

    /// Returns a fault if a pool still has a route as a member that has left the pool's place.
    fn leftover(&self, old: &Endpoint) -> Option<String> {
        let is_old = |member: &Arc<Endpoint>| (member.session, member.id()) == (old.session, old.id());
        let stays = |host: &&Host| self.pool_at(host, old).is_some_and(|pool| pool.members().iter().any(is_old));
        let host = old.route.domains.iter().find(stays)?;
        Some(format!("{} of session {} is still a member at {host}", old.id(), old.session.0))
    }

    fn host_fault(&self, host: &Host, paths: &HostPaths) -> Option<String> {
        if paths.is_empty() { Some(format!("{host} has no path")) } else { self.paths_fault(host, paths) }
    }

    fn paths_fault(&self, host: &Host, paths: &HostPaths) -> Option<String> {
        if !paths.is_consistent() {
            return Some(format!("the indexes of {host} disagree with its pools"));
        }
        paths.pools().find_map(|(path, priority, pool)| {
            let belongs = |member: &Arc<Endpoint>| {
                let route = &member.route;
                let is_here = route.domains.contains(host) && route.path.as_str() == path && route.priority == priority;
                is_here && self.endpoint(member.session, member.id()).is_some_and(|known| Arc::ptr_eq(known, member))
            };
            let stranger = pool.members().iter().find(|member| !belongs(member));
            let fault = stranger.map(|member| {
                format!("{} of session {} does not belong at {host}{path}", member.id(), member.session.0)
            });
            fault.or_else(|| pool_fault(pool, host))
        })
    }
}

fn pool_fault(pool: &Pool, host: &Host) -> Option<String> {
    (!pool.is_consistent()).then(|| format!("a pool at {host} disagrees with its members"))
}

#[cfg(test)]
mod tests;
