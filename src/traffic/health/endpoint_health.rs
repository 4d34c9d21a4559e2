//! The health of an endpoint, from its active checks.
//!
//! [`CheckKind`] says which answers are healthy, [`EndpointHealth`] what results in a row mean. It sends no probe, and it is
//! no circuit breaker, which judges real requests. Invariants (protocol §6): three failures in a row make an endpoint
//! unhealthy, then two successes in a row make it healthy again. The first result alone decides for an endpoint that has
//! never been healthy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::{Span, StatusRanges, Time};

/// The time that an endpoint takes to get its whole share of requests after it became healthy.
pub const SLOW_START: Span = Span::from_secs(10);

const FAILURES_DOWN: u32 = 3;
const SUCCESSES_UP: u32 = 2;

/// The origin of a check. It decides which answers are healthy and what happens to an unhealthy member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// The check of routes without `HEALTH_SET`: any status below 500 is healthy, and an unhealthy member is passed over
    /// only while others are left.
    Default,
    /// A check from `HEALTH_SET`: 2xx and 3xx are healthy, and an unhealthy member gets no requests.
    Explicit,
}

impl CheckKind {
    /// Returns true if an answer with this status is healthy. `expected`, if it is set, replaces the rule of the kind.
    pub fn accepts(self, status: u16, expected: Option<&StatusRanges>) -> bool {
        match (self, expected) {
            (_, Some(expected)) => expected.contains(status),
            (CheckKind::Default, None) => status < 500,
            (CheckKind::Explicit, None) => matches!(status, 200..=399),
        }
    }

    /// Returns true if an unhealthy member gets no requests at all.
    pub const fn excludes_unhealthy(self) -> bool {
        matches!(self, CheckKind::Explicit)
    }
}

/// The result of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult<'a> {
    /// An answer in time that the [`CheckKind`] accepts.
    Passed,
    /// Any other result, in words that clients may read: `status 503`, `no answer within 5s`.
    Failed(&'a str),
}

/// The health of one endpoint. The checker writes it; all workers read it with one atomic read.
#[derive(Debug, Default)]
pub struct EndpointHealth {
    /// [`UNCHECKED`], [`ALWAYS`], [`UNHEALTHY`], or the time when it became healthy in milliseconds since the Unix epoch.
    word: AtomicU64,
    // Locked by the checker and by readers of the details, not by requests.
    record: Mutex<HealthRecord>,
}

/// No check has finished yet.
const UNCHECKED: u64 = 0;
/// Healthy since before the first check.
const ALWAYS: u64 = 1;
const UNHEALTHY: u64 = u64::MAX;

#[derive(Debug, Default)]
struct HealthRecord {
    failures: u32,
    successes: u32,
    was_healthy: bool,
    // The time when it became healthy, also where `word` says [`ALWAYS`].
    healthy_since: u64,
    // In milliseconds since the Unix epoch; 0 for never.
    last_check: u64,
    last_failure: u64,
    // The reason of the last failure.
    reason: Option<Arc<str>>,
}

/// The health of an endpoint, as the selection of a member needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// No check has finished yet.
    Unchecked,
    /// Healthy.
    Healthy {
        /// The time when a check first made it healthy, or made it healthy again. `None` if it was assumed healthy.
        since: Option<Time>,
    },
    /// Three failures in a row without two successes since, or no success ever.
    Unhealthy,
}

/// The results of the last check and of the last failed check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastChecks {
    /// The time when the last check ended; `None` before the first.
    pub last_check: Option<Time>,
    /// True if the last check failed, for [`LastChecks::reason`].
    pub failing: bool,
    /// The time when a check last failed.
    pub last_failure: Option<Time>,
    /// The reason of the last failure.
    pub reason: Option<Arc<str>>,
}

/// A change between healthy and unhealthy, for events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthTransition {
    /// The new state.
    pub healthy: bool,
    /// The reason of the last failure, or the number of successes.
    pub reason: Arc<str>,
}

