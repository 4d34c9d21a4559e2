//! The histories of a catalog: one mark for each instance that has applied something, also after its session ended.
//!
//! Those without a session are in the order in which they lost it, so that the oldest of them can be forgotten.

use std::sync::Arc;

use imbl::OrdMap;

use crate::domain::{HistoryMark, InstanceName, ServiceName};

/// The number of histories that are kept of instances without a session.
const IDLE_MAX: usize = 1_000;

type InstanceKey = (ServiceName, InstanceName);

/// The history of an instance.
#[derive(Clone, Debug)]
struct KeptHistory {
    mark: Arc<HistoryMark>,
    /// The place among those without a session.
    idle: Option<u64>,
}

/// The histories, and the order of those without a session.
#[derive(Clone, Debug, Default)]
pub(super) struct Histories {
    kept: OrdMap<InstanceKey, KeptHistory>,
    idle: OrdMap<u64, InstanceKey>,
    last_idle: u64,
    last_id: u64,
}

impl Histories {
    /// Returns the mark of an instance.
    pub(super) fn of(&self, instance: &InstanceKey) -> Option<&Arc<HistoryMark>> {
        self.kept.get(instance).map(|kept| &kept.mark)
    }

    /// Returns the number of the next history.
    pub(super) fn next_id(&self) -> u64 {
        self.last_id + 1
    }

    /// Returns the history to forget: that of the instance whose session ended first, if there are too many of them.
    pub(super) fn surplus(&self) -> Option<&Arc<HistoryMark>> {
        let (_, oldest) = self.idle.get_min().filter(|_| self.idle.len() > IDLE_MAX)?;
        self.of(oldest)
    }

    /// Takes in a mark of an instance.
    pub(super) fn remember(&mut self, mark: &Arc<HistoryMark>, has_session: bool) {
        let instance = (mark.service.clone(), mark.instance.clone());
        self.last_id = self.last_id.max(mark.id);
        let idle = self.kept.get(&instance).and_then(|kept| kept.idle);
        self.kept.insert(instance.clone(), KeptHistory { mark: Arc::clone(mark), idle });
        if !has_session {
            self.ended(&instance);
        }
    }

    /// Drops a history.
    pub(super) fn forget(&mut self, mark: &HistoryMark) {
        let instance = (mark.service.clone(), mark.instance.clone());
        if let Some(place) = self.kept.remove(&instance).and_then(|kept| kept.idle) {
            self.idle.remove(&place);
        }
    }

    /// Notes that an instance has a session.
    pub(super) fn opened(&mut self, instance: &InstanceKey) {
        if let Some(place) = self.kept.get_mut(instance).and_then(|kept| kept.idle.take()) {
            self.idle.remove(&place);
        }
    }

    /// Notes that an instance has no session any more.
    pub(super) fn ended(&mut self, instance: &InstanceKey) {
        let Some(kept) = self.kept.get_mut(instance).filter(|kept| kept.idle.is_none()) else { return };
        self.last_idle += 1;
        kept.idle = Some(self.last_idle);
        self.idle.insert(self.last_idle, instance.clone());
    }

    /// Returns the number of histories.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Returns the first difference between the order and the histories. For checks.
    pub(super) fn disagreement(&self, has_session: impl Fn(&InstanceKey) -> bool) -> Option<String> {
        let placed = self.kept.iter().filter(|(_, kept)| kept.idle.is_some()).count();
        if placed != self.idle.len() {
            return Some(format!("{placed} histories have a place, {} places are taken", self.idle.len()));
        }
        let wrong = self.kept.iter().find(|(instance, kept)| {
            let in_place = kept.idle.is_none_or(|place| self.idle.get(&place) == Some(*instance));
            !in_place || kept.idle.is_some() == has_session(instance) || kept.mark.id > self.last_id
        });
        wrong.map(|(instance, kept)| format!("the history of {instance:?} is {kept:?}"))
    }
}
