//! A pool: the endpoints that share the requests for one host, path and priority.
//!
//! It holds no state of its own but the round-robin counters; the rest follows from its members. Invariants: the members are of
//! one service (the catalog refuses others), the oldest session comes first, and no route is in it twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::domain::{LoadBalancing, PageUrl, RouteId, SessionKey, Time};

use super::balancer::{Members, NoEndpoint, SelectionInput, select};
use crate::traffic::endpoint::{Eligibility, Endpoint};
use crate::traffic::hash::member_key;
use crate::traffic::limits::{RateLimiter, stricter};
use crate::traffic::worker::WorkerId;

/// The endpoints that share the requests for one host, path and priority; at least one.
#[derive(Debug)]
pub struct Pool {
    members: Box<[Arc<Endpoint>]>,
    /// The [`member_key`] of each member, side by side because selection by client reads all of them. Empty with one member.
    keys: Box<[u64]>,
    /// The strictest limiter, and the index of its member.
    limiter: Option<(Arc<RateLimiter>, usize)>,
    /// `None` with one member.
    turns: Option<Arc<TurnCounters>>,
}

/// The round-robin counters, one for each worker, so that no worker writes to the memory of another.
#[derive(Debug, Default)]
struct TurnCounters(OnceLock<Box<[TurnCounter]>>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct TurnCounter(AtomicUsize);

impl Pool {
    /// Returns true unless a member has HTTP/2 off.
    pub fn allows_http2(&self) -> bool {
        self.members.iter().all(|member| member.options().http2)
    }

    /// Returns the members, the oldest session first.
    pub fn members(&self) -> &[Arc<Endpoint>] {
        &self.members
    }

    /// Returns the rate limit of the strictest member (protocol §6); among equally strict ones that of the oldest.
    pub fn limiter(&self) -> Option<&Arc<RateLimiter>> {
        self.limiter.as_ref().map(|(limiter, _)| limiter)
    }

    /// Returns the member whose rate limit holds; without a limit, the oldest member.
    pub fn limiting_member(&self) -> Option<&Arc<Endpoint>> {
        self.members.get(self.limiter.as_ref().map_or(0, |(_, at)| *at))
    }

    /// Returns true if all members are in maintenance.
    pub fn in_maintenance(&self) -> bool {
        self.members.iter().all(|member| member.in_maintenance())
    }

    /// Returns the maintenance page to show, and the member that it belongs to: the oldest member in maintenance that has a page.
    pub fn maintenance_page(&self) -> Option<(&Arc<Endpoint>, PageUrl)> {
        let page = |member: &Arc<Endpoint>| member.policy.admin.maintenance_page(member.id());
        self.members.iter().find_map(|member| Some((member, page(member)?)))
    }

    /// Returns the index of the member that gets a request at `now`. `tried` are the indexes of members to leave out. The option
    /// `load_balancing` of the oldest member holds.
    ///
    /// # Errors
    /// [`NoEndpoint`] with the reason if no member can take the request.
    pub fn select(
        &self,
        now: Time,
        tried: &[usize],
        draw: impl FnOnce() -> SelectionInput,
    ) -> Result<usize, NoEndpoint> {
        let how = self.members.first().map_or(LoadBalancing::LeastRequests, |oldest| oldest.options().load_balancing);
        select(&PoolView { pool: self, now }, how, tried, draw)
    }

    /// Returns the next turn of a worker: 0, 1, 2, …
    pub fn next_turn(&self, worker: WorkerId) -> usize {
        let Some(turns) = &self.turns else { return 0 };
        let turns = turns.0.get_or_init(|| worker.each());
        worker.own(turns).map_or(0, |turn| turn.0.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the pool with `endpoint` added, or put in place of an older endpoint of the same route.
    pub(crate) fn with(old: Option<&Pool>, endpoint: &Arc<Endpoint>) -> Self {
        let key = (endpoint.session, endpoint.id());
        let mut members: Vec<_> = Self::others(old, key).cloned().collect();
        let at = members.partition_point(|member| (member.session, member.id()) < key);
        members.insert(at, Arc::clone(endpoint));
        Self::of(old, members)
    }

    /// Returns true if the order, the keys and the limiter agree with the members. For the sweep of the routing table.
    pub(crate) fn is_consistent(&self) -> bool {
        let keys: Vec<_> = self.members.iter().map(|member| (member.session, member.id())).collect();
        let is_ordered = !keys.is_empty() && keys.is_sorted_by(|a, b| a < b);
        let fresh = Self::of(Some(self), self.members.to_vec());
        let limiting = |pool: &Self| pool.limiter.as_ref().map(|(limiter, at)| (Arc::as_ptr(limiter), *at));
        is_ordered && fresh.keys == self.keys && limiting(&fresh) == limiting(self)
    }

    /// Returns the pool without a route; `None` if no member is left.
    pub(crate) fn without(&self, session: SessionKey, id: RouteId) -> Option<Self> {
        let members: Vec<_> = Self::others(Some(self), (session, id)).cloned().collect();
        (!members.is_empty()).then(|| Self::of(Some(self), members))
    }

    fn others(old: Option<&Pool>, key: (SessionKey, RouteId)) -> impl Iterator<Item = &Arc<Endpoint>> {
        let members = old.map_or(&[][..], |pool| &pool.members);
        members.iter().filter(move |member| (member.session, member.id()) != key)
    }

    fn of(old: Option<&Pool>, members: Vec<Arc<Endpoint>>) -> Self {
        let kept = old.and_then(|pool| pool.turns.clone());
        let many = members.len() > 1;
        let turns = many.then(|| kept.unwrap_or_default());
        let keys = members.iter().filter(|_| many).map(|member| member_key(member.session, member.id())).collect();
        let limited = members.iter().enumerate();
        let limiters = limited.filter_map(|(at, member)| Some((member.policy.limiter.as_ref()?, at)));
        let limiter = limiters.reduce(the_stricter).map(|(limiter, at)| (Arc::clone(limiter), at));
        Self { members: members.into(), keys, limiter, turns }
    }
}

/// A limiter, and the index of its member.
type Limiting<'a> = (&'a Arc<RateLimiter>, usize);

fn the_stricter<'a>(one: Limiting<'a>, other: Limiting<'a>) -> Limiting<'a> {
    if stricter(one.0.settings(), other.0.settings()) == one.0.settings() { one } else { other }
}

/// The members of a pool at a moment, as the balancer sees them.
struct PoolView<'a> {
    pool: &'a Pool,
    now: Time,
}

impl Members for PoolView<'_> {
    fn count(&self) -> usize {
        self.pool.members.len()
    }

    fn eligibility(&self, at: usize) -> Eligibility {
        self.pool.members.get(at).map_or(Eligibility::Drained, |member| member.eligibility(self.now))
    }

    fn in_flight(&self, at: usize) -> u64 {
        self.pool.members.get(at).map_or(0, |member| member.live.in_flight())
    }

    fn keys(&self) -> &[u64] {
        &self.pool.keys
    }
}
