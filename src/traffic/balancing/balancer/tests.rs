//! Tests of the selection: shares, order of the tiers, and the reasons when no member is left.

#![expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::domain::{Drain, RouteId, SessionKey, Span};
use crate::traffic::hash::member_key;

const FULL: Eligibility = Eligibility::Ready(Weight::FULL);

/// The eligibility and the requests in flight of each member, and the keys.
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

const METHODS: [LoadBalancing; 3] = [LoadBalancing::LeastRequests, LoadBalancing::RoundRobin, LoadBalancing::ClientIp];

fn input(number: u64) -> SelectionInput {
    let client = IpAddr::V4(Ipv4Addr::from(0x0a00_0000_u32.wrapping_add(number as u32)));
    SelectionInput { random_bits: mix(number), turn: number as usize, client }
}

fn shares(members: &Plain, method: LoadBalancing, requests: u64) -> Vec<f64> {
    let mut counts = vec![0_u32; members.count()];
    for number in 0..requests {
        counts[select(members, method, &[], || input(number)).unwrap()] += 1;
    }
    counts.into_iter().map(|count| f64::from(count) / requests as f64).collect()
}

fn percent(part: u64) -> Eligibility {
    let drain = Drain { started: Time(0), span: Span::from_millis(100), by_operator: false };
    Weight::at(Some(drain), None, Time(100 - part)).map_or(Eligibility::Drained, Eligibility::Ready)
}

#[test]
fn each_method_shares_evenly_among_equals() {
    for count in [2, 3, 10, 100] {
        let members = Plain::of(&vec![FULL; count]);
        for method in METHODS {
            let fair = 1.0 / count as f64;
            let shares = shares(&members, method, 200_000);
            assert!(shares.iter().all(|share| (share / fair - 1.0).abs() < 0.12), "{method:?} {count}: {shares:?}");
        }
    }
}

#[test]
fn a_drain_falls_in_a_straight_line_with_each_method() {
    for (method, part) in METHODS.into_iter().flat_map(|method| [75, 50, 10, 1].map(|part| (method, part))) {
        let share = shares(&Plain::of(&[percent(part), FULL]), method, 200_000)[0];
        assert!((share - part as f64 / 200.0).abs() < 0.005, "{method:?} at {part} %: {share}");
    }
}

#[test]
fn among_many_a_weight_counts_as_well() {
    for (method, count) in METHODS.into_iter().flat_map(|method| [3, 5, 50].map(|count| (method, count))) {
        let mut states = vec![FULL; count];
        states[1] = percent(50);
        let share = shares(&Plain::of(&states), method, 300_000)[1] * count as f64;
        assert!((share - 0.5).abs() < 0.05, "{method:?} of {count}: {share}");
    }
}

#[test]
fn a_draining_member_serves_all_requests_that_no_other_can() {
    for (method, other) in METHODS
        .into_iter()
        .flat_map(|method| [Eligibility::Unhealthy, Eligibility::Drained].map(|other| (method, other)))
    {
        assert!((shares(&Plain::of(&[percent(1), other]), method, 1_000)[0] - 1.0).abs() < 1e-9);
        let both = shares(&Plain::of(&[percent(10), percent(10)]), method, 10_000);
        assert!((both[0] - 0.5).abs() < 0.05, "{method:?}: {both:?}");
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
    // Without the member in the pool the result is the same, because keys count and indexes do not.
    let mut fewer = Plain::of(&[FULL; 20]);
    fewer.0.remove(3);
    fewer.1.remove(3);
    let key = |members: &Plain, n| members.1[at(members, n)];
    assert!((0..20_000).all(|n| before[&n] == 3 || key(&fewer, n) == key(&all, n)));
}

#[test]
fn the_reason_is_maintenance_if_there_is_any_or_else_what_ends_first() {
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
        for method in METHODS {
            assert_eq!(select(&Plain::of(&states), method, &[], || input(1)), Err(reason));
        }
    }
    assert_eq!(select(&Plain::of(&[FULL, open(7)]), METHODS[0], &[0], || input(1)), Err(NoEndpoint::Tried));
}

#[test]
fn a_member_that_was_never_checked_gets_nothing_while_another_is_ready() {
    let new = Eligibility::Unchecked(Weight::FULL);
    for method in METHODS {
        let first = |states: &[Eligibility]| shares(&Plain::of(states), method, 1_000)[0];
        for ready in [FULL, percent(1)] {
            assert!(first(&[new, ready]) < 1e-9, "{method:?}");
        }
        for worse in [Eligibility::Degraded(Weight::FULL), Eligibility::Unhealthy, Eligibility::Drained] {
            assert!((first(&[new, worse]) - 1.0).abs() < 1e-9, "{method:?}: {worse:?}");
        }
        assert!((shares(&Plain::of(&[new, new]), method, 20_000)[0] - 0.5).abs() < 0.05, "{method:?}");
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
    fn it_selects_a_member_that_the_plain_rules_allow(
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
        for method in METHODS {
            match select(&members, method, &tried, || input(u64::from(number))) {
                Ok(at) => prop_assert!(allowed.contains(&at), "{:?}", method),
                Err(reason) => {
                    prop_assert!(allowed.is_empty(), "{:?}", method);
                    let maintenance = states.contains(&Eligibility::Maintenance);
                    prop_assert_eq!(reason == NoEndpoint::Maintenance, maintenance && reason != NoEndpoint::Tried);
                }
            }
        }
    }
}
