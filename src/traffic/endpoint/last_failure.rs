//! The last request that an endpoint's backend failed.
//!
//! Invariant: an endpoint that never failed has no memory for it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::domain::Time;

/// The last failure of an endpoint.
#[derive(Debug, Default)]
pub struct LastFailure(OnceLock<Box<Mutex<FailureNote>>>);

type FailureNote = Option<(Time, Arc<str>)>;

impl LastFailure {
    /// Notes a request that failed at `now` for this reason.
    pub fn note(&self, now: Time, reason: &str) {
        // No code panics while it holds the lock.
        *self.0.get_or_init(Box::default).lock().unwrap_or_else(PoisonError::into_inner) = Some((now, reason.into()));
    }

    /// Returns the time and the reason of the last failure.
    pub fn last(&self) -> Option<(Time, Arc<str>)> {
        self.0.get()?.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failure_is_kept_with_its_reason() {
        let failures = LastFailure::default();
        assert_eq!(failures.last(), None);
        failures.note(Time(6), "it was slow");
        failures.note(Time(7), "it broke");
        assert_eq!(failures.last(), Some((Time(7), "it broke".into())));
    }
}