impl EndpointHealth {
    /// Records the result of a probe at `now`, and returns the change that it makes. Probes of one endpoint follow one
    /// another.
    pub fn record(&self, result: ProbeResult<'_>, now: Time) -> Option<HealthTransition> {
        let mut record = self.lock();
        record.last_check = now.0.max(1);
        match result {
            ProbeResult::Passed => self.succeeded(&mut record, now),
            ProbeResult::Failed(reason) => self.failed(&mut record, reason, now),
        }
    }

    /// Marks an endpoint without a finished check as healthy since `since`, with its whole share at once. For an endpoint
    /// that served before the server restarted, and for one whose pool has no established member.
    pub fn assume_healthy(&self, since: Time) {
        let mut record = self.lock();
        if self.state() == HealthState::Unchecked {
            (record.was_healthy, record.healthy_since) = (true, since.0);
            self.word.store(ALWAYS, Ordering::Release);
        }
    }

    /// Returns true if it has been healthy for [`SLOW_START`] at least, and so can carry the share of a new member.
    pub fn is_established(&self, now: Time) -> bool {
        matches!(self.state(), HealthState::Healthy { .. }) && now.since(Time(self.lock().healthy_since)) >= SLOW_START
    }

    /// Marks an endpoint as healthy that has just answered outside of its checks. Returns the change; `None` if it counted
    /// as healthy before.
    pub fn mark_healthy(&self, now: Time) -> Option<HealthTransition> {
        let mut record = self.lock();
        (record.failures, record.successes, record.last_check) = (0, SUCCESSES_UP, now.0.max(1));
        let state = self.state();
        if matches!(state, HealthState::Healthy { .. }) {
            return None;
        }
        self.become_healthy(&mut record, now);
        // No event has said that an unchecked endpoint was unhealthy.
        (state == HealthState::Unhealthy)
            .then(|| HealthTransition { healthy: true, reason: "it answered at the end of maintenance".into() })
    }

    /// Returns the state. One atomic read.
    pub fn state(&self) -> HealthState {
        match self.word.load(Ordering::Acquire) {
            UNCHECKED => HealthState::Unchecked,
            ALWAYS => HealthState::Healthy { since: None },
            UNHEALTHY => HealthState::Unhealthy,
            since => HealthState::Healthy { since: Some(Time(since)) },
        }
    }

    /// Returns true until checks have found it unhealthy.
    pub fn is_healthy(&self) -> bool {
        self.state() != HealthState::Unhealthy
    }

    /// Returns the results of the last checks.
    pub fn last_checks(&self) -> LastChecks {
        let record = self.lock();
        let moment = |millis: u64| (millis > 0).then_some(Time(millis));
        LastChecks {
            last_check: moment(record.last_check),
            failing: record.failures > 0,
            last_failure: moment(record.last_failure),
            reason: record.reason.clone(),
        }
    }

    fn succeeded(&self, record: &mut HealthRecord, now: Time) -> Option<HealthTransition> {
        record.failures = 0;
        record.successes = record.successes.saturating_add(1);
        let needed = if record.was_healthy { SUCCESSES_UP } else { 1 };
        let state = self.state();
        if matches!(state, HealthState::Healthy { .. }) || record.successes < needed {
            return None;
        }
        self.become_healthy(record, now);
        let reason = if needed == 1 { "a check succeeded" } else { "2 checks succeeded" };
        // No event has said that an unchecked endpoint was unhealthy.
        (state == HealthState::Unhealthy).then(|| HealthTransition { healthy: true, reason: reason.into() })
    }

    /// Marks it as healthy from `now` on, with a share that grows.
    fn become_healthy(&self, record: &mut HealthRecord, now: Time) {
        (record.was_healthy, record.healthy_since) = (true, now.0);
        self.word.store(now.0.clamp(ALWAYS + 1, UNHEALTHY - 1), Ordering::Release);
    }

