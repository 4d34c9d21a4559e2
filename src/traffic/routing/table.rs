//! The routing table: every active route, compiled for lookup.
//!
//! It is made of persistent maps: a clone copies a few pointers, and absorbing a change copies only the path to what it
//! changes, even with 100,000 hosts or 100,000 paths on one host. The table decides nothing; it follows the catalog.
//!
//! Matching (protocol §6): the exact host comes first, then wildcards from the longest to the shortest, then `*`. A host without a
//! matching path does not end the search: a service that owns `/api` of a host does not hide what `*` serves there. Within a
//! host the highest priority comes first, then the longest path.
//!
//! Invariants: `sweep` states it, and debug builds check it after each change.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{HashMap, OrdMap};

use super::host_paths::HostPaths;
use crate::domain::{Catalog, Change, Edit, Host, RouteId, Session, SessionKey, Target, Time};
use crate::traffic::balancing::Pool;
use crate::traffic::breaker::EndpointBreaker;
use crate::traffic::endpoint::{
    AdminState, Endpoint, EndpointPolicy, EndpointStats, FailureWarnings, LiveState, RouteDefaults, RouteOwner,
    RouteSettings,
};
use crate::traffic::limits::RateLimiter;

/// All active routes: their pools by host and path, and their endpoints by session and route.
#[derive(Clone, Debug, Default)]
pub struct RoutingTable {
    /// Hosts that are complete names.
    pub(super) exact: HashMap<Arc<str>, HostPaths>,
    /// Hosts of the form `*.base`, by `base`.
    pub(super) wildcard: HashMap<Arc<str>, HostPaths>,
    /// The host `*`.
    pub(super) any: HostPaths,
    pub(super) endpoints: OrdMap<(SessionKey, RouteId), Arc<Endpoint>>,
    pub(super) shared: OrdMap<SessionKey, SessionShared>,
    revision: u64,
}

/// The parts that all routes of one session share.
#[derive(Clone, Debug)]
pub(super) struct SessionShared {
    settings: Arc<RouteSettings>,
    limiter: Option<Arc<RateLimiter>>,
    pub(super) admin: Arc<AdminState>,
    owner: Arc<RouteOwner>,
    /// The live states of routes that were removed or got another backend, while requests are still in flight on them.
    draining: Vec<Arc<LiveState>>,
}

impl RoutingTable {
    /// Builds the table of all active routes of a catalog.
    pub fn build(catalog: &Catalog, defaults: &RouteDefaults) -> Self {
        let mut table = Self::default();
        table.rebase(catalog, defaults);
        table
    }

