//! Which checks are due: the schedule of active health checks.
//!
//! It follows the routing table, says which check to begin and who learns of its outcome, and makes none itself: that is the
//! checker's. What must hold: every active route is asked about, first at once, then once per interval; endpoints that ask
//! the same of the same backend share one check; checks under way are bounded, for each backend too, so that neither
//! many routes nor a dead backend hold up the others; following a change costs no more than the change.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use crate::domain::{BackendUrl, PathPrefix, RouteId, SessionKey, Span, Time};

use super::{Check, Endpoint, Live, Table, next_check};

/// Checks under way at once.
pub const AT_ONCE_MAX: usize = 256;
/// Those of them that ask the same host and port.
pub const PER_BACKEND_MAX: usize = 8;

/// Checks that begin together are due within this time.
const BATCH_MILLIS_MAX: u64 = 250;

/// What is asked, of whom, and how the answer is judged. Endpoints for which it is the same share one check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inquiry {
    /// Who is asked.
    pub backend: BackendUrl,
    /// What for, below the backend's base path.
    pub path: PathPrefix,
    /// What counts as well.
    pub check: Check,
    /// From one check to the next.
    pub interval: Span,
    /// How long the answer may take.
    pub timeout: Span,
    /// Whether the backend's certificate counts, where it has one.
    pub tls_verify: bool,
}

impl Inquiry {
    /// What an endpoint wants to know.
    pub fn of(endpoint: &Endpoint) -> Self {
        let options = endpoint.options();
        let (path, interval, timeout) = match &endpoint.policy.health_check {
            Some(explicit) => (&explicit.path, explicit.interval, explicit.timeout),
            None => (&options.health_check_path, options.health_check_interval, options.health_check_timeout),
        };
        Self {
            backend: endpoint.backend().clone(),
            path: path.clone(),
            check: endpoint.check(),
            interval,
            timeout,
            tls_verify: options.tls_verify,
        }
    }
}

/// Names a check, from its first time to its last. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(u64);

type Key = (SessionKey, RouteId);

/// Whom a check is for.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Whose the route is.
    pub session: SessionKey,
    /// The route.
    pub route: RouteId,
    /// What is made of it; the same over changes that leave the check as it is.
    pub live: Arc<Live>,
}

impl Subject {
    fn of(endpoint: &Endpoint) -> Self {
        Self { session: endpoint.session, route: endpoint.id(), live: Arc::clone(&endpoint.live) }
    }

    const fn key(&self) -> Key {
        (self.session, self.route)
    }
}

/// All checks.
#[derive(Debug, Default)]
pub struct Checks {
    /// The table's, as last followed.
    endpoints: OrdMap<Key, Arc<Endpoint>>,
    last_id: u64,
    ids: HashMap<Arc<Inquiry>, CheckId>,
    entries: HashMap<CheckId, Entry>,
    /// Those that wait for their time.
    due: BTreeSet<(Time, CheckId)>,
    /// By [`Endpoint::origin_hash`]: those that have a check waiting for room, or under way.
    backends: HashMap<u64, Backend>,
    /// The backends that can have another check, in turn.
    line: VecDeque<u64>,
    under_way: usize,
}

#[derive(Debug)]
struct Entry {
    inquiry: Arc<Inquiry>,
    origin: u64,
    /// Whom it is for, in the order of their keys.
    subjects: Vec<Subject>,
    /// Those of them that have not been told anything yet.
    fresh: BTreeSet<Key>,
    /// When all are to be told next.
    turn: Time,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// For its time.
    Waiting(Time),
    /// For room, since.
    Queued(Time),
    /// It is for everybody, or only for the fresh ones.
    UnderWay(Audience),
}

#[derive(Debug)]
enum Audience {
    All,
    Fresh(BTreeSet<Key>),
}

#[derive(Debug, Default)]
struct Backend {
    queued: BTreeSet<(Time, CheckId)>,
    under_way: usize,
    in_line: bool,
}

impl Checks {
    /// Takes in what has changed in the table since the last call. Gives the checks under way that are for nobody any more.
    pub fn follow(&mut self, table: &Table, now: Time) -> Vec<CheckId> {
        let old = std::mem::replace(&mut self.endpoints, table.endpoints().clone());
        let new = self.endpoints.clone();
        let mut dropped = Vec::new();
        for change in old.diff(&new) {
            match change {
                DiffItem::Add(_, endpoint) => self.join(endpoint, now),
                DiffItem::Remove(_, endpoint) => dropped.extend(self.leave(endpoint)),
                DiffItem::Update { old: (_, old), new: (_, new) } => {
                    if !asks_the_same(old, new) {
                        dropped.extend(self.leave(old));
                        self.join(new, now);
                    }
                }
            }
        }
        dropped
    }

    /// The next check to begin at `now`, if there is one and room for it. Its [`Checks::end`] must follow.
    pub fn begin(&mut self, now: Time) -> Option<(CheckId, Arc<Inquiry>)> {
        self.queue_what_is_due(now);
        if self.under_way >= AT_ONCE_MAX {
            return None;
        }
        let (origin, id) = self.first_in_line()?;
        let entry = self.entries.get_mut(&id)?;
        let audience =
            if entry.turn <= now { Audience::All } else { Audience::Fresh(std::mem::take(&mut entry.fresh)) };
        entry.stage = Stage::UnderWay(audience);
        let inquiry = Arc::clone(&entry.inquiry);
        self.under_way += 1;
        self.backends.entry(origin).or_default().under_way += 1;
        self.line_up(origin);
        Some((id, inquiry))
    }

