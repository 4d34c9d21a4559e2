//! The registry for the interfaces: a handle to the published catalog and to the writer's queue.
//!
//! Invariant: [`Registry::execute`] returns only replies whose changes are stored and published.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use crate::clock;
use crate::domain::{Catalog, ConnectionId, Edit, Error, Kind, Time};

use crate::registry::audit::CallOrigin;
use crate::registry::calls::{Command, CommandCall, Query, QueryCall};
use crate::registry::commands::decision::Reply;
use crate::registry::ports::{AuditChunk, AuditRead, EntriesRead, RevisionsRead, StoreError, Traffic};
use crate::registry::queries::answer::Answer;
use crate::registry::revisions::RevisionView;
use crate::registry::rules::RegistryRules;
use crate::registry::server_state::ServerState;

use super::call_counts::CallCounts;
use super::event_hub::{EventHub, Mailbox, MailboxKind, MailboxMessage};
use super::large_read_permits::LargeReads;
use super::probe_permits::ProbePermits;
use super::snapshot::Snapshots;
use super::writer_counts::WriterCounts;

/// Commands of one caller that wait for the writer, with the channel for their replies.
pub(crate) struct QueuedCommands {
    pub(super) origin: CallOrigin,
    pub(super) commands: Vec<Command>,
    pub(super) answer: oneshot::Sender<Vec<Result<Reply, Error>>>,
}

impl QueuedCommands {
    /// Returns the sort key within a batch: observations of traffic come before commands that may replace the observed
    /// backends.
    pub(super) fn sort_key(&self) -> bool {
        !matches!(self.commands.first(), Some(Command::Observe(_)))
    }
}

/// The channel for the answer of the writer; true means that changes can be stored.
pub(super) type StoreQuestion = oneshot::Sender<bool>;

/// A read of the store that waits for the writer, with the channel for its outcome.
pub(crate) enum QueuedRead {
    /// A step of a list of the audit.
    Audit(AuditRead, oneshot::Sender<Result<AuditChunk, StoreError>>),
    /// A step of a list of revisions.
    Revisions(RevisionsRead, oneshot::Sender<Result<Vec<RevisionView>, StoreError>>),
    /// A step of the configuration of a revision.
    Entries(EntriesRead, oneshot::Sender<Result<Option<Vec<Edit>>, StoreError>>),
}

/// New rules for the writer.
pub(super) struct NewRules {
    pub(super) rules: RegistryRules,
    /// True if traffic must be told of the whole catalog again.
    pub(super) republish: bool,
    pub(super) done: oneshot::Sender<()>,
}

/// The registry for the interfaces. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    pub(super) mailbox: mpsc::Sender<QueuedCommands>,
    pub(super) published: Arc<ArcSwap<Catalog>>,
    pub(super) traffic: Arc<dyn Traffic>,
    pub(super) hub: Arc<EventHub>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) long_turns: Arc<Semaphore>,
    pub(super) rules: Arc<ArcSwap<RegistryRules>>,
    pub(super) new_rules: mpsc::Sender<NewRules>,
    pub(super) server: Arc<ServerState>,
    pub(super) started: Time,
    pub(super) large_reads: LargeReads,
    pub(super) probes: ProbePermits,
    pub(super) store_questions: mpsc::Sender<StoreQuestion>,
    pub(super) counts: Arc<WriterCounts>,
    pub(super) calls: Arc<CallCounts>,
    pub(super) snapshots: Snapshots,
    pub(super) store_reads: mpsc::Sender<QueuedRead>,
    /// Wakes the task that watches guards.
    pub(super) guards: Arc<Notify>,
}

impl Registry {
    /// Executes commands of one caller in this order and in one commit. Returns once their changes are stored and
    /// published, with one reply for each command.
    pub async fn execute(&self, origin: CallOrigin, commands: Vec<Command>) -> Vec<Result<Reply, Error>> {
        let count = commands.len();
        let (answer, answered) = oneshot::channel();
        if self.mailbox.send(QueuedCommands { origin, commands, answer }).await.is_err() {
            return vec![Err(stopping()); count];
        }
        let answers = answered.await.unwrap_or_else(|_| vec![Err(stopping()); count]);
        answers.into_iter().map(|answer| answer.map(in_wall_time)).collect()
    }

