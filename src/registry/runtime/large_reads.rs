//! Bounds large answers: their memory while they wait to be read, and the control threads while they are made.
//!
//! A session may have 200,000 routes, and an answer that lists them is built in memory at once. Small sessions are not
//! counted. The large answers are made one at a time, in a blocking section, so that other callers do not wait for
//! them.

use crate::domain::{Error, Kind, SessionId, SessionKey, Subject, Target};
use crate::lifecycle;

use crate::registry::calls::{Query, entries};
use crate::registry::queries::answer::Answer;

use super::large_read_permits::{AT_ONCE_MAX, LargeReadPermit};
use super::registry::Registry;

/// The number of entries from which on the answers of a session are large.
const ENTRIES_MIN: usize = 2_000;
/// The number of large answers, of all sessions, that are made at the same time. Each occupies a processor.
pub(super) const LONG_AT_ONCE_MAX: usize = 1;

impl Registry {
    /// Returns a permit for a large answer about a session, as [`Registry::permit_large_read_of`] does.
    ///
    /// # Errors
    /// The same.
    pub fn permit_large_read(&self, session: &SessionId) -> Result<Option<LargeReadPermit>, Error> {
        self.permit_large_read_of(&session.clone().into())
    }

    /// Returns a permit for a large answer with a session's routes, configuration or statistics; `None` if the session
    /// is not large. Ask for it before the answer is made, and keep it until the answer has been read.
    ///
    /// # Errors
    /// `NotFound` when there is no such session, `Limited` when too many of its large answers are under way.
    pub fn permit_large_read_of(&self, subject: &Subject) -> Result<Option<LargeReadPermit>, Error> {
        let catalog = self.catalog();
        let session = catalog.subject(subject)?;
        if entries(session) < ENTRIES_MIN {
            return Ok(None);
        }
        self.large_reads.begin(session.key).map(Some).ok_or_else(|| {
            let message = format!("{AT_ONCE_MAX} large answers of this session are under way; read them first");
            Error::new(Kind::Limited, message)
        })
    }

    /// Returns a permit for an answer with a revision, as [`Registry::permit_large_read_of`] does; `None` also for an
    /// instance that has revisions and no session.
    ///
    /// # Errors
    /// `Limited` when too many large answers of the instance are under way.
    pub fn permit_revision_read(&self, of: &Subject) -> Result<Option<LargeReadPermit>, Error> {
        match self.permit_large_read_of(of) {
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            permit => permit,
        }
    }

    /// Returns a permit for an export, which is large whatever it holds: it lists the sessions of all.
    ///
    /// # Errors
    /// `Limited` when too many exports are under way.
    pub fn permit_export(&self) -> Result<LargeReadPermit, Error> {
        self.large_reads
            .begin(SessionKey::NONE)
            .ok_or_else(|| Error::new(Kind::Limited, format!("{AT_ONCE_MAX} exports are under way; read them first")))
    }

    /// Answers a query as [`Registry::answer`] does and returns the result of `view`. It runs [as
    /// a long read](Registry::run_long_read) if the session is large and the answer grows with it.
    pub async fn answer_as<T>(&self, query: &Query, view: impl FnOnce(Result<Answer, Error>) -> T) -> T {
        let work = || view(self.answer(query));
        if query.grows_with_its_session() && self.is_large(query.session()) {
            self.run_long_read(work).await
        } else {
            work()
        }
    }

    /// Runs work that reads a large part of the catalog: after the work that waits already, and in a blocking section.
    pub async fn run_long_read<T>(&self, work: impl FnOnce() -> T) -> T {
        // The semaphore is never closed. An error would only start the work earlier.
        let _turn = self.long_turns.acquire().await;
        lifecycle::run_blocking(work)
    }

    fn is_large(&self, session: &SessionId) -> bool {
        let catalog = self.published.load();
        let Ok(session) = catalog.session(session.reveal()) else { return false };
        // The session that this one replaces is counted too, because the first apply ends it.
        let replaced = catalog.replaced_of(&session.record).and_then(|key| catalog.by_key(key));
        entries(session) + replaced.map_or(0, |replaced| entries(replaced)) >= ENTRIES_MIN
    }

    /// Returns a lower bound of the entries that the answer to a query lists, without making the answer.
    pub fn fewest_entries(&self, query: &Query) -> usize {
        // Most queries are pings, which need no look at the session.
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