    fn failed(&self, record: &mut HealthRecord, reason: &str, now: Time) -> Option<HealthTransition> {
        record.successes = 0;
        record.failures = record.failures.saturating_add(1);
        record.last_failure = now.0.max(1);
        let reason: Arc<str> = reason.into();
        record.reason = Some(Arc::clone(&reason));
        let needed = if record.was_healthy { FAILURES_DOWN } else { 1 };
        if !self.is_healthy() || record.failures < needed {
            return None;
        }
        self.word.store(UNHEALTHY, Ordering::Release);
        Some(HealthTransition { healthy: false, reason })
    }

    fn lock(&self) -> MutexGuard<'_, HealthRecord> {
        // No code panics while it holds the lock, and the record would still be complete if one did.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the time to the next check: the interval, up to a tenth shorter or longer, so that checks that began together
/// drift apart. `random_bits` is 64 random bits.
pub fn jittered_interval(interval: Span, random_bits: u64) -> Span {
    let millis = interval.millis();
    let tenth = millis / 10;
    let extra = random_bits.checked_rem(2 * tenth + 1).unwrap_or(0);
    Span::from_millis((millis - tenth).saturating_add(extra).max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ILL_FOR: ProbeResult<'_> = ProbeResult::Failed("status 503");

    /// Returns the health of an endpoint that served before.
    fn known() -> EndpointHealth {
        let health = EndpointHealth::default();
        health.assume_healthy(Time(0));
        health
    }

    #[test]
    fn a_healthy_endpoint_stays_healthy_until_three_failures_in_a_row() {
        let health = known();
        for result in [ILL_FOR, ILL_FOR, ProbeResult::Passed, ILL_FOR, ILL_FOR] {
            assert_eq!(health.record(result, Time(1)), None);
            assert!(health.is_healthy());
        }
        assert_eq!(
            health.record(ILL_FOR, Time(2)),
            Some(HealthTransition { healthy: false, reason: "status 503".into() })
        );
        assert_eq!(health.record(ILL_FOR, Time(3)), None);
        assert_eq!(health.state(), HealthState::Unhealthy);
    }

    #[test]
    fn the_first_check_decides_for_an_endpoint_that_was_never_healthy() {
        let good = EndpointHealth::default();
        assert!(good.is_healthy() && good.state() == HealthState::Unchecked);
        assert_eq!(good.record(ProbeResult::Passed, Time(7)), None, "it was healthy before");
        assert_eq!(good.state(), HealthState::Healthy { since: Some(Time(7)) });
        assert_eq!([8, 9].map(|at| good.record(ILL_FOR, Time(at))), [None, None], "from now on three are needed");

        let bad = EndpointHealth::default();
        assert_eq!(
            bad.record(ILL_FOR, Time(1)),
            Some(HealthTransition { healthy: false, reason: "status 503".into() })
        );
        assert_eq!(bad.record(ILL_FOR, Time(2)), None);
        bad.assume_healthy(Time(2));
        assert_eq!(bad.state(), HealthState::Unhealthy, "what is known is not forgotten");
        let turn = bad.record(ProbeResult::Passed, Time(3));
        assert_eq!(turn, Some(HealthTransition { healthy: true, reason: "a check succeeded".into() }));
        assert_eq!(bad.state(), HealthState::Healthy { since: Some(Time(3)) });
    }

    #[test]
    fn an_endpoint_that_is_healthy_for_a_slow_start_is_established() {
        let (old, new, end) = (known(), EndpointHealth::default(), Time(1).after(SLOW_START));
        assert!(old.is_established(end) && !new.is_established(end));
        new.assume_healthy(Time(1));
        assert_eq!(new.state(), HealthState::Healthy { since: None }, "its whole share at once");
        assert!(!new.is_established(Time(end.0 - 1)) && new.is_established(end));
    }

    #[test]
    fn the_last_check_and_the_last_failure_are_reported() {
        let health = EndpointHealth::default();
        assert_eq!(health.last_checks(), LastChecks::default());
        health.record(ILL_FOR, Time(5));
        let failed = LastChecks {
            last_check: Some(Time(5)),
            failing: true,
            last_failure: Some(Time(5)),
            reason: Some("status 503".into()),
        };
        assert_eq!(health.last_checks(), failed);
        health.record(ProbeResult::Passed, Time(6));
        assert_eq!(health.last_checks(), LastChecks { last_check: Some(Time(6)), failing: false, ..failed });
    }

    #[test]
    fn two_successes_in_a_row_make_it_healthy_again_from_then_on() {
        let health = known();
        assert_eq!(health.record(ProbeResult::Passed, Time(1)), None);
        assert_eq!(health.state(), HealthState::Healthy { since: None });
        (2..5).for_each(|at| drop(health.record(ILL_FOR, Time(at))));
        assert_eq!(health.record(ProbeResult::Passed, Time(5)), None);
        assert_eq!(health.record(ILL_FOR, Time(6)), None);
        assert_eq!(health.record(ProbeResult::Passed, Time(7)), None);
        assert!(!health.is_healthy());
        assert!(health.record(ProbeResult::Passed, Time(8)).is_some_and(|turn| turn.healthy));
        assert_eq!(health.state(), HealthState::Healthy { since: Some(Time(8)) });
    }

    #[test]
    fn an_endpoint_marked_healthy_stays_so_until_three_more_failures() {
        let (ill, never_well, new) = (known(), EndpointHealth::default(), EndpointHealth::default());
        (1..4).for_each(|at| drop(ill.record(ILL_FOR, Time(at))));
        never_well.record(ILL_FOR, Time(1));
        for (health, was_ill) in [(ill, true), (never_well, true), (new, false)] {
            assert_eq!(health.mark_healthy(Time(5)).is_some_and(|turn| turn.healthy), was_ill);
            assert_eq!(health.state(), HealthState::Healthy { since: Some(Time(5)) });
            assert_eq!((health.last_checks().last_check, health.last_checks().failing), (Some(Time(5)), false));
            assert_eq!(health.mark_healthy(Time(6)), None);
            assert_eq!([7, 8].map(|at| health.record(ILL_FOR, Time(at))), [None, None]);
            assert!(health.record(ILL_FOR, Time(9)).is_some_and(|turn| !turn.healthy));
        }
    }

    #[test]
    fn the_default_check_accepts_any_status_below_500() {
        let accepted = |check: CheckKind| [101, 200, 302, 404, 499, 500, 503].map(|status| check.accepts(status, None));
        assert_eq!(accepted(CheckKind::Default), [true, true, true, true, true, false, false]);
        assert_eq!(accepted(CheckKind::Explicit), [false, true, true, false, false, false, false]);
        assert!(CheckKind::Explicit.excludes_unhealthy() && !CheckKind::Default.excludes_unhealthy());
        let expected = StatusRanges::parse("404,503").unwrap();
        for check in [CheckKind::Default, CheckKind::Explicit] {
            let accepted = [200, 404, 503].map(|status| check.accepts(status, Some(&expected)));
            assert_eq!(accepted, [false, true, true], "what is set holds for both");
        }
    }

    proptest! {
        #[test]
        fn checks_come_within_a_tenth_of_their_interval(millis in 1..=Span::MAX.millis(), random_bits in any::<u64>()) {
            let next = jittered_interval(Span::from_millis(millis), random_bits).millis();
            prop_assert!(next >= 1 && next >= millis - millis / 10 && next <= millis + millis / 10);
        }

        #[test]
        fn it_follows_the_last_results(results in prop::collection::vec(any::<bool>(), 0..200)) {
            let health = known();
            let mut healthy = true;
            for end in 1..=results.len() {
                let well = results[end - 1];
                let turn = health.record(if well { ProbeResult::Passed } else { ILL_FOR }, Time(end as u64));
                let last = |count: usize| end >= count && results[end - count..end].iter().all(|result| *result == well);
                let was = healthy;
                healthy = if well { was || last(2) } else { was && !last(3) };
                prop_assert_eq!(health.is_healthy(), healthy);
                prop_assert_eq!(turn.map(|turn| turn.healthy), (was != healthy).then_some(healthy));
            }
        }
    }
}
