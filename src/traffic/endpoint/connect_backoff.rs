//! True if connections to an endpoint come about, learned from the requests themselves.
//!
//! Checks need a minute to find a dead instance; until then retries would have to bear half of a pool's traffic. So an
//! endpoint that could not be connected to is passed over for a second, for twice as long each time it fails again, for
//! half a minute at most. What it is not: a refusal. Where no other member is left it is tried as ever.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::{Span, Time};

/// Shared by all workers.
#[derive(Debug, Default)]
pub struct ConnectBackoff(AtomicU64);

/// The last bits count failures in a row, those before say until when it is passed over. 0: nothing is against it.
const COUNT_BITS: u32 = 3;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const DOUBLED_MAX: u64 = 5;

impl ConnectBackoff {
    /// No connection came about.
    pub fn record_failure(&self, now: Time) {
        let word = self.0.load(Ordering::Relaxed);
        if now.0 < word >> COUNT_BITS {
            // Tried before its time, for want of others, or at the same time by another: that says nothing new.
            return;
        }
        let count = word & COUNT_MAX;
        let until = now.after(Span::from_secs(1 << count.min(DOUBLED_MAX)));
        let next = until.0 << COUNT_BITS | (count + 1).min(COUNT_MAX);
        // Where two fail at once, one of them counts.
        let _ = self.0.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// It answered.
    pub fn record_success(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// True if nothing is against it. One atomic read.
    pub fn is_clear(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// True if it is to be passed over while there are others.
    pub fn is_backing_off(&self, now: Time) -> bool {
        now.0 < self.0.load(Ordering::Relaxed) >> COUNT_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_again_is_passed_over_for_longer_until_it_answers() {
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
