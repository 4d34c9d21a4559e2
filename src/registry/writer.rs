//! The one task that changes anything.
//!
//! What must hold: nothing is answered before it is stored and published; a batch that cannot be stored
//! changes nothing, in memory, on disk or in traffic, and everybody in it hears so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::domain::{Catalog, Change, Error, Event, Forbidden, Happened, Kind, SessionKey, Span, Time};
use crate::lifecycle;

use super::calls::{Context, Decided, Notice};
use super::config::unknown_option;
use super::deadlines::Deadlines;
use super::grants::Grants;
use super::ready::{self, Asked, Condition};
use super::sessions::{Disconnect, Expire};
use super::watch::{Told, Watch};
use super::{Command, Limits, Publish, Registry, Reply, Store, StoreError, Traffic, Waiting, skew};

/// Past this many commands a batch takes in no further callers.
const BATCH_MAX: usize = 4096;
/// A batch that walks through more entries than this is worked on beside the control threads.
const WALKED_MAX: usize = 1_000;
/// The interval at which it is looked whether the store is still there.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Past this many waiting callers, further ones wait for room.
const MAILBOX_MAX: usize = 1024;

/// Takes up what the store kept, and gives the registry and the task that keeps it.
///
/// `publisher` is shown the restored catalog as it is made, by changes, before anything else.
///
/// # Errors
/// If the store cannot be read.
pub async fn open<S: Store, P: Publish>(
    mut store: S,
    mut publisher: P,
    traffic: Arc<dyn Traffic>,
    limits: Limits,
    grants: Grants,
) -> Result<(Registry, Writer<S, P>), StoreError> {
    let mut loaded = store.load().await?;
    let reading = clock::reading();
    let skew_ms = reading.skew_since(&loaded.reading, skew::latest(&loaded.changes));
    skew::move_by(&mut loaded.changes, skew_ms);
    store.begin(&reading, skew_ms).await?;
    let mut catalog = Catalog::default();
    loaded.changes.iter().for_each(|change| catalog.absorb(change));
    let now = clock::now();
    catalog.resume(loaded.revision, now);
    let mut deadlines = Deadlines::default();
    catalog.sessions().for_each(|session| deadlines.set(session.key, Some(session), &limits, now));
    let catalog = Arc::new(catalog);
    publisher.publish(&catalog, &loaded.changes);
    let (forbidden, defaults) = (traffic.forbidden(), traffic.default_options());
    let (sender, mailbox) = mpsc::channel(MAILBOX_MAX);
    let (asking, asked) = ready::channel();
    let published = Arc::new(ArcSwap::from(catalog));
    let watch = Arc::new(Watch::since(published.load().revision()));
    let registry = Registry {
        mailbox: sender,
        published: Arc::clone(&published),
        traffic: Arc::clone(&traffic),
        watch: Arc::clone(&watch),
        streams: Arc::new(Semaphore::new(limits.streams_max)),
        streams_max: limits.streams_max,
        long_turns: Arc::new(Semaphore::new(super::reading::LONG_AT_ONCE_MAX)),
        grants: grants.clone(),
        forbidden: forbidden.clone(),
        defaults: Arc::new(defaults),
        started: now,
        readings: super::reading::Readings::default(),
        probes: super::probes::Probes::default(),
        asking,
    };
    let rules = Rules { limits, grants, forbidden };
    Ok((
        registry,
        Writer {
            store,
            publisher,
            mailbox,
            asked,
            condition: Condition::default(),
            published,
            watch,
            traffic,
            deadlines,
            rules,
            departed_late: None,
        },
    ))
}

/// The task; it owns the store.
pub struct Writer<S, P> {
    store: S,
    publisher: P,
    mailbox: mpsc::Receiver<Waiting>,
    /// Those who want to know whether something can be stored.
    asked: mpsc::Receiver<Asked>,
    condition: Condition,
    published: Arc<ArcSwap<Catalog>>,
    watch: Arc<Watch>,
    traffic: Arc<dyn Traffic>,
    deadlines: Deadlines,
    rules: Rules,
    /// When connections that have gone are to be taken note of again, for it could not be stored.
    departed_late: Option<Time>,
}

/// What commands are decided by, beside the catalog and the time.
struct Rules {
    limits: Limits,
    grants: Grants,
    forbidden: Forbidden,
}

impl Rules {
    fn at(&self, now: Time) -> Context<'_> {
        Context { now, limits: &self.limits, grants: &self.grants, forbidden: &self.forbidden }
    }
}

/// Commands decided together: all are stored, or none.
struct Batch {
    draft: Catalog,
    changes: Vec<Change>,
    notices: Vec<Notice>,
    happened: Vec<Arc<Happened>>,
    pace: Pace,
}

/// The way in which a batch is worked on.
#[derive(Clone, Copy)]
enum Pace {
    /// At once: it is over before anybody notices.
    Brief,
    /// While the thread's other tasks go on elsewhere.
    AtLength,
}

