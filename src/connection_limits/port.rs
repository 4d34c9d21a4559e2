//! The connections of a port whose tasks run on any thread, and their present activity.
//!
//! Invariants: a connection counts until its [`ConnectionGuard`] is dropped; a connection that was asked to close
//! and comes into use first counts again.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::Notify;

use super::listener_counts::{CountedConnection, ListenerCounts, WireProtocol};
use super::{ConnectionCounts, ConnectionLimits, ConnectionRefusal, ConnectionTable, Evictable, EvictionRank, TICK};
use crate::clock;
use crate::domain::Origin;

/// The connections of a port. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub struct PortConnections(Arc<PortState>);

#[derive(Debug)]
struct PortState {
    table: Mutex<ConnectionTable<Arc<ConnectionActivity>>>,
    totals: ConnectionCounts,
    counts: Arc<ListenerCounts>,
    rules: ArcSwap<PortRules>,
    began: Instant,
}

/// The rules of a port, which a reload replaces.
#[derive(Debug)]
struct PortRules {
    limits: ConnectionLimits,
    /// The peers that carry connections for many clients and have no share.
    trusted_proxies: Vec<IpNet>,
}

/// An admitted connection. It counts until the guard is dropped.
#[derive(Debug)]
pub struct ConnectionGuard(Arc<ConnectionActivity>);

/// The activity of a connection, shared by its task and the port.
#[derive(Debug)]
pub struct ConnectionActivity {
    port: PortConnections,
    id: u64,
    state: Mutex<ActivityState>,
    close_asked: Notify,
}

#[derive(Debug)]
struct ActivityState {
    stage: ConnectionStage,
    /// The tick at which the stage began.
    since: u32,
    /// The number of running requests.
    requests: usize,
    is_closing: bool,
    counted: CountedConnection,
}

/// The stages of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionStage {
    /// Nothing complete has come yet.
    Begun,
    /// Part of a line or head has come.
    Reading,
    /// No request is running.
    Idle,
    /// A request is running.
    Used,
}

impl PortConnections {
    /// Creates a port with these limits. Connections from `trusted_proxies` count for no origin.
    pub fn new(limits: ConnectionLimits, trusted_proxies: Vec<IpNet>) -> Self {
        let (table, totals) = (Mutex::default(), ConnectionCounts::default());
        let rules = ArcSwap::from_pointee(PortRules { limits, trusted_proxies });
        Self(Arc::new(PortState { table, totals, counts: Arc::default(), rules, began: clock::instant() }))
    }

    /// Replaces the limits and the trusted proxies. Open connections stay.
    pub fn set_rules(&self, limits: ConnectionLimits, trusted_proxies: Vec<IpNet>) {
        self.0.rules.store(Arc::new(PortRules { limits, trusted_proxies }));
    }

    /// Admits a connection from `peer`. Asks others to close if necessary.
    ///
    /// # Errors
    /// [`ConnectionRefusal`] if there is no room.
    pub fn accept(&self, peer: IpAddr) -> Result<ConnectionGuard, ConnectionRefusal> {
        let peer = peer.to_canonical();
        let rules = self.0.rules.load();
        let trusted = rules.trusted_proxies.iter().any(|net| net.contains(&peer));
        let origin = (!trusted).then(|| Origin::of(peer));
        let (totals, now) = (&self.0.totals, self.now());
        let mut table = self.lock();
        table.make_room_for(origin, totals, rules.limits, now)?;
        let state = Mutex::new(ActivityState {
            stage: ConnectionStage::Begun,
            since: now,
            requests: 0,
            is_closing: false,
            counted: self.0.counts.begin(),
        });
        let id = table.next_id();
        let activity = Arc::new(ConnectionActivity { port: self.clone(), id, state, close_asked: Notify::new() });
        table.enter(origin, totals, Arc::clone(&activity));
        Ok(ConnectionGuard(activity))
    }

    /// Returns the number of open connections.
    pub fn open(&self) -> usize {
        self.0.totals.open()
    }

    /// Returns the counts of its connections, for metrics.
    pub fn counts(&self) -> &Arc<ListenerCounts> {
        &self.0.counts
    }

