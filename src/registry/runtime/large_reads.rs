//! Bounds what large answers take: of memory while they wait to be read, and of the control threads while they are made.
//!
//! A session may have 200,000 routes, and an answer that lists them is put together whole. Small sessions are never
//! counted; a large one hurts itself alone: its answers are made one at a time, beside the threads that answer others.

use crate::domain::{Error, Kind, SessionId, Target};
use crate::lifecycle;

use crate::registry::calls::{Query, entries};
use crate::registry::queries::answer::Answer;

use super::large_read_permits::{AT_ONCE_MAX, LargeReadPermit};
use super::registry::Registry;

/// From how many entries on a session's answers are large.
const ENTRIES_MIN: usize = 2_000;
/// Large answers, of all sessions, that are put together at once: each takes a processor.
pub(super) const LONG_AT_ONCE_MAX: usize = 1;

impl Registry {
    /// To be asked before a session's routes, configuration or statistics are put together whole, and kept until the
    /// answer has been read; nothing for a session that is not large.
    ///
    /// # Errors
    /// `NotFound` when there is no such session, `Limited` when too many of its large answers are under way.
    pub fn permit_large_read(&self, session: &SessionId) -> Result<Option<LargeReadPermit>, Error> {
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
        // The session that its first apply ends is counted too.
        let replaced = catalog.replaced_of(&session.record).and_then(|key| catalog.by_key(key));
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
            Query::StatsGet(stats) if stats.target == Target::All => session.active.routes.len(),
            _ => 0,
        }
    }
}