impl Pace {
    fn of<'a>(commands: impl IntoIterator<Item = &'a Command>, catalog: &Catalog) -> Self {
        let walked: usize = commands.into_iter().map(|command| command.weight(catalog)).sum();
        if walked > WALKED_MAX { Pace::AtLength } else { Pace::Brief }
    }

    fn run<T>(self, work: impl FnOnce() -> T) -> T {
        match self {
            Pace::Brief => work(),
            Pace::AtLength => lifecycle::at_length(work),
        }
    }
}

impl<S: Store, P: Publish> Writer<S, P> {
    /// Runs until `stop`, then answers what waits and closes the store. Ends by itself once what is stored is not what
    /// was answered.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut waiting = Vec::new();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.store.has_diverged() {
            let next_due = self.deadlines.next().into_iter().chain(self.departed_late).min();
            tokio::select! {
                biased;
                Some(asked) = self.asked.recv() => {
                    let can_store = self.condition.find_out(&mut self.store).await;
                    // Who asked may have lost patience.
                    let _ = asked.send(can_store);
                }
                _ = look.tick() => self.condition.look(&mut self.store),
                Some(first) = self.mailbox.recv() => {
                    self.gather(first, &mut waiting);
                    self.settle(&mut waiting).await;
                }
                () = self.watch.departure() => {}
                () = clock::until(next_due) => {}
                () = stop.cancelled() => break,
            }
            self.part(&mut waiting).await;
            if self.deadlines.next().is_some_and(|due| due <= clock::now()) {
                self.expire().await;
            }
        }
        self.mailbox.close();
        while let Some(first) = self.mailbox.recv().await {
            self.gather(first, &mut waiting);
            self.settle(&mut waiting).await;
        }
        self.store.close().await;
    }

    /// Takes what waits besides, up to a batch.
    fn gather(&mut self, first: Waiting, waiting: &mut Vec<Waiting>) {
        let mut commands = first.commands.len();
        waiting.push(first);
        while commands < BATCH_MAX
            && let Ok(next) = self.mailbox.try_recv()
        {
            commands += next.commands.len();
            waiting.push(next);
        }
    }

    async fn settle(&mut self, waiting: &mut Vec<Waiting>) {
        let now = clock::now();
        waiting.sort_by_key(Waiting::place);
        let mut batch = self.begin(waiting.iter().flat_map(|caller| &caller.commands));
        let answers: Vec<Vec<Result<Reply, Error>>> = batch.pace.run(|| {
            let mut decide = |command| batch.decide(command, self.rules.at(now));
            waiting.iter().map(|caller| caller.commands.iter().map(&mut decide).collect()).collect()
        });
        let stored = self.conclude(batch, now).await;
        for (caller, answers) in waiting.drain(..).zip(answers) {
            // A refusal falls with the batch too: it was decided on a draft that never came to be.
            let answers = if stored { answers } else { vec![Err(unavailable()); caller.commands.len()] };
            // A caller that has gone needs no answer.
            let _ = caller.answer.send(answers);
        }
    }

    /// Sees to what falls due by itself.
    async fn expire(&mut self) {
        let now = clock::now();
        let due = self.deadlines.due(now, BATCH_MAX);
        let commands: Vec<Command> = due.iter().cloned().map(Into::into).collect();
        let mut batch = self.begin(&commands);
        // None can be refused: what is no longer there is no longer due.
        batch.pace.run(|| commands.iter().for_each(|expire| drop(batch.decide(expire, self.rules.at(now)))));
        let stored = self.conclude(batch, now).await;
        let catalog = self.published.load();
        for Expire { key, .. } in due {
            if stored {
                self.deadlines.pass(key, catalog.by_key(key).map(Arc::as_ref), &self.rules.limits, now);
            } else {
                // What is due stays due; a disk that is full now is not asked again at once.
                self.deadlines.postpone(key, now.after(Span::from_secs(1)));
            }
        }
    }

    /// Disconnects the sessions of connections that have gone.
    async fn part(&mut self, waiting: &mut Vec<Waiting>) {
        let gone = self.watch.departed();
        if gone.is_empty() {
            return;
        }
        // What a connection asked before it went comes first: it may bind a session.
        let mut before = self.mailbox.len();
        while before > 0
            && let Ok(first) = self.mailbox.try_recv()
        {
            self.gather(first, waiting);
            before = before.saturating_sub(waiting.len());
            self.settle(waiting).await;
        }
        let now = clock::now();
        let commands: Vec<Command> = gone.iter().map(|&connection| Disconnect { connection }.into()).collect();
        let mut batch = self.begin(&commands);
        // None can be refused: without a session bound to it there is nothing to do.
        batch.pace.run(|| commands.iter().for_each(|gone| drop(batch.decide(gone, self.rules.at(now)))));
        self.departed_late = None;
        if !self.conclude(batch, now).await {
            self.watch.depart(gone);
            self.departed_late = Some(now.after(Span::from_secs(1)));
        }
    }

    fn begin<'a>(&self, commands: impl IntoIterator<Item = &'a Command>) -> Batch {
        let draft = Catalog::clone(&self.published.load());
        let pace = Pace::of(commands, &draft);
        Batch { draft, changes: Vec::new(), notices: Vec::new(), happened: Vec::new(), pace }
    }

    /// Stores, publishes and tells. Whether it was stored.
    async fn conclude(&mut self, batch: Batch, now: Time) -> bool {
        let Batch { draft, changes, notices, happened, pace } = batch;
        if changes.is_empty() {
            self.notify(notices);
            return true;
        }
        if changes.iter().any(Change::is_stored)
            && let Err(error) = self.store.commit(&changes, draft.revision()).await
        {
            tracing::error!(%error, changes = changes.len(), "nothing could be stored; the commands are refused");
            pace.run(|| drop((draft, changes)));
            return false;
        }
        pace.run(|| self.publish(draft, changes, notices, happened, now));
        true
    }

    /// Makes what is stored true, and tells of it.
    fn publish(
        &mut self,
        draft: Catalog,
        changes: Vec<Change>,
        notices: Vec<Notice>,
        happened: Vec<Arc<Happened>>,
        now: Time,
    ) {
        let catalog = Arc::new(draft);
        self.publisher.publish(&catalog, &changes);
        // Before anybody hears of it.
        notices.iter().for_each(|notice| notice.vouch(&*self.traffic));
        // It goes last: who still reads in the one before is done by then, and is not left with taking it down.
        let before = self.published.swap(Arc::clone(&catalog));
        self.reschedule(&catalog, &changes, now);
        self.watch.record(&catalog, happened);
        self.notify(notices);
        warn_of_unknown_options(&catalog, &changes);
        drop((changes, before));
    }

    fn notify(&self, notices: Vec<Notice>) {
        for notice in notices {
            match notice {
                Notice::Close(connection) => self.watch.tell(connection, &Told::Close),
                Notice::Released(connection, why) => self.watch.tell(connection, &Told::Released(why)),
                Notice::ResetBreaker(key, route) => self.traffic.reset_breaker(key, route),
                // An event was told already, with its number; traffic knew it before.
                Notice::Event(..) | Notice::Vouch(..) => {}
            }
        }
    }

    fn reschedule(&mut self, catalog: &Catalog, changes: &[Change], now: Time) {
        let mut last = None;
        for change in changes {
            let key = change.key();
            // A batch is mostly runs of changes of one session.
            if last.replace(key) != Some(key) {
                self.deadlines.set(key, catalog.by_key(key).map(Arc::as_ref), &self.rules.limits, now);
            }
        }
    }
}

