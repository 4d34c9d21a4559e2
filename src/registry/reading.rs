//! Bounds what large answers take: of memory while they wait to be read, and of the control threads while they are made.
//!
//! A session may have 200,000 routes, and an answer that lists them is put together whole. Small sessions are never
//! counted; a large one hurts itself alone: its answers are made one at a time, beside the threads that answer others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::{Error, Kind, Session, SessionId, SessionKey};
use crate::lifecycle;

use super::{Answer, Query, Registry};

/// From how many entries on a session's answers are large.
const ENTRIES_MIN: usize = 2_000;
/// Large answers of one session that may be under way at once.
const AT_ONCE_MAX: usize = 4;
/// Large answers, of all sessions, that are put together at once: each takes a processor.
pub(super) const LONG_AT_ONCE_MAX: usize = 1;

/// Counts the entries of a session, in the larger of its configurations.
pub(super) fn entries(session: &Session) -> usize {
    let count = |config: &crate::domain::Config| config.routes.len() + config.settings_len();
    count(&session.active).max(count(session.edited()))
}

/// How many large answers of each session are under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Readings(Arc<Mutex<HashMap<SessionKey, usize>>>);

impl Readings {
    fn counts(&self) -> MutexGuard<'_, HashMap<SessionKey, usize>> {
        // No code panics while it holds the lock; were it to happen, the map is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, session: SessionKey) -> Option<Reading> {
        let mut counts = self.counts();
        let count = counts.entry(session).or_default();
        if *count >= AT_ONCE_MAX {
            return None;
        }
        *count += 1;
        Some(Reading { session, readings: self.clone() })
    }
}

/// A large answer that is under way; dropped once it has been read, or nobody will.
#[derive(Debug)]
pub struct Reading {
    session: SessionKey,
    readings: Readings,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut counts = self.readings.counts();
        if let Some(count) = counts.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.session);
            }
        }
    }
}

impl Registry {
    /// To be asked before a session's routes, configuration or statistics are put together whole, and kept until the
    /// answer has been read; nothing for a session that is not large.
    ///
    /// # Errors
    /// `NotFound` when there is no such session, `Limited` when too many of its large answers are under way.
    pub fn reading(&self, session: &SessionId) -> Result<Option<Reading>, Error> {
        let catalog = self.catalog();
        let session = catalog.session(session.reveal())?;
        if entries(session) < ENTRIES_MIN {
            return Ok(None);
        }
        self.readings.begin(session.key).map(Some).ok_or_else(|| {
            let message = format!("{AT_ONCE_MAX} large answers of this session are under way; read them first");
            Error::new(Kind::Limited, message)
        })
    }

    /// Answers a query as [`Registry::answer`] does and makes of it what `view` says; [at length](Registry::at_length)
    /// where that grows with the session and the session is large.
    pub async fn answer_as<T>(&self, query: &Query, view: impl FnOnce(Result<Answer, Error>) -> T) -> T {
        let work = || view(self.answer(query));
        if query.grows_with_its_session() && self.is_large(query.session()) {
            self.at_length(work).await
        } else {
            work()
        }
    }

    /// Does what walks through everything, or through a large session: in its turn, and while the thread's other tasks go on.
    pub async fn at_length<T>(&self, work: impl FnOnce() -> T) -> T {
        // It is never closed; were it, the work would only begin earlier.
        let _turn = self.long_turns.acquire().await;
        lifecycle::at_length(work)
    }

    fn is_large(&self, session: &SessionId) -> bool {
        let catalog = self.published.load();
        let Ok(session) = catalog.session(session.reveal()) else { return false };
        // What goes with its first apply is looked at too.
        let replaced = catalog.replaced_of(&session.head).and_then(|key| catalog.by_key(key));
        entries(session) + replaced.map_or(0, |replaced| entries(replaced)) >= ENTRIES_MIN
    }

    /// Counts the entries that the answer to a query lists at least, without making it.
    pub fn fewest_entries(&self, query: &Query) -> usize {
        // Most queries are pings: the session is not looked up for them.
        if !query.grows_with_its_session() {
            return 0;
        }
        let catalog = self.published.load();
        let Ok(session) = catalog.session(query.session().reveal()) else { return 0 };
        match query {
            Query::RouteList(_) => session.active.routes.len().max(session.edited().routes.len()),
            Query::StatsGet(stats) if stats.target == crate::domain::Target::All => session.active.routes.len(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_so_many_large_answers_under_way_and_others_do_not_count() {
        let readings = Readings::default();
        let mut held: Vec<_> = (0..AT_ONCE_MAX).map(|_| readings.begin(SessionKey(1)).unwrap()).collect();
        assert!(readings.begin(SessionKey(1)).is_none() && readings.begin(SessionKey(2)).is_some());
        held.pop();
        held.push(readings.begin(SessionKey(1)).unwrap());
        drop(held);
        assert!(readings.counts().is_empty(), "nothing is kept of those that are over");
    }
}
