//! Whether an endpoint is well, by its active checks.
//!
//! What checks are, [`Check`] says; what their results make of the endpoint, [`Health`]. What it is not: the asking, which is
//! the prober's, nor the circuit breaker, which judges real requests. What must hold (protocol §6): three failures in a
//! row make it unhealthy, two successes healthy again, and nobody counts as unhealthy before three failures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::{Span, Time};

const FAILURES_DOWN: u32 = 3;
const SUCCESSES_UP: u32 = 2;

/// Where a check comes from: that says what counts as well, and what follows from being ill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// Nobody asked for it: any answer below 500 is well, and an ill member is only passed over while others are left.
    Default,
    /// From `HEALTH_SET`: 2xx or 3xx is well, and an ill member gets no requests.
    Explicit,
}

impl Check {
    /// Whether an answer with this status is well.
    pub const fn accepts(self, status: u16) -> bool {
        match self {
            Check::Default => status < 500,
            Check::Explicit => matches!(status, 200..=399),
        }
    }

    /// Whether an ill member gets no requests at all.
    pub const fn gates(self) -> bool {
        matches!(self, Check::Explicit)
    }
}

/// What one check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding<'a> {
    /// An answer that the [`Check`] accepts, in time.
    Well,
    /// Anything else, in words fit for the client's eyes: `status 503`, `no answer within 5s`.
    Ill(&'a str),
}

/// What checks have made of an endpoint. Shared by the prober, who writes, and all workers, who read one word.
#[derive(Debug, Default)]
pub struct Health {
    /// [`ILL`], or since when it is well in milliseconds since the epoch; 0 for as long as anybody knows.
    word: AtomicU64,
    // Only the prober and those who ask for the reason come here.
    record: Mutex<Record>,
}

const ILL: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Record {
    failures: u32,
    successes: u32,
    checked: bool,
    reason: Option<Arc<str>>,
}

/// What picking needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Well, or not known to be ill.
    Well {
        /// When it became well after it had been ill.
        since: Option<Time>,
    },
    /// Three failures in a row, and not yet two successes.
    Ill,
}

/// A change between healthy and unhealthy, for events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which way.
    pub healthy: bool,
    /// The last failure's reason, or `2 checks succeeded`.
    pub reason: Arc<str>,
}

impl Health {
    /// Takes in what a check found at `now`. Checks of one endpoint follow one another.
    pub fn observe(&self, finding: Finding<'_>, now: Time) -> Option<Turn> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.checked = true;
        match finding {
            Finding::Well => self.well(&mut record, now),
            Finding::Ill(reason) => self.ill(&mut record, reason),
        }
    }

    /// One atomic read, for picking.
    pub fn condition(&self) -> Condition {
        match self.word.load(Ordering::Acquire) {
            ILL => Condition::Ill,
            since => Condition::Well { since: (since > 0).then_some(Time(since)) },
        }
    }

    /// Whether it counts as healthy: so it does until three checks have failed.
    pub fn healthy(&self) -> bool {
        self.condition() != Condition::Ill
    }

    /// Whether any check has ended yet.
    pub fn known(&self) -> bool {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).checked
    }

    /// Why the last check failed; `None` if it did not.
    pub fn reason(&self) -> Option<Arc<str>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).reason.clone()
    }

    fn well(&self, record: &mut Record, now: Time) -> Option<Turn> {
        record.failures = 0;
        record.successes = record.successes.saturating_add(1);
        record.reason = None;
        if self.healthy() || record.successes < SUCCESSES_UP {
            return None;
        }
        self.word.store(now.0.clamp(1, ILL - 1), Ordering::Release);
        Some(Turn { healthy: true, reason: "2 checks succeeded".into() })
    }

    fn ill(&self, record: &mut Record, reason: &str) -> Option<Turn> {
        record.successes = 0;
        record.failures = record.failures.saturating_add(1);
        let reason: Arc<str> = reason.into();
        record.reason = Some(Arc::clone(&reason));
        if !self.healthy() || record.failures < FAILURES_DOWN {
            return None;
        }
        self.word.store(ILL, Ordering::Release);
        Some(Turn { healthy: false, reason })
    }
}

/// When to check again: the interval, up to a tenth shorter or longer, so that checks that began together part. `chance`: 64
/// random bits.
pub fn next_check(interval: Span, chance: u64) -> Span {
    let millis = interval.millis();
    let tenth = millis / 10;
    let extra = chance.checked_rem(2 * tenth + 1).unwrap_or(0);
    Span::from_millis((millis - tenth).saturating_add(extra).max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ILL_FOR: Finding<'_> = Finding::Ill("status 503");

    #[test]
    fn nobody_is_unhealthy_before_three_failures_in_a_row() {
        let health = Health::default();
        assert!(health.healthy() && !health.known());
        for finding in [ILL_FOR, ILL_FOR, Finding::Well, ILL_FOR, ILL_FOR] {
            assert_eq!(health.observe(finding, Time(1)), None);
            assert!(health.healthy() && health.known());
        }
        assert_eq!(health.observe(ILL_FOR, Time(2)), Some(Turn { healthy: false, reason: "status 503".into() }));
        assert_eq!(health.observe(ILL_FOR, Time(3)), None);
        assert_eq!((health.condition(), health.reason().as_deref()), (Condition::Ill, Some("status 503")));
    }

    #[test]
    fn two_successes_in_a_row_make_it_healthy_again_and_it_is_told_since_when() {
        let health = Health::default();
        assert_eq!(health.observe(Finding::Well, Time(1)), None);
        assert_eq!(health.condition(), Condition::Well { since: None });
        (2..5).for_each(|at| drop(health.observe(ILL_FOR, Time(at))));
        assert_eq!(health.observe(Finding::Well, Time(5)), None);
        assert_eq!(health.observe(ILL_FOR, Time(6)), None);
        assert_eq!(health.observe(Finding::Well, Time(7)), None);
        assert!(!health.healthy());
        assert!(health.observe(Finding::Well, Time(8)).is_some_and(|turn| turn.healthy));
        assert_eq!((health.condition(), health.reason()), (Condition::Well { since: Some(Time(8)) }, None));
    }

    #[test]
    fn the_default_check_is_content_with_less() {
        let accepted = |check: Check| [101, 200, 302, 404, 499, 500, 503].map(|status| check.accepts(status));
        assert_eq!(accepted(Check::Default), [true, true, true, true, true, false, false]);
        assert_eq!(accepted(Check::Explicit), [false, true, true, false, false, false, false]);
        assert!(Check::Explicit.gates() && !Check::Default.gates());
    }

    proptest! {
        #[test]
        fn checks_come_within_a_tenth_of_their_interval(millis in 1..=Span::MAX.millis(), chance in any::<u64>()) {
            let next = next_check(Span::from_millis(millis), chance).millis();
            prop_assert!(next >= 1 && next >= millis - millis / 10 && next <= millis + millis / 10);
        }

        #[test]
        fn it_does_what_the_last_results_say(results in prop::collection::vec(any::<bool>(), 0..200)) {
            let health = Health::default();
            let mut healthy = true;
            for end in 1..=results.len() {
                let well = results[end - 1];
                let turn = health.observe(if well { Finding::Well } else { ILL_FOR }, Time(end as u64));
                let last = |count: usize| end >= count && results[end - count..end].iter().all(|result| *result == well);
                let was = healthy;
                healthy = if well { was || last(2) } else { was && !last(3) };
                prop_assert_eq!(health.healthy(), healthy);
                prop_assert_eq!(turn.map(|turn| turn.healthy), (was != healthy).then_some(healthy));
            }
        }
    }
}
