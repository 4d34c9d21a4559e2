//! The schedule of active health checks.
//!
//! It follows the routing table and says which probe to send when, and which routes its result is for. The checker sends the
//! probes. Invariants: each active route is checked at once, then once in each interval; endpoints with equal
//! [`ProbeSpec`]s share one check; the probes in flight are bounded, in all and for each session, and sessions take turns,
//! so that no session's routes and no dead backend delay the checks of others; a change costs no more than its size.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::domain::{RouteId, SessionKey, Span, Time};

use super::endpoint_health::jittered_interval;
use super::probe_spec::{CheckId, CheckTarget, ProbeSpec};
use super::queue::CheckQueue;
use crate::traffic::endpoint::{Endpoint, LiveState};

/// The most checks that one call puts into the queue, because the thread has other tasks.
const LINE_UP_MAX: usize = 256;

/// Checks that are due within this time in milliseconds begin together.
const BATCH_MILLIS_MAX: u64 = 250;

type EndpointKey = (SessionKey, RouteId);

/// The routes that a check is for.
type CheckTargets = BTreeMap<EndpointKey, Arc<LiveState>>;

/// All checks and the times when they are due.
#[derive(Debug)]
pub struct CheckSchedule {
    last_id: u64,
    // Both maps grow in small steps. A hash table would double at once, and delay the other tasks of the thread.
    ids: imbl::HashMap<Arc<ProbeSpec>, CheckId>,
    entries: BTreeMap<CheckId, ScheduledCheck>,
    /// The checks that wait for their time.
    due: BTreeSet<(Time, CheckId)>,
    queue: CheckQueue,
}

#[derive(Debug)]
struct ScheduledCheck {
    spec: Arc<ProbeSpec>,
    /// The backend's [`Endpoint::origin_hash`].
    origin: u64,
    /// The routes that the check is for.
    targets: CheckTargets,
    /// The targets that have had no result yet.
    fresh: CheckTargets,
    /// The time of the next check for all targets.
    next_for_all: Time,
    stage: CheckStage,
}

#[derive(Debug)]
enum CheckStage {
    /// Waits until this time.
    Waiting(Time),
    /// Waits for a slot since this time, and counts for this session.
    Queued(Time, SessionKey),
    /// In flight for these targets, and counts for this session.
    UnderWay(Audience, SessionKey),
}

#[derive(Debug)]
enum Audience {
    All,
    Fresh(CheckTargets),
}

impl CheckSchedule {
    /// Makes an empty schedule; at most `slots` probes are in flight.
    pub fn new(slots: usize) -> Self {
        Self {
            last_id: 0,
            ids: imbl::HashMap::new(),
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            queue: CheckQueue::new(slots),
        }
    }

    /// Follows an endpoint that was added, removed or changed. Returns a check in flight that no route needs any more.
    pub fn update(&mut self, old: Option<&Endpoint>, new: Option<&Endpoint>, now: Time) -> Option<CheckId> {
        if let (Some(old), Some(new)) = (old, new)
            && has_same_check(old, new)
        {
            return None;
        }
        let dropped = old.and_then(|old| self.leave(old));
        if let Some(new) = new {
            self.join(new, now);
        }
        dropped
    }

    /// Puts due checks into the queue. Returns true if more may be due.
    pub fn line_up_due(&mut self, now: Time) -> bool {
        for _ in 0..LINE_UP_MAX {
            let Some((due, id)) = self.due.first().copied().filter(|(due, _)| *due <= now) else { return false };
            self.due.remove(&(due, id));
            self.enqueue(id, due, now);
        }
        true
    }

    /// Begins the next check of the queue, if there is one and a slot is free. [`CheckSchedule::end`] must follow.
    pub fn begin(&mut self, now: Time) -> Option<(CheckId, Arc<ProbeSpec>)> {
        let (session, id) = self.queue.next()?;
        let entry = self.entries.get_mut(&id)?;
        let audience =
            if entry.next_for_all <= now { Audience::All } else { Audience::Fresh(std::mem::take(&mut entry.fresh)) };
        entry.stage = CheckStage::UnderWay(audience, session);
        let spec = Arc::clone(&entry.spec);
        Some((id, spec))
    }

    /// Returns the session that a check counts for. Its turn is used to resolve the name of the backend as well.
    pub fn session_of(&self, id: CheckId) -> Option<SessionKey> {
        match self.entries.get(&id)?.stage {
            CheckStage::UnderWay(_, session) | CheckStage::Queued(_, session) => Some(session),
            CheckStage::Waiting(_) => None,
        }
    }

    /// Ends a check, and returns its spec and the routes that its result is for. `random_bits` is 64 random bits.
    pub fn end(&mut self, id: CheckId, now: Time, random_bits: u64) -> Option<(Arc<ProbeSpec>, Vec<CheckTarget>)> {
        let entry = self.entries.get_mut(&id)?;
        let CheckStage::UnderWay(audience, session) = &entry.stage else { return None };
        let session = *session;
        let told = match audience {
            Audience::All => {
                entry.fresh.clear();
                entry.next_for_all = rounded_to_batch(
                    now.after(jittered_interval(entry.spec.interval, random_bits)),
                    entry.spec.interval,
                );
                listed(&entry.targets)
            }
            Audience::Fresh(fresh) => listed(fresh),
        };
        let due = if entry.fresh.is_empty() { entry.next_for_all } else { now };
        entry.stage = CheckStage::Waiting(due);
        self.due.insert((due, id));
        let (spec, origin) = (Arc::clone(&entry.spec), entry.origin);
        self.queue.release(session, origin);
        Some((spec, told))
    }

    /// Returns the number of routes that a check is for.
    pub fn targets(&self, id: CheckId) -> usize {
        self.entries.get(&id).map_or(0, |entry| entry.targets.len())
    }

