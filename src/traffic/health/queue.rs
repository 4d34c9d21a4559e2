//! The queue of due checks: the free slots, shared fairly among sessions.
//!
//! Invariants: sessions take turns, and so do the backends of one session. A session never has more checks in flight
//! than slots were free when it began the last one. So a session with many checks leaves slots free for later ones, and each
//! gets fewer the more sessions compete. The last slots go to sessions without a check in flight.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::domain::{SessionKey, Time, may_take_another};

use super::probe_spec::CheckId;

/// The most checks of one session in flight to the same host and port.
pub const PER_BACKEND_MAX: usize = 8;

/// The checks that wait for a slot, and the number of those in flight.
#[derive(Debug)]
pub(super) struct CheckQueue {
    /// The most checks in flight.
    slots: usize,
    under_way: usize,
    /// The sessions with a check that waits or is in flight.
    sessions: HashMap<SessionKey, SessionQueue>,
    /// The sessions that can begin another check, in the order of their turns.
    line: VecDeque<SessionKey>,
}

/// The checks of one session that wait or are in flight.
#[derive(Debug, Default)]
struct SessionQueue {
    /// The backends by their hash.
    backends: BTreeMap<u64, BackendQueue>,
    /// The backends that can be probed again, in the order of their turns.
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

/// A check in the queue: the session that it counts for, the hash of its backend, the time since it waits, and its id.
pub(super) type QueuedCheck = (SessionKey, u64, Time, CheckId);

impl CheckQueue {
    /// Makes an empty queue with `slots` slots.
    pub(super) fn new(slots: usize) -> Self {
        Self { slots, under_way: 0, sessions: HashMap::new(), line: VecDeque::new() }
    }

    /// Returns the number of a session's checks that wait or are in flight.
    pub(super) fn load(&self, session: SessionKey) -> usize {
        self.sessions.get(&session).map_or(0, |share| share.queued + share.under_way)
    }

    /// Adds a check.
    pub(super) fn push(&mut self, (session, backend, since, id): QueuedCheck) {
        let share = self.sessions.entry(session).or_default();
        share.queued += 1;
        share.backends.entry(backend).or_default().queued.insert((since, id));
        self.line_up(session, backend);
    }

    /// Removes a check that waits.
    pub(super) fn remove(&mut self, (session, backend, since, id): QueuedCheck) {
        let Some(share) = self.sessions.get_mut(&session) else { return };
        share.queued = share.queued.saturating_sub(1);
        if let Some(backend) = share.backends.get_mut(&backend) {
            backend.queued.remove(&(since, id));
        }
        self.tidy(session, backend);
    }

    /// Takes out the next check and gives it a slot, if one is free; returns the session that it counts for.
    /// [`CheckQueue::release`] must follow.
    pub(super) fn next(&mut self) -> Option<(SessionKey, CheckId)> {
        let (session, backend, id) = self.first_in_line()?;
        self.under_way += 1;
        if let Some(share) = self.sessions.get_mut(&session) {
            share.under_way += 1;
            share.backends.entry(backend).or_default().under_way += 1;
        }
        self.line_up(session, backend);
        Some((session, id))
    }

    /// Gives back the slot of a check.
    pub(super) fn release(&mut self, session: SessionKey, backend: u64) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(share) = self.sessions.get_mut(&session) {
            share.under_way = share.under_way.saturating_sub(1);
            if let Some(backend) = share.backends.get_mut(&backend) {
                backend.under_way = backend.under_way.saturating_sub(1);
            }
        }
        self.line_up(session, backend);
        self.tidy(session, backend);
    }

    /// Returns true if nothing is in flight and no session is remembered.
    #[cfg(test)]
    pub(super) fn are_at_rest(&self) -> bool {
        self.under_way == 0 && self.sessions.is_empty()
    }

    /// Takes out the next check. Passes over the sessions with as many checks in flight as slots are free; there are few of
    /// them because each holds so many slots.
    fn first_in_line(&mut self) -> Option<(SessionKey, u64, CheckId)> {
        if self.under_way >= self.slots {
            return None;
        }
        for _ in 0..self.line.len() {
            let session = self.line.pop_front()?;
            let Some(share) = self.sessions.get_mut(&session) else { continue };
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
        let Some(share) = self.sessions.get_mut(&session) else { return };
        share.line_up(backend);
        if !share.in_line && !share.line.is_empty() {
            share.in_line = true;
            self.line.push_back(session);
        }
    }

    fn tidy(&mut self, session: SessionKey, backend: u64) {
        if let Some(share) = self.sessions.get_mut(&session) {
            share.tidy(backend);
            self.forget_idle(session);
        }
    }

    fn forget_idle(&mut self, session: SessionKey) {
        if self.sessions.get(&session).is_some_and(|share| share.backends.is_empty() && !share.in_line) {
            self.sessions.remove(&session);
        }
    }
}

impl SessionQueue {
    /// Takes out the next check of the session.
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

    /// Forgets a backend without checks.
    fn tidy(&mut self, origin: u64) {
        let idle = |backend: &BackendQueue| backend.queued.is_empty() && backend.under_way == 0 && !backend.in_line;
        if self.backends.get(&origin).is_some_and(idle) {
            self.backends.remove(&origin);
        }
    }
}