    fn now(&self) -> u32 {
        let ticks = clock::instant().saturating_duration_since(self.0.began).as_millis() / TICK.as_millis();
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionTable<Arc<ConnectionActivity>>> {
        // Nothing panics while it holds the lock.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionGuard {
    /// Returns the activity of the connection. Its task must keep it up to date.
    pub fn activity(&self) -> &Arc<ConnectionActivity> {
        &self.0
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let PortState { totals, .. } = &*self.0.port.0;
        // Dropped after the lock is released, because it holds the port.
        let _activity = self.0.port.lock().remove(self.0.id, totals);
    }
}

impl ConnectionActivity {
    /// Notes the protocol of the connection. Only the first call counts.
    pub fn speaks(&self, protocol: WireProtocol) {
        self.lock().counted.speaks(protocol);
    }

    /// Notes that the client came to no TLS.
    pub fn handshake_failed(&self) {
        self.port.counts().handshake_failed();
    }

    /// Enters a stage.
    pub fn enter(&self, stage: ConnectionStage) {
        self.change(|state| state.stage = stage);
    }

    /// Records received bytes: a head begins if none has begun.
    pub fn on_read(&self) {
        self.change(|state| {
            if state.stage == ConnectionStage::Idle {
                state.stage = ConnectionStage::Reading;
            }
        });
    }

    /// Begins a request, which runs until [`ConnectionActivity::end_request`]. Returns the number of those that were
    /// running.
    pub fn begin_request(&self) -> usize {
        let mut before = 0;
        self.change(|state| {
            before = state.requests;
            state.requests += 1;
            state.stage = ConnectionStage::Used;
        });
        before
    }

    /// Ends a request.
    pub fn end_request(&self) {
        self.change(|state| {
            state.requests = state.requests.saturating_sub(1);
            if state.requests == 0 {
                state.stage = ConnectionStage::Idle;
            }
        });
    }

    /// Returns the stage.
    pub fn stage(&self) -> ConnectionStage {
        self.lock().stage
    }

    /// Returns when the connection is asked to close.
    pub async fn asked_to_close(&self) {
        self.close_asked.notified().await;
    }

    fn change(&self, change: impl FnOnce(&mut ActivityState)) {
        let mut state = self.lock();
        let before = state.stage;
        change(&mut state);
        let stays = state.stage == ConnectionStage::Used && std::mem::take(&mut state.is_closing);
        if state.stage != before && state.stage != ConnectionStage::Used {
            state.since = self.port.now();
        }
        drop(state);
        if stays {
            self.port.lock().stay(self.id, &self.port.0.totals);
        }
    }

    fn lock(&self) -> MutexGuard<'_, ActivityState> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Evictable for Arc<ConnectionActivity> {
    fn rank(&self) -> Option<EvictionRank> {
        let state = self.lock();
        match state.stage {
            ConnectionStage::Begun | ConnectionStage::Reading => Some(EvictionRank::Unfinished(state.since)),
            ConnectionStage::Idle => Some(EvictionRank::Idle(state.since)),
            ConnectionStage::Used => None,
        }
    }

    fn ask_to_close(&self) -> bool {
        let mut state = self.lock();
        if state.stage == ConnectionStage::Used {
            return false;
        }
        state.is_closing = true;
        self.close_asked.notify_one();
        true
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn address(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
    }

    #[test]
    fn a_connection_that_comes_into_use_after_it_was_told_to_leave_counts_again() {
        let port = PortConnections::new(ConnectionLimits { all: 2, of_origin: 2 }, Vec::new());
        let places = [port.accept(address(1)).unwrap(), port.accept(address(2)).unwrap()];
        places.iter().for_each(|place| place.activity().enter(ConnectionStage::Idle));
        let third = port.accept(address(3)).unwrap();
        assert_eq!(port.open(), 2);
        let close_asked = |place: &&ConnectionGuard| place.activity().asked_to_close().now_or_never().is_some();
        let one = places.iter().find(close_asked).expect("one is close_asked");
        one.activity().begin_request();
        assert_eq!(port.open(), 3);
        one.activity().end_request();
        assert_eq!(one.activity().stage(), ConnectionStage::Idle);
        drop(third);
        drop(places);
        assert_eq!(port.open(), 0);
    }

    #[test]
    fn a_connection_in_use_stays_until_its_last_request_is_over() {
        let port = PortConnections::new(ConnectionLimits { all: 1, of_origin: 1 }, Vec::new());
        let place = port.accept(address(1)).unwrap();
        assert_eq!([place.activity().begin_request(), place.activity().begin_request()], [0, 1]);
        place.activity().end_request();
        assert_eq!(port.accept(address(2)).unwrap_err(), ConnectionRefusal::Port { limit: 1 });
    }

    #[test]
    fn trusted_proxies_have_no_share_in_whatever_form_their_address_comes() {
        let port =
            PortConnections::new(ConnectionLimits { all: 10, of_origin: 1 }, vec!["127.0.0.2/32".parse().unwrap()]);
        let mapped: IpAddr = "::ffff:127.0.0.2".parse().unwrap();
        let _proxy = [address(2), mapped, address(2)].map(|peer| port.accept(peer).unwrap());
        let _one = port.accept(address(1)).unwrap();
        assert!(matches!(port.accept(address(1)), Err(ConnectionRefusal::Origin { limit: 1, .. })));
    }
}