    /// Returns the time when the next check is due. A check that waits for a slot does not count.
    pub fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Returns the number of different checks.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true if there are no checks.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns true if nothing is in flight and no session is remembered.
    #[cfg(test)]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.queue.are_at_rest()
    }

    fn join(&mut self, endpoint: &Endpoint, now: Time) {
        let (spec, key, live) = (ProbeSpec::of(endpoint), key(endpoint), Arc::clone(&endpoint.live));
        let Some(id) = self.ids.get(&spec).copied() else {
            return self.open(key, live, spec, endpoint.origin_hash, now);
        };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.fresh.insert(key, Arc::clone(&live));
        entry.targets.insert(key, live);
        let queued = match entry.stage {
            CheckStage::Waiting(due) => {
                self.due.remove(&(due, id));
                entry.stage = CheckStage::Waiting(now.min(due));
                self.due.insert((now.min(due), id));
                None
            }
            CheckStage::Queued(since, session) => Some((since, session)),
            CheckStage::UnderWay(..) => None,
        };
        // A session with few checks must not wait behind the many of another session with the same spec.
        if let Some((since, session)) = queued
            && self.queue.load(key.0) < self.queue.load(session)
        {
            self.dequeue(id);
            self.enqueue_for(id, since, key.0);
        }
    }

    fn open(&mut self, key: EndpointKey, live: Arc<LiveState>, spec: ProbeSpec, origin: u64, now: Time) {
        self.last_id += 1;
        let (id, spec) = (CheckId::new(self.last_id), Arc::new(spec));
        self.ids.insert(Arc::clone(&spec), id);
        self.due.insert((now, id));
        let (targets, fresh, stage) =
            (CheckTargets::from([(key, live)]), CheckTargets::new(), CheckStage::Waiting(now));
        self.entries.insert(id, ScheduledCheck { spec, origin, targets, fresh, next_for_all: now, stage });
    }

    /// Removes an endpoint from its check. Returns the check if it is in flight and no route needs it any more.
    fn leave(&mut self, endpoint: &Endpoint) -> Option<CheckId> {
        let id = self.ids.get(&ProbeSpec::of(endpoint)).copied()?;
        let entry = self.entries.get_mut(&id)?;
        let key = key(endpoint);
        entry.targets.remove(&key)?;
        entry.fresh.remove(&key);
        if let CheckStage::UnderWay(Audience::Fresh(fresh), _) = &mut entry.stage {
            fresh.remove(&key);
        }
        if entry.targets.is_empty() {
            return self.close(id);
        }
        if let CheckStage::Queued(since, session) = entry.stage
            && session == key.0
        {
            // The check may no longer belong to that session.
            self.dequeue(id);
            self.enqueue(id, since, since);
        }
        None
    }

    fn close(&mut self, id: CheckId) -> Option<CheckId> {
        self.dequeue(id);
        let entry = self.entries.remove(&id)?;
        self.ids.remove(&entry.spec);
        match entry.stage {
            CheckStage::Waiting(due) => {
                self.due.remove(&(due, id));
                None
            }
            CheckStage::Queued(..) => None,
            CheckStage::UnderWay(_, session) => {
                self.queue.release(session, entry.origin);
                Some(id)
            }
        }
    }

    /// Puts a check into the queue. It counts for the session with the fewest checks among its targets.
    fn enqueue(&mut self, id: CheckId, since: Time, now: Time) {
        let Some(entry) = self.entries.get(&id) else { return };
        let only_fresh = entry.next_for_all > now && !entry.fresh.is_empty();
        let whom = if only_fresh { &entry.fresh } else { &entry.targets };
        let mut least: Option<(usize, SessionKey)> = None;
        let mut from = Bound::Unbounded;
        while let Some(((session, _), _)) = whom.range((from, Bound::Unbounded)).next() {
            let load = self.queue.load(*session);
            if least.is_none_or(|(least, _)| load < least) {
                least = Some((load, *session));
            }
            if load == 0 {
                break;
            }
            from = Bound::Excluded((*session, RouteId(u32::MAX)));
        }
        if let Some((_, session)) = least {
            self.enqueue_for(id, since, session);
        }
    }

    fn enqueue_for(&mut self, id: CheckId, since: Time, session: SessionKey) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.stage = CheckStage::Queued(since, session);
        self.queue.push((session, entry.origin, since, id));
    }

    /// Removes a check from the queue, if it is there. The caller sets its new stage.
    fn dequeue(&mut self, id: CheckId) {
        let Some(entry) = self.entries.get(&id) else { return };
        if let CheckStage::Queued(since, session) = entry.stage {
            self.queue.remove((session, entry.origin, since, id));
        }
    }
}

fn key(endpoint: &Endpoint) -> EndpointKey {
    (endpoint.session, endpoint.id())
}

fn listed(targets: &CheckTargets) -> Vec<CheckTarget> {
    let told = targets.iter();
    told.map(|((session, route), live)| CheckTarget { session: *session, route: *route, live: Arc::clone(live) })
        .collect()
}

/// Moves a time back by at most a 64th of the interval, so that checks with long intervals begin in batches. Waking the task
/// for each one costs more than the checks.
fn rounded_to_batch(turn: Time, interval: Span) -> Time {
    let grid = (interval.millis() / 64).clamp(1, BATCH_MILLIS_MAX);
    Time(turn.0 - turn.0 % grid)
}

fn has_same_check(old: &Endpoint, new: &Endpoint) -> bool {
    // A new live state knows nothing, even if the backend is the one before the last.
    Arc::<LiveState>::ptr_eq(&old.live, &new.live) && ProbeSpec::of(old) == ProbeSpec::of(new)
}
