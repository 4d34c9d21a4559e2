//! A circuit breaker: it stops requests to an endpoint that keeps failing, and tries the endpoint again with a few requests.
//!
//! The caller decides what counts as a failure (no connection, timeout, reset, 5xx). The whole state is one atomic word, and
//! each step is a pure function from word to word. So workers share it without a lock, and a closed breaker without failures
//! is only read. It does not outlive a restart.
//!
//! Invariants: at most `half_open_requests` trials are in flight, except those that take longer than the timeout; the
//! result of a request that began before the breaker last opened or was reset changes nothing.

mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::{Breaker as BreakerSettings, BreakerState, Time};
pub use state::BreakerTransition;
use state::{BreakerPhase, BreakerWord, clamped};

/// A circuit breaker, shared by all workers and by all applies that leave its settings as they are.
#[derive(Debug)]
pub struct EndpointBreaker {
    settings: BreakerSettings,
    word: AtomicU64,
    // In milliseconds since the Unix epoch; 0 for never.
    last_failure: AtomicU64,
    // The time when a trial last began, in milliseconds since the Unix epoch. Written before the trial counts, so that no
    // trial seems slow too early.
    last_trial: AtomicU64,
}

/// The permit to send one request. It must be given back with [`EndpointBreaker::record`], whatever happens to the request. A trial
/// holds its slot until then, but not longer than the timeout.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an outcome must be recorded for it, `Abandoned` at least"]
pub struct BreakerPermit {
    era: u32,
    trial: bool,
}

/// The answer to a request for a permit.
#[derive(Debug, PartialEq, Eq)]
pub enum BreakerDecision {
    /// The breaker is closed.
    Pass(BreakerPermit),
    /// The breaker is half open, and the request is one of its trials.
    Trial {
        /// The permit of the trial.
        permit: BreakerPermit,
        /// `HalfOpened` for the first trial after the timeout.
        transition: Option<BreakerTransition>,
    },
    /// The breaker refuses the request.
    Refused {
        /// The time to ask again: the end of the timeout, or a second later if all trials are in flight.
        retry_at: Time,
    },
}

/// The outcome of a request for the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerOutcome {
    /// The endpoint answered with a status below 500.
    Success,
    /// No connection, timeout, reset, or 5xx (protocol §6).
    Failure,
    /// No outcome: the client went away, or the request was never sent.
    Abandoned,
}

/// The status of a breaker, as `CIRCUIT_BREAKER_STATUS` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerStatus {
    /// The state.
    pub state: BreakerState,
    /// The number of failures in a row; the threshold while the breaker is not closed.
    pub failures: u32,
    /// The number of trials that have succeeded since it half-opened; 0 in the other states.
    pub successes: u32,
    /// The time of the last failure that counted.
    pub last_failure: Option<Time>,
    /// The time when a request may pass as a trial. Only while the breaker is open.
    pub next_attempt: Option<Time>,
}

impl EndpointBreaker {
    /// Makes a closed breaker.
    pub const fn new(settings: BreakerSettings) -> Self {
        Self { settings, word: AtomicU64::new(0), last_failure: AtomicU64::new(0), last_trial: AtomicU64::new(0) }
    }

    /// Returns the old breaker if its settings are the same, otherwise a new, closed one.
    pub fn reconfigure(old: Option<&Arc<Self>>, settings: BreakerSettings) -> Arc<Self> {
        match old {
            Some(old) if old.settings == settings => Arc::clone(old),
            _ => Arc::new(Self::new(settings)),
        }
    }

    /// Returns the settings.
    pub const fn settings(&self) -> BreakerSettings {
        self.settings
    }

    /// Asks for a permit to send a request.
    pub fn acquire(&self, now: Time) -> BreakerDecision {
        let mut transition = None;
        let changed = self.change(|mut word| {
            transition = None;
            match &mut word.phase {
                BreakerPhase::Open { until } if now >= *until => {
                    word.phase = BreakerPhase::HalfOpen { trials: 1, successes: 0 };
                    transition = Some(BreakerTransition::HalfOpened);
                }
                BreakerPhase::HalfOpen { trials, successes }
                    if *trials + *successes < self.settings.half_open_requests =>
                {
                    *trials += 1;
                }
                // Slow trials lose their slots, and their outcomes no longer count.
                BreakerPhase::HalfOpen { successes, .. } if self.trials_are_slow(now) => {
                    let successes = *successes;
                    word = word.next_era(BreakerPhase::HalfOpen { trials: 1, successes });
                }
                BreakerPhase::Closed { .. } | BreakerPhase::Open { .. } | BreakerPhase::HalfOpen { .. } => return None,
            }
            self.last_trial.fetch_max(now.0, Ordering::AcqRel);
            Some(word)
        });
        match changed {
            Ok(word) => BreakerDecision::Trial { permit: BreakerPermit { era: word.era, trial: true }, transition },
            Err(BreakerWord { era, phase: BreakerPhase::Closed { .. } }) => {
                BreakerDecision::Pass(BreakerPermit { era, trial: false })
            }
            Err(word) => BreakerDecision::Refused { retry_at: word.phase.retry_at(now) },
        }
    }

