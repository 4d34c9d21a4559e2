//! The writer: the only task that changes the catalog and the store.
//!
//! Invariant: a command is answered only after its changes are stored and published. A batch that cannot be stored
//! changes nothing in memory, in the store or in traffic, and all its commands are refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::domain::{Catalog, Change, Error, EventRecord, Kind, SessionKey, Span, Time};
use crate::{clock, lifecycle};

use crate::registry::audit::{AuditRecord, CallOrigin};
use crate::registry::calls::Command;
use crate::registry::commands::decision::{Effect, Reply};
use crate::registry::commands::sessions::{Disconnect, Expire};
use crate::registry::ports::{AuditBatch, Publish, Store, Traffic};
use crate::registry::queries::configuration::unknown_option;
use crate::registry::rules::RegistryRules;

use super::audit_log::AuditLog;
use super::batch::Batch;
use super::deadlines::Deadlines;
use super::event_hub::{EventHub, MailboxMessage};
use super::readiness::StoreHealth;
use super::registry::{NewRules, QueuedCommands, QueuedRead, StoreQuestion};
use super::snapshot::SnapshotDesk;
use super::sweep::Sweep;
use super::writer_counts::WriterCounts;

/// A batch with this many commands takes in no further callers.
const BATCH_MAX: usize = 4096;
/// The interval between two checks that the store is still there.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The writer task, which owns the store.
pub struct Writer<S, P> {
    pub(super) store: S,
    pub(super) publisher: P,
    pub(super) mailbox: mpsc::Receiver<QueuedCommands>,
    /// Questions whether changes can be stored.
    pub(super) store_questions: mpsc::Receiver<StoreQuestion>,
    pub(super) store_health: StoreHealth,
    pub(super) published: Arc<ArcSwap<Catalog>>,
    pub(super) hub: Arc<EventHub>,
    pub(super) traffic: Arc<dyn Traffic>,
    pub(super) deadlines: Deadlines,
    pub(super) rules: Arc<ArcSwap<RegistryRules>>,
    pub(super) new_rules: mpsc::Receiver<NewRules>,
    pub(super) sweep: Sweep,
    /// The time of the next attempt to store disconnections after a failed one.
    pub(super) departed_late: Option<Time>,
    pub(super) counts: Arc<WriterCounts>,
    /// The number of the last record of the audit.
    pub(super) audit_last: u64,
    pub(super) audit_log: AuditLog,
    pub(super) snapshots: SnapshotDesk,
    pub(super) store_reads: mpsc::Receiver<QueuedRead>,
}

