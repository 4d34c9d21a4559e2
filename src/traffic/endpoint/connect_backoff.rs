//! The backoff of an endpoint after failed connects, learned from the requests themselves.
//!
//! Checks need a minute to find a dead instance, and until then half of a pool's requests would need a retry. So an endpoint
//! that could not be connected to is passed over for a second, twice as long after each further failure, at most half a
//! minute. It is no refusal: without another member the endpoint is tried as usual.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::{Span, Time};

/// The time until which an endpoint is passed over, and the failures in a row. Shared by all workers.
#[derive(Debug, Default)]
pub struct ConnectBackoff(AtomicU64);

/// The number of low bits that count failures in a row; the bits above hold the end of the backoff in milliseconds since the
/// Unix epoch. A word of 0 means no backoff.
const COUNT_BITS: u32 = 3;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const DOUBLED_MAX: u64 = 5;

impl ConnectBackoff {
    /// Records a failed connect at `now`.
    pub fn record_failure(&self, now: Time) {
        let word = self.0.load(Ordering::Relaxed);
        if now.0 < word >> COUNT_BITS {
            // The endpoint was tried during its backoff, because no other was left or by two workers at once. This adds
            // nothing.
            return;
        }
        let count = word & COUNT_MAX;
        let until = now.after(Span::from_secs(1 << count.min(DOUBLED_MAX)));
        let next = until.0 << COUNT_BITS | (count + 1).min(COUNT_MAX);
        // Of two failures at the same moment one counts.
        let _ = self.0.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Records an answer, which ends the backoff.
    pub fn record_success(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// Returns true if no failure is recorded. One atomic read.
    pub fn is_clear(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Returns true if the endpoint is to be passed over at `now` while other members are left.
    pub fn is_backing_off(&self, now: Time) -> bool {
        now.0 < self.0.load(Ordering::Relaxed) >> COUNT_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_further_failure_doubles_the_backoff_until_an_answer_ends_it() {
        let reach = ConnectBackoff::default();
        let mut now = Time(1_000);
        for seconds in [1, 2, 4, 8, 16, 32, 32, 32] {
            reach.record_failure(now);
            reach.record_failure(now.after(Span::from_millis(1)));
            let end = now.after(Span::from_secs(seconds));
            assert!(reach.is_backing_off(Time(end.0 - 1)) && !reach.is_backing_off(end), "{seconds}");
            now = end;
        }
        reach.record_success();
        assert!(reach.is_clear() && !reach.is_backing_off(now));
        reach.record_failure(now);
        assert!(!reach.is_backing_off(now.after(Span::from_secs(1))));
    }
}
