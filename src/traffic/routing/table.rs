//! The routing table: every active route, compiled for lookup.
//!
//! Persistent maps all the way down: a clone is a few pointers, and absorbing a change copies only the way to what
//! it changes, be there 100,000 hosts or 100,000 paths on one. The table follows the catalog; it decides nothing itself.
//!
//! Matching (protocol §6): the exact host first, then wildcards from the longest, then `*`. Where a host has no path for the
//! request, the next less specific one is asked: a service that owns `/api` of a host does not
//! hide what `*` serves there. Within a host the highest priority goes first, then the longest path.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{HashMap, OrdMap};

use crate::domain::{Catalog, Change, Edit, Host, RouteId, Session, SessionKey, Target, Time};

use super::host_paths::HostPaths;
use crate::traffic::balancing::Pool;
use crate::traffic::breaker::Breaker;
use crate::traffic::endpoint::{
    AdminState, Endpoint, EndpointPolicy, EndpointStats, LiveState, RouteDefaults, RouteSettings,
};
use crate::traffic::limits::RateLimiter;

/// Which pool a request belongs to.
#[derive(Clone, Debug, Default)]
pub struct RoutingTable {
    exact: HashMap<Arc<str>, HostPaths>,
    wildcard: HashMap<Arc<str>, HostPaths>,
    any: HostPaths,
    endpoints: OrdMap<(SessionKey, RouteId), Arc<Endpoint>>,
    shared: OrdMap<SessionKey, SessionShared>,
}

/// What the routes of one session have in common.
#[derive(Clone, Debug)]
struct SessionShared {
    settings: Arc<RouteSettings>,
    limiter: Option<Arc<RateLimiter>>,
    admin: Arc<AdminState>,
    /// Of routes that have gone or have another backend: those with requests still under way when that was last looked at.
    draining: Vec<Arc<LiveState>>,
}

impl RoutingTable {
    /// The table of everything active in a catalog.
    pub fn build(catalog: &Catalog, defaults: &RouteDefaults) -> Self {
        let mut table = Self::default();
        for session in catalog.sessions() {
            table.refresh(session, defaults);
        }
        table
    }

    /// Takes in a change, after the catalog did.
    pub fn absorb(&mut self, catalog: &Catalog, change: &Change, defaults: &RouteDefaults) {
        match change {
            Change::Apply { key, edits, .. } => match catalog.by_key(*key) {
                Some(session) => self.apply(session, edits, defaults),
                None => self.end(*key),
            },
            Change::End(key) => self.end(*key),
            Change::Record(key, record) => {
                self.shared.get(key).into_iter().for_each(|shared| shared.admin.update(record));
            }
            Change::Stage { .. }
            | Change::Unstage(_)
            | Change::Bind(..)
            | Change::Unbind(..)
            | Change::Await(..)
            | Change::Settle(..)
            | Change::Observed(_) => {}
        }
    }

    /// Compiles everything again under new defaults. Live state stays.
    pub fn rebase(&mut self, catalog: &Catalog, defaults: &RouteDefaults) {
        for session in catalog.sessions() {
            self.refresh(session, defaults);
        }
    }

