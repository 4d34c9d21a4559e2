//! The selection of the member of a pool that gets a request.
//!
//! There are three methods ([`LoadBalancing`]) and one order. First come ready members whose share the request belongs to,
//! then ready members in general, then unchecked ones in the same way, then degraded ones. Invariants: no member gets a
//! request that it cannot take; no request is refused while a member can take it; nothing is allocated; all workers decide
//! alike.

use std::net::IpAddr;

use crate::domain::{LoadBalancing, Time};

use crate::traffic::endpoint::{Eligibility, Weight};
use crate::traffic::hash::{client_hash, fold, mix};

/// The values that a selection depends on beside the members.
#[derive(Clone, Copy, Debug)]
pub struct SelectionInput {
    /// 64 random bits.
    pub random_bits: u64,
    /// The next turn of the pool, from [`super::Pool::next_turn`].
    pub turn: usize,
    /// The address of the client.
    pub client: IpAddr,
}

/// The members of a pool at the moment of a request, by index.
pub trait Members {
    /// Returns the number of members.
    fn count(&self) -> usize;
    /// Returns the eligibility of a member now.
    fn eligibility(&self, at: usize) -> Eligibility;
    /// Returns the number of requests that a member has in flight, over all workers.
    fn in_flight(&self, at: usize) -> u64;
    /// Returns the [`super::member_key`] of each member, in order. Selection by client reads all of them.
    fn keys(&self) -> &[u64];
}

/// The reason why no member can take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEndpoint {
    /// Some members are in maintenance and no other can take it (protocol §6): 503 with `Retry-After: 300` and
    /// `X-Maintenance-Mode: true`.
    Maintenance,
    /// Every member that could take it was tried; the answer follows from the last failure.
    Tried,
    /// No member is in maintenance, and open breakers keep the others: 503 with `Retry-After`.
    BreakerOpen {
        /// The earliest time when one of the breakers may let a request through.
        retry_at: Time,
    },
    /// The members that are left fail a check that was set with `HEALTH_SET`: 503.
    Unhealthy,
    /// All members are drained, or there are none: 503 with `Retry-After`.
    Drained,
}

/// Returns the index of the member that gets a request. `tried` are the indexes of members to leave out.
///
/// # Errors
/// [`NoEndpoint`] with the reason if no member can take the request.
pub fn select(
    members: &impl Members,
    method: LoadBalancing,
    tried: &[usize],
    input: impl FnOnce() -> SelectionInput,
) -> Result<usize, NoEndpoint> {
    let selector = Selector { members, tried };
    let chosen = match members.count() {
        1 => selector.ranked(0, 0).map(|only| only.at),
        _ => match method {
            LoadBalancing::LeastRequests => selector.least_busy(input().random_bits),
            LoadBalancing::RoundRobin => selector.in_turn(&input()),
            LoadBalancing::ClientIp => selector.by_client(client_hash(input().client)),
        },
    };
    chosen.ok_or_else(|| selector.reason())
}

/// The number of draws in which two members are found if most of the pool is ready.
const DRAWS: u64 = 8;
/// The number of members from which on a missing member's turn goes to a random one: skipping it would need a look at each.
const MANY: usize = 16;

struct Selector<'a, M> {
    members: &'a M,
    tried: &'a [usize],
}

/// The classes of members, the least preferred first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    /// It is degraded.
    Degraded,
    /// It is unchecked, and the request does not belong to its share.
    UncheckedNotInShare,
    /// It is unchecked.
    Unchecked,
    /// It is ready, but the request does not belong to its share.
    NotInShare,
    Ready,
}

#[derive(Clone, Copy)]
struct RankedMember {
    tier: Tier,
    hash: u64,
    at: usize,
    weight: Weight,
}

/// Returns the hash of a member for one request.
fn hash(random_bits: u64, at: usize) -> u64 {
    mix(random_bits.wrapping_add(at as u64))
}

