//! Which member of a pool a request goes to, or why none can take it.
//!
//! Three ways to share ([`LoadBalancing`]), one rule for who may take part: members that are ready come first, each for as much
//! of the requests as its weight says; when these are all passed over, ready ones whatever they weigh; then new ones, of which no
//! check has ended yet, in the same way; then those that are ill by the default check. What must hold: nobody who cannot take a request gets one, nobody who can is left out while a request is
//! refused; no allocation; all workers decide alike.

use std::net::IpAddr;

use crate::domain::{LoadBalancing, Time};

use crate::traffic::endpoint::{Eligibility, Weight};
use crate::traffic::hash::{client_hash, fold, mix};

/// What a choice depends on beside the members.
#[derive(Clone, Copy, Debug)]
pub struct SelectionInput {
    /// 64 random bits.
    pub chance: u64,
    /// The pool's turn, see [`super::Pool::turn`].
    pub turn: usize,
    /// The client's address.
    pub client: IpAddr,
}

/// A pool's members at the moment of a request, by their places from 0.
pub trait Members {
    /// How many there are.
    fn count(&self) -> usize;
    /// True if the member can take a request now.
    fn eligibility(&self, at: usize) -> Eligibility;
    /// Requests that it has under way, in all workers.
    fn in_flight(&self, at: usize) -> u64;
    /// The [`super::member_key`] of each, in order: for a request shared by client all of them are looked at.
    fn keys(&self) -> &[u64];
}

/// Why no member can take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEndpoint {
    /// Some are in maintenance, and no other can (protocol §6): 503, `Retry-After: 300`, `X-Maintenance-Mode: true`.
    Maintenance,
    /// Every one that could was tried already: answer as its failure says.
    Tried,
    /// None is in maintenance, and those that could be tried have open breakers: 503 with `Retry-After`.
    BreakerOpen {
        /// When the first of them is worth asking again.
        retry_at: Time,
    },
    /// Those that are left are ill by an explicit check: 503.
    Unhealthy,
    /// All are drained, or there are none: 503 with `Retry-After`.
    Drained,
}

/// The place of the member that a request goes to, none that was `tried`.
///
/// # Errors
/// If no member can take it, why.
pub fn select(
    members: &impl Members,
    how: LoadBalancing,
    tried: &[usize],
    input: impl FnOnce() -> SelectionInput,
) -> Result<usize, NoEndpoint> {
    let selector = Selector { members, tried };
    let chosen = match members.count() {
        1 => selector.ranked(0, 0).map(|only| only.at),
        _ => match how {
            LoadBalancing::LeastRequests => selector.less_busy(input().chance),
            LoadBalancing::RoundRobin => selector.next_in_turn(&input()),
            LoadBalancing::ClientIp => selector.closest(client_hash(input().client)),
        },
    };
    chosen.ok_or_else(|| selector.reason())
}

/// So many draws find two of a pool that is mostly well.
const DRAWS: u64 = 8;
/// From so many members on, turns do not close up over missing ones: that would take a look at each.
const MANY: usize = 16;

struct Selector<'a, M> {
    members: &'a M,
    tried: &'a [usize],
}

/// Who comes before whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    /// Ill by the default check.
    Degraded,
    /// Not checked yet, and the request is none of its share.
    UncheckedNotInShare,
    /// Not checked yet.
    Unchecked,
    /// Ready, but the request is none of its share.
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

/// A member's hash for one request.
fn hash(chance: u64, at: usize) -> u64 {
    mix(chance.wrapping_add(at as u64))
}

