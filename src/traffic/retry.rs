//! True if a request that failed may be tried once more.
//!
//! Only when nothing of it can have been processed, and only while retries stay a small part of the traffic: a backend that
//! is down must not be met with twice the load.

/// How a try failed before the head of a response came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptFailure {
    /// No connection: refused, unreachable, unresolved, too slow.
    Connect,
    /// This server had no room for a connection: nothing was tried.
    NoRoom,
    /// The connection was found dead before anything was written.
    Unsent,
    /// A connection that had served before ended before a byte of the response came.
    PooledDied,
    /// Anything else: a fresh connection that broke, no answer in time, an answer that is none.
    Other,
}

/// How far the request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// There is none.
    None,
    /// Nothing of it was taken from the client yet.
    Waiting,
    /// Some of it was sent, and can be sent again.
    Kept,
    /// Part of it is gone, and kept nowhere.
    Begun,
}

/// True if the failure leaves the request untouched, so that another try cannot do its work twice.
pub fn may_retry(failure: AttemptFailure, idempotent: bool, upload: UploadState) -> bool {
    match (failure, upload) {
        (AttemptFailure::Other | AttemptFailure::NoRoom, _) | (_, UploadState::Begun) => false,
        // With `PooledDied` the head may have been read, but without its body such a request cannot have been processed.
        (AttemptFailure::Connect | AttemptFailure::Unsent, _) | (AttemptFailure::PooledDied, UploadState::Waiting) => {
            true
        }
        (AttemptFailure::PooledDied, UploadState::None | UploadState::Kept) => idempotent,
    }
}

/// How many retries a worker has left: one for every five requests, and a few to begin with.
#[derive(Debug)]
pub struct RetryBudget {
    fifths: u32,
}

impl RetryBudget {
    const COST: u32 = 5;
    const FIFTHS_MAX: u32 = 100 * Self::COST;

    /// A request came.
    pub fn earn(&mut self) {
        self.fifths = (self.fifths + 1).min(Self::FIFTHS_MAX);
    }

    /// Takes one retry out, if one is left.
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
    fn only_what_cannot_have_been_processed_is_tried_again() {
        for idempotent in [true, false] {
            assert!(may_retry(AttemptFailure::Connect, idempotent, UploadState::None));
            assert!(may_retry(AttemptFailure::Unsent, idempotent, UploadState::Waiting));
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
    fn a_quiet_day_saves_no_more_than_a_hundred_retries() {
        let mut budget = RetryBudget::default();
        for _ in 0..100_000 {
            budget.earn();
        }
        assert_eq!(std::iter::repeat_with(|| budget.spend()).take_while(|spent| *spent).count(), 100);
    }
}
