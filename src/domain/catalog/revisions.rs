//! Reads of a catalog about revisions: the histories of instances, and the applies that wait for their confirmation.

use std::sync::Arc;

use crate::domain::{ConfirmationId, HistoryMark, InstanceName, ServiceName, Session, SessionRecord};

use super::Catalog;

impl Catalog {
    /// Returns the kept revisions of an instance; `None` if it has not applied anything.
    pub fn history_of(&self, service: &ServiceName, instance: &InstanceName) -> Option<&Arc<HistoryMark>> {
        self.histories.of(&(service.clone(), instance.clone()))
    }

    /// Returns the mark of the next revision of a session's instance.
    pub fn next_history(&self, record: &SessionRecord) -> HistoryMark {
        let known = self.history_of(&record.service, &record.instance);
        known.map_or_else(|| HistoryMark::first(record, self.histories.next_id()), |mark| mark.next())
    }

    /// Returns a history to forget, if there are too many of instances without a session.
    pub fn surplus_history(&self) -> Option<&Arc<HistoryMark>> {
        self.histories.surplus()
    }

    /// Returns the number of instances that have revisions.
    pub fn histories_len(&self) -> usize {
        self.histories.len()
    }

    /// Returns the session whose apply waits for a confirmation.
    pub fn confirming(&self, id: &ConfirmationId) -> Option<&Arc<Session>> {
        self.confirmations.of(id).and_then(|key| self.sessions.get(&key))
    }

    /// Returns the sessions whose apply has a guard.
    pub fn guarded(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.confirmations.guarded().filter_map(|key| self.sessions.get(key))
    }
}
