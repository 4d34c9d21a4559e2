//! The applies of a catalog that wait for their confirmation, by id, and those among them that have a guard.

use std::sync::Arc;

use imbl::{HashMap, OrdSet};

use crate::domain::{Confirmation, ConfirmationId, Session, SessionKey};

/// The indexes of waiting applies.
#[derive(Clone, Debug, Default)]
pub(super) struct Confirmations {
    ids: HashMap<ConfirmationId, SessionKey>,
    guarded: OrdSet<SessionKey>,
}

impl Confirmations {
    /// Adds one.
    pub(super) fn add(&mut self, key: SessionKey, confirmation: &Confirmation) {
        self.ids.insert(confirmation.id.clone(), key);
        if confirmation.guard.is_some() {
            self.guarded.insert(key);
        }
    }

    /// Removes one.
    pub(super) fn remove(&mut self, key: SessionKey, confirmation: &Confirmation) {
        self.ids.remove(&confirmation.id);
        self.guarded.remove(&key);
    }

    /// Returns the session of an id.
    pub(super) fn of(&self, id: &ConfirmationId) -> Option<SessionKey> {
        self.ids.get(id).copied()
    }

    /// Returns the sessions whose apply has a guard.
    pub(super) fn guarded(&self) -> impl Iterator<Item = &SessionKey> {
        self.guarded.iter()
    }

    /// Returns the first difference between the indexes and the sessions. For checks.
    pub(super) fn disagreement<'a>(&self, sessions: impl Iterator<Item = &'a Arc<Session>>) -> Option<String> {
        let (mut waiting, mut guarded) = (0, 0);
        for session in sessions {
            let Some(confirmation) = &session.confirmation else { continue };
            waiting += 1;
            guarded += usize::from(confirmation.guard.is_some());
            let is_known = self.ids.get(&confirmation.id) == Some(&session.key);
            if !is_known || self.guarded.contains(&session.key) != confirmation.guard.is_some() {
                return Some(format!("the index does not have the confirmation of session {:?}", session.key));
            }
        }
        let indexed = (self.ids.len(), self.guarded.len());
        (indexed != (waiting, guarded)).then(|| format!("{indexed:?} confirmations are indexed, {waiting} wait"))
    }
}
