//! Which member of a pool a request goes to.
//!
//! Chance, turn and client are arguments. Which members can take a request at all (health, breakers, drain,
//! maintenance) will be asked where tried ones are passed over.

use std::net::IpAddr;

use crate::domain::LoadBalancing;

use super::{Endpoint, Pool};

/// What a pick depends on beside the members.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// 64 random bits.
    pub chance: u64,
    /// The pool's turn, see [`Pool::turn`].
    pub turn: usize,
    /// The client's address.
    pub client: IpAddr,
}

/// The place of the member that a request goes to; none that was `tried` already. `None` if all were.
///
/// How they share is for the oldest member to say.
pub fn pick(pool: &Pool, tried: &[usize], draw: impl FnOnce() -> Draw) -> Option<usize> {
    let members = pool.members();
    if members.len() == 1 {
        return tried.is_empty().then_some(0);
    }
    let left: Vec<usize> = (0..members.len()).filter(|at| !tried.contains(at)).collect();
    let draw = draw();
    match members.first()?.options().load_balancing {
        LoadBalancing::LeastRequests => less_busy(pool, &left, draw.chance),
        LoadBalancing::RoundRobin => left.get(draw.turn.checked_rem(left.len())?).copied(),
        LoadBalancing::ClientIp => left.into_iter().max_by_key(|at| members.get(*at).map(|m| affinity(draw.client, m))),
    }
}

/// The power of two choices: draws two members and takes the one with fewer requests in flight.
fn less_busy(pool: &Pool, left: &[usize], chance: u64) -> Option<usize> {
    let count = left.len() as u64;
    let first = left.get(usize::try_from((chance >> 32).checked_rem(count)?).ok()?)?;
    if count == 1 {
        return Some(*first);
    }
    // A second that is not the first: one to `count - 1` further on.
    let step = 1 + (chance & 0xffff_ffff) % (count - 1);
    let second = left.get(usize::try_from(((chance >> 32) % count + step) % count).ok()?)?;
    let busy = |at: &usize| pool.members().get(*at).map_or(u64::MAX, |member| member.live.in_flight());
    Some(if busy(second) < busy(first) { *second } else { *first })
}

/// Rendezvous hashing: when a member comes or goes, only its own clients move.
fn affinity(client: IpAddr, member: &Endpoint) -> u64 {
    let segments = match client {
        IpAddr::V4(address) => address.to_ipv6_mapped().segments(),
        IpAddr::V6(address) => address.segments(),
    };
    let [high, low] = [&segments[..4], &segments[4..]]
        .map(|half| half.iter().fold(0, |word, segment| word << 16 | u64::from(*segment)));
    [low, high, member.session.0, u64::from(member.id().0)].into_iter().fold(0, |hash, part| mix(hash ^ part))
}

/// The finisher of `SplitMix64`.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