    /// A check has ended. Gives whom its finding concerns, and what was asked. `chance`: 64 random bits.
    pub fn end(&mut self, id: CheckId, now: Time, chance: u64) -> Option<(Arc<Inquiry>, Vec<Subject>)> {
        let entry = self.entries.get_mut(&id)?;
        let Stage::UnderWay(audience) = &mut entry.stage else { return None };
        let told = match audience {
            Audience::All => {
                entry.fresh.clear();
                entry.turn = together(now.after(next_check(entry.inquiry.interval, chance)), entry.inquiry.interval);
                entry.subjects.clone()
            }
            Audience::Fresh(fresh) => {
                entry.subjects.iter().filter(|subject| fresh.contains(&subject.key())).cloned().collect()
            }
        };
        let due = if entry.fresh.is_empty() { entry.turn } else { now };
        entry.stage = Stage::Waiting(due);
        self.due.insert((due, id));
        let (inquiry, origin) = (Arc::clone(&entry.inquiry), entry.origin);
        self.release(origin);
        Some((inquiry, told))
    }

    /// When the next check is due; what waits only for room does not count.
    pub fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(due, _)| *due)
    }

    /// How many different checks there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether nothing is under way and nothing remembered of what was.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.under_way == 0 && self.backends.is_empty()
    }

    fn join(&mut self, endpoint: &Endpoint, now: Time) {
        let (inquiry, subject) = (Inquiry::of(endpoint), Subject::of(endpoint));
        let Some(id) = self.ids.get(&inquiry).copied() else {
            return self.open(subject, inquiry, endpoint.origin_hash, now);
        };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.fresh.insert(subject.key());
        let at = entry.subjects.partition_point(|known| known.key() < subject.key());
        entry.subjects.insert(at, subject);
        if let Stage::Waiting(due) = entry.stage {
            self.due.remove(&(due, id));
            entry.stage = Stage::Waiting(now.min(due));
            self.due.insert((now.min(due), id));
        }
    }

    fn open(&mut self, subject: Subject, inquiry: Inquiry, origin: u64, now: Time) {
        self.last_id += 1;
        let (id, inquiry) = (CheckId(self.last_id), Arc::new(inquiry));
        self.ids.insert(Arc::clone(&inquiry), id);
        self.due.insert((now, id));
        let (subjects, fresh, stage) = (vec![subject], BTreeSet::new(), Stage::Waiting(now));
        self.entries.insert(id, Entry { inquiry, origin, subjects, fresh, turn: now, stage });
    }

    /// The check under way that is now for nobody, if there is one.
    fn leave(&mut self, endpoint: &Endpoint) -> Option<CheckId> {
        let id = self.ids.get(&Inquiry::of(endpoint)).copied()?;
        let entry = self.entries.get_mut(&id)?;
        let key = (endpoint.session, endpoint.id());
        let at = entry.subjects.binary_search_by_key(&key, Subject::key).ok()?;
        entry.subjects.remove(at);
        entry.fresh.remove(&key);
        if let Stage::UnderWay(Audience::Fresh(fresh)) = &mut entry.stage {
            fresh.remove(&key);
        }
        if entry.subjects.is_empty() { self.close(id) } else { None }
    }

    fn close(&mut self, id: CheckId) -> Option<CheckId> {
        let entry = self.entries.remove(&id)?;
        self.ids.remove(&entry.inquiry);
        match entry.stage {
            Stage::Waiting(due) => {
                self.due.remove(&(due, id));
                None
            }
            Stage::Queued(since) => {
                if let Some(backend) = self.backends.get_mut(&entry.origin) {
                    backend.queued.remove(&(since, id));
                }
                self.tidy(entry.origin);
                None
            }
            Stage::UnderWay(_) => {
                self.release(entry.origin);
                Some(id)
            }
        }
    }

    fn queue_what_is_due(&mut self, now: Time) {
        while let Some((due, id)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, id));
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.stage = Stage::Queued(due);
            let origin = entry.origin;
            self.backends.entry(origin).or_default().queued.insert((due, id));
            self.line_up(origin);
        }
    }

    /// Takes the check out that is to begin now.
    fn first_in_line(&mut self) -> Option<(u64, CheckId)> {
        while let Some(origin) = self.line.pop_front() {
            let Some(backend) = self.backends.get_mut(&origin) else { continue };
            backend.in_line = false;
            if let Some((_, id)) = backend.queued.pop_first() {
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

    fn release(&mut self, origin: u64) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(backend) = self.backends.get_mut(&origin) {
            backend.under_way = backend.under_way.saturating_sub(1);
        }
        self.line_up(origin);
        self.tidy(origin);
    }

    /// Forgets a backend about which nothing is left to know.
    fn tidy(&mut self, origin: u64) {
        let idle = |backend: &Backend| backend.queued.is_empty() && backend.under_way == 0 && !backend.in_line;
        if self.backends.get(&origin).is_some_and(idle) {
            self.backends.remove(&origin);
        }
    }
}

/// A little earlier, so that checks with long intervals begin in batches: a task that wakes up for each of them costs more
/// than the checks. By a 64th of the interval at most.
fn together(turn: Time, interval: Span) -> Time {
    let grid = (interval.millis() / 64).clamp(1, BATCH_MILLIS_MAX);
    Time(turn.0 - turn.0 % grid)
}

fn asks_the_same(old: &Endpoint, new: &Endpoint) -> bool {
    // Another live state knows nothing yet, even if it is for the backend that was there before the last.
    Arc::<Live>::ptr_eq(&old.live, &new.live) && Inquiry::of(old) == Inquiry::of(new)
}
