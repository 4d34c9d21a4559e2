//! Checks after a batch, in debug and test builds, that catalog, indexes, counts and deadlines agree.
//!
//! A large catalog is checked only once in many batches, because a check reads every route.

use crate::domain::Catalog;

use super::deadlines::Deadlines;

/// A catalog with more sessions and routes than this is large.
const SMALL_MAX: usize = 1_000;
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
        let is_small = catalog.sessions_len() + catalog.routes_len() <= SMALL_MAX;
        if is_small || self.batches.is_multiple_of(BATCHES_PER_SWEEP) {
            debug_assert_eq!(catalog.disagreement().or_else(|| deadlines.disagreement(catalog)), None);
        }
    }
}
