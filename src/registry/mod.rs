//! Decides on commands, keeps the catalog, and runs the one task that changes it.
//!
//! A command's life: [`Registry::execute`] → mailbox → `decide` on a draft → the draft absorbs the changes →
//! one commit for the whole batch → publish → answer. A query is answered from what is published, without queueing.
//! Nothing here does IO: the store, the routing table and the backends stand behind the traits in `ports`.

pub mod calls;
pub mod config;
mod deadlines;
pub mod explain;
mod follow;
pub mod grants;
mod history;
pub mod observe;
pub mod operations;
pub mod oversight;
mod ports;
mod probes;
mod reading;
mod ready;
pub mod routes;
pub mod sessions;
pub mod settings;
mod skew;
mod takeover;
mod verify;
pub mod views;
mod watch;
mod writer;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::clock;
use crate::domain::{Catalog, ConnectionId, Error, Forbidden, HealthPath, Kind, Options, PageUrl, Session, Span, Time};

pub use crate::clock::Reading as ClockReading;
pub use calls::{Answer, Call, Command, Query, Reply};
pub use follow::{Follow, Item};
pub use grants::{Grant, Grants};
pub use operations::Verification;
pub use ports::{Boxed, Fetched, Loaded, Publish, Store, StoreError, Traffic, Trust};
pub use reading::Reading;
pub use watch::{Listener, Outbox, Release, Told};
pub use writer::{Writer, open};

use operations::BackendTest;
use views::BackendView;
use watch::Watch;

/// The bounds of the registry. Each has a reply that says so when it is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The time that a session lives without connection and command, and replaced routes serve.
    pub grace: Span,
    /// The time that staged changes live untouched.
    pub staged_ttl: Span,
    /// Sessions, replaced ones included.
    pub sessions_max: usize,
    /// Sessions of one client address; `None` where addresses are not counted.
    pub sessions_per_origin_max: Option<usize>,
    /// Routes that one session may have, active or staged.
    pub routes_per_session_max: usize,
    /// Headers, options, checks, limits and breakers that one session may have.
    pub settings_per_session_max: usize,
    /// Maintenance requests of one session that wait for their outcome.
    pub pending_per_session_max: usize,
    /// Streams of events at once, over all typed doors.
    pub streams_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            grace: Span::from_secs(5 * 60),
            staged_ttl: Span::from_secs(30 * 60),
            sessions_max: 20_000,
            sessions_per_origin_max: Some(5_000),
            routes_per_session_max: 200_000,
            settings_per_session_max: 200_000,
            pending_per_session_max: 64,
            streams_max: 10_000,
        }
    }
}

/// Commands of one caller that wait for the writer, and where their answers go.
struct Waiting {
    commands: Vec<Command>,
    answer: oneshot::Sender<Vec<Result<Reply, Error>>>,
}

impl Waiting {
    /// Where it stands in its batch: what traffic saw before all that may replace it.
    fn place(&self) -> bool {
        !matches!(self.commands.first(), Some(Command::Observe(_)))
    }
}

/// The registry as the doors see it. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    mailbox: mpsc::Sender<Waiting>,
    published: Arc<ArcSwap<Catalog>>,
    traffic: Arc<dyn Traffic>,
    watch: Arc<Watch>,
    streams: Arc<Semaphore>,
    streams_max: usize,
    long_turns: Arc<Semaphore>,
    grants: Grants,
    forbidden: Forbidden,
    /// The options where a session sets none.
    defaults: Arc<Options>,
    started: Time,
    readings: reading::Readings,
    probes: probes::Probes,
    asking: mpsc::Sender<ready::Asked>,
}

impl Registry {
    /// Has commands decided, in this order and in one commit; returns once their effects are stored and published.
    /// There are as many answers as commands.
    pub async fn execute(&self, commands: Vec<Command>) -> Vec<Result<Reply, Error>> {
        let count = commands.len();
        let (answer, answered) = oneshot::channel();
        if self.mailbox.send(Waiting { commands, answer }).await.is_err() {
            return vec![Err(stopping()); count];
        }
        let answers = answered.await.unwrap_or_else(|_| vec![Err(stopping()); count]);
        answers.into_iter().map(|answer| answer.map(on_the_wall)).collect()
    }

