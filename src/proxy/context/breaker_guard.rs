//! The permit of an endpoint's breaker for one request, and the verdict that the breaker gets for it.
//!
//! Invariants: the breaker gets exactly one verdict for each permit; for an endpoint without a breaker this costs one check.

use std::sync::Arc;

use crate::clock;
use crate::domain::{Event, Time};
use crate::proxy::context::judged_response::JudgedResponse;
use crate::reports::{Report, Reports};
use crate::traffic::{BreakerDecision, BreakerOutcome, BreakerPermit, BreakerTransition, Endpoint};

/// A permit to send one request. It is empty for an endpoint without a breaker, and after the verdict.
pub(crate) struct BreakerGuard(Option<HeldPermit>);

/// A permit that still needs a verdict.
struct HeldPermit {
    permit: BreakerPermit,
    endpoint: Arc<Endpoint>,
    acquired: Time,
    is_trial: bool,
}

impl BreakerGuard {
    /// Asks the breaker of an endpoint for a permit. Returns `None` if another request has taken the last one.
    pub(crate) fn acquire(endpoint: &Arc<Endpoint>, reports: &Reports, now: Time) -> Option<Self> {
        let Some(breaker) = endpoint.breaker() else { return Some(Self(None)) };
        let (permit, is_trial) = match breaker.acquire(now) {
            BreakerDecision::Pass(permit) => (permit, false),
            BreakerDecision::Trial { permit, transition } => {
                report(endpoint, reports, transition);
                (permit, true)
            }
            BreakerDecision::Refused { .. } => return None,
        };
        Some(Self(Some(HeldPermit { permit, endpoint: Arc::clone(endpoint), acquired: now, is_trial })))
    }

    /// Returns a guard for an endpoint whose breaker is not asked.
    pub(crate) fn unguarded() -> Self {
        Self(None)
    }

    /// True for a trial request that still needs a verdict.
    pub(crate) fn is_trial(&self) -> bool {
        self.0.as_ref().is_some_and(|held| held.is_trial)
    }

    /// Gives the breaker its verdict on a response, unless it has one. A response that counts as a failure is the last
    /// one of the endpoint; a request without a response is noted where it failed, with its own words.
    pub(crate) fn judge(&mut self, response: JudgedResponse, reports: &Reports) {
        let outcome = response.outcome();
        if outcome == BreakerOutcome::Failure
            && let Some(HeldPermit { endpoint, .. }) = &self.0
        {
            endpoint.live.failures.note(clock::now(), &response.words());
        }
        self.record(outcome, reports);
    }

    /// Gives the breaker its verdict, unless it has one.
    pub(crate) fn record(&mut self, outcome: BreakerOutcome, reports: &Reports) {
        let Some(HeldPermit { permit, endpoint, acquired, .. }) = self.0.take() else { return };
        let Some(breaker) = endpoint.breaker() else { return };
        // The time matters only for a failure: the clock is not read for the many requests that succeed.
        let now = if outcome == BreakerOutcome::Failure { clock::now() } else { acquired };
        report(&endpoint, reports, breaker.record(permit, outcome, now));
    }
}

fn report(endpoint: &Arc<Endpoint>, reports: &Reports, transition: Option<BreakerTransition>) {
    let Some(transition) = transition else { return };
    let event = Event::CircuitStateChanged { route: endpoint.id(), state: transition.state() };
    reports.push(Report::seen(endpoint, event));
}
