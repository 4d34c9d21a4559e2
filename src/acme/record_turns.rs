//! Turns at a TXT record: a name and its wildcard have the same one, and the hook may keep only its latest value.
//!
//! Invariant: a record has one proof at a time; the turns of a record are forgotten once nobody has or wants one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// The turns at all records. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordTurns(Arc<Mutex<HashMap<String, Weak<Turn<()>>>>>);

impl RecordTurns {
    /// Waits for the turn at a record, which lasts until the value is dropped.
    pub(super) async fn take(&self, record: &str) -> OwnedMutexGuard<()> {
        self.of(record).lock_owned().await
    }

    fn of(&self, record: &str) -> Arc<Turn<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        let known = turns.get(record).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let new = Arc::new(Turn::default());
            turns.insert(record.to_owned(), Arc::downgrade(&new));
            new
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_record_has_one_proof_at_a_time_and_others_do_not_wait_for_it() {
        let turns = RecordTurns::default();
        let first = turns.take("_acme-challenge.a.example").now_or_never().unwrap();
        assert!(turns.take("_acme-challenge.a.example").now_or_never().is_none());
        let other = turns.take("_acme-challenge.b.example").now_or_never();
        assert!(other.is_some());
        drop(first);
        assert!(turns.clone().take("_acme-challenge.a.example").now_or_never().is_some());
        drop(other);
        drop(turns.take("_acme-challenge.c.example").now_or_never());
        assert_eq!(turns.0.lock().unwrap().len(), 1, "those that nobody wants are forgotten");
    }
}
