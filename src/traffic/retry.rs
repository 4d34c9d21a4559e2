//! The decision to retry a failed request.
//!
//! Invariants: a request is retried only if the backend cannot have processed it, and retries stay a small part of the
//! traffic, so that a backend that is down does not get twice the load.

/// The way in which an attempt failed before the head of a response came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptFailure {
    /// No connection: refused, unreachable, unresolved or too slow.
    Connect,
    /// No room for another connection in this server; nothing was tried.
    NoRoom,
    /// The connection was found dead before anything was written.
    Unsent,
    /// The backend said that it has processed nothing (RFC 9113 §8.7).
    Refused,
    /// The backend said that it wants HTTP/1.1 for the request (RFC 9113 §7).
    Http1Required {
        /// True if its URL allows HTTP/1.1.
        is_possible: bool,
    },
    /// A connection that had served before ended before the first byte of the response.
    PooledDied,
    /// Any other failure: a new connection broke, no answer came in time, or an invalid one.
    Other,
}

/// The progress of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// The request has no body.
    None,
    /// Nothing was read from the client yet.
    Waiting,
    /// A part was sent, and can be sent again.
    Kept,
    /// A part was sent and is not kept.
    Begun,
}

/// Returns true if the failure leaves the request untouched, so that a retry cannot do its work twice.
pub fn may_retry(failure: AttemptFailure, idempotent: bool, upload: UploadState) -> bool {
    match (failure, upload) {
        (AttemptFailure::Other | AttemptFailure::NoRoom, _) | (_, UploadState::Begun) => false,
        // With `PooledDied` the backend may have read the head, but it cannot have processed the request without the body.
        (AttemptFailure::Http1Required { is_possible }, _) => is_possible,
        (AttemptFailure::Connect | AttemptFailure::Unsent | AttemptFailure::Refused, _)
        | (AttemptFailure::PooledDied, UploadState::Waiting) => true,
        (AttemptFailure::PooledDied, UploadState::None | UploadState::Kept) => idempotent,
    }
}

/// The retries that a worker may still make: one for every five requests, and ten at the start.
#[derive(Debug)]
pub struct RetryBudget {
    fifths: u32,
}

impl RetryBudget {
    const COST: u32 = 5;
    const FIFTHS_MAX: u32 = 100 * Self::COST;

    /// Adds the share of one request.
    pub fn earn(&mut self) {
        self.fifths = (self.fifths + 1).min(Self::FIFTHS_MAX);
    }

    /// Takes one retry out; returns false if none is left.
    pub fn spend(&mut self) -> bool {
        let left = self.fifths.checked_sub(Self::COST);
        self.fifths = left.unwrap_or(self.fifths);
        left.is_some()
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { fifths: 10 * Self::COST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_that_cannot_have_been_processed_is_retried() {
        for idempotent in [true, false] {
            assert!(may_retry(AttemptFailure::Connect, idempotent, UploadState::None));
            assert!(may_retry(AttemptFailure::Unsent, idempotent, UploadState::Waiting));
            assert!(may_retry(AttemptFailure::Refused, idempotent, UploadState::Kept));
            assert!(!may_retry(AttemptFailure::Refused, idempotent, UploadState::Begun));
            assert!(may_retry(AttemptFailure::PooledDied, idempotent, UploadState::Waiting));
            assert_eq!(may_retry(AttemptFailure::PooledDied, idempotent, UploadState::None), idempotent);
            assert_eq!(may_retry(AttemptFailure::PooledDied, idempotent, UploadState::Kept), idempotent);
            assert!(!may_retry(AttemptFailure::PooledDied, idempotent, UploadState::Begun));
            assert!(!may_retry(AttemptFailure::Other, idempotent, UploadState::None));
        }
    }

    #[test]
    fn retries_stay_a_fifth_of_the_requests() {
        let mut budget = RetryBudget::default();
        while budget.spend() {}
        for _ in 0..100 {
            budget.earn();
        }
        assert_eq!(std::iter::repeat_with(|| budget.spend()).take_while(|spent| *spent).count(), 20);
    }

    #[test]
    fn a_long_quiet_time_saves_at_most_a_hundred_retries() {
        let mut budget = RetryBudget::default();
        for _ in 0..100_000 {
            budget.earn();
        }
        assert_eq!(std::iter::repeat_with(|| budget.spend()).take_while(|spent| *spent).count(), 100);
    }
}
