//! The counts of calls that the writer does not decide: queries, and commands that are refused before they reach it.
//!
//! The interfaces count them, each call once. Invariant: the writer never waits for these counts.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock;
use crate::domain::Kind;
use crate::registry::audit::CallOrigin;
use crate::registry::call_names::is_query;

use super::registry::Registry;
use super::writer_counts::{EndedCommand, OK};

/// Calls by name and outcome.
pub(super) type CountedCalls = BTreeMap<(&'static str, &'static str), u64>;

/// The counts of calls that the writer does not decide.
#[derive(Debug, Default)]
pub(super) struct CallCounts(Mutex<CountedCalls>);

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
    /// Adds these counts to others.
    pub(super) fn add_to(&self, calls: &mut CountedCalls) {
        self.lock().iter().for_each(|(key, count)| *calls.entry(*key).or_default() += count);
    }

    fn lock(&self) -> MutexGuard<'_, CountedCalls> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Counts the queries of a tally, and empties it.
    pub fn count_queries(&self, tally: &mut QueryTally) {
        if tally.0.is_empty() {
            return;
        }
        let mut calls = self.calls.lock();
        tally.0.drain(..).for_each(|(name, count)| *calls.entry((name, OK)).or_default() += count);
    }

    /// Counts a call, unless the writer has decided on it. `name` is what [`crate::registry::call_name`] returns, or
    /// [`crate::registry::OTHER_CALL`]. The observer of commands learns of a command that was refused.
    pub fn count_call(&self, name: &'static str, origin: &CallOrigin, outcome: Result<(), Kind>) {
        if origin.mark.is_set() {
            return;
        }
        let word = outcome.err().map_or(OK, Kind::word);
        *self.calls.lock().entry((name, word)).or_default() += 1;
        if outcome.is_err() && !is_query(name) {
            let (revision, began) = (self.published.load().revision(), clock::instant());
            self.counts.tell(&EndedCommand { name, origin, outcome: word, revision, began });
        }
    }
}
