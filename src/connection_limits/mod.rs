//! The connections of a port: their number, their origins, and the choice of those that close for new ones.
//!
//! The module counts and chooses but closes nothing: it asks a connection to close, which ends by itself.
//! Invariants: an origin never has more connections than its share; at a limit, idle connections close first, from the
//! longest idle one, then unfinished ones of some age; a connection in use never closes.

mod frames;
mod listener_counts;
mod port;

pub(crate) use frames::{FrameCounter, Protocol};
pub use listener_counts::{CountedConnection, ListenerCounts, ListenerTotals, WireProtocol};
pub use port::{ConnectionActivity, ConnectionGuard, ConnectionStage, PortConnections};

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::Origin;

/// The unit of connection ages.
pub const TICK: Duration = Duration::from_millis(50);
/// The age at which an unfinished connection closes when the port is full, in ticks.
const UNFINISHED_TICKS_MAX: u32 = 60;
/// The age at which an unfinished connection closes when its own origin is at its share, in ticks.
const OWN_UNFINISHED_TICKS_MAX: u32 = 20;
/// One in `WAY_SHARE` candidates closes at once, so that not every new connection must scan all others.
const WAY_SHARE: usize = 64;

/// The limits of a port's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The maximum number of connections.
    pub all: usize,
    /// The maximum number of connections of one origin, if lower.
    pub of_origin: usize,
}

/// The reason why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionRefusal {
    /// The port is full and all its connections are in use.
    #[error("too many connections (limit {limit})")]
    Port {
        /// The limit.
        limit: usize,
    },
    /// The origin has reached its share and all its connections are in use.
    #[error("too many connections from {origin} (limit {limit})")]
    Origin {
        /// The origin.
        origin: Origin,
        /// The limit.
        limit: usize,
    },
    /// The process has hardly any file descriptors left.
    #[error("too many connections for the open files that are left")]
    Files,
}

/// The order in which connections close, with the tick at which the present state began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvictionRank {
    /// No request is running.
    Idle(u32),
    /// Something has begun and is not complete: the connection itself or a request.
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

/// A connection that can be asked to close.
pub trait Evictable {
    /// Returns the rank, or `None` while the connection is in use.
    fn rank(&self) -> Option<EvictionRank>;

    /// Asks the connection to close. Returns false if it has come into use meanwhile.
    fn ask_to_close(&self) -> bool;
}

/// The numbers of open connections of a port, over all its threads.
#[derive(Debug, Default)]
pub struct ConnectionCounts {
    open: AtomicUsize,
    /// Locked once per connection, never per request.
    origins: Mutex<HashMap<Origin, usize>>,
}

impl ConnectionCounts {
    /// Returns the number of open connections.
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

/// The connections of a port, or of one of its threads.
#[derive(Debug)]
pub struct ConnectionTable<C> {
    open: HashMap<u64, OpenConnection<C>>,
    next: u64,
    /// The last tick and origin for which no connection could close.
    barren: Option<(u32, Option<Origin>)>,
}

#[derive(Debug)]
struct OpenConnection<C> {
    connection: C,
    /// `None` for a peer that carries connections for many clients.
    origin: Option<Origin>,
    /// True if the connection was asked to close. Then it does not count.
    is_closing: bool,
}

impl<C> Default for ConnectionTable<C> {
    fn default() -> Self {
        Self { open: HashMap::new(), next: 0, barren: None }
    }
}

impl<C: Evictable> ConnectionTable<C> {
    /// Makes room for a connection by asking others to close if necessary.
    ///
    /// # Errors
    /// [`ConnectionRefusal`] if none can.
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

    /// Asks connections to close while the port is full, so that another thread's new connection finds room.
    pub fn make_room(&mut self, totals: &ConnectionCounts, limits: ConnectionLimits, now: u32) {
        if totals.open() >= limits.all {
            self.make_way(None, totals, now);
        }
    }

    /// Asks a few connections to close, of one origin or of all. Returns false if none can.
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
    /// Returns the number of the next connection.
    pub fn next_id(&self) -> u64 {
        self.next
    }

    /// Adds a connection regardless of the limits. Returns its number.
    pub fn enter(&mut self, origin: Option<Origin>, totals: &ConnectionCounts, connection: C) -> u64 {
        let id = self.next;
        self.next += 1;
        totals.enter(origin);
        self.open.insert(id, OpenConnection { connection, origin, is_closing: false });
        id
    }

    /// Counts a connection again that was asked to close and came into use first.
    pub fn stay(&mut self, id: u64, totals: &ConnectionCounts) {
        if let Some(held) = self.open.get_mut(&id).filter(|held| held.is_closing) {
            held.is_closing = false;
            totals.enter(held.origin);
        }
    }

    /// Removes a connection that has ended.
    pub fn remove(&mut self, id: u64, totals: &ConnectionCounts) -> Option<C> {
        let held = self.open.remove(&id)?;
        if !held.is_closing {
            totals.leave(held.origin);
        }
        Some(held.connection)
    }

    /// Returns the connection with a number.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut C> {
        self.open.get_mut(&id).map(|held| &mut held.connection)
    }

    /// Returns all connections that have not ended.
    pub fn connections(&self) -> impl Iterator<Item = &C> {
        self.open.values().map(|held| &held.connection)
    }

    /// Returns all connections that have not ended, with their numbers.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &C)> {
        self.open.iter().map(|(id, held)| (*id, &held.connection))
    }

    /// Returns true if all connections have ended.
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
    fn the_longest_idle_connection_makes_way_first_and_then_old_unfinished_ones() {
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
    fn a_session_without_an_origin_has_no_share() {
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
