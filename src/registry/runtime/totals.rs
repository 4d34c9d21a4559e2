//! The counts and the state of the registry, for metrics.
//!
//! Invariant: a reader holds up the writer for no longer than it takes to copy a few numbers.

use crate::clock;
use crate::domain::{Kind, Session};
use crate::registry::audit::CallOrigin;
use crate::registry::call_names::is_query;

use super::call_counts::QueryTally;
use super::event_stream::STREAMS_COUNTED_MAX;
use super::registry::Registry;
use super::writer_counts::{CommandObserver, EndedCommand, OK, WriterTotals};

/// The counts and the state of the registry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegistryTotals {
    /// The work of the writer, with the calls that were refused or answered before it.
    pub writer: WriterTotals,
    /// The number of sessions.
    pub sessions: usize,
    /// The number of sessions with a connection.
    pub sessions_connected: usize,
    /// The number of sessions with changes that are not applied.
    pub sessions_staged: usize,
    /// The number of active routes.
    pub routes: usize,
    /// The number of callers that wait for the writer.
    pub waiting: usize,
    /// The number of open event streams.
    pub streams: usize,
    /// The number of times that a reader of events fell behind.
    pub lags: u64,
    /// The number of events that such readers missed.
    pub missed_events: u64,
}

impl Registry {
    /// Has a function called with each command of a caller from now on. Only the first call counts.
    pub fn observe_commands(&self, observer: CommandObserver) {
        self.counts.observe(observer);
    }

    /// Counts the queries of a tally, and empties it.
    pub fn count_queries(&self, tally: &mut QueryTally) {
        self.calls.add_queries(tally);
    }

    /// Counts a call, unless the writer has counted it. `name` is what [`crate::registry::call_name`] returns, or
    /// [`crate::registry::OTHER_CALL`]. The observer of commands learns of a command that was refused.
    pub fn count_call(&self, name: &'static str, origin: &CallOrigin, outcome: Result<(), Kind>) {
        if !origin.mark.interface_counts() {
            return;
        }
        let word = outcome.err().map_or(OK, Kind::word);
        self.calls.add(name, word);
        if outcome.is_err() && !is_query(name) {
            let (revision, began) = (self.published.load().revision(), clock::instant());
            self.counts.tell(&EndedCommand { name, origin, outcome: word, revision, began });
        }
    }

    /// Returns the counts and the state of the registry. It looks at every session.
    pub fn totals(&self) -> RegistryTotals {
        let catalog = self.catalog();
        let (lags, missed_events) = self.hub.lags();
        let mut writer = self.counts.totals();
        self.calls.add_to(&mut writer.commands);
        let count = |which: fn(&Session) -> bool| catalog.sessions().filter(|session| which(session)).count();
        RegistryTotals {
            writer,
            sessions: catalog.sessions_len(),
            sessions_connected: count(|session| session.bound.is_some()),
            sessions_staged: count(|session| session.staged.is_some()),
            routes: catalog.routes_len(),
            waiting: self.mailbox.max_capacity() - self.mailbox.capacity(),
            streams: STREAMS_COUNTED_MAX - self.streams.available_permits(),
            lags,
            missed_events,
        }
    }
}
