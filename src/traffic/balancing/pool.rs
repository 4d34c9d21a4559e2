//! A pool: the endpoints that share the requests for one host, path and priority.
//!
//! What must hold: its members are of one service (the catalog admits no others), oldest session first, none twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::domain::{LoadBalancing, PageUrl, RouteId, SessionKey, Time};

use super::balancer::{Members, NoEndpoint, SelectionInput, select};
use crate::traffic::endpoint::{Eligibility, Endpoint};
use crate::traffic::hash::member_key;
use crate::traffic::limits::{RateLimiter, stricter};
use crate::traffic::worker::WorkerId;

/// At least one endpoint.
#[derive(Debug)]
pub struct Pool {
    members: Box<[Arc<Endpoint>]>,
    // Side by side, for choices by client look at all of them. Empty where there is nothing to choose between.
    keys: Box<[u64]>,
    // With the place of the member whose it is.
    limiter: Option<(Arc<RateLimiter>, usize)>,
    // Only where there is something to take turns between.
    turns: Option<Arc<TurnCounters>>,
}

/// Whose turn it is, for each worker by itself: workers do not write to each other's memory.
#[derive(Debug, Default)]
struct TurnCounters(OnceLock<Box<[TurnCounter]>>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct TurnCounter(AtomicUsize);

impl Pool {
    /// Its members, oldest session first.
    pub fn members(&self) -> &[Arc<Endpoint>] {
        &self.members
    }

    /// Its rate limit: that of its strictest member (protocol §6), of several alike the oldest one's.
    pub fn limiter(&self) -> Option<&Arc<RateLimiter>> {
        self.limiter.as_ref().map(|(limiter, _)| limiter)
    }

    /// The member whose rate limit holds; without a limit, the oldest.
    pub fn limiting_member(&self) -> Option<&Arc<Endpoint>> {
        self.members.get(self.limiter.as_ref().map_or(0, |(_, place)| *place))
    }

    /// True if all its members are in maintenance.
    pub fn in_maintenance(&self) -> bool {
        self.members.iter().all(|member| member.in_maintenance())
    }

    /// The page to show for those of its members that are in maintenance, the oldest one's that has one, and that member.
    pub fn maintenance_page(&self) -> Option<(&Arc<Endpoint>, PageUrl)> {
        let page = |member: &Arc<Endpoint>| member.policy.admin.maintenance_page(member.id());
        self.members.iter().find_map(|member| Some((member, page(member)?)))
    }

    /// The place of the member that a request goes to at `now`, none that was `tried`. How they share is for the oldest to say.
    ///
    /// # Errors
    /// If no member can take it, why.
    pub fn select(
        &self,
        now: Time,
        tried: &[usize],
        draw: impl FnOnce() -> SelectionInput,
    ) -> Result<usize, NoEndpoint> {
        let how = self.members.first().map_or(LoadBalancing::LeastRequests, |oldest| oldest.options().load_balancing);
        select(&PoolView { pool: self, now }, how, tried, draw)
    }

    /// The worker's next turn: 0, 1, 2, …
    pub fn next_turn(&self, worker: WorkerId) -> usize {
        let Some(turns) = &self.turns else { return 0 };
        let turns = turns.0.get_or_init(|| worker.each());
        worker.own(turns).map_or(0, |turn| turn.0.fetch_add(1, Ordering::Relaxed))
    }

    /// A pool with `endpoint` in it, in place of the same route's old one.
    pub(crate) fn with(old: Option<&Pool>, endpoint: &Arc<Endpoint>) -> Self {
        let key = (endpoint.session, endpoint.id());
        let mut members: Vec<_> = Self::others(old, key).cloned().collect();
        let at = members.partition_point(|member| (member.session, member.id()) < key);
        members.insert(at, Arc::clone(endpoint));
        Self::of(old, members)
    }

    /// The pool without a route; `None` if nothing is left.
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

/// A member's limiter, and its place.
type Limiting<'a> = (&'a Arc<RateLimiter>, usize);

fn the_stricter<'a>(one: Limiting<'a>, other: Limiting<'a>) -> Limiting<'a> {
    if stricter(one.0.settings(), other.0.settings()) == one.0.settings() { one } else { other }
}

/// A pool's members at a moment.
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
