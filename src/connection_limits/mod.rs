//! ConnectionTable of connections to a port: how many are open, whose they are, and which make way for new ones.
//!
//! It decides by numbers and closes nothing: a connection that is to make way is told so, and ends by itself. What must hold: an
//! origin never takes more places than its share; at a limit idle connections make way, from the one that has been idle for
//! the longest, then those that have been unfinished for a while; one that is in use never does.

mod port;

pub use port::{ConnectionActivity, ConnectionGuard, ConnectionStage, PortConnections};

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::Origin;

/// The unit in which the ages of connections are counted.
pub const TICK: Duration = Duration::from_millis(50);
/// Ticks after which an unfinished connection makes way when the port is full, and when its own origin is at its share.
const UNFINISHED_TICKS_MAX: u32 = 60;
const OWN_UNFINISHED_TICKS_MAX: u32 = 20;
/// One in so many makes way at once, so that not every new connection looks at all others.
const WAY_SHARE: usize = 64;

/// The numbers of connections that a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// All at once.
    pub all: usize,
    /// Those of one origin, if less.
    pub of_origin: usize,
}

/// The reason for which there is no room for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionRefusal {
    /// The port has as many as it may, and all are in use.
    #[error("too many connections (limit {limit})")]
    Port {
        /// The limit.
        limit: usize,
    },
    /// Its origin has as many as it may, and all are in use.
    #[error("too many connections from {origin} (limit {limit})")]
    Origin {
        /// The origin.
        origin: Origin,
        /// The limit.
        limit: usize,
    },
    /// The process has hardly any files left to open.
    #[error("too many connections for the open files that are left")]
    Files,
}

/// The order in which connections make way, with the tick since when they are as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvictionRank {
    /// Nothing is under way.
    Idle(u32),
    /// Something has begun that is not complete: the connection itself, or what is asked on it.
    Unfinished(u32),
}

impl EvictionRank {
    fn makes_way(self, now: u32, unfinished_ticks_max: u32) -> bool {
        match self {
            EvictionRank::Idle(_) => true,
            EvictionRank::Unfinished(since) => now.saturating_sub(since) >= unfinished_ticks_max,
        }
    }
}

/// A connection, as the rule sees it.
pub trait Evictable {
    /// Its rank; `None` while it is in use.
    fn rank(&self) -> Option<EvictionRank>;

    /// Tells it to end. False if it has come into use meanwhile.
    fn ask_to_close(&self) -> bool;
}

/// The numbers of open connections of a port, over all its threads.
#[derive(Debug, Default)]
pub struct ConnectionCounts {
    open: AtomicUsize,
    /// Looked at once per connection, never per request.
    origins: Mutex<HashMap<Origin, usize>>,
}

impl ConnectionCounts {
    /// The number of connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn enter(&self, origin: Option<Origin>) {
        self.open.fetch_add(1, Ordering::Relaxed);
        if let Some(origin) = origin {
            *self.origins().entry(origin).or_default() += 1;
        }
    }

    fn leave(&self, origin: Option<Origin>) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        let Some(origin) = origin else { return };
        let mut origins = self.origins();
        if let Some(count) = origins.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                origins.remove(&origin);
            }
        }
    }

    fn of(&self, origin: Origin) -> usize {
        self.origins().get(&origin).copied().unwrap_or_default()
    }

    fn origins(&self) -> MutexGuard<'_, HashMap<Origin, usize>> {
        // Nothing panics while it holds the lock.
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections of a port, or of one of its threads. See the module.
#[derive(Debug)]
pub struct ConnectionTable<C> {
    open: HashMap<u64, Held<C>>,
    next: u64,
    /// The last tick at which none was found that can make way, and the origin looked at.
    barren: Option<(u32, Option<Origin>)>,
}

#[derive(Debug)]
struct Held<C> {
    connection: C,
    /// `None` where it speaks for many.
    origin: Option<Origin>,
    /// It was told to make way, and counts no more.
    is_closing: bool,
}