    /// Absorbs a change that the catalog has absorbed already.
    pub fn absorb(&mut self, catalog: &Catalog, change: &Change, defaults: &RouteDefaults) {
        let before = cfg!(debug_assertions).then(|| self.clone());
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
            | Change::Complete(..)
            | Change::Observed(_)
            | Change::Remember(_)
            | Change::Forget(_)
            | Change::AwaitConfirmation(..)
            | Change::Settle(_) => {}
        }
        if let Some(before) = before {
            let fault = self.fault_since(&before).or_else(|| self.difference(catalog, change));
            debug_assert_eq!(fault, None, "the routing table is unsound after a change");
        }
    }

    /// Compiles all routes anew under `defaults`. Their live states stay.
    pub fn rebase(&mut self, catalog: &Catalog, defaults: &RouteDefaults) {
        for session in catalog.sessions() {
            self.refresh(session, defaults);
        }
    }

    /// Returns the revision of the catalog that the table was last published for.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Sets the revision of the catalog.
    pub fn set_revision(&mut self, revision: u64) {
        self.revision = revision;
    }

    /// Returns the pool of a request. `host` is what [`super::request_host`] returns, `path` has no query.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Pool>> {
        if let Some(pool) = self.exact.get(host).and_then(|paths| paths.find(path)) {
            return Some(pool);
        }
        if !self.wildcard.is_empty() {
            let mut rest = host;
            // A name has at most 127 labels (RFC 1035 §2.3.4); a host field with more labels is no name.
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

    /// Returns true unless a route of the host has HTTP/2 off. The routes of the most specific domain that covers
    /// the host decide: a path is not known yet.
    pub fn allows_http2(&self, host: &str) -> bool {
        let bases = std::iter::successors(host.split_once('.'), |(_, rest)| rest.split_once('.')).take(128);
        let mut wildcards = bases.filter_map(|(_, base)| self.wildcard.get(base));
        let own = self.exact.get(host).or_else(|| wildcards.next()).unwrap_or(&self.any);
        own.allows_http2()
    }

    /// Returns the endpoint of one active route.
    pub fn endpoint(&self, session: SessionKey, route: RouteId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(&(session, route))
    }

    /// Returns all endpoints. The map is persistent: comparing those of two tables costs only their difference.
    pub fn endpoints(&self) -> &OrdMap<(SessionKey, RouteId), Arc<Endpoint>> {
        &self.endpoints
    }

    /// Returns the endpoints that differ between `old` and this table, as they were and as they are. Added and removed routes are
    /// not among them.
    pub fn changed_since<'a>(
        &'a self,
        old: &'a RoutingTable,
    ) -> impl Iterator<Item = (&'a Endpoint, &'a Arc<Endpoint>)> {
        old.endpoints.diff(&self.endpoints).filter_map(|change| match change {
            DiffItem::Update { old: (_, old), new: (_, new) } => Some((&**old, new)),
            DiffItem::Add(..) | DiffItem::Remove(..) => None,
        })
    }

    /// Marks every endpoint without a finished check as healthy. Called at start: routes that were active when the server ended
    /// were serving then.
    pub fn assume_healthy(&self) {
        self.endpoints.values().for_each(|endpoint| endpoint.live.health.assume_healthy(Time(0)));
    }

    /// Returns true if a pool of the endpoint has another member that has been healthy for [`SLOW_START`] at least, and so can
    /// carry the requests alone.
    ///
    /// [`SLOW_START`]: crate::traffic::SLOW_START
    pub fn has_established_sibling(&self, endpoint: &Endpoint, now: Time) -> bool {
        let is_other = |member: &&Arc<Endpoint>| !Arc::ptr_eq(&member.live, &endpoint.live);
        endpoint.route.domains.iter().any(|host| {
            let others = self.pool_at(host, endpoint).map_or(&[][..], Pool::members).iter().filter(is_other);
            others.into_iter().any(|other| other.live.health.is_established(now))
        })
    }

    /// Returns the endpoints of a session's active routes, by route id.
    pub fn endpoints_of(&self, session: SessionKey) -> impl Iterator<Item = &Arc<Endpoint>> {
        let all = (session, RouteId(0))..=(session, RouteId(u32::MAX));
        self.endpoints.range(all).map(|(_, endpoint)| endpoint)
    }

    /// Returns the domains of all active routes, each once, without `*`.
    pub fn hosts(&self) -> impl Iterator<Item = Host> {
        let exact = self.exact.keys().map(|name| Host::Exact(Arc::clone(name)));
        exact.chain(self.wildcard.keys().map(|base| Host::Below(Arc::clone(base))))
    }

    /// Returns the number of active routes.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Returns true if no route is active.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Returns the statistics of a route since it has its present backend; all zero for an unknown route.
    pub fn stats(&self, session: SessionKey, route: RouteId) -> EndpointStats {
        self.endpoint(session, route).map(|endpoint| endpoint.live.stats()).unwrap_or_default()
    }

    /// Returns the number of requests and tunnels of a session in flight, including those on backends that its routes no
    /// longer have.
    pub fn in_flight(&self, session: SessionKey) -> u64 {
        let active = self.endpoints_of(session).map(|endpoint| &endpoint.live);
        let draining = self.shared.get(&session).into_iter().flat_map(|shared| &shared.draining);
        active.chain(draining).map(|live| live.in_flight()).sum()
    }

    /// Returns the pool at `host` and the path and priority of the endpoint.
    pub(super) fn pool_at(&self, host: &Host, endpoint: &Endpoint) -> Option<&Pool> {
        let paths = match host {
            Host::Exact(name) => self.exact.get(name),
            Host::Below(base) => self.wildcard.get(base),
            Host::Any => Some(&self.any),
        };
        paths.and_then(|paths| paths.get(&endpoint.route.path, endpoint.route.priority))
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
            self.set_route(session, id, &shared, defaults);
        }
    }

    /// Compiles all routes of a session anew.
    fn refresh(&mut self, session: &Session, defaults: &RouteDefaults) {
        let shared = self.rebuild_shared(session, defaults);
        let known: BTreeSet<RouteId> = self.endpoints_of(session.key).map(|endpoint| endpoint.id()).collect();
        let active: BTreeSet<RouteId> = session.active.routes.keys().copied().collect();
        for id in known.union(&active) {
            self.set_route(session, *id, &shared, defaults);
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

    /// Compiles anew what the routes of a session share. The limiter stays while its settings do; the admin state always stays.
    fn rebuild_shared(&mut self, session: &Session, defaults: &RouteDefaults) -> SessionShared {
        let old = self.shared.get(&session.key);
        let admin = old.map(|old| Arc::clone(&old.admin)).unwrap_or_default();
        admin.update(&session.record);
        let owner = old.map_or_else(|| owner_of(session), |old| Arc::clone(&old.owner));
        let known = old.and_then(|old| old.limiter.as_ref());
        let limit = session.active.limits.get(&Target::All);
        let limiter = limit.map(|limit| RateLimiter::reconfigure(known, *limit, halves(defaults.seed)));
        let draining = old.iter().flat_map(|old| &old.draining).filter(|live| live.in_flight() > 0).cloned().collect();
        let settings = Arc::new(RouteSettings::shared(defaults, &session.active));
        let shared = SessionShared { settings, limiter, admin, owner, draining };
        self.shared.insert(session.key, shared.clone());
        shared
    }

    /// Adds, replaces or removes the endpoint of one route, as the session's active configuration has it.
    fn set_route(&mut self, session: &Session, id: RouteId, shared: &SessionShared, defaults: &RouteDefaults) {
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

    /// Keeps counting the requests that are in flight on a backend that the route no longer has.
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

fn owner_of(session: &Session) -> Arc<RouteOwner> {
    let (service, instance) = (session.record.service.clone(), session.record.instance.clone());
    Arc::new(RouteOwner { service, instance, warnings: FailureWarnings::default() })
}

/// Compiles the limits, breaker and check of a route. Takes over the limiter and breaker of `old` where they stay the same.
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
        breaker: breaker.map(|settings| EndpointBreaker::reconfigure(old_breaker, *settings)),
        has_own_limiter: limiter.is_some(),
        limiter: limiter.or_else(|| shared.limiter.clone()),
        admin: Arc::clone(&shared.admin),
        owner: Some(Arc::clone(&shared.owner)),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are kept")]
fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}

/// Returns true if both belong to the same pools.
pub(super) fn same_place(a: &Endpoint, b: &Endpoint) -> bool {
    (&a.route.domains, &a.route.path, a.route.priority) == (&b.route.domains, &b.route.path, b.route.priority)
}
