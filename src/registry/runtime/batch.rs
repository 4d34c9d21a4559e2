//! A batch of commands that are decided on one draft of the catalog.

use std::sync::Arc;

use crate::domain::{Catalog, Change, Error, Event, EventInstance, EventRecord, SessionKey, Time};
use crate::{clock, lifecycle};

use crate::registry::audit::{Actor, ActorKind, AuditDraft, AuditRecord, CallOrigin, Interface};
use crate::registry::calls::Command;
use crate::registry::commands::confirm::{ConfigCancel, ConfigConfirm};
use crate::registry::commands::decision::{Decided, DecisionContext, Effect, Reply};
use crate::registry::revisions::{RevisionDraft, RevisionRecord, RevisionView};

/// A batch that reads more entries than this runs in a blocking section.
const WALKED_MAX: usize = 1_000;

/// Commands that are decided on one draft. All are stored, or none.
pub(super) struct Batch {
    pub(super) draft: Catalog,
    pub(super) changes: Vec<Change>,
    pub(super) effects: Vec<Effect>,
    pub(super) records: Vec<Arc<EventRecord>>,
    /// The records of the audit.
    pub(super) audit: Vec<AuditRecord>,
    /// The new revisions of instances.
    pub(super) revisions: Vec<RevisionRecord>,
    /// The number of the last record of the audit before them.
    audit_last: u64,
    pub(super) pace: Pace,
}

/// The way in which a batch is executed.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// Directly: it takes so little time that no other task has to wait long.
    Brief,
    /// In a blocking section, while the thread's other tasks run on other threads.
    Blocking,
}

impl Pace {
    pub(super) fn of<'a>(commands: impl IntoIterator<Item = &'a Command>, catalog: &Catalog) -> Self {
        let walked: usize = commands.into_iter().map(|command| command.weight(catalog)).sum();
        if walked > WALKED_MAX { Pace::Blocking } else { Pace::Brief }
    }

    pub(super) fn run<T>(self, work: impl FnOnce() -> T) -> T {
        match self {
            Pace::Brief => work(),
            Pace::Blocking => lifecycle::run_blocking(work),
        }
    }
}

impl Batch {
    /// Begins a batch on the published catalog. `audit_last` is the number of the last record of the audit.
    pub(super) fn begin<'a>(
        catalog: &Catalog,
        audit_last: u64,
        commands: impl IntoIterator<Item = &'a Command>,
    ) -> Self {
        let draft = catalog.clone();
        let pace = Pace::of(commands, &draft);
        let (changes, effects, records, audit) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { draft, changes, effects, records, audit, revisions: Vec::new(), audit_last, pace }
    }

    pub(super) fn decide(
        &mut self,
        origin: &CallOrigin,
        command: &Command,
        context: DecisionContext<'_>,
    ) -> Result<Reply, Error> {
        if let Some(session) = command.session()
            && let Ok(session) = self.draft.session(session.reveal())
        {
            session.last_activity.touch(context.now);
        }
        let Decided { reply, changes, effects } = command.decide(&self.draft, context)?;
        let is_told = |effect: &Effect| matches!(effect, Effect::Event(..) | Effect::Audit(_) | Effect::Revision(_));
        let before = effects.iter().any(is_told).then(|| self.draft.clone());
        changes.iter().for_each(|change| self.draft.absorb(change));
        self.changes.extend(changes);
        for effect in effects {
            match effect {
                Effect::Event(key, event) => self.assign_sequence(before.as_ref(), key, event, context.now),
                Effect::ServerEvent(event) => self.record(None, event, context.now),
                Effect::Audit(draft) => self.audit(origin, command, before.as_ref(), *draft, context.now),
                Effect::Revision(draft) => self.revise(origin, command, before.as_ref(), *draft, context.now),
                other => self.effects.push(other),
            }
        }
        Ok(reply)
    }

    /// Gives an event its sequence and records it. Its session may have ended or begun in the same command.
    fn assign_sequence(&mut self, before: Option<&Catalog>, session: SessionKey, event: Event, at: Time) {
        let known = self.draft.by_key(session).or_else(|| before?.by_key(session));
        let Some(record) = known.map(|session| Arc::clone(&session.record)) else { return };
        let (service, instance) = (record.service.clone(), record.instance.clone());
        let owner = record.owner.clone();
        self.record(Some(EventInstance { session, service, instance, owner }), event, at);
    }

    /// Gives an event its sequence and records it.
    fn record(&mut self, instance: Option<EventInstance>, event: Event, at: Time) {
        let step = Change::Observed(instance.as_ref().map_or(SessionKey::NONE, |instance| instance.session));
        self.draft.absorb(&step);
        self.changes.push(step);
        let sequence = self.draft.revision();
        // Its readers compare it with the system clock as it is now.
        let (at, event) = (clock::wall_time(at), event.with_times(clock::wall_time));
        self.records.push(Arc::new(EventRecord { sequence, at, instance, event }));
    }

    /// Completes a revision.
    fn revise(
        &mut self,
        origin: &CallOrigin,
        command: &Command,
        before: Option<&Catalog>,
        draft: RevisionDraft,
        at: Time,
    ) {
        let RevisionDraft { mark, is_whole, edits, revision, note, changes } = draft;
        let view = RevisionView {
            number: mark.last,
            revision,
            at: clock::wall_time(at),
            action: note.action,
            actor: actor(origin, command, before),
            interface: origin.interface,
            address: origin.address,
            reason: note.reason.map(|reason| reason.to_string()),
            reverted_to: note.reverted_to,
            changes,
        };
        self.revisions.push(RevisionRecord { mark, is_whole, edits, view });
    }

    /// Completes a record of the audit. Its session may have ended or begun in the same command.
    fn audit(&mut self, origin: &CallOrigin, command: &Command, before: Option<&Catalog>, draft: AuditDraft, at: Time) {
        let known = |key| self.draft.by_key(key).or_else(|| before?.by_key(key));
        let session = draft.key.and_then(known).map(|session| Arc::clone(&session.record));
        let (service, instance) = session.as_ref().map(|of| (of.service.clone(), of.instance.clone())).unzip();
        let mut details = draft.details;
        details.until = details.until.map(clock::wall_time);
        let sequence = self.audit.last().map_or(self.audit_last, |last| last.sequence) + 1;
        self.audit.push(AuditRecord {
            sequence,
            at: clock::wall_time(at),
            action: draft.action,
            service_name: service,
            instance_name: instance,
            actor: actor(origin, command, before),
            interface: origin.interface,
            address: origin.address,
            revision: session.map(|session| session.revision),
            details,
        });
    }
}

/// Returns the actor of a command. `before` is the catalog before the command.
fn actor(origin: &CallOrigin, command: &Command, before: Option<&Catalog>) -> Actor {
    if let Some(operator) = &origin.operator {
        return Actor { kind: ActorKind::Operator, name: operator.to_string() };
    }
    if origin.interface == Interface::Server {
        return Actor::server();
    }
    let session = command.session().and_then(|id| before?.session(id.reveal()).ok());
    let confirmed = match command {
        Command::ConfigConfirm(ConfigConfirm { id }) | Command::ConfigCancel(ConfigCancel { id }) => {
            before.and_then(|catalog| catalog.confirming(id))
        }
        _ => None,
    };
    match (command, session.or(confirmed)) {
        (Command::Register(register), _) => Actor::session(&register.service, &register.instance),
        (_, Some(session)) => Actor::session(&session.record.service, &session.record.instance),
        (_, None) => Actor::server(),
    }
}