impl<C> Default for ConnectionTable<C> {
    fn default() -> Self {
        Self { open: HashMap::new(), next: 0, barren: None }
    }
}

impl<C: Evictable> ConnectionTable<C> {
    /// Makes room for a connection, which may need others to make way.
    ///
    /// # Errors
    /// [`ConnectionRefusal`] when none can.
    pub fn make_room_for(
        &mut self,
        origin: Option<Origin>,
        totals: &ConnectionCounts,
        limits: ConnectionLimits,
        now: u32,
    ) -> Result<(), ConnectionRefusal> {
        let has_share = |_: &Origin| limits.of_origin < limits.all;
        if let Some(own) = origin.filter(has_share).filter(|origin| totals.of(*origin) >= limits.of_origin)
            && !self.make_way(origin, totals, now)
        {
            return Err(ConnectionRefusal::Origin { origin: own, limit: limits.of_origin });
        }
        if totals.open() >= limits.all && !self.make_way(None, totals, now) {
            return Err(ConnectionRefusal::Port { limit: limits.all });
        }
        Ok(())
    }

    /// Has some make way while the port is full: what is accepted by another thread finds room.
    pub fn make_room(&mut self, totals: &ConnectionCounts, limits: ConnectionLimits, now: u32) {
        if totals.open() >= limits.all {
            self.make_way(None, totals, now);
        }
    }

    /// Has a few of those make way that can; of one origin, or of all. False if there is none.
    fn make_way(&mut self, origin: Option<Origin>, totals: &ConnectionCounts, now: u32) -> bool {
        if self.barren == Some((now, origin)) {
            return false;
        }
        let unfinished_ticks_max = if origin.is_some() { OWN_UNFINISHED_TICKS_MAX } else { UNFINISHED_TICKS_MAX };
        let mut ready: Vec<(EvictionRank, u64)> = self
            .open
            .iter()
            .filter(|(_, held)| !held.is_closing && (origin.is_none() || held.origin == origin))
            .filter_map(|(id, held)| Some((held.connection.rank()?, *id)))
            .filter(|(rank, _)| rank.makes_way(now, unfinished_ticks_max))
            .collect();
        let count = (ready.len() / WAY_SHARE + 1).min(ready.len());
        if count < ready.len() {
            ready.select_nth_unstable(count);
        }
        let mut any = false;
        for (_, id) in ready.iter().take(count) {
            if let Some(held) = self.open.get_mut(id).filter(|held| held.connection.ask_to_close()) {
                held.is_closing = true;
                totals.leave(held.origin);
                any = true;
            }
        }
        if !any {
            self.barren = Some((now, origin));
        }
        any
    }
}

impl<C> ConnectionTable<C> {
    /// The number of the next connection that enters.
    pub fn next_id(&self) -> u64 {
        self.next
    }

    /// Takes a connection in, whatever the limits. Returns its number.
    pub fn enter(&mut self, origin: Option<Origin>, totals: &ConnectionCounts, connection: C) -> u64 {
        let id = self.next;
        self.next += 1;
        totals.enter(origin);
        self.open.insert(id, Held { connection, origin, is_closing: false });
        id
    }

    /// Counts one again that was told to make way and came into use before it could.
    pub fn stay(&mut self, id: u64, totals: &ConnectionCounts) {
        if let Some(held) = self.open.get_mut(&id).filter(|held| held.is_closing) {
            held.is_closing = false;
            totals.enter(held.origin);
        }
    }

    /// Lets one go that has ended.
    pub fn remove(&mut self, id: u64, totals: &ConnectionCounts) -> Option<C> {
        let held = self.open.remove(&id)?;
        if !held.is_closing {
            totals.leave(held.origin);
        }
        Some(held.connection)
    }