    /// The pool that a request belongs to: `host` as [`super::request_host`] gives it, `path` without the query.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Pool>> {
        if let Some(pool) = self.exact.get(host).and_then(|paths| paths.find(path)) {
            return Some(pool);
        }
        if !self.wildcard.is_empty() {
            let mut rest = host;
            // A name has at most 127 labels; a host field that has more is no name.
            for _ in 0..128 {
                let Some((_, base)) = rest.split_once('.') else { break };
                if let Some(pool) = self.wildcard.get(base).and_then(|paths| paths.find(path)) {
                    return Some(pool);
                }
                rest = base;
            }
        }
        self.any.find(path)
    }

    /// One active route.
    pub fn endpoint(&self, session: SessionKey, route: RouteId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(&(session, route))
    }

    /// Every active route. Persistent: two tables' are compared in the time of their difference.
    pub fn endpoints(&self) -> &OrdMap<(SessionKey, RouteId), Arc<Endpoint>> {
        &self.endpoints
    }

    /// The routes that are in both tables and not the same, as they were in `old` and as they are.
    pub fn changed_since<'a>(
        &'a self,
        old: &'a RoutingTable,
    ) -> impl Iterator<Item = (&'a Endpoint, &'a Arc<Endpoint>)> {
        old.endpoints.diff(&self.endpoints).filter_map(|change| match change {
            DiffItem::Update { old: (_, old), new: (_, new) } => Some((&**old, new)),
            DiffItem::Add(..) | DiffItem::Remove(..) => None,
        })
    }

    /// Takes every route of whose health nothing is known for healthy: what was active when the server ended served then.
    pub fn assume_healthy(&self) {
        self.endpoints.values().for_each(|endpoint| endpoint.live.health.assume_healthy(Time(0)));
    }

    /// True if another member of one of the endpoint's pools has been well for so long that it could bear its share.
    pub fn has_established_sibling(&self, endpoint: &Endpoint, now: Time) -> bool {
        let is_other = |member: &&Arc<Endpoint>| !Arc::ptr_eq(&member.live, &endpoint.live);
        endpoint.route.domains.iter().any(|host| {
            let paths = match host {
                Host::Exact(name) => self.exact.get(name),
                Host::Below(base) => self.wildcard.get(base),
                Host::Any => Some(&self.any),
            };
            let pool = paths.and_then(|paths| paths.get(&endpoint.route.path, endpoint.route.priority));
            let others = pool.map_or(&[][..], Pool::members).iter().filter(is_other);
            others.into_iter().any(|other| other.live.health.is_established(now))
        })
    }

    /// A session's active routes.
    pub fn endpoints_of(&self, session: SessionKey) -> impl Iterator<Item = &Arc<Endpoint>> {
        let all = (session, RouteId(0))..=(session, RouteId(u32::MAX));
        self.endpoints.range(all).map(|(_, endpoint)| endpoint)
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// What traffic has counted for a route since it has its backend.
    pub fn stats(&self, session: SessionKey, route: RouteId) -> EndpointStats {
        self.endpoint(session, route).map(|endpoint| endpoint.live.stats()).unwrap_or_default()
    }

    /// A route's circuit breaker, if it has one.
    pub fn breaker(&self, session: SessionKey, route: RouteId) -> Option<&Arc<Breaker>> {
        self.endpoint(session, route).and_then(|endpoint| endpoint.breaker())
    }

    /// Requests and tunnels of a session under way, those that an apply has draining behind included.
    pub fn in_flight(&self, session: SessionKey) -> u64 {
        let now = self.endpoints_of(session).map(|endpoint| &endpoint.live);
        let draining = self.shared.get(&session).into_iter().flat_map(|shared| &shared.draining);
        now.chain(draining).map(|live| live.in_flight()).sum()
    }

    fn apply(&mut self, session: &Session, edits: &[Edit], defaults: &RouteDefaults) {
        let mut touched = BTreeSet::new();
        for edit in edits {
            match edit.target() {
                Target::All => return self.refresh(session, defaults),
                Target::Route(id) => touched.insert(id),
            };
        }
        let shared = self.shared_of(session, defaults);
        for id in touched {
            self.set(session, id, &shared, defaults);
        }
    }

    /// Compiles all of a session's routes again.
    fn refresh(&mut self, session: &Session, defaults: &RouteDefaults) {
        let shared = self.rebuild_shared(session, defaults);
        let known: BTreeSet<RouteId> = self.endpoints_of(session.key).map(|endpoint| endpoint.id()).collect();
        let active: BTreeSet<RouteId> = session.active.routes.keys().copied().collect();
        for id in known.union(&active) {
            self.set(session, *id, &shared, defaults);
        }
    }

    fn end(&mut self, session: SessionKey) {
        let endpoints: Vec<_> = self.endpoints_of(session).cloned().collect();
        for endpoint in endpoints {
            self.remove(&endpoint);
        }
        self.shared.remove(&session);
    }

    fn shared_of(&mut self, session: &Session, defaults: &RouteDefaults) -> SessionShared {
        if let Some(shared) = self.shared.get_mut(&session.key) {
            shared.draining.retain(|live| live.in_flight() > 0);
            return shared.clone();
        }
        self.rebuild_shared(session, defaults)
    }

    /// Puts together anew what the session's routes share. The limiter and what is asked of the session stay what they are.
    fn rebuild_shared(&mut self, session: &Session, defaults: &RouteDefaults) -> SessionShared {
        let old = self.shared.get(&session.key);
        let admin = old.map(|old| Arc::clone(&old.admin)).unwrap_or_default();
        admin.update(&session.record);
        let known = old.and_then(|old| old.limiter.as_ref());
        let limit = session.active.limits.get(&Target::All);
        let limiter = limit.map(|limit| RateLimiter::reconfigure(known, *limit, halves(defaults.seed)));
        let draining = old.iter().flat_map(|old| &old.draining).filter(|live| live.in_flight() > 0).cloned().collect();
        let shared = SessionShared {
            settings: Arc::new(RouteSettings::shared(defaults, &session.active)),
            limiter,
            admin,
            draining,
        };
        self.shared.insert(session.key, shared.clone());
        shared
    }

    /// Brings one route of the table to what the session has active.
    fn set(&mut self, session: &Session, id: RouteId, shared: &SessionShared, defaults: &RouteDefaults) {
        let old = self.endpoint(session.key, id).cloned();
        let Some(route) = session.active.routes.get(&id) else {
            return old.iter().for_each(|old| {
                self.remove(old);
                self.keep_draining(old);
            });
        };
        let settings = RouteSettings::own(&shared.settings, &session.active, id);
        let settings = settings.map_or_else(|| Arc::clone(&shared.settings), Arc::new);
        let same_backend = old.as_ref().filter(|old| *old.backend() == route.backend);
        let live = same_backend.map_or_else(Arc::default, |old| Arc::clone(&old.live));
        let policy = policy(session, id, shared, old.as_deref(), defaults);
        let new = Arc::new(Endpoint::new(session.key, route, settings, policy, live));
        if let Some(old) = old {
            if !same_place(&old, &new) {
                self.remove(&old);
            }
            if !Arc::ptr_eq(&old.live, &new.live) {
                self.keep_draining(&old);
            }
        }
        self.insert(&new);
    }

    /// What is under way on a backend that a route has no more stays in flight.
    fn keep_draining(&mut self, old: &Endpoint) {
        if old.live.in_flight() > 0
            && let Some(shared) = self.shared.get_mut(&old.session)
        {
            shared.draining.push(Arc::clone(&old.live));
        }
    }

    fn insert(&mut self, endpoint: &Arc<Endpoint>) {
        for host in &endpoint.route.domains {
            self.alter(host, |paths| {
                paths.alter(&endpoint.route.path, endpoint.route.priority, |pool| Some(Pool::with(pool, endpoint)));
            });
        }
        self.endpoints.insert((endpoint.session, endpoint.id()), Arc::clone(endpoint));
    }

    fn remove(&mut self, endpoint: &Endpoint) {
        for host in &endpoint.route.domains {
            self.alter(host, |paths| {
                paths.alter(&endpoint.route.path, endpoint.route.priority, |pool| {
                    pool.and_then(|pool| pool.without(endpoint.session, endpoint.id()))
                });
            });
        }
        self.endpoints.remove(&(endpoint.session, endpoint.id()));
    }

    fn alter(&mut self, host: &Host, change: impl FnOnce(&mut HostPaths)) {
        let (hosts, name) = match host {
            Host::Exact(name) => (&mut self.exact, name),
            Host::Below(base) => (&mut self.wildcard, base),
            Host::Any => return change(&mut self.any),
        };
        let mut paths = hosts.get(name).cloned().unwrap_or_default();
        change(&mut paths);
        if paths.is_empty() {
            hosts.remove(name);
        } else {
            hosts.insert(Arc::clone(name), paths);
        }
    }
}

