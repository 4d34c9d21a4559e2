//! Checks after a batch, in debug and test builds, that catalog, indexes, counts, store and deadlines agree.
//!
//! A large catalog is checked only once in many batches, because a check reads every route. Of the store the counts are
//! compared, and the rows of the sessions that the batch changed, unless they have many.

use std::collections::BTreeSet;

use crate::domain::{Catalog, SessionKey};
use crate::registry::calls::entries;
use crate::registry::ports::Store;

use super::deadlines::Deadlines;

/// A catalog with more sessions and routes than this is large.
const SMALL_MAX: usize = 1_000;
/// The most sessions and entries of theirs whose stored rows are compared after a batch.
const COMPARED_MAX: usize = 100;
/// The number of batches after which a large catalog is checked.
const BATCHES_PER_SWEEP: u64 = 512;

/// The counter of batches, for the checks of a large catalog.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    batches: u64,
}

impl Sweep {
    /// Checks the result of a batch on the catalog `before`. Release builds check nothing.
    ///
    /// # Panics
    /// In debug and test builds, if something disagrees.
    pub(super) fn check(&mut self, before: &Catalog, catalog: &Catalog, deadlines: &Deadlines) {
        if !cfg!(debug_assertions) {
            return;
        }
        self.batches += 1;
        debug_assert!(before.revision() <= catalog.revision(), "the revision went back");
        if self.is_due(catalog) {
            debug_assert_eq!(catalog.disagreement().or_else(|| deadlines.disagreement(catalog)), None);
        }
    }

    /// Compares the store with `catalog` after a commit that changed the sessions `keys`. Release builds compare
    /// nothing.
    ///
    /// # Panics
    /// In debug and test builds, if something disagrees.
    pub(super) async fn check_store(
        &self,
        store: &mut impl Store,
        catalog: &Catalog,
        keys: impl Iterator<Item = SessionKey>,
    ) {
        if !cfg!(debug_assertions) || !self.is_due(catalog) {
            return;
        }
        let mut keys: BTreeSet<SessionKey> = keys.collect();
        let rows: usize = keys.iter().map(|key| 1 + catalog.by_key(*key).map_or(0, |session| entries(session))).sum();
        if rows > COMPARED_MAX {
            keys.clear();
        }
        debug_assert_eq!(store.disagreement(catalog, &keys).await, None, "the store differs from the catalog");
    }

    fn is_due(&self, catalog: &Catalog) -> bool {
        let is_small = catalog.sessions_len() + catalog.routes_len() <= SMALL_MAX;
        is_small || self.batches.is_multiple_of(BATCHES_PER_SWEEP)
    }
}