    /// Executes one command, as [`Registry::execute`] does.
    ///
    /// # Errors
    /// The command's refusal.
    pub async fn execute_one(&self, origin: CallOrigin, command: Command) -> Result<Reply, Error> {
        self.execute(origin, vec![command]).await.pop().unwrap_or_else(|| Err(stopping()))
    }

    /// Answers a query from the published catalog.
    ///
    /// # Errors
    /// The query's refusal.
    pub fn answer(&self, query: &Query) -> Result<Answer, Error> {
        let mut answer = query.answer(&self.published.load(), clock::now(), &self.rules.load(), &*self.traffic)?;
        match &mut answer {
            Answer::Drain(view) => view.started_at = clock::wall_time(view.started_at),
            Answer::Session(view) => {
                view.expires_at = view.expires_at.map(clock::wall_time);
                view.confirmation.iter_mut().for_each(|waits| waits.until = clock::wall_time(waits.until));
            }
            _ => {}
        }
        Ok(answer)
    }

    /// Has one command decided, as [`Registry::execute`] does, and returns the reply that it names.
    ///
    /// # Errors
    /// The command's refusal.
    pub async fn call<C: CommandCall>(&self, origin: CallOrigin, command: C) -> Result<C::Reply, Error> {
        C::reply_of(self.execute_one(origin, command.into()).await?).ok_or_else(mismatch)
    }

    /// Answers a query, as [`Registry::answer_as`] does, with what `view` makes of the reply that the query names.
    ///
    /// # Errors
    /// The query's refusal.
    pub async fn ask<Q: QueryCall, T>(&self, query: Q, view: impl FnOnce(Q::Reply) -> T) -> Result<T, Error> {
        let reply = |answer: Result<Answer, Error>| Q::reply_of(answer?).ok_or_else(mismatch);
        self.answer_as(&query.into(), |answer| reply(answer).map(view)).await
    }

    /// Returns the present rules for decisions.
    pub fn rules(&self) -> Arc<RegistryRules> {
        self.rules.load_full()
    }

    /// Replaces the rules for decisions. With `republish` the whole catalog is published to traffic again, because its
    /// settings changed too. Returns once both are in force, or the writer has ended.
    pub async fn set_rules(&self, rules: RegistryRules, republish: bool) {
        let (done, is_done) = oneshot::channel();
        if self.new_rules.send(NewRules { rules, republish, done }).await.is_ok() {
            // An error means that the writer has ended, and with it the server.
            let _ = is_done.await;
        }
    }

    /// Returns the latest published catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.published.load_full()
    }

    /// Opens the mailbox of a connection of the pipe, which also gives the connection its number.
    pub fn open_mailbox(&self) -> Mailbox {
        self.hub.attach(MailboxKind::Pipe)
    }

    /// Waits until the server is stopping.
    pub async fn until_stopping(&self) {
        // An error is impossible, because the sender lives as long as this handle.
        let _ = self.hub.progress().wait_for(|progress| progress.stopping).await;
    }

    /// Tells all streams, and all connections that have a session, that the server is stopping.
    pub fn announce_shutdown(&self) {
        self.hub.stop();
        let catalog = self.published.load();
        let bound = catalog.sessions().filter_map(|session| session.bound);
        bound.for_each(|connection: ConnectionId| self.hub.send(connection, &MailboxMessage::Shutdown));
    }
}

/// Converts the end of a drain to the present system clock, which the client uses too.
fn in_wall_time(reply: Reply) -> Reply {
    match reply {
        Reply::DrainUntil(end) => Reply::DrainUntil(clock::wall_time(end)),
        Reply::Applied(mut view) => {
            view.confirmation.iter_mut().for_each(|waits| waits.until = clock::wall_time(waits.until));
            Reply::Applied(view)
        }
        other => other,
    }
}

pub(super) fn mismatch() -> Error {
    tracing::error!("a call was answered with the reply of another one");
    Error::new(Kind::Internal, "a fault of the server's own")
}

pub(super) fn stopping() -> Error {
    Error::new(Kind::Unavailable, "the server is stopping")
}
