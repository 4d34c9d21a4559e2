//! Commands that end a staged configuration: apply, partial apply and rollback.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::{
    ApplyReason, Catalog, Change, Config, ConfirmWithin, Confirmation, ConfirmationId, Edit, Error, Event, Failures,
    Kind, RouteId, Sections, Session, SessionId, SessionKey, SessionRecord, Subject, Time,
};

use crate::registry::audit::{AuditAction, AuditDetails};
use crate::registry::revisions::{RevisionAction, RevisionCounts, RevisionDraft, RevisionNote};

use super::conflicts::check;
use super::decision::{AppliedView, ConfirmationView, Decided, Decision, DecisionContext, Effect, Reply};
use super::guard;
use super::session_edit::{refuse_while_waiting, with_head};
use super::takeover::apply_orders;

/// Makes the staged configuration active, in whole or in some sections.
#[derive(Clone, Debug)]
pub struct ConfigApply {
    /// The session.
    pub subject: Subject,
    /// The sections to apply; the rest stays staged.
    pub sections: Sections,
    /// The revisions that the client expects; the session must be at one of them. `None` for any.
    pub expected: Option<Vec<u64>>,
    /// The reason, for the history and the audit.
    pub reason: Option<ApplyReason>,
    /// The wish that the apply waits for its confirmation.
    pub confirm: Option<ConfirmRequest>,
}

/// The wish that an apply is taken back unless it is confirmed.
#[derive(Clone, Debug)]
pub struct ConfirmRequest {
    /// The time until then.
    pub within: ConfirmWithin,
    /// 128 random bits: the id of the confirmation.
    pub nonce: u128,
    /// The counts of the session's routes at the time of the call, if a guard shall watch them.
    pub guard: Option<BTreeMap<RouteId, Failures>>,
}

impl ConfigApply {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        check_revision(session, self.expected.as_deref())?;
        let edits = staged_edits(session, self.sections);
        context.tokens.check_edits(session, &edits)?;
        check(catalog, session, &edits)?;
        if !edits.is_empty() {
            refuse_while_waiting(session)?;
        }
        let note = RevisionNote::applied(self.reason.clone());
        let waits = self.confirm.as_ref().map(|confirm| confirmation(catalog, session, &edits, confirm, context.now));
        let decided = activate(catalog, session, Activation { sections: self.sections, edits, note }, context);
        Ok(match waits {
            Some(waits) if !decided.changes.is_empty() => awaiting(session.key, waits, decided),
            Some(_) | None => decided,
        })
    }
}

/// Refuses a call that expects another revision of the session than it has.
pub(crate) fn check_revision(session: &Session, expected: Option<&[u64]>) -> Result<(), Error> {
    let now = session.record.revision;
    let Some(expected) = expected.filter(|expected| !expected.contains(&now)) else { return Ok(()) };
    let given = match expected {
        [seen] => format!("not {seen}"),
        _ => "which is none of those that were given".to_owned(),
    };
    let message = format!("the configuration is at revision {now}, {given}; look at it again, then apply");
    Err(Error::new(Kind::Stale, message))
}

/// Returns the confirmation for which an apply of `edits` waits.
fn confirmation(
    catalog: &Catalog,
    session: &Session,
    edits: &[Edit],
    confirm: &ConfirmRequest,
    now: Time,
) -> Confirmation {
    let replaced = catalog.replaced_of(&session.record).and_then(|key| catalog.by_key(key));
    let last = catalog.history_of(&session.record.service, &session.record.instance).map_or(0, |mark| mark.last);
    let has_served = replaced.is_some() || session.record.revision > 0;
    let before = replaced.map_or(&session.active, |replaced| &replaced.active).clone();
    let guard = confirm.guard.as_ref().map(|seen| {
        let mut next = session.active.clone();
        edits.iter().for_each(|edit| next.edit(edit));
        let backend = |config: &Config, id| config.routes.get(&id).map(|route| route.backend.clone());
        guard::guard(&guard::touched(&next, edits.iter()), seen, |id| {
            backend(&session.active, id) != backend(&next, id)
        })
    });
    Confirmation {
        id: ConfirmationId::new(confirm.nonce),
        number: catalog.next_history(&session.record).last,
        previous: if has_served { last } else { 0 },
        before,
        until: now.after(confirm.within.span()),
        guard,
    }
}

/// Adds to a decided apply that it waits.
fn awaiting(key: SessionKey, waits: Confirmation, mut decided: Decided) -> Decided {
    let (id, number, until) = (waits.id.clone(), waits.number, waits.until);
    if let Reply::Applied(view) = &mut decided.reply {
        view.confirmation = Some(ConfirmationView::of(&waits));
    }
    for effect in &mut decided.effects {
        if let Effect::Audit(draft) = effect {
            draft.details.until = Some(until);
        }
    }
    decided.changes.push(Change::AwaitConfirmation(key, Arc::new(waits)));
    decided.with_event(key, Event::ConfigPending { id, number, until })
}

/// Edits of the active configuration that were checked.
pub(crate) struct Activation {
    /// The sections in which nothing is staged afterwards.
    pub(crate) sections: Sections,
    /// The edits of these sections.
    pub(crate) edits: Vec<Edit>,
    /// The description of the revision.
    pub(crate) note: RevisionNote,
}