impl<S: Store, P: Publish> Writer<S, P> {
    /// Runs until `stop` is cancelled, then executes the waiting commands and closes the store. It also ends when the
    /// store has diverged from the answers.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut waiting = Vec::new();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.store.has_diverged() {
            let next_due = self.deadlines.next().into_iter().chain(self.departed_late).min();
            tokio::select! {
                biased;
                Some(store_questions) = self.store_questions.recv() => {
                    let can_store = self.store_health.find_out(&mut self.store).await;
                    // The caller may have stopped waiting.
                    let _ = store_questions.send(can_store);
                }
                _ = look.tick() => {
                    self.store_health.look(&mut self.store);
                    self.audit_log.catch_up(clock::now());
                }
                step = self.snapshots.next() => self.snapshots.run(step, &mut self.store).await,
                Some(first) = self.mailbox.recv() => {
                    self.fill_batch(first, &mut waiting);
                    self.execute_batch(&mut waiting).await;
                }
                Some(new) = self.new_rules.recv() => self.set_rules(new),
                Some(read) = self.store_reads.recv() => read.run(&mut self.store).await,
                () = self.hub.departure() => {}
                () = clock::until(next_due) => {}
                () = stop.cancelled() => break,
            }
            // Reads of the store get their turn while the mailbox is never empty.
            if let Ok(read) = self.store_reads.try_recv() {
                read.run(&mut self.store).await;
            }
            self.on_disconnect(&mut waiting).await;
            if self.deadlines.next().is_some_and(|due| due <= clock::now()) {
                self.expire().await;
            }
        }
        self.mailbox.close();
        while let Some(first) = self.mailbox.recv().await {
            self.fill_batch(first, &mut waiting);
            self.execute_batch(&mut waiting).await;
        }
        self.store.close().await;
    }

    /// Adds waiting callers to `first`, up to the size of a batch.
    fn fill_batch(&mut self, first: QueuedCommands, waiting: &mut Vec<QueuedCommands>) {
        let mut commands = first.commands.len();
        waiting.push(first);
        while commands < BATCH_MAX
            && let Ok(next) = self.mailbox.try_recv()
        {
            commands += next.commands.len();
            waiting.push(next);
        }
    }

    async fn execute_batch(&mut self, waiting: &mut Vec<QueuedCommands>) {
        let began = clock::instant();
        let (now, rules) = (clock::at(began), self.rules.load_full());
        waiting.sort_by_key(QueuedCommands::sort_key);
        let mut batch = self.begin(waiting.iter().flat_map(|caller| &caller.commands));
        let answers: Vec<Vec<Result<Reply, Error>>> = batch.pace.run(|| {
            let mut decide = |caller: &QueuedCommands| {
                caller.commands.iter().map(|command| batch.decide(&caller.origin, command, rules.at(now))).collect()
            };
            waiting.iter().map(&mut decide).collect()
        });
        let stored = self.commit_and_publish(batch, now).await;
        let revision = self.published.load().revision();
        for (caller, answers) in waiting.drain(..).zip(answers) {
            // A refusal is replaced too, because it was decided on a draft that was dropped.
            let answers = if stored { answers } else { vec![Err(unavailable()); caller.commands.len()] };
            self.counts.answered((&caller.origin, &caller.commands), &answers, (began, revision));
            // The caller may have stopped waiting.
            let _ = caller.answer.send(answers);
        }
    }

    /// Executes what falls due: the ends of leases, staged changes and drains.
    async fn expire(&mut self) {
        let (now, rules) = (clock::now(), self.rules.load_full());
        let due = self.deadlines.due(now, BATCH_MAX);
        let commands: Vec<Command> = due.iter().cloned().map(Into::into).collect();
        let mut batch = self.begin(&commands);
        // No error is possible: if the session has ended or the deadline has moved, nothing changes.
        let origin = CallOrigin::SERVER;
        batch.pace.run(|| commands.iter().for_each(|expire| drop(batch.decide(&origin, expire, rules.at(now)))));
        let stored = self.commit_and_publish(batch, now).await;
        self.counts.carried_out(&commands, stored);
        let catalog = self.published.load();
        for Expire { key, .. } in due {
            if stored {
                self.deadlines.pass(key, catalog.by_key(key).map(Arc::as_ref), &rules.limits, now);
            } else {
                // The deadline stays due, but a full disk is not tried again immediately.
                self.deadlines.postpone(key, now.after(Span::from_secs(1)));
            }
        }
    }

    /// Disconnects the sessions of connections that have closed.
    async fn on_disconnect(&mut self, waiting: &mut Vec<QueuedCommands>) {
        let gone = self.hub.departed();
        if gone.is_empty() {
            return;
        }
        // Commands that a connection sent before it closed run first, because they may bind a session.
        let mut before = self.mailbox.len();
        while before > 0
            && let Ok(first) = self.mailbox.try_recv()
        {
            self.fill_batch(first, waiting);
            before = before.saturating_sub(waiting.len());
            self.execute_batch(waiting).await;
        }
        let (now, rules) = (clock::now(), self.rules.load_full());
        let commands: Vec<Command> = gone.iter().map(|&connection| Disconnect { connection }.into()).collect();
        let mut batch = self.begin(&commands);
        // No error is possible: a connection without a bound session changes nothing.
        let origin = CallOrigin::SERVER;
        batch.pace.run(|| commands.iter().for_each(|gone| drop(batch.decide(&origin, gone, rules.at(now)))));
        self.departed_late = None;
        let stored = self.commit_and_publish(batch, now).await;
        self.counts.carried_out(&commands, stored);
        if !stored {
            self.hub.depart(gone);
            self.departed_late = Some(now.after(Span::from_secs(1)));
        }
    }

    fn begin<'a>(&self, commands: impl IntoIterator<Item = &'a Command>) -> Batch {
        Batch::begin(&self.published.load(), self.audit_last, commands)
    }

    /// Stores and publishes a batch and sends its effects. Returns true if it was stored.
    async fn commit_and_publish(&mut self, batch: Batch, now: Time) -> bool {
        let Batch { draft, changes, effects, records, audit, revisions, pace, .. } = batch;
        if changes.is_empty() && audit.is_empty() {
            self.notify(effects, now);
            return true;
        }
        let audit = AuditBatch { revisions, ..self.audit_batch(audit, now) };
        if !audit.records.is_empty() || changes.iter().any(Change::is_stored) {
            let began = clock::instant();
            let committed = self.store.commit(&changes, &audit, draft.revision()).await;
            self.counts.committed(clock::instant().saturating_duration_since(began), committed.is_ok());
            if let Err(error) = committed {
                tracing::error!(%error, changes = changes.len(), "nothing could be stored; the commands are refused");
                pace.run(|| drop((draft, changes)));
                return false;
            }
            self.sweep.check_store(&mut self.store, &draft, changes.iter().map(Change::key)).await;
        }
        self.audit_last = audit.records.last().map_or(self.audit_last, |last| last.sequence);
        if changes.is_empty() {
            self.notify(effects, now);
        } else {
            pace.run(|| self.publish(draft, changes, effects, records, now));
        }
        self.audit_log.tell(&audit.records, now);
        true
    }

    /// Returns the records of a batch with the bounds of the audit.
    fn audit_batch(&self, records: Vec<AuditRecord>, now: Time) -> AuditBatch {
        let limits = self.rules.load().limits;
        let last = records.last().map_or(self.audit_last, |last| last.sequence);
        let most = u64::try_from(limits.audit_records_max).unwrap_or(u64::MAX);
        let keep_since = clock::wall_time(now).0.saturating_sub(limits.audit_keep.millis());
        AuditBatch {
            records,
            keep_from: (last + 1).saturating_sub(most),
            keep_since: Time(keep_since),
            ..AuditBatch::default()
        }
    }

    /// Publishes a stored batch and sends its events and effects.
    fn publish(
        &mut self,
        draft: Catalog,
        changes: Vec<Change>,
        effects: Vec<Effect>,
        records: Vec<Arc<EventRecord>>,
        now: Time,
    ) {
        let catalog = Arc::new(draft);
        self.publisher.publish(&catalog, &changes);
        // Traffic learns of answering backends before the new catalog is visible to readers.
        effects.iter().for_each(|effect| vouch(effect, &*self.traffic));
        // The old catalog is dropped at the end of this function: readers have mostly released it by then, so that the
        // writer frees it and not a reader.
        let before = self.published.swap(Arc::clone(&catalog));
        self.reschedule(&catalog, &changes, now);
        self.sweep.check(&before, &catalog, &self.deadlines);
        self.hub.record(&catalog, records);
        self.notify(effects, now);
        warn_of_unknown_options(&catalog, &changes);
        drop((changes, before));
    }

    fn notify(&mut self, effects: Vec<Effect>, now: Time) {
        for effect in effects {
            match effect {
                Effect::Close(connection) => self.hub.send(connection, &MailboxMessage::Close),
                Effect::Released(connection, why) => self.hub.send(connection, &MailboxMessage::Released(why)),
                Effect::ResetBreaker(key, route) => self.traffic.reset_breaker(key, route),
                Effect::ExpiresSoon(key, ends) => self.audit_log.warn(&self.published.load(), key, ends, now),
                // The batch took events and records, and traffic learned of the backends before the publication.
                Effect::Event(..)
                | Effect::ServerEvent(_)
                | Effect::Audit(_)
                | Effect::Revision(_)
                | Effect::Vouch(..) => {}
            }
        }
    }

    /// Puts new rules in force, also for the deadlines of all sessions.
    fn set_rules(&mut self, new: NewRules) {
        let (catalog, now) = (self.published.load_full(), clock::now());
        let limits = new.rules.limits;
        self.rules.store(Arc::new(new.rules));
        lifecycle::run_blocking(|| {
            catalog.sessions().for_each(|session| self.deadlines.set(session.key, Some(session), &limits, now));
            if new.republish {
                self.publisher.publish_anew(&catalog);
            }
        });
        // The caller may have stopped waiting.
        let _ = new.done.send(());
    }

    fn reschedule(&mut self, catalog: &Catalog, changes: &[Change], now: Time) {
        let (mut last, rules) = (None, self.rules.load());
        for change in changes {
            let key = change.key();
            // Successive changes of a batch mostly concern the same session.
            if last.replace(key) != Some(key) {
                self.deadlines.set(key, catalog.by_key(key).map(Arc::as_ref), &rules.limits, now);
            }
        }
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
        let record = catalog.by_key(key).map(|session| &session.record);
        let (service, instance) = record.map_or(("", ""), |record| (record.service.as_str(), record.instance.as_str()));
        for option in edits.iter().filter_map(unknown_option) {
            tracing::warn!(service, instance, option, "an unknown option was applied; it does nothing");
        }
    }
}

/// Tells traffic of backends that have answered.
fn vouch(effect: &Effect, traffic: &dyn Traffic) {
    if let Effect::Vouch(key, routes) = effect {
        traffic.vouch(*key, routes);
    }
}
