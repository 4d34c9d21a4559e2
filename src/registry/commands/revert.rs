//! The command that restores an earlier revision of an instance's configuration.
//!
//! The store has the revision; the caller reads it before the command is sent. Invariant: a revert passes the checks of
//! an apply, and loses nothing that is staged.

use crate::domain::{ApplyReason, Catalog, Config, Edit, Error, HistoryMark, Kind, Sections, SessionId, Subject};

use crate::registry::revisions::{RevisionAction, RevisionNote};

use super::apply::{Activation, activate, check_revision};
use super::conflicts::check;
use super::decision::{Decision, DecisionContext};
use super::session_edit::refuse_while_waiting;

/// Restores the configuration of a revision.
#[derive(Clone, Debug)]
pub struct ConfigRevert {
    /// The session, or the instance that an operator names.
    pub subject: Subject,
    /// The revision.
    pub number: u64,
    /// The number of the history that it was read from.
    pub history: u64,
    /// Its configuration.
    pub config: Config,
    /// The revisions that the client expects the session to have. `None` for any.
    pub expected: Option<Vec<u64>>,
    /// The reason, for the history and the audit.
    pub reason: Option<ApplyReason>,
}

impl ConfigRevert {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        check_revision(session, self.expected.as_deref())?;
        // The history may have moved on since the configuration was read.
        let mark = catalog.history_of(&session.record.service, &session.record.instance);
        let kept = mark.filter(|mark| mark.id == self.history && mark.keeps(self.number));
        kept.ok_or_else(|| no_revision(self.number, mark.map(|mark| &**mark)))?;
        refuse_while_waiting(session)?;
        if !session.difference().is_empty() {
            let message = "something is staged, and a revert must not lose it; CONFIG_APPLY or CONFIG_ROLLBACK first";
            return Err(Error::new(Kind::Refused, message));
        }
        let edits: Vec<Edit> = session.active.difference(&self.config).edits().cloned().collect();
        context.tokens.check_restored(session, &self.config, &edits)?;
        check(catalog, session, &edits)?;
        let (action, reason) = (RevisionAction::Reverted, self.reason.clone());
        let note = RevisionNote { action, reason, reverted_to: Some(self.number) };
        Ok(activate(catalog, session, Activation { sections: Sections::ALL, edits, note }, context))
    }
}

/// Returns the refusal for a revision that is not kept.
pub(crate) fn no_revision(number: u64, mark: Option<&HistoryMark>) -> Error {
    let message = match mark {
        None => format!("there is no revision {number}; the instance has not applied anything yet"),
        Some(mark) => {
            let (oldest, last) = (mark.oldest, mark.last);
            format!("there is no revision {number}; revisions {oldest} to {last} are kept, CONFIG_HISTORY lists them")
        }
    };
    Error::new(Kind::NotFound, message)
}