/// What may keep requests from a route, with what is known of the one that it follows.
fn policy(
    session: &Session,
    id: RouteId,
    shared: &SessionShared,
    old: Option<&Endpoint>,
    defaults: &RouteDefaults,
) -> EndpointPolicy {
    let (config, own) = (&session.active, Target::Route(id));
    let same_backend = |old: &&Endpoint| config.routes.get(&id).is_some_and(|route| route.backend == *old.backend());
    let breaker = config.breaker_of(id);
    let old_breaker = old.filter(same_backend).and_then(Endpoint::breaker);
    let limit = config.limits.get(&own);
    let old_limiter = old.filter(|old| old.policy.has_own_limiter).and_then(|old| old.policy.limiter.as_ref());
    let limiter = limit.map(|limit| RateLimiter::reconfigure(old_limiter, *limit, halves(defaults.seed)));
    EndpointPolicy {
        health_check: config.health.get(&id).cloned().map(Box::new),
        breaker: breaker.map(|settings| Breaker::reconfigure(old_breaker, *settings)),
        has_own_limiter: limiter.is_some(),
        limiter: limiter.or_else(|| shared.limiter.clone()),
        admin: Arc::clone(&shared.admin),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are kept")]
fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}

fn same_place(a: &Endpoint, b: &Endpoint) -> bool {
    (&a.route.domains, &a.route.path, a.route.priority) == (&b.route.domains, &b.route.path, b.route.priority)
}
