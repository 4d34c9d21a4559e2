//! The counts of calls that the writer does not decide: queries, and commands that are refused before they reach it.
//!
//! The interfaces count them, each call once. Invariant: the writer never waits for these counts.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::writer_counts::OK;

/// Calls by name and outcome.
pub(super) type CallTotals = BTreeMap<(&'static str, &'static str), u64>;

/// The counts of calls that the writer does not decide.
#[derive(Debug, Default)]
pub(super) struct CallCounts(Mutex<CallTotals>);

/// Answered queries of one caller that are counted together, so that a caller with many of them takes the lock seldom.
#[derive(Debug, Default)]
pub struct QueryTally(Vec<(&'static str, u64)>);

impl QueryTally {
    /// Adds a query that was answered.
    pub fn add(&mut self, name: &'static str) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => self.0.push((name, 1)),
        }
    }
}

impl CallCounts {
    /// Counts the queries of a tally, and empties it.
    pub(super) fn add_queries(&self, tally: &mut QueryTally) {
        if tally.0.is_empty() {
            return;
        }
        let mut calls = self.lock();
        tally.0.drain(..).for_each(|(name, count)| *calls.entry((name, OK)).or_default() += count);
    }

    /// Counts a call.
    pub(super) fn add(&self, name: &'static str, outcome: &'static str) {
        *self.lock().entry((name, outcome)).or_default() += 1;
    }

    /// Adds these counts to others.
    pub(super) fn add_to(&self, calls: &mut CallTotals) {
        self.lock().iter().for_each(|(key, count)| *calls.entry(*key).or_default() += count);
    }

    fn lock(&self) -> MutexGuard<'_, CallTotals> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