impl Batch {
    fn decide(&mut self, command: &Command, context: Context<'_>) -> Result<Reply, Error> {
        if let Some(session) = command.session()
            && let Ok(session) = self.draft.session(session.reveal())
        {
            session.pulse.touch(context.now);
        }
        let Decided { reply, changes, notices } = command.decide(&self.draft, context)?;
        let before = notices.iter().any(|notice| matches!(notice, Notice::Event(..))).then(|| self.draft.clone());
        changes.iter().for_each(|change| self.draft.absorb(change));
        self.changes.extend(changes);
        for notice in notices {
            match notice {
                Notice::Event(key, event) => self.number(before.as_ref(), key, event, context.now),
                other => self.notices.push(other),
            }
        }
        Ok(reply)
    }

    /// Gives an event its place among all that happens. Its session may have ended with it, or begun.
    fn number(&mut self, before: Option<&Catalog>, session: SessionKey, event: Event, at: Time) {
        let known = self.draft.by_key(session).or_else(|| before?.by_key(session));
        let Some(head) = known.map(|session| Arc::clone(&session.head)) else { return };
        let step = Change::Observed(session);
        self.draft.absorb(&step);
        self.changes.push(step);
        let (service, instance) = (head.service.clone(), head.instance.clone());
        let sequence = self.draft.revision();
        self.happened.push(Arc::new(Happened { sequence, at, session, service, instance, event }));
    }
}

fn unavailable() -> Error {
    Error::new(Kind::Unavailable, "the registry cannot store changes now; nothing was changed, try again")
}

fn warn_of_unknown_options(catalog: &Catalog, changes: &[Change]) {
    let applied: BTreeMap<SessionKey, _> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Apply { key, edits, .. } => Some((*key, edits)),
            _ => None,
        })
        .collect();
    for (key, edits) in applied {
        let head = catalog.by_key(key).map(|session| &session.head);
        let (service, instance) = head.map_or(("", ""), |head| (head.service.as_str(), head.instance.as_str()));
        for option in edits.iter().filter_map(unknown_option) {
            tracing::warn!(service, instance, option, "an unknown option was applied; it does nothing");
        }
    }
}
