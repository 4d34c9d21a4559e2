//! Commands that end a staged configuration: apply, partial apply and rollback.

use std::sync::Arc;

use crate::domain::{Catalog, Change, Edit, Error, Event, Kind, Sections, Session, SessionId, SessionRecord, Subject};

use crate::registry::audit::{AuditAction, AuditDetails};

use super::conflicts::check;
use super::decision::{Decided, Decision, DecisionContext, Reply};
use super::session_edit::with_head;
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
}

impl ConfigApply {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        self.check_expected_revision(session)?;
        let edits = staged_edits(session, self.sections);
        context.tokens.check_edits(session, &edits)?;
        check(catalog, session, &edits)?;
        // The first successful apply of a session also ends the session that it replaced.
        let before = catalog.replaced_of(&session.record).and_then(|key| catalog.by_key(key));
        let mut changes: Vec<Change> = before.map(|before| Change::End(before.key)).into_iter().collect();
        let routes_replaced = before.and_then(|before| AuditDetails::of_routes(before).routes);
        let details = AuditDetails { routes_replaced, ..AuditDetails::of_apply(session, &edits) };
        if edits.is_empty() {
            let ends_another = !changes.is_empty();
            let decided = Decided::new(Reply::Applied(session.record.revision), changes);
            let applied = AuditAction::Applied;
            return Ok(if ends_another { decided.with_audit(session.key, applied, details) } else { decided });
        }
        let record = applied(session, &edits, before.map(|before| &**before), context);
        let reply = Reply::Applied(record.revision);
        let event = Event::ConfigApplied { revision: record.revision };
        changes.push(Change::Apply { key: session.key, sections: self.sections, edits: edits.into() });
        changes.push(Change::Record(session.key, Arc::new(record)));
        let decided = Decided::new(reply, changes).with_event(session.key, event);
        Ok(decided.with_audit(session.key, AuditAction::Applied, details))
    }

    fn check_expected_revision(&self, session: &Session) -> Result<(), Error> {
        let now = session.record.revision;
        let Some(expected) = self.expected.as_ref().filter(|expected| !expected.contains(&now)) else {
            return Ok(());
        };
        let given = match expected.as_slice() {
            [seen] => format!("not {seen}"),
            _ => "which is none of those that were given".to_owned(),
        };
        let message = format!("the configuration is at revision {now}, {given}; look at it again, then apply");
        Err(Error::new(Kind::Stale, message))
    }
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
        if let Edit::Route(id, None) = edit {
            record.maintenance.forget(*id);
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
