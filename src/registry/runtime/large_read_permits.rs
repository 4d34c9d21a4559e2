//! Permits for large answers. Each session may have a few of them under way at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::SessionKey;

/// The number of large answers of one session that may be under way.
pub(super) const AT_ONCE_MAX: usize = 4;

/// The number of large answers under way, for each session.
#[derive(Clone, Debug, Default)]
pub(super) struct LargeReads(Arc<Mutex<HashMap<SessionKey, usize>>>);

impl LargeReads {
    fn counts(&self) -> MutexGuard<'_, HashMap<SessionKey, usize>> {
        // No code panics while it holds the lock, so a poisoned lock still guards a consistent map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, session: SessionKey) -> Option<LargeReadPermit> {
        let mut counts = self.counts();
        let count = counts.entry(session).or_default();
        if *count >= AT_ONCE_MAX {
            return None;
        }
        *count += 1;
        Some(LargeReadPermit { session, large_reads: self.clone() })
    }
}

/// A permit for a large answer. It is dropped once the answer has been read or abandoned.
#[derive(Debug)]
pub struct LargeReadPermit {
    session: SessionKey,
    large_reads: LargeReads,
}

impl Drop for LargeReadPermit {
    fn drop(&mut self) {
        let mut counts = self.large_reads.counts();
        if let Some(count) = counts.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_so_many_large_answers_under_way_and_others_do_not_count() {
        let large_reads = LargeReads::default();
        let mut held: Vec<_> = (0..AT_ONCE_MAX).map(|_| large_reads.begin(SessionKey(1)).unwrap()).collect();
        assert!(large_reads.begin(SessionKey(1)).is_none() && large_reads.begin(SessionKey(2)).is_some());
        held.pop();
        held.push(large_reads.begin(SessionKey(1)).unwrap());
        drop(held);
        assert!(large_reads.counts().is_empty(), "nothing is kept of those that are over");
    }
}
