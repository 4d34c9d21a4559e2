//! The state of a circuit breaker, packed into one word.

use crate::domain::{BreakerState, Span, Time};

/// A change of the breaker's state, for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerTransition {
    /// Too many failures in a row, or a trial failed.
    Opened,
    /// The timeout is over, and the first trial has begun.
    HalfOpened,
    /// All trials succeeded, or the breaker was reset.
    Closed,
}

impl BreakerTransition {
    /// Returns the new state.
    pub const fn state(self) -> BreakerState {
        match self {
            BreakerTransition::Opened => BreakerState::Open,
            BreakerTransition::HalfOpened => BreakerState::HalfOpen,
            BreakerTransition::Closed => BreakerState::Closed,
        }
    }
}

/// The state, with the era: the number of times that the breaker opened or was reset. Outcomes of an earlier era do not
/// count.
///
/// Packed into 64 bits: 2 bits for the phase, 20 for the era, 42 for the values of the phase (two counts of up to a million,
/// or milliseconds until the year 2109). An era returns after a million openings; no request lasts that long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BreakerWord {
    pub(super) era: u32,
    pub(super) phase: BreakerPhase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerPhase {
    Closed { failures: u32 },
    Open { until: Time },
    HalfOpen { trials: u32, successes: u32 },
}

const COUNT_BITS: u32 = 20;
pub(super) const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const HELD_BITS: u32 = 42;
pub(super) const HELD_MAX: u64 = (1 << HELD_BITS) - 1;

impl BreakerWord {
    pub(super) fn pack(self) -> u64 {
        let (tag, held) = match self.phase {
            BreakerPhase::Closed { failures } => (0, u64::from(failures).min(COUNT_MAX)),
            BreakerPhase::Open { until } => (1, clamped(until).0),
            BreakerPhase::HalfOpen { trials, successes } => {
                (2, u64::from(trials).min(COUNT_MAX) << COUNT_BITS | u64::from(successes).min(COUNT_MAX))
            }
        };
        tag << (HELD_BITS + COUNT_BITS) | u64::from(self.era) << HELD_BITS | held
    }

    pub(super) fn unpack(word: u64) -> Self {
        let held = word & HELD_MAX;
        let phase = match word >> (HELD_BITS + COUNT_BITS) {
            0 => BreakerPhase::Closed { failures: count(held) },
            1 => BreakerPhase::Open { until: Time(held) },
            _ => BreakerPhase::HalfOpen { trials: count(held >> COUNT_BITS), successes: count(held) },
        };
        Self { era: count(word >> HELD_BITS), phase }
    }

    pub(super) fn next_era(self, phase: BreakerPhase) -> Self {
        Self { era: count(u64::from(self.era) + 1), phase }
    }
}

const fn count(bits: u64) -> u32 {
    (bits & COUNT_MAX) as u32
}

/// Limits a time to the latest one that fits.
pub(super) fn clamped(time: Time) -> Time {
    Time(time.0.min(HELD_MAX))
}

impl BreakerPhase {
    pub(super) fn retry_at(self, now: Time) -> Time {
        match self {
            BreakerPhase::Open { until } => until,
            BreakerPhase::Closed { .. } | BreakerPhase::HalfOpen { .. } => now.after(Span::from_secs(1)),
        }
    }

    pub(super) fn transition_to(self, next: BreakerPhase) -> Option<BreakerTransition> {
        match (self, next) {
            (BreakerPhase::Closed { .. }, BreakerPhase::Closed { .. })
            | (BreakerPhase::HalfOpen { .. }, BreakerPhase::HalfOpen { .. }) => None,
            (_, BreakerPhase::Closed { .. }) => Some(BreakerTransition::Closed),
            (_, BreakerPhase::Open { .. }) => Some(BreakerTransition::Opened),
            (_, BreakerPhase::HalfOpen { .. }) => Some(BreakerTransition::HalfOpened),
        }
    }
}