impl<M: Members> Selector<'_, M> {
    /// The member with its hash, whose last bits say whether the request is among its share. `None` if it cannot take it.
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

    /// The power of two choices: of two drawn by hash, the one with fewer requests for its weight.
    fn less_busy(&self, chance: u64) -> Option<usize> {
        let (one, other) = match self.members.count() {
            3.. => self.drawn(chance).or_else(|| self.first_two(chance))?,
            _ => self.first_two(chance)?,
        };
        let Some(other) = other else { return Some(one.at) };
        // Each over its weight; multiplied crosswise, to save the divisions.
        let load = self.members.in_flight(one.at).saturating_mul(u64::from(other.weight.parts()));
        let other_load = self.members.in_flight(other.at).saturating_mul(u64::from(one.weight.parts()));
        Some(if other_load < load { other.at } else { one.at })
    }

    /// Two that are present, drawn blindly; `None` when that takes too many draws.
    fn drawn(&self, chance: u64) -> Option<(RankedMember, Option<RankedMember>)> {
        let mut draws = self.draws(chance);
        let first = draws.next()?;
        let second = draws.find(|drawn| drawn.at != first.at)?;
        Some((first, Some(second)))
    }

    /// Those that are present of a few drawn blindly, some perhaps more than once.
    fn draws(&self, chance: u64) -> impl Iterator<Item = RankedMember> {
        let count = self.members.count() as u64;
        let drawn = (0..DRAWS).filter_map(move |round| {
            let bits = mix(chance.rotate_left(32).wrapping_add(round)) >> 32;
            let at = usize::try_from((bits * count) >> 32).ok()?;
            // Who is not present now is not at the next draw either, so that weights count as if all were looked at.
            self.ranked(at, hash(chance, at))
        });
        drawn.filter(|member| member.tier == Tier::Ready)
    }

    /// The two with the highest lots in the best tier, every member looked at.
    fn first_two(&self, chance: u64) -> Option<(RankedMember, Option<RankedMember>)> {
        let (mut first, mut second): (Option<RankedMember>, Option<RankedMember>) = (None, None);
        let rank = |of: &Option<RankedMember>| of.map(|of| (of.tier, of.hash));
        for at in 0..self.members.count() {
            let member = self.ranked(at, hash(chance, at));
            if member.is_some() && rank(&member) > rank(&first) {
                (first, second) = (member, first);
            } else if rank(&member) > rank(&second) {
                second = member;
            }
        }
        first.map(|first| (first, second.filter(|second| second.tier == first.tier)))
    }

    /// One after the other of those in the best tier. Among many, somebody by hash where the next in turn is missing.
    fn next_in_turn(&self, draw: &SelectionInput) -> Option<usize> {
        let (count, turn) = (self.members.count(), draw.turn);
        let ranked = |at| self.ranked(at, hash(draw.chance, at));
        if count >= MANY {
            let next = turn.checked_rem(count).and_then(ranked);
            let next = next.filter(|member| member.tier == Tier::Ready);
            if let Some(member) = next.or_else(|| self.draws(draw.chance).next()) {
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
        // There are fewer than were counted if another worker has just taken the last trial of a breaker.
        chosen.or_else(|| self.first_two(draw.chance).map(|(first, _)| first.at))
    }

    /// Rendezvous hashing: each client has an order of its own in which it likes the members. Who leaves or loses weight
    /// gives up clients of its own to their next, and nobody else's move; the same clients come back.
    fn closest(&self, client: u64) -> Option<usize> {
        let other = mix(client);
        // Nobody with a lower hash than somebody who is present need be asked how it stands.
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
        let places = 0..self.members.count();
        let states = places.map(|at| (self.members.eligibility(at), self.tried.contains(&at)));
        let reasons = states.map(|(eligibility, tried)| match eligibility {
            Eligibility::Maintenance => NoEndpoint::Maintenance,
            _ if tried => NoEndpoint::Tried,
            Eligibility::Drained => NoEndpoint::Drained,
            Eligibility::Unhealthy => NoEndpoint::Unhealthy,
            Eligibility::BreakerOpen { retry_at } => NoEndpoint::BreakerOpen { retry_at },
            // It could not a moment ago.
            Eligibility::Ready(_) | Eligibility::Unchecked(_) | Eligibility::Degraded(_) => {
                NoEndpoint::BreakerOpen { retry_at: Time(0) }
            }
        });
        reasons.reduce(NoEndpoint::over).unwrap_or(NoEndpoint::Drained)
    }
}

impl NoEndpoint {
    /// What to say of two members: that there is maintenance, for somebody means to say so; else what ends first.
    fn over(self, other: NoEndpoint) -> NoEndpoint {
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
mod tests {
    #![expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers")]

    use std::collections::HashMap;
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Drain, RouteId, SessionKey, Span};
    use crate::traffic::hash::member_key;

    const FULL: Eligibility = Eligibility::Ready(Weight::FULL);

    /// Standing and requests in flight; keys.
    struct Plain(Vec<(Eligibility, u64)>, Vec<u64>);

    impl Plain {
        fn of(states: &[Eligibility]) -> Self {
            let key = |at: usize| member_key(SessionKey(at as u64), RouteId(1));
            let members = states.iter().map(|eligibility| (*eligibility, 0));
            Self(members.collect(), (0..states.len()).map(key).collect())
        }
    }

    impl Members for Plain {
        fn count(&self) -> usize {
            self.0.len()
        }
        fn eligibility(&self, at: usize) -> Eligibility {
            self.0[at].0
        }
        fn in_flight(&self, at: usize) -> u64 {
            self.0[at].1
        }
        fn keys(&self) -> &[u64] {
            &self.1
        }
    }

    const WAYS: [LoadBalancing; 3] = [LoadBalancing::LeastRequests, LoadBalancing::RoundRobin, LoadBalancing::ClientIp];

    fn input(number: u64) -> SelectionInput {
        let client = IpAddr::V4(Ipv4Addr::from(0x0a00_0000_u32.wrapping_add(number as u32)));
        SelectionInput { chance: mix(number), turn: number as usize, client }
    }

    fn shares(members: &Plain, how: LoadBalancing, requests: u64) -> Vec<f64> {
        let mut counts = vec![0_u32; members.count()];
        for number in 0..requests {
            counts[select(members, how, &[], || input(number)).unwrap()] += 1;
        }
        counts.into_iter().map(|count| f64::from(count) / requests as f64).collect()
    }

    fn percent(part: u64) -> Eligibility {
        let drain = Drain { started: Time(0), span: Span::from_millis(100), by_operator: false };
        Weight::at(Some(drain), None, Time(100 - part)).map_or(Eligibility::Drained, Eligibility::Ready)
    }

    #[test]
    fn every_way_shares_evenly_among_equals() {
        for count in [2, 3, 10, 100] {
            let members = Plain::of(&vec![FULL; count]);
            for how in WAYS {
                let fair = 1.0 / count as f64;
                let shares = shares(&members, how, 200_000);
                assert!(shares.iter().all(|share| (share / fair - 1.0).abs() < 0.12), "{how:?} {count}: {shares:?}");
            }
        }
    }

    #[test]
    fn a_drain_falls_in_a_straight_line_whatever_the_way() {
        for (how, part) in WAYS.into_iter().flat_map(|how| [75, 50, 10, 1].map(|part| (how, part))) {
            let share = shares(&Plain::of(&[percent(part), FULL]), how, 200_000)[0];
            assert!((share - part as f64 / 200.0).abs() < 0.005, "{how:?} at {part} %: {share}");
        }
    }

    #[test]
    fn among_many_a_weight_counts_as_well() {
        for (how, count) in WAYS.into_iter().flat_map(|how| [3, 5, 50].map(|count| (how, count))) {
            let mut states = vec![FULL; count];
            states[1] = percent(50);
            let share = shares(&Plain::of(&states), how, 300_000)[1] * count as f64;
            assert!((share - 0.5).abs() < 0.05, "{how:?} of {count}: {share}");
        }
    }

    #[test]
    fn while_no_other_can_a_draining_member_serves_it_all() {
        for (how, other) in
            WAYS.into_iter().flat_map(|how| [Eligibility::Unhealthy, Eligibility::Drained].map(|other| (how, other)))
        {
            assert!((shares(&Plain::of(&[percent(1), other]), how, 1_000)[0] - 1.0).abs() < 1e-9);
            let both = shares(&Plain::of(&[percent(10), percent(10)]), how, 10_000);
            assert!((both[0] - 0.5).abs() < 0.05, "{how:?}: {both:?}");
        }
    }

    #[test]
    fn the_less_busy_of_two_gets_the_request() {
        let mut members = Plain::of(&[FULL; 2]);
        members.0[1].1 = 5;
        assert_eq!(shares(&members, LoadBalancing::LeastRequests, 100), [1.0, 0.0]);
        // With a tenth of the weight, one request weighs as much as ten.
        members.0[0] = (percent(10), 1);
        assert!(shares(&members, LoadBalancing::LeastRequests, 10_000)[0] < 0.001);
    }

    #[test]
    fn turns_go_round_also_when_members_are_missing() {
        let mut states = vec![FULL; 6];
        (states[1], states[3]) = (Eligibility::Unhealthy, Eligibility::Drained);
        let order = (0..8).map(|n| select(&Plain::of(&states), LoadBalancing::RoundRobin, &[], || input(n)).unwrap());
        assert_eq!(order.collect::<Vec<_>>(), [0, 2, 4, 5, 0, 2, 4, 5]);
        let halves: Vec<_> = (0..40).map(|at| if at % 2 == 0 { FULL } else { Eligibility::Drained }).collect();
        let shares = shares(&Plain::of(&halves), LoadBalancing::RoundRobin, 40_000);
        assert!(shares.iter().step_by(2).all(|share| (share - 0.05).abs() < 0.005), "{shares:?}");
    }

    #[test]
    fn only_the_clients_of_a_member_that_leaves_or_drains_move() {
        let all = Plain::of(&[FULL; 20]);
        let at = |members: &Plain, n| select(members, LoadBalancing::ClientIp, &[], || input(n)).unwrap();
        let before: HashMap<u64, usize> = (0..20_000).map(|n| (n, at(&all, n))).collect();
        let mut gone = 0.0;
        for part in [90, 50, 10, 0] {
            let mut states = vec![FULL; 20];
            states[3] = percent(part);
            let now = Plain::of(&states);
            let moved: Vec<u64> = (0..20_000).filter(|n| at(&now, *n) != before[n]).collect();
            assert!(moved.iter().all(|n| before[n] == 3));
            let share = moved.len() as f64 / 1_000.0;
            assert!((share - (100 - part) as f64 / 100.0).abs() < 0.08 && share >= gone, "{part} %: {share}");
            gone = share;
        }
        // The same without it in the pool: keys, not places, are what counts.
        let mut fewer = Plain::of(&[FULL; 20]);
        fewer.0.remove(3);
        fewer.1.remove(3);
        let key = |members: &Plain, n| members.1[at(members, n)];
        assert!((0..20_000).all(|n| before[&n] == 3 || key(&fewer, n) == key(&all, n)));
    }

    #[test]
    fn why_nobody_can_is_maintenance_where_there_is_any_else_what_ends_first() {
        let open = |at| Eligibility::BreakerOpen { retry_at: Time(at) };
        let cases = [
            (vec![Eligibility::Maintenance; 2], NoEndpoint::Maintenance),
            (vec![Eligibility::Maintenance], NoEndpoint::Maintenance),
            (vec![Eligibility::Maintenance, Eligibility::Drained], NoEndpoint::Maintenance),
            (vec![open(9), Eligibility::Maintenance, Eligibility::Unhealthy], NoEndpoint::Maintenance),
            (vec![Eligibility::Unhealthy, Eligibility::Drained], NoEndpoint::Unhealthy),
            (vec![open(9), Eligibility::Unhealthy, open(7)], NoEndpoint::BreakerOpen { retry_at: Time(7) }),
            (vec![], NoEndpoint::Drained),
        ];
        for (states, reason) in cases {
            for how in WAYS {
                assert_eq!(select(&Plain::of(&states), how, &[], || input(1)), Err(reason));
            }
        }
        assert_eq!(select(&Plain::of(&[FULL, open(7)]), WAYS[0], &[0], || input(1)), Err(NoEndpoint::Tried));
    }

    #[test]
    fn a_member_that_was_never_checked_gets_nothing_while_another_is_ready() {
        let new = Eligibility::Unchecked(Weight::FULL);
        for how in WAYS {
            let first = |states: &[Eligibility]| shares(&Plain::of(states), how, 1_000)[0];
            for ready in [FULL, percent(1)] {
                assert!(first(&[new, ready]) < 1e-9, "{how:?}");
            }
            for worse in [Eligibility::Degraded(Weight::FULL), Eligibility::Unhealthy, Eligibility::Drained] {
                assert!((first(&[new, worse]) - 1.0).abs() < 1e-9, "{how:?}: {worse:?}");
            }
            assert!((shares(&Plain::of(&[new, new]), how, 20_000)[0] - 0.5).abs() < 0.05, "{how:?}");
        }
    }

    fn some_eligibility() -> impl Strategy<Value = Eligibility> {
        prop_oneof![
            2 => Just(FULL),
            2 => (1..100_u64).prop_map(percent),
            2 => Just(Eligibility::Degraded(Weight::FULL)),
            2 => Just(Eligibility::Maintenance),
            1 => Just(Eligibility::Drained),
            1 => Just(Eligibility::Unhealthy),
            1 => (1..5_u64).prop_map(|at| Eligibility::BreakerOpen { retry_at: Time(at) }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn it_chooses_whom_a_plain_reading_of_the_rules_allows(
            states in prop_oneof![
                prop::collection::vec(some_eligibility(), 1..6), prop::collection::vec(some_eligibility(), 1..40),
                prop::collection::vec(prop_oneof![Just(Eligibility::Drained), Just(Eligibility::Maintenance)], 1..20),
            ],
            tried in prop::collection::vec(0..6_usize, 0..4),
            number in any::<u32>(),
        ) {
            let members = Plain::of(&states);
            let fit = |ready: bool| -> Vec<usize> {
                let kind = |eligibility: &Eligibility| match eligibility {
                    Eligibility::Ready(_) => ready,
                    Eligibility::Degraded(_) => !ready,
                    _ => false,
                };
                (0..states.len()).filter(|at| !tried.contains(at) && kind(&states[*at])).collect()
            };
            let allowed = if fit(true).is_empty() { fit(false) } else { fit(true) };
            for how in WAYS {
                match select(&members, how, &tried, || input(u64::from(number))) {
                    Ok(at) => prop_assert!(allowed.contains(&at), "{:?}", how),
                    Err(nobody) => {
                        prop_assert!(allowed.is_empty(), "{:?}", how);
                        let maintenance = states.contains(&Eligibility::Maintenance);
                        prop_assert_eq!(nobody == NoEndpoint::Maintenance, maintenance && nobody != NoEndpoint::Tried);
                    }
                }
            }
        }
    }
}