impl<M: Members> Selector<'_, M> {
    /// Returns the member with its tier and hash; `None` if it cannot take the request. The last bits of the hash say if the
    /// request belongs to its share.
    fn ranked(&self, at: usize, hash: u64) -> Option<RankedMember> {
        let eligibility = self.members.eligibility(at);
        let (tier, weight) = match eligibility {
            Eligibility::Ready(weight) if weight.covers(hash) => (Tier::Ready, weight),
            Eligibility::Ready(weight) => (Tier::NotInShare, weight),
            Eligibility::Unchecked(weight) if weight.covers(hash) => (Tier::Unchecked, weight),
            Eligibility::Unchecked(weight) => (Tier::UncheckedNotInShare, weight),
            Eligibility::Degraded(weight) => (Tier::Degraded, weight),
            _ => return None,
        };
        (!self.tried.contains(&at)).then_some(RankedMember { tier, hash, at, weight })
    }

    /// Selects by the power of two choices: of two random members the one with fewer requests for its weight.
    fn least_busy(&self, random_bits: u64) -> Option<usize> {
        let (one, other) = match self.members.count() {
            3.. => self.drawn(random_bits).or_else(|| self.first_two(random_bits))?,
            _ => self.first_two(random_bits)?,
        };
        let Some(other) = other else { return Some(one.at) };
        // Compares the loads divided by the weights; multiplying crosswise saves the divisions.
        let load = self.members.in_flight(one.at).saturating_mul(u64::from(other.weight.parts()));
        let other_load = self.members.in_flight(other.at).saturating_mul(u64::from(one.weight.parts()));
        Some(if other_load < load { other.at } else { one.at })
    }

    /// Returns two ready members from a few draws; `None` if too few are found.
    fn drawn(&self, random_bits: u64) -> Option<(RankedMember, Option<RankedMember>)> {
        let mut draws = self.draws(random_bits);
        let first = draws.next()?;
        let second = draws.find(|drawn| drawn.at != first.at)?;
        Some((first, Some(second)))
    }

    /// Returns the ready members among a few drawn at random; one may come twice.
    fn draws(&self, random_bits: u64) -> impl Iterator<Item = RankedMember> {
        let count = self.members.count() as u64;
        let drawn = (0..DRAWS).filter_map(move |round| {
            let bits = mix(random_bits.rotate_left(32).wrapping_add(round)) >> 32;
            let at = usize::try_from((bits * count) >> 32).ok()?;
            // A member keeps its hash over all draws of a request, so the weights count as if all members were looked at.
            self.ranked(at, hash(random_bits, at))
        });
        drawn.filter(|member| member.tier == Tier::Ready)
    }

    /// Returns the two members with the highest hashes in the best tier. Looks at every member.
    fn first_two(&self, random_bits: u64) -> Option<(RankedMember, Option<RankedMember>)> {
        let (mut first, mut second): (Option<RankedMember>, Option<RankedMember>) = (None, None);
        let rank = |of: &Option<RankedMember>| of.map(|of| (of.tier, of.hash));
        for at in 0..self.members.count() {
            let member = self.ranked(at, hash(random_bits, at));
            if member.is_some() && rank(&member) > rank(&first) {
                (first, second) = (member, first);
            } else if rank(&member) > rank(&second) {
                second = member;
            }
        }
        first.map(|first| (first, second.filter(|second| second.tier == first.tier)))
    }

    /// Selects the members of the best tier in turn. In a large pool a random member takes the turn of a missing one.
    fn in_turn(&self, input: &SelectionInput) -> Option<usize> {
        let (count, turn) = (self.members.count(), input.turn);
        let ranked = |at| self.ranked(at, hash(input.random_bits, at));
        if count >= MANY {
            let next = turn.checked_rem(count).and_then(ranked);
            let next = next.filter(|member| member.tier == Tier::Ready);
            if let Some(member) = next.or_else(|| self.draws(input.random_bits).next()) {
                return Some(member.at);
            }
        }
        let tier = |at| ranked(at).map(|member| member.tier);
        let (mut best, mut fit) = (None, 0);
        for found in (0..count).filter_map(tier) {
            fit = if Some(found) > best { 1 } else { fit + usize::from(Some(found) == best) };
            best = best.max(Some(found));
        }
        let place = turn.checked_rem(fit)?;
        let chosen = (0..count).filter(|at| tier(*at) == best).nth(place);
        // Fewer members are left than were counted if another worker has just taken the last trial of a breaker.
        chosen.or_else(|| self.first_two(input.random_bits).map(|(first, _)| first.at))
    }

    /// Selects by rendezvous hashing: each client has its own order of the members. A member that leaves or loses weight
    /// gives only its own clients to others, and the same clients return.
    fn by_client(&self, client: u64) -> Option<usize> {
        let other = mix(client);
        // A member with a lower hash than a ready one need not be looked at.
        let (mut best, mut floor) = (None::<RankedMember>, 0);
        for (at, key) in self.members.keys().iter().enumerate() {
            let hash = fold(key ^ client, other);
            if hash < floor {
                continue;
            }
            let Some(member) = self.ranked(at, hash) else { continue };
            if best.is_none_or(|best| (member.tier, member.hash) > (best.tier, best.hash)) {
                best = Some(member);
                floor = if member.tier == Tier::Ready { hash } else { 0 };
            }
        }
        best.map(|best| best.at)
    }

    #[cold]
    fn reason(&self) -> NoEndpoint {
        let indexes = 0..self.members.count();
        let states = indexes.map(|at| (self.members.eligibility(at), self.tried.contains(&at)));
        let reasons = states.map(|(eligibility, tried)| match eligibility {
            Eligibility::Maintenance => NoEndpoint::Maintenance,
            _ if tried => NoEndpoint::Tried,
            Eligibility::Drained => NoEndpoint::Drained,
            Eligibility::Unhealthy => NoEndpoint::Unhealthy,
            Eligibility::BreakerOpen { retry_at } => NoEndpoint::BreakerOpen { retry_at },
            // It could not take a request a moment ago.
            Eligibility::Ready(_) | Eligibility::Unchecked(_) | Eligibility::Degraded(_) => {
                NoEndpoint::BreakerOpen { retry_at: Time(0) }
            }
        });
        reasons.reduce(NoEndpoint::to_report).unwrap_or(NoEndpoint::Drained)
    }
}

impl NoEndpoint {
    /// Returns the reason to report of two: maintenance first because someone chose it, then the one that ends first.
    fn to_report(self, other: NoEndpoint) -> NoEndpoint {
        let rank = |reason: NoEndpoint| match reason {
            NoEndpoint::Tried => (0, 0),
            NoEndpoint::Maintenance => (1, 0),
            NoEndpoint::BreakerOpen { retry_at } => (2, retry_at.0),
            NoEndpoint::Unhealthy => (3, 0),
            NoEndpoint::Drained => (4, 0),
        };
        if rank(other) < rank(self) { other } else { self }
    }
}

#[cfg(test)]
mod tests;
