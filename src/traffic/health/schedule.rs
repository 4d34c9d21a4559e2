//! Which checks are due: the schedule of active health checks.
//!
//! It follows the routing table, says which check to begin and who learns of its outcome, and makes none itself: that is the
//! checker's. What must hold: every active route is asked about, first at once, then once per interval; endpoints that ask
//! the same of the same backend share one check; checks under way are bounded, in all and for each session, and sessions
//! take queue, so that nobody's routes and no dead backend hold up the checks of others; following a change costs no more
//! than the change.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::domain::{RouteId, SessionKey, Span, Time};

use super::endpoint_health::jittered_interval;
use super::probe_spec::{CheckId, CheckTarget, ProbeSpec};
use super::queue::CheckQueue;
use crate::traffic::endpoint::{Endpoint, LiveState};

/// So many checks at most get in line at once: a thread has more to do.
const LINE_UP_MAX: usize = 256;

/// Checks that begin together are due within this time.
const BATCH_MILLIS_MAX: u64 = 250;

type EndpointKey = (SessionKey, RouteId);

/// Those whom a check is for.
type CheckTargets = BTreeMap<EndpointKey, Arc<LiveState>>;

/// All checks.
#[derive(Debug)]
pub struct CheckSchedule {
    last_id: u64,
    // A table of very many would take as long to grow as the pings of others may; neither of these grows at once.
    ids: imbl::HashMap<Arc<ProbeSpec>, CheckId>,
    entries: BTreeMap<CheckId, ScheduledCheck>,
    /// Those that wait for their time.
    due: BTreeSet<(Time, CheckId)>,
    queue: CheckQueue,
}

#[derive(Debug)]
struct ScheduledCheck {
    spec: Arc<ProbeSpec>,
    /// The backend, as [`Endpoint::origin_hash`].
    origin: u64,
    /// Whom it is for.
    targets: CheckTargets,
    /// Those of them that have not been told anything yet.
    fresh: CheckTargets,
    /// When all are to be told next.
    turn: Time,
    stage: CheckStage,
}

#[derive(Debug)]
enum CheckStage {
    /// For its time.
    Waiting(Time),
    /// For room, since then, as one of this session's checks.
    Queued(Time, SessionKey),
    /// It is for everybody, or only for the fresh ones; it counts as this session's.
    UnderWay(Audience, SessionKey),
}

#[derive(Debug)]
enum Audience {
    All,
    Fresh(CheckTargets),
}

impl CheckSchedule {
    /// None yet; `slots` may be under way at once.
    pub fn new(slots: usize) -> Self {
        Self {
            last_id: 0,
            ids: imbl::HashMap::new(),
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            queue: CheckQueue::new(slots),
        }
    }

    /// Takes in that an endpoint came, went or changed. Gives the check under way that is for nobody any more, if there is one.
    pub fn update(&mut self, old: Option<&Endpoint>, new: Option<&Endpoint>, now: Time) -> Option<CheckId> {
        if let (Some(old), Some(new)) = (old, new)
            && asks_the_same(old, new)
        {
            return None;
        }
        let dropped = old.and_then(|old| self.leave(old));
        if let Some(new) = new {
            self.join(new, now);
        }
        dropped
    }

    /// Gets checks in line whose time has come. Says whether there may be more of them.
    pub fn line_up_due(&mut self, now: Time) -> bool {
        for _ in 0..LINE_UP_MAX {
            let Some((due, id)) = self.due.first().copied().filter(|(due, _)| *due <= now) else { return false };
            self.due.remove(&(due, id));
            self.enqueue(id, due, now);
        }
        true
    }

    /// The next check in line to begin at `now`, if there is one and room for it. Its [`CheckSchedule::end`] must follow.
    pub fn begin(&mut self, now: Time) -> Option<(CheckId, Arc<ProbeSpec>)> {
        let (session, id) = self.queue.next()?;
        let entry = self.entries.get_mut(&id)?;
        let audience =
            if entry.turn <= now { Audience::All } else { Audience::Fresh(std::mem::take(&mut entry.fresh)) };
        entry.stage = CheckStage::UnderWay(audience, session);
        let spec = Arc::clone(&entry.spec);
        Some((id, spec))
    }

    /// The session whose place a check takes: the name of the backend is looked up in its turn.
    pub fn session_of(&self, id: CheckId) -> Option<SessionKey> {
        match self.entries.get(&id)?.stage {
            CheckStage::UnderWay(_, session) | CheckStage::Queued(_, session) => Some(session),
            CheckStage::Waiting(_) => None,
        }
    }

    /// A check has ended. Gives whom its finding concerns, and what was asked. `chance`: 64 random bits.
    pub fn end(&mut self, id: CheckId, now: Time, chance: u64) -> Option<(Arc<ProbeSpec>, Vec<CheckTarget>)> {
        let entry = self.entries.get_mut(&id)?;
        let CheckStage::UnderWay(audience, session) = &entry.stage else { return None };
        let session = *session;
        let told = match audience {
            Audience::All => {
                entry.fresh.clear();
                entry.turn = together(now.after(jittered_interval(entry.spec.interval, chance)), entry.spec.interval);
                told(&entry.targets)
            }
            Audience::Fresh(fresh) => told(fresh),
        };
        let due = if entry.fresh.is_empty() { entry.turn } else { now };
        entry.stage = CheckStage::Waiting(due);
        self.due.insert((due, id));
        let (spec, origin) = (Arc::clone(&entry.spec), entry.origin);
        self.queue.release(session, origin);
        Some((spec, told))
    }

    /// The number of routes that a check is for.
    pub fn targets(&self, id: CheckId) -> usize {
        self.entries.get(&id).map_or(0, |entry| entry.targets.len())
    }

    /// When the next check is due; what waits only for room does not count.
    pub fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(due, _)| *due)
    }

    /// How many different checks there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// True if nothing is under way and nothing remembered of what was.
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
        // Who has little to wait for must not wait behind the many of somebody who asks the same.
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
        self.entries.insert(id, ScheduledCheck { spec, origin, targets, fresh, turn: now, stage });
    }

    /// The check under way that is now for nobody, if there is one.
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
            // It may be nothing of that session's any more.
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

    /// Lets a check wait for room, as one of the session's that has least to wait for among those whom it is for.
    fn enqueue(&mut self, id: CheckId, since: Time, now: Time) {
        let Some(entry) = self.entries.get(&id) else { return };
        let only_fresh = entry.turn > now && !entry.fresh.is_empty();
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

    /// Takes a check out of its line, if it is in one. What its stage is now, the caller says.
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

fn told(targets: &CheckTargets) -> Vec<CheckTarget> {
    let told = targets.iter();
    told.map(|((session, route), live)| CheckTarget { session: *session, route: *route, live: Arc::clone(live) })
        .collect()
}

/// A little earlier, so that checks with long intervals begin in batches: a task that wakes up for each of them costs more
/// than the checks. By a 64th of the interval at most.
fn together(turn: Time, interval: Span) -> Time {
    let grid = (interval.millis() / 64).clamp(1, BATCH_MILLIS_MAX);
    Time(turn.0 - turn.0 % grid)
}

fn asks_the_same(old: &Endpoint, new: &Endpoint) -> bool {
    // Another live state knows nothing yet, even if it is for the backend that was there before the last.
    Arc::<LiveState>::ptr_eq(&old.live, &new.live) && ProbeSpec::of(old) == ProbeSpec::of(new)
}
