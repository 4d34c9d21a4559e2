//! The last request that an endpoint's backend failed, and the limit on warnings about it.
//!
//! Invariants: an endpoint that never failed has no memory for it; of many failures in a row one in [`WARN_EVERY`] is warned of.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::domain::{Span, Time};

/// The shortest time between two warnings about one endpoint.
const WARN_EVERY: Span = Span::from_secs(10);

/// The last failure of an endpoint.
#[derive(Debug, Default)]
pub struct LastFailure(OnceLock<Box<Mutex<FailureNotes>>>);

#[derive(Debug, Default)]
struct FailureNotes {
    last: Option<(Time, Arc<str>)>,
    warned: Option<Time>,
    unwarned: u64,
}

impl LastFailure {
    /// Notes a request that failed at `now` for this reason.
    pub fn note(&self, now: Time, reason: &str) {
        self.change(|notes| notes.last = Some((now, reason.into())));
    }

    /// Returns the number of failures since the last warning if another warning is due at `now`. Every call counts as a failure.
    pub fn warns(&self, now: Time) -> Option<u64> {
        self.change(|notes| {
            notes.unwarned += 1;
            if notes.warned.is_some_and(|warned| now.since(warned) < WARN_EVERY) {
                return None;
            }
            notes.warned = Some(now);
            Some(std::mem::take(&mut notes.unwarned))
        })
    }

    /// Returns the time and the reason of the last failure.
    pub fn last(&self) -> Option<(Time, Arc<str>)> {
        self.0.get()?.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
    }

    fn change<T>(&self, edit: impl FnOnce(&mut FailureNotes) -> T) -> T {
        // No code panics while it holds the lock.
        edit(&mut self.0.get_or_init(Box::default).lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_failures_is_warned_of_with_their_number() {
        let failures = LastFailure::default();
        assert_eq!(failures.last(), None);
        let warned: Vec<Option<u64>> = [0, 1, 9_999, 10_000, 10_001].map(|ms| failures.warns(Time(ms))).into();
        assert_eq!(warned, [Some(1), None, None, Some(3), None]);
        failures.note(Time(7), "it broke");
        assert_eq!(failures.last(), Some((Time(7), "it broke".into())));
    }
}