    /// The connection of a number.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut C> {
        self.open.get_mut(&id).map(|held| &mut held.connection)
    }

    /// All that have not ended.
    pub fn connections(&self) -> impl Iterator<Item = &C> {
        self.open.values().map(|held| &held.connection)
    }

    /// True if all have ended.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits { all: 4, of_origin: 3 };
    const NOW: u32 = 1000;

    struct Fake {
        rank: Cell<Option<EvictionRank>>,
        told: Cell<bool>,
    }

    impl Evictable for Fake {
        fn rank(&self) -> Option<EvictionRank> {
            self.rank.get()
        }

        fn ask_to_close(&self) -> bool {
            self.told.replace(true);
            true
        }
    }

    #[derive(Default)]
    struct House {
        admission: ConnectionTable<Fake>,
        totals: ConnectionCounts,
    }

    impl House {
        fn come(&mut self, origin: Option<Origin>, rank: Option<EvictionRank>) -> Result<u64, ConnectionRefusal> {
            self.admission.make_room_for(origin, &self.totals, LIMITS, NOW)?;
            let fake = Fake { rank: Cell::new(rank), told: Cell::new(false) };
            Ok(self.admission.enter(origin, &self.totals, fake))
        }

        fn told(&mut self, id: u64) -> bool {
            self.admission.get_mut(id).unwrap().told.get()
        }
    }

    fn origin(last: u8) -> Option<Origin> {
        Some(Origin::of([10, 0, 0, last].into()))
    }

    #[test]
    fn who_has_been_idle_for_the_longest_makes_way_and_then_who_has_been_unfinished_for_a_while() {
        let old = NOW - UNFINISHED_TICKS_MAX;
        let mut house = House::default();
        let in_use = house.come(None, None).unwrap();
        let unfinished = house.come(None, Some(EvictionRank::Unfinished(old))).unwrap();
        let later = house.come(None, Some(EvictionRank::Idle(NOW - 1))).unwrap();
        let longest = house.come(None, Some(EvictionRank::Idle(NOW - 2))).unwrap();
        for expected in [longest, later, unfinished] {
            assert!(!house.told(expected));
            house.come(None, Some(EvictionRank::Unfinished(old + 1))).unwrap();
            assert!(house.told(expected));
        }
        assert_eq!(
            house.come(None, None),
            Err(ConnectionRefusal::Port { limit: 4 }),
            "the others have just begun, or are in use"
        );
        assert!(!house.told(in_use));
    }

    #[test]
    fn an_origin_at_its_share_has_its_own_make_way_and_none_of_another() {
        let mut house = House::default();
        let other = house.come(origin(2), Some(EvictionRank::Idle(0))).unwrap();
        let own = house.come(origin(1), Some(EvictionRank::Idle(NOW))).unwrap();
        for _ in 0..2 {
            house.come(origin(1), None).unwrap();
        }
        house.come(origin(1), None).unwrap();
        assert!(house.told(own) && !house.told(other));
        let refused = house.come(origin(1), None).unwrap_err();
        assert_eq!(refused.to_string(), "too many connections from 10.0.0.1 (limit 3)");
        house.come(origin(3), None).unwrap();
        assert!(house.told(other), "it makes way for a third when the port is full");
    }

    #[test]
    fn who_has_no_origin_has_no_share() {
        let mut house = House::default();
        for _ in 0..LIMITS.all {
            house.come(None, None).unwrap();
        }
        assert_eq!(house.come(None, None), Err(ConnectionRefusal::Port { limit: LIMITS.all }));
    }

    #[test]
    fn places_are_given_back_once_each_and_nothing_is_remembered() {
        let mut house = House::default();
        let open: Vec<u64> = (0..3).map(|_| house.come(origin(1), Some(EvictionRank::Idle(0))).unwrap()).collect();
        let newcomer = house.come(origin(1), None).unwrap();
        let told = open.into_iter().find(|id| house.told(*id)).unwrap();
        house.admission.stay(told, &house.totals);
        house.admission.stay(told, &house.totals);
        assert_eq!(house.totals.open(), 4, "it came into use again");
        for id in [0, 1, 2, newcomer] {
            assert!(house.admission.remove(id, &house.totals).is_some());
            assert!(house.admission.remove(id, &house.totals).is_none());
        }
        assert!(house.totals.open() == 0 && house.totals.origins().is_empty() && house.admission.is_empty());
    }
}