    /// Takes a permit back with the outcome of its request. Returns the change that it makes.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is good for one request")]
    pub fn record(&self, permit: BreakerPermit, outcome: BreakerOutcome, now: Time) -> Option<BreakerTransition> {
        let mut transition = None;
        let mut counted = false;
        let _ = self.change(|word| {
            (transition, counted) = (None, word.era == permit.era);
            let next = if counted { self.after_outcome(word, permit.trial, outcome, now)? } else { return None };
            transition = word.phase.transition_to(next.phase);
            Some(next)
        });
        if counted && outcome == BreakerOutcome::Failure {
            self.last_failure.fetch_max(now.0, Ordering::Relaxed);
        }
        transition
    }

    /// Returns the time to ask again if [`Self::acquire`] would refuse now, otherwise `None`. Changes nothing.
    pub fn refused_until(&self, now: Time) -> Option<Time> {
        let word = BreakerWord::unpack(self.word.load(Ordering::Acquire));
        let refuses = match word.phase {
            BreakerPhase::Closed { .. } => false,
            BreakerPhase::Open { until } => now < until,
            BreakerPhase::HalfOpen { trials, successes } => {
                trials + successes >= self.settings.half_open_requests && !self.trials_are_slow(now)
            }
        };
        refuses.then(|| word.phase.retry_at(now))
    }

    /// Returns true if every trial in flight has taken as long as the timeout.
    fn trials_are_slow(&self, now: Time) -> bool {
        now >= Time(self.last_trial.load(Ordering::Acquire)).after(self.settings.timeout)
    }

    /// Returns true if [`Self::acquire`] would give a permit now. Changes nothing.
    pub fn would_allow(&self, now: Time) -> bool {
        self.refused_until(now).is_none()
    }

    /// Returns the status. An open breaker whose timeout is over stays `Open` until the next request.
    pub fn status(&self) -> BreakerStatus {
        let last = self.last_failure.load(Ordering::Relaxed);
        let (state, failures, successes, next_attempt) =
            match BreakerWord::unpack(self.word.load(Ordering::Acquire)).phase {
                BreakerPhase::Closed { failures } => (BreakerState::Closed, failures, 0, None),
                BreakerPhase::Open { until } => (BreakerState::Open, self.settings.threshold, 0, Some(until)),
                BreakerPhase::HalfOpen { successes, .. } => {
                    (BreakerState::HalfOpen, self.settings.threshold, successes, None)
                }
            };
        BreakerStatus { state, failures, successes, last_failure: (last > 0).then_some(Time(last)), next_attempt }
    }

    /// Closes the breaker and forgets the requests in flight. Returns `None` if it was closed already.
    pub fn reset(&self) -> Option<BreakerTransition> {
        let mut transition = None;
        let _ = self.change(|word| {
            let closed = BreakerPhase::Closed { failures: 0 };
            transition = word.phase.transition_to(closed);
            Some(word.next_era(closed))
        });
        self.last_failure.store(0, Ordering::Relaxed);
        transition
    }

    /// Returns the state after the outcome of a request of this era; `None` if it stays the same.
    fn after_outcome(&self, word: BreakerWord, trial: bool, outcome: BreakerOutcome, now: Time) -> Option<BreakerWord> {
        let opened = word.next_era(BreakerPhase::Open { until: clamped(now.after(self.settings.timeout)) });
        let phase = match (word.phase, outcome) {
            (BreakerPhase::Closed { failures }, BreakerOutcome::Failure) if failures + 1 >= self.settings.threshold => {
                return Some(opened);
            }
            (BreakerPhase::Closed { failures }, BreakerOutcome::Failure) => {
                BreakerPhase::Closed { failures: failures + 1 }
            }
            (BreakerPhase::Closed { failures: 1.. }, BreakerOutcome::Success) => BreakerPhase::Closed { failures: 0 },
            // Only trials belong to a half-open era; any other outcome must not count.
            (BreakerPhase::HalfOpen { .. }, _) if !trial => return None,
            (BreakerPhase::HalfOpen { .. }, BreakerOutcome::Failure) => return Some(opened),
            (BreakerPhase::HalfOpen { successes, .. }, BreakerOutcome::Success)
                if successes + 1 >= self.settings.half_open_requests =>
            {
                BreakerPhase::Closed { failures: 0 }
            }
            (BreakerPhase::HalfOpen { trials, successes }, BreakerOutcome::Success) => {
                BreakerPhase::HalfOpen { trials: trials.saturating_sub(1), successes: successes + 1 }
            }
            (BreakerPhase::HalfOpen { trials, successes }, BreakerOutcome::Abandoned) => {
                BreakerPhase::HalfOpen { trials: trials.saturating_sub(1), successes }
            }
            (BreakerPhase::Closed { .. }, BreakerOutcome::Success | BreakerOutcome::Abandoned)
            | (BreakerPhase::Open { .. }, _) => return None,
        };
        Some(BreakerWord { phase, ..word })
    }

    /// Makes one step, again from the start if another worker was faster. Returns the new word, or the word that the step
    /// left alone.
    fn change(&self, mut step: impl FnMut(BreakerWord) -> Option<BreakerWord>) -> Result<BreakerWord, BreakerWord> {
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let word = BreakerWord::unpack(seen);
            let Some(next) = step(word) else { return Err(word) };
            match self.word.compare_exchange_weak(seen, next.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(next),
                Err(other) => seen = other,
            }
        }
    }
}

#[cfg(test)]
mod tests;