/// Decides on edits of a session's active configuration: they become a revision of the instance. The first successful
/// apply of a session also ends the session that it replaced.
pub(crate) fn activate(
    catalog: &Catalog,
    session: &Session,
    activation: Activation,
    context: DecisionContext<'_>,
) -> Decided {
    let Activation { sections, edits, note } = activation;
    let replaced = catalog.replaced_of(&session.record).filter(|key| *key != session.key);
    let before = replaced.and_then(|key| catalog.by_key(key));
    if edits.is_empty() && before.is_none() {
        let last = catalog.history_of(&session.record.service, &session.record.instance).map(|mark| mark.last);
        let view = AppliedView { revision: session.record.revision, number: last, confirmation: None };
        return Decided::new(Reply::Applied(view), Vec::new());
    }
    let record = if edits.is_empty() {
        SessionRecord::clone(&session.record)
    } else {
        applied(session, &edits, before.map(|before| &**before), context)
    };
    let edits: Arc<[Edit]> = edits.into();
    let draft = revision_of(catalog, session, &edits, record.revision, note);
    let number = draft.mark.last;
    let reply = Reply::Applied(AppliedView { revision: record.revision, number: Some(number), confirmation: None });
    let (action, details) = audited(session, before.map(|before| &**before), &edits, &draft.note, number);
    let event = Event::ConfigApplied { revision: record.revision };
    let mut decided = Decided::new(reply, before.map(|before| Change::End(before.key)).into_iter().collect());
    if !edits.is_empty() {
        decided.changes.push(Change::Apply { key: session.key, sections, edits });
        decided.changes.push(Change::Record(session.key, Arc::new(record)));
        decided = decided.with_event(session.key, event);
    }
    decided.with_revision(draft).with_audit(session.key, action, details)
}

/// Returns the revision of the instance that edits of a session's active configuration make. `revision` is that of the
/// session.
pub(super) fn revision_of(
    catalog: &Catalog,
    session: &Session,
    edits: &Arc<[Edit]>,
    revision: u64,
    note: RevisionNote,
) -> RevisionDraft {
    RevisionDraft {
        mark: Arc::new(catalog.next_history(&session.record)),
        // A session that has not applied anything has no entries, so that its edits are all that it has.
        is_whole: session.record.revision == 0,
        edits: Arc::clone(edits),
        revision,
        note,
        changes: RevisionCounts::of(session, edits),
    }
}

/// Returns the action and the details of the audit about a new revision.
fn audited(
    session: &Session,
    before: Option<&Session>,
    edits: &[Edit],
    note: &RevisionNote,
    number: u64,
) -> (AuditAction, AuditDetails) {
    let action = match note.action {
        RevisionAction::Recorded | RevisionAction::Applied => AuditAction::Applied,
        RevisionAction::Reverted
        | RevisionAction::Cancelled
        | RevisionAction::Unconfirmed
        | RevisionAction::Guarded => AuditAction::Reverted,
    };
    let details = AuditDetails {
        routes_replaced: before.and_then(|before| AuditDetails::of_routes(before).routes),
        number: Some(number),
        reverted_to: note.reverted_to,
        reason: note.reason.as_ref().map(ToString::to_string),
        ..AuditDetails::of_apply(session, edits)
    };
    (action, details)
}

pub(crate) fn staged_edits(session: &Session, sections: Sections) -> Vec<Edit> {
    let difference = session.difference();
    difference.edits().filter(|edit| sections.contains(edit.section())).cloned().collect()
}

pub(super) fn applied(
    session: &Session,
    edits: &[Edit],
    before: Option<&Session>,
    context: DecisionContext<'_>,
) -> SessionRecord {
    let mut record = SessionRecord::clone(&session.record);
    record.revision += 1;
    record.last_apply = Some(context.now);
    for edit in edits {
        match edit {
            Edit::Route(id, None) => record.maintenance.forget(*id),
            // A revision of an earlier session brings ids that this session has not given out.
            Edit::Route(id, Some(_)) => record.next_route = record.next_route.max(id.0.saturating_add(1)),
            _ => {}
        }
    }
    before.into_iter().for_each(|before| apply_orders(&mut record, edits, before));
    record
}

/// Drops the staged configuration.
#[derive(Clone, Debug)]
pub struct ConfigRollback {
    /// The session.
    pub subject: Subject,
}

impl ConfigRollback {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(crate) fn decide(&self, catalog: &Catalog, _: DecisionContext<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        if session.staged.is_none() {
            return Ok(Decided::new(Reply::Done, Vec::new()));
        }
        let decided = Decided::new(Reply::Done, unstage(session));
        Ok(decided.with_audit(session.key, AuditAction::RolledBack, AuditDetails::default()))
    }
}

/// Drops the staged configuration, and the maintenance of routes that were only staged.
pub(crate) fn unstage(session: &Session) -> Vec<Change> {
    // The record is stored in any case, because it holds the number of the next route, which the staged rows held
    // before.
    let record = with_head(session, |record| record.maintenance.retain(|id| session.active.routes.contains_key(&id)));
    vec![Change::Unstage(session.key), record]
}