    /// Has one command decided, as [`Registry::execute`] does.
    ///
    /// # Errors
    /// The command's refusal.
    pub async fn execute_one(&self, command: Command) -> Result<Reply, Error> {
        self.execute(vec![command]).await.pop().unwrap_or_else(|| Err(stopping()))
    }

    /// Answers a query from the published catalog.
    ///
    /// # Errors
    /// The query's refusal.
    pub fn answer(&self, query: &Query) -> Result<Answer, Error> {
        let mut answer = query.answer(&self.published.load(), clock::now(), &self.grants, &*self.traffic)?;
        if let Answer::Drain(view) = &mut answer {
            view.started_at = clock::on_the_wall(view.started_at);
        }
        Ok(answer)
    }

    /// Tries a backend, for 5 s at most.
    ///
    /// # Errors
    /// `NotFound` when the session does not exist, `Denied` or `Invalid` when the backend must not be tried, `Limited` when too many
    /// probes are under way. That the backend does not answer is no error.
    pub async fn test_backend(&self, test: &BackendTest) -> Result<BackendView, Error> {
        self.answer(&Query::Ping(test.session.clone()))?;
        let backend = match &test.backend {
            Ok(backend) => backend,
            Err(no_url) => {
                return Ok(BackendView::Unreachable { reachable: false, error: no_url.message().to_owned() });
            }
        };
        let allowed = |session: &Session| self.grants.of(&session.head)?.map_or(Ok(()), |grant| grant.reaches(backend));
        let catalog = self.catalog();
        let session = catalog.session(test.session.reveal())?;
        allowed(session)?;
        self.forbidden.check_url("backend_url", backend)?;
        let _place = self.probes.begin(session.key)?;
        let page = PageUrl::of_backend(backend, &HealthPath::root());
        Ok(match self.traffic.get(session.key, &page, Span::from_secs(5), Trust::Reported).await {
            Ok(fetched) => BackendView::Reachable {
                reachable: true,
                response_time_ms: fetched.took.millis(),
                status_code: fetched.status,
                tls_valid: fetched.tls_valid,
            },
            Err(error) => BackendView::Unreachable { reachable: false, error },
        })
    }

    /// Waits for the outcome of an accepted maintenance request, 60 s at most.
    ///
    /// # Errors
    /// If what it waits for does not answer in time, or a newer request cancels it.
    pub async fn verify(&self, verification: &Verification) -> Result<(), Error> {
        verify::run(self, verification).await
    }

    /// Takes up the maintenance requests that waited when the server ended. To be called before the first command; each of the tasks
    /// is to be run by itself.
    pub fn resume(&self) -> Vec<impl Future<Output = ()> + Send + use<>> {
        verify::resume(self)
    }

    /// The latest published catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.published.load_full()
    }

    /// Gives a connection of the line protocol its number and what is told to it. Dropping the outbox takes both back.
    pub fn attach(&self) -> Outbox {
        self.watch.attach(Listener::Pipe)
    }

    /// True if the server stops: no new work should come.
    pub fn is_stopping(&self) -> bool {
        self.watch.progress().borrow().stopping
    }

    /// Waits until the server has been told to stop.
    pub async fn until_stopping(&self) {
        // There is always somebody who could tell: the sender lives as long as this handle.
        let _ = self.watch.progress().wait_for(|progress| progress.stopping).await;
    }

    /// Tells every stream, and every connection that is bound to a session, that the server stops.
    pub fn tell_shutdown(&self) {
        self.watch.stop();
        let catalog = self.published.load();
        let bound = catalog.sessions().filter_map(|session| session.bound);
        bound.for_each(|connection: ConnectionId| self.watch.tell(connection, &Told::Shutdown));
    }
}

/// Says when a drain ends by the system clock as it is now: the client has it set like that too.
fn on_the_wall(reply: Reply) -> Reply {
    match reply {
        Reply::DrainUntil(end) => Reply::DrainUntil(clock::on_the_wall(end)),
        other => other,
    }
}

fn stopping() -> Error {
    Error::new(Kind::Unavailable, "the server is stopping")
}

#[cfg(test)]
mod tests;
