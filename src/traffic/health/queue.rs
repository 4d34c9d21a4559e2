//! Whose check begins next: the room that there is for checks, shared out among sessions.
//!
//! What must hold: sessions take turns, and so do the backends of one session; a session never has more under way than was free
//! when it began another, so that one that wants many leaves room for others before they come, and the more want many,
//! the fewer each gets. What is left in the end is for sessions that have none under way.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::domain::{SessionKey, Time, may_take_another};

use super::probe_spec::CheckId;

/// Checks of one session under way at once that ask the same host and port.
pub const PER_BACKEND_MAX: usize = 8;

/// The checks that wait for room, and how many are under way.
#[derive(Debug)]
pub(super) struct CheckQueue {
    /// Checks that may be under way at once.
    slots: usize,
    under_way: usize,
    /// The sessions that have a check waiting or under way.
    shares: HashMap<SessionKey, SessionQueue>,
    /// Those of them that can have another check, in turn.
    line: VecDeque<SessionKey>,
}

/// What waits and is under way of a session.
#[derive(Debug, Default)]
struct SessionQueue {
    /// By their hash.
    backends: BTreeMap<u64, BackendQueue>,
    /// Those of them that can have another check, in turn.
    line: VecDeque<u64>,
    queued: usize,
    under_way: usize,
    in_line: bool,
}

#[derive(Debug, Default)]
struct BackendQueue {
    queued: BTreeSet<(Time, CheckId)>,
    under_way: usize,
    in_line: bool,
}

/// A check's place: whose it counts as, the hash of the backend that it asks, since when it waits, and its name.
pub(super) type QueuedCheck = (SessionKey, u64, Time, CheckId);

impl CheckQueue {
    /// Nothing waits yet; `slots` may be under way at once.
    pub(super) fn new(slots: usize) -> Self {
        Self { slots, under_way: 0, shares: HashMap::new(), line: VecDeque::new() }
    }

    /// How much a session has waiting and under way.
    pub(super) fn load(&self, session: SessionKey) -> usize {
        self.shares.get(&session).map_or(0, |share| share.queued + share.under_way)
    }

    /// Gets a check in line.
    pub(super) fn push(&mut self, (session, backend, since, id): QueuedCheck) {
        let share = self.shares.entry(session).or_default();
        share.queued += 1;
        share.backends.entry(backend).or_default().queued.insert((since, id));
        self.line_up(session, backend);
    }

    /// Takes a check out of its line.
    pub(super) fn remove(&mut self, (session, backend, since, id): QueuedCheck) {
        let Some(share) = self.shares.get_mut(&session) else { return };
        share.queued = share.queued.saturating_sub(1);
        if let Some(backend) = share.backends.get_mut(&backend) {
            backend.queued.remove(&(since, id));
        }
        self.tidy(session, backend);
    }

    /// The check to begin now, as whose, if there is room. Its [`CheckQueue::release`] must follow.
    pub(super) fn next(&mut self) -> Option<(SessionKey, CheckId)> {
        let (session, backend, id) = self.first_in_line()?;
        self.under_way += 1;
        if let Some(share) = self.shares.get_mut(&session) {
            share.under_way += 1;
            share.backends.entry(backend).or_default().under_way += 1;
        }
        self.line_up(session, backend);
        Some((session, id))
    }

    /// A check is not under way any more.
    pub(super) fn release(&mut self, session: SessionKey, backend: u64) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(share) = self.shares.get_mut(&session) {
            share.under_way = share.under_way.saturating_sub(1);
            if let Some(backend) = share.backends.get_mut(&backend) {
                backend.under_way = backend.under_way.saturating_sub(1);
            }
        }
        self.line_up(session, backend);
        self.tidy(session, backend);
    }

    /// True if nothing is under way and nothing remembered of what was.
    #[cfg(test)]
    pub(super) fn are_at_rest(&self) -> bool {
        self.under_way == 0 && self.shares.is_empty()
    }

    /// Takes the check out that is to begin now. Passes over sessions that have as many under way as are free: a few, for each
    /// of them holds so many.
    fn first_in_line(&mut self) -> Option<(SessionKey, u64, CheckId)> {
        if self.under_way >= self.slots {
            return None;
        }
        for _ in 0..self.line.len() {
            let session = self.line.pop_front()?;
            let Some(share) = self.shares.get_mut(&session) else { continue };
            if !may_take_another(self.slots, self.under_way, share.under_way) {
                self.line.push_back(session);
                continue;
            }
            share.in_line = false;
            if let Some((backend, id)) = share.next() {
                return Some((session, backend, id));
            }
            self.forget_idle(session);
        }
        None
    }

    fn line_up(&mut self, session: SessionKey, backend: u64) {
        let Some(share) = self.shares.get_mut(&session) else { return };
        share.line_up(backend);
        if !share.in_line && !share.line.is_empty() {
            share.in_line = true;
            self.line.push_back(session);
        }
    }

    fn tidy(&mut self, session: SessionKey, backend: u64) {
        if let Some(share) = self.shares.get_mut(&session) {
            share.tidy(backend);
            self.forget_idle(session);
        }
    }

    fn forget_idle(&mut self, session: SessionKey) {
        if self.shares.get(&session).is_some_and(|share| share.backends.is_empty() && !share.in_line) {
            self.shares.remove(&session);
        }
    }
}

impl SessionQueue {
    /// Takes the check out that is to begin now.
    fn next(&mut self) -> Option<(u64, CheckId)> {
        while let Some(origin) = self.line.pop_front() {
            let Some(backend) = self.backends.get_mut(&origin) else { continue };
            backend.in_line = false;
            if let Some((_, id)) = backend.queued.pop_first() {
                self.queued = self.queued.saturating_sub(1);
                return Some((origin, id));
            }
            self.tidy(origin);
        }
        None
    }

    fn line_up(&mut self, origin: u64) {
        let Some(backend) = self.backends.get_mut(&origin) else { return };
        if !backend.in_line && !backend.queued.is_empty() && backend.under_way < PER_BACKEND_MAX {
            backend.in_line = true;
            self.line.push_back(origin);
        }
    }

    /// Forgets a backend about which nothing is left to know.
    fn tidy(&mut self, origin: u64) {
        let idle = |backend: &BackendQueue| backend.queued.is_empty() && backend.under_way == 0 && !backend.in_line;
        if self.backends.get(&origin).is_some_and(idle) {
            self.backends.remove(&origin);
        }
    }
}
