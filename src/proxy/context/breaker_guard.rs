//! What an endpoint's requests say of it: to its circuit breaker, and to whoever connects next.
//!
//! What must hold: whatever comes of a request that the breaker let through, the breaker hears of it exactly once, also when the
//! client goes away in between; for an endpoint without a breaker nothing of this costs more than a look.

use std::sync::Arc;

use http::StatusCode;

use crate::clock;
use crate::domain::{Event, Time};
use crate::proxy::listener::worker::Worker;
use crate::proxy::request::upstream_request::Failed;
use crate::proxy::response::pages::Refusal;
use crate::reports::{Report, Reports};
use crate::traffic::{AttemptFailure, BreakerDecision, BreakerOutcome, BreakerPermit, BreakerTransition, Endpoint};

/// A try that an endpoint's breaker, if there is one, has let through.
pub(crate) struct Case<'a> {
    endpoint: &'a Arc<Endpoint>,
    reports: &'a Reports,
    opened: Time,
    // `None` without a breaker, and once it has its outcome.
    permit: Option<BreakerPermit>,
}

impl<'a> Case<'a> {
    /// Asks for leave to try. `None` if another was faster to take the last that there was.
    pub(crate) fn open(worker: &'a Worker, endpoint: &'a Arc<Endpoint>, now: Time) -> Option<Self> {
        let mut case = Self { endpoint, reports: &worker.reports, opened: now, permit: None };
        match endpoint.breaker().map(|breaker| breaker.acquire(now)) {
            None => {}
            Some(BreakerDecision::Pass(permit)) => case.permit = Some(permit),
            Some(BreakerDecision::Trial { permit, transition: flip }) => {
                case.permit = Some(permit);
                case.tell(flip);
            }
            Some(BreakerDecision::Refused { .. }) => return None,
        }
        Some(case)
    }

    /// The head of a response has come; where it is none that can be passed on, the client is told `status` instead.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.endpoint.live.connect_backoff.record_success();
        self.end(if status.is_server_error() { BreakerOutcome::Failure } else { BreakerOutcome::Success });
    }

    /// It came to nothing. A kept connection that has died says nothing of the endpoint where the request goes out `again`.
    pub(crate) fn failed(&mut self, failed: &Failed, again: bool) {
        if failed.failure == AttemptFailure::Connect {
            self.endpoint.live.connect_backoff.record_failure(clock::now());
        }
        let at_fault = match failed.failure {
            AttemptFailure::Connect => true,
            AttemptFailure::NoRoom => false,
            AttemptFailure::Unsent | AttemptFailure::PooledDied => !again,
            // The client's own faults say nothing of the endpoint either.
            AttemptFailure::Other => matches!(failed.refusal, Refusal::BadGateway | Refusal::GatewayTooSlow),
        };
        self.end(if at_fault { BreakerOutcome::Failure } else { BreakerOutcome::Abandoned });
    }

    fn end(&mut self, outcome: BreakerOutcome) {
        if let (Some(permit), Some(breaker)) = (self.permit.take(), self.endpoint.breaker()) {
            // Only of a failure does it matter when: the clock is not read for each of the many that succeed.
            let now = if outcome == BreakerOutcome::Failure { clock::now() } else { self.opened };
            let flip = breaker.record(permit, outcome, now);
            self.tell(flip);
        }
    }

    fn tell(&self, flip: Option<BreakerTransition>) {
        let Some(flip) = flip else { return };
        let event = Event::CircuitStateChanged { route: self.endpoint.id(), state: flip.state() };
        self.reports.tell(Report::seen(self.endpoint, event));
    }
}

impl Drop for Case<'_> {
    /// Without an outcome: the client has gone, or the request was never sent.
    fn drop(&mut self) {
        self.end(BreakerOutcome::Abandoned);
    }
}
