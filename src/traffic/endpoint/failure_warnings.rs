//! The limit on warnings about the backends of one instance that fail requests.
//!
//! All routes of the instance share it, and it stays over applies: a backend is one, however many routes lead to it. Invariants: of many
//! failures of one backend in a row one in [`WARN_EVERY`] is warned of; at most [`BACKENDS_MAX`] backends are told apart.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::{Span, Time};

/// The shortest time between two warnings about one backend.
const WARN_EVERY: Span = Span::from_secs(10);
/// The most backends that are told apart; further ones share the warnings of [`OTHERS`].
const BACKENDS_MAX: usize = 1_000;
/// The key of the backends that have no place of their own.
const OTHERS: u64 = u64::MAX;

/// The limit on warnings about the backends of one instance.
#[derive(Debug, Default)]
pub struct FailureWarnings(Mutex<WarnedBackends>);

#[derive(Debug, Default)]
struct WarnedBackends {
    by_hash: BTreeMap<u64, Warned>,
    /// The time at which backends without recent warnings last lost their places.
    pruned: Option<Time>,
}

#[derive(Debug)]
struct Warned {
    last: Time,
    /// The failures since then.
    unwarned: u64,
}

impl FailureWarnings {
    /// Returns the number of failures of a backend since the last warning about it, if another warning is due at `now`. Every call
    /// counts as a failure. `backend` is what [`super::origin_hash`] returns.
    pub fn warns(&self, backend: u64, now: Time) -> Option<u64> {
        // No code panics while it holds the lock.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = known.place_of(backend, now);
        let Some(warned) = known.by_hash.get_mut(&place) else {
            known.by_hash.insert(place, Warned { last: now, unwarned: 0 });
            return Some(1);
        };
        warned.unwarned += 1;
        if now.since(warned.last) < WARN_EVERY {
            return None;
        }
        warned.last = now;
        Some(std::mem::take(&mut warned.unwarned))
    }
}

impl WarnedBackends {
    /// Returns the key under which a backend is counted.
    fn place_of(&mut self, backend: u64, now: Time) -> u64 {
        if self.by_hash.contains_key(&backend) || self.by_hash.len() < BACKENDS_MAX {
            return backend;
        }
        // Seldom, because it looks at all places.
        if self.pruned.is_none_or(|pruned| now.since(pruned) >= WARN_EVERY) {
            self.pruned = Some(now);
            self.by_hash.retain(|_, warned| now.since(warned.last) < WARN_EVERY);
        }
        if self.by_hash.len() < BACKENDS_MAX { backend } else { OTHERS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_failures_of_a_backend_is_warned_of_with_their_number() {
        let warnings = FailureWarnings::default();
        let warned: Vec<Option<u64>> = [0, 1, 9_999, 10_000, 10_001].map(|ms| warnings.warns(7, Time(ms))).into();
        assert_eq!(warned, [Some(1), None, None, Some(3), None]);
        assert_eq!(warnings.warns(8, Time(10_002)), Some(1), "another backend has warnings of its own");
    }

    #[test]
    fn more_backends_than_there_are_places_share_the_last_one() {
        let warnings = FailureWarnings::default();
        let count = |at: u64| (0..5_000).filter(|backend| warnings.warns(*backend, Time(at)).is_some()).count();
        assert_eq!(count(1), BACKENDS_MAX + 1);
        assert_eq!(count(2), 0);
        assert_eq!(count(10_001), BACKENDS_MAX + 1, "they are warned of again");
        let places = warnings.0.lock().unwrap().by_hash.len();
        assert_eq!(places, BACKENDS_MAX + 1);
        let later = Time(60_000);
        assert_eq!(warnings.warns(4_999, later), Some(1), "places without recent warnings are free again");
        assert_eq!(warnings.0.lock().unwrap().by_hash.len(), 1);
    }
}
